//! Numbers that are learned, and what they are before anything was.

use attention::{Linear, ShapeError};
use nalgebra::DMatrix;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// Numbers that are learned, by the name and in the shape that they have in a checkpoint
/// of a Llama; those of a latent as in one of `DeepSeek`'s.
#[derive(Debug)]
pub struct Parameter<'a> {
    /// `model.layers.0.self_attn.q_proj.weight`.
    pub name: String,
    /// (rows, columns) of the matrix in memory, column after column; one row for a gain.
    pub shape: (usize, usize),
    /// Themselves.
    pub numbers: &'a mut [f32],
}

impl<'a> Parameter<'a> {
    /// The weight of a projection.
    pub(super) fn of_linear(name: String, linear: &'a mut Linear) -> Self {
        Parameter { name, shape: linear.shape(), numbers: linear.weight_mut() }
    }

    /// One number for each feature.
    pub(super) fn of_gain(name: String, numbers: &'a mut [f32]) -> Self {
        Parameter { name, shape: (1, numbers.len()), numbers }
    }
}

/// Normal numbers.
pub(super) fn normal(
    rng: &mut ChaCha8Rng,
    rows: usize,
    columns: usize,
    std: f32,
) -> DMatrix<f32> {
    let one = |_, _| -> f32 { StandardNormal.sample(rng) };
    DMatrix::from_fn(rows, columns, one) * std
}

/// A projection that leaves `factor` of a token's size.
pub(super) fn linear(
    rng: &mut ChaCha8Rng,
    d_in: usize,
    d_out: usize,
    factor: f32,
) -> Result<Linear, ShapeError> {
    let std = factor / (d_in as f32).sqrt();
    Linear::new(normal(rng, d_in, d_out, std), None)
}
