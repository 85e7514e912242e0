//! Files that are written whole or not at all, and folders that are never overwritten.

use std::{
    fs,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

/// Writes a file in one step, and the folders above it.
///
/// # Errors
/// When it cannot be written. What stood there before is then still there.
pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    let about = || format!("cannot write {}", path.display());
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).with_context(about)?;
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(about)?;
    file.write_all(text.as_bytes()).with_context(about)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let usual = fs::Permissions::from_mode(0o644);
        file.as_file().set_permissions(usual).with_context(about)?;
    }
    file.persist(path).with_context(about)?;
    Ok(())
}

/// The text of a file.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The text of a file, or in a few words what keeps it from being read.
pub(crate) fn read_text(path: &Path) -> Result<String, String> {
    let bytes = fs::read(path).map_err(|e| match e.kind() {
        ErrorKind::NotFound => "is gone".to_owned(),
        _ => format!("cannot be read ({e})"),
    })?;
    String::from_utf8(bytes).map_err(|e| {
        let before = e.as_bytes().iter().take(e.utf8_error().valid_up_to());
        let line = before.filter(|byte| **byte == b'\n').count() + 1;
        format!("is not text in UTF-8 (line {line})")
    })
}

/// Every file below `folder`, relative to it, sorted; none if there is no folder.
///
/// # Errors
/// When a folder cannot be read.
pub(crate) fn below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        if !next.is_dir() {
            continue;
        }
        let entries = fs::read_dir(&next)
            .with_context(|| format!("cannot read {}", next.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push(path.strip_prefix(folder)?.to_owned());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Copies a file, and makes the folders above it.
///
/// # Errors
/// When it cannot be copied.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    let about = || format!("cannot copy {} to {}", from.display(), to.display());
    fs::create_dir_all(to.parent().unwrap_or(to)).with_context(about)?;
    fs::copy(from, to).with_context(about)?;
    Ok(())
}

/// A new folder in `parent`, called `001-name` or as much more as it takes.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn numbered(parent: &Path, name: &str) -> Result<PathBuf> {
    let about = || format!("cannot write to {}", parent.display());
    fs::create_dir_all(parent).with_context(about)?;
    for number in 1..100_000 {
        let folder = parent.join(format!("{number:03}-{name}"));
        match fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e).with_context(about),
        }
    }
    bail!("{} is full", parent.display())
}
