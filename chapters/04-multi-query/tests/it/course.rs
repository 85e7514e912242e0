//! The chapter's exercises: what they ask, and what people answer instead. `course.toml`
//! has the words.

use attention::{Attended, Linear, Mask, attend, scores, softmax};
use decoding::{Columns, KvCache, attend_columns};
use exercises::{
    Answer, Dial, Draw, Exercise, Exercises, Found, Headed, Looks, Sees, Value, dial,
    does_not_fit, under_one_another,
};
use minilm::Layer;
use multi_head::{Heads, MultiHeadAttended, Projected};
use multi_query::experiments::{self, TRANSLATION};
use multi_query::{MultiQueryAttention, attend_shared, decode, example, mean_of_heads};
use nalgebra::{DMatrix, dmatrix};

#[test]
fn the_exercises_keep_their_promises() {
    let folder = env!("CARGO_MANIFEST_DIR");
    println!("{}", exercises::prove(folder, &exercises()).unwrap());
}

/// In the order of `course.toml`.
pub fn exercises() -> Exercises {
    Exercises::new()
        .with(row_of_moon())
        .with(budget())
        .with(shared())
        .with(widths())
        .with(stack())
        .with(mean())
        .with(stretch())
}

// By hand: the row of `moon` in head 1.

fn row_of_moon() -> Exercise<()> {
    Exercise::by_hand("by-hand", |()| moon(&toy_scores(1), shares))
        .mistake("head-0", |()| moon(&toy_scores(0), shares))
        .mistake("unscaled", |()| moon(&(toy_scores(1) * 2.0), shares))
        .mistake("over-all-heads", |()| moon(&(toy_scores(1) / 2.0_f32.sqrt()), shares))
        .mistake("column", |()| moon(&toy_scores(1).transpose(), shares))
        .mistake("no-exponential", |()| {
            moon(&toy_scores(1), |row| row.clone() / row.sum())
        })
}

fn shares(row: &DMatrix<f32>) -> DMatrix<f32> {
    softmax(row.clone())
}

fn toy_scores(head: usize) -> DMatrix<f32> {
    let (x, layer) = example::toy().unwrap();
    let Projected { q, k, .. } = layer.project(&x, &x).unwrap();
    scores(q.columns(head * k.ncols(), k.ncols()), k.as_view()).unwrap()
}

fn moon(scores: &DMatrix<f32>, share: fn(&DMatrix<f32>) -> DMatrix<f32>) -> Answer {
    let (x, layer) = example::toy().unwrap();
    let row = scores.rows(1, 1).into_owned();
    let weights = share(&row);
    let found = &weights * layer.project(&x, &x).unwrap().v;
    Answer::of("scores", row).and("weights", weights).and("found", found)
}

// By hand: what the parameters that one key frees are good for.

fn budget() -> Exercise<()> {
    Exercise::by_hand("budget", |()| {
        let attention = experiments::multi_query_parameters(1024, 16, 64);
        hidden_width(1024 * 16 * 64 * 4 - attention, attention)
    })
    .mistake("eight-heads", |()| {
        let attention = experiments::multi_query_parameters(1024, 8, 128);
        hidden_width(1024 * 8 * 128 * 4 - attention, attention)
    })
    .mistake("keys-alone", |()| hidden_width(FREED / 2, BEFORE - FREED / 2))
    .mistake("as-many-layers", |()| sheet(FREED, 4096 + FREED / 2048))
    .mistake("one-matrix", |()| sheet(FREED, 4096 + FREED * 18 / 12 / 1024))
    .mistake("what-comes-on-top", |()| sheet(FREED, FREED * 18 / 12 / 2048))
}

const BEFORE: u64 = 4 * 1024 * 1024;
const FREED: u64 = 2 * 1024 * 960;

fn hidden_width(freed: u64, attention: u64) -> Answer {
    sheet(freed, experiments::matching_d_ff(&TRANSLATION, attention).unwrap())
}

fn sheet(freed: u64, d_ff: u64) -> Answer {
    Answer::of("freed", freed as f32).and("d-ff", d_ff as f32)
}

// Implement: many heads, one key.

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
    heads: usize,
    mask: Mask,
}

impl Asked {
    fn draw(draw: &mut Draw) -> Self {
        let heads = draw.size(1..=4);
        let [queries, keys] = [draw.tokens(3), draw.tokens(4)];
        let [d_k, d_v] = [draw.size(1..=3), draw.size(1..=3)];
        let (wider, more) =
            draw.pick(&[(0, 0), (0, 0), (0, 0), (0, 0), (1, 0), (0, 1)]);
        draw.show("heads", heads);
        let mask = mask_of(draw.mask(queries, keys));
        let q = draw.numbers(queries, heads * d_k + wider);
        let (mut q, mut k) = (q, draw.numbers(keys, d_k));
        draw.lift(&mut q, &mut k, d_k);
        draw.show("q", &q);
        draw.show("k", &k);
        Asked { q, k, v: draw.matrix("v", keys + more, d_v), heads, mask }
    }

