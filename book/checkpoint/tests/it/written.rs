//! Files that tests write byte by byte, right and wrong.

use std::path::{Path, PathBuf};

/// A file of the tests' own.
pub(crate) fn reference(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(name)
}

/// A safetensors file with these tensors: name, dtype, shape, bytes.
pub(crate) fn safetensors(tensors: &[(&str, &str, &[usize], &[u8])]) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    for (name, dtype, shape, bytes) in tensors {
        let offsets = [data.len(), data.len() + bytes.len()];
        let about = serde_json::json!({"dtype": dtype, "shape": shape, "data_offsets": offsets});
        header.insert((*name).to_owned(), about);
        data.extend_from_slice(bytes);
    }
    let header = serde_json::Value::Object(header).to_string();
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
}

/// The bytes of some f32.
pub(crate) fn f32s(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// A GGUF that is put together from its parts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gguf {
    keys: Vec<u8>,
    key_count: u64,
    tensors: Vec<u8>,
    tensor_count: u64,
    data: Vec<u8>,
    /// What the header says instead of the counts of tensors and keys.
    counts: Option<(u64, u64)>,
}

impl Gguf {
    pub(crate) fn text(self, key: &str, value: &str) -> Self {
        self.key(key, 8, &text(value))
    }

    pub(crate) fn u32(self, key: &str, value: u32) -> Self {
        self.key(key, 4, &value.to_le_bytes())
    }

    pub(crate) fn u64(self, key: &str, value: u64) -> Self {
        self.key(key, 10, &value.to_le_bytes())
    }

    pub(crate) fn f32(self, key: &str, value: f32) -> Self {
        self.key(key, 6, &value.to_le_bytes())
    }

    /// A key with a value of that kind in these bytes.
    pub(crate) fn key(mut self, key: &str, kind: u32, value: &[u8]) -> Self {
        self.keys
            .extend([text(key), kind.to_le_bytes().to_vec(), value.to_vec()].concat());
        self.key_count += 1;
        self
    }

    /// A tensor, innermost length first, as GGUF has it.
    pub(crate) fn tensor(
        mut self,
        name: &str,
        lengths: &[u64],
        kind: u32,
        bytes: &[u8],
    ) -> Self {
        self.data.resize(self.data.len().next_multiple_of(32), 0);
        let at = self.data.len() as u64;
        self = self.claim(name, lengths, kind, at);
        self.data.extend_from_slice(bytes);
        self
    }

    /// A tensor that says where it is, and need not be there.
    pub(crate) fn claim(
        mut self,
        name: &str,
        lengths: &[u64],
        kind: u32,
        at: u64,
    ) -> Self {
        self.tensors.extend(text(name));
        self.tensors.extend((lengths.len() as u32).to_le_bytes());
        self.tensors.extend(lengths.iter().flat_map(|length| length.to_le_bytes()));
        self.tensors.extend(kind.to_le_bytes());
        self.tensors.extend(at.to_le_bytes());
        self.tensor_count += 1;
        self
    }

    /// The same, with a header that says that it has so many tensors and keys.
    pub(crate) fn counted(mut self, tensors: u64, keys: u64) -> Self {
        self.counts = Some((tensors, keys));
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let (tensors, keys) =
            self.counts.unwrap_or((self.tensor_count, self.key_count));
        let mut file = b"GGUF\x03\0\0\0".to_vec();
        file.extend([tensors, keys].iter().flat_map(|count| count.to_le_bytes()));
        file.extend_from_slice(&self.keys);
        file.extend_from_slice(&self.tensors);
        file.resize(file.len().next_multiple_of(32), 0);
        file.extend_from_slice(&self.data);
        file
    }
}

/// A text with its length before it.
pub(crate) fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}
