//! `cargo run -p latent`: the worked example, the figures, and `forward` on files.

use std::process::ExitCode;

fn main() -> ExitCode {
    chapter_cli::main::<latent::command::Chapter7>()
}
