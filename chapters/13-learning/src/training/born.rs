//! How an induction head comes to be: one run, looked at from time to time.

use super::experiments::{Experiment, STEPS};
use super::model::{Model, ModelError};
use super::run::Run;
use super::shape::Variant;
use super::tasks::{Example, Task};
use anyhow::{Context, Result};
use nalgebra::DMatrix;

/// What is looked at, and the seed of the run.
pub const BORN: (Experiment, u64) =
    (Experiment::new(Task::Induction, Variant::MultiHead, 2 * STEPS), 1);

/// Sequences that say where heads look.
const LOOKED_AT: usize = 20;

/// Where the heads of a model look.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    /// Of each head of the first layer, the mean weight on the token before.
    pub previous: Vec<f64>,
    /// Of each head of the second layer, the mean weight on the token that followed the
    /// last time, where that is asked for.
    pub followed: Vec<f64>,
    /// What the second layer's heads see in one sequence.
    maps: Vec<DMatrix<f32>>,
}

impl Look {
    /// At the model of a run, in sequences that no step sees.
    ///
    /// # Errors
    /// When the task does not fit the model.
    pub fn at(run: &Run) -> Result<Look, ModelError> {
        let sequences = run.unseen(LOOKED_AT)?;
        let mut look =
            Look { previous: Vec::new(), followed: Vec::new(), maps: Vec::new() };
        for example in &sequences {
            look.add(&run.model, example, 1.0 / LOOKED_AT as f64)?;
        }
        Ok(look)
    }

    fn add(
        &mut self,
        model: &Model,
        example: &Example,
        share: f64,
    ) -> Result<(), ModelError> {
        let pass = model.forward(&example.tokens)?;
        let before: Vec<_> = (1..example.tokens.len()).map(|at| (at, at - 1)).collect();
        for (layer, pairs, sums) in [
            (0, before, &mut self.previous),
            (1, followers(example), &mut self.followed),
        ] {
            let heads = pass.weights(layer);
            sums.resize(heads.len(), 0.0);
            for (sum, weights) in sums.iter_mut().zip(heads) {
                let all: f32 = pairs.iter().map(|&pair| weights[pair]).sum();
                *sum += share * f64::from(all) / pairs.len() as f64;
            }
        }
        if self.maps.is_empty() {
            self.maps = pass.weights(1).to_vec();
        }
        Ok(())
    }
}

/// For each judged token, itself and the one that followed the last time that its kind
/// stood in the sequence.
fn followers(example: &Example) -> Vec<(usize, usize)> {
    let Example { tokens, targets } = example;
    let judged = (0..tokens.len()).filter(|at| targets[*at].is_some());
    let last = |at: usize| tokens[..at].iter().rposition(|token| *token == tokens[at]);
    judged.filter_map(|at| Some((at, last(at)? + 1))).collect()
}

fn best(shares: &[f64]) -> usize {
    let all = shares.iter().enumerate();
    all.max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(head, _)| head)
}

/// The rows of the recording that tell of the heads which are best in the end, and the
/// maps of the second layer's, before and after they look where they should.
#[must_use]
pub fn told(losses: &[(usize, f64)], looks: &[(usize, Look)]) -> (String, String) {
    let mut rows = String::new();
    let mut row = |what: &str, step: usize, x: f64| {
        rows += &format!("born {what},{step},{x:.4},{x:.4},{x:.4},1,\n");
    };
    for (step, loss) in losses {
        row("loss", *step, *loss);
    }
    let Some((_, last)) = looks.last() else { return (rows, String::new()) };
    let (previous, head) = (best(&last.previous), best(&last.followed));
    for (step, look) in looks {
        row("previous", *step, look.previous[previous]);
    }
    for (step, look) in looks {
        row("followed", *step, look.followed[head]);
    }

    let reached = |share: f64| {
        move |(_, look): &&(usize, Look)| {
            look.followed[head] > share * last.followed[head]
        }
    };
    let before = looks.iter().take_while(|look| !reached(0.25)(look)).last();
    let after = looks.iter().find(reached(0.75));
    let mut maps = "step,head,query,weights\n".to_owned();
    for (step, look) in before.into_iter().chain(after) {
        for (query, row) in look.maps[head].row_iter().enumerate() {
            let seen = row.iter().take(query + 1).map(|weight| format!("{weight:.3}"));
            let seen = seen.collect::<Vec<_>>().join(" ");
            maps += &format!("{step},{head},{query},{seen}\n");
        }
    }
    (rows, maps)
}

/// A head at one step of the run.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// Steps taken.
    pub step: usize,
    /// Counted from 0.
    pub head: usize,
    /// (tokens, tokens).
    pub weights: DMatrix<f32>,
}

/// The recorded maps, before and after.
///
/// # Errors
/// When they cannot be read.
pub fn maps() -> Result<[Head; 2]> {
    let lines: Vec<_> =
        include_str!("../../benches/born.csv").lines().skip(1).collect();
    let (before, after) = lines.split_at(lines.len() / 2);
    Ok([map(before)?, map(after)?])
}

fn map(lines: &[&str]) -> Result<Head> {
    let mut found = None;
    for line in lines {
        let bad = || format!("benches/born.csv: no map in `{line}`");
        let cells: Vec<_> = line.split(',').collect();
        let [step, head, query, seen] = cells[..] else { anyhow::bail!(bad()) };
        let map = found.get_or_insert(Head {
            step: step.parse().with_context(bad)?,
            head: head.parse().with_context(bad)?,
            weights: DMatrix::zeros(lines.len(), lines.len()),
        });
        let query: usize = query.parse().with_context(bad)?;
        for (key, weight) in seen.split(' ').enumerate() {
            let place = map.weights.get_mut((query, key)).with_context(bad)?;
            *place = weight.parse().with_context(bad)?;
        }
    }
    found.context("benches/born.csv: no map")
}

/// The sequence of the maps: where each judged token should look.
///
/// # Errors
/// When the sizes do not go together, which would be a mistake of ours.
pub fn should() -> Result<Vec<(usize, usize)>, ModelError> {
    let (experiment, seed) = BORN;
    let sequences = experiment.run(seed)?.unseen(1)?;
    Ok(sequences.first().map(followers).unwrap_or_default())
}
