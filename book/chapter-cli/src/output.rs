//! Writing a file whole or not at all.

use crate::message::brief_path;
use anyhow::{Context, Result, bail};
use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// A place where a file can be written, as far as can be told beforehand.
#[derive(Debug)]
pub struct Destination {
    /// What to replace: behind all symbolic links.
    path: PathBuf,
    /// Those of the file that is there already.
    permissions: Option<Permissions>,
}

impl Destination {
    /// Asks whether a file could be written at `path`, and changes nothing.
    ///
    /// # Errors
    /// When the folder is missing or closed, or there is something at `path` that is
    /// not a file, or one that may not be written.
    pub fn check(path: &Path) -> Result<Self> {
        let context = || format!("cannot write {}", brief_path(path));
        let permissions = existing(path).with_context(context)?;
        let destination = Destination { path: behind_links(path), permissions };
        let folder = destination.folder();
        if !folder.is_dir() {
            bail!("{}: there is no folder {}", context(), brief_path(folder));
        }
        // A long run should not end in tears over a folder without write permission.
        destination.temporary().with_context(context)?;
        Ok(destination)
    }

    /// Replaces what is there by a file with these bytes, in one step.
    ///
    /// # Errors
    /// When it cannot be written; then what was there is still there.
    pub fn write(&self, bytes: &[u8]) -> Result<()> {
        self.write_parts([bytes])
    }

    /// [`Destination::write`], for bytes that lie in several places.
    ///
    /// # Errors
    /// When it cannot be written; then what was there is still there.
    pub(crate) fn write_parts(
        &self,
        parts: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> Result<()> {
        let replace = || {
            let mut file = self.temporary()?;
            for part in parts {
                file.write_all(part.as_ref())?;
            }
            if let Some(permissions) = &self.permissions {
                file.as_file().set_permissions(permissions.clone())?;
            }
            file.persist(&self.path)?;
            io::Result::Ok(())
        };
        replace().with_context(|| format!("cannot write {}", brief_path(&self.path)))
    }

    /// A file beside the destination, so that it can be renamed to it. It is gone when
    /// dropped.
    fn temporary(&self) -> io::Result<NamedTempFile> {
        #[cfg_attr(not(unix), allow(unused_mut))]
        let mut builder = tempfile::Builder::new();
        // Temporary files are secret by default, but this one becomes an ordinary file,
        // which everybody may read and write whom the umask does not stop.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        // In full, the error names the temporary file, which nobody has asked for.
        builder.tempfile_in(self.folder()).map_err(|error| error.kind().into())
    }

    fn folder(&self) -> &Path {
        match self.path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        }
    }
}

/// The permissions of the file at `path`, if there is one.
fn existing(path: &Path) -> Result<Option<Permissions>> {
    let names_a_folder = path.to_string_lossy().ends_with(std::path::is_separator);
    let kind = match fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound && !names_a_folder => {
            return Ok(None);
        }
        kind => kind?,
    };
    if kind.is_dir() {
        bail!("it is a directory");
    }
    if !kind.is_file() {
        bail!("it is not a regular file");
    }
    // A rename asks the folder alone; a file that is read-only should stay.
    fs::OpenOptions::new().append(true).open(path)?;
    Ok(Some(kind.permissions()))
}

/// The file at the end of a chain of symbolic links, there already or not. The chain
/// has an end, or [`existing`] would have failed.
fn behind_links(path: &Path) -> PathBuf {
    let mut path = path.to_path_buf();
    while let Ok(target) = fs::read_link(&path) {
        path = path.parent().unwrap_or(Path::new("")).join(target);
    }
    path
}
