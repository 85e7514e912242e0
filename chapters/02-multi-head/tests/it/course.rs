//! The chapter's exercises: what they ask, and what people answer instead. `course.toml`
//! has the words.

use std::sync::LazyLock;

use attention::{Linear, Mask, attend, scores, softmax};
use exercises::{
    Answer, Dial, Draw, Exercise, Exercises, Found, Headed, Looks, Sees, Value, dial,
    does_not_fit, side_by_side, under_one_another,
};
use multi_head::experiments::{self, Real, averaged};
use multi_head::{
    Heads, LayerError, MultiHeadAttended, MultiHeadAttention, Projected, attend_heads,
    example, head_dim,
};
use nalgebra::{DMatrix, DVector, RowDVector, dmatrix};

#[test]
fn the_exercises_keep_their_promises() {
    let folder = env!("CARGO_MANIFEST_DIR");
    println!("{}", exercises::prove(folder, &exercises()).unwrap());
}

/// In the order of `course.toml`.
pub fn exercises() -> Exercises {
    Exercises::new()
        .with(a_fourth_query())
        .with(check())
        .with(split())
        .with(forward())
        .with(drop_a_head())
        .with(rank())
}

// By hand: a query that the worked example does not have.

/// What its row is made of. In head 0 it asks as `sun` does.
struct Fourth {
    /// Of both heads: (1, keys).
    scores: [DMatrix<f32>; 2],
    weights: [DMatrix<f32>; 2],
    values: [DMatrix<f32>; 2],
    layer: MultiHeadAttention,
}

impl Fourth {
    fn new(scale: f32) -> Fourth {
        let (x, layer) = example::toy_layer().unwrap();
        let Projected { k, v, .. } = layer.project(&x, &x).unwrap();
        let q = dmatrix![1.0, 0.0, 1.0, 0.0, 4.0, 0.0, 2.0, 0.0];
        let scores = [0, 1].map(|h| {
            let (q, k) = (q.columns(4 * h, 4), k.columns(4 * h, 4));
            scores(q.as_view(), k.as_view()).unwrap() * scale
        });
        let weights = scores.clone().map(softmax);
        let values = [0, 1].map(|h| v.columns(2 * h, 2).into_owned());
        Fourth { scores, weights, values, layer }
    }

    fn found(&self) -> [DMatrix<f32>; 2] {
        [0, 1].map(|h| &self.weights[h] * &self.values[h])
    }

    /// What `o_proj` makes of the heads' answers side by side.
    fn mixed(&self, first: &DMatrix<f32>, second: &DMatrix<f32>) -> DMatrix<f32> {
        let both = DMatrix::from_fn(1, 4, |_, column| match column {
            0 | 1 => first[column],
            _ => second[column - 2],
        });
        self.layer.o_proj().forward(&both).unwrap()
    }

    fn answer(&self) -> Answer {
        let [first, second] = self.found();
        let nothing = DMatrix::zeros(1, 2);
        let contribution = self.mixed(&nothing, &second);
        self.with(contribution, self.mixed(&first, &second))
    }

    /// Head 1's row, with another end.
    fn with(&self, contribution: DMatrix<f32>, output: DMatrix<f32>) -> Answer {
        Answer::of("scores", &self.scores[1])
            .and("weights", &self.weights[1])
            .and("found", &self.found()[1])
            .and("contribution", contribution)
            .and("output", output)
    }
}

fn a_fourth_query() -> Exercise<()> {
    Exercise::by_hand("by-hand", |()| Fourth::new(1.0).answer())
        .mistake("root-of-the-layers-width", |()| Fourth::new(0.5_f32.sqrt()).answer())
        .mistake("unscaled", |()| Fourth::new(2.0).answer())
        .mistake("one-softmax-for-both-heads", |()| {
            let mut fourth = Fourth::new(1.0);
            let together =
                DMatrix::from_fn(1, 6, |_, key| fourth.scores[key / 3][key % 3]);
            let together = softmax(together);
            fourth.weights = [0, 3].map(|at| together.columns(at, 3).into_owned());
            fourth.answer()
        })
        .mistake("head-0", |()| {
            let mut fourth = Fourth::new(1.0);
            let [first, second] = fourth.found();
            let (nothing, output) =
                (DMatrix::zeros(1, 2), fourth.mixed(&first, &second));
            let contribution = fourth.mixed(&first, &nothing);
            fourth.scores.swap(0, 1);
            fourth.weights.swap(0, 1);
            fourth.with(contribution, output)
        })
        .mistake("added-up", |()| {
            let fourth = Fourth::new(1.0);
            let [first, second] = fourth.found();
            let sum = &first + &second;
            fourth.with(second, sum)
        })
        .mistake("averaged", |()| {
            let fourth = Fourth::new(1.0);
            let [first, second] = fourth.found();
            let mean = (first + second) / 2.0;
            let contribution = fourth.mixed(&DMatrix::zeros(1, 2), &mean);
            fourth.with(contribution, fourth.mixed(&mean, &mean))
        })
}

