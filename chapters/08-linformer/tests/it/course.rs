//! The chapter's exercises: what they ask, and what people answer instead. `course.toml`
//! has the words.

use attention::{Attended, Linear, Mask, attend, scores, softmax};
use exercises::{
    Answer, Dial, Draw, Exercise, Exercises, Found, Headed, Looks, Sees, Value, dial,
    does_not_fit, side_by_side,
};
use grouped_query::{Groups, attend_groups};
use linformer::attend_condensed;
use linformer::experiments::{influence, normal, who_uses_which};
use linformer::measured::squares_of_noise;
use linformer::{LinformerAttention, Projections, SequenceProjection, Sharing};
use multi_head::MultiHeadAttended;
use nalgebra::{DMatrix, dmatrix};
use std::sync::{Arc, LazyLock};

#[test]
fn the_exercises_keep_their_promises() {
    let folder = env!("CARGO_MANIFEST_DIR");
    println!("{}", exercises::prove(folder, &exercises()).unwrap());
}

/// In the order of `course.toml`.
pub fn exercises() -> Exercises {
    Exercises::new()
        .with(first_sun())
        .with(cut())
        .with(one_head())
        .with(condense_exercise())
        .with(sharing())
        .with(stretches())
        .with(noise())
}

// By hand: the row of the first `sun`, with sums in place of means.

fn first_sun() -> Exercise<()> {
    fn sun(
        by: [f32; 2],
        score: f32,
        share: fn(&DMatrix<f32>) -> DMatrix<f32>,
    ) -> Answer {
        let pairs = dmatrix![1.0, 1.0, 0.0, 0.0; 0.0, 0.0, 1.0, 1.0];
        let k = dmatrix![
            2.0, 0.0, 2.0, 0.0;
            2.0, 1.0, 0.0, 1.0;
            4.0, 1.0, 2.0, 1.0;
            2.0, 0.0, 2.0, 0.0
        ];
        let v = dmatrix![10.0, 0.0; 0.0, 10.0; 10.0, 10.0; 10.0, 0.0];
        let (keys, values) = (&pairs * k * by[0], &pairs * v * by[1]);
        let scores = dmatrix![1.0, 0.0, 1.0, 0.0] * keys.transpose() * score;
        let weights = share(&scores);
        let output = &weights * values;
        let answer = Answer::of("keys", keys).and("scores", scores);
        answer.and("weights", weights).and("output", output)
    }
    Exercise::by_hand("by-hand", |()| sun([1.0, 1.0], 0.5, softmaxed))
        .mistake("means", |()| sun([0.5, 0.5], 0.5, softmaxed))
        .mistake("means-of-values", |()| sun([1.0, 0.5], 0.5, softmaxed))
        .mistake("unscaled", |()| sun([1.0, 1.0], 1.0, softmaxed))
        .mistake("over-d-k", |()| sun([1.0, 1.0], 0.25, softmaxed))
        .mistake("no-exponential", |()| sun([1.0, 1.0], 0.5, |s| s / s.sum()))
}

fn softmaxed(scores: &DMatrix<f32>) -> DMatrix<f32> {
    softmax(scores.clone())
}

// Implement: the product with a projection that is cut.

struct Tokens {
    /// (r, `n_max`).
    e: DMatrix<f32>,
    /// (n, width).
    tokens: DMatrix<f32>,
}

impl Tokens {
    fn draw(draw: &mut Draw) -> Self {
        let [r, n] = [draw.size(1..=3), draw.tokens(4)];
        let more = draw.pick(&[0, 0, 1, 2]);
        let too_many = draw.rarely();
        let width = draw.size(1..=4);
        let n_max = (n + more).max(1);
        let tokens = if too_many == 1 { n_max + 1 } else { n };
        let mut e = draw.numbers(r, n_max);
        let odd = draw.pick(&[false, false, false, false, false, true]);
        // A token that no row reads may hold anything.
        if odd {
            e.column_mut(0).fill(0.0);
        }
        draw.show("E", &e);
        let mut all = draw.numbers(tokens, width);
        if odd && tokens > 0 {
            all.row_mut(0).fill(f32::NAN);
        }
        draw.show("tokens", &all);
        Tokens { e, tokens: all }
    }

    fn answer(&self) -> Answer {
        let e = SequenceProjection::new(self.e.clone()).unwrap();
        Answer::of("condensed", e.forward(self.tokens.as_view()))
    }

    fn fits(&self) -> bool {
        self.tokens.nrows() <= self.e.ncols()
    }

    /// The answer where the tokens fit.
    fn fitting(&self, condensed: impl Fn(usize) -> DMatrix<f32>) -> Answer {
        if self.fits() {
            Answer::of("condensed", condensed(self.tokens.nrows()))
        } else {
            self.answer()
        }
    }
}

