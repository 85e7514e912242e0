//! The numbers of a model: tensors by name, in one file or in several.

pub(crate) mod contents;
pub(crate) mod format;
pub(crate) mod index;
pub(crate) mod kind;
pub(crate) mod opened;
pub(crate) mod safetensors;
pub(crate) mod tensor;
pub(crate) mod widen;
