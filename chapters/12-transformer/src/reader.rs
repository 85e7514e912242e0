//! Tensors on their way into a model: each is held to its shape before room is made for it,
//! and remembered.

use crate::error::ModelError;
use crate::kept::Precision;
use crate::norms::{LayerNorm, RmsNorm};
use crate::projection::Projection;
use checkpoint::{ConfigError, OpenError, Tensor, Weights};
use decoder_layer::layout::Piece;
use grouped_query::GroupError;
use latent::LatentError;
use rotary::RotaryError;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// Why a checkpoint gives no model. Each is one line.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A tensor is missing, or not what the configuration says.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The configuration cannot be read.
    #[error("config.json: {0}")]
    Config(ConfigError),
    /// It asks for what this chapter does not compute.
    #[error("{what}: {why}")]
    Lacks {
        /// What it asks for.
        what: String,
        /// What there is instead.
        why: &'static str,
    },
    /// A number that is none.
    #[error(
        "{tensor}: row {row} holds {number}: the file is damaged, or was written so by a \
         training run that failed"
    )]
    NotFinite {
        /// The tensor.
        tensor: String,
        /// Its row.
        row: usize,
        /// The number.
        number: f32,
    },
    /// Tensors that nobody would read.
    #[error("{name}: this model would not read it{more}: the file holds another kind")]
    Unread {
        /// The first.
        name: String,
        /// How many more.
        more: String,
    },
    /// Somebody has broken off.
    #[error("stopped before the weights were read")]
    Stopped,
    /// The parts do not fit together.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The rotation is none.
    #[error(transparent)]
    Rotary(#[from] RotaryError),
    /// A latent layer does not fit together.
    #[error(transparent)]
    Latent(#[from] LatentError),
    /// The parts of a layer cannot be read.
    #[error("{0:#}")]
    Parts(anyhow::Error),
}

impl LoadError {
    /// As an error about this model. One about a file names that already.
    #[must_use]
    pub fn about(self, model: &str) -> anyhow::Error {
        match self {
            LoadError::Open(error) => error.into(),
            error => anyhow::Error::new(error).context(model.to_owned()),
        }
    }
}

// Not by `#[from]`, which would make it the source, to be told once more.
impl From<ConfigError> for LoadError {
    fn from(error: ConfigError) -> Self {
        LoadError::Config(error)
    }
}

impl From<GroupError> for LoadError {
    fn from(error: GroupError) -> Self {
        LoadError::Model(error.into())
    }
}

impl From<attention::ShapeError> for LoadError {
    fn from(error: attention::ShapeError) -> Self {
        LoadError::Model(error.into())
    }
}

/// Reads the tensors of one model.
pub(crate) struct Reader<'a, G> {
    weights: &'a Weights,
    precision: Precision,
    read: RefCell<BTreeSet<String>>,
    progress: RefCell<(u64, G)>,
}

impl<'a, G: FnMut(u64) -> ControlFlow<()>> Reader<'a, G> {
    pub(crate) fn new(weights: &'a Weights, precision: Precision, go_on: G) -> Self {
        let (read, progress) = (RefCell::default(), RefCell::new((0, go_on)));
        Reader { weights, precision, read, progress }
    }

    /// `NAME.weight` (out, in), and `NAME.bias` if there has to be one, in full precision.
    pub(crate) fn in_full(
        &self,
        name: &str,
        shape: (usize, usize),
        bias: bool,
        factor: f32,
    ) -> Result<Projection, LoadError> {
        let (d_in, d_out) = shape;
        let bias = bias.then(|| self.vector(&format!("{name}.bias"), d_out));
        let weight = self.matrix(&format!("{name}.weight"), [d_out, d_in])?;
        weight.in_precision(Precision::F32, 0..d_out, bias.transpose()?, factor)
    }

    /// `NAME.weight` (out, in), and `NAME.bias` if there has to be one, times `factor`.
    pub(crate) fn linear(
        &self,
        name: &str,
        shape: (usize, usize),
        bias: bool,
        factor: f32,
    ) -> Result<Projection, LoadError> {
        let (d_in, d_out) = shape;
        let bias = bias.then(|| self.vector(&format!("{name}.bias"), d_out));
        let weight = self.matrix(&format!("{name}.weight"), [d_out, d_in])?;
        weight.projection(0..d_out, bias.transpose()?, factor)
    }

    /// The matrix of that name alone: `NAME` (out, in).
    pub(crate) fn table(
        &self,
        name: &str,
        (d_in, d_out): (usize, usize),
    ) -> Result<Projection, LoadError> {
        self.matrix(name, [d_out, d_in])?.projection(0..d_out, None, 1.0)
    }

