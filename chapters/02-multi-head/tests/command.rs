//! The chapter through its binary, as a reader runs it.

use assert_cmd::Command;
use chapter_cli::Tensors;
use chapter_cli::testing::assert_close;
use safetensors::Dtype::{self, BOOL, F32, I64};
use safetensors::tensor::TensorView;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn multi_head(arguments: &[&str]) -> assert_cmd::assert::Assert {
    Command::cargo_bin("multi-head").unwrap().args(arguments).assert()
}

fn reference(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(format!("tests/reference/{name}.safetensors"))
}

#[test]
fn without_a_word_it_shows_the_example_and_the_real_heads() {
    let output = multi_head(&[]).success().get_output().clone();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.starts_with("W_Q\n"), "{printed}");
    assert!(printed.contains("head  [CLS]  previous  next  moved\n"), "{printed}");
}

#[test]
fn forward_reproduces_every_reference_file() {
    let folder = tempfile::tempdir().unwrap();
    let all = std::fs::read_dir(reference("self").parent().unwrap()).unwrap();
    let files = all.map(|entry| entry.unwrap().path());
    let mut seen = 0;
    for input in
        files.filter(|path| path.extension().is_some_and(|e| e == "safetensors"))
    {
        let name = input.file_stem().unwrap().to_str().unwrap().to_owned();
        let expected = Tensors::open(&input).unwrap();
        let output = folder.path().join(&name);
        let heads = expected.metadata().unwrap()["heads"].clone();
        let (input, out) = (input.to_str().unwrap(), output.to_str().unwrap());
        let mut arguments = vec!["forward", "--input", input, "--output", out];
        arguments.extend(["--heads", heads.as_str()]);
        if name.starts_with("causal") {
            arguments.push("--causal");
        }
        multi_head(&arguments).success();
        let written = Tensors::open(&output).unwrap();
        let y = expected.matrix("y").unwrap();
        assert_close(&name, &written.matrix("y").unwrap(), &y, 2e-5);
        let weights =
            |file: &Tensors| file.stack("attention_weights", "").unwrap().matrices;
        for (found, expected) in weights(&written).iter().zip(&weights(&expected)) {
            assert_close(&name, found, expected, 2e-5);
        }
        seen += 1;
    }
    assert_eq!(seen, 13);
}

#[test]
fn a_batch_is_a_loop_over_sequences() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = File::good();
    file.put("x", F32, &[3, 5, 8]);
    let output = folder.path().join("out");
    file.write(&folder.path().join("in"));
    let input = folder.path().join("in");
    let arguments = ["forward", "--input", input.to_str().unwrap(), "--heads", "2"];
    multi_head(&[&arguments[..], &["--output", output.to_str().unwrap()]].concat())
        .success();
    let written = Tensors::open(&output).unwrap();
    assert_eq!(written.shape("y").unwrap(), [3, 5, 8]);
    assert_eq!(written.shape("attention_weights").unwrap(), [3, 2, 5, 5]);
}

/// A file to be spoilt: names to dtypes and shapes. The numbers are all zero.
#[derive(Clone)]
struct File {
    tensors: BTreeMap<String, (Dtype, Vec<usize>)>,
}

impl File {
    /// Eight features, five tokens.
    fn good() -> File {
        let mut file = File { tensors: BTreeMap::new() };
        for proj in ["q_proj", "k_proj", "v_proj", "o_proj"] {
            file.put(&format!("{proj}.weight"), F32, &[8, 8]);
            file.put(&format!("{proj}.bias"), F32, &[8]);
        }
        file.put("x", F32, &[5, 8]);
        file
    }

    fn put(&mut self, name: &str, dtype: Dtype, shape: &[usize]) {
        self.tensors.insert(name.to_owned(), (dtype, shape.to_vec()));
    }

