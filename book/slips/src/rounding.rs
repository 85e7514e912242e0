//! Numbers with fewer digits: what a computation in another precision does to each step.

use nalgebra::DMatrix;

/// How many digits the numbers of a computation keep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Rounding {
    /// All of f32.
    #[default]
    None,
    /// As many as are left of f32 after sums of some thousand terms, in whatever order.
    Sums,
    /// Those of f16, and of TF32, as graphics processors multiply f32.
    Half,
    /// Those of bf16.
    Brain,
}

impl Rounding {
    /// Bits after the leading one that are lost, of 23.
    fn lost(self) -> u32 {
        match self {
            Rounding::None => 0,
            Rounding::Sums => 5,
            Rounding::Half => 13,
            Rounding::Brain => 16,
        }
    }

    /// The nearest number with so many digits, and of two the even one.
    #[must_use]
    pub fn of(self, x: f32) -> f32 {
        let lost = self.lost();
        if lost == 0 || !x.is_finite() {
            return x;
        }
        let bits = x.to_bits();
        let half = (1 << (lost - 1)) - 1 + ((bits >> lost) & 1);
        // A carry into the exponent is right: the next power of two.
        f32::from_bits((bits.wrapping_add(half) >> lost) << lost)
    }

    /// Rounds each number of these matrices.
    pub fn apply<'a>(self, matrices: impl IntoIterator<Item = &'a mut DMatrix<f32>>) {
        if self == Rounding::None {
            return;
        }
        for matrix in matrices {
            matrix.apply(|x| *x = self.of(*x));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Rounding;

    #[test]
    fn numbers_keep_as_many_digits_as_their_type_has() {
        assert_eq!(Rounding::Brain.of(1.0 + 1.0 / 128.0), 1.0 + 1.0 / 128.0);
        assert_eq!(Rounding::Brain.of(1.0 + 1.0 / 256.0), 1.0);
        assert_eq!(Rounding::Brain.of(1.0 + 3.0 / 256.0), 1.0 + 2.0 / 128.0);
        assert_eq!(Rounding::Half.of(-1.999_99), -2.0);
        assert_eq!(Rounding::None.of(0.1), 0.1);
        assert!(Rounding::Half.of(f32::NAN).is_nan());
    }
}
