//! What was learned, for those who compute its gradients and change it.

use crate::{Attention, Linear};

impl Linear {
    /// (`d_in`, `d_out`), column after column.
    pub fn weight_mut(&mut self) -> &mut [f32] {
        self.weight.as_mut_slice()
    }

    /// `d_out` entries, if the map has a bias.
    pub fn bias_mut(&mut self) -> Option<&mut [f32]> {
        self.bias.as_mut().map(nalgebra::DVector::as_mut_slice)
    }
}

impl Attention {
    /// The projections of queries, keys and values.
    #[must_use]
    pub fn projections(&self) -> [&Linear; 3] {
        [&self.q_proj, &self.k_proj, &self.v_proj]
    }
}
