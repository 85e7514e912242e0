//! The chapter through its binary, as a reader runs it: what it prints, what it makes of
//! the reference files, and what it says to a hundred inputs that it cannot use.

use assert_cmd::Command;
use chapter_cli::Tensors;
use chapter_cli::testing::assert_close;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use std::fs;
use std::path::{Path, PathBuf};

fn multi_query(arguments: &[&str]) -> assert_cmd::assert::Assert {
    Command::cargo_bin("multi-query").unwrap().args(arguments).assert()
}

fn reference(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(format!("tests/reference/{name}.safetensors"))
}

#[track_caller]
fn said(output: &[u8]) -> String {
    String::from_utf8(output.to_vec()).unwrap()
}

#[test]
fn without_a_word_it_shows_the_example() {
    let printed = said(&multi_query(&[]).success().get_output().stdout);
    assert!(printed.starts_with("W_Q, head 0\n"), "{printed}");
    assert!(printed.ends_with("  both   -0.97    0.05\n"), "{printed}");
}

#[test]
fn forward_reproduces_every_reference_file() {
    let folder = tempfile::tempdir().unwrap();
    let names = [
        "self",
        "biased",
        "one_token",
        "one_head",
        "narrow_values",
        "cross",
        "cross_one_key",
        "long_context",
        "masked",
        "causal",
        "twelve_heads",
    ];
    for name in names {
        let output = folder.path().join(name);
        let (input, output) = (reference(name), output.to_str().unwrap());
        let expected = Tensors::open(&input).unwrap();
        let heads = &expected.metadata().unwrap()["heads"];
        let input = input.to_str().unwrap();
        let files = ["--input", input, "--output", output, "--heads", heads];
        let causal = ["causal", "twelve_heads"].contains(&name);
        let causal = if causal { &["--causal"][..] } else { &[] };
        multi_query(&[&["forward"], &files[..], causal].concat()).success();
        let written = Tensors::open(Path::new(output)).unwrap();
        let y = expected.matrix("y").unwrap();
        assert_close(name, &written.matrix("y").unwrap(), &y, 3e-5);
        let weights = "attention_weights";
        assert_eq!(written.shape(weights).unwrap(), expected.shape(weights).unwrap());
    }
}

#[test]
fn a_batch_is_each_sequence_on_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let [input, output] = ["in", "out"].map(|name| folder.path().join(name));
    let mut file = File::good();
    file.set("x", Dtype::F32, &[2, 3, 6]);
    file.remove("mask");
    file.write(&input);
    let (input, out) = (input.to_str().unwrap(), output.to_str().unwrap());
    multi_query(&["forward", "--input", input, "--output", out, "--heads", "2"])
        .success();
    let written = Tensors::open(&output).unwrap();
    assert_eq!(written.shape("y").unwrap(), [2, 3, 5]);
    assert_eq!(written.shape("attention_weights").unwrap(), [2, 2, 3, 4]);
}

/// The tensors of a file: names, element types, shapes. All numbers are 0, or false.
#[derive(Clone)]
struct File(Vec<(String, Dtype, Vec<usize>)>);

impl File {
    /// Two heads of 4 and values of 2, on tokens of 6; biases, context and mask.
    fn good() -> File {
        let mut file = File(Vec::new());
        let weights = [
            ("q_proj", [8, 6]),
            ("k_proj", [4, 6]),
            ("v_proj", [2, 6]),
            ("o_proj", [5, 4]),
        ];
        for (name, shape) in weights {
            file.set(&format!("{name}.weight"), Dtype::F32, &shape);
            file.set(&format!("{name}.bias"), Dtype::F32, &shape[..1]);
        }
        file.set("x", Dtype::F32, &[3, 6]);
        file.set("context", Dtype::F32, &[4, 6]);
        file.set("mask", Dtype::BOOL, &[3, 4]);
        file
    }

    fn remove(&mut self, name: &str) {
        self.0.retain(|tensor| tensor.0 != name);
    }

    fn set(&mut self, name: &str, dtype: Dtype, shape: &[usize]) {
        self.remove(name);
        self.0.push((name.to_owned(), dtype, shape.to_vec()));
    }

