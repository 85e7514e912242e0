//! The chapter's exercises: what they ask, and what people answer instead. `course.toml`
//! has the words.

use attention::{Attended, Mask, attend, example, scores, softmax, softmax_by_rows};
use exercises::{Answer, Draw, Exercise, Exercises, Value};
use nalgebra::{DMatrix, RowDVector, dmatrix};

#[test]
fn the_exercises_keep_their_promises() {
    let folder = env!("CARGO_MANIFEST_DIR");
    println!("{}", exercises::prove(folder, &exercises()).unwrap());
}

/// In the order of `course.toml`.
pub fn exercises() -> Exercises {
    Exercises::new()
        .with(row_of_moon())
        .with(scores_exercise())
        .with(softmax_exercise())
        .with(mask())
        .with(attend_exercise())
        .with(temperature())
}

// By hand: the row of `moon`.

fn row_of_moon() -> Exercise<()> {
    Exercise::by_hand("by-hand", |()| moon(toy_scores(), shares))
        .mistake("unscaled", |()| moon(toy_scores() * 2.0, shares))
        .mistake("over-d-k", |()| moon(toy_scores() / 2.0, shares))
        .mistake("column", |()| moon(toy_scores().transpose(), shares))
        .mistake("no-exponential", |()| moon(toy_scores(), plain_shares))
        .mistake("down-the-columns", |()| moon(toy_scores(), down_the_columns))
}

fn shares(scores: &DMatrix<f32>) -> DMatrix<f32> {
    softmax(scores.clone())
}

fn toy_scores() -> DMatrix<f32> {
    let [q, k, _] = example::toy_roles().unwrap();
    scores(q.as_view(), k.as_view()).unwrap()
}

fn moon(scores: DMatrix<f32>, share: fn(&DMatrix<f32>) -> DMatrix<f32>) -> Answer {
    let [_, _, v] = example::toy_roles().unwrap();
    let weights = share(&scores);
    let output = &weights * v;
    let [scores, weights, output] =
        [scores, weights, output].map(|m| m.row(1).into_owned());
    Answer::of("scores", &scores).and("weights", &weights).and("output", &output)
}

// Implement: scores.

struct QueriesAndKeys {
    q: DMatrix<f32>,
    k: DMatrix<f32>,
}

