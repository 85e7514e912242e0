//! What the chapter measures: the data behind its figures and numbers.

use crate::kernel::{Exp, Tuning, Vectors};
use crate::{Partial, Sight, Tile};
use crate::{attend, attend_tiled, attend_tuned, hide, sight, steps};
use anyhow::{Context, Result};
use attention::{Linear, Mask, attend as attend_whole, scores};
use chapter_cli::{LinearTensors, Recorded};
use figures::Spread;
use grouped_query::{Groups, attend_groups};
use minilm::Layer;
use nalgebra::DMatrix;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use std::ops::Range;

/// A tile of one walk, and what the mask leaves of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visit {
    /// The rows.
    pub queries: Range<usize>,
    /// The columns.
    pub keys: Range<usize>,
    /// Whether anything is to be done.
    pub sight: Sight,
}

/// The tiles in the order in which [`attend_tiled`] comes to them.
#[must_use]
pub fn walk(n: usize, m: usize, mask: &Mask, tile: Tile) -> Vec<Visit> {
    let rows = steps(0..n, tile.queries);
    let visits = rows.flat_map(|queries| {
        steps(0..m, tile.keys).map(move |keys| {
            let sight = sight(mask, &queries, &keys);
            Visit { queries: queries.clone(), keys, sight }
        })
    });
    visits.collect()
}

/// Queries, and keys, of the walk that the chapter draws.
pub const WALKED: usize = 16;

/// A walk that was stopped.
#[derive(Debug, Clone, PartialEq)]
pub struct Stopped {
    /// All tiles, in order.
    pub visits: Vec<Visit>,
    /// What they are seen through.
    pub mask: Mask,
    /// How many have been merged.
    pub step: usize,
    /// The queries of the last of them.
    pub now: Range<usize>,
    /// For each query that has met a key, its largest score so far and the sum of the
    /// exponentials measured from it.
    pub held: Vec<Option<[f32; 2]>>,
}

/// Walks over random scores of [`WALKED`] queries and keys as [`attend_tiled`] does, and
/// stops after `step` tiles, at least one, or at the end.
///
/// # Errors
/// When the mask has another shape.
pub fn stopped(tile: Tile, mask: Mask, step: usize) -> Result<Stopped> {
    let (q, k) = (normal(WALKED, 8, 1), normal(WALKED, 8, 2));
    let values = DMatrix::zeros(WALKED, 1);
    let scores = scores(q.as_view(), k.as_view())?;
    let visits = walk(WALKED, WALKED, &mask, tile);
    let (mut done, mut now, mut held) = (0, 0..0, vec![None; WALKED]);
    let mut found = Partial::nothing(0, 1);
    for visit in visits.iter().filter(|visit| visit.sight != Sight::Nothing) {
        if done == step.max(1) {
            break;
        }
        let (queries, keys) = (visit.queries.clone(), visit.keys.clone());
        if now != queries {
            found = Partial::nothing(queries.len(), 1);
            now = queries.clone();
        }
        let shape = (queries.len(), keys.len());
        let mut scores = scores.view((queries.start, keys.start), shape).into_owned();
        hide(&mask, &queries, &keys, &mut scores);
        let values = values.rows(keys.start, keys.len());
        found = found.merge(&Partial::of(scores, values)?)?;
        for (query, (max, sum)) in queries.zip(found.max.iter().zip(found.sum.iter())) {
            held[query] = Some([*max, *sum]);
        }
        done += 1;
    }
    Ok(Stopped { visits, mask, step: done, now, held })
}

/// Who moves, and who waits beside the processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// A tile of keys and values stays while all queries pass, and with each the answers
    /// so far (Dao et al. 2022, algorithm 1).
    KeysStay,
    /// A tile of queries stays, with its answers, while all keys pass (Dao 2023, and this
    /// chapter).
    QueriesStay,
}

/// The tile of Dao et al. 2022, algorithm 1: what stays is `⌈M / 4d⌉` rows, and what
/// passes at most `d` of them, so that four matrices of rows fit into `memory` numbers.
#[must_use]
pub fn tile_for(memory: usize, d: usize, order: Order) -> Tile {
    let stays = memory.div_ceil(4 * d);
    let passes = stays.min(d);
    match order {
        Order::KeysStay => Tile { queries: passes, keys: stays },
        Order::QueriesStay => Tile { queries: stays, keys: passes },
    }
}