/// Which columns of E, which tokens, and what is divided by.
const OF_CUT: &[Dial] = &[
    dial(&[
        ("not-cut", "E is not cut: it has a column for each of `n_max` tokens."),
        (
            "last-columns",
            "E is cut at the wrong end: token 0 belongs to its first column.",
        ),
        ("rows-cut", "E's rows are cut, and not its columns."),
        ("columns-reversed", "E's columns are taken in the opposite order."),
        ("one-column-on", "E's columns begin one too late."),
        ("transposed", "E is transposed."),
        ("softmaxed", "E's rows go through softmax: they are weights already."),
        ("row-0-for-all", "All rows are made by E's first row."),
        ("rows-reversed", "E's rows are taken in the opposite order."),
    ]),
    dial(&[
        ("one-row-short", "The last token is missing."),
        ("first-token-missing", "The first token is missing."),
        ("tokens-reversed", "The tokens come in the opposite order."),
        (
            "first-tokens-alone",
            "Only as many tokens count as E has rows: all of them are condensed.",
        ),
        ("first-token-for-all", "The first token stands for all of them."),
        ("every-second-token", "Every second token is missing."),
    ]),
    dial(&[
        ("averaged", "The sums are divided by the number of tokens."),
        ("over-n-max", "The sums are divided by `n_max`."),
        (
            "made-up-for",
            "The sums are multiplied by n_max / n, to make up for what is missing.",
        ),
        ("over-rows", "The sums are divided by the number of rows of E."),
        ("over-the-weights", "The sums are divided by the weights' sum."),
        ("over-the-root", "The sums are divided by the root of the number of tokens."),
        (
            "over-the-absolute-weights",
            "The sums are divided by the weights' sum without their signs.",
        ),
        ("over-root-of-rows", "The sums are divided by the root of the rows of E."),
    ]),
    dial(&[
        (
            "one-refused-too-early",
            "A text that is exactly as long as E is wide is refused: n may be equal to \
             `n_max`.",
        ),
        (
            "shorter-refused",
            "A text that is shorter than E is wide is refused: only longer ones do not \
             fit.",
        ),
        ("none-refused", "A text without tokens is refused: it gives zeros."),
    ]),
    dial(&[
        (
            "nan-leaks",
            "A NaN in a token that a row gives weight 0 is in your result: 0 times NaN is \
             NaN. `average` leaves such tokens out.",
        ),
        (
            "rows-of-sum-one",
            "The rows of E are divided by their sums, where these are not 0: they are \
             weights as they stand.",
        ),
        (
            "rows-cut-too",
            "Where there are fewer tokens than E has rows, the rows behind them are \
             missing: only columns are cut.",
        ),
    ]),
];

fn cut_by(p: &Tokens, set: &[usize]) -> Answer {
    let (n, n_max) = (p.tokens.nrows(), p.e.ncols());
    let refused = match set[3] {
        1 => n >= n_max,
        2 => n < n_max,
        3 => n == 0,
        _ => false,
    };
    if !p.fits() {
        return p.answer();
    }
    if refused {
        return Answer::of("condensed", Value::Refused("no room".to_owned()));
    }
    let columns = |range: std::ops::Range<usize>| {
        if range.end > n_max {
            does_not_fit();
        }
        p.e.columns(range.start, range.len()).into_owned()
    };
    let e = match set[0] {
        0 => columns(0..n),
        1 => p.e.clone(),
        2 => columns(n_max - n..n_max),
        3 => p.e.rows(0, n.min(p.e.nrows())).into_owned(),
        4 => DMatrix::from_fn(p.e.nrows(), n, |row, j| p.e[(row, n - 1 - j)]),
        5 => columns(1..n + 1),
        7 => softmax(columns(0..n)),
        8 => DMatrix::from_fn(p.e.nrows(), n, |_, j| p.e[(0, j)]),
        9 => DMatrix::from_fn(p.e.nrows(), n, |i, j| p.e[(p.e.nrows() - 1 - i, j)]),
        _ => p.e.transpose(),
    };
    let (e, tokens) = match set[1] {
        0 => (e, p.tokens.clone()),
        1 => (e.columns(0, n - 1).into_owned(), p.tokens.rows(0, n - 1).into_owned()),
        2 => (e.columns(1, n - 1).into_owned(), p.tokens.rows(1, n - 1).into_owned()),
        4 => {
            let few = n.min(p.e.nrows());
            (e.columns(0, few).into_owned(), p.tokens.rows(0, few).into_owned())
        }
        5 => {
            let first = |_: usize, j: usize| p.tokens[(0, j)];
            (e, DMatrix::from_fn(n, p.tokens.ncols(), first))
        }
        6 => {
            let kept: Vec<usize> = (0..n).step_by(2).collect();
            (e.select_columns(&kept), p.tokens.select_rows(&kept))
        }
        _ => {
            let turned = |i: usize, j: usize| p.tokens[(n - 1 - i, j)];
            (e, DMatrix::from_fn(n, p.tokens.ncols(), turned))
        }
    };
    if e.ncols() != tokens.nrows() {
        does_not_fit();
    }
    let condensed = DMatrix::from_fn(e.nrows(), tokens.ncols(), |row, column| {
        let product = |token: usize| {
            let (weight, number) = (e[(row, token)], tokens[(token, column)]);
            let read = weight != 0.0 || set[4] == 1;
            if read { weight * number } else { 0.0 }
        };
        let sum: f32 = (0..tokens.nrows()).map(product).sum();
        let of_row = e.row(row).sum();
        let by = match set[2] {
            0 if set[4] == 2 && of_row != 0.0 => of_row,
            0 => 1.0,
            1 => n as f32,
            2 => n_max as f32,
            3 => n as f32 / n_max as f32,
            4 => p.e.nrows() as f32,
            5 => e.row(row).sum(),
            6 => (n as f32).sqrt(),
            7 => e.row(row).abs().sum(),
            _ => (p.e.nrows() as f32).sqrt(),
        };
        sum / by
    });
    let rows = if set[4] == 3 { condensed.nrows().min(n) } else { condensed.nrows() };
    Answer::of("condensed", condensed.rows(0, rows).into_owned())
}

