//! `cargo run -p multi-head`: the worked example, the figures, and `forward` on files.

use std::process::ExitCode;

fn main() -> ExitCode {
    chapter_cli::main::<multi_head::command::Chapter2>()
}
