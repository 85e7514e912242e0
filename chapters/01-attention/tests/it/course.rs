//! The chapter's exercises: what they ask, and what people answer instead. `course.toml`
//! has the words.

use attention::{
    Attended, Mask, attend, average, example, scores, softmax, softmax_by_rows,
};
use exercises::{
    Answer, Dial, Draw, Exercise, Exercises, Found, Headed, Sees, Value, dial,
    does_not_fit,
};
use nalgebra::{DMatrix, RowDVector, dmatrix};

#[test]
fn the_exercises_keep_their_promises() {
    let folder = env!("CARGO_MANIFEST_DIR");
    println!("{}", exercises::prove(folder, &exercises()).unwrap());
}

/// In the order of `course.toml`.
pub fn exercises() -> Exercises {
    Exercises::new()
        .with(a_fourth_query())
        .with(scores_exercise())
        .with(softmax_exercise())
        .with(mask())
        .with(attend_exercise())
        .with(temperature())
}

// By hand: a query that the worked example does not have.

fn a_fourth_query() -> Exercise<()> {
    Exercise::by_hand("by-hand", |()| noon(toy_scores(), shares))
        .mistake("unscaled", |()| noon(toy_scores() * 2.0, shares))
        .mistake("over-d-k", |()| noon(toy_scores() / 2.0, shares))
        .mistake("no-exponential", |()| noon(toy_scores(), plain_shares))
        .mistake("down-the-columns", |()| noon(toy_scores(), down_the_columns))
}

fn shares(scores: &DMatrix<f32>) -> DMatrix<f32> {
    softmax(scores.clone())
}

/// The three queries of the worked example, and that of `noon` below them.
fn toy_scores() -> DMatrix<f32> {
    let [q, k, _] = example::toy_roles().unwrap();
    let mut q = q.insert_row(3, 0.0);
    q.set_row(3, &RowDVector::from_row_slice(&[2.0, 0.0, -1.0, 2.0]));
    scores(q.as_view(), k.as_view()).unwrap()
}

fn noon(scores: DMatrix<f32>, share: fn(&DMatrix<f32>) -> DMatrix<f32>) -> Answer {
    let [_, _, v] = example::toy_roles().unwrap();
    let weights = share(&scores);
    let output = &weights * v;
    let [scores, weights, output] =
        [scores, weights, output].map(|m| m.row(3).into_owned());
    Answer::of("scores", &scores).and("weights", &weights).and("output", &output)
}

// Implement: scores.

struct QueriesAndKeys {
    q: DMatrix<f32>,
    k: DMatrix<f32>,
}

impl QueriesAndKeys {
    fn draw(draw: &mut Draw) -> Self {
        let [queries, keys] = [draw.tokens(3), draw.tokens(4)];
        let d_k = draw.size(1..=5);
        let longer = draw.rarely();
        QueriesAndKeys {
            q: draw.matrix("q", queries, d_k),
            k: draw.matrix("k", keys, d_k + longer),
        }
    }

    /// `Q Kᵀ` times `factor`, where the widths agree.
    fn product_times(&self, factor: f32) -> Answer {
        if self.q.ncols() == self.k.ncols() {
            Answer::of("scores", &self.q * self.k.transpose() * factor)
        } else {
            Answer::of("scores", Value::Refused("other widths".to_owned()))
        }
    }

    fn d_k(&self) -> f32 {
        self.q.ncols() as f32
    }
}

/// Who meets whom, and what is divided by.
const OF_SCORES: &[Dial] = &[
    dial(&[
        (
            "queries-with-queries",
            "Your queries meet each other: Q stands where K belongs.",
        ),
        ("keys-with-keys", "Your keys meet each other: K stands where Q belongs."),
        ("swapped", "Your map is transposed: Q and K are swapped in the product."),
    ]),
    dial(&[
        ("unscaled", "The dot products are not divided by √d_k."),
        ("over-d-k", "Your divisor is d_k itself, where its root is wanted."),
        ("over-root-of-keys", "Your divisor is the root of the number of keys."),
        ("over-root-of-queries", "Your divisor is the root of the number of queries."),
        ("times-root", "The dot products are multiplied by √d_k, and not divided."),
        ("root-rounded", "Your divisor is a whole number: the root was rounded down."),
        ("root-of-one-more", "Your divisor is the root of d_k + 1."),
        ("root-of-one-less", "Your divisor is the root of d_k - 1."),
        (
            "cube-root",
            "Your divisor is the cube root of d_k, where the square root is wanted.",
        ),
        ("over-half", "Your divisor is d_k / 2, where √d_k is wanted."),
        ("over-square", "Your divisor is the square of d_k, where its root is wanted."),
        ("over-log", "Your divisor is the logarithm of d_k, where its root is wanted."),
        (
            "twice-the-root",
            "Your scores are half of what they should be: the divisor is 2√d_k, or a \
             factor 1/2 is too many.",
        ),
        (
            "half-the-root",
            "Your scores are twice what they should be: the divisor is √d_k / 2, or a \
             factor 2 is too many.",
        ),
        ("negative", "Your scores have the opposite sign."),
        (
            "over-root-of-both",
            "Your divisor is the root of queries · d_k: only the width belongs there.",
        ),
        ("fourth-root", "Your divisor is the root of the root of d_k."),
        ("over-keys", "Your divisor is the number of keys, where √d_k is wanted."),
        (
            "over-queries",
            "Your divisor is the number of queries, where √d_k is wanted.",
        ),
        (
            "over-root-of-keys-too",
            "Your divisor is the root of keys · d_k: only the width belongs there.",
        ),
    ]),
    dial(&[
        (
            "first-feature-missing",
            "The first feature is missing from the dot products.",
        ),
        ("last-feature-missing", "The last feature is missing from the dot products."),
        (
            "cosines",
            "Your scores are cosines: the vectors were divided by their lengths, and \
             only √d_k belongs there.",
        ),
        ("cosines-and-scale", "The vectors were divided by their lengths, too."),
        (
            "distances",
            "Your scores are squared distances with a minus, and not dot products.",
        ),
        ("largest-product", "The largest product of a pair is taken, not their sum."),
        ("absolutes", "The products are added up without their signs."),
    ]),
];

/// One dot product, as a setting of the last dial says, over a divisor.
fn dot_by(q: &[f32], k: &[f32], how: usize, divisor: f32) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let last = q.len() - 1;
    let lengths = (dot(q, q) * dot(k, k)).sqrt();
    let cosine = if lengths == 0.0 { 0.0 } else { dot(q, k) / lengths };
    match how {
        0 => dot(q, k) / divisor,
        1 => dot(&q[1..], &k[1..]) / divisor,
        2 => dot(&q[..last], &k[..last]) / divisor,
        3 => cosine,
        4 => cosine / divisor,
        5 => (2.0 * dot(q, k) - dot(q, q) - dot(k, k)) / divisor,
        6 => q.iter().zip(k).map(|(a, b)| a * b).fold(f32::MIN, f32::max) / divisor,
        _ => q.iter().zip(k).map(|(a, b)| (a * b).abs()).sum::<f32>() / divisor,
    }
}

