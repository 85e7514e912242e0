//! `gradients`: which mechanism it is, and then its chapter's flags.

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use learning::mechanisms::Mechanism;
use std::ffi::OsString;
use std::io::{self, Write};

/// Runs the mechanism that one of the flags names, with the others.
pub(crate) fn gradients(flags: &[OsString], stdout: &mut dyn Write) -> Result<()> {
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
