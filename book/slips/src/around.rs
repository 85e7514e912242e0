//! The parts that stand around the softmax of some layers, and what people take them for.

use nalgebra::DMatrix;

use crate::shares::{Shares, shares};

/// What stands between scores and output, beside the softmax. The default is nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Around {
    /// What scores are bounded by.
    pub cap: Option<Cap>,
    /// What takes weight and gives no value.
    pub sinks: Option<Sinks>,
    /// (queries, heads · width of a value): what is let pass of what the heads found.
    pub gate: Option<DMatrix<f32>>,
}

/// A bound of scores.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cap {
    /// The bound.
    pub most: f32,
    /// How it is applied.
    pub how: Capped,
}

/// How scores are bounded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Capped {
    /// `cap · tanh(score / cap)`, before the mask.
    #[default]
    Right,
    /// The same after the mask, which brings hidden scores back.
    AfterTheMask,
    /// Before they are scaled.
    BeforeTheScale,
    /// Cut off at the bound.
    Cut,
    /// Weights in the place of scores.
    OfWeights,
}

/// One score per query head that takes part in the softmax.
#[derive(Debug, Clone, PartialEq)]
pub struct Sinks {
    /// As many as there are query heads.
    pub scores: Vec<f32>,
    /// Who gets the weight.
    pub goes: Sunk,
}

/// Who gets the weight of a sink.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Sunk {
    /// Nobody.
    #[default]
    ToNobody,
    /// The last value, and each value the weight of the key after its own.
    ToTheLastValue,
}

impl Cap {
    fn bend(self, x: f32) -> f32 {
        self.most * (x / self.most).tanh()
    }

    /// Bounds scores, which were multiplied by `factor`.
    pub(crate) fn bound(self, scores: &mut DMatrix<f32>, factor: f32) {
        match self.how {
            Capped::OfWeights => {}
            Capped::Cut => scores.apply(|x| *x = x.clamp(-self.most, self.most)),
            Capped::BeforeTheScale => {
                scores.apply(|x| *x = factor * self.bend(*x / factor));
            }
            Capped::Right | Capped::AfterTheMask => {
                scores.apply(|x| *x = self.bend(*x));
            }
        }
    }

    /// Bounds weights, if they are taken for scores.
    pub(crate) fn bound_weights(self, weights: &mut DMatrix<f32>) {
        if self.how == Capped::OfWeights {
            weights.apply(|x| *x = self.bend(*x));
        }
    }
}

impl Around {
    /// The score that the mask gives to a hidden pair.
    pub(crate) fn hidden(&self) -> f32 {
        match self.cap {
            Some(Cap { most, how: Capped::AfterTheMask }) => -most,
            _ => f32::NEG_INFINITY,
        }
    }

    /// The weights of the keys of a head, of scores (queries, keys).
    pub(crate) fn shares(
        &self,
        scores: &DMatrix<f32>,
        how: Shares,
        head: usize,
    ) -> DMatrix<f32> {
        let keys = scores.ncols();
        let Some(sinks) = &self.sinks else { return shares(scores, how) };
        let Some(sink) = sinks.scores.get(head) else { return shares(scores, how) };
        let all = shares(&scores.clone().insert_column(keys, *sink), how);
        all.remove_column(match sinks.goes {
            Sunk::ToNobody => keys,
            Sunk::ToTheLastValue => 0,
        })
    }
}
