//! What the chapters' tests share: a comparison of matrices, and what a chapter's command
//! promises to whoever gives it a file.
//!
//! ```
//! use chapter_cli::testing::{Dtype, File};
//!
//! let file = File::new().f32s("scale.weight", &[2, 3]).f32s("x", &[4, 3]);
//! let spoilt = file.clone().with("x", Dtype::I64, &[4, 3]);
//! assert_ne!(file.bytes(), spoilt.bytes());
//! ```
//!
//! A chapter's `tests/it/command.rs` says what is its own: a good file, a command line, and
//! what goes wrong there and nowhere else. Whatever holds in all chapters is a method of
//! [`Contract`], so that a promise made there is tested everywhere.

mod answers;
mod beside;
mod close;
mod configs;
mod contract;
mod file;
mod program;
mod refusals;
mod spoilt;

pub use close::assert_close;
pub use contract::Contract;
pub use file::File;
pub use program::{Program, Ran, Reference, references, references_in};
pub use safetensors::Dtype;
pub use spoilt::{NOT_FINITE, assert_spoils_whoever_sees, spoilt};
