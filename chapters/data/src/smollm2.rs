//! A slice of SmolLM2-135M-Instruct, a small decoder (30 layers, nine query heads of 64
//! that share three kv heads, rotary positions): attention of layer 13, counted from 0, and
//! three sentences where they enter it. `smollm2.py` cut it. For the chapters that come
//! before rotation it holds queries and keys that are turned already.

use crate::path;
use anyhow::{Context, Result};
use chapter_cli::Tensors;
use nalgebra::{DMatrix, DVector};
use std::str::FromStr;

/// A layer's attention and the norm before it.
pub struct Slice {
    file: Tensors,
    /// The gains of the norm before attention, `model_dim`.
    pub norm: DVector<f32>,
    /// What that norm adds to the mean of squares.
    pub eps: f32,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// The base of the rotation.
    pub theta: f64,
}

/// One of the sentences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sentence {
    /// The animal did not cross the street because it was too tired.
    Tired,
    /// The animal did not cross the street because it was too wide.
    Wide,
    /// The trophy did not fit into the suitcase because it was too big.
    Trophy,
}

impl Sentence {
    fn name(self) -> &'static str {
        match self {
            Sentence::Tired => "tired",
            Sentence::Wide => "wide",
            Sentence::Trophy => "trophy",
        }
    }
}

impl Slice {
    /// Reads it.
    ///
    /// # Errors
    /// When the file does not hold what it should.
    pub fn load() -> Result<Slice> {
        let file = Tensors::open(&path("smollm2-13.safetensors"))?;
        Ok(Slice {
            norm: file.vector("norm.weight")?,
            eps: said(&file, "rms_norm_eps")?,
            heads: said(&file, "heads")?,
            kv_heads: said(&file, "kv_heads")?,
            theta: said(&file, "rope_theta")?,
            file,
        })
    }

    /// One of `q_proj`, `k_proj`, `v_proj` and `o_proj`, (`d_in`, `d_out`).
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn weight(&self, name: &str) -> Result<DMatrix<f32>> {
        Ok(self.file.linear(name)?.weight)
    }

    /// A sentence: its tokens, and where they enter the layer, before the norm, (tokens,
    /// `model_dim`).
    ///
    /// # Errors
    /// When the file does not hold it.
    pub fn sentence(&self, which: Sentence) -> Result<(Vec<String>, DMatrix<f32>)> {
        let tokens: String = said(&self.file, &format!("tokens.{}", which.name()))?;
        let tokens = tokens.lines().map(|token| token.trim().to_owned()).collect();
        Ok((tokens, self.file.matrix(&format!("x.{}", which.name()))?))
    }

    /// The rows of `x` (tokens, `model_dim`) as attention reads them: each divided by the
    /// root of its mean square, and multiplied by the gains. Chapter `transformer` explains
    /// this norm.
    #[must_use]
    pub fn normed(&self, x: &DMatrix<f32>) -> DMatrix<f32> {
        let mut x = x.clone();
        for mut row in x.row_iter_mut() {
            let mean_square = row.norm_squared() / row.len() as f32;
            row /= (mean_square + self.eps).sqrt();
            row.component_mul_assign(&self.norm.transpose());
        }
        x
    }
}

/// A sentence as attention meets it in this layer, for all heads.
pub struct Turned {
    /// The tokens of the sentence.
    pub tokens: Vec<String>,
    /// Queries, rotated: (tokens, heads · 64).
    pub q: DMatrix<f32>,
    /// Keys, rotated: (tokens, `kv_heads` · 64).
    pub k: DMatrix<f32>,
    /// Values: (tokens, `kv_heads` · 64).
    pub v: DMatrix<f32>,
}

impl Turned {
    /// Reads [`Sentence::Tired`] or [`Sentence::Wide`].
    ///
    /// # Errors
    /// When it is another sentence, or a file does not hold what it should.
    pub fn load(which: Sentence) -> Result<Turned> {
        let file = Tensors::open(&path("smollm2-turned.safetensors"))?;
        let part = |part: &str| file.matrix(&format!("{part}.{}", which.name()));
        Ok(Turned {
            tokens: Slice::load()?.sentence(which)?.0,
            q: part("q")?,
            k: part("k")?,
            v: part("v")?,
        })
    }
}

/// An entry of the metadata.
fn said<T: FromStr>(file: &Tensors, key: &str) -> Result<T> {
    let text = file.metadata().and_then(|all| all.get(key));
    let value = text.and_then(|text| text.parse().ok());
    value.with_context(|| format!("smollm2-13.safetensors: no `{key}` in the metadata"))
}
