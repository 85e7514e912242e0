//! Against the attention of Transformers' `MistralModel`, mask, cache and all: the tensors
//! in `tests/reference`, made by the script there.

use attention::Linear;
use chapter_cli::Tensors;
use chapter_cli::testing::{assert_close, references};
use grouped_query::GroupedQueryAttention;
use nalgebra::DMatrix;
use rotary::{Pairing, Rotary, RotaryAttention};
use sliding_window::experiments::{HEADS, Looks, scores_of_slice};
use sliding_window::{Pattern, WindowAttention, through_cache};

/// Both sides add in f32, in another order, and theirs turns by angles in f32, which are
/// off by 0.00002 at position 300.
const TOLERANCE: f32 = 5e-5;

fn layer(file: &Tensors) -> WindowAttention {
    let flags: Vec<&str> = file.metadata().unwrap()["flags"].split(' ').collect();
    let after = |flag: &str| {
        flags[flags.iter().position(|&found| found == flag).unwrap() + 1].parse::<f64>()
    };
    let linear = |name| Linear::new(file.linear(name).unwrap().weight, None).unwrap();
    let [q, k, v, o] = ["q_proj", "k_proj", "v_proj", "o_proj"].map(linear);
    let [heads, kv_heads, window] =
        ["--heads", "--kv-heads", "--window"].map(|flag| after(flag).unwrap() as usize);
    let width = q.shape().1 / heads;
    let layer = GroupedQueryAttention::new(q, k, v, o, heads, kv_heads).unwrap();
    let theta = after("--rope-theta").unwrap();
    let rotary = Rotary::new(width, theta, Pairing::Halves).unwrap();
    WindowAttention::new(RotaryAttention::new(layer, rotary).unwrap(), window).unwrap()
}

#[test]
fn every_layer_agrees_with_transformers_with_a_ring_and_without() {
    for reference in references(env!("CARGO_MANIFEST_DIR")) {
        let name = reference.name.clone();
        let path = format!(
            "{}/tests/reference/{name}.safetensors",
            env!("CARGO_MANIFEST_DIR")
        );
        let file = Tensors::open(path.as_ref()).unwrap();
        let (layer, x, y) =
            (layer(&file), file.matrix("x").unwrap(), file.matrix("y").unwrap());
        let whole = layer.forward(&x).unwrap();
        assert_close(&name, &whole.output, &y, TOLERANCE);
        for prompt in [0, 1, 6, x.nrows()] {
            let found = through_cache(&layer, &x, prompt).unwrap();
            assert_close(&name, &found.output, &y, TOLERANCE);
        }
        if file.contains("attention_weights") {
            let expected = file.stack("attention_weights", "[h, n, n]").unwrap();
            for (found, expected) in whole.weights.iter().zip(&expected.matrices) {
                assert_close(&name, found, expected, TOLERANCE);
            }
        }
    }
}

#[test]
fn the_scores_that_a_page_holds_are_those_of_the_slice() {
    for head in 0..HEADS {
        let found = Looks::of(head).unwrap().scores;
        let exact = scores_of_slice(head).unwrap();
        let n = exact.nrows();
        assert_eq!(found.shape(), (n, n));
        let known = DMatrix::from_fn(n, n, |query, key| {
            if key <= query { exact[(query, key)] } else { f32::NEG_INFINITY }
        });
        for (found, known) in found.iter().zip(known.iter()) {
            // Three decimals are kept.
            assert!(found == known || (found - known).abs() < 6e-4, "{found} {known}");
        }
    }
}

/// The first six layers of the configurations of Transformers 5.24, as `layer_types`.
#[test]
fn patterns_are_those_of_transformers() {
    let types = |every| {
        let windows = Pattern { window: 7, every }.windows(6);
        windows.iter().map(|w| if w.is_some() { 's' } else { 'f' }).collect::<String>()
    };
    assert_eq!(types(6), "sssssf", "Gemma3TextConfig");
    assert_eq!(types(2), "sfsfsf", "GptOssConfig");
    assert_eq!(types(4), "sssfss", "Olmo3Config");
}
