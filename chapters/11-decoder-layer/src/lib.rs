//! The attention layer of a model of today: grouped heads and rotation as before, and
//! around the softmax whatever parts its `config.json` asks for.
//!
//! ```text
//! q, k = rotate(norm(x W_Q)), rotate(norm(x W_K))     a norm before they meet
//! s    = cap · tanh(scale · q kᵀ / cap)                scores within bounds
//! w    = softmax([s | sink])                           weight that goes to no value
//! y    = (σ(x W_G) ∘ w v) W_O                          a gate on what was found
//! ```
//!
//! Sources: Henry et al. 2020, *Query-Key Normalization for Transformers*; Gemma Team
//! 2024, *Gemma 2*, §2; `OpenAI` 2025, *gpt-oss model card*, §2.2; Qiu et al. 2025, *Gated
//! Attention for Large Language Models*.
//!
//! ```
//! use decoder_layer::soft_cap;
//! use nalgebra::dmatrix;
//!
//! // A small score stays what it is, a large one stays below the cap.
//! let mut scores = dmatrix![1.0, 500.0];
//! soft_cap(&mut scores, 50.0);
//! assert!((scores[0] - 1.0_f32).abs() < 1e-3);
//! assert!((scores[1] - 50.0_f32).abs() < 1e-3);
//! ```

pub mod command;
pub mod example;
pub mod experiments;
pub mod figures;
pub mod layout;
mod learned;
mod norm;
pub mod reading;
pub mod slips;

use attention::{Attended, Linear, Mask, ShapeError, average, expect_shape, softmax};
use checkpoint::Sight;
use decoding::KvCache;
use grouped_query::{GroupError, Groups};
use multi_head::{Heads, LayerError, MultiHeadAttended, Projected, head_dim};
use nalgebra::{DMatrix, DMatrixView, DVector};
pub use norm::{Centering, HeadNorm};
use rayon::prelude::*;
use rotary::{Angles, Rotary};
use std::ops::Range;

/// Bounds every score: `cap · tanh(score / cap)`, which is the score itself where it is
/// small, and never more than `cap`.
///
/// Source: Gemma Team 2024, *Gemma 2*, §2, "Logit soft-capping".
pub fn soft_cap(scores: &mut DMatrix<f32>, cap: f32) {
    scores.apply(|score| *score = cap * (*score / cap).tanh());
}

/// Softmax of each row of `scores` (queries, keys) and one score more, `sink`, that takes
/// its share of the weight and has no value to give. What is left for the keys sums to
/// less than one.
///
/// Source: Xiao et al. 2023, *Efficient Streaming Language Models with Attention Sinks*,
/// §3.3; learned per head in gpt-oss.
#[must_use]
pub fn softmax_with_sink(scores: DMatrix<f32>, sink: f32) -> DMatrix<f32> {
    let keys = scores.ncols();
    softmax(scores.insert_column(keys, sink)).remove_column(keys)
}

/// Lets as much of each feature of `found` (tokens, features) pass as its gate is open:
/// σ(gate), between 0 and 1.
///
/// # Errors
/// When there is not one gate for each feature.
pub fn open_gate(
    found: &mut DMatrix<f32>,
    gate: &DMatrix<f32>,
) -> Result<(), ShapeError> {
    expect_shape("gate", gate.shape(), found.shape(), "one gate for each feature")?;
    found.zip_apply(gate, |found, gate| *found /= 1.0 + (-gate).exp());
    Ok(())
}

/// A factor on queries that grows with their position, so that the softmax stays as
/// sharp over many keys as over few: `1 + β ln(1 + ⌊position / every⌋)`.
///
/// Source: Nakanishi 2025, *Scalable-Softmax Is Superior for Attention*; the form is that
/// of Ministral 3, and of Llama 4, which counts positions from 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Temperature {
    /// β: how fast it grows.
    pub beta: f64,
    /// The first tokens, so many, have a factor of 1.
    pub every: f64,
}

impl Temperature {
    /// What the query at this position is multiplied by.
    #[must_use]
    pub fn at(self, position: usize) -> f32 {
        let steps = (position as f64 / self.every).floor();
        (1.0 + self.beta * steps.ln_1p()) as f32
    }
}

/// The norms of a layer's queries and keys.
#[derive(Debug, Clone, PartialEq)]
pub struct Norms {
    /// Of all query heads.
    pub q: HeadNorm,
    /// Of all key heads.
    pub k: HeadNorm,
}

