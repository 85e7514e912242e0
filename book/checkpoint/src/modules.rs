//! The matrices of a model by the names that they have in its checkpoint: what lists of
//! modules that are left out of quantization name.

use crate::attention::Heads;
use crate::config::Config;
use crate::error::ConfigError;
use crate::kinds::{Network, Projections};
use crate::sizes::FeedForward;

/// The part of a model that a matrix belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// The projections of attention.
    Attention,
    /// A network that every token passes.
    Network,
    /// A network that few tokens pass.
    Experts,
    /// The matrix that tokens leave by.
    Head,
    /// The table that tokens enter by.
    Table,
}

/// A matrix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Module {
    pub(crate) part: Part,
    /// As in a model of text alone.
    pub(crate) name: String,
    pub(crate) weights: u64,
}

impl Config {
    /// All matrices but routers, and of many experts in a layer the first alone.
    pub(crate) fn modules(&self) -> Result<Vec<Module>, ConfigError> {
        let sizes = self.sizes()?;
        let d = sizes.model_dim;
        let attention = self.projections(d)?;
        let mut modules = Vec::new();
        let mut add = |part, name: String, weights| {
            modules.push(Module { part, name, weights });
        };
        for (layer, feed_forward) in sizes.feed_forward.iter().enumerate() {
            let layer = match self.kind.name {
                "gpt2" | "falcon" => format!("transformer.h.{layer}"),
                "gpt_neox" => format!("gpt_neox.layers.{layer}"),
                _ => format!("model.layers.{layer}"),
            };
            for (name, weights) in &attention {
                add(Part::Attention, format!("{layer}.{name}"), *weights);
            }
            let mut network = |part, prefix: &str, dim: u64| {
                for (name, matrices) in self.matrices(part) {
                    let name = format!("{layer}.{prefix}.{name}");
                    add(part, name, *matrices * d * dim);
                }
            };
            match *feed_forward {
                FeedForward::Dense { dim } => network(Part::Network, "mlp", dim),
                FeedForward::Experts { dim, shared_dim, .. } => {
                    let (experts, shared) = self.experts_are();
                    network(Part::Experts, experts, dim);
                    if shared_dim > 0 {
                        network(Part::Network, shared, shared_dim);
                    }
                }
            }
        }
        let (head, table) = match self.kind.name {
            "gpt2" => ("lm_head", "transformer.wte"),
            "falcon" => ("lm_head", "transformer.word_embeddings"),
            "gpt_neox" => ("embed_out", "gpt_neox.embed_in"),
            _ => ("lm_head", "model.embed_tokens"),
        };
        add(Part::Head, head.to_owned(), sizes.vocab * d);
        add(Part::Table, table.to_owned(), sizes.vocab * d);
        Ok(modules)
    }

    /// The projections of a layer, each with its weights.
    fn projections(&self, d: u64) -> Result<Vec<(&'static str, u64)>, ConfigError> {
        Ok(match self.heads()? {
            Heads::Shared { heads, kv_heads, head_dim } => {
                let (queries, keys) = (d * heads * head_dim, d * kv_heads * head_dim);
                match self.kind.projections {
                    Projections::Fused => vec![
                        ("self_attn.qkv_proj", queries + 2 * keys),
                        ("self_attn.o_proj", queries),
                    ],
                    Projections::FusedTransposed => {
                        vec![("attn.c_attn", 3 * queries), ("attn.c_proj", queries)]
                    }
                    Projections::FusedByGroup if self.kind.name == "falcon" => vec![
                        ("self_attention.query_key_value", queries + 2 * keys),
                        ("self_attention.dense", queries),
                    ],
                    Projections::FusedByGroup => vec![
                        ("attention.query_key_value", queries + 2 * keys),
                        ("attention.dense", queries),
                    ],
                    Projections::SeparateDense => vec![
                        ("self_attn.q_proj", queries),
                        ("self_attn.k_proj", keys),
                        ("self_attn.v_proj", keys),
                        ("self_attn.dense", queries),
                    ],
                    _ => vec![
                        ("self_attn.q_proj", queries),
                        ("self_attn.k_proj", keys),
                        ("self_attn.v_proj", keys),
                        ("self_attn.o_proj", queries),
                    ],
                }
            }
            Heads::Latent {
                heads,
                nope_dim,
                rope_dim,
                v_dim,
                lora_rank,
                q_lora_rank,
                ..
            } => {
                let width = heads * (nope_dim + rope_dim);
                let mut all = match q_lora_rank {
                    Some(rank) => vec![
                        ("self_attn.q_a_proj", d * rank),
                        ("self_attn.q_b_proj", rank * width),
                    ],
                    None => vec![("self_attn.q_proj", d * width)],
                };
                let values = heads * v_dim;
                all.extend([
                    ("self_attn.kv_a_proj_with_mqa", d * (lora_rank + rope_dim)),
                    ("self_attn.kv_b_proj", lora_rank * (heads * nope_dim + values)),
                    ("self_attn.o_proj", values * d),
                ]);
                all
            }
        })
    }

    /// The matrices of a network, and of how many each consists.
    fn matrices(&self, part: Part) -> &'static [(&'static str, u64)] {
        match (self.kind.name, part) {
            ("gpt2" | "starcoder2", _) => &[("c_fc", 1), ("c_proj", 1)],
            ("phi", _) => &[("fc1", 1), ("fc2", 1)],
            ("gpt_neox" | "falcon", _) => &[("dense_h_to_4h", 1), ("dense_4h_to_h", 1)],
            ("mixtral", Part::Experts) => &[("w1", 1), ("w3", 1), ("w2", 1)],
            ("phi3" | "glm" | "glm4", _) | ("gpt_oss", Part::Experts) => {
                &[("gate_up_proj", 2), ("down_proj", 1)]
            }
            _ => &[("gate_proj", 1), ("up_proj", 1), ("down_proj", 1)],
        }
    }

    /// Where a layer's experts are, and what all tokens pass beside them.
    fn experts_are(&self) -> (&'static str, &'static str) {
        match self.kind.network {
            Network::Mixtral => ("block_sparse_moe.experts.0", ""),
            Network::GptOss => ("mlp.experts", ""),
            Network::Qwen { .. } => ("mlp.experts.0", "mlp.shared_expert"),
            _ => ("mlp.experts.0", "mlp.shared_experts"),
        }
    }
}
