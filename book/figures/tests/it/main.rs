//! The integration tests of `figures`, linked once.

mod drawings;
mod errors;
mod files;
mod laws;
