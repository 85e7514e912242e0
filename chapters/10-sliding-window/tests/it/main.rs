//! The integration tests of `sliding-window`, linked once.

mod command;
pub mod course;
mod edges;
mod figures;
mod laws;
mod outputs;
mod reference;
mod slips;
