//! The smallest chapter: one linear map, and attention that looks everywhere alike.

use anyhow::{Result, ensure};
use chapter_cli::{
    Chapter, Described, Destination, Flag, Lack, LinearTensors, Output, RawTensor,
    Sequence, Tensors, by_rows,
};
use clap::{Args, FromArgMatches};
use figures::{Axis, Chart, Figure, Hue, Words};
use nalgebra::{DMatrix, DVector};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    chapter_cli::main::<Scale>()
}

/// A chapter on `y = x W + b`.
pub struct Scale;

/// The flags that only this chapter has.
#[derive(clap::Args)]
pub struct Flags {
    /// How many heads look
    #[arg(long, default_value_t = 1)]
    heads: usize,
}

/// Double the weight of a file
#[derive(clap::Args)]
struct Double {
    /// The safetensors file to read
    #[arg(long)]
    input: PathBuf,
    /// The safetensors file to write
    #[arg(long)]
    output: PathBuf,
}

/// The weights.
pub struct Layer {
    /// (`d_in`, `d_out`)
    weight: DMatrix<f32>,
    /// `d_out` entries
    bias: DVector<f32>,
}

impl Chapter for Scale {
    const NAME: &'static str = "scale";
    const FOLDER: &'static str = "00-scale";
    const ABOUT: &'static str = "A linear map, told as if it were attention.";
    const FORWARD_HELP: &'static str = "\
The file holds scale.weight [d_out, d_in], perhaps scale.bias [d_out], and x [n, d_in].

  cargo run -p scale -- forward --input layer.safetensors --output out.safetensors";

    type Flags = Flags;
    type Layer = Layer;

    fn example() -> Result<String> {
        let layer =
            Layer { weight: DMatrix::repeat(1, 1, 2.0), bias: DVector::zeros(1) };
        let y = layer.forward(&DMatrix::repeat(1, 1, 21.0))?;
        Ok(format!("2 · 21 = {}\n", y[0]))
    }

    fn figures() -> Result<Vec<Figure>> {
        let line = [(0.0, 0.0), (21.0, 42.0)];
        let chart = Chart::new(Axis::linear("x"), Axis::linear("y")).line(
            "y",
            Hue::Accent,
            line,
        );
        let words = Words {
            title: "Twice as much goes out".into(),
            caption: "What goes out is twice what goes in.".into(),
            alt: "A line from 0, 0 to 21, 42.".into(),
        };
        Ok(vec![Figure::draw("line", words, &chart)?])
    }

    fn flags_of(layer: &mut Described) -> Result<Vec<Flag>, Lack> {
        let heads = layer.heads_alone()?;
        Ok(vec![Flag::value("--heads", &heads)])
    }

    fn load(flags: &Flags, tensors: &Tensors) -> Result<Layer> {
        ensure!(flags.heads > 0, "--heads 0: there must be one that looks");
        let LinearTensors { weight, bias } = tensors.linear("scale")?;
        let bias = bias.unwrap_or_else(|| DVector::zeros(weight.ncols()));
        Ok(Layer { weight, bias })
    }

    fn forward(layer: &Layer, flags: &Flags, sequence: &Sequence) -> Result<Output> {
        let Sequence { x, context, mask, real } = sequence;
        let m = context.as_ref().unwrap_or(x).nrows();
        let mut weights = DMatrix::repeat(x.nrows(), m, 1.0 / m as f32);
        if let Some(allowed) = mask {
            weights.zip_apply(allowed, |w, allowed| *w *= f32::from(u8::from(allowed)));
        }
        if let Some(real) = real {
            for (mut key, _) in
                weights.column_iter_mut().zip(real).filter(|(_, real)| !**real)
            {
                key.fill(0.0);
            }
        }
        let y = layer.forward(x)?;
        Ok(Output { y, attention_weights: vec![weights; flags.heads] })
    }

    fn forward_without_weights(
        layer: &Layer,
        _: &Flags,
        sequence: &Sequence,
        rows: usize,
    ) -> Result<DMatrix<f32>> {
        let x = &sequence.x;
        by_rows(x.nrows(), rows, |rows| {
            layer.forward(&x.rows(rows.start, rows.len()).into_owned())
        })
    }

    fn commands() -> Vec<clap::Command> {
        vec![Double::augment_args(clap::Command::new("double"))]
    }

    fn obey(
        _: &str,
        arguments: &clap::ArgMatches,
        stdout: &mut dyn Write,
        stderr: &mut dyn Write,
    ) -> Result<()> {
        let Double { input, output } = Double::from_arg_matches(arguments)?;
        let destination = Destination::check(&output)?;
        let file = Tensors::open(&input)?;
        let mut tensors = BTreeMap::new();
        for name in file.names() {
            tensors.insert(name.clone(), file.raw(&name)?);
        }
        let RawTensor { dtype, shape, .. } = file.raw("scale.weight")?;
        let doubled = file.linear("scale")?.weight * 2.0;
        let doubled = RawTensor::of(dtype, shape, doubled.as_slice())?;
        tensors.insert("scale.weight".to_owned(), doubled);
        destination.write_tensors(&tensors, file.metadata())?;
        for warning in file.warnings() {
            writeln!(stderr, "warning: {warning}")?;
        }
        Ok(writeln!(stdout, "doubled scale.weight")?)
    }
}

impl Layer {
    /// `x` (n, `d_in`) to (n, `d_out`).
    fn forward(&self, x: &DMatrix<f32>) -> Result<DMatrix<f32>> {
        let (found, expected) = (x.shape(), (x.nrows(), self.weight.nrows()));
        ensure!(found == expected, "x: expected {expected:?}, found {found:?}");
        let mut y = x * &self.weight;
        for mut token in y.row_iter_mut() {
            token += self.bias.transpose();
        }
        Ok(y)
    }
}
