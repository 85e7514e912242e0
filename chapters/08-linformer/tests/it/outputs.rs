//! What the reader sees: every output and number of the chapter. A change here changes
//! the book, so the prose around it is read again.

use insta::assert_snapshot;
use linformer::example;

#[test]
fn four_tokens() {
    assert_snapshot!("four_tokens", example::four_tokens().unwrap());
}

#[test]
fn shorter() {
    assert_snapshot!("shorter", example::shorter().unwrap());
}

#[test]
fn sharing() {
    assert_snapshot!("sharing", example::sharing().unwrap());
}

#[test]
fn spectrum() {
    assert_snapshot!("spectrum", example::spectrum().unwrap());
}

#[test]
fn map_errors() {
    assert_snapshot!("map_errors", example::map_errors().unwrap());
}

#[test]
fn output_errors() {
    assert_snapshot!("output_errors", example::output_errors().unwrap());
}

#[test]
fn layers() {
    assert_snapshot!("layers", example::layers().unwrap());
}

#[test]
fn theorem() {
    assert_snapshot!("theorem", example::theorem().unwrap());
}

#[test]
fn cost() {
    assert_snapshot!("cost", example::cost().unwrap());
}

#[test]
fn time() {
    assert_snapshot!("time", example::time().unwrap());
}

#[test]
fn mistakes() {
    assert_snapshot!("mistakes", example::mistakes().unwrap());
}

#[test]
fn wrong_side() {
    assert_snapshot!("wrong_side", example::wrong_side().unwrap());
}

#[test]
fn facts() {
    assert_snapshot!("facts", example::facts().unwrap());
}
