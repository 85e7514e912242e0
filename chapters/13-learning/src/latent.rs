//! The way back through keys and values that are made from one latent per token.

use crate::product::{transposed, transposed_times};
use crate::{
    AttendGradients, LinearGradients, NormGradients, attend_backward, linear_gradients,
    linear_input, norm_backward, rotation_backward, softmax_backward,
};
use ::latent::{
    Form, LatentAttention, Learned, Queries, QueryProjection, RmsNorm, Sizes,
};
use attention::{Linear, Mask, ShapeError};
use decoder_layer::{Centering, HeadNorm};
use multi_head::Heads;
use nalgebra::{DMatrix, DMatrixView, DVector};
use rayon::prelude::*;

/// Gradients of a layer with a latent.
#[derive(Debug, Clone, PartialEq)]
pub struct LatentGradients {
    /// (tokens, `model_dim`).
    pub x: DMatrix<f32>,
    /// Of the way to the queries.
    pub query: QueryGradients,
    /// Of `kv_a_proj_with_mqa`.
    pub kv_a_proj: LinearGradients,
    /// Of `kv_a_layernorm`, one for each feature of the latent.
    pub kv_a_layernorm: DVector<f32>,
    /// Of `kv_b_proj` (`lora_rank`, heads · (`nope_dim` + `v_dim`)): head by head, its
    /// key, then its value.
    pub kv_b_proj: LinearGradients,
    /// Of `o_proj`.
    pub o_proj: LinearGradients,
}

/// Gradients of a [`QueryProjection`].
#[derive(Debug, Clone, PartialEq)]
pub enum QueryGradients {
    /// Of `q_proj`.
    Full(LinearGradients),
    /// Of a latent of the queries' own.
    LowRank {
        /// Of `q_a_proj`.
        q_a_proj: LinearGradients,
        /// Of `q_a_layernorm`.
        q_a_layernorm: DVector<f32>,
        /// Of `q_b_proj`.
        q_b_proj: LinearGradients,
    },
}

/// The way back through [`LatentAttention::forward`], in the form that the forward pass
/// had. `dy` is (tokens, `d_out`). Both forms give the same gradients.
///
/// # Errors
/// When `x`, the mask or `dy` does not fit the layer.
pub fn latent_backward(
    layer: &LatentAttention,
    x: &DMatrix<f32>,
    mask: &Mask,
    form: Form,
    dy: &DMatrix<f32>,
) -> Result<LatentGradients, ShapeError> {
    let Learned { k_up, v_up, o_proj, .. } = layer.learned();
    let (q, kept) = (layer.queries(x, 0)?, layer.compress(x, 0)?);
    let Heads { found, weights } = layer.attend(&q, kept.as_view(), mask, form)?;
    let d_found = linear_input(o_proj, dy)?;
    let c = kept.columns(0, layer.lora_rank()).into_owned();
    let one = |h| {
        let head = One { layer, q: &q, kept: &kept, c: &c, weights: &weights[h], h };
        let v_dim = layer.sizes().v_dim;
        let d_found = d_found.columns(h * v_dim, v_dim);
        match form {
            Form::Naive => head.naive(d_found),
            Form::Absorbed => head.absorbed(d_found),
        }
    };
    let heads: Result<Vec<_>, _> =
        (0..layer.sizes().heads).into_par_iter().map(one).collect();
    let mut d = Together::new(layer, x.nrows());
    for (h, of_head) in heads?.iter().enumerate() {
        d.add(layer.sizes(), h, of_head);
    }
    let kv_b_proj = LinearGradients {
        weight: d.up,
        bias: k_up.bias().or(v_up.bias()).map(|_| d.up_bias),
    };
    let ToLatent { x: mut d_x, kv_a_proj, kv_a_layernorm } =
        compress_backward(layer, x, &d.kept)?;
    let ToQueries { x: of_queries, query } = queries_backward(layer, x, d.q)?;
    d_x += of_queries;
    let o_proj = linear_gradients(o_proj, &found, dy)?;
    Ok(LatentGradients { x: d_x, query, kv_a_proj, kv_a_layernorm, kv_b_proj, o_proj })
}

