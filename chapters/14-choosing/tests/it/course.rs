//! The chapter's exercises: what they ask, and what people answer instead. `course.toml`
//! has the words.

use checkpoint::Bytes;
use choosing::experiments::{self, question};
use choosing::machines;
use choosing::{FeedForward, Machine, Mechanism, Model, Setting, Step, touched};
use exercises::{Answer, Dial, Draw, Exercise, Exercises, dial};
use minilm::models::Window;

#[test]
fn the_exercises_keep_their_promises() {
    let folder = env!("CARGO_MANIFEST_DIR");
    println!("{}", exercises::prove(folder, &exercises()).unwrap());
}

/// In the order of `course.toml`.
pub fn exercises() -> Exercises {
    Exercises::new()
        .with(cache())
        .with(kept())
        .with(pair())
        .with(cached_tokens())
        .with(touched_exercise())
        .with(step())
        .with(seconds())
        .with(roof())
        .with(even())
}

// By hand: the cache of 48 layers of 24 query heads and 4 kv heads, each 96 wide.

fn cache() -> Exercise<()> {
    Exercise::by_hand("cache", |()| cache_of(48.0, 4.0, 2.0, 2.0))
        .mistake("query-heads", |()| cache_of(48.0, 24.0, 2.0, 2.0))
        .mistake("keys-alone", |()| cache_of(48.0, 4.0, 1.0, 2.0))
        .mistake("one-layer", |()| cache_of(1.0, 4.0, 2.0, 2.0))
        .mistake("four-bytes", |()| cache_of(48.0, 4.0, 2.0, 4.0))
        .mistake("thousands", |()| {
            let bytes = 48.0 * 4.0 * 96.0 * 4.0;
            Answer::of("token", bytes / 1e3).and("text", bytes * 16_384.0 / 1e9)
        })
}

/// KiB of a token and GiB of a text, for so many layers, heads, matrices and bytes.
fn cache_of(layers: f32, heads: f32, matrices: f32, each: f32) -> Answer {
    let token = layers * heads * 96.0 * matrices * each / 1024.0;
    Answer::of("token", token).and("text", token * 16_384.0 / 1024.0 / 1024.0)
}

// Implement: what a token leaves, and what looking at it takes.

fn some_mechanism(draw: &mut Draw) -> Mechanism {
    let [kv_heads, size] = [draw.size(1..=3), draw.size(1..=3)];
    let [width, v_dim, rope, rank] = [1..=4, 1..=4, 1..=2, 1..=9].map(|r| draw.size(r));
    let heads = kv_heads * size;
    if draw.pick(&[true, false]) {
        for (name, value) in [
            ("heads", heads),
            ("kv_heads", kv_heads),
            ("qk_dim", width),
            ("v_dim", v_dim),
        ] {
            draw.show(name, value);
        }
        shared([heads, kv_heads, width, v_dim])
    } else {
        for (name, value) in [
            ("heads", heads),
            ("nope_dim", width),
            ("rope_dim", 2 * rope),
            ("v_dim", v_dim),
            ("lora_rank", rank),
        ] {
            draw.show(name, value);
        }
        let queries = draw.pick(&[None, Some(1), Some(3)]);
        if let Some(width) = queries {
            draw.show("q_lora_rank", width);
        }
        with_query_latent([heads, width, 2 * rope, v_dim, rank], queries)
    }
}

fn shared(sizes: [usize; 4]) -> Mechanism {
    let [heads, kv_heads, qk_dim, v_dim] = sizes.map(|size| size as u64);
    Mechanism::Shared { heads, kv_heads, qk_dim, v_dim }
}

fn latent(sizes: [usize; 5]) -> Mechanism {
    with_query_latent(sizes, None)
}

/// A latent, and one so wide for the queries.
fn with_query_latent(sizes: [usize; 5], width: Option<usize>) -> Mechanism {
    let [heads, nope_dim, rope_dim, v_dim, lora_rank] = sizes.map(|size| size as u64);
    let q_lora_rank = width.map(|width| width as u64);
    Mechanism::Latent { heads, nope_dim, rope_dim, v_dim, lora_rank, q_lora_rank }
}

fn numbers(count: u64) -> Answer {
    Answer::of("numbers", count as usize)
}

/// A wrong answer for shared heads that is right for a latent.
fn if_shared(
    m: &Mechanism,
    wrong: fn([u64; 4]) -> u64,
    right: fn(&Mechanism) -> Answer,
) -> Answer {
    match *m {
        Mechanism::Shared { heads, kv_heads, qk_dim, v_dim } => {
            numbers(wrong([heads, kv_heads, qk_dim, v_dim]))
        }
        Mechanism::Latent { .. } => right(m),
    }
}

/// A wrong answer for a latent that is right for shared heads.
fn if_latent(
    m: &Mechanism,
    wrong: fn([u64; 5]) -> u64,
    right: fn(&Mechanism) -> Answer,
) -> Answer {
    match *m {
        Mechanism::Latent { heads, nope_dim, rope_dim, v_dim, lora_rank, .. } => {
            numbers(wrong([heads, nope_dim, rope_dim, v_dim, lora_rank]))
        }
        Mechanism::Shared { .. } => right(m),
    }
}

/// How often what is kept of shared heads, and what of a latent.
const OF_KEPT: &[Dial] = &[
    dial(&[
        (
            "query-heads",
            "Shared heads count as often as there are query heads: they are kept once \
             for each kv head.",
        ),
        ("one-head", "Shared heads count once: there are `kv_heads` of them."),
        (
            "group-size",
            "Shared heads count as often as query heads share one: there are \
             `kv_heads` of them.",
        ),
        ("all-heads", "Query heads and kv heads are added up: queries are not kept."),
        ("heads-squared", "The number of kv heads counts twice, as its square."),
        ("over-the-heads", "What is kept is divided by the number of query heads."),
    ]),
    dial(&[
        ("keys-alone", "Of shared heads you count the keys alone."),
        ("values-alone", "Of shared heads you count the values alone."),
        (
            "keys-twice",
            "Of shared heads you count keys twice: values have a width of their own.",
        ),
        (
            "values-twice",
            "Of shared heads you count values twice: keys have a width of their own.",
        ),
        (
            "widths-multiplied",
            "The widths of a key and a value are multiplied: they are added.",
        ),
        (
            "everything-twice",
            "Shared heads count twice: qk_dim + v_dim has keys and values already.",
        ),
        (
            "values-once",
            "Values count once for all heads, as if kv_heads · qk_dim + v_dim were \
             meant: parentheses are missing.",
        ),
        (
            "keys-once",
            "Keys count once for all heads, as if qk_dim + kv_heads · v_dim were \
             meant: parentheses are missing.",
        ),
        ("widths-subtracted", "The width of a value is subtracted: it is added."),
        (
            "keys-by-query-heads",
            "Keys count once for each query head, and values for each kv head: both are \
             kept by the kv heads.",
        ),
        (
            "values-by-query-heads",
            "Values count once for each query head, and keys for each kv head: both are \
             kept by the kv heads.",
        ),
    ]),
    dial(&[
        ("latent-a-head", "A latent counts for each head: it is one for all."),
        ("latent-twice", "A latent counts twice: it is key and value at once."),
        ("no-latent", "The latent does not count."),
        (
            "latent-expanded",
            "A latent counts as the keys and values that are made from it.",
        ),
        ("nope-too", "The width of a key counts as well: the latent is in its place."),
        (
            "value-too",
            "The width of a value counts as well: the latent is in its place.",
        ),
        (
            "key-and-value-for-the-latent",
            "The widths of a key and a value stand where that of the latent belongs.",
        ),
    ]),
    dial(&[
        (
            "a-turned-key-a-head",
            "The turned key counts for each head: it is one for all.",
        ),
        ("no-turned-key", "The turned key does not count."),
        ("turned-key-twice", "The turned key counts twice."),
    ]),
    dial(&[(
        "widths-multiplied-in-a-latent",
        "The latent's width and the turned key's are multiplied: they are added.",
    )]),
];

