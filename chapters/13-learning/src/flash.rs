//! The way back through flash attention: each tile of weights is computed again.
//!
//! ```text
//! for each tile:   P = exp(S − L)         dV += Pᵀ dO
//!                  dS = P ∘ (dO Vᵀ − D)   dQ += dS K / √d_k     dK += dSᵀ Q / √d_k
//! ```
//!
//! `L` is the log-sum-exp that the forward pass saved, and `D = rowsum(dO ∘ O)`, which is
//! the average that the softmax's gradient takes away: two numbers for each query, in the
//! place of a row of weights.
//!
//! Source: Dao 2023, *Flash Attention 2*, §3.1.2, algorithm 2.

use crate::product::transposed;
use ::flash::{Saved, Sight, sight, steps};
use attention::{Mask, ShapeError, exp_nonpositive, expect_shape};
use grouped_query::Groups;
use multi_head::{LayerError, head_dim};
use nalgebra::{DMatrix, DMatrixView, DMatrixViewMut, DVector};
use pulp::Arch;
use rayon::prelude::*;
use std::ops::Range;

/// Queries and keys of a tile.
const TILE: usize = 128;

/// Gradients of what flash attention was given.
#[derive(Debug, Clone, PartialEq)]
pub struct FlashGradients {
    /// (queries, heads · `d_k`).
    pub q: DMatrix<f32>,
    /// (keys, `kv_heads` · `d_k`): the sum over the query heads of each group.
    pub k: DMatrix<f32>,
    /// (keys, `kv_heads` · `d_v`): the same.
    pub v: DMatrix<f32>,
    /// One for each query head; 0 where its sink is −∞.
    pub sinks: DVector<f32>,
}

/// What [`attend_saving`](::flash::attend_saving) was given.
#[derive(Debug, Clone, Copy)]
pub struct Attending<'a> {
    /// (queries, heads · `d_k`).
    pub q: &'a DMatrix<f32>,
    /// (keys, `kv_heads` · `d_k`).
    pub k: &'a DMatrix<f32>,
    /// (keys, `kv_heads` · `d_v`).
    pub v: &'a DMatrix<f32>,
    /// Which query heads share a key.
    pub groups: Groups,
    /// What a query may look at.
    pub mask: &'a Mask,
    /// One for each query head; −∞ is none.
    pub sinks: &'a [f32],
}

/// The way back through [`attend_saving`](::flash::attend_saving), which gave `saved`. `d_output` is
/// (queries, heads · `d_v`). No more than a tile of weights for each core is in memory.
///
/// # Errors
/// When the shapes do not fit together.
pub fn flash_backward(
    given: Attending,
    saved: &Saved,
    d_output: &DMatrix<f32>,
) -> Result<FlashGradients, LayerError> {
    let Attending { q, k, v, groups, .. } = given;
    let (d_k, d_v) = expect_fit(given, saved, d_output)?;
    let (n, m) = (q.nrows(), k.nrows());
    let averages = averages(saved, d_output, d_v);
    let mut d = FlashGradients {
        q: DMatrix::zeros(n, q.ncols()),
        k: DMatrix::zeros(m, k.ncols()),
        v: DMatrix::zeros(m, v.ncols()),
        sinks: sinks_backward(given.sinks, saved, &averages),
    };
    // The columns of a head lie one after the other, and so do those of a group.
    let of_groups = d.q.as_mut_slice().par_chunks_mut((n * groups.size() * d_k).max(1));
    let keys = d.k.as_mut_slice().par_chunks_mut((m * d_k).max(1));
    let values = d.v.as_mut_slice().par_chunks_mut((m * d_v).max(1));
    of_groups.zip(keys.zip(values)).enumerate().for_each(
        |(g, (d_q, (d_keys, d_vals)))| {
            let (k, v) = (k.columns(g * d_k, d_k), v.columns(g * d_v, d_v));
            let (keys, odd) = finite_keys(k);
            let mut shared = Shared {
                keys,
                odd,
                k,
                v,
                d_k: DMatrixViewMut::from_slice(d_keys, m, d_k),
                d_v: DMatrixViewMut::from_slice(d_vals, m, d_v),
            };
            for (i, d_q) in d_q.chunks_exact_mut(n * d_k).enumerate() {
                let h = g * groups.size() + i;
                let head = Head {
                    q: q.columns(h * d_k, d_k),
                    d_output: d_output.columns(h * d_v, d_v),
                    log_sum_exp: saved.log_sum_exp.column(h).into_owned(),
                    averages: averages.column(h).into_owned(),
                    mask: given.mask,
                };
                let turned = head.backward(&mut shared);
                d_q.copy_from_slice(transposed(turned.as_view()).as_slice());
            }
        },
    );
    Ok(d)
}

