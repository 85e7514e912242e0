//! What holds for every input: the laws that the chapter states.

use attention::{Linear, Mask};
use chapter_cli::testing::{
    NOT_FINITE, assert_close, assert_spoils_whoever_sees, spoilt,
};
use decoding::KvCache;
use grouped_query::GroupedQueryAttention;
use multi_head::{MultiHeadAttended, Projected};
use nalgebra::{DMatrix, DVector};
use proptest::prelude::*;
use proptest::property_test;
use proptest::sample::select;
use rotary::experiments::ntk_aware;
use rotary::{
    Llama3Scaling, Pairing, Rotary, RotaryAttention, decode, permutation, permuted,
    prefill,
};

/// Sums of up to 32 products of numbers up to 2, in f32, two times over.
const TOLERANCE: f32 = 1e-4;

/// How many heads and groups there are, and how many pairs they have.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    kv_heads: usize,
    heads: usize,
    d_in: usize,
    pairs: usize,
    d_v: usize,
}

fn sizes() -> impl Strategy<Value = Sizes> {
    (1..4_usize, 1..4_usize, 1..8_usize, 1..5_usize, 1..6_usize).prop_map(
        |(kv_heads, size, d_in, pairs, d_v)| Sizes {
            kv_heads,
            heads: kv_heads * size,
            d_in,
            pairs,
            d_v,
        },
    )
}

fn matrix(rows: usize, columns: usize) -> impl Strategy<Value = DMatrix<f32>> {
    prop::collection::vec(-2.0_f32..2.0, rows * columns)
        .prop_map(move |data| DMatrix::from_vec(rows, columns, data))
}

fn linear(d_in: usize, d_out: usize) -> impl Strategy<Value = Linear> {
    (matrix(d_in, d_out), prop::option::of(prop::collection::vec(-2.0_f32..2.0, d_out)))
        .prop_map(|(w, bias)| Linear::new(w, bias.map(DVector::from_vec)).unwrap())
}

fn pairing() -> impl Strategy<Value = Pairing> {
    prop_oneof![Just(Pairing::Halves), Just(Pairing::Neighbors)]
}

/// From the smallest base that anybody uses to the largest, and sometimes scaled.
fn theta() -> impl Strategy<Value = f64> {
    prop_oneof![Just(100.0), Just(1e4), Just(5e5), Just(1e7)]
}

fn rotary(pairs: usize) -> impl Strategy<Value = Rotary> {
    (theta(), pairing(), any::<bool>()).prop_map(move |(theta, pairing, scaled)| {
        let rotary = Rotary::new(2 * pairs, theta, pairing).unwrap();
        if scaled { rotary.scaled(Llama3Scaling::LLAMA_3_1).unwrap() } else { rotary }
    })
}

/// Sizes, a rotation, four projections, and tokens.
#[derive(Debug, Clone)]
struct Case {
    sizes: Sizes,
    rotary: Rotary,
    projections: [Linear; 4],
    x: DMatrix<f32>,
}

impl Case {
    fn layer(&self) -> RotaryAttention {
        let [q, k, v, o] = self.projections.clone();
        self.with(q, k, v, o, self.rotary.clone())
    }

    fn with(
        &self,
        q: Linear,
        k: Linear,
        v: Linear,
        o: Linear,
        rotary: Rotary,
    ) -> RotaryAttention {
        let Sizes { heads, kv_heads, .. } = self.sizes;
        let layer = GroupedQueryAttention::new(q, k, v, o, heads, kv_heads).unwrap();
        RotaryAttention::new(layer, rotary).unwrap()
    }
}

fn case() -> impl Strategy<Value = Case> {
    (sizes(), 1..16_usize)
        .prop_flat_map(|(s, tokens)| {
            let width = 2 * s.pairs;
            let projections = (
                linear(s.d_in, s.heads * width),
                linear(s.d_in, s.kv_heads * width),
                linear(s.d_in, s.kv_heads * s.d_v),
                linear(s.heads * s.d_v, 3),
            );
            (Just(s), rotary(s.pairs), projections, matrix(tokens, s.d_in))
        })
        .prop_map(|(sizes, rotary, (q, k, v, o), x)| Case {
            sizes,
            rotary,
            projections: [q, k, v, o],
            x,
        })
}

