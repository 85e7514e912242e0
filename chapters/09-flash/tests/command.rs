//! The chapter through its binary, as a reader runs it.

use assert_cmd::Command;
use chapter_cli::Tensors;
use chapter_cli::testing::assert_close;
use safetensors::tensor::{Dtype, TensorView};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A tensor to be written.
#[derive(Clone)]
struct Tensor(String, Dtype, Vec<usize>, Vec<u8>);

fn f32s(name: &str, shape: &[usize]) -> Tensor {
    let count = shape.iter().product::<usize>();
    let bytes = (0..count).flat_map(|i| ((i % 7) as f32 - 3.0).to_le_bytes()).collect();
    Tensor(name.to_owned(), Dtype::F32, shape.to_vec(), bytes)
}

fn of(name: &str, dtype: Dtype, size: usize, shape: &[usize]) -> Tensor {
    let bytes = vec![1; shape.iter().product::<usize>() * size];
    Tensor(name.to_owned(), dtype, shape.to_vec(), bytes)
}

fn bytes_of(tensors: &[Tensor]) -> Vec<u8> {
    let views = tensors.iter().map(|Tensor(name, dtype, shape, bytes)| {
        (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

/// Four query heads of 6 on two key/value heads with values of 5; three queries, eight
/// keys.
fn call() -> Vec<Tensor> {
    vec![f32s("q", &[4, 3, 6]), f32s("k", &[2, 8, 6]), f32s("v", &[2, 8, 5])]
}

fn with(mut tensors: Vec<Tensor>, tensor: Tensor) -> Vec<Tensor> {
    tensors.retain(|Tensor(name, ..)| *name != tensor.0);
    tensors.push(tensor);
    tensors
}

fn without(mut tensors: Vec<Tensor>, name: &str) -> Vec<Tensor> {
    tensors.retain(|tensor| tensor.0 != name);
    tensors
}

/// Runs in a folder of its own with `in` as these bytes; `IN`, `OUT` and `DIR` stand for
/// paths. Gives exit code, stdout, stderr, and what `OUT` holds afterwards.
fn run(input: &[u8], arguments: &str) -> (i32, String, String, Option<Vec<u8>>) {
    let folder = TempDir::new().unwrap();
    let here = folder.path().to_str().unwrap();
    fs::write(folder.path().join("in"), input).unwrap();
    let arguments = arguments.split_whitespace().map(|argument| {
        argument
            .replace("DIR", here)
            .replace("IN", &format!("{here}/in"))
            .replace("OUT", &format!("{here}/out"))
    });
    let ran = Command::cargo_bin("flash").unwrap().args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap().replace(here, "DIR");
    let out = fs::read(folder.path().join("out")).ok();
    (ran.status.code().unwrap(), text(ran.stdout), text(ran.stderr), out)
}

const FORWARD: &str = "forward --input IN --output OUT";

/// One clear line, the exit code, and no file.
#[track_caller]
fn refused(input: &[u8], arguments: &str, code: i32, says: &str) {
    let (found, stdout, stderr, out) = run(input, arguments);
    assert_eq!(found, code, "{arguments}: {stdout}{stderr}");
    assert_eq!(stdout, "", "{arguments}");
    assert!(stderr.starts_with("error: ") && stderr.ends_with('\n'), "{stderr:?}");
    assert_eq!(stderr.lines().count(), 1, "{stderr:?}");
    assert!(stderr.contains(says), "{stderr:?} should say {says:?}");
    assert!(out.is_none(), "{arguments}: a file was written");
}

#[test]
fn without_a_word_it_shows_the_example() {
    let (code, stdout, stderr, _) = run(b"", "");
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.contains("merged"), "{stdout}");
}

#[test]
fn forward_reproduces_every_reference_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference");
    let all = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<PathBuf> = all
        .filter(|path| path.extension().is_some_and(|e| e == "safetensors"))
        .collect();
    assert_eq!(files.len(), 16);
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out");
    for path in files {
        let file = Tensors::open(&path).unwrap();
        let flags = &file.metadata().unwrap()["flags"];
        let mut command = Command::cargo_bin("flash").unwrap();
        command.arg("forward").arg("--input").arg(&path).arg("--output").arg(&out);
        command.args(flags.split_whitespace()).assert().success();
        let written = Tensors::open(&out).unwrap();
        let label = path.file_stem().unwrap().to_str().unwrap();
        assert_eq!(written.names(), ["y"], "{label}");
        assert_eq!(written.shape("y").unwrap(), file.shape("y").unwrap(), "{label}");
        let heads = |file: &Tensors| file.stack("y", "[h, n, d_v]").unwrap().matrices;
        for (found, expected) in heads(&written).iter().zip(heads(&file)) {
            assert_close(label, found, &expected, 1e-5);
        }
    }
}

#[test]
fn what_was_written_is_told_and_what_was_repeated_is_timed() {
    let input = bytes_of(&call());
    let (code, stdout, stderr, _) = run(&input, &format!("{FORWARD} --repeat 3"));
    assert_eq!((code, stderr.as_str()), (0, ""));
    let lines: Vec<&str> = stdout.lines().collect();
    assert!(lines[0].starts_with("forward: min ") && lines[0].ends_with("(3 runs)"));
    assert_eq!(lines[1..], ["wrote y [4, 3, 5] to DIR/out"]);
}

#[test]
fn nothing_to_ask_and_nothing_to_see_are_fine() {
    for (tensors, shape) in [
        (with(call(), f32s("q", &[4, 0, 6])), [4, 0, 5]),
        (with(with(call(), f32s("k", &[2, 0, 6])), f32s("v", &[2, 0, 6])), [4, 3, 6]),
    ] {
        for flags in ["", " --causal", " --causal --top-left"] {
            let (code, stdout, stderr, out) =
                run(&bytes_of(&tensors), &format!("{FORWARD}{flags}"));
            assert_eq!((code, stderr.as_str()), (0, ""), "{flags}: {stdout}");
            let says = format!("wrote y {shape:?} to DIR/out\n");
            assert_eq!(stdout, says);
            assert!(out.is_some());
        }
    }
}

#[test]
fn a_prefix_names_one_call_among_others() {
    let mut tensors = call();
    for tensor in &mut tensors {
        tensor.0 = format!("layers.3.{}", tensor.0);
    }
    let input = bytes_of(&tensors);
    let (code, ..) = run(&input, &format!("{FORWARD} --prefix layers.3."));
    assert_eq!(code, 0);
    refused(&input, FORWARD, 1, "did you mean --prefix layers.3.?");
}

#[test]
fn bad_tensors_get_one_clear_line() {
    let refused = |tensors: Vec<Tensor>, says: &str| {
        refused(&bytes_of(&tensors), FORWARD, 1, says);
    };
    for (name, shape) in [("q", "[h, n, d]"), ("k", "[g, m, d]"), ("v", "[g, m, d_v]")]
    {
        refused(without(call(), name), &format!("no tensor `{name}`"));
        refused(with(call(), f32s(name, &[6])), &format!("shape [6], wanted {shape}"));
        refused(with(call(), f32s(name, &[1, 2, 3, 6])), &format!("wanted {shape}"));
        refused(with(call(), f32s(name, &[3, 6])), "wanted [1, 3, 6], because it is [");
        refused(with(call(), of(name, Dtype::I64, 8, &[4, 3, 6])), "dtype I64");
        refused(with(call(), of(name, Dtype::BOOL, 1, &[4, 3, 6])), "dtype BOOL");
        let why = "because there is at least one head, of at least one feature";
        refused(with(call(), f32s(name, &[0, 3, 6])), &format!("[1, 3, 6], {why}"));
        refused(with(call(), f32s(name, &[2, 3, 0])), &format!("[2, 3, 1], {why}"));
    }
    refused(
        with(call(), f32s("q", &[3, 3, 6])),
        "q, k: 3 query heads cannot form 2 equal groups",
    );
    refused(
        with(call(), f32s("k", &[2, 8, 7])),
        "k: shape [2, 8, 7], wanted [2, 8, 6], because a key is as wide as a query",
    );
    let why = "because every key has one value";
    refused(
        with(call(), f32s("v", &[2, 9, 5])),
        &format!("v: shape [2, 9, 5], wanted [2, 8, 5], {why}"),
    );
    refused(
        with(call(), f32s("v", &[4, 8, 5])),
        &format!("v: shape [4, 8, 5], wanted [2, 8, 5], {why}"),
    );
    let hollow = with(call(), f32s("k", &[2, 0, 6]));
    refused(
        with(hollow, f32s("v", &[2, 0, 1 << 20])),
        "v: shape [2, 0, 1048576], wanted [2, 0, 6]",
    );
    let mask = |shape: &[usize]| with(call(), of("mask", Dtype::BOOL, 1, shape));
    let why = "wanted [3, 8], because q has n rows and k has m";
    refused(mask(&[3, 7]), &format!("mask: shape [3, 7], {why}"));
    refused(mask(&[8, 3]), &format!("mask: shape [8, 3], {why}"));
    refused(mask(&[4, 3, 8]), &format!("mask: shape [4, 3, 8], {why}"));
    refused(mask(&[24]), "wanted [n, m]");
    refused(with(call(), f32s("mask", &[3, 8])), "wanted BOOL");
    refused(vec![], "it holds no tensors");
}

#[test]
fn bad_flags_get_one_clear_line() {
    let file = bytes_of(&call());
    for (flags, says) in [
        ("--top-left", "missing --causal"),
        ("--heads 4", "unexpected argument '--heads'"),
        ("--casual", "did you mean '--causal'?"),
        ("--repeat 0", "--repeat"),
        ("--x IN", "unexpected argument '--x': flash reads no x"),
    ] {
        refused(&file, &format!("{FORWARD} {flags}"), 2, says);
    }
    let masked = with(call(), of("mask", Dtype::BOOL, 1, &[3, 8]));
    let says = "--causal and a mask in the file: give one";
    refused(&bytes_of(&masked), &format!("{FORWARD} --causal"), 1, says);
}

#[test]
fn bad_files_get_one_clear_line() {
    let whole = bytes_of(&call());
    for keep in [0, 1, 7, 8, 9, 100, whole.len() / 2, whole.len() - 1] {
        refused(&whole[..keep], FORWARD, 1, "cannot read DIR/in as safetensors");
    }
    let longer = [&whole[..], b"!"].concat();
    refused(&longer, FORWARD, 1, "cannot read DIR/in as safetensors");
    refused(&[0xff; 64], FORWARD, 1, "bytes of header");
    let from = |from: &str| FORWARD.replace("IN", from);
    refused(&whole, &from("DIR/nowhere"), 1, "cannot read DIR/nowhere");
    refused(&whole, &from("DIR"), 1, "it is a directory");
    let to = |to: &str| FORWARD.replace("OUT", to);
    refused(&whole, &to("DIR"), 1, "cannot write DIR: it is a directory");
    refused(&whole, &to("DIR/no/out"), 1, "there is no folder DIR/no");
}

#[test]
fn nan_is_computed_with_and_told() {
    let mut tensors = call();
    tensors[2].3[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    let (code, _, stderr, out) = run(&bytes_of(&tensors), FORWARD);
    assert_eq!((code, out.is_some()), (0, true));
    let told = "warning: v holds 1 NaN; every output that uses them is NaN\n";
    assert_eq!(stderr, told);
}

/// 300,000 queries and 2 keys: what sees nothing is not computed, nor masked by a matrix.
#[test]
fn many_queries_before_few_keys_are_blind() {
    let [q, k, v] =
        [("q", 300_000), ("k", 2), ("v", 2)].map(|(name, n)| f32s(name, &[1, n, 1]));
    let (code, stdout, ..) = run(&bytes_of(&[q, k, v]), &format!("{FORWARD} --causal"));
    assert_eq!((code, stdout.as_str()), (0, "wrote y [1, 300000, 1] to DIR/out\n"));
}
