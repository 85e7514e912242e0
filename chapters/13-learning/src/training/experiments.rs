//! What is trained to compare mechanisms, and what came out of it.

use super::model::{Model, ModelError};
use super::run::{Run, Settings};
use super::shape::{Mechanism, Shape, Sight, Sizes, Variant};
use super::tasks::Task;
use anyhow::{Context, Result};
use chapter_cli::Recorded;
use checkpoint::Scaling;
use grouped_query::Pooling;
use rotary::{Pairing, Rotary, RotaryError};

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
    /// Numbers that a layer keeps of a token, if heads are narrower, or a latent smaller,
    /// than the others are.
    pub cache: Option<usize>,
}

/// What is recorded first: every mechanism on every task, and with twice the steps those
/// that share keys, where [`STEPS`] did not suffice.
#[must_use]
pub fn experiments() -> Vec<Experiment> {
    let each = |task| VARIANTS.map(|variant| Experiment::new(task, variant, STEPS));
    let longer = [
        (Task::Recall, Variant::MultiQuery),
        (Task::Induction, Variant::MultiHead),
        (Task::Induction, Variant::GroupedQuery),
        (Task::Induction, Variant::MultiQuery),
    ];
    let longer =
        longer.map(|(task, variant)| Experiment::new(task, variant, 2 * STEPS));
    TASKS.into_iter().flat_map(each).chain(longer).collect()
}

/// What is recorded beside: what keeps as little of a token as one shared key does, or
/// less; what sees the tokens that follow; and what copies.
#[must_use]
pub fn more() -> Vec<Experiment> {
    let copies = COPYING.map(|variant| Experiment::new(Task::Copy, variant, STEPS));
    BY_CACHE.into_iter().chain(UNMASKED).chain(copies).collect()
}

/// Mechanisms by what a layer keeps of a token: those of [`experiments`] again, where they
/// were not run for as long, and others that keep as little or less.
pub const BY_CACHE: [Experiment; 12] = [
    Experiment::new(Task::Recall, Variant::MultiHead, 2 * STEPS),
    Experiment::new(Task::Recall, Variant::GroupedQuery, 2 * STEPS),
    Experiment::new(Task::Recall, Variant::Latent, 2 * STEPS),
    Experiment::new(Task::Recall, Variant::GroupedQuery, 2 * STEPS).keeping(16),
    Experiment::new(Task::Recall, Variant::MultiHead, 2 * STEPS).keeping(16),
    Experiment::new(Task::Recall, Variant::Latent, 2 * STEPS).keeping(8),
    Experiment::new(Task::Recall, Variant::MultiQuery, 2 * STEPS).keeping(8),
    Experiment::new(Task::Recall, Variant::MultiQuery, 5 * STEPS).keeping(8),
    Experiment::new(Task::Induction, Variant::Latent, 2 * STEPS),
    Experiment::new(Task::Induction, Variant::Latent, 5 * STEPS),
    Experiment::new(Task::Induction, Variant::GroupedQuery, 2 * STEPS).keeping(16),
    Experiment::new(Task::Induction, Variant::MultiHead, 2 * STEPS).keeping(16),
];

/// Where tokens see those that follow.
pub const UNMASKED: [Experiment; 3] = [
    Experiment::new(Task::Recall, Variant::Unmasked, 2 * STEPS),
    Experiment::new(Task::Recall, Variant::Linformer, STEPS),
    Experiment::new(Task::Induction, Variant::Unmasked, STEPS),
];

/// What copies.
pub const COPYING: [Variant; 7] = [
    Variant::MultiHead,
    Variant::GroupedQuery,
    Variant::MultiQuery,
    Variant::Latent,
    Variant::Window,
    Variant::WindowAndFirst,
    Variant::NoPositions,
];

/// Pairs to recall, so that a sequence has 24 tokens, or a circle, twice in 32.
#[must_use]
pub const fn size(task: Task) -> usize {
    match task {
        Task::Recall => 8,
        Task::Copy | Task::Induction => 16,
    }
}

/// Tokens that a window sees.
pub const WINDOW: usize = 8;

/// Features of the rotated key beside a latent.
pub const ROPE_DIM: usize = 4;

/// Rows that Linformer leaves of a sequence of recall: a third.
pub const ROWS: usize = 8;

/// Steps of a run, if it is not a longer one.
pub const STEPS: usize = 1000;

/// Steps that a point is the mean of.
pub const EVERY: usize = 50;

/// Sequences in a step.
pub const BATCH: usize = 32;

impl Experiment {
    /// Heads of the usual width.
    #[must_use]
    pub const fn new(task: Task, variant: Variant, steps: usize) -> Experiment {
        Experiment { task, variant, steps, cache: None }
    }

    /// The same, where a layer keeps so many numbers of a token.
    #[must_use]
    pub const fn keeping(self, numbers: usize) -> Experiment {
        Experiment { cache: Some(numbers), ..self }
    }

