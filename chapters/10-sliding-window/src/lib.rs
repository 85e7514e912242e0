//! Sliding-window attention: a token looks at itself and at the `window − 1` tokens before
//! it, and the cache forgets what nobody will look at again.
//!
//! ```text
//! query i sees the keys i − window + 1 ..= i
//! the key of position p lies in slot p mod window, where that of p − window lay
//! ```
//!
//! Sources: Child et al. 2019, *Generating Long Sequences with Sparse Transformers*;
//! Beltagy et al. 2020, *Longformer*, §3.1; Jiang et al. 2023, *Mistral 7B*, §2.
//!
//! ```
//! use sliding_window::{Pattern, receptive_field};
//!
//! // Mistral-7B v0.1: 32 layers, all with a window of 4,096.
//! assert_eq!(receptive_field(&[Some(4096); 32]), Some(131_041));
//! // Gemma 3: every sixth layer sees everything.
//! let windows = Pattern { window: 1024, every: 6 }.windows(12);
//! assert_eq!((windows[4], windows[5]), (Some(1024), None));
//! assert_eq!(receptive_field(&windows), None);
//! ```

pub mod command;
pub mod example;
pub mod experiments;
pub mod figures;
pub mod slips;

use attention::{Mask, ShapeError, expect_shape};
use grouped_query::{attend_groups, attend_stacked};
use multi_head::{Heads, LayerError, MultiHeadAttended, Projected};
use nalgebra::{DMatrix, DMatrixView};
use rotary::{RotaryAttention, RotaryError};

/// A rotary layer whose tokens look back a fixed number of tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowAttention {
    layer: RotaryAttention,
    /// Tokens that a token sees, itself included.
    window: usize,
}

impl WindowAttention {
    /// `layer`, where a token sees `window` tokens: itself and those before it.
    ///
    /// # Errors
    /// When the window is 0.
    pub fn new(layer: RotaryAttention, window: usize) -> Result<Self, WindowError> {
        match window {
            0 => Err(WindowError::Empty),
            _ => Ok(WindowAttention { layer, window }),
        }
    }

    /// The tokens `x` (tokens, `model_dim`), which stand at 0, 1, 2, …, look at themselves
    /// and at those before them, as far as the window reaches.
    ///
    /// # Errors
    /// When `x` is not as wide as the projections expect.
    pub fn forward(&self, x: &DMatrix<f32>) -> Result<MultiHeadAttended, WindowError> {
        let Projected { q, k, v } = self.layer.project(x, 0)?;
        let mask = Mask::Window { offset: 0, window: self.window };
        let groups = self.layer.layer().groups();
        self.mix(attend_groups(&q, k.as_view(), v.as_view(), groups, &mask)?)
    }

    /// What the heads found, through the output projection.
    fn mix(&self, heads: Heads) -> Result<MultiHeadAttended, WindowError> {
        let output = self.layer.layer().o_proj().forward(&heads.found)?;
        Ok(MultiHeadAttended { output, weights: heads.weights })
    }

    /// The layer without its window.
    #[must_use]
    pub fn layer(&self) -> &RotaryAttention {
        &self.layer
    }

    /// Tokens that a token sees, itself included.
    #[must_use]
    pub fn window(&self) -> usize {
        self.window
    }

    /// An empty cache for one sequence.
    #[must_use]
    pub fn cache(&self) -> RingCache {
        let (keys, values) = self.layer.layer().kv_widths();
        RingCache::new(self.window, keys, values)
    }
}

/// Keys and values of the last `window` tokens. Its memory is the same from the first token
/// to the last.
#[derive(Debug, Clone, PartialEq)]
pub struct RingCache {
    /// (window, width of the keys of all kv heads); the slots of [`RingCache::slot`].
    keys: DMatrix<f32>,
    /// (window, width of the values of all kv heads).
    values: DMatrix<f32>,
    /// Tokens that have passed, kept or not: the position of the next.
    seen: usize,
}

impl RingCache {
    /// An empty ring for `window` tokens, whose keys and values (of all kv heads side by
    /// side) are this wide.
    #[must_use]
    pub fn new(window: usize, key_width: usize, value_width: usize) -> Self {
        let keys = DMatrix::zeros(window, key_width);
        RingCache { keys, values: DMatrix::zeros(window, value_width), seen: 0 }
    }

    /// Where the token at this position is kept.
    #[must_use]
    pub fn slot(&self, position: usize) -> usize {
        position % self.window()
    }

