//! What the chapter counts and measures: the data behind its figures and numbers.

use crate::alignment::{Freedom, turn_heads, turns, with_bias};
use crate::{MultiQueryAttention, attend_shared, mean_of_heads};
use anyhow::{Context, Result};
use attention::{Linear, Mask};
use chapter_cli::{LinearTensors, Recorded};
use minilm::Layer;
use multi_head::{Heads, attend_heads};
use nalgebra::{DMatrix, DVector};

/// Shazeer's setting: heads share out the width, `head_dim` = `model_dim` / heads, and
/// `tokens` are written one after the other, in `batch` sequences at once.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Width of a token, d.
    pub model_dim: u64,
    /// Query heads, H (the paper's h).
    pub heads: u64,
    /// Tokens that are written, n.
    pub tokens: u64,
    /// Sequences that share one reading of the weights, b.
    pub batch: u64,
}

/// d = 1,024 and H = 8, as in the paper's models.
#[must_use]
pub fn paper(tokens: u64, batch: u64) -> Setting {
    Setting { model_dim: 1024, heads: 8, tokens, batch }
}

/// Memory access over arithmetic in multi-head decoding, n/d + 1/b, with the constants
/// left out (Shazeer 2019, §2.4.1).
#[must_use]
pub fn multi_head_ratio(s: Setting) -> f64 {
    s.tokens as f64 / s.model_dim as f64 + 1.0 / s.batch as f64
}

/// The same in multi-query decoding, 1/d + n/(d H) + 1/b (Shazeer 2019, §3.1).
#[must_use]
pub fn multi_query_ratio(s: Setting) -> f64 {
    let d = s.model_dim as f64;
    1.0 / d + s.tokens as f64 / (d * s.heads as f64) + 1.0 / s.batch as f64
}

/// What it takes to write all tokens of a [`Setting`] through one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// Multiplications, each with its addition.
    pub multiply_adds: u64,
    /// Numbers that are read or written, each once in a step.
    pub numbers: u64,
}

impl Work {
    /// Numbers moved for each multiply-add.
    #[must_use]
    pub fn ratio(self) -> f64 {
        self.numbers as f64 / self.multiply_adds as f64
    }
}

/// Multi-head decoding counted in full, constants included.
#[must_use]
pub fn multi_head_work(s: Setting) -> Work {
    count(s, s.heads)
}

/// Multi-query decoding counted in full, constants included.
#[must_use]
pub fn multi_query_work(s: Setting) -> Work {
    count(s, 1)
}

/// Step t reads the weights once for the whole batch; each sequence has its vectors x, q,
/// o and y of width d, its new key and value, and t keys and values to look at.
fn count(
    Setting { model_dim: d, heads, tokens: n, batch: b }: Setting,
    kv: u64,
) -> Work {
    let kv_width = d / heads * kv;
    let weights = 2 * d * d + 2 * d * kv_width;
    let looked_at = n * (n + 1) / 2;
    Work {
        multiply_adds: b * (n * weights + 2 * d * looked_at),
        numbers: n * weights
            + b * (n * (4 * d + 2 * kv_width) + 2 * kv_width * looked_at),
    }
}

/// The shape of one of the paper's models: where its parameters are.
#[derive(Debug, Clone, Copy)]
pub struct Transformer {
    /// Width of a token.
    pub model_dim: u64,
    /// Heads of each attention layer.
    pub heads: u64,
    /// Width of a head.
    pub head_dim: u64,
    /// Attention layers, those that look at another sequence included.
    pub attention_layers: u64,
    /// Feed-forward layers.
    pub feed_forward_layers: u64,
    /// Hidden width of a feed-forward layer.
    pub d_ff: u64,
}

/// The translation model (Shazeer 2019, §4.1): six layers that read, with one attention
/// each, and six that write, with two.
pub const TRANSLATION: Transformer = Transformer {
    model_dim: 1024,
    heads: 8,
    head_dim: 128,
    attention_layers: 6 + 2 * 6,
    feed_forward_layers: 6 + 6,
    d_ff: 4096,
};

