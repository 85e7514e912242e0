//! What can go wrong in a model.

use attention::ShapeError;
use decoding::CacheError;
use grouped_query::GroupError;
use multi_head::LayerError;

/// What a model cannot run on.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ModelError {
    /// A token that has no row in the table.
    #[error("token {token}: the vocabulary has {vocab} tokens, from 0 on")]
    Token {
        /// As it was given.
        token: u32,
        /// How many there are.
        vocab: usize,
    },
    /// Nothing to go on from.
    #[error("no token: a text begins with one at least")]
    NoToken,
    /// More tokens than there are positions.
    #[error("{tokens} tokens: the model has {context} positions")]
    Long {
        /// As they were given.
        tokens: usize,
        /// Positions that were learned.
        context: usize,
    },
    /// Caches of another model, or of different lengths.
    #[error(
        "{found} caches for {blocks} blocks: each needs its own, all of the same tokens"
    )]
    Caches {
        /// Caches.
        found: usize,
        /// Blocks.
        blocks: usize,
    },
    /// A cache of another kind of layer.
    #[error("a cache of keys for a layer of latents, or the reverse")]
    OtherCache,
    /// What cannot be done to latents.
    #[error("{what} needs heads that keep keys, and the layer keeps latents")]
    Latents {
        /// What cannot be done.
        what: &'static str,
    },
    /// A part does not fit, or a cache.
    #[error(transparent)]
    Group(#[from] GroupError),
}

impl From<ShapeError> for ModelError {
    fn from(error: ShapeError) -> Self {
        ModelError::Group(error.into())
    }
}

impl From<LayerError> for ModelError {
    fn from(error: LayerError) -> Self {
        ModelError::Group(error.into())
    }
}

impl From<CacheError> for ModelError {
    fn from(error: CacheError) -> Self {
        ModelError::Group(error.into())
    }
}
