//! What holds for every input: the laws that the chapter states.

use attention::{Linear, Mask};
use chapter_cli::testing::{
    NOT_FINITE, assert_close, assert_spoils_whoever_sees, spoilt,
};
use decoding::KvCache;
use grouped_query::alignment::{Turns, align, turned};
use grouped_query::{
    GroupedQueryAttention, Groups, Pool, Pooling, attend_groups, attend_stacked,
    decode, prefill,
};
use multi_head::{MultiHeadAttended, MultiHeadAttention};
use multi_query::MultiQueryAttention;
use multi_query::alignment::Freedom;
use nalgebra::{DMatrix, DVector};
use proptest::prelude::*;
use proptest::property_test;
use proptest::sample::select;

/// Sums of up to 32 products of numbers up to 2, in f32, two times over.
const TOLERANCE: f32 = 1e-4;

/// How many heads and groups there are, and how wide they are.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    kv_heads: usize,
    heads: usize,
    d_in: usize,
    d_k: usize,
    d_v: usize,
}

fn sizes() -> impl Strategy<Value = Sizes> {
    (1..5_usize, 1..5_usize, 1..8_usize, 1..6_usize, 1..6_usize).prop_map(
        |(kv_heads, size, d_in, d_k, d_v)| Sizes {
            kv_heads,
            heads: kv_heads * size,
            d_in,
            d_k,
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

/// Sizes, four projections whose keys and values have `kv` of the sizes' heads, and
/// tokens.
#[derive(Debug, Clone)]
struct Case {
    sizes: Sizes,
    projections: [Linear; 4],
    x: DMatrix<f32>,
}

fn case(kv: fn(Sizes) -> usize) -> impl Strategy<Value = Case> {
    case_of(sizes(), kv)
}

fn case_of(
    sizes: impl Strategy<Value = Sizes>,
    kv: fn(Sizes) -> usize,
) -> impl Strategy<Value = Case> {
    (sizes, 1..16_usize)
        .prop_flat_map(move |(s, tokens)| {
            let projections = (
                linear(s.d_in, s.heads * s.d_k),
                linear(s.d_in, kv(s) * s.d_k),
                linear(s.d_in, kv(s) * s.d_v),
                linear(s.heads * s.d_v, 3),
            );
            (Just(s), projections, matrix(tokens, s.d_in))
        })
        .prop_map(|(sizes, (q, k, v, o), x)| Case {
            sizes,
            projections: [q, k, v, o],
            x,
        })
}

fn all_heads() -> impl Strategy<Value = Case> {
    case(|s| s.heads)
}

fn groups() -> impl Strategy<Value = Case> {
    case(|s| s.kv_heads)
}

/// Groups of two, which are turned to where nothing is nearer. More heads may be turned to
/// where no single one of them can come nearer, and all together could.
fn pairs() -> impl Strategy<Value = Case> {
    case_of(sizes().prop_map(|s| Sizes { heads: 2 * s.kv_heads, ..s }), |s| s.kv_heads)
}

fn one_kv_head() -> impl Strategy<Value = Case> {
    case(|_| 1)
}

fn layer(
    [q, k, v, o]: [Linear; 4],
    heads: usize,
    kv_heads: usize,
) -> GroupedQueryAttention {
    GroupedQueryAttention::new(q, k, v, o, heads, kv_heads).unwrap()
}

#[track_caller]
fn same(found: &MultiHeadAttended, expected: &MultiHeadAttended) {
    assert_close("output", &found.output, &expected.output, TOLERANCE);
    assert_eq!(found.weights.len(), expected.weights.len());
    for (found, expected) in found.weights.iter().zip(&expected.weights) {
        assert_close("weights", found, expected, TOLERANCE);
    }
}

/// The columns of each shared head, once for every head of its group.
fn repeated(linear: &Linear, groups: Groups) -> Linear {
    let width = linear.shape().1 / groups.kv_heads();
    let columns: Vec<usize> = (0..groups.heads() * width)
        .map(|c| c / width / groups.size() * width + c % width)
        .collect();
    let bias = linear.bias().map(|bias| bias.select_rows(&columns));
    Linear::new(linear.weight().select_columns(&columns), bias).unwrap()
}

#[property_test]
fn as_many_kv_heads_as_heads_equals_multi_head(
    #[strategy = all_heads()] case: Case,
    #[strategy = any::<bool>()] causal: bool,
) {
    let mask = if causal { Mask::Causal { offset: 0 } } else { Mask::None };
    let (heads, [q, k, v, o]) = (case.sizes.heads, case.projections.clone());
    let expected = MultiHeadAttention::new(q, k, v, o, heads)
        .unwrap()
        .forward(&case.x, &mask)
        .unwrap();
    let found = layer(case.projections, heads, heads).forward(&case.x, &mask).unwrap();
    prop_assert_eq!(found, expected);
}

#[property_test]
fn one_kv_head_equals_multi_query(
    #[strategy = one_kv_head()] case: Case,
    #[strategy = any::<bool>()] causal: bool,
) {
    let mask = if causal { Mask::Causal { offset: 0 } } else { Mask::None };
    let (heads, [q, k, v, o]) = (case.sizes.heads, case.projections.clone());
    let expected = MultiQueryAttention::new(q, k, v, o, heads)
        .unwrap()
        .forward(&case.x, &mask)
        .unwrap();
    let found = layer(case.projections, heads, 1).forward(&case.x, &mask).unwrap();
    prop_assert_eq!(found, expected);
}

#[property_test]
fn any_grouping_equals_multi_head_with_repeated_keys(
    #[strategy = groups()] case: Case,
) {
    let Sizes { heads, kv_heads, .. } = case.sizes;
    let groups = Groups::new(heads, kv_heads).unwrap();
    let [q, k, v, o] = case.projections.clone();
    let (k, v) = (repeated(&k, groups), repeated(&v, groups));
    let expected = MultiHeadAttention::new(q, k, v, o, heads)
        .unwrap()
        .forward(&case.x, &Mask::None)
        .unwrap();
    let grouped = layer(case.projections, heads, kv_heads);
    same(&grouped.forward(&case.x, &Mask::None).unwrap(), &expected);
}

#[property_test]
fn heads_that_are_equal_within_groups_are_pooled_for_nothing(
    #[strategy = groups()] case: Case,
) {
    let Sizes { heads, kv_heads, .. } = case.sizes;
    let groups = Groups::new(heads, kv_heads).unwrap();
    let [q, k, v, o] = case.projections.clone();
    let equal = [q, repeated(&k, groups), repeated(&v, groups), o];
    let pooled =
        GroupedQueryAttention::from_multi_head(equal, heads, kv_heads, Pooling::Mean);
    prop_assert_eq!(pooled.unwrap(), layer(case.projections, heads, kv_heads));
}

/// Any orthogonal matrix: what remains of a random one without its upper triangle.
fn orthogonal(width: usize) -> impl Strategy<Value = DMatrix<f32>> {
    matrix(width, width)
        .prop_map(|random| random.map(f64::from).qr().q().map(|x| x as f32))
}

fn turns_of(sizes: Sizes) -> impl Strategy<Value = Turns> {
    let each = |width| prop::collection::vec(orthogonal(width), sizes.heads);
    (each(sizes.d_k), each(sizes.d_v)).prop_map(|(keys, values)| Turns { keys, values })
}

/// Scores are sums of up to 35 products here, and the exponential of their rounding
/// reaches the output.
const TURNED: f32 = 1e-3;

#[property_test]
fn turning_heads_changes_no_output(
    #[strategy = all_heads().prop_flat_map(|case| (turns_of(case.sizes), Just(case)))]
    (turns, case): (Turns, Case),
    #[strategy = any::<bool>()] causal: bool,
) {
    let mask = if causal { Mask::Causal { offset: 0 } } else { Mask::None };
    let (heads, x) = (case.sizes.heads, case.x / 4.0);
    let other = turned(case.projections.clone(), &turns).unwrap();
    let expected = layer(case.projections, heads, heads).forward(&x, &mask).unwrap();
    let found = layer(other, heads, heads).forward(&x, &mask).unwrap();
    assert_close("output", &found.output, &expected.output, TURNED);
    for (found, expected) in found.weights.iter().zip(&expected.weights) {
        assert_close("weights", found, expected, TURNED);
    }
}

#[property_test]
fn heads_that_are_one_head_in_two_bases_are_pooled_for_nothing(
    #[strategy = pairs().prop_flat_map(|case| (turns_of(case.sizes), Just(case)))]
    (turns, case): (Turns, Case),
) {
    let Sizes { heads, kv_heads, .. } = case.sizes;
    let groups = Groups::new(heads, kv_heads).unwrap();
    let [q, k, v, o] = case.projections;
    let equal = [q, repeated(&k, groups), repeated(&v, groups), o];
    let x = case.x / 4.0;
    let expected = layer(equal.clone(), heads, heads).forward(&x, &Mask::None).unwrap();
    let hidden = turned(equal, &turns).unwrap();
    let aligned = align(hidden, groups, Freedom::Any).unwrap();
    let found =
        GroupedQueryAttention::from_multi_head(aligned, heads, kv_heads, Pooling::Mean);
    let found = found.unwrap().forward(&x, &Mask::None).unwrap();
    assert_close("output", &found.output, &expected.output, TURNED);
}

#[property_test]
fn token_by_token_equals_the_causal_pass_for_any_split(
    #[strategy = groups()] case: Case,
    #[strategy = prop::collection::vec(0..5_usize, 0..6)] chunks: Vec<usize>,
) {
    let Sizes { heads, kv_heads, .. } = case.sizes;
    let (layer, n) = (layer(case.projections, heads, kv_heads), case.x.nrows());
    let expected = layer.forward(&case.x, &Mask::Causal { offset: 0 }).unwrap();
    let (keys, values) = layer.kv_widths();
    let mut cache = KvCache::new(n, keys, values);
    for chunk in chunks {
        let (start, chunk) = (cache.len(), chunk.min(n - cache.len()));
        let x = case.x.rows(start, chunk).into_owned();
        let found = prefill(&layer, &x, &mut cache).unwrap();
        let rows = expected.output.rows(start, chunk).into_owned();
        assert_close("prefill", &found.output, &rows, TOLERANCE);
    }
    for token in cache.len()..n {
        let found =
            decode(&layer, &case.x.rows(token, 1).into_owned(), &mut cache).unwrap();
        let row = expected.output.rows(token, 1).into_owned();
        assert_close("decode", &found.output, &row, TOLERANCE);
        for (found, expected) in found.weights.iter().zip(&expected.weights) {
            let seen = expected.view((token, 0), (1, token + 1)).into_owned();
            assert_close("decode's weights", found, &seen, TOLERANCE);
        }
    }
    prop_assert_eq!(cache.keys().shape(), (n, keys));
}

#[property_test]
fn stacking_a_group_gives_the_same_heads(#[strategy = groups()] case: Case) {
    let Sizes { heads, kv_heads, .. } = case.sizes;
    let layer = layer(case.projections, heads, kv_heads);
    let one = case.x.rows(0, 1).into_owned();
    let all = layer.project(&one, &case.x).unwrap();
    let (k, v, groups) = (all.k.as_view(), all.v.as_view(), layer.groups());
    let stacked = attend_stacked(&all.q, k, v, groups).unwrap();
    let plain = attend_groups(&all.q, k, v, groups, &Mask::None).unwrap();
    assert_close("context", &stacked.found, &plain.found, TOLERANCE);
    for (stacked, plain) in stacked.weights.iter().zip(&plain.weights) {
        assert_close("weights", stacked, plain, TOLERANCE);
    }
}

#[property_test]
fn blocks_are_equal_and_in_order(#[strategy = sizes()] sizes: Sizes) {
    let groups = Groups::new(sizes.heads, sizes.kv_heads).unwrap();
    let partners: Vec<usize> = (0..sizes.heads).map(|h| groups.kv_head(h)).collect();
    prop_assert!(partners.is_sorted());
    for g in 0..sizes.kv_heads {
        let sharing = partners.iter().filter(|&&partner| partner == g).count();
        prop_assert_eq!(sharing, groups.size());
    }
}

#[property_test]
fn the_mean_lies_among_the_heads_and_first_is_one_of_them(
    #[strategy = all_heads()] case: Case,
) {
    let Sizes { heads, kv_heads, d_k, .. } = case.sizes;
    let groups = Groups::new(heads, kv_heads).unwrap();
    let k = &case.projections[1];
    let pool = |pooling| Pool::new(groups, pooling).linear("k_proj", k).unwrap();
    let (mean, first) = (pool(Pooling::Mean), pool(Pooling::First));
    for column in 0..kv_heads * d_k {
        let (g, c) = (column / d_k, column % d_k);
        let of_head = |h: usize| k.weight().column((g * groups.size() + h) * d_k + c);
        prop_assert_eq!(first.weight().column(column), of_head(0));
        for row in 0..mean.shape().0 {
            let heads = (0..groups.size()).map(|h| of_head(h)[row]);
            let (low, high) = heads
                .fold((f32::MAX, f32::MIN), |(low, high), w| (low.min(w), high.max(w)));
            prop_assert!((low..=high).contains(&mean.weight()[(row, column)]));
        }
    }
}

#[property_test]
fn a_hidden_token_may_hold_anything(
    #[strategy = groups()] case: Case,
    #[strategy = (0..16_usize, select(NOT_FINITE))] (token, odd): (usize, f32),
    #[strategy = prop::collection::vec(any::<bool>(), 256)] allowed: Vec<bool>,
) {
    let (n, Sizes { heads, kv_heads, .. }) = (case.x.nrows(), case.sizes);
    let token = token % n;
    let (layer, x) = (layer(case.projections, heads, kv_heads), &case.x);
    let allowed = DMatrix::from_fn(n, n, |i, j| allowed[16 * i + j]);
    for mask in [Mask::Causal { offset: 0 }, Mask::Allowed(allowed)] {
        let clean = layer.forward(x, &mask).unwrap().output;
        let found = layer.forward(&spoilt(x, token, odd), &mask).unwrap().output;
        assert_spoils_whoever_sees(token, &found, &clean, |query| {
            mask.sees(query, token)
        });
    }
}

#[property_test]
fn what_comes_later_in_a_chunk_may_hold_anything(
    #[strategy = groups()] case: Case,
    #[strategy = (0..16_usize, select(NOT_FINITE))] (token, odd): (usize, f32),
) {
    let (n, Sizes { heads, kv_heads, .. }) = (case.x.nrows(), case.sizes);
    let token = token % n;
    let layer = layer(case.projections, heads, kv_heads);
    let (key, value) = layer.kv_widths();
    let prefilled = |x: &DMatrix<f32>| {
        let mut cache = KvCache::new(2 * n, key, value);
        prefill(&layer, &case.x, &mut cache).unwrap();
        prefill(&layer, x, &mut cache).unwrap().output
    };
    let clean = prefilled(&case.x);
    let found = prefilled(&spoilt(&case.x, token, odd));
    assert_spoils_whoever_sees(token, &found, &clean, |query| query > token);
}
