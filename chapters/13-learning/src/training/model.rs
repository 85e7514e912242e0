//! A whole decoder, there and back.

use super::attending::{Attended, Attention, AttentionError, AttentionGradients};
pub(super) use super::parameter::Parameter;
use super::parameter::{linear, normal};
use super::shape::{Shape, Sight};
use crate::{
    CrossEntropy, FeedForward, FeedForwardGradients, Gated, LossError, cross_entropy,
    embed, embedding_backward, linear_gradients, linear_input, norm_backward,
};
use attention::{Linear, Mask, ShapeError};
use decoder_layer::{Centering, HeadNorm};
use grouped_query::{GroupError, Groups, Pool, Pooling};
use nalgebra::{DMatrix, DVector};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rotary::Rotary;

/// Keeps a token of zeros from being divided by 0.
const EPS: f32 = 1e-6;

/// A decoder: `x + attention(norm(x))`, then `x + network(norm(x))`, in each block.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    shape: Shape,
    /// (vocabulary, `model_dim`)
    table: DMatrix<f32>,
    blocks: Vec<Block>,
    /// In front of the logits.
    norm: HeadNorm,
    /// (`model_dim`, vocabulary), unless the table does its work.
    head: Option<Linear>,
}

/// A layer of attention and a network, each behind a norm.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    attention_norm: HeadNorm,
    attention: Attention,
    network_norm: HeadNorm,
    network: FeedForward,
}

/// What one sequence, or a batch, has taught.
#[derive(Debug, Clone, PartialEq)]
pub struct Learned {
    /// Nats, summed over judged tokens.
    pub loss: f64,
    /// Judged tokens whose largest logit was that of the target.
    pub right: usize,
    /// Judged tokens.
    pub judged: usize,
    /// One for each parameter, in the order of [`Model::parameters`].
    pub gradient: Vec<f32>,
}

/// Logits, and what is saved for the way back.
#[derive(Debug, Clone, PartialEq)]
pub struct Pass {
    /// (tokens, vocabulary): of the token that follows each.
    pub logits: DMatrix<f32>,
    /// (tokens, `model_dim`): in front of each block, and behind the last.
    streams: Vec<DMatrix<f32>>,
    passes: Vec<BlockPass>,
    /// (tokens, `model_dim`): what the logits were made from.
    normed: DMatrix<f32>,
}

impl Pass {
    /// The weights of all heads of a layer, one (tokens, tokens) each.
    #[must_use]
    pub fn weights(&self, layer: usize) -> &[DMatrix<f32>] {
        self.passes[layer].attended.weights()
    }
}

/// What a block saves for the way back.
#[derive(Debug, Clone, PartialEq)]
struct BlockPass {
    normed: DMatrix<f32>,
    attended: Attended,
    /// The stream between attention and network.
    middle: DMatrix<f32>,
    normed_middle: DMatrix<f32>,
    gated: Gated,
}

impl Model {
    /// A model that has learned nothing: matrices are normal numbers of the size that keeps
    /// a token's size, those that write into the stream smaller, as they are many (GPT-2).
    ///
    /// # Errors
    /// When the sizes of the shape do not go together.
    pub fn new(shape: Shape, seed: u64) -> Result<Model, ModelError> {
        shape.expect_heads()?;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (vocabulary, width) = (shape.vocabulary, shape.width);
        let each = 1.0 / (width as f32).sqrt();
        let table = normal(&mut rng, vocabulary, width, each);
        let blocks = (0..shape.layers).map(|_| Block::new(&shape, &mut rng));
        let blocks = blocks.collect::<Result<_, _>>()?;
        let head = normal(&mut rng, width, vocabulary, each);
        let head = (!shape.tied).then(|| Linear::new(head, None)).transpose()?;
        Ok(Model { table, blocks, norm: norm(width), head, shape })
    }

    /// A model of zeros, to be filled.
    ///
    /// # Errors
    /// When the sizes of the shape do not go together.
    pub fn blank(shape: Shape) -> Result<Model, ModelError> {
        // What is drawn is overwritten; a shape is checked in one place.
        let mut model = Model::new(shape, 0)?;
        for Parameter { numbers, .. } in model.parameters() {
            numbers.fill(0.0);
        }
        Ok(model)
    }

    /// Lets tokens look at one another in another way than the model has learned.
    pub fn look(&mut self, sight: Sight) {
        self.shape.sight = sight;
    }

