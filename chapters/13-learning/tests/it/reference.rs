//! Against autograd of PyTorch in float64: random layers of every mechanism, made by the
//! script in `tests/reference`, through the chapter's program as a reader runs it.

use chapter_cli::Tensors;
use chapter_cli::testing::{Program, Reference, references};
use std::collections::BTreeMap;

const LEARNING: Program = Program::new(env!("CARGO_BIN_EXE_learning"));

/// A gradient is a sum over tokens of products of four or five numbers that were rounded:
/// it may be off by this share of the largest entry of its tensor.
const OFF: f32 = 2e-4;

/// What is 0 but for rounding has no largest entry to be measured by: the bias of keys,
/// which moves all scores of a query alike.
const NOTHING: f32 = 1e-5;

fn run(reference: &Reference) -> Tensors {
    let flags = reference.note("flags");
    let line =
        format!("gradients --input layer --output out --ignore autograd.* {flags}");
    let notes = reference.file.metadata().unwrap();
    let config = notes.get("config").map_or("", String::as_str).as_bytes();
    let files = [("layer", &reference.bytes[..]), ("config.json", config)];
    let ran = LEARNING.run_beside(&files, &line);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{} {flags}", reference.name);
    ran.tensors("out")
}

fn numbers(file: &Tensors, name: &str) -> (Vec<usize>, Vec<f32>) {
    let raw = file.raw(name).unwrap();
    let numbers = raw.bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b));
    (raw.shape, numbers.collect())
}

fn all_of(file: &Tensors) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let all = file.names().into_iter();
    all.map(|name| (name.clone(), numbers(file, &name))).collect()
}

fn agrees(reference: &Reference) {
    let found = all_of(&run(reference));
    let wanted = all_of(&reference.file.with_prefix("autograd."));
    let name = &reference.name;
    assert!(
        found.keys().eq(wanted.keys()),
        "{name}: {:?}, wanted {:?}",
        found.keys(),
        wanted.keys()
    );
    for (tensor, (shape, numbers)) in &found {
        let (wanted_shape, wanted) = &wanted[tensor];
        assert_eq!(shape, wanted_shape, "{name}, {tensor}");
        let largest = wanted.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        let off =
            numbers.iter().zip(wanted).map(|(found, wanted)| (found - wanted).abs());
        // NaN is off by more than anything.
        let off = off.fold(0.0, |most, off| if off <= most { most } else { off });
        assert!(
            off <= OFF * largest + NOTHING,
            "{name}, {tensor}: off by {off}, and its largest entry is {largest}; {}",
            reference.note("flags")
        );
    }
}

#[test]
fn gradients_of_every_mechanism_agree_with_autograd() {
    let all = references(env!("CARGO_MANIFEST_DIR"));
    assert!(all.len() >= 45, "{} files: run make.py", all.len());
    all.iter().for_each(agrees);
}
