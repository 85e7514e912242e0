//! The chapter through its binary, as a reader runs it.

use chapter_cli::RawTensor;
use chapter_cli::testing::{
    Contract, Dtype, File, Program, assert_close, references, references_in,
};

const FLASH: Program = Program::new(env!("CARGO_BIN_EXE_flash"));
const FORWARD: &str = "forward --input layer --output out";

/// Four query heads of 6 on two key/value heads with values of 5; three queries, eight
/// keys.
fn call() -> File {
    File::new().f32s("q", &[4, 3, 6]).f32s("k", &[2, 8, 6]).f32s("v", &[2, 8, 5])
}

fn masked(shape: &[usize]) -> File {
    call().with("mask", Dtype::BOOL, shape)
}

#[test]
fn what_every_chapter_promises_is_kept() {
    Contract::new(FLASH, FORWARD, masked(&[3, 8])).is_kept();
}

#[test]
fn without_a_word_it_shows_the_example() {
    let printed = FLASH.example();
    assert!(printed.contains("merged"), "{printed}");
}

#[test]
fn forward_reproduces_every_reference_file() {
    let all = references(env!("CARGO_MANIFEST_DIR"));
    assert_eq!(all.len(), 16);
    for reference in all {
        FLASH.reproduces(&reference, reference.note("flags"), 1e-5);
    }
}

#[test]
fn what_was_written_is_told_and_is_y_alone() {
    let ran = FLASH.run(call(), &format!("{FORWARD} --repeat 3"));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert!(lines[0].starts_with("forward: min ") && lines[0].ends_with("(3 runs)"));
    assert_eq!(lines[1..], ["wrote y [4, 3, 5] to out"]);
    assert_eq!(ran.tensors("out").names(), ["y"]);
}

#[test]
fn nothing_to_ask_and_nothing_to_see_are_fine() {
    for (file, shape) in [
        (call().f32s("q", &[4, 0, 6]), [4, 0, 5]),
        (call().f32s("k", &[2, 0, 6]).f32s("v", &[2, 0, 6]), [4, 3, 6]),
    ] {
        for flags in ["", " --causal", " --causal --top-left"] {
            let written = FLASH.writes(&file, &format!("{FORWARD}{flags}"));
            assert_eq!(written.shape("y").unwrap(), shape, "{flags}");
        }
    }
}

#[test]
fn bad_tensors_get_one_clear_line() {
    for (name, shape) in [("q", "[h, n, d]"), ("k", "[g, m, d]"), ("v", "[g, m, d_v]")]
    {
        let why = "because there is at least one head, of at least one feature";
        for (found, says) in [
            (&[6][..], format!("shape [6], wanted {shape}")),
            (&[1, 2, 3, 6], format!("wanted {shape}")),
            (&[3, 6], "wanted [1, 3, 6], because it is [".to_owned()),
            (&[0, 3, 6], format!("[1, 3, 6], {why}")),
            (&[2, 3, 0], format!("[2, 3, 1], {why}")),
        ] {
            FLASH.refuses(call().f32s(name, found), FORWARD, &says);
        }
    }
    let width = "because a key is as wide as a query";
    let count = "because every key has one value";
    let hollow = call().f32s("k", &[2, 0, 6]).f32s("v", &[2, 0, 1 << 20]);
    for (file, says) in [
        (
            call().f32s("q", &[3, 3, 6]),
            "q, k: 3 query heads cannot form 2 equal groups".to_owned(),
        ),
        (
            call().f32s("k", &[2, 8, 7]),
            format!("k: shape [2, 8, 7], wanted [2, 8, 6], {width}"),
        ),
        (
            call().f32s("v", &[2, 9, 5]),
            format!("v: shape [2, 9, 5], wanted [2, 8, 5], {count}"),
        ),
        (
            call().f32s("v", &[4, 8, 5]),
            format!("v: shape [4, 8, 5], wanted [2, 8, 5], {count}"),
        ),
        (hollow, "v: shape [2, 0, 1048576], wanted [2, 0, 6]".to_owned()),
    ] {
        FLASH.refuses(file, FORWARD, &says);
    }
    for shape in [&[3, 7][..], &[8, 3], &[4, 3, 8]] {
        let why = "because q has n rows and k has m";
        let says = format!("mask: shape {shape:?}, wanted [3, 8], {why}");
        FLASH.refuses(masked(shape), FORWARD, &says);
    }
    FLASH.refuses(masked(&[24]), FORWARD, "wanted [n, m]");
}

