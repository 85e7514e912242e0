//! What a path may lead to.

use checkpoint::Config;
use std::fs::{self, File};
use tempfile::TempDir;

#[test]
fn a_folder_is_read_for_its_configuration() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("config.json"), r#"{"model_type": "llama"}"#).unwrap();
    assert_eq!(Config::read(folder.path()).unwrap().kind(), "llama");
}

#[test]
fn what_is_no_configuration_is_named() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("file");
    let header = [&9_u64.to_le_bytes()[..], b"{\"a\": {}}"].concat();
    for (bytes, said) in [
        (
            &b"version https://git-lfs.github.com/spec/v1\noid sha256:12\n"[..],
            "Git LFS",
        ),
        (b"<!DOCTYPE html>\n<html><title>404</title>", "an HTML page"),
        (b"\n<HTML>", "an HTML page"),
        (b"<?xml version=\"1.0\"?><Error/>", "an XML text"),
        (&header, "a safetensors file"),
        (b"GGUF\x03\0\0\0", "a GGUF file"),
        (b"PK\x03\x04", "an archive, as PyTorch writes"),
        (b"\x80\x02}q\0", "an archive, as PyTorch writes"),
        (b"\x1f\x8b\x08", "a compressed file"),
        (b"{\"model_type\": \"\xff\"}", "no text in UTF-8"),
        (b"", "not JSON"),
    ] {
        fs::write(&path, bytes).unwrap();
        let error = Config::read(&path).unwrap_err().to_string();
        assert!(error.starts_with(path.to_str().unwrap()), "{error}");
        assert!(error.contains(said) && error.lines().count() == 1, "{said}: {error}");
    }
}

#[test]
fn a_configuration_may_hold_a_vocabulary() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("config.json");
    let words: Vec<String> =
        (0..300_000).map(|word| format!("\"word {word}\"")).collect();
    let text = format!(r#"{{"model_type": "llama", "words": [{}]}}"#, words.join(","));
    assert!(text.len() > 3 << 20);
    fs::write(&path, text).unwrap();
    assert_eq!(Config::read(&path).unwrap().layers().unwrap(), 32);
}

#[test]
fn a_file_without_end_is_not_read() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("config.json");
    File::create(&path).unwrap().set_len(checkpoint::LONGEST + 1).unwrap();
    let error = Config::read(&path).unwrap_err().to_string();
    assert!(error.contains("a configuration has at most"), "{error}");
    let error = Config::read(folder.path().join("none").as_path()).unwrap_err();
    assert!(error.to_string().contains("No such file"), "{error}");
    if cfg!(unix) {
        let error = Config::read("/dev/zero".as_ref()).unwrap_err().to_string();
        assert!(error.contains("not a regular file"), "{error}");
    }
}
