//! What a page of prose asks the weaver for, and where.

use std::ops::Range;

use math_core::MathDisplay;
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

use super::directive::Directive;

/// A piece of a page that the weaver replaces.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// In bytes of the page.
    pub range: Range<usize>,
    /// What to put there.
    pub what: What,
}

/// What to put in the place of a [`Part`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// What the directive gives.
    Directive { directive: Directive, place: Place },
    /// A formula, and the punctuation right after it.
    Formula { latex: String, display: MathDisplay, tail: String },
    /// The code of a `rust` fence.
    Rust(String),
    /// A piece of code amid a sentence, which may be the name of a symbol.
    Name(String),
    /// The name that mdBook gives to the page of a README.md, which a link points to.
    IndexPage,
    /// An id for a heading whose formula would spoil the one that mdBook makes.
    HeadingId(String),
    /// HTML that is finished already.
    Html(String),
}

/// Where a directive stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// On a line of its own.
    Alone,
    /// Amid a sentence or a table.
    Inline,
    /// In a heading, which mdBook copies into menus as text.
    Heading,
}

/// A page, taken apart.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// In the order of the page, none inside another.
    pub parts: Vec<Part>,
    /// Where sentences stand that may link to something: in no heading, link or code.
    pub prose: Vec<Range<usize>>,
    /// What stands in bold.
    pub bold: Vec<Bold>,
    /// What is wrong with the Markdown, and at which byte.
    pub faults: Vec<(usize, String)>,
}

/// Words in bold.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Bold {
    /// In bytes of the page, with the stars.
    pub range: Range<usize>,
    /// Without them.
    pub words: String,
}

/// Finds the parts and the faults of a page.
pub(crate) fn scan(text: &str) -> Page {
    let mut page = Page::default();
    let mut reader = Reader::default();
    let settled = settle_prices(text);
    let mut events = Parser::new_ext(&settled, options()).into_offset_iter();
    while let Some((event, range)) = events.next() {
        page.prose(text, &event, &range, &mut reader.quiet);
        match event {
            Event::Start(Tag::CodeBlock(kind)) => {
                reader.literal.push(range.clone());
                let mut code = String::new();
                for (event, _) in events.by_ref() {
                    match event {
                        Event::Text(text) => code.push_str(&text),
                        _ => break,
                    }
                }
                page.code_block(&kind, range, code);
            }
            Event::Start(Tag::Heading { id, .. }) => {
                reader.headings.push((range, id.is_some()));
            }
            Event::Start(Tag::Image { .. }) => {
                let alt = events
                    .by_ref()
                    .take_while(|(event, _)| *event != Event::End(TagEnd::Image))
                    .any(|(event, _)| matches!(event, Event::Text(_) | Event::Code(_)));
                if !alt {
                    let fault =
                        "an image without a text alternative: `![what it shows](…)`";
                    page.faults.push((range.start, fault.to_owned()));
                }
            }
            Event::Start(Tag::Link { dest_url, .. }) => {
                page.link(&dest_url, &text[range.clone()], range.start);
            }
            Event::Text(_) => {
                page.typed_numbers(text, range.clone());
                page.stray_dollars(&settled, range);
            }
            Event::Code(name) => {
                let in_heading = reader
                    .headings
                    .iter()
                    .any(|(heading, _)| heading.contains(&range.start));
                if !in_heading {
                    page.parts.push(Part {
                        range: range.clone(),
                        what: What::Name(name.to_string()),
                    });
                }
                reader.literal.push(range);
            }
            Event::Start(Tag::HtmlBlock) | Event::InlineHtml(_)
                if text[range.clone()].starts_with("<!--") =>
            {
                reader.literal.push(range);
            }
            Event::Html(_)
                if !reader.literal.iter().any(|one| one.contains(&range.start)) =>
            {
                page.typed_numbers(text, range);
            }
            Event::InlineMath(latex) => {
                let after = text[range.end..].chars();
                let tail: String =
                    after.take_while(|c| ",.;:!?)".contains(*c)).collect();
                let range = range.start..range.end + tail.len();
                page.formula(&latex, MathDisplay::Inline, tail, range);
            }
            Event::DisplayMath(latex) => {
                page.formula(&latex, MathDisplay::Block, String::new(), range);
            }
            _ => {}
        }
    }
    page.directives(text, &reader);
    page.heading_ids(text, &reader);
    page.parts.sort_by_key(|part| (part.range.start, part.range.end));
    page
}

