//! The chapter's exercises: what they ask, and what people answer instead. `course.toml`
//! has the words.

use attention::{Linear, Mask, attend, scores, softmax};
use exercises::{
    Answer, Dial, Draw, Exercise, Exercises, Found, Headed, Sees, dial,
    under_one_another,
};
use grouped_query::alignment::{Turns, turned};
use grouped_query::experiments;
use grouped_query::{
    GroupedQueryAttention, Groups, Pool, Pooling, attend_groups, example,
};
use multi_head::{Heads, LayerError, Projected};
use multi_query::alignment::{turn_heads, with_bias};
use nalgebra::{DMatrix, DVector, dmatrix};

#[test]
fn the_exercises_keep_their_promises() {
    let folder = env!("CARGO_MANIFEST_DIR");
    println!("{}", exercises::prove(folder, &exercises()).unwrap());
}

/// In the order of `course.toml`.
pub fn exercises() -> Exercises {
    Exercises::new()
        .with(fourth_token())
        .with(sizes())
        .with(kv_head())
        .with(attend_groups_exercise())
        .with(mean())
        .with(convert())
        .with(turned_exercise())
        .with(partners())
        .with(uptraining())
}

// By hand: what head 1 finds for a fourth token.

fn fourth_token() -> Exercise<()> {
    Exercise::by_hand("by-hand", |()| finds(asked_by(1), [0, 0], shares))
        .mistake("turns", |()| finds(asked_by(1), [1, 1], shares))
        .mistake("another-width", |()| {
            finds(asked_by(1) / 2.0_f32.sqrt(), [0, 0], shares)
        })
        .mistake("no-exponential", |()| {
            finds(asked_by(1), [0, 0], |scores| scores / scores.sum())
        })
        .mistake("head-0", |()| finds(asked_by(0), [0, 0], shares))
        .mistake("row-of-moon", |()| finds(1.0, [0, 0], shares))
        .mistake("values-of-the-other-group", |()| finds(asked_by(1), [0, 1], shares))
}

fn shares(scores: &DMatrix<f32>) -> DMatrix<f32> {
    softmax(scores.clone())
}

/// Its features.
fn fourth() -> DMatrix<f32> {
    dmatrix![2.0, 0.5]
}

/// Its query in one head of the worked example.
fn asked_by(head: usize) -> f32 {
    let (_, layer) = example::toy().unwrap();
    layer.project(&fourth(), &fourth()).unwrap().q[head]
}

/// What a query finds among the three tokens, with the keys and the values of these kv
/// heads.
fn finds(
    query: f32,
    [keys, values]: [usize; 2],
    share: fn(&DMatrix<f32>) -> DMatrix<f32>,
) -> Answer {
    let (x, layer) = example::toy().unwrap();
    let Projected { k, v, .. } = layer.project(&x, &x).unwrap();
    let q = dmatrix![query];
    let scores = scores(q.as_view(), k.columns(keys, 1)).unwrap();
    let weights = share(&scores);
    let found = &weights * v.columns(values, 1);
    Answer::of("scores", scores).and("weights", weights).and("found", found)
}

/// The page's answer, by the layer itself, and no output of the chapter shows it.
#[test]
fn a_fourth_token_finds_what_the_page_says() {
    let (x, layer) = example::toy().unwrap();
    let Projected { q, k, v } = layer.project(&fourth(), &x).unwrap();
    let (k, v) = (k.as_view(), v.as_view());
    let Heads { found: context, weights } =
        attend_groups(&q, k, v, layer.groups(), &Mask::None).unwrap();
    assert!((context[1] - 31.34).abs() < 0.005, "{context}");
    for (weight, said) in weights[1].iter().zip([0.186, 0.307, 0.506]) {
        assert!((weight - said).abs() < 0.0005, "{weight} {said}");
    }
    for shown in [example::three_tokens().unwrap(), example::interleaved().unwrap()] {
        assert!(!shown.contains("31.3") && !shown.contains("0.186"), "{shown}");
    }
}

// By hand: how large a layer of 28 heads is, as wide as that of Qwen2.5-7B.

const MODEL_DIM: usize = 3584;
const HEADS: usize = 28;
const HEAD_DIM: usize = 128;
const KV_HEADS: usize = 4;
/// What `k_proj` gives.
const WIDTH: usize = KV_HEADS * HEAD_DIM;

fn sizes() -> Exercise<()> {
    Exercise::by_hand("sizes", |()| sizes_of(KV_HEADS, HEAD_DIM, 1))
        .mistake("width-over-groups", |()| sizes_of(KV_HEADS, MODEL_DIM / KV_HEADS, 1))
        .mistake("an-output-a-group", |()| sizes_of(KV_HEADS, HEAD_DIM, KV_HEADS))
        .mistake("one-for-all", |()| sizes_of(1, HEAD_DIM, 1))
        .mistake("keys-alone", |()| {
            sheet(WIDTH, parameters(KV_HEADS) - WIDTH * MODEL_DIM, WIDTH)
        })
        .mistake("keys-in-the-cache", |()| sheet(WIDTH, parameters(KV_HEADS), WIDTH))
        .mistake("bytes", |()| sheet(WIDTH, parameters(KV_HEADS), 2 * (2 * WIDTH)))
        .mistake("all-four-full", |()| sheet(WIDTH, parameters(HEADS), 2 * WIDTH))
        .mistake("not-in-millions", |()| {
            Answer::of("width", WIDTH)
                .and("parameters", parameters(KV_HEADS))
                .and("cached", 2 * WIDTH)
        })
        .mistake("cache-for-the-queries", |()| {
            sheet(WIDTH, parameters(KV_HEADS), 2 * MODEL_DIM)
        })
}

fn parameters(kv_heads: usize) -> usize {
    2 * MODEL_DIM * (HEADS + kv_heads) * HEAD_DIM
}

/// With so many kv heads of one width, and so many output projections.
fn sizes_of(kv_heads: usize, head_dim: usize, outputs: usize) -> Answer {
    let width = kv_heads * head_dim;
    let square = MODEL_DIM * HEADS * HEAD_DIM;
    let parameters = (1 + outputs) * square + 2 * MODEL_DIM * width;
    sheet(width, parameters, 2 * width)
}

fn sheet(width: usize, parameters: usize, cached: usize) -> Answer {
    let millions = parameters as f32 / 1e6;
    Answer::of("width", width).and("parameters", millions).and("cached", cached)
}

// Implement: which kv head.

fn some_groups(draw: &mut Draw) -> Groups {
    let [kv_heads, size] = [draw.size(1..=4), draw.size(1..=4)];
    let heads = kv_heads * size;
    draw.show("heads", heads);
    draw.show("kv_heads", kv_heads);
    Groups::new(heads, kv_heads).unwrap()
}

fn of_each_head(groups: Groups, kv_head: impl Fn(usize) -> usize) -> Answer {
    let list: Vec<usize> = (0..groups.heads()).map(kv_head).collect();
    Answer::of("kv head of each head", list)
}

/// What is divided by what, and what is made of the quotient.
const OF_KV_HEAD: &[Dial] = &[
    dial(&[
        (
            "over-kv-heads",
            "The head is divided by the number of kv heads, not by how many heads \
             share one.",
        ),
        ("over-heads", "The head is divided by the number of all heads."),
        (
            "turns",
            "Heads take kv heads in turns: you take what is left over, head % \
             kv_heads.",
        ),
        (
            "turns-by-size",
            "You take what is left over of the head's number, head % size, where the \
             quotient is wanted.",
        ),
        ("itself", "Head h has kv head h: several heads share one."),
        ("times-size", "The head is multiplied by the size of a group, not divided."),
        (
            "times-kv-heads",
            "The head is multiplied by the number of kv heads, not divided.",
        ),
        ("first-for-all", "All heads have kv head 0."),
        ("rounded-up", "The quotient is rounded up."),
        ("by-halves", "The head is divided by 2, whatever the size of a group."),
        (
            "product-in-turns",
            "The head is multiplied by the size of a group, and what is left over of \
             that is taken.",
        ),
        ("over-one-more", "The head is divided by one more than the size of a group."),
        ("over-one-less", "The head is divided by one less than the size of a group."),
        (
            "itself-capped",
            "Head h has kv head h, and the last ones share the last: all groups are of \
             one size.",
        ),
        ("rounded", "The quotient is rounded, and not cut."),
    ]),
    dial(&[
        ("one-head-on", "Your heads are counted from 1: head 0 is the first."),
        ("one-head-back", "The head before is asked about."),
        ("heads-reversed", "Your heads are counted from the last."),
        (
            "heads-reversed-from-one",
            "Your heads are counted from the last, which is 1: it would be 0.",
        ),
    ]),
    dial(&[
        ("one-kv-head-on", "Your kv heads are larger by one: they are counted from 0."),
        ("kv-heads-reversed", "Your kv heads are counted from the last."),
        (
            "first-of-the-group",
            "You give the first head of the group: kv heads have numbers of their own.",
        ),
        ("never-the-last", "Your kv head is never the last one."),
    ]),
];

