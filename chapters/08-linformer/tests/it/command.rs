//! The chapter through its binary, as a reader runs it: what it prints, what it makes of
//! the reference files, and what it says to inputs that it cannot use.

use crate::reference::tolerance;
use chapter_cli::testing::{Contract, Dtype, File, Program, references};

const LINFORMER: Program = Program::new(env!("CARGO_BIN_EXE_linformer"));
const FORWARD: &str = "forward --input layer --output out --heads 2";

/// Two heads of 3 on tokens of 6, a context of tokens of 7, four rows of at most 8
/// tokens.
fn layer() -> File {
    File::new()
        .f32s("to_q.weight", &[6, 6])
        .f32s("to_k.weight", &[6, 7])
        .f32s("to_v.weight", &[6, 7])
        .linear("to_out", [5, 6])
        .f32s("proj_k", &[8, 4])
        .f32s("proj_v", &[8, 4])
        .f32s("x", &[3, 6])
        .f32s("context", &[5, 7])
}

/// The same without a context.
fn self_attention() -> File {
    let file = layer().without("context");
    file.f32s("to_k.weight", &[6, 6]).f32s("to_v.weight", &[6, 6])
}

#[test]
fn what_every_chapter_promises_is_kept() {
    Contract::new(LINFORMER, FORWARD, layer()).is_kept();
    Contract::new(LINFORMER, FORWARD, self_attention()).is_kept();
}

#[test]
fn without_a_word_it_shows_the_example() {
    let printed = LINFORMER.example();
    assert!(printed.starts_with("x\n  sun        1       0\n"), "{printed}");
    assert!(printed.contains("share of the r largest singular values\n"), "{printed}");
}

#[test]
fn forward_reproduces_every_reference_file() {
    // One has singular values, and one a projection for each head.
    let other = ["spectrum", "paper_none"];
    let mut all = references(env!("CARGO_MANIFEST_DIR"));
    all.retain(|reference| !other.contains(&reference.name.as_str()));
    assert_eq!(all.len(), 18);
    for reference in all {
        let shared = reference.name == "paper_key_value";
        let shared = if shared { "--share-projection" } else { "" };
        let flags = format!("--heads {} {shared}", reference.note("heads"));
        LINFORMER.reproduces(&reference, &flags, tolerance(&reference.name));
    }
}

#[test]
fn an_empty_batch_has_k_columns_too() {
    for (shape, y, weights) in [
        (&[0, 3, 6][..], &[0, 3, 5][..], &[0, 2, 3, 4][..]),
        (&[2, 0, 6], &[2, 0, 5], &[2, 2, 0, 4]),
        (&[0, 6], &[0, 5], &[2, 0, 4]),
    ] {
        let written = LINFORMER.writes(self_attention().f32s("x", shape), FORWARD);
        assert_eq!(written.shape("y").unwrap(), y);
        assert_eq!(written.shape("attention_weights").unwrap(), weights);
    }
}

#[test]
fn values_and_their_projection_may_be_those_of_the_keys() {
    let shared = layer().without("to_v.weight").without("proj_v");
    let projection = layer().without("proj_v");
    for (file, flags) in [
        (shared.clone(), ""),
        (shared, "--share-projection"),
        (projection.clone(), "--share-projection"),
    ] {
        let written = LINFORMER.writes(file, &format!("{FORWARD} {flags}"));
        assert_eq!(written.shape("y").unwrap(), [3, 5]);
    }
    let says = "; --share-projection would condense the values with proj_k";
    LINFORMER.refuses(projection, FORWARD, says);
    let shares = format!("{FORWARD} --share-projection");
    LINFORMER.refuses(layer(), &shares, "and proj_v in the file");
}