fn cut() -> Exercise<Tokens> {
    Exercise::implement("cut", Tokens::draw, Tokens::answer)
        .dials(OF_CUT, cut_by)
        .mistake("not-cut", |p| p.fitting(|_| &p.e * &p.tokens))
        .hidden_by(full_length)
        .mistake("last-columns", |p| {
            p.fitting(|n| p.e.columns(p.e.ncols() - n, n) * &p.tokens)
        })
        .hidden_by(full_length)
        .mistake("rows-cut", |p| {
            p.fitting(|n| p.e.rows(0, n.min(p.e.nrows())) * &p.tokens)
        })
        .hidden_by(full_length)
        .mistake("padded", |p| {
            p.fitting(|n| {
                let padded =
                    DMatrix::from_fn(p.e.ncols(), p.tokens.ncols(), |row, column| {
                        let last = p.tokens.get((row.min(n.max(1) - 1), column));
                        last.copied().unwrap_or(0.0)
                    });
                &p.e * padded
            })
        })
        .hidden_by(full_length)
        .mistake("made-up-for", |p| {
            p.fitting(|n| {
                let missing = p.e.ncols() as f32 / n as f32;
                p.e.columns(0, n) * &p.tokens * missing
            })
        })
        .hidden_by(full_length)
        .mistake("averaged", |p| {
            p.fitting(|n| p.e.columns(0, n) * &p.tokens / (n.max(1) as f32))
        })
        .hidden_by(|| Tokens { e: dmatrix![2.0], tokens: dmatrix![3.0] })
        .mistake("one-row-short", |p| {
            p.fitting(|n| {
                let cut = n.saturating_sub(1);
                p.e.columns(0, cut) * p.tokens.rows(0, cut)
            })
        })
        .mistake("one-refused-too-early", |p| {
            if p.tokens.nrows() < p.e.ncols() {
                p.answer()
            } else {
                Answer::of("condensed", Value::Refused("no room".to_owned()))
            }
        })
        .mistake("features", |p| p.fitting(|_| &p.tokens * p.e.transpose()))
        .hidden_by(|| Tokens { e: dmatrix![2.0], tokens: dmatrix![3.0] })
        .mistake("truncated", |p| {
            let n = p.tokens.nrows().min(p.e.ncols());
            Answer::of("condensed", p.e.columns(0, n) * p.tokens.rows(0, n))
        })
        .hidden_by(full_length)
        .mistake("unchecked", |p| {
            if !p.fits() {
                does_not_fit();
            }
            p.answer()
        })
        .hidden_by(full_length)
}

fn full_length() -> Tokens {
    Tokens {
        e: dmatrix![1.0, 2.0; 0.5, -1.0],
        tokens: dmatrix![3.0, 1.0, 0.0; 0.0, 2.0, 1.0],
    }
}

// Implement: one head.

struct Head {
    q: DMatrix<f32>,
    k: DMatrix<f32>,
    v: DMatrix<f32>,
    /// (r, `n_max`).
    e: DMatrix<f32>,
    f: DMatrix<f32>,
}

impl Head {
    fn draw(draw: &mut Draw) -> Self {
        let [queries, n] = [draw.tokens(3), draw.size(1..=4)];
        let [d_k, d_v] = [draw.size(1..=4), draw.size(1..=3)];
        let r = draw.size(1..=3);
        let more = draw.rarely();
        let too_many = draw.rarely();
        let tokens = n + too_many * (more + 1);
        // Scores beyond what exp can take.
        let size = draw.pick(&[1.0, 1.0, 1.0, 1.0, 64.0]);
        let q = draw.numbers(queries, d_k) * size;
        draw.show("q", &q);
        Head {
            q,
            k: draw.matrix("k", tokens, d_k),
            v: draw.matrix("v", tokens, d_v),
            e: draw.matrix("E", r, n + more),
            f: draw.matrix("F", r, n + more),
        }
    }

    fn answer(&self) -> Answer {
        self.with(&self.v, &self.e, &self.f)
    }

    fn with(&self, v: &DMatrix<f32>, e: &DMatrix<f32>, f: &DMatrix<f32>) -> Answer {
        let [e, f] = [e, f].map(|e| SequenceProjection::new(e.clone()).unwrap());
        let (q, k, v) = (self.q.as_view(), self.k.as_view(), v.as_view());
        Head::parts(attend_condensed(q, k, v, &e, &f))
    }

    fn parts<E: std::fmt::Display>(attended: Result<Attended, E>) -> Answer {
        let parts = |Attended { output, weights }| {
            Answer::of("weights", weights).and("output", output)
        };
        Answer::try_of("refused", attended.map(parts))
    }

    /// E or F without the columns of tokens that are not there.
    fn cut(&self, e: &DMatrix<f32>) -> DMatrix<f32> {
        e.columns(0, self.k.nrows()).into_owned()
    }

    /// A condensed matrix, where there are not too many tokens.
    fn step(&self, e: &DMatrix<f32>, of: &DMatrix<f32>) -> Value {
        let fits = self.k.nrows() <= self.e.ncols();
        fits.then(|| self.cut(e) * of).ok_or("too many tokens").into()
    }

    /// The answer where the tokens fit, attention to these.
    fn attending(&self, roles: impl Fn() -> [DMatrix<f32>; 3], mask: &Mask) -> Answer {
        if self.k.nrows() > self.e.ncols() {
            return self.answer();
        }
        let [q, k, v] = roles();
        Head::parts(attend(q.as_view(), k.as_view(), v.as_view(), mask))
    }

    fn looked(&self, found: &[Found]) -> Answer {
        let [Found { context, weights }] = found else { return self.answer() };
        Answer::of("weights", &weights[0]).and("output", context)
    }

    fn condensed(&self) -> [DMatrix<f32>; 3] {
        [self.q.clone(), self.cut(&self.e) * &self.k, self.cut(&self.f) * &self.v]
    }
}

