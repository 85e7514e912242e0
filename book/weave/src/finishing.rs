//! What is done to the pages that mdBook wrote: checked, completed, and told what they may
//! load.

pub(crate) mod addresses;
pub(crate) mod links;
pub(crate) mod pages;
pub(crate) mod policy;
pub(crate) mod styles;
