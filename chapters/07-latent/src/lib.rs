//! Latent attention: each token leaves one small vector behind, and every head's key and
//! value are made from it when they are needed, or never.
//!
//! ```text
//! c   = RMSNorm(x W_DKV)          what is cached, beside one turned key k_r = RoPE(x W_KR)
//! K_h = [c W_UK_h | k_r]          V_h = c W_UV_h
//! head_h = softmax(Q_h K_hᵀ / √(nope + rope)) V_h
//! ```
//!
//! Source: DeepSeek-AI 2024, *DeepSeek-V2*, §2.1 and appendix C. Names are those of
//! `DeepSeek`'s checkpoints.
//!
//! ```
//! use attention::{Linear, Mask};
//! use latent::{Form, LatentAttention, Projections, QueryProjection, RmsNorm, Sizes};
//! use nalgebra::DMatrix;
//!
//! let ones = |d_in, d_out| Linear::new(DMatrix::repeat(d_in, d_out, 1.0), None);
//! let sizes = Sizes { heads: 3, nope_dim: 4, rope_dim: 2, v_dim: 5 };
//! let projections = Projections {
//!     query: QueryProjection::Full(ones(6, 3 * (4 + 2))?),
//!     kv_a_proj: ones(6, 7 + 2)?,
//!     kv_a_layernorm: RmsNorm::new(vec![1.0; 7]),
//!     kv_b_proj: ones(7, 3 * (4 + 5))?,
//!     o_proj: ones(3 * 5, 6)?,
//! };
//! let layer = LatentAttention::new(projections, sizes, 10_000.0)?;
//! let found = layer.forward(&DMatrix::identity(8, 6), &Mask::None, Form::Absorbed)?;
//! assert_eq!(found.output.shape(), (8, 6));
//! assert_eq!(layer.cache(100).width(), 7 + 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cache;
mod columns;
pub mod command;
mod cores;
pub mod example;
pub mod experiments;
pub mod figures;
mod heads;
mod learned;
mod norm;
mod one;
mod projections;
mod queries;
mod sharpness;
mod sizes;
pub mod slips;

use attention::{
    Attended, Linear, Mask, ShapeError, attend, average, expect_shape, softmax,
};
pub use cache::LatentCache;
use columns::{beside, split_heads, split_up, stacked};
use decoding::{CacheError, few};
pub use learned::Learned;
use multi_head::{Heads, MultiHeadAttended};
use nalgebra::{DMatrix, DMatrixView};
pub use norm::RmsNorm;
pub use projections::Projections;
pub use queries::{Queries, QueryProjection};
use rayon::prelude::*;
use rotary::{Pairing, Rotary, RotaryError};
pub use sharpness::Sharpness;
pub use sizes::Sizes;

/// A layer whose keys and values are made from one latent per token.
#[derive(Debug, Clone, PartialEq)]
pub struct LatentAttention {
    query: QueryProjection,
    /// (`model_dim`, `lora_rank` + `rope_dim`).
    kv_a_proj: Linear,
    /// `lora_rank` entries.
    kv_a_layernorm: RmsNorm,
    /// `W_UK` (`lora_rank`, heads · `nope_dim`): latents to keys.
    k_up: Linear,
    /// `W_UV` (`lora_rank`, heads · `v_dim`): latents to values.
    v_up: Linear,
    /// (heads · `v_dim`, `d_out`).
    o_proj: Linear,
    sizes: Sizes,
    rotary: Rotary,
    sharpness: Sharpness,
}

impl LatentAttention {
    /// A layer from its projections. `theta` is the base of the rotary frequencies.
    ///
    /// # Errors
    /// When a size is 0, `rope_dim` is odd, or the projections do not fit together.
    pub fn new(
        projections: Projections,
        sizes: Sizes,
        theta: f64,
    ) -> Result<Self, LatentError> {
        projections.expect(sizes)?;
        let Sizes { nope_dim, rope_dim, v_dim, .. } = sizes;
        let rotary = Rotary::new(rope_dim, theta, Pairing::Neighbors)?;
        let Projections { query, kv_a_proj, kv_a_layernorm, kv_b_proj, o_proj } =
            projections;
        let (k_up, v_up) = split_up(&kv_b_proj, nope_dim, v_dim)?;
        Ok(LatentAttention {
            query,
            kv_a_proj,
            kv_a_layernorm,
            k_up,
            v_up,
            o_proj,
            sizes,
            rotary,
            sharpness: Sharpness::PLAIN,
        })
    }