    /// Two tokens, heads and values of one width, no mask.
    fn small(heads: usize, width: usize) -> Self {
        let numbers = |columns, slope: usize| {
            DMatrix::from_fn(2, columns, |row, column| {
                (row + slope * column) as f32 / 2.0
            })
        };
        let (q, k) = (numbers(heads * width, 1), numbers(width, 2));
        Asked { q, k, v: numbers(width, 3), heads, mask: Mask::None }
    }

    fn answer(&self) -> Answer {
        let (k, v) = (self.k.as_view(), self.v.as_view());
        let found = attend_shared(&self.q, k, v, self.heads, &self.mask);
        Answer::try_of("refused", found.map(|heads| Asked::parts(&heads)))
    }

    fn heads(&self) -> Option<Vec<Headed>> {
        let Asked { q, k, v, heads, mask } = self;
        let [q, k, v] = [q.clone(), k.clone(), v.clone()];
        let (heads, sees) = (*heads, sees_of(mask));
        self.fits().then(|| vec![Headed { q, k, v, heads, kv_heads: 1, sees }])
    }

    fn looked(&self, found: &[Found]) -> Answer {
        let [Found { context, weights }] = found else { return self.answer() };
        let (context, weights) = (context.clone(), weights.clone());
        Asked::parts(&Heads { found: context, weights })
    }

    fn parts(heads: &Heads) -> Answer {
        Answer::of("weights, head under head", under_one_another(&heads.weights))
            .and("maps of weights", heads.weights.len())
            .and("context", &heads.found)
    }

    /// What the heads find where everything fits.
    fn found(&self) -> Heads {
        let each = (0..self.heads).map(|h| {
            let (q, k, v) = (self.query(h), self.k.as_view(), self.v.as_view());
            attend(q.as_view(), k, v, &self.mask).unwrap()
        });
        let each: Vec<Attended> = each.collect();
        let d_v = self.v.ncols();
        let context = DMatrix::from_fn(self.q.nrows(), self.heads * d_v, |i, j| {
            each[j / d_v].output[(i, j % d_v)]
        });
        Heads { found: context, weights: each.into_iter().map(|a| a.weights).collect() }
    }

    fn fits(&self) -> bool {
        self.q.ncols() == self.heads * self.k.ncols()
            && self.k.nrows() == self.v.nrows()
            && is_of(&self.mask, (self.q.nrows(), self.k.nrows()))
    }

    /// As if the mask were another one.
    fn under(&self, mask: Mask) -> Answer {
        let (q, k, v) = (self.q.clone(), self.k.clone(), self.v.clone());
        Asked { q, k, v, heads: self.heads, mask }.answer()
    }

    fn query(&self, head: usize) -> DMatrix<f32> {
        self.q.columns(head * self.k.ncols(), self.k.ncols()).into_owned()
    }

    /// Head by head, with the queries it takes, and the column at which it puts what it
    /// found.
    fn by(
        &self,
        query: impl Fn(usize) -> DMatrix<f32>,
        mask: &Mask,
        place: impl Fn(usize) -> usize,
    ) -> Answer {
        let d_v = self.v.ncols();
        let mut context = DMatrix::zeros(self.q.nrows(), self.heads * d_v);
        let mut weights = Vec::new();
        for h in 0..self.heads {
            let q = query(h);
            let found = attend(q.as_view(), self.k.as_view(), self.v.as_view(), mask);
            let Attended { output, weights: map } = found.unwrap();
            context.columns_mut(place(h), d_v).copy_from(&output);
            weights.push(map);
        }
        Asked::parts(&Heads { found: context, weights })
    }

    fn unless_refused(&self, wrong: impl Fn(usize) -> Answer) -> Answer {
        if self.fits() { wrong(self.v.ncols()) } else { self.answer() }
    }

    /// One softmax for the scores of all heads.
    fn one_softmax(&self, d_v: usize) -> Answer {
        let keys = self.k.nrows();
        let mut all = DMatrix::zeros(self.q.nrows(), self.heads * keys);
        for h in 0..self.heads {
            let mut scores = scores(self.query(h).as_view(), self.k.as_view()).unwrap();
            self.mask.hide(&mut scores).unwrap();
            all.columns_mut(h * keys, keys).copy_from(&scores);
        }
        let all = softmax(all);
        let mut context = DMatrix::zeros(self.q.nrows(), self.heads * d_v);
        let mut weights = Vec::new();
        for h in 0..self.heads {
            let map = all.columns(h * keys, keys).into_owned();
            context.columns_mut(h * d_v, d_v).copy_from(&(&map * &self.v));
            weights.push(map);
        }
        Asked::parts(&Heads { found: context, weights })
    }
}

