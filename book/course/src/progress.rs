//! What the reader has done, in a file of theirs.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::files;

/// What a line begins with that carries progress between the terminal and the page.
const LINE: &str = "course:1:";

/// The file, in the course's own folder.
const FILE: &str = "progress.toml";

/// What the reader has done.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Progress {
    /// Where the reader was last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chapter: Option<String>,
    /// Exercises that passed, by id.
    pub done: BTreeSet<String>,
    /// Hints that were shown, by the exercise's id.
    pub hints: BTreeMap<String, usize>,
    /// Questions that were missed: the chapter, and how the question begins.
    pub missed: BTreeMap<String, BTreeSet<String>>,
}

impl Progress {
    /// What is on file in the course's own folder; nothing done if there is no file.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn read(own: &Path) -> Result<Progress> {
        let path = own.join(FILE);
        if !path.is_file() {
            return Ok(Progress::default());
        }
        toml::from_str(&files::read(&path)?).with_context(|| {
            format!("{} is damaged; mend it, or move it away", path.display())
        })
    }

    /// Puts it on file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn write(&self, own: &Path) -> Result<()> {
        files::write(&own.join(FILE), &toml::to_string(self)?)
    }

    /// Whether the exercise passed once.
    pub(crate) fn is_done(&self, id: &str) -> bool {
        self.done.contains(id)
    }

    /// What is done as one line.
    pub(crate) fn line(&self) -> String {
        let done: Vec<&str> = self.done.iter().map(String::as_str).collect();
        format!("{LINE}{}", done.join(","))
    }

    /// Takes in a line, and says what is new.
    ///
    /// # Errors
    /// When it is none.
    pub(crate) fn take(&mut self, line: &str, known: &[String]) -> Result<Vec<String>> {
        let Some(ids) = line.trim().strip_prefix(LINE) else {
            bail!("a line from the page begins with `{LINE}`")
        };
        let mut new = Vec::new();
        for id in ids.split(',').map(str::trim).filter(|id| !id.is_empty()) {
            if !known.iter().any(|known| known == id) {
                bail!("no exercise `{id}`; nothing was taken over");
            }
            if !self.is_done(id) && !new.iter().any(|other| other == id) {
                new.push(id.to_owned());
            }
        }
        self.done.extend(new.iter().cloned());
        Ok(new)
    }
}

#[cfg(test)]
mod tests {
    use super::Progress;

    #[test]
    fn a_line_goes_there_and_back() {
        let known = ["a/x", "a/y", "b/z"].map(str::to_owned);
        let mut here = Progress::default();
        here.done.insert("a/x".to_owned());
        let mut there = Progress::default();
        there.done.insert("b/z".to_owned());
        assert_eq!(here.take(&there.line(), &known).unwrap(), ["b/z"]);
        assert_eq!(here.line(), "course:1:a/x,b/z");
        assert_eq!(here.take(&here.line(), &known).unwrap(), [""; 0]);
    }

    #[test]
    fn a_line_that_is_none_changes_nothing() {
        let known = ["a/x".to_owned()];
        let mut progress = Progress::default();
        assert!(progress.take("a/x", &known).is_err());
        assert!(progress.take("course:1:a/x,b/q", &known).is_err());
        assert!(progress.done.is_empty());
    }
}
