//! The header of a safetensors file: which tensors it has, and where.

use crate::weights::format::Format;
use crate::words::{brief, count};
use safetensors::tensor::{Dtype, Metadata, SafeTensorError, TensorInfo};
use std::collections::HashMap;
use std::ops::Range;

/// The longest header that the format allows, in bytes.
const LONGEST_HEADER: u64 = 100_000_000;

/// What a header says.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) tensors: Vec<Placed>,
    /// What the file's writer noted about it.
    pub(crate) metadata: Option<HashMap<String, String>>,
}

/// A tensor, and which bytes of the file are its own.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    pub(crate) name: String,
    pub(crate) format: Format,
    pub(crate) shape: Vec<usize>,
    pub(crate) at: Range<usize>,
}

/// Reads the header of a file, or says what is wrong with it.
///
/// What the header claims is held to the length of the file before anything is done
/// with it: nothing is allocated by a number that it names.
pub(crate) fn read(file: &[u8]) -> Result<Header, String> {
    let (data_start, metadata) = checked(file)?;
    let placed = |name: String| {
        let info = metadata.info(&name)?;
        let (begin, end) = info.data_offsets;
        Some(Placed {
            format: format(info.dtype),
            shape: info.shape.clone(),
            at: data_start + begin..data_start + end,
            name,
        })
    };
    let tensors = metadata.offset_keys().into_iter().filter_map(placed).collect();
    Ok(Header { tensors, metadata: metadata.metadata().clone() })
}

/// Where the data begins, and the header before it.
fn checked(file: &[u8]) -> Result<(usize, Metadata), String> {
    let Some((length, rest)) = file.split_first_chunk() else {
        return Err(match file.len() {
            0 => "it is empty".to_owned(),
            n => format!("{} cannot hold a header", count(n as u64, "byte")),
        });
    };
    let length = u64::from_le_bytes(*length);
    let promised = usize::try_from(length).ok();
    let (json, data) =
        promised.and_then(|n| rest.split_at_checked(n)).ok_or_else(|| {
            format!("it promises {length} bytes of header, and has {}", rest.len())
        })?;
    if length > LONGEST_HEADER {
        return Err(format!(
            "its header has {length} bytes, and {LONGEST_HEADER} is most"
        ));
    }
    let header: Json = serde_json::from_slice(json)
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
struct Json {
    #[serde(rename = "__metadata__")]
    metadata: Option<HashMap<String, String>>,
    #[serde(flatten)]
    tensors: HashMap<String, TensorInfo>,
}

impl Json {
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
        other => brief(&other.to_string()),
    }
}

/// The dtypes of safetensors, and what they are called here.
const DTYPES: [(Dtype, Format); 22] = [
    (Dtype::F64, Format::F64),
    (Dtype::F32, Format::F32),
    (Dtype::F16, Format::F16),
    (Dtype::BF16, Format::Bf16),
    (Dtype::I64, Format::I64),
    (Dtype::I32, Format::I32),
    (Dtype::I16, Format::I16),
    (Dtype::I8, Format::I8),
    (Dtype::U8, Format::U8),
    (Dtype::BOOL, Format::Bool),
    (Dtype::U64, other("U64", 1, 8)),
    (Dtype::C64, other("C64", 1, 8)),
    (Dtype::U32, other("U32", 1, 4)),
    (Dtype::U16, other("U16", 1, 2)),
    (Dtype::F8_E4M3, other("F8_E4M3", 1, 1)),
    (Dtype::F8_E5M2, other("F8_E5M2", 1, 1)),
    (Dtype::F8_E8M0, other("F8_E8M0", 1, 1)),
    (Dtype::F8_E4M3FNUZ, other("F8_E4M3FNUZ", 1, 1)),
    (Dtype::F8_E5M2FNUZ, other("F8_E5M2FNUZ", 1, 1)),
    (Dtype::F6_E2M3, other("F6_E2M3", 4, 3)),
    (Dtype::F6_E3M2, other("F6_E3M2", 4, 3)),
    (Dtype::F4, other("F4", 2, 1)),
];

const fn other(name: &'static str, block: usize, block_bytes: usize) -> Format {
    Format::Other { name, block, block_bytes }
}

/// What a dtype is called here. The library may learn one that is not in the table; then
/// nothing is known of its size but that of the tensor.
fn format(dtype: Dtype) -> Format {
    let found = DTYPES.iter().find(|known| known.0 == dtype);
    found.map_or(other("an unknown dtype", 1, 1), |known| known.1)
}

impl Format {
    /// What safetensors calls it, if it does.
    #[must_use]
    pub fn dtype(self) -> Option<Dtype> {
        DTYPES.iter().find(|known| known.1 == self).map(|known| known.0)
    }
}
