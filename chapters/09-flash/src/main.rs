//! `cargo run -p flash`: the worked example, the figures, and `forward` on files.

use std::process::ExitCode;

fn main() -> ExitCode {
    chapter_cli::main::<flash::command::Chapter9>()
}
