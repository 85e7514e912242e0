//! What brings the rows of a text to one size, between the parts of a block.

use attention::{ShapeError, expect_shape};
use nalgebra::{DMatrix, DVector};

/// Brings each token to the same size: divides its row by the root of the mean of its
/// squares, and multiplies each feature by a learned gain.
///
/// Source: Zhang and Sennrich 2019, *Root Mean Square Layer Normalization*, equation 4.
#[derive(Debug, Clone, PartialEq)]
pub struct RmsNorm {
    gain: DVector<f32>,
    eps: f32,
}

impl RmsNorm {
    /// From one gain per feature. `eps`, a small number, keeps a row of zeros from being
    /// divided by 0.
    #[must_use]
    pub fn new(gain: Vec<f32>, eps: f32) -> Self {
        RmsNorm { gain: gain.into(), eps }
    }

    /// `x` (tokens, features), normed row by row.
    ///
    /// # Errors
    /// When there is not one gain for each column of `x`.
    pub fn forward(&self, x: &DMatrix<f32>) -> Result<DMatrix<f32>, ShapeError> {
        let wanted = (x.nrows(), self.gain.len());
        expect_shape("x", x.shape(), wanted, "the norm has one gain per feature")?;
        let mean_square = x.map(|x| x * x).column_mean();
        let size = mean_square.map(|mean| (mean + self.eps).sqrt());
        let mut normed = x.clone();
        for (mut column, gain) in normed.column_iter_mut().zip(&self.gain) {
            column.zip_apply(&size, |x, size| *x = *x / size * gain);
        }
        Ok(normed)
    }
}

/// Subtracts the mean of each token, brings it to the same size, and gives each
/// feature a learned gain and bias.
///
/// Source: Ba et al. 2016, *Layer Normalization*, equation 3.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerNorm {
    gain: DVector<f32>,
    bias: DVector<f32>,
    eps: f32,
}

impl LayerNorm {
    /// From one gain and one bias per feature.
    ///
    /// # Errors
    /// When there are more of one than of the other.
    pub fn new(gain: Vec<f32>, bias: Vec<f32>, eps: f32) -> Result<Self, ShapeError> {
        let why = "one bias for each gain";
        expect_shape("bias", (bias.len(), 1), (gain.len(), 1), why)?;
        Ok(LayerNorm { gain: gain.into(), bias: bias.into(), eps })
    }

    /// `x` (tokens, features), normed row by row.
    ///
    /// # Errors
    /// When there is not one gain for each column of `x`.
    pub fn forward(&self, x: &DMatrix<f32>) -> Result<DMatrix<f32>, ShapeError> {
        let wanted = (x.nrows(), self.gain.len());
        expect_shape("x", x.shape(), wanted, "the norm has one gain per feature")?;
        let mean = x.column_mean();
        let mut normed = x.clone();
        normed.column_iter_mut().for_each(|mut column| column -= &mean);
        let variance = normed.map(|x| x * x).column_mean();
        let size = variance.map(|variance| (variance + self.eps).sqrt());
        let learned = self.gain.iter().zip(&self.bias);
        for (mut column, (gain, bias)) in normed.column_iter_mut().zip(learned) {
            column.zip_apply(&size, |x, size| *x = *x / size * gain + bias);
        }
        Ok(normed)
    }
}

/// The norm of a block, as its model has it.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Norm {
    /// By the root of the mean square.
    Rms(RmsNorm),
    /// By mean and variance.
    Layer(LayerNorm),
    /// None: the rows pass as they are.
    #[default]
    Absent,
}

impl Norm {
    /// `x` (tokens, features), normed row by row.
    ///
    /// # Errors
    /// When the norm is of another width.
    pub fn forward(&self, x: &DMatrix<f32>) -> Result<DMatrix<f32>, ShapeError> {
        match self {
            Norm::Rms(norm) => norm.forward(x),
            Norm::Layer(norm) => norm.forward(x),
            Norm::Absent => Ok(x.clone()),
        }
    }
}

impl From<RmsNorm> for Norm {
    fn from(norm: RmsNorm) -> Self {
        Norm::Rms(norm)
    }
}

impl From<LayerNorm> for Norm {
    fn from(norm: LayerNorm) -> Self {
        Norm::Layer(norm)
    }
}
