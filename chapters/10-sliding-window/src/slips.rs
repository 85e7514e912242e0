//! What people do otherwise with a window: each slip as a function, with what is said of
//! it.

use crate::WindowAttention;
use attention::Mask;
use nalgebra::DMatrix;
use rotary::Rotary;
use rotary::slips::{self as turned, Turned};
use slips::{Layer, Looks, Map, Sees, Slip, Slips, Thread, attention as known};

/// The page of this chapter.
const PAGE: &str = "sliding-window";

/// How tokens come to the heads, and what the cache still has of those before. The default
/// is right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Windowed {
    turned: Turned,
    ring: Ring,
}

/// What becomes of tokens that have passed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
enum Ring {
    #[default]
    Right,
    /// The ring is written before the chunk has looked into it.
    TrimmedFirst,
    /// A token that comes alone sees all that ever was.
    DecodedSeeAll,
    /// A key is turned by its slot.
    SlotForPosition,
    /// The slot of the token before is written over.
    LastLost,
}

impl Ring {
    /// Whether a query of a chunk that begins at `start` and has so many tokens sees a key
    /// that is not ahead of it.
    fn sees(
        self,
        [query, key]: [usize; 2],
        (start, chunk): (usize, usize),
        window: usize,
    ) -> bool {
        let near = query < key + window;
        match self {
            Ring::Right | Ring::SlotForPosition => near,
            Ring::TrimmedFirst => near && key + window >= start + chunk,
            Ring::DecodedSeeAll => chunk == 1 || near,
            Ring::LastLost => near && (chunk > 1 || key + 1 != query),
        }
    }
}

/// Those of a cache that forgets.
fn of_ring() -> Slips<Windowed> {
    let short = "a text that is no longer than the window";
    let own = vec![
        Slip::before(
            "trimmed-first",
            |way: &mut Windowed| way.ring = Ring::TrimmedFirst,
            "The first tokens of a chunk lose keys: the cache was trimmed to the window \
             before the chunk had looked into it.",
        )
        .hidden_by("one token at a time, or a text that is no longer than the window")
        .seen(&[Thread::of("Blaizzy/mlx-vlm", 2031)]),
        Slip::before(
            "decoded-see-all",
            |way: &mut Windowed| way.ring = Ring::DecodedSeeAll,
            "A token that is decoded sees everything before it: the window is in the mask, \
             and a token alone is sent past the mask.",
        )
        .hidden_by("a prompt that is the whole text")
        .seen(&[Thread::of("karpathy/nanochat", 452)]),
        Slip::before(
            "slot-for-position",
            |way: &mut Windowed| way.ring = Ring::SlotForPosition,
            "A key is turned by its slot in the ring, and should be turned by its position: \
             the two are the same until the ring comes around.",
        )
        .hidden_by(short),
        Slip::before(
            "last-slot-lost",
            |way: &mut Windowed| way.ring = Ring::LastLost,
            "A token that is decoded does not see the token before: its slot in the ring was \
             written over.",
        )
        .hidden_by("a prompt that is the whole text"),
    ];
    Slips::own(PAGE, own)
        .under("the-chunk-rule", &["trimmed-first"])
        .under("the-ring-buffer", &["last-slot-lost"])
}

/// Those of the band.
fn of_band<B: 'static>() -> Slips<B> {
    let short = "a text that is no longer than the window";
    Slips::of_attention(PAGE, known::of_windows())
        .hidden_by("window-forgotten", short)
        .hidden_by("window-one-more", short)
        .hidden_by("window-one-less", "a text that is shorter than the window")
        .hidden_by("window-in-blocks", short)
        .under(
            "a-band-along-the-diagonal",
            &["window-on-both-sides", "window-in-blocks"],
        )
        .seen("window-one-more", &[Thread::of("huggingface/transformers", 39_408)])
}

/// All of this chapter, and of those that it stands on.
#[must_use]
pub fn slips() -> Slips<Windowed> {
    let turned = turned::slips().within(|way: &mut Windowed| &mut way.turned);
    of_ring().and(of_band()).and(turned)
}

/// A layer with a window, to which a text comes in chunks.
pub struct Steps<'a> {
    turned: turned::Steps<'a>,
    window: usize,
    /// Where the chunk of each token begins, and how many tokens it has.
    chunks: Vec<(usize, usize)>,
    /// What the file hides besides.
    mask: Mask,
}

/// The layer on tokens `x` (tokens, `model_dim`), step by step: first the chunks, so many
/// tokens each, and then token by token what is left. `plain` turns as the base alone says.
/// `mask` is the layer's own window, or what is left of it.
#[must_use]
pub fn steps<'a>(
    layer: &'a WindowAttention,
    x: &'a DMatrix<f32>,
    chunks: &[usize],
    mask: &Mask,
    plain: Rotary,
) -> Steps<'a> {
    let mut starts = Vec::new();
    for &chunk in chunks {
        starts.extend(std::iter::repeat_n((starts.len(), chunk), chunk));
    }
    starts.extend((starts.len()..x.nrows()).map(|token| (token, 1)));
    Steps {
        turned: turned::steps(&layer.layer, x, mask, plain),
        window: layer.window,
        chunks: starts,
        mask: mask.clone(),
    }
}

impl Layer for Steps<'_> {
    type Before = Windowed;

    fn looks(&self, before: &Windowed) -> Option<Looks> {
        let Windowed { mut turned, ring } = *before;
        if ring == Ring::SlotForPosition {
            turned.turning = turned.turning.with_keys_in_slots(self.window);
        }
        let mut looks = self.turned.looks(&turned)?;
        if !matches!(ring, Ring::Right | Ring::SlotForPosition) {
            let n = looks.headed.q.nrows();
            let causal = Mask::Causal { offset: 0 };
            // What a file hides stays hidden; of the layer's own window, only the future.
            let left = match &self.mask {
                Mask::Allowed(_) => &self.mask,
                _ => &causal,
            };
            let sees = |query: usize, key: usize| {
                let pair = [query, key];
                left.sees(query, key)
                    && ring.sees(pair, self.chunks[query], self.window)
            };
            looks.headed.sees = Sees::Pairs(DMatrix::from_fn(n, n, sees));
        }
        Some(looks)
    }

    fn output(&self) -> Option<Map<'_>> {
        self.turned.output()
    }

    fn x(&self) -> Option<&DMatrix<f32>> {
        self.turned.x()
    }
}
