//! Two answers to one exercise, compared on many cases.

use syllabus::verdict::{Example, Finding, Pair, Shown, Verdict};

use crate::{
    answer::{Answer, Value, same, tables},
    draw::{Choices, shrink},
    outcome::{Outcome, agree},
    task::Task,
};

/// Cases that are tried, from small to large.
const CASES: u64 = 200;

/// What the answers of `mine` are worth, by those of `oracle`.
#[must_use]
pub fn judge(mine: &dyn Task, oracle: &dyn Task) -> Verdict {
    let finding = Trial { mine, oracle }.finding();
    Verdict { exercise: oracle.name().to_owned(), finding }
}

/// The cases of an exercise, the smaller ones first, each once.
fn cases(oracle: &dyn Task) -> Vec<Choices> {
    let mut cases: Vec<Choices> = Vec::new();
    for seed in 0..CASES {
        let case = oracle.draw(seed, (seed + 1) as f32 / CASES as f32);
        if !cases.contains(&case) {
            cases.push(case);
        }
    }
    cases
}

#[derive(Clone, Copy)]
struct Trial<'a> {
    mine: &'a dyn Task,
    oracle: &'a dyn Task,
}

impl Trial<'_> {
    fn finding(self) -> Finding {
        let cases = cases(self.oracle);
        let wrong: Vec<&Choices> = cases.iter().filter(|c| !self.right(c)).collect();
        let Some(first) = wrong.first() else {
            let predictions = Vec::new();
            return Finding::Right { cases: cases.len(), predictions };
        };
        let named = self.mistake_behind(&cases, &wrong);
        let start = wrong
            .iter()
            .find(|case| named.is_none_or(|(which, _)| self.makes(which, case)));
        let first = start.unwrap_or(first);
        let stops = matches!(self.mine.answer(first), Outcome::Stopped(_));
        let smallest = shrink((*first).clone(), |case| {
            !self.right(case)
                && named.is_none_or(|(which, _)| self.makes(which, case))
                && stops == matches!(self.mine.answer(case), Outcome::Stopped(_))
        });
        if let Outcome::Stopped(panic) = self.mine.answer(&smallest)
            && panic.is_todo()
        {
            // The smallest case says little of what is wanted.
            let example = self.example(wrong[wrong.len() / 2]);
            return Finding::Unwritten { place: panic.place, example };
        }
        let example = self.example(&smallest);
        match (named, self.mine.answer(&smallest)) {
            (Some((which, explained)), _) => {
                let mistake = self.oracle.mistakes()[which].to_owned();
                let left = wrong.len() - explained;
                Finding::Mistaken { mistake, left, example }
            }
            (None, Outcome::Stopped(panic)) => Finding::Panicked {
                message: panic.message,
                place: panic.place,
                example,
            },
            (None, Outcome::Gave(_)) => {
                Finding::Wrong { wrong: wrong.len(), cases: cases.len(), example }
            }
        }
    }

    fn right(self, case: &[u32]) -> bool {
        self.agree(&self.mine.answer(case), &self.oracle.answer(case))
    }

    /// The mistake behind the wrong answers, and how many of them it explains. One that
    /// gives the answers of `mine` in every case comes first; else one that explains most
    /// of the wrong ones, for people make two mistakes at once.
    fn mistake_behind(
        self,
        cases: &[Choices],
        wrong: &[&Choices],
    ) -> Option<(usize, usize)> {
        let all = 0..self.oracle.mistakes().len();
        let is_it = |which: &usize| cases.iter().all(|case| self.makes(*which, case));
        if let Some(which) = all.clone().find(is_it) {
            return Some((which, wrong.len()));
        }
        let explained =
            |which| wrong.iter().filter(|case| self.makes(which, case)).count();
        all.map(|which| (which, explained(which)))
            .max_by_key(|(_, explained)| *explained)
            .filter(|(_, explained)| 2 * explained > wrong.len())
            .filter(|(which, explained)| self.spared_by(*which, cases) < *explained)
    }

    /// Cases that the mistake gets wrong and `mine` does not. A mistake that would have
    /// done more harm than there is only happens to give the same here and there.
    fn spared_by(self, which: usize, cases: &[Choices]) -> usize {
        let wrong = |case: &&Choices| {
            !self.agree(&self.oracle.mistaken(which, case), &self.oracle.answer(case))
        };
        cases.iter().filter(wrong).filter(|case| self.right(case)).count()
    }

    fn makes(self, which: usize, case: &[u32]) -> bool {
        self.agree(&self.mine.answer(case), &self.oracle.mistaken(which, case))
    }

    fn agree(self, found: &Outcome, expected: &Outcome) -> bool {
        agree(found, expected, |part| self.oracle.tolerance(part))
    }

    fn example(self, case: &[u32]) -> Example {
        let given = self.oracle.given(case).into_iter().map(|(name, value)| {
            let [table] = tables([&value]);
            Shown { name, table }
        });
        let steps = self.oracle.steps(case).into_iter().zip(self.mine.steps(case));
        let steps = steps
            .flat_map(|((_, right), (_, mine))| self.pairs(&mine, &right))
            // Many steps call nothing of the reader's. Whether this one does shows only
            // where it differs: to call it the same would say what nobody looked at.
            .map(|step| if step.agrees { Pair { got: None, ..step } } else { step });
        let answers = self.pairs(&self.mine.answer(case), &self.oracle.answer(case));
        Example { given: given.collect(), steps: steps.collect(), answers }
    }

    /// The parts of both outcomes, side by side.
    fn pairs(self, mine: &Outcome, oracle: &Outcome) -> Vec<Pair> {
        let parts = |outcome: &Outcome| match outcome {
            Outcome::Gave(Answer(parts)) => parts.clone(),
            Outcome::Stopped(_) => Vec::new(),
        };
        let (mut mine, oracle) = (parts(mine), parts(oracle));
        let mut pairs = Vec::new();
        for (name, expected) in oracle {
            let at = mine.iter().position(|(found, _)| *found == name);
            let got = at.map(|at| mine.remove(at).1);
            pairs.push(self.pair(name, Some(&expected), got.as_ref()));
        }
        // What only the reader's answer has: an error, where there should be none.
        pairs.extend(
            mine.iter().map(|(name, got)| self.pair(name.clone(), None, Some(got))),
        );
        pairs
    }

    fn pair(self, name: String, expected: Option<&Value>, got: Option<&Value>) -> Pair {
        let (tables, agrees) = match (expected, got) {
            (Some(expected), Some(got)) => (
                tables([expected, got]).map(Some),
                same(got, expected, self.oracle.tolerance(&name)),
            ),
            (expected, got) => {
                let table = |value| {
                    let [table] = tables([value]);
                    table
                };
                ([expected.map(table), got.map(table)], false)
            }
        };
        let [expected, got] = tables;
        Pair { name, expected, got, agrees }
    }
}

