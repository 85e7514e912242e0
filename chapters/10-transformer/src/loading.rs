//! From an opened checkpoint to a model. What a configuration says and this chapter does
//! not compute is refused by name, and so is a tensor that nothing would read.

use crate::encoder::{Activation, Encoder, EncoderBlock, LayerNorm, Mlp};
use crate::kept::Precision;
use crate::projection::Projection;
use crate::{Block, Decoder, ModelError, RmsNorm, SelfAttention, SwiGlu};
use checkpoint::{
    Attention, Config, ConfigError, Heads, OpenError, Pairing as Paired, Rope, Scaling,
    Weights,
};
use grouped_query::{GroupError, Groups};
use rotary::{Llama3Scaling, Pairing, Rotary, RotaryError};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// The decoders that are read. All have the blocks of Llama.
const DECODERS: [&str; 3] = ["llama", "mistral", "qwen2"];

/// Why a checkpoint gives no model. Each is one line.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A tensor is missing, or not what the configuration says.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The configuration cannot be read.
    #[error("config.json: {0}")]
    Config(#[from] ConfigError),
    /// It asks for what this chapter does not compute.
    #[error("{what}: {why}")]
    Lacks {
        /// What it asks for.
        what: String,
        /// What there is instead.
        why: &'static str,
    },
    /// A number that is none.
    #[error(
        "{tensor}: row {row} holds {number}: the file is damaged, or was written so by a \
         training run that failed"
    )]
    NotFinite {
        /// The tensor.
        tensor: String,
        /// Its row.
        row: usize,
        /// The number.
        number: f32,
    },
    /// Tensors that nobody would read.
    #[error("{name}: this model would not read it{more}: the file holds another kind")]
    Unread {
        /// The first.
        name: String,
        /// How many more.
        more: String,
    },
    /// Somebody has broken off.
    #[error("stopped before the weights were read")]
    Stopped,
    /// The parts do not fit together.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The rotation is none.
    #[error(transparent)]
    Rotary(#[from] RotaryError),
}

impl LoadError {
    /// As an error about this model. One about a file names that already.
    #[must_use]
    pub fn about(self, model: &str) -> anyhow::Error {
        match self {
            LoadError::Open(error) => error.into(),
            error => anyhow::Error::new(error).context(model.to_owned()),
        }
    }
}

impl From<GroupError> for LoadError {
    fn from(error: GroupError) -> Self {
        LoadError::Model(error.into())
    }
}

impl From<attention::ShapeError> for LoadError {
    fn from(error: attention::ShapeError) -> Self {
        LoadError::Model(error.into())
    }
}

/// A decoder of Llama's kind, its weights kept as `precision` says. `go_on` is told how
/// many numbers have been read, and may break off.
///
/// # Errors
/// When the checkpoint is of another kind, or not whole.
pub fn decoder(
    config: &Config,
    weights: &Weights,
    precision: Precision,
    go_on: impl FnMut(u64) -> ControlFlow<()>,
) -> Result<Decoder, LoadError> {
    if !DECODERS.contains(&config.kind()) {
        let what = format!("a model of type {}", config.kind());
        let why = match config.kind() {
            "bert" => "it is an encoder and writes no text: `embed` runs it",
            _ => "the decoders that run here are of the types llama, mistral and qwen2",
        };
        return Err(LoadError::Lacks { what, why });
    }
    make_room(precision.bytes_of(weights.numbers()));
    let reader = Reader::new(weights, precision, "", go_on);
    let (model_dim, vocab) = (size(config.model_dim()?), size(config.vocab()?));
    let table = "model.embed_tokens.weight";
    let embedding = reader.projection(table, (model_dim, vocab), None)?;
    let lm_head = if config.tied() {
        None
    } else {
        Some(reader.projection("lm_head.weight", (model_dim, vocab), None)?)
    };
    let layers = 0..config.layers()?;
    let blocks = layers.map(|layer| block(config, &reader, layer));
    let blocks = blocks.collect::<Result<_, _>>()?;
    let norm = reader.rms_norm("model.norm.weight", model_dim, config)?;
    let rope = config.attention(0)?.rope;
    let rotary = rotary(config, rope)?;
    // A tied head is in some files all the same.
    reader.expect_all(|name| {
        name.ends_with("rotary_emb.inv_freq")
            || config.tied() && name == "lm_head.weight"
    })?;
    let context = context(config);
    Ok(Decoder { embedding, blocks, norm, lm_head, rotary, context })
}

