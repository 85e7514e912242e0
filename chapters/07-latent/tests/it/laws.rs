//! What holds for every input: the laws that the chapter states.

use attention::{Linear, Mask};
use chapter_cli::testing::{
    NOT_FINITE, assert_close, assert_spoils_whoever_sees, spoilt,
};
use latent::{
    Form, LatentAttention, Projections, QueryProjection, RmsNorm, Sizes, decode,
    prefill,
};
use multi_head::MultiHeadAttended;
use nalgebra::{DMatrix, DVector};
use proptest::prelude::*;
use proptest::property_test;
use proptest::sample::select;

/// Weights are at most 1 and widths at most 8, so that scores stay below about 100 and
/// outputs below about 20; both sides add in f32, in another order.
const TOLERANCE: f32 = 2e-4;

#[derive(Debug, Clone, Copy)]
struct Ranks {
    model_dim: usize,
    latent: usize,
    /// 0 for queries without a latent.
    query: usize,
}

#[derive(Debug, Clone)]
struct Case {
    layer: LatentAttention,
    projections: Projections,
    x: DMatrix<f32>,
}

fn sizes() -> impl Strategy<Value = Sizes> {
    (1..5_usize, 1..6_usize, 1..4_usize, 1..6_usize).prop_map(
        |(heads, nope_dim, pairs, v_dim)| Sizes {
            heads,
            nope_dim,
            rope_dim: 2 * pairs,
            v_dim,
        },
    )
}

fn ranks() -> impl Strategy<Value = Ranks> {
    (1..8_usize, 1..8_usize, 0..8_usize).prop_map(|(model_dim, latent, query)| Ranks {
        model_dim,
        latent,
        query,
    })
}

fn matrix(rows: usize, columns: usize) -> impl Strategy<Value = DMatrix<f32>> {
    prop::collection::vec(-1.0_f32..1.0, rows * columns)
        .prop_map(move |data| DMatrix::from_vec(rows, columns, data))
}

fn linear(d_in: usize, d_out: usize) -> impl Strategy<Value = Linear> {
    (matrix(d_in, d_out), prop::option::of(prop::collection::vec(-1.0_f32..1.0, d_out)))
        .prop_map(|(w, bias)| Linear::new(w, bias.map(DVector::from_vec)).unwrap())
}

fn norm(width: usize) -> impl Strategy<Value = RmsNorm> {
    prop::collection::vec(-1.0_f32..1.0, width).prop_map(RmsNorm::new)
}

fn query(sizes: Sizes, ranks: Ranks) -> impl Strategy<Value = QueryProjection> {
    let Ranks { model_dim, query: rank, .. } = ranks;
    let width = sizes.heads * sizes.qk_dim();
    let full = linear(model_dim, width).prop_map(QueryProjection::Full);
    let parts = (linear(model_dim, rank), norm(rank), linear(rank, width));
    let low_rank = parts.prop_map(|(q_a_proj, q_a_layernorm, q_b_proj)| {
        QueryProjection::LowRank { q_a_proj, q_a_layernorm, q_b_proj }
    });
    if rank == 0 { full.boxed() } else { low_rank.boxed() }
}

fn case() -> impl Strategy<Value = Case> {
    (sizes(), ranks(), 1..12_usize)
        .prop_flat_map(|(s, r, tokens)| {
            let down = (linear(r.model_dim, r.latent + s.rope_dim), norm(r.latent));
            let up = linear(r.latent, s.heads * (s.nope_dim + s.v_dim));
            let out = linear(s.heads * s.v_dim, 3);
            (Just(s), query(s, r), down, up, out, matrix(tokens, r.model_dim))
        })
        .prop_map(
            |(sizes, query, (kv_a_proj, kv_a_layernorm), kv_b_proj, o_proj, x)| {
                let projections =
                    Projections { query, kv_a_proj, kv_a_layernorm, kv_b_proj, o_proj };
                let layer =
                    LatentAttention::new(projections.clone(), sizes, 10_000.0).unwrap();
                Case { layer, projections, x }
            },
        )
}

fn form() -> impl Strategy<Value = Form> {
    prop_oneof![Just(Form::Naive), Just(Form::Absorbed)]
}

fn masks(tokens: usize) -> [Mask; 3] {
    // Some queries have nothing to look at.
    let allowed = |query, key| query % 3 != 1 && (query + 2 * key) % 4 != 0;
    let allowed = DMatrix::from_fn(tokens, tokens, allowed);
    [Mask::None, Mask::Causal { offset: 0 }, Mask::Allowed(allowed)]
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
fn absorbed_equals_naive(#[strategy = case()] case: Case) {
    let Case { layer, x, .. } = case;
    for mask in masks(x.nrows()) {
        let naive = layer.forward(&x, &mask, Form::Naive).unwrap();
        let absorbed = layer.forward(&x, &mask, Form::Absorbed).unwrap();
        same(&absorbed, &naive);
    }
}

#[property_test]
fn token_by_token_equals_the_causal_pass_for_any_split(
    #[strategy = case()] case: Case,
    #[strategy = prop::collection::vec((0..5_usize, form()), 0..6)] chunks: Vec<(
        usize,
        Form,
    )>,
    #[strategy = form()] form: Form,
) {
    let Case { layer, x, .. } = case;
    let n = x.nrows();
    let expected = layer.forward(&x, &Mask::Causal { offset: 0 }, Form::Naive).unwrap();
    let mut cache = layer.cache(n);
    for (chunk, form) in chunks {
        let (start, chunk) = (cache.len(), chunk.min(n - cache.len()));
        let part = x.rows(start, chunk).into_owned();
        let found = prefill(&layer, &part, &mut cache, form).unwrap();
        let rows = expected.output.rows(start, chunk);
        assert_close("prefill", &found.output, &rows, TOLERANCE);
    }
    for token in cache.len()..n {
        let one = x.rows(token, 1).into_owned();
        let found = decode(&layer, &one, &mut cache, form).unwrap();
        let row = expected.output.rows(token, 1);
        assert_close("decode", &found.output, &row, TOLERANCE);
        for (found, expected) in found.weights.iter().zip(&expected.weights) {
            let seen = expected.view((token, 0), (1, token + 1));
            assert_close("decode's weights", found, &seen, TOLERANCE);
        }
    }
}

