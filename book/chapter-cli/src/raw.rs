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

        let mut end = 0;
        let infos = order.iter().map(|&(name, RawTensor { dtype, shape, bytes })| {
            let data_offsets = (end, end + bytes.len());
            end = data_offsets.1;
            (
                name.clone(),
                TensorInfo { dtype: *dtype, shape: shape.clone(), data_offsets },
            )
        });
        let infos: Vec<_> = infos.collect();
        // Safetensors' own check of shapes against bytes.
        Metadata::new(None, infos.clone()).context("cannot write the tensors")?;

        let mut header = serde_json::Map::new();
        if let Some(metadata) = metadata {
            // Sorted, because a HashMap gives another order in each run.
            let sorted: BTreeMap<_, _> = metadata.iter().collect();
            header.insert("__metadata__".to_owned(), serde_json::to_value(sorted)?);
        }
        for (name, info) in infos {
            header.insert(name, serde_json::to_value(info)?);
        }
        let mut header = serde_json::to_vec(&header)?;
        header.resize(header.len().next_multiple_of(8), b' ');
        let length = (header.len() as u64).to_le_bytes();

        let data = order.iter().map(|(_, tensor)| &*tensor.bytes);
        self.write_parts([&length[..], &header].into_iter().chain(data))
    }
}
