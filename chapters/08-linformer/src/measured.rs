//! What is left of MiniLM's maps with fewer rows: measured once, kept in `measured.csv`.

use crate::SequenceProjection;
use crate::experiments::{HEADS, Head, LAYERS, TOKENS, normal, random, relative_error};
use anyhow::{Context, Result};
use attention::softmax;
use nalgebra::{DMatrix, SymmetricEigen};
use std::fmt::Write;

/// The numbers of rows that maps are condensed to.
pub const RANKS: [usize; 10] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

/// What is left of one head at one `r`. Errors are relative: the length of the difference
/// over the length of what it should be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// Of MiniLM.
    pub layer: usize,
    /// Of the layer.
    pub head: usize,
    /// Rows that are left of 512.
    pub r: usize,
    /// The share of the `r` largest singular values of the map.
    pub share: f64,
    /// Error of the nearest map of rank `r`.
    pub best_map: f64,
    /// Error of the map with each stretch of columns replaced by its mean.
    pub pooled_map: f64,
    /// Error of P Rᵀ R, R random (r, n).
    pub random_map: f64,
    /// Error of the head's output with the nearest map of rank `r`.
    pub best: f64,
    /// The same in Linformer, E = F = mean pooling.
    pub pooled: f64,
    /// The same in Linformer, E = F = R, random.
    pub random: f64,
}

/// Condenses one head to each of [`RANKS`].
///
/// # Errors
/// When the model's slices cannot be read.
pub fn measure(layer: usize, head: usize) -> Result<Vec<Measured>> {
    let at = Head::load(layer, head)?;
    let (squares, directions) = singular(&at.weights);
    let values = directions.tr_mul(&at.v.map(f64::from));
    let map = at.weights.map(f64::from) * &directions;
    let at_rank = |r: usize| -> Result<Measured> {
        let pooling = SequenceProjection::mean_pooling(r, TOKENS)?;
        let noise = random(r, TOKENS, (layer * HEADS + head) as u64)?;
        let best = (map.columns(0, r) * values.rows(0, r)).map(|x| x as f32);
        let through = |e: &SequenceProjection, back: f32| -> Result<f64> {
            let short = &at.weights * e.weight.transpose();
            Ok(relative_error(&(short * &e.weight * back), &at.weights))
        };
        let output = |e: &SequenceProjection| -> Result<f64> {
            Ok(relative_error(&at.condensed(e, e)?, &at.output))
        };
        let sum =
            |squares: &[f64]| squares.iter().fold(0.0, |sum, square| sum + square);
        Ok(Measured {
            layer,
            head,
            r,
            share: share(&squares, r),
            best_map: (sum(&squares[r..]) / sum(&squares)).sqrt(),
            // A mean over b columns, given back to each: Sᵀ S · b, and b = n / r.
            pooled_map: through(&pooling, TOKENS as f32 / r as f32)?,
            random_map: through(&noise, 1.0)?,
            best: relative_error(&best, &at.output),
            pooled: output(&pooling)?,
            random: output(&noise)?,
        })
    };
    RANKS.into_iter().map(at_rank).collect()
}

/// Every head of every layer, as `cargo run -p linformer --example measure` wrote it down:
/// it takes a minute, and would take it again for each figure and each table.
pub struct Measurements(Vec<Measured>);

impl Measurements {
    /// Reads the recording that is compiled in.
    ///
    /// # Errors
    /// When a line is not as [`Measurements::write`] has it.
    pub fn read() -> Result<Self> {
        let parse = |line: &str| -> Option<Measured> {
            let mut cells = line.split(',');
            let mut index = || cells.next()?.parse::<usize>().ok();
            let (layer, head, r) = (index()?, index()?, index()?);
            let mut number = || cells.next()?.parse::<f64>().ok();
            Some(Measured {
                layer,
                head,
                r,
                share: number()?,
                best_map: number()?,
                pooled_map: number()?,
                random_map: number()?,
                best: number()?,
                pooled: number()?,
                random: number()?,
            })
        };
        let lines = include_str!("measured.csv").lines().skip(1);
        let lines = lines.map(|line| {
            parse(line).with_context(|| format!("measured.csv: cannot read `{line}`"))
        });
        Ok(Measurements(lines.collect::<Result<_>>()?))
    }

