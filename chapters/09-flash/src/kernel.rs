//! The inside of [`attend_tuned`](crate::attend_tuned): what `attend_tiled` does, in the
//! order that suits a processor.
//!
//! A vector holds the same number of several neighboring queries, so that a column of Q
//! is loaded as it lies, and maxima and sums of a row never cross a vector. `R` vectors
//! of queries form a strip. A strip meets the keys of a tile four at a time: the `4 R`
//! sums stay in registers while a key's feature is multiplied with `R` vectors.
//!
//! [`pulp`] compiles this once for each width of vectors and picks one when it runs.
//! Everything is safe code.

use crate::{Sight, Tile, sight, steps};
use attention::Mask;
use nalgebra::DMatrixView;
use pulp::{Arch, Scalar, Simd, WithSimd, bytemuck};
use std::array::from_fn;
use std::f32::consts::LOG2_E;
use std::ops::Range;

/// What [`attend_tuned`](crate::attend_tuned) can be told to do otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuning {
    /// Queries of one task, and keys that they meet at a time. The keys are rounded up to
    /// a multiple of [`GROUP`].
    pub tile: Tile,
    /// How wide the vectors are.
    pub vectors: Vectors,
    /// How exponentials are computed.
    pub exp: Exp,
}

impl Default for Tuning {
    /// What was fastest where the chapter was measured.
    fn default() -> Self {
        let tile = Tile { queries: 128, keys: 128 };
        Tuning { tile, vectors: Vectors::Widest, exp: Exp::Series }
    }
}

/// How many numbers a vector holds. [`Vectors::lanes`] says what it is on the processor
/// at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vectors {
    /// As many as the processor can: 16 with AVX-512, 8 with AVX2 and FMA, 4 with NEON,
    /// and 1 where there is none of these.
    Widest,
    /// As many as the processor can, but no more than eight.
    UpToEight,
    /// One: no vectors.
    One,
}

impl Vectors {
    /// How many numbers a vector holds on this processor.
    #[must_use]
    pub fn lanes(self) -> usize {
        self.dispatch(Lanes)
    }

    /// Does `work` with such vectors.
    pub(crate) fn dispatch<W: WithSimd>(self, work: W) -> W::Output {
        match self {
            Vectors::Widest => Arch::new().dispatch(work),
            Vectors::UpToEight => up_to_eight(work),
            Vectors::One => Scalar::new().vectorize(work),
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn up_to_eight<W: WithSimd>(work: W) -> W::Output {
    match pulp::x86::V3::try_new() {
        Some(simd) => Simd::vectorize(simd, work),
        None => Scalar::new().vectorize(work),
    }
}

/// Only x86-64 has wider vectors than these.
#[cfg(not(target_arch = "x86_64"))]
fn up_to_eight<W: WithSimd>(work: W) -> W::Output {
    Arch::new().dispatch(work)
}

struct Lanes;

impl WithSimd for Lanes {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        S::F32_LANES
    }
}

/// How e^x is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exp {
    /// A vector at a time, by the series of chapter 1.
    Series,
    /// One after the other, by the standard library.
    Library,
}

/// Numbers that are packed side by side, and a unit of tiles.
pub const GROUP: usize = 8;

/// Tokens that are packed at a time, feature after feature: what is written then stays in
/// the nearest cache until its last feature has come.
const BLOCK: usize = 128;

/// The keys of one head in the order in which they are used: [`GROUP`] keys together,
/// feature after feature, then the next keys.
#[derive(Debug, Clone)]
pub struct PackedKeys {
    numbers: Vec<[f32; GROUP]>,
    tokens: usize,
    width: usize,
}

impl PackedKeys {
    /// Packs (keys, `d_k`). What is missing in the last group is zero.
    #[must_use]
    pub fn new(keys: DMatrixView<f32>) -> Self {
        let (tokens, width) = keys.shape();
        let mut numbers = vec![[0.0; GROUP]; tokens.div_ceil(GROUP) * width];
        for block in steps(0..tokens, BLOCK) {
            let groups = &mut numbers[block.start / GROUP * width..];
            for f in 0..width {
                let column = &keys.column(f).data.into_slice()[block.clone()];
                for (g, keys) in column.chunks(GROUP).enumerate() {
                    groups[g * width + f][..keys.len()].copy_from_slice(keys);
                }
            }
        }
        PackedKeys { numbers, tokens, width }
    }

