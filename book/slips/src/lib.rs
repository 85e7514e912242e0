//! The slips that people make in attention, each as something that can be computed: what a
//! layer gives when a step is taken that way. The course recognizes them in a reader's
//! answer, and the command `compare` in the numbers of another program.

mod around;
pub mod attention;
mod beside;
mod heads;
mod layer;
mod linear;
mod map;
pub mod measure;
mod place;
mod relation;
mod rounding;
mod search;
mod sees;
mod shares;
mod slip;
mod trace;

pub use around::{Around, Cap, Capped, Sinks, Sunk};
pub use beside::{side_by_side, under_one_another};
pub use heads::{Found, Headed, Scored, Way};
pub use layer::{Layer, Looks};
pub use linear::{After, Fused, Kept, Projected, Projecting};
pub use map::{Applied, Map};
pub use rounding::Rounding;
pub use search::{Bench, Compare, Differ, Finding, Misfit, Named, Verdict};
pub use sees::Sees;
pub use shares::softmax;
pub use slip::{Slip, Slips, Taken, Thread};
pub use trace::{Part, Trace, Yours};
