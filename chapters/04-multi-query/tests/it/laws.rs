//! What holds for every input: the laws that the chapter states.

use attention::{Linear, Mask, attend};
use chapter_cli::testing::{
    NOT_FINITE, assert_close, assert_spoils_whoever_sees, spoilt,
};
use decoding::KvCache;
use multi_head::{Heads, MultiHeadAttended, MultiHeadAttention};
use multi_query::experiments::{multi_query_parameters, repeated};
use multi_query::{MultiQueryAttention, attend_shared, decode, mean_of_heads, prefill};
use nalgebra::{DMatrix, DVector};
use proptest::prelude::*;
use proptest::property_test;
use proptest::sample::select;

/// Sums of up to 12 products of sums of up to 12 products, in f32.
const TOLERANCE: f32 = 1e-4;

/// The numbers of a layer, and tokens for it.
#[derive(Debug, Clone)]
struct Case {
    heads: usize,
    weights: [DMatrix<f32>; 4],
    biases: Option<[DVector<f32>; 4]>,
    x: DMatrix<f32>,
}

impl Case {
    fn linear(&self, i: usize) -> Linear {
        let bias = self.biases.as_ref().map(|biases| biases[i].clone());
        Linear::new(self.weights[i].clone(), bias).unwrap()
    }

    fn layer(&self) -> MultiQueryAttention {
        let [q, k, v, o] = [0, 1, 2, 3].map(|i| self.linear(i));
        MultiQueryAttention::new(q, k, v, o, self.heads).unwrap()
    }

    /// The multi-head layer whose keys, and values, are this layer's in every head.
    fn multi_head(&self) -> MultiHeadAttention {
        let heads = self.heads;
        let repeat = |i: usize| {
            let bias = self.biases.as_ref().map(|biases| {
                DVector::from_fn(heads * biases[i].len(), |row, _| {
                    biases[i][row % biases[i].len()]
                })
            });
            Linear::new(repeated(&self.weights[i], heads), bias).unwrap()
        };
        let (q, o) = (self.linear(0), self.linear(3));
        MultiHeadAttention::new(q, repeat(1), repeat(2), o, heads).unwrap()
    }
}

fn matrix(rows: usize, columns: usize) -> impl Strategy<Value = DMatrix<f32>> {
    prop::collection::vec(-1.5_f32..1.5, rows * columns)
        .prop_map(move |data| DMatrix::from_vec(rows, columns, data))
}

fn vector(rows: usize) -> impl Strategy<Value = DVector<f32>> {
    prop::collection::vec(-1.5_f32..1.5, rows).prop_map(DVector::from_vec)
}

fn case() -> impl Strategy<Value = Case> {
    let sizes = (1..5_usize, 1..6_usize, 1..5_usize, 1..5_usize, 1..10_usize);
    sizes.prop_flat_map(|(heads, d, d_k, d_v, n)| {
        let weights = (
            matrix(d, heads * d_k),
            matrix(d, d_k),
            matrix(d, d_v),
            matrix(heads * d_v, d),
        );
        let biases = (vector(heads * d_k), vector(d_k), vector(d_v), vector(d));
        (Just(heads), weights, prop::option::of(biases), matrix(n, d)).prop_map(
            |(heads, (q, k, v, o), biases, x)| {
                let biases = biases.map(|(q, k, v, o)| [q, k, v, o]);
                Case { heads, weights: [q, k, v, o], biases, x }
            },
        )
    })
}

/// A layer, tokens, and a mask that may hide whole rows.
fn case_and_mask() -> impl Strategy<Value = (Case, Mask)> {
    case().prop_flat_map(|case| {
        let n = case.x.nrows();
        let allowed = prop::collection::vec(any::<bool>(), n * n)
            .prop_map(move |all| Mask::Allowed(DMatrix::from_vec(n, n, all)));
        let mask = prop_oneof![
            Just(Mask::None),
            Just(Mask::Causal { offset: 0 }),
            Just(Mask::Allowed(DMatrix::repeat(n, n, false))),
            allowed,
        ];
        (Just(case), mask)
    })
}

