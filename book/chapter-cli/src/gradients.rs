//! `gradients`: a layer and the gradient of its output out of files, the gradients of all
//! that it has learned into another.

use crate::batch::Batch;
use crate::command::in_short;
use crate::configured::Configured;
use crate::forward::{FILES_WITH_X, Inputs, Places};
use crate::message::{brief_path, count, one_line};
use crate::output::Destination;
use crate::spelling::Place;
use crate::tensors::Tensors;
use crate::unread::expect_all_read;
use crate::{Chapter, Dtype, Sequence, TensorError};
use anyhow::{Result, anyhow, ensure};
use checkpoint::Attention;
use clap::{ArgMatches, Args, Command, FromArgMatches};
use nalgebra::{DMatrix, DVector};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

/// The gradients of one sequence.
#[derive(Debug, Clone, PartialEq)]
pub struct Gradients {
    /// (n, d): of x, if the layer reads one.
    pub x: Option<DMatrix<f32>>,
    /// (m, `d_context`): of the tokens that were looked at instead of x, if there are any.
    pub context: Option<DMatrix<f32>>,
    /// Of what the layer has learned.
    pub learned: Vec<Gradient>,
}

/// The gradient of one thing that a layer has learned.
#[derive(Debug, Clone, PartialEq)]
pub enum Gradient {
    /// Of a linear map, by the name of its projection. It may stand in the file under
    /// PyTorch's names.
    Linear {
        /// `q_proj`.
        name: &'static str,
        /// (`d_in`, `d_out`).
        weight: DMatrix<f32>,
        /// `d_out` entries, if there is a bias.
        bias: Option<DVector<f32>>,
    },
    /// Of a tensor, by its name behind the prefix. Of a tensor that holds several things
    /// there may be several, which are summed.
    Tensor {
        /// `sinks`.
        name: String,
        /// As in the file.
        shape: Vec<usize>,
        /// Row after row.
        numbers: Vec<f32>,
    },
}

/// How a layer goes back.
pub enum Backward<C: Chapter> {
    /// From a sequence, and the gradient `dy` (n, `d_out`) of what the layer makes of it.
    /// The layer may come with the description that it was read by.
    OfSequence(fn(&Loaded<C>, &Sequence, &DMatrix<f32>) -> Result<Gradients>),
    /// From the gradient of the output, in a chapter without [`Chapter::READS_X`]. `dy` is
    /// the tensor of that name in the file, which the function reads.
    OfCall(fn(&Loaded<C>, &Tensors) -> Result<Gradients>),
}

/// A layer out of a file.
pub struct Loaded<C: Chapter> {
    /// The layer.
    pub layer: C::Layer,
    /// What was said about it.
    pub flags: C::Flags,
    /// What its `config.json` says, if there is one.
    pub described: Option<Attention>,
}

/// The flags of `gradients`.
#[derive(Debug, clap::Args)]
struct Arguments<F: clap::Args> {
    /// The safetensors file that holds the layer, and dy
    #[arg(long, value_name = "FILE")]
    input: PathBuf,

    /// The safetensors file to write
    #[arg(long, value_name = "FILE")]
    output: PathBuf,

    /// The config.json of the model, which sets the flags of the layer
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// With --config: which layer it is, counted from 0
    #[arg(long, value_name = "N", requires = "config")]
    layer: Option<usize>,

    /// The file that holds x and dy, if it is not the input
    #[arg(long, value_name = "FILE")]
    x: Option<PathBuf>,

    /// Go on without a tensor of the file, as if it were not there; may be repeated
    #[arg(long, value_name = "NAME")]
    ignore: Vec<String>,

    /// What stands before the names of the layer's tensors
    #[arg(long, default_value = "", hide_default_value = true)]
    prefix: String,

    #[command(flatten)]
    flags: F,
}