/// All of a layer but its matrices: how its heads share keys, and which parts stand around
/// their softmax. [`Parts::plain`] has none of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Parts {
    /// Which query heads share a key.
    pub groups: Groups,
    /// Width of a query and of a key.
    pub head_dim: usize,
    /// Whom a token sees.
    pub sight: Sight,
    /// How many tokens a query sees at most, itself included.
    pub window: Option<usize>,
    /// Queries, keys and values stay between minus this and this.
    pub clip: Option<f32>,
    /// Norms of queries and keys, before they rotate.
    pub norms: Option<Norms>,
    /// The rotation of queries and keys.
    pub rotary: Option<Rotary>,
    /// A factor on queries that grows with their position.
    pub temperature: Option<Temperature>,
    /// What scores are multiplied by.
    pub scale: f32,
    /// What scores are bounded by.
    pub cap: Option<f32>,
    /// One score for each query head that takes weight and gives no value.
    pub sinks: Option<DVector<f32>>,
}

/// Where tokens stand, and the angles by which their queries and keys turn there. Layers
/// that rotate alike may share one.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    positions: Range<usize>,
    angles: Option<Angles>,
}

impl Parts {
    /// A decoder whose heads do what chapter 5's do: scores are q · k / √`head_dim`.
    #[must_use]
    pub fn plain(groups: Groups, head_dim: usize) -> Self {
        Parts {
            groups,
            head_dim,
            sight: Sight::Causal,
            window: None,
            clip: None,
            norms: None,
            rotary: None,
            temperature: None,
            scale: 1.0 / (head_dim as f32).sqrt(),
            cap: None,
            sinks: None,
        }
    }

    /// The place of tokens at these positions, in a text of `text` tokens: some rotations
    /// are slower in long texts.
    #[must_use]
    pub fn place(&self, positions: Range<usize>, text: usize) -> Place {
        let rotary = self.rotary.as_ref();
        let angles = rotary
            .map(|rotary| rotary.clone().for_text(text).angles(positions.clone()));
        Place { positions, angles }
    }

    /// What becomes of queries, keys and values between their projections and the moment
    /// they meet.
    ///
    /// # Errors
    /// When they are not as wide as the heads, or not as many as the place has tokens.
    pub fn prepare(
        &self,
        projected: &mut Projected,
        place: &Place,
    ) -> Result<(), ShapeError> {
        let Projected { q, k, v } = projected;
        if let Some(most) = self.clip {
            for x in [&mut *q, k, v] {
                x.apply(|x| *x = x.clamp(-most, most));
            }
        }
        if let Some(norms) = &self.norms {
            norms.q.apply(q)?;
            norms.k.apply(k)?;
        }
        if let Some(angles) = &place.angles {
            angles.rotate(q)?;
            angles.rotate(k)?;
        }
        if let Some(temperature) = self.temperature {
            for (mut query, position) in q.row_iter_mut().zip(place.positions.clone()) {
                query *= temperature.at(position);
            }
        }
        Ok(())
    }

    /// What queries see that have `offset` keys before the first of them.
    #[must_use]
    pub fn mask(&self, offset: usize) -> Mask {
        match (self.sight, self.window) {
            (Sight::All, _) => Mask::None,
            (Sight::Causal, None) => Mask::Causal { offset },
            (Sight::Causal, Some(window)) => Mask::Window { offset, window },
        }
    }

    /// Lets each head attend with its own columns of `q` (queries, heads · `head_dim`) to
    /// the columns of `k` (keys, `kv_heads` · `head_dim`) and `v` (keys, `kv_heads` ·
    /// `v_dim`) that its group shares.
    ///
    /// # Errors
    /// When queries, keys, values, sinks and mask do not fit together.
    pub fn attend(
        &self,
        q: &DMatrix<f32>,
        k: DMatrixView<f32>,
        v: DMatrixView<f32>,
        mask: &Mask,
    ) -> Result<Heads, LayerError> {
        let (heads, d_k) = (self.groups.heads(), self.head_dim);
        let d_v = self.expect_widths(q, k, v)?;
        let one = |h| {
            let g = self.groups.kv_head(h);
            let (k, v) = (k.columns(g * d_k, d_k), v.columns(g * d_v, d_v));
            self.head(h, q.columns(h * d_k, d_k), k, v, mask)
        };
        let all: Vec<_> = (0..heads).into_par_iter().map(one).collect();

        let mut found = DMatrix::zeros(q.nrows(), heads * d_v);
        let mut weights = Vec::with_capacity(heads);
        for (h, attended) in all.into_iter().enumerate() {
            let attended = attended?;
            found.columns_mut(h * d_v, d_v).copy_from(&attended.output);
            weights.push(attended.weights);
        }
        Ok(Heads { found, weights })
    }

    /// Chapter 1's attention for the head `head`, with the parts that stand around its
    /// softmax.
    fn head(
        &self,
        head: usize,
        q: DMatrixView<f32>,
        k: DMatrixView<f32>,
        v: DMatrixView<f32>,
        mask: &Mask,
    ) -> Result<Attended, ShapeError> {
        let weights = self.weights(head, q, k, mask)?;
        let output = average(weights.as_view(), v, |query, key| mask.sees(query, key));
        Ok(Attended { output, weights })
    }