#[expect(clippy::too_many_lines, reason = "a catalogue: one entry after the other")]
fn shared() -> Exercise<Asked> {
    Exercise::implement("shared", Asked::draw, Asked::answer)
        .attending(Asked::heads, Asked::looked)
        .mistake("over-all-heads", |p| {
            let root = (p.heads as f32).sqrt();
            p.unless_refused(|d_v| p.by(|h| p.query(h) / root, &p.mask, |h| h * d_v))
        })
        .hidden_by(|| Asked::small(1, 2))
        .mistake("first-query", |p| {
            p.unless_refused(|d_v| p.by(|_| p.query(0), &p.mask, |h| h * d_v))
        })
        .hidden_by(|| Asked::small(1, 2))
        .mistake("features-in-turns", |p| {
            p.unless_refused(|d_v| {
                let turns = |h| {
                    let columns = (0..p.k.ncols()).map(|i| h + i * p.heads);
                    p.q.select_columns(&columns.collect::<Vec<_>>())
                };
                p.by(turns, &p.mask, |h| h * d_v)
            })
        })
        .hidden_by(|| Asked::small(3, 1))
        .mistake("place-by-d-k", |p| {
            p.unless_refused(|_| p.by(|h| p.query(h), &p.mask, |h| h * p.k.ncols()))
        })
        .hidden_by(|| Asked::small(3, 2))
        .mistake("one-place", |p| {
            p.unless_refused(|_| p.by(|h| p.query(h), &p.mask, |_| 0))
        })
        .hidden_by(|| Asked::small(1, 2))
        .mistake("one-softmax", |p| p.unless_refused(|d_v| p.one_softmax(d_v)))
        .hidden_by(|| Asked::small(1, 2))
        .mistake("no-mask", |p| p.under(Mask::None))
        .hidden_by(|| Asked::small(3, 2))
        .mistake("always-causal", |p| p.under(Mask::Causal { offset: 0 }))
        .hidden_by(|| Asked {
            q: dmatrix![1.0, 0.5],
            k: dmatrix![2.0],
            v: dmatrix![3.0],
            ..Asked::small(2, 1)
        })
        .mistake("keys-and-values-swapped", |p| {
            if !p.fits() {
                return p.answer();
            }
            let (k, v) = (p.v.clone(), p.k.clone());
            Asked { q: p.q.clone(), k, v, heads: p.heads, mask: p.mask.clone() }
                .answer()
        })
        .hidden_by(|| {
            let case = Asked::small(2, 1);
            Asked { v: case.k.clone(), ..case }
        })
        .mistake("places-in-turns", |p| {
            p.unless_refused(|d_v| {
                let Heads { found: context, weights } = p.found();
                let turned =
                    DMatrix::from_fn(context.nrows(), context.ncols(), |i, j| {
                        context[(i, j % p.heads * d_v + j / p.heads)]
                    });
                Asked::parts(&Heads { found: turned, weights })
            })
        })
        .hidden_by(|| Asked::small(3, 1))
        .mistake("places-reversed", |p| {
            p.unless_refused(|d_v| {
                p.by(|h| p.query(h), &p.mask, |h| (p.heads - 1 - h) * d_v)
            })
        })
        .hidden_by(|| Asked::small(1, 2))
        .mistake("last-head-not-placed", |p| {
            p.unless_refused(|d_v| {
                let Heads { found: mut context, weights } = p.found();
                context.columns_mut((p.heads - 1) * d_v, d_v).fill(0.0);
                Asked::parts(&Heads { found: context, weights })
            })
        })
        .mistake("one-column-on", |p| {
            p.unless_refused(|d_v| {
                let d_k = p.k.ncols();
                let query = |h| p.q.columns(h, d_k).into_owned();
                p.by(query, &p.mask, |h| h * d_v)
            })
        })
        .hidden_by(|| Asked::small(3, 1))
        .mistake("unchecked", |p| {
            let (d_k, d_v) = (p.k.ncols(), p.v.ncols());
            let mut context = DMatrix::zeros(p.q.nrows(), p.heads * d_v);
            let mut weights = Vec::new();
            for h in 0..p.heads {
                let q = p.q.columns(h * d_k, d_k);
                match attend(q, p.k.as_view(), p.v.as_view(), &p.mask) {
                    Err(e) => return Answer::try_of("refused", Err(e)),
                    Ok(Attended { output, weights: map }) => {
                        context.columns_mut(h * d_v, d_v).copy_from(&output);
                        weights.push(map);
                    }
                }
            }
            Asked::parts(&Heads { found: context, weights })
        })
        .hidden_by(|| Asked::small(3, 2))
}

// A layer, and what it has seen.

struct Decoded {
    heads: usize,
    d_k: usize,
    d_v: usize,
    /// `W_Q`, `W_K`, `W_V`, `W_O`.
    weights: [DMatrix<f32>; 4],
    past: DMatrix<f32>,
    x: DMatrix<f32>,
    /// Tokens for which there is room after those before.
    room: usize,
}

