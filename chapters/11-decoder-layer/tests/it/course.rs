//! The chapter's exercises: what they ask, and what people answer instead. `course.toml`
//! has the words.

use attention::softmax;
use decoder_layer::experiments::Real;
use decoder_layer::{Centering, HeadNorm, open_gate, soft_cap, softmax_with_sink};
use exercises::{Answer, Draw, Exercise, Exercises};
use nalgebra::{DMatrix, DVector, dmatrix};

#[test]
fn the_exercises_keep_their_promises() {
    let folder = env!("CARGO_MANIFEST_DIR");
    println!("{}", exercises::prove(folder, &exercises()).unwrap());
}

/// In the order of `course.toml`.
pub fn exercises() -> Exercises {
    Exercises::new()
        .with(by_hand())
        .with(cap())
        .with(sink())
        .with(gate())
        .with(norm())
        .with(spared())
}

// By hand: a sink takes half.

fn by_hand() -> Exercise<()> {
    Exercise::by_hand("by-hand", |()| {
        finds(&softmax_with_sink(three_scores(), 8_f32.ln()))
    })
    .mistake("no-sink", |()| finds(&softmax(three_scores())))
    .mistake("sink-in-ones", |()| {
        let sum = 8.0 + 8_f32.ln();
        finds(&dmatrix![1.0 / sum, 2.0 / sum, 5.0 / sum])
    })
}

fn three_scores() -> DMatrix<f32> {
    dmatrix![1.0_f32, 2.0, 5.0].map(f32::ln)
}

fn finds(weights: &DMatrix<f32>) -> Answer {
    let output = weights * dmatrix![8.0; 16.0; 32.0];
    Answer::of("weights", weights).and("output", &output)
}

// Implement: a ceiling for scores.

struct Capped {
    scores: DMatrix<f32>,
    cap: f32,
}

impl Capped {
    fn draw(draw: &mut Draw) -> Self {
        let [queries, keys] = [draw.size(1..=3), draw.size(1..=4)];
        let cap = draw.pick(&[2.0, 5.0, 0.5, 50.0]);
        draw.show("cap", cap);
        let most = draw.pick(&[1.0, 10.0]);
        let scores = draw.numbers(queries, keys) * most;
        draw.show("scores", &scores);
        Capped { scores, cap }
    }

    fn by(&self, one: impl Fn(f32, f32) -> f32) -> Answer {
        Answer::of("scores", self.scores.map(|score| one(score, self.cap)))
    }

    fn right(&self) -> Answer {
        let mut scores = self.scores.clone();
        soft_cap(&mut scores, self.cap);
        Answer::of("scores", &scores)
    }
}

fn cap() -> Exercise<Capped> {
    let of_one = || Capped { scores: dmatrix![1.0, 2.0], cap: 1.0 };
    let of_nothing = || Capped { scores: dmatrix![0.0, 0.0], cap: 5.0 };
    Exercise::implement("soft-cap", Capped::draw, Capped::right)
        .mistake("not-divided", |case| case.by(|score, cap| cap * score.tanh()))
        .hidden_by(of_one)
        .mistake("not-multiplied", |case| case.by(|score, cap| (score / cap).tanh()))
        .hidden_by(of_one)
        .mistake("cut-off", |case| case.by(|score, cap| score.clamp(-cap, cap)))
        .hidden_by(of_nothing)
}

// Implement: a share for no key.

struct Sunk {
    scores: DMatrix<f32>,
    sink: f32,
}

impl Sunk {
    fn draw(draw: &mut Draw) -> Self {
        let [queries, keys] = [draw.size(1..=3), draw.size(1..=4)];
        let sink = draw.pick(&[1.0, 0.0, -2.0, 4.0, 100.0]);
        draw.show("sink", sink);
        Sunk { scores: draw.matrix("scores", queries, keys), sink }
    }

    fn given(weights: &DMatrix<f32>) -> Answer {
        Answer::of("weights", weights)
    }

    fn right(&self) -> Answer {
        Sunk::given(&softmax_with_sink(self.scores.clone(), self.sink))
    }
}

fn sink() -> Exercise<Sunk> {
    let without = || Sunk { scores: dmatrix![1.0, 2.0], sink: f32::NEG_INFINITY };
    Exercise::implement("sink", Sunk::draw, Sunk::right)
        .mistake("no-sink", |case| Sunk::given(&softmax(case.scores.clone())))
        .hidden_by(without)
        .mistake("first-key-dropped", |case| {
            let keys = case.scores.ncols();
            let all = softmax(case.scores.clone().insert_column(keys, case.sink));
            Sunk::given(&all.remove_column(0))
        })
}

// Implement: how far a gate opens.

struct Gated {
    found: DMatrix<f32>,
    gate: DMatrix<f32>,
}

impl Gated {
    fn draw(draw: &mut Draw) -> Self {
        let [tokens, features] = [draw.size(1..=3), draw.size(1..=3)];
        let more = draw.rarely();
        let found = draw.matrix("found", tokens, features);
        Gated { found, gate: draw.matrix("gate", tokens, features + more) }
    }

    fn by(&self, one: impl Fn(f32) -> f32) -> Answer {
        if self.found.shape() != self.gate.shape() {
            return self.right();
        }
        let found = self.found.zip_map(&self.gate, |found, gate| found * one(gate));
        Answer::of("found", &found).and("fits", "yes")
    }

