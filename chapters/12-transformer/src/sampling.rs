//! How the next token is chosen among all.

use attention::softmax;
use nalgebra::DMatrix;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use std::cmp::Ordering;

/// Chooses tokens by their logits.
#[derive(Debug, Clone)]
pub struct Sampler {
    /// Logits are divided by it; 0 always takes the largest.
    temperature: f32,
    /// Only the most probable tokens that together reach this share are chosen among.
    top_p: f32,
    rng: ChaCha8Rng,
}

impl Sampler {
    /// Always the most probable token; of equal ones, the first.
    #[must_use]
    pub fn greedy() -> Self {
        let rng = ChaCha8Rng::seed_from_u64(0);
        Sampler { temperature: 0.0, top_p: 1.0, rng }
    }

    /// Draws from the softmax of the logits over `temperature`, among the tokens that
    /// together have the share `top_p` (Holtzman et al. 2020, *The Curious Case of Neural
    /// Text Degeneration*, §3.1). The same seed draws the same tokens.
    ///
    /// # Errors
    /// When the temperature is negative or no number, or the share is not above 0 and at
    /// most 1.
    pub fn new(temperature: f32, top_p: f32, seed: u64) -> Result<Self, SamplingError> {
        if !(temperature.is_finite() && temperature >= 0.0) {
            return Err(SamplingError::Temperature(temperature));
        }
        if !(top_p > 0.0 && top_p <= 1.0) {
            return Err(SamplingError::TopP(top_p));
        }
        let rng = ChaCha8Rng::seed_from_u64(seed);
        Ok(Sampler { temperature, top_p, rng })
    }

    /// The next token, by its `logits`, one for each token there is.
    pub fn pick(&mut self, logits: &[f32]) -> u32 {
        if self.temperature == 0.0 {
            return largest(logits);
        }
        let scaled = logits.iter().map(|logit| logit / self.temperature);
        let shares = softmax(DMatrix::from_row_iterator(1, logits.len(), scaled));
        let mut tokens: Vec<usize> = (0..logits.len()).collect();
        tokens.sort_by(|&a, &b| shares[b].total_cmp(&shares[a]).then(a.cmp(&b)));
        let mut sum = 0.0;
        let enough = tokens.iter().position(|&token| {
            sum += shares[token];
            sum >= self.top_p
        });
        let nucleus = &tokens[..enough.map_or(tokens.len(), |last| last + 1)];
        let mut left = self.rng.random::<f32>() * sum;
        let drawn = nucleus.iter().find(|&&token| {
            left -= shares[token];
            left < 0.0
        });
        drawn.or(nucleus.first()).map_or(0, |&token| token as u32)
    }
}

/// Where the largest number stands; of equal ones, the first.
#[must_use]
pub fn largest(logits: &[f32]) -> u32 {
    let larger = |a: &(usize, &f32), b: &(usize, &f32)| {
        a.1.partial_cmp(b.1).unwrap_or(Ordering::Equal).then(b.0.cmp(&a.0))
    };
    logits.iter().enumerate().max_by(larger).map_or(0, |(token, _)| token as u32)
}

/// Why tokens cannot be drawn so.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum SamplingError {
    /// A temperature below 0, or none.
    #[error("a temperature of {0}: wanted 0, for the most probable token, or more")]
    Temperature(f32),
    /// A share that is none.
    #[error("a top-p of {0}: wanted a share above 0 and at most 1")]
    TopP(f32),
}
