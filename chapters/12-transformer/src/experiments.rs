//! The models that the chapter looks at, and what whole ones gave when they were run.

use crate::ends::Ends;
use crate::gated::SwiGlu;
use crate::heads::{Attention, SelfAttention};
use crate::kept::{BLOCK, Precision};
use crate::networks::FeedForward;
use crate::norms::RmsNorm;
use crate::places::Places;
use crate::projection::Projection;
use crate::{Block, Decoder, ModelError};
use anyhow::{Context, Result};
use attention::Mask;
use chapter_cli::Recorded;
use decoder_layer::Parts;
use grouped_query::Groups;
use minilm::smollm2::{Sentence, Slice};
use multi_head::Heads;
use nalgebra::{DMatrix, dmatrix};
use rotary::{Pairing, Rotary};

/// The vocabulary of the worked example.
pub const WORDS: [&str; 3] = ["sun", "moon", "star"];

/// A model for pen and paper: three words, two features, one block with one head.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn toy() -> Result<Decoder> {
    let of = Projection::of;
    let plain = || RmsNorm::new(vec![1.0, 1.0], 1e-6);
    let attention = SelfAttention {
        // Queries of zeros score all keys alike, so the head takes the mean of what is
        // before it.
        q_proj: of(DMatrix::zeros(2, 2)),
        k_proj: of(DMatrix::identity(2, 2)),
        v_proj: of(DMatrix::identity(2, 2)),
        o_proj: of(dmatrix![0.0, 10.0; 0.0, 10.0]),
        parts: turning(Groups::new(1, 1)?, 2, 10_000.0)?,
    };
    let feed_forward = SwiGlu {
        gate_proj: of(dmatrix![-1.0, 1.0; 1.0, -1.0]),
        up_proj: of(DMatrix::identity(2, 2)),
        down_proj: of(DMatrix::from_diagonal_element(2, 2, 10.0)),
    };
    let block = Block {
        attention_norm: plain().into(),
        attention: Attention::Heads(attention),
        ffn_norm: plain().into(),
        feed_forward: feed_forward.into(),
        otherwise: None,
    };
    Ok(Decoder {
        embedding: of(dmatrix![1.0, 7.0, 5.0; 7.0, 1.0, -5.0]),
        blocks: vec![block],
        norm: plain().into(),
        lm_head: None,
        ends: Ends::default(),
        context: 8,
    })
}

/// The parts of a layer of Llama: its heads turn in halves, and that is all.
fn turning(groups: Groups, head_dim: usize, theta: f64) -> Result<Parts> {
    let rotary = Rotary::new(head_dim, theta, Pairing::Halves)?;
    Ok(Parts { rotary: Some(rotary), ..Parts::plain(groups, head_dim) })
}

/// Attention of layer 13 of `SmolLM2`, without the block around it, and the norm before it.
///
/// # Errors
/// When the slice cannot be read.
pub fn slice() -> Result<(Slice, RmsNorm, SelfAttention)> {
    let slice = Slice::load()?;
    let norm = RmsNorm::new(slice.norm.as_slice().to_vec(), slice.eps);
    let of = |name: &str| Ok::<_, anyhow::Error>(Projection::of(slice.weight(name)?));
    let q_proj = of("q_proj")?;
    let groups = Groups::new(slice.heads, slice.kv_heads)?;
    let parts = turning(groups, q_proj.shape().1 / slice.heads, slice.theta)?;
    let [k_proj, v_proj, o_proj] = ["k_proj", "v_proj", "o_proj"].map(of);
    let (k_proj, v_proj, o_proj) = (k_proj?, v_proj?, o_proj?);
    let attention = SelfAttention { q_proj, k_proj, v_proj, o_proj, parts };
    Ok((slice, norm, attention))
}

/// The tokens of one of the slice's sentences, and the weights of every head there.
///
/// # Errors
/// When the slice cannot be read.
pub fn heads_of(sentence: Sentence) -> Result<(Vec<String>, Vec<DMatrix<f32>>)> {
    heads_under(&Mask::Causal { offset: 0 }, sentence)
}

/// The same under another mask.
///
/// # Errors
/// When the slice cannot be read, or the mask does not fit the sentence.
pub fn heads_under(
    mask: &Mask,
    sentence: Sentence,
) -> Result<(Vec<String>, Vec<DMatrix<f32>>)> {
    let (slice, norm, attention) = slice()?;
    let (tokens, x) = slice.sentence(sentence)?;
    let place = attention.parts.place(0..x.nrows(), x.nrows());
    let look = || -> Result<Heads, ModelError> {
        attention.look(&norm.forward(&x)?, &place, mask)
    };
    Ok((tokens, look()?.weights))
}

/// Where the sentence looks that the chapter keeps looking at.
pub const HEAD: usize = 8;

/// What `cargo bench -p transformer --bench transformer -- --record` wrote down last.
///
/// # Errors
/// When the recording cannot be read.
pub fn recorded() -> Result<Recorded> {
    Recorded::parse(include_str!("../benches/recorded.csv"))
        .context("chapters/12-transformer/benches/recorded.csv")
}

/// What the whole of `SmolLM2` gave, which no test can run: `benches/nats.csv`, written by
/// the benchmark `nats`.
#[derive(Debug, Clone)]
pub struct Recording {
    rows: Vec<(String, String, f64)>,
}

