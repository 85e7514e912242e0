//! What the chapter measures: the data behind its figures and numbers.

use crate::{Llama3Scaling, Pairing, Rotary, RotaryAttention, RotaryError, prefill};
use anyhow::{Context, Result, ensure};
use attention::{Linear, Mask, attend};
use chapter_cli::{LinearTensors, Recorded, Tensors};
use decoding::KvCache;
use decoding::experiments::normal;
use grouped_query::experiments::{heads_of, projections, relative_error};
use grouped_query::{GroupError, GroupedQueryAttention, attend_groups};
use half::{bf16, f16};
use minilm::Layer;
use minilm::models::Model;
use minilm::smollm2::{Sentence, Slice};
use multi_head::{Heads, Projected};
use nalgebra::{DMatrix, dmatrix};
use std::collections::BTreeSet;
use std::f64::consts::TAU;
use std::ops::Range;

/// The base of the frequencies in the paper, and in Llama up to Llama 2.
pub const THETA: f64 = 1e4;

/// The base in Llama 3.
pub const THETA_LLAMA_3: f64 = 5e5;

/// Width of Llama's heads.
pub const HEAD_DIM: usize = 128;

/// A Llama's rotation with this base.
///
/// # Errors
/// When the base is no positive number.
pub fn llama(theta: f64) -> Result<Rotary, RotaryError> {
    Rotary::new(HEAD_DIM, theta, Pairing::Halves)
}

/// Llama 3.1's rotation.
///
/// # Errors
/// None that can happen: the numbers are fixed.
pub fn llama_3_1() -> Result<Rotary, RotaryError> {
    llama(THETA_LLAMA_3)?.scaled(Llama3Scaling::LLAMA_3_1)
}

/// Tokens in which each pair goes once around.
#[must_use]
pub fn wavelengths(rotary: &Rotary) -> Vec<f64> {
    rotary.frequencies().iter().map(|&f| TAU / f64::from(f)).collect()
}

/// How many pairs go around at least once within so many tokens.
#[must_use]
pub fn turning_within(rotary: &Rotary, tokens: f64) -> usize {
    wavelengths(rotary).iter().filter(|&&length| length <= tokens).count()
}

/// The base that slows the last pair of a head down by `factor` and leaves the first as it
/// is: NTK-aware scaling (Peng et al. 2023, *`YaRN`*, §3.1).
#[must_use]
pub fn ntk_aware(theta: f64, factor: f64, head_dim: usize) -> f64 {
    let width = head_dim as f64;
    theta * factor.powf(width / (width - 2.0))
}

/// How far the score of two neighbors, a share of what it is at position 0, moves within
/// this many tokens when angles are rounded to f32: the largest of a few thousand.
///
/// # Errors
/// When the base is no positive number.
pub fn moved_by_f32_angles(theta: f64, tokens: usize) -> Result<f64> {
    /// Odd, so that it meets positions of every kind.
    const STEP: usize = 31;
    let rotary = llama(theta)?;
    let pairs = rotary.frequencies().len() as f64;
    let angle =
        |position: usize, frequency: f32| f64::from(position as f32 * frequency);
    let score = |position: usize| {
        let apart = |&f: &f32| (angle(position + 1, f) - angle(position, f)).cos();
        rotary.frequencies().iter().map(apart).sum::<f64>() / pairs
    };
    let moved = (0..tokens).step_by(STEP).map(|at| (score(at) - score(0)).abs());
    Ok(moved.fold(0.0, f64::max))
}

/// How many pairs Llama 3.1 leaves as they were, slows down in part, and slows in full.
///
/// # Errors
/// None that can happen: the numbers are fixed.
pub fn scaled_pairs() -> Result<[usize; 3]> {
    let (before, after) = (llama(THETA_LLAMA_3)?, llama_3_1()?);
    let pairs = before.frequencies().iter().zip(after.frequencies());
    let mut counts = [0; 3];
    for (before, after) in pairs {
        let slower = before / after;
        let kind = if slower < 1.0 + 1e-4 {
            0
        } else if slower < 8.0 - 1e-4 {
            1
        } else {
            2
        };
        counts[kind] += 1;
    }
    Ok(counts)
}