    /// Keeps the keys (tokens, key width) and values (tokens, value width) of tokens that
    /// follow those already seen. Each takes the slot of the token a window before it. On
    /// an error nothing is kept.
    ///
    /// # Errors
    /// When a width is not that of the ring, or there is not one value per key.
    pub fn keep(
        &mut self,
        keys: &DMatrix<f32>,
        values: &DMatrix<f32>,
    ) -> Result<(), ShapeError> {
        self.expect(keys, values)?;
        let tokens = keys.nrows();
        // Of a long chunk, only the end would stay.
        for row in tokens.saturating_sub(self.window())..tokens {
            let slot = self.slot(self.seen + row);
            self.keys.set_row(slot, &keys.row(row));
            self.values.set_row(slot, &values.row(row));
        }
        self.seen += tokens;
        Ok(())
    }

    /// The position of the token in each slot, in the order of the slots.
    #[must_use]
    pub fn positions(&self) -> Vec<usize> {
        let newest = |slot: usize| {
            let back = self.seen - 1 + self.window() - slot;
            self.seen - 1 - back % self.window()
        };
        (0..self.len()).map(newest).collect()
    }

    /// Keys (tokens, key width) and values (tokens, value width) of the latest tokens, at
    /// most so many, in the order of the text.
    #[must_use]
    pub fn latest(&self, tokens: usize) -> (DMatrix<f32>, DMatrix<f32>) {
        let first = self.seen - self.len().min(tokens);
        let slots: Vec<usize> = (first..self.seen).map(|p| self.slot(p)).collect();
        (self.keys.select_rows(&slots), self.values.select_rows(&slots))
    }

    /// The keys that are kept, (len, key width), in the order of the slots.
    #[must_use]
    pub fn keys(&self) -> DMatrixView<'_, f32> {
        self.keys.rows(0, self.len())
    }

    /// The values that are kept, (len, value width), in the order of the slots.
    #[must_use]
    pub fn values(&self) -> DMatrixView<'_, f32> {
        self.values.rows(0, self.len())
    }

    /// How many tokens have passed: the position of the next.
    #[must_use]
    pub fn seen(&self) -> usize {
        self.seen
    }

    /// How many tokens are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seen.min(self.window())
    }

    /// Whether no token is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many tokens can be kept.
    #[must_use]
    pub fn window(&self) -> usize {
        self.keys.nrows()
    }

    /// Memory that it takes, in use or not.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<f32>() * (self.keys.len() + self.values.len())
    }

    /// Whether keys and values can be kept here.
    fn expect(
        &self,
        keys: &DMatrix<f32>,
        values: &DMatrix<f32>,
    ) -> Result<(), ShapeError> {
        let wanted = (keys.nrows(), self.keys.ncols());
        expect_shape("keys", keys.shape(), wanted, "the ring is this wide")?;
        let wanted = (keys.nrows(), self.values.ncols());
        let why = "one value per key, as wide as the ring";
        expect_shape("values", values.shape(), wanted, why)
    }
}

/// Runs a chunk `x` (tokens, `model_dim`), which follows the tokens that `cache` has seen,
/// through the layer. Its first token still sees `window − 1` tokens before the chunk, so
/// the ring is written after attention and not before.
///
/// # Errors
/// When `x` does not fit the layer, or the cache does not. Then nothing is kept.
pub fn prefill(
    layer: &WindowAttention,
    x: &DMatrix<f32>,
    cache: &mut RingCache,
) -> Result<MultiHeadAttended, WindowError> {
    let Projected { q, k, v } = project(layer, x, cache)?;
    let (keys, values) = cache.latest(layer.window - 1);
    let mask = Mask::Window { offset: keys.nrows(), window: layer.window };
    let (keys, values) = (below(&keys, &k), below(&values, &v));
    let groups = layer.layer.layer().groups();
    let heads = attend_groups(&q, keys.as_view(), values.as_view(), groups, &mask)?;
    cache.keep(&k, &v)?;
    layer.mix(heads)
}

/// Runs the next token, `x` (1, `model_dim`), through the layer. Its own key takes the slot
/// of the one that has just left the window, and then it sees all that is kept: there is
/// nothing to mask. The weights are in the order of the slots, which
/// [`RingCache::positions`] tells; for the output the order does not matter.
///
/// # Errors
/// When `x` is not one token, or as for [`prefill`].
pub fn decode(
    layer: &WindowAttention,
    x: &DMatrix<f32>,
    cache: &mut RingCache,
) -> Result<MultiHeadAttended, WindowError> {
    expect_shape("x", x.shape(), (1, x.ncols()), "decoding goes token by token")?;
    let Projected { q, k, v } = project(layer, x, cache)?;
    cache.keep(&k, &v)?;
    let groups = layer.layer.layer().groups();
    layer.mix(attend_stacked(&q, cache.keys(), cache.values(), groups)?)
}

