//! The chapter through its binary, as a reader runs it: what it prints, what it makes of
//! the reference files, and what it says to inputs that it cannot use.

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

fn of(name: &str, dtype: Dtype, shape: &[usize]) -> Tensor {
    let count = shape.iter().product::<usize>();
    let bytes = match dtype {
        Dtype::F32 => {
            (0..count).flat_map(|i| ((i % 7) as f32 - 3.0).to_le_bytes()).collect()
        }
        Dtype::F16 | Dtype::BF16 => vec![0x3c; count * 2],
        Dtype::BOOL => vec![1; count],
        _ => vec![1; count * 8],
    };
    Tensor(name.to_owned(), dtype, shape.to_vec(), bytes)
}

fn f32s(name: &str, shape: &[usize]) -> Tensor {
    of(name, Dtype::F32, shape)
}

fn bytes_of(tensors: &[Tensor]) -> Vec<u8> {
    let views = tensors.iter().map(|Tensor(name, dtype, shape, bytes)| {
        (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

/// The weights of three heads of 4 + 2 with values of 5, latents of 7 and 3, tokens of 6.
const WEIGHTS: [(&str, [usize; 2]); 5] = [
    ("q_a_proj", [3, 6]),
    ("q_b_proj", [18, 3]),
    ("kv_a_proj_with_mqa", [9, 6]),
    ("kv_b_proj", [27, 7]),
    ("o_proj", [6, 15]),
];

fn low_rank_layer() -> Vec<Tensor> {
    let mut tensors = vec![
        f32s("q_a_layernorm.weight", &[3]),
        f32s("kv_a_layernorm.weight", &[7]),
        f32s("x", &[4, 6]),
    ];
    for (name, [d_out, d_in]) in WEIGHTS {
        tensors.push(f32s(&format!("{name}.weight"), &[d_out, d_in]));
        tensors.push(f32s(&format!("{name}.bias"), &[d_out]));
    }
    tensors
}

fn full_layer() -> Vec<Tensor> {
    let mut tensors = low_rank_layer();
    tensors.retain(|tensor| !tensor.0.starts_with("q_"));
    tensors.push(f32s("q_proj.weight", &[18, 6]));
    tensors
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
    let ran = Command::cargo_bin("latent").unwrap().args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap().replace(here, "DIR");
    let out = fs::read(folder.path().join("out")).ok();
    (ran.status.code().unwrap(), text(ran.stdout), text(ran.stderr), out)
}

const SIZES: &str = "--heads 3 --nope-dim 4 --rope-dim 2 --v-dim 5";
const FILES: &str = "forward --input IN --output OUT";

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
fn without_a_word_it_shows_the_example_and_the_caches() {
    let (code, stdout, stderr, _) = run(b"", "");
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.starts_with("W_Q: two heads of [2 | 2]\n"), "{stdout}");
    assert!(
        stdout.ends_with("latent                     576     34,560\n"),
        "{stdout}"
    );
}

fn stacks(file: &Tensors, name: &str) -> Vec<nalgebra::DMatrix<f32>> {
    file.stack(name, "[b, n, d]").unwrap().matrices
}

/// Every tensor of both, whatever the rank.
#[track_caller]
fn same(label: &str, written: &Tensors, expected: &Tensors) {
    for name in ["y", "attention_weights"] {
        let shape = expected.shape(name).unwrap();
        assert_eq!(written.shape(name).unwrap(), shape, "{label}");
        if shape.len() < 4 {
            for (found, expected) in
                stacks(written, name).iter().zip(stacks(expected, name))
            {
                assert_close(label, found, &expected, 3e-5);
            }
        }
    }
}

#[test]
fn forward_reproduces_every_reference_file_in_both_forms() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference");
    let all = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<PathBuf> = all
        .filter(|path| path.extension().is_some_and(|e| e == "safetensors"))
        .collect();
    assert_eq!(files.len(), 13);
    let out = TempDir::new().unwrap();
    let out = out.path().join("out");
    for path in files {
        let file = Tensors::open(&path).unwrap();
        let flags = &file.metadata().unwrap()["flags"];
        for absorb in [&[][..], &["--absorb"]] {
            let mut command = Command::cargo_bin("latent").unwrap();
            command.arg("forward").arg("--input").arg(&path).arg("--output").arg(&out);
            command.args(flags.split(' ')).args(absorb).assert().success();
            let label = format!("{} {absorb:?}", path.display());
            same(&label, &Tensors::open(&out).unwrap(), &file);
        }
    }
}

#[test]
fn theta_is_10000_unless_said_otherwise() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = fs::read(path.join("tests/reference/long.safetensors")).unwrap();
    let sizes = "--heads 4 --nope-dim 4 --rope-dim 8 --v-dim 4 --causal";
    let written = |flags: &str| {
        let (code, _, stderr, out) = run(&file, &format!("{FILES} {sizes} {flags}"));
        assert_eq!((code, stderr.as_str()), (0, ""));
        out.unwrap()
    };
    assert_eq!(written(""), written("--rope-theta 10000"));
    assert_ne!(written(""), written("--rope-theta 500000"));
}

#[test]
fn a_layer_within_a_checkpoint_is_found_by_its_prefix() {
    let prefix = "model.layers.3.self_attn.";
    let named =
        low_rank_layer().into_iter().map(|Tensor(name, dtype, shape, bytes)| {
            Tensor(format!("{prefix}{name}"), dtype, shape, bytes)
        });
    let named = bytes_of(&named.collect::<Vec<_>>());
    let plain =
        run(&bytes_of(&low_rank_layer()), &format!("{FILES} {SIZES}")).3.unwrap();
    let found = run(&named, &format!("{FILES} {SIZES} --prefix {prefix}"));
    assert_eq!(found.3.unwrap(), plain, "{}", found.2);
}

#[test]
fn half_precision_is_read() {
    for dtype in [Dtype::F16, Dtype::BF16] {
        let halves =
            low_rank_layer().iter().map(|t| of(&t.0, dtype, &t.2)).collect::<Vec<_>>();
        let (code, _, stderr, out) =
            run(&bytes_of(&halves), &format!("{FILES} {SIZES} --causal --absorb"));
        assert_eq!((code, out.is_some()), (0, true), "{stderr}");
    }
}

#[test]
fn bad_layers_get_one_clear_line() {
    let forward = format!("{FILES} {SIZES}");
    let refused = |tensors: Vec<Tensor>, says: &str| {
        for absorb in ["", " --absorb"] {
            refused(&bytes_of(&tensors), &format!("{forward}{absorb}"), 1, says);
        }
    };
    let layer = low_rank_layer;
    for (proj, [rows, columns]) in WEIGHTS {
        let (weight, bias) = (format!("{proj}.weight"), format!("{proj}.bias"));
        let missing = if proj == "q_a_proj" { "q_proj.weight" } else { &weight };
        refused(without(layer(), &weight), &format!("no tensor `{missing}`"));
        refused(with(layer(), f32s(&weight, &[rows * columns])), "wanted [out, in]");
        refused(with(layer(), f32s(&weight, &[1, rows, columns])), "wanted [out, in]");
        refused(with(layer(), of(&weight, Dtype::I64, &[rows, columns])), "dtype I64");
        refused(
            with(layer(), of(&weight, Dtype::BOOL, &[rows, columns])),
            "dtype BOOL",
        );
        refused(with(layer(), f32s(&bias, &[rows + 1])), &format!("wanted [{rows}]"));
        refused(with(layer(), f32s(&bias, &[rows, 1])), "wanted [length]");
    }
    for (norm, rank) in [("q_a_layernorm", 3), ("kv_a_layernorm", 7)] {
        let weight = format!("{norm}.weight");
        refused(without(layer(), &weight), &format!("no tensor `{weight}`"));
        let says = format!("{weight}: shape [{}], wanted [{rank}], because", rank + 1);
        refused(with(layer(), f32s(&weight, &[rank + 1])), &says);
        refused(with(layer(), f32s(&weight, &[1, rank])), "wanted [length]");
        refused(with(layer(), of(&weight, Dtype::I64, &[rank])), "dtype I64");
    }
    let misfit = |name: &str, shape: [usize; 2], says: &str| {
        let bare = without(layer(), &format!("{name}.bias"));
        refused(with(bare, f32s(&format!("{name}.weight"), &shape)), says);
    };
    misfit("q_b_proj", [12, 3], "q_b_proj.weight: shape [12, 3], wanted [18, 3]");
    misfit("q_b_proj", [18, 4], "q_b_proj.weight: shape [18, 4], wanted [18, 3]");
    misfit(
        "kv_a_proj_with_mqa",
        [7, 6],
        "shape [7, 6], wanted [9, 6], because the latent",
    );
    misfit("kv_a_proj_with_mqa", [9, 5], "shape [9, 5], wanted [9, 6]");
    misfit("kv_b_proj", [24, 7], "kv_b_proj.weight: shape [24, 7], wanted [27, 7]");
    misfit(
        "kv_b_proj",
        [27, 6],
        "kv_a_proj_with_mqa.weight: shape [9, 6], wanted [8, 6]",
    );
    misfit("o_proj", [6, 12], "o_proj.weight: shape [6, 12], wanted [6, 15]");
    misfit("q_a_proj", [4, 6], "q_a_layernorm.weight: shape [3], wanted [4]");
    refused(with(full_layer(), f32s("q_proj.weight", &[12, 6])), "wanted [18, 6]");
    refused(with(layer(), f32s("q_proj.weight", &[18, 6])), "a layer has one of them");
}

#[test]
fn bad_sequences_get_one_clear_line() {
    let refused = |tensors: Vec<Tensor>, says: &str| {
        refused(&bytes_of(&tensors), &format!("{FILES} {SIZES}"), 1, says);
    };
    let layer = low_rank_layer;
    refused(without(layer(), "x"), "no tensor `x`");
    refused(with(layer(), f32s("x", &[6])), "wanted [n, d] or [b, n, d]");
    refused(with(layer(), f32s("x", &[3, 5])), "x: expected (3, 6), found (3, 5)");
    refused(with(layer(), f32s("x", &[3, 0])), "a token has at least one feature");
    refused(with(layer(), of("x", Dtype::I64, &[3, 6])), "dtype I64");
    refused(with(layer(), f32s("context", &[4, 6])), "the file holds a context");
    refused(with(layer(), f32s("mask", &[4, 4])), "wanted BOOL");
    refused(with(layer(), of("mask", Dtype::BOOL, &[4, 3])), "wanted [4, 4]");
    refused(with(layer(), of("mask", Dtype::BOOL, &[2, 4, 4])), "x is one sequence");
}

#[test]
fn bad_flags_get_one_clear_line() {
    let file = bytes_of(&low_rank_layer());
    for (flag, value) in [("heads", 3), ("nope-dim", 4), ("rope-dim", 2), ("v-dim", 5)]
    {
        let given = format!("--{flag} {value}");
        let flags = |other: &str| format!("{FILES} {}", SIZES.replace(&given, other));
        refused(&file, &flags(""), 2, &format!("--{flag}"));
        refused(&file, &flags(&format!("--{flag}=-1")), 2, &format!("--{flag}"));
        refused(&file, &flags(&format!("--{flag} 1.5")), 2, &format!("--{flag}"));
        refused(&file, &flags(&format!("{given} {given}")), 2, "multiple times");
        refused(&file, &flags(&format!("--{flag} 0")), 1, "each has to be at least 1");
        refused(&file, &flags(&format!("--{flag} 7")), 1, "wanted");
        let huge = format!("--{flag} {}", usize::MAX);
        refused(&file, &flags(&huge), 1, "wanted");
    }
    let odd = "--heads 3 --nope-dim 3 --rope-dim 3 --v-dim 6";
    let odd_file =
        [f32s("kv_a_proj_with_mqa.weight", &[10, 6]), f32s("o_proj.weight", &[6, 18])];
    let odd_file = odd_file
        .into_iter()
        .fold(without(low_rank_layer(), "kv_a_proj_with_mqa.bias"), with);
    refused(&bytes_of(&odd_file), &format!("{FILES} {odd}"), 1, "--rope-dim 3");
    let whole = format!("{FILES} {SIZES}");
    for theta in ["0", "-3", "NaN", "inf"] {
        let flags = format!("{whole} --rope-theta={theta}");
        refused(&file, &flags, 1, "--rope-theta");
    }
    refused(&file, &format!("{whole} --rope-theta far"), 2, "--rope-theta");
    refused(&file, &format!("{whole} --kv-heads 2"), 2, "--kv-heads");
    refused(&file, &format!("{whole} --repeat 0"), 2, "--repeat");
    refused(&file, &format!("{whole} --prefix layers.0."), 1, "layers.0.");
    let masked = with(low_rank_layer(), of("mask", Dtype::BOOL, &[4, 4]));
    let says = "--causal and a mask in the file: give one";
    refused(&bytes_of(&masked), &format!("{whole} --causal"), 1, says);
}

#[test]
fn bad_files_get_one_clear_line() {
    let whole = bytes_of(&low_rank_layer());
    let forward = format!("{FILES} {SIZES}");
    for keep in [0, 1, 7, 8, 9, 100, whole.len() / 2, whole.len() - 1] {
        refused(&whole[..keep], &forward, 1, "cannot read DIR/in as safetensors");
    }
    let longer = [&whole[..], b"!"].concat();
    refused(&longer, &forward, 1, "cannot read DIR/in as safetensors");
    refused(&[0xff; 64], &forward, 1, "bytes of header");
    refused(
        &whole,
        &forward.replace("IN", "DIR/nowhere"),
        1,
        "cannot read DIR/nowhere",
    );
    refused(&whole, &forward.replace("IN", "DIR"), 1, "it is a directory");
    refused(&whole, &forward.replace("OUT", "DIR"), 1, "cannot write DIR");
    refused(
        &whole,
        &forward.replace("OUT", "DIR/no/out"),
        1,
        "there is no folder DIR/no",
    );
}

#[test]
fn nan_in_the_weights_is_told_once() {
    let mut layer = low_rank_layer();
    let norm = layer.iter_mut().find(|t| t.0 == "kv_a_layernorm.weight").unwrap();
    norm.3[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    let (code, _, stderr, _) = run(&bytes_of(&layer), &format!("{FILES} {SIZES}"));
    assert_eq!(code, 0);
    assert_eq!(
        stderr,
        "warning: kv_a_layernorm.weight holds 1 NaN; every output that uses them is NaN\n"
    );
}
