//! `cargo run -p learning`: training on this chapter's backward passes.

mod train;

use std::io;
use std::process::ExitCode;

/// Where the weights come from: the backward pass of every mechanism
#[derive(clap::Parser)]
#[command(name = "learning", version, max_term_width = 88)]
#[command(bin_name = "cargo run -p learning --")]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Train a small decoder on a task, with any mechanism
    Train(train::Arguments),
}

fn main() -> ExitCode {
    let (mut stdout, mut stderr) = (io::stdout(), io::stderr());
    let code = chapter_cli::run_own::<CommandLine>(
        std::env::args_os(),
        &mut stdout,
        &mut stderr,
        |CommandLine { command: Command::Train(arguments) }, stdout| {
            train::train(arguments, stdout)
        },
    );
    ExitCode::from(code)
}
