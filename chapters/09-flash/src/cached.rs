//! The inside of [`decode`](crate::decode): what a few queries of one token find in a
//! chunk of keys and values, as these lie in a cache.
//!
//! Our caches keep one feature of all keys side by side (others keep all features of one
//! token so). So here a vector holds one feature of several neighboring keys, and not of
//! queries as in [`kernel`](crate::kernel).
//! `Q` queries go together. They meet `V` vectors of keys at a time, whose `Q · V` sums
//! stay in registers until the last feature; and later `V` features of the values, whose
//! sums stay until the last key. Each number of the cache is read once, and the processor
//! is told of it a little before.

use crate::{Partial, kernel::exp_of};
use decoding::few::{in_groups, prefetch, vectors};
use nalgebra::{DMatrix, DMatrixView, DVector};
use pulp::{Arch, Simd, WithSimd, bytemuck};
use std::array::from_fn;
use std::ops::Range;

/// Queries of one token, and some of the keys and values that they share: at least one of
/// each, and no width is 0.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chunk<'a> {
    /// (queries, `d_k`).
    pub(crate) q: &'a DMatrix<f32>,
    /// (keys, `d_k`).
    pub(crate) keys: DMatrixView<'a, f32>,
    /// (keys, `d_v`).
    pub(crate) values: DMatrixView<'a, f32>,
}

impl Chunk<'_> {
    /// What [`Partial::of`] says of these scores and values.
    pub(crate) fn partial(self) -> Partial {
        Arch::new().dispatch(self)
    }
}

impl WithSimd for Chunk<'_> {
    type Output = Partial;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Partial {
        // Sums take half of the registers at most, and what they are made of the others:
        // there are 32 where vectors hold 16 numbers, else 16.
        match (self.q.nrows(), S::F32_LANES) {
            (..2, _) => Walk::<S, 1, 8>::over(simd, self),
            (2, _) => Walk::<S, 2, 4>::over(simd, self),
            (3.., 16..) => Walk::<S, 4, 4>::over(simd, self),
            (3.., ..16) => Walk::<S, 4, 2>::over(simd, self),
        }
    }
}

/// A chunk on its way.
struct Walk<'a, S: Simd, const Q: usize, const V: usize> {
    simd: S,
    chunk: Chunk<'a>,
    /// For each `Q` queries, vector after vector of keys: scores, then exponentials.
    scores: Vec<[S::f32s; Q]>,
}

impl<'a, S: Simd, const Q: usize, const V: usize> Walk<'a, S, Q, V> {
    #[inline(always)]
    fn over(simd: S, chunk: Chunk<'a>) -> Partial {
        let mut walk = Walk::<S, Q, V> { simd, chunk, scores: Vec::new() };
        walk.score();
        let (max, sum) = walk.exponentials();
        Partial { max, sum, weighted: walk.average() }
    }

    /// How many vectors the keys fill, the last perhaps in part.
    fn vectors(&self) -> usize {
        self.chunk.keys.nrows().div_ceil(S::F32_LANES)
    }

    /// Scores of all queries with all keys; −∞ where a last vector has no key.
    #[inline(always)]
    fn score(&mut self) {
        let Chunk { q, keys, .. } = self.chunk;
        let (tokens, vectors) = (keys.nrows(), self.vectors());
        let scale = 1.0 / (q.ncols() as f32).sqrt();
        let queries: Vec<[f32; Q]> = in_groups(&(q * scale));
        let nothing = self.simd.splat_f32s(f32::NEG_INFINITY);
        self.scores = vec![[nothing; Q]; q.nrows().div_ceil(Q) * vectors];

        for first in (0..vectors).step_by(V) {
            let end = tokens.min((first + V) * S::F32_LANES);
            for (i, queries) in queries.chunks_exact(q.ncols()).enumerate() {
                let keys = first * S::F32_LANES..end;
                let found = self.multiply(queries, &keys, i == 0);
                let into =
                    &mut self.scores[i * vectors..][first..vectors.min(first + V)];
                into.copy_from_slice(&found[..into.len()]);
            }
        }
        for last in self.scores.iter_mut().skip(vectors - 1).step_by(vectors) {
            for scores in last {
                let scores: &mut [f32] =
                    bytemuck::cast_slice_mut(std::slice::from_mut(scores));
                scores[tokens - (vectors - 1) * S::F32_LANES..].fill(f32::NEG_INFINITY);
            }
        }
    }

