//! `{{#figure}}`: a drawing in the page, with its caption, its words and its data.

use std::ops::Range;

use roxmltree::{Document, Node};
use serde::Deserialize;

use super::maths;
use crate::{
    html,
    reading::{directive::CratePath, markdown, workspace::Workspace},
    report::{Fault, Problem, did_you_mean},
};

/// What a drawing says of itself in its `<metadata>`.
#[derive(Deserialize)]
struct Metadata {
    caption: String,
    table: Table,
    /// Of what was measured: where, when and with what.
    measured: Option<String>,
}

#[derive(Deserialize)]
struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<serde_json::Value>>,
}

/// The drawing as a numbered figure; `number` is `1.2` for the second of chapter 1. What a
/// reader changes it with comes below the caption.
///
/// # Errors
/// When the crate has no such drawing, or the drawing lacks the words it has to carry.
pub(crate) fn figure(
    workspace: &Workspace,
    path: &CratePath,
    number: &str,
    controls: &str,
) -> Result<String, Fault> {
    let folder = workspace.images(&path.krate)?;
    let file = folder.join(format!("{}.svg", path.name));
    let drawings = workspace.files(&folder, "svg");
    if !drawings.contains(&file) {
        let names = drawings.iter().filter_map(|file| file.file_stem()?.to_str());
        let hint = did_you_mean(&path.name, names);
        let (name, folder) = (&path.name, folder.display());
        return Err(format!("no figure `{name}` in {folder}{hint}").into());
    }
    render(&workspace.read(&file)?, path, number, controls)
        .map_err(|Flaw { line, message }| Fault::There(Problem { file, line, message }))
}

/// What is wrong with a drawing, and in which of its lines.
struct Flaw {
    line: usize,
    message: String,
}

impl From<String> for Flaw {
    fn from(message: String) -> Self {
        Flaw { line: 1, message: format!("a figure {message}") }
    }
}

fn render(
    svg: &str,
    path: &CratePath,
    number: &str,
    controls: &str,
) -> Result<String, Flaw> {
    let document = Document::parse(svg).map_err(|e| {
        let message = format!("a figure that is not well-formed: {e}");
        Flaw { line: e.pos().row as usize, message }
    })?;
    let root = document.root_element();
    for (tag, role) in [("title", "title"), ("desc", "text alternative")] {
        words(root, tag).ok_or_else(|| format!("without {role} (`<{tag}>`)"))?;
    }
    let metadata = words(root, "metadata")
        .ok_or_else(|| "without caption and table (`<metadata>`)".to_owned())?;
    let metadata: Metadata = serde_json::from_str(metadata)
        .map_err(|e| format!("whose <metadata> is not caption and table: {e}"))?;
    let caption = markdown::inline_html(&metadata.caption, maths::html)
        .map_err(|e| format!("whose caption has a fault: {e}"))?;
    if caption.trim().is_empty() || metadata.table.columns.is_empty() {
        return Err("without caption or table".to_owned().into());
    }
    let measured = measured(&metadata)?;
    Ok(format!(
        r#"<figure id="fig-{}" class="figure">{}<figcaption>Figure {number}: {}{measured}</figcaption>{controls}<details><summary>Data</summary>{}</details></figure>"#,
        path.name,
        inline(svg, root, &path.krate),
        caption.trim().replace('\n', " "),
        table(&metadata.table)
    ))
}

/// The line that says where a figure's numbers were measured.
///
/// # Errors
/// When there is none below times.
fn measured(metadata: &Metadata) -> Result<String, Flaw> {
    match &metadata.measured {
        Some(said) => Ok(format!(r#"<small class="measured">{}</small>"#, html::text(said))),
        None => match metadata.table.columns.iter().find(|column| is_a_time(column)) {
            Some(column) => Err(format!(
                "of times (`{column}`) that does not say where they were measured: draw it \
                 with `Figure::measured` and the line of its recording"
            )
            .into()),
            None => Ok(String::new()),
        },
    }
}

/// Whether a column of data holds times, by the unit in its head. Nothing in the book knows
/// a time but by measuring it.
fn is_a_time(column: &str) -> bool {
    let units = ["ms", "µs", "ns", "seconds", "milliseconds", "GB/s"];
    column
        .split(|letter: char| !letter.is_alphanumeric() && letter != '/')
        .any(|word| units.contains(&word))
}

/// The text of the drawing's own element `tag`, if it says anything.
fn words<'a>(root: Node<'a, '_>, tag: &str) -> Option<&'a str> {
    let element = root.children().find(|node| node.tag_name().name() == tag)?;
    element.text().map(str::trim).filter(|words| !words.is_empty())
}

/// The `<svg>` for a page: what only a file of its own needs is dropped, and its ids are
/// told apart from those of other crates' drawings.
fn inline(svg: &str, root: Node, krate: &str) -> String {
    let mut edits: Vec<(Range<usize>, String)> = Vec::new();
    for node in root.descendants().filter(Node::is_element) {
        if ["style", "metadata"].contains(&node.tag_name().name()) {
            edits.push((node.range(), String::new()));
            continue;
        }
        for attribute in node.attributes() {
            let value = attribute.value();
            let renamed = match attribute.name() {
                "id" => format!("{krate}-{value}"),
                "aria-labelledby" | "aria-describedby" => value
                    .split_whitespace()
                    .map(|id| format!("{krate}-{id}"))
                    .collect::<Vec<_>>()
                    .join(" "),
                "href" => value.replacen('#', &format!("#{krate}-"), 1),
                _ => value.replace("url(#", &format!("url(#{krate}-")),
            };
            if renamed != value {
                edits.push((attribute.range_value(), html::attribute(&renamed)));
            }
        }
    }
    edits.sort_by_key(|(range, _)| range.start);
    let mut page = String::new();
    let mut done = root.range().start;
    for (range, replacement) in edits {
        page += &svg[done..range.start];
        page += &replacement;
        done = range.end;
    }
    page += &svg[done..root.range().end];
    let lines: Vec<&str> =
        page.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join(" ").replace("> <", "><")
}

fn table(table: &Table) -> String {
    let head: String = table
        .columns
        .iter()
        .map(|column| format!(r#"<th scope="col">{}</th>"#, html::text(column)))
        .collect();
    let cell = |cell: &serde_json::Value| match cell {
        serde_json::Value::String(text) => format!("<td>{}</td>", html::text(text)),
        number => format!("<td>{number}</td>"),
    };
    let rows: String = table
        .rows
        .iter()
        .map(|row| format!("<tr>{}</tr>", row.iter().map(cell).collect::<String>()))
        .collect();
    format!(
        r#"<div class="table-wrapper"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"#
    )
}

#[cfg(test)]
mod tests {
    use super::is_a_time;

    #[test]
    fn times_are_told_by_their_unit() {
        for head in
            ["time, ms", "attend (time, ms)", "time per score, ns", "milliseconds"]
        {
            assert!(is_a_time(head), "{head}");
        }
        for head in
            ["tokens", "times slower", "heads (multiply-adds)", "our time / PyTorch’s"]
        {
            assert!(!is_a_time(head), "{head}");
        }
    }
}
