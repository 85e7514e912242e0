//! The way back through keys and values that were condensed along the sequence.

use crate::{HeadsGradients, LinearGradients, heads_backward, linear_gradients};
use crate::{linear_input, product::transposed};
use ::linformer::{LinformerAttention, LinformerError};
use attention::Mask;
use decoder_layer::Parts;
use multi_head::{Heads, Projected};
use nalgebra::{DMatrix, DMatrixView};

/// Gradients of a layer that condenses its keys and values.
#[derive(Debug, Clone, PartialEq)]
pub struct LinformerGradients {
    /// (tokens, `model_dim`): of what asks. In self-attention, the gradient of the tokens
    /// is this and that of the context together.
    pub x: DMatrix<f32>,
    /// (context tokens, `context_dim`): of what is condensed.
    pub context: DMatrix<f32>,
    /// Of `to_q`.
    pub to_q: LinearGradients,
    /// Of `to_k`, which where there is no `to_v` made the values, too.
    pub to_k: LinearGradients,
    /// Of `to_v`, if there is one.
    pub to_v: Option<LinearGradients>,
    /// Of `to_out`.
    pub to_out: LinearGradients,
    /// Of each E, (r, `n_max`): one for all heads, or one for each key/value head.
    pub e: Vec<DMatrix<f32>>,
    /// Of each F, as many. Where one matrix is both, its gradient is the sum.
    pub f: Vec<DMatrix<f32>>,
}

/// The way back through [`LinformerAttention::forward_cross`], or with `x` as its own
/// `context` through [`LinformerAttention::forward`]. `dy` is (tokens, `d_out`).
///
/// To condense is to multiply from the left, `E K`: so K gets `Eᵀ d(E K)`, and E gets
/// `d(E K) Kᵀ`. Columns for tokens that the sequence does not have get 0.
///
/// # Errors
/// When `x`, `context` and `dy` do not fit the layer.
pub fn linformer_backward(
    layer: &LinformerAttention,
    x: &DMatrix<f32>,
    context: &DMatrix<f32>,
    dy: &DMatrix<f32>,
) -> Result<LinformerGradients, LinformerError> {
    let (groups, [to_q, to_k, to_out]) = (layer.groups(), layer.maps());
    let Projected { q, k, v } = layer.project(x, context)?;
    let [keys, values] = [layer.projections().keys(), layer.projections().values()];
    let (short_k, short_v) = (condensed(&k, &keys)?, condensed(&v, &values)?);
    let parts = Parts::plain(groups, q.ncols() / groups.heads());
    let (few_k, few_v) = (short_k.as_view(), short_v.as_view());
    let Heads { found, weights } = parts.attend(&q, few_k, few_v, &Mask::None)?;

    let d_found = linear_input(to_out, dy)?;
    let HeadsGradients { q: d_q, k: d_few_k, v: d_few_v, .. } =
        heads_backward(&parts, &q, few_k, few_v, &weights, &d_found)?;
    let Along { tokens: mut d_k, projections: e } = along(&k, &keys, &d_few_k);
    let Along { tokens: d_v, projections: f } = along(&v, &values, &d_few_v);
    let mut d_context = DMatrix::zeros(context.nrows(), context.ncols());
    let to_v = layer.to_v().map(|to_v| linear_gradients(to_v, context, &d_v));
    match layer.to_v() {
        Some(to_v) => d_context += linear_input(to_v, &d_v)?,
        // The keys were the values.
        None => d_k += d_v,
    }
    d_context += linear_input(to_k, &d_k)?;
    Ok(LinformerGradients {
        x: linear_input(to_q, &d_q)?,
        context: d_context,
        to_q: linear_gradients(to_q, x, &d_q)?,
        to_k: linear_gradients(to_k, context, &d_k)?,
        to_v: to_v.transpose()?,
        to_out: linear_gradients(to_out, &found, dy)?,
        e,
        f,
    })
}

/// `E K`, each head with its own E or all with one.
fn condensed(
    all: &DMatrix<f32>,
    projections: &[&DMatrix<f32>],
) -> Result<DMatrix<f32>, LinformerError> {
    let (n, n_max) = (all.nrows(), projections[0].ncols());
    if n > n_max {
        return Err(LinformerError::TooLong { n, n_max });
    }
    let mut short = DMatrix::zeros(projections[0].nrows(), all.ncols());
    let width = all.ncols() / projections.len();
    for (i, projection) in projections.iter().enumerate() {
        let rows = projection.columns(0, n) * all.columns(i * width, width);
        short.columns_mut(i * width, width).copy_from(&rows);
    }
    Ok(short)
}

/// Gradients of what was condensed, and of what condensed it.
struct Along {
    /// (tokens, `kv_heads` · width).
    tokens: DMatrix<f32>,
    /// Each (r, `n_max`).
    projections: Vec<DMatrix<f32>>,
}

/// The way back through `E K` of each head: `Eᵀ d(EK)` for the tokens, and
/// `d(EK) Kᵀ` for E, whose columns beyond the last token get zeros.
fn along(
    all: &DMatrix<f32>,
    projections: &[&DMatrix<f32>],
    d_short: &DMatrix<f32>,
) -> Along {
    let (n, width) = (all.nrows(), all.ncols() / projections.len());
    let mut tokens = DMatrix::zeros(n, all.ncols());
    let mut d_projections = Vec::new();
    for (i, projection) in projections.iter().enumerate() {
        let of = |m: &DMatrix<f32>| m.columns(i * width, width).into_owned();
        let (rows, d_rows) = (of(all), of(d_short));
        let turned = transposed(projection.columns(0, n));
        tokens.columns_mut(i * width, width).copy_from(&(turned * &d_rows));
        let mut d = DMatrix::zeros(projection.nrows(), projection.ncols());
        let seen: DMatrixView<f32> = rows.as_view();
        d.columns_mut(0, n).copy_from(&(d_rows * transposed(seen)));
        d_projections.push(d);
    }
    Along { tokens, projections: d_projections }
}
