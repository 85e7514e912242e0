//! What a safetensors file holds, as nalgebra matrices, or a sentence about why not.

use crate::error::{LONGEST_EMPTY, TensorError};
use crate::file::{Entry, File};
use crate::message::{brief, shape};
use crate::names::hint;
use crate::prefix::{behind, whole};
use crate::raw::RawTensor;
use crate::spelling::{Place, places, third};
use crate::stack::Stack;
use nalgebra::{DMatrix, DVector};
use safetensors::Dtype;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
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
    /// Full names of tensors that count as if they were not there.
    ignored: Rc<BTreeSet<String>>,
}

/// A tensor of any dtype that is a number, or yes and no.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Values {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    /// Row after row; true is 1.
    pub(crate) numbers: Vec<f64>,
}

/// What `nn.Linear` keeps in a file.
#[derive(Debug, Clone, PartialEq)]
pub struct LinearTensors {
    /// (`d_in`, `d_out`), so that the map is `x * weight`.
    pub weight: DMatrix<f32>,
    /// `d_out` entries, if the file holds any.
    pub bias: Option<DVector<f32>>,
}

impl Tensors {
    /// Reads the whole file at `path`.
    ///
    /// # Errors
    /// When the file cannot be read, or is not what the format asks for.
    pub fn open(path: &Path) -> Result<Self, TensorError> {
        let file = Rc::new(File::read(path)?);
        Ok(Tensors { file, prefix: String::new(), ignored: Rc::default() })
    }

    /// A file that is in memory already, under the name that errors give it.
    ///
    /// # Errors
    /// When it is not what the format asks for.
    pub fn parse(name: &str, bytes: Vec<u8>) -> Result<Self, TensorError> {
        let file = Rc::new(File::parse(name, bytes)?);
        Ok(Tensors { file, prefix: String::new(), ignored: Rc::default() })
    }

    /// The same file, with `prefix` before every name that is asked for, and a dot
    /// between them if the prefix ends in a letter or digit.
    #[must_use]
    pub fn with_prefix(&self, prefix: &str) -> Self {
        Tensors { prefix: whole(prefix), ..self.clone() }
    }

    /// The same file, as if it did not hold the tensors that `pattern` names: one by its
    /// name, with or without the prefix, or all whose names begin with what stands before
    /// a `*`.
    ///
    /// # Errors
    /// When there is no such tensor.
    pub fn without(&self, pattern: &str) -> Result<Self, TensorError> {
        let (start, open) = match pattern.strip_suffix('*') {
            Some(start) => (start, true),
            None => (pattern, false),
        };
        let meant = |name: &str| name == start || open && name.starts_with(start);
        let mut ignored = (*self.ignored).clone();
        let before = ignored.len();
        let meant =
            |full: &&str| meant(full) || behind(&self.prefix, full).is_some_and(meant);
        ignored.extend(self.file.names().filter(meant).map(str::to_owned));
        if ignored.len() == before {
            return Err(self.missing(pattern));
        }
        Ok(Tensors { ignored: Rc::new(ignored), ..self.clone() })
    }

