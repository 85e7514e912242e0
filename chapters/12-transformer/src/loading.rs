//! From an opened checkpoint to a model. What a configuration says and is not understood is
//! refused by name, and so is a tensor that nothing would read.

use crate::encoder::{Encoder, EncoderBlock};
use crate::ends::Ends;
use crate::experts::{ExpertGroups, Experts, Router, Scoring, Shared};
use crate::gated::{Activation, Gate, SwiGlu};
use crate::heads::{Attention, SelfAttention};
use crate::kept::Precision;
use crate::networks::{FeedForward, Mlp};
use crate::norms::{LayerNorm, Norm};
pub use crate::reader::LoadError;
use crate::reader::Reader;
use crate::{Block, Decoder, Otherwise};
use anyhow::anyhow;
use checkpoint::{
    Config, ExpertLayout, Gated, GatedNames, Heads, Network, StreamNorm, Weights,
};
use decoder_layer::layout::pieces;
use decoder_layer::reading::parts;
use latent::{LatentAttention, Projections, QueryProjection, Sharpness};
use rotary::Rotary;
use serde_json::Value;
use std::ops::ControlFlow;

/// A decoder, its weights kept as `precision` says. `go_on` is told how many numbers have
/// been read, and may break off.
///
/// # Errors
/// When the checkpoint is of an unknown kind, an encoder, or not whole.
pub fn decoder(
    config: &Config,
    weights: &Weights,
    precision: Precision,
    go_on: impl FnMut(u64) -> ControlFlow<()>,
) -> Result<Decoder, LoadError> {
    if config.kind() == "bert" {
        let what = "a model of type bert".to_owned();
        let why = "it is an encoder and writes no text: `embed` runs it";
        return Err(LoadError::Lacks { what, why });
    }
    make_room(precision.bytes_of(weights.numbers()));
    let reader = Reader::new(weights, precision, go_on);
    let ends = config.ends()?;
    let prefix = prefix_of(weights, ends.table);
    let (model_dim, vocab) = (size(config.model_dim()?), size(config.vocab()?));
    let table = format!("{prefix}{}.weight", ends.table);
    let embedding = reader.table(&table, (model_dim, vocab))?;
    let head = head_of(weights, &prefix, ends.head);
    let lm_head = if config.tied() {
        None
    } else {
        Some(reader.linear(&head, (model_dim, vocab), ends.head_bias, 1.0)?)
    };
    let context = context(config);
    let positions = ends.positions.map(|name| {
        reader.table(&format!("{prefix}{name}.weight"), (model_dim, context))
    });
    let layers = 0..config.layers()?;
    let blocks = layers.map(|layer| block(config, &reader, &prefix, layer));
    let blocks = blocks.collect::<Result<_, _>>()?;
    let kind = config.block(0)?;
    let norm = format!("{prefix}{}", ends.norm);
    let norm = stream_norm(&reader, Some(&norm), kind.norm, kind.eps, model_dim)?;
    reader.expect_all(|name| {
        // A tied head is in some files all the same.
        config.tied() && name == format!("{head}.weight")
            || is_passed_over(config, name)
    })?;
    let ends = Ends {
        entry: ends.entry as f32,
        positions: positions.transpose()?,
        exit: ends.exit as f32,
        cap: ends.cap.map(|cap| cap as f32),
    };
    Ok(Decoder { embedding, blocks, norm, lm_head, ends, context })
}

/// What stands before the names of the text's model: what stands before its table.
fn prefix_of(weights: &Weights, table: &str) -> String {
    let table = format!("{table}.weight");
    let of_text = |prefix: &&str| {
        let is_part = prefix.is_empty() || prefix.ends_with('.');
        is_part && !["vision", "visual", "audio"].iter().any(|odd| prefix.contains(odd))
    };
    let mut prefixes = weights.names().filter_map(|name| name.strip_suffix(&table));
    prefixes.find(of_text).unwrap_or("model.").to_owned()
}

/// The name of the matrix that tokens leave by: beside the text's model, or alone.
fn head_of(weights: &Weights, prefix: &str, head: &str) -> String {
    let beside = prefix.strip_suffix("model.").unwrap_or("");
    let beside = format!("{beside}{head}");
    if weights.contains(&format!("{beside}.weight")) { beside } else { head.to_owned() }
}