fn kv_head_by(g: &Groups, set: &[usize]) -> Answer {
    let (heads, kv_heads, size) = (g.heads(), g.kv_heads(), g.size());
    let of = |head: usize| match set[0] {
        0 => head / size,
        1 => head / kv_heads,
        2 => head / heads,
        3 => head % kv_heads,
        4 => head % size,
        5 => head,
        6 => head * size,
        7 => head * kv_heads,
        8 => 0,
        9 => head.div_ceil(size),
        10 => head / 2,
        11 => head * size % kv_heads,
        12 => head / (size + 1),
        13 => head / (size - 1),
        14 => head.min(kv_heads - 1),
        _ => (head + size / 2) / size,
    };
    of_each_head(*g, |head| {
        let head = match set[1] {
            0 => head,
            1 => head + 1,
            2 => head.saturating_sub(1),
            3 => heads - 1 - head,
            _ => heads - head,
        };
        match set[2] {
            0 => of(head),
            1 => of(head) + 1,
            2 => (kv_heads - 1).wrapping_sub(of(head)),
            3 => of(head) * size,
            _ => of(head).min(kv_heads.saturating_sub(2)),
        }
    })
}

fn kv_head() -> Exercise<Groups> {
    Exercise::implement("kv-head", some_groups, |g| {
        of_each_head(*g, |head| g.kv_head(head))
    })
    .dials(OF_KV_HEAD, kv_head_by)
    .mistake("turns", |g| of_each_head(*g, |head| head % g.kv_heads()))
    .hidden_by(|| Groups::new(3, 1).unwrap())
    .mistake("turns-by-size", |g| of_each_head(*g, |head| head % g.size()))
    .hidden_by(|| Groups::new(1, 1).unwrap())
    .mistake("over-kv-heads", |g| of_each_head(*g, |head| head / g.kv_heads()))
    .hidden_by(|| Groups::new(4, 2).unwrap())
    .mistake("first-of-the-group", |g| {
        of_each_head(*g, |head| head / g.size() * g.size())
    })
    .hidden_by(|| Groups::new(3, 3).unwrap())
    .mistake("itself", |g| of_each_head(*g, |head| head))
    .hidden_by(|| Groups::new(3, 3).unwrap())
    .mistake("reversed", |g| {
        of_each_head(*g, |head| g.kv_heads() - 1 - head / g.size())
    })
    .hidden_by(|| Groups::new(3, 1).unwrap())
    .mistake("one-on", |g| of_each_head(*g, |head| (head + 1) / g.size()))
    .mistake("quotient-first", |g| {
        of_each_head(*g, |head| head * (g.kv_heads() / g.heads()))
    })
    .hidden_by(|| Groups::new(3, 3).unwrap())
    .mistake("rounded", |g| of_each_head(*g, |head| (head + g.size() / 2) / g.size()))
    .hidden_by(|| Groups::new(3, 3).unwrap())
}

// Implement: attention in groups.

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
    groups: Groups,
    mask: Mask,
}

impl Asked {
    fn draw(draw: &mut Draw) -> Self {
        let [kv_heads, size] = [draw.size(1..=3), draw.size(1..=3)];
        let heads = kv_heads * size;
        let [queries, keys] = [draw.tokens(3), draw.tokens(4)];
        let [d_k, d_v] = [draw.size(1..=3), draw.size(1..=3)];
        let (wider, more) =
            draw.pick(&[(0, 0), (0, 0), (0, 0), (0, 0), (1, 0), (0, 1)]);
        draw.show("heads", heads);
        draw.show("kv_heads", kv_heads);
        let mask = mask_of(draw.mask(queries, keys));
        let q = draw.numbers(queries, heads * d_k);
        let (mut q, mut k) = (q, draw.numbers(keys, kv_heads * d_k + wider));
        draw.lift(&mut q, &mut k, d_k);
        draw.show("q", &q);
        draw.show("k", &k);
        let v = draw.matrix("v", keys + more, kv_heads * d_v);
        Asked { q, k, v, groups: Groups::new(heads, kv_heads).unwrap(), mask }
    }

    /// Two tokens, heads of width 1, no mask.
    fn small(heads: usize, kv_heads: usize) -> Self {
        Asked {
            q: DMatrix::from_fn(2, heads, |token, head| (token + head) as f32),
            k: DMatrix::from_fn(2, kv_heads, |token, head| (2 * token + head) as f32),
            v: DMatrix::from_fn(2, kv_heads, |token, head| (token + 3 * head) as f32),
            groups: Groups::new(heads, kv_heads).unwrap(),
            mask: Mask::None,
        }
    }

    fn answer(&self) -> Answer {
        let (k, v) = (self.k.as_view(), self.v.as_view());
        let heads = attend_groups(&self.q, k, v, self.groups, &self.mask);
        Answer::try_of("refused", heads.map(Asked::parts))
    }

    fn heads(&self) -> Option<Vec<Headed>> {
        let Asked { q, k, v, groups, mask } = self;
        let [q, k, v] = [q.clone(), k.clone(), v.clone()];
        let (heads, kv_heads) = (groups.heads(), groups.kv_heads());
        let sees = sees_of(mask);
        self.fits().then(|| vec![Headed { q, k, v, heads, kv_heads, sees }])
    }

    fn looked(&self, found: &[Found]) -> Answer {
        let [Found { context, weights }] = found else { return self.answer() };
        let (context, weights) = (context.clone(), weights.clone());
        Asked::parts(Heads { found: context, weights })
    }

    fn parts(Heads { found: context, weights }: Heads) -> Answer {
        let all = under_one_another(&weights);
        Answer::of("weights, head under head", all)
            .and("maps of weights", weights.len())
            .and("context", context)
    }

    fn fits(&self) -> bool {
        self.k.ncols() == self.groups.kv_heads() * self.d_k()
            && self.k.nrows() == self.v.nrows()
            && is_of(&self.mask, (self.q.nrows(), self.k.nrows()))
    }

    /// As if the mask were another one.
    fn under(&self, mask: Mask) -> Answer {
        let (q, k, v) = (self.q.clone(), self.k.clone(), self.v.clone());
        Asked { q, k, v, groups: self.groups, mask }.answer()
    }

    fn d_k(&self) -> usize {
        self.q.ncols() / self.groups.heads()
    }

    fn d_v(&self) -> usize {
        self.v.ncols() / self.groups.kv_heads()
    }

    /// Head by head, with the kv heads whose keys and values it takes, under a mask, and
    /// with the head in whose place it puts what it found.
    fn loop_of(
        &self,
        kv_heads: impl Fn(usize) -> [usize; 2],
        mask: &Mask,
        place: impl Fn(usize) -> usize,
    ) -> Answer {
        let starts = |h| {
            let [keys, values] = kv_heads(h);
            [keys * self.d_k(), values * self.d_v()]
        };
        self.cut_at(starts, mask, place)
    }

    /// Head by head, with the columns at which its keys and values start.
    fn cut_at(
        &self,
        starts: impl Fn(usize) -> [usize; 2],
        mask: &Mask,
        place: impl Fn(usize) -> usize,
    ) -> Answer {
        let (d_k, d_v) = (self.d_k(), self.d_v());
        let mut context = DMatrix::zeros(self.q.nrows(), self.groups.heads() * d_v);
        let mut weights = Vec::new();
        for h in 0..self.groups.heads() {
            let [keys, values] = starts(h);
            let q = self.q.columns(h * d_k, d_k);
            let (k, v) = (self.k.columns(keys, d_k), self.v.columns(values, d_v));
            let attended = attend(q, k, v, mask).unwrap();
            context.columns_mut(place(h) * d_v, d_v).copy_from(&attended.output);
            weights.push(attended.weights);
        }
        Asked::parts(Heads { found: context, weights })
    }

