//! The chapter's exercises: what they ask, and what people answer instead. `course.toml`
//! has the words.

use attention::{Linear, Mask, ShapeError, softmax};
use exercises::{
    Answer, Dial, Draw, Exercise, Exercises, Norm, OF_NORM, Sees, Value, dial,
    does_not_fit, side_by_side,
};
use latent::experiments::{CACHED, DEEPSEEK, Machine, SCALED, Shape, Work};
use latent::{
    Form, LatentAttention, Projections, Queries, QueryProjection, RmsNorm, Sizes,
    example,
};
use multi_head::Heads;
use nalgebra::{DMatrix, dmatrix};

#[test]
fn the_exercises_keep_their_promises() {
    let folder = env!("CARGO_MANIFEST_DIR");
    println!("{}", exercises::prove(folder, &exercises()).unwrap());
}

/// In the order of `course.toml`.
pub fn exercises() -> Exercises {
    Exercises::new()
        .with(moon())
        .with(norm())
        .with(cut())
        .with(compress())
        .with(queries())
        .with(absorb())
        .with(raise())
        .with(crossing())
        .with(two_uses())
}

// By hand: what `moon` asks.

fn moon() -> Exercise<()> {
    Exercise::by_hand("by-hand", |()| asked(1, &k_up(0), 1.0))
        .mistake("other-head", |()| asked(1, &k_up(1), 1.0))
        .mistake("divided", |()| asked(1, &k_up(0), 2.0))
        .mistake("of-both", |()| asked(2, &k_up(0), 1.0))
        .mistake("down-again", |()| {
            let down = example::toy().unwrap().1.kv_a_proj;
            asked(1, &down.weight().columns(0, 2).into_owned(), 1.0)
        })
        .mistake("keys", |()| asked(1, &DMatrix::identity(2, 2), 1.0))
}

/// What makes the keys of one head of the worked example: key, key, value, head by head.
fn k_up(head: usize) -> DMatrix<f32> {
    let kv_b_proj = example::toy().unwrap().1.kv_b_proj;
    kv_b_proj.weight().columns(3 * head, 2).into_owned()
}

/// With the query of head 0; both heads of `moon` ask the same.
fn asked(token: usize, up: &DMatrix<f32>, divisor: f32) -> Answer {
    let (x, _, layer) = example::toy().unwrap();
    let queries = layer.queries(&x, 0).unwrap().nope;
    let kept = layer.compress(&x, 0).unwrap();
    let asks = queries.view((token, 0), (1, 2)) * up.transpose();
    let scores = &asks * kept.columns(0, 2).transpose() / divisor;
    Answer::of("asks", &asks).and("scores", &scores)
}

// Implement: the norm.

struct Normed {
    x: DMatrix<f32>,
    weight: DMatrix<f32>,
}

impl Normed {
    fn draw(draw: &mut Draw) -> Self {
        let [tokens, width] = [draw.tokens(3), draw.size(1..=4)];
        let longer = draw.rarely();
        let empty = draw.pick(&[false, false, false, true]);
        // Some are so small that eps counts.
        let size = draw.pick(&[1.0, 1.0, 1.0, 1e-3]);
        let mut x = draw.numbers(tokens, width + longer) * size;
        if empty && tokens > 0 {
            x.row_mut(0).fill(0.0);
        }
        draw.show("x", &x);
        Normed { x, weight: draw.matrix("weight", 1, width) }
    }

    fn fits(&self) -> bool {
        self.x.ncols() == self.weight.ncols()
    }

    fn answer(&self) -> Answer {
        let norm = RmsNorm::new(self.weight.as_slice().to_vec());
        Answer::of("normed", norm.forward(&self.x))
    }

    /// Each entry of `x`, divided by what `by` says of it, times its weight.
    fn divided(&self, x: &DMatrix<f32>, by: impl Fn(usize, usize) -> f32) -> Answer {
        if !self.fits() {
            return self.answer();
        }
        let entry = |row, column| {
            let scaled: f32 = x[(row, column)] / by(row, column);
            scaled * self.weight[column]
        };
        Answer::of("normed", DMatrix::from_fn(x.nrows(), x.ncols(), entry))
    }

    /// The mean of a row's squares.
    fn mean(&self, row: usize) -> f32 {
        self.x.row(row).norm_squared() / self.x.ncols() as f32
    }
}

impl Normed {
    fn by(&self, set: &[usize]) -> Answer {
        if !self.fits() {
            return self.answer();
        }
        let Normed { x, weight } = self;
        Answer::of("normed", Norm { x, weight, eps: RmsNorm::EPS }.by(set))
    }
}

fn norm() -> Exercise<Normed> {
    Exercise::implement("norm", Normed::draw, Normed::answer)
        .dials(OF_NORM, Normed::by)
        .step("the mean of each row's squares", |p| {
            Value::from(DMatrix::from_fn(p.x.nrows(), 1, |row, _| p.mean(row)))
        })
        .mistake("mean-taken-off", |p| {
            let mut x = p.x.clone();
            for mut row in x.row_iter_mut() {
                let mean = row.mean();
                row.add_scalar_mut(-mean);
            }
            let centered = Normed { x, weight: p.weight.clone() };
            centered.divided(&centered.x, |row, _| root(centered.mean(row)))
        })
        .hidden_by(|| Normed { x: dmatrix![2.0, -2.0], weight: dmatrix![1.0, 3.0] })
        .mistake("sum-of-squares", |p| {
            p.divided(&p.x, |row, _| root(p.x.row(row).norm_squared()))
        })
        .hidden_by(|| Normed { x: dmatrix![2.0; -3.0], weight: dmatrix![3.0] })
        .mistake("no-root", |p| p.divided(&p.x, |row, _| p.mean(row) + RmsNorm::EPS))
        .hidden_by(|| Normed { x: dmatrix![1.0, -1.0], weight: dmatrix![1.0, 3.0] })
        .mistake("one-mean-for-all", |p| {
            let mean = p.x.norm_squared() / p.x.len() as f32;
            p.divided(&p.x, |_, _| root(mean))
        })
        .hidden_by(|| Normed { x: dmatrix![2.0, 3.0], weight: dmatrix![1.0, 3.0] })
        .mistake("down-the-columns", |p| {
            let tokens = p.x.nrows() as f32;
            p.divided(&p.x, |_, column| {
                root(p.x.column(column).norm_squared() / tokens)
            })
        })
        .hidden_by(|| Normed {
            x: dmatrix![2.0, 2.0; -2.0, 2.0],
            weight: dmatrix![1.0, 3.0],
        })
        .mistake("no-weight", |p| {
            let weight = DMatrix::repeat(1, p.weight.ncols(), 1.0);
            Normed { x: p.x.clone(), weight }.answer()
        })
        .hidden_by(|| Normed { x: dmatrix![2.0, 3.0], weight: dmatrix![1.0, 1.0] })
        .mistake("one-plus-weight", |p| {
            let weight = p.weight.add_scalar(1.0);
            Normed { x: p.x.clone(), weight }.answer()
        })
        .mistake("weight-first", |p| {
            if !p.fits() {
                return p.answer();
            }
            let mut x = p.x.clone();
            for mut row in x.row_iter_mut() {
                row.component_mul_assign(&p.weight);
            }
            let weight = DMatrix::repeat(1, p.weight.ncols(), 1.0);
            Normed { x, weight }.answer()
        })
        .hidden_by(|| Normed { x: dmatrix![2.0, 3.0], weight: dmatrix![1.0, 1.0] })
        .mistake("eps-outside-the-root", |p| {
            p.divided(&p.x, |row, _| p.mean(row).sqrt() + RmsNorm::EPS)
        })
        .hidden_by(|| Normed { x: dmatrix![2.0, 3.0], weight: dmatrix![1.0, 3.0] })
        .mistake("mean-of-values", |p| {
            p.divided(&p.x, |row, _| root(p.x.row(row).mean()))
        })
        .hidden_by(|| Normed { x: dmatrix![1.0, 1.0], weight: dmatrix![1.0, 3.0] })
        .mistake("mean-of-absolutes", |p| {
            p.divided(&p.x, |row, _| p.x.row(row).abs().mean() + RmsNorm::EPS)
        })
        .hidden_by(|| Normed { x: dmatrix![2.0, -2.0], weight: dmatrix![1.0, 3.0] })
        .mistake("square-of-the-mean", |p| {
            p.divided(&p.x, |row, _| root(p.x.row(row).mean().powi(2)))
        })
        .hidden_by(|| Normed { x: dmatrix![2.0, 2.0], weight: dmatrix![1.0, 3.0] })
        .mistake("multiplied", |p| p.divided(&p.x, |row, _| 1.0 / root(p.mean(row))))
        .hidden_by(|| Normed { x: dmatrix![1.0, -1.0], weight: dmatrix![1.0, 3.0] })
        .mistake("largest", |p| p.divided(&p.x, |row, _| p.x.row(row).amax()))
        .hidden_by(|| Normed { x: dmatrix![1.0, -1.0], weight: dmatrix![1.0, 3.0] })
        .mistake("no-eps", |p| p.divided(&p.x, |row, _| p.mean(row).sqrt()))
        .hidden_by(|| Normed { x: dmatrix![2.0, 3.0], weight: dmatrix![1.0, 3.0] })
        .mistake("unchecked", |p| {
            if !p.fits() {
                does_not_fit();
            }
            p.answer()
        })
        .hidden_by(|| Normed { x: dmatrix![2.0, 3.0], weight: dmatrix![1.0, 3.0] })
}

