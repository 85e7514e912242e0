//! The chapter's exercises: what they ask, and what people answer instead. `course.toml`
//! has the words.

use attention::{Linear, Mask, softmax};
use decoding::KvCache;
use exercises::{
    Answer, Dial, Draw, Exercise, Exercises, Found, Headed, Looks, Sees, Value, dial,
    does_not_fit,
};
use grouped_query::{GroupedQueryAttention, attend_groups};
use nalgebra::{DMatrix, dmatrix};
use rotary::experiments::{HEAD_DIM, THETA, llama, ntk_aware, toy, turning_within};
use rotary::{Pairing, Rotary, RotaryAttention, permutation, prefill};
use std::f64::consts::TAU;

#[test]
fn the_exercises_keep_their_promises() {
    let folder = env!("CARGO_MANIFEST_DIR");
    println!("{}", exercises::prove(folder, &exercises()).unwrap());
}

/// In the order of `course.toml`.
pub fn exercises() -> Exercises {
    Exercises::new()
        .with(fourth_token())
        .with(features())
        .with(frequencies())
        .with(turn())
        .with(project())
        .with(prefill_exercise())
        .with(permutation_exercise())
        .with(stretch())
}

const PAIRINGS: [Pairing; 2] = [Pairing::Halves, Pairing::Neighbors];

// By hand: a fourth token.

fn fourth_token() -> Exercise<()> {
    Exercise::by_hand("by-hand", |()| finds(&four_scores(3)))
        .mistake("position-four", |()| finds(&four_scores(4)))
        .mistake("not-turned", |()| {
            let x = four();
            finds(&(&x * x.transpose() / 2.0_f32.sqrt()))
        })
        .mistake("unscaled", |()| finds(&(four_scores(3) * 2.0_f32.sqrt())))
        .mistake("key-turned-back", |()| {
            // The query is turned by its own position, and by the key's once more.
            let angle = |row: usize, x: &[f32; 2]| {
                let (sin, cos) = (row as f32).sin_cos();
                [x[0] * cos - x[1] * sin, x[0] * sin + x[1] * cos]
            };
            let tokens = [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]];
            let score = |q: usize, k: usize| {
                let [a, b] = angle(q + k, &tokens[q]);
                a * tokens[k][0] + b * tokens[k][1]
            };
            finds(&(DMatrix::from_fn(4, 4, score) / 2.0_f32.sqrt()))
        })
}

/// The worked example, and `both` after it.
fn four() -> DMatrix<f32> {
    toy().unwrap().0.resize_vertically(4, 1.0)
}

/// Scores of the four tokens, the last of which stands at this position.
fn four_scores(last: usize) -> DMatrix<f32> {
    let (x, layer) = (four(), toy().unwrap().1);
    let [first, fourth] = [(0, 0, 3), (3, last, 1)].map(|(row, at, count)| {
        layer.project(&x.rows(row, count).into_owned(), at).unwrap().q
    });
    let turned = DMatrix::from_fn(4, 2, |row, feature| match row {
        3 => fourth[feature],
        _ => first[(row, feature)],
    });
    &turned * turned.transpose() / 2.0_f32.sqrt()
}

/// What the last token finds.
fn finds(scores: &DMatrix<f32>) -> Answer {
    let values = four() * 10.0;
    let weights = softmax(scores.rows(3, 1).into_owned());
    let output = &weights * values;
    Answer::of("weights", &weights).and("output", &output)
}

// Implement: which features are a pair.

struct Pair {
    pairing: Pairing,
    i: usize,
    pairs: usize,
}

impl Pair {
    fn draw(draw: &mut Draw) -> Self {
        let pairs = draw.size(1..=6);
        let i = draw.size(0..=5).min(pairs - 1);
        let pairing = draw.pick(&PAIRINGS);
        draw.show("pairing", format!("{pairing:?}"));
        draw.show("i, pairs", vec![i, pairs]);
        Pair { pairing, i, pairs }
    }

    fn given((a, b): (usize, usize)) -> Answer {
        Answer::of("features", vec![a, b])
    }

    fn right(&self) -> Answer {
        Pair::given(self.pairing.features(self.i, self.pairs))
    }

    /// Other features of a half-split head.
    fn halves(&self, a: usize, b: usize) -> Answer {
        if self.pairing == Pairing::Halves { Pair::given((a, b)) } else { self.right() }
    }
}

/// The first and the second feature of a half-split pair, and of neighbors.
const OF_FEATURES: &[Dial] = &[
    dial(&[
        (
            "halves-first-doubled",
            "The first feature of a half-split pair is i, not 2i.",
        ),
        (
            "halves-first-one-on",
            "The first feature of a half-split pair is i, not i + 1.",
        ),
        (
            "halves-first-in-the-second",
            "The first feature of a half-split pair is in the first half.",
        ),
    ]),
    dial(&[
        (
            "halves-second-next",
            "The second feature of a half-split pair is i + pairs, not i + 1.",
        ),
        (
            "halves-second-by-half",
            "The second feature of a half-split pair is i + pairs, not i + pairs / 2.",
        ),
        (
            "halves-second-one-less",
            "The second feature of a half-split pair is i + pairs, and yours is one \
             less.",
        ),
        (
            "halves-second-one-on",
            "The second feature of a half-split pair is i + pairs, and yours is one \
             more.",
        ),
        (
            "halves-second-by-head",
            "The second feature of a half-split pair is i + pairs, not i + 2 · pairs.",
        ),
        (
            "halves-second-from-the-end",
            "The second feature of a half-split pair is i + pairs: yours counts from \
             the end.",
        ),
        (
            "halves-second-product",
            "The second feature of a half-split pair is i + pairs, not i · pairs.",
        ),
        ("halves-second-same", "Both features of a half-split pair are the same one."),
        (
            "halves-second-doubled",
            "The second feature of a half-split pair is i + pairs, not 2i + pairs.",
        ),
        (
            "halves-second-from-the-middle",
            "The second feature of a half-split pair is i + pairs, not pairs - i.",
        ),
        (
            "halves-second-middle",
            "The second feature of a half-split pair is i + pairs, not pairs itself.",
        ),
    ]),
    dial(&[
        ("neighbors-first-not-doubled", "The first of two neighbors is 2i, not i."),
        ("neighbors-first-one-on", "The first of two neighbors is 2i, not 2i + 1."),
        ("neighbors-first-one-back", "The first of two neighbors is 2i, not 2i - 1."),
        ("neighbors-first-squared", "The first of two neighbors is 2i, not i²."),
    ]),
    dial(&[
        (
            "neighbors-second-not-doubled",
            "The second of two neighbors is 2i + 1, not i + 1.",
        ),
        (
            "neighbors-second-two-on",
            "The second of two neighbors is 2i + 1, not 2i + 2.",
        ),
        (
            "neighbors-second-by-pairs",
            "The second of two neighbors is 2i + 1, not 2i + pairs.",
        ),
        (
            "neighbors-second-half",
            "The second of two neighbors is 2i + 1, not i + pairs.",
        ),
        ("neighbors-second-same", "Both features of neighbors are the same one."),
    ]),
    dial(&[("second-first", "The two features of every pair have changed places.")]),
    dial(&[
        ("i-from-the-end", "Your pairs are counted from the last."),
        ("i-from-one", "Your pairs are counted from 1: the first is pair 0."),
        ("halves-from-the-end", "Half-split pairs are counted from the last."),
        ("neighbors-from-the-end", "Neighbors are counted from the last pair."),
        (
            "halves-from-one",
            "Half-split pairs are counted from 1: the first is pair 0.",
        ),
        ("neighbors-from-one", "Neighbors are counted from 1: the first is pair 0."),
    ]),
];