    fn group(&self, g: usize) -> &[[f32; GROUP]] {
        &self.numbers[g * self.width..][..self.width]
    }
}

/// The values of one head: [`GROUP`] features together, key after key, then the next
/// features.
#[derive(Debug, Clone)]
pub struct PackedValues {
    numbers: Vec<[f32; GROUP]>,
    tokens: usize,
    width: usize,
    /// What is not finite, as (key, feature, value). It is packed as zero, because a hidden
    /// key has weight 0, and 0 · NaN and 0 · ∞ are NaN.
    odd: Vec<(usize, usize, f32)>,
}

impl PackedValues {
    /// Packs (keys, `d_v`). What is missing in the last group is zero, and what is not
    /// finite, too: see [`PackedValues::reveal`].
    #[must_use]
    pub fn new(values: DMatrixView<f32>) -> Self {
        let (tokens, width) = values.shape();
        let mut numbers = vec![[0.0; GROUP]; width.div_ceil(GROUP) * tokens];
        let mut odd = Vec::new();
        for f in 0..width {
            let column = values.column(f).data.into_slice();
            let rows = &mut numbers[f / GROUP * tokens..][..tokens];
            for (key, (row, &value)) in rows.iter_mut().zip(column).enumerate() {
                if value.is_finite() {
                    row[f % GROUP] = value;
                } else {
                    odd.push((key, f, value));
                }
            }
        }
        PackedValues { numbers, tokens, width, odd }
    }

    /// Adds the values that are not finite to the answers of the `queries` that see them:
    /// `output` (queries, `d_v`), column after column. A share of NaN is NaN, and a share
    /// of ∞ is ∞.
    pub fn reveal(&self, mask: &Mask, queries: Range<usize>, output: &mut [f32]) {
        for &(key, f, value) in &self.odd {
            let column = &mut output[f * queries.len()..][..queries.len()];
            for (query, answer) in queries.clone().zip(column) {
                if mask.sees(query, key) {
                    *answer += value;
                }
            }
        }
    }

    fn group(&self, g: usize, keys: &Range<usize>) -> &[[f32; GROUP]] {
        &self.numbers[g * self.tokens..][keys.clone()]
    }
}

/// Some queries of one head, and all keys.
pub struct Task<'a> {
    /// (queries, `d_k`): all of the head.
    pub q: DMatrixView<'a, f32>,
    /// The queries that are meant.
    pub rows: Range<usize>,
    /// The keys that they meet.
    pub keys: &'a PackedKeys,
    /// As many values.
    pub values: &'a PackedValues,
    /// (queries, keys).
    pub mask: &'a Mask,
    /// The score of one more key that every query sees, and whose value is zero; −∞ if
    /// there is none.
    pub sink: f32,
    /// How it is done.
    pub tuning: Tuning,
    /// (rows, `d_v`), column after column.
    pub output: &'a mut [f32],
    /// One for each of the rows: see [`Partial::log_sum_exp`](crate::Partial::log_sum_exp).
    pub log_sum_exp: &'a mut [f32],
}

impl Task<'_> {
    /// Fills the output and the log-sum-exp.
    pub fn run(self) {
        self.tuning.vectors.dispatch(self);
    }
}

impl WithSimd for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // Of 32 registers with vectors of 16, and 16 with shorter ones.
        match S::F32_LANES {
            16.. => Strip::<S, 4>::walk(simd, self),
            2..16 => Strip::<S, 2>::walk(simd, self),
            _ => Strip::<S, 1>::walk(simd, self),
        }
    }
}

/// Sums that are kept in registers for each of the `R` vectors.
const SUMS: usize = 4;

/// `R` vectors of queries on their way over the keys, with the parts of a
/// [`Partial`](crate::Partial).
struct Strip<S: Simd, const R: usize> {
    simd: S,
    exp: Exp,
    /// (`d_k`, queries), divided by √`d_k`.
    q: Vec<[S::f32s; R]>,
    /// (keys of a tile, queries): scores, then exponentials.
    scores: Vec<[S::f32s; R]>,
    max: [S::f32s; R],
    sum: [S::f32s; R],
    /// (`d_v` and up to a full group, queries).
    weighted: Vec<[S::f32s; R]>,
}

impl<S: Simd, const R: usize> Strip<S, R> {
    const QUERIES: usize = R * S::F32_LANES;

