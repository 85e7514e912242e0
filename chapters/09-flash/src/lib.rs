//! Flash attention: the same numbers as attention, computed from one tile of scores at a
//! time. The (queries, keys) matrix of weights is never formed.
//!
//! ```text
//! for each tile of keys:   S = Q Kᵀ / √d_k             M = max(μ, largest of S)
//!                          ℓ = e^(μ − M) ℓ + Σ e^(S − M)
//!                          O = e^(μ − M) O + e^(S − M) V      μ = M
//! output = O / ℓ
//! ```
//!
//! This is the forward pass. The backward pass, in chapter 13, computes the weights of a
//! tile again from its scores and [`Partial::log_sum_exp`].
//!
//! Sources: Milakov and Gimelshein 2018, *Online normalizer calculation for softmax*,
//! algorithm 3; Dao et al. 2022, *Flash Attention*, §3.1; Dao 2023, *Flash Attention 2*, §3.1.
//!
//! ```
//! use attention::Mask;
//! use flash::attend;
//! use grouped_query::Groups;
//! use nalgebra::DMatrix;
//!
//! // Four query heads of 8 share two key/value heads; six tokens.
//! let q = DMatrix::from_fn(6, 32, |token, f| ((token + f) as f32).sin());
//! let kv = q.columns(0, 16);
//! let mask = Mask::Causal { offset: 0 };
//! let found = attend(&q, kv, kv, Groups::new(4, 2)?, &mask)?;
//! assert_eq!(found.shape(), (6, 32));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cached;
pub mod command;
pub mod example;
pub mod experiments;
pub mod figures;
pub mod kernel;
mod saved;
mod shapes;
mod sinks;
pub mod slips;

use attention::{Mask, ShapeError, average, exp_nonpositive, expect_shape, scores};
use cached::Chunk;
use grouped_query::Groups;
use kernel::{PackedKeys, PackedValues, Task, Tuning};
use multi_head::LayerError;
use nalgebra::{DMatrix, DMatrixView, DVector};
use rayon::prelude::*;
pub use saved::{Saved, attend_saving};
use shapes::{Sizes, expect_mask, side_by_side, sizes};
pub use sinks::attend_with_sinks;
use std::ops::Range;

/// What some queries have gathered from some of the keys: enough to go on with the others.
#[derive(Debug, Clone, PartialEq)]
pub struct Partial {
    /// The largest score of each query so far; -3.4e38 before the first.
    max: DVector<f32>,
    /// `Σ exp(s − max)` of each query.
    sum: DVector<f32>,
    /// (queries, `d_v`): `Σ exp(s − max) v`, not yet divided.
    weighted: DMatrix<f32>,
}

impl Partial {
    /// The result of no keys at all.
    #[must_use]
    pub fn nothing(queries: usize, d_v: usize) -> Self {
        Partial {
            max: DVector::repeat(queries, f32::MIN),
            sum: DVector::zeros(queries),
            weighted: DMatrix::zeros(queries, d_v),
        }
    }

    /// The result of a key whose value is zero: the `sinks` are its scores, one for each
    /// query. It takes weight from all keys that are merged with it (Xiao et al. 2023, §3.3;
    /// gpt-oss learns one score for each head).
    #[must_use]
    pub fn of_sinks(sinks: &[f32], d_v: usize) -> Self {
        let begin = sinks.iter().map(|&sink| kernel::sunk(sink));
        let (max, sum): (Vec<f32>, Vec<f32>) = begin.unzip();
        Partial {
            max: max.into(),
            sum: sum.into(),
            weighted: DMatrix::zeros(sinks.len(), d_v),
        }
    }

