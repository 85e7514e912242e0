//! The sizes of a head.

/// How many heads there are, and what the features of each are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Heads, each with queries, keys and values of its own.
    pub heads: usize,
    /// Features of a query and a key that know no position.
    pub nope_dim: usize,
    /// Features of a query and a key that are turned. All heads share those of the key.
    pub rope_dim: usize,
    /// Features of a value.
    pub v_dim: usize,
}

impl Sizes {
    /// Width of a query or key: what a score is a sum over.
    #[must_use]
    pub fn qk_dim(self) -> usize {
        self.nope_dim.saturating_add(self.rope_dim)
    }

    /// `heads` times `width`, for shapes that are to be checked.
    pub(crate) fn wide(self, width: usize) -> usize {
        self.heads.saturating_mul(width)
    }
}
