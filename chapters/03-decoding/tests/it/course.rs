//! The chapter's exercises: what they ask, and what people answer instead. `course.toml`
//! has the words.

use attention::{Linear, Mask, scores, softmax};
use decoding::experiments::{Work, real_layer, toy};
use decoding::{CacheError, KvCache, decode, prefill};
use exercises::{
    Answer, Dial, Draw, Exercise, Exercises, Found, Headed, Looks, Sees, Value,
    attempt, dial, does_not_fit, under_one_another,
};
use multi_head::{
    Heads, MultiHeadAttended, MultiHeadAttention, Projected, attend_heads,
};
use nalgebra::{DMatrix, dmatrix};

#[test]
fn the_exercises_keep_their_promises() {
    let folder = env!("CARGO_MANIFEST_DIR");
    println!("{}", exercises::prove(folder, &exercises()).unwrap());
}

/// In the order of `course.toml`.
pub fn exercises() -> Exercises {
    Exercises::new()
        .with(fourth_token())
        .with(append())
        .with(prefill_exercise())
        .with(decode_exercise())
        .with(cost())
        .with(window())
}

// By hand: a fourth token.

fn fourth_token() -> Exercise<()> {
    Exercise::by_hand("by-hand", |()| fourth(4, 1.0))
        .mistake("appended-late", |()| fourth(3, 1.0))
        .mistake("top-left", |()| fourth(1, 1.0))
        .mistake("unscaled", |()| fourth(4, 2.0))
        .mistake("over-d-k", |()| fourth(4, 0.5))
}

/// The fourth of `sun`, `moon`, `both`, `sun`, if it sees so many keys and its scores are
/// so many times what they should be.
fn fourth(seen: usize, factor: f32) -> Answer {
    let (x, layer) = toy().unwrap();
    let x = DMatrix::from_fn(4, 2, |i, j| x[(i % 3, j)]);
    let Projected { q, k, v } = layer.project(&x, &x).unwrap();
    let scores = scores(q.rows(3, 1), k.as_view()).unwrap() * factor;
    let mut hidden = scores.clone();
    hidden.columns_mut(seen, 4 - seen).fill(f32::NEG_INFINITY);
    let weights = softmax(hidden);
    let output = &weights * v;
    Answer::of("scores", scores).and("weights", weights).and("output", output)
}

// Implement: what the cache keeps.

struct Kept {
    capacity: usize,
    widths: (usize, usize),
    /// Keys and values that arrive together.
    chunks: Vec<(DMatrix<f32>, DMatrix<f32>)>,
}

/// A cache that anything may happen to.
struct Open {
    keys: DMatrix<f32>,
    values: DMatrix<f32>,
    len: usize,
}

impl Open {
    fn fits(&self, keys: &DMatrix<f32>, values: &DMatrix<f32>) -> bool {
        keys.ncols() == self.keys.ncols()
            && values.shape() == (keys.nrows(), self.values.ncols())
    }

    fn room(&self) -> usize {
        self.keys.nrows() - self.len
    }

    fn copy(&mut self, at: usize, keys: &DMatrix<f32>, values: &DMatrix<f32>) {
        self.keys.rows_mut(at, keys.nrows()).copy_from(keys);
        self.values.rows_mut(at, values.nrows()).copy_from(values);
    }
}

impl Kept {
    fn draw(draw: &mut Draw) -> Self {
        let widths = (draw.size(1..=3), draw.size(1..=3));
        let capacity = draw.size(1..=6);
        let (more_key, more_value, extra) = draw.pick(&[
            (0, 0, 0),
            (0, 0, 0),
            (0, 0, 0),
            (1, 0, 0),
            (0, 1, 0),
            (0, 0, 1),
        ]);
        draw.show("capacity", capacity);
        let chunks = (0..draw.size(1..=3)).map(|chunk| {
            // One by one, several, and now and then none at all.
            let tokens = draw.tokens(4);
            // The first chunk fits, so that there is something to lose.
            let odd = usize::from(chunk > 0);
            let (more_key, more_value, extra) =
                (odd * more_key, odd * more_value, odd * extra);
            let mut drawn = |name: &str, rows, columns| {
                draw.matrix(&format!("{name} of chunk {chunk}"), rows, columns)
            };
            let keys = drawn("keys", tokens, widths.0 + more_key);
            (keys, drawn("values", tokens + extra, widths.1 + more_value))
        });
        let chunks = chunks.collect();
        Kept { capacity, widths, chunks }
    }

    fn answer(&self) -> Answer {
        let mut cache = KvCache::new(self.capacity, self.widths.0, self.widths.1);
        let mut answer = Answer::default();
        for (chunk, (keys, values)) in self.chunks.iter().enumerate() {
            let appended = attempt(|| cache.append(keys, values).map(|()| cache.len()));
            answer = answer.and(&format!("tokens kept after chunk {chunk}"), appended);
        }
        // Also what a panic leaves behind, which may not be readable.
        answer
            .and("keys", attempt(|| Value::from(&cache.keys())))
            .and("values", attempt(|| Value::from(&cache.values())))
    }

    /// The same with another way to append, which answers whether it was done.
    fn kept(
        &self,
        append: fn(&mut Open, &DMatrix<f32>, &DMatrix<f32>) -> bool,
    ) -> Answer {
        self.kept_by(append)
    }

