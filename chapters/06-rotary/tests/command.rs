//! The chapter through its binary, as a reader runs it.

use assert_cmd::Command;
use chapter_cli::Tensors;
use chapter_cli::testing::assert_close;
use insta::assert_snapshot;
use safetensors::tensor::{Dtype, TensorView};
use std::collections::HashMap;
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

fn ints(name: &str, shape: &[usize]) -> Tensor {
    let bytes = vec![1; shape.iter().product::<usize>() * 8];
    Tensor(name.to_owned(), Dtype::I64, shape.to_vec(), bytes)
}

fn bools(name: &str, shape: &[usize]) -> Tensor {
    Tensor(
        name.to_owned(),
        Dtype::BOOL,
        shape.to_vec(),
        vec![1; shape.iter().product()],
    )
}

fn bytes_of(tensors: &[Tensor], notes: Option<HashMap<String, String>>) -> Vec<u8> {
    let views = tensors.iter().map(|Tensor(name, dtype, shape, bytes)| {
        (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize(views, notes).unwrap()
}

/// Eight heads of 4 on four, values of 2, on six features, with biases, and three tokens.
fn layer() -> Vec<Tensor> {
    vec![
        f32s("q_proj.weight", &[32, 6]),
        f32s("q_proj.bias", &[32]),
        f32s("k_proj.weight", &[16, 6]),
        f32s("k_proj.bias", &[16]),
        f32s("v_proj.weight", &[8, 6]),
        f32s("v_proj.bias", &[8]),
        f32s("o_proj.weight", &[6, 16]),
        f32s("o_proj.bias", &[6]),
        f32s("x", &[3, 6]),
    ]
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
    let ran = Command::cargo_bin("rotary").unwrap().args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap().replace(here, "DIR");
    let out = fs::read(folder.path().join("out")).ok();
    (ran.status.code().unwrap(), text(ran.stdout), text(ran.stderr), out)
}

const FORWARD: &str = "forward --input IN --output OUT --heads 8 --kv-heads 4";
const PERMUTE: &str =
    "permute --input IN --output OUT --heads 8 --kv-heads 4 --to interleaved";

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
fn without_a_word_it_shows_the_example_and_the_shift() {
    let (code, stdout, stderr, _) = run(b"", "");
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.starts_with("x = q = k, before they turn\n"), "{stdout}");
    assert!(stdout.contains("scores, the first token at 1000\n"), "{stdout}");
}

#[test]
fn forward_reproduces_every_reference_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference");
    let all = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<PathBuf> = all
        .filter(|path| path.extension().is_some_and(|e| e == "safetensors"))
        .filter(|path| path.file_stem().is_some_and(|stem| stem != "far"))
        .collect();
    assert_eq!(files.len(), 19);
    let out = TempDir::new().unwrap();
    let out = out.path().join("out");
    for path in files {
        let file = Tensors::open(&path).unwrap();
        let flags = &file.metadata().unwrap()["flags"];
        let mut command = Command::cargo_bin("rotary").unwrap();
        command.arg("forward").arg("--input").arg(&path).arg("--output").arg(&out);
        command.args(flags.split(' ')).assert().success();
        let written = Tensors::open(&out).unwrap();
        let label = path.file_stem().unwrap().to_str().unwrap();
        let y = |file: &Tensors| file.stack("y", "[b, n, d]").unwrap().matrices;
        for (found, expected) in y(&written).iter().zip(y(&file)) {
            assert_close(label, found, &expected, 2e-4);
        }
        if let Ok(weights) = file.raw("attention_weights") {
            let found = written.raw("attention_weights").unwrap();
            assert_eq!(found.shape, weights.shape, "{label}");
        }
    }
}

#[test]
fn the_flags_say_how_it_turns() {
    let file = bytes_of(&layer(), None);
    let y = |flags: &str| {
        let (code, _, stderr, out) = run(&file, &format!("{FORWARD} {flags}"));
        assert_eq!(code, 0, "{stderr}");
        out.unwrap()
    };
    let plain = y("");
    assert_eq!(y("--rope-theta 10000"), plain);
    assert_eq!(y("--rope-theta 1e4"), plain);
    assert_ne!(y("--rope-theta 500000"), plain);
    assert_ne!(y("--interleaved"), plain);
    assert_ne!(y("--causal"), plain);
    assert_ne!(y("--rope-scaling 8,1,4,16"), plain);
    assert_eq!(y("--rope-scaling=8,1,4,16"), y("--rope-scaling 8.0,1e0,4,16"));
}

#[test]
fn rotations_that_are_none_get_one_clear_line() {
    let file = bytes_of(&layer(), None);
    for theta in
        ["0", "-0", "-1", "-1e4", "nan", "-nan", "inf", "-inf", "1e999", "1e-300"]
    {
        let flags = format!("{FORWARD} --rope-theta {theta}");
        refused(&file, &flags, 1, "--rope-theta: rope theta is");
        refused(
            &file,
            &flags.replace("theta ", "theta="),
            1,
            "--rope-theta: rope theta is",
        );
    }
    for scaling in [
        "0,1,4,16",
        "-8,1,4,16",
        "nan,1,4,16",
        "inf,1,4,16",
        "8,0,4,16",
        "8,-1,4,16",
        "8,4,4,16",
        "8,4,1,16",
        "8,1,nan,16",
        "8,1,inf,16",
        "8,1,4,0",
        "8,1,4,-16",
        "8,1,4,inf",
        "1e-300,1,4,16",
    ] {
        let flags = format!("{FORWARD} --rope-scaling {scaling}");
        refused(&file, &flags, 1, "--rope-scaling: rope scaling: factor");
    }
    for flags in [
        "--rope-theta",
        "--rope-theta ten",
        "--rope-theta 10,000",
        "--rope-theta --causal",
        "--rope-theta 1 --rope-theta 2",
        "--rope-scaling",
        "--rope-scaling 8",
        "--rope-scaling 8,1,4",
        "--rope-scaling 8,1,4,16,2",
        "--rope-scaling 8,1,four,16",
        "--rope-scaling 8,,4,16",
        "--rope-scaling llama3",
        "--rope-scaling --causal",
        "--interleaved yes",
        "--theta 10000",
    ] {
        refused(&file, &format!("{FORWARD} {flags}"), 2, "--");
    }
    let odd = [
        f32s("q_proj.weight", &[24, 6]),
        f32s("k_proj.weight", &[12, 6]),
        f32s("v_proj.weight", &[8, 6]),
        f32s("o_proj.weight", &[6, 16]),
        f32s("x", &[3, 6]),
    ];
    let says = "--heads 8: a head of width 3 cannot be split into pairs";
    refused(&bytes_of(&odd, None), FORWARD, 1, says);
}

#[test]
fn bad_layers_get_one_clear_line() {
    let refused = |tensors: Vec<Tensor>, says: &str| {
        refused(&bytes_of(&tensors, None), FORWARD, 1, says);
    };
    for (proj, rows, columns) in
        [("q_proj", 32, 6), ("k_proj", 16, 6), ("v_proj", 8, 6), ("o_proj", 6, 16)]
    {
        let weight = format!("{proj}.weight");
        let bias = format!("{proj}.bias");
        refused(without(layer(), &weight), &format!("no tensor `{weight}`"));
        let misspelt = with(without(layer(), &weight), f32s("w_proj.weight", &[8, 6]));
        refused(misspelt, &format!("no tensor `{weight}`"));
        refused(with(layer(), f32s(&weight, &[rows * columns])), "wanted [out, in]");
        refused(with(layer(), f32s(&weight, &[1, rows, columns])), "wanted [out, in]");
        refused(with(layer(), ints(&weight, &[rows, columns])), "dtype I64");
        refused(with(layer(), bools(&weight, &[rows, columns])), "dtype BOOL");
        refused(with(layer(), f32s(&weight, &[rows + 1, columns])), proj);
        refused(with(layer(), f32s(&bias, &[rows + 1])), &format!("wanted [{rows}]"));
        refused(with(layer(), f32s(&bias, &[rows, 1])), "wanted [length]");
    }
    let wide = with(without(layer(), "k_proj.bias"), f32s("k_proj.weight", &[32, 6]));
    refused(wide, "k_proj.weight: shape [32, 6], wanted [16, 6], because a key/value");
    refused(without(layer(), "x"), "no tensor `x`");
    refused(with(layer(), f32s("x", &[6])), "wanted [n, d] or [b, n, d]");
    refused(with(layer(), f32s("x", &[3, 5])), "x: expected (3, 6), found (3, 5)");
    refused(with(layer(), f32s("x", &[3, 0])), "a token has at least one feature");
    refused(with(layer(), ints("x", &[3, 6])), "dtype I64");
    refused(with(layer(), f32s("context", &[4, 6])), "the file holds a context");
    refused(with(layer(), f32s("mask", &[3, 3])), "wanted BOOL");
    refused(with(layer(), bools("mask", &[3, 4])), "wanted [3, 3]");
    refused(with(layer(), bools("mask", &[2, 3, 3])), "x is one sequence");
}

#[test]
fn bad_flags_get_one_clear_line() {
    let file = bytes_of(&layer(), None);
    let forward = "forward --input IN --output OUT";
    let permute = "permute --input IN --output OUT --to half-split";
    for (heads, kv_heads) in [(0, 0), (0, 4), (8, 0), (8, 3), (4, 8), (7, 2), (1, 2)] {
        let flags = format!("--heads {heads} --kv-heads {kv_heads}");
        let says =
            format!("{flags}: {heads} query heads cannot form {kv_heads} equal groups");
        refused(&file, &format!("{forward} {flags}"), 1, &says);
        refused(&file, &format!("{permute} {flags}"), 1, &says);
    }
    refused(&file, &format!("{forward} --heads 5 --kv-heads 5"), 1, "q_proj: width 32");
    for flags in [
        "",
        "--heads 8",
        "--kv-heads 4",
        "--heads -8 --kv-heads 4",
        "--heads 8 --kv-heads 4.0",
        "--heads eight --kv-heads 4",
        "--heads 99999999999999999999 --kv-heads 4",
        "--heads 8 --kv-heads 4 --kvheads 4",
    ] {
        refused(&file, &format!("{forward} {flags}"), 2, "--");
        refused(&file, &format!("{permute} {flags}"), 2, "--");
    }
    let no_pairing = "permute --input IN --output OUT --heads 8 --kv-heads 4";
    refused(&file, no_pairing, 2, "missing --to");
    refused(&file, &format!("{no_pairing} --to meta"), 2, "meta");
    refused(&file, &format!("{FORWARD} --repeat 0"), 2, "--repeat");
    let masked = with(layer(), bools("mask", &[3, 3]));
    let says = "--causal and a mask in the file: give one";
    refused(&bytes_of(&masked, None), &format!("{FORWARD} --causal"), 1, says);
}

#[test]
fn bad_files_get_one_clear_line() {
    let whole = bytes_of(&layer(), None);
    for command in [FORWARD, PERMUTE] {
        for keep in [0, 1, 7, 8, 9, 100, whole.len() / 2, whole.len() - 1] {
            refused(&whole[..keep], command, 1, "cannot read DIR/in as safetensors");
        }
        let longer = [&whole[..], b"!"].concat();
        refused(&longer, command, 1, "cannot read DIR/in as safetensors");
        refused(&[0xff; 64], command, 1, "bytes of header");
        refused(b"{\"not\": \"safetensors\"}", command, 1, "cannot read DIR/in");
        let from = |from: &str| command.replace("IN", from);
        refused(&whole, &from("DIR/nowhere"), 1, "cannot read DIR/nowhere");
        refused(&whole, &from("DIR"), 1, "it is a directory");
        let to = |to: &str| command.replace("OUT", to);
        refused(&whole, &to("DIR"), 1, "cannot write DIR: it is a directory");
        refused(&whole, &to("DIR/no/out"), 1, "there is no folder DIR/no");
        let elsewhere = format!("{command} --prefix model.layers.7.");
        refused(&whole, &elsewhere, 1, "q_proj.weight`");
    }
}

#[test]
fn bad_checkpoints_are_not_permuted() {
    let refused = |tensors: Vec<Tensor>, says: &str| {
        refused(&bytes_of(&tensors, None), PERMUTE, 1, says);
    };
    for (proj, rows) in [("q_proj", 32), ("k_proj", 16)] {
        let (weight, bias) = (format!("{proj}.weight"), format!("{proj}.bias"));
        refused(with(layer(), f32s(&weight, &[96])), "wanted [out, in]");
        refused(with(layer(), f32s(&weight, &[2, 8, 6])), "wanted [out, in]");
        refused(with(layer(), f32s(&weight, &[])), "wanted [out, in]");
        refused(with(layer(), f32s(&bias, &[rows, 1])), "wanted [out]");
        refused(
            with(layer(), f32s(&weight, &[rows + 1, 6])),
            &format!("{weight}: shape"),
        );
        refused(
            with(layer(), f32s(&weight, &[0, 6])),
            &format!("{weight}: shape [0, 6]"),
        );
        let half = f32s(&weight, &[rows / 2, 6]);
        refused(with(layer(), half), "are --heads and --kv-heads those of the file?");
    }
    refused(vec![f32s("x", &[3, 6])], "no tensor `q_proj.weight`");
    refused(vec![f32s("my_q_proj.weight", &[32, 6])], "no tensor `q_proj.weight`");
    refused(vec![], "it holds no tensors");
}

/// A checkpoint of two layers of eight heads of 4 on four, in BF16, with much else.
fn checkpoint() -> (Vec<Tensor>, HashMap<String, String>) {
    let half = |name: &str, shape: &[usize], start: u16| {
        // 0x3f80 is 1.0 in BF16; each step is 1/128.
        let count = shape.iter().product::<usize>() as u16;
        let bytes = (0..count).flat_map(|i| (0x3f80 + start + i % 64).to_le_bytes());
        Tensor(name.to_owned(), Dtype::BF16, shape.to_vec(), bytes.collect())
    };
    let mut tensors = vec![
        half("model.embed_tokens.weight", &[5, 4], 1),
        ints("model.position_ids", &[1, 3]),
        bools("model.flags", &[3]),
    ];
    for layer in 0..2 {
        for (proj, rows) in
            [("q_proj", 32), ("k_proj", 16), ("v_proj", 16), ("o_proj", 4)]
        {
            let name = format!("model.layers.{layer}.self_attn.{proj}");
            tensors.push(half(&format!("{name}.weight"), &[rows, 4], layer));
            tensors.push(f32s(&format!("{name}.bias"), &[rows]));
        }
    }
    let notes = [("format", "pt"), ("note", "kept")];
    let notes = notes.map(|(key, value)| (key.to_owned(), value.to_owned()));
    (tensors, notes.into())
}

/// Runs permute on the checkpoint and gives what it printed, and both files.
fn permuted(flags: &str) -> (String, String, Tensors, Tensors) {
    let folder = TempDir::new().unwrap();
    let (tensors, notes) = checkpoint();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("halves.safetensors"), bytes_of(&tensors, Some(notes))).unwrap();
    let ran = Command::cargo_bin("rotary")
        .unwrap()
        .current_dir(&folder)
        .args("permute --input halves.safetensors --output meta.safetensors".split(' '))
        .args(flags.split(' '))
        .assert()
        .success();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (stdout, stderr) =
        (text(&ran.get_output().stdout), text(&ran.get_output().stderr));
    let open = |name| Tensors::open(&path(name)).unwrap();
    (stdout, stderr, open("halves.safetensors"), open("meta.safetensors"))
}

