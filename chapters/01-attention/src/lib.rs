//! Scaled dot-product attention: every query looks at all keys at once and takes
//! home a weighted average of their values.
//!
//! ```text
//! attention(Q, K, V) = softmax(Q Kᵀ / √d_k) V
//! ```
//!
//! Source: Vaswani et al. 2017, *Attention Is All You Need*, §3.2.1, equation 1.
//!
//! ```
//! use attention::{Mask, attend};
//! use nalgebra::dmatrix;
//!
//! let keys = dmatrix![4.0, 0.0; 0.0, 4.0];
//! let values = dmatrix![1.0; -1.0];
//! let query = dmatrix![4.0, 0.0];
//!
//! let found = attend(query.as_view(), keys.as_view(), values.as_view(), &Mask::None)?;
//! assert!(found.output[0] > 0.99);
//! # Ok::<(), attention::ShapeError>(())
//! ```

pub mod command;
pub mod example;
pub mod experiments;
pub mod figures;
pub mod files;
mod learned;
pub mod slips;

use nalgebra::{DMatrix, DMatrixView, DVector};
use std::f32::consts::LOG2_E;

/// What [`attend`] gives: the answer of each query, and where it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Attended {
    /// (queries, `d_v`): each row is an average of the rows of V.
    pub output: DMatrix<f32>,
    /// (queries, keys): the weights of that average. Each row sums to one, or is all
    /// zeros where the mask leaves the query nothing to look at.
    pub weights: DMatrix<f32>,
}

/// Scaled dot-product attention (Vaswani et al. 2017, equation 1).
///
/// `q` is (queries, `d_k`), `k` is (keys, `d_k`), `v` is (keys, `d_v`).
///
/// # Errors
/// When `q` and `k` differ in width, `k` and `v` in rows, or the mask has another shape.
pub fn attend(
    q: DMatrixView<f32>,
    k: DMatrixView<f32>,
    v: DMatrixView<f32>,
    mask: &Mask,
) -> Result<Attended, ShapeError> {
    expect_shape("v", v.shape(), (k.nrows(), v.ncols()), "every key has one value")?;
    let mut scores = scores(q, k)?;
    mask.hide(&mut scores)?;
    let weights = softmax(scores);
    let output = average(weights.as_view(), v, |query, key| mask.sees(query, key));
    Ok(Attended { output, weights })
}

/// How well each query fits each key: `Q Kᵀ / √d_k`, (queries, keys).
///
/// # Errors
/// When `q` (queries, `d_k`) and `k` (keys, `d_k`) differ in width.
pub fn scores(
    q: DMatrixView<f32>,
    k: DMatrixView<f32>,
) -> Result<DMatrix<f32>, ShapeError> {
    let d_k = q.ncols();
    expect_shape("k", k.shape(), (k.nrows(), d_k), "a dot product needs equal widths")?;
    // Dividing Q (queries × d_k) is cheaper than dividing the scores (queries × keys).
    Ok(q / (d_k as f32).sqrt() * k.transpose())
}

/// Turns each row of scores into weights, `exp(s) / Σ exp(s)`, one row after the other:
/// the formula as it is written. [`softmax`] gives the same numbers sooner.
///
/// A row of only -inf gives zeros. Where a row holds +inf, the infinite entries share its
/// weight.
#[must_use]
pub fn softmax_by_rows(mut scores: DMatrix<f32>) -> DMatrix<f32> {
    for mut row in scores.row_iter_mut() {
        // Clamped, because -inf - (-inf) and inf - inf are NaN.
        let max = row.iter().copied().fold(f32::MIN, f32::max).min(f32::MAX);
        row.apply(|s| *s = (*s - max).clamp(f32::MIN, 0.0).exp());
        let sum = row.sum();
        if sum != 0.0 {
            row /= sum;
        }
    }
    scores
}