/// Has the allocator ask for the room of all weights in one piece, of which it then gives
/// each matrix its part. A system that has large pages uses them for one large piece, and
/// not for many small ones; looking up small pages took as long as reading what is on them.
fn make_room(bytes: u64) {
    let mut room = Vec::<u8>::new();
    // Where there is none, the first matrix that does not fit says so.
    let _ = room.try_reserve_exact(usize::try_from(bytes).unwrap_or(usize::MAX));
    std::hint::black_box(room);
}

/// Positions that the model was made for.
fn context(config: &Config) -> usize {
    let said = config.get("max_position_embeddings").and_then(Value::as_u64);
    said.map_or(usize::MAX, size)
}

fn size(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

fn block<G: FnMut(u64) -> ControlFlow<()>>(
    config: &Config,
    reader: &Reader<G>,
    layer: usize,
) -> Result<Block, LoadError> {
    let said = config.attention(layer)?;
    let heads = shared(&said)?;
    if let Some(window) = said.window.filter(|&window| size(window) < context(config)) {
        let what = format!("layer {layer} looks back {window} tokens");
        return Err(LoadError::Lacks { what, why: "layers here see the whole text" });
    }
    let name = |part: &str| format!("model.layers.{layer}.{part}");
    let model_dim = size(config.model_dim()?);
    let hidden = count(config, "intermediate_size")?;
    let bias = config.get("mlp_bias").and_then(Value::as_bool) == Some(true);
    let part = |part: &str, shape| {
        let name = name(&format!("mlp.{part}"));
        reader.linear(&name, shape, bias)
    };
    let attention =
        attention(reader, &name("self_attn."), model_dim, heads, &said, NAMES)?;
    Ok(Block {
        attention_norm: reader.rms_norm(
            &name("input_layernorm.weight"),
            model_dim,
            config,
        )?,
        attention,
        ffn_norm: reader.rms_norm(
            &name("post_attention_layernorm.weight"),
            model_dim,
            config,
        )?,
        feed_forward: SwiGlu {
            gate_proj: part("gate_proj", (model_dim, hidden))?,
            up_proj: part("up_proj", (model_dim, hidden))?,
            down_proj: part("down_proj", (hidden, model_dim))?,
        },
    })
}

/// The names of the four projections of attention.
const NAMES: [&str; 4] = ["q_proj", "k_proj", "v_proj", "o_proj"];
const BERT_NAMES: [&str; 4] = ["self.query", "self.key", "self.value", "output.dense"];

fn attention<G: FnMut(u64) -> ControlFlow<()>>(
    reader: &Reader<G>,
    prefix: &str,
    model_dim: usize,
    [heads, kv_heads, head_dim]: [usize; 3],
    said: &Attention,
    names: [&str; 4],
) -> Result<SelfAttention, LoadError> {
    let [q, k, v, o] = names.map(|name| format!("{prefix}{name}"));
    let (asks, asked) = (heads * head_dim, kv_heads * head_dim);
    Ok(SelfAttention {
        q_proj: reader.linear(&q, (model_dim, asks), said.biases.inputs)?,
        k_proj: reader.linear(&k, (model_dim, asked), said.biases.inputs)?,
        v_proj: reader.linear(&v, (model_dim, asked), said.biases.inputs)?,
        o_proj: reader.linear(&o, (asks, model_dim), said.biases.output)?,
        groups: Groups::new(heads, kv_heads)?,
    })
}

/// Heads, kv heads and their width, if nothing is done to their scores that is not done
/// here.
fn shared(said: &Attention) -> Result<[usize; 3], LoadError> {
    let Heads::Shared { heads, kv_heads, head_dim } = said.heads else {
        let what = format!("layer {} keeps latents", said.layer);
        return Err(LoadError::Lacks {
            what,
            why: "the chapter on latents runs such a layer",
        });
    };
    let plain = (head_dim as f64).sqrt().recip();
    let odd = [
        (said.norm.is_some(), "norms its queries and keys"),
        (said.soft_cap.is_some(), "caps its scores"),
        (said.sinks, "has learned sinks"),
        (
            (said.scale / plain - 1.0).abs() > 1e-6,
            "scales its scores by another factor",
        ),
    ];
    if let Some((_, does)) = odd.into_iter().find(|(is_so, _)| *is_so) {
        let what = format!("layer {} {does}", said.layer);
        return Err(LoadError::Lacks { what, why: "layers here are those of Llama" });
    }
    Ok([heads, kv_heads, head_dim].map(size))
}

fn rotary(config: &Config, rope: Option<Rope>) -> Result<Rotary, LoadError> {
    let lacks = |what: &str, why| LoadError::Lacks { what: what.to_owned(), why };
    let why = "layers here turn whole heads, in halves";
    let Some(rope) = rope else { return Err(lacks("layer 0 does not rotate", why)) };
    let [.., head_dim] = shared(&config.attention(0)?)?;
    if rope.features != head_dim || rope.pairing != Paired::Halves {
        return Err(lacks("a rotation of a part of each head", why));
    }
    let rotary = Rotary::new(head_dim, rope.base, Pairing::Halves)?;
    match rope.scaling {
        Scaling::None if rope.amplitude == 1.0 => Ok(rotary),
        Scaling::Llama3 { factor, low, high, trained } => {
            Ok(rotary.scaled(Llama3Scaling {
                factor,
                low_freq_factor: low,
                high_freq_factor: high,
                original_context: trained,
            })?)
        }
        _ => Err(lacks(
            "rope_scaling of another kind than llama3",
            "frequencies here are those of training, or scaled as in Llama 3.1",
        )),
    }
}

/// An encoder of BERT's kind, in full precision.
///
/// # Errors
/// When the checkpoint is of another kind, or not whole.
pub fn encoder(config: &Config, weights: &Weights) -> Result<Encoder, LoadError> {
    if config.kind() != "bert" {
        let what = format!("a model of type {}", config.kind());
        let why = "`embed` runs encoders of the type bert, such as all-MiniLM-L6-v2";
        return Err(LoadError::Lacks { what, why });
    }
    let prefix = if weights.contains("bert.embeddings.word_embeddings.weight") {
        "bert."
    } else {
        ""
    };
    let reader =
        Reader::new(weights, Precision::F32, prefix, |_| ControlFlow::Continue(()));
    let (model_dim, vocab) = (size(config.model_dim()?), size(config.vocab()?));
    let table = |part: &str, rows| {
        let name = format!("embeddings.{part}_embeddings.weight");
        reader.projection(&name, (model_dim, rows), None)
    };
    let kinds = table("token_type", count(config, "type_vocab_size")?)?;
    let mut segment = vec![0.0; model_dim];
    kinds.weights_of(0, &mut segment);
    let layers = 0..config.layers()?;
    let blocks = layers.map(|layer| encoder_block(config, &reader, layer));
    let encoder = Encoder {
        words: table("word", vocab)?,
        positions: table("position", count(config, "max_position_embeddings")?)?,
        segment: segment.into(),
        norm: reader.layer_norm("embeddings.LayerNorm", model_dim, config)?,
        blocks: blocks.collect::<Result<_, _>>()?,
    };
    // What stands behind the last block in BERT, and no sentence vector needs.
    reader.expect_all(|name| {
        name.contains("pooler.")
            || name.starts_with("cls.")
            || name.ends_with("position_ids")
    })?;
    Ok(encoder)
}

fn count(config: &Config, key: &'static str) -> Result<usize, LoadError> {
    let said = config.get(key).and_then(Value::as_u64);
    let said = said.filter(|&count| (1..1 << 28).contains(&count));
    said.map(size).ok_or_else(|| LoadError::Lacks {
        what: format!("config.json: `{key}`"),
        why: "it has to be a count, from 1 on",
    })
}

fn encoder_block<G: FnMut(u64) -> ControlFlow<()>>(
    config: &Config,
    reader: &Reader<G>,
    layer: usize,
) -> Result<EncoderBlock, LoadError> {
    let said = config.attention(layer)?;
    let heads = shared(&said)?;
    let name = |part: &str| format!("encoder.layer.{layer}.{part}");
    let model_dim = size(config.model_dim()?);
    let hidden = count(config, "intermediate_size")?;
    let activation = match config.activation()? {
        checkpoint::Activation::Gelu => Activation::Gelu,
        checkpoint::Activation::GeluTanh => Activation::GeluTanh,
        checkpoint::Activation::Relu => Activation::Relu,
        checkpoint::Activation::Silu => {
            let what = "hidden_act is silu".to_owned();
            return Err(LoadError::Lacks {
                what,
                why: "encoders here have gelu or relu",
            });
        }
    };
    let attention =
        attention(reader, &name("attention."), model_dim, heads, &said, BERT_NAMES)?;
    Ok(EncoderBlock {
        attention,
        attention_norm: reader.layer_norm(
            &name("attention.output.LayerNorm"),
            model_dim,
            config,
        )?,
        feed_forward: Mlp {
            up_proj: reader.linear(
                &name("intermediate.dense"),
                (model_dim, hidden),
                true,
            )?,
            activation,
            down_proj: reader.linear(
                &name("output.dense"),
                (hidden, model_dim),
                true,
            )?,
        },
        ffn_norm: reader.layer_norm(&name("output.LayerNorm"), model_dim, config)?,
    })
}

/// Tensors on their way into a model: each is held to its shape before room is made for
/// it, and remembered.
struct Reader<'a, G> {
    weights: &'a Weights,
    precision: Precision,
    prefix: &'static str,
    read: RefCell<BTreeSet<String>>,
    progress: RefCell<(u64, G)>,
}

