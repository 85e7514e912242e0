//! The chapter's exercises: what they ask, and what people answer instead. `course.toml`
//! has the words.

use attention::{Mask, ShapeError, softmax};
use exercises::{Answer, Dial, Draw, Exercise, Exercises, Norm, OF_NORM, Value, dial};
use minilm::smollm2::Sentence;
use nalgebra::{DMatrix, dmatrix};
use std::ops::ControlFlow;
use transformer::caches::Cache;
use transformer::example::place;
use transformer::experiments::{HEAD, heads_under, toy};
use transformer::gated::{SwiGlu, silu};
use transformer::norms::RmsNorm;
use transformer::projection::Projection;
use transformer::sampling::Sampler;
use transformer::{Block, Decoder, ModelError, generate};

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

impl Normed {
    fn set_to(&self, set: &[usize]) -> Answer {
        if self.x.ncols() != self.gain.len() {
            return self.right();
        }
        let norm = Norm { x: &self.x, weight: &self.gain, eps: self.eps };
        Normed::answer(Ok(norm.by(set)))
    }
}

fn size(numbers: impl Iterator<Item = f32>, over: usize, eps: f32) -> f32 {
    (numbers.map(|x| x * x).sum::<f32>() / over as f32 + eps).sqrt()
}

fn rms_norm() -> Exercise<Normed> {
    Exercise::implement("rms-norm", Normed::draw, Normed::right)
        .dials(OF_NORM, Normed::set_to)
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

/// What bends a number, and which numbers are bent.
const OF_SILU: &[Dial] = &[
    dial(&[
        ("sigmoid-alone", "You stored σ(x). silu is x times that."),
        ("relu", "You cut at 0, as relu does."),
        ("gelu", "You took GELU: it multiplies x by the normal distribution's share."),
        ("gelu-by-sigmoid", "You took the σ of 1.702 x, which is close to GELU."),
        ("tanh", "You multiplied by the hyperbolic tangent: silu multiplies by σ(x)."),
        ("tanh-alone", "You stored the hyperbolic tangent of x."),
        ("softplus", "You took ln(1 + eˣ), which is softplus."),
        (
            "other-side",
            "You multiplied by σ(-x): the gate is open where it is to be shut.",
        ),
        ("square", "You multiplied by x twice: silu is x · σ(x)."),
        ("not-bent", "The numbers are left as they came."),
        ("twice", "silu is taken twice."),
        ("slope", "You stored the slope of silu, and not silu itself."),
        ("elu", "Below 0 you took eˣ - 1, as ELU does."),
        ("powers-of-two", "Powers of 2 are taken in place of powers of e."),
        ("sign-turned", "The result has the opposite sign."),
        ("swish-half", "You took the σ of x/2."),
        ("swish-two", "You took the σ of 2x."),
        ("sum-for-product", "x is added to σ(x), and not multiplied by it."),
    ]),
    dial(&[
        ("first-left", "The first number is left as it came."),
        ("last-left", "The last number is left as it came."),
        ("first-for-all", "All numbers are what comes of the first one."),
        ("softmax", "Shares of all numbers together stand where each has its own σ."),
    ]),
    dial(&[
        (
            "overflows",
            "Large numbers give NaN: eˣ overflows above and below the line. Take e to \
             the minus of its absolute value.",
        ),
        (
            "overflows-below",
            "Numbers far below 0 give NaN or 0/0: e to the minus x overflows.",
        ),
    ]),
];

fn bent_by(how: usize, x: f32) -> f32 {
    let s = sigmoid(x);
    match how {
        0 => x * s,
        1 => s,
        2 => x.max(0.0),
        3 => {
            let inner = 0.797_884_6 * (x + 0.044_715 * x * x * x);
            0.5 * x * (1.0 + inner.tanh())
        }
        4 => x * sigmoid(1.702 * x),
        5 => x * x.tanh(),
        6 => x.tanh(),
        7 => x.max(0.0) + (-x.abs()).exp().ln_1p(),
        8 => x * sigmoid(-x),
        9 => x * x * s,
        10 => x,
        11 => x * s * sigmoid(x * s),
        12 => s * (1.0 + x * (1.0 - s)),
        13 if x > 0.0 => x,
        13 => x.exp() - 1.0,
        14 => x / (1.0 + (-x).exp2()),
        15 => -x * s,
        16 => x * sigmoid(0.5 * x),
        17 => x * sigmoid(2.0 * x),
        _ => x + s,
    }
}

fn silu_by(numbers: &DMatrix<f32>, set: &[usize]) -> Answer {
    let bent = |at: usize| {
        let x = numbers[at];
        match (set[1], set[2]) {
            (1, _) if at == 0 => x,
            (2, _) if at + 1 == numbers.len() => x,
            (3, _) => bent_by(set[0], numbers[0]),
            (4, _) => {
                x * (x - numbers.max()).exp()
                    / numbers.add_scalar(-numbers.max()).map(f32::exp).sum()
            }
            (_, 1) if x.exp().is_infinite() => f32::NAN,
            (_, 2) if (-x).exp().is_infinite() => f32::NAN,
            _ => bent_by(set[0], x),
        }
    };
    Answer::of("numbers", DMatrix::from_fn(1, numbers.ncols(), |_, at| bent(at)))
}

fn silu_exercise() -> Exercise<DMatrix<f32>> {
    Exercise::implement("silu", some_numbers, |numbers| {
        let mut bent = numbers.clone();
        silu(bent.as_mut_slice());
        Answer::of("numbers", &bent)
    })
    .dials(OF_SILU, silu_by)
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

/// What bends the gate, what becomes of `up`, how the two meet, and what follows.
const OF_SWIGLU: &[Dial] = &[
    dial(&[
        ("no-silu", "The gate is not bent: silu is missing."),
        (
            "sigmoid-gate",
            "The gate is σ(x), as in GLU: in SwiGLU it is silu, x · σ(x).",
        ),
        ("relu-gate", "The gate is cut at 0, as relu does: it should be silu."),
        ("gelu-gate", "The gate goes through GELU, as in GeGLU: it should be silu."),
        (
            "tanh-gate",
            "The gate goes through the hyperbolic tangent: it should be silu.",
        ),
        ("gate-bent-twice", "silu is taken of the gate twice."),
        (
            "softmax-gate",
            "The gates of a row are shares that sum to 1: softmax took the \
             place of silu.",
        ),
        ("gate-missing", "The gate is missing: what passes is `up`."),
    ]),
    dial(&[
        ("silu-on-up", "`up` goes through silu as well, or in place of the gate."),
        ("no-up", "`up` is missing: what passes is the gate."),
        ("gate-for-up", "The gate's projection stands where that of `up` belongs."),
        ("up-for-gate", "`up` stands where the gate belongs."),
        ("swapped", "Gate and up have changed places."),
    ]),
    dial(&[
        ("added", "Gate and up are added: they are multiplied."),
        ("subtracted", "`up` is subtracted from the gate: they are multiplied."),
        ("square", "The product is taken twice."),
    ]),
    dial(&[
        (
            "silu-on-the-product",
            "silu is taken of the product, behind the multiplication.",
        ),
        ("silu-at-the-end", "silu is taken of what leaves `down_proj`."),
        ("normed", "Hidden rows are divided by their size before `down_proj`."),
    ]),
    dial(&[
        ("x-added", "x is added to the result: that is the block's to do."),
        ("x-multiplied", "The result is multiplied by x."),
        ("doubled", "The result is twice what it should be."),
        ("over-hidden", "The result is divided by the hidden width."),
        (
            "over-root-of-hidden",
            "The result is divided by the root of the hidden width.",
        ),
    ]),
];

impl Gated {
    fn set_to(&self, set: &[usize]) -> Answer {
        let fits =
            self.x.ncols() == self.gate.nrows() && self.up.shape() == self.gate.shape();
        if !fits {
            return self.right();
        }
        let [gate, up] = [&self.x * &self.gate, &self.x * &self.up];
        let [gate, up] = match set[1] {
            3 => [gate.clone(), gate],
            4 => [up.clone(), up],
            5 => [up, gate],
            _ => [gate, up],
        };
        let bent = match set[0] {
            6 => gate.map(|x| bent_by(0, bent_by(0, x))),
            7 => softmax(gate),
            8 => DMatrix::repeat(gate.nrows(), gate.ncols(), 1.0),
            how => gate.map(|x| bent_by([0, 10, 1, 2, 3, 6][how], x)),
        };
        let up = match set[1] {
            1 => up.map(|x| bent_by(0, x)),
            2 => DMatrix::repeat(up.nrows(), up.ncols(), 1.0),
            _ => up,
        };
        let met = match set[2] {
            0 => bent.component_mul(&up),
            1 => bent + up,
            2 => bent - up,
            _ => bent.component_mul(&up).map(|x| x * x),
        };
        let hidden = match set[3] {
            1 => met.map(|x| bent_by(0, x)),
            3 => by_size(&DMatrix::repeat(1, met.ncols(), 1.0), &met),
            _ => met,
        };
        let wide = hidden.ncols() as f32;
        let y = hidden * &self.down;
        let y = if set[3] == 2 { y.map(|x| bent_by(0, x)) } else { y };
        let y = match set[4] {
            0 => y,
            1 => y + &self.x,
            2 => y.component_mul(&self.x),
            3 => y * 2.0,
            4 => y / wide,
            _ => y / wide.sqrt(),
        };
        Answer::of("y", Ok::<_, ShapeError>(y))
    }
}

fn zeros_of_gated() -> Gated {
    let one = || dmatrix![1.0, -2.0];
    Gated { gate: one(), up: one(), down: dmatrix![1.0; 1.0], x: dmatrix![0.0] }
}

fn swiglu() -> Exercise<Gated> {
    Exercise::implement("swiglu", Gated::draw, Gated::right)
        .dials(OF_SWIGLU, Gated::set_to)
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
        let norm =
            |gain: &DMatrix<f32>| RmsNorm::new(gain.as_slice().to_vec(), EPS).into();
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

/// What attention is given, what it is added to, what the network is given, and what that
/// is added to.
const OF_BLOCK: &[Dial] = &[
    dial(&[
        ("attention-not-normed", "Attention is given the stream as it is, not normed."),
        (
            "attention-by-ffn-norm",
            "Attention is given what `ffn_norm` makes of the stream.",
        ),
        ("attention-normed-twice", "Attention is given rows that are normed twice."),
    ]),
    dial(&[
        (
            "first-residual-lost",
            "What attention found takes the place of the stream: it is added.",
        ),
        (
            "attention-added-to-the-normed",
            "What attention found is added to the normed rows, and not to the stream.",
        ),
        ("attention-lost", "What attention found is not added: it is lost."),
        ("attention-twice", "What attention found is added twice."),
    ]),
    dial(&[
        ("network-not-normed", "The network reads rows that are not normed."),
        ("network-by-attention-norm", "The network reads what `attention_norm` makes."),
        ("network-normed-twice", "The network reads rows that are normed twice."),
        (
            "normed-by-both",
            "The network reads rows that both norms were applied to, one after the other.",
        ),
    ]),
    dial(&[
        (
            "network-reads-the-input",
            "The network reads the stream as it came in: it reads what attention left.",
        ),
        (
            "network-reads-what-was-found",
            "The network reads what attention found, without the stream.",
        ),
        (
            "network-reads-the-normed",
            "The network reads the rows normed for attention.",
        ),
    ]),
    dial(&[
        (
            "second-residual-lost",
            "What the network gives takes the place of the stream: it is added.",
        ),
        (
            "network-added-to-the-normed",
            "What the network gives is added to the rows that it read, and not to the \
             stream.",
        ),
        (
            "network-added-to-the-input",
            "What the network gives is added to the stream as it came in: what attention \
             added is lost.",
        ),
        ("network-lost", "What the network gives is not added: it is lost."),
        ("network-twice", "What the network gives is added twice."),
        (
            "input-added-again",
            "The stream as it came in is added once more at the end.",
        ),
    ]),
    dial(&[
        (
            "norms-after-the-sums",
            "Each norm comes behind its sum, as in the first Transformers: here it stands \
             on the branch.",
        ),
        ("normed-at-the-end", "What leaves is normed: the stream itself never is."),
        (
            "norms-behind-the-branches",
            "Each norm comes behind attention or the network, before its sum: here it \
             stands before them.",
        ),
    ]),
    dial(&[(
        "network-first",
        "The network comes first, and attention reads what it left.",
    )]),
];

impl Through {
    /// The network and what it is added to, for rows that attention has left.
    fn thought_by(
        &self,
        [came, normed, found, left]: [&DMatrix<f32>; 4],
        set: &[usize],
    ) -> DMatrix<f32> {
        let [by_attention, by_network] = &self.gains;
        let reads = [left, came, found, normed][set[3]];
        let norms_before = !matches!(set[5], 1 | 3);
        let ready = match set[2] {
            0 if norms_before => by_size(by_network, reads),
            0 | 1 => reads.clone(),
            2 => by_size(by_attention, reads),
            3 => by_size(by_network, &by_size(by_network, reads)),
            _ => by_size(by_network, &by_size(by_attention, reads)),
        };
        let thought = think(&ready);
        let thought = if set[5] == 3 { by_size(by_network, &thought) } else { thought };
        match set[4] {
            0 => left + thought,
            1 => thought,
            2 => ready + thought,
            3 => came + thought,
            4 => left.clone(),
            5 => left + thought * 2.0,
            _ => left + thought + came,
        }
    }

    /// What attention leaves of a stream, with the rows that it was given and what it
    /// found.
    fn attended_by(&self, came: &DMatrix<f32>, set: &[usize]) -> [DMatrix<f32>; 3] {
        let [by_attention, by_network] = &self.gains;
        let normed = match set[0] {
            0 if matches!(set[5], 1 | 3) => came.clone(),
            0 => by_size(by_attention, came),
            1 => came.clone(),
            2 => by_size(by_network, came),
            _ => by_size(by_attention, &by_size(by_attention, came)),
        };
        let found = self.attended(&normed);
        let found = if set[5] == 3 { by_size(by_attention, &found) } else { found };
        let left = match set[1] {
            0 => came + &found,
            1 => found.clone(),
            2 => &normed + &found,
            3 => came.clone(),
            _ => came + &found * 2.0,
        };
        let left = if set[5] == 1 { by_size(by_attention, &left) } else { left };
        [normed, found, left]
    }

    fn set_to(&self, set: &[usize]) -> Answer {
        let x = &self.x;
        if set[6] == 1 {
            let left = self.thought_by([x, x, x, x], set);
            let [normed, _, y] = self.attended_by(&left, set);
            return through(&normed, &y);
        }
        let [normed, found, left] = self.attended_by(x, set);
        let y = self.thought_by([x, &normed, &found, &left], set);
        let y = match set[5] {
            1 | 2 => by_size(&self.gains[1], &y),
            _ => y,
        };
        through(&normed, &y)
    }
}

fn block() -> Exercise<Through> {
    Exercise::implement("block", Through::draw, Through::right)
        .dials(OF_BLOCK, Through::set_to)
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
    /// 0 takes the most probable token.
    temperature: f32,
}

impl Written {
    fn draw(draw: &mut Draw) -> Self {
        let count = draw.tokens(3);
        let prompt: Vec<u32> = (0..count).map(|_| draw.pick(&[0, 1, 2])).collect();
        let most = draw.size(0..=4);
        let stops = draw.pick(&[9, 2, 1]);
        let temperature = draw.pick(&[0.0, 0.0, 0.0, 40.0, 60.0, 80.0]);
        draw.show("temperature of the sampler", temperature);
        draw.show("prompt", prompt.iter().map(|&t| t as usize).collect::<Vec<_>>());
        draw.show("most", most);
        draw.show("say breaks off when it was told", stops);
        Written { prompt, most, stops, temperature }
    }

    fn sampler(&self) -> Sampler {
        // Another seed for each temperature: one alone may draw the largest by chance.
        Sampler::new(self.temperature, 1.0, self.temperature as u64).unwrap()
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
            generate(model, &self.prompt, self.most, &mut self.sampler(), say)
        })
    }

    /// The loop as the settings of [`OF_GENERATE`] say.
    fn set_to(&self, set: &[usize]) -> Answer {
        self.told(|model, say| {
            let (prompt, mut sampler) = (&self.prompt, self.sampler());
            if set[5] == 1 && prompt.is_empty() {
                return Ok(());
            }
            if set[5] == 2 && prompt.iter().any(|&token| say(token).is_break()) {
                return Ok(());
            }
            let mut all = prompt.clone();
            let room = [99, prompt.len(), self.most][set[6]];
            let mut caches = model.caches(room);
            let wanted = self.most.saturating_sub(prompt.len());
            let most =
                [self.most, self.most + 1, self.most.saturating_sub(1), wanted][set[2]];
            for step in 0..most {
                if set[1] == 1 {
                    caches = model.caches(room);
                }
                let logits = next_by(
                    set,
                    model,
                    &read_by(set[0], prompt, &all, step),
                    &mut caches,
                )?;
                if set[4] == 3 {
                    sampler = self.sampler();
                }
                let token = match set[4] {
                    1 => Sampler::greedy().pick(logits.as_slice()),
                    2 => sampler.pick((-logits).as_slice()),
                    _ => sampler.pick(logits.as_slice()),
                };
                if set[3] == 2 && all.last() == Some(&token) {
                    break;
                }
                all.push(token);
                if say(token).is_break() && set[3] != 1 {
                    break;
                }
            }
            Ok(())
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
            let (mut caches, mut sampler) = (model.caches(99), self.sampler());
            for step in 0..most {
                if new_caches {
                    caches = model.caches(99);
                }
                let unread = read(&self.prompt, &all, step);
                let logits = model.next(&unread, &mut caches)?;
                let token = sampler.pick(logits.as_slice());
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
    let heads = model.blocks[0].attention.heads_mut().unwrap();
    heads.o_proj = Projection::of(dmatrix![-20.0, 0.0; 0.0, -20.0]);
    model
}

fn unread(prompt: &[u32], all: &[u32], step: usize) -> Vec<u32> {
    if step == 0 { prompt.to_vec() } else { all[all.len() - 1..].to_vec() }
}

/// What is read in a step, with which caches, how often, when the loop ends, how a token is
/// chosen, what is told, and how much room there is.
const OF_GENERATE: &[Dial] = &[
    dial(&[
        (
            "whole-text-again",
            "The whole text is read in every step, by caches that hold it already.",
        ),
        (
            "prompt-in-every-step",
            "The prompt is read in every step, and what was written never.",
        ),
        (
            "last-token-of-the-prompt",
            "Of the prompt, only the last token is read: the caches know nothing of the \
             others.",
        ),
        ("first-token-of-the-prompt", "Of the prompt, only the first token is read."),
        ("prompt-reversed", "The prompt is read from its end."),
        ("prompt-without-its-last", "The last token of the prompt is not read."),
        ("token-twice", "Each token that was written is read twice."),
    ]),
    dial(&[(
        "new-caches",
        "The caches are made anew in each step: what was read is forgotten.",
    )]),
    dial(&[
        ("one-too-many", "There is one token more than `most`."),
        ("one-too-few", "There is one token less than there should be."),
        (
            "prompt-counted",
            "The prompt counts toward `most`: that is how many tokens are written.",
        ),
    ]),
    dial(&[
        ("goes-on-after-break", "`say` breaks off, and the loop goes on."),
        (
            "ends-where-a-token-repeats",
            "The loop ends where a token comes twice in a row.",
        ),
    ]),
    dial(&[
        (
            "always-the-largest",
            "The most probable token is taken each time, whatever the sampler would pick.",
        ),
        ("signs-turned", "The sampler is given logits of the opposite sign."),
        (
            "sampler-anew",
            "The sampler is as new in each step: it draws the same each time.",
        ),
        (
            "logits-of-the-first-row",
            "The logits are those of the first row that was read.",
        ),
    ]),
    dial(&[
        (
            "empty-prompt-accepted",
            "An empty prompt is an error: there is nothing to go on from.",
        ),
        (
            "prompt-told",
            "`say` is told the prompt as well: it is told what is written.",
        ),
    ]),
    dial(&[
        (
            "room-for-the-prompt",
            "The caches have room for the prompt alone: what is written needs some, too.",
        ),
        (
            "room-for-what-is-written",
            "The caches have room for `most` tokens alone: the prompt needs some, too.",
        ),
    ]),
];

fn read_by(how: usize, prompt: &[u32], all: &[u32], step: usize) -> Vec<u32> {
    let last = |of: &[u32]| of[of.len().saturating_sub(1)..].to_vec();
    match (how, step) {
        (1, _) => all.to_vec(),
        (3, 0) => last(prompt),
        (4, 0) => prompt.iter().take(1).copied().collect(),
        (5, 0) => prompt.iter().rev().copied().collect(),
        (6, 0) => prompt[..prompt.len().saturating_sub(1)].to_vec(),
        (2, _) | (_, 0) => prompt.to_vec(),
        (7, _) => [last(all), last(all)].concat(),
        _ => last(all),
    }
}

/// The logits of a step.
fn next_by(
    set: &[usize],
    model: &Decoder,
    tokens: &[u32],
    caches: &mut [Cache],
) -> Result<DMatrix<f32>, ModelError> {
    if set[4] != 4 || tokens.is_empty() {
        return model.next(tokens, caches);
    }
    let hidden = model.forward(tokens, caches)?;
    model.logits(&hidden.rows(0, 1).into_owned())
}

fn generate_exercise() -> Exercise<Written> {
    Exercise::implement("generate", Written::draw, Written::right)
        .dials(OF_GENERATE, Written::set_to)
        .mistake("prompt-again", |case| {
            case.by(case.most, false, false, |_, all, _| all.to_vec())
        })
        .hidden_by(|| Written {
            prompt: vec![0, 1],
            most: 1,
            stops: 9,
            temperature: 0.0,
        })
        .mistake("prompt-forgotten", |case| {
            let last =
                |_: &[u32], all: &[u32], _| all[all.len().saturating_sub(1)..].to_vec();
            case.by(case.most, false, false, last)
        })
        .hidden_by(|| Written { prompt: vec![1], most: 3, stops: 9, temperature: 0.0 })
        .mistake("new-caches", |case| case.by(case.most, false, true, unread))
        .hidden_by(|| Written {
            prompt: vec![0, 1],
            most: 1,
            stops: 9,
            temperature: 0.0,
        })
        .mistake("one-too-many", |case| case.by(case.most + 1, false, false, unread))
        .mistake("goes-on-after-break", |case| case.by(case.most, true, false, unread))
        .hidden_by(|| Written {
            prompt: vec![0, 1],
            most: 3,
            stops: 9,
            temperature: 0.0,
        })
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
