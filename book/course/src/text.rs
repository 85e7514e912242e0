//! Text for a terminal: colors, and lines that fit.

use std::io::IsTerminal;

use anstyle::{AnsiColor, Style};
use textwrap::{
    Options, WordSeparator, WordSplitter, WrapAlgorithm, core::display_width,
};

/// Columns of text where there is no terminal to ask, and the most that are easy to read.
const WIDTH: usize = 78;

/// Columns of text.
pub(crate) fn width() -> usize {
    if std::io::stdout().is_terminal() {
        textwrap::termwidth().clamp(20, WIDTH)
    } else {
        WIDTH
    }
}

/// Columns that some text takes, without its colors.
pub(crate) fn visible(text: &str) -> usize {
    display_width(text)
}

fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

fn color(color: AnsiColor) -> Style {
    color.on_default()
}

pub(crate) fn bold(text: &str) -> String {
    styled(Style::new().bold(), text)
}

pub(crate) fn dim(text: &str) -> String {
    styled(Style::new().dimmed(), text)
}

/// Something to type.
pub(crate) fn command(text: &str) -> String {
    styled(color(AnsiColor::Cyan), text)
}

pub(crate) fn right(text: &str) -> String {
    styled(color(AnsiColor::Green).bold(), text)
}

pub(crate) fn wrong(text: &str) -> String {
    styled(color(AnsiColor::Red).bold(), text)
}

/// Lines that fit, indented.
pub(crate) fn wrapped(text: &str, indent: usize) -> String {
    wrapped_to(width(), text, indent, "")
}

/// The same with a mark before the first line, such as `- ` or `2. `, and the others below
/// its text.
pub(crate) fn listed(text: &str, indent: usize, mark: &str) -> String {
    wrapped_to(width(), text, indent, mark)
}

fn wrapped_to(width: usize, text: &str, indent: usize, mark: &str) -> String {
    let first = " ".repeat(indent) + mark;
    let others = " ".repeat(indent + visible(mark));
    let options = Options::new(width)
        .initial_indent(&first)
        .subsequent_indent(&others)
        .break_words(false)
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(WordSplitter::NoHyphenation)
        .wrap_algorithm(WrapAlgorithm::FirstFit);
    let paragraphs = text.trim().split("\n\n").map(|paragraph| {
        let words: Vec<&str> = paragraph.split_whitespace().collect();
        textwrap::fill(&words.join(" "), &options)
    });
    paragraphs.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::{visible, wrapped_to, wrong};

    #[test]
    fn lines_are_as_wide_as_they_may_be() {
        let text = "one two three four five six seven";
        assert_eq!(
            wrapped_to(16, text, 2, ""),
            "  one two three\n  four five six\n  seven"
        );
        assert_eq!(wrapped_to(60, text, 0, ""), text);
        assert_eq!(wrapped_to(4, "`some::long::path`", 0, ""), "`some::long::path`");
    }

    #[test]
    fn a_list_hangs_from_its_marks() {
        assert_eq!(wrapped_to(14, "one two three", 2, "- "), "  - one two\n    three");
    }

    #[test]
    fn colors_take_no_room() {
        assert_eq!(visible(&wrong("√d_k")), 4);
    }
}
