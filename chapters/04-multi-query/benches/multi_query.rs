//! Times one decoding step's attention over a cache: 32 query heads of 128, once with a
//! key and value for each head, and with one for all: read once for all queries, once for
//! each query, or copied out for each query first.
//!
//!     cargo bench -p multi-query               print the figures
//!     cargo bench -p multi-query -- --record   and keep them in benches/recorded.csv

use chapter_cli::bench::{Bench, timed};
use decoding::{KvCache, attend_columns, attend_few};
use multi_query::experiments::{BENCH_HEAD_DIM, BENCH_HEADS, repeated};
use nalgebra::{DMatrix, DMatrixView};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use std::hint::black_box;

const TOKENS: [usize; 6] = [256, 512, 1024, 2048, 4096, 8192];

fn main() -> std::io::Result<()> {
    let mut bench = Bench::start();
    for tokens in TOKENS {
        let all = cache(tokens, BENCH_HEADS);
        let one = cache(tokens, 1);
        let side_by_side = normal(1, BENCH_HEADS * BENCH_HEAD_DIM);
        let stacked = DMatrix::from_row_slice(
            BENCH_HEADS,
            BENCH_HEAD_DIM,
            side_by_side.as_slice(),
        );
        let q = &side_by_side;
        let many = || timed(|| each_head(q, all.keys(), all.values()));
        let shared =
            || timed(|| attend_columns(stacked.as_view(), one.keys(), one.values()));
        let one_at_a_time = || timed(|| each_head(q, one.keys(), one.values()));
        let copied_out = || {
            timed(|| {
                let keys = repeated(&one.keys().into_owned(), BENCH_HEADS);
                let values = repeated(&one.values().into_owned(), BENCH_HEADS);
                each_head(q, keys.as_view(), values.as_view());
            })
        };
        bench.measure(&[
            ("multi_head", tokens, &many),
            ("multi_query", tokens, &shared),
            ("one_at_a_time", tokens, &one_at_a_time),
            ("repeated", tokens, &copied_out),
        ]);
    }
    bench.finish(env!("CARGO_MANIFEST_DIR"))
}

/// A full cache for so many key and value heads.
fn cache(tokens: usize, kv_heads: usize) -> KvCache {
    let width = kv_heads * BENCH_HEAD_DIM;
    let mut cache = KvCache::new(tokens, width, width);
    let (keys, values) = (normal(tokens, width), normal(tokens, width));
    cache.append(&keys, &values).expect("the cache has room");
    cache
}

/// One call a head and one after the other, where `decoding::decode` lets cores share
/// them: each over its own columns if there are as many as heads, else over the same.
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

fn normal(rows: usize, columns: usize) -> DMatrix<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    DMatrix::from_fn(rows, columns, |_, _| StandardNormal.sample(&mut rng))
}