const TO_META: &str = "--heads 8 --kv-heads 4 --to interleaved";

fn is_paired(name: &str) -> bool {
    name.contains(".q_proj.") || name.contains(".k_proj.")
}

#[test]
fn permute_moves_rows_of_a_whole_checkpoint_and_keeps_the_rest_to_the_bit() {
    let (stdout, stderr, before, after) = permuted(TO_META);
    assert_snapshot!("permuted", stdout);
    assert_eq!(stderr, "");
    assert_eq!(before.names(), after.names());
    assert_eq!(before.metadata(), after.metadata());
    for name in before.names() {
        let (old, new) = (before.raw(&name).unwrap(), after.raw(&name).unwrap());
        assert_eq!((old.dtype, &old.shape), (new.dtype, &new.shape), "{name}");
        if !is_paired(&name) {
            assert_eq!(old.bytes, new.bytes, "{name}");
            continue;
        }
        // Rows 0, 1, 2, 3 of a head become 0, 2, 1, 3.
        let row = old.bytes.len() / old.shape[0];
        let rows =
            |bytes: &[u8]| bytes.chunks(row).map(<[u8]>::to_vec).collect::<Vec<_>>();
        let (old, new) = (rows(&old.bytes), rows(&new.bytes));
        for head in 0..old.len() / 4 {
            let moved = [0, 2, 1, 3].map(|from| old[head * 4 + from].clone());
            assert_eq!(new[head * 4..][..4], moved, "{name}, head {head}");
        }
    }
}