impl Decoded {
    fn draw(draw: &mut Draw) -> Self {
        let heads = draw.size(1..=3);
        let [d_k, d_v] = [draw.size(1..=3), draw.size(1..=3)];
        let (before, model) = (draw.size(1..=2), draw.size(1..=2));
        let tokens = draw.pick(&[1, 1, 1, 1, 1, 1, 1, 1, 2, 0]);
        let room = draw.pick(&[2, 1, 2, 1, 2, 1, 2, 0]);
        draw.show("heads", heads);
        draw.show("capacity of the cache", before + room);
        let past = draw.matrix("x before", before, model);
        let x = draw.matrix("x", tokens, model);
        let weights = [
            draw.matrix("q_proj", model, heads * d_k),
            draw.matrix("k_proj", model, d_k),
            draw.matrix("v_proj", model, d_v),
            draw.matrix("o_proj", heads * d_v, model),
        ];
        Decoded { heads, d_k, d_v, weights, past, x, room }
    }

    /// Heads and values of one width, and an output projection that changes nothing.
    fn small(heads: usize, width: usize) -> Self {
        let numbers = |columns, slope: usize| {
            DMatrix::from_fn(2, columns, |row, column| {
                (2 * row + slope * column) as f32 / 4.0
            })
        };
        let weights = [
            numbers(heads * width, 1),
            numbers(width, 2),
            numbers(width, 3),
            DMatrix::identity(heads * width, heads * width),
        ];
        let (past, x) = (dmatrix![1.0, 0.0], dmatrix![0.5, 1.0]);
        Decoded { heads, d_k: width, d_v: width, weights, past, x, room: 2 }
    }

    fn layer(&self) -> MultiQueryAttention {
        let linear = |weight| Linear::new(weight, None).unwrap();
        let [q, k, v, o] = self.weights.clone().map(linear);
        MultiQueryAttention::new(q, k, v, o, self.heads).unwrap()
    }

    /// With what came before.
    fn cache(&self) -> KvCache {
        let capacity = self.past.nrows() + self.room;
        let mut cache = KvCache::new(capacity, self.d_k, self.d_v);
        let Projected { k, v, .. } =
            self.layer().project(&self.past, &self.past).unwrap();
        cache.append(&k, &v).unwrap();
        cache
    }

    fn answer(&self) -> Answer {
        let mut cache = self.cache();
        let decoded = decode(&self.layer(), &self.x, &mut cache);
        let len = cache.len();
        match decoded {
            Ok(decoded) => Decoded::parts(&decoded, len),
            Err(e) => Answer::of("refused", Value::Refused(e.to_string()))
                .and("tokens kept", len),
        }
    }

    /// The token's queries, and the keys and values that it sees, as the dials are set.
    fn looks(&self, set: &[usize]) -> Looks {
        if self.x.nrows() != 1 || self.room == 0 {
            return Looks::Nothing;
        }
        let seen = match set[0] {
            3 if self.room < 2 => return Looks::Misfit,
            0 => under_one_another([&self.past, &self.x]),
            1 => self.past.clone(),
            2 => self.x.clone(),
            _ => under_one_another([&self.past, &self.x, &self.x]),
        };
        let [q, k, v, _] = &self.weights;
        let (q, k, v) = (&self.x * q, &seen * k, &seen * v);
        let (heads, sees) = (self.heads, Sees::Everything);
        Looks::At(vec![Headed { q, k, v, heads, kv_heads: 1, sees }])
    }

    fn looked(&self, found: &[Found], set: &[usize]) -> Answer {
        let [Found { context, weights }] = found else { return self.answer() };
        let (d_v, all) = (self.d_v, context.ncols());
        let laid = match set[1] {
            0 => context.clone(),
            // Head by head in columns, read row by row.
            _ if all != self.heads * d_v => does_not_fit(),
            _ => DMatrix::from_fn(1, all, |_, j| {
                context[j % self.heads * d_v + j / self.heads]
            }),
        };
        let [.., o] = &self.weights;
        let o = match set[2] {
            1 => DMatrix::identity(all, all),
            2 => o.transpose(),
            _ => o.clone(),
        };
        if laid.ncols() != o.nrows() {
            does_not_fit();
        }
        let output = laid * o;
        let output = match set[3] {
            0 => output,
            _ if output.shape() != self.x.shape() => does_not_fit(),
            _ => output + &self.x,
        };
        let decoded = MultiHeadAttended { output, weights: weights.clone() };
        let kept = if set[0] == 3 { 2 } else { [1, 0][set[4]] };
        Decoded::parts(&decoded, self.past.nrows() + kept)
    }

