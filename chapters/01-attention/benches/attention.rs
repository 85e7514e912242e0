//! Times attention over n, and softmax in the versions that the chapter tells of.
//!
//!     cargo bench -p attention               print the figures
//!     cargo bench -p attention -- --record   and keep them in benches/recorded.csv

use attention::{Mask, attend, exp_nonpositive, softmax, softmax_by_rows};
use chapter_cli::bench::{Bench, Case, timed};
use nalgebra::{DMatrix, DVector};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};

const HEAD_DIM: usize = 64;
/// Powers of two, and 1,000, whose columns do not compete for the same cache lines.
const SIZES: [usize; 8] = [64, 128, 256, 512, 1000, 1024, 2048, 4096];

fn main() -> std::io::Result<()> {
    let mut bench = Bench::start();
    for n in SIZES {
        let (q, k, v) = (normal(n, HEAD_DIM), normal(n, HEAD_DIM), normal(n, HEAD_DIM));
        let (q, k, v) = (q.as_view(), k.as_view(), v.as_view());
        let scores = normal(n, n);
        // The copy that each version may overwrite is made before the clock starts.
        let version = |version: Softmax| {
            let scores = scores.clone();
            timed(|| version(scores))
        };
        let attend = || timed(|| attend(q, k, v, &Mask::None));
        let by_rows = || version(softmax_by_rows);
        let std_exp = || version(|s| sweep(s, f32::exp));
        let series = || version(|s| sweep(s, exp_nonpositive));
        let wide = || version(softmax);
        let cases: [Case; 5] = [
            ("attend", n, &attend),
            ("softmax", n, &wide),
            ("softmax_by_rows", n, &by_rows),
            ("columns_std_exp", n, &std_exp),
            ("columns_series", n, &series),
        ];
        // The slow versions would take the longest sizes too long.
        bench.measure(if n <= 1024 { &cases } else { &cases[..2] });
    }
    bench.finish(env!("CARGO_MANIFEST_DIR"))
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

fn normal(rows: usize, columns: usize) -> DMatrix<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    DMatrix::from_fn(rows, columns, |_, _| StandardNormal.sample(&mut rng))
}
