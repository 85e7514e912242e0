//! The integration tests of `learning`, linked once.

mod command;
pub mod course;
mod edges;
mod figures;
mod laws;
mod others;
mod outputs;
mod reference;
mod slopes;
mod tales;
mod train;
mod training;