fn kept_by(m: &Mechanism, set: &[usize]) -> Answer {
    numbers(match *m {
        Mechanism::Shared { heads, kv_heads, qk_dim, v_dim } => {
            let times = [
                kv_heads,
                heads,
                1,
                heads / kv_heads,
                heads + kv_heads,
                kv_heads * kv_heads,
                kv_heads,
            ][set[0]];
            let both = qk_dim + v_dim;
            let of =
                [both, qk_dim, v_dim, 2 * qk_dim, 2 * v_dim, qk_dim * v_dim, 2 * both];
            let all = match set[1] {
                7 => times * qk_dim + v_dim,
                8 => qk_dim + times * v_dim,
                9 => times * (qk_dim - v_dim),
                10 => heads * qk_dim + times * v_dim,
                11 => times * qk_dim + heads * v_dim,
                how => times * of[how],
            };
            if set[0] == 6 { all / heads } else { all }
        }
        Mechanism::Latent { heads, nope_dim, rope_dim, v_dim, lora_rank, .. } => {
            let made = heads * (nope_dim + v_dim);
            let latent = [
                lora_rank,
                heads * lora_rank,
                2 * lora_rank,
                0,
                made,
                lora_rank + nope_dim,
                lora_rank + v_dim,
                nope_dim + v_dim,
            ][set[2]];
            let turned = [rope_dim, heads * rope_dim, 0, 2 * rope_dim][set[3]];
            if set[4] == 1 { latent * turned } else { latent + turned }
        }
    })
}

fn kept() -> Exercise<Mechanism> {
    let right: fn(&Mechanism) -> Answer = |m| numbers(m.kept());
    Exercise::implement("kept", some_mechanism, right)
        .dials(OF_KEPT, kept_by)
        .mistake("query-heads", |m| {
            if_shared(m, |[h, _, k, v]| h * (k + v), |m| numbers(m.kept()))
        })
        .hidden_by(|| shared([3, 3, 2, 2]))
        .mistake("keys-alone", |m| {
            if_shared(m, |[_, g, k, _]| g * k, |m| numbers(m.kept()))
        })
        .mistake("keys-twice", |m| {
            if_shared(m, |[_, g, k, _]| 2 * g * k, |m| numbers(m.kept()))
        })
        .hidden_by(|| shared([4, 2, 3, 3]))
        .mistake("everything-twice", |m| {
            if_shared(m, |[_, g, k, v]| 2 * g * (k + v), |m| numbers(m.kept()))
        })
        .mistake("widths-multiplied", |m| {
            if_shared(m, |[_, g, k, v]| g * k * v, |m| numbers(m.kept()))
        })
        .hidden_by(|| shared([4, 2, 2, 2]))
        .mistake("one-head", |m| {
            if_shared(m, |[_, _, k, v]| k + v, |m| numbers(m.kept()))
        })
        .hidden_by(|| shared([3, 1, 2, 2]))
        .mistake("latent-a-head", |m| {
            if_latent(m, |[h, _, r, _, rank]| h * (rank + r), |m| numbers(m.kept()))
        })
        .hidden_by(|| latent([1, 2, 2, 2, 5]))
        .mistake("latent-twice", |m| {
            if_latent(m, |[_, _, r, _, rank]| 2 * rank + r, |m| numbers(m.kept()))
        })
        .mistake("no-turned-key", |m| {
            if_latent(m, |[_, _, _, _, rank]| rank, |m| numbers(m.kept()))
        })
        .mistake("a-turned-key-a-head", |m| {
            if_latent(m, |[h, _, r, _, rank]| rank + h * r, |m| numbers(m.kept()))
        })
        .hidden_by(|| latent([1, 2, 2, 2, 5]))
        .mistake("expanded", |m| {
            if_latent(m, |[h, n, r, v, _]| h * (n + r + v), |m| numbers(m.kept()))
        })
        .mistake("the-queries-latent-too", |m| match *m {
            Mechanism::Latent { q_lora_rank: Some(width), .. } => {
                numbers(m.kept() + width)
            }
            _ => numbers(m.kept()),
        })
        .hidden_by(|| latent([2, 3, 2, 3, 3]))
}

/// How often which widths count, of shared heads and of a latent.
const OF_PAIR: &[Dial] = &[
    dial(&[
        (
            "kv-heads",
            "Shared heads count once for each kv head: every query head looks for \
             itself.",
        ),
        ("one-head", "Shared heads count once: every query head looks for itself."),
        (
            "group-size",
            "Shared heads count as often as query heads share one: every query head \
             looks for itself.",
        ),
        ("all-heads", "Query heads and kv heads are added up: only query heads look."),
    ]),
    dial(&[
        (
            "scores-alone",
            "Of shared heads you count the scores alone: values are weighted, too.",
        ),
        (
            "values-alone",
            "Of shared heads you count the weighted values alone: scores come first.",
        ),
        (
            "keys-twice",
            "Of shared heads you count the key's width twice: values have a width of \
             their own.",
        ),
        (
            "values-twice",
            "Of shared heads you count the value's width twice: keys have a width of \
             their own.",
        ),
        ("scores-twice", "Of shared heads you count the scores twice."),
        (
            "widths-multiplied",
            "The widths of a key and a value are multiplied: they are added.",
        ),
        (
            "operations",
            "Shared heads count twice: multiply-adds are asked for, and not \
             operations.",
        ),
        (
            "values-once",
            "Values count once for all heads, as if heads · qk_dim + v_dim were meant: \
             parentheses are missing.",
        ),
        (
            "keys-once",
            "Scores count once for all heads, as if qk_dim + heads · v_dim were meant: \
             parentheses are missing.",
        ),
    ]),
    dial(&[
        ("latent-kv-heads", "A latent is looked at once: every head looks for itself."),
        (
            "latent-operations",
            "A latent counts twice: multiply-adds are asked for, and not operations.",
        ),
    ]),
    dial(&[
        (
            "latent-once",
            "The latent's width counts once: scores and averages both take it.",
        ),
        ("no-latent", "The latent's width does not count."),
        (
            "latent-three-times",
            "The latent's width counts three times: scores and averages take it once \
             each.",
        ),
        (
            "naive",
            "The latent counts as the keys and values that would be made from it: it \
             is looked at as it is.",
        ),
        (
            "scores-with-keys",
            "Scores take the width of a key, and the averages that of the latent: both \
             take the latent's.",
        ),
        (
            "averages-of-values",
            "Scores take the latent's width, and the averages that of a value: both take \
             the latent's.",
        ),
    ]),
    dial(&[
        ("turned-twice", "The turned key counts twice: no value has it."),
        ("no-turned-key", "The turned key does not count: scores take it."),
        (
            "turned-once-for-all",
            "The turned key counts once for all heads: every head looks at it.",
        ),
    ]),
];

