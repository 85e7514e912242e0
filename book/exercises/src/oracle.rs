//! The cases of an exercise, with the right answer to each and what every mistake gives.

use crate::{
    draw::Choices,
    outcome::{Outcome, agree},
    task::Task,
};

/// Cases that are tried, from small to large.
const CASES: u64 = 300;

/// An exercise whose answers are known.
pub(crate) struct Oracle<'a> {
    pub task: &'a dyn Task,
    /// The smaller ones first, each once.
    pub cases: Vec<Choices>,
    /// The right answer to each case.
    pub right: Vec<Outcome>,
    /// What each mistake answers to each case.
    pub mistaken: Vec<Vec<Outcome>>,
    /// Whether that is wrong.
    pub errs: Vec<Vec<bool>>,
}

impl Oracle<'_> {
    /// Draws the cases, and answers them.
    pub(crate) fn of(task: &dyn Task) -> Oracle<'_> {
        let cases = cases(task);
        let right: Vec<Outcome> = cases.iter().map(|case| task.answer(case)).collect();
        let all = |which| cases.iter().map(|case| task.mistaken(which, case)).collect();
        let mistaken: Vec<Vec<Outcome>> = (0..task.mistakes().len()).map(all).collect();
        let mut oracle = Oracle { task, cases, right, mistaken, errs: Vec::new() };
        let errs = |answers: &Vec<Outcome>| {
            let pairs = answers.iter().zip(&oracle.right);
            pairs.map(|(answer, right)| !oracle.agree(answer, right)).collect()
        };
        oracle.errs = oracle.mistaken.iter().map(errs).collect();
        oracle
    }

    /// Whether an answer is what the mistake gave, as the mistake reads it.
    pub(crate) fn gives(
        &self,
        which: usize,
        answer: &Outcome,
        given: &Outcome,
    ) -> bool {
        self.agree(&self.task.read(which, answer), given)
    }

    /// Whether both are the same, up to rounding.
    pub(crate) fn agree(&self, found: &Outcome, expected: &Outcome) -> bool {
        agree(found, expected, |part| self.task.tolerance(part))
    }
}

fn cases(task: &dyn Task) -> Vec<Choices> {
    let mut cases: Vec<Choices> = Vec::new();
    for seed in 0..CASES {
        let case = task.draw(seed, (seed + 1) as f32 / CASES as f32);
        if !cases.contains(&case) {
            cases.push(case);
        }
    }
    cases
}
