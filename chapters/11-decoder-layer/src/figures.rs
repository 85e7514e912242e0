//! The figures of the chapter.

use anyhow::Result;
use figures::Figure;

/// All figures.
///
/// # Errors
/// When one cannot be drawn.
pub fn all() -> Result<Vec<Figure>> {
    Ok(Vec::new())
}
