//! What people do otherwise in one head of attention, and in the projections before it: each
//! slip as a function, with what is said of it.

use crate::{Attention, Linear, Mask};
use nalgebra::DMatrix;
use slips::{
    Applied, Kept, Map, Projected, Projecting, Sees, Slip, Slips, Thread, attention,
};

/// The page of this chapter.
const PAGE: &str = "attention";

/// Those of the heads, whatever the chapter's own steps before them are.
#[must_use]
pub fn of_heads<B: 'static>() -> Slips<B> {
    Slips::of_attention(PAGE, attention::of_attention())
        .under("scaling-keeps-softmax-awake", &["unscaled", "over-d-k", "times-root"])
        .under(
            "softmax-turns-scores-into-shares",
            &["no-softmax", "not-divided", "no-exponential", "softmax-twice"],
        )
        .under(
            "a-mask-says-who-may-look-where",
            &["no-mask", "upside-down", "true-hides", "one-future-token"],
        )
        .hidden_by("unscaled", "equal scores, or a head of one feature")
        .hidden_by("over-root-of-layer", "one head")
        .hidden_by("down-the-columns", "equal scores, with as many queries as keys")
        .hidden_by("no-mask", "the last token")
        .hidden_by("mask-after-softmax", "the last token, which sees everything")
        .hidden_by("hidden-with-zero", "the last token, which sees everything")
        .hidden_by("not-even-itself", "no mask")
        .hidden_by("queries-and-keys-swapped", "equal projections of queries and keys")
        .seen("unscaled", &[Thread::of("mlc-ai/mlc-llm", 3426)])
        .seen("times-root", &[Thread::of("esceptico/perceiver-io", 9)])
        .seen("hidden-with-zero", &[Thread::of("georg-wolflein/good-features", 1)])
        .seen("hidden-with-a-number", &[Thread::of("hyunwoongko/transformer", 10)])
        .seen(
            "mask-after-softmax",
            &[Thread::of("huggingface/pytorch-image-models", 2236)],
        )
}

/// Those of projections from tokens to queries, keys and values.
#[must_use]
pub fn of_projections() -> Slips<Projecting> {
    const FILES: &str = "loading-real-files-how-pytorch-keeps-a-matrix";
    let own = vec![
        Slip::before(
            "biases-left-out",
            |way: &mut Projecting| {
                [way.q, way.k, way.v] = [Applied::WithoutBias; 3];
            },
            "The biases of queries, keys and values are left out.",
        ),
        Slip::before(
            "query-bias-left-out",
            |way: &mut Projecting| way.q = Applied::WithoutBias,
            "The bias of the queries is left out.",
        ),
        Slip::before(
            "key-bias-left-out",
            |way: &mut Projecting| way.k = Applied::WithoutBias,
            "The bias of the keys is left out.",
        )
        .hidden_by(
            "queries and keys that are not turned: it adds the same to a whole row",
        ),
        Slip::before(
            "value-bias-left-out",
            |way: &mut Projecting| way.v = Applied::WithoutBias,
            "The bias of the values is left out.",
        ),
        Slip::before(
            "weights-transposed",
            |way: &mut Projecting| {
                [way.q, way.k, way.v] = [Applied::Transposed; 3];
            },
            "The matrices of queries, keys and values are transposed: a file holds \
             [out, in], and GPT-2's Conv1D holds [in, out].",
        )
        .hidden_by("matrices that are not square, for which no product exists"),
        Slip::before(
            "query-weight-transposed",
            |way: &mut Projecting| way.q = Applied::Transposed,
            "The matrix of the queries is transposed: a file holds [out, in].",
        ),
        Slip::before(
            "key-weight-transposed",
            |way: &mut Projecting| way.k = Applied::Transposed,
            "The matrix of the keys is transposed: a file holds [out, in].",
        ),
        Slip::before(
            "value-weight-transposed",
            |way: &mut Projecting| way.v = Applied::Transposed,
            "The matrix of the values is transposed: a file holds [out, in].",
        ),
    ];
    let transposed = [
        "weights-transposed",
        "query-weight-transposed",
        "key-weight-transposed",
        "value-weight-transposed",
    ];
    let left_out = [
        "biases-left-out",
        "query-bias-left-out",
        "key-bias-left-out",
        "value-bias-left-out",
    ];
    Slips::own(PAGE, own)
        .under(FILES, &transposed)
        .under("queries-keys-and-values-are-learned", &left_out)
}

/// All of this chapter.
#[must_use]
pub fn slips() -> Slips<Projecting> {
    of_heads().and(of_projections())
}

/// A linear map, as the slips know it.
#[must_use]
pub fn map(linear: &Linear) -> Map<'_> {
    Map { weight: linear.weight(), bias: linear.bias() }
}

/// A mask, as the slips know it.
#[must_use]
pub fn sees(mask: &Mask) -> Sees {
    match mask {
        Mask::None => Sees::Everything,
        Mask::Causal { offset } => Sees::UpTo { offset: *offset },
        Mask::Window { offset, window } => {
            Sees::Within { offset: *offset, window: *window }
        }
        Mask::Allowed(allowed) => Sees::Pairs(allowed.clone()),
    }
}

/// The layer on tokens `x` (tokens, `model_dim`) that look at `context`, step by step.
#[must_use]
pub fn steps<'a>(
    layer: &'a Attention,
    x: &'a DMatrix<f32>,
    context: &'a DMatrix<f32>,
    mask: &Mask,
) -> Projected<'a> {
    Projected {
        x,
        context,
        maps: [&layer.q_proj, &layer.k_proj, &layer.v_proj].map(map),
        output: None,
        heads: 1,
        kv_heads: 1,
        sees: sees(mask),
        kept: Kept::default(),
    }
}
