//! What the chapter measures: the data behind its figures and numbers.

use crate::alignment::{Turns, turned, turns_of_groups};
use crate::{GroupError, GroupedQueryAttention, Groups, Pool, Pooling, attend_groups};
use anyhow::{Context, Result};
use attention::{Linear, Mask, attend};
use chapter_cli::{LinearTensors, Recorded};
use minilm::Layer;
use minilm::smollm2::{Sentence, Turned};
use multi_head::{Heads, Projected};
use multi_query::alignment::{Freedom, turn_heads, with_bias};
use nalgebra::DMatrix;
use std::sync::OnceLock;

/// Heads of each layer of MiniLM.
pub const HEADS: usize = 12;

/// Layers of MiniLM.
pub const LAYERS: usize = 6;

/// Every number of key/value heads that twelve heads can share, from all to one.
pub const KV_HEADS: [usize; 6] = [12, 6, 4, 3, 2, 1];

/// Where a group can start from, with the name that the tables use.
pub const METHODS: [(&str, Pooling); 3] = [
    ("mean", Pooling::Mean),
    ("first", Pooling::First),
    ("random", Pooling::Random { seed: 5 }),
];

/// The four projections of a layer of MiniLM.
///
/// # Errors
/// When a bias does not fit its weight.
pub fn projections(layer: &Layer) -> Result<[Linear; 4]> {
    let linear = |LinearTensors { weight, bias }: &LinearTensors| {
        Linear::new(weight.clone(), bias.clone())
    };
    let Layer { q_proj, k_proj, v_proj, o_proj, .. } = layer;
    Ok([linear(q_proj)?, linear(k_proj)?, linear(v_proj)?, linear(o_proj)?])
}

/// A layer of MiniLM, counted from 0, with its heads in groups.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn grouped(
    layer: &Layer,
    kv_heads: usize,
    pooling: Pooling,
) -> Result<GroupedQueryAttention> {
    let all = projections(layer)?;
    Ok(GroupedQueryAttention::from_multi_head(all, layer.heads, kv_heads, pooling)?)
}

/// What the heads of `layer` make of `x`, before the output projection mixes them.
///
/// # Errors
/// When `x` does not fit the layer.
pub fn heads_of(
    layer: &GroupedQueryAttention,
    x: &DMatrix<f32>,
) -> Result<Heads, GroupError> {
    let Projected { q, k, v } = layer.project(x, x)?;
    Ok(attend_groups(&q, k.as_view(), v.as_view(), layer.groups(), &Mask::None)?)
}

/// The query and key/value heads of `SmolLM2`.
pub const SMOLLM2: (usize, usize) = (9, 3);

/// Where the heads of `SmolLM2`'s layer 13 look in *the animal did not cross the street
/// because it was too tired*, and the tokens of it.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn trained_in_groups() -> Result<(Vec<String>, Heads)> {
    let Turned { tokens, q, k, v } = Turned::load(Sentence::Tired)?;
    let groups = Groups::new(SMOLLM2.0, SMOLLM2.1)?;
    let causal = Mask::Causal { offset: 0 };
    Ok((tokens, attend_groups(&q, k.as_view(), v.as_view(), groups, &causal)?))
}

/// How far what those heads find moves, as a share of its length, when their three kv heads
/// become one: the mean of them, or the first.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn groups_merged(pooling: Pooling) -> Result<f32> {
    let Turned { q, k, v, .. } = Turned::load(Sentence::Tired)?;
    let groups = Groups::new(SMOLLM2.0, 1)?;
    // One for all is what three heads that share among themselves have.
    let mut pool = Pool::new(Groups::new(SMOLLM2.1, 1)?, pooling);
    let k = pool.linear("k", &Linear::new(k, None)?)?.weight().clone();
    let v = pool.linear("v", &Linear::new(v, None)?)?.weight().clone();
    let causal = Mask::Causal { offset: 0 };
    let merged = attend_groups(&q, k.as_view(), v.as_view(), groups, &causal)?;
    Ok(relative_error(&merged.context, &trained_in_groups()?.1.context))
}

/// How far `found` is from `expected`, as a share of the length of `expected`. All zeros
/// are off by 1.
#[must_use]
pub fn relative_error(found: &DMatrix<f32>, expected: &DMatrix<f32>) -> f32 {
    (found - expected).norm() / expected.norm()
}

/// The relative error of the heads' output when a layer of MiniLM, counted from 0, is
/// converted.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn conversion_error(
    layer: usize,
    kv_heads: usize,
    pooling: Pooling,
) -> Result<f32> {
    let layer = Layer::load(layer)?;
    let expected = heads_of(&grouped(&layer, layer.heads, Pooling::Mean)?, &layer.x)?;
    let found = heads_of(&grouped(&layer, kv_heads, pooling)?, &layer.x)?;
    Ok(relative_error(&found.context, &expected.context))
}

