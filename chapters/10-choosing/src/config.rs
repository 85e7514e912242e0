//! Reads the `config.json` that Hugging Face keeps beside a model's weights: of Llama,
//! Mistral, Mixtral, Qwen, Gemma and `DeepSeek` kinds.
//!
//! What keys mean, and what holds where one is absent, is taken from the configuration
//! classes of Transformers 5.

use crate::{FeedForward, Mechanism, Model};
use minilm::models::Window;
use serde_json::{Map, Value};

/// The `model_type`s that are read here.
pub const KINDS: [&str; 12] = [
    "llama",
    "mistral",
    "mixtral",
    "qwen2",
    "qwen2_moe",
    "qwen3",
    "qwen3_moe",
    "gemma",
    "gemma2",
    "gemma3_text",
    "deepseek_v2",
    "deepseek_v3",
];

/// The longest file that is read, in bytes. Configurations have a few thousand.
pub const LONGEST: u64 = 1 << 20;

/// The model that the text of a `config.json` describes, under the name `name`. A model
/// of text and images is read as far as its `text_config` goes.
///
/// # Errors
/// When it is not JSON, of no known kind, or something is missing, not a count, or does
/// not go together.
pub fn read(name: &str, json: &str) -> Result<Model, ConfigError> {
    let Value::Object(outer) = serde_json::from_str(json)? else {
        return Err(ConfigError::NoObject);
    };
    let inner = outer.get("text_config").and_then(Value::as_object);
    let keys = inner.unwrap_or(&outer);
    let kind = keys.get("model_type").or_else(|| outer.get("model_type"));
    let kind = kind.and_then(Value::as_str).ok_or(ConfigError::NoKind)?;
    let found = KINDS.into_iter().find(|known| *known == kind.trim_end_matches("_vl"));
    let kind = found.ok_or_else(|| ConfigError::Kind(shorten(kind)))?;
    let tied = outer.get("tie_word_embeddings").and_then(Value::as_bool);
    Config { kind, keys }.model(name, tied)
}

/// A configuration of a kind.
struct Config<'a> {
    kind: &'static str,
    keys: &'a Map<String, Value>,
}

