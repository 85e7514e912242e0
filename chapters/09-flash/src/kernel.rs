//! The tuned version: the arithmetic of `attend_tiled`, arranged for the processor.

use crate::Block;
use attention::exp_nonpositive;
use nalgebra::{DMatrix, DMatrixView};
use pulp::{Simd, WithSimd};
use std::array::from_fn;
use std::ops::Range;

/// Keys, or features of values, that are multiplied with a vector of queries in one go.
pub const GROUP: usize = 8;

/// Keys that are at hand at a time.
pub const TILE: usize = 128;

/// Keys of one head, in the order in which they are used: feature after feature of a
/// group of [`GROUP`] keys, group after group.
pub struct PackedKeys {
    numbers: Vec<[f32; GROUP]>,
    width: usize,
}

impl PackedKeys {
    /// Packs (keys, `d_k`).
    pub fn new(keys: DMatrixView<f32>) -> Self {
        let (tokens, width) = keys.shape();
        let mut numbers = vec![[0.0; GROUP]; tokens.div_ceil(GROUP) * width];
        for f in 0..width {
            let column = keys.column(f).data.into_slice();
            for (g, keys) in column.chunks(GROUP).enumerate() {
                numbers[g * width + f][..keys.len()].copy_from_slice(keys);
            }
        }
        PackedKeys { numbers, width }
    }

    fn group(&self, g: usize) -> &[[f32; GROUP]] {
        &self.numbers[g * self.width..][..self.width]
    }
}

/// Values of one head: key after key of [`GROUP`] features.
pub struct PackedValues {
    numbers: Vec<[f32; GROUP]>,
    tokens: usize,
    pub width: usize,
}

impl PackedValues {
    /// Packs (keys, `d_v`).
    pub fn new(values: DMatrixView<f32>) -> Self {
        let (tokens, width) = values.shape();
        let mut numbers = vec![[0.0; GROUP]; width.div_ceil(GROUP) * tokens];
        for f in 0..width {
            let column = values.column(f).data.into_slice();
            let rows = &mut numbers[f / GROUP * tokens..][..tokens];
            for (row, value) in rows.iter_mut().zip(column) {
                row[f % GROUP] = *value;
            }
        }
        PackedValues { numbers, tokens, width }
    }

    fn group(&self, g: usize, keys: Range<usize>) -> &[[f32; GROUP]] {
        &self.numbers[g * self.tokens..][keys]
    }
}

/// One task: some queries of one head over all the keys that they may see.
pub struct Task<'a> {
    pub q: DMatrixView<'a, f32>,
    pub rows: Range<usize>,
    pub keys: &'a PackedKeys,
    pub values: &'a PackedValues,
    pub block: Block<'a>,
    pub tokens: usize,
    pub output: &'a mut [f32],
}

impl WithSimd for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match S::F32_LANES {
            16 => run::<S, 4, 4>(simd, self),
            8 => run::<S, 2, 4>(simd, self),
            _ => run::<S, 1, 4>(simd, self),
        }
    }
}