    fn kept_by(
        &self,
        append: impl Fn(&mut Open, &DMatrix<f32>, &DMatrix<f32>) -> bool,
    ) -> Answer {
        let zeros = |width| DMatrix::zeros(self.capacity, width);
        let (keys, values) = (zeros(self.widths.0), zeros(self.widths.1));
        let mut cache = Open { keys, values, len: 0 };
        let mut answer = Answer::default();
        for (chunk, (keys, values)) in self.chunks.iter().enumerate() {
            let appended = attempt(|| {
                let done = append(&mut cache, keys, values);
                done.then_some(cache.len).ok_or("refused")
            });
            answer = answer.and(&format!("tokens kept after chunk {chunk}"), appended);
        }
        let Open { keys, values, len } = cache;
        answer
            .and("keys", attempt(|| Value::from(&keys.rows(0, len))))
            .and("values", attempt(|| Value::from(&values.rows(0, len))))
    }
}

/// What is asked first, where it goes, and what is counted.
const OF_APPEND: &[Dial] = &[
    dial(&[
        ("keys-unchecked", "The width of the keys is not checked."),
        (
            "keys-against-values",
            "The width of the keys is compared with that of the values' cache.",
        ),
    ]),
    dial(&[
        ("values-unchecked", "The shape of the values is not checked."),
        (
            "values-width-alone",
            "Of the values, only the width is checked: there has to be one for each \
             key.",
        ),
        (
            "values-rows-alone",
            "Of the values, only the number is checked: they have to be as wide as the \
             cache.",
        ),
        (
            "values-against-keys",
            "The values are compared with the width of the keys' cache.",
        ),
    ]),
    dial(&[
        ("room-unchecked", "Whether there is room is not checked."),
        (
            "room-of-an-empty-cache",
            "A chunk is compared with the whole capacity, and not with what is left of \
             it.",
        ),
        (
            "last-row-never-used",
            "A chunk that would just fit is refused: the last row may be used.",
        ),
        (
            "one-row-too-many",
            "A chunk with one token more than there is room for is let through.",
        ),
        (
            "room-once-full",
            "Only a cache that is full already refuses a chunk: it also has to fit \
             into what is left.",
        ),
        ("room-for-one", "You ask for room for one token, not for all of the chunk."),
        (
            "room-by-width",
            "You ask for room for as many rows as a key has features, not for the tokens.",
        ),
        (
            "room-by-length",
            "A chunk is compared with the tokens that are in the cache, and not with the \
             rows that are left.",
        ),
        (
            "empty-chunk-refused",
            "A chunk without tokens is refused: there is room for it, and nothing to do.",
        ),
        ("one-token-at-most", "A chunk of several tokens is refused, though it fits."),
        (
            "room-by-width-of-values",
            "The room is what a value is wide, and not the capacity.",
        ),
    ]),
    dial(&[
        ("keys-in-row-0", "Keys go into the first rows each time."),
        (
            "keys-one-row-early",
            "Keys begin one row early, on the last one that was kept.",
        ),
        ("keys-one-row-late", "Keys begin one row late: a row is left empty."),
        ("keys-at-the-end", "Keys go into the last rows of the cache."),
        ("keys-not-kept", "Keys are not copied."),
    ]),
    dial(&[
        ("values-in-row-0", "Values go into the first rows each time."),
        (
            "values-one-row-early",
            "Values begin one row early, on the last one that was kept.",
        ),
        ("values-one-row-late", "Values begin one row late: a row is left empty."),
        ("values-at-the-end", "Values go into the last rows of the cache."),
        ("values-not-kept", "Values are not copied."),
        (
            "values-behind-the-chunk",
            "Values begin where the chunk should end: the length was counted before.",
        ),
    ]),
    dial(&[
        ("keys-as-values", "The keys are copied into the values' place as well."),
        ("values-as-keys", "The values are copied into the keys' place as well."),
        ("keys-and-values-swapped", "Keys go where values belong, and the reverse."),
        ("chunk-reversed", "The rows of a chunk are written in the opposite order."),
        ("first-row-alone", "Of a chunk, only the first row is written."),
        (
            "last-row-alone",
            "Of a chunk, only the last row is written, in the first place.",
        ),
        ("first-row-for-all", "All rows of a chunk are written as its first one."),
        ("last-row-for-all", "All rows of a chunk are written as its last one."),
    ]),
    dial(&[
        ("not-counted", "The length stays as it was."),
        ("counted-by-one", "The length grows by one, whatever the chunk."),
        (
            "length-of-the-chunk",
            "The length becomes that of the chunk, and is not added to.",
        ),
        ("counted-twice", "The length grows by twice the chunk."),
        ("counted-along-features", "The length grows by the width of the keys."),
        ("counted-as-full", "The length becomes the capacity."),
        ("counted-along-values", "The length grows by the width of the values."),
        ("one-too-few", "The length grows by one less than the chunk."),
        ("one-too-many", "The length grows by one more than the chunk."),
    ]),
    dial(&[
        (
            "moved-before-the-checks",
            "The length moves before the checks: what is refused counts all the same.",
        ),
        (
            "moved-before-the-room",
            "The length moves before the room is checked: what does not fit counts all \
             the same.",
        ),
        (
            "written-before-the-room",
            "Rows are written before the room is checked: a chunk that does not fit \
             stops in the middle.",
        ),
        (
            "moved-before-writing",
            "The length moves before the rows are written, so that they begin where \
             the chunk should end.",
        ),
        (
            "filled-before-refusing",
            "A chunk that does not fit is written as far as it does, and counted, \
             before the error.",
        ),
    ]),
    dial(&[
        (
            "nothing-where-there-is-no-room",
            "Where there is no room, nothing is kept and nothing is said: it is an \
             error.",
        ),
        (
            "starts-over",
            "Where there is no room, the cache starts over at row 0: it is an error.",
        ),
    ]),
];

