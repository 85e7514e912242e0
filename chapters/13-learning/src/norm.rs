//! The norms, there and back: of a head, of all heads, or of a token.

use attention::{ShapeError, expect_shape};
use decoder_layer::{Centering, HeadNorm};
use nalgebra::{DMatrix, DVector};

/// Gradients of a norm.
#[derive(Debug, Clone, PartialEq)]
pub struct NormGradients {
    /// (tokens, features): of what was normed.
    pub x: DMatrix<f32>,
    /// One for each gain. A gain that several heads share gets the sum.
    pub gain: DVector<f32>,
    /// One for each bias, if there are any.
    pub bias: Option<DVector<f32>>,
}

/// The way back through [`HeadNorm::apply`], which was given `x` (tokens, features). A norm
/// whose span is the whole width is the `RMSNorm` or the `LayerNorm` of a block.
///
/// What was normed cannot grow, so whatever part of the gradient points along it is taken
/// away: `dx = (dn − n · mean(n ∘ dn)) / size`, where `n` is `x / size`, and `dn` is the
/// gradient of `n`. If the mean was subtracted, the mean of `dn` is, too.
///
/// # Errors
/// When `x` does not fit the norm, or `dy` does not have its shape.
pub fn norm_backward(
    norm: &HeadNorm,
    x: &DMatrix<f32>,
    dy: &DMatrix<f32>,
) -> Result<NormGradients, ShapeError> {
    norm.expect(x)?;
    expect_shape(
        "dy",
        dy.shape(),
        x.shape(),
        "a gradient has the shape of the output",
    )?;
    let (span, gains) = (norm.span(), norm.gain().len());
    let mut d_x = x.clone();
    let mut d_gain = DVector::zeros(gains);
    let mut d_bias = DVector::zeros(gains);
    for first in (0..x.ncols()).step_by(span) {
        let mut together = d_x.columns_mut(first, span);
        let mut d_normed = dy.columns(first, span).into_owned();
        let size = normed_in_place(norm, &mut together);
        for (i, mut d) in d_normed.column_iter_mut().enumerate() {
            let feature = (first + i) % gains;
            d_gain[feature] += d.dot(&together.column(i));
            d_bias[feature] += d.sum();
            d *= norm.gain()[feature];
        }
        let along = d_normed.component_mul(&together).column_mean();
        let mean = match norm.centering() {
            Centering::Mean => d_normed.column_mean(),
            Centering::None => DVector::zeros(x.nrows()),
        };
        for (mut n, d) in together.column_iter_mut().zip(d_normed.column_iter()) {
            n.component_mul_assign(&along);
            n += &mean;
            n.zip_apply(&d, |n, d| *n = d - *n);
            n.component_div_assign(&size);
        }
    }
    let bias = norm.bias().map(|_| d_bias);
    Ok(NormGradients { x: d_x, gain: d_gain, bias })
}

/// Norms features that belong together, without gain and bias, and gives what each token
/// was divided by.
fn normed_in_place(
    norm: &HeadNorm,
    together: &mut nalgebra::DMatrixViewMut<f32>,
) -> DVector<f32> {
    if norm.centering() == Centering::Mean {
        let mean = together.column_mean();
        together.column_iter_mut().for_each(|mut column| column -= &mean);
    }
    let squares = together.map(|x| x * x).column_mean();
    let size = squares.map(|mean| (mean + norm.eps()).sqrt());
    together.column_iter_mut().for_each(|mut x| x.component_div_assign(&size));
    size
}
