//! Matrices put together.

use nalgebra::DMatrix;

/// What heads have found as one matrix, columns beside columns.
///
/// # Panics
/// When they differ in their number of rows.
#[must_use]
pub fn side_by_side<'a>(
    matrices: impl IntoIterator<Item = &'a DMatrix<f32>>,
) -> DMatrix<f32> {
    let matrices: Vec<_> = matrices.into_iter().collect();
    let rows = matrices.first().map_or(0, |matrix| matrix.nrows());
    let columns = matrices.iter().map(|matrix| matrix.ncols()).sum();
    let slices: Vec<&[f32]> = matrices.iter().map(|matrix| matrix.as_slice()).collect();
    let numbers = slices.concat();
    DMatrix::from_vec(rows, columns, numbers)
}

/// The same with rows below rows.
///
/// # Panics
/// When they differ in their number of columns.
#[must_use]
pub fn under_one_another<'a>(
    matrices: impl IntoIterator<Item = &'a DMatrix<f32>>,
) -> DMatrix<f32> {
    let turned: Vec<_> = matrices.into_iter().map(DMatrix::transpose).collect();
    side_by_side(&turned).transpose()
}

#[cfg(test)]
mod tests {
    use super::{side_by_side, under_one_another};
    use nalgebra::{DMatrix, dmatrix};

    #[test]
    fn matrices_are_laid_together_in_order() {
        let [left, right] = [dmatrix![1.0, 2.0; 3.0, 4.0], dmatrix![5.0; 6.0]];
        let wide = dmatrix![1.0, 2.0, 5.0; 3.0, 4.0, 6.0];
        assert_eq!(side_by_side([&left, &right]), wide);
        let [left, right] = [left, right].map(|matrix| matrix.transpose());
        assert_eq!(under_one_another([&left, &right]), wide.transpose());
        let empty = DMatrix::zeros(3, 0);
        assert_eq!(side_by_side([&empty, &empty]).shape(), (3, 0));
    }
}
