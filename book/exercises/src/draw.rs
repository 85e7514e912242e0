//! Cases, drawn from choices that can be made smaller.
//!
//! A case is the list of choices that were made while it was drawn, each a small whole
//! number of which 0 is the simplest. To shrink a case is to make choices smaller and to
//! draw again: whatever is drawn is a case that fits, and whoever writes an exercise
//! writes how to draw and nothing else.

use std::{collections::VecDeque, ops::RangeInclusive};

use nalgebra::DMatrix;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::answer::Value;

/// The choices behind a case.
pub(crate) type Choices = Vec<u32>;

/// Numbers are drawn from 0, ½, -½, 1, -1, … up to -4.
const NUMBERS: u32 = 17;

/// Draws the parts of a case, and keeps what the reader is to see of them.
#[derive(Debug)]
pub struct Draw {
    source: Source,
    made: Choices,
    drawn: Vec<(String, Value)>,
}

#[derive(Debug)]
enum Source {
    /// `reach` of 1 draws sizes up to their end, less draws smaller ones.
    Chance { rng: Box<ChaCha8Rng>, reach: f32 },
    /// Choices made before; when they are used up, the simplest.
    Again(VecDeque<u32>),
}

impl Draw {
    pub(crate) fn by_chance(seed: u64, reach: f32) -> Draw {
        let rng = Box::new(ChaCha8Rng::seed_from_u64(seed));
        Draw::from(Source::Chance { rng, reach })
    }

    pub(crate) fn again(choices: &[u32]) -> Draw {
        Draw::from(Source::Again(choices.iter().copied().collect()))
    }

    fn from(source: Source) -> Draw {
        Draw { source, made: Vec::new(), drawn: Vec::new() }
    }

    /// The choices that were made.
    pub(crate) fn made(self) -> Choices {
        self.made
    }

    /// What was drawn, by name.
    pub(crate) fn drawn(self) -> Vec<(String, Value)> {
        self.drawn
    }

    /// A size, such as a number of tokens. Early cases have small ones.
    pub fn size(&mut self, range: RangeInclusive<usize>) -> usize {
        let (low, high) = range.into_inner();
        let ways = (high - low) as u32 + 1;
        let within = match &self.source {
            Source::Chance { reach, .. } => (ways as f32 * reach).ceil() as u32,
            Source::Again(_) => ways,
        };
        low + self.choose(within.clamp(1, ways), ways) as usize
    }

    /// So many tokens, from one up, and now and then none at all.
    pub fn tokens(&mut self, most: usize) -> usize {
        let some = self.size(1..=most);
        if self.pick(&[false, false, false, false, false, false, false, false, true]) {
            0
        } else {
            some
        }
    }

    /// One of several things, the simplest first.
    ///
    /// # Panics
    /// When there is nothing to pick from.
    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        let ways = from.len() as u32;
        from[self.choose(ways, ways) as usize].clone()
    }

    /// 1 in one of seven cases, and 0 in the others: the row or column too many that a
    /// function has to refuse.
    pub fn rarely(&mut self) -> usize {
        self.pick(&[0, 0, 0, 0, 0, 0, 1])
    }

    /// Numbers from -4 to 4, in halves.
    pub fn numbers(&mut self, rows: usize, columns: usize) -> DMatrix<f32> {
        DMatrix::from_fn(rows, columns, |_, _| self.half())
    }

    /// Yes or no; yes is the simpler.
    pub fn flags(&mut self, rows: usize, columns: usize) -> DMatrix<bool> {
        DMatrix::from_fn(rows, columns, |_, _| self.choose(2, 2) == 0)
    }

    /// Tells the reader of a value: what is not shown cannot be followed.
    pub fn show(&mut self, name: &str, value: impl Into<Value>) {
        self.drawn.push((name.to_owned(), value.into()));
    }

    /// Numbers from -4 to 4, in halves, which are shown.
    pub fn matrix(&mut self, name: &str, rows: usize, columns: usize) -> DMatrix<f32> {
        let matrix = self.numbers(rows, columns);
        self.show(name, &matrix);
        matrix
    }

    fn half(&mut self) -> f32 {
        let choice = self.choose(NUMBERS, NUMBERS);
        let size = choice.div_ceil(2) as f32 / 2.0;
        if choice.is_multiple_of(2) { -size } else { size }
    }

    /// One of `within` choices by chance; one of `ways` when it was made before.
    fn choose(&mut self, within: u32, ways: u32) -> u32 {
        let choice = match &mut self.source {
            Source::Chance { rng, .. } => rng.random_range(0..within),
            Source::Again(choices) => choices.pop_front().unwrap_or(0).min(ways - 1),
        };
        self.made.push(choice);
        choice
    }
}

