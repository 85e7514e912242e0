//! Times a whole model: one token at a time with weights in three forms, a prompt, and the
//! reading of memory that bounds the first.
//!
//! ```text
//! TRANSFORMER_MODEL=MODEL cargo bench -p transformer --bench transformer             print
//! TRANSFORMER_MODEL=MODEL cargo bench -p transformer --bench transformer -- --record keep
//! ```

use anyhow::Result;
use chapter_cli::bench::{Bench, Roofs, Turns, timed, tried};
use checkpoint::Model;
use std::ops::ControlFlow;
use std::time::Duration;
use transformer::kept::Precision;
use transformer::{Decoder, loading};

/// Tokens that are in the cache before the clock starts.
const BEFORE: usize = 128;
/// Tokens that are written, before the cache begins anew.
const ROOM: usize = 256;
/// Tokens of the prompt.
const PROMPT: usize = 512;

fn main() -> Result<()> {
    let Some(path) = std::env::var_os("TRANSFORMER_MODEL") else {
        eprintln!("TRANSFORMER_MODEL names no model: nothing is timed");
        return Ok(());
    };
    let model = Model::open(path.as_ref())?;
    let kinds =
        [("f32", Precision::F32), ("bf16", Precision::Bf16), ("q8", Precision::Q8)];
    let mut decoders = Vec::new();
    for (name, precision) in kinds {
        let go_on = |_| ControlFlow::Continue(());
        let decoder =
            loading::decoder(model.config(), model.weights(), precision, go_on)?;
        println!("{name}: {} MB of weights", decoder.bytes() / 1_000_000);
        decoders.push((name, decoder));
    }
    let roofs = Roofs::new();
    let mut turns = Turns::new();
    roofs.take_turns(&mut turns);
    for (name, decoder) in &decoders {
        turns.add(
            &format!("decode {name}"),
            decoder.bytes() / 1_000_000,
            writing(decoder)?,
        );
    }
    for (name, decoder) in &decoders {
        let prompt: Vec<u32> = (0..PROMPT as u32).map(|i| 100 + 7 * i).collect();
        turns.add(&format!("prompt {name}"), PROMPT, move || {
            let mut caches = decoder.caches(PROMPT);
            tried(|| decoder.next(&prompt, &mut caches))
        });
    }
    let mut bench = Bench::start();
    bench.measure(turns);
    Ok(bench.finish(env!("CARGO_MANIFEST_DIR"))?)
}

/// One token after the other, from a cache that holds some.
fn writing(decoder: &Decoder) -> Result<impl FnMut() -> Duration + '_> {
    let prompt: Vec<u32> = (0..BEFORE as u32).map(|i| 100 + 7 * i).collect();
    let mut start = decoder.caches(BEFORE + ROOM);
    decoder.next(&prompt, &mut start)?;
    let mut caches = start.clone();
    Ok(move || {
        if caches[0].len() == caches[0].capacity() {
            caches.clone_from(&start);
        }
        timed(|| decoder.next(&[1000], &mut caches).expect("there is room"))
    })
}
