//! What is trained to compare mechanisms, and what came out of it.

use super::model::ModelError;
use super::run::{Run, Settings};
use super::shape::{Shape, Variant};
use super::tasks::Task;
use anyhow::{Context, Result};
use chapter_cli::Recorded;
use grouped_query::Pooling;

/// Every experiment is run with each of them.
pub const SEEDS: [u64; 3] = [1, 2, 3];

/// The mechanisms that are compared.
pub const VARIANTS: [Variant; 7] = [
    Variant::MultiHead,
    Variant::GroupedQuery,
    Variant::MultiQuery,
    Variant::Window,
    Variant::WindowAndFirst,
    Variant::Unscaled,
    Variant::NoPositions,
];

/// The tasks on which they are compared.
pub const TASKS: [Task; 2] = [Task::Recall, Task::Induction];

/// A mechanism on a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Experiment {
    /// What is learned.
    pub task: Task,
    /// How tokens look at one another.
    pub variant: Variant,
    /// Steps of each run.
    pub steps: usize,
}

/// What is recorded: every mechanism on every task, and with twice the steps those that
/// share keys, where [`STEPS`] did not suffice.
#[must_use]
pub fn experiments() -> Vec<Experiment> {
    let each =
        |task| VARIANTS.map(|variant| Experiment { task, variant, steps: STEPS });
    let longer = [
        (Task::Recall, Variant::MultiQuery),
        (Task::Induction, Variant::MultiHead),
        (Task::Induction, Variant::GroupedQuery),
        (Task::Induction, Variant::MultiQuery),
    ];
    let longer =
        longer.map(|(task, variant)| Experiment { task, variant, steps: 2 * STEPS });
    TASKS.into_iter().flat_map(each).chain(longer).collect()
}

/// Pairs to recall, so that a sequence has 24 tokens, or a circle, twice in 32.
#[must_use]
pub fn size(task: Task) -> usize {
    match task {
        Task::Recall => 8,
        Task::Copy | Task::Induction => 16,
    }
}

/// Tokens that a window sees.
pub const WINDOW: usize = 8;

/// Steps of a run, if it is not a longer one.
pub const STEPS: usize = 1000;

/// Steps that a point is the mean of.
pub const EVERY: usize = 50;

/// Sequences in a step.
pub const BATCH: usize = 32;

impl Experiment {
    /// A run that has not begun: two layers, 32 features, 4 heads of 8.
    ///
    /// # Errors
    /// When the sizes do not go together, which would be a mistake of ours.
    pub fn run(self, seed: u64) -> Result<Run, ModelError> {
        let Experiment { task, variant, steps } = self;
        let size = size(task);
        let settings = Settings {
            task: Some(task),
            size,
            seed,
            steps,
            batch: BATCH,
            rate: 5e-3,
            decay: 0.01,
            clip: 1.0,
        };
        let shape = Shape::multi_head(task.vocabulary(size), 32, 2, 4);
        Run::new(settings, shape.with(variant, 2, WINDOW))
    }

    /// The name of a line of the recording: `recall multi-query 1000 accuracy`.
    #[must_use]
    pub fn case(self, what: &str) -> String {
        let Experiment { task, variant, steps } = self;
        format!("{} {} {steps} {what}", task.name(), variant.name())
    }
}

/// How the heads of a group become one.
pub const POOLINGS: [(&str, Pooling); 3] = [
    ("mean", Pooling::Mean),
    ("first", Pooling::First),
    ("random", Pooling::Random { seed: 1 }),
];

/// Key/value heads that four become.
pub const POOLED: [usize; 2] = [2, 1];

/// How long the pooled model is trained, in percent of [`STEPS`].
pub const PERCENT: [usize; 4] = [0, 1, 5, 10];

/// A trained multi-head model whose heads are pooled, about to be trained so much longer
/// on sequences that it has not seen.
///
/// Source: Ainslie et al. 2023, *GQA*, §2.1.
///
/// # Errors
/// When so many key/value heads do not divide those that there are.
pub fn uptraining(
    trained: &Run,
    kv_heads: usize,
    pooling: Pooling,
    percent: usize,
) -> Result<Run, ModelError> {
    let settings = trained.settings.clone();
    let (seed, steps) = (settings.seed + 100, percent * STEPS / 100);
    let model = trained.model.clone().pooled(kv_heads, pooling)?;
    Ok(Run::of(Settings { seed, steps, ..settings }, model))
}

/// What was recorded: of each case, at each step, the median over the seeds, and the
/// lowest and highest.
///
/// # Errors
/// When it cannot be read, or does not say where it was made.
pub fn recorded() -> Result<Recorded> {
    Recorded::parse(include_str!("../../benches/training.csv"))
        .context("chapters/13-learning/benches/training.csv")
}

/// In one line, where the recording was made, and with what.
#[must_use]
pub fn made(recorded: &Recorded) -> String {
    let of = |key| recorded.condition(key);
    format!(
        "Lines are medians of {} seeds, bars reach from the lowest to the highest. {}, {} \
         cores, {}; {}; rustc {}; {} minutes in all; {}.",
        SEEDS.len(),
        of("processor"),
        of("cores"),
        of("instructions"),
        of("system"),
        of("rustc"),
        of("minutes"),
        of("recorded"),
    )
}