#[test]
fn permute_behind_a_prefix_leaves_the_other_layers() {
    let (_, _, before, after) =
        permuted(&format!("{TO_META} --prefix model.layers.1."));
    for name in before.names() {
        let same = before.raw(&name).unwrap() == after.raw(&name).unwrap();
        let moved = name.starts_with("model.layers.1.") && is_paired(&name);
        assert_eq!(same, !moved, "{name}");
    }
}

/// Runs the binary in `folder` and gives what the last file named holds.
fn step(folder: &TempDir, arguments: &str, from: &str, to: &str) -> Tensors {
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let mut command = Command::cargo_bin("rotary").unwrap();
    command.args(arguments.split(' '));
    command.args(["--input", &path(from), "--output", &path(to)]).assert().success();
    Tensors::open(Path::new(&path(to))).unwrap()
}

#[test]
fn a_permuted_layer_runs_interleaved_and_gives_the_same() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("halves"), bytes_of(&layer(), None)).unwrap();
    let run = |arguments: &str, from, to| step(&folder, arguments, from, to);
    run(&format!("permute {TO_META}"), "halves", "pairs");
    let forward = "forward --heads 8 --kv-heads 4 --causal";
    let expected = run(forward, "halves", "y").matrix("y").unwrap();
    let found =
        run(&format!("{forward} --interleaved"), "pairs", "z").matrix("y").unwrap();
    assert_close("y", &found, &expected, 1e-4);

    let back = "permute --heads 8 --kv-heads 4 --to half-split";
    let (before, after) =
        (Tensors::open(&folder.path().join("halves")), run(back, "pairs", "back"));
    let before = before.unwrap();
    for name in before.names() {
        assert_eq!(before.raw(&name).unwrap(), after.raw(&name).unwrap(), "{name}");
    }
}

