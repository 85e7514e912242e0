//! What holds for every input: the laws that the chapter states.

use attention::{Mask, scores, softmax};
use chapter_cli::testing::{NOT_FINITE, assert_close};
use flash::experiments::{WALKED, stopped};
use flash::kernel::{Exp, Tuning, Vectors};
use flash::{
    Align, CHUNK, Partial, Sight, Tile, attend, attend_causal, attend_tiled,
    attend_tuned, attend_with_sinks, decode, sight,
};
use grouped_query::{Groups, attend_groups};
use nalgebra::DMatrix;
use proptest::prelude::*;
use proptest::property_test;
use proptest::sample::select;

/// Relative. Scores stay below 12, where one unit in the last place is 1e-6.
const TOLERANCE: f32 = 1e-5;

/// Queries, keys and values of some heads, and a mask.
#[derive(Debug, Clone)]
struct Case {
    q: DMatrix<f32>,
    k: DMatrix<f32>,
    v: DMatrix<f32>,
    groups: Groups,
    mask: Mask,
}

impl Case {
    /// By chapter 5.
    fn expected(&self) -> DMatrix<f32> {
        let Case { q, k, v, groups, mask } = self;
        attend_groups(q, k.as_view(), v.as_view(), *groups, mask).unwrap().found
    }

    fn found(&self) -> DMatrix<f32> {
        let Case { q, k, v, groups, mask } = self;
        attend(q, k.as_view(), v.as_view(), *groups, mask).unwrap()
    }
}

fn matrix(rows: usize, columns: usize) -> impl Strategy<Value = DMatrix<f32>> {
    prop::collection::vec(-1.0_f32..1.0, rows * columns)
        .prop_map(move |data| DMatrix::from_vec(rows, columns, data))
}

/// Whole numbers: products and sums of them are exact, however they are ordered.
fn whole(rows: usize, columns: usize) -> impl Strategy<Value = DMatrix<f32>> {
    prop::collection::vec(-50_i16..=50, rows * columns).prop_map(move |data| {
        DMatrix::from_iterator(rows, columns, data.into_iter().map(f32::from))
    })
}

/// All kinds, among them matrices in which whole tiles and whole rows are hidden.
fn mask(n: usize, m: usize) -> impl Strategy<Value = Mask> {
    prop_oneof![
        Just(Mask::None),
        (0..=m).prop_map(|offset| Mask::Causal { offset }),
        (0..=m, 0..=m + 2).prop_map(|(offset, window)| Mask::Window { offset, window }),
        (prop::collection::vec(any::<bool>(), n * m), 0..=n, 0..=m).prop_map(
            move |(allowed, blind, from)| {
                let sees = |i: usize, j: usize| {
                    i >= blind && (j >= from || allowed[i * m + j])
                };
                Mask::Allowed(DMatrix::from_fn(n, m, sees))
            }
        ),
    ]
}

fn case() -> impl Strategy<Value = Case> {
    (1..40_usize, 1..70_usize, 1..4_usize, 1..4_usize)
        .prop_flat_map(|(n, m, kv_heads, size)| {
            let widths = (1..36_usize, 1..20_usize);
            (Just((n, m, kv_heads, kv_heads * size)), widths, mask(n, m))
        })
        .prop_flat_map(|((n, m, kv_heads, heads), (d_k, d_v), mask)| {
            let q = matrix(n, heads * d_k);
            let (k, v) = (matrix(m, kv_heads * d_k), matrix(m, kv_heads * d_v));
            let groups = Groups::new(heads, kv_heads).unwrap();
            (q, k, v, Just(groups), Just(mask))
        })
        .prop_map(|(q, k, v, groups, mask)| Case { q, k, v, groups, mask })
}

fn tile() -> impl Strategy<Value = Tile> {
    (0..50_usize, 0..80_usize).prop_map(|(queries, keys)| Tile { queries, keys })
}

fn vectors() -> impl Strategy<Value = Vectors> {
    prop_oneof![Just(Vectors::Widest), Just(Vectors::UpToEight), Just(Vectors::One)]
}

fn exp() -> impl Strategy<Value = Exp> {
    prop_oneof![Just(Exp::Series), Just(Exp::Library)]
}

#[property_test]
fn attend_equals_attention(#[strategy = case()] case: Case) {
    assert_close("output", &case.found(), &case.expected(), TOLERANCE);
}

