//! Two answers to one exercise, compared on many cases.

use std::collections::BTreeMap;

use syllabus::verdict::{
    Example, Finding, Known, ONLY_SOMETIMES, Pair, Partly, Shown, Stopped, Verdict,
};

use crate::{
    answer::{Value, same, tables},
    draw::{Choices, shrink},
    features::{Features, where_wrong},
    made::Made,
    oracle::Oracle,
    outcome::Outcome,
    panic::{Panic, traced},
    relations::{Seen, WrongCase, seen},
    task::Task,
    trial::{Cause, Trial},
};

/// What the answers of `mine` are worth, by those of `oracle`.
#[must_use]
pub fn judge(mine: &dyn Task, oracle: &dyn Task) -> Verdict {
    judged(mine, oracle).0
}

/// The same, with the case that is shown, if there is one.
pub(crate) fn judged(mine: &dyn Task, oracle: &dyn Task) -> (Verdict, Option<Choices>) {
    judged_by(mine, &Oracle::of(oracle))
}

/// The same, where the answers are known already.
pub(crate) fn judged_by(
    mine: &dyn Task,
    oracle: &Oracle,
) -> (Verdict, Option<Choices>) {
    let trial = Trial::of(mine, oracle);
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

/// Wrong cases, before a mistake is called one that is made only sometimes.
const ENOUGH: usize = 3;

struct Judge<'a> {
    mine: &'a dyn Task,
    trial: &'a Trial<'a>,
}