    fn parts(decoded: &MultiHeadAttended, kept: usize) -> Answer {
        Answer::of("weights, head under head", under_one_another(&decoded.weights))
            .and("maps of weights", decoded.weights.len())
            .and("output", &decoded.output)
            .and("tokens kept", kept)
    }

    /// As it should be, but for how the queries are stacked, which keys there are when
    /// they look, and how what they found is laid side by side.
    fn by(
        &self,
        stack: impl Fn(&DMatrix<f32>) -> DMatrix<f32>,
        late: bool,
        unstack: impl Fn(&DMatrix<f32>) -> DMatrix<f32>,
    ) -> Answer {
        self.looking(stack, late, unstack, self.past.nrows() + 1)
    }

    /// The same, when so many tokens are said to be kept.
    fn looking(
        &self,
        stack: impl Fn(&DMatrix<f32>) -> DMatrix<f32>,
        late: bool,
        unstack: impl Fn(&DMatrix<f32>) -> DMatrix<f32>,
        kept: usize,
    ) -> Answer {
        if self.x.nrows() != 1 || self.room == 0 {
            return self.answer();
        }
        let mut cache = self.cache();
        let Projected { q, k, v } = self.layer().project(&self.x, &self.x).unwrap();
        if !late {
            cache.append(&k, &v).unwrap();
        }
        let found =
            attend_columns(stack(&q).as_view(), cache.keys(), cache.values()).unwrap();
        if late {
            cache.append(&k, &v).unwrap();
        }
        let Columns { output, shares } = found;
        let output = unstack(&output) * &self.weights[3];
        let weights = (0..self.heads).map(|h| shares.columns(h, 1).transpose());
        let decoded = MultiHeadAttended { output, weights: weights.collect() };
        Decoded::parts(&decoded, kept)
    }

    fn copy(&self) -> Self {
        let weights = self.weights.clone();
        Decoded { weights, past: self.past.clone(), x: self.x.clone(), ..*self }
    }

    fn rows(&self, q: &DMatrix<f32>) -> DMatrix<f32> {
        DMatrix::from_row_slice(self.heads, self.d_k, q.as_slice())
    }
}

fn side_by_side(found: &DMatrix<f32>) -> DMatrix<f32> {
    DMatrix::from_row_slice(1, found.len(), found.transpose().as_slice())
}

// Implement: what a cache must hold.

/// What is given back for a key, and for a value.
const OF_WIDTHS: &[Dial] = &[
    dial(&[
        ("key-for-every-head", "The width of a key is multiplied by the heads."),
        (
            "value-for-key",
            "The width of the value stands where that of the key belongs.",
        ),
        (
            "key-over-the-heads",
            "The width of a key is divided by the heads: it is one for all of them.",
        ),
        (
            "what-enters-for-a-key",
            "For a key you give what enters `k_proj`, not what comes out of it.",
        ),
        (
            "query-over-the-heads-rounded",
            "The width of a key is larger by one than it should be.",
        ),
        ("both-for-a-key", "For a key you give the widths of key and value together."),
        ("twice-a-key", "The width of a key is twice what it should be."),
    ]),
    dial(&[
        ("value-for-every-head", "The width of a value is multiplied by the heads."),
        (
            "key-for-value",
            "The width of the key stands where that of the value belongs.",
        ),
        (
            "value-over-the-heads",
            "The width of a value is divided by the heads: it is one for all of them.",
        ),
        (
            "what-enters-for-a-value",
            "For a value you give what enters `v_proj`, not what comes out of it.",
        ),
        (
            "one-more-for-a-value",
            "The width of a value is larger by one than it should be.",
        ),
        (
            "both-for-a-value",
            "For a value you give the widths of key and value together.",
        ),
        ("twice-a-value", "The width of a value is twice what it should be."),
        (
            "output-for-a-value",
            "For a value you give what leaves `o_proj`, not what comes out of \
             `v_proj`.",
        ),
    ]),
];

fn widths_by(p: &Decoded, set: &[usize]) -> Answer {
    let model = p.weights[1].nrows();
    let one = |how: usize, own: usize, other: usize| match how {
        0 => own,
        1 => own * p.heads,
        2 => other,
        3 => own / p.heads,
        4 => model,
        5 => own + 1,
        6 => own + other,
        7 => 2 * own,
        _ => p.weights[3].ncols(),
    };
    kept((one(set[0], p.d_k, p.d_v), one(set[1], p.d_v, p.d_k)))
}

