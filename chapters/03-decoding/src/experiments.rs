//! What the chapter measures: the data behind its figures and numbers.

use crate::{CacheError, KvCache, decode, few, prefill, through_cache};
use anyhow::{Context, Result};
use attention::{Linear, Mask, attend};
use chapter_cli::bench::{MOST_CALLS, timed};
use chapter_cli::{LinearTensors, Recorded, Roof};
use figures::Spread;
use minilm::Layer;
use minilm::models::Model;
use minilm::smollm2::{Sentence, Turned};
use multi_head::{MultiHeadAttention, Projected};
use nalgebra::{DMatrix, DMatrixView, dmatrix};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use std::time::Duration;

/// A matrix of independent standard normal entries.
#[must_use]
pub fn normal(rows: usize, columns: usize, seed: u64) -> DMatrix<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    DMatrix::from_fn(rows, columns, |_, _| StandardNormal.sample(&mut rng))
}

/// A layer of this width with random weights, scaled so that numbers keep their size.
///
/// # Errors
/// When the heads do not divide the width.
pub fn random_layer(model_dim: usize, heads: usize) -> Result<MultiHeadAttention> {
    let scale = 1.0 / (model_dim as f32).sqrt();
    let linear = |seed| Linear::new(normal(model_dim, model_dim, seed) * scale, None);
    let [q, k, v, o] = [linear(1)?, linear(2)?, linear(3)?, linear(4)?];
    Ok(MultiHeadAttention::new(q, k, v, o, heads)?)
}

/// Layer 3 of MiniLM, all heads of it.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn real_layer() -> Result<(Layer, MultiHeadAttention)> {
    let layer = Layer::load(3)?;
    let linear = |t: &LinearTensors| Linear::new(t.weight.clone(), t.bias.clone());
    let [q, k, v] = [&layer.q_proj, &layer.k_proj, &layer.v_proj].map(linear);
    let o = linear(&layer.o_proj)?;
    let heads = MultiHeadAttention::new(q?, k?, v?, o, layer.heads)?;
    Ok((layer, heads))
}

/// How far the output of a layer through the cache, after a prompt of so many tokens, is
/// from one causal pass: the largest difference of any number.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn distance_from_causal(prompt: usize) -> Result<f32> {
    let (Layer { x, .. }, layer) = real_layer()?;
    let whole = layer.forward(&x, &Mask::Causal { offset: 0 })?;
    Ok((through_cache(&layer, &x, prompt)?.output - whole.output).amax())
}

/// MiniLM's sentence in a causal pass that also hides keys `room` or more tokens back, as
/// a cache for `room` tokens does that forgets the oldest: how many of the first outputs
/// are still those of the causal pass, and how far off the farthest number of any is.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn windowed(room: usize) -> Result<(usize, f32)> {
    let (Layer { x, .. }, layer) = real_layer()?;
    let whole = layer.forward(&x, &Mask::Causal { offset: 0 })?.output;
    let near = |i: usize, j: usize| j <= i && i - j < room;
    let allowed = DMatrix::from_fn(x.nrows(), x.nrows(), near);
    let off = layer.forward(&x, &Mask::Allowed(allowed))?.output - whole;
    let same = off.row_iter().take_while(|row| row.amax() < 1e-4).count();
    Ok((same, off.amax()))
}

/// How far the outputs of earlier tokens move when the last of `n` tokens arrives, with
/// a mask that hides the future and without.
pub struct Moved {
    /// Largest change of any number under a causal mask.
    pub causal: f32,
    /// Largest change of any number if every token sees all.
    pub open: f32,
}

/// [`Moved`] for the sentence of MiniLM, cut after `n` tokens.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn moved(n: usize) -> Result<Moved> {
    let (Layer { x, .. }, layer) = real_layer()?;
    let change = |mask: &Mask| -> Result<f32> {
        let before = layer.forward(&x.rows(0, n - 1).into_owned(), mask)?.output;
        let after = layer.forward(&x.rows(0, n).into_owned(), mask)?.output;
        Ok((after.rows(0, n - 1) - before).amax())
    };
    let causal = change(&Mask::Causal { offset: 0 })?;
    Ok(Moved { causal, open: change(&Mask::None)? })
}

