//! A learned projection `x W + b` whose numbers are kept in 32, 16 or 8 bits.

use crate::kept::{Kept, Precision};
use crate::reading::row_times;
use attention::{Linear, ShapeError, expect_shape};
use nalgebra::{DMatrix, DVector};
use rayon::prelude::*;

/// Features that leave and are widened together when many tokens pass: 576 KiB of them
/// in a model of width 576.
const WIDENED: usize = 256;

/// A linear map `x W + b`, as [`attention::Linear`] is one, for one token or many.
#[derive(Debug, Clone, PartialEq)]
pub struct Projection {
    /// (`d_in`, `d_out`)
    weight: Kept,
    bias: Option<DVector<f32>>,
}

impl Projection {
    /// A map from `d_in` features to `d_out`. `read` fills in the `d_in` weights of one
    /// feature that leaves, which is a row of the matrix in a file, and one after the
    /// other is kept as `precision` says.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn read<E>(
        shape: (usize, usize),
        precision: Precision,
        read: impl FnMut(usize, &mut [f32]) -> Result<(), E>,
    ) -> Result<Self, E> {
        Ok(Projection { weight: Kept::read(shape, precision, read)?, bias: None })
    }

    /// The map of a weight (`d_in`, `d_out`) in full precision.
    #[must_use]
    pub fn of(weight: DMatrix<f32>) -> Self {
        Projection { weight: Kept::of(weight), bias: None }
    }

    /// The same map with a bias.
    ///
    /// # Errors
    /// When it has another length than there are features that leave.
    pub fn with_bias(self, bias: Vec<f32>) -> Result<Self, ShapeError> {
        let why = "one entry for each feature that leaves";
        expect_shape("bias", (bias.len(), 1), (self.shape().1, 1), why)?;
        Ok(Projection { bias: Some(bias.into()), ..self })
    }

    /// As chapter 1 has it: the weights widened, and the bias.
    ///
    /// # Errors
    /// None that can happen: the bias was held to the weights before.
    pub fn to_linear(&self) -> Result<Linear, ShapeError> {
        Linear::new(self.widened(0, self.shape().1), self.bias.clone())
    }

    /// The map of chapter 1, in full precision.
    #[must_use]
    pub fn of_linear(linear: &Linear) -> Self {
        let bias = linear.bias().cloned();
        Projection { bias, ..Projection::of(linear.weight().clone()) }
    }

    /// (`d_in`, `d_out`): features that enter, features that leave.
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        (self.weight.d_in(), self.weight.d_out())
    }

    /// Memory that its numbers take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let bias = self.bias.as_ref().map_or(0, |bias| size_of_val(bias.as_slice()));
        self.weight.bytes() + bias
    }

    /// Numbers that were learned.
    #[must_use]
    pub fn parameters(&self) -> usize {
        let (d_in, d_out) = self.shape();
        d_in * d_out + self.bias.as_ref().map_or(0, DVector::len)
    }

    /// `x` (tokens, `d_in`) to (tokens, `d_out`).
    ///
    /// # Errors
    /// When `x` has another width than `d_in`.
    pub fn forward(&self, x: &DMatrix<f32>) -> Result<DMatrix<f32>, ShapeError> {
        let [y] = Projection::together([self], x)?;
        Ok(y)
    }

    /// The same `x` (tokens, `d_in`) through several projections: (tokens, `d_out`) of
    /// each.
    ///
    /// # Errors
    /// When `x` has another width than one of them reads.
    pub fn together<const N: usize>(
        all: [&Projection; N],
        x: &DMatrix<f32>,
    ) -> Result<[DMatrix<f32>; N], ShapeError> {
        for projection in all {
            let why = "the projection reads that many features";
            expect_shape("x", x.shape(), (x.nrows(), projection.shape().0), why)?;
        }
        let mut results = match x.nrows() {
            1 => row_times(x.as_slice(), all.map(|projection| &projection.weight)),
            _ => all.map(|projection| projection.of_many(x)),
        };
        for (y, projection) in results.iter_mut().zip(all) {
            if let Some(bias) = &projection.bias {
                for (mut column, b) in y.column_iter_mut().zip(bias) {
                    column.add_scalar_mut(*b);
                }
            }
        }
        Ok(results)
    }

    /// Many tokens: a product of matrices, each weight used for all of them.
    fn of_many(&self, x: &DMatrix<f32>) -> DMatrix<f32> {
        if let Some(weight) = self.weight.in_full() {
            return x * weight;
        }
        let d_out = self.shape().1;
        let mut y = DMatrix::zeros(x.nrows(), d_out);
        for first in (0..d_out).step_by(WIDENED) {
            let some = WIDENED.min(d_out - first);
            y.columns_mut(first, some).gemm(1.0, x, &self.widened(first, some), 0.0);
        }
        y
    }

    /// The weights of `some` features that leave, from `first` on: (`d_in`, some).
    fn widened(&self, first: usize, some: usize) -> DMatrix<f32> {
        let d_in = self.shape().0;
        let mut weight = DMatrix::zeros(d_in, some);
        let columns = weight.as_mut_slice().par_chunks_exact_mut(d_in.max(1));
        let features = columns.enumerate().with_min_len(WIDENED / 8);
        features
            .for_each(|(feature, column)| self.weight.widen(first + feature, column));
        weight
    }

    /// Widens the `d_in` weights of one feature that leaves into `out`. In the table of an
    /// embedding these are the vector of a token.
    ///
    /// # Panics
    /// When there is no such feature, or `out` has another length.
    pub fn weights_of(&self, feature: usize, out: &mut [f32]) {
        self.weight.widen(feature, out);
    }
}
