//! The chapter's own model: its pieces and its logits against the tokenizers package and
//! Transformers, its 8 bits, and runs that read a text.

use assert_cmd::Command;
use learning::inside::{Asked, MOST, OPENING, SHOWN, inside};
use learning::training::{
    Model, Run, Settings, Shape, Sight, Text, kept, packed, restored, unpacked,
};
use learning::{PiecesError, tales};
use serde::Deserialize;
use std::fs;
use tempfile::TempDir;

#[derive(Deserialize)]
struct Reference {
    text: String,
    pieces: Vec<usize>,
    logits: Vec<f32>,
}

/// What `src/tales/reference.py` has written.
fn references() -> Vec<Reference> {
    serde_json::from_str(include_str!("../../src/tales/reference.json")).unwrap()
}

#[test]
fn pieces_are_those_of_the_tokenizers_package() {
    for Reference { text, pieces, .. } in references() {
        assert_eq!(tales::pieces().encode(&text).unwrap(), pieces, "{text}");
        assert_eq!(tales::pieces().decode(&pieces), text);
    }
}

#[test]
fn logits_are_those_of_transformers() {
    for Reference { text, pieces, logits } in references() {
        let found = tales::model().forward(&pieces).unwrap().logits;
        let last = found.row(found.nrows() - 1);
        let largest = logits.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        for (found, wanted) in last.iter().zip(&logits) {
            let off = (found - wanted).abs();
            assert!(off <= 2e-4 * largest, "{text}: {found}, wanted {wanted}");
        }
    }
}

#[test]
fn the_tales_are_cut_into_pieces_that_spell_them() {
    let text = tales::text().unwrap();
    let part: String = text.lines().step_by(97).collect::<Vec<_>>().join("\n");
    let pieces = tales::pieces().encode(&part).unwrap();
    assert_eq!(tales::pieces().decode(&pieces), part);
    assert!(pieces.len() * 3 < part.len(), "{} pieces", pieces.len());
    assert_eq!(tales::pieces().count(), tales::model().shape().vocabulary);
}

#[test]
fn a_character_that_the_tales_do_not_have_is_named() {
    let refused = tales::pieces().encode("a na\u{ef}ve king").unwrap_err();
    assert_eq!(refused, PiecesError::Unknown('\u{ef}'));
    assert!(tales::pieces().encode("").unwrap().is_empty());
}

#[test]
fn a_model_in_8_bits_is_what_it_was_to_half_a_step_of_each_row() {
    let shape = Shape::of_text(40, 16, 2, 4);
    let mut model = Model::new(shape, 7).unwrap();
    let mut again = unpacked(&packed(&mut model).unwrap()).unwrap();
    assert_eq!(again.shape(), model.shape());
    let before: Vec<_> = model.parameters().into_iter().collect();
    for (before, after) in before.iter().zip(again.parameters()) {
        assert_eq!((&before.name, before.shape), (&after.name, after.shape));
        let largest = before.numbers.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        for (before, after) in before.numbers.iter().zip(after.numbers.iter()) {
            assert!((before - *after).abs() <= 0.501 * largest / 127.0);
        }
    }
    // What is in 8 bits already stays to the last bit.
    let once = packed(&mut again).unwrap();
    assert_eq!(packed(&mut unpacked(&once).unwrap()).unwrap(), once);
    let parameters = model.parameters();
    parameters.into_iter().next().unwrap().numbers[3] = f32::NAN;
    assert!(packed(&mut model).unwrap_err().to_string().contains("embed_tokens"));
}

#[test]
fn what_is_no_packed_model_is_refused_in_words() {
    let mut run = reader(4);
    for (bytes, said) in [
        (b"tales".to_vec(), "not a safetensors file"),
        (kept(&mut run).unwrap(), "does not say what shape"),
    ] {
        let refused = format!("{:#}", unpacked(&bytes).unwrap_err());
        assert!(refused.contains(said), "{refused}");
    }
}

/// A small model that reads a short text.
fn reader(steps: usize) -> Run {
    let settings = Settings {
        task: None,
        size: 12,
        seed: 3,
        steps,
        batch: 6,
        rate: 1e-2,
        decay: 0.01,
        clip: 1.0,
    };
    let pieces = (0..900).map(|i| (i * i + i / 7) % 30).collect();
    let mut run = Run::new(settings, Shape::of_text(30, 16, 2, 4)).unwrap();
    run.text = Some(Text::new(pieces));
    run
}

