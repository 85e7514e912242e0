//! Why a model cannot be opened, or something in it cannot be had.

use crate::error::ConfigError;
use crate::file::ReadError;
use crate::words::{brief, brief_path, shape};
use std::io;
use std::path::PathBuf;

/// Why a model cannot be opened, or something in it cannot be had. Each is one line
/// that names the file, and the tensor where there is one, what was found, what was
/// expected, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The system does not give the file.
    #[error("cannot read {}: {why}", brief_path(.path))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        why: io::Error,
    },
    /// There is no model here, or only a part of one.
    #[error("{}: {what}", brief_path(.path))]
    NoModel {
        /// The file or folder.
        path: PathBuf,
        /// What is missing, and what to do.
        what: String,
    },
    /// The file is of another kind, or damaged.
    #[error("{}: {what}", brief_path(.path))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        what: String,
    },
    /// There is no tensor of that name.
    #[error("{}: no tensor `{}`; {hint}", brief_path(.path), brief(.tensor))]
    Missing {
        /// The file or folder.
        path: PathBuf,
        /// The name.
        tensor: String,
        /// Which names there are.
        hint: String,
    },
    /// A tensor has other lengths than what describes it says.
    #[error(
        "{}: `{}` has shape {}, and {} was expected: {because}",
        brief_path(.path),
        brief(.tensor),
        shape(.found),
        shape(.wanted)
    )]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The shape that it has.
        found: Vec<usize>,
        /// The shape that would do.
        wanted: Vec<usize>,
        /// What asks for that shape, and what to do.
        because: String,
    },
    /// The numbers of a tensor are stored in a way that is not read.
    #[error(
        "{}: `{}` is stored as {found}, which is not read here: take a file in F32, F16, \
         BF16, Q8_0, Q6_K, Q5_K, Q5_1, Q5_0, Q4_K, Q4_1 or Q4_0",
        brief_path(.path),
        brief(.tensor)
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What it is stored as.
        found: &'static str,
    },
    /// A weight is NaN or infinite.
    #[error(
        "{}: `{}` holds {found} in row {row}, column {column}, and a weight has to be a \
         number: the file is damaged, or the training went wrong",
        brief_path(.path),
        brief(.tensor)
    )]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The weight.
        found: f32,
        /// Its row.
        row: usize,
        /// Its column.
        column: usize,
    },
    /// What the file says of itself is not understood.
    #[error("{}: `{}` is {found}, and {wanted}", brief_path(.path), brief(.key))]
    Metadata {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What the file has.
        found: String,
        /// What it may be, or what to do.
        wanted: String,
    },
    /// The configuration cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The configuration is not understood.
    #[error("{}: {why}", brief_path(.path))]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: ConfigError,
    },
    /// The tokenizer is not understood, or belongs to another model.
    #[error("{}: {what}", brief_path(.path))]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        what: String,
    },
    /// There is no such path, and the hub does not give a model of that name.
    #[error(
        "`{}` is no path here, and {why}; give a folder with config.json, \
         model.safetensors and tokenizer.json, or a .gguf file",
        brief(.name)
    )]
    Hub {
        /// The name.
        name: String,
        /// Why it cannot be had.
        why: String,
    },
}
