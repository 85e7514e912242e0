//! What the chapter measures: the data behind its figures and numbers.

use crate::{WindowAttention, WindowError, decode, prefill, slips};
use ::slips::{Bench, Part, Rounding};
use anyhow::{Context, Result, ensure};
use attention::{Linear, Mask, softmax};
use chapter_cli::Recorded;
use decoding::experiments::normal;
use grouped_query::{GroupedQueryAttention, Groups};
use minilm::smollm2::{Sentence, Slice};
use multi_head::Projected;
use nalgebra::{DMatrix, dmatrix};
use rotary::{Pairing, Rotary, RotaryAttention};

// The worked example.

/// The window of the worked example.
pub const WINDOW: usize = 3;

/// Five tokens of two features, and one head that turns by one radian per token and sees
/// [`WINDOW`] tokens.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn toy() -> Result<(DMatrix<f32>, WindowAttention)> {
    let x = dmatrix![1.0, 0.0; 0.0, 1.0; 1.0, 1.0; 1.0, 0.0; 0.0, 1.0];
    let same = || Linear::new(DMatrix::identity(2, 2), None);
    let v_proj = Linear::new(dmatrix![10.0, 0.0; 0.0, 10.0], None)?;
    let layer = GroupedQueryAttention::new(same()?, same()?, v_proj, same()?, 1, 1)?;
    let layer = RotaryAttention::new(layer, Rotary::new(2, 1e4, Pairing::Halves)?)?;
    Ok((x, WindowAttention::new(layer, WINDOW)?))
}

/// Queries and keys of some tokens through a layer, one head: (tokens, tokens) scores.
///
/// # Errors
/// When `x` does not fit the layer.
pub fn toy_scores(x: &DMatrix<f32>, layer: &WindowAttention) -> Result<DMatrix<f32>> {
    let Projected { q, k, .. } = layer.layer().project(x, 0)?;
    Ok(attention::scores(q.as_view(), k.as_view())?)
}

// On real weights.

/// Query heads of `SmolLM2`'s layer.
pub const HEADS: usize = 9;

/// Where a head looks in one sentence, as `SmolLM2` computes it in layer 13.
#[derive(Debug, Clone)]
pub struct Looks {
    /// The tokens of the sentence.
    pub tokens: Vec<String>,
    /// (tokens, tokens): scores, of which those above the diagonal are −∞.
    pub scores: DMatrix<f32>,
}

/// The words of the sentence. The first begins it.
const WORDS: [&str; 13] = [
    "The", "animal", "did", "not", "cross", "the", "street", "because", "it", "was",
    "too", "tired", ".",
];

impl Looks {
    /// The scores of one head, from a file that a page can hold: a test compares it with
    /// the slice of the model.
    ///
    /// # Errors
    /// When there is no such head, or the file is not what it should be.
    pub fn of(head: usize) -> Result<Looks> {
        ensure!(head < HEADS, "head {head}: the layer has {HEADS}, from 0 on");
        let lines = include_str!("scores.csv").lines();
        let rows = lines.filter(|line| !line.starts_with('#'));
        let rows = rows.skip(head * WORDS.len()).take(WORDS.len());
        let mut scores = DMatrix::repeat(WORDS.len(), WORDS.len(), f32::NEG_INFINITY);
        for (query, row) in rows.enumerate() {
            for (key, score) in row.split(',').enumerate() {
                let place =
                    scores.get_mut((query, key)).context("scores.csv: too long")?;
                *place = score.parse().context("scores.csv: not a number")?;
            }
        }
        Ok(Looks { tokens: WORDS.map(str::to_owned).to_vec(), scores })
    }

    /// (tokens, tokens): the weights, if a token sees the last `window` tokens and the
    /// `first` of the sentence.
    ///
    /// # Errors
    /// None that can happen: the mask has the shape of the scores.
    pub fn weights(&self, window: usize, first: usize) -> Result<DMatrix<f32>> {
        let mut scores = self.scores.clone();
        window_and_first(scores.nrows(), window, first).hide(&mut scores)?;
        Ok(softmax(scores))
    }