    /// The result of one tile: its `scores` (queries, keys) and `values` (keys, `d_v`).
    ///
    /// # Errors
    /// When there is not one value per key.
    pub fn of(
        mut scores: DMatrix<f32>,
        values: DMatrixView<f32>,
    ) -> Result<Self, ShapeError> {
        let keys = (scores.ncols(), values.ncols());
        expect_shape("values", values.shape(), keys, "every key has one value")?;
        let mut max = DVector::repeat(scores.nrows(), f32::MIN);
        for column in scores.column_iter() {
            max.zip_apply(&column, |max, s| *max = larger(*max, s));
        }
        // A mask has set the scores of hidden pairs to this.
        let sees = scores.map(|s| s != f32::NEG_INFINITY);
        for mut column in scores.column_iter_mut() {
            column.zip_apply(&max, |s, max| *s = exp_nonpositive(*s - max));
        }
        let sum = scores.column_sum();
        let weighted = average(scores.as_view(), values, |q, k| sees[(q, k)]);
        Ok(Partial { max, sum, weighted })
    }

    /// The result of the keys of both: each is measured from the larger maximum, and then
    /// they are added.
    ///
    /// # Errors
    /// When the two are not results of as many queries, with values of the same width.
    pub fn merge(&self, other: &Partial) -> Result<Partial, ShapeError> {
        let shape = self.weighted.shape();
        let why = "results of the same queries are merged";
        expect_shape("weighted", other.weighted.shape(), shape, why)?;
        let max = self.max.zip_map(&other.max, larger);
        let measure = |part: &Partial| {
            part.max.zip_map(&max, |own, max| exp_nonpositive(own - max))
        };
        let (one, two) = (measure(self), measure(other));
        let mut merged = self.clone();
        merged.sum.component_mul_assign(&one);
        merged.sum += other.sum.component_mul(&two);
        for (mut column, added) in
            merged.weighted.column_iter_mut().zip(other.weighted.column_iter())
        {
            column.component_mul_assign(&one);
            column += added.component_mul(&two);
        }
        Ok(Partial { max, ..merged })
    }

    /// (queries, `d_v`): the averages, if these were all the keys. A query that has seen
    /// no key gets zeros.
    #[must_use]
    pub fn output(&self) -> DMatrix<f32> {
        let mut output = self.weighted.clone();
        for mut column in output.column_iter_mut() {
            column.zip_apply(&self.sum, |o, sum| {
                *o = if sum == 0.0 { 0.0 } else { *o / sum };
            });
        }
        output
    }

    /// The log-sum-exp of each query's scores, `max` + ln `sum`. Subtracted from a score, it
    /// leaves the logarithm of that key's weight, so one number per query is enough to
    /// compute every weight again (Dao 2023, §3.1.1). It is −∞ for a query that has seen no
    /// key.
    #[must_use]
    pub fn log_sum_exp(&self) -> DVector<f32> {
        self.max.zip_map(&self.sum, |max, sum| max + sum.ln())
    }
}

/// The larger of two scores, and never an infinity: inf − inf would be NaN.
fn larger(max: f32, score: f32) -> f32 {
    if score > max { score.min(f32::MAX) } else { max }
}

/// Attention in tiles, for one head and in plain matrices. The tiles of a few queries give
/// [`Partial`]s, which are merged from left to right; then the next few queries follow.
///
/// `q` is (queries, `d_k`), `k` (keys, `d_k`), `v` (keys, `d_v`); the output is
/// (queries, `d_v`).
///
/// # Errors
/// As for [`attention::attend`].
pub fn attend_tiled(
    q: DMatrixView<f32>,
    k: DMatrixView<f32>,
    v: DMatrixView<f32>,
    mask: &Mask,
    tile: Tile,
) -> Result<DMatrix<f32>, ShapeError> {
    let (n, m) = (q.nrows(), k.nrows());
    expect_shape("k", k.shape(), (m, q.ncols()), "a dot product needs equal widths")?;
    expect_shape("v", v.shape(), (m, v.ncols()), "every key has one value")?;
    expect_mask(mask, (n, m))?;
    let mut output = DMatrix::zeros(n, v.ncols());
    for queries in steps(0..n, tile.queries) {
        let mut found = Partial::nothing(queries.len(), v.ncols());
        for keys in steps(0..m, tile.keys) {
            let sight = sight(mask, &queries, &keys);
            if sight == Sight::Nothing {
                continue;
            }
            let rows = |matrix: DMatrixView<'_, f32>, rows: &Range<usize>| {
                matrix.rows(rows.start, rows.len()).into_owned()
            };
            let (q, k, v) = (rows(q, &queries), rows(k, &keys), rows(v, &keys));
            let mut scores = scores(q.as_view(), k.as_view())?;
            if sight == Sight::Part {
                hide(mask, &queries, &keys, &mut scores);
            }
            found = found.merge(&Partial::of(scores, v.as_view())?)?;
        }
        output.rows_mut(queries.start, queries.len()).copy_from(&found.output());
    }
    Ok(output)
}

