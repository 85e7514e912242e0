//! The tiny models of `tests/reference`, and what is made of them.

use chapter_cli::Tensors;
use checkpoint::Model;
use std::ops::ControlFlow;
use std::path::PathBuf;
use transformer::kept::Precision;
use transformer::{Decoder, loading};

/// All decoders.
pub(crate) const DECODERS: [&str; 8] = [
    "biased",
    "mistral",
    "one-token",
    "qwen2",
    "scaled",
    "tied",
    "untied",
    "wide-heads",
];

pub(crate) fn folder(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/reference", name].iter().collect()
}

pub(crate) fn open(name: &str) -> Model {
    Model::open(&folder(name)).unwrap()
}

pub(crate) fn decoder_as(name: &str, precision: Precision) -> Decoder {
    let model = open(name);
    let go_on = |_| ControlFlow::Continue(());
    loading::decoder(model.config(), model.weights(), precision, go_on).unwrap()
}

pub(crate) fn decoder(name: &str) -> Decoder {
    decoder_as(name, Precision::F32)
}

/// What Transformers made of it.
pub(crate) fn expected(name: &str) -> Tensors {
    Tensors::open(&folder(name).join("expected.safetensors")).unwrap()
}

/// Whole numbers of `expected`.
pub(crate) fn tokens(expected: &Tensors, name: &str) -> Vec<u32> {
    let raw = expected.raw(name).unwrap();
    let numbers = raw.bytes.chunks_exact(4);
    numbers.map(|n| u32::from_le_bytes(n.try_into().unwrap())).collect()
}
