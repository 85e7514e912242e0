//! What holds for every input: the laws that the chapter states.

use attention::{Linear, Mask, attend};
use chapter_cli::testing::{NOT_FINITE, assert_close, spoilt};
use grouped_query::{GroupedQueryAttention, Groups};
use linformer::experiments::{self, Causal, LEAK, by_prefix, leak, who_uses_which};
use linformer::{LinformerAttention, Projections, SequenceProjection, Sharing};
use linformer::{LinformerError, attend_condensed};
use multi_head::{MultiHeadAttended, MultiHeadAttention};
use nalgebra::{DMatrix, DVector};
use proptest::prelude::*;
use proptest::property_test;
use proptest::sample::select;
use std::sync::Arc;

/// Sums of up to 12 products of sums of up to 12 products, in f32.
const TOLERANCE: f32 = 1e-4;

const MODES: [Sharing; 4] =
    [Sharing::None, Sharing::Headwise, Sharing::KeyValue, Sharing::Layerwise];

/// The numbers of a layer with a key and a value for each head, tokens for it, and
/// projections for up to `n_max` of them.
#[derive(Debug, Clone)]
struct Case {
    heads: usize,
    weights: [DMatrix<f32>; 4],
    biases: Option<[DVector<f32>; 4]>,
    x: DMatrix<f32>,
    e: Vec<DMatrix<f32>>,
}

impl Case {
    fn linear(&self, i: usize) -> Linear {
        let bias = self.biases.as_ref().map(|biases| biases[i].clone());
        Linear::new(self.weights[i].clone(), bias).unwrap()
    }

    fn layer(&self, projections: Projections) -> LinformerAttention {
        let [q, k, v, o] = [0, 1, 2, 3].map(|i| self.linear(i));
        let groups = Groups::new(self.heads, self.heads).unwrap();
        LinformerAttention::new(q, k, Some(v), o, projections, groups).unwrap()
    }

    fn multi_head(&self) -> MultiHeadAttention {
        let [q, k, v, o] = [0, 1, 2, 3].map(|i| self.linear(i));
        MultiHeadAttention::new(q, k, v, o, self.heads).unwrap()
    }

    fn projection(&self, i: usize) -> SequenceProjection {
        SequenceProjection::new(self.e[i].clone()).unwrap()
    }

