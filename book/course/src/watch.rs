//! A check on every save.

use std::{
    cell::Cell,
    collections::BTreeMap,
    path::Path,
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::Duration,
};

use anyhow::{Context, Result};
use notify::{EventKind, RecursiveMode, Watcher};

use crate::{
    check,
    course::{Chosen, Course},
    files,
    starter::{self, Target},
    text,
};

/// An editor saves in several steps; a pause this long ends them.
const PAUSE: Duration = Duration::from_millis(120);

/// Checks now and whenever a source or a sheet of a begun chapter is saved. Without a name
/// it is the exercise whose function or sheet was changed, and else the last one again.
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
    let saves = Saves { saved, is_new: Cell::new(false) };
    let mut chosen = course.choose(name)?;
    let mut before = written(course);
    loop {
        if let Err(error) = check::check_all(course, &[chosen], &|| saves.interrupts())
        {
            anstream::println!("{error:#}");
        }
        if !saves.interrupts() {
            let waiting = "waiting for you to save (Ctrl-C ends this)";
            anstream::println!("\n{}", text::dim(waiting));
        }
        if !saves.next() {
            return Ok(());
        }
        anstream::println!();
        let now = written(course);
        if name.is_none()
            && let Some(changed) = changed(course, &before, &now)
        {
            chosen = changed;
        }
        before = now;
    }
}

fn is_the_readers(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs" || extension == "toml")
}

/// What is written for each exercise, by its id. What cannot be read is left out.
fn written(course: &Course) -> BTreeMap<String, String> {
    let begun = course.all().filter(|chosen| course.has_begun(chosen.chapter));
    let one = |chosen: Chosen| {
        let text = match &chosen.exercise.body {
            None => files::read(&course.sheet(chosen)).ok()?,
            Some(body) => {
                let target = Target::of(body, &chosen.chapter.path);
                let file = course.mine(chosen.chapter).join(&target.file);
                let text = files::read(&file).ok()?;
                let function = starter::find(&text, &target.name).ok()?;
                text[function.whole].to_owned()
            }
        };
        Some((chosen.id(), text))
    };
    begun.filter_map(one).collect()
}

/// The first exercise whose text is another now.
fn changed<'a>(
    course: &'a Course,
    before: &BTreeMap<String, String>,
    now: &BTreeMap<String, String>,
) -> Option<Chosen<'a>> {
    course.all().find(|chosen| {
        let id = chosen.id();
        now.contains_key(&id) && before.get(&id) != now.get(&id)
    })
}

/// The reader's saves, one after the other.
struct Saves {
    saved: Receiver<()>,
    /// Whether one came that nobody waited for.
    is_new: Cell<bool>,
}

impl Saves {
    /// Whether there is something newer than what is being checked.
    fn interrupts(&self) -> bool {
        if self.saved.try_recv().is_ok() {
            self.is_new.set(true);
        }
        self.is_new.get()
    }

    /// Waits for a save and for the pause after it.
    fn next(&self) -> bool {
        if !self.is_new.replace(false) && self.saved.recv().is_err() {
            return false;
        }
        loop {
            match self.saved.recv_timeout(PAUSE) {
                Ok(()) => {}
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }
}
