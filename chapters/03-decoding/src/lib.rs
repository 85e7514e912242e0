//! Decoding: text is written one token at a time, and what a token left behind for
//! others to look at, its keys and values, is kept instead of computed again.
//!
//! ```text
//! prefill   the prompt at once: project it, keep its keys and values, attend causally
//! decode    one token: project it alone, keep its key and value, attend to all that is kept
//! ```
//!
//! Source: Shazeer 2019, *Fast Transformer Decoding*, §2.4; Pope et al. 2022, *Efficiently
//! Scaling Transformer Inference*, §2.
//!
//! ```
//! use attention::Linear;
//! use decoding::{KvCache, decode, prefill};
//! use multi_head::MultiHeadAttention;
//! use nalgebra::DMatrix;
//!
//! let identity = || Linear::new(DMatrix::identity(6, 6), None);
//! let [q, k, v, o] = [identity()?, identity()?, identity()?, identity()?];
//! let layer = MultiHeadAttention::new(q, k, v, o, 3)?;
//! let mut cache = KvCache::new(100, 6, 6);
//! prefill(&layer, &DMatrix::identity(4, 6), &mut cache)?;
//! let next = decode(&layer, &DMatrix::identity(1, 6), &mut cache)?;
//! assert_eq!(next.weights[0].shape(), (1, 5));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod example;
pub mod experiments;
pub mod few;
pub mod figures;
pub mod slips;

use attention::{Attended, Mask, ShapeError, attend, expect_shape};
use multi_head::{MultiHeadAttended, MultiHeadAttention, Projected};
use nalgebra::{DMatrix, DMatrixView};
use rayon::prelude::*;

/// Keys and values of the tokens so far, for one layer and one sequence.
#[derive(Debug, Clone, PartialEq)]
pub struct KvCache {
    /// (capacity, width of the keys of all kv heads); the first `len` rows are in use.
    keys: DMatrix<f32>,
    /// (capacity, width of the values of all kv heads).
    values: DMatrix<f32>,
    len: usize,
}

impl KvCache {
    /// An empty cache with room for `capacity` tokens, whose keys and values (of all kv
    /// heads side by side) are this wide.
    #[must_use]
    pub fn new(capacity: usize, key_width: usize, value_width: usize) -> Self {
        let keys = DMatrix::zeros(capacity, key_width);
        KvCache { keys, values: DMatrix::zeros(capacity, value_width), len: 0 }
    }

    /// Keeps the keys (tokens, key width) and values (tokens, value width) of tokens that
    /// follow those already kept. On an error nothing is kept.
    ///
    /// # Errors
    /// When there is no room for all of them, or a width is not that of the cache.
    pub fn append(
        &mut self,
        keys: &DMatrix<f32>,
        values: &DMatrix<f32>,
    ) -> Result<(), CacheError> {
        let tokens = keys.nrows();
        let widths = (self.keys.ncols(), self.values.ncols());
        expect_shape(
            "keys",
            keys.shape(),
            (tokens, widths.0),
            "the cache is this wide",
        )?;
        let why = "one value per key, as wide as the cache";
        expect_shape("values", values.shape(), (tokens, widths.1), why)?;
        if tokens > self.capacity() - self.len {
            return Err(CacheError::Full {
                capacity: self.capacity(),
                len: self.len,
                tokens,
            });
        }
        self.keys.rows_mut(self.len, tokens).copy_from(keys);
        self.values.rows_mut(self.len, tokens).copy_from(values);
        self.len += tokens;
        Ok(())
    }

    /// The keys that are kept, (len, key width).
    #[must_use]
    pub fn keys(&self) -> DMatrixView<'_, f32> {
        self.keys.rows(0, self.len)
    }

    /// The values that are kept, (len, value width).
    #[must_use]
    pub fn values(&self) -> DMatrixView<'_, f32> {
        self.values.rows(0, self.len)
    }

    /// How many tokens are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no token is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many tokens can be kept.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.keys.nrows()
    }

    /// Memory that it takes, in use or not.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<f32>() * (self.keys.len() + self.values.len())
    }

    /// Forgets all tokens and keeps the room, for the next sequence.
    pub fn clear(&mut self) {
        self.len = 0;
    }
}

/// Why a token could not be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CacheError {
    /// The cache was made for fewer tokens.
    #[error("the cache holds {len} of {capacity} tokens: no room for {tokens} more")]
    Full {
        /// Tokens it has room for.
        capacity: usize,
        /// Tokens it holds.
        len: usize,
        /// Tokens that were to be kept.
        tokens: usize,
    },
    /// Keys or values do not fit the cache or the layer.
    #[error(transparent)]
    Shape(#[from] ShapeError),
}

/// Runs `x` (tokens, `model_dim`), which follows the tokens in `cache`, through the layer:
/// any number of tokens at once, each of which sees itself and everything before it.
///
/// # Errors
/// When `x` does not fit the layer, the cache does not, or has no room.
pub fn prefill(
    layer: &MultiHeadAttention,
    x: &DMatrix<f32>,
    cache: &mut KvCache,
) -> Result<MultiHeadAttended, CacheError> {
    let Projected { q, k, v } = layer.project(x, x)?;
    let causal = Mask::Causal { offset: cache.len() };
    cache.append(&k, &v)?;
    each_head(layer, &q, cache, |q, k, v| attend(q, k, v, &causal))
}

