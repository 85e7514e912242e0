//! The chapter's exercises: what they ask, and what people answer instead. `course.toml`
//! has the words.

use attention::{Linear, Mask, attend as attend_whole, average, scores};
use exercises::{
    Answer, Dial, Draw, Exercise, Exercises, Found, Headed, Looks, Sees, dial,
    does_not_fit,
};
use flash::{CHUNK, Partial, Sight, Tile, attend_tiled, decode, sight};
use grouped_query::{Groups, attend_groups};
use nalgebra::{DMatrix, dmatrix};
use std::ops::Range;
use std::sync::LazyLock;

#[test]
fn the_exercises_keep_their_promises() {
    let folder = env!("CARGO_MANIFEST_DIR");
    println!("{}", exercises::prove(folder, &exercises()).unwrap());
}

/// What the page says of the strips of `lazy`.
#[test]
fn more_than_half_of_the_strips_could_skip() {
    assert!(STILL.after_the_first > 0.5);
}

/// In the order of `course.toml`.
pub fn exercises() -> Exercises {
    Exercises::new()
        .with(seven_scores())
        .with(one_tile())
        .with(merge())
        .with(output())
        .with(sight_exercise())
        .with(tiled())
        .with(decode_exercise())
        .with(lazy())
}

/// What some keys have given the queries, with its parts in reach: [`Partial`] keeps
/// them to itself, and mistakes are made inside.
#[derive(Clone)]
struct State {
    max: Vec<f32>,
    sum: Vec<f32>,
    weighted: DMatrix<f32>,
}

/// The largest of a row's scores, if it is no less than `start`.
fn largest(scores: &DMatrix<f32>, row: usize, start: f32) -> f32 {
    scores.row(row).iter().copied().fold(start, f32::max)
}

impl State {
    /// Of a tile, measured from what `largest` says of each row.
    fn of(
        scores: &DMatrix<f32>,
        values: &DMatrix<f32>,
        largest: impl Fn(usize) -> f32,
    ) -> State {
        let max: Vec<f32> = (0..scores.nrows()).map(largest).collect();
        let exps = DMatrix::from_fn(scores.nrows(), scores.ncols(), |row, key| {
            (scores[(row, key)] - max[row]).exp()
        });
        let sum = exps.row_iter().map(|row| row.sum()).collect();
        let sees = |query, key| scores[(query, key)] != f32::NEG_INFINITY;
        let weighted = average(exps.as_view(), values.as_view(), sees);
        State { max, sum, weighted }
    }

    fn right(scores: &DMatrix<f32>, values: &DMatrix<f32>) -> State {
        State::of(scores, values, |row| largest(scores, row, f32::MIN))
    }

    /// The sum of both, where `factors` tells for each query by how much the sum and the
    /// weighted values of either are multiplied, and which maximum is kept.
    fn merge(
        &self,
        other: &State,
        factors: impl Fn(f32, f32) -> ([f32; 2], [f32; 2], f32),
    ) -> State {
        let mut merged = self.clone();
        for row in 0..self.max.len() {
            let ([sum, other_sum], [values, other_values], max) =
                factors(self.max[row], other.max[row]);
            merged.max[row] = max;
            merged.sum[row] = self.sum[row] * sum + other.sum[row] * other_sum;
            let both = self.weighted.row(row) * values
                + other.weighted.row(row) * other_values;
            merged.weighted.set_row(row, &both);
        }
        merged
    }

    fn output(&self) -> DMatrix<f32> {
        let mut output = self.weighted.clone();
        for (row, sum) in self.sum.iter().enumerate() {
            output
                .row_mut(row)
                .apply(|o| *o = if *sum == 0.0 { 0.0 } else { *o / sum });
        }
        output
    }
}

/// Of two maxima: what both sums are multiplied by, what both weighted values are, and
/// the maximum of what comes out.
type Factors = fn(f32, f32) -> ([f32; 2], [f32; 2], f32);

/// As it should be.
fn measured(one: f32, two: f32) -> [f32; 2] {
    let max = one.max(two);
    [(one - max).exp(), (two - max).exp()]
}

// By hand: the worked example goes on.

fn seven_scores() -> Exercise<()> {
    Exercise::by_hand("by-hand", |()| Seven::merged(right).answer())
        .mistake("not-rescaled", |()| {
            Seven::merged(|a, b| ([1.0, 1.0], [1.0, 1.0], a.max(b))).answer()
        })
        .mistake("sum-not-rescaled", |()| {
            Seven::merged(|a, b| ([1.0, 1.0], measured(a, b), a.max(b))).answer()
        })
        .mistake("the-other-one", |()| {
            let crossed = |a: f32, b: f32| {
                let [one, two] = measured(a, b);
                ([two, one], [two, one], a.max(b))
            };
            Seven::merged(crossed).answer()
        })
        .mistake("always-the-first", |()| {
            let first = |a: f32, b: f32| {
                let factor = (-(a - b).abs()).exp();
                ([factor, 1.0], [factor, 1.0], a.max(b))
            };
            Seven::merged(first).answer()
        })
        .mistake("worth-nothing", |()| Seven::without_the_second(right).answer())
        .mistake("average-of-averages", |()| {
            let all = Seven::merged(right);
            let averages = [&all.first, &all.third, &all.last].map(|s| s.output()[0]);
            all.with_output(averages.iter().sum::<f32>() / 3.0)
        })
}

/// The worked example's four keys, the two of the third tile, and the last one.
struct Seven {
    first: State,
    third: State,
    last: State,
    six: State,
    all: State,
}

impl Seven {
    fn merged(factors: Factors) -> Seven {
        let third = State::right(&dmatrix![3.0, 7.0], &dmatrix![50.0; 0.0]);
        Seven::with(third, factors)
    }

    /// As if the key whose value is 0 were not there.
    fn without_the_second(factors: Factors) -> Seven {
        Seven::with(State::right(&dmatrix![3.0], &dmatrix![50.0]), factors)
    }

    /// The first four are given, so they are merged as they should be.
    fn with(third: State, factors: Factors) -> Seven {
        let one = State::right(&dmatrix![1.0, 3.0], &dmatrix![10.0; 20.0]);
        let two = State::right(&dmatrix![2.0, 5.0], &dmatrix![30.0; 40.0]);
        let first = one.merge(&two, right);
        let last = State::right(&dmatrix![6.0], &dmatrix![100.0]);
        let six = first.merge(&third, factors);
        let all = six.merge(&last, factors);
        Seven { first, third, last, six, all }
    }

    fn answer(&self) -> Answer {
        self.with_output(self.all.output()[0])
    }

    fn with_output(&self, output: f32) -> Answer {
        let parts = |state: &State| vec![state.max[0], state.sum[0], state.weighted[0]];
        Answer::of("third", parts(&self.third))
            .and("merged", parts(&self.six))
            .and("last", parts(&self.all))
            .and("output", output)
    }
}

fn right(one: f32, two: f32) -> ([f32; 2], [f32; 2], f32) {
    (measured(one, two), measured(one, two), one.max(two))
}

// Implement: what one tile gives.

/// Scores of which some rows lie far above or below the others, or are hidden.
fn some_scores(draw: &mut Draw, queries: usize, keys: usize) -> DMatrix<f32> {
    let mut scores = draw.numbers(queries, keys);
    for mut row in scores.row_iter_mut() {
        match draw.pick(&[0.0, 0.0, 0.0, 200.0, -60.0, -200.0, -2e4, f32::NEG_INFINITY])
        {
            f32::NEG_INFINITY if keys > 0 && draw.pick(&[false, true]) => {
                row[0] = f32::NEG_INFINITY;
            }
            shift => row.add_scalar_mut(shift),
        }
    }
    scores
}

struct OneTile {
    scores: DMatrix<f32>,
    values: DMatrix<f32>,
}

impl OneTile {
    fn draw(draw: &mut Draw) -> Self {
        let [queries, keys, d_v] = [draw.tokens(3), draw.tokens(4), draw.size(1..=2)];
        let more = draw.rarely();
        let scores = some_scores(draw, queries, keys);
        draw.show("scores", &scores);
        let mut values = draw.numbers(keys + more, d_v);
        if keys > 0 && draw.rarely() == 1 {
            values.row_mut(0).fill(f32::NAN);
        }
        draw.show("values", &values);
        OneTile { scores, values }
    }

    fn answer(&self) -> Answer {
        let part = Partial::of(self.scores.clone(), self.values.as_view());
        Answer::of("output", part.map(|part| part.output()))
    }

    /// The answer where there is a value for each key.
    fn state(&self, state: impl Fn() -> State) -> Answer {
        if self.values.nrows() == self.scores.ncols() {
            Answer::of("output", state().output())
        } else {
            self.answer()
        }
    }

    fn right(&self) -> State {
        State::right(&self.scores, &self.values)
    }

    /// Other averages of the right sums.
    fn averaged(&self, output: impl Fn(&State) -> DMatrix<f32>) -> Answer {
        if self.values.nrows() == self.scores.ncols() {
            Answer::of("output", output(&self.right()))
        } else {
            self.answer()
        }
    }

    fn from(&self, largest: impl Fn(usize) -> f32) -> Answer {
        self.state(|| State::of(&self.scores, &self.values, &largest))
    }

    fn ordinary() -> Self {
        OneTile { scores: dmatrix![1.0, 2.0; 2.0, 1.0], values: dmatrix![1.0; 4.0] }
    }
}

/// What exponentials are measured from, how they are taken, and what is kept of them.
const OF_TILE: &[Dial] = &[
    dial(&[
        ("from-zero", "The search for a row's maximum begins at 0."),
        (
            "finite-start",
            "The search for a row's maximum begins at a number that some scores do not \
             reach.",
        ),
        ("no-maximum", "No maximum is subtracted before exp."),
        (
            "one-maximum-for-all",
            "The largest score of the whole tile is subtracted, and not that of each \
             row.",
        ),
        ("first-for-maximum", "A row's first score is subtracted, not its largest."),
        ("last-for-maximum", "A row's last score is subtracted, not its largest."),
        (
            "smallest-for-largest",
            "A row's smallest score is subtracted, not its largest.",
        ),
        (
            "from-minus-infinity",
            "The search for a row's maximum begins at -inf: a row that is hidden \
             throughout is -inf - (-inf), NaN.",
        ),
        ("largest-of-absolutes", "The largest absolute value is subtracted."),
        (
            "first-rows-maximum-for-all",
            "The first row's largest score is subtracted from all rows.",
        ),
        ("maximum-added", "A row's largest score is added, and not subtracted."),
        (
            "largest-so-far",
            "The largest score up to the key is subtracted, and not that of the whole row.",
        ),
        ("columns-maximum", "The largest score of the key's column is subtracted."),
    ]),
    dial(&[
        (
            "exponents-capped",
            "Where the exponent is above 0, e to it counts as 1: `exp_nonpositive` \
             expects that the maximum was subtracted.",
        ),
        ("first-key-left", "The first key's scores go on as they are, without exp."),
        ("last-key-left", "The last key's scores go on as they are, without exp."),
        ("powers-of-two", "Powers of 2 are taken in place of powers of e."),
        ("no-exponential", "exp is missing."),
        ("sign-turned", "The sign under exp is turned."),
    ]),
    dial(&[
        (
            "sum-doubled",
            "The sum counts twice: the output is half of what it should be.",
        ),
        ("mean-for-sum", "The mean of the exponentials is kept, not their sum."),
        ("largest-for-sum", "The largest exponential is kept, not the sum."),
        ("number-for-sum", "The number of keys is kept, not the sum of exponentials."),
        ("sum-of-scores", "The sum is one of scores, not of exponentials."),
        ("sum-of-squares", "The sum is one of squared exponentials."),
        ("one-sum-for-all", "The sum is that of the whole tile, and not of each row."),
        ("sum-without-the-first", "The first key is missing from the sum."),
        ("sum-without-the-last", "The last key is missing from the sum."),
        ("sum-of-columns", "The sum runs down the columns, and not along rows."),
        ("sum-one-too-many", "The sum is larger by 1 than it should be."),
    ]),
    dial(&[
        (
            "divided",
            "The values are divided by the sum already: that comes at the end.",
        ),
        ("values-not-weighted", "Values are added up without their weights."),
        ("values-of-the-first", "All keys have the first one's value."),
        ("values-without-the-first", "The first key's value is missing."),
        ("values-without-the-last", "The last key's value is missing."),
        ("values-reversed", "The values are taken from the last."),
        (
            "values-by-columns",
            "The product takes the exponentials the wrong way around.",
        ),
        (
            "hidden-nan-leaks",
            "A NaN in a value that is hidden is in your output: 0 times NaN is NaN.",
        ),
        ("scores-for-weights", "Values are weighted by scores, not by exponentials."),
        ("weights-squared", "Values are weighted by squared exponentials."),
        ("value-of-the-next-key", "Each key has the value of the next one."),
    ]),
];

