//! What holds for every input: the laws that the chapter states.

use attention::{
    Attended, Mask, ShapeError, average, scores, softmax, softmax_by_rows,
};
use chapter_cli::testing::{NOT_FINITE, assert_close};
use nalgebra::DMatrix;
use proptest::prelude::*;
use proptest::property_test;
use proptest::sample::select;

/// Sums of up to 24 products of numbers up to 4, in f32.
const TOLERANCE: f32 = 1e-4;

/// Queries, keys and values that fit one another.
#[derive(Debug, Clone)]
struct Qkv {
    q: DMatrix<f32>,
    k: DMatrix<f32>,
    v: DMatrix<f32>,
}

/// On whole matrices, so that the tests below are free of views.
fn attend(
    q: &DMatrix<f32>,
    k: &DMatrix<f32>,
    v: &DMatrix<f32>,
    mask: &Mask,
) -> Result<Attended, ShapeError> {
    attention::attend(q.as_view(), k.as_view(), v.as_view(), mask)
}

fn matrix(rows: usize, columns: usize) -> impl Strategy<Value = DMatrix<f32>> {
    prop::collection::vec(-4.0_f32..4.0, rows * columns)
        .prop_map(move |data| DMatrix::from_vec(rows, columns, data))
}

fn qkv_of(queries: usize, keys: usize) -> impl Strategy<Value = Qkv> {
    (1..12_usize, 1..12_usize)
        .prop_flat_map(move |(d_k, d_v)| {
            (matrix(queries, d_k), matrix(keys, d_k), matrix(keys, d_v))
        })
        .prop_map(|(q, k, v)| Qkv { q, k, v })
}

fn qkv() -> impl Strategy<Value = Qkv> {
    (1..24_usize, 1..24_usize).prop_flat_map(|(n, m)| qkv_of(n, m))
}

fn square_qkv() -> impl Strategy<Value = Qkv> {
    (2..24_usize).prop_flat_map(|n| qkv_of(n, n))
}

fn square_qkv_and_order() -> impl Strategy<Value = (Qkv, Vec<usize>)> {
    square_qkv().prop_flat_map(|qkv| {
        let order: Vec<usize> = (0..qkv.q.nrows()).collect();
        (Just(qkv), Just(order).prop_shuffle())
    })
}

fn any_scores() -> impl Strategy<Value = DMatrix<f32>> {
    let score = prop_oneof![
        6 => -20.0_f32..20.0,
        2 => -1e4_f32..1e4,
        1 => Just(f32::NEG_INFINITY),
        1 => Just(f32::INFINITY),
    ];
    (0..20_usize, 0..20_usize).prop_flat_map(move |(n, m)| {
        prop::collection::vec(score.clone(), n * m)
            .prop_map(move |data| DMatrix::from_vec(n, m, data))
    })
}

#[property_test]
fn rows_sum_to_one_or_are_empty(#[strategy = any_scores()] scores: DMatrix<f32>) {
    let weights = softmax(scores.clone());
    for (row, scores) in weights.row_iter().zip(scores.row_iter()) {
        prop_assert!(row.iter().all(|w| (0.0..=1.0).contains(w)));
        let seen = scores.iter().any(|s| *s != f32::NEG_INFINITY);
        let sum = if seen { 1.0 } else { 0.0 };
        prop_assert!((row.sum() - sum).abs() < TOLERANCE, "row sums to {}", row.sum());
    }
}

#[property_test]
fn sweeping_columns_gives_the_same_weights(
    #[strategy = any_scores()] scores: DMatrix<f32>,
) {
    let plain = softmax_by_rows(scores.clone());
    assert_close("softmax", &softmax(scores), &plain, 1e-6);
}

#[property_test]
fn adding_a_number_to_a_row_changes_nothing(
    #[strategy = qkv()] qkv: Qkv,
    #[strategy = -50.0_f32..50.0] shift: f32,
) {
    let scores = scores(qkv.q.as_view(), qkv.k.as_view()).unwrap();
    let shifted = softmax(scores.add_scalar(shift));
    assert_close("weights", &shifted, &softmax(scores), TOLERANCE);
}

