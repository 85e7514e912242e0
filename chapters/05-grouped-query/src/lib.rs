//! Grouped-query attention: the query heads form groups, and each group shares one set
//! of keys and values.
//!
//! ```text
//! head_h = attention(Q_h, K_g, V_g)      g = ⌊h / (heads / kv_heads)⌋
//! output = [head_0 | head_1 | …] W_O
//! ```
//!
//! Source: Ainslie et al. 2023, *GQA: Training Generalized Multi-Query Transformer Models
//! from Multi-Head Checkpoints*, §2.
//!
//! ```
//! use grouped_query::Groups;
//!
//! let groups = Groups::new(4, 2)?;
//! assert_eq!([0, 1, 2, 3].map(|head| groups.kv_head(head)), [0, 0, 1, 1]);
//! # Ok::<(), grouped_query::GroupError>(())
//! ```

mod aligning;
pub mod alignment;
pub mod command;
pub mod convert;
pub mod example;
pub mod experiments;
pub mod figures;
mod learned;
mod pooling;
pub mod slips;

use attention::{Linear, Mask, ShapeError, attend, expect_shape};
use decoding::{CacheError, Columns, KvCache, attend_columns};
use multi_head::{Heads, LayerError, MultiHeadAttended, Projected, head_dim};
use nalgebra::{DMatrix, DMatrixView, DVector};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;

/// How query heads share key/value heads: in blocks of neighbors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Groups {
    heads: usize,
    kv_heads: usize,
}

impl Groups {
    /// `heads` query heads that share `kv_heads` key/value heads.
    ///
    /// # Errors
    /// When there are none, or the groups would not be of equal size.
    pub fn new(heads: usize, kv_heads: usize) -> Result<Self, GroupError> {
        if heads > 0 && kv_heads > 0 && heads.is_multiple_of(kv_heads) {
            Ok(Groups { heads, kv_heads })
        } else {
            Err(GroupError::Uneven { heads, kv_heads })
        }
    }

    /// The key/value head of query head `head`, as in Llama and in PyTorch's `enable_gqa`.
    #[must_use]
    pub fn kv_head(self, head: usize) -> usize {
        head / self.size()
    }

    /// How many query heads share one key/value head.
    #[must_use]
    pub fn size(self) -> usize {
        self.heads / self.kv_heads
    }

    /// How many heads ask.
    #[must_use]
    pub fn heads(self) -> usize {
        self.heads
    }

    /// How many heads are asked.
    #[must_use]
    pub fn kv_heads(self) -> usize {
        self.kv_heads
    }
}

/// A layer whose query heads share keys and values in groups.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupedQueryAttention {
    /// (`model_dim`, heads · `head_dim`): the queries of all heads side by side.
    q_proj: Linear,
    /// (`context_dim`, `kv_heads` · `head_dim`): one key for each group.
    k_proj: Linear,
    /// (`context_dim`, `kv_heads` · `v_dim`): one value for each group.
    v_proj: Linear,
    /// (heads · `v_dim`, `d_out`): mixes what the heads found.
    o_proj: Linear,
    groups: Groups,
}

impl GroupedQueryAttention {
    /// A layer from its four projections, its query heads and its key/value heads.
    ///
    /// # Errors
    /// When the key/value heads do not divide the heads, the heads do not divide the
    /// widths, or the projections do not fit together.
    pub fn new(
        q_proj: Linear,
        k_proj: Linear,
        v_proj: Linear,
        o_proj: Linear,
        heads: usize,
        kv_heads: usize,
    ) -> Result<Self, GroupError> {
        let groups = Groups::new(heads, kv_heads)?;
        let d_k = width_of_one("q_proj", q_proj.shape().1, heads)?;
        let keys = (k_proj.shape().0, kv_heads * d_k);
        let why = "a key/value head is as wide as a query head";
        expect_shape("k_proj", k_proj.shape(), keys, why)?;
        let values = (k_proj.shape().0, v_proj.shape().1);
        let why = "keys and values read the same tokens";
        expect_shape("v_proj", v_proj.shape(), values, why)?;
        let d_v = width_of_one("v_proj", v_proj.shape().1, kv_heads)?;
        let found = (heads * d_v, o_proj.shape().1);
        let why = "it reads one value width for each query head";
        expect_shape("o_proj", o_proj.shape(), found, why)?;
        Ok(GroupedQueryAttention { q_proj, k_proj, v_proj, o_proj, groups })
    }

