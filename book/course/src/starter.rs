//! Finds the function that an exercise asks for, and takes its body out.

use std::{
    collections::BTreeSet,
    ops::Range,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use proc_macro2::{Span, TokenStream, TokenTree};
use syn::{Block, ImplItem, Item, Type, spanned::Spanned};

/// Where a function stands: `Mask::hide` in `src/lib.rs`, `pooled` of `convert::pooled`
/// in `src/convert.rs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// Relative to the crate.
    pub file: PathBuf,
    /// Its name in that file.
    pub name: String,
}

impl Target {
    /// Follows the modules of `path` as far as they have files of their own.
    pub(crate) fn of(path: &str, krate: &Path) -> Target {
        let (mut file, mut module) =
            (PathBuf::from("src/lib.rs"), PathBuf::from("src"));
        let mut name = path;
        while let Some((first, rest)) = name.split_once("::") {
            module.push(first);
            let found = [module.with_extension("rs"), module.join("mod.rs")];
            let Some(next) = found.into_iter().find(|file| krate.join(file).is_file())
            else {
                break;
            };
            (file, name) = (next, rest);
        }
        Target { file, name: name.to_owned() }
    }

    /// The last part of the name.
    pub(crate) fn short(&self) -> &str {
        self.name.rsplit("::").next().unwrap_or(&self.name)
    }
}

/// A function of a file, in bytes of its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Function {
    /// As [`Target::name`].
    pub name: String,
    /// Docs, signature and body.
    pub whole: Range<usize>,
    /// The body, braces and all.
    pub body: Range<usize>,
}

/// Every function of a file, inside its types and modules too.
///
/// # Errors
/// When the text is not Rust.
pub(crate) fn functions(text: &str) -> Result<Vec<Function>> {
    let file = syn::parse_file(text)
        .map_err(|e| anyhow::anyhow!("line {}: {e}", e.span().start().line))?;
    let mut found = Vec::new();
    collect(&file.items, "", &mut found);
    // Spans have become offsets; what the parser remembers of the text can go.
    proc_macro2::extra::invalidate_current_thread_spans();
    Ok(found)
}

fn collect(items: &[Item], prefix: &str, found: &mut Vec<Function>) {
    for item in items {
        match item {
            Item::Fn(f) => {
                found.push(function(prefix, &f.sig.ident, f.span(), &f.block));
            }
            Item::Mod(module) => {
                let prefix = join(prefix, &module.ident.to_string());
                let content = module.content.as_ref();
                collect(content.map_or(&[], |(_, items)| items), &prefix, found);
            }
            Item::Impl(block) => {
                let prefix = join(prefix, &type_name(&block.self_ty));
                for piece in &block.items {
                    if let ImplItem::Fn(f) = piece {
                        found.push(function(&prefix, &f.sig.ident, f.span(), &f.block));
                    }
                }
            }
            _ => {}
        }
    }
}

fn function(prefix: &str, ident: &syn::Ident, whole: Span, block: &Block) -> Function {
    Function {
        name: join(prefix, &ident.to_string()),
        whole: whole.byte_range(),
        body: block.brace_token.span.span().byte_range(),
    }
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

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}::{name}") }
}

/// The function called `name`.
///
/// # Errors
/// When the text is not Rust, or has no such function, or several.
pub(crate) fn find(text: &str, name: &str) -> Result<Function> {
    let mut found = functions(text)?.into_iter().filter(|f| f.name == name);
    let function =
        found.next().with_context(|| format!("there is no function `{name}`"))?;
    if found.next().is_some() {
        bail!("several functions are called `{name}`");
    }
    Ok(function)
}

/// The function that stands at a line of a text, the innermost if there are several.
pub(crate) fn function_at(text: &str, line: usize) -> Option<String> {
    let at = |offset: usize| text[..offset].matches('\n').count() + 1;
    let mut found = functions(text).ok()?.into_iter().filter(|function| {
        (at(function.whole.start)..=at(function.whole.end)).contains(&line)
    });
    found.next_back().map(|function| function.name)
}