/// Keys (keys, `d_k`) as (`d_k`, keys), and which of them are not finite: those become
/// zeros, because the score of a hidden key has gradient 0, and 0 · NaN is NaN.
fn finite_keys(k: DMatrixView<f32>) -> (DMatrix<f32>, Vec<usize>) {
    let mut keys = transposed(k);
    let mut odd = Vec::new();
    for (key, mut column) in keys.column_iter_mut().enumerate() {
        if !column.iter().all(|number| number.is_finite()) {
            column.fill(0.0);
            odd.push(key);
        }
    }
    (keys, odd)
}

/// `rowsum(dO ∘ O)` of each head: (queries, heads).
fn averages(saved: &Saved, d_output: &DMatrix<f32>, d_v: usize) -> DMatrix<f32> {
    let mut averages = DMatrix::zeros(d_output.nrows(), d_output.ncols() / d_v);
    let columns = saved.output.column_iter().zip(d_output.column_iter());
    for (i, (o, d_o)) in columns.enumerate() {
        let mut of_head = averages.column_mut(i / d_v);
        of_head += o.component_mul(&d_o);
    }
    averages
}

/// The score of a sink has the weight `exp(sink − L)` in every query, and its value is 0.
fn sinks_backward(
    sinks: &[f32],
    saved: &Saved,
    averages: &DMatrix<f32>,
) -> DVector<f32> {
    DVector::from_fn(sinks.len(), |h, _| {
        let queries =
            saved.log_sum_exp.column(h).zip_map(&averages.column(h), |lse, average| {
                match lse {
                    f32::NEG_INFINITY => 0.0,
                    lse => -(sinks[h] - lse).exp() * average,
                }
            });
        queries.sum()
    })
}

/// Keys and values of a group, and their gradients so far.
struct Shared<'a> {
    /// (`d_k`, keys), those that are not finite as zeros.
    keys: DMatrix<f32>,
    /// Which these are.
    odd: Vec<usize>,
    k: DMatrixView<'a, f32>,
    v: DMatrixView<'a, f32>,
    d_k: DMatrixViewMut<'a, f32>,
    d_v: DMatrixViewMut<'a, f32>,
}

/// One query head.
struct Head<'a> {
    q: DMatrixView<'a, f32>,
    d_output: DMatrixView<'a, f32>,
    log_sum_exp: DVector<f32>,
    averages: DVector<f32>,
    mask: &'a Mask,
}

