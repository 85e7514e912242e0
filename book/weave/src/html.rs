//! The few pieces of HTML that all directives share. Everything is on one line: an empty
//! one would end the block for Markdown, and lists keep their indentation.

use std::path::Path;

use mdbook_core::utils::{escape_html, escape_html_attribute};

use crate::{
    paths::slashed,
    reading::{source::Source, workspace::Workspace},
};

/// Text inside an element, on one line.
pub(crate) fn text(text: &str) -> String {
    escape_html(text).replace('\n', "&#10;")
}

/// Text inside a quoted attribute.
pub(crate) fn attribute(text: &str) -> String {
    escape_html_attribute(text).replace('\n', " ")
}

/// A `<pre>` whose highlighting, if any, is there already; book.js adds a copy button and
/// highlight.js passes it by.
pub(crate) fn pre(highlighted: &str) -> String {
    format!(r#"<pre><code class="nohighlight hljs">{highlighted}</code></pre>"#)
}

/// Some lines of a source file, linked to where they can be read.
pub(crate) fn lines_link(
    workspace: &Workspace,
    source: &Source,
    span: &std::ops::Range<usize>,
) -> String {
    let (first, last) = source.lines(span);
    let (lines, anchor) = if first == last {
        (format!("line {first}"), format!("#L{first}"))
    } else {
        (format!("lines {first}–{last}"), format!("#L{first}-L{last}"))
    };
    let label = format!("{}, {lines}", slashed(&source.path));
    link(workspace, &source.path, &anchor, &label)
}

/// A file, linked to where it can be read.
pub(crate) fn file_link(workspace: &Workspace, file: &Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    link(workspace, file, "", &name)
}

fn link(workspace: &Workspace, file: &Path, anchor: &str, label: &str) -> String {
    let label = text(label);
    match &workspace.repository {
        Some(url) => {
            let url = format!("{url}/blob/main/{}{anchor}", slashed(file));
            format!(r#"<a href="{}">{label}</a>"#, attribute(&url))
        }
        None => label,
    }
}
