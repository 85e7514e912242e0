//! Gradients without calculus: how much a function changes when its argument does.

use nalgebra::DMatrix;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// Steps of this size are large against the rounding of an `f32`, and small enough that
/// the fifth derivative, which is what the formula below leaves out, does not count.
const STEP: f32 = 0.01;

/// How far a slope that was measured may be from the one that the gradient says, as a
/// share of the gradient's length. The direction is random, so a gradient that is wrong
/// by a tenth of its length is off by more in most of the cases.
const OFF: f64 = 0.02;

/// The slope of `f` at 0, from four values around it: exact for polynomials of degree 4.
fn slope(mut f: impl FnMut(f32) -> f64) -> f64 {
    let mut apart = |step: f32| f(step) - f(-step);
    (8.0 * apart(STEP) - apart(2.0 * STEP)) / (12.0 * f64::from(STEP))
}

/// Holds the `gradient` of `loss` to the slope of the loss in a random direction. `loss` is
/// given what is to be added to the argument.
#[track_caller]
pub(crate) fn expect_slope(
    label: &str,
    rng: &mut ChaCha8Rng,
    gradient: &[f32],
    mut loss: impl FnMut(&[f32]) -> f64,
) {
    let direction: Vec<f32> =
        gradient.iter().map(|_| StandardNormal.sample(rng)).collect();
    let along = |step: f32| direction.iter().map(|d| d * step).collect::<Vec<_>>();
    let measured = slope(|step| loss(&along(step)));
    let pairs = gradient.iter().zip(&direction);
    let said: f64 = pairs.map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
    let squares = gradient.iter().map(|g| f64::from(*g).powi(2));
    let length = squares.sum::<f64>().sqrt();
    assert!(
        (measured - said).abs() <= OFF * length + 1e-3,
        "{label}: the loss changes by {measured}, and the gradient says {said}; it is \
         {length} long"
    );
}

/// `Σ dy ∘ y`: a loss whose gradient with respect to `y` is `dy`.
pub(crate) fn loss_of(y: &DMatrix<f32>, dy: &DMatrix<f32>) -> f64 {
    assert_eq!(y.shape(), dy.shape(), "a gradient has the shape of the output");
    y.iter().zip(dy).map(|(y, dy)| f64::from(*y) * f64::from(*dy)).sum()
}

/// `m` with these numbers added, column after column.
pub(crate) fn moved(m: &DMatrix<f32>, by: &[f32]) -> DMatrix<f32> {
    m + DMatrix::from_column_slice(m.nrows(), m.ncols(), by)
}
