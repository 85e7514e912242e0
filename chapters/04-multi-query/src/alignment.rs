//! Heads in one basis. What a head computes does not depend on the basis in which its keys
//! and values are written, so training leaves every head in a basis of its own. Whoever
//! averages heads has to bring them into one basis first.
//!
//! Source: Jin, Song, Zhou and Qin 2024, *Align Attention Heads Before Merging Them*
//! (arXiv 2412.20677).

use attention::{Linear, expect_shape};
use multi_head::{LayerError, head_dim};
use nalgebra::{DMatrix, DVector, SVD};

/// Which turns of a head leave its scores, or what it finds, as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freedom {
    /// Every orthogonal matrix: values always; keys, if nothing happens to them between
    /// their projection and the product with the queries.
    Any,
    /// Keys whose first `rotary_dim` features are rotated by position, feature i together
    /// with feature i + `rotary_dim`/2: a rotation within each of these pairs, and every
    /// orthogonal matrix among the features that are not rotated.
    HalfSplit {
        /// At most the width of a head.
        rotary_dim: usize,
    },
    /// The same where features 2i and 2i + 1 are a pair.
    Interleaved {
        /// At most the width of a head.
        rotary_dim: usize,
    },
    /// None: keys whose features are scaled one by one, as by the gains of a norm.
    Fixed,
}

/// At most so many times every head is turned toward the others.
const ROUNDS: usize = 30;

/// Turning ends when a round gains less than this share of the agreement.
const SETTLED: f64 = 1e-4;

/// At most so many times every pair of columns is rotated; ten are usual.
const SWEEPS: usize = 40;

/// One orthogonal matrix (width, width) for each head in `all` (·, heads · width). When
/// each head is multiplied with its own, from the right, the heads are as near to their
/// mean as they get by turning one at a time (Procrustes; Ten Berge 1977). Heads that hold
/// NaN or infinity stay as they are.
///
/// # Errors
/// When the heads do not divide the width.
pub fn turns(
    all: &DMatrix<f32>,
    heads: usize,
    freedom: Freedom,
) -> Result<Vec<DMatrix<f32>>, LayerError> {
    let width = head_dim("projection", all.ncols(), heads)?;
    let all = all.map(f64::from);
    // All products of a feature with a feature: turning needs nothing else of the heads.
    let gram = all.tr_mul(&all);
    let mut turns: Vec<_> = vec![DMatrix::identity(width, width); heads];
    let mut reached = 0.0;
    for _ in 0..ROUNDS {
        let mut agreement = 0.0;
        for h in 0..heads {
            let mut others = DMatrix::zeros(width, width);
            for (other, turn) in turns.iter().enumerate().filter(|(o, _)| *o != h) {
                others += gram.view((h * width, other * width), (width, width)) * turn;
            }
            turns[h] = freedom.nearest(&others);
            agreement += turns[h].dot(&others);
        }
        if agreement.is_nan() || agreement - reached <= SETTLED * agreement {
            break;
        }
        reached = agreement;
    }
    Ok(turns.into_iter().map(|turn| turn.map(|x| x as f32)).collect())
}

/// (`d_in` + 1, `d_out`): the weight of a projection, and below it its bias, as the row
/// that a feature of constant 1 would meet. Without a bias, the weight.
#[must_use]
pub fn with_bias(projection: &Linear) -> DMatrix<f32> {
    let (d_in, d_out) = projection.shape();
    let mut rows = projection.weight().clone();
    if let Some(bias) = projection.bias() {
        rows = rows.resize(d_in + 1, d_out, 0.0);
        rows.row_mut(d_in).tr_copy_from(bias);
    }
    rows
}

/// Each head of `all` (·, heads · width) times its own matrix (width, width). `all` may be
/// a projection [`with_bias`], or the keys and values themselves.
///
/// # Errors
/// When the heads do not divide the width, or a matrix has another shape.
pub fn turn_heads(
    all: &DMatrix<f32>,
    turns: &[DMatrix<f32>],
) -> Result<DMatrix<f32>, LayerError> {
    let width = head_dim("projection", all.ncols(), turns.len())?;
    let mut turned = all.clone();
    for (h, turn) in turns.iter().enumerate() {
        expect_shape("turn", turn.shape(), (width, width), "a head is this wide")?;
        let head = all.columns(h * width, width) * turn;
        turned.columns_mut(h * width, width).copy_from(&head);
    }
    Ok(turned)
}

