//! Matrices a few rows at a time.

use anyhow::Result;
use nalgebra::DMatrix;
use std::ops::Range;

/// What `part` gives for the rows 0 to `n`, no more than `at_once` of them at a time, one
/// below the other. It is asked once even if there are no rows, for the width.
///
/// # Errors
/// Those of `part`.
pub fn by_rows(
    n: usize,
    at_once: usize,
    mut part: impl FnMut(Range<usize>) -> Result<DMatrix<f32>>,
) -> Result<DMatrix<f32>> {
    let at_once = at_once.max(1);
    let first = part(0..at_once.min(n))?;
    if n <= at_once {
        return Ok(first);
    }
    let mut all = DMatrix::zeros(n, first.ncols());
    all.rows_mut(0, at_once).copy_from(&first);
    for start in (at_once..n).step_by(at_once) {
        let rows = start..n.min(start + at_once);
        all.rows_mut(start, rows.len()).copy_from(&part(rows)?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::by_rows;
    use nalgebra::DMatrix;

    #[test]
    fn rows_come_in_order_however_many_at_a_time() {
        for n in [0, 1, 5, 6] {
            for at_once in [0, 1, 2, 5, 100] {
                let all = by_rows(n, at_once, |rows| {
                    assert!(rows.len() <= at_once.max(1));
                    Ok(DMatrix::from_fn(rows.len(), 2, |i, j| {
                        (2 * (rows.start + i) + j) as f32
                    }))
                });
                let wanted = DMatrix::from_fn(n, 2, |i, j| (2 * i + j) as f32);
                assert_eq!(all.unwrap(), wanted, "{n} rows, {at_once} at a time");
            }
        }
    }
}
