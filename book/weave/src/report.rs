//! What is wrong with the book, told all at once: `file:line: message`.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use crate::paths::slashed;

/// One thing to mend, at a place that an editor can jump to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Problem {
    /// Relative to the book's root.
    pub file: PathBuf,
    /// Counted from 1.
    pub line: usize,
    /// What is wrong and what would be right.
    pub message: String,
}

/// Every problem of a build, in reading order and each once.
#[derive(Debug, thiserror::Error)]
pub(crate) struct Report(Vec<Problem>);

impl Report {
    /// Nothing when there is nothing to report.
    ///
    /// # Errors
    /// The report of all `problems`, when there are any.
    pub(crate) fn check(problems: Vec<Problem>) -> Result<(), Report> {
        Report::check_in(problems, &[])
    }

    /// The same, for a book whose `pages` are read in this order.
    ///
    /// # Errors
    /// The report of all `problems`, when there are any.
    pub(crate) fn check_in(
        mut problems: Vec<Problem>,
        pages: &[PathBuf],
    ) -> Result<(), Report> {
        let place = |file: &Path| pages.iter().position(|page| page == file);
        let last = pages.len();
        problems.sort_by_cached_key(|problem| {
            (place(&problem.file).unwrap_or(last), problem.clone())
        });
        problems.dedup();
        if problems.is_empty() { Ok(()) } else { Err(Report(problems)) }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for Problem { file, line, message } in &self.0 {
            writeln!(f, "{}:{line}: {message}", slashed(file))?;
        }
        let problems = match self.0.len() {
            1 => "1 problem".to_owned(),
            n => format!("{n} problems"),
        };
        write!(f, "{problems}; the last good book is left as it was")
    }
}

/// What a directive could not do: for its own line, or for a line of the file it reads.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Told at the directive.
    Here(String),
    /// Told where it stands.
    There(Problem),
}

impl Fault {
    /// The problem, for a directive at `line` of `page`.
    pub(crate) fn at(self, page: &Path, line: usize) -> Problem {
        match self {
            Fault::Here(message) => Problem { file: page.to_owned(), line, message },
            Fault::There(problem) => problem,
        }
    }
}

impl From<String> for Fault {
    fn from(message: String) -> Self {
        Fault::Here(message)
    }
}

/// `; did you mean …?` when one of the `candidates` is close to `name`, else nothing.
pub(crate) fn did_you_mean<'a>(
    name: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> String {
    candidates
        .map(|candidate| {
            (strsim::normalized_damerau_levenshtein(name, candidate), candidate)
        })
        .filter(|(likeness, _)| *likeness > 0.5)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map_or(String::new(), |(_, nearest)| format!("; did you mean `{nearest}`?"))
}

/// The line that holds the byte at `offset`, counted from 1.
pub(crate) fn line_at(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count() + 1
}
