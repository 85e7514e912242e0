//! What holds for every input: the laws that the chapter states.

use attention::{Linear, Mask};
use chapter_cli::testing::{
    NOT_FINITE, assert_close, assert_spoils_whoever_sees, spoilt,
};
use grouped_query::{GroupedQueryAttention, attend_groups};
use latent::{
    Form, LatentAttention, Projections, Queries, QueryProjection, RmsNorm, Sizes,
    decode, prefill,
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
            prop_assert_eq!(found.found.row(query), clean.found.row(query));
        }
    }
}

/// A grouped layer without rotation, and tokens for it.
fn grouped() -> impl Strategy<Value = (GroupedQueryAttention, DMatrix<f32>)> {
    let sizes = (1..4_usize, 1..4_usize, 1..5_usize, 1..6_usize, 1..8_usize);
    sizes.prop_flat_map(|(kv_heads, sharing, head_dim, d, tokens)| {
        let (all, kept) = (kv_heads * sharing * head_dim, kv_heads * head_dim);
        let heads = kv_heads * sharing;
        (
            linear(d, all),
            linear(d, kept),
            linear(d, kept),
            linear(all, d),
            matrix(tokens, d),
        )
            .prop_map(move |(q, k, v, o, x)| {
                (GroupedQueryAttention::new(q, k, v, o, heads, kv_heads).unwrap(), x)
            })
    })
}

/// `TransMLA` (Meng et al. 2025): the cache of a grouped layer is a latent of 2 · `kv_heads` ·
/// `head_dim` numbers, and each head's way up takes its group's part of it. What is kept is
/// not normed here: a grouped layer has no such norm.
#[property_test]
fn every_grouped_layer_without_rotation_is_a_latent_layer(
    #[strategy = grouped()] (layer, x): (GroupedQueryAttention, DMatrix<f32>),
    causal: bool,
) {
    let mask = if causal { Mask::Causal { offset: 0 } } else { Mask::None };
    let (projected, groups) = (layer.project(&x, &x).unwrap(), layer.groups());
    let (k, v) = (&projected.k, &projected.v);
    let heads = attend_groups(&projected.q, k.as_view(), v.as_view(), groups, &mask);
    let expected = heads.unwrap();

    let (heads, kept) = (groups.heads(), k.ncols());
    let head_dim = kept / groups.kv_heads();
    let sizes = Sizes { heads, nope_dim: head_dim, rope_dim: 2, v_dim: head_dim };
    // Head by head a key and a value, each its group's columns of [K | V].
    let up = DMatrix::from_fn(2 * kept, heads * 2 * head_dim, |row, column| {
        let (head, feature) = (column / (2 * head_dim), column % (2 * head_dim));
        let group = head / (heads / groups.kv_heads());
        let half = feature / head_dim * kept;
        f32::from(u8::from(row == half + group * head_dim + feature % head_dim))
    });
    let plain = |weight| Linear::new(weight, None).unwrap();
    let latent = Projections {
        query: QueryProjection::Full(plain(DMatrix::zeros(1, heads * (head_dim + 2)))),
        kv_a_proj: plain(DMatrix::zeros(1, 2 * kept + 2)),
        kv_a_layernorm: RmsNorm::new(vec![1.0; 2 * kept]),
        kv_b_proj: plain(up),
        o_proj: plain(DMatrix::zeros(heads * head_dim, 1)),
    };
    let latent = LatentAttention::new(latent, sizes, 10_000.0).unwrap();
    // The latent layer divides by √(head_dim + 2).
    let scale = ((head_dim + 2) as f32 / head_dim as f32).sqrt();
    let rope = DMatrix::zeros(x.nrows(), heads * 2);
    let q = Queries { nope: &projected.q * scale, rope };
    let mut cached = DMatrix::zeros(x.nrows(), 2 * kept + 2);
    cached.columns_mut(0, kept).copy_from(k);
    cached.columns_mut(kept, kept).copy_from(v);
    for form in [Form::Naive, Form::Absorbed] {
        let found = latent.attend(&q, cached.as_view(), &mask, form).unwrap();
        assert_close("heads", &found.found, &expected.found, TOLERANCE);
    }
}
