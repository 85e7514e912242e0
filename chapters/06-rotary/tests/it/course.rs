//! The chapter's exercises: what they ask, and what people answer instead. `course.toml`
//! has the words.

use attention::{Linear, Mask, softmax};
use decoding::KvCache;
use exercises::{Answer, Draw, Exercise, Exercises, Value};
use grouped_query::{GroupedQueryAttention, attend_groups};
use nalgebra::{DMatrix, dmatrix};
use rotary::experiments::{THETA, llama, toy, turning_within};
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
        .with(last_sun())
        .with(features())
        .with(frequencies())
        .with(turn())
        .with(project())
        .with(prefill_exercise())
        .with(permutation_exercise())
        .with(stretch())
}

const PAIRINGS: [Pairing; 2] = [Pairing::Halves, Pairing::Neighbors];

// By hand: the last `sun`.

fn last_sun() -> Exercise<()> {
    Exercise::by_hand("by-hand", |()| finds(2, &toy_scores()))
        .mistake("first-sun", |()| finds(0, &toy_scores()))
        .mistake("not-turned", |()| {
            let x = toy().unwrap().0;
            finds(2, &(&x * x.transpose() / 2.0_f32.sqrt()))
        })
        .mistake("unscaled", |()| finds(2, &(toy_scores() * 2.0_f32.sqrt())))
        .mistake("key-turned-back", |()| {
            // The query is turned by its own position, and by the key's once more.
            let angle = |row: usize, x: &[f32; 2]| {
                let (sin, cos) = (row as f32).sin_cos();
                [x[0] * cos - x[1] * sin, x[0] * sin + x[1] * cos]
            };
            let tokens = [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]];
            let score = |q: usize, k: usize| {
                let [a, b] = angle(q + k, &tokens[q]);
                a * tokens[k][0] + b * tokens[k][1]
            };
            finds(2, &(DMatrix::from_fn(3, 3, score) / 2.0_f32.sqrt()))
        })
}

fn toy_scores() -> DMatrix<f32> {
    let (x, layer) = toy().unwrap();
    let projected = layer.project(&x, 0).unwrap();
    projected.q * projected.k.transpose() / 2.0_f32.sqrt()
}

fn finds(token: usize, scores: &DMatrix<f32>) -> Answer {
    let values = toy().unwrap().0 * 10.0;
    let weights = softmax(scores.rows(token, 1).into_owned());
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

fn features() -> Exercise<Pair> {
    Exercise::implement("features", Pair::draw, Pair::right)
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
        let theta = draw.pick(&[1e4, 100.0, 5e5, 1e4, 100.0, 0.0, -1.0]);
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
        Answer::of("tokens for one turn", turns)
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
    }

    fn pairs(&self) -> usize {
        self.head_dim / 2
    }

    fn width(&self) -> f64 {
        self.head_dim as f64
    }
}

fn frequencies() -> Exercise<Hands> {
    Exercise::implement("frequencies", Hands::draw, Hands::answer)
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
        turn: TurnPair,
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

fn turn() -> Exercise<Heads> {
    Exercise::implement("turn", Heads::draw, Heads::answer)
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
    /// `W_Q`, `W_K`, `W_V`; the output projection is the identity.
    weights: [DMatrix<f32>; 3],
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
        layer.short = draw.rarely();
        draw.show("rows that the cache lacks", layer.short);
        let width = layer.x.ncols();
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
        Layer { x, weights, turning, start, short: 0 }
    }

    fn layer(&self) -> RotaryAttention {
        let [q, k, v] =
            self.weights.clone().map(|weight| Linear::new(weight, None).unwrap());
        let (width, heads) = (self.x.ncols(), self.heads());
        let o = Linear::new(DMatrix::identity(width, width), None).unwrap();
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
        let [q, _, _] = self.raw();
        // A cache that is full refuses the chunk.
        if self.short > 0 {
            return self.in_chunks();
        }
        let q = self.turned(&q, |row, _| query(row));
        let q = q.rows(self.start, q.nrows() - self.start).into_owned();
        let groups = self.layer().layer().groups();
        let found = attend_groups(&q, keys.as_view(), v.as_view(), groups, mask);
        Layer::kept(found.unwrap().context, kept.clone())
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

fn project() -> Exercise<Layer> {
    Exercise::implement("project", Layer::draw, Layer::project)
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
        Layer { x: self.x.clone(), weights: self.weights.clone(), ..*self }
    }
}

/// One head, one token, at position 0.
fn first_token() -> Layer {
    let same = || dmatrix![1.0, 0.5; 0.0, 1.0];
    let turning = Turning { pairs: 1, pairing: Pairing::Halves };
    Layer {
        x: dmatrix![1.0, 2.0],
        weights: [same(), same(), same()],
        turning,
        start: 0,
        short: 0,
    }
}

// Implement: a chunk through the cache.

fn prefill_exercise() -> Exercise<Layer> {
    Exercise::implement("prefill", Layer::draw_chunks, Layer::in_chunks)
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

fn permutation_exercise() -> Exercise<Reordered> {
    Exercise::implement("permutation", Reordered::draw, Reordered::answer)
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
    Exercise::investigate("stretch", |()| stretched(left(), theta(TAU)))
        .mistake("counted-the-others", |()| stretched(64 - left(), theta(TAU)))
        .mistake("in-proportion", |()| stretched(left(), THETA * LONG / OLD))
        .mistake("radians", |()| {
            let never = turning_within(&llama(THETA).unwrap(), OLD * TAU);
            stretched(64 - never, theta(1.0))
        })
}

/// Pairs that never come around in the old context.
fn left() -> usize {
    64 - turning_within(&llama(THETA).unwrap(), OLD)
}

/// The base that keeps `ln(L / turn) / ln θ` as it was.
fn theta(turn: f64) -> f64 {
    THETA.powf((LONG / turn).ln() / (OLD / turn).ln())
}

fn stretched(left: usize, theta: f64) -> Answer {
    let around = turning_within(&llama(theta).unwrap(), LONG);
    let theta = (theta / 1e3) as f32;
    Answer::of("predicted", theta)
        .and("left", left)
        .and("theta", theta)
        .and("around", around)
}
