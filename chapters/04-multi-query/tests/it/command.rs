//! The chapter through its binary, as a reader runs it: what it prints, what it makes of
//! the reference files, and what it says to inputs that it cannot use.

use chapter_cli::testing::{Contract, Dtype, File, Program, references};

const MULTI_QUERY: Program = Program::new(env!("CARGO_BIN_EXE_multi-query"));
const FORWARD: &str = "forward --input layer --output out --heads 2";

/// Two heads of 4 and values of 2, on tokens of 6; biases, context and mask.
fn layer() -> File {
    File::new()
        .linear("q_proj", [8, 6])
        .linear("k_proj", [4, 6])
        .linear("v_proj", [2, 6])
        .linear("o_proj", [5, 4])
        .f32s("x", &[3, 6])
        .f32s("context", &[4, 6])
        .with("mask", Dtype::BOOL, &[3, 4])
}

#[test]
fn what_every_chapter_promises_is_kept() {
    Contract::new(MULTI_QUERY, FORWARD, layer()).is_kept();
}

#[test]
fn without_a_word_it_shows_the_example() {
    let printed = MULTI_QUERY.example();
    assert!(printed.starts_with("W_Q, head 0\n"), "{printed}");
    assert!(printed.ends_with("  both   -0.97    0.05\n"), "{printed}");
}

#[test]
fn forward_reproduces_every_reference_file() {
    let all = references(env!("CARGO_MANIFEST_DIR"));
    assert_eq!(all.len(), 11);
    for reference in all {
        let causal = ["causal", "twelve_heads"].contains(&reference.name.as_str());
        let causal = if causal { "--causal" } else { "" };
        let flags = format!("--heads {} {causal}", reference.note("heads"));
        MULTI_QUERY.reproduces(&reference, &flags, 3e-5);
    }
}

#[test]
fn a_batch_has_weights_for_each_sequence_and_head() {
    let batch = layer().f32s("x", &[2, 3, 6]).without("mask");
    let written = MULTI_QUERY.writes(batch, FORWARD);
    assert_eq!(written.shape("y").unwrap(), [2, 3, 5]);
    assert_eq!(written.shape("attention_weights").unwrap(), [2, 2, 3, 4]);
}

#[test]
fn weights_that_do_not_fit_get_one_clear_line() {
    let refuses = |proj: &str, shape: [usize; 2], says: &str| {
        let file = layer().without_biases().f32s(&format!("{proj}.weight"), &shape);
        MULTI_QUERY.refuses(file, FORWARD, says);
    };
    let key = "one key serves every query head";
    let value = "keys and values read the same tokens";
    let output = "it reads one value width per head";
    for (proj, found, wanted, why) in [
        // A multi-head checkpoint: a key for each head.
        ("k_proj", [8, 6], [4, 6], key),
        ("k_proj", [2, 6], [4, 6], key),
        ("k_proj", [6, 4], [4, 4], key),
        ("k_proj", [0, 6], [4, 6], key),
        ("v_proj", [2, 5], [2, 6], value),
        ("v_proj", [6, 2], [6, 6], value),
        ("o_proj", [5, 2], [5, 4], output),
        ("o_proj", [4, 5], [4, 4], output),
        ("o_proj", [5, 8], [5, 4], output),
        ("o_proj", [5, 0], [5, 4], output),
    ] {
        let says =
            format!("{proj}.weight: shape {found:?}, wanted {wanted:?}, because {why}");
        refuses(proj, found, &says);
    }
    refuses("v_proj", [4, 6], "o_proj.weight: shape [5, 4], wanted [5, 8]");
    refuses("q_proj", [7, 6], "width 7 cannot be split among 2 heads");
    refuses("q_proj", [6, 8], "k_proj.weight: shape [4, 6], wanted [3, 6]");
    refuses("q_proj", [8, 5], "x: expected (3, 5), found (3, 6)");
}

#[test]
fn sequences_that_do_not_fit_together_get_one_clear_line() {
    let floats: [(&str, &[usize], &str); 7] = [
        ("x", &[6, 3], "mask: shape [3, 4], wanted [6, 4]"),
        ("x", &[4, 6], "mask: shape [3, 4], wanted [4, 4]"),
        ("x", &[3, 0], "because a token has at least one feature"),
        ("context", &[24], "context: shape [24], wanted [m, d] or [b, m, d]"),
        ("context", &[1, 1, 4, 6], "context: shape [1, 1, 4, 6], wanted [m, d]"),
        ("context", &[2, 4, 6], "wanted [4, 6], because x is one sequence"),
        ("context", &[3, 6], "mask: shape [3, 4], wanted [3, 3]"),
    ];
    for (name, shape, says) in floats {
        MULTI_QUERY.refuses(layer().f32s(name, shape), FORWARD, says);
    }
    let masks: [(&[usize], &str); 3] = [
        (&[4, 3], "mask: shape [4, 3], wanted [3, 4]"),
        (&[12], "mask: shape [12], wanted [n, m] or [b, n, m]"),
        (&[2, 3, 4], "wanted [3, 4], because x is one sequence"),
    ];
    for (shape, says) in masks {
        let file = layer().with("mask", Dtype::BOOL, shape);
        MULTI_QUERY.refuses(file, FORWARD, says);
    }
}

#[test]
fn bad_flags_get_one_clear_line() {
    for (heads, says) in [
        (0, "cannot be split among 0 heads"),
        (1, "k_proj.weight: shape [4, 6], wanted [8, 6]"),
        (3, "width 8 cannot be split among 3 heads"),
        (4, "k_proj.weight: shape [4, 6], wanted [2, 6]"),
        (8, "k_proj.weight: shape [4, 6], wanted [1, 6]"),
        (16, "width 8 cannot be split among 16 heads"),
    ] {
        let flags = FORWARD.replace("--heads 2", &format!("--heads {heads}"));
        MULTI_QUERY.refuses(layer(), &flags, says);
    }
    let says = "--causal and a mask in the file: give one";
    MULTI_QUERY.refuses(layer(), &format!("{FORWARD} --causal"), says);
    MULTI_QUERY.refuses_flags(&format!("{FORWARD} --kv-heads 1"), "'--kv-heads'");
    MULTI_QUERY
        .refuses_flags(&format!("{FORWARD} --causal --causal"), "multiple times");
}

#[test]
fn a_configuration_sets_the_flags() {
    let names = MULTI_QUERY.follows_configurations(env!("CARGO_MANIFEST_DIR"), 2e-5);
    assert_eq!(names, ["smollm3"]);
}

#[test]
fn layers_that_the_chapter_lacks_are_refused_by_key_and_value() {
    for (config, layer, says) in [
        (
            r#"{"model_type": "llama", "num_attention_heads": 4, "num_key_value_heads": 2}"#,
            0,
            "`num_key_value_heads` is 2: there is more than one key per token; \
             chapter 6 (rotary)",
        ),
        (
            r#"{"model_type": "llama", "num_attention_heads": 4, "num_key_value_heads": 1}"#,
            0,
            "`rope_theta` is 10000: its queries and keys rotate; chapter 6 (rotary) \
             has such layers",
        ),
    ] {
        MULTI_QUERY.refuses_layer(config, layer, says);
    }
}
