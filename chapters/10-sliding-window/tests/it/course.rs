//! The chapter's exercises: what they ask, and what people answer instead. `course.toml`
//! has the words.

use exercises::{Answer, Draw, Exercise, Exercises};
use nalgebra::{DMatrix, dmatrix};
use sliding_window::experiments::{Looks, chunked, random};
use sliding_window::{RingCache, WindowAttention, prefill, receptive_field};

#[test]
fn the_exercises_keep_their_promises() {
    let folder = env!("CARGO_MANIFEST_DIR");
    println!("{}", exercises::prove(folder, &exercises()).unwrap());
}

/// In the order of `course.toml`.
pub fn exercises() -> Exercises {
    Exercises::new()
        .with(slots())
        .with(keep())
        .with(positions())
        .with(prefill_exercise())
        .with(field())
        .with(sink())
}

// By hand: a ring of four after eleven tokens, and a chunk of three.

const RING: usize = 4;

fn slots() -> Exercise<()> {
    Exercise::by_hand("by-hand", |()| lies(lying(11), 8.0, 6.0))
        .mistake("in-order", |()| lies([7.0, 8.0, 9.0, 10.0], 8.0, 6.0))
        .mistake("one-more", |()| lies(lying(11), 7.0, 7.0))
        .mistake("forgotten-first", |()| lies(lying(11), 10.0, 4.0))
        .mistake("positions-from-one", |()| lies(lying(12), 9.0, 6.0))
}

/// The positions in the slots of the ring after so many tokens.
fn lying(tokens: usize) -> [f32; RING] {
    let mut slots = [0.0; RING];
    for position in 0..tokens {
        slots[position % RING] = position as f32;
    }
    slots
}

fn lies(slots: [f32; RING], oldest: f32, keys: f32) -> Answer {
    Answer::of("slots", DMatrix::from_row_slice(1, RING, &slots))
        .and("oldest", oldest)
        .and("keys", keys)
}

/// The page's answer, by the chapter's own ring.
#[test]
fn the_ring_holds_what_the_sheet_says() {
    let mut ring = RingCache::new(RING, 1, 1);
    let tokens = DMatrix::from_fn(11, 1, |token, _| token as f32);
    ring.keep(&tokens, &tokens).unwrap();
    let held: Vec<f32> = ring.positions().iter().map(|&p| p as f32).collect();
    assert_eq!(held, lying(11));
}

// Implement: chunks into a ring.

struct Kept {
    window: usize,
    chunks: Vec<DMatrix<f32>>,
}

impl Kept {
    fn draw(draw: &mut Draw) -> Self {
        let window = draw.size(1..=4);
        draw.show("window", window);
        let count = draw.size(1..=3);
        let chunks = (0..count)
            .map(|i| {
                let tokens = draw.tokens(6);
                draw.matrix(&format!("keys of chunk {i}"), tokens, 1)
            })
            .collect();
        Kept { window, chunks }
    }

    fn right(&self) -> Answer {
        let mut ring = RingCache::new(self.window, 1, 1);
        let kept =
            self.chunks.iter().try_for_each(|keys| ring.keep(keys, &(keys * 2.0)));
        Kept::answer(ring.keys().into_owned(), ring.values().into_owned(), ring.seen())
            .and("error", format!("{:?}", kept.err().map(|e| e.tensor)))
    }

    fn answer(keys: DMatrix<f32>, values: DMatrix<f32>, seen: usize) -> Answer {
        Answer::of("keys", keys).and("values", values).and("seen", seen)
    }

    /// A ring in which row `row` of a chunk of `tokens` goes to the slot that `slot` says,
    /// after `seen` others; and what is `seen` in the end.
    fn by(
        &self,
        slot: impl Fn(usize, usize, usize) -> Option<usize>,
        count: impl Fn(usize) -> usize,
    ) -> Answer {
        let (mut seen, mut keys) = (0, DMatrix::zeros(self.window, 1));
        for chunk in &self.chunks {
            for row in 0..chunk.nrows() {
                if let Some(slot) = slot(seen, row, chunk.nrows()) {
                    keys[slot % self.window] = chunk[row];
                }
            }
            seen = count(seen + chunk.nrows());
        }
        let keys = keys.rows(0, seen.min(self.window)).into_owned();
        let values = &keys * 2.0;
        Kept::answer(keys, values, seen).and("error", "None")
    }
}