/// e to the score less what it is measured from, as the settings say.
fn exp_by(scores: &DMatrix<f32>, (row, key): (usize, usize), set: &[usize]) -> f32 {
    let (score, last) = (scores[(row, key)], scores.ncols() - 1);
    let fold = |start: f32, of: fn(f32, f32) -> f32| {
        scores.row(row).iter().copied().fold(start, of)
    };
    let max = match set[0] {
        0 => fold(f32::MIN, f32::max),
        1 => fold(0.0, f32::max),
        2 => fold(-1e4, f32::max),
        3 => 0.0,
        4 => scores.iter().copied().fold(f32::MIN, f32::max),
        5 => scores[(row, 0)].clamp(f32::MIN, f32::MAX),
        6 => scores[(row, last)].clamp(f32::MIN, f32::MAX),
        7 => fold(f32::MAX, f32::min),
        8 => fold(f32::NEG_INFINITY, f32::max),
        9 => fold(0.0, |max, s| if s.is_finite() { max.max(s.abs()) } else { max }),
        10 => scores.row(0).iter().copied().fold(f32::MIN, f32::max),
        11 => -fold(f32::MIN, f32::max),
        12 => scores.row(row).iter().take(key + 1).copied().fold(f32::MIN, f32::max),
        _ => scores.column(key).iter().copied().fold(f32::MIN, f32::max),
    };
    let off = score - max;
    match set[1] {
        1 => off.min(0.0).exp(),
        2 if key == 0 => score,
        3 if key == last => score,
        4 => off.exp2(),
        5 => off,
        6 => (-off).exp(),
        _ => off.exp(),
    }
}

fn sum_by(scores: &DMatrix<f32>, exps: &DMatrix<f32>, row: usize, how: usize) -> f32 {
    let (of, keys) = (exps.row(row), exps.ncols());
    match how {
        0 => of.sum(),
        1 => 2.0 * of.sum(),
        2 => of.mean(),
        3 => of.max(),
        4 => keys as f32,
        5 => scores.row(row).sum(),
        6 => of.norm_squared(),
        7 => exps.sum(),
        8 => of.columns_range(1.min(keys)..).sum(),
        9 => of.columns_range(..keys.saturating_sub(1)).sum(),
        10 => exps.column(row).sum(),
        _ => of.sum() + 1.0,
    }
}

fn tile_by(p: &OneTile, set: &[usize]) -> Answer {
    let OneTile { scores, values } = p;
    let (queries, keys) = scores.shape();
    if values.nrows() != keys {
        return p.answer();
    }
    let exps =
        DMatrix::from_fn(queries, keys, |row, key| exp_by(scores, (row, key), set));
    let sums: Vec<f32> =
        (0..queries).map(|row| sum_by(scores, &exps, row, set[2])).collect();
    let weights = match set[3] {
        2 => scores.map(|s| f32::from(u8::from(s.is_finite()))),
        9 => scores.clone(),
        7 if queries != keys => does_not_fit(),
        7 => exps.transpose(),
        10 => exps.map(|e| e * e),
        _ => exps.clone(),
    };
    let value = |key: usize| match set[3] {
        3 => Some(0),
        4 if key == 0 => None,
        5 if key + 1 == keys => None,
        6 => Some(keys - 1 - key),
        11 => Some((key + 1) % keys),
        _ => Some(key),
    };
    let output = DMatrix::from_fn(queries, values.ncols(), |row, column| {
        let term = |key: usize| {
            let value = value(key).map_or(0.0, |key| values[(key, column)]);
            let seen = scores[(row, key)] != f32::NEG_INFINITY || value.is_finite();
            weights[(row, key)] * if seen || set[3] == 8 { value } else { 0.0 }
        };
        let weighted: f32 = (0..keys).map(term).sum();
        match sums[row] {
            0.0 => 0.0,
            sum if set[3] == 1 => weighted / sum / sum,
            sum => weighted / sum,
        }
    });
    Answer::of("output", output)
}

fn one_tile() -> Exercise<OneTile> {
    Exercise::implement("tile", OneTile::draw, OneTile::answer)
        .dials(OF_TILE, tile_by)
        .mistake("no-maximum", |p| p.from(|_| 0.0))
        .hidden_by(OneTile::ordinary)
        .mistake("finite-start", |p| p.from(|row| largest(&p.scores, row, -1e4)))
        .hidden_by(OneTile::ordinary)
        .mistake("from-zero", |p| p.from(|row| largest(&p.scores, row, 0.0)))
        .hidden_by(OneTile::ordinary)
        .mistake("one-maximum-for-all", |p| {
            let max = p.scores.iter().copied().fold(f32::MIN, f32::max);
            p.from(|_| max)
        })
        .hidden_by(OneTile::ordinary)
        .mistake("nan-where-all-is-hidden", |p| {
            p.from(|row| largest(&p.scores, row, f32::NEG_INFINITY))
        })
        .hidden_by(OneTile::ordinary)
        .mistake("smallest-for-largest", |p| {
            p.from(|row| p.scores.row(row).iter().copied().fold(f32::MAX, f32::min))
        })
        .hidden_by(|| OneTile { scores: dmatrix![7.0], values: dmatrix![3.0] })
        .mistake("values-by-columns", |p| {
            p.state(|| {
                let part = State::right(&p.scores, &p.values);
                let max = part.max.clone();
                let exps =
                    DMatrix::from_fn(p.scores.nrows(), p.scores.ncols(), |i, j| {
                        (p.scores[(i, j)] - max[i]).exp()
                    });
                if exps.nrows() != p.values.nrows() {
                    does_not_fit();
                }
                State { weighted: exps.tr_mul(&p.values), ..part }
            })
        })
        .hidden_by(|| OneTile { scores: dmatrix![7.0], values: dmatrix![3.0] })
        .mistake("sum-of-scores", |p| {
            p.state(|| {
                let part = State::right(&p.scores, &p.values);
                let sums = p.scores.row_iter().map(|row| row.sum()).collect();
                State { sum: sums, ..part }
            })
        })
        .hidden_by(|| OneTile { scores: dmatrix![1.0], values: dmatrix![3.0] })
        .mistake("divided", |p| {
            p.state(|| {
                let part = State::right(&p.scores, &p.values);
                State { weighted: part.output(), ..part }
            })
        })
        .hidden_by(|| OneTile { scores: dmatrix![7.0], values: dmatrix![3.0] })
        .mistake("hidden-nan-leaks", |p| {
            p.state(|| {
                let part = State::right(&p.scores, &p.values);
                let exps =
                    DMatrix::from_fn(p.scores.nrows(), p.scores.ncols(), |i, j| {
                        (p.scores[(i, j)] - part.max[i]).exp()
                    });
                State { weighted: exps * &p.values, ..part }
            })
        })
        .hidden_by(OneTile::ordinary)
        .mistake("values-not-weighted", |p| {
            p.state(|| {
                let part = State::right(&p.scores, &p.values);
                let seen = p.scores.map(|s| f32::from(u8::from(s.is_finite())));
                State { weighted: seen * &p.values, ..part }
            })
        })
        .hidden_by(|| OneTile { scores: dmatrix![7.0], values: dmatrix![3.0] })
        .mistake("unchecked", |p| {
            if p.values.nrows() != p.scores.ncols() {
                does_not_fit();
            }
            p.answer()
        })
        .hidden_by(OneTile::ordinary)
}

// Implement: merging.

struct Tiles {
    scores: Vec<DMatrix<f32>>,
    values: Vec<DMatrix<f32>>,
}

impl Tiles {
    fn draw(draw: &mut Draw) -> Self {
        let [tiles, queries] = [draw.size(1..=3), draw.size(1..=2)];
        let d_v = draw.size(1..=2);
        let more = draw.rarely();
        let (mut scores, mut values) = (Vec::new(), Vec::new());
        for tile in 0..tiles {
            let keys = draw.size(1..=3);
            let odd = if tile == 1 { more } else { 0 };
            let of_tile = some_scores(draw, queries + odd, keys);
            draw.show(&format!("scores {tile}"), &of_tile);
            scores.push(of_tile);
            values.push(draw.matrix(&format!("values {tile}"), keys, d_v));
        }
        Tiles { scores, values }
    }

    fn answer(&self) -> Answer {
        let parts = self.scores.iter().zip(&self.values);
        let mut parts = parts.map(|(scores, values)| {
            Partial::of(scores.clone(), values.as_view()).unwrap()
        });
        let first = parts.next().unwrap();
        let all = parts.try_fold(first, |all, next| all.merge(&next));
        Answer::of("output", all.map(|all| all.output()))
    }

    /// Whether all tiles are about the same queries.
    fn fits(&self) -> bool {
        self.scores.iter().all(|s| s.nrows() == self.scores[0].nrows())
    }

    fn states(&self) -> Vec<State> {
        let tiles = self.scores.iter().zip(&self.values);
        tiles.map(|(scores, values)| State::right(scores, values)).collect()
    }

    fn with(&self, factors: Factors) -> Answer {
        self.with_factors(factors)
    }

    fn with_factors(
        &self,
        factors: impl Fn(f32, f32) -> ([f32; 2], [f32; 2], f32),
    ) -> Answer {
        if !self.fits() {
            return self.answer();
        }
        let states = self.states().into_iter();
        let all = states.reduce(|all, next| all.merge(&next, &factors)).unwrap();
        Answer::of("output", all.output())
    }
}

