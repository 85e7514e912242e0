//! Training on this chapter's backward passes: a small decoder, the tasks that it learns,
//! and the loop around both.
//!
//! Everything that a run does follows from its [`Settings`] and its seed, to the last bit
//! on one machine, on however many cores: what is summed is summed in one order.

mod adamw;
mod checkpoint;
pub mod experiments;
mod model;
mod packed;
mod run;
mod shape;
mod tasks;
mod text;

pub use adamw::{AdamW, Schedule, clipped};
pub use checkpoint::{kept, restored};
pub use model::{Block, Learned, Model, ModelError, Parameter, Pass};
pub use packed::{packed, unpacked};
pub use run::{Run, Settings, Step};
pub use shape::{Shape, Sight, Variant};
pub use tasks::{Example, Task};
pub use text::Text;
