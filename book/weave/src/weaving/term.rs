//! The words of the field: bold where they are introduced, linked where another page first
//! uses them, and explained in one line each by `{{#glossary}}`.

use std::{collections::HashSet, ops::Range};

use super::chapter;
use crate::{
    html,
    reading::{
        directive::{Form, Mention},
        glossary::{Glossary, PAGE, Term},
        markdown::{self, Bold, Part},
        workspace::Workspace,
    },
    report::Fault,
};

/// A term in the prose of a chapter, and what takes its place.
pub(crate) struct Mark<'a> {
    /// In bytes of the page.
    pub range: Range<usize>,
    /// What is mentioned there.
    pub term: &'a Term,
    /// Whether the term stands in bold, and so is introduced here.
    pub bold: bool,
}

impl Mark<'_> {
    /// The words of `page`, linked to the glossary.
    pub(crate) fn html(&self, page: &str) -> String {
        let words = &page[self.range.clone()];
        if !self.bold {
            return link(self.term, words);
        }
        let (id, words) = (anchor(self.term), words.trim_matches('*'));
        format!(r#"<strong id="{id}">{}</strong>"#, link(self.term, words))
    }
}

/// Where `page`, which tells of `chapter`, introduces terms, and where it first uses those
/// of other chapters. What is a `part` already is no prose.
pub(crate) fn marks<'a>(
    glossary: &'a Glossary,
    chapter: &str,
    page: &str,
    prose: &[Range<usize>],
    bold: &[Bold],
    parts: &[Part],
) -> Vec<Mark<'a>> {
    let introduced = bold.iter().filter_map(|Bold { range, words }| {
        let term = glossary.find(words)?;
        Some(Mark { range: range.clone(), term, bold: true })
    });
    let mut marks: Vec<Mark> = introduced.collect();
    let mut forms: Vec<(String, &Term)> = glossary
        .terms
        .iter()
        .flat_map(|term| term.forms().map(move |form| (form, term)))
        .collect();
    // Where "key/value head" stands, no "key" is meant.
    forms.sort_by_key(|(form, _)| std::cmp::Reverse(form.len()));
    let mut seen: HashSet<&str> = HashSet::new();
    for span in prose {
        let mut at = span.start;
        while let Some(start) = next_word(page, at, span.end) {
            let found = forms.iter().find_map(|(form, term)| {
                Some((matched(form, &page[start..span.end])?, *term))
            });
            let Some((length, term)) = found else {
                at = start + word(&page[start..span.end]);
                continue;
            };
            at = start + length;
            let overlaps =
                |part: &Part| part.range.start < at && start < part.range.end;
            let elsewhere = term.chapter != chapter && !parts.iter().any(overlaps);
            if elsewhere && seen.insert(term.name()) {
                marks.push(Mark { range: start..at, term, bold: false });
            }
        }
    }
    marks
}

/// All terms in alphabetical order, each with its line and the place of its introduction.
///
/// # Errors
/// When a line holds a formula, which no tooltip can show.
pub(crate) fn list(
    workspace: &Workspace,
    glossary: &Glossary,
) -> Result<String, Fault> {
    let mut terms: Vec<&Term> = glossary.terms.iter().collect();
    terms.sort_by_key(|term| term.name().to_lowercase());
    let mut lines = String::new();
    for term in terms {
        let no_formula = |_: &str, _| Err("a line of the glossary is text".to_owned());
        let says = markdown::inline_html(&term.says, no_formula)?;
        let introduced = Mention {
            krate: term.chapter.clone(),
            anchor: Some(anchor(term)),
            form: Form::Start,
        };
        lines += &format!(
            r#"<dt id="{}">{}</dt><dd>{} <span class="introduced">{}</span></dd>"#,
            term.id(),
            html::text(term.name()),
            says.trim(),
            chapter::link(workspace, &introduced)?,
        );
    }
    Ok(format!(r#"<dl class="glossary">{lines}</dl>"#))
}

fn anchor(term: &Term) -> String {
    format!("term-{}", term.id())
}

fn link(term: &Term, words: &str) -> String {
    format!(
        r#"<a class="term" href="{PAGE}#{}" title="{}">{}</a>"#,
        term.id(),
        html::attribute(&term.says.replace('`', "")),
        html::text(&words.split_whitespace().collect::<Vec<_>>().join(" ")),
    )
}

/// Where the next word begins, at `at` or later.
fn next_word(page: &str, at: usize, end: usize) -> Option<usize> {
    let text = &page[at..end];
    let start = at + text.find(is_letter)?;
    let within = page[..start].chars().next_back().is_some_and(is_letter);
    if within {
        next_word(page, start + word(&page[start..end]), end)
    } else {
        Some(start)
    }
}

fn word(text: &str) -> usize {
    text.find(|c| !is_letter(c)).unwrap_or(text.len())
}

/// How much of `text` reads as `form`, whatever the case and the space between words.
fn matched(form: &str, text: &str) -> Option<usize> {
    let mut rest = text;
    for wanted in form.chars() {
        let found = rest.chars().next()?;
        if wanted.is_whitespace() {
            let space = rest.len() - rest.trim_start().len();
            rest = (space > 0).then(|| &rest[space..])?;
        } else if found.to_lowercase().eq(wanted.to_lowercase()) {
            rest = &rest[found.len_utf8()..];
        } else {
            return None;
        }
    }
    let ends = !rest.starts_with(is_letter);
    ends.then(|| text.len() - rest.len())
}

fn is_letter(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '-'
}
