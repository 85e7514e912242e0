//! The door to real models: what a `config.json` says of a model's layers, of its size
//! and of the bytes that its weights take.
//!
//! What a key means, and what holds where one is absent, is what Transformers takes it
//! to mean, kind by kind (`model_type`): `src/defaults.json` is written by its own
//! configuration classes, and `tests/reference` holds every kind to the models that it
//! builds. A kind that is not known is refused by name, and so is a key that changes
//! what a layer computes and is not understood.
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
mod config;
mod defaults;
mod dtype;
mod error;
mod file;
mod foreign;
mod json;
mod keys;
mod kinds;
mod modules;
mod patterns;
mod rope;
mod sizes;
mod storage;
mod windows;

pub use attention::{Attention, Biases, Heads, NormSpan, QkNorm, Sight};
pub use config::Config;
pub use dtype::Dtype;
pub use error::ConfigError;
pub use file::{LONGEST, ReadError, kind};
pub use kinds::{Projections, known};
pub use rope::{Pairing, Rope, Scaling};
pub use sizes::{FeedForward, Sizes};
pub use storage::{Bytes, Storage};