fn root(mean: f32) -> f32 {
    (mean + RmsNorm::EPS).sqrt()
}

// Implement: the cut of `kv_b_proj`.

struct Cut {
    heads: usize,
    /// Widths of a key and a value of one head.
    widths: [usize; 2],
    weight: DMatrix<f32>,
    bias: Option<DMatrix<f32>>,
    latents: DMatrix<f32>,
}

impl Cut {
    fn draw(draw: &mut Draw) -> Self {
        let heads = draw.size(1..=3);
        let widths = [draw.size(1..=3), draw.size(1..=2)];
        let [rank, tokens] = [draw.size(1..=2), draw.tokens(2)];
        draw.show("heads", heads);
        draw.show("nope_dim, v_dim", widths.to_vec());
        let width = heads * (widths[0] + widths[1]);
        let weight = draw.matrix("kv_b_proj", rank, width);
        let bias = draw.pick(&[false, true]).then(|| draw.matrix("its bias", 1, width));
        Cut {
            heads,
            widths,
            weight,
            bias,
            latents: draw.matrix("latents", tokens, rank),
        }
    }

    fn answer(&self) -> Answer {
        let [nope_dim, v_dim] = self.widths;
        let sizes = Sizes { heads: self.heads, nope_dim, rope_dim: 2, v_dim };
        let bias =
            self.bias.as_ref().map(|bias| bias.transpose().column(0).into_owned());
        let up = Linear::new(self.weight.clone(), bias).unwrap();
        let expanded = layer(sizes, up).and_then(|layer| {
            let kept =
                self.latents.clone().resize_horizontally(layer.kept_width(), 0.0);
            let expanded = layer.expand(kept.as_view()).map_err(|e| e.to_string())?;
            Ok(Answer::of("k", expanded.k).and("v", expanded.v))
        });
        Answer::try_of("refused", expanded)
    }

    /// The columns of all keys and of all values: `first` of each head, then `second`.
    fn head_by_head(&self, [first, second]: [usize; 2]) -> [Vec<usize>; 2] {
        let all = 0..self.weight.ncols();
        all.partition::<Vec<_>, _>(|column| column % (first + second) < first).into()
    }

    fn right(&self) -> [Vec<usize>; 2] {
        self.head_by_head(self.widths)
    }

    fn once(&self) -> [Vec<usize>; 2] {
        let middle = self.heads * self.widths[0];
        [(0..middle).collect(), (middle..self.weight.ncols()).collect()]
    }

    /// Columns, where feature `f` of head `h` is looked for at `place(h, f)`, values
    /// after the features of keys.
    fn at(&self, place: impl Fn(usize, usize) -> usize) -> [Vec<usize>; 2] {
        let [k, v] = self.widths;
        [0..k, k..k + v].map(|features| {
            let of = |h| features.clone().map(move |f| (h, f));
            (0..self.heads).flat_map(of).map(|(h, f)| place(h, f)).collect()
        })
    }

    /// What comes out if the weights are cut so, and the bias so.
    fn cut(&self, weight: &[Vec<usize>; 2], bias: Option<&[Vec<usize>; 2]>) -> Answer {
        let [k, v] = [0, 1].map(|part| {
            let mut made = &self.latents * self.weight.select_columns(&weight[part]);
            if let (Some(columns), Some(all)) = (bias, &self.bias) {
                let added = all.select_columns(&columns[part]);
                for mut row in made.row_iter_mut() {
                    row += &added;
                }
            }
            made
        });
        Answer::of("k", k).and("v", v)
    }
}

/// A layer of which only the way up from the latents matters.
fn layer(sizes: Sizes, kv_b_proj: Linear) -> Result<LatentAttention, String> {
    let Sizes { heads, rope_dim, v_dim, .. } = sizes;
    let zeros = |d_in, d_out| Linear::new(DMatrix::zeros(d_in, d_out), None).unwrap();
    let rank = kv_b_proj.shape().0;
    let projections = Projections {
        query: QueryProjection::Full(zeros(1, heads * sizes.qk_dim())),
        kv_a_proj: zeros(1, rank + rope_dim),
        kv_a_layernorm: RmsNorm::new(vec![1.0; rank]),
        kv_b_proj,
        o_proj: zeros(heads * v_dim, 1),
    };
    LatentAttention::new(projections, sizes, THETA).map_err(|e| e.to_string())
}

const THETA: f64 = 10_000.0;

/// How the weight is cut, how the bias is, and which part is which.
const OF_CUT: &[Dial] = &[
    dial(&[
        (
            "cut-once",
            "Weights are cut once, all keys and then all values: they alternate, head \
             by head.",
        ),
        (
            "values-first",
            "In each head, you take the first columns for the value: the key comes \
             first.",
        ),
        (
            "widths-swapped",
            "The width of a value is taken for that of a key, and the reverse.",
        ),
        (
            "heads-innermost",
            "Columns are dealt out to the heads in turn: each head has a run of them.",
        ),
        ("first-head-for-all", "All heads get the first head's columns."),
        ("one-head-alone", "Only the first head is cut."),
        ("half-and-half", "Each head is cut in the middle, whatever the widths."),
        ("last-head-missing", "The last head is missing."),
        ("heads-reversed", "The heads come in the opposite order."),
        ("keys-for-both", "Values are the keys' columns."),
        (
            "heads-by-the-key",
            "Heads begin one key's width after each other: a head has a key and a value.",
        ),
        (
            "heads-by-the-value",
            "Heads begin one value's width after each other: a head has a key and a value.",
        ),
        ("even-and-odd", "Keys are the even columns, and values the odd ones."),
        (
            "all-values-first",
            "Weights are cut once, all values and then all keys: they alternate, head by \
             head, and the key comes first.",
        ),
        ("last-head-for-all", "All heads get the last head's columns."),
        ("one-column-on", "Everything begins one column too late."),
        ("first-key-for-all", "All heads get the first head's key."),
        ("first-value-for-all", "All heads get the first head's value."),
    ]),
    dial(&[
        ("bias-lost", "The bias is lost."),
        ("bias-cut-once", "The bias is cut once, all keys and then all values."),
        ("bias-from-the-front", "Both parts get the bias from its beginning."),
        ("bias-of-keys-alone", "The values have lost their bias."),
        ("bias-of-values-alone", "The keys have lost their bias."),
        ("bias-twice", "The bias counts twice."),
        ("bias-crossed", "The bias is cut as if the value came first."),
        ("bias-of-head-0", "All heads get the first head's bias."),
        ("bias-swapped", "The keys get the bias of the values, and the reverse."),
        ("bias-subtracted", "The bias is subtracted."),
    ]),
    dial(&[("parts-swapped", "Keys and values have changed places.")]),
];

impl Cut {
    /// The columns of keys and values, for a setting of the first dial.
    fn columns_by(&self, how: usize) -> [Vec<usize>; 2] {
        let [k, v] = self.widths;
        let [keys, values] = self.right();
        match how {
            0 => [keys, values],
            1 => self.once(),
            2 => {
                let [values, keys] = self.head_by_head([v, k]);
                [keys, values]
            }
            3 => self.head_by_head([v, k]),
            4 => self.at(|head, feature| feature * self.heads + head),
            5 => self.at(|_, feature| feature),
            6 => [(0..k).collect(), (k..k + v).collect()],
            7 => {
                let half = usize::midpoint(k, v);
                self.head_by_head([half, k + v - half])
            }
            8 => {
                let few = self.heads - 1;
                [keys[..few * k].to_vec(), values[..few * v].to_vec()]
            }
            9 => self.at(|head, feature| (self.heads - 1 - head) * (k + v) + feature),
            11 => self.at(|head, feature| head * k + feature),
            12 => self.at(|head, feature| head * v + feature),
            13 => {
                let all = 0..self.weight.ncols();
                all.partition::<Vec<_>, _>(|column| column.is_multiple_of(2)).into()
            }
            14 => {
                let middle = self.heads * v;
                [(middle..self.weight.ncols()).collect(), (0..middle).collect()]
            }
            15 => self.at(|_, feature| (self.heads - 1) * (k + v) + feature),
            16 => {
                let all = self.weight.ncols();
                self.at(|head, feature| (head * (k + v) + feature + 1) % all)
            }
            17 => [self.at(|_, feature| feature)[0].clone(), values],
            18 => [keys, self.at(|_, feature| feature)[1].clone()],
            _ => [keys.clone(), keys],
        }
    }

    fn by(&self, set: &[usize]) -> Answer {
        let weight = self.columns_by(set[0]);
        let bias = match set[1] {
            0 | 4..=6 | 10 => weight.clone(),
            8 => self.columns_by(5),
            9 => {
                let [keys, values] = weight.clone();
                [values, keys]
            }
            2 => self.once(),
            3 => weight.clone().map(|columns| (0..columns.len()).collect()),
            _ => self.columns_by(2),
        };
        let part = |part: usize| {
            let mut made = &self.latents * self.weight.select_columns(&weight[part]);
            let times = match (set[1], part) {
                (1, _) | (4, 1) | (5, 0) => 0.0,
                (6, _) => 2.0,
                (10, _) => -1.0,
                _ => 1.0,
            };
            if let Some(all) = &self.bias {
                if bias[part].len() != made.ncols() {
                    does_not_fit();
                }
                let added = all.select_columns(&bias[part]) * times;
                for mut row in made.row_iter_mut() {
                    row += &added;
                }
            }
            made
        };
        let [k, v] = if set[2] == 1 { [part(1), part(0)] } else { [part(0), part(1)] };
        Answer::of("k", k).and("v", v)
    }
}