/// What both parts are measured from, and by what which of their sums and values are
/// multiplied.
const OF_MERGE: &[Dial] = &[
    dial(&[
        (
            "from-its-own",
            "Both parts are measured from the first one's maximum, and not from the \
             larger.",
        ),
        (
            "from-the-other",
            "Both parts are measured from the second one's maximum, and not from the \
             larger.",
        ),
        ("smaller-maximum", "Both parts are measured from the smaller maximum."),
        ("from-the-sum", "Both parts are measured from the two maxima together."),
        ("from-zero", "Both parts are measured from 0."),
        ("from-the-mean", "Both parts are measured from the mean of their maxima."),
    ]),
    dial(&[
        (
            "exponents-capped",
            "Where the exponent is above 0, e to it counts as 1: `exp_nonpositive` \
             expects the larger maximum.",
        ),
        (
            "upside-down",
            "The factors are upside down: e to the maximum less the part's own.",
        ),
        ("difference-alone", "The factors are differences: exp is missing."),
        ("powers-of-two", "The factors are powers of 2, not of e."),
        ("factors-squared", "The factors are squared."),
        ("factors-halved", "The factors are half of what they should be."),
        ("roots-of-factors", "The roots of the factors are taken."),
    ]),
    dial(&[
        ("sum-not-rescaled", "The first sum is not measured anew."),
        (
            "sum-by-the-other",
            "The first sum is multiplied by the second part's factor.",
        ),
        ("sum-lost", "The first sum is lost."),
    ]),
    dial(&[
        ("other-sum-not-rescaled", "The second sum is not measured anew."),
        (
            "other-sum-by-the-first",
            "The second sum is multiplied by the first part's factor.",
        ),
        ("other-sum-lost", "The second sum is lost."),
    ]),
    dial(&[
        ("values-not-rescaled", "The first weighted values are not measured anew."),
        (
            "values-by-the-other",
            "The first weighted values are multiplied by the second part's factor.",
        ),
        ("values-lost", "The first weighted values are lost."),
    ]),
    dial(&[
        (
            "other-values-not-rescaled",
            "The second weighted values are not measured anew.",
        ),
        (
            "other-values-by-the-first",
            "The second weighted values are multiplied by the first part's factor.",
        ),
        ("other-values-lost", "The second weighted values are lost."),
    ]),
    dial(&[
        (
            "maximum-not-kept",
            "The maximum that is kept is the first part's, and not the larger.",
        ),
        (
            "other-maximum-kept",
            "The maximum that is kept is the second part's, and not the larger.",
        ),
        ("smaller-kept", "The maximum that is kept is the smaller one."),
    ]),
    dial(&[
        ("first-not-rescaled", "Of the first part, nothing is measured anew."),
        ("second-not-rescaled", "Of the second part, nothing is measured anew."),
        ("factors-crossed", "Each part is multiplied by the other's factor."),
        ("nothing-rescaled", "Nothing is measured anew: the parts are added up."),
        (
            "sums-not-rescaled",
            "The sums are not measured anew, the weighted values are.",
        ),
        (
            "all-values-not-rescaled",
            "The weighted values are not measured anew, the sums are.",
        ),
        ("one-factor-for-both", "Both parts are multiplied by the first one's factor."),
        (
            "other-factor-for-both",
            "Both parts are multiplied by the second one's factor.",
        ),
        (
            "second-rescaled-only-where-it-rises",
            "Where the second maximum is no larger, nothing is measured anew: the second \
             part has to be.",
        ),
        (
            "first-rescaled-only-where-it-falls",
            "Where the second maximum is larger, nothing is measured anew: the first part \
             has to be.",
        ),
        ("sums-crossed", "Each sum is multiplied by the other part's factor."),
        (
            "values-crossed",
            "Weighted values are multiplied by the other part's factor.",
        ),
    ]),
    dial(&[
        (
            "divided-each-time",
            "What is merged is divided by its sum each time: `output` divides once, at \
             the end.",
        ),
        (
            "halved-each-time",
            "What is merged is divided by 2, as if the two parts were averaged.",
        ),
    ]),
];

impl Tiles {
    fn merged_by(&self, set: &[usize]) -> Answer {
        if !self.fits() {
            return self.answer();
        }
        let merge = |all: State, next: State| {
            let mut all = all.merge(&next, |a, b| factors_by(a, b, set));
            match set[8] {
                0 => {}
                1 => all.weighted = all.output(),
                _ => all.weighted /= 2.0,
            }
            all
        };
        let all = self.states().into_iter().reduce(merge).unwrap();
        Answer::of("output", all.output())
    }
}

/// What both sums and both weighted values are multiplied by, and the maximum that is kept.
fn factors_by(a: f32, b: f32, set: &[usize]) -> ([f32; 2], [f32; 2], f32) {
    let from = [a.max(b), a, b, a.min(b), a + b, 0.0, f32::midpoint(a, b)][set[0]];
    let factor = |own: f32| {
        let off = own - from;
        match set[1] {
            0 => off.exp(),
            1 => off.min(0.0).exp(),
            2 => (-off).exp(),
            3 => off,
            4 => off.exp2(),
            5 => (2.0 * off).exp(),
            6 => off.exp() / 2.0,
            _ => (off / 2.0).exp(),
        }
    };
    let (one, two) = (factor(a), factor(b));
    let ([one_sum, two_sum], [one_values, two_values]) = match set[7] {
        0 => ([one, two], [one, two]),
        1 => ([1.0, two], [1.0, two]),
        2 => ([one, 1.0], [one, 1.0]),
        3 => ([two, one], [two, one]),
        5 => ([1.0; 2], [one, two]),
        6 => ([one, two], [1.0; 2]),
        7 => ([one; 2], [one; 2]),
        9 if b > a => ([one, two], [one, two]),
        10 if b <= a => ([one, two], [one, two]),
        4 | 9 | 10 => ([1.0; 2], [1.0; 2]),
        11 => ([two, one], [one, two]),
        12 => ([one, two], [two, one]),
        _ => ([two; 2], [two; 2]),
    };
    let pick = |how: usize, right: f32, other: f32| [right, 1.0, other, 0.0][how];
    (
        [pick(set[2], one_sum, two_sum), pick(set[3], two_sum, one_sum)],
        [pick(set[4], one_values, two_values), pick(set[5], two_values, one_values)],
        match set[6] {
            // What is measured from is kept.
            0 => from,
            1 => a,
            2 => b,
            _ => a.min(b),
        },
    )
}

fn merge() -> Exercise<Tiles> {
    Exercise::implement("merge", Tiles::draw, Tiles::answer)
        .dials(OF_MERGE, Tiles::merged_by)
        .mistake("sum-not-rescaled", |p| {
            p.with(|a, b| {
                let [one, two] = measured(a, b);
                ([1.0, two], [one, two], a.max(b))
            })
        })
        .hidden_by(falling)
        .mistake("values-not-rescaled", |p| {
            p.with(|a, b| {
                let [one, two] = measured(a, b);
                ([one, two], [1.0, two], a.max(b))
            })
        })
        .hidden_by(falling)
        .mistake("not-rescaled", |p| {
            p.with(|a, b| {
                let [_, two] = measured(a, b);
                ([1.0, two], [1.0, two], a.max(b))
            })
        })
        .hidden_by(falling)
        .mistake("other-not-rescaled", |p| {
            p.with(|a, b| {
                let [one, _] = measured(a, b);
                ([one, 1.0], [one, 1.0], a.max(b))
            })
        })
        .hidden_by(rising)
        .mistake("added", |p| p.with(|a, b| ([1.0; 2], [1.0; 2], a.max(b))))
        .hidden_by(equal)
        .mistake("of-the-tile", |p| {
            p.with(|a, b| {
                let keep = (a - b).exp();
                ([keep, 1.0], [keep, 1.0], b)
            })
        })
        .hidden_by(rising)
        .mistake("smaller-maximum", |p| {
            p.with(|a, b| {
                let max = a.min(b);
                let factors = [(a - max).exp(), (b - max).exp()];
                (factors, factors, max)
            })
        })
        .hidden_by(equal)
        .mistake("factors-crossed", |p| {
            p.with(|a, b| {
                let [one, two] = measured(a, b);
                ([two, one], [two, one], a.max(b))
            })
        })
        .hidden_by(equal)
        .mistake("other-left-out", |p| {
            p.with(|a, b| {
                let [one, _] = measured(a, b);
                ([one, 0.0], [one, 0.0], a.max(b))
            })
        })
        .mistake("upside-down", |p| {
            p.with(|a, b| {
                let factors = measured(a, b).map(f32::recip);
                (factors, factors, a.max(b))
            })
        })
        .hidden_by(equal)
        .mistake("maximum-not-kept", |p| {
            p.with(|a, b| (measured(a, b), measured(a, b), a))
        })
        .hidden_by(falling)
        .mistake("averaged", |p| {
            if !p.fits() {
                return p.answer();
            }
            let states = p.states();
            let sum = states.iter().map(State::output).reduce(|sum, next| sum + next);
            Answer::of("output", sum.unwrap() / states.len() as f32)
        })
        .hidden_by(equal)
        .mistake("unchecked", |p| {
            if !p.fits() {
                does_not_fit();
            }
            p.answer()
        })
        .hidden_by(equal)
}

fn two_tiles(first: f32, second: f32) -> Tiles {
    let scores = vec![dmatrix![first, first - 1.0], dmatrix![second, second - 1.0]];
    Tiles { scores, values: vec![dmatrix![1.0; 2.0], dmatrix![3.0; -4.0]] }
}

fn rising() -> Tiles {
    two_tiles(1.0, 3.0)
}

fn falling() -> Tiles {
    two_tiles(3.0, 1.0)
}

fn equal() -> Tiles {
    two_tiles(2.0, 2.0)
}

// Implement: the averages.

/// What weighted values are divided by, and what a query has that has seen nothing.
const OF_OUTPUT: &[Dial] = &[
    dial(&[
        ("not-divided", "The weighted values are not divided."),
        ("over-the-square", "They are divided by the sum twice."),
        ("over-the-root", "They are divided by the root of the sum."),
        ("multiplied", "They are multiplied by the sum, and not divided."),
        ("over-the-maximum", "They are divided by the maximum, and not by the sum."),
        ("one-sum-for-all", "All queries are divided by the sum of all."),
        ("first-sum-for-all", "All queries are divided by the first one's sum."),
        ("last-sum-for-all", "All queries are divided by the last one's sum."),
        ("sums-reversed", "The sums are taken from the last."),
        ("sum-and-one", "1 is added to the sum."),
        (
            "over-e-to-the-maximum",
            "They are divided by e to the maximum, and not by the sum.",
        ),
        ("logarithm", "They are divided by the logarithm of the sum."),
        ("upside-down", "The quotient is upside down: the sum is divided by them."),
        ("one-row-on", "Each query is divided by the next one's sum."),
        ("scale-taken-back", "They are multiplied by e to the maximum once more."),
        ("over-the-queries", "They are divided by the number of queries."),
        ("maximum-subtracted", "The maximum is subtracted from the averages."),
        ("maximum-added", "The maximum is added to the averages."),
        ("sum-and-a-little", "A small number is added to the sum."),
        ("sum-less-one", "1 is subtracted from the sum."),
    ]),
    dial(&[
        (
            "nan-where-nothing-is-seen",
            "A query that has seen nothing is 0/0, NaN: its output is zeros.",
        ),
        (
            "a-half-where-nothing-is-seen",
            "A query that has seen nothing gets a number, and its output is zeros.",
        ),
        (
            "one-where-nothing-is-seen",
            "A query that has seen nothing gets ones: its output is zeros.",
        ),
        (
            "infinity-where-nothing-is-seen",
            "A query that has seen nothing gets infinity: its output is zeros.",
        ),
    ]),
];

fn output_by(state: &State, set: &[usize]) -> DMatrix<f32> {
    let queries = state.sum.len();
    DMatrix::from_fn(queries, state.weighted.ncols(), |row, column| {
        let (o, max) = (state.weighted[(row, column)], state.max[row]);
        let sum = match set[0] {
            6 => state.sum.iter().sum(),
            7 => state.sum[0],
            8 => state.sum[queries - 1],
            9 => state.sum[queries - 1 - row],
            14 => state.sum[(row + 1) % queries],
            _ => state.sum[row],
        };
        if sum == 0.0 {
            return [0.0, f32::NAN, 0.5, 1.0, f32::INFINITY][set[1]];
        }
        match set[0] {
            1 => o,
            2 => o / sum / sum,
            3 => o / sum.sqrt(),
            4 => o * sum,
            5 => o / max,
            10 => o / (sum + 1.0),
            11 => o / max.exp(),
            12 => o / sum.ln(),
            13 => sum / o,
            15 => o / sum * max.exp(),
            16 => o / queries as f32,
            17 => o / sum - max,
            18 => o / sum + max,
            19 => o / (sum + 1e-2),
            20 => o / (sum - 1.0),
            _ => o / sum,
        }
    })
}

