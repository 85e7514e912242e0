//! What the chapter prints.
