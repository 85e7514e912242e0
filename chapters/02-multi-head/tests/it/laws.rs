//! What holds for every input: the laws that the chapter states.

use attention::{Attention, Linear, Mask};
use chapter_cli::testing::{
    NOT_FINITE, assert_close, assert_spoils_whoever_sees, spoilt,
};
use multi_head::{Heads, MultiHeadAttention, Projected, attend_heads};
use nalgebra::{DMatrix, DVector};
use proptest::prelude::*;
use proptest::property_test;
use proptest::sample::select;

/// Sums of up to about 100 products of numbers up to 4 · 4, in f32.
const TOLERANCE: f32 = 2e-4;

/// The numbers of a layer, so that a test can cut them up; a sequence and a mask for it.
#[derive(Debug, Clone)]
struct Case {
    heads: usize,
    head_dim: usize,
    v_dim: usize,
    /// Weight and bias of q, k, v and o.
    parts: [(DMatrix<f32>, DVector<f32>); 4],
    x: DMatrix<f32>,
    allowed: DMatrix<bool>,
}

fn matrix(rows: usize, columns: usize) -> impl Strategy<Value = DMatrix<f32>> {
    prop::collection::vec(-1.0_f32..1.0, rows * columns)
        .prop_map(move |data| DMatrix::from_vec(rows, columns, data))
}

fn linear(rows: usize, columns: usize) -> BoxedStrategy<(DMatrix<f32>, DVector<f32>)> {
    let bias = matrix(columns, 1).prop_map(|bias| bias.column(0).into_owned());
    (matrix(rows, columns), bias).boxed()
}

fn case_with(heads: impl Strategy<Value = usize>) -> impl Strategy<Value = Case> {
    (heads, 1..5_usize, 1..5_usize, 1..8_usize, 1..6_usize, 1..10_usize).prop_flat_map(
        |(heads, head_dim, v_dim, model_dim, d_out, n)| {
            let parts = [
                linear(model_dim, heads * head_dim),
                linear(model_dim, heads * head_dim),
                linear(model_dim, heads * v_dim),
                linear(heads * v_dim, d_out),
            ];
            let allowed = prop::collection::vec(prop::bool::weighted(0.6), n * n);
            (parts, matrix(n, model_dim), allowed).prop_map(
                move |(parts, x, allowed)| {
                    let x = x * 4.0;
                    let allowed = DMatrix::from_vec(n, n, allowed);
                    Case { heads, head_dim, v_dim, parts, x, allowed }
                },
            )
        },
    )
}

fn case() -> impl Strategy<Value = Case> {
    case_with(1..6_usize)
}

impl Case {
    fn layer(&self) -> MultiHeadAttention {
        self.shared_by(self.heads)
    }

    fn shared_by(&self, heads: usize) -> MultiHeadAttention {
        let [q, k, v, o] = self
            .parts
            .clone()
            .map(|(weight, bias)| Linear::new(weight, Some(bias)).unwrap());
        MultiHeadAttention::new(q, k, v, o, heads).unwrap()
    }

    fn mask(&self) -> Mask {
        Mask::Allowed(self.allowed.clone())
    }

    fn heads(&self, mask: &Mask) -> Heads {
        let Projected { q, k, v } = self.layer().project(&self.x, &self.x).unwrap();
        attend_heads(&q, &k, &v, self.heads, mask).unwrap()
    }

    /// Head `h` as a layer of chapter 1, with its columns of the three projections.
    fn one(&self, h: usize) -> Attention {
        let widths = [self.head_dim, self.head_dim, self.v_dim];
        let cut = |part: usize| {
            let ((weight, bias), width) = (&self.parts[part], widths[part]);
            let weight = weight.columns(h * width, width).into_owned();
            let bias = bias.rows(h * width, width).into_owned();
            Linear::new(weight, Some(bias)).unwrap()
        };
        Attention::new(cut(0), cut(1), cut(2)).unwrap()
    }
}

