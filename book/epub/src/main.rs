//! `epub`: an edition of the book as JSON in, the name of the EPUB out.

use std::{io, process::ExitCode};

use anyhow::{Context, Result};

fn main() -> ExitCode {
    match pack() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn pack() -> Result<()> {
    let edition = serde_json::from_reader(io::stdin()).context(
        "expected an edition of the book as JSON; `cargo run -- epub` gives one",
    )?;
    println!("{}", epub::write(&edition)?.display());
    Ok(())
}