/// Where a chunk begins, for a setting; nothing where it is not written.
fn start_by(setting: usize, cache: &Open, tokens: usize) -> Option<usize> {
    match setting {
        0 => Some(cache.len),
        1 => Some(0),
        2 => Some(cache.len.saturating_sub(1)),
        3 => Some(cache.len + 1),
        4 => Some(cache.keys.nrows() - tokens),
        6 => Some(cache.len + tokens),
        _ => None,
    }
}

/// The length after a chunk.
fn counted_by(setting: usize, cache: &Open, keys: &DMatrix<f32>) -> usize {
    let (len, tokens) = (cache.len, keys.nrows());
    match setting {
        0 => len + tokens,
        1 => len,
        2 => len + 1,
        3 => tokens,
        4 => len + 2 * tokens,
        5 => len + keys.ncols(),
        6 => cache.keys.nrows(),
        7 => len + cache.values.ncols(),
        8 => len + tokens.saturating_sub(1),
        _ => len + tokens + 1,
    }
}

fn shapes_fit(set: &[usize], cache: &Open, k: &DMatrix<f32>, v: &DMatrix<f32>) -> bool {
    let (key_width, value_width) = (cache.keys.ncols(), cache.values.ncols());
    let keys = match set[0] {
        0 => k.ncols() == key_width,
        1 => true,
        _ => k.ncols() == value_width,
    };
    keys && match set[1] {
        0 => v.shape() == (k.nrows(), value_width),
        1 => true,
        2 => v.ncols() == value_width,
        3 => v.nrows() == k.nrows(),
        _ => v.shape() == (k.nrows(), key_width),
    }
}

fn has_room(setting: usize, cache: &Open, keys: &DMatrix<f32>) -> bool {
    let (capacity, len, tokens) = (cache.keys.nrows(), cache.len, keys.nrows());
    match setting {
        0 => len + tokens <= capacity,
        1 => true,
        2 => tokens <= capacity,
        3 => len + tokens < capacity,
        4 => len + tokens <= capacity + 1,
        5 => len < capacity,
        7 => len + keys.ncols() <= capacity,
        8 => tokens <= len,
        9 => len + tokens <= capacity && tokens > 0,
        10 => len + tokens <= capacity && tokens <= 1,
        11 => len + tokens <= cache.values.ncols(),
        _ => len < capacity || tokens == 0,
    }
}

/// The rows of a chunk that are written, for a setting.
fn rows_by(setting: usize, of: &DMatrix<f32>) -> DMatrix<f32> {
    let last = of.nrows().saturating_sub(1);
    let picked = |from: &dyn Fn(usize) -> usize| {
        DMatrix::from_fn(of.nrows(), of.ncols(), |i, j| of[(from(i), j)])
    };
    match setting {
        4 => picked(&|i| last - i),
        5 => of.rows(0, of.nrows().min(1)).into_owned(),
        6 => of.rows(last, of.nrows() - last).into_owned(),
        7 => picked(&|_| 0),
        8 => picked(&|_| last),
        _ => of.clone(),
    }
}

/// Keys and values written as the settings say.
fn write_by(
    set: &[usize],
    cache: &mut Open,
    k: &DMatrix<f32>,
    v: &DMatrix<f32>,
    from: usize,
) {
    let [keys, values] = match set[5] {
        1 => [k, k],
        2 => [v, v],
        3 => [v, k],
        _ => [k, v],
    };
    let [keys, values] = [keys, values].map(|of| rows_by(set[5], of));
    let (tokens, written) = (k.nrows(), keys.nrows());
    let open =
        Open { len: from, keys: cache.keys.clone(), values: cache.values.clone() };
    if let Some(at) = start_by(set[3], &open, tokens) {
        cache.keys.rows_mut(at, written).copy_from(&keys);
    }
    if let Some(at) = start_by(set[4], &open, tokens) {
        cache.values.rows_mut(at, values.nrows()).copy_from(&values);
    }
}

/// One chunk, as the settings say; whether it was taken.
fn append_by(
    set: &[usize],
    cache: &mut Open,
    k: &DMatrix<f32>,
    v: &DMatrix<f32>,
) -> bool {
    let before = cache.len;
    let after = counted_by(set[6], cache, k);
    if set[7] == 1 {
        cache.len = after;
    }
    if !shapes_fit(set, cache, k, v) {
        return false;
    }
    if set[7] == 2 {
        cache.len = after;
    }
    if set[7] == 3 {
        write_by(set, cache, k, v, before);
    }
    let looked =
        Open { len: before, keys: cache.keys.clone(), values: cache.values.clone() };
    if !has_room(set[2], &looked, k) {
        return no_room(set, cache, k, v);
    }
    let from = if set[7] == 4 { after } else { before };
    if set[4] == 6 {
        // The keys are there and counted when the values go astray.
        cache.len = after;
    }
    write_by(set, cache, k, v, from);
    cache.len = after;
    true
}

