//! Words of somebody else's files, fit for one line of a message.

use std::fmt::Display;
use std::path::Path;

/// A name, or its two ends if it is long: tensors of a model differ at the end, and
/// its layers near the beginning. What a terminal would obey is escaped.
#[must_use]
pub fn brief(name: &str) -> String {
    two_ends(name, 48)
}

/// A path, or its two ends if it is very long.
#[must_use]
pub fn brief_path(path: &Path) -> String {
    two_ends(&path.to_string_lossy(), 150)
}

fn two_ends(text: &str, end: usize) -> String {
    let length = text.chars().count();
    if length <= 2 * end + 1 {
        return text.chars().flat_map(printable).collect();
    }
    let head: String = text.chars().take(end).flat_map(printable).collect();
    let tail: String = text.chars().skip(length - end).flat_map(printable).collect();
    format!("{head}…{tail}")
}

/// A character as it is, or escaped where a terminal would obey it or show nothing.
pub fn printable(c: char) -> impl Iterator<Item = char> {
    // Quotes and backslashes are no danger to a terminal, and paths are full of them.
    let is_plain = matches!(c, '\'' | '"' | '\\');
    let (plain, escaped) =
        if is_plain { (Some(c), None) } else { (None, Some(c.escape_debug())) };
    plain.into_iter().chain(escaped.into_iter().flatten())
}

/// A shape as a file's header writes it, `[2, 14, 32]`.
#[must_use]
pub fn shape(dims: &[usize]) -> String {
    const SHOWN: usize = 8;
    let mut shown: Vec<String> =
        dims.iter().take(SHOWN).map(ToString::to_string).collect();
    if dims.len() > SHOWN {
        shown.push(format!("… {} dimensions", dims.len()));
    }
    format!("[{}]", shown.join(", "))
}

/// `1 byte`, `20 bytes`.
#[must_use]
pub fn count<N: Copy + Display + PartialEq + From<u8>>(
    number: N,
    noun: &str,
) -> String {
    let plural = if number == N::from(1) { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_keeps_both_ends() {
        let name = format!("model.{}.q_proj.weight", "x".repeat(1000));
        let brief = brief(&name);
        assert!(brief.starts_with("model.x") && brief.ends_with("x.q_proj.weight"));
        assert_eq!(brief.chars().count(), 97);
    }

    #[test]
    fn a_name_gives_no_orders_to_a_terminal() {
        assert_eq!(brief("a\nb\u{1b}[31m"), r"a\nb\u{1b}[31m");
    }

    #[test]
    fn a_shape_of_a_million_dimensions_stays_short() {
        assert_eq!(shape(&[2, 14, 32]), "[2, 14, 32]");
        assert_eq!(shape(&[]), "[]");
        let long = shape(&vec![1; 1_000_000]);
        assert_eq!(long, "[1, 1, 1, 1, 1, 1, 1, 1, … 1000000 dimensions]");
    }
}
