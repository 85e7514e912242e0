//! `cargo run -p sliding-window`: the worked example, the figures, and `forward` on files.

use std::process::ExitCode;

fn main() -> ExitCode {
    chapter_cli::main::<sliding_window::command::Chapter10>()
}