// Implement: the width of a head.

struct Shared {
    width: usize,
    heads: usize,
}

impl Shared {
    fn draw(draw: &mut Draw) -> Self {
        let shared = Shared { width: draw.size(0..=12), heads: draw.size(0..=8) };
        draw.show("width", shared.width);
        draw.show("heads", shared.heads);
        shared
    }

    fn answer(&self) -> Answer {
        Answer::of("width of a head", head_dim("q_proj", self.width, self.heads))
    }
}

fn if_allowed(allowed: bool, width: impl Fn() -> usize) -> Answer {
    let width = allowed.then(width).ok_or("the heads do not divide the width");
    Answer::of("width of a head", width)
}

/// What is given back, and what is asked before.
const OF_CHECK: &[Dial] = &[
    dial(&[
        (
            "upside-down-quotient",
            "Your width is heads / width: the quotient is upside down.",
        ),
        (
            "remainder",
            "Your width is what is left over, width % heads: it is width / heads.",
        ),
        ("product", "Your width is width · heads: the heads share the width."),
        ("undivided", "Your width of a head is the whole width: the heads share it."),
        ("heads-for-width", "You give back the number of heads, not the width of one."),
        ("one-too-wide", "Your width is larger by one than it should be."),
        ("one-too-narrow", "Your width is smaller by one than it should be."),
    ]),
    dial(&[
        (
            "heads-unchecked",
            "That there are heads at all is not asked: with no heads, the quotient \
             divides by zero.",
        ),
        ("two-at-least", "One head is refused: it is allowed."),
    ]),
    dial(&[
        ("columns-left-over", "Columns that are left over are not noticed."),
        (
            "other-way-around",
            "You ask whether the width divides the heads: the heads have to divide the \
             width.",
        ),
        (
            "refused-when-even",
            "You refuse heads that divide the width, and let the others through: the \
             condition is turned over.",
        ),
        ("even-alone", "You ask for an even width: the heads have to divide it."),
        (
            "at-least-as-wide",
            "You ask for a width that is no less than the heads: the heads have to \
             divide it.",
        ),
        (
            "even-heads",
            "You ask for an even number of heads: the heads have to divide the width.",
        ),
        (
            "powers-of-two",
            "You let only 1, 2, 4 and so on heads through: any number that divides the \
             width is allowed.",
        ),
        (
            "fewer-heads-than-columns",
            "You ask for fewer heads than columns: as many are allowed.",
        ),
    ]),
    dial(&[("no-width", "A width of 0 is refused: heads of width 0 are allowed.")]),
];

fn check_by(p: &Shared, set: &[usize]) -> Answer {
    let Shared { width, heads } = *p;
    let divides = match set[2] {
        // Where 0 divides a width, only a width of 0 is left over by nothing.
        0 => width.is_multiple_of(heads),
        1 => true,
        2 => heads.is_multiple_of(width),
        3 => !width.is_multiple_of(heads),
        4 => width.is_multiple_of(2),
        5 => width >= heads,
        6 => width.is_multiple_of(heads) && heads.is_multiple_of(2),
        7 => width.is_multiple_of(heads) && heads.is_power_of_two(),
        _ => width.is_multiple_of(heads) && heads < width,
    };
    let some_heads = match set[1] {
        0 => heads > 0,
        1 => true,
        _ => heads > 1,
    };
    let allowed = some_heads && divides && (set[3] == 0 || width > 0);
    if_allowed(allowed, || match set[0] {
        0 => width / heads,
        1 => heads / width,
        2 => width % heads,
        3 => width * heads,
        4 => width,
        5 => heads,
        6 => width / heads + 1,
        _ => width / heads - 1,
    })
}

fn check() -> Exercise<Shared> {
    Exercise::implement("check", Shared::draw, Shared::answer)
        .dials(OF_CHECK, check_by)
        .mistake("unchecked", |p| if_allowed(true, || p.width / p.heads))
        .hidden_by(|| Shared { width: 6, heads: 3 })
        .mistake("columns-left-over", |p| if_allowed(p.heads > 0, || p.width / p.heads))
        .hidden_by(|| Shared { width: 6, heads: 3 })
        .mistake("rounded-up", |p| {
            if_allowed(p.heads > 0, || p.width.div_ceil(p.heads))
        })
        .hidden_by(|| Shared { width: 6, heads: 3 })
        .mistake("no-width-no-heads", |p| {
            if_allowed(p.width.is_multiple_of(p.heads), || p.width / p.heads)
        })
        .hidden_by(|| Shared { width: 6, heads: 0 })
        .mistake("remainder-by-zero", |p| {
            if_allowed(p.width % p.heads == 0, || p.width / p.heads)
        })
        .hidden_by(|| Shared { width: 6, heads: 4 })
        .mistake("upside-down", |p| {
            let allowed = p.heads > 0 && p.heads.is_multiple_of(p.width);
            if_allowed(allowed, || p.width / p.heads)
        })
        .hidden_by(|| Shared { width: 4, heads: 4 })
        .mistake("no-width", |p| {
            let allowed = p.heads > 0 && p.width > 0 && p.width.is_multiple_of(p.heads);
            if_allowed(allowed, || p.width / p.heads)
        })
        .hidden_by(|| Shared { width: 6, heads: 3 })
        .mistake("heads-for-width", |p| {
            let allowed = p.heads > 0 && p.width.is_multiple_of(p.heads);
            if_allowed(allowed, || p.heads)
        })
        .hidden_by(|| Shared { width: 4, heads: 2 })
}

