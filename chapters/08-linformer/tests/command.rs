//! The chapter through its binary, as a reader runs it: what it prints, what it makes of
//! the reference files, and what it says to a hundred inputs that it cannot use.

use assert_cmd::Command;
use chapter_cli::Tensors;
use chapter_cli::testing::assert_close;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use std::fs;
use std::path::{Path, PathBuf};

fn linformer(arguments: &[&str]) -> assert_cmd::assert::Assert {
    Command::cargo_bin("linformer").unwrap().args(arguments).assert()
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
    let printed = said(&linformer(&[]).success().get_output().stdout);
    assert!(printed.starts_with("x\n  sun        1       0\n"), "{printed}");
    assert!(printed.contains("share of the k largest singular values\n"), "{printed}");
}

#[test]
fn forward_reproduces_every_reference_file() {
    let folder = tempfile::tempdir().unwrap();
    let names = [
        "full",
        "shorter",
        "one_token",
        "one_row",
        "one_head",
        "more_rows_than_tokens",
        "twelve_heads",
        "shared_keys_and_values",
        "one_kv_head",
        "one_shared_kv_head",
        "wide_heads",
        "narrow_heads",
        "wide_shared_head",
        "cross",
        "batch",
        "long",
        "paper_headwise",
        "paper_key_value",
    ];
    for name in names {
        let output = folder.path().join(name);
        let (input, output) = (reference(name), output.to_str().unwrap());
        let expected = Tensors::open(&input).unwrap();
        let heads = &expected.metadata().unwrap()["heads"];
        let input = input.to_str().unwrap();
        let files = ["--input", input, "--output", output, "--heads", heads];
        let shared = name == "paper_key_value";
        let shared = if shared { &["--share-projection"][..] } else { &[] };
        linformer(&[&["forward"], &files[..], shared].concat()).success();
        let written = Tensors::open(Path::new(output)).unwrap();
        for tensor in ["y", "attention_weights"] {
            assert_eq!(written.shape(tensor).unwrap(), expected.shape(tensor).unwrap());
        }
        let all = |file: &Tensors| file.stack("y", "").unwrap().matrices;
        for (found, expected) in all(&written).iter().zip(&all(&expected)) {
            assert_close(name, found, expected, 3e-5);
        }
        // Four dimensions in a batch, which the library's test reads one by one.
        if name != "batch" {
            let maps = |file: &Tensors| file.stack("attention_weights", "").unwrap();
            let (found, expected) = (maps(&written), maps(&expected));
            for (found, expected) in found.matrices.iter().zip(&expected.matrices) {
                assert_close(name, found, expected, 3e-5);
            }
        }
    }
}

#[test]
fn an_empty_batch_has_k_columns_too() {
    let folder = tempfile::tempdir().unwrap();
    let [input, output] = ["in", "out"].map(|name| folder.path().join(name));
    for (shape, y, weights) in [
        (vec![0, 3, 6], vec![0, 3, 5], vec![0, 2, 3, 4]),
        (vec![2, 0, 6], vec![2, 0, 5], vec![2, 2, 0, 4]),
        (vec![0, 6], vec![0, 5], vec![2, 0, 4]),
    ] {
        let mut file = File::self_attention();
        file.set("x", Dtype::F32, &shape);
        file.write(&input);
        let (at, to) = (input.to_str().unwrap(), output.to_str().unwrap());
        linformer(&["forward", "--input", at, "--output", to, "--heads", "2"])
            .success();
        let written = Tensors::open(&output).unwrap();
        assert_eq!(written.shape("y").unwrap(), y);
        assert_eq!(written.shape("attention_weights").unwrap(), weights);
    }
}

#[test]
fn nan_in_the_weights_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let [input, output] = ["in", "out"].map(|name| folder.path().join(name));
    let mut file = File::good();
    file.fill = 0xff;
    file.write(&input);
    let (at, to) = (input.to_str().unwrap(), output.to_str().unwrap());
    let done = linformer(&["forward", "--input", at, "--output", to, "--heads", "2"]);
    let stderr = said(&done.success().get_output().stderr);
    assert!(stderr.contains("proj_k holds 32 NaN"), "{stderr}");
}

