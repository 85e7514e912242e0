//! What a whole `SmolLM2` says, in nats, and what its heads do, for `nats.csv`:
//!
//! ```text
//! TRANSFORMER_MODEL=MODEL cargo bench -p transformer --bench nats -- --record
//! ```
//!
//! MODEL is a folder or a GGUF file. It takes about a quarter of an hour on two cores.

use anyhow::{Context, Result};
use attention::Mask;
use checkpoint::Model;
use nalgebra::DMatrix;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use std::fmt::Write;
use std::ops::ControlFlow;
use transformer::changes::{Merging, merged, through_latents};
use transformer::kept::Precision;
use transformer::loss::{Sight, surprises, surprises_of};
use transformer::watching::{Maps, Off, Stream, watched, watched_through};
use transformer::{Decoder, loading};

/// Tokens of the text whose loss is told.
const TEXT: usize = 1024;
/// Tokens of it with which every head is switched off once, and where heads look.
const PART: usize = 128;
/// Random tokens that are repeated once.
const RANDOM: usize = 24;

struct Rows(String);

impl Rows {
    fn add(&mut self, case: &str, setting: &str, number: f64) {
        eprintln!("{case},{setting},{number:.4}");
        writeln!(self.0, "{case},{setting},{number:.4}").expect("a string takes all");
    }
}

fn main() -> Result<()> {
    let Some(path) = std::env::var_os("TRANSFORMER_MODEL") else {
        eprintln!("TRANSFORMER_MODEL names no model: nothing is measured");
        return Ok(());
    };
    let model = Model::open(path.as_ref())?;
    let tokenizer = model.tokenizer()?;
    let text = std::fs::read_to_string(minilm::path("alice.txt"))?;
    let tokens = tokenizer.encode(&text)?;
    let tokens = tokens.get(..TEXT).context("a longer text is needed")?;
    let load = |precision| {
        let go_on = |_| ControlFlow::Continue(());
        loading::decoder(model.config(), model.weights(), precision, go_on)
    };
    let decoder = load(Precision::F32)?;
    let mut rows = Rows("case,setting,number\n".to_owned());

    rows.add("tokens", "whole", TEXT as f64);
    rows.add("tokens", "part", PART as f64);
    rows.add("loss", "whole", loss(&decoder, tokens, Sight::All)?);
    for window in [32, 64, 128, 256] {
        for (case, first) in [("window", 0), ("window and first four", 4)] {
            let nats = loss(&decoder, tokens, Sight::Window { window, first })?;
            rows.add(case, &window.to_string(), nats);
        }
    }
    for (name, merging) in [
        ("their mean", Merging::Mean),
        ("the first alone", Merging::First),
        ("their mean once aligned", Merging::Aligned),
    ] {
        rows.add(
            "groups",
            name,
            loss(&merged(&decoder, merging)?, tokens, Sight::All)?,
        );
    }
    for rank in [320, 256, 192, 128] {
        let nats = loss(&through_latents(&decoder, rank)?, tokens, Sight::All)?;
        rows.add("latent", &format!("{rank} numbers of 384"), nats);
    }
    for (name, precision) in [("bf16", Precision::Bf16), ("8 bits", Precision::Q8)] {
        rows.add("precision", name, loss(&load(precision)?, tokens, Sight::All)?);
    }
    look(&decoder, &tokens[..PART], &mut rows)?;
    repeated(&decoder, &mut rows)?;
    switch_off(&decoder, &tokens[..PART], &mut rows)?;
    lens(&decoder, &tokenizer.encode("The capital of France is")?, &mut rows)?;

    if std::env::args().any(|arg| arg == "--record") {
        let about = "# SmolLM2-135M-Instruct on alice.txt; losses in nats per token\n";
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/nats.csv");
        std::fs::write(folder, format!("{about}{}", rows.0))?;
    }
    Ok(())
}

fn loss(model: &Decoder, tokens: &[u32], sight: Sight) -> Result<f64> {
    let nats = surprises(model, tokens, sight, |_| ControlFlow::Continue(()))?;
    Ok(nats.iter().sum::<f64>() / nats.len() as f64)
}

const CAUSAL: Mask = Mask::Causal { offset: 0 };

fn name(layer: usize, head: usize) -> String {
    format!("layer {layer} head {head}")
}

/// Heads by the mean of `weight` over some queries, the largest first.
fn ranked(
    maps: &Maps,
    queries: std::ops::Range<usize>,
    key: impl Fn(usize) -> usize,
) -> Vec<(String, f64)> {
    let mut all = Vec::new();
    for (layer, heads) in maps.0.iter().enumerate() {
        for (head, weights) in heads.iter().enumerate() {
            let of = |query| f64::from(weights[(query, key(query))]);
            let mean = queries.clone().map(of).sum::<f64>() / queries.len() as f64;
            all.push((name(layer, head), mean));
        }
    }
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    all
}

