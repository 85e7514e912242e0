//! `cargo run --release -p learning -- train`: one run on one task, or on a text.

use anyhow::{Context, Result, bail, ensure};
use chapter_cli::Destination;
use indicatif::{ProgressBar, ProgressStyle};
use learning::training::{
    Run, Settings, Shape, Sizes, Step, Task, Text, Variant, kept, restored,
};
use learning::{own, tales};
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
      --out copy.safetensors
  cargo run --release -p learning -- train text --out tales.safetensors";

/// What can be learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Lesson {
    /// Keys with their values, then the keys in another order: which was the value?
    Recall,
    /// Tokens, an end, and the same tokens once more
    Copy,
    /// Tokens that are all different, then the same in a circle: what followed this token?
    Induction,
    /// The fairy tales of this chapter, or --text: what is the next piece of a word?
    Text,
}

impl Lesson {
    fn task(self) -> Option<Task> {
        match self {
            Lesson::Recall => Some(Task::Recall),
            Lesson::Copy => Some(Task::Copy),
            Lesson::Induction => Some(Task::Induction),
            Lesson::Text => None,
        }
    }
}

/// Flags of `train`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// What is learned
    #[arg(value_enum, required_unless_present = "resume")]
    task: Option<Lesson>,

    /// A text to learn from, in place of the tales; its characters must occur in them
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,

    /// How the tokens look at one another
    #[arg(long, value_name = "M", value_enum, default_value_t = Variant::MultiHead)]
    mechanism: Variant,

    /// Pairs to recall, tokens to copy, a circle of so many, or pieces of a text
    /// [default: 16; 128 of a text]
    #[arg(long, value_name = "N", value_parser = count(4096))]
    size: Option<usize>,

    /// Of the weights and of every sequence: the same seed gives the same run
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,

    /// Steps in all [default: 400; 8000 of a text]
    #[arg(long, value_name = "N", value_parser = count(10_000_000))]
    steps: Option<usize>,

    /// Sequences in a step
    #[arg(long, value_name = "B", default_value_t = 32, value_parser = count(1 << 16))]
    batch: usize,

    /// Features of a token [default: 64; 128 for a text]
    #[arg(long, value_name = "D", value_parser = count(1 << 14))]
    width: Option<usize>,

    /// Blocks of attention and network [default: 2; 4 for a text]
    #[arg(long, value_name = "L", value_parser = count(1 << 10))]
    layers: Option<usize>,

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

    /// Features of a head [default: the width divided by the heads]
    #[arg(long, value_name = "D", value_parser = count(1 << 14))]
    head_dim: Option<usize>,

    /// Features of a latent: what a layer keeps of a token, with the rotated key
    ///
    /// A latent's heads have as many features that do not turn as other heads have in all.
    #[arg(long, value_name = "R", default_value_t = 12, value_parser = count(1 << 14))]
    rank: usize,

    /// Features of the rotated key that all heads of a latent share; an even number
    #[arg(long, value_name = "R", default_value_t = 4, value_parser = count(1 << 14))]
    rope_dim: usize,

    /// Keys and values that linformer leaves of a sequence
    #[arg(long, value_name = "R", default_value_t = 8, value_parser = count(1 << 16))]
    rows: usize,

    /// The largest rate of the optimizer: it rises for a tenth of the steps, then falls to a tenth
    /// [default: 0.003; 0.005 for a text]
    #[arg(long, value_name = "RATE", value_parser = rate)]
    rate: Option<f32>,

    /// Go on with a run that --out has kept; it has its task, sizes and seed with it
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "task", "mechanism", "size", "seed", "steps", "batch", "width", "layers", "heads",
        "kv_heads", "window", "head_dim", "rank", "rope_dim", "rows", "rate",
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
        Some(file) => resumed(file, arguments)?,
        None => begun(arguments)?,
    };
    let reads = run.text.is_some();
    let checked =
        |file: &Option<PathBuf>| file.as_deref().map(Destination::check).transpose();
    let (out, log) = (checked(&arguments.out)?, checked(&arguments.log)?);
    let parameters: usize =
        run.model.parameters().iter().map(|p| p.numbers.len()).sum();
    writeln!(stdout, "{parameters} parameters, from step {}", run.taken())?;
    let held_out = if reads { "held out" } else { "" };
    let head = format!("{:>6} {:>8} {:>9} {held_out:>9}", "step", "loss", "accuracy");
    writeln!(stdout, "{}", head.trim_end())?;

    let (bar, mut lines) = (bar(&run), LOG.to_owned());
    lines += if reads { ",held out\n" } else { "\n" };
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
        let mut line = format!("{step:>6} {loss:>8.4} {accuracy:>9.4}");
        lines += &format!("{step},{loss:.5},{accuracy:.5}");
        if let Some(held_out) = run.held_out_loss()? {
            line += &format!(" {held_out:>9.4}");
            lines += &format!(",{held_out:.5}");
        }
        lines.push('\n');
        bar.suspend(|| writeln!(stdout, "{line}"))?;
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
const LOG: &str = "step,loss,accuracy";

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