/// The relative error of the heads' output when `layer` is converted to means, after its
/// heads were turned toward the mean of their group; `keys` says how keys may turn.
///
/// # Errors
/// When `kv_heads` does not divide the heads of the layer.
pub fn aligned_error(layer: &Layer, kv_heads: usize, keys: Freedom) -> Result<f32> {
    let groups = Groups::new(layer.heads, kv_heads)?;
    let whole = grouped(layer, layer.heads, Pooling::Mean)?;
    let values = turns_of_groups(&with_bias(&whole.v_proj), groups, Freedom::Any)?;
    turned_error(layer, groups, keys, values)
}

/// The same with turns of values that are known.
fn turned_error(
    layer: &Layer,
    groups: Groups,
    keys: Freedom,
    values: Vec<DMatrix<f32>>,
) -> Result<f32> {
    let projections = projections(layer)?;
    let keys = turns_of_groups(&with_bias(&projections[1]), groups, keys)?;
    let turned = turned(projections, &Turns { keys, values })?;
    let heads = |kv_heads| -> Result<DMatrix<f32>> {
        let (projections, heads) = (turned.clone(), layer.heads);
        let pooled = GroupedQueryAttention::from_multi_head(
            projections,
            heads,
            kv_heads,
            Pooling::Mean,
        )?;
        Ok(heads_of(&pooled, &layer.x)?.context)
    };
    Ok(relative_error(&heads(groups.kv_heads())?, &heads(layer.heads)?))
}

/// What conversion costs on average over MiniLM's layers, on its text of 512 tokens.
#[derive(Debug, Clone, Copy)]
pub struct Aligned {
    /// With so many key/value heads.
    pub kv_heads: usize,
    /// With the mean of the heads as they are.
    pub mean: f32,
    /// With the values turned toward one another first.
    pub values: f32,
    /// The same, and the keys turned as far as rotary pairs leave room.
    pub pairs: f32,
    /// With keys and values turned in any way.
    pub all: f32,
}

/// [`Aligned`] for each number of key/value heads below all of them, computed once.
///
/// # Errors
/// When the model's slices cannot be read.
pub fn aligned() -> Result<&'static [Aligned]> {
    static ALL: OnceLock<Result<Vec<Aligned>, String>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        let all: Result<Vec<_>> =
            KV_HEADS[1..].iter().map(|&g| aligned_at(g)).collect();
        all.map_err(|error| format!("{error:#}"))
    });
    all.as_deref().map_err(|error| anyhow::anyhow!("{error}"))
}

fn aligned_at(kv_heads: usize) -> Result<Aligned> {
    let groups = Groups::new(HEADS, kv_heads)?;
    let mut sum = [0.0; 4];
    for layer in 0..LAYERS {
        let layer = Layer::with_long_text(layer)?;
        let whole = grouped(&layer, layer.heads, Pooling::Mean)?;
        let expected = heads_of(&whole, &layer.x)?.context;
        let mean = heads_of(&grouped(&layer, kv_heads, Pooling::Mean)?, &layer.x)?;
        let values = turns_of_groups(&with_bias(&whole.v_proj), groups, Freedom::Any)?;
        let rotary = Freedom::HalfSplit { rotary_dim: layer.head_dim() };
        let aligned = |keys| turned_error(&layer, groups, keys, values.clone());
        let errors = [
            relative_error(&mean.context, &expected),
            aligned(Freedom::Fixed)?,
            aligned(rotary)?,
            aligned(Freedom::Any)?,
        ];
        for (sum, error) in sum.iter_mut().zip(errors) {
            *sum += error / LAYERS as f32;
        }
    }
    let [mean, values, pairs, all] = sum;
    Ok(Aligned { kv_heads, mean, values, pairs, all })
}

/// How alike the features of two neighboring value heads of layer 5 are: the cosine of
/// feature i of head 0 with feature j of head 1, as they are and after both were turned
/// toward one another.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn cosines() -> Result<[DMatrix<f32>; 2]> {
    let layer = Layer::load(5)?;
    let (weight, width) = (&layer.v_proj.weight, layer.head_dim());
    let turns = turns_of_groups(weight, Groups::new(HEADS, 6)?, Freedom::Any)?;
    let turned = turn_heads(weight, &turns)?;
    Ok([weight, &turned].map(|heads| {
        let mut features = heads.columns(0, 2 * width).into_owned();
        features.column_iter_mut().for_each(|mut feature| {
            feature.normalize_mut();
        });
        features.columns(0, width).tr_mul(&features.columns(width, width))
    }))
}

