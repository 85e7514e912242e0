//! Against Transformers' `LlamaAttention` and, for the interleaved pairing,
//! `CohereAttention`, both eager: the tensors in `tests/reference`, made by the script there.

use attention::{Linear, Mask};
use chapter_cli::testing::assert_close;
use chapter_cli::{LinearTensors, Tensors};
use decoding::KvCache;
use grouped_query::GroupedQueryAttention;
use minilm::smollm2::{Sentence, Slice, Turned};
use multi_head::{MultiHeadAttended, Projected};
use nalgebra::DMatrix;
use rotary::{Llama3Scaling, Pairing, Rotary, RotaryAttention, decode, prefill};
use std::path::{Path, PathBuf};

/// Both sides add in f32, in another order: a few units in the last place of numbers
/// that are at most about 10.
const TOLERANCE: f32 = 2e-5;

/// At position 2,000 an angle that was computed in f32, as theirs is, is off by up to
/// 0.0001 radians, and a turned number of 3 by three times as much.
const FAR: f32 = 3e-4;

/// In an output that is an average over 2,000 tokens less of that is left: 3.4e-5, most of
/// it theirs. A processor that adds in another order moves ours by a tenth of that.
const LONG: f32 = 1.5e-4;

/// What the chapters before this one take from the slice as turned is what this one turns.
#[test]
fn a_trained_layer_turns_as_in_transformers() {
    let slice = Slice::load().unwrap();
    let (_, x) = slice.sentence(Sentence::Wide).unwrap();
    let linear = |name| Linear::new(slice.weight(name).unwrap(), None).unwrap();
    let [q, k, v, o] = ["q_proj", "k_proj", "v_proj", "o_proj"].map(linear);
    let (heads, kv_heads) = (slice.heads, slice.kv_heads);
    let layer = GroupedQueryAttention::new(q, k, v, o, heads, kv_heads).unwrap();
    let rotary = Rotary::new(64, slice.theta, Pairing::Halves).unwrap();
    let layer = RotaryAttention::new(layer, rotary).unwrap();

    let found = layer.project(&slice.normed(&x), 0).unwrap();
    let expected = Turned::load(Sentence::Wide).unwrap();
    for (name, found, expected) in [
        ("q", found.q, expected.q),
        ("k", found.k, expected.k),
        ("v", found.v, expected.v),
    ] {
        assert_close(name, &found, &expected, TOLERANCE);
    }
}

fn files() -> Vec<(String, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference");
    let all = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let tensors =
        all.filter(|path| path.extension().is_some_and(|e| e == "safetensors"));
    let named =
        |path: PathBuf| (path.file_stem().unwrap().to_str().unwrap().to_owned(), path);
    let mut files: Vec<_> = tensors.map(named).collect();
    files.sort();
    assert_eq!(files.len(), 20, "run make.py");
    files
}

/// The layer of a file, and whether it was run causally.
fn layer(file: &Tensors) -> (RotaryAttention, bool) {
    let linear = |name| {
        let LinearTensors { weight, bias } = file.linear(name).unwrap();
        Linear::new(weight, bias).unwrap()
    };
    let flags: Vec<&str> = file.metadata().unwrap()["flags"].split(' ').collect();
    let after = |flag: &str| {
        let place = flags.iter().position(|&found| found == flag)?;
        Some(flags[place + 1].to_owned())
    };
    let count = |flag| after(flag).unwrap().parse::<usize>().unwrap();
    let (heads, kv_heads) = (count("--heads"), count("--kv-heads"));
    let theta = after("--rope-theta").map_or(10_000.0, |theta| theta.parse().unwrap());
    let is_interleaved = flags.contains(&"--interleaved");
    let pairing = if is_interleaved { Pairing::Neighbors } else { Pairing::Halves };

    let [q, k, v, o] = ["q_proj", "k_proj", "v_proj", "o_proj"].map(linear);
    let mut rotary = Rotary::new(q.shape().1 / heads, theta, pairing).unwrap();
    if let Some(scaling) = after("--rope-scaling") {
        let numbers: Vec<f64> =
            scaling.split(',').map(|number| number.parse().unwrap()).collect();
        let scaling = Llama3Scaling {
            factor: numbers[0],
            low_freq_factor: numbers[1],
            high_freq_factor: numbers[2],
            original_context: numbers[3],
        };
        rotary = rotary.scaled(scaling).unwrap();
    }
    let layer = GroupedQueryAttention::new(q, k, v, o, heads, kv_heads).unwrap();
    (RotaryAttention::new(layer, rotary).unwrap(), flags.contains(&"--causal"))
}

fn matrices(file: &Tensors, name: &str) -> Vec<DMatrix<f32>> {
    file.stack(name, "[n, d] or [b, n, d]").unwrap().matrices
}