fn cut() -> Exercise<Cut> {
    Exercise::implement("cut", Cut::draw, Cut::answer)
        .dials(OF_CUT, Cut::by)
        .mistake("cut-once", |p| p.cut(&p.once(), Some(&p.once())))
        .hidden_by(one_head)
        .mistake("values-first", |p| {
            let [k, v] = p.widths;
            let [values, keys] = p.head_by_head([v, k]);
            let columns = [keys, values];
            p.cut(&columns, Some(&columns))
        })
        .hidden_by(|| Cut { weight: dmatrix![2.0, 2.0], bias: None, ..one_head() })
        .mistake("heads-innermost", |p| {
            let places = p.at(|head, feature| feature * p.heads + head);
            p.cut(&places, Some(&places))
        })
        .hidden_by(one_head)
        .mistake("first-head-for-all", |p| {
            let places = p.at(|_, feature| feature);
            p.cut(&places, Some(&places))
        })
        .hidden_by(one_head)
        .mistake("bias-lost", |p| p.cut(&p.right(), None))
        .hidden_by(|| Cut { bias: None, ..one_head() })
        .mistake("bias-cut-once", |p| p.cut(&p.right(), Some(&p.once())))
        .hidden_by(one_head)
        .mistake("bias-from-the-front", |p| {
            let front = p.right().map(|columns| (0..columns.len()).collect());
            p.cut(&p.right(), Some(&front))
        })
        .hidden_by(|| Cut { bias: None, ..one_head() })
        .mistake("one-head-alone", |p| {
            let [k, v] = p.widths;
            let alone = [(0..k).collect(), (k..k + v).collect()];
            p.cut(&alone, Some(&alone))
        })
        .hidden_by(one_head)
}

fn one_head() -> Cut {
    let (weight, bias) = (dmatrix![2.0, -1.0], Some(dmatrix![0.5, 3.0]));
    Cut { heads: 1, widths: [1, 1], weight, bias, latents: dmatrix![1.0; 2.0] }
}

// Implement: what a token leaves behind.

struct Tokens {
    x: DMatrix<f32>,
    down: DMatrix<f32>,
    /// The bias of the projection, a row.
    bias: Option<DMatrix<f32>>,
    norm: DMatrix<f32>,
    rope_dim: usize,
    start: usize,
}

impl Tokens {
    fn draw(draw: &mut Draw) -> Self {
        let [tokens, model_dim] = [draw.tokens(3), draw.size(1..=2)];
        let [rank, rope_dim] = [draw.size(1..=3), 2 * draw.size(1..=2)];
        let start = draw.size(0..=3);
        draw.show("lora_rank, rope_dim", vec![rank, rope_dim]);
        draw.show("start", start);
        Tokens {
            x: draw.matrix("x", tokens, model_dim),
            down: draw.matrix("kv_a_proj", model_dim, rank + rope_dim),
            bias: draw
                .pick(&[false, false, true])
                .then(|| draw.matrix("its bias", 1, rank + rope_dim)),
            norm: draw.matrix("weights of the norm", 1, rank),
            rope_dim,
            start,
        }
    }

    fn rank(&self) -> usize {
        self.norm.ncols()
    }

    fn answer(&self) -> Answer {
        let sizes = Sizes { heads: 1, nope_dim: 1, rope_dim: self.rope_dim, v_dim: 1 };
        let linear = |weight| Linear::new(weight, None).unwrap();
        let projections = Projections {
            query: QueryProjection::Full(linear(DMatrix::zeros(
                self.x.ncols(),
                sizes.qk_dim(),
            ))),
            kv_a_proj: self.down(),
            kv_a_layernorm: RmsNorm::new(self.norm.as_slice().to_vec()),
            kv_b_proj: linear(DMatrix::zeros(self.rank(), 2)),
            o_proj: linear(DMatrix::zeros(1, 1)),
        };
        let layer = LatentAttention::new(projections, sizes, THETA).unwrap();
        Answer::of("kept", layer.compress(&self.x, self.start))
    }

    fn down(&self) -> Linear {
        let bias =
            self.bias.as_ref().map(|bias| bias.transpose().column(0).into_owned());
        Linear::new(self.down.clone(), bias).unwrap()
    }

    fn both(&self) -> DMatrix<f32> {
        self.down().forward(&self.x).unwrap()
    }

    /// The projection, in its two parts.
    fn parts(&self) -> [DMatrix<f32>; 2] {
        let both = self.both();
        let rank = self.rank();
        [
            both.columns(0, rank).into_owned(),
            both.columns(rank, self.rope_dim).into_owned(),
        ]
    }

    fn latents(&self) -> DMatrix<f32> {
        let norm = RmsNorm::new(self.norm.as_slice().to_vec());
        norm.forward(&self.parts()[0]).unwrap()
    }

    /// The right latents beside a key turned so.
    fn key(&self, turn: Turn) -> Answer {
        let [_, r] = self.parts();
        Answer::of("kept", side_by_side([&self.latents(), &turn.of(&r)]))
    }

    fn turn(&self) -> Turn {
        Turn { start: self.start, step: 1, neighbors: true, sign: 1.0 }
    }
}

/// A rotation, and what may go wrong with it.
#[derive(Clone, Copy)]
struct Turn {
    start: usize,
    step: usize,
    neighbors: bool,
    sign: f32,
}

impl Turn {
    /// An odd feature at the end stays.
    fn of(self, x: &DMatrix<f32>) -> DMatrix<f32> {
        let mut turned = x.clone();
        let pairs = x.ncols() / 2;
        for row in 0..x.nrows() {
            for i in 0..pairs {
                let (a, b) =
                    if self.neighbors { (2 * i, 2 * i + 1) } else { (i, i + pairs) };
                let frequency = THETA.powf(-((2 * i) as f64) / (2 * pairs) as f64);
                let angle = (self.start + row * self.step) as f64 * frequency;
                let (sin, cos) = (angle.sin() as f32 * self.sign, angle.cos() as f32);
                turned[(row, a)] = x[(row, a)] * cos - x[(row, b)] * sin;
                turned[(row, b)] = x[(row, a)] * sin + x[(row, b)] * cos;
            }
        }
        turned
    }
}

impl Turn {
    /// Heads so wide, turned as a setting of the dials says: those of a token's key, and
    /// those of its queries.
    fn heads_by(self, how: usize, all: &DMatrix<f32>, width: usize) -> DMatrix<f32> {
        let turn = match how {
            1 => Turn { start: 0, step: 0, ..self },
            2 => Turn { start: 0, ..self },
            3 => Turn { start: self.start + 1, ..self },
            4 => Turn { step: 0, ..self },
            5 => Turn { neighbors: false, ..self },
            6 => Turn { sign: -1.0, ..self },
            9 => Turn { start: 2 * self.start, ..self },
            _ => self,
        };
        let once = |part: &DMatrix<f32>| Asking::turned(turn, part, width);
        let once_from = |start| Asking::turned(Turn { start, ..self }, all, width);
        let back = Turn { sign: -1.0, start: 1, step: 0, ..self };
        match how {
            7 => once(&once(all)),
            8 => Asking::turned(back, &once(all), width),
            10 => upside_down(&once(&upside_down(all))),
            11 => once_from(self.start + all.nrows()),
            12 => once_from(all.nrows()),
            _ => once(all),
        }
    }
}

/// The rows in the opposite order.
fn upside_down(of: &DMatrix<f32>) -> DMatrix<f32> {
    let last = of.nrows().saturating_sub(1);
    DMatrix::from_fn(of.nrows(), of.ncols(), |row, column| of[(last - row, column)])
}

/// What is done to the latents, to the key, and how they are laid together.
const OF_COMPRESS: &[Dial] = &[
    dial(&[
        ("not-normed", "The latents are not normed."),
        ("normed-twice", "The latents are normed twice."),
        (
            "normed-without-weights",
            "The latents are normed without the norm's weights.",
        ),
        (
            "weights-alone",
            "The latents are multiplied by the norm's weights, and not normed.",
        ),
        ("latent-turned", "The latents are turned as well."),
        ("latent-turned-in-pieces", "The latents are turned as well."),
        ("latents-of-zeros", "The latents are zeros."),
        (
            "normed-with-the-key",
            "The latents are normed together with the key: the mean of squares is that of \
             both.",
        ),
        ("over-root-of-rank", "The latents are divided by the root of their width."),
    ]),
    dial(&[
        ("not-turned", "The key is not turned."),
        ("start-forgotten", "The key is turned from position 0, and not from `start`."),
        ("one-too-far", "The key is turned one position too far."),
        (
            "all-at-start",
            "All keys are turned by `start`: the next token stands one further.",
        ),
        ("halves", "The key is turned in halves, where neighbors are pairs."),
        ("backwards", "The key is turned the other way."),
        ("twice-the-angle", "The key is turned twice."),
        ("one-too-little", "The key is turned one position too little."),
        ("twice-the-start", "`start` counts twice."),
        ("positions-reversed", "Positions are counted from the last token."),
        (
            "behind-the-chunk",
            "Positions begin behind the last token of `x`, and not at `start`.",
        ),
        (
            "from-the-number-of-tokens",
            "Positions begin at the number of tokens, and not at `start`.",
        ),
    ]),
    dial(&[
        ("key-normed", "The key is normed as well."),
        ("key-lost", "The key is missing."),
        ("key-for-latents", "The latents are missing."),
    ]),
    dial(&[
        ("key-first", "The key comes first: latents, then key."),
        (
            "cut-from-the-end",
            "The key is taken from the first columns of the projection, and the \
             latents from the last.",
        ),
        (
            "key-from-the-front",
            "The key is taken from the first columns of the projection: it stands \
             behind the latent.",
        ),
        (
            "latents-from-the-end",
            "The latents are taken from the last columns of the projection: they stand \
             before the key.",
        ),
    ]),
    dial(&[
        ("bias-lost", "The bias of `kv_a_proj` is missing: `forward` adds it."),
        ("bias-twice", "The bias of `kv_a_proj` is added twice."),
    ]),
];