fn output() -> Exercise<OneTile> {
    Exercise::implement("output", OneTile::draw, OneTile::answer)
        .dials(OF_OUTPUT, |p, set| p.averaged(|state| output_by(state, set)))
        .mistake("not-divided", |p| {
            p.state(|| State { sum: vec![1.0; p.scores.nrows()], ..p.right() })
        })
        .hidden_by(|| OneTile { scores: dmatrix![7.0], values: dmatrix![3.0] })
        .mistake("nan-where-nothing-is-seen", |p| {
            p.averaged(|state| {
                let mut output = state.weighted.clone();
                for (row, sum) in state.sum.iter().enumerate() {
                    output.row_mut(row).apply(|o| *o /= sum);
                }
                output
            })
        })
        .hidden_by(OneTile::ordinary)
        .mistake("one-sum-for-all", |p| {
            p.averaged(|state| {
                let sum: f32 = state.sum.iter().sum();
                state.weighted.map(|o| if sum == 0.0 { 0.0 } else { o / sum })
            })
        })
        .hidden_by(|| OneTile { scores: dmatrix![7.0], values: dmatrix![3.0] })
        .mistake("first-sum-for-all", |p| {
            p.averaged(|state| {
                let sum = state.sum.first().copied().unwrap_or(0.0);
                state.weighted.map(|o| if sum == 0.0 { 0.0 } else { o / sum })
            })
        })
        .hidden_by(|| OneTile { scores: dmatrix![7.0], values: dmatrix![3.0] })
        .mistake("by-columns", |p| {
            p.averaged(|state| {
                let mut output = state.weighted.clone();
                for (feature, mut column) in output.column_iter_mut().enumerate() {
                    let Some(sum) = state.sum.get(feature) else { does_not_fit() };
                    column.apply(|o| *o = if *sum == 0.0 { 0.0 } else { *o / sum });
                }
                output
            })
        })
        .hidden_by(|| OneTile { scores: dmatrix![7.0], values: dmatrix![3.0] })
        .mistake("multiplied", |p| {
            p.averaged(|state| {
                let mut output = state.weighted.clone();
                for (row, sum) in state.sum.iter().enumerate() {
                    output.row_mut(row).apply(|o| *o *= sum);
                }
                output
            })
        })
        .hidden_by(|| OneTile { scores: dmatrix![7.0], values: dmatrix![3.0] })
        .mistake("over-the-maximum", |p| {
            p.averaged(|state| {
                let mut output = state.weighted.clone();
                for (row, max) in state.max.iter().enumerate() {
                    let nothing = state.sum[row] == 0.0;
                    output
                        .row_mut(row)
                        .apply(|o| *o = if nothing { 0.0 } else { *o / max });
                }
                output
            })
        })
        .hidden_by(|| OneTile { scores: dmatrix![1.0], values: dmatrix![3.0] })
        .mistake("scale-taken-back", |p| {
            p.averaged(|state| {
                let mut output = state.output();
                for (row, max) in state.max.iter().enumerate() {
                    let nothing = state.sum[row] == 0.0;
                    output
                        .row_mut(row)
                        .apply(|o| *o = if nothing { 0.0 } else { *o * max.exp() });
                }
                output
            })
        })
        .hidden_by(|| OneTile { scores: dmatrix![0.0], values: dmatrix![3.0] })
}

// Implement: what a mask leaves of a tile.

struct Corner {
    mask: Mask,
    queries: Range<usize>,
    keys: Range<usize>,
}

fn some_mask(draw: &mut Draw, queries: usize, keys: usize) -> Mask {
    match draw.pick(&["causal", "causal", "causal", "none", "allowed"]) {
        "causal" => {
            let offset = draw.size(0..=3);
            draw.show("mask", format!("Causal {{ offset: {offset} }}"));
            Mask::Causal { offset }
        }
        "none" => {
            draw.show("mask", "None");
            Mask::None
        }
        _ => {
            let allowed = draw.flags(queries, keys);
            draw.show("mask: Allowed, with 1 for true", allowed.clone());
            Mask::Allowed(allowed)
        }
    }
}

impl Corner {
    fn draw(draw: &mut Draw) -> Self {
        let mut range = |name: &str| {
            let start = draw.size(0..=5);
            let length = draw.pick(&[1, 2, 3, 2, 3, 4, 0]);
            draw.show(name, format!("{start}..{}", start + length));
            start..start + length
        };
        let [queries, keys] = [range("queries"), range("keys")];
        let mask = some_mask(draw, queries.end, keys.end);
        Corner { mask, queries, keys }
    }

    fn answer(&self) -> Answer {
        Corner::says(sight(&self.mask, &self.queries, &self.keys))
    }

    fn says(sight: Sight) -> Answer {
        Answer::of("sight", format!("{sight:?}"))
    }

    /// Of a causal mask, from two pairs of a query and a key: one that tells whether any
    /// pair is seen, one that tells whether all are.
    fn pairs(&self, pairs: fn([usize; 2], [usize; 2]) -> [[usize; 2]; 2]) -> Answer {
        let ends = |range: &Range<usize>| [range.start, range.end.wrapping_sub(1)];
        let nothing = self.queries.is_empty() || self.keys.is_empty();
        if nothing || !matches!(self.mask, Mask::Causal { .. }) {
            return self.answer();
        }
        let [any, all] = pairs(ends(&self.queries), ends(&self.keys))
            .map(|[query, key]| self.mask.sees(query, key));
        Corner::says(match (any, all) {
            (_, true) => Sight::All,
            (true, false) => Sight::Part,
            (false, false) => Sight::Nothing,
        })
    }

    fn instead(&self, of: Sight, says: Sight) -> Answer {
        let right = sight(&self.mask, &self.queries, &self.keys);
        Corner::says(if right == of { says } else { right })
    }
}

/// Which pairs of a causal tile are asked about, and what else may be said.
const OF_SIGHT: &[Dial] = &[
    dial(&[
        (
            "any-by-the-first-pair",
            "Whether anything is seen you ask of the first query and the first key: \
             the last query sees most.",
        ),
        (
            "any-by-the-last-pair",
            "Whether anything is seen you ask of the last query and the last key: the \
             first key is seen most.",
        ),
        (
            "any-by-the-farthest-pair",
            "Whether anything is seen you ask of the first query and the last key, \
             which is the last to be seen.",
        ),
        (
            "any-one-query-too-far",
            "Whether anything is seen you ask of the query behind the last: a range \
             ends before its end.",
        ),
        (
            "any-without-itself",
            "Whether anything is seen you ask as if a query did not see its own key.",
        ),
        (
            "always-something",
            "In your answer, a causal tile always has something to see.",
        ),
        (
            "any-query-before-the-last",
            "Whether anything is seen you ask of the query before the last.",
        ),
    ]),
    dial(&[
        (
            "all-by-the-first-pair",
            "Whether all is seen you ask of the first query and the first key: the \
             last key is seen least.",
        ),
        (
            "all-by-the-last-pair",
            "Whether all is seen you ask of the last query and the last key: the first \
             query sees least.",
        ),
        (
            "all-by-the-nearest-pair",
            "Whether all is seen you ask of the last query and the first key, which is \
             the first to be seen.",
        ),
        (
            "all-one-key-too-far",
            "Whether all is seen you ask of the key behind the last: a range ends \
             before its end.",
        ),
        (
            "all-without-itself",
            "Whether all is seen you ask as if a query did not see its own key.",
        ),
        ("never-all", "In your answer, a causal tile is never seen whole."),
        (
            "all-key-before-the-last",
            "Whether all is seen you ask of the key before the last.",
        ),
    ]),
    dial(&[
        ("offset-ignored", "The offset of a causal mask does not count."),
        ("offset-twice", "The offset of a causal mask counts twice."),
        ("offset-taken-away", "The offset of a causal mask is taken away, not added."),
        ("one-future-token", "A query sees one key too many under a causal mask."),
    ]),
    dial(&[
        (
            "allowed-any-for-all",
            "Of `Allowed`, one pair that is seen is enough to say All.",
        ),
        (
            "allowed-all-for-any",
            "Of `Allowed`, one pair that is hidden is enough to say Nothing.",
        ),
        ("allowed-turned", "Of `Allowed`, true and false have changed places."),
        (
            "allowed-always-part",
            "In your answer, `Allowed` is always Part, whatever it holds.",
        ),
        (
            "allowed-first-pair",
            "Of `Allowed`, only the tile's first pair is looked up.",
        ),
        (
            "allowed-whole",
            "Of `Allowed`, the whole mask is looked up, and not the tile's part.",
        ),
        (
            "allowed-at-zero",
            "Of `Allowed`, the corner at row 0 and column 0 is looked up, and not the \
             tile's.",
        ),
        ("allowed-is-all", "In your answer, `Allowed` is All, whatever it holds."),
        (
            "allowed-first-row",
            "Of `Allowed`, only the tile's first query is looked up.",
        ),
        ("allowed-last-row", "Of `Allowed`, only the tile's last query is looked up."),
        (
            "allowed-first-column",
            "Of `Allowed`, only the tile's first key is looked up.",
        ),
        ("allowed-transposed", "In `Allowed`, queries and keys have changed places."),
    ]),
    dial(&[
        ("none-is-part", "In your answer, `None` is Part: it hides nothing."),
        ("none-is-nothing", "In your answer, `None` is Nothing: it hides nothing."),
    ]),
    dial(&[
        (
            "empty-is-all",
            "In your answer, a tile without queries or keys is All: it is Nothing.",
        ),
        (
            "empty-is-part",
            "In your answer, a tile without queries or keys is Part: it is Nothing.",
        ),
    ]),
    dial(&[
        ("never-skipped", "You never say Nothing."),
        ("always-looked-up", "You never say All."),
        ("never-part", "You say Nothing where a tile is seen in part."),
        ("part-is-all", "You say All where a tile is seen in part."),
        ("all-and-nothing-swapped", "All and Nothing have changed places."),
        ("part-and-all-swapped", "Part and All have changed places."),
        ("part-and-nothing-swapped", "Part and Nothing have changed places."),
    ]),
];

/// Whether any pair of a causal tile is seen, and whether all are.
fn causal_by(p: &Corner, offset: usize, set: &[usize]) -> (bool, bool) {
    let ends = |range: &Range<usize>| [range.start, range.end - 1];
    let ([first_query, last_query], [first_key, last_key]) =
        (ends(&p.queries), ends(&p.keys));
    let sees = |query: usize, key: usize| match set[2] {
        0 => key <= query + offset,
        1 => key <= query,
        2 => key <= query + 2 * offset,
        3 => key + offset <= query,
        _ => key <= query + offset + 1,
    };
    let any = match set[0] {
        0 => sees(last_query, first_key),
        1 => sees(first_query, first_key),
        2 => sees(last_query, last_key),
        3 => sees(first_query, last_key),
        4 => sees(last_query + 1, first_key),
        5 => sees(last_query, first_key + 1),
        6 => true,
        _ => sees(last_query.saturating_sub(1), first_key),
    };
    let all = match set[1] {
        0 => sees(first_query, last_key),
        1 => sees(first_query, first_key),
        2 => sees(last_query, last_key),
        3 => sees(last_query, first_key),
        4 => sees(first_query, last_key + 1),
        5 => last_key < first_query + offset,
        6 => false,
        _ => sees(first_query, last_key.saturating_sub(1)),
    };
    (any, all)
}

fn allowed_by(p: &Corner, allowed: &DMatrix<bool>, how: usize) -> (bool, bool) {
    let shape = (p.queries.len(), p.keys.len());
    let tile = match how {
        12 => {
            let fits =
                p.keys.end <= allowed.nrows() && p.queries.end <= allowed.ncols();
            if !fits {
                does_not_fit();
            }
            allowed
                .view((p.keys.start, p.queries.start), (shape.1, shape.0))
                .into_owned()
        }
        6 => allowed.clone(),
        7 => allowed.view((0, 0), shape).into_owned(),
        _ => allowed.view((p.queries.start, p.keys.start), shape).into_owned(),
    };
    let tile = match how {
        9 => tile.rows(0, 1).into_owned(),
        10 => tile.rows(shape.0 - 1, 1).into_owned(),
        11 => tile.columns(0, 1).into_owned(),
        _ => tile,
    };
    let (any, all) = (tile.iter().any(|s| *s), tile.iter().all(|s| *s));
    match how {
        1 => (any, any),
        2 => (all, all),
        3 => (!all, !any),
        4 => (true, false),
        5 => (tile[(0, 0)], tile[(0, 0)]),
        8 => (true, true),
        _ => (any, all),
    }
}