impl Arguments {
    fn sizes(&self, tokens: usize) -> Sizes {
        let &Arguments { kv_heads, window, rank, rope_dim, rows, .. } = self;
        Sizes { kv_heads, window, rank, rope_dim, rows, tokens }
    }
}

fn begun(arguments: &Arguments) -> Result<Run> {
    let lesson =
        arguments.task.context("which task? recall, copy, induction or text")?;
    let &Arguments { seed, batch, heads, .. } = arguments;
    let reads = lesson == Lesson::Text;
    let sized = |asked: Option<usize>, task, text| {
        asked.unwrap_or(if reads { text } else { task })
    };
    let rate = arguments.rate.unwrap_or(if reads { own::RATE } else { 3e-3 });
    let size = sized(arguments.size, 16, own::SIZE);
    let steps = sized(arguments.steps, 400, own::STEPS);
    let (width, layers) =
        (sized(arguments.width, 64, 128), sized(arguments.layers, 2, 4));
    let task = lesson.task();
    let settings =
        Settings { task, size, seed, steps, batch, rate, decay: 0.01, clip: 1.0 };
    let shape = match task {
        Some(task) => Shape::multi_head(task.vocabulary(size), width, layers, heads),
        None => Shape::of_text(tales::pieces().count(), width, layers, heads),
    };
    let shape = match arguments.head_dim {
        Some(head_dim) => shape.narrow(head_dim),
        None => shape,
    };
    let tokens = task.map_or(size, |task| task.tokens(size));
    let shape = shape.with(arguments.mechanism, &arguments.sizes(tokens));
    let mut run = Run::new(settings, shape)?;
    run.text = text(task, arguments)?;
    Ok(run)
}

/// What is read, where no task is drawn.
fn text(task: Option<Task>, arguments: &Arguments) -> Result<Option<Text>> {
    let text = match (&arguments.text, task) {
        (Some(_), Some(_)) => bail!("--text is for `train text`"),
        (None, Some(_)) => return Ok(None),
        (None, None) => tales::text()?,
        (Some(file), None) => fs::read_to_string(file)
            .with_context(|| format!("cannot read {}", file.display()))?,
    };
    Ok(Some(Text::new(tales::pieces().encode(&text)?)))
}

fn resumed(file: &Path, arguments: &Arguments) -> Result<Run> {
    let name = file.display();
    let bytes = fs::read(file).with_context(|| format!("cannot read {name}"))?;
    let mut run =
        restored(&bytes).with_context(|| format!("cannot go on with {name}"))?;
    let (taken, steps) = (run.taken(), run.settings.steps);
    ensure!(taken < steps, "{name}: the run is at its end, step {taken} of {steps}");
    run.text = text(run.settings.task, arguments)?;
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
