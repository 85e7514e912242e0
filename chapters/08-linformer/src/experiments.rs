//! What the chapter counts and measures: the data behind its figures and numbers.

use crate::{LinformerError, Projections, SequenceProjection};
use crate::{Sharing, attend_condensed, condense};
use anyhow::{Context, Result};
use attention::{Linear, Mask, ShapeError, attend, expect_shape};
use chapter_cli::{LinearTensors, Recorded};
use grouped_query::{Groups, attend_groups};
use minilm::Layer;
use nalgebra::{DMatrix, DMatrixView, DVector};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use std::sync::Arc;

/// Layers of MiniLM.
pub const LAYERS: usize = 6;
/// Heads of each.
pub const HEADS: usize = 12;
/// Tokens of the long text.
pub const TOKENS: usize = 512;

/// One head of MiniLM on the long text.
pub struct Head {
    /// (tokens, `head_dim`).
    pub q: DMatrix<f32>,
    /// (tokens, `head_dim`).
    pub k: DMatrix<f32>,
    /// (tokens, `head_dim`).
    pub v: DMatrix<f32>,
    /// (tokens, tokens): the map P.
    pub weights: DMatrix<f32>,
    /// (tokens, `head_dim`): P V.
    pub output: DMatrix<f32>,
}

impl Head {
    /// Head `head` of layer `layer`.
    ///
    /// # Errors
    /// When the model's slices cannot be read.
    pub fn load(layer: usize, head: usize) -> Result<Self> {
        Self::of(&Layer::with_long_text(layer)?, head)
    }

    /// Head `head` of a layer with its text.
    ///
    /// # Errors
    /// When the layer's tensors do not fit one another.
    pub fn of(layer: &Layer, head: usize) -> Result<Self> {
        let run = |projection| -> Result<DMatrix<f32>> {
            let (weight, bias) = minilm::head(projection, head, layer.head_dim());
            Ok(Linear::new(weight, bias)?.forward(&layer.x)?)
        };
        let (q, k, v) = (run(&layer.q_proj)?, run(&layer.k_proj)?, run(&layer.v_proj)?);
        let found = attend(q.as_view(), k.as_view(), v.as_view(), &Mask::None)?;
        Ok(Head { q, k, v, weights: found.weights, output: found.output })
    }

    /// What the head finds when it looks at what `e` and `f` leave of keys and values.
    ///
    /// # Errors
    /// When they read fewer tokens than there are.
    pub fn condensed(
        &self,
        e: &SequenceProjection,
        f: &SequenceProjection,
    ) -> Result<DMatrix<f32>, LinformerError> {
        let (q, k, v) = (self.q.as_view(), self.k.as_view(), self.v.as_view());
        Ok(attend_condensed(q, k, v, e, f)?.output)
    }
}

/// A random projection along the sequence (r, n), entries normal with variance 1/r, as in
/// the lemma of Johnson and Lindenstrauss.
///
/// # Errors
/// When `r` is 0.
pub fn random(r: usize, n: usize, seed: u64) -> Result<SequenceProjection, ShapeError> {
    SequenceProjection::new(normal(r, n, seed) / (r as f32).sqrt())
}

/// (rows, columns) of independent standard normal numbers.
#[must_use]
pub fn normal(rows: usize, columns: usize, seed: u64) -> DMatrix<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    DMatrix::from_fn(rows, columns, |_, _| StandardNormal.sample(&mut rng))
}

/// How far `found` is from `wanted`, as a share of the length of `wanted`.
#[must_use]
pub fn relative_error(found: &DMatrix<f32>, wanted: &DMatrix<f32>) -> f64 {
    f64::from((found - wanted).norm()) / f64::from(wanted.norm())
}

/// The `r` that theorem 1 asks for, 5 ln n / (ε² − ε³) (Wang et al. 2020, §3).
#[must_use]
pub fn theorem_r(n: usize, epsilon: f64) -> f64 {
    5.0 * (n as f64).ln() / (epsilon.powi(2) - epsilon.powi(3))
}