    /// Where a token stands for the first time.
    ///
    /// # Errors
    /// When it does not.
    pub fn position(&self, token: &str) -> Result<usize> {
        self.tokens.iter().position(|t| t == token).with_context(|| token.to_owned())
    }
}

/// The scores of one head as the slice of the model gives them, (tokens, tokens).
///
/// # Errors
/// When the slice cannot be read.
pub fn scores_of_slice(head: usize) -> Result<DMatrix<f32>> {
    let slice = Slice::load()?;
    let (_, x) = slice.sentence(Sentence::Tired)?;
    let linear = |name| Ok::<_, anyhow::Error>(Linear::new(slice.weight(name)?, None)?);
    let [q, k, v, o] = ["q_proj", "k_proj", "v_proj", "o_proj"].map(linear);
    let (heads, kv_heads) = (slice.heads, slice.kv_heads);
    let layer = GroupedQueryAttention::new(q?, k?, v?, o?, heads, kv_heads)?;
    let rotary = Rotary::new(64, slice.theta, Pairing::Halves)?;
    let layer = RotaryAttention::new(layer, rotary)?;
    let Projected { q, k, .. } = layer.project(&slice.normed(&x), 0)?;
    let g = layer.layer().groups().kv_head(head);
    Ok(attention::scores(q.columns(head * 64, 64), k.columns(g * 64, 64))?)
}

/// The mask of `tokens` that see the last `window` of them and the `first`.
#[must_use]
pub fn window_and_first(tokens: usize, window: usize, first: usize) -> Mask {
    let near = Mask::Window { offset: 0, window };
    Mask::Allowed(DMatrix::from_fn(tokens, tokens, |query, key| {
        near.sees(query, key) || (key <= query && key < first)
    }))
}

/// Where the weight of a head lies on average: on the first token, on the last `near`
/// tokens, and on those between. Tokens that have nothing between are left out.
///
/// # Errors
/// When there is no such head.
pub fn shares(head: usize, near: usize) -> Result<[f32; 3]> {
    let looks = Looks::of(head)?;
    let n = looks.tokens.len();
    let weights = looks.weights(n, 0)?;
    let mut sums = [0.0; 3];
    for query in near + 1..n {
        let from = query + 1 - near;
        sums[0] += weights[(query, 0)];
        sums[1] += weights.view((query, from), (1, near)).sum();
        sums[2] += weights.view((query, 1), (1, from - 1)).sum();
    }
    Ok(sums.map(|sum| sum / (n - near - 1) as f32))
}

// Through layers.

/// The share of each token, from the last one back, in what leaves the last of `layers`
/// layers at that token, if each token takes equal shares of the `window` that it sees.
#[must_use]
pub fn thin_edge(window: usize, layers: usize) -> Vec<f64> {
    let mut shares = vec![1.0];
    for _ in 0..layers {
        let mut next = vec![0.0; shares.len() + window - 1];
        for (back, share) in shares.iter().enumerate() {
            for further in 0..window {
                next[back + further] += share / window as f64;
            }
        }
        shares = next;
    }
    shares
}

// Where people go wrong.

/// What the table shows, by the names of its columns and of the slips.
pub const SLIPS: [(&str, &str); 4] = [
    ("one more", "window-one-more"),
    ("early", "trimmed-first"),
    ("all seen", "decoded-see-all"),
    ("by slot", "slot-for-position"),
];

/// A layer of four heads on two, with random weights.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn random(tokens: usize, window: usize) -> Result<(DMatrix<f32>, WindowAttention)> {
    let linear = |d_in, d_out, seed| {
        Linear::new(normal(d_in, d_out, seed) * (1.5 / (d_in as f32).sqrt()), None)
    };
    let (q, k) = (linear(16, 32, 1)?, linear(16, 16, 2)?);
    let (v, o) = (linear(16, 16, 3)?, linear(32, 16, 4)?);
    let layer = GroupedQueryAttention::new(q, k, v, o, 4, 2)?;
    let layer = RotaryAttention::new(layer, Rotary::new(8, 1e4, Pairing::Halves)?)?;
    Ok((normal(tokens, 16, 5), WindowAttention::new(layer, window)?))
}

