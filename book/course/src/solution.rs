//! The chapter's answer, after a question.

use std::{
    io::{BufRead, Write},
    time::Duration,
};

use anyhow::{Context, Result};
use similar::{ChangeTag, TextDiff};
use syllabus::verdict::Pair;

use crate::{
    build::{self, Built},
    course::{Chosen, Course},
    files, manifests,
    run::{self, Ending, Limits},
    start,
    starter::{self, Target},
    table, text,
};

/// Shows the chapter's answer and the way to it from the reader's.
///
/// # Errors
/// When there is no such exercise, or a file cannot be read.
pub(crate) fn solution(course: &Course, name: Option<&str>, yes: bool) -> Result<()> {
    let chosen = course.choose(name)?;
    if !yes && !is_sure(chosen)? {
        anstream::println!(
            "then not; {}",
            text::command(&format!("cargo course hint {}", chosen.id()))
        );
        return Ok(());
    }
    match &chosen.exercise.body {
        Some(body) => function(course, chosen, body),
        None => numbers(course, chosen),
    }
}

fn is_sure(chosen: Chosen) -> Result<bool> {
    anstream::print!(
        "Show the solution of {}? A hint may be enough. [y/N] ",
        chosen.id()
    );
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

fn function(course: &Course, chosen: Chosen, body: &str) -> Result<()> {
    let target = Target::of(body, &chosen.chapter.path);
    let item = |text: &str| {
        let function = starter::find(text, &target.name)?;
        Ok::<_, anyhow::Error>(text[function.whole].to_owned())
    };
    let reference = item(&files::read(&chosen.chapter.path.join(&target.file))?)?;
    anstream::println!("{}\n\n{reference}\n", text::bold(&chosen.id()));
    let file = course.mine(chosen.chapter).join(&target.file);
    let mine = files::read(&file).and_then(|text| item(&text));
    match mine {
        Ok(mine) if mine == reference => {
            anstream::println!("yours is the same, letter for letter");
        }
        Ok(mine) => {
            anstream::println!("{}", text::bold("from yours (-) to the chapter's (+)"));
            for change in TextDiff::from_lines(&mine, &reference).iter_all_changes() {
                let line = change.to_string_lossy();
                let line = line.trim_end_matches('\n');
                match change.tag() {
                    ChangeTag::Equal => anstream::println!("  {line}"),
                    ChangeTag::Delete => {
                        anstream::println!("{}", text::wrong(&format!("- {line}")));
                    }
                    ChangeTag::Insert => {
                        anstream::println!("{}", text::right(&format!("+ {line}")));
                    }
                }
            }
        }
        Err(why) => anstream::println!("yours cannot be compared: {why:#}"),
    }
    Ok(())
}

fn numbers(course: &Course, chosen: Chosen) -> Result<()> {
    course.needs(chosen.chapter)?;
    start::workspace(course)?;
    anstream::println!("{}", text::bold(&chosen.id()));
    for pair in answers(course, chosen)? {
        table::show_pair(&pair);
    }
    Ok(())
}

/// What belongs in the blanks of a sheet.
///
/// # Errors
/// When the chapter's program cannot be built or run.
pub(crate) fn answers(course: &Course, chosen: Chosen) -> Result<Vec<Pair>> {
    let program = manifests::oracle_name(chosen.chapter);
    let Built::Program(program) = build::build(course, &program)? else {
        anyhow::bail!(
            "the book's own chapter does not compile: cargo test -p {}",
            chosen.chapter.name
        )
    };
    let limits = Limits { patience: Duration::from_mins(1), stop: &|| false };
    let arguments = ["answers", &chosen.exercise.name];
    let (heard, ending) = run::run(&program, &arguments, &course.my, &limits)?;
    match (ending, heard.verdicts.first()) {
        (Ending::Well, Some(line)) => {
            serde_json::from_str(line).context("the answers cannot be read")
        }
        (Ending::Failed(why), _) => anyhow::bail!("{why}"),
        (ending, _) => anyhow::bail!("no answers came: {ending:?}"),
    }
}