#[property_test]
fn each_head_is_an_attention_of_its_own(#[strategy = case()] case: Case) {
    let Heads { found: context, weights } = case.heads(&case.mask());
    for (h, weights) in weights.iter().enumerate() {
        let alone = case.one(h).forward(&case.x, &case.mask()).unwrap();
        let found = context.columns(h * case.v_dim, case.v_dim);
        assert_close("weights", weights, &alone.weights, TOLERANCE);
        assert_close("output", &found, &alone.output, TOLERANCE);
    }
}

#[property_test]
fn the_output_is_a_sum_over_heads(#[strategy = case()] case: Case) {
    let (w_o, b_o) = &case.parts[3];
    let whole = case.layer().forward(&case.x, &case.mask()).unwrap().output;
    let mut sum = DMatrix::zeros(whole.nrows(), whole.ncols());
    for h in 0..case.heads {
        let found = case.one(h).forward(&case.x, &case.mask()).unwrap().output;
        sum += found * w_o.rows(h * case.v_dim, case.v_dim);
    }
    for mut row in sum.row_iter_mut() {
        row += b_o.transpose();
    }
    assert_close("output", &whole, &sum, TOLERANCE);
}

#[property_test]
fn one_head_with_an_identity_after_it_is_attention(
    #[strategy = case_with(Just(1))] mut case: Case,
) {
    case.parts[3] =
        (DMatrix::identity(case.v_dim, case.v_dim), DVector::zeros(case.v_dim));
    let attended = case.layer().forward(&case.x, &case.mask()).unwrap();
    let alone = case.one(0).forward(&case.x, &case.mask()).unwrap();
    prop_assert_eq!(attended.output, alone.output);
    prop_assert_eq!(attended.weights, vec![alone.weights]);
}

#[property_test]
fn parameters_do_not_depend_on_the_number_of_heads(
    #[strategy = case()] case: Case,
    #[strategy = 0..12_usize] pick: usize,
) {
    // What divides the number of heads divides both widths.
    let fits: Vec<usize> =
        (1..=case.heads).filter(|other| case.heads.is_multiple_of(*other)).collect();
    let other = fits[pick % fits.len()];
    let counted: usize = case.parts.iter().map(|(w, b)| w.len() + b.len()).sum();
    prop_assert_eq!(case.layer().parameters(), counted);
    prop_assert_eq!(case.shared_by(other).parameters(), counted);
}

#[property_test]
fn the_order_of_the_heads_does_not_matter(#[strategy = case()] case: Case) {
    // Head 0 goes last, with its columns of q, k and v and its rows of W_O.
    let mut turned = case.clone();
    let columns = |part: &(DMatrix<f32>, DVector<f32>), width: usize| {
        let (weight, bias) = part;
        let old = |j| (j + width) % weight.ncols();
        (
            DMatrix::from_fn(weight.nrows(), weight.ncols(), |i, j| {
                weight[(i, old(j))]
            }),
            DVector::from_fn(bias.len(), |j, _| bias[old(j)]),
        )
    };
    for (part, width) in [(0, case.head_dim), (1, case.head_dim), (2, case.v_dim)] {
        turned.parts[part] = columns(&case.parts[part], width);
    }
    let w_o = &case.parts[3].0;
    turned.parts[3].0 = DMatrix::from_fn(w_o.nrows(), w_o.ncols(), |i, j| {
        w_o[((i + case.v_dim) % w_o.nrows(), j)]
    });
    let before = case.layer().forward(&case.x, &case.mask()).unwrap();
    let after = turned.layer().forward(&case.x, &case.mask()).unwrap();
    assert_close("output", &after.output, &before.output, TOLERANCE);
    assert_close(
        "weights",
        &after.weights[case.heads - 1],
        &before.weights[0],
        TOLERANCE,
    );
}