// Implement: split, attend, join.

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

/// What does not fit in a case.
#[derive(Clone, Copy, PartialEq)]
enum Odd {
    Nothing,
    NoHeads,
    ColumnsLeft,
    WiderKeys,
    OtherValues,
}

impl Asked {
    fn draw(draw: &mut Draw) -> Self {
        use Odd::{ColumnsLeft, NoHeads, Nothing, OtherValues, WiderKeys};
        let heads = draw.size(1..=3);
        let [head_dim, v_dim] = [draw.size(1..=3), draw.size(1..=3)];
        let [queries, keys] = [draw.tokens(3), draw.tokens(4)];
        let mut odds = [Nothing; 16];
        odds[12..].copy_from_slice(&[NoHeads, ColumnsLeft, WiderKeys, OtherValues]);
        let odd = draw.pick(&odds);
        let one_if = |what: Odd| usize::from(odd == what);
        let (width, left) = (heads * head_dim, one_if(ColumnsLeft));
        let heads = if odd == NoHeads { 0 } else { heads };
        draw.show("heads", heads);
        let mask = mask_of(draw.mask(queries, keys));
        let (key_width, more) = (width + left + one_if(WiderKeys), one_if(OtherValues));
        let values = if heads == 0 { v_dim } else { heads * v_dim };
        let q = draw.numbers(queries, width + left);
        let (mut q, mut k) = (q, draw.numbers(keys, key_width));
        draw.lift(&mut q, &mut k, head_dim);
        draw.show("q", &q);
        draw.show("k", &k);
        Asked { q, k, v: draw.matrix("v", keys + more, values), heads, mask }
    }

    fn answer(&self) -> Answer {
        let Asked { q, k, v, heads, mask } = self;
        parts_of(attend_heads(q, k, v, *heads, mask))
    }

    fn fits(&self) -> bool {
        let divided = |m: &DMatrix<f32>| m.ncols().is_multiple_of(self.heads);
        self.heads > 0
            && divided(&self.q)
            && divided(&self.v)
            && self.q.ncols() == self.k.ncols()
            && self.k.nrows() == self.v.nrows()
            && is_of(&self.mask, (self.q.nrows(), self.k.nrows()))
    }

    fn heads(&self) -> Option<Vec<Headed>> {
        let Asked { q, k, v, heads, mask } = self;
        let [q, k, v] = [q.clone(), k.clone(), v.clone()];
        let (heads, kv_heads, sees) = (*heads, *heads, sees_of(mask));
        self.fits().then(|| vec![Headed { q, k, v, heads, kv_heads, sees }])
    }

    fn found(&self, found: &[Found]) -> Answer {
        let [Found { context, weights }] = found else { return self.answer() };
        let (context, weights) = (context.clone(), weights.clone());
        parts_of(Ok(Heads { found: context, weights }))
    }

    /// As if the mask were another one.
    fn under(&self, mask: &Mask) -> Answer {
        let Asked { q, k, v, heads, .. } = self;
        parts_of(attend_heads(q, k, v, *heads, mask))
    }

    /// As it should be where the case does not fit, else what `wrong` makes of it.
    fn where_it_fits(&self, wrong: impl Fn() -> Heads) -> Answer {
        if self.fits() { parts_of(Ok(wrong())) } else { self.answer() }
    }

    fn right(&self) -> Heads {
        let Asked { q, k, v, heads, mask } = self;
        attend_heads(q, k, v, *heads, mask).unwrap()
    }

    /// With another context.
    fn joined(&self, join: impl Fn(&DMatrix<f32>) -> DMatrix<f32>) -> Answer {
        self.where_it_fits(|| {
            let Heads { found: context, weights } = self.right();
            Heads { found: join(&context), weights }
        })
    }