fn pair_by(m: &Mechanism, set: &[usize]) -> Answer {
    numbers(match *m {
        Mechanism::Shared { heads, kv_heads, qk_dim, v_dim } => {
            let times =
                [heads, kv_heads, 1, heads / kv_heads, heads + kv_heads][set[0]];
            let both = qk_dim + v_dim;
            let of = [
                both,
                qk_dim,
                v_dim,
                2 * qk_dim,
                2 * v_dim,
                both + qk_dim,
                qk_dim * v_dim,
                2 * both,
            ];
            match set[1] {
                8 => times * qk_dim + v_dim,
                9 => qk_dim + times * v_dim,
                how => times * of[how],
            }
        }
        Mechanism::Latent { heads, nope_dim, rope_dim, v_dim, lora_rank, .. } => {
            let times = [heads, 1, 2 * heads][set[2]];
            let made = nope_dim + v_dim;
            let latent = [
                2 * lora_rank,
                lora_rank,
                0,
                3 * lora_rank,
                made,
                nope_dim + lora_rank,
                lora_rank + v_dim,
            ][set[3]];
            let turned = [rope_dim, 2 * rope_dim, 0, 0][set[4]];
            times * (latent + turned) + if set[4] == 3 { rope_dim } else { 0 }
        }
    })
}

fn pair() -> Exercise<Mechanism> {
    Exercise::implement("pair", some_mechanism, |m| numbers(m.pair()))
        .dials(OF_PAIR, pair_by)
        .mistake("kv-heads", |m| {
            if_shared(m, |[_, g, k, v]| g * (k + v), |m| numbers(m.pair()))
        })
        .hidden_by(|| shared([3, 3, 2, 2]))
        .mistake("one-head", |m| {
            if_shared(m, |[_, _, k, v]| k + v, |m| numbers(m.pair()))
        })
        .hidden_by(|| shared([1, 1, 2, 2]))
        .mistake("scores-twice", |m| {
            if_shared(m, |[h, _, k, v]| h * (2 * k + v), |m| numbers(m.pair()))
        })
        .mistake("keys-twice", |m| {
            if_shared(m, |[h, _, k, _]| h * 2 * k, |m| numbers(m.pair()))
        })
        .hidden_by(|| shared([4, 2, 3, 3]))
        .mistake("operations", |m| numbers(2 * m.pair()))
        .mistake("scores-alone", |m| {
            if_shared(m, |[h, _, k, _]| h * k, |m| numbers(m.pair()))
        })
        .mistake("latent-once", |m| {
            if_latent(m, |[h, _, r, _, rank]| h * (rank + r), |m| numbers(m.pair()))
        })
        .mistake("turned-twice", |m| {
            if_latent(m, |[h, _, r, _, rank]| h * 2 * (rank + r), |m| numbers(m.pair()))
        })
        .mistake("once-for-all", |m| {
            if_latent(m, |[_, _, r, _, rank]| 2 * rank + r, |m| numbers(m.pair()))
        })
        .hidden_by(|| latent([1, 2, 2, 2, 5]))
        .mistake("naive", |m| {
            if_latent(m, |[h, n, r, v, _]| h * (n + r + v), |m| numbers(m.pair()))
        })
        .hidden_by(|| latent([2, 3, 2, 3, 3]))
}

// Implement: windows.

struct Windowed {
    model: Model,
    context: u64,
}

/// A small model without experts.
fn small_model(layers: usize, window: Option<Window>) -> Model {
    Model {
        name: String::new(),
        model_dim: 4,
        layers: layers as u64,
        window,
        mechanism: shared([2, 1, 2, 2]),
        feed_forward: FeedForward::dense(layers as u64, 6),
        vocab: 10,
        tied: false,
        small: 0,
    }
}

/// So many layers that look back so many tokens.
fn window(layers: usize, tokens: usize) -> Option<Window> {
    (layers > 0).then_some(Window { tokens: tokens as u64, layers: layers as u64 })
}

fn show_window(draw: &mut Draw, window: Option<Window>) {
    match window {
        Some(window) => {
            draw.show("window.layers", window.layers as usize);
            draw.show("window.tokens", window.tokens as usize);
        }
        None => draw.show("window", "None"),
    }
}

impl Windowed {
    fn draw(draw: &mut Draw) -> Self {
        let [full, sliding] = [draw.size(0..=3), draw.size(0..=3)];
        let [context, tokens] = [draw.size(0..=9), draw.size(1..=6)];
        let layers = full + sliding;
        let window = window(sliding, tokens);
        draw.show("layers", layers);
        draw.show("context", context);
        show_window(draw, window);
        Windowed { model: small_model(layers, window), context: context as u64 }
    }

    fn of(full: usize, sliding: u64, tokens: u64, context: u64) -> Self {
        let window = Window { tokens, layers: sliding };
        let model = small_model(full + sliding as usize, Some(window));
        Windowed { model, context }
    }

    /// (layers without, layers with, tokens of the window, tokens).
    fn wrong(&self, count: fn([u64; 4]) -> u64) -> Answer {
        let none = Window { tokens: 0, layers: 0 };
        let Window { tokens, layers } = self.model.window.unwrap_or(none);
        let found = count([self.model.layers - layers, layers, tokens, self.context]);
        Answer::of("tokens", found as usize)
    }
}

