//! A norm of queries or keys.

use attention::{ShapeError, expect_shape};
use nalgebra::{DMatrix, DVector};

/// Whether a norm subtracts the mean first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Centering {
    /// No: `RMSNorm` (Zhang and Sennrich 2019, equation 4).
    None,
    /// Yes: `LayerNorm` (Ba et al. 2016, equation 4).
    Mean,
}

/// Brings queries or keys to one size before they meet, so that a score depends on their
/// directions and on a gain that was learned.
///
/// Sources: Henry et al. 2020, *Query-Key Normalization for Transformers*, §3; Dehghani
/// et al. 2023, *Scaling Vision Transformers to 22 Billion Parameters*, §2.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadNorm {
    /// One per feature of a head, or of all heads.
    pub(crate) gain: DVector<f32>,
    /// As many as gains.
    bias: Option<DVector<f32>>,
    /// Neighboring features that are normed together: those of one head, or all.
    pub(crate) span: usize,
    pub(crate) centering: Centering,
    eps: f32,
}

impl HeadNorm {
    /// Norms `span` features at a time. The `gain` has as many numbers, which all heads
    /// share, or one for each feature of each head. `eps` keeps a row of zeros from being
    /// divided by 0.
    #[must_use]
    pub fn new(
        gain: DVector<f32>,
        span: usize,
        centering: Centering,
        eps: f32,
    ) -> Self {
        HeadNorm { gain, bias: None, span, centering, eps }
    }

    /// The same norm, which then adds a bias.
    ///
    /// # Errors
    /// When there are not as many numbers as gains.
    pub fn with_bias(self, bias: DVector<f32>) -> Result<Self, ShapeError> {
        let why = "a bias for each gain";
        expect_shape("bias", (1, bias.len()), (1, self.gain.len()), why)?;
        Ok(HeadNorm { bias: Some(bias), ..self })
    }

    /// Norms the queries or keys `x` (tokens, heads · `head_dim`), each token by itself.
    ///
    /// # Errors
    /// When `x` has features left over, or some without a gain.
    pub fn apply(&self, x: &mut DMatrix<f32>) -> Result<(), ShapeError> {
        self.expect(x)?;
        let (width, span, gains) = (x.ncols(), self.span(), self.gain.len().max(1));
        for first in (0..width).step_by(span) {
            let mut together = x.columns_mut(first, span);
            if self.centering == Centering::Mean {
                let mean = together.column_mean();
                together.column_iter_mut().for_each(|mut column| column -= &mean);
            }
            let squares = together.map(|x| x * x).column_mean();
            let size = squares.map(|mean| (mean + self.eps).sqrt());
            for (i, mut column) in together.column_iter_mut().enumerate() {
                let feature = (first + i) % gains;
                let gain = self.gain[feature];
                let bias = self.bias.as_ref().map_or(0.0, |bias| bias[feature]);
                column.zip_apply(&size, |x, size| *x = *x / size * gain + bias);
            }
        }
        Ok(())
    }

    /// Whether it can norm `x`.
    ///
    /// # Errors
    /// When `x` has features left over, or some without a gain.
    pub fn expect(&self, x: &DMatrix<f32>) -> Result<(), ShapeError> {
        let (tokens, width) = x.shape();
        let (span, gains) = (self.span(), self.gain.len().max(1));
        let fits = width.next_multiple_of(span).next_multiple_of(gains);
        let why = "a norm of queries or keys has whole heads, and a gain per feature";
        expect_shape("x", (tokens, width), (tokens, fits), why)
    }

    /// Neighboring features that are normed together; at least 1.
    #[must_use]
    pub fn span(&self) -> usize {
        self.span.max(1)
    }

    /// Whether the mean is subtracted.
    #[must_use]
    pub fn centering(&self) -> Centering {
        self.centering
    }

    /// What is added to the mean of the squares.
    #[must_use]
    pub fn eps(&self) -> f32 {
        self.eps
    }

    /// One per feature of a head, or of all heads.
    #[must_use]
    pub fn gain(&self) -> &DVector<f32> {
        &self.gain
    }

    /// As many as gains, if there are any.
    #[must_use]
    pub fn bias(&self) -> Option<&DVector<f32>> {
        self.bias.as_ref()
    }

    /// The gains, to be learned.
    pub fn gain_mut(&mut self) -> &mut [f32] {
        self.gain.as_mut_slice()
    }

    /// The biases, to be learned.
    pub fn bias_mut(&mut self) -> Option<&mut [f32]> {
        self.bias.as_mut().map(DVector::as_mut_slice)
    }
}
