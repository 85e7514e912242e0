//! A model that reads a whole text and writes none: BERT's kind, of which MiniLM is one.
//! Every token sees every other, positions are vectors that are added to the words, and
//! the norm stands behind each part instead of before it.
//!
//! Source: Devlin et al. 2019, *BERT*, §3.

use crate::ModelError;
use crate::heads::SelfAttention;
use crate::networks::Mlp;
use crate::norms::LayerNorm;
use crate::projection::Projection;
use attention::Mask;
use nalgebra::{DMatrix, DVector};

/// One layer: attention and feed-forward network, each added to what was there, and the
/// sum normed.
#[derive(Debug, Clone, PartialEq)]
pub struct EncoderBlock {
    /// Tokens look at one another.
    pub attention: SelfAttention,
    /// After attention.
    pub attention_norm: LayerNorm,
    /// Each token by itself.
    pub feed_forward: Mlp,
    /// After the feed-forward network.
    pub ffn_norm: LayerNorm,
}

impl EncoderBlock {
    /// `x` (tokens, `model_dim`) to the same.
    ///
    /// # Errors
    /// When a part does not fit `x`.
    pub fn forward(&self, x: &DMatrix<f32>) -> Result<DMatrix<f32>, ModelError> {
        let place = self.attention.parts.place(0..x.nrows(), x.nrows());
        let found = self.attention.look(x, &place, &Mask::None)?.found;
        let found = self.attention.o_proj.forward(&found)?;
        let x = self.attention_norm.forward(&(x + found))?;
        let thought = self.feed_forward.forward(&x)?;
        Ok(self.ffn_norm.forward(&(x + thought))?)
    }
}

/// A model that turns a text into one vector per token.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoder {
    /// (`model_dim`, vocabulary): a column for each token.
    pub words: Projection,
    /// (`model_dim`, positions): a column for each position.
    pub positions: Projection,
    /// `model_dim` numbers that are added to every token of a first text. BERT has others
    /// for a second one.
    pub segment: DVector<f32>,
    /// Before the first block.
    pub norm: LayerNorm,
    /// One after the other.
    pub blocks: Vec<EncoderBlock>,
}

impl Encoder {
    /// One row per token, (tokens, `model_dim`).
    ///
    /// # Errors
    /// When a token is not in the vocabulary, or there are more than positions.
    pub fn forward(&self, tokens: &[u32]) -> Result<DMatrix<f32>, ModelError> {
        let mut x = self.norm.forward(&self.embed(tokens)?)?;
        for block in &self.blocks {
            x = block.forward(&x)?;
        }
        Ok(x)
    }

    /// The weights of every head, by layer: (tokens, tokens) each.
    ///
    /// # Errors
    /// As for [`Encoder::forward`].
    pub fn weights(
        &self,
        tokens: &[u32],
    ) -> Result<Vec<Vec<DMatrix<f32>>>, ModelError> {
        let mut x = self.norm.forward(&self.embed(tokens)?)?;
        let mut all = Vec::with_capacity(self.blocks.len());
        for block in &self.blocks {
            let place = block.attention.parts.place(0..x.nrows(), x.nrows());
            all.push(block.attention.look(&x, &place, &Mask::None)?.weights);
            x = block.forward(&x)?;
        }
        Ok(all)
    }

    /// Word, position and segment of each token in one vector, (tokens, `model_dim`).
    fn embed(&self, tokens: &[u32]) -> Result<DMatrix<f32>, ModelError> {
        let (vocab, context) = (self.words.shape().1, self.positions.shape().1);
        if let Some(&token) = tokens.iter().find(|&&token| token as usize >= vocab) {
            return Err(ModelError::Token { token, vocab });
        }
        if tokens.len() > context {
            return Err(ModelError::Long { tokens: tokens.len(), context });
        }
        let mut columns = DMatrix::zeros(self.words.shape().0, tokens.len());
        let mut at = DVector::zeros(columns.nrows());
        for (position, &token) in tokens.iter().enumerate() {
            let mut column = columns.column_mut(position);
            self.words.weights_of(token as usize, column.as_mut_slice());
            self.positions.weights_of(position, at.as_mut_slice());
            column += &at;
            column += &self.segment;
        }
        Ok(columns.transpose())
    }
}

/// One vector for a text: the mean of its tokens' rows (tokens, `model_dim`), brought to
/// length 1, so that the dot product of two is their cosine.
///
/// Source: Reimers and Gurevych 2019, *Sentence-BERT*, §3, for the mean; `MiniLM`'s own files
/// for the length.
#[must_use]
pub fn pooled(hidden: &DMatrix<f32>) -> DVector<f32> {
    let mean = hidden.row_mean().transpose();
    let length = mean.norm();
    if length > 0.0 { mean / length } else { mean }
}
