//! Against PyTorch: the tensors in `tests/reference`, made by the script there, and the
//! widths that Shazeer's paper prints.

use attention::{Mask, files};
use chapter_cli::Tensors;
use chapter_cli::testing::assert_close;
use multi_head::MultiHeadAttended;
use multi_query::experiments::{self, LANGUAGE_MODEL, Shared, TRANSLATION};
use multi_query::experiments::{multi_head_parameters, multi_query_parameters};
use multi_query::{MultiQueryAttention, decode, prefill};
use std::path::Path;

/// Both sides add in f32, in another order: a few units in the last place of numbers
/// that are at most about 10.
const TOLERANCE: f32 = 3e-5;

struct Reference {
    file: Tensors,
    layer: MultiQueryAttention,
}

fn open(name: &str) -> Reference {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference");
    let file = Tensors::open(&folder.join(format!("{name}.safetensors"))).unwrap();
    let heads = file.metadata().unwrap()["heads"].parse().unwrap();
    let linear = |proj| files::linear(&file, proj).unwrap();
    let [q, k, v, o] = ["q_proj", "k_proj", "v_proj", "o_proj"].map(linear);
    let layer = MultiQueryAttention::new(q, k, v, o, heads).unwrap();
    Reference { file, layer }
}

#[track_caller]
fn agrees(name: &str, Reference { file, .. }: &Reference, found: &MultiHeadAttended) {
    let y = file.matrix("y").unwrap();
    assert_close(&format!("{name}: y"), &found.output, &y, TOLERANCE);
    let expected = file.stack("attention_weights", "[heads, n, m]").unwrap().matrices;
    assert_eq!(found.weights.len(), expected.len());
    for (h, (found, expected)) in found.weights.iter().zip(&expected).enumerate() {
        assert_close(&format!("{name}: weights {h}"), found, expected, TOLERANCE);
    }
}

#[track_caller]
fn check(name: &str, mask: Option<&Mask>) {
    let reference = open(name);
    let Reference { file, layer } = &reference;
    let x = file.matrix("x").unwrap();
    let context = if file.contains("context") { "context" } else { "x" };
    let context = file.matrix(context).unwrap();
    let in_file = || file.bool_stack("mask", "[n, m]").unwrap().matrices.remove(0);
    let mask = mask.cloned().unwrap_or_else(|| Mask::Allowed(in_file()));
    let found = layer.forward_cross(&x, &context, &mask).unwrap();
    agrees(name, &reference, &found);
}

#[test]
fn self_attention_agrees_with_pytorch() {
    for name in ["self", "biased", "one_token", "one_head", "narrow_values"] {
        check(name, Some(&Mask::None));
    }
}

#[test]
fn cross_attention_agrees_with_pytorch() {
    for name in ["cross", "cross_one_key", "long_context"] {
        check(name, Some(&Mask::None));
    }
}

#[test]
fn causal_attention_agrees_with_pytorch() {
    for name in ["causal", "twelve_heads"] {
        check(name, Some(&Mask::Causal { offset: 0 }));
    }
}

#[test]
fn masked_attention_agrees_with_pytorch() {
    check("masked", None);
}

#[test]
fn decoding_agrees_with_pytorch_token_by_token() {
    for (name, first) in [("causal", 0), ("causal", 7), ("twelve_heads", 40)] {
        let reference = open(name);
        let x = reference.file.matrix("x").unwrap();
        let n = x.nrows();
        let (key, value) = reference.layer.kv_widths();
        let mut cache = decoding::KvCache::new(n, key, value);
        let prompt = x.rows(0, first).into_owned();
        let mut found = prefill(&reference.layer, &prompt, &mut cache).unwrap().output;
        for token in first..n {
            let x = x.rows(token, 1).into_owned();
            let one = decode(&reference.layer, &x, &mut cache).unwrap().output;
            found = found.insert_row(token, 0.0);
            found.set_row(token, &one.row(0));
        }
        let y = reference.file.matrix("y").unwrap();
        assert_close(&format!("{name}: y"), &found, &y, TOLERANCE);
    }
}

#[test]
fn hidden_widths_are_those_that_the_paper_prints() {
    let query = multi_query_parameters(1024, 8, 128);
    let one_head = multi_head_parameters(1024, 1, 128);
    let d_ff = |model, attention| experiments::matching_d_ff(model, attention).unwrap();
    assert_eq!(d_ff(&TRANSLATION, query), 5440);
    assert_eq!(d_ff(&TRANSLATION, one_head), 6784);
    assert_eq!(d_ff(&LANGUAGE_MODEL, query), 9088);
    assert_eq!(d_ff(&LANGUAGE_MODEL, one_head), 9984);
    // The paper's other models have fewer or narrower heads of the same total width.
    for (heads, width) in [(2, 64), (4, 32), (8, 16)] {
        let attention = multi_head_parameters(1024, heads, width);
        assert_eq!(d_ff(&TRANSLATION, attention), 6784);
        assert_eq!(d_ff(&LANGUAGE_MODEL, attention), 9984);
    }
}

#[test]
fn minilm_before_sharing_is_what_pytorch_makes_of_it() {
    for layer in 0..6 {
        let golden = minilm::path(&format!("layer-{layer}-golden.safetensors"));
        let golden = Tensors::open(&golden).unwrap();
        let own = experiments::own_keys(&minilm::Layer::load(layer).unwrap()).unwrap();
        let context = golden.matrix("context").unwrap();
        assert_close(&format!("layer {layer}"), &own.found, &context, TOLERANCE);
    }
}

#[test]
fn the_converted_layer_looks_where_its_shared_heads_look() {
    let layer = minilm::Layer::load(3).unwrap();
    let converted = experiments::converted(&layer).unwrap();
    let found = converted.forward(&layer.x, &Mask::None).unwrap();
    let heads = experiments::shared(&layer, Shared::Both).unwrap();
    assert_eq!(found.weights, heads.weights);
    assert_eq!(converted.kv_widths(), (layer.head_dim(), layer.head_dim()));
}

#[test]
fn partly_shared_heads_agree_with_the_layer_where_all_is_shared() {
    let layer = minilm::Layer::load(5).unwrap();
    let weights = |what| experiments::shared(&layer, what).unwrap().weights;
    let (keys, both) = (weights(Shared::Keys), weights(Shared::Both));
    let own = experiments::own_keys(&layer).unwrap().weights;
    for (h, (keys, both)) in keys.iter().zip(&both).enumerate() {
        assert_close(&format!("shared keys, head {h}"), keys, both, TOLERANCE);
    }
    assert_eq!(weights(Shared::Values), own);
}
