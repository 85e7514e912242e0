//! The preprocessor: every page of the book with its directives and formulas resolved.

use std::{
    cell::Cell,
    collections::HashSet,
    fmt,
    ops::AddAssign,
    path::{Path, PathBuf},
    rc::Rc,
};

use mdbook_core::{
    book::{Book, BookItem, Chapter},
    config::Config,
};
use mdbook_preprocessor::{Preprocessor, PreprocessorContext};

use crate::{
    coverage::{self, Use},
    directive::{CratePath, Directive},
    figure, highlight,
    html::{self, Repository},
    listing,
    markdown::{self, Part, Place, What},
    maths,
    report::{Fault, Problem, Report, line_at},
    snapshots,
    workspace::Workspace,
};

/// mdBook's view of the weaver.
#[derive(Default)]
pub(crate) struct Weaver {
    /// Filled by a run, for whoever tells the author about it.
    pub tally: Rc<Cell<Tally>>,
}

impl Preprocessor for Weaver {
    // The name that the trait asks for is borrowed from `self`.
    #[allow(clippy::unnecessary_literal_bound)]
    fn name(&self) -> &str {
        "weave"
    }

    fn run(&self, context: &PreprocessorContext, book: Book) -> anyhow::Result<Book> {
        let (book, tally) = weave(&context.root, &context.config, book)?;
        self.tally.set(tally);
        Ok(book)
    }

    fn supports_renderer(&self, renderer: &str) -> anyhow::Result<bool> {
        Ok(renderer == "html")
    }
}

/// How much was woven.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    pages: usize,
    listings: usize,
    outputs: usize,
    values: usize,
    figures: usize,
    formulas: usize,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.pages += other.pages;
        self.listings += other.listings;
        self.outputs += other.outputs;
        self.values += other.values;
        self.figures += other.figures;
        self.formulas += other.formulas;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let counted = |n: usize, what: &str| match n {
            1 => format!("1 {what}"),
            n => format!("{n} {what}s"),
        };
        write!(
            f,
            "wove {}: {}, {}, {}, {}, {}",
            counted(self.pages, "page"),
            counted(self.listings, "listing"),
            counted(self.outputs, "output"),
            counted(self.values, "value"),
            counted(self.figures, "figure"),
            counted(self.formulas, "formula"),
        )
    }
}

/// Resolves the whole book below `root`.
///
/// # Errors
/// A [`Report`] of everything that is wrong with it.
pub(crate) fn weave(
    root: &Path,
    config: &Config,
    mut book: Book,
) -> anyhow::Result<(Book, Tally)> {
    let workspace = Workspace::open(root)?;
    let html = config.html_config().unwrap_or_default();
    let repository =
        html.git_repository_url.map(|url| url.trim_end_matches('/').into());
    let prose = &config.book.src;
    let mut tally = Tally::default();
    let mut problems = Vec::new();
    let mut uses = Vec::new();
    book.for_each_mut(|item| {
        let BookItem::Chapter(chapter) = item else { return };
        let Some(source_path) = &chapter.source_path else { return };
        let file = prose.join(source_path);
        let woven = weave_page(&workspace, &repository, &file, chapter);
        chapter.content = woven.markdown;
        tally += woven.tally;
        problems.extend(woven.problems);
        uses.extend(woven.uses);
    });
    problems.extend(coverage::check(&workspace, &uses, &told_pages(&book, prose)));
    Report::check(problems)?;
    Ok((book, tally))
}

fn told_pages(book: &Book, prose: &Path) -> Vec<PathBuf> {
    book.chapters()
        .filter_map(|chapter| Some(prose.join(chapter.source_path.as_ref()?)))
        .collect()
}

/// A page on its way through the weaver.
struct Page<'a> {
    workspace: &'a Workspace,
    repository: &'a Repository,
    /// The chapter's number, where it has one.
    section: Option<String>,
    /// What the page asks for, in its order.
    asked: Vec<&'a Directive>,
    tally: Tally,
}

/// What became of a page.
struct Woven {
    markdown: String,
    tally: Tally,
    problems: Vec<Problem>,
    uses: Vec<Use>,
}

fn weave_page(
    workspace: &Workspace,
    repository: &Repository,
    file: &Path,
    chapter: &Chapter,
) -> Woven {
    let text = &chapter.content;
    let line = |at| line_at(text, at);
    let scanned = markdown::scan(text);
    let asked: Vec<(usize, &Directive)> = scanned
        .parts
        .iter()
        .filter_map(|part| match &part.what {
            What::Directive { directive, .. } => {
                Some((line(part.range.start), directive))
            }
            _ => None,
        })
        .collect();
    let mut page = Page {
        workspace,
        repository,
        section: chapter.number.as_ref().map(ToString::to_string),
        asked: asked.iter().map(|(_, directive)| *directive).collect(),
        tally: Tally { pages: 1, ..Tally::default() },
    };
    let mut problems: Vec<Problem> = scanned
        .faults
        .iter()
        .map(|(at, message)| Fault::Here(message.clone()).at(file, line(*at)))
        .collect();
    let mut markdown = String::new();
    let mut done = 0;
    for part in &scanned.parts {
        markdown += &text[done..part.range.start];
        match page.replacement(text, part) {
            Ok(replacement) => markdown += &replacement,
            Err(fault) => problems.push(fault.at(file, line(part.range.start))),
        }
        done = part.range.end;
    }
    markdown += &text[done..];
    let uses = asked
        .into_iter()
        .map(|(line, directive)| Use {
            page: file.to_owned(),
            line,
            directive: directive.clone(),
        })
        .collect();
    Woven { markdown, tally: page.tally, problems, uses }
}