#[test]
fn tensors_that_do_not_fit_get_one_clear_line() {
    let key = "a key is as wide as the query of a head";
    let value = "a value is as wide as a key";
    let output = "it reads what all heads found";
    let step = "what is condensed stays in step";
    let left = "something has to be left of the sequence";
    for (name, found, told, wanted, why) in [
        ("to_k.weight", [12, 7], "[12, 7]", [6, 7], key),
        ("to_k.weight", [2, 7], "[2, 7]", [6, 7], key),
        ("to_k.weight", [0, 7], "[0, 7]", [6, 7], key),
        ("to_k.weight", [7, 6], "[7, 6]", [6, 6], key),
        // One key for all heads, and a value for each.
        ("to_v.weight", [3, 7], "[3, 7]", [6, 7], value),
        ("to_v.weight", [6, 6], "[6, 6]", [6, 7], value),
        ("to_v.weight", [7, 6], "[7, 6]", [6, 7], value),
        ("to_out.weight", [5, 3], "[5, 3]", [5, 6], output),
        ("to_out.weight", [5, 0], "[5, 0]", [5, 6], output),
        ("proj_v", [8, 3], "[8, 3]", [8, 4], step),
        ("proj_v", [7, 4], "[7, 4]", [8, 4], step),
        ("proj_v", [4, 8], "[4, 8]", [8, 4], step),
        ("proj_k", [8, 0], "[8, 0]", [8, 1], left),
        ("proj_v", [8, 0], "[8, 0]", [8, 1], left),
    ] {
        let says = format!("{name}: shape {told}, wanted {wanted:?}, because {why}");
        LINFORMER.refuses(layer().f32s(name, &found), FORWARD, &says);
    }
    // A proj_k that is at odds with proj_v is told of the second.
    let says = format!("proj_v: shape [8, 4], wanted [4, 8], because {step}");
    LINFORMER.refuses(layer().f32s("proj_k", &[4, 8]), FORWARD, &says);
    for (rows, says) in [
        (7, "--heads 2: to_q: width 7 cannot be split among 2 heads"),
        (0, "--heads 2: to_q: width 0 cannot be split among 2 heads"),
        (12, "to_out.weight: shape [5, 6], wanted [5, 12]"),
    ] {
        LINFORMER.refuses(layer().f32s("to_q.weight", &[rows, 6]), FORWARD, says);
    }
}

#[test]
fn sequences_that_do_not_fit_get_one_clear_line() {
    let masked = |shape: &[usize]| layer().with("mask", Dtype::BOOL, shape);
    for (file, says) in [
        (
            layer().without("context"),
            "x: expected (3, 7), found (3, 6): to_k and to_v read that many, and the \
             file \
             has no context",
        ),
        (masked(&[3, 5]), "mask: after proj_k there is no"),
        (masked(&[3, 4]), "mask: shape [3, 4], wanted [3, 5]"),
        (layer().f32s("x", &[3, 0]), "x: shape [3, 0], wanted"),
        (
            layer().f32s("context", &[9, 7]),
            "context: 9 tokens, but the layer was made for",
        ),
        (
            layer().f32s("context", &[2, 4, 7]),
            "context: shape [2, 4, 7], wanted [4, 7]",
        ),
    ] {
        LINFORMER.refuses(file, FORWARD, says);
    }
    for shape in [&[9, 6][..], &[2, 9, 6], &[500, 6]] {
        let n = shape[shape.len() - 2];
        let says = format!("x: {n} tokens, but the layer was made for at most 8");
        LINFORMER.refuses(self_attention().f32s("x", shape), FORWARD, &says);
    }
}

#[test]
fn bad_flags_get_one_clear_line() {
    for (heads, says) in [
        ("0", "cannot be split among 0 heads"),
        ("4", "width 6 cannot be split among 4 heads"),
        ("18446744073709551615", "cannot be split among"),
    ] {
        let flags = FORWARD.replace("--heads 2", &format!("--heads {heads}"));
        LINFORMER.refuses(layer(), &flags, says);
    }
    for flag in ["--causal", "--kv-heads"] {
        LINFORMER.refuses_flags(&format!("{FORWARD} {flag}"), &format!("'{flag}'"));
    }
}

#[test]
fn no_configuration_describes_such_a_layer() {
    let says = "`model_type` is llama: its layers do not condense keys along the sequence; \
                chapter 6 (rotary) has such layers";
    LINFORMER.refuses_layer(r#"{"model_type": "llama"}"#, 0, says);
}
