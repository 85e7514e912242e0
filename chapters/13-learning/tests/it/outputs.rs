//! What the reader sees: every output and number of the chapter. A change here changes
//! the book, so the prose around it is read again.

use insta::assert_snapshot;
use learning::{example, own};

#[test]
fn there() {
    assert_snapshot!("there", example::there().unwrap());
}

#[test]
fn back() {
    assert_snapshot!("back", example::back().unwrap());
}

#[test]
fn slopes() {
    assert_snapshot!("slopes", example::slopes().unwrap());
}

#[test]
fn jacobian() {
    assert_snapshot!("jacobian", example::jacobian().unwrap());
}

#[test]
fn mistakes() {
    assert_snapshot!("mistakes", example::mistakes().unwrap());
}

#[test]
fn row() {
    assert_snapshot!("row", example::row().unwrap());
}

#[test]
fn facts() {
    assert_snapshot!("facts", example::facts().unwrap());
}

#[test]
fn said() {
    assert_snapshot!("said", own::said().unwrap());
}

#[test]
fn tales_facts() {
    assert_snapshot!("tales_facts", example::tales_facts().unwrap());
}
