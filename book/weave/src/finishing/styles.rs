//! One style sheet in the place of many: a page can be shown once all of them are there, and
//! each costs a phone a way to the server and back.

use std::{
    collections::{HashMap, hash_map::Entry},
    fs,
    ops::Range,
    path::Path,
};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

const OPENING: &str = r#"<link rel="stylesheet" href=""#;

/// The style sheets that were joined so far: hundreds of pages need the same ones.
pub(crate) struct Styles<'a> {
    /// The finished book.
    folder: &'a Path,
    /// Which became which, from the top of the book.
    joined: HashMap<Vec<String>, String>,
}

impl<'a> Styles<'a> {
    /// None yet, of the book in `folder`.
    pub(crate) fn of(folder: &'a Path) -> Styles<'a> {
        Styles { folder, joined: HashMap::new() }
    }

    /// The page with the style sheets that it always needs as one, which lies beside the
    /// others from then on.
    ///
    /// # Errors
    /// When a style sheet cannot be read or written.
    pub(crate) fn join(&mut self, page: &str) -> Result<String> {
        let links = links(page);
        let Some((_, first)) = links.first() else { return Ok(page.to_owned()) };
        let to_root =
            &first[..first.find(|c| c != '.' && c != '/').unwrap_or_default()];
        let name = self.one(links.iter().map(|(_, link)| link))?;
        let mut text = String::with_capacity(page.len());
        let mut done = 0;
        for (i, (place, _)) in links.iter().enumerate() {
            text += &page[done..place.start];
            if i == 0 {
                text += &format!("{OPENING}{to_root}{name}\">");
            }
            done = place.end;
        }
        Ok(text + &page[done..])
    }

    /// The one in the place of those that a page links to.
    fn one<'b>(&mut self, links: impl Iterator<Item = &'b &'b str>) -> Result<&str> {
        let files: Vec<String> =
            links.map(|link| link.trim_start_matches("../").to_owned()).collect();
        match self.joined.entry(files) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(new) => {
                let name = write_joined(self.folder, new.key())?;
                Ok(new.insert(name))
            }
        }
    }
}

/// The links of a page to style sheets that it always needs: where each stands, and what
/// it leads to.
fn links(page: &str) -> Vec<(Range<usize>, &str)> {
    let link = |(start, _): (usize, &str)| {
        let from = start + OPENING.len();
        let to = from + page[from..].find('"')?;
        // One with more to say, such as for print alone, stays.
        let end = to + page[to..].strip_prefix("\">").map(|_| 2)?;
        Some((start..end, &page[from..to]))
    };
    page.match_indices(OPENING).filter_map(link).collect()
}

/// Writes the style sheets of these names as one, whose name follows from what it says.
fn write_joined(folder: &Path, files: &[String]) -> Result<String> {
    let mut joined = String::new();
    for file in files {
        let file = folder.join(file);
        let css = fs::read_to_string(&file).with_context(|| {
            format!("cannot read the style sheet {}", file.display())
        })?;
        joined += &short(&css);
    }
    let hash: String =
        Sha256::digest(&joined)[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    let name = format!("css/book-{hash}.css");
    fs::write(folder.join(&name), joined).context("cannot write the style sheet")?;
    Ok(name)
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
        let joined = Styles::of(folder.path()).join(page).unwrap();
        assert_eq!(joined.matches("rel=\"stylesheet\"").count(), 2);
        assert!(joined.contains("media=\"print\""));
        let name = joined.split('"').nth(3).unwrap();
        let css = fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(css, "a {x: y }b {x: y }");
    }
}