/// The score, without its scale, of a query and a key that were equal before they were
/// turned, so many tokens apart: the mean over the pairs of the cosine of their angle.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn score_at(rotary: &Rotary, distance: usize) -> Result<f32> {
    let mut turned = DMatrix::repeat(1, rotary.head_dim(), 1.0);
    rotary.angles(distance..distance + 1).rotate(&mut turned)?;
    Ok(turned.sum() / rotary.head_dim() as f32)
}

/// The mean of [`score_at`] from a distance to √2 times as far: over all distances there, or
/// over a few hundred of them.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn mean_score(rotary: &Rotary, distance: f64) -> Result<f64> {
    /// No multiple of a wavelength of a Llama's head.
    const TRIED: usize = 211;
    let first = distance.round() as usize;
    let last = ((distance * 2.0_f64.sqrt()).round() as usize).max(first + 1);
    let tried = TRIED.min(last - first);
    let mut sum = 0.0;
    for i in 0..tried {
        let distance = first + i * (last - first) / tried;
        sum += f64::from(score_at(rotary, distance)?);
    }
    Ok(sum / tried as f64)
}

/// The matrix that turns one head at a position: row vectors are multiplied with it.
///
/// # Errors
/// None that can happen: the shapes fit.
pub fn turning_matrix(rotary: &Rotary, position: usize) -> Result<DMatrix<f32>> {
    let width = rotary.head_dim();
    let mut matrix = DMatrix::zeros(width, width);
    for feature in 0..width {
        let mut row = DMatrix::zeros(1, width);
        row[feature] = 1.0;
        rotary.angles(position..position + 1).rotate(&mut row)?;
        matrix.row_mut(feature).copy_from(&row.row(0));
    }
    Ok(matrix)
}

/// Scores, without their scale, of queries with keys (tokens, one head) from these first
/// positions on.
///
/// # Errors
/// When the head is not as wide as the rotation.
pub fn scores_from(
    rotary: &Rotary,
    q: &DMatrix<f32>,
    k: &DMatrix<f32>,
    start: usize,
) -> Result<DMatrix<f32>> {
    let (mut q, mut k) = (q.clone(), k.clone());
    rotary.angles(start..start + q.nrows()).rotate(&mut q)?;
    rotary.angles(start..start + k.nrows()).rotate(&mut k)?;
    Ok(q * k.transpose())
}

// The worked example.

/// `sun`, `moon` and `sun` again, and a layer of one head of two features whose queries
/// and keys are the features.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn toy() -> Result<(DMatrix<f32>, RotaryAttention)> {
    let x = dmatrix![1.0, 0.0; 0.0, 1.0; 1.0, 0.0];
    let same = || Linear::new(DMatrix::identity(2, 2), None);
    let v_proj = Linear::new(dmatrix![10.0, 0.0; 0.0, 10.0], None)?;
    let layer = GroupedQueryAttention::new(same()?, same()?, v_proj, same()?, 1, 1)?;
    Ok((x, RotaryAttention::new(layer, Rotary::new(2, THETA, Pairing::Halves)?)?))
}

// On real weights.

/// The sentence as it would enter MiniLM's layer 0 without position vectors.
///
/// # Errors
/// When the slice cannot be read.
pub fn words() -> Result<DMatrix<f32>> {
    Ok(Tensors::open(&minilm::path("words-0.safetensors"))?.matrix("x")?)
}

/// A layer of MiniLM, all twelve heads of it.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn real(layer: &Layer) -> Result<GroupedQueryAttention> {
    let [q, k, v, o] = projections(layer)?;
    Ok(GroupedQueryAttention::new(q, k, v, o, layer.heads, layer.heads)?)
}

/// Where head 2 of MiniLM's layer 0 looks: with the position vectors that it was trained
/// with, and without.
pub struct Previous {
    /// The words of the sentence.
    pub tokens: Vec<String>,
    /// (tokens, tokens): with position vectors.
    pub learned: DMatrix<f32>,
    /// (tokens, tokens): without.
    pub blind: DMatrix<f32>,
    /// (tokens, tokens): a head that turns, on the words without position vectors.
    pub constructed: DMatrix<f32>,
}

/// The head of MiniLM that looks at the token before, with and without positions, and one
/// that is made to.
///
/// # Errors
/// When the model's slices cannot be read.
pub fn previous() -> Result<Previous> {
    let (layer, words) = (Layer::load(0)?, words()?);
    let heads = real(&layer)?;
    let [learned, blind] = [&layer.x, &words].map(|x| heads_of(&heads, x));
    let constructed = previous_head(words.ncols())?.forward(&words, &Mask::None)?;
    let head = |mut heads: Heads| heads.weights.swap_remove(2);
    Ok(Previous {
        tokens: layer.tokens,
        learned: head(learned?),
        blind: head(blind?),
        constructed: constructed.weights[0].clone(),
    })
}

