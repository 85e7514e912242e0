//! What weights are stored as where they are not quantized.

use crate::config::Config;
use crate::error::ConfigError;
use crate::keys::wrong;

/// What a number is stored as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// 32 bits.
    F32,
    /// 16 bits, 5 of them for the exponent.
    F16,
    /// 16 bits, 8 of them for the exponent.
    Bf16,
    /// 8 bits.
    F8,
}

impl Dtype {
    /// Bytes of a number.
    #[must_use]
    pub fn bytes(self) -> f64 {
        match self {
            Dtype::F32 => 4.0,
            Dtype::F16 | Dtype::Bf16 => 2.0,
            Dtype::F8 => 1.0,
        }
    }
}

impl Config {
    /// What the weights are stored as, where they are not quantized: `dtype`, or
    /// `torch_dtype` in older files, of the text or of the whole.
    ///
    /// # Errors
    /// When it is of no known name.
    pub fn dtype(&self) -> Result<Option<Dtype>, ConfigError> {
        let places = [&self.keys.given, &self.outer];
        let names =
            places.map(|keys| ["dtype", "torch_dtype"].map(|key| keys.get(key)));
        let found =
            names.into_iter().flatten().flatten().find(|value| !value.is_null());
        let Some(value) = found else {
            return Ok(None);
        };
        let name = value.as_str().map(|name| name.trim_start_matches("torch."));
        match name {
            Some("float32" | "float") => Ok(Some(Dtype::F32)),
            Some("float16" | "half") => Ok(Some(Dtype::F16)),
            Some("bfloat16") => Ok(Some(Dtype::Bf16)),
            Some(name) if name.starts_with("float8_") => Ok(Some(Dtype::F8)),
            // Every program chooses its own.
            Some("auto") => Ok(None),
            _ => {
                let wanted = "float32, float16, bfloat16 or a float8".to_owned();
                Err(wrong("dtype", value, wanted))
            }
        }
    }
}
