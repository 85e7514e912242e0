//! `cargo run -p rotary`: the worked example, the figures, `forward` on files, and
//! `permute` for checkpoints.

use std::process::ExitCode;

fn main() -> ExitCode {
    chapter_cli::main::<rotary::command::Chapter6>()
}
