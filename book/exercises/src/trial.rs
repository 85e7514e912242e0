//! A reader's answers to every case, and what they are made of.

use std::cell::OnceCell;

use crate::{made::Made, oracle::Oracle, outcome::Outcome, task::Task};

/// An answer to every case, beside the right ones.
pub(crate) struct Trial<'a> {
    pub oracle: &'a Oracle<'a>,
    /// What was answered to each case.
    pub answers: Vec<Outcome>,
    /// Whether it is right.
    pub right: Vec<bool>,
    /// Of each mistake: whether it gives the same, case by case, once that was asked.
    gives: Vec<OnceCell<Vec<bool>>>,
}

/// Which catalogued mistakes an answer is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cause {
    /// None: it is right.
    Right,
    /// The answer is theirs on every case.
    Mistakes(Vec<usize>),
    /// The answer is that of slips on every case: one or two at once, in any of these
    /// ways.
    Slips(Vec<Made>),
    /// These give the same in some of the wrong cases, or nothing is known.
    Partly(Vec<usize>),
}

/// Mistakes at once that are looked for.
const AT_ONCE: usize = 3;

/// Ways to the same numbers that are told.
const WAYS: usize = 3;

/// Cases in which a mistake alone is behind a wrong answer, before it counts as one of
/// several.
const ALONE: usize = 3;

impl<'a> Trial<'a> {
    /// What `mine` answers to the cases of the oracle.
    pub(crate) fn of(mine: &dyn Task, oracle: &'a Oracle<'a>) -> Trial<'a> {
        Trial::with(oracle.cases.iter().map(|case| mine.answer(case)).collect(), oracle)
    }

    /// These answers to the cases of the oracle.
    pub(crate) fn with(answers: Vec<Outcome>, oracle: &'a Oracle<'a>) -> Trial<'a> {
        let pairs = answers.iter().zip(&oracle.right);
        let right = pairs.map(|(answer, right)| oracle.agree(answer, right)).collect();
        let gives = vec![OnceCell::new(); oracle.mistaken.len()];
        Trial { oracle, answers, right, gives }
    }

    /// Of a mistake: whether it gives the same, case by case.
    pub(crate) fn gives(&self, which: usize) -> &[bool] {
        let all = || (0..self.answers.len()).map(|case| self.is_given(which, case));
        self.gives[which].get_or_init(|| all().collect())
    }

    /// Whether a mistake gives the same in these cases: the last are the largest, and
    /// differ first.
    pub(crate) fn gives_all(
        &self,
        which: usize,
        cases: impl DoubleEndedIterator<Item = usize>,
    ) -> bool {
        cases.rev().all(|case| self.is_given(which, case))
    }

    fn is_given(&self, which: usize, case: usize) -> bool {
        let Trial { oracle, answers, .. } = self;
        oracle.gives(which, &answers[case], &oracle.mistaken[which][case])
    }

    /// How many mistakes are catalogued.
    pub(crate) fn catalogued(&self) -> std::ops::Range<usize> {
        0..self.oracle.mistaken.len()
    }

    /// Cases that are wrong.
    pub(crate) fn wrong(&self) -> impl Iterator<Item = usize> + Clone {
        (0..self.right.len()).filter(|case| !self.right[*case])
    }

    /// Wrong cases in which the mistake gives what was answered.
    pub(crate) fn given_by(&self, which: usize) -> usize {
        let gives = self.gives(which);
        self.wrong().filter(|case| gives[*case]).count()
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
        let all = self.catalogued();
        let everywhere = |one: &usize| self.gives_all(*one, 0..self.answers.len());
        if let Some(one) = all.clone().find(everywhere) {
            return Cause::Mistakes(vec![one]);
        }
        let cases = 0..self.answers.len();
        if let Some(ways) = self.slips_made(1, cases.clone()) {
            return Cause::Slips(ways);
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
        if let Some(ways) = self.slips_made(2, cases) {
            return Cause::Slips(ways);
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

    /// Whether there should be an error, and is none.
    pub(crate) fn is_let_through(&self, case: usize) -> bool {
        self.oracle.right[case].is_refused() && !self.answers[case].is_refused()
    }

    /// The slips, so many at once, that give the answer in each of these cases: all ways
    /// to the same numbers.
    pub(crate) fn slips_made(
        &self,
        at_once: usize,
        counted: impl DoubleEndedIterator<Item = usize> + Clone,
    ) -> Option<Vec<Made>> {
        let cases = &self.oracle.cases;
        // The last cases are the largest, and wrong ones tell more than right ones.
        let wrong = counted.clone().filter(|case| !self.right[*case]);
        let wrong: Vec<usize> = wrong.rev().collect();
        let right = counted.filter(|case| self.right[*case]);
        let order: Vec<usize> = wrong.iter().copied().chain(right).collect();
        let gives = |made: &Made| {
            order.iter().all(|case| {
                made.gives(self.oracle, &cases[*case], &self.answers[*case])
            })
        };
        if wrong.is_empty() {
            return None;
        }
        let mut ways: Vec<Made> = Vec::new();
        for made in Made::all(self.oracle, at_once) {
            // Another reading of a slip that was found tells nothing new.
            let told = ways.iter().any(|way| way.names == made.names);
            if ways.len() < WAYS && !told && gives(&made) {
                ways.push(made);
            }
        }
        (!ways.is_empty()).then_some(ways)
    }

    fn together(&self, several: &[usize]) -> Fit {
        let mut alone = vec![0; several.len()];
        let mut fit = Fit::All;
        for (case, is_right) in self.right.iter().enumerate() {
            let errs: Vec<usize> = (0..several.len())
                .filter(|at| self.oracle.errs[several[*at]][case])
                .collect();
            let given = errs.iter().any(|at| self.gives(several[*at])[case]);
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