#[test]
fn bad_flags_get_one_clear_line() {
    for (flags, says) in [
        ("--top-left", "missing --causal"),
        ("--heads 4", "unexpected argument '--heads'"),
        ("--casual", "did you mean '--causal'?"),
        ("--x layer", "unexpected argument '--x': flash reads no x"),
    ] {
        FLASH.refuses_flags(&format!("{FORWARD} {flags}"), says);
    }
}

/// With a mask that lets query i see the keys up to i + `ahead`.
fn stairs(ahead: usize) -> File {
    let sees = |i: usize| u8::from(i % 8 <= i / 8 + ahead);
    let bytes: Vec<u8> = (0..24).map(sees).collect();
    let shape = vec![3, 8];
    call()
        .with_raw("mask", RawTensor { dtype: Dtype::BOOL, shape, bytes: bytes.into() })
}

#[test]
fn a_mask_goes_with_causal_where_it_hides_what_causal_hides() {
    let says =
        "--causal, and the mask in the file lets queries see later keys: give one";
    for (flags, ahead) in [("--causal", 5), ("--causal --top-left", 0)] {
        let command = format!("{FORWARD} {flags}");
        let [causal, both] = [call(), stairs(ahead)].map(|file| {
            FLASH.writes(&file, &command).stack("y", "[h, n, d_v]").unwrap()
        });
        for (both, causal) in both.matrices.iter().zip(&causal.matrices) {
            assert_close(flags, both, causal, 1e-6);
        }
        FLASH.refuses(stairs(ahead + 1), &command, says);
    }
}

/// 300,000 queries and 2 keys: what sees nothing is not computed, nor masked by a matrix.
#[test]
fn many_queries_before_few_keys_are_blind() {
    let file = [("q", 300_000), ("k", 2), ("v", 2)];
    let file =
        (file.iter()).fold(File::new(), |f, (name, n)| f.f32s(name, &[1, *n, 1]));
    let ran = FLASH.run(file, &format!("{FORWARD} --causal"));
    let wrote = "wrote y [1, 300000, 1] to out\n";
    assert_eq!((ran.code, ran.stdout.as_str()), (0, wrote), "{ran:?}");
}

#[test]
fn the_attn_mask_of_pytorchs_function_means_what_it_means_there() {
    let all = references_in(env!("CARGO_MANIFEST_DIR"), "tests/masks");
    assert_eq!(all.len(), 2);
    for reference in all {
        FLASH.reproduces(&reference, reference.note("flags"), 1e-5);
    }
    let both = masked(&[3, 8]).with("attn_mask", Dtype::BOOL, &[3, 8]);
    FLASH.refuses(both, FORWARD, "mask and attn_mask in the file: give one");
}

/// 4 MB of queries and as much of values would make 4 TB of output.
#[test]
fn an_output_that_no_memory_holds_is_refused_before_it_is_made() {
    let file = File::new().f32s("q", &[1000, 1000, 1]).f32s("k", &[1, 1, 1]);
    let file = file.f32s("v", &[1, 1, 1_000_000]);
    let says = "error: y [1000, 1000, 1000000] and what it is made from take 8.0 TB";
    FLASH.refuses(file, FORWARD, says);
}

#[test]
fn a_configuration_sets_the_flags() {
    let names = FLASH.follows_configurations(env!("CARGO_MANIFEST_DIR"), 2e-5);
    assert_eq!(names, ["llama", "qwen3"]);
}

#[test]
fn layers_that_the_chapter_lacks_are_refused_by_key_and_value() {
    for (config, layer, says) in [
        (
            r#"{"model_type": "gemma2"}"#,
            1,
            "`attn_logit_softcapping` is 50: its scores are bounded by a tanh; chapter 11 (decoder-layer) has such layers",
        ),
        (
            r#"{"model_type": "granite"}"#,
            0,
            "its scores are q · k · 1.000000, as attention_multiplier in the file",
        ),
        (
            r#"{"model_type": "gpt_oss"}"#,
            0,
            "`model_type` is gpt_oss: its heads have learned sinks",
        ),
    ] {
        FLASH.refuses_layer(config, layer, says);
    }
}