/// A rotation, and a few heads of tokens that it fits.
fn heads() -> impl Strategy<Value = (Rotary, DMatrix<f32>)> {
    (1..5_usize, 1..4_usize, 1..6_usize).prop_flat_map(|(pairs, heads, tokens)| {
        (rotary(pairs), matrix(tokens, heads * 2 * pairs))
    })
}

fn turned(rotary: &Rotary, x: &DMatrix<f32>, start: usize) -> DMatrix<f32> {
    let mut x = x.clone();
    rotary.angles(start..start + x.nrows()).rotate(&mut x).unwrap();
    x
}

fn row(x: &DMatrix<f32>, row: usize) -> DMatrix<f32> {
    x.rows(row, 1).into_owned()
}

#[track_caller]
fn same(found: &MultiHeadAttended, expected: &MultiHeadAttended) {
    assert_close("output", &found.output, &expected.output, TOLERANCE);
    for (found, expected) in found.weights.iter().zip(&expected.weights) {
        assert_close("weights", found, expected, TOLERANCE);
    }
}

#[property_test]
fn scores_depend_on_position_differences_alone(
    #[strategy = heads()] (rotary, rows): (Rotary, DMatrix<f32>),
    #[strategy = 0..500_usize] key_at: usize,
    #[strategy = 0..500_usize] distance: usize,
    #[strategy = 0..100_000_usize] shift: usize,
) {
    let (q, k) = (row(&rows, 0), row(&rows, rows.nrows() - 1));
    let score =
        |at: usize| turned(&rotary, &q, at + distance).dot(&turned(&rotary, &k, at));
    let (here, there) = (score(key_at), score(key_at + shift));
    prop_assert!((here - there).abs() < TOLERANCE, "{here} here, {there} there");
}

#[property_test]
fn turning_keeps_the_length_of_every_head(
    #[strategy = heads()] (rotary, x): (Rotary, DMatrix<f32>),
    #[strategy = 0..1_000_000_usize] start: usize,
) {
    let (turned, width) = (turned(&rotary, &x, start), rotary.head_dim());
    for token in 0..x.nrows() {
        for first in (0..x.ncols()).step_by(width) {
            let norm = |x: &DMatrix<f32>| x.view((token, first), (1, width)).norm();
            prop_assert!((norm(&x) - norm(&turned)).abs() < 1e-5);
        }
    }
}

#[property_test]
fn position_0_is_the_identity(
    #[strategy = heads()] (rotary, x): (Rotary, DMatrix<f32>),
) {
    let first = row(&x, 0);
    prop_assert_eq!(turned(&rotary, &first, 0), first);
}

#[property_test]
fn positions_add_up(
    #[strategy = heads()] (rotary, x): (Rotary, DMatrix<f32>),
    #[strategy = 0..1000_usize] one: usize,
    #[strategy = 0..1000_usize] other: usize,
) {
    let x = row(&x, 0);
    let twice = turned(&rotary, &turned(&rotary, &x, one), other);
    assert_close("turned twice", &twice, &turned(&rotary, &x, one + other), TOLERANCE);
}

#[property_test]
fn a_table_from_the_middle_is_the_middle_of_the_table(
    #[strategy = heads()] (rotary, x): (Rotary, DMatrix<f32>),
    #[strategy = 0..6_usize] cut: usize,
    #[strategy = 0..1000_usize] start: usize,
) {
    let cut = cut.min(x.nrows());
    let whole = turned(&rotary, &x, start);
    let rest = x.rows(cut, x.nrows() - cut).into_owned();
    let expected = whole.rows(cut, x.nrows() - cut).into_owned();
    prop_assert_eq!(turned(&rotary, &rest, start + cut), expected);
}