fn features_by(p: &Pair, set: &[usize]) -> Answer {
    let pairs = p.pairs;
    let i = match (set[5], p.pairing) {
        (1, _) | (3, Pairing::Halves) | (4, Pairing::Neighbors) => pairs - 1 - p.i,
        (2, _) | (5, Pairing::Halves) | (6, Pairing::Neighbors) => p.i + 1,
        _ => p.i,
    };
    let (a, b) = match p.pairing {
        Pairing::Halves => (
            [i, 2 * i, i + 1, i + pairs][set[0]],
            [
                i + pairs,
                i + 1,
                i + pairs / 2,
                i + pairs - 1,
                i + pairs + 1,
                i + 2 * pairs,
                (2 * pairs - 1).wrapping_sub(i),
                i * pairs,
                i,
                2 * i + pairs,
                pairs.wrapping_sub(i),
                pairs,
            ][set[1]],
        ),
        Pairing::Neighbors => (
            [2 * i, i, 2 * i + 1, (2 * i).saturating_sub(1), i * i][set[2]],
            [2 * i + 1, i + 1, 2 * i + 2, 2 * i + pairs, i + pairs, 2 * i][set[3]],
        ),
    };
    Pair::given(if set[4] == 1 { (b, a) } else { (a, b) })
}

fn features() -> Exercise<Pair> {
    Exercise::implement("features", Pair::draw, Pair::right)
        .dials(OF_FEATURES, features_by)
        .mistake("pairings-swapped", |p| {
            Pair::given(other(p.pairing).features(p.i, p.pairs))
        })
        .hidden_by(one_pair)
        .mistake("half-of-the-pairs", |p| p.halves(p.i, p.i + p.pairs / 2))
        .hidden_by(|| Pair { pairing: Pairing::Neighbors, ..one_pair() })
        .mistake("from-both-ends", |p| p.halves(p.i, 2 * p.pairs - 1 - p.i))
        .hidden_by(one_pair)
        .mistake("one-on", |p| {
            let (a, b) = p.pairing.features(p.i, p.pairs);
            Pair::given((a + 1, b + 1))
        })
        .mistake("always-halves", |p| Pair::given((p.i, p.i + p.pairs)))
        .hidden_by(one_pair)
        .mistake("always-neighbors", |p| Pair::given((2 * p.i, 2 * p.i + 1)))
        .hidden_by(one_pair)
        .mistake("second-first", |p| {
            let (a, b) = p.pairing.features(p.i, p.pairs);
            Pair::given((b, a))
        })
        .mistake("half-one-less", |p| p.halves(p.i, p.i + p.pairs - 1))
        .mistake("halves-second-first", |p| p.halves(p.i + p.pairs, p.i))
        .mistake("neighbors-one-on", |p| match p.pairing {
            Pairing::Halves => p.right(),
            Pairing::Neighbors => Pair::given((2 * p.i + 1, 2 * p.i + 2)),
        })
        .hidden_by(one_pair)
        .mistake("next-to-it", |p| p.halves(p.i, p.i + 1))
        .hidden_by(one_pair)
        .mistake("overlapping", |p| match p.pairing {
            Pairing::Halves => p.right(),
            Pairing::Neighbors => Pair::given((p.i, p.i + 1)),
        })
        .hidden_by(|| Pair { pairing: Pairing::Neighbors, ..one_pair() })
}

fn other(pairing: Pairing) -> Pairing {
    if pairing == Pairing::Halves { Pairing::Neighbors } else { Pairing::Halves }
}

fn one_pair() -> Pair {
    Pair { pairing: Pairing::Halves, i: 0, pairs: 1 }
}

// Implement: how fast each pair turns.

struct Hands {
    head_dim: usize,
    theta: f64,
}

impl Hands {
    fn draw(draw: &mut Draw) -> Self {
        let odd = draw.rarely();
        let head_dim = 2 * draw.size(1..=4) - odd;
        let theta = draw.pick(&[1e4, 100.0, 5e5, 1e4, 100.0, 0.0, -1.0, 1.0, 0.5]);
        draw.show("head_dim", head_dim);
        draw.show("theta", theta as f32);
        Hands { head_dim, theta }
    }

    fn answer(&self) -> Answer {
        let rotary = Rotary::new(self.head_dim, self.theta, Pairing::Halves);
        let around =
            |f: &f32| if *f > 0.0 { (TAU / f64::from(*f)) as f32 } else { f32::NAN };
        let turns =
            rotary.map(|r| r.frequencies().iter().map(around).collect::<Vec<_>>());
        let other = Rotary::new(self.head_dim, self.theta, Pairing::Neighbors);
        let halves = Rotary::new(self.head_dim, self.theta, Pairing::Halves);
        let kept = if other.is_ok() && other == halves { LOST } else { KEPT };
        Answer::of("tokens for one turn", turns).and("the pairing", kept)
    }

    fn fits(&self) -> bool {
        self.head_dim.is_multiple_of(2) && self.theta > 0.0
    }

    /// The right refusals, and so many pairs at `theta` to the power of `-exponent(i)`.
    fn with(&self, pairs: usize, exponent: impl Fn(f64) -> f64) -> Answer {
        if self.fits() { self.unchecked(pairs, exponent) } else { self.answer() }
    }

    fn unchecked(&self, pairs: usize, exponent: impl Fn(f64) -> f64) -> Answer {
        let turns = |i| (TAU * self.theta.powf(exponent(i as f64))) as f32;
        Answer::of("tokens for one turn", (0..pairs).map(turns).collect::<Vec<_>>())
            .and("the pairing", KEPT)
    }

    fn pairs(&self) -> usize {
        self.head_dim / 2
    }

    fn width(&self) -> f64 {
        self.head_dim as f64
    }
}

const KEPT: &str = "kept";
const LOST: &str = "lost";

/// The exponent, the base, a factor, and how many there are.
const OF_FREQUENCIES: &[Dial] = &[
    dial(&[
        ("i-over-width", "Your exponent is i / head_dim: it is 2i / head_dim."),
        (
            "two-i-over-pairs",
            "Your exponent is 2i over the number of pairs: it is 2i over head_dim.",
        ),
        (
            "faster-and-faster",
            "Your exponent has the opposite sign: later pairs turn faster, and should \
             turn slower.",
        ),
        (
            "integer-division",
            "Your exponent is a division of whole numbers, which is 0 for every pair.",
        ),
        ("one-exponent-for-all", "Your exponent is the same for every pair."),
        (
            "from-one",
            "Your exponent begins with the second pair's: pairs are counted from 0.",
        ),
        (
            "two-less",
            "Your exponent is 2i / (head_dim - 2), so that the last pair has the \
             exponent 1.",
        ),
        (
            "one-less",
            "Your exponent is i / (pairs - 1), so that the last pair has the exponent \
             1.",
        ),
        ("i-alone", "Your exponent is i, and is not divided."),
        ("two-i-alone", "Your exponent is 2i, and is not divided."),
        ("odd-features", "Your exponent is (2i + 1) / head_dim: it is 2i / head_dim."),
        ("backwards", "Your pairs are counted from the last."),
        ("squared", "Your exponent is squared."),
        (
            "i-squared-over-width",
            "Your exponent is i² / head_dim: it is 2i / head_dim.",
        ),
        ("i-over-pairs-rounded", "Your exponent is 2i / (head_dim + 1)."),
        ("two-i-over-two-widths", "Your exponent is 2i / (head_dim + 2)."),
        ("minus-one", "Your exponent is 2(i - 1) / head_dim: it is 2i / head_dim."),
    ]),
    dial(&[
        ("always-ten-thousand", "The base is always 10,000, whatever theta is given."),
        ("root-of-the-base", "The base is the root of theta."),
        ("logarithm-of-the-base", "The base is the logarithm of theta."),
        ("base-e", "The base is e, whatever theta is given."),
        ("base-two", "The base is 2, whatever theta is given."),
        ("base-ten", "The base is 10, whatever theta is given."),
        ("base-doubled", "The base is twice theta."),
        ("base-squared", "The base is the square of theta."),
        (
            "in-proportion",
            "Your frequencies are 1 over 1, 2, 3 and so on: they fall by the same factor \
             from pair to pair.",
        ),
    ]),
    dial(&[
        (
            "turns",
            "Your frequencies are multiplied by 2π: they are radians per token, not \
             turns.",
        ),
        (
            "over-a-turn",
            "Your frequencies are divided by 2π: they are radians per token, not \
             turns.",
        ),
        ("doubled", "Your frequencies are twice what they should be."),
        ("halved", "Your frequencies are half of what they should be."),
        ("over-theta", "Your frequencies are divided by theta once more."),
    ]),
    dial(&[
        (
            "one-a-feature",
            "There is a frequency for each feature: there is one for each pair.",
        ),
        ("one-pair-less", "The last pair has no frequency."),
        ("first-pair-missing", "The first pair has no frequency."),
        ("one-pair-more", "There is one frequency more than pairs."),
    ]),
    dial(&[(
        "pairing-lost",
        "The pairing that is given is lost: `Halves` and `Neighbors` make the same.",
    )]),
];

