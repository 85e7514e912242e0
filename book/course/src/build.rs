//! Builds and runs the programs of a chapter.

use std::{
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

use crate::course::Course;

/// A check that runs longer does not end.
const PATIENCE: Duration = Duration::from_mins(1);

/// What came of a build.
pub(crate) enum Built {
    /// The program.
    Program(PathBuf),
    /// What the compiler has to say.
    Refused(Vec<Message>),
}

/// What the compiler said of one thing.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    /// As rustc would have printed it.
    pub rendered: String,
    /// `error`, `warning`, …
    pub level: String,
    /// `unused_variables`, `E0308`, …
    pub code: String,
    /// The file and line that it is about.
    pub place: Option<(String, usize)>,
}

/// Lines of Cargo's JSON.
#[derive(Deserialize)]
struct Line {
    reason: String,
    message: Option<Value>,
    executable: Option<PathBuf>,
    target: Option<Value>,
}

/// Whether a program was ever built here.
pub(crate) fn was_built(course: &Course, name: &str) -> bool {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| course.root.join("target"));
    target
        .join("debug")
        .join(name)
        .with_extension(std::env::consts::EXE_EXTENSION)
        .exists()
}

/// Builds a package's program.
///
/// # Errors
/// When Cargo cannot be run, or fails for another reason than the reader's code.
pub(crate) fn build(course: &Course, package: &str) -> Result<Built> {
    let (mut messages, programs) = cargo(course, &["build", "--package", package])?;
    messages.retain(|message| message.level.starts_with("error"));
    if !messages.is_empty() {
        return Ok(Built::Refused(messages));
    }
    let program = programs.into_iter().find(|(name, _)| name == package);
    let (_, program) =
        program.with_context(|| format!("cargo built no `{package}`"))?;
    Ok(Built::Program(program))
}

/// Programs by name.
type Programs = Vec<(String, PathBuf)>;

/// Runs Cargo in the reader's workspace.
///
/// # Errors
/// When it cannot be run, or fails without a word about the code.
pub(crate) fn cargo(
    course: &Course,
    arguments: &[&str],
) -> Result<(Vec<Message>, Programs)> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(arguments)
        .arg("--quiet")
        .arg("--message-format=json-diagnostic-rendered-ansi")
        .current_dir(&course.my)
        .stdin(Stdio::null())
        .output()
        .context("cannot run cargo")?;
    let (mut messages, mut programs) = (Vec::new(), Vec::new());
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Ok(line) = serde_json::from_str::<Line>(line) else { continue };
        if line.reason == "compiler-message" {
            messages.extend(line.message.as_ref().and_then(message));
        } else if let Some(program) = line.executable {
            let name = line.target.as_ref().and_then(|t| t["name"].as_str());
            programs.push((name.unwrap_or_default().to_owned(), program));
        }
    }
    let told =
        messages.iter().any(|message: &Message| message.level.starts_with("error"));
    if !output.status.success() && !told {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok((messages, programs))
}

fn message(value: &Value) -> Option<Message> {
    let level = value["level"].as_str()?.to_owned();
    let spans = value["spans"].as_array()?;
    let span = spans.iter().find(|span| span["is_primary"] == true);
    let place = span.and_then(|span| {
        let line = usize::try_from(span["line_start"].as_u64()?).ok()?;
        Some((span["file_name"].as_str()?.to_owned(), line))
    });
    // "aborting due to 2 previous errors" counts what was told.
    let counts = place.is_none()
        && value["code"].is_null()
        && level != "error: internal compiler error";
    (!counts).then(|| Message {
        rendered: value["rendered"].as_str().unwrap_or_default().to_owned(),
        level,
        code: value["code"]["code"].as_str().unwrap_or_default().to_owned(),
        place,
    })
}

/// What a program printed.
pub(crate) enum Ran {
    /// It ended well.
    Printed(String),
    /// It did not end in time.
    Endless,
}

/// Runs a program for as long as a check may take.
///
/// # Errors
/// When it cannot be run, or ends with an error of its own.
pub(crate) fn run(program: &Path, arguments: &[&str]) -> Result<Ran> {
    let about = || format!("cannot run {}", program.display());
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(about)?;
    let mut out = child.stdout.take().with_context(about)?;
    let mut err = child.stderr.take().with_context(about)?;
    let printed = thread::spawn(move || {
        let mut text = String::new();
        out.read_to_string(&mut text).map(|_| text)
    });
    let complaints = thread::spawn(move || {
        let mut text = String::new();
        err.read_to_string(&mut text).map(|_| text)
    });
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().with_context(about)? {
            break status;
        }
        if started.elapsed() > PATIENCE {
            child.kill().and_then(|()| child.wait()).with_context(about)?;
            return Ok(Ran::Endless);
        }
        thread::sleep(Duration::from_millis(10));
    };
    let text = |reader: thread::JoinHandle<std::io::Result<String>>| match reader.join()
    {
        Ok(text) => text.with_context(about),
        Err(_) => bail!("{}", about()),
    };
    let (printed, complaints) = (text(printed)?, text(complaints)?);
    if status.success() {
        return Ok(Ran::Printed(printed));
    }
    bail!("the check itself stopped ({status}): {}", complaints.trim_end())
}
