//! A network with gates, there and back.

use crate::{LinearGradients, linear_gradients, linear_input};
use attention::{Linear, ShapeError, exp_nonpositive, expect_shape};
use nalgebra::DMatrix;
use pulp::Arch;

/// Chapter 12's `SwiGlu` in full precision, as it is trained:
/// `(silu(x W_G) ∘ x W_U) W_D`.
///
/// Source: Shazeer 2020, *GLU Variants Improve Transformer*, equation 6.
#[derive(Debug, Clone, PartialEq)]
pub struct FeedForward {
    /// (`model_dim`, `hidden_dim`): how far each gate is open.
    pub gate_proj: Linear,
    /// (`model_dim`, `hidden_dim`): what passes.
    pub up_proj: Linear,
    /// (`hidden_dim`, `model_dim`): back into the stream.
    pub down_proj: Linear,
}

/// What the forward pass saves for the way back, and its output.
#[derive(Debug, Clone, PartialEq)]
pub struct Gated {
    /// (tokens, `hidden_dim`): the gates, before silu.
    gate: DMatrix<f32>,
    /// (tokens, `hidden_dim`).
    up: DMatrix<f32>,
    /// (tokens, `hidden_dim`): `silu(gate) ∘ up`.
    hidden: DMatrix<f32>,
    /// (tokens, `model_dim`).
    pub output: DMatrix<f32>,
}

/// Gradients of a network and of what it was given.
#[derive(Debug, Clone, PartialEq)]
pub struct FeedForwardGradients {
    /// (tokens, `model_dim`).
    pub x: DMatrix<f32>,
    /// Of `gate_proj`.
    pub gate_proj: LinearGradients,
    /// Of `up_proj`.
    pub up_proj: LinearGradients,
    /// Of `down_proj`.
    pub down_proj: LinearGradients,
}

impl FeedForward {
    /// `x` (tokens, `model_dim`) to (tokens, `model_dim`), each token by itself.
    ///
    /// # Errors
    /// When the projections do not fit `x`, or one another.
    pub fn forward(&self, x: &DMatrix<f32>) -> Result<Gated, ShapeError> {
        let (gate, up) = (self.gate_proj.forward(x)?, self.up_proj.forward(x)?);
        let why = "each gate has its feature";
        expect_shape("up_proj", up.shape(), gate.shape(), why)?;
        let mut hidden = gate.clone();
        each(&mut hidden, &up, |gate, up| gate * sigmoid(gate) * up);
        let output = self.down_proj.forward(&hidden)?;
        Ok(Gated { gate, up, hidden, output })
    }

    /// The way back: `x` is what the forward pass was given, `gated` what it saved, and
    /// `dy` (tokens, `model_dim`) the gradient of its output.
    ///
    /// # Errors
    /// When they do not belong to this network.
    pub fn backward(
        &self,
        x: &DMatrix<f32>,
        gated: &Gated,
        dy: &DMatrix<f32>,
    ) -> Result<FeedForwardGradients, ShapeError> {
        let Gated { gate, up, hidden, .. } = gated;
        let d_hidden = linear_input(&self.down_proj, dy)?;
        expect_shape(
            "hidden",
            hidden.shape(),
            d_hidden.shape(),
            "they are of one pass",
        )?;
        let mut d_up = gate.clone();
        each(&mut d_up, &d_hidden, |gate, d| gate * sigmoid(gate) * d);
        let mut d_gate = gate.clone();
        each(&mut d_gate, &d_hidden, |gate, d| silu_slope(gate) * d);
        d_gate.component_mul_assign(up);
        let mut d_x = linear_input(&self.gate_proj, &d_gate)?;
        d_x += linear_input(&self.up_proj, &d_up)?;
        Ok(FeedForwardGradients {
            x: d_x,
            gate_proj: linear_gradients(&self.gate_proj, x, &d_gate)?,
            up_proj: linear_gradients(&self.up_proj, x, &d_up)?,
            down_proj: linear_gradients(&self.down_proj, hidden, dy)?,
        })
    }
}

/// How fast x · σ(x) grows with x: `σ(x) (1 + x (1 − σ(x)))`.
#[inline(always)]
fn silu_slope(x: f32) -> f32 {
    let share = sigmoid(x);
    share * (1.0 + x * (1.0 - share))
}

/// 1 / (1 + e⁻ˣ), by whichever of e^x and e^−x cannot overflow.
#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    let e = exp_nonpositive(-x.abs());
    let share = if x < 0.0 { e } else { 1.0 };
    share / (1.0 + e)
}

/// Replaces every number of `x` by `what` of it and of the one of `y` in its place.
fn each(x: &mut DMatrix<f32>, y: &DMatrix<f32>, what: impl Fn(f32, f32) -> f32) {
    // As in `attention::softmax`: compiled once for each vector width.
    Arch::new().dispatch(
        #[inline(always)]
        || {
            for (x, y) in x.as_mut_slice().iter_mut().zip(y.as_slice()) {
                *x = what(*x, *y);
            }
        },
    );
}
