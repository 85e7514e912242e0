//! What a function gave, or where it stopped.

use crate::{
    answer::{Answer, Tolerance, Value, same},
    panic::{Panic, catch},
};

/// What a function gave.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// An answer.
    Gave(Answer),
    /// It panicked.
    Stopped(Panic),
}

/// Runs `give`, and keeps a panic to itself.
pub(crate) fn outcome(give: impl FnOnce() -> Answer) -> Outcome {
    catch(give).map_or_else(Outcome::Stopped, Outcome::Gave)
}

impl Outcome {
    /// The panic that ended it, or one that is part of it.
    pub(crate) fn panic(&self) -> Option<&Panic> {
        match self {
            Outcome::Stopped(panic) => Some(panic),
            Outcome::Gave(Answer(parts)) => {
                parts.iter().find_map(|(_, part)| match part {
                    Value::Stopped(panic) => Some(panic),
                    _ => None,
                })
            }
        }
    }

    /// Whether it is an error, or has one among its parts.
    pub(crate) fn is_refused(&self) -> bool {
        self.parts().iter().any(|(_, part)| matches!(part, Value::Refused(_)))
    }

    /// The parts of an answer; none where it stopped.
    pub(crate) fn parts(&self) -> &[(String, Value)] {
        match self {
            Outcome::Gave(Answer(parts)) => parts,
            Outcome::Stopped(_) => &[],
        }
    }
}

/// Whether two outcomes are the same, part by part. Panics are when they are about the
/// same thing.
pub(crate) fn agree(
    found: &Outcome,
    expected: &Outcome,
    tolerance: impl Fn(&str) -> Tolerance,
) -> bool {
    match (found, expected) {
        (Outcome::Gave(Answer(found)), Outcome::Gave(Answer(expected))) => {
            found.len() == expected.len()
                && found.iter().zip(expected).all(|((name, f), (wanted, e))| {
                    name == wanted && same(f, e, tolerance(name))
                })
        }
        (Outcome::Stopped(found), Outcome::Stopped(expected)) => {
            found.is_like(expected)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{agree, outcome};
    use crate::{Answer, answer::Tolerance, attempt};

    #[test]
    fn panics_agree_when_they_are_about_the_same_thing() {
        let close = |_: &str| Tolerance::Relative(1e-4);
        let slicing = || outcome(|| panic!("Matrix slicing out of bounds."));
        let product = outcome(|| panic!("gemm: dimensions mismatch"));
        let overflow = outcome(|| panic!("attempt to subtract with overflow"));
        assert!(agree(&slicing(), &product, close));
        assert!(!agree(&slicing(), &overflow, close));
    }

    #[test]
    fn what_was_given_before_a_panic_counts() {
        let close = |_: &str| Tolerance::Relative(1e-4);
        let give = |kept: f32| {
            outcome(|| {
                let then = attempt(|| -> f32 { panic!("out of bounds") });
                Answer::of("kept", kept).and("then", then)
            })
        };
        assert!(agree(&give(1.0), &give(1.0), close));
        assert!(!agree(&give(1.0), &give(2.0), close));
        assert_eq!(give(1.0).panic().unwrap().message, "out of bounds");
    }
}