fn no_room(
    set: &[usize],
    cache: &mut Open,
    k: &DMatrix<f32>,
    v: &DMatrix<f32>,
) -> bool {
    match set[8] {
        1 => true,
        2 => {
            cache.copy(0, k, v);
            cache.len = k.nrows();
            true
        }
        _ if set[7] == 5 => {
            let fit = cache.room();
            let cut = |m: &DMatrix<f32>| m.rows(0, fit).into_owned();
            cache.copy(cache.len, &cut(k), &cut(v));
            cache.len += fit;
            false
        }
        _ => false,
    }
}

#[expect(clippy::too_many_lines, reason = "a catalogue: one entry after the other")]
fn append() -> Exercise<Kept> {
    Exercise::implement("append", Kept::draw, Kept::answer)
        .dials(OF_APPEND, |p, set| p.kept_by(|cache, k, v| append_by(set, cache, k, v)))
        .mistake("not-counted", |p| {
            p.kept(|cache, k, v| {
                let fits = cache.fits(k, v) && k.nrows() <= cache.room();
                if fits {
                    cache.copy(cache.len, k, v);
                }
                fits
            })
        })
        .hidden_by(no_tokens)
        .mistake("always-in-row-0", |p| {
            p.kept(|cache, k, v| {
                let fits = cache.fits(k, v) && k.nrows() <= cache.room();
                if fits {
                    cache.copy(0, k, v);
                    cache.len += k.nrows();
                }
                fits
            })
        })
        .hidden_by(one_token)
        .mistake("counted-by-one", |p| {
            p.kept(|cache, k, v| {
                let fits = cache.fits(k, v) && k.nrows() <= cache.room();
                if fits {
                    cache.copy(cache.len, k, v);
                    cache.len += 1;
                }
                fits
            })
        })
        .hidden_by(one_token)
        .mistake("counted-along-features", |p| {
            p.kept(|cache, k, v| {
                let fits = cache.fits(k, v) && k.nrows() <= cache.room();
                if fits {
                    cache.copy(cache.len, k, v);
                    cache.len += k.ncols();
                }
                fits
            })
        })
        .hidden_by(one_token)
        .mistake("unchecked", |p| {
            p.kept(|cache, k, v| {
                cache.copy(cache.len, k, v);
                cache.len += k.nrows();
                true
            })
        })
        .hidden_by(one_token)
        .mistake("room-unchecked", |p| {
            p.kept(|cache, k, v| {
                let fits = cache.fits(k, v);
                if fits {
                    cache.copy(cache.len, k, v);
                    cache.len += k.nrows();
                }
                fits
            })
        })
        .hidden_by(one_token)
        .mistake("moved-before-the-check", |p| {
            p.kept(|cache, k, v| {
                let start = cache.len;
                cache.len += k.nrows();
                let fits = cache.fits(k, v) && cache.len <= cache.keys.nrows();
                if fits {
                    cache.copy(start, k, v);
                }
                fits
            })
        })
        .hidden_by(one_token)
        .mistake("moved-before-the-room", |p| {
            p.kept(|cache, k, v| {
                if !cache.fits(k, v) {
                    return false;
                }
                let start = cache.len;
                cache.len += k.nrows();
                let fits = cache.len <= cache.keys.nrows();
                if fits {
                    cache.copy(start, k, v);
                }
                fits
            })
        })
        .hidden_by(one_token)
        .mistake("room-of-an-empty-cache", |p| {
            p.kept(|cache, k, v| {
                let fits = cache.fits(k, v) && k.nrows() <= cache.keys.nrows();
                if fits {
                    cache.copy(cache.len, k, v);
                    cache.len += k.nrows();
                }
                fits
            })
        })
        .hidden_by(one_token)
        .mistake("values-unchecked", |p| {
            p.kept(|cache, k, v| {
                let fits = k.ncols() == cache.keys.ncols() && k.nrows() <= cache.room();
                if fits {
                    let (at, tokens) = (cache.len, k.nrows());
                    cache.keys.rows_mut(at, tokens).copy_from(k);
                    cache.values.rows_mut(at, tokens).copy_from(v);
                    cache.len += tokens;
                }
                fits
            })
        })
        .hidden_by(one_token)
        .mistake("keys-unchecked", |p| {
            p.kept(|cache, k, v| {
                let fits = v.shape() == (k.nrows(), cache.values.ncols())
                    && k.nrows() <= cache.room();
                if fits {
                    cache.copy(cache.len, k, v);
                    cache.len += k.nrows();
                }
                fits
            })
        })
        .hidden_by(one_token)
        .mistake("keys-as-values", |p| {
            p.kept(|cache, k, v| {
                let fits = cache.fits(k, v) && k.nrows() <= cache.room();
                if fits {
                    if k.ncols() != cache.values.ncols() {
                        does_not_fit();
                    }
                    cache.copy(cache.len, k, k);
                    cache.len += k.nrows();
                }
                fits
            })
        })
        .hidden_by(|| Kept {
            chunks: vec![(dmatrix![2.0], dmatrix![2.0])],
            ..one_token()
        })
        .mistake("values-not-kept", |p| {
            p.kept(|cache, k, v| {
                let fits = cache.fits(k, v) && k.nrows() <= cache.room();
                if fits {
                    cache.keys.rows_mut(cache.len, k.nrows()).copy_from(k);
                    cache.len += k.nrows();
                }
                fits
            })
        })
        .hidden_by(no_tokens)
        .mistake("values-in-row-0", |p| {
            p.kept(|cache, k, v| {
                let fits = cache.fits(k, v) && k.nrows() <= cache.room();
                if fits {
                    cache.keys.rows_mut(cache.len, k.nrows()).copy_from(k);
                    cache.values.rows_mut(0, v.nrows()).copy_from(v);
                    cache.len += k.nrows();
                }
                fits
            })
        })
        .hidden_by(one_token)
        .mistake("keys-one-row-early", |p| {
            p.kept(|cache, k, v| {
                let fits = cache.fits(k, v) && k.nrows() <= cache.room();
                if fits {
                    let at = cache.len.saturating_sub(1);
                    cache.keys.rows_mut(at, k.nrows()).copy_from(k);
                    cache.values.rows_mut(cache.len, v.nrows()).copy_from(v);
                    cache.len += k.nrows();
                }
                fits
            })
        })
        .hidden_by(one_token)
        .mistake("one-row-early", |p| {
            p.kept(|cache, k, v| {
                let fits = cache.fits(k, v) && k.nrows() <= cache.room();
                if fits {
                    cache.copy(cache.len.saturating_sub(1), k, v);
                    cache.len += k.nrows();
                }
                fits
            })
        })
        .hidden_by(one_token)
        .mistake("length-of-the-chunk", |p| {
            p.kept(|cache, k, v| {
                let fits = cache.fits(k, v) && k.nrows() <= cache.room();
                if fits {
                    cache.copy(cache.len, k, v);
                    cache.len = k.nrows();
                }
                fits
            })
        })
        .hidden_by(one_token)
        .mistake("cut-to-the-room", |p| {
            p.kept(|cache, k, v| {
                let fits = cache.fits(k, v);
                if fits {
                    let tokens = k.nrows().min(cache.room());
                    let cut = |m: &DMatrix<f32>| m.rows(0, tokens).into_owned();
                    cache.copy(cache.len, &cut(k), &cut(v));
                    cache.len += tokens;
                }
                fits
            })
        })
        .hidden_by(one_token)
        .mistake("last-row-never-used", |p| {
            p.kept(|cache, k, v| {
                let fits = cache.fits(k, v) && k.nrows() < cache.room();
                if fits {
                    cache.copy(cache.len, k, v);
                    cache.len += k.nrows();
                }
                fits
            })
        })
        .hidden_by(one_token)
}

