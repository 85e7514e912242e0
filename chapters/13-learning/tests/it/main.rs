//! The integration tests of `learning`, linked once.

mod edges;
mod laws;
mod slopes;
mod train;
mod training;