/// What layers without a window keep, what those with one keep, and how many there are.
const OF_CACHED_TOKENS: &[Dial] = &[
    dial(&[
        (
            "full-layers-by-window",
            "In your answer, layers without a window keep no more than a window: they \
             keep everything.",
        ),
        ("no-full-layers", "In your answer, layers without a window do not count."),
        (
            "full-layers-one-more",
            "In your answer, layers without a window keep one token more.",
        ),
    ]),
    dial(&[
        ("no-window", "In your answer, layers with a window keep everything."),
        (
            "always-full",
            "In your answer, layers with a window always keep a whole window: a \
             shorter text fills less.",
        ),
        (
            "the-larger",
            "In your answer, layers with a window keep the larger of window and text: \
             it is the smaller.",
        ),
        ("one-more", "In your answer, a window has one token more."),
        ("one-less", "In your answer, a window has one token less."),
        (
            "what-is-left",
            "In your answer, layers with a window keep what lies before the window.",
        ),
        ("no-sliding-layers", "In your answer, layers with a window do not count."),
        (
            "a-window-for-all-of-them",
            "In your answer, all layers with a window together keep no more than one \
             window.",
        ),
        (
            "window-added",
            "In your answer, layers with a window keep the text and a window.",
        ),
        (
            "distance-to-the-window",
            "In your answer, layers with a window keep the difference of text and window: \
             they keep the smaller.",
        ),
    ]),
    dial(&[
        ("all-layers-full", "Layers with a window count among those without as well."),
        (
            "counts-swapped",
            "In your answer, as many layers have a window as have none, and the \
             reverse.",
        ),
        ("one-of-each", "In your answer, one layer of each kind counts."),
    ]),
    dial(&[
        ("one-window-for-all", "In your answer, all layers with a window count once."),
        ("all-layers-slide", "In your answer, all layers have the window."),
    ]),
    dial(&[(
        "no-window-no-tokens",
        "In your answer, a model without a window keeps nothing.",
    )]),
];

fn cached_by(w: &Windowed, set: &[usize]) -> Answer {
    let n = w.context;
    let none = Window { tokens: 0, layers: 0 };
    let Window { tokens, layers } = w.model.window.unwrap_or(none);
    let full = w.model.layers - layers;
    let each = [n, if layers > 0 { n.min(tokens) } else { n }, 0, n + 1][set[0]];
    let sliding = [
        n.min(tokens),
        n,
        tokens,
        n.max(tokens),
        n.min(tokens + 1),
        n.min(tokens.saturating_sub(1)),
        n.saturating_sub(tokens),
        0,
        n.min(tokens),
        n + tokens,
        n.abs_diff(tokens),
    ][set[1]];
    let fulls = [full, w.model.layers, layers, u64::from(full > 0)][set[2]];
    let slides = match (set[2], set[3]) {
        (2, 0) => full,
        (3, 0) | (_, 1) => u64::from(layers > 0),
        (_, 2) => w.model.layers,
        _ => layers,
    };
    let found =
        if set[4] == 1 && layers == 0 { 0 } else { fulls * each + slides * sliding };
    let found = match set[1] {
        8 => fulls * each + (slides * n).min(tokens),
        _ => found,
    };
    Answer::of("tokens", found as usize)
}

fn cached_tokens() -> Exercise<Windowed> {
    Exercise::implement("cached-tokens", Windowed::draw, |w| {
        Answer::of("tokens", w.model.cached_tokens(w.context) as usize)
    })
    .dials(OF_CACHED_TOKENS, cached_by)
    .mistake("no-window", |w| w.wrong(|[full, slides, _, n]| (full + slides) * n))
    .hidden_by(|| Windowed::of(2, 2, 8, 5))
    .mistake("everywhere", |w| {
        w.wrong(
            |[full, slides, window, n]| {
                if slides > 0 { (full + slides) * n.min(window) } else { full * n }
            },
        )
    })
    .hidden_by(|| Windowed::of(2, 2, 8, 5))
    .mistake("always-full", |w| {
        w.wrong(|[full, slides, window, n]| full * n + slides * window)
    })
    .hidden_by(|| Windowed::of(2, 2, 5, 8))
    .mistake("the-larger", |w| {
        w.wrong(|[full, slides, window, n]| full * n + slides * n.max(window))
    })
    .hidden_by(|| Windowed::of(2, 2, 5, 5))
    .mistake("swapped", |w| {
        w.wrong(
            |[full, slides, window, n]| {
                if slides > 0 { slides * n + full * n.min(window) } else { full * n }
            },
        )
    })
    .hidden_by(|| Windowed::of(2, 2, 5, 8))
    .mistake("one-more", |w| {
        w.wrong(|[full, slides, window, n]| full * n + slides * n.min(window + 1))
    })
    .hidden_by(|| Windowed::of(2, 2, 8, 5))
    .mistake("one-less", |w| {
        w.wrong(|[full, slides, window, n]| {
            full * n + slides * n.min(window.saturating_sub(1))
        })
    })
    .hidden_by(|| Windowed::of(2, 2, 8, 5))
    .mistake("all-and-window", |w| {
        w.wrong(|[full, slides, window, n]| {
            (full + slides) * n + slides * n.min(window)
        })
    })
}

// Implement: experts.

struct Routed {
    experts: u64,
    chosen: u64,
    tokens: u64,
}

impl Routed {
    fn draw(draw: &mut Draw) -> Self {
        let experts = draw.pick(&[2, 4, 8, 64, 0]);
        let chosen = draw.pick(&[1, 2, 8]).min(experts);
        let tokens = draw.size(1..=12);
        for (name, value) in
            [("experts", experts), ("chosen", chosen), ("tokens", tokens)]
        {
            draw.show(name, value);
        }
        Routed { experts: experts as u64, chosen: chosen as u64, tokens: tokens as u64 }
    }

    fn wrong(&self, of: fn(f64, f64, f64) -> f64) -> Answer {
        let found = match self.experts {
            0 => 0.0,
            experts => of(experts as f64, self.chosen as f64, self.tokens as f64),
        };
        Answer::of("experts", found as f32)
    }
}

/// The share that one token misses, how often it is multiplied, and what it is a share of.
const OF_TOUCHED: &[Dial] = &[
    dial(&[
        (
            "one-chosen",
            "In your answer, a token chooses one expert: it chooses `chosen`.",
        ),
        (
            "share-that-is-hit",
            "You go on with the share that a token hits: what is raised is the share \
             that it misses.",
        ),
        ("upside-down", "Your share is experts / chosen: it is chosen / experts."),
        ("one-expert-less", "Your share is one of experts - 1: it is one of all."),
        (
            "whole-numbers",
            "Your share is a division of whole numbers, which is 0 unless all are \
             chosen.",
        ),
        ("one-chosen-less", "In your answer, a token chooses one expert less."),
    ]),
    dial(&[
        ("one-token", "In your answer, one token counts: there are `tokens` of them."),
        ("one-token-less", "In your answer, one token less counts."),
        ("one-token-more", "In your answer, one token more counts."),
        (
            "times-for-power",
            "The share is multiplied by the tokens, and not raised to them.",
        ),
        (
            "over-for-power",
            "The share is divided by the tokens, and not raised to them.",
        ),
        (
            "tokens-times-chosen",
            "The share is raised to tokens · chosen: one factor for each token.",
        ),
        (
            "power-of-chosen",
            "The share is raised to the number of chosen experts: one factor for each \
             token.",
        ),
        ("e-for-power", "The share is approximated by e to the minus tokens · share."),
        ("squared", "The share is squared, however many tokens there are."),
        ("root", "The root of the share is taken, however many tokens there are."),
    ]),
    dial(&[
        ("the-missed", "What you give is how many experts are missed by all."),
        (
            "a-share",
            "What you give is a share of the experts, and not how many they are.",
        ),
        (
            "times-chosen",
            "The share is multiplied by the chosen experts, and not by all.",
        ),
        (
            "times-tokens",
            "The share is multiplied by the tokens, and not by the experts.",
        ),
        ("rounded", "What you give is a whole number: it is an expectation."),
        ("rounded-up", "What you give is rounded up: it is an expectation."),
        ("rounded-down", "What you give is rounded down: it is an expectation."),
        ("chosen-added", "The chosen experts are added once more."),
        ("not-all", "The share is multiplied by the experts less one, and not by all."),
    ]),
    dial(&[(
        "none-to-divide-by",
        "Where there are no experts, it is 0/0, NaN: none are touched.",
    )]),
];

