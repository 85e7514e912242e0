//! What holds for every layer.

use attention::{Linear, Mask};
use chapter_cli::testing::assert_close;
use decoder_layer::{
    Centering, DecoderLayer, HeadNorm, Norms, Parts, softmax_with_sink, step,
    through_cache,
};
use flash::Partial;
use grouped_query::{Groups, attend_groups};
use nalgebra::{DMatrix, DVector};
use proptest::prelude::{Strategy, any, prop_assert};
use proptest::property_test;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use rotary::{Pairing, Rotary};

/// Sums of a few dozen products of numbers around 1, in another order.
const SAME: f32 = 2e-5;

fn random(rng: &mut ChaCha8Rng, rows: usize, columns: usize) -> DMatrix<f32> {
    DMatrix::from_fn(rows, columns, |_, _| StandardNormal.sample(rng))
}

fn groups() -> impl Strategy<Value = Groups> {
    (1..4_usize, 1..4_usize).prop_map(|(size, kv)| Groups::new(size * kv, kv).unwrap())
}

/// Numbers of all heads: queries, keys and values of `n` tokens, four features per head.
fn heads(rng: &mut ChaCha8Rng, groups: Groups, n: usize) -> [DMatrix<f32>; 3] {
    let [wide, narrow] = [groups.heads(), groups.kv_heads()].map(|heads| 4 * heads);
    [random(rng, n, wide), random(rng, n, narrow), random(rng, n, narrow)]
}

#[property_test]
fn without_parts_a_layer_is_grouped_attention(
    #[strategy = groups()] groups: Groups,
    #[strategy = 1..9_usize] n: usize,
    #[strategy = any::<u64>()] seed: u64,
) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let [q, k, v] = heads(&mut rng, groups, n);
    let parts = Parts::plain(groups, 4);
    let (k, v, mask) = (k.as_view(), v.as_view(), parts.mask(0));
    let found = parts.attend(&q, k, v, &mask).unwrap();
    let wanted = attend_groups(&q, k, v, groups, &mask).unwrap();
    assert_close("found", &found.found, &wanted.found, SAME);
}

/// A sink is one more key whose value is zero; a partial result that is merged in; and a
/// factor on the output, σ(log-sum-exp − sink).
#[property_test]
fn three_formulas_of_a_sink_agree(
    #[strategy = 1..9_usize] keys: usize,
    #[strategy = -4.0..4.0_f32] sink: f32,
    #[strategy = any::<u64>()] seed: u64,
) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let [q, k, v] = [3, keys, keys].map(|rows| random(&mut rng, rows, 4));
    let scores = &q * k.transpose() / 2.0;
    let found = softmax_with_sink(scores, sink) * &v;

    let seen = Partial::of(&q * k.transpose() / 2.0, v.as_view()).unwrap();
    let merged = seen.merge(&Partial::of_sinks(&[sink; 3], 4)).unwrap();
    assert_close("merged", &merged.output(), &found, SAME);
    let mut scaled = seen.output();
    for (mut row, lse) in scaled.row_iter_mut().zip(seen.log_sum_exp().iter()) {
        row /= 1.0 + (sink - lse).exp();
    }
    assert_close("scaled", &scaled, &found, SAME);
}

/// Each head its own; without a gain, it does not matter which comes first.
#[property_test]
fn a_norm_without_a_gain_commutes_with_rotation(
    #[strategy = 1..5_usize] n: usize,
    #[strategy = any::<u64>()] seed: u64,
) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let x = random(&mut rng, n, 12);
    let rotary = Rotary::new(6, 50.0, Pairing::Halves).unwrap();
    let angles = rotary.angles(7..7 + n);
    let norm = HeadNorm::new(DVector::repeat(6, 1.0), 6, Centering::None, 1e-6);
    let (mut first, mut last) = (x.clone(), x);
    norm.apply(&mut first).unwrap();
    angles.rotate(&mut first).unwrap();
    angles.rotate(&mut last).unwrap();
    norm.apply(&mut last).unwrap();
    assert_close("normed and turned", &first, &last, SAME);
}

#[test]
fn with_a_gain_a_norm_and_a_rotation_do_not_commute() {
    let [without, with] = decoder_layer::experiments::norm_and_turn().unwrap();
    assert!(without < SAME && with > 0.5, "{without} {with}");
}

