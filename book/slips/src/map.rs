//! A linear map, and how it is applied.

use nalgebra::{DMatrix, DVector};

/// A linear map `x W + b`.
#[derive(Debug, Clone, Copy)]
pub struct Map<'a> {
    /// (`d_in`, `d_out`).
    pub weight: &'a DMatrix<f32>,
    /// `d_out` entries, if there are any.
    pub bias: Option<&'a DVector<f32>>,
}

/// How a projection is applied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Applied {
    /// As it is.
    #[default]
    Right,
    /// Its bias left out.
    WithoutBias,
    /// Its matrix turned over, where it is square.
    Transposed,
}

impl Map<'_> {
    /// What it makes of `x` (tokens, `d_in`); nothing, if it cannot be applied that way.
    #[must_use]
    pub fn apply(&self, x: &DMatrix<f32>, how: Applied) -> Option<DMatrix<f32>> {
        let Map { weight, bias } = *self;
        let bias = bias.filter(|_| how != Applied::WithoutBias);
        if x.ncols() != weight.nrows()
            || (how == Applied::Transposed && !weight.is_square())
        {
            return None;
        }
        let mut y = match how {
            // Reads the matrix as it lies.
            Applied::Transposed => (weight * x.transpose()).transpose(),
            _ => x * weight,
        };
        if let Some(bias) = bias {
            add_to_rows(&mut y, bias.iter().copied());
        }
        Some(y)
    }
}

pub(crate) fn add_to_rows(y: &mut DMatrix<f32>, bias: impl Iterator<Item = f32>) {
    for (mut column, b) in y.column_iter_mut().zip(bias) {
        column.add_scalar_mut(b);
    }
}