/// The mean weight on the token before, over the tokens that have one.
#[must_use]
pub fn on_previous(weights: &DMatrix<f32>) -> f32 {
    let others = (weights.nrows() - 1, weights.ncols() - 1);
    weights.view((1, 0), others).diagonal().mean()
}

/// Width of MiniLM's heads, and of [`previous_head`].
pub const REAL_HEAD_DIM: usize = 32;

/// A head that looks at the token before, whatever the tokens are. All queries are equal
/// and all keys are, but for a turn by one token: each key points where the token after it
/// will look.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn previous_head(model_dim: usize) -> Result<RotaryAttention> {
    let rotary = Rotary::new(REAL_HEAD_DIM, THETA, Pairing::Halves)?;
    let (query, key) = previous_vectors(&rotary)?;
    let constant = |row: &DMatrix<f32>| {
        let weight = DMatrix::zeros(model_dim, row.ncols());
        Linear::new(weight, Some(row.transpose().column(0).into_owned()))
    };
    let passed_on = |d_in, d_out| Linear::new(DMatrix::identity(d_in, d_out), None);
    let layer = GroupedQueryAttention::new(
        constant(&query)?,
        constant(&key)?,
        passed_on(model_dim, REAL_HEAD_DIM)?,
        passed_on(REAL_HEAD_DIM, REAL_HEAD_DIM)?,
        1,
        1,
    )?;
    Ok(RotaryAttention::new(layer, rotary)?)
}

/// The one query and the one key of [`previous_head`], before they are turned.
fn previous_vectors(rotary: &Rotary) -> Result<(DMatrix<f32>, DMatrix<f32>)> {
    /// Large enough that softmax leaves next to nothing for other tokens.
    const SHARP: f32 = 5.0;
    let query = DMatrix::repeat(1, rotary.head_dim(), SHARP);
    let mut key = query.clone();
    rotary.angles(1..2).rotate(&mut key)?;
    Ok((query, key))
}

/// How far what the heads of layer 0 find moves, as a share of its length, when the words
/// of the sentence, without position vectors, are put in reverse order and the answer is
/// put back. With or without rotation.
///
/// # Errors
/// When the model's slices cannot be read.
pub fn moved_by_reversing(rotary: Option<&Rotary>) -> Result<f32> {
    let (layer, words) = (real(&Layer::load(0)?)?, words()?);
    let found = |x: &DMatrix<f32>| -> Result<DMatrix<f32>> {
        Ok(match rotary {
            Some(rotary) => turned(&layer, rotary, x)?.context,
            None => heads_of(&layer, x)?.context,
        })
    };
    let back = flipped(&found(&flipped(&words))?);
    Ok(relative_error(&back, &found(&words)?))
}

fn flipped(x: &DMatrix<f32>) -> DMatrix<f32> {
    DMatrix::from_fn(x.nrows(), x.ncols(), |i, j| x[(x.nrows() - 1 - i, j)])
}

/// What the heads of `layer` find when `rotary` turns their queries and keys.
///
/// # Errors
/// When the widths do not fit.
pub fn turned(
    layer: &GroupedQueryAttention,
    rotary: &Rotary,
    x: &DMatrix<f32>,
) -> Result<Heads, RotaryError> {
    let layer = RotaryAttention::new(layer.clone(), rotary.clone())?;
    let Projected { q, k, v } = layer.project(x, 0)?;
    let groups = layer.layer().groups();
    Ok(attend_groups(&q, k.as_view(), v.as_view(), groups, &Mask::None)?)
}

/// The weight of `it` on `animal` in layer 3, head 1 of MiniLM: as trained, and when its
/// queries and keys are turned, which nobody trained it for.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn it_animal() -> Result<[f32; 2]> {
    let layer = Layer::load(3)?;
    let place = (layer.position("it")?, layer.position("animal")?);
    let heads = real(&layer)?;
    let rotary = Rotary::new(REAL_HEAD_DIM, THETA, Pairing::Halves)?;
    let trained = heads_of(&heads, &layer.x)?.weights[1][place];
    Ok([trained, turned(&heads, &rotary, &layer.x)?.weights[1][place]])
}