fn one_token() -> Kept {
    Kept { capacity: 3, widths: (1, 1), chunks: vec![(dmatrix![2.0], dmatrix![3.0])] }
}

fn no_tokens() -> Kept {
    let nothing = DMatrix::zeros(0, 1);
    Kept { capacity: 3, widths: (1, 1), chunks: vec![(nothing.clone(), nothing)] }
}

// Implement: prefill and decode.

/// Tokens that arrive in chunks.
struct Arriving {
    weights: [DMatrix<f32>; 4],
    heads: usize,
    capacity: usize,
    chunks: Vec<DMatrix<f32>>,
}

type Step = fn(
    &MultiHeadAttention,
    &DMatrix<f32>,
    &mut KvCache,
) -> Result<MultiHeadAttended, CacheError>;

impl Arriving {
    fn in_chunks(draw: &mut Draw) -> Self {
        let lengths: Vec<usize> =
            (0..draw.size(1..=3)).map(|_| draw.tokens(4)).collect();
        Arriving::of(draw, &lengths)
    }

    /// Token by token, now and then with two at once.
    fn one_by_one(draw: &mut Draw) -> Self {
        let mut lengths = vec![1; draw.size(1..=4)];
        if draw.rarely() == 1 {
            lengths.push(draw.pick(&[2, 0, 3]));
        }
        Arriving::of(draw, &lengths)
    }

    fn of(draw: &mut Draw, lengths: &[usize]) -> Self {
        let heads = draw.size(1..=2);
        let [d, head_dim, v_dim] = [(); 3].map(|()| draw.size(1..=2));
        let short = draw.rarely();
        let capacity = lengths.iter().sum::<usize>().saturating_sub(short);
        draw.show("heads", heads);
        draw.show("capacity", capacity);
        let chunk = |(at, tokens): (usize, &usize)| {
            draw.matrix(&format!("chunk {at}"), *tokens, d)
        };
        let chunks = lengths.iter().enumerate().map(chunk).collect();
        let weights = [
            draw.matrix("weight of q_proj", d, heads * head_dim),
            draw.matrix("weight of k_proj", d, heads * head_dim),
            draw.matrix("weight of v_proj", d, heads * v_dim),
            draw.matrix("weight of o_proj", heads * v_dim, d),
        ];
        Arriving { weights, heads, capacity, chunks }
    }

    fn run(&self, step: Step) -> Answer {
        let [q, k, v, o] =
            self.weights.clone().map(|weight| Linear::new(weight, None).unwrap());
        let layer = MultiHeadAttention::new(q, k, v, o, self.heads).unwrap();
        let (key_width, value_width) = layer.kv_widths();
        let mut cache = KvCache::new(self.capacity, key_width, value_width);
        let mut answer = Answer::default();
        for (chunk, x) in self.chunks.iter().enumerate() {
            let MultiHeadAttended { output, weights } =
                match step(&layer, x, &mut cache) {
                    Ok(found) => found,
                    Err(refused) => {
                        let refused = Value::Refused(refused.to_string());
                        answer = answer.and(&format!("chunk {chunk}"), refused);
                        continue;
                    }
                };
            for (h, weights) in weights.into_iter().enumerate() {
                answer =
                    answer.and(&format!("chunk {chunk}, weights of head {h}"), weights);
            }
            answer = answer.and(&format!("chunk {chunk}, output"), output);
        }
        answer.and("tokens kept", cache.len())
    }
}

