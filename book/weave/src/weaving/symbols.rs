//! The table `| symbol | meaning | shape | in the code |` of a chapter ties three things
//! together. What it ties is marked wherever it stands on the page, so that a script can
//! light it up: `data-symbol="5.1"` on the symbol in formulas and on its name in listings.

use std::ops::Range;

use math_core::MathDisplay;
use pulldown_cmark::{Event, Parser, Tag, TagEnd};
use roxmltree::{Document, Node};

use super::maths;
use crate::{html, reading::markdown};

const HEADER: [&str; 4] = ["symbol", "meaning", "shape", "in the code"];

/// What the tables of one page tie together.
#[derive(Debug, Default)]
pub(crate) struct Symbols {
    /// `MathML` and the key of what it stands for.
    formulas: Vec<(String, String)>,
    /// Names in the code, as HTML, and what they stand for; the longest first.
    names: Vec<(String, String)>,
}

impl Symbols {
    /// Reads the tables of a page. Keys begin with its `section`, so that those of
    /// different chapters stay apart in a book on one page.
    pub(crate) fn of(page: &str, section: &str) -> Symbols {
        let mut symbols = Symbols::default();
        let mut next = 0;
        for Row { latex, names } in rows(page) {
            // Several symbols and as many names are pairs; otherwise what stands in one row
            // is one thing.
            let pairs = latex.len() == names.len() || names.is_empty();
            let key = |place: usize| {
                let place = if pairs { place } else { 0 };
                format!("{section}{}", next + place)
            };
            for (place, latex) in latex.iter().enumerate() {
                if let Some(formula) = one_element(latex) {
                    symbols.formulas.push((formula, key(place)));
                }
            }
            if !latex.is_empty() {
                let names = names.iter().enumerate();
                symbols
                    .names
                    .extend(names.map(|(place, name)| (html::text(name), key(place))));
            }
            next += latex.len();
        }
        symbols.names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        symbols
    }

    /// What a name in the prose stands for.
    pub(crate) fn key_of(&self, name: &str) -> Option<&str> {
        let name = html::text(name);
        self.names.iter().find(|(known, _)| *known == name).map(|(_, key)| key.as_str())
    }

    /// A formula whose symbols are marked. What stands in a subscript is a part of another
    /// symbol's name, and stays.
    pub(crate) fn mark_formula(&self, html: &str) -> String {
        let Ok(document) = Document::parse(html) else { return html.to_owned() };
        let mut marks = Vec::new();
        self.find(document.root_element(), html, &mut marks);
        let mut marked = String::with_capacity(html.len() + 24 * marks.len());
        let mut done = 0;
        for (at, key) in marks {
            marked += &html[done..at];
            marked += &attribute(key);
            done = at;
        }
        marked + &html[done..]
    }

    fn find<'a>(&'a self, node: Node, html: &str, marks: &mut Vec<(usize, &'a str)>) {
        if !node.is_element() {
            return;
        }
        let Range { start, end } = node.range();
        let tag = node.tag_name().name();
        if let Some((_, key)) =
            self.formulas.iter().find(|(f, _)| *f == html[start..end])
        {
            marks.push((start + 1 + tag.len(), key));
            return;
        }
        for (i, child) in node.children().filter(Node::is_element).enumerate() {
            let is_subscript = i == 1 && ["msub", "msubsup"].contains(&tag);
            if !is_subscript {
                self.find(child, html, marks);
            }
        }
    }

    /// Highlighted code whose names are marked, but for those in comments and strings.
    pub(crate) fn mark_code(&self, html: &str) -> String {
        if self.names.is_empty() {
            return html.to_owned();
        }
        let mut marked = String::with_capacity(html.len() * 5 / 4);
        let mut rest = html;
        let mut spoken = false;
        while let Some(first) = rest.chars().next() {
            let taken = if first == '<' {
                let tag = &rest[..=rest.find('>').unwrap_or(rest.len() - 1)];
                spoken =
                    ["hljs-comment", "hljs-string"].iter().any(|c| tag.contains(c))
                        || (spoken && !tag.starts_with("</"));
                marked += tag;
                tag.len()
            } else if let Some((name, key)) = self.name_at(rest).filter(|_| !spoken) {
                marked += &format!("<span{}>{name}</span>", attribute(key));
                name.len()
            } else {
                let taken = word(rest).max(first.len_utf8());
                marked += &rest[..taken];
                taken
            };
            rest = &rest[taken..];
        }
        marked
    }

    /// The name that some text begins with, if it ends there.
    fn name_at(&self, text: &str) -> Option<&(String, String)> {
        let ends = |name: &str| {
            let last = name.chars().next_back().is_some_and(is_letter);
            !last || !text[name.len()..].starts_with(is_letter)
        };
        self.names
            .iter()
            .find(|(name, _)| text.starts_with(name.as_str()) && ends(name))
    }
}

/// How much of the text is a word, or one escaped character.
fn word(text: &str) -> usize {
    if text.starts_with('&') {
        return text.find(';').map_or(1, |end| end + 1);
    }
    text.find(|c| !is_letter(c)).unwrap_or(text.len())
}