    fn with(name: &str, dtype: Dtype, shape: &[usize]) -> Input {
        let mut file = File::good();
        file.set(name, dtype, shape);
        Input::File(file)
    }

    fn without(name: &str) -> Input {
        let mut file = File::good();
        file.remove(name);
        Input::File(file)
    }

    fn renamed(from: &str, to: &str) -> Input {
        let mut file = File::good();
        let tensor = file.0.iter_mut().find(|tensor| tensor.0 == from).unwrap();
        to.clone_into(&mut tensor.0);
        Input::File(file)
    }

    fn write(&self, path: &Path) {
        let zeros = vec![0_u8; 1 << 14];
        let views = self.0.iter().map(|(name, dtype, shape)| {
            let bytes = shape.iter().product::<usize>() * dtype.bitsize() / 8;
            let view = TensorView::new(*dtype, shape.clone(), &zeros[..bytes]).unwrap();
            (name.clone(), view)
        });
        safetensors::serialize_to_file(views, None, path).unwrap();
    }
}

enum Input {
    File(File),
    Bytes(Vec<u8>),
    Nothing,
    Folder,
}

/// An input, the flags after `forward --input IN --output OUT`, and what the error says.
struct Bad {
    input: Input,
    flags: &'static [&'static str],
    says: String,
    code: i32,
}

const TWO: &[&str] = &["--heads", "2"];

fn bad(input: Input, says: &str) -> Bad {
    Bad { input, flags: TWO, says: says.to_owned(), code: 1 }
}

fn flags(flags: &'static [&'static str], code: i32, says: &str) -> Bad {
    Bad { input: Input::File(File::good()), flags, says: says.to_owned(), code }
}

fn weights() -> Vec<Bad> {
    let mut all = Vec::new();
    let shapes = [
        ("q_proj", [8, 6]),
        ("k_proj", [4, 6]),
        ("v_proj", [2, 6]),
        ("o_proj", [5, 4]),
    ];
    for (proj, [d_out, d_in]) in shapes {
        let name = format!("{proj}.weight");
        let with = |dtype, shape: &[usize]| File::with(&name, dtype, shape);
        let shape_of = |shape: &[usize]| format!("{name}: shape {shape:?}, wanted");
        all.push(bad(File::without(&name), &format!("no tensor `{name}`")));
        for other in [format!("{proj}.weights"), format!("attn.{proj}.weight")] {
            let renamed = File::renamed(&name, &other);
            all.push(bad(renamed, &format!("no tensor `{name}`")));
        }
        for shape in [vec![d_out * d_in], vec![1, d_out, d_in], vec![]] {
            all.push(bad(with(Dtype::F32, &shape), &shape_of(&shape)));
        }
        for dtype in [Dtype::F64, Dtype::I64, Dtype::U8, Dtype::BOOL] {
            let says = format!("{name}: dtype {dtype}, wanted");
            all.push(bad(with(dtype, &[d_out, d_in]), &says));
        }
        let bias = format!("{proj}.bias");
        for shape in [vec![d_out + 1], vec![0], vec![1, d_out]] {
            let says = format!("{bias}: shape {shape:?}, wanted");
            all.push(bad(File::with(&bias, Dtype::F32, &shape), &says));
        }
        let says = format!("{bias}: dtype I32, wanted");
        all.push(bad(File::with(&bias, Dtype::I32, &[d_out]), &says));
    }
    all
}