    /// The loop without a check of the widths.
    fn unchecked(&self) -> Answer {
        let (d_k, d_v) = (self.d_k(), self.d_v());
        let mut context = DMatrix::zeros(self.q.nrows(), self.groups.heads() * d_v);
        let mut weights = Vec::new();
        for h in 0..self.groups.heads() {
            let g = self.groups.kv_head(h);
            let q = self.q.columns(h * d_k, d_k);
            let (k, v) = (self.k.columns(g * d_k, d_k), self.v.columns(g * d_v, d_v));
            match attend(q, k, v, &self.mask) {
                Ok(attended) => {
                    context.columns_mut(h * d_v, d_v).copy_from(&attended.output);
                    weights.push(attended.weights);
                }
                Err(e) => return Answer::try_of("refused", Err(e)),
            }
        }
        Asked::parts(Heads { found: context, weights })
    }

    /// `wrong` where the answer is no error.
    fn unless_refused(&self, wrong: impl Fn(&Groups) -> Answer) -> Answer {
        if self.fits() { wrong(&self.groups) } else { self.answer() }
    }
}

fn attend_groups_exercise() -> Exercise<Asked> {
    Exercise::implement("attend-groups", Asked::draw, Asked::answer)
        .step("kv head of each head", |p| {
            let list: Vec<usize> =
                (0..p.groups.heads()).map(|h| p.groups.kv_head(h)).collect();
            list.into()
        })
        .attending(Asked::heads, Asked::looked)
        .mistake("turns", |p| {
            p.unless_refused(|g| p.loop_of(|h| [h % g.kv_heads(); 2], &p.mask, |h| h))
        })
        .hidden_by(|| Asked::small(3, 1))
        .mistake("values-in-turns", |p| {
            p.unless_refused(|g| {
                p.loop_of(|h| [g.kv_head(h), h % g.kv_heads()], &p.mask, |h| h)
            })
        })
        .hidden_by(|| Asked::small(3, 3))
        .mistake("one-for-all", |p| {
            p.unless_refused(|_| p.loop_of(|_| [0; 2], &p.mask, |h| h))
        })
        .hidden_by(|| Asked::small(3, 1))
        .mistake("itself", |p| {
            p.unless_refused(|_| p.loop_of(|h| [h; 2], &p.mask, |h| h))
        })
        .hidden_by(|| Asked::small(3, 3))
        .mistake("one-place-a-group", |p| {
            p.unless_refused(|g| {
                p.loop_of(|h| [g.kv_head(h); 2], &p.mask, |h| g.kv_head(h))
            })
        })
        .hidden_by(|| Asked::small(3, 3))
        .mistake("first-columns", |p| {
            p.unless_refused(|g| p.cut_at(|h| [g.kv_head(h); 2], &p.mask, |h| h))
        })
        .hidden_by(|| Asked::small(4, 2))
        .mistake("queries-by-group", |p| {
            p.unless_refused(|g| {
                let d_k = p.d_k();
                let columns = (0..g.heads())
                    .flat_map(|h| (0..d_k).map(move |i| g.kv_head(h) * d_k + i));
                let q = p.q.select_columns(&columns.collect::<Vec<_>>());
                let (k, v) = (p.k.as_view(), p.v.as_view());
                Asked::parts(attend_groups(&q, k, v, *g, &p.mask).unwrap())
            })
        })
        .hidden_by(|| Asked::small(3, 3))
        .mistake("first-values", |p| {
            p.unless_refused(|g| p.loop_of(|h| [g.kv_head(h), 0], &p.mask, |h| h))
        })
        .hidden_by(|| Asked::small(3, 1))
        .mistake("weights-by-group", |p| {
            p.unless_refused(|g| {
                let (k, v) = (p.k.as_view(), p.v.as_view());
                let all = attend_groups(&p.q, k, v, *g, &p.mask).unwrap();
                let weights = all.weights.into_iter().step_by(g.size()).collect();
                Asked::parts(Heads { weights, ..all })
            })
        })
        .hidden_by(|| Asked::small(3, 3))
        .mistake("always-causal", |p| p.under(Mask::Causal { offset: 0 }))
        .hidden_by(|| Asked {
            q: dmatrix![1.0, 2.0, 0.5, 1.0],
            k: dmatrix![1.0, 2.0],
            v: dmatrix![1.0, 3.0],
            ..Asked::small(4, 2)
        })
        .mistake("no-mask", |p| p.under(Mask::None))
        .hidden_by(|| Asked::small(4, 2))
        .mistake("keys-in-turns", |p| {
            p.unless_refused(|g| {
                p.loop_of(|h| [h % g.kv_heads(), g.kv_head(h)], &p.mask, |h| h)
            })
        })
        .hidden_by(|| Asked::small(3, 3))
        .mistake("keys-and-values-swapped", |p| {
            if !p.fits() {
                return p.answer();
            }
            let (k, v) = (p.v.clone(), p.k.clone());
            let (q, mask) = (p.q.clone(), p.mask.clone());
            Asked { q, k, v, groups: p.groups, mask }.answer()
        })
        .hidden_by(|| {
            let case = Asked::small(4, 2);
            Asked { v: case.k.clone(), ..case }
        })
        .mistake("over-all-heads", |p| {
            p.unless_refused(|g| {
                let root = (g.heads() as f32).sqrt();
                let (k, v) = (p.k.as_view(), p.v.as_view());
                let found = attend_groups(&(&p.q / root), k, v, *g, &p.mask);
                Asked::parts(found.unwrap())
            })
        })
        .hidden_by(|| Asked::small(1, 1))
        .mistake("unchecked", Asked::unchecked)
        .hidden_by(|| Asked::small(4, 2))
}

// Implement: the mean of a group's heads.

struct Pooled {
    projection: Linear,
    groups: Groups,
}

impl Pooled {
    fn draw(draw: &mut Draw) -> Self {
        let groups = some_groups(draw);
        let [d_in, width] = [draw.size(1..=3), draw.size(1..=3)];
        let size = draw.pick(&[1.0, 1.0, 1.0, 1.0, 1.0, 8e37]);
        let bias = draw.pick(&[false, true]);
        let weight = draw.numbers(d_in, groups.heads() * width) * size;
        draw.show("weight", weight.clone());
        let bias = bias.then(|| draw.matrix("bias", groups.heads() * width, 1));
        let bias = bias.map(|bias| bias.column(0).into_owned());
        Pooled { projection: Linear::new(weight, bias).unwrap(), groups }
    }

    fn of(weight: DMatrix<f32>, heads: usize, kv_heads: usize) -> Self {
        let projection = Linear::new(weight, None).unwrap();
        Pooled { projection, groups: Groups::new(heads, kv_heads).unwrap() }
    }

    fn answer(&self) -> Answer {
        let mut pool = Pool::new(self.groups, Pooling::Mean);
        let pooled = pool.linear("k_proj", &self.projection).unwrap();
        Pooled::parts(pooled.weight(), pooled.bias())
    }

    fn parts(weight: &DMatrix<f32>, bias: Option<&DVector<f32>>) -> Answer {
        let answer = Answer::of("weight", weight);
        match bias {
            Some(bias) => answer.and("bias", bias.clone()),
            None => answer,
        }
    }

    /// Each group's blocks by `one`, which gets the numbers and the length of a block.
    fn by(&self, one: fn(&[f32], usize) -> Vec<f32>) -> Answer {
        self.by_each(one)
    }

    fn by_each(&self, one: impl Fn(&[f32], usize) -> Vec<f32>) -> Answer {
        let blocks = |numbers: &[f32]| {
            let block = numbers.len() / self.groups.heads();
            let groups = numbers.chunks_exact(block * self.groups.size());
            groups.flat_map(|group| one(group, block)).collect::<Vec<f32>>()
        };
        let weight = blocks(self.projection.weight().as_slice());
        let d_in = self.projection.shape().0;
        let weight = DMatrix::from_vec(d_in, weight.len() / d_in, weight);
        let bias = self.projection.bias().map(|bias| blocks(bias.as_slice()).into());
        Pooled::parts(&weight, bias.as_ref())
    }
}

/// Entry by entry over the blocks of a group, in `f64`.
fn entries(
    group: &[f32],
    block: usize,
    of: impl Fn(&mut dyn Iterator<Item = f64>) -> f64,
) -> Vec<f32> {
    let entry = |i: usize| group[i..].iter().step_by(block).map(|&x| f64::from(x));
    (0..block).map(|i| of(&mut entry(i)) as f32).collect()
}

