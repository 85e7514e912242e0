//! The door to real models: configuration, weights and tokenizer of a folder as Hugging
//! Face has them, or of a `.gguf` file as llama.cpp has them.
//!
//! [`Model`] opens either, and gives tensors by their names in Hugging Face's files. All
//! is mapped into memory, and nothing is read before it is asked for. What is missing,
//! cut short, lying about its sizes or of another kind gives one line that says so.
//!
//! What a key means, and what holds where one is absent, is what Transformers takes it
//! to mean, kind by kind (`model_type`): `src/defaults.json` is written by its own
//! configuration classes, and `tests/reference` holds every kind to the models that it
//! builds. A kind that is not known is refused by name, and so is a key that is neither
//! understood nor known to change nothing.
//!
//! ```
//! use checkpoint::{Config, Heads};
//!
//! let config = Config::parse(r#"{"model_type": "mistral", "sliding_window": null}"#)?;
//! let layer = config.attention(0)?;
//! let Heads::Shared { heads, kv_heads, head_dim } = layer.heads else { panic!() };
//! assert_eq!((heads, kv_heads, head_dim), (32, 8, 128));
//! assert_eq!(layer.window, None);
//! # Ok::<(), checkpoint::ConfigError>(())
//! ```

mod attention;
mod blocks;
mod config;
mod defaults;
mod dtype;
mod error;
mod experts;
mod file;
mod foreign;
mod gated;
mod gguf;
#[cfg(feature = "hub")]
mod hub;
mod json;
mod keys;
mod kinds;
mod model;
mod modules;
mod open_error;
mod patterns;
mod rope;
mod sizes;
mod storage;
#[cfg(feature = "tokenizer")]
mod text;
mod weights;
mod whole;
mod windows;
pub mod words;

pub use attention::{Attention, Biases, Heads, NormNames, NormSpan, QkNorm, Sight};
pub use blocks::{Block, Ends, Network, StreamNorm};
pub use config::Config;
pub use dtype::Dtype;
pub use error::ConfigError;
pub use experts::{Bend, ExpertLayout, Experts, Router, RouterGroups, Scoring};
pub use file::{LONGEST, ReadError, kind};
pub use gated::{Gated, GatedNames};
pub use kinds::{Projections, known};
pub use model::Model;
pub use open_error::OpenError;
pub use rope::{Pairing, Rope, Scaling, Temperature};
pub use sizes::{FeedForward, Sizes};
pub use storage::{Bytes, Storage};
#[cfg(feature = "tokenizer")]
pub use text::chat::{Message, Reply};
#[cfg(feature = "tokenizer")]
pub use text::tokenizer::{TokenStream, Tokenizer};
pub use weights::format::Format;
pub use weights::kind::kind as weights_kind;
pub use weights::opened::Weights;
pub use weights::tensor::{Tensor, llama_row_order};
pub use whole::Activation;
