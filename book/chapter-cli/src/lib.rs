//! The command line that every chapter has, and the safetensors files that go in and
//! out of it. It knows no chapter: a chapter says what is its own by implementing
//! [`Chapter`], and its `main.rs` ends in
//!
//! ```no_run
//! # #[path = "../examples/scale.rs"] mod scale;
//! fn main() -> std::process::ExitCode {
//!     # type Scale = scale::Scale;
//!     chapter_cli::main::<Scale>()
//! }
//! ```
//!
//! `examples/scale.rs` is a whole chapter in this sense, on one linear map.

// Windows and a page have allocators of their own.
#[cfg(unix)]
mod allocator;
mod batch;
pub mod bench;
mod command;
mod compare;
mod configured;
mod described;
mod error;
mod expected;
mod file;
mod forward;
mod gradients;
mod inputs;
mod known;
mod layers;
mod machine;
mod masks;
mod memory;
mod message;
mod names;
mod output;
mod plan;
mod prefix;
mod raw;
mod recording;
mod results;
mod rows;
mod scaling;
mod spelling;
mod stack;
mod tensors;
mod unread;
// A page has no files to try, nor as many numbers as the tests ask for.
#[cfg(not(target_family = "wasm"))]
pub mod testing;

pub use command::{draw, main, run, run_own};
pub use described::{
    Described, Flag, Lack, LatentHeads, SharedHeads, Sharpness, Turning,
};
pub use error::TensorError;
pub use gradients::{
    Backward, Gradient, Gradients, Loaded, gradients, gradients_command,
};
pub use layers::{AttentionLayer, AttentionLayers, attention_layers};
pub use masks::{added_mask, sees_the_future};
pub use output::Destination;
pub use plan::{expect_bytes, expect_room};
pub use prefix::behind;
pub use raw::RawTensor;
pub use recording::{PRODUCT, READ_MIB, Recorded, RecordingError, Roof};
pub use rows::by_rows;
pub use safetensors::Dtype;
pub use scaling::{ROPE_SCALING_HELP, rope_scaling};
pub use stack::Stack;
pub use tensors::{LinearTensors, Tensors};

use nalgebra::DMatrix;
use std::io::Write;

/// What a chapter brings to its command line.
pub trait Chapter {
    /// The name of the crate, `attention`.
    const NAME: &'static str;
    /// The name of the chapter's folder, `01-attention`. Its figures go to the folder
    /// of the same name in the workspace's `images/`.
    const FOLDER: &'static str;
    /// What the chapter is about, in one line.
    const ABOUT: &'static str;
    /// The long help of `forward`: which tensors the file holds, their shapes, and an
    /// example command line.
    const FORWARD_HELP: &'static str;

    /// Whether the file holds a sequence `x` for the layer to run on. A chapter on
    /// something that comes after the projections has its queries, keys and values in
    /// the file; it reads them in [`Chapter::load`] and runs them in [`Chapter::run`].
    const READS_X: bool = true;

    /// The flags that `forward` has in this chapter alone, such as `--causal`.
    type Flags: clap::Args;
    /// The weights, read and checked once.
    type Layer;

    /// The worked example, as it is printed when no command is given.
    ///
    /// # Errors
    /// Whatever keeps the chapter from computing it.
    fn example() -> anyhow::Result<String>;

    /// The figures of the chapter.
    ///
    /// # Errors
    /// Whatever keeps the chapter from drawing them.
    fn figures() -> anyhow::Result<Vec<figures::Figure>>;

    /// The flags that run a layer as its `config.json` describes it, with
    /// `forward --config`. What of the description the chapter computes, it takes out of
    /// `layer`; what is left and changes the layer's numbers is refused.
    ///
    /// # Errors
    /// When the chapter has no such layers.
    fn flags_of(layer: &mut Described) -> Result<Vec<Flag>, Lack>;

    /// Builds the layer out of `tensors`, which are already seen through `--prefix`.
    ///
    /// # Errors
    /// When a tensor is missing or does not fit, or the flags do not go together.
    fn load(flags: &Self::Flags, tensors: &Tensors) -> anyhow::Result<Self::Layer>;

    /// [`Chapter::load`] where `--config` describes the `layer`. Its flags are set as
    /// [`Chapter::flags_of`] says; a chapter whose layers have more to them than flags can
    /// say reads the description itself.
    ///
    /// # Errors
    /// As for [`Chapter::load`].
    fn load_described(
        layer: &checkpoint::Attention,
        flags: &Self::Flags,
        tensors: &Tensors,
    ) -> anyhow::Result<Self::Layer> {
        let _ = layer;
        Self::load(flags, tensors)
    }

