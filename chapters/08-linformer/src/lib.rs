//! Linformer: the n keys and values of a sequence are condensed to r rows before anybody
//! looks at them, so that the work grows with n and not with its square.
//!
//! ```text
//! head_h = softmax(Q_h (E K_h)ᵀ / √head_dim) (F V_h)      E, F: (r, n)
//! ```
//!
//! Source: Wang et al. 2020, *Linformer: Self-Attention with Linear Complexity*, §4.
//!
//! ```
//! use attention::{Mask, attend};
//! use linformer::{SequenceProjection, attend_condensed};
//! use nalgebra::DMatrix;
//!
//! let tokens = DMatrix::from_fn(8, 4, |token, feature| (token * feature) as f32 / 8.0);
//! let tokens = tokens.as_view();
//! let everything = SequenceProjection::new(DMatrix::identity(8, 8))?;
//! let found = attend_condensed(tokens, tokens, tokens, &everything, &everything)?;
//! assert_eq!(found, attend(tokens, tokens, tokens, &Mask::None)?);
//!
//! let pairs = SequenceProjection::mean_pooling(4, 8)?;
//! let found = attend_condensed(tokens, tokens, tokens, &pairs, &pairs)?;
//! assert_eq!(found.weights.shape(), (8, 4));
//! # Ok::<(), linformer::LinformerError>(())
//! ```

pub mod command;
pub mod example;
pub mod experiments;
pub mod figures;
mod learned;
pub mod measured;
mod sharing;
pub mod slips;

use attention::{Attended, Linear, Mask, ShapeError, attend, average, expect_shape};
use grouped_query::{Groups, attend_groups};
use multi_head::{Heads, LayerError, MultiHeadAttended, Projected, head_dim};
use nalgebra::{DMatrix, DMatrixView};
pub use sharing::{Projections, Sharing};
use std::sync::Arc;

/// A projection along the sequence: each of its r rows is a mix of up to `n_max` tokens.
/// This is the paper's E, or F, in the orientation in which `E K` can be computed.
#[derive(Debug, Clone, PartialEq)]
pub struct SequenceProjection {
    /// (r, `n_max`).
    weight: DMatrix<f32>,
}

impl SequenceProjection {
    /// From a weight (r, `n_max`).
    ///
    /// # Errors
    /// When r is 0: then there is nothing to look at.
    pub fn new(weight: DMatrix<f32>) -> Result<Self, ShapeError> {
        let (r, n_max) = weight.shape();
        let why = "something has to be left of the sequence";
        expect_shape("proj", (r, n_max), (r.max(1), n_max), why)?;
        Ok(SequenceProjection { weight })
    }

    /// A projection that was not learned: `n_max` tokens are cut into `r` stretches of
    /// equal length, or nearly so, and row i is the mean of the i-th.
    ///
    /// # Errors
    /// When `r` is 0 or above `n_max`.
    pub fn mean_pooling(r: usize, n_max: usize) -> Result<Self, ShapeError> {
        let why = "every stretch needs a token";
        expect_shape("proj", (r, n_max), (r.min(n_max), n_max), why)?;
        let mut weight = DMatrix::zeros(r, n_max);
        for (row, mut weights) in weight.row_iter_mut().enumerate() {
            let (first, end) = (row * n_max / r, (row + 1) * n_max / r);
            weights.columns_mut(first, end - first).fill(1.0 / (end - first) as f32);
        }
        Self::new(weight)
    }

    /// (r, `n_max`): rows that are left, tokens that it can read.
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        self.weight.shape()
    }

    /// `tokens` (n, width) to (r, width): `E K`. A sequence that is shorter than `n_max`
    /// meets the first n columns alone. What a row gives weight 0 does not reach it,
    /// whatever it holds.
    ///
    /// # Errors
    /// When there are more than `n_max` tokens.
    pub fn forward(
        &self,
        tokens: DMatrixView<f32>,
    ) -> Result<DMatrix<f32>, LinformerError> {
        let (n, n_max) = (tokens.nrows(), self.weight.ncols());
        if n > n_max {
            return Err(LinformerError::TooLong { n, n_max });
        }
        let reads = |row, token| self.weight[(row, token)] != 0.0;
        Ok(average(self.weight.columns(0, n), tokens, reads))
    }
}

/// One head of Linformer: attention to the condensed keys and values. `q` is
/// (queries, `d_k`), `k` (tokens, `d_k`), `v` (tokens, `d_v`); the weights that come back
/// are (queries, r).
///
/// # Errors
/// When there are more tokens than the projections read, or the shapes do not fit.
pub fn attend_condensed(
    q: DMatrixView<f32>,
    k: DMatrixView<f32>,
    v: DMatrixView<f32>,
    e: &SequenceProjection,
    f: &SequenceProjection,
) -> Result<Attended, LinformerError> {
    let (keys, values) = (e.forward(k)?, f.forward(v)?);
    Ok(attend(q, keys.as_view(), values.as_view(), &Mask::None)?)
}

/// Condenses what lies in `all` (tokens, heads · width): all columns at once if there is one
/// projection for all heads, else the columns of each head with its own.
fn condense(
    all: &DMatrix<f32>,
    projections: &[Arc<SequenceProjection>],
) -> Result<DMatrix<f32>, LinformerError> {
    let width = all.ncols() / projections.len();
    let mut condensed = DMatrix::zeros(projections[0].shape().0, all.ncols());
    for (head, projection) in projections.iter().enumerate() {
        let rows = projection.forward(all.columns(head * width, width))?;
        condensed.columns_mut(head * width, width).copy_from(&rows);
    }
    Ok(condensed)
}

