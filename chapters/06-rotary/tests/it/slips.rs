//! The slips of the chapter, made on purpose: each is named from the output alone, and two
//! at once, and what agrees is left in peace.

use attention::{Linear, Mask};
use grouped_query::GroupedQueryAttention;
use nalgebra::DMatrix;
use rotary::{Llama3Scaling, Pairing, Rotary, RotaryAttention, slips as known};
use slips::{
    Bench,
    measure::{Numbers, expect_named, expect_pairs_named, expect_told},
};

struct Random {
    layer: RotaryAttention,
    x: DMatrix<f32>,
    seed: u64,
}

impl Random {
    fn of(seed: u64) -> Self {
        let mut numbers = Numbers::of(seed);
        let kv_heads = 2;
        let heads = kv_heads * (1 + numbers.below(2));
        let d = 2 * (2 + numbers.below(2));
        let width = heads * d;
        let mut linear = |d_in: usize, out: usize| {
            let weight = numbers.matrix(d_in, out, 0.8);
            Linear::new(weight, Some(numbers.vector(out))).unwrap()
        };
        let [q, o] = [linear(width, width), linear(width, width)];
        let [k, v] = [linear(width, kv_heads * d), linear(width, kv_heads * d)];
        let layer = GroupedQueryAttention::new(q, k, v, o, heads, kv_heads).unwrap();
        let layer = RotaryAttention::new(layer, turns(seed, d)).unwrap();
        let tokens = 5 + numbers.below(5);
        Random { layer, x: numbers.matrix(tokens, width, 1.5), seed }
    }

    fn bench(&self) -> Bench<'_, known::Steps<'_>> {
        let mask = match self.seed % 3 {
            0 => Mask::None,
            _ => Mask::Causal { offset: 0 },
        };
        let plain = plain(self.seed, self.layer.rotary().features());
        let steps = known::steps(&self.layer, &self.x, &mask, plain);
        Bench::new(steps, known::slips())
    }
}

/// Of every second layer a part of each head turns, of some others in longer texts.
fn turns(seed: u64, d: usize) -> Rotary {
    let features = if seed.is_multiple_of(2) { d } else { 4 };
    let rotary = plain(seed, features).in_heads_of(d).unwrap();
    match seed % 4 {
        0 => rotary.amplified(1.2).unwrap(),
        1 => {
            let scaling = Llama3Scaling {
                factor: 8.0,
                low_freq_factor: 1.0,
                high_freq_factor: 4.0,
                original_context: 16.0,
            };
            rotary.scaled(scaling).unwrap()
        }
        _ => rotary,
    }
}

fn plain(seed: u64, features: usize) -> Rotary {
    let pairing =
        if seed.is_multiple_of(3) { Pairing::Neighbors } else { Pairing::Halves };
    Rotary::new(features, 100.0, pairing).unwrap()
}

#[test]
fn a_slip_is_named_from_the_output_alone() {
    let layers: Vec<Random> = (0..20).map(Random::of).collect();
    let benches: Vec<_> = layers.iter().map(Random::bench).collect();
    expect_named(&benches);
}

#[test]
fn two_slips_at_once_are_named() {
    let layers: Vec<Random> = (20..24).map(Random::of).collect();
    let benches: Vec<_> = layers.iter().map(Random::bench).collect();
    expect_pairs_named(&benches);
}

#[test]
fn the_page_tells_of_each_slip_and_links_where_it_was_seen() {
    let page = include_str!("../../../../book/src/rotary.md");
    expect_told("rotary", page, &known::slips());
}
