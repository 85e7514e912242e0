//! `cargo run -p multi-query`: the worked example, the figures, and `forward` on files.

use std::process::ExitCode;

fn main() -> ExitCode {
    chapter_cli::main::<multi_query::command::Chapter4>()
}
