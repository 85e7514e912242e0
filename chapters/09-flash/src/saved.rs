//! Attention in tiles that keeps what its backward pass needs.

use crate::attend_and_save;
use crate::kernel::Tuning;
use attention::{Mask, expect_shape};
use grouped_query::Groups;
use multi_head::LayerError;
use nalgebra::{DMatrix, DMatrixView};

/// What attention gives, and one number per query and head that says how it came about.
#[derive(Debug, Clone, PartialEq)]
pub struct Saved {
    /// (queries, heads · `d_v`).
    pub output: DMatrix<f32>,
    /// (queries, heads): the log-sum-exp of the scores that each query saw, its sink's
    /// among them. −∞ where there were none.
    pub log_sum_exp: DMatrix<f32>,
}

/// [`attend`](crate::attend), or with `sinks`
/// [`attend_with_sinks`](crate::attend_with_sinks), for many queries. A head without a sink
/// has one of −∞.
///
/// # Errors
/// When there is not one sink per query head, or as for [`attend`](crate::attend).
pub fn attend_saving(
    q: &DMatrix<f32>,
    k: DMatrixView<f32>,
    v: DMatrixView<f32>,
    groups: Groups,
    mask: &Mask,
    sinks: &[f32],
) -> Result<Saved, LayerError> {
    let (found, wanted) = ((sinks.len(), 1), (groups.heads(), 1));
    expect_shape("sinks", found, wanted, "every query head has one sink")?;
    attend_and_save(q, k, v, groups, mask, sinks, Tuning::default())
}
