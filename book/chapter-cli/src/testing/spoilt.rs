//! A token of nothing but NaN or infinities, and whom it may reach.

use nalgebra::DMatrix;

/// What spoils every sum that it enters.
pub const NOT_FINITE: &[f32] = &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY];

/// `x` (tokens, features) with one token of nothing but `odd`.
#[must_use]
pub fn spoilt(x: &DMatrix<f32>, token: usize, odd: f32) -> DMatrix<f32> {
    let mut x = x.clone();
    x.row_mut(token).fill(odd);
    x
}

/// Compares outputs (queries, features) without and with a spoilt `token`: queries that
/// see it are spoilt as well, and for the others nothing has changed. What the token's
/// own query finds is left open.
///
/// # Panics
/// When a query sees the token and gets a finite number, or does not see it and gets
/// another output than in `clean`.
#[track_caller]
pub fn assert_spoils_whoever_sees(
    token: usize,
    found: &DMatrix<f32>,
    clean: &DMatrix<f32>,
    sees: impl Fn(usize) -> bool,
) {
    assert_eq!(found.shape(), clean.shape(), "shapes differ");
    for query in (0..clean.nrows()).filter(|&query| query != token) {
        let row = found.row(query);
        if sees(query) {
            let spoilt = row.iter().all(|y| !y.is_finite());
            assert!(spoilt, "query {query} sees token {token}, and finds {row}");
        } else {
            let unseen = "does not see it";
            assert_eq!(row, clean.row(query), "query {query} {unseen}: token {token}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{NOT_FINITE, assert_spoils_whoever_sees, spoilt};
    use nalgebra::{DMatrix, dmatrix};

    fn clean() -> DMatrix<f32> {
        dmatrix![1.0, 2.0; 3.0, 4.0; 5.0, 6.0]
    }

    #[test]
    fn those_after_the_token_may_be_spoilt_and_those_before_it_may_not() {
        for &odd in NOT_FINITE {
            let found = spoilt(&spoilt(&clean(), 1, odd), 2, odd);
            assert_spoils_whoever_sees(1, &found, &clean(), |query| query > 1);
        }
    }

    #[test]
    #[should_panic(expected = "query 0 does not see it: token 1")]
    fn a_leak_is_named() {
        let found = spoilt(&clean(), 0, f32::NAN);
        assert_spoils_whoever_sees(1, &found, &clean(), |_| false);
    }

    #[test]
    #[should_panic(expected = "query 2 sees token 1, and finds")]
    fn a_swallowed_nan_is_named() {
        assert_spoils_whoever_sees(1, &clean(), &clean(), |query| query == 2);
    }
}
