//! What the reader sees: every output and number of the chapter. A change here changes
//! the book, so the prose around it is read again.

use insta::assert_snapshot;
use sliding_window::example;

#[test]
fn five_tokens() {
    assert_snapshot!("five_tokens", example::five_tokens().unwrap());
}

#[test]
fn ring() {
    assert_snapshot!("ring", example::ring().unwrap());
}

#[test]
fn patterns() {
    assert_snapshot!("patterns", example::patterns().unwrap());
}

#[test]
fn heads() {
    assert_snapshot!("heads", example::heads().unwrap());
}

#[test]
fn narrower() {
    assert_snapshot!("narrower", example::narrower().unwrap());
}

#[test]
fn slips() {
    assert_snapshot!("slips", example::slips().unwrap());
}

#[test]
fn cost() {
    assert_snapshot!("cost", example::cost().unwrap());
}

#[test]
fn sink() {
    assert_snapshot!("sink", example::sink().unwrap());
}

#[test]
fn facts() {
    assert_snapshot!("facts", example::facts().unwrap());
}
