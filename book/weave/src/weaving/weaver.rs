//! The preprocessor: every page of the book with its directives and formulas resolved.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    rc::Rc,
};

use mdbook_core::{
    book::{Book, Chapter},
    config::Config,
};
use mdbook_preprocessor::{Preprocessor, PreprocessorContext};
use rayon::prelude::*;

use super::{
    chapter,
    coverage::{self, Introduction, Use},
    exercise, figure, highlight, listing, maths, output,
    symbols::{self, Symbols},
    term,
};
use crate::{
    html,
    live::Live,
    reading::{
        directive::{CratePath, Directive},
        glossary::Glossary,
        markdown::{self, Part, Place, What},
        snapshots,
        workspace::Workspace,
    },
    report::{Fault, Problem, Report, line_at},
};

/// mdBook's view of the weaver.
#[derive(Default)]
pub(crate) struct Weaver {
    /// What a run has woven, for whoever tells the author about it.
    pub summary: Rc<RefCell<String>>,
    /// The figures that a reader can change, if the book is to have such.
    pub live: Option<Rc<Live>>,
}

impl Preprocessor for Weaver {
    // The name that the trait asks for is borrowed from `self`.
    #[allow(clippy::unnecessary_literal_bound)]
    fn name(&self) -> &str {
        "weave"
    }

    fn run(&self, context: &PreprocessorContext, book: Book) -> anyhow::Result<Book> {
        let Woven { book, summary } =
            weave(&context.root, &context.config, self.live.as_deref(), book)?;
        self.summary.replace(summary);
        Ok(book)
    }

    fn supports_renderer(&self, renderer: &str) -> anyhow::Result<bool> {
        Ok(renderer == "html")
    }
}

/// A book with nothing left to resolve.
struct Woven {
    book: Book,
    /// How much was woven, in words.
    summary: String,
}

/// Resolves the whole book below `root`, or reports everything that is wrong with it.
fn weave(
    root: &Path,
    config: &Config,
    live: Option<&Live>,
    mut book: Book,
) -> anyhow::Result<Woven> {
    let repository = config.html_config().and_then(|html| html.git_repository_url);
    let workspace = Workspace::open(root, repository)?;
    let glossary = match Glossary::open(&workspace) {
        Ok(glossary) => glossary,
        Err(problems) => return Err(Report::check(problems).unwrap_err().into()),
    };
    let chapters: Vec<(PathBuf, &Chapter)> = book
        .chapters()
        .filter_map(|chapter| {
            let source = chapter.source_path.as_ref()?;
            Some((config.book.src.join(source), chapter))
        })
        .collect();
    let woven: Vec<WovenPage> = chapters
        .par_iter()
        .map(|(file, chapter)| weave_page(&workspace, &glossary, live, file, chapter))
        .collect();
    let misnumbered: Vec<Problem> = chapters
        .iter()
        .filter_map(|(_, page)| {
            chapter::misnumbered(&workspace, &config.book.src, page)
        })
        .collect();
    let pages: Vec<PathBuf> = chapters.into_iter().map(|(file, _)| file).collect();
    let mut texts = HashMap::new();
    let mut uses = Vec::new();
    let mut introduced = Vec::new();
    let mut formulas = 0;
    let mut problems = misnumbered;
    for (file, page) in pages.iter().zip(woven) {
        texts.insert(file, page.markdown);
        uses.extend(page.uses);
        introduced.extend(page.introduced);
        formulas += page.formulas;
        problems.extend(page.problems);
    }
    problems.extend(coverage::check(&workspace, &uses, &pages));
    problems.extend(coverage::terms(&workspace, &glossary, &introduced, &uses));
    Report::check_in(problems, &pages)?;
    book.for_each_chapter_mut(|chapter| {
        let Some(source) = &chapter.source_path else { return };
        if let Some(text) = texts.get(&config.book.src.join(source)) {
            chapter.content.clone_from(text);
        }
    });
    let summary = summary(pages.len(), &uses, formulas);
    Ok(Woven { book, summary })
}