    /// The model: two layers, 32 features, 4 heads of 8, unless what is kept of a token
    /// makes them narrower.
    #[must_use]
    pub fn shape(self) -> Shape {
        let Experiment { task, variant, cache, .. } = self;
        let size = size(task);
        let shape = Shape::multi_head(task.vocabulary(size), 32, 2, 4);
        let sizes = Sizes {
            kv_heads: 2,
            window: WINDOW,
            rank: 12,
            rope_dim: ROPE_DIM,
            rows: ROWS,
            tokens: task.tokens(size),
        };
        let Some(cache) = cache else { return shape.with(variant, &sizes) };
        let kv_heads = shape.clone().with(variant, &sizes).kv_heads;
        match shape.clone().with(variant, &sizes).mechanism {
            Mechanism::Latent { rope_dim, .. } => {
                shape.with(variant, &Sizes { rank: cache - rope_dim, ..sizes })
            }
            _ => shape.narrow(cache / (2 * kv_heads)).with(variant, &sizes),
        }
    }

    /// A run that has not begun.
    ///
    /// # Errors
    /// When the sizes do not go together, which would be a mistake of ours.
    pub fn run(self, seed: u64) -> Result<Run, ModelError> {
        let Experiment { task, steps, .. } = self;
        let settings = Settings {
            task: Some(task),
            size: size(task),
            seed,
            steps,
            batch: BATCH,
            rate: 5e-3,
            decay: 0.01,
            clip: 1.0,
        };
        Run::new(settings, self.shape())
    }

    /// Its name: `recall multi-query 1000`, or `recall multi-query keeping 8 2000`.
    #[must_use]
    pub fn name(self) -> String {
        let Experiment { task, variant, steps, cache } = self;
        let keeping = cache.map_or(String::new(), |cache| format!(" keeping {cache}"));
        format!("{} {}{keeping} {steps}", task.name(), variant.name())
    }

    /// The name of a line of the recording: `recall multi-query 1000 accuracy`.
    #[must_use]
    pub fn case(self, what: &str) -> String {
        format!("{} {what}", self.name())
    }
}

/// A model that has learned without a mask, as far as it can with a causal one.
#[must_use]
pub fn masked_again(mut model: Model) -> Model {
    model.look(Sight::Causal);
    model
}

/// How the heads of a group become one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Merging {
    /// They are pooled as they are.
    Pooled(Pooling),
    /// They are turned toward their mean, which is then taken.
    Aligned,
}

/// The ways that are compared.
pub const MERGINGS: [(&str, Merging); 4] = [
    ("aligned", Merging::Aligned),
    ("mean", Merging::Pooled(Pooling::Mean)),
    ("first", Merging::Pooled(Pooling::First)),
    ("random", Merging::Pooled(Pooling::Random { seed: 1 })),
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
    merging: Merging,
    percent: usize,
) -> Result<Run, ModelError> {
    let settings = trained.settings.clone();
    let (seed, steps) = (settings.seed + 100, percent * STEPS / 100);
    let model = trained.model.clone();
    let model = match merging {
        Merging::Pooled(pooling) => model.pooled(kv_heads, pooling)?,
        Merging::Aligned => model.aligned(kv_heads)?.pooled(kv_heads, Pooling::Mean)?,
    };
    Ok(Run::of(Settings { seed, steps, ..settings }, model))
}

/// The runs whose models are asked about sequences of twice the length.
pub const LONGER: [Experiment; 2] = [
    Experiment::new(Task::Recall, Variant::MultiHead, STEPS),
    Experiment::new(Task::Induction, Variant::MultiHead, 2 * STEPS),
];

/// How rotations are stretched to twice the length, by name.
pub const STRETCHES: [&str; 4] = ["as it is", "interpolated", "NTK-aware", "YaRN"];

/// The rotation of `shape` by one of the [`STRETCHES`], to twice the `trained` tokens.
/// `YaRN` keeps pairs that turn more than 32 times in these and stretches those that turn
/// less than once, with both limits rounded outward to whole pairs, and makes queries and
/// keys longer, as its authors advise.
///
/// # Errors
/// When the model is not rotated, which would be a mistake of ours.
pub fn stretched(
    shape: &Shape,
    trained: usize,
    stretch: &str,
) -> Result<Rotary, RotaryError> {
    let (factor, trained) = (2.0, trained as f64);
    let (scaling, amplitude) = match stretch {
        "interpolated" => (Scaling::Linear { factor }, 1.0),
        // Of a text of twice the length, this raises the base as for a factor of two.
        "NTK-aware" => (Scaling::Dynamic { factor: 1.0, trained }, 1.0),
        "YaRN" => {
            let (fast, slow, whole) = (32.0, 1.0, true);
            let scaling = Scaling::Yarn { factor, fast, slow, trained, whole };
            (scaling, 0.1 * factor.ln() + 1.0)
        }
        _ => (Scaling::None, 1.0),
    };
    let theta = shape.theta.unwrap_or(10_000.0);
    Rotary::new(shape.head_dim(), theta, Pairing::Halves)?
        .stretched(theta, &scaling)?
        .amplified(amplitude)
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
    format!(
        "Lines are medians of {} seeds, bars reach from the lowest to the highest. {}",
        SEEDS.len(),
        machine(recorded)
    )
}

/// The machine of a recording of training, and how long it took.
#[must_use]
pub fn machine(recorded: &Recorded) -> String {
    let of = |key| recorded.condition(key);
    format!(
        "{}, {} cores, {}; {}; rustc {}; {} minutes in all; {}.",
        of("processor"),
        of("cores"),
        of("instructions"),
        of("system"),
        of("rustc"),
        of("minutes"),
        of("recorded"),
    )
}
