//! What the program says on standard error while it works, and how it is stopped.

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use std::ops::ControlFlow;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Whether somebody has pressed Ctrl-C.
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// From now on Ctrl-C asks to stop at the next good moment. Whoever presses it twice
    /// does not want to wait.
    pub(crate) fn on_ctrl_c() -> Result<Stop> {
        let asked = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&asked);
        let stop = move || {
            if seen.swap(true, Ordering::Relaxed) {
                process::exit(130);
            }
        };
        ctrlc::set_handler(stop).context("Ctrl-C cannot be watched for")?;
        Ok(Stop(asked))
    }

    pub(crate) fn asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// How far a long work has come, if standard error is a terminal.
pub(crate) struct Bar(ProgressBar);

impl Bar {
    pub(crate) fn new(what: &'static str, all: u64) -> Bar {
        let style =
            ProgressStyle::with_template("{msg} {wide_bar} {percent:>3} % {eta:>4}");
        let bar = ProgressBar::new(all).with_message(what);
        Bar(bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())))
    }

    /// So much is done; whether to go on.
    pub(crate) fn at(&self, done: u64, stop: &Stop) -> ControlFlow<()> {
        self.0.set_position(done);
        if stop.asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Something that turns while a prompt is read.
pub(crate) fn reading(tokens: usize) -> ProgressBar {
    let bar =
        ProgressBar::new_spinner().with_message(format!("reading {tokens} tokens"));
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// How fast the prompt was read, and how fast text came.
pub(crate) fn speed(
    prompt: usize,
    reading: Duration,
    tokens: usize,
    writing: Duration,
) {
    let per_second = |tokens: usize, time: Duration| tokens as f64 / time.as_secs_f64();
    let read = format!("{prompt} tokens of prompt in {:.2} s", reading.as_secs_f64());
    // The first token came out of the prompt.
    match tokens.saturating_sub(1) {
        0 => eprintln!("{read}; {tokens} tokens written"),
        timed => eprintln!(
            "{read}; {tokens} tokens written, {:.1} per second",
            per_second(timed, writing)
        ),
    }
}
