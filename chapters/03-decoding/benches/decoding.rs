//! Times a layer with and without a cache, chunks of a layer for the roofline beside what
//! the machine can do at best, and attention over a long cache.
//!
//!     cargo bench -p decoding               print the figures
//!     cargo bench -p decoding -- --record   and keep them in benches/recorded.csv

use attention::{Mask, attend};
use chapter_cli::bench::{Bench, sum, sum_on_all_cores, timed};
use decoding::experiments::{
    EARLIER, PRODUCT, READ_MIB, SHARED, TIMED, WIDE, filled, normal, random_layer,
};
use decoding::{KvCache, attend_few, decode, prefill};
use std::hint::black_box;

const SIZES: [usize; 8] = [16, 32, 64, 128, 256, 512, 1024, 2048];
const CHUNKS: [usize; 8] = [1, 8, 16, 32, 64, 128, 256, 512];
const LONG: usize = 8192;
const HEAD_DIM: usize = 128;

fn main() -> anyhow::Result<()> {
    let mut table = Bench::start();
    shared_keys(&mut table);
    machine(&mut table);
    with_and_without(&mut table)?;
    chunks(&mut table)?;
    one_query(&mut table);
    Ok(table.finish(env!("CARGO_MANIFEST_DIR"))?)
}

/// The n-th token, by running all n again and by running it alone.
fn with_and_without(table: &mut Bench) -> anyhow::Result<()> {
    let layer = random_layer(TIMED.0, TIMED.1)?;
    for n in SIZES {
        let x = normal(n, TIMED.0, 7);
        let last = x.rows(n - 1, 1).into_owned();
        let mut before = KvCache::new(n, TIMED.0, TIMED.0);
        prefill(&layer, &x.rows(0, n - 1).into_owned(), &mut before)?;
        let whole = || timed(|| layer.forward(&x, &Mask::Causal { offset: 0 }));
        let alone = || {
            let mut cache = before.clone();
            timed(|| decode(&layer, &last, &mut cache))
        };
        table.measure(&[("whole", n, &whole), ("alone", n, &alone)]);
    }
    Ok(())
}

/// How fast memory is read, and how fast products are computed, by all cores.
fn machine(table: &mut Bench) {
    let numbers = vec![1.0_f32; READ_MIB << 18];
    let read = || timed(|| sum_on_all_cores(&[&numbers]));
    let one = || timed(|| sum(&numbers));
    let (a, b) = (normal(PRODUCT, PRODUCT, 8), normal(PRODUCT, PRODUCT, 9));
    let product = || timed(|| &a * &b);
    table.measure(&[
        ("read", READ_MIB, &read),
        ("read_alone", READ_MIB, &one),
        ("product", PRODUCT, &product),
    ]);
}

/// Chunks of a wide layer, after tokens that are in the cache.
fn chunks(table: &mut Bench) -> anyhow::Result<()> {
    let layer = random_layer(WIDE.0, WIDE.1)?;
    let mut before = KvCache::new(EARLIER + 512, WIDE.0, WIDE.0);
    before.append(&normal(EARLIER, WIDE.0, 5), &normal(EARLIER, WIDE.0, 6))?;
    for n in CHUNKS {
        let x = normal(n, WIDE.0, 7);
        let chunk = || {
            let mut cache = before.clone();
            match n {
                1 => timed(|| decode(&layer, &x, &mut cache)),
                _ => timed(|| prefill(&layer, &x, &mut cache)),
            }
        };
        table.measure(&[("chunk", n, &chunk)]);
    }
    Ok(())
}

/// One query over a long cache, the plain way and the way of decoding.
fn one_query(table: &mut Bench) {
    for n in [1024, LONG] {
        let q = normal(1, HEAD_DIM, 1);
        let (k, v) = (normal(n, HEAD_DIM, 2), normal(n, HEAD_DIM, 3));
        let (q, k, v) = (q.as_view(), k.as_view(), v.as_view());
        let plain = || timed(|| attend(q, k, v, &Mask::None));
        let few = || timed(|| attend_few(q, k, v));
        table.measure(&[("attend", n, &plain), ("attend_few", n, &few)]);
    }
}

/// One token of 32 query heads over a long cache, when they share fewer kv heads: a call
/// for each of these, one after the other.
fn shared_keys(table: &mut Bench) {
    let caches = SHARED.map(|kv_heads| filled(LONG, kv_heads * HEAD_DIM));
    let caches = caches.map(|cache| cache.expect("it was made to fit"));
    let queries = SHARED.map(|kv_heads| normal(32 / kv_heads, kv_heads * HEAD_DIM, 1));
    let run = |i: usize| {
        let (q, cache) = (&queries[i], &caches[i]);
        let (keys, values) = (cache.keys(), cache.values());
        timed(|| {
            for h in 0..SHARED[i] {
                let head = h * HEAD_DIM;
                let (keys, values) =
                    (keys.columns(head, HEAD_DIM), values.columns(head, HEAD_DIM));
                let found = attend_few(q.columns(head, HEAD_DIM), keys, values);
                black_box(found).expect("the shapes fit");
            }
        })
    };
    let (a, b, c) = (|| run(0), || run(1), || run(2));
    table.measure(&[
        ("kv_heads", SHARED[0], &a),
        ("kv_heads", SHARED[1], &b),
        ("kv_heads", SHARED[2], &c),
    ]);
}
