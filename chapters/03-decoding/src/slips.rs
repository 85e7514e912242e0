//! What people do otherwise with a cache: each slip as a function, with what is said of it.

use attention::Mask;
use multi_head::{MultiHeadAttention, slips as heads};
use nalgebra::DMatrix;
use slips::{Layer, Looks, Map, Projected, Projecting, Sees, Slip, Slips, Thread};

/// The page of this chapter.
const PAGE: &str = "decoding";

/// How tokens come to the heads, and what is kept for those that follow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Cached {
    projecting: Projecting,
    kept: Keeping,
}

/// What a token that comes after the prompt finds in the cache, or one of the prompt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
enum Keeping {
    #[default]
    Right,
    /// The new key comes too late.
    NotItself,
    /// The mask's corner is where it would be without a cache.
    FirstKeyAlone,
    /// There is no cache.
    ItselfAlone,
    /// The prompt is not kept.
    PromptLost,
    /// What was decoded is not kept.
    PromptAndItself,
    /// The prompt sees itself whole.
    PromptUnmasked,
    /// The first key is gone.
    FirstLost,
    /// The cache is written over: the last token before is gone.
    LastLost,
}

impl Keeping {
    /// Whether the query sees the key, of a text whose first `prompt` tokens ran at once.
    fn sees(self, query: usize, key: usize, prompt: usize) -> bool {
        let (past, decoded) = (key <= query, query >= prompt);
        if !decoded {
            return past || (self == Keeping::PromptUnmasked && key < prompt);
        }
        match self {
            Keeping::Right | Keeping::PromptUnmasked => past,
            Keeping::NotItself => key < query,
            Keeping::FirstKeyAlone => key == 0,
            Keeping::ItselfAlone => key == query,
            Keeping::PromptLost => past && key >= prompt,
            Keeping::PromptAndItself => key < prompt || key == query,
            Keeping::FirstLost => past && key > 0,
            Keeping::LastLost => past && key + 1 != query,
        }
    }
}

/// Those of the cache.
fn of_cache() -> Slips<Cached> {
    let own = vec![
        Slip::before(
            "cache-not-even-itself",
            |way: &mut Cached| way.kept = Keeping::NotItself,
            "A token that is decoded does not see itself: its key is appended after it has \
             looked.",
        )
        .hidden_by("a prompt that is the whole text"),
        Slip::before(
            "mask-at-the-first-corner",
            |way: &mut Cached| way.kept = Keeping::FirstKeyAlone,
            "A token that is decoded sees the first key alone: the causal mask of its one \
             row begins at the first key, and not at the last.",
        )
        .hidden_by("a prompt that is the whole text")
        .seen(&[Thread::of("pytorch/pytorch", 144_858)]),
        Slip::before(
            "nothing-cached",
            |way: &mut Cached| way.kept = Keeping::ItselfAlone,
            "A token that is decoded sees itself alone: nothing is kept of those before.",
        )
        .hidden_by("a prompt that is the whole text"),
        Slip::before(
            "prompt-not-cached",
            |way: &mut Cached| way.kept = Keeping::PromptLost,
            "Tokens that are decoded see one another and not the prompt: its keys and \
             values are not kept.",
        )
        .hidden_by("no prompt"),
        Slip::before(
            "decoded-not-cached",
            |way: &mut Cached| way.kept = Keeping::PromptAndItself,
            "Tokens that are decoded see the prompt and themselves: what was decoded \
             before is not kept.",
        )
        .hidden_by("one token after the prompt"),
        Slip::before(
            "prompt-unmasked",
            |way: &mut Cached| way.kept = Keeping::PromptUnmasked,
            "The tokens of the prompt see one another's future: the mask is left out \
             whenever there is a cache.",
        )
        .hidden_by("a prompt of one token"),
        Slip::before(
            "first-key-lost",
            |way: &mut Cached| way.kept = Keeping::FirstLost,
            "Tokens that are decoded do not see the first key: it was dropped from the \
             cache.",
        ),
        Slip::before(
            "last-key-lost",
            |way: &mut Cached| way.kept = Keeping::LastLost,
            "Tokens that are decoded do not see the token before: its place in the cache \
             was written over.",
        ),
    ];
    Slips::own(PAGE, own).under(
        "the-offset-places-the-mask",
        &["mask-at-the-first-corner", "prompt-unmasked"],
    )
}

/// All of this chapter, and of those that it stands on.
#[must_use]
pub fn slips() -> Slips<Cached> {
    let projecting =
        heads::of_projections().within(|way: &mut Cached| &mut way.projecting);
    of_cache().and(heads::of_heads()).and(projecting)
}

/// A layer that runs the first tokens at once, and the rest one by one.
pub struct Steps<'a> {
    projected: Projected<'a>,
    prompt: usize,
}

/// The layer on tokens `x` (tokens, `model_dim`), step by step, the first `prompt` of which
/// run at once.
#[must_use]
pub fn steps<'a>(
    layer: &'a MultiHeadAttention,
    x: &'a DMatrix<f32>,
    prompt: usize,
) -> Steps<'a> {
    let projected = heads::steps(layer, x, x, &Mask::Causal { offset: 0 });
    Steps { projected, prompt }
}

impl Layer for Steps<'_> {
    type Before = Cached;

    fn looks(&self, before: &Cached) -> Option<Looks> {
        let mut looks = self.projected.looks(&before.projecting)?;
        if before.kept != Keeping::Right {
            let n = looks.headed.q.nrows();
            let sees = |query, key| before.kept.sees(query, key, self.prompt);
            looks.headed.sees = Sees::Pairs(DMatrix::from_fn(n, n, sees));
        }
        Some(looks)
    }

    fn output(&self) -> Option<Map<'_>> {
        self.projected.output
    }

    fn x(&self) -> Option<&DMatrix<f32>> {
        Some(self.projected.x)
    }
}
