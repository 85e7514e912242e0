//! What the reader sees: every output and number of the chapter. A change here changes
//! the book, so the prose around it is read again.

use decoding::example;
use insta::assert_snapshot;

#[test]
fn three_tokens() {
    assert_snapshot!("three_tokens", example::three_tokens().unwrap());
}

#[test]
fn splits() {
    assert_snapshot!("splits", example::splits().unwrap());
}

#[test]
fn twins() {
    assert_snapshot!("twins", example::twins().unwrap());
}

#[test]
fn per_token() {
    assert_snapshot!("per_token", example::per_token().unwrap());
}

#[test]
fn roofline() {
    assert_snapshot!("roofline", example::roofline().unwrap());
}

#[test]
fn models() {
    assert_snapshot!("models", example::models().unwrap());
}

#[test]
fn versions() {
    assert_snapshot!("versions", example::versions().unwrap());
}

#[test]
fn shared() {
    assert_snapshot!("shared", example::shared().unwrap());
}

#[test]
fn top_left() {
    assert_snapshot!("top_left", example::top_left().unwrap());
}

#[test]
fn late_append() {
    assert_snapshot!("late_append", example::late_append().unwrap());
}

#[test]
fn no_mask() {
    assert_snapshot!("no_mask", example::no_mask().unwrap());
}

#[test]
fn facts() {
    assert_snapshot!("facts", example::facts().unwrap());
}
