//! One token through a projection: each weight is read once and used once, so that the time
//! is that of reading. What is left to do is not to stand in the way of the memory:
//!
//! - All cores read, each a stretch of neighboring weights from front to back.
//! - Maps of the same token (queries, keys and values; gate and up) are read in one go: cores
//!   that wait for one another read nothing.
//! - Weights are widened and multiplied in vectors, with several sums side by side: an
//!   addition takes as long as four vectors take to arrive.

use crate::kept::{BLOCK, Kept, Numbers, OFFSET, WORDS_BF16, WORDS_Q8};
use nalgebra::DMatrix;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Stretches of weights for each core. When one core begins late, others take its share.
const STRETCHES: usize = 4;
/// Features that leave in a stretch, at the least: fewer are not worth a handover.
const FEW: usize = 16;
/// Vectors of sums side by side.
const SUMS: usize = 4;

/// The row `x` times the weights (`d_in`, `d_out`) of several maps: for each, a row (1,
/// `d_out`).
///
/// # Panics
/// When `x` has another width than a map reads.
#[must_use]
pub fn row_times<const N: usize>(x: &[f32], maps: [&Kept; N]) -> [DMatrix<f32>; N] {
    let mut padded = x.to_vec();
    padded.resize(x.len().next_multiple_of(BLOCK), 0.0);
    let widths = maps.map(Kept::d_out);
    let cores = STRETCHES * rayon::current_num_threads();
    let stretch = widths.iter().sum::<usize>().div_ceil(cores).max(FEW);

    let mut rows = widths.map(|d_out| DMatrix::zeros(1, d_out));
    let stretches: Vec<Stretch> = maps
        .iter()
        .zip(&mut rows)
        .flat_map(|(map, row)| {
            assert_eq!(x.len(), map.d_in(), "the map reads that many features");
            let parts = row.as_mut_slice().chunks_mut(stretch).enumerate();
            parts.map(|(i, y)| Stretch { x: &padded, map, first: i * stretch, y })
        })
        .collect();
    let one_by_one = stretches.into_par_iter().with_max_len(1);
    one_by_one.for_each(|stretch| Arch::new().dispatch(stretch));
    rows
}

/// The features that leave a map from `first` on, as many as fit into `y`.
struct Stretch<'a> {
    /// Filled up to whole blocks with zeros.
    x: &'a [f32],
    map: &'a Kept,
    first: usize,
    y: &'a mut [f32],
}

impl WithSimd for Stretch<'_> {
    type Output = ();

    /// Compiled once for each width of vectors.
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Stretch { x, map, first, y } = self;
        let blocks = x.len() / BLOCK;
        match map.numbers() {
            Numbers::F32(all) => {
                let x = &x[..map.d_in()];
                let weights =
                    all.as_slice()[first * x.len()..].chunks_exact(x.len().max(1));
                for (y, weights) in y.iter_mut().zip(weights) {
                    *y = dot_f32(simd, weights, x);
                }
            }
            Numbers::Bf16(words) => {
                let words = words.as_chunks::<WORDS_BF16>().0;
                let words = words[first * blocks..].chunks_exact(blocks.max(1));
                for (y, words) in y.iter_mut().zip(words) {
                    *y = dot_bf16(simd, words, x);
                }
            }
            Numbers::Q8 { words, scales } => {
                let words = words.as_chunks::<WORDS_Q8>().0;
                let words = words[first * blocks..].chunks_exact(blocks.max(1));
                let scales = scales[first * blocks..].chunks_exact(blocks.max(1));
                for (y, (words, scales)) in y.iter_mut().zip(words.zip(scales)) {
                    *y = dot_q8(simd, words, scales, x);
                }
            }
        }
    }
}

