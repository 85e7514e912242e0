//! What the reader sees: every output and number of the chapter. A change here changes
//! the book, so the prose around it is read again.

use insta::assert_snapshot;
use transformer::experiments::SMOLLM2;
use transformer::projection::Projection;
use transformer::{example, experiments};

#[test]
fn two_tokens() {
    assert_snapshot!("two_tokens", example::two_tokens().unwrap());
}

#[test]
fn it() {
    assert_snapshot!("it", example::it().unwrap());
}

#[test]
fn sampled() {
    assert_snapshot!("sampled", example::sampled().unwrap());
}

#[test]
fn mistakes() {
    assert_snapshot!("mistakes", example::mistakes().unwrap());
}

#[test]
fn heads() {
    assert_snapshot!("heads", example::heads().unwrap());
}

#[test]
fn nats() {
    assert_snapshot!("nats", example::nats().unwrap());
}

#[test]
fn merged() {
    assert_snapshot!("merged", example::merged().unwrap());
}

#[test]
fn latents() {
    assert_snapshot!("latents", example::latents().unwrap());
}

#[test]
fn speed() {
    assert_snapshot!("speed", example::speed().unwrap());
}

#[test]
fn windows() {
    assert_snapshot!("windows", example::windows().unwrap());
}

#[test]
fn facts() {
    assert_snapshot!("facts", example::facts().unwrap());
}

#[test]
fn numbers() {
    assert_snapshot!("numbers", example::numbers().unwrap());
}

#[test]
fn the_attention_that_was_cut_out_has_as_many_weights_as_are_counted() {
    let (_, _, attention) = experiments::slice().unwrap();
    let parts =
        [&attention.q_proj, &attention.k_proj, &attention.v_proj, &attention.o_proj];
    assert_eq!(
        parts.map(Projection::parameters).iter().sum::<usize>(),
        SMOLLM2.attention()
    );
}