#[property_test]
fn the_rank_of_scores_is_at_most_the_width_of_a_head(
    #[strategy = (1..5_usize, 6..12_usize)
        .prop_flat_map(|(head_dim, n)| (matrix(n, head_dim), matrix(n, head_dim)))]
    qk: (DMatrix<f32>, DMatrix<f32>),
) {
    let (q, k) = qk;
    let scores = attention::scores(q.as_view(), k.as_view()).unwrap();
    let mut values: Vec<f32> = scores.singular_values().iter().copied().collect();
    values.sort_by(|a, b| b.total_cmp(a));
    for value in &values[q.ncols()..] {
        prop_assert!(*value <= 1e-5 * values[0].max(1.0), "{values:?}");
    }
}

#[property_test]
fn no_head_sees_the_future(
    #[strategy = case()] case: Case,
    #[strategy = 0..10_usize] cut: usize,
) {
    let causal = Mask::Causal { offset: 0 };
    let cut = cut % case.x.nrows();
    let before = case.layer().forward(&case.x, &causal).unwrap().output;
    let mut changed = case.clone();
    changed.x.rows_mut(cut + 1, case.x.nrows() - cut - 1).fill(100.0);
    let after = changed.layer().forward(&changed.x, &causal).unwrap().output;
    let past = |output: &DMatrix<f32>| output.rows(0, cut + 1).into_owned();
    assert_close("the past", &past(&after), &past(&before), TOLERANCE);
}

#[property_test]
fn what_sees_nothing_gets_the_bias(#[strategy = case()] mut case: Case) {
    case.allowed.row_mut(0).fill(false);
    let attended = case.layer().forward(&case.x, &case.mask()).unwrap();
    prop_assert_eq!(attended.output.row(0), case.parts[3].1.transpose());
    prop_assert!(attended.weights.iter().all(|w| w.row(0).iter().all(|w| *w == 0.0)));
}

#[property_test]
fn permuting_the_tokens_permutes_the_output(#[strategy = case()] case: Case) {
    let n = case.x.nrows();
    let order: Vec<usize> = (0..n).rev().collect();
    let plain = case.layer().forward(&case.x, &Mask::None).unwrap();
    let permuted =
        case.layer().forward(&case.x.select_rows(&order), &Mask::None).unwrap();
    assert_close(
        "output",
        &permuted.output,
        &plain.output.select_rows(&order),
        TOLERANCE,
    );
}

#[property_test]
fn a_hidden_token_may_hold_anything(
    #[strategy = case()] case: Case,
    #[strategy = (0..10_usize, select(NOT_FINITE))] (token, odd): (usize, f32),
) {
    let (layer, mask) = (case.layer(), case.mask());
    let token = token % case.x.nrows();
    let clean = layer.forward(&case.x, &mask).unwrap();
    let found = layer.forward(&spoilt(&case.x, token, odd), &mask).unwrap();
    let sees = |query| case.allowed[(query, token)];
    assert_spoils_whoever_sees(token, &found.output, &clean.output, sees);
}

#[property_test]
fn a_hidden_value_spoils_no_head(
    #[strategy = case()] case: Case,
    #[strategy = (0..10_usize, 0..30_usize, select(NOT_FINITE))] spot: (
        usize,
        usize,
        f32,
    ),
) {
    let Projected { q, k, mut v } = case.layer().project(&case.x, &case.x).unwrap();
    let clean = case.heads(&case.mask());
    let (key, feature) = (spot.0 % v.nrows(), spot.1 % v.ncols());
    v[(key, feature)] = spot.2;
    let found = attend_heads(&q, &k, &v, case.heads, &case.mask()).unwrap();
    prop_assert_eq!(&found.weights, &clean.weights);
    for query in 0..case.x.nrows() {
        let mut answers = clean.found.row(query).into_owned();
        if case.allowed[(query, key)] {
            prop_assert!(!found.found[(query, feature)].is_finite());
            answers[feature] = found.found[(query, feature)];
        }
        let same = |(a, b): (&f32, &f32)| a == b || (a.is_nan() && b.is_nan());
        prop_assert!(found.found.row(query).iter().zip(&answers).all(same));
    }
}
