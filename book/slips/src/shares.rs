//! Softmax, and what people take for it.

use nalgebra::{DMatrix, DVector};

/// How scores become weights. The default is right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) enum Shares {
    #[default]
    ByRows,
    ByColumns,
    OverAllHeads,
    OverTheWholeMap,
    Twice,
    Missing,
    NotDivided,
    NotExponential,
    NoMaximum,
    NoMaximumGuarded,
    FromZero,
    OneMaximumForAll,
    Unguarded,
    EqualWhereHidden,
    PowersOfTwo,
    LargestIsOne,
    OverKeys,
    ColumnsToo,
    Equal,
    /// In tiles of so many keys, as flash attention takes them.
    Tiled(Tiling, u16),
}

/// What goes wrong between tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Tiling {
    SumNotRescaled,
    OutputNotRescaled,
    NothingRescaled,
    EachDivided,
    LastTileAlone,
    ZerosInTheLast,
    LastLeftOut,
}

/// The weights that scores (queries, keys) become, row by row.
#[must_use]
pub fn softmax(scores: &DMatrix<f32>) -> DMatrix<f32> {
    shares(scores, Shares::ByRows)
}

/// The weights that `how` makes of scores (queries, keys).
pub(crate) fn shares(scores: &DMatrix<f32>, how: Shares) -> DMatrix<f32> {
    match how {
        Shares::ByRows | Shares::OverAllHeads => over_sums(&exps(scores), true),
        Shares::ByColumns => shares(&scores.transpose(), Shares::ByRows).transpose(),
        Shares::OverTheWholeMap => {
            let exps = exps_of_all(scores);
            let sum = exps.sum();
            exps.map(|e| if sum == 0.0 { 0.0 } else { e / sum })
        }
        Shares::Twice => shares(&shares(scores, Shares::ByRows), Shares::ByRows),
        Shares::Missing => scores.clone(),
        Shares::NotDivided => exps(scores),
        Shares::NotExponential => over_sums(scores, false),
        Shares::NoMaximum => over_sums(&scores.map(f32::exp), false),
        Shares::NoMaximumGuarded => over_sums(&scores.map(f32::exp), true),
        Shares::FromZero => over_sums(&exps_from(scores, 0.0), true),
        Shares::OneMaximumForAll => over_sums(&exps_of_all(scores), true),
        Shares::Unguarded => over_sums(&exps(scores), false),
        Shares::EqualWhereHidden => {
            let mut weights = shares(scores, Shares::ByRows);
            for mut row in weights.row_iter_mut().filter(|row| row.sum() == 0.0) {
                row.fill(1.0 / scores.ncols() as f32);
            }
            weights
        }
        Shares::PowersOfTwo => {
            shares(&(scores * std::f32::consts::LN_2), Shares::ByRows)
        }
        Shares::LargestIsOne => {
            let mut exps = exps(scores);
            for mut row in exps.row_iter_mut() {
                row.iter_mut().for_each(|e| *e = f32::from(u8::from(*e == 1.0)));
            }
            exps
        }
        Shares::Equal => {
            let seen = |s: f32| if s == f32::NEG_INFINITY { s } else { 0.0 };
            shares(&scores.map(seen), Shares::ByRows)
        }
        Shares::Tiled(how, tile) => tiled(scores, how, usize::from(tile)),
        Shares::OverKeys => exps(scores) / scores.ncols() as f32,
        Shares::ColumnsToo => {
            let by_rows = shares(scores, Shares::ByRows);
            over_sums(&by_rows.transpose(), true).transpose()
        }
    }
}

/// The weights that keys have in the end, where scores are taken in tiles of `tile` keys.
fn tiled(scores: &DMatrix<f32>, how: Tiling, tile: usize) -> DMatrix<f32> {
    let keys = scores.ncols();
    let mut weights = DMatrix::zeros(scores.nrows(), keys);
    for (row, mut out) in scores.row_iter().zip(weights.row_iter_mut()) {
        let row: Vec<f32> = row.iter().copied().collect();
        out.tr_copy_from(&DVector::from_vec(tiled_row(&row, how, tile)));
    }
    weights
}