#[test]
fn metas_names_are_known_and_any_dtype_may_move() {
    let eights = |name: &str, rows: u8| {
        let bytes = (0..rows).collect();
        Tensor(name.to_owned(), Dtype::F8_E4M3, vec![rows.into(), 1], bytes)
    };
    let tensors = [
        eights("layers.0.attention.wq.weight", 32),
        eights("layers.0.attention.wk.weight", 16),
        eights("layers.0.attention.wv.weight", 16),
    ];
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("meta"), bytes_of(&tensors, None)).unwrap();
    let flags = "permute --heads 4 --kv-heads 2 --to half-split";
    let after = step(&folder, flags, "meta", "hf");
    let bytes = |name: &str| {
        after.raw(&format!("layers.0.attention.{name}.weight")).unwrap().bytes.to_vec()
    };
    assert_eq!(bytes("wq")[..8], [0, 2, 4, 6, 1, 3, 5, 7]);
    assert_eq!(bytes("wk")[8..], [8, 10, 12, 14, 9, 11, 13, 15]);
    assert_eq!(bytes("wv"), (0..16).collect::<Vec<u8>>());
}

#[test]
fn what_follows_the_features_of_a_permuted_projection_and_stays_is_told() {
    let scaled = with(layer(), f32s("q_proj.weight_scale", &[32, 1]));
    let normed = with(scaled, f32s("k_norm.weight", &[4]));
    let (code, _, stderr, _) = run(&bytes_of(&normed, None), PERMUTE);
    assert_eq!(code, 0);
    let told = "\
warning: k_norm.weight is kept, though its projection was permuted
warning: q_proj.weight_scale is kept, though its projection was permuted
";
    assert_eq!(stderr, told);
}

#[test]
fn an_input_may_be_permuted_in_place() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("model"), bytes_of(&layer(), None)).unwrap();
    let after = step(&folder, &format!("permute {TO_META}"), "model", "model");
    assert_eq!(after.shape("k_proj.weight").unwrap(), [16, 6]);
}
