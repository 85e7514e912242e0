//! What a reader typed into a file, judged like everything else.

use nalgebra::DMatrix;
use syllabus::{
    Blank, Kind, is_blank,
    verdict::{Finding, Pair, Verdict},
};

use crate::{
    answer::{Answer, Tolerance, Value, tables},
    judge::judge,
    outcome::Outcome,
    task::Task,
};

/// Judges the text of an answer sheet by the oracle's answer.
pub(crate) fn judge_sheet(text: &str, blanks: &[Blank], oracle: &dyn Task) -> Verdict {
    let finding = match read(text, blanks) {
        Err(message) => Finding::Illegible { message },
        Ok(Filled { left, .. }) if !left.is_empty() => Finding::Blank { blanks: left },
        Ok(Filled { answer, .. }) => findings(&answer, blanks, oracle),
    };
    Verdict { exercise: oracle.name().to_owned(), finding }
}

fn findings(answer: &Answer, blanks: &[Blank], oracle: &dyn Task) -> Finding {
    let (mine, right) = (Sheet { answer, blanks, oracle }, Judged { blanks, oracle });
    let mut finding = judge(&mine, &right).finding;
    match &mut finding {
        Finding::Right { predictions, .. } => {
            *predictions = predicted(answer, blanks, oracle);
        }
        // The expected numbers are what the exercise asks for: only `solution` shows them.
        Finding::Mistaken { example, .. } | Finding::Wrong { example, .. } => {
            for pair in &mut example.answers {
                pair.expected = None;
                // The digits that the reader typed, and not those of what is expected.
                let typed = answer.0.iter().find(|(name, _)| *name == pair.name);
                pair.got = typed.map(|(_, value)| {
                    let [got] = tables([value]);
                    got
                });
            }
            example.steps.clear();
        }
        _ => {}
    }
    finding
}

/// What is in the file.
struct Filled {
    answer: Answer,
    /// Blanks that are still blank.
    left: Vec<String>,
}

fn read(text: &str, blanks: &[Blank]) -> Result<Filled, String> {
    // A minus from a word processor is one that TOML does not know.
    let table: toml::Table =
        text.replace('\u{2212}', "-").parse().map_err(|e: toml::de::Error| {
            format!("{e}\nnumbers are written as 0.5, -2 or 1e-3, lists as [1, 0.5]")
        })?;
    let mut filled = Filled { answer: Answer::default(), left: Vec::new() };
    for blank in blanks {
        let name = &blank.name;
        let value = table.get(name).ok_or_else(|| format!("`{name}` is gone"))?;
        match numbers(value)? {
            Some(rows) => {
                filled.answer.0.push((name.clone(), fit(name, &rows, blank.shape)?));
            }
            None => filled.left.push(name.clone()),
        }
    }
    Ok(filled)
}

/// The rows of a number, a list or a list of lists; nothing where a blank is left.
fn numbers(value: &toml::Value) -> Result<Option<Vec<Vec<f32>>>, String> {
    let row = |value: &toml::Value| match value {
        toml::Value::Array(cells) => cells.iter().map(number).collect(),
        cell => Ok(vec![number(cell)?]),
    };
    let rows: Vec<Vec<Option<f32>>> = match value {
        toml::Value::Array(rows) if rows.iter().any(toml::Value::is_array) => {
            rows.iter().map(row).collect::<Result<_, String>>()?
        }
        one => vec![row(one)?],
    };
    Ok(rows.into_iter().map(|row| row.into_iter().collect()).collect())
}

/// A number, also one that somebody put in quotes.
fn number(value: &toml::Value) -> Result<Option<f32>, String> {
    match value {
        blank if is_blank(blank) => Ok(None),
        toml::Value::Float(number) => Ok(Some(*number as f32)),
        toml::Value::Integer(number) => Ok(Some(*number as f32)),
        toml::Value::String(text) => match text.trim().parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(no_number(text)),
        },
        other => Err(no_number(other)),
    }
}

fn no_number(found: impl std::fmt::Display) -> String {
    format!("`{found}` is not a number; numbers are written as 0.5, -2 or 1e-3")
}

fn fit(name: &str, rows: &[Vec<f32>], shape: [usize; 2]) -> Result<Value, String> {
    let [height, width] = shape;
    if rows.len() == height && rows.iter().all(|row| row.len() == width) {
        Ok(Value::Numbers(DMatrix::from_row_iterator(height, width, rows.concat())))
    } else {
        let numbers: usize = rows.iter().map(Vec::len).sum();
        Err(format!("`{name}` wants {height} × {width} numbers and has {numbers}"))
    }
}

fn predicted(answer: &Answer, blanks: &[Blank], oracle: &dyn Task) -> Vec<Pair> {
    let Outcome::Gave(Answer(right)) = oracle.answer(&[]) else { return Vec::new() };
    let find = |parts: &[(String, Value)], name: &str| {
        parts.iter().find(|(found, _)| found == name).map(|(_, value)| value.clone())
    };
    let pair = |blank: &Blank| {
        let (got, expected) =
            (find(&answer.0, &blank.name)?, find(&right, &blank.name)?);
        let [expected, got] = tables([&expected, &got]).map(Some);
        Some(Pair { name: blank.name.clone(), expected, got, agrees: true })
    };
    blanks.iter().filter(|blank| blank.prediction).filter_map(pair).collect()
}

