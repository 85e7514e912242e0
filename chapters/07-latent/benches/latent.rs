//! Times one token's attention over latents in both forms, beside layers that cache keys
//! and values; chunks of tokens in both forms, and where their time goes; all in turns with
//! what the machine can do at best. All of them use all cores.
//!
//!     cargo bench -p latent               print the times
//!     cargo bench -p latent -- --record   and keep them in benches/recorded.csv

use anyhow::Result;
use attention::{Mask, average, softmax};
use chapter_cli::bench::{Bench, Roofs, Turns, timed, tried};
use decoding::experiments::normal;
use decoding::few;
use grouped_query::{Groups, attend_stacked};
use latent::experiments::{
    BEFORE, CACHED, CHUNKS, KV_HEADS, PARTS_OF, SCALED, Shape, scaled_layer,
};
use latent::{Form, LatentAttention, Sizes};
use nalgebra::DMatrix;
use std::hint::black_box;
use std::rc::Rc;

const SHAPE: Shape = SCALED;

fn main() -> Result<()> {
    let (roofs, layer) = (Roofs::new(), scaled_layer()?);
    let mut turns = Turns::new();
    roofs.take_turns(&mut turns);
    for cached in CACHED {
        decoding(&mut turns, &layer, cached)?;
    }
    for new in CHUNKS {
        chunk(&mut turns, &layer, new)?;
    }
    parts_of_a_chunk(&mut turns, &layer);
    let mut bench = Bench::start();
    bench.measure(turns);
    Ok(bench.finish(env!("CARGO_MANIFEST_DIR"))?)
}

/// One token over a cache of latents, of expanded keys and values, of grouped ones, and
/// of one key and value per head.
fn decoding<'a>(
    turns: &mut Turns<'a>,
    layer: &'a LatentAttention,
    cached: usize,
) -> Result<()> {
    let Shape { sizes: Sizes { heads, rope_dim, v_dim, .. }, .. } = SHAPE;
    let q = Rc::new(layer.queries(&normal(1, 64, 5), cached)?);
    let kept = Rc::new(normal(cached, SHAPE.kept(), 6));
    for (name, form) in [("naive", Form::Naive), ("absorbed", Form::Absorbed)] {
        let (q, kept) = (Rc::clone(&q), Rc::clone(&kept));
        turns.add(name, cached, move || {
            tried(|| layer.attend_one(&q, kept.as_view(), form))
        });
    }
    let expanded = layer.expand(kept.as_view())?;
    turns.add("expanded", cached, move || {
        let r = kept.columns(SHAPE.lora_rank, rope_dim);
        tried(|| layer.attend_expanded(&q, &expanded, r))
    });
    for (name, kv_heads) in [("grouped", KV_HEADS), ("multi_head", heads)] {
        let q = normal(1, heads * v_dim, 1);
        let [k, v] = [2, 3].map(|seed| normal(cached, kv_heads * v_dim, seed));
        let groups = Groups::new(heads, kv_heads)?;
        turns.add(name, cached, move || {
            tried(|| attend_stacked(&q, k.as_view(), v.as_view(), groups))
        });
    }
    Ok(())
}

/// So many tokens at once, after those in the cache.
fn chunk<'a>(
    turns: &mut Turns<'a>,
    layer: &'a LatentAttention,
    new: usize,
) -> Result<()> {
    let q = Rc::new(layer.queries(&normal(new, 64, 5), BEFORE)?);
    let kept = Rc::new(normal(BEFORE + new, SHAPE.kept(), 6));
    for (name, form) in
        [("chunk_naive", Form::Naive), ("chunk_absorbed", Form::Absorbed)]
    {
        let (q, kept) = (Rc::clone(&q), Rc::clone(&kept));
        turns.add(name, new, move || {
            if new == 1 {
                return tried(|| layer.attend_one(&q, kept.as_view(), form));
            }
            let causal = Mask::Causal { offset: BEFORE };
            tried(|| layer.attend(&q, kept.as_view(), &causal, form))
        });
    }
    Ok(())
}

/// What a chunk near the crossing is made of, each part with the numbers of the whole. The
/// naive form expands, and its heads attend; the absorbed form has products that serve all
/// heads, and a softmax in between.
fn parts_of_a_chunk<'a>(turns: &mut Turns<'a>, layer: &'a LatentAttention) {
    let (seen, heads) = (BEFORE + PARTS_OF, SHAPE.sizes.heads);
    let rows = heads * PARTS_OF;
    let kept = Rc::new(normal(seen, SHAPE.kept(), 6));
    let latents = Rc::clone(&kept);
    turns.add("part_expand", PARTS_OF, move || {
        tried(|| layer.expand(latents.as_view()))
    });

    let (asks, keys) = (normal(rows, SHAPE.kept(), 5), Rc::clone(&kept));
    turns.add("part_scores", PARTS_OF, move || {
        timed(|| few::scores(&asks, keys.as_view()))
    });
    let scores = normal(seen, rows, 7);
    turns.add("part_softmax", PARTS_OF, move || {
        timed(|| softmax_of_each(&scores, heads))
    });
    let stack = softmax(normal(rows, seen, 8));
    turns.add("part_average", PARTS_OF, move || {
        let latents = kept.columns(0, SHAPE.lora_rank);
        timed(|| average(stack.as_view(), latents, |_, _| true))
    });
}

/// The scores of all heads in columns, to the weights of each in rows.
fn softmax_of_each(scores: &DMatrix<f32>, heads: usize) {
    let n = scores.ncols() / heads;
    for h in 0..heads {
        let mut scores = scores.columns(h * n, n).transpose();
        let mask = Mask::Causal { offset: BEFORE };
        mask.hide(&mut scores).expect("the shapes fit");
        black_box(softmax(scores));
    }
}
