//! What the reader sees: every output and number of the chapter. A change here changes
//! the book, so the prose around it is read again.

use decoder_layer::example;
use insta::assert_snapshot;

#[test]
fn told() {
    assert_snapshot!("told", example::told().unwrap());
}

#[test]
fn row() {
    assert_snapshot!("row", example::row().unwrap());
}

#[test]
fn spans() {
    assert_snapshot!("spans", example::spans().unwrap());
}

#[test]
fn cap_after_mask() {
    assert_snapshot!("cap_after_mask", example::cap_after_mask().unwrap());
}

#[test]
fn sink_scaled() {
    assert_snapshot!("sink_scaled", example::sink_scaled().unwrap());
}

#[test]
fn facts() {
    assert_snapshot!("facts", example::facts().unwrap());
}

#[test]
fn models() {
    assert_snapshot!("models", example::models().unwrap());
}
