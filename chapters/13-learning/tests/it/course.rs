//! The chapter's exercises: what they ask, and what people answer instead. `course.toml`
//! has the words.

use attention::Mask;
use decoder_layer::Parts;
use exercises::{Answer, Draw, Exercise, Exercises};
use grouped_query::Groups;
use learning::experiments::counting;
use learning::training::experiments::{Experiment, STEPS, recorded};
use learning::training::{Task, Variant};
use learning::{
    AttendGradients, attend_backward, heads_backward, rotation_backward,
    softmax_backward_by_rows,
};
use nalgebra::{DMatrix, dmatrix};
use rotary::{Pairing, Rotary};

#[test]
fn the_exercises_keep_their_promises() {
    let folder = env!("CARGO_MANIFEST_DIR");
    println!("{}", exercises::prove(folder, &exercises()).unwrap());
}

/// In the order of `course.toml`.
pub fn exercises() -> Exercises {
    Exercises::new()
        .with(by_hand())
        .with(softmax())
        .with(attend())
        .with(groups())
        .with(rotation())
        .with(plateau())
}

// By hand: what three keys and values are asked for.

fn by_hand() -> Exercise<()> {
    Exercise::by_hand("by-hand", |()| {
        asked(&softmax_backward_by_rows(&three_weights(), &of_weights()))
    })
    .mistake("no-average", |()| asked(&three_weights().component_mul(&of_weights())))
    .mistake("only-the-diagonal", |()| {
        asked(&three_weights().map(|a| a * (1.0 - a)).component_mul(&of_weights()))
    })
}

fn three_weights() -> DMatrix<f32> {
    dmatrix![0.5, 0.25, 0.25]
}

/// The output's gradient is 2, the values are 2, 4 and 0.
fn of_weights() -> DMatrix<f32> {
    dmatrix![2.0, 4.0, 0.0] * 2.0
}

fn asked(d_scores: &DMatrix<f32>) -> Answer {
    Answer::of("values", &(three_weights() * 2.0)).and("scores", d_scores)
}

// Implement: from the gradients of weights to those of scores.

struct Rows {
    weights: DMatrix<f32>,
    d_weights: DMatrix<f32>,
}

impl Rows {
    fn draw(draw: &mut Draw) -> Self {
        let [queries, keys] = [draw.size(1..=3), draw.size(1..=4)];
        let weights = shares(&draw.numbers(queries, keys));
        draw.show("weights", &weights);
        Rows { weights, d_weights: draw.matrix("d_weights", queries, keys) }
    }

    fn right(&self) -> Answer {
        Answer::of("d_scores", softmax_backward_by_rows(&self.weights, &self.d_weights))
    }

    fn by(&self, one: impl Fn(usize, f32, f32) -> f32) -> Answer {
        let (rows, columns) = self.weights.shape();
        let of = |query, key| {
            one(query, self.weights[(query, key)], self.d_weights[(query, key)])
        };
        Answer::of("d_scores", DMatrix::from_fn(rows, columns, of))
    }
}

/// Softmax without the chapter's code, which the reader may be writing.
fn shares(scores: &DMatrix<f32>) -> DMatrix<f32> {
    let mut shares = scores.map(f32::exp);
    for mut row in shares.row_iter_mut() {
        let sum = row.sum();
        row /= sum;
    }
    shares
}

fn softmax() -> Exercise<Rows> {
    Exercise::implement("softmax", Rows::draw, Rows::right)
        .mistake("no-average", |case| case.by(|_, a, d| a * d))
        .hidden_by(|| Rows {
            weights: dmatrix![0.5, 0.5],
            d_weights: dmatrix![1.0, -1.0],
        })
        .mistake("only-the-diagonal", |case| case.by(|_, a, d| a * (1.0 - a) * d))
        .hidden_by(|| Rows { weights: dmatrix![1.0], d_weights: dmatrix![2.0] })
        .mistake("plain-mean", |case| {
            case.by(|query, a, d| a * (d - case.d_weights.row(query).mean()))
        })
        .hidden_by(|| Rows {
            weights: dmatrix![0.5, 0.5],
            d_weights: dmatrix![2.0, 1.0],
        })
}

// Implement: the way back through attention.

struct Attended {
    q: DMatrix<f32>,
    k: DMatrix<f32>,
    v: DMatrix<f32>,
    weights: DMatrix<f32>,
    d_output: DMatrix<f32>,
}

