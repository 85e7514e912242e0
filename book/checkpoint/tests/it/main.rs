//! The crate's integration tests, one module for each claim about it.

mod kinds;