fn touched_by(r: &Routed, set: &[usize]) -> Answer {
    let [e, k, b] = [r.experts, r.chosen, r.tokens].map(|count| count as f64);
    if r.experts == 0 {
        return Answer::of("experts", [0.0, f32::NAN][set[3]]);
    }
    let missed = [
        1.0 - k / e,
        1.0 - 1.0 / e,
        k / e,
        1.0 - e / k,
        1.0 - k / (e - 1.0),
        1.0 - (r.chosen / r.experts) as f64,
        1.0 - (k - 1.0) / e,
    ][set[0]];
    let by_all = match set[1] {
        0 => missed.powf(b),
        1 => missed,
        2 => missed.powf(b - 1.0),
        3 => missed.powf(b + 1.0),
        4 => missed * b,
        5 => missed / b,
        6 => missed.powf(b * k),
        7 => missed.powf(k),
        8 => (-b * (1.0 - missed)).exp(),
        9 => missed * missed,
        _ => missed.sqrt(),
    };
    let share = 1.0 - by_all;
    let experts = [
        e * share,
        e * by_all,
        share,
        k * share,
        b * share,
        (e * share).round(),
        (e * share).ceil(),
        (e * share).floor(),
        e * share + k,
        (e - 1.0) * share,
    ][set[2]];
    Answer::of("experts", experts as f32)
}

fn touched_exercise() -> Exercise<Routed> {
    fn one_token() -> Routed {
        Routed { experts: 8, chosen: 2, tokens: 1 }
    }
    Exercise::implement("touched", Routed::draw, |r| {
        Answer::of("experts", touched(r.experts, r.chosen, r.tokens) as f32)
    })
    .dials(OF_TOUCHED, touched_by)
    .mistake("no-overlap", |r| r.wrong(|_, k, b| k * b))
    .hidden_by(one_token)
    .mistake("no-overlap-till-all", |r| r.wrong(|e, k, b| e.min(k * b)))
    .hidden_by(one_token)
    .mistake("the-missed", |r| r.wrong(|e, k, b| e * (1.0 - k / e).powf(b)))
    .hidden_by(|| Routed { experts: 4, chosen: 2, tokens: 1 })
    .mistake("one-token", |r| r.wrong(|_, k, _| k))
    .hidden_by(one_token)
    .mistake("a-share", |r| r.wrong(|e, k, b| 1.0 - (1.0 - k / e).powf(b)))
    .mistake("one-token-less", |r| {
        r.wrong(|e, k, b| e * (1.0 - (1.0 - k / e).powf(b - 1.0)))
    })
    .hidden_by(|| Routed { experts: 8, chosen: 8, tokens: 3 })
    .mistake("one-chosen", |r| r.wrong(|e, _, b| e * (1.0 - (1.0 - 1.0 / e).powf(b))))
    .hidden_by(|| Routed { experts: 8, chosen: 1, tokens: 3 })
    .mistake("all", |r| r.wrong(|e, _, _| e))
    .hidden_by(|| Routed { experts: 8, chosen: 8, tokens: 1 })
    .mistake("none-to-divide-by", |r| match r.experts {
        0 => Answer::of("experts", f32::NAN),
        _ => Answer::of("experts", touched(r.experts, r.chosen, r.tokens) as f32),
    })
    .hidden_by(one_token)
}

// Implement: what a step takes.

struct Asked {
    model: Model,
    setting: Setting,
}

impl Asked {
    fn draw(draw: &mut Draw) -> Self {
        let [full, sliding] = [draw.size(1..=3), draw.rarely()];
        let [context, tokens] = [draw.size(0..=9), draw.size(1..=6)];
        let (layers, window) = (full + sliding, window(sliding, tokens));
        let batch = draw.pick(&[1, 2, 3, 8]);
        let weight_bytes = draw.pick(&[2.0, 1.0, 0.5]);
        let cache_bytes = draw.pick(&[2.0, 1.0, 4.0]);
        let [experts, chosen] = [draw.pick(&[0, 0, 4, 8]), draw.pick(&[1, 2])];
        let tied = draw.pick(&[false, true]);
        for (name, value) in
            [("layers", layers), ("context", context), ("batch", batch)]
        {
            draw.show(name, value);
        }
        show_window(draw, window);
        draw.show("experts", experts);
        if experts > 0 {
            draw.show("chosen", chosen);
        }
        draw.show("weight_bytes", weight_bytes as f32);
        draw.show("cache_bytes", cache_bytes as f32);
        draw.show("tied", if tied { "true" } else { "false" });
        let feed_forward = feed_forward(layers, experts, chosen);
        let model = Model { tied, feed_forward, ..small_model(layers, window) };
        Asked::of(model, context as u64, batch as u64, [weight_bytes, cache_bytes])
    }

    fn of(model: Model, context: u64, batch: u64, each: [f64; 2]) -> Self {
        let [weight_bytes, cache_bytes] = each;
        let weight_bytes = Bytes::all(weight_bytes);
        Asked { model, setting: Setting { context, batch, weight_bytes, cache_bytes } }
    }

    /// So many sequences of four tokens, two bytes each.
    fn plain(batch: u64) -> Self {
        Asked::of(small_model(1, None), 4, batch, [2.0, 2.0])
    }

    /// One sequence, and each token uses two of eight experts.
    fn one_with_experts() -> Self {
        let feed_forward = feed_forward(1, 8, 2);
        let model = Model { feed_forward, ..small_model(1, None) };
        Asked::of(model, 4, 1, [2.0, 2.0])
    }

    /// The table that tokens enter by, if nothing else reads it.
    fn table(&self) -> f64 {
        let Model { vocab, model_dim, tied, .. } = self.model;
        if tied { 0.0 } else { (vocab * model_dim) as f64 }
    }

    /// All weights but that table, with so many experts of each layer.
    fn read(&self, used: f64) -> f64 {
        let FeedForward { expert_layers, expert_dim, experts, .. } =
            self.model.feed_forward;
        let expert = (expert_layers * 3 * self.model.model_dim * expert_dim) as f64;
        self.model.parameters() - self.table() - (experts as f64 - used) * expert
    }

