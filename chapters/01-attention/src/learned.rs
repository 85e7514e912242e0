//! The numbers of a linear map, to be learned.

use crate::Linear;

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
