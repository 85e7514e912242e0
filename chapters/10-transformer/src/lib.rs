//! A whole model: from the tokens of a text to the next one, and so, one by one, to more
//! text. Attention is that of the chapters before; this one builds what stands around it.
//!
//! ```text
//! x      = rows of the embedding table, one per token
//! x      = x + attention(norm(x))          in each block, one after the other
//! x      = x + feed_forward(norm(x))
//! logits = norm(x) · embedding tableᵀ      one number for each token that could be next
//! ```
//!
//! Sources: Vaswani et al. 2017, *Attention Is All You Need*, §3; Touvron et al. 2023,
//! *`LLaMA`*, §2.2; Xiong et al. 2020, *On Layer Normalization in the Transformer
//! Architecture*.
//!
//! ```
//! use nalgebra::dmatrix;
//! use transformer::RmsNorm;
//!
//! // The mean of the squares of 1 and 7 is 25, its root 5.
//! let norm = RmsNorm::new(vec![1.0, 1.0], 0.0);
//! let normed = norm.forward(&dmatrix![1.0, 7.0])?;
//! assert!((normed - dmatrix![0.2, 1.4]).amax() < 1e-6);
//! # Ok::<(), attention::ShapeError>(())
//! ```

pub mod changes;
pub mod encoder;
pub mod example;
pub mod experiments;
pub mod figures;
pub mod kept;
pub mod loading;
pub mod loss;
pub mod projection;
pub mod reading;
pub mod sampling;
pub mod watching;

use attention::{Mask, ShapeError, exp_nonpositive, expect_shape};
use decoding::{CacheError, KvCache};
use grouped_query::{GroupError, Groups, attend_groups, attend_stacked};
use multi_head::{Heads, LayerError, Projected};
use nalgebra::{DMatrix, DVector};
use projection::Projection;
use pulp::Arch;
use rotary::{Angles, Rotary};
use sampling::Sampler;
use std::ops::ControlFlow;

/// Brings each token to the same size: divides its row by the root of the mean of its
/// squares, and multiplies each feature by a learned gain.
///
/// Source: Zhang and Sennrich 2019, *Root Mean Square Layer Normalization*, equation 4.
#[derive(Debug, Clone, PartialEq)]
pub struct RmsNorm {
    gain: DVector<f32>,
    eps: f32,
}

impl RmsNorm {
    /// From one gain per feature. `eps`, a small number, keeps a row of zeros from being
    /// divided by 0.
    #[must_use]
    pub fn new(gain: Vec<f32>, eps: f32) -> Self {
        RmsNorm { gain: gain.into(), eps }
    }

    /// `x` (tokens, features), normed row by row.
    ///
    /// # Errors
    /// When there is not one gain for each column of `x`.
    pub fn forward(&self, x: &DMatrix<f32>) -> Result<DMatrix<f32>, ShapeError> {
        let wanted = (x.nrows(), self.gain.len());
        expect_shape("x", x.shape(), wanted, "the norm has one gain per feature")?;
        let mean_square = x.map(|x| x * x).column_mean();
        let size = mean_square.map(|mean| (mean + self.eps).sqrt());
        let mut normed = x.clone();
        for (mut column, gain) in normed.column_iter_mut().zip(&self.gain) {
            column.zip_apply(&size, |x, size| *x = *x / size * gain);
        }
        Ok(normed)
    }
}

/// What a token does by itself, after it has looked at the others: widened to
/// `hidden_dim` features, of which each passes as far as its gate is open, and narrowed
/// again.
///
/// Source: Shazeer 2020, *GLU Variants Improve Transformer*, equation 6.
#[derive(Debug, Clone, PartialEq)]
pub struct SwiGlu {
    /// (`model_dim`, `hidden_dim`): how far each gate is open.
    pub gate_proj: Projection,
    /// (`model_dim`, `hidden_dim`): what passes.
    pub up_proj: Projection,
    /// (`hidden_dim`, `model_dim`): back into the stream.
    pub down_proj: Projection,
}

impl SwiGlu {
    /// `x` (tokens, `model_dim`) to (tokens, `model_dim`), each token by itself.
    ///
    /// # Errors
    /// When the projections do not fit `x`, or one another.
    pub fn forward(&self, x: &DMatrix<f32>) -> Result<DMatrix<f32>, ShapeError> {
        let [mut hidden, up] =
            Projection::together([&self.gate_proj, &self.up_proj], x)?;
        expect_shape(
            "up_proj",
            up.shape(),
            hidden.shape(),
            "each gate has its feature",
        )?;
        silu(hidden.as_mut_slice());
        hidden.component_mul_assign(&up);
        self.down_proj.forward(&hidden)
    }
}

