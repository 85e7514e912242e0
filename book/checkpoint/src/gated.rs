//! Where the matrices of a network with a gate are.

use crate::whole::Activation;

/// A network with a gate.
#[derive(Debug, Clone, PartialEq)]
pub struct Gated {
    /// What stands before its names, behind the block's prefix: `mlp.`.
    pub prefix: String,
    /// Names of gate and of what passes, or of one matrix that holds both, one after the
    /// other; then that of the matrix back.
    pub names: GatedNames,
    /// Width in between.
    pub dim: u64,
    /// Bends the gate.
    pub activation: Activation,
    /// Whether all matrices add a bias.
    pub bias: bool,
}

/// Names of the matrices of a network with a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GatedNames {
    /// Gate, what passes, back.
    Three([&'static str; 3]),
    /// Gate and what passes in one matrix, back.
    Two([&'static str; 2]),
}
