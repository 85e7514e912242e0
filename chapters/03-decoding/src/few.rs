//! Attention for a few queries: the products of [`attend_columns`](crate::attend_columns), in tiles
//! of a few queries by a few features, so that each key and value is read from memory once
//! and used by all queries while it is at hand.

use attention::exp_nonpositive;
use nalgebra::{DMatrix, DMatrixView};
use pulp::{Arch, Scalar, Simd, WithSimd};
use std::array::from_fn;
use std::ops::Range;

/// Scores that are at hand at a time, 64 KiB of them: what stays in the inner caches.
const AT_HAND: usize = 16_384;

/// From this many queries on, an ordinary product on all cores has the scores sooner.
const MANY: usize = 16;

/// (keys, queries): `K Qᵀ`, a column a query, of `q` (queries, `d_k`) and `keys` (keys,
/// `d_k`).
#[must_use]
pub fn scores(q: &DMatrix<f32>, keys: DMatrixView<f32>) -> DMatrix<f32> {
    match q.nrows() {
        0 | 1 => Arch::new().dispatch(Scores::<1, 8> { q, keys }),
        2..MANY => Arch::new().dispatch(Scores::<4, 8> { q, keys }),
        MANY.. => keys * q.transpose(),
    }
}

/// [`scores`] on one core, for those who keep the others busy themselves.
#[must_use]
pub fn scores_in_tiles(q: &DMatrix<f32>, keys: DMatrixView<f32>) -> DMatrix<f32> {
    match q.nrows() {
        0 | 1 => Arch::new().dispatch(Scores::<1, 8> { q, keys }),
        _ => Arch::new().dispatch(Scores::<4, 8> { q, keys }),
    }
}

/// (queries, `d_v`): `A V`, of the weights `shares` (keys, queries), a column a query, and
/// `values` (keys, `d_v`).
#[must_use]
pub fn average(shares: &DMatrix<f32>, values: DMatrixView<f32>) -> DMatrix<f32> {
    match shares.ncols() {
        0 | 1 => Arch::new().dispatch(Average::<1, 8> { shares, values }),
        2.. => Arch::new().dispatch(Average::<4, 4> { shares, values }),
    }
}

/// Scores in tiles of `Q` queries by `N` features.
struct Scores<'a, const Q: usize, const N: usize> {
    q: &'a DMatrix<f32>,
    keys: DMatrixView<'a, f32>,
}

impl<const Q: usize, const N: usize> WithSimd for Scores<'_, Q, N> {
    type Output = DMatrix<f32>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> DMatrix<f32> {
        let (tokens, queries) = (self.keys.nrows(), self.q.nrows());
        let mut scores = DMatrix::zeros(tokens, queries.next_multiple_of(Q));
        for block in blocks(tokens, queries) {
            for feature in (0..self.keys.ncols()).step_by(N) {
                let keys: [_; N] = strip(&self.keys, feature, &block);
                for query in (0..queries).step_by(Q) {
                    let group =
                        &mut scores.as_mut_slice()[query * tokens..][..Q * tokens];
                    let mut columns = group.chunks_exact_mut(tokens);
                    let sums: [_; Q] = from_fn(|_| match columns.next() {
                        Some(column) => &mut column[block.clone()],
                        None => &mut [],
                    });
                    add_weighted(simd, sums, tile(self.q, query, feature), keys);
                }
            }
        }
        scores.resize_horizontally(queries, 0.0)
    }
}

/// Averages in tiles of `Q` queries by `N` features.
struct Average<'a, const Q: usize, const N: usize> {
    shares: &'a DMatrix<f32>,
    values: DMatrixView<'a, f32>,
}

impl<const Q: usize, const N: usize> WithSimd for Average<'_, Q, N> {
    type Output = DMatrix<f32>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> DMatrix<f32> {
        let (shares, queries) = (self.shares.as_view(), self.shares.ncols());
        let d_v = self.values.ncols();
        let padded = (queries.next_multiple_of(Q), d_v.next_multiple_of(N));
        let mut output: DMatrix<f32> = DMatrix::zeros(padded.0, padded.1);
        for block in blocks(self.values.nrows(), queries) {
            for feature in (0..d_v).step_by(N) {
                let values: [_; N] = strip(&self.values, feature, &block);
                for query in (0..queries).step_by(Q) {
                    let shares: [_; Q] = strip(&shares, query, &block);
                    let dots = dots(simd, shares, values);
                    for (q, row) in dots.iter().enumerate() {
                        for (n, dot) in row.iter().enumerate() {
                            output[(query + q, feature + n)] += dot;
                        }
                    }
                }
            }
        }
        output.resize(queries, d_v, 0.0)
    }
}

/// `sums[q] += Σ weights[q][n] · columns[n]`, as many tokens at once as a vector holds.
#[inline(always)]
fn add_weighted<S: Simd, const Q: usize, const N: usize>(
    simd: S,
    sums: [&mut [f32]; Q],
    weights: [[f32; N]; Q],
    columns: [&[f32]; N],
) {
    let mut sums = sums.map(S::as_mut_simd_f32s);
    let vectors = sums.each_mut().map(|(vectors, _)| &mut **vectors);
    add(simd, vectors, weights, columns.map(|c| S::as_simd_f32s(c).0));
    let rest = sums.map(|(_, rest)| rest);
    add(Scalar::new(), rest, weights, columns.map(|c| S::as_simd_f32s(c).1));
}

