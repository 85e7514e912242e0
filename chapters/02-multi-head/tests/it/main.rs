//! The integration tests of `multi-head`, linked once.

mod command;
pub mod course;
mod edges;
mod figures;
mod laws;
// What a process may have is told on Linux alone.
#[cfg(target_os = "linux")]
mod memory;
mod outputs;
mod reference;
mod slips;