    /// Scores of `Q` queries with up to `V` vectors of keys. The queries that
    /// meet keys first `fetch` those of the tile after the next.
    #[inline(always)]
    fn multiply(
        &self,
        queries: &[[f32; Q]],
        keys: &Range<usize>,
        fetch: bool,
    ) -> [[S::f32s; Q]; V] {
        let simd = self.simd;
        let mut sums = [[simd.splat_f32s(0.0); Q]; V];
        for (f, queries) in queries.iter().enumerate() {
            let column = self.chunk.keys.column(f).data.into_slice();
            if fetch {
                prefetch(column, keys.start + 2 * V * S::F32_LANES, V * S::F32_LANES);
            }
            let keys: [_; V] = vectors(simd, &column[keys.clone()]);
            for i in 0..Q {
                let query = simd.splat_f32s(queries[i]);
                for v in 0..V {
                    sums[v][i] = simd.mul_add_e_f32s(keys[v], query, sums[v][i]);
                }
            }
        }
        sums
    }

    /// Scores become exponentials. Gives the maximum and the sum of each query.
    #[inline(always)]
    fn exponentials(&mut self) -> (DVector<f32>, DVector<f32>) {
        let (simd, vectors) = (self.simd, self.vectors());
        let (mut maxima, mut totals) = (Vec::new(), Vec::new());
        for scores in self.scores.chunks_exact_mut(vectors) {
            let mut max = [simd.splat_f32s(f32::MIN); Q];
            for score in scores.iter() {
                for i in 0..Q {
                    max[i] = simd.max_f32s(max[i], score[i]);
                }
            }
            // Not an infinity: inf − inf would be NaN.
            let max = max.map(|max| simd.reduce_max_f32s(max).min(f32::MAX));
            let mut sum = [simd.splat_f32s(0.0); Q];
            for score in scores {
                for i in 0..Q {
                    let below = simd.sub_f32s(score[i], simd.splat_f32s(max[i]));
                    score[i] = exp_of(simd, below);
                    sum[i] = simd.add_f32s(sum[i], score[i]);
                }
            }
            maxima.extend(max);
            totals.extend(sum.map(|sum| simd.reduce_sum_f32s(sum)));
        }
        let queries = self.chunk.q.nrows();
        let of_queries = |all: Vec<f32>| DVector::from_column_slice(&all[..queries]);
        (of_queries(maxima), of_queries(totals))
    }

    /// (queries, `d_v`): the values, each times its exponential.
    #[inline(always)]
    fn average(&self) -> DMatrix<f32> {
        let (queries, d_v) = (self.chunk.q.nrows(), self.chunk.values.ncols());
        let mut weighted = DMatrix::zeros(queries, d_v);
        for feature in (0..d_v).step_by(V) {
            for (i, scores) in self.scores.chunks_exact(self.vectors()).enumerate() {
                let found = self.dots(scores, feature, i == 0);
                for (query, found) in (i * Q..queries).zip(found) {
                    for (feature, sum) in (feature..d_v).zip(found) {
                        weighted[(query, feature)] = self.simd.reduce_sum_f32s(sum);
                    }
                }
            }
        }
        weighted
    }

