//! `cargo run -p learning`: the gradients of any layer of the other chapters.

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use learning::mechanisms::Mechanism;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

/// Where the weights come from: the backward pass of every mechanism
#[derive(clap::Parser)]
#[command(name = "learning", version, max_term_width = 88)]
#[command(bin_name = "cargo run -p learning --")]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// The gradients of a layer, as autograd would give them
    ///
    /// The input file holds what the `forward` of the mechanism's chapter reads, and dy,
    /// the gradient of y, in its shape. The output file holds dx, and d.NAME for every
    /// tensor NAME of the layer, in the shape that it has in the input.
    ///
    ///   cargo run -p learning -- gradients --mechanism grouped-query \
    ///       --input layer.safetensors --output grads.safetensors --heads 8 --kv-heads 2
    #[command(disable_help_flag = true, verbatim_doc_comment)]
    #[command(
        override_usage = "gradients --mechanism NAME --input FILE --output FILE \
        [the flags of the mechanism's forward]"
    )]
    Gradients {
        /// --mechanism NAME, and the flags of that mechanism (--help tells)
        #[arg(
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "FLAGS"
        )]
        flags: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    let (mut stdout, mut stderr) = (io::stdout(), io::stderr());
    let code = chapter_cli::run_own::<CommandLine>(
        std::env::args_os(),
        &mut stdout,
        &mut stderr,
        |CommandLine { command: Command::Gradients { flags } }, stdout| {
            gradients(flags, stdout)
        },
    );
    ExitCode::from(code)
}

fn gradients(flags: &[OsString], stdout: &mut dyn Write) -> Result<()> {
    let (named, rest) = mechanism(flags);
    let names =
        Mechanism::value_variants().iter().filter_map(ValueEnum::to_possible_value);
    let names: Vec<String> = names.map(|name| name.get_name().to_owned()).collect();
    let known = names.join(", ");
    let name = named.with_context(|| {
        format!("--mechanism is missing: which layer is it? one of {known}")
    })?;
    let name = name.to_string_lossy().into_owned();
    let mechanism = Mechanism::from_str(&name, false);
    ensure!(
        mechanism.is_ok(),
        "--mechanism {name}: there is no such mechanism, or it cannot be differentiated \
         here: one of {known}"
    );
    let args = std::iter::once("gradients".into()).chain(rest).collect();
    mechanism.map_err(anyhow::Error::msg)?.gradients(args, stdout, &mut io::stderr())
}

/// What `--mechanism` says, and the other flags.
fn mechanism(flags: &[OsString]) -> (Option<OsString>, Vec<OsString>) {
    let (mut named, mut rest) = (None, Vec::new());
    let mut flags = flags.iter();
    while let Some(flag) = flags.next() {
        match flag.to_str() {
            Some("--mechanism") => named = flags.next().cloned(),
            Some(flag) if flag.starts_with("--mechanism=") => {
                named = Some(flag["--mechanism=".len()..].into());
            }
            _ => rest.push(flag.clone()),
        }
    }
    (named, rest)
}
