//! Training on this chapter's backward passes: a small decoder, the tasks that it learns,
//! and the loop around both.
//!
//! Everything that a run does follows from its [`Settings`] and its seed, to the last bit
//! on one machine, on however many cores: what is summed is summed in one order.

mod adamw;
mod attending;
pub mod born;
mod checkpoint;
pub mod experiments;
mod model;
mod packed;
mod parameter;
mod run;
mod shape;
mod tasks;
mod text;

pub use adamw::{AdamW, Schedule, clipped};
pub use attending::AttentionError;
pub use checkpoint::{kept, restored};
pub use model::{Block, Learned, Model, ModelError, Pass};
pub use packed::{packed, unpacked};
pub use parameter::Parameter;
pub use run::{Run, Settings, Step};
pub use shape::{Mechanism, Shape, Sight, Sizes, Variant};
pub use tasks::{Example, Task};
pub use text::Text;
