//! The integration tests of `linformer`, linked once.

mod command;
pub mod course;
mod edges;
mod figures;
mod laws;
mod outputs;
mod reference;
mod slips;