fn sight_by(p: &Corner, set: &[usize]) -> Answer {
    use Sight::{All, Nothing, Part};
    let says = if p.queries.is_empty() || p.keys.is_empty() {
        [Nothing, All, Part][set[5]]
    } else {
        let (any, all) = match &p.mask {
            Mask::None => [(true, true), (true, false), (false, false)][set[4]],
            Mask::Causal { offset } => causal_by(p, *offset, set),
            Mask::Allowed(allowed) => allowed_by(p, allowed, set[3]),
            Mask::Window { .. } => unreachable!("no window is drawn"),
        };
        match (any, all) {
            (_, true) => All,
            (true, false) => Part,
            (false, false) => Nothing,
        }
    };
    Corner::says(match (set[6], says) {
        (1 | 7, Nothing) | (2 | 6, All) => Part,
        (3 | 7, Part) | (5, All) => Nothing,
        (4 | 6, Part) | (5, Nothing) => All,
        (_, says) => says,
    })
}

fn sight_exercise() -> Exercise<Corner> {
    Exercise::implement("sight", Corner::draw, Corner::answer)
        .dials(OF_SIGHT, sight_by)
        .mistake("corners-swapped", |p| p.pairs(|q, k| [[q[0], k[1]], [q[1], k[0]]]))
        .hidden_by(one_pair)
        .mistake("first-pair", |p| p.pairs(|q, k| [[q[0], k[0]], [q[0], k[1]]]))
        .hidden_by(one_pair)
        .mistake("last-pair", |p| p.pairs(|q, k| [[q[1], k[0]], [q[1], k[1]]]))
        .hidden_by(one_pair)
        .mistake("whole-tiles", |p| p.pairs(|q, k| [[q[0], k[0]], [q[0], k[0]]]))
        .hidden_by(one_pair)
        .mistake("one-too-far", |p| {
            p.pairs(|q, k| [[q[1] + 1, k[0]], [q[0], k[1] + 1]])
        })
        .hidden_by(unmasked_pair)
        .mistake("offset-on-the-keys", |p| match p.mask {
            Mask::Causal { offset } => {
                let keys = p.keys.start + offset..p.keys.end + offset;
                Corner::says(sight(&Mask::Causal { offset: 0 }, &p.queries, &keys))
            }
            _ => p.answer(),
        })
        .hidden_by(one_pair)
        .mistake("all-and-nothing-swapped", |p| {
            let right = sight(&p.mask, &p.queries, &p.keys);
            Corner::says(match right {
                Sight::All => Sight::Nothing,
                Sight::Nothing => Sight::All,
                Sight::Part => Sight::Part,
            })
        })
        .hidden_by(|| Corner {
            mask: Mask::Causal { offset: 0 },
            queries: 0..2,
            keys: 0..2,
        })
        .mistake("offset-ignored", |p| match p.mask {
            Mask::Causal { .. } => {
                Corner::says(sight(&Mask::Causal { offset: 0 }, &p.queries, &p.keys))
            }
            _ => p.answer(),
        })
        .hidden_by(one_pair)
        .mistake("never-skipped", |p| p.instead(Sight::Nothing, Sight::Part))
        .hidden_by(one_pair)
        .mistake("always-looked-up", |p| p.instead(Sight::All, Sight::Part))
        .hidden_by(|| Corner {
            mask: Mask::Causal { offset: 0 },
            queries: 0..2,
            keys: 0..2,
        })
}

fn one_pair() -> Corner {
    Corner { mask: Mask::Causal { offset: 0 }, queries: 2..3, keys: 1..2 }
}

fn unmasked_pair() -> Corner {
    Corner { mask: Mask::None, ..one_pair() }
}

// Implement: attention in tiles.

fn mask_of(sees: Sees) -> Mask {
    match sees {
        Sees::Everything => Mask::None,
        Sees::UpTo { offset } => Mask::Causal { offset },
        Sees::Within { offset, window } => Mask::Window { offset, window },
        Sees::Pairs(allowed) => Mask::Allowed(allowed),
    }
}

/// What a mask lets through.
fn sees_of(mask: &Mask) -> Sees {
    match mask {
        Mask::None => Sees::Everything,
        Mask::Causal { offset } => Sees::UpTo { offset: *offset },
        Mask::Allowed(allowed) => Sees::Pairs(allowed.clone()),
        Mask::Window { .. } => unreachable!("no window is drawn"),
    }
}

/// Whether a mask has an entry for each pair, if it has any.
fn is_of(mask: &Mask, shape: (usize, usize)) -> bool {
    match mask {
        Mask::Allowed(allowed) => allowed.shape() == shape,
        Mask::None | Mask::Causal { .. } | Mask::Window { .. } => true,
    }
}

struct Asked {
    q: DMatrix<f32>,
    k: DMatrix<f32>,
    v: DMatrix<f32>,
    mask: Mask,
    tile: Tile,
}