/// A key is loaded once for all `Q` queries, and a score once for all `N` features.
#[inline(always)]
fn add<S: Simd, const Q: usize, const N: usize>(
    simd: S,
    sums: [&mut [S::f32s]; Q],
    weights: [[f32; N]; Q],
    columns: [&[S::f32s]; N],
) {
    let len = columns[0].len();
    let (sums, columns) = (sums.map(|s| &mut s[..len]), columns.map(|c| &c[..len]));
    let mut wide = [[simd.splat_f32s(0.0); N]; Q];
    for q in 0..Q {
        for n in 0..N {
            wide[q][n] = simd.splat_f32s(weights[q][n]);
        }
    }
    for t in 0..len {
        let mut sum = [simd.splat_f32s(0.0); Q];
        for q in 0..Q {
            sum[q] = sums[q][t];
        }
        for n in 0..N {
            for q in 0..Q {
                sum[q] = simd.mul_add_e_f32s(wide[q][n], columns[n][t], sum[q]);
            }
        }
        for q in 0..Q {
            sums[q][t] = sum[q];
        }
    }
}

/// `a[q] · b[n]` for all pairs.
#[inline(always)]
fn dots<S: Simd, const Q: usize, const N: usize>(
    simd: S,
    a: [&[f32]; Q],
    b: [&[f32]; N],
) -> [[f32; N]; Q] {
    let (a, b) = (a.map(S::as_simd_f32s), b.map(S::as_simd_f32s));
    let vectors = dot(simd, a.map(|a| a.0), b.map(|b| b.0));
    let rest = dot(Scalar::new(), a.map(|a| a.1), b.map(|b| b.1));
    from_fn(|q| from_fn(|n| vectors[q][n] + rest[q][n]))
}

/// A value is loaded once for all `Q` queries, and a weight once for all `N` features.
#[inline(always)]
fn dot<S: Simd, const Q: usize, const N: usize>(
    simd: S,
    a: [&[S::f32s]; Q],
    b: [&[S::f32s]; N],
) -> [[f32; N]; Q] {
    let len = a[0].len();
    let (a, b) = (a.map(|a| &a[..len]), b.map(|b| &b[..len]));
    let mut sums = [[simd.splat_f32s(0.0); N]; Q];
    for t in 0..len {
        for q in 0..Q {
            for n in 0..N {
                sums[q][n] = simd.mul_add_e_f32s(a[q][t], b[n][t], sums[q][n]);
            }
        }
    }
    let mut dots = [[0.0; N]; Q];
    for q in 0..Q {
        for n in 0..N {
            dots[q][n] = simd.reduce_sum_f32s(sums[q][n]);
        }
    }
    dots
}

/// Ranges of tokens, as long as the scores of all queries can be at hand.
fn blocks(tokens: usize, queries: usize) -> impl Iterator<Item = Range<usize>> {
    let block = (AT_HAND / queries.max(1)).max(64);
    (0..tokens).step_by(block).map(move |start| start..tokens.min(start + block))
}

/// `rows` of `N` columns from `first` on; zeros for columns that there are not.
#[inline(always)]
fn strip<'a, const N: usize>(
    matrix: &'a DMatrixView<f32>,
    first: usize,
    rows: &Range<usize>,
) -> [&'a [f32]; N] {
    static ZEROS: [f32; AT_HAND] = [0.0; AT_HAND];
    from_fn(|n| match first + n {
        column if column < matrix.ncols() => {
            &matrix.column(column).data.into_slice()[rows.clone()]
        }
        _ => &ZEROS[..rows.len()],
    })
}

/// `Q` rows and `N` columns of `q`; zeros beyond its edges.
#[inline(always)]
fn tile<const Q: usize, const N: usize>(
    q: &DMatrix<f32>,
    row: usize,
    column: usize,
) -> [[f32; N]; Q] {
    from_fn(|i| from_fn(|n| q.get((row + i, column + n)).copied().unwrap_or(0.0)))
}

/// Softmax of each column, in place of the rows of [`attention::softmax`]: here a column
/// is a query, and its scores lie side by side.
#[must_use]
pub fn softmax_of_columns(scores: DMatrix<f32>) -> DMatrix<f32> {
    Arch::new().dispatch(
        #[inline(always)]
        || sweep(scores),
    )
}

#[inline(always)]
fn sweep(mut scores: DMatrix<f32>) -> DMatrix<f32> {
    // A running maximum and sum in 32 strands, which a processor can take side by side.
    let tokens = scores.nrows().max(1);
    for column in scores.as_mut_slice().chunks_exact_mut(tokens) {
        let mut max = [f32::MIN; 32];
        for chunk in column.chunks(32) {
            for (max, s) in max.iter_mut().zip(chunk) {
                *max = if *s > *max { *s } else { *max };
            }
        }
        let max = max.iter().copied().fold(f32::MIN, f32::max).min(f32::MAX);
        let mut sum = [0.0; 32];
        for chunk in column.chunks_mut(32) {
            for (sum, s) in sum.iter_mut().zip(chunk) {
                *s = exp_nonpositive(*s - max);
                *sum += *s;
            }
        }
        let sum: f32 = sum.iter().sum();
        for s in column {
            *s = if sum == 0.0 { 0.0 } else { *s / sum };
        }
    }
    scores
}