impl Tokens {
    fn by(&self, set: &[usize]) -> Answer {
        let both = match set[4] {
            0 => self.both(),
            1 => &self.x * &self.down,
            _ => self.both() * 2.0 - &self.x * &self.down,
        };
        let (rank, rope_dim) = (self.rank(), self.rope_dim);
        let of_latents = if matches!(set[3], 2 | 4) { rope_dim } else { 0 };
        let of_key = if matches!(set[3], 2 | 3) { 0 } else { rank };
        let [c, r] = [both.columns(of_latents, rank), both.columns(of_key, rope_dim)];
        let (c, r) = (c.into_owned(), r.into_owned());
        let norm = RmsNorm::new(self.norm.as_slice().to_vec());
        let plain = RmsNorm::new(vec![1.0; self.rank()]);
        let normed = |norm: &RmsNorm, x: &DMatrix<f32>| norm.forward(x).unwrap();
        let turn = self.turn();
        let latents = match set[0] {
            0 => normed(&norm, &c),
            1 => c,
            2 => normed(&norm, &normed(&norm, &c)),
            3 => normed(&plain, &c),
            4 => {
                DMatrix::from_fn(c.nrows(), c.ncols(), |i, j| c[(i, j)] * self.norm[j])
            }
            5 => turn.of(&normed(&norm, &c)),
            6 if !self.rank().is_multiple_of(self.rope_dim) => {
                let why = "no whole heads".to_owned();
                return Answer::of("kept", Value::Refused(why));
            }
            6 => Asking::turned(turn, &normed(&norm, &c), self.rope_dim),
            8 => {
                let both = RmsNorm::new(vec![1.0; both.ncols()]);
                let both = normed(&both, &side_by_side([&c, &r]));
                DMatrix::from_fn(c.nrows(), c.ncols(), |i, j| {
                    both[(i, j)] * self.norm[j]
                })
            }
            9 => normed(&norm, &c) / (self.rank() as f32).sqrt(),
            _ => c * 0.0,
        };
        let r = match set[2] {
            1 => normed(&RmsNorm::new(vec![1.0; self.rope_dim]), &r),
            _ => r,
        };
        let key = turn.heads_by(set[1], &r, self.rope_dim);
        let kept = match (set[2], set[3]) {
            (2, _) => latents,
            (3, _) => key,
            (_, 1) => side_by_side([&key, &latents]),
            _ => side_by_side([&latents, &key]),
        };
        Answer::of("kept", kept)
    }
}

fn compress() -> Exercise<Tokens> {
    Exercise::implement("compress", Tokens::draw, Tokens::answer)
        .dials(OF_COMPRESS, Tokens::by)
        .step("x [W_DKV | W_KR]", |p| Value::from(p.both()))
        .step("latents, normed", |p| Value::from(p.latents()))
        .mistake("not-normed", |p| {
            let [c, r] = p.parts();
            Answer::of("kept", side_by_side([&c, &p.turn().of(&r)]))
        })
        .hidden_by(|| Tokens { down: dmatrix![0.0, 3.0, -2.0], ..one_token() })
        .mistake("normed-together", |p| {
            let [c, r] = p.parts();
            let mut weight = p.norm.as_slice().to_vec();
            weight.resize(p.rank() + p.rope_dim, 1.0);
            let both = RmsNorm::new(weight).forward(&side_by_side([&c, &r])).unwrap();
            let (c, r) =
                (both.columns(0, p.rank()), both.columns(p.rank(), p.rope_dim));
            let r = p.turn().of(&r.into_owned());
            Answer::of("kept", side_by_side([&c.into_owned(), &r]))
        })
        .mistake("normed-apart", |p| {
            let [_, r] = p.parts();
            let r = RmsNorm::new(vec![1.0; p.rope_dim]).forward(&r).unwrap();
            Answer::of("kept", side_by_side([&p.latents(), &p.turn().of(&r)]))
        })
        .hidden_by(|| Tokens { down: dmatrix![2.0, 1.0, -1.0], ..one_token() })
        .mistake("one-too-far", |p| p.key(Turn { start: p.start + 1, ..p.turn() }))
        .hidden_by(|| Tokens { down: dmatrix![2.0, 0.0, 0.0], ..one_token() })
        .mistake("key-lost", |p| Answer::of("kept", p.latents()))
        .mistake("not-turned", |p| p.key(Turn { start: 0, step: 0, ..p.turn() }))
        .hidden_by(one_token)
        .mistake("start-forgotten", |p| p.key(Turn { start: 0, ..p.turn() }))
        .hidden_by(one_token)
        .mistake("all-at-start", |p| p.key(Turn { step: 0, ..p.turn() }))
        .hidden_by(|| Tokens { start: 3, ..one_token() })
        .mistake("halves", |p| p.key(Turn { neighbors: false, ..p.turn() }))
        .hidden_by(|| Tokens { start: 3, ..one_token() })
        .mistake("backwards", |p| p.key(Turn { sign: -1.0, ..p.turn() }))
        .hidden_by(one_token)
        .mistake("key-first", |p| {
            let [_, r] = p.parts();
            Answer::of("kept", side_by_side([&p.turn().of(&r), &p.latents()]))
        })
        .mistake("latent-turned", |p| {
            let [_, r] = p.parts();
            let c = p.turn().of(&p.latents());
            Answer::of("kept", side_by_side([&c, &p.turn().of(&r)]))
        })
        .hidden_by(one_token)
}

/// At position 0, with one pair.
fn one_token() -> Tokens {
    let down = dmatrix![2.0, 3.0, -2.0];
    let (x, norm) = (dmatrix![1.0], dmatrix![3.0]);
    Tokens { x, down, bias: None, norm, rope_dim: 2, start: 0 }
}

// Implement: the absorbed query.

fn mask_of(sees: Sees) -> Mask {
    match sees {
        Sees::Everything => Mask::None,
        Sees::UpTo { offset } => Mask::Causal { offset },
        Sees::Within { offset, window } => Mask::Window { offset, window },
        Sees::Pairs(allowed) => Mask::Allowed(allowed),
    }
}

struct Asked {
    sizes: Sizes,
    nope: DMatrix<f32>,
    rope: DMatrix<f32>,
    kept: DMatrix<f32>,
    up: DMatrix<f32>,
    /// The bias of `kv_b_proj`, a row.
    bias: Option<DMatrix<f32>>,
    mask: Mask,
}

impl Asked {
    fn draw(draw: &mut Draw) -> Self {
        let [heads, nope_dim] = [draw.size(1..=2), draw.size(1..=3)];
        let [rope_dim, v_dim] = [2 * draw.size(1..=2), draw.size(1..=2)];
        let [rank, keys] = [draw.size(1..=3), draw.tokens(3)];
        let queries = draw.tokens(3);
        let sizes = Sizes { heads, nope_dim, rope_dim, v_dim };
        draw.show("sizes", format!("{sizes:?}"));
        let mask = mask_of(draw.mask(queries, keys));
        Asked {
            sizes,
            nope: draw.matrix("queries, not turned", queries, heads * nope_dim),
            rope: draw.matrix("queries, turned", queries, heads * rope_dim),
            kept: draw.matrix("kept", keys, rank + rope_dim),
            up: draw.matrix("kv_b_proj", rank, heads * (nope_dim + v_dim)),
            bias: draw.pick(&[false, false, true]).then(|| {
                draw.matrix("bias of kv_b_proj", 1, heads * (nope_dim + v_dim))
            }),
            mask,
        }
    }

    fn answer(&self) -> Answer {
        let bias =
            self.bias.as_ref().map(|bias| bias.transpose().column(0).into_owned());
        let up = Linear::new(self.up.clone(), bias).unwrap();
        let layer = layer(self.sizes, up).unwrap();
        let q = Queries { nope: self.nope.clone(), rope: self.rope.clone() };
        let found = layer.attend(&q, self.kept.as_view(), &self.mask, Form::Absorbed);
        Answer::try_of("refused", found.map(|found| Asked::parts(&found)))
    }

    fn parts(Heads { found: context, weights }: &Heads) -> Answer {
        Answer::default().and_each("weights of head", weights).and("context", context)
    }

    fn rank(&self) -> usize {
        self.up.nrows()
    }

    /// `[q W_UKᵀ | q_r]`, not divided yet, in its two parts.
    fn asks(&self, head: usize) -> [DMatrix<f32>; 2] {
        [&self.nope(head) * self.k_up(head).transpose(), self.rope(head)]
    }

    fn nope(&self, head: usize) -> DMatrix<f32> {
        let width = self.sizes.nope_dim;
        self.nope.columns(head * width, width).into_owned()
    }