/// The mean of the absolute values on the diagonal, and of all values.
#[must_use]
pub fn likeness(cosines: &DMatrix<f32>) -> [f32; 2] {
    let mean = |numbers: &mut dyn ExactSizeIterator<Item = f32>| {
        let count = numbers.len() as f32;
        numbers.map(f32::abs).sum::<f32>() / count
    };
    let diagonal = cosines.diagonal();
    [mean(&mut diagonal.iter().copied()), mean(&mut cosines.iter().copied())]
}

/// Numbers that one token leaves in the cache of one layer on each of `devices`, among
/// which the key/value heads are divided. Where there are more devices than heads, some
/// hold copies.
#[must_use]
pub fn per_device(kv_heads: usize, head_dim: usize, devices: usize) -> usize {
    2 * kv_heads.div_ceil(devices) * head_dim
}

/// The keys or values of `groups`, each written once for every head that shares it:
/// (tokens, `kv_heads` · width) to (tokens, heads · width).
fn spread(shared: &DMatrix<f32>, groups: Groups) -> DMatrix<f32> {
    let width = shared.ncols() / groups.kv_heads();
    let columns = (0..groups.heads() * width)
        .map(|c| groups.kv_head(c / width) * width + c % width)
        .collect::<Vec<_>>();
    shared.select_columns(&columns)
}

/// The error of mean-pooling layer 5 when the heads of a group have been brought nearer
/// to each other first: `share` 0 makes them equal, 1 leaves them as they are.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn parted(kv_heads: usize, share: f32) -> Result<f32> {
    let layer = Layer::load(5)?;
    let groups = Groups::new(layer.heads, kv_heads)?;
    let whole =
        grouped(&layer, layer.heads, Pooling::Mean)?.project(&layer.x, &layer.x)?;
    let pooled =
        grouped(&layer, kv_heads, Pooling::Mean)?.project(&layer.x, &layer.x)?;
    // A projection is linear, so keys can be moved in place of the weights that make them.
    let moved = |own: &DMatrix<f32>, mean: &DMatrix<f32>| {
        let mean = spread(mean, groups);
        &mean + (own - &mean) * share
    };
    let (k, v) = (moved(&whole.k, &pooled.k), moved(&whole.v, &pooled.v));
    let all = Groups::new(layer.heads, layer.heads)?;
    let q = &whole.q;
    let expected = attend_groups(q, k.as_view(), v.as_view(), all, &Mask::None)?;
    let (k, v) = (pooled.k.as_view(), pooled.v.as_view());
    let found = attend_groups(q, k, v, groups, &Mask::None)?;
    Ok(relative_error(&found.context, &expected.context))
}

/// The errors of layer 5 when only the keys are pooled, and only the values.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn keys_or_values(kv_heads: usize) -> Result<[f32; 2]> {
    let layer = Layer::load(5)?;
    let groups = Groups::new(layer.heads, kv_heads)?;
    let all = Groups::new(layer.heads, layer.heads)?;
    let whole =
        grouped(&layer, layer.heads, Pooling::Mean)?.project(&layer.x, &layer.x)?;
    let pooled =
        grouped(&layer, kv_heads, Pooling::Mean)?.project(&layer.x, &layer.x)?;
    let heads = |k: &DMatrix<f32>, v: &DMatrix<f32>| {
        attend_groups(&whole.q, k.as_view(), v.as_view(), all, &Mask::None)
    };
    let expected = heads(&whole.k, &whole.v)?.context;
    let keys = heads(&spread(&pooled.k, groups), &whole.v)?.context;
    let values = heads(&whole.k, &spread(&pooled.v, groups))?.context;
    Ok([keys, values].map(|found| relative_error(&found, &expected)))
}

/// Two mistakes of conversion on layer 5: queries pooled as well, and heads that take
/// turns pooled together (`h % kv_heads`) where neighbors ask.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn mispooled(kv_heads: usize) -> Result<[f32; 2]> {
    let layer = Layer::load(5)?;
    let groups = Groups::new(layer.heads, kv_heads)?;
    let all = Groups::new(layer.heads, layer.heads)?;
    let whole =
        grouped(&layer, layer.heads, Pooling::Mean)?.project(&layer.x, &layer.x)?;
    let pooled =
        grouped(&layer, kv_heads, Pooling::Mean)?.project(&layer.x, &layer.x)?;
    let heads = |q: &DMatrix<f32>, k: &DMatrix<f32>, v: &DMatrix<f32>, groups| {
        attend_groups(q, k.as_view(), v.as_view(), groups, &Mask::None)
    };
    let expected = heads(&whole.q, &whole.k, &whole.v, all)?.context;

    let identity =
        Linear::new(DMatrix::identity(whole.q.ncols(), whole.q.ncols()), None)?;
    let pooling = Pool::new(groups, Pooling::Mean).linear("q_proj", &identity)?;
    let queries = spread(&pooling.forward(&whole.q)?, groups);
    let queries_too = heads(&queries, &pooled.k, &pooled.v, groups)?.context;

    let [k, v] = [&whole.k, &whole.v].map(|m| in_turns(m, groups));
    let turns = heads(&whole.q, &k, &v, groups)?.context;
    Ok([queries_too, turns].map(|found| relative_error(&found, &expected)))
}

