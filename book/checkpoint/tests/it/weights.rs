//! Tensors come out of every kind of file as those who wrote it meant them.

use crate::written::{Gguf, f32s, reference, safetensors};
use checkpoint::{Format, Model, Weights, llama_row_order};
use std::fs;
use std::path::Path;
use std::time::Instant;
use tempfile::TempDir;

#[test]
fn every_format_is_widened_as_its_authors_do() {
    let stored = Weights::open(&reference("blocks.gguf")).unwrap();
    let expected = Weights::open(&reference("blocks.safetensors")).unwrap();
    assert_eq!(stored.names().count(), 11);
    for name in expected.names() {
        let tensor = stored.tensor(name).unwrap();
        assert_eq!(tensor.format().name(), name);
        assert_eq!(tensor.shape(), [2, 512]);
        let wanted = expected.tensor(name).unwrap().to_f32().unwrap();
        let found = tensor.to_f32().unwrap();
        for (at, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
            assert_eq!(found.to_bits(), wanted.to_bits(), "{name}, number {at}");
        }
        let mut row = [0.0; 512];
        tensor.row_to_f32(1, &mut row).unwrap();
        assert_eq!(row, wanted[512..]);
        let blocks = tensor.row(1);
        assert_eq!(
            blocks.len(),
            512 / tensor.format().block() * tensor.format().block_bytes()
        );
        assert_eq!(blocks, &tensor.bytes()[blocks.len()..]);
    }
    assert_eq!(stored.numbers(), 11 * 1024);
}

#[test]
fn folder_and_gguf_hold_the_same_model() {
    let folder = Model::open(&reference("tiny")).unwrap();
    let gguf = Model::open(&reference("tiny.gguf")).unwrap();
    let names: Vec<&str> = folder.weights().names().collect();
    assert_eq!(gguf.weights().names().collect::<Vec<_>>(), names);
    for name in names {
        let [one, other] =
            [&folder, &gguf].map(|model| model.weights().tensor(name).unwrap());
        assert_eq!(one.shape(), other.shape(), "{name}");
        assert_eq!(one.to_f32().unwrap(), other.to_f32().unwrap(), "{name}");
        assert_eq!(one.to_finite_f32().unwrap(), one.to_f32().unwrap());
        assert_eq!(one.bytes(), other.bytes(), "{name}");
    }
    let [one, other] = [folder.config(), gguf.config()];
    assert_eq!(one.attention(0).unwrap(), other.attention(0).unwrap());
    assert_eq!(one.sizes().unwrap(), other.sizes().unwrap());
    assert_eq!(one.norm_eps().unwrap(), other.norm_eps().unwrap());
    assert_eq!(one.activation().unwrap(), other.activation().unwrap());
    assert!(one.tied() && other.tied());
    assert_eq!((folder.stops(), gguf.stops()), (&[2][..], &[2][..]));
}

#[test]
fn rows_of_queries_are_put_back_one_by_one() {
    let [folder, gguf] = ["tiny", "tiny.gguf"].map(|name| {
        let model = Model::open(&reference(name)).unwrap();
        model.weights().clone()
    });
    let name = "model.layers.0.self_attn.q_proj.weight";
    let [one, other] = [&folder, &gguf].map(|weights| weights.tensor(name).unwrap());
    for row in 0..8 {
        assert_eq!(one.row(row), other.row(row), "row {row}");
    }
    assert_eq!(one.row(8), [0_u8; 0]);
    // Something was moved: the file itself has the rows in another order.
    let file = fs::read(reference("tiny.gguf")).unwrap();
    let as_stored =
        file.windows(one.bytes().len()).any(|window| window == &*one.bytes());
    assert!(!as_stored);
    assert_eq!(llama_row_order(8), [0, 2, 4, 6, 1, 3, 5, 7]);
}

/// A folder with two files, and the index of them.
fn sharded() -> TempDir {
    let folder = TempDir::new().unwrap();
    let write =
        |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    write("a.safetensors", &safetensors(&[("x", "F32", &[2], &f32s(&[1.0, 2.0]))]));
    write("b.safetensors", &safetensors(&[("y", "BF16", &[1], &[0x80, 0x3f])]));
    write(
        "model.safetensors.index.json",
        br#"{"metadata": {}, "weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}"#,
    );
    folder
}

