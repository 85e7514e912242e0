//! Times one token over a long cache, and a long prompt, for every mechanism of the book in
//! the fastest code that it has, in turns with what the machine can do at best. All of them
//! use all cores.
//!
//!     cargo bench -p choosing               print the times
//!     cargo bench -p choosing -- --record   and keep them in benches/recorded.csv

use anyhow::Result;
use attention::Mask;
use chapter_cli::bench::{Bench, Roofs, Turns, sum_on_all_cores, timed, tried};
use choosing::experiments::{
    CACHED, HEAD_DIM, HEADS, KV_HEADS, PROMPT, READ_MIB, ROWS,
};
use decoding::experiments::normal;
use grouped_query::{Groups, attend_groups};
use latent::Form;
use latent::experiments::{SCALED, scaled_layer};
use linformer::experiments::random;
use nalgebra::DMatrix;
use std::hint::black_box;
use std::rc::Rc;

fn main() -> Result<()> {
    let roofs = Roofs::new();
    let mut turns = Turns::new();
    roofs.take_turns(&mut turns);
    decoding(&mut turns)?;
    prompts(&mut turns)?;
    latents(&mut turns)?;
    let mut bench = Bench::start();
    bench.measure(turns);
    Ok(bench.finish(env!("CARGO_MANIFEST_DIR"))?)
}

/// One token over a cache of keys and values, and a plain sum of the largest of them.
fn decoding(turns: &mut Turns) -> Result<()> {
    let q = Rc::new(normal(1, HEADS * HEAD_DIM, 1));
    for kv_heads in KV_HEADS {
        let q = Rc::clone(&q);
        let [k, v] = [2, 3].map(|seed| normal(CACHED, kv_heads * HEAD_DIM, seed));
        let groups = Groups::new(HEADS, kv_heads)?;
        let cache = Rc::new([k, v]);
        if kv_heads == HEADS {
            let cache = Rc::clone(&cache);
            turns.add("read_cache", READ_MIB, move || {
                timed(|| sum_on_all_cores(&cache.each_ref().map(DMatrix::as_slice)))
            });
        }
        turns.add(&format!("decode_{kv_heads}"), CACHED, move || {
            let [k, v] = cache.each_ref().map(DMatrix::as_view);
            tried(|| flash::decode(&q, k, v, groups))
        });
    }
    Ok(())
}

/// A prompt at once. All but Linformer are causal.
fn prompts(turns: &mut Turns) -> Result<()> {
    let width = HEADS * HEAD_DIM;
    let all = Rc::new([1, 2, 3].map(|seed| normal(PROMPT, width, seed)));
    let causal = Mask::Causal { offset: 0 };
    let [each, one] = [Groups::new(HEADS, HEADS)?, Groups::new(HEADS, 1)?];

    let (same, mask) = (Rc::clone(&all), causal.clone());
    turns.add("prompt_matrix", PROMPT, move || {
        let [q, k, v] = &*same;
        tried(|| attend_groups(q, k.as_view(), v.as_view(), each, &mask))
    });
    let (same, mask) = (Rc::clone(&all), causal.clone());
    turns.add("prompt_flash_16", PROMPT, move || {
        let [q, k, v] = &*same;
        tried(|| flash::attend(q, k.as_view(), v.as_view(), each, &mask))
    });
    let same = Rc::clone(&all);
    turns.add("prompt_flash_1", PROMPT, move || {
        let [q, k, v] = &*same;
        let (k, v) = (k.columns(0, HEAD_DIM), v.columns(0, HEAD_DIM));
        tried(|| flash::attend(q, k, v, one, &causal))
    });
    let (e, f) = (random(ROWS, PROMPT, 7)?, random(ROWS, PROMPT, 8)?);
    turns.add("prompt_linformer", PROMPT, move || {
        let [q, k, v] = &*all;
        timed(|| {
            let condensed = (e.forward(k.as_view()), f.forward(v.as_view()));
            let (k, v): (DMatrix<f32>, DMatrix<f32>) =
                (condensed.0.expect("it fits"), condensed.1.expect("it fits"));
            black_box(attend_groups(q, k.as_view(), v.as_view(), each, &Mask::None))
        })
    });
    Ok(())
}

/// One token, and a prompt, of the latent layer.
fn latents(turns: &mut Turns) -> Result<()> {
    let layer = Rc::new(scaled_layer()?);
    let asked = layer.queries(&normal(1, 64, 5), CACHED)?;
    let kept = normal(CACHED, SCALED.kept(), 6);
    let same = Rc::clone(&layer);
    turns.add("decode_latent", CACHED, move || {
        tried(|| same.attend_one(&asked, kept.as_view(), Form::Absorbed))
    });

    let asked = Rc::new(layer.queries(&normal(PROMPT, 64, 5), 0)?);
    let kept = Rc::new(normal(PROMPT, SCALED.kept(), 6));
    for (name, form) in
        [("prompt_latent", Form::Naive), ("prompt_absorbed", Form::Absorbed)]
    {
        let (layer, asked, kept) =
            (Rc::clone(&layer), Rc::clone(&asked), Rc::clone(&kept));
        turns.add(name, PROMPT, move || {
            let causal = Mask::Causal { offset: 0 };
            tried(|| layer.attend(&asked, kept.as_view(), &causal, form))
        });
    }
    Ok(())
}