#[test]
fn a_run_that_reads_learns_and_goes_on_after_a_cut_to_the_last_bit() {
    let (mut whole, mut cut) = (reader(20), reader(20));
    let before = whole.held_out_loss().unwrap().unwrap();
    for _ in 0..20 {
        whole.step().unwrap();
    }
    for _ in 0..9 {
        cut.step().unwrap();
    }
    let mut again = restored(&kept(&mut cut).unwrap()).unwrap();
    assert!(again.step().unwrap_err().to_string().contains("has not been given one"));
    again.text = cut.text;
    for _ in 0..11 {
        again.step().unwrap();
    }
    assert_eq!(again.model, whole.model);
    let after = whole.held_out_loss().unwrap().unwrap();
    assert!(after < before - 0.1, "{before}, {after}");
}

#[test]
fn every_sequence_is_followed_and_what_is_held_out_is_not_read() {
    let text = Text::new((0..1000).collect());
    assert_eq!(text.read().len(), 990);
    let batch = text.batch(16, 1, 5, 40);
    assert_eq!(batch, text.batch(16, 1, 5, 40));
    assert_ne!(batch, text.batch(16, 1, 6, 40));
    for example in batch.iter().chain(&text.held_out(4)) {
        for (piece, next) in example.tokens.iter().zip(&example.targets) {
            assert_eq!(*next, Some(piece + 1));
        }
    }
    let read = batch.iter().flat_map(|example| example.targets.iter().flatten());
    assert!(read.max() < Some(&990));
    let held_out = text.held_out(4);
    assert_eq!(held_out[0].tokens, [990, 991, 992, 993]);
    assert_eq!(held_out.iter().map(|example| example.tokens.len()).sum::<usize>(), 9);
    assert!(Text::new(vec![1]).held_out(4).is_empty());
}

#[test]
fn a_change_moves_probabilities_and_no_change_moves_none() {
    let asked = Asked::of("The king had a daughter, and the king");
    let plain = inside(&asked).unwrap();
    assert_eq!(plain.next, plain.as_trained);
    assert!((plain.next.iter().sum::<f32>() - 1.0).abs() < 1e-5);
    let moved = |asked: &Asked| {
        let found = inside(asked).unwrap();
        assert_eq!(found.as_trained, plain.next);
        let both = found.next.iter().zip(&plain.next);
        both.map(|(a, b)| (a - b).abs()).sum::<f32>()
    };
    let window = Sight::Window { window: 2, first: 0 };
    for changed in [
        Asked { off: Some((1, 2)), ..asked.clone() },
        Asked { kv_heads: 1, ..asked.clone() },
        Asked { sight: window, ..asked.clone() },
        Asked { sight: Sight::All, ..asked.clone() },
    ] {
        assert!(moved(&changed) > 1e-3, "{changed:?}");
    }
    let hot = inside(&Asked { temperature: 4.0, ..asked }).unwrap();
    let most = |shares: &[f32]| shares.iter().copied().fold(0.0, f32::max);
    assert!(most(&hot.next) < most(&plain.next));
}

/// A page draws the committed figure with another processor's last digits. It must not
/// become another picture: no shade of a map, no percentage, and no order hangs on them.
#[test]
fn the_committed_figure_hangs_on_no_last_digit() {
    let found = inside(&Asked::of(OPENING)).unwrap();
    // How far a value is from the next place at which it would be rounded the other way.
    let margin = |value: f32, steps: f32| ((value * steps).fract() - 0.5).abs() / steps;
    let mut next = found.next.clone();
    next.sort_by(|a, b| b.total_cmp(a));
    for pair in next[..9].windows(2) {
        assert!(pair[0] - pair[1] > 1e-5, "{pair:?}");
        // Three digits.
        assert!(margin(pair[0], 10_000.0) > 1e-6, "{pair:?}");
    }
    for (layer, heads) in found.weights.iter().enumerate() {
        for (head, weights) in heads.iter().enumerate() {
            let steps = if (layer, head) == SHOWN { 64.0 } else { 8.0 };
            let least = weights.iter().map(|weight| margin(*weight, steps));
            let least = least.fold(f32::INFINITY, f32::min);
            assert!(least > 2e-6, "layer {layer}, head {head}: {least}");
        }
    }
}