#[property_test]
fn any_tuning_gives_the_same(
    #[strategy = case()] case: Case,
    #[strategy = (tile(), vectors(), exp())] choice: (Tile, Vectors, Exp),
) {
    let (tile, vectors, exp) = choice;
    let tuning = Tuning { tile, vectors, exp };
    let Case { q, k, v, groups, mask } = &case;
    let found = attend_tuned(q, k.as_view(), v.as_view(), *groups, mask, tuning);
    assert_close("output", &found.unwrap(), &case.expected(), TOLERANCE);
}

#[property_test]
fn tiles_of_any_size_give_the_same(
    #[strategy = case()] case: Case,
    #[strategy = tile()] tile: Tile,
) {
    let Case { q, k, v, groups, mask } = &case;
    let (d_k, d_v) = (q.ncols() / groups.heads(), v.ncols() / groups.kv_heads());
    let expected = case.expected();
    for h in 0..groups.heads() {
        let g = groups.kv_head(h);
        let (k, v) = (k.columns(g * d_k, d_k), v.columns(g * d_v, d_v));
        let found = attend_tiled(q.columns(h * d_k, d_k), k, v, mask, tile).unwrap();
        let expected = expected.columns(h * d_v, d_v).into_owned();
        assert_close("head", &found, &expected, TOLERANCE);
    }
}

#[property_test]
fn scores_of_ten_thousand_give_the_same(
    #[strategy = (1..20_usize, 1..70_usize)
        .prop_flat_map(|(n, m)| (whole(n, 16), whole(m, 16), matrix(m, 3), mask(n, m)))]
    tensors: (DMatrix<f32>, DMatrix<f32>, DMatrix<f32>, Mask),
    #[strategy = vectors()] vectors: Vectors,
) {
    let (q, k, v, mask) = tensors;
    let groups = Groups::new(1, 1).unwrap();
    let tile = Tile { queries: 8, keys: 8 };
    let tuning = Tuning { tile, vectors, exp: Exp::Series };
    let found = attend_tuned(&q, k.as_view(), v.as_view(), groups, &mask, tuning);
    let case = Case { q, k, v, groups, mask };
    assert_close("output", &found.unwrap(), &case.expected(), TOLERANCE);
}

/// Three tiles of scores with their values, for the same queries.
fn three_parts() -> impl Strategy<Value = Vec<Partial>> {
    (1..5_usize, 1..4_usize, prop::collection::vec(0..6_usize, 3)).prop_flat_map(
        |(queries, d_v, keys)| {
            let part = |keys: usize| {
                let scores = prop::collection::vec(-30.0_f32..30.0, queries * keys)
                    .prop_map(move |s| DMatrix::from_vec(queries, keys, s));
                (scores, matrix(keys, d_v))
                    .prop_map(|(s, v)| Partial::of(s, v.as_view()).unwrap())
            };
            keys.into_iter().map(part).collect::<Vec<_>>()
        },
    )
}

#[property_test]
fn merging_is_associative(#[strategy = three_parts()] parts: Vec<Partial>) {
    let [a, b, c] = &parts[..] else { unreachable!() };
    let left = a.merge(b).unwrap().merge(c).unwrap().output();
    let right = a.merge(&b.merge(c).unwrap()).unwrap().output();
    assert_close("(a b) c and a (b c)", &left, &right, TOLERANCE);
}

#[property_test]
fn merging_does_not_depend_on_the_order(
    #[strategy = three_parts()] parts: Vec<Partial>,
) {
    let [a, b, _] = &parts[..] else { unreachable!() };
    prop_assert_eq!(a.merge(b).unwrap(), b.merge(a).unwrap());
}

#[property_test]
fn nothing_changes_nothing(#[strategy = three_parts()] parts: Vec<Partial>) {
    let shape = parts[0].output().shape();
    let nothing = Partial::nothing(shape.0, shape.1);
    prop_assert_eq!(&nothing.merge(&parts[0]).unwrap(), &parts[0]);
    prop_assert_eq!(&parts[0].merge(&nothing).unwrap(), &parts[0]);
}

