//! How large a model is: what its layers are made of, as far as costs go.

use crate::attention::{Heads, NormSpan, Sight};
use crate::config::Config;
use crate::error::ConfigError;
use crate::json::shown;
use crate::keys::{MOST_HEADS, MOST_LAYERS, MOST_WORDS, WIDEST, wrong};
use crate::kinds::{Network, RopeRule};
use serde_json::Value;

/// What follows attention in a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedForward {
    /// One network.
    Dense {
        /// Its hidden width.
        dim: u64,
    },
    /// Many networks, of which each token uses a few.
    Experts {
        /// How many there are.
        experts: u64,
        /// How many a token uses.
        chosen: u64,
        /// Hidden width of each.
        dim: u64,
        /// Hidden width of what every token uses beside them, or 0.
        shared_dim: u64,
    },
}

/// How large a decoder is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sizes {
    /// Width of a token.
    pub model_dim: u64,
    /// Different tokens.
    pub vocab: u64,
    /// Whether the table that tokens enter by is also the matrix that they leave by.
    pub tied: bool,
    /// Positions that have a row in a table of their own, or 0.
    pub positions: u64,
    /// What follows attention, layer by layer.
    pub feed_forward: Vec<FeedForward>,
    /// Matrices of one such network: three if it is gated, or two.
    pub matrices: u64,
    /// Biases, gains of norms, sinks and gates, in the whole model: what is not a
    /// matrix.
    pub small: u64,
}

impl Config {
    /// How large the model is.
    ///
    /// # Errors
    /// When a key is not what it has to be, or the model is no decoder.
    pub fn sizes(&self) -> Result<Sizes, ConfigError> {
        self.decodes()?;
        let feed_forward = self.feed_forward()?;
        let model_dim = self.model_dim()?;
        let positions = match self.kind.rope {
            RopeRule::Learned => {
                self.keys.count("max_position_embeddings", MOST_WORDS)?
            }
            _ => 0,
        };
        Ok(Sizes {
            model_dim,
            vocab: self.keys.count("vocab_size", MOST_WORDS)?,
            tied: self.tied,
            positions,
            matrices: match self.kind.network {
                Network::Plain | Network::PlainIf(_) => 2,
                _ => 3,
            },
            small: self.small(model_dim, &feed_forward)?,
            feed_forward,
        })
    }

    /// Refuses what keeps no cache, or other layers than are counted.
    fn decodes(&self) -> Result<(), ConfigError> {
        let both = "use_bidirectional_attention";
        let refused =
            |key: &str, value: &Value, why: &str| ConfigError::NotUnderstood {
                key: key.to_owned(),
                found: shown(value),
                why: why.to_owned(),
            };
        if self.kind.encoder || self.sight()? == Sight::All {
            let why = "an encoder, which writes no tokens and keeps no cache";
            return Err(refused("model_type", &self.kind.name.into(), why));
        }
        match self.keys.get(both) {
            None | Some(Value::Null | Value::Bool(false)) => {}
            Some(value) => {
                let why = "such a model is an encoder, and keeps no cache";
                return Err(refused(both, value, why));
            }
        }
        let own_layers = ["per_layer_config", "add_cross_attention"];
        for key in own_layers {
            let given = self.keys.given(key);
            let nothing = [Value::Null, Value::Bool(false)];
            if let Some(value) = given.filter(|value| !nothing.contains(value)) {
                let why = "layers that differ so are not counted here";
                return Err(refused(key, value, why));
            }
        }
        Ok(())
    }

    pub(crate) fn feed_forward(&self) -> Result<Vec<FeedForward>, ConfigError> {
        let layers = self.layers()?;
        let has_experts = self.has_experts(layers)?;
        let experts = match self.kind.network {
            _ if !has_experts.contains(&true) => None,
            network => self.experts(network)?,
        };
        let dense =
            if has_experts.contains(&false) { self.feed_forward_dim()? } else { 0 };
        let each = |has: bool| match experts {
            Some(experts) if has => experts,
            _ => FeedForward::Dense { dim: dense },
        };
        Ok(has_experts.into_iter().map(each).collect())
    }

    /// For each layer, whether it has experts.
    fn has_experts(&self, layers: usize) -> Result<Vec<bool>, ConfigError> {
        let keys = &self.keys;
        Ok(match self.kind.network {
            Network::Gated(_) | Network::Plain | Network::PlainIf(_) => {
                vec![false; layers]
            }
            Network::Mixtral | Network::GptOss => vec![true; layers],
            Network::Qwen { .. } => {
                let step = keys.count("decoder_sparse_step", MOST_LAYERS)? as usize;
                let without = keys.some_list("mlp_only_layers")?.unwrap_or(&[]);
                let has = |layer: usize| {
                    (layer + 1).is_multiple_of(step) && !without.contains(&layer.into())
                };
                (0..layers).map(has).collect()
            }
            Network::DeepSeek => {
                self.every_layer("moe_layer_freq")?;
                let first = keys.count_or_zero("first_k_dense_replace", MOST_LAYERS)?;
                (0..layers).map(|layer| layer as u64 >= first).collect()
            }
        })
    }

