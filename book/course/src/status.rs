//! Where the reader is, what there is, and the way between terminal and page.

use anyhow::Result;
use syllabus::Chapter;

use crate::{course::Course, progress::Progress, text};

const BAR: usize = 20;

/// A bar a chapter, and what is next.
///
/// # Errors
/// When the progress cannot be read.
pub(crate) fn where_am_i(course: &Course) -> Result<()> {
    let progress = course.progress()?;
    for chapter in &course.chapters {
        let done = done_in(chapter, &progress);
        let all = chapter.exercises.len();
        let filled = BAR * done / all.max(1);
        let bar =
            text::right(&"█".repeat(filled)) + &text::dim(&"░".repeat(BAR - filled));
        let note = if course.has_begun(chapter) {
            String::new()
        } else {
            text::dim("  not begun")
        };
        anstream::println!("{:<20} {bar} {done}/{all}{note}", chapter.folder);
    }
    match course.choose(None) {
        Ok(next) => {
            let id = next.id();
            anstream::println!(
                "\nnext: {}, {}: {}",
                text::bold(&id),
                next.exercise.kind,
                next.exercise.title
            );
            anstream::println!(
                "      read {}#{}",
                next.chapter.page(),
                next.exercise.section
            );
            let place = match &next.exercise.body {
                Some(body) => format!(
                    "`{body}` in {}/src",
                    course.told(&course.mine(next.chapter))
                ),
                None => course.told(&course.sheet(next)),
            };
            anstream::println!("      write {place}");
            anstream::println!("      then {}", text::command("cargo course check"));
        }
        Err(why) => anstream::println!("\n{why}"),
    }
    Ok(())
}

fn done_in(chapter: &Chapter, progress: &Progress) -> usize {
    chapter.exercises.iter().filter(|e| progress.is_done(&chapter.id(e))).count()
}

/// Every exercise in a line.
///
/// # Errors
/// When the progress cannot be read.
pub(crate) fn list(course: &Course) -> Result<()> {
    let progress = course.progress()?;
    for chapter in &course.chapters {
        anstream::println!("{}", text::bold(&chapter.folder));
        for exercise in &chapter.exercises {
            let id = chapter.id(exercise);
            let mark = if progress.is_done(&id) {
                text::right("✓")
            } else {
                text::dim("·")
            };
            let kind = exercise.kind;
            anstream::println!("  {mark} {id:<28} {kind:<12} {}", exercise.title);
        }
    }
    Ok(())
}

/// Gives the progress as a line, or takes one in.
///
/// # Errors
/// When the line is none, or the progress cannot be read or written.
pub(crate) fn exchange(course: &Course, line: Option<&str>) -> Result<()> {
    let mut progress = course.progress()?;
    if let Some(line) = line {
        let known: Vec<String> = course.all().map(|chosen| chosen.id()).collect();
        let new = progress.take(line, &known)?;
        progress.write(&course.own())?;
        match new.len() {
            0 => anstream::println!("nothing new"),
            n => anstream::println!("{n} taken over: {}", new.join(", ")),
        }
    }
    anstream::println!("{}", progress.line());
    Ok(())
}
