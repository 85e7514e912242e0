//! The words of the field: what each means, and which chapter introduces it.

use std::{collections::HashMap, path::Path};

use serde::Deserialize;
use toml::Spanned;

use super::workspace::Workspace;
use crate::report::{Problem, line_at};

/// The list, relative to the book's root. A book may do without.
pub(crate) const FILE: &str = "book/glossary.toml";
/// The page that shows it with `{{#glossary}}`, beside the chapters.
pub(crate) const PAGE: &str = "glossary.md";

/// Every term of the book.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Glossary {
    /// In the order of the file.
    #[serde(default, rename = "term")]
    pub terms: Vec<Term>,
}

/// A word of the field.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Term {
    /// As the glossary lists it.
    name: Spanned<String>,
    /// Other words for it, and plurals that need more than an `s`.
    #[serde(default)]
    also: Vec<String>,
    /// The chapter that introduces it, in bold.
    pub chapter: String,
    /// What it means, in one line: text, with code in backticks.
    pub says: String,
}

impl Term {
    /// As the glossary lists it.
    pub(crate) fn name(&self) -> &str {
        self.name.get_ref()
    }

    /// What a link to its line in the glossary ends in.
    pub(crate) fn id(&self) -> String {
        let letter = |c: char| if c.is_alphanumeric() { c } else { '-' };
        self.name().to_lowercase().chars().map(letter).collect()
    }

    /// The words that stand for it in prose, in lower case.
    pub(crate) fn forms(&self) -> impl Iterator<Item = String> {
        let name = self.name().to_lowercase();
        let plural = format!("{name}s");
        let others = self.also.iter().map(|form| form.to_lowercase());
        [name, plural].into_iter().chain(others)
    }

    /// What is wrong with it, told where the list names it.
    pub(crate) fn problem(&self, workspace: &Workspace, message: String) -> Problem {
        let text = workspace.read(Path::new(FILE)).unwrap_or_default();
        problem(&text, self.name.span().start, message)
    }
}

impl Glossary {
    /// Reads the list of the book, if it has one.
    ///
    /// # Errors
    /// What is wrong with the list: its form, a chapter that is not there, two terms with
    /// one word.
    pub(crate) fn open(workspace: &Workspace) -> Result<Glossary, Vec<Problem>> {
        let file = Path::new(FILE);
        if !workspace.has(file) {
            return Ok(Glossary::default());
        }
        let text = workspace.read(file).map_err(|fault| vec![fault.at(file, 1)])?;
        let glossary: Glossary = toml::from_str(&text).map_err(|e| {
            let at = e.span().map_or(0, |span| span.start);
            vec![problem(&text, at, e.message().to_owned())]
        })?;
        let problems = glossary.problems(workspace, &text);
        if problems.is_empty() { Ok(glossary) } else { Err(problems) }
    }

    fn problems(&self, workspace: &Workspace, text: &str) -> Vec<Problem> {
        let mut known: HashMap<String, &str> = HashMap::new();
        let mut problems = Vec::new();
        for term in &self.terms {
            let at = term.name.span().start;
            if let Err(fault) = workspace.place(&term.chapter) {
                problems.push(fault.at(Path::new(FILE), line_at(text, at)));
            }
            for form in term.forms() {
                if let Some(other) = known.insert(form.clone(), term.name()) {
                    let message = format!("`{form}` stands for `{other}` already");
                    problems.push(problem(text, at, message));
                }
            }
        }
        problems
    }

    /// The term that some words stand for.
    pub(crate) fn find(&self, words: &str) -> Option<&Term> {
        let words = words.to_lowercase();
        self.terms.iter().find(|term| term.forms().any(|form| form == words))
    }
}

fn problem(text: &str, at: usize, message: String) -> Problem {
    Problem { file: FILE.into(), line: line_at(text, at), message }
}
