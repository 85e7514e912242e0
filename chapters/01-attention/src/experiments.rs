//! What the chapter measures: the data behind its figures and numbers.

use crate::{Attended, Attention, Linear, Mask, ShapeError, exp_nonpositive, softmax};
use anyhow::{Context, Result};
use chapter_cli::Recorded;
use minilm::Layer;
use nalgebra::DMatrix;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};

/// Which head of MiniLM, both counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Of six.
    pub layer: usize,
    /// Of the twelve in each layer.
    pub head: usize,
}

/// The head that the book opens with.
pub const OPENING: Place = Place { layer: 3, head: 1 };

/// One head of MiniLM at work on its sentence.
pub struct Real {
    /// Where the head is from.
    pub place: Place,
    /// The sentence.
    pub tokens: Vec<String>,
    /// The sentence as it enters the layer, (tokens, `model_dim`).
    pub x: DMatrix<f32>,
    /// The head.
    pub head: Attention,
    /// What the head makes of the sentence.
    pub attended: Attended,
}

/// [`OPENING`], cut out of its layer.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn real() -> Result<Real> {
    let layer = Layer::load(OPENING.layer)?;
    let head = head(&layer, OPENING.head)?;
    Ok(Real::new(OPENING, layer.tokens, layer.x, head)?)
}

/// The same head on the sentence that ends in *too wide*.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn wide() -> Result<Real> {
    let (tokens, x) = minilm::wide()?;
    let head = head(&Layer::load(OPENING.layer)?, OPENING.head)?;
    Ok(Real::new(OPENING, tokens, x, head)?)
}

impl Real {
    /// A head on the tokens of a sentence, `x` (tokens, `model_dim`).
    ///
    /// # Errors
    /// When the head reads tokens of another width.
    pub fn new(
        place: Place,
        tokens: Vec<String>,
        x: DMatrix<f32>,
        head: Attention,
    ) -> Result<Real, ShapeError> {
        let attended = head.forward(&x, &Mask::None)?;
        Ok(Real { place, tokens, x, head, attended })
    }

    /// Where `token` stands in the sentence for the first time.
    ///
    /// # Errors
    /// When it does not.
    pub fn position(&self, token: &str) -> Result<usize> {
        let place = self.tokens.iter().position(|t| t == token);
        place.with_context(|| format!("`{token}` is not in the sentence"))
    }

    /// The head's queries and keys, each (tokens, `head_dim`).
    ///
    /// # Errors
    /// None that can happen: the layer was checked.
    pub fn queries_and_keys(&self) -> Result<(DMatrix<f32>, DMatrix<f32>), ShapeError> {
        let q = self.head.q_proj.forward(&self.x)?;
        Ok((q, self.head.k_proj.forward(&self.x)?))
    }
}

/// One head of a layer as an attention layer of its own.
///
/// # Errors
/// When the layer's tensors do not fit one another.
pub fn head(layer: &Layer, head: usize) -> Result<Attention, ShapeError> {
    let cut = |projection| {
        let (weight, bias) = minilm::head(projection, head, layer.head_dim());
        Linear::new(weight, bias)
    };
    Attention::new(cut(&layer.q_proj)?, cut(&layer.k_proj)?, cut(&layer.v_proj)?)
}

/// The mean weight on `[CLS]`, for each head of layer 3.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn sinks() -> Result<Vec<f32>> {
    let layer = Layer::load(3)?;
    let mean = |h| -> Result<f32> {
        let attended = head(&layer, h)?.forward(&layer.x, &Mask::None)?;
        Ok(attended.weights.column(0).mean())
    };
    (0..layer.heads).map(mean).collect()
}

/// Keys that each query of [`sharpness`] chooses among, unless told otherwise.
pub const KEYS: usize = 64;

/// How peaked weights are, on average over queries.
pub struct Peak {
    /// Entropy of a row in nats: 0 for one key, ln n for all alike.
    pub entropy: f32,
    /// The largest weight of a row.
    pub largest: f32,
}

/// What random queries and keys of a width do to softmax.
pub struct Sharpness {
    /// Variance of the dot products.
    pub variance: f32,
    /// Softmax of the dot products as they are.
    pub raw: Peak,
    /// Softmax of the dot products over √`d_k`.
    pub scaled: Peak,
}

