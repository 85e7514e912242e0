//! What a safetensors file holds, as nalgebra matrices, or a sentence about why not.

use crate::file::{Entry, File};
use crate::message::{brief, brief_path, shape};
use crate::names::hint;
use crate::raw::RawTensor;
use nalgebra::{DMatrix, DVector};
use safetensors::Dtype;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// A safetensors file, perhaps seen through a prefix: with the prefix
/// `model.layers.0.self_attn.`, `q_proj.weight` names
/// `model.layers.0.self_attn.q_proj.weight`.
///
/// Numbers may be F32, F16 or BF16, and come as `f32`. A tensor without numbers, such
/// as `[0, 64]`, is fine.
#[derive(Debug, Clone)]
pub struct Tensors {
    file: Rc<File>,
    prefix: String,
}

/// What `nn.Linear` keeps in a file.
#[derive(Debug, Clone, PartialEq)]
pub struct LinearTensors {
    /// (`d_in`, `d_out`), so that the map is `x * weight`.
    pub weight: DMatrix<f32>,
    /// `d_out` entries, if the file holds any.
    pub bias: Option<DVector<f32>>,
}

/// A tensor `[rows, cols]`, or `[batch, rows, cols]`: one matrix a sequence.
#[derive(Debug, Clone, PartialEq)]
pub struct Stack<T> {
    /// The shape in the file, two or three numbers.
    pub shape: Vec<usize>,
    /// Each (rows, cols). There is one when the shape has two numbers.
    pub matrices: Vec<DMatrix<T>>,
}

impl Tensors {
    /// Reads the whole file at `path`.
    ///
    /// # Errors
    /// When the file cannot be read, or is not what the format asks for.
    pub fn open(path: &Path) -> Result<Self, TensorError> {
        let file = Rc::new(File::read(path)?);
        Ok(Tensors { file, prefix: String::new() })
    }

    /// A file that is in memory already, under the name that errors give it.
    ///
    /// # Errors
    /// When it is not what the format asks for.
    pub fn parse(name: &str, bytes: Vec<u8>) -> Result<Self, TensorError> {
        let file = Rc::new(File::parse(name.into(), bytes)?);
        Ok(Tensors { file, prefix: String::new() })
    }

    /// The same file, with `prefix` before every name that is asked for.
    #[must_use]
    pub fn with_prefix(&self, prefix: &str) -> Self {
        Tensors { file: Rc::clone(&self.file), prefix: prefix.to_owned() }
    }

    /// The weight `name.weight` `[d_out, d_in]` and, if there is one, the bias
    /// `name.bias` `[d_out]`.
    ///
    /// # Errors
    /// When the weight is missing, or either has another shape or dtype.
    pub fn linear(&self, name: &str) -> Result<LinearTensors, TensorError> {
        let weight_name = format!("{name}.weight");
        let entry = self.entry(&weight_name)?;
        let &[d_out, d_in] = entry.shape else {
            return Err(entry.wrong_rank("[out, in]"));
        };
        // PyTorch keeps [out, in] row after row; nalgebra keeps a matrix column after
        // column. Read column after column, the same numbers are the (in, out) matrix
        // that `x * weight` wants: there is nothing to transpose.
        let weight = DMatrix::from_vec(d_in, d_out, self.numbers(&entry)?);

        let bias_name = format!("{name}.bias");
        if !self.contains(&bias_name) {
            return Ok(LinearTensors { weight, bias: None });
        }
        let bias = self.vector(&bias_name)?;
        if bias.len() != d_out {
            let because = format!("{} is {}", brief(&entry.name), shape(entry.shape));
            return Err(self.mismatch(&bias_name, &[d_out], &because));
        }
        Ok(LinearTensors { weight, bias: Some(bias) })
    }

    /// The tensor `name` `[rows, cols]` as a matrix (rows, cols).
    ///
    /// # Errors
    /// When it is missing, or has another rank or dtype.
    pub fn matrix(&self, name: &str) -> Result<DMatrix<f32>, TensorError> {
        let entry = self.entry(name)?;
        let &[rows, cols] = entry.shape else {
            return Err(entry.wrong_rank("[rows, cols]"));
        };
        Ok(DMatrix::from_row_slice(rows, cols, &self.numbers(&entry)?))
    }

