//! Attention in tiles, with one more key for each head that takes weight and gives nothing.

use crate::cached::Chunk;
use crate::kernel::Tuning;
use crate::shapes::sizes;
use crate::{Partial, attend_from, chunk, seen_by_one, steps};
use attention::{Mask, ShapeError, expect_shape};
use grouped_query::Groups;
use multi_head::LayerError;
use nalgebra::{DMatrix, DMatrixView};
use rayon::prelude::*;
use std::ops::Range;

/// [`attend`](crate::attend) with learned sinks: the softmax of head `h` also runs over the
/// score `sinks[h]`, which is not divided by √`d_k`, and whose value is zero. So the weights
/// of a row of keys sum to less than one. A sink of −∞ takes nothing.
///
/// Merging the sink's own [`Partial`] is the same as multiplying the output of a head with
/// σ(log-sum-exp − sink). Source: the model code of gpt-oss, `sinks`.
///
/// # Errors
/// When there is not one sink per query head, or as for [`attend`](crate::attend).
pub fn attend_with_sinks(
    q: &DMatrix<f32>,
    k: DMatrixView<f32>,
    v: DMatrixView<f32>,
    groups: Groups,
    mask: &Mask,
    sinks: &[f32],
) -> Result<DMatrix<f32>, LayerError> {
    let (found, wanted) = ((sinks.len(), 1), (groups.heads(), 1));
    expect_shape("sinks", found, wanted, "every query head has one sink")?;
    let m = sizes(q, k, v, groups)?.m;
    let seen = match mask {
        Mask::None => 0..m,
        Mask::Causal { offset } => seen_by_one(*offset, usize::MAX, m),
        Mask::Window { offset, window } => seen_by_one(*offset, *window, m),
        Mask::Allowed(_) => {
            return attend_from(q, k, v, groups, mask, sinks, Tuning::default());
        }
    };
    if q.nrows() != 1 {
        return attend_from(q, k, v, groups, mask, sinks, Tuning::default());
    }
    let (k, v) = (k.rows_range(seen.clone()), v.rows_range(seen));
    Ok(decode_with_sinks(q, k, v, groups, sinks)?)
}

/// One query that sees all of these keys, as in [`decode`](crate::decode).
fn decode_with_sinks(
    q: &DMatrix<f32>,
    k: DMatrixView<f32>,
    v: DMatrixView<f32>,
    groups: Groups,
    sinks: &[f32],
) -> Result<DMatrix<f32>, ShapeError> {
    let (size, kv_heads) = (groups.size(), groups.kv_heads());
    let (d_k, d_v) = (k.ncols() / kv_heads, v.ncols() / kv_heads);
    let chunks: Vec<Range<usize>> =
        steps(0..k.nrows(), chunk(k.nrows(), kv_heads)).collect();
    let part = |i: usize| {
        let (g, keys) = (i / chunks.len(), &chunks[i % chunks.len()]);
        let heads = q.columns(g * size * d_k, size * d_k);
        let q = DMatrix::from_row_iterator(size, d_k, heads.iter().copied());
        let k = k.view((keys.start, g * d_k), (keys.len(), d_k));
        let v = v.view((keys.start, g * d_v), (keys.len(), d_v));
        Chunk { q: &q, keys: k, values: v }.partial()
    };
    let tasks = (0..kv_heads * chunks.len()).into_par_iter();
    let parts: Vec<Partial> = tasks.with_max_len(1).map(part).collect();

    let mut found = Vec::with_capacity(groups.heads() * d_v);
    for g in 0..kv_heads {
        let mut all = Partial::of_sinks(&sinks[g * size..][..size], d_v);
        for part in &parts[g * chunks.len()..][..chunks.len()] {
            all = all.merge(part)?;
        }
        found.extend(all.output().transpose().iter());
    }
    Ok(DMatrix::from_row_slice(1, found.len(), &found))
}