fn one_short_chunk() -> Kept {
    Kept { window: 3, chunks: vec![dmatrix![1.0; 2.0]] }
}

fn keep() -> Exercise<Kept> {
    Exercise::implement("keep", Kept::draw, Kept::right)
        .mistake("from-slot-zero", |k| k.by(|_, row, _| Some(row), |seen| seen))
        .hidden_by(one_short_chunk)
        .mistake("counts-what-is-kept", |k| {
            k.by(|seen, row, _| Some(seen + row), |seen| seen.min(k.window))
        })
        .hidden_by(one_short_chunk)
        .mistake("first-rows-of-a-long-chunk", |k| {
            k.by(|seen, row, _| (row < k.window).then_some(seen + row), |seen| seen)
        })
        .hidden_by(one_short_chunk)
        .mistake("stops-when-full", |k| {
            k.by(
                |seen, row, _| (seen + row < k.window).then_some(seen + row),
                |seen| seen,
            )
        })
        .hidden_by(one_short_chunk)
}

// Implement: positions of slots.

struct Seen {
    window: usize,
    tokens: usize,
}

impl Seen {
    fn draw(draw: &mut Draw) -> Self {
        let (window, tokens) = (draw.size(1..=5), draw.size(0..=17));
        draw.show("window, tokens seen", vec![window, tokens]);
        Seen { window, tokens }
    }

    /// The ring after so many tokens. Tokens go in by `keep`, which is written already.
    fn ring(&self) -> RingCache {
        let mut ring = RingCache::new(self.window, 1, 1);
        let tokens = DMatrix::zeros(self.tokens, 1);
        ring.keep(&tokens, &tokens).expect("it is as wide as the ring");
        ring
    }

    fn held(&self) -> Vec<usize> {
        (self.tokens - self.window.min(self.tokens)..self.tokens).collect()
    }

    fn in_slots(&self) -> Vec<usize> {
        let mut held = self.held();
        held.sort_by_key(|position| position % self.window);
        held
    }
}

fn positions() -> Exercise<Seen> {
    let short = || Seen { window: 4, tokens: 3 };
    Exercise::implement("positions", Seen::draw, |s| {
        Answer::of("positions", s.ring().positions())
    })
    .mistake("slot-for-position", |s| {
        Answer::of("positions", (0..s.window.min(s.tokens)).collect::<Vec<_>>())
    })
    .hidden_by(short)
    .mistake("in-the-order-of-the-text", |s| Answer::of("positions", s.held()))
    .hidden_by(short)
    .mistake("one-on", |s| {
        let one_on = s.in_slots().iter().map(|p| p + 1).collect::<Vec<_>>();
        Answer::of("positions", one_on)
    })
}

// Implement: a chunk through the ring.

struct Chunks {
    x: DMatrix<f32>,
    layer: WindowAttention,
    chunks: Vec<usize>,
}

impl Chunks {
    fn of(window: usize, chunks: Vec<usize>) -> Self {
        let tokens = chunks.iter().sum();
        let (x, layer) = random(tokens, window).expect("its shapes fit");
        Chunks { x, layer, chunks }
    }

    fn draw(draw: &mut Draw) -> Self {
        let window = draw.size(1..=5);
        let count = draw.size(1..=4);
        let chunks: Vec<usize> = (0..count).map(|_| draw.tokens(6)).collect();
        draw.show("window", window);
        draw.show("tokens of each chunk", chunks.clone());
        Chunks::of(window, chunks)
    }

