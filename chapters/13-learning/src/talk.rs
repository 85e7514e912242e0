//! `cargo run --release -p learning -- talk`: what a model that was trained here has to say.

use anyhow::{Context, Result, ensure};
use chapter_cli::Destination;
use learning::inside::goes_on;
use learning::tales;
use learning::training::{Model, packed, restored, unpacked};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Flags of `talk`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What it goes on from
    #[arg(default_value = "Once upon a time")]
    text: String,

    /// Pieces of words that it says
    #[arg(long, value_name = "N", default_value_t = 120)]
    pieces: usize,

    /// What logits are divided by: 0 takes the likeliest piece each time
    #[arg(long, value_name = "T", default_value_t = 0.8)]
    temperature: f32,

    /// The same seed says the same
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,

    /// A model that `train text --out` or `pack` has written, in place of the chapter's own
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
}

/// Prints the text and what the model goes on with.
pub(crate) fn talk(arguments: &Arguments, stdout: &mut dyn Write) -> Result<()> {
    let &Arguments { ref text, pieces, temperature, seed, ref model } = arguments;
    let fits = temperature.is_finite() && temperature >= 0.0;
    ensure!(fits, "--temperature {temperature}: wanted a number from 0 on");
    // A temperature near 0 is the likeliest piece, without a case of its own.
    let temperature = temperature.max(1e-3);
    let read = model.as_deref().map(read).transpose()?;
    let model = read.as_ref().unwrap_or_else(|| tales::model());
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let said = goes_on(model, text, pieces, temperature, || rng.random())?;
    Ok(writeln!(stdout, "{text}{said}")?)
}

/// A model from a file of `train text --out`, or of `pack`.
fn read(file: &Path) -> Result<Model> {
    let name = file.display();
    let bytes = fs::read(file).with_context(|| format!("cannot read {name}"))?;
    let model = match restored(&bytes) {
        Ok(run) => run.model,
        Err(whole) => unpacked(&bytes)
            .map_err(|_| whole)
            .with_context(|| format!("{name} holds no model"))?,
    };
    let (wanted, found) = (tales::pieces().count(), model.shape().vocabulary);
    ensure!(
        found == wanted,
        "{name}: a vocabulary of {found}; the pieces of the tales are {wanted}"
    );
    Ok(model)
}

/// Keeps a trained model in 8 bits.
pub(crate) fn pack(input: &Path, output: &Path) -> Result<()> {
    let destination = Destination::check(output)?;
    let mut model = read(input)?;
    destination.write(&packed(&mut model)?)
}