    /// The same layer, turned by `rotary`: other frequencies, or other features in a pair.
    /// [`LatentAttention::new`] pairs neighbors, as `DeepSeek`'s checkpoints do.
    ///
    /// # Errors
    /// When `rotary` does not turn `rope_dim` features.
    pub fn with_rotary(self, rotary: Rotary) -> Result<Self, ShapeError> {
        let (found, wanted) = ((1, rotary.head_dim()), (1, self.sizes.rope_dim));
        expect_shape("rotary", found, wanted, "it turns the rotary part of a head")?;
        Ok(LatentAttention { rotary, ..self })
    }

    /// Self-attention: the tokens `x` (tokens, `model_dim`), which stand at 0, 1, 2, …,
    /// look at one another.
    ///
    /// # Errors
    /// When `x` or the mask does not have the shape that the layer needs.
    pub fn forward(
        &self,
        x: &DMatrix<f32>,
        mask: &Mask,
        form: Form,
    ) -> Result<MultiHeadAttended, ShapeError> {
        let (q, kept) = (self.queries(x, 0)?, self.compress(x, 0)?);
        self.mix(self.attend(&q, kept.as_view(), mask, form)?)
    }

    /// What the tokens `x` (tokens, `model_dim`) leave behind, the first of which stands
    /// at position `start`: (tokens, `lora_rank` + `rope_dim`), the latent c and beside
    /// it the turned key (DeepSeek-V2, appendix C).
    ///
    /// # Errors
    /// When `x` is not as wide as the projection expects.
    pub fn compress(
        &self,
        x: &DMatrix<f32>,
        start: usize,
    ) -> Result<DMatrix<f32>, ShapeError> {
        let both = self.kv_a_proj.forward(x)?;
        let (c, mut r) = split_heads(&both, self.lora_rank(), self.sizes.rope_dim);
        let c = self.kv_a_layernorm.forward(&c)?;
        self.rotary.angles(start..start + x.nrows()).rotate(&mut r)?;
        Ok(beside(c.as_view(), r.as_view()))
    }

    /// The queries of the tokens `x` (tokens, `model_dim`), the first of which stands at
    /// position `start`. [`Sharpness`] changes them in stretched models alone.
    ///
    /// # Errors
    /// When `x` is not as wide as the projection expects.
    pub fn queries(
        &self,
        x: &DMatrix<f32>,
        start: usize,
    ) -> Result<Queries, ShapeError> {
        let all = self.query.forward(x)?;
        let (nope, mut rope) =
            split_heads(&all, self.sizes.nope_dim, self.sizes.rope_dim);
        self.rotary.angles(start..start + x.nrows()).rotate(&mut rope)?;
        let mut queries = Queries { nope, rope };
        self.sharpness.sharpen(&mut queries, start);
        Ok(queries)
    }

    /// Lets queries look at tokens by what these left behind, `kept` (keys,
    /// `lora_rank` + `rope_dim`).
    ///
    /// # Errors
    /// When `q`, `kept` or the mask does not fit.
    pub fn attend(
        &self,
        q: &Queries,
        kept: DMatrixView<f32>,
        mask: &Mask,
        form: Form,
    ) -> Result<Heads, ShapeError> {
        self.expect_queries(q)?;
        self.expect_kept(kept)?;
        match form {
            Form::Naive => self.attend_naive(q, kept, mask),
            Form::Absorbed => self.attend_absorbed(q, kept, mask),
        }
    }

