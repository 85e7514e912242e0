//! A learned projection `x W + b` whose numbers are kept in 32, 16 or 8 bits.
//!
//! While a model writes, each weight is read once per token and used once, so the time
//! is that of reading them: fewer bytes take less time. What is read is widened to `f32`
//! on the way to the product.

use attention::{Linear, ShapeError, expect_shape};
use half::bf16;
use nalgebra::{DMatrix, DVector};
use pulp::Arch;
use rayon::prelude::*;

/// In which form the numbers of a projection are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// As they are computed with.
    F32,
    /// The upper half of an `f32`: its whole range, and 8 bits of its 24.
    Bf16,
    /// Whole numbers from −127 to 127, and one `f32` for every [`BLOCK`] of them, by which
    /// they are multiplied.
    Q8,
}

/// Numbers that share one scale in [`Precision::Q8`].
pub const BLOCK: usize = 64;

/// Features that leave and are widened together when many tokens pass: 300 KiB of them
/// in a model of width 576.
const WIDENED: usize = 128;

/// A linear map `x W + b`, as [`attention::Linear`] is one, for one token or many.
#[derive(Debug, Clone, PartialEq)]
pub struct Projection {
    d_in: usize,
    d_out: usize,
    /// Feature after feature that leaves: W (`d_in`, `d_out`), column after column.
    numbers: Numbers,
    bias: Option<DVector<f32>>,
}

#[derive(Debug, Clone, PartialEq)]
enum Numbers {
    F32(DMatrix<f32>),
    Bf16(Vec<bf16>),
    Q8 { numbers: Vec<i8>, scales: Vec<f32> },
}

impl Projection {
    /// A map from `d_in` features to `d_out`. `read` fills in the `d_in` weights of one
    /// feature that leaves, which is a row of the matrix in a file, and one after the
    /// other is kept as `precision` says.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn read<E>(
        (d_in, d_out): (usize, usize),
        precision: Precision,
        mut read: impl FnMut(usize, &mut [f32]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut numbers = Numbers::room(d_in, d_out, precision);
        let mut row = vec![0.0; d_in];
        for feature in 0..d_out {
            match &mut numbers {
                Numbers::F32(all) => {
                    read(feature, all.column_mut(feature).as_mut_slice())?;
                }
                Numbers::Bf16(all) => {
                    read(feature, &mut row)?;
                    all.extend(row.iter().map(|&x| bf16::from_f32(x)));
                }
                Numbers::Q8 { numbers, scales } => {
                    read(feature, &mut row)?;
                    for block in row.chunks(BLOCK) {
                        let scale = block.iter().fold(0.0, |m: f32, x| m.max(x.abs()));
                        let scale = scale / 127.0;
                        let to_one = if scale > 0.0 { scale.recip() } else { 0.0 };
                        scales.push(scale);
                        numbers
                            .extend(block.iter().map(|x| (x * to_one).round() as i8));
                    }
                }
            }
        }
        Ok(Projection { d_in, d_out, numbers, bias: None })
    }

    /// The map of a weight (`d_in`, `d_out`) in full precision.
    #[must_use]
    pub fn of(weight: DMatrix<f32>) -> Self {
        let (d_in, d_out) = weight.shape();
        Projection { d_in, d_out, numbers: Numbers::F32(weight), bias: None }
    }

    /// The same map with a bias.
    ///
    /// # Errors
    /// When it has another length than there are features that leave.
    pub fn with_bias(self, bias: Vec<f32>) -> Result<Self, ShapeError> {
        let why = "one entry for each feature that leaves";
        expect_shape("bias", (bias.len(), 1), (self.d_out, 1), why)?;
        Ok(Projection { bias: Some(bias.into()), ..self })
    }

