//! How a run goes about its memory, decided before it is taken.

use crate::Chapter;
use crate::batch::Batch;
use crate::memory::Bytes;
use crate::message::shape;
use crate::results::Layout;
use anyhow::{Result, bail};

/// What to keep, and how much to do at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Plan {
    /// All at once, weights included.
    WithWeights,
    /// Without the weights, so many rows of them at a time.
    WithoutWeights {
        /// Rows of each head.
        rows: usize,
    },
}

/// Weights that are at hand at a time where none are kept: enough for long rows of
/// products, and little beside what a layer takes anyway.
const AT_HAND: [usize; 2] = [64, 1 << 20];

impl Plan {
    /// The plan for a batch, of which a layer makes tensors that are `wide` in all.
    ///
    /// # Errors
    /// When there is not memory enough for it.
    pub(crate) fn of<C: Chapter>(
        batch: &Batch,
        layer: &C::Layer,
        flags: &C::Flags,
        wide: usize,
        keeps_weights: bool,
    ) -> Result<Self> {
        // A layer that cannot run on these sequences says so itself.
        let Ok(layout) = batch.layout::<C>(layer, flags) else {
            let lean = Plan::WithoutWeights { rows: 1 };
            return Ok(if keeps_weights { Plan::WithWeights } else { lean });
        };
        let copies = C::copies_of_weights(flags);
        let need = Need::of(batch, &layout, wide);
        if keeps_weights {
            need.expect_weights(batch, &layout, copies)?;
            return Ok(Plan::WithWeights);
        }
        let row = Bytes::of_f32s(&[layout.heads, layout.weights.1]).times(copies);
        let all = |rows: usize| need.rest.and(row.times(rows));
        let mut rows = Bytes::of_f32s(&AT_HAND).hold(row).clamp(1, batch.n.max(1));
        while rows > 1 && all(rows).are_free().is_err() {
            rows /= 2;
        }
        let all = all(rows);
        let shape = with_batch(batch, &[layout.y.0, layout.y.1]);
        all.are_free().map_err(|free| too_little("y", &shape, all, free))?;
        Ok(Plan::WithoutWeights { rows })
    }

    /// The layout of what is kept of an output.
    pub(crate) fn kept(&self, mut layout: Layout) -> Layout {
        if *self != Plan::WithWeights {
            (layout.heads, layout.weights) = (0, (0, 0));
        }
        layout
    }
}

/// What a run takes.
struct Need {
    /// The weights of all sequences.
    weights: Bytes,
    /// Those of one sequence.
    sequence: Bytes,
    /// All else.
    rest: Bytes,
}

impl Need {
    fn of(batch: &Batch, layout: &Layout, wide: usize) -> Self {
        let (n, m) = layout.weights;
        let sequence = Bytes::of_f32s(&[layout.heads, n, m]);
        let y = Bytes::of_f32s(&[batch.sequences.len(), layout.y.0, layout.y.1]);
        // Queries, keys, values and what the heads found.
        let on_the_way = Bytes::of_f32s(&[batch.n.saturating_add(batch.m), wide]);
        let hides =
            batch.sequences.iter().any(|s| s.mask.is_some() || s.real.is_some());
        let mask = if hides { [2, batch.n, batch.m] } else { [0; 3] };
        let rest = y.times(2).and(on_the_way).and(Bytes::of_booleans(&mask));
        let weights = sequence.times(batch.sequences.len());
        Need { weights, sequence, rest }
    }

    /// # Errors
    /// When they do not fit, with all else.
    fn expect_weights(
        &self,
        batch: &Batch,
        layout: &Layout,
        copies: usize,
    ) -> Result<()> {
        let all = self.weights.and(self.sequence.times(copies - 1)).and(self.rest);
        let Err(free) = all.are_free() else { return Ok(()) };
        let (n, m) = layout.weights;
        let weights = with_batch(batch, &[layout.heads, n, m]);
        if self.rest > free {
            let y = with_batch(batch, &[layout.y.0, layout.y.1]);
            return Err(too_little("y", &y, self.rest, free));
        }
        bail!(
            "the attention weights {} take {}, all in all {all}, and this process can \
             have {free}: --no-weights leaves them out, and flash (chapter 9) never forms \
             them",
            shape(&weights),
            self.weights,
        )
    }
}

fn with_batch(batch: &Batch, rest: &[usize]) -> Vec<usize> {
    batch.size.into_iter().chain(rest.iter().copied()).collect()
}

fn too_little(what: &str, of: &[usize], all: Bytes, free: Bytes) -> anyhow::Error {
    let of = shape(of);
    anyhow::anyhow!(
        "{what} {of} and what it is made from take {all}, and this process can have \
         {free}: give it fewer tokens at a time, or more memory"
    )
}

/// Asks for room for an F32 tensor `what` of this shape, before a chapter makes it out of a
/// file that may be much smaller.
///
/// # Errors
/// When there is none.
pub fn expect_room(what: &str, shape: &[usize]) -> Result<()> {
    let all = Bytes::of_f32s(shape).times(2);
    all.are_free().map_err(|free| too_little(what, shape, all, free))
}

/// Asks for so many bytes for `what`, before they are taken; `instead` says what to do where
/// there are fewer.
///
/// # Errors
/// When there are fewer.
pub fn expect_bytes(what: &str, bytes: u64, instead: &str) -> Result<()> {
    let all = Bytes::of(bytes);
    all.are_free().map_err(|free| {
        anyhow::anyhow!(
            "{what} take {all}, and this process can have {free}: {instead}"
        )
    })
}