fn scores_by(p: &QueriesAndKeys, set: &[usize]) -> Answer {
    let (d_k, keys, queries) = (p.d_k(), p.k.nrows() as f32, p.q.nrows() as f32);
    let [q, k] = match set[0] {
        _ if p.q.ncols() != p.k.ncols() => return p.product_times(1.0),
        1 => [&p.q, &p.q],
        2 => [&p.k, &p.k],
        3 => [&p.k, &p.q],
        _ => [&p.q, &p.k],
    };
    let divisors = [
        d_k.sqrt(),
        1.0,
        d_k,
        keys.sqrt(),
        queries.sqrt(),
        1.0 / d_k.sqrt(),
        d_k.sqrt().floor(),
        (d_k + 1.0).sqrt(),
        (d_k - 1.0).sqrt(),
        d_k.cbrt(),
        d_k / 2.0,
        d_k * d_k,
        d_k.ln(),
        2.0 * d_k.sqrt(),
        d_k.sqrt() / 2.0,
        -d_k.sqrt(),
        (queries * d_k).sqrt(),
        d_k.sqrt().sqrt(),
        keys,
        queries,
        (keys * d_k).sqrt(),
    ];
    let row =
        |m: &DMatrix<f32>, row: usize| m.row(row).iter().copied().collect::<Vec<_>>();
    let score =
        |i: usize, j: usize| dot_by(&row(q, i), &row(k, j), set[2], divisors[set[1]]);
    Answer::of("scores", DMatrix::from_fn(q.nrows(), k.nrows(), score))
}

fn scores_exercise() -> Exercise<QueriesAndKeys> {
    let ask =
        |p: &QueriesAndKeys| Answer::of("scores", scores(p.q.as_view(), p.k.as_view()));
    Exercise::implement("scores", QueriesAndKeys::draw, ask)
        .step("q kᵀ", |p| {
            let fits = p.q.ncols() == p.k.ncols();
            fits.then(|| &p.q * p.k.transpose()).ok_or("the widths differ").into()
        })
        .dials(OF_SCORES, scores_by)
        .mistake("unscaled", |p| p.product_times(1.0))
        .hidden_by(|| QueriesAndKeys { q: dmatrix![3.0; 2.0], k: dmatrix![1.0; -2.0] })
        .mistake("over-d-k", |p| p.product_times(1.0 / p.d_k()))
        .hidden_by(|| QueriesAndKeys { q: dmatrix![3.0; 2.0], k: dmatrix![1.0; -2.0] })
        .mistake("over-root-of-keys", |p| {
            p.product_times(1.0 / (p.k.nrows() as f32).sqrt())
        })
        .hidden_by(|| QueriesAndKeys {
            q: dmatrix![3.0, 1.0],
            k: dmatrix![1.0, 2.0; 0.0, 4.0],
        })
        .mistake("over-root-of-queries", |p| {
            p.product_times(1.0 / (p.q.nrows() as f32).sqrt())
        })
        .hidden_by(|| QueriesAndKeys {
            q: dmatrix![3.0, 1.0; 1.0, 1.0],
            k: dmatrix![1.0, 2.0],
        })
        .mistake("times-root", |p| p.product_times(p.d_k().sqrt()))
        .hidden_by(|| QueriesAndKeys { q: dmatrix![3.0], k: dmatrix![1.0] })
        .mistake("swapped", |p| match p.product_times(1.0 / p.d_k().sqrt()) {
            refused if p.q.ncols() != p.k.ncols() => refused,
            _ => Answer::of("scores", &p.k * p.q.transpose() / p.d_k().sqrt()),
        })
        .hidden_by(|| QueriesAndKeys {
            q: dmatrix![3.0, 1.0; 0.0, 2.0],
            k: dmatrix![3.0, 1.0; 0.0, 2.0],
        })
        .mistake("root-rounded", |p| p.product_times(1.0 / p.q.ncols().isqrt() as f32))
        .hidden_by(|| QueriesAndKeys {
            q: dmatrix![3.0, 1.0, 0.0, 2.0],
            k: dmatrix![1.0, 2.0, -1.0, 0.5],
        })
        .mistake("not-transposed", |p| {
            if p.q.ncols() != p.k.ncols() {
                return p.product_times(1.0);
            }
            Answer::of("scores", &p.q * &p.k / p.d_k().sqrt())
        })
        .hidden_by(|| QueriesAndKeys { q: dmatrix![3.0; 2.0], k: dmatrix![1.0] })
        .mistake("added-up", |p| match p.product_times(1.0 / p.d_k().sqrt()) {
            refused if p.q.ncols() != p.k.ncols() => refused,
            _ => Answer::of(
                "scores",
                DMatrix::from_fn(p.q.nrows(), p.k.nrows(), |i, j| {
                    (p.q.row(i) + p.k.row(j)).sum() / p.d_k().sqrt()
                }),
            ),
        })
        .hidden_by(|| QueriesAndKeys { q: dmatrix![2.0], k: dmatrix![2.0] })
        .mistake("unchecked", |p| {
            Answer::of("scores", &p.q / p.d_k().sqrt() * p.k.transpose())
        })
        .hidden_by(|| QueriesAndKeys { q: dmatrix![3.0, 1.0], k: dmatrix![1.0, 2.0] })
}

// Implement: softmax.

/// Something that a row of scores may be.
#[derive(Clone, Copy)]
enum Row {
    Ordinary,
    Large,
    Low,
    /// Not so low that exp is 0.
    Lowish,
    HiddenInPart,
    Hidden,
}

fn some_scores(draw: &mut Draw) -> DMatrix<f32> {
    let [queries, keys] = [draw.tokens(3), draw.tokens(4)];
    let mut scores = draw.numbers(queries, keys);
    if queries * keys > 0 && draw.rarely() == 1 {
        let key = draw.size(0..=keys - 1);
        scores[(0, key)] = f32::INFINITY;
        draw.show("scores", &scores);
        return scores;
    }
    for mut row in scores.row_iter_mut() {
        let rows = [
            Row::Ordinary,
            Row::Ordinary,
            Row::HiddenInPart,
            Row::Large,
            Row::Low,
            Row::Lowish,
            Row::Hidden,
        ];
        match draw.pick(&rows) {
            Row::Ordinary => {}
            Row::Large => row.add_scalar_mut(200.0),
            Row::Low => row.add_scalar_mut(-200.0),
            Row::Lowish => row.add_scalar_mut(-60.0),
            Row::HiddenInPart => {
                row.iter_mut().take(1).for_each(|s| *s = f32::NEG_INFINITY);
            }
            Row::Hidden => row.fill(f32::NEG_INFINITY),
        }
    }
    draw.show("scores", &scores);
    scores
}

