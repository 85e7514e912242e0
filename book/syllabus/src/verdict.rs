//! What a check found. The program that computes it writes one as a line of JSON, and
//! `cargo course` says it in words.

use serde::{Deserialize, Serialize};

/// What the line of a verdict begins with. Other lines are what the reader's code prints.
pub const MARK: &str = "\u{1}verdict ";

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
    /// The answer is that of a catalogued mistake.
    Mistaken {
        /// Its name.
        mistake: String,
        /// Cases that are wrong in another way.
        left: usize,
        /// The smallest case that shows it.
        example: Example,
    },
    /// The program stopped.
    Panicked {
        /// What it said.
        message: String,
        /// Where.
        place: Place,
        /// The smallest case on which it does.
        example: Example,
    },
    /// The answer is another one.
    Wrong {
        /// On how many cases.
        wrong: usize,
        /// How many were tried.
        cases: usize,
        /// The smallest.
        example: Example,
    },
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
