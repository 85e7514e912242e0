//! Hints, one more each time.

use anyhow::Result;

use crate::{course::Course, text};

/// Shows the hints that were shown before, and the next.
///
/// # Errors
/// When there is no such exercise, or the progress cannot be read or written.
pub(crate) fn hint(course: &Course, name: Option<&str>) -> Result<()> {
    let chosen = course.choose(name)?;
    let (id, hints) = (chosen.id(), &chosen.exercise.hints);
    let mut progress = course.progress()?;
    let shown = progress.hints.entry(id.clone()).or_default();
    *shown = (*shown + 1).min(hints.len());
    let shown = *shown;
    anstream::println!("{}: {}", text::bold(&id), chosen.exercise.title);
    for (number, hint) in hints.iter().enumerate().take(shown) {
        let text = format!("{} of {}. {hint}", number + 1, hints.len());
        let text = text::wrapped(&text, 2);
        anstream::println!(
            "{}",
            if number + 1 < shown { text::dim(&text) } else { text }
        );
    }
    if shown == hints.len() {
        let solution = text::command(&format!("cargo course solution {id}"));
        anstream::println!("\n  That was the last one. After it there is {solution}");
    }
    if course.my.is_dir() {
        progress.write(&course.own())?;
    }
    Ok(())
}