/// How many queries meet how many keys at a time. Each is at least 1; 0 counts as 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tile {
    /// Rows of the tile.
    pub queries: usize,
    /// Columns of the tile.
    pub keys: usize,
}

/// `all`, cut into pieces of `step`; the last may be shorter.
pub fn steps(all: Range<usize>, step: usize) -> impl Iterator<Item = Range<usize>> {
    let step = step.max(1);
    let end = all.end;
    all.step_by(step).map(move |start| start..end.min(start.saturating_add(step)))
}

/// How much of a tile a mask leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// The tile is skipped: its keys and values are not even read.
    Nothing,
    /// Some pairs are hidden: each has to be looked up.
    Part,
    /// Nothing is hidden.
    All,
}

/// What the `queries` see of the `keys`. The mask has their shape or is larger.
#[must_use]
pub fn sight(mask: &Mask, queries: &Range<usize>, keys: &Range<usize>) -> Sight {
    let (Some(last_query), Some(last_key)) =
        (queries.clone().last(), keys.clone().last())
    else {
        return Sight::Nothing;
    };
    let (any, all) = match mask {
        Mask::None => (true, true),
        Mask::Causal { .. } => {
            let corner = mask.sees(queries.start, last_key);
            (mask.sees(last_query, keys.start), corner)
        }
        Mask::Window { offset, window } => {
            let [first, last] =
                [queries.start, last_query].map(|i| i.saturating_add(*offset));
            let any = keys.start <= last && first.saturating_sub(last_key) < *window;
            // The newest key is ahead of nobody, the oldest in everybody's reach.
            let corners = [(queries.start, last_key), (last_query, keys.start)];
            (any, corners.iter().all(|&(query, key)| mask.sees(query, key)))
        }
        Mask::Allowed(allowed) => {
            let shape = (queries.len(), keys.len());
            let tile = allowed.view((queries.start, keys.start), shape);
            (tile.iter().any(|&sees| sees), tile.iter().all(|&sees| sees))
        }
    };
    match (any, all) {
        (_, true) => Sight::All,
        (true, false) => Sight::Part,
        (false, false) => Sight::Nothing,
    }
}

fn hide(
    mask: &Mask,
    queries: &Range<usize>,
    keys: &Range<usize>,
    scores: &mut DMatrix<f32>,
) {
    for (key, mut column) in keys.clone().zip(scores.column_iter_mut()) {
        for (query, score) in queries.clone().zip(column.iter_mut()) {
            if !mask.sees(query, key) {
                *score = f32::NEG_INFINITY;
            }
        }
    }
}