fn frequencies_by(p: &Hands, set: &[usize]) -> Answer {
    if !p.fits() {
        return p.answer();
    }
    let (pairs, width) = (p.pairs(), p.width());
    let exponent = |i: f64| match set[0] {
        0 => 2.0 * i / width,
        1 => i / width,
        2 => 4.0 * i / width,
        3 => -2.0 * i / width,
        4 => 0.0,
        5 => 2.0 / width,
        6 => 2.0 * (i + 1.0) / width,
        7 => 2.0 * i / (width - 2.0).max(1.0),
        8 => i / (pairs as f64 - 1.0).max(1.0),
        9 => i,
        10 => 2.0 * i,
        11 => (2.0 * i + 1.0) / width,
        12 => 2.0 * (pairs as f64 - 1.0 - i) / width,
        13 => (2.0 * i / width).powi(2),
        14 => i * i / width,
        15 => 2.0 * i / (width + 1.0),
        16 => 2.0 * i / (width + 2.0),
        _ => 2.0 * (i - 1.0) / width,
    };
    let theta = p.theta;
    let base = [
        theta,
        1e4,
        theta.sqrt(),
        theta.ln(),
        1.0_f64.exp(),
        2.0,
        10.0,
        2.0 * theta,
        theta * theta,
        theta,
    ][set[1]];
    let factor = [1.0, TAU, 1.0 / TAU, 2.0, 0.5, 1.0 / theta][set[2]];
    let range = match set[3] {
        0 => 0..pairs,
        1 => 0..p.head_dim,
        2 => 0..pairs - 1,
        3 => 1..pairs,
        _ => 0..pairs + 1,
    };
    let turns = |i: usize| {
        let slower = match set[1] {
            9 => i as f64 + 1.0,
            _ => base.powf(exponent(i as f64)),
        };
        (TAU * slower / factor) as f32
    };
    Answer::of("tokens for one turn", range.map(turns).collect::<Vec<_>>())
        .and("the pairing", if set[4] == 1 { LOST } else { KEPT })
}

fn frequencies() -> Exercise<Hands> {
    Exercise::implement("frequencies", Hands::draw, Hands::answer)
        .dials(OF_FREQUENCIES, frequencies_by)
        .mistake("i-over-width", |p| p.with(p.pairs(), |i| i / p.width()))
        .hidden_by(single)
        .mistake("two-i-over-pairs", |p| p.with(p.pairs(), |i| 4.0 * i / p.width()))
        .hidden_by(single)
        .mistake("faster-and-faster", |p| p.with(p.pairs(), |i| -2.0 * i / p.width()))
        .hidden_by(single)
        .mistake("integer-division", |p| {
            p.with(p.pairs(), |i| (2 * i as usize / p.head_dim) as f64)
        })
        .hidden_by(single)
        .mistake("one-exponent-for-all", |p| p.with(p.pairs(), |_| 2.0 / p.width()))
        .mistake("from-one", |p| p.with(p.pairs(), |i| 2.0 * (i + 1.0) / p.width()))
        .mistake("one-a-feature", |p| p.with(p.head_dim, |i| 2.0 * i / p.width()))
        .mistake("always-ten-thousand", |p| {
            let theta = if p.fits() { 1e4 } else { p.theta };
            Hands { theta, ..*p }.answer()
        })
        .hidden_by(|| Hands { head_dim: 4, theta: 1e4 })
        .mistake("odd-width", |p| {
            if p.theta > 0.0 {
                p.unchecked(p.pairs(), |i| 2.0 * i / p.width())
            } else {
                p.answer()
            }
        })
        .hidden_by(single)
        .mistake("any-base", |p| {
            if p.head_dim.is_multiple_of(2) {
                p.unchecked(p.pairs(), |i| 2.0 * i / p.width())
            } else {
                p.answer()
            }
        })
        .hidden_by(single)
}

fn single() -> Hands {
    Hands { head_dim: 2, theta: 1e4 }
}

// Implement: the turn of a pair.

/// Heads, and where their tokens stand.
struct Heads {
    x: DMatrix<f32>,
    start: usize,
    turning: Turning,
}

/// How wide heads turn.
#[derive(Clone, Copy)]
struct Turning {
    pairs: usize,
    pairing: Pairing,
}

/// One pair (a, b), and cosine and sine.
type TurnPair = fn(f32, f32, f32, f32) -> (f32, f32);

fn turn_pair(a: f32, b: f32, cos: f32, sin: f32) -> (f32, f32) {
    (a * cos - b * sin, a * sin + b * cos)
}

impl Turning {
    fn draw(draw: &mut Draw) -> Self {
        let turning =
            Turning { pairs: draw.size(1..=2), pairing: draw.pick(&PAIRINGS) };
        draw.show("pairing", format!("{:?}", turning.pairing));
        draw.show("head_dim", 2 * turning.pairs);
        turning
    }

    fn rotary(self) -> Rotary {
        Rotary::new(2 * self.pairs, THETA, self.pairing).unwrap()
    }

    /// All heads of `x`, each token by the position that `at` gives its row and head.
    fn turned(
        self,
        x: &DMatrix<f32>,
        at: impl Fn(usize, usize) -> usize,
        turn: impl Fn(f32, f32, f32, f32) -> (f32, f32),
    ) -> DMatrix<f32> {
        let (mut turned, width) = (x.clone(), 2 * self.pairs);
        for row in 0..x.nrows() {
            for head in 0..x.ncols() / width {
                for i in 0..self.pairs {
                    let (a, b) = self.pairing.features(i, self.pairs);
                    let (a, b) = ((row, head * width + a), (row, head * width + b));
                    let frequency = THETA.powf(-((2 * i) as f64) / width as f64);
                    let (sin, cos) = (at(row, head) as f64 * frequency).sin_cos();
                    (turned[a], turned[b]) = turn(x[a], x[b], cos as f32, sin as f32);
                }
            }
        }
        turned
    }
}

impl Heads {
    fn draw(draw: &mut Draw) -> Self {
        let turning = Turning::draw(draw);
        let [tokens, heads, start] =
            [draw.tokens(3), draw.size(1..=2), draw.size(0..=3)];
        // Far from the beginning, too.
        let start = start + draw.pick(&[0, 0, 0, 1000]);
        draw.show("start", start);
        let x = draw.matrix("x", tokens, heads * 2 * turning.pairs);
        Heads { x, start, turning }
    }

    fn answer(&self) -> Answer {
        let mut x = self.x.clone();
        let angles = self.turning.rotary().angles(self.start..self.start + x.nrows());
        Answer::of("turned", angles.rotate(&mut x).map(|()| x))
    }

    fn with(&self, turn: TurnPair) -> Answer {
        Answer::of(
            "turned",
            self.turning.turned(&self.x, |row, _| self.start + row, turn),
        )
    }
}

