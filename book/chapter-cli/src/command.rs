//! What is said on the command line, and what is answered.

use crate::Chapter;
use crate::compare::{self, FILES_OF_YOURS, compare};
use crate::configured::Configured;
use crate::forward::{Arguments, FILES, FILES_WITH_X, forward};
use crate::message::{brief_path, one_line};
use anyhow::{Context, Result, anyhow, bail};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, CommandFactory, FromArgMatches};
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The `main` of a chapter's binary.
#[must_use]
pub fn main<C: Chapter>() -> ExitCode {
    // Not locked: a thread that panics has to get at standard error.
    ExitCode::from(run::<C>(std::env::args_os(), &mut io::stdout(), &mut io::stderr()))
}

/// Does what the command line `args`, the program's own name first, asks for, and gives
/// the exit code: 0, or 1 for bad input, 2 for a wrong flag, or 3 where `compare` finds
/// numbers that differ. A failure is one line on `stderr`.
pub fn run<C: Chapter>(
    args: impl IntoIterator<Item = OsString>,
    stdout: &mut dyn Write,
    stderr: &mut dyn Write,
) -> u8 {
    let args: Vec<OsString> = args.into_iter().collect();
    let asked = parse::<C>(&args);
    answer(asked, stdout, stderr, |asked, stdout, stderr| match asked {
        Asked::Own(name, arguments) => {
            C::obey(&name, &arguments, stdout, stderr)?;
            Ok(DONE)
        }
        Asked::Common(command) => obey::<C>(&command, None, stdout, stderr),
        Asked::Configured(name, given) => {
            let configured = Configured::read::<C>(&given)?;
            let command = complete::<C>(args, &name, &given, &configured)?;
            obey::<C>(&command, Some(&configured), stdout, stderr)
        }
    })
}

/// The exit code of what went well.
const DONE: u8 = 0;

/// The exit code of a comparison whose numbers differ.
const DIFFERS: u8 = 3;

/// [`run`] for a program with a command line of its own, of which `obey` does what it says.
pub fn run_own<P: clap::Parser>(
    args: impl IntoIterator<Item = OsString>,
    stdout: &mut dyn Write,
    stderr: &mut dyn Write,
    obey: impl FnOnce(&P, &mut dyn Write) -> Result<()>,
) -> u8 {
    let asked = P::try_parse_from(args);
    answer(asked, stdout, stderr, |asked, stdout, _| {
        obey(&asked, stdout)?;
        Ok(DONE)
    })
}

/// Does what was asked, or says in one line why not, and gives the exit code.
fn answer<A>(
    asked: Result<A, clap::Error>,
    stdout: &mut dyn Write,
    stderr: &mut dyn Write,
    obey: impl FnOnce(A, &mut dyn Write, &mut dyn Write) -> Result<u8>,
) -> u8 {
    let done = match asked {
        Ok(asked) => obey(asked, stdout, stderr),
        // --help and --version are errors to clap alone.
        Err(help) if !help.use_stderr() => {
            write!(stdout, "{}", help.render()).map(|()| DONE).map_err(Into::into)
        }
        Err(wrong_flag) => {
            let _ = writeln!(stderr, "error: {}", one_line(&in_short(&wrong_flag)));
            return 2;
        }
    };
    match done.and_then(|code| Ok(stdout.flush().map(|()| code)?)) {
        Ok(code) => code,
        // Whoever pipes into `head` has read enough.
        Err(error) if is_broken_pipe(&error) => DONE,
        Err(error) => {
            let _ = writeln!(stderr, "error: {}", one_line(&format!("{error:#}")));
            1
        }
    }
}

#[derive(clap::Parser)]
struct CommandLine<F: clap::Args> {
    #[command(subcommand)]
    command: Option<Command<F>>,
}

#[derive(clap::Subcommand)]
enum Command<F: clap::Args> {
    /// Draw the figures of the chapter
    Plots {
        /// The folder to draw into [default: the chapter's own in the book's images/]
        #[arg(long, value_name = "FOLDER")]
        out: Option<PathBuf>,
    },
    /// Run the layer on tensors of your own
    Forward(Arguments<F>),
    /// Compare what another program gives with this layer
    Compare(compare::Arguments<F>),
}

