//! A text that is read instead of a task that is drawn.

use super::tasks::Example;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// A text, as pieces. Every position teaches what follows it, so a sequence of `n` pieces
/// is `n` exercises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    pieces: Vec<usize>,
    /// Pieces at the end that no step reads.
    held_out: usize,
}

/// The share of a text that no step reads is one of so many.
const HELD_OUT: usize = 100;

impl Text {
    /// The text of `pieces`, whose last hundredth is held out.
    #[must_use]
    pub fn new(pieces: Vec<usize>) -> Text {
        let held_out = pieces.len() / HELD_OUT;
        Text { pieces, held_out }
    }

    /// Pieces that are read in training.
    #[must_use]
    pub fn read(&self) -> &[usize] {
        &self.pieces[..self.pieces.len() - self.held_out]
    }

    /// The batch of a step: sequences of `size` pieces, from anywhere. As for a task, what
    /// it holds depends on nothing but the text, `seed`, `step` and sizes.
    #[must_use]
    pub fn batch(
        &self,
        size: usize,
        seed: u64,
        step: u64,
        sequences: usize,
    ) -> Vec<Example> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // The first stream has drawn the weights.
        rng.set_stream(step + 1);
        let read = self.read();
        let starts = read.len().saturating_sub(size).max(1);
        let one = |_| sequence(&read[rng.random_range(0..starts)..], size);
        (0..sequences).map(one).collect()
    }

    /// What is held out, in sequences of `size` pieces.
    #[must_use]
    pub fn held_out(&self, size: usize) -> Vec<Example> {
        let held_out = &self.pieces[self.pieces.len() - self.held_out..];
        let starts = (0..held_out.len().saturating_sub(1)).step_by(size.max(1));
        starts.map(|start| sequence(&held_out[start..], size)).collect()
    }
}

/// The first `size` pieces of `text`, and after each of them the one that follows.
fn sequence(text: &[usize], size: usize) -> Example {
    let size = size.min(text.len().saturating_sub(1));
    let targets = text.iter().skip(1).take(size).map(|piece| Some(*piece));
    Example { tokens: text[..size].to_vec(), targets: targets.collect() }
}
