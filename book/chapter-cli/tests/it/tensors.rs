//! What chapters ask of a file beyond `forward`.

use crate::common::{Folder, Tensor, f32s, file, zeros};
use chapter_cli::{LinearTensors, Tensors};
use nalgebra::{dmatrix, dvector};
use std::collections::HashMap;

fn open(tensors: &[Tensor]) -> Tensors {
    let folder = Folder::new().with("in", file(tensors));
    Tensors::open(&folder.path("in")).unwrap()
}

#[test]
fn a_linear_weight_is_in_by_out_and_a_matrix_as_it_is_written() {
    let numbers = [1.0, 2.0, 3.0, 10.0, 20.0, 30.0];
    let tensors = open(&[f32s("q.weight", &[2, 3], &numbers)]);
    let weight = dmatrix![1.0, 10.0; 2.0, 20.0; 3.0, 30.0];
    let linear = tensors.linear("q").unwrap();
    assert_eq!(linear, LinearTensors { weight: weight.clone(), bias: None });
    assert_eq!(tensors.matrix("q.weight").unwrap(), weight.transpose());
}

#[test]
fn a_bias_comes_with_its_weight() {
    let tensors =
        open(&[zeros("q.weight", &[2, 3]), f32s("q.bias", &[2], &[4.0, 5.0])]);
    assert_eq!(tensors.linear("q").unwrap().bias, Some(dvector![4.0, 5.0]));
    assert_eq!(tensors.vector("q.bias").unwrap(), dvector![4.0, 5.0]);
}

#[test]
fn a_stack_is_one_matrix_for_each_sequence_or_one_for_all() {
    let numbers = [1.0, 2.0, 3.0, 4.0];
    let tensors =
        open(&[f32s("b", &[2, 1, 2], &numbers), f32s("a", &[2, 2], &numbers)]);
    let batch = tensors.stack("b", "[h, n, d]").unwrap();
    assert_eq!((batch.batch(), batch.rows(), batch.cols()), (Some(2), 1, 2));
    assert_eq!(batch.matrices, [dmatrix![1.0, 2.0], dmatrix![3.0, 4.0]]);
    assert_eq!(batch.of_sequence(1), Some(&dmatrix![3.0, 4.0]));
    assert_eq!(batch.of_sequence(2), None);

    let one = tensors.stack("a", "[n, d]").unwrap();
    assert_eq!((one.batch(), one.rows(), one.cols()), (None, 2, 2));
    assert_eq!(one.of_sequence(5), Some(&dmatrix![1.0, 2.0; 3.0, 4.0]));
}

#[test]
fn names_are_those_behind_the_prefix() {
    let tensors = open(&[zeros("l.b", &[1]), zeros("l.a", &[2]), zeros("other", &[3])]);
    assert_eq!(tensors.names(), ["l.a", "l.b", "other"]);
    let layer = tensors.with_prefix("l.");
    assert_eq!(layer.names(), ["a", "b"]);
    assert!(layer.contains("a") && !layer.contains("l.a") && !layer.contains("other"));
    assert_eq!(layer.shape("a").unwrap(), [2]);
    assert_eq!(tensors.shape("other").unwrap(), [3]);
}

#[test]
fn a_mismatch_names_the_tensor_as_the_file_does() {
    let tensors = open(&[zeros("l.k_proj.weight", &[48, 512])]).with_prefix("l.");
    let why = "each of 8 heads has 8 features";
    let error = tensors.mismatch("k_proj.weight", &[64, 512], why);
    assert_eq!(
        error.to_string(),
        "l.k_proj.weight: shape [48, 512], wanted [64, 512], because each of 8 heads \
         has 8 features"
    );
    assert!(
        tensors.mismatch("q", &[1], why).to_string().starts_with("no tensor `l.q`")
    );
}

#[test]
fn metadata_is_what_the_writer_noted() {
    let header = r#"{"__metadata__":{"format":"pt"}}"#;
    let folder = Folder::new().with("in", crate::common::claim(header, 0));
    let tensors = Tensors::open(&folder.path("in")).unwrap();
    let noted = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    assert_eq!(tensors.metadata(), Some(&noted));
    assert_eq!(open(&[]).metadata(), None);
}

#[test]
fn only_tensors_that_were_read_are_warned_about_and_once() {
    let nan = |name| f32s(name, &[1], &[f32::NAN]);
    let tensors = open(&[nan("a.read"), nan("a.unread")]);
    assert!(tensors.warnings().is_empty());
    for _ in 0..2 {
        tensors.with_prefix("a").vector("read").unwrap();
    }
    let wanted = ["a.read holds 1 NaN; every output that uses them is NaN"];
    assert_eq!(tensors.warnings(), wanted);
}
