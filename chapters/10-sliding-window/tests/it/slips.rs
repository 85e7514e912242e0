//! The slips of the chapter, made on purpose: each is named from the output alone, and two
//! at once, and what agrees is left in peace.

use attention::{Linear, Mask};
use grouped_query::GroupedQueryAttention;
use nalgebra::DMatrix;
use rotary::{Pairing, Rotary, RotaryAttention};
use sliding_window::{WindowAttention, slips as known};
use slips::{
    Bench,
    measure::{
        Numbers, expect_named, expect_pairs_named, expect_told, expect_unexplained,
    },
};

struct Random {
    layer: WindowAttention,
    x: DMatrix<f32>,
    prompt: usize,
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
        let window = 2 + numbers.below(3);
        let layer = WindowAttention::new(layer, window).unwrap();
        let tokens = window + 3 + numbers.below(4);
        let prompt = numbers.below(tokens + 1);
        Random { layer, x: numbers.matrix(tokens, width, 1.5), prompt }
    }

    fn bench(&self) -> Bench<'_, known::Steps<'_>> {
        let mask = Mask::Window { offset: 0, window: self.layer.window() };
        let plain = self.layer.layer().rotary().clone();
        let steps = known::steps(&self.layer, &self.x, &[self.prompt], &mask, plain);
        Bench::new(steps, known::slips())
    }
}

fn turns(seed: u64, d: usize) -> Rotary {
    let pairing =
        if seed.is_multiple_of(3) { Pairing::Neighbors } else { Pairing::Halves };
    Rotary::new(d, 100.0, pairing).unwrap()
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
fn what_no_slip_gives_is_said_to_be_so() {
    let layers: Vec<Random> = (30..40).map(Random::of).collect();
    let benches: Vec<_> = layers.iter().map(Random::bench).collect();
    expect_unexplained(&benches);
}

#[test]
fn the_page_tells_of_each_slip_and_links_where_it_was_seen() {
    let page = include_str!("../../../../book/src/sliding-window.md");
    expect_told("sliding-window", page, &known::slips());
}
