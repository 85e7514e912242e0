//! The layer of attention in a block, with any mechanism that is trained.

use super::parameter::{Parameter, linear, normal};
use super::shape::{Mechanism, Shape};
use crate::{
    Forward, LatentGradients, LayerGradients, LinearGradients, LinformerGradients,
    QueryGradients, backward, forward, latent_backward, linformer_backward,
};
use ::latent::{
    Form, LatentAttention, LatentError, Projections, QueryProjection, RmsNorm, Sizes,
};
use ::linformer::{LinformerAttention, LinformerError, SequenceProjection};
use attention::{Linear, Mask, ShapeError};
use decoder_layer::{DecoderLayer, Parts};
use grouped_query::alignment::align;
use grouped_query::{GroupError, Groups, Pool};
use multi_head::{LayerError, MultiHeadAttended};
use multi_query::alignment::Freedom;
use nalgebra::DMatrix;
use rand_chacha::ChaCha8Rng;
use rotary::{Pairing, Rotary, RotaryError};
use std::sync::Arc;

/// How the tokens of a block look at one another.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Attention {
    /// Chapter 11's layer.
    Heads(Box<DecoderLayer>),
    /// Keys and values of a token are made from its latent.
    Latent(Latent),
    /// Keys and values are condensed along the sequence.
    Linformer(Linformer),
}

/// What a layer gave, and what it saves for the way back.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Attended {
    Heads(Box<Forward>),
    Latent(Box<(LatentAttention, Mask)>, MultiHeadAttended),
    Linformer(Box<LinformerAttention>, MultiHeadAttended),
}

/// Gradients of a layer.
pub(super) struct AttentionGradients {
    /// (tokens, `model_dim`).
    pub x: DMatrix<f32>,
    /// Of what it has learned, in the order of [`Attention::parameters`].
    pub learned: Vec<f32>,
}

impl Attended {
    /// (tokens, `model_dim`).
    pub(super) fn output(&self) -> &DMatrix<f32> {
        match self {
            Attended::Heads(passed) => &passed.output,
            Attended::Latent(_, found) | Attended::Linformer(_, found) => &found.output,
        }
    }

    /// One (tokens, keys) for each head.
    pub(super) fn weights(&self) -> &[DMatrix<f32>] {
        match self {
            Attended::Heads(passed) => &passed.weights,
            Attended::Latent(_, found) | Attended::Linformer(_, found) => {
                &found.weights
            }
        }
    }
}

impl Attention {
    /// A layer that has learned nothing.
    pub(super) fn new(
        shape: &Shape,
        rng: &mut ChaCha8Rng,
    ) -> Result<Self, AttentionError> {
        Ok(match shape.mechanism {
            Mechanism::Heads => Attention::Heads(Box::new(heads(shape, rng)?)),
            Mechanism::Latent { rank, rope_dim } => {
                Attention::Latent(Latent::new(shape, rank, rope_dim, rng)?)
            }
            Mechanism::Linformer { rows, tokens } => {
                Attention::Linformer(Linformer::new(shape, rows, tokens, rng)?)
            }
        })
    }

    /// `x` (tokens, `model_dim`) look at one another. Condensed keys know no mask.
    pub(super) fn forward(
        &self,
        x: &DMatrix<f32>,
        mask: &Mask,
    ) -> Result<Attended, AttentionError> {
        Ok(match self {
            Attention::Heads(layer) => {
                Attended::Heads(Box::new(forward(layer, x, mask)?))
            }
            Attention::Latent(latent) => {
                let layer = latent.layer()?;
                let found = layer.forward(x, mask, Form::Naive)?;
                Attended::Latent(Box::new((layer, mask.clone())), found)
            }
            Attention::Linformer(linformer) => {
                let layer = linformer.layer()?;
                let found = layer.forward(x)?;
                Attended::Linformer(Box::new(layer), found)
            }
        })
    }

    /// The way back through [`Attention::forward`], which was given `x`.
    pub(super) fn backward(
        &self,
        x: &DMatrix<f32>,
        attended: &Attended,
        dy: &DMatrix<f32>,
    ) -> Result<AttentionGradients, AttentionError> {
        match (self, attended) {
            (Attention::Heads(layer), Attended::Heads(passed)) => {
                let LayerGradients { x, q_proj, k_proj, v_proj, o_proj, .. } =
                    backward(layer, x, passed, dy)?;
                let learned = in_order(&[q_proj, k_proj, v_proj, o_proj]);
                Ok(AttentionGradients { x, learned })
            }
            (Attention::Latent(_), Attended::Latent(given, _)) => {
                let (layer, mask) = &**given;
                Ok(of_latent(latent_backward(layer, x, mask, Form::Naive, dy)?))
            }
            (Attention::Linformer(_), Attended::Linformer(layer, _)) => {
                Ok(of_linformer(linformer_backward(layer, x, x, dy)?))
            }
            _ => Err(AttentionError::Another),
        }
    }

