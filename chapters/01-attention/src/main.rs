//! `cargo run -p attention`: the worked example, the figures, and `forward` on files.

use std::process::ExitCode;

fn main() -> ExitCode {
    chapter_cli::main::<attention::command::Chapter1>()
}
