//! The chapter's figures, one function each.

use crate::example::{RISE_TILE, rounded};
use crate::experiments::{
    self, BESIDE, CONDENSED, CONDENSED_ROWS, DECODE, LENGTHS, Order, Stopped, TIMED,
    VERSIONS, Version, Visit, WALKED,
};
use crate::{Sight, Tile};
use anyhow::Result;
use attention::Mask;
use attention::example::grouped as thousands;
use figures::{
    Anchor, Area, Axis, Bars, Canvas, Chart, Diagram, Figure, FigureError, Hue, Paint,
    Pen, Plot, SMALL, Slot, Spread, TEXT, Table, Type, Words, at,
};
use std::cmp::Ordering;

/// All of them, in the order in which the chapter shows them.
///
/// # Errors
/// When the model's slice or a recording cannot be read.
pub fn all() -> Result<Vec<Figure>> {
    Ok(vec![
        memory()?,
        merge()?,
        walk()?,
        traffic()?,
        rises()?,
        versions()?,
        tiles()?,
        beside()?,
        decoding()?,
        beside_linformer()?,
    ])
}

/// What a pass adds to memory, as measured.
///
/// # Errors
/// When the recording cannot be read.
pub fn memory() -> Result<Figure> {
    let recorded = experiments::memory()?;
    let line = |case| {
        let mib = |&n| Ok((n as f64, recorded.spread(case, n)?));
        LENGTHS.iter().map(mib).collect::<Result<Vec<_>>>()
    };
    let (flash, matrix) = (line("flash")?, line("matrix")?);
    let last = LENGTHS.len() - 1;
    let mib = |line: &[(f64, Spread)], i: usize| rounded(line[i].1.median);
    let words = Words {
        title: "Tiles need memory in step with the tokens".into(),
        caption: format!(
            "Twice the tokens need twice the memory in tiles, and up to four times with \
             the matrix. The operating system measured what a pass of eight heads of 64 \
             adds to the memory of its process: at 16,384 tokens {} MiB in tiles, and {} \
             MiB with one head’s matrix at a time.",
            mib(&flash, last),
            mib(&matrix, last),
        ),
        alt: format!(
            "Two lines on log scales over 1,024 to 16,384 tokens. One matrix at a time \
             climbs from {} to {} MiB, tiles from {} to {}.",
            mib(&matrix, 0),
            mib(&matrix, last),
            mib(&flash, 0),
            mib(&flash, last),
        ),
    };
    let plot = Chart::new(Axis::log2("tokens"), Axis::log("added memory, MiB"))
        .measured("one matrix", Hue::Attention, matrix)
        .measured("tiles", Hue::Flash, flash);
    Ok(Figure::measured("memory", words, &recorded.measured(), 1, &[&plot])?)
}

/// Partial results and how they meet.
///
/// # Errors
/// When the diagram cannot be drawn.
pub fn merge() -> Result<Figure> {
    let words = Words {
        title: "Three things stand for all keys so far".into(),
        caption: "Two partial results merge into one of the same kind. Each holds the \
                  largest score μ, the sum ℓ of exponentials measured from it, and the \
                  values weighted by them, o. Merging measures both from the larger \
                  maximum, M; the division waits until the end."
            .into(),
        alt: "Two boxes, keys 0 and 1 with μ, ℓ, o and keys 2 and 3 with μ′, ℓ′, o′, \
              lead into a box merged with M, L, O, which leads to a box output, O over L."
            .into(),
    };
    let diagram = Diagram::new()
        .node("one", Slot { column: 0, row: 0 }, &["keys 0, 1", "μ, ℓ, o"], Hue::Flash)
        .node(
            "two",
            Slot { column: 0, row: 2 },
            &["keys 2, 3", "μ′, ℓ′, o′"],
            Hue::Flash,
        )
        .node("all", Slot { column: 1, row: 1 }, &["merged", "M, L, O"], Hue::Flash)
        .node("out", Slot { column: 2, row: 1 }, &["output", "O / L"], Hue::Muted)
        .arrow("one", "all", "")
        .arrow("two", "all", "")
        .arrow("all", "out", "");
    Ok(Figure::draw("merge", words, &diagram)?)
}

