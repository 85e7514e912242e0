//! The slips of the chapter, made on purpose: each is named from the output alone, and two
//! at once, and what agrees is left in peace.

use attention::{Attention, Linear, Mask, slips as known};
use nalgebra::DMatrix;
use slips::{
    Bench, Projected,
    measure::{Numbers, expect_named, expect_pairs_named, expect_told},
};

struct Random {
    layer: Attention,
    x: DMatrix<f32>,
    mask: Mask,
}

impl Random {
    fn of(seed: u64) -> Self {
        let mut numbers = Numbers::of(seed);
        let width = 6 + numbers.below(3);
        let [d_k, d_v] = [4 + numbers.below(3), 5 + numbers.below(4)];
        let mut linear = |out: usize| {
            let weight = numbers.matrix(width, out, 1.0);
            Linear::new(weight, Some(numbers.vector(out))).unwrap()
        };
        let layer = Attention::new(linear(d_k), linear(d_k), linear(d_v)).unwrap();
        let x = numbers.matrix(5 + numbers.clone().below(5), width, 2.0);
        let mask = match seed % 3 {
            0 => Mask::None,
            _ => Mask::Causal { offset: 0 },
        };
        Random { layer, x, mask }
    }

    fn bench(&self) -> Bench<'_, Projected<'_>> {
        let steps = known::steps(&self.layer, &self.x, &self.x, &self.mask);
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
    let page = include_str!("../../../../book/src/attention.md");
    expect_told("attention", page, &known::slips());
}
