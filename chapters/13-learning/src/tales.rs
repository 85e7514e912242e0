//! The text that this chapter's own model learns from: eleven of Andrew Lang's fairy books
//! (1889 to 1910), which are in the public domain, from Project Gutenberg. `src/tales/make.py`
//! has made it.

use crate::pieces::Pieces;
use crate::training::{Model, unpacked};
use anyhow::{Context, Result};
use flate2::read::GzDecoder;
use std::fs;
use std::io::Read;
use std::sync::LazyLock;

/// Where the text lies.
const TALES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tales/tales.txt.gz");

/// The encoding that was found in the tales.
///
/// # Panics
/// Never: a test reads it.
#[must_use]
pub fn pieces() -> &'static Pieces {
    static PIECES: LazyLock<Pieces> = LazyLock::new(|| {
        Pieces::read(include_str!("tales/tokenizer.json")).expect("it is our own")
    });
    &PIECES
}

/// The model that has learned from the tales, in 8 bits. `train text` has trained it.
///
/// # Panics
/// Never: a test reads it.
#[must_use]
pub fn model() -> &'static Model {
    static MODEL: LazyLock<Model> = LazyLock::new(|| {
        unpacked(include_bytes!("tales/model.safetensors")).expect("it is our own")
    });
    &MODEL
}

/// The tales: a paragraph is a line, and an empty line stands before a title.
///
/// # Errors
/// When the file beside this crate cannot be read.
pub fn text() -> Result<String> {
    let packed = fs::read(TALES).with_context(|| format!("cannot read {TALES}"))?;
    let mut text = String::new();
    GzDecoder::new(&*packed).read_to_string(&mut text).context(TALES)?;
    Ok(text)
}
