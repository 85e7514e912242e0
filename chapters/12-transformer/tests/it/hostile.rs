//! Models that are damaged, or lie: one line each from the program, with little memory.

use crate::rewritten::rewritten;
use assert_cmd::Command;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A copy of a tiny model that has a tokenizer.
fn tiny() -> TempDir {
    let from = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../book/checkpoint/tests/reference/tiny");
    let to = TempDir::new().unwrap();
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        fs::copy(from.join(name), to.path().join(name)).unwrap();
    }
    to
}

/// That copy, with other keys in its configuration.
fn configured(change: impl FnOnce(&mut Value)) -> TempDir {
    let model = tiny();
    let path = model.path().join("config.json");
    let mut config = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    change(&mut config);
    fs::write(path, config.to_string()).unwrap();
    model
}

/// That copy in two files and their index, each of which `change` may change.
fn sharded(change: impl Fn(&str, Vec<u8>) -> Option<Vec<u8>>) -> TempDir {
    let model = tiny();
    let whole = model.path().join("model.safetensors");
    let mut index = serde_json::Map::new();
    for (file, is_first) in [("first.safetensors", true), ("second.safetensors", false)]
    {
        let part = rewritten(&whole, |tensors| {
            tensors.retain(|name, _| name.contains("embed") == is_first);
            index.extend(tensors.keys().map(|name| (name.clone(), json!(file))));
        });
        if let Some(bytes) = change(file, part) {
            fs::write(model.path().join(file), bytes).unwrap();
        }
    }
    fs::remove_file(whole).unwrap();
    let index = json!({"metadata": {}, "weight_map": index}).to_string();
    fs::write(model.path().join("model.safetensors.index.json"), index).unwrap();
    model
}

/// Exit code, standard output and standard error of `generate` with this model. On Linux it
/// has 1 GB of addresses: whoever asks for what a file promises is ended at once.
fn generate(model: &Path, tokens: &str) -> (Option<i32>, String, String) {
    let program = assert_cmd::cargo::cargo_bin("transformer");
    let mut command = if cfg!(target_os = "linux") {
        let mut limited = Command::new("sh");
        limited.args(["-c", "ulimit -v 1000000; exec \"$@\"", "sh"]).arg(program);
        limited
    } else {
        Command::new(program)
    };
    command.env("HF_HUB_OFFLINE", "1").args(["generate", "--model"]).arg(model);
    let output = command.args(["--prompt", "ab", "--tokens", tokens]).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn refused(model: &Path, said: &str) {
    let (code, stdout, stderr) = generate(model, "3");
    assert_eq!((code, stdout.as_str()), (Some(1), ""), "{said}: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains(said), "{said}: {stderr}");
}

#[test]
fn a_whole_model_writes() {
    for model in [tiny(), sharded(|_, bytes| Some(bytes))] {
        let (code, stdout, stderr) = generate(model.path(), "3");
        assert_eq!(code, Some(0), "{stderr}");
        assert!(
            stdout.ends_with('\n') && stderr.contains("tokens written"),
            "{stderr}"
        );
    }
}

#[test]
fn shards_that_are_cut_short_or_not_there_are_named() {
    let cut = |file: &str, bytes: Vec<u8>| match file {
        "second.safetensors" => Some(bytes[..bytes.len() - 100].to_vec()),
        _ => Some(bytes),
    };
    refused(sharded(cut).path(), "second.safetensors: ");
    let gone = |file: &str, bytes| (file == "first.safetensors").then_some(bytes);
    refused(
        sharded(gone).path(),
        "it names `second.safetensors`, which is not beside it",
    );
}

#[test]
fn a_configuration_that_contradicts_the_tensors_is_refused() {
    for (key, value, said) in [
        ("hidden_size", json!(1 << 20), "embed_tokens.weight"),
        ("vocab_size", json!(1_u64 << 40), "vocab_size"),
        ("num_attention_heads", json!(1 << 20), "num_attention_heads"),
        ("num_key_value_heads", json!(2), "k_proj.weight"),
        ("intermediate_size", json!(1 << 20), "mlp.gate_proj.weight"),
        ("intermediate_size", json!(1 << 27), "`intermediate_size` is 134217728"),
        ("num_hidden_layers", json!(2), "`num_hidden_layers` is 2"),
        ("num_hidden_layers", json!(10_u64.pow(18)), "num_hidden_layers"),
        ("num_hidden_layers", json!(-1), "num_hidden_layers"),
    ] {
        refused(configured(|config| config[key] = value.clone()).path(), said);
    }
}

#[test]
fn a_gguf_with_absurd_counts_is_refused() {
    let good = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../book/checkpoint/tests/reference/tiny.gguf");
    let good = fs::read(good).unwrap();
    let folder = TempDir::new().unwrap();
    let written = |change: &dyn Fn(&mut Vec<u8>)| -> PathBuf {
        let (mut bytes, path) = (good.clone(), folder.path().join("model.gguf"));
        change(&mut bytes);
        fs::write(&path, bytes).unwrap();
        path
    };
    let (code, _, stderr) = generate(&written(&|_| ()), "3");
    assert_eq!(code, Some(0), "{stderr}");
    // Behind `GGUF` and the version stand the counts of tensors and of keys.
    for at in [8, 16] {
        for count in [u64::MAX, 10_u64.pow(18), 1 << 32] {
            let lie = |bytes: &mut Vec<u8>| {
                bytes[at..at + 8].copy_from_slice(&count.to_le_bytes());
            };
            refused(&written(&lie), &format!("it promises {count}"));
        }
    }
    refused(&written(&|bytes| bytes.truncate(bytes.len() / 2)), "cut short");
}

#[test]
fn a_tokenizer_of_another_model_is_refused() {
    let model = tiny();
    let other = json!({
        "version": "1.0",
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []},
    });
    fs::write(model.path().join("tokenizer.json"), other.to_string()).unwrap();
    refused(model.path(), "it belongs to another model");
}

#[test]
fn weights_that_are_no_numbers_are_named() {
    for (number, told) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf")] {
        for name in ["model.embed_tokens.weight", "model.norm.weight"] {
            let model = tiny();
            let path = model.path().join("model.safetensors");
            let bytes = rewritten(&path, |tensors| {
                tensors.get_mut(name).unwrap().1[5] = number;
            });
            fs::write(&path, bytes).unwrap();
            refused(model.path(), &format!("{name}: row 0 holds {told}"));
        }
    }
}

#[test]
fn a_promise_of_endless_text_takes_no_memory() {
    let endless = configured(|config| {
        config["max_position_embeddings"] = json!(1_u64 << 60);
    });
    let (code, _, stderr) = generate(endless.path(), "1000000000000000");
    assert_eq!(code, Some(1), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}
