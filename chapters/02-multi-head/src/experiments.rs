//! What the chapter measures: the data behind its figures and numbers.

use crate::{Heads, LayerError, MultiHeadAttention, Projected};
use crate::{attend_heads, columns_of, head_dim};
use anyhow::{Context, Result};
use attention::{Linear, Mask};
use chapter_cli::{LinearTensors, Recorded};
use minilm::Layer;
use nalgebra::{DMatrix, DVectorView, SymmetricEigen, dmatrix};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};

/// The task that opens the chapter: a ring of tokens, each with two numbers. Every token
/// is to fetch the first number of the token before it and the second of the one after.
pub struct TwoPlaces {
    /// (tokens, 2): what the tokens carry.
    pub carried: DMatrix<f32>,
    /// (tokens, 2): what they should fetch.
    pub wanted: DMatrix<f32>,
    /// (tokens, 2): what a layer fetches whose projections serve one head.
    pub one_head: DMatrix<f32>,
    /// (tokens, 2): the same projections, shared by two heads.
    pub two_heads: DMatrix<f32>,
}

/// Runs the task with the first digits of π and e.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn two_places() -> Result<TwoPlaces> {
    let carried = dmatrix![3.0, 2.0; 1.0, 7.0; 4.0, 1.0; 1.0, 8.0; 5.0, 2.0; 9.0, 8.0];
    let n = carried.nrows();
    let wanted = DMatrix::from_fn(n, 2, |token, number| {
        carried[(look(token, number, n), number)]
    });
    let mut x = DMatrix::identity(n, n + 2);
    x.columns_mut(0, 2).copy_from(&carried);
    x.columns_mut(2, n).fill_with_identity();
    let fetch = |heads| -> Result<DMatrix<f32>> {
        Ok(fetching(n, heads)?.forward(&x, &Mask::None)?.output)
    };
    Ok(TwoPlaces { wanted, one_head: fetch(1)?, two_heads: fetch(2)?, carried })
}

/// Where on a ring of `n` tokens the number 0 or 1 of a token's answer stands: at the
/// token before it, or at the one after it.
fn look(token: usize, number: usize, n: usize) -> usize {
    if number == 0 { (token + n - 1) % n } else { (token + 1) % n }
}

/// A layer made for the task. A token is two numbers, then a 1 at its place among `n`.
/// The first `n` features of a query name the place before, the others the place after.
fn fetching(n: usize, heads: usize) -> Result<MultiHeadAttention> {
    /// Large enough that softmax leaves next to nothing for other places.
    const SHARP: f32 = 40.0;
    let mut q = DMatrix::zeros(n + 2, 2 * n);
    let mut k = DMatrix::zeros(n + 2, 2 * n);
    for place in 0..n {
        for number in 0..2 {
            q[(2 + place, number * n + look(place, number, n))] = SHARP;
            k[(2 + place, number * n + place)] = 1.0;
        }
    }
    let [q, k, v, o] = [q, k, DMatrix::identity(n + 2, 2), DMatrix::identity(2, 2)]
        .map(|weight| Linear::new(weight, None));
    Ok(MultiHeadAttention::new(q?, k?, v?, o?, heads)?)
}

/// What one average leaves unexplained of each of two numbers, as a share of their
/// variance. Each of 4,096 tokens carries two random numbers; a head gives the weight
/// `before` to the token before and the rest to the token after, and the best linear map
/// reads both numbers off the average.
#[must_use]
pub fn one_average(before: f64) -> [f64; 2] {
    let n = 4096;
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let carried =
        DMatrix::from_fn(n, 2, |_, _| -> f64 { StandardNormal.sample(&mut rng) });
    let at = |place| DMatrix::from_fn(n, 2, |i, j| carried[(look(i, place, n), j)]);
    let (previous, next) = (at(0), at(1));
    let averages = &previous * before + &next * (1.0 - before);
    let unexplained = |wanted: DVectorView<f64>| {
        let moments = averages.transpose() * &averages;
        let cross = averages.transpose() * wanted;
        let explained = moments.lu().solve(&cross).map_or(0.0, |map| map.dot(&cross));
        1.0 - explained / wanted.norm_squared()
    };
    [unexplained(previous.column(0)), unexplained(next.column(1))]
}

/// A layer of MiniLM at work on its sentence.
pub struct Real {
    /// The sentence and the projections as they lie in the file.
    pub layer: Layer,
    /// The same as a layer of this crate.
    pub attention: MultiHeadAttention,
    /// What the heads find.
    pub found: Heads,
    /// (tokens, `model_dim`): what the layer makes of it.
    pub output: DMatrix<f32>,
}