    #[inline(always)]
    fn walk(simd: S, task: Task) {
        let Task { q, rows, keys, values, mask, sink, tuning, .. } = task;
        let (output, log_sum_exp) = (task.output, task.log_sum_exp);
        let tile =
            tuning.tile.keys.clamp(1, keys.tokens.max(1)).next_multiple_of(GROUP);
        let zero = [simd.splat_f32s(0.0); R];
        let mut strip = Strip {
            simd,
            exp: tuning.exp,
            q: vec![zero; keys.width],
            scores: vec![zero; tile.min(keys.tokens)],
            max: zero,
            sum: zero,
            weighted: vec![zero; values.width.next_multiple_of(GROUP)],
        };
        for queries in steps(rows.clone(), Self::QUERIES) {
            strip.start(&q, &queries, sink);
            for seen in steps(reach(mask, &queries, keys.tokens), tile) {
                strip.meet(keys, values, mask, &queries, seen);
            }
            let start = queries.start - rows.start;
            strip.finish(output, rows.len(), start, queries.len());
            strip.measure(&mut log_sum_exp[start..][..queries.len()]);
        }
    }

    /// Loads queries, and forgets those before. The sink is the first key.
    #[inline(always)]
    fn start(&mut self, q: &DMatrixView<f32>, queries: &Range<usize>, sink: f32) {
        let scale = 1.0 / (self.q.len() as f32).sqrt();
        for (f, into) in self.q.iter_mut().enumerate() {
            let into: &mut [f32] = bytemuck::cast_slice_mut(into);
            let column = &q.column(f).data.into_slice()[queries.clone()];
            into[column.len()..].fill(0.0);
            for (into, q) in into.iter_mut().zip(column) {
                *into = q * scale;
            }
        }
        let (max, sum) = sunk(sink);
        self.max = [self.simd.splat_f32s(max); R];
        self.sum = [self.simd.splat_f32s(sum); R];
        self.weighted.fill([self.simd.splat_f32s(0.0); R]);
    }

    /// Merges what a tile of keys gives into what was found so far.
    #[inline(always)]
    fn meet(
        &mut self,
        keys: &PackedKeys,
        values: &PackedValues,
        mask: &Mask,
        queries: &Range<usize>,
        seen: Range<usize>,
    ) {
        let sight = sight(mask, queries, &seen);
        if sight == Sight::Nothing {
            return;
        }
        let mut highest = self.score(keys, &seen);
        if sight == Sight::Part {
            self.hide(mask, queries, &seen);
            highest = self.highest(seen.len());
        }
        let keep = self.raise(highest);
        self.exponentials(seen.len());
        self.add(keep, values, &seen);
    }

    /// Scores of the keys, and the largest of them and of those before.
    #[inline(always)]
    fn score(&mut self, keys: &PackedKeys, seen: &Range<usize>) -> [S::f32s; R] {
        let simd = self.simd;
        let mut highest = self.max;
        for (g, into) in self.scores[..seen.len()].chunks_mut(GROUP).enumerate() {
            let keys = keys.group(seen.start / GROUP + g);
            for first in (0..into.len()).step_by(SUMS) {
                let found = multiply(simd, &self.q, keys, first);
                for (into, found) in into[first..].iter_mut().zip(found) {
                    for r in 0..R {
                        highest[r] = simd.max_f32s(highest[r], found[r]);
                    }
                    *into = found;
                }
            }
        }
        highest
    }

    /// Overwrites the scores of pairs that the mask hides.
    #[inline(always)]
    fn hide(&mut self, mask: &Mask, queries: &Range<usize>, seen: &Range<usize>) {
        for (key, scores) in seen.clone().zip(&mut self.scores) {
            let scores: &mut [f32] = bytemuck::cast_slice_mut(scores);
            let scores = &mut scores[..queries.len()];
            if let Some((offset, window)) = band(mask) {
                let first = queries.start.saturating_add(offset);
                let blind = key.saturating_sub(first).min(scores.len());
                scores[..blind].fill(f32::NEG_INFINITY);
                // From here on the key lies too far back.
                let past = key.saturating_add(window).saturating_sub(first);
                let past = past.min(scores.len());
                scores[past..].fill(f32::NEG_INFINITY);
                continue;
            }
            for (query, score) in queries.clone().zip(scores) {
                if !mask.sees(query, key) {
                    *score = f32::NEG_INFINITY;
                }
            }
        }
    }

    /// The largest of the scores and of those before.
    #[inline(always)]
    fn highest(&self, keys: usize) -> [S::f32s; R] {
        let mut highest = self.max;
        for score in &self.scores[..keys] {
            for r in 0..R {
                highest[r] = self.simd.max_f32s(highest[r], score[r]);
            }
        }
        highest
    }

