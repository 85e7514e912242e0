//! What the weaver reads: the prose and what it asks for, and the crates that answer.

pub(crate) mod directive;
pub(crate) mod glossary;
pub(crate) mod markdown;
pub(crate) mod protocol;
pub(crate) mod snapshots;
pub(crate) mod source;
pub(crate) mod workspace;
