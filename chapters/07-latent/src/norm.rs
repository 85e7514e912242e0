//! The norm that stands between a latent and what is made from it.

use attention::{ShapeError, expect_shape};
use nalgebra::{DMatrix, DVector};

/// Divides each row by the root of the mean of its squares, and multiplies each feature
/// by a learned weight (Zhang and Sennrich 2019, *Root Mean Square Layer Normalization*).
#[derive(Debug, Clone, PartialEq)]
pub struct RmsNorm {
    weight: DVector<f32>,
}

impl RmsNorm {
    /// Keeps a row of zeros from being divided by 0. The value is that of `DeepSeek`.
    pub const EPS: f32 = 1e-6;

    /// From one weight per feature.
    #[must_use]
    pub fn new(weight: Vec<f32>) -> Self {
        RmsNorm { weight: weight.into() }
    }

    /// Features that it reads.
    #[must_use]
    pub fn width(&self) -> usize {
        self.weight.len()
    }

    /// `x` (tokens, width), normed row by row.
    ///
    /// # Errors
    /// When `x` does not have [`RmsNorm::width`] columns.
    pub fn forward(&self, x: &DMatrix<f32>) -> Result<DMatrix<f32>, ShapeError> {
        let wanted = (x.nrows(), self.width());
        expect_shape("x", x.shape(), wanted, "the norm has one weight per feature")?;
        let mean = x.map(|x| x * x).column_sum() / self.width() as f32;
        let shrink = mean.map(|mean| 1.0 / (mean + Self::EPS).sqrt());
        let mut normed = x.clone();
        for (mut column, weight) in normed.column_iter_mut().zip(&self.weight) {
            column.zip_apply(&shrink, |x, shrink| *x *= shrink * weight);
        }
        Ok(normed)
    }

    /// The weights, one for each feature.
    #[must_use]
    pub fn gain(&self) -> &[f32] {
        self.weight.as_slice()
    }

    pub(crate) fn weights(&self) -> impl Iterator<Item = &f32> {
        self.weight.iter()
    }

    pub(crate) fn expect(
        &self,
        tensor: &'static str,
        width: usize,
    ) -> Result<(), ShapeError> {
        let found = (self.width(), 1);
        expect_shape(
            tensor,
            found,
            (width, 1),
            "one weight for each feature of the latent",
        )
    }
}
