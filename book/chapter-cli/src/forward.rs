//! `forward`: a layer and its input out of files, the output into another.

use crate::batch::Batch;
use crate::configured::Configured;
use crate::error::TensorError;
use crate::message::{brief_path, count, one_line};
use crate::output::Destination;
use crate::plan::Plan;
use crate::prefix::prefix_of;
use crate::results::{Layout, Results};
use crate::tensors::Tensors;
use crate::unread::expect_all_read;
use crate::{Chapter, Output, SideBySide};
use anyhow::Result;
use std::io::Write;
use std::path::{Path, PathBuf};
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

    /// The config.json of the model, which sets the flags of the layer
    ///
    /// FILE may also be the folder that holds it. Flags that are given beside it have to
    /// say the same. A layer that this chapter does not compute in full is refused, with
    /// the key and its value.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// With --config: which layer it is, counted from 0
    ///
    /// It may be left out where --prefix names it, or where all layers are alike. Without
    /// --prefix, it also picks that layer out of a whole checkpoint, where only one
    /// begins as in model.layers.N.
    #[arg(long, value_name = "N", requires = "config")]
    pub(crate) layer: Option<usize>,

    /// The file that holds x, if it is not the input
    ///
    /// It may hold context and mask, too. They are looked for here first, then in the
    /// input.
    #[arg(long, value_name = "FILE")]
    pub(crate) x: Option<PathBuf>,

    /// Leave the attention weights out of the output
    ///
    /// They are as many numbers as tokens times tokens for each head. Without them, a few
    /// rows are computed at a time.
    #[arg(long)]
    pub(crate) no_weights: bool,

    /// Go on without a tensor of the file, as if it were not there; may be repeated
    ///
    /// A tensor that this layer does not read would change its output, so it is refused.
    /// NAME is that of the tensor, with or without the prefix, or the start of several
    /// before a *.
    #[arg(long, value_name = "NAME")]
    ignore: Vec<String>,

    // clap shows this text as it stands, and would show backticks, too.
    #[expect(clippy::doc_markdown)]
    /// What stands before the names of the layer's tensors
    ///
    /// Picks one layer out of a whole checkpoint, at a dot:
    /// --prefix model.layers.0.self_attn
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) prefix: String,

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
  x is [n, d], one row per token, or [b, n, d] for a batch of b sequences.
  context [m, d] or [b, m, d], where the layer takes it, is what x looks at.
  mask [n, m] or [b, n, m], where the layer takes it, is BOOL; true = may attend.
  All three may stand with or without the prefix.
  So may masks of PyTorch and Transformers, with their meaning: key_padding_mask [b, m],
  true = hidden; attention_mask [b, m], 1 = a token, 0 = padding, or [b, 1, n, m], added
  to the scores or BOOL, true = may attend; attn_mask, added to the scores.
  q_proj, k_proj, v_proj and o_proj may be those of torch.nn.MultiheadAttention, stacked in
  in_proj_weight and in_proj_bias, and out_proj.
  A tensor that the layer does not read is refused by its name; y and attention_weights
  may stand in the file.
  The output holds y and attention_weights [heads, n, m], both with a b in front if x
  has one, in F32. It is written whole or not at all.";

/// What is left of it for the others.
pub(crate) const FILES: &str = "\
Files:
  Numbers are F32, F16 or BF16, and are computed in F32.
  A tensor that is not read is refused by its name.
  The output holds y, in F32. It is written whole or not at all.";