    /// Measures from a new maximum, and gives what the old measure is worth in the new.
    #[inline(always)]
    fn raise(&mut self, highest: [S::f32s; R]) -> [S::f32s; R] {
        let simd = self.simd;
        let mut keep = highest;
        for r in 0..R {
            // Not an infinity: inf − inf would be NaN.
            let max = simd.min_f32s(highest[r], simd.splat_f32s(f32::MAX));
            keep[r] = exp_of(simd, simd.sub_f32s(self.max[r], max));
            self.sum[r] = simd.mul_f32s(self.sum[r], keep[r]);
            self.max[r] = max;
        }
        keep
    }

    /// Scores become exponentials, which are summed.
    #[inline(always)]
    fn exponentials(&mut self, keys: usize) {
        let simd = self.simd;
        let (max, mut sum) = (self.max, self.sum);
        for score in &mut self.scores[..keys] {
            for r in 0..R {
                let below = simd.sub_f32s(score[r], max[r]);
                score[r] = match self.exp {
                    Exp::Series => exp_of(simd, below),
                    Exp::Library => exp_one_by_one::<S>(below),
                };
                sum[r] = simd.add_f32s(sum[r], score[r]);
            }
        }
        self.sum = sum;
    }

    /// Adds the values, each times its exponential, to what is kept of those before.
    #[inline(always)]
    fn add(&mut self, keep: [S::f32s; R], values: &PackedValues, seen: &Range<usize>) {
        let simd = self.simd;
        let scores = &self.scores[..seen.len()];
        for (g, into) in self.weighted.chunks_exact_mut(GROUP).enumerate() {
            let values = values.group(g, seen);
            for first in (0..GROUP).step_by(SUMS) {
                let found = multiply(simd, scores, values, first);
                for (into, found) in into[first..].iter_mut().zip(found) {
                    for r in 0..R {
                        into[r] = simd.mul_add_e_f32s(into[r], keep[r], found[r]);
                    }
                }
            }
        }
    }

    /// Writes down what the weights of each query can be computed from again.
    #[inline(always)]
    fn measure(&self, log_sum_exp: &mut [f32]) {
        let max: &[f32] = bytemuck::cast_slice(&self.max);
        let sum: &[f32] = bytemuck::cast_slice(&self.sum);
        for ((into, max), sum) in log_sum_exp.iter_mut().zip(max).zip(sum) {
            *into = max + sum.ln();
        }
    }

    /// Divides by the sums and writes to rows `first` and on of the output.
    #[inline(always)]
    fn finish(&mut self, output: &mut [f32], rows: usize, first: usize, count: usize) {
        let (simd, one) = (self.simd, self.simd.splat_f32s(1.0));
        let mut share = self.sum;
        for share in &mut share {
            // A query that has seen nothing has gathered zeros.
            let empty = simd.equal_f32s(*share, simd.splat_f32s(0.0));
            *share = simd.div_f32s(one, simd.select_f32s(empty, one, *share));
        }
        for (column, found) in output.chunks_exact_mut(rows).zip(&mut self.weighted) {
            for r in 0..R {
                found[r] = simd.mul_f32s(found[r], share[r]);
            }
            let found: &[f32] = bytemuck::cast_slice(found);
            column[first..first + count].copy_from_slice(&found[..count]);
        }
    }
}

/// Keys before the first query, and how many a query sees: the masks that are a band along
/// the diagonal.
fn band(mask: &Mask) -> Option<(usize, usize)> {
    match mask {
        Mask::Causal { offset } => Some((*offset, usize::MAX)),
        Mask::Window { offset, window } => Some((*offset, *window)),
        Mask::None | Mask::Allowed(_) => None,
    }
}

/// From the first key that one of the queries can see to the last; it begins at a multiple
/// of [`GROUP`].
fn reach(mask: &Mask, queries: &Range<usize>, tokens: usize) -> Range<usize> {
    let Some((offset, window)) = band(mask) else { return 0..tokens };
    let end = tokens.min(queries.end.saturating_add(offset));
    let first = queries.start.saturating_add(offset).saturating_add(1);
    let start = first.saturating_sub(window) / GROUP * GROUP;
    start.min(end)..end
}

/// The maximum and the sum that a sink begins with: its own score, and e⁰. −∞ is no sink.
pub(crate) fn sunk(sink: f32) -> (f32, f32) {
    match sink {
        f32::NEG_INFINITY => (f32::MIN, 0.0),
        sink if sink.is_nan() => (f32::MIN, f32::NAN),
        sink => (sink.min(f32::MAX), 1.0),
    }
}

