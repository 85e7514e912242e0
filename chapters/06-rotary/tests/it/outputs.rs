//! What the reader sees: every output and number of the chapter. A change here changes
//! the book, so the prose around it is read again.

use insta::assert_snapshot;
use rotary::example;

#[test]
fn three_tokens() {
    assert_snapshot!("three_tokens", example::three_tokens().unwrap());
}

#[test]
fn shifted() {
    assert_snapshot!("shifted", example::shifted().unwrap());
}

#[test]
fn matrices() {
    assert_snapshot!("matrices", example::matrices().unwrap());
}

#[test]
fn wavelengths() {
    assert_snapshot!("wavelengths", example::wavelengths().unwrap());
}

#[test]
fn order() {
    assert_snapshot!("order", example::order().unwrap());
}

#[test]
fn rounded() {
    assert_snapshot!("rounded", example::rounded().unwrap());
}

#[test]
fn product() {
    assert_snapshot!("product", example::product().unwrap());
}

#[test]
fn mixed() {
    assert_snapshot!("mixed", example::mixed().unwrap());
}

#[test]
fn offset() {
    assert_snapshot!("offset", example::offset().unwrap());
}

#[test]
fn signs() {
    assert_snapshot!("signs", example::signs().unwrap());
}

#[test]
fn cost() {
    assert_snapshot!("cost", example::cost().unwrap());
}

#[test]
fn facts() {
    assert_snapshot!("facts", example::facts().unwrap());
}

#[test]
fn own_rotation() {
    assert_snapshot!("own_rotation", example::own_rotation().unwrap());
}
