//! Checks exercises, and says what came of it.

use std::{path::Path, process::ExitCode};

use anyhow::{Context, Result};
use syllabus::{
    Chapter, Kind,
    verdict::{Example, Finding, MARK, Place, Verdict},
};

use crate::{
    answers,
    build::{self, Built, Message, Ran},
    course::{Chosen, Course},
    files,
    manifests::{check_name, oracle_name},
    progress::Progress,
    start,
    starter::{self, Target},
    tell,
};

/// What came of checking one exercise.
pub(crate) enum Checked {
    /// It was compared with the chapter's.
    Judged(Verdict),
    /// It does not compile.
    Refused(Vec<Message>),
    /// It does not end.
    Endless,
}

/// Checks one exercise, or all of a chapter.
///
/// # Errors
/// When there is no such exercise, or the check itself fails.
pub(crate) fn check(course: &Course, name: Option<&str>) -> Result<ExitCode> {
    let chosen = match name.map(|name| course.chapter(name)) {
        Some(Ok(chapter)) => {
            let all = chapter.exercises.iter();
            all.map(|exercise| Chosen { chapter, exercise }).collect()
        }
        _ => vec![course.choose(name)?],
    };
    let whole_chapter = chosen.len() > 1;
    let mut passed = 0;
    for one in &chosen {
        let checked = match at_a_glance(course, *one)? {
            Some(finding) => {
                let exercise = one.exercise.name.clone();
                Checked::Judged(Verdict { exercise, finding })
            }
            None => examine(course, *one)?,
        };
        let right = matches!(&checked, Checked::Judged(verdict) if verdict.passed());
        passed += usize::from(right);
        record(course, *one, right)?;
        match checked {
            Checked::Refused(messages) => {
                tell_refusal(course, *one, &messages);
                // The rest of the chapter is the same crate.
                break;
            }
            Checked::Endless => tell::endless(*one),
            Checked::Judged(verdict) if whole_chapter => {
                tell::in_a_line(*one, &verdict);
            }
            Checked::Judged(verdict) => tell::verdict(course, *one, &verdict)?,
        }
    }
    if whole_chapter {
        anstream::println!("{passed} of {} pass", chosen.len());
    }
    let all = passed == chosen.len();
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What can be seen without building anything: blanks, and, while the chapter was never
/// built, a function that is as it began.
fn at_a_glance(course: &Course, chosen: Chosen) -> Result<Option<Finding>> {
    let Chosen { chapter, exercise } = chosen;
    course.needs(chapter)?;
    let Some(body) = &exercise.body else {
        let blanks = match files::read(&course.sheet(chosen)) {
            Ok(text) => answers::left_blank(&text, exercise),
            Err(_) => Vec::new(),
        };
        return Ok((!blanks.is_empty()).then_some(Finding::Blank { blanks }));
    };
    let target = Target::of(body, &chapter.path);
    let text = files::read(&course.mine(chapter).join(&target.file))?;
    if build::was_built(course, &check_name(chapter))
        || !starter::is_unwritten(&text, &target.name)
    {
        return Ok(None);
    }
    let place = Place { file: target.name, line: 0 };
    let (given, steps, answers) = (Vec::new(), Vec::new(), Vec::new());
    Ok(Some(Finding::Unwritten { place, example: Example { given, steps, answers } }))
}

/// Builds what an exercise needs, and runs it.
///
/// # Errors
/// When the check itself fails.
pub(crate) fn examine(course: &Course, chosen: Chosen) -> Result<Checked> {
    let Chosen { chapter, exercise } = chosen;
    course.needs(chapter)?;
    start::workspace(course)?;
    let functions = exercise.kind == Kind::Implement;
    let program = if functions { check_name(chapter) } else { oracle_name(chapter) };
    tell::patience(course, chapter, functions);
    let program = match build::build(course, &program)? {
        Built::Program(program) => program,
        Built::Refused(messages) => return Ok(Checked::Refused(messages)),
    };
    let folder = chapter.path.to_string_lossy();
    let sheet = course.sheet(chosen);
    let file = sheet.to_string_lossy();
    let ran = if functions {
        build::run(&program, &[&exercise.name])?
    } else {
        build::run(&program, &["sheet", &folder, &exercise.name, &file])?
    };
    let Ran::Printed(text) = ran else { return Ok(Checked::Endless) };
    let (verdicts, printed): (Vec<&str>, Vec<&str>) =
        text.lines().partition(|line| line.starts_with(MARK));
    tell::printed(&printed);
    let verdict = verdicts.first().and_then(|line| line.strip_prefix(MARK));
    let verdict = serde_json::from_str(verdict.context("the check said nothing")?)?;
    Ok(Checked::Judged(named_where_it_stopped(course, chapter, verdict)))
}

fn record(course: &Course, chosen: Chosen, right: bool) -> Result<()> {
    let mut progress = Progress::read(course)?;
    let before = (progress.chapter.clone(), progress.done.len());
    progress.chapter = Some(chosen.chapter.name.clone());
    if right {
        progress.done.insert(chosen.id());
    }
    if before != (progress.chapter.clone(), progress.done.len()) {
        progress.write(course)?;
    }
    Ok(())
}

/// Puts the function in which a program stopped in the place of the file's name.
fn named_where_it_stopped(
    course: &Course,
    chapter: &Chapter,
    mut verdict: Verdict,
) -> Verdict {
    if let Finding::Unwritten { place, .. } | Finding::Panicked { place, .. } =
        &mut verdict.finding
        && let Some(function) =
            function_at(course, chapter, &place.file, place.line as usize)
    {
        place.file = function;
    }
    verdict
}

/// The function of the reader's crate that stands at a line of a file.
fn function_at(
    course: &Course,
    chapter: &Chapter,
    file: &str,
    line: usize,
) -> Option<String> {
    let path = course.my.join(file);
    if !path.starts_with(course.mine(chapter)) {
        return None;
    }
    let text = files::read(&path).ok()?;
    let at = |offset: usize| text[..offset].matches('\n').count() + 1;
    let mut found = starter::functions(&text).ok()?.into_iter().filter(|function| {
        (at(function.whole.start)..=at(function.whole.end)).contains(&line)
    });
    found.next_back().map(|function| function.name)
}

/// Passes the compiler's words on, with a line about whose they are.
fn tell_refusal(course: &Course, chosen: Chosen, messages: &[Message]) {
    let mut belongs = Vec::new();
    for message in messages {
        anstream::print!("{}", message.rendered);
        if let Some((file, line)) = &message.place
            && let Some(id) = exercise_at(course, chosen.chapter, file, *line)
            && !belongs.contains(&id)
        {
            belongs.push(id);
        }
    }
    let id = chosen.id();
    let whose = match &belongs[..] {
        [] => format!(
            "This is no exercise's own line, but {id} cannot be checked before it compiles."
        ),
        [one] if *one == id => format!("This belongs to {id}."),
        others => format!(
            "This belongs to {}. The chapter is one crate, so {id} cannot be checked before it compiles.",
            others.join(" and ")
        ),
    };
    anstream::println!("{}", tell::wrapped(&whose, 0));
}

/// The exercise whose function stands at a line, even where the file is not Rust.
fn exercise_at(
    course: &Course,
    chapter: &Chapter,
    file: &str,
    line: usize,
) -> Option<String> {
    let text = files::read(&course.my.join(file)).ok()?;
    let functions = chapter.exercises.iter().filter_map(|exercise| {
        let target = Target::of(exercise.body.as_ref()?, &chapter.path);
        let here = Path::new(&chapter.folder).join(&target.file);
        (here == Path::new(file)).then_some((exercise, target))
    });
    let functions: Vec<_> = functions.collect();
    if let Some(name) = function_at(course, chapter, file, line) {
        let found = functions.iter().find(|(_, target)| target.name == name);
        return found.map(|(exercise, _)| chapter.id(exercise));
    }
    // The nearest `fn name` above.
    let above: Vec<&str> = text.lines().take(line).collect();
    let nearest = above.iter().rev().find_map(|line| {
        let (_, rest) = line.split_once("fn ")?;
        Some(rest.split(['(', '<']).next()?.trim())
    })?;
    let found = functions.iter().find(|(_, target)| target.short() == nearest);
    found.map(|(exercise, _)| chapter.id(exercise))
}
