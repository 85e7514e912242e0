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
//! use transformer::norms::RmsNorm;
//!
//! // The mean of the squares of 1 and 7 is 25, its root 5.
//! let norm = RmsNorm::new(vec![1.0, 1.0], 0.0);
//! let normed = norm.forward(&dmatrix![1.0, 7.0])?;
//! assert!((normed - dmatrix![0.2, 1.4]).amax() < 1e-6);
//! # Ok::<(), attention::ShapeError>(())
//! ```

pub mod caches;
pub mod changes;
pub mod encoder;
pub mod ends;
mod error;
pub mod example;
pub mod experiments;
pub mod experts;
pub mod figures;
pub mod gated;
pub mod heads;
pub mod kept;
pub mod loading;
pub mod loss;
pub mod networks;
pub mod norms;
pub mod places;
pub mod projection;
mod reader;
pub mod reading;
pub mod sampling;
pub mod watching;

use attention::Mask;
use caches::Cache;
use ends::Ends;
pub use error::ModelError;
use heads::Attention;
use nalgebra::DMatrix;
use networks::FeedForward;
use norms::Norm;
use places::Places;
use projection::Projection;
use sampling::Sampler;
use std::ops::ControlFlow;

/// One layer of the model: what each token takes from the others, and what it does with
/// it. Both are added to what the token was.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// Before attention.
    pub attention_norm: Norm,
    /// Tokens look at one another, as `SelfAttention` has it or by latents.
    pub attention: Attention,
    /// Before the feed-forward network.
    pub ffn_norm: Norm,
    /// Each token by itself: with a gate, without one, or through experts.
    pub feed_forward: FeedForward,
    /// What blocks of another kind than Llama's do otherwise.
    pub otherwise: Option<Otherwise>,
}

/// What blocks of another kind than Llama's do.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Otherwise {
    /// Norms what attention gives before it is added, as in Gemma 2.
    pub found_norm: Norm,
    /// Norms what the feed-forward network gives.
    pub thought_norm: Norm,
    /// Whether the network reads what attention read, as in GPT-NeoX and Cohere's models.
    pub parallel: bool,
}

