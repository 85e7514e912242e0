//! The steps of RMS norm, which two chapters have, and how each of them is taken wrongly.

use nalgebra::DMatrix;

use crate::task::{Dial, dial};

/// Rows to be normed, the weight of each feature, and what keeps a row of zeros from being
/// divided by 0.
#[derive(Debug, Clone, Copy)]
pub struct Norm<'a> {
    /// (tokens, width).
    pub x: &'a DMatrix<f32>,
    /// (1, width).
    pub weight: &'a DMatrix<f32>,
    /// Added to the mean of a row's squares.
    pub eps: f32,
}

/// Of what the mean is taken, over what, how it divides, and what the weight does.
pub const OF_NORM: &[Dial] = &[
    dial(&[
        ("absolutes", "The mean is one of absolute values, not of squares."),
        ("values", "The mean is one of the values themselves, not of their squares."),
        (
            "centered",
            "The mean of the row is subtracted before squaring, as LayerNorm does.",
        ),
        ("mean-squared", "The mean is taken first and squared then, not the reverse."),
        ("largest", "The largest square is taken, not the mean of squares."),
        ("cubes", "Values are cubed, not squared."),
    ]),
    dial(&[
        ("sum-of-squares", "The sum of squares is not divided by the width."),
        ("over-one-less", "The sum of squares is divided by the width less one."),
        ("over-one-more", "The sum of squares is divided by the width and one."),
        (
            "over-the-tokens",
            "The sum of squares is divided by the number of tokens, not by the width.",
        ),
        ("over-the-root", "The sum of squares is divided by the root of the width."),
    ]),
    dial(&[
        ("no-root", "The root is missing."),
        ("root-twice", "The root is taken twice."),
        (
            "multiplied",
            "Rows are multiplied by the root of the mean of squares, and not divided \
             by it.",
        ),
    ]),
    dial(&[
        ("eps-outside-the-root", "eps is added after the root, and belongs below it."),
        ("no-eps", "eps is missing: a row of zeros is NaN."),
        ("eps-1e-4", "eps is about 0.0001, and not the norm's own."),
        ("eps-1e-2", "eps is about 0.01, and not the norm's own."),
        ("eps-subtracted", "eps is subtracted, and should be added."),
        ("eps-squared", "eps is squared."),
        (
            "at-least-eps",
            "The mean is raised to eps where it is smaller: eps is added.",
        ),
        ("eps-1e-5", "eps is about 0.00001, and not the norm's own."),
        ("eps-1e-3", "eps is about 0.001, and not the norm's own."),
        ("eps-1e-8", "eps is 1e-8 or less, and not the norm's own."),
        ("eps-twice", "eps is added twice."),
    ]),
    dial(&[
        ("no-weight", "The learned weight of each feature is missing."),
        ("one-plus-weight", "1 is added to the learned weight."),
        ("weight-squared", "The learned weight counts twice."),
        (
            "first-weight-for-all",
            "The first feature's learned weight counts for all columns.",
        ),
        (
            "over-weight",
            "Numbers are divided by the learned weight, and not multiplied by it.",
        ),
        ("weight-reversed", "The learned weights are taken from the last."),
        ("weight-added", "The learned weight is added, and not multiplied."),
        (
            "weight-by-rows",
            "The learned weight is taken by the number of the row, and not by that of \
             the column.",
        ),
        (
            "weight-under-the-root",
            "The learned weight is in the mean, below the root, and not applied to the \
             result.",
        ),
        (
            "weight-added-too",
            "The learned weight is multiplied by, and then added as well.",
        ),
        ("root-of-weight", "The root of the learned weight is multiplied by."),
        (
            "weight-first",
            "The mean is taken of numbers that are multiplied by the learned weight \
             already: the weight comes after the division.",
        ),
    ]),
    dial(&[
        ("down-the-columns", "The mean runs down the columns, and not along rows."),
        ("one-mean-for-all", "There is one mean for all rows."),
        ("first-row-for-all", "The mean of the first row is taken for all rows."),
        ("last-row-for-all", "The mean of the last row is taken for all rows."),
    ]),
    dial(&[
        (
            "mean-taken-off",
            "What is divided is the row less its mean, as LayerNorm has it.",
        ),
        ("squares-divided", "What is divided is the squares."),
        ("absolutes-divided", "What is divided has lost its signs."),
    ]),
];