impl Page<'_> {
    fn replacement(&mut self, text: &str, part: &Part) -> Result<String, Fault> {
        match &part.what {
            What::Directive { directive: Directive::Value(path, key), place } => {
                self.tally.values += 1;
                let value = snapshots::value(self.workspace, path, key)?;
                Ok(match place {
                    Place::Heading => maths::shielded(&html::text(&value)),
                    Place::Alone | Place::Inline => value_html(path, key, &value),
                })
            }
            What::Directive { directive, place: Place::Alone } => {
                Ok(as_block(text, part, &self.block(directive)?))
            }
            What::Directive { directive, .. } => Err(Fault::Here(format!(
                "`{{{{#{}}}}}` has to stand on a line of its own",
                directive.word()
            ))),
            What::Formula { latex, display, tail } => {
                self.tally.formulas += 1;
                let latex = self.with_values(latex)?;
                let html = maths::shielded(&maths::html(&latex, *display)?);
                Ok(match tail.as_str() {
                    "" => html,
                    tail => format!(r#"<span class="together">{html}{tail}</span>"#),
                })
            }
            What::Rust(code) => {
                let code = html::pre(&highlight::rust(code.trim_end()));
                Ok(as_block(text, part, &code))
            }
            What::IndexPage => Ok("index.md".to_owned()),
            What::HeadingId(id) => Ok(format!(" {{#{id}}}")),
        }
    }

    /// A directive that gives a block of HTML.
    fn block(&mut self, directive: &Directive) -> Result<String, Fault> {
        let (workspace, repository) = (self.workspace, self.repository);
        match directive {
            Directive::Code(path) => {
                self.tally.listings += 1;
                listing::code(workspace, repository, path)
            }
            Directive::Diff(old, new) => {
                self.tally.listings += 1;
                listing::diff(workspace, repository, old, new)
            }
            Directive::Rest(krate) => {
                self.tally.listings += 1;
                listing::rest(workspace, repository, krate, &self.shown(krate))
            }
            Directive::Output(path) => {
                self.tally.outputs += 1;
                snapshots::output(workspace, repository, path)
            }
            Directive::Figure(path) => {
                self.tally.figures += 1;
                let figure = self.tally.figures;
                let number = match &self.section {
                    Some(section) => format!("{section}.{figure}").replace("..", "."),
                    None => figure.to_string(),
                };
                figure::figure(workspace, path, &number)
            }
            Directive::Value(..) => unreachable!("values are never blocks"),
        }
    }

    /// The items of `krate` that this page lists.
    fn shown(&self, krate: &str) -> HashSet<&str> {
        self.asked
            .iter()
            .filter_map(|directive| match directive {
                Directive::Code(path) if path.krate == krate => {
                    Some(path.name.as_str())
                }
                _ => None,
            })
            .collect()
    }

    /// A formula with the values that it quotes.
    fn with_values(&mut self, latex: &str) -> Result<String, Fault> {
        let Some((before, rest)) = latex.split_once("{{#") else {
            return Ok(latex.to_owned());
        };
        let Some((inner, after)) = rest.split_once("}}") else {
            return Err(format!("formula `{latex}`: `{{{{#` without `}}}}`").into());
        };
        let Directive::Value(path, key) = Directive::parse(inner)? else {
            return Err(format!("formula `{latex}`: only a value fits in here").into());
        };
        self.tally.values += 1;
        let value = snapshots::value(self.workspace, &path, &key)?.replace(',', "{,}");
        Ok(format!("{before}{value}{}", self.with_values(after)?))
    }
}

fn value_html(path: &CratePath, key: &str, value: &str) -> String {
    let title = format!("{}::{}.{key}", path.krate.replace('-', "_"), path.name);
    let value = maths::shielded(&html::text(value));
    format!(r#"<span class="value" title="{}">{value}</span>"#, html::attribute(&title))
}

/// A block of HTML, ended by an empty line that stays in the same quote or list item.
fn as_block(text: &str, part: &Part, html: &str) -> String {
    let before = text[..part.range.start].rsplit('\n').next().unwrap_or_default();
    let prefix: String =
        before.chars().map(|c| if c == '>' { '>' } else { ' ' }).collect();
    let newline = if text[part.range.clone()].ends_with('\n') { "\n" } else { "" };
    format!("{html}\n{}{newline}", prefix.trim_end())
}