/// The output of `x` (tokens, `model_dim`), of which the chunks go through at once and
/// those of one token are decoded, with the slip of this name or as it should be.
///
/// # Errors
/// When `x` does not fit the layer, or there is no such slip.
pub fn chunked(
    layer: &WindowAttention,
    x: &DMatrix<f32>,
    chunks: &[usize],
    slip: Option<&str>,
) -> Result<DMatrix<f32>> {
    let Some(slip) = slip else { return right(layer, x, chunks) };
    let mask = Mask::Window { offset: 0, window: layer.window() };
    let plain = layer.layer().rotary().clone();
    let steps = slips::steps(layer, x, chunks, &mask, plain);
    let bench = Bench::new(steps, slips::slips());
    let place = bench.slips().iter().position(|known| known.name == slip);
    let made = place.with_context(|| format!("no slip {slip}"))?;
    let trace = bench.slipped(&[made], Rounding::None);
    let output = trace.as_ref().and_then(|trace| trace.part(Part::Y)?.first());
    output.cloned().with_context(|| format!("{slip}: the sizes do not fit it"))
}

fn right(
    layer: &WindowAttention,
    x: &DMatrix<f32>,
    chunks: &[usize],
) -> Result<DMatrix<f32>> {
    let mut cache = layer.cache();
    let mut output =
        DMatrix::zeros(x.nrows(), layer.layer().layer().o_proj().shape().1);
    let mut at = 0;
    for &chunk in chunks {
        let some = x.rows(at, chunk).into_owned();
        let found: Result<_, WindowError> = match chunk {
            1 => decode(layer, &some, &mut cache),
            _ => prefill(layer, &some, &mut cache),
        };
        output.rows_mut(at, chunk).copy_from(&found?.output);
        at += chunk;
    }
    Ok(output)
}

/// How far off each token's output is with a slip, as a share of its length: a chunk of
/// four tokens, another of four, and four tokens one by one, with a window of 4.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn errors(slip: &str) -> Result<Vec<f32>> {
    let chunks = [4, 4, 1, 1, 1, 1];
    let (x, layer) = random(12, 4)?;
    let right = layer.forward(&x)?.output;
    let wrong = chunked(&layer, &x, &chunks, Some(slip))?;
    let error = |i| (wrong.row(i) - right.row(i)).norm() / right.row(i).norm();
    Ok((0..x.nrows()).map(error).collect())
}

// Cost.

/// Pairs of a query and a key that are scored in a text of `tokens`, where a token sees
/// `window` of them.
#[must_use]
pub fn pairs(tokens: u64, window: u64) -> u64 {
    let full = window.min(tokens);
    full * (full + 1) / 2 + (tokens - full) * full
}

/// Query heads, key/value heads and the width of a head where a step is timed.
pub const STEP: (usize, usize, usize) = (32, 8, 128);
/// The window there.
pub const STEP_WINDOW: usize = 4096;
/// Tokens before the one that is timed.
pub const LENGTHS: [usize; 6] = [1024, 2048, 4096, 8192, 16_384, 32_768];
/// Heads and their width where a pass is timed.
pub const PASS: (usize, usize) = (8, 64);
/// The window there.
pub const PASS_WINDOW: usize = 512;
/// Tokens of the passes that are timed.
pub const TOKENS: [usize; 5] = [512, 1024, 2048, 4096, 8192];

/// The heads of [`STEP`].
///
/// # Errors
/// None that can happen: the numbers divide.
pub fn step_groups() -> Result<Groups> {
    Ok(Groups::new(STEP.0, STEP.1)?)
}

/// The times that were recorded.
///
/// # Errors
/// When the recording cannot be read.
pub fn recorded() -> Result<Recorded> {
    Recorded::parse(include_str!("../benches/recorded.csv"))
        .context("chapters/10-sliding-window/benches/recorded.csv")
}
