//! The chapter through its binary, as a reader runs it.

use chapter_cli::RawTensor;
use chapter_cli::testing::{Contract, Dtype, File, Program, references};
use nalgebra::DMatrix;

const DECODING: Program = Program::new(env!("CARGO_BIN_EXE_decoding"));
const FORWARD: &str = "forward --input layer --output out --heads 4";

/// Five tokens of width 8, 4 heads of 2.
fn layer() -> File {
    ["q_proj", "k_proj", "v_proj", "o_proj"]
        .iter()
        .fold(File::new(), |file, proj| file.linear(proj, [8, 8]))
        .f32s("x", &[5, 8])
}

#[test]
fn what_every_chapter_promises_is_kept() {
    Contract::new(DECODING, FORWARD, layer()).is_kept();
}

#[test]
fn without_a_word_it_shows_the_cache_growing() {
    assert_eq!(DECODING.example(), decoding::example::three_tokens().unwrap());
}

#[test]
fn help_says_what_a_prompt_may_be() {
    let printed = DECODING.run([], "forward --help").stdout;
    for said in ["--heads <H>", "--prefill <P>", "o_proj.weight", "one by one"] {
        assert!(printed.contains(said), "{said}");
    }
}

#[test]
fn forward_gives_the_causal_pass_for_every_prompt() {
    let shapes = [
        ("batch_2_heads", 2, 7),
        ("five_tokens_3_heads", 3, 5),
        ("long_2_heads", 2, 48),
        ("one_token_2_heads", 2, 1),
        ("twelve_tokens_4_heads", 4, 12),
        ("two_tokens_1_head", 1, 2),
    ];
    let all = references(env!("CARGO_MANIFEST_DIR"));
    assert_eq!(all.len(), shapes.len());
    for (reference, (name, heads, tokens)) in all.iter().zip(shapes) {
        assert_eq!(reference.name, name);
        for prompt in 0..=tokens {
            let flags = format!("--heads {heads} --prefill {prompt}");
            DECODING.reproduces(reference, &flags, 2e-5);
        }
    }
}

#[test]
fn the_future_has_no_weight_whatever_the_prompt() {
    for prompt in 0..=5 {
        let written =
            DECODING.writes(layer(), &format!("{FORWARD} --prefill {prompt}"));
        let weights = written.stack("attention_weights", "[h, n, n]").unwrap();
        for head in weights.matrices {
            for (token, row) in head.row_iter().enumerate() {
                assert_eq!(
                    row.columns_range(token + 1..).amax(),
                    0.0,
                    "{prompt}: {head}"
                );
            }
        }
    }
}

#[test]
fn an_empty_sequence_has_no_weights() {
    let written = DECODING.writes(layer().f32s("x", &[0, 8]), FORWARD);
    assert_eq!(written.shape("y").unwrap(), [0, 8]);
    assert_eq!(written.shape("attention_weights").unwrap(), [4, 0, 0]);
}

#[test]
fn bad_flags_get_one_clear_line() {
    let with = |flags: &str| format!("{FORWARD} {flags}");
    for heads in [3, 5, 6, 7, 9, 16, 1_000_000, 0] {
        let flags = FORWARD.replace("--heads 4", &format!("--heads {heads}"));
        let says = format!("--heads {heads}: q_proj: width 8 cannot be split");
        DECODING.refuses(layer(), &flags, &says);
    }
    for prompt in ["6", "7", "48", "1000000000000"] {
        let says = format!("--prefill {prompt}: x has no more than 5 tokens");
        DECODING.refuses(layer(), &with(&format!("--prefill {prompt}")), &says);
    }
    let batch = layer().f32s("x", &[2, 3, 8]);
    let says = "--prefill 4: x has no more than 3 tokens";
    DECODING.refuses(batch, &with("--prefill 4"), says);
    for (flags, says) in [
        ("--prefill -1", "-1"),
        ("--prefill all", "for '--prefill"),
        ("--prefill ''", "for '--prefill"),
        ("--prefill 0.5", "for '--prefill"),
        ("--prefill 99999999999999999999", "for '--prefill"),
        ("--prefill", "a value is required for '--prefill"),
        ("--prefill 1 --prefill 1", "cannot be used multiple times"),
        ("--prefil 1", "did you mean '--prefill'?"),
        ("--causal", "'--causal'"),
        ("--kv-heads", "'--kv-heads'"),
    ] {
        DECODING.refuses_flags(&with(flags), says);
    }
}

