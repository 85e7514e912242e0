//! The chapter through its binary, as a reader runs it.

use assert_cmd::Command;
use chapter_cli::Tensors;
use chapter_cli::testing::assert_close;
use std::path::{Path, PathBuf};

fn attention(arguments: &[&str]) -> assert_cmd::assert::Assert {
    Command::cargo_bin("attention").unwrap().args(arguments).assert()
}

fn reference(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(format!("tests/reference/{name}.safetensors"))
}

#[track_caller]
fn said(output: Vec<u8>) -> String {
    String::from_utf8(output).unwrap()
}

#[test]
fn without_a_word_it_shows_the_example_and_the_real_head() {
    let output = attention(&[]).success().get_output().clone();
    let printed = said(output.stdout);
    assert!(printed.starts_with("W_Q\n"));
    assert!(printed.contains("\n  it       ░░  · ██  ·"), "the map shades it → animal");
    assert!(printed.ends_with("it → animal 0.65\n"));
}

#[test]
fn forward_reproduces_every_reference_file() {
    let folder = tempfile::tempdir().unwrap();
    let names =
        ["self", "biased", "one_token", "wide_head", "cross", "masked", "causal"];
    for name in names {
        let output = folder.path().join(name);
        let (input, output) = (reference(name), output.to_str().unwrap());
        let mut arguments =
            vec!["forward", "--input", input.to_str().unwrap(), "--output", output];
        if name == "causal" {
            arguments.push("--causal");
        }
        attention(&arguments).success();
        let written = Tensors::open(Path::new(output)).unwrap();
        let expected = Tensors::open(&input).unwrap().matrix("y").unwrap();
        assert_close(name, &written.matrix("y").unwrap(), &expected, 2e-5);
    }
}

#[test]
fn a_mask_and_causal_are_not_combined() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.safetensors");
    let input = reference("masked");
    let arguments =
        ["--input", input.to_str().unwrap(), "--output", output.to_str().unwrap()];
    let refused = attention(&[&["forward", "--causal"][..], &arguments].concat());
    let stderr = said(refused.code(1).get_output().stderr.clone());
    assert_eq!(stderr, "error: --causal and a mask in the file: give one\n");
    assert!(!output.exists());
}

#[test]
fn layers_that_do_not_fit_are_told_in_the_shapes_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("layer.safetensors");
    let zeros = vec![0_u8; 4 * 16 * 16];
    let tensors = [("q_proj", 8), ("k_proj", 7), ("v_proj", 5)].map(|(name, d_out)| {
        let bytes = &zeros[..4 * d_out * 16];
        let dtype = safetensors::Dtype::F32;
        let view = safetensors::tensor::TensorView::new(dtype, vec![d_out, 16], bytes);
        (format!("{name}.weight"), view.unwrap())
    });
    safetensors::serialize_to_file(tensors, None, &input).unwrap();
    let output = folder.path().join("out.safetensors");
    let (input, out) = (input.to_str().unwrap(), output.to_str().unwrap());
    let refused = attention(&["forward", "--input", input, "--output", out]).code(1);
    assert_eq!(
        said(refused.get_output().stderr.clone()),
        "error: k_proj.weight: shape [7, 16], wanted [8, 16], because queries and keys \
         meet in a dot product\n",
    );
}
