//! Mechanisms that go about it in another way: in tiles, through a latent, along the
//! sequence.

use crate::slopes::{expect_slope, loss_of, moved};
use attention::{Linear, Mask};
use chapter_cli::testing::assert_close;
use decoder_layer::{DecoderLayer, Parts};
use grouped_query::Groups;
use latent::{Form, LatentAttention, Projections, QueryProjection, RmsNorm, Sizes};
use learning::{
    LatentGradients, LayerGradients, QueryGradients, backward, forward,
    forward_in_tiles, latent_backward, linformer_backward,
};
use linformer::{LinformerAttention, SequenceProjection};
use nalgebra::{DMatrix, DVector};
use proptest::prelude::{Strategy, any};
use proptest::property_test;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use std::sync::Arc;

/// Sums of a few hundred products of numbers around 1, in another order, on the way
/// through four matrices.
const SAME: f32 = 1e-3;

fn random(rng: &mut ChaCha8Rng, rows: usize, columns: usize) -> DMatrix<f32> {
    DMatrix::from_fn(rows, columns, |_, _| StandardNormal.sample(rng))
}

fn linear(rng: &mut ChaCha8Rng, d_in: usize, d_out: usize, biased: bool) -> Linear {
    let weight = random(rng, d_in, d_out) / (d_in as f32).sqrt();
    let bias = biased.then(|| random(rng, d_out, 1).column(0).into_owned());
    Linear::new(weight, bias).unwrap()
}

fn masks(n: usize) -> impl Strategy<Value = Mask> {
    (0..4_u8, 1..n + 1, any::<u64>()).prop_map(move |(kind, window, seed)| match kind {
        0 => Mask::None,
        1 => Mask::Causal { offset: 0 },
        2 => Mask::Window { offset: 0, window },
        _ => {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            Mask::Allowed(random(&mut rng, n, n).map(|x| x > 0.0))
        }
    })
}

/// Sequences that are shorter than a tile, as long, and longer.
fn lengths() -> impl Strategy<Value = (usize, Mask)> {
    let lengths =
        proptest::prelude::prop_oneof![0..9_usize, 120..140_usize, 250..262_usize];
    lengths.prop_flat_map(|n| (proptest::prelude::Just(n), masks(n)))
}

/// The weights of a tile, computed again from the log-sum-exp, are those that the plain
/// way back was given.
#[property_test(config = proptest::prelude::ProptestConfig::with_cases(40))]
fn the_way_back_in_tiles_is_the_plain_one(
    #[strategy = lengths()] (n, mask): (usize, Mask),
    #[strategy = (1..3_usize, 1..3_usize, 1..10_usize)] (size, kv_heads, d): (
        usize,
        usize,
        usize,
    ),
    #[strategy = any::<bool>()] sinks: bool,
    #[strategy = any::<u64>()] seed: u64,
) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let groups = Groups::new(size * kv_heads, kv_heads).unwrap();
    let mut parts = Parts::plain(groups, d);
    parts.scale = 0.4;
    parts.sinks =
        sinks.then(|| random(&mut rng, groups.heads(), 1).column(0).into_owned());
    let [wide, narrow] = [groups.heads() * d, kv_heads * d];
    let shapes = [(5, wide), (5, narrow), (5, narrow), (wide, 5)];
    let maps = shapes.map(|(d_in, d_out)| linear(&mut rng, d_in, d_out, true));
    let layer = DecoderLayer::new(maps, parts).unwrap();
    let [x, dy] = [0, 1].map(|_| random(&mut rng, n, 5));

    let [plain, tiled] = [forward, forward_in_tiles].map(|forward| {
        let passed = forward(&layer, &x, &mask).unwrap();
        (passed.output.clone(), backward(&layer, &x, &passed, &dy).unwrap())
    });
    assert_close("output", &tiled.0, &plain.0, SAME);
    let tensors = |d: &LayerGradients| {
        let maps = [&d.q_proj, &d.k_proj, &d.v_proj, &d.o_proj];
        let maps = maps.map(|map| map.weight.clone());
        let sinks = d.sinks.clone().unwrap_or_else(|| DVector::zeros(0));
        [std::slice::from_ref(&d.x), &maps[..], &[DMatrix::from_columns(&[sinks])]]
            .concat()
    };
    for (tiled, plain) in tensors(&tiled.1).iter().zip(&tensors(&plain.1)) {
        let largest = plain.amax().max(1e-3);
        assert_close("gradient", &(tiled / largest), &(plain / largest), SAME);
    }
}

fn latent(rng: &mut ChaCha8Rng, low_rank: bool, biased: bool) -> LatentAttention {
    let sizes = Sizes { heads: 2, nope_dim: 3, rope_dim: 4, v_dim: 2 };
    let (width, rank) = (6, 4);
    let norm = |rng: &mut ChaCha8Rng, width| {
        RmsNorm::new(random(rng, width, 1).as_slice().to_vec())
    };
    let query = if low_rank {
        QueryProjection::LowRank {
            q_a_proj: linear(rng, width, 5, biased),
            q_a_layernorm: norm(rng, 5),
            q_b_proj: linear(rng, 5, 14, biased),
        }
    } else {
        QueryProjection::Full(linear(rng, width, 14, biased))
    };
    let projections = Projections {
        query,
        kv_a_proj: linear(rng, width, rank + 4, biased),
        kv_a_layernorm: norm(rng, rank),
        kv_b_proj: linear(rng, rank, 10, biased),
        o_proj: linear(rng, 4, 5, biased),
    };
    LatentAttention::new(projections, sizes, 10.0).unwrap()
}