    /// Each head attends with what `cut` gives it, and `join` puts the answers together.
    fn cut_and_join(
        &self,
        cut: fn(&DMatrix<f32>, usize) -> Vec<DMatrix<f32>>,
        join: fn(&[DMatrix<f32>]) -> DMatrix<f32>,
    ) -> Answer {
        self.where_it_fits(|| {
            let [q, k, v] = [&self.q, &self.k, &self.v].map(|all| cut(all, self.heads));
            let attended = |h: usize| {
                let (q, k, v) = (q[h].as_view(), k[h].as_view(), v[h].as_view());
                attend(q, k, v, &self.mask).unwrap()
            };
            let all: Vec<_> = (0..self.heads).map(attended).collect();
            let outputs: Vec<_> = all.iter().map(|a| a.output.clone()).collect();
            let weights = all.into_iter().map(|a| a.weights).collect();
            Heads { found: join(&outputs), weights }
        })
    }

    /// The loop without a check. What does not fit stops, or is left over.
    fn unchecked(&self) -> Answer {
        let (head_dim, v_dim) =
            (self.q.ncols() / self.heads, self.v.ncols() / self.heads);
        let mut context = DMatrix::zeros(self.q.nrows(), self.v.ncols());
        let mut weights = Vec::new();
        for h in 0..self.heads {
            let q = self.q.columns(h * head_dim, head_dim);
            let k = self.k.columns(h * head_dim, head_dim);
            let v = self.v.columns(h * v_dim, v_dim);
            let attended = match attend(q, k, v, &self.mask) {
                Ok(attended) => attended,
                Err(refused) => return parts_of(Err(refused.into())),
            };
            context.columns_mut(h * v_dim, v_dim).copy_from(&attended.output);
            weights.push(attended.weights);
        }
        parts_of(Ok(Heads { found: context, weights }))
    }
}

fn parts_of(found: Result<Heads, LayerError>) -> Answer {
    let parts = |Heads { found: context, weights }| {
        Answer::default().and_each("weights of head", weights).and("context", context)
    };
    Answer::try_of("refused", found.map(parts))
}

#[expect(clippy::too_many_lines, reason = "a catalogue: one entry after the other")]
fn split() -> Exercise<Asked> {
    Exercise::implement("split", Asked::draw, Asked::answer)
        .step("q of head 0", |p| {
            Value::from(&p.q.columns(0, p.q.ncols() / p.heads.max(1)))
        })
        .attending(Asked::heads, Asked::found)
        .mistake("cut-from-rows", |p| {
            p.cut_and_join(experiments::cut_from_rows, side_by_side_from_rows)
        })
        .hidden_by(one_token)
        .mistake("cut-from-rows-joined-in-columns", |p| {
            p.cut_and_join(experiments::cut_from_rows, |heads| side_by_side(heads))
        })
        .hidden_by(one_token)
        .mistake("joined-from-rows", |p| {
            p.cut_and_join(in_columns, side_by_side_from_rows)
        })
        .hidden_by(one_token)
        .mistake("interleaved", |p| p.cut_and_join(every_so_many, every_so_many_back))
        .hidden_by(one_column_a_head)
        .mistake("stacked", |p| {
            p.cut_and_join(in_columns, |heads| under_one_another(heads))
        })
        .hidden_by(one_head)
        .mistake("added-up", |p| p.cut_and_join(in_columns, |heads| heads.iter().sum()))
        .hidden_by(one_head)
        .mistake("averaged", |p| {
            p.cut_and_join(in_columns, |heads| {
                heads.iter().sum::<DMatrix<f32>>() / heads.len() as f32
            })
        })
        .hidden_by(one_head)
        .mistake("last-head", |p| {
            p.cut_and_join(in_columns, |heads| heads[heads.len() - 1].clone())
        })
        .hidden_by(one_head)
        .mistake("last-head-first", |p| {
            p.cut_and_join(in_columns, |heads| {
                side_by_side(&heads.iter().rev().cloned().collect::<Vec<_>>())
            })
        })
        .hidden_by(one_head)
        .mistake("joined-in-turns", |p| p.cut_and_join(in_columns, every_so_many_back))
        .hidden_by(one_column_a_head)
        .mistake("mean-in-every-place", |p| {
            p.joined(|context| averaged(context, p.heads))
        })
        .hidden_by(one_head)
        .mistake("same-columns-for-all", |p| {
            p.cut_and_join(
                |all, heads| {
                    vec![all.columns(0, all.ncols() / heads).into_owned(); heads]
                },
                |heads| side_by_side(heads),
            )
        })
        .hidden_by(one_head)
        .mistake("keys-of-head-0", |p| p.where_it_fits(|| keys_of_head_0(p)))
        .hidden_by(one_head)
        .mistake("one-map", |p| p.where_it_fits(|| one_map(p)))
        .hidden_by(one_head)
        .mistake("root-of-the-layers-width", |p| {
            p.where_it_fits(|| {
                let q = &p.q / (p.heads as f32).sqrt();
                attend_heads(&q, &p.k, &p.v, p.heads, &p.mask).unwrap()
            })
        })
        .hidden_by(one_head)
        .mistake("scaled-twice", |p| {
            p.where_it_fits(|| {
                let q = &p.q / ((p.q.ncols() / p.heads) as f32).sqrt();
                attend_heads(&q, &p.k, &p.v, p.heads, &p.mask).unwrap()
            })
        })
        .hidden_by(one_column_a_head)
        .mistake("one-softmax-for-all-heads", |p| p.where_it_fits(|| together(p)))
        .hidden_by(one_head)
        .mistake("no-mask", |p| p.under(&Mask::None))
        .hidden_by(one_head)
        .mistake("always-causal", |p| p.under(&Mask::Causal { offset: 0 }))
        .hidden_by(one_token)
        .mistake("keys-and-values-swapped", |p| {
            p.where_it_fits(|| {
                if p.q.ncols() != p.v.ncols() {
                    does_not_fit();
                }
                attend_heads(&p.q, &p.v, &p.k, p.heads, &p.mask).unwrap()
            })
        })
        .hidden_by(|| Asked { v: dmatrix![1.0, 2.0; 0.0, 1.0], ..one_head() })
        .mistake("queries-of-head-0", |p| {
            p.where_it_fits(|| {
                let q = first_head_for_all(&p.q, p.heads);
                attend_heads(&q, &p.k, &p.v, p.heads, &p.mask).unwrap()
            })
        })
        .hidden_by(one_head)
        .mistake("values-of-head-0", |p| {
            p.where_it_fits(|| {
                let v = first_head_for_all(&p.v, p.heads);
                attend_heads(&p.q, &p.k, &v, p.heads, &p.mask).unwrap()
            })
        })
        .hidden_by(one_head)
        .mistake("one-column-on", |p| {
            p.cut_and_join(one_column_on, |heads| side_by_side(heads))
        })
        .hidden_by(one_column_a_head)
        .mistake("one-width-for-both", |p| {
            let (q, v) = (p.q.ncols(), p.v.ncols());
            if p.fits() && q != v {
                does_not_fit();
            }
            p.answer()
        })
        .hidden_by(one_head)
        .mistake("unchecked", Asked::unchecked)
        .hidden_by(one_head)
}

