//! The integration tests of `transformer`, linked once.

mod command;
pub mod course;
mod edges;
mod figures;
mod laws;
mod models;
mod outputs;
mod reference;
mod whole;
