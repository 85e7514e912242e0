//! What people do otherwise where all heads share one key and value: each slip as a
//! function, with what is said of it.

use crate::MultiQueryAttention;
use attention::{Mask, slips as one_head};
use multi_head::slips as heads;
use nalgebra::DMatrix;
use slips::{Kept, Projected, Projecting, Slips, attention as known};

/// The page of this chapter.
const PAGE: &str = "multi-query";

/// All of this chapter, and of those that it stands on.
#[must_use]
pub fn slips() -> Slips<Projecting> {
    let own = Slips::of_attention(PAGE, known::of_groups())
        .under("many-questions-one-dictionary", &["queries-by-group"])
        .hidden_by("over-group-too", "one head")
        .hidden_by("over-root-of-group-too", "one head");
    own.and(heads::of_heads()).and(heads::of_projections())
}

/// The layer on tokens `x` (tokens, `model_dim`) that look at `context`, step by step.
#[must_use]
pub fn steps<'a>(
    layer: &'a MultiQueryAttention,
    x: &'a DMatrix<f32>,
    context: &'a DMatrix<f32>,
    mask: &Mask,
) -> Projected<'a> {
    Projected {
        x,
        context,
        maps: [&layer.q_proj, &layer.k_proj, &layer.v_proj].map(one_head::map),
        output: Some(one_head::map(&layer.o_proj)),
        heads: layer.heads,
        kv_heads: 1,
        sees: one_head::sees(mask),
        kept: Kept::default(),
    }
}
