//! `cargo run -p choosing`: the worked example; with flags, the calculator; and the
//! figures.

use anyhow::{Context, Result, bail};
use chapter_cli::Destination;
use checkpoint::{Bytes, Config, Dtype, Model as Opened};
use choosing::calculator::Question;
use choosing::machines::{self, MACHINES};
use choosing::{
    FeedForward, Machine, Mechanism, Model, Setting, config, example, experiments,
    figures,
};
use minilm::models::Window;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What each mechanism costs in a whole model: cache, memory, and the most tokens per
/// second that a machine can make.
///
/// Without flags, prints the chapter's worked example. With flags, answers for the model
/// that they describe: a config.json, a model by name, or a shape of your own.
///
/// Whatever no flag says is as in the file or the model by name, and otherwise as in
/// Llama-3-8B: 32 layers, 32 heads of 128 on 8 kv heads, no window; in every layer one
/// gated feed-forward network (three matrices) 14,336 wide, without experts; 128,256
/// tokens, with one matrix for the embedding and another for the logits; two norms per
/// layer and no biases. There is one device. Weights and cache are in half precision unless
/// the file says otherwise (dtype, `quantization_config`) or `--weight-bytes` and
/// `--cache-bytes` do.
#[derive(clap::Parser)]
#[command(name = "choosing", bin_name = "cargo run -p choosing --", version)]
#[command(max_term_width = 88, args_conflicts_with_subcommands = true)]
#[command(after_help = "\
Examples:
  cargo run -p choosing                                 print the worked example
  cargo run -p choosing -- plots                        draw images/14-choosing/
  cargo run -p choosing -- --heads 32 --kv-heads 8 --context 32768
  cargo run -p choosing -- --model DeepSeek-V3 --machine H200 --batch 64 --json
  cargo run -p choosing -- --config config.json --plot ceiling.svg
  cargo run -p choosing -- --layers 12 --heads 12 --head-dim 64 --ffn-dim 3072 \
      --ffn-matrices 2 --vocab 50257 --tied              about GPT-2
  cargo run -p choosing -- --window 4096 --window-layers 16
  cargo run -p choosing -- --model Llama-3.1-70B --devices 8 --batch 64
  cargo run -p choosing -- --experts 8 --chosen 2 --expert-dim 14336")]
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
    /// A config.json of Hugging Face, or the folder of one, or a GGUF
    ///
    /// Of the kinds llama, mistral, mixtral, qwen, gemma, phi3, gpt-oss, olmo2, glm4,
    /// stablelm, smollm3, granite, deepseek, minicpm3 and gpt2, or of a model of text
    /// and images around one of them. Keys that are absent mean what Transformers takes
    /// them to mean. A GGUF of the kind llama says the same in its header, and how many
    /// bytes its weights take.
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

    #[command(flatten)]
    network: Network,

    /// Different tokens: the vocabulary
    #[arg(long, value_name = "N", value_parser = count(1 << 28))]
    vocab: Option<u64>,

    /// One matrix is both the embedding and the one that makes logits
    #[arg(long)]
    tied: bool,

    /// They are two matrices
    #[arg(long, conflicts_with = "tied")]
    untied: bool,

    /// Width of a latent, in place of keys and values
    #[arg(long, value_name = "R", value_parser = count(1 << 20), conflicts_with = "kv_heads")]
    lora_rank: Option<u64>,

    /// Turned features beside the latent [default: half a head]
    #[arg(long, value_name = "D", value_parser = count(1 << 14), requires = "lora_rank")]
    rope_dim: Option<u64>,

    /// Tokens that a layer looks back at most
    #[arg(long, value_name = "N", value_parser = count(1 << 32))]
    window: Option<u64>,

    /// Layers that have the window; the others see all [default with --window: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(0..=10_000))]
    window_layers: Option<u64>,

    /// Tokens of each sequence [default: 8192]
    #[arg(long, value_name = "N", value_parser = count(1 << 32))]
    context: Option<u64>,

    /// Sequences at once [default: 1]
    #[arg(long, value_name = "B", value_parser = count(1 << 24))]
    batch: Option<u64>,

    /// Bytes per weight: 2 in half precision, 0.5 in 4 bits
    ///
    /// The default is what the file says, part by part, or else 2.
    #[arg(long, value_name = "BYTES", value_parser = size)]
    weight_bytes: Option<f64>,

    /// Bytes per number in the cache: 2 in half precision, 1 in 8 bits
    ///
    /// The default is that of the type that the file's layers compute in, or that of
    /// its quantized cache, or else 2.
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

    /// What it computes, in 10¹² floating-point operations per second
    #[arg(long, value_name = "TFLOPS", value_parser = size)]
    tflops: Option<f64>,

    /// Devices that divide every layer among themselves: tensor parallelism [default: 1]
    ///
    /// Query heads, hidden widths and the vocabulary are divided. Key/value heads are
    /// divided while there are at least as many as devices, and otherwise copied; a latent
    /// is copied to every device. Memory, bandwidth and arithmetic are those of one device.
    /// What the devices send one another is not counted.
    #[arg(long, value_name = "T", value_parser = count(1 << 16))]
    devices: Option<u64>,

    /// Print JSON in place of a table
    #[arg(long)]
    json: bool,

    /// Also draw the most tokens per second against the batch
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