/// What is subtracted, what is raised to it, what it is divided by, and along what.
const OF_SOFTMAX: &[Dial] = &[
    dial(&[
        ("no-maximum", "Nothing is subtracted before exp."),
        ("one-maximum-for-all", "The maximum of the whole matrix is subtracted."),
        ("first-for-maximum", "A row's first score is subtracted, not its largest."),
        ("last-for-maximum", "A row's last score is subtracted, not its largest."),
        (
            "smallest-for-maximum",
            "A row's smallest score is subtracted, not its largest.",
        ),
        ("mean-for-maximum", "A row's mean is subtracted, not its largest score."),
        ("maximum-from-zero", "The search for a row's maximum begins at 0."),
        ("largest-of-absolutes", "The largest absolute value is subtracted (`amax`)."),
        (
            "running-maximum",
            "The largest score of all rows so far is subtracted: the search does not \
             begin anew in each row.",
        ),
        (
            "first-rows-maximum-for-all",
            "The first row's largest score is subtracted from all rows.",
        ),
        ("maximum-added", "A row's largest score is added, not subtracted."),
        (
            "capped",
            "Nothing is subtracted, and e to a score above 0 counts as 1: \
             `exp_nonpositive` expects that the maximum was subtracted.",
        ),
        ("columns-maximum", "The largest score of the column is subtracted."),
    ]),
    dial(&[
        ("powers-of-two", "Powers of 2 are taken in place of powers of e."),
        ("no-exponential", "exp is missing."),
        ("sign-turned", "The sign under exp is turned: the smallest score gets most."),
        ("squares", "Scores are squared in place of exp."),
        ("powers-of-ten", "Powers of 10 are taken in place of powers of e."),
        ("half-exponent", "The exponent is halved: rows are too flat."),
        ("twice-the-exponent", "The exponent is doubled: rows are too sharp."),
        (
            "over-root-of-keys",
            "The exponent is divided by the root of the number of keys.",
        ),
        ("over-keys-in-the-exponent", "The exponent is divided by the number of keys."),
    ]),
    dial(&[(
        "not-clamped",
        "An infinite score is subtracted from itself: the maximum, or the \
             difference, is not kept finite.",
    )]),
    dial(&[
        ("one-sum-for-all", "Rows are divided by the sum of the whole matrix."),
        ("sums-of-columns", "Each number is divided by the sum of its column."),
        ("sum-of-squares", "Rows are divided by the sum of squares."),
        (
            "root-of-squares",
            "Rows are divided by the root of the sum of squares, as when a vector is \
             given the length 1.",
        ),
        (
            "over-the-largest",
            "Rows are divided by their largest exponential, which is 1: they are as \
             they were.",
        ),
        (
            "over-the-mean",
            "Rows are divided by the mean of the exponentials, not their sum.",
        ),
        (
            "sum-and-one",
            "1 is added to each row's sum, so that rows sum to less than one.",
        ),
        ("sum-and-a-little", "A small number is added to each row's sum."),
        ("over-keys", "Rows are divided by the number of keys."),
        (
            "sum-of-scores",
            "Rows are divided by the sum of the scores, and not of the exponentials.",
        ),
        (
            "largest-left-out-of-the-sum",
            "The largest exponential is left out of the sum.",
        ),
        ("first-left-out-of-the-sum", "The first exponential is left out of the sum."),
        ("last-left-out-of-the-sum", "The last exponential is left out of the sum."),
        ("first-sum-for-all", "All rows are divided by the first row's sum."),
        (
            "running-sum",
            "Each row is divided by the sum of all rows so far: the sum is not begun \
             anew.",
        ),
    ]),
    dial(&[
        (
            "nan-where-all-is-hidden",
            "A row with every key hidden is NaN, and should be zeros.",
        ),
        (
            "equal-where-all-is-hidden",
            "A row with every key hidden gets equal shares, and should be zeros.",
        ),
    ]),
    dial(&[("down-the-columns", "Softmax runs down the columns, and not along rows.")]),
    dial(&[
        ("logarithms", "The logarithm of the weights is given back (log-softmax)."),
        ("squared", "The weights are squared."),
        ("one-less", "What is given back is 1 minus the weights."),
        ("largest-alone", "The largest score gets all of the weight."),
    ]),
];

fn softmax_by(scores: &DMatrix<f32>, set: &[usize]) -> Answer {
    let down = set[5] == 1;
    let s = if down { scores.transpose() } else { scores.clone() };
    let exps = exps_by(&s, set);
    let divisors =
        |row: usize, column: usize| divisor_by(&s, &exps, set[3], row, column);
    let weights = DMatrix::from_fn(s.nrows(), s.ncols(), |row, column| {
        let (exp, sum) = (exps[(row, column)], divisors(row, column));
        let weight = match set[4] {
            // As the row was left: all zeros, unless something is missing from the sum.
            0 if sum == 0.0 => exp,
            2 if sum == 0.0 => 1.0 / s.ncols() as f32,
            _ => exp / sum,
        };
        match set[6] {
            1 if sum != 0.0 => weight.ln(),
            2 => weight * weight,
            3 => 1.0 - weight,
            4 => f32::from(u8::from(exp == exps.row(row).max() && exp > 0.0)),
            _ => weight,
        }
    });
    Answer::of("weights", if down { weights.transpose() } else { weights })
}

fn exps_by(s: &DMatrix<f32>, set: &[usize]) -> DMatrix<f32> {
    let fold = |row: usize, start, of: fn(f32, f32) -> f32| {
        s.row(row).iter().copied().fold(start, of)
    };
    let top = |row: usize| match set[0] {
        0 => fold(row, f32::MIN, f32::max).min(f32::MAX),
        2 => s.iter().copied().fold(f32::MIN, f32::max).min(f32::MAX),
        3 => s[(row, 0)],
        4 => s[(row, s.ncols() - 1)],
        5 => fold(row, f32::MAX, f32::min),
        6 => s.row(row).mean(),
        7 => fold(row, 0.0, f32::max).min(f32::MAX),
        8 => {
            fold(row, 0.0, |max, s| if s.is_finite() { max.max(s.abs()) } else { max })
        }
        9 => s.rows(0, row + 1).iter().copied().fold(f32::MIN, f32::max).min(f32::MAX),
        10 => fold(0, f32::MIN, f32::max).min(f32::MAX),
        11 => -fold(row, f32::MIN, f32::max).min(f32::MAX),
        _ => 0.0,
    };
    let top = |row: usize, column: usize| match set[0] {
        13 => s.column(column).iter().copied().fold(f32::MIN, f32::max).min(f32::MAX),
        _ => top(row),
    };
    let keys = s.ncols() as f32;
    DMatrix::from_fn(s.nrows(), s.ncols(), |row, column| {
        let off = s[(row, column)]
            - if set[2] == 1 && set[0] == 0 {
                fold(row, f32::MIN, f32::max)
            } else {
                top(row, column)
            };
        let off = match set[0] {
            12 => off.min(0.0),
            0 if set[2] == 0 => off.clamp(f32::MIN, 0.0),
            _ => off,
        };
        match set[1] {
            0 => off.exp(),
            1 => off.exp2(),
            2 => s[(row, column)],
            3 => (-off).exp(),
            4 => s[(row, column)].powi(2),
            5 => 10.0_f32.powf(off),
            6 => (off / 2.0).exp(),
            7 => (off * 2.0).exp(),
            8 => (off / keys.sqrt()).exp(),
            _ => (off / keys).exp(),
        }
    })
}

