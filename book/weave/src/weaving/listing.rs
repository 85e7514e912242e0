//! `{{#code}}`, `{{#diff}}` and `{{#rest}}`: source, verbatim.

use std::collections::HashSet;

use similar::{ChangeTag, TextDiff};

use super::highlight;
use crate::{
    html::{self, lines_link, pre},
    reading::{
        directive::CratePath,
        source::{Item, Kind, Source},
        workspace::Workspace,
    },
    report::{Fault, did_you_mean},
};

/// An item as a figure: where it stands, its doc comment to fold away, its code.
///
/// # Errors
/// When there is no such item, or more than one.
pub(crate) fn code(workspace: &Workspace, path: &CratePath) -> Result<String, Fault> {
    let (source, name) = workspace.locate(&path.krate, &path.name)?;
    let item = find(&source, name, path)?;
    let place = lines_link(workspace, &source, &item.span);
    let (doc, code) = split(&source, item);
    let doc = if doc.is_empty() {
        doc
    } else {
        format!(
            r#"<details class="doc"><summary>doc comment</summary>{}</details>"#,
            pre(&highlight::rust(&doc))
        )
    };
    Ok(figure("listing", &format!("{} {place}", name_of(path)), &doc, &code))
}

/// What has to change to turn one item into the other; doc comments left out.
///
/// # Errors
/// When one of the items does not exist.
pub(crate) fn diff(
    workspace: &Workspace,
    old: &CratePath,
    new: &CratePath,
) -> Result<String, Fault> {
    let read = |path: &CratePath| -> Result<(String, String), Fault> {
        let (source, name) = workspace.locate(&path.krate, &path.name)?;
        let item = find(&source, name, path)?;
        let place = lines_link(workspace, &source, &item.span);
        let caption = format!("{} {place}", name_of(path));
        Ok((caption, without_docs(&split(&source, item).1)))
    };
    let ((old_caption, old), (new_caption, new)) = (read(old)?, read(new)?);
    let changes: String = TextDiff::from_lines(&old, &new)
        .iter_all_changes()
        .map(|change| {
            let line = change.value().trim_end_matches('\n');
            match change.tag() {
                ChangeTag::Equal if line.is_empty() => html::text("\n"),
                ChangeTag::Equal => html::text(&format!("  {line}\n")),
                ChangeTag::Delete => {
                    marked("del", "hljs-deletion", &format!("- {line}"))
                }
                ChangeTag::Insert => {
                    marked("ins", "hljs-addition", &format!("+ {line}"))
                }
            }
        })
        .collect();
    Ok(format!(
        r#"<figure class="listing diff"><figcaption><span>− {old_caption}</span><span>+ {new_caption}</span></figcaption>{}</figure>"#,
        pre(&changes)
    ))
}

/// Everything in a crate's root file that is not among `shown`, folded.
///
/// # Errors
/// When there is no such crate, or its file cannot be parsed.
pub(crate) fn rest(
    workspace: &Workspace,
    krate: &str,
    shown: &HashSet<&str>,
) -> Result<String, Fault> {
    let source = workspace.root_source(krate)?;
    let place = lines_link(workspace, &source, &(0..source.text.trim_end().len()));
    let start = source.items.first().map_or(source.text.len(), |item| item.span.start);
    let mut code = source.text[..start].trim_end().to_owned();
    if !code.is_empty() {
        code += "\n\n";
    }
    code += &unshown(&source, &source.items, shown).join("");
    Ok(format!(
        r#"<details class="rest"><summary>The rest of <code>{krate}</code>: what this chapter has not shown</summary>{}</details>"#,
        figure("listing", &place, "", code.trim_end())
    ))
}

fn find<'a>(
    source: &'a Source,
    name: &str,
    path: &CratePath,
) -> Result<&'a Item, Fault> {
    let found: Vec<&Item> = source.named().filter(|item| item.name == name).collect();
    match found.as_slice() {
        [item] => Ok(item),
        [] => {
            let hint =
                did_you_mean(name, source.named().map(|item| item.name.as_str()));
            let (krate, file) = (&path.krate, source.path.display());
            Err(format!("no item `{name}` in crate `{krate}` ({file}){hint}").into())
        }
        several => {
            let lines: Vec<String> = several
                .iter()
                .map(|item| source.lines(&item.span).0.to_string())
                .collect();
            let (file, lines) = (source.path.display(), lines.join(" and "));
            Err(format!("`{name}` is ambiguous: {file} has it at lines {lines}").into())
        }
    }
}

/// The leading doc comment of an item, and the item without it.
fn split(source: &Source, item: &Item) -> (String, String) {
    if item.code == item.span.start {
        return (String::new(), source.dedented(item.span.clone()));
    }
    let doc = source.dedented(item.span.start..item.code);
    (doc, source.dedented(item.code..item.span.end))
}

fn without_docs(code: &str) -> String {
    let is_doc = |line: &&str| line.trim_start().starts_with("///");
    code.lines().filter(|line| !is_doc(line)).map(|line| format!("{line}\n")).collect()
}

/// The text of each item that is not shown, with what separates it from the one before.
fn unshown(source: &Source, items: &[Item], shown: &HashSet<&str>) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    let mut previous: Option<&Item> = None;
    for item in items {
        let Some(text) = unshown_text(source, item, shown) else { continue };
        if let Some(previous) = previous {
            let gap = &source.text[previous.span.end..item.span.start];
            let together = gap.trim().is_empty() && gap.matches('\n').count() < 2;
            pieces.push(if together { "\n" } else { "\n\n" }.to_owned());
        }
        pieces.push(text);
        previous = Some(item);
    }
    pieces
}

fn unshown_text(source: &Source, item: &Item, shown: &HashSet<&str>) -> Option<String> {
    if item.kind == Kind::Tests || shown.contains(item.name.as_str()) {
        return None;
    }
    let is_shown = |piece: &&Item| shown.contains(piece.name.as_str());
    if !item.items.iter().any(|piece| is_shown(&piece)) {
        return Some(source.dedented(item.span.clone()));
    }
    if item.items.iter().all(|piece| is_shown(&piece)) {
        return None;
    }
    let header = &source.text[item.span.start..item.body.start];
    let pieces: Vec<String> = item
        .items
        .iter()
        .map(|piece| match unshown_text(source, piece, shown) {
            Some(text) => text.replace('\n', "\n    "),
            None => format!("// … `{}` is shown above", last_name(piece)),
        })
        .map(|text| format!("\n    {text}\n"))
        .collect();
    // Only blocks at the margin have pieces that are shown one by one.
    Some(format!("{header}{}}}", pieces.join("").replace("\n    \n", "\n\n")))
}

fn last_name(item: &Item) -> &str {
    item.name.rsplit("::").next().unwrap_or_default()
}

fn figure(class: &str, caption: &str, doc: &str, code: &str) -> String {
    let code = pre(&highlight::rust(code));
    format!(
        r#"<figure class="{class}"><figcaption>{caption}</figcaption>{doc}{code}</figure>"#
    )
}

fn name_of(path: &CratePath) -> String {
    format!("<code>{}::{}</code>", path.krate.replace('-', "_"), path.name)
}

fn marked(tag: &str, class: &str, line: &str) -> String {
    format!(r#"<{tag} class="{class}">{}</{tag}>&#10;"#, html::text(line))
}
