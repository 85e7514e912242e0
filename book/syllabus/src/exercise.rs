//! One exercise, as `course.toml` describes it.

use std::fmt;

use anyhow::{Result, ensure};
use serde::Deserialize;

/// Hints that each exercise has, from a nudge to nearly the answer.
pub const HINTS: usize = 3;

/// The whole of a `course.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entries {
    /// In the order in which they are meant to be done.
    pub exercise: Vec<Exercise>,
}

/// One exercise.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exercise {
    /// Lower case and hyphens; unique in its chapter.
    pub name: String,
    /// What the reader does.
    pub kind: Kind,
    /// What it is about, in a few words.
    pub title: String,
    /// The heading of the page to read for it, by its anchor.
    pub section: String,
    /// What is to be written: a function of `src/lib.rs` such as `Mask::hide`, or of a
    /// module's file such as `convert::pooled`. Only where the kind is *implement*.
    pub body: Option<String>,
    /// What is to be filled in. Only where the kind is not *implement*.
    #[serde(default)]
    pub blank: Vec<Blank>,
    /// From a nudge to nearly the answer.
    pub hints: Vec<String>,
    /// What people answer instead.
    #[serde(default)]
    pub mistake: Vec<Mistake>,
}

/// What the reader of an exercise does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Kind {
    /// Computes a number or a small table with a pencil.
    #[serde(rename = "by hand")]
    ByHand,
    /// Writes a function.
    #[serde(rename = "implement")]
    Implement,
    /// Predicts, changes something, runs it and writes down what came out.
    #[serde(rename = "investigate")]
    Investigate,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(match self {
            Kind::ByHand => "by hand",
            Kind::Implement => "implement",
            Kind::Investigate => "investigate",
        })
    }
}

/// A number or a small table that the reader types into a file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blank {
    /// As in the file, and as in the chapter's `tests/it/course.rs`.
    pub name: String,
    /// What belongs there, in words.
    pub ask: String,
    /// Rows and columns.
    #[serde(default = "one_number")]
    pub shape: [usize; 2],
    /// How far off a number may be.
    #[serde(default)]
    pub within: f32,
    /// Whether it is a prediction: shown beside what is so, and never wrong.
    #[serde(default)]
    pub prediction: bool,
}

fn one_number() -> [usize; 2] {
    [1, 1]
}

/// An answer that is wrong in a way that can be told.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mistake {
    /// As in the chapter's `tests/it/course.rs`.
    pub name: String,
    /// What the reader hears: what the numbers show, a colon, what was done.
    pub says: String,
    /// The heading to read again, where it is not the exercise's own.
    pub section: Option<String>,
    /// The case in which nobody would notice, if there is one. The chapter's
    /// `tests/it/course.rs` then has that case.
    pub hidden_by: Option<String>,
}

impl Exercise {
    /// What no exercise may lack.
    pub(crate) fn check(&self) -> Result<()> {
        let name_fits = |name: &str| {
            let fits =
                |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            !name.is_empty() && name.chars().all(fits)
        };
        ensure!(name_fits(&self.name), "a name is lower case letters, digits and `-`");
        ensure!(!self.title.trim().is_empty(), "the title is empty");
        ensure!(
            self.hints.len() == HINTS
                && self.hints.iter().all(|h| !h.trim().is_empty()),
            "{HINTS} hints are wanted, one a level, none of them empty"
        );
        let implement = self.kind == Kind::Implement;
        ensure!(
            self.body.is_some() == implement,
            "`body` names the function to write, in exercises to implement and no others"
        );
        ensure!(
            self.blank.is_empty() == implement,
            "`[[exercise.blank]]` says what to fill in, unless a function is to be written"
        );
        ensure!(
            implement || self.blank.iter().any(|blank| !blank.prediction),
            "at least one blank is no prediction"
        );
        for (at, blank) in self.blank.iter().enumerate() {
            let twice = self.blank[..at].iter().any(|other| other.name == blank.name);
            ensure!(!twice, "two blanks are called `{}`", blank.name);
            ensure!(name_fits(&blank.name), "the blank `{}` is no name", blank.name);
        }
        for (at, mistake) in self.mistake.iter().enumerate() {
            let twice = self.mistake[..at].iter().any(|m| m.name == mistake.name);
            ensure!(!twice, "two mistakes are called `{}`", mistake.name);
            ensure!(
                !mistake.says.trim().is_empty(),
                "mistake `{}` says nothing",
                mistake.name
            );
        }
        Ok(())
    }

    /// The catalogued mistake of that name.
    #[must_use]
    pub fn mistake(&self, name: &str) -> Option<&Mistake> {
        self.mistake.iter().find(|mistake| mistake.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::Entries;

    fn complaint(text: &str) -> String {
        match toml::from_str::<Entries>(text) {
            Err(error) => error.to_string(),
            Ok(entries) => entries.exercise[0].check().unwrap_err().to_string(),
        }
    }

    const GOOD: &str = r#"
        [[exercise]]
        name = "softmax"
        kind = "implement"
        title = "Scores into shares"
        section = "softmax"
        body = "softmax"
        hints = ["a", "b", "c"]
    "#;

    #[test]
    fn a_whole_exercise_passes() {
        let entries: Entries = toml::from_str(GOOD).unwrap();
        entries.exercise[0].check().unwrap();
    }

    #[test]
    fn what_is_missing_is_told() {
        let without_hint = GOOD.replace(r#", "c""#, "");
        assert!(complaint(&without_hint).starts_with("3 hints are wanted"));
        let empty_hint = GOOD.replace(r#""c""#, r#"" ""#);
        assert!(complaint(&empty_hint).starts_with("3 hints are wanted"));
        let by_hand = GOOD.replace("implement", "by hand");
        assert!(complaint(&by_hand).starts_with("`body` names the function"));
        let no_body = by_hand.replace("body = \"softmax\"", "");
        assert!(complaint(&no_body).starts_with("`[[exercise.blank]]` says"));
        let misspelled = GOOD.replace("title", "tilte");
        assert!(complaint(&misspelled).contains("tilte"));
    }
}