/// Some pairs are hidden, whole rows among them: their scores are −∞, their weights 0.
#[property_test]
fn the_log_sum_exp_gives_the_weights_back(
    #[strategy = (1..5_usize, 1..8_usize).prop_flat_map(|(queries, keys)| {
        let score = prop_oneof![9 => -30.0_f32..30.0, 1 => Just(f32::NEG_INFINITY)];
        prop::collection::vec(score, queries * keys)
            .prop_map(move |scores| DMatrix::from_vec(queries, keys, scores))
    })]
    scores: DMatrix<f32>,
) {
    let weights = softmax(scores.clone());
    let values = DMatrix::zeros(scores.ncols(), 1);
    let part = Partial::of(scores.clone(), values.as_view()).unwrap();
    let log_sum_exp = part.log_sum_exp();
    let again = DMatrix::from_fn(scores.nrows(), scores.ncols(), |query, key| {
        let seen = log_sum_exp[query] > f32::NEG_INFINITY;
        if seen { (scores[(query, key)] - log_sum_exp[query]).exp() } else { 0.0 }
    });
    assert_close("weights", &again, &weights, TOLERANCE);
}

#[property_test]
fn keys_may_be_split_anywhere(
    #[strategy = (1..6_usize, 1..30_usize)
        .prop_flat_map(|(n, m)| (matrix(n, 4), matrix(m, 4), matrix(m, 3), 0..=m))]
    tensors: (DMatrix<f32>, DMatrix<f32>, DMatrix<f32>, usize),
) {
    let (q, k, v, split) = tensors;
    let part = |from: usize, to: usize| {
        let (k, v) = (k.rows(from, to - from).into_owned(), v.rows(from, to - from));
        let values = v.into_owned();
        let scores = scores(q.as_view(), k.as_view()).unwrap();
        Partial::of(scores, values.as_view()).unwrap()
    };
    let whole = part(0, k.nrows()).output();
    let merged = part(0, split).merge(&part(split, k.nrows())).unwrap().output();
    assert_close("output", &merged, &whole, TOLERANCE);
}

#[property_test]
fn a_tile_is_seen_as_its_pairs_are(
    #[strategy = (1..9_usize, 1..9_usize).prop_flat_map(|(n, m)| (
        Just((n, m)), mask(n, m), 0..n, 0..m
    ))]
    case: ((usize, usize), Mask, usize, usize),
) {
    let ((n, m), mask, row, column) = case;
    let pairs = (row..n).flat_map(|i| (column..m).map(move |j| (i, j)));
    let seen = pairs.clone().filter(|&(i, j)| mask.sees(i, j)).count();
    let expected = match seen {
        0 => Sight::Nothing,
        all if all == pairs.count() => Sight::All,
        _ => Sight::Part,
    };
    prop_assert_eq!(sight(&mask, &(row..n), &(column..m)), expected);
}

#[property_test]
fn the_last_queries_of_a_causal_pass_are_its_last_rows(
    #[strategy = case()] case: Case,
    #[strategy = 0..70_usize] last: usize,
) {
    // As many queries as keys, then only the last of them, as after a prefill.
    let m = case.k.nrows();
    let q = case.q.clone().resize_vertically(m, 0.25);
    let (k, v, groups) = (case.k.as_view(), case.v.as_view(), case.groups);
    let all = attend_causal(&q, k, v, groups, Align::First).unwrap();
    let last = last.min(m);
    let rows = q.rows(m - last, last).into_owned();
    let found = attend_causal(&rows, k, v, groups, Align::Last).unwrap();
    let expected = all.rows(m - last, last).into_owned();
    assert_close("last rows", &found, &expected, TOLERANCE);
}

#[property_test]
fn both_alignments_are_the_mask_that_they_say(#[strategy = case()] case: Case) {
    let (n, m) = (case.q.nrows(), case.k.nrows());
    let (k, v, groups) = (case.k.as_view(), case.v.as_view(), case.groups);
    for (align, sees) in [
        (Align::First, DMatrix::from_fn(n, m, |i, j| j <= i)),
        (Align::Last, DMatrix::from_fn(n, m, |i, j| j + n <= i + m)),
    ] {
        let found = attend_causal(&case.q, k, v, groups, align).unwrap();
        let expected = Case { mask: Mask::Allowed(sees), ..case.clone() }.expected();
        assert_close("output", &found, &expected, TOLERANCE);
    }
}

