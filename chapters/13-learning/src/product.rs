//! Products with a transposed matrix.
//!
//! nalgebra's `tr_mul` takes one dot product after the other, and does not use the kernel
//! that its product has. So the smaller of the matrices is transposed first.

use nalgebra::{DMatrix, DMatrixView, DVectorView};

/// Columns that are read side by side: one cache line of what is written.
const TOGETHER: usize = 16;

/// `m` with rows and columns exchanged, as [`DMatrix::transpose`] has it, some columns at a
/// time, so that memory is read and written in stretches.
pub(crate) fn transposed(m: DMatrixView<f32>) -> DMatrix<f32> {
    let (rows, columns) = m.shape();
    let mut turned = vec![0.0; rows * columns];
    let all: Vec<DVectorView<f32>> = m.column_iter().collect();
    for (i, some) in all.chunks(TOGETHER).enumerate() {
        let some: Vec<&[f32]> = some.iter().map(DVectorView::as_slice).collect();
        let into = turned.chunks_exact_mut(columns);
        for (row, into) in into.enumerate() {
            let into = into[i * TOGETHER..].iter_mut();
            for (into, column) in into.zip(&some) {
                *into = column[row];
            }
        }
    }
    DMatrix::from_vec(columns, rows, turned)
}

/// `aᵀ b`, of `a` (rows, many) and `b` (rows, few): taken as `(bᵀ a)ᵀ`, so that `a` is read
/// as it lies.
pub(crate) fn transposed_times(a: &DMatrix<f32>, b: DMatrixView<f32>) -> DMatrix<f32> {
    transposed((transposed(b) * a).as_view())
}

/// `a b`, where a number of `b` that is not finite counts only in the rows of `a` that
/// look at it: 0 · NaN would be NaN.
pub(crate) fn product(a: &DMatrix<f32>, b: DMatrixView<f32>) -> DMatrix<f32> {
    attention::average(a.as_view(), b, |row, column| a[(row, column)] != 0.0)
}
