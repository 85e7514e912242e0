//! Rotary position embedding (RoPE): queries and keys are turned by angles that grow with
//! their position, so that a score depends on how far apart two tokens stand, and not on
//! where.
//!
//! ```text
//! (a, b) at position t  →  (a cos tω − b sin tω,  a sin tω + b cos tω)
//! ω of pair i = θ^(−2i / head_dim)
//! ```
//!
//! Source: Su et al. 2021, *RoFormer: Enhanced Transformer with Rotary Position
//! Embedding*, §3.2 and §3.4.
//!
//! ```
//! use nalgebra::dmatrix;
//! use rotary::{Pairing, Rotary};
//!
//! // One head of two features: a single pair, which turns by one radian per token.
//! let rotary = Rotary::new(2, 10_000.0, Pairing::Halves)?;
//! let mut q = dmatrix![1.0, 0.0; 1.0, 0.0];
//! rotary.angles(5..7).rotate(&mut q)?;
//! assert!((q.row(0).dot(&q.row(1)) - 1.0_f32.cos()).abs() < 1e-6);
//! # Ok::<(), rotary::RotaryError>(())
//! ```

mod back;
pub mod command;
mod dials;
mod error;
pub mod example;
pub mod experiments;
pub mod figures;
mod longer;
pub mod permute;
mod reordering;
mod scaling;
pub mod slips;
mod stretched;
mod told;

use attention::{Linear, Mask, ShapeError, expect_shape};
use decoding::KvCache;
pub use error::RotaryError;
use grouped_query::{GroupError, GroupedQueryAttention, attend_groups, attend_stacked};
use longer::Longer;
use multi_head::{Heads, MultiHeadAttended, Projected, head_dim};
use nalgebra::DMatrix;
pub use scaling::Llama3Scaling;
use std::ops::Range;

/// Which two features of a head turn together. Pair `i` turns at frequency `i` in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairing {
    /// Feature `i` and feature `i + head_dim / 2`, "half-split": Llama's checkpoints on
    /// Hugging Face.
    Halves,
    /// Features `2i` and `2i + 1`, "interleaved": the paper, Meta's own checkpoints of
    /// Llama, and `DeepSeek`'s.
    Neighbors,
}

impl Pairing {
    /// The two features of pair `i` in a head of `pairs` pairs.
    #[must_use]
    pub fn features(self, i: usize, pairs: usize) -> (usize, usize) {
        match self {
            Pairing::Halves => (i, i + pairs),
            Pairing::Neighbors => (2 * i, 2 * i + 1),
        }
    }
}

/// How fast each pair of features turns, and which features they are.
#[derive(Debug, Clone, PartialEq)]
pub struct Rotary {
    /// Radians per token, one for each pair: 1 for the first, then slower and slower.
    frequencies: Vec<f32>,
    pairing: Pairing,
    /// Width of a head. Features behind those of the pairs are left as they are.
    head_dim: usize,
    /// What turns also grows by this factor: 1 in all but models that were stretched.
    amplitude: f32,
    /// Other frequencies for texts that are longer than those of training.
    longer: Option<Longer>,
}

impl Rotary {
    /// The frequencies `theta^(-2i / head_dim)` of a head's pairs (Su et al. 2021,
    /// §3.2.2). `theta` is 10,000 in the paper and 500,000 in Llama 3.
    ///
    /// # Errors
    /// When `head_dim` is odd or 0, or `theta` is not a positive number that gives
    /// frequencies that an `f32` can hold.
    pub fn new(
        head_dim: usize,
        theta: f64,
        pairing: Pairing,
    ) -> Result<Self, RotaryError> {
        let pairs = pairs(head_dim)?;
        // Rounded to f32 where Llama's code rounds: models keep these numbers as
        // `inv_freq`. A rounded frequency is another frequency, and every law holds for it.
        let theta_i = |i| {
            let exponent = (2 * i) as f32 / head_dim as f32;
            f64::from(theta as f32).powf(f64::from(exponent)) as f32
        };
        let frequency = |i| 1.0 / theta_i(i);
        let frequencies: Vec<f32> = (0..pairs).map(frequency).collect();
        let usable = theta.is_finite() && theta > 0.0;
        if !usable || frequencies.iter().any(|f| !f.is_finite()) {
            return Err(RotaryError::Theta { theta });
        }
        Ok(Rotary { frequencies, pairing, head_dim, amplitude: 1.0, longer: None })
    }