    /// The layer that the four projections of a multi-head layer become when their
    /// `heads` share `kv_heads` keys and values: those of each group are pooled, queries
    /// and output stay.
    ///
    /// # Errors
    /// As for [`GroupedQueryAttention::new`].
    pub fn from_multi_head(
        [q_proj, k_proj, v_proj, o_proj]: [Linear; 4],
        heads: usize,
        kv_heads: usize,
        pooling: Pooling,
    ) -> Result<Self, GroupError> {
        let mut pool = Pool::new(Groups::new(heads, kv_heads)?, pooling);
        let k_proj = pool.linear("k_proj", &k_proj)?;
        let v_proj = pool.linear("v_proj", &v_proj)?;
        Self::new(q_proj, k_proj, v_proj, o_proj, heads, kv_heads)
    }

    /// Self-attention: the tokens `x` (tokens, `model_dim`) look at one another.
    ///
    /// # Errors
    /// When `x` or the mask has another shape than the layer needs.
    pub fn forward(
        &self,
        x: &DMatrix<f32>,
        mask: &Mask,
    ) -> Result<MultiHeadAttended, LayerError> {
        self.forward_cross(x, x, mask)
    }

    /// Cross-attention: the tokens `x` (tokens, `model_dim`) look at `context`
    /// (context tokens, `context_dim`).
    ///
    /// # Errors
    /// When `x`, `context` or the mask has another shape than the layer needs.
    pub fn forward_cross(
        &self,
        x: &DMatrix<f32>,
        context: &DMatrix<f32>,
        mask: &Mask,
    ) -> Result<MultiHeadAttended, LayerError> {
        let Projected { q, k, v } = self.project(x, context)?;
        let Heads { found, weights } =
            attend_groups(&q, k.as_view(), v.as_view(), self.groups, mask)?;
        Ok(MultiHeadAttended { output: self.o_proj.forward(&found)?, weights })
    }

    /// Queries from `x` for all heads, keys and values from `context` for all groups.
    ///
    /// # Errors
    /// When `x` or `context` has another width than its projection reads.
    pub fn project(
        &self,
        x: &DMatrix<f32>,
        context: &DMatrix<f32>,
    ) -> Result<Projected, ShapeError> {
        Ok(Projected {
            q: self.q_proj.forward(x)?,
            k: self.k_proj.forward(context).map_err(|e| e.of("context"))?,
            v: self.v_proj.forward(context).map_err(|e| e.of("context"))?,
        })
    }

    /// (width of all keys, width of all values): what one token leaves in a cache, however
    /// many heads ask.
    #[must_use]
    pub fn kv_widths(&self) -> (usize, usize) {
        (self.k_proj.shape().1, self.v_proj.shape().1)
    }

    /// The map that mixes what the heads found.
    #[must_use]
    pub fn o_proj(&self) -> &Linear {
        &self.o_proj
    }

    /// How the heads share keys and values.
    #[must_use]
    pub fn groups(&self) -> Groups {
        self.groups
    }

    /// Numbers that were learned, in all four projections.
    #[must_use]
    pub fn parameters(&self) -> usize {
        let all = [&self.q_proj, &self.k_proj, &self.v_proj, &self.o_proj];
        all.map(Linear::parameters).iter().sum()
    }
}

/// Lets each head attend with its own columns of `q` (queries, heads · `d_k`) to the
/// columns of `k` (keys, `kv_heads` · `d_k`) and `v` (keys, `kv_heads` · `d_v`) that its
/// group shares. The columns are views: no key is copied for the heads that share it.
///
/// # Errors
/// When the heads do not divide the widths, or queries, keys, values and mask do not fit
/// together.
pub fn attend_groups(
    q: &DMatrix<f32>,
    k: DMatrixView<f32>,
    v: DMatrixView<f32>,
    groups: Groups,
    mask: &Mask,
) -> Result<Heads, LayerError> {
    let (d_k, d_v) = widths(q, k, v, groups)?;
    let one = |h| {
        let g = groups.kv_head(h);
        let (k, v) = (k.columns(g * d_k, d_k), v.columns(g * d_v, d_v));
        attend(q.columns(h * d_k, d_k), k, v, mask)
    };
    let all: Vec<_> = (0..groups.heads).into_par_iter().map(one).collect();

    let mut found = DMatrix::zeros(q.nrows(), groups.heads * d_v);
    let mut weights = Vec::with_capacity(groups.heads);
    for (h, attended) in all.into_iter().enumerate() {
        let attended = attended?;
        found.columns_mut(h * d_v, d_v).copy_from(&attended.output);
        weights.push(attended.weights);
    }
    Ok(Heads { found, weights })
}

