//! Times one token's attention over a long cache, for several numbers of key/value heads,
//! in turns with a plain sum of the same cache and with what a step does before it attends.
//!
//!     cargo bench -p grouped-query               print the times
//!     cargo bench -p grouped-query -- --record   and keep them in benches/recorded.csv

use anyhow::Result;
use chapter_cli::bench::{Bench, Turns, sum_on_all_cores, timed, tried};
use decoding::experiments::{Appending, normal};
use grouped_query::experiments::{
    TIMED_CACHE, TIMED_HEAD_DIM, TIMED_HEADS, TIMED_KV_HEADS,
};
use grouped_query::{Groups, attend_stacked};
use std::rc::Rc;

fn main() -> Result<()> {
    let q = normal(1, TIMED_HEADS * TIMED_HEAD_DIM, 1);
    let mut turns = Turns::new();
    for kv_heads in TIMED_KV_HEADS {
        let width = kv_heads * TIMED_HEAD_DIM;
        let cache = Rc::new([2, 3].map(|seed| normal(TIMED_CACHE, width, seed)));
        let groups = Groups::new(TIMED_HEADS, kv_heads)?;
        let (q, kept) = (&q, Rc::clone(&cache));
        turns.add("stacked", kv_heads, move || {
            let [k, v] = &*kept;
            tried(|| attend_stacked(q, k.as_view(), v.as_view(), groups))
        });
        turns.add("read", kv_heads, move || {
            let [k, v] = &*cache;
            timed(|| sum_on_all_cores(&[k.as_slice(), v.as_slice()]))
        });
        let mut appending = Appending::new(TIMED_CACHE, width)?;
        turns.add("append", kv_heads, move || appending.one());
    }
    let mut bench = Bench::start();
    bench.measure(turns);
    Ok(bench.finish(env!("CARGO_MANIFEST_DIR"))?)
}
