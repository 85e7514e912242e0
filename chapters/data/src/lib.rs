//! Slices of all-MiniLM-L6-v2, a small sentence encoder (six layers, twelve heads of
//! 32), at work on one sentence: *the animal did not cross the street because it was
//! too tired*.
//!
//! `cut.py` cut them and says what they hold; `NOTICE.md` gives the model's license.

pub mod models;
pub mod smollm2;

use anyhow::{Context, Result};
use chapter_cli::{LinearTensors, Tensors};
use nalgebra::{DMatrix, DVector};
use std::path::PathBuf;

/// One layer's attention: its four projections, and the sentence as it enters.
pub struct Layer {
    /// The sentence as the model reads it, `[CLS]` first and `[SEP]` last.
    pub tokens: Vec<String>,
    /// Hidden states that enter the layer, (tokens, `model_dim`).
    pub x: DMatrix<f32>,
    /// Heads that share the width of the projections.
    pub heads: usize,
    /// Queries of all heads side by side, (`model_dim`, `model_dim`).
    pub q_proj: LinearTensors,
    /// Keys of all heads side by side, (`model_dim`, `model_dim`).
    pub k_proj: LinearTensors,
    /// Values of all heads side by side, (`model_dim`, `model_dim`).
    pub v_proj: LinearTensors,
    /// From the heads side by side back to `model_dim`.
    pub o_proj: LinearTensors,
}

impl Layer {
    /// Reads layer `layer`, counted from 0.
    ///
    /// # Errors
    /// When no slice of that layer is kept here, or its file does not hold what it should.
    pub fn load(layer: usize) -> Result<Layer> {
        let file = Tensors::open(&path(&format!("layer-{layer}.safetensors")))?;
        let said = |key: &str| {
            let missing = || format!("layer {layer}: no `{key}` in the metadata");
            file.metadata().and_then(|all| all.get(key)).with_context(missing)
        };
        Ok(Layer {
            tokens: tokens(&file)?,
            heads: said("heads")?.parse()?,
            x: file.matrix("x")?,
            q_proj: file.linear("q_proj")?,
            k_proj: file.linear("k_proj")?,
            v_proj: file.linear("v_proj")?,
            o_proj: file.linear("o_proj")?,
        })
    }

    /// The same layer with a text of 512 tokens, the most that the model reads: how
    /// *Alice's Adventures in Wonderland* begins.
    ///
    /// # Errors
    /// As for [`Layer::load`].
    pub fn with_long_text(layer: usize) -> Result<Layer> {
        let file = Tensors::open(&path(&format!("long-{layer}.safetensors")))?;
        let tokens = file.metadata().and_then(|all| all.get("tokens"));
        let tokens = tokens.with_context(|| format!("layer {layer}: no `tokens`"))?;
        Ok(Layer {
            tokens: tokens.lines().map(str::to_owned).collect(),
            x: file.matrix("x")?,
            ..Layer::load(layer)?
        })
    }

    /// Width of one head.
    #[must_use]
    pub fn head_dim(&self) -> usize {
        self.q_proj.weight.ncols() / self.heads
    }

    /// Where `token` stands in the sentence for the first time.
    ///
    /// # Errors
    /// When it does not.
    pub fn position(&self, token: &str) -> Result<usize> {
        let place = self.tokens.iter().position(|t| t == token);
        place.with_context(|| format!("`{token}` is not in the sentence"))
    }
}

/// The sentence of a slice, as the model reads it.
///
/// # Errors
/// When the file does not say.
pub fn tokens(file: &Tensors) -> Result<Vec<String>> {
    let said = file.metadata().and_then(|all| all.get("tokens"));
    let said = said.context("a slice without `tokens` in its metadata")?;
    Ok(said.lines().map(str::to_owned).collect())
}

/// The columns of a projection that belong to one head: a weight (`model_dim`,
/// `head_dim`) and a bias.
#[must_use]
pub fn head(
    projection: &LinearTensors,
    head: usize,
    head_dim: usize,
) -> (DMatrix<f32>, Option<DVector<f32>>) {
    let first = head * head_dim;
    let weight = projection.weight.columns(first, head_dim).into_owned();
    let bias = projection.bias.as_ref();
    (weight, bias.map(|bias| bias.rows(first, head_dim).into_owned()))
}

/// The first two paragraphs of *Alice's Adventures in Wonderland* where they enter layer
/// 3, (tokens, `model_dim`): for what fourteen tokens are too few to show.
///
/// # Errors
/// When the file does not hold what it should.
pub fn passage() -> Result<DMatrix<f32>> {
    Ok(Tensors::open(&path("passage-3.safetensors"))?.matrix("x")?)
}

/// The sentence with *wide* for *tired*, so that `it` is the street: its tokens, and where
/// they enter layer 3, (tokens, `model_dim`).
///
/// # Errors
/// When the file does not hold what it should.
pub fn wide() -> Result<(Vec<String>, DMatrix<f32>)> {
    let file = Tensors::open(&path("wide-3.safetensors"))?;
    Ok((tokens(&file)?, file.matrix("x")?))
}

/// A file of this folder.
#[must_use]
pub fn path(file: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), file].iter().collect()
}
