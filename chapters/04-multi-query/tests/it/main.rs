//! The integration tests of `multi-query`, linked once.

mod alignment;
mod command;
pub mod course;
mod edges;
mod figures;
mod laws;
mod outputs;
mod reference;
mod slips;