fn summary(pages: usize, uses: &[Use], formulas: usize) -> String {
    let counted = |n: usize, what: &str| match n {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    };
    let used = |words: &[&str], what: &str| {
        let fits = |one: &&Use| words.contains(&one.directive.word());
        counted(uses.iter().filter(fits).count(), what)
    };
    format!(
        "wove {}: {}, {}, {}, {}, {}, {}",
        counted(pages, "page"),
        used(&["code", "diff", "rest"], "listing"),
        used(&["output"], "output"),
        used(&["value"], "value"),
        used(&["figure"], "figure"),
        used(&["exercise"], "exercise"),
        counted(formulas, "formula"),
    )
}

/// A page on its way through the weaver.
struct Page<'a> {
    workspace: &'a Workspace,
    glossary: &'a Glossary,
    live: Option<&'a Live>,
    /// Relative to the book's root.
    file: &'a Path,
    /// The chapter's number, where it has one.
    section: Option<String>,
    /// What the page asks for, and from where.
    uses: Vec<Use>,
    figures: usize,
    symbols: Symbols,
}

/// What became of a page.
struct WovenPage {
    markdown: String,
    uses: Vec<Use>,
    /// The terms that stand in bold.
    introduced: Vec<Introduction>,
    formulas: usize,
    problems: Vec<Problem>,
}

fn weave_page(
    workspace: &Workspace,
    glossary: &Glossary,
    live: Option<&Live>,
    file: &Path,
    chapter: &Chapter,
) -> WovenPage {
    let text = &chapter.content;
    let line = |at| line_at(text, at);
    let markdown::Page { mut parts, prose, bold, faults } = markdown::scan(text);
    let mut introduced = Vec::new();
    if let Some(told) = workspace.told_on(file) {
        let marks = term::marks(glossary, &told.name, text, &prose, &bold, &parts);
        for mark in marks {
            let (html, line) = (mark.html(text), line(mark.range.start));
            if mark.bold {
                let (page, term) = (file.to_owned(), mark.term.name().to_owned());
                introduced.push(Introduction { page, line, term });
            }
            parts.push(Part { range: mark.range, what: What::Html(html) });
        }
        parts.sort_by_key(|part| (part.range.start, part.range.end));
    }
    let section = chapter.number.as_ref().map(ToString::to_string);
    let symbols = Symbols::of(text, section.as_deref().unwrap_or("0."));
    let mut page = Page {
        workspace,
        glossary,
        live,
        file,
        section,
        uses: Vec::new(),
        figures: 0,
        symbols,
    };
    for part in &parts {
        if let What::Directive { directive, .. } = &part.what {
            page.note(directive, line(part.range.start));
        }
    }
    let mut problems: Vec<Problem> = faults
        .into_iter()
        .chain(chapter::misplaced(workspace, text))
        .map(|(at, message)| Fault::Here(message).at(file, line(at)))
        .collect();
    let mut markdown = String::new();
    let mut done = 0;
    for part in &parts {
        markdown += &text[done..part.range.start];
        match page.replacement(text, part) {
            Ok(replacement) => markdown += &replacement,
            Err(fault) => problems.push(fault.at(file, line(part.range.start))),
        }
        done = part.range.end;
    }
    markdown += &text[done..];
    let is_formula = |part: &&Part| matches!(part.what, What::Formula { .. });
    let formulas = parts.iter().filter(is_formula).count();
    WovenPage { markdown, uses: page.uses, introduced, formulas, problems }
}