    /// `NAME.weight` (in, out), as GPT-2 keeps it, and `NAME.bias`.
    pub(crate) fn transposed(
        &self,
        name: &str,
        (d_in, d_out): (usize, usize),
        bias: bool,
    ) -> Result<Projection, LoadError> {
        let bias = bias.then(|| self.vector(&format!("{name}.bias"), d_out));
        let name = format!("{name}.weight");
        let columns = Columns::read(self, &name, &[d_in, d_out], 0, d_in)?;
        columns.projection(0..d_out, bias.transpose()?, 1.0)
    }

    /// A projection that is a part of a tensor, or all of it, times `factor`.
    pub(crate) fn piece(
        &self,
        prefix: &str,
        piece: &Piece,
        factor: f32,
    ) -> Result<Projection, LoadError> {
        let name = format!("{prefix}{}.weight", piece.tensor);
        let rows = || piece.rows.iter().cloned().flatten();
        let bias = piece.biased.then(|| {
            let whole =
                self.vector(&format!("{prefix}{}.bias", piece.tensor), piece.of)?;
            Ok::<_, LoadError>(rows().map(|row| whole[row]).collect())
        });
        let bias = bias.transpose()?;
        if piece.transposed {
            let shape = [piece.inputs, piece.of];
            let columns = Columns::read(self, &name, &shape, 0, piece.inputs)?;
            return columns.projection(rows(), bias, factor);
        }
        self.matrix(&name, [piece.of, piece.inputs])?.projection(rows(), bias, factor)
    }

    /// The matrix (in, out) of one expert in `NAME` (experts, in, out), in which the columns
    /// `columns` are wanted, and its row of `NAME_bias` (experts, out).
    pub(crate) fn of_expert(
        &self,
        name: &str,
        [experts, d_in, d_out]: [usize; 3],
        expert: usize,
        columns: impl Iterator<Item = usize> + Clone,
    ) -> Result<Projection, LoadError> {
        let biases = self.matrix(&format!("{name}_bias"), [experts, d_out])?;
        let mut bias = vec![0.0; d_out];
        biases.row(expert, &mut bias)?;
        let bias = columns.clone().map(|column| bias[column]).collect();
        let shape = [experts, d_in, d_out];
        let first = expert * d_in;
        let all = Columns::read(self, name, &shape, first, d_in)?;
        all.projection(columns, Some(bias), 1.0)
    }

    /// The matrix of one expert in `NAME` (experts, out, in), of which the rows `rows` are
    /// wanted.
    pub(crate) fn rows_of_expert(
        &self,
        name: &str,
        [experts, d_out, d_in]: [usize; 3],
        expert: usize,
        rows: std::ops::Range<usize>,
    ) -> Result<Projection, LoadError> {
        let all = self.any(name, &[experts, d_out, d_in])?;
        let first = expert * d_out;
        all.projection(rows.start + first..rows.end + first, None, 1.0)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.weights.contains(name)
    }

    fn matrix(
        &self,
        name: &str,
        shape: [usize; 2],
    ) -> Result<Rows<'_, 'a, G>, LoadError> {
        self.any(name, &shape)
    }

    fn any(&self, name: &str, shape: &[usize]) -> Result<Rows<'_, 'a, G>, LoadError> {
        let name = self.remember(name);
        let tensor = self.weights.shaped(&name, shape, "config.json")?;
        Ok(Rows { reader: self, name, tensor })
    }

    pub(crate) fn vector(
        &self,
        name: &str,
        width: usize,
    ) -> Result<Vec<f32>, LoadError> {
        self.numbers(name, &[width])
    }

    /// A small tensor of any shape, row after row.
    pub(crate) fn numbers(
        &self,
        name: &str,
        shape: &[usize],
    ) -> Result<Vec<f32>, LoadError> {
        let name = self.remember(name);
        let tensor = self.weights.shaped(&name, shape, "config.json")?;
        let numbers = tensor.to_f32()?;
        expect_finite(&name, 0, &numbers)?;
        self.weights.forget(&name);
        self.count(numbers.len())?;
        Ok(numbers)
    }

    pub(crate) fn rms_norm(
        &self,
        name: &str,
        width: usize,
        gain_plus_one: bool,
        eps: f64,
    ) -> Result<RmsNorm, LoadError> {
        let mut gain = self.vector(&format!("{name}.weight"), width)?;
        if gain_plus_one {
            for gain in &mut gain {
                *gain += 1.0;
            }
        }
        Ok(RmsNorm::new(gain, eps as f32))
    }

    pub(crate) fn layer_norm(
        &self,
        name: &str,
        width: usize,
        has_bias: bool,
        eps: f64,
    ) -> Result<LayerNorm, LoadError> {
        let gain = self.vector(&format!("{name}.weight"), width)?;
        let bias = if has_bias {
            self.vector(&format!("{name}.bias"), width)?
        } else {
            vec![0.0; width]
        };
        Ok(LayerNorm::new(gain, bias, eps as f32)?)
    }

    fn remember(&self, name: &str) -> String {
        self.read.borrow_mut().insert(name.to_owned());
        name.to_owned()
    }

