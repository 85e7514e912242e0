//! Against PyTorch: the tensors in `tests/reference`, made by the script there, and the
//! golden maps of MiniLM beside its slice.

use attention::experiments;
use attention::{Attended, Attention, Linear, Mask};
use chapter_cli::testing::assert_close;
use chapter_cli::{LinearTensors, Tensors};
use std::path::Path;

/// Both sides add in f32, in another order: a few units in the last place of numbers
/// that are at most about 10.
const TOLERANCE: f32 = 2e-5;

fn linear(file: &Tensors, name: &str) -> Linear {
    let LinearTensors { weight, bias } = file.linear(name).unwrap();
    Linear::new(weight, bias).unwrap()
}

#[track_caller]
fn check(name: &str, mask: Option<&Mask>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference");
    let file = Tensors::open(&folder.join(format!("{name}.safetensors"))).unwrap();
    let [q, k, v] = ["q_proj", "k_proj", "v_proj"].map(|proj| linear(&file, proj));
    let layer = Attention::new(q, k, v).unwrap();

    let x = file.matrix("x").unwrap();
    let context = if file.contains("context") { "context" } else { "x" };
    let context = file.matrix(context).unwrap();
    let in_file = || file.bool_stack("mask", "[n, m]").unwrap().matrices.remove(0);
    let mask = mask.cloned().unwrap_or_else(|| Mask::Allowed(in_file()));
    let Attended { output, weights } =
        layer.forward_cross(&x, &context, &mask).unwrap();

    assert_close("y", &output, &file.matrix("y").unwrap(), TOLERANCE);
    let expected = &file.stack("attention_weights", "[1, n, m]").unwrap().matrices[0];
    assert_close("attention_weights", &weights, expected, TOLERANCE);
}

#[test]
fn self_attention_agrees_with_pytorch() {
    for name in ["self", "biased", "one_token", "wide_head"] {
        check(name, Some(&Mask::None));
    }
}

#[test]
fn cross_attention_agrees_with_pytorch() {
    for name in ["cross", "cross_one_key"] {
        check(name, Some(&Mask::None));
    }
}

#[test]
fn causal_attention_agrees_with_pytorch() {
    check("causal", Some(&Mask::Causal { offset: 0 }));
}

#[test]
fn masked_attention_agrees_with_pytorch() {
    check("masked", None);
}

#[test]
fn every_head_of_minilm_agrees_with_pytorch() {
    let golden = Tensors::open(&minilm::path("layer-3-golden.safetensors")).unwrap();
    let expected = golden.stack("attention_weights", "[heads, n, n]").unwrap().matrices;
    let context = golden.matrix("context").unwrap();
    let layer = minilm::Layer::load(3).unwrap();
    assert_eq!(expected.len(), layer.heads);
    for (h, expected) in expected.iter().enumerate() {
        let head = experiments::head(&layer, h).unwrap();
        let found = head.forward(&layer.x, &Mask::None).unwrap();
        assert_close(
            &format!("weights of head {h}"),
            &found.weights,
            expected,
            TOLERANCE,
        );
        let columns = context.columns(h * layer.head_dim(), layer.head_dim());
        let label = format!("output of head {h}");
        assert_close(&label, &found.output, &columns.into_owned(), TOLERANCE);
    }
}
