//! Files for a command to read, good ones and spoilt ones.

use crate::RawTensor;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use std::collections::{BTreeMap, HashMap};

/// A safetensors file that is still to be written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct File {
    tensors: BTreeMap<String, RawTensor<'static>>,
    notes: HashMap<String, String>,
}

impl File {
    /// Without tensors.
    #[must_use]
    pub fn new() -> Self {
        File::default()
    }

    /// With the F32 tensor `name`: -3, -2, … 3, and again from -3.
    #[must_use]
    pub fn f32s(self, name: &str, shape: &[usize]) -> Self {
        self.with(name, Dtype::F32, shape)
    }

    /// With the weight `name.weight` `[d_out, d_in]` and the bias `name.bias` `[d_out]`.
    #[must_use]
    pub fn linear(self, name: &str, [d_out, d_in]: [usize; 2]) -> Self {
        let weight = self.f32s(&format!("{name}.weight"), &[d_out, d_in]);
        weight.f32s(&format!("{name}.bias"), &[d_out])
    }

    /// With the tensor `name`, in the place of one that has the name already. Floating
    /// numbers are those of [`File::f32s`], and anything else is bytes of 1.
    ///
    /// # Panics
    /// When an entry is less than a byte.
    #[must_use]
    pub fn with(self, name: &str, dtype: Dtype, shape: &[usize]) -> Self {
        let count = shape.iter().product();
        let numbers: Vec<f32> = (0..count).map(|i| (i % 7) as f32 - 3.0).collect();
        let shape = shape.to_vec();
        let tensor = match dtype {
            Dtype::F32 | Dtype::F16 | Dtype::BF16 => {
                RawTensor::of(dtype, shape, &numbers).unwrap()
            }
            _ => {
                assert!(dtype.bitsize().is_multiple_of(8), "{dtype}");
                let bytes = vec![1; count * dtype.bitsize() / 8];
                RawTensor { dtype, shape, bytes: bytes.into() }
            }
        };
        self.with_raw(name, tensor)
    }

    /// With `tensor` as `name`.
    #[must_use]
    pub fn with_raw(mut self, name: &str, tensor: RawTensor<'static>) -> Self {
        self.tensors.insert(name.to_owned(), tensor);
        self
    }

    /// With `number` as the first of the F32 tensor `name`.
    ///
    /// # Panics
    /// When there is no such tensor, or it holds nothing.
    #[must_use]
    pub fn with_first(mut self, name: &str, number: f32) -> Self {
        let tensor = self.tensors.get_mut(name).expect(name);
        assert_eq!(tensor.dtype, Dtype::F32, "{name}");
        tensor.bytes.to_mut()[..4].copy_from_slice(&number.to_le_bytes());
        self
    }

    /// With a note in the file's metadata.
    #[must_use]
    pub fn noting(mut self, key: &str, value: &str) -> Self {
        self.notes.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Without the tensor `name`.
    ///
    /// # Panics
    /// When there is none, for then the file is not spoilt.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        assert!(self.tensors.remove(name).is_some(), "no {name} to leave out");
        self
    }

    /// Without biases, so that the first thing that does not fit is a weight.
    #[must_use]
    pub fn without_biases(mut self) -> Self {
        self.tensors.retain(|name, _| !is_bias(name));
        self
    }

    /// With the tensor `from` under the name `to`.
    ///
    /// # Panics
    /// When there is no such tensor.
    #[must_use]
    pub fn renamed(mut self, from: &str, to: &str) -> Self {
        let tensor = self.tensors.remove(from).expect(from);
        self.with_raw(to, tensor)
    }

    /// With `prefix` before every name.
    #[must_use]
    pub fn behind(self, prefix: &str) -> Self {
        let named = |(name, tensor)| (format!("{prefix}{name}"), tensor);
        File { tensors: self.tensors.into_iter().map(named).collect(), ..self }
    }

    /// With the tensors of `other`, too.
    #[must_use]
    pub fn and(mut self, other: File) -> Self {
        self.tensors.extend(other.tensors);
        self
    }

    /// The names of its tensors, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.tensors.keys().map(String::as_str).collect()
    }

    /// Shape and dtype of the tensor `name`, if there is one.
    #[must_use]
    pub fn shape(&self, name: &str) -> Option<(&[usize], Dtype)> {
        let tensor = self.tensors.get(name)?;
        Some((&tensor.shape, tensor.dtype))
    }

    /// As it is written.
    ///
    /// # Panics
    /// When a tensor's bytes do not fit its shape.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let views = self.tensors.iter().map(|(name, tensor)| {
            let shape = tensor.shape.clone();
            (name, TensorView::new(tensor.dtype, shape, &tensor.bytes).unwrap())
        });
        let notes = (!self.notes.is_empty()).then(|| self.notes.clone());
        safetensors::serialize(views, notes).unwrap()
    }
}

impl From<File> for Vec<u8> {
    fn from(file: File) -> Self {
        file.bytes()
    }
}

impl From<&File> for Vec<u8> {
    fn from(file: &File) -> Self {
        file.bytes()
    }
}

pub(super) fn is_bias(name: &str) -> bool {
    last_word(name) == "bias"
}

pub(super) fn is_weight(name: &str) -> bool {
    last_word(name) == "weight"
}

fn last_word(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or_default()
}
