//! The weaver's words, as they are written in the prose.

use crate::report::did_you_mean;

/// A name inside a crate, such as `attention::Mask::padding`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CratePath {
    /// As the manifest writes it: `multi-head`, never `multi_head`.
    pub krate: String,
    /// What follows the first `::`.
    pub name: String,
}

/// One `{{#…}}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Directive {
    /// An item of a crate's source.
    Code(CratePath),
    /// What changed from one item to another.
    Diff(CratePath, CratePath),
    /// The body of a snapshot.
    Output(CratePath),
    /// One value of a `key: value` snapshot.
    Value(CratePath, String),
    /// A drawing.
    Figure(CratePath),
    /// The items of a crate that the page has not shown.
    Rest(String),
    /// The head of an exercise.
    Exercise(CratePath),
    /// All exercises of all chapters.
    Course,
}

const WORDS: [&str; 8] =
    ["code", "diff", "output", "value", "figure", "rest", "exercise", "course"];

impl Directive {
    /// Reads what stands between `{{#` and `}}`.
    ///
    /// # Errors
    /// What is wrong with it, and the form it should have.
    pub(crate) fn parse(inner: &str) -> Result<Directive, String> {
        let mut words = inner.split_whitespace();
        let word = words.next().unwrap_or_default();
        let arguments: Vec<&str> = words.collect();
        let parsed = match (word, arguments.as_slice()) {
            ("code", [item]) => crate_path(item).map(Directive::Code),
            ("diff", [old, new]) => crate_path(old)
                .zip(crate_path(new))
                .map(|(old, new)| Directive::Diff(old, new)),
            ("output", [name]) => crate_path(name).map(Directive::Output),
            ("value", [name]) => value(name),
            ("figure", [name]) => crate_path(name).map(Directive::Figure),
            ("exercise", [name]) => crate_path(name).map(Directive::Exercise),
            ("course", []) => Some(Directive::Course),
            ("rest", [krate]) if is_name(krate) => {
                Some(Directive::Rest(manifest_name(krate)))
            }
            _ => None,
        };
        parsed.ok_or_else(|| match form(word) {
            Some(form) => format!("malformed `{{{{#{inner}}}}}`: expected `{form}`"),
            None => format!(
                "no directive `{word}`{}",
                did_you_mean(word, WORDS.into_iter())
            ),
        })
    }

    /// The word after `{{#`.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Directive::Code(_) => "code",
            Directive::Diff(..) => "diff",
            Directive::Output(_) => "output",
            Directive::Value(..) => "value",
            Directive::Figure(_) => "figure",
            Directive::Rest(_) => "rest",
            Directive::Exercise(_) => "exercise",
            Directive::Course => "course",
        }
    }
}

fn form(word: &str) -> Option<&'static str> {
    match word {
        "code" => Some("{{#code crate::item}}"),
        "diff" => Some("{{#diff crate::item crate::item}}"),
        "output" => Some("{{#output crate::snapshot}}"),
        "value" => Some("{{#value crate::snapshot.key}}"),
        "figure" => Some("{{#figure crate::figure}}"),
        "rest" => Some("{{#rest crate}}"),
        "exercise" => Some("{{#exercise crate::exercise}}"),
        "course" => Some("{{#course}}"),
        _ => None,
    }
}

fn value(path: &str) -> Option<Directive> {
    let (snapshot, key) = path.split_once('.')?;
    (!key.is_empty())
        .then(|| Some(Directive::Value(crate_path(snapshot)?, key.to_owned())))?
}

fn crate_path(path: &str) -> Option<CratePath> {
    let (krate, name) = path.split_once("::")?;
    (is_name(krate) && name.split("::").all(is_name))
        .then(|| CratePath { krate: manifest_name(krate), name: name.to_owned() })
}

fn is_name(word: &str) -> bool {
    let allowed = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    !word.is_empty() && word.chars().all(allowed)
}

/// In paths, as in Rust, `multi_head` names the crate `multi-head`.
fn manifest_name(krate: &str) -> String {
    krate.replace('_', "-")
}