#[inline(always)]
fn run<S: Simd, const R: usize, const N: usize>(simd: S, task: Task) {
    let lanes = R * S::F32_LANES;
    let (d_k, d_v) = (task.keys.width, task.values.width);
    let groups = d_v.div_ceil(GROUP);
    let scale = 1.0 / (d_k as f32).sqrt();
    let rows = task.rows.len();
    let zero = [simd.splat_f32s(0.0); R];
    let z = simd.splat_f32s(0.0);
    let mut q = vec![z; d_k * R];
    let mut all_scores = vec![z; TILE * R];
    let mut sums = vec![z; groups * GROUP * R];
    for first in (0..rows).step_by(lanes) {
        let start = task.rows.start + first;
        let count = lanes.min(rows - first);
        load::<S>(&task.q, start, count, scale, lanes, &mut q);
        sums.fill(z);
        let mut max = [simd.splat_f32s(f32::MIN); R];
        let mut sum = zero;
        let seen = task.block.seen(start + count - 1).min(task.tokens);
        for tile in (0..seen).step_by(TILE) {
            let len = TILE.min(seen - tile);
            let flat_scores = &mut all_scores[..len * R];
            let (scores, _) = flat_scores.as_chunks_mut::<R>();
            let mut high = max;
            // scores
            for g in 0..len.div_ceil(GROUP) {
                let keys = task.keys.group(tile / GROUP + g);
                let into = &mut scores[g * GROUP..(g * GROUP + GROUP).min(len)];
                for part in (0..GROUP).step_by(N) {
                    let found = multiply::<S, R, N>(simd, q.as_chunks::<R>().0, keys, part);
                    if into.len() >= part + N {
                        let into = &mut into[part..part + N];
                        for n in 0..N {
                            for r in 0..R {
                                high[r] = simd.max_f32s(high[r], found[n][r]);
                            }
                            into[n] = found[n];
                        }
                    } else {
                        for (into, found) in into.iter_mut().skip(part).zip(found) {
                            for r in 0..R {
                                high[r] = simd.max_f32s(high[r], found[r]);
                            }
                            *into = found;
                        }
                    }
                }
            }
            if task.block.hides(start, tile + len) {
                let flat: &mut [f32] = pulp::bytemuck::cast_slice_mut(&mut all_scores[..len * R]);
                task.block.hide(start, count, tile, lanes, flat);
                high = max;
                for score in all_scores[..len * R].as_chunks::<R>().0 {
                    for r in 0..R {
                        high[r] = simd.max_f32s(high[r], score[r]);
                    }
                }
            }
            let scores = all_scores[..len * R].as_chunks_mut::<R>().0;
            // what was found so far, by the new measure
            let mut keep = zero;
            for r in 0..R {
                let most = simd.min_f32s(high[r], simd.splat_f32s(f32::MAX));
                let old = simd.min_f32s(max[r], simd.splat_f32s(f32::MAX));
                keep[r] = exp::<S>(simd, simd.sub_f32s(old, most));
                sum[r] = simd.mul_f32s(sum[r], keep[r]);
                max[r] = high[r];
                high[r] = most;
            }
            for score in scores.iter_mut() {
                for r in 0..R {
                    score[r] = exp::<S>(simd, simd.sub_f32s(score[r], high[r]));
                    sum[r] = simd.add_f32s(sum[r], score[r]);
                }
            }
            for g in 0..groups {
                let values = task.values.group(g, tile..tile + len);
                let into = &mut sums.as_chunks_mut::<R>().0[g * GROUP..][..GROUP];
                for part in (0..GROUP).step_by(N) {
                    let found = multiply::<S, R, N>(simd, scores, values, part);
                    let into = &mut into[part..part + N];
                    for n in 0..N {
                        for r in 0..R {
                            into[n][r] = simd.mul_add_f32s(into[n][r], keep[r], found[n][r]);
                        }
                    }
                }
            }
        }
        for r in 0..R {
            let empty = simd.equal_f32s(sum[r], simd.splat_f32s(0.0));
            let one = simd.splat_f32s(1.0);
            sum[r] = simd.div_f32s(one, simd.select_f32s(empty, one, sum[r]));
        }
        for (f, column) in task.output.chunks_exact_mut(rows).enumerate() {
            let found = &mut sums[f * R..][..R];
            for r in 0..R {
                found[r] = simd.mul_f32s(found[r], sum[r]);
            }
            let flat: &[f32] = pulp::bytemuck::cast_slice(found);
            column[first..first + count].copy_from_slice(&flat[..count]);
        }
    }
}

#[inline(always)]
fn load<S: Simd>(
    q: &DMatrixView<f32>,
    start: usize,
    count: usize,
    scale: f32,
    lanes: usize,
    into: &mut [S::f32s],
) {
    let flat: &mut [f32] = pulp::bytemuck::cast_slice_mut(into);
    for (f, into) in flat.chunks_exact_mut(lanes).enumerate() {
        let column = &q.column(f).data.into_slice()[start..start + count];
        into[count..].fill(0.0);
        for (to, from) in into.iter_mut().zip(column) {
            *to = from * scale;
        }
    }
}

/// `Σ_k left[k] · right[k][n]` for `N` of the numbers in `right`, from `first` on.
#[inline(always)]
fn multiply<S: Simd, const R: usize, const N: usize>(
    simd: S,
    left: &[[S::f32s; R]],
    right: &[[f32; GROUP]],
    first: usize,
) -> [[S::f32s; R]; N] {
    let mut sums = [[simd.splat_f32s(0.0); R]; N];
    for (left, right) in left.iter().zip(right) {
        let right: [f32; N] = from_fn(|n| right[first + n]);
        for n in 0..N {
            let right = simd.splat_f32s(right[n]);
            for r in 0..R {
                sums[n][r] = simd.mul_add_f32s(left[r], right, sums[n][r]);
            }
        }
    }
    sums
}

#[inline(always)]
fn exp<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let splat = |x: f32| simd.splat_f32s(x);
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 355.0 / 512.0;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let rounded = simd.mul_add_f32s(x, splat(std::f32::consts::LOG2_E), splat(ROUND));
    let p = simd.sub_f32s(rounded, splat(ROUND));
    let r = simd.mul_add_f32s(p, splat(-LN_2_HIGH), x);
    let r = simd.mul_add_f32s(p, splat(-LN_2_LOW), r);
    let mut series = splat(1.0 / 5040.0);
    for term in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        series = simd.mul_add_f32s(series, r, splat(term));
    }
    // 2^p
    let bits: S::u32s = simd.transmute_u32s_f32s(rounded);
    let shifted = simd.wrapping_dyn_shl_u32s(bits, simd.splat_u32s(23));
    let two = simd.add_u32s(shifted, simd.splat_u32s(1.0f32.to_bits()));
    let value = simd.mul_f32s(series, simd.transmute_f32s_u32s(two));
    let low = simd.less_than_f32s(x, splat(-87.0));
    let high = simd.greater_than_f32s(x, splat(0.0));
    let value = simd.select_f32s(low, splat(0.0), value);
    simd.select_f32s(high, splat(1.0), value)
}

#[allow(dead_code)]
fn unused(_: DMatrix<f32>) -> f32 {
    exp_nonpositive(0.0)
}
