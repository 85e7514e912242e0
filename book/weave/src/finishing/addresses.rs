//! An address that was published once is somebody's bookmark: each of them is a page, or
//! leads on to one.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use mdbook_driver::MDBook;

use crate::{
    paths::slashed,
    report::{Problem, Report, line_at},
};

/// Every address that was ever published, one per line, from the top of the book.
const LIST: &str = "book/addresses.txt";

/// Pages that have moved: their address of then, from the top of the book, and that of now.
pub(crate) fn moved(book: &MDBook) -> HashMap<String, String> {
    let redirects = book.config.html_config().unwrap_or_default().redirect;
    let from_the_top = |address: String| address.trim_start_matches('/').to_owned();
    redirects
        .into_iter()
        .map(|(from, to)| (from_the_top(from), from_the_top(to)))
        .collect()
}

/// Checks the list of the book below `root`, if it has one, whose `pages` lie in `finished`.
///
/// # Errors
/// A [`Report`] of the addresses that answer no more, lead nowhere or are not on the list.
pub(crate) fn check(
    root: &Path,
    book: &MDBook,
    pages: &[PathBuf],
    finished: &Path,
) -> Result<()> {
    let list = root.join(LIST);
    if !list.is_file() {
        return Ok(());
    }
    let text =
        fs::read_to_string(&list).with_context(|| format!("cannot read {LIST}"))?;
    let moved = moved(book);
    let problem = |at, message| Problem {
        file: PathBuf::from(LIST),
        line: line_at(&text, at),
        message,
    };
    let listed: Vec<&str> =
        text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let lost = listed.iter().filter(|address| !finished.join(address).is_file());
    let lost = lost.map(|address| {
        let at = text.find(address).unwrap_or_default();
        problem(at, format!(
            "nothing answers at `{address}` any more: lead it on in [output.html.redirect] of \
             book.toml, as \"/{address}\" = \"PAGE.html\""
        ))
    });
    let astray = moved.iter().filter(|(_, to)| {
        let page = to.split('#').next().unwrap_or_default();
        moved.contains_key(page) || !finished.join(page).is_file()
    });
    let astray = astray.map(|(from, to)| Problem {
        file: PathBuf::from("book.toml"),
        line: 1,
        message: format!("`/{from}` is led on to `{to}`, which is no page of the book"),
    });
    let unlisted = pages.iter().map(|page| slashed(page));
    let unlisted = unlisted.filter(|file| !listed.contains(&file.as_str()));
    let unlisted = unlisted.map(|file| {
        problem(
            text.len(),
            format!("`{file}` is published from now on: add it to this list"),
        )
    });
    Ok(Report::check(lost.chain(astray).chain(unlisted).collect())?)
}