fn divisor_by(
    s: &DMatrix<f32>,
    exps: &DMatrix<f32>,
    how: usize,
    row: usize,
    column: usize,
) -> f32 {
    let of = exps.row(row);
    match how {
        0 => of.sum(),
        1 => exps.sum(),
        2 => exps.column(column).sum(),
        3 => of.norm_squared(),
        4 => of.norm_squared().sqrt(),
        5 => of.max(),
        6 => of.mean(),
        7 => of.sum() + 1.0,
        8 => of.sum() + 1e-3,
        9 => exps.ncols() as f32,
        10 => s.row(row).sum(),
        11 => of.sum() - of.max(),
        12 => of.sum() - of[0],
        13 => of.sum() - of[exps.ncols() - 1],
        14 => exps.row(0).sum(),
        _ => exps.rows(0, row + 1).sum(),
    }
}

fn softmax_exercise() -> Exercise<DMatrix<f32>> {
    Exercise::implement("softmax", some_scores, |s| {
        Answer::of("weights", softmax_by_rows(s.clone()))
    })
    .step("each row's maximum", |s| Value::from(&row_maxima(s)))
    .step("exp(scores - maximum)", |s| Value::from(exps(s)))
    .dials(OF_SOFTMAX, softmax_by)
    .mistake("down-the-columns", |s| Answer::of("weights", down_the_columns(s)))
    .hidden_by(|| dmatrix![1.0, 1.0; 1.0, 1.0])
    .mistake("no-maximum", |s| Answer::of("weights", over_row_sums(&s.map(f32::exp))))
    .hidden_by(|| dmatrix![1.0, 2.0, -3.0])
    .mistake("no-maximum-but-guarded", |s| {
        Answer::of("weights", guarded(&s.map(f32::exp)))
    })
    .hidden_by(|| dmatrix![1.0, 2.0, -3.0])
    .mistake("one-maximum-for-all", |s| {
        let max = s.iter().copied().fold(f32::MIN, f32::max).min(f32::MAX);
        let exps = s.map(|s| (s - max).clamp(f32::MIN, 0.0).exp());
        Answer::of("weights", guarded(&exps))
    })
    .hidden_by(|| dmatrix![1.0, 2.0; 2.0, 1.0])
    .mistake("first-for-maximum", |s| {
        let exps = exps_below(s, |row| row.get(0).copied().unwrap_or(0.0));
        Answer::of("weights", over_row_sums(&exps))
    })
    .hidden_by(|| dmatrix![1.0, 2.0, f32::NEG_INFINITY])
    .mistake("first-for-maximum-but-guarded", |s| {
        let mut exps = exps_below(s, |row| row.get(0).copied().unwrap_or(0.0));
        for (mut row, scores) in exps.row_iter_mut().zip(s.row_iter()) {
            if scores.get(0) == Some(&f32::NEG_INFINITY) {
                row.fill(0.0);
            }
        }
        Answer::of("weights", guarded(&exps))
    })
    .hidden_by(|| dmatrix![1.0, 2.0, f32::NEG_INFINITY])
    .mistake("maximum-from-zero", |s| {
        let exps = exps_from(s, 0.0);
        Answer::of("weights", guarded(&exps))
    })
    .hidden_by(|| dmatrix![-1.0, -2.0])
    .mistake("maximum-from-zero-unguarded", |s| {
        let exps = exps_from(s, 0.0);
        Answer::of("weights", over_row_sums(&exps))
    })
    .hidden_by(|| dmatrix![-1.0, -2.0])
    .mistake("one-sum-for-all", |s| {
        let exps = exps(s);
        let sum = exps.sum();
        Answer::of("weights", if sum == 0.0 { exps } else { exps / sum })
    })
    .hidden_by(|| dmatrix![1.0, 2.0, -3.0])
    .mistake("not-divided", |s| Answer::of("weights", exps(s)))
    .hidden_by(|| dmatrix![f32::NEG_INFINITY, 7.0])
    .mistake("nan-where-all-is-hidden", |s| {
        Answer::of("weights", over_row_sums(&exps(s)))
    })
    .hidden_by(|| dmatrix![1.0, 2.0, f32::NEG_INFINITY])
    .mistake("equal-where-all-is-hidden", |s| {
        let mut weights = softmax(s.clone());
        for mut row in weights.row_iter_mut() {
            if row.sum() == 0.0 {
                row.fill(1.0 / s.ncols() as f32);
            }
        }
        Answer::of("weights", weights)
    })
    .hidden_by(|| dmatrix![1.0, 2.0, f32::NEG_INFINITY])
    .mistake("no-exponential", |s| Answer::of("weights", plain_shares(s)))
    .hidden_by(|| dmatrix![2.0])
    .mistake("infinity-taken-off-itself", |s| {
        let exps = exps_below(s, |row| row.iter().copied().fold(f32::MIN, f32::max));
        Answer::of("weights", guarded(&exps))
    })
    .hidden_by(|| dmatrix![1.0, 2.0, f32::NEG_INFINITY])
    .mistake("largest-of-absolutes", |s| {
        let exps = exps_below(s, |row| {
            let seen = row.iter().filter(|s| s.is_finite());
            seen.fold(0.0, |max, s| s.abs().max(max))
        });
        Answer::of("weights", guarded(&exps))
    })
    .hidden_by(|| dmatrix![1.0, 2.0, f32::NEG_INFINITY])
    .mistake("powers-of-two", |s| {
        Answer::of("weights", softmax(s * std::f32::consts::LN_2))
    })
    .hidden_by(|| dmatrix![2.0, 2.0])
    .mistake("sign-turned", |s| {
        // Of what is hidden, +inf would be left over.
        let turned = s.map(|s| if s == f32::NEG_INFINITY { s } else { -s });
        Answer::of("weights", softmax(turned))
    })
    .hidden_by(|| dmatrix![2.0, 2.0])
}

fn row_maxima(scores: &DMatrix<f32>) -> DMatrix<f32> {
    DMatrix::from_fn(scores.nrows(), 1, |row, _| {
        scores.row(row).iter().copied().fold(f32::NEG_INFINITY, f32::max)
    })
}

fn exps(scores: &DMatrix<f32>) -> DMatrix<f32> {
    exps_from(scores, f32::MIN)
}

