//! The chapter's exercises: what they ask, and what people answer instead. `course.toml`
//! has the words.

use attention::{Mask, ShapeError};
use exercises::{Answer, Draw, Exercise, Exercises, Value};
use minilm::smollm2::Sentence;
use nalgebra::{DMatrix, dmatrix};
use std::ops::ControlFlow;
use transformer::example::place;
use transformer::experiments::{HEAD, heads_under, toy};
use transformer::projection::Projection;
use transformer::sampling::Sampler;
use transformer::{Block, Decoder, ModelError, RmsNorm, SwiGlu, generate, silu};

#[test]
fn the_exercises_keep_their_promises() {
    let folder = env!("CARGO_MANIFEST_DIR");
    println!("{}", exercises::prove(folder, &exercises()).unwrap());
}

/// In the order of `course.toml`.
pub fn exercises() -> Exercises {
    Exercises::new()
        .with(star())
        .with(rms_norm())
        .with(silu_exercise())
        .with(swiglu())
        .with(block())
        .with(generate_exercise())
        .with(twin())
}

// By hand: a star after a sun.

fn star() -> Exercise<()> {
    Exercise::by_hand("by-hand", |()| Pencil::right().answer())
        .mistake("alone", |()| Pencil { sees: [1.0, -1.0], ..Pencil::right() }.answer())
        .mistake("no-residual", |()| Pencil { keeps: 0.0, ..Pencil::right() }.answer())
        .mistake("no-gate", |()| {
            Pencil { hidden: |gate, up| gate * up, ..Pencil::right() }.answer()
        })
        .mistake("silu-on-up", |()| {
            Pencil { hidden: |gate, up| bent(up, gate), ..Pencil::right() }.answer()
        })
        .mistake("no-last-norm", |()| {
            Pencil { last_norm: false, ..Pencil::right() }.answer()
        })
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

fn bent(gate: f32, up: f32) -> f32 {
    gate * sigmoid(gate) * up
}

/// `star` after `sun` through the block of the worked example.
struct Pencil {
    /// What the head finds.
    sees: [f32; 2],
    /// How much of the star's own row is left when attention has added to it.
    keeps: f32,
    hidden: fn(f32, f32) -> f32,
    last_norm: bool,
}

impl Pencil {
    fn right() -> Self {
        // The mean of (0.2, 1.4) and (1, -1).
        Pencil { sees: [0.6, 0.2], keeps: 1.0, hidden: bent, last_norm: true }
    }

    fn answer(&self) -> Answer {
        let sum = self.sees[0] + self.sees[1];
        let after = dmatrix![5.0, -5.0] * self.keeps + dmatrix![0.0, 10.0 * sum];
        let ready = &after / size(after.iter().copied(), 2, 0.0);
        let (one, two) = (ready[0], ready[1]);
        let thought =
            dmatrix![(self.hidden)(two - one, one), (self.hidden)(one - two, two)]
                * 10.0;
        let leaves = after + thought;
        let last = if self.last_norm {
            &leaves / size(leaves.iter().copied(), 2, 0.0)
        } else {
            leaves.clone()
        };
        let logits = last * dmatrix![1.0, 7.0, 5.0; 7.0, 1.0, -5.0];
        Answer::of("leaves", &leaves).and("logits", &logits)
    }
}

// Implement: the norm.

struct Normed {
    gain: DMatrix<f32>,
    eps: f32,
    x: DMatrix<f32>,
}

impl Normed {
    fn draw(draw: &mut Draw) -> Self {
        let (n, d) = (draw.tokens(3), draw.size(1..=4));
        let eps = draw.pick(&[0.25, 1e-5, 0.0]);
        draw.show("eps", eps);
        let gain = draw.matrix("gain", 1, d);
        let more = draw.rarely();
        let x = draw.matrix("x", n, d + more);
        Normed { gain, eps, x }
    }

    fn answer(normed: Result<DMatrix<f32>, ShapeError>) -> Answer {
        Answer::of("normed", normed)
    }

    fn right(&self) -> Answer {
        let gain = self.gain.as_slice().to_vec();
        Normed::answer(RmsNorm::new(gain, self.eps).forward(&self.x))
    }

    /// Each entry over its row's size and times its gain, if x fits.
    fn by(&self, one: impl Fn(&DMatrix<f32>, usize, usize) -> f32) -> Answer {
        let (n, d) = self.x.shape();
        if d != self.gain.len() {
            return self.right();
        }
        Normed::answer(Ok(DMatrix::from_fn(n, d, |i, j| one(&self.x, i, j))))
    }
}

fn size(numbers: impl Iterator<Item = f32>, over: usize, eps: f32) -> f32 {
    (numbers.map(|x| x * x).sum::<f32>() / over as f32 + eps).sqrt()
}

fn rms_norm() -> Exercise<Normed> {
    Exercise::implement("rms-norm", Normed::draw, Normed::right)
        .mistake("mean-taken-off", |case| {
            case.by(|x, i, j| {
                let mean = x.row(i).mean();
                let left = x.row(i).map(|x| x - mean);
                left[j] / size(left.iter().copied(), left.len(), case.eps)
                    * case.gain[j]
            })
        })
        .hidden_by(|| plain_case(dmatrix![2.0, -2.0]))
        .mistake("sum-of-squares", |case| {
            case.by(|x, i, j| {
                x[(i, j)] / size(x.row(i).iter().copied(), 1, case.eps) * case.gain[j]
            })
        })
        .hidden_by(|| plain_case(dmatrix![2.0]))
        .mistake("down-the-columns", |case| {
            case.by(|x, i, j| {
                let column = x.column(j);
                x[(i, j)] / size(column.iter().copied(), column.len(), case.eps)
                    * case.gain[j]
            })
        })
        .hidden_by(|| plain_case(dmatrix![2.0]))
        .mistake("eps-outside-the-root", |case| {
            case.by(|x, i, j| {
                let root = size(x.row(i).iter().copied(), x.ncols(), 0.0);
                x[(i, j)] / (root + case.eps) * case.gain[j]
            })
        })
        .hidden_by(|| plain_case(dmatrix![2.0, 1.0]))
        .mistake("no-gain", |case| {
            case.by(|x, i, j| {
                x[(i, j)] / size(x.row(i).iter().copied(), x.ncols(), case.eps)
            })
        })
        .hidden_by(|| plain_case(dmatrix![2.0, 1.0]))
        .mistake("gain-plus-one", |case| {
            case.by(|x, i, j| {
                let size = size(x.row(i).iter().copied(), x.ncols(), case.eps);
                x[(i, j)] / size * (1.0 + case.gain[j])
            })
        })
        .hidden_by(|| Normed { eps: 0.25, ..plain_case(dmatrix![0.0, 0.0]) })
}

/// Gains of 1 and no eps.
fn plain_case(x: DMatrix<f32>) -> Normed {
    Normed { gain: DMatrix::repeat(1, x.ncols(), 1.0), eps: 0.0, x }
}

// Implement: silu.

fn some_numbers(draw: &mut Draw) -> DMatrix<f32> {
    let count = draw.tokens(4);
    let far = draw.pick(&[1.0, 1.0, 25.0]);
    let numbers = draw.numbers(1, count) * far;
    draw.show("numbers", Value::from(&numbers));
    numbers
}

fn of_each(numbers: &DMatrix<f32>, one: impl Fn(f32) -> f32) -> Answer {
    Answer::of("numbers", numbers.map(one))
}

fn silu_exercise() -> Exercise<DMatrix<f32>> {
    Exercise::implement("silu", some_numbers, |numbers| {
        let mut bent = numbers.clone();
        silu(bent.as_mut_slice());
        Answer::of("numbers", &bent)
    })
    .mistake("sigmoid-alone", |numbers| of_each(numbers, sigmoid))
    .mistake("other-side", |numbers| of_each(numbers, |x| x * sigmoid(-x)))
    .hidden_by(|| dmatrix![0.0, 0.0])
    .mistake("relu", |numbers| of_each(numbers, |x| x.max(0.0)))
    .hidden_by(|| dmatrix![100.0, -100.0])
}

// Implement: the feed-forward network.

struct Gated {
    gate: DMatrix<f32>,
    up: DMatrix<f32>,
    down: DMatrix<f32>,
    x: DMatrix<f32>,
}

impl Gated {
    fn draw(draw: &mut Draw) -> Self {
        let (n, d, wide) = (draw.tokens(2), draw.size(1..=2), draw.size(1..=3));
        let gate = draw.matrix("gate_proj", d, wide);
        let [more_up, more_x] = [draw.rarely(), draw.rarely()];
        let up = draw.matrix("up_proj", d, wide + more_up);
        let down = draw.matrix("down_proj", wide, d);
        let x = draw.matrix("x", n, d + more_x);
        Gated { gate, up, down, x }
    }

    fn right(&self) -> Answer {
        let of = |weight: &DMatrix<f32>| Projection::of(weight.clone());
        let network = SwiGlu {
            gate_proj: of(&self.gate),
            up_proj: of(&self.up),
            down_proj: of(&self.down),
        };
        Answer::of("y", network.forward(&self.x))
    }

    fn by(&self, hidden: impl Fn(f32, f32) -> f32) -> Answer {
        let fits =
            self.x.ncols() == self.gate.nrows() && self.up.shape() == self.gate.shape();
        if !fits {
            return self.right();
        }
        let (gate, up) = (&self.x * &self.gate, &self.x * &self.up);
        let y = gate.zip_map(&up, hidden) * &self.down;
        Answer::of("y", Ok::<_, ShapeError>(y))
    }
}

fn zeros_of_gated() -> Gated {
    let one = || dmatrix![1.0, -2.0];
    Gated { gate: one(), up: one(), down: dmatrix![1.0; 1.0], x: dmatrix![0.0] }
}

fn swiglu() -> Exercise<Gated> {
    Exercise::implement("swiglu", Gated::draw, Gated::right)
        .mistake("silu-on-up", |case| case.by(|gate, up| bent(up, gate)))
        .hidden_by(|| Gated { x: dmatrix![1.0], ..zeros_of_gated() })
        .mistake("no-silu", |case| case.by(|gate, up| gate * up))
        .hidden_by(zeros_of_gated)
        .mistake("added", |case| case.by(|gate, up| gate * sigmoid(gate) + up))
        .mistake("silu-on-both", |case| {
            case.by(|gate, up| bent(gate, up * sigmoid(up)))
        })
        .hidden_by(zeros_of_gated)
}

// Implement: the block.

struct Through {
    block: Block,
    /// Of the norm of attention, and of that of the feed-forward network.
    gains: [DMatrix<f32>; 2],
    x: DMatrix<f32>,
    found: DMatrix<f32>,
}

impl Through {
    fn draw(draw: &mut Draw) -> Self {
        let n = draw.size(1..=2);
        let gains = ["attention_norm", "ffn_norm"].map(|name| draw.matrix(name, 1, 2));
        let x = draw.matrix("x", n, 2);
        let found = draw.matrix("attend multiplies the normed rows with", n, 2);
        Through::of(gains, x, found)
    }

    fn of(gains: [DMatrix<f32>; 2], x: DMatrix<f32>, found: DMatrix<f32>) -> Self {
        let norm = |gain: &DMatrix<f32>| RmsNorm::new(gain.as_slice().to_vec(), EPS);
        let toy = toy().unwrap().blocks.remove(0);
        let (attention_norm, ffn_norm) = (norm(&gains[0]), norm(&gains[1]));
        let block = Block { attention_norm, ffn_norm, ..toy };
        Through { block, gains, x, found }
    }

    fn attended(&self, normed: &DMatrix<f32>) -> DMatrix<f32> {
        normed.component_mul(&self.found)
    }

    fn right(&self) -> Answer {
        let mut given = DMatrix::zeros(0, 0);
        let y = self.block.forward(self.x.clone(), |_, normed| {
            given = normed.clone();
            Ok(self.attended(normed))
        });
        Answer::of("what attend is given", &given).and("y", y.unwrap_or_default())
    }

    /// The normed rows, and what attention gives.
    fn first(&self) -> (DMatrix<f32>, DMatrix<f32>) {
        let normed = by_size(&self.gains[0], &self.x);
        let found = self.attended(&normed);
        (normed, found)
    }
}

fn through(normed: &DMatrix<f32>, y: &DMatrix<f32>) -> Answer {
    Answer::of("what attend is given", normed).and("y", y)
}

/// The network of the worked example, without its own function.
fn think(x: &DMatrix<f32>) -> DMatrix<f32> {
    let gate = x * dmatrix![-1.0, 1.0; 1.0, -1.0];
    gate.zip_map(x, bent) * 10.0
}

const EPS: f32 = 1.0;

/// The norm with these gains, without its function.
fn by_size(gain: &DMatrix<f32>, x: &DMatrix<f32>) -> DMatrix<f32> {
    DMatrix::from_fn(x.nrows(), x.ncols(), |i, j| {
        x[(i, j)] / size(x.row(i).iter().copied(), x.ncols(), EPS) * gain[j]
    })
}

fn block() -> Exercise<Through> {
    Exercise::implement("block", Through::draw, Through::right)
        .mistake("no-residual", |case| {
            let (normed, found) = case.first();
            let y = &found + think(&by_size(&case.gains[1], &found));
            through(&normed, &y)
        })
        .mistake("added-to-the-normed", |case| {
            let (normed, found) = case.first();
            let x = &normed + found;
            let ready = by_size(&case.gains[1], &x);
            let y = &ready + think(&ready);
            through(&normed, &y)
        })
        .mistake("side-by-side", |case| {
            let (normed, found) = case.first();
            let thought = think(&by_size(&case.gains[1], &case.x));
            through(&normed, &(&case.x + found + thought))
        })
        .hidden_by(|| one_row(dmatrix![0.0, 0.0]))
        .mistake("one-norm-twice", |case| {
            let (normed, found) = case.first();
            let x = &case.x + found;
            let y = &x + think(&by_size(&case.gains[0], &x));
            through(&normed, &y)
        })
        .hidden_by(|| one_row(dmatrix![1.0, 2.0]))
        .mistake("not-normed", |case| {
            let (normed, found) = case.first();
            let x = &case.x + found;
            let y = &x + think(&x);
            through(&normed, &y)
        })
}

/// Two norms with the same gains.
fn one_row(found: DMatrix<f32>) -> Through {
    let gain = || dmatrix![1.0, 1.0];
    Through::of([gain(), gain()], dmatrix![1.0, 7.0], found)
}

// Implement: the loop.

struct Written {
    prompt: Vec<u32>,
    most: usize,
    /// `say` breaks off when it was told so many.
    stops: usize,
}

impl Written {
    fn draw(draw: &mut Draw) -> Self {
        let count = draw.tokens(3);
        let prompt: Vec<u32> = (0..count).map(|_| draw.pick(&[0, 1, 2])).collect();
        let most = draw.size(0..=4);
        let stops = draw.pick(&[9, 2, 1]);
        draw.show("prompt", prompt.iter().map(|&t| t as usize).collect::<Vec<_>>());
        draw.show("most", most);
        draw.show("say breaks off when it was told", stops);
        Written { prompt, most, stops }
    }

    /// What `say` was told by `run`, and whether that ended well.
    fn told(
        &self,
        run: impl FnOnce(
            &Decoder,
            &mut dyn FnMut(u32) -> ControlFlow<()>,
        ) -> Result<(), ModelError>,
    ) -> Answer {
        let mut told = Vec::new();
        let mut say = |token: u32| {
            told.push(token as usize);
            if told.len() >= self.stops {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let ended = run(&toy_that_remembers(), &mut say).map(|()| "well");
        Answer::of("what say was told", told).and("ended", ended)
    }

    fn right(&self) -> Answer {
        self.told(|model, say| {
            generate(model, &self.prompt, self.most, &mut Sampler::greedy(), say)
        })
    }

    /// The loop with other choices: what is read in a step, and whether caches are new.
    fn by(
        &self,
        most: usize,
        goes_on: bool,
        new_caches: bool,
        read: impl Fn(&[u32], &[u32], usize) -> Vec<u32>,
    ) -> Answer {
        self.told(|model, say| {
            let mut all = self.prompt.clone();
            let mut caches = model.caches(99);
            for step in 0..most {
                if new_caches {
                    caches = model.caches(99);
                }
                let unread = read(&self.prompt, &all, step);
                let logits = model.next(&unread, &mut caches)?;
                let token = Sampler::greedy().pick(logits.as_slice());
                all.push(token);
                if say(token).is_break() && !goes_on {
                    break;
                }
            }
            Ok(())
        })
    }
}

/// The worked example, but its head takes away the mean of what it sees, so that what comes
/// next depends on all of the text and not on its last word alone.
fn toy_that_remembers() -> Decoder {
    let mut model = toy().unwrap();
    model.blocks[0].attention.o_proj = Projection::of(dmatrix![-20.0, 0.0; 0.0, -20.0]);
    model
}

fn unread(prompt: &[u32], all: &[u32], step: usize) -> Vec<u32> {
    if step == 0 { prompt.to_vec() } else { all[all.len() - 1..].to_vec() }
}

fn generate_exercise() -> Exercise<Written> {
    Exercise::implement("generate", Written::draw, Written::right)
        .mistake("prompt-again", |case| {
            case.by(case.most, false, false, |_, all, _| all.to_vec())
        })
        .hidden_by(|| Written { prompt: vec![0, 1], most: 1, stops: 9 })
        .mistake("prompt-forgotten", |case| {
            let last =
                |_: &[u32], all: &[u32], _| all[all.len().saturating_sub(1)..].to_vec();
            case.by(case.most, false, false, last)
        })
        .hidden_by(|| Written { prompt: vec![1], most: 3, stops: 9 })
        .mistake("new-caches", |case| case.by(case.most, false, true, unread))
        .hidden_by(|| Written { prompt: vec![0, 1], most: 1, stops: 9 })
        .mistake("one-too-many", |case| case.by(case.most + 1, false, false, unread))
        .mistake("goes-on-after-break", |case| case.by(case.most, true, false, unread))
        .hidden_by(|| Written { prompt: vec![0, 1], most: 3, stops: 9 })
}

// Investigate: the twin, when `it` may see the end of both sentences.

fn twin() -> Exercise<()> {
    Exercise::investigate("twin", |()| both(&Mask::None, "animal"))
        .mistake("masked", |()| both(&Mask::Causal { offset: 0 }, "animal"))
        .mistake("on-the-first", |()| both(&Mask::None, "The"))
}

fn both(mask: &Mask, key: &str) -> Answer {
    let [tired, wide] =
        [Sentence::Tired, Sentence::Wide].map(|sentence| weight(mask, sentence, key));
    Answer::of("guess-tired", tired)
        .and("guess-wide", wide)
        .and("tired", tired)
        .and("wide", wide)
}

fn weight(mask: &Mask, sentence: Sentence, key: &str) -> f32 {
    let (tokens, weights) = heads_under(mask, sentence).unwrap();
    weights[HEAD][(place(&tokens, "it").unwrap(), place(&tokens, key).unwrap())]
}
