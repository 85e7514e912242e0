//! Real models, as far as their caches of keys and values go: `models.toml` and what
//! follows from it.

use anyhow::{Context, Result};
use serde::Deserialize;

/// What one model's cache depends on.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// As its authors call it.
    pub name: String,
    /// Layers, each with a cache of its own.
    pub layers: u64,
    /// Query heads a layer.
    pub heads: u64,
    /// Heads a layer that have keys and values of their own.
    pub kv_heads: u64,
    /// Width of one head.
    pub head_dim: u64,
    /// Width of a token.
    pub model_dim: u64,
    /// Tokens that it was trained to read at once.
    pub context: u64,
    /// Layers that look back a fixed number of tokens only.
    pub window: Option<Window>,
    /// Where to check these numbers.
    pub source: String,
}

/// Layers that forget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Tokens that such a layer keeps.
    pub tokens: u64,
    /// How many layers are such.
    pub layers: u64,
}

impl Model {
    /// Whether every query head has keys and values of its own.
    #[must_use]
    pub fn is_multi_head(&self) -> bool {
        self.kv_heads == self.heads
    }

    /// Bytes of keys and values that one token adds while no window is full, at `each`
    /// bytes a number.
    #[must_use]
    pub fn cache_bytes_per_token(&self, each: u64) -> u64 {
        2 * self.kv_heads * self.head_dim * self.layers * each
    }

    /// Bytes of keys and values of a sequence of `tokens`, at `each` bytes a number.
    /// Layers with a window keep no more tokens than that.
    #[must_use]
    pub fn cache_bytes(&self, tokens: u64, each: u64) -> u64 {
        let window = self.window.unwrap_or(Window { tokens: 0, layers: 0 });
        let kept = (self.layers - window.layers) * tokens
            + window.layers * tokens.min(window.tokens);
        2 * self.kv_heads * self.head_dim * kept * each
    }
}

/// All models of `models.toml`, in its order.
///
/// # Errors
/// When the file is not what it should be.
pub fn all() -> Result<Vec<Model>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        model: Vec<Model>,
    }
    let file: File =
        toml::from_str(include_str!("../models.toml")).context("models.toml")?;
    for model in &file.model {
        let windowed = model.window.map_or(0, |window| window.layers);
        let sound = model.kv_heads > 0 && model.heads.is_multiple_of(model.kv_heads);
        let fits = sound && windowed <= model.layers;
        fits.then_some(()).with_context(|| format!("models.toml: {}", model.name))?;
    }
    Ok(file.model)
}

/// The model of that name.
///
/// # Errors
/// When there is none in `models.toml`.
pub fn find(name: &str) -> Result<Model> {
    let found = all()?.into_iter().find(|model| model.name == name);
    found.with_context(|| format!("models.toml: no model is called `{name}`"))
}
