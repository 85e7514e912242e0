//! Against Transformers' `DeepseekV3Attention`: the tensors in `tests/reference`, made by
//! the script there.

use attention::{Linear, Mask};
use chapter_cli::testing::assert_close;
use chapter_cli::{LinearTensors, Tensors};
use latent::{
    Form, LatentAttention, Projections, QueryProjection, RmsNorm, Sizes, decode,
    prefill,
};
use multi_head::MultiHeadAttended;
use nalgebra::DMatrix;
use std::path::{Path, PathBuf};

/// Both sides add in f32, in another order, over four products in a row: a few units in
/// the last place of numbers that are at most about 10.
const TOLERANCE: f32 = 3e-5;

const FORMS: [Form; 2] = [Form::Naive, Form::Absorbed];

fn files() -> Vec<(String, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference");
    let all = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let tensors =
        all.filter(|path| path.extension().is_some_and(|e| e == "safetensors"));
    let named =
        |path: PathBuf| (path.file_stem().unwrap().to_str().unwrap().to_owned(), path);
    let mut files: Vec<_> = tensors.map(named).collect();
    files.sort();
    assert_eq!(files.len(), 13, "run make.py");
    files
}

/// The layer of a file, and whether it was run causally.
fn layer(file: &Tensors) -> (LatentAttention, bool) {
    let linear = |name| {
        let LinearTensors { weight, bias } = file.linear(name).unwrap();
        Linear::new(weight, bias).unwrap()
    };
    let norm = |name| RmsNorm::new(file.vector(name).unwrap().as_slice().to_vec());
    let flags: Vec<&str> = file.metadata().unwrap()["flags"].split(' ').collect();
    let [heads, nope_dim, rope_dim, v_dim] =
        [1, 3, 5, 7].map(|i| flags[i].parse().unwrap());
    let query = if file.contains("q_proj.weight") {
        QueryProjection::Full(linear("q_proj"))
    } else {
        QueryProjection::LowRank {
            q_a_proj: linear("q_a_proj"),
            q_a_layernorm: norm("q_a_layernorm.weight"),
            q_b_proj: linear("q_b_proj"),
        }
    };
    let projections = Projections {
        query,
        kv_a_proj: linear("kv_a_proj_with_mqa"),
        kv_a_layernorm: norm("kv_a_layernorm.weight"),
        kv_b_proj: linear("kv_b_proj"),
        o_proj: linear("o_proj"),
    };
    let sizes = Sizes { heads, nope_dim, rope_dim, v_dim };
    let theta = flags[9].parse().unwrap();
    let layer = LatentAttention::new(projections, sizes, theta).unwrap();
    (layer, flags.contains(&"--causal"))
}

fn matrices(file: &Tensors, name: &str) -> Vec<DMatrix<f32>> {
    file.stack(name, "[n, d] or [b, n, d]").unwrap().matrices
}

#[test]
fn every_layer_agrees_with_transformers_in_both_forms() {
    for (name, path) in files().iter().filter(|(name, _)| name != "batch") {
        let file = Tensors::open(path).unwrap();
        let (layer, causal) = layer(&file);
        let x = file.matrix("x").unwrap();
        let mask = match file.bool_stack("mask", "[n, n]") {
            Ok(mut mask) => Mask::Allowed(mask.matrices.remove(0)),
            Err(_) if causal => Mask::Causal { offset: 0 },
            Err(_) => Mask::None,
        };
        for form in FORMS {
            let MultiHeadAttended { output, weights } =
                layer.forward(&x, &mask, form).unwrap();
            let label = format!("{name}, {form:?}");
            assert_close(&label, &output, &file.matrix("y").unwrap(), TOLERANCE);
            let expected = matrices(&file, "attention_weights");
            assert_eq!(weights.len(), expected.len());
            for (h, (found, expected)) in weights.iter().zip(&expected).enumerate() {
                assert_close(&format!("{label}, head {h}"), found, expected, TOLERANCE);
            }
        }
    }
}

#[test]
fn the_cache_agrees_with_transformers_causal_pass_in_both_forms() {
    for (name, path) in files() {
        let file = Tensors::open(&path).unwrap();
        let (layer, causal) = layer(&file);
        let sequences = matrices(&file, "x").into_iter().zip(matrices(&file, "y"));
        for (x, y) in sequences.filter(|_| causal) {
            for form in FORMS {
                let mut cache = layer.cache(x.nrows());
                let first = x.nrows() / 2;
                let prompt = x.rows(0, first).into_owned();
                let found = prefill(&layer, &prompt, &mut cache, form).unwrap().output;
                let label = format!("{name}, {form:?}");
                assert_close(&label, &found, &y.rows(0, first), TOLERANCE);
                for token in first..x.nrows() {
                    let one = x.rows(token, 1).into_owned();
                    let row = decode(&layer, &one, &mut cache, form).unwrap().output;
                    assert_close(&label, &row, &y.rows(token, 1), TOLERANCE);
                }
            }
        }
    }
}
