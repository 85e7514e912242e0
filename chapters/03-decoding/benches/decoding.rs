//! Times a layer with and without a cache, chunks of a layer and their parts, and attention
//! over a long cache, in turns with what the machine can do at best.
//!
//!     cargo bench -p decoding               print the times
//!     cargo bench -p decoding -- --record   and keep them in benches/recorded.csv

use anyhow::Result;
use attention::{Mask, attend};
use chapter_cli::bench::{Bench, Roofs, Turns, timed, tried};
use decoding::experiments::{
    EARLIER, SHARED, TIMED, WIDE, by_columns, filled, normal, random_layer,
};
use decoding::{KvCache, attend_few, decode, prefill};
use multi_head::MultiHeadAttention;
use nalgebra::{DMatrix, DMatrixView};
use rayon::prelude::*;
use std::hint::black_box;
use std::rc::Rc;

const SIZES: [usize; 8] = [16, 32, 64, 128, 256, 512, 1024, 2048];
const CHUNKS: [usize; 8] = [1, 8, 16, 32, 64, 128, 256, 512];
/// The chunk whose parts are timed as well.
const FEW: usize = 8;
const LONG: usize = 8192;
const HEAD_DIM: usize = 128;

fn main() -> Result<()> {
    let roofs = Roofs::new();
    let mut turns = Turns::new();
    roofs.take_turns(&mut turns);
    with_and_without(&mut turns)?;
    chunks(&mut turns)?;
    one_query(&mut turns);
    shared_keys(&mut turns)?;
    let mut bench = Bench::start();
    bench.measure(turns);
    Ok(bench.finish(env!("CARGO_MANIFEST_DIR"))?)
}

/// The n-th token, by running all n again and by running it alone.
fn with_and_without(turns: &mut Turns) -> Result<()> {
    let layer = Rc::new(random_layer(TIMED.0, TIMED.1)?);
    for n in SIZES {
        let x = normal(n, TIMED.0, 7);
        let last = x.rows(n - 1, 1).into_owned();
        let mut before = KvCache::new(n, TIMED.0, TIMED.0);
        prefill(&layer, &x.rows(0, n - 1).into_owned(), &mut before)?;
        let (whole, alone) = (Rc::clone(&layer), Rc::clone(&layer));
        turns.add("whole", n, move || {
            tried(|| whole.forward(&x, &Mask::Causal { offset: 0 }))
        });
        turns.add("alone", n, move || {
            let mut cache = before.clone();
            tried(|| decode(&alone, &last, &mut cache))
        });
    }
    Ok(())
}

/// Chunks of a wide layer, after tokens that are in the cache; and where the time of a
/// small one goes.
fn chunks(turns: &mut Turns) -> Result<()> {
    let layer = Rc::new(random_layer(WIDE.0, WIDE.1)?);
    let mut before = KvCache::new(EARLIER + 512, WIDE.0, WIDE.0);
    before.append(&normal(EARLIER, WIDE.0, 5), &normal(EARLIER, WIDE.0, 6))?;
    let before = Rc::new(before);
    for n in CHUNKS {
        let (layer, before, x) =
            (Rc::clone(&layer), Rc::clone(&before), normal(n, WIDE.0, 7));
        turns.add("chunk", n, move || {
            let mut cache = KvCache::clone(&before);
            match n {
                1 => tried(|| decode(&layer, &x, &mut cache)),
                _ => tried(|| prefill(&layer, &x, &mut cache)),
            }
        });
    }

    let cache = filled(EARLIER + FEW, WIDE.0)?;
    let (x, cache) = (normal(FEW, WIDE.0, 7), Rc::new(cache));
    let q = layer.project(&x, &x)?.q;
    turns.add("chunk_projections", FEW, move || timed(|| four_projections(&layer, &x)));
    let all = Rc::clone(&cache);
    turns.add("chunk_copies", FEW, move || {
        timed(|| each_head(all.keys(), |keys| keys.transpose()))
    });
    turns.add("chunk_heads", FEW, move || {
        timed(|| attend_all(&q, &cache, &Mask::Causal { offset: EARLIER }))
    });
    Ok(())
}

fn four_projections(layer: &MultiHeadAttention, x: &DMatrix<f32>) {
    let all = layer.project(x, x).expect("the shapes fit");
    black_box(layer.o_proj().forward(&all.v)).expect("the shapes fit");
    black_box(all);
}

/// Something with the part of each head, on all cores.
fn each_head<T: Send>(
    all: DMatrixView<f32>,
    run: impl Fn(DMatrixView<f32>) -> T + Sync,
) -> Vec<T> {
    let width = all.ncols() / WIDE.1;
    let heads = (0..WIDE.1).into_par_iter();
    heads.map(|h| run(all.columns(h * width, width))).collect()
}

/// What `prefill` does between the projections.
fn attend_all(q: &DMatrix<f32>, cache: &KvCache, mask: &Mask) {
    let width = q.ncols() / WIDE.1;
    let all = [q.as_view(), cache.keys(), cache.values()];
    let one = |h: usize| {
        let [q, k, v] = all.each_ref().map(|all| all.columns(h * width, width));
        attend(q, k, v, mask)
    };
    black_box((0..WIDE.1).into_par_iter().map(one).collect::<Vec<_>>());
}

/// Attention of queries to keys and values.
type Version = fn([DMatrixView<f32>; 3]);

/// One query over a long cache: as chapter 1 has it, in the plain way that copies nothing,
/// and in the way of decoding.
fn one_query(turns: &mut Turns) {
    for n in [1024, LONG] {
        let all = Rc::new([
            normal(1, HEAD_DIM, 1),
            normal(n, HEAD_DIM, 2),
            normal(n, HEAD_DIM, 3),
        ]);
        let keys = Rc::clone(&all);
        turns.add("transpose", n, move || timed(|| keys[1].transpose()));
        let versions: [(&str, Version); 3] = [
            ("attend", |[q, k, v]| {
                black_box(attend(q, k, v, &Mask::None)).expect("the shapes fit");
            }),
            ("by_columns", |[q, k, v]| {
                black_box(by_columns(q, k, v));
            }),
            ("attend_few", |[q, k, v]| {
                black_box(attend_few(q, k, v)).expect("the shapes fit");
            }),
        ];
        for (name, run) in versions {
            let all = Rc::clone(&all);
            turns.add(name, n, move || {
                let [q, k, v] = &*all;
                timed(|| run([q.as_view(), k.as_view(), v.as_view()]))
            });
        }
    }
}

/// One token of 32 query heads over a long cache, when they share fewer kv heads: a call
/// for each of these, one after the other.
fn shared_keys(turns: &mut Turns) -> Result<()> {
    for kv_heads in SHARED {
        let cache = filled(LONG, kv_heads * HEAD_DIM)?;
        let q = normal(32 / kv_heads, kv_heads * HEAD_DIM, 1);
        turns.add("kv_heads", kv_heads, move || {
            let all = [q.as_view(), cache.keys(), cache.values()];
            timed(|| {
                for h in 0..kv_heads {
                    let head = all.each_ref();
                    let [q, k, v] = head.map(|all| all.columns(h * HEAD_DIM, HEAD_DIM));
                    black_box(attend_few(q, k, v)).expect("the shapes fit");
                }
            })
        });
    }
    Ok(())
}
