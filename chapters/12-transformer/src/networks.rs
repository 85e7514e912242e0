//! What a token does by itself, as its model has it: with a gate, without, or in experts.

use crate::experts::Experts;
use crate::gated::{Activation, Gate, SwiGlu};
use crate::projection::Projection;
use attention::ShapeError;
use nalgebra::DMatrix;

/// A feed-forward network without gates.
#[derive(Debug, Clone, PartialEq)]
pub struct Mlp {
    /// (`model_dim`, `hidden_dim`)
    pub up_proj: Projection,
    /// Between the two.
    pub activation: Activation,
    /// (`hidden_dim`, `model_dim`)
    pub down_proj: Projection,
}

impl Mlp {
    /// `x` (tokens, `model_dim`) to (tokens, `model_dim`), each token by itself.
    ///
    /// # Errors
    /// When the projections do not fit `x`, or one another.
    pub fn forward(&self, x: &DMatrix<f32>) -> Result<DMatrix<f32>, ShapeError> {
        let mut hidden = self.up_proj.forward(x)?;
        self.activation.bend(hidden.as_mut_slice());
        self.down_proj.forward(&hidden)
    }
}

/// What a token does by itself, as its model has it.
#[derive(Debug, Clone, PartialEq)]
pub enum FeedForward {
    /// With a gate.
    Gated(SwiGlu, Gate),
    /// Without one.
    Plain(Mlp),
    /// One of many networks, or a few.
    Experts(Box<Experts>),
}

impl FeedForward {
    /// `x` (tokens, `model_dim`) to (tokens, `model_dim`), each token by itself.
    ///
    /// # Errors
    /// When a matrix does not fit `x`, or the others.
    pub fn forward(&self, x: &DMatrix<f32>) -> Result<DMatrix<f32>, ShapeError> {
        match self {
            FeedForward::Gated(network, Gate::Curve(Activation::Silu)) => {
                network.forward(x)
            }
            FeedForward::Gated(network, gate) => network.gated(x, *gate),
            FeedForward::Plain(network) => network.forward(x),
            FeedForward::Experts(experts) => experts.forward(x),
        }
    }

    /// The network, if it is one with a gate.
    #[must_use]
    pub fn gated(&self) -> Option<&SwiGlu> {
        match self {
            FeedForward::Gated(network, _) => Some(network),
            FeedForward::Plain(_) | FeedForward::Experts(_) => None,
        }
    }

    /// All its matrices.
    #[must_use]
    pub fn projections(&self) -> Vec<&Projection> {
        match self {
            FeedForward::Gated(network, _) => network.projections().to_vec(),
            FeedForward::Plain(Mlp { up_proj, down_proj, .. }) => {
                vec![up_proj, down_proj]
            }
            FeedForward::Experts(experts) => experts.projections(),
        }
    }
}

impl From<SwiGlu> for FeedForward {
    fn from(network: SwiGlu) -> Self {
        FeedForward::Gated(network, Gate::Curve(Activation::Silu))
    }
}