/// A layer whose heads look at r condensed keys and values.
#[derive(Debug, Clone, PartialEq)]
pub struct LinformerAttention {
    /// (`model_dim`, heads · `head_dim`): the queries of all heads side by side.
    to_q: Linear,
    /// (`context_dim`, `kv_heads` · `head_dim`).
    to_k: Linear,
    /// (`context_dim`, `kv_heads` · `head_dim`). Without it, the keys are the values.
    to_v: Option<Linear>,
    /// (heads · `head_dim`, `d_out`): mixes what the heads found.
    to_out: Linear,
    projections: Projections,
    groups: Groups,
}

impl LinformerAttention {
    /// A layer from its projections of features and those along the sequence, and its
    /// query heads with the key/value heads that they share.
    ///
    /// # Errors
    /// When the heads do not divide the widths, or the projections do not fit together.
    pub fn new(
        to_q: Linear,
        to_k: Linear,
        to_v: Option<Linear>,
        to_out: Linear,
        projections: Projections,
        groups: Groups,
    ) -> Result<Self, LayerError> {
        let (heads, width) = (groups.heads(), to_q.shape().1);
        let d_k = match head_dim("to_q", width, heads)? {
            0 => return Err(LayerError::Split { tensor: "to_q", width, heads }),
            d_k => d_k,
        };
        let keys = (to_k.shape().0, groups.kv_heads() * d_k);
        let why = "a key is as wide as the query of a head";
        expect_shape("to_k", to_k.shape(), keys, why)?;
        if let Some(to_v) = &to_v {
            expect_shape("to_v", to_v.shape(), keys, "a value is as wide as a key")?;
        }
        let found = (heads * d_k, to_out.shape().1);
        expect_shape("to_out", to_out.shape(), found, "it reads what all heads found")?;
        let own = projections.keys.len();
        let wanted = if own == 1 { 1 } else { groups.kv_heads() };
        let why = "one for each key/value head, or one for all";
        expect_shape("E", (own, 1), (wanted, 1), why)?;
        Ok(LinformerAttention { to_q, to_k, to_v, to_out, projections, groups })
    }

    /// Self-attention: the tokens `x` (tokens, `model_dim`) look at what is left of
    /// themselves. Each head's weights are (tokens, r).
    ///
    /// # Errors
    /// When `x` does not have `model_dim` columns, or has more rows than `n_max`.
    pub fn forward(
        &self,
        x: &DMatrix<f32>,
    ) -> Result<MultiHeadAttended, LinformerError> {
        self.forward_cross(x, x)
    }

    /// Cross-attention: the tokens `x` (tokens, `model_dim`) look at what is left of
    /// `context` (context tokens, `context_dim`).
    ///
    /// # Errors
    /// When `x` or `context` is not as wide as the layer expects, or `context` has more
    /// than `n_max` tokens.
    pub fn forward_cross(
        &self,
        x: &DMatrix<f32>,
        context: &DMatrix<f32>,
    ) -> Result<MultiHeadAttended, LinformerError> {
        let Projected { q, k, v } = self.project(x, context)?;
        let k = condense(&k, &self.projections.keys)?;
        let v = condense(&v, &self.projections.values)?;
        let Heads { found, weights } =
            attend_groups(&q, k.as_view(), v.as_view(), self.groups, &Mask::None)?;
        Ok(MultiHeadAttended { output: self.to_out.forward(&found)?, weights })
    }

    /// Queries from `x`, keys and values from `context`, before they are condensed.
    ///
    /// # Errors
    /// When `x` or `context` is not as wide as its projection expects.
    pub fn project(
        &self,
        x: &DMatrix<f32>,
        context: &DMatrix<f32>,
    ) -> Result<Projected, ShapeError> {
        let q = self.to_q.forward(x)?;
        let k = self.to_k.forward(context).map_err(|e| e.of("context"))?;
        let v = match &self.to_v {
            Some(to_v) => to_v.forward(context).map_err(|e| e.of("context"))?,
            None => k.clone(),
        };
        Ok(Projected { q, k, v })
    }

    /// The projections along the sequence.
    #[must_use]
    pub fn projections(&self) -> &Projections {
        &self.projections
    }

    /// Numbers that were learned. Projections that other layers share are counted here too.
    #[must_use]
    pub fn parameters(&self) -> usize {
        let maps = [Some(&self.to_q), Some(&self.to_k), self.to_v.as_ref()];
        let maps: usize = maps.into_iter().flatten().map(Linear::parameters).sum();
        let along = Projections::parameters(std::slice::from_ref(&self.projections));
        maps + self.to_out.parameters() + along
    }
}

/// Why a sequence, or a layer, cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinformerError {
    /// The projections do not fit together, or the sequence does not fit them.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// There are more tokens to condense than the projections have columns for.
    #[error("{n} tokens, but the layer was made for at most {n_max}")]
    TooLong {
        /// The tokens, of the context where there is one.
        n: usize,
        /// The tokens that the projections read.
        n_max: usize,
    },
}

impl From<ShapeError> for LinformerError {
    fn from(error: ShapeError) -> Self {
        LinformerError::Layer(error.into())
    }
}