    fn count(&self, numbers: usize) -> Result<(), LoadError> {
        let (done, go_on) = &mut *self.progress.borrow_mut();
        *done += numbers as u64;
        match go_on(*done) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(LoadError::Stopped),
        }
    }

    /// Nothing is left in the file but what is known to be `harmless`.
    pub(crate) fn expect_all(
        &self,
        harmless: impl Fn(&str) -> bool,
    ) -> Result<(), LoadError> {
        let read = self.read.borrow();
        let left: Vec<&str> = self
            .weights
            .names()
            .filter(|name| !read.contains(*name) && !harmless(name))
            .collect();
        match left[..] {
            [] => Ok(()),
            [first] => Err(unread(first, String::new())),
            [first, ..] => {
                Err(unread(first, format!(", nor {} others", left.len() - 1)))
            }
        }
    }
}

/// A tensor whose rows are features that leave.
struct Rows<'r, 'a, G> {
    reader: &'r Reader<'a, G>,
    name: String,
    tensor: Tensor<'r>,
}

impl<G: FnMut(u64) -> ControlFlow<()>> Rows<'_, '_, G> {
    fn row(&self, row: usize, out: &mut [f32]) -> Result<(), LoadError> {
        self.tensor.row_to_f32(row, out)?;
        expect_finite(&self.name, row, out)?;
        self.reader.count(out.len())
    }

    /// A map that gives these of its features, times `factor`.
    fn projection(
        &self,
        rows: impl IntoIterator<Item = usize>,
        bias: Option<Vec<f32>>,
        factor: f32,
    ) -> Result<Projection, LoadError> {
        self.in_precision(self.reader.precision, rows, bias, factor)
    }

    fn in_precision(
        &self,
        precision: Precision,
        rows: impl IntoIterator<Item = usize>,
        bias: Option<Vec<f32>>,
        factor: f32,
    ) -> Result<Projection, LoadError> {
        let rows: Vec<usize> = rows.into_iter().collect();
        let shape = (self.tensor.width(), rows.len());
        let weight = Projection::read(shape, precision, |feature, out| {
            self.row(rows[feature], out)?;
            times(out, factor);
            Ok::<_, LoadError>(())
        })?;
        self.reader.weights.forget(&self.name);
        with_bias(weight, bias, factor)
    }
}

/// A matrix whose columns are features that leave.
struct Columns {
    precision: Precision,
    /// One row after the other.
    numbers: Vec<f32>,
    d_out: usize,
}

impl Columns {
    /// `d_in` rows of the tensor `name` of this shape, from row `first` on.
    fn read<G: FnMut(u64) -> ControlFlow<()>>(
        reader: &Reader<G>,
        name: &str,
        shape: &[usize],
        first: usize,
        d_in: usize,
    ) -> Result<Self, LoadError> {
        let rows = reader.any(name, shape)?;
        let d_out = rows.tensor.width();
        let mut numbers = vec![0.0; d_in * d_out];
        for (row, out) in numbers.chunks_exact_mut(d_out.max(1)).enumerate() {
            rows.row(first + row, out)?;
        }
        reader.weights.forget(&rows.name);
        Ok(Columns { precision: reader.precision, numbers, d_out })
    }

    fn projection(
        &self,
        columns: impl Iterator<Item = usize>,
        bias: Option<Vec<f32>>,
        factor: f32,
    ) -> Result<Projection, LoadError> {
        let columns: Vec<usize> = columns.collect();
        let shape = (self.numbers.len() / self.d_out.max(1), columns.len());
        let weight = Projection::read(shape, self.precision, |feature, out| {
            let rows = self.numbers.chunks_exact(self.d_out.max(1));
            out.iter_mut().zip(rows).for_each(|(x, row)| *x = row[columns[feature]]);
            times(out, factor);
            Ok::<_, LoadError>(())
        })?;
        with_bias(weight, bias, factor)
    }
}

fn times(numbers: &mut [f32], factor: f32) {
    if factor != 1.0 {
        for x in numbers {
            *x *= factor;
        }
    }
}

fn with_bias(
    weight: Projection,
    bias: Option<Vec<f32>>,
    factor: f32,
) -> Result<Projection, LoadError> {
    match bias {
        Some(mut bias) => {
            times(&mut bias, factor);
            Ok(weight.with_bias(bias)?)
        }
        None => Ok(weight),
    }
}

fn unread(name: &str, more: String) -> LoadError {
    LoadError::Unread { name: name.to_owned(), more }
}

fn expect_finite(tensor: &str, row: usize, numbers: &[f32]) -> Result<(), LoadError> {
    match numbers.iter().find(|number| !number.is_finite()) {
        None => Ok(()),
        Some(&number) => {
            Err(LoadError::NotFinite { tensor: tensor.to_owned(), row, number })
        }
    }
}
