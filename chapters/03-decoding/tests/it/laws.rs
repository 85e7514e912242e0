//! What holds for every input: the laws that the chapter states.

use attention::{Linear, Mask, attend};
use chapter_cli::testing::{NOT_FINITE, assert_close, spoilt};
use decoding::{CacheError, KvCache, attend_few, decode, prefill, through_cache};
use multi_head::MultiHeadAttention;
use nalgebra::DMatrix;
use proptest::prelude::*;
use proptest::property_test;
use proptest::sample::select;

/// Sums of up to 70 products of numbers up to 2, in f32, in another order.
const TOLERANCE: f32 = 1e-4;

/// A layer, and tokens that fit it.
#[derive(Debug, Clone)]
struct Case {
    layer: MultiHeadAttention,
    x: DMatrix<f32>,
}

fn matrix(rows: usize, columns: usize) -> impl Strategy<Value = DMatrix<f32>> {
    prop::collection::vec(-2.0_f32..2.0, rows * columns)
        .prop_map(move |data| DMatrix::from_vec(rows, columns, data))
}

/// A projection whose outputs are not larger than its inputs.
fn linear(d_in: usize, d_out: usize) -> impl Strategy<Value = Linear> {
    matrix(d_in, d_out).prop_map(move |weight| {
        Linear::new(weight / (d_in as f32).max(1.0), None).unwrap()
    })
}

fn case() -> impl Strategy<Value = Case> {
    (1..16_usize, 1..8_usize, 1..4_usize, 1..5_usize, 1..6_usize).prop_flat_map(
        |(n, d, heads, d_k, d_v)| {
            let (keys, values) = (heads * d_k, heads * d_v);
            let maps = (
                linear(d, keys),
                linear(d, keys),
                linear(d, values),
                linear(values, d),
            );
            (matrix(n, d), maps).prop_map(move |(x, (q, k, v, o))| Case {
                layer: MultiHeadAttention::new(q, k, v, o, heads).unwrap(),
                x,
            })
        },
    )
}

fn cache_for(case: &Case, capacity: usize) -> KvCache {
    let (keys, values) = case.layer.kv_widths();
    KvCache::new(capacity, keys, values)
}

fn causal(case: &Case) -> DMatrix<f32> {
    let causal = Mask::Causal { offset: 0 };
    case.layer.forward(&case.x, &causal).unwrap().output
}

#[property_test]
fn token_by_token_equals_the_causal_pass(#[strategy = case()] case: Case) {
    let mut cache = cache_for(&case, case.x.nrows());
    let whole = causal(&case);
    for (i, expected) in whole.row_iter().enumerate() {
        let token = case.x.rows(i, 1).into_owned();
        let found = decode(&case.layer, &token, &mut cache).unwrap();
        assert_close("output", &found.output, &expected, TOLERANCE);
    }
}

#[property_test]
fn any_split_into_chunks_equals_the_causal_pass(
    #[strategy = case()] case: Case,
    #[strategy = prop::collection::vec(0..5_usize, 1..16)] lengths: Vec<usize>,
) {
    let mut cache = cache_for(&case, case.x.nrows());
    let whole = causal(&case);
    for len in lengths.into_iter().chain([case.x.nrows()]) {
        let start = cache.len();
        let len = len.min(case.x.nrows() - start);
        let chunk = case.x.rows(start, len).into_owned();
        let found = prefill(&case.layer, &chunk, &mut cache).unwrap();
        assert_close("output", &found.output, &whole.rows(start, len), TOLERANCE);
    }
    prop_assert_eq!(cache.len(), case.x.nrows());
}

#[property_test]
fn a_prompt_of_any_length_gives_the_causal_weights(
    #[strategy = case()] case: Case,
    #[strategy = 0..20_usize] prompt: usize,
) {
    let whole = case.layer.forward(&case.x, &Mask::Causal { offset: 0 }).unwrap();
    let found = through_cache(&case.layer, &case.x, prompt).unwrap();
    for (found, expected) in found.weights.iter().zip(&whole.weights) {
        assert_close("weights", found, expected, TOLERANCE);
    }
}

