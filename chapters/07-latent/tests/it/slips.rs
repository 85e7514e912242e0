//! The slips of the chapter, made on purpose: each is named from the output alone, and two
//! at once, and what agrees is left in peace.

use attention::{Linear, Mask};
use checkpoint::Temperature;
use latent::{
    LatentAttention, Projections, QueryProjection, RmsNorm, Sharpness, Sizes,
    slips as known,
};
use nalgebra::DMatrix;
use rotary::{Pairing, Rotary};
use slips::{
    Bench,
    measure::{Numbers, expect_named, expect_pairs_named, expect_told},
};

struct Random {
    layer: LatentAttention,
    x: DMatrix<f32>,
    seed: u64,
}

impl Random {
    fn of(seed: u64) -> Self {
        let mut numbers = Numbers::of(seed);
        let (heads, rank) = (2 + numbers.below(2), 6 + numbers.below(4));
        let sizes = Sizes {
            heads,
            nope_dim: 4 + numbers.below(3),
            rope_dim: 4,
            v_dim: 4 + numbers.below(4),
        };
        let width = heads * sizes.v_dim;
        let mut linear = |d_in: usize, out: usize| {
            let weight = numbers.matrix(d_in, out, 0.8);
            Linear::new(weight, Some(numbers.vector(out))).unwrap()
        };
        let queries = heads * sizes.qk_dim();
        let gain = |width: usize| {
            RmsNorm::new((0..width).map(|i| 1.0 + 0.3 * (i % 3) as f32).collect())
        };
        let query = if seed.is_multiple_of(2) {
            QueryProjection::Full(linear(width, queries))
        } else {
            QueryProjection::LowRank {
                q_a_proj: linear(width, 5),
                q_a_layernorm: gain(5),
                q_b_proj: linear(5, queries),
            }
        };
        let projections = Projections {
            query,
            kv_a_proj: linear(width, rank + sizes.rope_dim),
            kv_a_layernorm: gain(rank),
            kv_b_proj: linear(rank, heads * (sizes.nope_dim + sizes.v_dim)),
            o_proj: linear(width, width),
        };
        let layer = LatentAttention::new(projections, sizes, 100.0).unwrap();
        // Every third is sharper, and its temperature grows every second token.
        let temperature = Some(Temperature { beta: 0.4, trained: 2.0 });
        let layer = match seed % 3 {
            1 => layer.sharpened(Sharpness { mscale: 1.6, temperature }),
            _ => layer,
        };
        let tokens = 5 + numbers.below(5);
        Random { layer, x: numbers.matrix(tokens, width, 1.5), seed }
    }

    fn bench(&self) -> Bench<'_, known::Steps<'_>> {
        let mask = match self.seed % 3 {
            0 => Mask::None,
            _ => Mask::Causal { offset: 0 },
        };
        let plain = Rotary::new(4, 100.0, Pairing::Neighbors).unwrap();
        let steps = known::steps(&self.layer, &self.x, &mask, plain);
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
    let page = include_str!("../../../../book/src/latent.md");
    expect_told("latent", page, &known::slips());
}
