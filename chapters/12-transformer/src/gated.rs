//! Networks with gates: what a token does by itself, between one look at the others and
//! the next.

use crate::projection::Projection;
use attention::{ShapeError, exp_nonpositive, expect_shape};
use nalgebra::DMatrix;
use pulp::Arch;

/// What a token does by itself, after it has looked at the others: widened to
/// `hidden_dim` features, of which each passes as far as its gate is open, and narrowed
/// again.
///
/// Source: Shazeer 2020, *GLU Variants Improve Transformer*, equation 6.
#[derive(Debug, Clone, PartialEq)]
pub struct SwiGlu {
    /// (`model_dim`, `hidden_dim`): how far each gate is open.
    pub gate_proj: Projection,
    /// (`model_dim`, `hidden_dim`): what passes.
    pub up_proj: Projection,
    /// (`hidden_dim`, `model_dim`): back into the stream.
    pub down_proj: Projection,
}

impl SwiGlu {
    /// `x` (tokens, `model_dim`) to (tokens, `model_dim`), each token by itself.
    ///
    /// # Errors
    /// When the projections do not fit `x`, or one another.
    pub fn forward(&self, x: &DMatrix<f32>) -> Result<DMatrix<f32>, ShapeError> {
        let [mut hidden, up] =
            Projection::together([&self.gate_proj, &self.up_proj], x)?;
        expect_shape(
            "up_proj",
            up.shape(),
            hidden.shape(),
            "each gate has its feature",
        )?;
        silu(hidden.as_mut_slice());
        hidden.component_mul_assign(&up);
        self.down_proj.forward(&hidden)
    }
}

/// x · σ(x) in place, where σ(x) = 1 / (1 + e⁻ˣ): close to 0 for very negative x, and to x
/// for large ones.
pub fn silu(numbers: &mut [f32]) {
    // As in `attention::softmax`: compiled once for each vector width.
    Arch::new().dispatch(
        #[inline(always)]
        || {
            for x in numbers {
                // e^x or e^−x, whichever cannot overflow.
                let e = exp_nonpositive(-x.abs());
                let share = if *x < 0.0 { e } else { 1.0 };
                *x *= share / (1.0 + e);
            }
        },
    );
}

/// What bends a feature between two projections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// [`gelu`]
    Gelu,
    /// [`gelu_tanh`]
    GeluTanh,
    /// 0 in place of what is negative.
    Relu,
    /// [`silu`]
    Silu,
}

impl Activation {
    /// Of all numbers, in place.
    pub fn bend(self, numbers: &mut [f32]) {
        let each: fn(f32) -> f32 = match self {
            Activation::Silu => return silu(numbers),
            Activation::Gelu => gelu,
            Activation::GeluTanh => gelu_tanh,
            Activation::Relu => |x| x.max(0.0),
        };
        for x in numbers {
            *x = each(*x);
        }
    }
}

/// x · Φ(x), where Φ(x) is the share of a normal distribution that lies below x.
///
/// Source: Hendrycks and Gimpel 2016, *Gaussian Error Linear Units*, §2.
#[must_use]
pub fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + libm::erff(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// [`gelu`] with tanh in place of the error function, as GPT-2 has it: the same within
/// 0.0005.
#[must_use]
pub fn gelu_tanh(x: f32) -> f32 {
    let inner = (2.0 / std::f32::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
    0.5 * x * (1.0 + inner.tanh())
}

impl SwiGlu {
    /// The same network with another gate: GEGLU, for example.
    ///
    /// # Errors
    /// When the projections do not fit `x`, or one another.
    pub fn gated(
        &self,
        x: &DMatrix<f32>,
        gate: Gate,
    ) -> Result<DMatrix<f32>, ShapeError> {
        let [mut hidden, up] =
            Projection::together([&self.gate_proj, &self.up_proj], x)?;
        let why = "each gate has its feature";
        expect_shape("up_proj", up.shape(), hidden.shape(), why)?;
        gate.open(&mut hidden, &up);
        self.down_proj.forward(&hidden)
    }

    /// Its three matrices.
    #[must_use]
    pub fn projections(&self) -> [&Projection; 3] {
        [&self.gate_proj, &self.up_proj, &self.down_proj]
    }
}

/// How the gate of a network opens, and what passes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Gate {
    /// The curve, times what passes.
    Curve(Activation),
    /// gate · σ(α · gate) · (up + 1), where the gate is at most `limit` and `up` is between
    /// −`limit` and `limit`: gpt-oss.
    Clamped {
        /// How steep it is.
        alpha: f32,
        /// How large both may become.
        limit: f32,
    },
}

impl Gate {
    /// What comes of the gate `hidden` and of `up`, in place of the gate.
    pub fn open(self, hidden: &mut DMatrix<f32>, up: &DMatrix<f32>) {
        match self {
            Gate::Curve(curve) => {
                curve.bend(hidden.as_mut_slice());
                hidden.component_mul_assign(up);
            }
            Gate::Clamped { alpha, limit } => hidden.zip_apply(up, |gate, up| {
                let open = gate.min(limit);
                let share = 1.0 / (1.0 + (-alpha * open).exp());
                *gate = open * share * (up.clamp(-limit, limit) + 1.0);
            }),
        }
    }
}