    fn rope(&self, head: usize) -> DMatrix<f32> {
        let width = self.sizes.rope_dim;
        self.rope.columns(head * width, width).into_owned()
    }

    fn k_up(&self, head: usize) -> DMatrix<f32> {
        let Sizes { nope_dim, v_dim, .. } = self.sizes;
        self.up.columns(head * (nope_dim + v_dim), nope_dim).into_owned()
    }

    fn v_up(&self, head: usize) -> DMatrix<f32> {
        let Sizes { nope_dim, v_dim, .. } = self.sizes;
        self.up.columns(head * (nope_dim + v_dim) + nope_dim, v_dim).into_owned()
    }

    fn root(&self) -> f32 {
        (self.sizes.qk_dim() as f32).sqrt()
    }

    /// The bias of a head's values, a row, if there is one.
    fn v_bias(&self, head: usize) -> Option<DMatrix<f32>> {
        let Sizes { nope_dim, v_dim, .. } = self.sizes;
        let start = head * (nope_dim + v_dim) + nope_dim;
        self.bias.as_ref().map(|bias| bias.columns(start, v_dim).into_owned())
    }

    /// A mean of latents as a mean of values.
    fn raised(
        &self,
        head: usize,
        latents: &DMatrix<f32>,
        weights: &DMatrix<f32>,
    ) -> DMatrix<f32> {
        self.biased(head, latents * self.v_up(head), weights)
    }

    fn biased(
        &self,
        head: usize,
        output: DMatrix<f32>,
        weights: &DMatrix<f32>,
    ) -> DMatrix<f32> {
        match self.v_bias(head) {
            Some(bias) => output + weights.column_sum() * bias,
            None => output,
        }
    }

    /// What the layer finds if the means of latents become values so.
    fn raising(
        &self,
        raise: impl Fn(usize, &DMatrix<f32>, &DMatrix<f32>) -> DMatrix<f32>,
    ) -> Answer {
        let asks = |head| self.asks(head).map(|part| part / self.root());
        self.found_and_raised(asks, raise)
    }

    /// What the layer finds if each head asks so.
    fn found(&self, asks: impl Fn(usize) -> [DMatrix<f32>; 2]) -> Answer {
        self.found_and_raised(asks, |head, latents, weights| {
            self.raised(head, latents, weights)
        })
    }

    fn found_and_raised(
        &self,
        asks: impl Fn(usize) -> [DMatrix<f32>; 2],
        raise: impl Fn(usize, &DMatrix<f32>, &DMatrix<f32>) -> DMatrix<f32>,
    ) -> Answer {
        let heads = |h| {
            let [left, right] = asks(h);
            let mut scores = side_by_side([&left, &right]) * self.kept.transpose();
            self.mask.hide(&mut scores)?;
            let weights = softmax(scores);
            let latents = &weights * self.kept.columns(0, self.rank());
            Ok((raise(h, &latents, &weights), weights))
        };
        let heads: Result<Vec<_>, ShapeError> =
            (0..self.sizes.heads).map(heads).collect();
        let Ok(heads) = heads else { return self.answer() };
        let (contexts, weights): (Vec<_>, Vec<_>) = heads.into_iter().unzip();
        let context = side_by_side(&contexts);
        Asked::parts(&Heads { found: context, weights })
    }

    fn scaled(&self, root: f32) -> Answer {
        self.found(|head| self.asks(head).map(|part| part / root))
    }
}

/// What is divided by, and the two parts of what is asked.
const OF_ABSORB: &[Dial] = &[
    dial(&[
        ("scaled-by-nope", "You divide by the root of nope_dim alone."),
        ("scaled-by-rope", "You divide by the root of rope_dim alone."),
        ("scaled-by-value", "You divide by the root of a value's width."),
        ("scaled-by-latent", "You divide by the root of the latent's width."),
        ("scaled-by-rank", "You divide by the root of all that is kept."),
        ("unscaled", "Nothing is divided."),
        ("no-root", "You divide by nope_dim + rope_dim, and not by its root."),
        ("divided-twice", "What is divided already is divided again."),
        ("scaled-by-heads", "You divide by the root of all heads' widths together."),
        (
            "roots-added",
            "You divide by the sum of two roots, and not by the root of the sum.",
        ),
        (
            "root-of-product",
            "You divide by the root of nope_dim · rope_dim: it is that of their sum.",
        ),
        ("scaled-by-nope-of-all", "You divide by the root of nope_dim · heads."),
        ("scaled-by-heads-alone", "You divide by the root of the number of heads."),
        ("scaled-by-keys", "You divide by the root of the number of keys."),
        ("times-root", "You multiply by the root of nope_dim + rope_dim."),
    ]),
    dial(&[
        (
            "values-up",
            "What makes values (W_UV) is absorbed, not what makes keys (W_UK).",
        ),
        ("up-of-head-0", "The first head's W_UK is absorbed by all heads."),
        (
            "query-of-head-0",
            "All heads ask with the first head's part that is not turned.",
        ),
        ("both-of-head-0", "All heads ask as the first one does."),
        ("transposed", "W_UK is not transposed."),
        ("not-absorbed", "The queries go on as they are: W_UK is missing."),
        ("negative", "What is asked has the opposite sign."),
        ("zeros", "The part that is not turned is lost."),
        ("up-of-the-next-head", "The W_UK of the next head is absorbed."),
        ("up-of-the-last-head", "The last head's W_UK is absorbed by all heads."),
        (
            "up-by-key-width",
            "W_UK of head h begins at column h times the width of a key: a head has the \
             columns of a value, too.",
        ),
        ("query-of-the-next-head", "Each head asks with the next one's queries."),
        ("heads-reversed", "The heads ask in the opposite order."),
    ]),
    dial(&[
        ("turned-part-of-head-0", "All heads ask with the first head's turned part."),
        ("turned-part-lost", "The turned part is lost."),
        ("turned-part-negative", "The turned part has the opposite sign."),
        ("turned-part-undivided", "The turned part is not divided."),
        (
            "turned-part-divided-by-its-own",
            "The turned part is divided by the root of its own width.",
        ),
        ("turned-part-doubled", "The turned part counts twice."),
    ]),
    dial(&[(
        "turned-part-first",
        "The turned part comes first: latents, then the rest.",
    )]),
    dial(&[
        ("asks-undivided", "The part that is not turned is not divided."),
        (
            "asks-divided-by-its-own",
            "The part that is not turned is divided by the root of its own width.",
        ),
        ("asks-doubled", "The part that is not turned counts twice."),
        ("asks-halved", "The part that is not turned is halved."),
    ]),
];

impl Asked {
    fn asks_by(&self, head: usize, set: &[usize]) -> [DMatrix<f32>; 2] {
        let Sizes { heads, nope_dim, rope_dim, v_dim } = self.sizes;
        let width = nope_dim + rope_dim;
        let of = |size: usize| (size as f32).sqrt();
        let root = [
            self.root(),
            of(nope_dim),
            of(rope_dim),
            of(v_dim),
            of(self.rank()),
            of(self.kept.ncols()),
            1.0,
            width as f32,
            width as f32,
            of(heads * width),
            of(nope_dim) + of(rope_dim),
            of(nope_dim * rope_dim),
            of(nope_dim * heads),
            of(heads),
            of(self.kept.nrows()),
            1.0 / self.root(),
        ][set[0]];
        let next = (head + 1) % heads;
        let product = |q: DMatrix<f32>, up: DMatrix<f32>| {
            if q.ncols() != up.nrows() {
                does_not_fit();
            }
            q * up
        };
        let asks = match set[1] {
            0 | 7 => self.asks(head)[0].clone(),
            1 => product(self.nope(head), self.v_up(head).transpose()),
            2 => product(self.nope(head), self.k_up(0).transpose()),
            3 => product(self.nope(0), self.k_up(head).transpose()),
            4 => self.asks(0)[0].clone(),
            5 => product(self.nope(head), self.k_up(head)),
            6 => self.nope(head),
            9 => product(self.nope(head), self.k_up(next).transpose()),
            10 => product(self.nope(head), self.k_up(heads - 1).transpose()),
            11 => {
                let up = self.up.columns(head * nope_dim, nope_dim);
                product(self.nope(head), up.transpose())
            }
            12 => product(self.nope(next), self.k_up(head).transpose()),
            13 => self.asks(heads - 1 - head)[0].clone(),
            _ => &self.asks(head)[0] * 0.0,
        };
        let asks = if set[1] == 7 { -asks } else { asks };
        let rope = match set[2] {
            1 => self.rope(0),
            2 => self.rope(head) * 0.0,
            3 => -self.rope(head),
            6 => self.rope(head) * 2.0,
            _ if set[1] == 13 => self.rope(heads - 1 - head),
            _ => self.rope(head),
        };
        let by_rope = [root, root, root, root, 1.0, of(rope_dim), root][set[2]];
        let by_asks = [root, 1.0, of(nope_dim), root / 2.0, root * 2.0][set[4]];
        let (asks, rope) = (asks / by_asks, rope / by_rope);
        if asks.ncols() + rope.ncols() != self.kept.ncols() {
            does_not_fit();
        }
        if set[3] == 1 { [rope, asks] } else { [asks, rope] }
    }
}

