//! Paths, as a page and a message show them.

use std::path::Path;

/// A path below the root of the book, with `/` on every system: a page is the same wherever
/// it was built.
pub(crate) fn slashed(path: &Path) -> String {
    let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
    parts.join("/")
}