    /// The projections of a layer in one of the modes, out of the matrices of this case.
    fn projections(&self, sharing: Sharing) -> Projections {
        let mut i = 0;
        let next = || {
            i += 1;
            self.projection(i - 1)
        };
        Projections::of_model(sharing, 1, self.heads, next).unwrap().remove(0)
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
    let sizes =
        (1..4_usize, 1..6_usize, 1..5_usize, 1..9_usize, 0..4_usize, 1..6_usize);
    sizes.prop_flat_map(|(heads, d, d_h, n, more, r)| {
        let width = heads * d_h;
        let weights =
            (matrix(d, width), matrix(d, width), matrix(d, width), matrix(width, d));
        let biases = (vector(width), vector(width), vector(width), vector(d));
        let e = prop::collection::vec(matrix(r, n + more), 2 * heads);
        (Just(heads), weights, prop::option::of(biases), matrix(n, d), e).prop_map(
            |(heads, (q, k, v, o), biases, x, e)| {
                let biases = biases.map(|(q, k, v, o)| [q, k, v, o]);
                Case { heads, weights: [q, k, v, o], biases, x, e }
            },
        )
    })
}

fn mode() -> impl Strategy<Value = Sharing> {
    prop::sample::select(&MODES[..])
}

fn identity(n: usize) -> Arc<SequenceProjection> {
    Arc::new(SequenceProjection::new(DMatrix::identity(n, n)).unwrap())
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
fn with_identities_it_is_attention(#[strategy = case()] case: Case) {
    let e = vec![identity(case.x.nrows())];
    let layer = case.layer(Projections::new(e.clone(), e).unwrap());
    let attended = case.multi_head().forward(&case.x, &Mask::None).unwrap();
    same(&layer.forward(&case.x).unwrap(), &attended);
}

#[property_test]
fn a_shorter_sequence_meets_a_cut_projection(
    #[strategy = case()] case: Case,
    #[strategy = mode()] sharing: Sharing,
) {
    let n = case.x.nrows();
    let cut = case.e.iter().map(|e| e.columns(0, n).into_owned()).collect();
    let cut = Case { e: cut, ..case.clone() };
    let found = case.layer(case.projections(sharing)).forward(&case.x).unwrap();
    prop_assert_eq!(
        &found,
        &cut.layer(cut.projections(sharing)).forward(&cut.x).unwrap()
    );
}

#[property_test]
fn it_is_attention_to_keys_and_values_that_were_condensed_before(
    #[strategy = case()] case: Case,
    #[strategy = mode()] sharing: Sharing,
) {
    let layer = case.layer(case.projections(sharing));
    let found = layer.forward(&case.x).unwrap();
    let all = layer.project(&case.x, &case.x).unwrap();
    let d_h = all.q.ncols() / case.heads;
    let mut context = DMatrix::zeros(case.x.nrows(), all.q.ncols());
    for h in 0..case.heads {
        let (e, f) = match sharing {
            Sharing::None => (h, case.heads + h),
            Sharing::Headwise => (0, 1),
            Sharing::KeyValue | Sharing::Layerwise => (0, 0),
        };
        let [q, k, v] = [&all.q, &all.k, &all.v].map(|all| all.columns(h * d_h, d_h));
        let (e, f) = (case.projection(e), case.projection(f));
        let head = attend_condensed(q, k, v, &e, &f).unwrap();
        assert_close("weights", &found.weights[h], &head.weights, TOLERANCE);
        context.columns_mut(h * d_h, d_h).copy_from(&head.output);
    }
    let output = case.linear(3).forward(&context).unwrap();
    assert_close("output", &found.output, &output, TOLERANCE);
}

#[property_test]
fn rows_of_weights_sum_to_one(#[strategy = case()] case: Case) {
    let found = case.layer(case.projections(Sharing::None)).forward(&case.x).unwrap();
    for weights in &found.weights {
        prop_assert_eq!(weights.shape(), (case.x.nrows(), case.e[0].nrows()));
        for row in weights.row_iter() {
            prop_assert!((row.sum() - 1.0).abs() < 1e-5);
        }
    }
}

#[property_test]
fn one_key_value_head_is_as_many_that_are_equal(#[strategy = case()] case: Case) {
    let d_h = case.weights[0].ncols() / case.heads;
    let first = |i: usize| {
        let bias = case.biases.as_ref().map(|b| b[i].rows(0, d_h).into_owned());
        Linear::new(case.weights[i].columns(0, d_h).into_owned(), bias).unwrap()
    };
    let repeated = |i: usize| {
        let weight = DMatrix::from_fn(case.x.ncols(), case.heads * d_h, |row, c| {
            case.weights[i][(row, c % d_h)]
        });
        let bias = case
            .biases
            .as_ref()
            .map(|b| DVector::from_fn(case.heads * d_h, |c, _| b[i][c % d_h]));
        Linear::new(weight, bias).unwrap()
    };
    let along = || case.projections(Sharing::Headwise);
    let layer = |k, v, kv_heads| {
        let groups = Groups::new(case.heads, kv_heads).unwrap();
        let (q, o) = (case.linear(0), case.linear(3));
        LinformerAttention::new(q, k, Some(v), o, along(), groups).unwrap()
    };
    let one = layer(first(1), first(2), 1).forward(&case.x).unwrap();
    let many = layer(repeated(1), repeated(2), case.heads).forward(&case.x).unwrap();
    same(&one, &many);
    let shared = GroupedQueryAttention::new(
        case.linear(0),
        first(1),
        first(2),
        case.linear(3),
        case.heads,
        1,
    );
    let e = vec![identity(case.x.nrows())];
    let groups = Groups::new(case.heads, 1).unwrap();
    let layer = LinformerAttention::new(
        case.linear(0),
        first(1),
        Some(first(2)),
        case.linear(3),
        Projections::new(e.clone(), e).unwrap(),
        groups,
    );
    let expected = shared.unwrap().forward(&case.x, &Mask::None).unwrap();
    same(&layer.unwrap().forward(&case.x).unwrap(), &expected);
}

/// Sharing E = F is not sharing K = V: without `to_v` the values are the keys, with the
/// same projection they need not be.
#[property_test]
fn without_values_the_keys_are_the_values(#[strategy = case()] case: Case) {
    let groups = Groups::new(case.heads, case.heads).unwrap();
    let layer = |to_v| {
        let (q, k, o) = (case.linear(0), case.linear(1), case.linear(3));
        let along = case.projections(Sharing::KeyValue);
        LinformerAttention::new(q, k, to_v, o, along, groups).unwrap()
    };
    let none = layer(None).forward(&case.x).unwrap();
    let keys = layer(Some(case.linear(1))).forward(&case.x).unwrap();
    prop_assert_eq!(&none, &keys);
    let values = layer(Some(case.linear(2))).forward(&case.x).unwrap();
    prop_assert_eq!(&values.weights, &none.weights);
    let apart = (&case.weights[1] - &case.weights[2]).amax() > 0.1;
    let heard = values.output != none.output || !apart || case.e[0].amax() < 0.1;
    prop_assert!(heard || case.x.amax() < 0.1 || case.weights[3].amax() < 0.1);
}

/// (E X) W = E (X W): a bias is what keeps the two apart, by (E 1 − 1) bᵀ.
#[property_test]
fn the_order_of_the_two_projections_matters_by_the_bias(
    #[strategy = case()] case: Case,
) {
    let (e, map) = (case.projection(0), case.linear(1));
    let first = map.forward(&e.forward(case.x.as_view()).unwrap()).unwrap();
    let last = e.forward(map.forward(&case.x).unwrap().as_view()).unwrap();
    let ones = DMatrix::repeat(case.x.nrows(), 1, 1.0);
    let sums = e.forward(ones.as_view()).unwrap().add_scalar(-1.0);
    let bias = map.bias().map_or_else(|| DVector::zeros(first.ncols()), Clone::clone);
    assert_close("apart", &(&last - &first), &(sums * bias.transpose()), TOLERANCE);
}

#[property_test]
fn means_of_single_tokens_are_the_tokens(
    #[strategy = (1..9_usize).prop_flat_map(|n| matrix(n, 3))] x: DMatrix<f32>,
) {
    let n = x.nrows();
    let e = SequenceProjection::mean_pooling(n, n).unwrap();
    prop_assert_eq!(e.forward(x.as_view()).unwrap(), x);
}

#[property_test]
fn every_token_is_in_one_mean(
    #[strategy = (1..9_usize, 0..9_usize)] sizes: (usize, usize),
) {
    let (r, n) = (sizes.0, sizes.0 + sizes.1);
    let e = SequenceProjection::mean_pooling(r, n).unwrap();
    let each = e.forward(DMatrix::identity(n, n).as_view()).unwrap();
    for column in each.column_iter() {
        prop_assert_eq!(column.iter().filter(|weight| **weight > 0.0).count(), 1);
    }
    for row in each.row_iter() {
        prop_assert!((row.sum() - 1.0).abs() < 1e-6);
    }
}

/// Each token's view of what came before it is a sum that grows by one product per token:
/// its output is that of the last token of a shorter sequence.
#[property_test]
fn running_sums_equal_every_shorter_sequence(#[strategy = case()] case: Case) {
    let (e, f) = (case.projection(0), case.projection(1));
    let all = case.layer(case.projections(Sharing::Headwise));
    let all = all.project(&case.x, &case.x).unwrap();
    let (q, k, v) = (&all.q, &all.k, &all.v);
    let found = by_prefix(q.as_view(), k.as_view(), v.as_view(), &e, &f).unwrap();
    for n in 1..=case.x.nrows() {
        let [q, k, v] = [q, k, v].map(|all| all.rows(0, n));
        let prefix = attend_condensed(q, k, v, &e, &f).unwrap();
        let last = prefix.output.rows(n - 1, 1);
        assert_close("token", &found.rows(n - 1, 1), &last, TOLERANCE);
    }
}

#[property_test]
fn a_token_too_many_is_refused(#[strategy = case()] case: Case) {
    let n_max = case.e[0].ncols();
    let layer = case.layer(case.projections(Sharing::None));
    let x = DMatrix::zeros(n_max + 1, case.x.ncols());
    let error = LinformerError::TooLong { n: n_max + 1, n_max };
    prop_assert_eq!(layer.forward(&x).unwrap_err(), error);
    // Queries may be as many as they like.
    prop_assert!(layer.forward_cross(&x, &case.x).is_ok());
}

#[property_test]
fn a_model_has_as_many_matrices_as_its_mode_says(
    #[strategy = (1..5_usize, 1..5_usize)] sizes: (usize, usize),
    #[strategy = mode()] sharing: Sharing,
) {
    let (layers, heads) = sizes;
    let mut made = 0;
    let next = || {
        made += 1;
        SequenceProjection::mean_pooling(2, 3).unwrap()
    };
    let model = Projections::of_model(sharing, layers, heads, next).unwrap();
    prop_assert_eq!(model.len(), layers);
    prop_assert_eq!(made, sharing.matrices(layers, heads));
    prop_assert_eq!(Projections::parameters(&model), made * 2 * 3);
    let numbers = who_uses_which(sharing, layers, heads).unwrap();
    prop_assert_eq!(numbers.max(), (made - 1) as f64);
}

#[test]
fn twelve_layers_of_twelve_heads_have_the_papers_counts() {
    let counts = MODES.map(|mode| mode.matrices(12, 12));
    assert_eq!(counts, [288, 24, 12, 1]);
}

#[test]
fn a_causal_mask_on_condensed_keys_leaks_the_future() {
    let (n, r) = LEAK;
    let leaks = |causal| {
        let moved = leak(causal).unwrap();
        let pairs = (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j)));
        pairs.filter(|&at| moved[at] > 0.0).collect::<Vec<_>>()
    };
    assert_eq!(leaks(Causal::Attention), []);
    assert_eq!(leaks(Causal::PastStretches), []);
    // Every later token is in every row of a dense E.
    assert_eq!(leaks(Causal::Dense).len(), n * (n - 1) / 2);
    let stretch = n / r;
    let own = leaks(Causal::OwnStretch);
    assert_eq!(own.len(), r * stretch * (stretch - 1) / 2);
    assert!(own.iter().all(|(i, j)| i / stretch == j / stretch));
}

