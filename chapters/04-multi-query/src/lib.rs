//! Multi-query attention: every head asks its own question, and all of them look at one
//! set of keys and values.
//!
//! ```text
//! head_h = attention(Q_h, K, V)      one K and one V for all heads
//! output = [head_0 | head_1 | …] W_O
//! ```
//!
//! Source: Shazeer 2019, *Fast Transformer Decoding: One Write-Head is All You Need*, §3.
//!
//! ```
//! use attention::{Linear, Mask};
//! use multi_query::MultiQueryAttention;
//! use nalgebra::DMatrix;
//!
//! let ones = |d_in, d_out| Linear::new(DMatrix::repeat(d_in, d_out, 1.0), None);
//! let [q_proj, k_proj] = [ones(6, 4 * 3)?, ones(6, 3)?];
//! let [v_proj, o_proj] = [ones(6, 3)?, ones(4 * 3, 6)?];
//! let layer = MultiQueryAttention::new(q_proj, k_proj, v_proj, o_proj, 4)?;
//! let attended = layer.forward(&DMatrix::identity(5, 6), &Mask::None)?;
//! assert_eq!(attended.output.shape(), (5, 6));
//! assert_eq!(layer.kv_widths(), (3, 3));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod alignment;
pub mod command;
pub mod example;
pub mod experiments;
pub mod figures;
mod learned;
pub mod slips;

use attention::{Linear, Mask, ShapeError, attend, expect_shape};
use decoding::{CacheError, Columns, KvCache, attend_columns};
use multi_head::{Heads, LayerError, MultiHeadAttended, Projected, head_dim};
use nalgebra::{DMatrix, DMatrixView};
use rayon::prelude::*;

/// A layer whose heads have queries of their own, and one key and one value in common.
#[derive(Debug, Clone, PartialEq)]
pub struct MultiQueryAttention {
    /// (`model_dim`, heads · `head_dim`): the queries of all heads side by side.
    q_proj: Linear,
    /// (`context_dim`, `head_dim`): the one key of a token.
    k_proj: Linear,
    /// (`context_dim`, `v_dim`): the one value of a token.
    v_proj: Linear,
    /// (heads · `v_dim`, `d_out`): mixes what the heads found.
    o_proj: Linear,
    heads: usize,
}

impl MultiQueryAttention {
    /// A layer from its four projections and the number of query heads.
    ///
    /// # Errors
    /// When the heads do not divide the width of the queries, or the projections do not
    /// fit together.
    pub fn new(
        q_proj: Linear,
        k_proj: Linear,
        v_proj: Linear,
        o_proj: Linear,
        heads: usize,
    ) -> Result<Self, LayerError> {
        let head_dim = head_dim("q_proj", q_proj.shape().1, heads)?;
        let key = (k_proj.shape().0, head_dim);
        expect_shape("k_proj", k_proj.shape(), key, "one key serves every query head")?;
        let value = (k_proj.shape().0, v_proj.shape().1);
        let why = "keys and values read the same tokens";
        expect_shape("v_proj", v_proj.shape(), value, why)?;
        let found = (heads * v_proj.shape().1, o_proj.shape().1);
        let why = "it reads one value width per head";
        expect_shape("o_proj", o_proj.shape(), found, why)?;
        Ok(MultiQueryAttention { q_proj, k_proj, v_proj, o_proj, heads })
    }

    /// Self-attention: the tokens `x` (tokens, `model_dim`) look at one another.
    ///
    /// # Errors
    /// When `x` or the mask has another shape than the layer needs.
    pub fn forward(
        &self,
        x: &DMatrix<f32>,
        mask: &Mask,
    ) -> Result<MultiHeadAttended, ShapeError> {
        self.forward_cross(x, x, mask)
    }

    /// Cross-attention: the tokens `x` (tokens, `model_dim`) look at `context`
    /// (context tokens, `context_dim`).
    ///
    /// # Errors
    /// When `x`, `context` or the mask has another shape than the layer needs.
    pub fn forward_cross(
        &self,
        x: &DMatrix<f32>,
        context: &DMatrix<f32>,
        mask: &Mask,
    ) -> Result<MultiHeadAttended, ShapeError> {
        let Projected { q, k, v } = self.project(x, context)?;
        let Heads { found, weights } =
            attend_shared(&q, k.as_view(), v.as_view(), self.heads, mask)?;
        Ok(MultiHeadAttended { output: self.o_proj.forward(&found)?, weights })
    }

    /// Queries of all heads from `x`; from `context` one key and one value per token.
    ///
    /// # Errors
    /// When `x` or `context` has another width than its projection reads.
    pub fn project(
        &self,
        x: &DMatrix<f32>,
        context: &DMatrix<f32>,
    ) -> Result<Projected, ShapeError> {
        Ok(Projected {
            q: self.q_proj.forward(x)?,
            k: self.k_proj.forward(context).map_err(|e| e.of("context"))?,
            v: self.v_proj.forward(context).map_err(|e| e.of("context"))?,
        })
    }

