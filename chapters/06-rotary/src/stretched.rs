//! A rotation whose frequencies were scaled.

use crate::{Llama3Scaling, Rotary, RotaryError};

impl Rotary {
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
}
