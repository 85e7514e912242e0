//! Names of modules as lists in configurations write them.

use crate::error::ConfigError;
use crate::json::shown;
use crate::keys::wrong;
use regex_lite::{Regex, escape};
use serde_json::Value;

/// A name, a part of one between dots, one with `*` in it, or, behind `re:`, a regular
/// expression that a name starts with.
#[derive(Debug, Clone)]
pub(crate) struct Pattern(Regex);

impl Pattern {
    pub(crate) fn new(written: &str) -> Result<Self, ConfigError> {
        let expression = match written.strip_prefix("re:") {
            Some(expression) => format!("^(?:{expression})"),
            None => {
                format!(r"(?:^|\.){}(?:\.|$)", escape(written).replace(r"\*", ".*"))
            }
        };
        let regex = Regex::new(&expression);
        let wanted = || "a name of a module, or `re:` and an expression".to_owned();
        regex.map(Pattern).map_err(|_| wrong("ignore", &written.into(), wanted()))
    }

    /// Whether it names a module, or one that holds it. The text of a model of text and
    /// images may be nested in several ways.
    pub(crate) fn matches(&self, name: &str, nested: bool) -> bool {
        let around = if nested { AROUND.as_slice() } else { &[] };
        let inside = name.strip_prefix("model.").unwrap_or(name);
        self.0.is_match(name)
            || around.iter().any(|around| {
                self.0.is_match(&format!("{around}.{name}"))
                    || self.0.is_match(&format!("{around}.{inside}"))
            })
    }
}

const AROUND: [&str; 2] = ["language_model", "model.language_model"];

/// The patterns of a list.
pub(crate) fn patterns(key: &str, value: &Value) -> Result<Vec<Pattern>, ConfigError> {
    let wanted = || "a list of names".to_owned();
    let list = value.as_array().ok_or_else(|| wrong(key, value, wanted()))?;
    let pattern = |name: &Value| {
        let refused = || wrong(key, &shown(name).into(), wanted());
        Pattern::new(name.as_str().ok_or_else(refused)?)
    };
    list.iter().map(pattern).collect()
}