impl Judge<'_> {
    fn finding(&self) -> (Finding, Option<Choices>) {
        let Trial { oracle, answers, .. } = self.trial;
        let wrong: Vec<usize> = self.trial.wrong().collect();
        if wrong.is_empty() {
            let (cases, predictions) = (oracle.cases.len(), Vec::new());
            return (Finding::Right { cases, predictions }, None);
        }
        if let Some(todo) = self.unwritten(&wrong) {
            return todo;
        }
        let cause = self.trial.cause();
        let start = self.start(&cause, &wrong);
        let stops = answers[start].panic().is_some();
        let smallest = shrink(oracle.cases[start].clone(), |case| {
            let (mine, right) = (self.mine.answer(case), oracle.task.answer(case));
            !oracle.agree(&mine, &right)
                && stops == mine.panic().is_some()
                && self.still_shows(&cause, case, &mine)
        });
        let example = self.example(&smallest);
        let named = match &cause {
            Cause::Mistakes(made) => Some(self.catalogued(made)),
            Cause::Slips(ways) => Some(Named::slips(ways)),
            Cause::Right | Cause::Partly(_) => self.explained(&wrong),
        };
        let finding = match named {
            Some(Named { mistakes, says }) => {
                Finding::Mistaken { mistakes, says, example }
            }
            None => Finding::Wrong { known: self.known(&cause, &wrong), example },
        };
        (finding, Some(smallest))
    }

    fn catalogued(&self, made: &[usize]) -> Named {
        let names = self.trial.oracle.task.mistakes();
        let mistakes = made.iter().map(|which| names[*which].to_owned()).collect();
        Named { mistakes, says: BTreeMap::new() }
    }

    /// What explains every wrong case, although no catalogued mistake does: what should be
    /// refused is not, or the reverse, and numbers come from the right ones in one way.
    fn explained(&self, wrong: &[usize]) -> Option<Named> {
        let Trial { oracle, answers, right, .. } = self.trial;
        let let_through = |case: &usize| self.trial.is_let_through(*case);
        let strict = |case: &usize| {
            !oracle.right[*case].is_refused() && answers[*case].is_refused()
        };
        let panics = |case: &usize| answers[*case].panic().is_some();
        let (unrefused, others): (Vec<usize>, Vec<usize>) =
            wrong.iter().copied().partition(let_through);
        let all: Vec<usize> =
            (0..right.len()).filter(|case| !let_through(case)).collect();
        let mut named = match others.first() {
            None => Named::default(),
            Some(_) => self
                .of_answers(&others, &all)
                .or_else(|| others.iter().all(strict).then(|| self.too_strict(&others)))
                .or_else(|| self.stops(&others).filter(|_| others.iter().all(panics)))
                .or_else(|| self.beside_stops(&others, &all))?,
        };
        if !unrefused.is_empty() {
            named.add("check-missing", &self.check_missing(&unrefused));
        }
        Some(named)
    }

    /// One cause of wrong numbers, where other cases stop, or are refused.
    fn beside_stops(&self, wrong: &[usize], answered: &[usize]) -> Option<Named> {
        let Trial { oracle, answers, .. } = self.trial;
        let gives = |case: &usize| answers[*case].panic().is_none();
        let refused = |case: &usize| {
            gives(case)
                && answers[*case].is_refused()
                && !oracle.right[*case].is_refused()
        };
        let counts = |case: &usize| gives(case) && !refused(case);
        let of = |cases: &[usize], is: &dyn Fn(&usize) -> bool| {
            cases.iter().copied().filter(|case| is(case)).collect::<Vec<_>>()
        };
        let numbers = of(wrong, &counts);
        if numbers.len() < ENOUGH || numbers.len() == wrong.len() {
            return None;
        }
        let mut named = self.of_answers(&numbers, &of(answered, &counts))?;
        let (stopped, refused) = (of(wrong, &|case| !gives(case)), of(wrong, &refused));
        if !stopped.is_empty() {
            named.add("panics", &self.stopped(&stopped));
        }
        if !refused.is_empty() {
            let strict = self.too_strict(&refused);
            for (name, says) in strict.says {
                named.add(&name, &says);
            }
        }
        Some(named)
    }

    /// The one cause of wrong answers, where an answer is expected: a catalogued mistake,
    /// slips of attention, or what has become of the right numbers.
    fn of_answers(&self, wrong: &[usize], answered: &[usize]) -> Option<Named> {
        let all = |one: &usize| self.trial.gives_all(*one, answered.iter().copied());
        if let Some(one) = self.trial.catalogued().find(all) {
            return Some(self.catalogued(&[one]));
        }
        let slips = |at_once| self.trial.slips_made(at_once, answered.iter().copied());
        if let Some(ways) = (1..=2).find_map(slips) {
            return Some(Named::slips(&ways));
        }
        self.sometimes(wrong).or_else(|| self.changed(wrong))
    }

    /// The mistake that gives the answer wherever it is wrong, and is not made elsewhere:
    /// if it is known where, or if it is made more often than not.
    fn sometimes(&self, wrong: &[usize]) -> Option<Named> {
        let Trial { oracle, answers, right, .. } = self.trial;
        if wrong.len() < ENOUGH {
            return None;
        }
        let spared = |which: &usize| self.trial.spared_by(*which);
        let all = |one: &usize| self.trial.gives_all(*one, wrong.iter().copied());
        let known = self.trial.catalogued().filter(all).min_by_key(spared);
        let known = known.map(|one| (self.catalogued(&[one]), spared(&one)));
        let slip = || {
            let gives = |made: &Made, case: &usize| {
                made.gives(oracle, &oracle.cases[*case], &answers[*case])
            };
            let made = Made::all(oracle, 1)
                .into_iter()
                .find(|made| wrong.iter().rev().all(|case| gives(made, case)))?;
            let spared = (0..right.len())
                .filter(|case| right[*case] && !gives(&made, case))
                .count();
            Some((Named::slips(&[made]), spared))
        };
        let (mut named, spared) = known.or_else(slip)?;
        let place = self.where_wrong(wrong).unwrap_or_default();
        if spared > wrong.len() && !place.contains("exactly where") {
            return None;
        }
        let says = format!(
            "It is made only sometimes: in {spared} other cases it would be wrong, too, and \
             yours is right. {place}"
        );
        named.add(ONLY_SOMETIMES, &says);
        Some(named)
    }

    /// What has become of the right numbers, if it is the same in every wrong case.
    fn changed(&self, wrong: &[usize]) -> Option<Named> {
        let Seen { told, whole } = self.seen(wrong);
        let place = self.where_so(wrong).into_iter();
        let mut named = Named::default();
        let says: Vec<String> = told.into_iter().chain(place).collect();
        let (some, all) = (wrong.len(), self.trial.right.len());
        let of = match self.trial.wrong().count() {
            every if every == some => format!("each of the {some}"),
            every => format!("{some} of the {every}"),
        };
        let says = format!(
            "This holds in {of} cases, of {all}, that are wrong: {}",
            says.join(" ")
        );
        named.add(whole?, &says);
        Some(named)
    }

    fn check_missing(&self, cases: &[usize]) -> String {
        let panics = |case: &&usize| self.trial.answers[**case].panic().is_some();
        let what = match cases.iter().filter(panics).count() {
            0 => "your function gives an answer",
            all if all == cases.len() => "your function panics",
            _ => "your function panics, or gives an answer",
        };
        let place = self.where_so(cases).unwrap_or_default();
        format!(
            "In {} cases an error is expected, and {what}: a check is missing, or it asks \
             for something else, or it comes too late. {place}",
            cases.len()
        )
    }

    /// Panics, where it can be said when: those of every case have another cause.
    fn stops(&self, cases: &[usize]) -> Option<Named> {
        self.where_so(cases)?;
        let mut named = Named::default();
        named.add("panics", &self.stopped(cases));
        Some(named)
    }

    fn stopped(&self, cases: &[usize]) -> String {
        let place = self.where_so(cases).unwrap_or_default();
        format!(
            "In {} cases an answer is expected, and your function panics. {place}",
            cases.len()
        )
    }

    fn too_strict(&self, cases: &[usize]) -> Named {
        let place = self.where_so(cases).unwrap_or_default();
        let says = format!(
            "In {} cases an answer is expected, and your function gives an error. {place}",
            cases.len()
        );
        let mut named = Named::default();
        named.add("too-strict", &says);
        named
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
                cases.find(|case| self.trial.gives(made[0])[*case])
            }
            Cause::Partly(some) => {
                let given =
                    |case: &usize| some.iter().any(|one| self.trial.gives(*one)[*case]);
                cases.find(|case| !given(case))
            }
            Cause::Slips(_) | Cause::Right => None,
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
            Cause::Slips(ways) => ways[0].gives(oracle, case, mine),
            Cause::Partly(some) if self.all_given(some) => {
                some.iter().any(|one| gives(*one))
            }
            Cause::Partly(some) => !some.iter().any(|one| gives(*one)),
        }
    }

    /// Whether these mistakes give every wrong answer, and only spare others.
    fn all_given(&self, some: &[usize]) -> bool {
        let given = |case: usize| some.iter().any(|one| self.trial.gives(*one)[case]);
        !some.is_empty() && self.trial.wrong().all(given)
    }

    fn features(&self) -> Vec<Features> {
        let Oracle { cases, task, .. } = self.trial.oracle;
        cases.iter().map(|case| Features::of(&task.given(case))).collect()
    }

    /// The same of cases among which there may be wrong ones that are told of apart.
    fn where_so(&self, cases: &[usize]) -> Option<String> {
        let all = cases.len() == self.trial.wrong().count();
        let place = self.where_wrong(cases)?;
        Some(if all { place } else { place.replace("It is wrong", "It is so") })
    }

    /// Where these cases are among all, if there is a word for it.
    fn where_wrong(&self, cases: &[usize]) -> Option<String> {
        let others = (0..self.trial.right.len()).map(|case| !cases.contains(&case));
        where_wrong(&self.features(), &others.collect::<Vec<_>>())
    }

    /// What holds of these wrong cases.
    fn seen(&self, wrong: &[usize]) -> Seen {
        let Trial { oracle, answers, .. } = self.trial;
        let features = self.features();
        let given: Vec<Vec<(String, Value)>> =
            wrong.iter().map(|at| self.given_and_steps(&oracle.cases[*at])).collect();
        let cases = wrong.iter().zip(&given).map(|(at, given)| WrongCase {
            given,
            features: &features[*at],
            mine: &answers[*at],
            right: &oracle.right[*at],
        });
        seen(&cases.collect::<Vec<_>>())
    }

    fn given_and_steps(&self, case: &[u32]) -> Vec<(String, Value)> {
        let task = self.trial.oracle.task;
        let steps = task.steps(case).into_iter();
        let steps = steps.flat_map(|(_, step)| step.parts().to_vec());
        task.given(case).into_iter().chain(steps).collect()
    }

    fn known(&self, cause: &Cause, wrong: &[usize]) -> Known {
        let oracle = self.trial.oracle;
        let seen = self.where_wrong(wrong).into_iter();
        let seen = seen.chain(self.seen(wrong).told).collect();
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

/// Mistakes by name, with what is said of those that `course.toml` does not have.
#[derive(Default)]
struct Named {
    mistakes: Vec<String>,
    says: BTreeMap<String, String>,
}

impl Named {
    fn add(&mut self, name: &str, says: &str) {
        self.mistakes.push(name.to_owned());
        self.says.insert(name.to_owned(), says.trim().to_owned());
    }

    /// Where several ways lead to the same numbers, all of them are told.
    fn slips(ways: &[Made]) -> Named {
        let mut named = Named::default();
        if let [Made { names, says, .. }] = ways {
            for (name, says) in names.iter().zip(says) {
                named.add(name, says);
            }
            return named;
        }
        let joined = |of: &dyn Fn(&Made) -> String, by: &str| {
            ways.iter().map(of).collect::<Vec<_>>().join(by)
        };
        let names = |made: &Made| made.names.join(" and ");
        let says = |made: &Made| made.says.join(" And: ");
        named.add(
            &joined(&names, " or "),
            &joined(&says, " Or, with the same numbers: "),
        );
        named
    }
}

#[cfg(test)]
mod tests {
    use super::judge;
    use crate::{Answer, Dial, Draw, Exercise, Value, dial};
    use nalgebra::DMatrix;
    use syllabus::verdict::{Finding, ONLY_SOMETIMES};

    fn square(draw: &mut Draw) -> DMatrix<f32> {
        let n = draw.size(1..=4);
        draw.matrix("x", n, n)
    }

    fn exercise(answer: fn(&DMatrix<f32>) -> Answer) -> Exercise<DMatrix<f32>> {
        Exercise::implement("transpose", square, answer)
            .mistake("left-alone", |x| Answer::of("y", x))
            .mistake("negated", |x| Answer::of("y", -x.transpose()))
            .mistake("squared", |x| Answer::of("y", x.transpose().map(|x| x * x)))
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
        let Finding::Mistaken { mistakes, example, .. } = found else {
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
        let Finding::Mistaken { mistakes, says, .. } = found else {
            panic!("{found:?}")
        };
        assert_eq!(mistakes, ["left-alone", ONLY_SOMETIMES]);
        let says = &says[ONLY_SOMETIMES];
        assert!(
            says.contains("exactly where the number of rows of `x` is 3"),
            "{says}"
        );
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
        // Squared where the first number is 4, which says little of the other cases.
        let found = finding(|x| {
            let y = x.transpose();
            Answer::of("y", if x[0] == 4.0 { y.map(|y| y * y * y) } else { y })
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

    /// `a` and `b` as one number, by the settings of two dials.
    fn two_numbers(answer: fn(&[f32; 2]) -> Answer) -> Exercise<[f32; 2]> {
        const DIALS: &[Dial] = &[
            dial(&[("b-first", "b is taken for a."), ("a-doubled", "a is doubled.")]),
            dial(&[("b-squared", "b is squared."), ("b-lost", "b is missing.")]),
        ];
        let draw = |draw: &mut Draw| [0, 1].map(|_| draw.numbers(1, 1)[0]);
        Exercise::implement("a-b", draw, answer).dials(DIALS, |[a, b], set| {
            let first = [*a, *b, 2.0 * a][set[0]];
            Answer::of("a - b", first - [*b, b * b, 0.0][set[1]])
        })
    }

    #[test]
    fn a_slip_of_a_step_is_named_and_so_are_two() {
        let named = |answer: fn(&[f32; 2]) -> Answer| {
            let right = two_numbers(|[a, b]| Answer::of("a - b", a - b));
            match judge(&two_numbers(answer), &right).finding {
                Finding::Mistaken { mistakes, says, .. } => {
                    assert!(mistakes.iter().all(|name| says.contains_key(name)));
                    mistakes
                }
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(named(|[a, b]| Answer::of("a - b", a - b * b)), ["b-squared"]);
        assert_eq!(
            named(|[a, b]| Answer::of("a - b", 2.0 * a - b * b)),
            ["a-doubled", "b-squared"]
        );
    }

    #[test]
    fn what_should_be_refused_and_is_not_is_told_beside_the_rest() {
        let one = |draw: &mut Draw| draw.numbers(1, 1)[0];
        let right = Exercise::implement("root", one, |x| {
            let root = if *x < 0.0 { Err("negative") } else { Ok(x.sqrt()) };
            Answer::of("y", root)
        });
        let mine =
            Exercise::implement("root", one, |x| Answer::of("y", x.abs().sqrt() * 2.0));
        let found = judge(&mine, &right).finding;
        let Finding::Mistaken { mistakes, says, .. } = found else {
            panic!("{found:?}")
        };
        assert_eq!(mistakes, ["multiplied", "check-missing"]);
        assert!(says["multiplied"].contains("times 2"), "{says:?}");
        assert!(says["check-missing"].contains("an error is expected"), "{says:?}");
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