/// Something that all chapters do, or a command that this one brings, by its name.
enum Asked<F: clap::Args> {
    Common(CommandLine<F>),
    Own(String, ArgMatches),
    /// `forward` or `compare`, whose other flags are to be read out of the file that
    /// `--config` names.
    Configured(String, ArgMatches),
}

fn parse<C: Chapter>(args: &[OsString]) -> Result<Asked<C::Flags>, clap::Error> {
    let matches = help::<C>().try_get_matches_from(args)?;
    let is_own = |name: &str| C::commands().iter().any(|own| own.get_name() == name);
    match matches.subcommand() {
        Some((name, arguments)) if is_own(name) => {
            Ok(Asked::Own(name.to_owned(), arguments.clone()))
        }
        Some((name @ ("forward" | "compare"), given))
            if given.contains_id("config") =>
        {
            Ok(Asked::Configured(name.to_owned(), given.clone()))
        }
        _ => Ok(Asked::Common(common::<C>(&matches)?)),
    }
}

fn common<C: Chapter>(
    matches: &ArgMatches,
) -> Result<CommandLine<C::Flags>, clap::Error> {
    let command = CommandLine::from_arg_matches(matches)?;
    expect_no_x::<C>(&command)?;
    Ok(command)
}

/// The command line `args`, of which `given` was understood, with the flags of a
/// configuration where none are given.
fn complete<C: Chapter>(
    mut args: Vec<OsString>,
    name: &str,
    given: &ArgMatches,
    configured: &Configured,
) -> Result<CommandLine<C::Flags>> {
    let help = help::<C>();
    let flags = help.find_subcommand(name).context("there is no such command")?;
    args.extend(configured.missing(given, flags)?);
    let told = |error: clap::Error| anyhow!(in_short(&error));
    let matches = help.try_get_matches_from(args).map_err(told)?;
    common::<C>(&matches).map_err(told)
}

/// Refuses flags that clap knows in every chapter, where there is no x.
fn expect_no_x<C: Chapter>(command: &CommandLine<C::Flags>) -> Result<(), clap::Error> {
    let (x, no_weights) = match &command.command {
        Some(Command::Forward(arguments)) => (&arguments.x, arguments.no_weights),
        Some(Command::Compare(arguments)) => (&arguments.x, false),
        _ => return Ok(()),
    };
    let given = [
        ("--x", x.is_some(), "reads no x"),
        ("--no-weights", no_weights, "never forms them"),
    ];
    match given.into_iter().find(|(_, is_given, _)| *is_given && !C::READS_X) {
        Some((flag, _, why)) => {
            let message = format!("unexpected argument '{flag}': {} {why}", C::NAME);
            Err(help::<C>().error(ErrorKind::UnknownArgument, message))
        }
        None => Ok(()),
    }
}

/// The commands, with the chapter's own words on them.
fn help<C: Chapter>() -> clap::Command {
    let program = format!("cargo run -p {}", C::NAME);
    let examples = format!(
        "\
Examples:
  {program}                     print the worked example
  {program} -- plots            draw images/{folder}/
  {program} -- forward --help   which tensors a file holds
  {program} -- forward --input layer.safetensors --output out.safetensors",
        folder = C::FOLDER
    );
    let about_forward =
        format!("Run the layer on tensors of your own.\n\n{}", C::FORWARD_HELP);
    let about_compare = format!(
        "Compare what another program gives with this layer: where they part, and which \
         usual slip explains it.\n\nThe layer and its input are those of forward \
         (--help tells which tensors the file holds).\n\n  {program} -- compare --input \
         layer.safetensors \\\n      --yours mine.safetensors [the flags of forward]"
    );
    CommandLine::<C::Flags>::command()
        .name(C::NAME)
        .bin_name(format!("{program} --"))
        .version(env!("CARGO_PKG_VERSION"))
        .about(C::ABOUT)
        .long_about(format!(
            "{}\n\nWithout a command, prints the chapter's worked example.",
            C::ABOUT
        ))
        .after_help(examples)
        .max_term_width(88)
        .mut_subcommand("forward", |forward| {
            let files = if C::READS_X { FILES_WITH_X } else { FILES };
            forward
                .long_about(about_forward)
                .after_long_help(files)
                .mut_arg("x", |x| x.hide(!C::READS_X))
                .mut_arg("no_weights", |flag| flag.hide(!C::READS_X))
                .mut_args(unless_configured)
        })
        .mut_subcommand("compare", |compare| {
            compare
                .long_about(about_compare)
                .after_long_help(FILES_OF_YOURS)
                .hide(!C::COMPARES)
                .mut_arg("x", |x| x.hide(!C::READS_X))
                .mut_args(unless_configured)
        })
        .subcommands(C::commands())
}

