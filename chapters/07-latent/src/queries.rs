//! What a token asks, and how it comes by it.

use crate::{RmsNorm, Sizes};
use attention::{Linear, ShapeError, expect_shape};
use nalgebra::DMatrix;

/// The way from a token to its queries (heads · (`nope_dim` + `rope_dim`)): head by head,
/// the part that is not turned, then the part that is.
#[derive(Debug, Clone, PartialEq)]
pub enum QueryProjection {
    /// `q_proj`.
    Full(Linear),
    /// Through a latent of their own, which saves parameters and is never cached.
    LowRank {
        /// (`model_dim`, `q_lora_rank`).
        q_a_proj: Linear,
        /// `q_lora_rank` entries.
        q_a_layernorm: RmsNorm,
        /// (`q_lora_rank`, heads · (`nope_dim` + `rope_dim`)).
        q_b_proj: Linear,
    },
}

impl QueryProjection {
    pub(crate) fn forward(&self, x: &DMatrix<f32>) -> Result<DMatrix<f32>, ShapeError> {
        match self {
            QueryProjection::Full(q_proj) => q_proj.forward(x),
            QueryProjection::LowRank { q_a_proj, q_a_layernorm, q_b_proj } => {
                q_b_proj.forward(&q_a_layernorm.forward(&q_a_proj.forward(x)?)?)
            }
        }
    }

    /// (`model_dim`, width of all queries), if its parts fit together.
    pub(crate) fn shape(&self, sizes: Sizes) -> Result<(usize, usize), ShapeError> {
        let wanted = sizes.wide(sizes.qk_dim());
        let why = "heads · (nope_dim + rope_dim)";
        match self {
            QueryProjection::Full(q_proj) => {
                let d_in = q_proj.shape().0;
                expect_shape("q_proj", q_proj.shape(), (d_in, wanted), why)?;
            }
            QueryProjection::LowRank { q_a_proj, q_a_layernorm, q_b_proj } => {
                let rank = q_a_proj.shape().1;
                q_a_layernorm.expect("q_a_layernorm", rank)?;
                expect_shape("q_b_proj", q_b_proj.shape(), (rank, wanted), why)?;
            }
        }
        let (QueryProjection::Full(first)
        | QueryProjection::LowRank { q_a_proj: first, .. }) = self;
        Ok((first.shape().0, wanted))
    }

    pub(crate) fn parameters(&self) -> usize {
        match self {
            QueryProjection::Full(q_proj) => q_proj.parameters(),
            QueryProjection::LowRank { q_a_proj, q_a_layernorm, q_b_proj } => {
                q_a_proj.parameters() + q_a_layernorm.width() + q_b_proj.parameters()
            }
        }
    }
}

/// Queries of all heads in their two parts.
#[derive(Debug, Clone, PartialEq)]
pub struct Queries {
    /// (tokens, heads · `nope_dim`).
    pub nope: DMatrix<f32>,
    /// (tokens, heads · `rope_dim`), turned.
    pub rope: DMatrix<f32>,
}

impl Queries {
    pub(crate) fn tokens(&self) -> usize {
        self.nope.nrows()
    }
}