/// The language model (Shazeer 2019, §4.1): six layers with one attention each.
pub const LANGUAGE_MODEL: Transformer = Transformer {
    attention_layers: 6,
    feed_forward_layers: 6,
    d_ff: 8192,
    ..TRANSLATION
};

/// Parameters of a multi-head layer without biases: queries, keys, values and output.
#[must_use]
pub fn multi_head_parameters(model_dim: u64, heads: u64, head_dim: u64) -> u64 {
    4 * model_dim * heads * head_dim
}

/// Parameters of a multi-query layer without biases: one key and one value.
#[must_use]
pub fn multi_query_parameters(model_dim: u64, heads: u64, head_dim: u64) -> u64 {
    2 * model_dim * heads * head_dim + 2 * model_dim * head_dim
}

/// The hidden width that keeps the parameters of `model` when each attention layer has
/// `attention` of them instead: a feed-forward layer has 2 · `model_dim` for each unit of
/// its hidden width.
///
/// # Errors
/// When no whole width does it.
pub fn matching_d_ff(model: &Transformer, attention: u64) -> Result<u64> {
    let Transformer { model_dim, heads, head_dim, .. } = *model;
    let before = multi_head_parameters(model_dim, heads, head_dim);
    let freed = before.checked_sub(attention).context("nothing is freed")?;
    let freed = model.attention_layers * freed;
    let a_unit = model.feed_forward_layers * 2 * model_dim;
    anyhow::ensure!(freed.is_multiple_of(a_unit), "{freed} is no multiple of {a_unit}");
    Ok(model.d_ff + freed / a_unit)
}

/// Bytes that one token leaves in the caches of all layers.
#[must_use]
pub fn cache_bytes(layers: u64, kv_heads: u64, head_dim: u64, number: u64) -> u64 {
    2 * layers * kv_heads * head_dim * number
}

/// The layer of the benchmark: query heads, and the width of each.
pub const BENCH_HEADS: usize = 32;
/// See [`BENCH_HEADS`].
pub const BENCH_HEAD_DIM: usize = 128;
/// Cached tokens over which the benchmark decodes one more.
pub const BENCH_TOKENS: [usize; 6] = [256, 512, 1024, 2048, 4096, 8192];

/// What the heads of a layer are made to share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shared {
    /// One mean key for all heads; values stay apart.
    Keys,
    /// One mean value for all heads; keys stay apart.
    Values,
    /// Both: multi-query attention.
    Both,
}

/// What the heads of a layer of MiniLM find in its sentence.
///
/// # Errors
/// When the layer's tensors do not fit one another.
pub fn own_keys(layer: &Layer) -> Result<Heads> {
    let [q, k, v] = projected(layer)?;
    Ok(attend_heads(&q, &k, &v, layer.heads, &Mask::None)?)
}

/// The same when they share a mean-pooled key, value, or both.
///
/// # Errors
/// When the layer's tensors do not fit one another.
pub fn shared(layer: &Layer, what: Shared) -> Result<Heads> {
    let [q, k, v] = projected(layer)?;
    let one_k = pooled(&layer.k_proj, layer.heads)?.forward(&layer.x)?;
    let one_v = pooled(&layer.v_proj, layer.heads)?.forward(&layer.x)?;
    let (heads, mask) = (layer.heads, &Mask::None);
    Ok(match what {
        Shared::Keys => attend_heads(&q, &repeated(&one_k, heads), &v, heads, mask)?,
        Shared::Values => attend_heads(&q, &k, &repeated(&one_v, heads), heads, mask)?,
        Shared::Both => {
            attend_shared(&q, one_k.as_view(), one_v.as_view(), heads, mask)?
        }
    })
}