/// What a layer needs may also come out of a configuration.
pub(crate) fn unless_configured(flag: clap::Arg) -> clap::Arg {
    let is_file = ["input", "output", "yours"].contains(&flag.get_id().as_str());
    if is_file || !flag.is_required_set() {
        return flag;
    }
    flag.required(false).required_unless_present("config")
}

fn obey<C: Chapter>(
    command: &CommandLine<C::Flags>,
    configured: Option<&Configured>,
    stdout: &mut dyn Write,
    stderr: &mut dyn Write,
) -> Result<u8> {
    match &command.command {
        None => writeln!(stdout, "{}", C::example()?.trim_end())?,
        Some(Command::Plots { out }) => {
            draw(C::FOLDER, &C::figures()?, out.as_deref(), stdout)?;
        }
        Some(Command::Forward(arguments)) => {
            forward::<C>(arguments, configured, stdout, stderr)?;
        }
        Some(Command::Compare(arguments)) => {
            let agrees = compare::<C>(arguments, configured, stdout)?;
            return Ok(if agrees { DONE } else { DIFFERS });
        }
    }
    Ok(DONE)
}

/// Draws `figures` into `out`, or else into the chapter's own folder in the book's
/// `images/`, and says which files it wrote.
///
/// # Errors
/// When they cannot be written.
pub fn draw(
    folder: &str,
    figures: &[figures::Figure],
    out: Option<&Path>,
    stdout: &mut dyn Write,
) -> Result<()> {
    let folder = match out {
        Some(folder) => folder.to_path_buf(),
        None => images()?.join(folder),
    };
    figures::save(&folder, figures).context("cannot draw")?;
    for figure in figures {
        let file = folder.join(format!("{}.svg", figure.name()));
        writeln!(stdout, "wrote {}", one_line(&brief_path(&file)))?;
    }
    Ok(())
}

/// The folder with the figures of all chapters. A chapter of a workspace of its own, as the
/// course makes them, draws beside itself and leaves the book's figures alone.
fn images() -> Result<PathBuf> {
    let chapter = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let around = chapter.as_deref().and_then(Path::parent);
    if let Some(own) = around.filter(|folder| folder.join("Cargo.toml").is_file()) {
        return Ok(own.join("images"));
    }
    // Where the book was when this was compiled.
    let book = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let Ok(book) = book.canonicalize() else {
        let book = brief_path(&book);
        bail!("the book is no longer in {book}; name a folder to draw into with --out");
    };
    Ok(book.join("images"))
}

/// What clap has to say in many lines, in one.
pub(crate) fn in_short(error: &clap::Error) -> String {
    let missing = strings(error, ContextKind::InvalidArg);
    let complaint = match error.kind() {
        ErrorKind::MissingRequiredArgument => format!("missing {}", missing.join(", ")),
        _ => first_paragraph(error),
    };
    let suggestion = [
        ContextKind::SuggestedArg,
        ContextKind::SuggestedSubcommand,
        ContextKind::SuggestedValue,
    ]
    .into_iter()
    .flat_map(|kind| strings(error, kind))
    .next()
    .map_or(String::new(), |meant| format!("; did you mean '{meant}'?"));
    format!("{complaint}{suggestion} (see --help)")
}

fn strings(error: &clap::Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        Some(ContextValue::String(one)) => vec![one.clone()],
        Some(ContextValue::Strings(many)) => many.clone(),
        _ => Vec::new(),
    }
}

fn first_paragraph(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = paragraph.split_whitespace().collect();
    words.join(" ").trim_start_matches("error: ").to_owned()
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