/// The tensors of a file: names, element types, shapes. All bytes are the same, 0 if
/// nothing else is said.
#[derive(Clone)]
struct File {
    tensors: Vec<(String, Dtype, Vec<usize>)>,
    fill: u8,
}

const MAPS: [(&str, [usize; 2]); 4] = [
    ("to_q.weight", [6, 6]),
    ("to_k.weight", [6, 7]),
    ("to_v.weight", [6, 7]),
    ("to_out.weight", [5, 6]),
];

impl File {
    /// Two heads of 3 on tokens of 6, a context of tokens of 7, four rows of at most 8
    /// tokens.
    fn good() -> File {
        let mut file = File { tensors: Vec::new(), fill: 0 };
        for (name, shape) in MAPS {
            file.set(name, Dtype::F32, &shape);
        }
        file.set("to_out.bias", Dtype::F32, &[5]);
        file.set("proj_k", Dtype::F32, &[8, 4]);
        file.set("proj_v", Dtype::F32, &[8, 4]);
        file.set("x", Dtype::F32, &[3, 6]);
        file.set("context", Dtype::F32, &[5, 7]);
        file
    }

    /// The same without a context.
    fn self_attention() -> File {
        let mut file = File::good();
        file.remove("context");
        for name in ["to_k.weight", "to_v.weight"] {
            file.set(name, Dtype::F32, &[6, 6]);
        }
        file
    }

    fn remove(&mut self, name: &str) {
        self.tensors.retain(|tensor| tensor.0 != name);
    }

    fn set(&mut self, name: &str, dtype: Dtype, shape: &[usize]) {
        self.remove(name);
        self.tensors.push((name.to_owned(), dtype, shape.to_vec()));
    }

    fn with(name: &str, dtype: Dtype, shape: &[usize]) -> Input {
        let mut file = File::good();
        file.set(name, dtype, shape);
        Input::File(file)
    }

    fn without(names: &[&str]) -> Input {
        let mut file = File::good();
        for name in names {
            file.remove(name);
        }
        Input::File(file)
    }

    fn renamed(from: &str, to: &str) -> Input {
        let mut file = File::good();
        let tensor = file.tensors.iter_mut().find(|tensor| tensor.0 == from).unwrap();
        to.clone_into(&mut tensor.0);
        Input::File(file)
    }

