//! The programs that go on from a built book. They are compiled when they are first asked
//! for, so that a first book does not wait for a server and an archive.

use std::{
    env, io,
    path::Path,
    process::{Command, ExitCode, ExitStatus, Stdio},
};

use anyhow::{Context, Result};
use serde_json::json;

use crate::{
    audience::{Audience, RELOAD},
    book::{self, Built},
};

/// Shows the book below `root` until it is interrupted; this program builds it for that.
///
/// # Errors
/// When book.toml cannot be read, or there is no Cargo.
pub(crate) fn serve(root: &Path, open: bool, port: u16) -> Result<ExitCode> {
    let root = root.canonicalize().context("cannot find the book")?;
    let mut serve = program("serve");
    serve.arg("--root").arg(&root);
    serve.arg("--pages").arg(book::folder(&root, Audience::Author)?);
    serve.args(["--news", RELOAD, "--port", &port.to_string()]);
    if open {
        serve.arg("--open");
    }
    let weave = env::current_exe().context("cannot find the weaver itself")?;
    serve.arg("--").arg(weave).arg("--root").arg(&root).args(["build", "--author"]);
    in_place_of_this(&mut serve).context("cannot run cargo")
}

/// Packs the book that was built below `root` into an EPUB.
///
/// # Errors
/// When there is no Cargo, or it does not listen.
pub(crate) fn pack(root: &Path, built: &Built) -> Result<ExitCode> {
    let pages =
        built.pages.iter().map(|page| json!({ "file": page.file, "name": page.name }));
    let edition = json!({
        "root": root,
        "folder": built.folder,
        "title": built.book.title.as_deref().unwrap_or("A book"),
        "description": built.book.description.as_deref().unwrap_or_default(),
        "authors": built.book.authors,
        "language": built.book.language.as_deref().unwrap_or("en"),
        "pages": pages.collect::<Vec<_>>(),
    });
    let mut packing =
        program("epub").stdin(Stdio::piped()).spawn().context("cannot run cargo")?;
    if let Some(input) = packing.stdin.take() {
        serde_json::to_writer(input, &edition).context("cannot speak to the packer")?;
    }
    Ok(code(packing.wait()?))
}

/// A program of this workspace, compiled if need be.
fn program(package: &str) -> Command {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml");
    let mut command = Command::new(cargo);
    command.args(["run", "--manifest-path", manifest, "--package", package]);
    if is_compiled(package) {
        command.arg("--quiet");
    }
    command.arg("--");
    command
}

/// Whether the program has been asked for before; the first time it is good to see what
/// one waits for.
fn is_compiled(package: &str) -> bool {
    let beside = |weave: std::path::PathBuf| {
        weave.with_file_name(package).with_extension(env::consts::EXE_EXTENSION)
    };
    env::current_exe().is_ok_and(|weave| beside(weave).is_file())
}

/// Runs `command` as this process, so that whoever ends this ends it.
#[cfg(unix)]
fn in_place_of_this(command: &mut Command) -> io::Result<ExitCode> {
    use std::os::unix::process::CommandExt;
    Err(command.exec())
}

#[cfg(not(unix))]
fn in_place_of_this(command: &mut Command) -> io::Result<ExitCode> {
    command.status().map(code)
}

fn code(status: ExitStatus) -> ExitCode {
    match status.code() {
        Some(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        None => ExitCode::FAILURE,
    }
}