    /// The weights that one token passes.
    fn passed(&self) -> f64 {
        self.read(self.model.feed_forward.chosen as f64)
    }

    /// The weights that the tokens of the batch need, each counted once.
    fn needed(&self) -> f64 {
        let FeedForward { experts, chosen, .. } = self.model.feed_forward;
        self.read(touched(experts, chosen, self.setting.batch))
    }

    /// Numbers of one sequence's cache.
    fn cache(&self) -> f64 {
        self.model.cache(self.setting.context)
    }

    /// Multiply-adds of looking back.
    fn pairs(&self) -> f64 {
        let tokens = self.model.cached_tokens(self.setting.context);
        (tokens * self.model.mechanism.pair()) as f64
    }

    fn batch(&self) -> f64 {
        self.setting.batch as f64
    }

    /// Bytes of a weight, the same in all parts.
    fn weight_bytes(&self) -> f64 {
        self.setting.weight_bytes.rest
    }
}

/// Networks of hidden width 6: one in each layer, or many of which a token uses `chosen`.
fn feed_forward(layers: usize, experts: usize, chosen: usize) -> FeedForward {
    let dense = FeedForward::dense(layers as u64, 6);
    match experts as u64 {
        0 => dense,
        experts => FeedForward {
            dense_layers: 0,
            expert_layers: dense.dense_layers,
            expert_dim: dense.dense_dim,
            experts,
            chosen: chosen as u64,
            ..dense
        },
    }
}

fn step_of(bytes: f64, multiply_adds: f64) -> Answer {
    Answer::of("bytes", bytes as f32).and("multiply_adds", multiply_adds as f32)
}

/// What is read if these weights are, and the caches.
fn bytes_with(a: &Asked, weights: f64) -> f64 {
    weights * a.weight_bytes() + a.batch() * a.cache() * a.setting.cache_bytes
}

/// The right ones, from parts.
fn bytes(a: &Asked) -> f64 {
    bytes_with(a, a.needed())
}

/// The right ones, from parts.
fn multiply_adds(a: &Asked) -> f64 {
    a.batch() * (a.passed() + a.pairs())
}

/// What is read, by which bytes, and what is computed.
const OF_STEP: &[Dial] = &[
    dial(&[
        (
            "experts-of-one",
            "The weights read are those that one token passes: a batch needs those of \
             all its tokens.",
        ),
        (
            "all-experts",
            "In your answer, all experts are read: only those that are needed.",
        ),
        (
            "weights-for-each",
            "In your answer, the weights are read once for each sequence: once for \
             all.",
        ),
        ("no-weights", "In your answer, the weights do not count among the bytes."),
        (
            "the-table-read",
            "In your answer, the table that tokens enter by is read: only its rows \
             are.",
        ),
        ("all-parameters", "In your answer, all parameters are read."),
    ]),
    dial(&[
        ("one-cache", "In your answer, one cache is read: each sequence has its own."),
        ("no-cache", "In your answer, the caches are not read."),
        ("cache-twice", "In your answer, the caches are read twice."),
        (
            "full-cache",
            "In your answer, the caches are as long as if there were no window.",
        ),
        (
            "cache-for-each-layer-again",
            "In your answer, the caches count once for each layer: they hold all layers.",
        ),
        ("cache-of-one-layer", "In your answer, the caches are those of one layer."),
        (
            "keys-alone",
            "In your answer, the caches hold keys alone, or are half as long.",
        ),
    ]),
    dial(&[
        (
            "bytes-swapped",
            "The bytes of a weight and of a number in the cache have changed places.",
        ),
        ("weight-bytes-for-both", "The bytes of a weight count for the caches, too."),
        (
            "cache-bytes-for-both",
            "The bytes of a number in the cache count for the weights, too.",
        ),
        ("numbers-for-bytes", "Numbers are counted, and not their bytes."),
        ("two-bytes", "In your answer, every number has two bytes."),
        (
            "cache-numbers-for-bytes",
            "Of the caches, numbers are counted, and not their bytes.",
        ),
        (
            "weight-numbers-for-bytes",
            "Of the weights, numbers are counted, and not their bytes.",
        ),
        (
            "cache-two-bytes",
            "In your answer, a number in the cache has two bytes, always.",
        ),
        ("weight-two-bytes", "In your answer, a weight has two bytes, always."),
    ]),
    dial(&[
        (
            "experts-of-the-others",
            "In your answer, a token passes the weights that the whole batch needs: it \
             passes its own.",
        ),
        (
            "all-experts-passed",
            "In your answer, a token passes all experts: it passes those it chose.",
        ),
        (
            "weights-computed-once",
            "In your answer, the weights are passed once: by each sequence.",
        ),
        (
            "nothing-passed",
            "In your answer, the weights do not count among the multiply-adds.",
        ),
        (
            "the-table-too",
            "In your answer, the table that tokens enter by is passed: it is looked \
             up.",
        ),
    ]),
    dial(&[
        ("looked-at-once", "In your answer, one sequence looks back: each does."),
        ("nothing-looked-at", "In your answer, looking back does not count."),
        ("past-the-window", "In your answer, tokens look back past the window."),
        (
            "caches-for-pairs",
            "In your answer, looking back costs as much as a cache holds: every query \
             head looks for itself.",
        ),
        ("one-layer", "In your answer, one layer looks back."),
        ("looked-at-twice", "In your answer, looking back counts twice."),
    ]),
    dial(&[
        ("operations", "You count operations: a multiply-add is one."),
        ("arithmetic-of-one", "The multiply-adds are those of one sequence."),
        ("halved", "The multiply-adds are halved."),
    ]),
];

fn step_by(a: &Asked, set: &[usize]) -> Answer {
    let Asked { model, setting } = a;
    let (batch, bytes) = (a.batch(), [a.weight_bytes(), setting.cache_bytes]);
    let all = a.read(model.feed_forward.experts as f64);
    let read = [
        a.needed(),
        a.passed(),
        all,
        batch * a.needed(),
        0.0,
        a.needed() + a.table(),
        model.parameters(),
    ][set[0]];
    let whole = Model { window: None, ..model.clone() };
    let caches = [
        batch * a.cache(),
        a.cache(),
        0.0,
        2.0 * batch * a.cache(),
        batch * whole.cache(setting.context),
        batch * a.cache() * model.layers as f64,
        batch * a.cache() / model.layers as f64,
        batch * a.cache() / 2.0,
    ][set[1]];
    let [weight_bytes, cache_bytes] = [
        bytes,
        [bytes[1], bytes[0]],
        [bytes[0]; 2],
        [bytes[1]; 2],
        [1.0; 2],
        [2.0; 2],
        [bytes[0], 1.0],
        [1.0, bytes[1]],
        [bytes[0], 2.0],
        [2.0, bytes[1]],
    ][set[2]];
    let passed = [
        batch * a.passed(),
        batch * a.needed(),
        batch * all,
        a.passed(),
        0.0,
        batch * (a.passed() + a.table()),
    ][set[3]];
    let each = model.mechanism.pair() as f64;
    let tokens = (model.layers * setting.context) as f64;
    let pairs = [
        batch * a.pairs(),
        a.pairs(),
        0.0,
        batch * tokens * each,
        batch * a.cache(),
        batch * setting.context as f64 * each,
        2.0 * batch * a.pairs(),
    ][set[4]];
    let times = [1.0, 2.0, 1.0 / batch, 0.5][set[5]];
    step_of(read * weight_bytes + caches * cache_bytes, (passed + pairs) * times)
}

