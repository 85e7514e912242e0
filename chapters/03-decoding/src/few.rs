//! Attention for a few queries: the products of
//! [`attend_columns`](crate::attend_columns), in tiles whose sums stay in registers. Scores
//! go by a few queries and a few vectors of keys, averages by a few queries and a few
//! features of the values, so that each key and value is read from memory once and used by
//! all queries while it is at hand. Whether shapes fit is for the caller to check, as before
//! a product of nalgebra.

use attention::exp_nonpositive;
use nalgebra::{DMatrix, DMatrixView};
use pulp::{Arch, Scalar, Simd, WithSimd, bytemuck};
use std::array::from_fn;
use std::ops::Range;

/// Weights that are at hand at a time, 64 KiB of them: what stays in the inner caches.
const AT_HAND: usize = 16_384;

/// From this many queries on, an ordinary product on all cores has the scores sooner.
const MANY: usize = 32;

/// (keys, queries): `K Qᵀ`, one column per query, of `q` (queries, `d_k`) and `keys` (keys,
/// `d_k`).
#[must_use]
pub fn scores(q: &DMatrix<f32>, keys: DMatrixView<f32>) -> DMatrix<f32> {
    match q.nrows() {
        // On one core: others may have other heads.
        0 | 1 => Arch::new().dispatch(Scores::<1> { q, keys }),
        2..MANY => Arch::new().dispatch(Scores::<4> { q, keys }),
        MANY.. => keys * q.transpose(),
    }
}

/// (queries, `d_v`): `A V`, of the weights `shares` (keys, queries), one column per query, and
/// `values` (keys, `d_v`).
#[must_use]
pub fn average(shares: &DMatrix<f32>, values: DMatrixView<f32>) -> DMatrix<f32> {
    match shares.ncols() {
        0 | 1 => Arch::new().dispatch(Average::<1> { shares, values }),
        _ => Arch::new().dispatch(Average::<4> { shares, values }),
    }
}

/// Scores of `Q` queries at a time.
struct Scores<'a, const Q: usize> {
    q: &'a DMatrix<f32>,
    keys: DMatrixView<'a, f32>,
}

impl<const Q: usize> WithSimd for Scores<'_, Q> {
    type Output = DMatrix<f32>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> DMatrix<f32> {
        // Sums take half of the registers at most, and what they are made of the others:
        // there are 32 with vectors of 16, else 16.
        match (Q, S::F32_LANES) {
            (1, _) => self.walk::<S, 8>(simd),
            (_, 16..) => self.walk::<S, 4>(simd),
            (_, ..16) => self.walk::<S, 2>(simd),
        }
    }
}

impl<const Q: usize> Scores<'_, Q> {
    /// `V` vectors of keys meet all queries, then the next keys.
    #[inline(always)]
    fn walk<S: Simd, const V: usize>(self, simd: S) -> DMatrix<f32> {
        let (tokens, queries) = (self.keys.nrows(), self.q.nrows());
        let weights = in_groups(self.q);
        let mut scores = DMatrix::zeros(tokens, queries);
        for keys in steps(tokens, V * S::F32_LANES) {
            let groups = weights.chunks_exact(self.q.ncols().max(1));
            for (group, weights) in groups.enumerate() {
                let sums = self.tile::<S, V>(simd, weights, &keys, group == 0);
                let first = group * Q;
                for (q, sums) in (first..queries).zip(&sums) {
                    let sums: &[f32] = bytemuck::cast_slice(sums);
                    scores.as_mut_slice()[q * tokens..][keys.clone()]
                        .copy_from_slice(&sums[..keys.len()]);
                }
            }
        }
        scores
    }

    /// The scores of `Q` queries with a few keys. All sums stay in registers until the
    /// last feature.
    #[inline(always)]
    fn tile<S: Simd, const V: usize>(
        &self,
        simd: S,
        weights: &[[f32; Q]],
        keys: &Range<usize>,
        fetch: bool,
    ) -> [[S::f32s; V]; Q] {
        let mut sums = [[simd.splat_f32s(0.0); V]; Q];
        for (feature, weights) in weights.iter().enumerate() {
            let column = self.keys.column(feature).data.into_slice();
            if fetch {
                prefetch(column, keys.start + 2 * V * S::F32_LANES, V * S::F32_LANES);
            }
            let keys: [_; V] = vectors(simd, &column[keys.clone()]);
            for q in 0..Q {
                let weight = simd.splat_f32s(weights[q]);
                for v in 0..V {
                    sums[q][v] = simd.mul_add_e_f32s(weight, keys[v], sums[q][v]);
                }
            }
        }
        sums
    }
}

