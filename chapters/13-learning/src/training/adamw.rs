//! From gradients to better numbers.

use super::parameter::Parameter;
use std::f32::consts::PI;

/// Adam with weight decay of its own: a mean of the gradients divided by the root of a
/// mean of their squares, so that every number moves by about the rate, however steep its
/// slope; and each number of a matrix shrinks a little, whatever its gradient is.
///
/// Source: Loshchilov and Hutter 2019, *Decoupled Weight Decay Regularization*, algorithm 2.
/// There the decay follows the schedule, and not the peak of the rate. Here it is multiplied
/// by the whole rate, as PyTorch has it.
#[derive(Debug, Clone, PartialEq)]
pub struct AdamW {
    /// What is left of the mean of gradients after a step.
    pub beta_1: f32,
    /// What is left of the mean of their squares.
    pub beta_2: f32,
    /// Keeps a number that has no gradient from being divided by 0.
    pub eps: f32,
    /// What a number of a matrix loses in a step, as a share, at a rate of 1.
    pub decay: f32,
    /// Steps taken.
    pub steps: i32,
    /// The mean of the gradients, one for each parameter.
    pub first: Vec<f32>,
    /// The mean of their squares.
    pub second: Vec<f32>,
}

impl AdamW {
    /// For so many parameters.
    #[must_use]
    pub fn new(parameters: usize, decay: f32) -> AdamW {
        let zeros = vec![0.0; parameters];
        AdamW {
            beta_1: 0.9,
            beta_2: 0.98,
            eps: 1e-8,
            decay,
            steps: 0,
            first: zeros.clone(),
            second: zeros,
        }
    }

    /// One step against `gradient`, which has one number for each of `parameters`. Gains
    /// of norms do not decay.
    ///
    /// # Panics
    /// When there is not one number for each.
    pub fn step(&mut self, parameters: Vec<Parameter>, gradient: &[f32], rate: f32) {
        let all: usize = parameters.iter().map(|p| p.numbers.len()).sum();
        assert_eq!((gradient.len(), self.first.len()), (all, all), "one for each");
        self.steps += 1;
        // Both means began at 0, and are still too small in the first steps.
        let mean = 1.0 / (1.0 - self.beta_1.powi(self.steps));
        let mean_of_squares = 1.0 / (1.0 - self.beta_2.powi(self.steps));
        let (beta_1, beta_2, eps) = (self.beta_1, self.beta_2, self.eps);
        let mut means = self.first.iter_mut().zip(&mut self.second).zip(gradient);
        for Parameter { shape, numbers, .. } in parameters {
            let decay = if shape.0 == 1 { 0.0 } else { self.decay };
            for (number, ((first, second), g)) in numbers.iter_mut().zip(&mut means) {
                *first = beta_1 * *first + (1.0 - beta_1) * g;
                *second = beta_2 * *second + (1.0 - beta_2) * g * g;
                let size = (*second * mean_of_squares).sqrt() + eps;
                *number -= rate * (*first * mean / size + decay * *number);
            }
        }
    }
}

/// How large steps are: rising in the first ones, then falling along half a cosine to a
/// tenth of the peak.
///
/// Sources: for the rise, Vaswani et al. 2017, *Attention Is All You Need*, §5.3; for the
/// fall, Loshchilov and Hutter 2017, *SGDR*, equation 5, without restarts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// The largest rate.
    pub peak: f32,
    /// Steps until it is reached.
    pub warm_up: usize,
    /// All steps.
    pub steps: usize,
}

impl Schedule {
    /// The rate of a step, counted from 0.
    #[must_use]
    pub fn rate(self, step: usize) -> f32 {
        if step < self.warm_up {
            return self.peak * (step + 1) as f32 / self.warm_up as f32;
        }
        let falling = self.steps.saturating_sub(self.warm_up).max(1);
        let share = ((step - self.warm_up) as f32 / falling as f32).min(1.0);
        let last = 0.1 * self.peak;
        last + (self.peak - last) * (1.0 + (PI * share).cos()) / 2.0
    }
}

/// Shortens `gradient` to a length of `most`, if it is longer, and gives the length that
/// it had.
///
/// Source: Pascanu et al. 2013, *On the difficulty of training recurrent neural networks*,
/// §3.2.
pub fn clipped(gradient: &mut [f32], most: f32) -> f32 {
    let squares: f64 = gradient.iter().map(|g| f64::from(*g).powi(2)).sum();
    let length = squares.sqrt() as f32;
    if length > most {
        for g in gradient.iter_mut() {
            *g *= most / length;
        }
    }
    length
}