    /// The tensor `name` `[length]`.
    ///
    /// # Errors
    /// When it is missing, or has another rank or dtype.
    pub fn vector(&self, name: &str) -> Result<DVector<f32>, TensorError> {
        let entry = self.entry(name)?;
        let &[_] = entry.shape else {
            return Err(entry.wrong_rank("[length]"));
        };
        Ok(DVector::from_vec(self.numbers(&entry)?))
    }

    /// The tensor `name` of two or three dimensions. `wanted` says in an error which:
    /// `[n, d] or [b, n, d]`.
    ///
    /// # Errors
    /// When it is missing, or has another rank or dtype.
    pub fn stack(&self, name: &str, wanted: &str) -> Result<Stack<f32>, TensorError> {
        let entry = self.entry(name)?;
        entry.stack(wanted, || self.numbers(&entry))
    }

    /// Like [`Tensors::stack`], for a tensor of dtype BOOL.
    ///
    /// # Errors
    /// When it is missing, or has another rank or dtype.
    pub fn bool_stack(
        &self,
        name: &str,
        wanted: &str,
    ) -> Result<Stack<bool>, TensorError> {
        let entry = self.entry(name)?;
        entry.stack(wanted, || entry.booleans())
    }

    /// The tensor `name` as it lies in the file, of any dtype.
    ///
    /// # Errors
    /// When it is missing.
    pub fn raw(&self, name: &str) -> Result<RawTensor<'_>, TensorError> {
        let Entry { dtype, shape, bytes, .. } = self.entry(name)?;
        Ok(RawTensor { dtype, shape: shape.to_vec(), bytes: bytes.into() })
    }

    /// Whether the file holds a tensor `name`.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.file.header.info(&self.full_name(name)).is_some()
    }

    /// The names that begin with the prefix, without it, in alphabetical order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let all = self.file.header.offset_keys();
        let mut names: Vec<String> = all
            .iter()
            .filter_map(|name| name.strip_prefix(&self.prefix))
            .map(str::to_owned)
            .collect();
        names.sort();
        names
    }

    /// What the file's writer noted about it, if anything.
    #[must_use]
    pub fn metadata(&self) -> Option<&HashMap<String, String>> {
        self.file.header.metadata().as_ref()
    }

    /// The shape of the tensor `name`, as the file has it.
    ///
    /// # Errors
    /// When it is missing.
    pub fn shape(&self, name: &str) -> Result<&[usize], TensorError> {
        Ok(self.entry(name)?.shape)
    }

    /// The error to give when the tensor `name` should have had the shape `wanted`:
    /// `k_proj.weight: shape [48, 512], wanted [64, 512], because …`. Shapes are those
    /// of the file.
    #[must_use]
    pub fn mismatch(&self, name: &str, wanted: &[usize], because: &str) -> TensorError {
        self.unfit(name, shape(wanted), because)
    }

    /// [`Tensors::mismatch`], where more than one shape would do.
    pub(crate) fn unfit(
        &self,
        name: &str,
        wanted: String,
        because: &str,
    ) -> TensorError {
        match self.entry(name) {
            Ok(entry) => entry.wrong_shape(wanted, because),
            Err(missing) => missing,
        }
    }

    /// One sentence for each tensor that was read so far and holds NaN or infinities.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.file.warnings.borrow().clone()
    }

    fn full_name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn entry(&self, name: &str) -> Result<Entry<'_>, TensorError> {
        let entry = self.file.entry(self.full_name(name));
        let entry = entry.ok_or_else(|| self.missing(name))?;
        // No real tensor looks like this, and a loop over its rows would not end.
        if entry.bytes.is_empty() && entry.shape.iter().any(|&d| d > LONGEST_EMPTY) {
            let found = entry.shape.to_vec();
            return Err(TensorError::Hollow { name: entry.name, found });
        }
        Ok(entry)
    }

    fn numbers(&self, entry: &Entry) -> Result<Vec<f32>, TensorError> {
        let numbers = entry.numbers()?;
        if let Some(warning) = not_finite(&entry.name, &numbers) {
            let mut warnings = self.file.warnings.borrow_mut();
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
        Ok(numbers)
    }

    fn missing(&self, name: &str) -> TensorError {
        TensorError::Missing {
            name: self.full_name(name),
            path: self.file.path.clone(),
            hint: hint(name, &self.prefix, self.file.header.offset_keys()),
        }
    }
}