fn in_columns(all: &DMatrix<f32>, heads: usize) -> Vec<DMatrix<f32>> {
    let width = all.ncols() / heads;
    (0..heads).map(|h| all.columns(h * width, width).into_owned()).collect()
}

/// Head h begins at column h.
fn one_column_on(all: &DMatrix<f32>, heads: usize) -> Vec<DMatrix<f32>> {
    let width = all.ncols() / heads;
    (0..heads).map(|h| all.columns(h, width).into_owned()).collect()
}

fn first_head_for_all(all: &DMatrix<f32>, heads: usize) -> DMatrix<f32> {
    let width = all.ncols() / heads;
    DMatrix::from_fn(all.nrows(), all.ncols(), |i, j| all[(i, j % width)])
}

fn every_so_many(all: &DMatrix<f32>, heads: usize) -> Vec<DMatrix<f32>> {
    let width = all.ncols() / heads;
    let cut = |h| DMatrix::from_fn(all.nrows(), width, |i, j| all[(i, j * heads + h)]);
    (0..heads).map(cut).collect()
}

fn every_so_many_back(heads: &[DMatrix<f32>]) -> DMatrix<f32> {
    let (n, width) = heads[0].shape();
    let count = heads.len();
    DMatrix::from_fn(n, width * count, |i, j| heads[j % count][(i, j / count)])
}

/// (heads, tokens, width) read on as if it were (tokens, heads · width).
fn side_by_side_from_rows(heads: &[DMatrix<f32>]) -> DMatrix<f32> {
    let (n, width) = heads[0].shape();
    let below = under_one_another(heads).transpose();
    DMatrix::from_row_slice(n, width * heads.len(), below.as_slice())
}

fn keys_of_head_0(p: &Asked) -> Heads {
    let k = first_head_for_all(&p.k, p.heads);
    attend_heads(&p.q, &k, &p.v, p.heads, &p.mask).unwrap()
}

/// The mean over the heads in place of each head's weights.
fn one_map(p: &Asked) -> Heads {
    let Heads { found: context, weights } = p.right();
    let mean = weights.iter().sum::<DMatrix<f32>>() / p.heads as f32;
    Heads { found: context, weights: vec![mean; p.heads] }
}

/// One softmax over the keys of all heads.
fn together(p: &Asked) -> Heads {
    let keys = p.k.nrows();
    let [q, k, v] = [&p.q, &p.k, &p.v].map(|all| in_columns(all, p.heads));
    let mut all = DMatrix::zeros(p.q.nrows(), p.heads * keys);
    for h in 0..p.heads {
        let mut scores = scores(q[h].as_view(), k[h].as_view()).unwrap();
        p.mask.hide(&mut scores).unwrap();
        all.columns_mut(h * keys, keys).copy_from(&scores);
    }
    let weights = in_columns(&softmax(all), p.heads);
    let found: Vec<_> = weights.iter().zip(&v).map(|(a, v)| a * v).collect();
    Heads { found: side_by_side(&found), weights }
}