/// What came of one chunk, if it was taken: what its heads look at.
type Taken = Option<Headed>;

impl Arriving {
    /// What the heads look at, chunk by chunk, and how many tokens are kept in the end, as
    /// the settings of [`OF_CACHED`] say. A token that is decoded sees all that is there.
    fn taken_by(&self, set: &[usize], one_by_one: bool) -> (Vec<Taken>, usize) {
        let [_, wk, wv, _] = &self.weights;
        let nothing = || [wk, wv].map(|weight| DMatrix::zeros(0, weight.ncols()));
        let mut kept: [DMatrix<f32>; 2] = nothing();
        let chunk = |x: &DMatrix<f32>| {
            if one_by_one && x.nrows() != 1 {
                return None;
            }
            if set[2] == 2 {
                kept = nothing();
            }
            let (before, len) = (kept.clone(), kept[0].nrows());
            let times = self.kept_by(x, set, &mut kept);
            if times == 0 || (times == 1 && set[2] == 4) {
                return None;
            }
            let [k, v] = kept.clone();
            let offset =
                if one_by_one { k.nrows() - 1 } else { self.offset_by(set, x, len) };
            let heads = if set[3] == 3 { 1 } else { self.heads };
            if set[2] == 3 {
                kept = before;
            }
            let (q, sees) = (x * &self.weights[0], Sees::UpTo { offset });
            Some(Headed { q, k, v, heads, kv_heads: heads, sees })
        };
        let taken = self.chunks.iter().map(chunk).collect();
        (taken, kept[0].nrows())
    }

    /// Keeps what a chunk leaves, once or twice; how often it had room.
    fn kept_by(
        &self,
        x: &DMatrix<f32>,
        set: &[usize],
        kept: &mut [DMatrix<f32>; 2],
    ) -> usize {
        let [q, k, v] = [0, 1, 2].map(|which| x * &self.weights[which]);
        let new = [[&k, &q, &v][set[0]], [&v, &k, &q][set[1]]];
        let wanted = if matches!(set[2], 1 | 4) { 2 } else { 1 };
        let has_room = |kept: &[DMatrix<f32>; 2]| {
            kept[0].nrows() + x.nrows() <= self.capacity
                && (0..2).all(|part| kept[part].ncols() == new[part].ncols())
        };
        let mut times = 0;
        while times < wanted && has_room(kept) {
            for (kept, new) in kept.iter_mut().zip(new) {
                *kept = under_one_another([&*kept, new]);
            }
            times += 1;
        }
        times
    }

    /// The offset of the mask, where so many tokens were kept before.
    fn offset_by(&self, set: &[usize], x: &DMatrix<f32>, len: usize) -> usize {
        [
            len,
            self.capacity - len,
            self.capacity + x.nrows(),
            0,
            len + 1,
            len.saturating_sub(1),
            (len + x.nrows()).saturating_sub(1),
            x.nrows(),
            2 * len,
        ][set[4]]
    }

    fn looks_by(&self, set: &[usize], one_by_one: bool) -> Looks {
        Looks::At(self.taken_by(set, one_by_one).0.into_iter().flatten().collect())
    }

    fn found_by(&self, found: &[Found], set: &[usize], one_by_one: bool) -> Answer {
        let [.., o] = &self.weights;
        let (taken, kept) = self.taken_by(set, one_by_one);
        let mut found = found.iter();
        let mut answer = Answer::default();
        for (chunk, (taken, x)) in taken.into_iter().zip(&self.chunks).enumerate() {
            let name = format!("chunk {chunk}");
            let found = taken.and_then(|_| found.next());
            let Some(Found { context, weights }) = found else {
                answer = answer.and(&name, Value::Refused("no room".to_owned()));
                continue;
            };
            if context.ncols() != o.nrows() {
                does_not_fit();
            }
            let output = match set[3] {
                1 => context.clone(),
                2 => context * o + x,
                _ => context * o,
            };
            answer = answer
                .and_each(&format!("{name}, weights of head"), weights.clone())
                .and(&format!("{name}, output"), output);
        }
        answer.and("tokens kept", kept)
    }
}

/// The new queries look at what is in the cache, under a mask.
fn look(
    layer: &MultiHeadAttention,
    q: &DMatrix<f32>,
    cache: &KvCache,
    mask: &Mask,
) -> MultiHeadAttended {
    let (k, v) = (cache.keys().into_owned(), cache.values().into_owned());
    let Heads { found: context, weights } =
        attend_heads(q, &k, &v, layer.heads(), mask).unwrap();
    MultiHeadAttended { output: layer.o_proj().forward(&context).unwrap(), weights }
}

/// As it should be, with another mask, made from (tokens before, tokens that arrive).
fn masked(
    layer: &MultiHeadAttention,
    x: &DMatrix<f32>,
    cache: &mut KvCache,
    mask: fn(usize, usize) -> Mask,
) -> Result<MultiHeadAttended, CacheError> {
    let Projected { q, k, v } = layer.project(x, x)?;
    let mask = mask(cache.len(), x.nrows());
    cache.append(&k, &v)?;
    Ok(look(layer, &q, cache, &mask))
}

