//! The chapter through its binary, as a reader runs it.

use chapter_cli::RawTensor;
use chapter_cli::testing::{Contract, Dtype, File, Program, references};

const WINDOW: Program = Program::new(env!("CARGO_BIN_EXE_sliding-window"));
const FORWARD: &str =
    "forward --input layer --output out --heads 8 --kv-heads 4 --window 2";

/// Eight heads of 4 on four, values of 2, on six features, with biases, and three tokens.
fn layer() -> File {
    File::new()
        .linear("q_proj", [32, 6])
        .linear("k_proj", [16, 6])
        .linear("v_proj", [8, 6])
        .linear("o_proj", [6, 16])
        .f32s("x", &[3, 6])
}

#[test]
fn what_every_chapter_promises_is_kept() {
    Contract::new(WINDOW, FORWARD, layer()).is_kept();
}

#[test]
fn without_a_word_it_shows_the_example_and_the_ring() {
    let printed = WINDOW.example();
    assert!(printed.starts_with("scores, of the last three tokens\n"), "{printed}");
    assert!(printed.contains("token  written to"), "{printed}");
}

#[test]
fn forward_reproduces_every_reference_file() {
    let all = references(env!("CARGO_MANIFEST_DIR"));
    assert_eq!(all.len(), 8);
    for reference in all {
        let flags = reference.note("flags");
        WINDOW.reproduces(&reference, flags, 2e-4);
        for prompt in [0, 1, 7] {
            let cached = format!("{flags} --cache {prompt}");
            WINDOW.reproduces(&reference, &cached, 2e-4);
        }
    }
}

#[test]
fn a_cache_changes_nothing_and_a_wider_window_does() {
    let y = |flags: &str| {
        let ran = WINDOW.run(layer(), &format!("{FORWARD} {flags}"));
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
        ran.tensors("out").matrix("y").unwrap()
    };
    let plain = y("");
    for flags in ["--cache 0", "--cache 2", "--cache 9", "--no-weights"] {
        assert!((y(flags) - &plain).amax() < 1e-4, "{flags}");
    }
}

#[test]
fn windows_that_are_none_get_one_clear_line() {
    let flags = FORWARD.replace("--window 2", "--window 0");
    let says =
        "--window 0: a window of 0 tokens: a token sees itself, so it is 1 at least";
    WINDOW.refuses(layer(), &flags, says);
}

#[test]
fn a_mask_narrows_the_window_and_does_not_go_through_a_ring() {
    let masked = |bytes: [u8; 9]| {
        let (shape, bytes) = (vec![3, 3], bytes.to_vec().into());
        layer().with_raw("mask", RawTensor { dtype: Dtype::BOOL, shape, bytes })
    };
    let y = |file: File| {
        let ran = WINDOW.run(file, FORWARD);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
        ran.tensors("out").matrix("y").unwrap()
    };
    let plain = y(layer());
    assert_eq!(y(masked([1; 9])), plain);
    let narrow = y(masked([1, 1, 1, 0, 1, 1, 1, 1, 1]));
    assert_eq!(narrow.row(0), plain.row(0));
    assert_ne!(narrow.row(1), plain.row(1));
    let says = "--cache and a mask or padding in the file: the ring keeps every token";
    WINDOW.refuses(masked([1; 9]), &format!("{FORWARD} --cache 2"), says);
}

/// What `forward` writes agrees with the layer, through a ring or not. With a window of one
/// token less, it is what the slip gives that takes W for the keys before oneself.
#[test]
fn compare_agrees_with_forward_and_names_a_window_that_counts_otherwise() {
    let input: Vec<u8> = layer().into();
    let compared = |window: &str, more: &str| {
        let flags = FORWARD.replace("--window 2", window);
        let yours = WINDOW.run(input.clone(), &flags).holds("out").unwrap();
        let line = FORWARD.replace("forward", "compare").replace("--output out", "");
        let line = format!("{line} --yours yours --json {more}");
        let ran = WINDOW.run_beside(&[("layer", &input), ("yours", &yours)], &line);
        (ran.code, ran.stdout)
    };
    for more in ["", "--cache 1"] {
        let (code, printed) = compared("--window 2", more);
        assert!(code == 0 && printed.contains("\"agrees\":true"), "{printed}");
        let (code, printed) = compared("--window 1", more);
        assert!(code == 3 && printed.contains("window-one-less"), "{printed}");
    }
}
