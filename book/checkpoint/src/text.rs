//! Text into tokens and back, as the model was trained on it.

pub(crate) mod chat;
pub(crate) mod tokenizer;
pub(crate) mod vocabulary;