/// The terms of the first number, a cos - b sin, and of the second, a sin + b cos; in what
/// order they are written, and by what angle.
const OF_TURN: &[Dial] = &[
    dial(&[
        ("first-a-sin", "The first term of your first number is a sin: it is a cos."),
        ("first-b-cos", "The first term of your first number is b cos: it is a cos."),
        ("first-b-sin", "The first term of your first number is b sin: it is a cos."),
        ("first-a", "The first term of your first number is a alone: it is a cos."),
        ("first-lost", "The term a cos is missing from your first number."),
    ]),
    dial(&[
        (
            "first-minus-b-cos",
            "The second term of your first number has b cos: it is b sin.",
        ),
        (
            "first-minus-a-sin",
            "The second term of your first number has a sin: it is b sin.",
        ),
        (
            "first-minus-a-cos",
            "The second term of your first number has a cos: it is b sin.",
        ),
        ("first-minus-lost", "The term b sin is missing from your first number."),
    ]),
    dial(&[
        ("minus-lost", "Your first number adds b sin, and has to subtract it."),
        ("first-negated", "Your first number is b sin - a cos: the sign is turned."),
        ("first-as-it-came", "Your first number is a as it came."),
        ("first-product", "The two terms of your first number are multiplied."),
    ]),
    dial(&[
        ("second-a-cos", "The first term of your second number is a cos: it is a sin."),
        ("second-b-sin", "The first term of your second number is b sin: it is a sin."),
        ("second-b-cos", "The first term of your second number is b cos: it is a sin."),
        ("second-a", "The first term of your second number is a alone: it is a sin."),
        ("second-lost", "The term a sin is missing from your second number."),
    ]),
    dial(&[
        (
            "second-plus-b-sin",
            "The second term of your second number is b sin: it is b cos.",
        ),
        (
            "second-plus-a-cos",
            "The second term of your second number is a cos: it is b cos.",
        ),
        (
            "second-plus-a-sin",
            "The second term of your second number is a sin: it is b cos.",
        ),
        (
            "second-plus-b",
            "The second term of your second number is b alone: it is b cos.",
        ),
        ("second-plus-lost", "The term b cos is missing from your second number."),
    ]),
    dial(&[
        ("minus-below", "Your second number subtracts b cos, and has to add it."),
        ("second-negated", "Your second number is b cos - a sin: the sign is turned."),
        ("second-minus", "Both terms of your second number are subtracted."),
        ("second-as-it-came", "Your second number is b as it came."),
        ("second-product", "The two terms of your second number are multiplied."),
    ]),
    dial(&[
        (
            "overwritten",
            "The second number is computed from the first that was just written: read \
             both before you write.",
        ),
        (
            "overwritten-second",
            "The first number is computed from the second that was just written: read \
             both before you write.",
        ),
        ("results-swapped", "The two results have changed places."),
        ("added-on", "The results are added to what was there, and do not replace it."),
    ]),
    dial(&[
        ("backwards", "Your pairs turn the other way."),
        ("twice-the-angle", "Your pairs turn by twice the angle."),
        ("sine-for-cosine", "Sine and cosine have changed places."),
        ("absolute-sine", "The sign of the sine is lost."),
        ("cosine-for-both", "The cosine stands where the sine belongs."),
        ("sine-for-both", "The sine stands where the cosine belongs."),
        ("quarter-turn", "Your pairs turn by a quarter, whatever the angle."),
        ("cosine-lost", "The cosine is missing, as if it were 1."),
        ("sine-lost", "The sine is missing, as if it were 0."),
        ("half-a-turn-more", "Sine and cosine have the opposite sign."),
        ("half-the-angle", "Your pairs turn by half of the angle."),
    ]),
    dial(&[
        ("first-angle-for-all", "All tokens are turned by the first one's angle."),
        ("last-angle-for-all", "All tokens are turned by the last one's angle."),
    ]),
];

/// One pair, as the settings say.
fn turn_by(set: &[usize], a: f32, b: f32, cos: f32, sin: f32) -> (f32, f32) {
    let (cos, sin) = match set[7] {
        0 => (cos, sin),
        1 => (cos, -sin),
        2 => (cos * cos - sin * sin, 2.0 * cos * sin),
        3 => (sin, cos),
        4 => (cos, sin.abs()),
        5 => (cos, cos),
        6 => (sin, sin),
        7 => (0.0, 1.0),
        8 => (1.0, sin),
        9 => (cos, 0.0),
        10 => (-cos, -sin),
        _ => {
            let half = sin.atan2(cos) / 2.0;
            (half.cos(), half.sin())
        }
    };
    let first = |a: f32, b: f32| {
        let one = [a * cos, a * sin, b * cos, b * sin, a, 0.0][set[0]];
        let two = [b * sin, b * cos, a * sin, a * cos, 0.0][set[1]];
        [one - two, one + two, two - one, a, one * two][set[2]]
    };
    let second = |a: f32, b: f32| {
        let one = [a * sin, a * cos, b * sin, b * cos, a, 0.0][set[3]];
        let two = [b * cos, b * sin, a * cos, a * sin, b, 0.0][set[4]];
        [one + two, one - two, two - one, -one - two, b, one * two][set[5]]
    };
    match set[6] {
        0 => (first(a, b), second(a, b)),
        1 => (first(a, b), second(first(a, b), b)),
        2 => (first(a, second(a, b)), second(a, b)),
        3 => (second(a, b), first(a, b)),
        _ => (a + first(a, b), b + second(a, b)),
    }
}

fn turn() -> Exercise<Heads> {
    Exercise::implement("turn", Heads::draw, Heads::answer)
        .dials(OF_TURN, |p, set| {
            let turn = |a, b, cos, sin| turn_by(set, a, b, cos, sin);
            let last = p.x.nrows().saturating_sub(1);
            let angle = |row: usize| [row, 0, last][set[OF_TURN.len() - 1]];
            let turned = p.turning.turned(&p.x, |row, _| p.start + angle(row), turn);
            Answer::of("turned", turned)
        })
        .mistake("minus-lost", |p| {
            p.with(|a, b, cos, sin| (a * cos + b * sin, a * sin + b * cos))
        })
        .hidden_by(|| Heads { start: 3, x: dmatrix![2.0, 0.0], ..at_zero() })
        .mistake("backwards", |p| p.with(|a, b, cos, sin| turn_pair(a, b, cos, -sin)))
        .hidden_by(at_zero)
        .mistake("overwritten", |p| {
            p.with(|a, b, cos, sin| {
                let a = a * cos - b * sin;
                (a, a * sin + b * cos)
            })
        })
        .hidden_by(at_zero)
        .mistake("sine-for-cosine", |p| {
            p.with(|a, b, cos, sin| turn_pair(a, b, sin, cos))
        })
        .mistake("not-turned", |p| Answer::of("turned", &p.x))
        .hidden_by(at_zero)
        .mistake("results-swapped", |p| {
            p.with(|a, b, cos, sin| (a * sin + b * cos, a * cos - b * sin))
        })
        .mistake("first-alone", |p| p.with(|a, b, cos, sin| (a * cos - b * sin, b)))
        .hidden_by(at_zero)
        .mistake("second-alone", |p| p.with(|a, b, cos, sin| (a, a * sin + b * cos)))
        .hidden_by(at_zero)
        .mistake("sine-lost", |p| p.with(|a, b, cos, _| (a * cos, b * cos)))
        .hidden_by(at_zero)
        .mistake("overwritten-second", |p| {
            p.with(|a, b, cos, sin| {
                let b = a * sin + b * cos;
                (a * cos - b * sin, b)
            })
        })
        .hidden_by(at_zero)
        .mistake("minus-below", |p| {
            p.with(|a, b, cos, sin| (a * cos - b * sin, a * sin - b * cos))
        })
}

fn at_zero() -> Heads {
    let turning = Turning { pairs: 1, pairing: Pairing::Halves };
    Heads { x: dmatrix![2.0, 1.0], start: 0, turning }
}

// Implement: a layer turns what it projects.

/// Numbers from -2 to 2, so that no weight is all or nothing.
fn small(draw: &mut Draw, name: &str, rows: usize, columns: usize) -> DMatrix<f32> {
    let numbers = draw.numbers(rows, columns) / 2.0;
    draw.show(name, &numbers);
    numbers
}

struct Layer {
    x: DMatrix<f32>,
    /// `W_Q`, `W_K`, `W_V`.
    weights: [DMatrix<f32>; 3],
    /// `W_O`.
    o: DMatrix<f32>,
    turning: Turning,
    start: usize,
    /// Rows too few in the cache.
    short: usize,
}

