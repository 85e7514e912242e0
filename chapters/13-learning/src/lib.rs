//! Where the weights come from: the backward pass of each mechanism, from the gradient of
//! what it gave to the gradients of what it was given.
//!
//! ```text
//! dV = Aᵀ dO      dA = dO Vᵀ      dS = A ∘ (dA − rowsum(A ∘ dA))
//! dQ = dS K / √d_k                dK = dSᵀ Q / √d_k
//! ```
//!
//! A gradient `dX` has the shape of X: it says how fast the loss grows with each number
//! of X. Every function here takes the gradient of a result and what the forward pass
//! saved, and gives the gradients of the arguments.
//!
//! Sources: Rumelhart et al. 1986, *Learning representations by back-propagating errors*;
//! Dao et al. 2022, *Flash Attention*, appendix B.2.
//!
//! ```
//! use attention::{Mask, attend};
//! use learning::attend_backward;
//! use nalgebra::dmatrix;
//!
//! let (q, k) = (dmatrix![1.0, 0.0], dmatrix![1.0, 0.0; 0.0, 1.0]);
//! let v = dmatrix![2.0; 4.0];
//! let found = attend(q.as_view(), k.as_view(), v.as_view(), &Mask::None)?;
//! let d_output = dmatrix![1.0];
//! let qkv = [q.as_view(), k.as_view(), v.as_view()];
//! let gradients = attend_backward(qkv, &found.weights, d_output.as_view())?;
//! // A value matters as much as it was looked at.
//! assert_eq!(gradients.v, found.weights.transpose());
//! # Ok::<(), attention::ShapeError>(())
//! ```

mod charts;
mod embedding;
mod entropy;
pub mod example;
pub mod experiments;
pub mod figures;
mod flash;
mod heads;
pub mod inside;
mod latent;
mod layer;
mod linformer;
mod maps;
pub mod mechanisms;
mod norm;
pub mod own;
mod pieces;
mod product;
mod rotation;
mod shared;
mod swiglu;
pub mod tales;
pub mod training;

use attention::{Linear, ShapeError, expect_shape};
pub use embedding::{embed, embedding_backward};
pub use entropy::{CrossEntropy, LossError, cross_entropy};
pub use flash::{Attending, FlashGradients, flash_backward};
pub use heads::{HeadsGradients, heads_backward};
pub use latent::{LatentGradients, QueryGradients, latent_backward};
pub use layer::{Forward, LayerGradients, backward, forward, forward_in_tiles};
pub use linformer::{LinformerGradients, linformer_backward};
use nalgebra::{DMatrix, DMatrixView, DVector};
pub use norm::{NormGradients, norm_backward};
pub use pieces::{Pieces, PiecesError};
use product::{product, transposed, transposed_times};
use pulp::Arch;
pub use rotation::rotation_backward;
pub use shared::{SharedGradients, SharedHeads};
pub use swiglu::{FeedForward, FeedForwardGradients, Gated};

/// From the gradient of the weights to the gradient of the scores, one row after the
/// other: `dS = A ∘ (dA − Σ A ∘ dA)`.
///
/// The weights of a row sum to one, so what matters is not how large the gradients
/// of a row's weights are, but by how much each exceeds their average. That average
/// is weighted as the output was. Both are (queries, keys).
#[must_use]
pub fn softmax_backward_by_rows(
    weights: &DMatrix<f32>,
    d_weights: &DMatrix<f32>,
) -> DMatrix<f32> {
    let mut d_scores = d_weights.clone();
    for (a, mut d) in weights.row_iter().zip(d_scores.row_iter_mut()) {
        let average = a.dot(&d);
        d.zip_apply(&a, |d, a| *d = a * (*d - average));
    }
    d_scores
}

/// [`softmax_backward_by_rows`], all rows at a time, written over `d_weights`. A
/// pair whose weight is 0 gets 0, whatever stands in `d_weights`: the value of a
/// hidden key may be NaN.
///
/// # Panics
/// When the two matrices differ in shape.
#[must_use]
pub fn softmax_backward(
    weights: &DMatrix<f32>,
    d_weights: DMatrix<f32>,
) -> DMatrix<f32> {
    let mut d_scores = d_weights;
    let averages = averages(weights, &d_scores);
    Arch::new().dispatch(
        #[inline(always)]
        || {
            let rows = weights.nrows().max(1);
            let columns = d_scores.as_mut_slice().chunks_exact_mut(rows);
            for (d, a) in columns.zip(weights.as_slice().chunks_exact(rows)) {
                for ((d, a), average) in d.iter_mut().zip(a).zip(&averages) {
                    *d = if *a == 0.0 { 0.0 } else { a * (*d - average) };
                }
            }
        },
    );
    d_scores
}

/// `Σ A ∘ dA` of each row: how fast the loss grows with the output, along the output.
fn averages(weights: &DMatrix<f32>, d_weights: &DMatrix<f32>) -> Vec<f32> {
    assert_eq!(weights.shape(), d_weights.shape(), "one gradient for each weight");
    let rows = weights.nrows();
    let mut averages = vec![0.0; rows];
    Arch::new().dispatch(
        #[inline(always)]
        || {
            let columns = weights.as_slice().chunks_exact(rows.max(1));
            for (a, d) in columns.zip(d_weights.as_slice().chunks_exact(rows.max(1))) {
                for ((average, a), d) in averages.iter_mut().zip(a).zip(d) {
                    *average += if *a == 0.0 { 0.0 } else { a * d };
                }
            }
        },
    );
    averages
}