/// What each query takes home: `A V`, (queries, `d_v`), of `weights` (queries, keys) and
/// `v` (keys, `d_v`), whose shapes the caller has checked.
///
/// The weight of a hidden key is 0, but 0 · NaN is NaN, and so is 0 · ∞. Where V holds
/// such numbers they are left out of the product, and then added for the queries that
/// see them.
#[must_use]
pub fn average(
    weights: DMatrixView<f32>,
    v: DMatrixView<f32>,
    sees: impl Fn(usize, usize) -> bool,
) -> DMatrix<f32> {
    let output = weights * v;
    // A number of V that is not finite shows in every row, so one row tells.
    if output.row_iter().take(1).all(|row| row.iter().all(|o| o.is_finite())) {
        return output;
    }
    let mut output = weights * v.map(|v| if v.is_finite() { v } else { 0.0 });
    for (feature, values) in v.column_iter().enumerate() {
        let odd = values.iter().enumerate().filter(|(_, value)| !value.is_finite());
        for (key, value) in odd {
            for query in (0..output.nrows()).filter(|&query| sees(query, key)) {
                output[(query, feature)] += weights[(query, key)] * value;
            }
        }
    }
    output
}

/// A linear map `x W + b`, as `nn.Linear` in PyTorch.
#[derive(Debug, Clone, PartialEq)]
pub struct Linear {
    weight: DMatrix<f32>,
    bias: Option<DVector<f32>>,
}

impl Linear {
    /// From a weight (`d_in`, `d_out`) and a bias with `d_out` entries.
    ///
    /// # Errors
    /// When the bias has another length than the weight has columns.
    pub fn new(
        weight: DMatrix<f32>,
        bias: Option<DVector<f32>>,
    ) -> Result<Self, ShapeError> {
        if let Some(bias) = &bias {
            let wanted = (weight.ncols(), 1);
            expect_shape(
                "bias",
                bias.shape(),
                wanted,
                "one entry for each feature that leaves",
            )?;
        }
        Ok(Linear { weight, bias })
    }

    /// (`d_in`, `d_out`): features that enter, features that leave.
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        self.weight.shape()
    }

    /// (`d_in`, `d_out`): the matrix itself.
    #[must_use]
    pub fn weight(&self) -> &DMatrix<f32> {
        &self.weight
    }

    /// `d_out` entries, if the map has a bias.
    #[must_use]
    pub fn bias(&self) -> Option<&DVector<f32>> {
        self.bias.as_ref()
    }

    /// Numbers that were learned.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.weight.len() + self.bias.as_ref().map_or(0, DVector::len)
    }

    /// `x` (tokens, `d_in`) to (tokens, `d_out`).
    ///
    /// # Errors
    /// When `x` has another width than `d_in`.
    pub fn forward(&self, x: &DMatrix<f32>) -> Result<DMatrix<f32>, ShapeError> {
        let wanted = (x.nrows(), self.shape().0);
        expect_shape(
            "x",
            x.shape(),
            wanted,
            "the projection reads that many features",
        )?;
        let mut y = match x.nrows() {
            // nalgebra is slow at a single row; its columns' dot products are not.
            1 => self.weight.tr_mul(&x.transpose()).transpose(),
            _ => x * &self.weight,
        };
        if let Some(bias) = &self.bias {
            for (mut column, b) in y.column_iter_mut().zip(bias.iter()) {
                column.add_scalar_mut(*b);
            }
        }
        Ok(y)
    }
}

/// An attention layer: what a token asks, what it offers, what it hands over, each a
/// linear map that was learned.
#[derive(Debug, Clone, PartialEq)]
pub struct Attention {
    /// (`model_dim`, `d_k`): tokens to queries.
    q_proj: Linear,
    /// (`context_dim`, `d_k`): context to keys.
    k_proj: Linear,
    /// (`context_dim`, `d_v`): context to values.
    v_proj: Linear,
}

impl Attention {
    /// A layer from its three projections.
    ///
    /// # Errors
    /// When queries and keys differ in width, or keys and values read different widths.
    pub fn new(
        q_proj: Linear,
        k_proj: Linear,
        v_proj: Linear,
    ) -> Result<Self, ShapeError> {
        let keys = (k_proj.shape().0, q_proj.shape().1);
        let why = "queries and keys meet in a dot product";
        expect_shape("k_proj", k_proj.shape(), keys, why)?;
        let values = (k_proj.shape().0, v_proj.shape().1);
        let why = "keys and values read the same tokens";
        expect_shape("v_proj", v_proj.shape(), values, why)?;
        Ok(Attention { q_proj, k_proj, v_proj })
    }