#[property_test]
fn permuting_the_tokens_permutes_the_output(
    #[strategy = square_qkv_and_order()] case: (Qkv, Vec<usize>),
) {
    let (Qkv { q, k, v }, order) = case;
    let plain = attend(&q, &k, &v, &Mask::None).unwrap();
    let [q, k, v] = [q, k, v].map(|m| m.select_rows(&order));
    let permuted = attend(&q, &k, &v, &Mask::None).unwrap();
    assert_close(
        "output",
        &permuted.output,
        &plain.output.select_rows(&order),
        TOLERANCE,
    );
}

#[property_test]
fn a_causal_row_sees_no_future(
    #[strategy = square_qkv()] qkv: Qkv,
    #[strategy = 0..24_usize] cut: usize,
) {
    let Qkv { q, mut k, mut v } = qkv;
    let causal = Mask::Causal { offset: 0 };
    let before = attend(&q, &k, &v, &causal).unwrap();
    let cut = cut % q.nrows();
    let future = q.nrows() - cut - 1;
    k.rows_mut(cut + 1, future).fill(1e3);
    v.rows_mut(cut + 1, future).fill(-1e3);
    let after = attend(&q, &k, &v, &causal).unwrap();
    let past = |attended: &Attended| attended.output.rows(0, cut + 1).into_owned();
    prop_assert_eq!(past(&after), past(&before));
}

#[property_test]
fn a_causal_offset_counts_the_keys_before(
    #[strategy = square_qkv()] qkv: Qkv,
    #[strategy = 0..24_usize] cut: usize,
) {
    let Qkv { q, k, v } = qkv;
    let offset = cut % q.nrows();
    let last = q.rows(offset, q.nrows() - offset).into_owned();
    let whole = attend(&q, &k, &v, &Mask::Causal { offset: 0 }).unwrap();
    let tail = attend(&last, &k, &v, &Mask::Causal { offset }).unwrap();
    let expected = whole.output.rows(offset, q.nrows() - offset).into_owned();
    assert_close("the last queries", &tail.output, &expected, TOLERANCE);
}

#[property_test]
fn masked_keys_do_not_matter(
    #[strategy = qkv()] qkv: Qkv,
    #[strategy = 0..24_usize] hidden: usize,
) {
    let Qkv { q, k, v } = qkv;
    let hidden = hidden % k.nrows();
    let real: Vec<bool> = (0..k.nrows()).map(|key| key != hidden).collect();
    let masked = attend(&q, &k, &v, &Mask::padding(q.nrows(), &real)).unwrap();
    prop_assert!(masked.weights.column(hidden).iter().all(|w| *w == 0.0));
    let without = |m: DMatrix<f32>| m.remove_row(hidden);
    let shorter = attend(&q, &without(k), &without(v), &Mask::None).unwrap();
    assert_close("output", &masked.output, &shorter.output, TOLERANCE);
}

#[property_test]
fn an_output_lies_among_its_values(#[strategy = qkv()] qkv: Qkv) {
    let output = attend(&qkv.q, &qkv.k, &qkv.v, &Mask::None).unwrap().output;
    for (answers, values) in output.column_iter().zip(qkv.v.column_iter()) {
        prop_assert!(answers.max() <= values.max() + TOLERANCE);
        prop_assert!(answers.min() >= values.min() - TOLERANCE);
    }
}

#[property_test]
fn equal_scores_give_the_plain_average(#[strategy = qkv()] qkv: Qkv) {
    let output = attend(&(qkv.q * 0.0), &qkv.k, &qkv.v, &Mask::None).unwrap().output;
    let mean = qkv.v.row_mean();
    for row in output.row_iter() {
        assert_close("output", &row.into_owned(), &mean, TOLERANCE);
    }
}

/// A mask that hides something, and perhaps whole rows.
fn qkv_and_mask() -> impl Strategy<Value = (Qkv, Mask)> {
    qkv().prop_flat_map(|qkv| {
        let (n, m) = (qkv.q.nrows(), qkv.k.nrows());
        let allowed = prop::collection::vec(any::<bool>(), n * m)
            .prop_map(move |all| Mask::Allowed(DMatrix::from_vec(n, m, all)));
        let causal = (0..m).prop_map(|offset| Mask::Causal { offset });
        let window = (0..m, 0..=m + 1)
            .prop_map(|(offset, window)| Mask::Window { offset, window });
        (Just(qkv), prop_oneof![causal, window, allowed])
    })
}

