//! `cargo run -p learning`: the worked example; the gradients of any layer of the other
//! chapters, and training on them.

mod gradients;
mod talk;
mod train;

use learning::{example, figures};
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{self, ExitCode};

/// Where the weights come from: the backward pass of every mechanism, and training on it
///
/// Without a command, prints the chapter's worked example.
#[derive(clap::Parser)]
#[command(name = "learning", version, max_term_width = 88)]
#[command(bin_name = "cargo run -p learning --")]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Draw the figures of the chapter
    Plots {
        /// The folder to draw into [default: the chapter's own in the book's images/]
        #[arg(long, value_name = "FOLDER")]
        out: Option<PathBuf>,
    },
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
    /// Let the chapter's own model go on with a text
    Talk(talk::Arguments),
    /// Keep a model that `train text` has trained in 8 bits
    Pack {
        /// What `train text --out` has written
        #[arg(long, value_name = "FILE")]
        input: PathBuf,
        /// Where to keep it, as safetensors
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Train a small decoder on a task or a text, with any mechanism
    Train(Box<train::Arguments>),
}

/// What a product asks how many threads it may have.
const THREADS: &str = "MATMUL_NUM_THREADS";

/// Runs `train` once more with one thread per product, unless somebody has said how many:
/// its sequences are spread over the cores already, and waking threads for each product of
/// theirs costs a third of the time. A program can tell its products only before it starts.
fn trained_with_one_thread_per_product() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let trains = arguments.next().is_some_and(|first| first == "train");
    if !trains || std::env::var_os(THREADS).is_some() {
        return None;
    }
    let program = std::env::current_exe().ok()?;
    let arguments = std::env::args_os().skip(1);
    let status = process::Command::new(program)
        .args(arguments)
        .env(THREADS, "1")
        .status()
        .ok()?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Some(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

fn main() -> ExitCode {
    if let Some(code) = trained_with_one_thread_per_product() {
        return code;
    }
    let (mut stdout, mut stderr) = (io::stdout(), io::stderr());
    let code = chapter_cli::run_own::<CommandLine>(
        std::env::args_os(),
        &mut stdout,
        &mut stderr,
        |CommandLine { command }, stdout| match command {
            None => Ok(writeln!(stdout, "{}", example::worked()?.trim_end())?),
            Some(Command::Plots { out }) => chapter_cli::draw(
                "13-learning",
                &figures::all()?,
                out.as_deref(),
                stdout,
            ),
            Some(Command::Gradients { flags }) => gradients::gradients(flags, stdout),
            Some(Command::Talk(arguments)) => talk::talk(arguments, stdout),
            Some(Command::Pack { input, output }) => talk::pack(input, output),
            Some(Command::Train(arguments)) => train::train(arguments, stdout),
        },
    );
    ExitCode::from(code)
}
