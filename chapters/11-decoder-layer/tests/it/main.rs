//! The integration tests of `decoder-layer`, linked once.

mod command;
pub mod course;
mod figures;
mod laws;
mod outputs;
mod reference;
