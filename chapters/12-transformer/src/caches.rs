//! What a layer keeps of the tokens that it has read.

use decoding::{CacheError, KvCache};
use latent::LatentCache;

/// The cache of one layer for one text.
#[derive(Debug, Clone, PartialEq)]
pub enum Cache {
    /// Keys and values of its kv heads.
    Heads(KvCache),
    /// Latents that keys and values are made from.
    Latents(LatentCache),
}

impl Cache {
    /// How many tokens are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Cache::Heads(cache) => cache.len(),
            Cache::Latents(cache) => cache.len(),
        }
    }

    /// Whether no token is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many tokens there is room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        match self {
            Cache::Heads(cache) => cache.capacity(),
            Cache::Latents(cache) => cache.capacity(),
        }
    }

    /// Forgets all tokens, and keeps the room.
    pub fn clear(&mut self) {
        match self {
            Cache::Heads(cache) => cache.clear(),
            Cache::Latents(cache) => cache.clear(),
        }
    }

    /// Memory that it takes, in use or not.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Cache::Heads(cache) => cache.bytes(),
            Cache::Latents(cache) => cache.bytes(),
        }
    }

    /// # Errors
    /// When there is no room for so many tokens more.
    pub(crate) fn expect_room(&self, tokens: usize) -> Result<(), CacheError> {
        let (capacity, len) = (self.capacity(), self.len());
        if tokens > capacity - len {
            return Err(CacheError::Full { capacity, len, tokens });
        }
        Ok(())
    }
}
