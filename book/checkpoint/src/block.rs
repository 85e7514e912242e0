//! How a layer is put together, and the factors around all layers.

use crate::config::Config;
use crate::error::ConfigError;
use crate::json::shown;
use crate::keys::{WIDEST, wrong};
use crate::kinds::{BlockRule, LayerNorms};
use serde_json::Value;

/// How norms, attention and network of a layer are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    /// `x += attention(norm(x))`, and then `x += network(norm(x))`: Llama and most.
    Before,
    /// `x += norm(attention(x))`, and then `x += norm(network(x))`: `OLMo` 2.
    After,
    /// `x += norm(attention(norm(x)))`, and then `x += norm(network(norm(x)))`: Gemma 2.
    Around,
    /// `x += attention(norm(x)) + network(norm(x))`.
    Parallel {
        /// One norm whose result goes to both, or two.
        norms: u64,
    },
    /// `x = norm(x + attention(x))`, and then `x = norm(x + network(x))`: BERT.
    AfterSum,
}

impl Block {
    /// How many norms a layer has.
    #[must_use]
    pub fn norms(self) -> u64 {
        match self {
            Block::Before | Block::After | Block::AfterSum => 2,
            Block::Around => 4,
            Block::Parallel { norms } => norms,
        }
    }
}

/// What a norm multiplies by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gain {
    /// Nothing.
    None,
    /// Its weight.
    Weight,
    /// One plus its weight.
    OnePlusWeight,
}

/// A norm of a token, between layers and behind the last.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerNorm {
    /// Whether the mean is taken off first (`LayerNorm`), or not (`RMSNorm`).
    pub centered: bool,
    /// What it multiplies by.
    pub gain: Gain,
    /// Whether it adds a bias then.
    pub bias: bool,
    /// What is added to the mean square before the root.
    pub eps: f64,
}

/// Numbers that a model multiplies by outside of its layers' parts, 1 in most.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Factors {
    /// Of what tokens enter as.
    pub embedding: f64,
    /// Of what attention and network add to a token.
    pub residual: f64,
    /// Of logits.
    pub logits: f64,
    /// Logits then become `cap · tanh(logit / cap)`.
    pub logit_cap: Option<f64>,
}

impl Config {
    /// How norms, attention and network of a layer are joined.
    ///
    /// # Errors
    /// When the keys that say so are not flags, or do not go together.
    pub fn block(&self) -> Result<Block, ConfigError> {
        Ok(match self.kind.block {
            BlockRule::Before => Block::Before,
            BlockRule::After => Block::After,
            BlockRule::Around => Block::Around,
            BlockRule::Parallel => Block::Parallel { norms: 1 },
            BlockRule::ParallelIf(norms) => {
                let parallel = self.keys.flag("use_parallel_residual")?;
                if parallel { Block::Parallel { norms } } else { Block::Before }
            }
            BlockRule::Falcon => self.falcon()?,
            BlockRule::AfterSum => Block::AfterSum,
        })
    }

    fn falcon(&self) -> Result<Block, ConfigError> {
        const NORMS: &str = "num_ln_in_parallel_attn";
        let new = self.keys.flag_or_null("new_decoder_architecture")?;
        let parallel = self.keys.flag_or_null("parallel_attn")?;
        let default = if new { 2 } else { 1 };
        let norms = self.keys.some_count(NORMS, 2)?.unwrap_or(default);
        match (new, parallel) {
            (false, false) => Ok(Block::Before),
            (true, true) => Ok(Block::Parallel { norms }),
            (false, true) if norms == 1 => Ok(Block::Parallel { norms }),
            (false, true) => {
                let wanted = "1 where `new_decoder_architecture` is not true";
                Err(wrong(NORMS, &Value::from(norms), wanted.to_owned()))
            }
            (true, false) => {
                let wanted = "true where `new_decoder_architecture` is";
                Err(wrong("parallel_attn", &Value::Bool(false), wanted.to_owned()))
            }
        }
    }

    /// The norms between layers, and the one behind the last.
    ///
    /// # Errors
    /// When the key of what is added before the root is no number, or below 0.
    pub fn layer_norm(&self) -> Result<LayerNorm, ConfigError> {
        let (centered, gain, bias) = match self.kind.norms {
            LayerNorms::Rms => (false, Gain::Weight, false),
            LayerNorms::RmsPlusOne => (false, Gain::OnePlusWeight, false),
            LayerNorms::WithBias => (true, Gain::Weight, true),
            LayerNorms::WithoutBias => (true, Gain::Weight, false),
            LayerNorms::Bare => (true, Gain::None, false),
        };
        Ok(LayerNorm { centered, gain, bias, eps: self.norm_eps()? })
    }

    /// Numbers that the model multiplies by outside of its layers' parts.
    ///
    /// # Errors
    /// When a key that says one is no number, or divides by 0.
    pub fn factors(&self) -> Result<Factors, ConfigError> {
        let keys = &self.keys;
        let mut factors =
            Factors { embedding: 1.0, residual: 1.0, logits: 1.0, logit_cap: None };
        match self.kind.name {
            "gemma" | "gemma2" | "gemma3_text" => {
                factors.embedding = (self.model_dim()? as f64).sqrt();
                if keys.get("final_logit_softcapping").is_some() {
                    factors.logit_cap = keys.some_number("final_logit_softcapping")?;
                }
            }
            "granite" => {
                factors.embedding = keys.number("embedding_multiplier")?;
                factors.residual = keys.number("residual_multiplier")?;
                factors.logits = 1.0 / self.divisor("logits_scaling")?;
            }
            "cohere" | "cohere2" => factors.logits = keys.number("logit_scale")?,
            "minicpm3" => {
                factors.embedding = keys.number("scale_emb")?;
                if let Some(depth) = keys.some_number("scale_depth")? {
                    factors.residual = depth / (self.layers()? as f64).sqrt();
                }
                if let Some(base) = keys.some_count("dim_model_base", WIDEST)? {
                    factors.logits = base as f64 / self.model_dim()? as f64;
                }
            }
            _ => {}
        }
        Ok(factors)
    }

    /// Whether a bias (`vocab`) is added to the logits.
    #[must_use]
    pub fn head_bias(&self) -> bool {
        self.kind.name == "phi"
    }

    fn divisor(&self, key: &'static str) -> Result<f64, ConfigError> {
        let number = self.keys.number(key)?;
        if number != 0.0 {
            return Ok(number);
        }
        Err(wrong(key, &Value::from(number), "a number other than 0".to_owned()))
    }

    /// # Errors
    /// When scores get biases by distance in place of a rotation (Press et al. 2021).
    pub(crate) fn expect_no_alibi(&self) -> Result<(), ConfigError> {
        const KEY: &str = "alibi";
        if !self.keys.class.fields.contains_key(KEY) || !self.keys.flag_or_null(KEY)? {
            return Ok(());
        }
        let found = shown(&Value::Bool(true));
        let why = "scores fall with distance in place of a rotation, which is not \
                   understood here";
        Err(ConfigError::NotUnderstood {
            key: KEY.to_owned(),
            found,
            why: why.to_owned(),
        })
    }
}