/// Which numbers of a group, made one how, and divided by what.
const OF_MEAN: &[Dial] = &[
    dial(&[
        (
            "neighbors",
            "You take numbers that are neighbors: the same number of each head stands \
             one block further on.",
        ),
        ("one-step-too-far", "Your steps are longer by one than a block."),
        ("one-step-short", "Your steps are shorter by one than a block."),
        ("first-for-all", "The first number of each block is taken for all of it."),
        ("reversed", "The numbers of a block come in the opposite order."),
        (
            "by-size",
            "Your steps are as long as there are heads in the group: a step is one \
             block.",
        ),
        ("one-number-on", "You begin one number too late."),
        ("one-number", "All of a group is one mean: each entry has its own."),
    ]),
    dial(&[
        ("last-head-left-out", "The last head of each group is missing."),
        ("first-head-left-out", "The first head of each group is missing."),
        ("first-head-alone", "Only the first head of each group counts."),
        ("last-head-alone", "Only the last head of each group counts."),
        ("two-heads-alone", "Only the first two heads of each group count."),
        ("first-and-last", "Only the first and the last head of each group count."),
        (
            "first-head-not-added",
            "The first head of each group is not added, and still counted.",
        ),
        (
            "last-head-not-added",
            "The last head of each group is not added, and still counted.",
        ),
    ]),
    dial(&[
        ("largest", "The largest of the heads' numbers is taken, not their mean."),
        ("smallest", "The smallest of the heads' numbers is taken, not their mean."),
        ("absolutes", "Absolute values are averaged."),
        ("root-of-squares", "The root of the mean of squares is taken, not the mean."),
        ("median", "The median of the heads' numbers is taken, not their mean."),
        (
            "running-mean",
            "Each head is averaged with the mean of those before, so that the last \
             ones count most.",
        ),
        ("alternating", "Every second head is subtracted, not added."),
        ("by-number", "Heads are multiplied by their number, counted from 1."),
        ("product", "The heads' numbers are multiplied, not averaged."),
    ]),
    dial(&[
        ("sum", "The sum is not divided by the number of heads."),
        (
            "over-the-block",
            "The sum is divided by the length of a block, not by the number of heads.",
        ),
        ("over-the-group", "The sum is divided by the length of the whole group."),
        ("over-one-more", "The sum is divided by one more than the number of heads."),
        ("over-one-less", "The sum is divided by one less than the number of heads."),
        ("over-two", "The sum is divided by 2, however many heads there are."),
        ("over-the-root", "The sum is divided by the root of the number of heads."),
    ]),
    dial(&[(
        "in-f32",
        "The sum of large numbers is infinite: it is taken in f32, and not in f64.",
    )]),
];

fn mean_by(p: &Pooled, set: &[usize]) -> Answer {
    p.by_each(|group, block| {
        (0..block).map(|i| mean_of_entry(group, block, i, set)).collect()
    })
}

fn mean_of_entry(group: &[f32], block: usize, i: usize, set: &[usize]) -> f32 {
    let size = group.len() / block;
    if set[0] == 8 {
        return one_number(group, [group.len(), block, group.len()], set);
    }
    let (start, step) = match set[0] {
        0 => (i, block),
        1 => (i * size, 1),
        2 => (i, block + 1),
        3 => (i, (block - 1).max(1)),
        4 => (0, block),
        5 => (block - 1 - i, block),
        6 => (i, size),
        _ => (i + 1, block),
    };
    // Behind the end, the group begins anew.
    let number = |at: usize| group[(start + at * step) % group.len()];
    let fit = if set[0] == 7 { size } else { (group.len() - start).div_ceil(step) };
    let all: Vec<f32> = (0..size.min(fit)).map(number).collect();
    let last = all.len() - 1;
    let of: Vec<f32> = match set[1] {
        0 => all,
        1 | 8 => all[..last].to_vec(),
        2 | 7 => all[1..].to_vec(),
        3 => all[..1].to_vec(),
        4 => all[last..].to_vec(),
        5 => all[..2.min(all.len())].to_vec(),
        _ => vec![all[0], all[last]],
    };
    let count = if set[1] > 6 { size } else { of.len() };
    one_number(&of, [count, block, group.len()], set)
}

/// The numbers `of` one entry, as one; with how many there are, the length of a block and
/// of the group.
fn one_number(of: &[f32], [count, block, group]: [usize; 3], set: &[usize]) -> f32 {
    let count = count as f64;
    let over = [
        count,
        1.0,
        block as f64,
        group as f64,
        count + 1.0,
        count - 1.0,
        2.0,
        count.sqrt(),
    ][set[3]];
    let wide = || of.iter().map(|x| f64::from(*x));
    let sum = |numbers: &mut dyn Iterator<Item = f64>| match set[4] {
        0 => numbers.sum::<f64>(),
        _ => f64::from(numbers.map(|x| x as f32).sum::<f32>()),
    };
    let mean = match set[2] {
        0 => sum(&mut wide()) / over,
        1 => wide().fold(f64::MIN, f64::max),
        2 => wide().fold(f64::MAX, f64::min),
        3 => sum(&mut wide().map(f64::abs)) / over,
        4 => (sum(&mut wide().map(|x| x * x)) / over).sqrt(),
        5 => {
            let mut sorted = of.to_vec();
            sorted.sort_by(f32::total_cmp);
            f64::from(sorted[sorted.len() / 2])
        }
        6 => wide().reduce(f64::midpoint).unwrap_or(f64::NAN),
        7 => {
            let signed = |(h, x): (usize, f64)| if h % 2 == 1 { -x } else { x };
            sum(&mut wide().enumerate().map(signed)) / over
        }
        8 => {
            let times = |(h, x): (usize, f64)| (h + 1) as f64 * x;
            sum(&mut wide().enumerate().map(times)) / over
        }
        _ => wide().product(),
    };
    mean as f32
}

fn mean() -> Exercise<Pooled> {
    Exercise::implement("mean", Pooled::draw, Pooled::answer)
        .dials(OF_MEAN, mean_by)
        .mistake("neighbors", |p| {
            p.by(|group, block| {
                let size = group.len() / block;
                let of = |part: &[f32]| part.iter().map(|&x| f64::from(x)).sum::<f64>();
                group.chunks(size).map(|part| (of(part) / size as f64) as f32).collect()
            })
        })
        .hidden_by(|| Pooled::of(dmatrix![1.0, 3.0, 5.0, 9.0], 4, 2))
        .mistake("sum", |p| {
            p.by(|group, block| entries(group, block, |heads| heads.sum()))
        })
        .hidden_by(|| Pooled::of(dmatrix![1.0, 3.0; 2.0, 2.0], 2, 2))
        .mistake("over-the-block", |p| {
            p.by(|group, block| {
                entries(group, block, |heads| heads.sum::<f64>() / block as f64)
            })
        })
        .hidden_by(|| Pooled::of(dmatrix![1.0, 3.0; 2.0, 2.0], 2, 1))
        .mistake("one-number", |p| {
            p.by(|group, block| {
                let sum: f64 = group.iter().map(|&x| f64::from(x)).sum();
                vec![(sum / group.len() as f64) as f32; block]
            })
        })
        .hidden_by(|| Pooled::of(dmatrix![1.0, 3.0, 5.0, 9.0], 4, 2))
        .mistake("first", |p| p.by(|group, block| group[..block].to_vec()))
        .hidden_by(|| Pooled::of(dmatrix![1.0, 3.0; 2.0, 2.0], 2, 2))
        .mistake("in-f32", |p| {
            p.by(|group, block| {
                let size = (group.len() / block) as f32;
                let entry = |i: usize| group[i..].iter().step_by(block).sum::<f32>();
                (0..block).map(|i| entry(i) / size).collect()
            })
        })
        .hidden_by(|| Pooled::of(dmatrix![1.0, 3.0, 5.0, 9.0], 4, 2))
}

// Implement: a multi-head layer converted.

struct Checkpoint {
    x: DMatrix<f32>,
    /// `W_Q`, `W_K`, `W_V`, `W_O`.
    weights: [DMatrix<f32>; 4],
    /// A row for each, if they have biases.
    biases: Option<[DMatrix<f32>; 4]>,
    heads: usize,
    kv_heads: usize,
    pooling: Pooling,
}

impl Checkpoint {
    fn draw(draw: &mut Draw) -> Self {
        let [kv_heads, size] = [draw.size(1..=3), draw.size(1..=3)];
        let uneven = draw.rarely();
        let heads = kv_heads * size;
        let [tokens, width, model] = [draw.size(1..=3), draw.size(1..=2), 2];
        let random = Pooling::Random { seed: 1 };
        let pooling = [Pooling::Mean, Pooling::Mean, Pooling::First, random];
        let pooling = draw.pick(&pooling);
        let biased = draw.pick(&[false, false, true]);
        draw.show("heads", heads);
        draw.show("kv_heads", kv_heads + heads * uneven);
        draw.show("pooling", format!("{pooling:?}"));
        let x = draw.matrix("x", tokens, model);
        let inward = ["q_proj", "k_proj", "v_proj"];
        let [q, k, v] = inward.map(|name| draw.matrix(name, model, heads * width));
        let o = draw.matrix("o_proj", heads * width, model);
        let weights = [q, k, v, o];
        let biases = biased.then(|| {
            let biases = [("q", 0), ("k", 1), ("v", 2), ("o", 3)];
            biases.map(|(name, which)| {
                let width = weights[which].ncols();
                draw.matrix(&format!("{name}_proj, bias"), 1, width)
            })
        });
        let kv_heads = kv_heads + heads * uneven;
        Checkpoint { x, weights, biases, heads, kv_heads, pooling }
    }