/// Queries, keys and values of tokens that follow those of the cache, and fit it.
fn project(
    layer: &WindowAttention,
    x: &DMatrix<f32>,
    cache: &RingCache,
) -> Result<Projected, WindowError> {
    if cache.window() != layer.window {
        let (ring, window) = (cache.window(), layer.window);
        return Err(WindowError::Ring { ring, window });
    }
    let projected = layer.layer.project(x, cache.seen())?;
    cache.expect(&projected.k, &projected.v)?;
    Ok(projected)
}

/// Two matrices of the same width, one below the other.
fn below(above: &DMatrix<f32>, rest: &DMatrix<f32>) -> DMatrix<f32> {
    let rows = above.nrows();
    let mut all = above.clone().resize_vertically(rows + rest.nrows(), 0.0);
    all.rows_mut(rows, rest.nrows()).copy_from(rest);
    all
}

/// Runs `x` (tokens, `model_dim`) through the layer and a ring of its own: the first
/// `prompt` tokens at once, or all if there are fewer, and the others one by one. The
/// weights are (tokens, tokens), with zeros for what is out of sight.
///
/// # Errors
/// When `x` does not fit the layer.
pub fn through_cache(
    layer: &WindowAttention,
    x: &DMatrix<f32>,
    prompt: usize,
) -> Result<MultiHeadAttended, WindowError> {
    let (n, prompt) = (x.nrows(), prompt.min(x.nrows()));
    let mut cache = layer.cache();
    let first = prefill(layer, &x.rows(0, prompt).into_owned(), &mut cache)?;
    let mut output = first.output.resize_vertically(n, 0.0);
    let mut weights: Vec<DMatrix<f32>> =
        first.weights.into_iter().map(|head| head.resize(n, n, 0.0)).collect();
    for token in prompt..n {
        let one = decode(layer, &x.rows(token, 1).into_owned(), &mut cache)?;
        output.set_row(token, &one.output.row(0));
        for (all, one) in weights.iter_mut().zip(&one.weights) {
            for (slot, position) in cache.positions().into_iter().enumerate() {
                all[(token, position)] = one[(0, slot)];
            }
        }
    }
    Ok(MultiHeadAttended { output, weights })
}

/// Which layers of a model have a window: all but each `every`-th.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pattern {
    /// Tokens that a layer with a window sees.
    pub window: usize,
    /// Layer `every − 1`, and each `every`-th one after it, sees all tokens before
    /// it; with 0, none does.
    pub every: usize,
}

impl Pattern {
    /// The window of each of so many layers; none where a layer sees everything.
    #[must_use]
    pub fn windows(self, layers: usize) -> Vec<Option<usize>> {
        let sees_all =
            |layer: usize| self.every > 0 && (layer + 1).is_multiple_of(self.every);
        (0..layers).map(|layer| (!sees_all(layer)).then_some(self.window)).collect()
    }
}

/// How many tokens can have a part in what leaves the last of the layers with these
/// `windows` at one position, that position included. None if a layer sees everything.
#[must_use]
pub fn receptive_field(windows: &[Option<usize>]) -> Option<usize> {
    let further = windows.iter().map(|window| window.map(|w| w.saturating_sub(1)));
    Some(1 + further.sum::<Option<usize>>()?)
}

/// How many tokens the caches of layers with these `windows` keep, all layers together,
/// after a text of `tokens`.
#[must_use]
pub fn cached(windows: &[Option<usize>], tokens: usize) -> usize {
    windows.iter().map(|window| window.unwrap_or(tokens).min(tokens)).sum()
}

/// Why a window cannot be had, or a layer with one not be run.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum WindowError {
    /// Not even the token itself.
    #[error("a window of 0 tokens: a token sees itself, so it is 1 at least")]
    Empty,
    /// The ring was made for another layer.
    #[error(
        "a ring for {ring} tokens and a window of {window}: they have to be the same"
    )]
    Ring {
        /// Slots of the ring.
        ring: usize,
        /// The window of the layer.
        window: usize,
    },
    /// The layer cannot be run.
    #[error(transparent)]
    Layer(#[from] RotaryError),
}

impl From<ShapeError> for WindowError {
    fn from(error: ShapeError) -> Self {
        WindowError::Layer(error.into())
    }
}

impl From<LayerError> for WindowError {
    fn from(error: LayerError) -> Self {
        WindowError::Layer(error.into())
    }
}
