//! scratch
#![allow(missing_docs, clippy::pedantic)]
pub mod kernel;

use attention::{Mask};
use grouped_query::Groups;
use kernel::{PackedKeys, PackedValues, Task};
use nalgebra::{DMatrix, DMatrixView};
use rayon::prelude::*;

#[derive(Clone, Copy)]
pub enum Block<'a> { All, Causal { offset: usize }, Allowed(&'a DMatrix<bool>) }

impl Block<'_> {
    #[inline(always)]
    pub fn seen(&self, query: usize) -> usize {
        match self { Block::Causal { offset } => query + offset + 1, _ => usize::MAX }
    }
    #[inline(always)]
    pub fn hides(&self, first_query: usize, keys: usize) -> bool {
        match self { Block::All => false, Block::Causal { offset } => keys > first_query + offset + 1, Block::Allowed(_) => true }
    }
    #[inline(always)]
    pub fn hide(&self, start: usize, count: usize, tile: usize, lanes: usize, scores: &mut [f32]) {
        match self {
            Block::All => {}
            Block::Causal { offset } => for (key, column) in scores.chunks_exact_mut(lanes).enumerate() {
                let blind = (tile + key).saturating_sub(start + offset).min(lanes);
                column[..blind].fill(f32::NEG_INFINITY);
            },
            Block::Allowed(allowed) => for (key, column) in scores.chunks_exact_mut(lanes).enumerate() {
                let allowed = &allowed.column(tile + key).data.into_slice()[start..start + count];
                for (s, a) in column.iter_mut().zip(allowed) { if !a { *s = f32::NEG_INFINITY; } }
            },
        }
    }
}

pub const ROWS: usize = 128;

pub fn attend(q: &DMatrix<f32>, k: DMatrixView<f32>, v: DMatrixView<f32>, groups: Groups, mask: &Mask) -> DMatrix<f32> {
    let arch = pulp::Arch::new();
    let n = q.nrows();
    let m = k.nrows();
    let d_k = q.ncols() / groups.heads();
    let d_v = v.ncols() / groups.kv_heads();
    let packed: Vec<_> = (0..groups.kv_heads()).into_par_iter().map(|g| (PackedKeys::new(k.columns(g * d_k, d_k)), PackedValues::new(v.columns(g * d_v, d_v)))).collect();
    let block = match mask { Mask::None => Block::All, Mask::Causal { offset } => Block::Causal { offset: *offset }, Mask::Allowed(a) => Block::Allowed(a) };
    let blocks = n.div_ceil(ROWS);
    let mut parts: Vec<f32> = vec![0.0; n * groups.heads() * d_v];
    // tasks: last rows first, for they see most
    let mut tasks: Vec<(usize, usize, &mut [f32])> = vec![];
    let mut rest = parts.as_mut_slice();
    for b in 0..blocks { for h in 0..groups.heads() {
        let rows = ROWS.min(n - b * ROWS);
        let (one, more) = std::mem::take(&mut rest).split_at_mut(rows * d_v);
        rest = more;
        tasks.push((b, h, one));
    } }
    tasks.into_par_iter().rev().with_max_len(1).for_each(|(b, h, output)| {
        let (keys, values) = &packed[groups.kv_head(h)];
        arch.dispatch(Task { q: q.columns(h * d_k, d_k), rows: b * ROWS..n.min(b * ROWS + ROWS), keys, values, block, tokens: m, output });
    });
    let mut out = DMatrix::zeros(n, groups.heads() * d_v);
    out.as_mut_slice().par_chunks_mut(n * d_v).enumerate().for_each(|(h, columns)| {
        for (f, column) in columns.chunks_exact_mut(n).enumerate() {
            for (b, to) in column.chunks_mut(ROWS).enumerate() {
                let rows = to.len();
                let start = (b * ROWS * groups.heads() + h * rows) * d_v;
                to.copy_from_slice(&parts[start + f * rows..][..rows]);
            }
        }
    });
    out
}