/// Runs layer `layer`, counted from 0.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn real(layer: usize) -> Result<Real> {
    let layer = Layer::load(layer)?;
    let attention = shared(&layer, layer.heads)?;
    let Projected { q, k, v } = attention.project(&layer.x, &layer.x)?;
    let found = attend_heads(&q, &k, &v, layer.heads, &Mask::None)?;
    let output = attention.o_proj().forward(&found.found)?;
    Ok(Real { layer, attention, found, output })
}

/// The four matrices of a layer, shared by another number of heads than it was trained
/// with.
///
/// # Errors
/// When they do not divide its width.
pub fn shared(layer: &Layer, heads: usize) -> Result<MultiHeadAttention, LayerError> {
    let linear = |projection: &LinearTensors| {
        Linear::new(projection.weight.clone(), projection.bias.clone())
    };
    let (q, k) = (linear(&layer.q_proj)?, linear(&layer.k_proj)?);
    MultiHeadAttention::new(q, k, linear(&layer.v_proj)?, linear(&layer.o_proj)?, heads)
}

impl Real {
    /// The weight of `from` on `to` in one head.
    ///
    /// # Errors
    /// When the sentence does not hold them.
    pub fn weight(&self, head: usize, from: &str, to: &str) -> Result<f32> {
        let place = (self.layer.position(from)?, self.layer.position(to)?);
        Ok(self.found.weights[head][place])
    }

    /// The mean weight of a head on the first token.
    #[must_use]
    pub fn parked(&self, head: usize) -> f32 {
        self.found.weights[head].column(0).mean()
    }

    /// The mean weight of a head on the token before, over the tokens that have one.
    #[must_use]
    pub fn on_previous(&self, head: usize) -> f32 {
        let weights = &self.found.weights[head];
        weights
            .view((1, 0), (weights.nrows() - 1, weights.ncols() - 1))
            .diagonal()
            .mean()
    }

    /// The mean weight of a head on the token after, over the tokens that have one.
    #[must_use]
    pub fn on_next(&self, head: usize) -> f32 {
        let weights = &self.found.weights[head];
        weights
            .view((0, 1), (weights.nrows() - 1, weights.ncols() - 1))
            .diagonal()
            .mean()
    }

    /// How far the layer's output moves when what a head found is replaced by zeros: the
    /// norm of the change over the norm of the output.
    ///
    /// # Errors
    /// None that can happen: the layer was checked.
    pub fn moved_without(&self, head: usize) -> Result<f32> {
        let mut found = self.found.found.clone();
        let width = self.layer.head_dim();
        found.columns_mut(head * width, width).fill(0.0);
        self.moved(&found)
    }

    /// The norm of the first token's value in a head, over the mean norm of the others'.
    ///
    /// # Errors
    /// None that can happen: the layer was checked.
    pub fn first_value(&self, head: usize) -> Result<f32> {
        let values = self.attention.project(&self.layer.x, &self.layer.x)?.v;
        let values = columns_of(head, &values, self.layer.head_dim());
        let norms: Vec<f32> = values.row_iter().map(|value| value.norm()).collect();
        Ok(norms[0] * (norms.len() - 1) as f32 / norms[1..].iter().sum::<f32>())
    }

    /// The same with the mean of what the head found over the tokens in the place of it.
    ///
    /// # Errors
    /// None that can happen: the layer was checked.
    pub fn moved_with_mean(&self, head: usize) -> Result<f32> {
        let mut found = self.found.found.clone();
        let width = self.layer.head_dim();
        for mut column in found.columns_mut(head * width, width).column_iter_mut() {
            let mean = column.mean();
            column.fill(mean);
        }
        self.moved(&found)
    }

    /// How far another `found` (tokens, heads · `head_dim`) moves the layer's output.
    ///
    /// # Errors
    /// When it has another width.
    pub fn moved(&self, context: &DMatrix<f32>) -> Result<f32> {
        let output = self.attention.o_proj().forward(context)?;
        Ok(relative_error(&output, &self.output))
    }
}

/// For each head of all six layers: its mean weight on `[CLS]`, and how far the output of
/// its layer moves without it.
///
/// # Errors
/// When a slice of the model cannot be read.
pub fn parked_and_moved() -> Result<Vec<(f64, f64)>> {
    let mut heads = Vec::new();
    for layer in 0..6 {
        let real = real(layer)?;
        for h in 0..real.layer.heads {
            heads.push((real.parked(h).into(), real.moved_without(h)?.into()));
        }
    }
    Ok(heads)
}

/// Pearson's correlation coefficient: 1 or -1 on a line, 0 where the one number says
/// nothing of the other in this way.
#[must_use]
pub fn correlation(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let x = points.iter().map(|p| p.0).sum::<f64>() / n;
    let y = points.iter().map(|p| p.1).sum::<f64>() / n;
    let sum = |of: fn(f64, f64) -> f64| {
        points.iter().map(|p| of(p.0 - x, p.1 - y)).sum::<f64>()
    };
    sum(|x, y| x * y) / (sum(|x, _| x * x) * sum(|_, y| y * y)).sqrt()
}