/// (`d_k`, `d_v`): the widths of one key and one value, if everything fits.
fn widths(
    q: &DMatrix<f32>,
    k: DMatrixView<f32>,
    v: DMatrixView<f32>,
    groups: Groups,
) -> Result<(usize, usize), LayerError> {
    let d_k = width_of_one("q", q.ncols(), groups.heads)?;
    let d_v = width_of_one("v", v.ncols(), groups.kv_heads)?;
    let keys = (v.nrows(), groups.kv_heads * d_k);
    expect_shape("k", k.shape(), keys, "one key per value, as wide as a query head")?;
    Ok((d_k, d_v))
}

/// [`head_dim`], which has to be at least 1: any number of heads would fit into nothing.
fn width_of_one(
    tensor: &'static str,
    width: usize,
    heads: usize,
) -> Result<usize, LayerError> {
    match head_dim(tensor, width, heads)? {
        0 => Err(LayerError::Split { tensor, width, heads }),
        one => Ok(one),
    }
}

/// Runs `x` (tokens, `model_dim`), which follows the tokens in `cache`, through the layer:
/// any number of tokens at once, each of which sees itself and everything before it. The
/// cache is as wide as [`GroupedQueryAttention::kv_widths`] says.
///
/// # Errors
/// When `x` does not fit the layer, or the cache does not, or has no room. Then nothing is
/// kept.
pub fn prefill(
    layer: &GroupedQueryAttention,
    x: &DMatrix<f32>,
    cache: &mut KvCache,
) -> Result<MultiHeadAttended, GroupError> {
    let Projected { q, k, v } = layer.project(x, x)?;
    let causal = Mask::Causal { offset: cache.len() };
    cache.append(&k, &v)?;
    let Heads { found, weights } =
        attend_groups(&q, cache.keys(), cache.values(), layer.groups, &causal)?;
    Ok(MultiHeadAttended { output: layer.o_proj.forward(&found)?, weights })
}

/// Runs the next token, `x` (1, `model_dim`), through the layer. It sees everything that
/// is kept, so there is nothing to mask.
///
/// # Errors
/// When `x` is not one token, or as for [`prefill`].
pub fn decode(
    layer: &GroupedQueryAttention,
    x: &DMatrix<f32>,
    cache: &mut KvCache,
) -> Result<MultiHeadAttended, GroupError> {
    expect_shape("x", x.shape(), (1, x.ncols()), "decoding goes token by token")?;
    let Projected { q, k, v } = layer.project(x, x)?;
    cache.append(&k, &v)?;
    let Heads { found, weights } =
        attend_stacked(&q, cache.keys(), cache.values(), layer.groups)?;
    Ok(MultiHeadAttended { output: layer.o_proj.forward(&found)?, weights })
}

/// [`attend_groups`] for the one query of a token that sees all keys, `q`
/// (1, heads · `d_k`): the heads of a group become the rows of one matrix, so that what
/// they share is read once for all of them.
///
/// # Errors
/// When `q` has not one row, or as for [`attend_groups`].
pub fn attend_stacked(
    q: &DMatrix<f32>,
    k: DMatrixView<f32>,
    v: DMatrixView<f32>,
    groups: Groups,
) -> Result<Heads, LayerError> {
    expect_shape("q", q.shape(), (1, q.ncols()), "decoding goes token by token")?;
    let (d_k, d_v) = widths(q, k, v, groups)?;
    let one = |g| {
        let heads = q.columns(g * groups.size() * d_k, groups.size() * d_k);
        let stacked =
            DMatrix::from_row_iterator(groups.size(), d_k, heads.iter().copied());
        let (k, v) = (k.columns(g * d_k, d_k), v.columns(g * d_v, d_v));
        attend_columns(stacked.as_view(), k, v)
    };
    let all: Vec<_> = (0..groups.kv_heads).into_par_iter().map(one).collect();

    let mut found = Vec::with_capacity(groups.heads * d_v);
    let mut weights = Vec::with_capacity(groups.heads);
    for group in all {
        let Columns { output, shares } = group?;
        found.extend(output.transpose().iter());
        weights.extend((0..groups.size()).map(|i| shares.columns(i, 1).transpose()));
    }
    Ok(Heads { found: DMatrix::from_row_slice(1, found.len(), &found), weights })
}

