//! One style sheet in the place of many: a page can be shown once all of them are there, and
//! each costs a phone a way to the server and back.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

const OPENING: &str = r#"<link rel="stylesheet" href=""#;

/// The page with the style sheets that it always needs as one, which is written beside the
/// others in `folder` if it is not there yet.
///
/// # Errors
/// When a style sheet cannot be read or written.
pub(crate) fn join(page: &str, folder: &Path) -> Result<String> {
    let links: Vec<(usize, usize, &str)> = page
        .match_indices(OPENING)
        .filter_map(|(start, _)| {
            let from = start + OPENING.len();
            let to = from + page[from..].find('"')?;
            // One with more to say, such as for print alone, stays.
            let end = to + page[to..].strip_prefix("\">").map(|_| 2)?;
            Some((start, end, &page[from..to]))
        })
        .collect();
    let Some((_, _, first)) = links.first() else { return Ok(page.to_owned()) };
    let to_root = &first[..first.find(|c| c != '.' && c != '/').unwrap_or_default()];
    let mut joined = String::new();
    for (_, _, file) in &links {
        let file = folder.join(file.trim_start_matches("../"));
        let css = fs::read_to_string(&file).with_context(|| {
            format!("cannot read the style sheet {}", file.display())
        })?;
        joined += &short(&css);
    }
    let hash: String =
        Sha256::digest(&joined)[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    let name = format!("css/book-{hash}.css");
    fs::write(folder.join(&name), joined).context("cannot write the style sheet")?;

    let mut text = String::with_capacity(page.len());
    let mut done = 0;
    for (i, (start, end, _)) in links.iter().enumerate() {
        text += &page[done..*start];
        if i == 0 {
            text += &format!("{OPENING}{to_root}{name}\">");
        }
        done = *end;
    }
    Ok(text + &page[done..])
}

/// A style sheet without comments and with one space where there were many; what is quoted
/// stays.
fn short(css: &str) -> String {
    let mut short = String::with_capacity(css.len());
    let mut rest = css;
    while let Some(first) = rest.chars().next() {
        let taken = match first {
            '"' | '\'' => {
                let end = end_of_string(rest, first);
                short += &rest[..end];
                end
            }
            '/' if rest.starts_with("/*") => {
                rest.find("*/").map_or(rest.len(), |at| at + 2)
            }
            space if space.is_whitespace() => {
                if !short.ends_with([' ', '{', ';', '}', ',']) {
                    short.push(' ');
                }
                rest.len() - rest.trim_start().len()
            }
            letter => {
                short.push(letter);
                letter.len_utf8()
            }
        };
        rest = &rest[taken..];
    }
    short
}

fn end_of_string(text: &str, quote: char) -> usize {
    let mut escaped = true; // the opening quote does not close
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            letter if letter == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_stays() {
        let css = "a { content: \"/*  \\\"  */\"; }\n\n/* a comment */\nb  >  c { x: 'y  z' }\n";
        assert_eq!(short(css), "a {content: \"/*  \\\"  */\";}b > c {x: 'y  z' }");
    }

    #[test]
    fn links_become_one_and_those_for_print_stay() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("css")).unwrap();
        fs::write(folder.path().join("css/a.css"), "a { x: y }").unwrap();
        fs::write(folder.path().join("b.css"), "b { x: y }").unwrap();
        let page = "<link rel=\"stylesheet\" href=\"css/a.css\">\
            <link rel=\"stylesheet\" href=\"p.css\" media=\"print\">\
            <link rel=\"stylesheet\" href=\"b.css\">";
        let joined = join(page, folder.path()).unwrap();
        assert_eq!(joined.matches("rel=\"stylesheet\"").count(), 2);
        assert!(joined.contains("media=\"print\""));
        let name = joined.split('"').nth(3).unwrap();
        let css = fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(css, "a {x: y }b {x: y }");
    }
}