impl Asked {
    fn draw(draw: &mut Draw) -> Self {
        let [n, m] = [draw.tokens(5), draw.tokens(6)];
        let [d_k, d_v] = [draw.size(1..=4), draw.size(1..=2)];
        let tile = Tile { queries: draw.size(1..=3), keys: draw.size(1..=3) };
        let (wider, more) =
            draw.pick(&[(0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (1, 0), (0, 1)]);
        draw.show("queries, keys of a tile", vec![tile.queries, tile.keys]);
        let mask = mask_of(draw.mask(n, m));
        let (mut q, mut k) = (draw.numbers(n, d_k), draw.numbers(m, d_k + wider));
        // Where the root of the width is whole, numbers stay exact as far as that.
        let far = if [1, 4].contains(&d_k) { 40_000.0 } else { 250.0 };
        let lift = draw.pick(&[far, far, 60.0]);
        draw.lift_by(lift, &mut q, &mut k, d_k);
        draw.show("q", &q);
        draw.show("k", &k);
        let mut v = draw.numbers(m + more, d_v);
        // The last value is the one that most masks hide.
        if m > 0 && draw.rarely() == 1 {
            v.row_mut(m - 1).fill(f32::NAN);
        }
        draw.show("v", &v);
        Asked { q, k, v, mask, tile }
    }

    fn answer(&self) -> Answer {
        let (q, k, v) = (self.q.as_view(), self.k.as_view(), self.v.as_view());
        Answer::of("output", attend_tiled(q, k, v, &self.mask, self.tile))
    }

    fn heads(&self) -> Option<Vec<Headed>> {
        let Asked { q, k, v, mask, .. } = self;
        let [q, k, v] = [q.clone(), k.clone(), v.clone()];
        let sees = sees_of(mask);
        self.fits().then(|| vec![Headed { q, k, v, heads: 1, kv_heads: 1, sees }])
    }

    fn looked(&self, found: &[Found]) -> Answer {
        match found.first() {
            Some(found) => Answer::of("output", &found.context),
            None => self.answer(),
        }
    }

    fn fits(&self) -> bool {
        self.has_shapes() && is_of(&self.mask, (self.q.nrows(), self.k.nrows()))
    }

    fn has_shapes(&self) -> bool {
        self.v.nrows() == self.k.nrows() && self.q.ncols() == self.k.ncols()
    }

    /// As if the mask were another one.
    fn under(&self, mask: Mask) -> Answer {
        let (q, k, v) = (self.q.clone(), self.k.clone(), self.v.clone());
        Asked { q, k, v, mask, tile: self.tile }.answer()
    }

    /// Tile by tile, where a tile's row is measured from what `largest` says of its
    /// scores, and tiles are merged by `factors`.
    fn in_tiles(
        &self,
        largest: fn(&DMatrix<f32>, usize) -> f32,
        factors: Factors,
    ) -> Answer {
        if !self.fits() {
            return self.answer();
        }
        let scores = scores(self.q.as_view(), self.k.as_view()).unwrap();
        let mut all = State {
            max: vec![f32::MIN; self.q.nrows()],
            sum: vec![0.0; self.q.nrows()],
            weighted: DMatrix::zeros(self.q.nrows(), self.v.ncols()),
        };
        for start in (0..self.k.nrows()).step_by(self.tile.keys) {
            let keys = self.tile.keys.min(self.k.nrows() - start);
            let tile = DMatrix::from_fn(self.q.nrows(), keys, |query, key| {
                let seen = self.sees(query, start + key);
                if seen { scores[(query, start + key)] } else { f32::NEG_INFINITY }
            });
            let values = self.v.rows(start, keys).into_owned();
            let part = State::of(&tile, &values, |row| largest(&tile, row));
            all = all.merge(&part, factors);
        }
        Answer::of("output", all.output())
    }

    /// As if these pairs of a query and a key were seen.
    fn seeing(&self, sees: impl Fn(usize, usize) -> bool) -> Answer {
        let allowed = DMatrix::from_fn(self.q.nrows(), self.k.nrows(), sees);
        self.attending(&self.k, &self.v, &Mask::Allowed(allowed))
    }

    fn attending(&self, k: &DMatrix<f32>, v: &DMatrix<f32>, mask: &Mask) -> Answer {
        if !self.fits() {
            return self.answer();
        }
        let whole = attend_whole(self.q.as_view(), k.as_view(), v.as_view(), mask);
        Answer::of("output", whole.map(|attended| attended.output))
    }

    fn sees(&self, query: usize, key: usize) -> bool {
        self.mask.sees(query, key)
    }

    /// Keys, filled up with zeros to whole tiles.
    fn padded(&self) -> usize {
        self.k.nrows().next_multiple_of(self.tile.keys)
    }

    /// The tile of a query and a key: its first of either.
    fn corner(&self, query: usize, key: usize) -> (usize, usize) {
        let Tile { queries, keys } = self.tile;
        (query / queries * queries, key / keys * keys)
    }

    /// What each tile makes of the queries, one mask for all of them.
    fn per_tile(&self) -> Vec<DMatrix<f32>> {
        let tiles = (0..self.k.nrows()).step_by(self.tile.keys);
        let one = |start: usize| {
            let keys = start..(start + self.tile.keys).min(self.k.nrows());
            let (k, v) =
                (self.k.rows(start, keys.len()), self.v.rows(start, keys.len()));
            let (k, v) = (k.into_owned(), v.into_owned());
            let seen = DMatrix::from_fn(self.q.nrows(), keys.len(), |query, key| {
                self.sees(query, start + key)
            });
            let mask = Mask::Allowed(seen);
            attend_whole(self.q.as_view(), k.as_view(), v.as_view(), &mask)
                .unwrap()
                .output
        };
        tiles.map(one).collect()
    }
}

const A_NUMBER: &str = "Within a tile, hidden scores are a number, where -inf is wanted: a \
    query that sees nothing looks at its tile's keys equally, and where other scores lie \
    lower still, hidden keys take weight.";

/// Which pairs are seen in tiles, how a tile is measured, how tiles are merged, which rows
/// are written, and what is hidden with, or counted twice.
const OF_TILED: &[Dial] = &[
    dial(&[
        (
            "part-is-all",
            "A tile that is seen in part is taken whole: within it, nothing is hidden.",
        ),
        ("part-is-nothing", "A tile that is seen in part is skipped."),
        ("all-skipped", "A tile that is seen whole is skipped."),
        (
            "seen-skipped-and-hidden-taken",
            "Tiles that are seen whole are skipped, and those of which nothing is seen \
             are taken.",
        ),
        ("nothing-is-all", "A tile of which nothing is seen is taken whole."),
        ("first-key-missing", "The first key is missing: tiles begin at 1."),
        ("last-key-missing", "The last key is missing."),
        ("first-tile-missing", "The first tile of keys is missing."),
        ("last-tile-missing", "The last tile of keys is missing."),
        ("first-tile-alone", "Only the first tile of keys counts."),
        ("ragged-tile-missing", "Keys behind the last whole tile are missing."),
        (
            "mask-of-the-first-tile",
            "Every tile is hidden as if it were the first: the mask is asked about \
             positions within it.",
        ),
        ("mask-by-tile", "All of a tile is hidden or seen as its first pair is."),
        ("mask-turned", "The query and the key have changed places in the mask."),
        (
            "mask-of-the-first-queries",
            "The queries of every tile are counted from 0 in the mask.",
        ),
        (
            "mask-of-the-first-keys",
            "The keys of every tile are counted from 0 in the mask.",
        ),
        (
            "part-of-the-first-tile",
            "A tile that is seen in part is hidden as if it were the first: the mask \
             is asked about positions within it.",
        ),
        (
            "last-seen-tile-alone",
            "Only the last tile of keys that is not skipped counts: the others are \
             replaced, and not merged.",
        ),
        (
            "last-key-of-each-tile-missing",
            "The last key of each tile is missing: a range ends before its end.",
        ),
        ("first-key-of-each-tile-missing", "The first key of each tile is missing."),
        (
            "every-second-tile",
            "Every second tile of keys is missing: the loop goes two tiles on.",
        ),
        (
            "mask-on-the-diagonal-alone",
            "Only tiles that begin at the same query and key are hidden in part: others \
             that are seen in part are taken whole.",
        ),
    ]),
    dial(&[
        (
            "from-zero",
            "A query whose scores all lie far below zero has lost its weights: its \
             running maximum begins at 0, or scores below -100 or so count as hidden.",
        ),
        (
            "finite-start",
            "A query whose scores all lie below a large negative number has lost its \
             weights: its running maximum begins there, or such scores count as \
             hidden.",
        ),
        (
            "no-maximum",
            "exp is taken without subtracting a maximum: large scores are NaN, those \
             far below zero are zeros.",
        ),
        (
            "from-minus-infinity",
            "A row of a tile that is hidden throughout is -inf - (-inf), NaN.",
        ),
        (
            "exponents-capped",
            "No maximum is subtracted, and where the exponent is above 0 e to it \
             counts as 1.",
        ),
    ]),
    dial(&[
        (
            "not-rescaled",
            "What came before is not measured anew when the maximum grows.",
        ),
        ("sum-not-rescaled", "The sum is not measured anew when the maximum grows."),
        (
            "values-not-rescaled",
            "The weighted values are not measured anew when the maximum grows.",
        ),
        (
            "of-the-tile",
            "The maximum of the last tile is kept, and not the largest so far.",
        ),
        ("added", "Tiles are added up without measuring anything anew."),
        ("last-tile-alone", "Only the last tile of keys is kept."),
        (
            "outputs-added",
            "Each tile is divided by its own sum, and the tiles' outputs are added up: \
             divide once, at the end.",
        ),
        (
            "outputs-averaged",
            "Each tile is divided by its own sum, and the tiles' outputs are averaged: \
             divide once, at the end.",
        ),
        (
            "outputs-averaged-over-all",
            "Each tile is divided by its own sum, and the tiles' outputs are averaged \
             over all tiles, those that are not seen as well: divide once, at the end.",
        ),
    ]),
    dial(&[
        ("not-divided", "The output is not divided by the sum."),
        (
            "nan-where-nothing-is-seen",
            "A query that sees nothing is 0/0, NaN: its output is zeros.",
        ),
    ]),
    dial(&[
        (
            "first-queries-alone",
            "Only the first tile of queries has an output: the rest is 0.",
        ),
        (
            "ragged-queries-missing",
            "Queries behind the last whole tile have no output.",
        ),
        ("one-place", "All tiles of queries write into the first rows."),
    ]),
    dial(&[
        ("hidden-with-zero", "Within a tile, hidden scores are 0: hide with -inf."),
        ("hidden-with-a-number", A_NUMBER),
        ("hidden-with-twenty-below", A_NUMBER),
        ("hidden-with-fifty-below", A_NUMBER),
        ("hidden-with-a-hundred-below", A_NUMBER),
        ("hidden-with-a-thousand-below", A_NUMBER),
        ("hidden-with-ten-thousand-below", A_NUMBER),
    ]),
    dial(&[
        ("last-tile-twice", "The last tile of keys counts twice."),
        ("first-tile-twice", "The first tile of keys counts twice."),
        (
            "tiles-overlap",
            "Tiles overlap by one key, which counts twice: a range ends before its end.",
        ),
        ("values-of-the-first-tile", "All tiles take the values of the first one."),
    ]),
    dial(&[
        (
            "unscaled",
            "Your scores are too large by √d_k: nothing is divided by the root of a \
             key's width. `scores` does it.",
        ),
        (
            "scaled-again",
            "Your scores are too small by √d_k: they are divided by it twice. `scores` \
             divides already.",
        ),
        (
            "over-root-of-values",
            "Your scores are divided by the root of a value's width, and not by that of \
             a key's.",
        ),
        (
            "over-root-of-tile",
            "Your scores are divided by the root of a tile's keys as well.",
        ),
        ("sign-turned", "Your scores have the opposite sign."),
    ]),
    dial(&[
        ("no-mask", "The mask is not looked at."),
        ("offset-forgotten", "The offset of a causal mask is left out."),
        ("allowed-forgotten", "A causal mask is obeyed, and `Allowed` is not."),
        ("causal-forgotten", "`Allowed` is obeyed, and a causal mask is not."),
        ("one-future-token", "Under a causal mask, queries see one key too many."),
        ("not-even-itself", "Under a causal mask, queries see one key too few."),
        ("true-hides", "`Allowed` hides what it should keep: `true` is seen."),
    ]),
];

/// What a hidden score is, by the settings of a dial.
const HIDDEN: [f32; 8] =
    [f32::NEG_INFINITY, 0.0, -1e9, -20.0, -50.0, -100.0, -1e3, -1e4];

impl Asked {
    /// Whether the query sees the key, as the first dial says.
    fn sees_by(&self, how: usize, query: usize, key: usize) -> bool {
        let (n, m) = (self.q.nrows(), self.k.nrows());
        let (first_query, first_key) = self.corner(query, key);
        let pairs = || {
            let queries = first_query..(first_query + self.tile.queries).min(n);
            let keys = first_key..(first_key + self.tile.keys).min(m);
            queries.flat_map(move |q| keys.clone().map(move |k| (q, k)))
        };
        let any = || pairs().any(|(q, k)| self.sees(q, k));
        let all = || pairs().all(|(q, k)| self.sees(q, k));
        let right = self.sees(query, key);
        let last_tile = (m - 1) / self.tile.keys * self.tile.keys;
        match how {
            0 => right,
            1 => any(),
            2 => all(),
            3 => right && !all(),
            4 => !any() || (right && !all()),
            5 => right || !any(),
            6 => right && key > 0,
            7 => right && key + 1 < m,
            8 => right && first_key > 0,
            9 => right && key < last_tile,
            10 => right && first_key == 0,
            11 => right && key < m / self.tile.keys * self.tile.keys,
            12 => self.sees(query - first_query, key - first_key),
            13 => self.sees(first_query, first_key),
            14 => self.sees(key, query),
            15 => self.sees(query - first_query, key),
            16 => self.sees(query, key - first_key),
            17 => all() || (any() && self.sees(query - first_query, key - first_key)),
            19 => right && key + 1 < (first_key + self.tile.keys).min(m),
            20 => right && key > first_key,
            21 => right && (first_key / self.tile.keys).is_multiple_of(2),
            22 => right || (any() && first_query != first_key),
            _ => {
                let tiles = (first_key + self.tile.keys..m).step_by(self.tile.keys);
                let queries = first_query..(first_query + self.tile.queries).min(n);
                let seen = |start: usize| {
                    let keys = start..(start + self.tile.keys).min(m);
                    queries.clone().any(|q| keys.clone().any(|k| self.sees(q, k)))
                };
                right && !tiles.into_iter().any(seen)
            }
        }
    }

    /// What one tile gives all queries.
    fn tile_by(&self, scores: &DMatrix<f32>, start: usize, set: &[usize]) -> State {
        let overlap = usize::from(set[6] == 3);
        let keys = (self.tile.keys + overlap).min(self.k.nrows() - start);
        let sees = |query: usize, key: usize| self.sees_by(set[0], query, start + key);
        // Tiles of which nothing is seen are skipped.
        let taken = |query: usize| {
            let (first, n) = (self.corner(query, start).0, self.q.nrows());
            let queries = first..(first + self.tile.queries).min(n);
            set[5] > 0 && queries.into_iter().any(|q| (0..keys).any(|k| sees(q, k)))
        };
        let tile = DMatrix::from_fn(self.q.nrows(), keys, |query, key| {
            if sees(query, key) {
                scores[(query, start + key)]
            } else {
                HIDDEN[if taken(query) { set[5] } else { 0 }]
            }
        });
        let from_row = if set[6] == 4 { 0 } else { start };
        let values = self.v.rows(from_row, keys).into_owned();
        let from = [f32::MIN, 0.0, -1e4, f32::MIN, f32::NEG_INFINITY, f32::MIN][set[1]];
        let tile = if set[1] == 5 {
            tile.map(|s| if s.is_finite() { s.min(0.0) } else { s })
        } else {
            tile
        };
        State::of(&tile, &values, |row| match set[1] {
            3 | 5 => 0.0,
            _ => largest(&tile, row, from),
        })
    }

    fn by(&self, set: &[usize]) -> Answer {
        if !self.fits() {
            return self.answer();
        }
        if set[8] > 0 {
            let masked = self.masked_by(set[8]);
            return masked.by(&[&set[..8], &[0]].concat());
        }
        let scores = scores(self.q.as_view(), self.k.as_view()).unwrap();
        let scores = scores * self.factor_by(set[7]);
        let (n, width) = (self.q.nrows(), self.v.ncols());
        let mut all = State {
            max: vec![f32::MIN; n],
            sum: vec![0.0; n],
            weighted: DMatrix::zeros(n, width),
        };
        for start in (0..self.k.nrows()).step_by(self.tile.keys) {
            let mut part = self.tile_by(&scores, start, set);
            if set[2] > 6 {
                part.weighted = part.output();
                part.sum.iter_mut().for_each(|sum| *sum = f32::from(*sum != 0.0));
            }
            let factors = |a: f32, b: f32| {
                let [one, two] = measured(a, b);
                match set[2] {
                    0 => ([one, two], [one, two], a.max(b)),
                    1 => ([1.0, two], [1.0, two], a.max(b)),
                    2 => ([1.0, two], [one, two], a.max(b)),
                    3 => ([one, two], [1.0, two], a.max(b)),
                    4 => ([(a - b).exp(), 1.0], [(a - b).exp(), 1.0], b),
                    5 | 7..=9 => ([1.0; 2], [1.0; 2], a.max(b)),
                    _ => ([0.0, 1.0], [0.0, 1.0], b),
                }
            };
            all = all.merge(&part, factors);
            let last = start + self.tile.keys >= self.k.nrows();
            if (set[6] == 1 && last) || (set[6] == 2 && start == 0) {
                all = all.merge(&part, factors);
            }
        }
        let output = DMatrix::from_fn(n, width, |row, column| {
            let (o, sum) = (all.weighted[(row, column)], all.sum[row]);
            match (set[3], set[2]) {
                (1, _) | (_, 7) => o,
                (_, 9) => o / self.k.nrows().div_ceil(self.tile.keys) as f32,
                (0, _) if sum == 0.0 => 0.0,
                _ => o / sum,
            }
        });
        Answer::of("output", self.rows_by(&output, set[4]))
    }

    /// What all scores are multiplied by too much.
    fn factor_by(&self, how: usize) -> f32 {
        let root = |size: usize| (size as f32).sqrt();
        let own = root(self.q.ncols());
        [
            1.0,
            own,
            1.0 / own,
            own / root(self.v.ncols()),
            1.0 / root(self.tile.keys),
            -1.0,
        ][how]
    }

