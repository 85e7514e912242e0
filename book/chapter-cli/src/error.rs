//! Why a file or a tensor cannot be had, in one line.

use crate::message::{brief, brief_path, shape};
use safetensors::Dtype;
use std::io;
use std::path::PathBuf;

/// A tensor without numbers may be this long in a direction.
pub(crate) const LONGEST_EMPTY: usize = 1 << 20;

/// Why a tensor cannot be had. Shapes are those of the file.
#[derive(Debug, thiserror::Error)]
pub enum TensorError {
    /// The operating system does not give out the file.
    #[error("cannot read {}", brief_path(.path))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The file is not a safetensors file, or a damaged one.
    #[error("cannot read {} as safetensors: {reason}", brief_path(.path))]
    NotSafetensors {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no tensor of that name.
    #[error("no tensor `{}` in {}; {hint}", brief(.name), brief_path(.path))]
    Missing {
        /// The name, prefix included.
        name: String,
        /// The file.
        path: PathBuf,
        /// Which names there are.
        hint: String,
    },
    /// Two tensors say the same thing.
    #[error(
        "{} and {} say the same thing: keep the one that counts, or leave the other out \
         with --ignore",
        brief(&.names[0]),
        brief(&.names[1])
    )]
    Twice {
        /// Both names, prefix included.
        names: [String; 2],
    },
    /// The tensor has no meaning here, or more than one.
    #[error("{}: {what}", brief(.name))]
    Unclear {
        /// The tensor.
        name: String,
        /// What is the matter, and what to do.
        what: String,
    },
    /// The tensor has another element type.
    #[error("{}: dtype {found}, wanted {wanted}", brief(.name))]
    WrongDtype {
        /// The tensor.
        name: String,
        /// The element type that it has.
        found: Dtype,
        /// Those that would do.
        wanted: &'static str,
    },
    /// The tensor has another number of dimensions.
    #[error("{}: shape {}, wanted {wanted}", brief(.name), shape(.found))]
    WrongRank {
        /// The tensor.
        name: String,
        /// The shape that it has.
        found: Vec<usize>,
        /// The kind of shape that would do, `[n, d] or [b, n, d]`.
        wanted: String,
    },
    /// The tensor has other lengths.
    #[error(
        "{}: shape {}, wanted {wanted}, because {because}",
        brief(.name),
        shape(.found)
    )]
    WrongShape {
        /// The tensor.
        name: String,
        /// The shape that it has.
        found: Vec<usize>,
        /// The shape that would do.
        wanted: String,
        /// What asks for that shape.
        because: String,
    },
    /// There is no room for the tensor's numbers.
    #[error(
        "{}: shape {} takes {need} as F32 and in the layer's hands, and this process can \
         have {free}",
        brief(.name),
        shape(.found)
    )]
    TooLarge {
        /// The tensor.
        name: String,
        /// The shape that it has.
        found: Vec<usize>,
        /// What it takes, `8.6 GB`.
        need: String,
        /// What is left.
        free: String,
    },
    /// The tensor holds nothing, and yet claims to be huge.
    #[error(
        "{}: shape {} holds nothing; then no length may be above {LONGEST_EMPTY}",
        brief(.name),
        shape(.found)
    )]
    Hollow {
        /// The tensor.
        name: String,
        /// The shape that it has.
        found: Vec<usize>,
    },
}