    fn bytes(&self) -> Vec<u8> {
        let zeros = vec![0_u8; 1 << 16];
        let views = self.tensors.iter().map(|(name, (dtype, shape))| {
            let length = shape.iter().product::<usize>() * dtype.bitsize() / 8;
            let view = TensorView::new(*dtype, shape.clone(), &zeros[..length]);
            (name, view.unwrap())
        });
        safetensors::serialize(views, None).unwrap()
    }

    fn write(&self, path: &Path) {
        std::fs::write(path, self.bytes()).unwrap();
    }
}

/// One way to spoil a file or a command line.
enum Spoil {
    Nothing,
    Without(&'static str),
    Put(&'static str, Dtype, &'static [usize]),
    Rename(&'static str, &'static str),
    Raw(fn(Vec<u8>) -> Vec<u8>),
}
use Spoil::{Nothing, Put, Raw, Rename, Without};

fn spoiled(spoils: &[Spoil]) -> Vec<u8> {
    let mut file = File::good();
    let mut raw: fn(Vec<u8>) -> Vec<u8> = |bytes| bytes;
    for spoil in spoils {
        match spoil {
            Nothing => {}
            Without(name) => drop(file.tensors.remove(*name)),
            Put(name, dtype, shape) => file.put(name, *dtype, shape),
            Rename(from, to) => {
                let tensor = file.tensors.remove(*from).unwrap();
                file.tensors.insert((*to).to_owned(), tensor);
            }
            Raw(change) => raw = *change,
        }
    }
    raw(file.bytes())
}

/// What is wrong, in flags and file. The answers stand in `refusals.txt`.
#[rustfmt::skip]
const BAD: &[(&[&str], &[Spoil])] = &[
    (&["--heads", "0"], &[Nothing]),
    (&["--heads", "3"], &[Nothing]),
    (&["--heads", "16"], &[Nothing]),
    (&["--heads", "18446744073709551615"], &[Nothing]),
    (&["--heads", "18446744073709551616"], &[Nothing]),
    (&["--heads", "-2"], &[Nothing]),
    (&["--heads", "two"], &[Nothing]),
    (&["--heads", "2.5"], &[Nothing]),
    (&["--heads", ""], &[Nothing]),
    (&["--heads"], &[Nothing]),
    (&[], &[Nothing]),
    (&["--heads", "2", "--heads", "2"], &[Nothing]),
    (&["--head", "2"], &[Nothing]),
    (&["--heads", "2", "--casual"], &[Nothing]),
    (&["--heads", "2", "--causal=yes"], &[Nothing]),
    (&["--heads", "2", "--kv-heads", "1"], &[Nothing]),
    (&["--heads", "2", "--prefix", "model."], &[Nothing]),
    (&["--heads", "2", "--repeat", "0"], &[Nothing]),
    (&["--heads", "2", "--causal"], &[Put("mask", BOOL, &[5, 5])]),
    (&["--heads", "2"], &[Without("q_proj.weight")]),
    (&["--heads", "2"], &[Without("k_proj.weight")]),
    (&["--heads", "2"], &[Without("v_proj.weight")]),
    (&["--heads", "2"], &[Without("o_proj.weight")]),
    (&["--heads", "2"], &[Without("x")]),
    (&["--heads", "2"], &[Rename("q_proj.weight", "q_porj.weight")]),
    (&["--heads", "2"], &[Rename("o_proj.weight", "out_proj.weight")]),
    (&["--heads", "2"], &[Rename("x", "X")]),
    (&["--heads", "2"], &[Rename("q_proj.weight", "layers.0.q_proj.weight")]),
    (&["--heads", "2"], &[Put("q_proj.weight", F32, &[64])]),
    (&["--heads", "2"], &[Put("k_proj.weight", F32, &[1, 8, 8])]),
    (&["--heads", "2"], &[Put("v_proj.weight", F32, &[])]),
    (&["--heads", "2"], &[Put("q_proj.bias", F32, &[1, 8])]),
    (&["--heads", "2"], &[Put("q_proj.bias", F32, &[7])]),
    (&["--heads", "2"], &[Put("o_proj.bias", F32, &[9])]),
    (&["--heads", "2"], &[Put("q_proj.weight", F32, &[6, 8])]),
    (&["--heads", "2"], &[Put("q_proj.weight", F32, &[6, 8]), Without("q_proj.bias")]),
    (&["--heads", "2"], &[Put("k_proj.weight", F32, &[4, 8]), Without("k_proj.bias")]),
    (&["--heads", "2"], &[Put("v_proj.weight", F32, &[8, 7])]),
    (&["--heads", "2"], &[Put("v_proj.weight", F32, &[6, 8]), Without("v_proj.bias")]),
    (&["--heads", "2"], &[Put("o_proj.weight", F32, &[8, 6])]),
    (&["--heads", "4"], &[Put("v_proj.weight", F32, &[6, 8]), Without("v_proj.bias"), Put("o_proj.weight", F32, &[8, 6])]),
    (&["--heads", "2"], &[Put("q_proj.weight", F32, &[8, 7])]),
    (&["--heads", "2"], &[Put("k_proj.weight", F32, &[8, 7]), Put("v_proj.weight", F32, &[8, 7])]),
    (&["--heads", "2"], &[Put("q_proj.weight", I64, &[8, 8])]),
    (&["--heads", "2"], &[Put("o_proj.weight", BOOL, &[8, 8])]),
    (&["--heads", "2"], &[Put("x", F32, &[8])]),
    (&["--heads", "2"], &[Put("x", F32, &[1, 1, 5, 8])]),
    (&["--heads", "2"], &[Put("x", F32, &[8, 5])]),
    (&["--heads", "2"], &[Put("x", F32, &[5, 0])]),
    (&["--heads", "2"], &[Put("x", I64, &[5, 8])]),
    (&["--heads", "2"], &[Put("context", F32, &[3, 7])]),
    (&["--heads", "2"], &[Put("context", F32, &[8])]),
    (&["--heads", "2"], &[Put("context", F32, &[2, 3, 8])]),
    (&["--heads", "2"], &[Put("x", F32, &[2, 5, 8]), Put("context", F32, &[3, 4, 8])]),
    (&["--heads", "2"], &[Put("mask", F32, &[5, 5])]),
    (&["--heads", "2"], &[Put("mask", BOOL, &[5, 4])]),
    (&["--heads", "2"], &[Put("mask", BOOL, &[25])]),
    (&["--heads", "2"], &[Put("mask", BOOL, &[2, 5, 5])]),
    (&["--heads", "2"], &[Put("context", F32, &[3, 8]), Put("mask", BOOL, &[5, 5])]),
    (&["--heads", "2"], &[Raw(|_| Vec::new())]),
    (&["--heads", "2"], &[Raw(|bytes| bytes[..bytes.len() - 1].to_vec())]),
    (&["--heads", "2"], &[Raw(|bytes| bytes[..40].to_vec())]),
    (&["--heads", "2"], &[Raw(|mut bytes| { bytes.push(0); bytes })]),
    (&["--heads", "2"], &[Raw(|_| b"q_proj.weight, but as text".to_vec())]),
];

#[test]
fn bad_input_gets_one_clear_line_and_no_output() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in"), folder.path().join("out"));
    let files =
        ["--input", input.to_str().unwrap(), "--output", output.to_str().unwrap()];
    let mut answers = String::new();
    for (flags, spoils) in BAD {
        std::fs::write(&input, spoiled(spoils)).unwrap();
        let run = multi_head(&[&["forward"], &files[..], flags].concat()).failure();
        let run = run.get_output();
        let stderr = String::from_utf8(run.stderr.clone()).unwrap();
        assert!(
            stderr.starts_with("error: ") && stderr.lines().count() == 1,
            "{stderr}"
        );
        assert!(run.stdout.is_empty() && !output.exists(), "{stderr}");
        let code = run.status.code().unwrap();
        assert!(code == 1 || code == 2, "{code}: {stderr}");
        let folder = folder.path().to_str().unwrap();
        answers += &format!("{code} {}", stderr.replace(folder, "DIR"));
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
