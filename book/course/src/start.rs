//! Begins chapters, and begins them again, without losing what a reader wrote.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use syllabus::{Chapter, Kind};

use crate::{
    answers,
    course::{Chosen, Course},
    files, manifests,
    starter::{self, Target},
    text,
};

/// Tests that hold the chapter to the book: to its pages, pictures and command line.
const NOT_FOR_READERS: [&str; 5] = ["course", "outputs", "figures", "command", "slips"];

/// Makes what is missing, and says what it makes.
///
/// # Errors
/// When there is no such chapter, or something cannot be written. What the reader has is
/// then where it was.
pub(crate) fn start(
    course: &Course,
    chapter: Option<&str>,
    again: Option<&str>,
    dry_run: bool,
) -> Result<()> {
    let chosen: Vec<&Chapter> = match chapter.or(again) {
        Some(name) => vec![course.chapter(name)?],
        None => course.chapters.iter().collect(),
    };
    let mut to_make = Vec::new();
    for chapter in chosen {
        let folder = course.told(&course.mine(chapter));
        match (course.has_begun(chapter), again) {
            (false, _) => {
                anstream::println!("{folder}: {}", what_it_holds(chapter));
                to_make.push(chapter);
            }
            (true, Some(_)) => {
                anstream::println!("{folder}: begun again; yours goes to a backup");
                to_make.push(chapter);
            }
            (true, None) => anstream::println!(
                "{folder}: is there and stays as it is (to begin again: cargo course \
                 start --again {})",
                chapter.name
            ),
        }
    }
    if dry_run {
        anstream::println!("nothing was done");
        return Ok(());
    }
    make(course, &to_make)?;
    if let Some(chapter) = to_make.first() {
        let mut progress = course.progress()?;
        progress.chapter = Some(chapter.name.clone());
        progress.write(&course.own())?;
        anstream::println!("\nnext: {}", text::command("cargo course"));
    }
    Ok(())
}

fn what_it_holds(chapter: &Chapter) -> String {
    let to_write =
        chapter.exercises.iter().filter(|e| e.kind == Kind::Implement).count();
    let sheets = chapter.exercises.len() - to_write;
    format!("{to_write} functions to write, {sheets} sheets to fill in")
}

/// Makes the chapters and, around them, the workspace.
fn make(course: &Course, chapters: &[&Chapter]) -> Result<()> {
    let own = course.own();
    fs::create_dir_all(&own)
        .with_context(|| format!("cannot write to {}", own.display()))?;
    sweep(&own)?;
    for chapter in chapters {
        let making = tempfile::Builder::new()
            .prefix("making-")
            .tempdir_in(&own)
            .with_context(|| format!("cannot write to {}", own.display()))?;
        let new = making.path().join(&chapter.folder);
        for (path, content) in starter_files(course, chapter)? {
            match content {
                Content::Text(text) => files::write(&new.join(path), &text)?,
                Content::CopyOf(from) => files::copy(&from, &new.join(path))?,
            }
        }
        put_in_place(course, chapter, &new)?;
    }
    workspace(course)
}