/// The shortest sequence, of 3 to a million tokens, for which the theorem asks for fewer
/// rows than there are tokens.
///
/// # Errors
/// When it asks for more in all of them.
pub fn theorem_says_something_from(epsilon: f64) -> Result<usize> {
    let mut lengths = 3..1_000_000;
    let first = lengths.find(|n| theorem_r(*n, epsilon) < *n as f64);
    first.with_context(|| format!("ε = {epsilon}: more rows than a million tokens"))
}

/// What the theorem is about, tried: for each column w of each head's values in `layer`,
/// the error ‖P Rᵀ R w − P w‖ / ‖P w‖ with a random R (r, n).
///
/// # Errors
/// When the model's slices cannot be read.
pub fn theorem_errors(layer: usize, r: usize) -> Result<Vec<f64>> {
    let layer = Layer::with_long_text(layer)?;
    let matrix = random(r, TOKENS, 250)?.weight;
    let mut errors = Vec::new();
    for head in 0..layer.heads {
        let at = Head::of(&layer, head)?;
        let found = &at.weights * (matrix.transpose() * (&matrix * &at.v));
        let columns = found.column_iter().zip(at.output.column_iter());
        errors.extend(
            columns.map(|(found, wanted)| {
                f64::from((found - wanted).norm() / wanted.norm())
            }),
        );
    }
    Ok(errors)
}

/// The largest weight of a row, mean over all rows of all heads: of the maps as they are,
/// and with keys condensed to `r` rows at random.
///
/// # Errors
/// When the model's slices cannot be read.
pub fn largest_weights(r: usize) -> Result<[f64; 2]> {
    let matrix = random(r, TOKENS, 128)?;
    let mut sums = [0.0; 2];
    for layer in 0..LAYERS {
        let layer = Layer::with_long_text(layer)?;
        for head in 0..layer.heads {
            let at = Head::of(&layer, head)?;
            let (q, k, v) = (at.q.as_view(), at.k.as_view(), at.v.as_view());
            let condensed = attend_condensed(q, k, v, &matrix, &matrix)?.weights;
            for (sum, map) in sums.iter_mut().zip([&at.weights, &condensed]) {
                *sum += map.row_iter().map(|row| f64::from(row.max())).sum::<f64>();
            }
        }
    }
    Ok(sums.map(|sum| sum / (LAYERS * HEADS * TOKENS) as f64))
}

/// Multiply-adds of one head's attention among `n` tokens of width `d`.
#[must_use]
pub fn attention_multiply_adds(n: u64, d: u64) -> u64 {
    2 * n * n * d
}

/// The same with keys and values condensed to `r` rows: E K, F V, scores and average.
#[must_use]
pub fn linformer_multiply_adds(n: u64, r: u64, d: u64) -> u64 {
    4 * n * r * d
}

/// The head of the benchmark: its width, and the rows that are left.
pub const BENCH_HEAD_DIM: usize = 64;
/// See [`BENCH_HEAD_DIM`].
pub const BENCH_K: usize = 256;

/// What `cargo bench -p linformer -- --record` wrote down last.
///
/// # Errors
/// When the recording cannot be read.
pub fn recorded() -> Result<Recorded> {
    Recorded::parse(include_str!("../benches/recorded.csv"))
        .context("chapters/08-linformer/benches/recorded.csv")
}

/// Where two recorded lines cross: between the last size at which attention is faster and
/// the next, on straight lines in a log-log plot.
///
/// # Errors
/// When they do not cross.
pub fn crossing(recorded: &Recorded) -> Result<f64> {
    let both = recorded.points("linformer").filter_map(|(n, ms)| {
        let attention = recorded.milliseconds("attention", n).ok()?;
        Some(((n as f64).ln(), (attention / ms).ln()))
    });
    let both: Vec<(f64, f64)> = both.collect();
    let last = both.iter().rposition(|point| point.1 < 0.0);
    let last = last.context("attention is never faster")?;
    let ((x0, y0), (x1, y1)) =
        (both[last], *both.get(last + 1).context("Linformer is never faster")?);
    Ok((x0 + (x1 - x0) * -y0 / (y1 - y0)).exp())
}

