//! Many networks in place of one. Each token passes through a few of them, so a
//! model may know more than it computes.
//!
//! Source: Shazeer et al. 2017, *Outrageously Large Neural Networks*, §2; Fedus et al. 2021,
//! *Switch Transformers*, §2.1.

use crate::gated::{Gate, SwiGlu};
use crate::projection::Projection;
use attention::{ShapeError, expect_shape, softmax};
use nalgebra::DMatrix;

/// What an expert's logit becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scoring {
    /// Its share of all.
    Softmax,
    /// Its share of those that are chosen.
    SoftmaxOfChosen,
    /// A number from 0 to 1, by itself.
    Sigmoid,
}

/// Only experts of the best groups may be chosen (`DeepSeek`-AI 2024, *`DeepSeek`-V2*, §2.2.2).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExpertGroups {
    /// How many groups there are, one behind the other.
    pub groups: usize,
    /// How many may be chosen from.
    pub kept: usize,
    /// A group is as good as the sum of so many of its best.
    pub best: usize,
    /// What stands for the scores of the other groups.
    pub others: f32,
}

/// What says which experts a token passes through, and how much each counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Router {
    /// (`model_dim`, experts)
    pub weight: Projection,
    /// What a logit becomes.
    pub scoring: Scoring,
    /// Added to the scores when experts are chosen, and left out of the shares.
    pub correction: Option<Vec<f32>>,
    /// Only experts of some groups may be chosen.
    pub groups: Option<ExpertGroups>,
    /// How many experts a token passes through.
    pub chosen: usize,
    /// If the chosen scores are divided by their sum: what is added to that sum.
    pub normalized: Option<f32>,
    /// Then all are multiplied by this.
    pub factor: f32,
}

impl Router {
    /// For each row of `x` (tokens, `model_dim`), its experts, and how much each counts.
    ///
    /// # Errors
    /// When `x` has another width.
    pub fn choose(
        &self,
        x: &DMatrix<f32>,
    ) -> Result<Vec<Vec<(usize, f32)>>, ShapeError> {
        let logits = self.weight.forward(x)?;
        let scores = match self.scoring {
            Scoring::Softmax => softmax(logits),
            Scoring::SoftmaxOfChosen => logits,
            Scoring::Sigmoid => logits.map(|x| 1.0 / (1.0 + (-x).exp())),
        };
        let rows = scores.row_iter();
        Ok(rows
            .map(|row| self.of_token(&row.iter().copied().collect::<Vec<_>>()))
            .collect())
    }

    fn of_token(&self, scores: &[f32]) -> Vec<(usize, f32)> {
        let mut ranked = scores.to_vec();
        if let Some(correction) = &self.correction {
            ranked.iter_mut().zip(correction).for_each(|(score, more)| *score += more);
        }
        if let Some(groups) = self.groups {
            groups.leave_the_best(&mut ranked);
        }
        let chosen = largest(&ranked, self.chosen);
        let mut counts: Vec<f32> = chosen.iter().map(|&e| scores[e]).collect();
        if self.scoring == Scoring::SoftmaxOfChosen {
            counts = softmax(DMatrix::from_row_slice(1, counts.len(), &counts))
                .as_slice()
                .to_vec();
        }
        let sum = self.normalized.map_or(1.0, |eps| counts.iter().sum::<f32>() + eps);
        let counts = counts.iter().map(|count| count / sum * self.factor);
        chosen.into_iter().zip(counts).collect()
    }
}

impl ExpertGroups {
    fn leave_the_best(self, scores: &mut [f32]) {
        let size = (scores.len() / self.groups).max(1);
        let goodness: Vec<f32> = scores
            .chunks(size)
            .map(|group| largest(group, self.best).iter().map(|&e| group[e]).sum())
            .collect();
        let kept = largest(&goodness, self.kept);
        for (group, scores) in scores.chunks_mut(size).enumerate() {
            if !kept.contains(&group) {
                scores.fill(self.others);
            }
        }
    }
}

/// Where the largest numbers are, the largest first; of equal ones the first.
fn largest(numbers: &[f32], most: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..numbers.len()).collect();
    order.sort_by(|&a, &b| numbers[b].total_cmp(&numbers[a]));
    order.truncate(most);
    order
}

/// Networks, and what says which tokens pass through which.
#[derive(Debug, Clone, PartialEq)]
pub struct Experts {
    /// Chooses.
    pub router: Router,
    /// All of them.
    pub experts: Vec<SwiGlu>,
    /// How their gates open.
    pub gate: Gate,
    /// One that every token passes through beside those that are chosen.
    pub shared: Option<Shared>,
}

/// A network that every token passes through.
#[derive(Debug, Clone, PartialEq)]
pub struct Shared {
    /// The network.
    pub network: SwiGlu,
    /// How its gate opens.
    pub gate: Gate,
    /// (`model_dim`, 1): how much it counts is the sigmoid of this, if there is one.
    pub share: Option<Projection>,
}

impl Experts {
    /// `x` (tokens, `model_dim`) to (tokens, `model_dim`). Each expert is asked once, for
    /// all tokens that chose it.
    ///
    /// # Errors
    /// When a matrix does not fit `x`, or the others.
    pub fn forward(&self, x: &DMatrix<f32>) -> Result<DMatrix<f32>, ShapeError> {
        let chosen = self.router.choose(x)?;
        let experts = self.router.weight.shape().1;
        let why = "the router has a column for each expert";
        expect_shape("experts", (self.experts.len(), 1), (experts, 1), why)?;
        let mut y = match &self.shared {
            Some(shared) => shared.forward(x)?,
            None => DMatrix::zeros(x.nrows(), x.ncols()),
        };
        for (number, expert) in self.experts.iter().enumerate() {
            let (tokens, counts) = who_chose(&chosen, number);
            if tokens.is_empty() {
                continue;
            }
            let found = expert.gated(&x.select_rows(&tokens), self.gate)?;
            for ((token, count), row) in tokens.iter().zip(counts).zip(found.row_iter())
            {
                y.row_mut(*token).zip_apply(&row, |y, found| *y += count * found);
            }
        }
        Ok(y)
    }

    /// All matrices.
    #[must_use]
    pub fn projections(&self) -> Vec<&Projection> {
        let mut all = vec![&self.router.weight];
        all.extend(self.experts.iter().flat_map(SwiGlu::projections));
        if let Some(shared) = &self.shared {
            all.extend(shared.network.projections());
            all.extend(&shared.share);
        }
        all
    }
}

/// The tokens that chose an expert, and how much it counts for each.
fn who_chose(chosen: &[Vec<(usize, f32)>], expert: usize) -> (Vec<usize>, Vec<f32>) {
    let of_token = |(token, experts): (usize, &Vec<(usize, f32)>)| {
        let count = experts.iter().find(|(number, _)| *number == expert)?.1;
        Some((token, count))
    };
    chosen.iter().enumerate().filter_map(of_token).unzip()
}

impl Shared {
    fn forward(&self, x: &DMatrix<f32>) -> Result<DMatrix<f32>, ShapeError> {
        let mut y = self.network.gated(x, self.gate)?;
        if let Some(share) = &self.share {
            let shares = share.forward(x)?.map(|x| 1.0 / (1.0 + (-x).exp()));
            y.row_iter_mut().zip(&shares).for_each(|(mut row, share)| row *= *share);
        }
        Ok(y)
    }
}
