//! The integration tests of `minilm`, linked once.

mod models;
mod slices;
