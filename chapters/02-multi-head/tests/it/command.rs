//! The chapter through its binary, as a reader runs it.

use chapter_cli::testing::Dtype::{BOOL, I64};
use chapter_cli::testing::{Contract, File, Program, references, references_in};
use std::path::Path;

const MULTI_HEAD: Program = Program::new(env!("CARGO_BIN_EXE_multi-head"));
const FORWARD: &str = "forward --input layer --output out --heads 2";

/// Eight features, five tokens.
fn layer() -> File {
    ["q_proj", "k_proj", "v_proj", "o_proj"]
        .iter()
        .fold(File::new(), |file, proj| file.linear(proj, [8, 8]))
        .f32s("x", &[5, 8])
}

#[test]
fn what_every_chapter_promises_is_kept() {
    Contract::new(MULTI_HEAD, FORWARD, layer()).is_kept();
    let crossed = layer().f32s("context", &[3, 8]).with("mask", BOOL, &[5, 3]);
    Contract::new(MULTI_HEAD, FORWARD, crossed).is_kept();
}

#[test]
fn without_a_word_it_shows_the_example_and_the_real_heads() {
    let printed = MULTI_HEAD.example();
    assert!(printed.starts_with("W_Q\n"), "{printed}");
    assert!(printed.contains("head  [CLS]  previous  next  moved\n"), "{printed}");
}

#[test]
fn forward_reproduces_every_reference_file() {
    let all = references(env!("CARGO_MANIFEST_DIR"));
    assert_eq!(all.len(), 13);
    for reference in all {
        let causal = if reference.name.starts_with("causal") { "--causal" } else { "" };
        let flags = format!("--heads {} {causal}", reference.note("heads"));
        MULTI_HEAD.reproduces(&reference, &flags, 2e-5);
    }
}

#[test]
fn a_batch_has_weights_for_each_sequence_and_head() {
    let written = MULTI_HEAD.writes(layer().f32s("x", &[3, 5, 8]), FORWARD);
    assert_eq!(written.shape("y").unwrap(), [3, 5, 8]);
    assert_eq!(written.shape("attention_weights").unwrap(), [3, 2, 5, 5]);
}

/// The good file, spoilt.
type Spoil = fn(File) -> File;

/// What is wrong with the flags, and what with the file. The answers stand in
/// `refusals.txt`.
#[rustfmt::skip]
const BAD: &[(&str, Spoil)] = &[
    ("--heads 0", |file| file),
    ("--heads 3", |file| file),
    ("--heads 16", |file| file),
    ("--heads 18446744073709551615", |file| file),
    ("--heads 18446744073709551616", |file| file),
    ("--heads -2", |file| file),
    ("--heads two", |file| file),
    ("--heads 2.5", |file| file),
    ("--heads ''", |file| file),
    ("--heads", |file| file),
    ("", |file| file),
    ("--heads 2 --heads 2", |file| file),
    ("--head 2", |file| file),
    ("--heads 2 --casual", |file| file),
    ("--heads 2 --causal=yes", |file| file),
    ("--heads 2 --kv-heads 1", |file| file),
    ("--heads 2 --prefix model.", |file| file),
    ("--heads 2 --repeat 0", |file| file),
    ("--heads 2 --causal", |file| file.with("mask", BOOL, &[5, 5])),
    ("--heads 2", |file| file.without("q_proj.weight")),
    ("--heads 2", |file| file.without("k_proj.weight")),
    ("--heads 2", |file| file.without("v_proj.weight")),
    ("--heads 2", |file| file.without("o_proj.weight")),
    ("--heads 2", |file| file.without("x")),
    ("--heads 2", |file| file.renamed("q_proj.weight", "q_porj.weight")),
    ("--heads 2", |file| file.renamed("o_proj.weight", "dense.weight")),
    ("--heads 2", |file| file.renamed("x", "X")),
    ("--heads 2", |file| file.renamed("q_proj.weight", "layers.0.q_proj.weight")),
    ("--heads 2", |file| file.f32s("q_proj.weight", &[64])),
    ("--heads 2", |file| file.f32s("k_proj.weight", &[1, 8, 8])),
    ("--heads 2", |file| file.f32s("v_proj.weight", &[])),
    ("--heads 2", |file| file.f32s("q_proj.bias", &[1, 8])),
    ("--heads 2", |file| file.f32s("q_proj.bias", &[7])),
    ("--heads 2", |file| file.f32s("o_proj.bias", &[9])),
    ("--heads 2", |file| file.f32s("q_proj.weight", &[6, 8])),
    ("--heads 2", |file| file.f32s("q_proj.weight", &[6, 8]).without("q_proj.bias")),
    ("--heads 2", |file| file.f32s("k_proj.weight", &[4, 8]).without("k_proj.bias")),
    ("--heads 2", |file| file.f32s("v_proj.weight", &[8, 7])),
    ("--heads 2", |file| file.f32s("v_proj.weight", &[6, 8]).without("v_proj.bias")),
    ("--heads 2", |file| file.f32s("o_proj.weight", &[8, 6])),
    ("--heads 4", |file| {
        let narrow = file.f32s("v_proj.weight", &[6, 8]).without("v_proj.bias");
        narrow.f32s("o_proj.weight", &[8, 6])
    }),
    ("--heads 2", |file| file.f32s("q_proj.weight", &[8, 7])),
    ("--heads 2", |file| file.f32s("k_proj.weight", &[8, 7]).f32s("v_proj.weight", &[8, 7])),
    ("--heads 2", |file| file.with("q_proj.weight", I64, &[8, 8])),
    ("--heads 2", |file| file.with("o_proj.weight", BOOL, &[8, 8])),
    ("--heads 2", |file| file.f32s("x", &[8])),
    ("--heads 2", |file| file.f32s("x", &[1, 1, 5, 8])),
    ("--heads 2", |file| file.f32s("x", &[8, 5])),
    ("--heads 2", |file| file.f32s("x", &[5, 0])),
    ("--heads 2", |file| file.with("x", I64, &[5, 8])),
    ("--heads 2", |file| file.f32s("context", &[3, 7])),
    ("--heads 2", |file| file.f32s("context", &[8])),
    ("--heads 2", |file| file.f32s("context", &[2, 3, 8])),
    ("--heads 2", |file| file.f32s("x", &[2, 5, 8]).f32s("context", &[3, 4, 8])),
    ("--heads 2", |file| file.f32s("mask", &[5, 5])),
    ("--heads 2", |file| file.with("mask", BOOL, &[5, 4])),
    ("--heads 2", |file| file.with("mask", BOOL, &[25])),
    ("--heads 2", |file| file.with("mask", BOOL, &[2, 5, 5])),
    ("--heads 2", |file| file.f32s("context", &[3, 8]).with("mask", BOOL, &[5, 5])),
];

