//! Times one head of width 64 over n: attention to all keys, and Linformer with 256 rows
//! left of them, its projections along the sequence included and on their own. In turns with
//! them, what the machine can do at best.
//!
//!     cargo bench -p linformer               print the times
//!     cargo bench -p linformer -- --record   and keep them in benches/recorded.csv
//!
//! Beside the fastest attention of the book, Linformer is timed by `cargo bench -p flash`.

use anyhow::Result;
use attention::{Mask, attend};
use chapter_cli::bench::{Bench, Roofs, Turns, timed, tried};
use linformer::attend_condensed;
use linformer::experiments::{BENCH_HEAD_DIM, BENCH_K, normal, random};
use nalgebra::DMatrix;
use std::rc::Rc;

const SIZES: [usize; 10] = [256, 384, 512, 640, 768, 1024, 1536, 2048, 4096, 8192];
/// Too many tokens for attention: the weights of 32,768 take 4 GiB.
const LONG: [usize; 2] = [16384, 32768];

fn main() -> Result<()> {
    let roofs = Roofs::new();
    let mut turns = Turns::new();
    roofs.take_turns(&mut turns);
    for n in SIZES.into_iter().chain(LONG) {
        one_head(&mut turns, n)?;
    }
    let mut bench = Bench::start();
    bench.measure(turns);
    Ok(bench.finish(env!("CARGO_MANIFEST_DIR"))?)
}

fn one_head(turns: &mut Turns, n: usize) -> Result<()> {
    let all = Rc::new([1, 2, 3].map(|seed| normal(n, BENCH_HEAD_DIM, seed)));
    let along = Rc::new([random(BENCH_K, n, 4)?, random(BENCH_K, n, 5)?]);
    let ([same, tokens], [maps, same_maps]) =
        ([&all, &all].map(Rc::clone), [&along, &along].map(Rc::clone));
    turns.add("linformer", n, move || {
        let ([q, k, v], [e, f]) = (&*same, &*maps);
        tried(|| attend_condensed(q.as_view(), k.as_view(), v.as_view(), e, f))
    });
    turns.add("condense", n, move || {
        let ([_, k, v], [e, f]) = (&*tokens, &*same_maps);
        timed(|| (e.forward(k.as_view()), f.forward(v.as_view())))
    });
    if SIZES.contains(&n) {
        turns.add("attention", n, move || {
            let [q, k, v] = all.each_ref().map(DMatrix::as_view);
            tried(|| attend(q, k, v, &Mask::None))
        });
    }
    Ok(())
}
