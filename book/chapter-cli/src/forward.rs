//! `forward`: a layer and its input out of files, the output into another.

use crate::batch::Batch;
use crate::message::{brief_path, count, one_line};
use crate::output::Destination;
use crate::results::{Layout, Results};
use crate::{Chapter, SideBySide, Tensors};
use anyhow::Result;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The flags of `forward`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments<F: clap::Args> {
    /// The safetensors file that holds the layer
    #[arg(long, value_name = "FILE")]
    input: PathBuf,

    /// The safetensors file to write
    #[arg(long, value_name = "FILE")]
    output: PathBuf,

    /// The file that holds x, if it is not the input
    ///
    /// It may hold context and mask, too. They are looked for here first, then in the
    /// input.
    #[arg(long, value_name = "FILE")]
    pub(crate) x: Option<PathBuf>,

    // clap shows this text as it stands, and would show backticks, too.
    #[expect(clippy::doc_markdown)]
    /// What stands before the names of the layer's tensors
    ///
    /// Picks one layer out of a whole checkpoint. The dot at its end belongs to it:
    /// --prefix model.layers.0.self_attn.
    #[arg(long, default_value = "", hide_default_value = true)]
    prefix: String,

    /// Run the layer N times, and print how long it took
    ///
    /// The time is that of the forward pass alone, over all sequences, without reading
    /// and writing.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    repeat: Option<u32>,

    #[command(flatten)]
    flags: F,
}

/// What all chapters that read x have to say about their files.
pub(crate) const FILES_WITH_X: &str = "\
Files:
  Numbers are F32, F16 or BF16, and are computed in F32.
  x is [n, d], one row a token, or [b, n, d] for a batch of b sequences.
  context [m, d] or [b, m, d], where the layer takes it, is what x looks at.
  mask [n, m] or [b, n, m], where the layer takes it, is BOOL; true = may attend.
  All three may stand with or without the prefix.
  The output holds y and attention_weights [heads, n, m], both with a b in front if x
  has one, in F32. It is written whole or not at all.";

/// What is left of it for the others.
pub(crate) const FILES: &str = "\
Files:
  Numbers are F32, F16 or BF16, and are computed in F32.
  The output holds y, in F32. It is written whole or not at all.";

/// Runs the layer that the arguments name, and writes what it gives.
///
/// # Errors
/// When a file, a tensor or a flag is not as it should be; then nothing was written.
pub(crate) fn forward<C: Chapter>(
    arguments: &Arguments<C::Flags>,
    stdout: &mut dyn Write,
    stderr: &mut dyn Write,
) -> Result<()> {
    let Arguments { input, output, x, prefix, repeat, flags } = arguments;
    let destination = Destination::check(output)?;
    let input = Tensors::open(input)?;
    let x_file = x.as_deref().map(Tensors::open).transpose()?;
    let layer = C::load(flags, &input.with_prefix(prefix))?;
    let runs = repeat.unwrap_or(1);
    let (results, times) = if C::READS_X {
        let batch = Batch::read(&input, x_file.as_ref(), prefix)?;
        let (outputs, times) = timed(runs, || batch.run::<C>(&layer, flags))?;
        let layout = match outputs.first() {
            Some(output) => Layout::of(output)?,
            None => batch.layout_of_nothing::<C>(&layer, flags)?,
        };
        (Results::stack(batch.size, &layout, &outputs)?, times)
    } else {
        let (SideBySide { y, heads }, times) = timed(runs, || C::run(&layer, flags))?;
        (Results::heads(&y, heads)?, times)
    };
    destination.write(&results.to_safetensors()?)?;

    // Said at the end, so that whoever gets an error gets it alone.
    for file in [Some(&input), x_file.as_ref()].into_iter().flatten() {
        for warning in file.warnings() {
            // Nobody is left to tell if standard error is closed.
            let _ = writeln!(stderr, "warning: {}", one_line(&warning));
        }
    }
    if repeat.is_some() {
        writeln!(stdout, "{}", summary(times))?;
    }
    writeln!(stdout, "wrote {results} to {}", one_line(&brief_path(output)))?;
    Ok(())
}

/// What the last of `runs` runs gives, and how long each took.
fn timed<T>(runs: u32, run: impl Fn() -> Result<T>) -> Result<(T, Vec<Duration>)> {
    let mut times = Vec::new();
    loop {
        let start = Instant::now();
        let result = run()?;
        times.push(start.elapsed());
        if times.len() == runs as usize {
            return Ok((result, times));
        }
    }
}

/// `forward: min 1.234 ms, median 1.301 ms, max 1.502 ms (20 runs)`, of one time or
/// more.
fn summary(mut times: Vec<Duration>) -> String {
    times.sort();
    let runs = times.len();
    let median = (times[(runs - 1) / 2] + times[runs / 2]) / 2;
    let ms = |time: Duration| format!("{:.3} ms", time.as_secs_f64() * 1e3);
    let [min, median, max] = [times[0], median, times[runs - 1]].map(ms);
    format!("forward: min {min}, median {median}, max {max} ({})", count(runs, "run"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(times: &[u64]) -> Vec<Duration> {
        times.iter().map(|&t| Duration::from_millis(t)).collect()
    }

    #[test]
    fn the_median_of_an_odd_number_of_runs_is_the_middle_one() {
        let summary = summary(ms(&[9, 1, 2]));
        let wanted = "forward: min 1.000 ms, median 2.000 ms, max 9.000 ms (3 runs)";
        assert_eq!(summary, wanted);
    }

    #[test]
    fn the_median_of_an_even_number_of_runs_lies_between_the_middle_two() {
        let summary = summary(ms(&[9, 1, 2, 3]));
        let wanted = "forward: min 1.000 ms, median 2.500 ms, max 9.000 ms (4 runs)";
        assert_eq!(summary, wanted);
    }

    #[test]
    fn one_run_is_its_own_median() {
        let wanted = "forward: min 7.000 ms, median 7.000 ms, max 7.000 ms (1 run)";
        assert_eq!(summary(ms(&[7])), wanted);
    }
}
