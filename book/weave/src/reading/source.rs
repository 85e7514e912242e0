//! The items of a Rust file, and where each of them stands.

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use proc_macro2::Span;
use syn::{Attribute, ImplItem, TraitItem, Type, Visibility, spanned::Spanned, token};

use crate::report::{Problem, line_at};

/// A Rust file that has been read and parsed.
#[derive(Debug)]
pub(crate) struct Source {
    /// Relative to the book's root.
    pub path: PathBuf,
    /// As on disk.
    pub text: String,
    /// In source order.
    pub items: Vec<Item>,
}

/// One item of a file, or of an `impl`, a trait or an inline module.
#[derive(Debug)]
pub(crate) struct Item {
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
    /// What stands between its braces, where that is a list of items.
    pub body: Range<usize>,
    /// That list, in source order.
    pub items: Vec<Item>,
}

/// What the weaver does with an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Shown whole; a chapter shows it if it is public.
    Item,
    /// `impl Type` or `mod name { … }`: a chapter shows its public pieces.
    Block,
    /// `impl Trait for Type`: no chapter has to show it.
    TraitImpl,
    /// `use …`, `mod name;` or a macro call: no chapter has to show it.
    Wiring,
    /// A module under `#[cfg(test)]`: shown on request, but no part of the telling.
    Tests,
}

impl Source {
    /// Parses `text`, the file at `path`.
    ///
    /// # Errors
    /// The first place that is not Rust.
    pub(crate) fn parse(path: &Path, text: String) -> Result<Source, Problem> {
        let file = syn::parse_file(&text).map_err(|e| Problem {
            file: path.to_owned(),
            line: e.span().start().line,
            message: format!("this is not Rust: {e}"),
        })?;
        let items = file.items.iter().map(|item| read_item(&text, "", item)).collect();
        // Spans have become offsets; what the parser remembers of the text can go.
        proc_macro2::extra::invalidate_current_thread_spans();
        Ok(Source { path: path.to_owned(), text, items })
    }

    /// Every item with a name, blocks before their pieces.
    pub(crate) fn named(&self) -> impl Iterator<Item = &Item> {
        let mut all = Vec::new();
        flatten(&self.items, &mut all);
        all.into_iter().filter(|item| !item.name.is_empty())
    }

    /// The public items that a chapter has to show.
    pub(crate) fn to_be_told(&self) -> Vec<&Item> {
        let mut told = Vec::new();
        collect_told(&self.items, &mut told);
        // A public method of a private type is private all the same.
        let private = |owner: &str| {
            self.named().any(|item| item.kind == Kind::Item && item.name == owner)
                && !told.iter().any(|item| item.name == owner)
        };
        let owner = |item: &Item| Some(item.name.rsplit_once("::")?.0.to_owned());
        told.iter()
            .copied()
            .filter(|item| !owner(item).is_some_and(|owner| private(&owner)))
            .collect()
    }

    /// The first and last line of `span`, counted from 1.
    pub(crate) fn lines(&self, span: &Range<usize>) -> (usize, usize) {
        (line_at(&self.text, span.start), line_at(&self.text, span.end))
    }

    /// The text of `span`, moved to the left margin.
    pub(crate) fn dedented(&self, span: Range<usize>) -> String {
        let line = self.text[..span.start].rfind('\n').map_or(0, |at| at + 1);
        let before = &self.text[line..span.start];
        let indent = &before[..before.len() - before.trim_start().len()];
        self.text[span].trim_end().replace(&format!("\n{indent}"), "\n")
    }
}

fn flatten<'a>(items: &'a [Item], all: &mut Vec<&'a Item>) {
    for item in items {
        all.push(item);
        flatten(&item.items, all);
    }
}

fn collect_told<'a>(items: &'a [Item], told: &mut Vec<&'a Item>) {
    for item in items.iter().filter(|item| item.public) {
        match item.kind {
            Kind::Item => told.push(item),
            Kind::Block => collect_told(&item.items, told),
            Kind::TraitImpl | Kind::Wiring | Kind::Tests => {}
        }
    }
}