/// Inline Markdown as HTML, formulas and all, for captions.
///
/// # Errors
/// The first formula that does not parse.
pub(crate) fn inline_html(
    text: &str,
    formula: impl Fn(&str, MathDisplay) -> Result<String, String>,
) -> Result<String, String> {
    let settled = settle_prices(text);
    let events = Parser::new_ext(&settled, options())
        .filter(|event| !is_paragraph(event))
        .map(|event| match event {
            Event::InlineMath(latex) => {
                Ok(Event::InlineHtml(formula(&latex, MathDisplay::Inline)?.into()))
            }
            Event::DisplayMath(latex) => {
                Ok(Event::InlineHtml(formula(&latex, MathDisplay::Block)?.into()))
            }
            Event::Text(text) => Ok(Event::Text(text.replace('\u{1}', "$").into())),
            other => Ok(other),
        })
        .collect::<Result<Vec<_>, String>>()?;
    let mut html = String::new();
    pulldown_cmark::html::push_html(&mut html, events.into_iter());
    Ok(html)
}

/// What the scan learns of a page before it looks for directives.
#[derive(Default)]
struct Reader {
    /// Code and comments, where a directive is only text.
    literal: Vec<Range<usize>>,
    /// With whether the author gave an id.
    headings: Vec<(Range<usize>, bool)>,
    /// How many headings, links and bold words it is in.
    quiet: usize,
}

impl Page {
    /// Sentences grow from line to line; what a mark-up interrupts is a sentence of its own.
    fn prose(
        &mut self,
        text: &str,
        event: &Event,
        range: &Range<usize>,
        quiet: &mut usize,
    ) {
        match event {
            Event::Start(Tag::Heading { .. } | Tag::Link { .. }) => *quiet += 1,
            Event::End(TagEnd::Heading(_) | TagEnd::Link | TagEnd::Strong) => {
                *quiet -= 1;
            }
            Event::Start(Tag::Strong) => {
                *quiet += 1;
                self.bold.push(Bold { range: range.clone(), words: String::new() });
            }
            Event::Text(words) if *quiet > 0 => self.embolden(words, range),
            Event::SoftBreak if *quiet > 0 => self.embolden(" ", range),
            Event::Text(_) => match self.prose.last_mut() {
                Some(last) if is_line_break(&text[last.end..range.start]) => {
                    last.end = range.end;
                }
                _ => self.prose.push(range.clone()),
            },
            _ => {}
        }
    }

    fn embolden(&mut self, words: &str, range: &Range<usize>) {
        let last = self.bold.last_mut();
        if let Some(bold) = last.filter(|bold| bold.range.contains(&range.start)) {
            bold.words.push_str(words);
        }
    }

    fn code_block(&mut self, kind: &CodeBlockKind, range: Range<usize>, code: String) {
        let language = match kind {
            CodeBlockKind::Fenced(info) => {
                info.split([' ', ',', '\t']).next().unwrap_or_default()
            }
            CodeBlockKind::Indented => "",
        };
        match language {
            "" => self.faults.push((
                range.start,
                "code without a language: open it with ```rust, ```console or ```text"
                    .to_owned(),
            )),
            "rust" => self.parts.push(Part { range, what: What::Rust(code) }),
            _ => {}
        }
    }

    fn link(&mut self, target: &str, written: &str, start: usize) {
        let is_local = !target.contains("://");
        if let Some(at) = written.rfind("README.md").filter(|_| is_local) {
            let range = start + at..start + at + "README.md".len();
            self.parts.push(Part { range, what: What::IndexPage });
        }
    }

    fn formula(
        &mut self,
        latex: &str,
        display: MathDisplay,
        tail: String,
        range: Range<usize>,
    ) {
        let what = What::Formula { latex: latex.to_owned(), display, tail };
        self.parts.push(Part { range, what });
    }

    /// What looks like a formula to the author is one, or the author hears of it.
    fn stray_dollars(&mut self, settled: &str, range: Range<usize>) {
        for (at, _) in settled[range.clone()].match_indices('$') {
            let (before, after) = settled.split_at(range.start + at);
            let is_price = after[1..].starts_with(|next: char| next.is_ascii_digit());
            if !is_price && !before.ends_with('\\') {
                let fault = "a `$` that belongs to no formula: close the formula and its \
                             braces, or write `\\$` for a dollar";
                self.faults.push((before.len(), fault.to_owned()));
            }
        }
    }

