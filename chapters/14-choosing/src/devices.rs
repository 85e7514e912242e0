//! What one of several devices holds when they divide every layer among themselves, which is
//! tensor parallelism.
//!
//! Query heads are divided. Key/value heads are divided while there are at least as many as
//! devices; otherwise each lies on every device that has a query head of its group. A latent
//! serves all heads, so every device keeps all of it, and the projections down to it.
//! Feed-forward networks are divided by their hidden width, and tables by their tokens.
//!
//! Sources: Shoeybi et al. 2019, *Megatron-LM*, §3; on shared heads, Touvron et al. 2023,
//! *Llama 2*, appendix A.2.1.

use crate::{FeedForward, Mechanism, Model};
use thiserror::Error;

/// What some devices cannot divide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ShareError {
    /// A count that the number of devices does not divide.
    #[error(
        "{count} {what} cannot be divided evenly among {devices} devices: take a number of \
         devices that divides {count}"
    )]
    Uneven {
        /// What is counted.
        what: &'static str,
        /// How many there are.
        count: u64,
        /// Among how many devices.
        devices: u64,
    },
    /// Key/value heads that some devices would have more of than others.
    #[error(
        "{kv_heads} key/value heads can be neither divided evenly among {devices} devices nor \
         copied to equally many: take a number of devices that divides {kv_heads}, or that \
         {kv_heads} divides"
    )]
    KvHeads {
        /// How many there are.
        kv_heads: u64,
        /// Among how many devices.
        devices: u64,
    },
}

impl Mechanism {
    /// The part of this mechanism that each of `devices` holds.
    ///
    /// # Errors
    /// When the query heads cannot be divided evenly, or the key/value heads can be neither
    /// divided evenly nor copied to equally many devices.
    pub fn share(self, devices: u64) -> Result<Mechanism, ShareError> {
        match self {
            Mechanism::Shared { heads, kv_heads, qk_dim, v_dim } => {
                let heads = part(heads, "query heads", devices)?;
                let even = kv_heads.is_multiple_of(devices);
                if !even && !devices.is_multiple_of(kv_heads) {
                    return Err(ShareError::KvHeads { kv_heads, devices });
                }
                let kv_heads = (kv_heads / devices).max(1);
                Ok(Mechanism::Shared { heads, kv_heads, qk_dim, v_dim })
            }
            Mechanism::Latent {
                heads,
                nope_dim,
                rope_dim,
                v_dim,
                lora_rank,
                q_lora_rank,
            } => Ok(Mechanism::Latent {
                heads: part(heads, "query heads", devices)?,
                nope_dim,
                rope_dim,
                v_dim,
                lora_rank,
                q_lora_rank,
            }),
        }
    }
}

impl Model {
    /// The part of this model that each of `devices` holds. Where the vocabulary does not
    /// divide, it is the largest part; norms, biases and routers lie on every device.
    ///
    /// # Errors
    /// When heads or hidden widths cannot be divided evenly.
    pub fn share(&self, devices: u64) -> Result<Model, ShareError> {
        let width = |dim| part(dim, "features of a feed-forward network", devices);
        let mechanism = self.mechanism.share(devices)?;
        let feed_forward = FeedForward {
            dense_dim: width(self.feed_forward.dense_dim)?,
            expert_dim: width(self.feed_forward.expert_dim)?,
            shared_dim: width(self.feed_forward.shared_dim)?,
            ..self.feed_forward
        };
        let vocab = self.vocab.div_ceil(devices);
        Ok(Model { mechanism, feed_forward, vocab, ..self.clone() })
    }
}

/// One of `devices` equal parts of `count`.
fn part(count: u64, what: &'static str, devices: u64) -> Result<u64, ShareError> {
    let part = count.checked_div(devices).filter(|part| part * devices == count);
    part.ok_or(ShareError::Uneven { what, count, devices })
}