    /// Transformers does not read this key, and the model's own code does.
    fn every_layer(&self, key: &'static str) -> Result<(), ConfigError> {
        match self.keys.given(key) {
            None => Ok(()),
            Some(value) if value.as_u64() == Some(1) => Ok(()),
            Some(value) => {
                let wanted = "1: Transformers has experts in every layer from \
                              `first_k_dense_replace` on";
                Err(wrong(key, value, wanted.to_owned()))
            }
        }
    }

    /// What a layer with experts has.
    fn experts(&self, network: Network) -> Result<Option<FeedForward>, ConfigError> {
        let keys = &self.keys;
        let dim = |key| keys.count(key, WIDEST);
        let (experts, dim, shared_dim) = match network {
            Network::Gated(_) | Network::Plain | Network::PlainIf(_) => {
                return Ok(None);
            }
            Network::Mixtral | Network::GptOss => {
                ("num_local_experts", dim("intermediate_size")?, 0)
            }
            Network::Qwen { shared } => {
                let beside = "shared_expert_intermediate_size";
                let beside =
                    if shared { keys.count_or_zero(beside, WIDEST)? } else { 0 };
                ("num_experts", dim("moe_intermediate_size")?, beside)
            }
            Network::DeepSeek => {
                let one = dim("moe_intermediate_size")?;
                let shared = keys.count_or_zero("n_shared_experts", MOST_HEADS)?;
                ("n_routed_experts", one, one * shared)
            }
        };
        let experts = keys.count(experts, MOST_HEADS)?;
        let chosen = keys.count("num_experts_per_tok", experts)?;
        Ok(Some(FeedForward::Experts { experts, chosen, dim, shared_dim }))
    }

    /// Biases, gains of norms, sinks and gates.
    fn small(
        &self,
        model_dim: u64,
        feed_forward: &[FeedForward],
    ) -> Result<u64, ConfigError> {
        let layers = feed_forward.len() as u64;
        // Gain and bias of each norm, and of the one behind the last layer.
        let [norms, last] = self.norm_counts()?;
        let gains = norms * last;
        let mut networks = 0;
        for layer in feed_forward {
            networks += self.small_of_network(model_dim, *layer)?;
        }
        let each = gains * model_dim + self.small_of_attention(model_dim)?;
        let head = if self.head_adds() { self.vocab()? } else { 0 };
        Ok(layers * each + networks + last * model_dim + head)
    }

    fn small_of_attention(&self, model_dim: u64) -> Result<u64, ConfigError> {
        let biases = self.biases()?;
        let of = |added: bool, biases: u64| if added { biases } else { 0 };
        let output = of(biases.output, model_dim);
        Ok(match self.heads()? {
            Heads::Shared { heads, kv_heads, head_dim } => {
                let (queries, keys) = (heads * head_dim, kv_heads * head_dim);
                let norms = match self.norm()?.map(|norm| norm.span) {
                    None => 0,
                    Some(NormSpan::Head) if self.norm_adds()? => 4 * head_dim,
                    Some(NormSpan::Head) => 2 * head_dim,
                    Some(NormSpan::EachHead | NormSpan::AllHeads) => queries + keys,
                };
                let sinks = if self.kind.sinks { heads } else { 0 };
                of(biases.inputs, queries + 2 * keys) + output + norms + sinks
            }
            Heads::Latent { rope_dim, lora_rank, q_lora_rank, .. } => {
                let queries = q_lora_rank.unwrap_or(0);
                let norms = lora_rank + queries;
                of(biases.inputs, queries + lora_rank + rope_dim) + output + norms
            }
        })
    }

    /// Whether the norm of queries and keys has a bias.
    fn norm_adds(&self) -> Result<bool, ConfigError> {
        Ok(self.norm()?.is_some_and(|norm| norm.bias))
    }

    fn small_of_network(
        &self,
        model_dim: u64,
        layer: FeedForward,
    ) -> Result<u64, ConfigError> {
        let gated = |dim: u64| 2 * dim + model_dim;
        let flag = |key| self.keys.flag(key);
        Ok(match (self.kind.network, layer) {
            (Network::Gated(Some(key)), FeedForward::Dense { dim }) if flag(key)? => {
                gated(dim)
            }
            (Network::Plain, FeedForward::Dense { dim }) => dim + model_dim,
            (Network::PlainIf(key), FeedForward::Dense { dim })
                if self.keys.flag_or_null(key)? =>
            {
                dim + model_dim
            }
            (Network::GptOss, FeedForward::Experts { experts, dim, .. }) => {
                experts * gated(dim) + experts
            }
            // The gate of what all tokens use.
            (Network::Qwen { shared: true }, FeedForward::Experts { .. }) => model_dim,
            (Network::DeepSeek, layer) if self.keys.flag_or_not("mlp_bias")? => {
                match layer {
                    FeedForward::Dense { dim } => gated(dim),
                    FeedForward::Experts { shared_dim, .. } => gated(shared_dim),
                }
            }
            _ => 0,
        })
    }
}