#[property_test]
fn a_norm_forgets_how_long_a_query_was(
    #[strategy = 0.1..10.0_f32] factor: f32,
    #[strategy = any::<u64>()] seed: u64,
) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let x = random(&mut rng, 3, 8);
    for centering in [Centering::None, Centering::Mean] {
        let norm = HeadNorm::new(DVector::repeat(8, 1.5), 4, centering, 0.0);
        let (mut one, mut other) = (x.clone(), &x * factor);
        norm.apply(&mut one).unwrap();
        norm.apply(&mut other).unwrap();
        assert_close("normed", &one, &other, SAME);
    }
}

/// A layer with every part, on random weights.
fn layer(rng: &mut ChaCha8Rng, groups: Groups, window: usize) -> DecoderLayer {
    let [wide, narrow] = [groups.heads(), groups.kv_heads()].map(|heads| 4 * heads);
    let mut linear = |from, to| Linear::new(random(rng, from, to) / 2.0, None).unwrap();
    let projections =
        [linear(6, wide), linear(6, narrow), linear(6, narrow), linear(wide, 6)];
    let gate = linear(6, wide);
    let norm = |heads: usize| {
        let gain = DVector::from_fn(4 * heads, |i, _| 1.0 + 0.1 * i as f32);
        HeadNorm::new(gain, 4, Centering::None, 1e-5)
    };
    let parts = Parts {
        window: Some(window),
        clip: Some(3.0),
        norms: Some(Norms { q: norm(groups.heads()), k: norm(groups.kv_heads()) }),
        rotary: Some(Rotary::new(4, 100.0, Pairing::Neighbors).unwrap()),
        temperature: Some(decoder_layer::Temperature { beta: 0.3, every: 2.0 }),
        scale: 0.7,
        cap: Some(3.0),
        sinks: Some(DVector::from_fn(groups.heads(), |h, _| h as f32 - 1.0)),
        ..Parts::plain(groups, 4)
    };
    DecoderLayer::new(projections, parts).unwrap().gated(gate).unwrap()
}

#[property_test]
fn any_split_through_the_cache_gives_the_whole_pass(
    #[strategy = groups()] groups: Groups,
    #[strategy = 1..5_usize] window: usize,
    #[strategy = 0..9_usize] prompt: usize,
    #[strategy = any::<u64>()] seed: u64,
) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let layer = layer(&mut rng, groups, window);
    let x = random(&mut rng, 8, 6);
    let whole = layer.forward(&x, &layer.parts().mask(0)).unwrap();
    let cached = through_cache(&layer, &x, prompt).unwrap();
    assert_close("output", &cached.output, &whole.output, 1e-4);
    for (cached, whole) in cached.weights.iter().zip(&whole.weights) {
        assert_close("weights", cached, whole, 1e-4);
    }
    let mut cache = layer.cache(8);
    let [one, two] = [(0, 3), (3, 5)].map(|(at, n)| x.rows(at, n).into_owned());
    step(&layer, &one, 8, &mut cache).unwrap();
    let rest = step(&layer, &two, 8, &mut cache).unwrap().output;
    assert_close("second chunk", &rest, &whole.output.rows(3, 5).into_owned(), 1e-4);
}

/// Where there is a cap, weights are formed; elsewhere tiles are. Both find the same.
#[property_test]
fn what_is_found_does_not_depend_on_whether_weights_are_kept(
    #[strategy = groups()] groups: Groups,
    #[strategy = 1..5_usize] window: usize,
    #[strategy = any::<bool>()] sinks: bool,
    #[strategy = any::<u64>()] seed: u64,
) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let [q, k, v] = heads(&mut rng, groups, 7);
    let sinks = sinks.then(|| DVector::repeat(groups.heads(), 0.5));
    let parts =
        Parts { window: Some(window), scale: 0.9, sinks, ..Parts::plain(groups, 4) };
    let (k, v, mask) = (k.as_view(), v.as_view(), parts.mask(0));
    let kept = parts.attend(&q, k, v, &mask).unwrap().found;
    let found = parts.find(&q, k, v, &mask).unwrap();
    assert_close("found", &found, &kept, SAME);
    prop_assert!(!matches!(mask, Mask::None));
}