/// x · σ(x) in place, where σ(x) = 1 / (1 + e⁻ˣ): close to 0 for very negative x, and to x
/// for large ones.
pub fn silu(numbers: &mut [f32]) {
    // As in `attention::softmax`: compiled once for each vector width.
    Arch::new().dispatch(
        #[inline(always)]
        || {
            for x in numbers {
                // e^x or e^−x, whichever cannot overflow.
                let e = exp_nonpositive(-x.abs());
                let share = if *x < 0.0 { e } else { 1.0 };
                *x *= share / (1.0 + e);
            }
        },
    );
}

/// Attention as a model of the Llama kind has it: grouped heads, turned by their
/// positions, over a cache.
#[derive(Debug, Clone, PartialEq)]
pub struct SelfAttention {
    /// (`model_dim`, heads · `head_dim`)
    pub q_proj: Projection,
    /// (`model_dim`, `kv_heads` · `head_dim`)
    pub k_proj: Projection,
    /// (`model_dim`, `kv_heads` · `head_dim`)
    pub v_proj: Projection,
    /// (heads · `head_dim`, `model_dim`)
    pub o_proj: Projection,
    /// Which query heads share keys and values.
    pub groups: Groups,
}

impl SelfAttention {
    /// Queries, keys and values of `x` (tokens, `model_dim`). Queries and keys are turned
    /// if there are `angles`.
    ///
    /// # Errors
    /// When `x` is not as wide as the projections expect, or has not one row per angle.
    pub fn project(
        &self,
        x: &DMatrix<f32>,
        angles: Option<&Angles>,
    ) -> Result<Projected, ShapeError> {
        let [q, k, v] =
            Projection::together([&self.q_proj, &self.k_proj, &self.v_proj], x)?;
        let mut projected = Projected { q, k, v };
        if let Some(angles) = angles {
            angles.rotate(&mut projected.q)?;
            angles.rotate(&mut projected.k)?;
        }
        Ok(projected)
    }

    /// What the heads find where there is no cache, side by side, with their weights: the
    /// tokens `x` (tokens, `model_dim`) look at one another under `mask`.
    ///
    /// # Errors
    /// When `x` or the mask do not fit the layer.
    pub fn look(
        &self,
        x: &DMatrix<f32>,
        angles: Option<&Angles>,
        mask: &Mask,
    ) -> Result<Heads, ModelError> {
        let Projected { q, k, v } = self.project(x, angles)?;
        Ok(attend_groups(&q, k.as_view(), v.as_view(), self.groups, mask)?)
    }

    /// Runs `x` (tokens, `model_dim`), which follows the tokens in `cache`, through the
    /// layer, under `mask` (tokens, tokens in the cache and those of `x`).
    ///
    /// # Errors
    /// When `x`, the mask or the cache do not fit the layer, or the cache has no room.
    pub fn forward(
        &self,
        x: &DMatrix<f32>,
        angles: Option<&Angles>,
        mask: &Mask,
        cache: &mut KvCache,
    ) -> Result<DMatrix<f32>, ModelError> {
        let Projected { q, k, v } = self.project(x, angles)?;
        cache.append(&k, &v)?;
        let (k, v, groups) = (cache.keys(), cache.values(), self.groups);
        let found = match mask {
            Mask::Causal { .. } if x.nrows() == 1 => {
                attend_stacked(&q, k, v, groups)?.found
            }
            _ => flash::attend(&q, k, v, groups, mask)?,
        };
        Ok(self.o_proj.forward(&found)?)
    }
}

/// One layer of the model: what each token takes from the others, and what it does with
/// it. Both are added to what the token was.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// Before attention.
    pub attention_norm: RmsNorm,
    /// Tokens look at one another.
    pub attention: SelfAttention,
    /// Before the feed-forward network.
    pub ffn_norm: RmsNorm,
    /// Each token by itself.
    pub feed_forward: SwiGlu,
}

