//! Against PyTorch's `scaled_dot_product_attention` with `enable_gqa`: the tensors in
//! `tests/reference`, made by the script there.

use attention::{Linear, Mask};
use chapter_cli::testing::assert_close;
use chapter_cli::{LinearTensors, Tensors};
use decoding::KvCache;
use grouped_query::{GroupedQueryAttention, decode, experiments, prefill};
use multi_head::MultiHeadAttended;
use nalgebra::DMatrix;
use std::path::{Path, PathBuf};

/// Both sides add in f32, in another order: a few units in the last place of numbers
/// that are at most about 10.
const TOLERANCE: f32 = 2e-5;

fn files() -> Vec<(String, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference");
    let all = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let tensors =
        all.filter(|path| path.extension().is_some_and(|e| e == "safetensors"));
    let named =
        |path: PathBuf| (path.file_stem().unwrap().to_str().unwrap().to_owned(), path);
    let mut files: Vec<_> = tensors.map(named).collect();
    files.sort();
    files
}

/// The layer of a file, and whether it was run causally.
fn layer(file: &Tensors) -> (GroupedQueryAttention, bool) {
    let linear = |name| {
        let LinearTensors { weight, bias } = file.linear(name).unwrap();
        Linear::new(weight, bias).unwrap()
    };
    let flags: Vec<&str> = file.metadata().unwrap()["flags"].split(' ').collect();
    let [heads, kv_heads] = [1, 3].map(|i| flags[i].parse().unwrap());
    let [q, k, v, o] = ["q_proj", "k_proj", "v_proj", "o_proj"].map(linear);
    let layer = GroupedQueryAttention::new(q, k, v, o, heads, kv_heads).unwrap();
    (layer, flags.contains(&"--causal"))
}

fn matrices(file: &Tensors, name: &str) -> Vec<DMatrix<f32>> {
    file.stack(name, "[n, d] or [b, n, d]").unwrap().matrices
}

#[test]
fn every_layer_agrees_with_pytorch() {
    let files = files();
    assert_eq!(files.len(), 18, "run make.py");
    for (name, path) in files.iter().filter(|(name, _)| name != "batch") {
        let file = Tensors::open(path).unwrap();
        let (layer, causal) = layer(&file);
        let x = file.matrix("x").unwrap();
        let context = if file.contains("context") { "context" } else { "x" };
        let context = file.matrix(context).unwrap();
        let mask = match file.bool_stack("mask", "[n, m]") {
            Ok(mut mask) => Mask::Allowed(mask.matrices.remove(0)),
            Err(_) if causal => Mask::Causal { offset: 0 },
            Err(_) => Mask::None,
        };
        let MultiHeadAttended { output, weights } =
            layer.forward_cross(&x, &context, &mask).unwrap();
        assert_close(name, &output, &file.matrix("y").unwrap(), TOLERANCE);
        let expected = matrices(&file, "attention_weights");
        assert_eq!(weights.len(), expected.len());
        for (h, (found, expected)) in weights.iter().zip(&expected).enumerate() {
            assert_close(&format!("{name}, head {h}"), found, expected, TOLERANCE);
        }
    }
}

#[test]
fn the_cache_agrees_with_pytorchs_causal_pass() {
    for (name, path) in files() {
        let file = Tensors::open(&path).unwrap();
        let (layer, causal) = layer(&file);
        if !causal {
            continue;
        }
        for (x, y) in matrices(&file, "x").iter().zip(matrices(&file, "y")) {
            let (keys, values) = layer.kv_widths();
            let mut cache = KvCache::new(x.nrows(), keys, values);
            let first = x.nrows() / 2;
            let prompt = x.rows(0, first).into_owned();
            let mut rows = prefill(&layer, &prompt, &mut cache).unwrap().output;
            for token in first..x.nrows() {
                let one = x.rows(token, 1).into_owned();
                let row = decode(&layer, &one, &mut cache).unwrap().output;
                rows = rows.insert_row(token, 0.0);
                rows.row_mut(token).copy_from(&row.row(0));
            }
            assert_close(&name, &rows, &y, TOLERANCE);
        }
    }
}

#[test]
fn a_layer_of_minilm_with_all_its_heads_is_what_pytorch_says() {
    let golden = Tensors::open(&minilm::path("layer-5-golden.safetensors")).unwrap();
    let layer = minilm::Layer::load(5).unwrap();
    let all = experiments::grouped(&layer, 12, grouped_query::Pooling::Mean).unwrap();
    let heads = experiments::heads_of(&all, &layer.x).unwrap();
    let expected = golden.matrix("context").unwrap();
    assert_close("context", &heads.found, &expected, TOLERANCE);
}

/// Relative errors of the heads' output in layer 5, computed in `f64` beside this code.
#[test]
fn converting_layer_5_costs_what_it_is_known_to_cost() {
    let known = [
        (grouped_query::Pooling::Mean, [0.7943, 0.8867, 0.9170, 0.9499, 0.9811]),
        (grouped_query::Pooling::First, [1.1529, 1.2748, 1.3224, 1.4291, 1.6477]),
    ];
    for (pooling, errors) in known {
        for (kv_heads, error) in [6, 4, 3, 2, 1].into_iter().zip(errors) {
            let found = experiments::conversion_error(5, kv_heads, pooling).unwrap();
            assert!((found - error).abs() < 5e-4, "{pooling:?} {kv_heads}: {found}");
        }
    }
}
