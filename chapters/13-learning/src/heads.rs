//! The way back through heads that share keys and values, and through what stands around
//! their softmax.

use crate::product::transposed;
use crate::{
    Scored, averages, expect_pairs, scores_backward, softmax_backward, values_backward,
};
use attention::{ShapeError, expect_shape};
use decoder_layer::Parts;
use grouped_query::Groups;
use multi_head::{LayerError, head_dim};
use nalgebra::{DMatrix, DMatrixView, DVector};
use rayon::prelude::*;

/// Gradients of what the heads were given.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadsGradients {
    /// (queries, heads · `head_dim`).
    pub q: DMatrix<f32>,
    /// (keys, `kv_heads` · `head_dim`): the sum over the query heads of each group.
    pub k: DMatrix<f32>,
    /// (keys, `kv_heads` · `v_dim`): the same.
    pub v: DMatrix<f32>,
    /// One for each query head, if there are sinks.
    pub sinks: Option<DVector<f32>>,
}

/// The way back through [`Parts::attend`], whose arguments were `q`
/// (queries, heads · `head_dim`), `k` (keys, `kv_heads` · `head_dim`) and `v`
/// (keys, `kv_heads` · `v_dim`), and which gave the `weights` of each head (queries,
/// keys). `d_found` is (queries, heads · `v_dim`).
///
/// A key that several heads looked at is asked by all of them: its gradient is the sum.
///
/// # Errors
/// When the shapes do not fit together.
pub fn heads_backward(
    parts: &Parts,
    q: &DMatrix<f32>,
    k: DMatrixView<f32>,
    v: DMatrixView<f32>,
    weights: &[DMatrix<f32>],
    d_found: &DMatrix<f32>,
) -> Result<HeadsGradients, LayerError> {
    let (groups, d_k) = (parts.groups, parts.head_dim);
    let d_v = expect_heads(parts, q, k, v, weights, d_found)?;
    let one = |h| {
        let g = groups.kv_head(h);
        let (k, v) = (k.columns(g * d_k, d_k), v.columns(g * d_v, d_v));
        let qkv = [q.columns(h * d_k, d_k), k, v];
        head_backward(parts, h, qkv, &weights[h], d_found.columns(h * d_v, d_v))
    };
    let all: Result<Vec<_>, ShapeError> =
        (0..groups.heads()).into_par_iter().map(one).collect();
    let all = all?;
    let [q, k, v] = summed(groups, &all);
    let of_sinks = || DVector::from_iterator(all.len(), all.iter().map(|d| d.sink));
    Ok(HeadsGradients { q, k, v, sinks: parts.sinks.is_some().then(of_sinks) })
}

/// The gradients of queries stand side by side, head by head. A key or value that several
/// heads looked at gets the sum of what they ask of it.
fn summed(groups: Groups, all: &[HeadGradients]) -> [DMatrix<f32>; 3] {
    let HeadGradients { q, k, v, .. } = &all[0];
    let (d_k, d_v) = (q.ncols(), v.ncols());
    let mut d_q = DMatrix::zeros(q.nrows(), groups.heads() * d_k);
    let mut d_keys = DMatrix::zeros(k.nrows(), groups.kv_heads() * d_k);
    let mut d_values = DMatrix::zeros(v.nrows(), groups.kv_heads() * d_v);
    for (h, of_head) in all.iter().enumerate() {
        let g = groups.kv_head(h);
        d_q.columns_mut(h * d_k, d_k).copy_from(&of_head.q);
        let mut of_group = d_keys.columns_mut(g * d_k, d_k);
        of_group += &of_head.k;
        let mut of_group = d_values.columns_mut(g * d_v, d_v);
        of_group += &of_head.v;
    }
    [d_q, d_keys, d_values]
}

/// Gradients of one head.
struct HeadGradients {
    q: DMatrix<f32>,
    k: DMatrix<f32>,
    v: DMatrix<f32>,
    /// Of its sink; 0 if it has none.
    sink: f32,
}