impl Block {
    /// `x` (tokens, `model_dim`) to the same. What `attend` makes of the normed rows is
    /// what attention adds.
    ///
    /// # Errors
    /// Those of `attend`, and when a part does not fit `x`.
    pub fn forward(
        &self,
        mut x: DMatrix<f32>,
        attend: impl FnOnce(
            &SelfAttention,
            &DMatrix<f32>,
        ) -> Result<DMatrix<f32>, ModelError>,
    ) -> Result<DMatrix<f32>, ModelError> {
        x += attend(&self.attention, &self.attention_norm.forward(&x)?)?;
        x += self.feed_forward.forward(&self.ffn_norm.forward(&x)?)?;
        Ok(x)
    }
}

/// A model that reads tokens and says what comes next.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoder {
    /// (`model_dim`, vocabulary): column t is the vector by which token t enters.
    pub embedding: Projection,
    /// One after the other.
    pub blocks: Vec<Block>,
    /// After the last block.
    pub norm: RmsNorm,
    /// (`model_dim`, vocabulary): what a token that leaves is compared with. None where
    /// that is the embedding table: the two are tied.
    pub lm_head: Option<Projection>,
    /// How queries and keys turn in all blocks.
    pub rotary: Rotary,
    /// Tokens that it was made to read at once.
    pub context: usize,
}

impl Decoder {
    /// Tokens that it knows.
    #[must_use]
    pub fn vocab(&self) -> usize {
        self.embedding.shape().1
    }

    /// Memory that its projections take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.projections().map(Projection::bytes).sum()
    }

    /// Numbers that were learned in its projections. Each norm has `model_dim` more.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.projections().map(Projection::parameters).sum()
    }

    fn projections(&self) -> impl Iterator<Item = &Projection> {
        fn of_block(block: &Block) -> impl Iterator<Item = &Projection> {
            let (a, f) = (&block.attention, &block.feed_forward);
            [&a.q_proj, &a.k_proj, &a.v_proj, &a.o_proj].into_iter().chain([
                &f.gate_proj,
                &f.up_proj,
                &f.down_proj,
            ])
        }
        let tables = std::iter::once(&self.embedding).chain(&self.lm_head);
        tables.chain(self.blocks.iter().flat_map(of_block))
    }

    /// Empty caches, one per block, with room for `capacity` tokens.
    #[must_use]
    pub fn caches(&self, capacity: usize) -> Vec<KvCache> {
        let width = |block: &Block| {
            (block.attention.k_proj.shape().1, block.attention.v_proj.shape().1)
        };
        let cache = |(keys, values)| KvCache::new(capacity, keys, values);
        self.blocks.iter().map(width).map(cache).collect()
    }

    /// The rows by which `tokens` enter, (tokens, `model_dim`).
    ///
    /// # Errors
    /// When one is not in the vocabulary.
    pub fn embed(&self, tokens: &[u32]) -> Result<DMatrix<f32>, ModelError> {
        let vocab = self.vocab();
        if let Some(&token) = tokens.iter().find(|&&token| token as usize >= vocab) {
            return Err(ModelError::Token { token, vocab });
        }
        let mut columns = DMatrix::zeros(self.embedding.shape().0, tokens.len());
        for (&token, mut column) in tokens.iter().zip(columns.column_iter_mut()) {
            self.embedding.weights_of(token as usize, column.as_mut_slice());
        }
        Ok(columns.transpose())
    }

    /// What leaves the last norm, (tokens, `model_dim`), for `tokens` that follow those in
    /// `caches`. Each sees itself and everything before it.
    ///
    /// # Errors
    /// When a token is not in the vocabulary, or the caches are not the model's own, or
    /// have no room.
    pub fn forward(
        &self,
        tokens: &[u32],
        caches: &mut [KvCache],
    ) -> Result<DMatrix<f32>, ModelError> {
        let offset = caches.first().map_or(0, KvCache::len);
        self.forward_masked(tokens, &Mask::Causal { offset }, caches)
    }

    /// [`Decoder::forward`] under another `mask` (tokens, tokens in the caches and these).
    ///
    /// # Errors
    /// As for [`Decoder::forward`], and when the mask has another shape.
    pub fn forward_masked(
        &self,
        tokens: &[u32],
        mask: &Mask,
        caches: &mut [KvCache],
    ) -> Result<DMatrix<f32>, ModelError> {
        self.expect_caches(tokens.len(), caches)?;
        let start = caches.first().map_or(0, KvCache::len);
        let angles = self.rotary.angles(start..start + tokens.len());
        let mut x = self.embed(tokens)?;
        for (block, cache) in self.blocks.iter().zip(caches) {
            x = block.forward(x, |attention, normed| {
                attention.forward(normed, Some(&angles), mask, cache)
            })?;
        }
        Ok(self.norm.forward(&x)?)
    }

    /// One row of logits for each row of `hidden` (tokens, `model_dim`): (tokens,
    /// vocabulary). Softmax makes shares of them.
    ///
    /// # Errors
    /// When `hidden` has another width.
    pub fn logits(&self, hidden: &DMatrix<f32>) -> Result<DMatrix<f32>, ModelError> {
        Ok(self.lm_head.as_ref().unwrap_or(&self.embedding).forward(hidden)?)
    }

    /// The logits of the token that follows `tokens`, which follow those in `caches`: only
    /// the last row is compared with the vocabulary.
    ///
    /// # Errors
    /// As for [`Decoder::forward`], and when there is no token.
    pub fn next(
        &self,
        tokens: &[u32],
        caches: &mut [KvCache],
    ) -> Result<DMatrix<f32>, ModelError> {
        let last = tokens.len().checked_sub(1).ok_or(ModelError::NoToken)?;
        // On one of the threads that share the products: from another, each product would
        // be handed over to them, and wait to be woken when it is there.
        rayon::scope(|_| {
            let hidden = self.forward(tokens, caches)?;
            self.logits(&hidden.rows(last, 1).into_owned())
        })
    }

    /// A failure halfway would leave the caches of different lengths.
    fn expect_caches(&self, new: usize, caches: &[KvCache]) -> Result<(), ModelError> {
        let same = |cache: &KvCache| cache.len() == caches[0].len();
        if caches.len() != self.blocks.len() || !caches.iter().all(same) {
            let (found, blocks) = (caches.len(), self.blocks.len());
            return Err(ModelError::Caches { found, blocks });
        }
        for cache in caches {
            let (capacity, len, tokens) = (cache.capacity(), cache.len(), new);
            if tokens > capacity - len {
                return Err(CacheError::Full { capacity, len, tokens }.into());
            }
        }
        Ok(())
    }
}

