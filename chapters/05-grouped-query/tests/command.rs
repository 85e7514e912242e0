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

/// Eight heads of 2 on 16 features, four key/value heads, with biases, and three tokens.
fn grouped_layer() -> Vec<Tensor> {
    layer_with(8)
}

fn layer_with(kv_width: usize) -> Vec<Tensor> {
    vec![
        f32s("q_proj.weight", &[16, 6]),
        f32s("q_proj.bias", &[16]),
        f32s("k_proj.weight", &[kv_width, 6]),
        f32s("k_proj.bias", &[kv_width]),
        f32s("v_proj.weight", &[kv_width, 6]),
        f32s("v_proj.bias", &[kv_width]),
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
    let ran =
        Command::cargo_bin("grouped-query").unwrap().args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap().replace(here, "DIR");
    let out = fs::read(folder.path().join("out")).ok();
    (ran.status.code().unwrap(), text(ran.stdout), text(ran.stderr), out)
}

const FORWARD: &str = "forward --input IN --output OUT --heads 8 --kv-heads 4";
const CONVERT: &str = "convert --input IN --output OUT --heads 8 --kv-heads 4";

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
fn without_a_word_it_shows_the_example_and_the_errors() {
    let (code, stdout, stderr, _) = run(b"", "");
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.starts_with("W_Q: four heads of width 1\n"), "{stdout}");
    assert!(stdout.contains("0.79    1.15"), "{stdout}");
}

#[test]
fn forward_reproduces_every_reference_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference");
    let all = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<PathBuf> = all
        .filter(|path| path.extension().is_some_and(|e| e == "safetensors"))
        .collect();
    assert_eq!(files.len(), 18);
    let out = TempDir::new().unwrap().keep().join("out");
    for path in files {
        let file = Tensors::open(&path).unwrap();
        let flags = &file.metadata().unwrap()["flags"];
        let mut command = Command::cargo_bin("grouped-query").unwrap();
        command.arg("forward").arg("--input").arg(&path).arg("--output").arg(&out);
        command.args(flags.split(' ')).assert().success();
        let written = Tensors::open(&out).unwrap();
        let label = path.file_stem().unwrap().to_str().unwrap();
        for (found, expected) in stacks(&written, "y").iter().zip(stacks(&file, "y")) {
            assert_close(label, found, &expected, 2e-5);
        }
        if label != "batch" {
            let weights = stacks(&written, "attention_weights");
            for (found, expected) in
                weights.iter().zip(stacks(&file, "attention_weights"))
            {
                assert_close(label, found, &expected, 2e-5);
            }
        }
    }
    fs::remove_dir_all(out.parent().unwrap()).unwrap();
}

fn stacks(file: &Tensors, name: &str) -> Vec<nalgebra::DMatrix<f32>> {
    file.stack(name, "[b, n, d]").unwrap().matrices
}

#[test]
fn bad_layers_get_one_clear_line() {
    let refused = |tensors: Vec<Tensor>, says: &str| {
        refused(&bytes_of(&tensors, None), FORWARD, 1, says);
    };
    let layer = grouped_layer;
    for (proj, rows, columns) in
        [("q_proj", 16, 6), ("k_proj", 8, 6), ("v_proj", 8, 6), ("o_proj", 6, 16)]
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
        refused(with(layer(), ints(&bias, &[rows])), "dtype I64");
        let more = without(with(layer(), f32s(&weight, &[rows, columns + 1])), &bias);
        let (code, _, stderr, out) = run(&bytes_of(&more, None), FORWARD);
        assert_eq!((code, out), (1, None), "{stderr}");
    }
    let multi_head = layer_with(16);
    refused(
        multi_head,
        "k_proj.weight: shape [16, 6], wanted [8, 6], because a key/value",
    );
    refused(without(layer(), "x"), "no tensor `x`");
    refused(with(layer(), f32s("x", &[6])), "wanted [n, d] or [b, n, d]");
    refused(with(layer(), f32s("x", &[3, 5])), "x: expected (3, 6), found (3, 5)");
    refused(with(layer(), f32s("x", &[3, 0])), "a token has at least one feature");
    refused(with(layer(), ints("x", &[3, 6])), "dtype I64");
    refused(with(layer(), f32s("context", &[4, 5])), "context: expected (4, 6)");
    refused(with(layer(), f32s("context", &[2, 4, 6])), "x is one sequence");
    refused(with(layer(), f32s("mask", &[3, 3])), "wanted BOOL");
    refused(with(layer(), bools("mask", &[3, 4])), "wanted [3, 3]");
    refused(with(layer(), bools("mask", &[2, 3, 3])), "x is one sequence");
}

