//! A check on every save.

use std::{
    path::Path,
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::Duration,
};

use anyhow::{Context, Result};
use notify::{EventKind, RecursiveMode, Watcher};

use crate::{check, course::Course, tell};

/// An editor saves in several steps; a pause this long ends them.
const PAUSE: Duration = Duration::from_millis(120);

/// Checks now and whenever a source or a sheet of a begun chapter is saved.
///
/// # Errors
/// When nothing was begun, or the folders cannot be watched.
pub(crate) fn watch(course: &Course, name: Option<&str>) -> Result<()> {
    let (told, saved) = channel();
    let mut watcher =
        notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if let Ok(event) = event
                && !matches!(event.kind, EventKind::Access(_))
                && event.paths.iter().any(|path| is_the_readers(path))
            {
                // Nobody listens any more when the program ends.
                let _ = told.send(());
            }
        })?;
    for chapter in course.chapters.iter().filter(|chapter| course.has_begun(chapter)) {
        for part in ["src", "answers"] {
            let folder = course.mine(chapter).join(part);
            if folder.is_dir() {
                watcher
                    .watch(&folder, RecursiveMode::Recursive)
                    .with_context(|| format!("cannot watch {}", folder.display()))?;
            }
        }
    }
    course.choose(name)?;
    loop {
        if let Err(error) = check::check(course, name) {
            anstream::println!("{error:#}");
        }
        anstream::println!(
            "\n{}",
            tell::dim("waiting for you to save (Ctrl-C ends this)")
        );
        if !next(&saved) {
            return Ok(());
        }
        anstream::println!();
    }
}

fn is_the_readers(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs" || extension == "toml")
}

/// Waits for a save and for the pause after it.
fn next(saved: &Receiver<()>) -> bool {
    if saved.recv().is_err() {
        return false;
    }
    loop {
        match saved.recv_timeout(PAUSE) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
        }
    }
}