#[test]
fn what_is_said_to_bad_input_is_what_it_was() {
    let mut answers = String::new();
    for (flags, spoil) in BAD {
        let arguments = format!("forward --input layer --output out {flags}");
        let ran = MULTI_HEAD.run(spoil(layer()), &arguments);
        assert_eq!((ran.stdout.as_str(), ran.holds("out")), ("", None), "{ran:?}");
        answers += &format!("{} {}", ran.code, ran.stderr);
    }
    // To accept new answers, run this with REFUSALS=write and read the difference.
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/refusals.txt");
    if std::env::var_os("REFUSALS").is_some_and(|value| value == "write") {
        std::fs::write(&path, &answers).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    for ((found, expected), bad) in answers.lines().zip(expected.lines()).zip(BAD) {
        assert_eq!(found, expected, "{:?}", bad.0);
    }
    assert_eq!(answers, expected);
    assert_eq!(answers.lines().count(), BAD.len());
}

#[test]
fn names_and_masks_of_pytorch_and_transformers_mean_what_they_mean_there() {
    let all = references_in(env!("CARGO_MANIFEST_DIR"), "tests/masks");
    assert_eq!(all.len(), 14);
    for reference in all {
        MULTI_HEAD.reproduces(&reference, reference.note("flags"), 2e-5);
    }
}

#[test]
fn files_that_people_brought_are_answered_as_pytorch_answers_or_refused() {
    let all = references_in(env!("CARGO_MANIFEST_DIR"), "tests/cases");
    assert_eq!(all.len(), 3);
    for case in all {
        if case.name == "f2-attn_mask" {
            let says =
                "attn_mask: true attends in scaled_dot_product_attention, and hides";
            let forward = "forward --input layer --output out --heads 3";
            MULTI_HEAD.refuses(case.bytes, forward, says);
        } else {
            MULTI_HEAD.reproduces(&case, case.note("flags"), 2e-5);
        }
    }
}

#[test]
fn one_projection_under_two_names_is_refused() {
    let stacked = layer().without("q_proj.bias").without("k_proj.bias");
    let stacked = stacked.f32s("in_proj_bias", &[24]);
    let says = "v_proj.bias and in_proj_bias say the same thing";
    MULTI_HEAD.refuses(&stacked, FORWARD, says);
    let stacked = stacked.without("v_proj.bias").f32s("in_proj_bias", &[25]);
    let says =
        "in_proj_bias: shape [25], wanted [27], because queries, keys and values";
    MULTI_HEAD.refuses(&stacked, FORWARD, says);
    let says = "in_proj_bias: shape [27], wanted [24], because q_proj.weight is [8, 8]";
    MULTI_HEAD.refuses(stacked.f32s("in_proj_bias", &[27]), FORWARD, says);
}

#[test]
fn a_configuration_sets_the_flags() {
    let names = MULTI_HEAD.follows_configurations(env!("CARGO_MANIFEST_DIR"), 2e-5);
    assert_eq!(names, ["bert", "gpt2"]);
}

#[test]
fn layers_that_the_chapter_lacks_are_refused_by_key_and_value() {
    for (config, layer, says) in [
        (
            r#"{"model_type": "gpt2", "scale_attn_by_inverse_layer_idx": true}"#,
            2,
            "scores are q · k · 0.041667, as scale_attn_weights and \
             scale_attn_by_inverse_layer_idx in the file",
        ),
        (
            r#"{"model_type": "llama", "num_attention_heads": 4, "num_key_value_heads": 4}"#,
            0,
            "`rope_theta` is 10000: its queries and keys rotate; chapter 6 (rotary) \
             has such layers",
        ),
        (
            r#"{"model_type": "llama", "num_attention_heads": 4, "num_key_value_heads": 2}"#,
            0,
            "`num_key_value_heads` is 2: 4 heads share keys and values; chapter 6 \
             (rotary)",
        ),
    ] {
        MULTI_HEAD.refuses_layer(config, layer, says);
    }
}