/// exp(score - maximum), where the search for a row's maximum begins at `start`.
fn exps_from(scores: &DMatrix<f32>, start: f32) -> DMatrix<f32> {
    let tops = |row: &RowDVector<f32>| row.iter().copied().fold(start, f32::max);
    let tops: Vec<f32> = scores.row_iter().map(|row| tops(&row.into_owned())).collect();
    DMatrix::from_fn(scores.nrows(), scores.ncols(), |row, column| {
        (scores[(row, column)] - tops[row].min(f32::MAX)).clamp(f32::MIN, 0.0).exp()
    })
}

/// exp(score - top), where `top` is what is taken for the maximum of a row.
fn exps_below(scores: &DMatrix<f32>, top: fn(&RowDVector<f32>) -> f32) -> DMatrix<f32> {
    let tops: Vec<f32> = scores.row_iter().map(|row| top(&row.into_owned())).collect();
    DMatrix::from_fn(scores.nrows(), scores.ncols(), |row, column| {
        (scores[(row, column)] - tops[row]).exp()
    })
}

/// 0/0 is NaN here.
fn over_row_sums(exps: &DMatrix<f32>) -> DMatrix<f32> {
    let sums: Vec<f32> = exps.row_iter().map(|row| row.sum()).collect();
    DMatrix::from_fn(exps.nrows(), exps.ncols(), |row, column| {
        exps[(row, column)] / sums[row]
    })
}

/// 0/0 is 0 here.
fn guarded(exps: &DMatrix<f32>) -> DMatrix<f32> {
    let sums: Vec<f32> = exps.row_iter().map(|row| row.sum()).collect();
    DMatrix::from_fn(exps.nrows(), exps.ncols(), |row, column| {
        if sums[row] == 0.0 { 0.0 } else { exps[(row, column)] / sums[row] }
    })
}

fn down_the_columns(scores: &DMatrix<f32>) -> DMatrix<f32> {
    softmax(scores.transpose()).transpose()
}

fn plain_shares(scores: &DMatrix<f32>) -> DMatrix<f32> {
    over_row_sums(scores)
}

// Implement: the mask.

#[derive(Clone, Copy, PartialEq)]
enum Hides {
    Nothing,
    TheFuture,
    WhatIsNotAllowed,
    TheWrongShape,
}

struct Masked {
    scores: DMatrix<f32>,
    hides: Hides,
    offset: usize,
    allowed: DMatrix<bool>,
}

impl Masked {
    fn draw(draw: &mut Draw) -> Self {
        use Hides::{Nothing, TheFuture, TheWrongShape, WhatIsNotAllowed};
        let [queries, keys] = [draw.tokens(4), draw.tokens(5)];
        let kinds =
            [TheFuture, TheFuture, TheFuture, WhatIsNotAllowed, TheWrongShape, Nothing];
        let hides = draw.pick(&kinds);
        let offset = if hides == TheFuture { draw.size(0..=3) } else { 0 };
        let allowed = match hides {
            WhatIsNotAllowed => draw.flags(queries, keys),
            TheWrongShape => draw.flags(queries + 1, keys),
            _ => DMatrix::repeat(0, 0, true),
        };
        let scores = draw.matrix("scores", queries, keys);
        match hides {
            Nothing => draw.show("mask", "None"),
            TheFuture => draw.show("mask", format!("Causal {{ offset: {offset} }}")),
            _ => draw.show("mask: Allowed, with 1 for true", allowed.clone()),
        }
        Masked { scores, hides, offset, allowed }
    }

    fn mask(&self) -> Mask {
        match self.hides {
            Hides::Nothing => Mask::None,
            Hides::TheFuture => Mask::Causal { offset: self.offset },
            _ => Mask::Allowed(self.allowed.clone()),
        }
    }

    fn answer(&self) -> Answer {
        let mut scores = self.scores.clone();
        Answer::of("scores", self.mask().hide(&mut scores).map(|()| scores))
    }

    /// The scores where `hidden(query, key)` is answered with `with`, for a causal mask
    /// and else as it should be.
    fn causal(&self, hidden: impl Fn(usize, usize) -> bool) -> Answer {
        if self.hides != Hides::TheFuture {
            return self.answer();
        }
        let mut scores = self.scores.clone();
        fill_where(&mut scores, hidden, f32::NEG_INFINITY);
        Answer::of("scores", scores)
    }

    /// What is hidden has the score `with`.
    fn hidden_has(&self, with: f32) -> Answer {
        let mut scores = self.scores.clone();
        let right = self.mask().hide(&mut scores);
        let replaced = scores.map(|s| if s == f32::NEG_INFINITY { with } else { s });
        Answer::of("scores", right.map(|()| replaced))
    }
}

fn fill_where(
    scores: &mut DMatrix<f32>,
    hidden: impl Fn(usize, usize) -> bool,
    with: f32,
) {
    for query in 0..scores.nrows() {
        for key in 0..scores.ncols() {
            if hidden(query, key) {
                scores[(query, key)] = with;
            }
        }
    }
}

/// What each kind of mask hides, and with what.
const OF_MASK: &[Dial] = &[
    dial(&[
        ("one-future-token", "Under `Causal`, a query sees one key too many."),
        ("not-even-itself", "Under `Causal`, a query does not see its own key."),
        ("offset-ignored", "Under `Causal`, the offset is not added."),
        ("offset-taken-away", "Under `Causal`, the offset is taken away, not added."),
        ("offset-twice", "Under `Causal`, the offset is added twice."),
        (
            "rows-and-columns-swapped",
            "Under `Causal`, query and key have changed places.",
        ),
        ("offset-alone", "Under `Causal`, the query's own index is missing."),
        ("causal-forgotten", "`Causal` hides nothing."),
        ("upside-down", "Under `Causal`, the past is hidden, and the future is not."),
        (
            "first-query-alone",
            "Under `Causal`, only the first query's future is hidden.",
        ),
        (
            "next-key-alone",
            "Under `Causal`, only the next key is hidden, and those after it are not.",
        ),
        (
            "from-the-last-query",
            "Under `Causal`, rows are counted from the last query: the last queries \
             see least.",
        ),
        ("all-but-itself", "Under `Causal`, a query sees its own key alone."),
        ("everything-hidden", "`Causal` hides everything."),
        (
            "seen-and-hidden-swapped",
            "Under `Causal`, what may be seen is hidden, and what is to be hidden is \
             not.",
        ),
        (
            "distance-to-the-offset",
            "Under `Causal`, keys before the offset are hidden by how far they lie \
             before it: a difference below zero is none (`saturating_sub`).",
        ),
        (
            "aligned-at-the-end",
            "Under `Causal`, the last query sees all keys, and so on back from there: \
             the offset that is given does not count.",
        ),
    ]),
    dial(&[
        ("causal-with-zero", "What `Causal` hides has the score 0: hide with -inf."),
        (
            "causal-with-a-number",
            "What `Causal` hides has a score far below zero, where -inf is wanted.",
        ),
        ("causal-with-nan", "What `Causal` hides is NaN: hide with -inf."),
        ("causal-with-infinity", "What `Causal` hides is +inf: hide with -inf."),
        ("causal-with-one", "What `Causal` hides has the score 1: hide with -inf."),
    ]),
    dial(&[
        ("allowed-forgotten", "`Allowed` hides nothing."),
        ("true-hides", "`Allowed` hides what it should keep: true means may attend."),
        (
            "allowed-first-row",
            "`Allowed` is asked about its first row for every query.",
        ),
        ("everything-hidden", "`Allowed` hides everything."),
        ("allowed-and-causal", "`Allowed` hides the future, too."),
        (
            "allowed-first-column",
            "`Allowed` is asked about its first column for every key.",
        ),
        ("allowed-last-row", "`Allowed` is asked about its last row for every query."),
        ("allowed-turned", "In `Allowed`, the query and the key have changed places."),
    ]),
    dial(&[
        ("allowed-with-zero", "What `Allowed` hides has the score 0: hide with -inf."),
        (
            "allowed-with-a-number",
            "What `Allowed` hides has a score far below zero, where -inf is wanted.",
        ),
        ("allowed-with-nan", "What `Allowed` hides is NaN: hide with -inf."),
        ("allowed-with-infinity", "What `Allowed` hides is +inf: hide with -inf."),
        ("allowed-with-one", "What `Allowed` hides has the score 1: hide with -inf."),
    ]),
    dial(&[
        ("none-hides-everything", "`None` hides everything, and should hide nothing."),
        ("none-is-causal", "`None` hides the future, and should hide nothing."),
    ]),
    dial(&[
        ("zero", "What is hidden has the score 0: hide with -inf."),
        (
            "a-number",
            "What is hidden has a score far below zero, where -inf is wanted.",
        ),
        ("not-a-number", "What is hidden is NaN: hide with -inf."),
        ("plus-infinity", "What is hidden is +inf: hide with -inf."),
    ]),
];

