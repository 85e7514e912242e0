//! The chapter through its binary, as a reader runs it.

use chapter_cli::testing::{Contract, Dtype, File, Program, references};
use std::path::Path;

const ATTENTION: Program = Program::new(env!("CARGO_BIN_EXE_attention"));
const FORWARD: &str = "forward --input layer --output out";

/// Queries and keys of 4 and values of 5; three tokens of 6 look at four of 7.
fn layer() -> File {
    File::new()
        .linear("q_proj", [4, 6])
        .linear("k_proj", [4, 7])
        .linear("v_proj", [5, 7])
        .f32s("x", &[3, 6])
        .f32s("context", &[4, 7])
        .with("mask", Dtype::BOOL, &[3, 4])
}

#[test]
fn what_every_chapter_promises_is_kept() {
    Contract::new(ATTENTION, FORWARD, layer()).is_kept();
}

#[test]
fn without_a_word_it_shows_the_example_and_the_real_head() {
    let printed = ATTENTION.example();
    assert!(printed.starts_with("W_Q\n"));
    assert!(printed.contains("\n  it       ░░  · ██  ·"), "the map shades it → animal");
    assert!(printed.ends_with("it → animal 0.65\n"));
}

#[test]
fn forward_reproduces_every_reference_file() {
    let all = references(env!("CARGO_MANIFEST_DIR"));
    assert_eq!(all.len(), 8);
    for reference in all {
        let flags = if reference.name == "causal" { "--causal" } else { "" };
        ATTENTION.reproduces(&reference, flags, 2e-5);
    }
}

#[test]
fn a_mask_and_causal_are_not_combined() {
    let says = "error: --causal and a mask in the file: give one\n";
    ATTENTION.refuses(layer(), &format!("{FORWARD} --causal"), says);
}

#[test]
fn layers_that_do_not_fit_are_told_in_the_shapes_of_the_file() {
    let bare = |name: &str, shape: &[usize]| {
        layer().without_biases().f32s(&format!("{name}.weight"), shape)
    };
    let meet = "because queries and keys meet in a dot product";
    for (file, says) in [
        (
            bare("k_proj", &[7, 7]),
            format!("error: k_proj.weight: shape [7, 7], wanted [4, 7], {meet}\n"),
        ),
        (
            bare("q_proj", &[8, 6]),
            format!("error: k_proj.weight: shape [4, 7], wanted [8, 7], {meet}\n"),
        ),
    ] {
        ATTENTION.refuses(file, FORWARD, &says);
    }
}

#[test]
fn a_file_that_is_not_the_file_is_told_what_it_is() {
    let read = |name: &str| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
        std::fs::read(folder.join(name)).unwrap()
    };
    let lfs = "it is a Git LFS pointer of a few lines, in the place of the file: fetch";
    ATTENTION.refuses(read("s1-lfs.safetensors"), FORWARD, lfs);
    let html = "it is an HTML page, as a server sends it when a download needs a login";
    ATTENTION.refuses(read("s6-html.safetensors"), FORWARD, html);
}

/// Weights of a million tokens are a million times as many numbers.
#[test]
fn weights_that_no_memory_holds_are_refused_before_they_are_made() {
    let file = ["q_proj.weight", "k_proj.weight", "v_proj.weight"]
        .iter()
        .fold(File::new(), |file, name| file.f32s(name, &[1, 1]))
        .f32s("x", &[1_000_000, 1]);
    let says =
        "error: the attention weights [1, 1000000, 1000000] take 4.0 TB, all in all";
    ATTENTION.refuses(&file, FORWARD, says);
    ATTENTION.refuses(&file, FORWARD, "--no-weights leaves them out, and flash");
}

#[test]
fn an_output_projection_belongs_to_the_next_chapter() {
    let file = layer().linear("o_proj", [6, 5]);
    let says = "o_proj.bias: the output projection, which chapter 2 (multi-head) has";
    ATTENTION.refuses(file, FORWARD, says);
}

#[test]
fn a_configuration_sets_the_flags() {
    let names = ATTENTION.follows_configurations(env!("CARGO_MANIFEST_DIR"), 2e-5);
    assert_eq!(names, ["bert"]);
}

#[test]
fn layers_that_the_chapter_lacks_are_refused_by_key_and_value() {
    for (config, layer, says) in [
        (
            r#"{"model_type": "bert"}"#,
            0,
            "config.json, layer 0: `num_attention_heads` is 12: there is more than \
             one head; chapter 2 (multi-head) has such layers",
        ),
        (
            r#"{"model_type": "deepseek_v3"}"#,
            0,
            "`kv_lora_rank` is 512: heads share a latent",
        ),
    ] {
        ATTENTION.refuses_layer(config, layer, says);
    }
}