/// A walk over tiles, stopped after some of them.
struct TileWalk {
    walk: Stopped,
    /// Tiles next to each other in a row.
    columns: usize,
}

/// Side of the square of all tiles, in pixels.
const SIDE: f64 = 256.0;

impl TileWalk {
    /// Its place, what the mask leaves, and the number of the tile among those computed.
    fn cells(&self) -> impl Iterator<Item = (Area, &Visit, Option<usize>)> {
        let mut computed = 0;
        self.walk.visits.iter().enumerate().map(move |(i, visit)| {
            let number = (visit.sight != Sight::Nothing).then(|| {
                computed += 1;
                computed
            });
            let pixels = SIDE / WALKED as f64;
            let area = Area {
                x: LEFT + (i % self.columns * visit.keys.len()) as f64 * pixels,
                y: TOP + visit.queries.start as f64 * pixels,
                width: visit.keys.len() as f64 * pixels,
                height: visit.queries.len() as f64 * pixels,
            };
            (area, visit, number)
        })
    }

    /// Fills what the mask leaves of a tile.
    fn fill(
        &self,
        canvas: &Canvas,
        area: Area,
        visit: &Visit,
        opacity: f64,
    ) -> Result<(), FigureError> {
        let (height, width) = (
            area.height / visit.queries.len() as f64,
            area.width / visit.keys.len() as f64,
        );
        for (row, query) in visit.queries.clone().enumerate() {
            let seen =
                visit.keys.clone().filter(|&key| self.walk.mask.sees(query, key));
            let (y, width) =
                (area.y + row as f64 * height, seen.count() as f64 * width);
            let area = Area { x: area.x, y, width, height };
            canvas.fill(area, Paint::Hue(Hue::Flash), opacity)?;
        }
        Ok(())
    }

    /// Beside each query, what is held of it.
    fn held(&self, canvas: &Canvas) -> Result<(), FigureError> {
        let (max, sum) = (LEFT + SIDE + 62.0, LEFT + SIDE + 112.0);
        let small = Type::new(SMALL, Paint::MutedInk, Anchor::End);
        canvas.words("max", at(max, TOP - 14.0), small)?;
        canvas.words("sum", at(sum, TOP - 14.0), small)?;
        let height = SIDE / WALKED as f64;
        for (query, held) in self.walk.held.iter().enumerate() {
            let y = TOP + (query as f64 + 0.5) * height;
            let now = self.walk.now.contains(&query);
            let ink = if now { Paint::Ink } else { Paint::MutedInk };
            let words = Type::new(SMALL, ink, Anchor::End);
            let words = if now { words.bold() } else { words };
            let [first, second] = match held {
                Some([max, sum]) => [format!("{max:.2}"), format!("{sum:.2}")],
                None => ["–".to_owned(), "–".to_owned()],
            };
            canvas.words(&first.replace('-', "−"), at(max, y), words)?;
            canvas.words(&second, at(sum, y), words)?;
        }
        Ok(())
    }
}

/// Where the square begins.
const LEFT: f64 = 34.0;
const TOP: f64 = 34.0;

impl Plot for TileWalk {
    fn title(&self) -> &'static str {
        ""
    }

    fn height(&self, _: f64) -> f64 {
        TOP + SIDE + 10.0
    }

    fn paint(&self, canvas: &Canvas) -> Result<(), FigureError> {
        let small = |anchor| Type::new(SMALL, Paint::MutedInk, anchor);
        canvas.words(
            "keys",
            at(LEFT + SIDE / 2.0, TOP - 14.0),
            small(Anchor::Middle),
        )?;
        let middle = at(LEFT - 14.0, TOP + SIDE / 2.0);
        canvas.words("queries", middle, small(Anchor::Upwards))?;
        for (area, visit, number) in self.cells() {
            let opacity = match number.map(|number| number.cmp(&self.walk.step)) {
                Some(Ordering::Less) => 0.3,
                Some(Ordering::Equal) => 0.75,
                _ => 0.08,
            };
            self.fill(canvas, area, visit, opacity)?;
            canvas.outline(area, Pen::new(Paint::Grid, 1.0))?;
            let center = area.center();
            match number {
                Some(number) => {
                    let words = Type::new(TEXT, Paint::Ink, Anchor::Middle).rimmed();
                    let now = number == self.walk.step;
                    let words = if now { words.bold() } else { words };
                    canvas.words(&number.to_string(), center, words)?;
                }
                None if area.width > 50.0 => {
                    canvas.words("skipped", center, small(Anchor::Middle))?;
                }
                None => {}
            }
        }
        self.held(canvas)
    }

    fn table(&self) -> Table {
        let row = |(_, visit, number): (Area, &Visit, Option<usize>)| {
            let range =
                |r: &std::ops::Range<usize>| format!("{} to {}", r.start, r.end - 1);
            let done = match (visit.sight, number) {
                (Sight::Part, Some(number)) => format!("{number}, masked"),
                (_, Some(number)) => number.to_string(),
                (_, None) => "skipped".into(),
            };
            vec![range(&visit.queries), range(&visit.keys), done]
        };
        Table {
            columns: ["queries", "keys", "order"].map(str::to_owned).into(),
            rows: self.cells().map(row).collect(),
        }
    }
}

