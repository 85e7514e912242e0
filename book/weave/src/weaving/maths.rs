//! `$…$` and `$$…$$`: `LaTeX` to `MathML`, so that a page needs no script to show a formula.

use std::sync::LazyLock;

use math_core::{LatexToMathML, MathCoreConfig, MathDisplay};

static CONVERTER: LazyLock<LatexToMathML> =
    LazyLock::new(|| match LatexToMathML::new(MathCoreConfig::default()) {
        Ok(converter) => converter,
        Err(_) => unreachable!("only a macro of our own could fail, and there is none"),
    });

/// A formula as HTML on one line. Display maths comes in a box that scrolls by itself.
///
/// # Errors
/// The formula, and what is wrong with it.
pub(crate) fn html(latex: &str, display: MathDisplay) -> Result<String, String> {
    let mathml = CONVERTER
        .convert_with_local_state(latex, display)
        .map_err(|e| format!("formula `{}`: {}", latex.trim(), e.error_message()))?
        .mathml
        .replace('\n', " ");
    Ok(match display {
        MathDisplay::Inline => mathml,
        MathDisplay::Block => format!(r#"<span class="formula">{mathml}</span>"#),
    })
}

/// The same HTML between Markdown's lines: nothing in its text means anything to
/// Markdown, and no `|` ends a table cell.
pub(crate) fn shielded(html: &str) -> String {
    let mut shielded = String::with_capacity(2 * html.len());
    let mut inside_tag = false;
    for letter in html.chars() {
        match letter {
            '<' => inside_tag = true,
            '>' => inside_tag = false,
            _ => {}
        }
        let is_active = letter.is_ascii_punctuation() && !"<>&;#".contains(letter);
        if letter == '|' || (is_active && !inside_tag) {
            shielded += &format!("&#{};", letter as u32);
        } else {
            shielded.push(letter);
        }
    }
    shielded
}