/// Tensors that change nothing of what the text's model computes: frequencies and masks
/// that can be computed, the layers by which some models guess further tokens, and the
/// parts that read pictures and sounds.
fn is_passed_over(config: &Config, name: &str) -> bool {
    let layers = config.layers().unwrap_or(usize::MAX);
    let more = config.get("num_nextn_predict_layers").and_then(Value::as_u64);
    let guessing = layers..layers.saturating_add(size(more.unwrap_or(0)));
    let mut parts = name.split('.').skip_while(|part| *part != "layers").skip(1);
    let layer = parts.next().and_then(|layer| layer.parse::<usize>().ok());
    let ends =
        ["rotary_emb.inv_freq", "attn.bias", "attn.masked_bias", "attention.bias"];
    let odd = ["vision", "visual", "audio", "multi_modal_projector", "masked_bias"];
    layer.is_some_and(|layer| guessing.contains(&layer))
        || ends.iter().any(|end| name.ends_with(end))
        || odd.iter().any(|odd| name.contains(odd))
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
    prefix: &str,
    layer: usize,
) -> Result<Block, LoadError> {
    let said = config.block(layer)?;
    let prefix = format!("{prefix}{}", said.prefix);
    let model_dim = size(config.model_dim()?);
    let norm = |name: Option<&str>| {
        let name = name.map(|name| format!("{prefix}{name}"));
        stream_norm(reader, name.as_deref(), said.norm, said.eps, model_dim)
    };
    let (of_attention, of_network) = (said.attention_norms, said.network_norms);
    let factor = said.residual as f32;
    let attention = format!("{prefix}{}", said.attention);
    let otherwise = Otherwise {
        found_norm: norm(of_attention[1])?,
        thought_norm: norm(of_network[1])?,
        parallel: said.parallel,
    };
    let is_llamas = otherwise == Otherwise::default();
    Ok(Block {
        attention_norm: norm(of_attention[0])?,
        attention: looking(config, reader, &attention, layer, factor)?,
        ffn_norm: norm(of_network[0])?,
        feed_forward: feed_forward(reader, &prefix, &said.network, model_dim, factor)?,
        otherwise: (!is_llamas).then_some(otherwise),
    })
}

fn stream_norm<G: FnMut(u64) -> ControlFlow<()>>(
    reader: &Reader<G>,
    name: Option<&str>,
    norm: StreamNorm,
    eps: f64,
    width: usize,
) -> Result<Norm, LoadError> {
    let Some(name) = name else { return Ok(Norm::Absent) };
    Ok(match norm {
        StreamNorm::Rms { gain_plus_one } => {
            reader.rms_norm(name, width, gain_plus_one, eps)?.into()
        }
        StreamNorm::Layer { bias } => reader.layer_norm(name, width, bias, eps)?.into(),
        StreamNorm::Bare => {
            LayerNorm::new(vec![1.0; width], vec![0.0; width], eps as f32)?.into()
        }
    })
}

/// How the tokens of a layer look at one another. What it gives is multiplied by `factor`.
fn looking<G: FnMut(u64) -> ControlFlow<()>>(
    config: &Config,
    reader: &Reader<G>,
    prefix: &str,
    layer: usize,
    factor: f32,
) -> Result<Attention, LoadError> {
    let said = config.attention(layer)?;
    Ok(match said.heads {
        Heads::Shared { .. } => {
            Attention::Heads(self_attention(reader, prefix, &said, factor)?)
        }
        Heads::Latent { .. } => {
            Attention::Latents(latents(reader, prefix, &said, factor)?)
        }
    })
}

fn self_attention<G: FnMut(u64) -> ControlFlow<()>>(
    reader: &Reader<G>,
    prefix: &str,
    said: &checkpoint::Attention,
    factor: f32,
) -> Result<SelfAttention, LoadError> {
    let small = |name: &str, shape: &[usize]| {
        let numbers = reader.numbers(&format!("{prefix}{name}"), shape);
        numbers.map_err(anyhow::Error::new)
    };
    let parts = parts(said, small).map_err(LoadError::Parts)?;
    let pieces = pieces(said).map_err(LoadError::Parts)?;
    if pieces.gate.is_some() {
        return Err(LoadError::Parts(anyhow!("a gate on what heads find is not run")));
    }
    let [q, k, v, o] = &pieces.projections;
    Ok(SelfAttention {
        q_proj: reader.piece(prefix, q, 1.0)?,
        k_proj: reader.piece(prefix, k, 1.0)?,
        v_proj: reader.piece(prefix, v, 1.0)?,
        o_proj: reader.piece(prefix, o, factor)?,
        parts,
    })
}