impl Freedom {
    /// The matrix R that this allows and that has the largest sum of products with
    /// `target` (width, width).
    fn nearest(self, target: &DMatrix<f64>) -> DMatrix<f64> {
        let width = target.nrows();
        let mut nearest = DMatrix::identity(width, width);
        let half = |rotary_dim: usize| rotary_dim.min(width) / 2;
        let pairs: Vec<[usize; 2]> = match self {
            Freedom::Any => Vec::new(),
            Freedom::HalfSplit { rotary_dim } => {
                let half = half(rotary_dim);
                (0..half).map(|i| [i, i + half]).collect()
            }
            Freedom::Interleaved { rotary_dim } => {
                (0..half(rotary_dim)).map(|i| [2 * i, 2 * i + 1]).collect()
            }
            Freedom::Fixed => return nearest,
        };
        for &[a, b] in &pairs {
            let cos = target[(a, a)] + target[(b, b)];
            let sin = target[(b, a)] - target[(a, b)];
            let (sin, cos) = sin.atan2(cos).sin_cos();
            nearest[(a, a)] = cos;
            nearest[(b, b)] = cos;
            nearest[(b, a)] = sin;
            nearest[(a, b)] = -sin;
        }
        let is_paired = |i: &usize| pairs.iter().any(|pair| pair.contains(i));
        let free: Vec<usize> = (0..width).filter(|i| !is_paired(i)).collect();
        let part = target.select_rows(&free).select_columns(&free);
        let turn = nearest_orthogonal(&part);
        for (i, &row) in free.iter().enumerate() {
            for (j, &column) in free.iter().enumerate() {
                nearest[(row, column)] = turn[(i, j)];
            }
        }
        nearest
    }
}

/// U Vᵀ of the singular value decomposition U Σ Vᵀ: `target` with all its singular values
/// set to 1.
fn nearest_orthogonal(target: &DMatrix<f64>) -> DMatrix<f64> {
    if target.is_empty() || !target.iter().all(|x| x.is_finite()) {
        return DMatrix::identity(target.nrows(), target.ncols());
    }
    decomposed(target).unwrap_or_else(|| decomposed_by_jacobi(target))
}

/// By nalgebra's decomposition, if what it gives multiplies to `target` again. It errs
/// where a singular value is 0, as it is for heads that are wider than what they read.
fn decomposed(target: &DMatrix<f64>) -> Option<DMatrix<f64>> {
    let found = SVD::try_new(target.clone(), true, true, f64::EPSILON, 1_000)?;
    let (mut u, v_t) = (found.u?, found.v_t?);
    let turn = &u * &v_t;
    for (mut column, size) in u.column_iter_mut().zip(&found.singular_values) {
        column *= *size;
    }
    ((u * v_t - target).norm() <= 1e-9 * target.norm()).then_some(turn)
}

/// Pairs of columns are rotated until all are at right angles (Jacobi's method): slower,
/// and right for every matrix.
fn decomposed_by_jacobi(target: &DMatrix<f64>) -> DMatrix<f64> {
    let width = target.ncols();
    let (mut u, mut v) = (target.clone(), DMatrix::identity(width, width));
    for _ in 0..SWEEPS {
        let mut rotated = false;
        for (a, b) in (0..width).flat_map(|b| (0..b).map(move |a| (a, b))) {
            let (size, other) =
                (u.column(a).norm_squared(), u.column(b).norm_squared());
            let product = u.column(a).dot(&u.column(b));
            if product.abs() > 1e-14 * (size * other).sqrt() {
                let (sin, cos) = (0.5 * (2.0 * product).atan2(size - other)).sin_cos();
                rotate(&mut u, [a, b], sin, cos);
                rotate(&mut v, [a, b], sin, cos);
                rotated = true;
            }
        }
        if !rotated {
            break;
        }
    }
    unit_columns(u) * v.transpose()
}

/// Rotates two columns in their plane.
fn rotate(matrix: &mut DMatrix<f64>, [a, b]: [usize; 2], sin: f64, cos: f64) {
    for row in 0..matrix.nrows() {
        let (x, y) = (matrix[(row, a)], matrix[(row, b)]);
        matrix[(row, a)] = cos * x + sin * y;
        matrix[(row, b)] = cos * y - sin * x;
    }
}

/// Columns at right angles, made as long as 1. In place of those that are next to nothing
/// stands what is at right angles to all others.
fn unit_columns(mut columns: DMatrix<f64>) -> DMatrix<f64> {
    let longest = columns.column_iter().map(|column| column.norm()).fold(0.0, f64::max);
    let (mut done, mut missing) = (Vec::new(), Vec::new());
    for j in 0..columns.ncols() {
        let length = columns.column(j).norm();
        if length > 1e-12 * longest {
            columns.column_mut(j).unscale_mut(length);
            done.push(j);
        } else {
            missing.push(j);
        }
    }
    for j in missing {
        let rest = |axis: usize| {
            let mut rest = DVector::zeros(columns.nrows());
            rest[axis] = 1.0;
            // A second time takes off what rounding left.
            for &other in done.iter().chain(&done) {
                let other = columns.column(other);
                rest.axpy(-other.dot(&rest), &other, 1.0);
            }
            rest
        };
        let rests = (0..columns.nrows()).map(rest);
        let longest = rests.max_by(|a, b| a.norm().total_cmp(&b.norm()));
        columns.set_column(j, &longest.unwrap_or_default().normalize());
        done.push(j);
    }
    columns
}
