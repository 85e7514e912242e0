//! What can be wrong with a layer, and with what it is asked to run on.

use crate::Llama3Scaling;
use attention::ShapeError;
use grouped_query::GroupError;
use multi_head::LayerError;

/// Why a layer cannot rotate, or not run.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RotaryError {
    /// A feature would be left without a partner.
    #[error("a head of width {head_dim} cannot be split into pairs")]
    Unpaired {
        /// Features of a head.
        head_dim: usize,
    },
    /// The base of the frequencies is none.
    #[error(
        "rope theta is {theta}, wanted a positive number that gives finite frequencies"
    )]
    Theta {
        /// The base.
        theta: f64,
    },
    /// The frequencies cannot be scaled so.
    #[error(
        "rope scaling: factor {}, low {}, high {}, context {}; wanted positive numbers, \
         low below high",
        .0.factor, .0.low_freq_factor, .0.high_freq_factor, .0.original_context
    )]
    Scaling(Llama3Scaling),
    /// The frequencies cannot be stretched so.
    #[error("rope scaling: {why}")]
    Stretch {
        /// What is wrong, and what was wanted.
        why: String,
    },
    /// More is to turn than there is.
    #[error("{features} features are to turn, and a head has {head_dim}")]
    Narrow {
        /// Features that are to turn.
        features: usize,
        /// Features of a head.
        head_dim: usize,
    },
    /// The layer does not fit, or its cache.
    #[error(transparent)]
    Group(#[from] GroupError),
}

impl From<ShapeError> for RotaryError {
    fn from(error: ShapeError) -> Self {
        RotaryError::Group(error.into())
    }
}

impl From<LayerError> for RotaryError {
    fn from(error: LayerError) -> Self {
        RotaryError::Group(error.into())
    }
}
