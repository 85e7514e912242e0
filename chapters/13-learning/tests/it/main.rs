//! The integration tests of `learning`, linked once.

mod edges;
mod laws;
mod others;
mod reference;
mod slopes;
mod training;