/// What keys and values are condensed by, and what is condensed.
const OF_ATTEND: &[Dial] = &[
    dial(&[
        ("keys-by-f", "The keys are condensed by F: E is theirs."),
        ("keys-not-condensed", "The keys are not condensed."),
        ("values-for-keys", "E condenses the values, where the keys belong."),
        ("keys-averaged", "The condensed keys are divided by the number of tokens."),
        ("keys-by-both", "The keys are condensed by E and F together: E is theirs."),
        ("keys-by-last-columns", "For the keys, E is cut at the wrong end."),
    ]),
    dial(&[
        ("values-by-e", "The values are condensed by E: F is theirs."),
        ("values-not-condensed", "The values are not condensed."),
        ("keys-for-values", "F condenses the keys, where the values belong."),
        (
            "values-averaged",
            "The condensed values are divided by the number of tokens.",
        ),
        (
            "values-by-both",
            "The values are condensed by E and F together: F is theirs.",
        ),
        ("values-by-last-columns", "For the values, F is cut at the wrong end."),
        (
            "values-cut-off",
            "The first rows of the values are taken, as many as F has rows: F condenses \
             them.",
        ),
    ]),
    dial(&[
        ("queries-too", "The queries are condensed as well."),
        ("causal", "A causal mask lies on the condensed keys: row r of E is no token."),
        ("places-swapped", "Condensed keys and values have changed places."),
        (
            "both-averaged",
            "Condensed keys and values are divided by the number of tokens.",
        ),
        ("both-by-last-columns", "E and F are cut at the wrong end."),
    ]),
];

fn looks_by(p: &Head, set: &[usize]) -> Looks {
    let n = p.k.nrows();
    if n > p.e.ncols() {
        return Looks::Nothing;
    }
    let by = |e: &DMatrix<f32>, of: &DMatrix<f32>| p.cut(e) * of;
    let late = |e: &DMatrix<f32>, of: &DMatrix<f32>| e.columns(e.ncols() - n, n) * of;
    let k = match set[0] {
        0 if set[2] == 4 => by(&p.e, &p.k) / n as f32,
        0 if set[2] == 5 => late(&p.e, &p.k),
        4 => by(&p.e, &p.k) / n as f32,
        5 => by(&(&p.e + &p.f), &p.k),
        6 => late(&p.e, &p.k),
        0 => by(&p.e, &p.k),
        1 => by(&p.f, &p.k),
        2 => p.k.clone(),
        _ => by(&p.e, &p.v),
    };
    let v = match set[1] {
        0 if set[2] == 4 => by(&p.f, &p.v) / n as f32,
        0 if set[2] == 5 => late(&p.f, &p.v),
        4 => by(&p.f, &p.v) / n as f32,
        5 => by(&(&p.e + &p.f), &p.v),
        6 => late(&p.f, &p.v),
        0 => by(&p.f, &p.v),
        1 => by(&p.e, &p.v),
        2 => p.v.clone(),
        7 => p.v.clone().resize_vertically(p.f.nrows(), 0.0),
        _ => by(&p.f, &p.k),
    };
    let q = match set[2] {
        1 if p.q.nrows() > p.e.ncols() => return Looks::Misfit,
        1 => p.e.columns(0, p.q.nrows()) * &p.q,
        _ => p.q.clone(),
    };
    let [k, v] = if set[2] == 3 { [v, k] } else { [k, v] };
    let sees = if set[2] == 2 { Sees::UpTo { offset: 0 } } else { Sees::Everything };
    Looks::At(vec![Headed { q, k, v, heads: 1, kv_heads: 1, sees }])
}

fn one_head() -> Exercise<Head> {
    Exercise::implement("attend", Head::draw, Head::answer)
        .around(OF_ATTEND, looks_by, |p, found, _| p.looked(found))
        .step("E k", |p| p.step(&p.e, &p.k))
        .step("F v", |p| p.step(&p.f, &p.v))
        .mistake("not-condensed", |p| {
            p.attending(|| [p.q.clone(), p.k.clone(), p.v.clone()], &Mask::None)
        })
        .hidden_by(identities)
        .mistake("softmax-over-n", |p| {
            if p.k.nrows() > p.e.ncols() {
                return p.answer();
            }
            let map = softmax(scores(p.q.as_view(), p.k.as_view()).unwrap());
            let weights = map * p.cut(&p.e).transpose();
            let output = &weights * p.cut(&p.f) * &p.v;
            Answer::of("weights", weights).and("output", output)
        })
        .hidden_by(identities)
        .mistake("causal", |p| {
            p.attending(|| p.condensed(), &Mask::Causal { offset: 0 })
        })
        .hidden_by(one_row)
        .mistake("keys-for-values", |p| {
            let same = |e: &DMatrix<f32>| p.cut(e) * &p.k;
            p.attending(|| [p.q.clone(), same(&p.e), same(&p.e)], &Mask::None)
        })
        .hidden_by(keys_are_values)
        .mistake("e-for-both", |p| p.with(&p.v, &p.e, &p.e))
        .hidden_by(identities)
        .mistake("e-and-f-swapped", |p| p.with(&p.v, &p.f, &p.e))
        .hidden_by(identities)
        .mistake("values-as-keys", |p| {
            p.attending(
                || {
                    let [q, k, v] = p.condensed();
                    [q, v, k]
                },
                &Mask::None,
            )
        })
        .hidden_by(keys_are_values)
        .mistake("keys-condensed-alone", |p| {
            p.attending(
                || {
                    let [q, k, _] = p.condensed();
                    [q, k, p.v.clone()]
                },
                &Mask::None,
            )
        })
        .hidden_by(identities)
        .mistake("values-condensed-alone", |p| {
            p.attending(
                || {
                    let [q, _, v] = p.condensed();
                    [q, p.k.clone(), v]
                },
                &Mask::None,
            )
        })
        .hidden_by(identities)
        .mistake("unscaled", |p| {
            p.attending(
                || {
                    let [q, k, v] = p.condensed();
                    let root = (q.ncols() as f32).sqrt();
                    [q * root, k, v]
                },
                &Mask::None,
            )
        })
        .hidden_by(one_row)
        .mistake("queries-too", |p| {
            let queries = |q: &DMatrix<f32>| {
                if q.nrows() > p.e.ncols() {
                    does_not_fit();
                }
                p.e.columns(0, q.nrows()) * q
            };
            p.attending(
                || {
                    let [q, k, v] = p.condensed();
                    [queries(&q), k, v]
                },
                &Mask::None,
            )
        })
        .hidden_by(identities)
        .mistake("scaled-again", |p| {
            p.attending(
                || {
                    let [q, k, v] = p.condensed();
                    let root = (q.ncols() as f32).sqrt();
                    [q / root, k, v]
                },
                &Mask::None,
            )
        })
        .hidden_by(one_row)
}

