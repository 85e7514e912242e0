//! The chapters' pages: headings to point to, questions to ask.

use std::path::PathBuf;

use anyhow::{Context, Result};
use syllabus::{Chapter, Heading};

use crate::{course::Course, files};

/// A question with its answer, as on the page, made readable in a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    /// What is asked.
    pub asked: String,
    /// What the page says to it.
    pub answer: String,
}

fn file(course: &Course, chapter: &Chapter) -> PathBuf {
    course.root.join(chapter.prose())
}

/// The words of the heading with that anchor.
///
/// # Errors
/// When the page cannot be read, or has no such heading.
pub(crate) fn heading(
    course: &Course,
    chapter: &Chapter,
    anchor: &str,
) -> Result<String> {
    let text = files::read(&file(course, chapter))?;
    let mut headings = text.lines().filter_map(Heading::of);
    let found = headings.find(|heading| heading.anchor() == anchor);
    let found = found.with_context(|| {
        format!("the page of `{}` has no section `{anchor}`", chapter.name)
    })?;
    Ok(plain(found.words))
}

/// The questions of a chapter's page.
///
/// # Errors
/// When the page, or a snapshot that it takes a number from, cannot be read.
pub(crate) fn questions(course: &Course, chapter: &Chapter) -> Result<Vec<Question>> {
    let text = files::read(&file(course, chapter))?;
    let Some((_, section)) = text.split_once("\n## Questions\n") else {
        return Ok(Vec::new());
    };
    let section = section.split("\n## ").next().unwrap_or_default();
    let mut questions = Vec::new();
    for block in section.split("<details>").skip(1) {
        let block = block.split("</details>").next().unwrap_or_default();
        let (asked, answer) = block
            .split_once("</summary>")
            .and_then(|(asked, answer)| {
                Some((asked.split_once("<summary>")?.1, answer))
            })
            .with_context(|| {
                format!("a question of `{}` has no summary", chapter.name)
            })?;
        let readable =
            |text: &str| Ok::<_, anyhow::Error>(plain(&resolved(course, text)?));
        questions.push(Question { asked: readable(asked)?, answer: readable(answer)? });
    }
    Ok(questions)
}

/// The text with the numbers that it takes from snapshots, and those of chapters.
fn resolved(course: &Course, text: &str) -> Result<String> {
    let mut resolved = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{#") {
        let (directive, after) =
            after.split_once("}}").context("`{{#` is not closed")?;
        resolved += before;
        resolved += &match directive.split_once(' ') {
            Some(("value", path)) => value(course, path.trim())?,
            Some(("chapter", name)) => format!("chapter {}", number(course, name)?),
            Some(("Chapter", name)) => format!("Chapter {}", number(course, name)?),
            Some(("number", name)) => number(course, name)?,
            _ => format!("{{{{#{directive}}}}}"),
        };
        rest = after;
    }
    Ok(resolved + rest)
}

/// The number of a chapter that the prose names, with or without a heading of its page.
fn number(course: &Course, name: &str) -> Result<String> {
    let name = name.split('#').next().unwrap_or_default().trim();
    let folder = &course.chapter(name)?.folder;
    let digits = folder.split('-').next().unwrap_or_default();
    Ok(digits.trim_start_matches('0').to_owned())
}

fn value(course: &Course, path: &str) -> Result<String> {
    let about = || format!("the page asks for `{path}`");
    let (krate, name) = path.split_once("::").with_context(about)?;
    let (snapshot, key) = name.split_once('.').with_context(about)?;
    // The chapter of a value need not have exercises.
    let folders = std::fs::read_dir(course.root.join("chapters"))?;
    let krate = krate.replace('_', "-");
    for folder in folders {
        let folder = folder?.path();
        let named = folder.to_string_lossy().ends_with(&format!("-{krate}"));
        let path =
            folder.join(format!("tests/it/snapshots/it__outputs__{snapshot}.snap"));
        if named && path.is_file() {
            let text = files::read(&path)?;
            let pairs = text.lines().filter_map(|line| line.split_once(':'));
            let mut found = pairs.filter(|(found, _)| found.trim() == key);
            let (_, value) = found.next().with_context(about)?;
            return Ok(value.trim().to_owned());
        }
    }
    Err(anyhow::anyhow!("there is no snapshot").context(about()))
}

