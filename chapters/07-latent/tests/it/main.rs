//! The integration tests of `latent`, linked once.

mod command;
pub mod course;
mod edges;
mod figures;
mod laws;
mod numbers;
mod outputs;
mod reference;
mod slips;