    /// Makes the keys and values of all heads, and then it is multi-head attention.
    fn attend_naive(
        &self,
        q: &Queries,
        kept: DMatrixView<f32>,
        mask: &Mask,
    ) -> Result<Heads, ShapeError> {
        let Sizes { nope_dim, rope_dim, v_dim, .. } = self.sizes;
        let Expanded { k, v } = self.expand(kept)?;
        let r = kept.columns(self.lora_rank(), rope_dim);
        let one = |h| {
            let q = beside(self.nope(q, h), self.rope(q, h));
            let k = beside(k.columns(h * nope_dim, nope_dim), r);
            attend(q.as_view(), k.as_view(), v.columns(h * v_dim, v_dim), mask)
        };
        let found: Vec<_> = self.heads().into_par_iter().map(one).collect();
        self.side_by_side(q.tokens(), found.into_iter())
    }

    /// Keys (keys, heads · `nope_dim`) and values (keys, heads · `v_dim`) of all heads,
    /// from what is kept.
    ///
    /// # Errors
    /// When `kept` is not [`LatentAttention::kept_width`] wide.
    pub fn expand(&self, kept: DMatrixView<f32>) -> Result<Expanded, ShapeError> {
        self.expect_kept(kept)?;
        let c = kept.columns(0, self.lora_rank()).into_owned();
        Ok(Expanded { k: self.k_up.forward(&c)?, v: self.v_up.forward(&c)? })
    }

    /// Multi-query attention: all heads look at one matrix, whose rows are the keys and
    /// whose first `lora_rank` columns are the values. The queries of all heads are the
    /// rows of another, so each product serves them all. Stacking the weights copies
    /// them once.
    fn attend_absorbed(
        &self,
        q: &Queries,
        kept: DMatrixView<f32>,
        mask: &Mask,
    ) -> Result<Heads, ShapeError> {
        let (n, c) = (q.tokens(), kept.columns(0, self.lora_rank()));
        let asks: Vec<_> = self.heads().map(|h| self.absorb(q, h)).collect();
        let asks = stacked(&asks, kept.ncols()); // (heads · tokens, rank + rope)
        let scores = few::scores(&asks, kept); // (keys, heads · tokens)
        let weigh = |h| -> Result<_, ShapeError> {
            let mut scores = scores.columns(h * n, n).transpose();
            mask.hide(&mut scores)?;
            Ok(softmax(scores))
        };
        let weights = self.heads().map(weigh).collect::<Result<Vec<_>, _>>()?;
        let stack = stacked(&weights, kept.nrows());
        let latents = average(stack.as_view(), c, |row, key| mask.sees(row % n, key));
        let found = weights.into_iter().enumerate().map(|(h, weights)| {
            let output = latents.rows(h * n, n).into_owned();
            Ok(self.raise(h, Attended { output, weights }))
        });
        self.side_by_side(n, found)
    }

    /// A head's queries where the latents are, `[q W_UKᵀ | q_r] / √(nope + rope)`:
    /// (tokens, `lora_rank` + `rope_dim`). A bias of `W_UK` would add the same to all scores
    /// of a query, which softmax does not see.
    fn absorb(&self, q: &Queries, head: usize) -> DMatrix<f32> {
        let q_nope = self.nope(q, head).into_owned();
        // `scores` is the product W_UK qᵀ, which reads W_UK as it lies.
        let asks = few::scores(&q_nope, self.k_up(head)).transpose();
        beside(asks.as_view(), self.rope(q, head)) / (self.sizes.qk_dim() as f32).sqrt()
    }

    /// The mean of latents to the mean of values: (tokens, `lora_rank`) to (tokens,
    /// `v_dim`).
    fn raise(&self, head: usize, found: Attended) -> Attended {
        let Attended { output: latents, weights } = found;
        let mut output = match latents.nrows() {
            1 => few::average(&latents.transpose(), self.v_up(head)),
            _ => latents * self.v_up(head),
        };
        if let Some(bias) = self.v_bias(head) {
            // The weights of a query sum to 1, or to 0 if it has nothing to look at.
            output += weights.column_sum() * bias.transpose();
        }
        Attended { output, weights }
    }

