//! The items of a Rust file, and where each of them stands.

use std::{
    collections::HashSet,
    ops::Range,
    path::{Path, PathBuf},
};

use syn::{Attribute, ImplItem, TraitItem, Visibility, spanned::Spanned};

use crate::report::{Problem, line_at};

/// A Rust file that has been read and parsed.
#[derive(Debug)]
pub struct Source {
    /// Relative to the book's root.
    pub path: PathBuf,
    /// As on disk.
    pub text: String,
    /// The `//!` comment and the `#![…]` attributes, up to the first item.
    pub header: Range<usize>,
    /// In source order.
    pub items: Vec<Item>,
}

/// One item of a file, or of an `impl`, a trait or an inline module.
#[derive(Debug)]
pub struct Item {
    /// Its path inside the file, such as `Mask::padding`. Empty where a directive cannot
    /// ask for it: imports, inherent `impl`s, macro calls.
    pub name: String,
    /// What the weaver does with it.
    pub kind: Kind,
    /// Whether readers of the crate can name it.
    pub public: bool,
    /// Attributes, comments that touch it and all, in bytes.
    pub span: Range<usize>,
    /// Where its leading doc comment has ended.
    pub code: usize,
}

/// What the weaver does with an item.
#[derive(Debug)]
pub enum Kind {
    /// Shown whole.
    Whole,
    /// `mod name;`: its items stand in another file.
    File,
    /// A module under `#[cfg(test)]`: shown on request, but no part of the telling.
    Tests(Vec<Item>),
    /// Shown whole or piece by piece; `body` is what stands between its braces.
    Block {
        /// Between the braces, in bytes.
        body: Range<usize>,
        /// In source order.
        items: Vec<Item>,
        /// Whether each public piece has to be shown, rather than the whole.
        told: Told,
    },
}

/// What a chapter has to show of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// The block itself.
    Whole,
    /// Its public pieces.
    InPieces,
}

impl Source {
    /// Parses `text`, the file at `path`.
    ///
    /// # Errors
    /// The first place that is not Rust.
    pub fn parse(path: &Path, text: String) -> Result<Source, Problem> {
        let file = syn::parse_file(&text).map_err(|e| Problem {
            file: path.to_owned(),
            line: e.span().start().line,
            message: format!("this is not Rust: {e}"),
        })?;
        let items: Vec<Item> =
            file.items.iter().map(|item| read_item(&text, "", item)).collect();
        // Spans have become offsets; what the parser remembers of the text can go.
        proc_macro2::extra::invalidate_current_thread_spans();
        let header = 0..items.first().map_or(text.len(), |item| item.span.start);
        Ok(Source { path: path.to_owned(), text, header, items })
    }

    /// Every item with a name, blocks before their pieces.
    pub fn named(&self) -> impl Iterator<Item = &Item> {
        flatten(&self.items).into_iter().filter(|item| !item.name.is_empty())
    }

    /// The public items that a chapter has to show.
    pub fn to_be_told(&self) -> Vec<&Item> {
        let hidden: HashSet<&str> = self
            .named()
            .filter(|item| !item.public)
            .map(|item| item.name.as_str())
            .collect();
        let mut told = Vec::new();
        collect_told(&self.items, &mut told);
        // A public method of a private type is private all the same.
        told.retain(|item| {
            item.name.rsplit_once("::").is_none_or(|(owner, _)| !hidden.contains(owner))
        });
        told
    }

    /// The lines of `span`, counted from 1.
    pub fn lines(&self, span: &Range<usize>) -> (usize, usize) {
        (line_at(&self.text, span.start), line_at(&self.text, span.end))
    }

    /// The text of `span`, moved to the left margin.
    pub fn dedented(&self, span: Range<usize>) -> String {
        let line = self.text[..span.start].rfind('\n').map_or(0, |at| at + 1);
        let indent = &self.text[line..span.start];
        self.text[span].trim_end().replace(&format!("\n{indent}"), "\n")
    }
}

fn flatten(items: &[Item]) -> Vec<&Item> {
    let pieces = |item: &'_ Item| match &item.kind {
        Kind::Whole | Kind::File => Vec::new(),
        Kind::Tests(items) | Kind::Block { items, .. } => {
            // The borrow is of `items`, which outlives this closure.
            flatten(items).into_iter().map(std::ptr::from_ref).collect()
        }
    };
    let _ = pieces;
    items
        .iter()
        .flat_map(|item| {
            let inner: &[Item] = match &item.kind {
                Kind::Whole | Kind::File => &[],
                Kind::Tests(items) | Kind::Block { items, .. } => items,
            };
            std::iter::once(item).chain(flatten(inner))
        })
        .collect()
}
