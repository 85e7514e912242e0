//! Words for the terminal. Names and paths may come from hostile files, so nothing here
//! passes on a line break, a control character, or a text without end.

use std::path::Path;

/// `text` as a single printable line of at most [`LONGEST_LINE`] characters and an
/// ellipsis.
pub(crate) fn one_line(text: &str) -> String {
    let mut printable = text.chars().flat_map(printable);
    let mut line: String = printable.by_ref().take(LONGEST_LINE).collect();
    if printable.next().is_some() {
        line.push('…');
    }
    line
}

/// Ten shortened names and a sentence around them fit.
pub(crate) const LONGEST_LINE: usize = 1500;

fn printable(c: char) -> impl Iterator<Item = char> {
    // Quotes and backslashes are no danger to a terminal, and paths are full of them.
    let is_plain = matches!(c, '\'' | '"' | '\\');
    let (plain, escaped) =
        if is_plain { (Some(c), None) } else { (None, Some(c.escape_debug())) };
    plain.into_iter().chain(escaped.into_iter().flatten())
}

/// A name, or its two ends if it is long: checkpoints tell their tensors apart at the
/// end, and layers at the beginning.
pub(crate) fn brief(name: &str) -> String {
    two_ends(name, 48)
}

/// A path, or its two ends if it is very long.
pub(crate) fn brief_path(path: &Path) -> String {
    two_ends(&path.to_string_lossy(), 150)
}

fn two_ends(text: &str, end: usize) -> String {
    let length = text.chars().count();
    if length <= 2 * end + 1 {
        return text.to_owned();
    }
    let head: String = text.chars().take(end).collect();
    let tail: String = text.chars().skip(length - end).collect();
    format!("{head}…{tail}")
}

/// A shape as the file's header writes it, `[2, 14, 32]`.
pub(crate) fn shape(dims: &[usize]) -> String {
    const SHOWN: usize = 8;
    let mut shown: Vec<String> =
        dims.iter().take(SHOWN).map(ToString::to_string).collect();
    if dims.len() > SHOWN {
        shown.push(format!("… {} dimensions", dims.len()));
    }
    format!("[{}]", shown.join(", "))
}

/// `1 run`, `20 runs`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_no_line_breaks_or_escape_codes() {
        let hostile = "a\nb\r\u{1b}[31mc\u{2028}d\u{202e}e\0";
        let line = one_line(hostile);
        assert_eq!(line, r"a\nb\r\u{1b}[31mc\u{2028}d\u{202e}e\0");
    }

    #[test]
    fn a_line_keeps_quotes_backslashes_and_letters_of_any_alphabet() {
        let text = r#"C:\layers\"ä" 'Ω' 注"#;
        assert_eq!(one_line(text), text);
    }

    #[test]
    fn a_line_ends() {
        let long = "\n".repeat(1_000_000);
        assert_eq!(one_line(&long).chars().count(), LONGEST_LINE + 1);
    }

    #[test]
    fn a_long_name_keeps_both_ends() {
        let name = format!("model.{}.q_proj.weight", "x".repeat(1000));
        let brief = brief(&name);
        assert!(brief.starts_with("model.x") && brief.ends_with("x.q_proj.weight"));
        assert_eq!(brief.chars().count(), 97);
    }

    #[test]
    fn a_shape_of_a_million_dimensions_stays_short() {
        assert_eq!(shape(&[2, 14, 32]), "[2, 14, 32]");
        assert_eq!(shape(&[]), "[]");
        assert_eq!(
            shape(&vec![1; 1_000_000]),
            "[1, 1, 1, 1, 1, 1, 1, 1, … 1000000 dimensions]"
        );
    }
}