/// One head on its way back.
struct One<'a> {
    layer: &'a LatentAttention,
    q: &'a Queries,
    /// (tokens, `lora_rank` + `rope_dim`).
    kept: &'a DMatrix<f32>,
    /// (tokens, `lora_rank`): the latents alone.
    c: &'a DMatrix<f32>,
    weights: &'a DMatrix<f32>,
    h: usize,
}

/// Gradients of one head.
struct OfHead {
    /// (tokens, `nope_dim` + `rope_dim`).
    q: DMatrix<f32>,
    /// (tokens, `lora_rank` + `rope_dim`): its share in what was kept.
    kept: DMatrix<f32>,
    /// (`lora_rank`, `nope_dim` + `v_dim`): of its columns of `kv_b_proj`.
    up: DMatrix<f32>,
    /// `nope_dim` + `v_dim` entries, of its bias.
    up_bias: DVector<f32>,
}

impl One<'_> {
    /// Keys and values were made, so gradients of keys and values come back, and go on to
    /// the latent that they were made from.
    fn naive(&self, d_found: DMatrixView<f32>) -> Result<OfHead, ShapeError> {
        let Sizes { nope_dim, rope_dim, v_dim, .. } = self.layer.sizes();
        let (k_up, v_up) = (self.up_of_keys()?, self.up_of_values()?);
        let (nope, v) = (k_up.forward(self.c)?, v_up.forward(self.c)?);
        let r = self.kept.columns(self.rank(), rope_dim);
        let (q, k) = (self.queries(), beside(nope.as_view(), r));
        let qkv = [q.as_view(), k.as_view(), v.as_view()];
        let AttendGradients { q: d_q, k: d_k, v: d_v } =
            attend_backward(qkv, self.weights, d_found)?;
        let d_nope = d_k.columns(0, nope_dim).into_owned();
        let mut d_c = linear_input(&k_up, &d_nope)?;
        d_c += linear_input(&v_up, &d_v)?;
        let [of_k, of_v] = [
            linear_gradients(&k_up, self.c, &d_nope)?.weight,
            linear_gradients(&v_up, self.c, &d_v)?.weight,
        ];
        let mut up_bias = DVector::zeros(nope_dim + v_dim);
        up_bias.rows_mut(0, nope_dim).copy_from(&d_nope.row_sum_tr());
        up_bias.rows_mut(nope_dim, v_dim).copy_from(&d_v.row_sum_tr());
        Ok(OfHead {
            q: d_q,
            kept: beside(d_c.as_view(), d_k.columns(nope_dim, rope_dim)),
            up: beside(of_k.as_view(), of_v.as_view()),
            up_bias,
        })
    }

    /// The query was brought to the latents, `a = [q W_UKᵀ | q_r]`, and the mean of latents
    /// was raised to a mean of values, `o = (A c) W_UV`: each of these products goes back
    /// by itself, and no gradient of a key or value is made.
    fn absorbed(&self, d_found: DMatrixView<f32>) -> Result<OfHead, ShapeError> {
        let Sizes { nope_dim, rope_dim, v_dim, .. } = self.layer.sizes();
        let (k_up, v_up) = (self.up_of_keys()?, self.up_of_values()?);
        let scale = 1.0 / ((nope_dim + rope_dim) as f32).sqrt();
        let q = self.queries();
        let (q_nope, q_rope) = (q.columns(0, nope_dim), q.columns(nope_dim, rope_dim));
        let asked = q_nope * transposed(k_up.weight().as_view());
        let asks = beside(asked.as_view(), q_rope);
        let latents = self.weights * self.c;

        let d_found = d_found.into_owned();
        let d_latents = linear_input(&v_up, &d_found)?;
        let of_v = transposed_times(&latents, d_found.as_view());
        let d_weights = &d_latents * transposed(self.c.as_view());
        let d_scores = softmax_backward(self.weights, d_weights) * scale;
        let d_asks = &d_scores * self.kept;
        let mut d_kept = transposed_times(&d_scores, asks.as_view());
        let mut d_c = d_kept.columns_mut(0, self.rank());
        d_c += transposed_times(self.weights, d_latents.as_view());

        let d_asked = d_asks.columns(0, self.rank()).into_owned();
        let d_nope = &d_asked * k_up.weight();
        let of_k = transposed_times(&d_asked, q_nope);
        // A bias of W_UK moves all scores of a query alike, so its gradient is 0. One of
        // W_UV comes with the sum of a query's weights.
        let mut up_bias = DVector::zeros(nope_dim + v_dim);
        let sums = self.weights.column_sum();
        up_bias.rows_mut(nope_dim, v_dim).copy_from(&d_found.tr_mul(&sums));
        Ok(OfHead {
            q: beside(d_nope.as_view(), d_asks.columns(self.rank(), rope_dim)),
            kept: d_kept,
            up: beside(of_k.as_view(), of_v.as_view()),
            up_bias,
        })
    }

    fn rank(&self) -> usize {
        self.layer.lora_rank()
    }

    /// (tokens, `nope_dim` + `rope_dim`).
    fn queries(&self) -> DMatrix<f32> {
        let Sizes { nope_dim, rope_dim, .. } = self.layer.sizes();
        let nope = self.q.nope.columns(self.h * nope_dim, nope_dim);
        beside(nope, self.q.rope.columns(self.h * rope_dim, rope_dim))
    }

    fn up_of_keys(&self) -> Result<Linear, ShapeError> {
        columns_of(self.layer.learned().k_up, self.h, self.layer.sizes().nope_dim)
    }

    fn up_of_values(&self) -> Result<Linear, ShapeError> {
        columns_of(self.layer.learned().v_up, self.h, self.layer.sizes().v_dim)
    }
}