/// Which tiles a causal pass computes, in which order, and what it holds after six.
///
/// # Errors
/// When it cannot be drawn.
pub fn walk() -> Result<Figure> {
    let tile = Tile { queries: 4, keys: 4 };
    walk_with(tile, Mask::Causal { offset: 0 }, 6)
}

/// [`walk`] with other tiles and another mask, stopped after `step` tiles, or at the end.
///
/// # Errors
/// When it cannot be drawn.
pub fn walk_with(tile: Tile, mask: Mask, step: usize) -> Result<Figure> {
    let causal = matches!(mask, Mask::Causal { .. });
    let walk = experiments::stopped(tile, mask, step)?;
    let count = |sight| walk.visits.iter().filter(|visit| visit.sight == sight).count();
    let (all, skipped) = (walk.visits.len(), count(Sight::Nothing));
    let (computed, masked) = (all - skipped, count(Sight::Part));
    let (step, now) = (walk.step, walk.now.clone());
    let (first, last) = (now.start, now.end - 1);
    let columns = WALKED / tile.keys.clamp(1, WALKED);
    let Tile { queries, keys } = tile;
    let begins = if causal {
        "Queries stay, keys pass, and what lies above the diagonal is skipped."
    } else {
        "Queries stay while keys pass, and then the next queries come."
    };
    let words = Words {
        title: "What is held does not grow with the keys".into(),
        caption: format!(
            "{begins} {WALKED} queries and keys in tiles of {queries} by {keys}{}: {computed} of \
             {all} tiles are computed in the order of their numbers, {skipped} are skipped, and \
             {masked} have a mask to apply. Tile {step} has just been merged into what is held \
             of queries {first} to {last}: the largest score so far, the sum of exponentials \
             measured from it, and the weighted values, which are not shown.",
            if causal { ", causal" } else { "" },
        ),
        alt: format!(
            "A square of tiles, numbered row by row from 1 to {computed}; {skipped} say \
             skipped or are blank. Tile {step} stands out. Beside the square, a \
             maximum and a sum for each query up to {last}, and dashes for those after it."
        ),
    };
    Ok(Figure::draw("walk", words, &TileWalk { walk, columns })?)
}

