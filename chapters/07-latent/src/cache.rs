//! The cache of one layer for one sequence.

use decoding::{CacheError, KvCache};
use nalgebra::{DMatrix, DMatrixView};

/// What is kept of the tokens so far: `lora_rank` + `rope_dim` numbers each, and nothing
/// else.
#[derive(Debug, Clone, PartialEq)]
pub struct LatentCache {
    /// Keys without values: the latents serve as both.
    kept: KvCache,
}

impl LatentCache {
    /// An empty cache with room for `capacity` tokens, of so many numbers each.
    #[must_use]
    pub fn new(capacity: usize, width: usize) -> Self {
        LatentCache { kept: KvCache::new(capacity, width, 0) }
    }

    /// Keeps what [`compress`](crate::LatentAttention::compress) made of tokens that follow
    /// those already kept. On an error nothing is kept.
    ///
    /// # Errors
    /// When there is no room for all of them, or the width is not that of the cache.
    pub fn append(&mut self, kept: &DMatrix<f32>) -> Result<(), CacheError> {
        self.kept.append(kept, &DMatrix::zeros(kept.nrows(), 0))
    }

    /// What is kept, (len, width).
    #[must_use]
    pub fn kept(&self) -> DMatrixView<'_, f32> {
        self.kept.keys()
    }

    /// How many tokens are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether no token is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// How many tokens there is room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.kept.capacity()
    }

    /// Forgets all tokens, and keeps the room.
    pub fn clear(&mut self) {
        self.kept.clear();
    }

    /// Numbers that one token leaves here.
    #[must_use]
    pub fn width(&self) -> usize {
        self.kept.keys().ncols()
    }

    /// Memory that it takes, in use or not.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.kept.bytes()
    }
}