fn identities() -> Head {
    let [e, f] = [DMatrix::identity(2, 2), DMatrix::identity(2, 2)];
    let (q, k) = (dmatrix![1.0, 0.0; 2.0, 1.0], dmatrix![1.0, 2.0; 0.0, 1.0]);
    Head { q, k, v: dmatrix![1.0; 2.0], e, f }
}

fn one_row() -> Head {
    let (q, k) = (dmatrix![1.0, 0.0; 2.0, 1.0], dmatrix![1.0, 2.0; 0.0, 1.0]);
    let (e, f) = (dmatrix![1.0, -1.0], dmatrix![0.5, 2.0]);
    Head { q, k, v: dmatrix![1.0; 2.0], e, f }
}

fn keys_are_values() -> Head {
    let (q, k) = (dmatrix![1.0, 0.0; 2.0, 1.0], dmatrix![1.0, 2.0; 0.0, 1.0]);
    let e = dmatrix![1.0, -1.0; 0.5, 2.0];
    Head { q, v: k.clone(), k, f: e.clone(), e }
}

// Implement: condensing the columns of every head. The maps of the layer are identities,
// so that its keys and values are the tokens.

struct Layer {
    heads: usize,
    x: DMatrix<f32>,
    e: Vec<DMatrix<f32>>,
    f: Vec<DMatrix<f32>>,
}

impl Layer {
    fn draw(draw: &mut Draw) -> Self {
        let [heads, width, n] = [draw.size(1..=3), draw.size(1..=3), draw.size(1..=4)];
        let r = draw.size(1..=3);
        let more = draw.pick(&[0, 0, 0, 1, 2]);
        let own = if draw.pick(&[true, true, false]) { heads } else { 1 };
        draw.show("heads", heads);
        let x = draw.matrix("x = q = k = v, all heads", n, heads * width);
        let mut each = |name: &str| {
            let one = |h| draw.matrix(&format!("{name} {h}"), r, n + more);
            (0..own).map(one).collect()
        };
        Layer { heads, x, e: each("E"), f: each("F") }
    }

    fn answer(&self) -> Answer {
        let identity = || {
            let width = self.x.ncols();
            Linear::new(DMatrix::identity(width, width), None).unwrap()
        };
        let shared = |all: &[DMatrix<f32>]| {
            let one = |e: &DMatrix<f32>| SequenceProjection::new(e.clone()).unwrap();
            all.iter().map(one).map(Arc::new).collect::<Vec<_>>()
        };
        let projections = Projections::new(shared(&self.e), shared(&self.f)).unwrap();
        let groups = Groups::new(self.heads, self.heads).unwrap();
        let [q, k, v, out] = [identity(), identity(), identity(), identity()];
        let layer = LinformerAttention::new(q, k, Some(v), out, projections, groups);
        let found = layer.unwrap().forward(&self.x);
        let parts = |found: MultiHeadAttended| {
            Answer::of("output", found.output)
                .and("weights", side_by_side(&found.weights))
        };
        Answer::try_of("refused", found.map(parts))
    }

    /// As if each head's columns were condensed by what `pick` takes for it.
    fn each<'a>(
        &'a self,
        pick: impl Fn(&'a [DMatrix<f32>], usize) -> &'a DMatrix<f32>,
    ) -> Answer {
        let width = self.x.ncols() / self.heads;
        self.condensed(|all| {
            let one = |h| {
                let columns = self.x.columns(h * width, width);
                pick(all, h).columns(0, self.x.nrows()) * columns
            };
            side_by_side(&(0..self.heads).map(one).collect::<Vec<_>>())
        })
    }

    /// The rest of the layer, with keys and values condensed like this.
    fn condensed<'a>(
        &'a self,
        by: impl Fn(&'a [DMatrix<f32>]) -> DMatrix<f32>,
    ) -> Answer {
        let groups = Groups::new(self.heads, self.heads).unwrap();
        let (k, v) = (by(&self.e), by(&self.f));
        let found =
            attend_groups(&self.x, k.as_view(), v.as_view(), groups, &Mask::None)
                .unwrap();
        Answer::of("output", found.found).and("weights", side_by_side(&found.weights))
    }
}

fn own(all: &[DMatrix<f32>], head: usize) -> &DMatrix<f32> {
    &all[head % all.len()]
}