impl<'a, G: FnMut(u64) -> ControlFlow<()>> Reader<'a, G> {
    fn new(
        weights: &'a Weights,
        precision: Precision,
        prefix: &'static str,
        go_on: G,
    ) -> Self {
        let (read, progress) = (RefCell::default(), RefCell::new((0, go_on)));
        Reader { weights, precision, prefix, read, progress }
    }

    /// `NAME.weight`, and `NAME.bias` if there has to be one.
    fn linear(
        &self,
        name: &str,
        shape: (usize, usize),
        bias: bool,
    ) -> Result<Projection, LoadError> {
        let bias = bias.then(|| format!("{name}.bias"));
        self.projection(&format!("{name}.weight"), shape, bias)
    }

    fn projection(
        &self,
        name: &str,
        (d_in, d_out): (usize, usize),
        bias: Option<String>,
    ) -> Result<Projection, LoadError> {
        let name = self.remember(name);
        let tensor = self.weights.shaped(&name, &[d_out, d_in], "config.json")?;
        let weight = Projection::read((d_in, d_out), self.precision, |row, out| {
            tensor.row_to_f32(row, out)?;
            expect_finite(&name, row, out)?;
            self.count(out.len())
        })?;
        self.weights.forget(&name);
        match bias {
            Some(bias) => Ok(weight.with_bias(self.vector(&bias, d_out)?)?),
            None => Ok(weight),
        }
    }

