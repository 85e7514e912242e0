//! Times a layer of width 512 over the number of heads and over n.
//!
//!     cargo bench -p multi-head               print the figures
//!     cargo bench -p multi-head -- --record   and keep them in benches/recorded.csv

use attention::{Linear, Mask, scores, softmax};
use multi_head::{MultiHeadAttention, Projected, attend_heads};
use nalgebra::{DMatrix, DVector};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use std::hint::black_box;
use std::time::{Duration, Instant};

const WIDTH: usize = 512;
/// The sequence for which the number of heads varies.
const TOKENS: usize = 512;
const HEADS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
const SIZES: [usize; 6] = [64, 128, 256, 512, 1024, 2048];

fn main() -> std::io::Result<()> {
    // Once it has freed a block as large as this, glibc keeps what is freed later for the
    // next allocation instead of handing it back, and the times stop jumping.
    drop(black_box(Vec::<u8>::with_capacity(32 << 20)));
    let mut recording = String::from("case,n,min_ms\n");
    println!("{:<16} {:>6} {:>10} {:>10} {:>10}", "", "", "min", "median", "max");
    for heads in HEADS {
        let (layer, x) = (layer(heads), normal(TOKENS, WIDTH, 1.0));
        let Projected { q, k, v } = layer.project(&x, &x).expect("the shapes fit");
        let maps: Vec<_> = (0..heads).map(|_| normal(TOKENS, TOKENS, 1.0)).collect();
        let cases: [Case; 4] = [
            ("layer", Box::new(|| timed(|| layer.forward(&x, &Mask::None)))),
            (
                "attend_heads",
                Box::new(|| timed(|| attend_heads(&q, &k, &v, heads, &Mask::None))),
            ),
            ("products", Box::new(|| timed(|| products(&q, &k, &v, &maps)))),
            ("softmax", Box::new(|| timed_softmax(&maps))),
        ];
        record(heads, &cases, &mut recording);
    }
    for n in SIZES {
        let x = normal(n, WIDTH, 1.0);
        let (eight, one) = (layer(8), layer(1));
        let cases: [Case; 3] = [
            ("eight_heads", Box::new(|| timed(|| eight.forward(&x, &Mask::None)))),
            ("one_head", Box::new(|| timed(|| one.forward(&x, &Mask::None)))),
            ("projections", Box::new(|| timed(|| four_projections(&eight, &x)))),
        ];
        record(n, &cases, &mut recording);
    }
    if std::env::args().any(|argument| argument == "--record") {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/recorded.csv");
        std::fs::write(path, recording)?;
        println!("recorded in {path}; now: cargo run -p multi-head -- plots");
    }
    Ok(())
}

/// A name and a run that times itself.
type Case<'a> = (&'a str, Box<dyn Fn() -> Duration + 'a>);

fn timed<T>(run: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    let result = black_box(run());
    let time = start.elapsed();
    drop(result);
    time
}

/// Softmax of all heads' scores. The copies that it overwrites are made before the clock
/// starts.
fn timed_softmax(maps: &[DMatrix<f32>]) -> Duration {
    let maps = maps.to_vec();
    timed(|| maps.into_iter().map(softmax).collect::<Vec<_>>())
}

/// The two products of each head, with weights that are there already.
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
    weights.iter().enumerate().map(of_head).collect()
}

fn four_projections(layer: &MultiHeadAttention, x: &DMatrix<f32>) -> [DMatrix<f32>; 4] {
    let Projected { q, k, v } = layer.project(x, x).expect("the shapes fit");
    let o = layer.o_proj().forward(&v).expect("the shapes fit");
    [q, k, v, o]
}

/// Times the cases in turns, so that a slow moment of the machine is shared by all of
/// them, and notes the shortest time of each.
fn record(n: usize, cases: &[Case], recording: &mut String) {
    let mut times = vec![Vec::new(); cases.len()];
    let started = Instant::now();
    for round in 0.. {
        if round > 4 && started.elapsed() > Duration::from_secs(3) {
            break;
        }
        for ((_, run), times) in cases.iter().zip(&mut times) {
            let time = run();
            if round > 0 {
                times.push(time);
            }
        }
    }
    for ((case, _), mut times) in cases.iter().zip(times) {
        times.sort();
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let (min, max) = (ms(times[0]), ms(times[times.len() - 1]));
        let median = ms(times[times.len() / 2]);
        println!("{case:<16} {n:>6} {min:>8.3}ms {median:>8.3}ms {max:>8.3}ms");
        *recording += &format!("{case},{n},{min:.4}\n");
    }
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
