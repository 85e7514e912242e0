//! A safetensors file: its header checked, its tensors as they lie there.

use crate::error::TensorError;
use crate::memory::Bytes;
use crate::stack::Stack;
use checkpoint::{OpenError, Tensor, Weights};
use nalgebra::{DMatrix, Scalar};
use safetensors::tensor::Dtype;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// A file that was opened, its header checked.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) path: PathBuf,
    /// What was found amiss with the tensors that were read so far.
    pub(crate) warnings: RefCell<Vec<String>>,
    /// The names of these.
    pub(crate) read: RefCell<BTreeSet<String>>,
    weights: Weights,
}

impl File {
    pub(crate) fn read(path: &Path) -> Result<Self, TensorError> {
        File::opened(path, Weights::open_safetensors(path))
    }

    pub(crate) fn parse(name: &str, bytes: Vec<u8>) -> Result<Self, TensorError> {
        File::opened(Path::new(name), Weights::parse_safetensors(name, bytes))
    }

    fn opened(
        path: &Path,
        weights: Result<Weights, OpenError>,
    ) -> Result<Self, TensorError> {
        let path = path.to_path_buf();
        match weights {
            Ok(weights) => {
                let (warnings, read) = (RefCell::default(), RefCell::default());
                Ok(File { path, warnings, read, weights })
            }
            Err(OpenError::Unreadable { why: source, .. }) => {
                Err(TensorError::Unreadable { path, source })
            }
            Err(OpenError::Damaged { what: reason, .. }) => {
                Err(TensorError::NotSafetensors { path, reason })
            }
            Err(other) => {
                let reason = other.to_string();
                Err(TensorError::NotSafetensors { path, reason })
            }
        }
    }

    /// The names of all tensors, in alphabetical order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.weights.names()
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.weights.contains(name)
    }

    /// What the file's writer noted about it.
    pub(crate) fn metadata(&self) -> Option<&HashMap<String, String>> {
        self.weights.metadata()
    }

    pub(crate) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.weights.get(name).map(|tensor| tensor.shape())
    }

    pub(crate) fn entry(&self, name: &str) -> Option<Entry<'_>> {
        let tensor = self.weights.get(name)?;
        let (dtype, shape) = (tensor.format().dtype()?, tensor.shape());
        Some(Entry { name: name.to_owned(), dtype, shape, tensor })
    }
}

/// One tensor, as it lies in the file.
pub(crate) struct Entry<'a> {
    pub(crate) name: String,
    pub(crate) dtype: Dtype,
    pub(crate) shape: &'a [usize],
    pub(crate) tensor: Tensor<'a>,
}

impl Entry<'_> {
    pub(crate) fn numbers(&self) -> Result<Vec<f32>, TensorError> {
        self.expect_room()?;
        let wrong = || self.wrong_dtype("F32, F16 or BF16");
        match self.dtype {
            Dtype::F32 | Dtype::F16 | Dtype::BF16 => {
                self.tensor.to_f32().map_err(|_| wrong())
            }
            _ => Err(wrong()),
        }
    }

    /// A tensor is widened, cut into sequences, and handed to the layer.
    fn expect_room(&self) -> Result<(), TensorError> {
        const COPIES: usize = 3;
        // To ask takes longer than to read what is small.
        const WORTH: usize = 16 << 20;
        if self.tensor.bytes().len() < WORTH {
            return Ok(());
        }
        let need = Bytes::of_f32s(self.shape).times(COPIES);
        need.are_free().map_err(|free| TensorError::TooLarge {
            name: self.name.clone(),
            found: self.shape.to_vec(),
            need: need.to_string(),
            free: free.to_string(),
        })
    }

    /// Numbers of nearly any dtype, and booleans as 1 and 0.
    pub(crate) fn values(&self) -> Result<Vec<f64>, TensorError> {
        let b = &*self.tensor.bytes();
        Ok(match self.dtype {
            Dtype::BOOL => each(b, |[byte]| f64::from(u8::from(byte != 0))),
            Dtype::U8 => each(b, |[byte]| f64::from(byte)),
            Dtype::I8 => each(b, |byte| f64::from(i8::from_le_bytes(byte))),
            Dtype::I16 => each(b, |bytes| f64::from(i16::from_le_bytes(bytes))),
            Dtype::I32 => each(b, |bytes| f64::from(i32::from_le_bytes(bytes))),
            Dtype::I64 => each(b, |bytes| i64::from_le_bytes(bytes) as f64),
            Dtype::F64 => each(b, f64::from_le_bytes),
            _ => self.numbers()?.into_iter().map(f64::from).collect(),
        })
    }

    pub(crate) fn booleans(&self) -> Result<Vec<bool>, TensorError> {
        match self.dtype {
            Dtype::BOOL => Ok(each(&self.tensor.bytes(), |[byte]| byte != 0)),
            _ => Err(self.wrong_dtype("BOOL")),
        }
    }

    pub(crate) fn stack<T: Scalar>(
        &self,
        wanted: &str,
        data: impl Fn() -> Result<Vec<T>, TensorError>,
    ) -> Result<Stack<T>, TensorError> {
        let (batch, rows, cols) = match *self.shape {
            [rows, cols] => (1, rows, cols),
            [batch, rows, cols] => (batch, rows, cols),
            _ => return Err(self.wrong_rank(wanted)),
        };
        let data = data()?;
        let matrices = (0..batch)
            .map(|i| {
                let one = &data[i * rows * cols..(i + 1) * rows * cols];
                DMatrix::from_row_slice(rows, cols, one)
            })
            .collect();
        Ok(Stack { shape: self.shape.to_vec(), matrices })
    }

    fn wrong_dtype(&self, wanted: &'static str) -> TensorError {
        TensorError::WrongDtype { name: self.name.clone(), found: self.dtype, wanted }
    }

    pub(crate) fn wrong_rank(&self, wanted: &str) -> TensorError {
        TensorError::WrongRank {
            name: self.name.clone(),
            found: self.shape.to_vec(),
            wanted: wanted.to_owned(),
        }
    }

    pub(crate) fn wrong_shape(&self, wanted: String, because: &str) -> TensorError {
        TensorError::WrongShape {
            name: self.name.clone(),
            found: self.shape.to_vec(),
            wanted,
            because: because.to_owned(),
        }
    }
}

fn each<const N: usize, T>(bytes: &[u8], decode: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks().0.iter().map(|&chunk| decode(chunk)).collect()
}
