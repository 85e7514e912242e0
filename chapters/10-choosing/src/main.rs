//! `cargo run -p choosing`: the worked example; with flags, the calculator; and the figures.

use anyhow::{Context, Result, bail};
use chapter_cli::Destination;
use choosing::calculator::Question;
use choosing::config::{self, LONGEST};
use choosing::machines::{self, MACHINES};
use choosing::{
    FeedForward, Machine, Mechanism, Model, Setting, example, experiments, figures,
};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What each mechanism costs in a whole model: cache, memory, and the most tokens a second
/// that a machine can make.
///
/// Without flags, prints the chapter's worked example. With some, answers for the model
/// that they describe: a config.json, a model by name, or a shape of your own, which
/// starts from Llama-3-8B.
#[derive(clap::Parser)]
#[command(name = "choosing", bin_name = "cargo run -p choosing --", version)]
#[command(max_term_width = 88, args_conflicts_with_subcommands = true)]
#[command(after_help = "\
Examples:
  cargo run -p choosing                                 print the worked example
  cargo run -p choosing -- plots                        draw images/10-choosing/
  cargo run -p choosing -- --heads 32 --kv-heads 8 --context 32768
  cargo run -p choosing -- --model DeepSeek-V3 --machine H200 --batch 64 --json
  cargo run -p choosing -- --config config.json --plot ceiling.svg")]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    ask: Ask,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Draw the figures of the chapter
    Plots {
        /// The folder to draw into [default: the chapter's own in the book's images/]
        #[arg(long, value_name = "FOLDER")]
        out: Option<PathBuf>,
    },
}

#[derive(clap::Args, Default, PartialEq)]
struct Ask {
    /// A config.json of Hugging Face, of a Llama, Mistral, Qwen, Gemma or `DeepSeek` kind
    #[arg(long, value_name = "FILE", conflicts_with = "model")]
    config: Option<PathBuf>,

    /// A model that the book knows, such as Llama-3-8B
    #[arg(long, value_name = "NAME")]
    model: Option<String>,

    /// Layers
    #[arg(long, value_name = "N", value_parser = count(10_000))]
    layers: Option<u64>,

    /// Query heads
    #[arg(long, value_name = "H", value_parser = count(1 << 16))]
    heads: Option<u64>,

    /// Key/value heads; divides H [default with --heads: H]
    #[arg(long, value_name = "G", value_parser = count(1 << 16))]
    kv_heads: Option<u64>,

    /// Features of one head
    #[arg(long, value_name = "D", value_parser = count(1 << 14))]
    head_dim: Option<u64>,

    /// Features of a token [default with --heads or --head-dim: H · D]
    #[arg(long, value_name = "D", value_parser = count(1 << 20))]
    model_dim: Option<u64>,

    /// Hidden width of the feed-forward network
    #[arg(long, value_name = "D", value_parser = count(1 << 20))]
    ffn_dim: Option<u64>,

    /// Different tokens
    #[arg(long, value_name = "N", value_parser = count(1 << 28))]
    vocab: Option<u64>,

    /// Width of a latent, in place of keys and values
    #[arg(long, value_name = "R", value_parser = count(1 << 20), conflicts_with = "kv_heads")]
    lora_rank: Option<u64>,

    /// Turned features beside the latent [default: half a head]
    #[arg(long, value_name = "D", value_parser = count(1 << 14), requires = "lora_rank")]
    rope_dim: Option<u64>,

    /// Tokens that every layer looks back, at most
    #[arg(long, value_name = "N", value_parser = count(1 << 32))]
    window: Option<u64>,

    /// Tokens of each sequence [default: 8192]
    #[arg(long, value_name = "N", value_parser = count(1 << 32))]
    context: Option<u64>,

    /// Sequences at once [default: 1]
    #[arg(long, value_name = "B", value_parser = count(1 << 24))]
    batch: Option<u64>,

    /// Bytes of a weight: 2 in half precision, 0.5 in 4 bits [default: 2]
    #[arg(long, value_name = "BYTES", value_parser = size)]
    weight_bytes: Option<f64>,

    /// Bytes of a number in the cache [default: 2]
    #[arg(long, value_name = "BYTES", value_parser = size)]
    cache_bytes: Option<f64>,

    /// A machine that the book knows [default: H100]
    #[arg(long, value_name = "NAME")]
    machine: Option<String>,

    /// Its memory in GB (10⁹ bytes)
    #[arg(long, value_name = "GB", value_parser = size)]
    memory: Option<f64>,

    /// What it reads, in GB/s
    #[arg(long, value_name = "GB/S", value_parser = size)]
    bandwidth: Option<f64>,

    /// What it computes, in 10¹² floating-point operations a second
    #[arg(long, value_name = "TFLOPS", value_parser = size)]
    tflops: Option<f64>,

    /// Print JSON in place of a table
    #[arg(long)]
    json: bool,

    /// Also draw the most tokens a second against the batch
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

fn count(most: u64) -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..=most)
}

/// A number above 0 and not beyond belief.
fn size(text: &str) -> Result<f64, String> {
    let fits = |size: &f64| (1e-3..=1e9).contains(size);
    let size = text.parse().ok().filter(fits);
    size.ok_or_else(|| "not a number from 0.001 to 1000000000".to_owned())
}

impl Ask {
    fn question(&self) -> Result<Question> {
        let setting = Setting {
            context: self.context.unwrap_or(8192),
            batch: self.batch.unwrap_or(1),
            weight_bytes: self.weight_bytes.unwrap_or(2.0),
            cache_bytes: self.cache_bytes.unwrap_or(2.0),
        };
        Ok(Question { model: self.model()?, machine: self.machine()?, setting })
    }