#[test]
fn a_head_that_is_off_writes_nothing() {
    let mut model = tales::model().clone();
    for layer in 0..4 {
        for head in 0..4 {
            model.switch_off(layer, head).unwrap();
        }
    }
    // Nothing looks at anything: what came before is not known.
    let pieces = tales::pieces();
    let next = |text: &str| {
        let logits = model.forward(&pieces.encode(text).unwrap()).unwrap().logits;
        logits.row(logits.nrows() - 1).into_owned()
    };
    assert!((next("A king") - next("The old woman saw the king")).amax() < 1e-4);
    let refused = model.switch_off(4, 0).unwrap_err().to_string();
    assert!(refused.contains("no head 0 in layer 4"), "{refused}");
}

#[test]
fn what_cannot_be_looked_at_is_refused_in_words() {
    let long = "king ".repeat(MOST);
    for (asked, said) in [
        (Asked::of(""), "nothing to read"),
        (Asked::of(&long), "64 are looked at"),
        (Asked::of("<script>"), "`<`"),
        (Asked { temperature: 0.0, ..Asked::of("a") }, "above 0"),
        (Asked { kv_heads: 3, ..Asked::of("a") }, "equal groups"),
        (Asked { off: Some((0, 9)), ..Asked::of("a") }, "no head 9"),
    ] {
        let refused = format!("{:#}", inside(&asked).unwrap_err());
        assert!(refused.contains(said), "{refused}");
    }
}

/// Exit code, standard output, standard error.
fn learning(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::cargo_bin("learning").unwrap();
    let output = command.args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn it_talks_and_says_the_same_for_the_same_seed() {
    let talk = |seed: &str| {
        let flags = ["talk", "The king", "--pieces", "12", "--seed", seed];
        let (code, stdout, stderr) = learning(&flags);
        assert_eq!((code, stderr.as_str()), (0, ""));
        stdout
    };
    let said = talk("1");
    assert!(said.starts_with("The king") && said.len() > 20, "{said}");
    assert_eq!(talk("1"), said);
    assert_ne!(talk("2"), said);
}

#[test]
fn a_text_is_read_kept_packed_and_talked_from() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (text, run, small) =
        (path("a.txt"), path("a.safetensors"), path("b.safetensors"));
    fs::write(&text, "The wolf ate the king. ".repeat(200)).unwrap();
    let flags = ["train", "text", "--text", &text, "--size", "8", "--width", "16"];
    let more = ["--layers", "1", "--steps", "4", "--batch", "4", "--every", "2"];
    let out = ["--out", &run];
    let (code, stdout, _) = learning(&[&flags[..], &more, &out].concat());
    assert_eq!(code, 0);
    assert!(stdout.contains("held out") && stdout.lines().count() == 4, "{stdout}");
    assert_eq!(learning(&["pack", "--input", &run, "--output", &small]).0, 0);
    let (whole, packed) = (fs::metadata(&run).unwrap(), fs::metadata(&small).unwrap());
    // 4 bytes for each number and for both means, against 1.
    assert!(packed.len() * 8 < whole.len());
    for model in [&run, &small] {
        let flags = ["talk", "--model", model, "--pieces", "3"];
        assert_eq!(learning(&flags).0, 0, "{model}");
    }
    let unknown = path("c.txt");
    fs::write(&unknown, "caf\u{e9}").unwrap();
    for (flags, said) in [
        (vec!["train", "recall", "--text", &text], "--text is for"),
        (vec!["train", "text", "--text", &unknown], "`\u{e9}` does not occur"),
        (vec!["talk", ""], "nothing to go on from"),
        (vec!["talk", "--model", &text], "holds no model"),
        (vec!["talk", "--temperature=-1"], "from 0 on"),
    ] {
        let (code, _, stderr) = learning(&flags);
        assert_ne!(code, 0, "{flags:?}");
        assert!(stderr.contains(said) && stderr.lines().count() == 1, "{stderr}");
    }
}