    /// Self-attention: the tokens `x` (tokens, `model_dim`) look at one another.
    ///
    /// # Errors
    /// When `x` does not have `model_dim` columns, or the mask does not fit.
    pub fn forward(
        &self,
        x: &DMatrix<f32>,
        mask: &Mask,
    ) -> Result<Attended, ShapeError> {
        self.forward_cross(x, x, mask)
    }

    /// Cross-attention: the tokens `x` (tokens, `model_dim`) look at another sequence,
    /// `context` (context tokens, `context_dim`).
    ///
    /// # Errors
    /// When `x` or `context` has another width than its projection, or the mask does
    /// not fit.
    pub fn forward_cross(
        &self,
        x: &DMatrix<f32>,
        context: &DMatrix<f32>,
        mask: &Mask,
    ) -> Result<Attended, ShapeError> {
        let q = self.q_proj.forward(x)?;
        let k = self.k_proj.forward(context).map_err(|e| e.of("context"))?;
        let v = self.v_proj.forward(context).map_err(|e| e.of("context"))?;
        attend(q.as_view(), k.as_view(), v.as_view(), mask)
    }

    /// Numbers that were learned, in all three projections.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.q_proj.parameters() + self.k_proj.parameters() + self.v_proj.parameters()
    }
}

/// Which keys a query may look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mask {
    /// All of them.
    None,
    /// Query `i` sees the keys `0..=i + offset`: its own position and what came before.
    /// The offset counts the keys that stand before the first query.
    Causal {
        /// Keys before the first query.
        offset: usize,
    },
    /// The last `window` of the keys that `Causal` leaves: query `i` stands at key
    /// `i + offset`, and sees that one and the `window - 1` before it.
    Window {
        /// Keys before the first query.
        offset: usize,
        /// Keys that a query sees, its own among them.
        window: usize,
    },
    /// (queries, keys); `true` means *may attend*.
    Allowed(DMatrix<bool>),
}

impl Mask {
    /// Hides padding: no query may look at a key whose entry in `real` is false. Every
    /// query keeps its own row, padding or not; see the chapter for why.
    #[must_use]
    pub fn padding(queries: usize, real: &[bool]) -> Mask {
        Mask::Allowed(DMatrix::from_fn(queries, real.len(), |_, key| real[key]))
    }

    /// Whether it lets this query look at this key.
    #[must_use]
    pub fn sees(&self, query: usize, key: usize) -> bool {
        match self {
            Mask::None => true,
            Mask::Causal { offset } => key <= query.saturating_add(*offset),
            Mask::Window { offset, window } => {
                let own = query.saturating_add(*offset);
                key <= own && own - key < *window
            }
            Mask::Allowed(allowed) => allowed.get((query, key)) == Some(&true),
        }
    }

    /// Sets the score of every hidden pair to -inf, so that its weight becomes exp(-inf),
    /// which is 0.
    ///
    /// # Errors
    /// When a mask of [`Mask::Allowed`] has another shape than `scores` (queries, keys).
    pub fn hide(&self, scores: &mut DMatrix<f32>) -> Result<(), ShapeError> {
        match self {
            Mask::None => {}
            Mask::Causal { offset } => {
                for (key, mut column) in scores.column_iter_mut().enumerate() {
                    let blind = key.saturating_sub(*offset).min(column.nrows());
                    column.rows_mut(0, blind).fill(f32::NEG_INFINITY);
                }
            }
            Mask::Window { .. } => {
                for (key, mut column) in scores.column_iter_mut().enumerate() {
                    let queries = column.iter_mut().enumerate();
                    for (_, score) in queries.filter(|(i, _)| !self.sees(*i, key)) {
                        *score = f32::NEG_INFINITY;
                    }
                }
            }
            Mask::Allowed(allowed) => {
                let shape = scores.shape();
                expect_shape(
                    "mask",
                    allowed.shape(),
                    shape,
                    "one entry per query and key",
                )?;
                scores.zip_apply(allowed, |score, allowed| {
                    if !allowed {
                        *score = f32::NEG_INFINITY;
                    }
                });
            }
        }
        Ok(())
    }
}