fn absorb() -> Exercise<Asked> {
    Exercise::implement("absorb", Asked::draw, Asked::answer)
        .dials(OF_ABSORB, |p, set| p.found(|head| p.asks_by(head, set)))
        .step("q W_UKᵀ of head 0", |p| Value::from(&p.asks(0)[0]))
        .mistake("scaled-by-nope", |p| p.scaled((p.sizes.nope_dim as f32).sqrt()))
        .hidden_by(one_key)
        .mistake("scaled-by-rank", |p| p.scaled((p.kept.ncols() as f32).sqrt()))
        .hidden_by(two_keys)
        .mistake("scaled-by-latent", |p| p.scaled((p.rank() as f32).sqrt()))
        .hidden_by(one_key)
        .mistake("scaled-by-value", |p| p.scaled((p.sizes.v_dim as f32).sqrt()))
        .hidden_by(|| Asked {
            sizes: Sizes { v_dim: 3, ..two_keys().sizes },
            up: dmatrix![1.0, 2.0, -1.0, 0.5],
            ..two_keys()
        })
        .mistake("unscaled", |p| p.scaled(1.0))
        .hidden_by(one_key)
        .mistake("scaled-in-part", |p| {
            p.found(|head| {
                let [asks, rope] = p.asks(head);
                [asks / p.root(), rope]
            })
        })
        .hidden_by(not_turned)
        .mistake("scaled-apart", |p| {
            let Sizes { nope_dim, rope_dim, .. } = p.sizes;
            p.found(|head| {
                let [asks, rope] = p.asks(head);
                [asks / (nope_dim as f32).sqrt(), rope / (rope_dim as f32).sqrt()]
            })
        })
        .hidden_by(one_key)
        .mistake("no-root", |p| p.scaled(p.sizes.qk_dim() as f32))
        .hidden_by(one_key)
        .mistake("values-up", |p| {
            // Where a value is narrower or wider than a key, the product has no shape.
            let root = p.root();
            p.found(|head| {
                [p.nope(head) * p.v_up(head).transpose() / root, p.rope(head) / root]
            })
        })
        .hidden_by(|| Asked { up: dmatrix![2.0, 2.0], ..two_keys() })
        .mistake("transposed", |p| {
            let root = p.root();
            p.found(|head| [p.nope(head) * p.k_up(head) / root, p.rope(head) / root])
        })
        .hidden_by(two_keys)
        .mistake("first-head-for-all", |p| {
            let root = p.root();
            p.found(|head| {
                [p.nope(head) * p.k_up(0).transpose() / root, p.rope(head) / root]
            })
        })
        .hidden_by(two_keys)
        .mistake("sign-turned", |p| {
            p.found(|head| p.asks(head).map(|part| part * -1.0 / p.root()))
        })
        .hidden_by(one_key)
        .mistake("turned-part-lost", |p| {
            p.found(|head| {
                let [asks, rope] = p.asks(head);
                [asks / p.root(), rope * 0.0]
            })
        })
        .hidden_by(not_turned)
        .mistake("turned-part-first", |p| {
            p.found(|head| {
                let [asks, rope] = p.asks(head);
                [rope / p.root(), asks / p.root()]
            })
        })
        .hidden_by(one_key)
        .mistake("turned-part-of-head-0", |p| {
            p.found(|head| [&p.asks(head)[0] / p.root(), p.rope(0) / p.root()])
        })
        .hidden_by(two_keys)
}

/// One head, with one feature that is not turned.
fn two_keys() -> Asked {
    Asked {
        sizes: Sizes { heads: 1, nope_dim: 1, rope_dim: 2, v_dim: 1 },
        nope: dmatrix![1.0],
        rope: dmatrix![0.5, -1.0],
        kept: dmatrix![1.0, 0.5, 0.0; -1.0, 1.0, 0.5],
        up: dmatrix![1.0, 2.0],
        bias: None,
        mask: Mask::None,
    }
}

fn one_key() -> Asked {
    Asked { kept: dmatrix![1.0, 0.5, 0.0], ..two_keys() }
}

fn not_turned() -> Asked {
    Asked { rope: dmatrix![0.0, 0.0], ..two_keys() }
}

// Implement: from the mean of latents to the mean of values.

/// What latents are multiplied by, what is added, and how often.
const OF_RAISE: &[Dial] = &[
    dial(&[
        ("latents-as-they-are", "Latents go on as they are: W_UV is missing."),
        ("keys-up", "What makes keys (W_UK) is applied, not what makes values (W_UV)."),
        ("first-head-for-all", "The first head's W_UV is applied for all heads."),
        ("transposed", "W_UV is transposed."),
        ("next-head", "The W_UV of the next head is applied."),
        ("last-head-for-all", "The last head's W_UV is applied for all heads."),
        ("heads-reversed", "The heads' W_UV are taken from the last."),
        (
            "up-by-value-width",
            "W_UV of head h begins at column h times the width of a value: a head has the \
             columns of a key before it.",
        ),
        (
            "up-from-the-heads-start",
            "W_UV is taken from the head's first columns: those of the key come first.",
        ),
        ("all-keys-first", "W_UV is looked for behind the keys of all heads."),
    ]),
    dial(&[
        ("bias-lost", "The bias is lost."),
        (
            "bias-for-everyone",
            "The bias is added for queries that see nothing as well: it counts as \
             often as the weights sum to.",
        ),
        ("bias-of-head-0", "The first head's bias is added for all heads."),
        ("bias-once-a-key", "The bias is added once for each key: weights sum to 1."),
        ("bias-twice", "The bias counts twice."),
        ("bias-of-keys", "The bias of the keys is added."),
        ("bias-subtracted", "The bias is subtracted."),
        ("bias-once-a-query", "The bias is added once for each query."),
        ("bias-of-the-next-head", "The next head's bias is added."),
        ("bias-of-the-last-head", "The last head's bias is added for all heads."),
        ("bias-over-keys", "The bias is divided by the number of keys."),
    ]),
    dial(&[
        (
            "summed-again",
            "Latents are multiplied by the number of keys: they are a mean already.",
        ),
        (
            "averaged-again",
            "Latents are divided by the number of keys: they are a mean already.",
        ),
        ("doubled", "Values are twice what they should be."),
        ("negative", "Values have the opposite sign."),
        ("over-root-of-rank", "Latents are divided by the root of their width."),
        ("over-root-of-width", "Latents are divided by the root of a head's width."),
    ]),
];

impl Asked {
    fn raised_by(
        &self,
        head: usize,
        latents: &DMatrix<f32>,
        weights: &DMatrix<f32>,
        set: &[usize],
    ) -> DMatrix<f32> {
        let (keys, next) = (weights.ncols() as f32, (head + 1) % self.sizes.heads);
        let Sizes { nope_dim, v_dim, heads, .. } = self.sizes;
        let by_rank = 1.0 / (self.rank() as f32).sqrt();
        let latents = latents
            * [1.0, keys, 1.0 / keys, 2.0, -1.0, by_rank, 1.0 / self.root()][set[2]];
        let up = match set[0] {
            0 => self.v_up(head),
            1 => DMatrix::identity(self.rank(), self.rank()),
            2 => self.k_up(head),
            3 => self.v_up(0),
            4 => self.v_up(head).transpose(),
            6 => self.v_up(heads - 1),
            7 => self.v_up(heads - 1 - head),
            8 => self.up.columns(head * v_dim, v_dim).into_owned(),
            9 => self.up.columns(head * (nope_dim + v_dim), v_dim).into_owned(),
            10 => self.up.columns(heads * nope_dim + head * v_dim, v_dim).into_owned(),
            _ => self.v_up(next),
        };
        if up.nrows() != latents.ncols() || up.ncols() != self.sizes.v_dim {
            does_not_fit();
        }
        let output = latents * up;
        let start = head * (nope_dim + v_dim);
        let bias = match set[1] {
            1 => None,
            3 => self.v_bias(0),
            9 => self.v_bias(next),
            10 => self.v_bias(heads - 1),
            6 => self.bias.as_ref().map(|bias| {
                if nope_dim != v_dim {
                    does_not_fit();
                }
                bias.columns(start, nope_dim).into_owned()
            }),
            _ => self.v_bias(head),
        };
        let times = match set[1] {
            2 => DMatrix::repeat(weights.nrows(), 1, 1.0),
            4 => DMatrix::repeat(weights.nrows(), 1, keys),
            8 => DMatrix::repeat(weights.nrows(), 1, weights.nrows() as f32),
            how => {
                let sums = weights.column_sum()
                    * match how {
                        5 => 2.0,
                        7 => -1.0,
                        11 => 1.0 / keys,
                        _ => 1.0,
                    };
                DMatrix::from_column_slice(sums.len(), 1, sums.as_slice())
            }
        };
        bias.map_or_else(|| output.clone(), |bias| &output + times * bias)
    }
}

