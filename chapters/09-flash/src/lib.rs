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

pub fn decode(q: &DMatrix<f32>, k: DMatrixView<f32>, v: DMatrixView<f32>, groups: Groups, chunk: usize) -> DMatrix<f32> {
    use decoding::few;
    let d_k = q.ncols() / groups.heads();
    let d_v = v.ncols() / groups.kv_heads();
    let size = groups.size();
    let m = k.nrows();
    let chunks = m.div_ceil(chunk);
    let tasks: Vec<(usize, usize)> = (0..groups.kv_heads()).flat_map(|g| (0..chunks).map(move |c| (g, c))).collect();
    let parts: Vec<(Vec<f32>, Vec<f32>, DMatrix<f32>)> = tasks.into_par_iter().with_max_len(1).map(|(g, c)| {
        let heads = q.columns(g * size * d_k, size * d_k);
        let stacked = DMatrix::from_row_iterator(size, d_k, heads.iter().copied()) / (d_k as f32).sqrt();
        let len = chunk.min(m - c * chunk);
        let k = k.view((c * chunk, g * d_k), (len, d_k));
        let v = v.view((c * chunk, g * d_v), (len, d_v));
        let mut scores = few::scores_in_tiles(&stacked, k);
        let (max, sum): (Vec<f32>, Vec<f32>) = pulp::Arch::new().dispatch(#[inline(always)] || scores.as_mut_slice().chunks_exact_mut(len).map(#[inline(always)] |column| {
            let mut max = [f32::MIN; 32];
            for chunk in column.chunks(32) { for (max, s) in max.iter_mut().zip(chunk) { *max = if *s > *max { *s } else { *max }; } }
            let max = max.iter().copied().fold(f32::MIN, f32::max).min(f32::MAX);
            let mut sum = [0.0; 32];
            for chunk in column.chunks_mut(32) { for (sum, s) in sum.iter_mut().zip(chunk) { *s = attention::exp_nonpositive(*s - max); *sum += *s; } }
            (max, sum.iter().sum::<f32>())
        }).unzip());
        let out = few::average(&scores, v);
        (max, sum, out)
    }).collect();
    let mut out = DMatrix::zeros(1, groups.heads() * d_v);
    for g in 0..groups.kv_heads() {
        let parts = &parts[g * chunks..][..chunks];
        for i in 0..size {
            let max = parts.iter().map(|p| p.0[i]).fold(f32::MIN, f32::max);
            let sum: f32 = parts.iter().map(|p| p.1[i] * attention::exp_nonpositive(p.0[i] - max)).sum();
            let mut to = out.columns_mut((g * size + i) * d_v, d_v);
            for p in parts { to += p.2.row(i) * (attention::exp_nonpositive(p.0[i] - max) / sum); }
        }
    }
    out
}