/// Any number below all that is drawn is as wrong as another.
fn as_one_number(answer: Answer) -> Answer {
    answer.map(|s| if s < -4.0 && s.is_finite() { -1e9 } else { s })
}

fn mask_by(p: &Masked, set: &[usize]) -> Answer {
    let (offset, rows) = (p.offset, p.scores.nrows());
    let causal = |query: usize, key: usize| match set[0] {
        0 => key > query + offset,
        1 => key > query + offset + 1,
        2 => key >= query + offset,
        3 => key > query,
        4 => key + offset > query,
        5 => key > query + 2 * offset,
        6 => query > key + offset,
        7 => key > offset,
        8 => false,
        9 => key < query + offset,
        10 => query == 0 && key > offset,
        11 => key == query + offset + 1,
        12 => key > rows - 1 - query + offset,
        13 => key != query + offset,
        14 => true,
        15 => key <= query + offset,
        16 => key.abs_diff(offset) > query,
        _ => key + rows > query + p.scores.ncols(),
    };
    let allowed = |query: usize, key: usize| match set[2] {
        0 => !p.allowed[(query, key)],
        1 => false,
        2 => p.allowed[(query, key)],
        3 => !p.allowed[(0, key)],
        4 => true,
        5 => !p.allowed[(query, key)] || key > query,
        6 => !p.allowed[(query, 0)],
        7 => !p.allowed[(rows - 1, key)],
        _ => !p.allowed.get((key, query)).copied().unwrap_or_else(|| does_not_fit()),
    };
    let fills = [f32::NEG_INFINITY, 0.0, -1e9, f32::NAN, f32::INFINITY, 1.0];
    let fill = |own: usize| fills[if own == 0 { set[5] } else { own }];
    let mut scores = p.scores.clone();
    match p.hides {
        Hides::TheWrongShape => return p.answer(),
        Hides::TheFuture => fill_where(&mut scores, causal, fill(set[1])),
        Hides::WhatIsNotAllowed => fill_where(&mut scores, allowed, fill(set[3])),
        Hides::Nothing => match set[4] {
            1 => scores.fill(f32::NEG_INFINITY),
            2 => fill_where(&mut scores, |query, key| key > query, f32::NEG_INFINITY),
            _ => {}
        },
    }
    Answer::of("scores", scores)
}

fn mask() -> Exercise<Masked> {
    Exercise::implement("mask", Masked::draw, Masked::answer)
        .dials(OF_MASK, mask_by)
        .dials_reading(as_one_number)
        .mistake("upside-down", |p| p.causal(|query, key| key < query + p.offset))
        .hidden_by(one_token)
        .mistake("not-even-itself", |p| p.causal(|query, key| key >= query + p.offset))
        .hidden_by(everything_allowed)
        .mistake("offset-ignored", |p| p.causal(|query, key| key > query))
        .hidden_by(one_token)
        .mistake("offset-taken-away", |p| p.causal(|query, key| key + p.offset > query))
        .hidden_by(one_token)
        .mistake("one-future-token", |p| {
            p.causal(|query, key| key > query + p.offset + 1)
        })
        .hidden_by(one_token)
        .mistake("offset-twice", |p| p.causal(|query, key| key > query + 2 * p.offset))
        .hidden_by(one_token)
        .mistake("rows-and-columns-swapped", |p| {
            p.causal(|query, key| query > key + p.offset)
        })
        .hidden_by(one_token)
        .mistake("offset-alone", |p| p.causal(|_, key| key > p.offset))
        .hidden_by(one_token)
        .mistake("allowed-forgotten", |p| match p.hides {
            Hides::WhatIsNotAllowed | Hides::TheWrongShape => {
                Answer::of("scores", &p.scores)
            }
            _ => p.answer(),
        })
        .hidden_by(one_token)
        .mistake("causal-forgotten", |p| p.causal(|_, _| false))
        .hidden_by(one_token)
        .mistake("zero", |p| p.hidden_has(0.0))
        .hidden_by(everything_allowed)
        .mistake("finite", |p| p.hidden_has(-1e9))
        .hidden_by(everything_allowed)
        .reading(as_one_number)
        .mistake("not-a-number", |p| p.hidden_has(f32::NAN))
        .hidden_by(everything_allowed)
        .mistake("plus-infinity", |p| p.hidden_has(f32::INFINITY))
        .hidden_by(everything_allowed)
        .mistake("true-hides", |p| match p.hides {
            Hides::WhatIsNotAllowed => {
                let mut scores = p.scores.clone();
                fill_where(&mut scores, |q, k| p.allowed[(q, k)], f32::NEG_INFINITY);
                Answer::of("scores", scores)
            }
            _ => p.answer(),
        })
        .hidden_by(one_token)
        .mistake("nothing-hidden", |p| match p.answer() {
            refused if p.hides == Hides::TheWrongShape => refused,
            _ => Answer::of("scores", &p.scores),
        })
        .hidden_by(one_token)
        .mistake("unchecked", |p| match p.hides {
            Hides::TheWrongShape => does_not_fit(),
            _ => p.answer(),
        })
        .hidden_by(everything_allowed)
}