    fn right(&self) -> Answer {
        let mut cache = self.layer.cache();
        let mut output = DMatrix::zeros(self.x.nrows(), 16);
        let mut at = 0;
        for &chunk in &self.chunks {
            let some = self.x.rows(at, chunk).into_owned();
            let part = prefill(&self.layer, &some, &mut cache);
            match part.map(|part| part.output) {
                Ok(part) if part.shape() == (chunk, 16) => {
                    output.rows_mut(at, chunk).copy_from(&part);
                }
                _ => output.rows_mut(at, chunk).fill(f32::NAN),
            }
            at += chunk;
        }
        Answer::of("output", output).and("seen", cache.seen())
    }

    fn answer(&self, output: DMatrix<f32>) -> Answer {
        Answer::of("output", output).and("seen", self.x.nrows())
    }

    /// What the chapter's slip of this name gives.
    fn slip(&self, slip: &str) -> Answer {
        let output = chunked(&self.layer, &self.x, &self.chunks, Some(slip));
        self.answer(output.expect("its shapes fit"))
    }
}

fn short_text() -> Chunks {
    Chunks::of(6, vec![2, 3])
}

fn prefill_exercise() -> Exercise<Chunks> {
    Exercise::implement("prefill", Chunks::draw, Chunks::right)
        .mistake("trimmed-first", |c| c.slip("trimmed-first"))
        .hidden_by(short_text)
        .mistake("one-more", |c| c.slip("window-one-more"))
        .hidden_by(short_text)
        .mistake("no-window", |c| c.slip("window-forgotten"))
        .hidden_by(short_text)
        .mistake("one-fewer", |c| c.slip("window-one-less"))
        .hidden_by(short_text)
}

// Implement: the receptive field.

fn draw_windows(draw: &mut Draw) -> Vec<Option<usize>> {
    let layers = draw.size(1..=5) - 1;
    let windows: Vec<Option<usize>> = (0..layers)
        .map(|_| match draw.size(1..=6) {
            6 => None,
            window => Some(window),
        })
        .collect();
    draw.show("windows", format!("{windows:?}"));
    windows
}

fn reaches(field: Option<usize>) -> Answer {
    Answer::of("field", format!("{field:?}"))
}

/// The windows, if all layers have one.
fn all_of(windows: &[Option<usize>]) -> Option<Vec<usize>> {
    windows.iter().copied().collect()
}

fn field() -> Exercise<Vec<Option<usize>>> {
    Exercise::implement("field", draw_windows, |w| reaches(receptive_field(w)))
        .mistake("windows-added", |w| {
            reaches(all_of(w).map(|all| all.iter().sum::<usize>().max(1)))
        })
        .hidden_by(|| vec![Some(3)])
        .mistake("without-oneself", |w| {
            reaches(all_of(w).map(|all| all.iter().map(|window| window - 1).sum()))
        })
        .mistake("layers-without-a-window-skipped", |w| {
            let further = w.iter().flatten().map(|window| window - 1);
            reaches(Some(1 + further.sum::<usize>()))
        })
        .hidden_by(|| vec![Some(3), Some(2)])
        .mistake("the-widest", |w| {
            reaches(all_of(w).map(|all| all.into_iter().max().unwrap_or(1)))
        })
        .hidden_by(|| vec![Some(3)])
}

// Investigate: the weight of `it` on `because`.

fn weights_of(head: usize, row: &str, column: &str) -> [f32; 3] {
    let looks = Looks::of(head).expect("there is such a head");
    let [row, column] = [row, column].map(|word| looks.position(word).expect("a word"));
    [(13, 0), (3, 0), (3, 1)].map(|(window, first)| {
        looks.weights(window, first).expect("the mask fits")[(row, column)]
    })
}

fn told([all, window, first]: [f32; 3]) -> Answer {
    Answer::of("predicted", window)
        .and("all", all)
        .and("window", window)
        .and("first", first)
}

fn sink() -> Exercise<()> {
    Exercise::investigate("sink", |()| told(weights_of(5, "it", "because")))
        .mistake("not-shared-anew", |()| {
            let [all, ..] = weights_of(5, "it", "because");
            told([all; 3])
        })
        .mistake("row-of-because", |()| told(weights_of(5, "because", "it")))
        .mistake("another-head", |()| told(weights_of(8, "it", "because")))
}