    /// As chapter 1 has it: the weights widened, and the bias.
    ///
    /// # Errors
    /// None that can happen: the bias was held to the weights before.
    pub fn to_linear(&self) -> Result<Linear, ShapeError> {
        let mut weight = DMatrix::zeros(self.d_in, self.d_out);
        for (feature, mut column) in weight.column_iter_mut().enumerate() {
            self.weights_of(feature, column.as_mut_slice());
        }
        Linear::new(weight, self.bias.clone())
    }

    /// The map of chapter 1, in full precision.
    #[must_use]
    pub fn of_linear(linear: &Linear) -> Self {
        let bias = linear.bias().cloned();
        Projection { bias, ..Projection::of(linear.weight().clone()) }
    }

    /// (`d_in`, `d_out`): features that enter, features that leave.
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        (self.d_in, self.d_out)
    }

    /// Memory that its numbers take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let weights = match &self.numbers {
            Numbers::F32(all) => size_of_val(all.as_slice()),
            Numbers::Bf16(all) => size_of_val(&all[..]),
            Numbers::Q8 { numbers, scales } => {
                size_of_val(&numbers[..]) + size_of_val(&scales[..])
            }
        };
        weights + self.bias.as_ref().map_or(0, |bias| size_of_val(bias.as_slice()))
    }

    /// Numbers that were learned.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.d_in * self.d_out + self.bias.as_ref().map_or(0, DVector::len)
    }

    /// `x` (tokens, `d_in`) to (tokens, `d_out`).
    ///
    /// # Errors
    /// When `x` has another width than `d_in`.
    pub fn forward(&self, x: &DMatrix<f32>) -> Result<DMatrix<f32>, ShapeError> {
        let why = "the projection reads that many features";
        expect_shape("x", x.shape(), (x.nrows(), self.d_in), why)?;
        let mut y = match x.nrows() {
            1 => self.of_one(x.as_slice()),
            _ => self.of_many(x),
        };
        if let Some(bias) = &self.bias {
            for (mut column, b) in y.column_iter_mut().zip(bias.iter()) {
                column.add_scalar_mut(*b);
            }
        }
        Ok(y)
    }

    /// One token: each feature that leaves is a dot product with weights that lie side by
    /// side. The features are shared among the cores.
    fn of_one(&self, x: &[f32]) -> DMatrix<f32> {
        let mut y = DMatrix::zeros(1, self.d_out);
        let tasks = 4 * rayon::current_num_threads();
        let piece = self.d_out.div_ceil(tasks).max(16);
        let pieces = y.as_mut_slice().par_chunks_mut(piece).enumerate();
        pieces.for_each(|(i, y)| {
            Arch::new().dispatch(
                #[inline(always)]
                || self.dots(x, i * piece, y),
            );
        });
        y
    }

    /// The dot products of `x` with the weights of features from `first` on.
    #[inline(always)]
    fn dots(&self, x: &[f32], first: usize, y: &mut [f32]) {
        let d = self.d_in;
        for (feature, y) in (first..).zip(y) {
            let at = feature * d..(feature + 1) * d;
            *y = match &self.numbers {
                Numbers::F32(all) => dot(&all.as_slice()[at], x, |w| w),
                Numbers::Bf16(all) => dot(&all[at], x, widen),
                Numbers::Q8 { numbers, scales } => {
                    let blocks = d.div_ceil(BLOCK);
                    dot_scaled(&numbers[at], &scales[feature * blocks..], x)
                }
            };
        }
    }

    /// Many tokens: a product of matrices, each weight used for all of them.
    fn of_many(&self, x: &DMatrix<f32>) -> DMatrix<f32> {
        if let Numbers::F32(weight) = &self.numbers {
            return x * weight;
        }
        let mut y = DMatrix::zeros(x.nrows(), self.d_out);
        for first in (0..self.d_out).step_by(WIDENED) {
            let some = WIDENED.min(self.d_out - first);
            let mut weight = DMatrix::zeros(self.d_in, some);
            let columns = weight.as_mut_slice().chunks_exact_mut(self.d_in.max(1));
            for (feature, column) in (first..).zip(columns) {
                self.weights_of(feature, column);
            }
            y.columns_mut(first, some).gemm(1.0, x, &weight, 0.0);
        }
        y
    }

    /// Widens the `d_in` weights of one feature that leaves into `out`. In the table of an
    /// embedding these are the vector of a token.
    ///
    /// # Panics
    /// When there is no such feature, or `out` has another length.
    pub fn weights_of(&self, feature: usize, out: &mut [f32]) {
        let at = feature * self.d_in..(feature + 1) * self.d_in;
        match &self.numbers {
            Numbers::F32(all) => out.copy_from_slice(&all.as_slice()[at]),
            Numbers::Bf16(all) => {
                for (out, w) in out.iter_mut().zip(&all[at]) {
                    *out = widen(*w);
                }
            }
            Numbers::Q8 { numbers, scales } => {
                let scales = &scales[feature * self.d_in.div_ceil(BLOCK)..];
                let blocks = numbers[at].chunks(BLOCK).zip(out.chunks_mut(BLOCK));
                for ((block, out), scale) in blocks.zip(scales) {
                    for (out, w) in out.iter_mut().zip(block) {
                        *out = f32::from(*w) * scale;
                    }
                }
            }
        }
    }
}

