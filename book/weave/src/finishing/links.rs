//! Every link of the finished pages leads somewhere.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap, HashSet},
    fs,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context, Result};
use html5ever::{
    Attribute, local_name,
    tendril::StrTendril,
    tokenizer::{
        BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer,
        TokenizerOpts, states::RawKind,
    },
};
use mdbook_core::book::Chapter;
use mdbook_driver::MDBook;
use rayon::prelude::*;

use super::{addresses, pages};
use crate::report::{Problem, Report, did_you_mean};

/// A finished page: where its prose stands, what can be linked to, what it links to.
struct Page {
    source: PathBuf,
    prose: String,
    anchors: HashSet<String>,
    links: Vec<String>,
}

/// Checks the links of the chapters of `book`, whose pages lie in `finished`.
///
/// # Errors
/// A [`Report`] of the dead ones, or a page that cannot be read.
pub(crate) fn check(root: &Path, book: &MDBook, finished: &Path) -> Result<()> {
    let prose = &book.config.book.src;
    let chapters: Vec<&Chapter> = book.book.chapters().collect();
    let pages: BTreeMap<PathBuf, Page> = chapters
        .par_iter()
        .filter_map(|chapter| open(root, prose, chapter, finished).transpose())
        .collect::<Result<_>>()?;
    let moved = addresses::moved(book);
    let dead = pages.iter().flat_map(|(html, page)| {
        let links = page.links.iter();
        let (pages, moved) = (&pages, &moved);
        links.filter_map(move |link| {
            let why = dead(link, html, pages, moved, finished)?;
            let Written { link, line } = written(link, page);
            let message = format!("the link `{link}` {why}");
            Some(Problem { file: page.source.clone(), line, message })
        })
    });
    let order = chapters.iter().filter_map(|chapter| chapter.source_path.as_ref());
    let order: Vec<PathBuf> = order.map(|source| prose.join(source)).collect();
    Ok(Report::check_in(dead.collect(), &order)?)
}

/// The finished page of a chapter, by its place in the book; nothing for a draft.
fn open(
    root: &Path,
    prose: &Path,
    chapter: &Chapter,
    finished: &Path,
) -> Result<Option<(PathBuf, Page)>> {
    let (Some(path), Some(source)) = (&chapter.path, &chapter.source_path) else {
        return Ok(None);
    };
    let html = pages::file_of(path);
    let source = prose.join(source);
    let text = fs::read_to_string(finished.join(&html))
        .with_context(|| format!("cannot read the page {}", html.display()))?;
    let prose = fs::read_to_string(root.join(&source))?;
    Ok(Some((html, read_page(&text, source, prose))))
}

fn read_page(html: &str, source: PathBuf, prose: String) -> Page {
    let input = BufferQueue::default();
    input.push_back(StrTendril::from_slice(html));
    let tokenizer = Tokenizer::new(Seen::default(), TokenizerOpts::default());
    // It stops early at a script alone, and no sink asks for that here.
    let _ = tokenizer.feed(&input);
    tokenizer.end();
    let Seen { anchors, links, .. } = tokenizer.sink;
    Page { source, prose, anchors: anchors.take(), links: links.take() }
}

/// What the tags of a page name: every `id`, and the links and images of `<main>`.
#[derive(Default)]
struct Seen {
    is_in_main: Cell<bool>,
    anchors: RefCell<HashSet<String>>,
    links: RefCell<Vec<String>>,
}

impl TokenSink for Seen {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        let Token::TagToken(tag) = token else { return TokenSinkResult::Continue };
        self.see(&tag);
        // What stands in these elements has no tags, whatever it looks like.
        match (tag.kind, tag.name) {
            (TagKind::StartTag, local_name!("script")) => {
                TokenSinkResult::RawData(RawKind::ScriptData)
            }
            (TagKind::StartTag, local_name!("style")) => {
                TokenSinkResult::RawData(RawKind::Rawtext)
            }
            (TagKind::StartTag, local_name!("title") | local_name!("textarea")) => {
                TokenSinkResult::RawData(RawKind::Rcdata)
            }
            _ => TokenSinkResult::Continue,
        }
    }
}

impl Seen {
    fn see(&self, tag: &Tag) {
        if tag.name == local_name!("main") {
            self.is_in_main.set(tag.kind == TagKind::StartTag);
        }
        let value = |name| {
            let mut found =
                tag.attrs.iter().filter(|a: &&Attribute| a.name.local == name);
            found.next().map(|attribute| attribute.value.to_string())
        };
        self.anchors.borrow_mut().extend(value(local_name!("id")));
        if self.is_in_main.get() {
            let link = match tag.name {
                local_name!("a") => value(local_name!("href")),
                local_name!("img") => value(local_name!("src")),
                _ => None,
            };
            self.links.borrow_mut().extend(link);
        }
    }
}

/// What is wrong with a link, if anything.
fn dead(
    link: &str,
    from: &Path,
    pages: &BTreeMap<PathBuf, Page>,
    moved: &HashMap<String, String>,
    finished: &Path,
) -> Option<String> {
    if has_scheme(link) {
        return None;
    }
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = match path {
        "" => from.to_owned(),
        path => match resolve(from.parent()?, path) {
            Some(target) => target,
            None => return Some("leaves the book".to_owned()),
        },
    };
    let target = if finished.join(&target).is_dir() {
        target.join("index.html")
    } else {
        target
    };
    if let Some(to) = target.to_str().and_then(|target| moved.get(target)) {
        return Some(format!(
            "leads to a page that is `{}` now",
            to.replace(".html", ".md")
        ));
    }
    match pages.get(&target) {
        None if finished.join(&target).is_file() => None,
        None => {
            let names: Vec<PathBuf> =
                pages.keys().map(|page| page.with_extension("md")).collect();
            let names = names.iter().filter_map(|page| page.to_str());
            let hint =
                did_you_mean(&target.with_extension("md").to_string_lossy(), names);
            Some(format!("leads nowhere{hint}"))
        }
        Some(page) if anchor.is_empty() || page.anchors.contains(anchor) => None,
        Some(page) => {
            let hint = did_you_mean(anchor, page.anchors.iter().map(String::as_str));
            Some(format!("finds no such heading in {}{hint}", page.source.display()))
        }
    }
}

fn has_scheme(link: &str) -> bool {
    let scheme = link.split(['/', '#', '?']).next().unwrap_or_default();
    link.starts_with("//") || scheme.contains(':')
}

/// The path of a link, from the top of the book; nothing where it climbs out of it.
fn resolve(folder: &Path, link: &str) -> Option<PathBuf> {
    let path = link.split('?').next().unwrap_or_default();
    let mut target =
        if path.starts_with('/') { PathBuf::new() } else { folder.to_owned() };
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => target.push(name),
            Component::ParentDir if !target.pop() => return None,
            _ => {}
        }
    }
    Some(target)
}

/// A link as its author wrote it.
struct Written {
    link: String,
    line: usize,
}

/// Finds a link in the prose, where mdBook has not yet turned its `.md` into `.html`.
fn written(link: &str, page: &Page) -> Written {
    let candidates = [link.replacen(".html", ".md", 1), link.to_owned()];
    candidates
        .into_iter()
        .find_map(|link| {
            let line = page.prose.lines().position(|line| line.contains(&link))? + 1;
            Some(Written { link, line })
        })
        .unwrap_or_else(|| Written { link: link.to_owned(), line: 1 })
}
