//! One head's part of what lies side by side, and the way back.

use crate::{LatentAttention, Queries, Sizes};
use attention::{Attended, ShapeError, expect_shape};
use multi_head::Heads;
use nalgebra::{DMatrix, DMatrixView, DVectorView};
use std::ops::Range;

impl LatentAttention {
    /// The part of one head's queries that is not turned, (tokens, `nope_dim`).
    pub(crate) fn nope<'a>(&self, q: &'a Queries, head: usize) -> DMatrixView<'a, f32> {
        let width = self.sizes.nope_dim;
        q.nope.columns(head * width, width)
    }

    /// The part that is, (tokens, `rope_dim`).
    pub(crate) fn rope<'a>(&self, q: &'a Queries, head: usize) -> DMatrixView<'a, f32> {
        let width = self.sizes.rope_dim;
        q.rope.columns(head * width, width)
    }

    /// Numbers of the heads.
    pub(crate) fn heads(&self) -> Range<usize> {
        0..self.sizes.heads
    }

    /// `W_UK` of one head, (`lora_rank`, `nope_dim`).
    pub(crate) fn k_up(&self, head: usize) -> DMatrixView<'_, f32> {
        let width = self.sizes.nope_dim;
        self.k_up.weight().columns(head * width, width)
    }

    /// `W_UV` of one head, (`lora_rank`, `v_dim`).
    pub(crate) fn v_up(&self, head: usize) -> DMatrixView<'_, f32> {
        let width = self.sizes.v_dim;
        self.v_up.weight().columns(head * width, width)
    }

    /// `v_dim` entries, if the values have a bias.
    pub(crate) fn v_bias(&self, head: usize) -> Option<DVectorView<'_, f32>> {
        let width = self.sizes.v_dim;
        self.v_up.bias().map(|bias| bias.rows(head * width, width))
    }

    /// What the heads found, joined: their outputs in the columns of one matrix.
    pub(crate) fn side_by_side(
        &self,
        tokens: usize,
        heads: impl Iterator<Item = Result<Attended, ShapeError>>,
    ) -> Result<Heads, ShapeError> {
        let v_dim = self.sizes.v_dim;
        let mut found = DMatrix::zeros(tokens, self.sizes.heads * v_dim);
        let mut weights = Vec::with_capacity(self.sizes.heads);
        for (h, attended) in heads.enumerate() {
            let attended = attended?;
            found.columns_mut(h * v_dim, v_dim).copy_from(&attended.output);
            weights.push(attended.weights);
        }
        Ok(Heads { found, weights })
    }

    pub(crate) fn expect_queries(&self, q: &Queries) -> Result<(), ShapeError> {
        let Sizes { heads, nope_dim, rope_dim, .. } = self.sizes;
        let wanted = (q.tokens(), heads * nope_dim);
        expect_shape("q.nope", q.nope.shape(), wanted, "one query per head")?;
        let wanted = (q.tokens(), heads * rope_dim);
        expect_shape("q.rope", q.rope.shape(), wanted, "one query per head")
    }

    pub(crate) fn expect_kept(&self, kept: DMatrixView<f32>) -> Result<(), ShapeError> {
        let wanted = (kept.nrows(), self.kept_width());
        expect_shape(
            "kept",
            kept.shape(),
            wanted,
            "one latent and one turned key per token",
        )
    }
}