/// The norm of the difference over the norm of what is right.
#[must_use]
pub fn relative_error(found: &DMatrix<f32>, right: &DMatrix<f32>) -> f32 {
    (found - right).norm() / right.norm()
}

/// Singular values, the largest first, each over the largest of its matrix, of layer 3
/// of MiniLM reading a passage.
pub struct Spectrum {
    /// Tokens of the passage.
    pub tokens: usize,
    /// The scores of head 1.
    pub scores: Vec<f64>,
    /// Its weights: the same after softmax.
    pub weights: Vec<f64>,
    /// The scores of the twelve heads' queries and keys, used as one head.
    pub wide: Vec<f64>,
}

/// Computed in f64, so that a zero is far from the smallest value that is none.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn spectrum() -> Result<Spectrum> {
    let (layer, x) = (Layer::load(3)?, minilm::passage()?);
    let (q, k) = (project_f64(&x, &layer.q_proj), project_f64(&x, &layer.k_proj));
    let width = layer.head_dim();
    let cut = |all: &DMatrix<f64>| all.columns(width, width).into_owned();
    let scores = cut(&q) * cut(&k).transpose() / (width as f64).sqrt();
    let wide = &q * k.transpose() / (q.ncols() as f64).sqrt();
    Ok(Spectrum {
        tokens: x.nrows(),
        weights: relative_singular_values(&softmax_f64(scores.clone())),
        scores: relative_singular_values(&scores),
        wide: relative_singular_values(&wide),
    })
}

/// A matrix rebuilt from its largest columns times rows.
pub struct Rebuilt {
    /// The tokens of its rows and columns.
    pub tokens: Vec<String>,
    /// The sum of these terms.
    pub sum: DMatrix<f64>,
    /// The norm of what is missing, over the norm of the matrix.
    pub missing: f64,
}

impl Rebuilt {
    /// What the sum has for two tokens.
    ///
    /// # Errors
    /// When the sentence lacks one of them.
    pub fn weight(&self, query: &str, key: &str) -> Result<f64> {
        let place = |token| self.tokens.iter().position(|found| found == token);
        let cell = place(query).zip(place(key)).context("no such token")?;
        Ok(self.sum[cell])
    }
}

/// The weights of layer 3, head 1 on the sentence, from the first `terms` of their
/// singular value decomposition.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn rebuilt(terms: usize) -> Result<Rebuilt> {
    let real = real(3)?;
    let weights = real.found.weights[1].map(f64::from);
    // The v of σ u vᵀ are the eigenvectors of AᵀA, and σ u is A v. (nalgebra's SVD was
    // found to give wrong factors where singular values are zero.)
    let SymmetricEigen { eigenvalues, eigenvectors } =
        SymmetricEigen::new(weights.tr_mul(&weights));
    let mut order: Vec<usize> = (0..eigenvalues.len()).collect();
    order.sort_by(|&a, &b| eigenvalues[b].total_cmp(&eigenvalues[a]));
    order.truncate(terms);
    let largest = eigenvectors.select_columns(&order);
    let sum = &weights * &largest * largest.transpose();
    let missing = (&weights - &sum).norm() / weights.norm();
    Ok(Rebuilt { tokens: real.layer.tokens, sum, missing })
}

/// How many singular values of a head's scores are not zero, with layer 3's matrices
/// shared by `heads`.
///
/// # Errors
/// When they do not divide its width, or the model's slice cannot be read.
pub fn ranks(heads: usize) -> Result<Vec<usize>> {
    let (layer, x) = (Layer::load(3)?, minilm::passage()?);
    let (q, k) = (project_f64(&x, &layer.q_proj), project_f64(&x, &layer.k_proj));
    let width = head_dim("q_proj", q.ncols(), heads)?;
    let rank = |h| {
        let (q, k) = (q.columns(h * width, width), k.columns(h * width, width));
        let values = relative_singular_values(&(q * k.transpose()));
        values.iter().filter(|value| **value > ZERO).count()
    };
    Ok((0..heads).map(rank).collect())
}

/// Singular values below this share of the largest count as zero.
pub const ZERO: f64 = 1e-6;

fn project_f64(x: &DMatrix<f32>, projection: &LinearTensors) -> DMatrix<f64> {
    let mut y = x.map(f64::from) * projection.weight.map(f64::from);
    if let Some(bias) = &projection.bias {
        for (mut column, b) in y.column_iter_mut().zip(bias.iter()) {
            column.add_scalar_mut(f64::from(*b));
        }
    }
    y
}