/// The flags of `gradients` for the layers of a chapter.
#[must_use]
pub fn gradients_command<C: Chapter>() -> Command {
    let about = format!(
        "The gradients of a layer of {}, as autograd would give them.\n\nThe input holds the \
         tensors that `forward` reads, and dy, the gradient of y, in its shape. The output \
         holds dx, and d.NAME for every tensor NAME of the layer, in the shape that it has \
         in the file. Those of a batch are summed.",
        C::NAME
    );
    Arguments::<C::Flags>::augment_args(Command::new("gradients"))
        .bin_name(format!("cargo run -p learning -- gradients --mechanism {}", C::NAME))
        .about("The gradients of a layer")
        .long_about(about)
        .after_long_help(if C::READS_X { FILES_WITH_X } else { "" })
        .max_term_width(88)
        .mut_arg("x", |x| x.hide(!C::READS_X))
        .mut_args(crate::command::unless_configured)
}

/// Runs a layer backward as the command line `args` says, which begins with the name of the
/// command, and writes its gradients.
///
/// # Errors
/// When a file, a tensor or a flag is not as it should be; then nothing was written.
pub fn gradients<C: Chapter>(
    mut args: Vec<OsString>,
    backward: &Backward<C>,
    stdout: &mut dyn Write,
    stderr: &mut dyn Write,
) -> Result<()> {
    let command = gradients_command::<C>();
    let told = |error: clap::Error| anyhow!(in_short(&error));
    let given = match command.clone().try_get_matches_from(&args) {
        Err(help) if !help.use_stderr() => {
            return Ok(write!(stdout, "{}", help.render())?);
        }
        given => given.map_err(told)?,
    };
    let is_configured = given.contains_id("config");
    let configured =
        is_configured.then(|| Configured::read::<C>(&given)).transpose()?;
    let matches: ArgMatches = match &configured {
        Some(configured) => {
            args.extend(configured.missing(&given, &command)?);
            command.try_get_matches_from(&args).map_err(told)?
        }
        None => given,
    };
    let arguments = Arguments::<C::Flags>::from_arg_matches(&matches).map_err(told)?;
    let destination = Destination::check(&arguments.output)?;
    let written = one_line(&brief_path(&arguments.output));
    let Arguments { input, x, prefix, ignore, layer, flags, .. } = arguments;
    let x = x.as_deref();
    let places = Places { input: &input, x, prefix: &prefix, ignore: &ignore, layer };
    let (sums, warnings) = run(&places, flags, configured.as_ref(), backward)?;
    sums.write(&destination)?;
    for warning in warnings {
        // Nobody is left to tell if standard error is closed.
        let _ = writeln!(stderr, "warning: {}", one_line(&warning));
    }
    if let Some(configured) = &configured {
        writeln!(stdout, "{}", one_line(&configured.to_string()))?;
    }
    let tensors = count(sums.tensors.len(), "tensor");
    writeln!(stdout, "wrote {tensors} to {written}")?;
    Ok(())
}

/// The gradients, and what is to be said about the files.
fn run<C: Chapter>(
    places: &Places,
    flags: C::Flags,
    configured: Option<&Configured>,
    backward: &Backward<C>,
) -> Result<(Sums, Vec<String>)> {
    let Inputs { input, x_file, prefix } = &Inputs::open(places)?;
    let tensors = input.with_prefix(prefix);
    let expected = configured.map(Configured::expected);
    if let Some(expected) = &expected {
        expected.expect_tensors(&tensors)?;
    }
    let described = configured.map(|configured| configured.layer().clone());
    let layer = match &described {
        Some(described) => C::load_described(described, &flags, &tensors)?,
        None => C::load(&flags, &tensors)?,
    };
    let loaded = Loaded { layer, flags, described };
    let mut sums = Sums::new(tensors.clone());
    match backward {
        Backward::OfCall(back) => {
            let gradients = back(&loaded, &tensors)?;
            expect_all_read(&tensors, None, C::NAME)?;
            sums.add(gradients)?;
        }
        Backward::OfSequence(back) => {
            let batch = Batch::read(input, x_file.as_ref(), prefix)?;
            let dy = batch.beside("dy", input, x_file.as_ref(), prefix)?;
            if let Some(expected) = &expected {
                expected.expect_tokens(batch.m)?;
                let masks = batch.sequences.iter().flat_map(|one| &one.mask);
                expected.expect_masks(masks)?;
            }
            expect_all_read(&tensors, x_file.as_ref(), C::NAME)?;
            ensure!(
                !batch.sequences.is_empty(),
                "x: a batch of no sequences has no gradients"
            );
            for (sequence, dy) in batch.sequences.iter().zip(&dy) {
                sums.add(back(&loaded, sequence, dy)?)?;
            }
            sums.stack(batch.size);
        }
    }
    let files = [Some(input), x_file.as_ref()].into_iter().flatten();
    Ok((sums, files.flat_map(Tensors::warnings).collect()))
}