#[property_test]
fn half_split_equals_interleaved_after_a_permutation_of_the_weights(
    #[strategy = case()] case: Case,
    #[strategy = theta()] theta: f64,
) {
    let Sizes { heads, kv_heads, pairs, .. } = case.sizes;
    let [q, k, v, o] = case.projections.clone();
    let rotary = |pairing| Rotary::new(2 * pairs, theta, pairing).unwrap();
    let mask = Mask::Causal { offset: 0 };
    for (from, to) in
        [(Pairing::Halves, Pairing::Neighbors), (Pairing::Neighbors, Pairing::Halves)]
    {
        let layer = case.with(q.clone(), k.clone(), v.clone(), o.clone(), rotary(from));
        let moved = case.with(
            permuted(&q, heads, from, to).unwrap(),
            permuted(&k, kv_heads, from, to).unwrap(),
            v.clone(),
            o.clone(),
            rotary(to),
        );
        let expected = layer.forward(&case.x, &mask).unwrap();
        same(&moved.forward(&case.x, &mask).unwrap(), &expected);
    }
}

#[property_test]
fn there_and_back_changes_nothing(#[strategy = case()] case: Case) {
    let Sizes { heads, pairs, .. } = case.sizes;
    let q = &case.projections[0];
    let (halves, neighbors) = (Pairing::Halves, Pairing::Neighbors);
    let there = permuted(q, heads, halves, neighbors).unwrap();
    prop_assert_eq!(&permuted(&there, heads, neighbors, halves).unwrap(), q);
    prop_assert_eq!(&permuted(q, heads, halves, halves).unwrap(), q);
    let order = permutation(2 * pairs, halves, neighbors).unwrap();
    let back = permutation(2 * pairs, neighbors, halves).unwrap();
    for feature in 0..2 * pairs {
        prop_assert_eq!(order[back[feature]], feature);
    }
}

#[property_test]
fn equal_positions_hide_the_pairing(
    #[strategy = heads()] (rotary, x): (Rotary, DMatrix<f32>),
    #[strategy = 0..1000_usize] at: usize,
) {
    let (q, k) = (row(&x, 0), row(&x, x.nrows() - 1));
    let score = turned(&rotary, &q, at).dot(&turned(&rotary, &k, at));
    prop_assert!((score - q.dot(&k)).abs() < TOLERANCE);
}

#[property_test]
fn token_by_token_equals_the_causal_pass_for_any_split(
    #[strategy = case()] case: Case,
    #[strategy = prop::collection::vec(0..5_usize, 0..6)] chunks: Vec<usize>,
) {
    let (layer, n) = (case.layer(), case.x.nrows());
    let expected = layer.forward(&case.x, &Mask::Causal { offset: 0 }).unwrap();
    let (keys, values) = layer.layer().kv_widths();
    let mut cache = KvCache::new(n, keys, values);
    for chunk in chunks {
        let (start, chunk) = (cache.len(), chunk.min(n - cache.len()));
        let x = case.x.rows(start, chunk).into_owned();
        let found = prefill(&layer, &x, &mut cache).unwrap();
        let rows = expected.output.rows(start, chunk).into_owned();
        assert_close("prefill", &found.output, &rows, TOLERANCE);
    }
    for token in cache.len()..n {
        let found = decode(&layer, &row(&case.x, token), &mut cache).unwrap();
        let rows = row(&expected.output, token);
        assert_close("decode", &found.output, &rows, TOLERANCE);
        for (found, expected) in found.weights.iter().zip(&expected.weights) {
            let seen = expected.view((token, 0), (1, token + 1)).into_owned();
            assert_close("decode's weights", found, &seen, TOLERANCE);
        }
    }
    let at_once = layer.project(&case.x, 0).unwrap().k;
    assert_close("cached keys", &cache.keys().into_owned(), &at_once, TOLERANCE);
}

#[property_test]
fn a_text_may_begin_anywhere(
    #[strategy = case()] case: Case,
    #[strategy = 0..100_000_usize] start: usize,
) {
    let layer = case.layer();
    let attended = |start| {
        let Projected { q, k, v } = layer.project(&case.x, start).unwrap();
        let (k, v, groups) = (k.as_view(), v.as_view(), layer.layer().groups());
        grouped_query::attend_groups(&q, k, v, groups, &Mask::None).unwrap().found
    };
    assert_close("context", &attended(start), &attended(0), 10.0 * TOLERANCE);
}

#[property_test]
fn a_token_alone_is_grouped_query(#[strategy = case()] case: Case) {
    let (layer, one) = (case.layer(), row(&case.x, 0));
    let expected = layer.layer().forward(&one, &Mask::None).unwrap();
    prop_assert_eq!(layer.forward(&one, &Mask::None).unwrap(), expected);
}

