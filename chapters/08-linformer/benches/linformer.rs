//! Times one head of width 64 over n: attention to all keys, and Linformer with 256 rows
//! left of them, its projections along the sequence included.
//!
//!     cargo bench -p linformer               print the figures
//!     cargo bench -p linformer -- --record   and keep them in benches/recorded.csv

use attention::{Mask, attend};
use chapter_cli::bench::{Bench, Case, timed};
use linformer::attend_condensed;
use linformer::experiments::{BENCH_HEAD_DIM, BENCH_K, normal, random};

const SIZES: [usize; 10] = [256, 384, 512, 640, 768, 1024, 1536, 2048, 4096, 8192];
/// Too many tokens for attention: the weights of 32,768 take 4 GiB.
const LONG: [usize; 2] = [16384, 32768];

fn main() -> std::io::Result<()> {
    let mut bench = Bench::start();
    for n in SIZES.into_iter().chain(LONG) {
        let [q, k, v] = [1, 2, 3].map(|seed| normal(n, BENCH_HEAD_DIM, seed));
        let (q, k, v) = (q.as_view(), k.as_view(), v.as_view());
        let along = |seed| random(BENCH_K, n, seed).expect("k is not 0");
        let (e, f) = (along(4), along(5));
        let linformer = || timed(|| attend_condensed(q, k, v, &e, &f));
        let attention = || timed(|| attend(q, k, v, &Mask::None));
        let cases: [Case; 2] =
            [("linformer", n, &linformer), ("attention", n, &attention)];
        bench.measure(if SIZES.contains(&n) { &cases } else { &cases[..1] });
    }
    bench.finish(env!("CARGO_MANIFEST_DIR"))
}