impl Layer {
    fn draw(draw: &mut Draw) -> Self {
        let tokens = draw.tokens(3);
        Layer::of(draw, tokens, 0..=3)
    }

    /// `start` tokens in a first chunk, which are the first rows of `x`, and some in a
    /// second.
    fn draw_chunks(draw: &mut Draw) -> Self {
        let tokens = draw.tokens(4);
        let mut layer = Layer::of(draw, tokens, 0..=3);
        let width = layer.x.ncols();
        layer.o = small(draw, "W_O", width, width);
        layer.short = draw.rarely();
        draw.show("rows that the cache lacks", layer.short);
        let before = small(draw, "x, the chunk before", layer.start, width);
        let (first, all) = (layer.start, layer.start + layer.x.nrows());
        layer.x =
            DMatrix::from_fn(all, width, |row, column| match row.checked_sub(first) {
                None => before[(row, column)],
                Some(row) => layer.x[(row, column)],
            });
        layer
    }

    fn of(
        draw: &mut Draw,
        tokens: usize,
        start: std::ops::RangeInclusive<usize>,
    ) -> Self {
        let turning = Turning::draw(draw);
        let [heads, start] = [draw.size(1..=2), draw.size(start)];
        let width = heads * 2 * turning.pairs;
        draw.show("start", start);
        let x = small(draw, "x", tokens, width);
        let weights = ["W_Q", "W_K", "W_V"].map(|name| small(draw, name, width, width));
        let o = DMatrix::identity(width, width);
        Layer { x, weights, o, turning, start, short: 0 }
    }

    fn layer(&self) -> RotaryAttention {
        let [q, k, v] =
            self.weights.clone().map(|weight| Linear::new(weight, None).unwrap());
        let heads = self.heads();
        let o = Linear::new(self.o.clone(), None).unwrap();
        let layer = GroupedQueryAttention::new(q, k, v, o, heads, heads).unwrap();
        RotaryAttention::new(layer, self.turning.rotary()).unwrap()
    }

    fn heads(&self) -> usize {
        self.x.ncols() / (2 * self.turning.pairs)
    }

    fn project(&self) -> Answer {
        let projected = self.layer().project(&self.x, self.start);
        let parts = |p: multi_head::Projected| [p.q, p.k, p.v];
        Answer::try_of("refused", projected.map(|p| Layer::parts(parts(p))))
    }

    fn parts([q, k, v]: [DMatrix<f32>; 3]) -> Answer {
        Answer::of("q", q).and("k", k).and("v", v)
    }

    /// Queries, keys and values before they turn.
    fn raw(&self) -> [DMatrix<f32>; 3] {
        [0, 1, 2].map(|part| &self.x * &self.weights[part])
    }

    fn turned(
        &self,
        x: &DMatrix<f32>,
        at: impl Fn(usize, usize) -> usize,
    ) -> DMatrix<f32> {
        self.turning.turned(x, at, turn_pair)
    }

    fn here(&self, x: &DMatrix<f32>) -> DMatrix<f32> {
        self.turned(x, |row, _| self.start + row)
    }

    // The same in two chunks.

    fn in_chunks(&self) -> Answer {
        let (layer, width) = (self.layer(), self.x.ncols());
        let capacity = self.x.nrows().saturating_sub(self.short);
        let mut cache = KvCache::new(capacity, width, width);
        let new = self.x.nrows() - self.start;
        let mut run = |first, tokens| {
            prefill(&layer, &self.x.rows(first, tokens).into_owned(), &mut cache)
        };
        let before = if self.start > 0 { run(0, self.start).map(drop) } else { Ok(()) };
        let found = before.and_then(|()| run(self.start, new));
        Answer::try_of(
            "refused",
            found.map(|found| Layer::kept(found.output, cache.keys().into_owned())),
        )
    }

    fn kept(output: DMatrix<f32>, keys: DMatrix<f32>) -> Answer {
        Answer::of("output of the last chunk", output).and("keys in the cache", keys)
    }

    /// What the last chunk finds with queries that stand at `query(row)` and keys that
    /// are turned so, and what stays in the cache.
    fn chunk(
        &self,
        query: impl Fn(usize) -> usize,
        keys: &DMatrix<f32>,
        mask: &Mask,
        kept: &DMatrix<f32>,
    ) -> Answer {
        let v = self.raw()[2].clone();
        self.looking(query, keys, mask, &v, kept)
    }

    fn with_values(&self, keys: &DMatrix<f32>, v: &DMatrix<f32>) -> Answer {
        self.looking(|row| row, keys, &self.causal(), v, keys)
    }

    fn looking(
        &self,
        query: impl Fn(usize) -> usize,
        keys: &DMatrix<f32>,
        mask: &Mask,
        v: &DMatrix<f32>,
        kept: &DMatrix<f32>,
    ) -> Answer {
        let q = self.turned(&self.raw()[0], |row, _| query(row));
        self.asking(&q, keys, mask, v, kept)
    }

    /// The same with queries of all tokens, turned already.
    fn asking(
        &self,
        q: &DMatrix<f32>,
        keys: &DMatrix<f32>,
        mask: &Mask,
        v: &DMatrix<f32>,
        kept: &DMatrix<f32>,
    ) -> Answer {
        // A cache that is full refuses the chunk.
        if self.short > 0 {
            return self.in_chunks();
        }
        let q = q.rows(self.start, q.nrows() - self.start).into_owned();
        let groups = self.layer().layer().groups();
        let found = attend_groups(&q, keys.as_view(), v.as_view(), groups, mask);
        Layer::kept(found.unwrap().found * &self.o, kept.clone())
    }

    fn keys(&self) -> DMatrix<f32> {
        self.turned(&self.raw()[1], |row, _| row)
    }

    fn causal(&self) -> Mask {
        Mask::Causal { offset: self.start }
    }

    fn masked(&self, mask: &Mask) -> Answer {
        let keys = self.keys();
        self.chunk(|row| row, &keys, mask, &keys)
    }
}

