//! The crate's integration tests, one module for each claim about it.

mod damaged;
mod files;
mod hostile;
#[cfg(feature = "hub")]
mod hub;
mod kinds;
mod lines;
mod models;
#[cfg(feature = "tokenizer")]
mod smollm2;
mod storage;
mod text;
#[cfg(feature = "tokenizer")]
mod tokens;
mod weights;
mod written;
