//! The slips of the chapter, made on purpose: each is named from the output alone, and two
//! at once, and what agrees is left in peace.

use attention::Linear;
use decoder_layer::{
    Centering, DecoderLayer, HeadNorm, Norms, Parts, Temperature, slips as known,
};
use grouped_query::Groups;
use nalgebra::{DMatrix, DVector};
use rotary::{Pairing, Rotary};
use slips::{
    Bench,
    measure::{
        Numbers, expect_named, expect_pairs_named, expect_told, expect_unexplained,
    },
};

struct Random {
    layer: DecoderLayer,
    x: DMatrix<f32>,
    plain: Rotary,
}

impl Random {
    /// Every layer has some of the parts, and every part is in some layers.
    fn of(seed: u64) -> Self {
        let mut numbers = Numbers::of(seed);
        let kv_heads = 2;
        let heads = kv_heads * (1 + numbers.below(2));
        let d = 2 * (2 + numbers.below(2));
        let (wide, narrow) = (heads * d, kv_heads * d);
        let mut linear = |d_in: usize, out: usize| {
            let weight = numbers.matrix(d_in, out, 0.8);
            Linear::new(weight, Some(numbers.vector(out))).unwrap()
        };
        let projections = [
            linear(wide, wide),
            linear(wide, narrow),
            linear(wide, narrow),
            linear(wide, wide),
        ];
        let gate = linear(wide, wide);
        let has = |every: u64| seed.is_multiple_of(every);
        let plain = plain(seed, d);
        let parts = Parts {
            window: has(3).then_some(3),
            clip: has(5).then_some(1.5),
            norms: (!has(4)).then(|| norms(&mut numbers, seed, [heads, kv_heads, d])),
            rotary: (!has(7)).then(|| match seed % 2 {
                0 => plain.clone(),
                _ => plain.clone().amplified(1.2).unwrap(),
            }),
            temperature: has(6).then_some(Temperature { beta: 0.4, every: 2.0 }),
            scale: if has(2) { 0.4 } else { 1.0 / (d as f32).sqrt() },
            cap: (seed % 3 == 1).then_some(1.5),
            sinks: (seed % 3 == 2).then(|| numbers.vector(heads) * 2.0),
            ..Parts::plain(Groups::new(heads, kv_heads).unwrap(), d)
        };
        let layer = DecoderLayer::new(projections, parts).unwrap();
        let layer = if seed % 4 == 1 { layer.gated(gate).unwrap() } else { layer };
        let tokens = 5 + numbers.below(4);
        Random { layer, x: numbers.matrix(tokens, wide, 1.5), plain }
    }

    fn bench(&self) -> Bench<'_, known::Steps<'_>> {
        let mask = self.layer.parts().mask(0);
        let steps = known::steps(&self.layer, &self.x, &mask, Some(self.plain.clone()));
        Bench::new(steps, known::slips())
    }
}

/// Of every second layer, four features of a head turn.
fn plain(seed: u64, d: usize) -> Rotary {
    let pairing =
        if seed.is_multiple_of(3) { Pairing::Neighbors } else { Pairing::Halves };
    let features = if seed.is_multiple_of(2) { 4 } else { d };
    Rotary::new(features, 100.0, pairing).unwrap().in_heads_of(d).unwrap()
}

/// Of one head or of all, centered or not.
fn norms(numbers: &mut Numbers, seed: u64, [heads, kv_heads, d]: [usize; 3]) -> Norms {
    let centering = if seed % 5 == 1 { Centering::Mean } else { Centering::None };
    let mut norm = |heads: usize| {
        let span = if seed % 2 == 1 { heads * d } else { d };
        let gain: DVector<f32> = numbers.vector(span) * 0.7;
        HeadNorm::new(gain.add_scalar(1.2), span, centering, 1e-6)
    };
    Norms { q: norm(heads), k: norm(kv_heads) }
}

#[test]
fn a_slip_is_named_from_the_output_alone() {
    let layers: Vec<Random> = (0..20).map(Random::of).collect();
    let benches: Vec<_> = layers.iter().map(Random::bench).collect();
    expect_named(&benches);
}

#[test]
fn two_slips_at_once_are_named() {
    let layers: Vec<Random> = (21..25).map(Random::of).collect();
    let benches: Vec<_> = layers.iter().map(Random::bench).collect();
    expect_pairs_named(&benches);
}

#[test]
fn what_no_slip_gives_is_said_to_be_so() {
    let layers: Vec<Random> = (30..40).map(Random::of).collect();
    let benches: Vec<_> = layers.iter().map(Random::bench).collect();
    expect_unexplained(&benches);
}

/// What the steps give is what the layer gives.
#[test]
fn without_a_slip_the_steps_are_the_layer() {
    use slips::{Compare, Part, Yours};
    for seed in 0..20 {
        let random = Random::of(seed);
        let mask = random.layer.parts().mask(0);
        let forward = random.layer.forward(&random.x, &mask).unwrap();
        let yours = Yours::default()
            .with(Part::Weights, forward.weights)
            .with(Part::Y, vec![forward.output]);
        let verdict = random.bench().compare(&yours).unwrap();
        assert!(matches!(verdict.finding, slips::Finding::Agree(_)), "{verdict:?}");
    }
}

#[test]
fn the_page_tells_of_each_slip_and_links_where_it_was_seen() {
    let page = include_str!("../../../../book/src/decoder-layer.md");
    expect_told("decoder-layer", page, &known::slips());
}
