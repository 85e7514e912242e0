//! Heads that lie side by side in the columns of a matrix, taken apart and put together.

use attention::{Linear, ShapeError};
use nalgebra::{DMatrix, DMatrixView};

/// Splits what lies head by head in the columns of `all`, `first` features and then
/// `second`, into the first parts of all heads, side by side, and the second parts.
pub(crate) fn split_heads(
    all: &DMatrix<f32>,
    first: usize,
    second: usize,
) -> (DMatrix<f32>, DMatrix<f32>) {
    let [first, second] = parts(all.ncols(), first, second);
    (all.select_columns(&first), all.select_columns(&second))
}

/// [`split_heads`] for a projection: `kv_b_proj` to `W_UK` and `W_UV`.
pub(crate) fn split_up(
    both: &Linear,
    first: usize,
    second: usize,
) -> Result<(Linear, Linear), ShapeError> {
    let part = |columns: &[usize]| {
        let bias = both.bias().map(|bias| bias.select_rows(columns));
        Linear::new(both.weight().select_columns(columns), bias)
    };
    let [first, second] = parts(both.shape().1, first, second);
    Ok((part(&first)?, part(&second)?))
}

/// The columns of the first parts and those of the second.
fn parts(width: usize, first: usize, second: usize) -> [Vec<usize>; 2] {
    (0..width).partition::<Vec<_>, _>(|column| column % (first + second) < first).into()
}

/// Two matrices with the same number of rows, side by side.
pub(crate) fn beside(left: DMatrixView<f32>, right: DMatrixView<f32>) -> DMatrix<f32> {
    let mut both = DMatrix::zeros(left.nrows(), left.ncols() + right.ncols());
    both.columns_mut(0, left.ncols()).copy_from(&left);
    both.columns_mut(left.ncols(), right.ncols()).copy_from(&right);
    both
}

/// Matrices of this width, one below the other.
pub(crate) fn stacked(parts: &[DMatrix<f32>], width: usize) -> DMatrix<f32> {
    let mut all = DMatrix::zeros(parts.iter().map(DMatrix::nrows).sum(), width);
    let mut start = 0;
    for part in parts {
        all.rows_mut(start, part.nrows()).copy_from(part);
        start += part.nrows();
    }
    all
}