fn tolerance(name: &str) -> f32 {
    if name.starts_with("long") { LONG } else { TOLERANCE }
}

#[test]
fn every_layer_agrees_with_transformers() {
    for (name, path) in files().iter().filter(|(name, _)| name != "far") {
        let file = Tensors::open(path).unwrap();
        let (layer, causal) = layer(&file);
        let mask = match file.bool_stack("mask", "[n, m]") {
            Ok(mut mask) => Mask::Allowed(mask.matrices.remove(0)),
            Err(_) if causal => Mask::Causal { offset: 0 },
            Err(_) => Mask::None,
        };
        let mut expected_weights = if file.contains("attention_weights") {
            matrices_of_all(&file, "attention_weights").into_iter()
        } else {
            Vec::new().into_iter()
        };
        for (x, y) in matrices(&file, "x").iter().zip(matrices(&file, "y")) {
            let MultiHeadAttended { output, weights } =
                layer.forward(x, &mask).unwrap();
            assert_close(name, &output, &y, tolerance(name));
            for (found, expected) in weights.iter().zip(&mut expected_weights) {
                assert_close(name, found, &expected, TOLERANCE);
            }
        }
        assert!(expected_weights.next().is_none(), "{name}");
    }
}

/// The last two axes of a tensor of any rank, as matrices.
fn matrices_of_all(file: &Tensors, name: &str) -> Vec<DMatrix<f32>> {
    let shape = file.shape(name).unwrap();
    let [.., rows, columns] = shape[..] else { panic!("{name}: {shape:?}") };
    let bytes = file.raw(name).unwrap().bytes.into_owned();
    let numbers: Vec<f32> = bytes
        .chunks_exact(4)
        .map(|four| f32::from_le_bytes(four.try_into().unwrap()))
        .collect();
    let matrices = numbers.chunks_exact(rows * columns);
    matrices.map(|part| DMatrix::from_row_slice(rows, columns, part)).collect()
}

#[test]
fn the_cache_agrees_with_transformers_causal_pass() {
    let mut tried = 0;
    for (name, path) in files() {
        let file = Tensors::open(&path).unwrap();
        let (layer, causal) = layer(&file);
        if !causal {
            continue;
        }
        tried += 1;
        for (x, y) in matrices(&file, "x").iter().zip(matrices(&file, "y")) {
            let (keys, values) = layer.layer().kv_widths();
            let mut cache = KvCache::new(x.nrows(), keys, values);
            // Of the long texts, the last few tokens are decoded one by one.
            let first = (x.nrows() / 2).max(x.nrows().saturating_sub(8));
            let prompt = x.rows(0, first).into_owned();
            let prompt = prefill(&layer, &prompt, &mut cache).unwrap().output;
            let rows = y.rows(0, first).into_owned();
            assert_close(&name, &prompt, &rows, tolerance(&name));
            for token in first..x.nrows() {
                let one = x.rows(token, 1).into_owned();
                let row = decode(&layer, &one, &mut cache).unwrap().output;
                let expected = y.rows(token, 1).into_owned();
                assert_close(&name, &row, &expected, tolerance(&name));
            }
        }
    }
    assert_eq!(tried, 16);
}

#[test]
fn queries_and_keys_far_down_a_text_agree_with_transformers() {
    let far = files().into_iter().find(|(name, _)| name == "far").unwrap();
    let file = Tensors::open(&far.1).unwrap();
    let start = file.metadata().unwrap()["start"].parse().unwrap();
    let (layer, _) = layer(&file);
    let Projected { q, k, .. } =
        layer.project(&file.matrix("x").unwrap(), start).unwrap();
    assert_close("queries", &q, &file.matrix("q").unwrap(), FAR);
    assert_close("keys", &k, &file.matrix("k").unwrap(), FAR);
}

/// How many times slower Llama 3.1's pairs turn, of those on both sides of the borders of
/// its three ranges, as Transformers computes it.
const SLOWER: [(usize, f32); 8] = [
    (0, 1.0),
    (28, 1.0),
    (29, 1.207_48),
    (31, 2.026_31),
    (32, 2.694_53),
    (34, 5.257_33),
    (35, 8.0),
    (63, 8.0),
];

#[test]
fn llama_3_1_slows_its_frequencies_down_as_transformers_does() {
    let plain = Rotary::new(128, 5e5, Pairing::Halves).unwrap();
    let scaled = plain.clone().scaled(Llama3Scaling::LLAMA_3_1).unwrap();
    for (pair, slower) in SLOWER {
        let found = plain.frequencies()[pair] / scaled.frequencies()[pair];
        assert!((found - slower).abs() < 1e-4, "pair {pair}: {found}");
    }
}