impl Numbers {
    fn room(d_in: usize, d_out: usize, precision: Precision) -> Numbers {
        match precision {
            Precision::F32 => Numbers::F32(DMatrix::zeros(d_in, d_out)),
            Precision::Bf16 => Numbers::Bf16(Vec::with_capacity(d_in * d_out)),
            Precision::Q8 => Numbers::Q8 {
                numbers: Vec::with_capacity(d_in * d_out),
                scales: Vec::with_capacity(d_in.div_ceil(BLOCK) * d_out),
            },
        }
    }
}

/// A `bf16` is the upper half of an `f32`.
#[inline(always)]
fn widen(w: bf16) -> f32 {
    f32::from_bits(u32::from(w.to_bits()) << 16)
}

/// Sums that are kept side by side, so that the compiler can add many at a time: four
/// vectors of eight.
const STRANDS: usize = 32;

#[inline(always)]
fn dot<T: Copy>(weights: &[T], x: &[f32], widen: impl Fn(T) -> f32) -> f32 {
    let (w, w_rest) = weights.as_chunks::<STRANDS>();
    let (x, x_rest) = x.as_chunks::<STRANDS>();
    let mut sums = [0.0; STRANDS];
    for (w, x) in w.iter().zip(x) {
        for i in 0..STRANDS {
            sums[i] += widen(w[i]) * x[i];
        }
    }
    let rest: f32 = w_rest.iter().zip(x_rest).map(|(w, x)| widen(*w) * x).sum();
    sums.iter().sum::<f32>() + rest
}

/// [`dot`] of whole numbers, each block of which has its scale.
#[inline(always)]
fn dot_scaled(weights: &[i8], scales: &[f32], x: &[f32]) -> f32 {
    let (w, w_rest) = weights.as_chunks::<BLOCK>();
    let (x, x_rest) = x.as_chunks::<BLOCK>();
    let mut sums = [0.0; STRANDS];
    for ((w, x), scale) in w.iter().zip(x).zip(scales) {
        let mut block = [0.0; STRANDS];
        let halves = w.chunks_exact(STRANDS).zip(x.chunks_exact(STRANDS));
        for (w, x) in halves {
            for ((sum, w), x) in block.iter_mut().zip(w).zip(x) {
                *sum += f32::from(*w) * x;
            }
        }
        for i in 0..STRANDS {
            sums[i] += scale * block[i];
        }
    }
    let rest = dot(w_rest, x_rest, f32::from);
    let scale = if w_rest.is_empty() { 0.0 } else { scales[w.len()] };
    sums.iter().sum::<f32>() + scale * rest
}