/// By how much a part is turned, told of queries and of keys.
const OF_PROJECT: &[Dial] = &[
    dial(&[
        ("queries-left", "Your queries are not turned."),
        (
            "queries-at-zero",
            "Your queries are turned from position 0, and not from `start`.",
        ),
        ("queries-from-one", "Your queries are turned one position too far."),
        ("queries-twice", "Your queries are turned twice."),
        ("queries-backwards", "Your queries are turned the other way."),
        (
            "queries-all-at-start",
            "All of your queries are turned by `start`: the next token stands one \
             further.",
        ),
        (
            "queries-along-the-heads",
            "Your queries are turned by the number of the head.",
        ),
        ("queries-other-pairing", "Your queries are turned in the other pairing."),
        ("queries-one-back", "Your queries are turned one position too little."),
        (
            "queries-by-twice-the-start",
            "`start` counts twice in the positions of your queries.",
        ),
        (
            "queries-reversed",
            "The positions of your queries are counted from the last token.",
        ),
        (
            "queries-at-start-times-row",
            "The positions of your queries are `start` times the row: they are added.",
        ),
        (
            "queries-from-start-on",
            "Your queries stand at their row in this call, and at `start` where that is \
             larger.",
        ),
        (
            "queries-behind-the-chunk",
            "Your queries are turned from the position behind the chunk, and not from \
             `start`.",
        ),
        ("queries-first-head-alone", "Of your queries, only the first head is turned."),
        (
            "queries-as-one-head",
            "The heads of your queries are turned as one: each begins anew.",
        ),
    ]),
    dial(&[
        ("keys-left", "Your keys are not turned."),
        ("keys-at-zero", "Your keys are turned from position 0, and not from `start`."),
        ("keys-from-one", "Your keys are turned one position too far."),
        ("keys-twice", "Your keys are turned twice."),
        ("keys-backwards", "Your keys are turned the other way."),
        (
            "keys-all-at-start",
            "All of your keys are turned by `start`: the next token stands one \
             further.",
        ),
        ("keys-along-the-heads", "Your keys are turned by the number of the head."),
        ("keys-other-pairing", "Your keys are turned in the other pairing."),
        ("keys-one-back", "Your keys are turned one position too little."),
        (
            "keys-by-twice-the-start",
            "`start` counts twice in the positions of your keys.",
        ),
        (
            "keys-reversed",
            "The positions of your keys are counted from the last token.",
        ),
        (
            "keys-at-start-times-row",
            "The positions of your keys are `start` times the row: they are added.",
        ),
        (
            "keys-from-start-on",
            "Your keys stand at their row in this call, and at `start` where that is \
             larger.",
        ),
        (
            "keys-behind-the-chunk",
            "Your keys are turned from the position behind the chunk, and not from \
             `start`.",
        ),
        ("keys-first-head-alone", "Of your keys, only the first head is turned."),
        (
            "keys-as-one-head",
            "The heads of your keys are turned as one: each begins anew.",
        ),
    ]),
    dial(&[
        ("values-too", "Your values are turned as well."),
        ("keys-for-values", "Your values are the keys."),
        ("queries-for-values", "Your values are the queries."),
        ("values-backwards", "Your values are turned as well, the other way."),
    ]),
    dial(&[
        (
            "start-forgotten",
            "Everything is turned from position 0, and not from `start`.",
        ),
        ("positions-from-one", "Everything is turned one position too far."),
        (
            "all-at-start",
            "All tokens are turned by `start`: the next one stands one further.",
        ),
        ("other-pairing", "Everything is turned in the other pairing."),
        ("backwards", "Everything is turned the other way."),
        ("turned-twice", "Everything is turned twice."),
        ("positions-reversed", "Positions are counted from the last token."),
        ("one-position-back", "Everything is turned one position too little."),
        ("twice-the-start", "`start` counts twice in the positions."),
        (
            "start-times-row",
            "Positions are `start` times the row: they are `start` and the row, added.",
        ),
        (
            "from-start-on",
            "Tokens stand at their row in this call, and at `start` where that is larger.",
        ),
        (
            "behind-the-chunk",
            "Everything is turned from the position behind the chunk, and not from \
             `start`.",
        ),
        ("first-head-alone", "Only the first head is turned."),
        ("as-one-head", "All heads are turned as one: each begins anew."),
        ("by-the-head", "Everything is turned by the number of the head."),
    ]),
    dial(&[
        ("queries-and-keys-swapped", "Queries and keys have changed places."),
        ("keys-for-queries", "Your queries are the keys."),
        ("queries-for-keys", "Your keys are the queries."),
        ("values-and-keys-swapped", "Keys and values have changed places."),
    ]),
];

impl Layer {
    /// A part turned as a setting of the first two dials says.
    fn turned_by(&self, how: usize, part: &DMatrix<f32>) -> DMatrix<f32> {
        let (start, last) = (self.start, part.nrows().saturating_sub(1));
        match how {
            0 => self.here(part),
            1 => part.clone(),
            2 => self.turned(part, |row, _| row),
            3 => self.turned(part, |row, _| start + row + 1),
            4 => self.here(&self.here(part)),
            5 => {
                let back = |a, b, cos: f32, sin: f32| turn_pair(a, b, cos, -sin);
                self.turning.turned(part, |row, _| start + row, back)
            }
            6 => self.turned(part, |_, _| start),
            7 => self.turned(part, |_, head| start + head),
            8 => {
                let pairing = other(self.turning.pairing);
                let turning = Turning { pairing, ..self.turning };
                turning.turned(part, |row, _| start + row, turn_pair)
            }
            9 => self.turned(part, |row, _| (start + row).saturating_sub(1)),
            10 => self.turned(part, |row, _| 2 * start + row),
            11 => self.turned(part, |row, _| start + last - row),
            12 => self.turned(part, |row, _| start * row),
            13 => self.turned(part, |row, _| row.max(start)),
            14 => self.turned(part, |row, _| start + part.nrows() + row),
            15 => {
                self.turned(part, |row, head| if head == 0 { start + row } else { 0 })
            }
            _ => {
                let turning = Turning { pairs: part.ncols() / 2, ..self.turning };
                turning.turned(part, |row, _| start + row, turn_pair)
            }
        }
    }

    fn project_by(&self, set: &[usize]) -> Answer {
        let [q, k, v] = self.raw();
        let both = [0, 2, 3, 6, 8, 5, 4, 11, 9, 10, 12, 13, 14, 15, 16, 7][set[3]];
        let how = |own: usize| if own == 0 { both } else { own };
        let [q, k] = [self.turned_by(how(set[0]), &q), self.turned_by(how(set[1]), &k)];
        let v = match set[2] {
            0 => v,
            1 => self.here(&v),
            2 => k.clone(),
            3 => q.clone(),
            _ => self.turned_by(5, &v),
        };
        Layer::parts(match set[4] {
            0 => [q, k, v],
            1 => [k, q, v],
            2 => [k.clone(), k, v],
            3 => [q.clone(), q, v],
            _ => [q, v, k],
        })
    }
}

fn project() -> Exercise<Layer> {
    Exercise::implement("project", Layer::draw, Layer::project)
        .dials(OF_PROJECT, Layer::project_by)
        .step("q, before it turns", |p| Value::from(&p.raw()[0]))
        .step("k, before it turns", |p| Value::from(&p.raw()[1]))
        .mistake("values-too", |p| Layer::parts(p.raw().map(|part| p.here(&part))))
        .hidden_by(first_token)
        .mistake("keys-left", |p| {
            let [q, k, v] = p.raw();
            Layer::parts([p.here(&q), k, v])
        })
        .hidden_by(first_token)
        .mistake("queries-left", |p| {
            let [q, k, v] = p.raw();
            Layer::parts([q, p.here(&k), v])
        })
        .hidden_by(first_token)
        .mistake("before-projecting", |p| {
            let x = p.here(&p.x);
            let [q, k, v] = &p.weights;
            Layer::parts([&x * q, &x * k, &p.x * v])
        })
        .hidden_by(first_token)
        .mistake("start-forgotten", |p| Layer { start: 0, ..p.copy() }.project())
        .hidden_by(first_token)
        .mistake("positions-from-one", |p| {
            Layer { start: p.start + 1, ..p.copy() }.project()
        })
        .mistake("keys-at-zero", |p| {
            let [q, k, v] = p.raw();
            Layer::parts([p.here(&q), p.turned(&k, |row, _| row), v])
        })
        .hidden_by(first_token)
        .mistake("queries-at-zero", |p| {
            let [q, k, v] = p.raw();
            Layer::parts([p.turned(&q, |row, _| row), p.here(&k), v])
        })
        .hidden_by(first_token)
        .mistake("queries-twice", |p| {
            let [q, k, v] = p.raw();
            Layer::parts([p.here(&p.here(&q)), k, v])
        })
        .hidden_by(first_token)
        .mistake("turned-twice", |p| {
            let [q, k, v] = p.raw();
            let [q, k] = [q, k].map(|part| p.here(&p.here(&part)));
            Layer::parts([q, k, v])
        })
        .hidden_by(first_token)
        .mistake("not-turned", |p| Layer::parts(p.raw()))
        .hidden_by(first_token)
        .mistake("all-at-start", |p| {
            let [q, k, v] = p.raw();
            let [q, k] = [q, k].map(|part| p.turned(&part, |_, _| p.start));
            Layer::parts([q, k, v])
        })
        .hidden_by(first_token)
        .mistake("along-the-heads", |p| {
            let [q, k, v] = p.raw();
            let [q, k] = [q, k].map(|part| p.turned(&part, |_, head| p.start + head));
            Layer::parts([q, k, v])
        })
        .hidden_by(first_token)
        .mistake("other-pairing", |p| {
            let pairing = other(p.turning.pairing);
            Layer { turning: Turning { pairing, ..p.turning }, ..p.copy() }.project()
        })
        .hidden_by(first_token)
}

impl Layer {
    fn copy(&self) -> Layer {
        let (x, o) = (self.x.clone(), self.o.clone());
        Layer { x, weights: self.weights.clone(), o, ..*self }
    }
}