    /// The same under another mask, as the last dial says.
    fn masked_by(&self, how: usize) -> Asked {
        let (n, m) = (self.q.nrows(), self.k.nrows());
        let mask = match (&self.mask, how) {
            (_, 1) | (Mask::Allowed(_), 3) | (Mask::Causal { .. }, 4) => Mask::None,
            (Mask::Causal { .. }, 2) => Mask::Causal { offset: 0 },
            (Mask::Causal { offset }, 5) => Mask::Causal { offset: offset + 1 },
            (Mask::Causal { offset }, 6) => {
                Mask::Allowed(DMatrix::from_fn(n, m, |i, j| j < i + offset))
            }
            (Mask::Allowed(allowed), 7) => Mask::Allowed(allowed.map(|sees| !sees)),
            (mask, _) => mask.clone(),
        };
        let [q, k, v] = [&self.q, &self.k, &self.v].map(DMatrix::clone);
        Asked { q, k, v, mask, tile: self.tile }
    }

    /// The rows that have an output, as the last dial says.
    fn rows_by(&self, output: &DMatrix<f32>, how: usize) -> DMatrix<f32> {
        let (n, tile) = (output.nrows(), self.tile.queries);
        let mut rows = DMatrix::zeros(n, output.ncols());
        for row in 0..n {
            let to = match how {
                1 if row >= tile => continue,
                2 if row >= n / tile * tile => continue,
                3 => row % tile,
                _ => row,
            };
            rows.set_row(to, &output.row(row));
        }
        rows
    }
}

#[expect(clippy::too_many_lines, reason = "a catalogue: one entry after the other")]
fn tiled() -> Exercise<Asked> {
    Exercise::implement("tiled", Asked::draw, Asked::answer)
        .dials(OF_TILED, Asked::by)
        .attending(Asked::heads, Asked::looked)
        .mistake("padded-with-zeros", |p| {
            let (m, padded) = (p.k.nrows(), p.padded());
            let fill =
                |matrix: &DMatrix<f32>| matrix.clone().resize_vertically(padded, 0.0);
            let seen = |query, key| key >= m || p.sees(query, key);
            let allowed = DMatrix::from_fn(p.q.nrows(), padded, seen);
            p.attending(&fill(&p.k), &fill(&p.v), &Mask::Allowed(allowed))
        })
        .hidden_by(whole_tiles)
        .mistake("last-left-out", |p| {
            let whole = p.k.nrows() / p.tile.keys * p.tile.keys;
            p.seeing(|query, key| key < whole && p.sees(query, key))
        })
        .hidden_by(whole_tiles)
        .mistake("mask-of-the-first-tile", |p| {
            p.seeing(|query, key| {
                let (first_query, first_key) = p.corner(query, key);
                p.sees(query - first_query, key - first_key)
            })
        })
        .hidden_by(whole_tiles)
        .mistake("mask-by-tile", |p| {
            p.seeing(|query, key| {
                let (first_query, first_key) = p.corner(query, key);
                p.sees(first_query, first_key)
            })
        })
        .hidden_by(whole_tiles)
        .mistake("no-mask", |p| p.under(Mask::None))
        .hidden_by(whole_tiles)
        .mistake("always-causal", |p| p.under(Mask::Causal { offset: 0 }))
        .hidden_by(|| Asked { q: dmatrix![1.0, 0.0], ..one_key() })
        .mistake("offset-ignored", |p| match p.mask {
            Mask::Causal { .. } => p.under(Mask::Causal { offset: 0 }),
            _ => p.answer(),
        })
        .hidden_by(whole_tiles)
        .mistake("allowed-forgotten", |p| match p.mask {
            Mask::Allowed(_) => p.under(Mask::None),
            _ => p.answer(),
        })
        .hidden_by(whole_tiles)
        .mistake("from-zero", |p| {
            p.in_tiles(|tile, row| largest(tile, row, 0.0), right)
        })
        .hidden_by(whole_tiles)
        .mistake("finite-start", |p| {
            p.in_tiles(|tile, row| largest(tile, row, -1e4), right)
        })
        .hidden_by(whole_tiles)
        .mistake("no-maximum", |p| p.in_tiles(|_, _| 0.0, right))
        .hidden_by(whole_tiles)
        .mistake("not-rescaled", |p| {
            p.in_tiles(
                |tile, row| largest(tile, row, f32::MIN),
                |a, b| {
                    let [_, two] = measured(a, b);
                    ([1.0, two], [1.0, two], a.max(b))
                },
            )
        })
        .hidden_by(one_key)
        .mistake("sum-not-rescaled", |p| {
            p.in_tiles(
                |tile, row| largest(tile, row, f32::MIN),
                |a, b| {
                    let [one, two] = measured(a, b);
                    ([1.0, two], [one, two], a.max(b))
                },
            )
        })
        .hidden_by(one_key)
        .mistake("values-not-rescaled", |p| {
            p.in_tiles(
                |tile, row| largest(tile, row, f32::MIN),
                |a, b| {
                    let [one, two] = measured(a, b);
                    ([one, two], [1.0, two], a.max(b))
                },
            )
        })
        .hidden_by(one_key)
        .mistake("nan-where-all-is-hidden", |p| {
            p.in_tiles(
                |tile, row| largest(tile, row, f32::NEG_INFINITY),
                |a, b| {
                    let max = a.max(b);
                    let factors = [(a - max).exp(), (b - max).exp()];
                    (factors, factors, max)
                },
            )
        })
        .hidden_by(whole_tiles)
        .mistake("unscaled", |p| {
            if !p.fits() {
                return p.answer();
            }
            let q = &p.q * (p.q.ncols() as f32).sqrt();
            let (k, v) = (p.k.clone(), p.v.clone());
            Asked { q, k, v, mask: p.mask.clone(), tile: p.tile }.answer()
        })
        .hidden_by(|| Asked {
            q: dmatrix![2.0],
            k: dmatrix![1.0; 3.0],
            ..whole_tiles()
        })
        .mistake("mask-turned", |p| p.seeing(|query, key| p.sees(key, query)))
        .hidden_by(whole_tiles)
        .mistake("part-is-all", |p| {
            p.seeing(|query, key| {
                let (first_query, first_key) = p.corner(query, key);
                let queries =
                    first_query..(first_query + p.tile.queries).min(p.q.nrows());
                let keys = first_key..(first_key + p.tile.keys).min(p.k.nrows());
                queries.into_iter().any(|q| keys.clone().any(|k| p.sees(q, k)))
            })
        })
        .hidden_by(whole_tiles)
        .mistake("averaged", |p| {
            if !p.fits() {
                return p.answer();
            }
            let tiles = p.per_tile();
            let count = tiles.len().max(1) as f32;
            let nothing = DMatrix::zeros(p.q.nrows(), p.v.ncols());
            let sum = tiles.into_iter().fold(nothing, |sum, next| sum + next);
            Answer::of("output", sum / count)
        })
        .hidden_by(one_key)
        .mistake("last-tile-alone", |p| {
            if !p.fits() {
                return p.answer();
            }
            let nothing = DMatrix::zeros(p.q.nrows(), p.v.ncols());
            Answer::of("output", p.per_tile().pop().unwrap_or(nothing))
        })
        .hidden_by(one_key)
        .mistake("unchecked", |p| {
            if p.has_shapes() || p.k.is_empty() && p.v.is_empty() {
                return p.answer();
            }
            does_not_fit()
        })
        .hidden_by(whole_tiles)
}

fn whole_tiles() -> Asked {
    let (q, k) = (dmatrix![1.0, 0.0; 2.0, 1.0], dmatrix![1.0, 2.0; 0.0, 1.0]);
    let tile = Tile { queries: 2, keys: 1 };
    Asked { q, k, v: dmatrix![1.0; 2.0], mask: Mask::None, tile }
}

fn one_key() -> Asked {
    let (q, k) = (dmatrix![1.0, 0.0; 2.0, 1.0], dmatrix![1.0, 2.0]);
    let tile = Tile { queries: 2, keys: 2 };
    Asked { q, k, v: dmatrix![3.0], mask: Mask::None, tile }
}

// Implement: decoding. The keys repeat, so that there can be more than a chunk of them.

struct Token {
    q: DMatrix<f32>,
    k: DMatrix<f32>,
    v: DMatrix<f32>,
    groups: Groups,
}

impl Token {
    fn draw(draw: &mut Draw) -> Self {
        let [kv_heads, size] = [draw.size(1..=2), draw.size(1..=2)];
        let [d, d_v, keys] = [draw.size(1..=4), draw.size(1..=2), draw.tokens(3)];
        let longer = draw.pick(&[0, 0, 0, CHUNK, 0, 0, 2 * CHUNK]);
        let queries = draw.pick(&[1, 1, 1, 1, 1, 1, 1, 1, 2, 0]);
        draw.show("heads", kv_heads * size);
        draw.show("kv heads", kv_heads);
        let mut q = draw.numbers(queries, kv_heads * size * d);
        let mut all = draw.numbers(keys + 1, kv_heads * d);
        draw.lift(&mut q, &mut all, d);
        let (first, k) = (all.rows(0, 1).into_owned(), all.rows(1, keys).into_owned());
        draw.show("q", &q);
        draw.show("the first keys, all alike", &first);
        let value = draw.matrix("and their values", 1, kv_heads * d_v);
        draw.show("how many of these", longer);
        draw.show("the keys after them", &k);
        let v = draw.matrix("and values", keys, kv_heads * d_v);
        let repeated = |row: &DMatrix<f32>, last: &DMatrix<f32>| {
            DMatrix::from_fn(longer + keys, last.ncols(), |key, column| {
                if key < longer { row[column] } else { last[(key - longer, column)] }
            })
        };
        Token {
            q,
            k: repeated(&first, &k),
            v: repeated(&value, &v),
            groups: Groups::new(kv_heads * size, kv_heads).unwrap(),
        }
    }

    fn answer(&self) -> Answer {
        let (k, v) = (self.k.as_view(), self.v.as_view());
        Answer::of("output", decode(&self.q, k, v, self.groups))
    }

    /// Chapter 5's attention to some of the keys.
    fn among(&self, q: &DMatrix<f32>, keys: Range<usize>) -> DMatrix<f32> {
        let rows =
            |matrix: &DMatrix<f32>| matrix.rows(keys.start, keys.len()).into_owned();
        let (k, v) = (rows(&self.k), rows(&self.v));
        attend_groups(q, k.as_view(), v.as_view(), self.groups, &Mask::None)
            .unwrap()
            .found
    }

    /// Exponentials measured from what `from` makes of the largest score.
    fn measured_from(&self, from: fn(f32) -> f32) -> DMatrix<f32> {
        let groups = self.groups;
        let (d_k, d_v) =
            (self.k.ncols() / groups.kv_heads(), self.v.ncols() / groups.kv_heads());
        let outputs = (0..groups.heads()).flat_map(|h| {
            let g = groups.kv_head(h);
            let q = self.q.columns(h * d_k, d_k);
            let scores = scores(q, self.k.columns(g * d_k, d_k)).unwrap();
            let values = self.v.columns(g * d_v, d_v).into_owned();
            let max = from(largest(&scores, 0, f32::MIN));
            let state = State::of(&scores, &values, |_| max);
            state.output().iter().copied().collect::<Vec<_>>()
        });
        let outputs: Vec<f32> = outputs.collect();
        DMatrix::from_row_slice(1, outputs.len(), &outputs)
    }

    fn chunks(&self) -> Vec<Range<usize>> {
        let m = self.k.nrows();
        (0..m).step_by(CHUNK).map(|start| start..(start + CHUNK).min(m)).collect()
    }

    fn instead(&self, output: impl Fn() -> DMatrix<f32>) -> Answer {
        if self.q.nrows() == 1 { Answer::of("output", output()) } else { self.answer() }
    }