    fn machine(&self) -> Result<Machine> {
        let name = self.machine.as_deref().unwrap_or("H100");
        let known = MACHINES.map(|machine| machine.name).join(", ");
        let mut machine = machines::find(name)
            .with_context(|| format!("--machine: `{name}` is none of {known}"))?;
        if self.memory.or(self.bandwidth).or(self.tflops).is_some() {
            machine.name = "your machine";
        }
        machine.memory = self.memory.map_or(machine.memory, |gb| gb * 1e9);
        machine.bandwidth = self.bandwidth.map_or(machine.bandwidth, |gb| gb * 1e9);
        machine.flops = self.tflops.map_or(machine.flops, |tera| tera * 1e12);
        Ok(machine)
    }

    fn model(&self) -> Result<Model> {
        let mut model = match (&self.config, &self.model) {
            (Some(path), _) => read(path)?,
            (None, Some(name)) => experiments::model(name)?,
            (None, None) => experiments::model("Llama-3-8B")?,
        };
        let before = model.clone();
        model.layers = self.layers.unwrap_or(model.layers);
        model.vocab = self.vocab.unwrap_or(model.vocab);
        model.mechanism = self.mechanism(&model)?;
        self.widths(&mut model);
        if let Some(dim) = self.ffn_dim {
            model.feed_forward = FeedForward::dense(model.layers, dim);
        } else if model.layers != before.layers {
            if model.feed_forward.expert_layers > 0 {
                bail!(
                    "--layers: give --ffn-dim too, since experts are in some layers only"
                );
            }
            model.feed_forward.dense_layers = model.layers;
        }
        model.window = match (self.window, model.window) {
            (Some(tokens), _) => {
                Some(minilm::models::Window { tokens, layers: model.layers })
            }
            (None, Some(_)) if model.layers != before.layers => {
                bail!("--layers: give --window too, since some layers have one")
            }
            (None, window) => window,
        };
        if model != before {
            "your shape".clone_into(&mut model.name);
        }
        Ok(model)
    }

    fn mechanism(&self, model: &Model) -> Result<Mechanism> {
        let (heads, kv_heads, width) = match model.mechanism {
            Mechanism::Shared { heads, kv_heads, qk_dim, .. } => {
                (heads, kv_heads, qk_dim)
            }
            Mechanism::Latent { heads, v_dim, .. } => (heads, heads, v_dim),
        };
        let untouched = [self.heads, self.kv_heads, self.head_dim, self.lora_rank];
        if untouched == [None; 4] {
            return Ok(model.mechanism);
        }
        let heads_given = self.heads.is_some();
        let heads = self.heads.unwrap_or(heads);
        let width = self.head_dim.unwrap_or(width);
        if let Some(lora_rank) = self.lora_rank {
            let rope_dim = self.rope_dim.unwrap_or(width.div_ceil(2));
            let (nope_dim, v_dim) = (width, width);
            let q_lora_rank = None;
            return Ok(Mechanism::Latent {
                heads,
                nope_dim,
                rope_dim,
                v_dim,
                lora_rank,
                q_lora_rank,
            });
        }
        let kv_heads =
            self.kv_heads.unwrap_or(if heads_given { heads } else { kv_heads });
        if !heads.is_multiple_of(kv_heads) {
            bail!(
                "--heads {heads} --kv-heads {kv_heads}: the groups would differ in size"
            );
        }
        Ok(Mechanism::Shared { heads, kv_heads, qk_dim: width, v_dim: width })
    }

    fn widths(&self, model: &mut Model) {
        let wide = match model.mechanism {
            Mechanism::Shared { heads, v_dim, .. }
            | Mechanism::Latent { heads, v_dim, .. } => heads * v_dim,
        };
        let new_heads = self.heads.or(self.head_dim).is_some();
        let default = if new_heads { wide } else { model.model_dim };
        model.model_dim = self.model_dim.unwrap_or(default);
    }
}

fn read(path: &Path) -> Result<Model> {
    let name = path.display().to_string();
    let said = || name.clone();
    let file = File::open(path).with_context(said)?;
    let mut text = String::new();
    file.take(LONGEST + 1).read_to_string(&mut text).with_context(said)?;
    if text.len() as u64 > LONGEST {
        bail!("{name}: longer than a configuration can be ({LONGEST} bytes)");
    }
    config::read(&name, &text).with_context(said)
}

fn obey(line: &CommandLine, stdout: &mut dyn Write) -> Result<()> {
    if let Some(Command::Plots { out }) = &line.command {
        return chapter_cli::draw(
            "10-choosing",
            &figures::all()?,
            out.as_deref(),
            stdout,
        );
    }
    if line.ask == Ask::default() {
        return Ok(writeln!(stdout, "{}", example::worked()?.trim_end())?);
    }
    let question = line.ask.question()?;
    // First what can fail, so that a failure leaves one line alone.
    if let Some(path) = &line.ask.plot {
        let destination = Destination::check(path)?;
        destination.write(figures::ceiling_of(&question)?.svg().as_bytes())?;
    }
    let answer = if line.ask.json { question.json()? } else { question.table() };
    Ok(writeln!(stdout, "{}", answer.trim_end())?)
}

fn main() -> ExitCode {
    let (stdout, stderr) = (&mut io::stdout(), &mut io::stderr());
    ExitCode::from(chapter_cli::run_own(std::env::args_os(), stdout, stderr, obey))
}