/// Attention over latents, in full precision.
fn latents<G: FnMut(u64) -> ControlFlow<()>>(
    reader: &Reader<G>,
    prefix: &str,
    said: &checkpoint::Attention,
    factor: f32,
) -> Result<LatentAttention, LoadError> {
    let Heads::Latent {
        heads, nope_dim, rope_dim, v_dim, lora_rank, q_lora_rank, ..
    } = said.heads
    else {
        return Err(LoadError::Parts(anyhow!("these heads keep keys")));
    };
    // What the scores are multiplied by besides one over the root of a query's width.
    let mscale = said.scale * ((nope_dim + rope_dim) as f64).sqrt();
    let mscale = if (mscale - 1.0).abs() < 1e-6 { 1.0 } else { mscale as f32 };
    let model_dim = size(said.model_dim);
    let [heads, nope_dim, rope_dim, v_dim, rank] =
        [heads, nope_dim, rope_dim, v_dim, lora_rank].map(size);
    let sizes = latent::Sizes { heads, nope_dim, rope_dim, v_dim };
    let times = |name: &str, shape, bias, factor| {
        let whole = reader.in_full(&format!("{prefix}{name}"), shape, bias, factor)?;
        Ok::<_, LoadError>(whole.to_linear()?)
    };
    let linear = |name: &str, shape, bias| times(name, shape, bias, 1.0);
    let norm = |name: &str, width| {
        let gain = reader.vector(&format!("{prefix}{name}.weight"), width)?;
        Ok::<_, LoadError>(latent::RmsNorm::new(gain))
    };
    let queries = heads * (nope_dim + rope_dim);
    let query = match q_lora_rank.map(size) {
        Some(rank) => QueryProjection::LowRank {
            q_a_proj: linear("q_a_proj", (model_dim, rank), said.biases.inputs)?,
            q_a_layernorm: norm("q_a_layernorm", rank)?,
            q_b_proj: linear("q_b_proj", (rank, queries), false)?,
        },
        None => QueryProjection::Full(linear("q_proj", (model_dim, queries), false)?),
    };
    let kept = (model_dim, rank + rope_dim);
    let made = heads * (nope_dim + v_dim);
    let projections = Projections {
        query,
        kv_a_proj: linear("kv_a_proj_with_mqa", kept, said.biases.inputs)?,
        kv_a_layernorm: norm("kv_a_layernorm", rank)?,
        kv_b_proj: linear("kv_b_proj", (rank, made), false)?,
        o_proj: times(
            "o_proj",
            (heads * v_dim, model_dim),
            said.biases.output,
            factor,
        )?,
    };
    let layer = LatentAttention::new(projections, sizes, 10_000.0)?;
    let Some(rope) = &said.rope else {
        return Err(LoadError::Parts(anyhow!("a latent layer that does not rotate")));
    };
    let layer = layer.with_rotary(Rotary::of(rope, rope_dim)?)?;
    Ok(layer.sharpened(Sharpness { mscale, temperature: said.temperature }))
}

fn feed_forward<G: FnMut(u64) -> ControlFlow<()>>(
    reader: &Reader<G>,
    prefix: &str,
    said: &Network,
    model_dim: usize,
    factor: f32,
) -> Result<FeedForward, LoadError> {
    Ok(match said {
        Network::Gated(said) => {
            let network = gated(reader, prefix, said, model_dim, factor)?;
            FeedForward::Gated(network, Gate::Curve(curve(said.activation)))
        }
        Network::Plain { up, down, dim, activation, bias, transposed } => {
            let one = |name: &str, shape| {
                let name = format!("{prefix}{name}");
                if *transposed {
                    reader.transposed(&name, shape, *bias)
                } else {
                    reader.linear(&name, shape, *bias, factor)
                }
            };
            FeedForward::Plain(Mlp {
                up_proj: one(up, (model_dim, size(*dim)))?,
                activation: curve(*activation),
                down_proj: one(down, (size(*dim), model_dim))?,
            })
        }
        Network::Experts(said) => {
            FeedForward::Experts(Box::new(experts(reader, prefix, said, model_dim)?))
        }
    })
}