impl<T> Stack<T> {
    /// How many sequences the file says that there are, if it says so.
    #[must_use]
    pub fn batch(&self) -> Option<usize> {
        (self.shape.len() == 3).then(|| self.shape[0])
    }

    /// The rows of each matrix.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.shape[self.shape.len() - 2]
    }

    /// The columns of each matrix.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.shape[self.shape.len() - 1]
    }

    /// The matrix of the sequence `index`: its own, or the one that all share.
    #[must_use]
    pub fn of_sequence(&self, index: usize) -> Option<&DMatrix<T>> {
        let index = if self.batch().is_some() { index } else { 0 };
        self.matrices.get(index)
    }
}

fn not_finite(name: &str, numbers: &[f32]) -> Option<String> {
    let nans = numbers.iter().filter(|x| x.is_nan()).count();
    let infinities = numbers.iter().filter(|x| x.is_infinite()).count();
    let infinite = match infinities {
        1 => "1 infinity".to_owned(),
        many => format!("{many} infinities"),
    };
    let name = brief(name);
    match (nans, infinities) {
        (0, 0) => None,
        (_, 0) => {
            Some(format!("{name} holds {nans} NaN; every output that uses them is NaN"))
        }
        (0, _) => Some(format!(
            "{name} holds {infinite}; outputs that use them may be infinite or NaN"
        )),
        _ => Some(format!(
            "{name} holds {nans} NaN and {infinite}; outputs that use them are NaN"
        )),
    }
}

/// A tensor without numbers may be this long in a direction.
const LONGEST_EMPTY: usize = 1 << 20;

/// Why a tensor cannot be had. Shapes are those of the file.
#[derive(Debug, thiserror::Error)]
pub enum TensorError {
    /// The operating system does not give out the file.
    #[error("cannot read {}", brief_path(.path))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The file is not a safetensors file, or a damaged one.
    #[error("cannot read {} as safetensors: {reason}", brief_path(.path))]
    NotSafetensors {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no tensor of that name.
    #[error("no tensor `{}` in {}; {hint}", brief(.name), brief_path(.path))]
    Missing {
        /// The name, prefix included.
        name: String,
        /// The file.
        path: PathBuf,
        /// Which names there are.
        hint: String,
    },
    /// The tensor has another element type.
    #[error("{}: dtype {found}, wanted {wanted}", brief(.name))]
    WrongDtype {
        /// The tensor.
        name: String,
        /// The element type that it has.
        found: Dtype,
        /// Those that would do.
        wanted: &'static str,
    },
    /// The tensor has another number of dimensions.
    #[error("{}: shape {}, wanted {wanted}", brief(.name), shape(.found))]
    WrongRank {
        /// The tensor.
        name: String,
        /// The shape that it has.
        found: Vec<usize>,
        /// The kind of shape that would do, `[n, d] or [b, n, d]`.
        wanted: String,
    },
    /// The tensor has other lengths.
    #[error(
        "{}: shape {}, wanted {wanted}, because {because}",
        brief(.name),
        shape(.found)
    )]
    WrongShape {
        /// The tensor.
        name: String,
        /// The shape that it has.
        found: Vec<usize>,
        /// The shape that would do.
        wanted: String,
        /// What asks for that shape.
        because: String,
    },
    /// The tensor holds nothing, and yet claims to be huge.
    #[error(
        "{}: shape {} holds nothing; then no length may be above {LONGEST_EMPTY}",
        brief(.name),
        shape(.found)
    )]
    Hollow {
        /// The tensor.
        name: String,
        /// The shape that it has.
        found: Vec<usize>,
    },
}