/// [`Shared::Both`] after the heads were turned toward one another, keys with their
/// queries and values with what is made of them: what each head finds is turned back, so
/// that it can be compared.
///
/// # Errors
/// When the layer's tensors do not fit one another.
pub fn shared_and_aligned(layer: &Layer) -> Result<Heads> {
    let [q, k, v] = projected(layer)?;
    let of = |projection: &LinearTensors| -> Result<Vec<DMatrix<f32>>> {
        Ok(turns(&with_bias(&linear(projection)?), layer.heads, Freedom::Any)?)
    };
    let (key_turns, value_turns) = (of(&layer.k_proj)?, of(&layer.v_proj)?);
    let q = turn_heads(&q, &key_turns)?;
    let one_k = mean_of_heads(&turn_heads(&k, &key_turns)?, layer.heads)?;
    let one_v = mean_of_heads(&turn_heads(&v, &value_turns)?, layer.heads)?;
    let (one_k, one_v) = (one_k.as_view(), one_v.as_view());
    let found = attend_shared(&q, one_k, one_v, layer.heads, &Mask::None)?;
    let back: Vec<_> = value_turns.iter().map(DMatrix::transpose).collect();
    Ok(Heads { context: turn_heads(&found.context, &back)?, ..found })
}

/// [`Shared::Both`] with the mean key and value made `factor` times as long.
///
/// # Errors
/// When the layer's tensors do not fit one another.
pub fn shared_and_stretched(layer: &Layer, factor: f32) -> Result<Heads> {
    let [q, ..] = projected(layer)?;
    let mean = |projection| -> Result<DMatrix<f32>> {
        Ok(pooled(projection, layer.heads)?.forward(&layer.x)? * factor)
    };
    let (k, v) = (mean(&layer.k_proj)?, mean(&layer.v_proj)?);
    Ok(attend_shared(&q, k.as_view(), v.as_view(), layer.heads, &Mask::None)?)
}

/// A layer of MiniLM, forced into multi-query attention: its twelve key heads and its
/// twelve value heads replaced by their means.
///
/// # Errors
/// When the layer's tensors do not fit one another.
pub fn converted(layer: &Layer) -> Result<MultiQueryAttention> {
    Ok(MultiQueryAttention::new(
        linear(&layer.q_proj)?,
        pooled(&layer.k_proj, layer.heads)?,
        pooled(&layer.v_proj, layer.heads)?,
        linear(&layer.o_proj)?,
        layer.heads,
    )?)
}

fn projected(layer: &Layer) -> Result<[DMatrix<f32>; 3]> {
    let run = |projection| anyhow::Ok(linear(projection)?.forward(&layer.x)?);
    Ok([run(&layer.q_proj)?, run(&layer.k_proj)?, run(&layer.v_proj)?])
}

fn linear(LinearTensors { weight, bias }: &LinearTensors) -> Result<Linear> {
    Ok(Linear::new(weight.clone(), bias.clone())?)
}

fn pooled(
    LinearTensors { weight, bias }: &LinearTensors,
    heads: usize,
) -> Result<Linear> {
    let of_bias = |bias: &DVector<f32>| -> Result<DVector<f32>> {
        let row = DMatrix::from_row_slice(1, bias.len(), bias.as_slice());
        Ok(DVector::from_column_slice(mean_of_heads(&row, heads)?.as_slice()))
    };
    let bias = bias.as_ref().map(of_bias).transpose()?;
    Ok(Linear::new(mean_of_heads(weight, heads)?, bias)?)
}

/// `heads` copies of `one` side by side.
#[must_use]
pub fn repeated(one: &DMatrix<f32>, heads: usize) -> DMatrix<f32> {
    let (rows, width) = one.shape();
    let mut all = DMatrix::zeros(rows, heads * width);
    for h in 0..heads {
        all.columns_mut(h * width, width).copy_from(one);
    }
    all
}