/// Which projection a head has, which columns it condenses, and where they go.
const OF_CONDENSE: &[Dial] = &[
    dial(&[
        ("first-for-all", "All heads are condensed by the first projection."),
        ("last-for-all", "All heads are condensed by the last projection."),
        ("last-first", "The projections are counted from the last."),
        ("next-projection", "Each head is condensed by the projection of the next."),
    ]),
    dial(&[
        (
            "first-columns-for-all",
            "The first head's columns are condensed for all heads.",
        ),
        (
            "one-column-on",
            "Each head's columns begin one after those of the head before: head h \
             begins at column h times the width of a head.",
        ),
        ("columns-reversed", "The heads' columns are counted from the last head."),
        (
            "every-so-many",
            "Columns are dealt out to the heads in turn: a head has a run of them.",
        ),
        (
            "last-columns-for-all",
            "The last head's columns are condensed for all heads.",
        ),
    ]),
    dial(&[
        ("one-place", "All heads write into the first head's place: the rest stays 0."),
        (
            "places-one-column-on",
            "What each head gives begins one column after that of the head before, and \
             writes over it.",
        ),
        ("places-reversed", "What the heads give lies in the opposite order."),
        ("places-in-turns", "What the heads give is dealt out by column."),
        ("last-head-left-out", "The last head is not written."),
        ("first-head-left-out", "The first head is not written."),
        ("first-head-alone", "Only the first head is written."),
        ("every-second-head", "Every second head is not written."),
        (
            "added-in-the-first-place",
            "What the heads give is added up in the first head's columns, and the rest \
             is 0.",
        ),
        (
            "places-of-the-next-head",
            "What each head gives lies in the next one's place.",
        ),
    ]),
    dial(&[
        ("averaged", "The sums are divided by the number of tokens."),
        ("over-the-heads", "The sums are divided by the number of heads."),
        ("over-the-rows", "The sums are divided by the number of rows of E."),
    ]),
    dial(&[
        (
            "last-columns",
            "E is cut at the wrong end: token 0 belongs to its first column.",
        ),
        ("mean-projection", "All heads are condensed by the mean of the projections."),
        ("added-projections", "All heads are condensed by the sum of the projections."),
    ]),
];

impl Layer {
    /// What is made of all columns, by one list of projections.
    fn condensed_by(&self, all: &[DMatrix<f32>], set: &[usize]) -> DMatrix<f32> {
        let (heads, n) = (all.len(), self.x.nrows());
        let width = self.x.ncols() / heads;
        let mut condensed = DMatrix::zeros(all[0].nrows(), self.x.ncols());
        for head in 0..heads {
            let e = match set[0] {
                0 => head,
                1 => 0,
                2 => heads - 1,
                3 => heads - 1 - head,
                _ => (head + 1) % heads,
            };
            let columns: Vec<usize> = (0..width)
                .map(|i| match set[1] {
                    0 => head * width + i,
                    1 => i,
                    2 => head + i,
                    3 => (heads - 1 - head) * width + i,
                    4 => head + i * heads,
                    _ => (heads - 1) * width + i,
                })
                .collect();
            let of = match set[4] {
                0 | 1 => all[e].clone(),
                2 => all.iter().sum::<DMatrix<f32>>() / heads as f32,
                _ => all.iter().sum(),
            };
            let first = if set[4] == 1 { of.ncols() - n } else { 0 };
            let rows = of.columns(first, n) * self.x.select_columns(&columns);
            let by = [1, n, heads, of.nrows()][set[3]];
            let rows = rows / by as f32;
            for i in 0..width {
                let place = match set[2] {
                    1 => i,
                    2 => head + i,
                    3 => (heads - 1 - head) * width + i,
                    4 => head + i * heads,
                    5 if head + 1 == heads => continue,
                    6 if head == 0 => continue,
                    7 if head > 0 => continue,
                    8 if !head.is_multiple_of(2) => continue,
                    9 => {
                        let mut first = condensed.column_mut(i);
                        first += rows.column(i);
                        continue;
                    }
                    10 => (head + 1) % heads * width + i,
                    _ => head * width + i,
                };
                condensed.column_mut(place).copy_from(&rows.column(i));
            }
        }
        condensed
    }
}

fn condense_exercise() -> Exercise<Layer> {
    Exercise::implement("condense", Layer::draw, Layer::answer)
        .dials(OF_CONDENSE, |p, set| p.condensed(|all| p.condensed_by(all, set)))
        .mistake("first-for-all", |p| p.each(|all, _| &all[0]))
        .hidden_by(one_for_all)
        .mistake("last-first", |p| {
            p.each(|all, head| &all[all.len() - 1 - head % all.len()])
        })
        .hidden_by(one_for_all)
        .mistake("first-head-alone", |p| {
            let width = p.x.ncols() / p.e.len();
            p.condensed(|all| {
                let cut = all[0].columns(0, p.x.nrows());
                let mut condensed = cut * &p.x;
                condensed.columns_range_mut(width..).fill(0.0);
                condensed
            })
        })
        .hidden_by(one_for_all)
        .mistake("first-columns-for-all", |p| {
            let width = p.x.ncols() / p.e.len();
            p.condensed(|all| {
                let one = |e: &DMatrix<f32>| {
                    e.columns(0, p.x.nrows()) * p.x.columns(0, width)
                };
                side_by_side(&all.iter().map(one).collect::<Vec<_>>())
            })
        })
        .hidden_by(one_for_all)
        .mistake("every-other-column", |p| {
            p.condensed(|all| {
                let mut condensed = DMatrix::zeros(all[0].nrows(), p.x.ncols());
                for (column, mut to) in condensed.column_iter_mut().enumerate() {
                    let cut = own(all, column).columns(0, p.x.nrows());
                    to.copy_from(&(cut * p.x.column(column)));
                }
                condensed
            })
        })
        .hidden_by(one_for_all)
        .mistake("heads-added", |p| {
            p.condensed(|all| {
                let one = |e: &DMatrix<f32>| e.columns(0, p.x.nrows()) * &p.x;
                all.iter().map(one).reduce(|sum, next| sum + next).unwrap()
            })
        })
        .hidden_by(one_for_all)
}

