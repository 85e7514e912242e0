//! Whether two matrices agree.

use nalgebra::{Dim, Matrix, RawStorage};

/// Compares two matrices of any storage; a difference may be `tolerance` times the
/// larger of 1 and the expected number.
///
/// # Panics
/// When the shapes differ or an entry is further off, and says where. NaN agrees with
/// nothing.
#[track_caller]
pub fn assert_close<R1, C1, S1, R2, C2, S2>(
    label: &str,
    found: &Matrix<f32, R1, C1, S1>,
    expected: &Matrix<f32, R2, C2, S2>,
    tolerance: f32,
) where
    R1: Dim,
    C1: Dim,
    S1: RawStorage<f32, R1, C1>,
    R2: Dim,
    C2: Dim,
    S2: RawStorage<f32, R2, C2>,
{
    assert_eq!(found.shape(), expected.shape(), "{label}: shapes differ");
    let mut worst = (0.0, 0, 0);
    for row in 0..found.nrows() {
        for column in 0..found.ncols() {
            let (f, e) = (found[(row, column)], expected[(row, column)]);
            let off = (f - e).abs() / e.abs().max(1.0);
            let off = if off.is_nan() { f32::INFINITY } else { off };
            if off > worst.0 {
                worst = (off, row, column);
            }
        }
    }
    let (off, row, column) = worst;
    assert!(
        off <= tolerance,
        "{label}: off by {off:e} in row {row}, column {column}: \
         found {}, expected {}, tolerance {tolerance:e}",
        found[(row, column)],
        expected[(row, column)],
    );
}

#[cfg(test)]
mod tests {
    use super::assert_close;
    use nalgebra::dmatrix;

    #[test]
    fn equal_and_nearly_equal_matrices_pass() {
        assert_close("same", &dmatrix![1.0, 200.0], &dmatrix![1.0, 200.001], 1e-5);
    }

    #[test]
    #[should_panic(expected = "weights: off by 5e-1 in row 1, column 0: found 1.5")]
    fn the_worst_difference_is_named() {
        assert_close("weights", &dmatrix![1.0; 1.5], &dmatrix![1.1; 1.0], 1e-5);
    }

    #[test]
    #[should_panic(expected = "found NaN")]
    fn nan_does_not_pass() {
        assert_close("weights", &dmatrix![f32::NAN], &dmatrix![f32::NAN], 1.0);
    }
}
