//! Every kind of rotation beside Transformers. `tests/reference/rotations.py` wrote the file.

use checkpoint::Config;
use nalgebra::DMatrix;
use rotary::Rotary;
use serde_json::Value;

/// Transformers computes frequencies in f32, and they are written with 8 digits.
const FREQUENCY: f32 = 2e-6;
/// What is turned at position 5, where an angle is off by five times as much.
const TURNED: f32 = 2e-5;

fn cases() -> Vec<Value> {
    let text = include_str!("../reference/rotations.json");
    serde_json::from_str(text).unwrap()
}

fn rotary(case: &Value) -> Rotary {
    let config = Config::parse(&case["config"].to_string()).unwrap();
    let rope = config.attention(0).unwrap().rope.unwrap();
    Rotary::of(&rope, case["head_dim"].as_u64().unwrap() as usize).unwrap()
}

fn numbers(value: &Value) -> Vec<f32> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn frequencies_are_those_of_transformers_for_texts_of_any_length() {
    let mut differ = 0;
    for case in cases() {
        let rotary = rotary(&case);
        for (tokens, theirs) in case["frequencies"].as_object().unwrap() {
            let theirs = numbers(theirs);
            let tokens: usize = tokens.parse().unwrap();
            let ours = rotary.frequencies_at(tokens);
            assert_eq!(ours.len(), theirs.len(), "{}", case["config"]);
            for (ours, theirs) in ours.iter().zip(&theirs) {
                let near = (ours - theirs).abs() <= FREQUENCY * theirs;
                assert!(near, "{ours} {theirs}, {tokens} of {}", case["config"]);
            }
            differ += usize::from(ours.as_ref() != rotary.frequencies());
            assert_eq!(rotary.clone().for_text(tokens).frequencies(), ours.as_ref());
        }
        let amplitude = case["amplitude"].as_f64().unwrap() as f32;
        assert!((rotary.amplitude() - amplitude).abs() <= 1e-6 * amplitude);
    }
    assert!(differ > 20, "texts are not long enough to tell: {differ}");
}

#[test]
fn heads_are_turned_as_those_of_transformers() {
    for case in cases().iter().filter(|case| case.get("q").is_some()) {
        let theirs = numbers(&case["q"]);
        let rotary = rotary(case);
        let longest = case["frequencies"].as_object().unwrap().keys();
        let longest = longest.filter_map(|tokens| tokens.parse().ok()).max().unwrap();
        let mut q = DMatrix::repeat(1, theirs.len(), 1.0);
        rotary.for_text(longest).angles(5..6).rotate(&mut q).unwrap();
        for (ours, theirs) in q.iter().zip(&theirs) {
            let near = (ours - theirs).abs() <= TURNED;
            assert!(near, "{ours} {theirs} of {}", case["config"]);
        }
    }
}