/// The columns of `all` that belong to head `h`, if a head has `width` of them.
fn columns_of(all: &Linear, h: usize, width: usize) -> Result<Linear, ShapeError> {
    let bias = all.bias().map(|bias| bias.rows(h * width, width).into_owned());
    Linear::new(all.weight().columns(h * width, width).into_owned(), bias)
}

fn beside(left: DMatrixView<f32>, right: DMatrixView<f32>) -> DMatrix<f32> {
    let mut both = DMatrix::zeros(left.nrows(), left.ncols() + right.ncols());
    both.columns_mut(0, left.ncols()).copy_from(&left);
    both.columns_mut(left.ncols(), right.ncols()).copy_from(&right);
    both
}

/// Gradients of all heads. What was kept is shared, so its gradients are summed.
struct Together {
    q: Queries,
    kept: DMatrix<f32>,
    up: DMatrix<f32>,
    up_bias: DVector<f32>,
}

impl Together {
    fn new(layer: &LatentAttention, tokens: usize) -> Self {
        let Sizes { heads, nope_dim, rope_dim, v_dim } = layer.sizes();
        let wide = heads * (nope_dim + v_dim);
        Together {
            q: Queries {
                nope: DMatrix::zeros(tokens, heads * nope_dim),
                rope: DMatrix::zeros(tokens, heads * rope_dim),
            },
            kept: DMatrix::zeros(tokens, layer.kept_width()),
            up: DMatrix::zeros(layer.lora_rank(), wide),
            up_bias: DVector::zeros(wide),
        }
    }

    fn add(&mut self, sizes: Sizes, h: usize, of_head: &OfHead) {
        let Sizes { nope_dim, rope_dim, v_dim, .. } = sizes;
        let (nope, rope) = (0, nope_dim);
        let into = &mut self.q;
        into.nope
            .columns_mut(h * nope_dim, nope_dim)
            .copy_from(&of_head.q.columns(nope, nope_dim));
        into.rope
            .columns_mut(h * rope_dim, rope_dim)
            .copy_from(&of_head.q.columns(rope, rope_dim));
        self.kept += &of_head.kept;
        let width = nope_dim + v_dim;
        self.up.columns_mut(h * width, width).copy_from(&of_head.up);
        self.up_bias.rows_mut(h * width, width).copy_from(&of_head.up_bias);
    }
}

/// Gradients on the way from what was kept to the tokens.
struct ToLatent {
    x: DMatrix<f32>,
    kv_a_proj: LinearGradients,
    kv_a_layernorm: DVector<f32>,
}