fn widths() -> Exercise<Decoded> {
    Exercise::implement("widths", Decoded::draw, |p| kept(p.layer().kv_widths()))
        .dials(OF_WIDTHS, widths_by)
        .mistake("for-every-head", |p| kept((p.heads * p.d_k, p.heads * p.d_v)))
        .hidden_by(|| Decoded::small(1, 2))
        .mistake("swapped", |p| kept((p.d_v, p.d_k)))
        .hidden_by(|| Decoded::small(3, 2))
        .mistake("twice-the-key", |p| kept((p.d_k, p.d_k)))
        .hidden_by(|| Decoded::small(3, 2))
        .mistake("key-for-every-head", |p| kept((p.heads * p.d_k, p.d_v)))
        .hidden_by(|| Decoded::small(1, 2))
        .mistake("over-the-heads", |p| kept((p.d_k / p.heads, p.d_v / p.heads)))
        .hidden_by(|| Decoded::small(1, 2))
        .mistake("value-for-every-head", |p| kept((p.d_k, p.heads * p.d_v)))
        .hidden_by(|| Decoded::small(1, 2))
        .mistake("what-enters", |p| kept((p.x.ncols(), p.x.ncols())))
        .hidden_by(|| Decoded::small(3, 2))
}

fn kept((key, value): (usize, usize)) -> Answer {
    Answer::of("width of a key", key).and("width of a value", value)
}

// Implement: one token, all heads at once.

/// What the token sees, how the heads' answers are laid out, what mixes them, and what
/// stays in the cache.
const OF_STACK: &[Dial] = &[
    dial(&[
        (
            "appended-late",
            "The token does not see itself: it is appended after it has looked.",
        ),
        ("itself-alone", "The token sees itself alone, and not what is in the cache."),
        ("itself-twice", "The token sees itself twice: it is appended twice."),
    ]),
    dial(&[(
        "not-transposed-back",
        "What the heads found is read by columns: each head's answer is a column.",
    )]),
    dial(&[
        ("not-mixed", "What the heads found is not mixed: `o_proj` is missing."),
        ("mixed-transposed", "The weight of `o_proj` is transposed."),
    ]),
    dial(&[(
        "x-added",
        "x is added to the output: that comes later, where the layer is used.",
    )]),
    dial(&[("not-kept", "The token is not kept in the cache.")]),
];

fn stack() -> Exercise<Decoded> {
    Exercise::implement("stack", Decoded::draw, Decoded::answer)
        .step("q, k and v of the token", |p| {
            let projected = p.layer().project(&p.x, &p.x);
            let beside = |p: Projected| {
                let parts = [p.q, p.k, p.v];
                let columns = parts.iter().flat_map(|m| m.column_iter());
                DMatrix::from_columns(&columns.collect::<Vec<_>>())
            };
            Value::from(projected.map(beside))
        })
        .around(OF_STACK, Decoded::looks, Decoded::looked)
        .mistake("appended-late", |p| p.by(|q| p.rows(q), true, side_by_side))
        .mistake("heads-in-columns", |p| {
            let filled = |q: &DMatrix<f32>| {
                DMatrix::from_vec(p.heads, p.d_k, q.as_slice().to_vec())
            };
            p.by(filled, false, side_by_side)
        })
        .hidden_by(|| Decoded::small(3, 1))
        .mistake("not-transposed-back", |p| {
            let flat = |found: &DMatrix<f32>| {
                DMatrix::from_row_slice(1, found.len(), found.as_slice())
            };
            p.by(|q| p.rows(q), false, flat)
        })
        .hidden_by(|| Decoded::small(3, 1))
        .mistake("over-all-heads", |p| {
            let root = (p.heads as f32).sqrt();
            p.by(|q| p.rows(q) / root, false, side_by_side)
        })
        .hidden_by(|| Decoded::small(1, 2))
        .mistake("not-kept", |p| {
            if p.x.nrows() != 1 || p.room == 0 {
                return p.answer();
            }
            let mut cache = p.cache();
            let kept = cache.len();
            let decoded = decode(&p.layer(), &p.x, &mut cache);
            Answer::try_of("refused", decoded.map(|d| Decoded::parts(&d, kept)))
        })
        .mistake("full-ignored", |p| {
            if p.x.nrows() != 1 || p.room > 0 {
                return p.answer();
            }
            // The token does not see itself, and nothing is said of it.
            let kept = p.past.nrows();
            let roomy = Decoded { room: 1, ..p.copy() };
            roomy.looking(|q| p.rows(q), true, side_by_side, kept)
        })
        .hidden_by(|| Decoded::small(3, 2))
        .mistake("not-mixed", |p| {
            let mut cache = p.cache();
            let same = DMatrix::identity(p.heads * p.d_v, p.heads * p.d_v);
            let [q, k, v, _] = p.weights.clone();
            let weights = [q, k, v, same];
            let plain = Decoded { weights, past: p.past.clone(), x: p.x.clone(), ..*p };
            let decoded = decode(&plain.layer(), &p.x, &mut cache);
            let len = cache.len();
            match decoded {
                Ok(decoded) => Decoded::parts(&decoded, len),
                Err(_) => p.answer(),
            }
        })
        .hidden_by(|| Decoded::small(3, 2))
        .mistake("unchecked", |p| {
            if p.x.nrows() != 1 {
                does_not_fit();
            }
            p.answer()
        })
        .hidden_by(|| Decoded::small(3, 2))
}

