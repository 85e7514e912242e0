//! Against PyTorch's `scaled_dot_product_attention`: the tensors in `tests/reference`,
//! made by the script there, and the heads of MiniLM.

use attention::Mask;
use chapter_cli::Tensors;
use chapter_cli::testing::assert_close;
use flash::experiments::{difference_on, difference_on_passage};
use flash::{Align, Tile, attend, attend_causal, attend_tiled};
use grouped_query::Groups;
use nalgebra::DMatrix;
use std::path::{Path, PathBuf};

/// Both sides add in f32, in another order: a few units in the last place of numbers
/// that are at most about 5.
const TOLERANCE: f32 = 1e-5;

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

fn heads(file: &Tensors, name: &str) -> Vec<DMatrix<f32>> {
    file.stack(name, "[h, n, d]").unwrap().matrices
}

fn side_by_side(heads: &[DMatrix<f32>]) -> DMatrix<f32> {
    let columns: Vec<_> = heads.iter().flat_map(DMatrix::column_iter).collect();
    DMatrix::from_columns(&columns)
}

#[test]
fn every_call_agrees_with_pytorch() {
    let files = files();
    assert_eq!(files.len(), 16, "run make.py");
    for (name, path) in files {
        let file = Tensors::open(&path).unwrap();
        let [q, k, v, y] = ["q", "k", "v", "y"].map(|name| heads(&file, name));
        let groups = Groups::new(q.len(), k.len()).unwrap();
        let (n, m) = (q[0].nrows(), k[0].nrows());
        let flags = file.metadata().unwrap()["flags"].as_str();
        let align =
            if flags.contains("--top-left") { Align::First } else { Align::Last };
        let mask = match file.bool_stack("mask", "[n, m]") {
            Ok(mut mask) => Mask::Allowed(mask.matrices.remove(0)),
            Err(_) if flags.is_empty() => Mask::None,
            Err(_) if align == Align::First => Mask::Causal { offset: 0 },
            Err(_) => Mask::Causal { offset: m - n },
        };

        let [all_q, all_k, all_v] = [&q, &k, &v].map(|heads| side_by_side(heads));
        let (kv, vv) = (all_k.as_view(), all_v.as_view());
        let expected = side_by_side(&y);
        let found = attend(&all_q, kv, vv, groups, &mask).unwrap();
        assert_close(&name, &found, &expected, TOLERANCE);
        if flags.contains("--causal") {
            let found = attend_causal(&all_q, kv, vv, groups, align).unwrap();
            assert_close(&format!("{name}, aligned"), &found, &expected, TOLERANCE);
        }
        for (h, (q, y)) in q.iter().zip(&y).enumerate() {
            let g = groups.kv_head(h);
            let (k, v) = (k[g].as_view(), v[g].as_view());
            let tile = Tile { queries: 16, keys: 32 };
            let found = attend_tiled(q.as_view(), k, v, &mask, tile).unwrap();
            assert_close(&format!("{name}, tiled, head {h}"), &found, y, TOLERANCE);
        }
    }
}

#[test]
fn every_layer_of_minilm_agrees_with_chapter_5() {
    for layer in 0..6 {
        let difference = difference_on(layer).unwrap();
        assert!(difference < TOLERANCE, "layer {layer}: {difference:e}");
    }
    let difference = difference_on_passage().unwrap();
    assert!(difference < TOLERANCE, "passage: {difference:e}");
}
