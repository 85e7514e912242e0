//! Inputs that were good once. A reader of files gives an answer or one error for each of
//! them, and never panics.
//!
//! ```
//! use proptest::prelude::*;
//!
//! proptest!(hostile::cases(), |(bytes in hostile::damaged(&[b"{\"a\": 1}"]))| {
//!     let _ = std::str::from_utf8(&bytes).map(|text| text.parse::<f32>());
//! });
//! ```
//!
//! A short run is part of `cargo test`. A long one is
//!
//! ```console
//! $ PROPTEST_CASES=1000000 cargo test --release -p checkpoint hostile::
//! ```

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// How many inputs a test tries, if `PROPTEST_CASES` does not say.
const CASES: u32 = 2_000;

/// The configuration of a test that reads damaged inputs: as many as `PROPTEST_CASES`
/// says, and no file that remembers failures.
#[must_use]
pub fn cases() -> ProptestConfig {
    let told = std::env::var("PROPTEST_CASES").ok();
    let cases = told.and_then(|told| told.parse().ok()).unwrap_or(CASES);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// One of the good inputs, with one to six things done to it.
///
/// # Panics
/// When there is no good input.
pub fn damaged(good: &[&[u8]]) -> impl Strategy<Value = Vec<u8>> + use<> {
    let good: Vec<Vec<u8>> = good.iter().map(|bytes| bytes.to_vec()).collect();
    (select(good), vec(damage(), 1..7)).prop_map(|(mut bytes, damages)| {
        for damage in &damages {
            damage.apply(&mut bytes);
        }
        bytes
    })
}

/// What can stand where a number stood: too large, too small, of another type.
const VALUES: [&str; 20] = [
    "0",
    "-1",
    "1",
    "2",
    "0.5",
    "1e999",
    "-1e-999",
    "NaN",
    "Infinity",
    "-Infinity",
    "null",
    "true",
    "\"\"",
    "\"7\"",
    "[]",
    "[1]",
    "{}",
    "4294967296",
    "18446744073709551615",
    "18446744073709551616",
];

/// One thing that can happen to a file.
#[derive(Debug, Clone)]
enum Damage {
    Set(Index, u8),
    Flip(Index, u8),
    End(Index),
    Insert(Index, Vec<u8>),
    /// A piece is taken out.
    Remove(Index, Index),
    /// A piece is put in again elsewhere, so that keys come twice.
    Repeat(Index, Index, Index),
    /// A number becomes something else.
    Value(Index, &'static str),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<Index>;
    prop_oneof![
        1 => (at(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        1 => (at(), 0_u8..8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        1 => at().prop_map(Damage::End),
        1 => (at(), vec(any::<u8>(), 1..9)).prop_map(|(at, more)| Damage::Insert(at, more)),
        1 => (at(), at()).prop_map(|(from, to)| Damage::Remove(from, to)),
        1 => (at(), at(), at()).prop_map(|(from, to, at)| Damage::Repeat(from, to, at)),
        8 => (at(), select(&VALUES[..])).prop_map(|(at, value)| Damage::Value(at, value)),
    ]
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let length = bytes.len();
        if length == 0 {
            return;
        }
        let piece = |one: &Index, other: &Index| {
            let (one, other) = (one.index(length), other.index(length));
            one.min(other)..one.max(other)
        };
        match self {
            Damage::Set(at, byte) => bytes[at.index(length)] = *byte,
            Damage::Flip(at, bit) => bytes[at.index(length)] ^= 1 << bit,
            Damage::End(at) => bytes.truncate(at.index(length)),
            Damage::Insert(at, more) => {
                let at = at.index(length);
                bytes.splice(at..at, more.iter().copied());
            }
            Damage::Remove(from, to) => {
                bytes.drain(piece(from, to));
            }
            Damage::Repeat(from, to, at) => {
                let (piece, at) = (bytes[piece(from, to)].to_vec(), at.index(length));
                bytes.splice(at..at, piece);
            }
            Damage::Value(at, value) => {
                let numbers = numbers(bytes);
                if !numbers.is_empty() {
                    let number = numbers[at.index(numbers.len())].clone();
                    bytes.splice(number, value.bytes());
                }
            }
        }
    }
}

/// Where the numbers of a text stand.
fn numbers(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let is_part = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
    let mut found = Vec::new();
    let mut at = 0;
    for run in bytes.chunk_by(|a, b| is_part(a) == is_part(b)) {
        if run.iter().all(is_part) && run.iter().any(u8::is_ascii_digit) {
            found.push(at..at + run.len());
        }
        at += run.len();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_where_they_stand() {
        let text = b"{\"a1\": -2.5e3, \"b\": [7, 80]}";
        let found: Vec<&[u8]> = numbers(text).into_iter().map(|at| &text[at]).collect();
        assert_eq!(found, [&b"1"[..], b"-2.5e3", b"7", b"80"]);
    }

    #[test]
    fn most_inputs_are_other_than_the_good_one() {
        use proptest::strategy::ValueTree;
        use proptest::test_runner::TestRunner;
        let mut runner = TestRunner::deterministic();
        let good = &b"[0.25, 17]"[..];
        let drawn = damaged(&[good]);
        let other = (0..200)
            .filter(|_| drawn.new_tree(&mut runner).unwrap().current() != good)
            .count();
        assert!(other > 180, "{other} of 200");
    }
}
