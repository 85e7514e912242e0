//! `{{#output}}`: what the code printed, with the command that holds the code to it.

use crate::{
    html::{self, file_link, pre},
    reading::{directive::CratePath, snapshots, workspace::Workspace},
    report::{Fault, Problem},
};

/// How many characters of an output stand side by side on a phone.
const WIDEST: usize = 46;

/// A snapshot's body, with the command that holds the code to it.
///
/// # Errors
/// When the crate has no such snapshot, or two of that name, or it is too wide for a phone.
pub(crate) fn snapshot(
    workspace: &Workspace,
    path: &CratePath,
) -> Result<String, Fault> {
    let file = snapshots::find(workspace, path)?;
    let text = workspace.read(&file)?;
    let width = |line: &str| line.chars().count();
    if let Some(wide) = snapshots::body(&text).lines().find(|line| width(line) > WIDEST)
    {
        let line = text.lines().position(|line| line == wide).unwrap_or_default() + 1;
        let message = format!(
            "{} characters side by side: on a phone there is room for {WIDEST}",
            width(wide)
        );
        return Err(Fault::There(Problem { file, line, message }));
    }
    Ok(format!(
        r#"<figure class="output">{}<figcaption><details class="kept"><summary>checked by a test</summary><code>cargo test -p {}</code> compares it with {}</details></figcaption></figure>"#,
        pre(&html::text(snapshots::body(&text))),
        path.krate,
        file_link(workspace, &file)
    ))
}