/// One head, one token, at position 0.
fn first_token() -> Layer {
    let same = || dmatrix![1.0, 0.5; 0.0, 1.0];
    let turning = Turning { pairs: 1, pairing: Pairing::Halves };
    Layer {
        x: dmatrix![1.0, 2.0],
        weights: [same(), same(), same()],
        o: DMatrix::identity(2, 2),
        turning,
        start: 0,
        short: 0,
    }
}

// Implement: a chunk through the cache.

/// Where queries and keys stand, what is kept, what is averaged, and what is seen.
const OF_PREFILL: &[Dial] = &[
    dial(&[
        ("queries-at-zero", "The queries of every chunk are turned from position 0."),
        ("queries-one-too-far", "Your queries are turned one position too far."),
        (
            "queries-behind-the-chunk",
            "Your queries are turned from the length after the append, which counts \
             the chunk as well.",
        ),
        ("queries-left", "Your queries are not turned."),
        ("queries-one-back", "Your queries are turned one position too little."),
        ("queries-twice", "Your queries are turned twice."),
        ("queries-backwards", "Your queries are turned the other way."),
    ]),
    dial(&[
        ("keys-at-zero", "The keys of every chunk are turned from position 0."),
        ("keys-one-too-far", "Your keys are turned one position too far."),
        (
            "keys-behind-the-chunk",
            "Your keys are turned from the length after the append, which counts the \
             chunk as well.",
        ),
        ("keys-left", "Your keys are not turned."),
        ("keys-one-back", "Your keys are turned one position too little."),
        ("keys-twice", "Your keys are turned twice."),
        ("keys-backwards", "Your keys are turned the other way."),
    ]),
    dial(&[
        (
            "kept-unturned",
            "The keys in the cache are not turned, although yours look at turned ones.",
        ),
        ("values-kept-as-keys", "The cache keeps values where keys belong."),
    ]),
    dial(&[
        ("values-turned", "Your values are turned as well."),
        ("keys-as-values", "What your heads average is keys."),
    ]),
    dial(&[
        (
            "mask-from-zero",
            "The offset of your mask stays 0: it has to count the tokens in the cache.",
        ),
        (
            "one-future-token",
            "The offset of your mask is larger by one than it should be.",
        ),
        (
            "no-mask",
            "Every query of a chunk sees all of it: there is no mask, or its offset is \
             read after the append.",
        ),
        (
            "one-key-short",
            "The offset of your mask is smaller by one than it should be.",
        ),
        (
            "offset-of-the-chunk",
            "The offset of your mask is the length of the chunk: it has to count the \
             tokens that were there before.",
        ),
    ]),
    dial(&[
        (
            "all-behind-the-chunk",
            "Positions are counted from the length after the append, which counts the \
             chunk as well.",
        ),
        ("all-at-zero", "The positions of every chunk begin at 0."),
        (
            "all-from-the-chunk",
            "Positions begin at the length of the chunk, and not at that of the cache.",
        ),
        ("all-one-too-far", "Everything is turned one position too far."),
    ]),
    dial(&[
        ("not-mixed", "What the heads found is not mixed: `o_proj` is missing."),
        (
            "x-added",
            "x is added to the output: that comes later, where the layer is used.",
        ),
    ]),
    dial(&[
        (
            "cached-turned-again",
            "The keys that come out of the cache are turned by their positions once \
             more: they were turned when they were kept.",
        ),
        (
            "new-tokens-alone",
            "The queries of a chunk look at the chunk alone: what is kept is not looked \
             at.",
        ),
    ]),
];

impl Layer {
    /// The position of a row, for a setting.
    fn at(&self, how: usize, row: usize) -> usize {
        let (start, all) = (self.start, self.x.nrows());
        match how {
            0 => row,
            1 => row.checked_sub(start).unwrap_or(row),
            2 => row + 1,
            // The length after the append of the row's own chunk.
            3 => row + if row < start { start } else { all - start },
            5 => row.saturating_sub(1),
            6 => 2 * row,
            8 if row < start => start + row,
            8 => all - start + row - start,
            _ => 0,
        }
    }

    /// Rows turned as a setting says.
    fn turned_how(&self, x: &DMatrix<f32>, how: usize) -> DMatrix<f32> {
        match how {
            7 => {
                let back = |a, b, cos: f32, sin: f32| turn_pair(a, b, cos, -sin);
                self.turning.turned(x, |row, _| row, back)
            }
            how => self.turned(x, |row, _| self.at(how, row)),
        }
    }

    /// What the last chunk's heads look at; nothing where the cache has no room.
    fn looks_by(&self, set: &[usize]) -> Looks {
        if self.short > 0 {
            return Looks::Nothing;
        }
        let [q, _, v] = self.raw();
        let keys = self.keys_by(set);
        let q =
            self.turned_how(&q, if set[0] == 0 { EVERYWHERE[set[5]] } else { set[0] });
        let v = match set[3] {
            0 => v,
            1 => self.turned(&v, |row, _| row),
            _ => keys.clone(),
        };
        let (new, all) = (self.x.nrows() - self.start, self.x.nrows());
        let sees = match set[4] {
            3 => Sees::Everything,
            how => Sees::UpTo {
                offset: match how {
                    0 => self.start,
                    1 => 0,
                    2 => self.start + 1,
                    4 => self.start.saturating_sub(1),
                    _ => new,
                },
            },
        };
        let (q, heads) =
            (q.rows(self.start, all - self.start).into_owned(), self.heads());
        let (k, v, sees) = match set[7] {
            1 => (self.turned(&keys, |row, _| row), v, sees),
            2 => {
                let rows = |of: DMatrix<f32>| of.rows(self.start, new).into_owned();
                let sees = match sees {
                    Sees::UpTo { .. } => Sees::UpTo { offset: 0 },
                    sees => sees,
                };
                (rows(keys), rows(v), sees)
            }
            _ => (keys, v, sees),
        };
        Looks::At(vec![Headed { q, k, v, heads, kv_heads: heads, sees }])
    }

    fn keys_by(&self, set: &[usize]) -> DMatrix<f32> {
        let how = if set[1] == 0 { EVERYWHERE[set[5]] } else { set[1] };
        self.turned_how(&self.raw()[1], how)
    }

    fn looked_by(&self, found: &[Found], set: &[usize]) -> Answer {
        let [_, k, v] = self.raw();
        let kept = match set[2] {
            0 => self.keys_by(set),
            1 => k,
            _ => v,
        };
        let Some(Found { context, .. }) = found.first() else {
            return self.in_chunks();
        };
        if context.ncols() != self.o.nrows() {
            does_not_fit();
        }
        let output = match set[6] {
            0 => context * &self.o,
            1 => context.clone(),
            _ => context * &self.o + self.x.rows(self.start, context.nrows()),
        };
        Layer::kept(output, kept)
    }
}

/// What queries and keys have in common, by the last dial's settings.
const EVERYWHERE: [usize; 5] = [0, 3, 1, 8, 2];

fn prefill_exercise() -> Exercise<Layer> {
    Exercise::implement("prefill", Layer::draw_chunks, Layer::in_chunks)
        .around(OF_PREFILL, Layer::looks_by, Layer::looked_by)
        .mistake("start-forgotten", |p| {
            let at = |row: usize| row.checked_sub(p.start).unwrap_or(row);
            let keys = p.turned(&p.raw()[1], |row, _| at(row));
            p.chunk(at, &keys, &p.causal(), &keys)
        })
        .hidden_by(first_token)
        .mistake("mask-from-zero", |p| p.masked(&Mask::Causal { offset: 0 }))
        .hidden_by(first_token)
        .mistake("one-future-token", |p| {
            p.masked(&Mask::Causal { offset: p.start + 1 })
        })
        .mistake("length-read-after", |p| p.masked(&Mask::None))
        .hidden_by(first_token)
        .mistake("positions-from-one", |p| {
            let keys = p.turned(&p.raw()[1], |row, _| row + 1);
            p.chunk(|row| row + 1, &keys, &p.causal(), &keys)
        })
        .mistake("values-turned", |p| {
            let (keys, v) = (p.keys(), p.turned(&p.raw()[2], |row, _| row));
            p.with_values(&keys, &v)
        })
        .hidden_by(first_token)
        .mistake("not-turned", |p| {
            let keys = &p.raw()[1];
            p.chunk(|_| 0, keys, &p.causal(), keys)
        })
        .hidden_by(first_token)
        .mistake("kept-unturned", |p| {
            p.chunk(|row| row, &p.keys(), &p.causal(), &p.raw()[1])
        })
        .hidden_by(first_token)
        .mistake("all-at-the-new-position", |p| {
            let raw = &p.raw()[1];
            let keys = p.turned(raw, |_, _| p.start);
            p.chunk(|row| row, &keys, &p.causal(), raw)
        })
        .hidden_by(first_token)
        .mistake("turned-again", |p| {
            let keys =
                p.turned(&p.keys(), |row, _| if row < p.start { row } else { 0 });
            p.chunk(|row| row, &keys, &p.causal(), &keys)
        })
        .hidden_by(first_token)
}

