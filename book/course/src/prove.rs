//! Proves every exercise the way a reader meets it: in a folder of its own.

use std::{process::ExitCode, time::Duration};

use anyhow::Result;
use syllabus::{
    Chapter, Kind,
    verdict::{Finding, Pair},
};

use crate::{
    answers,
    build::{self, Built},
    check::{self, Checked},
    course::{Chosen, Course},
    files, manifests,
    run::{self, Ending, Limits},
    solution, start,
    starter::Target,
};

/// A proof tries every mistake on every case.
const PATIENCE: Duration = Duration::from_mins(5);

/// Begins the chapters in a folder that goes away again, and proves their exercises:
/// starters compile and fail, the chapter's answers pass, mistakes fail and are named.
///
/// # Errors
/// When the proof cannot be made. What does not hold is printed.
pub(crate) fn prove(course: &Course, chapter: Option<&str>) -> Result<ExitCode> {
    let folder = tempfile::Builder::new().prefix("course-").tempdir()?;
    let chosen = chapter.map(|name| course.chapter(name)).transpose()?;
    let chapters: Vec<Chapter> = match chosen {
        Some(chapter) => vec![chapter.clone()],
        None => course.chapters.clone(),
    };
    let course = Course {
        root: course.root.clone(),
        my: folder.path().join("my"),
        chapters: chapters.clone(),
        label: "proof",
    };
    start::start(&course, None, None, false)?;
    let mut wrong = warnings(&course)?;
    let mut list = String::new();
    for chapter in &chapters {
        list += &told(&course, chapter, &mut wrong)?;
        for exercise in &chapter.exercises {
            let chosen = Chosen { chapter, exercise };
            wrong.extend(starter_fails(&course, chosen)?);
        }
    }
    for chapter in &chapters {
        answer_all(&course, chapter)?;
        for exercise in &chapter.exercises {
            let chosen = Chosen { chapter, exercise };
            wrong.extend(answer_passes(&course, chosen)?);
        }
    }
    print(&course, &list);
    for why in &wrong {
        anstream::println!("{why}");
    }
    let held = wrong.is_empty();
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(course: &Course, list: &str) {
    let count =
        |kind| course.all().filter(|chosen| chosen.exercise.kind == kind).count();
    let mistakes: usize =
        course.all().map(|chosen| chosen.exercise.mistake.len()).sum();
    let hints: usize = course.all().map(|chosen| chosen.exercise.hints.len()).sum();
    anstream::print!("\n{list}");
    anstream::println!(
        "{} chapters, {} exercises: {} by hand, {} to implement, {} to investigate; \
         {mistakes} mistakes, {hints} hints",
        course.chapters.len(),
        course.all().count(),
        count(Kind::ByHand),
        count(Kind::Implement),
        count(Kind::Investigate),
    );
}

/// What the compiler says of the starters, which should be nothing.
fn warnings(course: &Course) -> Result<Vec<String>> {
    let check = ["check", "--profile", "test", "--workspace", "--all-targets"];
    let (messages, _) = build::cargo(course, &check)?;
    let told = messages.into_iter();
    Ok(told.map(|message| format!("a starter: {}", message.rendered)).collect())
}

/// What the exercises prove of themselves, without the reader.
fn told(course: &Course, chapter: &Chapter, wrong: &mut Vec<String>) -> Result<String> {
    let name = manifests::oracle_name(chapter);
    let Built::Program(program) = build::build(course, &name)? else {
        anyhow::bail!("`{name}` does not compile")
    };
    let folder = chapter.path.to_string_lossy();
    let limits = Limits { patience: PATIENCE, stop: &|| false };
    let (heard, ending) = run::run(&program, &["prove", &folder], &course.my, &limits)?;
    match ending {
        Ending::Well => {
            return Ok(heard.verdicts.iter().map(|line| format!("{line}\n")).collect());
        }
        Ending::Failed(why) => wrong.push(why),
        other => anyhow::bail!("the proof of `{name}` ends badly: {other:?}"),
    }
    Ok(String::new())
}

fn starter_fails(course: &Course, chosen: Chosen) -> Result<Option<String>> {
    let expected = |finding: &Finding| match chosen.exercise.kind {
        Kind::Implement => matches!(finding, Finding::Unwritten { .. }),
        _ => matches!(finding, Finding::Blank { .. }),
    };
    Ok(match check::examine(course, chosen, &|| false)? {
        Checked::Judged(judged) if expected(&judged.0.finding) => None,
        Checked::Judged(judged) => {
            Some(format!("{}: the starter gives {:?}", chosen.id(), judged.0.finding))
        }
        _ => Some(format!("{}: the starter does not run", chosen.id())),
    })
}

fn answer_passes(course: &Course, chosen: Chosen) -> Result<Option<String>> {
    Ok(match check::examine(course, chosen, &|| false)? {
        Checked::Judged(judged) if judged.0.passed() => None,
        Checked::Judged(judged) => {
            Some(format!("{}: the answer gives {:?}", chosen.id(), judged.0.finding))
        }
        _ => Some(format!("{}: the answer does not run", chosen.id())),
    })
}

/// Puts the chapter's own functions and numbers where a reader's would be.
fn answer_all(course: &Course, chapter: &Chapter) -> Result<()> {
    for exercise in &chapter.exercises {
        let chosen = Chosen { chapter, exercise };
        if let Some(body) = &exercise.body {
            let file = Target::of(body, &chapter.path).file;
            let text = files::read(&chapter.path.join(&file))?;
            files::write(&course.mine(chapter).join(&file), &text)?;
        } else {
            let answers = solution::answers(course, chosen)?;
            let cell = |name: &str, row: usize, column: usize| {
                cell(&answers, name, row, column)
            };
            let sheet =
                answers::filled(&chosen.id(), exercise, |blank, row, column| {
                    cell(&blank.name, row, column).unwrap_or_default()
                });
            files::write(&course.sheet(chosen), &sheet)?;
        }
    }
    Ok(())
}

fn cell(answers: &[Pair], name: &str, row: usize, column: usize) -> Option<String> {
    let pair = answers.iter().find(|pair| pair.name == name)?;
    let table = pair.expected.as_ref()?;
    table.rows.get(row)?.get(column).cloned()
}