    /// The columns of each head taken from another one.
    fn heads_from(
        &self,
        of: &DMatrix<f32>,
        from: impl Fn(usize) -> usize,
    ) -> DMatrix<f32> {
        let width = of.ncols() / self.groups.heads();
        DMatrix::from_fn(1, of.ncols(), |_, column| {
            of[from(column / width) * width + column % width]
        })
    }
}

/// Which keys count, and how the heads of a group are laid out.
const OF_DECODE: &[Dial] = &[
    dial(&[
        ("first-chunk", "Only the first chunk of keys counts."),
        ("last-chunk", "Only the last chunk of keys counts."),
        ("newest-left-out", "The last key is missing: the token does not see itself."),
        ("oldest-left-out", "The first key is missing."),
        ("first-chunk-missing", "The first chunk of keys is missing."),
        ("last-chunk-missing", "The last chunk of keys is missing."),
        ("whole-chunks-alone", "Keys behind the last whole chunk are missing."),
        ("outputs-added", "The chunks' outputs are added up: they have to be merged."),
        (
            "outputs-averaged",
            "The chunks' outputs are averaged: they have to be merged.",
        ),
        ("last-key-of-each-chunk-missing", "The last key of each chunk is missing."),
        ("first-key-of-each-chunk-missing", "The first key of each chunk is missing."),
        ("every-second-chunk", "Every second chunk of keys is missing."),
    ]),
    dial(&[
        ("by-columns", "What the heads of a group found is read by columns."),
        ("heads-dealt-out", "Heads are dealt out to the groups in turn."),
        ("heads-reversed", "The heads' answers come in the opposite order."),
        ("groups-reversed", "The groups' answers come in the opposite order."),
        ("first-head-for-all", "All heads of a group have the first one's answer."),
        ("first-group-for-all", "All groups have the first one's answer."),
    ]),
    dial(&[
        (
            "query-by-columns",
            "The queries of a group are filled in by columns: each head is a row.",
        ),
        ("queries-of-the-first-group", "All groups ask with the first one's queries."),
        (
            "first-query-of-the-group",
            "All heads of a group ask with the first one's query.",
        ),
    ]),
];

impl Token {
    /// The keys that a setting leaves; several where each chunk is looked at by itself.
    fn keys_by(&self, how: usize) -> Vec<Vec<usize>> {
        let (m, chunks) = (self.k.nrows(), self.chunks());
        let first = chunks.first().cloned().unwrap_or(0..0);
        let last = chunks.last().cloned().unwrap_or(0..0);
        let kept =
            |keep: &dyn Fn(usize) -> bool| (0..m).filter(|key| keep(*key)).collect();
        let one: Vec<usize> = match how {
            0 => (0..m).collect(),
            1 => first.collect(),
            2 => last.collect(),
            3 => (0..m.saturating_sub(1)).collect(),
            4 => (1.min(m)..m).collect(),
            5 => (first.end..m).collect(),
            6 => (0..last.start).collect(),
            7 => (0..m / CHUNK * CHUNK).collect(),
            10 => kept(&|key| !chunks.iter().any(|chunk| chunk.end == key + 1)),
            11 => kept(&|key| !chunks.iter().any(|chunk| chunk.start == key)),
            12 => kept(&|key| (key / CHUNK).is_multiple_of(2)),
            _ => return chunks.into_iter().map(Iterator::collect).collect(),
        };
        vec![one]
    }

    /// What the heads look at; nothing where there is not one query.
    fn looks_by(&self, set: &[usize]) -> Looks {
        if self.q.nrows() != 1 {
            return Looks::Nothing;
        }
        let (heads, kv_heads) = (self.groups.heads(), self.groups.kv_heads());
        let size = self.groups.size();
        let mut asks = self.queries_by(set[2]);
        if set[1] == 2 {
            asks = self.heads_from(&asks, |head| head % size * kv_heads + head / size);
        }
        let at = |keys: Vec<usize>| Headed {
            q: asks.clone(),
            k: self.k.select_rows(&keys),
            v: self.v.select_rows(&keys),
            heads,
            kv_heads,
            sees: Sees::Everything,
        };
        Looks::At(self.keys_by(set[0]).into_iter().map(at).collect())
    }

    fn looked_by(&self, found: &[Found], set: &[usize]) -> Answer {
        if self.q.nrows() != 1 {
            return self.answer();
        }
        let sum = found.iter().map(|found| found.context.clone());
        let sum = sum.reduce(|sum, next| sum + next);
        let sum = sum.unwrap_or_else(|| self.among(&self.q, 0..0));
        let found = if set[0] == 9 { sum / found.len().max(1) as f32 } else { sum };
        Answer::of("output", self.laid_by(&found, set[1]))
    }

    fn queries_by(&self, how: usize) -> DMatrix<f32> {
        let (heads, size) = (self.groups.heads(), self.groups.size());
        let width = self.q.ncols() / heads;
        match how {
            0 => self.q.clone(),
            1 => DMatrix::from_fn(1, self.q.ncols(), |_, column| {
                let (group, at) = (column / (size * width), column % (size * width));
                let (head, feature) = (at / width, at % width);
                self.q[group * size * width + feature * size + head]
            }),
            2 => self.heads_from(&self.q, |head| head % size),
            _ => self.heads_from(&self.q, |head| head / size * size),
        }
    }

    /// The heads' answers, laid side by side as a setting says.
    fn laid_by(&self, found: &DMatrix<f32>, how: usize) -> DMatrix<f32> {
        let (size, groups) = (self.groups.size(), self.groups.kv_heads());
        // A slip of attention may give fewer heads.
        if !found.ncols().is_multiple_of(self.groups.heads()) {
            return found.clone();
        }
        match how {
            0 => found.clone(),
            1 => {
                let width = found.ncols() / self.groups.heads();
                DMatrix::from_fn(1, found.ncols(), |_, column| {
                    let (group, at) =
                        (column / (size * width), column % (size * width));
                    found[group * size * width + at % size * width + at / size]
                })
            }
            2 => self.heads_from(found, |head| head % groups * size + head / groups),
            3 => self.heads_from(found, |head| size * groups - 1 - head),
            4 => self.heads_from(found, |head| {
                (groups - 1 - head / size) * size + head % size
            }),
            5 => self.heads_from(found, |head| head / size * size),
            _ => self.heads_from(found, |head| head % size),
        }
    }
}

fn decode_exercise() -> Exercise<Token> {
    Exercise::implement("decode", Token::draw, Token::answer)
        .around(OF_DECODE, Token::looks_by, Token::looked_by)
        .mistake("first-chunk", |p| {
            p.instead(|| p.among(&p.q, p.chunks().first().cloned().unwrap_or(0..0)))
        })
        .hidden_by(one_chunk)
        .mistake("last-chunk", |p| {
            p.instead(|| p.among(&p.q, p.chunks().pop().unwrap_or(0..0)))
        })
        .hidden_by(one_chunk)
        .mistake("averaged", |p| {
            p.instead(|| {
                let chunks = p.chunks();
                let count = chunks.len().max(1) as f32;
                let each = chunks.into_iter().map(|keys| p.among(&p.q, keys));
                let sum = each.reduce(|sum, next| sum + next);
                sum.unwrap_or_else(|| p.among(&p.q, 0..0)) / count
            })
        })
        .hidden_by(one_chunk)
        .mistake("from-zero", |p| p.instead(|| p.measured_from(|max| max.max(0.0))))
        .hidden_by(one_chunk)
        .mistake("no-maximum", |p| p.instead(|| p.measured_from(|_| 0.0)))
        .hidden_by(one_chunk)
        .mistake("first-kv-head", |p| {
            p.instead(|| {
                let first = |of: &DMatrix<f32>| {
                    let width = of.ncols() / p.groups.kv_heads();
                    DMatrix::from_fn(of.nrows(), of.ncols(), |i, j| of[(i, j % width)])
                };
                let (k, v) = (first(&p.k), first(&p.v));
                let (k, v) = (k.as_view(), v.as_view());
                attend_groups(&p.q, k, v, p.groups, &Mask::None).unwrap().found
            })
        })
        .hidden_by(one_chunk)
        .mistake("newest-left-out", |p| {
            p.instead(|| p.among(&p.q, 0..p.k.nrows().saturating_sub(1)))
        })
        .mistake("heads-dealt-out", |p| {
            p.instead(|| {
                let (size, kv_heads) = (p.groups.size(), p.groups.kv_heads());
                let q = p.heads_from(&p.q, |head| head % size * kv_heads + head / size);
                let found = p.among(&q, 0..p.k.nrows());
                p.heads_from(&found, |head| head % kv_heads * size + head / kv_heads)
            })
        })
        .hidden_by(one_chunk)
        .mistake("by-columns", |p| {
            p.instead(|| {
                let found = p.among(&p.q, 0..p.k.nrows());
                let size = p.groups.size();
                let width = found.ncols() / p.groups.heads();
                DMatrix::from_fn(1, found.ncols(), |_, column| {
                    let (group, at) =
                        (column / (size * width), column % (size * width));
                    found[group * size * width + at % size * width + at / size]
                })
            })
        })
        .hidden_by(one_chunk)
        .mistake("unchecked", |p| {
            let found = p.among(&p.q, 0..p.k.nrows());
            Answer::of("output", found)
        })
        .hidden_by(one_chunk)
}

fn one_chunk() -> Token {
    let groups = Groups::new(1, 1).unwrap();
    let (q, k) = (dmatrix![1.0, 2.0], dmatrix![0.5, 1.0; 1.0, -1.0]);
    Token { q, k, v: dmatrix![3.0, 1.0; 2.0, 4.0], groups }
}

// Investigate: how often no query of a strip rises.

fn lazy() -> Exercise<()> {
    Exercise::investigate("lazy", |()| skips(independent(), STILL.after_the_first))
        .mistake("as-if-independent", |()| skips(independent(), independent()))
        .mistake("one-query", |()| skips(0.95, STILL.after_the_first))
        .mistake("any-rises", |()| {
            skips(1.0 - independent(), 1.0 - STILL.after_the_first)
        })
        .mistake("first-tile-too", |()| skips(independent(), STILL.of_all))
        .mistake("query-by-query", |()| skips(independent(), STILL.by_query))
}

fn skips(independent: f32, measured: f32) -> Answer {
    Answer::of("independent", independent).and("measured", measured)
}

/// If each of 64 queries rises in one tile of twenty.
fn independent() -> f32 {
    0.95_f32.powi(64)
}

struct Still {
    /// The share of tiles after the first in which none of a strip's queries rises.
    after_the_first: f32,
    /// The same with the first tile, in which all rise.
    of_all: f32,
    /// The share of queries that do not rise, by tiles after the first.
    by_query: f32,
}

static STILL: LazyLock<Still> = LazyLock::new(still);

fn still() -> Still {
    let (layer, x) = (minilm::Layer::load(3).unwrap(), minilm::passage().unwrap());
    let [q, k] = [&layer.q_proj, &layer.k_proj].map(|map| {
        let linear = Linear::new(map.weight.clone(), map.bias.clone()).unwrap();
        linear.forward(&x).unwrap()
    });
    let (width, n) = (layer.head_dim(), x.nrows());
    let (mut still, mut strips, mut queries, mut asked) = (0, 0, 0, 0);
    for head in 0..layer.heads {
        let columns = |m: &DMatrix<f32>| m.columns(head * width, width).into_owned();
        let (q, k) = (columns(&q), columns(&k));
        let scores = scores(q.as_view(), k.as_view()).unwrap();
        for strip in (0..n / 64).map(|strip| scores.rows(strip * 64, 64)) {
            for start in (16..n).step_by(16) {
                let tile = start..(start + 16).min(n);
                let rises = strip.row_iter().filter(|row| {
                    let highest = row.columns(start, tile.len()).max();
                    highest > row.columns(0, start).max()
                });
                let rises = rises.count();
                still += usize::from(rises == 0);
                strips += 1;
                queries += 64 - rises;
                asked += 64;
            }
        }
    }
    let tiles = n.div_ceil(16) as f32;
    let after_the_first = still as f32 / strips as f32;
    let of_all = after_the_first * (tiles - 1.0) / tiles;
    Still { after_the_first, of_all, by_query: queries as f32 / asked as f32 }
}