    fn vector(&self, name: &str, width: usize) -> Result<Vec<f32>, LoadError> {
        let name = self.remember(name);
        let tensor = self.weights.shaped(&name, &[width], "config.json")?;
        let numbers = tensor.to_f32()?;
        expect_finite(&name, 0, &numbers)?;
        self.weights.forget(&name);
        self.count(width)?;
        Ok(numbers)
    }

    fn rms_norm(
        &self,
        name: &str,
        width: usize,
        config: &Config,
    ) -> Result<RmsNorm, LoadError> {
        Ok(RmsNorm::new(self.vector(name, width)?, config.norm_eps()? as f32))
    }

    fn layer_norm(
        &self,
        name: &str,
        width: usize,
        config: &Config,
    ) -> Result<LayerNorm, LoadError> {
        let [gain, bias] = ["weight", "bias"].map(|part| format!("{name}.{part}"));
        let (gain, bias) = (self.vector(&gain, width)?, self.vector(&bias, width)?);
        Ok(LayerNorm::new(gain, bias, config.norm_eps()? as f32)?)
    }

    fn remember(&self, name: &str) -> String {
        let name = format!("{}{name}", self.prefix);
        self.read.borrow_mut().insert(name.clone());
        name
    }

    fn count(&self, numbers: usize) -> Result<(), LoadError> {
        let (done, go_on) = &mut *self.progress.borrow_mut();
        *done += numbers as u64;
        match go_on(*done) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(LoadError::Stopped),
        }
    }

    /// Nothing is left in the file but what is known to be `harmless`.
    fn expect_all(&self, harmless: impl Fn(&str) -> bool) -> Result<(), LoadError> {
        let read = self.read.borrow();
        let left: Vec<&str> = self
            .weights
            .names()
            .filter(|name| !read.contains(*name) && !harmless(name))
            .collect();
        match left[..] {
            [] => Ok(()),
            [first] => Err(unread(first, String::new())),
            [first, ..] => {
                Err(unread(first, format!(", nor {} others", left.len() - 1)))
            }
        }
    }
}

fn unread(name: &str, more: String) -> LoadError {
    LoadError::Unread { name: name.to_owned(), more }
}

fn expect_finite(tensor: &str, row: usize, numbers: &[f32]) -> Result<(), LoadError> {
    match numbers.iter().find(|number| !number.is_finite()) {
        None => Ok(()),
        Some(&number) => {
            Err(LoadError::NotFinite { tensor: tensor.to_owned(), row, number })
        }
    }
}