fn one_token() -> Asked {
    let (q, k) = (dmatrix![3.0, 1.0], dmatrix![1.0, 2.0]);
    Asked { q, k, v: dmatrix![1.0, -2.0], heads: 2, mask: Mask::None }
}

fn one_head() -> Asked {
    let (q, k) = (dmatrix![3.0, 1.0], dmatrix![1.0, 2.0; 0.0, 1.0]);
    let v = dmatrix![1.0, 3.0; 2.0, -1.0];
    Asked { q, k, v, heads: 1, mask: Mask::None }
}

fn one_column_a_head() -> Asked {
    Asked { heads: 2, ..one_head() }
}

// Implement: the layer.

/// A layer and what it reads.
struct Run {
    x: DMatrix<f32>,
    context: DMatrix<f32>,
    /// Weights of q, k, v, o.
    weights: [DMatrix<f32>; 4],
    /// The bias of o.
    bias: Option<DVector<f32>>,
    heads: usize,
    mask: Mask,
}

impl Run {
    fn draw(draw: &mut Draw) -> Self {
        let heads = draw.size(1..=2);
        let [head_dim, v_dim] = [draw.size(1..=2), draw.size(1..=2)];
        let [d, context_dim, d_out] = [(); 3].map(|()| draw.size(1..=3));
        let [tokens, others] = [draw.tokens(3), draw.tokens(3)];
        let biased = draw.pick(&[false, true]);
        let odd = draw.rarely();
        draw.show("heads", heads);
        let mask = mask_of(draw.mask(tokens, others));
        Run {
            x: draw.matrix("x", tokens, d),
            context: draw.matrix("context", others, context_dim + odd),
            weights: [
                draw.matrix("weight of q_proj", d, heads * head_dim),
                draw.matrix("weight of k_proj", context_dim, heads * head_dim),
                draw.matrix("weight of v_proj", context_dim, heads * v_dim),
                draw.matrix("weight of o_proj", heads * v_dim, d_out),
            ],
            bias: biased.then(|| {
                let bias = draw.matrix("bias of o_proj", 1, d_out);
                DVector::from_column_slice(bias.as_slice())
            }),
            heads,
            mask,
        }
    }

    fn layer(&self) -> MultiHeadAttention {
        let [q, k, v, o] = self.weights.clone();
        let plain = |weight| Linear::new(weight, None).unwrap();
        let o = Linear::new(o, self.bias.clone()).unwrap();
        MultiHeadAttention::new(plain(q), plain(k), plain(v), o, self.heads).unwrap()
    }

    fn answer(&self) -> Answer {
        let Run { x, context, mask, .. } = self;
        Run::parts(self.layer().forward_cross(x, context, mask))
    }

    fn parts(attended: Result<MultiHeadAttended, LayerError>) -> Answer {
        let parts = |MultiHeadAttended { output, weights }| {
            Answer::default().and_each("weights of head", weights).and("output", output)
        };
        Answer::try_of("refused", attended.map(parts))
    }

    fn fits(&self) -> bool {
        self.has_width() && is_of(&self.mask, (self.x.nrows(), self.context.nrows()))
    }

    fn has_width(&self) -> bool {
        self.context.ncols() == self.weights[1].nrows()
    }

    /// What the heads look at, as the dials are set.
    fn looks(&self, set: &[usize]) -> Looks {
        if set[..4].iter().all(|set| *set == 0) && !self.fits() {
            return Looks::Nothing;
        }
        let (x, context) = (&self.x, &self.context);
        let mut from = match set[3] {
            0 => [x, context, context],
            1 => [context, x, x],
            2 => [x, x, x],
            _ => [context; 3],
        };
        let others = [context, x, x];
        for part in 0..3 {
            if set[part] == 1 {
                from[part] = others[part];
            }
        }
        let made = |part: usize| {
            let (from, weight) = (from[part], &self.weights[part]);
            (from.ncols() == weight.nrows()).then(|| from * weight)
        };
        let (heads, kv_heads, sees) = (self.heads, self.heads, sees_of(&self.mask));
        match [made(0), made(1), made(2)] {
            [Some(q), Some(k), Some(v)] => {
                Looks::At(vec![Headed { q, k, v, heads, kv_heads, sees }])
            }
            _ => Looks::Misfit,
        }
    }