    /// Cosines and sines for tokens at these positions. The first token of a sequence
    /// stands at 0; a token that follows `len` cached ones stands at `len`.
    #[must_use]
    pub fn angles(&self, positions: Range<usize>) -> Angles {
        let frequencies = self.frequencies_at(positions.end);
        // In f64, because a rounded angle is another position: the spacing of f32 grows
        // with the angle, to 0.008 radians at 100,000. Cosines and sines fit an f32.
        let angle = |row: usize, pair: usize| {
            (positions.start + row) as f64 * f64::from(frequencies[pair])
        };
        let (tokens, pairs) = (positions.len(), frequencies.len());
        let cos = DMatrix::from_fn(tokens, pairs, |row, i| angle(row, i).cos() as f32);
        let sin = DMatrix::from_fn(tokens, pairs, |row, i| angle(row, i).sin() as f32);
        let (cos, sin) = (cos * self.amplitude, sin * self.amplitude);
        Angles { cos, sin, pairing: self.pairing, head_dim: self.head_dim }
    }

    /// Radians per token, one for each pair, in texts as long as those of training.
    #[must_use]
    pub fn frequencies(&self) -> &[f32] {
        &self.frequencies
    }

    /// Width of the heads that it turns.
    #[must_use]
    pub fn head_dim(&self) -> usize {
        self.head_dim
    }
}

/// The pairs of a head.
fn pairs(head_dim: usize) -> Result<usize, RotaryError> {
    if head_dim == 0 || !head_dim.is_multiple_of(2) {
        return Err(RotaryError::Unpaired { head_dim });
    }
    Ok(head_dim / 2)
}

/// The table of a run of positions: computed once, and used for the queries and keys of
/// all heads, and of all layers.
#[derive(Debug, Clone, PartialEq)]
pub struct Angles {
    /// (tokens, pairs).
    cos: DMatrix<f32>,
    /// (tokens, pairs).
    sin: DMatrix<f32>,
    pairing: Pairing,
    /// Width of a head.
    head_dim: usize,
}

impl Angles {
    /// Turns the queries or keys `x` (tokens, heads · `head_dim`), all heads alike.
    ///
    /// # Errors
    /// When `x` has a different number of tokens, or its width is not that of whole heads.
    pub fn rotate(&self, x: &mut DMatrix<f32>) -> Result<(), ShapeError> {
        let (tokens, pairs) = self.cos.shape();
        let heads = x.ncols() / self.head_dim;
        let why = "one row per position, and whole heads";
        expect_shape("x", x.shape(), (tokens, heads * self.head_dim), why)?;
        for head in 0..heads {
            for i in 0..pairs {
                let (a, b) = self.pairing.features(i, pairs);
                let first = head * self.head_dim;
                let (mut a, mut b) = x.columns_range_pair_mut(first + a, first + b);
                let (cos, sin) = (self.cos.column(i), self.sin.column(i));
                let (cos, sin) = (cos.as_slice(), sin.as_slice());
                turn(a.as_mut_slice(), b.as_mut_slice(), cos, sin);
            }
        }
        Ok(())
    }
}