/// Where `it` looks in head 8 of `SmolLM2`'s layer 13, a head that was trained with
/// rotation, in *the animal did not cross the street because it was too tired*.
pub struct TrainedToTurn {
    slice: Slice,
    tokens: Vec<String>,
    x: DMatrix<f32>,
}

impl TrainedToTurn {
    /// Reads the slice.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn load() -> Result<TrainedToTurn> {
        let slice = Slice::load()?;
        let (tokens, x) = slice.sentence(Sentence::Tired)?;
        Ok(TrainedToTurn { x: slice.normed(&x), tokens, slice })
    }

    /// The base that the model was trained with.
    #[must_use]
    pub fn theta(&self) -> f64 {
        self.slice.theta
    }

    /// The weights of `it` when queries and keys are turned so from position `start` on, or
    /// not turned, each with its token.
    ///
    /// # Errors
    /// When the slice does not hold what it should.
    pub fn it(
        &self,
        turning: Option<(f64, Pairing)>,
        start: usize,
    ) -> Result<Vec<(&str, f32)>> {
        let Slice { heads, kv_heads, .. } = self.slice;
        let linear = |name| -> Result<Linear> {
            Ok(Linear::new(self.slice.weight(name)?, None)?)
        };
        let [q, k, v, o] = ["q_proj", "k_proj", "v_proj", "o_proj"].map(linear);
        let layer = GroupedQueryAttention::new(q?, k?, v?, o?, heads, kv_heads)?;
        let groups = layer.groups();
        let Projected { q, k, v } = match turning {
            None => layer.project(&self.x, &self.x)?,
            Some((theta, pairing)) => {
                let rotary = Rotary::new(64, theta, pairing)?;
                RotaryAttention::new(layer, rotary)?.project(&self.x, start)?
            }
        };
        let causal = Mask::Causal { offset: 0 };
        let found = attend_groups(&q, k.as_view(), v.as_view(), groups, &causal)?;
        let it = self.tokens.iter().position(|token| token == "it");
        let it = it.context("no `it` in the sentence")?;
        let weights = found.weights[8].row(it).iter().copied().collect::<Vec<_>>();
        Ok(self.tokens.iter().map(String::as_str).zip(weights).take(it + 1).collect())
    }
}

// Positions that are rounded.

/// How a position is stored before it becomes an angle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// 8 bits of precision.
    Bf16,
    /// 11 bits.
    F16,
    /// 24 bits.
    F32,
}

impl Stored {
    /// What a position is after it was stored.
    #[must_use]
    pub fn position(self, position: usize) -> usize {
        let exact = position as f32;
        match self {
            Stored::Bf16 => bf16::from_f32(exact).to_f32() as usize,
            Stored::F16 => f16::from_f32(exact).to_f32() as usize,
            Stored::F32 => exact as usize,
        }
    }

    /// How many different positions are left of these.
    #[must_use]
    pub fn distinct(self, positions: Range<usize>) -> usize {
        positions.map(|m| self.position(m)).collect::<BTreeSet<_>>().len()
    }
}

/// The mean weight that [`previous_head`] puts on the token before, at positions in this
/// range, when all positions are stored so. A token sees itself and everything before it.
///
/// # Errors
/// When the range is empty or starts at 0, where there is no token before.
pub fn rounded_previous(stored: Stored, positions: Range<usize>) -> Result<f32> {
    /// Enough for a mean, and no multiple of a power of two, so that it meets every place
    /// between two positions that bf16 can hold.
    const TRIED: usize = 61;
    ensure!(positions.start > 0 && !positions.is_empty(), "no token before");
    let rotary = Rotary::new(REAL_HEAD_DIM, THETA, Pairing::Halves)?;
    let (query, key) = previous_vectors(&rotary)?;
    let turned = |row: &DMatrix<f32>, at: usize| -> Result<DMatrix<f32>> {
        let (mut row, at) = (row.clone(), stored.position(at));
        rotary.angles(at..at + 1).rotate(&mut row)?;
        Ok(row)
    };
    let mut keys = DMatrix::zeros(positions.end, REAL_HEAD_DIM);
    for at in 0..positions.end {
        keys.row_mut(at).copy_from(&turned(&key, at)?.row(0));
    }
    let mut sum = 0.0;
    for i in 0..TRIED {
        let at = positions.start + i * positions.len() / TRIED;
        let (q, seen) = (turned(&query, at)?, keys.rows(0, at + 1));
        sum += attend(q.as_view(), seen, seen, &Mask::None)?.weights[at - 1];
    }
    Ok(sum / TRIED as f32)
}