/// Three tokens of two features, and a layer with one head and integer weights.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn toy() -> Result<(DMatrix<f32>, MultiHeadAttention)> {
    let x = dmatrix![1.0, 0.0; 0.0, 1.0; 1.0, 1.0];
    let plain = |weight| Linear::new(weight, None);
    let q_proj = plain(dmatrix![1.0, 0.0, 1.0, 0.0; 0.0, 2.0, 0.0, 2.0])?;
    let k_proj = plain(dmatrix![2.0, 0.0, 2.0, 0.0; 2.0, 1.0, 0.0, 1.0])?;
    let v_proj = plain(dmatrix![10.0, 0.0; 0.0, 10.0])?;
    let o_proj = plain(DMatrix::identity(2, 2))?;
    Ok((x, MultiHeadAttention::new(q_proj, k_proj, v_proj, o_proj, 1)?))
}

/// A layer with one head that decodes in a way of its choosing.
pub type Decode =
    fn(&MultiHeadAttention, &DMatrix<f32>, &mut KvCache) -> Result<DMatrix<f32>>;

/// The output for `x`, run through a layer with one head in chunks of these lengths.
///
/// # Errors
/// Those of `decode`.
pub fn in_chunks(
    layer: &MultiHeadAttention,
    x: &DMatrix<f32>,
    chunks: &[usize],
    decode: Decode,
) -> Result<DMatrix<f32>> {
    let (keys, values) = layer.kv_widths();
    let mut cache = KvCache::new(x.nrows(), keys, values);
    let mut output = DMatrix::zeros(x.nrows(), layer.o_proj().shape().1);
    let mut start = 0;
    for &len in chunks {
        let chunk = x.rows(start, len).into_owned();
        let rows = decode(layer, &chunk, &mut cache)?;
        output.rows_mut(start, len).copy_from(&rows);
        start += len;
    }
    Ok(output)
}

/// As it should be.
///
/// # Errors
/// Those of [`prefill`].
pub fn right(
    layer: &MultiHeadAttention,
    x: &DMatrix<f32>,
    cache: &mut KvCache,
) -> Result<DMatrix<f32>> {
    Ok(prefill(layer, x, cache)?.output)
}

/// The mistake of a mask whose offset is 0 in every chunk.
///
/// # Errors
/// When `x` does not fit the layer, or the cache is full.
pub fn offset_forgotten(
    layer: &MultiHeadAttention,
    x: &DMatrix<f32>,
    cache: &mut KvCache,
) -> Result<DMatrix<f32>> {
    let Projected { q, k, v } = layer.project(x, x)?;
    cache.append(&k, &v)?;
    attended(layer, &q, cache, &Mask::Causal { offset: 0 })
}

/// The mistake of a cache that is given its new key when the token has already looked.
///
/// # Errors
/// When `x` does not fit the layer, or the cache is full.
pub fn appended_late(
    layer: &MultiHeadAttention,
    x: &DMatrix<f32>,
    cache: &mut KvCache,
) -> Result<DMatrix<f32>> {
    let Projected { q, k, v } = layer.project(x, x)?;
    let output = attended(layer, &q, cache, &Mask::None)?;
    cache.append(&k, &v)?;
    Ok(output)
}

/// The mistake of leaving the mask out whenever the cache holds something.
///
/// # Errors
/// When `x` does not fit the layer, or the cache is full.
pub fn mask_left_out(
    layer: &MultiHeadAttention,
    x: &DMatrix<f32>,
    cache: &mut KvCache,
) -> Result<DMatrix<f32>> {
    let Projected { q, k, v } = layer.project(x, x)?;
    let mask = if cache.is_empty() { Mask::Causal { offset: 0 } } else { Mask::None };
    cache.append(&k, &v)?;
    attended(layer, &q, cache, &mask)
}

fn attended(
    layer: &MultiHeadAttention,
    q: &DMatrix<f32>,
    cache: &KvCache,
    mask: &Mask,
) -> Result<DMatrix<f32>> {
    let found = attend(q.as_view(), cache.keys(), cache.values(), mask)?;
    Ok(layer.o_proj().forward(&found.output)?)
}

/// The weights of head 1 of MiniLM's layer 3 in a second chunk, which starts at token
/// `start`, under a causal mask with this offset: (tokens of the chunk, tokens).
///
/// # Errors
/// When the model's slice cannot be read.
pub fn second_chunk(start: usize, offset: usize) -> Result<DMatrix<f32>> {
    let (Layer { x, .. }, layer) = real_layer()?;
    let Projected { q, k, v } = layer.project(&x, &x)?;
    let width = q.ncols() / layer.heads();
    let head = |all: &DMatrix<f32>| all.columns(width, width).into_owned();
    let (q, k, v) = (head(&q), head(&k), head(&v));
    let q = q.rows(start, x.nrows() - start);
    let mask = Mask::Causal { offset };
    Ok(attend(q.as_view(), k.as_view(), v.as_view(), &mask)?.weights)
}