fn one_for_all() -> Layer {
    let (e, f) = (vec![dmatrix![1.0, 2.0]], vec![dmatrix![0.5, -1.0]]);
    Layer { heads: 2, x: dmatrix![1.0, 0.0; 2.0, 3.0], e, f }
}

// Implement: who shares what.

const MODES: [Sharing; 4] =
    [Sharing::None, Sharing::Headwise, Sharing::KeyValue, Sharing::Layerwise];

struct Model {
    sharing: Sharing,
    layers: usize,
    heads: usize,
}

impl Model {
    fn draw(draw: &mut Draw) -> Self {
        let [layers, heads] = [draw.size(1..=3), draw.size(1..=3)];
        let sharing = draw.pick(&MODES);
        draw.show("sharing", format!("{sharing:?}"));
        draw.show("layers", layers);
        draw.show("heads", heads);
        Model { sharing, layers, heads }
    }

    fn answer(&self) -> Answer {
        self.shared_as(self.sharing)
    }

    /// The answer for another mode of sharing.
    fn shared_as(&self, sharing: Sharing) -> Answer {
        let (layers, heads) = (self.layers, self.heads);
        let one = SequenceProjection::mean_pooling(1, 1).unwrap();
        let mut made = 0;
        let model = Projections::of_model(sharing, layers, heads, || {
            made += 1;
            one.clone()
        });
        let parts = model.map(|model| {
            let kept = Projections::parameters(&model);
            let table = who_uses_which(sharing, layers, heads).unwrap();
            Model::parts(made, kept, table.map(|number| number as f32))
        });
        Answer::try_of("refused", parts)
    }

    fn parts(made: usize, kept: usize, table: DMatrix<f32>) -> Answer {
        Answer::of("E and F of each head, by layer", table)
            .and("matrices in memory", kept)
            .and("times that next was called", made)
    }

    /// Every use is a matrix of its own, made by one call or copied from one.
    fn all_apart(&self, made: usize) -> Answer {
        let in_a_layer = if self.sharing == Sharing::None { 2 * self.heads } else { 2 };
        let table = DMatrix::from_fn(self.layers, 2 * self.heads, |layer, column| {
            (layer * in_a_layer + column % in_a_layer) as f32
        });
        Model::parts(made, self.layers * in_a_layer, table)
    }
}

/// What each way of sharing is taken for.
const OF_SHARING: &[Dial] = &[
    dial(&[
        (
            "none-is-headwise",
            "`None` shares one E and one F among the heads of a layer: every head has \
             its own.",
        ),
        (
            "none-is-key-value",
            "`None` shares one matrix in a layer: every head has its own E and its own \
             F.",
        ),
        (
            "none-is-layerwise",
            "`None` shares one matrix in the whole model: every head has its own.",
        ),
        (
            "none-shares-e-and-f",
            "`None` takes one matrix for each head, for E and F: they are two.",
        ),
    ]),
    dial(&[
        (
            "headwise-is-none",
            "`Headwise` has matrices for each head: heads share them.",
        ),
        (
            "headwise-is-key-value",
            "`Headwise` shares E and F: they are two in a layer.",
        ),
        ("headwise-is-layerwise", "`Headwise` shares among layers: each has its own."),
    ]),
    dial(&[
        (
            "key-value-is-none",
            "`KeyValue` has matrices for each head: a layer has one.",
        ),
        ("key-value-is-headwise", "`KeyValue` keeps E and F apart: they are one."),
        ("key-value-is-layerwise", "`KeyValue` shares among layers: each has its own."),
    ]),
    dial(&[
        (
            "layerwise-is-none",
            "`Layerwise` has matrices for each head: the model has one.",
        ),
        (
            "layerwise-is-headwise",
            "`Layerwise` has an E and an F for each layer: the model has one matrix.",
        ),
        (
            "layerwise-is-key-value",
            "`Layerwise` has a matrix for each layer: the model has one.",
        ),
    ]),
    dial(&[
        ("one-layer-less", "There is one layer less than there should be."),
        ("one-layer-more", "There is one layer more than there should be."),
        ("one-layer", "There is one layer, however many the model has."),
        ("layers-and-heads-swapped", "Layers and heads have changed places."),
    ]),
    dial(&[
        ("always-none", "Nothing is shared, whatever `sharing` says."),
        ("always-headwise", "Every mode is taken for `Headwise`."),
        ("always-key-value", "Every mode is taken for `KeyValue`."),
        ("always-layerwise", "Every mode is taken for `Layerwise`."),
        (
            "headwise-and-key-value-swapped",
            "`Headwise` and `KeyValue` have changed places.",
        ),
    ]),
];

fn shared_by(p: &Model, set: &[usize]) -> Answer {
    let [none, headwise, key_value, layerwise] = MODES;
    let p = &match set[4] {
        1 => Model { layers: p.layers - 1, ..*p },
        2 => Model { layers: p.layers + 1, ..*p },
        3 => Model { layers: 1, ..*p },
        4 => Model { layers: p.heads, heads: p.layers, ..*p },
        _ => Model { ..*p },
    };
    let sharing = match (set[5], p.sharing) {
        (how @ 1..=4, _) => MODES[how - 1],
        (5, Sharing::Headwise) => key_value,
        (5, Sharing::KeyValue) => headwise,
        (_, own) => own,
    };
    let (dial, taken_for) = match sharing {
        Sharing::None => (set[0], [none, headwise, key_value, layerwise, none]),
        Sharing::Headwise => (set[1], [headwise, none, key_value, layerwise, none]),
        Sharing::KeyValue => (set[2], [key_value, none, headwise, layerwise, none]),
        Sharing::Layerwise => (set[3], [layerwise, none, headwise, key_value, none]),
    };
    if sharing == none && dial == 4 {
        let (layers, heads) = (p.layers, p.heads);
        let table = DMatrix::from_fn(layers, 2 * heads, |layer, column| {
            (layer * heads + column / 2) as f32
        });
        return Model::parts(layers * heads, layers * heads, table);
    }
    p.shared_as(taken_for[dial])
}

