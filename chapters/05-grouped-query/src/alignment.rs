//! A layer whose heads are turned so that those of a group agree, before they are pooled.
//! Turning changes no output; it only decides what a mean of heads is a mean of.

use crate::{GroupError, Groups};
use attention::Linear;
use multi_head::LayerError;
use multi_query::alignment::{self, Freedom, turn_heads, with_bias};
use nalgebra::DMatrix;
use rayon::prelude::*;

/// What each head of a multi-head layer is multiplied with.
#[derive(Debug, Clone, PartialEq)]
pub struct Turns {
    /// For queries and keys, one orthogonal (`d_k`, `d_k`) for each head.
    pub keys: Vec<DMatrix<f32>>,
    /// For values, one orthogonal (`d_v`, `d_v`) for each head.
    pub values: Vec<DMatrix<f32>>,
}

/// The same layer with its heads turned toward the mean of their group: the four
/// projections of a multi-head layer in, four that give the same output out. `keys` says
/// what turns of keys the model leaves room for; values may always turn.
///
/// # Errors
/// When the heads do not divide the widths, or the projections do not fit together.
pub fn align(
    projections: [Linear; 4],
    groups: Groups,
    keys: Freedom,
) -> Result<[Linear; 4], GroupError> {
    let [_, k_proj, v_proj, _] = &projections;
    let turns = Turns {
        keys: turns_of_groups(&with_bias(k_proj), groups, keys)?,
        values: turns_of_groups(&with_bias(v_proj), groups, Freedom::Any)?,
    };
    turned(projections, &turns)
}

/// [`alignment::turns`] of each group, head after head.
pub(crate) fn turns_of_groups(
    projection: &DMatrix<f32>,
    groups: Groups,
    freedom: Freedom,
) -> Result<Vec<DMatrix<f32>>, LayerError> {
    let width = multi_head::head_dim("projection", projection.ncols(), groups.heads())?;
    let shared = groups.size() * width;
    let of_group = |g| {
        let heads = projection.columns(g * shared, shared).into_owned();
        alignment::turns(&heads, groups.size(), freedom)
    };
    let turns: Result<Vec<_>, _> =
        (0..groups.kv_heads()).into_par_iter().map(of_group).collect();
    Ok(turns?.concat())
}

/// The same layer in other bases: queries and keys of each head times its matrix R in
/// `turns.keys`, values times its matrix S in `turns.values`, and the rows of the output
/// projection that read the head times Sᵀ from the left. (q R)(k R)ᵀ = q kᵀ, and
/// (v S)(Sᵀ W) = v W.
///
/// # Errors
/// When a turn is not as wide as a head.
pub fn turned(
    [q_proj, k_proj, v_proj, o_proj]: [Linear; 4],
    turns: &Turns,
) -> Result<[Linear; 4], GroupError> {
    let rows = o_proj.weight().transpose();
    let o_weight = turn_heads(&rows, &turns.values)?.transpose();
    Ok([
        turned_linear(&q_proj, &turns.keys)?,
        turned_linear(&k_proj, &turns.keys)?,
        turned_linear(&v_proj, &turns.values)?,
        Linear::new(o_weight, o_proj.bias().cloned())?,
    ])
}

/// A projection with each head of its output turned, the bias with the weight.
fn turned_linear(
    projection: &Linear,
    turns: &[DMatrix<f32>],
) -> Result<Linear, LayerError> {
    let turned = turn_heads(&with_bias(projection), turns)?;
    let d_in = projection.shape().0;
    let bias = projection.bias().map(|_| turned.row(d_in).transpose());
    Ok(Linear::new(turned.rows(0, d_in).into_owned(), bias)?)
}