/// Without biases, so that the first thing that does not fit is the weight.
fn misfits() -> Vec<Bad> {
    let with = |name: &str, shape: &[usize]| {
        let mut file = File::good();
        for proj in ["q_proj", "k_proj", "v_proj", "o_proj"] {
            file.remove(&format!("{proj}.bias"));
        }
        file.set(name, Dtype::F32, shape);
        Input::File(file)
    };
    let key = "one key serves every query head";
    let value = "keys and values read the same tokens";
    let output = "it reads one value width a head";
    let cases: [(&str, [usize; 2], [usize; 2], &str); 10] = [
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
    ];
    let mut all: Vec<Bad> = cases
        .iter()
        .map(|(proj, found, wanted, why)| {
            let name = format!("{proj}.weight");
            let says =
                format!("{name}: shape {found:?}, wanted {wanted:?}, because {why}");
            bad(with(&name, found), &says)
        })
        .collect();
    all.push(bad(
        with("v_proj.weight", &[4, 6]),
        "o_proj.weight: shape [5, 4], wanted [5, 8]",
    ));
    all.push(bad(
        with("q_proj.weight", &[7, 6]),
        "width 7 cannot be split among 2 heads",
    ));
    all.push(bad(
        with("q_proj.weight", &[6, 8]),
        "k_proj.weight: shape [4, 6], wanted [3, 6]",
    ));
    all.push(bad(with("q_proj.weight", &[8, 5]), "x: expected (3, 5), found (3, 6)"));
    all
}

fn sequences() -> Vec<Bad> {
    let mut all = vec![bad(File::without("x"), "no tensor `x`")];
    let shaped: [(&str, &[usize], &str); 15] = [
        ("x", &[18], "x: shape [18], wanted [n, d] or [b, n, d]"),
        ("x", &[1, 1, 3, 6], "x: shape [1, 1, 3, 6], wanted [n, d] or [b, n, d]"),
        ("x", &[3, 5], "x: expected (3, 6), found (3, 5)"),
        ("x", &[6, 3], "mask: shape [3, 4], wanted [6, 4]"),
        ("x", &[3, 0], "x: shape [3, 0], wanted"),
        ("x", &[4, 6], "mask: shape [3, 4], wanted [4, 4]"),
        ("context", &[24], "context: shape [24], wanted"),
        ("context", &[1, 1, 4, 6], "context: shape [1, 1, 4, 6], wanted"),
        ("context", &[4, 5], "context: expected (4, 6), found (4, 5)"),
        ("context", &[4, 0], "context: shape [4, 0], wanted"),
        ("context", &[2, 4, 6], "context: shape [2, 4, 6], wanted [4, 6]"),
        ("context", &[3, 6], "mask: shape [3, 4], wanted [3, 3]"),
        ("mask", &[4, 3], "mask: shape [4, 3], wanted [3, 4]"),
        ("mask", &[12], "mask: shape [12], wanted [n, m] or [b, n, m]"),
        ("mask", &[2, 3, 4], "mask: shape [2, 3, 4], wanted [3, 4]"),
    ];
    for (name, shape, says) in shaped {
        let dtype = if name == "mask" { Dtype::BOOL } else { Dtype::F32 };
        all.push(bad(File::with(name, dtype, shape), says));
    }
    for (name, dtype) in [
        ("x", Dtype::F64),
        ("x", Dtype::I32),
        ("context", Dtype::BOOL),
        ("mask", Dtype::F32),
        ("mask", Dtype::U8),
    ] {
        let shape: &[usize] = if name == "x" { &[3, 6] } else { &[4, 6] };
        let says = format!("{name}: dtype {dtype}, wanted");
        all.push(bad(File::with(name, dtype, shape), &says));
    }
    all
}

fn arguments() -> Vec<Bad> {
    vec![
        flags(&[], 2, "missing --heads <H>"),
        flags(&["--heads"], 2, "a value is required for '--heads <H>'"),
        flags(&["--heads", "two"], 2, "invalid value 'two' for '--heads <H>'"),
        flags(&["--heads", "1.5"], 2, "invalid value '1.5' for '--heads <H>'"),
        flags(&["--heads=-2"], 2, "invalid value '-2' for '--heads <H>'"),
        flags(&["--heads", ""], 2, "invalid value '' for '--heads <H>'"),
        flags(&["--heads", "2", "--heads", "4"], 2, "cannot be used multiple times"),
        flags(&["--heads", "2", "--kv-heads", "1"], 2, "'--kv-heads'"),
        flags(&["--heads", "2", "--causal", "--causal"], 2, "multiple times"),
        flags(&["--heads", "2", "--repeat", "0"], 2, "'--repeat <N>'"),
        flags(&["--heads", "2", "extra"], 2, "'extra'"),
        flags(&["--heads", "0"], 1, "cannot be split among 0 heads"),
        flags(&["--heads", "3"], 1, "width 8 cannot be split among 3 heads"),
        flags(&["--heads", "16"], 1, "width 8 cannot be split among 16 heads"),
        flags(&["--heads", "1"], 1, "k_proj.weight: shape [4, 6], wanted [8, 6]"),
        flags(&["--heads", "4"], 1, "k_proj.weight: shape [4, 6], wanted [2, 6]"),
        flags(&["--heads", "8"], 1, "k_proj.weight: shape [4, 6], wanted [1, 6]"),
        flags(&["--heads", "2", "--causal"], 1, "--causal and a mask in the file"),
        flags(&["--heads", "2", "--prefix", "layers.0."], 1, "layers.0.q_proj.weight"),
        flags(&["--heads", "2", "--x", "/nowhere/x"], 1, "cannot read"),
    ]
}

