//! What the reader sees: every output and number of the chapter. A change here changes
//! the book, so the prose around it is read again.

use choosing::example;
use insta::assert_snapshot;

#[test]
fn worked() {
    assert_snapshot!("worked", example::worked().unwrap());
}

#[test]
fn one_sequence() {
    assert_snapshot!("one_sequence", example::one_sequence().unwrap());
}

#[test]
fn layers() {
    assert_snapshot!("layers", example::layers().unwrap());
}

#[test]
fn devices() {
    assert_snapshot!("devices", example::devices().unwrap());
}

#[test]
fn divided() {
    assert_snapshot!("divided", example::divided().unwrap());
}

#[test]
fn experts() {
    assert_snapshot!("experts", example::experts().unwrap());
}

#[test]
fn capstone() {
    assert_snapshot!("capstone", example::capstone().unwrap());
}

#[test]
fn decode() {
    assert_snapshot!("decode", example::decode().unwrap());
}

#[test]
fn prompt() {
    assert_snapshot!("prompt", example::prompt().unwrap());
}

#[test]
fn models() {
    assert_snapshot!("models", example::models().unwrap());
}

#[test]
fn misread() {
    assert_snapshot!("misread", example::misread().unwrap());
}

#[test]
fn facts() {
    assert_snapshot!("facts", example::facts().unwrap());
}
