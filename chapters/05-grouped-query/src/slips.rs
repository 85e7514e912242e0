//! What people do otherwise where groups of heads share keys and values: each slip as a
//! function, with what is said of it.

use crate::GroupedQueryAttention;
use attention::{Mask, slips as one_head};
use multi_head::slips as heads;
use nalgebra::DMatrix;
use slips::{Kept, Projected, Projecting, Slips, Thread, attention as known};

/// The page of this chapter.
const PAGE: &str = "grouped-query";

/// Those of groups of heads, whatever the chapter's own steps before them are.
#[must_use]
pub fn of_heads<B: 'static>() -> Slips<B> {
    let ends = "one kv head, or as many as heads";
    let own = Slips::of_attention(PAGE, known::of_groups())
        .under("neighbors-share", &["kv-heads-by-head", "queries-by-group"])
        .hidden_by("kv-heads-in-turns", ends)
        .hidden_by("kv-heads-by-size", ends)
        .hidden_by("first-kv-head", "one kv head")
        .hidden_by("queries-averaged-by-group", "heads that are all alike")
        .seen("kv-heads-in-turns", &[Thread::of("onnx/onnx", 7274)]);
    own.and(heads::of_heads())
}

/// All of this chapter, and of those that it stands on.
#[must_use]
pub fn slips() -> Slips<Projecting> {
    of_heads().and(heads::of_projections())
}

/// The layer on tokens `x` (tokens, `model_dim`) that look at `context`, step by step.
#[must_use]
pub fn steps<'a>(
    layer: &'a GroupedQueryAttention,
    x: &'a DMatrix<f32>,
    context: &'a DMatrix<f32>,
    mask: &Mask,
) -> Projected<'a> {
    Projected {
        x,
        context,
        maps: [&layer.q_proj, &layer.k_proj, &layer.v_proj].map(one_head::map),
        output: Some(one_head::map(&layer.o_proj)),
        heads: layer.groups.heads(),
        kv_heads: layer.groups.kv_heads(),
        sees: one_head::sees(mask),
        kept: Kept::default(),
    }
}