/// Attention for all heads at once, as [`grouped_query::attend_groups`] computes it:
/// each head's columns of `q` (queries, heads · `d_k`) with its group's columns of `k`
/// (keys, `kv_heads` · `d_k`) and `v` (keys, `kv_heads` · `d_v`). Gives
/// (queries, heads · `d_v`).
///
/// # Errors
/// As for [`grouped_query::attend_groups`].
pub fn attend(
    q: &DMatrix<f32>,
    k: DMatrixView<f32>,
    v: DMatrixView<f32>,
    groups: Groups,
    mask: &Mask,
) -> Result<DMatrix<f32>, LayerError> {
    match mask {
        Mask::None if q.nrows() == 1 => decode(q, k, v, groups),
        // A single query that sees a beginning of the keys sees all of that beginning.
        Mask::Causal { offset } if q.nrows() == 1 => {
            sizes(q, k, v, groups)?;
            let seen = k.nrows().min(offset.saturating_add(1));
            decode(q, k.rows(0, seen), v.rows(0, seen), groups)
        }
        Mask::Window { offset, window } if q.nrows() == 1 => {
            sizes(q, k, v, groups)?;
            let seen = seen_by_one(*offset, *window, k.nrows());
            decode(q, k.rows_range(seen.clone()), v.rows_range(seen), groups)
        }
        _ => attend_tuned(q, k, v, groups, mask, Tuning::default()),
    }
}

/// The keys, of so many, that a query sees through a window.
fn seen_by_one(offset: usize, window: usize, keys: usize) -> Range<usize> {
    let end = offset.saturating_add(1);
    let start = end.saturating_sub(window);
    start.min(keys)..end.min(keys)
}

/// Where the corner of a causal mask lies when there are more keys than queries, or fewer
/// of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// The last query stands at the last key, as when keys come out of a cache.
    Last,
    /// The first query stands at the first key, as with `is_causal` in PyTorch.
    First,
}

/// [`attend`] under a causal mask, for any numbers of queries and keys. Both alignments
/// give the same when the numbers are equal.
///
/// # Errors
/// As for [`attend`].
pub fn attend_causal(
    q: &DMatrix<f32>,
    k: DMatrixView<f32>,
    v: DMatrixView<f32>,
    groups: Groups,
    align: Align,
) -> Result<DMatrix<f32>, LayerError> {
    let (n, m) = (q.nrows(), k.nrows());
    let offset = match align {
        Align::First => 0,
        Align::Last => m.saturating_sub(n),
    };
    let causal = Mask::Causal { offset };
    if align == Align::First || n <= m {
        return attend(q, k, v, groups, &causal);
    }
    // The first queries stand before the first key and see nothing.
    let sighted = q.rows(n - m, m).into_owned();
    Ok(attend(&sighted, k, v, groups, &causal)?.insert_rows(0, n - m, 0.0))
}

/// [`attend`] for many queries, with the choices spelled out.
///
/// # Errors
/// As for [`attend`].
pub fn attend_tuned(
    q: &DMatrix<f32>,
    k: DMatrixView<f32>,
    v: DMatrixView<f32>,
    groups: Groups,
    mask: &Mask,
    tuning: Tuning,
) -> Result<DMatrix<f32>, LayerError> {
    let none = vec![f32::NEG_INFINITY; groups.heads()];
    attend_from(q, k, v, groups, mask, &none, tuning)
}

/// [`attend_tuned`], where each head begins with a key of its own: the score of its sink.
fn attend_from(
    q: &DMatrix<f32>,
    k: DMatrixView<f32>,
    v: DMatrixView<f32>,
    groups: Groups,
    mask: &Mask,
    sinks: &[f32],
    tuning: Tuning,
) -> Result<DMatrix<f32>, LayerError> {
    Ok(attend_and_save(q, k, v, groups, mask, sinks, tuning)?.output)
}