/// The means of the heads that are equal modulo `kv_heads`.
fn in_turns(all: &DMatrix<f32>, groups: Groups) -> DMatrix<f32> {
    let width = all.ncols() / groups.heads();
    let mut means = DMatrix::zeros(all.nrows(), groups.kv_heads() * width);
    for h in 0..groups.heads() {
        let mut mean = means.columns_mut(interleaved(h, groups) * width, width);
        mean += all.columns(h * width, width) / groups.size() as f32;
    }
    means
}

/// The weight that `it` puts on `animal` in layer 3, head 1, after mean-pooling.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn it_animal(kv_heads: usize) -> Result<f32> {
    let layer = Layer::load(3)?;
    let heads = heads_of(&grouped(&layer, kv_heads, Pooling::Mean)?, &layer.x)?;
    Ok(heads.weights[1][(layer.position("it")?, layer.position("animal")?)])
}

/// The mistake: query head `h` asks key/value head `h % kv_heads`.
#[must_use]
pub fn interleaved(head: usize, groups: Groups) -> usize {
    head % groups.kv_heads()
}

/// How many heads the interleaved assignment gives another partner than the right one.
#[must_use]
pub fn wrong_partners(groups: Groups) -> usize {
    let heads = 0..groups.heads();
    heads.filter(|&h| interleaved(h, groups) != groups.kv_head(h)).count()
}

/// The relative error of the heads' output when layer 5, mean-pooled, is run with the
/// interleaved assignment, against the same layer run right.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn interleaved_error(kv_heads: usize) -> Result<f32> {
    let layer = Layer::load(5)?;
    let right = grouped(&layer, kv_heads, Pooling::Mean)?;
    let groups = right.groups();
    let expected = heads_of(&right, &layer.x)?.context;
    let Projected { q, k, v } = right.project(&layer.x, &layer.x)?;
    let width = layer.head_dim();
    let mut found = DMatrix::zeros(expected.nrows(), expected.ncols());
    for h in 0..groups.heads() {
        let g = interleaved(h, groups);
        let part = |m: &DMatrix<f32>, head| m.columns(head * width, width).into_owned();
        let (q, k, v) = (part(&q, h), part(&k, g), part(&v, g));
        let attended = attend(q.as_view(), k.as_view(), v.as_view(), &Mask::None)?;
        found.columns_mut(h * width, width).copy_from(&attended.output);
    }
    Ok(relative_error(&found, &expected))
}

/// A layer as wide as that of Llama-2-7B: 32 heads of 128 on 4,096 features.
pub struct Llama;

impl Llama {
    /// Features of a token.
    pub const MODEL_DIM: usize = 4096;
    /// Query heads.
    pub const HEADS: usize = 32;
    /// Width of a head.
    pub const HEAD_DIM: usize = 128;

    /// Parameters of the four projections with so many key/value heads.
    #[must_use]
    pub fn parameters(kv_heads: usize) -> usize {
        let queries_and_output = 2 * Self::MODEL_DIM * Self::HEADS * Self::HEAD_DIM;
        queries_and_output + 2 * Self::MODEL_DIM * kv_heads * Self::HEAD_DIM
    }

    /// Bytes that one token leaves in the cache of one layer, at two bytes per number.
    #[must_use]
    pub fn cache_bytes(kv_heads: usize) -> usize {
        2 * kv_heads * Self::HEAD_DIM * 2
    }
}

/// Query heads of the token that the benchmark times.
pub const TIMED_HEADS: usize = 32;
/// Width of each.
pub const TIMED_HEAD_DIM: usize = 128;
/// Cached tokens that it looks at.
pub const TIMED_CACHE: usize = 8192;
/// Key/value heads that it is timed with.
pub const TIMED_KV_HEADS: [usize; 6] = [32, 16, 8, 4, 2, 1];

/// What `cargo bench -p grouped-query -- --record` wrote down last.
///
/// # Errors
/// When the recording cannot be read.
pub fn recorded() -> Result<Recorded> {
    Recorded::parse(include_str!("../benches/recorded.csv"))
        .context("chapters/05-grouped-query/benches/recorded.csv")
}