    /// What it has learned.
    pub(super) fn parameters<'a>(
        &'a mut self,
        prefix: &str,
        all: &mut Vec<Parameter<'a>>,
    ) {
        let named = |name: &str| format!("{prefix}self_attn.{name}.weight");
        let mut linear =
            |name: &str, linear| all.push(Parameter::of_linear(named(name), linear));
        match self {
            Attention::Heads(layer) => {
                let names = ["q_proj", "k_proj", "v_proj", "o_proj"];
                for (name, projection) in names.iter().zip(layer.projections_mut()) {
                    linear(name, projection);
                }
            }
            Attention::Latent(latent) => {
                linear("q_proj", &mut latent.q_proj);
                linear("kv_a_proj_with_mqa", &mut latent.kv_a_proj);
                linear("kv_b_proj", &mut latent.kv_b_proj);
                linear("o_proj", &mut latent.o_proj);
                let gain = &mut latent.kv_a_layernorm;
                all.push(Parameter::of_gain(named("kv_a_layernorm"), gain));
            }
            Attention::Linformer(linformer) => {
                let names = ["to_q", "to_k", "to_v", "to_out"];
                for (name, projection) in names.iter().zip(&mut linformer.maps) {
                    linear(name, projection);
                }
                for (name, along) in
                    [("proj_k", &mut linformer.e), ("proj_v", &mut linformer.f)]
                {
                    let name = format!("{prefix}self_attn.{name}");
                    let (shape, numbers) = (along.shape(), along.as_mut_slice());
                    all.push(Parameter { name, shape, numbers });
                }
            }
        }
    }

    /// The same layer, its keys and values pooled to so many.
    pub(super) fn pooled(
        &mut self,
        kv_heads: usize,
        pool: &mut Pool,
    ) -> Result<(), AttentionError> {
        let Attention::Heads(layer) = self else { return Err(AttentionError::NoHeads) };
        let mut parts = layer.parts().clone();
        parts.groups = Groups::new(parts.groups.heads(), kv_heads)?;
        let [q_proj, k_proj, v_proj, o_proj] = layer.projections();
        let k_proj = pool.linear("k_proj", k_proj)?;
        let v_proj = pool.linear("v_proj", v_proj)?;
        let projections = [q_proj.clone(), k_proj, v_proj, o_proj.clone()];
        **layer = DecoderLayer::new(projections, parts)?;
        Ok(())
    }

    /// The same layer, the heads of each group turned toward their mean (chapter 5): keys
    /// only as far as the rotation by position lets them, within its pairs of features.
    pub(super) fn aligned(&mut self, groups: Groups) -> Result<(), AttentionError> {
        let Attention::Heads(layer) = self else { return Err(AttentionError::NoHeads) };
        let parts = layer.parts().clone();
        let keys = match &parts.rotary {
            Some(rotary) => Freedom::HalfSplit { rotary_dim: rotary.features() },
            None => Freedom::Any,
        };
        let projections = align(layer.projections().map(Clone::clone), groups, keys)?;
        **layer = DecoderLayer::new(projections, parts)?;
        Ok(())
    }

    /// The same layer, turned by another rotation.
    pub(super) fn rotated(&mut self, rotary: &Rotary) -> Result<(), AttentionError> {
        let Attention::Heads(layer) = self else { return Err(AttentionError::NoHeads) };
        layer.parts_mut().rotary = Some(rotary.clone());
        Ok(())
    }
}

fn in_order(gradients: &[LinearGradients]) -> Vec<f32> {
    gradients.iter().flat_map(|of| of.weight.as_slice()).copied().collect()
}

/// What writes into the stream begins smaller, as two layers of each block do (GPT-2).
fn into_stream(shape: &Shape) -> f32 {
    1.0 / (2.0 * shape.layers as f32).sqrt()
}

fn heads(shape: &Shape, rng: &mut ChaCha8Rng) -> Result<DecoderLayer, AttentionError> {
    let (width, head_dim) = (shape.width, shape.head_dim());
    let groups = Groups::new(shape.heads, shape.kv_heads)?;
    let mut parts = Parts::plain(groups, head_dim);
    parts.scale = shape.scale;
    parts.rotary = match shape.theta {
        Some(theta) => Some(Rotary::new(head_dim, theta, Pairing::Halves)?),
        None => None,
    };
    let (queries, keys) = (shape.heads * head_dim, shape.kv_heads * head_dim);
    let projections = [
        linear(rng, width, queries, 1.0)?,
        linear(rng, width, keys, 1.0)?,
        linear(rng, width, keys, 1.0)?,
        linear(rng, queries, width, into_stream(shape))?,
    ];
    Ok(DecoderLayer::new(projections, parts)?)
}

/// Chapter 7's layer, as a checkpoint has it. It is put together anew for each pass.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Latent {
    q_proj: Linear,
    kv_a_proj: Linear,
    kv_a_layernorm: Vec<f32>,
    kv_b_proj: Linear,
    o_proj: Linear,
    sizes: Sizes,
    theta: f64,
}

