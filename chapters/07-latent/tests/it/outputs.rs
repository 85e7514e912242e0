//! What the reader sees: every output and number of the chapter. A change here changes
//! the book, so the prose around it is read again.

use insta::assert_snapshot;
use latent::example;

#[test]
fn three_tokens() {
    assert_snapshot!("three_tokens", example::three_tokens().unwrap());
}

#[test]
fn two_orders() {
    assert_snapshot!("two_orders", example::two_orders().unwrap());
}

#[test]
fn cache_table() {
    assert_snapshot!("cache_table", example::cache_table().unwrap());
}

#[test]
fn printed() {
    assert_snapshot!("printed", example::printed().unwrap());
}

#[test]
fn denominators() {
    assert_snapshot!("denominators", example::denominators().unwrap());
}

#[test]
fn per_cached() {
    assert_snapshot!("per_cached", example::per_cached().unwrap());
}

#[test]
fn intensity() {
    assert_snapshot!("intensity", example::intensity().unwrap());
}

#[test]
fn devices() {
    assert_snapshot!("devices", example::devices().unwrap());
}

#[test]
fn decode() {
    assert_snapshot!("decode", example::decode().unwrap());
}

#[test]
fn beside() {
    assert_snapshot!("beside", example::beside().unwrap());
}

#[test]
fn chunks() {
    assert_snapshot!("chunks", example::chunks().unwrap());
}

#[test]
fn ranks() {
    assert_snapshot!("ranks", example::ranks().unwrap());
}

#[test]
fn all_layers() {
    assert_snapshot!("all_layers", example::all_layers().unwrap());
}

#[test]
fn wrong_scale() {
    assert_snapshot!("wrong_scale", example::wrong_scale().unwrap());
}

#[test]
fn wrong_cut() {
    assert_snapshot!("wrong_cut", example::wrong_cut().unwrap());
}

#[test]
fn wrong_pairs() {
    assert_snapshot!("wrong_pairs", example::wrong_pairs().unwrap());
}

#[test]
fn facts() {
    assert_snapshot!("facts", example::facts().unwrap());
}