fn one_token() -> Masked {
    let (scores, allowed) = (dmatrix![1.0], dmatrix![true]);
    Masked { scores, hides: Hides::TheFuture, offset: 0, allowed }
}

fn everything_allowed() -> Masked {
    let (scores, allowed) = (dmatrix![1.0, 2.0], dmatrix![true, true]);
    Masked { scores, hides: Hides::WhatIsNotAllowed, offset: 0, allowed }
}

// Implement: attention.

struct Asked {
    q: DMatrix<f32>,
    k: DMatrix<f32>,
    v: DMatrix<f32>,
    sees: Sees,
}

fn mask_of(sees: &Sees) -> Mask {
    match sees {
        Sees::Everything => Mask::None,
        Sees::UpTo { offset } => Mask::Causal { offset: *offset },
        Sees::Within { offset, window } => {
            Mask::Window { offset: *offset, window: *window }
        }
        Sees::Pairs(allowed) => Mask::Allowed(allowed.clone()),
    }
}

impl Asked {
    fn draw(draw: &mut Draw) -> Self {
        let [queries, keys] = [draw.tokens(4), draw.tokens(4)];
        let [d_k, d_v] = [draw.size(1..=4), draw.size(1..=3)];
        let sees = draw.mask(queries, keys);
        let odd = draw.rarely();
        let [mut q, mut k] = [draw.numbers(queries, d_k), draw.numbers(keys, d_k)];
        draw.lift(&mut q, &mut k, d_k);
        // A key that most masks hide, whose score leaves nothing for others.
        if sees != Sees::Everything
            && keys > 0
            && draw.pick(&[false, false, false, true])
        {
            k.row_mut(keys - 1).scale_mut(64.0);
        }
        draw.show("q", &q);
        draw.show("k", &k);
        let mut v = draw.numbers(keys + odd, d_v);
        // The last value is the one that most masks hide.
        if sees != Sees::Everything
            && keys > 0
            && draw.pick(&[false, false, false, true])
        {
            v.row_mut(keys - 1).fill(f32::NAN);
        }
        draw.show("v", &v);
        Asked { q, k, v, sees }
    }

    /// What the queries take home with these weights if they see so much.
    fn average(&self, weights: &DMatrix<f32>, sees: &Sees) -> DMatrix<f32> {
        average(weights.as_view(), self.v.as_view(), |query, key| sees.sees(query, key))
    }

    fn answer(&self) -> Answer {
        Asked::parts(attend(
            self.q.as_view(),
            self.k.as_view(),
            self.v.as_view(),
            &mask_of(&self.sees),
        ))
    }

    fn parts<E: std::fmt::Display>(attended: Result<Attended, E>) -> Answer {
        let parts = |Attended { output, weights }| {
            Answer::of("weights", weights).and("output", output)
        };
        Answer::try_of("refused", attended.map(parts))
    }

    fn heads(&self) -> Option<Vec<Headed>> {
        let Asked { q, k, v, sees } = self;
        let [q, k, v] = [q.clone(), k.clone(), v.clone()];
        let sees = sees.clone();
        self.fits().then(|| vec![Headed { q, k, v, heads: 1, kv_heads: 1, sees }])
    }

    fn found(&self, found: &[Found]) -> Answer {
        let [Found { context, weights }] = found else { return self.answer() };
        Answer::of("weights", &weights[0]).and("output", context)
    }

    fn scores(&self) -> DMatrix<f32> {
        scores(self.q.as_view(), self.k.as_view()).unwrap()
    }

    fn hidden(&self) -> DMatrix<f32> {
        self.hidden_by(&self.sees)
    }

    /// The scores under another mask.
    fn hidden_by(&self, sees: &Sees) -> DMatrix<f32> {
        let mut scores = self.scores();
        fill_where(&mut scores, |q, k| !sees.sees(q, k), f32::NEG_INFINITY);
        scores
    }

    /// Whether each key has a value, and the mask an entry for each pair; if not, the
    /// answer is an error.
    fn fits(&self) -> bool {
        self.has_values() && self.sees.fits(self.q.nrows(), self.k.nrows())
    }

    fn has_values(&self) -> bool {
        self.v.nrows() == self.k.nrows()
    }

    /// As if the mask were another one.
    fn seeing(&self, sees: &Sees) -> Answer {
        if !self.has_values() {
            return self.answer();
        }
        let weights = softmax(self.hidden_by(sees));
        let output = self.average(&weights, sees);
        Answer::of("weights", weights).and("output", output)
    }

    /// As if the scores were hidden by another mask; only the average knows the right one.
    fn hiding(&self, sees: &Sees) -> Answer {
        if !self.has_values() {
            return self.answer();
        }
        let weights = softmax(self.hidden_by(sees));
        let output = self.average(&weights, &self.sees);
        Answer::of("weights", weights).and("output", output)
    }

    fn with_weights(&self, weights: DMatrix<f32>) -> Answer {
        if !self.fits() {
            return self.answer();
        }
        let output = self.average(&weights, &self.sees);
        Answer::of("weights", weights).and("output", output)
    }

    fn with_output(&self, output: impl Fn(&DMatrix<f32>) -> DMatrix<f32>) -> Answer {
        if !self.fits() {
            return self.answer();
        }
        let weights = softmax(self.hidden());
        let output = output(&weights);
        Answer::of("weights", weights).and("output", output)
    }
}

