//! The loop: draw a batch, run it there and back, take a step.

use super::adamw::{AdamW, Schedule, clipped};
use super::model::{Learned, Model, ModelError, right};
use super::shape::Shape;
use super::tasks::{Example, Task};
use super::text::Text;
use crate::cross_entropy;
use rayon::prelude::*;

/// Sequences whose gradients are summed before they are added to those of others. The
/// number of cores must not decide which: sums of `f32` depend on their order.
const TOGETHER: usize = 4;

/// The number of a step that is never reached.
const UNSEEN: u64 = u64::MAX - 1;

/// What a run is, beside its model.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Settings {
    /// The name of the task; none, if a text is read.
    pub task: Option<Task>,
    /// Pairs to recall, tokens to copy, a circle, or pieces of a text.
    pub size: usize,
    /// Of the weights and of all batches.
    pub seed: u64,
    /// Steps in all.
    pub steps: usize,
    /// Sequences in a step.
    pub batch: usize,
    /// The largest rate of `AdamW`.
    pub rate: f32,
    /// Its weight decay.
    pub decay: f32,
    /// The longest gradient.
    pub clip: f32,
}

/// A model that learns.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// What it is.
    pub settings: Settings,
    /// As far as it has come.
    pub model: Model,
    /// With its two means.
    pub optimizer: AdamW,
    /// What is read, if it is no task.
    pub text: Option<Text>,
}

/// What a step was like, before the model changed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Tokens that were read, judged or not.
    pub tokens: usize,
    /// Nats per judged token.
    pub loss: f64,
    /// The share of judged tokens that were right.
    pub accuracy: f64,
    /// The length of the gradient, before it was clipped.
    pub length: f32,
}

impl Run {
    /// A run that has not begun.
    ///
    /// # Errors
    /// When the sizes of the shape do not go together.
    pub fn new(settings: Settings, shape: Shape) -> Result<Run, ModelError> {
        let model = Model::new(shape, settings.seed)?;
        Ok(Run::of(settings, model))
    }

    /// A run that begins with a model as it is.
    #[must_use]
    pub fn of(settings: Settings, mut model: Model) -> Run {
        let parameters = model.parameters().iter().map(|p| p.numbers.len()).sum();
        let optimizer = AdamW::new(parameters, settings.decay);
        Run { settings, model, optimizer, text: None }
    }

    /// Steps taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.optimizer.steps as usize
    }

    /// How large the steps are.
    #[must_use]
    pub fn schedule(&self) -> Schedule {
        let Settings { steps, rate, .. } = self.settings;
        Schedule { peak: rate, warm_up: steps / 10, steps }
    }

    /// The sequences of a step.
    fn batch(&self, step: u64, sequences: usize) -> Result<Vec<Example>, ModelError> {
        let Settings { task, size, seed, .. } = self.settings;
        match (task, &self.text) {
            (Some(task), _) => Ok(task.batch(size, seed, step, sequences)),
            (None, Some(text)) => Ok(text.batch(size, seed, step, sequences)),
            (None, None) => Err(ModelError::NoText),
        }
    }

    /// The share of judged tokens that the model has right, in so many sequences that no
    /// step sees.
    ///
    /// # Errors
    /// When the task does not fit the model.
    pub fn accuracy(&self, sequences: usize) -> Result<f64, ModelError> {
        self.model.accuracy(&self.unseen(sequences)?)
    }

    /// So many sequences that no step sees.
    ///
    /// # Errors
    /// When a text is read, and has not been given.
    pub fn unseen(&self, sequences: usize) -> Result<Vec<Example>, ModelError> {
        self.batch(UNSEEN, sequences)
    }

    /// So many of a task that are twice as long.
    #[must_use]
    pub fn unseen_longer(&self, task: Task, sequences: usize) -> Vec<Example> {
        let Settings { size, seed, .. } = self.settings;
        task.longer_batch(size, seed, UNSEEN, sequences)
    }

    /// Nats per piece of the text that no step reads. Nothing, if there is no such text.
    ///
    /// # Errors
    /// When the text does not fit the model.
    pub fn held_out_loss(&self) -> Result<Option<f64>, ModelError> {
        let Some(text) = &self.text else { return Ok(None) };
        let of = |Example { tokens, targets }: &Example| {
            let logits = self.model.forward(tokens)?.logits;
            let loss = cross_entropy(&logits, targets)?.loss;
            Ok((f64::from(loss) * targets.len() as f64, targets.len()))
        };
        let sequences = text.held_out(self.settings.size);
        let losses: Vec<Result<_, ModelError>> = sequences.par_iter().map(of).collect();
        let (mut sum, mut pieces) = (0.0, 0);
        for loss in losses {
            let (loss, judged) = loss?;
            sum += loss;
            pieces += judged;
        }
        Ok((pieces > 0).then_some(sum / pieces as f64))
    }

    /// One step, on the batch of its number.
    ///
    /// # Errors
    /// When the task does not fit the model.
    pub fn step(&mut self) -> Result<Step, ModelError> {
        let taken = self.taken();
        let Settings { batch, clip, .. } = self.settings;
        let batch = self.batch(taken as u64, batch)?;
        let tokens = batch.iter().map(|example| example.tokens.len()).sum();
        let mut learned = learned(&self.model, &batch)?;
        let length = clipped(&mut learned.gradient, clip);
        let rate = self.schedule().rate(taken);
        self.optimizer.step(self.model.parameters(), &learned.gradient, rate);
        let judged = learned.judged.max(1) as f64;
        let (loss, right) = (learned.loss / judged, learned.right as f64);
        Ok(Step { tokens, loss, accuracy: right / judged, length })
    }
}

impl Model {
    /// The share of the judged tokens of `examples` that the model has right.
    ///
    /// # Errors
    /// When a token is not in the vocabulary.
    pub fn accuracy(&self, examples: &[Example]) -> Result<f64, ModelError> {
        let of = |Example { tokens, targets }: &Example| {
            let logits = self.forward(tokens)?.logits;
            Ok((right(&logits, targets), targets.iter().flatten().count()))
        };
        let found: Vec<Result<_, ModelError>> = examples.par_iter().map(of).collect();
        let (mut all, mut judged) = (0, 0);
        for found in found {
            let (right, of) = found?;
            all += right;
            judged += of;
        }
        Ok(all as f64 / judged.max(1) as f64)
    }
}

/// What a whole batch teaches, on all cores, and the same on any number of them.
fn learned(model: &Model, batch: &[Example]) -> Result<Learned, ModelError> {
    let judged = batch.iter().flat_map(|example| &example.targets).flatten().count();
    let one =
        |Example { tokens, targets }: &Example| model.learn(tokens, targets, judged);
    let some = |examples: &[Example]| {
        let mut sum: Option<Learned> = None;
        for example in examples {
            add(&mut sum, one(example)?);
        }
        Ok(sum)
    };
    let parts: Vec<Result<_, ModelError>> =
        batch.par_chunks(TOGETHER).map(some).collect();
    let mut all = None;
    for part in parts {
        if let Some(part) = part? {
            add(&mut all, part);
        }
    }
    let nothing = Learned { loss: 0.0, right: 0, judged: 0, gradient: Vec::new() };
    Ok(all.unwrap_or(nothing))
}

fn add(sum: &mut Option<Learned>, more: Learned) {
    let Some(sum) = sum else {
        *sum = Some(more);
        return;
    };
    sum.loss += more.loss;
    sum.right += more.right;
    sum.judged += more.judged;
    for (sum, more) in sum.gradient.iter_mut().zip(more.gradient) {
        *sum += more;
    }
}