    /// The number of a chapter may change, so it is never typed.
    fn typed_numbers(&mut self, text: &str, range: Range<usize>) {
        for (at, word) in text[range.clone()].match_indices("hapter") {
            let (before, after) = text.split_at(range.start + at);
            let after = &after[word.len()..];
            let after = after.strip_prefix('s').unwrap_or(after);
            let number =
                after.trim_start_matches(|c: char| c.is_whitespace() || c == '>');
            let is_number = number.starts_with(|c: char| c.is_ascii_digit());
            if before.ends_with(['c', 'C']) && number.len() < after.len() && is_number {
                let fault = "the number of a chapter is typed: write {{#chapter NAME}}, \
                             {{#Chapter NAME}} where a sentence begins, or {{#number NAME}} \
                             after \"chapters\"";
                self.faults.push((before.len() - 1, fault.to_owned()));
            }
        }
    }

    fn directives(&mut self, text: &str, reader: &Reader) {
        let formulas: Vec<_> =
            self.parts.iter().map(|part| part.range.clone()).collect();
        for (start, _) in text.match_indices("{{#") {
            let within = |range: &Range<usize>| range.contains(&start);
            if text[..start].ends_with('\\')
                || reader.literal.iter().any(within)
                || formulas.iter().any(within)
            {
                continue;
            }
            let line = text[start..].lines().next().unwrap_or_default();
            let Some(length) = line.find("}}") else {
                let fault =
                    format!("`{}` is not closed by `}}}}` on its line", line.trim());
                self.faults.push((start, fault));
                continue;
            };
            let range = start..start + length + 2;
            let place = if reader.headings.iter().any(|(range, _)| within(range)) {
                Place::Heading
            } else if is_alone(text, &range) {
                Place::Alone
            } else {
                Place::Inline
            };
            match Directive::parse(line["{{#".len()..length].trim()) {
                Ok(directive) => {
                    let what = What::Directive { directive, place };
                    self.parts.push(Part { range, what });
                }
                Err(fault) => self.faults.push((start, fault)),
            }
        }
    }

    fn heading_ids(&mut self, text: &str, reader: &Reader) {
        for (heading, _) in reader.headings.iter().filter(|(_, has_id)| !has_id) {
            let is_formula = |part: &Part| {
                matches!(part.what, What::Formula { .. })
                    && heading.contains(&part.range.start)
            };
            if self.parts.iter().any(is_formula) {
                let line = text[heading.clone()].lines().next().unwrap_or_default();
                let end = heading.start + line.trim_end().len();
                let what = What::HeadingId(id_of(line.trim_start_matches('#')));
                self.parts.push(Part { range: end..end, what });
            }
        }
    }
}

/// As mdBook parses, and formulas on top.
pub(crate) fn options() -> Options {
    Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_HEADING_ATTRIBUTES
        | Options::ENABLE_DEFINITION_LIST
        | Options::ENABLE_GFM
        | Options::ENABLE_MATH
}

/// The text with each dollar that is a price made invisible to the parser, byte for byte:
/// the parser would see a formula in `$5–$10`, but no formula ends before a digit, and
/// none reaches into code.
fn settle_prices(text: &str) -> String {
    let mut settled = text.to_owned();
    loop {
        let before_digit =
            |end: usize| settled[end..].starts_with(|next: char| next.is_ascii_digit());
        let price = Parser::new_ext(&settled, options()).into_offset_iter().find_map(
            |(event, range)| {
                let Event::InlineMath(latex) = event else { return None };
                let is_price = before_digit(range.end) || latex.contains('`');
                is_price.then_some(range.start)
            },
        );
        match price {
            Some(at) => settled.replace_range(at..=at, "\u{1}"),
            None => return settled,
        }
    }
}

fn is_alone(text: &str, range: &Range<usize>) -> bool {
    let before = text[..range.start].rsplit('\n').next().unwrap_or_default();
    let after = text[range.end..].lines().next().unwrap_or_default();
    before.chars().all(|c| c == ' ' || c == '>') && after.trim().is_empty()
}

fn is_line_break(gap: &str) -> bool {
    gap.trim().is_empty() && gap.matches('\n').count() == 1
}

fn is_paragraph(event: &Event) -> bool {
    matches!(event, Event::Start(Tag::Paragraph) | Event::End(TagEnd::Paragraph))
}

/// As mdBook makes ids, from the heading as it is written.
fn id_of(heading: &str) -> String {
    let letter = |c: char| match c {
        c if c.is_alphanumeric() || c == '_' || c == '-' => Some(c),
        c if c.is_whitespace() => Some('-'),
        _ => None,
    };
    heading.trim().to_lowercase().chars().filter_map(letter).collect()
}
