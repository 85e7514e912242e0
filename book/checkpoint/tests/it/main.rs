//! The crate's integration tests, one module for each claim about it.

mod damaged;
mod files;
mod hostile;
#[cfg(feature = "hub")]
mod hub;
mod kinds;
mod lines;
mod models;
mod storage;
mod text;
#[cfg(feature = "tokenizer")]
mod tokens;
mod weights;
mod written;