/// Each token sees itself and everything before it, and nothing after it.
#[test]
fn finished_stretches_and_raw_keys_leak_nothing_and_hide_nothing() {
    let moved = leak(Causal::PastAndRaw).unwrap();
    for (i, j) in (0..LEAK.0).flat_map(|i| (0..LEAK.0).map(move |j| (i, j))) {
        assert_eq!(moved[(i, j)] > 0.0, j <= i, "{i}, {j}");
    }
}

#[test]
fn what_hides_the_future_hides_the_near_past() {
    let (n, r) = LEAK;
    let moved = leak(Causal::PastStretches).unwrap();
    for i in 0..n {
        let own = i / (n / r) * (n / r);
        assert!((own..i).all(|j| moved[(i, j)] == 0.0), "{i}");
        assert!((0..own).all(|j| moved[(i, j)] > 0.0), "{i}");
    }
}

#[property_test]
fn prefixes_do_not_leak(#[strategy = case()] case: Case) {
    let (e, f) = (case.projection(0), case.projection(1));
    let moved = experiments::influence(&case.x, |x| {
        Ok(by_prefix(x.as_view(), x.as_view(), x.as_view(), &e, &f)?)
    });
    let moved = moved.unwrap();
    for j in 1..moved.ncols() {
        prop_assert_eq!(moved.view((0, j), (j, 1)).amax(), 0.0);
    }
}

