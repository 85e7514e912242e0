//! Why a configuration cannot be read.

use crate::kinds::known;

/// Why a `config.json` cannot be read, or does not say what was asked. Each is one
/// line.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It is not JSON.
    #[error("not JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// It is JSON, but a list or a number.
    #[error("not a configuration: the JSON is no object")]
    NoObject,
    /// Nothing says what the other keys mean.
    #[error("no `model_type`, which says what the other keys mean{hint}")]
    NoKind {
        /// What the file looks like instead, from its keys.
        hint: &'static str,
    },
    /// Nothing is known of models of this kind.
    #[error(
        "model_type `{kind}` is not known here; known are {known}",
        known = known().join(", ")
    )]
    Kind {
        /// What the file says.
        kind: String,
    },
    /// A key that this kind needs is not there, and Transformers fills nothing in.
    #[error("no `{key}`, which a model of type `{kind}` has")]
    Missing {
        /// The key.
        key: &'static str,
        /// The `model_type`.
        kind: &'static str,
    },
    /// A value of another type, or out of range.
    #[error("`{key}` is {found}, and has to be {wanted}")]
    Wrong {
        /// The key.
        key: String,
        /// What the file has.
        found: String,
        /// What it may be.
        wanted: String,
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
    /// A list that has to have an entry for each layer.
    #[error("`{key}` lists {listed} layers, and `num_hidden_layers` is {layers}")]
    Layers {
        /// The key.
        key: &'static str,
        /// Entries of the list.
        listed: usize,
        /// `num_hidden_layers`.
        layers: usize,
    },
    /// A layer that the model does not have.
    #[error(
        "there is no layer {layer}: the first is 0, the last {last}",
        last = layers.saturating_sub(1)
    )]
    Layer {
        /// The layer asked for.
        layer: usize,
        /// `num_hidden_layers`.
        layers: usize,
    },
    /// A key that changes what a layer computes, or what it costs, and is not
    /// understood.
    #[error("`{key}` is {found}: {why}")]
    NotUnderstood {
        /// The key.
        key: String,
        /// What the file has.
        found: String,
        /// What is missing here.
        why: String,
    },
}
