//! What an exercise asks for: named numbers.

use std::fmt::Display;

use nalgebra::{DMatrix, DVector, Dim, Matrix, RawStorage};
use syllabus::verdict::Table;

use crate::panic::{Panic, catch};

/// One part of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A matrix, or a number as a matrix of one.
    Numbers(DMatrix<f32>),
    /// A word or a sentence.
    Words(String),
    /// An error, with what it says. Any other error is as good.
    Refused(String),
    /// A panic in the middle of an answer, from [`attempt`].
    Stopped(Panic),
}

/// What `give` gives, or its panic, so that an answer can go on with what is left behind.
#[must_use]
pub fn attempt<V: Into<Value>>(give: impl FnOnce() -> V) -> Value {
    catch(|| give().into()).unwrap_or_else(Value::Stopped)
}

/// The parts of an answer, in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer(pub(crate) Vec<(String, Value)>);

impl Answer {
    /// An answer of one part.
    #[must_use]
    pub fn of(name: &str, value: impl Into<Value>) -> Answer {
        Answer::default().and(name, value)
    }

    /// The same answer and one more part.
    #[must_use]
    pub fn and(mut self, name: &str, value: impl Into<Value>) -> Answer {
        self.0.push((name.to_owned(), value.into()));
        self
    }

    /// The same answer and a part for each of `values`: `name 0`, `name 1`, …
    #[must_use]
    pub fn and_each<V: Into<Value>>(
        self,
        name: &str,
        values: impl IntoIterator<Item = V>,
    ) -> Answer {
        let values = values.into_iter().enumerate();
        values
            .fold(self, |answer, (i, value)| answer.and(&format!("{name} {i}"), value))
    }

    /// The same answer with every number as `change` has it.
    #[must_use]
    pub fn map(self, change: impl Fn(f32) -> f32) -> Answer {
        let part = |(name, value)| match value {
            Value::Numbers(matrix) => (name, Value::Numbers(matrix.map(&change))),
            other => (name, other),
        };
        Answer(self.0.into_iter().map(part).collect())
    }

    /// The parts of `parts`, or one part called `otherwise` with the error.
    #[must_use]
    pub fn try_of<E: Display>(otherwise: &str, parts: Result<Answer, E>) -> Answer {
        parts.unwrap_or_else(|e| Answer::of(otherwise, Value::Refused(e.to_string())))
    }
}

impl<R: Dim, C: Dim, S: RawStorage<f32, R, C>> From<&Matrix<f32, R, C, S>> for Value {
    fn from(matrix: &Matrix<f32, R, C, S>) -> Value {
        let (rows, columns) = matrix.shape();
        Value::Numbers(DMatrix::from_fn(rows, columns, |r, c| matrix[(r, c)]))
    }
}

impl From<DMatrix<f32>> for Value {
    fn from(matrix: DMatrix<f32>) -> Value {
        Value::Numbers(matrix)
    }
}

impl From<DMatrix<bool>> for Value {
    fn from(flags: DMatrix<bool>) -> Value {
        Value::Numbers(flags.map(|flag| f32::from(u8::from(flag))))
    }
}

impl From<DVector<f32>> for Value {
    /// A row, as people write down a list.
    fn from(vector: DVector<f32>) -> Value {
        Value::from(vector.as_slice().to_vec())
    }
}

impl From<Vec<f32>> for Value {
    /// A row.
    fn from(numbers: Vec<f32>) -> Value {
        Value::Numbers(DMatrix::from_row_slice(1, numbers.len(), &numbers))
    }
}

impl From<Vec<usize>> for Value {
    /// A row.
    fn from(numbers: Vec<usize>) -> Value {
        Value::from(numbers.iter().map(|n| *n as f32).collect::<Vec<_>>())
    }
}

impl From<f32> for Value {
    fn from(number: f32) -> Value {
        Value::Numbers(DMatrix::repeat(1, 1, number))
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Value {
        Value::from(number as f32)
    }
}

impl From<&str> for Value {
    fn from(words: &str) -> Value {
        Value::Words(words.to_owned())
    }
}

impl From<String> for Value {
    fn from(words: String) -> Value {
        Value::Words(words)
    }
}

impl<T: Into<Value>, E: Display> From<Result<T, E>> for Value {
    fn from(result: Result<T, E>) -> Value {
        result.map_or_else(|e| Value::Refused(e.to_string()), Into::into)
    }
}

/// How far off a number may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Tolerance {
    /// That much.
    Absolute(f32),
    /// That much times the number, or times 1 if the number is smaller.
    Relative(f32),
}

impl Tolerance {
    /// NaN agrees with NaN here: where the chapter's answer is NaN, that is the answer.
    fn agree(self, found: f32, expected: f32) -> bool {
        if !expected.is_finite() {
            return found == expected || (found.is_nan() && expected.is_nan());
        }
        let off = match self {
            Tolerance::Absolute(off) => off,
            Tolerance::Relative(off) => off * expected.abs().max(1.0),
        };
        (found - expected).abs() <= off
    }
}

