//! `cargo run -p decoder-layer`: the worked example, the figures, and `forward` on the
//! layers of today's models.

use std::process::ExitCode;

fn main() -> ExitCode {
    chapter_cli::main::<decoder_layer::command::Chapter11>()
}