/// The way back through [`LatentAttention::compress`].
fn compress_backward(
    layer: &LatentAttention,
    x: &DMatrix<f32>,
    d_kept: &DMatrix<f32>,
) -> Result<ToLatent, ShapeError> {
    let Learned { kv_a_proj, kv_a_layernorm, rotary, .. } = layer.learned();
    let (rank, rope_dim) = (layer.lora_rank(), layer.sizes().rope_dim);
    let before = kv_a_proj.forward(x)?.columns(0, rank).into_owned();
    let d_c = d_kept.columns(0, rank).into_owned();
    let NormGradients { x: d_c, gain, .. } =
        norm_backward(&as_head_norm(kv_a_layernorm), &before, &d_c)?;
    let mut d_r = d_kept.columns(rank, rope_dim).into_owned();
    rotation_backward(&rotary.angles(0..x.nrows()), &mut d_r)?;
    let d_both = beside(d_c.as_view(), d_r.as_view());
    Ok(ToLatent {
        x: linear_input(kv_a_proj, &d_both)?,
        kv_a_proj: linear_gradients(kv_a_proj, x, &d_both)?,
        kv_a_layernorm: gain,
    })
}

/// Chapter 7's norm as chapter 11's.
fn as_head_norm(norm: &RmsNorm) -> HeadNorm {
    let gain = DVector::from_column_slice(norm.gain());
    HeadNorm::new(gain, norm.width(), Centering::None, RmsNorm::EPS)
}

/// Gradients on the way from queries to tokens.
struct ToQueries {
    x: DMatrix<f32>,
    query: QueryGradients,
}

/// The way back through [`LatentAttention::queries`].
fn queries_backward(
    layer: &LatentAttention,
    x: &DMatrix<f32>,
    d: Queries,
) -> Result<ToQueries, ShapeError> {
    let Queries { mut nope, mut rope } = d;
    for row in 0..x.nrows() {
        let factor = layer.sharpness_at(row);
        nope.row_mut(row).scale_mut(factor);
        rope.row_mut(row).scale_mut(factor);
    }
    let Learned { query, rotary, .. } = layer.learned();
    rotation_backward(&rotary.angles(0..x.nrows()), &mut rope)?;
    let d_all = head_by_head(layer.sizes(), &nope, &rope);
    match query {
        QueryProjection::Full(q_proj) => Ok(ToQueries {
            x: linear_input(q_proj, &d_all)?,
            query: QueryGradients::Full(linear_gradients(q_proj, x, &d_all)?),
        }),
        QueryProjection::LowRank { q_a_proj, q_a_layernorm, q_b_proj } => {
            let before = q_a_proj.forward(x)?;
            let latent = q_a_layernorm.forward(&before)?;
            let d_latent = linear_input(q_b_proj, &d_all)?;
            let norm = as_head_norm(q_a_layernorm);
            let normed = norm_backward(&norm, &before, &d_latent)?;
            Ok(ToQueries {
                x: linear_input(q_a_proj, &normed.x)?,
                query: QueryGradients::LowRank {
                    q_a_proj: linear_gradients(q_a_proj, x, &normed.x)?,
                    q_a_layernorm: normed.gain,
                    q_b_proj: linear_gradients(q_b_proj, &latent, &d_all)?,
                },
            })
        }
    }
}

/// The two parts of all queries as the projection gave them: head by head, both parts.
fn head_by_head(
    sizes: Sizes,
    nope: &DMatrix<f32>,
    rope: &DMatrix<f32>,
) -> DMatrix<f32> {
    let Sizes { heads, nope_dim, rope_dim, .. } = sizes;
    let width = nope_dim + rope_dim;
    let mut all = DMatrix::zeros(nope.nrows(), heads * width);
    for h in 0..heads {
        let (from, to) = (h * nope_dim, h * width);
        all.columns_mut(to, nope_dim).copy_from(&nope.columns(from, nope_dim));
        let (from, to) = (h * rope_dim, h * width + nope_dim);
        all.columns_mut(to, rope_dim).copy_from(&rope.columns(from, rope_dim));
    }
    all
}