impl Config<'_> {
    fn model(&self, name: &str, tied: Option<bool>) -> Result<Model, ConfigError> {
        let layers = self.needed("num_hidden_layers", 10_000)?;
        let model_dim = self.needed("hidden_size", WIDEST)?;
        let mechanism = self.mechanism(model_dim)?;
        let feed_forward = self.feed_forward(layers)?;
        let vocab = self.or("vocab_size", 1 << 28, self.gemma3().then_some(262_208))?;
        let tied = self.flag("tie_word_embeddings").or(tied);
        Ok(Model {
            name: name.to_owned(),
            model_dim,
            layers,
            window: self.window(layers)?,
            mechanism,
            feed_forward,
            vocab,
            tied: tied.unwrap_or(self.kind.starts_with("gemma")),
            small: self.small(model_dim, layers, mechanism, &feed_forward),
        })
    }

    fn gemma3(&self) -> bool {
        self.kind == "gemma3_text"
    }

    fn mechanism(&self, model_dim: u64) -> Result<Mechanism, ConfigError> {
        let gemma3 = |count| self.gemma3().then_some(count);
        let heads = self.or("num_attention_heads", MOST_HEADS, gemma3(8))?;
        if self.kind.starts_with("deepseek") {
            return Ok(Mechanism::Latent {
                heads,
                nope_dim: self.needed("qk_nope_head_dim", WIDEST_HEAD)?,
                rope_dim: self.needed("qk_rope_head_dim", WIDEST_HEAD)?,
                v_dim: self.needed("v_head_dim", WIDEST_HEAD)?,
                lora_rank: self.needed("kv_lora_rank", WIDEST)?,
                q_lora_rank: self.count("q_lora_rank", WIDEST)?,
            });
        }
        let kv_heads =
            self.or("num_key_value_heads", MOST_HEADS, gemma3(4).or(Some(heads)))?;
        if !heads.is_multiple_of(kv_heads) {
            return Err(ConfigError::Groups { heads, kv_heads });
        }
        let width = match self.kind {
            "gemma" | "gemma2" | "gemma3_text" => Some(256),
            "qwen3" => Some(128),
            _ => None,
        };
        let width = match self.count("head_dim", WIDEST_HEAD)?.or(width) {
            Some(width) => width,
            None if model_dim.is_multiple_of(heads) => model_dim / heads,
            None => return Err(ConfigError::Split { model_dim, heads }),
        };
        Ok(Mechanism::Shared { heads, kv_heads, qk_dim: width, v_dim: width })
    }

    /// Layers that look back a fixed number of tokens.
    fn window(&self, layers: u64) -> Result<Option<Window>, ConfigError> {
        let tokens = match self.flag("use_sliding_window") {
            // Qwen's files give a window that is not used.
            None if self.kind.starts_with("qwen") => None,
            Some(false) => None,
            _ => match self.kind {
                "gemma2" | "gemma3_text" => {
                    Some(self.or("sliding_window", 1 << 32, Some(4096))?)
                }
                _ => self.count("sliding_window", 1 << 32)?,
            },
        };
        let slides: Vec<bool> = match self.keys.get("layer_types") {
            Some(Value::Array(kinds)) => {
                kinds.iter().map(slides).collect::<Result<_, _>>()?
            }
            _ => {
                (0..layers).map(|layer| self.slides(layer)).collect::<Result<_, _>>()?
            }
        };
        if slides.len() as u64 != layers {
            return Err(ConfigError::Layers { listed: slides.len(), layers });
        }
        let layers = slides.iter().filter(|slides| **slides).count() as u64;
        Ok(tokens.filter(|_| layers > 0).map(|tokens| Window { tokens, layers }))
    }

    /// Whether a layer has a window, if there is one and the file does not say where.
    fn slides(&self, layer: u64) -> Result<bool, ConfigError> {
        Ok(match self.kind {
            "mistral" | "mixtral" | "qwen3_moe" => true,
            "qwen2" | "qwen2_moe" | "qwen3" => {
                layer >= self.or_zero("max_window_layers", 28)?
            }
            "gemma2" => layer.is_multiple_of(2),
            "gemma3_text" => !(layer + 1).is_multiple_of(self.or(
                "sliding_window_pattern",
                1 << 16,
                Some(6),
            )?),
            _ => false,
        })
    }

    fn feed_forward(&self, layers: u64) -> Result<FeedForward, ConfigError> {
        let dim = |key| self.needed(key, WIDEST);
        let experts = self.count("num_local_experts", MOST_HEADS)?;
        let experts = experts.or(self.count("num_experts", MOST_HEADS)?);
        let experts = experts.or(self.count("n_routed_experts", MOST_HEADS)?);
        let has_experts = match self.kind {
            "mixtral" | "qwen2_moe" | "qwen3_moe" => true,
            "deepseek_v2" | "deepseek_v3" => experts.is_some(),
            _ => false,
        };
        if !has_experts {
            return Ok(FeedForward::dense(layers, dim("intermediate_size")?));
        }
        let experts = experts
            .ok_or(ConfigError::Missing { key: "num_experts", kind: self.kind })?;
        let chosen = self.needed("num_experts_per_tok", experts)?;
        let mut expert_layers = 0;
        for layer in 0..layers {
            expert_layers += u64::from(self.has_experts(layer)?);
        }
        let dense_layers = layers - expert_layers;
        let (expert_dim, shared_dim) = match self.kind {
            "mixtral" => (dim("intermediate_size")?, 0),
            "qwen2_moe" => {
                (dim("moe_intermediate_size")?, dim("shared_expert_intermediate_size")?)
            }
            "qwen3_moe" => (dim("moe_intermediate_size")?, 0),
            _ => {
                let one = dim("moe_intermediate_size")?;
                (one, one * self.or_zero("n_shared_experts", 0)?)
            }
        };
        let dense_dim = if dense_layers > 0 { dim("intermediate_size")? } else { 0 };
        Ok(FeedForward {
            dense_layers,
            dense_dim,
            expert_layers,
            expert_dim,
            experts,
            chosen,
            shared_dim,
        })
    }

    /// Whether a layer of a model with experts has them.
    fn has_experts(&self, layer: u64) -> Result<bool, ConfigError> {
        Ok(match self.kind {
            "qwen2_moe" | "qwen3_moe" => {
                let step = self.or("decoder_sparse_step", 1 << 16, Some(1))?;
                let without =
                    self.keys.get("mlp_only_layers").and_then(Value::as_array);
                let without = without.is_some_and(|all| all.contains(&layer.into()));
                (layer + 1).is_multiple_of(step) && !without
            }
            "deepseek_v2" | "deepseek_v3" => {
                let every = self.or("moe_layer_freq", 1 << 16, Some(1))?;
                let first = self.or_zero("first_k_dense_replace", 0)?;
                layer >= first && layer.is_multiple_of(every)
            }
            _ => true,
        })
    }

    /// Biases and norms, which are few beside the rest but make the count exact.
    fn small(
        &self,
        model_dim: u64,
        layers: u64,
        mechanism: Mechanism,
        feed_forward: &FeedForward,
    ) -> u64 {
        let bias = self.flag("attention_bias").unwrap_or(false);
        let around = if matches!(self.kind, "gemma2" | "gemma3_text") { 4 } else { 2 };
        let inside = match mechanism {
            Mechanism::Shared { heads, qk_dim, .. } => {
                let qkv = heads * qk_dim + mechanism.kept();
                let biases = match self.kind {
                    "qwen2" => qkv,
                    "qwen2_moe" if self.flag("qkv_bias") != Some(false) => qkv,
                    "llama" | "gemma" | "gemma2" | "gemma3_text" | "qwen3"
                    | "qwen3_moe"
                        if bias =>
                    {
                        qkv + model_dim
                    }
                    _ => 0,
                };
                let norms = matches!(self.kind, "qwen3" | "qwen3_moe" | "gemma3_text");
                biases + if norms { 2 * qk_dim } else { 0 }
            }
            Mechanism::Latent { lora_rank, q_lora_rank, .. } => {
                let query = q_lora_rank.unwrap_or(0);
                let biases = query + mechanism.kept() + model_dim;
                lora_rank + query + if bias { biases } else { 0 }
            }
        };
        let mlp_bias = self.kind == "llama" && self.flag("mlp_bias") == Some(true);
        let mlp = if mlp_bias { 2 * feed_forward.dense_dim + model_dim } else { 0 };
        let gate = if self.kind == "qwen2_moe" { model_dim } else { 0 };
        layers * (around * model_dim + inside + mlp)
            + feed_forward.expert_layers * gate
            + model_dim
    }

    /// A count of at least one and at most `most`, if the key is there and not null.
    fn count(&self, key: &'static str, most: u64) -> Result<Option<u64>, ConfigError> {
        let Some(value) = self.keys.get(key).filter(|value| !value.is_null()) else {
            return Ok(None);
        };
        let count = value.as_u64().filter(|count| (1..=most).contains(count));
        let refused = || {
            let value = shorten(&value.to_string());
            ConfigError::Count { key, value, most }
        };
        count.map(Some).ok_or_else(refused)
    }

    fn or(
        &self,
        key: &'static str,
        most: u64,
        absent: Option<u64>,
    ) -> Result<u64, ConfigError> {
        let missing = ConfigError::Missing { key, kind: self.kind };
        self.count(key, most)?.or(absent).ok_or(missing)
    }

    fn needed(&self, key: &'static str, most: u64) -> Result<u64, ConfigError> {
        self.or(key, most, None)
    }

    /// A count that may be 0.
    fn or_zero(&self, key: &'static str, absent: u64) -> Result<u64, ConfigError> {
        match self.keys.get(key).and_then(Value::as_u64) {
            Some(0) => Ok(0),
            _ => self.or(key, MOST_HEADS, Some(absent)),
        }
    }

    fn flag(&self, key: &str) -> Option<bool> {
        self.keys.get(key).and_then(Value::as_bool)
    }
}