    /// The weights of the head `head` alone, (queries, keys).
    pub(crate) fn weights(
        &self,
        head: usize,
        q: DMatrixView<f32>,
        k: DMatrixView<f32>,
        mask: &Mask,
    ) -> Result<DMatrix<f32>, ShapeError> {
        let mut scores = q * self.scale * k.transpose();
        if let Some(cap) = self.cap {
            soft_cap(&mut scores, cap);
        }
        mask.hide(&mut scores)?;
        Ok(match &self.sinks {
            Some(sinks) => softmax_with_sink(scores, sinks[head]),
            None => softmax(scores),
        })
    }

    /// What [`Parts::attend`] finds, (queries, heads · `v_dim`), without the weights: in
    /// tiles, where no cap stands between the scores and the softmax.
    ///
    /// # Errors
    /// As for [`Parts::attend`].
    pub fn find(
        &self,
        q: &DMatrix<f32>,
        k: DMatrixView<f32>,
        v: DMatrixView<f32>,
        mask: &Mask,
    ) -> Result<DMatrix<f32>, LayerError> {
        self.expect_widths(q, k, v)?;
        if self.cap.is_some() {
            return Ok(self.attend(q, k, v, mask)?.found);
        }
        // Flash divides by √d itself.
        let q = q * (self.scale * (self.head_dim as f32).sqrt());
        match &self.sinks {
            Some(sinks) => {
                let sinks = sinks.as_slice();
                flash::attend_with_sinks(&q, k, v, self.groups, mask, sinks)
            }
            None => flash::attend(&q, k, v, self.groups, mask),
        }
    }

    /// The width of a value, if all fits.
    fn expect_widths(
        &self,
        q: &DMatrix<f32>,
        k: DMatrixView<f32>,
        v: DMatrixView<f32>,
    ) -> Result<usize, LayerError> {
        let (heads, kv_heads) = (self.groups.heads(), self.groups.kv_heads());
        let queries = (q.nrows(), heads * self.head_dim);
        expect_shape("q", q.shape(), queries, "one query for each head")?;
        let keys = (v.nrows(), kv_heads * self.head_dim);
        expect_shape("k", k.shape(), keys, "one key per value for each group")?;
        if let Some(sinks) = &self.sinks {
            expect_shape("sinks", sinks.shape(), (heads, 1), "one for each head")?;
        }
        head_dim("v", v.ncols(), kv_heads)
    }
}

/// A layer: its projections, and the parts around its softmax.
#[derive(Debug, Clone, PartialEq)]
pub struct DecoderLayer {
    /// (`model_dim`, heads · `head_dim`)
    q_proj: Linear,
    /// (`model_dim`, `kv_heads` · `head_dim`)
    k_proj: Linear,
    /// (`model_dim`, `kv_heads` · `v_dim`)
    v_proj: Linear,
    /// (heads · `v_dim`, `d_out`)
    o_proj: Linear,
    /// (`model_dim`, heads · `v_dim`): how far the output gate opens.
    gate_proj: Option<Linear>,
    parts: Parts,
}

impl DecoderLayer {
    /// A layer from the projections of queries, keys, values and output, and its parts.
    ///
    /// # Errors
    /// When they do not fit together.
    pub fn new(
        [q_proj, k_proj, v_proj, o_proj]: [Linear; 4],
        parts: Parts,
    ) -> Result<Self, LayerError> {
        let (model_dim, d_k) = (q_proj.shape().0, parts.head_dim);
        let (heads, kv_heads) = (parts.groups.heads(), parts.groups.kv_heads());
        let why = "one query for each head";
        expect_shape("q_proj", q_proj.shape(), (model_dim, heads * d_k), why)?;
        let why = "one key for each group";
        expect_shape("k_proj", k_proj.shape(), (model_dim, kv_heads * d_k), why)?;
        let values = (model_dim, v_proj.shape().1);
        let why = "keys and values read the same tokens";
        expect_shape("v_proj", v_proj.shape(), values, why)?;
        let d_v = head_dim("v_proj", v_proj.shape().1, kv_heads)?;
        let found = (heads * d_v, o_proj.shape().1);
        let why = "it reads one value for each query head";
        expect_shape("o_proj", o_proj.shape(), found, why)?;
        Ok(DecoderLayer { q_proj, k_proj, v_proj, o_proj, gate_proj: None, parts })
    }

    /// The same, with a gate on what the heads find: `gate_proj` is (`model_dim`, heads ·
    /// `v_dim`).
    ///
    /// # Errors
    /// When it does not fit.
    pub fn gated(mut self, gate_proj: Linear) -> Result<Self, ShapeError> {
        let wanted = (self.q_proj.shape().0, self.o_proj.shape().0);
        let why = "one gate for each feature that the heads find";
        expect_shape("gate_proj", gate_proj.shape(), wanted, why)?;
        self.gate_proj = Some(gate_proj);
        Ok(self)
    }