/// Ranges of positions, each with half the precision of the one before in a format that
/// cannot hold them all.
pub const OCTAVES: [Range<usize>; 5] =
    [1..256, 256..512, 512..1024, 1024..2048, 2048..4096];

// Why this will be in chapter 7's way.

/// How far the product of query and key projection with a rotation between them is from
/// that without, for one head of MiniLM and tokens so far apart.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn product_moved(distance: usize) -> Result<f32> {
    let layer = Layer::load(3)?;
    let rotary = Rotary::new(layer.head_dim(), THETA, Pairing::Halves)?;
    let (q, k) =
        (head_weight(&layer.q_proj, &layer), head_weight(&layer.k_proj, &layer));
    let turned = &q * turning_matrix(&rotary, distance)? * k.transpose();
    Ok(relative_error(&turned, &(q * k.transpose())))
}

/// The columns of head 1.
fn head_weight(projection: &LinearTensors, layer: &Layer) -> DMatrix<f32> {
    minilm::head(projection, 1, layer.head_dim()).0
}

// Mistakes.

/// Scores of a query and a key of one head of 8 features at two positions.
pub struct MixedUp {
    /// Half-split weights, half-split rotation.
    pub right: f32,
    /// Half-split weights, interleaved rotation.
    pub mixed: f32,
    /// Permuted weights, interleaved rotation.
    pub permuted: f32,
}

/// What becomes of a score when weights and rotation are paired in different ways.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn mixed_up(query_at: usize, key_at: usize) -> Result<MixedUp> {
    const WIDTH: usize = 8;
    let rows = normal(2, WIDTH, 3);
    let order = crate::permutation(WIDTH, Pairing::Halves, Pairing::Neighbors)?;
    let score = |rows: &DMatrix<f32>, pairing| -> Result<f32> {
        let rotary = Rotary::new(WIDTH, THETA, pairing)?;
        let [mut q, mut k] = [0, 1].map(|row| rows.rows(row, 1).into_owned());
        rotary.angles(query_at..query_at + 1).rotate(&mut q)?;
        rotary.angles(key_at..key_at + 1).rotate(&mut k)?;
        Ok(q.dot(&k))
    };
    Ok(MixedUp {
        right: score(&rows, Pairing::Halves)?,
        mixed: score(&rows, Pairing::Neighbors)?,
        permuted: score(&rows.select_columns(&order), Pairing::Neighbors)?,
    })
}

/// A layer of four heads on two, of 8 features each, with random weights, and tokens.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn random(tokens: usize) -> Result<(DMatrix<f32>, RotaryAttention)> {
    const WIDTH: usize = 16;
    let linear = |d_in, d_out, seed| {
        Linear::new(normal(d_in, d_out, seed) / (d_in as f32).sqrt(), None)
    };
    let layer = GroupedQueryAttention::new(
        linear(WIDTH, 32, 1)?,
        linear(WIDTH, 16, 2)?,
        linear(WIDTH, 16, 3)?,
        linear(32, WIDTH, 4)?,
        4,
        2,
    )?;
    let rotary = Rotary::new(8, THETA, Pairing::Halves)?;
    Ok((normal(tokens, WIDTH, 5), RotaryAttention::new(layer, rotary)?))
}

/// The errors of each token, as shares of its output's length, when a text of so many
/// tokens runs in two chunks through a cache: as it should, and when the second chunk
/// counts its positions from 0 again.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn offset_forgotten(tokens: usize, first: usize) -> Result<[Vec<f32>; 2]> {
    let (x, layer) = random(tokens)?;
    let whole = layer.forward(&x, &Mask::Causal { offset: 0 })?.output;
    let run = |forget: bool| -> Result<Vec<f32>> {
        let (keys, values) = layer.layer().kv_widths();
        let mut cache = KvCache::new(tokens, keys, values);
        let mut errors = Vec::new();
        for chunk in [0..first, first..tokens] {
            let part = x.rows(chunk.start, chunk.len()).into_owned();
            let found = if forget {
                at_the_wrong_place(&layer, &part, &mut cache)?
            } else {
                prefill(&layer, &part, &mut cache)?.output
            };
            errors.extend(found.row_iter().zip(chunk).map(|(row, token)| {
                let right = whole.row(token);
                (row - right).norm() / right.norm()
            }));
        }
        Ok(errors)
    };
    Ok([run(false)?, run(true)?])
}

