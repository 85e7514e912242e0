//! Times one token's attention over latents in both forms, beside layers that cache keys
//! and values; chunks of tokens in both forms; and what the machine can do at best. All
//! of them use all cores.
//!
//!     cargo bench -p latent               print the times
//!     cargo bench -p latent -- --record   and keep them in benches/recorded.csv

use attention::Mask;
use chapter_cli::bench::{Bench, sum_on_all_cores, timed};
use decoding::experiments::normal;
use grouped_query::{Groups, attend_stacked};
use latent::experiments::{
    BEFORE, CACHED, CHUNKS, KV_HEADS, PRODUCT, READ_MIB, SCALED, Shape, scaled_layer,
};
use latent::{Form, Sizes};
use nalgebra::DMatrix;
use std::hint::black_box;

const SHAPE: Shape = SCALED;

fn main() -> anyhow::Result<()> {
    let mut bench = Bench::start();
    machine(&mut bench);
    decoding(&mut bench)?;
    chunks(&mut bench)?;
    Ok(bench.finish(env!("CARGO_MANIFEST_DIR"))?)
}

/// How fast memory is read, and how fast products are computed, by all cores.
fn machine(bench: &mut Bench) {
    let numbers = vec![1.0_f32; READ_MIB << 18];
    let read = || timed(|| sum_on_all_cores(&[&numbers]));
    let (a, b) = (normal(PRODUCT, PRODUCT, 8), normal(PRODUCT, PRODUCT, 9));
    let product = || timed(|| &a * &b);
    bench.measure(&[("read", READ_MIB, &read), ("product", PRODUCT, &product)]);
}

/// One token over a cache of latents, of expanded keys and values, of grouped ones, and
/// of one key and value a head.
fn decoding(bench: &mut Bench) -> anyhow::Result<()> {
    let layer = scaled_layer()?;
    let Shape { sizes: Sizes { heads, rope_dim, v_dim, .. }, .. } = SHAPE;
    for cached in CACHED {
        let q = layer.queries(&normal(1, 64, 5), cached)?;
        let kept = normal(cached, SHAPE.kept(), 6);
        let one = |form| timed(|| layer.attend_one(&q, kept.as_view(), form));
        let (naive, absorbed) = (|| one(Form::Naive), || one(Form::Absorbed));

        let expanded = layer.expand(kept.as_view())?;
        let r = kept.columns(SHAPE.lora_rank, rope_dim);
        let keep_all = || timed(|| layer.attend_expanded(&q, &expanded, r));

        let full = normal(1, heads * v_dim, 1);
        let others = [KV_HEADS, heads].map(|kv_heads| {
            let width = kv_heads * v_dim;
            (kv_heads, normal(cached, width, 2), normal(cached, width, 3))
        });
        let other = |i: usize| timed(|| grouped(&full, &others[i]));
        let (few, many) = (|| other(0), || other(1));
        bench.measure(&[
            ("naive", cached, &naive),
            ("absorbed", cached, &absorbed),
            ("expanded", cached, &keep_all),
            ("grouped", cached, &few),
            ("multi_head", cached, &many),
        ]);
    }
    Ok(())
}

/// Chapter 5's decoding.
fn grouped(q: &DMatrix<f32>, (kv_heads, k, v): &(usize, DMatrix<f32>, DMatrix<f32>)) {
    let heads = q.ncols() * kv_heads / k.ncols();
    let groups = Groups::new(heads, *kv_heads).expect("they divide");
    let found = attend_stacked(q, k.as_view(), v.as_view(), groups);
    black_box(found).expect("the shapes fit");
}

/// So many tokens at once, after those in the cache.
fn chunks(bench: &mut Bench) -> anyhow::Result<()> {
    let layer = scaled_layer()?;
    for new in CHUNKS {
        let q = layer.queries(&normal(new, 64, 5), BEFORE)?;
        let kept = normal(BEFORE + new, SHAPE.kept(), 6);
        let causal = Mask::Causal { offset: BEFORE };
        let run = |form| match new {
            1 => timed(|| layer.attend_one(&q, kept.as_view(), form)),
            _ => timed(|| layer.attend(&q, kept.as_view(), &causal, form)),
        };
        let (naive, absorbed) = (|| run(Form::Naive), || run(Form::Absorbed));
        bench.measure(&[
            ("chunk_naive", new, &naive),
            ("chunk_absorbed", new, &absorbed),
        ]);
    }
    Ok(())
}
