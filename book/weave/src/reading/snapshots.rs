//! What the code printed, as its tests keep it.

use std::path::{Path, PathBuf};

use super::{directive::CratePath, workspace::Workspace};
use crate::report::{Fault, did_you_mean};

/// The value of one `key: value` line of a snapshot.
///
/// # Errors
/// When the crate has no such snapshot, or the snapshot no such key.
pub(crate) fn value(
    workspace: &Workspace,
    path: &CratePath,
    key: &str,
) -> Result<String, Fault> {
    let file = find(workspace, path)?;
    let text = workspace.read(&file)?;
    let pairs = || body(&text).lines().filter_map(|line| line.split_once(':'));
    if let Some((_, value)) = pairs().find(|(found, _)| found.trim() == key) {
        return Ok(value.trim().to_owned());
    }
    let hint = did_you_mean(key, pairs().map(|(key, _)| key.trim()));
    Err(format!("no value `{key}` in the snapshot {}{hint}", file.display()).into())
}

/// Where a crate's tests keep their snapshots.
pub(crate) fn folder(crate_folder: &Path) -> PathBuf {
    crate_folder.join("tests/it/snapshots")
}

/// The file of a snapshot; insta calls it `it__module__name.snap`.
///
/// # Errors
/// When the crate has no such snapshot, or two of that name.
pub(crate) fn find(workspace: &Workspace, path: &CratePath) -> Result<PathBuf, Fault> {
    let folder = folder(workspace.folder(&path.krate)?);
    let files = workspace.files(&folder, "snap");
    let (name, krate) = (&path.name, &path.krate);
    let mut found = files.iter().filter(|file| short_name(file) == name);
    match (found.next(), found.next()) {
        (Some(file), None) => Ok(file.clone()),
        (Some(one), Some(other)) => Err(Fault::Here(format!(
            "two snapshots are called `{name}`: {} and {}",
            one.display(),
            other.display()
        ))),
        (None, _) => {
            let hint = did_you_mean(name, files.iter().map(|file| short_name(file)));
            let folder = folder.display();
            Err(format!("no snapshot `{name}` of crate `{krate}` in {folder}{hint}")
                .into())
        }
    }
}

/// The name that a directive asks for.
pub(crate) fn short_name(file: &Path) -> &str {
    let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let inside = stem.strip_prefix("it__").unwrap_or(stem);
    inside.split_once("__").map_or(inside, |(_, name)| name)
}

/// What follows the front matter of a snapshot.
pub(crate) fn body(text: &str) -> &str {
    let body = text
        .strip_prefix("---\n")
        .and_then(|rest| rest.split_once("\n---\n"))
        .map_or(text, |(_, body)| body);
    body.trim_end()
}