/// What follows attention.
#[derive(clap::Args, Default, PartialEq)]
struct Network {
    /// Hidden width of the feed-forward network
    #[arg(long, value_name = "D", value_parser = count(1 << 20))]
    ffn_dim: Option<u64>,

    /// Its matrices: 3 if it is gated, 2 as in GPT-2, Falcon, BLOOM, OPT or
    /// `StarCoder2`
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..=3))]
    ffn_matrices: Option<u64>,

    /// Networks of a layer with experts
    #[arg(long, value_name = "E", value_parser = count(1 << 16))]
    experts: Option<u64>,

    /// Experts that a token uses [default for a model without experts: 1]
    #[arg(long, value_name = "K", value_parser = count(1 << 16))]
    chosen: Option<u64>,

    /// Hidden width of an expert [default for a model without experts: --ffn-dim]
    #[arg(long, value_name = "D", value_parser = count(1 << 20))]
    expert_dim: Option<u64>,

    /// Hidden width of the network that every token uses beside experts
    #[arg(long, value_name = "D", value_parser = clap::value_parser!(u64).range(0..=1 << 20))]
    shared_dim: Option<u64>,

    /// Layers without experts, of width --ffn-dim [default for a model without experts: 0]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(0..=10_000))]
    dense_layers: Option<u64>,
}

fn count(most: u64) -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..=most)
}

/// A number above 0, and not absurdly large.
fn size(text: &str) -> Result<f64, String> {
    let fits = |size: &f64| (1e-3..=1e9).contains(size);
    let size = text.parse().ok().filter(fits);
    size.ok_or_else(|| "not a number from 0.001 to 1000000000".to_owned())
}

impl Network {
    /// The feed-forward part of so many layers, if `before` is that of another number.
    fn of(&self, before: FeedForward, layers: u64) -> Result<FeedForward> {
        let matrices = self.ffn_matrices.unwrap_or(before.matrices);
        let old = before.dense_layers + before.expert_layers;
        let had = before.expert_layers > 0;
        let about_experts = [self.chosen, self.expert_dim, self.shared_dim]
            .iter()
            .chain([&self.experts, &self.dense_layers])
            .any(Option::is_some);
        let dense_dim = self.ffn_dim.unwrap_or(before.dense_dim);
        if !about_experts && (self.ffn_dim.is_some() || !had) {
            return Ok(FeedForward {
                matrices,
                ..FeedForward::dense(layers, dense_dim)
            });
        }
        if !had && self.experts.is_none() {
            bail!("--experts: say how many there are; the model has none yet");
        }
        if had && layers != old && self.dense_layers.is_none() {
            bail!(
                "--layers: give --dense-layers too, since experts are in some layers \
                 only, or --ffn-dim, for a model without experts"
            );
        }
        let dense_layers =
            self.dense_layers.unwrap_or(before.dense_layers * u64::from(had));
        if dense_layers > layers {
            bail!("--dense-layers {dense_layers}: there are {layers} layers");
        }
        let experts = self.experts.unwrap_or(before.experts);
        let chosen = self.chosen.unwrap_or(if had { before.chosen } else { 1 });
        if chosen > experts {
            bail!("--chosen {chosen}: there are {experts} experts");
        }
        if dense_layers > 0 && dense_dim == 0 {
            bail!("--dense-layers {dense_layers}: give --ffn-dim too, their width");
        }
        let expert_dim = if had { before.expert_dim } else { dense_dim };
        Ok(FeedForward {
            dense_layers,
            dense_dim,
            expert_layers: layers - dense_layers,
            expert_dim: self.expert_dim.unwrap_or(expert_dim),
            experts,
            chosen,
            shared_dim: self.shared_dim.unwrap_or(before.shared_dim),
            matrices,
        })
    }
}

impl Ask {
    fn question(&self) -> Result<Question> {
        let file = self.config.as_deref().map(Given::open).transpose()?;
        let stored = self.stored(file.as_ref())?;
        let setting = Setting {
            context: self.context.unwrap_or(8192),
            batch: self.batch.unwrap_or(1),
            weight_bytes: stored.weight_bytes,
            cache_bytes: self.cache_bytes.unwrap_or(stored.cache_bytes),
        };
        let model = self.model(file.as_ref().map(|file| &file.config))?;
        let devices = self.devices.unwrap_or(1);
        model.share(devices).with_context(|| format!("--devices {devices}"))?;
        let machine = self.machine()?;
        Ok(Question { model, machine, setting, devices, stored: stored.name })
    }