/// [`prefill`] with the mistake: every chunk starts at position 0.
fn at_the_wrong_place(
    layer: &RotaryAttention,
    x: &DMatrix<f32>,
    cache: &mut KvCache,
) -> Result<DMatrix<f32>> {
    let causal = Mask::Causal { offset: cache.len() };
    let Projected { q, k, v } = layer.project(x, 0)?;
    cache.append(&k, &v).map_err(GroupError::from)?;
    let groups = layer.layer().groups();
    let heads = attend_groups(&q, cache.keys(), cache.values(), groups, &causal)?;
    Ok(layer.layer().o_proj().forward(&heads.context)?)
}

/// A way to turn a pair `(a, b)` by an angle.
pub type Turn = fn(a: f32, b: f32, angle: f32) -> (f32, f32);

/// As it should be.
#[must_use]
pub fn turn(a: f32, b: f32, angle: f32) -> (f32, f32) {
    (a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos())
}

/// With one minus left out.
#[must_use]
pub fn turn_without_minus(a: f32, b: f32, angle: f32) -> (f32, f32) {
    (a * angle.cos() + b * angle.sin(), a * angle.sin() + b * angle.cos())
}

/// With the minus at the other sine: backwards.
#[must_use]
pub fn turn_back(a: f32, b: f32, angle: f32) -> (f32, f32) {
    turn(a, b, -angle)
}

/// The score of a query and a key that are this one pair, at two positions, with ways to
/// turn each.
#[must_use]
pub fn score_of_pair(
    pair: (f32, f32),
    (turn_query, query_at): (Turn, usize),
    (turn_key, key_at): (Turn, usize),
) -> f32 {
    let q = turn_query(pair.0, pair.1, query_at as f32);
    let k = turn_key(pair.0, pair.1, key_at as f32);
    q.0 * k.0 + q.1 * k.1
}

// What it costs.

/// Multiply-adds of one token in one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// To turn its query heads and its key heads.
    pub rotation: u64,
    /// In the four projections.
    pub projections: u64,
    /// In scores and averages over so many tokens.
    pub attention: u64,
    /// To turn the keys of so many tokens, if they were cached before they are turned.
    pub all_keys: u64,
}

/// What a token costs that sees `seen` tokens in a layer of `model`.
#[must_use]
pub fn work(model: &Model, seen: u64) -> Work {
    let (queries, keys) =
        (model.heads * model.head_dim, model.kv_heads * model.head_dim);
    Work {
        // Four a pair: each of its two new features is a sum of two products.
        rotation: 2 * (queries + keys),
        projections: model.model_dim * (2 * queries + 2 * keys),
        attention: 2 * queries * seen,
        all_keys: 2 * keys * seen,
    }
}

/// The shape that the benchmark times: model width, heads, key/value heads, head width.
pub const TIMED: (usize, usize, usize, usize) = (1024, 16, 4, 64);

/// The layer that the benchmark times, with random weights.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn timed_layer() -> Result<RotaryAttention> {
    let (d, heads, kv_heads, head_dim) = TIMED;
    let linear = |d_in, d_out, seed| {
        Linear::new(normal(d_in, d_out, seed) / (d_in as f32).sqrt(), None)
    };
    let layer = GroupedQueryAttention::new(
        linear(d, heads * head_dim, 1)?,
        linear(d, kv_heads * head_dim, 2)?,
        linear(d, kv_heads * head_dim, 3)?,
        linear(heads * head_dim, d, 4)?,
        heads,
        kv_heads,
    )?;
    Ok(RotaryAttention::new(layer, Rotary::new(head_dim, THETA, Pairing::Halves)?)?)
}

/// What `cargo bench -p rotary -- --record` wrote down last.
///
/// # Errors
/// When it cannot be read.
pub fn recorded() -> Result<Recorded> {
    Recorded::parse(include_str!("../benches/recorded.csv"))
        .context("chapters/06-rotary/benches/recorded.csv")
}
