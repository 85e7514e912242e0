//! Times one decoding step's attention over a cache: 32 query heads of 128, once with a
//! key and value for each head, and with one for all: read once for all queries, once for
//! each query, or copied out for each query first. In turns with them, what the step does
//! before it attends, and a plain sum of as much as the larger cache on one core and on all.
//!
//!     cargo bench -p multi-query               print the times
//!     cargo bench -p multi-query -- --record   and keep them in benches/recorded.csv

use anyhow::Result;
use chapter_cli::bench::{Bench, Turns, sum, sum_on_all_cores, timed, tried};
use decoding::experiments::{Appending, filled, normal};
use decoding::{attend_columns, attend_few};
use multi_query::experiments::{BENCH_HEAD_DIM, BENCH_HEADS, BENCH_TOKENS, repeated};
use nalgebra::{DMatrix, DMatrixView};
use std::hint::black_box;
use std::rc::Rc;

fn main() -> Result<()> {
    let mut turns = Turns::new();
    for tokens in BENCH_TOKENS {
        step(&mut turns, tokens)?;
    }
    let mut bench = Bench::start();
    bench.measure(turns);
    Ok(bench.finish(env!("CARGO_MANIFEST_DIR"))?)
}

/// One step after so many tokens.
fn step(turns: &mut Turns, tokens: usize) -> Result<()> {
    let all = filled(tokens, BENCH_HEADS * BENCH_HEAD_DIM)?;
    let one = Rc::new(filled(tokens, BENCH_HEAD_DIM)?);
    let q = Rc::new(normal(1, BENCH_HEADS * BENCH_HEAD_DIM, 7));
    let stacked = DMatrix::from_row_slice(BENCH_HEADS, BENCH_HEAD_DIM, q.as_slice());

    let asks = Rc::clone(&q);
    turns.add("multi_head", tokens, move || {
        timed(|| each_head(&asks, all.keys(), all.values()))
    });
    let cache = Rc::clone(&one);
    turns.add("multi_query", tokens, move || {
        tried(|| attend_columns(stacked.as_view(), cache.keys(), cache.values()))
    });
    let (asks, cache) = (Rc::clone(&q), Rc::clone(&one));
    turns.add("one_at_a_time", tokens, move || {
        timed(|| each_head(&asks, cache.keys(), cache.values()))
    });
    turns.add("repeated", tokens, move || {
        timed(|| {
            let keys = repeated(&one.keys().into_owned(), BENCH_HEADS);
            let values = repeated(&one.values().into_owned(), BENCH_HEADS);
            each_head(&q, keys.as_view(), values.as_view());
        })
    });
    for (name, heads) in [("append_32", BENCH_HEADS), ("append_1", 1)] {
        let mut appending = Appending::new(tokens, heads * BENCH_HEAD_DIM)?;
        turns.add(name, tokens, move || appending.one());
    }
    let as_much =
        Rc::new([2, 3].map(|seed| normal(tokens, BENCH_HEADS * BENCH_HEAD_DIM, seed)));
    let same = Rc::clone(&as_much);
    turns.add("read", tokens, move || {
        timed(|| sum_on_all_cores(&same.each_ref().map(DMatrix::as_slice)))
    });
    turns.add("read_alone", tokens, move || {
        timed(|| as_much.each_ref().map(|all| sum(all.as_slice())))
    });
    Ok(())
}

/// One call per head and one after the other, where `decoding::decode` lets cores share
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