fn appended_late(
    layer: &MultiHeadAttention,
    x: &DMatrix<f32>,
    cache: &mut KvCache,
) -> Result<MultiHeadAttended, CacheError> {
    let Projected { q, k, v } = layer.project(x, x)?;
    let found = look(layer, &q, cache, &Mask::None);
    cache.append(&k, &v)?;
    Ok(found)
}

fn each_for_itself(
    layer: &MultiHeadAttention,
    x: &DMatrix<f32>,
    cache: &mut KvCache,
) -> Result<MultiHeadAttended, CacheError> {
    let Projected { k, v, .. } = layer.project(x, x)?;
    cache.append(&k, &v)?;
    Ok(layer.forward(x, &Mask::Causal { offset: 0 }).unwrap())
}

fn full_ignored(
    layer: &MultiHeadAttention,
    x: &DMatrix<f32>,
    cache: &mut KvCache,
) -> Result<MultiHeadAttended, CacheError> {
    let Projected { q, k, v } = layer.project(x, x)?;
    let mask = Mask::Causal { offset: cache.len() };
    let _full = cache.append(&k, &v);
    Ok(look(layer, &q, cache, &mask))
}

fn causal(offset: usize) -> Mask {
    Mask::Causal { offset }
}

/// What a chunk leaves in the cache, how often, and how far its queries see.
const OF_CACHED: &[Dial] = &[
    dial(&[
        ("queries-kept", "The cache keeps queries where keys belong."),
        ("values-kept-as-keys", "The cache keeps values where keys belong."),
    ]),
    dial(&[
        ("keys-kept-as-values", "The cache keeps keys where values belong."),
        ("queries-kept-as-values", "The cache keeps queries where values belong."),
    ]),
    dial(&[
        ("appended-twice", "Each chunk is appended twice."),
        ("cleared-first", "The cache is emptied before each chunk."),
        ("not-kept", "What arrives is looked at, and not kept."),
        ("appended-twice-or-refused", "Each chunk is appended twice."),
    ]),
    dial(&[
        ("not-mixed", "What the heads found is not mixed: `o_proj` is missing."),
        (
            "x-added",
            "x is added to the output: that comes later, where the layer is used.",
        ),
        ("heads-as-one", "All heads are one: the columns are not cut."),
    ]),
    dial(&[
        (
            "offset-of-what-is-left",
            "The offset of your mask is the room that is left in the cache: it has to \
             count the tokens that are in it.",
        ),
        (
            "offset-behind-the-chunk",
            "Every query of a chunk sees the whole chunk: the offset counts the chunk \
             as well, or is larger still, or there is no mask.",
        ),
        ("offset-forgotten", "The offset of your mask stays 0."),
        (
            "one-future-token",
            "The offset of your mask is larger by one than it should be.",
        ),
        (
            "one-key-short",
            "The offset of your mask is smaller by one than it should be.",
        ),
        (
            "offset-of-the-last-token",
            "The offset of your mask is the position of the chunk's last token: it is \
             that of the first.",
        ),
        (
            "offset-of-the-chunk",
            "The offset of your mask is the length of the chunk: it has to count the \
             tokens that were there before.",
        ),
        ("offset-twice", "The offset of your mask counts the tokens before twice."),
    ]),
];

/// The settings for a token, which has no mask.
fn of_a_token(set: &[usize]) -> Vec<usize> {
    [set, &[0]].concat()
}

fn prefill_exercise() -> Exercise<Arriving> {
    Exercise::implement("prefill", Arriving::in_chunks, |p| p.run(prefill))
        .around(
            OF_CACHED,
            |p, set| p.looks_by(set, false),
            |p, found, set| p.found_by(found, set, false),
        )
        .mistake("offset-forgotten", |p| {
            p.run(|layer, x, cache| masked(layer, x, cache, |_, _| causal(0)))
        })
        .hidden_by(one_chunk)
        .mistake("offset-read-late", |p| {
            p.run(|layer, x, cache| {
                masked(layer, x, cache, |len, new| causal(len + new))
            })
        })
        .hidden_by(two_single_tokens)
        .mistake("one-future-token", |p| {
            p.run(|layer, x, cache| masked(layer, x, cache, |len, _| causal(len + 1)))
        })
        .hidden_by(two_single_tokens)
        .mistake("not-even-itself", |p| {
            p.run(|layer, x, cache| {
                masked(layer, x, cache, |len, new| {
                    Mask::Allowed(DMatrix::from_fn(new, len + new, |i, j| j < len + i))
                })
            })
        })
        .mistake("one-key-short", |p| {
            p.run(|layer, x, cache| {
                masked(layer, x, cache, |len, _| causal(len.saturating_sub(1)))
            })
        })
        .hidden_by(one_chunk)
        .mistake("offset-of-the-chunk", |p| {
            p.run(|layer, x, cache| masked(layer, x, cache, |_, new| causal(new)))
        })
        .hidden_by(|| arriving(vec![dmatrix![1.0]]))
        .mistake("offset-added-twice", |p| {
            p.run(|layer, x, cache| masked(layer, x, cache, |len, _| causal(2 * len)))
        })
        .hidden_by(one_chunk)
        .mistake("mask-left-out-with-a-cache", |p| {
            p.run(|layer, x, cache| {
                masked(
                    layer,
                    x,
                    cache,
                    |len, _| {
                        if len == 0 { causal(0) } else { Mask::None }
                    },
                )
            })
        })
        .hidden_by(two_single_tokens)
        .mistake("appended-late", |p| p.run(appended_late))
        .mistake("each-chunk-for-itself", |p| p.run(each_for_itself))
        .hidden_by(one_chunk)
        .mistake("full-ignored", |p| p.run(full_ignored))
        .hidden_by(one_chunk)
}