    /// Heads of width 1 and two tokens.
    fn small(heads: usize, kv_heads: usize, pooling: Pooling) -> Self {
        let weight = |slope: f32| {
            DMatrix::from_fn(2, heads, |row, head| row as f32 - slope * head as f32)
        };
        let weights = [weight(0.5), weight(1.0), weight(2.0), weight(1.0).transpose()];
        let x = dmatrix![1.0, 0.0; 0.5, 1.0];
        Checkpoint { x, weights, biases: None, heads, kv_heads, pooling }
    }

    fn answer(&self) -> Answer {
        self.run(GroupedQueryAttention::from_multi_head(
            self.linear(),
            self.heads,
            self.kv_heads,
            self.pooling,
        ))
    }

    fn linear(&self) -> [Linear; 4] {
        [0, 1, 2, 3].map(|which| self.parted(self.joined(which)))
    }

    /// A weight, and below it its bias.
    fn joined(&self, which: usize) -> DMatrix<f32> {
        let bias = self.biases.as_ref().map(|biases| &biases[which]);
        under_one_another([&self.weights[which]].into_iter().chain(bias))
    }

    /// The reverse.
    fn parted(&self, joined: DMatrix<f32>) -> Linear {
        if self.biases.is_none() {
            return plain(joined);
        }
        let d_in = joined.nrows() - 1;
        let bias = joined.row(d_in).transpose();
        Linear::new(joined.rows(0, d_in).into_owned(), Some(bias)).unwrap()
    }

    /// Whether the keys of each group are its values times a number. Where both are drawn
    /// anew, they are not.
    fn alike(&self, layer: &GroupedQueryAttention) -> bool {
        let d = self.x.ncols();
        let of = |x: DMatrix<f32>| layer.project(&x, &x).unwrap();
        let (ones, none) = (of(DMatrix::identity(d, d)), of(DMatrix::zeros(d, d)));
        let (k, v) = (ones.k - none.k, ones.v - none.v);
        let width = k.ncols() / layer.groups().kv_heads();
        let same = |head: usize| {
            let of = |m: &DMatrix<f32>| m.columns(head * width, width).normalize();
            (of(&k) - of(&v)).amax() < 1e-4
        };
        // Two numbers may be in proportion by chance.
        k.len() > 3 && (0..layer.groups().kv_heads()).all(same)
    }

    fn run<E: std::fmt::Display>(
        &self,
        layer: Result<GroupedQueryAttention, E>,
    ) -> Answer {
        // By the projection that is refused: another mistake has another one.
        let refused = match &layer {
            Err(e) => match e.to_string().split_once(':') {
                Some((projection, _)) => format!("refused, {projection}"),
                None => "refused".to_owned(),
            },
            Ok(_) => String::new(),
        };
        Answer::try_of(
            &refused,
            layer.map(|layer| {
                let answer = Answer::of("parameters", layer.parameters());
                // Which random numbers there are does not matter.
                if matches!(self.pooling, Pooling::Random { .. }) {
                    let alike = if self.alike(&layer) { "alike" } else { "apart" };
                    return answer.and("keys and values", alike);
                }
                let output = layer.forward(&self.x, &Mask::None).unwrap().output;
                answer.and("output", output)
            }),
        )
    }

    /// The layer that `change` makes of the projections of a right one.
    fn but(
        &self,
        change: impl Fn(&Checkpoint, Groups, [Linear; 4]) -> [Linear; 4],
    ) -> Answer {
        let Ok(groups) = Groups::new(self.heads, self.kv_heads) else {
            return self.answer();
        };
        let [q, k, v, o] = self.linear();
        let mut pool = Pool::new(groups, self.pooling);
        let k = pool.linear("k_proj", &k).unwrap();
        let v = pool.linear("v_proj", &v).unwrap();
        let [q, k, v, o] = change(self, groups, [q, k, v, o]);
        self.run(GroupedQueryAttention::new(q, k, v, o, self.heads, self.kv_heads))
    }

    /// With the output projection in the pool as well.
    fn output_too(&self) -> Answer {
        let Ok(groups) = Groups::new(self.heads, self.kv_heads) else {
            return self.answer();
        };
        let o = Pool::new(groups, self.pooling).linear("o_proj", &self.linear()[3]);
        match o {
            Ok(o) => self.but(|_, _, [q, k, v, _]| [q, k, v, o.clone()]),
            Err(e) => self.run(Err(e)),
        }
    }

    fn width(&self) -> usize {
        self.weights[0].ncols() / self.heads
    }
}

/// The heads of `weight` in the order of `take`.
fn heads_in_order(weight: &DMatrix<f32>, width: usize, take: &[usize]) -> DMatrix<f32> {
    let columns =
        take.iter().flat_map(|head| (0..width).map(move |i| head * width + i));
    weight.select_columns(&columns.collect::<Vec<_>>())
}

fn plain(weight: DMatrix<f32>) -> Linear {
    Linear::new(weight, None).unwrap()
}

/// How heads become one, of which projections, and where it goes.
const OF_CONVERT: &[Dial] = &[
    dial(&[
        ("always-the-mean", "Heads are averaged, whatever pooling is asked for."),
        ("always-the-first", "The first head is taken, whatever pooling is asked for."),
        ("mean-and-first-swapped", "`Mean` and `First` have changed places."),
        ("last-of-each-group", "The last head of each group is taken."),
        ("added", "The heads of a group are added up, and not averaged."),
        ("largest", "The largest number of a group's heads is taken."),
        ("turns", "Groups take heads in turns: a group is a run of heads."),
        (
            "first-heads",
            "The first kv_heads heads are kept, whatever groups there are.",
        ),
        ("not-pooled", "Keys and values are not pooled."),
        ("groups-reversed", "The groups come in the opposite order."),
        ("first-group-for-all", "All groups get the first group's head."),
    ]),
    dial(&[
        ("keys-not-pooled", "The keys are not pooled."),
        ("keys-added", "The keys of a group are added up, and not averaged."),
        ("keys-from-values", "The keys are pooled from the values' projection."),
        ("keys-from-queries", "The keys are pooled from the queries' projection."),
        ("keys-the-first", "Of the keys, the first head of each group is taken."),
        ("keys-the-mean", "Of the keys, the mean of each group is taken."),
    ]),
    dial(&[
        ("values-not-pooled", "The values are not pooled."),
        ("values-added", "The values of a group are added up, and not averaged."),
        ("values-from-keys", "The values are pooled from the keys' projection."),
        ("values-from-queries", "The values are pooled from the queries' projection."),
        ("values-the-first", "Of the values, the first head of each group is taken."),
        ("values-the-mean", "Of the values, the mean of each group is taken."),
    ]),
    dial(&[
        ("queries-too", "The queries are pooled as well: each head keeps its own."),
        ("queries-reversed", "The query heads come in the opposite order."),
        ("queries-for-keys", "Queries are made by the keys' projection."),
    ]),
    dial(&[("keys-and-values-swapped", "Keys and values have changed places.")]),
    dial(&[
        (
            "no-output-projection",
            "`o_proj` is lost: what the heads find is not mixed as it was.",
        ),
        (
            "output-over-group",
            "`o_proj` is divided by the number of heads in a group: pooling changes \
             keys and values alone.",
        ),
        (
            "output-times-group",
            "`o_proj` is multiplied by the number of heads in a group: pooling changes \
             keys and values alone.",
        ),
    ]),
    dial(&[
        (
            "scores-over-group",
            "Queries or keys are divided by the number of heads in a group: scores \
             become too small by it.",
        ),
        (
            "scores-times-group",
            "Queries or keys are multiplied by the number of heads in a group: scores \
             become too large by it.",
        ),
        (
            "scores-over-root-of-group",
            "Queries or keys are divided by the root of the number of heads in a group.",
        ),
        (
            "scores-times-root-of-group",
            "Queries or keys are multiplied by the root of the number of heads in a \
             group.",
        ),
        (
            "scores-over-root-of-width",
            "Queries or keys are divided by the root of a head's width: attention \
             divides already.",
        ),
    ]),
    dial(&[
        ("biases-lost", "The biases are lost."),
        ("biases-of-keys-and-values-lost", "Keys and values have lost their biases."),
        ("bias-of-keys-lost", "The keys have lost their bias."),
        ("bias-of-values-lost", "The values have lost their bias."),
        ("bias-of-output-lost", "`o_proj` has lost its bias."),
        ("bias-of-queries-lost", "The queries have lost their bias."),
    ]),
    dial(&[(
        "drawn-twice-alike",
        "Where pooling is random, values are the same numbers as keys: each projection has \
         a pool of its own, and the same seed gives the same numbers. One pool goes from \
         one projection to the next.",
    )]),
];

