//! What the functions of this chapter ask of their arguments, and how answers of many
//! tasks become one matrix.

use attention::{Mask, ShapeError, expect_shape};
use grouped_query::Groups;
use multi_head::{LayerError, head_dim};
use nalgebra::{DMatrix, DMatrixView, DMatrixViewMut};
use rayon::prelude::*;
use std::ops::Range;

/// How many queries and keys there are, and how wide one key and one value.
pub(crate) struct Sizes {
    pub(crate) n: usize,
    pub(crate) m: usize,
    pub(crate) d_k: usize,
    pub(crate) d_v: usize,
}

pub(crate) fn sizes(
    q: &DMatrix<f32>,
    k: DMatrixView<f32>,
    v: DMatrixView<f32>,
    groups: Groups,
) -> Result<Sizes, LayerError> {
    let split = |tensor, width, heads| match head_dim(tensor, width, heads)? {
        0 => Err(LayerError::Split { tensor, width, heads }),
        one => Ok(one),
    };
    let d_k = split("q", q.ncols(), groups.heads())?;
    let d_v = split("v", v.ncols(), groups.kv_heads())?;
    let (n, m) = (q.nrows(), v.nrows());
    let keys = (m, groups.kv_heads() * d_k);
    expect_shape("k", k.shape(), keys, "one key per value, as wide as a query head")?;
    Ok(Sizes { n, m, d_k, d_v })
}

pub(crate) fn expect_mask(
    mask: &Mask,
    shape: (usize, usize),
) -> Result<(), ShapeError> {
    match mask {
        Mask::Allowed(allowed) => {
            expect_shape("mask", allowed.shape(), shape, "one entry per query and key")
        }
        Mask::None | Mask::Causal { .. } | Mask::Window { .. } => Ok(()),
    }
}

/// The answers of all heads to each of the `blocks` of queries, in one matrix: (queries,
/// heads · `d_v`). Each of `found` is (queries of the block, `d_v`), by columns.
pub(crate) fn side_by_side(
    found: &[Vec<f32>],
    blocks: &[Range<usize>],
    n: usize,
    heads: usize,
    d_v: usize,
) -> DMatrix<f32> {
    let mut output = DMatrix::zeros(n, heads * d_v);
    let columns = output.as_mut_slice().par_chunks_mut((n * d_v).max(1));
    columns.enumerate().for_each(|(head, columns)| {
        let mut columns = DMatrixViewMut::from_slice(columns, n, d_v);
        for (b, rows) in blocks.iter().enumerate() {
            let found = &found[b * heads + head];
            let found = DMatrixView::from_slice(found, rows.len(), d_v);
            columns.rows_mut(rows.start, rows.len()).copy_from(&found);
        }
    });
    output
}