    /// Runs the layer on one sequence. This, and nothing else, is what `--repeat`
    /// times.
    ///
    /// # Errors
    /// When the sequence does not fit the layer or the flags.
    fn forward(
        layer: &Self::Layer,
        flags: &Self::Flags,
        sequence: &Sequence,
    ) -> anyhow::Result<Output> {
        let _ = (layer, flags, sequence);
        anyhow::bail!("{} does not run on x", Self::NAME)
    }

    /// The `y` of [`Chapter::forward`] without its weights: no more than `rows` rows of
    /// each head's weights are in memory at a time, and none are kept. [`by_rows`] helps.
    ///
    /// # Errors
    /// As for [`Chapter::forward`].
    fn forward_without_weights(
        layer: &Self::Layer,
        flags: &Self::Flags,
        sequence: &Sequence,
        rows: usize,
    ) -> anyhow::Result<DMatrix<f32>> {
        let _ = (layer, flags, sequence, rows);
        anyhow::bail!("{} does not run on x", Self::NAME)
    }

    /// How many times the weights of a sequence are in memory while it is computed: once,
    /// if they are made in their place and kept.
    #[must_use]
    fn copies_of_weights(flags: &Self::Flags) -> usize {
        let _ = flags;
        1
    }

    /// [`Chapter::forward`] for a chapter without [`Chapter::READS_X`]: runs what
    /// [`Chapter::load`] has read.
    ///
    /// # Errors
    /// When it does not go together with the flags.
    fn run(layer: &Self::Layer, flags: &Self::Flags) -> anyhow::Result<SideBySide> {
        let _ = (layer, flags);
        anyhow::bail!("{} runs on x", Self::NAME)
    }

    /// Whether the chapter has slips, so that `compare` has something to look for.
    const COMPARES: bool = false;

    /// The layer on one sequence, with the slips that are known of it.
    ///
    /// # Errors
    /// When the sequence does not fit the layer or the flags.
    fn compared<'a>(
        layer: &'a Self::Layer,
        flags: &Self::Flags,
        sequence: &'a Sequence,
    ) -> anyhow::Result<Box<dyn slips::Compare + 'a>> {
        let _ = (layer, flags, sequence);
        anyhow::bail!("{} does not compare", Self::NAME)
    }

    /// [`Chapter::compared`] for a chapter without [`Chapter::READS_X`].
    ///
    /// # Errors
    /// When what was read does not go together with the flags.
    fn compared_run<'a>(
        layer: &'a Self::Layer,
        flags: &Self::Flags,
    ) -> anyhow::Result<Box<dyn slips::Compare + 'a>> {
        let _ = (layer, flags);
        anyhow::bail!("{} does not compare", Self::NAME)
    }

    /// Commands that this chapter has beside those of all chapters. Most have none.
    #[must_use]
    fn commands() -> Vec<clap::Command> {
        Vec::new()
    }

    /// Runs the command `name` of [`Chapter::commands`]. Data goes to `stdout`, warnings
    /// to `stderr`; an error is printed as one line.
    ///
    /// # Errors
    /// When its input is not as it should be.
    fn obey(
        name: &str,
        arguments: &clap::ArgMatches,
        stdout: &mut dyn Write,
        stderr: &mut dyn Write,
    ) -> anyhow::Result<()> {
        let _ = (arguments, stdout, stderr);
        anyhow::bail!("{name}: not a command of this chapter")
    }
}

/// One sequence, as it goes into a layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Sequence {
    /// (n, d): one row per token.
    pub x: DMatrix<f32>,
    /// (m, `d_context`): the tokens to look at instead of `x`, if the file holds any.
    pub context: Option<DMatrix<f32>>,
    /// (n, m): true = may attend. It has as many rows as `x`, and as many columns as
    /// there are tokens to look at.
    pub mask: Option<DMatrix<bool>>,
    /// m entries, if one is false: which of the tokens to look at are real, and which are
    /// padding, hidden from every query whatever the mask says.
    pub real: Option<Vec<bool>>,
}

/// What a layer makes of one [`Sequence`].
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// (n, `d_out`): one row per token.
    pub y: DMatrix<f32>,
    /// One (n, m) a head. A mechanism that never forms them leaves this empty, and the
    /// output file goes without.
    pub attention_weights: Vec<DMatrix<f32>>,
}

/// What heads found, side by side. The output file holds it head after head, as `y`
/// [heads, n, d].
#[derive(Debug, Clone, PartialEq)]
pub struct SideBySide {
    /// (n, heads · d)
    pub y: DMatrix<f32>,
    /// How many share the columns; at least one.
    pub heads: usize,
}
