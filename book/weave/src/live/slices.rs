//! One head of a model's layer, cut out of the safetensors file that holds all heads: what
//! a page loads for a live figure.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

#[derive(Deserialize, Serialize)]
struct Tensor {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [usize; 2],
}

/// The sentence `x`, and the rows of `q_proj`, `k_proj` and `v_proj` that belong to `head`.
/// Nothing if the file is not a layer with such a head.
pub(crate) fn head(layer: &[u8], head: usize) -> Option<Vec<u8>> {
    let (length, rest) = layer.split_first_chunk::<8>()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let (header, data) = rest.split_at_checked(length)?;
    let mut header: Map<String, Value> = serde_json::from_slice(header).ok()?;
    let mut metadata = header.remove("__metadata__")?;
    let heads: usize = metadata.get("heads")?.as_str()?.parse().ok()?;
    metadata["heads"] = "1".into();

    let mut cut = Map::from_iter([("__metadata__".to_owned(), metadata)]);
    let mut bytes = Vec::new();
    for (name, tensor) in header {
        let parts = match name.split_once('.') {
            None => 1,
            Some(("q_proj" | "k_proj" | "v_proj", _)) => heads,
            Some(_) => continue,
        };
        let mut tensor: Tensor = serde_json::from_value(tensor).ok()?;
        let whole = data.get(tensor.data_offsets[0]..tensor.data_offsets[1])?;
        let part = whole.get(share(whole.len(), parts, head % parts))?;
        *tensor.shape.first_mut()? /= parts;
        tensor.data_offsets = [bytes.len(), bytes.len() + part.len()];
        bytes.extend_from_slice(part);
        cut.insert(name, serde_json::to_value(tensor).ok()?);
    }
    let mut header = serde_json::to_vec(&cut).ok()?;
    header.resize(header.len().next_multiple_of(8), b' ');
    let length = (header.len() as u64).to_le_bytes();
    (head < heads).then(|| [&length[..], &header, &bytes].concat())
}

/// The rows of one of `parts` heads, as bytes: heads lie one after the other.
fn share(length: usize, parts: usize, part: usize) -> Range<usize> {
    let each = length / parts;
    part * each..(part + 1) * each
}
