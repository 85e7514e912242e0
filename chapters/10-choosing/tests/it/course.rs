//! The chapter's exercises: what they ask, and what people answer instead. `course.toml`
//! has the words.

use checkpoint::Bytes;
use choosing::experiments::{self, question};
use choosing::{FeedForward, Machine, Mechanism, Model, Setting, Step, touched};
use exercises::{Answer, Draw, Exercise, Exercises};
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

// By hand: the cache of Llama-3-8B.

fn cache() -> Exercise<()> {
    Exercise::by_hand("cache", |()| cache_of(32.0, 8.0, 2.0, 2.0))
        .mistake("query-heads", |()| cache_of(32.0, 32.0, 2.0, 2.0))
        .mistake("keys-alone", |()| cache_of(32.0, 8.0, 1.0, 2.0))
        .mistake("one-layer", |()| cache_of(1.0, 8.0, 2.0, 2.0))
        .mistake("four-bytes", |()| cache_of(32.0, 8.0, 2.0, 4.0))
        .mistake("thousands", |()| {
            let bytes = 32.0 * 8.0 * 128.0 * 4.0;
            Answer::of("token", bytes / 1e3).and("text", bytes * 8192.0 / 1e9)
        })
}

/// KiB of a token and GiB of a text, for so many layers, heads, matrices and bytes.
fn cache_of(layers: f32, heads: f32, matrices: f32, each: f32) -> Answer {
    let token = layers * heads * 128.0 * matrices * each / 1024.0;
    Answer::of("token", token).and("text", token * 8192.0 / 1024.0 / 1024.0)
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
        latent([heads, width, 2 * rope, v_dim, rank])
    }
}

fn shared(sizes: [usize; 4]) -> Mechanism {
    let [heads, kv_heads, qk_dim, v_dim] = sizes.map(|size| size as u64);
    Mechanism::Shared { heads, kv_heads, qk_dim, v_dim }
}

fn latent(sizes: [usize; 5]) -> Mechanism {
    let [heads, nope_dim, rope_dim, v_dim, lora_rank] = sizes.map(|size| size as u64);
    let q_lora_rank = None;
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

fn kept() -> Exercise<Mechanism> {
    let right: fn(&Mechanism) -> Answer = |m| numbers(m.kept());
    Exercise::implement("kept", some_mechanism, right)
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
}

fn pair() -> Exercise<Mechanism> {
    Exercise::implement("pair", some_mechanism, |m| numbers(m.pair()))
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

fn cached_tokens() -> Exercise<Windowed> {
    Exercise::implement("cached-tokens", Windowed::draw, |w| {
        Answer::of("tokens", w.model.cached_tokens(w.context) as usize)
    })
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

fn touched_exercise() -> Exercise<Routed> {
    fn one_token() -> Routed {
        Routed { experts: 8, chosen: 2, tokens: 1 }
    }
    Exercise::implement("touched", Routed::draw, |r| {
        Answer::of("experts", touched(r.experts, r.chosen, r.tokens) as f32)
    })
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

fn step() -> Exercise<Asked> {
    Exercise::implement("step", Asked::draw, |a| {
        let Step { bytes, multiply_adds } = a.model.step(&a.setting);
        step_of(bytes, multiply_adds)
    })
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

fn seconds() -> Exercise<Roofed> {
    Exercise::implement("seconds", Roofed::draw, |r| {
        Answer::of("seconds", r.machine.seconds(r.step) as f32)
    })
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

// By hand: the roof of Llama-3-8B on an H100.

/// GB of weights that a step reads, GB of one cache, and GB/s: as the sheet gives them.
const GIVEN: [f32; 3] = [15.01, 1.074, 3350.0];

fn roof() -> Exercise<()> {
    Exercise::by_hand("roof", |()| {
        let speed = |batch: u64| {
            let question = question(batch).unwrap();
            question.machine.ceiling(&question.model, &question.setting) as f32
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
        .mistake("twice", |()| {
            let even = even_at(8, 8192, 0.0);
            Answer::of("predicted", 2.0 * even)
                .and("first", even)
                .and("second", 2.0 * even)
        })
        .mistake("the-same", |()| {
            let even = even_at(8, 8192, 0.0);
            Answer::of("predicted", even).and("first", even).and("second", even)
        })
}

fn even_with(kv_heads: u64, more: f64) -> Answer {
    let [first, second] =
        [8192, 16_384].map(|context| even_at(kv_heads, context, more));
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