// Implement: from one pairing to the other.

struct Reordered {
    head_dim: usize,
    from: Pairing,
    to: Pairing,
}

impl Reordered {
    fn draw(draw: &mut Draw) -> Self {
        let odd = draw.rarely();
        let head_dim = 2 * draw.size(1..=6) - odd;
        let [from, to] = [draw.pick(&PAIRINGS), draw.pick(&[PAIRINGS[1], PAIRINGS[0]])];
        draw.show("head_dim", head_dim);
        draw.show("from, to", format!("{from:?}, {to:?}"));
        Reordered { head_dim, from, to }
    }

    fn answer(&self) -> Answer {
        Answer::of("order", permutation(self.head_dim, self.from, self.to))
    }
}

/// The two features of a pair.
type Ends = (usize, usize);

impl Reordered {
    /// The right order, in which each pair is changed by `change`, given its features in
    /// the old order and in the new.
    fn half_wrong(&self, change: fn(&mut [usize], Ends, Ends)) -> Answer {
        let Ok(mut order) = permutation(self.head_dim, self.from, self.to) else {
            return self.answer();
        };
        let pairs = self.head_dim / 2;
        for i in 0..pairs {
            let old = self.from.features(i, pairs);
            change(&mut order, old, self.to.features(i, pairs));
        }
        Answer::of("order", order)
    }
}

/// The pairings that are asked, and what is written for the two features of a pair.
const OF_PERMUTATION: &[Dial] = &[
    dial(&[
        ("the-way-back", "`from` and `to` have changed places."),
        (
            "always-to-neighbors",
            "Your order is the way from halves to neighbors, whatever is asked.",
        ),
        (
            "always-to-halves",
            "Your order is the way from neighbors to halves, whatever is asked.",
        ),
        ("from-for-both", "Both pairings are `from`: nothing moves."),
    ]),
    dial(&[
        ("first-not-written", "The first feature of each pair is not written."),
        (
            "first-from-the-second",
            "The first feature of each pair gets the old second one.",
        ),
        (
            "first-the-other-way",
            "For the first feature, the place and what goes there have changed places.",
        ),
        (
            "first-is-the-pair",
            "For the first feature, the number of the pair is written, and not the \
             feature.",
        ),
        (
            "first-is-new",
            "For the first feature, its new place is written, and not its old one.",
        ),
    ]),
    dial(&[
        ("second-not-written", "The second feature of each pair is not written."),
        (
            "second-from-the-first",
            "The second feature of each pair gets the old first one.",
        ),
        (
            "second-the-other-way",
            "For the second feature, the place and what goes there have changed \
             places.",
        ),
        (
            "second-is-the-pair",
            "For the second feature, the number of the pair is written, and not the \
             feature.",
        ),
        (
            "second-is-new",
            "For the second feature, its new place is written, and not its old one.",
        ),
    ]),
    dial(&[
        ("last-pair-missing", "The last pair is not moved."),
        ("first-pair-missing", "The first pair is not moved."),
    ]),
];

fn order_by(p: &Reordered, set: &[usize]) -> Answer {
    if !p.head_dim.is_multiple_of(2) {
        return p.answer();
    }
    let pairs = p.head_dim / 2;
    let [halves, neighbors] = PAIRINGS;
    let (from, to) = [
        (p.from, p.to),
        (p.to, p.from),
        (halves, neighbors),
        (neighbors, halves),
        (p.from, p.from),
    ][set[0]];
    let mut order = vec![0; p.head_dim];
    let moved = match set[3] {
        0 => 0..pairs,
        1 => 0..pairs - 1,
        _ => 1..pairs,
    };
    for i in moved {
        let (old, new) = (from.features(i, pairs), to.features(i, pairs));
        for (how, own, (old, other), new) in
            [(set[1], i, (old.0, old.1), new.0), (set[2], i, (old.1, old.0), new.1)]
        {
            match how {
                0 => order[new] = old,
                1 => {}
                2 => order[new] = other,
                3 => order[old] = new,
                4 => order[new] = own,
                _ => order[new] = new,
            }
        }
    }
    Answer::of("order", order)
}

fn permutation_exercise() -> Exercise<Reordered> {
    Exercise::implement("permutation", Reordered::draw, Reordered::answer)
        .dials(OF_PERMUTATION, order_by)
        .mistake("the-way-back", |p| {
            Reordered { from: p.to, to: p.from, ..*p }.answer()
        })
        .hidden_by(|| eight(4))
        .mistake("always-to-neighbors", |p| {
            Reordered { head_dim: p.head_dim, ..eight(8) }.answer()
        })
        .hidden_by(|| eight(8))
        .mistake("always-to-halves", |p| {
            Reordered { head_dim: p.head_dim, from: PAIRINGS[1], to: PAIRINGS[0] }
                .answer()
        })
        .hidden_by(|| eight(4))
        .mistake("one-half-alone", |p| p.half_wrong(|order, _, new| order[new.1] = 0))
        .mistake("ends-swapped", |p| {
            p.half_wrong(|order, old, new| {
                (order[new.0], order[new.1]) = (old.1, old.0);
            })
        })
        .mistake("nothing-moves", |p| match p.head_dim % 2 {
            0 => Answer::of("order", (0..p.head_dim).collect::<Vec<_>>()),
            _ => p.answer(),
        })
        .hidden_by(|| eight(2))
        .mistake("odd-width", |p| {
            let even = permutation(p.head_dim - p.head_dim % 2, p.from, p.to);
            let mut order = even.unwrap_or_default();
            order.resize(p.head_dim, 0);
            Answer::of("order", order)
        })
        .hidden_by(|| eight(8))
}

fn eight(head_dim: usize) -> Reordered {
    Reordered { head_dim, from: Pairing::Halves, to: Pairing::Neighbors }
}

// Investigate: a longer context.

const OLD: f64 = 4096.0;
const LONG: f64 = 32_768.0;

fn stretch() -> Exercise<()> {
    Exercise::investigate("stretch", |()| stretched(left(), theta()))
        .mistake("counted-the-others", |()| stretched(64 - left(), theta()))
        .mistake("in-proportion", |()| stretched(left(), THETA * LONG / OLD))
        .mistake("same-count", |()| {
            // `ln(L / 2π) / ln θ` stays as it was.
            let same = THETA.powf((LONG / TAU).ln() / (OLD / TAU).ln());
            stretched(left(), same)
        })
        .mistake("radians", |()| {
            let turning = turning_within(&llama(THETA).unwrap(), OLD * TAU);
            stretched(64 - turning, theta())
        })
}

/// Pairs that never come around in the old context.
fn left() -> usize {
    64 - turning_within(&llama(THETA).unwrap(), OLD)
}

fn theta() -> f64 {
    ntk_aware(THETA, LONG / OLD, HEAD_DIM)
}

fn stretched(left: usize, theta: f64) -> Answer {
    let around = turning_within(&llama(theta).unwrap(), LONG);
    let theta = (theta / 1e3) as f32;
    Answer::of("predicted", theta)
        .and("left", left)
        .and("theta", theta)
        .and("around", around)
}
