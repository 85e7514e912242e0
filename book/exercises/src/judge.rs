//! Two answers to one exercise, compared on many cases.

use syllabus::verdict::{
    Example, Finding, Known, Pair, Partly, Shown, Stopped, Verdict,
};

use crate::{
    answer::{Value, same, tables},
    draw::{Choices, shrink},
    features::{Features, where_wrong},
    outcome::Outcome,
    panic::{Panic, traced},
    relations::{WrongCase, seen},
    task::Task,
    trial::{Cause, Oracle, Trial},
};

/// What the answers of `mine` are worth, by those of `oracle`.
#[must_use]
pub fn judge(mine: &dyn Task, oracle: &dyn Task) -> Verdict {
    judged(mine, oracle).0
}

/// The same, with the case that is shown, if there is one.
pub(crate) fn judged(mine: &dyn Task, oracle: &dyn Task) -> (Verdict, Option<Choices>) {
    let oracle = Oracle::of(oracle);
    let trial = Trial::of(mine, &oracle);
    let (finding, shown) = Judge { mine, trial: &trial }.finding();
    (Verdict { exercise: oracle.task.name().to_owned(), finding }, shown)
}

/// What a case is made of, as text.
pub(crate) fn given(oracle: &dyn Task, case: &[u32]) -> Vec<Shown> {
    let shown = |(name, value)| {
        let [table] = tables([&value]);
        Shown { name, table }
    };
    oracle.given(case).into_iter().map(shown).collect()
}

struct Judge<'a> {
    mine: &'a dyn Task,
    trial: &'a Trial<'a>,
}

