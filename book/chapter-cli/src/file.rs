//! A safetensors file in memory: its header checked, its tensors as they lie there.

use crate::error::TensorError;
use crate::kind::kind;
use crate::memory::Bytes;
use crate::message::{brief, count};
use crate::stack::Stack;
use half::{bf16, f16, slice::HalfFloatSliceExt};
use nalgebra::{DMatrix, Scalar};
use safetensors::tensor::{Dtype, Metadata, SafeTensorError, TensorInfo};
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// A file in memory, its header checked.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) path: PathBuf,
    pub(crate) header: Metadata,
    /// What was found amiss with the tensors that were read so far.
    pub(crate) warnings: RefCell<Vec<String>>,
    /// The names of these.
    pub(crate) read: RefCell<BTreeSet<String>>,
    bytes: Vec<u8>,
    data_start: usize,
}

impl File {
    pub(crate) fn read(path: &Path) -> Result<Self, TensorError> {
        let path = path.to_path_buf();
        match read_regular(&path) {
            Ok(bytes) => File::parse(path, bytes),
            Err(source) => Err(TensorError::Unreadable { path, source }),
        }
    }

    pub(crate) fn parse(path: PathBuf, bytes: Vec<u8>) -> Result<Self, TensorError> {
        match header(&bytes) {
            Ok((data_start, header)) => {
                let (warnings, read) = (RefCell::default(), RefCell::default());
                Ok(File { path, header, warnings, read, bytes, data_start })
            }
            Err(damage) => {
                // A kind that is known says more than where it differs.
                let reason =
                    kind(&bytes).map_or(damage, |kind| format!("it is {kind}"));
                Err(TensorError::NotSafetensors { path, reason })
            }
        }
    }

    pub(crate) fn entry(&self, name: String) -> Option<Entry<'_>> {
        let TensorInfo { dtype, shape, data_offsets } = self.header.info(&name)?;
        let data = &self.bytes[self.data_start..];
        let bytes = &data[data_offsets.0..data_offsets.1];
        Some(Entry { name, dtype: *dtype, shape, bytes })
    }
}

/// /dev/zero has no end, and a pipe may wait for ever.
fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    let kind = fs::metadata(path)?;
    if kind.is_dir() {
        return Err(io::Error::other("it is a directory"));
    }
    if !kind.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let bytes = Bytes::of_booleans(&[kind.len().try_into().unwrap_or(usize::MAX)]);
    bytes.are_free().map_err(|free| {
        io::Error::other(format!("it has {bytes}, and this process can have {free}"))
    })?;
    fs::read(path)
}

/// Where the data begins, and the header before it, or what is wrong with the file.
fn header(file: &[u8]) -> Result<(usize, Metadata), String> {
    let Some((length, rest)) = file.split_first_chunk() else {
        return Err(match file.len() {
            0 => "it is empty".to_owned(),
            n => format!("{} cannot hold a header", count(n, "byte")),
        });
    };
    let length = u64::from_le_bytes(*length);
    let (json, data) = usize::try_from(length)
        .ok()
        .and_then(|n| rest.split_at_checked(n))
        .ok_or_else(|| {
            format!("it promises {length} bytes of header, and has {}", rest.len())
        })?;
    let header: Header = serde_json::from_slice(json)
        .map_err(|e| brief(&e.to_string()))
        .map_err(|e| format!("its header is not the JSON it should be ({e})"))?;
    let header = header.check().map_err(|e| wrong_layout(&e))?;
    // Asked here and not of safetensors' own reader, whose sum of offset and header can
    // overflow when a file lies about its size.
    let (promised, found) = (header.data_len(), data.len());
    if promised != found {
        return Err(format!("it promises {promised} bytes of data, and has {found}"));
    }
    Ok((file.len() - found, header))
}

/// The header as JSON has it.
#[derive(serde::Deserialize)]
#[serde(expecting = "an object")]
struct Header {
    #[serde(rename = "__metadata__")]
    metadata: Option<HashMap<String, String>>,
    #[serde(flatten)]
    tensors: HashMap<String, TensorInfo>,
}

impl Header {
    /// Checks that the tensors lie one after the other, and each is as long as its
    /// shape and dtype say.
    fn check(self) -> Result<Metadata, SafeTensorError> {
        let mut tensors: Vec<_> = self.tensors.into_iter().collect();
        tensors.sort_by_key(|(_, tensor)| tensor.data_offsets);
        Metadata::new(self.metadata, tensors)
    }
}

fn wrong_layout(error: &SafeTensorError) -> String {
    match error {
        SafeTensorError::InvalidOffset(name) => {
            format!("`{}` does not begin where the tensor before it ends", brief(name))
        }
        SafeTensorError::TensorInvalidInfo => {
            "a tensor's shape and dtype do not agree with its bytes".to_owned()
        }
        SafeTensorError::ValidationOverflow => {
            "a tensor claims more bytes than can be counted".to_owned()
        }
        SafeTensorError::MisalignedSlice => {
            "a tensor ends in the middle of a byte".to_owned()
        }
        other => other.to_string(),
    }
}

/// One tensor, as it lies in the file.
pub(crate) struct Entry<'a> {
    pub(crate) name: String,
    pub(crate) dtype: Dtype,
    pub(crate) shape: &'a [usize],
    pub(crate) bytes: &'a [u8],
}

impl Entry<'_> {
    pub(crate) fn numbers(&self) -> Result<Vec<f32>, TensorError> {
        self.expect_room()?;
        match self.dtype {
            Dtype::F32 => Ok(each(self.bytes, f32::from_le_bytes)),
            Dtype::F16 => Ok(each(self.bytes, f16::from_le_bytes).to_f32_vec()),
            Dtype::BF16 => Ok(each(self.bytes, bf16::from_le_bytes).to_f32_vec()),
            _ => Err(self.wrong_dtype("F32, F16 or BF16")),
        }
    }

    /// A tensor is widened, cut into sequences, and handed to the layer.
    fn expect_room(&self) -> Result<(), TensorError> {
        const COPIES: usize = 3;
        // To ask takes longer than to read what is small.
        const WORTH: usize = 16 << 20;
        if self.bytes.len() < WORTH {
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
        let b = self.bytes;
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
            Dtype::BOOL => Ok(each(self.bytes, |[byte]| byte != 0)),
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
