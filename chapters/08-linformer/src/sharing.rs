//! Which heads and layers have a projection along the sequence in common.

use crate::SequenceProjection;
use attention::{ShapeError, expect_shape};
use std::collections::HashSet;
use std::sync::Arc;

/// What the projections along the sequence are shared by (Wang et al. 2020, §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Nothing: every head of every layer has an E and an F.
    None,
    /// The heads of a layer: an E and an F for each layer.
    Headwise,
    /// The heads, keys and values of a layer: E = F, one for each layer.
    KeyValue,
    /// Everything: one matrix for the whole model.
    Layerwise,
}

impl Sharing {
    /// How many matrices a model has.
    #[must_use]
    pub fn matrices(self, layers: usize, heads: usize) -> usize {
        match self {
            Sharing::None => 2 * layers * heads,
            Sharing::Headwise => 2 * layers,
            Sharing::KeyValue => layers,
            Sharing::Layerwise => 1,
        }
    }
}

/// The projections along the sequence of one layer. Those that are shared are kept once,
/// also between layers.
#[derive(Debug, Clone, PartialEq)]
pub struct Projections {
    /// E, one for all heads or one for each.
    pub(crate) keys: Vec<Arc<SequenceProjection>>,
    /// F, as many.
    pub(crate) values: Vec<Arc<SequenceProjection>>,
}

impl Projections {
    /// One E and one F for each key/value head, or one for all of them. A matrix that is
    /// shared is a clone of its `Arc`.
    ///
    /// # Errors
    /// When there are none, or they differ in number or shape.
    pub fn new(
        keys: Vec<Arc<SequenceProjection>>,
        values: Vec<Arc<SequenceProjection>>,
    ) -> Result<Self, ShapeError> {
        let wanted = (keys.len().max(1), 1);
        for (name, found) in [("E", &keys), ("F", &values)] {
            let why = "as many for the keys as for the values, and at least one";
            expect_shape(name, (found.len(), 1), wanted, why)?;
        }
        let shape = keys[0].shape();
        for (name, matrices) in [("proj_k", &keys), ("proj_v", &values)] {
            for matrix in matrices {
                let why = "what is condensed stays in step";
                expect_shape(name, matrix.shape(), shape, why)?;
            }
        }
        Ok(Projections { keys, values })
    }

    /// The projections of all `layers` of a model whose layers have `heads` heads. `next`
    /// gives one matrix after the other, [`Sharing::matrices`] times in all.
    ///
    /// # Errors
    /// When the matrices of a layer differ in shape, or there are no heads.
    pub fn of_model(
        sharing: Sharing,
        layers: usize,
        heads: usize,
        next: impl FnMut() -> SequenceProjection,
    ) -> Result<Vec<Self>, ShapeError> {
        let mut each = std::iter::repeat_with(next).map(Arc::new);
        let mut take = |count: usize| each.by_ref().take(count).collect::<Vec<_>>();
        match sharing {
            Sharing::None => {
                (0..layers).map(|_| Self::new(take(heads), take(heads))).collect()
            }
            Sharing::Headwise => {
                (0..layers).map(|_| Self::new(take(1), take(1))).collect()
            }
            Sharing::KeyValue => {
                let one_for_both = |e: Vec<_>| Self::new(e.clone(), e);
                (0..layers).map(|_| one_for_both(take(1))).collect()
            }
            Sharing::Layerwise => {
                let e = take(1);
                (0..layers).map(|_| Self::new(e.clone(), e.clone())).collect()
            }
        }
    }

    /// Numbers that `layers` learned for their projections along the sequence, those that
    /// are shared counted once.
    #[must_use]
    pub fn parameters(layers: &[Self]) -> usize {
        let all =
            layers.iter().flat_map(|layer| layer.keys.iter().chain(&layer.values));
        let mut seen = HashSet::new();
        let once = all.filter(|matrix| seen.insert(Arc::as_ptr(matrix)));
        once.map(|matrix| matrix.weight.len()).sum()
    }

    /// (r, `n_max`) of every one of them.
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        self.keys[0].shape()
    }
}
