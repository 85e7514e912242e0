//! The crate's integration tests, one module for each claim about it.

mod files;
mod hostile;
mod kinds;
mod lines;
mod storage;
mod text;