/// Markdown, HTML and the little `LaTeX` of a question, as plain text.
fn plain(text: &str) -> String {
    let mut text = text.to_owned();
    while let Some((before, rest)) = text.split_once('$') {
        let Some((formula, after)) = rest.split_once('$') else { break };
        text = format!("{before}{}{after}", formula_as_text(formula));
    }
    let mut plain = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find(['<', '[', '`', '*']) {
        plain += &rest[..at];
        let tail = &rest[at..];
        rest = match tail.as_bytes()[0] {
            b'<' if tail[1..].starts_with(|c: char| c.is_alphabetic() || c == '/') => {
                let end = tail.find('>').map_or(tail.len(), |end| end + 1);
                if tail.starts_with("<sub>") {
                    plain.push('_');
                }
                &tail[end..]
            }
            b'[' => match tail.split_once("](") {
                Some((words, after)) if !words.contains('\n') || words.len() < 120 => {
                    plain += &words[1..];
                    after.split_once(')').map_or("", |(_, after)| after)
                }
                _ => {
                    plain.push('[');
                    &tail[1..]
                }
            },
            b'`' | b'*' => &tail[1..],
            _ => {
                plain.push('<');
                &tail[1..]
            }
        };
    }
    plain += rest;
    let paragraphs = plain.trim().split("\n\n");
    let paragraphs =
        paragraphs.map(|p| p.split_whitespace().collect::<Vec<_>>().join(" "));
    paragraphs.collect::<Vec<_>>().join("\n\n")
}

fn formula_as_text(latex: &str) -> String {
    let mut text = latex.to_owned();
    for (command, sign) in [
        ("\\cdot", "·"),
        ("\\times", "×"),
        ("\\sqrt", "√"),
        ("\\infty", "∞"),
        ("\\top", "ᵀ"),
        ("\\le", "≤"),
        ("\\ge", "≥"),
        ("\\Delta", "Δ"),
        ("\\theta", "θ"),
        ("\\lfloor", "⌊"),
        ("\\rfloor", "⌋"),
        ("\\bmod", "mod"),
        ("\\sum", "Σ"),
        ("\\ln", "ln"),
        ("\\approx", "≈"),
        ("\\ldots", "…"),
        ("\\dots", "…"),
        ("\\left", ""),
        ("\\right", ""),
        ("\\,", " "),
        ("\\;", " "),
        ("\\mathrm", ""),
        ("\\text", ""),
        ("^2", "²"),
        ("^3", "³"),
    ] {
        text = text.replace(command, sign);
    }
    let frac = |text: &str| {
        let (before, rest) = text.split_once("\\frac{")?;
        let (over, rest) = rest.split_once("}{")?;
        let (under, after) = rest.split_once('}')?;
        Some(format!("{before}({over})/({under}){after}"))
    };
    while let Some(next) = frac(&text) {
        text = next;
    }
    // What is left in braces is an index or an exponent; one letter needs none.
    let mut plain = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once('{') {
        let (inside, after) = after.split_once('}').unwrap_or((after, ""));
        plain += before;
        plain += &if inside.chars().count() > 1 {
            format!("({inside})")
        } else {
            inside.to_owned()
        };
        rest = after;
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn questions_can_be_read_in_a_terminal() {
        let text = "Why may d<sub>v</sub> differ from *m*, as\n[here](#x) in `k`: $\\sqrt{d_k}$ or $\\frac{a}{b}$?";
        assert_eq!(
            plain(text),
            "Why may d_v differ from m, as here in k: √(d_k) or (a)/(b)?"
        );
    }

    #[test]
    fn less_than_is_no_tag() {
        assert_eq!(plain("3 < 4 and $i < j$"), "3 < 4 and i < j");
    }
}