/// Numbers that move between memory and a fast memory of `memory` numbers, counted tile
/// by tile, for one head of `n` queries and keys of `d` features.
#[must_use]
pub fn moved(n: usize, d: usize, memory: usize, order: Order) -> u64 {
    let tile = tile_for(memory, d, order);
    let (stay, pass) = match order {
        Order::KeysStay => (tile.keys, tile.queries),
        Order::QueriesStay => (tile.queries, tile.keys),
    };
    let mut numbers = 0;
    for staying in steps(0..n, stay) {
        // Keys and values come, or queries come and answers leave.
        numbers += 2 * staying.len() * d;
        for passing in steps(0..n, pass) {
            numbers += match order {
                // A query; its answer so far, its maximum and its sum, in and out.
                Order::KeysStay => passing.len() * (3 * d + 4),
                Order::QueriesStay => passing.len() * 2 * d,
            };
        }
    }
    numbers as u64
}

/// Numbers that move when the scores are written, made into weights, and read again: Q, K
/// in, S out; S in, A out; A, V in, O out.
#[must_use]
pub fn moved_with_matrix(n: usize, d: usize) -> u64 {
    let (n, d) = (n as u64, d as u64);
    4 * n * d + 4 * n * n
}

/// What is taken into a running softmax wrongly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    /// Nothing.
    None,
    /// The sum is not measured anew when the maximum grows.
    SumNotRescaled,
    /// Each tile is divided by its own sum, and the averages are averaged.
    DividedInEachTile,
    /// The maximum begins at −10,000 in place of the lowest number.
    FiniteStart,
    /// The last tile is filled with keys and values of zeros, which are not hidden.
    PaddedWithZeros,
}

/// Softmax of `scores`, as weights of `values`, in tiles of `tile`.
#[must_use]
pub fn online(scores: &[f32], values: &[f32], tile: usize, mistake: Mistake) -> f32 {
    let tile = tile.max(1);
    let mut max = match mistake {
        Mistake::FiniteStart => -1e4,
        _ => f32::MIN,
    };
    let (mut sum, mut weighted, mut averages) = (0.0, 0.0, 0.0);
    for (scores, values) in scores.chunks(tile).zip(values.chunks(tile)) {
        let mut pairs: Vec<(f32, f32)> =
            scores.iter().copied().zip(values.iter().copied()).collect();
        if mistake == Mistake::PaddedWithZeros {
            pairs.resize(tile, (0.0, 0.0));
        }
        let highest = pairs.iter().map(|pair| pair.0).fold(max, f32::max);
        let keep = (max - highest).exp();
        max = highest;
        let exps = pairs.iter().map(|(s, _)| (s - max).exp());
        let here: f32 = exps.clone().sum();
        let found: f32 = exps.zip(&pairs).map(|(e, (_, v))| e * v).sum();
        averages += found / here;
        sum = here + if mistake == Mistake::SumNotRescaled { sum } else { sum * keep };
        weighted = found + weighted * keep;
    }
    match mistake {
        Mistake::DividedInEachTile => averages / scores.len().div_ceil(tile) as f32,
        _ => weighted / sum,
    }
}

/// Queries, keys and values of all heads of a layer of MiniLM for some tokens.
fn projected(layer: &Layer, x: &DMatrix<f32>) -> Result<[DMatrix<f32>; 3]> {
    let linear = |LinearTensors { weight, bias }: &LinearTensors| {
        Ok(Linear::new(weight.clone(), bias.clone())?.forward(x)?)
    };
    let all = [&layer.q_proj, &layer.k_proj, &layer.v_proj].map(linear);
    let [q, k, v]: [Result<_>; 3] = all;
    Ok([q?, k?, v?])
}

/// How far this chapter's attention is from chapter 5's, in the largest difference, when
/// a layer of MiniLM reads the sentence.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn difference_on(layer: usize) -> Result<f32> {
    let layer = Layer::load(layer)?;
    let [q, k, v] = projected(&layer, &layer.x)?;
    difference(&q, &k, &v, layer.heads)
}

/// [`difference_on`] for layer 3 and the passage, whose tokens fill several tiles.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn difference_on_passage() -> Result<f32> {
    let (layer, x) = (Layer::load(3)?, minilm::passage()?);
    let [q, k, v] = projected(&layer, &x)?;
    difference(&q, &k, &v, layer.heads)
}

fn difference(
    q: &DMatrix<f32>,
    k: &DMatrix<f32>,
    v: &DMatrix<f32>,
    heads: usize,
) -> Result<f32> {
    let groups = Groups::new(heads, heads)?;
    let (k, v) = (k.as_view(), v.as_view());
    let whole = attend_groups(q, k, v, groups, &Mask::None)?.found;
    Ok((attend(q, k, v, groups, &Mask::None)? - whole).abs().max())
}

