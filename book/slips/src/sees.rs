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
    /// Query `i` stands at key `i + offset`, and sees that one and the `window - 1` before
    /// it.
    Within {
        /// Keys before the first query.
        offset: usize,
        /// Keys that a query sees, its own among them.
        window: usize,
    },
    /// (queries, keys): whether the query sees the key.
    Pairs(DMatrix<bool>),
}

impl Sees {
    /// Whether a mask of this kind can be laid on scores of that shape.
    #[must_use]
    pub fn fits(&self, queries: usize, keys: usize) -> bool {
        match self {
            Sees::Everything | Sees::UpTo { .. } | Sees::Within { .. } => true,
            Sees::Pairs(allowed) => allowed.shape() == (queries, keys),
        }
    }

    /// Whether the query sees the key.
    #[must_use]
    pub fn sees(&self, query: usize, key: usize) -> bool {
        match self {
            Sees::Everything => true,
            Sees::UpTo { offset } => key <= query + offset,
            Sees::Within { offset, window } => {
                key <= query + offset && query + offset < key + window
            }
            Sees::Pairs(allowed) => allowed.get((query, key)).is_some_and(|sees| *sees),
        }
    }
}