/// What moves between memory and a fast memory.
///
/// # Errors
/// When it cannot be drawn.
pub fn traffic() -> Result<Figure> {
    let (n, d) = (TIMED, 64);
    let sizes: Vec<usize> = (10..=20).map(|power| 1 << power).collect();
    let kib = |memory: usize| (memory * 4) as f64 / 1024.0;
    let mib = |numbers: u64| (numbers * 4) as f64 / f64::from(1 << 20);
    let line = |order| -> Vec<(f64, f64)> {
        let point =
            |&memory| (kib(memory), mib(experiments::moved(n, d, memory, order)));
        sizes.iter().map(point).collect()
    };
    let (keys, queries) = (line(Order::KeysStay), line(Order::QueriesStay));
    let whole = mib(experiments::moved_with_matrix(n, d));
    let least = mib((4 * n * d) as u64);
    let matrix: Vec<_> = sizes.iter().map(|&memory| (kib(memory), whole)).collect();
    let at_256 = |line: &[(f64, f64)]| line[6].1;
    let words = Words {
        title: "A larger tile reads memory less often".into(),
        caption: format!(
            "The larger the fast memory, the less moves in tiles; the matrix is moved \
             whatever its size. One head of 64, 2,048 tokens, counted tile by tile. With \
             256 KiB: {:.1} MiB if keys stay, {:.1} if queries stay, {whole:.0} with the \
             matrix. Each number once would be {least:.0} MiB.",
            at_256(&keys),
            at_256(&queries),
        ),
        alt: format!(
            "Lines on log scales over a fast memory of 4 KiB to 4 MiB. The matrix is level \
             at {whole:.0} MiB. Keys stay falls from {:.0} to {:.1}, queries stay, below \
             it, from {:.0} to {:.1}; a rule at {least:.0} says each number once.",
            keys[0].1, keys[10].1, queries[0].1, queries[10].1,
        ),
    };
    let plot = Chart::new(Axis::log2("fast memory, KiB"), Axis::log("moved, MiB"))
        .line("whole matrix", Hue::Attention, matrix)
        .line("keys stay", Hue::Muted, keys)
        .line("queries stay", Hue::Flash, queries)
        .horizontal(least, "each number once");
    Ok(Figure::draw("traffic", words, &plot)?)
}

/// How often a maximum rises in a real layer.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn rises() -> Result<Figure> {
    let shares = experiments::rises(RISE_TILE)?;
    let tokens = experiments::passage_tokens()?;
    let random = experiments::rises_at_random(tokens, RISE_TILE);
    let last = shares.len() - 1;
    let line = |shares: &[f64]| -> Vec<(f64, f64)> {
        shares.iter().enumerate().map(|(tile, &share)| (tile as f64, share)).collect()
    };
    let words = Words {
        title: "After the first tile, the maximum seldom rises".into(),
        caption: format!(
            "In most tiles nearly every maximum stays as it is. The share of queries \
             whose largest score rises in a tile of {RISE_TILE} keys, over the twelve heads \
             of layer 3 of MiniLM on a passage of {tokens} tokens: all of them in tile 0, \
             {:.0} % in tile 1, {:.0} % in the last. In random order it would be the share \
             of the keys so far that are in the tile: a half in tile 1, and {:.0} % in the \
             last, which has {} keys.",
            100.0 * shares[1],
            100.0 * shares[last],
            100.0 * random[last],
            tokens - last * RISE_TILE,
        ),
        alt: format!(
            "Two falling lines over tiles 0 to {last}, both from 1. MiniLM is at {:.2} in \
             tile 1 and {:.2} in the last, random order at {:.2} and {:.2}.",
            shares[1], shares[last], random[1], random[last],
        ),
    };
    let plot = Chart::new(
        Axis::linear("tile"),
        Axis::linear("share of queries whose maximum rises").range(0.0, 1.0),
    )
    .line("random order", Hue::Muted, line(&random))
    .line("MiniLM", Hue::Flash, line(&shares));
    Ok(Figure::draw("rises", words, &plot)?)
}

/// The time of each version.
///
/// # Errors
/// When the recording cannot be read.
pub fn versions() -> Result<Figure> {
    let (recorded, beside) = (experiments::recorded()?, experiments::beside_pytorch()?);
    let time =
        |version: &Version| recorded.spread(&format!("{}_full", version.name), TIMED);
    let mut all = VERSIONS.iter().map(time).collect::<Result<Vec<_>, _>>()?;
    let times: Vec<f64> = all.iter().map(|spread| spread.median).collect();
    all.push(beside.spread("pytorch_full", TIMED)?);
    let pytorch = all[VERSIONS.len()].median;
    let names = VERSIONS.iter().map(|v| v.words).chain(["PyTorch, both"]);
    let most = all.iter().map(|spread| spread.high).fold(0.0, f64::max);
    let words = Words {
        title: "Tiles save memory; vectors and cores save time".into(),
        caption: format!(
            "Tiles are slower than the matrix until vectors do the products and the \
             exponentials. Eight heads of 64 over 2,048 tokens, no mask: on one core {:.0} ms with the matrix, {:.0} ms in plain \
             tiles and {:.0} ms in packed ones with the widest vectors; {:.0} ms on both \
             cores. PyTorch takes {pytorch:.0} ms on both.",
            times[0], times[1], times[5], times[6],
        ),
        alt: format!(
            "Bars: {}, PyTorch {pytorch:.0} ms.",
            VERSIONS
                .iter()
                .zip(&times)
                .map(|(version, ms)| format!("{} {ms:.0} ms", version.words))
                .collect::<Vec<_>>()
                .join(", "),
        ),
    };
    let bars = Bars::new(Axis::linear("time, ms").range(0.0, 1.1 * most), names)
        .measured("", Hue::Flash, all);
    Ok(Figure::measured("versions", words, &beside.measured(), 1, &[&bars])?)
}