    /// What the output projection makes of what the heads found.
    fn looked(&self, found: &[Found], set: &[usize]) -> Answer {
        let [Found { context, weights }] = found else { return self.answer() };
        let weight = &self.weights[3];
        let bias = |mut output: DMatrix<f32>| {
            let times = [1.0, 0.0, self.heads as f32, 2.0, -1.0][set[5]];
            for mut row in output.row_iter_mut() {
                row += self.biases().unwrap_or_else(|| row.map(|_| 0.0)) * times;
            }
            output
        };
        let through = |of: &DMatrix<f32>, weight: &DMatrix<f32>| {
            (of.ncols() == weight.nrows()).then(|| of * weight)
        };
        let mixed = match set[4] {
            0 => through(context, weight).map(bias),
            1 => Some(context.clone()),
            2 => through(context, weight)
                .and_then(|once| through(&bias(once), weight).map(bias)),
            _ if context.ncols() != weight.ncols() => does_not_fit(),
            _ if self.bias.is_some() && weight.nrows() != weight.ncols() => {
                does_not_fit()
            }
            _ => Some(bias(context * weight.transpose())),
        };
        let Some(output) = mixed else {
            return Answer::of("refused", Value::Refused("it does not fit".to_owned()));
        };
        let output = match set[6] {
            0 => output,
            1 => output / self.heads as f32,
            2 => output * self.heads as f32,
            _ if output.shape() != self.x.shape() => does_not_fit(),
            _ => output + &self.x,
        };
        Run::parts(Ok(MultiHeadAttended { output, weights: weights.clone() }))
    }

    /// As if the mask were another one.
    fn under(&self, mask: &Mask) -> Answer {
        if !self.has_width() {
            return self.answer();
        }
        let Heads { found: context, weights } = self.found(mask);
        let output = self.forward(&context);
        Run::parts(Ok(MultiHeadAttended { output, weights }))
    }

    /// The heads' answers, where they can be had.
    fn found(&self, mask: &Mask) -> Heads {
        let (layer, Run { x, context, .. }) = (self.layer(), self);
        let Projected { q, k, v } = layer.project(x, context).unwrap();
        attend_heads(&q, &k, &v, self.heads, mask).unwrap()
    }

    fn mixed(&self, mix: impl Fn(&DMatrix<f32>) -> DMatrix<f32>) -> Answer {
        if !self.fits() {
            return self.answer();
        }
        let Heads { found: context, weights } = self.found(&self.mask);
        Run::parts(Ok(MultiHeadAttended { output: mix(&context), weights }))
    }

    /// With queries, keys and values in other roles, or among another number of heads.
    fn attended(
        &self,
        roles: impl Fn([DMatrix<f32>; 3]) -> [DMatrix<f32>; 3],
        heads: usize,
    ) -> Answer {
        if !self.fits() {
            return self.answer();
        }
        let layer = self.layer();
        let Projected { q, k, v } = layer.project(&self.x, &self.context).unwrap();
        let [q, k, v] = roles([q, k, v]);
        let found = attend_heads(&q, &k, &v, heads, &self.mask);
        Run::parts(found.and_then(|Heads { found: context, weights }| {
            Ok(MultiHeadAttended { output: layer.o_proj().forward(&context)?, weights })
        }))
    }

    fn forward(&self, context: &DMatrix<f32>) -> DMatrix<f32> {
        self.layer().o_proj().forward(context).unwrap()
    }

    fn biases(&self) -> Option<RowDVector<f32>> {
        self.bias.as_ref().map(DVector::transpose)
    }
}

/// What queries, keys and values are made from, how what the heads found is mixed, what is
/// added to it, and what becomes of it.
const OF_FORWARD: &[Dial] = &[
    dial(&[(
        "queries-from-the-context",
        "Your queries are made from the context: they are made from x.",
    )]),
    dial(&[(
        "keys-from-x",
        "Your keys are made from x: they are made from the context.",
    )]),
    dial(&[(
        "values-from-x",
        "Your values are made from x: they are made from the context.",
    )]),
    dial(&[
        ("x-and-context-swapped", "x and the context have changed places."),
        (
            "x-alone",
            "x looks at itself: keys and values are made from x, and not from the context.",
        ),
        ("context-alone", "The context looks at itself: x is not used."),
    ]),
    dial(&[
        ("not-mixed", "What the heads found is not mixed: `o_proj` is missing."),
        ("mixed-twice", "What the heads found goes through `o_proj` twice."),
        ("mixed-transposed", "The weight of `o_proj` is transposed."),
    ]),
    dial(&[
        ("bias-forgotten", "The bias of `o_proj` is missing."),
        (
            "bias-once-a-head",
            "The bias of `o_proj` is added once for each head: it is added once.",
        ),
        ("bias-twice", "The bias of `o_proj` is added twice."),
        ("bias-subtracted", "The bias of `o_proj` is subtracted."),
    ]),
    dial(&[
        ("over-the-heads", "The output is divided by the number of heads."),
        ("times-the-heads", "The output is multiplied by the number of heads."),
        (
            "x-added",
            "x is added to the output: that comes later, where the layer is used.",
        ),
    ]),
];