/// An item before its place is known.
struct Sketch<'a> {
    name: String,
    kind: Kind,
    public: bool,
    attrs: &'a [Attribute],
    braces: Option<(&'a token::Brace, Vec<Item>)>,
}

fn read_item(text: &str, prefix: &str, item: &syn::Item) -> Item {
    use syn::Item as I;
    let plain = |ident: &dyn ToString, vis: &Visibility, attrs| {
        sketch(join(prefix, &ident.to_string()), Kind::Item, is_public(vis), attrs)
    };
    let wiring = |attrs| sketch(String::new(), Kind::Wiring, false, attrs);
    let sketch = match item {
        I::Const(i) => plain(&i.ident, &i.vis, &i.attrs),
        I::Enum(i) => plain(&i.ident, &i.vis, &i.attrs),
        I::Fn(i) => plain(&i.sig.ident, &i.vis, &i.attrs),
        I::Static(i) => plain(&i.ident, &i.vis, &i.attrs),
        I::Struct(i) => plain(&i.ident, &i.vis, &i.attrs),
        I::Type(i) => plain(&i.ident, &i.vis, &i.attrs),
        I::Union(i) => plain(&i.ident, &i.vis, &i.attrs),
        I::Trait(i) => {
            let sketch = plain(&i.ident, &i.vis, &i.attrs);
            let pieces = i.items.iter().map(|p| read_trait_item(text, &sketch.name, p));
            Sketch { braces: Some((&i.brace_token, pieces.collect())), ..sketch }
        }
        I::Macro(i) => match &i.ident {
            Some(ident) => {
                let public = i.attrs.iter().any(|a| a.path().is_ident("macro_export"));
                self::sketch(
                    join(prefix, &ident.to_string()),
                    Kind::Item,
                    public,
                    &i.attrs,
                )
            }
            None => wiring(&i.attrs),
        },
        I::Impl(i) => read_impl(text, prefix, i),
        I::Mod(i) => read_module(text, prefix, i),
        I::Use(i) => wiring(&i.attrs),
        I::ExternCrate(i) => wiring(&i.attrs),
        I::ForeignMod(i) => wiring(&i.attrs),
        _ => wiring(&[]),
    };
    place(text, item.span(), sketch)
}

fn read_impl<'a>(text: &str, prefix: &str, block: &'a syn::ItemImpl) -> Sketch<'a> {
    let ty = join(prefix, &type_name(&block.self_ty));
    let trait_name = block.trait_.as_ref().and_then(|(path, _)| path.segments.last());
    let (name, kind) = match trait_name {
        Some(name) => (join(&ty, &name.ident.to_string()), Kind::TraitImpl),
        None => (String::new(), Kind::Block),
    };
    let owner = if name.is_empty() { &ty } else { &name };
    let pieces = block.items.iter().map(|p| read_impl_item(text, owner, p)).collect();
    let braces = Some((&block.brace_token, pieces));
    Sketch { braces, ..sketch(name, kind, true, &block.attrs) }
}

fn read_module<'a>(text: &str, prefix: &str, module: &'a syn::ItemMod) -> Sketch<'a> {
    let name = join(prefix, &module.ident.to_string());
    let Some((brace, items)) = &module.content else {
        return sketch(String::new(), Kind::Wiring, false, &module.attrs);
    };
    let kind = if is_test(&module.attrs) { Kind::Tests } else { Kind::Block };
    let pieces = items.iter().map(|item| read_item(text, &name, item)).collect();
    let braces = Some((brace, pieces));
    Sketch { braces, ..sketch(name, kind, is_public(&module.vis), &module.attrs) }
}