#[cfg(test)]
mod tests {
    use super::judge;
    use crate::{Answer, Draw, Exercise, Value};
    use nalgebra::DMatrix;
    use syllabus::verdict::Finding;

    fn square(draw: &mut Draw) -> DMatrix<f32> {
        let n = draw.size(1..=4);
        draw.matrix("x", n, n)
    }

    fn exercise(answer: fn(&DMatrix<f32>) -> Answer) -> Exercise<DMatrix<f32>> {
        Exercise::implement("transpose", square, answer)
            .mistake("left-alone", |x| Answer::of("y", x))
            .mistake("negated", |x| Answer::of("y", -x.transpose()))
    }

    fn finding(answer: fn(&DMatrix<f32>) -> Answer) -> Finding {
        let oracle = exercise(|x| Answer::of("y", x.transpose()));
        judge(&exercise(answer), &oracle).finding
    }

    #[test]
    fn the_right_answer_is_right() {
        let found = finding(|x| Answer::of("y", x.transpose()));
        assert!(matches!(found, Finding::Right { cases: 100.., .. }), "{found:?}");
    }

    #[test]
    fn a_catalogued_mistake_is_named_on_its_smallest_case() {
        let found = finding(|x| Answer::of("y", x));
        let Finding::Mistaken { mistake, left, example } = found else {
            panic!("{found:?}")
        };
        assert_eq!((mistake.as_str(), left), ("left-alone", 0));
        // One entry off the diagonal is enough, and a half is the simplest number.
        assert_eq!(example.given[0].table.rows.len(), 2);
        let mut cells: Vec<&str> =
            example.given[0].table.rows.iter().flatten().map(String::as_str).collect();
        cells.sort_unstable();
        assert_eq!(cells, ["0.0", "0.0", "0.0", "0.5"]);
    }

    #[test]
    fn of_two_mistakes_the_larger_is_named() {
        let found = finding(|x| {
            Answer::of("y", if x.max() == 4.0 { x * f32::NAN } else { x.clone() })
        });
        let Finding::Mistaken { mistake, left, .. } = found else {
            panic!("{found:?}")
        };
        assert_eq!(mistake, "left-alone");
        assert!((1..80).contains(&left), "{left} cases are left");
    }

    #[test]
    fn a_mistake_that_would_have_done_more_harm_is_not_named() {
        // Left alone where the first number is 4, which says little of the other cases.
        let found = finding(|x| {
            Answer::of("y", if x[0] == 4.0 { x.clone() } else { x.transpose() })
        });
        assert!(matches!(found, Finding::Wrong { .. }), "{found:?}");
    }

    #[test]
    fn an_answer_that_nobody_knows_comes_with_its_smallest_case() {
        let found = finding(|x| {
            Answer::of("y", x.transpose().add_scalar(x.max().max(1.5) - 1.5))
        });
        let Finding::Wrong { example, .. } = found else { panic!("{found:?}") };
        assert_eq!(example.given[0].table.rows, [["2"]]);
        assert_eq!(example.answers[0].got.as_ref().unwrap().rows, [["2.5"]]);
    }

    #[test]
    fn a_step_is_not_said_to_be_the_readers_unless_it_differs() {
        let oracle = || exercise(|x| Answer::of("y", x.transpose()));
        let mine = |step: fn(&DMatrix<f32>) -> Value| {
            let mine = exercise(|x| Answer::of("y", x)).step("sum", step);
            let oracle = oracle().step("sum", |x| Value::from(x.sum()));
            let Finding::Mistaken { example, .. } = judge(&mine, &oracle).finding
            else {
                panic!("a catalogued mistake")
            };
            example.steps[0].got.is_some()
        };
        assert!(!mine(|x| Value::from(x.sum())));
        assert!(mine(|x| Value::from(x.sum() + 1.0)));
    }

    #[test]
    fn a_panic_and_a_todo_are_told_apart() {
        let stopped = finding(|x| Answer::of("y", x[(x.nrows(), 0)]));
        assert!(matches!(stopped, Finding::Panicked { .. }), "{stopped:?}");
        let unwritten = finding(|_| todo!());
        assert!(matches!(unwritten, Finding::Unwritten { .. }), "{unwritten:?}");
    }
}
