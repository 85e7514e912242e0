//! Against PyTorch: the tensors in `tests/reference`, made by the script there, and the
//! golden maps of MiniLM beside its slices.

use attention::{Mask, files};
use chapter_cli::Tensors;
use chapter_cli::testing::assert_close;
use multi_head::experiments;
use multi_head::{MultiHeadAttended, MultiHeadAttention};
use std::path::Path;

/// Both sides add in f32, in another order: a few units in the last place of numbers
/// that are at most about 10.
const TOLERANCE: f32 = 2e-5;

#[track_caller]
fn check(name: &str, mask: Option<&Mask>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference");
    let file = Tensors::open(&folder.join(format!("{name}.safetensors"))).unwrap();
    let heads = file.metadata().unwrap()["heads"].parse().unwrap();
    let [q, k, v, o] = ["q_proj", "k_proj", "v_proj", "o_proj"]
        .map(|proj| files::linear(&file, proj).unwrap());
    let layer = MultiHeadAttention::new(q, k, v, o, heads).unwrap();

    let x = file.matrix("x").unwrap();
    let context = if file.contains("context") { "context" } else { "x" };
    let context = file.matrix(context).unwrap();
    let in_file = || file.bool_stack("mask", "[n, m]").unwrap().matrices.remove(0);
    let mask = mask.cloned().unwrap_or_else(|| Mask::Allowed(in_file()));
    let MultiHeadAttended { output, weights } =
        layer.forward_cross(&x, &context, &mask).unwrap();

    assert_close(name, &output, &file.matrix("y").unwrap(), TOLERANCE);
    let expected = file.stack("attention_weights", "[heads, n, m]").unwrap().matrices;
    assert_eq!(weights.len(), expected.len());
    for (h, (weights, expected)) in weights.iter().zip(&expected).enumerate() {
        assert_close(&format!("{name}, head {h}"), weights, expected, TOLERANCE);
    }
}

#[test]
fn self_attention_agrees_with_pytorch() {
    for name in ["self", "biased", "one_token", "one_head", "twelve", "width_one"] {
        check(name, Some(&Mask::None));
    }
}

#[test]
fn heads_of_any_width_agree_with_pytorch() {
    check("other_widths", Some(&Mask::None));
}

#[test]
fn cross_attention_agrees_with_pytorch() {
    for name in ["cross", "cross_one_key"] {
        check(name, Some(&Mask::None));
    }
}

#[test]
fn causal_attention_agrees_with_pytorch() {
    for name in ["causal", "causal_long"] {
        check(name, Some(&Mask::Causal { offset: 0 }));
    }
}

#[test]
fn masked_attention_agrees_with_pytorch() {
    for name in ["masked", "masked_self"] {
        check(name, None);
    }
}

#[test]
fn every_layer_of_minilm_agrees_with_pytorch() {
    for layer in 0..6 {
        let file = minilm::path(&format!("layer-{layer}-golden.safetensors"));
        let golden = Tensors::open(&file).unwrap();
        let expected = golden.stack("attention_weights", "[heads, n, n]").unwrap();
        let real = experiments::real(layer).unwrap();
        assert_eq!(real.found.weights.len(), expected.matrices.len());
        for (found, expected) in real.found.weights.iter().zip(&expected.matrices) {
            assert_close("weights", found, expected, TOLERANCE);
        }
        let context = golden.matrix("context").unwrap();
        assert_close("context", &real.found.found, &context, TOLERANCE);
    }
}