impl Attended {
    fn draw(draw: &mut Draw) -> Self {
        let [queries, keys] = [draw.size(1..=3), draw.size(1..=4)];
        let [d_k, d_v] = [draw.size(1..=3), draw.size(1..=3)];
        let more = draw.rarely();
        let weights = shares(&draw.numbers(queries, keys));
        draw.show("weights", &weights);
        Attended {
            q: draw.matrix("q", queries, d_k),
            k: draw.matrix("k", keys, d_k),
            v: draw.matrix("v", keys, d_v),
            d_output: draw.matrix("d_output", queries, d_v + more),
            weights,
        }
    }

    fn right(&self) -> Answer {
        let qkv = [self.q.as_view(), self.k.as_view(), self.v.as_view()];
        match attend_backward(qkv, &self.weights, self.d_output.as_view()) {
            Ok(AttendGradients { q, k, v }) => given(&q, &k, &v),
            Err(_) => Answer::of("q", "does not fit"),
        }
    }

    /// What the chapter's formula gives with the gradient of scores made by `of_scores`,
    /// and queries and keys divided by powers of √d.
    fn by(
        &self,
        of_scores: fn(&DMatrix<f32>, &DMatrix<f32>) -> DMatrix<f32>,
        [of_q, of_k]: [i32; 2],
    ) -> Answer {
        if self.d_output.ncols() != self.v.ncols() {
            return self.right();
        }
        let root = (self.q.ncols() as f32).sqrt();
        let d_weights = &self.d_output * self.v.transpose();
        let d_scores = of_scores(&self.weights, &d_weights);
        let q = &d_scores * &self.k / root.powi(of_q);
        let k = d_scores.transpose() * &self.q / root.powi(of_k);
        given(&q, &k, &(self.weights.transpose() * &self.d_output))
    }

    fn of_one_feature() -> Self {
        Attended {
            q: dmatrix![1.0],
            k: dmatrix![1.0; -1.0],
            v: dmatrix![1.0; 2.0],
            weights: dmatrix![0.75, 0.25],
            d_output: dmatrix![1.0],
        }
    }
}

fn given(q: &DMatrix<f32>, k: &DMatrix<f32>, v: &DMatrix<f32>) -> Answer {
    Answer::of("q", q).and("k", k).and("v", v)
}

fn attend() -> Exercise<Attended> {
    Exercise::implement("attend", Attended::draw, Attended::right)
        .mistake("unscaled", |case| case.by(softmax_backward_by_rows, [0, 0]))
        .hidden_by(Attended::of_one_feature)
        .mistake("keys-unscaled", |case| case.by(softmax_backward_by_rows, [1, 0]))
        .hidden_by(Attended::of_one_feature)
        .mistake("weights-for-scores", |case| case.by(|_, d| d.clone(), [1, 1]))
}

// Implement: several heads ask one key.

struct Shared {
    heads: usize,
    kv_heads: usize,
    q: DMatrix<f32>,
    k: DMatrix<f32>,
    v: DMatrix<f32>,
    d_found: DMatrix<f32>,
}

/// Features of a head.
const WIDTH: usize = 2;

impl Shared {
    fn draw(draw: &mut Draw) -> Self {
        let tokens = draw.size(1..=3);
        let kv_heads = draw.size(1..=2);
        let heads = kv_heads * draw.size(1..=3);
        draw.show("heads", heads);
        draw.show("kv_heads", kv_heads);
        Shared {
            heads,
            kv_heads,
            q: draw.matrix("q", tokens, heads * WIDTH),
            k: draw.matrix("k", tokens, kv_heads * WIDTH),
            v: draw.matrix("v", tokens, kv_heads * WIDTH),
            d_found: draw.matrix("d_found", tokens, heads * WIDTH),
        }
    }

    fn parts(&self) -> Parts {
        Parts::plain(Groups::new(self.heads, self.kv_heads).unwrap(), WIDTH)
    }

    fn weights(&self) -> Vec<DMatrix<f32>> {
        let (k, v) = (self.k.as_view(), self.v.as_view());
        self.parts().attend(&self.q, k, v, &Mask::None).unwrap().weights
    }

    fn right(&self) -> Answer {
        let (k, v) = (self.k.as_view(), self.v.as_view());
        let weights = self.weights();
        let d = heads_backward(&self.parts(), &self.q, k, v, &weights, &self.d_found);
        let d = d.unwrap();
        given(&d.q, &d.k, &d.v)
    }