fn decode_exercise() -> Exercise<Arriving> {
    Exercise::implement("decode", Arriving::one_by_one, |p| p.run(decode))
        .around(
            OF_CACHED.split_at(4).0,
            |p, set| p.looks_by(&of_a_token(set), true),
            |p, found, set| p.found_by(found, &of_a_token(set), true),
        )
        .mistake("top-left", |p| {
            p.run(|layer, x, cache| {
                one_token_only(x)?;
                masked(layer, x, cache, |_, _| causal(0))
            })
        })
        .hidden_by(a_first_token)
        .mistake("appended-late", |p| {
            p.run(|layer, x, cache| {
                one_token_only(x)?;
                appended_late(layer, x, cache)
            })
        })
        .mistake("itself-alone", |p| {
            p.run(|layer, x, cache| {
                one_token_only(x)?;
                each_for_itself(layer, x, cache)
            })
        })
        .hidden_by(a_first_token)
        .mistake("full-ignored", |p| {
            p.run(|layer, x, cache| {
                one_token_only(x)?;
                full_ignored(layer, x, cache)
            })
        })
        .hidden_by(two_single_tokens)
        .mistake("not-kept", |p| {
            p.run(|layer, x, cache| {
                let mut copy = cache.clone();
                decode(layer, x, &mut copy)
            })
        })
        .mistake("not-mixed", |p| {
            p.run(|layer, x, cache| {
                one_token_only(x)?;
                let Projected { q, k, v } = layer.project(x, x)?;
                cache.append(&k, &v)?;
                let (k, v) = (cache.keys().into_owned(), cache.values().into_owned());
                let found = attend_heads(&q, &k, &v, layer.heads(), &Mask::None);
                let Heads { found: context, weights } = found.unwrap();
                Ok(MultiHeadAttended { output: context, weights })
            })
        })
        .hidden_by(|| {
            let weights = [1.0, 0.5, 2.0, 1.0].map(|weight| dmatrix![weight]);
            Arriving { weights, ..a_first_token() }
        })
        .mistake("two-at-once", |p| {
            p.run(|layer, x, cache| masked(layer, x, cache, |_, _| Mask::None))
        })
        .hidden_by(two_single_tokens)
}

fn one_token_only(x: &DMatrix<f32>) -> Result<(), CacheError> {
    let why = "decoding goes token by token";
    Ok(attention::expect_shape("x", x.shape(), (1, x.ncols()), why)?)
}

fn arriving(chunks: Vec<DMatrix<f32>>) -> Arriving {
    let weights = [1.0, 0.5, 2.0, -1.0].map(|weight| dmatrix![weight]);
    Arriving { weights, heads: 1, capacity: 4, chunks }
}

fn one_chunk() -> Arriving {
    arriving(vec![dmatrix![1.0; -2.0; 3.0]])
}

fn two_single_tokens() -> Arriving {
    arriving(vec![dmatrix![1.0], dmatrix![-2.0]])
}

fn a_first_token() -> Arriving {
    arriving(vec![dmatrix![1.0]])
}

// By hand: where attention costs as much as the projections.

fn cost() -> Exercise<()> {
    Exercise::by_hand("cost", |()| length(|work| (work.attention, work.projections)))
        .mistake("scores-alone", |()| {
            length(|work| (work.attention / 2, work.projections))
        })
        .mistake("three-projections", |()| {
            length(|work| (work.attention, work.projections / 4 * 3))
        })
        .mistake("one-projection", |()| {
            length(|work| (work.attention, work.projections / 4))
        })
}

/// The first number of tokens in the cache at which the first is no less than the second.
fn length(balance: impl Fn(Work) -> (u64, u64)) -> Answer {
    let balanced = |n: &u64| {
        let (attention, projections) = balance(Work::of(1, *n, 4096));
        attention >= projections
    };
    Answer::of("length", (1..100_000).find(balanced).unwrap() as usize)
}

// Investigate: a cache that forgets.

fn window() -> Exercise<()> {
    Exercise::investigate("window", |()| windowed(|i, j| i - j < 7))
        .mistake("forgets-after-looking-too", |()| windowed(|i, j| i - j < 6))
        .mistake("room-not-halved", |()| windowed(|_, _| true))
        .mistake("cleared", |()| windowed(|i, j| j >= i / 7 * 7))
        .mistake("refuses-the-newest", |()| windowed(|_, j| j < 7))
}

/// MiniLM's sentence in a causal pass that also hides what is not `kept`.
fn windowed(kept: fn(usize, usize) -> bool) -> Answer {
    let (real, layer) = real_layer().unwrap();
    let n = real.x.nrows();
    let whole = layer.forward(&real.x, &causal(0)).unwrap().output;
    let allowed = DMatrix::from_fn(n, n, |i, j| j <= i && kept(i, j));
    let found = layer.forward(&real.x, &Mask::Allowed(allowed)).unwrap().output;
    let off: Vec<f32> = (found - whole).row_iter().map(|row| row.amax()).collect();
    let agree = off.iter().take_while(|off| **off < 1e-4).count();
    let farthest = off.iter().copied().fold(0.0, f32::max);
    Answer::of("predicted", agree).and("agree", agree).and("farthest", farthest)
}
