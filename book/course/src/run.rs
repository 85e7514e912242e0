//! Runs a chapter's program, and keeps what it tells apart from what the reader's code
//! prints.

use std::{
    io::{BufRead, BufReader, PipeReader, pipe},
    path::Path,
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use syllabus::verdict::{BEGIN, CASE, END, FAILED, MARK};

/// Lines of the reader's that are kept.
const LINES: usize = 200;

/// How a program came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// By itself.
    Well,
    /// It was told to be an error by the program itself.
    Failed(String),
    /// It was stopped: it ran for longer than this.
    Endless(Duration),
    /// It was stopped: there is something newer to check.
    Interrupted,
    /// It ended before it had said anything, with this code.
    Exited(i32),
    /// So much memory was asked for that there was none; the number of bytes, if known.
    OutOfMemory(Option<String>),
    /// A function called itself too often.
    StackOverflow,
    /// The operating system ended it, in its words.
    Killed(String),
}

/// What a program said.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// Its verdicts, each a line of JSON.
    pub verdicts: Vec<String>,
    /// What the reader's code printed for the case that is shown.
    pub shown: Vec<String>,
    /// Everything else.
    pub lines: Vec<String>,
    /// The case that it came to last, as JSON, where it tells of them.
    pub case: Option<String>,
    failed: Option<String>,
}

/// How long a program may take, and what may stop it before.
pub(crate) struct Limits<'a> {
    pub patience: Duration,
    pub stop: &'a dyn Fn() -> bool,
}

/// Runs a program in a folder.
///
/// # Errors
/// When it cannot be run.
pub(crate) fn run(
    program: &Path,
    arguments: &[&str],
    folder: &Path,
    limits: &Limits,
) -> Result<(Heard, Ending)> {
    let about = || format!("cannot run {}", program.display());
    // One pipe for both, so that lines come in the order in which they are written.
    let (reader, writer) = pipe().with_context(about)?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(folder)
        .env_remove("RUST_BACKTRACE")
        .stdin(Stdio::null())
        .stdout(writer.try_clone().with_context(about)?)
        .stderr(writer);
    let mut child = command.spawn().with_context(about)?;
    // It holds the other end of the pipe.
    drop(command);
    let heard = thread::spawn(move || hear(reader));
    let started = Instant::now();
    let stopped = loop {
        if let Some(status) = child.try_wait().with_context(about)? {
            break Ok(status);
        }
        let ending = if (limits.stop)() {
            Ending::Interrupted
        } else if started.elapsed() > limits.patience {
            Ending::Endless(limits.patience)
        } else {
            thread::sleep(Duration::from_millis(10));
            continue;
        };
        child.kill().and_then(|()| child.wait()).with_context(about)?;
        break Err(ending);
    };
    let Ok(heard) = heard.join() else { bail!("{}", about()) };
    let heard = heard.with_context(about)?;
    let ending = stopped.map_or_else(|ending| ending, |status| ending(status, &heard));
    Ok((heard, ending))
}

fn ending(status: ExitStatus, heard: &Heard) -> Ending {
    let said = |words: &str| {
        heard.lines.iter().rev().take(8).find(|line| line.contains(words))
    };
    if let Some(why) = &heard.failed {
        Ending::Failed(why.clone())
    } else if let Some(line) = said("memory allocation of ") {
        let bytes = line.split_whitespace().find(|word| word.parse::<u128>().is_ok());
        Ending::OutOfMemory(bytes.map(str::to_owned))
    } else if said("has overflowed its stack").is_some() {
        Ending::StackOverflow
    } else if status.success() && !heard.verdicts.is_empty() {
        Ending::Well
    } else {
        status.code().map_or_else(|| Ending::Killed(status.to_string()), Ending::Exited)
    }
}

fn hear(reader: PipeReader) -> std::io::Result<Heard> {
    let mut heard = Heard::default();
    let mut is_shown = false;
    for line in BufReader::new(reader).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).trim_end().to_owned();
        if line == BEGIN {
            is_shown = true;
        } else if line == END {
            is_shown = false;
        } else if let Some(verdict) = line.strip_prefix(MARK) {
            heard.verdicts.push(verdict.to_owned());
        } else if let Some(case) = line.strip_prefix(CASE) {
            heard.case = Some(case.to_owned());
        } else if let Some(why) = line.strip_prefix(FAILED) {
            let failed =
                heard.failed.take().map_or(String::new(), |before| before + "\n");
            heard.failed = Some(failed + why);
        } else if is_shown {
            heard.shown.push(line);
            heard.shown.truncate(LINES);
        } else if !line.is_empty() {
            if heard.lines.len() == LINES {
                heard.lines.remove(0);
            }
            heard.lines.push(line);
        }
    }
    Ok(heard)
}

#[cfg(all(test, unix))]
mod tests {
    use std::{path::Path, time::Duration};

    use super::{Ending, Heard, Limits, run};

    fn shell(script: &str, stop: &dyn Fn() -> bool) -> (Heard, Ending) {
        let limits = Limits { patience: Duration::from_millis(500), stop };
        run(Path::new("/bin/sh"), &["-c", script], Path::new("/"), &limits).unwrap()
    }

    #[test]
    fn what_the_readers_code_prints_is_told_from_what_the_check_says() {
        let script = "printf 'before\\n\\n\\001begin\\none\\n'; echo two >&2; \
                      printf 'three\\n\\001end\\n\\n\\001verdict {}\\n'";
        let (heard, ending) = shell(script, &|| false);
        assert_eq!(
            (heard.shown.join(" "), ending),
            ("one two three".to_owned(), Ending::Well)
        );
        assert_eq!(
            (heard.verdicts, heard.lines),
            (vec!["{}".to_owned()], vec!["before".to_owned()])
        );
    }

    #[test]
    fn every_end_has_a_name() {
        let ending = |script: &str| shell(script, &|| false).1;
        assert_eq!(ending("exit 0"), Ending::Exited(0));
        assert_eq!(
            ending("printf '\\001failed no such thing\\n'; exit 1"),
            Ending::Failed("no such thing".to_owned())
        );
        let memory =
            ending("echo 'memory allocation of 800 bytes failed' >&2; kill -6 $$");
        assert_eq!(memory, Ending::OutOfMemory(Some("800".to_owned())));
        assert!(matches!(ending("kill -9 $$"), Ending::Killed(_)));
        assert_eq!(ending("exec sleep 9"), Ending::Endless(Duration::from_millis(500)));
        assert_eq!(shell("exec sleep 9", &|| true).1, Ending::Interrupted);
    }
}