/// Runs the next token, `x` (1, `model_dim`), through the layer. It sees everything that
/// is kept, so there is nothing to mask.
///
/// # Errors
/// When `x` is not one token, or as for [`prefill`].
pub fn decode(
    layer: &MultiHeadAttention,
    x: &DMatrix<f32>,
    cache: &mut KvCache,
) -> Result<MultiHeadAttended, CacheError> {
    expect_shape("x", x.shape(), (1, x.ncols()), "decoding goes token by token")?;
    let Projected { q, k, v } = layer.project(x, x)?;
    cache.append(&k, &v)?;
    each_head(layer, &q, cache, attend_few)
}

/// Runs `x` (tokens, `model_dim`) through the layer and a cache of its own: the first
/// `prompt` tokens at once, or all if there are fewer, and the others one by one. The
/// weights are (tokens, tokens), with zeros for the future.
///
/// # Errors
/// When `x` does not fit the layer.
pub fn through_cache(
    layer: &MultiHeadAttention,
    x: &DMatrix<f32>,
    prompt: usize,
) -> Result<MultiHeadAttended, CacheError> {
    let (n, d_out) = (x.nrows(), layer.o_proj().shape().1);
    let (key_width, value_width) = layer.kv_widths();
    let mut cache = KvCache::new(n, key_width, value_width);
    let mut output = DMatrix::zeros(n, d_out);
    let mut weights = vec![DMatrix::zeros(n, n); layer.heads()];
    let mut keep = |at: usize, part: &MultiHeadAttended| {
        output.rows_mut(at, part.output.nrows()).copy_from(&part.output);
        for (all, part) in weights.iter_mut().zip(&part.weights) {
            all.view_mut((at, 0), part.shape()).copy_from(part);
        }
    };
    let prompt = prompt.min(n);
    keep(0, &prefill(layer, &x.rows(0, prompt).into_owned(), &mut cache)?);
    for token in prompt..n {
        keep(token, &decode(layer, &x.rows(token, 1).into_owned(), &mut cache)?);
    }
    Ok(MultiHeadAttended { output, weights })
}

/// Lets each head attend with its columns of `q` to its columns of the cache.
fn each_head(
    layer: &MultiHeadAttention,
    q: &DMatrix<f32>,
    cache: &KvCache,
    attend: impl Fn(
        DMatrixView<f32>,
        DMatrixView<f32>,
        DMatrixView<f32>,
    ) -> Result<Attended, ShapeError>
    + Sync,
) -> Result<MultiHeadAttended, CacheError> {
    let (keys, values) = (cache.keys(), cache.values());
    let (d_k, d_v) = (q.ncols() / layer.heads(), values.ncols() / layer.heads());
    let one = |h| {
        let (q, k) = (q.columns(h * d_k, d_k), keys.columns(h * d_k, d_k));
        attend(q, k, values.columns(h * d_v, d_v))
    };
    let all: Vec<_> = (0..layer.heads()).into_par_iter().map(one).collect();

    let mut found = DMatrix::zeros(q.nrows(), values.ncols());
    let mut weights = Vec::with_capacity(layer.heads());
    for (h, attended) in all.into_iter().enumerate() {
        let attended = attended?;
        found.columns_mut(h * d_v, d_v).copy_from(&attended.output);
        weights.push(attended.weights);
    }
    Ok(MultiHeadAttended { output: layer.o_proj().forward(&found)?, weights })
}

/// Attention for a few queries, as [`attend_columns`] computes it, with the weights as
/// [`attend`] gives them: one row per query.
///
/// # Errors
/// As for [`attend_columns`].
pub fn attend_few(
    q: DMatrixView<f32>,
    keys: DMatrixView<f32>,
    values: DMatrixView<f32>,
) -> Result<Attended, ShapeError> {
    let Columns { output, shares } = attend_columns(q, keys, values)?;
    Ok(Attended { output, weights: shares.transpose() })
}

/// What [`attend_columns`] gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Columns {
    /// (queries, `d_v`).
    pub output: DMatrix<f32>,
    /// (keys, queries): the weights, one column per query.
    pub shares: DMatrix<f32>,
}

/// Attention for a few queries `q` (queries, `d_k`) over many keys (keys, `d_k`) and
/// values (keys, `d_v`), without a mask: the numbers of [`attend`], in the order that
/// suits decoding. Keys and values are read once, as they lie, and never copied.
///
/// # Errors
/// When `q` and `keys` differ in width, or `keys` and `values` in rows.
pub fn attend_columns(
    q: DMatrixView<f32>,
    keys: DMatrixView<f32>,
    values: DMatrixView<f32>,
) -> Result<Columns, ShapeError> {
    let d_k = q.ncols();
    let why = "a dot product needs equal widths";
    expect_shape("keys", keys.shape(), (keys.nrows(), d_k), why)?;
    let why = "every key has one value";
    expect_shape("values", values.shape(), (keys.nrows(), values.ncols()), why)?;
    let q = q / (d_k as f32).sqrt();
    let scores = few::scores(&q, keys);
    let shares = few::softmax_of_columns(scores);
    let output = few::average(&shares, values);
    Ok(Columns { output, shares })
}
