//! What a page of prose becomes: each directive and each formula as HTML in its place.

pub(crate) mod chapter;
pub(crate) mod coverage;
pub(crate) mod exercise;
pub(crate) mod figure;
pub(crate) mod highlight;
pub(crate) mod listing;
pub(crate) mod maths;
pub(crate) mod output;
pub(crate) mod symbols;
pub(crate) mod term;
pub(crate) mod weaver;
