//! What the reader sees: every output and number of the chapter. A change here changes
//! the book, so the prose around it is read again.

use flash::example;
use insta::assert_snapshot;

#[test]
fn online() {
    assert_snapshot!("online", example::online().unwrap());
}

#[test]
fn alignments() {
    assert_snapshot!("alignments", example::alignments().unwrap());
}

#[test]
fn traffic() {
    assert_snapshot!("traffic", example::traffic().unwrap());
}

#[test]
fn versions() {
    assert_snapshot!("versions", example::versions().unwrap());
}

#[test]
fn beside() {
    assert_snapshot!("beside", example::beside().unwrap());
}

#[test]
fn decoding() {
    assert_snapshot!("decoding", example::decoding().unwrap());
}

#[test]
fn memory() {
    assert_snapshot!("memory", example::memory().unwrap());
}

#[test]
fn rises() {
    assert_snapshot!("rises", example::rises().unwrap());
}

#[test]
fn sum_not_rescaled() {
    assert_snapshot!("sum_not_rescaled", example::sum_not_rescaled().unwrap());
}

#[test]
fn divided_in_each_tile() {
    assert_snapshot!("divided_in_each_tile", example::divided_in_each_tile().unwrap());
}

#[test]
fn finite_start() {
    assert_snapshot!("finite_start", example::finite_start().unwrap());
}

#[test]
fn padded_with_zeros() {
    assert_snapshot!("padded_with_zeros", example::padded_with_zeros().unwrap());
}

#[test]
fn facts() {
    assert_snapshot!("facts", example::facts().unwrap());
}
