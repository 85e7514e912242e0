//! What the reader sees: every output and number of the chapter. A change here changes
//! the book, so the prose around it is read again.

use insta::assert_snapshot;
use multi_head::example;

#[test]
fn two_places() {
    assert_snapshot!("two_places", example::two_places().unwrap());
}

#[test]
fn three_tokens_learned() {
    assert_snapshot!("three_tokens_learned", example::three_tokens_learned());
}

#[test]
fn three_tokens() {
    assert_snapshot!("three_tokens", example::three_tokens().unwrap());
}

#[test]
fn sum_over_heads() {
    assert_snapshot!("sum_over_heads", example::sum_over_heads().unwrap());
}

#[test]
fn twelve_heads() {
    assert_snapshot!("twelve_heads", example::twelve_heads().unwrap());
}

#[test]
fn cost() {
    assert_snapshot!("cost", example::cost().unwrap());
}

#[test]
fn cut_from_rows() {
    assert_snapshot!("cut_from_rows", example::cut_from_rows().unwrap());
}

#[test]
fn scaled_by_width() {
    assert_snapshot!("scaled_by_width", example::scaled_by_width().unwrap());
}

#[test]
fn averaged() {
    assert_snapshot!("averaged", example::averaged().unwrap());
}

#[test]
fn facts() {
    assert_snapshot!("facts", example::facts().unwrap());
}

#[test]
fn head_0_of_the_worked_example_is_chapter_1() {
    let before = attention::example::three_tokens().unwrap();
    let now = example::three_tokens().unwrap();
    let rows = |text: &str, title: &str| {
        let from = text.lines().skip_while(|line| !line.starts_with(title));
        from.skip(1).take(3).map(str::to_owned).collect::<Vec<_>>()
    };
    let weights = rows(&before, "weights =");
    assert_eq!(weights.len(), 3);
    assert_eq!(rows(&now, "weights of head 0"), weights);
    assert_eq!(rows(&now, "scores of head 0"), rows(&before, "scores ="));
}