    /// Measures everything again, as a file.
    ///
    /// # Errors
    /// When the model's slices cannot be read.
    pub fn write() -> Result<String> {
        let mut text = String::from(
            "layer,head,r,share,best_map,pooled_map,random_map,best,pooled,random\n",
        );
        for layer in 0..LAYERS {
            for head in 0..HEADS {
                for m in measure(layer, head)? {
                    let errors = [m.best_map, m.pooled_map, m.random_map];
                    let errors = [&errors[..], &[m.best, m.pooled, m.random]].concat();
                    write!(text, "{layer},{head},{},{:.4}", m.r, m.share)?;
                    for error in errors {
                        write!(text, ",{error:.4}")?;
                    }
                    text.push('\n');
                }
            }
        }
        Ok(text)
    }

    /// One head at one `r`.
    ///
    /// # Errors
    /// When it was not measured.
    pub fn at(&self, layer: usize, head: usize, r: usize) -> Result<&Measured> {
        let found = self.0.iter().find(|m| (m.layer, m.head, m.r) == (layer, head, r));
        found.with_context(|| format!("measured.csv: no {layer}, {head}, {r}"))
    }

    /// The mean over the heads of `layer`, or of all layers.
    #[must_use]
    pub fn mean(
        &self,
        layer: Option<usize>,
        r: usize,
        value: fn(&Measured) -> f64,
    ) -> f64 {
        let is_meant = |m: &&Measured| m.r == r && layer.is_none_or(|l| m.layer == l);
        let values: Vec<f64> = self.0.iter().filter(is_meant).map(value).collect();
        values.iter().sum::<f64>() / values.len() as f64
    }

    /// The least and the greatest over all heads of all layers.
    #[must_use]
    pub fn ends(&self, r: usize, value: fn(&Measured) -> f64) -> (f64, f64) {
        let values = || self.0.iter().filter(|m| m.r == r).map(value);
        (values().fold(f64::MAX, f64::min), values().fold(f64::MIN, f64::max))
    }
}

/// The squares of the singular values of a map, largest first, and the directions among
/// the tokens that belong to them: eigenvalues and eigenvectors of `PᵀP`.
#[must_use]
pub fn singular(weights: &DMatrix<f32>) -> (Vec<f64>, DMatrix<f64>) {
    let p = weights.map(f64::from);
    let SymmetricEigen { eigenvalues, eigenvectors } =
        SymmetricEigen::new(p.transpose() * &p);
    let mut order: Vec<usize> = (0..eigenvalues.len()).collect();
    order.sort_by(|a, b| eigenvalues[*b].total_cmp(&eigenvalues[*a]));
    let squares = order.iter().map(|i| eigenvalues[*i].max(0.0)).collect();
    (squares, eigenvectors.select_columns(&order))
}

/// The share that the `r` largest singular values have in the sum of all.
#[must_use]
pub fn share(squares: &[f64], r: usize) -> f64 {
    let sum = |values: &[f64]| values.iter().map(|square| square.sqrt()).sum::<f64>();
    sum(&squares[..r.min(squares.len())]) / sum(squares)
}

/// The squares of the singular values of a map that nobody learned: softmax of scores
/// drawn at random, with `deviation` as their standard deviation. That of independent
/// queries and keys is 1.
#[must_use]
pub fn squares_of_noise(deviation: f32) -> Vec<f64> {
    let p = softmax(normal(TOKENS, TOKENS, 1) * deviation).map(f64::from);
    let squares = (p.transpose() * &p).symmetric_eigenvalues();
    let mut squares: Vec<f64> = squares.iter().map(|s| s.max(0.0)).collect();
    squares.sort_by(|a, b| b.total_cmp(a));
    squares
}
