//! What a mask lets through.

use nalgebra::DMatrix;

/// Which keys a query may see. A chapter turns it into its own mask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sees {
    /// All of them.
    Everything,
    /// Query `i` sees the keys `0..=i + offset`.
    UpTo {
        /// Keys before the first query.
        offset: usize,
    },
    /// (queries, keys): whether the query sees the key.
    Pairs(DMatrix<bool>),
}

impl Sees {
    /// Whether a mask of this kind can be laid on scores of that shape.
    #[must_use]
    pub fn fits(&self, queries: usize, keys: usize) -> bool {
        match self {
            Sees::Everything | Sees::UpTo { .. } => true,
            Sees::Pairs(allowed) => allowed.shape() == (queries, keys),
        }
    }

    /// Whether the query sees the key.
    #[must_use]
    pub fn sees(&self, query: usize, key: usize) -> bool {
        match self {
            Sees::Everything => true,
            Sees::UpTo { offset } => key <= query + offset,
            Sees::Pairs(allowed) => allowed.get((query, key)).is_some_and(|sees| *sees),
        }
    }
}