/// A run of choices that is left out while a size before it becomes smaller.
const LONGEST_RUN: usize = 8;

/// A case that is small enough is better than the smallest one after a minute.
const TRIES: usize = 20_000;

/// The smallest case that can be reached from `choices` with `holds` still true of it.
/// Choices become 0, or half, or one less; a smaller size needs fewer numbers, so each of
/// the runs behind it is tried as what is left out.
pub(crate) fn shrink(mut choices: Choices, holds: impl Fn(&[u32]) -> bool) -> Choices {
    let mut tries = 0..TRIES;
    loop {
        let next = tries
            .by_ref()
            .zip(smaller(&choices))
            .find_map(|(_, case)| holds(&case).then_some(case));
        let Some(next) = next else { return choices };
        choices = next;
    }
}

fn smaller(choices: &[u32]) -> impl Iterator<Item = Choices> {
    let lowered = (0..choices.len()).flat_map(move |at| {
        let choice = choices[at];
        let values = [0, choice / 2, choice.saturating_sub(1)].into_iter();
        values.filter(move |value| *value < choice).map(move |value| (at, value))
    });
    lowered.flat_map(move |(at, value)| {
        let mut candidate = choices.to_vec();
        candidate[at] = value;
        let runs = (at + 1..choices.len()).flat_map(|start| {
            let longest = LONGEST_RUN.min(choices.len() - start);
            (1..=longest).map(move |length| start..start + length)
        });
        let shorter = candidate.clone();
        let without = runs.map(move |run| {
            let mut candidate = shorter.clone();
            candidate.drain(run);
            candidate
        });
        std::iter::once(candidate).chain(without)
    })
}

#[cfg(test)]
mod tests {
    use super::{Draw, shrink};

    #[test]
    fn what_was_drawn_can_be_drawn_again() {
        let draw = |mut draw: Draw| {
            let rows = draw.size(1..=5);
            let matrix = draw.numbers(rows, 3);
            let flags = draw.flags(rows, 2);
            let word = draw.pick(&["a", "b", "c"]);
            (matrix, flags, word, draw.made())
        };
        for seed in 0..20 {
            let first = draw(Draw::by_chance(seed, 1.0));
            assert_eq!(draw(Draw::again(&first.3)), first);
        }
    }

    #[test]
    fn no_choices_draw_the_simplest_case() {
        let mut draw = Draw::again(&[]);
        assert_eq!(draw.size(2..=9), 2);
        assert_eq!(draw.numbers(1, 1)[0], 0.0);
        assert_eq!(draw.pick(&["plain", "odd"]), "plain");
    }

    #[test]
    fn shrinking_finds_the_smallest_case_with_one_large_entry() {
        let largest = |choices: &[u32]| {
            let mut draw = Draw::again(choices);
            let n = draw.size(1..=6);
            draw.numbers(n, n).max()
        };
        let found = (0..).map(|seed| {
            let mut draw = Draw::by_chance(seed, 1.0);
            let n = draw.size(1..=6);
            draw.numbers(n, n);
            draw.made()
        });
        let start = found.into_iter().find(|choices| largest(choices) >= 2.0).unwrap();
        let smallest = shrink(start, |choices| largest(choices) >= 2.0);
        let mut draw = Draw::again(&smallest);
        let n = draw.size(1..=6);
        assert_eq!((n, draw.numbers(n, n).max()), (1, 2.0));
    }

    #[test]
    fn what_is_rare_happens_and_goes_first_when_a_case_shrinks() {
        let rare = (0..700).filter(|seed| Draw::by_chance(*seed, 1.0).rarely() == 1);
        assert!((50..150).contains(&rare.count()));
        assert_eq!(Draw::again(&[]).rarely(), 0);
    }

    #[test]
    fn early_cases_are_small() {
        let sizes: Vec<usize> =
            (0..50).map(|seed| Draw::by_chance(seed, 0.1).size(1..=20)).collect();
        assert!(sizes.iter().all(|n| *n <= 2), "{sizes:?}");
    }
}
