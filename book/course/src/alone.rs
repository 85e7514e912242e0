//! Whose fault a wrong answer is. A function that is right gives a wrong answer where it
//! calls one that is not, so it is judged once more with the chapter's in their place.

use std::{fs, path::Path, time::Duration};

use anyhow::Result;
use syllabus::{
    Chapter, Kind,
    verdict::{Finding, Verdict},
};

use crate::{
    build::{self, Built},
    course::{Chosen, Course},
    files,
    manifests::check_name,
    place,
    run::{self, Ending, Limits},
    start,
    starter::{self, Target},
    tell::Printed,
};

/// The chapter's functions take no longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whose fault a wrong answer is.
pub(crate) enum Fault {
    /// All that it calls is right.
    Own,
    /// It is right with the chapter's functions in the place of these exercises'.
    OthersAlone(Vec<String>),
    /// It is wrong with them, too, in this way.
    Both(Vec<String>, Box<(Verdict, Printed)>),
    /// It calls functions of these exercises, which are wrong, and cannot be judged alone.
    Unknown(Vec<String>),
}

/// Finds out whose fault a verdict is.
///
/// # Errors
/// When a program cannot be run.
pub(crate) fn fault(
    course: &Course,
    chosen: Chosen,
    verdict: &Verdict,
    stop: &dyn Fn() -> bool,
) -> Result<Fault> {
    let is_wrong =
        matches!(verdict.finding, Finding::Mistaken { .. } | Finding::Wrong { .. });
    if !is_wrong || chosen.exercise.kind != Kind::Implement {
        return Ok(Fault::Own);
    }
    let called = called(course, chosen);
    let others = wrong_ones(course, chosen, &called, stop)?;
    if others.is_empty() {
        return Ok(Fault::Own);
    }
    Ok(match judged_alone(course, chosen, stop)? {
        Some((verdict, _)) if verdict.passed() => Fault::OthersAlone(others),
        Some(own) => Fault::Both(others, Box::new(own)),
        None => Fault::Unknown(others),
    })
}

/// The chapter's other exercises whose functions this one calls, perhaps through others.
fn called<'a>(course: &Course, chosen: Chosen<'a>) -> Vec<Chosen<'a>> {
    let Chosen { chapter, exercise } = chosen;
    let text = sources(&course.mine(chapter));
    let Some(body) = &exercise.body else { return Vec::new() };
    let reached = starter::names_reached(&text, &Target::of(body, &chapter.path).name);
    let others = chapter.exercises.iter().filter(|other| {
        let target = other.body.as_ref().map(|body| Target::of(body, &chapter.path));
        other.name != exercise.name
            && target.is_some_and(|target| reached.contains(target.short()))
    });
    others.map(|exercise| Chosen { chapter, exercise }).collect()
}

/// All of the reader's sources in one text. A file that cannot be parsed is left out.
fn sources(krate: &Path) -> String {
    let paths = files::below(&krate.join("src")).unwrap_or_default();
    let is_rust =
        |path: &&std::path::PathBuf| path.extension().is_some_and(|e| e == "rs");
    let texts = paths.iter().filter(is_rust).filter_map(|path| {
        let text = files::read(&krate.join("src").join(path)).ok()?;
        // Inner docs may stand at the beginning of a file only.
        let code = text.lines().filter(|line| !line.starts_with("//!"));
        let text = code.collect::<Vec<_>>().join("\n");
        starter::functions(&text).is_ok().then_some(text)
    });
    texts.collect::<Vec<_>>().join("\n")
}

/// Those of some exercises that are not right.
fn wrong_ones(
    course: &Course,
    chosen: Chosen,
    others: &[Chosen],
    stop: &dyn Fn() -> bool,
) -> Result<Vec<String>> {
    if others.is_empty() {
        return Ok(Vec::new());
    }
    let Built::Program(program) =
        build::build(course, &check_name(course, chosen.chapter))?
    else {
        return Ok(Vec::new());
    };
    let names: Vec<&str> = others.iter().map(|other| &*other.exercise.name).collect();
    let limits = Limits { patience: PATIENCE, stop };
    let (heard, _) = run::run(&program, &names, &course.my, &limits)?;
    let verdicts =
        heard.verdicts.iter().filter_map(|line| serde_json::from_str(line).ok());
    let right: Vec<String> = verdicts
        .filter(Verdict::passed)
        .map(|verdict: Verdict| verdict.exercise)
        .collect();
    let wrong = others.iter().filter(|other| !right.contains(&other.exercise.name));
    Ok(wrong.map(Chosen::id).collect())
}

/// Whether a check stopped at another exercise's function, still to be written, that this
/// exercise's own does not call.
pub(crate) fn waits_in_vain(
    course: &Course,
    chosen: Chosen,
    verdict: &Verdict,
) -> bool {
    let Finding::Unwritten { place, .. } = &verdict.finding else { return false };
    let Chosen { chapter, exercise } = chosen;
    let targets = chapter.exercises.iter().filter_map(|other| {
        Some((&other.name, Target::of(other.body.as_ref()?, &chapter.path)))
    });
    let mut waited_for = targets.filter(|(_, target)| target.name == place.file);
    waited_for.next().is_some_and(|(name, _)| {
        *name != exercise.name
            && !called(course, chosen).iter().any(|other| other.exercise.name == *name)
    })
}

/// The verdict on one function in a copy of the reader's crate in which all others are the
/// chapter's; nothing where that does not compile.
///
/// # Errors
/// When the copy cannot be made, or a program cannot be run.
pub(crate) fn judged_alone(
    course: &Course,
    chosen: Chosen,
    stop: &dyn Fn() -> bool,
) -> Result<Option<(Verdict, Printed)>> {
    let Chosen { chapter, exercise } = chosen;
    let alone = Course {
        root: course.root.clone(),
        my: course.own().join("alone"),
        chapters: vec![chapter.clone()],
        label: "alone",
    };
    start::copy(course, &alone, chapter)?;
    replace_others(&alone.mine(chapter), chapter, &exercise.name)?;
    let Built::Program(program) = build::build(&alone, &check_name(&alone, chapter))?
    else {
        return Ok(None);
    };
    let limits = Limits { patience: PATIENCE, stop };
    let (heard, ending) = run::run(&program, &[&exercise.name], &alone.my, &limits)?;
    if ending != Ending::Well {
        return Ok(None);
    }
    let verdict =
        heard.verdicts.first().and_then(|line| serde_json::from_str(line).ok());
    let more = !heard.lines.is_empty();
    Ok(verdict.map(|verdict| {
        let verdict = place::where_it_stopped(&alone, chosen, verdict);
        let verdict = place::in_the_original(&alone, course, chosen, verdict);
        (verdict, Printed { shown: heard.shown, more })
    }))
}

/// Puts the chapter's functions in the place of all exercises' but one's.
fn replace_others(krate: &Path, chapter: &Chapter, kept: &str) -> Result<()> {
    for exercise in chapter.exercises.iter().filter(|exercise| exercise.name != kept) {
        let Some(body) = &exercise.body else { continue };
        let target = Target::of(body, &chapter.path);
        let file = krate.join(&target.file);
        let (text, reference) =
            (files::read(&file)?, files::read(&chapter.path.join(&target.file))?);
        let function = starter::find(&reference, &target.name)?;
        let body = &reference[function.body];
        let text = starter::restored(&text, &reference, &target.name, body)?;
        fs::write(&file, text)?;
    }
    Ok(())
}
