//! Against PyTorch: the tensors in `tests/reference`, made by the script there.

use attention::Linear;
use chapter_cli::testing::assert_close;
use chapter_cli::{LinearTensors, Tensors};
use decoding::{KvCache, prefill, through_cache};
use multi_head::MultiHeadAttention;
use nalgebra::DMatrix;
use std::path::Path;

/// Both sides add in f32, in another order: a few units in the last place of numbers
/// that are at most about 10.
const TOLERANCE: f32 = 2e-5;

/// The files of one sequence, and their heads.
const SEQUENCES: [(&str, usize); 5] = [
    ("one_token_2_heads", 2),
    ("two_tokens_1_head", 1),
    ("five_tokens_3_heads", 3),
    ("twelve_tokens_4_heads", 4),
    ("long_2_heads", 2),
];

struct Reference {
    layer: MultiHeadAttention,
    x: DMatrix<f32>,
    y: DMatrix<f32>,
    weights: Vec<DMatrix<f32>>,
}

impl Reference {
    fn open(name: &str, heads: usize) -> Reference {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference");
        let file = Tensors::open(&folder.join(format!("{name}.safetensors"))).unwrap();
        let linear = |name| {
            let LinearTensors { weight, bias } = file.linear(name).unwrap();
            Linear::new(weight, bias).unwrap()
        };
        let [q, k, v, o] = ["q_proj", "k_proj", "v_proj", "o_proj"].map(linear);
        Reference {
            layer: MultiHeadAttention::new(q, k, v, o, heads).unwrap(),
            x: file.matrix("x").unwrap(),
            y: file.matrix("y").unwrap(),
            weights: file.stack("attention_weights", "[h, n, n]").unwrap().matrices,
        }
    }
}

#[test]
fn any_prompt_then_token_by_token_agrees_with_pytorch() {
    for (name, heads) in SEQUENCES {
        let Reference { layer, x, y, weights } = Reference::open(name, heads);
        for prompt in 0..=x.nrows() {
            let found = through_cache(&layer, &x, prompt).unwrap();
            let label = format!("{name}, {prompt} at once");
            assert_close(&label, &found.output, &y, TOLERANCE);
            assert_eq!(found.weights.len(), weights.len(), "{label}");
            for (found, expected) in found.weights.iter().zip(&weights) {
                assert_close(&label, found, expected, TOLERANCE);
            }
        }
    }
}

#[test]
fn chunks_of_every_length_agree_with_pytorch() {
    let Reference { layer, x, y, .. } = Reference::open("long_2_heads", 2);
    let (keys, values) = layer.kv_widths();
    for len in [2, 3, 5, 7, 16, 47] {
        let mut cache = KvCache::new(x.nrows(), keys, values);
        let mut start = 0;
        while start < x.nrows() {
            let len = len.min(x.nrows() - start);
            let chunk = x.rows(start, len).into_owned();
            let found = prefill(&layer, &chunk, &mut cache).unwrap();
            let expected = y.rows(start, len).into_owned();
            let label = format!("{len} from {start}");
            assert_close(&label, &found.output, &expected, TOLERANCE);
            start += len;
        }
    }
}