#[expect(clippy::too_many_lines, reason = "a catalogue: one entry after the other")]
fn attend_exercise() -> Exercise<Asked> {
    Exercise::implement("attend", Asked::draw, Asked::answer)
        .step("scores", |p| Value::from(scores(p.q.as_view(), p.k.as_view())))
        .step("scores, masked", |p| Value::from(p.hidden()))
        .attending(Asked::heads, Asked::found)
        .mistake("no-mask", |p| p.seeing(&Sees::Everything))
        .hidden_by(unmasked)
        .mistake("mask-in-the-average-alone", |p| p.hiding(&Sees::Everything))
        .hidden_by(unmasked)
        .mistake("allowed-forgotten-in-the-scores", |p| match &p.sees {
            Sees::Pairs(_) => p.hiding(&Sees::Everything),
            _ => p.answer(),
        })
        .hidden_by(unmasked)
        .mistake("offset-forgotten-in-the-scores", |p| match &p.sees {
            Sees::UpTo { .. } => p.hiding(&Sees::UpTo { offset: 0 }),
            _ => p.answer(),
        })
        .hidden_by(unmasked)
        .mistake("offset-and-allowed-forgotten-in-the-scores", |p| match &p.sees {
            Sees::UpTo { .. } => p.hiding(&Sees::UpTo { offset: 0 }),
            _ => p.hiding(&Sees::Everything),
        })
        .hidden_by(unmasked)
        .mistake("softmax-twice", |p| p.with_weights(softmax(softmax(p.hidden()))))
        .hidden_by(certain)
        .mistake("allowed-forgotten", |p| match &p.sees {
            Sees::Pairs(_) => p.seeing(&Sees::Everything),
            _ => p.answer(),
        })
        .hidden_by(unmasked)
        .mistake("causal-forgotten", |p| match &p.sees {
            Sees::UpTo { .. } => p.seeing(&Sees::Everything),
            _ => p.answer(),
        })
        .hidden_by(unmasked)
        .mistake("offset-forgotten", |p| match &p.sees {
            Sees::UpTo { .. } => p.seeing(&Sees::UpTo { offset: 0 }),
            _ => p.answer(),
        })
        .hidden_by(unmasked)
        .mistake("offset-and-allowed-forgotten", |p| match &p.sees {
            Sees::UpTo { .. } => p.seeing(&Sees::UpTo { offset: 0 }),
            _ => p.seeing(&Sees::Everything),
        })
        .hidden_by(unmasked)
        .mistake("nan-where-all-is-hidden", |p| {
            let hidden = p.hidden();
            p.with_weights(over_row_sums(&exps(&hidden)))
        })
        .hidden_by(unmasked)
        .mistake("equal-where-all-is-hidden", |p| {
            let mut weights = softmax(p.hidden());
            let keys = p.k.nrows() as f32;
            for mut row in weights.row_iter_mut().filter(|row| row.sum() == 0.0) {
                row.fill(1.0 / keys);
            }
            p.with_weights(weights)
        })
        .hidden_by(unmasked)
        .mistake("no-maximum", |p| {
            p.with_weights(over_row_sums(&p.hidden().map(f32::exp)))
        })
        .hidden_by(unmasked)
        .mistake("no-maximum-but-guarded", |p| {
            p.with_weights(guarded(&p.hidden().map(f32::exp)))
        })
        .hidden_by(unmasked)
        .mistake("down-the-columns", |p| {
            p.with_weights(softmax(p.hidden().transpose()).transpose())
        })
        .hidden_by(certain)
        .mistake("mask-after-softmax", |p| {
            let mut weights = softmax(p.scores());
            let hidden = p.hidden();
            weights.zip_apply(&hidden, |weight, score| {
                if score == f32::NEG_INFINITY {
                    *weight = 0.0;
                }
            });
            p.with_weights(weights)
        })
        .hidden_by(unmasked)
        .mistake("mask-forgotten-in-weights", |p| {
            if !p.fits() {
                return p.answer();
            }
            let output = p.average(&softmax(p.hidden()), &p.sees);
            Answer::of("weights", softmax(p.scores())).and("output", output)
        })
        .hidden_by(unmasked)
        .mistake("scaled-twice", |p| {
            p.with_weights(softmax(p.hidden() / (p.q.ncols() as f32).sqrt()))
        })
        .hidden_by(one_feature)
        .mistake("scaled-after-softmax", |p| {
            let root = (p.q.ncols() as f32).sqrt();
            p.with_weights(softmax(p.hidden() * root) / root)
        })
        .hidden_by(one_feature)
        .mistake("no-softmax", |p| p.with_weights(p.hidden()))
        .hidden_by(certain)
        .mistake("unscaled", |p| {
            p.with_weights(softmax(p.hidden() * (p.q.ncols() as f32).sqrt()))
        })
        .hidden_by(one_feature)
        .mistake("queries-and-keys-swapped", |p| {
            if !p.fits() {
                return p.answer();
            }
            let mut scores = p.scores().transpose();
            if scores.nrows() != p.q.nrows() {
                does_not_fit();
            }
            fill_where(&mut scores, |q, k| !p.sees.sees(q, k), f32::NEG_INFINITY);
            p.with_weights(softmax(scores))
        })
        .hidden_by(certain)
        .mistake("values-by-columns", |p| p.with_output(|weights| weights.tr_mul(&p.v)))
        .hidden_by(certain)
        .mistake("hidden-nan-leaks", |p| p.with_output(|weights| weights * &p.v))
        .hidden_by(unmasked)
        .mistake("keys-for-values", |p| p.with_output(|weights| weights * &p.k))
        .hidden_by(certain)
        .mistake("keys-and-values-swapped", |p| {
            if !p.fits() {
                return p.answer();
            }
            let (q, k, v) = (p.q.as_view(), p.k.as_view(), p.v.as_view());
            Asked::parts(attend(q, v, k, &mask_of(&p.sees)))
        })
        .hidden_by(certain)
        .mistake("unchecked", |p| {
            if !p.has_values() {
                does_not_fit();
            }
            p.answer()
        })
        .hidden_by(unmasked)
}

fn unmasked() -> Asked {
    let (q, k) = (dmatrix![3.0, 1.0], dmatrix![1.0, 2.0; 0.0, 4.0]);
    Asked { q, k, v: dmatrix![1.0; 2.0], sees: Sees::Everything }
}

fn one_feature() -> Asked {
    let (q, k) = (dmatrix![3.0], dmatrix![1.0; 0.5]);
    Asked { q, k, v: dmatrix![1.0; 2.0], sees: Sees::Everything }
}

fn certain() -> Asked {
    let (q, k, v) = (dmatrix![1.0], dmatrix![1.0], dmatrix![1.0]);
    Asked { q, k, v, sees: Sees::UpTo { offset: 0 } }
}

// Investigate: how much sharper `it` must look.

fn temperature() -> Exercise<()> {
    Exercise::investigate("temperature", |()| {
        Answer::of("predicted", two_scores(0.9)).and("factor", factor_for(0.9))
    })
    .mistake("two-scores", |()| {
        Answer::of("predicted", two_scores(0.9)).and("factor", two_scores(0.9))
    })
    .mistake("no-logarithm", |()| {
        let (row, animal) = row_of_it();
        let ratio = 0.9 / (1.0 - 0.9) / (row[animal] - row[0]);
        Answer::of("predicted", two_scores(0.9)).and("factor", ratio)
    })
    .mistake("ratio-itself", |()| {
        Answer::of("predicted", two_scores(0.9)).and("factor", 0.9 / (1.0 - 0.9))
    })
    .mistake("ratio-of-weights", |()| {
        let (row, animal) = row_of_it();
        let now = softmax(row)[animal];
        Answer::of("predicted", two_scores(0.9)).and("factor", 0.9 / now)
    })
}

/// The scores of `it`, and the place of `animal`.
fn row_of_it() -> (DMatrix<f32>, usize) {
    let real = attention::experiments::real().unwrap();
    let (q, k) = real.queries_and_keys().unwrap();
    let scores = scores(q.as_view(), k.as_view()).unwrap();
    let place = |word| real.position(word).unwrap();
    (scores.rows(place("it"), 1).into_owned(), place("animal"))
}

fn factor_for(share: f32) -> f32 {
    let (row, animal) = row_of_it();
    attention::experiments::factor_for(&row, animal, share)
}

/// As if there were only `animal` and `[CLS]`.
fn two_scores(share: f32) -> f32 {
    let (row, animal) = row_of_it();
    (share / (1.0 - share)).ln() / (row[animal] - row[0])
}
