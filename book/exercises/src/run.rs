//! The two programs that `cargo course` builds for a chapter. Each writes lines of JSON.

use std::{env, fs, path::Path, process::ExitCode};

use anyhow::{Context, Result, bail};
use syllabus::{
    Chapter,
    verdict::{MARK, Pair},
};

use crate::{
    answer::{Answer, tables},
    judge::judge,
    outcome::Outcome,
    prove::prove,
    sheet::judge_sheet,
    task::{Exercises, Task},
};

/// Judges the reader's functions: the arguments are names of exercises.
#[must_use]
pub fn check(mine: &Exercises, oracle: &Exercises) -> ExitCode {
    told(env::args().skip(1).try_for_each(|name| {
        let verdict = judge(find(mine, &name)?, find(oracle, &name)?);
        // The reader's code may have left a line open.
        println!("\n{MARK}{}", serde_json::to_string(&verdict)?);
        Ok(())
    }))
}

/// What needs nothing of the reader's but a file: `sheet CHAPTER EXERCISE FILE` judges
/// one, `answers CHAPTER EXERCISE` tells what should be in it, `prove CHAPTER` proves the
/// exercises.
#[must_use]
pub fn oracle(oracle: &Exercises) -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    told(match arguments[..] {
        ["sheet", chapter, name, file] => sheet(oracle, chapter, name, file),
        ["answers", name] => answers(oracle, name),
        ["prove", chapter] => prove(chapter, oracle).map(|proof| print!("{proof}")),
        _ => Err(anyhow::anyhow!("unknown arguments: {arguments:?}")),
    })
}

fn told(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn sheet(oracle: &Exercises, chapter: &str, name: &str, file: &str) -> Result<()> {
    let chapter = Chapter::open(Path::new(chapter))?.context("no course.toml")?;
    let exercise =
        chapter.exercise(name).with_context(|| format!("no exercise {name}"))?;
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
    let verdict = judge_sheet(&text, &exercise.blank, find(oracle, name)?);
    println!("{MARK}{}", serde_json::to_string(&verdict)?);
    Ok(())
}

fn answers(oracle: &Exercises, name: &str) -> Result<()> {
    let Outcome::Gave(Answer(parts)) = find(oracle, name)?.answer(&[]) else {
        bail!("the chapter's answer panics")
    };
    let pairs = parts.iter().map(|(name, value)| {
        let [expected] = tables([value]).map(Some);
        Pair { name: name.clone(), expected, got: None, agrees: true }
    });
    println!("{}", serde_json::to_string(&pairs.collect::<Vec<_>>())?);
    Ok(())
}

fn find<'a>(exercises: &'a Exercises, name: &str) -> Result<&'a dyn Task> {
    exercises.find(name).with_context(|| format!("no exercise `{name}`"))
}