/// What the keys and values of a group start from, when a multi-head layer is converted
/// (Ainslie et al. 2023, §2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The mean of its heads.
    Mean,
    /// Its first head.
    First,
    /// Nothing that was learned: normal numbers, as large as those of its heads.
    Random {
        /// The same seed gives the same numbers.
        seed: u64,
    },
}

/// Pools the heads of one projection after the other.
#[derive(Debug, Clone)]
pub struct Pool {
    groups: Groups,
    pooling: Pooling,
    rng: ChaCha8Rng,
}

impl Pool {
    /// For projections of `groups.heads()` heads, which become `groups.kv_heads()`.
    #[must_use]
    pub fn new(groups: Groups, pooling: Pooling) -> Self {
        let seed = if let Pooling::Random { seed } = pooling { seed } else { 0 };
        Pool { groups, pooling, rng: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// `projection` (`d_in`, heads · width) to (`d_in`, `kv_heads` · width). `name` is for
    /// the error.
    ///
    /// # Errors
    /// When the heads do not divide its width.
    pub fn linear(
        &mut self,
        name: &'static str,
        projection: &Linear,
    ) -> Result<Linear, LayerError> {
        let (d_in, d_out) = projection.shape();
        let width = self.groups.kv_heads * head_dim(name, d_out, self.groups.heads)?;
        let weight = self.blocks(projection.weight().as_slice());
        let bias = projection.bias().map(|bias| self.blocks(bias.as_slice()));
        let weight = DMatrix::from_vec(d_in, width, weight);
        Ok(Linear::new(weight, bias.map(DVector::from_vec))?)
    }

    /// Numbers in `heads` blocks of equal length to numbers in `kv_heads` blocks. A head's
    /// columns of a weight are one block here, as its rows are in PyTorch's file.
    pub(crate) fn blocks(&mut self, numbers: &[f32]) -> Vec<f32> {
        let block = numbers.len() / self.groups.heads;
        let group = (block * self.groups.size()).max(1);
        let groups = numbers.chunks_exact(group);
        groups.flat_map(|group| self.one_block(group, block)).collect()
    }

    /// The blocks of one group to one.
    fn one_block(&mut self, group: &[f32], block: usize) -> Vec<f32> {
        match self.pooling {
            Pooling::Mean => mean_block(group, block),
            Pooling::First => group[..block].to_vec(),
            Pooling::Random { .. } => {
                let size = mean(group.iter().map(|&x| f64::from(x).powi(2))).sqrt();
                let normal = StandardNormal.sample_iter(&mut self.rng).take(block);
                normal.map(|x: f32| x * size as f32).collect()
            }
        }
    }
}

/// The mean of the blocks that `group` is made of, entry by entry. Sums are kept in
/// `f64`, so that the mean of equal numbers is that number to the last bit.
fn mean_block(group: &[f32], block: usize) -> Vec<f32> {
    let entry = |i: usize| group[i..].iter().step_by(block).map(|&x| f64::from(x));
    (0..block).map(|i| mean(entry(i)) as f32).collect()
}

/// The sum over the count.
fn mean(numbers: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = numbers.len();
    numbers.sum::<f64>() / count as f64
}

/// Why a layer cannot be grouped, or not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// The groups would differ in size, or there are none.
    #[error("{heads} query heads cannot form {kv_heads} equal groups")]
    Uneven {
        /// Heads that ask.
        heads: usize,
        /// Heads that are asked.
        kv_heads: usize,
    },
    /// The projections do not make a layer.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// The cache does not fit, or has no room.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl From<ShapeError> for GroupError {
    fn from(error: ShapeError) -> Self {
        GroupError::Layer(error.into())
    }
}
