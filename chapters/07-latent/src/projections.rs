//! What a checkpoint has for a layer, and whether it fits together.

use crate::{LatentError, QueryProjection, RmsNorm, Sizes};
use attention::{Linear, expect_shape};

/// The learned numbers of a layer, as a checkpoint has them.
#[derive(Debug, Clone, PartialEq)]
pub struct Projections {
    /// Tokens to the queries of all heads.
    pub query: QueryProjection,
    /// `kv_a_proj_with_mqa` (`model_dim`, `lora_rank` + `rope_dim`): to the latent, and
    /// beside it the one key that is turned.
    pub kv_a_proj: Linear,
    /// `lora_rank` entries.
    pub kv_a_layernorm: RmsNorm,
    /// (`lora_rank`, heads · (`nope_dim` + `v_dim`)): head by head, the part of its key
    /// that is not turned, then its value.
    pub kv_b_proj: Linear,
    /// (heads · `v_dim`, `d_out`): mixes what the heads found.
    pub o_proj: Linear,
}

impl Projections {
    /// The widths of a model and a latent are read off the projections; the rest has to
    /// follow from them and from `sizes`.
    pub(crate) fn expect(&self, sizes: Sizes) -> Result<(), LatentError> {
        let Sizes { heads, nope_dim, rope_dim, v_dim } = sizes;
        if [heads, nope_dim, rope_dim, v_dim].contains(&0) {
            return Err(LatentError::Nothing { sizes });
        }
        let (model_dim, _) = self.query.shape(sizes)?;
        let lora_rank = self.kv_b_proj.shape().0;
        let why = "the latent that kv_b_proj reads, and one key that is turned";
        let wanted = (model_dim, lora_rank.saturating_add(rope_dim));
        expect_shape("kv_a_proj_with_mqa", self.kv_a_proj.shape(), wanted, why)?;
        self.kv_a_layernorm.expect("kv_a_layernorm", lora_rank)?;
        let wanted = (lora_rank, sizes.wide(nope_dim.saturating_add(v_dim)));
        let why = "heads · (nope_dim + v_dim)";
        expect_shape("kv_b_proj", self.kv_b_proj.shape(), wanted, why)?;
        let found = self.o_proj.shape();
        let wanted = (sizes.wide(v_dim), found.1);
        Ok(expect_shape("o_proj", found, wanted, "it reads the values of all heads")?)
    }
}
