//! How sharp the softmax is beyond one over the root of a query's width, in models that
//! were made for longer texts than they were trained on.

use crate::{LatentAttention, Queries};
use checkpoint::Temperature;

/// Factors of all scores of a layer. They are taken into the queries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sharpness {
    /// The square of `YaRN`'s temperature, `mscale`: 1.59 in DeepSeek-V2 and 1.87 in
    /// DeepSeek-V3 (in their code, not in their papers).
    pub mscale: f32,
    /// A factor that grows with the position of the query: Mistral 4.
    pub temperature: Option<Temperature>,
}

impl Sharpness {
    /// None besides one over the root of a query's width.
    pub const PLAIN: Self = Sharpness { mscale: 1.0, temperature: None };

    /// What the query at a position is multiplied by.
    pub(crate) fn at(self, position: usize) -> f32 {
        let grows = self.temperature.map_or(1.0, |grows| grows.at(position));
        self.mscale * grows as f32
    }

    /// Multiplies the queries of tokens, the first of which stands at `start`.
    pub(crate) fn sharpen(self, queries: &mut Queries, start: usize) {
        if self == Self::PLAIN {
            return;
        }
        for row in 0..queries.tokens() {
            let factor = self.at(start + row);
            queries.nope.row_mut(row).scale_mut(factor);
            queries.rope.row_mut(row).scale_mut(factor);
        }
    }
}

impl LatentAttention {
    /// The same layer with sharper scores.
    #[must_use]
    pub fn sharpened(self, sharpness: Sharpness) -> Self {
        LatentAttention { sharpness, ..self }
    }

    /// How sharp its scores are.
    #[must_use]
    pub fn sharpness(&self) -> Sharpness {
        self.sharpness
    }
}
