//! `cargo run -p linformer`: the worked example, the figures, and `forward` on files.

use std::process::ExitCode;

fn main() -> ExitCode {
    chapter_cli::main::<linformer::command::Chapter8>()
}