fn is_letter(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// What marks an element, with the space before it.
pub(crate) fn attribute(key: &str) -> String {
    format!(r#" data-symbol="{key}""#)
}

/// A formula that is one element, without the `<math>` around it.
fn one_element(latex: &str) -> Option<String> {
    let html = maths::html(latex, MathDisplay::Inline).ok()?;
    let document = Document::parse(&html).ok()?;
    let mut inside = document.root_element().children();
    let (element, None) = (inside.next()?, inside.next()) else { return None };
    Some(html[element.range()].to_owned())
}

/// One row of such a table.
#[derive(Debug, Default)]
struct Row {
    latex: Vec<String>,
    names: Vec<String>,
}

fn rows(page: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut header: Vec<String> = Vec::new();
    let mut row = Row::default();
    let mut cell = 0;
    let mut in_head = false;
    for event in Parser::new_ext(page, markdown::options()) {
        let is_ours = header == HEADER;
        match event {
            Event::Start(Tag::Table(_)) => header.clear(),
            Event::Start(Tag::TableHead) => {
                in_head = true;
                cell = 0;
            }
            Event::End(TagEnd::TableHead) => in_head = false,
            Event::Start(Tag::TableRow) => {
                row = Row::default();
                cell = 0;
            }
            Event::End(TagEnd::TableRow) if is_ours => {
                rows.push(std::mem::take(&mut row));
            }
            Event::End(TagEnd::TableCell) => cell += 1,
            Event::Text(text) if in_head => header.push(text.to_string()),
            Event::InlineMath(latex) if is_ours && cell == 0 => {
                row.latex.push(latex.to_string());
            }
            Event::Code(name) if is_ours && cell == 3 => {
                row.names.push(name.to_string());
            }
            _ => {}
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
| symbol | meaning | shape | in the code |
|---|---|---|---|
| $H$, $G$ | heads | | `heads`, `kv_heads` |
| $d_h$ | width | | `head_dim`, `d_k` |
| $Q$ | queries | $n \\times d_h$ | `q` |
| $n$ | length | | `cache.len()` |
| $E$, $F$ | mixes | | `mix` |
| $x$, $y$ | no name | | |

| symbol | elsewhere |
|---|---|
| $Z$ | `z` |
";

    fn formula(latex: &str) -> String {
        let html = maths::html(latex, MathDisplay::Inline).unwrap();
        Symbols::of(PAGE, "5.").mark_formula(&html)
    }

    fn code(html: &str) -> String {
        Symbols::of(PAGE, "5.").mark_code(html)
    }

    #[test]
    fn symbols_are_marked_wherever_they_stand() {
        assert_eq!(
            formula("H d_h"),
            r#"<math><mi data-symbol="5.0">H</mi><msub data-symbol="5.2"><mi>d</mi><mi>h</mi></msub></math>"#
        );
        assert!(formula(r"\frac{Q^n}{2}").contains(r#"<mi data-symbol="5.3">Q</mi>"#));
    }

    #[test]
    fn a_subscript_is_a_part_of_another_name() {
        assert_eq!(formula("W_Q"), "<math><msub><mi>W</mi><mi>Q</mi></msub></math>");
        assert!(
            formula("Q_H").starts_with(r#"<math><msub><mi data-symbol="5.3">Q</mi>"#)
        );
    }

    #[test]
    fn symbols_that_share_a_name_are_one_thing() {
        let marked = r#"<mi data-symbol="5.5">"#;
        assert_eq!(formula("E F").matches(marked).count(), 2);
        assert_eq!(code("mix"), r#"<span data-symbol="5.5">mix</span>"#);
        assert!(formula("x y").contains("5.7") && formula("x y").contains("5.8"));
    }

    #[test]
    fn other_tables_tie_nothing() {
        assert_eq!(formula("Z"), "<math><mi>Z</mi></math>");
        assert_eq!(code("z"), "z");
    }

    #[test]
    fn names_are_whole_words_or_calls() {
        assert_eq!(
            code("q_proj(heads)"),
            r#"q_proj(<span data-symbol="5.0">heads</span>)"#
        );
        assert_eq!(code("q.heads2"), r#"<span data-symbol="5.3">q</span>.heads2"#);
        assert_eq!(
            code("cache.len()"),
            r#"<span data-symbol="5.4">cache.len()</span>"#
        );
        assert_eq!(code("a &lt;q"), r#"a &lt;<span data-symbol="5.3">q</span>"#);
    }

    #[test]
    fn comments_and_strings_only_speak_of_names() {
        let said = r#"<span class="hljs-comment">// q</span>"#;
        assert_eq!(code(said), said);
        assert_eq!(
            code(&format!("{said}q")),
            format!(r#"{said}<span data-symbol="5.3">q</span>"#)
        );
        let string = r#"<span class="hljs-string">&quot;q&quot;</span>"#;
        assert_eq!(code(string), string);
    }

    #[test]
    fn marks_change_no_text() {
        let text = |html: &str| {
            let document = Document::parse(html).unwrap();
            let texts = document.descendants().filter(Node::is_text);
            texts.filter_map(|text| text.text().map(str::to_owned)).collect::<String>()
        };
        for html in ["<p>q.columns(heads, n) q</p>", "<p>é q_é qé</p>", "<p></p>"] {
            assert_eq!(text(&code(html)), text(html));
        }
    }
}
