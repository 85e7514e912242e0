//! The integration tests of `learning`, linked once.

mod command;
mod edges;
mod laws;
mod others;
mod reference;
mod slopes;
mod train;
mod training;