#[property_test]
fn a_full_cache_says_so_and_keeps_nothing_of_the_chunk(
    #[strategy = case()] case: Case,
    #[strategy = 0..16_usize] capacity: usize,
) {
    let n = case.x.nrows();
    let capacity = capacity % n;
    let mut cache = cache_for(&case, capacity);
    prefill(&case.layer, &case.x.rows(0, capacity / 2).into_owned(), &mut cache)
        .unwrap();
    let before = cache.clone();
    let refused = prefill(&case.layer, &case.x, &mut cache);
    let full = CacheError::Full { capacity, len: capacity / 2, tokens: n };
    prop_assert_eq!(refused, Err(full));
    prop_assert_eq!(cache, before);
}

#[property_test]
fn a_cleared_cache_is_a_new_one(#[strategy = case()] case: Case) {
    let mut cache = cache_for(&case, case.x.nrows());
    let first = prefill(&case.layer, &case.x, &mut cache).unwrap();
    cache.clear();
    prop_assert!(cache.is_empty());
    let second = prefill(&case.layer, &case.x, &mut cache).unwrap();
    prop_assert_eq!(first, second);
}

/// Queries from none to more than an ordinary product is used for, keys around the
/// lengths of a vector and of a block, widths around those of a tile.
#[property_test]
fn attend_few_equals_attend(
    #[strategy = prop_oneof![0..20_usize, Just(32)]] queries: usize,
    #[strategy = prop_oneof![4 => 0..70_usize, 1 => 1020..1030_usize]] keys: usize,
    #[strategy = 0..11_usize] d_k: usize,
    #[strategy = 0..11_usize] d_v: usize,
    #[strategy = 0..1000_u64] seed: u64,
) {
    let normal = decoding::experiments::normal;
    let (q, k) = (normal(queries, d_k, seed), normal(keys, d_k, seed + 1));
    // Views into wider matrices with spare rows, as a cache gives them.
    let (k, v) = (k.insert_rows(keys, 3, 9.0), normal(keys + 3, d_v, seed + 2));
    let (k, v) = (k.rows(0, keys), v.rows(0, keys));
    let few = attend_few(q.as_view(), k, v).unwrap();
    let plain = attend(q.as_view(), k, v, &Mask::None).unwrap();
    assert_close("weights", &few.weights, &plain.weights, TOLERANCE);
    assert_close("output", &few.output, &plain.output, TOLERANCE);
}

#[property_test]
fn what_comes_later_may_hold_anything(
    #[strategy = case()] case: Case,
    #[strategy = (0..16_usize, select(NOT_FINITE))] (token, odd): (usize, f32),
    #[strategy = 0..20_usize] prompt: usize,
) {
    let token = token % case.x.nrows();
    let clean = through_cache(&case.layer, &case.x, prompt).unwrap();
    let x = spoilt(&case.x, token, odd);
    let found = through_cache(&case.layer, &x, prompt).unwrap();
    let (n, past) = (case.x.nrows(), |y: &DMatrix<f32>| y.rows(0, token).into_owned());
    prop_assert_eq!(past(&found.output), past(&clean.output));
    for (found, clean) in found.weights.iter().zip(&clean.weights) {
        prop_assert_eq!(past(found), past(clean));
    }
    let later = found.output.rows(token, n - token);
    prop_assert!(later.iter().all(|y| !y.is_finite()));
}

#[property_test]
fn what_is_in_a_cache_beyond_its_tokens_may_be_anything(
    #[strategy = case()] case: Case,
    #[strategy = select(NOT_FINITE)] odd: f32,
) {
    let n = case.x.nrows();
    let (mut clean, mut used) = (cache_for(&case, n), cache_for(&case, n));
    prefill(&case.layer, &DMatrix::repeat(n, case.x.ncols(), odd), &mut used).unwrap();
    used.clear();
    for token in 0..n {
        let x = case.x.rows(token, 1).into_owned();
        let expected = decode(&case.layer, &x, &mut clean).unwrap();
        prop_assert_eq!(decode(&case.layer, &x, &mut used).unwrap(), expected);
    }
}