fn gated<G: FnMut(u64) -> ControlFlow<()>>(
    reader: &Reader<G>,
    prefix: &str,
    said: &Gated,
    model_dim: usize,
    factor: f32,
) -> Result<SwiGlu, LoadError> {
    let (dim, bias) = (size(said.dim), said.bias);
    let name = |name: &str| format!("{prefix}{}{name}", said.prefix);
    let (gate_proj, up_proj, down) = match said.names {
        GatedNames::Three([gate, up, down]) => {
            let one = |part| reader.linear(&name(part), (model_dim, dim), bias, 1.0);
            (one(gate)?, one(up)?, down)
        }
        GatedNames::Two([both, down]) => {
            let one = |rows| {
                let piece = decoder_layer::layout::Piece {
                    tensor: both,
                    rows: vec![rows],
                    of: 2 * dim,
                    inputs: model_dim,
                    biased: bias,
                    transposed: false,
                };
                reader.piece(&name(""), &piece, 1.0)
            };
            (one(0..dim)?, one(dim..2 * dim)?, down)
        }
    };
    let down_proj = reader.linear(&name(down), (dim, model_dim), bias, factor)?;
    Ok(SwiGlu { gate_proj, up_proj, down_proj })
}

fn experts<G: FnMut(u64) -> ControlFlow<()>>(
    reader: &Reader<G>,
    prefix: &str,
    said: &checkpoint::Experts,
    model_dim: usize,
) -> Result<Experts, LoadError> {
    let all = 0..size(said.experts);
    let all = all.map(|expert| one_expert(reader, prefix, said, model_dim, expert));
    let experts = all.collect::<Result<_, _>>()?;
    let shared = said.shared.as_ref().map(|network| {
        let share = said.shared_gate.map(|name| {
            reader.table(&format!("{prefix}{name}.weight"), (model_dim, 1))
        });
        Ok::<_, LoadError>(Shared {
            network: gated(reader, prefix, network, model_dim, 1.0)?,
            gate: Gate::Curve(curve(network.activation)),
            share: share.transpose()?,
        })
    });
    Ok(Experts {
        router: router(reader, prefix, said, model_dim)?,
        experts,
        gate: match said.bend {
            checkpoint::Bend::Plain(activation) => Gate::Curve(curve(activation)),
            checkpoint::Bend::Clamped { alpha, limit } => {
                Gate::Clamped { alpha: alpha as f32, limit: limit as f32 }
            }
        },
        shared: shared.transpose()?,
    })
}

fn one_expert<G: FnMut(u64) -> ControlFlow<()>>(
    reader: &Reader<G>,
    prefix: &str,
    said: &checkpoint::Experts,
    model_dim: usize,
    expert: usize,
) -> Result<SwiGlu, LoadError> {
    let (dim, all) = (size(said.dim), size(said.experts));
    let stacked = |name: &str| format!("{prefix}mlp.experts.{name}");
    let both = stacked("gate_up_proj");
    match said.layout {
        ExpertLayout::Stacked => {
            let shape = [all, model_dim, 2 * dim];
            let part = |first| {
                let columns = (first..2 * dim).step_by(2);
                reader.of_expert(&both, shape, expert, columns)
            };
            let shape = [all, dim, model_dim];
            let down = stacked("down_proj");
            Ok(SwiGlu {
                gate_proj: part(0)?,
                up_proj: part(1)?,
                down_proj: reader.of_expert(&down, shape, expert, 0..model_dim)?,
            })
        }
        // As Transformers holds them in memory.
        ExpertLayout::Each { .. } if reader.has(&both) => {
            let shape = [all, 2 * dim, model_dim];
            let part = |rows| reader.rows_of_expert(&both, shape, expert, rows);
            let (shape, down) = ([all, model_dim, dim], stacked("down_proj"));
            Ok(SwiGlu {
                gate_proj: part(0..dim)?,
                up_proj: part(dim..2 * dim)?,
                down_proj: reader.rows_of_expert(&down, shape, expert, 0..model_dim)?,
            })
        }
        ExpertLayout::Each { prefix: before, names: [gate, up, down] } => {
            let one = |name: &str, shape| {
                let name = format!("{prefix}{before}{expert}.{name}");
                reader.linear(&name, shape, false, 1.0)
            };
            Ok(SwiGlu {
                gate_proj: one(gate, (model_dim, dim))?,
                up_proj: one(up, (model_dim, dim))?,
                down_proj: one(down, (dim, model_dim))?,
            })
        }
    }
}