impl Checkpoint {
    /// The heads of a projection made fewer, by a setting of the first dial.
    fn pooled(&self, weight: &DMatrix<f32>, how: usize) -> DMatrix<f32> {
        let (kv_heads, width) = (self.kv_heads, self.width());
        let size = self.heads / kv_heads;
        let mean = match how {
            1 => true,
            2 => false,
            3 => self.pooling != Pooling::Mean,
            _ => self.pooling == Pooling::Mean,
        };
        if how == 9 {
            return weight.clone();
        }
        let of = |group: usize| -> Vec<usize> {
            let first = group * size;
            match how {
                4 => vec![first + size - 1],
                7 if mean => (0..size).map(|i| group + i * kv_heads).collect(),
                7 | 8 => vec![group],
                10 => {
                    ((kv_heads - 1 - group) * size..(kv_heads - group) * size).collect()
                }
                11 => (0..size).collect(),
                _ => (first..first + size).collect(),
            }
        };
        DMatrix::from_fn(weight.nrows(), kv_heads * width, |row, column| {
            let heads = of(column / width).into_iter();
            let numbers =
                heads.map(|head| weight[(row, head * width + column % width)]);
            let numbers: Vec<f32> = numbers.collect();
            match how {
                5 if mean => numbers.iter().sum(),
                6 => numbers.iter().copied().fold(f32::MIN, f32::max),
                _ if mean => numbers.iter().sum::<f32>() / numbers.len() as f32,
                _ => numbers[0],
            }
        })
    }

    fn converted_by(&self, set: &[usize]) -> Answer {
        if Groups::new(self.heads, self.kv_heads).is_err() {
            return self.answer();
        }
        let all = [0, 1, 2, 3].map(|which| self.joined(which));
        let [q, k, v, o] = &all;
        let part = |own: usize, weight: &DMatrix<f32>, other: &DMatrix<f32>| match own {
            0 => self.pooled(weight, set[0]),
            1 => weight.clone(),
            2 => self.pooled(weight, 5),
            3 => self.pooled(other, set[0]),
            4 => self.pooled(q, set[0]),
            5 => self.pooled(weight, 2),
            _ => self.pooled(weight, 1),
        };
        let [keys, values] = [part(set[1], k, v), part(set[2], v, k)];
        let (heads, width) = (self.heads, self.width());
        let own = |head: usize| head / (heads / self.kv_heads);
        let queries = match set[3] {
            0 => q.clone(),
            1 => {
                let again: Vec<usize> = (0..heads).map(own).collect();
                heads_in_order(&self.pooled(q, 0), width, &again)
            }
            2 => heads_in_order(q, width, &(0..heads).rev().collect::<Vec<_>>()),
            _ => k.clone(),
        };
        let [keys, values] = if set[4] == 1 { [values, keys] } else { [keys, values] };
        let size = (heads / self.kv_heads) as f32;
        let values = if set[8] == 1 && matches!(self.pooling, Pooling::Random { .. }) {
            keys.clone()
        } else {
            values
        };
        let mixes = self.weights[3].nrows();
        let o = match set[5] {
            1 => DMatrix::identity(mixes, o.ncols()),
            2 | 3 => {
                let mut o = o.clone();
                let by = if set[5] == 2 { 1.0 / size } else { size };
                o.rows_mut(0, mixes).scale_mut(by);
                o
            }
            _ => o.clone(),
        };
        let o = if set[5] == 1 { plain(o) } else { self.parted(o) };
        let scores = [
            1.0,
            1.0 / size,
            size,
            1.0 / size.sqrt(),
            size.sqrt(),
            1.0 / (width as f32).sqrt(),
        ][set[6]];
        let [q, k, v] = [queries * scores, keys, values].map(|all| self.parted(all));
        let lost: &[usize] =
            [&[][..], &[0, 1, 2, 3], &[1, 2], &[1], &[2], &[3], &[0]][set[7]];
        let mut all = [q, k, v, o];
        for which in lost {
            all[*which] = plain(all[*which].weight().clone());
        }
        let [q, k, v, o] = all;
        self.run(GroupedQueryAttention::new(q, k, v, o, heads, self.kv_heads))
    }
}

#[expect(clippy::too_many_lines, reason = "a catalogue: one entry after the other")]
fn convert() -> Exercise<Checkpoint> {
    Exercise::implement("convert", Checkpoint::draw, Checkpoint::answer)
        .dials(OF_CONVERT, Checkpoint::converted_by)
        .mistake("queries-too", |p| {
            p.but(|p, groups, [q, k, v, o]| {
                let pooled = Pool::new(groups, p.pooling).linear("q_proj", &q).unwrap();
                let again: Vec<usize> =
                    (0..p.heads).map(|h| groups.kv_head(h)).collect();
                let q = heads_in_order(&with_bias(&pooled), p.width(), &again);
                [p.parted(q), k, v, o]
            })
        })
        .hidden_by(|| Checkpoint::small(3, 3, Pooling::Mean))
        .mistake("turns", |p| {
            p.but(|p, groups, [q, _, _, o]| {
                let turns: Vec<usize> = (0..p.heads)
                    .map(|h| h / groups.size() + h % groups.size() * p.kv_heads)
                    .collect();
                let mut pool = Pool::new(groups, p.pooling);
                let [k, v] = [1, 2].map(|i| {
                    let turned = heads_in_order(&p.joined(i), p.width(), &turns);
                    pool.linear("k_proj", &p.parted(turned)).unwrap()
                });
                [q, k, v, o]
            })
        })
        .hidden_by(|| Checkpoint::small(3, 1, Pooling::Mean))
        .mistake("keys-for-values", |p| {
            p.but(|_, _, [q, k, _, o]| [q, k.clone(), k, o])
        })
        .hidden_by(|| {
            let case = Checkpoint::small(4, 2, Pooling::Mean);
            let [q, k, _, o] = case.weights;
            Checkpoint { weights: [q, k.clone(), k, o], ..case }
        })
        .mistake("always-the-mean", |p| {
            p.but(|p, groups, [q, _, _, o]| {
                let mut pool = Pool::new(groups, Pooling::Mean);
                let [_, k, v, _] = p.linear();
                let [k, v] = [k, v].map(|all| pool.linear("k_proj", &all).unwrap());
                [q, k, v, o]
            })
        })
        .hidden_by(|| Checkpoint::small(4, 2, Pooling::Mean))
        .mistake("always-the-first", |p| {
            p.but(|p, groups, [q, _, _, o]| {
                let mut pool = Pool::new(groups, Pooling::First);
                let [_, k, v, _] = p.linear();
                let [k, v] = [k, v].map(|all| pool.linear("k_proj", &all).unwrap());
                [q, k, v, o]
            })
        })
        .hidden_by(|| Checkpoint::small(4, 2, Pooling::First))
        .mistake("values-for-keys", |p| {
            p.but(|_, _, [q, _, v, o]| [q, v.clone(), v, o])
        })
        .hidden_by(|| {
            let case = Checkpoint::small(4, 2, Pooling::Mean);
            let [q, k, _, o] = case.weights;
            Checkpoint { weights: [q, k.clone(), k, o], ..case }
        })
        .mistake("keys-and-values-swapped", |p| {
            p.but(|_, _, [q, k, v, o]| [q, v, k, o])
        })
        .hidden_by(|| {
            let case = Checkpoint::small(4, 2, Pooling::Mean);
            let [q, k, _, o] = case.weights;
            Checkpoint { weights: [q, k.clone(), k, o], ..case }
        })
        .mistake("values-from-pooled-keys", |p| {
            let Ok(groups) = Groups::new(p.heads, p.kv_heads) else {
                return p.answer();
            };
            let [q, k, _, o] = p.linear();
            let mut pool = Pool::new(groups, p.pooling);
            let k = pool.linear("k_proj", &k).unwrap();
            let v = pool.linear("v_proj", &k).map_err(|e| e.to_string());
            p.run(v.and_then(|v| {
                GroupedQueryAttention::new(q, k, v, o, p.heads, p.kv_heads)
                    .map_err(|e| e.to_string())
            }))
        })
        .hidden_by(|| {
            let case = Checkpoint::small(3, 3, Pooling::Mean);
            let [q, k, _, o] = case.weights;
            Checkpoint { weights: [q, k.clone(), k, o], ..case }
        })
        .mistake("queries-not-repeated", |p| {
            p.but(|p, groups, [q, k, v, o]| {
                let q = Pool::new(groups, p.pooling).linear("q_proj", &q).unwrap();
                [q, k, v, o]
            })
        })
        .hidden_by(|| Checkpoint::small(3, 3, Pooling::Mean))
        .mistake("keys-alone", |p| {
            p.but(|p, _, [q, k, _, o]| [q, k, p.parted(p.joined(2)), o])
        })
        .hidden_by(|| Checkpoint::small(3, 3, Pooling::Mean))
        .mistake("output-too", Checkpoint::output_too)
        .hidden_by(|| Checkpoint::small(2, 2, Pooling::Mean))
        .mistake("upside-down", |p| match Groups::new(p.kv_heads, p.heads) {
            Err(e) => p.run(Err(e)),
            Ok(groups) => {
                let [q, k, v, o] = p.linear();
                let mut pool = Pool::new(groups, p.pooling);
                let pooled = pool
                    .linear("k_proj", &k)
                    .and_then(|k| Ok([k, pool.linear("v_proj", &v)?]))
                    .map_err(|e| e.to_string());
                p.run(pooled.and_then(|[k, v]| {
                    GroupedQueryAttention::new(q, k, v, o, p.heads, p.kv_heads)
                        .map_err(|e| e.to_string())
                }))
            }
        })
        .hidden_by(|| Checkpoint::small(3, 3, Pooling::Mean))
        .mistake("not-pooled", |p| {
            let [q, k, v, o] = p.linear();
            p.run(GroupedQueryAttention::new(q, k, v, o, p.heads, p.kv_heads))
        })
        .hidden_by(|| Checkpoint::small(3, 3, Pooling::Mean))
}

