//! Times one decoding step's attention over a cache: 32 query heads of 128, once with a
//! key and value for each head, and with one for all: read once for all queries, once for
//! each query, or copied out for each query first.
//!
//!     cargo bench -p multi-query               print the figures
//!     cargo bench -p multi-query -- --record   and keep them in benches/recorded.csv

use decoding::{KvCache, attend_columns, attend_few};
use multi_query::experiments::{BENCH_HEAD_DIM, BENCH_HEADS, repeated};
use nalgebra::{DMatrix, DMatrixView};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use std::hint::black_box;
use std::time::{Duration, Instant};

const TOKENS: [usize; 6] = [256, 512, 1024, 2048, 4096, 8192];

fn main() -> std::io::Result<()> {
    let mut recording = String::from("case,tokens,min_ms\n");
    println!("{:<20} {:>6} {:>10} {:>10} {:>10}", "", "n", "min", "median", "max");
    for tokens in TOKENS {
        let all = cache(tokens, BENCH_HEADS);
        let one = cache(tokens, 1);
        let side_by_side = normal(1, BENCH_HEADS * BENCH_HEAD_DIM);
        let stacked = DMatrix::from_row_slice(
            BENCH_HEADS,
            BENCH_HEAD_DIM,
            side_by_side.as_slice(),
        );
        let cases: Vec<Case> = vec![
            (
                "multi_head",
                Box::new(|| each_head(&side_by_side, all.keys(), all.values())),
            ),
            (
                "multi_query",
                Box::new(|| {
                    black_box(attend_columns(
                        stacked.as_view(),
                        one.keys(),
                        one.values(),
                    ))
                    .expect("the shapes fit");
                }),
            ),
            (
                "one_at_a_time",
                Box::new(|| each_head(&side_by_side, one.keys(), one.values())),
            ),
            (
                "repeated",
                Box::new(|| {
                    let keys = repeated(&one.keys().into_owned(), BENCH_HEADS);
                    let values = repeated(&one.values().into_owned(), BENCH_HEADS);
                    each_head(&side_by_side, keys.as_view(), values.as_view());
                }),
            ),
        ];
        for (case, times) in interleaved(&cases) {
            let ms = |time: Duration| time.as_secs_f64() * 1e3;
            let (min, max) = (ms(times[0]), ms(times[times.len() - 1]));
            let median = ms(times[times.len() / 2]);
            println!(
                "{case:<20} {tokens:>6} {min:>8.3}ms {median:>8.3}ms {max:>8.3}ms"
            );
            recording += &format!("{case},{tokens},{min:.4}\n");
        }
    }
    if std::env::args().any(|argument| argument == "--record") {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/recorded.csv");
        std::fs::write(path, recording)?;
        println!("recorded in {path}; now: cargo run -p multi-query -- plots");
    }
    Ok(())
}

/// A name and what is timed.
type Case<'a> = (&'a str, Box<dyn Fn() + 'a>);

/// A full cache for so many key and value heads.
fn cache(tokens: usize, kv_heads: usize) -> KvCache {
    let width = kv_heads * BENCH_HEAD_DIM;
    let mut cache = KvCache::new(tokens, width, width);
    let (keys, values) = (normal(tokens, width), normal(tokens, width));
    cache.append(&keys, &values).expect("the cache has room");
    cache
}

/// One call a head, each over its own columns if there are as many as heads, as
/// `decoding::decode` does it, and over the same ones if not.
fn each_head(q: &DMatrix<f32>, keys: DMatrixView<f32>, values: DMatrixView<f32>) {
    for h in 0..BENCH_HEADS {
        let (first, width) = (h * BENCH_HEAD_DIM, BENCH_HEAD_DIM);
        let kv_first = first % keys.ncols();
        let attended = attend_few(
            q.columns(first, width),
            keys.columns(kv_first, width),
            values.columns(kv_first, width),
        );
        black_box(attended).expect("the shapes fit");
    }
}

/// Sorted times of each case. The cases take turns, so that a slow moment of the
/// machine is shared by all of them.
fn interleaved<'a>(cases: &[Case<'a>]) -> Vec<(&'a str, Vec<Duration>)> {
    let mut times: Vec<_> = cases.iter().map(|(name, _)| (*name, Vec::new())).collect();
    let started = Instant::now();
    for round in 0.. {
        if round > 4 && started.elapsed() > Duration::from_secs(4) {
            break;
        }
        for ((_, run), (_, times)) in cases.iter().zip(&mut times) {
            let start = Instant::now();
            run();
            let time = start.elapsed();
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