fn softmax_f64(mut scores: DMatrix<f64>) -> DMatrix<f64> {
    for mut row in scores.row_iter_mut() {
        let max = row.max();
        row.apply(|s| *s = (*s - max).exp());
        let sum = row.sum();
        row /= sum;
    }
    scores
}

fn relative_singular_values(matrix: &DMatrix<f64>) -> Vec<f64> {
    let mut values: Vec<f64> = matrix.singular_values().iter().copied().collect();
    values.sort_by(|a, b| b.total_cmp(a));
    let largest = values.first().copied().unwrap_or(1.0);
    values.iter().map(|value| value / largest).collect()
}

/// What one layer costs on `n` tokens, by formula.
pub struct Cost {
    /// Numbers that were learned, biases included.
    pub parameters: u64,
    /// Multiply-adds of the four projections.
    pub projections: u64,
    /// Multiply-adds of all heads' scores and averages.
    pub attention: u64,
    /// Weights, each of which is one exponential and four bytes.
    pub weights: u64,
}

/// The cost of a layer of that width whose heads share it exactly.
#[must_use]
pub fn cost(width: u64, heads: u64, n: u64) -> Cost {
    let head_dim = width / heads;
    Cost {
        parameters: 4 * (width * width + width),
        projections: 4 * n * width * width,
        attention: heads * (2 * n * n * head_dim),
        weights: heads * n * n,
    }
}

/// The rows of a (tokens, width) matrix read on as if they were (heads · tokens,
/// `head_dim`), one head after the other: a reshape without the transpose. Head `h` gets
/// the block `h` of `tokens` rows.
#[must_use]
pub fn cut_from_rows(all: &DMatrix<f32>, heads: usize) -> Vec<DMatrix<f32>> {
    let (n, head_dim) = (all.nrows(), all.ncols() / heads);
    // PyTorch lies row after row, so its reading order is that of our transpose.
    let in_reading_order = all.transpose();
    let block = |h: usize| {
        let numbers = &in_reading_order.as_slice()[h * n * head_dim..][..n * head_dim];
        DMatrix::from_row_slice(n, head_dim, numbers)
    };
    (0..heads).map(block).collect()
}

/// What layer 3's heads find in the first `tokens` tokens of the sentence when they are
/// cut from rows, and put back in the same way: the layer's output, (tokens, `model_dim`).
///
/// # Errors
/// When the model's slice cannot be read.
pub fn output_cut_from_rows(real: &Real, tokens: usize) -> Result<DMatrix<f32>> {
    let x = real.layer.x.rows(0, tokens).into_owned();
    let Projected { q, k, v } = real.attention.project(&x, &x)?;
    let heads = real.attention.heads();
    let [q, k, v] = [q, k, v].map(|all| cut_from_rows(&all, heads));
    let mut in_reading_order = Vec::new();
    for ((q, k), v) in q.iter().zip(&k).zip(&v) {
        let found =
            attention::attend(q.as_view(), k.as_view(), v.as_view(), &Mask::None)?;
        in_reading_order.extend_from_slice(found.output.transpose().as_slice());
    }
    let width = in_reading_order.len() / tokens.max(1);
    let found = DMatrix::from_row_slice(tokens, width, &in_reading_order);
    Ok(real.attention.o_proj().forward(&found)?)
}

/// The layer's output when scores are divided by the root of the model's width instead of
/// the head's, with the layer's matrices shared by `heads`.
///
/// # Errors
/// When they do not divide its width.
pub fn output_scaled_by_width(real: &Real, heads: usize) -> Result<DMatrix<f32>> {
    let layer = shared(&real.layer, heads)?;
    let Projected { q, k, v } = layer.project(&real.layer.x, &real.layer.x)?;
    // √(head_dim) / √(model_dim) on the queries makes up for the scale inside.
    let q = q / (heads as f32).sqrt();
    let found = attend_heads(&q, &k, &v, heads, &Mask::None)?;
    Ok(layer.o_proj().forward(&found.found)?)
}

/// `context` (tokens, heads · `v_dim`) with the mean over the heads in every head's place.
#[must_use]
pub fn averaged(context: &DMatrix<f32>, heads: usize) -> DMatrix<f32> {
    let width = context.ncols() / heads;
    let mut mean = DMatrix::zeros(context.nrows(), width);
    for h in 0..heads {
        mean += columns_of(h, context, width);
    }
    mean /= heads as f32;
    DMatrix::from_fn(context.nrows(), context.ncols(), |i, j| mean[(i, j % width)])
}

/// What `cargo bench -p multi-head -- --record` wrote down last.
///
/// # Errors
/// When the recording cannot be read.
pub fn recorded() -> Result<Recorded> {
    let file = include_str!("../benches/recorded.csv");
    Recorded::parse(file).context("chapters/02-multi-head/benches/recorded.csv")
}