/// Σ w x.
#[inline(always)]
fn dot_f32<S: Simd>(simd: S, weights: &[f32], x: &[f32]) -> f32 {
    let (weights, last_weights) = S::as_simd_f32s(weights);
    let (x, last_x) = S::as_simd_f32s(x);
    let mut sums = [simd.splat_f32s(0.0); SUMS];
    let (w4, w_few) = weights.as_chunks::<SUMS>();
    let (x4, x_few) = x.as_chunks::<SUMS>();
    for (w, x) in w4.iter().zip(x4) {
        for i in 0..SUMS {
            sums[i] = simd.mul_add_e_f32s(w[i], x[i], sums[i]);
        }
    }
    for (w, x) in w_few.iter().zip(x_few) {
        sums[0] = simd.mul_add_e_f32s(*w, *x, sums[0]);
    }
    let rest: f32 = last_weights.iter().zip(last_x).map(|(w, x)| w * x).sum();
    total(simd, sums) + rest
}

/// The same of packed `bf16`: the upper half of an `f32`, which a shift or a mask brings to
/// its place.
#[inline(always)]
fn dot_bf16<S: Simd>(simd: S, blocks: &[[u32; WORDS_BF16]], x: &[f32]) -> f32 {
    let (half, upper) = (simd.splat_u32s(16), simd.splat_u32s(0xffff_0000));
    let mut sums = [simd.splat_f32s(0.0); SUMS];
    for (words, x) in blocks.iter().zip(x.as_chunks::<BLOCK>().0) {
        let words = S::as_simd_u32s(words).0;
        let (low_x, high_x) = S::as_simd_f32s(x).0.split_at(words.len());
        for (i, word) in words.iter().enumerate() {
            let low = simd.transmute_f32s_u32s(simd.wrapping_dyn_shl_u32s(*word, half));
            let high = simd.transmute_f32s_u32s(simd.and_u32s(*word, upper));
            let at = i % 2;
            sums[at] = simd.mul_add_e_f32s(low, low_x[i], sums[at]);
            sums[at + 2] = simd.mul_add_e_f32s(high, high_x[i], sums[at + 2]);
        }
    }
    total(simd, sums)
}

/// Σ w x of packed 8-bit numbers: each block is summed by itself, and then
/// multiplied by its scale.
#[inline(always)]
fn dot_q8<S: Simd>(
    simd: S,
    blocks: &[[u32; WORDS_Q8]],
    scales: &[f32],
    x: &[f32],
) -> f32 {
    // From 2²³ to 2²⁴, the last bit of an f32 counts ones: with the bits of 2²³
    // above it, a byte is the number 2²³ + byte.
    const POWER: f32 = (1 << 23) as f32;
    let [byte, power] = [255, POWER.to_bits()].map(|bits| simd.splat_u32s(bits));
    let offset = simd.splat_f32s(POWER + OFFSET);
    let mut sums = [simd.splat_f32s(0.0); SUMS];
    let x = x.as_chunks::<BLOCK>().0;
    for ((words, scale), x) in blocks.iter().zip(scales).zip(x) {
        let (words, x) = (S::as_simd_u32s(words).0, S::as_simd_f32s(x).0);
        let mut block = [simd.splat_f32s(0.0); SUMS];
        for (i, word) in words.iter().enumerate() {
            for quarter in 0..4 {
                let shift = simd.splat_u32s(8 * quarter as u32);
                let bits =
                    simd.and_u32s(simd.wrapping_dyn_shr_u32s(*word, shift), byte);
                let number = simd.transmute_f32s_u32s(simd.or_u32s(bits, power));
                let number = simd.sub_f32s(number, offset);
                let x = x[quarter * words.len() + i];
                block[quarter] = simd.mul_add_e_f32s(number, x, block[quarter]);
            }
        }
        let scale = simd.splat_f32s(*scale);
        for i in 0..SUMS {
            sums[i] = simd.mul_add_e_f32s(scale, block[i], sums[i]);
        }
    }
    total(simd, sums)
}

#[inline(always)]
fn total<S: Simd>(simd: S, [a, b, c, d]: [S::f32s; SUMS]) -> f32 {
    let (ab, cd) = (simd.add_f32s(a, b), simd.add_f32s(c, d));
    simd.reduce_sum_f32s(simd.add_f32s(ab, cd))
}
