//! What a check found. The program that computes it writes one as a line of JSON, and
//! `cargo course` says it in words.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What the line of a verdict begins with. Other lines are what the reader's code prints.
pub const MARK: &str = "\u{1}verdict ";

/// The line before what the reader's code prints for the case that is shown.
pub const BEGIN: &str = "\u{1}begin";

/// The line after it.
pub const END: &str = "\u{1}end";

/// What a line begins with that says why a program failed.
pub const FAILED: &str = "\u{1}failed ";

/// What a line begins with that tells a case before it is answered.
pub const CASE: &str = "\u{1}case ";

/// The name beside that of a mistake that is made in some of its cases only.
pub const ONLY_SOMETIMES: &str = "only-sometimes";

/// What came of checking one exercise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Its name in the chapter.
    pub exercise: String,
    /// What was found.
    pub finding: Finding,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Finding {
    /// The answer is the chapter's, on every case.
    Right {
        /// How many cases were tried.
        cases: usize,
        /// What was predicted, beside what is so.
        predictions: Vec<Pair>,
    },
    /// Something in the file is still to be filled in.
    Blank {
        /// Their names.
        blanks: Vec<String>,
    },
    /// The file cannot be read as it stands.
    Illegible {
        /// Why.
        message: String,
    },
    /// The function, or one that it calls, is still to be written.
    Unwritten {
        /// Where the program stopped.
        place: Place,
        /// What is wanted, on the smallest case.
        example: Example,
    },
    /// The answer is that of known mistakes, on every case.
    Mistaken {
        /// Their names: one, or several that were made at once.
        mistakes: Vec<String>,
        /// What is said of those that `course.toml` does not have, by name.
        #[serde(default)]
        says: BTreeMap<String, String>,
        /// The smallest case that shows the first.
        example: Example,
    },
    /// The answer is another one, or a panic.
    Wrong {
        /// What is known of all cases.
        known: Known,
        /// The smallest that is not yet explained.
        example: Example,
    },
}

/// What holds of the cases of an answer that no catalogued mistake explains.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Cases that are wrong.
    pub wrong: usize,
    /// Cases that were tried.
    pub cases: usize,
    /// Mistakes that give the same in some of the cases that are wrong.
    pub partly: Vec<Partly>,
    /// What else was seen, a sentence each.
    pub seen: Vec<String>,
}

/// A mistake that gives the same as an answer, but not everywhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partly {
    /// Its name.
    pub mistake: String,
    /// Wrong cases in which it gives the same.
    pub gives: usize,
    /// Cases in which it is wrong and the answer is right.
    pub spared: usize,
}

impl Verdict {
    /// Whether the exercise is done.
    #[must_use]
    pub fn passed(&self) -> bool {
        matches!(self.finding, Finding::Right { .. })
    }
}

/// A line of a source file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// As the compiler calls it.
    pub file: String,
    /// Counted from 1.
    pub line: u32,
}

/// One case, told with all that happens in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// What goes in.
    pub given: Vec<Shown>,
    /// What happens on the way.
    pub steps: Vec<Pair>,
    /// What comes out.
    pub answers: Vec<Pair>,
    /// Where the reader's code stopped, if it did.
    pub stopped: Option<Stopped>,
}

/// A panic in the reader's code, or in what it calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    /// What it said.
    pub message: String,
    /// The line that panicked.
    pub place: Place,
    /// The lines that led there, the innermost first.
    pub frames: Vec<Place>,
}

/// A value with its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// What it is.
    pub name: String,
    /// Its numbers.
    pub table: Table,
}

/// What should be there and what is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// What it is.
    pub name: String,
    /// What the chapter's code gives; withheld where it is the exercise to find it.
    pub expected: Option<Table>,
    /// What the reader's gives, if it gives anything.
    pub got: Option<Table>,
    /// Whether the two are the same, up to rounding.
    pub agrees: bool,
}

/// Numbers as text, row by row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// All rows have as many cells.
    pub rows: Vec<Vec<String>>,
}