/// The share of queries whose maximum rises in each tile of `keys` keys, over all heads
/// of layer 3 of MiniLM on the passage.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn rises(keys: usize) -> Result<Vec<f64>> {
    let (layer, x) = (Layer::load(3)?, minilm::passage()?);
    let [q, k, _] = projected(&layer, &x)?;
    let width = layer.head_dim();
    let tiles: Vec<_> = steps(0..x.nrows(), keys).collect();
    let mut rises = vec![0; tiles.len()];
    for head in 0..layer.heads {
        let (q, k) = (q.columns(head * width, width), k.columns(head * width, width));
        for row in scores(q, k)?.row_iter() {
            let mut max = f32::MIN;
            for (rises, tile) in rises.iter_mut().zip(&tiles) {
                let highest = row.columns(tile.start, tile.len()).max();
                *rises += usize::from(highest > max);
                max = max.max(highest);
            }
        }
    }
    let rows = (layer.heads * x.nrows()) as f64;
    Ok(rises.into_iter().map(|rises| rises as f64 / rows).collect())
}

/// That share if the scores came in random order: the largest of all so far is as likely
/// to be one key as another, and a last tile that is shorter has fewer of them.
#[must_use]
pub fn rises_at_random(tokens: usize, keys: usize) -> Vec<f64> {
    let share = |tile: Range<usize>| tile.len() as f64 / tile.end as f64;
    steps(0..tokens, keys).map(share).collect()
}

/// The share of queries, over all heads of layer 3 of MiniLM on the passage, whose
/// largest score is that of the first key, `[CLS]`.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn highest_at_first_key() -> Result<f64> {
    let (layer, x) = (Layer::load(3)?, minilm::passage()?);
    let [q, k, _] = projected(&layer, &x)?;
    let width = layer.head_dim();
    let mut first = 0;
    for head in 0..layer.heads {
        let (q, k) = (q.columns(head * width, width), k.columns(head * width, width));
        let scores = scores(q, k)?;
        first += scores.row_iter().filter(|row| row[0] >= row.max()).count();
    }
    Ok(first as f64 / (layer.heads * x.nrows()) as f64)
}

/// Tokens of the passage.
///
/// # Errors
/// When it cannot be read.
pub fn passage_tokens() -> Result<usize> {
    Ok(minilm::passage()?.nrows())
}

/// Heads of the timed passes.
pub const HEADS: usize = 8;
/// Width of one of them.
pub const HEAD_DIM: usize = 64;
/// Tokens that the versions are timed with.
pub const TIMED: usize = 2048;
/// Keys in a tile, as they are timed.
pub const TILES: [usize; 8] = [16, 32, 64, 128, 256, 512, 1024, 2048];
/// Lengths of which the memory is measured.
pub const LENGTHS: [usize; 5] = [1024, 2048, 4096, 8192, 16384];
/// Lengths that are timed beside PyTorch.
pub const BESIDE: [usize; 4] = [512, 1024, 2048, 4096];
/// Cached tokens of the timed decoding.
pub const CACHED: usize = 8192;
/// Lengths at which Linformer is timed beside this chapter's pass.
pub const CONDENSED: [usize; 8] = [256, 512, 768, 1024, 1536, 2048, 4096, 8192];
/// Rows that Linformer keeps of them.
pub const CONDENSED_ROWS: usize = 256;
/// Key/value heads of the timed decoding.
pub const DECODE: [usize; 3] = [32, 8, 1];

/// One way to compute the same numbers.
#[derive(Debug, Clone, Copy)]
pub struct Version {
    /// Its name in the recording.
    pub name: &'static str,
    /// Its name in tables.
    pub words: &'static str,
    /// On how many cores it is timed.
    pub cores: usize,
    how: How,
}

#[derive(Debug, Clone, Copy)]
enum How {
    Matrix,
    Tiled,
    Tuned(Vectors, Exp),
}

/// The versions, each one step from the one before.
pub const VERSIONS: [Version; 7] = [
    Version { name: "matrix", words: "the whole matrix", cores: 1, how: How::Matrix },
    Version { name: "tiled", words: "tiles", cores: 1, how: How::Tiled },
    Version {
        name: "packed",
        words: "packed, one by one",
        cores: 1,
        how: How::Tuned(Vectors::One, Exp::Library),
    },
    Version {
        name: "eight",
        words: "vectors up to 8",
        cores: 1,
        how: How::Tuned(Vectors::UpToEight, Exp::Library),
    },
    Version {
        name: "series",
        words: "exp in vectors",
        cores: 1,
        how: How::Tuned(Vectors::UpToEight, Exp::Series),
    },
    Version {
        name: "widest",
        words: "widest vectors",
        cores: 1,
        how: How::Tuned(Vectors::Widest, Exp::Series),
    },
    Version {
        name: "both",
        words: "both cores",
        cores: 2,
        how: How::Tuned(Vectors::Widest, Exp::Series),
    },
];