#[test]
fn bad_flags_get_one_clear_line() {
    let file = bytes_of(&grouped_layer(), None);
    let forward = "forward --input IN --output OUT";
    let convert = "convert --input IN --output OUT";
    for (heads, kv_heads) in [(0, 0), (0, 4), (8, 0), (8, 3), (4, 8), (7, 2), (1, 2)] {
        let flags = format!("--heads {heads} --kv-heads {kv_heads}");
        let says =
            format!("{flags}: {heads} query heads cannot form {kv_heads} equal groups");
        refused(&file, &format!("{forward} {flags}"), 1, &says);
        refused(&file, &format!("{convert} {flags}"), 1, &says);
    }
    refused(&file, &format!("{forward} --heads 5 --kv-heads 5"), 1, "q_proj: width 16");
    refused(
        &file,
        &format!("{forward} --heads 16 --kv-heads 4"),
        1,
        "k_proj.weight: shape",
    );
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
        refused(&file, &format!("{convert} {flags}"), 2, "--");
    }
    refused(&file, &format!("{CONVERT} --method median"), 2, "median");
    refused(&file, &format!("{CONVERT} --seed x"), 2, "seed");
    refused(&file, &format!("{CONVERT} --causal"), 2, "--causal");
    refused(&file, &format!("{FORWARD} --method mean"), 2, "--method");
    refused(&file, &format!("{FORWARD} --repeat 0"), 2, "--repeat");
    let masked = with(grouped_layer(), bools("mask", &[3, 3]));
    let says = "--causal and a mask in the file: give one";
    refused(&bytes_of(&masked, None), &format!("{FORWARD} --causal"), 1, says);
}

#[test]
fn bad_files_get_one_clear_line() {
    for (command, layer) in [(FORWARD, grouped_layer()), (CONVERT, layer_with(16))] {
        let whole = bytes_of(&layer, None);
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
        refused(&whole, &elsewhere, 1, "_proj.weight`");
    }
}

#[test]
fn bad_checkpoints_are_not_converted() {
    let refused = |tensors: Vec<Tensor>, says: &str| {
        refused(&bytes_of(&tensors, None), CONVERT, 1, says);
    };
    let layer = || layer_with(16);
    for proj in ["k_proj", "v_proj"] {
        let (weight, bias) = (format!("{proj}.weight"), format!("{proj}.bias"));
        refused(without(layer(), &weight), &format!("no tensor `{weight}`"));
        refused(with(layer(), f32s(&weight, &[96])), "wanted [out, in]");
        refused(with(layer(), f32s(&weight, &[2, 8, 6])), "wanted [out, in]");
        refused(with(layer(), ints(&weight, &[16, 6])), "dtype I64");
        refused(with(layer(), f32s(&bias, &[15])), "wanted [16]");
        refused(with(layer(), ints(&bias, &[16])), "dtype I64");
        let odd = without(with(layer(), f32s(&weight, &[18, 6])), &bias);
        refused(odd, &format!("{weight}: shape [18, 6], wanted [24, 6]"));
    }
    let why = "because a multi-head layer has as wide keys as queries";
    refused(
        layer_with(8),
        &format!("k_proj.weight: shape [8, 6], wanted [16, 6], {why}"),
    );
    refused(vec![f32s("x", &[3, 6])], "no tensor `k_proj.weight`");
    refused(vec![], "it holds no tensors");
}

#[test]
fn nan_in_the_weights_is_told_once() {
    let mut layer = layer_with(16);
    layer[2].3[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    let (code, _, stderr, _) = run(&bytes_of(&layer, None), CONVERT);
    assert_eq!(code, 0);
    assert_eq!(
        stderr,
        "warning: k_proj.weight holds 1 NaN; every output that uses them is NaN\n"
    );
}

/// A checkpoint of two multi-head layers of four heads, in BF16, with much else.
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
        f32s("model.norm.weight", &[4]),
        f32s("model.layers.0.k_proj_norm.weight", &[4]),
    ];
    for layer in 0..2 {
        for proj in ["q_proj", "k_proj", "v_proj", "o_proj"] {
            let name = format!("model.layers.{layer}.self_attn.{proj}");
            tensors.push(half(&format!("{name}.weight"), &[4, 4], layer));
            tensors.push(f32s(&format!("{name}.bias"), &[4]));
        }
    }
    let notes = [("format", "pt"), ("note", "kept")];
    let notes = notes.map(|(key, value)| (key.to_owned(), value.to_owned()));
    (tensors, notes.into())
}

/// Runs convert on the checkpoint and gives what it printed, and both files.
fn converted(flags: &str) -> (String, String, Tensors, Tensors) {
    let folder = TempDir::new().unwrap().keep();
    let (tensors, notes) = checkpoint();
    fs::write(folder.join("mha.safetensors"), bytes_of(&tensors, Some(notes))).unwrap();
    let ran = Command::cargo_bin("grouped-query")
        .unwrap()
        .current_dir(&folder)
        .args("convert --input mha.safetensors --output gqa.safetensors".split(' '))
        .args(flags.split(' '))
        .assert()
        .success();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (stdout, stderr) =
        (text(&ran.get_output().stdout), text(&ran.get_output().stderr));
    let open = |name| Tensors::open(&folder.join(name)).unwrap();
    let (before, after) = (open("mha.safetensors"), open("gqa.safetensors"));
    fs::remove_dir_all(folder).unwrap();
    (stdout, stderr, before, after)
}

