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
    /// All words of the field.
    Glossary,
    /// The name of a chapter, as a link to its page.
    Chapter(Mention),
}

/// How a chapter is named amid a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mention {
    /// The chapter's crate.
    pub krate: String,
    /// The heading that the link leads to, if it is not the top of the page.
    pub anchor: Option<String>,
    /// The words around the number.
    pub form: Form,
}

/// The words around the number of a chapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `chapter 9`
    Inside,
    /// `Chapter 9`, where a sentence begins
    Start,
    /// `9`, for "chapters 4, 5 and 9"
    Number,
}

const WORDS: [&str; 12] = [
    "code", "diff", "output", "value", "figure", "rest", "exercise", "course",
    "glossary", "chapter", "Chapter", "number",
];

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
            ("glossary", []) => Some(Directive::Glossary),
            ("chapter", [name]) => mention(name, Form::Inside),
            ("Chapter", [name]) => mention(name, Form::Start),
            ("number", [name]) => mention(name, Form::Number),
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
            Directive::Glossary => "glossary",
            Directive::Chapter(mention) => match mention.form {
                Form::Inside => "chapter",
                Form::Start => "Chapter",
                Form::Number => "number",
            },
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
        "glossary" => Some("{{#glossary}}"),
        "chapter" => Some("{{#chapter crate}}"),
        "Chapter" => Some("{{#Chapter crate}}"),
        "number" => Some("{{#number crate}}"),
        _ => None,
    }
}

fn value(path: &str) -> Option<Directive> {
    let (snapshot, key) = path.split_once('.')?;
    (!key.is_empty())
        .then(|| Some(Directive::Value(crate_path(snapshot)?, key.to_owned())))?
}

fn mention(name: &str, form: Form) -> Option<Directive> {
    let (krate, anchor) = match name.split_once('#') {
        Some((krate, anchor)) => (krate, Some(anchor.to_owned())),
        None => (name, None),
    };
    let is_whole = is_name(krate) && anchor.as_deref().is_none_or(|to| !to.is_empty());
    let krate = manifest_name(krate);
    is_whole.then_some(Directive::Chapter(Mention { krate, anchor, form }))
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
