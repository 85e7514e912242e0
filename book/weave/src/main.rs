//! Weaves prose, code, outputs and figures into the book, and refuses a book that is
//! wrong. `weave` builds it; `weave serve`, which shows it while it is being written, and
//! `weave epub` hand what was built to programs of their own.

mod audience;
mod book;
mod finishing;
mod helpers;
mod html;
mod live;
mod paths;
mod plots;
mod reading;
mod report;
mod weaving;

use std::{
    fmt::Display,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use mdbook_preprocessor::Preprocessor;

use crate::{audience::Audience, reading::protocol, weaving::weaver::Weaver};

/// Weaves prose, code, outputs and figures into the book.
#[derive(Parser)]
struct Arguments {
    /// The folder that holds book.toml.
    #[arg(long, global = true, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))]
    root: PathBuf,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Build the book into target/book (what happens without a command, too).
    Build {
        /// Let readers change some figures: compiles book/live to WebAssembly.
        #[arg(long)]
        live: bool,
        /// Build the pages that load anew when the book changes, as `serve` shows them.
        #[arg(long, hide = true, conflicts_with = "live")]
        author: bool,
    },
    /// Show the book on this machine, and build it again whenever something changes.
    Serve {
        /// Open it in the browser.
        #[arg(long)]
        open: bool,
        /// Where to listen on 127.0.0.1; 0 takes any port that is free.
        #[arg(long, default_value_t = 3000)]
        port: u16,
    },
    /// Build the book and write it to target/book.epub, for reading devices.
    Epub,
    /// Draw the preface's pictures into images/weave.
    Plots,
    /// Speak mdBook's protocol: a book as JSON in, the woven book out.
    Preprocess {
        #[command(subcommand)]
        question: Option<Question>,
    },
}

#[derive(Subcommand)]
enum Question {
    /// Whether the weaver can prepare a book for this renderer (by exit code).
    Supports {
        /// As mdBook calls it.
        renderer: String,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<ExitCode> {
    let root = arguments.root;
    match arguments.command.unwrap_or(Command::Build { live: false, author: false }) {
        Command::Build { author: true, .. } => {
            say(book::build(&root, Audience::Author, None)?.summary);
            Ok(ExitCode::SUCCESS)
        }
        Command::Build { live, .. } => build(&root, live),
        Command::Serve { open, port } => helpers::serve(&root, open, port),
        Command::Epub => {
            let built = book::build(&root, Audience::Readers, None)?;
            say(&built.summary);
            helpers::pack(&root, &built)
        }
        Command::Plots => {
            let drawn = plots::draw(&root)?;
            figures::save(&root.join(plots::FOLDER), &drawn)?;
            say(format!("drew {} pictures into {}", drawn.len(), plots::FOLDER));
            Ok(ExitCode::SUCCESS)
        }
        Command::Preprocess { question: None } => preprocess(),
        Command::Preprocess { question: Some(Question::Supports { renderer }) } => {
            let supported = Weaver::default().supports_renderer(&renderer)?;
            Ok(if supported { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

fn build(root: &Path, live: bool) -> Result<ExitCode> {
    let modules = if live { live::compile(root)? } else { None };
    let built = book::build(root, Audience::Readers, modules.as_deref())?;
    say(&built.summary);
    match &modules {
        Some(modules) => {
            let bytes: usize = modules.iter().map(|module| module.code.len()).sum();
            say(format!("live figures: {} KB of WebAssembly", bytes / 1000));
        }
        None if live => say(format!("no live figures: {}", live::MISSING)),
        None => {}
    }
    say(built.folder.join("index.html").display());
    say("read it with: cargo run -- serve --open");
    Ok(ExitCode::SUCCESS)
}

/// A line for whoever ran the command. One who has closed the pipe wants no more.
fn say(line: impl Display) {
    let _ = writeln!(io::stdout(), "{line}");
}

fn preprocess() -> Result<ExitCode> {
    let sent =
        io::read_to_string(io::stdin()).context("cannot read what mdBook sends")?;
    let (context, book) = protocol::parse(&sent)?;
    let book = Weaver::default().run(&context, book)?;
    serde_json::to_writer(io::stdout(), &book)?;
    Ok(ExitCode::SUCCESS)
}