    fn write(&self, path: &Path) {
        let bytes = vec![self.fill; 1 << 14];
        let views = self.tensors.iter().map(|(name, dtype, shape)| {
            let length = shape.iter().product::<usize>() * dtype.bitsize() / 8;
            let view =
                TensorView::new(*dtype, shape.clone(), &bytes[..length]).unwrap();
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

fn tensors() -> Vec<Bad> {
    let mut all = Vec::new();
    let wanted = MAPS.map(|(name, shape)| (name, shape.to_vec()));
    let along = ["proj_k", "proj_v"].map(|name| (name, vec![8, 4]));
    for (name, shape) in wanted.into_iter().chain(along) {
        let with = |dtype, shape: &[usize]| File::with(name, dtype, shape);
        let missing = format!("no tensor `{name}`");
        all.push(bad(File::without(&[name]), &missing));
        for other in [format!("{name}s"), format!("attn.{name}"), name.to_uppercase()] {
            all.push(bad(File::renamed(name, &other), &missing));
        }
        let length = shape.iter().product();
        for shape in [vec![length], vec![1, shape[0], shape[1]], vec![]] {
            let says = format!("{name}: shape {shape:?}, wanted");
            all.push(bad(with(Dtype::F32, &shape), &says));
        }
        for dtype in [Dtype::F64, Dtype::I64, Dtype::U8, Dtype::BOOL] {
            all.push(bad(
                with(dtype, &shape),
                &format!("{name}: dtype {dtype}, wanted"),
            ));
        }
    }
    for shape in [vec![6], vec![0], vec![1, 5]] {
        let says = format!("to_out.bias: shape {shape:?}, wanted");
        all.push(bad(File::with("to_out.bias", Dtype::F32, &shape), &says));
    }
    all
}

fn misfits() -> Vec<Bad> {
    let key = "a key is as wide as the query of a head";
    let value = "a value is as wide as a key";
    let step = "what is condensed stays in step";
    let cases: [(&str, [usize; 2], [usize; 2], &str); 15] = [
        ("to_k.weight", [12, 7], [6, 7], key),
        ("to_k.weight", [2, 7], [6, 7], key),
        ("to_k.weight", [0, 7], [6, 7], key),
        ("to_k.weight", [7, 6], [6, 6], key),
        // One key for all heads, and a value for each.
        ("to_v.weight", [3, 7], [6, 7], value),
        ("to_v.weight", [6, 6], [6, 7], value),
        ("to_v.weight", [7, 6], [6, 7], value),
        ("to_out.weight", [5, 3], [5, 6], "it reads what all heads found"),
        ("to_out.weight", [5, 0], [5, 6], "it reads what all heads found"),
        ("proj_v", [8, 3], [8, 4], step),
        ("proj_v", [7, 4], [8, 4], step),
        ("proj_v", [4, 8], [8, 4], step),
        ("proj_k", [4, 8], [4, 8], step),
        ("proj_k", [8, 0], [8, 1], "something has to be left of the sequence"),
        ("proj_v", [8, 0], [8, 1], "something has to be left of the sequence"),
    ];
    let case = |(name, found, wanted, why): &(&str, [usize; 2], [usize; 2], &str)| {
        // A proj_k that is at odds with proj_v is told of the second.
        let (told, found_there) =
            if *why == step { ("proj_v", None) } else { (*name, Some(found)) };
        let shape = found_there.map_or(String::new(), |found| format!("{found:?}, "));
        let says = format!("{told}: shape {shape}");
        let mut all = bad(File::with(name, Dtype::F32, found), &says);
        all.says += if found_there.is_some() { "wanted" } else { "" };
        vec![
            all,
            bad(
                File::with(name, Dtype::F32, found),
                &format!("{wanted:?}, because {why}"),
            ),
        ]
    };
    let mut all: Vec<Bad> = cases.iter().flat_map(case).collect();
    all.push(bad(
        File::with("to_q.weight", Dtype::F32, &[7, 6]),
        "--heads 2: to_q: width 7 cannot be split among 2 heads",
    ));
    all.push(bad(
        File::with("to_q.weight", Dtype::F32, &[0, 6]),
        "--heads 2: to_q: width 0 cannot be split among 2 heads",
    ));
    all.push(bad(
        File::with("to_q.weight", Dtype::F32, &[12, 6]),
        "to_out.weight: shape [5, 6], wanted [5, 12]",
    ));
    all.push(bad(File::without(&["to_v.weight"]), "no tensor `to_v.weight`"));
    all.push(bad(
        File::without(&["proj_v"]),
        "; --share-projection would condense the values with proj_k",
    ));
    all
}

fn sequences() -> Vec<Bad> {
    let mut all = vec![
        bad(File::without(&["x"]), "no tensor `x`"),
        bad(
            File::without(&["context"]),
            "x: expected (3, 7), found (3, 6): to_k and to_v read that many, and the file \
             has no context",
        ),
        bad(File::with("mask", Dtype::BOOL, &[3, 5]), "mask: after proj_k there is no"),
        bad(
            File::with("mask", Dtype::BOOL, &[3, 4]),
            "mask: shape [3, 4], wanted [3, 5]",
        ),
        bad(
            File::with("context", Dtype::F32, &[9, 7]),
            "context: 9 tokens, but the layer was made for at most 8",
        ),
    ];
    let mut long = File::self_attention();
    for shape in [vec![9, 6], vec![2, 9, 6], vec![500, 6]] {
        long.set("x", Dtype::F32, &shape);
        let n = shape[shape.len() - 2];
        let says = format!("x: {n} tokens, but the layer was made for at most 8");
        all.push(bad(Input::File(long.clone()), &says));
    }
    let shaped: [(&str, &[usize], &str); 9] = [
        ("x", &[18], "x: shape [18], wanted [n, d] or [b, n, d]"),
        ("x", &[1, 1, 3, 6], "x: shape [1, 1, 3, 6], wanted [n, d] or [b, n, d]"),
        ("x", &[3, 5], "x: expected (3, 6), found (3, 5)"),
        ("x", &[3, 0], "x: shape [3, 0], wanted"),
        ("context", &[24], "context: shape [24], wanted"),
        ("context", &[1, 1, 4, 7], "context: shape [1, 1, 4, 7], wanted"),
        ("context", &[4, 5], "context: expected (4, 7), found (4, 5)"),
        ("context", &[4, 0], "context: shape [4, 0], wanted"),
        ("context", &[2, 4, 7], "context: shape [2, 4, 7], wanted [4, 7]"),
    ];
    for (name, shape, says) in shaped {
        all.push(bad(File::with(name, Dtype::F32, shape), says));
    }
    for (name, dtype) in
        [("x", Dtype::F64), ("x", Dtype::I32), ("context", Dtype::BOOL)]
    {
        let shape: &[usize] = if name == "x" { &[3, 6] } else { &[5, 7] };
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
        flags(&["--heads", "2", "--causal"], 2, "'--causal'"),
        flags(&["--heads", "2", "--kv-heads", "1"], 2, "'--kv-heads'"),
        flags(&["--heads", "2", "--repeat", "0"], 2, "'--repeat <N>'"),
        flags(&["--heads", "2", "extra"], 2, "'extra'"),
        flags(&["--heads", "0"], 1, "cannot be split among 0 heads"),
        flags(&["--heads", "4"], 1, "width 6 cannot be split among 4 heads"),
        flags(&["--heads", "18446744073709551615"], 1, "cannot be split among"),
        flags(&["--heads", "2", "--share-projection"], 1, "and proj_v in the file"),
        flags(&["--heads", "2", "--prefix", "layers.0."], 1, "layers.0.to_q.weight"),
        flags(&["--heads", "2", "--x", "/nowhere/x"], 1, "cannot read"),
    ]
}

fn files() -> Vec<Bad> {
    let whole = fs::read(reference("full")).unwrap();
    let lies = [&200_u64.to_le_bytes()[..], b"{}"].concat();
    let huge = u64::MAX.to_le_bytes().to_vec();
    let safetensors = "as safetensors";
    vec![
        bad(Input::Nothing, "cannot read"),
        bad(Input::Folder, "cannot read"),
        bad(Input::Bytes(Vec::new()), safetensors),
        bad(Input::Bytes(b"proj_k,1,2,3\n".to_vec()), safetensors),
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
    let all = [tensors(), misfits(), sequences(), arguments(), files()];
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
        let refused = linformer(&[&files, *flags].concat()).code(*code);
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
    let mut shared = File::good();
    shared.remove("to_v.weight");
    shared.remove("proj_v");
    let mut projection = File::good();
    projection.remove("proj_v");
    for (file, more) in [
        (File::good(), None),
        (shared.clone(), None),
        (shared, Some("--share-projection")),
        (projection, Some("--share-projection")),
    ] {
        file.write(&input);
        let (at, to) = (input.to_str().unwrap(), output.to_str().unwrap());
        let mut asked = vec!["forward", "--input", at, "--output", to, "--heads", "2"];
        asked.extend(more);
        assert!(linformer(&asked).success().get_output().stderr.is_empty());
    }
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (input, folder) = (reference("full"), folder.path().to_str().unwrap());
    let missing = format!("{folder}/no/such/place");
    for to in [folder, &missing] {
        let input = input.to_str().unwrap();
        let files = ["forward", "--input", input, "--output", to, "--heads", "4"];
        let stderr = said(&linformer(&files).code(1).get_output().stderr);
        assert!(
            stderr.starts_with("error: ") && stderr.lines().count() == 1,
            "{stderr}"
        );
    }
}
