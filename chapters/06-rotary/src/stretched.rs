//! A rotation whose frequencies were scaled, and one as a `config.json` describes it.

use crate::longer::{Longer, What};
use crate::{Llama3Scaling, Pairing, Rotary, RotaryError};
use checkpoint::{Rope, Scaling};
use std::borrow::Cow;
use std::f64::consts::TAU;

impl Rotary {
    /// The rotation that a model's configuration describes, of heads `head_dim` wide. Of
    /// a latent layer, these are the features that are rotated.
    ///
    /// # Errors
    /// When a number of `rope` is none that it can be, or more features are to turn
    /// than a head has.
    pub fn of(rope: &Rope, head_dim: usize) -> Result<Self, RotaryError> {
        let pairing = match rope.pairing {
            checkpoint::Pairing::Halves => Pairing::Halves,
            checkpoint::Pairing::Neighbors => Pairing::Neighbors,
        };
        Rotary::new(rope.features, rope.base, pairing)?
            .stretched(rope.base, &rope.scaling)?
            .amplified(rope.amplitude)?
            .in_heads_of(head_dim)
    }

    /// The same pairs at the frequencies that `scaling` gives them.
    ///
    /// # Errors
    /// When a number of `scaling` is not positive, its low factor is not below the high
    /// one, or a frequency would be more than an `f32` can hold.
    pub fn scaled(mut self, scaling: Llama3Scaling) -> Result<Self, RotaryError> {
        for frequency in &mut self.frequencies {
            *frequency = scaling.of(f64::from(*frequency)) as f32;
        }
        if scaling.is_sound() && self.frequencies.iter().all(|one| one.is_finite()) {
            Ok(self)
        } else {
            Err(RotaryError::Scaling(scaling))
        }
    }

    /// The same pairs, made for longer texts in any of the ways that models have. `theta`
    /// is the base that the frequencies come from. With [`Scaling::Dynamic`] and
    /// [`Scaling::Long`] they depend on the length of a text.
    ///
    /// # Errors
    /// When a number of `scaling` is none that it can be.
    pub fn stretched(
        mut self,
        theta: f64,
        scaling: &Scaling,
    ) -> Result<Self, RotaryError> {
        let (pairs, width) = (self.frequencies.len(), self.features() as f64);
        match scaling {
            Scaling::None => {}
            Scaling::Linear { factor } => {
                self.divide(|_| positive("factor", *factor))?;
            }
            Scaling::Dynamic { factor, trained } => {
                let trained = positive("max_position_embeddings", *trained)?;
                let factor = positive("factor", *factor)?;
                if pairs == 1 {
                    return Err(refused("of one pair, the base cannot be raised"));
                }
                let what = What::Base { theta, factor };
                self.longer = Some(Longer { trained, what });
            }
            Scaling::Llama3 { factor, low, high, trained } => {
                return self.scaled(Llama3Scaling {
                    factor: *factor,
                    low_freq_factor: *low,
                    high_freq_factor: *high,
                    original_context: *trained,
                });
            }
            Scaling::Yarn { factor, fast, slow, trained, whole } => {
                let factor = positive("factor", *factor)?;
                let turns = [("beta_fast", *fast), ("beta_slow", *slow)];
                let trained = positive("original_max_position_embeddings", *trained)?;
                let mut ends = [0.0; 2];
                for (end, (name, turns)) in ends.iter_mut().zip(turns) {
                    let slowest = trained / (TAU * positive(name, turns)?);
                    *end = width * slowest.ln() / (2.0 * theta.ln());
                }
                let ramp = Ramp::new(ends, *whole, width);
                self.divide(|pair| Ok(1.0 / ramp.keeps(pair, factor)))?;
            }
            Scaling::Long { short, long, trained } => {
                let mut longer = self.clone();
                longer.divide(|pair| of_list("long_factor", long, pair))?;
                self.divide(|pair| of_list("short_factor", short, pair))?;
                let what = What::Listed(longer.frequencies);
                self.longer = Some(Longer { trained: *trained, what });
            }
            Scaling::Proportional { factor, pairs } => {
                self.divide(|_| positive("factor", *factor))?;
                self.frequencies.iter_mut().skip(*pairs).for_each(|one| *one = 0.0);
            }
        }
        Ok(self)
    }