    /// The gradients of keys and values of each head, added to the key that `asks` says,
    /// so many times.
    fn by(&self, asks: impl Fn(usize) -> (usize, f32)) -> Answer {
        let weights = self.weights();
        let mut q = DMatrix::zeros(self.q.nrows(), self.q.ncols());
        let mut k = DMatrix::zeros(self.k.nrows(), self.k.ncols());
        let mut v = k.clone();
        for (h, weights) in weights.iter().enumerate() {
            let own = h / (self.heads / self.kv_heads);
            let of = |m: &DMatrix<f32>, h| m.columns(h * WIDTH, WIDTH).into_owned();
            let [keys, values] = [of(&self.k, own), of(&self.v, own)];
            let (queries, d) = (of(&self.q, h), of(&self.d_found, h));
            let qkv = [queries.as_view(), keys.as_view(), values.as_view()];
            let d = attend_backward(qkv, weights, d.as_view()).unwrap();
            q.columns_mut(h * WIDTH, WIDTH).copy_from(&d.q);
            let (at, times) = asks(h);
            let mut into = k.columns_mut(at * WIDTH, WIDTH);
            into += d.k * times;
            let mut into = v.columns_mut(at * WIDTH, WIDTH);
            into += d.v * times;
        }
        given(&q, &k, &v)
    }

    fn own_keys() -> Self {
        let numbers = dmatrix![1.0, 2.0, -1.0, 0.5];
        Shared {
            heads: 2,
            kv_heads: 2,
            q: numbers.clone(),
            k: numbers.clone(),
            v: numbers.clone(),
            d_found: numbers,
        }
    }
}

fn groups() -> Exercise<Shared> {
    Exercise::implement("groups", Shared::draw, Shared::right)
        .mistake("first-head", |case| {
            let size = case.heads / case.kv_heads;
            case.by(|h| (h / size, if h % size == 0 { 1.0 } else { 0.0 }))
        })
        .hidden_by(Shared::own_keys)
        .mistake("mean", |case| {
            let size = case.heads / case.kv_heads;
            case.by(|h| (h / size, 1.0 / size as f32))
        })
        .hidden_by(Shared::own_keys)
        .mistake("in-turns", |case| case.by(|h| (h % case.kv_heads, 1.0)))
        .hidden_by(Shared::own_keys)
}

// Implement: turn back.

struct Turned {
    pairing: Pairing,
    first: usize,
    d: DMatrix<f32>,
}

impl Turned {
    fn draw(draw: &mut Draw) -> Self {
        let [tokens, heads] = [draw.size(1..=3), draw.size(1..=2)];
        let pairing = draw.pick(&[Pairing::Halves, Pairing::Neighbors]);
        let first = draw.pick(&[0, 1, 7]);
        let more = draw.rarely();
        draw.show("pairing", format!("{pairing:?}"));
        draw.show("first position", first);
        Turned { pairing, first, d: draw.matrix("d", tokens, heads * 4 + more) }
    }

    fn by(
        &self,
        turn: impl Fn(
            &rotary::Angles,
            &mut DMatrix<f32>,
        ) -> Result<(), attention::ShapeError>,
    ) -> Answer {
        let rotary = Rotary::new(4, 100.0, self.pairing).unwrap();
        let angles = rotary.angles(self.first..self.first + self.d.nrows());
        let mut d = self.d.clone();
        match turn(&angles, &mut d) {
            Ok(()) => Answer::of("d", &d),
            Err(_) => Answer::of("d", "does not fit"),
        }
    }
}

fn at_the_start() -> Turned {
    Turned { pairing: Pairing::Halves, first: 0, d: dmatrix![1.0, 2.0, 3.0, 4.0] }
}

fn rotation() -> Exercise<Turned> {
    Exercise::implement("rotation", Turned::draw, |case| case.by(rotation_backward))
        .mistake("forward", |case| case.by(rotary::Angles::rotate))
        .hidden_by(at_the_start)
        .mistake("not-turned", |case| {
            // What does not fit is refused all the same.
            case.by(|angles, d| angles.rotate(&mut d.clone()))
        })
        .hidden_by(at_the_start)
}

// Investigate: what a model knows before it can look anything up.

fn plateau() -> Exercise<()> {
    Exercise::investigate("plateau", |()| {
        let (task, variant) = (Task::Recall, Variant::MultiQuery);
        let case = Experiment::new(task, variant, STEPS).case("loss");
        let found = recorded().unwrap().spread(&case, STEPS / 2).unwrap();
        Answer::of("guess", counting(8, 4000).loss as f32)
            .and("loss", found.median as f32)
    })
    .mistake("eight-different", |()| said(8_f32.ln()))
    .mistake("all-values", |()| said(16_f32.ln()))
}

fn said(loss: f32) -> Answer {
    Answer::of("guess", loss).and("loss", loss)
}