    /// Switches a head off: what it finds is not written into the stream.
    ///
    /// # Errors
    /// When there is no such head.
    pub fn switch_off(&mut self, layer: usize, head: usize) -> Result<(), ModelError> {
        let heads = self.shape.heads;
        let name = format!("model.layers.{layer}.self_attn.o_proj.weight");
        let mut all = self.parameters().into_iter();
        let o_proj = all.find(|parameter| parameter.name == name && head < heads);
        let o_proj = o_proj.ok_or(ModelError::NoHead { layer, head })?;
        let d_in = o_proj.shape.0;
        for written in o_proj.numbers.chunks_exact_mut(d_in) {
            written[head * d_in / heads..(head + 1) * d_in / heads].fill(0.0);
        }
        Ok(())
    }

    /// The same model with fewer keys and values: those of each group of heads are pooled,
    /// and all else stays.
    ///
    /// Source: Ainslie et al. 2023, *GQA*, §2.1.
    ///
    /// # Errors
    /// When so many key/value heads do not divide those that there are.
    pub fn pooled(
        mut self,
        kv_heads: usize,
        pooling: Pooling,
    ) -> Result<Model, ModelError> {
        let mut pool = Pool::new(Groups::new(self.shape.kv_heads, kv_heads)?, pooling);
        for Block { attention, .. } in &mut self.blocks {
            attention.pooled(kv_heads, &mut pool)?;
        }
        self.shape.kv_heads = kv_heads;
        Ok(self)
    }

    /// The same multi-head model, whose heads are turned toward the mean of their group
    /// before they are pooled. No output changes: keys turn with their queries, as far as
    /// the rotation by position allows, and values with the rows that read them.
    ///
    /// Source: Jin et al. 2024, *Align Attention Heads Before Merging Them*.
    ///
    /// # Errors
    /// When so many key/value heads do not divide those that there are.
    pub fn aligned(mut self, kv_heads: usize) -> Result<Model, ModelError> {
        let groups = Groups::new(self.shape.kv_heads, kv_heads)?;
        for Block { attention, .. } in &mut self.blocks {
            attention.aligned(groups)?;
        }
        Ok(self)
    }

    /// The same model, whose queries and keys are turned by `rotary`.
    ///
    /// # Errors
    /// When they are made from latents, or condensed.
    pub fn rotated(mut self, rotary: &Rotary) -> Result<Model, ModelError> {
        for Block { attention, .. } in &mut self.blocks {
            attention.rotated(rotary)?;
        }
        Ok(self)
    }

    /// What it is.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Runs `tokens` through the model.
    ///
    /// # Errors
    /// When a token is not in the vocabulary.
    pub fn forward(&self, tokens: &[usize]) -> Result<Pass, ModelError> {
        let mask = self.shape.sight.mask(tokens.len());
        let mut streams = vec![embed(&self.table, tokens)?];
        let mut passes = Vec::with_capacity(self.blocks.len());
        for (i, block) in self.blocks.iter().enumerate() {
            let (pass, left) = block.forward(&streams[i], &mask)?;
            passes.push(pass);
            streams.push(left);
        }
        let normed = normed(&self.norm, &streams[self.blocks.len()])?;
        let logits = match &self.head {
            Some(head) => head.forward(&normed)?,
            None => &normed * self.table.transpose(),
        };
        Ok(Pass { logits, streams, passes, normed })
    }

    /// The gradient of every parameter, in the order of [`Model::parameters`]: `pass` is
    /// what [`Model::forward`] made of `tokens`, and `d_logits` (tokens, vocabulary) the
    /// gradient of its logits.
    ///
    /// # Errors
    /// When they do not belong together.
    pub fn backward(
        &self,
        tokens: &[usize],
        pass: &Pass,
        d_logits: &DMatrix<f32>,
    ) -> Result<Vec<f32>, ModelError> {
        let (d_normed, d_head) = self.logits_backward(&pass.normed, d_logits)?;
        let left = &pass.streams[self.blocks.len()];
        let of_norm = norm_backward(&self.norm, left, &d_normed)?;
        let (mut d_x, mut of_blocks) = (of_norm.x, Vec::new());
        let blocks = self.blocks.iter().zip(&pass.passes).zip(&pass.streams);
        for ((block, pass), x) in blocks.rev() {
            let gradients = block.backward(x, pass, &d_x)?;
            d_x = gradients.x;
            of_blocks.push(gradients.learned);
        }
        let mut d_table = embedding_backward(self.shape.vocabulary, tokens, &d_x)?;
        if self.head.is_none() {
            d_table += d_head.transpose();
        }
        let mut parts = vec![d_table.as_slice()];
        parts.extend(of_blocks.iter().rev().map(Vec::as_slice));
        parts.push(of_norm.gain.as_slice());
        if self.head.is_some() {
            parts.push(d_head.as_slice());
        }
        Ok(parts.concat())
    }