/// Previous-token heads, and the weight on the first token by layer.
fn look(model: &Decoder, tokens: &[u32], rows: &mut Rows) -> Result<()> {
    let mut maps = Maps::default();
    watched(model, tokens, &CAUSAL, &mut maps)?;
    for (head, mean) in ranked(&maps, 1..tokens.len(), |query| query - 1).iter().take(8)
    {
        rows.add("previous", head, *mean);
    }
    for (layer, heads) in maps.0.iter().enumerate() {
        let on_first = |weights: &DMatrix<f32>| {
            f64::from(weights.column(0).rows(1, tokens.len() - 1).mean())
        };
        let mean = heads.iter().map(on_first).sum::<f64>() / heads.len() as f64;
        rows.add("first token", &layer.to_string(), mean);
    }
    Ok(())
}

/// Induction heads on random tokens that come twice, and the loss there without them.
fn repeated(model: &Decoder, rows: &mut Rows) -> Result<()> {
    let mut rng = ChaCha8Rng::seed_from_u64(20_240_101);
    let once: Vec<u32> =
        (0..RANDOM).map(|_| rng.random_range(100..model.vocab() as u32)).collect();
    let tokens = [&once[..], &once].concat();
    let mut maps = Maps::default();
    watched(model, &tokens, &CAUSAL, &mut maps)?;
    let found = ranked(&maps, RANDOM..2 * RANDOM, |query| query - RANDOM + 1);
    for (head, mean) in found.iter().take(8) {
        rows.add("induction", head, *mean);
    }
    let again = |watch: &mut Off| -> Result<[f64; 2]> {
        let hidden = watched(model, &tokens, &CAUSAL, watch)?;
        let nats = surprises_of(&model.logits(&hidden)?, &tokens[1..]);
        let mean = |some: &[f64]| some.iter().sum::<f64>() / some.len() as f64;
        Ok([mean(&nats[..RANDOM - 1]), mean(&nats[RANDOM..])])
    };
    let [first, second] = again(&mut Off(vec![]))?;
    rows.add("repeated", "first time", first);
    rows.add("repeated", "second time", second);
    let off = |many: usize| {
        let heads = found.iter().take(many).map(|(head, _)| parsed(head));
        Off(heads.collect())
    };
    for many in [4, 8, 16] {
        let [_, second] = again(&mut off(many))?;
        rows.add(
            "repeated",
            &format!("second time without {many} induction heads"),
            second,
        );
    }
    // As many heads, chosen blindly.
    let blind = (0..16).map(|_| (rng.random_range(0..30), rng.random_range(0..9)));
    let [_, second] = again(&mut Off(blind.collect()))?;
    rows.add("repeated", "second time without 16 random heads", second);
    Ok(())
}

fn parsed(name: &str) -> (usize, usize) {
    let mut words = name.split(' ').filter_map(|word| word.parse().ok());
    (words.next().unwrap_or(0), words.next().unwrap_or(0))
}

/// Each head off, one at a time: what is before its layer is computed once.
fn switch_off(model: &Decoder, tokens: &[u32], rows: &mut Rows) -> Result<()> {
    let mut stream = Stream::default();
    watched(model, tokens, &CAUSAL, &mut stream)?;
    let layers = model.blocks.len();
    let rest = |layer: usize, off: &mut Off| -> Result<f64> {
        let x = match layer {
            0 => model.embed(tokens, 0)?,
            _ => stream.0[layer - 1].clone(),
        };
        let x = watched_through(model, layer..layers, x, &CAUSAL, off)?;
        let nats = surprises_of(&model.logits(&model.norm.forward(&x)?)?, &tokens[1..]);
        Ok(nats.iter().sum::<f64>() / nats.len() as f64)
    };
    let whole = rest(0, &mut Off(vec![]))?;
    rows.add("loss", "part", whole);
    for layer in 0..layers {
        let heads = model.blocks[layer].attention.heads();
        let heads = heads.map_or(0, |heads| heads.parts.groups.heads());
        for head in 0..heads {
            let nats = rest(layer, &mut Off(vec![(layer, head)]))?;
            rows.add("head off", &name(layer, head), nats - whole);
        }
    }
    Ok(())
}

/// The share that each layer's rows would give the word that the last one says.
fn lens(model: &Decoder, tokens: &[u32], rows: &mut Rows) -> Result<()> {
    let mut stream = Stream::default();
    let hidden = watched(model, tokens, &CAUSAL, &mut stream)?;
    let last = |x: &DMatrix<f32>| x.rows(tokens.len() - 1, 1).into_owned();
    let logits = model.logits(&last(&hidden))?;
    let said = transformer::sampling::largest(logits.as_slice());
    for (layer, x) in stream.0.iter().enumerate() {
        let logits = model.logits(&model.norm.forward(&last(x))?)?;
        let share = (-surprises_of(&logits, &[said])[0]).exp();
        rows.add("lens", &layer.to_string(), share);
    }
    Ok(())
}
