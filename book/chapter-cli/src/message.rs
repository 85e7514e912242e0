//! Words for the terminal. Names and paths may come from hostile files, so nothing here
//! passes on a line break, a control character, or a text without end.

use checkpoint::words::printable;
pub(crate) use checkpoint::words::{brief, brief_path, count, shape};

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
}