fn sharing() -> Exercise<Model> {
    use Sharing::{Headwise, KeyValue, Layerwise};
    Exercise::implement("sharing", Model::draw, Model::answer)
        .dials(OF_SHARING, shared_by)
        .mistake("copies", |p| p.all_apart(p.sharing.matrices(p.layers, p.heads)))
        .hidden_by(|| Model { sharing: Headwise, layers: 2, heads: 2 })
        .mistake("one-for-all-heads", |p| match p.sharing {
            Sharing::None => p.shared_as(Headwise),
            _ => p.answer(),
        })
        .hidden_by(|| Model { sharing: Sharing::None, layers: 2, heads: 1 })
        .mistake("headwise-is-one-a-head", |p| match p.sharing {
            Headwise => p.shared_as(Sharing::None),
            _ => p.answer(),
        })
        .hidden_by(|| Model { sharing: Headwise, layers: 2, heads: 1 })
        .mistake("keys-and-values-apart", |p| match p.sharing {
            KeyValue => p.shared_as(Headwise),
            _ => p.answer(),
        })
        .hidden_by(|| Model { sharing: Headwise, layers: 2, heads: 2 })
        .mistake("one-for-all-layers", |p| match p.sharing {
            KeyValue => p.shared_as(Layerwise),
            _ => p.answer(),
        })
        .hidden_by(|| Model { sharing: KeyValue, layers: 1, heads: 2 })
        .mistake("layerwise-is-one-a-layer", |p| match p.sharing {
            Layerwise => p.shared_as(KeyValue),
            _ => p.answer(),
        })
        .hidden_by(|| Model { sharing: Layerwise, layers: 1, heads: 2 })
}

// Investigate: how many pairs leak.

fn stretches() -> Exercise<()> {
    Exercise::investigate("stretches", |()| leaks([leaking(4), leaking(12)]))
        .mistake("as-with-three", |()| leaks([leaking(3), leaking(3)]))
        .mistake("both-ways", |()| leaks([2 * leaking(4), 2 * leaking(12)]))
        .mistake("itself-too", |()| leaks([leaking(4) + 12, leaking(12) + 12]))
        .mistake("all-of-the-future", |()| leaks([leaking(1), leaking(1)]))
        .mistake("one-stretch", |()| leaks([leaking(4) / 4, leaking(12) / 12]))
}

fn leaks([four, twelve]: [usize; 2]) -> Answer {
    Answer::of("four", four).and("twelve", twelve)
}

/// Pairs of an output and a later token that moves it, with `r` stretches of 12 tokens.
fn leaking(r: usize) -> usize {
    let n = 12;
    let e = SequenceProjection::mean_pooling(r, n).unwrap();
    let seen = DMatrix::from_fn(n, r, |token, row| row <= token / (n / r));
    let mask = Mask::Allowed(seen);
    let moved = influence(&normal(n, 4, 5), |x| {
        let condensed = e.forward(x.as_view())?;
        let (x, condensed) = (x.as_view(), condensed.as_view());
        Ok(attend(x, condensed, condensed, &mask)?.output)
    });
    let moved = moved.unwrap();
    let pairs = (0..n).flat_map(|i| (i + 1..n).map(move |later| (i, later)));
    pairs.filter(|pair| moved[*pair] > 0.0).count()
}

// Investigate: is noise low in rank?

fn noise() -> Exercise<()> {
    Exercise::investigate("noise", |()| {
        guessed(0.25, [0.01, 10.0].map(|d| share(d, f64::sqrt)))
    })
    .mistake("even", |()| guessed(0.25, [0.25, 0.25]))
    .mistake("squares", |()| guessed(0.25, [0.01, 10.0].map(|d| share(d, |s| s))))
    .mistake("swapped", |()| guessed(0.25, [10.0, 0.01].map(|d| share(d, f64::sqrt))))
    .mistake("first-alone", |()| guessed(0.25, [0.01, 10.0].map(first)))
}

fn guessed(guess: f32, [small, large]: [f32; 2]) -> Answer {
    let answer = Answer::of("guess", vec![guess, guess]);
    answer.and("small", small).and("large", large)
}

/// The squares for scores with a deviation of 0.01 and of 10: they take a while.
static SQUARES: LazyLock<[Vec<f64>; 2]> =
    LazyLock::new(|| [0.01, 10.0].map(squares_of_noise));

fn squares(deviation: f32) -> &'static [f64] {
    &SQUARES[usize::from(deviation > 1.0)]
}

/// What the 128 largest have of the sum of all.
fn share(deviation: f32, of: fn(f64) -> f64) -> f32 {
    let sum = |squares: &[f64]| squares.iter().map(|square| of(*square)).sum::<f64>();
    let squares = squares(deviation);
    (sum(&squares[..128]) / sum(squares)) as f32
}

fn first(deviation: f32) -> f32 {
    let sum: f64 = squares(deviation).iter().map(|square| square.sqrt()).sum();
    (squares(deviation)[0].sqrt() / sum) as f32
}