fn forward() -> Exercise<Run> {
    Exercise::implement("forward", Run::draw, Run::answer)
        .step("what the heads found", |p| {
            let found = p.fits().then(|| p.found(&p.mask).found);
            found.ok_or("the context does not fit").into()
        })
        .around(OF_FORWARD, Run::looks, Run::looked)
        .mistake("not-mixed", |p| p.mixed(DMatrix::clone))
        .hidden_by(identity_after)
        .mistake("bias-forgotten", |p| p.mixed(|found| found * &p.weights[3]))
        .hidden_by(identity_after)
        .mistake("bias-once-a-head", |p| {
            p.mixed(|found| {
                let mut output = p.forward(found);
                for mut row in output.row_iter_mut() {
                    if let Some(bias) = p.biases() {
                        row += bias * (p.heads - 1) as f32;
                    }
                }
                output
            })
        })
        .hidden_by(identity_after)
        .mistake("averaged", |p| p.mixed(|found| p.forward(&averaged(found, p.heads))))
        .hidden_by(identity_after)
        .mistake("no-mask", |p| p.under(&Mask::None))
        .hidden_by(identity_after)
        .mistake("always-causal", |p| p.under(&Mask::Causal { offset: 0 }))
        .hidden_by(identity_after)
        .mistake("bias-by-rows", |p| {
            p.mixed(|found| {
                let mut output = found * &p.weights[3];
                if let Some(bias) = p.biases() {
                    if bias.len() != output.nrows() {
                        does_not_fit();
                    }
                    for mut column in output.column_iter_mut() {
                        column += bias.transpose();
                    }
                }
                output
            })
        })
        .hidden_by(identity_after)
        .mistake("keys-ask", |p| p.attended(|[q, k, v]| [k, q, v], p.heads))
        .hidden_by(identity_after)
        .mistake("values-as-keys", |p| p.attended(|[q, k, v]| [q, v, k], p.heads))
        .mistake("one-head", |p| p.attended(|parts| parts, 1))
        .hidden_by(identity_after)
        .mistake("mixed-before", |p| {
            if !p.fits() {
                return p.answer();
            }
            let Projected { q, k, v } = p.layer().project(&p.x, &p.context).unwrap();
            let found = attend_heads(&q, &k, &p.forward(&v), p.heads, &p.mask);
            Run::parts(found.map(|Heads { found: output, weights }| {
                MultiHeadAttended { output, weights }
            }))
        })
        .hidden_by(identity_after)
        .mistake("x-added", |p| p.mixed(|found| p.forward(found) + &p.x))
        .mistake("looks-at-itself", |p| Run::parts(p.layer().forward(&p.x, &p.mask)))
        .hidden_by(identity_after)
        .mistake("roles-swapped", |p| {
            Run::parts(p.layer().forward_cross(&p.context, &p.x, &p.mask))
        })
        .hidden_by(identity_after)
}

/// One head whose answer is the output, on a token that looks at itself.
fn identity_after() -> Run {
    let x = dmatrix![2.0];
    let weights = [3.0, 0.5, -1.0, 1.0].map(|weight| dmatrix![weight]);
    Run { context: x.clone(), x, weights, bias: None, heads: 1, mask: Mask::None }
}

// Investigate: a mean in the place of a head.

static REAL: LazyLock<Real> = LazyLock::new(|| experiments::real(3).unwrap());

fn drop_a_head() -> Exercise<()> {
    Exercise::investigate("drop", |()| {
        moved(|head| REAL.moved_with_mean(head).unwrap())
    })
    .mistake("zeros", |()| moved(|head| REAL.moved_without(head).unwrap()))
    .mistake("counted-from-one", |()| {
        moved(|head| REAL.moved_with_mean(head - 1).unwrap())
    })
    .mistake("swapped", |()| moved(|head| REAL.moved_with_mean(16 - head).unwrap()))
}

fn moved(how_far: impl Fn(usize) -> f32) -> Answer {
    let [parked, spread] = [how_far(5), how_far(11)];
    Answer::of("predicted", parked).and("parked", parked).and("spread", spread)
}

// Investigate: rank.

static RANKS: LazyLock<[Vec<usize>; 2]> =
    LazyLock::new(|| [24, 3].map(|heads| experiments::ranks(heads).unwrap()));

fn rank() -> Exercise<()> {
    Exercise::investigate("rank", |()| ranks([RANKS[0][0], RANKS[1][0]]))
        .mistake("as-trained", |()| ranks([32, 32]))
        .mistake("the-tokens", |()| ranks([134, 134]))
        .mistake("the-heads", |()| ranks([24, 3]))
        .mistake("added-up", |()| ranks([0, 1].map(|at| RANKS[at].iter().sum())))
}

fn ranks(ranks: [usize; 2]) -> Answer {
    Answer::of("predicted", ranks.to_vec()).and("ranks", ranks.to_vec())
}
