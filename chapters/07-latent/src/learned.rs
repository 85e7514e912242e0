//! What a layer has learned, for those who compute its gradients.

use crate::{LatentAttention, QueryProjection, RmsNorm};
use attention::Linear;
use rotary::Rotary;

/// The parts of a layer.
#[derive(Debug, Clone, Copy)]
pub struct Learned<'a> {
    /// From tokens to queries.
    pub query: &'a QueryProjection,
    /// (`model_dim`, `lora_rank` + `rope_dim`).
    pub kv_a_proj: &'a Linear,
    /// `lora_rank` entries.
    pub kv_a_layernorm: &'a RmsNorm,
    /// `W_UK` (`lora_rank`, heads · `nope_dim`).
    pub k_up: &'a Linear,
    /// `W_UV` (`lora_rank`, heads · `v_dim`).
    pub v_up: &'a Linear,
    /// (heads · `v_dim`, `d_out`).
    pub o_proj: &'a Linear,
    /// How queries and the shared key turn.
    pub rotary: &'a Rotary,
}

impl LatentAttention {
    /// Its parts.
    #[must_use]
    pub fn learned(&self) -> Learned<'_> {
        Learned {
            query: &self.query,
            kv_a_proj: &self.kv_a_proj,
            kv_a_layernorm: &self.kv_a_layernorm,
            k_up: &self.k_up,
            v_up: &self.v_up,
            o_proj: &self.o_proj,
            rotary: &self.rotary,
        }
    }

    /// What the query at a position is multiplied by, besides one over the root of its
    /// width.
    #[must_use]
    pub fn sharpness_at(&self, position: usize) -> f32 {
        self.sharpness.at(position)
    }
}
