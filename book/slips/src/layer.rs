//! A layer, as something that can be computed wrongly on purpose.

use std::hash::Hash;

use nalgebra::DMatrix;

use crate::{around::Around, heads::Headed, map::Map};

/// What a chapter says of its layer, with an input that it runs on.
pub trait Layer: Sync {
    /// How the chapter's own steps are taken, up to the heads. The default is right.
    type Before: Clone + Default + Eq + Hash + Send + Sync + 'static;

    /// What the heads look at; nothing where the sizes do not fit that way.
    fn looks(&self, before: &Self::Before) -> Option<Looks>;

    /// The map from what the heads found to the output, if there is one.
    fn output(&self) -> Option<Map<'_>>;

    /// What goes into the layer, (tokens, `model_dim`).
    fn x(&self) -> Option<&DMatrix<f32>>;
}

/// What the heads of a layer look at.
#[derive(Debug, Clone)]
pub struct Looks {
    /// Queries, keys and values as the heads get them.
    pub headed: Headed,
    /// Queries and keys as they were before they were turned, where they are.
    pub unturned: Option<[DMatrix<f32>; 2]>,
    /// What the scores are multiplied by beside the root of a head's width.
    pub stretch: f32,
    /// What stands around the softmax.
    pub around: Around,
}