impl QueriesAndKeys {
    fn draw(draw: &mut Draw) -> Self {
        let [queries, keys] = [draw.size(1..=3), draw.size(1..=4)];
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

fn scores_exercise() -> Exercise<QueriesAndKeys> {
    let ask =
        |p: &QueriesAndKeys| Answer::of("scores", scores(p.q.as_view(), p.k.as_view()));
    Exercise::implement("scores", QueriesAndKeys::draw, ask)
        .step("q kᵀ", |p| {
            let fits = p.q.ncols() == p.k.ncols();
            fits.then(|| &p.q * p.k.transpose()).ok_or("the widths differ").into()
        })
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
    HiddenInPart,
    Hidden,
}

fn some_scores(draw: &mut Draw) -> DMatrix<f32> {
    let [queries, keys] = [draw.size(1..=3), draw.size(1..=4)];
    let mut scores = draw.numbers(queries, keys);
    for mut row in scores.row_iter_mut() {
        let rows = [
            Row::Ordinary,
            Row::Ordinary,
            Row::HiddenInPart,
            Row::Large,
            Row::Low,
            Row::Hidden,
        ];
        match draw.pick(&rows) {
            Row::Ordinary => {}
            Row::Large => row.add_scalar_mut(200.0),
            Row::Low => row.add_scalar_mut(-200.0),
            Row::HiddenInPart => row[0] = f32::NEG_INFINITY,
            Row::Hidden => row.fill(f32::NEG_INFINITY),
        }
    }
    draw.show("scores", &scores);
    scores
}

fn softmax_exercise() -> Exercise<DMatrix<f32>> {
    Exercise::implement("softmax", some_scores, |s| {
        Answer::of("weights", softmax_by_rows(s.clone()))
    })
    .step("each row's maximum", |s| Value::from(&row_maxima(s)))
    .step("exp(scores - maximum)", |s| Value::from(exps(s)))
    .mistake("down-the-columns", |s| Answer::of("weights", down_the_columns(s)))
    .hidden_by(|| dmatrix![1.0, 1.0; 1.0, 1.0])
    .mistake("no-maximum", |s| Answer::of("weights", over_row_sums(&s.map(f32::exp))))
    .hidden_by(|| dmatrix![1.0, 2.0, -3.0])
    .mistake("no-maximum-but-guarded", |s| {
        Answer::of("weights", guarded(&s.map(f32::exp)))
    })
    .hidden_by(|| dmatrix![1.0, 2.0, -3.0])
    .mistake("one-maximum-for-all", |s| {
        let max = s.iter().copied().fold(f32::MIN, f32::max);
        Answer::of("weights", guarded(&s.map(|s| (s - max).exp())))
    })
    .hidden_by(|| dmatrix![1.0, 2.0; 2.0, 1.0])
    .mistake("first-for-maximum", |s| {
        let exps = exps_below(s, |row| row[0]);
        Answer::of("weights", over_row_sums(&exps))
    })
    .hidden_by(|| dmatrix![1.0, 2.0, f32::NEG_INFINITY])
    .mistake("first-for-maximum-but-guarded", |s| {
        let mut exps = exps_below(s, |row| row[0]);
        for (mut row, scores) in exps.row_iter_mut().zip(s.row_iter()) {
            if scores[0] == f32::NEG_INFINITY {
                row.fill(0.0);
            }
        }
        Answer::of("weights", guarded(&exps))
    })
    .hidden_by(|| dmatrix![1.0, 2.0, f32::NEG_INFINITY])
    .mistake("maximum-from-zero", |s| {
        let exps = exps_below(s, |row| row.max().max(0.0));
        Answer::of("weights", guarded(&exps))
    })
    .hidden_by(|| dmatrix![-1.0, -2.0])
    .mistake("maximum-from-zero-unguarded", |s| {
        let exps = exps_below(s, |row| row.max().max(0.0));
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
        Answer::of("weights", over_row_sums(&exps_below(s, RowDVector::max)))
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
}

fn row_maxima(scores: &DMatrix<f32>) -> DMatrix<f32> {
    DMatrix::from_fn(scores.nrows(), 1, |row, _| scores.row(row).max())
}

fn exps(scores: &DMatrix<f32>) -> DMatrix<f32> {
    exps_below(scores, |row| row.max().max(f32::MIN))
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
        let [queries, keys] = [draw.size(1..=4), draw.size(1..=5)];
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

fn mask() -> Exercise<Masked> {
    Exercise::implement("mask", Masked::draw, Masked::answer)
        .mistake("upside-down", |p| p.causal(|query, key| key < query + p.offset))
        .hidden_by(one_token)
        .mistake("not-even-itself", |p| p.causal(|query, key| key >= query + p.offset))
        .hidden_by(everything_allowed)
        .mistake("offset-ignored", |p| p.causal(|query, key| key > query))
        .hidden_by(one_token)
        .mistake("offset-taken-away", |p| p.causal(|query, key| key + p.offset > query))
        .hidden_by(one_token)
        .mistake("zero", |p| p.hidden_has(0.0))
        .hidden_by(everything_allowed)
        .mistake("finite", |p| p.hidden_has(-1e9))
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
            Hides::TheWrongShape => panic!("nalgebra says so without a name"),
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
    mask: Mask,
}

impl Asked {
    fn draw(draw: &mut Draw) -> Self {
        let [queries, keys] = [draw.size(1..=4), draw.size(1..=4)];
        let [d_k, d_v] = [draw.size(1..=3), draw.size(1..=3)];
        let mask = draw.pick(&[Mask::None, Mask::Causal { offset: 0 }]);
        let short = draw.rarely();
        draw.show("mask", format!("{mask:?}"));
        Asked {
            q: draw.matrix("q", queries, d_k),
            k: draw.matrix("k", keys, d_k),
            v: draw.matrix("v", keys - short, d_v),
            mask,
        }
    }

    fn answer(&self) -> Answer {
        Asked::parts(attend(
            self.q.as_view(),
            self.k.as_view(),
            self.v.as_view(),
            &self.mask,
        ))
    }

    fn parts<E: std::fmt::Display>(attended: Result<Attended, E>) -> Answer {
        let parts = |Attended { output, weights }| {
            Answer::of("weights", weights).and("output", output)
        };
        Answer::try_of("refused", attended.map(parts))
    }

    fn scores(&self) -> DMatrix<f32> {
        scores(self.q.as_view(), self.k.as_view()).unwrap()
    }

    fn hidden(&self) -> DMatrix<f32> {
        let mut scores = self.scores();
        self.mask.hide(&mut scores).unwrap();
        scores
    }

    /// Whether each key has a value; if not, the answer is an error.
    fn fits(&self) -> bool {
        self.v.nrows() == self.k.nrows()
    }

    fn with_weights(&self, weights: DMatrix<f32>) -> Answer {
        if !self.fits() {
            return self.answer();
        }
        let output = &weights * &self.v;
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

fn attend_exercise() -> Exercise<Asked> {
    Exercise::implement("attend", Asked::draw, Asked::answer)
        .step("scores", |p| Value::from(scores(p.q.as_view(), p.k.as_view())))
        .step("scores, masked", |p| Value::from(p.hidden()))
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
        .mistake("no-mask", |p| p.with_weights(softmax(p.scores())))
        .hidden_by(unmasked)
        .mistake("mask-forgotten-in-weights", |p| {
            let Asked { q, k, v, .. } = p;
            let (q, k, v) = (q.as_view(), k.as_view(), v.as_view());
            let open = attend(q, k, v, &Mask::None).map(|attended| attended.weights);
            let right = attend(q, k, v, &p.mask);
            Asked::parts(right.and_then(|a| Ok(Attended { weights: open?, ..a })))
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
        .mistake("no-softmax", |p| p.with_weights(p.scores()))
        .hidden_by(certain)
        .mistake("values-by-columns", |p| p.with_output(|weights| weights.tr_mul(&p.v)))
        .hidden_by(certain)
        .mistake("keys-for-values", |p| p.with_output(|weights| weights * &p.k))
        .hidden_by(certain)
        .mistake("unchecked", |p| {
            assert!(p.fits(), "nalgebra says so without a name");
            p.answer()
        })
        .hidden_by(unmasked)
}

fn unmasked() -> Asked {
    let (q, k) = (dmatrix![3.0, 1.0], dmatrix![1.0, 2.0; 0.0, 4.0]);
    Asked { q, k, v: dmatrix![1.0; 2.0], mask: Mask::None }
}

fn one_feature() -> Asked {
    let (q, k) = (dmatrix![3.0], dmatrix![1.0; 0.5]);
    Asked { q, k, v: dmatrix![1.0; 2.0], mask: Mask::None }
}

fn certain() -> Asked {
    let (q, k, v) = (dmatrix![1.0], dmatrix![1.0], dmatrix![1.0]);
    Asked { q, k, v, mask: Mask::Causal { offset: 0 } }
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