/// Gradients of what attention was given.
#[derive(Debug, Clone, PartialEq)]
pub struct AttendGradients {
    /// (queries, `d_k`).
    pub q: DMatrix<f32>,
    /// (keys, `d_k`).
    pub k: DMatrix<f32>,
    /// (keys, `d_v`).
    pub v: DMatrix<f32>,
}

/// The way back through [`attention::attend`], whose arguments were `q` (queries, `d_k`),
/// `k` (keys, `d_k`) and `v` (keys, `d_v`), and which gave `weights` (queries, keys).
/// `d_output` is (queries, `d_v`).
///
/// The mask does not come up: a hidden pair has weight 0, and so its score has gradient 0.
///
/// # Errors
/// When the shapes do not fit together.
pub fn attend_backward(
    [q, k, v]: [DMatrixView<f32>; 3],
    weights: &DMatrix<f32>,
    d_output: DMatrixView<f32>,
) -> Result<AttendGradients, ShapeError> {
    expect_pairs([q, k, v], weights)?;
    let d_v = values_backward(weights, v, d_output)?;
    let d_weights = d_output * transposed(v);
    let d_scores = softmax_backward(weights, d_weights);
    let scale = 1.0 / (q.ncols() as f32).sqrt();
    let Scored { q, k } = scores_backward(q, k, &d_scores, scale);
    Ok(AttendGradients { q, k, v: d_v })
}

/// `Aᵀ dO`: each value gets the gradients of all outputs that it went into, by its
/// weights.
fn values_backward(
    weights: &DMatrix<f32>,
    v: DMatrixView<f32>,
    d_output: DMatrixView<f32>,
) -> Result<DMatrix<f32>, ShapeError> {
    let wanted = (weights.nrows(), v.ncols());
    let why = "a gradient has the shape of the output";
    expect_shape("d_output", d_output.shape(), wanted, why)?;
    Ok(transposed_times(weights, d_output))
}

/// Gradients of what scores were computed from.
struct Scored {
    q: DMatrix<f32>,
    k: DMatrix<f32>,
}

/// The way back through `scale · Q Kᵀ`: the factor stands in both.
fn scores_backward(
    q: DMatrixView<f32>,
    k: DMatrixView<f32>,
    d_scores: &DMatrix<f32>,
    scale: f32,
) -> Scored {
    let (d_q, d_k) = (product(d_scores, k), transposed_times(d_scores, q));
    Scored { q: d_q * scale, k: d_k * scale }
}

fn expect_pairs(
    [q, k, v]: [DMatrixView<f32>; 3],
    weights: &DMatrix<f32>,
) -> Result<(), ShapeError> {
    let keys = (k.nrows(), q.ncols());
    expect_shape("k", k.shape(), keys, "a dot product needs equal widths")?;
    expect_shape("v", v.shape(), (k.nrows(), v.ncols()), "every key has one value")?;
    let pairs = (q.nrows(), k.nrows());
    expect_shape("weights", weights.shape(), pairs, "one weight per query and key")
}

/// Gradients of what a linear map has learned.
#[derive(Debug, Clone, PartialEq)]
pub struct LinearGradients {
    /// (`d_in`, `d_out`): `xᵀ dy`.
    pub weight: DMatrix<f32>,
    /// `d_out` entries, if the map has a bias: the sum of the rows of `dy`.
    pub bias: Option<DVector<f32>>,
}

/// The gradient of what went into `linear`, `dy Wᵀ`: (tokens, `d_out`) to (tokens, `d_in`).
///
/// # Errors
/// When `dy` is not as wide as what leaves the map.
pub fn linear_input(
    linear: &Linear,
    dy: &DMatrix<f32>,
) -> Result<DMatrix<f32>, ShapeError> {
    let wanted = (dy.nrows(), linear.shape().1);
    expect_shape("dy", dy.shape(), wanted, "a gradient has the shape of the output")?;
    Ok(dy * transposed(linear.weight().as_view()))
}

/// The gradients of what `linear` has learned, of the `x` (tokens, `d_in`) that went in
/// and the gradient `dy` (tokens, `d_out`) of what came out. Every token has its say, so
/// they are sums over tokens.
///
/// # Errors
/// When `x` or `dy` does not fit the map.
pub fn linear_gradients(
    linear: &Linear,
    x: &DMatrix<f32>,
    dy: &DMatrix<f32>,
) -> Result<LinearGradients, ShapeError> {
    let (d_in, d_out) = linear.shape();
    let why = "the projection reads that many features";
    expect_shape("x", x.shape(), (x.nrows(), d_in), why)?;
    let why = "a gradient has the shape of the output";
    expect_shape("dy", dy.shape(), (x.nrows(), d_out), why)?;
    let bias = linear.bias().map(|_| dy.row_sum_tr());
    Ok(LinearGradients { weight: transposed(x.as_view()) * dy, bias })
}