/// Limits far above any model, under which no count of the calculator overflows.
const WIDEST: u64 = 1 << 20;
const WIDEST_HEAD: u64 = 1 << 14;
const MOST_HEADS: u64 = 1 << 16;

/// Whether a layer of this kind looks back a fixed number of tokens.
fn slides(kind: &Value) -> Result<bool, ConfigError> {
    match kind.as_str() {
        Some("sliding_attention") => Ok(true),
        Some("full_attention") => Ok(false),
        _ => Err(ConfigError::LayerKind(shorten(&kind.to_string()))),
    }
}

/// What somebody else wrote, short enough for a line.
fn shorten(text: &str) -> String {
    let short: String = text.chars().take(40).collect();
    if short.len() < text.len() { short + "…" } else { short }
}

/// Why a `config.json` cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It is not JSON.
    #[error("not JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// It is JSON, but a list or a number.
    #[error("not a configuration: the JSON is no object")]
    NoObject,
    /// Nothing says what the other keys mean.
    #[error("no `model_type`, which says what the other keys mean")]
    NoKind,
    /// Nothing is known of models of this kind.
    #[error("model_type `{0}` is not known here; known are {known}", known = KINDS.join(", "))]
    Kind(String),
    /// A key that this kind needs is not there.
    #[error("no `{key}`, which a model of type `{kind}` has")]
    Missing {
        /// The key.
        key: &'static str,
        /// The `model_type`.
        kind: &'static str,
    },
    /// A value that has to be a count is none.
    #[error("`{key}` is {value}, and has to be a whole number from 1 to {most}")]
    Count {
        /// The key.
        key: &'static str,
        /// What the file has.
        value: String,
        /// The largest that is believed.
        most: u64,
    },
    /// Key/value heads that do not divide the heads.
    #[error("`num_key_value_heads` is {kv_heads}, which does not divide {heads} heads")]
    Groups {
        /// Heads that ask.
        heads: u64,
        /// Heads that are asked.
        kv_heads: u64,
    },
    /// Heads that do not divide the width.
    #[error(
        "no `head_dim`, and {heads} heads do not divide a `hidden_size` of {model_dim}"
    )]
    Split {
        /// `hidden_size`.
        model_dim: u64,
        /// `num_attention_heads`.
        heads: u64,
    },
    /// A list of layers that has another length.
    #[error("`layer_types` lists {listed} layers, and `num_hidden_layers` is {layers}")]
    Layers {
        /// Entries of the list.
        listed: usize,
        /// `num_hidden_layers`.
        layers: u64,
    },
    /// A layer of a kind that has other costs.
    #[error(
        "`layer_types` has {0}: only full_attention and sliding_attention are known"
    )]
    LayerKind(String),
}
