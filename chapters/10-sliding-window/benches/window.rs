//! Times a pass over a text with a window and without, and a step through a ring and
//! through a cache that keeps everything.
//!
//!     cargo bench -p sliding-window               print the times
//!     cargo bench -p sliding-window -- --record   and keep them in benches/recorded.csv

use anyhow::Result;
use attention::Mask;
use chapter_cli::bench::{Bench, Turns, timed, tried};
use decoding::KvCache;
use decoding::experiments::normal;
use grouped_query::{Groups, attend_groups};
use sliding_window::RingCache;
use sliding_window::experiments::{
    LENGTHS, PASS, PASS_WINDOW, STEP, STEP_WINDOW, TOKENS, step_groups,
};
use std::rc::Rc;

/// Above this, the weights of all heads are more than a gigabyte.
const WHOLE: usize = 4096;

/// Steps between two times that the cache is filled anew: its text grows by no more.
const ROOM: usize = 64;

fn main() -> Result<()> {
    let mut bench = Bench::start();
    for n in TOKENS {
        let mut turns = Turns::new();
        passes(&mut turns, n)?;
        bench.measure(turns);
    }
    let mut turns = Turns::new();
    for n in LENGTHS {
        steps(&mut turns, n)?;
    }
    bench.measure(turns);
    Ok(bench.finish(env!("CARGO_MANIFEST_DIR"))?)
}

/// All heads of a text: in tiles without a window, in tiles with one, and with one that is
/// nothing but a mask on the whole matrix of weights.
fn passes(turns: &mut Turns, n: usize) -> Result<()> {
    let (heads, width) = PASS;
    let all = Rc::new([1, 2, 3].map(|seed| normal(n, heads * width, seed)));
    let groups = Groups::new(heads, heads)?;
    let window = Mask::Window { offset: 0, window: PASS_WINDOW };
    for (name, mask) in
        [("causal", Mask::Causal { offset: 0 }), ("window", window.clone())]
    {
        let all = Rc::clone(&all);
        turns.add(name, n, move || {
            let [q, k, v] = &*all;
            tried(|| flash::attend(q, k.as_view(), v.as_view(), groups, &mask))
        });
    }
    if n <= WHOLE {
        turns.add("masked", n, move || {
            let [q, k, v] = &*all;
            tried(|| attend_groups(q, k.as_view(), v.as_view(), groups, &window))
        });
    }
    Ok(())
}

/// One token after n others: its key and value are kept, and then it looks.
fn steps(turns: &mut Turns, n: usize) -> Result<()> {
    let (heads, kv_heads, width) = STEP;
    let groups = step_groups()?;
    let kv = kv_heads * width;
    let (keys, values) = (normal(n, kv, 5), normal(n, kv, 6));
    let mut ring = RingCache::new(STEP_WINDOW, kv, kv);
    ring.keep(&keys, &values)?;
    let q = Rc::new(normal(1, heads * width, 7));
    let (k, v) = (Rc::new(normal(1, kv, 8)), Rc::new(normal(1, kv, 9)));
    let one = (Rc::clone(&q), Rc::clone(&k), Rc::clone(&v));
    turns.add("ring", n, move || {
        timed(|| {
            ring.keep(&one.1, &one.2).expect("the widths are the ring's");
            flash::decode(&one.0, ring.keys(), ring.values(), groups)
        })
    });
    // Room for the window at least, as the ring has it.
    let mut cache = KvCache::new(n.max(STEP_WINDOW) + ROOM, kv, kv);
    turns.add("cache", n, move || {
        // Filled anew as seldom as can be: what was just written is read faster.
        if !(n..n + ROOM).contains(&cache.len()) {
            cache.clear();
            cache.append(&keys, &values).expect("there is room");
        }
        timed(|| {
            cache.append(&k, &v).expect("there is room");
            flash::decode(&q, cache.keys(), cache.values(), groups)
        })
    });
    Ok(())
}