/// Gradients by the names and in the shapes of the output file.
struct Sums {
    layer: Tensors,
    tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    /// Of the sequences, one after the other.
    x: Vec<DMatrix<f32>>,
    context: Vec<DMatrix<f32>>,
}

impl Sums {
    fn new(layer: Tensors) -> Self {
        Sums { layer, tensors: BTreeMap::new(), x: Vec::new(), context: Vec::new() }
    }

    fn add(&mut self, gradients: Gradients) -> Result<(), TensorError> {
        self.x.extend(gradients.x);
        self.context.extend(gradients.context);
        for gradient in gradients.learned {
            match gradient {
                // As in `Tensors::linear`, columns of (in, out) are rows of [out, in].
                Gradient::Linear { name, weight, bias } => {
                    self.add_part(name, "weight", weight.as_slice())?;
                    if let Some(bias) = bias {
                        self.add_part(name, "bias", bias.as_slice())?;
                    }
                }
                Gradient::Tensor { name, shape, numbers } => {
                    let sum = self.sum(&name, &shape);
                    sum.iter_mut().zip(numbers).for_each(|(sum, d)| *sum += d);
                }
            }
        }
        Ok(())
    }

    /// Adds to the tensor that holds `part` of the projection `name`.
    fn add_part(
        &mut self,
        name: &str,
        part: &str,
        d: &[f32],
    ) -> Result<(), TensorError> {
        let whole = Place::Whole(format!("{name}.{part}"));
        let place = self.layer.place(name, part)?.unwrap_or(whole);
        let first = match &place {
            Place::Whole(_) => 0,
            Place::Third(_, third) => third * d.len(),
        };
        let shape = self.layer.shape(place.name())?.to_vec();
        let sum = &mut self.sum(place.name(), &shape)[first..];
        sum.iter_mut().zip(d).for_each(|(sum, d)| *sum += d);
        Ok(())
    }

    fn sum(&mut self, name: &str, shape: &[usize]) -> &mut [f32] {
        let name = format!("d.{}", self.layer.full_name(name));
        let zeros = || (shape.to_vec(), vec![0.0; shape.iter().product()]);
        &mut self.tensors.entry(name).or_insert_with(zeros).1
    }

    /// Puts the gradients of sequences into tensors, with their number in front if there is
    /// a batch.
    fn stack(&mut self, batch: Option<usize>) {
        let all = [
            ("dx", std::mem::take(&mut self.x)),
            ("d.context", std::mem::take(&mut self.context)),
        ];
        for (name, matrices) in all {
            let Some(first) = matrices.first() else { continue };
            let (rows, columns) = first.shape();
            let shape = batch.into_iter().chain([rows, columns]).collect();
            // The transpose lies in memory as the file wants it.
            let numbers =
                matrices.iter().flat_map(|m| m.transpose().as_slice().to_vec());
            self.tensors.insert(name.to_owned(), (shape, numbers.collect()));
        }
    }

    fn write(&self, destination: &Destination) -> Result<()> {
        let shapes = self
            .tensors
            .iter()
            .map(|(name, (shape, _))| (name.as_str(), Dtype::F32, &shape[..]));
        let numbers = self
            .tensors
            .values()
            .map(|(_, numbers)| numbers.iter().flat_map(|x| x.to_le_bytes()).collect());
        destination.write_lazily(shapes, numbers)
    }
}