    /// Self-attention: the tokens `x` (tokens, `model_dim`), which stand at 0, 1, 2, …,
    /// look at one another under `mask`, for which [`Parts::mask`] is the layer's own.
    ///
    /// # Errors
    /// When `x` or the mask does not have the shape that the layer needs.
    pub fn forward(
        &self,
        x: &DMatrix<f32>,
        mask: &Mask,
    ) -> Result<MultiHeadAttended, LayerError> {
        let place = self.parts.place(0..x.nrows(), x.nrows());
        let Projected { q, k, v } = self.project(x, &place)?;
        self.mix(x, self.parts.attend(&q, k.as_view(), v.as_view(), mask)?)
    }

    /// Queries, keys and values of the tokens `x` (tokens, `model_dim`), ready to meet.
    ///
    /// # Errors
    /// When `x` is not as wide as the projections expect, or does not have as many tokens
    /// as the place.
    pub fn project(
        &self,
        x: &DMatrix<f32>,
        place: &Place,
    ) -> Result<Projected, ShapeError> {
        let mut projected = Projected {
            q: self.q_proj.forward(x)?,
            k: self.k_proj.forward(x)?,
            v: self.v_proj.forward(x)?,
        };
        self.parts.prepare(&mut projected, place)?;
        Ok(projected)
    }

    /// What the heads found for the tokens `x`, through the gate and the output
    /// projection.
    ///
    /// # Errors
    /// When it does not fit.
    pub fn mix(
        &self,
        x: &DMatrix<f32>,
        heads: Heads,
    ) -> Result<MultiHeadAttended, LayerError> {
        let Heads { mut found, weights } = heads;
        if let Some(gate_proj) = &self.gate_proj {
            open_gate(&mut found, &gate_proj.forward(x)?)?;
        }
        Ok(MultiHeadAttended { output: self.o_proj.forward(&found)?, weights })
    }

    /// What stands around its softmax.
    #[must_use]
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// An empty cache for so many tokens.
    #[must_use]
    pub fn cache(&self, capacity: usize) -> KvCache {
        KvCache::new(capacity, self.k_proj.shape().1, self.v_proj.shape().1)
    }

    /// Features that leave it.
    #[must_use]
    pub fn width_out(&self) -> usize {
        self.o_proj.shape().1
    }
}

/// Runs `x` (tokens, `model_dim`), which follows the tokens in `cache`, through the layer:
/// one token or many. `text` is how many tokens the text will have in the end; of most
/// layers, nothing depends on it. The cache holds keys that are normed and turned.
///
/// # Errors
/// When `x` does not fit the layer, or the cache does not, or has no room. Then nothing is
/// kept.
pub fn step(
    layer: &DecoderLayer,
    x: &DMatrix<f32>,
    text: usize,
    cache: &mut KvCache,
) -> Result<MultiHeadAttended, GroupError> {
    let start = cache.len();
    let place = layer.parts.place(start..start + x.nrows(), text);
    let Projected { q, k, v } = layer.project(x, &place)?;
    cache.append(&k, &v)?;
    let mask = layer.parts.mask(start);
    let heads = layer.parts.attend(&q, cache.keys(), cache.values(), &mask)?;
    Ok(layer.mix(x, heads)?)
}

/// Runs `x` (tokens, `model_dim`) through the layer and a cache of its own: the first
/// `prompt` tokens at once, or all if there are fewer, and the others one by one. The
/// weights are (tokens, tokens), with zeros for the future.
///
/// # Errors
/// When `x` does not fit the layer, or its tokens see those that follow, which no cache
/// holds yet.
pub fn through_cache(
    layer: &DecoderLayer,
    x: &DMatrix<f32>,
    prompt: usize,
) -> Result<MultiHeadAttended, GroupError> {
    let n = x.nrows();
    let mut cache = layer.cache(n);
    let mut output = DMatrix::zeros(n, layer.width_out());
    let mut weights = vec![DMatrix::zeros(n, n); layer.parts.groups.heads()];
    let prompt = prompt.min(n);
    let chunks = std::iter::once(0..prompt).chain((prompt..n).map(|t| t..t + 1));
    for chunk in chunks {
        let rows = x.rows(chunk.start, chunk.len()).into_owned();
        let part = step(layer, &rows, n, &mut cache)?;
        output.rows_mut(chunk.start, chunk.len()).copy_from(&part.output);
        for (all, part) in weights.iter_mut().zip(&part.weights) {
            all.view_mut((chunk.start, 0), part.shape()).copy_from(part);
        }
    }
    Ok(MultiHeadAttended { output, weights })
}
