//! JSON as Python reads and writes it: with `NaN` and `Infinity`, which JSON does not
//! have.

use serde_json::Value;

/// The key under which Transformers writes a number that JSON does not have:
/// `{"__float__": "Infinity"}`. Bare words are turned into the same.
pub(crate) const FLOAT: &str = "__float__";

/// The value of a text that Python's `json.loads` would read.
///
/// # Errors
/// When Python would not read it either.
pub(crate) fn parse(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(&strict(text.trim_start_matches('\u{feff}')))
}

/// The text with what only Python has in words that JSON has. Outside of strings, a
/// word is a run of letters, digits, signs and points.
fn strict(text: &str) -> String {
    let mut strict = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let end = if rest.starts_with('"') {
            string_end(rest)
        } else {
            let in_word = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
            let word = rest.find(|c| !in_word(c)).unwrap_or(rest.len());
            // What is between words is copied up to the next one.
            let between = |c| in_word(c) || c == '"';
            if word > 0 { word } else { rest.find(between).unwrap_or(rest.len()) }
        };
        let (word, after) = rest.split_at(end);
        match infinite(word) {
            Some(name) => strict += &format!("{{\"{FLOAT}\":\"{name}\"}}"),
            None => strict += word,
        }
        rest = after;
    }
    strict
}

/// Bytes of the string that `text` starts with, its quotes included.
fn string_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    // A backslash may stand before the end, or before a character of several bytes.
    let end = (at + 1).min(text.len());
    (end..text.len()).find(|end| text.is_char_boundary(*end)).unwrap_or(text.len())
}

/// Python's name of a number without end, or of none, if `word` is one. Python rounds
/// `1e999` to `Infinity`.
fn infinite(word: &str) -> Option<&str> {
    let number = word.trim_start_matches('-').starts_with(|c: char| c.is_ascii_digit());
    match word {
        "NaN" | "Infinity" | "-Infinity" => Some(word),
        _ if !number => None,
        _ => match word.parse::<f64>() {
            Ok(f64::INFINITY) => Some("Infinity"),
            Ok(f64::NEG_INFINITY) => Some("-Infinity"),
            _ => None,
        },
    }
}

/// What a value is called in a message: as Python writes it, and short enough for a
/// line.
pub(crate) fn shown(value: &Value) -> String {
    match value.get(FLOAT).and_then(Value::as_str) {
        Some(name) => shorten(name),
        None => shorten(&value.to_string()),
    }
}

/// What somebody else wrote, short enough for a line, and without what a terminal
/// obeys.
pub(crate) fn shorten(text: &str) -> String {
    let plain = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let short: String = text.chars().take(40).map(plain).collect();
    if text.chars().nth(40).is_some() { short + "…" } else { short }
}

#[cfg(test)]
mod tests {
    use super::{parse, shown};
    use serde_json::json;

    #[test]
    fn what_python_writes_is_read() {
        let value = parse(
            r#"{"a": NaN, "b": [-Infinity, 1e999, -2.5e-3], "c": "NaN, \"Infinity\" \\"}"#,
        );
        let value = value.unwrap();
        assert_eq!(shown(&value["a"]), "NaN");
        assert_eq!(shown(&value["b"][0]), "-Infinity");
        assert_eq!(shown(&value["b"][1]), "Infinity");
        assert_eq!(value["b"][2], json!(-2.5e-3));
        assert_eq!(value["c"], json!("NaN, \"Infinity\" \\"));
    }

    #[test]
    fn what_python_refuses_is_refused() {
        for text in [
            "",
            "nan",
            "+Infinity",
            "[1,]",
            "{'a': 1}",
            "Infinityx",
            "\"\\",
            "\"é",
            "1 2",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_mark_of_an_editor_is_skipped() {
        assert_eq!(parse("\u{feff}{}").unwrap(), json!({}));
    }
}
