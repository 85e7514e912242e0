//! What the reader sees: every output and number of the chapter. A change here changes
//! the book, so the prose around it is read again.

use grouped_query::example;
use insta::assert_snapshot;

#[test]
fn three_tokens() {
    assert_snapshot!("three_tokens", example::three_tokens().unwrap());
}

#[test]
fn pooled() {
    assert_snapshot!("pooled", example::pooled().unwrap());
}

#[test]
fn partners() {
    assert_snapshot!("partners", example::partners().unwrap());
}

#[test]
fn interleaved() {
    assert_snapshot!("interleaved", example::interleaved().unwrap());
}

#[test]
fn interleaved_errors() {
    assert_snapshot!("interleaved_errors", example::interleaved_errors().unwrap());
}

#[test]
fn errors() {
    assert_snapshot!("errors", example::errors().unwrap());
}

#[test]
fn keys_or_values() {
    assert_snapshot!("keys_or_values", example::keys_or_values().unwrap());
}

#[test]
fn mispooled() {
    assert_snapshot!("mispooled", example::mispooled().unwrap());
}

#[test]
fn two_bases() {
    assert_snapshot!("two_bases", example::two_bases().unwrap());
}

#[test]
fn aligned() {
    assert_snapshot!("aligned", example::aligned().unwrap());
}

#[test]
fn devices() {
    assert_snapshot!("devices", example::devices().unwrap());
}

#[test]
fn cost() {
    assert_snapshot!("cost", example::cost().unwrap());
}

#[test]
fn models() {
    assert_snapshot!("models", example::models().unwrap());
}

#[test]
fn decode() {
    assert_snapshot!("decode", example::decode().unwrap());
}

#[test]
fn facts() {
    assert_snapshot!("facts", example::facts().unwrap());
}

#[test]
fn shared_keys() {
    assert_snapshot!("shared_keys", example::shared_keys().unwrap());
}
