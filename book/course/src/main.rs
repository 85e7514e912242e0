//! `cargo course`: the book as a course. Makes a workspace of the reader's own from the
//! chapters' sources, checks what stands in it, and keeps count.

mod alone;
mod answers;
mod build;
mod check;
mod choice;
mod course;
mod files;
mod hint;
mod manifests;
mod page;
mod place;
mod progress;
mod prove;
mod quiz;
mod refusal;
mod run;
mod solution;
mod start;
mod starter;
mod status;
mod table;
mod tell;
mod text;
mod watch;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::course::Course;

/// Follow the book as a course. Without a command: where am I, and what is next?
#[derive(Parser)]
#[command(name = "cargo course", bin_name = "cargo course")]
struct Arguments {
    /// The folder that holds the book.
    #[arg(long, global = true, hide = true, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))]
    root: PathBuf,
    /// Your own folder, if it is not `my` in the book's.
    #[arg(long, global = true, hide = true)]
    my: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Make `my/`, where the chapters stand with the bodies of their exercises taken out.
    Start {
        /// Only this chapter, by name or number; otherwise all.
        chapter: Option<String>,
        /// Begin this chapter anew. What you have is kept as a backup.
        #[arg(long, value_name = "CHAPTER", conflicts_with = "chapter")]
        again: Option<String>,
        /// Say what would be done, and do nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// All exercises, and which are done.
    List,
    /// Check an exercise, a chapter, or what comes next.
    Check {
        /// `softmax`, `attention/softmax` or `attention`.
        exercise: Option<String>,
    },
    /// Check whenever you save.
    Watch {
        /// Only this one; otherwise what comes next.
        exercise: Option<String>,
    },
    /// A hint; a further one each time.
    Hint {
        /// Which exercise; otherwise what comes next.
        exercise: Option<String>,
    },
    /// The chapter's answer, and how yours differs.
    Solution {
        /// Which exercise; otherwise what comes next.
        exercise: Option<String>,
        /// Do not ask whether you are sure.
        #[arg(long)]
        yes: bool,
    },
    /// Take an exercise back to its starter. What you have is kept as a backup.
    Reset {
        /// Which exercise.
        exercise: String,
    },
    /// The questions of a chapter. What you miss is asked again later.
    Quiz {
        /// Which chapter; otherwise where you are.
        chapter: Option<String>,
    },
    /// Your progress as a line, to be pasted into the page, or taken from it.
    Progress {
        /// A line that the page gave.
        line: Option<String>,
    },
    /// For authors: prove that every exercise does what it promises.
    Prove {
        /// Only this chapter.
        chapter: Option<String>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(code) => code,
        Err(error) => {
            anstream::eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<ExitCode> {
    let course = Course::open(&arguments.root, arguments.my.as_deref())?;
    let done = |()| ExitCode::SUCCESS;
    match arguments.command {
        None => status::where_am_i(&course).map(done),
        Some(Command::Start { chapter, again, dry_run }) => {
            start::start(&course, chapter.as_deref(), again.as_deref(), dry_run)
                .map(done)
        }
        Some(Command::List) => status::list(&course).map(done),
        Some(Command::Check { exercise }) => check::check(&course, exercise.as_deref()),
        Some(Command::Watch { exercise }) => {
            watch::watch(&course, exercise.as_deref()).map(done)
        }
        Some(Command::Hint { exercise }) => {
            hint::hint(&course, exercise.as_deref()).map(done)
        }
        Some(Command::Solution { exercise, yes }) => {
            solution::solution(&course, exercise.as_deref(), yes).map(done)
        }
        Some(Command::Reset { exercise }) => start::reset(&course, &exercise).map(done),
        Some(Command::Quiz { chapter }) => {
            quiz::quiz(&course, chapter.as_deref()).map(done)
        }
        Some(Command::Progress { line }) => {
            status::exchange(&course, line.as_deref()).map(done)
        }
        Some(Command::Prove { chapter }) => prove::prove(&course, chapter.as_deref()),
    }
}
