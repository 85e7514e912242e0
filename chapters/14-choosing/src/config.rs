//! Reads the `config.json` that Hugging Face keeps beside a model's weights, as far as
//! costs go.
//!
//! What a key means, and what holds where one is absent, is told by `checkpoint`, which
//! follows the configuration classes of Transformers.

use crate::{FeedForward, Mechanism, Model};
use checkpoint::{Config, ConfigError, FeedForward as Layer, Heads};
use minilm::models::Window;

/// The model that the text of a `config.json` describes, under the name `name`. A model
/// of text and images is read as far as its `text_config` goes.
///
/// # Errors
/// When it is not JSON, of no known kind, or something is missing, not a count, or does
/// not go together.
pub fn read(name: &str, json: &str) -> Result<Model, ConfigError> {
    model(name, &Config::parse(json)?)
}

/// The model that a configuration describes.
///
/// # Errors
/// As for [`read`].
pub fn model(name: &str, config: &Config) -> Result<Model, ConfigError> {
    let sizes = config.sizes()?;
    Ok(Model {
        name: name.to_owned(),
        model_dim: sizes.model_dim,
        layers: sizes.feed_forward.len() as u64,
        window: window(config)?,
        mechanism: mechanism(config)?,
        feed_forward: feed_forward(&sizes.feed_forward, sizes.matrices),
        vocab: sizes.vocab,
        tied: sizes.tied,
        small: sizes.small + sizes.positions * sizes.model_dim,
    })
}

fn mechanism(config: &Config) -> Result<Mechanism, ConfigError> {
    Ok(match config.heads()? {
        Heads::Shared { heads, kv_heads, head_dim } => {
            Mechanism::Shared { heads, kv_heads, qk_dim: head_dim, v_dim: head_dim }
        }
        Heads::Latent {
            heads,
            nope_dim,
            rope_dim,
            v_dim,
            lora_rank,
            q_lora_rank,
            ..
        } => Mechanism::Latent {
            heads,
            nope_dim,
            rope_dim,
            v_dim,
            lora_rank,
            q_lora_rank,
        },
    })
}

/// Layers that look back a fixed number of tokens, the same in all of them.
fn window(config: &Config) -> Result<Option<Window>, ConfigError> {
    let windows: Vec<u64> = config.windows()?.into_iter().flatten().collect();
    let layers = windows.len() as u64;
    Ok(windows.first().map(|tokens| Window { tokens: *tokens, layers }))
}

/// The layers with one network and those with many, each sort alike.
fn feed_forward(all: &[Layer], matrices: u64) -> FeedForward {
    let mut sum = FeedForward { matrices, ..FeedForward::dense(0, 0) };
    for layer in all {
        match *layer {
            Layer::Dense { dim } => {
                sum.dense_layers += 1;
                sum.dense_dim = dim;
            }
            Layer::Experts { experts, chosen, dim, shared_dim } => {
                sum.expert_layers += 1;
                sum.expert_dim = dim;
                (sum.experts, sum.chosen, sum.shared_dim) =
                    (experts, chosen, shared_dim);
            }
        }
    }
    sum
}