#[track_caller]
fn same(found: &MultiHeadAttended, expected: &MultiHeadAttended) {
    assert_close("output", &found.output, &expected.output, TOLERANCE);
    assert_eq!(found.weights.len(), expected.weights.len());
    for (found, expected) in found.weights.iter().zip(&expected.weights) {
        assert_close("weights", found, expected, TOLERANCE);
    }
}

#[property_test]
fn equals_multi_head_with_the_key_and_value_repeated(
    #[strategy = case_and_mask()] input: (Case, Mask),
) {
    let (case, mask) = input;
    let shared = case.layer().forward(&case.x, &mask).unwrap();
    let apart = case.multi_head().forward(&case.x, &mask).unwrap();
    same(&shared, &apart);
}

#[property_test]
fn token_by_token_equals_the_causal_pass(#[strategy = case()] case: Case) {
    let layer = case.layer();
    let whole = layer.forward(&case.x, &Mask::Causal { offset: 0 }).unwrap();
    let (key, value) = layer.kv_widths();
    let mut cache = KvCache::new(case.x.nrows(), key, value);
    for token in 0..case.x.nrows() {
        let x = case.x.rows(token, 1).into_owned();
        let found = decode(&layer, &x, &mut cache).unwrap();
        assert_close("output", &found.output, &whole.output.rows(token, 1), TOLERANCE);
        for (found, whole) in found.weights.iter().zip(&whole.weights) {
            let seen = whole.view((token, 0), (1, token + 1));
            assert_close("weights", found, &seen, TOLERANCE);
        }
    }
}

#[property_test]
fn any_split_into_chunks_equals_the_causal_pass(
    #[strategy = case()] case: Case,
    #[strategy = prop::collection::vec(0..5_usize, 0..6)] chunks: Vec<usize>,
) {
    let layer = case.layer();
    let whole = layer.forward(&case.x, &Mask::Causal { offset: 0 }).unwrap();
    let (key, value) = layer.kv_widths();
    let n = case.x.nrows();
    let mut cache = KvCache::new(n, key, value);
    for chunk in chunks.into_iter().chain([n]) {
        let first = cache.len();
        let x = case.x.rows(first, chunk.min(n - first)).into_owned();
        let found = prefill(&layer, &x, &mut cache).unwrap();
        let expected = whole.output.rows(first, x.nrows());
        assert_close("output", &found.output, &expected, TOLERANCE);
    }
    prop_assert_eq!(cache.len(), n);
}

#[property_test]
fn all_heads_are_one_attention_over_a_stack_of_queries(
    #[strategy = case()] case: Case,
) {
    let all = case.layer().project(&case.x, &case.x).unwrap();
    let (q, k, v) = (&all.q, all.k.as_view(), all.v.as_view());
    let Heads { found: context, weights } =
        attend_shared(q, k, v, case.heads, &Mask::None).unwrap();
    let (n, d_k) = all.k.shape();
    let stacked =
        DMatrix::from_fn(case.heads * n, d_k, |row, c| q[(row % n, row / n * d_k + c)]);
    let once = attend(stacked.as_view(), k, v, &Mask::None).unwrap();
    for (h, weights) in weights.iter().enumerate() {
        assert_close("weights", &once.weights.rows(h * n, n), weights, TOLERANCE);
        let columns = context.columns(h * v.ncols(), v.ncols());
        assert_close("output", &once.output.rows(h * n, n), &columns, TOLERANCE);
    }
}

