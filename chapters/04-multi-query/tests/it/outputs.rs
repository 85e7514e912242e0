//! What the reader sees: every output and number of the chapter. A change here changes
//! the book, so the prose around it is read again.

use insta::assert_snapshot;
use multi_query::example;

#[test]
fn three_tokens() {
    assert_snapshot!("three_tokens", example::three_tokens().unwrap());
}

#[test]
fn decoded() {
    assert_snapshot!("decoded", example::decoded().unwrap());
}

#[test]
fn cache() {
    assert_snapshot!("cache", example::cache().unwrap());
}

#[test]
fn ratios() {
    assert_snapshot!("ratios", example::ratios().unwrap());
}

#[test]
fn counted() {
    assert_snapshot!("counted", example::counted().unwrap());
}

#[test]
fn hidden_widths() {
    assert_snapshot!("hidden_widths", example::hidden_widths().unwrap());
}

#[test]
fn losses() {
    assert_snapshot!("losses", example::losses().unwrap());
}

#[test]
fn decode_time() {
    assert_snapshot!("decode_time", example::decode_time().unwrap());
}

#[test]
fn repeated_keys() {
    assert_snapshot!("repeated_keys", example::repeated_keys().unwrap());
}

#[test]
fn wrong_scale() {
    assert_snapshot!("wrong_scale", example::wrong_scale().unwrap());
}

#[test]
fn wide_cache() {
    assert_snapshot!("wide_cache", example::wide_cache().unwrap());
}

#[test]
fn facts() {
    assert_snapshot!("facts", example::facts().unwrap());
}
