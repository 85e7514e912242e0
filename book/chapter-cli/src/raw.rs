//! Tensors as bytes, for commands that rewrite a file and touch only a part of it.

use crate::output::Destination;
use anyhow::{Context, Result, bail};
use half::{bf16, f16};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

/// A tensor as it lies in a file, of whatever dtype.
#[derive(Debug, Clone, PartialEq)]
pub struct RawTensor<'a> {
    /// The element type.
    pub dtype: Dtype,
    /// The lengths, outermost first.
    pub shape: Vec<usize>,
    /// The numbers, little-endian, row after row.
    pub bytes: Cow<'a, [u8]>,
}

impl RawTensor<'static> {
    /// Rounds `numbers` to `dtype`, which is F32, F16 or BF16.
    ///
    /// # Errors
    /// When it is another dtype, or the shape has another number of entries.
    pub fn of(dtype: Dtype, shape: Vec<usize>, numbers: &[f32]) -> Result<Self> {
        let entries = shape.iter().product::<usize>();
        if entries != numbers.len() {
            bail!("a shape of {entries} entries, and {} numbers", numbers.len());
        }
        let bytes: Vec<u8> = match dtype {
            Dtype::F32 => numbers.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Dtype::F16 => {
                numbers.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect()
            }
            Dtype::BF16 => {
                numbers.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect()
            }
            other => bail!("dtype {other}, wanted F32, F16 or BF16"),
        };
        Ok(RawTensor { dtype, shape, bytes: bytes.into() })
    }
}

impl Destination {
    /// Writes a safetensors file with these tensors and metadata, whole or not at all.
    /// The same content gives the same bytes.
    ///
    /// # Errors
    /// When a tensor's bytes do not fit its shape, or the file cannot be written.
    pub fn write_tensors(
        &self,
        tensors: &BTreeMap<String, RawTensor>,
        metadata: Option<&HashMap<String, String>>,
    ) -> Result<()> {
        // Widest numbers first, so that each begins at a multiple of its own size.
        let mut order: Vec<_> = tensors.iter().collect();
        order.sort_by_key(|(_, tensor)| Reverse(tensor.dtype));

        let shapes = order.iter().map(|&(name, tensor)| {
            (name.as_str(), tensor.dtype, &tensor.shape[..], tensor.bytes.len())
        });
        let header = header(shapes, metadata)?;
        let data = order.iter().map(|(_, tensor)| &*tensor.bytes);
        self.write_parts([&header[..]].into_iter().chain(data))
    }

    /// Writes a safetensors file with tensors of these names, dtypes and shapes, widest
    /// first, whose bytes come in `parts` in the same order.
    ///
    /// # Errors
    /// When a tensor is too large to be counted, or the file cannot be written.
    pub(crate) fn write_lazily<'a>(
        &self,
        shapes: impl Iterator<Item = (&'a str, Dtype, &'a [usize])>,
        parts: impl Iterator<Item = Vec<u8>>,
    ) -> Result<()> {
        let shapes = shapes.map(|(name, dtype, shape)| {
            let bits = shape.iter().try_fold(dtype.bitsize(), |p, &n| p.checked_mul(n));
            Ok((name, dtype, shape, bits.context("too large for a file")? / 8))
        });
        let header = header(shapes.collect::<Result<Vec<_>>>()?.into_iter(), None)?;
        self.write_parts(std::iter::once(header).chain(parts))
    }
}

/// The start of a file with tensors of these names, dtypes, shapes and bytes, which follow
/// in this order.
fn header<'a>(
    tensors: impl Iterator<Item = (&'a str, Dtype, &'a [usize], usize)>,
    metadata: Option<&HashMap<String, String>>,
) -> Result<Vec<u8>> {
    let mut end = 0;
    let infos = tensors.map(|(name, dtype, shape, bytes)| {
        let data_offsets = (end, end + bytes);
        end = data_offsets.1;
        (name.to_owned(), TensorInfo { dtype, shape: shape.to_vec(), data_offsets })
    });
    let infos: Vec<_> = infos.collect();
    // Safetensors' own check of shapes against bytes.
    Metadata::new(None, infos.clone()).context("cannot write the tensors")?;

    let mut json = serde_json::Map::new();
    if let Some(metadata) = metadata {
        // Sorted, because a HashMap gives another order in each run.
        let sorted: BTreeMap<_, _> = metadata.iter().collect();
        json.insert("__metadata__".to_owned(), serde_json::to_value(sorted)?);
    }
    for (name, info) in infos {
        json.insert(name, serde_json::to_value(info)?);
    }
    let mut json = serde_json::to_vec(&json)?;
    json.resize(json.len().next_multiple_of(8), b' ');
    Ok([&(json.len() as u64).to_le_bytes()[..], &json].concat())
}
