//! Builds the programs of a chapter, and says what it waits for.

use std::{
    io::{BufRead, BufReader, IsTerminal, Read, Write},
    path::PathBuf,
    process::{ChildStderr, Command, Stdio},
    thread,
    time::Instant,
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

use crate::{course::Course, text};

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

/// Builds a package's program, as `cargo test` would: what tests have compiled is not
/// compiled again, and compiles in less time than what is optimized for use.
///
/// # Errors
/// When Cargo cannot be run, or fails for another reason than the reader's code.
pub(crate) fn build(course: &Course, package: &str) -> Result<Built> {
    let build = ["build", "--profile", "test", "--package", package];
    let (mut messages, programs) = cargo(course, &build)?;
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
    let mut child = Command::new(cargo)
        .args(arguments)
        .arg("--message-format=json-diagnostic-rendered-ansi")
        .current_dir(&course.my)
        .env("CARGO_TERM_PROGRESS_WHEN", "never")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run cargo")?;
    let status_lines = child.stderr.take().context("cannot run cargo")?;
    let progress = thread::spawn(move || follow(status_lines));
    let mut text = Vec::new();
    child.stdout.take().context("cannot run cargo")?.read_to_end(&mut text)?;
    let status = child.wait().context("cannot run cargo")?;
    let said = progress.join().unwrap_or_default();
    let (mut messages, mut programs) = (Vec::new(), Vec::new());
    for line in String::from_utf8_lossy(&text).lines() {
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
    if !status.success() && !told {
        bail!("{}", said.trim_end());
    }
    Ok((messages, programs))
}

/// Reads what Cargo says of its progress, and passes on what a reader waits for: a lock
/// that another Cargo holds, and packages that are compiled. Gives back the rest.
fn follow(status: ChildStderr) -> String {
    let on_a_terminal = std::io::stderr().is_terminal();
    let started = Instant::now();
    let (mut rest, mut compiled, mut is_open) = (String::new(), 0, false);
    for line in BufReader::new(status).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).into_owned();
        let words = line.trim_start();
        let news = if words.starts_with("Blocking") {
            "waiting for another Cargo, which is building in the same folder (your editor's?)"
                .to_owned()
        } else if let Some(package) = words.strip_prefix("Compiling ") {
            compiled += 1;
            let package = package.split(' ').next().unwrap_or_default();
            format!("building {package}, {} s so far", started.elapsed().as_secs())
        } else {
            rest += &line;
            rest.push('\n');
            continue;
        };
        // A line for each package would fill the screen: on a terminal one takes the place
        // of the other, and elsewhere the first stands for all.
        if on_a_terminal {
            anstream::eprint!("\r\x1b[2K{}", text::dim(&news));
            is_open = true;
        } else if compiled <= 1 {
            anstream::eprintln!("{news}");
        }
        // Nothing is lost where nobody sees it.
        let _ = std::io::stderr().flush();
    }
    if is_open {
        anstream::eprint!("\r\x1b[2K");
    }
    rest
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
        place,
    })
}
