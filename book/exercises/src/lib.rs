//! Checks a reader's answers against the chapter's, and names the mistake behind a wrong
//! one.
//!
//! A chapter's `tests/it/course.rs` says what its exercises ask, on cases that it draws, and
//! what people answer instead. That one file is compiled twice: with the chapter's crate
//! it is the oracle, and with the reader's crate it gives the reader's answers.
//!
//! ```
//! use exercises::{Answer, Draw, Exercise, Exercises};
//! use nalgebra::DMatrix;
//!
//! fn scores(draw: &mut Draw) -> DMatrix<f32> {
//!     let (queries, keys) = (draw.size(1..=3), draw.size(1..=4));
//!     draw.matrix("scores", queries, keys)
//! }
//!
//! pub fn exercises() -> Exercises {
//!     let largest = Exercise::implement("largest", scores, |s| Answer::of("max", s.max()))
//!         .mistake("absolute", |s| Answer::of("max", s.amax()));
//!     Exercises::new().with(largest)
//! }
//!
//! let exercises = exercises();
//! let largest = exercises.find("largest").unwrap();
//! assert!(exercises::judge(largest, largest).passed());
//! ```

mod answer;
mod draw;
mod features;
mod judge;
mod made;
mod mask;
mod norm;
mod oracle;
mod outcome;
mod panic;
mod prove;
mod relations;
mod run;
mod sheet;
mod task;
mod trial;

pub use answer::{Answer, Value, attempt};
pub use draw::Draw;
pub use judge::judge;
pub use norm::{Norm, OF_NORM};
pub use panic::does_not_fit;
pub use prove::{Proof, prove};
pub use run::{check, oracle};
pub use slips::{Found, Headed, Sees, side_by_side, under_one_another};
pub use task::{Dial, Exercise, Exercises, Looks, Task, dial};