// Implement: a layer in other bases.

struct Turning {
    /// `W_Q`, `W_K`, `W_V`, `W_O`.
    projections: [Linear; 4],
    turns: Turns,
}

impl Turning {
    fn draw(draw: &mut Draw) -> Self {
        let heads = draw.size(1..=3);
        let [d_k, d_v, d_in, d_out] = [3, 3, 2, 3].map(|most| draw.size(1..=most));
        let bias = draw.pick(&[false, true]);
        let mut linear = |name: &str, rows, columns| {
            let weight = draw.matrix(name, rows, columns);
            let bias = bias.then(|| draw.matrix(&format!("{name}, bias"), columns, 1));
            Linear::new(weight, bias.map(|bias| bias.column(0).into_owned())).unwrap()
        };
        let projections = [
            linear("q_proj", d_in, heads * d_k),
            linear("k_proj", d_in, heads * d_k),
            linear("v_proj", d_in, heads * d_v),
            linear("o_proj", heads * d_v, d_out),
        ];
        let wider = draw.rarely();
        let mut turns = |name: &str, width| -> Vec<DMatrix<f32>> {
            let turns: Vec<_> = (0..heads).map(|_| orthogonal(draw, width)).collect();
            draw.show(name, under_one_another(&turns));
            turns
        };
        let keys = turns("turns.keys, one under the other", d_k);
        let values = turns("turns.values, one under the other", d_v + wider);
        Turning { projections, turns: Turns { keys, values } }
    }

    /// Two heads of 2 on two features, with these turns for keys and for values.
    fn small(turn: &DMatrix<f32>) -> Self {
        let plain = |slope: f32, rows, columns| {
            plain(DMatrix::from_fn(rows, columns, |i, j| i as f32 + slope * j as f32))
        };
        let inward = [1.0, 2.0, -1.0].map(|slope| plain(slope, 2, 4));
        let [q, k, v] = inward;
        let [keys, values] = [(); 2].map(|()| vec![turn.clone(); 2]);
        Turning {
            projections: [q, k, v, plain(0.5, 4, 3)],
            turns: Turns { keys, values },
        }
    }

    fn answer(&self) -> Answer {
        Turning::parts(turned(self.projections.clone(), &self.turns))
    }

    fn parts<E: std::fmt::Display>(found: Result<[Linear; 4], E>) -> Answer {
        let parts = found.map(|[q, k, v, o]| {
            let part = |answer: Answer, name: &str, linear: &Linear| {
                let answer = answer.and(name, linear.weight());
                match linear.bias() {
                    Some(bias) => answer.and(&format!("{name}, bias"), bias.clone()),
                    None => answer,
                }
            };
            let answer = Answer::of("heads", "turned");
            let answer = part(part(answer, "q_proj", &q), "k_proj", &k);
            part(part(answer, "v_proj", &v), "o_proj", &o)
        });
        Answer::try_of("refused", parts)
    }

    /// The right four, changed by `change`, where the turns fit.
    fn but(
        &self,
        change: impl Fn(&Turning, [Linear; 4]) -> Result<[Linear; 4], LayerError>,
    ) -> Answer {
        match turned(self.projections.clone(), &self.turns) {
            Ok(right) => Turning::parts(change(self, right)),
            Err(_) => self.answer(),
        }
    }

    /// As if the turns were others.
    fn with(&self, turns: &Turns) -> Answer {
        Turning::parts(turned(self.projections.clone(), turns))
    }
}

/// A quarter turn, a swap, a sign, or a turn by numbers that are easy to follow.
fn orthogonal(draw: &mut Draw, width: usize) -> DMatrix<f32> {
    let mut turn = DMatrix::identity(width, width);
    if width == 1 {
        turn[(0, 0)] = draw.pick(&[1.0, -1.0]);
        return turn;
    }
    let [cos, sin, sign] = draw.pick(&[
        [0.0, 1.0, 1.0],
        [0.6, 0.8, 1.0],
        [0.0, 1.0, -1.0],
        [1.0, 0.0, 1.0],
    ]);
    let last = width - 1;
    turn[(0, 0)] = cos;
    turn[(0, last)] = sin;
    turn[(last, 0)] = -sin * sign;
    turn[(last, last)] = cos * sign;
    turn
}

/// `linear` with each head turned, and its bias with it.
fn turned_by(linear: &Linear, turns: &[DMatrix<f32>]) -> Result<Linear, LayerError> {
    let weight = turn_heads(linear.weight(), turns)?;
    let bias = linear.bias().map(|bias| {
        let row = DMatrix::from_row_slice(1, bias.len(), bias.as_slice());
        turn_heads(&row, turns).map(|row| row.transpose().column(0).into_owned())
    });
    Ok(Linear::new(weight, bias.transpose()?).unwrap())
}

fn transposed(turns: &[DMatrix<f32>]) -> Vec<DMatrix<f32>> {
    turns.iter().map(DMatrix::transpose).collect()
}

/// The rows of `o_proj` with each head's turned by its matrix, as columns would be.
fn rows_turned(o: &Linear, turns: &[DMatrix<f32>]) -> Result<Linear, LayerError> {
    let rows = turn_heads(&o.weight().transpose(), turns)?.transpose();
    Ok(Linear::new(rows, o.bias().cloned()).unwrap())
}

/// By what each projection is turned, and its bias.
const OF_TURNED: &[Dial] = &[
    dial(&[
        ("queries-as-they-were", "The queries are not turned."),
        ("queries-turned-back", "The queries are turned the other way."),
        ("queries-by-values", "The queries are turned by the turns of the values."),
        ("queries-twice", "The queries are turned twice."),
    ]),
    dial(&[
        ("keys-as-they-were", "The keys are not turned."),
        ("keys-turned-back", "The keys are turned the other way."),
        ("keys-by-values", "The keys are turned by the turns of the values."),
        ("keys-twice", "The keys are turned twice."),
    ]),
    dial(&[
        ("values-as-they-were", "The values are not turned."),
        ("values-turned-back", "The values are turned the other way."),
        ("values-by-keys", "The values are turned by the turns of the keys."),
        ("values-twice", "The values are turned twice."),
    ]),
    dial(&[
        ("output-as-it-was", "The rows of `o_proj` are not turned."),
        ("output-turned-on", "The rows of `o_proj` are turned the other way."),
        ("output-by-keys", "The rows of `o_proj` are turned by the turns of the keys."),
        ("output-twice", "The rows of `o_proj` are turned twice."),
    ]),
    dial(&[
        ("biases-as-they-were", "The biases are not turned."),
        ("biases-dropped", "The biases of queries, keys and values are missing."),
    ]),
    dial(&[("output-bias-dropped", "The bias of `o_proj` is missing.")]),
    dial(&[
        ("one-turn-for-all", "All heads are turned by the first head's matrix."),
        ("last-turn-for-all", "All heads are turned by the last head's matrix."),
        ("turns-reversed", "The turns are taken from the last head."),
        ("all-turned-back", "Everything is turned the other way."),
        ("nothing-turned", "Nothing is turned."),
        ("turns-swapped", "The turns of keys and of values have changed places."),
        ("everything-twice", "Everything is turned twice."),
    ]),
];