/// Whether two values are the same, up to rounding.
pub(crate) fn same(found: &Value, expected: &Value, tolerance: Tolerance) -> bool {
    match (found, expected) {
        (Value::Numbers(f), Value::Numbers(e)) => {
            f.shape() == e.shape()
                && f.iter().zip(e).all(|(f, e)| tolerance.agree(*f, *e))
        }
        (Value::Words(f), Value::Words(e)) => f.trim() == e.trim(),
        (Value::Refused(_), Value::Refused(_)) => true,
        (Value::Stopped(f), Value::Stopped(e)) => f.is_like(e),
        _ => false,
    }
}

/// Values as text. Numbers have as many digits, the same in all of them, as it takes to
/// see where they differ.
pub(crate) fn tables<const N: usize>(values: [&Value; N]) -> [Table; N] {
    let numbers = || {
        values.iter().filter_map(|value| match value {
            Value::Numbers(matrix) => Some(matrix),
            _ => None,
        })
    };
    let few = (0..3).find(|digits| {
        let step = 10_f32.powi(*digits);
        let exact =
            |x: &f32| !x.is_finite() || ((x * step).round() / step - x).abs() < 1e-6;
        numbers().all(|matrix| matrix.iter().all(exact))
    });
    let mut digits = few.unwrap_or(3) as usize;
    if let [Value::Numbers(a), Value::Numbers(b)] = values[..]
        && a.shape() == b.shape()
    {
        let hidden = |digits| {
            a.iter().zip(b).any(|(a, b)| {
                (a - b).abs() > 1e-4 && cell(*a, digits) == cell(*b, digits)
            })
        };
        while digits < 6 && hidden(digits) {
            digits += 1;
        }
    }
    values.map(|value| table(value, digits))
}

fn table(value: &Value, digits: usize) -> Table {
    let rows = match value {
        Value::Numbers(matrix) if matrix.is_empty() => {
            let (rows, columns) = matrix.shape();
            vec![vec![format!("(empty, {rows} × {columns})")]]
        }
        Value::Numbers(matrix) => matrix
            .row_iter()
            .map(|row| row.iter().map(|number| cell(*number, digits)).collect())
            .collect(),
        Value::Words(words) => vec![vec![words.clone()]],
        Value::Refused(why) => vec![vec![format!("an error: {why}")]],
        Value::Stopped(panic) => vec![vec![format!("a panic: {}", panic.message)]],
    };
    Table { rows }
}

fn cell(number: f32, digits: usize) -> String {
    match number {
        n if n.is_nan() => "NaN".to_owned(),
        n if n == f32::INFINITY => "inf".to_owned(),
        n if n == f32::NEG_INFINITY => "-inf".to_owned(),
        n if n.abs() >= 1e7 => format!("{n:.2e}"),
        n => {
            let text = format!("{n:.digits$}");
            // A rounded -0.0001 is no different from 0.
            let zero = text.trim_start_matches('-').chars().all(|c| "0.".contains(c));
            if zero { text.trim_start_matches('-').to_owned() } else { text }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, Tolerance, Value, same, tables};
    use nalgebra::dmatrix;

    const CLOSE: Tolerance = Tolerance::Relative(1e-4);

    #[test]
    fn each_part_is_counted() {
        let each = Answer::of("all", 3.0).and_each("of head", [1.0, 2.0]);
        let one_by_one = Answer::of("all", 3.0).and("of head 0", 1.0);
        assert_eq!(each, one_by_one.and("of head 1", 2.0));
    }

    #[test]
    fn nan_is_never_close_to_a_number() {
        let (nan, one) = (Value::from(f32::NAN), Value::from(1.0));
        assert!(!same(&nan, &one, CLOSE) && !same(&one, &nan, CLOSE));
        assert!(same(&nan, &nan, CLOSE));
    }

    #[test]
    fn shapes_are_compared() {
        let (row, column) = (dmatrix![1.0, 2.0], dmatrix![1.0; 2.0]);
        assert!(!same(&Value::from(row), &Value::from(column), CLOSE));
    }

    #[test]
    fn infinity_is_close_to_itself_alone() {
        let infinite = Value::from(f32::INFINITY);
        assert!(same(&infinite, &infinite, CLOSE));
        assert!(!same(&Value::from(1e30), &infinite, CLOSE));
        assert!(!same(&infinite, &Value::from(1e30), CLOSE));
    }

    #[test]
    fn digits_are_few_unless_more_are_needed() {
        let shown = |a: f32, b: f32| {
            tables([&a.into(), &b.into()]).map(|t| t.rows[0][0].clone())
        };
        assert_eq!(shown(1.0, 2.0), ["1", "2"]);
        assert_eq!(shown(0.5, 2.0), ["0.5", "2.0"]);
        assert_eq!(shown(0.33301, 0.33321), ["0.3330", "0.3332"]);
        assert_eq!(shown(-1e-7, f32::NAN), ["0", "NaN"]);
    }
}