impl Version {
    /// Computes attention this way.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn run(
        &self,
        q: &DMatrix<f32>,
        k: &DMatrix<f32>,
        v: &DMatrix<f32>,
        groups: Groups,
        mask: &Mask,
    ) -> Result<DMatrix<f32>> {
        let tile = Tuning::default().tile;
        let width = |matrix: &DMatrix<f32>, heads| matrix.ncols() / heads;
        let (d_k, d_v) = (width(q, groups.heads()), width(v, groups.kv_heads()));
        match self.how {
            How::Tuned(vectors, exp) => {
                let tuning = Tuning { tile, vectors, exp };
                Ok(attend_tuned(q, k.as_view(), v.as_view(), groups, mask, tuning)?)
            }
            How::Matrix | How::Tiled => {
                let mut output = DMatrix::zeros(q.nrows(), groups.heads() * d_v);
                for h in 0..groups.heads() {
                    let g = groups.kv_head(h);
                    let q = q.columns(h * d_k, d_k);
                    let k = k.columns(g * d_k, d_k);
                    let v = v.columns(g * d_v, d_v);
                    let found = match self.how {
                        How::Tiled => attend_tiled(q, k, v, mask, tile)?,
                        _ => attend_whole(q, k, v, mask)?.output,
                    };
                    output.columns_mut(h * d_v, d_v).copy_from(&found);
                }
                Ok(output)
            }
        }
    }
}

/// Normal numbers that follow the seed.
#[must_use]
pub fn normal(rows: usize, columns: usize, seed: u64) -> DMatrix<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    DMatrix::from_fn(rows, columns, |_, _| StandardNormal.sample(&mut rng))
}

/// What `cargo bench -p flash -- --record` wrote down last.
///
/// # Errors
/// When the recording cannot be read.
pub fn recorded() -> Result<Recorded> {
    Recorded::parse(include_str!("../benches/recorded.csv"))
        .context("chapters/09-flash/benches/recorded.csv")
}

/// What it wrote down of memory, in MiB.
///
/// # Errors
/// When the recording cannot be read.
pub fn memory() -> Result<Recorded> {
    Recorded::parse(include_str!("../benches/memory.csv"))
        .context("chapters/09-flash/benches/memory.csv")
}

/// What `benches/beside_pytorch.py --record` wrote down last.
///
/// # Errors
/// When the recording cannot be read.
pub fn beside_pytorch() -> Result<Recorded> {
    Recorded::parse(include_str!("../benches/pytorch.csv"))
        .context("chapters/09-flash/benches/pytorch.csv")
}

/// Our time over PyTorch's: that of the medians; and the least and the most that the
/// quartiles of both sides allow.
///
/// # Errors
/// When it was not recorded.
pub fn ratio(case: &str, n: usize) -> Result<Spread> {
    let recorded = beside_pytorch()?;
    let time = |side: &str| recorded.spread(&format!("{side}_{case}"), n);
    let (ours, theirs) = (time("ours")?, time("pytorch")?);
    Ok(Spread {
        low: ours.low / theirs.high,
        median: ours.median / theirs.median,
        high: ours.high / theirs.low,
    })
}

/// Where Linformer's time for one head falls below that of this chapter's pass: between the
/// last size at which the pass is faster and the next, on straight lines in a log-log plot.
///
/// # Errors
/// When they do not cross.
pub fn linformer_crossing() -> Result<f64> {
    let recorded = recorded()?;
    let gain = |n: usize| -> Result<(f64, f64)> {
        let ms = |case| recorded.milliseconds(case, n);
        Ok(((n as f64).ln(), (ms("one_head")? / ms("linformer")?).ln()))
    };
    let gains = CONDENSED.into_iter().map(gain).collect::<Result<Vec<_>>>()?;
    let around =
        gains.windows(2).rev().find(|pair| pair[0].1 < 0.0 && pair[1].1 >= 0.0);
    let [(x0, y0), (x1, y1)] = *around.context("the times do not cross")? else {
        unreachable!("windows of two");
    };
    Ok((x0 + (x1 - x0) * -y0 / (y1 - y0)).exp())
}

/// Billions of bytes per second at which a token's attention goes through keys and values
/// of so many heads, and at which a plain sum goes through the same.
///
/// # Errors
/// When it was not recorded.
pub fn bandwidth(kv_heads: usize) -> Result<[f64; 2]> {
    let recorded = recorded()?;
    let per_second = |ms: f64| cache_bytes(kv_heads) as f64 / ms / 1e6;
    Ok([
        per_second(recorded.milliseconds("decode", kv_heads)?),
        per_second(recorded.milliseconds("read_cache", kv_heads)?),
    ])
}

/// Keys and values of the timed decoding.
#[must_use]
pub fn cache_bytes(kv_heads: usize) -> usize {
    2 * CACHED * kv_heads * 128 * size_of::<f32>()
}

/// Multiply-adds of a full pass of the timed size, twice over: a multiplication and an
/// addition each.
#[must_use]
pub fn operations(n: usize) -> f64 {
    (4 * n * n * HEAD_DIM * HEADS) as f64
}
