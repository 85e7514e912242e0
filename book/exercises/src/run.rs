//! The two programs that `cargo course` builds for a chapter. Each writes lines of JSON.

use std::{
    env, fs,
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use syllabus::{
    Chapter,
    verdict::{BEGIN, CASE, END, FAILED, MARK, Pair, Shown},
};

use crate::{
    answer::{Answer, tables},
    judge::{given, judged},
    oracle::Oracle,
    outcome::Outcome,
    prove::prove,
    sheet::judge_sheet,
    task::{Exercises, Task},
};

/// Judges the reader's functions: the arguments are names of exercises. After `cases` and a
/// name, tells each case before it is answered, so that the one is known at which a program
/// ends or does not.
#[must_use]
pub fn check(mine: &Exercises, oracle: &Exercises) -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    told(match &arguments[..] {
        [word, name] if word == "cases" => tell_cases(mine, oracle, name),
        names => names.iter().try_for_each(|name| tell_verdict(mine, oracle, name)),
    })
}

fn tell_verdict(mine: &Exercises, oracle: &Exercises, name: &str) -> Result<()> {
    let mine = find(mine, name)?;
    let (verdict, shown) = judged(mine, find(oracle, name)?);
    if let Some(case) = shown {
        // What the reader's code prints for the case that is shown stands in between.
        mark(BEGIN)?;
        mine.answer(&case);
        mark(END)?;
    }
    mark(&format!("{MARK}{}", serde_json::to_string(&verdict)?))
}

fn tell_cases(mine: &Exercises, oracle: &Exercises, name: &str) -> Result<()> {
    let (mine, oracle) = (find(mine, name)?, find(oracle, name)?);
    for case in Oracle::of(oracle).cases {
        let given: Vec<Shown> = given(oracle, &case);
        mark(&format!("{CASE}{}", serde_json::to_string(&given)?))?;
        mine.answer(&case);
    }
    Ok(())
}

/// A line of its own: the reader's code may have left one open.
fn mark(line: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "\n{line}")?;
    Ok(out.flush()?)
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
        ["prove", chapter] => prove(chapter, oracle).and_then(|proof| {
            let proof = proof.to_string();
            proof.lines().try_for_each(|line| mark(&format!("{MARK}{line}")))
        }),
        _ => Err(anyhow::anyhow!("unknown arguments: {arguments:?}")),
    })
}

fn told(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let why = format!("{error:#}");
            let told =
                why.lines().try_for_each(|line| mark(&format!("{FAILED}{line}")));
            if told.is_err() {
                eprintln!("{why}");
            }
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
    mark(&format!("{MARK}{}", serde_json::to_string(&verdict)?))
}

fn answers(oracle: &Exercises, name: &str) -> Result<()> {
    let Outcome::Gave(Answer(parts)) = find(oracle, name)?.answer(&[]) else {
        bail!("the chapter's answer panics")
    };
    let pairs = parts.iter().map(|(name, value)| {
        let [expected] = tables([value]).map(Some);
        Pair { name: name.clone(), expected, got: None, agrees: true }
    });
    mark(&format!("{MARK}{}", serde_json::to_string(&pairs.collect::<Vec<_>>())?))
}

fn find<'a>(exercises: &'a Exercises, name: &str) -> Result<&'a dyn Task> {
    exercises.find(name).with_context(|| format!("no exercise `{name}`"))
}
