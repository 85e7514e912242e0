//! What the chapter measures.
