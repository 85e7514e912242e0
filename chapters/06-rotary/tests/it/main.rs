//! The integration tests of `rotary`, linked once.

mod command;
pub mod course;
mod edges;
mod figures;
mod laws;
mod outputs;
mod permute;
mod reference;
mod rotations;
mod slips;