/// How far `found` is from `wanted`, as a share of the size of `wanted`: the root of the
/// sum of squares of the differences, over that of `wanted`.
#[must_use]
pub fn relative_error(found: &DMatrix<f32>, wanted: &DMatrix<f32>) -> f32 {
    (found - wanted).norm() / wanted.norm()
}

/// How far the heads' outputs move in one layer, by what they share.
#[derive(Debug, Clone, Copy)]
pub struct Loss {
    /// With one mean key.
    pub keys: f32,
    /// With one mean value.
    pub values: f32,
    /// With both.
    pub both: f32,
    /// With both, after the heads were turned toward one another.
    pub aligned: f32,
}

/// [`Loss`] for each of MiniLM's six layers.
///
/// # Errors
/// When the model's slices cannot be read.
pub fn losses() -> Result<Vec<Loss>> {
    let loss = |layer| -> Result<Loss> {
        let layer = Layer::load(layer)?;
        let own = own_keys(&layer)?.context;
        let error = |what| -> Result<f32> {
            Ok(relative_error(&shared(&layer, what)?.context, &own))
        };
        Ok(Loss {
            keys: error(Shared::Keys)?,
            values: error(Shared::Values)?,
            both: error(Shared::Both)?,
            aligned: relative_error(&shared_and_aligned(&layer)?.context, &own),
        })
    };
    (0..6).map(loss).collect()
}

/// The size of the mean of a projection's heads, as a share of the size of a head (root
/// mean square over the heads): 1 when all are equal, 1/√heads when they are at right
/// angles to one another, as unrelated ones nearly are.
///
/// # Errors
/// When the heads do not divide the width.
pub fn size_of_the_mean(all: &DMatrix<f32>, heads: usize) -> Result<f32> {
    let of_a_head = all.norm() / (heads as f32).sqrt();
    Ok(mean_of_heads(all, heads)?.norm() / of_a_head)
}

/// The row of `it` in each head of layer 3, (heads, tokens), with keys of their own and
/// with the shared one.
pub struct ItRows {
    /// The tokens that are looked at.
    pub tokens: Vec<String>,
    /// As the model is.
    pub own: DMatrix<f32>,
    /// After sharing.
    pub shared: DMatrix<f32>,
}

/// See [`ItRows`].
///
/// # Errors
/// When the model's slice cannot be read.
pub fn it_rows() -> Result<ItRows> {
    let layer = Layer::load(3)?;
    let it = layer.position("it")?;
    let own = rows_of(&own_keys(&layer)?, it);
    let shared = rows_of(&shared(&layer, Shared::Both)?, it);
    Ok(ItRows { own, shared, tokens: layer.tokens })
}

/// Where the token at `place` looks in each head, (heads, tokens).
#[must_use]
pub fn rows_of(heads: &Heads, place: usize) -> DMatrix<f32> {
    let tokens = heads.weights.first().map_or(0, DMatrix::ncols);
    DMatrix::from_fn(heads.weights.len(), tokens, |h, token| {
        heads.weights[h][(place, token)]
    })
}

/// How much the heads differ in where they look: half the mean over all pairs of rows of
/// the summed differences. 0 when all look alike, 1 when no two look at the same token.
#[must_use]
pub fn disagreement(rows: &DMatrix<f32>) -> f32 {
    let mut sum = 0.0;
    let mut pairs = 0.0;
    for a in 0..rows.nrows() {
        for b in 0..a {
            sum += (rows.row(a) - rows.row(b)).abs().sum() / 2.0;
            pairs += 1.0;
        }
    }
    sum / pairs
}

/// What `cargo bench -p multi-query -- --record` wrote down last.
///
/// # Errors
/// When the recording cannot be read.
pub fn recorded() -> Result<Recorded> {
    Recorded::parse(include_str!("../benches/recorded.csv"))
        .context("chapters/04-multi-query/benches/recorded.csv")
}