/// `Q` numbers of a feature side by side, feature after feature, then those of the next `Q`
/// rows of `q`; zeros beyond its last row.
#[must_use]
pub fn in_groups<const Q: usize>(q: &DMatrix<f32>) -> Vec<[f32; Q]> {
    let group = |first: usize| {
        q.column_iter().map(move |column| {
            from_fn(|i| column.get(first + i).copied().unwrap_or(0.0))
        })
    };
    (0..q.nrows()).step_by(Q).flat_map(group).collect()
}

/// `V` vectors of numbers; zeros beyond their end.
#[inline(always)]
pub fn vectors<S: Simd, const V: usize>(simd: S, numbers: &[f32]) -> [S::f32s; V] {
    let (whole, rest) = S::as_simd_f32s(numbers);
    match whole.try_into() {
        Ok(all) => all,
        Err(_) => from_fn(|v| match whole.get(v) {
            Some(vector) => *vector,
            None if v == whole.len() => simd.partial_load_f32s(rest),
            None => simd.splat_f32s(0.0),
        }),
    }
}

/// Tells the processor that `count` numbers will be read soon, from the one `ahead` of the
/// start of `numbers` on. That may be far beyond their end: it is a hint and no reading.
#[inline(always)]
pub fn prefetch(numbers: &[f32], ahead: usize, count: usize) {
    #[cfg(target_arch = "x86_64")]
    if let Some(sse) = pulp::core_arch::x86::Sse::try_new() {
        use std::arch::x86_64::_MM_HINT_T1;
        // 16 numbers are a line of a cache. T1: into the second cache.
        for line in (0..count).step_by(16) {
            let address = numbers.as_ptr().wrapping_add(ahead + line);
            sse._mm_prefetch::<_MM_HINT_T1>(address.cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (numbers, ahead, count);
}

/// Averages for `Q` queries at a time.
struct Average<'a, const Q: usize> {
    shares: &'a DMatrix<f32>,
    values: DMatrixView<'a, f32>,
}

impl<const Q: usize> WithSimd for Average<'_, Q> {
    type Output = DMatrix<f32>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> DMatrix<f32> {
        match (Q, S::F32_LANES) {
            (1, _) => self.walk::<S, 8>(simd),
            (_, 16..) => self.walk::<S, 4>(simd),
            (_, ..16) => self.walk::<S, 2>(simd),
        }
    }
}

impl<const Q: usize> Average<'_, Q> {
    /// `N` features of the values meet all queries, then the next features.
    #[inline(always)]
    fn walk<S: Simd, const N: usize>(self, simd: S) -> DMatrix<f32> {
        let (shares, queries) = (self.shares.as_view(), self.shares.ncols());
        let d_v = self.values.ncols();
        let padded = (queries.next_multiple_of(Q), d_v.next_multiple_of(N));
        let mut output: DMatrix<f32> = DMatrix::zeros(padded.0, padded.1);
        let block = (AT_HAND / queries.max(1)).max(64);
        for tokens in steps(self.values.nrows(), block) {
            for feature in (0..d_v).step_by(N) {
                let values: [_; N] = strip(&self.values, feature, &tokens);
                for query in (0..queries).step_by(Q) {
                    let shares: [_; Q] = strip(&shares, query, &tokens);
                    let ahead = match query {
                        0 if feature + N < d_v => N * self.values.strides().1,
                        _ => 0,
                    };
                    let dots = dots(simd, shares, values, ahead);
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

/// `a[q] · b[n]` for all pairs.
#[inline(always)]
fn dots<S: Simd, const Q: usize, const N: usize>(
    simd: S,
    a: [&[f32]; Q],
    b: [&[f32]; N],
    ahead: usize,
) -> [[f32; N]; Q] {
    let (a, b) = (a.map(S::as_simd_f32s), b.map(S::as_simd_f32s));
    let vectors = dot(simd, a.map(|a| a.0), b.map(|b| b.0), ahead);
    let rest = dot(Scalar::new(), a.map(|a| a.1), b.map(|b| b.1), 0);
    from_fn(|q| from_fn(|n| vectors[q][n] + rest[q][n]))
}

/// A value is loaded once for all `Q` queries, and a weight once for all `N` features.
#[inline(always)]
fn dot<S: Simd, const Q: usize, const N: usize>(
    simd: S,
    a: [&[S::f32s]; Q],
    b: [&[S::f32s]; N],
    ahead: usize,
) -> [[f32; N]; Q] {
    let len = a[0].len();
    let (a, b) = (a.map(|a| &a[..len]), b.map(|b| &b[..len]));
    let mut sums = [[simd.splat_f32s(0.0); N]; Q];
    for t in 0..len {
        if ahead > 0 {
            for b in b {
                prefetch(bytemuck::cast_slice(b), t * S::F32_LANES + ahead, 1);
            }
        }
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

/// Ranges of `step` tokens.
fn steps(tokens: usize, step: usize) -> impl Iterator<Item = Range<usize>> {
    (0..tokens).step_by(step).map(move |start| start..tokens.min(start + step))
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