fn tiled_row(row: &[f32], how: Tiling, tile: usize) -> Vec<f32> {
    let keys = row.len();
    let top = |of: &[f32]| of.iter().copied().fold(f32::MIN, f32::max);
    // The running maximum when each tile is taken in.
    let running: Vec<f32> = (0..keys.div_ceil(tile))
        .map(|t| top(&row[..((t + 1) * tile).min(keys)]))
        .collect();
    let last = running.last().copied().unwrap_or(0.0);
    let exp = |key: usize, from: f32| (row[key] - from).exp();
    let over = |exps: Vec<f32>, sum: f32| -> Vec<f32> {
        exps.into_iter().map(|e| if sum == 0.0 { 0.0 } else { e / sum }).collect()
    };
    let right: Vec<f32> = (0..keys).map(|key| exp(key, last)).collect();
    let stale: Vec<f32> = (0..keys).map(|key| exp(key, running[key / tile])).collect();
    let sum = |of: &[f32]| of.iter().sum::<f32>();
    match how {
        Tiling::SumNotRescaled => over(right, sum(&stale)),
        Tiling::OutputNotRescaled => over(stale, sum(&right)),
        Tiling::NothingRescaled => {
            let all = sum(&stale);
            over(stale, all)
        }
        Tiling::EachDivided => {
            let tiles = running.len() as f32;
            let sums: Vec<f32> = right.chunks(tile).map(sum).collect();
            let one = |key: usize| match sums[key / tile] {
                0.0 => 0.0,
                sum => right[key] / sum / tiles,
            };
            (0..keys).map(one).collect()
        }
        Tiling::LastTileAlone | Tiling::LastLeftOut => {
            let whole = keys / tile * tile;
            let first = (keys.max(1) - 1) / tile * tile;
            let is_in = |key: usize| match how {
                Tiling::LastTileAlone => key >= first,
                _ => key < whole,
            };
            let kept: Vec<f32> = (0..keys)
                .map(|key| if is_in(key) { right[key] } else { 0.0 })
                .collect();
            let all = sum(&kept);
            over(kept, all)
        }
        Tiling::ZerosInTheLast => {
            let more = (keys.div_ceil(tile) * tile - keys) as f32;
            let from = last.max(0.0);
            let exps: Vec<f32> = (0..keys).map(|key| exp(key, from)).collect();
            let all = sum(&exps) + more * (-from).exp();
            over(exps, all)
        }
    }
}

/// exp(score - maximum of its row).
fn exps(scores: &DMatrix<f32>) -> DMatrix<f32> {
    exps_from(scores, f32::MIN)
}

/// exp(score - maximum of the whole map).
fn exps_of_all(scores: &DMatrix<f32>) -> DMatrix<f32> {
    let highest = scores.iter().copied().fold(f32::MIN, f32::max);
    scores.map(|s| (s - highest).exp())
}

/// exp(score - maximum of its row), where the search for the maximum begins at `start`.
fn exps_from(scores: &DMatrix<f32>, start: f32) -> DMatrix<f32> {
    let highest = |row: usize| scores.row(row).iter().copied().fold(start, f32::max);
    let tops: Vec<f32> = (0..scores.nrows()).map(highest).collect();
    DMatrix::from_fn(scores.nrows(), scores.ncols(), |row, key| {
        (scores[(row, key)] - tops[row].min(f32::MAX)).exp()
    })
}

/// Each row over its sum; where the sum is 0, zeros if `guarded`, and else NaN.
fn over_sums(rows: &DMatrix<f32>, guarded: bool) -> DMatrix<f32> {
    let sums: Vec<f32> = rows.row_iter().map(|row| row.sum()).collect();
    DMatrix::from_fn(rows.nrows(), rows.ncols(), |row, key| match sums[row] {
        0.0 if guarded => 0.0,
        sum => rows[(row, key)] / sum,
    })
}

#[cfg(test)]
mod tests {
    use super::{Shares, shares};
    use nalgebra::dmatrix;

    #[test]
    fn rows_sum_to_one_or_are_empty() {
        let hidden = f32::NEG_INFINITY;
        let scores = dmatrix![250.0, 249.0; hidden, hidden; -250.0, hidden];
        let weights = shares(&scores, Shares::ByRows);
        let sums: Vec<f32> = weights.row_iter().map(|row| row.sum()).collect();
        assert_eq!(sums, [1.0, 0.0, 1.0]);
        assert!((weights[(0, 0)] / weights[(0, 1)] - 1.0_f32.exp()).abs() < 1e-5);
    }

    #[test]
    fn columns_sum_to_one_where_softmax_runs_down() {
        let weights = shares(&dmatrix![1.0, 2.0; 3.0, 0.5], Shares::ByColumns);
        assert!(weights.column_iter().all(|column| (column.sum() - 1.0).abs() < 1e-6));
    }
}
