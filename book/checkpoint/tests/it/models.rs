//! A model is opened whole, or refused with what is wrong and what to do.

use crate::written::{Gguf, f32s, reference, text};
use checkpoint::{Config, Model, Scaling};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A copy of the tiny model, with its configuration changed.
fn changed(change: impl Fn(&mut Value)) -> TempDir {
    let folder = TempDir::new().unwrap();
    for name in ["model.safetensors", "config.json"] {
        fs::copy(reference("tiny").join(name), folder.path().join(name)).unwrap();
    }
    let path = folder.path().join("config.json");
    let mut config: Value =
        serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    change(&mut config);
    fs::write(&path, config.to_string()).unwrap();
    folder
}

fn error(path: &Path) -> String {
    let error = Model::open(path).unwrap_err().to_string();
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

#[test]
fn a_model_is_found_by_any_of_its_files() {
    let tiny = reference("tiny");
    for path in [tiny.clone(), tiny.join("config.json"), tiny.join("model.safetensors")]
    {
        let model = Model::open(&path).unwrap();
        assert_eq!(model.config().kind(), "llama");
        assert_eq!(model.path(), tiny);
    }
    let folder = changed(|_| ());
    let ends = br#"{"eos_token_id": [2, 0]}"#;
    fs::write(folder.path().join("generation_config.json"), ends).unwrap();
    assert_eq!(Model::open(folder.path()).unwrap().stops(), [2, 0]);
}

#[test]
fn a_configuration_that_contradicts_the_tensors_is_refused() {
    for (key, value, said) in [
        (
            "num_hidden_layers",
            json!(2),
            "`num_hidden_layers` is 2, and the weights have 1 layer:",
        ),
        ("num_hidden_layers", json!(10_u64.pow(18)), "from 1 to 10000"),
        (
            "vocab_size",
            json!(7),
            "embed_tokens.weight` has shape [384, 8], and [7, 8] was",
        ),
        ("hidden_size", json!(16), "has shape [384, 8], and [384, 16] was"),
        ("head_dim", json!(8), "q_proj.weight` has shape [8, 8], and [16, 8] was"),
        (
            "num_key_value_heads",
            json!(2),
            "k_proj.weight` has shape [4, 8], and [8, 8] was",
        ),
        ("model_type", json!("llame"), "model_type `llame` is not known here"),
    ] {
        let folder = changed(|config| config[key] = value.clone());
        let told = error(folder.path());
        assert!(told.contains(said), "{key}: {told}");
    }
}

/// A GGUF of a llama with one layer and without weights.
fn llama() -> Gguf {
    Gguf::default()
        .text("general.architecture", "llama")
        .u32("llama.block_count", 1)
        .u32("llama.context_length", 131_072)
        .u32("llama.embedding_length", 16)
        .u32("llama.feed_forward_length", 24)
        .u32("llama.attention.head_count", 2)
        .f32("llama.attention.layer_norm_rms_epsilon", 1e-5)
        .f32("llama.rope.freq_base", 500_000.0)
        .tensor("token_embd.weight", &[16, 3], 0, &f32s(&[0.5; 48]))
}

fn written(gguf: &Gguf) -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("x.gguf");
    fs::write(&path, gguf.bytes()).unwrap();
    (folder, path)
}

fn config(gguf: &Gguf) -> Config {
    let (_folder, path) = written(gguf);
    Model::open(&path).unwrap().config().clone()
}

#[test]
fn metadata_takes_the_place_of_a_configuration() {
    let config = config(&llama());
    assert_eq!((config.kind(), config.layers().unwrap()), ("llama", 1));
    assert_eq!((config.vocab().unwrap(), config.model_dim().unwrap()), (3, 16));
    assert_eq!(config.norm_eps().unwrap(), 1e-5);
    assert_eq!(config.feed_forward_dim().unwrap(), 24);
    let layer = config.attention(0).unwrap();
    let rope = layer.rope.unwrap();
    assert_eq!((rope.base, rope.features, rope.scaling), (5e5, 8, Scaling::None));
}

#[test]
fn stretched_rotation_is_recognized() {
    let linear = llama()
        .text("llama.rope.scaling.type", "linear")
        .f32("llama.rope.scaling.factor", 4.0);
    let rope = config(&linear).attention(0).unwrap().rope.unwrap();
    assert_eq!(rope.scaling, Scaling::Linear { factor: 4.0 });

    // Frequencies of 2^-0 to 2^-…: those of wavelengths above 8,192 are divided by 8.
    let expected =
        Scaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, trained: 8192.0 };
    let factors: Vec<f32> = (0..4)
        .map(|pair| {
            let wavelength =
                std::f64::consts::TAU * 5e5_f64.powf(f64::from(pair) / 4.0);
            let kept = ((8192.0 / wavelength - 1.0) / 3.0).clamp(0.0, 1.0);
            (1.0 / ((1.0 - kept) / 8.0 + kept)) as f32
        })
        .collect();
    assert!(factors[0] == 1.0 && factors[3] == 8.0, "{factors:?}");
    let llama3 = llama().tensor("rope_freqs.weight", &[4], 0, &f32s(&factors));
    let rope = config(&llama3).attention(0).unwrap().rope.unwrap();
    assert_eq!(rope.scaling, expected);

    let other =
        llama().tensor("rope_freqs.weight", &[4], 0, &f32s(&[1.0, 2.0, 3.0, 8.0]));
    let told = error(&written(&other).1);
    assert!(
        told.contains("`rope_freqs.weight` is a tensor of shape [4], and has to"),
        "{told}"
    );
}