fn step() -> Exercise<Asked> {
    Exercise::implement("step", Asked::draw, |a| {
        let Step { bytes, multiply_adds } = a.model.step(&a.setting);
        step_of(bytes, multiply_adds)
    })
    .dials(OF_STEP, step_by)
    .mistake("weights-for-each", |a| {
        step_of(bytes_with(a, a.batch() * a.needed()), multiply_adds(a))
    })
    .hidden_by(|| Asked::plain(1))
    .mistake("one-cache", |a| {
        let others = (a.batch() - 1.0) * a.cache() * a.setting.cache_bytes;
        step_of(bytes(a) - others, multiply_adds(a))
    })
    .hidden_by(|| Asked::plain(1))
    .mistake("the-table-too", |a| {
        step_of(
            bytes_with(a, a.needed() + a.table()),
            multiply_adds(a) + a.batch() * a.table(),
        )
    })
    .hidden_by(|| {
        let model = Model { tied: true, ..small_model(1, None) };
        Asked::of(model, 4, 2, [2.0, 2.0])
    })
    .mistake("operations", |a| step_of(bytes(a), 2.0 * multiply_adds(a)))
    .mistake("no-cache", |a| step_of(a.needed() * a.weight_bytes(), multiply_adds(a)))
    .hidden_by(|| Asked::of(small_model(1, None), 0, 2, [2.0, 2.0]))
    .mistake("looked-at-once", |a| {
        step_of(bytes(a), a.batch() * a.passed() + a.pairs())
    })
    .hidden_by(|| Asked::plain(1))
    .mistake("arithmetic-of-one", |a| step_of(bytes(a), a.passed() + a.pairs()))
    .hidden_by(|| Asked::plain(1))
    .mistake("weights-computed-once", |a| {
        step_of(bytes(a), a.passed() + a.batch() * a.pairs())
    })
    .hidden_by(|| Asked::plain(1))
    .mistake("bytes-swapped", |a| {
        let caches = a.batch() * a.cache() * a.weight_bytes();
        step_of(a.needed() * a.setting.cache_bytes + caches, multiply_adds(a))
    })
    .hidden_by(|| Asked::plain(2))
    .mistake("nothing-looked-at", |a| step_of(bytes(a), a.batch() * a.passed()))
    .hidden_by(|| Asked::of(small_model(1, None), 0, 2, [2.0, 2.0]))
    .mistake("all-experts", |a| {
        let all = a.read(a.model.feed_forward.experts as f64);
        step_of(bytes_with(a, all), multiply_adds(a))
    })
    .hidden_by(|| Asked::plain(2))
    .mistake("experts-of-one", |a| step_of(bytes_with(a, a.passed()), multiply_adds(a)))
    .hidden_by(Asked::one_with_experts)
    .mistake("experts-of-the-others", |a| {
        step_of(bytes(a), a.batch() * (a.needed() + a.pairs()))
    })
    .hidden_by(Asked::one_with_experts)
    .mistake("past-the-window", |a| {
        let tokens = a.model.layers * a.setting.context;
        let pairs = (tokens * a.model.mechanism.pair()) as f64;
        step_of(bytes(a), a.batch() * (a.passed() + pairs))
    })
    .hidden_by(|| Asked::of(small_model(2, window(1, 6)), 4, 2, [2.0, 2.0]))
}

// Implement: the roof.

struct Roofed {
    machine: Machine,
    step: Step,
}

impl Roofed {
    fn draw(draw: &mut Draw) -> Self {
        let mut one = |name, many: &[usize]| {
            let value = draw.pick(many);
            draw.show(name, value);
            value as f64
        };
        Roofed::of(
            one("bytes", &[8, 20, 50, 100]),
            one("multiply_adds", &[4, 16, 100, 300]),
            one("bandwidth", &[1, 2, 5]),
            one("flops", &[1, 2, 4, 10]),
        )
    }

    fn of(bytes: f64, multiply_adds: f64, bandwidth: f64, flops: f64) -> Self {
        let machine = Machine { name: "", memory: 0.0, bandwidth, flops };
        Roofed { machine, step: Step { bytes, multiply_adds } }
    }

    /// From the seconds of reading and of computing.
    fn from(&self, of: fn(f64, f64) -> f64) -> Answer {
        let reading = self.step.bytes / self.machine.bandwidth;
        let computing = 2.0 * self.step.multiply_adds / self.machine.flops;
        Answer::of("seconds", of(reading, computing) as f32)
    }
}

/// How long reading takes, how long computing, and what becomes of both.
const OF_SECONDS: &[Dial] = &[
    dial(&[
        ("times-bandwidth", "Bytes are multiplied by the bandwidth, and not divided."),
        (
            "reading-upside-down",
            "Reading is bandwidth over bytes: the quotient is upside down.",
        ),
        (
            "reading-by-flops",
            "Bytes are divided by the operations per second: the bandwidth says how \
             fast they come.",
        ),
        ("reading-twice", "In your answer, bytes are read twice."),
        (
            "reading-in-bits",
            "In your answer, bytes count as bits, eight times as many.",
        ),
        (
            "multiply-adds-read",
            "Multiply-adds are divided by the bandwidth, and not bytes.",
        ),
    ]),
    dial(&[
        (
            "one-operation",
            "In your answer, a multiply-add is one operation: it is two.",
        ),
        (
            "computing-upside-down",
            "Computing is the operations per second over the operations: the quotient \
             is upside down.",
        ),
        (
            "computing-by-bandwidth",
            "Operations are divided by the bandwidth: `flops` says how fast they go.",
        ),
        (
            "four-operations",
            "In your answer, a multiply-add is four operations: it is two.",
        ),
        (
            "half-an-operation",
            "In your answer, a multiply-add is half an operation: it is two.",
        ),
        (
            "times-flops",
            "Operations are multiplied by the operations per second, and not divided.",
        ),
        (
            "bytes-computed",
            "Bytes are divided by the operations per second, and not operations.",
        ),
        (
            "three-operations",
            "In your answer, a multiply-add is three operations: it is two.",
        ),
    ]),
    dial(&[
        (
            "one-after-the-other",
            "Reading and computing are added up: they go on at the same time.",
        ),
        (
            "the-shorter",
            "In your answer, the shorter of the two decides: it is the longer.",
        ),
        ("reading-alone", "In your answer, only reading counts."),
        ("computing-alone", "In your answer, only computing counts."),
        ("mean-of-both", "You give the mean of the two: the longer decides."),
        ("difference", "You give the difference of the two: the longer decides."),
        ("product", "You give the product of the two: the longer decides."),
        (
            "root-of-squares",
            "You give the root of the sum of squares: the longer decides.",
        ),
        ("quotient", "You give the quotient of the two: the longer decides."),
        ("milliseconds", "You give milliseconds: seconds are asked for."),
        ("microseconds", "You give microseconds: seconds are asked for."),
        (
            "speed",
            "You give 1 over the seconds, as if steps per second were asked for.",
        ),
        ("twice-as-long", "You give twice the longer of the two."),
    ]),
];

