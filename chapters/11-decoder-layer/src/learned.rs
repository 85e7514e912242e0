//! What a layer has learned, and where its tokens stand: for those who compute its
//! gradients and change its numbers.

use crate::{DecoderLayer, Parts, Place};
use attention::Linear;
use rotary::Angles;
use std::ops::Range;

impl DecoderLayer {
    /// The projections of queries, keys, values and output.
    #[must_use]
    pub fn projections(&self) -> [&Linear; 4] {
        [&self.q_proj, &self.k_proj, &self.v_proj, &self.o_proj]
    }

    /// The same, to be learned.
    pub fn projections_mut(&mut self) -> [&mut Linear; 4] {
        [&mut self.q_proj, &mut self.k_proj, &mut self.v_proj, &mut self.o_proj]
    }

    /// (`model_dim`, heads · `v_dim`): how far the output gate opens, if there is one.
    #[must_use]
    pub fn gate_proj(&self) -> Option<&Linear> {
        self.gate_proj.as_ref()
    }

    /// The same, to be learned.
    pub fn gate_proj_mut(&mut self) -> Option<&mut Linear> {
        self.gate_proj.as_mut()
    }

    /// What stands around its softmax, to be learned or changed.
    pub fn parts_mut(&mut self) -> &mut Parts {
        &mut self.parts
    }
}

impl Place {
    /// Where the tokens stand.
    #[must_use]
    pub fn positions(&self) -> Range<usize> {
        self.positions.clone()
    }

    /// The angles by which their queries and keys turn, if they do.
    #[must_use]
    pub fn angles(&self) -> Option<&Angles> {
        self.angles.as_ref()
    }
}
