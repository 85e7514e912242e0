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

/// An answer to every case, beside the right ones.
pub(crate) struct Trial<'a> {
    pub oracle: &'a Oracle<'a>,
    /// What was answered to each case.
    pub answers: Vec<Outcome>,
    /// Whether it is right.
    pub right: Vec<bool>,
    /// Of each mistake: whether it gives the same, case by case.
    pub gives: Vec<Vec<bool>>,
}

/// Which catalogued mistakes an answer is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cause {
    /// None: it is right.
    Right,
    /// The answer is theirs on every case.
    Mistakes(Vec<usize>),
    /// These give the same in some of the wrong cases, or nothing is known.
    Partly(Vec<usize>),
}

/// Mistakes at once that are looked for.
const AT_ONCE: usize = 3;

/// Cases in which a mistake alone is behind a wrong answer, before it counts as one of
/// several.
const ALONE: usize = 3;

impl<'a> Trial<'a> {
    /// What `mine` answers to the cases of the oracle.
    pub(crate) fn of(mine: &dyn Task, oracle: &'a Oracle<'a>) -> Trial<'a> {
        let answers: Vec<_> =
            oracle.cases.iter().map(|case| mine.answer(case)).collect();
        let pairs = answers.iter().zip(&oracle.right);
        let right = pairs.map(|(answer, right)| oracle.agree(answer, right)).collect();
        let gives = oracle.mistaken.iter().enumerate().map(|(which, given)| {
            let pairs = answers.iter().zip(given);
            pairs.map(|(answer, given)| oracle.gives(which, answer, given)).collect()
        });
        let gives = gives.collect();
        Trial { oracle, answers, right, gives }
    }

    /// Cases that are wrong.
    pub(crate) fn wrong(&self) -> impl Iterator<Item = usize> + Clone {
        (0..self.right.len()).filter(|case| !self.right[*case])
    }

    /// Wrong cases in which the mistake gives what was answered.
    pub(crate) fn given_by(&self, which: usize) -> usize {
        self.wrong().filter(|case| self.gives[which][*case]).count()
    }

    /// Cases that the mistake gets wrong and the answer does not. A mistake that would do
    /// more harm than there is was not made, or not always.
    pub(crate) fn spared_by(&self, which: usize) -> usize {
        let errs = &self.oracle.errs[which];
        (0..errs.len()).filter(|case| errs[*case] && self.right[*case]).count()
    }

    /// The mistakes behind the answer. One is named when it gives the answer in every
    /// case, several when each case is theirs: right where none of them errs, and what one
    /// of them gives where any does.
    pub(crate) fn cause(&self) -> Cause {
        let wrong = self.wrong().count();
        if wrong == 0 {
            return Cause::Right;
        }
        let all = 0..self.oracle.mistaken.len();
        if let Some(one) =
            all.clone().find(|one| self.gives[*one].iter().all(|gives| *gives))
        {
            return Cause::Mistakes(vec![one]);
        }
        let made: Vec<usize> = all.filter(|one| self.given_by(*one) >= ALONE).collect();
        let mut open = None;
        for several in subsets(&made, AT_ONCE) {
            match self.together(&several) {
                Fit::All => return Cause::Mistakes(several),
                Fit::AllButWhereBothErr if several.len() == 2 && open.is_none() => {
                    open = Some(several);
                }
                _ => {}
            }
        }
        if let Some(two) = open {
            return Cause::Partly(two);
        }
        let given = |one: &usize| (self.given_by(*one), self.spared_by(*one));
        let best = made
            .into_iter()
            .filter(|one| {
                let (given, spared) = given(one);
                given == wrong || (2 * given >= wrong && 2 * spared <= given)
            })
            .max_by_key(|one| {
                let (given, spared) = given(one);
                (given, std::cmp::Reverse(spared))
            });
        Cause::Partly(best.into_iter().collect())
    }

    fn together(&self, several: &[usize]) -> Fit {
        let mut alone = vec![0; several.len()];
        let mut fit = Fit::All;
        for (case, is_right) in self.right.iter().enumerate() {
            let errs: Vec<usize> = (0..several.len())
                .filter(|at| self.oracle.errs[several[*at]][case])
                .collect();
            let given = errs.iter().any(|at| self.gives[several[*at]][case]);
            match errs[..] {
                [] if *is_right => {}
                [one] if given => alone[one] += 1,
                [_, _, ..] if given => {}
                [_, _, ..] if !is_right => fit = Fit::AllButWhereBothErr,
                _ => return Fit::No,
            }
        }
        if alone.iter().all(|cases| *cases >= ALONE) { fit } else { Fit::No }
    }
}

/// How well several mistakes at once explain an answer.
#[derive(PartialEq, Eq)]
enum Fit {
    All,
    /// What they give together is not known.
    AllButWhereBothErr,
    No,
}

/// Sets of two of `all`, then of three, up to `largest`.
fn subsets(all: &[usize], largest: usize) -> Vec<Vec<usize>> {
    let mut sets: Vec<Vec<usize>> = all.iter().map(|one| vec![*one]).collect();
    let mut found = Vec::new();
    for _ in 1..largest {
        let grown = |set: &Vec<usize>| {
            let (last, set) = (set.last().copied(), set.clone());
            let later = all.iter().filter(move |one| Some(**one) > last);
            later.map(move |one| [&set[..], &[*one]].concat())
        };
        sets = sets.iter().flat_map(grown).collect();
        found.extend(sets.iter().cloned());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::subsets;

    #[test]
    fn sets_come_by_size_and_once() {
        let sets = subsets(&[0, 4, 7], 3);
        assert_eq!(sets, [vec![0, 4], vec![0, 7], vec![4, 7], vec![0, 4, 7]]);
        assert!(subsets(&[1], 3).is_empty());
    }
}