    /// The same rotation, which also makes what it turns `amplitude` times as long.
    ///
    /// # Errors
    /// When that is no positive number.
    pub fn amplified(mut self, amplitude: f64) -> Result<Self, RotaryError> {
        self.amplitude = positive("attention_factor", amplitude)? as f32;
        Ok(self)
    }

    /// The same rotation of the first features of heads that are `head_dim` wide. The
    /// others are left as they are.
    ///
    /// # Errors
    /// When heads have fewer features than are to turn.
    pub fn in_heads_of(mut self, head_dim: usize) -> Result<Self, RotaryError> {
        let features = self.features();
        if features > head_dim {
            return Err(RotaryError::Narrow { features, head_dim });
        }
        self.head_dim = head_dim;
        Ok(self)
    }

    /// The same rotation as in a text of so many tokens, whatever positions are asked
    /// for.
    #[must_use]
    pub fn for_text(mut self, tokens: usize) -> Self {
        self.frequencies = self.frequencies_at(tokens).into_owned();
        self.longer = None;
        self
    }

    /// The frequencies in a text of so many tokens. Those of some models depend on it.
    #[must_use]
    pub fn frequencies_at(&self, tokens: usize) -> Cow<'_, [f32]> {
        let pairs = self.frequencies.len();
        let longer = self.longer.as_ref().and_then(|longer| longer.of(tokens, pairs));
        longer.map_or(Cow::Borrowed(&self.frequencies), Cow::Owned)
    }

    /// So many features of a head turn, the first ones.
    #[must_use]
    pub fn features(&self) -> usize {
        2 * self.frequencies.len()
    }

    /// What turns also grows by this factor.
    #[must_use]
    pub fn amplitude(&self) -> f32 {
        self.amplitude
    }

    /// Divides each frequency by what `by` gives for its pair.
    fn divide(
        &mut self,
        by: impl Fn(usize) -> Result<f64, RotaryError>,
    ) -> Result<(), RotaryError> {
        for (pair, frequency) in self.frequencies.iter_mut().enumerate() {
            *frequency = (f64::from(*frequency) / by(pair)?) as f32;
            if !frequency.is_finite() {
                return Err(refused("a frequency would be more than f32 can hold"));
            }
        }
        Ok(())
    }
}

/// `YaRN`'s way from the pairs that keep their frequency to those that are slowed down in
/// full (Peng et al. 2023, §3.2): a straight line from one pair to another, and not, as in
/// the paper's equation, over the turns that a pair makes.
struct Ramp {
    first: f64,
    last: f64,
}

impl Ramp {
    /// Between the pairs `ends`, rounded to `whole` ones, of `width` features.
    fn new(ends: [f64; 2], whole: bool, width: f64) -> Self {
        let [first, last] =
            if whole { [ends[0].floor(), ends[1].ceil()] } else { ends };
        let (first, last) = (first.max(0.0), last.min(width - 1.0));
        // Transformers' way around a division by zero.
        let last = if first == last { last + 0.001 } else { last };
        Ramp { first, last }
    }

    /// The share of its frequency that a pair is left with, from 1 to 1 / `factor`.
    fn keeps(&self, pair: usize, factor: f64) -> f64 {
        let along = (pair as f64 - self.first) / (self.last - self.first);
        let slowed = along.clamp(0.0, 1.0);
        1.0 - slowed + slowed / factor
    }
}

fn of_list(name: &str, list: &[f64], pair: usize) -> Result<f64, RotaryError> {
    let missing = || refused(format!("{name} has no number for pair {pair}"));
    positive(name, *list.get(pair).ok_or_else(missing)?)
}

fn positive(name: &str, number: f64) -> Result<f64, RotaryError> {
    if number.is_finite() && number > 0.0 {
        return Ok(number);
    }
    Err(refused(format!("{name} is {number}, wanted a positive number")))
}

fn refused(why: impl Into<String>) -> RotaryError {
    RotaryError::Stretch { why: why.into() }
}
