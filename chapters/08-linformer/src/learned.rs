//! What a layer has learned, for those who compute its gradients.

use crate::{LinformerAttention, Projections, SequenceProjection};
use attention::Linear;
use grouped_query::Groups;
use nalgebra::DMatrix;
use std::sync::Arc;

impl LinformerAttention {
    /// The projections of queries, keys and output.
    #[must_use]
    pub fn maps(&self) -> [&Linear; 3] {
        [&self.to_q, &self.to_k, &self.to_out]
    }

    /// The projection of values. Without it, the keys are the values.
    #[must_use]
    pub fn to_v(&self) -> Option<&Linear> {
        self.to_v.as_ref()
    }

    /// How the heads share keys and values.
    #[must_use]
    pub fn groups(&self) -> Groups {
        self.groups
    }
}

impl Projections {
    /// Each E, (r, `n_max`): one for all heads, or one for each key/value head.
    #[must_use]
    pub fn keys(&self) -> Vec<&DMatrix<f32>> {
        numbers(&self.keys)
    }

    /// Each F, as many.
    #[must_use]
    pub fn values(&self) -> Vec<&DMatrix<f32>> {
        numbers(&self.values)
    }
}

fn numbers(projections: &[Arc<SequenceProjection>]) -> Vec<&DMatrix<f32>> {
    projections.iter().map(|projection| &projection.weight).collect()
}