#[test]
fn attention_is_permuted_and_linformer_is_not() {
    let x = experiments::normal(6, 3, 1);
    let order = [3, 1, 5, 0, 2, 4];
    let mixed = x.select_rows(&order);
    let e = experiments::random(2, 6, 2).unwrap();
    let run = |x: &DMatrix<f32>| {
        attend_condensed(x.as_view(), x.as_view(), x.as_view(), &e, &e).unwrap().output
    };
    let plain = |x: &DMatrix<f32>| {
        attend(x.as_view(), x.as_view(), x.as_view(), &Mask::None).unwrap().output
    };
    let moved = |run: &dyn Fn(&DMatrix<f32>) -> DMatrix<f32>| {
        (run(&mixed) - run(&x).select_rows(&order)).amax()
    };
    assert!(moved(&plain) < 1e-6);
    assert!(moved(&run) > 0.1);
}

/// Of a sequence nothing is hidden; of a row, whatever its projection does not read.
#[property_test]
fn a_token_reaches_the_rows_that_read_it(
    #[strategy = (1..12_usize).prop_flat_map(|n| (1..=n, matrix(n, 3)))] (k, tokens): (
        usize,
        DMatrix<f32>,
    ),
    #[strategy = (0..12_usize, select(NOT_FINITE))] (token, odd): (usize, f32),
) {
    let means = SequenceProjection::mean_pooling(k, tokens.nrows()).unwrap();
    let token = token % tokens.nrows();
    let spoilt = spoilt(&tokens, token, odd);
    let clean = means.forward(tokens.as_view()).unwrap();
    let found = means.forward(spoilt.as_view()).unwrap();
    let mut only = DMatrix::zeros(tokens.nrows(), 1);
    only[token] = 1.0;
    let share = means.forward(only.as_view()).unwrap();
    for row in 0..k {
        if share[row] == 0.0 {
            prop_assert_eq!(found.row(row), clean.row(row));
        } else {
            prop_assert!(found.row(row).iter().all(|x| !x.is_finite()));
        }
    }
}

#[property_test]
fn what_a_shorter_sequence_does_not_meet_may_hold_anything(
    #[strategy = case()] case: Case,
    #[strategy = mode()] sharing: Sharing,
    #[strategy = select(NOT_FINITE)] odd: f32,
) {
    let n = case.x.nrows();
    let clean = case.layer(case.projections(sharing)).forward(&case.x).unwrap();
    let mut spoilt = case.clone();
    for e in &mut spoilt.e {
        e.columns_range_mut(n..).fill(odd);
    }
    let found = spoilt.layer(spoilt.projections(sharing)).forward(&case.x).unwrap();
    prop_assert_eq!(found, clean);
}
