//! Products with a transposed matrix, without a transposed copy.

use nalgebra::{DMatrix, DMatrixView, Dyn, MatrixView};

/// A matrix seen with rows and columns exchanged. Nothing is moved: what was the step from
/// row to row is now the step from column to column.
pub(crate) fn transposed(m: &DMatrix<f32>) -> MatrixView<'_, f32, Dyn, Dyn, Dyn, Dyn> {
    let (rows, columns) = m.shape();
    let (rows_apart, columns_apart) = (Dyn(rows.max(1)), Dyn(1));
    MatrixView::from_slice_with_strides_generic(
        m.as_slice(),
        Dyn(columns),
        Dyn(rows),
        rows_apart,
        columns_apart,
    )
}

/// `aᵀ b`: nalgebra's `tr_mul` takes one dot product after the other, and does not use the
/// kernel that its product has.
pub(crate) fn transposed_times(a: &DMatrix<f32>, b: DMatrixView<f32>) -> DMatrix<f32> {
    transposed(a) * b
}

/// `a b`, where a number of `b` that is not finite counts only in the rows of `a` that
/// look at it: 0 · NaN would be NaN.
pub(crate) fn product(a: &DMatrix<f32>, b: DMatrixView<f32>) -> DMatrix<f32> {
    attention::average(a.as_view(), b, |row, column| a[(row, column)] != 0.0)
}