/// Goes on after `prompt` for at most `most` tokens, or until `say`, which is told each of
/// them, breaks off.
///
/// # Errors
/// When the prompt is empty, or holds what is not in the vocabulary.
pub fn generate(
    model: &Decoder,
    prompt: &[u32],
    most: usize,
    sampler: &mut Sampler,
    mut say: impl FnMut(u32) -> ControlFlow<()>,
) -> Result<(), ModelError> {
    let mut caches = model.caches(prompt.len() + most);
    let mut unread = prompt.to_vec();
    for _ in 0..most {
        let logits = model.next(&unread, &mut caches)?;
        let token = sampler.pick(logits.as_slice());
        if say(token).is_break() {
            break;
        }
        unread = vec![token];
    }
    Ok(())
}

/// What a model cannot run on.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ModelError {
    /// A token that has no row in the table.
    #[error("token {token}: the vocabulary has {vocab} tokens, from 0 on")]
    Token {
        /// As it was given.
        token: u32,
        /// How many there are.
        vocab: usize,
    },
    /// Nothing to go on from.
    #[error("no token: a text begins with one at least")]
    NoToken,
    /// More tokens than there are positions.
    #[error("{tokens} tokens: the model has {context} positions")]
    Long {
        /// As they were given.
        tokens: usize,
        /// Positions that were learned.
        context: usize,
    },
    /// Caches of another model, or of different lengths.
    #[error(
        "{found} caches for {blocks} blocks: each needs its own, all of the same tokens"
    )]
    Caches {
        /// Caches.
        found: usize,
        /// Blocks.
        blocks: usize,
    },
    /// A part does not fit, or a cache.
    #[error(transparent)]
    Group(#[from] GroupError),
}

impl From<ShapeError> for ModelError {
    fn from(error: ShapeError) -> Self {
        ModelError::Group(error.into())
    }
}

impl From<LayerError> for ModelError {
    fn from(error: LayerError) -> Self {
        ModelError::Group(error.into())
    }
}

impl From<CacheError> for ModelError {
    fn from(error: CacheError) -> Self {
        ModelError::Group(error.into())
    }
}