fn raise() -> Exercise<Asked> {
    Exercise::implement("raise", Asked::draw, Asked::answer)
        .dials(OF_RAISE, |p, set| {
            p.raising(|head, latents, weights| p.raised_by(head, latents, weights, set))
        })
        .step("W_UV of head 0", |p| Value::from(p.v_up(0)))
        .mistake("latents-as-they-are", |p| {
            p.raising(|_, latents, _| {
                if latents.ncols() != p.sizes.v_dim {
                    does_not_fit();
                }
                latents.clone()
            })
        })
        .hidden_by(|| Asked { up: dmatrix![1.0, 1.0], ..two_keys() })
        .mistake("keys-up", |p| {
            p.raising(|head, latents, weights| {
                let output = latents * p.k_up(head);
                if output.ncols() != p.sizes.v_dim {
                    does_not_fit();
                }
                p.biased(head, output, weights)
            })
        })
        .hidden_by(|| Asked { up: dmatrix![2.0, 2.0], ..two_keys() })
        .mistake("first-head-for-all", |p| {
            p.raising(|_, latents, weights| p.raised(0, latents, weights))
        })
        .hidden_by(two_keys)
        .mistake("transposed", |p| {
            p.raising(|head, latents, weights| {
                let output = latents * p.v_up(head).transpose();
                if output.ncols() != p.sizes.v_dim {
                    does_not_fit();
                }
                p.biased(head, output, weights)
            })
        })
        .hidden_by(two_keys)
        .mistake("bias-lost", |p| p.raising(|head, latents, _| latents * p.v_up(head)))
        .hidden_by(two_keys)
        .mistake("bias-for-everyone", |p| {
            p.raising(|head, latents, weights| {
                let all = DMatrix::repeat(weights.nrows(), 1, 1.0);
                p.raised(head, latents, &all)
            })
        })
        .hidden_by(two_keys)
        .mistake("bias-of-head-0", |p| {
            p.raising(|head, latents, weights| {
                p.biased(0, latents * p.v_up(head), weights)
            })
        })
        .hidden_by(two_keys)
        .mistake("bias-once-a-key", |p| {
            p.raising(|head, latents, weights| {
                let keys = weights.ncols() as f32;
                let all = DMatrix::repeat(weights.nrows(), 1, keys);
                p.raised(head, latents, &all)
            })
        })
        .hidden_by(one_key)
        .mistake("summed-again", |p| {
            p.raising(|head, latents, weights| {
                let keys = weights.ncols() as f32;
                p.raised(head, &(latents * keys), weights)
            })
        })
        .hidden_by(one_key)
}

// Implement: the queries.

struct Asking {
    sizes: Sizes,
    x: DMatrix<f32>,
    q_proj: DMatrix<f32>,
    /// What comes before `q_proj`, if queries have a latent of their own: a projection, and
    /// the weights of a norm.
    latent: Option<[DMatrix<f32>; 2]>,
    start: usize,
}

impl Asking {
    fn draw(draw: &mut Draw) -> Self {
        let [heads, nope_dim] = [draw.size(1..=3), draw.size(1..=3)];
        let (rope_dim, v_dim) = (2 * draw.size(1..=2), 1);
        let sizes = Sizes { heads, nope_dim, rope_dim, v_dim };
        let [tokens, model_dim] = [draw.tokens(3), draw.size(1..=2)];
        let start = draw.size(0..=3);
        let wider = draw.rarely();
        draw.show("heads, nope_dim, rope_dim", vec![heads, nope_dim, rope_dim]);
        draw.show("start", start);
        Asking {
            x: draw.matrix("x", tokens, model_dim + wider),
            q_proj: draw.matrix(
                "q_proj (or q_b_proj)",
                model_dim,
                heads * (nope_dim + rope_dim),
            ),
            latent: draw.pick(&[false, false, true]).then(|| {
                [
                    draw.matrix("q_a_proj", model_dim, model_dim),
                    draw.matrix("weights of q_a_layernorm", 1, model_dim),
                ]
            }),
            sizes,
            start,
        }
    }

    fn answer(&self) -> Answer {
        let sizes = self.sizes;
        let linear = |weight| Linear::new(weight, None).unwrap();
        let projections = Projections {
            query: self.query(),
            kv_a_proj: linear(DMatrix::zeros(self.q_proj.nrows(), 1 + sizes.rope_dim)),
            kv_a_layernorm: RmsNorm::new(vec![1.0]),
            kv_b_proj: linear(DMatrix::zeros(1, sizes.heads * (sizes.nope_dim + 1))),
            o_proj: linear(DMatrix::zeros(sizes.heads, 1)),
        };
        let layer = LatentAttention::new(projections, sizes, THETA).unwrap();
        let parts = |q: Queries| Asking::parts(q.nope, q.rope);
        Answer::try_of("refused", layer.queries(&self.x, self.start).map(parts))
    }

    fn query(&self) -> QueryProjection {
        let linear = |weight: &DMatrix<f32>| Linear::new(weight.clone(), None).unwrap();
        match &self.latent {
            None => QueryProjection::Full(linear(&self.q_proj)),
            Some([down, norm]) => QueryProjection::LowRank {
                q_a_proj: linear(down),
                q_a_layernorm: RmsNorm::new(norm.as_slice().to_vec()),
                q_b_proj: linear(&self.q_proj),
            },
        }
    }

    /// The queries of all heads, before they are cut; normed on the way or not.
    fn all(&self, normed: bool) -> DMatrix<f32> {
        match &self.latent {
            None => &self.x * &self.q_proj,
            Some([down, norm]) => {
                let latent = &self.x * down;
                let norm = RmsNorm::new(norm.as_slice().to_vec());
                let latent =
                    if normed { norm.forward(&latent).unwrap() } else { latent };
                latent * &self.q_proj
            }
        }
    }

    fn parts(nope: DMatrix<f32>, rope: DMatrix<f32>) -> Answer {
        Answer::of("not turned", nope).and("turned", rope)
    }

    /// Both parts of all queries, or the right refusal where the width does not fit.
    fn with(&self, of: impl Fn(DMatrix<f32>) -> [DMatrix<f32>; 2]) -> Answer {
        if self.x.ncols() != self.q_proj.nrows() {
            return self.answer();
        }
        let [nope, rope] = of(self.all(true));
        Asking::parts(nope, rope)
    }

    /// The columns that `first` names, and the others, before anything turns.
    fn cut(all: &DMatrix<f32>, first: impl Fn(usize) -> bool) -> [DMatrix<f32>; 2] {
        let columns = 0..all.ncols();
        let (nope, rope): (Vec<_>, Vec<_>) = columns.partition(|column| first(*column));
        [all.select_columns(&nope), all.select_columns(&rope)]
    }

    fn right(&self, all: &DMatrix<f32>) -> [DMatrix<f32>; 2] {
        let Sizes { nope_dim, rope_dim, .. } = self.sizes;
        Asking::cut(all, |column| column % (nope_dim + rope_dim) < nope_dim)
    }

    /// Every head's part of a matrix turned, a head being so wide.
    fn turned(turn: Turn, all: &DMatrix<f32>, width: usize) -> DMatrix<f32> {
        let starts = (0..all.ncols()).step_by(width);
        let heads: Vec<_> = starts
            .map(|start| turn.of(&all.columns(start, width).into_owned()))
            .collect();
        side_by_side(&heads)
    }

    /// The right cut, with another turn.
    fn turning(&self, turn: Turn) -> Answer {
        self.with(|all| {
            let [nope, rope] = self.right(&all);
            [nope, Asking::turned(turn, &rope, self.sizes.rope_dim)]
        })
    }

    fn turn(&self) -> Turn {
        Turn { start: self.start, step: 1, neighbors: true, sign: 1.0 }
    }
}

/// How queries are cut, by how much which part is turned, and what is scaled.
const OF_QUERIES: &[Dial] = &[
    dial(&[
        ("cut-once", "Queries are cut once for all heads: each head has both parts."),
        (
            "turned-part-first",
            "In each head, you take the first columns for the part that turns: it \
             comes last.",
        ),
        ("widths-swapped", "The two widths have changed places in the cut."),
        ("first-head-for-all", "All heads get the first head's columns."),
        ("heads-reversed", "The heads come in the opposite order."),
        ("even-and-odd", "Columns are dealt out in turn, one to each part."),
    ]),
    dial(&[
        ("not-turned", "Nothing is turned."),
        (
            "start-forgotten",
            "Queries are turned from position 0, and not from `start`.",
        ),
        ("one-too-far", "Queries are turned one position too far."),
        (
            "all-at-start",
            "All tokens are turned by `start`: the next one stands one further.",
        ),
        ("halves", "Queries are turned in halves, where neighbors are pairs."),
        ("backwards", "Queries are turned the other way."),
        ("twice", "Queries are turned twice."),
        ("one-too-little", "Queries are turned one position too little."),
        ("twice-the-start", "`start` counts twice."),
        ("positions-reversed", "Positions are counted from the last token."),
        (
            "behind-the-chunk",
            "Positions begin behind the last token of `x`, and not at `start`.",
        ),
        (
            "from-the-number-of-tokens",
            "Positions begin at the number of tokens, and not at `start`.",
        ),
    ]),
    dial(&[
        ("all-turned", "The part that stays is turned as well."),
        ("heads-as-one", "All heads are turned as one: each begins anew."),
        ("first-head-alone", "Only the first head is turned."),
        (
            "other-part-turned",
            "The part that should stay is turned, and the other is not.",
        ),
        (
            "all-turned-in-pieces",
            "The part that stays is turned as well, as if it had heads as wide as the part \
             that turns.",
        ),
    ]),
    dial(&[
        (
            "scaled-already",
            "Queries are divided by the root of a head's width already: that comes \
             with the scores.",
        ),
        (
            "stays-scaled",
            "The part that stays is divided by the root of a head's width already.",
        ),
        (
            "turns-scaled",
            "The part that turns is divided by the root of a head's width already.",
        ),
        (
            "scaled-by-nope-already",
            "Queries are divided by the root of nope_dim already: scaling comes with the \
             scores.",
        ),
    ]),
    dial(&[("parts-swapped", "The two parts have changed places.")]),
    dial(&[(
        "latent-not-normed",
        "Where queries have a latent of their own, it is not normed.",
    )]),
];

