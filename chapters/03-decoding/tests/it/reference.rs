//! Against PyTorch: the tensors in `tests/reference`, made by the script there.

use attention::Linear;
use chapter_cli::testing::assert_close;
use chapter_cli::{LinearTensors, Tensors};
use decoding::experiments::{apart, read};
use decoding::{KvCache, prefill, through_cache};
use minilm::smollm2::Sentence;
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

/// Rotation leaves numbers of about 10, of which 64 are multiplied and added.
const ROTATED: f32 = 1e-4;

#[test]
fn a_head_of_a_decoder_looks_where_it_looks_in_pytorch() {
    let golden = Tensors::open(&minilm::path("smollm2-golden.safetensors")).unwrap();
    for (name, sentence) in [("tired", Sentence::Tired), ("wide", Sentence::Wide)] {
        let found = read(sentence).unwrap().weights;
        let expected = golden.matrix(&format!("{name}.head_8")).unwrap();
        assert_eq!(found.len(), expected.nrows());
        for (token, found) in found.iter().enumerate() {
            let expected = expected.view((token, 0), found.shape()).into_owned();
            assert_close(name, found, &expected, ROTATED);
        }
    }
}

#[test]
fn two_sentences_keep_the_same_of_what_they_begin_with() {
    let [tired, wide] = [Sentence::Tired, Sentence::Wide].map(|s| read(s).unwrap());
    let alike =
        tired.tokens.iter().zip(&wide.tokens).take_while(|(a, b)| a == b).count();
    let apart = apart(&tired, &wide);
    assert_eq!(alike, 11);
    assert!(apart[..alike].iter().all(|apart| *apart == 0.0), "{apart:?}");
    assert!(apart[alike] > 1.0, "{apart:?}");
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