#[test]
fn bad_tensors_get_one_clear_line() {
    for (proj, shape, says) in [
        ("q_proj", [8, 7], "x: expected (5, 7), found (5, 8)"),
        ("k_proj", [8, 7], "v_proj.weight: shape [8, 8], wanted [8, 7]"),
        ("v_proj", [8, 7], "v_proj.weight: shape [8, 7], wanted [8, 8]"),
        ("o_proj", [8, 7], "o_proj.weight: shape [8, 7], wanted [8, 8]"),
        ("q_proj", [7, 8], "k_proj.weight: shape [8, 8], wanted [7, 8]"),
        ("k_proj", [7, 8], "k_proj.weight: shape [7, 8], wanted [8, 8]"),
        ("k_proj", [4, 8], "k_proj.weight: shape [4, 8], wanted [8, 8]"),
        ("v_proj", [7, 8], "o_proj.weight: shape [8, 8], wanted [8, 7]"),
    ] {
        let file = layer().without_biases().f32s(&format!("{proj}.weight"), &shape);
        DECODING.refuses(file, FORWARD, says);
    }
    for shape in [[5, 8], [3, 8]] {
        let file = layer().f32s("context", &shape);
        DECODING.refuses(file, FORWARD, "the file holds a context");
    }
    for prompt in [0, 2, 5] {
        let file = layer().with("mask", Dtype::BOOL, &[5, 5]);
        let flags = format!("{FORWARD} --prefill {prompt}");
        DECODING.refuses(file, &flags, "the file holds a mask");
    }
    let mask = layer().with("mask", Dtype::BOOL, &[5, 4]);
    DECODING.refuses(mask, FORWARD, "mask: shape [5, 4]");
}

#[test]
fn nan_in_a_token_stays_in_its_future() {
    let x =
        DMatrix::from_fn(5, 8, |i, j| if (i, j) == (3, 0) { f32::NAN } else { 0.5 });
    let x = RawTensor::of(Dtype::F32, vec![5, 8], x.transpose().as_slice()).unwrap();
    let ran = DECODING.run(layer().with_raw("x", x), FORWARD);
    assert!(ran.stderr.starts_with("warning: x holds 1 NaN"), "{ran:?}");
    let y = ran.tensors("out").matrix("y").unwrap();
    for (i, row) in y.row_iter().enumerate() {
        assert_eq!(row.iter().all(|number| number.is_nan()), i >= 3, "token {i}");
    }
}

#[test]
fn a_configuration_sets_the_flags() {
    let names = DECODING.follows_configurations(env!("CARGO_MANIFEST_DIR"), 2e-5);
    assert_eq!(names, ["gpt2"]);
}

#[test]
fn layers_that_the_chapter_lacks_are_refused_by_key_and_value() {
    for (config, layer, says) in [
        (
            r#"{"model_type": "bert"}"#,
            0,
            "`model_type` is bert: its tokens see those that follow, too; chapter 2 \
             (multi-head)",
        ),
        (
            r#"{"model_type": "llama", "num_attention_heads": 4, "num_key_value_heads": 4}"#,
            0,
            "`rope_theta` is 10000: its queries and keys rotate; chapter 6 (rotary) \
             has such layers",
        ),
    ] {
        DECODING.refuses_layer(config, layer, says);
    }
}