fn is_judged(blanks: &[Blank], name: &str) -> bool {
    blanks.iter().any(|blank| blank.name == name && !blank.prediction)
}

/// Leaves predictions out of an outcome.
fn judged(outcome: Outcome, blanks: &[Blank]) -> Outcome {
    match outcome {
        Outcome::Gave(Answer(parts)) => {
            let judged = parts.into_iter().filter(|(name, _)| is_judged(blanks, name));
            Outcome::Gave(Answer(judged.collect()))
        }
        stopped @ Outcome::Stopped(_) => stopped,
    }
}

/// The oracle, without what is only predicted, and with the blanks' tolerances.
pub(crate) struct Judged<'a> {
    pub blanks: &'a [Blank],
    pub oracle: &'a dyn Task,
}

impl Task for Judged<'_> {
    fn name(&self) -> &str {
        self.oracle.name()
    }

    fn kind(&self) -> Kind {
        self.oracle.kind()
    }

    fn tolerance(&self, part: &str) -> Tolerance {
        let blank = self.blanks.iter().find(|blank| blank.name == part);
        Tolerance::Absolute(blank.map_or(0.0, |blank| blank.within))
    }

    fn answer(&self, case: &[u32]) -> Outcome {
        judged(self.oracle.answer(case), self.blanks)
    }

    fn mistakes(&self) -> Vec<&str> {
        self.oracle.mistakes()
    }

    fn mistaken(&self, which: usize, case: &[u32]) -> Outcome {
        judged(self.oracle.mistaken(which, case), self.blanks)
    }

    fn hidden(&self, which: usize) -> Option<[Outcome; 2]> {
        self.oracle.hidden(which)
    }
}

/// The reader's numbers.
struct Sheet<'a> {
    answer: &'a Answer,
    blanks: &'a [Blank],
    oracle: &'a dyn Task,
}

impl Task for Sheet<'_> {
    fn name(&self) -> &str {
        self.oracle.name()
    }

    fn kind(&self) -> Kind {
        self.oracle.kind()
    }

    fn tolerance(&self, _part: &str) -> Tolerance {
        Tolerance::Absolute(0.0)
    }

    fn answer(&self, _case: &[u32]) -> Outcome {
        judged(Outcome::Gave(self.answer.clone()), self.blanks)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use syllabus::{
        Blank,
        verdict::{Finding, Verdict},
    };

    use super::judge_sheet;
    use crate::{Answer, Exercise};

    /// Filled in, left blank, and put in quotes or below each other.
    const GOOD: [&[u8]; 3] = [
        b"# moon\n\n# Predict first: its score\nguess = 2.0\nrow = [0.25, -1e-3, 3]\n\
          table = [\n  [1.5, 2],\n  [\"3\", 4.0],\n]\n",
        b"guess = nan\nrow = [nan, nan, nan]\ntable = [\n  [nan, nan],\n  [nan, nan],\n]\n",
        b"guess = \"?\"\nrow = [\"0.25\", \" \", inf]\ntable = [[1, 2], [3, 4]]\n",
    ];

    fn blanks() -> Vec<Blank> {
        let blank = |name: &str, shape, prediction| {
            let (name, ask) = (name.to_owned(), "a number".to_owned());
            Blank { name, ask, shape, within: 0.01, prediction }
        };
        vec![
            blank("guess", [1, 1], true),
            blank("row", [1, 3], false),
            blank("table", [2, 2], false),
        ]
    }

    fn judged(text: &str) -> Verdict {
        let moon = Exercise::by_hand("moon", |()| {
            let row = Answer::of("guess", 2.0).and("row", vec![0.25, 0.0, 3.0]);
            row.and("table", nalgebra::dmatrix![1.5, 2.0; 3.0, 4.0])
        })
        .mistake("zeros", |()| {
            let row = Answer::of("guess", 2.0).and("row", vec![0.0; 3]);
            row.and("table", nalgebra::dmatrix![0.0, 0.0; 0.0, 0.0])
        });
        judge_sheet(text, &blanks(), &moon)
    }

    #[test]
    fn what_is_filled_in_is_right_and_what_is_not_is_blank() {
        let [filled, empty, half] = GOOD.map(|text| std::str::from_utf8(text).unwrap());
        assert!(judged(filled).passed());
        let left = |text| match judged(text).finding {
            Finding::Blank { blanks } => blanks,
            other => panic!("{other:?}"),
        };
        assert_eq!(left(empty), ["guess", "row", "table"]);
        assert_eq!(left(half), ["guess", "row"]);
    }

    #[test]
    fn damaged_sheets_get_a_verdict() {
        proptest!(hostile::cases(), |(bytes in hostile::damaged(&GOOD))| {
            let verdict = judged(&String::from_utf8_lossy(&bytes));
            if let Finding::Illegible { message } = &verdict.finding {
                prop_assert!(!message.trim().is_empty());
            }
            // It goes on as a line of JSON.
            prop_assert!(!serde_json::to_string(&verdict).unwrap().contains('\n'));
        });
    }
}