/// Runs the layer that the arguments name, and writes what it gives. If they came out of a
/// configuration, the file has to be one of such a layer.
///
/// # Errors
/// When a file, a tensor or a flag is not as it should be; then nothing was written.
pub(crate) fn forward<C: Chapter>(
    arguments: &Arguments<C::Flags>,
    configured: Option<&Configured>,
    stdout: &mut dyn Write,
    stderr: &mut dyn Write,
) -> Result<()> {
    let Arguments { output, repeat, flags, .. } = arguments;
    let destination = Destination::check(output)?;
    let places = Places {
        input: &arguments.input,
        x: arguments.x.as_deref(),
        prefix: &arguments.prefix,
        ignore: &arguments.ignore,
        layer: arguments.layer,
    };
    let Inputs { input, x_file, prefix } = &Inputs::open(&places)?;
    let tensors = input.with_prefix(prefix);
    let expected = configured.map(Configured::expected);
    if let Some(expected) = &expected {
        expected.expect_tensors(&tensors)?;
    }
    let layer = match configured {
        Some(configured) => C::load_described(configured.layer(), flags, &tensors)?,
        None => C::load(flags, &tensors)?,
    };
    let wide = tensors.widths();
    let runs = repeat.unwrap_or(1);
    let (results, times) = if C::READS_X {
        let batch = Batch::read(input, x_file.as_ref(), prefix)?;
        if let Some(expected) = &expected {
            expected.expect_tokens(batch.m)?;
            expected.expect_masks(batch.sequences.iter().flat_map(|one| &one.mask))?;
        }
        expect_all_read(&tensors, x_file.as_ref(), C::NAME)?;
        let plan = Plan::of::<C>(&batch, &layer, flags, wide, !arguments.no_weights)?;
        let run = || run_all::<C>(&batch, &layer, flags, &plan);
        let (outputs, times) = timed(runs, run)?;
        let layout = match outputs.first() {
            Some(output) => Layout::of(output)?,
            None => plan.kept(batch.layout::<C>(&layer, flags)?),
        };
        (Results::stack(batch.size, &layout, outputs)?, times)
    } else {
        expect_all_read(&tensors, None, C::NAME)?;
        if let (Some(expected), Ok([_, keys, _])) = (&expected, tensors.shape("k")) {
            expected.expect_tokens(*keys)?;
        }
        let (SideBySide { y, heads }, times) = timed(runs, || C::run(&layer, flags))?;
        (Results::heads(&y, heads)?, times)
    };
    results.write(&destination)?;

    // Said at the end, so that whoever gets an error gets it alone.
    for file in [Some(input), x_file.as_ref()].into_iter().flatten() {
        for warning in file.warnings() {
            // Nobody is left to tell if standard error is closed.
            let _ = writeln!(stderr, "warning: {}", one_line(&warning));
        }
    }
    if repeat.is_some() {
        writeln!(stdout, "{}", summary(times))?;
    }
    if let Some(configured) = configured {
        writeln!(stdout, "{}", one_line(&configured.to_string()))?;
    }
    writeln!(stdout, "wrote {results} to {}", one_line(&brief_path(output)))?;
    Ok(())
}

/// Where a layer and its input are to be found.
pub(crate) struct Places<'a> {
    pub(crate) input: &'a Path,
    pub(crate) x: Option<&'a Path>,
    pub(crate) prefix: &'a str,
    pub(crate) ignore: &'a [String],
    pub(crate) layer: Option<usize>,
}

/// The files, without what is to be ignored.
pub(crate) struct Inputs {
    pub(crate) input: Tensors,
    pub(crate) x_file: Option<Tensors>,
    pub(crate) prefix: String,
}

impl Inputs {
    /// # Errors
    /// When a file cannot be read, or lacks what is to be ignored.
    pub(crate) fn open(places: &Places) -> Result<Self, TensorError> {
        let Places { input, x, prefix, ignore, layer } = *places;
        let input = Tensors::open(input)?;
        let prefix = match layer.filter(|_| prefix.is_empty()) {
            Some(layer) => prefix_of(layer, &input.names()).unwrap_or("").to_owned(),
            None => prefix.to_owned(),
        };
        let mut input = input.with_prefix(&prefix);
        let x_file = x.map(Tensors::open).transpose()?;
        let mut x_file = x_file.map(|file| file.with_prefix(&prefix));
        for pattern in ignore {
            let from_x = x_file.as_ref().and_then(|file| file.without(pattern).ok());
            match input.without(pattern) {
                Ok(rest) => input = rest,
                Err(missing) if from_x.is_none() => return Err(missing),
                Err(_) => {}
            }
            x_file = from_x.or(x_file);
        }
        Ok(Inputs { input, x_file, prefix })
    }
}

/// The layer's outputs for all sequences, one after the other.
fn run_all<C: Chapter>(
    batch: &Batch,
    layer: &C::Layer,
    flags: &C::Flags,
    plan: &Plan,
) -> Result<Vec<Output>> {
    let run = |sequence| match *plan {
        Plan::WithWeights => C::forward(layer, flags, sequence),
        Plan::WithoutWeights { rows } => {
            let y = C::forward_without_weights(layer, flags, sequence, rows)?;
            Ok(Output { y, attention_weights: Vec::new() })
        }
    };
    batch.sequences.iter().map(run).collect()
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