/// Keys and values of MiniLM's sentence, all heads, in a cache that fits.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn real_cache() -> Result<KvCache> {
    let (Layer { x, .. }, layer) = real_layer()?;
    let (keys, values) = layer.kv_widths();
    let mut cache = KvCache::new(x.nrows(), keys, values);
    prefill(&layer, &x, &mut cache)?;
    Ok(cache)
}

/// A head of a decoder that has read a sentence, one token at a time.
pub struct Read {
    /// The tokens of the sentence.
    pub tokens: Vec<String>,
    /// Where each of them looked when it came: as many weights as there were tokens.
    pub weights: Vec<DMatrix<f32>>,
    /// What the head has kept.
    pub cache: KvCache,
}

/// Head 8 of `SmolLM2`'s layer 13 reads a sentence. Its keys are those that it shares with
/// heads 6 and 7, and stand in the slice as rotation has left them.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn read(sentence: Sentence) -> Result<Read> {
    const WIDTH: usize = 64;
    let Turned { tokens, q, k, v } = Turned::load(sentence)?;
    let part = |all: &DMatrix<f32>, row, head: usize| {
        all.view((row, head * WIDTH), (1, WIDTH)).into_owned()
    };
    let mut cache = KvCache::new(tokens.len(), WIDTH, WIDTH);
    let mut weights = Vec::new();
    for token in 0..tokens.len() {
        cache.append(&part(&k, token, 2), &part(&v, token, 2))?;
        let query = part(&q, token, 8);
        let found = attend(query.as_view(), cache.keys(), cache.values(), &Mask::None)?;
        weights.push(found.weights);
    }
    Ok(Read { tokens, weights, cache })
}

/// How far what a head keeps of each token differs between two sentences: the largest
/// difference of any number of its key and its value.
#[must_use]
pub fn apart(one: &Read, other: &Read) -> Vec<f32> {
    let rows = one.cache.len().min(other.cache.len());
    let differ = |row: usize| {
        let keys = one.cache.keys().row(row) - other.cache.keys().row(row);
        let values = one.cache.values().row(row) - other.cache.values().row(row);
        keys.amax().max(values.amax())
    };
    (0..rows).map(differ).collect()
}

/// What a cache says that has no room for the second of two tokens, and how many tokens
/// it holds then.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn refused() -> Result<(Option<CacheError>, usize)> {
    let (x, layer) = toy()?;
    let mut cache = KvCache::new(2, 4, 2);
    decode(&layer, &x.rows(0, 1).into_owned(), &mut cache)?;
    let refused = prefill(&layer, &x.rows(1, 2).into_owned(), &mut cache).err();
    Ok((refused, cache.len()))
}

/// Multiply-adds of a layer whose width is that of its heads together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// The four projections.
    pub projections: u64,
    /// Scores and averages.
    pub attention: u64,
}

impl Work {
    /// Of `tokens` that look at `seen` tokens each, with nothing left out.
    #[must_use]
    pub fn of(tokens: u64, seen: u64, model_dim: u64) -> Work {
        Work {
            projections: 4 * tokens * model_dim * model_dim,
            attention: 2 * tokens * seen * model_dim,
        }
    }

    /// All of them.
    #[must_use]
    pub fn total(self) -> u64 {
        self.projections + self.attention
    }
}

/// Width and heads of the layer that the benchmark times.
pub const TIMED: (usize, usize) = (512, 8);
/// Width and heads of the layer for the roofline: its weights are larger than the caches
/// of most processors.
pub const WIDE: (usize, usize) = (2048, 16);
/// Tokens in the cache before a chunk of the roofline arrives.
pub const EARLIER: usize = 1024;

/// The recording of `cargo bench -p decoding -- --record`.
///
/// # Errors
/// When it cannot be read.
pub fn recorded() -> Result<Recorded> {
    Recorded::parse(include_str!("../benches/recorded.csv"))
        .context("chapters/03-decoding")
}

/// What a machine can do at best, and what chunks of a layer do.
pub struct Roofline {
    /// Bytes per second that it reads.
    pub bandwidth: f64,
    /// Operations per second that it does; a multiply-add is two.
    pub peak: f64,
    /// The chunks that were timed.
    pub chunks: Vec<Chunk>,
}

/// A chunk of a layer on a roofline.
pub struct Chunk {
    /// Its tokens.
    pub tokens: usize,
    /// Operations per byte that it reads at least.
    pub operations_per_byte: f64,
    /// Operations per second that it reached.
    pub rate: Spread,
}

