//! The slips of the chapter, made on purpose: each is named from the output alone, and two
//! at once, and what agrees is left in peace.

use attention::{Linear, Mask};
use multi_query::{MultiQueryAttention, slips as known};
use nalgebra::DMatrix;
use slips::{
    Bench,
    measure::{Numbers, expect_named, expect_pairs_named, expect_told},
};

struct Random {
    layer: MultiQueryAttention,
    x: DMatrix<f32>,
    seed: u64,
}

impl Random {
    fn of(seed: u64) -> Self {
        let mut numbers = Numbers::of(seed);
        let heads = 2 + numbers.below(3);
        let kv_heads = 1;
        let d = 2 * (2 + numbers.below(2));
        let width = heads * d;
        let mut linear = |d_in: usize, out: usize| {
            let weight = numbers.matrix(d_in, out, 0.8);
            Linear::new(weight, Some(numbers.vector(out))).unwrap()
        };
        let [q, o] = [linear(width, width), linear(width, width)];
        let [k, v] = [linear(width, kv_heads * d), linear(width, kv_heads * d)];
        let layer = MultiQueryAttention::new(q, k, v, o, heads).unwrap();
        let tokens = 5 + numbers.below(5);
        Random { layer, x: numbers.matrix(tokens, width, 1.5), seed }
    }

    fn bench(&self) -> Bench<'_, slips::Projected<'_>> {
        let mask = match self.seed % 3 {
            0 => Mask::None,
            _ => Mask::Causal { offset: 0 },
        };
        let steps = known::steps(&self.layer, &self.x, &self.x, &mask);
        Bench::new(steps, known::slips())
    }
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
    let page = include_str!("../../../../book/src/multi-query.md");
    expect_told("multi-query", page, &known::slips());
}
