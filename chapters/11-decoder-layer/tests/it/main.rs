//! The integration tests of `decoder-layer`, linked once.

mod command;
pub mod course;
mod edges;
mod figures;
mod laws;
mod outputs;
mod reference;
mod slips;