impl Judge<'_> {
    fn finding(&self) -> (Finding, Option<Choices>) {
        let Trial { oracle, answers, .. } = self.trial;
        let cause = self.trial.cause();
        if cause == Cause::Right {
            let (cases, predictions) = (oracle.cases.len(), Vec::new());
            return (Finding::Right { cases, predictions }, None);
        }
        let wrong: Vec<usize> = self.trial.wrong().collect();
        if let Some(todo) = self.unwritten(&wrong) {
            return todo;
        }
        let start = self.start(&cause, &wrong);
        let stops = answers[start].panic().is_some();
        let smallest = shrink(oracle.cases[start].clone(), |case| {
            let (mine, right) = (self.mine.answer(case), oracle.task.answer(case));
            !oracle.agree(&mine, &right)
                && stops == mine.panic().is_some()
                && self.still_shows(&cause, case, &mine)
        });
        let example = self.example(&smallest);
        let finding = match cause {
            Cause::Mistakes(made) => {
                let names = oracle.task.mistakes();
                let mistakes =
                    made.iter().map(|which| names[*which].to_owned()).collect();
                Finding::Mistaken { mistakes, example }
            }
            Cause::Right | Cause::Partly(_) => {
                let known = self.known(&cause, &wrong);
                Finding::Wrong { known, example }
            }
        };
        (finding, Some(smallest))
    }

    /// What is wanted, where something is still to be written.
    fn unwritten(&self, wrong: &[usize]) -> Option<(Finding, Option<Choices>)> {
        let Trial { oracle, answers, .. } = self.trial;
        let todo = wrong.iter().filter_map(|case| answers[*case].panic());
        let place = todo
            .filter(|panic| panic.is_todo())
            .map(|panic| panic.place.clone())
            .next()?;
        // The smallest case says little of what is wanted.
        let case = oracle.cases[wrong[wrong.len() / 2]].clone();
        let example = self.example(&case);
        Some((Finding::Unwritten { place, example }, Some(case)))
    }

    /// The case from which a smaller one is looked for: where the first mistake shows, or
    /// else what is not explained yet.
    fn start(&self, cause: &Cause, wrong: &[usize]) -> usize {
        let mut cases = wrong.iter().copied();
        let found = match cause {
            Cause::Mistakes(made) => {
                cases.find(|case| self.trial.gives[made[0]][*case])
            }
            Cause::Partly(some) => {
                let given =
                    |case: &usize| some.iter().any(|one| self.trial.gives[*one][*case]);
                cases.find(|case| !given(case))
            }
            Cause::Right => None,
        };
        found.unwrap_or(wrong[0])
    }

    fn still_shows(&self, cause: &Cause, case: &[u32], mine: &Outcome) -> bool {
        let oracle = self.trial.oracle;
        let gives = |which: usize| {
            oracle.gives(which, mine, &oracle.task.mistaken(which, case))
        };
        match cause {
            Cause::Right => true,
            Cause::Mistakes(made) => gives(made[0]),
            Cause::Partly(some) if self.all_given(some) => {
                some.iter().any(|one| gives(*one))
            }
            Cause::Partly(some) => !some.iter().any(|one| gives(*one)),
        }
    }

    /// Whether these mistakes give every wrong answer, and only spare others.
    fn all_given(&self, some: &[usize]) -> bool {
        let given = |case: usize| some.iter().any(|one| self.trial.gives[*one][case]);
        !some.is_empty() && self.trial.wrong().all(given)
    }

    fn known(&self, cause: &Cause, wrong: &[usize]) -> Known {
        let Trial { oracle, answers, right, .. } = self.trial;
        let given: Vec<Vec<(String, Value)>> =
            oracle.cases.iter().map(|case| oracle.task.given(case)).collect();
        let features: Vec<Features> =
            given.iter().map(|given| Features::of(given)).collect();
        let cases = wrong.iter().map(|at| WrongCase {
            given: &given[*at],
            features: &features[*at],
            mine: &answers[*at],
            right: &oracle.right[*at],
        });
        let seen = where_wrong(&features, right)
            .into_iter()
            .chain(seen(&cases.collect::<Vec<_>>()))
            .collect();
        let partly = match cause {
            Cause::Partly(some) => some.iter().map(|which| Partly {
                mistake: oracle.task.mistakes()[*which].to_owned(),
                gives: self.trial.given_by(*which),
                spared: self.trial.spared_by(*which),
            }),
            _ => return Known::default(),
        };
        let partly = partly.collect();
        Known { wrong: wrong.len(), cases: oracle.cases.len(), partly, seen }
    }

    fn example(&self, case: &[u32]) -> Example {
        let oracle = self.trial.oracle.task;
        let steps = oracle.steps(case).into_iter().zip(self.mine.steps(case));
        let steps = steps
            .flat_map(|((_, right), (_, mine))| self.pairs(&mine, &right))
            // Many steps call nothing of the reader's. Whether this one does shows only
            // where it differs: to call it the same would say what nobody looked at.
            .map(|step| if step.agrees { Pair { got: None, ..step } } else { step });
        let mine = traced(|| self.mine.answer(case));
        let answers = self.pairs(&mine, &oracle.answer(case));
        let stopped = mine.panic().cloned().map(|panic| {
            let Panic { message, place, frames } = panic;
            Stopped { message, place, frames }
        });
        Example { given: given(oracle, case), steps: steps.collect(), answers, stopped }
    }

    /// The parts of both outcomes, side by side.
    fn pairs(&self, mine: &Outcome, oracle: &Outcome) -> Vec<Pair> {
        let (mut mine, oracle) = (mine.parts().to_vec(), oracle.parts().to_vec());
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

    fn pair(
        &self,
        name: String,
        expected: Option<&Value>,
        got: Option<&Value>,
    ) -> Pair {
        let (tables, agrees) = match (expected, got) {
            (Some(expected), Some(got)) => (
                tables([expected, got]).map(Some),
                same(got, expected, self.trial.oracle.task.tolerance(&name)),
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
        let Finding::Mistaken { mistakes, example } = found else {
            panic!("{found:?}")
        };
        assert_eq!(mistakes, ["left-alone"]);
        // One entry off the diagonal is enough, and a half is the simplest number.
        assert_eq!(example.given[0].table.rows.len(), 2);
        let mut cells: Vec<&str> =
            example.given[0].table.rows.iter().flatten().map(String::as_str).collect();
        cells.sort_unstable();
        assert_eq!(cells, ["0.0", "0.0", "0.0", "0.5"]);
    }

    #[test]
    fn a_mistake_that_explains_some_cases_is_counted_and_not_called_the_cause() {
        let found = finding(|x| {
            Answer::of("y", if x.max() == 4.0 { x * f32::NAN } else { x.clone() })
        });
        let Finding::Wrong { known, example } = found else { panic!("{found:?}") };
        let [partly] = &known.partly[..] else { panic!("{known:?}") };
        assert_eq!((partly.mistake.as_str(), partly.spared), ("left-alone", 0));
        assert!((1..known.wrong).contains(&partly.gives), "{known:?}");
        // What is shown is what it does not explain.
        assert_eq!(example.given[0].table.rows, [["4"]]);
    }

    #[test]
    fn a_mistake_that_is_made_in_some_cases_only_says_in_which() {
        let found = finding(|x| {
            Answer::of("y", if x.nrows() == 3 { x.clone() } else { x.transpose() })
        });
        let Finding::Wrong { known, .. } = found else { panic!("{found:?}") };
        let [partly] = &known.partly[..] else { panic!("{known:?}") };
        assert_eq!(
            (partly.mistake.as_str(), partly.gives),
            ("left-alone", known.wrong)
        );
        assert!(partly.spared > 0);
        let seen = known.seen.join(" ");
        assert!(
            seen.contains("exactly where the number of rows of `x` is 3"),
            "{seen}"
        );
        assert!(seen.contains("`y` is the right one transposed"), "{seen}");
    }

    #[test]
    fn two_mistakes_that_do_not_meet_are_both_named() {
        let exercise = |answer: fn(&DMatrix<f32>) -> Answer| {
            Exercise::implement("double", square, answer)
                .mistake("once", |x| {
                    Answer::of("y", if x.nrows() < 3 { x.clone() } else { x * 2.0 })
                })
                .mistake("refused", |x| {
                    let right = if x.nrows() > 3 { Err("no") } else { Ok(x * 2.0) };
                    Answer::of("y", right)
                })
        };
        let both = |x: &DMatrix<f32>| match x.nrows() {
            1 | 2 => Answer::of("y", x),
            3 => Answer::of("y", x * 2.0),
            _ => Answer::of("y", Value::Refused("another word".to_owned())),
        };
        let oracle = exercise(|x| Answer::of("y", x * 2.0));
        let found = judge(&exercise(both), &oracle).finding;
        let Finding::Mistaken { mistakes, .. } = found else { panic!("{found:?}") };
        assert_eq!(mistakes, ["once", "refused"]);
    }

    #[test]
    fn a_mistake_that_would_have_done_more_harm_is_not_named() {
        // Left alone where the first number is 4, which says little of the other cases.
        let found = finding(|x| {
            Answer::of("y", if x[0] == 4.0 { x.clone() } else { x.transpose() })
        });
        let Finding::Wrong { known, .. } = found else { panic!("{found:?}") };
        assert!(known.partly.iter().all(|partly| partly.spared > partly.gives));
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
        let Finding::Wrong { example, .. } = stopped else { panic!("{stopped:?}") };
        let frames = example.stopped.unwrap().frames;
        assert!(frames.iter().any(|f| f.file.ends_with("judge.rs")), "{frames:?}");
        let unwritten = finding(|_| todo!());
        assert!(matches!(unwritten, Finding::Unwritten { .. }), "{unwritten:?}");
    }
}