/// Turns each row of scores into weights, all rows at a time: every step sweeps down
/// the columns, where nalgebra keeps neighbors in memory.
///
/// A row of only -inf gives zeros. Where a row holds +inf, the infinite entries share
/// its weight. NaN stays NaN.
#[must_use]
pub fn softmax(scores: DMatrix<f32>) -> DMatrix<f32> {
    // pulp compiles what is inlined here once for each vector width that a processor may
    // have, and picks one of them at run time.
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || sweep_columns(scores),
    )
}

#[inline(always)]
fn sweep_columns(mut scores: DMatrix<f32>) -> DMatrix<f32> {
    let queries = scores.nrows();
    // Bounded, because -inf - (-inf) and inf - inf are NaN.
    let mut max = vec![f32::MIN; queries];
    let mut sum = vec![0.0; queries];

    for column in scores.as_slice().chunks_exact(queries.max(1)) {
        for (max, s) in max.iter_mut().zip(column) {
            *max = if *s > *max { *s } else { *max };
        }
    }
    for column in scores.as_mut_slice().chunks_exact_mut(queries.max(1)) {
        for ((s, max), sum) in column.iter_mut().zip(&max).zip(&mut sum) {
            *s = exp_nonpositive(*s - max.min(f32::MAX));
            *sum += *s;
        }
    }
    for column in scores.as_mut_slice().chunks_exact_mut(queries.max(1)) {
        for (s, sum) in column.iter_mut().zip(&sum) {
            *s = if *sum == 0.0 { 0.0 } else { *s / *sum };
        }
    }
    scores
}

/// e^x for x ≤ 0 (a positive x counts as 0), without calls, and with selections in place
/// of branches, so that the compiler can compute many at a time. Within 1.2e-7 of the
/// value, one unit in its last place; below -87, where f32 runs out of exponents, it is 0.
///
/// e^x = 2^p · e^r, where p is the integer nearest to x / ln 2. Adding and subtracting
/// 1.5 · 2²³ rounds to p, and leaves p in the low bits of the sum; shifted into the
/// exponent they are 2^p. What remains is small, and eight terms of its series are enough.
#[inline(always)]
#[must_use]
pub fn exp_nonpositive(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts, the first short enough that p times it is exact.
    const LN_2_HIGH: f32 = 355.0 / 512.0;
    const LN_2_LOW: f32 = -2.121_944_4e-4;

    let rounded = x * LOG2_E + ROUND;
    let p = rounded - ROUND;
    let r = (x - p * LN_2_HIGH) - p * LN_2_LOW;
    let series = [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0]
        .iter()
        .fold(1.0 / 5040.0, |sum, term| sum * r + term);
    let exponent = (rounded.to_bits() << 23).wrapping_add(1.0_f32.to_bits());
    let two_to_p = f32::from_bits(exponent);
    match x {
        x if x < -87.0 => 0.0,
        x if x > 0.0 => 1.0,
        _ => series * two_to_p,
    }
}

/// A matrix that does not fit where it was put. Shapes are (rows, columns).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{tensor}: expected {expected:?}, found {found:?}: {because}")]
pub struct ShapeError {
    /// The matrix, by the name of the argument or the checkpoint's tensor.
    pub tensor: &'static str,
    /// The shape that would fit.
    pub expected: (usize, usize),
    /// The shape that it has.
    pub found: (usize, usize),
    /// What makes it fit or not.
    pub because: &'static str,
}

impl ShapeError {
    /// The same error, told of another tensor.
    #[must_use]
    pub fn of(self, tensor: &'static str) -> Self {
        ShapeError { tensor, ..self }
    }
}

/// The check behind every [`ShapeError`].
///
/// # Errors
/// When `found` is not `expected`.
pub fn expect_shape(
    tensor: &'static str,
    found: (usize, usize),
    expected: (usize, usize),
    because: &'static str,
) -> Result<(), ShapeError> {
    if found == expected {
        Ok(())
    } else {
        Err(ShapeError { tensor, expected, found, because })
    }
}