    /// What a sequence teaches: the loss summed over its judged tokens, and its gradient
    /// divided by `all_judged`, those of the whole batch.
    ///
    /// # Errors
    /// When there is not one target for each token, or a token is not in the vocabulary.
    pub fn learn(
        &self,
        tokens: &[usize],
        targets: &[Option<usize>],
        all_judged: usize,
    ) -> Result<Learned, ModelError> {
        let pass = self.forward(tokens)?;
        let CrossEntropy { loss, d_logits } = cross_entropy(&pass.logits, targets)?;
        let judged = targets.iter().flatten().count();
        let share = judged as f32 / all_judged.max(1) as f32;
        Ok(Learned {
            loss: f64::from(loss) * judged as f64,
            right: right(&pass.logits, targets),
            judged,
            gradient: self.backward(tokens, &pass, &(d_logits * share))?,
        })
    }

    /// The gradients of what the logits were made from: the normed stream, and the matrix
    /// (`model_dim`, vocabulary).
    fn logits_backward(
        &self,
        normed: &DMatrix<f32>,
        d_logits: &DMatrix<f32>,
    ) -> Result<(DMatrix<f32>, DMatrix<f32>), ModelError> {
        Ok(match &self.head {
            Some(head) => {
                let of_head = linear_gradients(head, normed, d_logits)?;
                (linear_input(head, d_logits)?, of_head.weight)
            }
            None => (d_logits * &self.table, normed.transpose() * d_logits),
        })
    }

    /// Everything that is learned: the table, the blocks in their order, the norm in front
    /// of the logits, and the matrix that makes them.
    pub fn parameters(&mut self) -> Vec<Parameter<'_>> {
        let shape = self.table.shape();
        let numbers = self.table.as_mut_slice();
        let name = "model.embed_tokens.weight".to_owned();
        let mut all = vec![Parameter { name, shape, numbers }];
        for (i, block) in self.blocks.iter_mut().enumerate() {
            block.parameters(&format!("model.layers.{i}."), &mut all);
        }
        all.push(of_norm("model.norm.weight".to_owned(), &mut self.norm));
        if let Some(head) = &mut self.head {
            all.push(Parameter::of_linear("lm_head.weight".to_owned(), head));
        }
        all
    }
}

impl Shape {
    fn expect_heads(&self) -> Result<(), ModelError> {
        let (width, heads) = (self.width, self.heads);
        let split = self.narrow.is_some_and(|head_dim| head_dim > 0)
            || width.is_multiple_of(heads.max(1));
        let fits = heads > 0 && width > 0 && split;
        fits.then_some(()).ok_or(ModelError::Heads { width, heads })
    }
}

/// Gradients of a block.
struct BlockGradients {
    x: DMatrix<f32>,
    /// Of what it has learned, in the order of [`Block::parameters`].
    learned: Vec<f32>,
}

impl Block {
    fn new(shape: &Shape, rng: &mut ChaCha8Rng) -> Result<Block, ModelError> {
        let width = shape.width;
        let attention = Attention::new(shape, rng)?;
        let into_stream = 1.0 / (2.0 * shape.layers as f32).sqrt();
        let network = FeedForward {
            gate_proj: linear(rng, width, shape.hidden, 1.0)?,
            up_proj: linear(rng, width, shape.hidden, 1.0)?,
            down_proj: linear(rng, shape.hidden, width, into_stream)?,
        };
        let [attention_norm, network_norm] = [norm(width), norm(width)];
        Ok(Block { attention_norm, attention, network_norm, network })
    }

