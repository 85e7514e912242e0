//! From a folder to a finished book, which takes the place of the last one only if
//! nothing is wrong with it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    rc::Rc,
};

use anyhow::{Context, Result};
use mdbook_core::config::{BookConfig, Config};
use mdbook_driver::MDBook;
use pulldown_cmark::{Event, Parser, Tag};

use crate::{
    audience::{Audience, RELOAD},
    finishing::{
        addresses, links,
        pages::{self, Page},
    },
    live::{self, Live, Module},
    report::{Problem, Report, line_at},
    weaving::weaver::Weaver,
};

/// A book that was built.
pub(crate) struct Built {
    /// Where it lies, relative to the root.
    pub folder: PathBuf,
    /// What went into it, in words.
    pub summary: String,
    /// What book.toml says of it.
    pub book: BookConfig,
    /// Its pages, in their order.
    pub pages: Vec<Page>,
}

/// Builds the book below `root` into the folder that book.toml names; with live figures, if
/// there are modules that redraw them.
///
/// # Errors
/// A [`Report`] of what is wrong with the book, or what mdBook or the disk has to say.
/// The last good book is then still in its place.
pub(crate) fn build(
    root: &Path,
    audience: Audience,
    modules: Option<&[Module]>,
) -> Result<Built> {
    let mut config = Config::from_disk(root.join("book.toml"))?;
    config.update_from_env()?;
    if audience == Audience::Author {
        config.set("output.html.live-reload-endpoint", RELOAD)?;
    }
    let live = modules.map(|_| Live::open(root)).transpose()?.map(Rc::new);
    if live.is_some() {
        let mut scripts = config.html_config().unwrap_or_default().additional_js;
        scripts.push(live::SCRIPT.into());
        config.set("output.html.additional-js", scripts)?;
    }
    if let Some(site) = pages::site(&config)? {
        let folder = match audience {
            Audience::Readers => pages::folder_of(&site),
            Audience::Author => "/",
        };
        config.set("output.html.site-url", folder)?;
    }
    check_summary(root, &config.book.src)?;

    let folder = folder_for(&config, audience);
    let finished = root.join(&folder);
    let workbench = workbench(&finished)?;
    let next = workbench.path().join("next");
    config.build.build_dir.clone_from(&next);

    let mut book = MDBook::load_with_config(root, config)?;
    let weaver = Weaver { live: live.clone(), ..Weaver::default() };
    let summary = weaver.summary.clone();
    book.with_preprocessor(weaver);
    book.build()?;
    links::check(root, &book, &next)?;
    if let (Some(live), Some(modules)) = (live, modules) {
        live.put_into(&next.join("live"), root, modules)?;
    }
    let pages = pages::finish(root, &book, &next, audience)?;
    let files: Vec<PathBuf> = pages.iter().map(|page| page.file.clone()).collect();
    addresses::check(root, &book, &files, &next)?;

    put_in_place(&next, &finished, &workbench.path().join("last"))
        .with_context(|| format!("cannot replace {}", finished.display()))?;
    Ok(Built { folder, summary: summary.take(), book: book.config.book, pages })
}

/// The folder that [`build`] fills, relative to the root.
///
/// # Errors
/// When book.toml cannot be read.
pub(crate) fn folder(root: &Path, audience: Audience) -> Result<PathBuf> {
    let mut config = Config::from_disk(root.join("book.toml"))?;
    config.update_from_env()?;
    Ok(folder_for(&config, audience))
}

/// An author's pages call home for news, so they never lie where readers' pages lie.
fn folder_for(config: &Config, audience: Audience) -> PathBuf {
    let folder = &config.build.build_dir;
    match audience {
        Audience::Readers => folder.clone(),
        Audience::Author => folder.with_added_extension("served"),
    }
}

/// A folder beside the finished book, so that the new one can be moved, not copied.
fn workbench(finished: &Path) -> Result<tempfile::TempDir> {
    let parent = finished.parent().unwrap_or(finished);
    fs::create_dir_all(parent)
        .and_then(|()| tempfile::Builder::new().prefix("book.").tempdir_in(parent))
        .with_context(|| format!("cannot write to {}", parent.display()))
}

fn put_in_place(next: &Path, finished: &Path, last: &Path) -> io::Result<()> {
    let had_one = finished.exists();
    if had_one {
        fs::rename(finished, last)?;
    }
    fs::rename(next, finished).inspect_err(|_| {
        if had_one {
            // The error that is told is the one that matters.
            let _ = fs::rename(last, finished);
        }
    })
}

/// mdBook stops at the first chapter that is missing, and does not say where it is named.
fn check_summary(root: &Path, prose: &Path) -> Result<()> {
    let file = prose.join("SUMMARY.md");
    let text = fs::read_to_string(root.join(&file))
        .with_context(|| format!("cannot read {}", file.display()))?;
    let missing = |(event, range): (Event, std::ops::Range<usize>)| {
        let Event::Start(Tag::Link { dest_url, .. }) = event else { return None };
        let page = prose.join(&*dest_url);
        let draft = dest_url.is_empty();
        (!draft && !root.join(&page).is_file()).then(|| Problem {
            file: file.clone(),
            line: line_at(&text, range.start),
            message: format!("no such chapter: {}", page.display()),
        })
    };
    let problems = Parser::new(&text).into_offset_iter().filter_map(missing).collect();
    Ok(Report::check(problems)?)
}
