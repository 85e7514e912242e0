//! Times a layer of width 512 over the number of heads and over n.
//!
//!     cargo bench -p multi-head               print the times
//!     cargo bench -p multi-head -- --record   and keep them in benches/recorded.csv

use attention::{Attended, Linear, Mask, attend, scores, softmax};
use chapter_cli::bench::{Bench, Turns, timed, tried};
use multi_head::{MultiHeadAttention, Projected, attend_heads};
use nalgebra::{DMatrix, DMatrixView, DVector};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;
use std::rc::Rc;
use std::sync::Mutex;
use std::time::Duration;

const WIDTH: usize = 512;
/// The sequence for which the number of heads varies.
const TOKENS: usize = 512;
const HEADS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
const SIZES: [usize; 6] = [64, 128, 256, 512, 1024, 2048];

fn main() -> std::io::Result<()> {
    let mut bench = Bench::start();
    let mut turns = Turns::new();
    for heads in HEADS {
        over_heads(&mut turns, heads);
    }
    bench.measure(turns);
    let mut turns = Turns::new();
    for n in SIZES {
        over_tokens(&mut turns, n);
    }
    bench.measure(turns);
    bench.finish(env!("CARGO_MANIFEST_DIR"))
}

/// The layer with so many heads, and its parts.
fn over_heads(turns: &mut Turns, heads: usize) {
    let (layer, x) = (layer(heads), normal(TOKENS, WIDTH, 1.0));
    let projected = Rc::new(layer.project(&x, &x).expect("the shapes fit"));
    let maps: Rc<[_]> = (0..heads).map(|_| normal(TOKENS, TOKENS, 1.0)).collect();
    let buffers = buffers();
    turns.add("layer", heads, move || tried(|| layer.forward(&x, &Mask::None)));
    let all = Rc::clone(&projected);
    turns.add("attend_heads", heads, move || {
        tried(|| attend_heads(&all.q, &all.k, &all.v, heads, &Mask::None))
    });
    let all = Rc::clone(&projected);
    turns.add("in_turn", heads, move || timed(|| one_after_the_other(&all, heads)));
    let (all, weights) = (Rc::clone(&projected), Rc::clone(&maps));
    turns.add("products", heads, move || timed(|| products(&all, &weights)));
    turns.add("products_at_hand", heads, move || {
        timed(|| products_at_hand(&projected, heads, &buffers))
    });
    turns.add("softmax", heads, move || timed_softmax(&maps));
}

/// Layers with eight heads and with one, and what they have in common.
fn over_tokens(turns: &mut Turns, n: usize) {
    let x = Rc::new(normal(n, WIDTH, 1.0));
    let (eight, one) = (Rc::new(layer(8)), layer(1));
    for (name, layer) in
        [("eight_heads", Rc::clone(&eight)), ("one_head", Rc::new(one))]
    {
        let x = Rc::clone(&x);
        turns.add(name, n, move || tried(|| layer.forward(&x, &Mask::None)));
    }
    turns.add("projections", n, move || timed(|| four_projections(&eight, &x)));
}

/// What `attend_heads` does, without a second head before the first is done.
fn one_after_the_other(all: &Projected, heads: usize) -> Vec<Attended> {
    let of_head = |h| {
        let [q, k, v] = of_head(all, h, heads);
        attend(q, k, v, &Mask::None).expect("the shapes fit")
    };
    (0..heads).map(of_head).collect()
}

/// Softmax of all heads' scores, on all cores as in the layer. The copies that it
/// overwrites are made before the clock starts.
fn timed_softmax(maps: &[DMatrix<f32>]) -> Duration {
    let maps = maps.to_vec();
    timed(|| maps.into_par_iter().map(softmax).collect::<Vec<_>>())
}

/// The two products of each head, with weights that are there already, on all cores. Each
/// head makes a square matrix of its own, and reads another.
fn products(
    all: &Projected,
    weights: &[DMatrix<f32>],
) -> Vec<(DMatrix<f32>, DMatrix<f32>)> {
    let heads = weights.len();
    let products = |(h, weights): (usize, &DMatrix<f32>)| {
        let [q, k, v] = of_head(all, h, heads);
        (scores(q, k).expect("the shapes fit"), weights * v)
    };
    weights.par_iter().enumerate().map(products).collect()
}

/// The same products, but a core writes the scores of all its heads into one square matrix,
/// and reads them there for the second product: what is as thin as in [`products`], and
/// does not leave the caches.
fn products_at_hand(
    all: &Projected,
    heads: usize,
    buffers: &[Mutex<DMatrix<f32>>],
) -> Vec<DMatrix<f32>> {
    let of_core = |(core, buffer): (usize, &Mutex<DMatrix<f32>>)| {
        let mut square = buffer.lock().expect("no run has failed");
        let products = |h| {
            let [q, k, v] = of_head(all, h, heads);
            let q = q / (q.ncols() as f32).sqrt();
            q.mul_to(&k.transpose(), &mut *square);
            &*square * v
        };
        (core..heads).step_by(buffers.len()).map(products).collect::<Vec<_>>()
    };
    buffers.par_iter().enumerate().flat_map_iter(of_core).collect()
}

/// A square matrix for each core.
fn buffers() -> Vec<Mutex<DMatrix<f32>>> {
    let one = |_| Mutex::new(DMatrix::zeros(TOKENS, TOKENS));
    (0..rayon::current_num_threads()).map(one).collect()
}

/// Queries, keys and values of one head.
fn of_head(all: &Projected, h: usize, heads: usize) -> [DMatrixView<'_, f32>; 3] {
    let width = WIDTH / heads;
    [&all.q, &all.k, &all.v].map(|all| all.columns(h * width, width))
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
