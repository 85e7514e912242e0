//! The chapter through its binary, as a reader runs it.

use assert_cmd::Command;
use chapter_cli::Tensors;
use chapter_cli::testing::assert_close;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn decoding(arguments: &[&str]) -> assert_cmd::assert::Assert {
    Command::cargo_bin("decoding").unwrap().args(arguments).assert()
}

fn reference(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(format!("tests/reference/{name}.safetensors"))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn without_a_word_it_shows_the_cache_growing() {
    let output = decoding(&[]).success().get_output().clone();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(printed, decoding::example::three_tokens().unwrap());
}

#[test]
fn help_says_what_a_prompt_may_be() {
    let output = decoding(&["forward", "--help"]).success().get_output().clone();
    let printed = String::from_utf8(output.stdout).unwrap();
    for said in ["--heads <H>", "--prefill <P>", "o_proj.weight", "one by one"] {
        assert!(printed.contains(said), "{said}");
    }
}

#[test]
fn forward_gives_the_causal_pass_for_every_prompt() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.safetensors");
    for (name, heads, tokens) in [
        ("one_token_2_heads", "2", 1),
        ("two_tokens_1_head", "1", 2),
        ("five_tokens_3_heads", "3", 5),
        ("twelve_tokens_4_heads", "4", 12),
        ("long_2_heads", "2", 48),
    ] {
        let input = reference(name);
        let expected = Tensors::open(&input).unwrap();
        for prompt in 0..=tokens {
            let prompt = prompt.to_string();
            let files = ["--input", text(&input), "--output", text(&output)];
            let flags = ["forward", "--heads", heads, "--prefill", &prompt];
            decoding(&[&flags[..], &files].concat()).success();
            let written = Tensors::open(&output).unwrap();
            let y = |file: &Tensors| file.matrix("y").unwrap();
            assert_close(name, &y(&written), &y(&expected), 2e-5);
            let weights = |file: &Tensors| {
                file.stack("attention_weights", "[h, n, n]").unwrap().matrices
            };
            for (found, expected) in weights(&written).iter().zip(weights(&expected)) {
                assert_close(name, found, &expected, 2e-5);
                assert!(
                    (0..tokens)
                        .all(|i| found.row(i).columns_range(i + 1..).sum() == 0.0)
                );
            }
        }
    }
}

#[test]
fn a_batch_is_a_loop_over_its_sequences() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (reference("batch_2_heads"), folder.path().join("out"));
    for prompt in ["0", "3", "7"] {
        let files = ["--input", text(&input), "--output", text(&output)];
        let flags = ["forward", "--heads", "2", "--prefill", prompt, "--repeat", "2"];
        decoding(&[&flags[..], &files].concat()).success();
        let y = |path: &Path| Tensors::open(path).unwrap().stack("y", "").unwrap();
        for (found, expected) in y(&output).matrices.iter().zip(y(&input).matrices) {
            assert_close(prompt, found, &expected, 2e-5);
        }
    }
}

/// A tensor of a file: dtype, shape, bytes.
type Tensor = (Dtype, Vec<usize>, Vec<u8>);

/// A file that may be spoiled.
#[derive(Clone)]
struct File(BTreeMap<String, Tensor>);

impl File {
    /// Five tokens of width 8, 4 heads of 2.
    fn good() -> File {
        let mut file = File(BTreeMap::new());
        for proj in ["q_proj", "k_proj", "v_proj", "o_proj"] {
            file.floats(&format!("{proj}.weight"), &[8, 8]);
            file.floats(&format!("{proj}.bias"), &[8]);
        }
        file.floats("x", &[5, 8]);
        file
    }

    fn floats(&mut self, name: &str, shape: &[usize]) {
        let len: usize = shape.iter().product();
        let numbers = (0..len).flat_map(|i| (i as f32 * 0.01).to_le_bytes());
        self.put(name, Dtype::F32, shape, numbers.collect());
    }

    fn put(&mut self, name: &str, dtype: Dtype, shape: &[usize], bytes: Vec<u8>) {
        self.0.insert(name.to_owned(), (dtype, shape.to_vec(), bytes));
    }