#[property_test(config = ProptestConfig { cases: 32, ..ProptestConfig::default() })]
fn decoding_in_chunks_equals_attention(
    #[strategy = (0..3 * CHUNK, 1..3_usize, 1..4_usize, 0..1000_u64)] sizes: (
        usize,
        usize,
        usize,
        u64,
    ),
) {
    let (m, kv_heads, size, seed) = sizes;
    let groups = Groups::new(kv_heads * size, kv_heads).unwrap();
    let normal = flash::experiments::normal;
    let q = normal(1, groups.heads() * 8, seed);
    let (k, v) = (normal(m, kv_heads * 8, seed + 1), normal(m, kv_heads * 3, seed + 2));
    let found = decode(&q, k.as_view(), v.as_view(), groups).unwrap();
    let case = Case { q, k, v, groups, mask: Mask::None };
    assert_close("decode", &found, &case.expected(), TOLERANCE);
    assert_close("attend", &case.found(), &found, TOLERANCE);
}

#[test]
fn heads_of_every_usual_width_agree() {
    let normal = flash::experiments::normal;
    let groups = Groups::new(4, 2).unwrap();
    for width in [32, 40, 64, 80, 96, 128, 192, 256] {
        let q = normal(150, 4 * width, 1) * 0.5;
        let (k, v) = (normal(150, 2 * width, 2) * 0.5, normal(150, 2 * width, 3));
        for mask in [Mask::None, Mask::Causal { offset: 0 }] {
            let (q, k, v) = (q.clone(), k.clone(), v.clone());
            let case = Case { q, k, v, groups, mask };
            assert_close("output", &case.found(), &case.expected(), TOLERANCE);
        }
    }
}

/// The walk that the chapter draws ends with what a whole row gives, whatever its tiles.
#[test]
fn a_walk_ends_with_the_whole_row() {
    for mask in [Mask::None, Mask::Causal { offset: 0 }] {
        let whole = Tile { queries: WALKED, keys: WALKED };
        let whole = stopped(whole, mask.clone(), usize::MAX).unwrap().held;
        for (queries, keys) in [(1, 1), (2, 8), (4, 4), (8, 2), (3, 5)] {
            let tile = Tile { queries, keys };
            let walk = stopped(tile, mask.clone(), usize::MAX).unwrap();
            for (found, wanted) in walk.held.iter().zip(&whole) {
                let ([max, sum], [wanted_max, wanted_sum]) =
                    (found.unwrap(), wanted.unwrap());
                assert_eq!(max, wanted_max);
                assert!(
                    (sum - wanted_sum).abs() < 1e-5 * wanted_sum,
                    "{sum} {wanted_sum}"
                );
            }
            let begun = stopped(tile, mask.clone(), 0).unwrap();
            assert_eq!((begun.step, begun.now), (1, 0..queries));
        }
    }
}

/// A key and a few values that are not finite, as (key, feature, value).
fn spots() -> impl Strategy<Value = Vec<(usize, usize, f32)>> {
    prop::collection::vec((0..70_usize, 0..60_usize, select(NOT_FINITE)), 1..5)
}

#[property_test]
fn what_is_hidden_may_hold_anything(
    #[strategy = case()] case: Case,
    #[strategy = spots()] spots: Vec<(usize, usize, f32)>,
    #[strategy = (tile(), vectors(), exp())] choice: (Tile, Vectors, Exp),
) {
    let (m, groups, mask) = (case.k.nrows(), case.groups, &case.mask);
    let mut spoilt = case.clone();
    for &(key, feature, odd) in &spots {
        spoilt.v[(key % m, feature % case.v.ncols())] = odd;
        spoilt.k[(key % m, feature % case.k.ncols())] = odd;
    }
    let keys: Vec<usize> = spots.iter().map(|spot| spot.0 % m).collect();
    let (tile, vectors, exp) = choice;
    let tuned = |case: &Case| {
        let (k, v) = (case.k.as_view(), case.v.as_view());
        let tuning = Tuning { tile, vectors, exp };
        attend_tuned(&case.q, k, v, groups, mask, tuning).unwrap()
    };
    let by_itself = (spoilt.found(), case.found());
    for (found, clean) in [by_itself, (tuned(&spoilt), tuned(&case))] {
        for query in 0..case.q.nrows() {
            if !keys.iter().any(|&key| mask.sees(query, key)) {
                prop_assert_eq!(found.row(query), clean.row(query));
            }
        }
    }
}