// Implement: one head in place of many.

struct Many {
    all: DMatrix<f32>,
    heads: usize,
}

impl Many {
    fn draw(draw: &mut Draw) -> Self {
        let [rows, heads, width] = [draw.tokens(3), draw.size(1..=4), draw.size(1..=3)];
        let wider = draw.rarely();
        draw.show("heads", heads);
        Many { all: draw.matrix("all", rows, heads * width + wider), heads }
    }

    /// One row.
    fn of(row: &[f32], heads: usize) -> Self {
        Many { all: DMatrix::from_row_slice(1, row.len(), row), heads }
    }

    fn answer(&self) -> Answer {
        Answer::of("mean", mean_of_heads(&self.all, self.heads))
    }

    fn width(&self) -> usize {
        self.all.ncols() / self.heads
    }

    /// Column by column, from the columns that it names, over a divisor.
    fn by(&self, columns: impl Fn(usize) -> Vec<usize>, over: usize) -> Answer {
        let mut mean = DMatrix::zeros(self.all.nrows(), self.width());
        for column in 0..self.width() {
            for from in columns(column) {
                let mut sum = mean.column_mut(column);
                sum += self.all.column(from);
            }
        }
        Answer::of("mean", mean / over as f32)
    }

    fn across(&self, column: usize) -> Vec<usize> {
        (0..self.heads).map(|h| h * self.width() + column).collect()
    }

    fn unless_refused(&self, wrong: impl Fn() -> Answer) -> Answer {
        let even = self.all.ncols().is_multiple_of(self.heads);
        if even { wrong() } else { self.answer() }
    }
}

/// Which columns, of which heads, made one how, and divided by what.
const OF_MEAN: &[Dial] = &[
    dial(&[
        (
            "neighbors",
            "You take neighboring columns: the same column of every head stands one \
             head's width further on.",
        ),
        (
            "one-column-on",
            "Each head begins one column after the one before: head h begins at column \
             h times the width of a head.",
        ),
        ("reversed", "The columns of a head are taken in the opposite order."),
        (
            "first-column-for-all",
            "The first column of each head is taken for all of its columns.",
        ),
    ]),
    dial(&[
        ("last-head-left-out", "The last head is missing from the sum."),
        ("first-head-left-out", "The first head is missing from the sum."),
        ("first-head-alone", "Only the first head is in the sum."),
        (
            "last-head-alone",
            "Only the last head is in the sum: each head takes the place of the one \
             before.",
        ),
        ("first-head-twice", "The first head is in the sum twice."),
        ("last-head-twice", "The last head is in the sum twice."),
        ("every-second-head", "Every second head is missing from the sum."),
    ]),
    dial(&[
        ("largest", "The largest of the heads' numbers is taken, not their mean."),
        ("smallest", "The smallest of the heads' numbers is taken, not their mean."),
        ("product", "The heads' numbers are multiplied, not added."),
        ("absolutes", "Absolute values are added up."),
        (
            "running-mean",
            "Each head is averaged with the mean of those before, so that the last \
             ones count most.",
        ),
        ("alternating", "Heads are subtracted, not added."),
        ("root-of-squares", "The root of the mean of squares is taken, not the mean."),
        (
            "median",
            "The number in the middle is taken, not the mean of the heads' numbers.",
        ),
    ]),
    dial(&[
        ("rows-averaged", "Every row is the mean of all rows: tokens keep apart."),
        ("first-row-for-all", "Every row is made from the first token's."),
    ]),
    dial(&[
        ("not-divided", "The sum is not divided by the number of heads."),
        (
            "over-the-width",
            "The sum is divided by the width of a head, not by the number of heads.",
        ),
        ("over-one-more", "The sum is divided by one more than the number of heads."),
        ("over-one-less", "The sum is divided by one less than the number of heads."),
        ("over-all-columns", "The sum is divided by the number of all columns."),
        ("over-the-rows", "The sum is divided by the number of rows."),
        ("over-the-root", "The sum is divided by the root of the number of heads."),
        ("over-two", "The sum is divided by 2, however many heads there are."),
        (
            "divided-each-time",
            "The sum is divided by the number of heads after every head.",
        ),
    ]),
];

