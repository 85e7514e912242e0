//! Multi-head attention: the width of a layer is split among heads, each attends on its
//! own, and one more linear map mixes what they found.
//!
//! ```text
//! head_h = attention(Q_h, K_h, V_h)      Q_h: the columns of Q that belong to head h
//! output = [head_0 | head_1 | …] W_O
//! ```
//!
//! Source: Vaswani et al. 2017, *Attention Is All You Need*, §3.2.2.
//!
//! ```
//! use attention::{Linear, Mask};
//! use multi_head::MultiHeadAttention;
//! use nalgebra::DMatrix;
//!
//! let identity = || Linear::new(DMatrix::identity(6, 6), None);
//! let [q, k, v, o] = [identity()?, identity()?, identity()?, identity()?];
//! let layer = MultiHeadAttention::new(q, k, v, o, 3)?;
//! let attended = layer.forward(&DMatrix::identity(4, 6), &Mask::None)?;
//! assert_eq!(attended.output.shape(), (4, 6));
//! assert_eq!(attended.weights.len(), 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod command;
pub mod example;
pub mod experiments;
pub mod figures;
mod learned;
pub mod slips;

use attention::{Linear, Mask, ShapeError, attend, expect_shape};
use nalgebra::{DMatrix, DMatrixView};
use rayon::prelude::*;

/// A layer whose projections serve all heads at once.
#[derive(Debug, Clone, PartialEq)]
pub struct MultiHeadAttention {
    /// (`model_dim`, heads · `head_dim`): the queries of all heads side by side.
    q_proj: Linear,
    /// (`context_dim`, heads · `head_dim`): the keys of all heads side by side.
    k_proj: Linear,
    /// (`context_dim`, heads · `v_dim`): the values of all heads side by side.
    v_proj: Linear,
    /// (heads · `v_dim`, `d_out`): mixes what the heads found.
    o_proj: Linear,
    heads: usize,
}

impl MultiHeadAttention {
    /// A layer from its four projections and the number of heads that share them.
    ///
    /// # Errors
    /// When the heads do not divide the widths, or the projections do not fit together.
    pub fn new(
        q_proj: Linear,
        k_proj: Linear,
        v_proj: Linear,
        o_proj: Linear,
        heads: usize,
    ) -> Result<Self, LayerError> {
        let keys = (k_proj.shape().0, q_proj.shape().1);
        let why = "queries and keys meet in a dot product";
        expect_shape("k_proj", k_proj.shape(), keys, why)?;
        let values = (k_proj.shape().0, v_proj.shape().1);
        let why = "keys and values read the same tokens";
        expect_shape("v_proj", v_proj.shape(), values, why)?;
        let found = (v_proj.shape().1, o_proj.shape().1);
        let why = "it reads the values of all heads";
        expect_shape("o_proj", o_proj.shape(), found, why)?;
        head_dim("q_proj", q_proj.shape().1, heads)?;
        head_dim("v_proj", v_proj.shape().1, heads)?;
        Ok(MultiHeadAttention { q_proj, k_proj, v_proj, o_proj, heads })
    }

    /// Self-attention: the tokens `x` (tokens, `model_dim`) look at one another.
    ///
    /// # Errors
    /// When `x` or the mask has another shape than the layer needs.
    pub fn forward(
        &self,
        x: &DMatrix<f32>,
        mask: &Mask,
    ) -> Result<MultiHeadAttended, LayerError> {
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
    ) -> Result<MultiHeadAttended, LayerError> {
        let Projected { q, k, v } = self.project(x, context)?;
        let Heads { found, weights } = attend_heads(&q, &k, &v, self.heads, mask)?;
        Ok(MultiHeadAttended { output: self.o_proj.forward(&found)?, weights })
    }

    /// Queries from `x`, keys and values from `context`, for all heads side by side.
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

    /// How many heads share the projections.
    #[must_use]
    pub fn heads(&self) -> usize {
        self.heads
    }

    /// The map that mixes what the heads found.
    #[must_use]
    pub fn o_proj(&self) -> &Linear {
        &self.o_proj
    }