/// [`attend_backward`](crate::attend_backward) with the parts that stand around the softmax
/// of the head `head`.
fn head_backward(
    parts: &Parts,
    head: usize,
    [q, k, v]: [DMatrixView<f32>; 3],
    weights: &DMatrix<f32>,
    d_found: DMatrixView<f32>,
) -> Result<HeadGradients, ShapeError> {
    expect_pairs([q, k, v], weights)?;
    let d_v = values_backward(weights, v, d_found)?;
    let d_weights = d_found * transposed(v);
    let sink = match &parts.sinks {
        Some(sinks) => sink_backward(parts, sinks[head], [q, k], weights, &d_weights),
        None => 0.0,
    };
    let mut d_scores = softmax_backward(weights, d_weights);
    if let Some(cap) = parts.cap {
        cap_backward(&mut d_scores, &(q * parts.scale * transposed(k)), cap);
    }
    let Scored { q, k } = scores_backward(q, k, &d_scores, parts.scale);
    Ok(HeadGradients { q, k, v: d_v, sink })
}

/// The way back through `cap · tanh(score / cap)`: the closer a score is to the cap, the
/// less it still counts.
fn cap_backward(d_scores: &mut DMatrix<f32>, scores: &DMatrix<f32>, cap: f32) {
    d_scores.zip_apply(scores, |d, score| {
        // 0 · NaN would be NaN, where a hidden key is.
        let slope = 1.0 - (score / cap).tanh().powi(2);
        *d = if *d == 0.0 { 0.0 } else { *d * slope };
    });
}

/// The gradient of a sink's score. Its value is zero, so the gradient of its weight is
/// zero, and what is left of the softmax's formula is the average, taken away.
fn sink_backward(
    parts: &Parts,
    sink: f32,
    [q, k]: [DMatrixView<f32>; 2],
    weights: &DMatrix<f32>,
    d_weights: &DMatrix<f32>,
) -> f32 {
    let averages = averages(weights, d_weights);
    let share_of_sink = |query: usize| {
        let (key, weight) = largest(weights, query)?;
        // 1 − Σ weights would lose its digits where the sink takes little.
        let score = parts.scale * q.row(query).dot(&k.row(key));
        let score = parts.cap.map_or(score, |cap| cap * (score / cap).tanh());
        Some(weight * (sink - score).exp())
    };
    let taken = averages.iter().enumerate();
    taken.map(|(query, average)| -share_of_sink(query).unwrap_or(0.0) * average).sum()
}

/// The key that a query looks at most, and its weight, if it looks at any.
fn largest(weights: &DMatrix<f32>, query: usize) -> Option<(usize, f32)> {
    let row = weights.row(query);
    let all = row.iter().copied().enumerate().filter(|(_, weight)| *weight > 0.0);
    all.max_by(|a, b| a.1.total_cmp(&b.1))
}

/// The width of a value, if all fits.
fn expect_heads(
    parts: &Parts,
    q: &DMatrix<f32>,
    k: DMatrixView<f32>,
    v: DMatrixView<f32>,
    weights: &[DMatrix<f32>],
    d_found: &DMatrix<f32>,
) -> Result<usize, LayerError> {
    let (heads, kv_heads) = (parts.groups.heads(), parts.groups.kv_heads());
    let queries = (q.nrows(), heads * parts.head_dim);
    expect_shape("q", q.shape(), queries, "one query for each head")?;
    let keys = (v.nrows(), kv_heads * parts.head_dim);
    expect_shape("k", k.shape(), keys, "one key per value for each group")?;
    let why = "a map for each head";
    expect_shape("weights", (weights.len(), 1), (heads, 1), why)?;
    if let Some(sinks) = &parts.sinks {
        expect_shape("sinks", sinks.shape(), (heads, 1), "one for each head")?;
    }
    let d_v = head_dim("v", v.ncols(), kv_heads)?;
    let why = "a gradient has the shape of what was found";
    expect_shape("d_found", d_found.shape(), (q.nrows(), heads * d_v), why)?;
    Ok(d_v)
}
