//! What the reader sees: every output and number of the chapter. A change here changes
//! the book, so the prose around it is read again.

use attention::example;
use insta::assert_snapshot;

#[test]
fn three_tokens() {
    assert_snapshot!("three_tokens", example::three_tokens().unwrap());
}

#[test]
fn causal() {
    assert_snapshot!("causal", example::causal().unwrap());
}

#[test]
fn no_keys() {
    assert_snapshot!("no_keys", example::no_keys().unwrap());
}

#[test]
fn lookup() {
    assert_snapshot!("lookup", example::lookup().unwrap());
}

#[test]
fn overflow() {
    assert_snapshot!("overflow", example::overflow().unwrap());
}

#[test]
fn it() {
    assert_snapshot!("it", example::it().unwrap());
}

#[test]
fn wide() {
    assert_snapshot!("wide", example::wide().unwrap());
}

#[test]
fn shuffled() {
    assert_snapshot!("shuffled", example::shuffled().unwrap());
}

#[test]
fn cost() {
    assert_snapshot!("cost", example::cost().unwrap());
}

#[test]
fn softmax_versions() {
    assert_snapshot!("softmax_versions", example::softmax_versions().unwrap());
}

#[test]
fn wrong_axis() {
    assert_snapshot!("wrong_axis", example::wrong_axis().unwrap());
}

#[test]
fn late_mask() {
    assert_snapshot!("late_mask", example::late_mask().unwrap());
}

#[test]
fn scales() {
    assert_snapshot!("scales", example::scales().unwrap());
}

#[test]
fn facts() {
    assert_snapshot!("facts", example::facts().unwrap());
}
