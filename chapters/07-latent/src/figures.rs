//! The chapter's figures.