    /// What the heads found (tokens, heads · `v_dim`), through the output projection.
    ///
    /// # Errors
    /// When it is not as wide as all heads together.
    pub fn output(&self, context: &DMatrix<f32>) -> Result<DMatrix<f32>, ShapeError> {
        self.o_proj.forward(context)
    }

    fn mix(&self, heads: Heads) -> Result<MultiHeadAttended, ShapeError> {
        let output = self.output(&heads.found)?;
        Ok(MultiHeadAttended { output, weights: heads.weights })
    }

    /// Numbers that each token leaves behind: `lora_rank` + `rope_dim`.
    #[must_use]
    pub fn kept_width(&self) -> usize {
        self.lora_rank() + self.sizes.rope_dim
    }

    /// How many heads there are, and how wide their parts.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// Width of a latent.
    #[must_use]
    pub fn lora_rank(&self) -> usize {
        self.k_up.shape().0
    }

    /// An empty cache for this layer, with room for `capacity` tokens.
    #[must_use]
    pub fn cache(&self, capacity: usize) -> LatentCache {
        LatentCache::new(capacity, self.kept_width())
    }

    /// Numbers that were learned.
    #[must_use]
    pub fn parameters(&self) -> usize {
        let rest = [&self.kv_a_proj, &self.k_up, &self.v_up, &self.o_proj];
        let rest: usize = rest.map(Linear::parameters).iter().sum();
        self.query.parameters() + self.kv_a_layernorm.width() + rest
    }
}

/// In which order the same product is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `q (c W_UK)ᵀ`: makes every token's keys and values from its latent.
    Naive,
    /// `(q W_UKᵀ) cᵀ`: brings the query to the latents, and makes no key or value at all.
    Absorbed,
}

/// Keys and values of all heads, made from latents.
#[derive(Debug, Clone, PartialEq)]
pub struct Expanded {
    /// (keys, heads · `nope_dim`): without the turned key that all heads share.
    pub k: DMatrix<f32>,
    /// (keys, heads · `v_dim`).
    pub v: DMatrix<f32>,
}

/// Runs `x` (tokens, `model_dim`), which follows the tokens in `cache`, through the layer:
/// any number of tokens at once, each of which sees itself and everything before it.
///
/// # Errors
/// When `x` does not fit the layer, the cache does not, or has no room. Then nothing is
/// kept.
pub fn prefill(
    layer: &LatentAttention,
    x: &DMatrix<f32>,
    cache: &mut LatentCache,
    form: Form,
) -> Result<MultiHeadAttended, LatentError> {
    let start = cache.len();
    let q = layer.queries(x, start)?;
    cache.append(&layer.compress(x, start)?)?;
    let causal = Mask::Causal { offset: start };
    Ok(layer.mix(layer.attend(&q, cache.kept(), &causal, form)?)?)
}

/// Runs the next token, `x` (1, `model_dim`), through the layer. It sees everything that
/// is kept, so there is nothing to mask.
///
/// # Errors
/// When `x` is not one token, or as for [`prefill`].
pub fn decode(
    layer: &LatentAttention,
    x: &DMatrix<f32>,
    cache: &mut LatentCache,
    form: Form,
) -> Result<MultiHeadAttended, LatentError> {
    expect_shape("x", x.shape(), (1, x.ncols()), "decoding goes token by token")?;
    let start = cache.len();
    let q = layer.queries(x, start)?;
    cache.append(&layer.compress(x, start)?)?;
    Ok(layer.mix(layer.attend_one(&q, cache.kept(), form)?)?)
}

/// Why there is no such layer, or it cannot run.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LatentError {
    /// A layer without heads, or heads without features.
    #[error("{sizes:?}: each has to be at least 1")]
    Nothing {
        /// What was asked for.
        sizes: Sizes,
    },
    /// A tensor does not fit.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// The turned features do not form pairs, or theta is no base.
    #[error(transparent)]
    Rotary(#[from] RotaryError),
    /// The cache does not fit, or has no room.
    #[error(transparent)]
    Cache(#[from] CacheError),
}