    fn save(&self, path: &Path) {
        let tensors = self.0.iter().map(|(name, (dtype, shape, bytes))| {
            (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
        });
        safetensors::serialize_to_file(tensors, None, path).unwrap();
    }
}

/// What is wrong with an input, and what must be said about it.
struct Bad {
    file: File,
    flags: Vec<String>,
    code: i32,
    said: String,
}

fn bad(flags: &[&str], code: i32, said: &str, spoil: impl FnOnce(&mut File)) -> Bad {
    let mut file = File::good();
    spoil(&mut file);
    let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
    Bad { file, flags, code, said: said.to_owned() }
}

const HEADS: [&str; 2] = ["--heads", "4"];

fn wrong_flags() -> Vec<Bad> {
    let fine = |_: &mut File| {};
    let mut all = Vec::new();
    for heads in ["3", "5", "6", "7", "9", "16", "1000000", "0"] {
        let said = format!("--heads {heads}: q_proj: width 8 cannot be split");
        all.push(bad(&["--heads", heads], 1, &said, fine));
    }
    for heads in ["-1", "two", "", "1.5", "99999999999999999999"] {
        all.push(bad(&["--heads", heads], 2, "", fine));
    }
    for prompt in ["6", "7", "48", "1000000000000"] {
        let said = format!("--prefill {prompt}: x has no more than 5 tokens");
        all.push(bad(&["--heads", "4", "--prefill", prompt], 1, &said, fine));
    }
    for prompt in ["-1", "all", "", "0.5", "99999999999999999999"] {
        all.push(bad(&["--heads", "4", "--prefill", prompt], 2, "", fine));
    }
    for repeat in ["0", "-3", "x"] {
        all.push(bad(&["--heads", "4", "--repeat", repeat], 2, "", fine));
    }
    for flag in ["--causal", "--kv-heads", "--prefil", "--x", "extra"] {
        all.push(bad(&["--heads", "4", flag], 2, "", fine));
    }
    all.push(bad(&[], 2, "missing --heads", fine));
    all.push(bad(&["--heads", "4", "--heads", "2"], 2, "cannot be used", fine));
    let twice = ["--heads", "4", "--prefill", "1", "--prefill", "1"];
    all.push(bad(&twice, 2, "cannot be used", fine));
    let prefix = ["--heads", "4", "--prefix", "layer.0."];
    all.push(bad(&prefix, 1, "no tensor `layer.0.q_proj.weight`", fine));
    let nowhere = ["--heads", "4", "--x", "/no/such/file"];
    all.push(bad(&nowhere, 1, "cannot read", fine));
    all
}

fn wrong_tensors() -> Vec<Bad> {
    let projections = ["q_proj", "k_proj", "v_proj", "o_proj"];
    let mut all = Vec::new();
    for name in
        projections.map(|p| format!("{p}.weight")).iter().chain(["x".into()].iter())
    {
        let missing = format!("no tensor `{name}`");
        all.push(bad(&HEADS, 1, &missing, |f| drop(f.0.remove(name))));
        for shape in [&[8_usize][..], &[2, 2, 2, 2], &[]] {
            let said = format!("{name}: shape");
            all.push(bad(&HEADS, 1, &said, |f| f.floats(name, shape)));
        }
        for dtype in [Dtype::I64, Dtype::F64, Dtype::BOOL, Dtype::U8] {
            let said = format!("{name}: dtype");
            let shape = if name == "x" { [5, 8] } else { [8, 8] };
            let len = shape[0] * shape[1] * dtype.bitsize() / 8;
            let bytes = vec![0; len];
            all.push(bad(&HEADS, 1, &said, |f| f.put(name, dtype, &shape, bytes)));
        }
    }
    for (name, shape) in [
        ("q_proj.weight", [8, 7]),
        ("k_proj.weight", [8, 7]),
        ("v_proj.weight", [8, 7]),
        ("o_proj.weight", [8, 7]),
        ("q_proj.weight", [7, 8]),
        ("k_proj.weight", [7, 8]),
        ("k_proj.weight", [4, 8]),
        ("v_proj.weight", [7, 8]),
        ("x", [5, 7]),
        ("x", [5, 9]),
        ("x", [5, 0]),
    ] {
        all.push(bad(&HEADS, 1, "", |f| {
            let bias = name.replace("weight", "bias");
            if name != "x" {
                f.floats(&bias, &[shape[0]]);
            }
            f.floats(name, &shape);
        }));
    }
    for proj in projections {
        let name = format!("{proj}.bias");
        let said = format!("{name}: shape");
        for shape in [&[7_usize][..], &[9], &[8, 1]] {
            all.push(bad(&HEADS, 1, &said, |f| f.floats(&name, shape)));
        }
    }
    all.push(bad(&HEADS, 1, "the file holds a context", |f| {
        f.floats("context", &[5, 8]);
    }));
    all.push(bad(&HEADS, 1, "the file holds a context", |f| {
        f.floats("context", &[3, 8]);
    }));
    for prompt in ["0", "2", "5"] {
        let flags = ["--heads", "4", "--prefill", prompt];
        all.push(bad(&flags, 1, "the file holds a mask", |f| {
            f.put("mask", Dtype::BOOL, &[5, 5], vec![1; 25]);
        }));
    }
    let mask = |f: &mut File| f.put("mask", Dtype::BOOL, &[5, 4], vec![1; 20]);
    all.push(bad(&HEADS, 1, "mask: shape [5, 4]", mask));
    let batch = |f: &mut File| f.floats("x", &[2, 3, 8]);
    let flags = ["--heads", "4", "--prefill", "4"];
    all.push(bad(&flags, 1, "--prefill 4: x has no more than 3 tokens", batch));
    all
}

/// Runs `forward` on bytes that are no good, and gives the line that it said.
#[track_caller]
fn refused(folder: &Path, input: &Path, flags: &[String], code: i32) -> String {
    let output = folder.join("out.safetensors");
    let files = ["forward", "--input", text(input), "--output", text(&output)];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let ran = decoding(&[&files[..], &flags].concat()).code(code).get_output().clone();
    let said = String::from_utf8(ran.stderr).unwrap();
    assert!(ran.stdout.is_empty(), "{said}");
    assert!(said.starts_with("error: "), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.chars().count() < 400, "{said}");
    assert!(!output.exists(), "{said}");
    said
}

#[test]
fn whatever_is_wrong_is_said_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("layer.safetensors");
    let mut bads = wrong_flags();
    bads.extend(wrong_tensors());
    assert!(bads.len() > 100, "{}", bads.len());
    for Bad { file, flags, code, said } in bads {
        file.save(&input);
        let found = refused(folder.path(), &input, &flags, code);
        assert!(found.contains(&said), "{flags:?}: wanted `{said}` in {found}");
    }
}