impl Turning {
    /// The turns of keys and of values, as a setting of the last dial says.
    fn turns_by(&self, how: usize) -> [Vec<DMatrix<f32>>; 2] {
        let Turns { keys, values } = &self.turns;
        let each = |change: fn(&[DMatrix<f32>]) -> Vec<DMatrix<f32>>| {
            [change(keys), change(values)]
        };
        match how {
            0 => each(<[_]>::to_vec),
            1 => each(|turns| vec![turns[0].clone(); turns.len()]),
            2 => each(|turns| vec![turns[turns.len() - 1].clone(); turns.len()]),
            3 => each(|turns| turns.iter().rev().cloned().collect()),
            4 => each(transposed),
            5 => each(|turns| {
                let same =
                    |turn: &DMatrix<f32>| DMatrix::identity(turn.nrows(), turn.nrows());
                turns.iter().map(same).collect()
            }),
            7 => each(|turns| turns.iter().map(|turn| turn * turn).collect()),
            _ => [values.clone(), keys.clone()],
        }
    }

    fn turned_by(&self, set: &[usize]) -> Answer {
        if turned(self.projections.clone(), &self.turns).is_err() {
            return self.answer();
        }
        let [keys, values] = self.turns_by(set[6]);
        let by = |how: usize, own: &[DMatrix<f32>], other: &[DMatrix<f32>]| {
            let same =
                |turn: &DMatrix<f32>| DMatrix::identity(turn.nrows(), turn.nrows());
            match how {
                1 => own.iter().map(same).collect(),
                2 => transposed(own),
                3 => other.to_vec(),
                4 => own.iter().map(|turn| turn * turn).collect(),
                _ => own.to_vec(),
            }
        };
        let inward = [by(set[0], &keys, &values), by(set[1], &keys, &values)];
        let [for_q, for_k] = inward;
        let for_v = by(set[2], &values, &keys);
        let for_o = by(set[3], &values, &keys);
        let [q, k, v, o] = &self.projections;
        let one = |linear: &Linear, turns: &[DMatrix<f32>]| {
            let made = turned_by(linear, turns)?;
            let bias = match set[4] {
                0 => made.bias().cloned(),
                1 => linear.bias().cloned(),
                _ => None,
            };
            Ok::<_, LayerError>(Linear::new(made.weight().clone(), bias).unwrap())
        };
        let all = || {
            let made = rows_turned(o, &for_o)?;
            let bias = if set[5] == 1 { None } else { o.bias().cloned() };
            let o = Linear::new(made.weight().clone(), bias).unwrap();
            Ok::<_, LayerError>([one(q, &for_q)?, one(k, &for_k)?, one(v, &for_v)?, o])
        };
        Turning::parts(all())
    }
}

fn turned_exercise() -> Exercise<Turning> {
    let identity = || Turning::small(&DMatrix::identity(2, 2));
    let swap = || Turning::small(&dmatrix![0.0, 1.0; 1.0, 0.0]);
    Exercise::implement("turned", Turning::draw, Turning::answer)
        .dials(OF_TURNED, Turning::turned_by)
        .mistake("queries-as-they-were", |p| {
            p.but(|p, [_, k, v, o]| Ok([p.projections[0].clone(), k, v, o]))
        })
        .hidden_by(identity)
        .mistake("output-as-it-was", |p| {
            p.but(|p, [q, k, v, _]| Ok([q, k, v, p.projections[3].clone()]))
        })
        .hidden_by(identity)
        .mistake("output-turned-on", |p| {
            p.but(|p, [q, k, v, _]| {
                let o = rows_turned(&p.projections[3], &transposed(&p.turns.values))?;
                Ok([q, k, v, o])
            })
        })
        .hidden_by(swap)
        .mistake("queries-turned-back", |p| {
            p.but(|p, [_, k, v, o]| {
                let q = turned_by(&p.projections[0], &transposed(&p.turns.keys))?;
                Ok([q, k, v, o])
            })
        })
        .hidden_by(swap)
        .mistake("biases-as-they-were", |p| {
            p.but(|p, right| {
                let mut changed = right;
                for (new, old) in changed.iter_mut().zip(&p.projections) {
                    let weight = new.weight().clone();
                    *new = Linear::new(weight, old.bias().cloned()).unwrap();
                }
                Ok(changed)
            })
        })
        .hidden_by(identity)
        .mistake("one-turn-for-all", |p| {
            let all = |turns: &[DMatrix<f32>]| vec![turns[0].clone(); turns.len()];
            p.but(|p, _| {
                let turns =
                    Turns { keys: all(&p.turns.keys), values: all(&p.turns.values) };
                Ok(turned(p.projections.clone(), &turns).unwrap())
            })
        })
        .hidden_by(swap)
        .mistake("values-by-the-turns-of-keys", |p| {
            p.with(&Turns { keys: p.turns.keys.clone(), values: p.turns.keys.clone() })
        })
        .hidden_by(swap)
        .mistake("columns-of-the-output", |p| {
            p.but(|p, [q, k, v, _]| {
                let o = &p.projections[3];
                let weight = turn_heads(o.weight(), &p.turns.values)?;
                Ok([q, k, v, Linear::new(weight, o.bias().cloned()).unwrap()])
            })
        })
        .hidden_by(|| {
            let case = Turning::small(&DMatrix::identity(2, 2));
            let [q, k, v, _] = case.projections;
            Turning { projections: [q, k, v, plain(DMatrix::identity(4, 4))], ..case }
        })
        .mistake("keys-and-values-alone", |p| {
            p.but(|p, [_, k, v, _]| {
                let [q, _, _, o] = p.projections.clone();
                Ok([q, k, v, o])
            })
        })
        .hidden_by(identity)
}

// Investigate: how many partners are right by chance.

/// Heads that take turns in the exercise: another number than in the chapter's table.
const IN_TURNS: usize = 24;

fn partners() -> Exercise<()> {
    Exercise::investigate("partners", |()| partners_of(4, true))
        .mistake("counted-the-wrong", |()| partners_of(4, false))
        .mistake("groups-of-four", |()| partners_of(6, true))
        .mistake("both-ends-alone", |()| {
            marked(|head| head == 0 || head + 1 == IN_TURNS)
        })
}

/// The heads whose partner is right, or wrong, when they take turns.
fn partners_of(kv_heads: usize, right: bool) -> Answer {
    let groups = Groups::new(IN_TURNS, kv_heads).unwrap();
    marked(|head| {
        (groups.kv_head(head) == experiments::interleaved(head, groups)) == right
    })
}

fn marked(is: impl Fn(usize) -> bool) -> Answer {
    let heads = DMatrix::from_fn(4, 6, |row, i| f32::from(is(row * 6 + i)));
    Answer::of("predicted", heads.sum()).and("right", heads.sum()).and("heads", heads)
}

// Investigate: how near heads must come.

fn uptraining() -> Exercise<()> {
    Exercise::investigate("uptraining", |()| nearness(share_for(0.2)))
        .mistake("proportional", |()| nearness(proportional(0.2)))
        .mistake("error-at-that-share", |()| nearness(error(0.2)))
        .mistake("percent", |()| nearness(100.0 * share_for(0.2)))
}

fn nearness(share: f32) -> Answer {
    Answer::of("predicted", proportional(0.2)).and("share", share)
}

fn error(share: f32) -> f32 {
    experiments::parted(6, share).unwrap()
}

/// As if the error grew in proportion to the share.
fn proportional(wanted: f32) -> f32 {
    wanted / error(1.0)
}

/// Halves an interval seven times.
fn share_for(wanted: f32) -> f32 {
    let (mut near, mut far) = (0.0, 1.0);
    for _ in 0..7 {
        let middle = f32::midpoint(near, far);
        if error(middle) < wanted { near = middle } else { far = middle }
    }
    f32::midpoint(near, far)
}