impl Page<'_> {
    fn note(&mut self, directive: &Directive, line: usize) {
        let (page, directive) = (self.file.to_owned(), directive.clone());
        self.uses.push(Use { page, line, directive });
    }

    fn replacement(&mut self, text: &str, part: &Part) -> Result<String, Fault> {
        match &part.what {
            What::Directive { directive: Directive::Value(path, key), place } => {
                let value = snapshots::value(self.workspace, path, key)?;
                Ok(match place {
                    Place::Heading => maths::shielded(&html::text(&value)),
                    Place::Alone | Place::Inline => value_html(path, key, &value),
                })
            }
            What::Directive { directive: Directive::Chapter(mention), place } => {
                match place {
                    Place::Heading => chapter::words(self.workspace, mention),
                    Place::Alone | Place::Inline => {
                        chapter::link(self.workspace, mention)
                    }
                }
            }
            What::Directive { directive, place: Place::Alone } => {
                Ok(as_block(text, part, &self.block(directive)?))
            }
            What::Directive { directive, .. } => Err(Fault::Here(format!(
                "`{{{{#{}}}}}` has to stand on a line of its own",
                directive.word()
            ))),
            What::Formula { latex, display, tail } => {
                let latex = self.with_values(latex, line_at(text, part.range.start))?;
                let html = self.symbols.mark_formula(&maths::html(&latex, *display)?);
                let html = maths::shielded(&html);
                Ok(match tail.as_str() {
                    "" => html,
                    tail => format!(r#"<span class="together">{html}{tail}</span>"#),
                })
            }
            What::Rust(code) => {
                let code = html::pre(&highlight::rust(code.trim_end()));
                let code = self.symbols.mark_code(&code);
                Ok(as_block(text, part, &code))
            }
            What::Name(name) => Ok(match self.symbols.key_of(name) {
                Some(key) => {
                    let name = maths::shielded(&html::text(name));
                    format!("<code{}>{name}</code>", symbols::attribute(key))
                }
                None => text[part.range.clone()].to_owned(),
            }),
            What::IndexPage => Ok("index.md".to_owned()),
            What::Html(html) => Ok(html.clone()),
            What::HeadingId(id) => Ok(format!(" {{#{id}}}")),
        }
    }

    /// A directive that gives a block of HTML.
    fn block(&mut self, directive: &Directive) -> Result<String, Fault> {
        let workspace = self.workspace;
        match directive {
            Directive::Code(path) => {
                Ok(self.symbols.mark_code(&listing::code(workspace, path)?))
            }
            Directive::Diff(old, new) => listing::diff(workspace, old, new),
            Directive::Rest(krate) => {
                let rest = listing::rest(workspace, krate, &self.shown(krate))?;
                Ok(self.symbols.mark_code(&rest))
            }
            Directive::Output(path) => output::snapshot(workspace, path),
            Directive::Exercise(path) => exercise::head(workspace, path),
            Directive::Course => exercise::list(workspace),
            Directive::Glossary => term::list(workspace, self.glossary),
            Directive::Figure(path) => {
                self.figures += 1;
                let figure = self.figures;
                let number = match &self.section {
                    Some(section) => format!("{section}.{figure}").replace("..", "."),
                    None => figure.to_string(),
                };
                let controls = self.live.map(|live| live.form(path));
                figure::figure(workspace, path, &number, &controls.unwrap_or_default())
            }
            Directive::Value(..) | Directive::Chapter(_) => {
                unreachable!("values and chapters are never blocks")
            }
        }
    }

    /// The items of `krate` that this page lists.
    fn shown(&self, krate: &str) -> HashSet<&str> {
        self.uses
            .iter()
            .filter_map(|one| match &one.directive {
                Directive::Code(path) if path.krate == krate => {
                    Some(path.name.as_str())
                }
                _ => None,
            })
            .collect()
    }

    /// A formula with the values that it quotes.
    fn with_values(&mut self, latex: &str, line: usize) -> Result<String, Fault> {
        let Some((before, rest)) = latex.split_once("{{#") else {
            return Ok(latex.to_owned());
        };
        let Some((inner, after)) = rest.split_once("}}") else {
            return Err(format!("formula `{latex}`: `{{{{#` without `}}}}`").into());
        };
        let directive = Directive::parse(inner)?;
        self.note(&directive, line);
        let Directive::Value(path, key) = directive else {
            return Err(format!("formula `{latex}`: only a value fits in here").into());
        };
        let value = snapshots::value(self.workspace, &path, &key)?.replace(',', "{,}");
        Ok(format!("{before}{value}{}", self.with_values(after, line)?))
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
