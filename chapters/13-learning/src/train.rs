//! `cargo run --release -p learning -- train`: one run on one task.

use anyhow::{Context, Result, ensure};
use chapter_cli::Destination;
use indicatif::{ProgressBar, ProgressStyle};
use learning::training::{Run, Settings, Shape, Step, Task, Variant, kept, restored};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

const EXAMPLES: &str = "\
Examples:
  cargo run --release -p learning -- train recall --mechanism multi-query --seed 2
  cargo run --release -p learning -- train induction --mechanism window --window 8 \\
      --log window.csv
  cargo run --release -p learning -- train copy --steps 2000 --out copy.safetensors
  cargo run --release -p learning -- train --resume copy.safetensors \\
      --out copy.safetensors";

/// Flags of `train`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// What is learned
    #[arg(value_enum, required_unless_present = "resume")]
    task: Option<Task>,

    /// How the tokens look at one another
    #[arg(long, value_name = "M", value_enum, default_value_t = Variant::MultiHead)]
    mechanism: Variant,

    /// Pairs to recall, tokens to copy, or a circle of so many
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = count(4096))]
    size: usize,

    /// Of the weights and of every sequence: the same seed gives the same run
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,

    /// Steps in all
    #[arg(long, value_name = "N", default_value_t = 400, value_parser = count(10_000_000))]
    steps: usize,

    /// Sequences in a step
    #[arg(long, value_name = "B", default_value_t = 32, value_parser = count(1 << 16))]
    batch: usize,

    /// Features of a token
    #[arg(long, value_name = "D", default_value_t = 64, value_parser = count(1 << 14))]
    width: usize,

    /// Blocks of attention and network
    #[arg(long, value_name = "L", default_value_t = 2, value_parser = count(1 << 10))]
    layers: usize,

    /// Query heads; divides the width
    #[arg(long, value_name = "H", default_value_t = 4, value_parser = count(1 << 10))]
    heads: usize,

    /// Key/value heads of grouped-query; divides H
    ///
    /// What the projections of keys and values lose, the networks gain, so that the model
    /// stays as large.
    #[arg(long, value_name = "G", default_value_t = 2, value_parser = count(1 << 10))]
    kv_heads: usize,

    /// Tokens that a token of window and window-and-first sees, itself among them
    #[arg(long, value_name = "W", default_value_t = 8, value_parser = count(1 << 16))]
    window: usize,

    /// The largest rate of the optimizer: it rises for a tenth of the steps, then falls to a tenth
    #[arg(long, value_name = "RATE", default_value_t = 3e-3, value_parser = rate)]
    rate: f32,

    /// Go on with a run that --out has kept; it has its task, sizes and seed with it
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "task", "mechanism", "size", "seed", "steps", "batch", "width", "layers", "heads",
        "kv_heads", "window", "rate",
    ])]
    resume: Option<PathBuf>,

    /// Keep the run here, as safetensors: every --every steps, and at the end
    ///
    /// The file is replaced in one step: whoever stops the run finds the last whole one.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Write loss and accuracy here, as csv
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,

    /// Steps that a line of the log, and of the output, is the mean of
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = count(1 << 20))]
    every: usize,
}

/// Trains, and says how it goes.
pub(crate) fn train(arguments: &Arguments, stdout: &mut dyn Write) -> Result<()> {
    let mut run = match &arguments.resume {
        Some(file) => resumed(file)?,
        None => begun(arguments)?,
    };
    let checked =
        |file: &Option<PathBuf>| file.as_deref().map(Destination::check).transpose();
    let (out, log) = (checked(&arguments.out)?, checked(&arguments.log)?);
    let parameters: usize =
        run.model.parameters().iter().map(|p| p.numbers.len()).sum();
    writeln!(stdout, "{parameters} parameters, from step {}", run.taken())?;
    writeln!(stdout, "{:>6} {:>8} {:>9}", "step", "loss", "accuracy")?;

    let (bar, mut lines) = (bar(&run), LOG.to_owned());
    let (mut since, keep) = (Mean::default(), |run: &mut Run| match &out {
        Some(out) => out.write(&kept(run)?),
        None => Ok(()),
    });
    let (start, mut read) = (Instant::now(), 0);
    while run.taken() < run.settings.steps {
        let step = run.step()?;
        read += step.tokens;
        since.add(step);
        bar.set_position(run.taken() as u64);
        let last = run.taken() == run.settings.steps;
        if !last && !run.taken().is_multiple_of(arguments.every) {
            continue;
        }
        let (loss, accuracy) = since.take();
        let step = run.taken();
        lines += &format!("{step},{loss:.5},{accuracy:.5}\n");
        bar.suspend(|| writeln!(stdout, "{step:>6} {loss:>8.4} {accuracy:>9.4}"))?;
        keep(&mut run)?;
    }
    bar.finish_and_clear();
    let seconds = start.elapsed().as_secs_f64();
    eprintln!(
        "{read} tokens in {seconds:.1} s, {:.0} per second",
        read as f64 / seconds
    );
    if let Some(log) = log {
        log.write(lines.as_bytes())?;
    }
    Ok(())
}

/// The head of a log.
const LOG: &str = "step,loss,accuracy\n";

/// Loss and accuracy of the steps since the last line.
#[derive(Default)]
struct Mean {
    steps: f64,
    loss: f64,
    accuracy: f64,
}

impl Mean {
    fn add(&mut self, step: Step) {
        self.steps += 1.0;
        self.loss += step.loss;
        self.accuracy += step.accuracy;
    }

    fn take(&mut self) -> (f64, f64) {
        let Mean { steps, loss, accuracy } = std::mem::take(self);
        (loss / steps, accuracy / steps)
    }
}

fn begun(arguments: &Arguments) -> Result<Run> {
    let task = arguments.task.context("which task? recall, copy or induction")?;
    let &Arguments { size, seed, steps, batch, rate, width, layers, heads, .. } =
        arguments;
    let settings =
        Settings { task, size, seed, steps, batch, rate, decay: 0.01, clip: 1.0 };
    let vocabulary = task.vocabulary(size);
    let (kv_heads, window) = (arguments.kv_heads, arguments.window);
    let shape = Shape::multi_head(vocabulary, width, layers, heads);
    let shape = shape.with(arguments.mechanism, kv_heads, window);
    Ok(Run::new(settings, shape)?)
}

fn resumed(file: &Path) -> Result<Run> {
    let name = file.display();
    let bytes = fs::read(file).with_context(|| format!("cannot read {name}"))?;
    let run = restored(&bytes).with_context(|| format!("cannot go on with {name}"))?;
    let (taken, steps) = (run.taken(), run.settings.steps);
    ensure!(taken < steps, "{name}: the run is at its end, step {taken} of {steps}");
    Ok(run)
}

fn bar(run: &Run) -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} {eta:>4}");
    let bar = ProgressBar::new(run.settings.steps as u64);
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn count(most: u64) -> impl clap::builder::TypedValueParser<Value = usize> {
    use clap::builder::TypedValueParser;
    clap::value_parser!(u64).range(1..=most).map(|count| count as usize)
}

fn rate(text: &str) -> Result<f32, String> {
    let rate = text.parse::<f32>().ok().filter(|rate| rate.is_finite() && *rate > 0.0);
    rate.ok_or_else(|| format!("{text}: wanted a number above 0, such as 0.003"))
}
