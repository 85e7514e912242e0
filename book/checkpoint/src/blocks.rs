//! What a block of a model computes around its attention, where its tensors are, and what
//! stands before the first block and behind the last.
//!
//! Source: `models/KIND/modeling_KIND.py` of Transformers 5.24.

use crate::config::Config;
use crate::error::ConfigError;
use crate::experts::Experts;
use crate::gated::{Gated, GatedNames};
use crate::json::shown;
use crate::sizes::FeedForward;
use crate::whole::Activation;
use serde_json::Value;
use std::collections::BTreeSet;

/// How the rows between the parts of a block are normed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamNorm {
    /// By the root of the mean square, with a gain (`NAME.weight`).
    Rms {
        /// Whether the gain is one plus the stored weight.
        gain_plus_one: bool,
    },
    /// By mean and variance, with a gain, and with a bias (`NAME.bias`) if so.
    Layer {
        /// Whether there is a bias.
        bias: bool,
    },
    /// By mean and variance, and nothing is learned.
    Bare,
}

/// What each token does by itself.
#[derive(Debug, Clone, PartialEq)]
pub enum Network {
    /// Three matrices: what passes is multiplied by a gate.
    Gated(Gated),
    /// Two matrices.
    Plain {
        /// Name of the first matrix, behind the block's prefix.
        up: &'static str,
        /// Name of the second.
        down: &'static str,
        /// Width between them.
        dim: u64,
        /// Between them.
        activation: Activation,
        /// Whether both add a bias.
        bias: bool,
        /// Whether they are stored (in, out).
        transposed: bool,
    },
    /// Many networks, of which each token passes a few.
    Experts(Box<Experts>),
}