/// The time against the number of keys in a tile.
///
/// # Errors
/// When the recording cannot be read.
pub fn tiles() -> Result<Figure> {
    let recorded = experiments::recorded()?;
    let line: Vec<_> = recorded.line("tile").collect();
    let points: Vec<_> = line.iter().map(|(keys, time)| (*keys, time.median)).collect();
    let (first, last) = (points[0].1, points[points.len() - 1].1);
    let best = points.iter().fold((0.0, f64::MAX), |best: (f64, f64), point| {
        if point.1 < best.1 { *point } else { best }
    });
    let high = line.iter().map(|(_, time)| time.high).fold(0.0, f64::max);
    let words = Words {
        title: "The keys of a tile may be few or many".into(),
        caption: format!(
            "The time depends little on how many keys a tile has. The finished pass over \
             2,048 tokens on both cores: {first:.1} ms with 16 keys in a tile, {:.1} ms \
             with {}, {last:.1} ms with all 2,048.",
            best.1,
            thousands(best.0 as u64),
        ),
        alt: format!(
            "A line over 16 to 2,048 keys in a tile: {first:.1} ms at 16, \
             the least, {:.1} ms, at {}, and {last:.1} ms at 2,048.",
            best.1,
            thousands(best.0 as u64),
        ),
    };
    let plot = Chart::new(
        Axis::log2("keys in a tile"),
        Axis::linear("time, ms").range(0.0, 1.2 * high),
    )
    .measured("", Hue::Flash, line);
    Ok(Figure::measured("tiles", words, &recorded.measured(), 1, &[&plot])?)
}