/// Which tokens move which outputs: entry (i, j) is how far the i-th row of what `run`
/// gives moves when the j-th row of `x` is replaced.
///
/// # Errors
/// Those of `run`.
pub fn influence(
    x: &DMatrix<f32>,
    run: impl Fn(&DMatrix<f32>) -> Result<DMatrix<f32>>,
) -> Result<DMatrix<f32>> {
    let n = x.nrows();
    let before = run(x)?;
    expect_shape(
        "run",
        before.shape(),
        (n, before.ncols()),
        "an output for each token",
    )?;
    let mut moved = DMatrix::zeros(n, n);
    for j in 0..n {
        let mut other = x.clone();
        other.row_mut(j).apply(|entry| *entry += 1.0);
        let change = run(&other)? - &before;
        moved.set_column(j, &DVector::from_fn(n, |i, _| change.row(i).amax()));
    }
    Ok(moved)
}

/// Four tries to keep the future out of Linformer, and attention's mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Causal {
    /// Attention with a causal mask.
    Attention,
    /// Linformer with a dense E: token i may see the rows 0 to ⌊i r / n⌋.
    Dense,
    /// Linformer with mean pooling: token i may see its own stretch and those before.
    OwnStretch,
    /// Linformer with mean pooling: token i may see the stretches that ended before it.
    PastStretches,
    /// The same, and of its own stretch the raw keys up to itself: what NSA and DeepSeek-V4
    /// do (Yuan et al. 2025, §3).
    PastAndRaw,
}

/// Which matrix serves which head of which layer: one row per layer, and for each head the
/// numbers of its E and its F, counted as they come up.
///
/// # Errors
/// When there are no heads.
pub fn who_uses_which(
    sharing: Sharing,
    layers: usize,
    heads: usize,
) -> Result<DMatrix<f64>> {
    let one = SequenceProjection::mean_pooling(1, 1)?;
    let model = Projections::of_model(sharing, layers, heads, || one.clone())?;
    let mut seen = Vec::new();
    let mut number = |matrix: &Arc<SequenceProjection>| {
        let at = Arc::as_ptr(matrix);
        let known = seen.iter().position(|other| *other == at);
        known.unwrap_or_else(|| {
            seen.push(at);
            seen.len() - 1
        })
    };
    let mut table = DMatrix::zeros(layers, 2 * heads);
    for (l, layer) in model.iter().enumerate() {
        for h in 0..heads {
            let own = h % layer.keys.len();
            table[(l, 2 * h)] = number(&layer.keys[own]) as f64;
            table[(l, 2 * h + 1)] = number(&layer.values[own]) as f64;
        }
    }
    Ok(table)
}

/// Tokens and rows of the experiment with [`Causal`].
pub const LEAK: (usize, usize) = (12, 3);

/// [`influence`] of 12 tokens on one another, condensed to 3 rows.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn leak(causal: Causal) -> Result<DMatrix<f32>> {
    let (n, r) = LEAK;
    let e = match causal {
        Causal::Attention => SequenceProjection::new(DMatrix::identity(n, n))?,
        Causal::Dense => random(r, n, 3)?,
        _ => SequenceProjection::mean_pooling(r, n)?,
    };
    let stretch = n / r;
    let mask = match causal {
        Causal::Attention => Mask::Causal { offset: 0 },
        Causal::Dense | Causal::OwnStretch => {
            Mask::Allowed(DMatrix::from_fn(n, r, |i, row| row <= i / stretch))
        }
        Causal::PastStretches => {
            Mask::Allowed(DMatrix::from_fn(n, r, |i, row| row < i / stretch))
        }
        // The raw keys come after the r condensed ones.
        Causal::PastAndRaw => Mask::Allowed(DMatrix::from_fn(n, r + n, |i, row| {
            let own = i / stretch;
            if row < r { row < own } else { (own * stretch..=i).contains(&(row - r)) }
        })),
    };
    influence(&normal(n, 4, 5), |x| {
        let mut keys = e.forward(x.as_view())?;
        if causal == Causal::PastAndRaw {
            keys = DMatrix::from_fn(r + n, x.ncols(), |row, feature| {
                if row < r { keys[(row, feature)] } else { x[(row - r, feature)] }
            });
        }
        let keys = keys.as_view();
        Ok(attend(x.as_view(), keys, keys, &mask)?.output)
    })
}