#[test]
fn damaged_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("layer.safetensors");
    File::good().save(&input);
    let whole = std::fs::read(&input).unwrap();
    let flags = HEADS.map(str::to_owned);
    for len in [0, 1, 7, 8, 9, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&input, &whole[..len]).unwrap();
        let said = refused(folder.path(), &input, &flags, 1);
        assert!(said.contains("as safetensors"), "{len}: {said}");
    }
    let mut longer = whole.clone();
    longer.push(0);
    std::fs::write(&input, longer).unwrap();
    refused(folder.path(), &input, &flags, 1);
    std::fs::write(&input, [255; 64]).unwrap();
    refused(folder.path(), &input, &flags, 1);
}

#[test]
fn an_empty_sequence_gives_an_empty_output() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("layer.safetensors");
    let output = folder.path().join("out.safetensors");
    let mut file = File::good();
    file.floats("x", &[0, 8]);
    file.save(&input);
    let files = ["forward", "--input", text(&input), "--output", text(&output)];
    decoding(&[&files[..], &HEADS].concat()).success();
    let written = Tensors::open(&output).unwrap();
    assert_eq!(written.shape("y").unwrap(), [0, 8]);
    assert_eq!(written.shape("attention_weights").unwrap(), [4, 0, 0]);
}

#[test]
fn nan_in_a_token_stays_in_its_future() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("layer.safetensors");
    let output = folder.path().join("out.safetensors");
    let mut file = File::good();
    let (_, _, bytes) = file.0.get_mut("x").unwrap();
    bytes[3 * 8 * 4..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    file.save(&input);
    let files = ["forward", "--input", text(&input), "--output", text(&output)];
    let ran = decoding(&[&files[..], &HEADS].concat()).success().get_output().clone();
    assert!(
        String::from_utf8(ran.stderr).unwrap().starts_with("warning: x holds 1 NaN")
    );
    let y = Tensors::open(&output).unwrap().matrix("y").unwrap();
    for (i, row) in y.row_iter().enumerate() {
        assert_eq!(row.iter().all(|number| number.is_nan()), i >= 3, "token {i}");
    }
}
