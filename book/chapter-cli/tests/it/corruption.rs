//! Files that were good once: any bytes changed, cut off or put in.

use crate::common::{Folder, bools, layer_and, zeros};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// One thing that can happen to a file.
#[derive(Debug, Clone)]
enum Damage {
    Set(Index, u8),
    Flip(Index, u8),
    Cut(Index),
    Insert(Index, Vec<u8>),
    /// A digit of the header becomes another, so that shapes and offsets lie.
    Digit(Index, u8),
}

fn damage() -> impl Strategy<Value = Damage> {
    let place = any::<Index>;
    prop_oneof![
        1 => (place(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        2 => (place(), 0_u8..8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        1 => place().prop_map(Damage::Cut),
        1 => (place(), vec(any::<u8>(), 1..9))
            .prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        4 => (place(), b'0'..=b'9').prop_map(|(at, digit)| Damage::Digit(at, digit)),
    ]
}

fn apply(damage: &Damage, bytes: &mut Vec<u8>) {
    let length = bytes.len();
    if length == 0 {
        return;
    }
    match damage {
        Damage::Set(at, byte) => bytes[at.index(length)] = *byte,
        Damage::Flip(at, bit) => bytes[at.index(length)] ^= 1 << bit,
        Damage::Cut(at) => bytes.truncate(at.index(length)),
        Damage::Insert(at, more) => {
            let at = at.index(length);
            bytes.splice(at..at, more.iter().copied());
        }
        Damage::Digit(at, digit) => {
            let digits: Vec<_> =
                (0..bytes.len()).filter(|&i| bytes[i].is_ascii_digit()).collect();
            if !digits.is_empty() {
                bytes[digits[at.index(digits.len())]] = *digit;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_damaged_file_gives_an_output_or_one_line(damages in vec(damage(), 1..5)) {
        let x = zeros("x", &[2, 4, 3]);
        let context = zeros("context", &[2, 5, 3]);
        let mask = bools("mask", &[2, 4, 5], &[1; 40]);
        let mut bytes = layer_and([x, context, mask]);
        for damage in &damages {
            apply(damage, &mut bytes);
        }

        let folder = Folder::new().with("in", bytes);
        let ran = folder.forward("");
        prop_assert_eq!(folder.path("out").exists(), ran.code == 0);
        if ran.code != 0 {
            prop_assert_eq!(ran.code, 1);
            let line = ran.stderr.strip_suffix('\n').unwrap();
            prop_assert!(line.starts_with("error: "), "{}", line);
            prop_assert!(!line.chars().any(char::is_control), "{:?}", line);
        }
    }
}