#[test]
fn what_a_gguf_says_and_is_not_understood_is_refused() {
    let many = [&4_u32.to_le_bytes()[..], &2_u64.to_le_bytes(), &[7; 8]].concat();
    let no_layers = Gguf::default()
        .text("general.architecture", "llama")
        .u64("llama.block_count", 10_u64.pow(18))
        .u32("llama.embedding_length", 16);
    for (gguf, said) in [
        (
            llama().text("llama.attention.kind", "odd"),
            "`llama.attention.kind` is odd, and that",
        ),
        (
            llama().u32("llama.expert_count", 8),
            "`llama.expert_count` is 8, and that is not",
        ),
        (
            llama().u32("llama.rope.dimension_count", 4),
            "has to be the width of a head, 8",
        ),
        (llama().text("llama.rope.scaling.type", "odd"), "none, linear and yarn"),
        (
            llama().key("llama.attention.head_count_kv", 9, &many),
            "is a list of 2, and one",
        ),
        (llama().u32("split.count", 2), "llama-gguf-split --merge"),
        (no_layers, "`num_hidden_layers` is 1000000000000000000, and has to be"),
        (
            Gguf::default().text("general.architecture", "gemma2"),
            "is gemma2, and llama, qwen2",
        ),
        (Gguf::default(), "`general.architecture` is not there"),
        (
            llama().tensor("blk.1.ffn_up.weight", &[16], 0, &[0; 64]),
            "the weights have 2 layers",
        ),
    ] {
        let (_folder, path) = written(&gguf);
        let told = error(&path);
        assert!(told.contains(said), "{said}: {told}");
    }
}

#[test]
fn a_header_that_lies_is_refused() {
    let claim =
        |lengths: &[u64], kind, at| Gguf::default().claim("w", lengths, kind, at);
    let counted = |tensors, keys| llama().counted(tensors, keys);
    let key = |kind, value: &[u8]| Gguf::default().key("k", kind, value);
    let list = |kind: u32, length: u64| {
        key(9, &[&kind.to_le_bytes()[..], &length.to_le_bytes()].concat())
    };
    for (gguf, said) in [
        (
            counted(10_u64.pow(18), 1),
            "it promises 1000000000000000000 tensors, and the",
        ),
        (counted(1, u64::MAX), "it promises 18446744073709551615 keys, and the"),
        (claim(&[1 << 40, 1 << 40], 0, 0), "or beyond counting"),
        (claim(&[1 << 40], 0, 0), "it is cut short"),
        (claim(&[4], 0, u64::MAX), "it is cut short"),
        (claim(&[0], 0, 0), "a length of 0, or one beyond counting"),
        (claim(&[1; 5], 0, 0), "`w` has 5 dimensions"),
        (claim(&[33], 8, 0), "its rows are no blocks of 32"),
        (claim(&[4], 99, 0), "stored in a way of number 99"),
        (claim(&[1], 24, 0).claim("w", &[1], 24, 0), "two tensors of the name `w`"),
        (key(13, &[]), "a value of kind 13"),
        (key(8, &u64::MAX.to_le_bytes()), "it promises 18446744073709551615 bytes"),
        (list(8, 1 << 60), "it promises 1152921504606846976 values"),
        (list(9, 1), "a list of lists"),
        (
            llama().u32("llama.block_count", 1),
            "it has the key `llama.block_count` twice",
        ),
        (
            Gguf::default().u32("general.alignment", 0),
            "`general.alignment` is no number",
        ),
    ] {
        let (_folder, path) = written(&gguf);
        let told = error(&path);
        assert!(told.contains(said), "{said}: {told}");
    }
    for (bytes, said) in [
        (&b"GGUF"[..], "the file ends at byte 4, and its header goes on"),
        (b"GGUF\0\0\0\x03", "big-endian"),
        (b"GGUF\x01\0\0\0\0\0\0\0", "a GGUF of version 1"),
    ] {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("x.gguf");
        fs::write(&path, bytes).unwrap();
        assert!(error(&path).contains(said), "{said}: {}", error(&path));
    }
    assert_eq!(text("ab").len(), 10);
}

#[test]
fn what_is_no_path_says_what_would_do() {
    let told = Model::find("no-owner").unwrap_err().to_string();
    assert!(told.starts_with("`no-owner` is no path here, and"), "{told}");
    assert!(told.ends_with("or a .gguf file") && told.lines().count() == 1, "{told}");
    assert!(Model::find(reference("tiny.gguf").to_str().unwrap()).is_ok());
}
