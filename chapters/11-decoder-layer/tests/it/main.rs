//! The integration tests of `decoder-layer`, linked once.

mod command;
mod laws;
mod reference;