/// Every name that stands in the functions that are reached from one: what it calls, and
/// what these call.
pub(crate) fn names_reached(text: &str, from: &str) -> BTreeSet<String> {
    let functions = functions(text).unwrap_or_default();
    let mut reached = BTreeSet::new();
    let mut open = vec![from.rsplit("::").next().unwrap_or(from).to_owned()];
    while let Some(next) = open.pop() {
        let named = |f: &&Function| f.name.rsplit("::").next() == Some(&next);
        for function in functions.iter().filter(named) {
            let body = text[function.body.clone()].parse::<TokenStream>();
            let mut names = BTreeSet::new();
            collect_names(body.unwrap_or_default(), &mut names);
            open.extend(names.into_iter().filter(|name| reached.insert(name.clone())));
        }
    }
    reached
}

fn collect_names(tokens: TokenStream, names: &mut BTreeSet<String>) {
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => {
                names.insert(ident.to_string());
            }
            TokenTree::Group(group) => collect_names(group.stream(), names),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// The signature of a function, without its docs and its body, on one line.
pub(crate) fn signature(text: &str, function: &Function) -> String {
    let head = &text[function.whole.start..function.body.start];
    let code = head.lines().filter(|line| {
        let line = line.trim_start();
        !line.starts_with("//") && !line.starts_with("#[")
    });
    let words: Vec<&str> = code.flat_map(str::split_whitespace).collect();
    words.join(" ").replace("( ", "(").replace(", )", ")")
}

/// The text with a function as `reference` has it, but for its body, which is `body`. Where
/// the text has no such function it comes after the one that stands before it there.
///
/// # Errors
/// When neither can be found.
pub(crate) fn restored(
    text: &str,
    reference: &str,
    name: &str,
    body: &str,
) -> Result<String> {
    let original = find(reference, name)?;
    let head = &reference[original.whole.start..original.body.start];
    let whole = format!("{head}{body}");
    if let Ok(found) = find(text, name) {
        let mut text = text.to_owned();
        text.replace_range(found.whole, &whole);
        return Ok(text);
    }
    let prefix = |name: &str| name.rsplit_once("::").map(|(of, _)| of.to_owned());
    let neighbors = functions(reference)?;
    let before = neighbors.iter().rev().find_map(|other| {
        let stands_before = other.whole.end <= original.whole.start
            && prefix(&other.name) == prefix(name);
        stands_before.then(|| find(text, &other.name).ok()).flatten()
    });
    let before = before.with_context(|| {
        format!("there is no function `{name}`, and none of those before it")
    })?;
    let line =
        reference[..original.whole.start].rsplit('\n').next().unwrap_or_default();
    let mut text = text.to_owned();
    text.insert_str(before.whole.end, &format!("\n\n{line}{whole}"));
    Ok(text)
}

/// The text with other bodies: for each name, what stands in its braces, braces and all.
///
/// # Errors
/// When a function is not there.
pub(crate) fn with_bodies(text: &str, bodies: &[(&str, String)]) -> Result<String> {
    let mut places = bodies
        .iter()
        .map(|(name, body)| Ok((find(text, name)?.body, body)))
        .collect::<Result<Vec<_>>>()?;
    places.sort_by_key(|(place, _)| std::cmp::Reverse(place.start));
    let mut text = text.to_owned();
    for (place, body) in places {
        text.replace_range(place, body);
    }
    Ok(text)
}

/// The body that a reader starts from, for a function that is indented as `text` has it.
///
/// # Errors
/// When the function is not there.
pub(crate) fn empty_body(text: &str, name: &str) -> Result<String> {
    let function = find(text, name)?;
    let before = &text[..function.body.end - 1];
    let line = before.rsplit('\n').next().unwrap_or_default();
    let indent = " ".repeat(line.len() - line.trim_start().len());
    Ok(format!("{{\n{indent}    todo!(\"write `{name}`\")\n{indent}}}"))
}

/// Whether a function is as a reader finds it.
pub(crate) fn is_unwritten(text: &str, name: &str) -> bool {
    let body = find(text, name).map(|function| &text[function.body]);
    let empty = empty_body(text, name);
    body.is_ok_and(|body| empty.is_ok_and(|empty| body == empty))
}

#[cfg(test)]
mod tests {
    use super::{
        Target, empty_body, find, function_at, names_reached, restored, signature,
        with_bodies,
    };
    use std::path::Path;

    const TEXT: &str = "\
/// Doc.
pub fn double(x: f32) -> f32 { 2.0 * x }

impl<T> Pair<T> {
    /// Doc.
    fn swap(self) -> Self {
        Pair(self.1, self.0)
    }
}

mod inside {
    fn double() {}
}
";

    #[test]
    fn bodies_go_and_everything_else_stays() {
        let starter = |names: &[&str]| {
            let bodies =
                names.iter().map(|name| (*name, empty_body(TEXT, name).unwrap()));
            with_bodies(TEXT, &bodies.collect::<Vec<_>>()).unwrap()
        };
        let text = starter(&["double", "Pair::swap"]);
        assert!(text.starts_with(
            "/// Doc.\npub fn double(x: f32) -> f32 {\n    todo!(\"write `double`\")\n}\n"
        ));
        assert!(text.contains(
            "    fn swap(self) -> Self {\n        todo!(\"write `Pair::swap`\")\n    }\n}"
        ));
        assert!(text.ends_with("mod inside {\n    fn double() {}\n}\n"));
        let swap = find(TEXT, "Pair::swap").unwrap();
        assert!(TEXT[swap.whole].starts_with("/// Doc.\n    fn swap"));
    }

    #[test]
    fn a_function_that_is_not_there_is_named() {
        let error = find(TEXT, "triple").unwrap_err();
        assert_eq!(error.to_string(), "there is no function `triple`");
        let error = find("fn broken(", "broken").unwrap_err();
        assert!(error.to_string().starts_with("line 1:"), "{error}");
    }

    #[test]
    fn a_function_is_restored_signature_and_all() {
        let body = |name| empty_body(TEXT, name).unwrap();
        let changed = TEXT.replace("x: f32) -> f32", "x: f64, y: f64) -> f64");
        assert_ne!(changed, TEXT);
        let text = restored(&changed, TEXT, "double", &body("double")).unwrap();
        assert!(
            text.starts_with("/// Doc.\npub fn double(x: f32) -> f32 {\n    todo!"),
            "{text}"
        );
        // One that was renamed comes after its neighbor.
        let two = "fn a() {}\n\n/// Doc.\nfn b() -> f32 {\n    1.0\n}\n";
        let renamed = two.replace("fn b", "fn c");
        let text = restored(&renamed, two, "b", "{}").unwrap();
        assert!(
            text.starts_with("fn a() {}\n\n/// Doc.\nfn b() -> f32 {}\n"),
            "{text}"
        );
        assert!(text.contains("fn c() -> f32 {"), "{text}");
        assert!(restored("fn z() {}", two, "b", "{}").is_err());
    }

    #[test]
    fn names_are_followed_through_helpers() {
        let text = "fn a() { b(1) }\nfn b(x: u8) { let _ = self.c(x); }\nfn d() {}";
        let reached = names_reached(text, "a");
        assert!(
            reached.contains("b") && reached.contains("c") && !reached.contains("d")
        );
    }

    #[test]
    fn a_signature_is_one_line_without_docs() {
        let text =
            "/// Doc.\n#[must_use]\npub fn f(\n    x: f32,\n) -> f32 {\n    x\n}\n";
        let function = find(text, "f").unwrap();
        assert_eq!(signature(text, &function), "pub fn f(x: f32) -> f32");
        assert_eq!(function_at(text, 6).as_deref(), Some("f"));
        assert_eq!(function_at(text, 20), None);
    }

    #[test]
    fn a_module_with_a_file_of_its_own_is_followed() {
        let krate = Path::new(env!("CARGO_MANIFEST_DIR"));
        let target = Target::of("starter::Target::of", krate);
        assert_eq!(target.file, Path::new("src/starter.rs"));
        assert_eq!((target.name.as_str(), target.short()), ("Target::of", "of"));
        assert_eq!(Target::of("Mask::hide", krate).file, Path::new("src/lib.rs"));
    }
}