/// Every tensor of the gradients, in one order.
fn tensors(d: &LatentGradients) -> Vec<(&'static str, DMatrix<f32>)> {
    let vector = |v: &DVector<f32>| DMatrix::from_columns(std::slice::from_ref(v));
    let mut all = vec![
        ("x", d.x.clone()),
        ("kv_a_proj", d.kv_a_proj.weight.clone()),
        ("kv_a_layernorm", vector(&d.kv_a_layernorm)),
        ("kv_b_proj", d.kv_b_proj.weight.clone()),
        ("o_proj", d.o_proj.weight.clone()),
    ];
    all.extend(d.kv_b_proj.bias.iter().map(|bias| ("kv_b_proj.bias", vector(bias))));
    match &d.query {
        QueryGradients::Full(q_proj) => all.push(("q_proj", q_proj.weight.clone())),
        QueryGradients::LowRank { q_a_proj, q_a_layernorm, q_b_proj } => all.extend([
            ("q_a_proj", q_a_proj.weight.clone()),
            ("q_a_layernorm", vector(q_a_layernorm)),
            ("q_b_proj", q_b_proj.weight.clone()),
        ]),
    }
    all
}

#[property_test]
fn a_latent_goes_back_alike_in_both_forms_and_by_its_slope(
    #[strategy = 1..6_usize] n: usize,
    #[strategy = (any::<bool>(), any::<bool>())] (low_rank, biased): (bool, bool),
    #[strategy = any::<u64>()] seed: u64,
) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let layer = latent(&mut rng, low_rank, biased);
    let [x, dy] = [random(&mut rng, n, 6), random(&mut rng, n, 5)];
    let causal = Mask::Causal { offset: 0 };
    let [naive, absorbed] = [Form::Naive, Form::Absorbed]
        .map(|form| latent_backward(&layer, &x, &causal, form, &dy).unwrap());
    let both = tensors(&naive).into_iter().zip(tensors(&absorbed));
    for ((name, naive), (_, absorbed)) in both {
        let largest = naive.amax().max(1e-2);
        assert_close(name, &(absorbed / largest), &(naive / largest), SAME);
    }
    expect_slope("x", &mut rng, naive.x.as_slice(), |by| {
        let x = moved(&x, by);
        loss_of(&layer.forward(&x, &causal, Form::Naive).unwrap().output, &dy)
    });
}

/// Each head with an E and F of its own, one for all, one for both, and keys that are the
/// values; sequences shorter than the projections.
#[property_test]
fn condensed_keys_go_back_by_their_slope(
    #[strategy = (1..6_usize, 0..3_usize, 1..4_usize)] (n, spare, r): (
        usize,
        usize,
        usize,
    ),
    #[strategy = (any::<bool>(), any::<bool>())] (own, values): (bool, bool),
    #[strategy = any::<u64>()] seed: u64,
) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (heads, d, width) = (2, 3, 4);
    let count = if own { heads } else { 1 };
    let mut along =
        || (0..count).map(|_| random(&mut rng, r, n + spare)).collect::<Vec<_>>();
    let (e, f) = (along(), along());
    let mut map = |d_in, d_out| linear(&mut rng, d_in, d_out, true);
    let maps = [map(width, heads * d), map(width, heads * d), map(heads * d, 5)];
    let to_v = values.then(|| map(width, heads * d));
    let layer = |e: &[DMatrix<f32>], f: &[DMatrix<f32>]| {
        let all = |along: &[DMatrix<f32>]| {
            let one = |m: &DMatrix<f32>| SequenceProjection::new(m.clone()).unwrap();
            along.iter().map(one).map(Arc::new).collect()
        };
        let along = linformer::Projections::new(all(e), all(f)).unwrap();
        let groups = Groups::new(heads, heads).unwrap();
        let [q, k, out] = maps.clone();
        LinformerAttention::new(q, k, to_v.clone(), out, along, groups).unwrap()
    };
    let [x, context] = [2, n].map(|rows| random(&mut rng, rows, width));
    let dy = random(&mut rng, 2, 5);
    let run = |layer: &LinformerAttention, x: &DMatrix<f32>, context: &DMatrix<f32>| {
        loss_of(&layer.forward_cross(x, context).unwrap().output, &dy)
    };
    let right = layer(&e, &f);
    let d = linformer_backward(&right, &x, &context, &dy).unwrap();
    assert_eq!(d.to_v.is_some(), values);
    expect_slope("x", &mut rng, d.x.as_slice(), |by| {
        run(&right, &moved(&x, by), &context)
    });
    expect_slope("context", &mut rng, d.context.as_slice(), |by| {
        run(&right, &x, &moved(&context, by))
    });
    for head in 0..count {
        let with = |along: &[DMatrix<f32>], by: &[f32]| {
            let mut along = along.to_vec();
            along[head] = moved(&along[head], by);
            along
        };
        expect_slope("E", &mut rng, d.e[head].as_slice(), |by| {
            run(&layer(&with(&e, by), &f), &x, &context)
        });
        expect_slope("F", &mut rng, d.f[head].as_slice(), |by| {
            run(&layer(&e, &with(&f, by)), &x, &context)
        });
    }
}