    /// How many query heads look at the one key.
    #[must_use]
    pub fn heads(&self) -> usize {
        self.heads
    }

    /// The map that mixes what the heads found.
    #[must_use]
    pub fn o_proj(&self) -> &Linear {
        &self.o_proj
    }

    /// (`head_dim`, `v_dim`): what one token leaves in a cache, whatever the number of
    /// heads.
    #[must_use]
    pub fn kv_widths(&self) -> (usize, usize) {
        (self.k_proj.shape().1, self.v_proj.shape().1)
    }

    /// Numbers that were learned, in all four projections.
    #[must_use]
    pub fn parameters(&self) -> usize {
        [&self.q_proj, &self.k_proj, &self.v_proj, &self.o_proj]
            .map(Linear::parameters)
            .iter()
            .sum()
    }
}

/// Lets each head attend with its own columns of `q` (queries, heads · `d_k`) to the one
/// `k` (keys, `d_k`) and `v` (keys, `d_v`) that all heads share.
///
/// # Errors
/// When `q` is not as wide as `heads` keys, `k` and `v` differ in rows, or the mask does
/// not fit.
pub fn attend_shared(
    q: &DMatrix<f32>,
    k: DMatrixView<f32>,
    v: DMatrixView<f32>,
    heads: usize,
    mask: &Mask,
) -> Result<Heads, ShapeError> {
    let (d_k, d_v) = (k.ncols(), v.ncols());
    let why = "one query per head, as wide as the key";
    expect_shape("q", q.shape(), (q.nrows(), heads * d_k), why)?;
    let one = |h| attend(q.columns(h * d_k, d_k), k, v, mask);
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

/// Runs `x` (tokens, `model_dim`), which follows the tokens in `cache`, through the layer:
/// any number of tokens at once, each of which sees itself and everything before it. The
/// cache is as wide as [`MultiQueryAttention::kv_widths`] says.
///
/// # Errors
/// When `x` does not fit the layer, the cache does not, or has no room. Then nothing is
/// kept.
pub fn prefill(
    layer: &MultiQueryAttention,
    x: &DMatrix<f32>,
    cache: &mut KvCache,
) -> Result<MultiHeadAttended, CacheError> {
    let Projected { q, k, v } = layer.project(x, x)?;
    let causal = Mask::Causal { offset: cache.len() };
    cache.append(&k, &v)?;
    let Heads { found, weights } =
        attend_shared(&q, cache.keys(), cache.values(), layer.heads, &causal)?;
    Ok(MultiHeadAttended { output: layer.o_proj.forward(&found)?, weights })
}

/// Runs the next token, `x` (1, `model_dim`), through the layer. All heads look at the
/// same keys, so their queries are the rows of one matrix, and one call serves them all.
///
/// # Errors
/// When `x` is not one token, or as for [`prefill`].
pub fn decode(
    layer: &MultiQueryAttention,
    x: &DMatrix<f32>,
    cache: &mut KvCache,
) -> Result<MultiHeadAttended, CacheError> {
    expect_shape("x", x.shape(), (1, x.ncols()), "decoding goes token by token")?;
    let Projected { q, k, v } = layer.project(x, x)?;
    cache.append(&k, &v)?;
    let q = one_row_a_head(&q, layer.heads, k.ncols());
    let Columns { output, shares } =
        attend_columns(q.as_view(), cache.keys(), cache.values())?;
    let output = layer.o_proj.forward(&side_by_side(&output))?;
    let weights = (0..layer.heads).map(|h| shares.columns(h, 1).transpose());
    Ok(MultiHeadAttended { output, weights: weights.collect() })
}

/// One token's (1, heads · `width`) as (heads, `width`).
fn one_row_a_head(all: &DMatrix<f32>, heads: usize, width: usize) -> DMatrix<f32> {
    DMatrix::from_row_slice(heads, width, all.as_slice())
}

/// (heads, `width`) as one token's (1, heads · `width`).
fn side_by_side(heads: &DMatrix<f32>) -> DMatrix<f32> {
    DMatrix::from_row_slice(1, heads.len(), heads.transpose().as_slice())
}

/// One head in place of many: the mean of the heads that lie side by side in `all`
/// (·, heads · width), which may be a projection's weight or its bias. This makes the
/// one key or value projection of a layer out of the many of another (Ainslie et al.
/// 2023, *GQA*, §2.1).
///
/// # Errors
/// When the heads do not divide the width.
pub fn mean_of_heads(
    all: &DMatrix<f32>,
    heads: usize,
) -> Result<DMatrix<f32>, LayerError> {
    let width = head_dim("projection", all.ncols(), heads)?;
    let mut sum = DMatrix::zeros(all.nrows(), width);
    for h in 0..heads {
        sum += all.columns(h * width, width);
    }
    Ok(sum / heads as f32)
}
