//! Defined edges: no tokens, no room, numbers at the end of f32, shapes that do not fit.

use attention::{Linear, Mask, attend};
use chapter_cli::testing::assert_close;
use decoding::experiments::{normal, random_layer};
use decoding::{CacheError, KvCache, attend_few, decode, prefill, through_cache};
use nalgebra::{DMatrix, dmatrix};

fn ones(rows: usize, columns: usize) -> DMatrix<f32> {
    DMatrix::repeat(rows, columns, 1.0)
}

#[track_caller]
fn says<T>(result: Result<T, CacheError>, expected: &str) {
    let error = result.err().expect("an error");
    assert_eq!(error.to_string(), expected);
}

#[test]
fn no_tokens_give_an_empty_result_and_leave_the_cache_alone() {
    let layer = random_layer(4, 2).unwrap();
    let mut cache = KvCache::new(0, 4, 4);
    let nothing = prefill(&layer, &ones(0, 4), &mut cache).unwrap();
    assert_eq!(nothing.output.shape(), (0, 4));
    assert_eq!(nothing.weights[1].shape(), (0, 0));
    assert!(cache.is_empty());
    let whole = through_cache(&layer, &ones(0, 4), 3).unwrap();
    assert_eq!((whole.output.shape(), whole.weights.len()), ((0, 4), 2));
}

#[test]
fn a_prompt_longer_than_the_text_is_the_text() {
    let (layer, x) = (random_layer(4, 2).unwrap(), normal(3, 4, 1));
    assert_eq!(through_cache(&layer, &x, 9), through_cache(&layer, &x, 3));
}

#[test]
fn one_token_attends_to_itself() {
    let layer = random_layer(4, 2).unwrap();
    let mut cache = KvCache::new(1, 4, 4);
    let alone = decode(&layer, &normal(1, 4, 1), &mut cache).unwrap();
    assert_eq!(alone.weights, [ones(1, 1), ones(1, 1)]);
}

#[test]
fn a_full_cache_is_refused_by_name_and_number() {
    let layer = random_layer(4, 1).unwrap();
    let mut cache = KvCache::new(2, 4, 4);
    prefill(&layer, &ones(2, 4), &mut cache).unwrap();
    says(
        decode(&layer, &ones(1, 4), &mut cache),
        "the cache holds 2 of 2 tokens: no room for 1 more",
    );
    assert_eq!(cache.len(), 2);
}

#[test]
fn shapes_that_do_not_fit_are_named_and_nothing_is_kept() {
    let layer = random_layer(4, 2).unwrap();
    let mut cache = KvCache::new(8, 4, 4);
    says(
        decode(&layer, &ones(2, 4), &mut cache),
        "x: expected (1, 4), found (2, 4): decoding goes token by token",
    );
    says(
        prefill(&layer, &ones(2, 3), &mut cache),
        "x: expected (2, 4), found (2, 3): the projection reads that many features",
    );
    says(
        cache.append(&ones(2, 5), &ones(2, 4)),
        "keys: expected (2, 4), found (2, 5): the cache is this wide",
    );
    says(
        cache.append(&ones(2, 4), &ones(1, 4)),
        "values: expected (2, 4), found (1, 4): one value per key, as wide as the cache",
    );
    assert!(cache.is_empty());
    says(
        prefill(&layer, &ones(2, 4), &mut KvCache::new(8, 6, 4)),
        "keys: expected (2, 6), found (2, 4): the cache is this wide",
    );
}

#[test]
fn attend_few_names_what_does_not_fit() {
    let says = |k: DMatrix<f32>, v: DMatrix<f32>, expected: &str| {
        let found = attend_few(ones(1, 4).as_view(), k.as_view(), v.as_view());
        assert_eq!(found.expect_err("a shape error").to_string(), expected);
    };
    let why = "keys: expected (3, 4), found (3, 5): a dot product needs equal widths";
    says(ones(3, 5), ones(3, 1), why);
    let why = "values: expected (3, 1), found (2, 1): every key has one value";
    says(ones(3, 4), ones(2, 1), why);
}

#[test]
fn bytes_are_those_of_the_room() {
    let mut cache = KvCache::new(10, 6, 2);
    assert_eq!(cache.bytes(), 10 * 8 * 4);
    cache.append(&ones(3, 6), &ones(3, 2)).unwrap();
    assert_eq!((cache.bytes(), cache.capacity(), cache.len()), (320, 10, 3));
    assert_eq!((cache.keys().shape(), cache.values().shape()), ((3, 6), (3, 2)));
}

#[test]
fn huge_and_infinite_scores_are_those_of_attend() {
    let (q, v) = (dmatrix![1.0; -1.0; 0.5], dmatrix![1.0, 2.0; 3.0, 4.0; 5.0, 6.0]);
    for keys in [
        dmatrix![1e4; -1e4; 0.0],
        dmatrix![f32::MAX; f32::MIN; 0.0],
        dmatrix![f32::INFINITY; 1.0; 2.0],
        dmatrix![f32::NEG_INFINITY; f32::NEG_INFINITY; f32::NEG_INFINITY],
    ] {
        for queries in 1..=3 {
            let q = q.rows(0, queries);
            let few = attend_few(q, keys.as_view(), v.as_view()).unwrap();
            let plain = attend(q, keys.as_view(), v.as_view(), &Mask::None).unwrap();
            assert_close("weights", &few.weights, &plain.weights, 1e-6);
            assert_close("output", &few.output, &plain.output, 1e-6);
        }
    }
}

#[test]
fn nan_stays_with_its_query() {
    let q = dmatrix![f32::NAN; 1.0];
    let found =
        attend_few(q.as_view(), ones(40, 1).as_view(), ones(40, 1).as_view()).unwrap();
    assert!(found.weights.row(0).iter().all(|w| w.is_nan()));
    assert!(found.output[0].is_nan());
    assert!((found.output[1] - 1.0).abs() < 1e-6);
}

#[test]
fn a_layer_may_be_wider_in_values_than_in_keys() {
    let linear = |d_in, d_out| Linear::new(normal(d_in, d_out, 3), None).unwrap();
    let maps = (linear(5, 4), linear(5, 4), linear(5, 6), linear(6, 3));
    let layer =
        multi_head::MultiHeadAttention::new(maps.0, maps.1, maps.2, maps.3, 2).unwrap();
    let x = normal(7, 5, 4);
    let whole = layer.forward(&x, &Mask::Causal { offset: 0 }).unwrap();
    let found = through_cache(&layer, &x, 3).unwrap();
    assert_close("output", &found.output, &whole.output, 1e-4);
}
