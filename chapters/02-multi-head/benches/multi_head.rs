//! Times a layer of width 512 over the number of heads and over n.
//!
//!     cargo bench -p multi-head               print the figures
//!     cargo bench -p multi-head -- --record   and keep them in benches/recorded.csv

use attention::{Attended, Linear, Mask, attend, scores, softmax};
use chapter_cli::bench::{Bench, timed};
use multi_head::{MultiHeadAttention, Projected, attend_heads};
use nalgebra::{DMatrix, DVector};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;
use std::time::Duration;

const WIDTH: usize = 512;
/// The sequence for which the number of heads varies.
const TOKENS: usize = 512;
const HEADS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
const SIZES: [usize; 6] = [64, 128, 256, 512, 1024, 2048];

fn main() -> std::io::Result<()> {
    let mut bench = Bench::start();
    for heads in HEADS {
        let (layer, x) = (layer(heads), normal(TOKENS, WIDTH, 1.0));
        let Projected { q, k, v } = layer.project(&x, &x).expect("the shapes fit");
        let maps: Vec<_> = (0..heads).map(|_| normal(TOKENS, TOKENS, 1.0)).collect();
        let whole = || timed(|| layer.forward(&x, &Mask::None));
        let attend = || timed(|| attend_heads(&q, &k, &v, heads, &Mask::None));
        let in_turn = || timed(|| one_after_the_other(&q, &k, &v, heads));
        let products = || timed(|| products(&q, &k, &v, &maps));
        let softmax = || timed_softmax(&maps);
        bench.measure(&[
            ("layer", heads, &whole),
            ("attend_heads", heads, &attend),
            ("in_turn", heads, &in_turn),
            ("products", heads, &products),
            ("softmax", heads, &softmax),
        ]);
    }
    for n in SIZES {
        let x = normal(n, WIDTH, 1.0);
        let (eight, one) = (layer(8), layer(1));
        let many = || timed(|| eight.forward(&x, &Mask::None));
        let single = || timed(|| one.forward(&x, &Mask::None));
        let projections = || timed(|| four_projections(&eight, &x));
        bench.measure(&[
            ("eight_heads", n, &many),
            ("one_head", n, &single),
            ("projections", n, &projections),
        ]);
    }
    bench.finish(env!("CARGO_MANIFEST_DIR"))
}

/// What `attend_heads` does, without a second head before the first is done.
fn one_after_the_other(
    q: &DMatrix<f32>,
    k: &DMatrix<f32>,
    v: &DMatrix<f32>,
    heads: usize,
) -> Vec<Attended> {
    let width = WIDTH / heads;
    let of_head = |h| {
        let [q, k, v] = [q, k, v].map(|all| all.columns(h * width, width));
        attend(q, k, v, &Mask::None).expect("the shapes fit")
    };
    (0..heads).map(of_head).collect()
}

/// Softmax of all heads' scores, on all cores as in the layer. The copies that it overwrites are made before the clock
/// starts.
fn timed_softmax(maps: &[DMatrix<f32>]) -> Duration {
    let maps = maps.to_vec();
    timed(|| maps.into_par_iter().map(softmax).collect::<Vec<_>>())
}

/// The two products of each head, with weights that are there already, on all cores.
fn products(
    q: &DMatrix<f32>,
    k: &DMatrix<f32>,
    v: &DMatrix<f32>,
    weights: &[DMatrix<f32>],
) -> Vec<(DMatrix<f32>, DMatrix<f32>)> {
    let width = WIDTH / weights.len();
    let of_head = |(h, weights): (usize, &DMatrix<f32>)| {
        let [q, k, v] = [q, k, v].map(|all| all.columns(h * width, width));
        (scores(q, k).expect("the shapes fit"), weights * v)
    };
    weights.par_iter().enumerate().map(of_head).collect()
}

fn four_projections(layer: &MultiHeadAttention, x: &DMatrix<f32>) -> [DMatrix<f32>; 4] {
    let Projected { q, k, v } = layer.project(x, x).expect("the shapes fit");
    let o = layer.o_proj().forward(&v).expect("the shapes fit");
    [q, k, v, o]
}

fn layer(heads: usize) -> MultiHeadAttention {
    let linear = || {
        let weight = normal(WIDTH, WIDTH, 1.0 / (WIDTH as f32).sqrt());
        Linear::new(weight, Some(DVector::zeros(WIDTH))).expect("the bias fits")
    };
    MultiHeadAttention::new(linear(), linear(), linear(), linear(), heads)
        .expect("the heads divide the width")
}

fn normal(rows: usize, columns: usize, deviation: f32) -> DMatrix<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    DMatrix::from_fn(rows, columns, |_, _| {
        let sample: f32 = StandardNormal.sample(&mut rng);
        sample * deviation
    })
}
