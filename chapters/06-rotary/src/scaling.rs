//! Frequencies for longer texts than a model was trained on.

use std::f64::consts::TAU;

/// How Llama 3.1 stretches the frequencies of a model that was trained on shorter texts.
/// Pairs that turn often within the old context stay; pairs that turn less than once are
/// slowed down by `factor`; in between, one passes into the other.
///
/// This is NTK by parts (Peng et al. 2023, *`YaRN`*, §3.2) with α = `low_freq_factor` and
/// β = `high_freq_factor`, without the temperature that `YaRN` adds (§3.4 in its version 2).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Llama3Scaling {
    /// How much slower the slow pairs turn.
    pub factor: f64,
    /// α: pairs with fewer turns than this within the old context are slowed in full.
    pub low_freq_factor: f64,
    /// β: pairs with more turns than this stay as they are.
    pub high_freq_factor: f64,
    /// Tokens of the old context.
    pub original_context: f64,
}

impl Llama3Scaling {
    /// As in the configuration of Llama 3.1.
    pub const LLAMA_3_1: Self = Llama3Scaling {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_context: 8192.0,
    };

    /// The frequency that takes the place of `frequency`, both in radians per token.
    #[must_use]
    pub fn of(self, frequency: f64) -> f64 {
        let turns = self.original_context * frequency / TAU;
        let (low, high) = (self.low_freq_factor, self.high_freq_factor);
        let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
        kept * frequency + (1.0 - kept) * frequency / self.factor
    }

    /// Whether all its numbers are positive, and the low factor is below the high one.
    pub(crate) fn is_sound(self) -> bool {
        let Llama3Scaling { factor, low_freq_factor: low, .. } = self;
        let (high, context) = (self.high_freq_factor, self.original_context);
        let positive = [factor, low, high, context].map(|x| x.is_finite() && x > 0.0);
        positive == [true; 4] && low < high
    }
}
