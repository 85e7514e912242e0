//! What a layer has learned, for those who compute its gradients.

use crate::MultiQueryAttention;
use attention::Linear;

impl MultiQueryAttention {
    /// The projections of queries, keys and values and output.
    #[must_use]
    pub fn projections(&self) -> [&Linear; 4] {
        [&self.q_proj, &self.k_proj, &self.v_proj, &self.o_proj]
    }
}