impl Recording {
    /// The committed one.
    ///
    /// # Errors
    /// When a line of it is not `case,setting,number`.
    pub fn read() -> Result<Self> {
        let lines = include_str!("../benches/nats.csv").lines();
        let lines = lines.filter(|line| !line.starts_with('#') && !line.is_empty());
        let row = |line: &str| {
            let (rest, number) = line.rsplit_once(',')?;
            let (case, setting) = rest.split_once(',')?;
            Some((case.to_owned(), setting.to_owned(), number.parse().ok()?))
        };
        let rows: Option<_> = lines.skip(1).map(row).collect();
        let rows = rows.context("nats.csv: a line that is not case,setting,number")?;
        Ok(Recording { rows })
    }

    /// One number.
    ///
    /// # Errors
    /// When it was not recorded.
    pub fn at(&self, case: &str, setting: &str) -> Result<f64> {
        let found = self.rows.iter().find(|(c, s, _)| c == case && s == setting);
        let found = found.with_context(|| format!("nats.csv: no {case},{setting}"))?;
        Ok(found.2)
    }

    /// All settings of a case, in their order.
    pub fn all<'a>(
        &'a self,
        case: &'a str,
    ) -> impl Iterator<Item = (&'a str, f64)> + 'a {
        let of_case = self.rows.iter().filter(move |(c, ..)| c == case);
        of_case.map(|(_, setting, number)| (setting.as_str(), *number))
    }
}

/// What people do instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slip {
    /// What attention finds takes the place of the token.
    NoResidual,
    /// The mean is taken off before the norm.
    LayerNorm,
    /// The sum is normed, and not what goes in.
    NormAfter,
    /// `up` goes through silu, and not the gate.
    GateAndUpSwapped,
    /// What leaves the last block meets the vocabulary as it is.
    NoLastNorm,
}

/// The logits (1, vocabulary) after `tokens` in a model of one block, with a slip or
/// without.
///
/// # Errors
/// When a token is not in the vocabulary.
pub fn last_logits(
    model: &Decoder,
    tokens: &[u32],
    slip: Option<Slip>,
) -> Result<DMatrix<f32>> {
    let is = |one| slip == Some(one);
    let block = &model.blocks[0];
    let norm = |x: &DMatrix<f32>| -> Result<DMatrix<f32>> {
        let mean = x.column_mean();
        let mut x = x.clone();
        if is(Slip::LayerNorm) {
            x.column_iter_mut().for_each(|mut column| column -= &mean);
        }
        // All norms of the worked example are alike.
        Ok(block.attention_norm.forward(&x)?)
    };
    let attend = |x: &DMatrix<f32>| -> Result<DMatrix<f32>> {
        let mut places = Places::new(0, tokens.len());
        let mask = Mask::Causal { offset: 0 };
        let heads = block.attention.look(x, &mut places, &mask)?;
        Ok(block.attention.mix(&heads.found)?)
    };
    let think = |x: &DMatrix<f32>| -> Result<DMatrix<f32>> {
        let mut network = block.feed_forward.clone();
        if let FeedForward::Gated(network, _) = &mut network
            && is(Slip::GateAndUpSwapped)
        {
            std::mem::swap(&mut network.gate_proj, &mut network.up_proj);
        }
        Ok(network.forward(x)?)
    };
    let mut x = model.embed(tokens, 0)?;
    if is(Slip::NormAfter) {
        x = norm(&(&x + attend(&x)?))?;
        x = norm(&(&x + think(&x)?))?;
    } else {
        let found = attend(&norm(&x)?)?;
        x = if is(Slip::NoResidual) { found } else { x + found };
        x += think(&norm(&x)?)?;
    }
    let last = x.rows(tokens.len() - 1, 1).into_owned();
    let last = if is(Slip::NoLastNorm) { last } else { norm(&last)? };
    Ok(model.logits(&last)?)
}

/// How large a model is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Features of a token.
    pub model_dim: usize,
    /// Features of all keys of a token in one layer, and of its values.
    pub kv_dim: usize,
    /// Features of a token inside the feed-forward network.
    pub hidden_dim: usize,
    /// Tokens that it knows.
    pub vocab: usize,
    /// One after the other.
    pub blocks: usize,
}

/// `SmolLM2-135M`, by its `config.json`.
pub const SMOLLM2: Sizes =
    Sizes { model_dim: 576, kv_dim: 192, hidden_dim: 1536, vocab: 49_152, blocks: 30 };

impl Sizes {
    /// Weights of attention in one block, whose queries are as wide as its tokens.
    #[must_use]
    pub fn attention(self) -> usize {
        2 * self.model_dim * (self.model_dim + self.kv_dim)
    }

    /// Weights of the feed-forward network of one block.
    #[must_use]
    pub fn network(self) -> usize {
        3 * self.model_dim * self.hidden_dim
    }

    /// Weights of all blocks, and of the one table.
    #[must_use]
    pub fn weights(self) -> usize {
        self.blocks * (self.attention() + self.network()) + self.vocab * self.model_dim
    }
}

/// Megabytes that the projections of `SmolLM2` take, in one form.
#[must_use]
pub fn megabytes(precision: Precision) -> f64 {
    let bytes = match precision {
        Precision::F32 => 4.0,
        Precision::Bf16 => 2.0,
        Precision::Q8 => 1.0 + 4.0 / BLOCK as f64,
    };
    SMOLLM2.weights() as f64 * bytes / 1e6
}
