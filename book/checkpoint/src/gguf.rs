//! GGUF, llama.cpp's files: weights, configuration and vocabulary in one.
//!
//! Source: `docs/gguf.md` of ggml.

pub(crate) mod described;
pub(crate) mod header;
pub(crate) mod names;
pub(crate) mod stored;
pub(crate) mod value;
