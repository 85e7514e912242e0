//! Weights that were good once give an answer or an error, and no panic; and nothing is
//! allocated by a number that a file names.

use crate::written::{Gguf, f32s, reference, safetensors};
use checkpoint::{OpenError, Weights};
use proptest::prelude::*;
use std::fs;

/// Asks for everything that weights can say.
fn read(bytes: Vec<u8>) -> Result<(), OpenError> {
    let weights = Weights::parse("file", bytes)?;
    let _ = (weights.bytes(), weights.numbers(), weights.metadata());
    for name in weights.names() {
        let tensor = weights.tensor(name)?;
        let _ = (tensor.row(0), tensor.row(usize::MAX), tensor.check_finite());
        if tensor.numbers() < 1 << 16 {
            let _ = (tensor.to_f32(), tensor.bytes());
        }
    }
    weights.tensor("no such tensor").map(|_| ())
}

fn holds(good: &[&[u8]]) {
    proptest!(hostile::cases(), |(bytes in hostile::damaged(good))| {
        if let Err(error) = read(bytes) {
            let line = error.to_string();
            prop_assert!(!line.contains('\n') && line.len() < 1200, "{line}");
        }
    });
}

#[test]
fn damaged_safetensors_get_an_answer_or_one_line() {
    let good = safetensors(&[
        ("model.layers.0.x", "F32", &[2, 2], &f32s(&[1.0, -2.0, 3.5, 0.0])),
        ("model.layers.0.y", "BF16", &[3], &[0x80, 0x3f, 0, 0, 1, 2]),
        ("mask", "BOOL", &[1, 1], &[1]),
        ("none", "F16", &[0, 7], &[]),
    ]);
    holds(&[&good]);
}

#[test]
fn damaged_ggufs_get_an_answer_or_one_line() {
    let small = Gguf::default()
        .text("general.architecture", "llama")
        .u32("llama.attention.head_count", 1)
        .u32("llama.embedding_length", 4)
        .key(
            "list",
            9,
            &[&8_u32.to_le_bytes()[..], &1_u64.to_le_bytes(), &[0; 8]].concat(),
        )
        .tensor("blk.0.attn_q.weight", &[32, 4], 8, &[1; 136])
        .tensor("blk.0.attn_k.bias", &[4], 0, &f32s(&[1.0; 4]))
        .tensor("output_norm.weight", &[4], 30, &[1; 8]);
    let tiny = fs::read(reference("tiny.gguf")).unwrap();
    holds(&[&small.bytes(), &tiny[..tiny.len().min(4096)], &small.bytes()]);
}

#[cfg(feature = "tokenizer")]
#[test]
fn damaged_vocabularies_get_an_answer_or_one_line() {
    let json = fs::read(reference("tiny/tokenizer.json")).unwrap();
    let gguf = fs::read(reference("tiny.gguf")).unwrap();
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("vocabulary");
    // Each is a file that is written and read.
    let cases = hostile::cases().cases / 8;
    let cases = ProptestConfig { cases, ..hostile::cases() };
    proptest!(cases, |(bytes in hostile::damaged(&[&json, &gguf[..16_384]]))| {
        fs::write(&path, bytes).unwrap();
        match checkpoint::Tokenizer::open(&path) {
            Ok(tokenizer) => {
                let _ = tokenizer.encode("It's <|im_start|> 7 \u{1f469}\0");
                let _ = tokenizer.decode(&[0, 1, 300, u32::MAX]);
            }
            Err(error) => {
                let line = error.to_string();
                prop_assert!(!line.contains('\n') && line.len() < 1200, "{line}");
            }
        }
    });
}

#[test]
fn the_good_ones_are_read() {
    let bytes = fs::read(reference("tiny.gguf")).unwrap();
    assert!(matches!(read(bytes), Err(OpenError::Missing { .. })));
}
