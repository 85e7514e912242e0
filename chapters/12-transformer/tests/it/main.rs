//! The integration tests of `transformer`, linked once.

mod command;
pub mod course;
mod edges;
mod figures;
mod hostile;
mod laws;
mod models;
mod outputs;
mod reference;
mod rewritten;
mod whole;