#[property_test]
fn every_head_answers_among_the_same_values(#[strategy = case()] case: Case) {
    let all = case.layer().project(&case.x, &case.x).unwrap();
    let (k, v) = (all.k.as_view(), all.v.as_view());
    let found = attend_shared(&all.q, k, v, case.heads, &Mask::None).unwrap();
    for (c, answers) in found.found.column_iter().enumerate() {
        let values = v.column(c % v.ncols());
        prop_assert!(answers.max() <= values.max() + TOLERANCE);
        prop_assert!(answers.min() >= values.min() - TOLERANCE);
    }
}

#[property_test]
fn pooling_heads_that_agree_changes_nothing(
    #[strategy = case_and_mask()] input: (Case, Mask),
) {
    let (case, mask) = input;
    let apart = case.multi_head().forward(&case.x, &mask).unwrap();
    let pool = |i: usize| {
        mean_of_heads(&repeated(&case.weights[i], case.heads), case.heads).unwrap()
    };
    let pooled = Case {
        weights: [case.weights[0].clone(), pool(1), pool(2), case.weights[3].clone()],
        ..case
    };
    same(&pooled.layer().forward(&pooled.x, &mask).unwrap(), &apart);
}

#[property_test]
fn a_row_that_may_see_nothing_gives_the_bias(#[strategy = case()] case: Case) {
    let n = case.x.nrows();
    let mask = Mask::Allowed(DMatrix::repeat(n, n, false));
    let found = case.layer().forward(&case.x, &mask).unwrap();
    prop_assert!(found.weights.iter().all(|w| w.iter().all(|w| *w == 0.0)));
    let zeros = DMatrix::zeros(n, case.weights[3].nrows());
    prop_assert_eq!(found.output, case.linear(3).forward(&zeros).unwrap());
}

#[property_test]
fn a_layer_has_the_parameters_that_are_counted(
    #[strategy = (1..6_usize, 1..6_usize, 1..6_usize)] sizes: (usize, usize, usize),
) {
    let (d, heads, width) = sizes;
    let plain = |a, b| Linear::new(DMatrix::zeros(a, b), None).unwrap();
    let (q, o) = (plain(d, heads * width), plain(heads * width, d));
    let layer = MultiQueryAttention::new(q, plain(d, width), plain(d, width), o, heads)
        .unwrap();
    let counted = multi_query_parameters(d as u64, heads as u64, width as u64);
    prop_assert_eq!(layer.parameters() as u64, counted);
}

#[property_test]
fn a_hidden_token_may_hold_anything(
    #[strategy = case_and_mask()] input: (Case, Mask),
    #[strategy = (0..10_usize, select(NOT_FINITE))] (token, odd): (usize, f32),
) {
    let (case, mask) = input;
    let token = token % case.x.nrows();
    let (layer, x) = (case.layer(), spoilt(&case.x, token, odd));
    let clean = layer.forward(&case.x, &mask).unwrap().output;
    let found = layer.forward(&x, &mask).unwrap().output;
    assert_spoils_whoever_sees(token, &found, &clean, |query| mask.sees(query, token));
}

#[property_test]
fn what_comes_later_may_hold_anything(
    #[strategy = case()] case: Case,
    #[strategy = (0..10_usize, select(NOT_FINITE))] (token, odd): (usize, f32),
    #[strategy = 0..10_usize] split: usize,
) {
    let (layer, n) = (case.layer(), case.x.nrows());
    let (token, split) = (token % n, split % n);
    let in_two = |x: &DMatrix<f32>| {
        let (key, value) = layer.kv_widths();
        let mut cache = KvCache::new(n, key, value);
        let chunks = [x.rows(0, split).into_owned(), x.rows(split, n - split).into()];
        let [a, b] = chunks.map(|x| prefill(&layer, &x, &mut cache).unwrap().output);
        DMatrix::from_fn(n, a.ncols(), |i, j| {
            if i < split { a[(i, j)] } else { b[(i - split, j)] }
        })
    };
    let (clean, found) = (in_two(&case.x), in_two(&spoilt(&case.x, token, odd)));
    assert_spoils_whoever_sees(token, &found, &clean, |query| query > token);
}