impl Roofline {
    /// From the recording.
    ///
    /// # Errors
    /// When the recording does not hold it.
    pub fn recorded() -> Result<Self> {
        let recorded = recorded()?;
        let Roof { bytes_per_second, multiply_adds_per_second } = recorded.roofs()?;
        let reached = |(tokens, time): (usize, Spread)| {
            let operations = 2.0 * chunk(tokens).total() as f64;
            let operations_per_byte = operations / chunk_bytes(tokens);
            let rate = time.map(|ms| operations / ms * 1e3);
            Chunk { tokens, operations_per_byte, rate }
        };
        let chunks = recorded.spreads("chunk").map(reached).collect();
        let (bandwidth, peak) = (bytes_per_second, 2.0 * multiply_adds_per_second);
        Ok(Roofline { bandwidth, peak, chunks })
    }

    /// Operations per second that are possible at so many operations per byte.
    #[must_use]
    pub fn roof(&self, operations_per_byte: f64) -> f64 {
        self.peak.min(self.bandwidth * operations_per_byte)
    }

    /// Operations per byte from which on arithmetic is the limit.
    #[must_use]
    pub fn ridge(&self) -> f64 {
        self.peak / self.bandwidth
    }
}

/// Multiply-adds of a chunk of the roofline.
fn chunk(tokens: usize) -> Work {
    Work::of(tokens as u64, (EARLIER + tokens) as u64, WIDE.0 as u64)
}

/// Bytes that a chunk of the roofline reads at least: each weight and each cached number
/// once.
fn chunk_bytes(tokens: usize) -> f64 {
    4.0 * chunk(1).projections as f64 + 4.0 * chunk_cache(tokens) as f64
}

fn chunk_cache(tokens: usize) -> u64 {
    Work::of(1, (EARLIER + tokens) as u64, WIDE.0 as u64).attention
}

/// The models in which every head has keys and values of its own.
///
/// # Errors
/// When the models cannot be read.
pub fn multi_head_models() -> Result<Vec<Model>> {
    let mut models = minilm::models::all()?;
    models.retain(Model::is_multi_head);
    Ok(models)
}

/// How many kv heads 32 query heads share, where the benchmark times
/// [`attend_few`](crate::attend_few).
pub const SHARED: [usize; 3] = [32, 8, 1];

/// A full cache of random keys and values, each of this width.
///
/// # Errors
/// When the shapes do not fit the cache, or it is full.
pub fn filled(tokens: usize, width: usize) -> Result<KvCache, CacheError> {
    let mut cache = KvCache::new(tokens, width, width);
    cache.append(&normal(tokens, width, 5), &normal(tokens, width, 6))?;
    Ok(cache)
}

/// A full cache of keys and values, each of this width, that takes in one more token each
/// time: what a step of decoding does before it attends.
pub struct Appending {
    cache: KvCache,
    token: DMatrix<f32>,
}

impl Appending {
    /// With so many tokens to begin with, and room for all calls of a benchmark.
    ///
    /// # Errors
    /// When the shapes do not fit the cache.
    pub fn new(tokens: usize, width: usize) -> Result<Self, CacheError> {
        let mut cache = KvCache::new(tokens + MOST_CALLS + ROOM, width, width);
        cache.append(&normal(tokens, width, 5), &normal(tokens, width, 6))?;
        Ok(Appending { cache, token: normal(1, width, 7) })
    }

    /// How long one more token takes.
    ///
    /// # Panics
    /// When a benchmark has made more calls than it can.
    pub fn one(&mut self) -> Duration {
        let token = &self.token;
        timed(|| self.cache.append(token, token).expect("there is room for all calls"))
    }
}

/// Calls of a benchmark that are not timed.
const ROOM: usize = 12;

/// One query `q` (1, `d_k`) over `keys` (keys, `d_k`) and `values` (keys, `d_v`), in products
/// of nalgebra that copy nothing and go down the columns as they lie: `K qᵀ`, then `Vᵀ a`.
/// The best that one would write without vectors and tiles.
#[must_use]
pub fn by_columns(
    q: DMatrixView<f32>,
    keys: DMatrixView<f32>,
    values: DMatrixView<f32>,
) -> DMatrix<f32> {
    let scores = keys * (q.transpose() / (q.ncols() as f32).sqrt());
    values.tr_mul(&few::softmax_of_columns(scores)).transpose()
}

/// Row `i` as a matrix of one token.
#[must_use]
pub fn token(x: &DMatrix<f32>, i: usize) -> DMatrix<f32> {
    x.rows(i, 1).into_owned()
}