/// Time over PyTorch's time.
///
/// # Errors
/// When the recording cannot be read.
pub fn beside() -> Result<Figure> {
    let line = |case: &str| {
        let point = |&n: &usize| Ok((n as f64, experiments::ratio(case, n)?));
        BESIDE.iter().map(point).collect::<Result<Vec<_>>>()
    };
    let (full, causal) = (line("full")?, line("causal")?);
    let listed = |line: &[(f64, Spread)]| {
        line.iter()
            .map(|(_, ratio)| format!("{:.2}", ratio.median))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let ratios = || full.iter().chain(&causal).map(|(_, ratio)| ratio);
    let title = if ratios().all(|ratio| ratio.median < 1.0) {
        "Faster than PyTorch’s kernel, at all four lengths"
    } else {
        "Beside PyTorch’s kernel, at four lengths"
    };
    let most = ratios().map(|ratio| ratio.high).fold(1.0, f64::max);
    let words = Words {
        title: title.into(),
        caption: format!(
            "Below 1, this chapter’s pass takes less time than PyTorch’s. Eight heads of \
             64 on the same two cores, taking turns, at 512, 1,024, 2,048 and 4,096 \
             tokens: {} without a mask, {} with the causal one.",
            listed(&full),
            listed(&causal),
        ),
        alt: format!(
            "Two lines over 512 to 4,096 tokens; below 1 we are faster. Full: {}. Causal: {}.",
            listed(&full),
            listed(&causal),
        ),
    };
    let plot = Chart::new(
        Axis::log2("tokens").ticks(&[512.0, 1024.0, 2048.0, 4096.0]),
        Axis::linear("our time / PyTorch’s").range(0.0, 1.1 * most),
    )
    .measured("full", Hue::Attention, full)
    .measured("causal", Hue::Flash, causal)
    .horizontal(1.0, "PyTorch");
    let measured = experiments::beside_pytorch()?.measured();
    Ok(Figure::measured("beside", words, &measured, 1, &[&plot])?)
}

/// One head over n: with the matrix, in tiles, and with Linformer's rows.
///
/// # Errors
/// When the recording cannot be read.
pub fn beside_linformer() -> Result<Figure> {
    let recorded = experiments::recorded()?;
    let most = CONDENSED[CONDENSED.len() - 1];
    let ms = |case| recorded.milliseconds(case, most);
    let (matrix, tiles, linformer) =
        (ms("one_head_matrix")?, ms("one_head")?, ms("linformer")?);
    let near = (experiments::linformer_crossing()? / 10.0).round() * 10.0;
    let crossing = thousands(near as u64);
    let words = Words {
        title: format!("Linformer beats tiles from {crossing} tokens on"),
        caption: format!(
            "The same Linformer gains less over attention in tiles than over attention with \
             its matrix. One head of 64 on all cores, {CONDENSED_ROWS} rows for Linformer: at \
             {} tokens {matrix:.0} ms with the matrix, {tiles:.0} ms in tiles and \
             {linformer:.0} ms with Linformer, {:.1} times less than in tiles. Tiles and \
             Linformer cross near {crossing} tokens.",
            thousands(most as u64),
            tiles / linformer,
        ),
        alt: format!(
            "Three rising lines on log scales over 256 to {} tokens. At the right, attention \
             with its matrix is at {matrix:.0} ms, in tiles at {tiles:.0} ms and Linformer at \
             {linformer:.0} ms; the last two cross near {crossing} tokens.",
            thousands(most as u64),
        ),
    };
    let line = |case| recorded.line(case).collect::<Vec<_>>();
    let plot = Chart::new(Axis::log2("tokens"), Axis::log("time, ms"))
        .measured("matrix", Hue::Attention, line("one_head_matrix"))
        .measured("tiles", Hue::Flash, line("one_head"))
        .measured("Linformer", Hue::Linformer, line("linformer"))
        .vertical(near, &crossing);
    let measured = recorded.measured();
    Ok(Figure::measured("beside_linformer", words, &measured, 1, &[&plot])?)
}

/// One token over a long cache, beside PyTorch.
///
/// # Errors
/// When the recording cannot be read.
pub fn decoding() -> Result<Figure> {
    let recorded = experiments::beside_pytorch()?;
    let side = |case| {
        let time = |&kv_heads: &usize| recorded.spread(case, kv_heads);
        DECODE.iter().map(time).collect::<Result<Vec<_>, _>>()
    };
    let both = [side("ours_decode")?, side("pytorch_decode")?];
    let most = both.iter().flatten().map(|time| time.high).fold(0.0, f64::max);
    let medians =
        |side: &[Spread]| side.iter().map(|time| time.median).collect::<Vec<_>>();
    let [ours, theirs] = both.each_ref().map(|side| medians(side));
    let [our_times, their_times] = both;
    let gains = || theirs.iter().zip(&ours).map(|(theirs, ours)| theirs / ours);
    let (least, greatest) =
        (gains().fold(f64::MAX, f64::min), gains().fold(0.0, f64::max));
    let words = Words {
        title: "Where heads share keys, decoding gains most".into(),
        caption: format!(
            "PyTorch takes {:.1} to {:.1} times as long to decode a token. One token of 32 \
             query heads of 128 over 8,192 cached tokens, without the append of its own key \
             and value, with 32, 8 and 1 kv heads: {:.2}, {:.2} and {:.2} ms here, {:.2}, \
             {:.2} and {:.2} ms in PyTorch.",
            least, greatest, ours[0], ours[1], ours[2], theirs[0], theirs[1], theirs[2],
        ),
        alt: format!(
            "Pairs of bars. 32 kv heads: {:.1} ms here and {:.1} \
             in PyTorch; 8: {:.1} and {:.1}; 1: {:.1} and {:.1}.",
            ours[0], theirs[0], ours[1], theirs[1], ours[2], theirs[2],
        ),
    };
    let bars = Bars::new(
        Axis::linear("time per token, ms").range(0.0, 1.15 * most),
        DECODE.map(|kv_heads| kv_heads.to_string()),
    )
    .categories_label("kv heads")
    .measured("ours", Hue::Flash, our_times)
    .measured("PyTorch", Hue::Muted, their_times);
    Ok(Figure::measured("decoding", words, &recorded.measured(), 1, &[&bars])?)
}