impl Norm<'_> {
    /// The normed rows, by the settings of [`OF_NORM`].
    #[must_use]
    pub fn by(&self, set: &[usize]) -> DMatrix<f32> {
        DMatrix::from_fn(self.x.nrows(), self.x.ncols(), |row, column| {
            let divisor = self.divisor(self.mean(row, column, set), set);
            let number = match set[6] {
                0 => self.x[(row, column)],
                1 => self.x[(row, column)] - self.x.row(row).mean(),
                2 => self.x[(row, column)].powi(2),
                _ => self.x[(row, column)].abs(),
            };
            let shrunk = if set[2] == 3 { number * divisor } else { number / divisor };
            self.weighed(shrunk, row, column, set[4])
        })
    }

    /// What is taken for the mean of the squares, for one number of `x`.
    fn mean(&self, row: usize, column: usize, set: &[usize]) -> f32 {
        let x = self.x;
        if set[4] == 9 {
            return x.row(row).map(|x| x * x).component_mul(&self.weight.row(0)).mean();
        }
        let weighed;
        let x = if set[4] == 12 {
            weighed = DMatrix::from_fn(x.nrows(), x.ncols(), |i, j| {
                x[(i, j)] * self.weight[j]
            });
            &weighed
        } else {
            x
        };
        let numbers: Vec<f32> = match set[5] {
            0 => x.row(row).iter().copied().collect(),
            1 => x.column(column).iter().copied().collect(),
            2 => x.iter().copied().collect(),
            3 => x.row(0).iter().copied().collect(),
            _ => x.row(x.nrows() - 1).iter().copied().collect(),
        };
        mean_by(&numbers, x.nrows(), set)
    }

    fn divisor(&self, mean: f32, set: &[usize]) -> f32 {
        let root = |mean: f32| match set[2] {
            1 => mean,
            2 => mean.sqrt().sqrt(),
            _ => mean.sqrt(),
        };
        let eps = self.eps;
        match set[3] {
            0 => root(mean + eps),
            1 => root(mean) + eps,
            2 => root(mean),
            3 => root(mean + 1e-4),
            4 => root(mean + 1e-2),
            5 => root(mean - eps),
            6 => root(mean + eps * eps),
            7 => root(mean.max(eps)),
            8 => root(mean + 1e-5),
            9 => root(mean + 1e-3),
            10 => root(mean + 1e-8),
            _ => root(mean + 2.0 * eps),
        }
    }

    /// A number that was divided, as the weight changes it.
    fn weighed(&self, shrunk: f32, row: usize, column: usize, how: usize) -> f32 {
        let last = self.weight.ncols() - 1;
        let weight = self.weight[column];
        match how {
            0 | 12 => shrunk * weight,
            1 | 9 => shrunk,
            2 => shrunk * (1.0 + weight),
            3 => shrunk * weight * weight,
            4 => shrunk * self.weight[0],
            5 => shrunk / weight,
            6 => shrunk * self.weight[last - column],
            7 => shrunk + weight,
            8 => shrunk * self.weight[row.min(last)],
            10 => shrunk * weight + weight,
            _ => shrunk * weight.sqrt(),
        }
    }
}

/// The mean of something of these numbers, as the first two dials say.
fn mean_by(numbers: &[f32], tokens: usize, set: &[usize]) -> f32 {
    let width = numbers.len() as f32;
    let average = numbers.iter().sum::<f32>() / width;
    let of = |x: f32| match set[0] {
        1 => x.abs(),
        2 => x,
        3 => (x - average).powi(2),
        6 => x.powi(3),
        _ => x * x,
    };
    let sum: f32 = numbers.iter().map(|x| of(*x)).sum();
    match set[0] {
        4 => average * average,
        5 => numbers.iter().fold(0.0, |max: f32, x| max.max(x * x)),
        _ => match set[1] {
            0 => sum / width,
            1 => sum,
            2 => sum / (width - 1.0),
            3 => sum / (width + 1.0),
            4 => sum / tokens as f32,
            _ => sum / width.sqrt(),
        },
    }
}

#[cfg(test)]
mod tests {
    use nalgebra::dmatrix;

    use super::{Norm, OF_NORM};

    #[test]
    fn rightly_set_each_row_has_the_size_of_its_weights() {
        let (x, weight) = (dmatrix![1.0, 7.0; 0.0, 0.0], dmatrix![1.0, 2.0]);
        let normed = Norm { x: &x, weight: &weight, eps: 1e-6 }.by(&[0; 7]);
        assert!((normed - dmatrix![0.2, 2.8; 0.0, 0.0]).amax() < 1e-5);
        assert_eq!(OF_NORM.len(), 7);
    }
}