fn read_impl_item(text: &str, owner: &str, item: &ImplItem) -> Item {
    let plain = |ident: &dyn ToString, vis: &Visibility, attrs| {
        sketch(join(owner, &ident.to_string()), Kind::Item, is_public(vis), attrs)
    };
    let sketch = match item {
        ImplItem::Const(i) => plain(&i.ident, &i.vis, &i.attrs),
        ImplItem::Fn(i) => plain(&i.sig.ident, &i.vis, &i.attrs),
        ImplItem::Type(i) => plain(&i.ident, &i.vis, &i.attrs),
        ImplItem::Macro(i) => sketch(String::new(), Kind::Wiring, false, &i.attrs),
        _ => sketch(String::new(), Kind::Wiring, false, &[]),
    };
    place(text, item.span(), sketch)
}

/// The items of a trait are told with the trait, so none of them counts as public.
fn read_trait_item(text: &str, owner: &str, item: &TraitItem) -> Item {
    let plain = |ident: &dyn ToString, attrs| {
        sketch(join(owner, &ident.to_string()), Kind::Item, false, attrs)
    };
    let sketch = match item {
        TraitItem::Const(i) => plain(&i.ident, &i.attrs),
        TraitItem::Fn(i) => plain(&i.sig.ident, &i.attrs),
        TraitItem::Type(i) => plain(&i.ident, &i.attrs),
        TraitItem::Macro(i) => sketch(String::new(), Kind::Wiring, false, &i.attrs),
        _ => sketch(String::new(), Kind::Wiring, false, &[]),
    };
    place(text, item.span(), sketch)
}

fn sketch(name: String, kind: Kind, public: bool, attrs: &[Attribute]) -> Sketch<'_> {
    Sketch { name, kind, public, attrs, braces: None }
}

fn place(text: &str, span: Span, sketch: Sketch) -> Item {
    let span = span.byte_range();
    let doc = sketch.attrs.iter().take_while(|attr| attr.path().is_ident("doc")).last();
    let code = doc.map_or(span.start, |doc| {
        let end = doc.span().byte_range().end;
        end + text[end..].len() - text[end..].trim_start().len()
    });
    let (body, items) = match sketch.braces {
        Some((brace, items)) => {
            let (open, close) = (brace.span.open(), brace.span.close());
            (open.byte_range().end..close.byte_range().start, items)
        }
        None => (span.end..span.end, Vec::new()),
    };
    let Sketch { name, kind, public, .. } = sketch;
    let start = with_comments_above(text, span.start);
    let code = if doc.is_some() { code } else { start };
    let span = start..with_comment_beside(text, span.end);
    Item { name, kind, public, span, code, body, items }
}

/// Takes in the lines right above `start` that hold nothing but a `//` comment.
fn with_comments_above(text: &str, start: usize) -> usize {
    let mut reached = start;
    let mut line = text[..start].rfind('\n').map_or(0, |at| at + 1);
    while line > 0 {
        line = text[..line - 1].rfind('\n').map_or(0, |at| at + 1);
        let above = text[line..].lines().next().unwrap_or_default();
        let comment = above.trim_start();
        if !comment.starts_with("//") || comment.starts_with("//!") {
            break;
        }
        reached = line + above.len() - comment.len();
    }
    reached
}

/// Takes in a `//` comment on the line that `end` is on.
fn with_comment_beside(text: &str, end: usize) -> usize {
    let rest = text[end..].lines().next().unwrap_or_default();
    if rest.trim_start().starts_with("//") { end + rest.trim_end().len() } else { end }
}

fn type_name(ty: &Type) -> String {
    match ty {
        Type::Path(path) => path
            .path
            .segments
            .last()
            .map_or(String::new(), |last| last.ident.to_string()),
        Type::Reference(reference) => type_name(&reference.elem),
        _ => String::new(),
    }
}

fn is_public(vis: &Visibility) -> bool {
    matches!(vis, Visibility::Public(_))
}

fn is_test(attrs: &[Attribute]) -> bool {
    let only_test = |attr: &Attribute| {
        attr.path().is_ident("cfg")
            && attr.parse_args::<syn::Ident>().is_ok_and(|ident| ident == "test")
    };
    attrs.iter().any(only_test)
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}::{name}") }
}
