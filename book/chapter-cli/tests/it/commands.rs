//! A command of the chapter's own, which rewrites a file.

use crate::common::{Folder, Tensor, f32s, layer_and, raw, zeros};
use chapter_cli::{Destination, RawTensor, Tensors};
use safetensors::tensor::{Dtype, TensorView};
use std::collections::{BTreeMap, HashMap};
use std::fs;

const DOUBLE: &str = "double --input DIR/in --output DIR/out";

/// With metadata.
fn noted(tensors: &[Tensor], notes: &[(&str, &str)]) -> Vec<u8> {
    let views = tensors.iter().map(|t| {
        (&t.name, TensorView::new(t.dtype, t.shape.clone(), &t.bytes).unwrap())
    });
    let notes = notes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    safetensors::serialize(views, Some(notes)).unwrap()
}

#[test]
fn a_command_of_the_chapters_own_rewrites_a_file() {
    let folder = Folder::new().with("in", layer_and([zeros("x", &[1, 3])]));
    let ran = folder.run(DOUBLE);
    let said = (ran.code, ran.stdout.as_str(), ran.stderr.as_str());
    assert_eq!(said, (0, "doubled scale.weight\n", ""));
    let (shape, numbers) = folder.out("scale.weight");
    assert_eq!((shape, numbers), (vec![2, 3], vec![2.0, 4.0, 6.0, 20.0, 40.0, 60.0]));
    assert_eq!(folder.out("scale.bias").1, [0.5, -0.5]);
}

#[test]
fn what_is_not_touched_stays_as_it_is_to_the_bit() {
    let odd = [
        raw("ids", Dtype::I64, &[2], (0..16).collect()),
        raw("half", Dtype::BF16, &[3], vec![1, 128, 255, 127, 3, 4]),
        raw("flags", Dtype::BOOL, &[3], vec![1, 0, 1]),
        raw("none", Dtype::F32, &[0, 7], vec![]),
        raw("scale.weight", Dtype::BF16, &[1, 1], vec![0x80, 0x3f]),
    ];
    let notes = [("format", "pt"), ("who", "a test"), ("b", "2"), ("a", "1")];
    let folder = Folder::new().with("in", noted(&odd, &notes));
    assert_eq!(folder.run(DOUBLE).code, 0);
    let (read, wrote) = (
        Tensors::open(&folder.path("in")).unwrap(),
        Tensors::open(&folder.path("out")).unwrap(),
    );
    assert_eq!(read.metadata(), wrote.metadata());
    assert_eq!(read.names(), wrote.names());
    for name in ["ids", "half", "flags", "none"] {
        assert_eq!(read.raw(name).unwrap(), wrote.raw(name).unwrap(), "{name}");
    }
    let doubled = wrote.raw("scale.weight").unwrap();
    assert_eq!((doubled.dtype, &*doubled.bytes), (Dtype::BF16, &[0, 0x40][..]));

    let before = fs::read(folder.path("out")).unwrap();
    assert_eq!(folder.run(DOUBLE).code, 0);
    assert_eq!(fs::read(folder.path("out")).unwrap(), before, "the same bytes again");
}

#[test]
fn a_file_that_fails_leaves_what_was_there() {
    let folder = Folder::new().with("in", crate::common::file(&[zeros("x", &[1])]));
    let folder = folder.with("out", "precious");
    let ran = folder.run(DOUBLE);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.starts_with("error: no tensor `scale.weight` in DIR/in"));
    assert_eq!(fs::read(folder.path("out")).unwrap(), b"precious");
}

#[test]
fn a_flag_of_the_command_that_is_wrong_has_exit_code_2() {
    let ran = Folder::new().run("double --input DIR/in");
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
    assert_eq!(ran.stderr, "error: missing --output <OUTPUT> (see --help)\n");
    let help = Folder::new().run("--help").stdout;
    assert!(help.contains("Double the weight of a file"), "{help}");
}

#[test]
fn numbers_are_rounded_to_the_dtype_of_the_tensor() {
    let of =
        |dtype| RawTensor::of(dtype, vec![2], &[1.0, -0.5]).unwrap().bytes.into_owned();
    assert_eq!(of(Dtype::F32), f32s("", &[2], &[1.0, -0.5]).bytes);
    assert_eq!(of(Dtype::F16), [0x00, 0x3c, 0x00, 0xb8]);
    assert_eq!(of(Dtype::BF16), [0x80, 0x3f, 0x00, 0xbf]);
    let wrong = RawTensor::of(Dtype::I64, vec![1], &[1.0]).unwrap_err();
    assert_eq!(wrong.to_string(), "dtype I64, wanted F32, F16 or BF16");
    let wrong = RawTensor::of(Dtype::F32, vec![2, 2], &[1.0]).unwrap_err();
    assert_eq!(wrong.to_string(), "a shape of 4 entries, and 1 numbers");
}

#[test]
fn bytes_that_do_not_fit_their_shape_are_not_written() {
    let folder = Folder::new();
    let path = folder.path("out");
    let lying =
        RawTensor { dtype: Dtype::F32, shape: vec![3], bytes: vec![0; 8].into() };
    let tensors = BTreeMap::from([("a".to_owned(), lying)]);
    let wrote = Destination::check(&path)
        .unwrap()
        .write_tensors(&tensors, Some(&HashMap::new()));
    assert!(wrote.unwrap_err().to_string().starts_with("cannot write the tensors"));
    assert!(!path.exists());
}
