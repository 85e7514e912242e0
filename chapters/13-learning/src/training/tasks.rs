//! What is learned: sequences whose next token follows from what came before.

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// A task that attention is tried on.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    clap::ValueEnum,
    serde::Serialize,
    serde::Deserialize,
)]
pub enum Task {
    /// Keys with their values, then the keys in another order: which was the value?
    ///
    /// Source: Arora et al. 2023, *Zoology*.
    Recall,
    /// Tokens, an end, and the same tokens once more
    Copy,
    /// Tokens that are all different, then the same in a circle, begun anywhere: what
    /// followed this token?
    ///
    /// Source: Olsson et al. 2022, *In-context Learning and Induction Heads*.
    Induction,
}

/// A sequence and what is asked of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// What the model reads.
    pub tokens: Vec<usize>,
    /// For each of them the token that should follow, where that is judged.
    pub targets: Vec<Option<usize>>,
}

impl Task {
    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Task::Recall => "recall",
            Task::Copy => "copy",
            Task::Induction => "induction",
        }
    }

    /// Different tokens of a task of this `size`: pairs to recall, tokens to copy, or a
    /// circle.
    #[must_use]
    pub fn vocabulary(self, size: usize) -> usize {
        match self {
            // Keys and values, twice as many as a sequence has.
            Task::Recall => 4 * size,
            Task::Copy => size.max(2) + 1,
            Task::Induction => 2 * size,
        }
    }

    /// Tokens of a sequence.
    #[must_use]
    pub fn tokens(self, size: usize) -> usize {
        match self {
            Task::Recall => 3 * size,
            Task::Copy | Task::Induction => 2 * size,
        }
    }

    /// The batch of a step: what it holds depends on nothing but `seed`, `step` and sizes.
    #[must_use]
    pub fn batch(
        self,
        size: usize,
        seed: u64,
        step: u64,
        sequences: usize,
    ) -> Vec<Example> {
        let mut rng = of_step(seed, step);
        (0..sequences).map(|_| self.example(size, size, &mut rng)).collect()
    }

    /// The same with sequences of twice the length in the same vocabulary: twice the pairs
    /// to recall, twice the tokens to copy, or a circle of all tokens that there are.
    #[must_use]
    pub fn longer_batch(
        self,
        size: usize,
        seed: u64,
        step: u64,
        sequences: usize,
    ) -> Vec<Example> {
        let mut rng = of_step(seed, step);
        (0..sequences).map(|_| self.example(2 * size, size, &mut rng)).collect()
    }

    /// A sequence of a `size` in the vocabulary of `known`, at most twice as large.
    fn example(self, size: usize, known: usize, rng: &mut ChaCha8Rng) -> Example {
        match self {
            Task::Recall => recall(size, 2 * known, rng),
            Task::Copy => copy(size, known.max(2), rng),
            Task::Induction => induction(size, 2 * known, rng),
        }
    }
}

fn of_step(seed: u64, step: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // The first stream has drawn the weights.
    rng.set_stream(step + 1);
    rng
}

/// `k₁ v₁ k₂ v₂ … k₂ k₁ …`: keys are the first half of the vocabulary, values the second.
/// There are as many `kinds` of each. Two keys may have one value.
fn recall(pairs: usize, kinds: usize, rng: &mut ChaCha8Rng) -> Example {
    let keys = some(kinds, pairs, rng);
    let mut known: Vec<(usize, usize)> =
        keys.into_iter().map(|key| (key, kinds + rng.random_range(0..kinds))).collect();
    let mut tokens: Vec<usize> =
        known.iter().flat_map(|&(key, value)| [key, value]).collect();
    let mut targets = vec![None; tokens.len()];
    known.shuffle(rng);
    for (key, value) in known {
        tokens.push(key);
        targets.push(Some(value));
    }
    Example { tokens, targets }
}

/// `a b b c | a b b c`: tokens may repeat, so that it is their place that says what
/// follows. The end has the last number of the vocabulary.
fn copy(length: usize, kinds: usize, rng: &mut ChaCha8Rng) -> Example {
    let text: Vec<usize> = (0..length).map(|_| rng.random_range(0..kinds)).collect();
    let mut tokens = [text.as_slice(), &[kinds], &text].concat();
    let mut targets = vec![None; length];
    targets.extend(text.into_iter().map(Some));
    // Nothing is asked after the last one.
    tokens.pop();
    Example { tokens, targets }
}

/// `a b c d | c d a b`: no token occurs twice in a circle, and the second begins anywhere,
/// so that it is the token that says what follows. The first of the second circle cannot
/// be known.
fn induction(length: usize, kinds: usize, rng: &mut ChaCha8Rng) -> Example {
    let circle = some(kinds, length, rng);
    let start = if length == 0 { 0 } else { rng.random_range(0..length) };
    let again: Vec<usize> = (0..length).map(|i| circle[(start + i) % length]).collect();
    let tokens = [circle.as_slice(), &again].concat();
    let mut targets = vec![None; tokens.len()];
    for i in 1..length {
        // Where the circle closes, what followed was the second circle's first token.
        if again[i] != circle[0] {
            targets[length + i - 1] = Some(again[i]);
        }
    }
    Example { tokens, targets }
}

/// `wanted` different ones of the first `all` numbers, in any order.
fn some(all: usize, wanted: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
    let mut numbers: Vec<usize> = (0..all).collect();
    numbers.shuffle(rng);
    numbers.truncate(wanted);
    numbers
}