/// Turns one pair of features of all tokens, each token by its own angle.
fn turn(a: &mut [f32], b: &mut [f32], cos: &[f32], sin: &[f32]) {
    for (((a, b), cos), sin) in a.iter_mut().zip(b).zip(cos).zip(sin) {
        (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
    }
}

/// A grouped-query layer that turns its queries and keys before they meet.
#[derive(Debug, Clone, PartialEq)]
pub struct RotaryAttention {
    layer: GroupedQueryAttention,
    rotary: Rotary,
}

impl RotaryAttention {
    /// `layer`, with queries and keys that `rotary` turns. Values are left alone.
    ///
    /// # Errors
    /// When the heads of the layer are not as wide as those that `rotary` turns.
    pub fn new(
        layer: GroupedQueryAttention,
        rotary: Rotary,
    ) -> Result<Self, RotaryError> {
        let width = layer.kv_widths().0;
        let wanted = layer.groups().kv_heads() * rotary.head_dim();
        let why = "every feature of a key belongs to a pair";
        expect_shape("k_proj", (1, width), (1, wanted), why)?;
        Ok(RotaryAttention { layer, rotary })
    }

    /// Self-attention: the tokens `x` (tokens, `model_dim`), which stand at 0, 1, 2, …,
    /// look at one another.
    ///
    /// # Errors
    /// When `x` or the mask does not have the shape that the layer needs.
    pub fn forward(
        &self,
        x: &DMatrix<f32>,
        mask: &Mask,
    ) -> Result<MultiHeadAttended, RotaryError> {
        let Projected { q, k, v } = self.project(x, 0)?;
        let groups = self.layer.groups();
        let heads = attend_groups(&q, k.as_view(), v.as_view(), groups, mask)?;
        self.mix(heads)
    }

    /// Queries, keys and values of tokens `x` (tokens, `model_dim`), the first of which
    /// stands at position `start`; queries and keys are turned.
    ///
    /// # Errors
    /// When `x` is not as wide as the projections expect.
    pub fn project(
        &self,
        x: &DMatrix<f32>,
        start: usize,
    ) -> Result<Projected, ShapeError> {
        let mut projected = self.layer.project(x, x)?;
        let angles = self.rotary.angles(start..start + x.nrows());
        angles.rotate(&mut projected.q)?;
        angles.rotate(&mut projected.k)?;
        Ok(projected)
    }

    /// What the heads found, through the output projection.
    fn mix(&self, heads: Heads) -> Result<MultiHeadAttended, RotaryError> {
        let output = self.layer.o_proj().forward(&heads.found)?;
        Ok(MultiHeadAttended { output, weights: heads.weights })
    }

    /// The layer without positions.
    #[must_use]
    pub fn layer(&self) -> &GroupedQueryAttention {
        &self.layer
    }

    /// How its queries and keys turn.
    #[must_use]
    pub fn rotary(&self) -> &Rotary {
        &self.rotary
    }
}

/// Runs `x` (tokens, `model_dim`), which follows the tokens in `cache`, through the
/// layer. The cache holds keys that have already been turned: a key's angle depends on
/// where its own token stands, and that does not change.
///
/// # Errors
/// When `x` does not fit the layer, or the cache does not, or has no room. Then nothing
/// is kept.
pub fn prefill(
    layer: &RotaryAttention,
    x: &DMatrix<f32>,
    cache: &mut KvCache,
) -> Result<MultiHeadAttended, RotaryError> {
    let start = cache.len();
    let Projected { q, k, v } = layer.project(x, start)?;
    cache.append(&k, &v).map_err(GroupError::from)?;
    let (groups, causal) = (layer.layer.groups(), Mask::Causal { offset: start });
    layer.mix(attend_groups(&q, cache.keys(), cache.values(), groups, &causal)?)
}

/// Runs the next token, `x` (1, `model_dim`), through the layer, at the position that
/// the cache's length gives it.
///
/// # Errors
/// When `x` is not one token, or as for [`prefill`].
pub fn decode(
    layer: &RotaryAttention,
    x: &DMatrix<f32>,
    cache: &mut KvCache,
) -> Result<MultiHeadAttended, RotaryError> {
    expect_shape("x", x.shape(), (1, x.ncols()), "decoding goes token by token")?;
    let Projected { q, k, v } = layer.project(x, cache.len())?;
    cache.append(&k, &v).map_err(GroupError::from)?;
    let groups = layer.layer.groups();
    layer.mix(attend_stacked(&q, cache.keys(), cache.values(), groups)?)
}

/// Where the features of a head come from when it is paired anew: feature `j` of a head
/// paired as `to` says is feature `order[j]` of the same head paired as `from` says.
///
/// # Errors
/// When `head_dim` is odd or 0.
pub fn permutation(
    head_dim: usize,
    from: Pairing,
    to: Pairing,
) -> Result<Vec<usize>, RotaryError> {
    let pairs = pairs(head_dim)?;
    let mut order = vec![0; head_dim];
    for i in 0..pairs {
        let (old, new) = (from.features(i, pairs), to.features(i, pairs));
        order[new.0] = old.0;
        order[new.1] = old.1;
    }
    Ok(order)
}

/// A query or key projection (`d_in`, heads · `head_dim`) for the other pairing: with
/// its heads' columns in another order, it gives the same scores under that rotation.
///
/// # Errors
/// When the heads do not divide its width, or leave an odd one.
pub fn permuted(
    projection: &Linear,
    heads: usize,
    from: Pairing,
    to: Pairing,
) -> Result<Linear, RotaryError> {
    let head_dim = head_dim("projection", projection.shape().1, heads)?;
    let order = permutation(head_dim, from, to)?;
    let of_head = |head| order.iter().map(move |feature| head * head_dim + feature);
    let columns: Vec<usize> = (0..heads).flat_map(of_head).collect();
    let bias = projection.bias().map(|bias| bias.select_rows(&columns));
    Ok(Linear::new(projection.weight().select_columns(&columns), bias)?)
}
