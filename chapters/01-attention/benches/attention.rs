//! Times attention over n, and softmax in the versions that the chapter tells of.
//!
//!     cargo bench -p attention               print the times
//!     cargo bench -p attention -- --record   and keep them in benches/recorded.csv

use attention::{Mask, attend, exp_nonpositive, softmax, softmax_by_rows};
use chapter_cli::bench::{Bench, Turns, timed, tried};
use nalgebra::{DMatrix, DVector};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use std::rc::Rc;

const HEAD_DIM: usize = 64;
/// Powers of two, and 1,000, whose columns do not compete for the same cache lines.
const SIZES: [usize; 8] = [64, 128, 256, 512, 1000, 1024, 2048, 4096];
/// Up to this length all versions are timed; the slow ones would take longer ones too long.
const ALL_VERSIONS: usize = 1024;

fn main() -> std::io::Result<()> {
    let mut turns = Turns::new();
    for n in SIZES {
        let [q, k, v] = [1, 2, 3].map(|seed| normal(n, HEAD_DIM, seed));
        turns.add("attend", n, move || {
            tried(|| attend(q.as_view(), k.as_view(), v.as_view(), &Mask::None))
        });
        let scores = Rc::new(normal(n, n, 4));
        for (name, version) in
            if n <= ALL_VERSIONS { &VERSIONS[..] } else { &VERSIONS[..1] }
        {
            let scores = Rc::clone(&scores);
            turns.add(name, n, move || {
                // The copy that the version may overwrite is made before the clock starts.
                let scores = DMatrix::clone(&scores);
                timed(|| version(scores))
            });
        }
    }
    let mut bench = Bench::start();
    bench.measure(turns);
    bench.finish(env!("CARGO_MANIFEST_DIR"))
}

type Softmax = fn(DMatrix<f32>) -> DMatrix<f32>;

/// What the recording calls them, and what they are.
const VERSIONS: [(&str, Softmax); 4] = [
    ("softmax", softmax),
    ("softmax_by_rows", softmax_by_rows),
    ("columns_std_exp", |scores| sweep(scores, f32::exp)),
    ("columns_series", |scores| sweep(scores, exp_nonpositive)),
];

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

fn normal(rows: usize, columns: usize, seed: u64) -> DMatrix<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    DMatrix::from_fn(rows, columns, |_, _| StandardNormal.sample(&mut rng))
}