    /// (width of all keys, width of all values): what one token leaves behind.
    #[must_use]
    pub fn kv_widths(&self) -> (usize, usize) {
        (self.k_proj.shape().1, self.v_proj.shape().1)
    }

    /// Numbers that were learned, in all four projections. They do not depend on how
    /// many heads share them.
    #[must_use]
    pub fn parameters(&self) -> usize {
        [&self.q_proj, &self.k_proj, &self.v_proj, &self.o_proj]
            .map(Linear::parameters)
            .iter()
            .sum()
    }
}

/// What a layer gives: its output, and where each head looked.
#[derive(Debug, Clone, PartialEq)]
pub struct MultiHeadAttended {
    /// (tokens, `d_out`).
    pub output: DMatrix<f32>,
    /// One (queries, keys) per head.
    pub weights: Vec<DMatrix<f32>>,
}

/// Queries, keys and values of all heads side by side.
#[derive(Debug, Clone, PartialEq)]
pub struct Projected {
    /// (queries, heads · `head_dim`).
    pub q: DMatrix<f32>,
    /// (keys, heads · `head_dim`).
    pub k: DMatrix<f32>,
    /// (keys, heads · `v_dim`).
    pub v: DMatrix<f32>,
}

/// What the heads found, before they are mixed.
#[derive(Debug, Clone, PartialEq)]
pub struct Heads {
    /// (queries, heads · `v_dim`): the outputs of the heads side by side.
    pub found: DMatrix<f32>,
    /// One (queries, keys) per head.
    pub weights: Vec<DMatrix<f32>>,
}

/// Lets each head attend with its own columns of `q` and `k` (·, heads · `head_dim`) and
/// `v` (keys, heads · `v_dim`). The columns are views: nothing is copied to split them.
///
/// # Errors
/// When the heads do not divide the widths, or queries, keys, values and mask do not fit
/// together.
pub fn attend_heads(
    q: &DMatrix<f32>,
    k: &DMatrix<f32>,
    v: &DMatrix<f32>,
    heads: usize,
    mask: &Mask,
) -> Result<Heads, LayerError> {
    let (head_dim, v_dim) = (split("q", q, heads)?, split("v", v, heads)?);
    let why = "a dot product needs equal widths";
    expect_shape("k", k.shape(), (k.nrows(), q.ncols()), why)?;
    let one = |h| {
        let (q, k) = (columns_of(h, q, head_dim), columns_of(h, k, head_dim));
        attend(q, k, columns_of(h, v, v_dim), mask)
    };
    let all: Vec<_> = (0..heads).into_par_iter().map(one).collect();

    let mut found = DMatrix::zeros(q.nrows(), v.ncols());
    let mut weights = Vec::with_capacity(heads);
    for (h, attended) in all.into_iter().enumerate() {
        let attended = attended?;
        found.columns_mut(h * v_dim, v_dim).copy_from(&attended.output);
        weights.push(attended.weights);
    }
    Ok(Heads { found, weights })
}

/// The columns of `all` that belong to head `h`, if a head has `width` of them.
fn columns_of(h: usize, all: &DMatrix<f32>, width: usize) -> DMatrixView<'_, f32> {
    all.columns(h * width, width)
}

/// The width of one head of `matrix`, if `heads` of them fill it exactly.
fn split(
    name: &'static str,
    matrix: &DMatrix<f32>,
    heads: usize,
) -> Result<usize, LayerError> {
    head_dim(name, matrix.ncols(), heads)
}

/// The width of one head, if `heads` of them fill `width` exactly.
///
/// # Errors
/// When they do not, or there are none.
pub fn head_dim(
    tensor: &'static str,
    width: usize,
    heads: usize,
) -> Result<usize, LayerError> {
    if heads > 0 && width.is_multiple_of(heads) {
        Ok(width / heads)
    } else {
        Err(LayerError::Split { tensor, width, heads })
    }
}

/// Why projections do not make a layer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayerError {
    /// One of them has a shape that does not fit the others.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// The heads would not be of equal width.
    #[error("{tensor}: width {width} cannot be split among {heads} heads")]
    Split {
        /// The projection.
        tensor: &'static str,
        /// The features that leave it.
        width: usize,
        /// The heads that were asked for.
        heads: usize,
    },
}
