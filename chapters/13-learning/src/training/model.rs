//! A whole decoder, there and back.

use super::shape::{Shape, Sight};
use crate::{
    CrossEntropy, FeedForward, FeedForwardGradients, Forward, Gated, LayerGradients,
    LinearGradients, LossError, backward, cross_entropy, embed, embedding_backward,
    forward, linear_gradients, linear_input, norm_backward,
};
use attention::{Linear, Mask, ShapeError};
use decoder_layer::{Centering, DecoderLayer, HeadNorm, Parts};
use grouped_query::{GroupError, Groups, Pool, Pooling};
use multi_head::LayerError;
use nalgebra::{DMatrix, DVector};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use rotary::{Pairing, Rotary, RotaryError};

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
    attention: DecoderLayer,
    network_norm: HeadNorm,
    network: FeedForward,
}

/// Numbers that are learned, by the name and in the shape that they have in a checkpoint
/// of a Llama.
#[derive(Debug)]
pub struct Parameter<'a> {
    /// `model.layers.0.self_attn.q_proj.weight`.
    pub name: String,
    /// (rows, columns) of the matrix in memory, column after column; one row for a gain.
    pub shape: (usize, usize),
    /// Themselves.
    pub numbers: &'a mut [f32],
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
        &self.passes[layer].attended.weights
    }
}

/// What a block saves for the way back.
#[derive(Debug, Clone, PartialEq)]
struct BlockPass {
    normed: DMatrix<f32>,
    attended: Forward,
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
        let (heads, head_dim) = (self.shape.heads, self.shape.head_dim());
        let block = self.blocks.get_mut(layer).filter(|_| head < heads);
        let block = block.ok_or(ModelError::NoHead { layer, head })?;
        let [.., o_proj] = block.attention.projections_mut();
        let d_in = o_proj.shape().0;
        for written in o_proj.weight_mut().chunks_exact_mut(d_in) {
            written[head * head_dim..(head + 1) * head_dim].fill(0.0);
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
            let mut parts = attention.parts().clone();
            parts.groups = Groups::new(self.shape.heads, kv_heads)?;
            let [q_proj, k_proj, v_proj, o_proj] = attention.projections();
            let k_proj = pool.linear("k_proj", k_proj)?;
            let v_proj = pool.linear("v_proj", v_proj)?;
            let projections = [q_proj.clone(), k_proj, v_proj, o_proj.clone()];
            *attention = DecoderLayer::new(projections, parts)?;
        }
        self.shape.kv_heads = kv_heads;
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
        let mut gradient = d_table.as_slice().to_vec();
        for learned in of_blocks.iter().rev() {
            gradient.extend_from_slice(learned);
        }
        gradient.extend_from_slice(of_norm.gain.as_slice());
        if self.head.is_some() {
            gradient.extend_from_slice(d_head.as_slice());
        }
        Ok(gradient)
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
            all.push(of_linear("lm_head.weight".to_owned(), head));
        }
        all
    }
}

impl Shape {
    fn expect_heads(&self) -> Result<(), ModelError> {
        let (width, heads) = (self.width, self.heads);
        let fits = heads > 0 && width > 0 && width.is_multiple_of(heads);
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
        let (width, head_dim) = (shape.width, shape.head_dim());
        let groups = Groups::new(shape.heads, shape.kv_heads)?;
        let mut parts = Parts::plain(groups, head_dim);
        parts.scale = shape.scale;
        parts.rotary = match shape.theta {
            Some(theta) => Some(Rotary::new(head_dim, theta, Pairing::Halves)?),
            None => None,
        };
        let into_stream = 1.0 / (2.0 * shape.layers as f32).sqrt();
        let mut linear = |d_in: usize, d_out, factor: f32| {
            let std = factor / (d_in as f32).sqrt();
            Linear::new(normal(rng, d_in, d_out, std), None)
        };
        let keys = shape.kv_heads * head_dim;
        let projections = [
            linear(width, width, 1.0)?,
            linear(width, keys, 1.0)?,
            linear(width, keys, 1.0)?,
            linear(width, width, into_stream)?,
        ];
        let network = FeedForward {
            gate_proj: linear(width, shape.hidden, 1.0)?,
            up_proj: linear(width, shape.hidden, 1.0)?,
            down_proj: linear(shape.hidden, width, into_stream)?,
        };
        let attention = DecoderLayer::new(projections, parts)?;
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
        let attended = forward(&self.attention, &into_attention, mask)?;
        let middle = x + &attended.output;
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
        let attention =
            backward(&self.attention, &pass.normed, &pass.attended, &d_middle)?;
        let attention_norm = norm_backward(&self.attention_norm, x, &attention.x)?;
        let d_x = d_middle + &attention_norm.x;

        let mut learned = attention_norm.gain.as_slice().to_vec();
        let LayerGradients { q_proj, k_proj, v_proj, o_proj, .. } = attention;
        for LinearGradients { weight, .. } in [q_proj, k_proj, v_proj, o_proj] {
            learned.extend_from_slice(weight.as_slice());
        }
        learned.extend_from_slice(network_norm.gain.as_slice());
        let FeedForwardGradients { gate_proj, up_proj, down_proj, .. } = network;
        for LinearGradients { weight, .. } in [gate_proj, up_proj, down_proj] {
            learned.extend_from_slice(weight.as_slice());
        }
        Ok(BlockGradients { x: d_x, learned })
    }

    fn parameters<'a>(&'a mut self, prefix: &str, all: &mut Vec<Parameter<'a>>) {
        let named = |name: &str| format!("{prefix}{name}.weight");
        all.push(of_norm(named("input_layernorm"), &mut self.attention_norm));
        let names = ["q_proj", "k_proj", "v_proj", "o_proj"];
        for (name, linear) in names.iter().zip(self.attention.projections_mut()) {
            all.push(of_linear(named(&format!("self_attn.{name}")), linear));
        }
        let norm = named("post_attention_layernorm");
        all.push(of_norm(norm, &mut self.network_norm));
        let FeedForward { gate_proj, up_proj, down_proj } = &mut self.network;
        all.push(of_linear(named("mlp.gate_proj"), gate_proj));
        all.push(of_linear(named("mlp.up_proj"), up_proj));
        all.push(of_linear(named("mlp.down_proj"), down_proj));
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

fn normal(rng: &mut ChaCha8Rng, rows: usize, columns: usize, std: f32) -> DMatrix<f32> {
    let one = |_, _| -> f32 { StandardNormal.sample(rng) };
    DMatrix::from_fn(rows, columns, one) * std
}

fn of_norm(name: String, norm: &mut HeadNorm) -> Parameter<'_> {
    let numbers = norm.gain_mut();
    Parameter { name, shape: (1, numbers.len()), numbers }
}

fn of_linear(name: String, linear: &mut Linear) -> Parameter<'_> {
    Parameter { name, shape: linear.shape(), numbers: linear.weight_mut() }
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
    /// A head cannot be rotated.
    #[error(transparent)]
    Rotary(#[from] RotaryError),
    /// Shapes do not fit.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// Shapes of a layer do not fit.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// There is no loss.
    #[error(transparent)]
    Loss(#[from] LossError),
}
