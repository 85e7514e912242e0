//! Checks exercises, and says what came of it.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use std::time::Duration;
use syllabus::{
    Kind,
    verdict::{Example, Finding, Place, Shown, Verdict},
};

use crate::{
    alone::{self, Fault},
    answers,
    build::{self, Built, Message},
    course::{Chosen, Course},
    manifests::{check_name, oracle_name},
    place, refusal,
    run::{self, Ending, Heard, Limits},
    start,
    starter::{self, Target},
    tell::{self, Printed},
};

/// A check that runs longer does not end.
const PATIENCE: Duration = Duration::from_secs(30);

/// What came of checking one exercise.
pub(crate) enum Checked {
    /// It was compared with the chapter's.
    Judged(Box<(Verdict, Printed)>),
    /// It does not compile.
    Refused(Vec<Message>),
    /// The program came to no verdict; the case at which it stopped, if it is known.
    Stopped(Ending, Option<Vec<Shown>>),
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
    let all = check_all(course, &chosen, &|| false)?;
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Checks some exercises, and says whether all are right. `stop` ends a check that is
/// running.
///
/// # Errors
/// When the check itself fails.
pub(crate) fn check_all(
    course: &Course,
    chosen: &[Chosen],
    stop: &dyn Fn() -> bool,
) -> Result<bool> {
    let whole_chapter = chosen.len() > 1;
    let mut passed = 0;
    for one in chosen {
        let checked = match at_a_glance(course, *one)? {
            Some(finding) => {
                let exercise = one.exercise.name.clone();
                Checked::Judged(Box::new((
                    Verdict { exercise, finding },
                    Printed::default(),
                )))
            }
            None => examine(course, *one, stop)?,
        };
        let checked = past_what_it_does_not_call(course, *one, checked, stop)?;
        let right = matches!(&checked, Checked::Judged(judged) if judged.0.passed());
        passed += usize::from(right);
        record(course, *one, right)?;
        match checked {
            Checked::Refused(messages) => {
                refusal::tell(course, *one, &messages);
                // The rest of the chapter is the same crate.
                break;
            }
            Checked::Stopped(Ending::Interrupted, _) => break,
            Checked::Stopped(ending, case) => {
                tell::stopped(*one, &ending, case.as_deref());
            }
            Checked::Judged(judged) if whole_chapter => {
                tell::in_a_line(*one, &judged.0);
            }
            Checked::Judged(judged) => tell_whose(course, *one, &judged, stop)?,
        }
    }
    if whole_chapter {
        anstream::println!("{passed} of {} pass", chosen.len());
    }
    Ok(passed == chosen.len())
}

/// A check may call a function that is still to be written and that this exercise's own
/// does not call: then it is judged with the chapter's in its place.
fn past_what_it_does_not_call(
    course: &Course,
    chosen: Chosen,
    checked: Checked,
    stop: &dyn Fn() -> bool,
) -> Result<Checked> {
    if let Checked::Judged(judged) = &checked
        && alone::waits_in_vain(course, chosen, &judged.0)
        && let Some(alone) = alone::judged_alone(course, chosen, stop)?
    {
        return Ok(Checked::Judged(Box::new(alone)));
    }
    Ok(checked)
}

/// A wrong answer may come from another exercise's function: then that is said, and what
/// is told of this one is told with the chapter's own in its place.
fn tell_whose(
    course: &Course,
    chosen: Chosen,
    judged: &(Verdict, Printed),
    stop: &dyn Fn() -> bool,
) -> Result<()> {
    let (verdict, printed) = judged;
    match alone::fault(course, chosen, verdict, stop)? {
        Fault::Own => tell::verdict(course, chosen, verdict, printed),
        Fault::OthersAlone(others) => {
            tell::fault_of_others(chosen, &others);
            Ok(())
        }
        Fault::Both(others, own) => {
            tell::fault_of_others_too(chosen, &others);
            let (verdict, printed) = *own;
            tell::verdict(course, chosen, &verdict, &printed)
        }
        Fault::Unknown(others) => {
            tell::others_are_wrong(chosen, &others);
            tell::verdict(course, chosen, verdict, printed)
        }
    }
}

/// What can be seen without building anything: blanks, and, while the chapter was never
/// built, a function that is as it began.
fn at_a_glance(course: &Course, chosen: Chosen) -> Result<Option<Finding>> {
    let Chosen { chapter, exercise } = chosen;
    course.needs(chapter)?;
    let Some(body) = &exercise.body else {
        let sheet = course.sheet(chosen);
        let file = sheet.strip_prefix(course.mine(chapter))?;
        let blanks = answers::left_blank(&course.text(chosen, file)?, exercise);
        return Ok((!blanks.is_empty()).then_some(Finding::Blank { blanks }));
    };
    let target = Target::of(body, &chapter.path);
    let text = course.text(chosen, &target.file)?;
    if build::was_built(course, &check_name(course, chapter))
        || !starter::is_unwritten(&text, &target.name)
    {
        return Ok(None);
    }
    let place = Place { file: target.name, line: 0 };
    let example = Example {
        given: Vec::new(),
        steps: Vec::new(),
        answers: Vec::new(),
        stopped: None,
    };
    Ok(Some(Finding::Unwritten { place, example }))
}

/// Builds what an exercise needs, and runs it.
///
/// # Errors
/// When the check itself fails.
pub(crate) fn examine(
    course: &Course,
    chosen: Chosen,
    stop: &dyn Fn() -> bool,
) -> Result<Checked> {
    let Chosen { chapter, exercise } = chosen;
    course.needs(chapter)?;
    start::workspace(course)?;
    let functions = exercise.kind == Kind::Implement;
    let program =
        if functions { check_name(course, chapter) } else { oracle_name(chapter) };
    tell::patience(course, chapter, functions);
    let program = match build::build(course, &program)? {
        Built::Program(program) => program,
        Built::Refused(messages) => return Ok(Checked::Refused(messages)),
    };
    let folder = chapter.path.to_string_lossy();
    let sheet = course.sheet(chosen);
    let file = sheet.to_string_lossy();
    let arguments: &[&str] = if functions {
        &[&exercise.name]
    } else {
        &["sheet", &folder, &exercise.name, &file]
    };
    let limits = Limits { patience: PATIENCE, stop };
    let (heard, ending) = run::run(&program, arguments, &course.my, &limits)?;
    match ending {
        Ending::Well => {
            let (verdict, printed) = read(heard)?;
            let verdict = place::where_it_stopped(course, chosen, verdict);
            Ok(Checked::Judged(Box::new((verdict, printed))))
        }
        Ending::Failed(why) => bail!("{why}"),
        Ending::Interrupted => Ok(Checked::Stopped(ending, None)),
        _ => {
            // Once more, a case at a time, to see which it was.
            let arguments = ["cases", &exercise.name];
            let (heard, again) = run::run(&program, &arguments, &course.my, &limits)?;
            let case = heard.case.and_then(|case| serde_json::from_str(&case).ok());
            let same = again != Ending::Well && functions;
            Ok(Checked::Stopped(ending, case.filter(|_| same)))
        }
    }
}

/// The verdict of a program, and what the reader's code printed beside it.
///
/// # Errors
/// When it is none.
pub(crate) fn read(heard: Heard) -> Result<(Verdict, Printed)> {
    let verdict = heard.verdicts.first().context("the check said nothing")?;
    let more = !heard.lines.is_empty();
    Ok((serde_json::from_str(verdict)?, Printed { shown: heard.shown, more }))
}

fn record(course: &Course, chosen: Chosen, right: bool) -> Result<()> {
    let mut progress = course.progress()?;
    let before = (progress.chapter.clone(), progress.done.len());
    progress.chapter = Some(chosen.chapter.name.clone());
    if right {
        progress.done.insert(chosen.id());
    }
    if before != (progress.chapter.clone(), progress.done.len()) {
        progress.write(&course.own())?;
    }
    Ok(())
}