/// `Σ_k left[k] · right[k][first + i]`, for `i` from 0 to [`SUMS`].
#[inline(always)]
fn multiply<S: Simd, const R: usize>(
    simd: S,
    left: &[[S::f32s; R]],
    right: &[[f32; GROUP]],
    first: usize,
) -> [[S::f32s; R]; SUMS] {
    let mut sums = [[simd.splat_f32s(0.0); R]; SUMS];
    for (left, right) in left.iter().zip(right) {
        let right: [f32; SUMS] = from_fn(|i| right[first + i]);
        for i in 0..SUMS {
            let right = simd.splat_f32s(right[i]);
            for r in 0..R {
                sums[i][r] = simd.mul_add_e_f32s(left[r], right, sums[i][r]);
            }
        }
    }
    sums
}

/// [`attention::exp_nonpositive`], line by line, for a vector.
#[inline(always)]
pub(crate) fn exp_of<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 355.0 / 512.0;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    const TERMS: [f32; 7] =
        [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];
    let all = |x: f32| simd.splat_f32s(x);

    let rounded = simd.mul_add_e_f32s(x, all(LOG2_E), all(ROUND));
    let p = simd.sub_f32s(rounded, all(ROUND));
    let r = simd.mul_add_e_f32s(p, all(-LN_2_HIGH), x);
    let r = simd.mul_add_e_f32s(p, all(-LN_2_LOW), r);
    let mut series = all(1.0 / 5040.0);
    for term in TERMS {
        series = simd.mul_add_e_f32s(series, r, all(term));
    }
    let bits: S::u32s = simd.transmute_u32s_f32s(rounded);
    let shifted = simd.wrapping_dyn_shl_u32s(bits, simd.splat_u32s(23));
    let exponent = simd.add_u32s(shifted, simd.splat_u32s(1.0_f32.to_bits()));
    let value = simd.mul_f32s(series, simd.transmute_f32s_u32s(exponent));
    let low = simd.less_than_f32s(x, all(-87.0));
    let high = simd.greater_than_f32s(x, all(0.0));
    let value = simd.select_f32s(low, all(0.0), value);
    simd.select_f32s(high, all(1.0), value)
}

#[inline(always)]
fn exp_one_by_one<S: Simd>(mut x: S::f32s) -> S::f32s {
    let lanes: &mut [f32] = bytemuck::cast_slice_mut(std::slice::from_mut(&mut x));
    for x in lanes {
        // What the series does with inf − max.
        *x = if *x > 0.0 { 1.0 } else { x.exp() };
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;
    use nalgebra::DMatrix;

    /// e^x of every 997th f32 from −87 to 0.
    struct Sweep;

    impl WithSimd for Sweep {
        type Output = f64;

        fn with_simd<S: Simd>(self, simd: S) -> f64 {
            let (highest, lowest) = ((-0.0_f32).to_bits(), (-87.0_f32).to_bits());
            let error = |bits: u32| {
                let x = f32::from_bits(bits);
                let found = exp_of(simd, simd.splat_f32s(x));
                let found: &[f32] = bytemuck::cast_slice(std::slice::from_ref(&found));
                let exact = f64::from(x).exp();
                (f64::from(found[0]) - exact).abs() / exact
            };
            (highest..=lowest).step_by(997).map(error).fold(0.0, f64::max)
        }
    }

    #[test]
    fn exp_is_off_by_one_unit_in_its_last_place_at_most() {
        assert!(Scalar::new().vectorize(Sweep) <= 1.2e-7);
        assert!(Arch::new().dispatch(Sweep) <= 1.2e-7);
        #[cfg(target_arch = "x86_64")]
        if let Some(simd) = pulp::x86::V3::try_new() {
            assert!(Simd::vectorize(simd, Sweep) <= 1.2e-7);
        }
    }

    #[test]
    fn packing_puts_neighbors_side_by_side_and_fills_up_with_zeros() {
        let keys = DMatrix::from_fn(9, 2, |key, f| (10 * f + key) as f32);
        let packed = PackedKeys::new(keys.as_view());
        assert_eq!(
            packed.group(0)[1],
            [10.0, 11.0, 12.0, 13.0, 14.0, 15.0, 16.0, 17.0]
        );
        assert_eq!(packed.group(1)[0], [8.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        let packed = PackedValues::new(keys.transpose().as_view());
        assert_eq!(packed.group(0, &(1..2)), [packed.numbers[1]]);
        assert_eq!(packed.group(1, &(0..1))[0][0], 8.0);
    }
}
