//! The integration tests of `grouped-query`, linked once.

mod aligned;
mod command;
mod convert;
pub mod course;
mod edges;
mod figures;
mod laws;
mod outputs;
mod reference;
mod slips;
