//! `{{#chapter}}`: a chapter by its name, since its number is that of its folder and may
//! change. What was typed by hand and no longer agrees is found here, too.

use std::path::Path;

use mdbook_core::book::Chapter;

use crate::{
    html,
    reading::{
        directive::{Form, Mention},
        workspace::{Place, Workspace},
    },
    report::{Fault, Problem, line_at},
};

/// "chapter 9" as a link to that chapter's page.
///
/// # Errors
/// When there is no such chapter.
pub(crate) fn link(workspace: &Workspace, mention: &Mention) -> Result<String, Fault> {
    let Place { page, .. } = workspace.place(&mention.krate)?;
    let anchor = mention.anchor.as_ref().map(|to| format!("#{to}")).unwrap_or_default();
    let target = html::attribute(&format!("{page}.md{anchor}"));
    Ok(format!(r#"<a href="{target}">{}</a>"#, words(workspace, mention)?))
}

/// The same without a link, for a heading, which is one already.
///
/// # Errors
/// When there is no such chapter.
pub(crate) fn words(workspace: &Workspace, mention: &Mention) -> Result<String, Fault> {
    let Place { number, .. } = workspace.place(&mention.krate)?;
    Ok(match mention.form {
        Form::Inside => format!("chapter {number}"),
        Form::Start => format!("Chapter {number}"),
        Form::Number => number.to_string(),
    })
}

/// A page whose number in SUMMARY.md is not that of its folder.
pub(crate) fn misnumbered(
    workspace: &Workspace,
    prose: &Path,
    chapter: &Chapter,
) -> Option<Problem> {
    let page = chapter.source_path.as_ref()?;
    let told = workspace.told_on(page)?;
    let place = workspace.place(&told.name).ok()?;
    let listed = chapter.number.as_ref()?.first().copied()?;
    if listed == place.number {
        return None;
    }
    let file = prose.join("SUMMARY.md");
    let text = workspace.read(&file).unwrap_or_default();
    let at = text.find(&format!("({})", page.display())).unwrap_or_default();
    let message = format!(
        "{} is chapter {listed} here and has the folder {}: move one of the two",
        page.display(),
        told.folder.display(),
    );
    Some(Problem { file, line: line_at(&text, at), message })
}

/// Where some text names the folder of a chapter by a number that it does not have.
pub(crate) fn misplaced(workspace: &Workspace, text: &str) -> Vec<(usize, String)> {
    let mut faults = Vec::new();
    for (krate, place) in workspace.chapters() {
        let name = format!("-{}", place.page);
        for (at, _) in text.match_indices(&name) {
            let (before, after) = (&text[..at], &text[at + name.len()..]);
            let digits = before.trim_end_matches(|c: char| c.is_ascii_digit());
            let number = &before[digits.len()..];
            let goes_on = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
            let is_folder = number.len() == 2
                && !digits.ends_with(goes_on)
                && !after.starts_with(goes_on);
            if is_folder && number.parse() != Ok(place.number) {
                let fault = format!(
                    "`{number}{name}` is not there: the chapter lies in {}",
                    krate.folder.display()
                );
                faults.push((digits.len(), fault));
            }
        }
    }
    faults
}