/// 256 queries and [`KEYS`] keys with independent standard normal entries.
#[must_use]
pub fn sharpness(d_k: usize) -> Sharpness {
    sharpness_among(KEYS, d_k)
}

/// [`sharpness`] with another number of keys.
#[must_use]
pub fn sharpness_among(keys: usize, d_k: usize) -> Sharpness {
    let mut rng = ChaCha8Rng::seed_from_u64(d_k as u64);
    let mut normal =
        |rows| DMatrix::from_fn(rows, d_k, |_, _| StandardNormal.sample(&mut rng));
    let (q, k): (DMatrix<f32>, DMatrix<f32>) = (normal(256), normal(keys));
    let products = q * k.transpose();
    let scaled = &products / (d_k as f32).sqrt();
    let variance = products.iter().map(|s| s * s).sum::<f32>() / products.len() as f32;
    Sharpness { variance, raw: peak(products), scaled: peak(scaled) }
}

fn peak(scores: DMatrix<f32>) -> Peak {
    let weights = softmax(scores);
    let plogp = |w: f32| if w > 0.0 { -w * w.ln() } else { 0.0 };
    let rows = weights.nrows() as f32;
    let entropy = weights.iter().map(|&w| plogp(w)).sum::<f32>() / rows;
    let largest = weights.row_iter().map(|row| row.max()).sum::<f32>() / rows;
    Peak { entropy, largest }
}

/// What one attention costs.
pub struct Cost {
    /// Multiply-adds of the scores and of the average.
    pub multiply_adds: u64,
    /// Size of the weights in f32.
    pub weight_bytes: u64,
}

/// The cost of [`attend`](crate::attend) after the projections.
#[must_use]
pub fn cost(queries: u64, keys: u64, d_k: u64, d_v: u64) -> Cost {
    let multiply_adds = queries * keys * (d_k + d_v);
    Cost { multiply_adds, weight_bytes: queries * keys * 4 }
}

/// The factor by which `scores` (one row) must be multiplied before softmax, so that the
/// largest of them, at `place`, gets `share` of the weight.
#[must_use]
pub fn factor_for(scores: &DMatrix<f32>, place: usize, share: f32) -> f32 {
    let (mut low, mut high) = (0.0, 64.0);
    for _ in 0..32 {
        let factor = f32::midpoint(low, high);
        let reached = softmax(scores * factor)[place] >= share;
        if reached { high = factor } else { low = factor }
    }
    high
}

/// The largest relative error of [`exp_nonpositive`], against f64.
#[must_use]
pub fn worst_exp_error() -> f64 {
    worst_error(exp_nonpositive)
}

/// The largest relative error of the same method with another number of terms.
#[must_use]
pub fn worst_error_of_terms(terms: u32) -> f64 {
    let factorial = |k: u32| (1..=k).map(|i| i as f32).product::<f32>();
    worst_error(|x| {
        let n = (x / std::f32::consts::LN_2).round();
        let r = (f64::from(x) - f64::from(n) * std::f64::consts::LN_2) as f32;
        let series = (0..terms).rev().fold(0.0, |sum, k| sum * r + 1.0 / factorial(k));
        series * n.exp2()
    })
}

/// Over every 199th f32 from -87 to 0.
fn worst_error(exp: impl Fn(f32) -> f32) -> f64 {
    let lowest = (-87.0_f32).to_bits();
    let negative_zero = (-0.0_f32).to_bits();
    let error = |x: f32| {
        let exact = f64::from(x).exp();
        (f64::from(exp(x)) - exact).abs() / exact
    };
    let numbers = (negative_zero..=lowest).step_by(199).map(f32::from_bits);
    numbers.map(error).fold(0.0, f64::max)
}

/// The four softmaxes that the benchmark times, by name and in words.
pub const VERSIONS: [(&str, &str); 4] = [
    ("softmax_by_rows", "rows, f32::exp"),
    ("columns_std_exp", "columns, f32::exp"),
    ("columns_series", "columns, exp_nonpositive"),
    ("softmax", "the processor's vectors"),
];

/// What `cargo bench -p attention -- --record` wrote down last.
///
/// # Errors
/// When the recording cannot be read.
pub fn recorded() -> Result<Recorded> {
    Recorded::parse(include_str!("../benches/recorded.csv"))
        .context("chapters/01-attention/benches/recorded.csv")
}