/// What an interrupted run left behind: never the reader's.
fn sweep(own: &Path) -> Result<()> {
    for entry in fs::read_dir(own)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("making-") {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Moves a finished chapter to where the reader expects it. What is there goes first, to
/// a backup; if the run stops in between, it is in the backup.
fn put_in_place(course: &Course, chapter: &Chapter, new: &Path) -> Result<()> {
    let place = course.mine(chapter);
    let moved = |from: &Path, to: &Path| {
        fs::rename(from, to).with_context(|| {
            format!("cannot move {} to {}", from.display(), to.display())
        })
    };
    if !place.exists() {
        return moved(new, &place);
    }
    let backup = course.backup(&chapter.name)?.join(&chapter.folder);
    moved(&place, &backup)?;
    anstream::println!("what you had is in {}", course.told(&backup));
    moved(new, &place).inspect_err(|_| {
        // The error that is told is the one that matters.
        let _ = fs::rename(&backup, &place);
    })
}

/// Writes what the course needs around the chapters that are there. A file that would
/// change is kept as a backup first.
///
/// # Errors
/// When something cannot be written.
pub(crate) fn workspace(course: &Course) -> Result<()> {
    let begun: Vec<&Chapter> =
        course.chapters.iter().filter(|chapter| course.has_begun(chapter)).collect();
    let mut backup: Option<PathBuf> = None;
    for (path, text) in manifests::workspace(course, &begun)? {
        let file = course.my.join(&path);
        if file.is_file() && files::read(&file)? == text {
            continue;
        }
        let is_readers_too = !path.starts_with(".course");
        if file.is_file() && is_readers_too {
            let folder = match backup.take() {
                Some(folder) => folder,
                None => course.backup("workspace")?,
            };
            files::copy(&file, &folder.join(&path))?;
            backup = Some(folder);
        }
        files::write(&file, &text)?;
    }
    let lock = course.my.join("Cargo.lock");
    if !lock.exists() {
        files::write(&lock, &files::read(&course.root.join("Cargo.lock"))?)?;
    }
    Ok(())
}

/// What goes into a file of a starter.
enum Content {
    Text(String),
    CopyOf(PathBuf),
}

/// The reader's crate, file by file.
fn starter_files(
    course: &Course,
    chapter: &Chapter,
) -> Result<Vec<(PathBuf, Content)>> {
    let krate = &chapter.path;
    let targets = targets(chapter);
    let mut made = Vec::new();
    let mut tests = Vec::new();
    for path in files::below(krate)? {
        let from = krate.join(&path);
        if path.starts_with("src") && path.extension().is_some_and(|e| e == "rs") {
            let mine = targets.iter().filter(|target| target.file == path);
            let text = without_bodies(&files::read(&from)?, mine)
                .with_context(|| from.display().to_string())?;
            made.push((path, Content::Text(text)));
        } else if path.starts_with("src") || is_data(&path) {
            made.push((path, Content::CopyOf(from)));
        } else if is_a_test(&path) {
            let text = for_readers(&files::read(&from)?);
            tests.push(text.clone());
            made.push((path, Content::Text(text)));
        }
    }
    for target in &targets {
        if !made.iter().any(|(path, _)| *path == target.file) {
            bail!("{} has no file {}", chapter.name, target.file.display());
        }
    }
    for exercise in chapter.exercises.iter().filter(|e| !e.blank.is_empty()) {
        let path = PathBuf::from(format!("answers/{}.toml", exercise.name));
        let sheet = answers::sheet(&chapter.id(exercise), exercise);
        made.push((path, Content::Text(sheet)));
    }
    let manifest = manifests::mine(course, chapter, &tests)?;
    made.push((PathBuf::from("Cargo.toml"), Content::Text(manifest)));
    Ok(made)
}

/// The functions that the exercises of a chapter ask for.
fn targets(chapter: &Chapter) -> Vec<Target> {
    let bodies = chapter.exercises.iter().filter_map(|exercise| exercise.body.as_ref());
    bodies.map(|body| Target::of(body, &chapter.path)).collect()
}

fn without_bodies<'a>(
    text: &str,
    targets: impl Iterator<Item = &'a Target>,
) -> Result<String> {
    let bodies = targets
        .map(|target| Ok((&*target.name, starter::empty_body(text, &target.name)?)))
        .collect::<Result<Vec<_>>>()?;
    starter::with_bodies(text, &bodies)
}

/// What sources and tests read: recorded times, reference tensors.
fn is_data(path: &Path) -> bool {
    let is = |wanted: &str| path.extension().is_some_and(|found| found == wanted);
    (path.starts_with("benches") && is("csv"))
        || (path.starts_with("tests") && !is("rs") && !is("snap") && !is("py"))
}

fn is_a_test(path: &Path) -> bool {
    let is_rust = path.extension().is_some_and(|extension| extension == "rs");
    let module = path.file_stem().unwrap_or_default();
    let kept = !NOT_FOR_READERS.iter().any(|other| *other == module);
    path.starts_with("tests") && is_rust && kept
}

/// A test file without the modules that readers do not get.
fn for_readers(test: &str) -> String {
    let is_left_out = |line: &&str| {
        NOT_FOR_READERS.iter().any(|module| {
            [format!("mod {module};"), format!("pub mod {module};")]
                .contains(&(*line).to_owned())
        })
    };
    test.lines()
        .filter(|line| !is_left_out(line))
        .map(|line| format!("{line}\n"))
        .collect()
}

/// Takes one exercise back to its starter.
///
/// # Errors
/// When there is nothing to take back, or the reader's file cannot be parsed.
pub(crate) fn reset(course: &Course, name: &str) -> Result<()> {
    let chosen = course.choose(Some(name))?;
    course.needs(chosen.chapter)?;
    let (file, text, what) = as_it_began(course, chosen)?;
    let backup = if file.exists() {
        let kept = course.backup(&chosen.exercise.name)?;
        let kept = kept.join(file.file_name().unwrap_or_default());
        files::copy(&file, &kept)?;
        Some(kept)
    } else {
        None
    };
    files::write(&file, &text)?;
    anstream::println!("{}: {what}", chosen.id());
    if let Some(kept) = backup {
        anstream::println!("what you had is in {}", course.told(&kept));
    }
    let mut progress = course.progress()?;
    progress.done.remove(&chosen.id());
    progress.write(&course.own())
}

/// The reader's file with the exercise as it began and all else as it is, and what that is
/// in words.
fn as_it_began(course: &Course, chosen: Chosen) -> Result<(PathBuf, String, String)> {
    let Chosen { chapter, exercise } = chosen;
    let Some(body) = &exercise.body else {
        let text = answers::sheet(&chosen.id(), exercise);
        return Ok((course.sheet(chosen), text, "the sheet is blank again".to_owned()));
    };
    let target = Target::of(body, &chapter.path);
    let file = course.mine(chapter).join(&target.file);
    let reference = files::read(&chapter.path.join(&target.file))?;
    if !file.exists() {
        let targets = targets(chapter);
        let mine = targets.iter().filter(|other| other.file == target.file);
        let text = without_bodies(&reference, mine)?;
        let what = format!("{} was gone; all of it is as it began", course.told(&file));
        return Ok((file, text, what));
    }
    let empty = starter::empty_body(&reference, &target.name)?;
    let text = course.text(chosen, &target.file)?;
    let text = starter::restored(&text, &reference, &target.name, &empty)
        .with_context(|| {
            format!(
                "{} cannot be taken apart (to begin the chapter again, with a backup: \
             cargo course start --again {})",
                course.told(&file),
                chapter.name
            )
        })?;
    let what = format!(
        "`{}` is back to its starter, signature and all; the rest of {} is as it was",
        target.name,
        course.told(&file)
    );
    Ok((file, text, what))
}

/// Copies the reader's crate of a chapter to another workspace, and makes that around it.
///
/// # Errors
/// When something cannot be written.
pub(crate) fn copy(from: &Course, to: &Course, chapter: &Chapter) -> Result<()> {
    let (mine, copy) = (from.mine(chapter), to.mine(chapter));
    for part in ["src", "benches", "tests"] {
        for path in files::below(&mine.join(part))? {
            files::copy(&mine.join(part).join(&path), &copy.join(part).join(&path))?;
        }
    }
    let [own, other] = [from, to].map(|course| manifests::my_name(course, chapter));
    let manifest = files::read(&mine.join("Cargo.toml"))?;
    let manifest =
        manifest.replace(&format!("name = \"{own}\""), &format!("name = \"{other}\""));
    files::write(&copy.join("Cargo.toml"), &manifest)?;
    workspace(to)
}
