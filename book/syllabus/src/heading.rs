//! Headings of a page, and what a link to them ends in.

/// A heading in Markdown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heading {
    /// As it is written, without `#` before it and `{#…}` behind it.
    pub words: String,
    /// What a link to it ends in: the author's `{#…}`, or what mdBook makes of the words.
    pub anchor: String,
}

impl Heading {
    /// The headings of a page, from its top.
    pub fn all(page: &str) -> impl Iterator<Item = Heading> {
        page.lines().filter(|line| line.starts_with('#')).map(Heading::of)
    }

    fn of(line: &str) -> Heading {
        let line = line.trim_start_matches('#').trim();
        let given = line.strip_suffix('}').and_then(|line| line.rsplit_once("{#"));
        match given {
            Some((words, anchor)) => {
                Heading { words: words.trim().to_owned(), anchor: anchor.to_owned() }
            }
            None => Heading { words: line.to_owned(), anchor: anchor(line) },
        }
    }
}

fn anchor(words: &str) -> String {
    let letter = |c: char| match c {
        c if c.is_alphanumeric() || c == '_' || c == '-' => Some(c),
        c if c.is_whitespace() => Some('-'),
        _ => None,
    };
    words.to_lowercase().chars().filter_map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::Heading;

    #[test]
    fn an_author_may_give_the_anchor() {
        let page = "# Why √d, then?\ntext\n## Long words, with `d_k` {#short}\n";
        let found: Vec<_> =
            Heading::all(page).map(|heading| (heading.words, heading.anchor)).collect();
        assert_eq!(
            found,
            [
                ("Why √d, then?".to_owned(), "why-d-then".to_owned()),
                ("Long words, with `d_k`".to_owned(), "short".to_owned()),
            ]
        );
    }
}