/// Linformer without a view of the future: each token looks at what E and F make of the
/// tokens up to itself. Their products are sums over the tokens, and grow by one term.
///
/// # Errors
/// When there are more tokens than the projections read, or the shapes do not fit.
pub fn by_prefix(
    q: DMatrixView<f32>,
    k: DMatrixView<f32>,
    v: DMatrixView<f32>,
    e: &SequenceProjection,
    f: &SequenceProjection,
) -> Result<DMatrix<f32>, LinformerError> {
    let (n, n_max) = (q.nrows(), e.shape().1.min(f.shape().1));
    if n > n_max {
        return Err(LinformerError::TooLong { n, n_max });
    }
    for (name, all) in [("k", k), ("v", v)] {
        expect_shape(name, all.shape(), (n, all.ncols()), "one for each token")?;
    }
    let mut keys = DMatrix::zeros(e.shape().0, k.ncols());
    let mut values = DMatrix::zeros(f.shape().0, v.ncols());
    let mut output = DMatrix::zeros(n, v.ncols());
    for t in 0..n {
        keys += e.weight.column(t) * k.row(t);
        values += f.weight.column(t) * v.row(t);
        let q = q.rows(t, 1);
        let found = attend(q, keys.as_view(), values.as_view(), &Mask::None)?;
        output.set_row(t, &found.output.row(0));
    }
    Ok(output)
}

/// How far three mistakes move the heads' output in a layer of MiniLM on the book's
/// sentence.
#[derive(Debug, Clone, Copy)]
pub struct Mistakes {
    /// The sentence padded to `n_max` tokens with its last one, and nothing cut.
    pub padded: f64,
    /// The same, padded with zeros.
    pub padded_with_zeros: f64,
    /// The condensed keys instead of the condensed values.
    pub keys_for_values: f64,
    /// x condensed before it is projected, a bias added after.
    pub swapped: f64,
}

/// [`Mistakes`] in `layer` with `e` for keys and values, with or without the layer's
/// biases.
///
/// # Errors
/// When the model's slices cannot be read.
pub fn mistakes(
    layer: usize,
    e: &SequenceProjection,
    biased: bool,
) -> Result<Mistakes> {
    let mut layer = Layer::load(layer)?;
    if !biased {
        for map in [&mut layer.q_proj, &mut layer.k_proj, &mut layer.v_proj] {
            map.bias = None;
        }
    }
    let linear = |LinearTensors { weight, bias }: &LinearTensors, x: &DMatrix<f32>| {
        anyhow::Ok(Linear::new(weight.clone(), bias.clone())?.forward(x)?)
    };
    let x = &layer.x;
    let groups = Groups::new(layer.heads, layer.heads)?;
    let q = linear(&layer.q_proj, x)?;
    let heads = |k: &DMatrix<f32>, v: &DMatrix<f32>| {
        let found = attend_groups(&q, k.as_view(), v.as_view(), groups, &Mask::None);
        anyhow::Ok(found?.found)
    };
    let e = [Arc::new(e.clone())];
    let condensed = |projection, x: &DMatrix<f32>| {
        anyhow::Ok(condense(&linear(projection, x)?, &e)?)
    };
    let (k, v) = (condensed(&layer.k_proj, x)?, condensed(&layer.v_proj, x)?);
    let right = heads(&k, &v)?;
    let error = |found: DMatrix<f32>| relative_error(&found, &right);

    let zeros = x.clone().resize_vertically(e[0].shape().1, 0.0);
    let mut repeated = zeros.clone();
    for mut row in repeated.row_iter_mut().skip(x.nrows()) {
        row.copy_from(&x.row(x.nrows() - 1));
    }
    let padded = |x: &DMatrix<f32>| {
        heads(&condensed(&layer.k_proj, x)?, &condensed(&layer.v_proj, x)?)
    };
    let short = condense(x, &e)?;
    let swapped =
        heads(&linear(&layer.k_proj, &short)?, &linear(&layer.v_proj, &short)?)?;
    Ok(Mistakes {
        padded: error(padded(&repeated)?),
        padded_with_zeros: error(padded(&zeros)?),
        keys_for_values: error(heads(&k, &k)?),
        swapped: error(swapped),
    })
}
