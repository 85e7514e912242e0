//! The integration tests of `course`, linked once.

mod checks;
mod common;
mod nothing_is_lost;
mod words;