impl Latent {
    fn new(
        shape: &Shape,
        rank: usize,
        rope_dim: usize,
        rng: &mut ChaCha8Rng,
    ) -> Result<Self, AttentionError> {
        let (width, heads, v_dim) = (shape.width, shape.heads, shape.head_dim());
        let sizes = Sizes { heads, nope_dim: v_dim, rope_dim, v_dim };
        let latent = Latent {
            q_proj: linear(rng, width, heads * (v_dim + rope_dim), 1.0)?,
            kv_a_proj: linear(rng, width, rank + rope_dim, 1.0)?,
            kv_a_layernorm: vec![1.0; rank],
            kv_b_proj: linear(rng, rank, heads * 2 * v_dim, 1.0)?,
            o_proj: linear(rng, heads * v_dim, width, into_stream(shape))?,
            sizes,
            theta: shape.theta.ok_or(AttentionError::Unrotated)?,
        };
        latent.layer()?;
        Ok(latent)
    }

    fn layer(&self) -> Result<LatentAttention, LatentError> {
        let projections = Projections {
            query: QueryProjection::Full(self.q_proj.clone()),
            kv_a_proj: self.kv_a_proj.clone(),
            kv_a_layernorm: RmsNorm::new(self.kv_a_layernorm.clone()),
            kv_b_proj: self.kv_b_proj.clone(),
            o_proj: self.o_proj.clone(),
        };
        LatentAttention::new(projections, self.sizes, self.theta)
    }
}

fn of_latent(gradients: LatentGradients) -> AttentionGradients {
    let LatentGradients { x, query, kv_a_proj, kv_a_layernorm, kv_b_proj, o_proj } =
        gradients;
    let of_queries = match query {
        QueryGradients::Full(q_proj) => vec![q_proj],
        QueryGradients::LowRank { q_a_proj, q_b_proj, .. } => vec![q_a_proj, q_b_proj],
    };
    let mut learned = in_order(&of_queries);
    learned.extend(in_order(&[kv_a_proj, kv_b_proj, o_proj]));
    learned.extend_from_slice(kv_a_layernorm.as_slice());
    AttentionGradients { x, learned }
}

/// Chapter 8's layer, with one E and one F for all heads. It is put together anew for each
/// pass.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Linformer {
    /// `to_q`, `to_k`, `to_v`, `to_out`.
    maps: [Linear; 4],
    /// (rows, tokens).
    e: DMatrix<f32>,
    /// (rows, tokens).
    f: DMatrix<f32>,
    groups: Groups,
}

impl Linformer {
    fn new(
        shape: &Shape,
        rows: usize,
        tokens: usize,
        rng: &mut ChaCha8Rng,
    ) -> Result<Self, AttentionError> {
        let (width, all) = (shape.width, shape.heads * shape.head_dim());
        let keys = shape.kv_heads * shape.head_dim();
        let maps = [
            linear(rng, width, all, 1.0)?,
            linear(rng, width, keys, 1.0)?,
            linear(rng, width, keys, 1.0)?,
            linear(rng, all, width, into_stream(shape))?,
        ];
        // A sum of so many tokens is as large as one.
        let each = 1.0 / (tokens as f32).sqrt();
        let e = normal(rng, rows, tokens, each);
        let f = normal(rng, rows, tokens, each);
        let groups = Groups::new(shape.heads, shape.kv_heads)?;
        let linformer = Linformer { maps, e, f, groups };
        linformer.layer()?;
        Ok(linformer)
    }

    fn layer(&self) -> Result<LinformerAttention, AttentionError> {
        let along = |weight: &DMatrix<f32>| -> Result<_, ShapeError> {
            Ok(vec![Arc::new(SequenceProjection::new(weight.clone())?)])
        };
        let projections =
            ::linformer::Projections::new(along(&self.e)?, along(&self.f)?)?;
        let [to_q, to_k, to_v, to_out] = self.maps.clone();
        let layer = LinformerAttention::new(
            to_q,
            to_k,
            Some(to_v),
            to_out,
            projections,
            self.groups,
        );
        Ok(layer?)
    }
}

fn of_linformer(gradients: LinformerGradients) -> AttentionGradients {
    let LinformerGradients { mut x, context, to_q, to_k, to_v, to_out, e, f } =
        gradients;
    // The tokens are what asks and what is condensed.
    x += context;
    let mut learned = in_order(&[to_q, to_k]);
    learned.extend(to_v.iter().flat_map(|to_v| to_v.weight.as_slice()));
    learned.extend(in_order(&[to_out]));
    learned.extend(e.iter().chain(&f).flat_map(DMatrix::as_slice));
    AttentionGradients { x, learned }
}

/// Why there is no such layer, or it cannot be run or changed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum AttentionError {
    /// The key that all heads of a latent share is the only one that knows positions.
    #[error("a latent without rotation would know no positions: it needs a base")]
    Unrotated,
    /// Keys and values of a head cannot be pooled, or rotated.
    #[error(
        "only heads with keys and values of their own can be pooled or rotated anew, and \
         this model has latents, or condenses its keys"
    )]
    NoHeads,
    /// What was saved is another layer's.
    #[error("a layer goes back through its own pass alone")]
    Another,
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
    /// There is no such latent.
    #[error(transparent)]
    Latent(#[from] LatentError),
    /// There is no such Linformer, or the sequence is too long for it.
    #[error(transparent)]
    Linformer(#[from] LinformerError),
}