    /// What weights and cache take where no flag says it: what the file says, or two
    /// bytes for each number.
    fn stored(&self, file: Option<&Given>) -> Result<Stored> {
        const HALF: f64 = 2.0;
        if let Some(bytes) = self.weight_bytes {
            let weight_bytes = Bytes::all(bytes);
            return Ok(Stored { weight_bytes, cache_bytes: HALF, name: None });
        }
        let Some(file) = file else {
            let weight_bytes = Bytes::all(HALF);
            return Ok(Stored { weight_bytes, cache_bytes: HALF, name: None });
        };
        if let Some(bytes) = file.bytes_per_weight {
            let weight_bytes = Bytes::all(bytes);
            let name = Some(format!("GGUF, {bytes:.2} bytes each"));
            return Ok(Stored { weight_bytes, cache_bytes: HALF, name });
        }
        let file = &file.config;
        let storage = file.storage(HALF).with_context(|| self.file_name())?;
        let full = (file.dtype()? == Some(Dtype::F32)).then(|| "float32".to_owned());
        Ok(Stored {
            weight_bytes: storage.bytes,
            cache_bytes: storage.cache_bytes,
            name: storage.method.or(full),
        })
    }

    fn file_name(&self) -> String {
        let path = self.config.as_deref().unwrap_or(Path::new(""));
        path.display().to_string()
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

    fn model(&self, file: Option<&Config>) -> Result<Model> {
        let mut model = match (file, &self.model) {
            (Some(file), _) => {
                let name = self.file_name();
                config::model(&name, file).with_context(|| name.clone())?
            }
            (None, Some(name)) => experiments::model(name)?,
            (None, None) => experiments::model("Llama-3-8B")?,
        };
        let before = model.clone();
        model.layers = self.layers.unwrap_or(model.layers);
        model.vocab = self.vocab.unwrap_or(model.vocab);
        model.tied = (model.tied || self.tied) && !self.untied;
        model.mechanism = self.mechanism(&model)?;
        self.widths(&mut model);
        model.feed_forward = self.network.of(model.feed_forward, model.layers)?;
        model.window = self.windows(&model, before.layers)?;
        if file.is_none() && self.model.is_none() {
            // Two norms per layer and one at the end, of the width that it has now.
            model.small = (2 * model.layers + 1) * model.model_dim;
        }
        if model != before {
            "your shape".clone_into(&mut model.name);
        }
        Ok(model)
    }

    /// Which layers look back a fixed number of tokens, if there were `before` of all.
    fn windows(&self, model: &Model, before: u64) -> Result<Option<Window>> {
        let tokens = self.window.or(model.window.map(|window| window.tokens));
        let layers = match (self.window_layers, self.window, model.window) {
            (Some(layers), _, _) => layers,
            (None, Some(_), _) => model.layers,
            (None, None, Some(_)) if model.layers != before => {
                bail!("--layers: give --window-layers too, since some layers have one")
            }
            (None, None, window) => return Ok(window),
        };
        if layers > model.layers {
            bail!("--window-layers {layers}: there are {} layers", model.layers);
        }
        let Some(tokens) = tokens else {
            bail!("--window-layers: give --window too, the tokens that they look back");
        };
        Ok((layers > 0).then_some(Window { tokens, layers }))
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

/// What `--config` names.
struct Given {
    config: Config,
    /// What a weight takes on average, if the file holds the weights, too.
    bytes_per_weight: Option<f64>,
}

impl Given {
    fn open(path: &Path) -> Result<Given> {
        let mut start = [0; 4];
        let read = File::open(path).and_then(|mut file| file.read_exact(&mut start));
        if path.is_dir() || read.is_err() || start != *b"GGUF" {
            return Ok(Given { config: Config::read(path)?, bytes_per_weight: None });
        }
        let model = Opened::open(path)?;
        let weights = model.weights();
        let bytes_per_weight = weights.bytes() as f64 / weights.numbers().max(1) as f64;
        Ok(Given {
            config: model.config().clone(),
            bytes_per_weight: Some(bytes_per_weight),
        })
    }
}

/// What numbers take.
struct Stored {
    weight_bytes: Bytes,
    cache_bytes: f64,
    /// How a file says that its weights are stored, if not in half precision.
    name: Option<String>,
}

fn obey(line: &CommandLine, stdout: &mut dyn Write) -> Result<()> {
    if let Some(Command::Plots { out }) = &line.command {
        return chapter_cli::draw(
            "14-choosing",
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
