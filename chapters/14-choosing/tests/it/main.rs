//! The integration tests of `choosing`, linked once.

mod cases;
mod command;
pub mod course;
mod figures;
mod laws;
mod outputs;
mod reference;