impl Head<'_> {
    /// Adds to the gradients of keys and values, and gives that of the queries,
    /// (`d_k`, queries). Tiles are kept as (keys, queries), so that nothing has to be
    /// transposed for the products. `shared.odd` are keys that are not finite: a
    /// query that sees one has a gradient of NaN.
    fn backward(&self, shared: &mut Shared) -> DMatrix<f32> {
        let (n, m, d_k) = (self.q.nrows(), shared.k.nrows(), self.q.ncols());
        let scale = 1.0 / (d_k as f32).sqrt();
        let (queries, d_outputs) = (transposed(self.q), transposed(self.d_output));
        let mut d_q = DMatrix::zeros(d_k, n);
        let mut weights = DMatrix::zeros(TILE.min(m), TILE.min(n));
        let mut d_scores = weights.clone();
        for keys in steps(0..m, TILE) {
            let (k, v) =
                (shared.k.rows_range(keys.clone()), shared.v.rows_range(keys.clone()));
            for rows in steps(0..n, TILE) {
                let seen = sight(self.mask, &rows, &keys);
                if seen == Sight::Nothing {
                    continue;
                }
                let tile = (keys.len(), rows.len());
                let mut p = weights.view_mut((0, 0), tile);
                p.gemm(scale, &k, &queries.columns_range(rows.clone()), 0.0);
                self.weigh(&mut p, seen, &rows, &keys);
                let mut d_s = d_scores.view_mut((0, 0), tile);
                let d_o = d_outputs.columns_range(rows.clone());
                d_s.gemm(1.0, &v, &d_o, 0.0);
                self.pull(&p, &mut d_s, &rows);

                let mut d_v = shared.d_v.rows_range_mut(keys.clone());
                d_v.gemm(1.0, &p, &self.d_output.rows_range(rows.clone()), 1.0);
                let mut d_k = shared.d_k.rows_range_mut(keys.clone());
                d_k.gemm(scale, &d_s, &self.q.rows_range(rows.clone()), 1.0);
                let mut d_q = d_q.columns_range_mut(rows.clone());
                d_q.gemm(scale, &shared.keys.columns_range(keys.clone()), &d_s, 1.0);
            }
        }
        for (query, mut column) in d_q.column_iter_mut().enumerate() {
            if shared.odd.iter().any(|&key| self.mask.sees(query, key)) {
                column.fill(f32::NAN);
            }
        }
        d_q
    }

    /// Scores (keys, queries) become weights: `exp(S − ℓ)`, and 0 where the mask
    /// hides.
    fn weigh(
        &self,
        scores: &mut DMatrixViewMut<f32>,
        seen: Sight,
        rows: &Range<usize>,
        keys: &Range<usize>,
    ) {
        for (query, mut column) in rows.clone().zip(scores.column_iter_mut()) {
            let column = column.as_mut_slice();
            let lse = self.log_sum_exp[query];
            Arch::new().dispatch(
                #[inline(always)]
                || column.iter_mut().for_each(|s| *s = exp_nonpositive(*s - lse)),
            );
            if seen == Sight::Part {
                for (key, weight) in keys.clone().zip(column) {
                    if !self.mask.sees(query, key) {
                        *weight = 0.0;
                    }
                }
            }
        }
    }

    /// The gradient of weights (keys, queries) becomes that of scores:
    /// `A ∘ (dA − D)`. Here `p` is a column of the tile of A.
    fn pull(
        &self,
        weights: &DMatrixViewMut<f32>,
        d_weights: &mut DMatrixViewMut<f32>,
        rows: &Range<usize>,
    ) {
        let columns = weights.column_iter().zip(d_weights.column_iter_mut());
        for (query, (p, mut d)) in rows.clone().zip(columns) {
            let (p, d, average) =
                (p.as_slice(), d.as_mut_slice(), self.averages[query]);
            Arch::new().dispatch(
                #[inline(always)]
                || {
                    for (d, p) in d.iter_mut().zip(p) {
                        *d = if *p == 0.0 { 0.0 } else { p * (*d - average) };
                    }
                },
            );
        }
    }
}

/// (`d_k`, `d_v`), if all fits.
fn expect_fit(
    given: Attending,
    saved: &Saved,
    d_output: &DMatrix<f32>,
) -> Result<(usize, usize), LayerError> {
    let Attending { q, k, v, groups, mask, sinks } = given;
    let (n, m, heads) = (q.nrows(), k.nrows(), groups.heads());
    let d_k = head_dim("q", q.ncols(), heads)?;
    let d_v = head_dim("v", v.ncols(), groups.kv_heads())?;
    let keys = (v.nrows(), groups.kv_heads() * d_k);
    expect_shape("k", k.shape(), keys, "one key per value, as wide as a query head")?;
    expect_shape(
        "sinks",
        (sinks.len(), 1),
        (heads, 1),
        "every query head has one sink",
    )?;
    let of_one_pass = |tensor, found, width| -> Result<(), ShapeError> {
        expect_shape(tensor, found, (n, width), "it is of the same queries")
    };
    of_one_pass("output", saved.output.shape(), heads * d_v)?;
    of_one_pass("log_sum_exp", saved.log_sum_exp.shape(), heads)?;
    of_one_pass("d_output", d_output.shape(), heads * d_v)?;
    if let Mask::Allowed(allowed) = mask {
        expect_shape("mask", allowed.shape(), (n, m), "one entry per query and key")?;
    }
    Ok((d_k, d_v))
}
