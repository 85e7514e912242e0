//! Times attention over n, and softmax in the versions that the chapter tells of.
//!
//!     cargo bench -p attention               print the figures
//!     cargo bench -p attention -- --record   and keep them in benches/recorded.csv

use attention::{Mask, attend, exp_nonpositive, softmax, softmax_by_rows};
use nalgebra::{DMatrix, DVector};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use std::hint::black_box;
use std::time::{Duration, Instant};

const HEAD_DIM: usize = 64;
const SIZES: [usize; 7] = [64, 128, 256, 512, 1024, 2048, 4096];

fn main() -> std::io::Result<()> {
    let mut recording = String::from("case,n,median_ms\n");
    println!("{:<16} {:>6} {:>10} {:>10} {:>10}", "", "n", "min", "median", "max");
    for n in SIZES {
        let (q, k, v) = (normal(n, HEAD_DIM), normal(n, HEAD_DIM), normal(n, HEAD_DIM));
        let scores = normal(n, n);
        let mut cases: Vec<(&str, Box<dyn Fn()>)> = vec![
            ("attend", Box::new(|| drop(black_box(attend(&q, &k, &v, &Mask::None))))),
            ("softmax", Box::new(|| drop(black_box(softmax(scores.clone()))))),
        ];
        if n <= 1024 {
            let versions: [(&str, Softmax); 3] = [
                ("softmax_by_rows", softmax_by_rows),
                ("columns_std_exp", |s| sweep(s, f32::exp)),
                ("columns_series", |s| sweep(s, exp_nonpositive)),
            ];
            for (name, version) in versions {
                let scores = &scores;
                let run = move || drop(black_box(version(scores.clone())));
                cases.push((name, Box::new(run)));
            }
        }
        for (case, times) in interleaved(&cases) {
            let ms = |time: Duration| time.as_secs_f64() * 1e3;
            let (min, max) = (ms(times[0]), ms(times[times.len() - 1]));
            let median = ms(times[times.len() / 2]);
            println!("{case:<16} {n:>6} {min:>8.3}ms {median:>8.3}ms {max:>8.3}ms");
            recording += &format!("{case},{n},{median:.4}\n");
        }
    }
    if std::env::args().any(|argument| argument == "--record") {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/recorded.csv");
        std::fs::write(path, recording)?;
        println!("recorded in {path}; now: cargo run -p attention -- plots");
    }
    Ok(())
}

type Softmax = fn(DMatrix<f32>) -> DMatrix<f32>;

/// The sweep of `attention::softmax`, compiled for the oldest processor of its kind,
/// with a choice of `exp`.
fn sweep(mut scores: DMatrix<f32>, exp: impl Fn(f32) -> f32) -> DMatrix<f32> {
    let mut max = DVector::repeat(scores.nrows(), f32::MIN);
    for column in scores.column_iter() {
        max.zip_apply(&column, |max, s| *max = max.max(s));
    }
    let mut sum = DVector::zeros(scores.nrows());
    for mut column in scores.column_iter_mut() {
        column.zip_apply(&max, |s, max| *s = exp(*s - max));
        sum += &column;
    }
    let scale = sum.map(|sum: f32| 1.0 / sum);
    for mut column in scores.column_iter_mut() {
        column.component_mul_assign(&scale);
    }
    scores
}

/// Sorted times of each case. The cases take turns, so that a slow moment of the
/// machine is shared by all of them.
fn interleaved<'a>(cases: &[(&'a str, Box<dyn Fn() + 'a>)]) -> Vec<(&'a str, Vec<Duration>)> {
    let mut times: Vec<_> = cases.iter().map(|(name, _)| (*name, Vec::new())).collect();
    let started = Instant::now();
    for round in 0.. {
        if round > 4 && started.elapsed() > Duration::from_secs(3) {
            break;
        }
        for ((_, run), (_, times)) in cases.iter().zip(&mut times) {
            let start = Instant::now();
            run();
            if round > 0 {
                times.push(start.elapsed());
            }
        }
    }
    times.iter_mut().for_each(|(_, times)| times.sort());
    times
}

fn normal(rows: usize, columns: usize) -> DMatrix<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    DMatrix::from_fn(rows, columns, |_, _| StandardNormal.sample(&mut rng))
}
