//! Times what rotation adds to a layer, part by part, what the parts are made of, and what
//! it would cost to turn the whole cache for each token.
//!
//!     cargo bench -p rotary               print the times
//!     cargo bench -p rotary -- --record   and keep them in benches/recorded.csv

use anyhow::Result;
use attention::Mask;
use chapter_cli::bench::{Bench, Turns, timed, tried};
use decoding::experiments::normal;
use grouped_query::attend_stacked;
use nalgebra::DMatrix;
use rotary::RotaryAttention;
use rotary::experiments::{TIMED, timed_layer};
use std::cell::RefCell;
use std::hint::black_box;
use std::rc::Rc;

const SIZES: [usize; 3] = [128, 512, 2048];
const CACHED: usize = 8192;

fn main() -> Result<()> {
    let layer = timed_layer()?;
    let mut turns = Turns::new();
    for n in SIZES {
        layer_and_parts(&mut turns, &layer, n)?;
    }
    one_token(&mut turns, &layer);
    let mut bench = Bench::start();
    bench.measure(turns);
    Ok(bench.finish(env!("CARGO_MANIFEST_DIR"))?)
}

/// A pass over n tokens.
fn layer_and_parts<'a>(
    turns: &mut Turns<'a>,
    layer: &'a RotaryAttention,
    n: usize,
) -> Result<()> {
    let x = Rc::new(normal(n, TIMED.0, 7));
    let angles = layer.rotary().angles(0..n);
    turns.add("table", n, move || timed(|| layer.rotary().angles(0..n)));
    let positions = angles_of(layer, n);
    turns.add("sines", n, move || timed(|| sines(&positions)));

    let projected = layer.project(&x, 0)?;
    let (mut q, mut k) = (projected.q, projected.k);
    let (mut same_q, mut same_k) = (q.clone(), k.clone());
    turns.add("rotate", n, move || {
        timed(|| (angles.rotate(&mut q), angles.rotate(&mut k)))
    });
    turns.add("scale", n, move || timed(|| [&mut same_q, &mut same_k].map(scale)));

    let (context, of_layer) = (normal(n, TIMED.1 * TIMED.3, 8), Rc::clone(&x));
    turns.add("project", n, move || {
        timed(|| {
            let all = layer.layer().project(&x, &x);
            (all, layer.layer().o_proj().forward(&context))
        })
    });
    let causal = Mask::Causal { offset: 0 };
    turns.add("whole", n, move || tried(|| layer.forward(&of_layer, &causal)));
    Ok(())
}

/// The angles of n positions, one per pair, as the table computes them.
fn angles_of(layer: &RotaryAttention, n: usize) -> Vec<f64> {
    let frequencies = layer.rotary().frequencies();
    let angles = frequencies.iter().flat_map(|frequency| {
        (0..n).map(move |position| position as f64 * f64::from(*frequency))
    });
    angles.collect()
}

/// A cosine and a sine of each angle, by the library and nothing else.
fn sines(angles: &[f64]) -> f64 {
    angles.iter().map(|angle| angle.cos() + angle.sin()).sum()
}

/// Reads and writes each number once, as a rotation does, for one multiplication.
fn scale(numbers: &mut DMatrix<f32>) {
    *numbers *= black_box(1.0);
}

/// One token over a long cache, and a rotation of all keys in it.
fn one_token<'a>(turns: &mut Turns<'a>, layer: &'a RotaryAttention) {
    let (_, heads, kv_heads, head_dim) = TIMED;
    let q = normal(1, heads * head_dim, 9);
    let keys = Rc::new(RefCell::new(normal(CACHED, kv_heads * head_dim, 10)));
    let values = normal(CACHED, kv_heads * head_dim, 11);
    let (angles, groups) = (layer.rotary().angles(0..CACHED), layer.layer().groups());
    let seen = Rc::clone(&keys);
    turns.add("attend_one", CACHED, move || {
        let keys = seen.borrow();
        tried(|| attend_stacked(&q, keys.as_view(), values.as_view(), groups))
    });
    turns.add("rotate_keys", CACHED, move || {
        timed(|| angles.rotate(&mut keys.borrow_mut()))
    });
}
