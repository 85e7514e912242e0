//! `cargo run -p grouped-query`: the worked example, the figures, `forward` on files, and
//! `convert` for checkpoints.

use std::process::ExitCode;

fn main() -> ExitCode {
    chapter_cli::main::<grouped_query::command::Chapter5>()
}