    /// The stream `x` (tokens, `model_dim`) as the block leaves it, and what is saved.
    fn forward(
        &self,
        x: &DMatrix<f32>,
        mask: &Mask,
    ) -> Result<(BlockPass, DMatrix<f32>), ModelError> {
        let into_attention = normed(&self.attention_norm, x)?;
        let attended = self.attention.forward(&into_attention, mask)?;
        let middle = x + attended.output();
        let normed_middle = normed(&self.network_norm, &middle)?;
        let gated = self.network.forward(&normed_middle)?;
        let left = &middle + &gated.output;
        let normed = into_attention;
        Ok((BlockPass { normed, attended, middle, normed_middle, gated }, left))
    }

    /// The way back. Where the stream goes past a layer, its gradient does, too, and what
    /// the layer was asked for is added.
    fn backward(
        &self,
        x: &DMatrix<f32>,
        pass: &BlockPass,
        dy: &DMatrix<f32>,
    ) -> Result<BlockGradients, ModelError> {
        let network = self.network.backward(&pass.normed_middle, &pass.gated, dy)?;
        let network_norm = norm_backward(&self.network_norm, &pass.middle, &network.x)?;
        let d_middle = dy + &network_norm.x;
        let AttentionGradients { x: d_normed, learned: of_attention } =
            self.attention.backward(&pass.normed, &pass.attended, &d_middle)?;
        let attention_norm = norm_backward(&self.attention_norm, x, &d_normed)?;
        let d_x = d_middle + &attention_norm.x;

        let FeedForwardGradients { gate_proj, up_proj, down_proj, .. } = network;
        let [gate, up, down] =
            [&gate_proj, &up_proj, &down_proj].map(|of| of.weight.as_slice());
        let [of_norm, of_network_norm] =
            [&attention_norm, &network_norm].map(|of| of.gain.as_slice());
        let parts = [of_norm, &of_attention, of_network_norm, gate, up, down];
        Ok(BlockGradients { x: d_x, learned: parts.concat() })
    }

    fn parameters<'a>(&'a mut self, prefix: &str, all: &mut Vec<Parameter<'a>>) {
        let named = |name: &str| format!("{prefix}{name}.weight");
        all.push(of_norm(named("input_layernorm"), &mut self.attention_norm));
        self.attention.parameters(prefix, all);
        let norm = named("post_attention_layernorm");
        all.push(of_norm(norm, &mut self.network_norm));
        let FeedForward { gate_proj, up_proj, down_proj } = &mut self.network;
        all.push(Parameter::of_linear(named("mlp.gate_proj"), gate_proj));
        all.push(Parameter::of_linear(named("mlp.up_proj"), up_proj));
        all.push(Parameter::of_linear(named("mlp.down_proj"), down_proj));
    }
}

fn norm(width: usize) -> HeadNorm {
    HeadNorm::new(DVector::repeat(width, 1.0), width, Centering::None, EPS)
}

fn normed(norm: &HeadNorm, x: &DMatrix<f32>) -> Result<DMatrix<f32>, ShapeError> {
    let mut x = x.clone();
    norm.apply(&mut x)?;
    Ok(x)
}

fn of_norm(name: String, norm: &mut HeadNorm) -> Parameter<'_> {
    Parameter::of_gain(name, norm.gain_mut())
}

/// Judged tokens whose largest logit is that of the target.
pub(super) fn right(logits: &DMatrix<f32>, targets: &[Option<usize>]) -> usize {
    let judged = targets.iter().enumerate();
    let judged = judged.filter_map(|(row, target)| Some((row, (*target)?)));
    judged
        .filter(|(row, target)| logits.row(*row).transpose().imax() == *target)
        .count()
}

/// Why there is no model, or it cannot learn from a sequence.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ModelError {
    /// The heads would not be of equal width.
    #[error("a width of {width} cannot be split among {heads} heads")]
    Heads {
        /// Features of a token.
        width: usize,
        /// Query heads.
        heads: usize,
    },
    /// The model has no such head.
    #[error("no head {head} in layer {layer}: both are counted from 0")]
    NoHead {
        /// Counted from 0.
        layer: usize,
        /// Counted from 0.
        head: usize,
    },
    /// A run that reads a text has none.
    #[error("this run reads a text, and has not been given one")]
    NoText,
    /// Query heads cannot share so many keys.
    #[error(transparent)]
    Groups(#[from] GroupError),
    /// Shapes do not fit.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// There is no such layer of attention, or it cannot be changed so.
    #[error(transparent)]
    Attention(#[from] AttentionError),
    /// There is no loss.
    #[error(transparent)]
    Loss(#[from] LossError),
}