impl Asking {
    fn cut_by(&self, all: &DMatrix<f32>, how: usize) -> [DMatrix<f32>; 2] {
        let Sizes { heads, nope_dim, rope_dim, .. } = self.sizes;
        let width = nope_dim + rope_dim;
        match how {
            0 => self.right(all),
            1 => Asking::cut(all, |column| column < heads * nope_dim),
            2 => {
                let [rope, nope] = Asking::cut(all, |column| column % width < rope_dim);
                [nope, rope]
            }
            3 => Asking::cut(all, |column| column % width < rope_dim),
            5 => {
                let from = |column: usize| {
                    (heads - 1 - column / width) * width + column % width
                };
                let turned = |row: usize, column: usize| all[(row, from(column))];
                self.right(&DMatrix::from_fn(all.nrows(), all.ncols(), turned))
            }
            6 => Asking::cut(all, |column| column.is_multiple_of(2)),
            _ => {
                let of = |start: usize, width: usize| {
                    DMatrix::from_fn(all.nrows(), heads * width, |row, column| {
                        all[(row, start + column % width)]
                    })
                };
                [of(0, nope_dim), of(nope_dim, rope_dim)]
            }
        }
    }

    fn by(&self, set: &[usize]) -> Answer {
        let rope_dim = self.sizes.rope_dim;
        if self.x.ncols() != self.q_proj.nrows() {
            return self.answer();
        }
        let once =
            |part: &DMatrix<f32>, width| self.turn().heads_by(set[1], part, width);
        let [nope, rope] = self.cut_by(&self.all(set[5] == 0), set[0]);
        // What is no number of whole heads is refused by the rotation.
        if !rope.ncols().is_multiple_of(rope_dim) && set[2] != 4 {
            return Answer::of("refused", Value::Refused("no whole heads".to_owned()));
        }
        let (nope, rope) = match set[2] {
            0 => (nope, once(&rope, rope_dim)),
            1 => (once(&nope, self.sizes.nope_dim), once(&rope, rope_dim)),
            5 if !nope.ncols().is_multiple_of(rope_dim) => {
                let why = "no whole heads".to_owned();
                return Answer::of("refused", Value::Refused(why));
            }
            5 => (once(&nope, rope_dim), once(&rope, rope_dim)),
            2 => (nope, once(&rope, rope.ncols())),
            3 => {
                let mut turned = rope.clone();
                let first = once(&rope.columns(0, rope_dim).into_owned(), rope_dim);
                turned.columns_mut(0, rope_dim).copy_from(&first);
                (nope, turned)
            }
            _ => (once(&nope, self.sizes.nope_dim), rope),
        };
        let root = (self.sizes.qk_dim() as f32).sqrt();
        let by_nope = (self.sizes.nope_dim as f32).sqrt();
        let [stays, turns] =
            [[1.0, 1.0], [root, root], [root, 1.0], [1.0, root], [by_nope; 2]][set[3]];
        let (nope, rope) = (nope / stays, rope / turns);
        if set[4] == 1 { Asking::parts(rope, nope) } else { Asking::parts(nope, rope) }
    }
}

fn queries() -> Exercise<Asking> {
    Exercise::implement("queries", Asking::draw, Asking::answer)
        .dials(OF_QUERIES, Asking::by)
        .step("x W_Q", |p| {
            let fits = p.x.ncols() == p.q_proj.nrows();
            fits.then(|| p.all(true)).ok_or("x does not fit").into()
        })
        .mistake("not-turned", |p| p.turning(Turn { start: 0, step: 0, ..p.turn() }))
        .hidden_by(first_token)
        .mistake("start-forgotten", |p| p.turning(Turn { start: 0, ..p.turn() }))
        .hidden_by(first_token)
        .mistake("one-too-far", |p| p.turning(Turn { start: p.start + 1, ..p.turn() }))
        .mistake("all-at-start", |p| p.turning(Turn { step: 0, ..p.turn() }))
        .hidden_by(first_token)
        .mistake("halves", |p| p.turning(Turn { neighbors: false, ..p.turn() }))
        .hidden_by(first_token)
        .mistake("backwards", |p| p.turning(Turn { sign: -1.0, ..p.turn() }))
        .hidden_by(first_token)
        .mistake("cut-once", |p| {
            p.with(|all| {
                let middle = p.sizes.heads * p.sizes.nope_dim;
                let [nope, rope] = Asking::cut(&all, |column| column < middle);
                [nope, Asking::turned(p.turn(), &rope, p.sizes.rope_dim)]
            })
        })
        .hidden_by(first_token)
        .mistake("turned-part-first", |p| {
            p.with(|all| {
                let Sizes { nope_dim, rope_dim, .. } = p.sizes;
                let [rope, nope] = Asking::cut(&all, |column| {
                    column % (nope_dim + rope_dim) < rope_dim
                });
                [nope, Asking::turned(p.turn(), &rope, rope_dim)]
            })
        })
        .hidden_by(|| Asking { q_proj: dmatrix![2.0, 2.0, 2.0], ..first_token() })
        .mistake("heads-as-one", |p| {
            p.with(|all| {
                let [nope, rope] = p.right(&all);
                let width = rope.ncols();
                [nope, Asking::turned(p.turn(), &rope, width)]
            })
        })
        .hidden_by(first_token)
        .mistake("all-turned", |p| {
            p.with(|all| {
                let [nope, rope] = p.right(&all);
                let nope = Asking::turned(p.turn(), &nope, p.sizes.nope_dim);
                [nope, Asking::turned(p.turn(), &rope, p.sizes.rope_dim)]
            })
        })
        .hidden_by(first_token)
        .mistake("turned-before-the-cut", |p| {
            p.with(|all| p.right(&Asking::turned(p.turn(), &all, p.sizes.qk_dim())))
        })
        .hidden_by(first_token)
        .mistake("scaled-already", |p| {
            p.with(|all| {
                let root = (p.sizes.qk_dim() as f32).sqrt();
                let [nope, rope] = p.right(&(all / root));
                [nope, Asking::turned(p.turn(), &rope, p.sizes.rope_dim)]
            })
        })
        .mistake("parts-swapped", |p| {
            p.with(|all| {
                let [nope, rope] = p.right(&all);
                [Asking::turned(p.turn(), &rope, p.sizes.rope_dim), nope]
            })
        })
}

/// One head, one token, at position 0.
fn first_token() -> Asking {
    let sizes = Sizes { heads: 1, nope_dim: 1, rope_dim: 2, v_dim: 1 };
    let q_proj = dmatrix![2.0, 3.0, -2.0];
    Asking { sizes, x: dmatrix![1.0], q_proj, latent: None, start: 0 }
}

// Investigate: where the forms cross.

fn crossing() -> Exercise<()> {
    Exercise::investigate("crossing", |()| {
        let more = narrow(128).pair(Form::Absorbed) - narrow(128).pair(Form::Naive);
        crosses(narrow(256).crossing(), more as f64)
    })
    .mistake("in-proportion", |()| {
        let more = DEEPSEEK.pair(Form::Absorbed) - DEEPSEEK.pair(Form::Naive);
        crosses(DEEPSEEK.crossing() / 2.0, more as f64 / 4.0)
    })
    .mistake("turned-part-in-one", |()| {
        let Sizes { nope_dim, rope_dim, v_dim, .. } = DEEPSEEK.sizes;
        let expanding = (nope_dim + rope_dim + v_dim) as f64;
        crosses(256.0 * expanding / (512.0 - expanding), 256.0 - expanding)
    })
    .mistake("turned-part-absorbed", |()| {
        let Sizes { nope_dim, rope_dim, v_dim, .. } = DEEPSEEK.sizes;
        let (expanding, turned) = ((nope_dim + v_dim) as f64, rope_dim as f64);
        crosses(256.0 * expanding / (512.0 + turned - expanding), turned)
    })
}

fn narrow(lora_rank: usize) -> Shape {
    Shape { lora_rank, ..SCALED }
}

fn crosses(at: f64, more: f64) -> Answer {
    let at = at as f32;
    Answer::of("predicted", at).and("crossing", at).and("more", more as f32)
}

// Investigate: one reading for two uses.

fn two_uses() -> Exercise<()> {
    Exercise::investigate("two-uses", |()| moves(|numbers, latents| numbers - latents))
        .mistake("no-change", |()| moves(|numbers, _| numbers))
        .mistake("halved", |()| moves(|numbers, _| numbers / 2.0))
        .mistake("nothing-read", |()| moves(|numbers, latents| numbers - 2.0 * latents))
}

/// What follows if the absorbed form moves other numbers, given those that it moves and
/// those of all latents.
fn moves(numbers: impl Fn(f64, f64) -> f64) -> Answer {
    let seen = CACHED[CACHED.len() - 1];
    let [naive, absorbed] =
        [Form::Naive, Form::Absorbed].map(|form| SCALED.work(form, 1, seen));
    let numbers = numbers(absorbed.numbers, (seen * SCALED.lora_rank) as f64);
    let absorbed = Work { numbers, ..absorbed };
    let machine = Machine::recorded().unwrap();
    let ratio = machine.milliseconds(naive) / machine.milliseconds(absorbed);
    let ratio = ratio as f32;
    Answer::of("predicted", ratio)
        .and("numbers", (numbers / 1e6) as f32)
        .and("ratio", ratio)
}