#[property_test]
fn a_token_leaves_lora_rank_and_rope_dim_numbers(#[strategy = case()] case: Case) {
    let Case { layer, projections, x } = case;
    let width = projections.kv_b_proj.shape().0 + layer.sizes().rope_dim;
    let mut cache = layer.cache(x.nrows());
    prefill(&layer, &x, &mut cache, Form::Naive).unwrap();
    prop_assert_eq!(cache.kept().shape(), (x.nrows(), width));
    prop_assert_eq!(cache.width(), width);
    prop_assert_eq!(cache.bytes(), x.nrows() * width * size_of::<f32>());
}

/// A bias of the keys adds q · b to every score of a row, and softmax does not see it.
#[property_test]
fn a_bias_of_the_keys_changes_nothing(#[strategy = case()] case: Case) {
    let Case { layer, mut projections, x } = case;
    let sizes = layer.sizes();
    let up = &projections.kv_b_proj;
    let is_key = |row: usize| row % (sizes.nope_dim + sizes.v_dim) < sizes.nope_dim;
    let bias = up.bias().map_or_else(|| DVector::zeros(up.shape().1), Clone::clone);
    let moved = DVector::from_fn(bias.len(), |row, _| {
        if is_key(row) { bias[row] + 0.5 } else { bias[row] }
    });
    let [plain, moved] = [bias, moved].map(|bias| {
        let weight = projections.kv_b_proj.weight().clone();
        projections.kv_b_proj = Linear::new(weight, Some(bias)).unwrap();
        let layer = LatentAttention::new(projections.clone(), sizes, 10_000.0).unwrap();
        layer.forward(&x, &Mask::None, Form::Naive).unwrap()
    });
    same(&moved, &plain);
}

#[property_test]
fn a_norm_does_not_see_how_long_a_row_is(
    #[strategy = matrix(5, 7)] x: DMatrix<f32>,
    #[strategy = 1.0_f32..100.0] factor: f32,
) {
    let norm = RmsNorm::new(vec![1.0; 7]);
    let [once, longer] = [x.clone(), &x * factor].map(|x| norm.forward(&x).unwrap());
    // Rows so short that eps is felt are left out.
    for row in (0..5).filter(|&row| x.row(row).norm() > 0.1) {
        prop_assert!((once.row(row).norm() - 7.0_f32.sqrt()).abs() < 0.01);
        prop_assert!((once.row(row) - longer.row(row)).amax() < 0.01);
    }
}

#[property_test]
fn a_hidden_token_may_hold_anything(
    #[strategy = case()] case: Case,
    #[strategy = (0..12_usize, select(NOT_FINITE))] (token, odd): (usize, f32),
) {
    let Case { layer, x, .. } = case;
    let token = token % x.nrows();
    let spoilt = spoilt(&x, token, odd);
    for mask in masks(x.nrows()) {
        for form in [Form::Naive, Form::Absorbed] {
            let clean = layer.forward(&x, &mask, form).unwrap().output;
            let found = layer.forward(&spoilt, &mask, form).unwrap().output;
            assert_spoils_whoever_sees(token, &found, &clean, |query| {
                mask.sees(query, token)
            });
        }
    }
}

#[property_test]
fn a_hidden_latent_may_hold_anything(
    #[strategy = case()] case: Case,
    #[strategy = (0..12_usize, 0..16_usize, select(NOT_FINITE))] spot: (
        usize,
        usize,
        f32,
    ),
    #[strategy = form()] form: Form,
) {
    let Case { layer, x, .. } = case;
    let (q, kept) = (layer.queries(&x, 0).unwrap(), layer.compress(&x, 0).unwrap());
    let token = spot.0 % x.nrows();
    let mut spoilt = kept.clone();
    spoilt[(token, spot.1 % kept.ncols())] = spot.2;
    for mask in masks(x.nrows()) {
        let clean = layer.attend(&q, kept.as_view(), &mask, form).unwrap();
        let found = layer.attend(&q, spoilt.as_view(), &mask, form).unwrap();
        for query in (0..x.nrows()).filter(|&query| !mask.sees(query, token)) {
            prop_assert_eq!(found.context.row(query), clean.context.row(query));
        }
    }
}
