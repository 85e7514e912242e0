//! The integration tests of `chapter-cli`, linked once.

#[cfg(target_os = "linux")]
mod allocator;
mod commands;
mod common;
mod corruption;
mod errors;
mod forward;
mod hostile;
mod masks;
mod process;
mod promises;
mod recordings;
mod tensors;
mod unread;
mod without_x;
