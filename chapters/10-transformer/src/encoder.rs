//! A model that reads a whole text and writes none: BERT's kind, of which MiniLM is one.
//! Every token sees every other, positions are vectors that are added to the words, and
//! the norm stands behind each part instead of before it.
//!
//! Source: Devlin et al. 2019, *BERT*, §3.

use crate::projection::Projection;
use crate::{ModelError, SelfAttention};
use attention::{Mask, ShapeError, expect_shape};
use nalgebra::{DMatrix, DVector};

/// Takes the mean off each token, brings it to the same size, and gives each feature a
/// learned gain and bias.
///
/// Source: Ba et al. 2016, *Layer Normalization*, equation 3.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerNorm {
    gain: DVector<f32>,
    bias: DVector<f32>,
    eps: f32,
}

impl LayerNorm {
    /// From one gain and one bias per feature.
    ///
    /// # Errors
    /// When there are more of one than of the other.
    pub fn new(gain: Vec<f32>, bias: Vec<f32>, eps: f32) -> Result<Self, ShapeError> {
        let why = "one bias for each gain";
        expect_shape("bias", (bias.len(), 1), (gain.len(), 1), why)?;
        Ok(LayerNorm { gain: gain.into(), bias: bias.into(), eps })
    }

    /// `x` (tokens, features), normed row by row.
    ///
    /// # Errors
    /// When there is not one gain for each column of `x`.
    pub fn forward(&self, x: &DMatrix<f32>) -> Result<DMatrix<f32>, ShapeError> {
        let wanted = (x.nrows(), self.gain.len());
        expect_shape("x", x.shape(), wanted, "the norm has one gain per feature")?;
        let mean = x.column_mean();
        let mut normed = x.clone();
        normed.column_iter_mut().for_each(|mut column| column -= &mean);
        let variance = normed.map(|x| x * x).column_mean();
        let size = variance.map(|variance| (variance + self.eps).sqrt());
        let learned = self.gain.iter().zip(&self.bias);
        for (mut column, (gain, bias)) in normed.column_iter_mut().zip(learned) {
            column.zip_apply(&size, |x, size| *x = *x / size * gain + bias);
        }
        Ok(normed)
    }
}

/// What bends a feature between two projections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// [`gelu`]
    Gelu,
    /// [`gelu_tanh`]
    GeluTanh,
    /// 0 in place of what is negative.
    Relu,
}

impl Activation {
    /// Of one feature.
    #[must_use]
    pub fn of(self, x: f32) -> f32 {
        match self {
            Activation::Gelu => gelu(x),
            Activation::GeluTanh => gelu_tanh(x),
            Activation::Relu => x.max(0.0),
        }
    }
}

/// x · Φ(x), where Φ(x) is the share of a normal distribution that lies below x.
///
/// Source: Hendrycks and Gimpel 2016, *Gaussian Error Linear Units*, §2.
#[must_use]
pub fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + libm::erff(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// [`gelu`] with tanh in place of the error function, as GPT-2 has it: the same within
/// 0.0005.
#[must_use]
pub fn gelu_tanh(x: f32) -> f32 {
    let inner = (2.0 / std::f32::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
    0.5 * x * (1.0 + inner.tanh())
}

/// A feed-forward network without gates.
#[derive(Debug, Clone, PartialEq)]
pub struct Mlp {
    /// (`model_dim`, `hidden_dim`)
    pub up_proj: Projection,
    /// Between the two.
    pub activation: Activation,
    /// (`hidden_dim`, `model_dim`)
    pub down_proj: Projection,
}

impl Mlp {
    /// `x` (tokens, `model_dim`) to (tokens, `model_dim`), each token by itself.
    ///
    /// # Errors
    /// When the projections do not fit `x`, or one another.
    pub fn forward(&self, x: &DMatrix<f32>) -> Result<DMatrix<f32>, ShapeError> {
        let hidden = self.up_proj.forward(x)?;
        self.down_proj.forward(&hidden.map(|x| self.activation.of(x)))
    }
}

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
        let found = self.attention.look(x, None, &Mask::None)?.found;
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
            all.push(block.attention.look(&x, None, &Mask::None)?.weights);
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
