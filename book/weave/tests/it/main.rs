//! The integration tests of `weave`, linked once.

mod circles;
mod common;
mod compiled_once;
mod finished;
mod layers;
mod pages;
mod readme;
mod refusals;
mod theme;