fn files() -> Vec<Bad> {
    let path = reference("self");
    let whole = fs::read(path).unwrap();
    let lies = [&200_u64.to_le_bytes()[..], b"{}"].concat();
    let huge = u64::MAX.to_le_bytes().to_vec();
    let safetensors = "as safetensors";
    vec![
        bad(Input::Nothing, "cannot read"),
        bad(Input::Folder, "cannot read"),
        bad(Input::Bytes(Vec::new()), safetensors),
        bad(Input::Bytes(b"q_proj,1,2,3\n".to_vec()), safetensors),
        bad(Input::Bytes(whole[..whole.len() - 1].to_vec()), safetensors),
        bad(Input::Bytes(whole[..100].to_vec()), safetensors),
        bad(Input::Bytes([&whole[..], &[0]].concat()), safetensors),
        bad(Input::Bytes(lies), safetensors),
        bad(Input::Bytes(huge), safetensors),
    ]
}

#[test]
fn a_hundred_bad_inputs_get_one_clear_line_each() {
    let folder = tempfile::tempdir().unwrap();
    let all = [weights(), misfits(), sequences(), arguments(), files()];
    let all: Vec<Bad> = all.into_iter().flatten().collect();
    assert!(all.len() >= 100, "only {}", all.len());
    for (i, Bad { input, flags, says, code }) in all.iter().enumerate() {
        let [at, out] =
            ["in", "out"].map(|name| folder.path().join(format!("{name}-{i}")));
        match input {
            Input::File(file) => file.write(&at),
            Input::Bytes(bytes) => fs::write(&at, bytes).unwrap(),
            Input::Folder => fs::create_dir(&at).unwrap(),
            Input::Nothing => {}
        }
        let (at, to) = (at.to_str().unwrap(), out.to_str().unwrap());
        let files = ["forward", "--input", at, "--output", to];
        let refused = multi_query(&[&files, *flags].concat()).code(*code);
        let stderr = said(&refused.get_output().stderr);
        let context = format!("case {i}, {flags:?}, wanted {says:?}: {stderr}");
        assert!(stderr.starts_with("error: ") && stderr.contains(says), "{context}");
        assert_eq!(stderr.lines().count(), 1, "{context}");
        assert!(refused.get_output().stdout.is_empty(), "{context}");
        assert!(!out.exists(), "{context}");
    }
}

#[test]
fn the_good_file_behind_them_is_good() {
    let folder = tempfile::tempdir().unwrap();
    let [input, output] = ["in", "out"].map(|name| folder.path().join(name));
    File::good().write(&input);
    let (input, out) = (input.to_str().unwrap(), output.to_str().unwrap());
    let done =
        multi_query(&["forward", "--input", input, "--output", out, "--heads", "2"]);
    assert!(done.success().get_output().stderr.is_empty());
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (input, folder) = (reference("self"), folder.path().to_str().unwrap());
    let missing = format!("{folder}/no/such/place");
    for to in [folder, &missing] {
        let input = input.to_str().unwrap();
        let files = ["forward", "--input", input, "--output", to, "--heads", "4"];
        let stderr = said(&multi_query(&files).code(1).get_output().stderr);
        assert!(
            stderr.starts_with("error: ") && stderr.lines().count() == 1,
            "{stderr}"
        );
    }
}
