//! The slips of the chapter, made on purpose: each is named from the output alone, and two
//! at once, and what agrees is left in peace.

use attention::Mask;
use flash::slips as known;
use grouped_query::Groups;
use nalgebra::DMatrix;
use slips::{
    Bench,
    measure::{Numbers, expect_named, expect_pairs_named, expect_told},
};

struct Random {
    q: DMatrix<f32>,
    k: DMatrix<f32>,
    v: DMatrix<f32>,
    groups: Groups,
    mask: Mask,
}

impl Random {
    fn of(seed: u64) -> Self {
        let mut numbers = Numbers::of(seed);
        let kv_heads = 1 + numbers.below(2);
        let heads = kv_heads * (1 + numbers.below(2));
        let (d, d_v) = (4 + numbers.below(3), 4 + numbers.below(3));
        let (n, m) = (5 + numbers.below(3), 9 + numbers.below(4));
        let mask = match seed % 3 {
            0 => Mask::None,
            1 => Mask::Causal { offset: m - n },
            _ => Mask::Causal { offset: 0 },
        };
        Random {
            q: numbers.matrix(n, heads * d, 2.0),
            k: numbers.matrix(m, kv_heads * d, 2.0),
            v: numbers.matrix(m, kv_heads * d_v, 2.0),
            groups: Groups::new(heads, kv_heads).unwrap(),
            mask,
        }
    }

    fn bench(&self) -> Bench<'_, known::Steps<'_>> {
        let steps = known::steps([&self.q, &self.k, &self.v], self.groups, &self.mask);
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
    let page = include_str!("../../../../book/src/flash.md");
    expect_told("flash", page, &known::slips());
}