/// A block: what stands around the attention that [`Config::attention`] describes.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// What stands before all names of the block: `layers.3.`.
    pub prefix: String,
    /// What stands before those of its attention: `self_attn.`.
    pub attention: &'static str,
    /// How its norms compute.
    pub norm: StreamNorm,
    /// What is added to a mean square before its root.
    pub eps: f64,
    /// Norm of what attention reads, and norm of what it gives.
    pub attention_norms: [Option<&'static str>; 2],
    /// Norm of what the network reads, and norm of what it gives.
    pub network_norms: [Option<&'static str>; 2],
    /// Whether the network reads what attention read, and not what attention has added to.
    pub parallel: bool,
    /// What attention and network give is multiplied by this.
    pub residual: f64,
    /// Each token by itself.
    pub network: Network,
}

/// What stands before the first block and behind the last.
#[derive(Debug, Clone, PartialEq)]
pub struct Ends {
    /// The table of tokens: `embed_tokens`, behind the prefix of the text's model.
    pub table: &'static str,
    /// The table of positions, where there is one.
    pub positions: Option<&'static str>,
    /// Tokens enter as their rows times this.
    pub entry: f64,
    /// The last norm.
    pub norm: &'static str,
    /// The matrix that tokens leave by, if it is not the table.
    pub head: &'static str,
    /// Whether it adds a bias.
    pub head_bias: bool,
    /// Logits are multiplied by this.
    pub exit: f64,
    /// Logits become `cap · tanh(logit / cap)`, after that.
    pub cap: Option<f64>,
}

/// Names of the norms before and behind a part.
type NormNames = [Option<&'static str>; 2];

/// Norms by the names that most kinds give them.
const INPUT: Option<&str> = Some("input_layernorm");
const AFTER_ATTENTION: Option<&str> = Some("post_attention_layernorm");

impl Config {
    /// What stands around the attention of a layer.
    ///
    /// # Errors
    /// When a key is not what it has to be, or when one changes what a block computes and
    /// is not understood.
    pub fn block(&self, layer: usize) -> Result<Block, ConfigError> {
        let parallel = self.is_parallel()?;
        let [attention_norms, network_norms] = self.norm_names(parallel)?;
        let (layers, attention) = match self.kind() {
            "gpt2" => ("h", "attn."),
            "falcon" => ("h", "self_attention."),
            "gpt_neox" => ("layers", "attention."),
            _ => ("layers", "self_attn."),
        };
        Ok(Block {
            prefix: format!("{layers}.{layer}."),
            attention,
            norm: self.stream_norm(),
            eps: self.norm_eps()?,
            attention_norms,
            network_norms,
            parallel,
            residual: self.residual()?,
            network: self.network(layer)?,
        })
    }

    /// What stands before the first block and behind the last.
    ///
    /// # Errors
    /// When a key is not what it has to be.
    pub fn ends(&self) -> Result<Ends, ConfigError> {
        let kind = self.kind();
        let (table, norm, head) = match kind {
            "gpt2" => ("wte", "ln_f", "lm_head"),
            "falcon" => ("word_embeddings", "ln_f", "lm_head"),
            "gpt_neox" => ("embed_in", "final_layer_norm", "embed_out"),
            "phi" => ("embed_tokens", "final_layernorm", "lm_head"),
            _ => ("embed_tokens", "norm", "lm_head"),
        };
        let entry = match kind {
            "gemma" | "gemma2" | "gemma3_text" => (self.model_dim()? as f64).sqrt(),
            "minicpm3" => self.multiplier("scale_emb", &["minicpm3"])?,
            _ => self.multiplier("embedding_multiplier", &["granite"])?,
        };
        let exit = match self.some_number_of("dim_model_base", "minicpm3")? {
            Some(base) => base / self.model_dim()? as f64,
            None => {
                self.multiplier("logit_scale", &["cohere", "cohere2"])?
                    / self.multiplier("logits_scaling", &["granite"])?
            }
        };
        let cap = match kind {
            "gemma2" | "gemma3_text" => self.some_number("final_logit_softcapping")?,
            _ => None,
        };
        Ok(Ends {
            table,
            positions: (kind == "gpt2").then_some("wpe"),
            entry,
            norm,
            head,
            head_bias: self.head_adds(),
            exit,
            cap,
        })
    }

    fn stream_norm(&self) -> StreamNorm {
        match self.kind() {
            "gpt2" | "gpt_neox" | "phi" | "falcon" | "stablelm" | "starcoder2" => {
                StreamNorm::Layer { bias: true }
            }
            "cohere" | "cohere2" => StreamNorm::Layer { bias: false },
            "olmo" => StreamNorm::Bare,
            "gemma" | "gemma2" | "gemma3_text" => {
                StreamNorm::Rms { gain_plus_one: true }
            }
            _ => StreamNorm::Rms { gain_plus_one: false },
        }
    }

    /// What attention and network give is multiplied by this.
    fn residual(&self) -> Result<f64, ConfigError> {
        match self.some_number_of("scale_depth", "minicpm3")? {
            Some(depth) => Ok(depth / (self.layers()? as f64).sqrt()),
            None => self.multiplier("residual_multiplier", &["granite"]),
        }
    }

    /// A factor of one kind, where the file or its default says it.
    fn some_number_of(
        &self,
        key: &'static str,
        kind: &str,
    ) -> Result<Option<f64>, ConfigError> {
        if self.kind() == kind { self.some_number(key) } else { Ok(None) }
    }

    /// How many different norms a layer has, and how many vectors each.
    pub(crate) fn norm_counts(&self) -> Result<[u64; 2], ConfigError> {
        let names = self.norm_names(self.is_parallel()?)?;
        let names: BTreeSet<_> = names.into_iter().flatten().flatten().collect();
        let vectors = match self.stream_norm() {
            StreamNorm::Bare => 0,
            StreamNorm::Rms { .. } | StreamNorm::Layer { bias: false } => 1,
            StreamNorm::Layer { bias: true } => 2,
        };
        Ok([names.len() as u64, vectors])
    }

    /// Whether a bias is added to logits.
    pub(crate) fn head_adds(&self) -> bool {
        self.kind() == "phi"
    }

    fn is_parallel(&self) -> Result<bool, ConfigError> {
        match self.kind() {
            "cohere" | "cohere2" | "phi" => Ok(true),
            "gpt_neox" | "stablelm" => self.keys.flag("use_parallel_residual"),
            "falcon" => self.falcon_is_parallel(),
            _ => Ok(false),
        }
    }

    /// Names of the norms before and behind attention, and before and behind the network.
    fn norm_names(&self, parallel: bool) -> Result<[NormNames; 2], ConfigError> {
        Ok(match self.kind() {
            "gemma2" | "gemma3_text" => [
                [INPUT, AFTER_ATTENTION],
                [Some("pre_feedforward_layernorm"), Some("post_feedforward_layernorm")],
            ],
            "glm4" => [
                [INPUT, Some("post_self_attn_layernorm")],
                [AFTER_ATTENTION, Some("post_mlp_layernorm")],
            ],
            "olmo2" | "olmo3" | "exaone4" => {
                [[None, AFTER_ATTENTION], [None, Some("post_feedforward_layernorm")]]
            }
            "gpt2" => [[Some("ln_1"), None], [Some("ln_2"), None]],
            "falcon" if self.falcon_has_two_norms()? => {
                [[Some("ln_attn"), None], [Some("ln_mlp"), None]]
            }
            "cohere" | "cohere2" | "phi" => [[INPUT, None], [INPUT, None]],
            "stablelm" | "falcon" if parallel => [[INPUT, None], [INPUT, None]],
            _ => [[INPUT, None], [AFTER_ATTENTION, None]],
        })
    }

    fn falcon_is_parallel(&self) -> Result<bool, ConfigError> {
        let new = self.keys.flag_or_null("new_decoder_architecture")?;
        let parallel = self.keys.flag_or_null("parallel_attn")?;
        if new && !parallel {
            let why = "where `new_decoder_architecture` is true, Transformers runs such \
                       a model alone with `parallel_attn`";
            return Err(self.not_here("parallel_attn", why));
        }
        Ok(parallel)
    }

    fn falcon_has_two_norms(&self) -> Result<bool, ConfigError> {
        const KEY: &str = "num_ln_in_parallel_attn";
        let new = self.keys.flag_or_null("new_decoder_architecture")?;
        let given = self.keys.some_count(KEY, 2)?;
        if !new && given == Some(2) && self.falcon_is_parallel()? {
            let why = "two norms belong to a `new_decoder_architecture`";
            return Err(self.not_here(KEY, why));
        }
        Ok(new && given != Some(1))
    }

    fn network(&self, layer: usize) -> Result<Network, ConfigError> {
        let all = self.feed_forward()?;
        let Some(one) = all.get(layer) else {
            return Err(ConfigError::Layer { layer, layers: all.len() });
        };
        match *one {
            FeedForward::Experts { .. } => {
                Ok(Network::Experts(Box::new(self.experts_of(*one)?)))
            }
            FeedForward::Dense { dim } => self.dense_network(dim),
        }
    }

    fn dense_network(&self, dim: u64) -> Result<Network, ConfigError> {
        let activation = self.activation()?;
        let plain = |up, down, bias, transposed| Network::Plain {
            up,
            down,
            dim,
            activation,
            bias,
            transposed,
        };
        Ok(match self.kind() {
            "gpt2" => plain("mlp.c_fc", "mlp.c_proj", true, true),
            "phi" => plain("mlp.fc1", "mlp.fc2", true, false),
            "starcoder2" => {
                plain("mlp.c_fc", "mlp.c_proj", self.keys.flag("use_bias")?, false)
            }
            "gpt_neox" => plain("mlp.dense_h_to_4h", "mlp.dense_4h_to_h", true, false),
            "falcon" => {
                let bias = self.keys.flag_or_null("bias")?;
                plain("mlp.dense_h_to_4h", "mlp.dense_4h_to_h", bias, false)
            }
            kind => Network::Gated(Gated {
                prefix: "mlp.".to_owned(),
                names: match kind {
                    "phi3" | "glm" | "glm4" => {
                        GatedNames::Two(["gate_up_proj", "down_proj"])
                    }
                    _ => GatedNames::Three(["gate_proj", "up_proj", "down_proj"]),
                },
                dim,
                activation,
                bias: self.network_bias()?,
            }),
        })
    }

    fn network_bias(&self) -> Result<bool, ConfigError> {
        match self.keys.get("mlp_bias") {
            None | Some(Value::Null) => Ok(false),
            Some(_) => self.keys.flag("mlp_bias"),
        }
    }

    /// A factor that only these kinds know.
    fn multiplier(
        &self,
        key: &'static str,
        kinds: &[&str],
    ) -> Result<f64, ConfigError> {
        if !kinds.contains(&self.kind()) {
            return Ok(1.0);
        }
        let factor = self.keys.number(key)?;
        if !factor.is_finite() || factor == 0.0 {
            let found = Value::from(factor);
            let wanted = "a number that is not 0".to_owned();
            return Err(crate::keys::wrong(key, &found, wanted));
        }
        Ok(factor)
    }

    pub(crate) fn some_number(
        &self,
        key: &'static str,
    ) -> Result<Option<f64>, ConfigError> {
        match self.keys.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(_) => {
                let number = self.keys.number(key)?;
                if number <= 0.0 {
                    let found = Value::from(number);
                    return Err(crate::keys::wrong(
                        key,
                        &found,
                        "a number above 0".to_owned(),
                    ));
                }
                Ok(Some(number))
            }
        }
    }

    pub(crate) fn not_here(&self, key: &str, why: &str) -> ConfigError {
        let nothing = Value::Null;
        ConfigError::NotUnderstood {
            key: key.to_owned(),
            found: shown(self.get(key).unwrap_or(&nothing)),
            why: why.to_owned(),
        }
    }
}