fn error(path: &Path) -> String {
    let error = Weights::open(path).unwrap_err().to_string();
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

#[test]
fn a_model_in_several_files_is_one() {
    let folder = sharded();
    for path in [
        folder.path().to_path_buf(),
        folder.path().join("model.safetensors.index.json"),
    ] {
        let weights = Weights::open(&path).unwrap();
        assert_eq!(weights.names().collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(weights.tensor("y").unwrap().to_f32().unwrap(), [1.0]);
        assert_eq!((weights.bytes(), weights.numbers()), (10, 3));
    }
}

#[test]
fn an_index_that_names_what_is_not_there_is_refused() {
    let folder = sharded();
    fs::remove_file(folder.path().join("b.safetensors")).unwrap();
    let told = error(folder.path());
    assert!(
        told.contains("it names `b.safetensors`, which is not beside it"),
        "{told}"
    );

    let other = safetensors(&[("z", "F32", &[0], &[])]);
    fs::write(folder.path().join("b.safetensors"), other).unwrap();
    let told = error(folder.path());
    assert!(told.contains("it says that `y` is in `b.safetensors`"), "{told}");

    let twice = safetensors(&[("x", "F32", &[0], &[])]);
    fs::write(folder.path().join("b.safetensors"), twice).unwrap();
    let told = error(folder.path());
    assert!(told.contains("`x` is in") && told.contains("a.safetensors too"), "{told}");
}

#[test]
fn a_shard_that_is_cut_short_is_named() {
    let folder = sharded();
    let path = folder.path().join("a.safetensors");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
    let told = error(folder.path());
    assert!(
        told.contains("a.safetensors: it promises 8 bytes of data, and has 5"),
        "{told}"
    );
}

#[test]
fn what_is_no_model_says_what_it_is() {
    let folder = TempDir::new().unwrap();
    let told = error(folder.path());
    assert!(told.contains("no model.safetensors"), "{told}");
    fs::write(folder.path().join("smol.gguf"), b"").unwrap();
    assert!(error(folder.path()).contains("give the file smol.gguf in it"));
    fs::write(folder.path().join("pytorch_model.bin"), b"").unwrap();
    assert!(error(folder.path()).contains("is a pickle"));
    let path = folder.path().join("model.safetensors");
    fs::write(&path, b"version https://git-lfs.github.com/spec/v1\noid sha256:1")
        .unwrap();
    assert!(error(folder.path()).contains("Git LFS pointer"));
    assert!(error(&folder.path().join("none")).contains("No such file"));
    let weights = safetensors(&[("x", "F32", &[1], &f32s(&[1.0]))]);
    fs::write(&path, weights).unwrap();
    let told = Model::open(folder.path()).unwrap_err().to_string();
    assert!(told.contains("no config.json"), "{told}");
    if cfg!(unix) {
        assert!(error("/dev/zero".as_ref()).contains("not a regular file"));
    }
}

#[test]
fn a_tensor_that_is_not_there_has_near_names() {
    let weights = Weights::open(&reference("tiny")).unwrap();
    let told = weights.tensor("model.layers.1.mlp.up_proj.weight").unwrap_err();
    let told = told.to_string();
    assert!(
        told.contains("of its 15, the nearest are `model.layers.0.mlp.up_proj"),
        "{told}"
    );
    let told = weights.shaped("model.norm.weight", &[9], "the width is 9").unwrap_err();
    let told = told.to_string();
    assert!(
        told.ends_with("has shape [8], and [9] was expected: the width is 9"),
        "{told}"
    );
}

#[test]
fn only_weights_are_widened() {
    let file = safetensors(&[
        ("half", "F16", &[2], &[0, 0x3c, 1, 0]),
        ("long", "F64", &[1], &0.1_f64.to_le_bytes()),
        ("mask", "BOOL", &[2], &[0, 1]),
        ("whole", "I64", &[1], &7_i64.to_le_bytes()),
    ]);
    let weights = Weights::parse("x.safetensors", file).unwrap();
    let numbers = |name| weights.tensor(name).unwrap().to_f32();
    assert_eq!(numbers("half").unwrap(), [1.0, 2.0_f32.powi(-24)]);
    assert_eq!(numbers("long").unwrap(), [0.1]);
    for (name, format) in [("mask", Format::Bool), ("whole", Format::I64)] {
        assert_eq!(weights.tensor(name).unwrap().format(), format);
        let told = numbers(name).unwrap_err().to_string();
        let says =
            format!("x.safetensors: `{name}` is stored as {format}, which is not");
        assert!(told.starts_with(&says), "{told}");
    }
}

#[test]
fn a_weight_that_is_no_number_is_named() {
    let numbers = [0.0, 1.0, 2.0, 3.0, f32::NAN, 5.0];
    let file = safetensors(&[("w", "F32", &[3, 2], &f32s(&numbers))]);
    let weights = Weights::parse("x", file).unwrap();
    let tensor = weights.tensor("w").unwrap();
    assert!(tensor.to_f32().unwrap()[4].is_nan());
    for told in
        [tensor.to_finite_f32().unwrap_err(), tensor.check_finite().unwrap_err()]
    {
        let told = told.to_string();
        assert!(told.starts_with("x: `w` holds NaN in row 2, column 0, and"), "{told}");
    }
}

#[test]
fn opening_reads_no_tensors() {
    const LENGTH: usize = 512 << 20;
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("large.safetensors");
    let header = format!(
        r#"{{"w":{{"dtype":"F16","shape":[1048576,256],"data_offsets":[0,{LENGTH}]}}}}"#
    );
    let begin = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
    fs::write(&path, &begin).unwrap();
    let file = fs::File::options().append(true).open(&path).unwrap();
    file.set_len((begin.len() + LENGTH) as u64).unwrap();
    let start = Instant::now();
    let weights = Weights::open(&path).unwrap();
    let row = weights.tensor("w").unwrap().row(1_000_000).to_vec();
    assert!(start.elapsed().as_millis() < 500, "{:?}", start.elapsed());
    assert_eq!((row.len(), weights.bytes()), (512, LENGTH as u64));
}

#[test]
fn a_format_that_is_not_read_is_refused_when_it_is_asked_for() {
    let file = Gguf::default().tensor("w", &[256, 1], 10, &[0; 84]).bytes();
    let weights = Weights::parse("x.gguf", file).unwrap();
    let told = weights.tensor("w").unwrap().to_f32().unwrap_err().to_string();
    assert!(
        told.contains("`w` is stored as Q2_K, which is not read here: take"),
        "{told}"
    );
}