/// [`attend_from`], with what the backward pass needs of it.
fn attend_and_save(
    q: &DMatrix<f32>,
    k: DMatrixView<f32>,
    v: DMatrixView<f32>,
    groups: Groups,
    mask: &Mask,
    sinks: &[f32],
    tuning: Tuning,
) -> Result<Saved, LayerError> {
    let Sizes { n, m, d_k, d_v } = sizes(q, k, v, groups)?;
    expect_mask(mask, (n, m))?;
    let pack = |g| {
        let keys = PackedKeys::new(k.columns(g * d_k, d_k));
        (keys, PackedValues::new(v.columns(g * d_v, d_v)))
    };
    let packed: Vec<_> = (0..groups.kv_heads()).into_par_iter().map(pack).collect();

    let blocks: Vec<_> = steps(0..n, tuning.tile.queries).collect();
    let task = |i: usize| {
        let (rows, head) = (blocks[i / groups.heads()].clone(), i % groups.heads());
        let (keys, values) = &packed[groups.kv_head(head)];
        let mut found = vec![0.0; rows.len() * d_v];
        let mut lse = vec![0.0; rows.len()];
        let q = q.columns(head * d_k, d_k);
        let (seen, sink) = (rows.clone(), sinks[head]);
        let (output, log_sum_exp) = (&mut found[..], &mut lse[..]);
        Task { q, rows, keys, values, mask, sink, tuning, output, log_sum_exp }.run();
        values.reveal(mask, seen, &mut found);
        (found, lse)
    };
    // One task at a time for each core, and the last queries first: under a causal mask
    // they take longest.
    let tasks = (0..blocks.len() * groups.heads()).into_par_iter();
    let mut done: Vec<_> = tasks.rev().with_max_len(1).map(task).collect();
    done.reverse();
    let (found, lse): (Vec<_>, Vec<_>) = done.into_iter().unzip();
    let heads = groups.heads();
    let output = side_by_side(&found, &blocks, n, heads, d_v);
    Ok(Saved { output, log_sum_exp: side_by_side(&lse, &blocks, n, heads, 1) })
}

/// A task has at least this many keys; fewer are not worth one.
pub const CHUNK: usize = 2048;

/// Keys of one kv head that a core reads before it asks for more work. Long pieces of
/// memory are read faster than short ones, so keys are split only until every core has
/// four tasks.
#[must_use]
pub fn chunk(keys: usize, kv_heads: usize) -> usize {
    let tasks = 4 * rayon::current_num_threads();
    keys.div_ceil(tasks.div_ceil(kv_heads.max(1))).max(CHUNK)
}

/// Attention for the one query of a token that sees all keys, `q` (1, heads · `d_k`).
/// The cores divide the keys: each makes [`Partial`]s of chunks, and these are merged.
///
/// # Errors
/// When `q` does not have exactly one row, or as for [`attend`].
pub fn decode(
    q: &DMatrix<f32>,
    k: DMatrixView<f32>,
    v: DMatrixView<f32>,
    groups: Groups,
) -> Result<DMatrix<f32>, LayerError> {
    expect_shape("q", q.shape(), (1, q.ncols()), "decoding goes token by token")?;
    let Sizes { m, d_k, d_v, .. } = sizes(q, k, v, groups)?;
    let chunks: Vec<_> = steps(0..m, chunk(m, groups.kv_heads())).collect();
    let part = |i: usize| {
        let (g, keys) = (i / chunks.len(), &chunks[i % chunks.len()]);
        let heads = q.columns(g * groups.size() * d_k, groups.size() * d_k);
        let stacked =
            DMatrix::from_row_iterator(groups.size(), d_k, heads.iter().copied());
        let k = k.view((keys.start, g * d_k), (keys.len(), d_k));
        let v = v.view((keys.start, g * d_v), (keys.len(), d_v));
        Chunk { q: &stacked, keys: k, values: v }.partial()
    };
    let tasks = (0..groups.kv_heads() * chunks.len()).into_par_iter();
    let parts: Vec<Partial> = tasks.with_max_len(1).map(part).collect();

    let mut found = Vec::with_capacity(groups.heads() * d_v);
    for g in 0..groups.kv_heads() {
        let mut all = Partial::nothing(groups.size(), d_v);
        for part in &parts[g * chunks.len()..][..chunks.len()] {
            all = all.merge(part)?;
        }
        found.extend(all.output().transpose().iter());
    }
    Ok(DMatrix::from_row_slice(1, found.len(), &found))
}