#[property_test]
fn a_pair_is_hidden_where_it_is_not_seen(
    #[strategy = qkv_and_mask()] case: (Qkv, Mask),
) {
    let (Qkv { q, k, .. }, mask) = case;
    let seen = scores(q.as_view(), k.as_view()).unwrap();
    let mut hidden = seen.clone();
    mask.hide(&mut hidden).unwrap();
    for query in 0..q.nrows() {
        for key in 0..k.nrows() {
            let pair = (query, key);
            let kept = if mask.sees(query, key) { seen[pair] } else { -f32::INFINITY };
            prop_assert_eq!(hidden[pair], kept, "query {} and key {}", query, key);
        }
    }
}

#[property_test]
fn a_hidden_value_may_hold_anything(
    #[strategy = qkv_and_mask()] case: (Qkv, Mask),
    #[strategy = prop::collection::vec((0..24_usize, 0..12_usize, select(NOT_FINITE)), 1..6)]
    spots: Vec<(usize, usize, f32)>,
) {
    let (Qkv { q, k, v }, mask) = case;
    let clean = attend(&q, &k, &v, &mask).unwrap();
    let mut spoilt = v.clone();
    for (key, feature, odd) in spots {
        spoilt[(key % v.nrows(), feature % v.ncols())] = odd;
    }
    let found = attend(&q, &k, &spoilt, &mask).unwrap();
    prop_assert_eq!(&found.weights, &clean.weights);
    for query in 0..q.nrows() {
        for (feature, values) in spoilt.column_iter().enumerate() {
            let meets = values
                .iter()
                .enumerate()
                .any(|(key, value)| mask.sees(query, key) && !value.is_finite());
            let answer = found.output[(query, feature)];
            if meets {
                prop_assert!(!answer.is_finite(), "query {query} sees it: {answer}");
            } else {
                prop_assert_eq!(answer, clean.output[(query, feature)]);
            }
        }
    }
}

/// A weight of 0 included: 0 · ∞ is NaN there as well.
#[property_test]
fn where_everything_is_seen_the_average_is_the_product(
    #[strategy = (matrix(5, 7), matrix(7, 4))] (weights, mut v): (
        DMatrix<f32>,
        DMatrix<f32>,
    ),
    #[strategy = prop::collection::vec((0..7_usize, 0..4_usize, select(NOT_FINITE)), 1..6)]
    spots: Vec<(usize, usize, f32)>,
) {
    let weights = weights.map(|w| w.max(0.0));
    for (key, feature, odd) in spots {
        v[(key, feature)] = odd;
    }
    let found = average(weights.as_view(), v.as_view(), |_, _| true);
    for (found, expected) in found.iter().zip(&(weights * v)) {
        let same = found == expected || (found.is_nan() && expected.is_nan());
        let close = (found - expected).abs() < TOLERANCE;
        prop_assert!(same || close, "found {found}, expected {expected}");
    }
}

#[property_test]
fn a_hidden_token_may_hold_anything(
    #[strategy = qkv_and_mask()] case: (Qkv, Mask),
    #[strategy = (0..24_usize, select(NOT_FINITE))] (key, odd): (usize, f32),
) {
    let (Qkv { q, mut k, mut v }, mask) = case;
    let clean = attend(&q, &k, &v, &mask).unwrap();
    let key = key % k.nrows();
    k.row_mut(key).fill(odd);
    v.row_mut(key).fill(odd);
    let found = attend(&q, &k, &v, &mask).unwrap();
    for query in 0..q.nrows() {
        if mask.sees(query, key) {
            prop_assert!(found.output.row(query).iter().all(|o| !o.is_finite()));
        } else {
            prop_assert_eq!(found.output.row(query), clean.output.row(query));
            prop_assert_eq!(found.weights.row(query), clean.weights.row(query));
        }
    }
}

#[property_test]
fn a_window_is_the_last_keys_of_a_causal_mask(
    #[strategy = (0..9_usize, 0..9_usize, 0..9_usize, 0..30_usize)] at: (
        usize,
        usize,
        usize,
        usize,
    ),
) {
    let (query, offset, window, key) = at;
    let seen = Mask::Window { offset, window }.sees(query, key);
    let causal = Mask::Causal { offset }.sees(query, key);
    prop_assert_eq!(seen, causal && key + window > query + offset);
    // Everything before and oneself: as many keys as there can be.
    let all = Mask::Window { offset, window: query + offset + 1 };
    prop_assert_eq!(all.sees(query, key), causal);
}
