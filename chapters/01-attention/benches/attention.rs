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
/// Powers of two, and 1,000, whose columns do not compete for the same cache lines.
const SIZES: [usize; 8] = [64, 128, 256, 512, 1000, 1024, 2048, 4096];

fn main() -> std::io::Result<()> {
    let mut recording = String::from("case,n,min_ms\n");
    println!("{:<16} {:>6} {:>10} {:>10} {:>10}", "", "n", "min", "median", "max");
    for n in SIZES {
        let (q, k, v) = (normal(n, HEAD_DIM), normal(n, HEAD_DIM), normal(n, HEAD_DIM));
        let scores = normal(n, n);
        let attend = || {
            let start = Instant::now();
            black_box(attend(q.as_view(), k.as_view(), v.as_view(), &Mask::None))
                .expect("the shapes fit");
            start.elapsed()
        };
        // The copy that each version may overwrite is made before the clock starts.
        let timed = |version: Softmax| {
            let scores = scores.clone();
            let start = Instant::now();
            black_box(version(scores));
            start.elapsed()
        };
        let mut cases: Vec<Case> = vec![
            ("attend", Box::new(attend)),
            ("softmax", Box::new(|| timed(softmax))),
        ];
        if n <= 1024 {
            cases.push(("softmax_by_rows", Box::new(|| timed(softmax_by_rows))));
            cases.push(("columns_std_exp", Box::new(|| timed(|s| sweep(s, f32::exp)))));
            let series = || timed(|s| sweep(s, exp_nonpositive));
            cases.push(("columns_series", Box::new(series)));
        }
        for (case, times) in interleaved(&cases) {
            let ms = |time: Duration| time.as_secs_f64() * 1e3;
            let (min, max) = (ms(times[0]), ms(times[times.len() - 1]));
            let median = ms(times[times.len() / 2]);
            println!("{case:<16} {n:>6} {min:>8.3}ms {median:>8.3}ms {max:>8.3}ms");
            recording += &format!("{case},{n},{min:.4}\n");
        }
    }
    if std::env::args().any(|argument| argument == "--record") {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/recorded.csv");
        std::fs::write(path, recording)?;
        println!("recorded in {path}; now: cargo run -p attention -- plots");
    }
    Ok(())
}

/// A name and a run that times itself.
type Case<'a> = (&'a str, Box<dyn Fn() -> Duration + 'a>);

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
fn interleaved<'a>(cases: &[Case<'a>]) -> Vec<(&'a str, Vec<Duration>)> {
    let mut times: Vec<_> = cases.iter().map(|(name, _)| (*name, Vec::new())).collect();
    let started = Instant::now();
    for round in 0.. {
        if round > 4 && started.elapsed() > Duration::from_secs(3) {
            break;
        }
        for ((_, run), (_, times)) in cases.iter().zip(&mut times) {
            let time = run();
            if round > 0 {
                times.push(time);
            }
        }
    }
    for (_, times) in &mut times {
        times.sort();
    }
    times
}

fn normal(rows: usize, columns: usize) -> DMatrix<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    DMatrix::from_fn(rows, columns, |_, _| StandardNormal.sample(&mut rng))
}
