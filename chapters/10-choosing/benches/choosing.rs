//! Times one token over a long cache, and a long prompt, for every mechanism of the book in
//! the fastest code that it has; and what the machine can do at best. All of them use all
//! cores.
//!
//!     cargo bench -p choosing               print the times
//!     cargo bench -p choosing -- --record   and keep them in benches/recorded.csv

use attention::Mask;
use chapter_cli::bench::{Bench, sum_on_all_cores, timed};
use choosing::experiments::{
    CACHED, HEAD_DIM, HEADS, KV_HEADS, PRODUCT, PROMPT, READ_MIB, ROWS,
};
use decoding::experiments::normal;
use grouped_query::{Groups, attend_groups};
use latent::Form;
use latent::experiments::{SCALED, scaled_layer};
use linformer::experiments::random;
use nalgebra::DMatrix;
use std::hint::black_box;
use std::time::Duration;

fn main() -> anyhow::Result<()> {
    let mut bench = Bench::start();
    decoding(&mut bench)?;
    prompts(&mut bench)?;
    Ok(bench.finish(env!("CARGO_MANIFEST_DIR"))?)
}

/// One token over a cache of keys and values, or of latents, in turns with a plain sum of
/// the largest of these caches.
fn decoding(bench: &mut Bench) -> anyhow::Result<()> {
    let q = normal(1, HEADS * HEAD_DIM, 1);
    let caches = KV_HEADS.map(|kv_heads| {
        let width = kv_heads * HEAD_DIM;
        (kv_heads, normal(CACHED, width, 2), normal(CACHED, width, 3))
    });
    let one = |i: usize| {
        let (kv_heads, k, v): &(usize, DMatrix<f32>, DMatrix<f32>) = &caches[i];
        let groups = Groups::new(HEADS, *kv_heads).expect("they divide");
        timed(|| flash::decode(&q, k.as_view(), v.as_view(), groups).expect("they fit"))
    };
    let (_, all_keys, all_values) = &caches[0];
    let read =
        || timed(|| sum_on_all_cores(&[all_keys.as_slice(), all_values.as_slice()]));
    let names = KV_HEADS.map(|kv_heads| format!("decode_{kv_heads}"));
    let runs: [_; 4] = std::array::from_fn(|i| move || one(i));

    let layer = scaled_layer()?;
    let asked = layer.queries(&normal(1, 64, 5), CACHED)?;
    let kept = normal(CACHED, SCALED.kept(), 6);
    let latent = || timed(|| layer.attend_one(&asked, kept.as_view(), Form::Absorbed));

    let mut cases: Vec<(&str, usize, &dyn Fn() -> Duration)> =
        vec![("decode_latent", CACHED, &latent), ("read", READ_MIB, &read)];
    for (name, run) in names.iter().zip(&runs) {
        cases.push((name, CACHED, run));
    }
    bench.measure(&cases);
    Ok(())
}

/// A prompt at once, in turns with a large product, by all cores. All but Linformer are
/// causal.
fn prompts(bench: &mut Bench) -> anyhow::Result<()> {
    let width = HEADS * HEAD_DIM;
    let (q, k, v) =
        (normal(PROMPT, width, 1), normal(PROMPT, width, 2), normal(PROMPT, width, 3));
    let causal = Mask::Causal { offset: 0 };
    let all = Groups::new(HEADS, HEADS)?;
    let (keys, values) = (k.as_view(), v.as_view());
    let matrix = || timed(|| attend_groups(&q, keys, values, all, &causal));
    let tiles = || timed(|| flash::attend(&q, keys, values, all, &causal));
    let one = Groups::new(HEADS, 1)?;
    let (first, second) = (k.columns(0, HEAD_DIM), v.columns(0, HEAD_DIM));
    let tiles_of_one = || timed(|| flash::attend(&q, first, second, one, &causal));

    let layer = scaled_layer()?;
    let asked = layer.queries(&normal(PROMPT, 64, 5), 0)?;
    let kept = normal(PROMPT, SCALED.kept(), 6);
    let latent = |form| timed(|| layer.attend(&asked, kept.as_view(), &causal, form));
    let (naive, absorbed) = (|| latent(Form::Naive), || latent(Form::Absorbed));

    let (e, f) = (random(ROWS, PROMPT, 7)?, random(ROWS, PROMPT, 8)?);
    let linformer = || {
        timed(|| {
            let condensed = (e.forward(keys), f.forward(values));
            let (k, v) = (condensed.0.expect("it fits"), condensed.1.expect("it fits"));
            black_box(attend_groups(&q, k.as_view(), v.as_view(), all, &Mask::None))
        })
    };
    let (a, b) = (normal(PRODUCT, PRODUCT, 8), normal(PRODUCT, PRODUCT, 9));
    let product = || timed(|| &a * &b);
    bench.measure(&[
        ("product", PRODUCT, &product),
        ("prompt_matrix", PROMPT, &matrix),
        ("prompt_flash_16", PROMPT, &tiles),
        ("prompt_flash_1", PROMPT, &tiles_of_one),
        ("prompt_latent", PROMPT, &naive),
        ("prompt_absorbed", PROMPT, &absorbed),
        ("prompt_linformer", PROMPT, &linformer),
    ]);
    Ok(())
}