    /// Sums for `Q` queries and `V` features from `feature` on, of which the last is
    /// repeated where there are fewer. Those who meet values first `fetch` the next ones.
    #[inline(always)]
    fn dots(
        &self,
        scores: &[[S::f32s; Q]],
        feature: usize,
        fetch: bool,
    ) -> [[S::f32s; V]; Q] {
        let (simd, values) = (self.simd, self.chunk.values);
        let last = values.ncols() - 1;
        let columns: [_; V] =
            from_fn(|v| values.column(last.min(feature + v)).data.into_slice());
        let (whole, rest) = (
            columns.map(|c| S::as_simd_f32s(c).0),
            columns.map(|c| S::as_simd_f32s(c).1),
        );
        let ahead =
            if fetch && feature + V <= last { V * values.strides().1 } else { 0 };

        let mut sums = [[simd.splat_f32s(0.0); V]; Q];
        let len = whole[0].len();
        let whole = whole.map(|column| &column[..len]);
        for (t, scores) in scores[..len].iter().enumerate() {
            if ahead > 0 {
                for column in columns {
                    prefetch(column, t * S::F32_LANES + ahead, 1);
                }
            }
            let values = from_fn(|v| whole[v][t]);
            add(simd, &mut sums, scores, values);
        }
        if let Some(scores) = scores.get(len) {
            let mut values = [simd.splat_f32s(0.0); V];
            for v in 0..V {
                values[v] = simd.partial_load_f32s(rest[v]);
            }
            add(simd, &mut sums, scores, values);
        }
        sums
    }
}

/// `sums[q][v] += scores[q] · values[v]`.
#[inline(always)]
fn add<S: Simd, const Q: usize, const V: usize>(
    simd: S,
    sums: &mut [[S::f32s; V]; Q],
    scores: &[S::f32s; Q],
    values: [S::f32s; V],
) {
    for i in 0..Q {
        for v in 0..V {
            sums[i][v] = simd.mul_add_e_f32s(scores[i], values[v], sums[i][v]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiments::normal;
    use crate::kernel::Vectors;
    use attention::scores;

    /// A matrix inside of a larger one, as keys of one head lie in a cache, and nothing
    /// but NaN around it.
    fn surrounded(inside: &DMatrix<f32>) -> DMatrix<f32> {
        let (rows, columns) = inside.shape();
        let mut all = DMatrix::repeat(rows + 40, columns + 16, f32::NAN);
        all.view_mut((3, 5), (rows, columns)).copy_from(inside);
        all
    }

    /// Largest difference from `Partial::of`.
    fn difference(found: &Partial, wanted: &Partial) -> f32 {
        assert!(found.sum.iter().chain(&found.weighted).all(|number| !number.is_nan()));
        let max = (&found.max - &wanted.max).amax();
        let sum = (&found.sum - &wanted.sum).amax() / wanted.sum.amax();
        let weighted = (&found.weighted - &wanted.weighted).amax();
        max.max(sum).max(weighted / wanted.sum.amax())
    }

    /// With vectors of every width that this processor has.
    #[track_caller]
    fn check(queries: usize, keys: usize, (d_k, d_v): (usize, usize)) {
        let [q, k, v] = [(queries, d_k, 1), (keys, d_k, 2), (keys, d_v, 3)]
            .map(|(rows, width, seed)| normal(rows, width, seed));
        let scores = scores(q.as_view(), k.as_view()).unwrap();
        let wanted = Partial::of(scores, v.as_view()).unwrap();
        let (k, v) = (surrounded(&k), surrounded(&v));
        let chunk = Chunk {
            q: &q,
            keys: k.view((3, 5), (keys, d_k)),
            values: v.view((3, 5), (keys, d_v)),
        };
        for vectors in [Vectors::Widest, Vectors::UpToEight, Vectors::One] {
            let found = vectors.dispatch(chunk);
            let off = difference(&found, &wanted);
            assert!(off < 1e-5, "{queries} {keys} {d_k} {d_v}: {off}");
        }
    }

    #[test]
    fn a_chunk_is_the_partial_of_its_scores() {
        for queries in [1, 2, 3, 4, 5, 9] {
            for keys in [1, 7, 16, 31, 64, 65, 200] {
                for widths in [(1, 1), (3, 8), (8, 3), (17, 17), (2, 9)] {
                    check(queries, keys, widths);
                }
            }
        }
    }

    #[test]
    fn a_head_may_be_very_wide() {
        check(1, 33, (5000, 2));
        check(5, 33, (3, 5000));
    }
}
