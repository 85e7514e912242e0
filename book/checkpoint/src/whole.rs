//! What a configuration says of the model around its layers.

use crate::config::Config;
use crate::error::ConfigError;
use crate::json::shown;
use crate::keys::{MOST_WORDS, WIDEST};
use serde_json::Value;

/// The curve between the matrices of a feed-forward network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// x · sigmoid(x) (Elfwing et al. 2017; "swish").
    Silu,
    /// x · Φ(x), by the error function (Hendrycks and Gimpel 2016).
    Gelu,
    /// The same, approximated by a hyperbolic tangent.
    GeluTanh,
    /// max(x, 0).
    Relu,
}

impl Config {
    /// How many different tokens the model knows.
    ///
    /// # Errors
    /// When `vocab_size` is no count.
    pub fn vocab(&self) -> Result<u64, ConfigError> {
        self.keys.count("vocab_size", MOST_WORDS)
    }

    /// Whether the table that tokens enter by is also the matrix that they leave by.
    #[must_use]
    pub fn tied(&self) -> bool {
        self.tied
    }

    /// Hidden width of a feed-forward network that is no expert.
    ///
    /// # Errors
    /// When the key that says so is no count.
    pub fn feed_forward_dim(&self) -> Result<u64, ConfigError> {
        let own = match self.kind() {
            "gpt2" => "n_inner",
            "falcon" => "ffn_hidden_size",
            _ => return self.keys.count("intermediate_size", WIDEST),
        };
        let given = self.keys.some_count(own, WIDEST)?;
        given.map_or_else(|| Ok(4 * self.model_dim()?), Ok)
    }

    /// What is added to a mean square before its root, in the norms of layers.
    ///
    /// # Errors
    /// When the key that says so is no number, or not above 0.
    pub fn norm_eps(&self) -> Result<f64, ConfigError> {
        if self.kind.name == "olmo" {
            // No key, and the number of its own class.
            return Ok(1e-5);
        }
        let eps = self.keys.number(self.kind.eps)?;
        if eps < 0.0 {
            let value = Value::from(eps);
            return Err(crate::keys::wrong(self.kind.eps, &value, "0 or more".into()));
        }
        Ok(eps)
    }

    /// The curve between the matrices of a feed-forward network.
    ///
    /// # Errors
    /// When it has no name that is known here.
    pub fn activation(&self) -> Result<Activation, ConfigError> {
        const KEYS: [&str; 4] =
            ["hidden_activation", "hidden_act", "activation_function", "activation"];
        let given = KEYS.iter().find_map(|key| {
            let value = self.keys.get(key).filter(|value| !value.is_null())?;
            Some((*key, value))
        });
        let (key, value) = given
            .ok_or(ConfigError::Missing { key: "hidden_act", kind: self.kind() })?;
        match value.as_str() {
            Some("silu" | "swish") => Ok(Activation::Silu),
            Some("gelu") => Ok(Activation::Gelu),
            Some("gelu_new" | "gelu_pytorch_tanh" | "gelu_fast") => {
                Ok(Activation::GeluTanh)
            }
            Some("relu") => Ok(Activation::Relu),
            _ => Err(ConfigError::NotUnderstood {
                key: key.to_owned(),
                found: shown(value),
                why: "silu, gelu, gelu_new, gelu_pytorch_tanh and relu are known here"
                    .to_owned(),
            }),
        }
    }

    /// What holds for a key: what the file says, or what the class of its kind fills in.
    /// A number that JSON does not have is `{"__float__": "Infinity"}`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.keys.get(key)
    }
}