#[property_test]
fn a_hidden_token_may_hold_anything(
    #[strategy = case()] case: Case,
    #[strategy = (0..16_usize, select(NOT_FINITE))] (token, odd): (usize, f32),
    #[strategy = prop::collection::vec(any::<bool>(), 256)] allowed: Vec<bool>,
) {
    let (layer, n) = (case.layer(), case.x.nrows());
    let token = token % n;
    let x = spoilt(&case.x, token, odd);
    let allowed = DMatrix::from_fn(n, n, |i, j| allowed[16 * i + j]);
    for mask in [Mask::Causal { offset: 0 }, Mask::Allowed(allowed)] {
        let clean = layer.forward(&case.x, &mask).unwrap().output;
        let found = layer.forward(&x, &mask).unwrap().output;
        assert_spoils_whoever_sees(token, &found, &clean, |query| {
            mask.sees(query, token)
        });
    }
}

#[property_test]
fn what_comes_later_in_a_chunk_may_hold_anything(
    #[strategy = case()] case: Case,
    #[strategy = (0..16_usize, select(NOT_FINITE))] (token, odd): (usize, f32),
) {
    let (layer, n) = (case.layer(), case.x.nrows());
    let (token, (key, value)) = (token % n, layer.layer().kv_widths());
    let prefilled = |x: &DMatrix<f32>| {
        let mut cache = KvCache::new(2 * n, key, value);
        prefill(&layer, &case.x, &mut cache).unwrap();
        prefill(&layer, x, &mut cache).unwrap().output
    };
    let clean = prefilled(&case.x);
    let found = prefilled(&spoilt(&case.x, token, odd));
    assert_spoils_whoever_sees(token, &found, &clean, |query| query > token);
}

#[property_test]
fn the_ntk_aware_base_slows_the_last_pair_by_the_factor_and_leaves_the_first(
    #[strategy = 2..65_usize] pairs: usize,
    #[strategy = theta()] theta: f64,
    #[strategy = 1.0..40.0_f64] factor: f64,
) {
    let frequencies = |theta| {
        let rotary = Rotary::new(2 * pairs, theta, Pairing::Halves).unwrap();
        rotary.frequencies().iter().map(|&f| f64::from(f)).collect::<Vec<_>>()
    };
    let before = frequencies(theta);
    let after = frequencies(ntk_aware(theta, factor, 2 * pairs));
    assert!((after[0] - before[0]).abs() < 1e-9);
    let slower = before[pairs - 1] / after[pairs - 1];
    // Exponent and power are rounded to f32, where ln θ is up to 20.
    assert!((slower / factor - 1.0).abs() < 1e-5, "{slower} for {factor}");
    // Those between are slowed by less.
    let between = before.iter().zip(&after).map(|(before, after)| before / after);
    assert!(between.into_iter().all(|slower| slower < factor * (1.0 + 1e-5)));
}

/// Peng et al. 2023, §3.2, in its own letters: r = L / λ, and a ramp γ between α and β.
#[property_test]
fn llama_3_1_is_ntk_by_parts_with_alpha_1_and_beta_4(
    #[strategy = 1e-6..1.0_f64] frequency: f64,
) {
    let (s, alpha, beta, context) = (8.0, 1.0, 4.0, 8192.0);
    let r = context / (std::f64::consts::TAU / frequency);
    let gamma = if r < alpha {
        0.0
    } else if r > beta {
        1.0
    } else {
        (r - alpha) / (beta - alpha)
    };
    let expected = (1.0 - gamma) * frequency / s + gamma * frequency;
    let found = Llama3Scaling::LLAMA_3_1.of(frequency);
    assert!((found / expected - 1.0).abs() < 1e-12);
}

#[test]
fn a_gguf_of_a_llama_has_its_rows_in_the_order_of_the_other_pairing() {
    for head_dim in [2, 4, 6, 64, 128] {
        let order = permutation(head_dim, Pairing::Neighbors, Pairing::Halves).unwrap();
        assert_eq!(checkpoint::llama_row_order(head_dim), order);
    }
}