fn is_pooled(name: &str) -> bool {
    name.contains(".k_proj.") || name.contains(".v_proj.")
}

#[test]
fn convert_pools_a_whole_checkpoint_and_keeps_the_rest_to_the_bit() {
    let (stdout, stderr, before, after) = converted("--heads 4 --kv-heads 2");
    assert_snapshot!("converted", stdout);
    assert_eq!(stderr, "");
    assert_eq!(before.names(), after.names());
    assert_eq!(before.metadata(), after.metadata());
    for name in before.names() {
        let (old, new) = (before.raw(&name).unwrap(), after.raw(&name).unwrap());
        assert_eq!(old.dtype, new.dtype, "{name}");
        if is_pooled(&name) {
            assert_eq!(new.shape[0] * 2, old.shape[0], "{name}");
            assert_eq!(new.shape[1..], old.shape[1..], "{name}");
        } else {
            assert_eq!(old, new, "{name}");
        }
    }
    // Rows 0 and 1 of the weight: entry i is 1 + i / 128, and row 1 is 4 entries on.
    let weight = after.matrix("model.layers.0.self_attn.k_proj.weight").unwrap();
    assert_eq!(weight[(0, 0)], 1.0 + 2.0 / 128.0);
    // -3, -2, -1, 0 to their means in pairs.
    let bias = after.vector("model.layers.1.self_attn.v_proj.bias").unwrap();
    assert_eq!(bias.as_slice(), [-2.5, -0.5]);
}

#[test]
fn convert_behind_a_prefix_leaves_the_other_layers() {
    let flags = "--heads 4 --kv-heads 1 --method first --prefix model.layers.1.";
    let (_, _, before, after) = converted(flags);
    for name in before.names() {
        let same = before.raw(&name).unwrap() == after.raw(&name).unwrap();
        assert_eq!(
            same,
            !(name.starts_with("model.layers.1.") && is_pooled(&name)),
            "{name}"
        );
    }
    let bytes = |file: &Tensors| {
        file.raw("model.layers.1.self_attn.k_proj.weight").unwrap().bytes.to_vec()
    };
    assert_eq!(bytes(&after), bytes(&before)[..8]);
}

#[test]
fn convert_at_random_follows_the_seed() {
    let weight = |seed: u8| {
        let flags = format!("--heads 4 --kv-heads 2 --method random --seed {seed}");
        let (_, _, _, after) = converted(&flags);
        let of = |proj| {
            let name = format!("model.layers.0.self_attn.{proj}.weight");
            after.raw(&name).unwrap().bytes.to_vec()
        };
        (of("k_proj"), of("v_proj"))
    };
    let (first, second) = (weight(1), weight(2));
    assert_eq!(first, weight(1));
    assert_ne!(first, second);
    assert_ne!(first.0, first.1, "keys and values get numbers of their own");
}

#[test]
fn as_many_groups_as_heads_change_nothing() {
    for method in ["mean", "first"] {
        let flags = format!("--heads 4 --kv-heads 4 --method {method}");
        let (_, _, before, after) = converted(&flags);
        for name in before.names() {
            assert_eq!(before.raw(&name).unwrap(), after.raw(&name).unwrap(), "{name}");
        }
    }
}

#[test]
fn what_convert_writes_runs_as_a_grouped_layer() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("in"), bytes_of(&layer_with(16), None)).unwrap();
    let run = |arguments: &str, from: &str, to: &str| {
        let mut command = Command::cargo_bin("grouped-query").unwrap();
        command.args(arguments.split(' ')).args([
            "--input",
            &path(from),
            "--output",
            &path(to),
        ]);
        command.assert().success();
    };
    run("convert --heads 8 --kv-heads 2", "in", "gqa");
    run("forward --heads 8 --kv-heads 2", "gqa", "out");
    let y = Tensors::open(Path::new(&path("out"))).unwrap().matrix("y").unwrap();
    assert_eq!(y.shape(), (3, 6));
}

#[test]
fn an_input_may_be_converted_in_place() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("model");
    fs::write(&path, bytes_of(&layer_with(16), None)).unwrap();
    let path = path.to_str().unwrap();
    let arguments = ["convert", "--heads", "8", "--kv-heads", "2", "--input", path];
    let mut command = Command::cargo_bin("grouped-query").unwrap();
    command.args(arguments).args(["--output", path]).assert().success();
    let file = Tensors::open(Path::new(path)).unwrap();
    assert_eq!(file.shape("k_proj.weight").unwrap(), [4, 6]);
}

#[test]
fn what_belongs_to_a_pooled_projection_and_stays_is_told() {
    let odd = with(layer_with(16), f32s("k_proj.weight_scale", &[16, 1]));
    let (code, _, stderr, _) = run(&bytes_of(&odd, None), CONVERT);
    assert_eq!(code, 0);
    let told =
        "warning: k_proj.weight_scale is kept, though its projection was pooled\n";
    assert_eq!(stderr, told);
}