fn router<G: FnMut(u64) -> ControlFlow<()>>(
    reader: &Reader<G>,
    prefix: &str,
    said: &checkpoint::Experts,
    model_dim: usize,
) -> Result<Router, LoadError> {
    let (told, experts) = (said.router, size(said.experts));
    let name = format!("{prefix}{}", told.tensor);
    let correction =
        told.correction.map(|name| reader.vector(&format!("{prefix}{name}"), experts));
    Ok(Router {
        // Which expert is chosen may turn on the last digit.
        weight: reader.in_full(&name, (model_dim, experts), told.bias, 1.0)?,
        scoring: match told.scoring {
            checkpoint::Scoring::Softmax => Scoring::Softmax,
            checkpoint::Scoring::SoftmaxOfChosen => Scoring::SoftmaxOfChosen,
            checkpoint::Scoring::Sigmoid => Scoring::Sigmoid,
        },
        correction: correction.transpose()?,
        groups: told.groups.map(|groups| ExpertGroups {
            groups: size(groups.groups),
            kept: size(groups.kept),
            best: size(groups.best),
            others: if groups.never { f32::NEG_INFINITY } else { 0.0 },
        }),
        chosen: size(said.chosen),
        normalized: told.normalized.then_some(told.eps as f32),
        factor: told.factor as f32,
    })
}

fn curve(activation: checkpoint::Activation) -> Activation {
    match activation {
        checkpoint::Activation::Gelu => Activation::Gelu,
        checkpoint::Activation::GeluTanh => Activation::GeluTanh,
        checkpoint::Activation::Relu => Activation::Relu,
        checkpoint::Activation::Silu => Activation::Silu,
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
    let reader = Reader::new(weights, Precision::F32, |_| ControlFlow::Continue(()));
    let (model_dim, vocab) = (size(config.model_dim()?), size(config.vocab()?));
    let table = |part: &str, rows| {
        let name = format!("{prefix}embeddings.{part}_embeddings.weight");
        reader.table(&name, (model_dim, rows))
    };
    let kinds = table("token_type", count(config, "type_vocab_size")?)?;
    let mut segment = vec![0.0; model_dim];
    kinds.weights_of(0, &mut segment);
    let eps = config.norm_eps()?;
    let norm = |name: &str| {
        reader.layer_norm(&format!("{prefix}{name}"), model_dim, true, eps)
    };
    let layers = 0..config.layers()?;
    let blocks = layers.map(|layer| encoder_block(config, &reader, prefix, layer));
    let encoder = Encoder {
        words: table("word", vocab)?,
        positions: table("position", count(config, "max_position_embeddings")?)?,
        segment: segment.into(),
        norm: norm("embeddings.LayerNorm")?,
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
    prefix: &str,
    layer: usize,
) -> Result<EncoderBlock, LoadError> {
    let said = config.attention(layer)?;
    let name = |part: &str| format!("{prefix}encoder.layer.{layer}.{part}");
    let model_dim = size(config.model_dim()?);
    let (hidden, eps) = (count(config, "intermediate_size")?, config.norm_eps()?);
    let norm = |part: &str| reader.layer_norm(&name(part), model_dim, true, eps);
    Ok(EncoderBlock {
        attention: self_attention(reader, &name("attention."), &said, 1.0)?,
        attention_norm: norm("attention.output.LayerNorm")?,
        feed_forward: Mlp {
            up_proj: reader.linear(
                &name("intermediate.dense"),
                (model_dim, hidden),
                true,
                1.0,
            )?,
            activation: curve(config.activation()?),
            down_proj: reader.linear(
                &name("output.dense"),
                (hidden, model_dim),
                true,
                1.0,
            )?,
        },
        ffn_norm: norm("output.LayerNorm")?,
    })
}
