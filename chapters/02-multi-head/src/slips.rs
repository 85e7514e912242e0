//! What people do otherwise with the heads of a layer: each slip as a function, with what
//! is said of it.

use crate::MultiHeadAttention;
use attention::{Mask, slips as one_head};
use nalgebra::DMatrix;
use slips::{
    After, Fused, Kept, Projected, Projecting, Slip, Slips, Thread, attention as known,
};

/// The page of this chapter.
const PAGE: &str = "multi-head";

/// Those of heads, whatever the chapter's own steps before them are.
#[must_use]
pub fn of_heads<B: 'static>() -> Slips<B> {
    let own = Slips::of_attention(PAGE, known::of_heads())
        .under(
            "split-attend-join-mix",
            &["reshaped", "heads-added", "merged-without-transpose"],
        )
        .hidden_by("reshaped", "one token")
        .hidden_by("merged-without-transpose", "one token")
        .hidden_by("over-root-of-layer", "one head")
        .hidden_by("heads-averaged", "heads that are copies of one another")
        .hidden_by("averaged-in-every-place", "heads that are copies of one another")
        .hidden_by("one-softmax-for-all-heads", "one head")
        .seen(
            "over-root-of-layer",
            &[Thread::of("FareedKhan-dev/train-llm-from-scratch", 3)],
        )
        .seen("over-root-of-heads", &[Thread::of("tenstorrent/tt-metal", 56_789)]);
    own.and(of_output()).and(one_head::of_heads())
}

/// Those of the output projection.
fn of_output<B: 'static>() -> Slips<B> {
    let own = vec![
        Slip::after(
            "output-projection-left-out",
            After::Skipped,
            "Your output is what the heads found: the output projection is left out.",
        ),
        Slip::after(
            "output-bias-left-out",
            After::WithoutBias,
            "The bias of the output projection is left out.",
        ),
        Slip::after(
            "output-weight-transposed",
            After::Transposed,
            "The matrix of the output projection is transposed: a file holds [out, in].",
        ),
        Slip::after(
            "output-bias-for-each-head",
            After::BiasForEachHead,
            "The output projection is applied head by head, and its bias is added for \
             each of them: it belongs to their sum.",
        )
        .hidden_by("one head, or no bias"),
        Slip::after(
            "input-added",
            After::WithInput,
            "What goes into the layer is added to what comes out: that is the residual \
             connection around it, and not in it.",
        ),
    ];
    let names = ["output-projection-left-out", "output-bias-for-each-head"];
    Slips::own(PAGE, own).under("the-output-is-a-sum-over-heads", &names)
}

/// Those of projections for all heads at once.
#[must_use]
pub fn of_projections() -> Slips<Projecting> {
    let own = vec![
        Slip::before(
            "fused-cut-head-by-head",
            |way: &mut Projecting| way.fused = Fused::CutHeadByHead,
            "Queries, keys and values are one product, all queries first, and you cut it \
             head by head, as [heads, 3, width].",
        )
        .hidden_by("one head"),
        Slip::before(
            "fused-cut-in-blocks",
            |way: &mut Projecting| way.fused = Fused::CutInBlocks,
            "Queries, keys and values are one product, head by head as in GPT-NeoX, and \
             you cut it into all queries, all keys and all values.",
        )
        .hidden_by("one head"),
    ];
    let names = ["fused-cut-head-by-head", "fused-cut-in-blocks"];
    let own = Slips::own(PAGE, own).under("split-attend-join-mix", &names);
    own.and(one_head::of_projections())
}

/// All of this chapter, and of those that it stands on.
#[must_use]
pub fn slips() -> Slips<Projecting> {
    of_heads().and(of_projections())
}

/// The layer on tokens `x` (tokens, `model_dim`) that look at `context`, step by step.
#[must_use]
pub fn steps<'a>(
    layer: &'a MultiHeadAttention,
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
        kv_heads: layer.heads,
        sees: one_head::sees(mask),
        kept: Kept::default(),
    }
}