#[property_test]
fn a_value_spoils_whoever_sees_it(
    #[strategy = case()] case: Case,
    #[strategy = (0..70_usize, 0..60_usize, select(NOT_FINITE))] spot: (
        usize,
        usize,
        f32,
    ),
    #[strategy = (tile(), vectors(), exp())] choice: (Tile, Vectors, Exp),
) {
    let Case { q, k, v, groups, mask } = &case;
    let (d_k, d_v) = (q.ncols() / groups.heads(), v.ncols() / groups.kv_heads());
    let (key, feature) = (spot.0 % v.nrows(), spot.1 % v.ncols());
    let mut v = v.clone();
    v[(key, feature)] = spot.2;
    let (tile, vectors, exp) = choice;
    let tuning = Tuning { tile, vectors, exp };
    let (k, v) = (k.as_view(), v.as_view());
    let tuned = attend_tuned(q, k, v, *groups, mask, tuning).unwrap();
    let found = attend(q, k, v, *groups, mask).unwrap();
    for h in (0..groups.heads()).filter(|&h| groups.kv_head(h) == feature / d_v) {
        let (g, f) = (feature / d_v, feature % d_v);
        let (k, v) = (k.columns(g * d_k, d_k), v.columns(g * d_v, d_v));
        let tiled = attend_tiled(q.columns(h * d_k, d_k), k, v, mask, tile).unwrap();
        for query in 0..q.nrows() {
            let at = (query, h * d_v + f);
            for answer in [found[at], tuned[at], tiled[(query, f)]] {
                prop_assert_eq!(!answer.is_finite(), mask.sees(query, key));
            }
        }
    }
}

/// [`attend_groups`] on one key more, that every query scores with its head's sink and whose
/// value is zero. One head at a time, since the key is another for each.
fn with_a_key_of_zeros(case: &Case, sinks: &[f32]) -> DMatrix<f32> {
    let Case { q, k, v, groups, mask } = case;
    let (d_k, d_v) = (q.ncols() / groups.heads(), v.ncols() / groups.kv_heads());
    let mut found = DMatrix::zeros(q.nrows(), groups.heads() * d_v);
    for (h, &sink) in sinks.iter().enumerate() {
        let g = groups.kv_head(h);
        let (k, v) = (k.columns(g * d_k, d_k), v.columns(g * d_v, d_v));
        let mut scores = scores(q.columns(h * d_k, d_k), k).unwrap();
        mask.hide(&mut scores).unwrap();
        let one_more = scores.ncols();
        let scores = scores.insert_column(one_more, sink);
        let weights = softmax(scores).columns(0, one_more).into_owned();
        found.columns_mut(h * d_v, d_v).copy_from(&(weights * v));
    }
    found
}

#[property_test]
fn a_sink_is_one_more_key_with_value_zero(
    #[strategy = case()] case: Case,
    #[strategy = prop::collection::vec(-6.0_f32..6.0, 12)] sinks: Vec<f32>,
) {
    let Case { q, k, v, groups, mask } = &case;
    let sinks = &sinks[..groups.heads()];
    let found = attend_with_sinks(q, k.as_view(), v.as_view(), *groups, mask, sinks);
    let expected = with_a_key_of_zeros(&case, sinks);
    assert_close("output", &found.unwrap(), &expected, TOLERANCE);
}

#[property_test]
fn a_sink_scales_the_output_by_a_sigmoid(
    #[strategy = three_parts()] parts: Vec<Partial>,
    #[strategy = prop::collection::vec(-30.0_f32..30.0, 5)] sinks: Vec<f32>,
) {
    let part = &parts[0];
    let (queries, d_v) = part.output().shape();
    let sinks = &sinks[..queries];
    let merged = part.merge(&Partial::of_sinks(sinks, d_v)).unwrap().output();
    let mut scaled = part.output();
    for ((mut row, lse), sink) in
        scaled.row_iter_mut().zip(part.log_sum_exp().iter()).zip(sinks)
    {
        row *= 1.0 / (1.0 + (sink - lse).exp());
    }
    assert_close("output", &merged, &scaled, TOLERANCE);
}

#[property_test]
fn a_sink_of_minus_infinity_takes_nothing(#[strategy = case()] case: Case) {
    let Case { q, k, v, groups, mask } = &case;
    let none = vec![f32::NEG_INFINITY; groups.heads()];
    let found = attend_with_sinks(q, k.as_view(), v.as_view(), *groups, mask, &none);
    assert_eq!(found.unwrap(), case.found());
}

#[property_test]
fn a_window_of_all_tokens_is_no_window(
    #[strategy = case()] case: Case,
    #[strategy = 0..80_usize] offset: usize,
) {
    let mut case = case;
    case.mask = Mask::Causal { offset };
    let causal = case.found();
    case.mask = Mask::Window { offset, window: case.q.nrows() + offset };
    prop_assert_eq!(case.found(), causal);
}