    /// The weight `name.weight` `[d_out, d_in]` and, if there is one, the bias
    /// `name.bias` `[d_out]`. `q_proj`, `k_proj`, `v_proj` and `o_proj` may also stand as
    /// `torch.nn.MultiheadAttention` has them: stacked in `in_proj_weight` and
    /// `in_proj_bias`, or as `q_proj_weight` and the like, and as `out_proj`.
    ///
    /// # Errors
    /// When the weight is missing, or either has another shape or dtype, or stands in the
    /// file twice.
    pub fn linear(&self, name: &str) -> Result<LinearTensors, TensorError> {
        let weight_name = format!("{name}.weight");
        let place = self.place(name, "weight")?;
        let place = place.ok_or_else(|| self.missing(&weight_name))?;
        let entry = self.read(place.name())?;
        let &[rows, d_in] = entry.shape else {
            return Err(entry.wrong_rank("[out, in]"));
        };
        let (d_out, numbers) = self.part(&place, &entry, rows)?;
        // PyTorch keeps [out, in] row after row; nalgebra keeps a matrix column after
        // column. Read column after column, the same numbers are the (in, out) matrix
        // that `x * weight` wants: there is nothing to transpose.
        let weight = DMatrix::from_vec(d_in, d_out, numbers);

        let Some(place) = self.place(name, "bias")? else {
            return Ok(LinearTensors { weight, bias: None });
        };
        let entry = self.read(place.name())?;
        let &[length] = entry.shape else {
            return Err(entry.wrong_rank("[length]"));
        };
        let (length, bias) = self.part(&place, &entry, length)?;
        if length != d_out {
            let because =
                format!("{} is {}", brief(&weight_name), shape(&[d_out, d_in]));
            let wanted =
                if matches!(place, Place::Third(..)) { 3 * d_out } else { d_out };
            return Err(self.mismatch(place.name(), &[wanted], &because));
        }
        Ok(LinearTensors { weight, bias: Some(DVector::from_vec(bias)) })
    }

    /// Where `part`, `weight` or `bias`, of the projection `name` stands, if anywhere.
    pub(crate) fn place(
        &self,
        name: &str,
        part: &str,
    ) -> Result<Option<Place>, TensorError> {
        let mut found: Vec<Place> = places(name, part);
        found.retain(|place| self.contains(place.name()));
        if let [first, second, ..] = &found[..] {
            return Err(TensorError::Twice {
                names: [first, second].map(|place| self.full_name(place.name())),
            });
        }
        Ok(found.pop())
    }

    /// The rows that belong to `place` and their numbers, of a tensor that has `rows`.
    fn part(
        &self,
        place: &Place,
        entry: &Entry,
        rows: usize,
    ) -> Result<(usize, Vec<f32>), TensorError> {
        let numbers = self.numbers(entry)?;
        let &Place::Third(_, number) = place else { return Ok((rows, numbers)) };
        if !rows.is_multiple_of(3) {
            let mut wanted = entry.shape.to_vec();
            wanted[0] = rows.next_multiple_of(3);
            let because = "queries, keys and values have equal parts of it";
            return Err(entry.wrong_shape(shape(&wanted), because));
        }
        Ok((rows / 3, third(&numbers, number)))
    }

    /// The tensor `name` `[rows, cols]` as a matrix (rows, cols).
    ///
    /// # Errors
    /// When it is missing, or has another rank or dtype.
    pub fn matrix(&self, name: &str) -> Result<DMatrix<f32>, TensorError> {
        let entry = self.read(name)?;
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
        let entry = self.read(name)?;
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
        let entry = self.read(name)?;
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
        let entry = self.read(name)?;
        entry.stack(wanted, || entry.booleans())
    }

    /// The tensor `name` of any shape, of floating or whole numbers or booleans.
    pub(crate) fn values(&self, name: &str) -> Result<Values, TensorError> {
        let entry = self.read(name)?;
        let (dtype, shape) = (entry.dtype, entry.shape.to_vec());
        Ok(Values { dtype, shape, numbers: entry.values()? })
    }