    fn right(&self) -> Answer {
        let mut found = self.found.clone();
        match open_gate(&mut found, &self.gate) {
            Ok(()) => Answer::of("found", &found).and("fits", "yes"),
            Err(_) => Answer::of("found", &found).and("fits", "no"),
        }
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

fn gate() -> Exercise<Gated> {
    let shut = || Gated { found: dmatrix![1.0, 2.0], gate: dmatrix![0.0, 0.0] };
    Exercise::implement("gate", Gated::draw, Gated::right)
        .mistake("no-sigmoid", |case| case.by(|gate| gate))
        .mistake("upside-down", |case| case.by(|gate| sigmoid(-gate)))
        .hidden_by(shut)
        .mistake("tanh", |case| case.by(f32::tanh))
        .mistake("silu", |case| case.by(|gate| gate * sigmoid(gate)))
}

// Implement: heads of one length.

struct Normed {
    x: DMatrix<f32>,
    gain: DVector<f32>,
    span: usize,
    centering: Centering,
    eps: f32,
}

impl Normed {
    fn draw(draw: &mut Draw) -> Self {
        let [tokens, heads, span] =
            [draw.size(1..=2), draw.size(1..=3), draw.size(1..=4)];
        let centering = draw.pick(&[Centering::None, Centering::Mean]);
        let eps = draw.pick(&[0.25, 1.0]);
        let own = draw.pick(&[1, heads]);
        draw.show("span", span);
        draw.show("centering", format!("{centering:?}"));
        draw.show("eps", eps);
        let gain = draw.numbers(1, span * own).map(|gain| gain + 2.0);
        draw.show("gain", &gain);
        let x = draw.matrix("x", tokens, heads * span);
        Normed { x, gain: gain.transpose().column(0).into(), span, centering, eps }
    }

    fn right(&self) -> Answer {
        self.with(&self.gain, self.span, self.centering)
    }

    /// What the chapter's norm gives with these.
    fn with(&self, gain: &DVector<f32>, span: usize, centering: Centering) -> Answer {
        let mut x = self.x.clone();
        let norm = HeadNorm::new(gain.clone(), span, centering, self.eps);
        match norm.apply(&mut x) {
            Ok(()) => Answer::of("x", &x),
            Err(_) => Answer::of("x", "does not fit"),
        }
    }

    /// Each feature divided by what `size` makes of the features of its head.
    fn sized(&self, centering: Centering, size: impl Fn(&[f32]) -> f32) -> Answer {
        let one = |token: usize, feature: usize| {
            let first = feature / self.span * self.span;
            let head: Vec<f32> =
                self.x.view((token, first), (1, self.span)).iter().copied().collect();
            let mean = match centering {
                Centering::None => 0.0,
                Centering::Mean => head.iter().sum::<f32>() / self.span as f32,
            };
            let left: Vec<f32> = head.iter().map(|x| x - mean).collect();
            left[feature - first] / size(&left) * self.gain[feature % self.gain.len()]
        };
        Answer::of("x", DMatrix::from_fn(self.x.nrows(), self.x.ncols(), one))
    }
}

fn squares(head: &[f32]) -> f32 {
    head.iter().map(|x| x * x).sum()
}

/// One token in one head.
fn one_head(x: DMatrix<f32>, eps: f32) -> Normed {
    let (span, gain) = (x.ncols(), DVector::repeat(x.ncols(), 2.0));
    Normed { x, gain, span, centering: Centering::None, eps }
}

fn norm() -> Exercise<Normed> {
    Exercise::implement("norm", Normed::draw, Normed::right)
        .mistake("all-together", |case| {
            case.with(&case.gain, case.x.ncols(), case.centering)
        })
        .hidden_by(|| one_head(dmatrix![2.0, 1.0], 0.25))
        .mistake("sum-of-squares", |case| {
            case.sized(case.centering, |head| (squares(head) + case.eps).sqrt())
        })
        .hidden_by(|| one_head(dmatrix![2.0], 0.25))
        .mistake("eps-outside-the-root", |case| {
            case.sized(case.centering, |head| {
                (squares(head) / head.len() as f32).sqrt() + case.eps
            })
        })
        .hidden_by(|| one_head(dmatrix![2.0, 1.0], 0.0))
        .mistake("mean-kept", |case| case.with(&case.gain, case.span, Centering::None))
        .hidden_by(|| one_head(dmatrix![2.0, 1.0], 0.25))
        .mistake("no-gain", |case| {
            let gain = DVector::repeat(case.gain.len(), 1.0);
            case.with(&gain, case.span, case.centering)
        })
        .hidden_by(|| Normed {
            x: dmatrix![2.0, 1.0],
            gain: DVector::repeat(2, 1.0),
            span: 2,
            centering: Centering::None,
            eps: 0.25,
        })
}

// Investigate: a sink that takes half.

fn spared() -> Exercise<()> {
    Exercise::investigate("spared", |()| {
        scored(real_scores().iter().map(|score| score.exp()).sum::<f32>().ln())
    })
    .mistake("the-largest", |()| {
        scored(real_scores().into_iter().fold(f32::MIN, f32::max))
    })
}

fn real_scores() -> Vec<f32> {
    Real::load().unwrap().scores().unwrap()
}

fn scored(score: f32) -> Answer {
    Answer::of("guess", score).and("score", score)
}
