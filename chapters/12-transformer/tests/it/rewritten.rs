//! Files with other tensors in them.

use chapter_cli::{Destination, Dtype, RawTensor};
use std::collections::BTreeMap;
use std::path::Path;

/// Shape and numbers by name.
pub(crate) type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// The bytes of the file at `path` with its tensors changed.
pub(crate) fn rewritten(path: &Path, change: impl FnOnce(&mut Tensors)) -> Vec<u8> {
    let file = chapter_cli::Tensors::open(path).unwrap();
    let read = |name: String| {
        let raw = file.raw(&name).unwrap();
        let numbers = raw.bytes.chunks_exact(4);
        let numbers = numbers.map(|n| f32::from_le_bytes(n.try_into().unwrap()));
        (name, (raw.shape.clone(), numbers.collect()))
    };
    let mut all: Tensors = file.names().into_iter().map(read).collect();
    change(&mut all);
    let raw = |(name, (shape, numbers)): (&String, &(Vec<usize>, Vec<f32>))| {
        (name.clone(), RawTensor::of(Dtype::F32, shape.clone(), numbers).unwrap())
    };
    let all = all.iter().map(raw).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    Destination::check(&path).unwrap().write_tensors(&all, None).unwrap();
    std::fs::read(path).unwrap()
}