    /// The tensor `name` as it lies in the file, of any dtype.
    ///
    /// # Errors
    /// When it is missing.
    pub fn raw(&self, name: &str) -> Result<RawTensor<'_>, TensorError> {
        let Entry { dtype, shape, tensor, .. } = self.read(name)?;
        Ok(RawTensor { dtype, shape: shape.to_vec(), bytes: tensor.bytes() })
    }

    /// Whether the file holds a tensor `name`.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        let full = self.full_name(name);
        !self.ignored.contains(&full) && self.file.contains(&full)
    }

    /// The names that begin with the prefix, without it, in alphabetical order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .file
            .names()
            .filter(|name| !self.ignored.contains(*name))
            .filter_map(|name| name.strip_prefix(&self.prefix))
            .map(str::to_owned)
            .collect();
        names.sort();
        names
    }

    /// Those of [`Tensors::names`] that nobody has asked for the numbers of.
    pub(crate) fn unread(&self) -> Vec<String> {
        let read = self.file.read.borrow();
        let mut names = self.names();
        names.retain(|name| !read.contains(&self.full_name(name)));
        names
    }

    /// What the file's writer noted about it, if anything.
    #[must_use]
    pub fn metadata(&self) -> Option<&HashMap<String, String>> {
        self.file.metadata()
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

    /// The error to give when the tensor `name` has no meaning here, or more than one.
    pub(crate) fn unclear(&self, name: &str, what: &str) -> TensorError {
        TensorError::Unclear { name: self.full_name(name), what: what.to_owned() }
    }

    /// [`Tensors::mismatch`], where more than one shape would do.
    pub(crate) fn unfit(
        &self,
        name: &str,
        wanted: String,
        because: &str,
    ) -> TensorError {
        if self.contains(name) {
            return match self.entry(name) {
                Ok(entry) => entry.wrong_shape(wanted, because),
                Err(hollow) => hollow,
            };
        }
        match self.elsewhere(name) {
            Some((entry, found)) => TensorError::WrongShape {
                name: format!("{name}, in {}", entry.name),
                found,
                wanted,
                because: because.to_owned(),
            },
            None => self.missing(name),
        }
    }

    /// The tensor that holds `name` as PyTorch spells it, and the shape of its part there.
    fn elsewhere(&self, name: &str) -> Option<(Entry<'_>, Vec<usize>)> {
        let (projection, part) = name.rsplit_once('.')?;
        let place = self.place(projection, part).ok()??;
        let entry = self.entry(place.name()).ok()?;
        let mut found = entry.shape.to_vec();
        if let (Place::Third(..), Some(rows)) = (&place, found.first_mut()) {
            *rows /= 3;
        }
        Some((entry, found))
    }

    /// The shape of `name`, a tensor of a projection, under whichever of PyTorch's names it
    /// stands in the file, if it does.
    pub(crate) fn part_shape(&self, name: &str) -> Option<Vec<usize>> {
        self.elsewhere(name).map(|(_, shape)| shape)
    }

    /// One sentence for each tensor that was read so far and holds NaN or infinities.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.file.warnings.borrow().clone()
    }

    /// What stands before the names that are asked for.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The rows of all weights that were read behind the prefix, which is how wide what a
    /// token becomes on its way is in all.
    pub(crate) fn widths(&self) -> usize {
        let read = self.file.read.borrow();
        let rows = |name: &String| match self.file.shape(name)? {
            [rows, _] if name.starts_with(&self.prefix) => Some(*rows),
            _ => None,
        };
        read.iter().filter_map(rows).fold(0, usize::saturating_add)
    }

    /// `name` as it stands in the file, prefix included.
    #[must_use]
    pub fn full_name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The tensor `name`, which counts as read from now on.
    fn read(&self, name: &str) -> Result<Entry<'_>, TensorError> {
        let entry = self.entry(name)?;
        self.file.read.borrow_mut().insert(entry.name.clone());
        Ok(entry)
    }

    fn entry(&self, name: &str) -> Result<Entry<'_>, TensorError> {
        let full = self.full_name(name);
        let is_ignored = self.ignored.contains(&full);
        let entry = self.file.entry(&full).filter(|_| !is_ignored);
        let entry = entry.ok_or_else(|| self.missing(name))?;
        // No real tensor looks like this, and a loop over its rows would not end.
        if entry.tensor.numbers() == 0 && entry.shape.iter().any(|&d| d > LONGEST_EMPTY)
        {
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

    /// The names of all tensors that count, prefix included.
    fn all_names(&self) -> Vec<String> {
        let counts = |name: &&str| !self.ignored.contains(*name);
        self.file.names().filter(counts).map(str::to_owned).collect()
    }

    fn missing(&self, name: &str) -> TensorError {
        TensorError::Missing {
            name: self.full_name(name),
            path: self.file.path.clone(),
            hint: hint(name, &self.prefix, self.all_names()),
        }
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
