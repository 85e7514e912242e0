//! The slips of the chapter, made on purpose: each is named from the output alone, and two
//! at once, and what agrees is left in peace.

use attention::Linear;
use grouped_query::Groups;
use linformer::{LinformerAttention, Projections, SequenceProjection, slips as known};
use nalgebra::DMatrix;
use slips::{
    Bench,
    measure::{Numbers, expect_named, expect_pairs_named, expect_told},
};
use std::sync::Arc;

struct Random {
    layer: LinformerAttention,
    x: DMatrix<f32>,
}

impl Random {
    fn of(seed: u64) -> Self {
        let mut numbers = Numbers::of(seed);
        let (heads, d) = (2 + numbers.below(2), 4 + numbers.below(2));
        let kv_heads = if seed.is_multiple_of(3) { 1 } else { heads };
        let (n_max, r) = (8 + numbers.below(4), 3 + numbers.below(2));
        let width = heads * d;
        let project = |numbers: &mut Numbers| {
            let weight = numbers.matrix(r, n_max, 0.5);
            vec![Arc::new(SequenceProjection::new(weight).unwrap())]
        };
        let (e, f) = (project(&mut numbers), project(&mut numbers));
        let mut linear = |out: usize| {
            let weight = numbers.matrix(width, out, 0.8);
            Linear::new(weight, Some(numbers.vector(out))).unwrap()
        };
        let (q, k) = (linear(width), linear(kv_heads * d));
        let (v, o) = (linear(kv_heads * d), linear(width));
        let groups = Groups::new(heads, kv_heads).unwrap();
        let projections = Projections::new(e, f).unwrap();
        let layer =
            LinformerAttention::new(q, k, Some(v), o, projections, groups).unwrap();
        let tokens = 5 + numbers.below(4);
        Random { layer, x: numbers.matrix(tokens, width, 1.5) }
    }

    fn bench(&self) -> Bench<'_, known::Steps<'_>> {
        let steps = known::steps(&self.layer, &self.x, &self.x);
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
    let page = include_str!("../../../../book/src/linformer.md");
    expect_told("linformer", page, &known::slips());
}