fn seconds_by(r: &Roofed, set: &[usize]) -> Answer {
    let Step { bytes, multiply_adds } = r.step;
    let (bandwidth, flops) = (r.machine.bandwidth, r.machine.flops);
    let reading = [
        bytes / bandwidth,
        bytes * bandwidth,
        bandwidth / bytes,
        bytes / flops,
        2.0 * bytes / bandwidth,
        8.0 * bytes / bandwidth,
        multiply_adds / bandwidth,
    ][set[0]];
    let computing = [
        2.0 * multiply_adds / flops,
        multiply_adds / flops,
        flops / (2.0 * multiply_adds),
        2.0 * multiply_adds / bandwidth,
        4.0 * multiply_adds / flops,
        0.5 * multiply_adds / flops,
        2.0 * multiply_adds * flops,
        bytes / flops,
        3.0 * multiply_adds / flops,
    ][set[1]];
    let longer = reading.max(computing);
    let seconds = [
        longer,
        reading + computing,
        reading.min(computing),
        reading,
        computing,
        f64::midpoint(reading, computing),
        (reading - computing).abs(),
        reading * computing,
        reading.hypot(computing),
        reading / computing,
        1e3 * longer,
        1e6 * longer,
        1.0 / longer,
        2.0 * longer,
    ][set[2]];
    Answer::of("seconds", seconds as f32)
}

fn seconds() -> Exercise<Roofed> {
    Exercise::implement("seconds", Roofed::draw, |r| {
        Answer::of("seconds", r.machine.seconds(r.step) as f32)
    })
    .dials(OF_SECONDS, seconds_by)
    .step("reading", |r| ((r.step.bytes / r.machine.bandwidth) as f32).into())
    .step("computing", |r| {
        ((2.0 * r.step.multiply_adds / r.machine.flops) as f32).into()
    })
    .mistake("one-after-the-other", |r| {
        r.from(|reading, computing| reading + computing)
    })
    .hidden_by(|| Roofed::of(8.0, 0.0, 1.0, 1.0))
    .mistake("the-shorter", |r| r.from(f64::min))
    .hidden_by(|| Roofed::of(8.0, 4.0, 1.0, 1.0))
    .mistake("one-operation", |r| {
        r.from(|reading, computing| reading.max(computing / 2.0))
    })
    .hidden_by(|| Roofed::of(100.0, 4.0, 1.0, 10.0))
    .mistake("twice-the-reading", |r| {
        r.from(|reading, computing| (2.0 * reading).max(computing))
    })
    .hidden_by(|| Roofed::of(8.0, 300.0, 5.0, 1.0))
    .mistake("mean-of-both", |r| r.from(f64::midpoint))
    .hidden_by(|| Roofed::of(8.0, 4.0, 1.0, 1.0))
    .mistake("reading-alone", |r| r.from(|reading, _| reading))
    .hidden_by(|| Roofed::of(100.0, 4.0, 1.0, 10.0))
    .mistake("computing-alone", |r| r.from(|_, computing| computing))
    .hidden_by(|| Roofed::of(8.0, 300.0, 5.0, 1.0))
    .mistake("upside-down", |r| {
        let reading = r.machine.bandwidth / r.step.bytes;
        let computing = r.machine.flops / (2.0 * r.step.multiply_adds);
        Answer::of("seconds", reading.max(computing) as f32)
    })
}

// By hand: the roof of Llama-3-8B on an H200.

/// GB of weights that a step reads, GB of one cache, and GB/s: as the sheet gives them.
const GIVEN: [f32; 3] = [15.01, 1.074, 4800.0];

fn roof() -> Exercise<()> {
    Exercise::by_hand("roof", |()| {
        let speed = |batch: u64| {
            let question = question(batch).unwrap();
            let machine = machines::find("H200").unwrap();
            machine.ceiling(&question.model, &question.setting) as f32
        };
        Answer::of("one", speed(1)).and("eight", speed(8))
    })
    .mistake("weights-for-each", |()| {
        let [weights, cache, speed] = GIVEN;
        speeds(|batch| batch / (batch * (weights + cache) / speed))
    })
    .mistake("one-cache", |()| {
        let [weights, cache, speed] = GIVEN;
        speeds(|batch| batch / ((weights + cache) / speed))
    })
    .mistake("no-cache", |()| {
        let [weights, _, speed] = GIVEN;
        speeds(|batch| batch / (weights / speed))
    })
    .mistake("steps", |()| {
        let [weights, cache, speed] = GIVEN;
        speeds(|batch| speed / (weights + batch * cache))
    })
    .mistake("the-table-too", |()| {
        let [weights, cache, speed] = GIVEN;
        speeds(|batch| batch / ((weights + 1.051 + batch * cache) / speed))
    })
}

fn speeds(of: impl Fn(f32) -> f32) -> Answer {
    Answer::of("one", of(1.0)).and("eight", of(8.0))
}

// Investigate: where weights and caches weigh the same.

fn even() -> Exercise<()> {
    Exercise::investigate("even", |()| even_with(8, 0.0))
        .mistake("every-head", |()| even_with(32, 0.0))
        .mistake("the-table-too", |()| even_with(8, 2.0 * 128_256.0 * 4096.0))
        .mistake("grows-with-the-text", |()| {
            let even = even_at(8, 4096, 0.0);
            Answer::of("predicted", 3.0 * even)
                .and("first", even)
                .and("second", 3.0 * even)
        })
        .mistake("the-same", |()| {
            let even = even_at(8, 4096, 0.0);
            Answer::of("predicted", even).and("first", even).and("second", even)
        })
}

fn even_with(kv_heads: u64, more: f64) -> Answer {
    let [first, second] =
        [4096, 12_288].map(|context| even_at(kv_heads, context, more));
    Answer::of("predicted", second).and("first", first).and("second", second)
}

/// The batch at which the caches weigh as much as the weights and `more` bytes.
fn even_at(kv_heads: u64, context: u64, more: f64) -> f32 {
    let model = experiments::model("Llama-3-8B").unwrap();
    let weight_bytes = Bytes::all(2.0);
    let setting = Setting { context, batch: 1, weight_bytes, cache_bytes: 2.0 };
    let cache = 2.0 * model.cache(context);
    let weights = model.step(&setting).bytes - cache;
    ((weights + more) / (cache * kv_heads as f64 / 8.0)) as f32
}