fn mean_by(p: &Many, set: &[usize]) -> Answer {
    if !p.all.ncols().is_multiple_of(p.heads) {
        return p.answer();
    }
    let (heads, width) = (p.heads, p.width());
    let column = |h: usize, c: usize| match set[0] {
        0 => h * width + c,
        1 => c * heads + h,
        2 => h + c,
        3 => h * width + width - 1 - c,
        _ => h * width,
    };
    let of: Vec<usize> = match set[1] {
        6 => (0..heads).chain([heads - 1]).collect(),
        7 => (0..heads).step_by(2).collect(),
        0 => (0..heads).collect(),
        1 => (0..heads - 1).collect(),
        2 => (1..heads).collect(),
        3 => vec![0],
        4 => vec![heads - 1],
        _ => [0].into_iter().chain(0..heads).collect(),
    };
    let divisors = [
        heads as f32,
        1.0,
        width as f32,
        heads as f32 + 1.0,
        heads as f32 - 1.0,
        p.all.ncols() as f32,
        p.all.nrows() as f32,
        (heads as f32).sqrt(),
        2.0,
        heads as f32,
    ];
    let over = divisors[set[4]];
    let mean = DMatrix::from_fn(p.all.nrows(), width, |row, c| {
        let row = if set[3] == 2 { 0 } else { row };
        let numbers = of.iter().map(|h| p.all[(row, column(*h, c))]);
        match set[2] {
            0 if set[4] == 9 => numbers.fold(0.0, |sum, x| (sum + x) / over),
            0 => numbers.sum::<f32>() / over,
            1 => numbers.fold(f32::MIN, f32::max),
            2 => numbers.fold(f32::MAX, f32::min),
            3 => numbers.product::<f32>() / over,
            4 => numbers.map(f32::abs).sum::<f32>() / over,
            5 => numbers.reduce(f32::midpoint).unwrap_or(0.0),
            6 => numbers.fold(0.0, |sum, x| sum - x) / over,
            7 => (numbers.map(|x| x * x).sum::<f32>() / over).sqrt(),
            _ => {
                let mut sorted: Vec<f32> = numbers.collect();
                sorted.sort_by(f32::total_cmp);
                sorted[sorted.len() / 2]
            }
        }
    });
    let rows = mean.row_mean();
    let mean = match set[3] {
        1 => DMatrix::from_fn(mean.nrows(), width, |_, c| rows[c]),
        _ => mean,
    };
    Answer::of("mean", mean)
}

fn mean() -> Exercise<Many> {
    Exercise::implement("mean", Many::draw, Many::answer)
        .dials(OF_MEAN, mean_by)
        .mistake("neighbors", |p| {
            p.unless_refused(|| {
                p.by(|c| (0..p.heads).map(|i| c * p.heads + i).collect(), p.heads)
            })
        })
        .hidden_by(|| Many::of(&[1.0, 3.0, 8.0], 3))
        .mistake("sum", |p| p.unless_refused(|| p.by(|c| p.across(c), 1)))
        .hidden_by(|| Many::of(&[1.0, 3.0, 8.0], 1))
        .mistake("over-the-width", |p| {
            p.unless_refused(|| p.by(|c| p.across(c), p.width()))
        })
        .hidden_by(|| Many::of(&[1.0, 3.0, 8.0, 0.5], 2))
        .mistake("first-head-left-out", |p| {
            p.unless_refused(|| p.by(|c| p.across(c)[1..].to_vec(), p.heads))
        })
        .hidden_by(|| Many::of(&[0.0, 1.0, 3.0], 3))
        .mistake("over-one-more", |p| {
            p.unless_refused(|| p.by(|c| p.across(c), p.heads + 1))
        })
        .mistake("last-head-left-out", |p| {
            p.unless_refused(|| p.by(|c| p.across(c)[..p.heads - 1].to_vec(), p.heads))
        })
        .hidden_by(|| Many::of(&[1.0, 3.0, 0.0], 3))
        .mistake("first", |p| p.unless_refused(|| p.by(|c| vec![c], 1)))
        .hidden_by(|| Many::of(&[1.0, 3.0, 8.0], 1))
        .mistake("one-number", |p| {
            p.unless_refused(|| p.by(|_| (0..p.all.ncols()).collect(), p.all.ncols()))
        })
        .hidden_by(|| Many::of(&[1.0, 3.0, 8.0], 3))
        .mistake("unchecked", |p| p.by(|c| p.across(c), p.heads))
        .hidden_by(|| Many::of(&[1.0, 3.0, 8.0], 3))
}

// Investigate: the mean key made longer.

fn stretch() -> Exercise<()> {
    Exercise::investigate("stretch", |()| stretched(12.0_f32.sqrt()))
        .mistake("as-it-is", |()| stretched(1.0))
        .mistake("by-twelve", |()| stretched(12.0))
        .mistake("shorter-still", |()| stretched(1.0 / 12.0_f32.sqrt()))
}

fn stretched(factor: f32) -> Answer {
    let layer = Layer::load(3).unwrap();
    let found = experiments::shared_and_stretched(&layer, factor).unwrap();
    let own = experiments::own_keys(&layer).unwrap();
    let error = experiments::relative_error(&found.found, &own.found);
    let rows = experiments::rows_of(&found, layer.position("it").unwrap());
    let animal = rows[(1, layer.position("animal").unwrap())];
    Answer::of("predicted", error)
        .and("disagreement", experiments::disagreement(&rows))
        .and("animal", animal)
        .and("error", error)
}