impl Block {
    /// `x` (tokens, `model_dim`) to the same, in a block of Llama's kind. What `attend`
    /// makes of the normed rows is what attention adds.
    ///
    /// # Errors
    /// Those of `attend`, and when a part does not fit `x`.
    pub fn forward<'a>(
        &'a self,
        mut x: DMatrix<f32>,
        attend: impl FnOnce(
            &'a Attention,
            &DMatrix<f32>,
        ) -> Result<DMatrix<f32>, ModelError>,
    ) -> Result<DMatrix<f32>, ModelError> {
        x += attend(&self.attention, &self.attention_norm.forward(&x)?)?;
        x += self.feed_forward.forward(&self.ffn_norm.forward(&x)?)?;
        Ok(x)
    }

    /// [`Block::forward`], or what a block of another kind does.
    ///
    /// # Errors
    /// As for [`Block::forward`].
    pub fn pass<'a>(
        &'a self,
        x: DMatrix<f32>,
        attend: impl FnOnce(
            &'a Attention,
            &DMatrix<f32>,
        ) -> Result<DMatrix<f32>, ModelError>,
    ) -> Result<DMatrix<f32>, ModelError> {
        let Some(otherwise) = &self.otherwise else { return self.forward(x, attend) };
        let found = attend(&self.attention, &self.attention_norm.forward(&x)?)?;
        let after = &x + otherwise.found_norm.forward(&found)?;
        let read = if otherwise.parallel { &x } else { &after };
        let thought = self.feed_forward.forward(&self.ffn_norm.forward(read)?)?;
        Ok(after + otherwise.thought_norm.forward(&thought)?)
    }

    fn projections(&self) -> Vec<&Projection> {
        let mut all = self.feed_forward.projections();
        if let Some(a) = self.attention.heads() {
            all.extend([&a.q_proj, &a.k_proj, &a.v_proj, &a.o_proj]);
        }
        all
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
    pub norm: Norm,
    /// (`model_dim`, vocabulary): what a token that leaves is compared with. None where
    /// that is the embedding table: the two are tied.
    pub lm_head: Option<Projection>,
    /// What some models do at their two ends besides.
    pub ends: Ends,
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
        let latents = self.blocks.iter().map(|block| block.attention.latents());
        let full: usize = latents.map(|numbers| numbers * size_of::<f32>()).sum();
        self.projections().map(Projection::bytes).sum::<usize>() + full
    }

    /// Numbers that were learned in its projections. Each norm has `model_dim` more.
    #[must_use]
    pub fn parameters(&self) -> usize {
        let latents: usize =
            self.blocks.iter().map(|block| block.attention.latents()).sum();
        self.projections().map(Projection::parameters).sum::<usize>() + latents
    }

    fn projections(&self) -> impl Iterator<Item = &Projection> {
        let tables = std::iter::once(&self.embedding).chain(&self.ends.positions);
        tables
            .chain(&self.lm_head)
            .chain(self.blocks.iter().flat_map(Block::projections))
    }

    /// Empty caches, one per block, with room for `capacity` tokens.
    #[must_use]
    pub fn caches(&self, capacity: usize) -> Vec<Cache> {
        self.blocks.iter().map(|block| block.attention.cache(capacity)).collect()
    }

    /// The rows by which `tokens` enter, (tokens, `model_dim`), the first of which stands
    /// at position `start`.
    ///
    /// # Errors
    /// When one is not in the vocabulary, or at no position that was learned.
    pub fn embed(
        &self,
        tokens: &[u32],
        start: usize,
    ) -> Result<DMatrix<f32>, ModelError> {
        let vocab = self.vocab();
        if let Some(&token) = tokens.iter().find(|&&token| token as usize >= vocab) {
            return Err(ModelError::Token { token, vocab });
        }
        let mut columns = DMatrix::zeros(self.embedding.shape().0, tokens.len());
        for (&token, mut column) in tokens.iter().zip(columns.column_iter_mut()) {
            self.embedding.weights_of(token as usize, column.as_mut_slice());
        }
        self.ends.enter(&mut columns, start)?;
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
        caches: &mut [Cache],
    ) -> Result<DMatrix<f32>, ModelError> {
        let offset = caches.first().map_or(0, Cache::len);
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
        caches: &mut [Cache],
    ) -> Result<DMatrix<f32>, ModelError> {
        self.expect_caches(tokens.len(), caches)?;
        let start = caches.first().map_or(0, Cache::len);
        let mut places = Places::new(start, tokens.len());
        let mut x = self.embed(tokens, start)?;
        for (block, cache) in self.blocks.iter().zip(caches) {
            x = block.pass(x, |attention, normed| {
                attention.forward(normed, &mut places, mask, cache)
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
        let head = self.lm_head.as_ref().unwrap_or(&self.embedding);
        let mut logits = head.forward(hidden)?;
        self.ends.leave(&mut logits);
        Ok(logits)
    }

    /// The logits of the token that follows `tokens`, which follow those in `caches`: only
    /// the last row is compared with the vocabulary.
    ///
    /// # Errors
    /// As for [`Decoder::forward`], and when there is no token.
    pub fn next(
        &self,
        tokens: &[u32],
        caches: &mut [Cache],
    ) -> Result<DMatrix<f32>, ModelError> {
        let last = tokens.len().checked_sub(1).ok_or(ModelError::NoToken)?;
        // On one of the threads that share the products: any other would hand each
        // of them over, sleep, and have to be woken when it is there.
        rayon::scope(|_| {
            let hidden = self.forward(tokens, caches)?;
            self.logits(&hidden.rows(last, 1).into_owned())
        })
    }

    /// A failure halfway would leave the caches of different lengths.
    fn expect_caches(&self, new: usize, caches: &[Cache]) -> Result<(), ModelError> {
        let same = |cache: &Cache| cache.len() == caches[0].len();
        if caches.len() != self.blocks.len() || !caches.iter().all(same) {
            let (found, blocks) = (caches.len(), self.blocks.len());
            return Err(ModelError::Caches { found, blocks });
        }
        Ok(caches.iter().try_for_each(|cache| cache.expect_room(new))?)
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
