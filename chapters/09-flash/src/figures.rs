//! The chapter's figures, one function each.

use crate::Sight;
use crate::example::{RISE_TILE, rounded, small_walk};
use crate::experiments::{
    self, BESIDE, DECODE, LENGTHS, Order, TILES, TIMED, VERSIONS, Visit,
};
use anyhow::Result;
use figures::{
    Anchor, Area, Axis, Bars, Canvas, Chart, Diagram, Figure, FigureError, Hue, Paint,
    Pen, Plot, SMALL, Slot, TEXT, Table, Type, Words, at,
};

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
    ])
}

/// What a pass adds to memory, as measured.
///
/// # Errors
/// When the recording cannot be read.
pub fn memory() -> Result<Figure> {
    let recorded = experiments::memory()?;
    let line = |case| {
        let mib = |&n| Ok((n as f64, recorded.milliseconds(case, n)?));
        LENGTHS.iter().map(mib).collect::<Result<Vec<_>>>()
    };
    let (flash, matrix) = (line("flash")?, line("matrix")?);
    let last = LENGTHS.len() - 1;
    let words = Words {
        title: "One grows with the square, the other with the text".into(),
        caption: format!(
            "Attention in tiles needs memory in proportion to the tokens. What a pass of \
             eight heads of 64 adds to the memory of its process, measured by the \
             operating system: {} MiB against {} MiB at 16,384 tokens, when the \
             other keeps one head’s matrix at a time.",
            rounded(flash[last].1),
            rounded(matrix[last].1),
        ),
        alt: format!(
            "Two lines on log scales over 1,024 to 16,384 tokens. One matrix at a time \
             climbs from {} to {} MiB, tiles from {} to {}.",
            rounded(matrix[0].1),
            rounded(matrix[last].1),
            rounded(flash[0].1),
            rounded(flash[last].1),
        ),
    };
    let plot = Chart::new(Axis::log2("tokens"), Axis::log("added memory, MiB"))
        .line("one matrix", Hue::Attention, matrix)
        .line("tiles", Hue::Flash, flash);
    Ok(Figure::draw("memory", words, &plot)?)
}

/// Partial results and how they meet.
///
/// # Errors
/// When the diagram cannot be drawn.
pub fn merge() -> Result<Figure> {
    let words = Words {
        title: "Three numbers stand for all keys so far".into(),
        caption: "Two partial results merge into one of the same kind. Each holds the \
                  largest score m, the sum l of exponentials measured from it, and the \
                  values weighted by them, o. Whoever merges measures both from the larger \
                  maximum; division waits until the end."
            .into(),
        alt: "Two boxes, keys 0 and 1 with m, l, o and keys 2 and 3 with m, l, o, lead \
              into a box merged with M, L, O, which leads to a box output, O over L."
            .into(),
    };
    let diagram = Diagram::new()
        .node(
            "one",
            Slot { column: 0, row: 0 },
            &["keys 0, 1", "m₁, l₁, o₁"],
            Hue::Flash,
        )
        .node(
            "two",
            Slot { column: 0, row: 2 },
            &["keys 2, 3", "m₂, l₂, o₂"],
            Hue::Flash,
        )
        .node("all", Slot { column: 1, row: 1 }, &["merged", "M, L, O"], Hue::Flash)
        .node("out", Slot { column: 2, row: 1 }, &["output", "O / L"], Hue::Muted)
        .arrow("one", "all", "")
        .arrow("two", "all", "")
        .arrow("all", "out", "");
    Ok(Figure::draw("merge", words, &diagram)?)
}

/// The tiles of a small causal pass with the order in which they are computed.
struct TileWalk {
    visits: Vec<Visit>,
}

impl TileWalk {
    /// Tiles a side.
    fn side(&self) -> usize {
        self.visits.len().isqrt()
    }

    /// Its place, what the mask leaves, and the number of the tile among those computed.
    fn cells(&self) -> impl Iterator<Item = (usize, usize, &Visit, Option<usize>)> {
        let (side, mut computed) = (self.side(), 0);
        self.visits.iter().enumerate().map(move |(i, visit)| {
            let number = (visit.sight != Sight::Nothing).then(|| {
                computed += 1;
                computed
            });
            (i / side, i % side, visit, number)
        })
    }
}

impl Plot for TileWalk {
    fn title(&self) -> &'static str {
        ""
    }

    fn height(&self, _: f64) -> f64 {
        320.0
    }

    fn paint(&self, canvas: &Canvas) -> Result<(), FigureError> {
        let cell = 290.0 / self.side() as f64;
        let (left, top) = ((canvas.width() - 290.0) / 2.0 + 20.0, 24.0);
        let small = |anchor| Type::new(SMALL, Paint::MutedInk, anchor);
        canvas.words("keys", at(left + 145.0, 10.0), small(Anchor::Middle))?;
        canvas.words(
            "queries",
            at(left - 12.0, top + 165.0),
            small(Anchor::Upwards),
        )?;
        for (row, column, visit, number) in self.cells() {
            let (x, y) = (left + column as f64 * cell, top + row as f64 * cell);
            let area = Area { x, y, width: cell, height: cell };
            let fill = Paint::Hue(Hue::Flash);
            let rows = visit.queries.len();
            match visit.sight {
                Sight::All => canvas.fill(area, fill, 0.45)?,
                // A step a query: on the diagonal, it sees up to itself.
                Sight::Part => {
                    let step = cell / rows as f64;
                    for query in 0..rows {
                        let width = step * (query + 1) as f64;
                        let y = y + query as f64 * step;
                        canvas.fill(Area { x, y, width, height: step }, fill, 0.45)?;
                    }
                }
                Sight::Nothing => {}
            }
            canvas.outline(area, Pen::new(Paint::Grid, 1.0))?;
            let words = Type::new(TEXT, Paint::Ink, Anchor::Middle);
            match number {
                Some(number) => {
                    let words = words.bold().rimmed();
                    canvas.words(&number.to_string(), area.center(), words)?;
                }
                None => {
                    canvas.words("skipped", area.center(), small(Anchor::Middle))?;
                }
            }
        }
        Ok(())
    }

    fn table(&self) -> Table {
        let row = |(_, _, visit, number): (usize, usize, &Visit, Option<usize>)| {
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

/// Which tiles a causal pass computes, and in which order.
///
/// # Errors
/// When it cannot be drawn.
pub fn walk() -> Result<Figure> {
    let plot = TileWalk { visits: small_walk() };
    let skipped = plot.cells().filter(|cell| cell.3.is_none()).count();
    let masked = plot.visits.iter().filter(|v| v.sight == Sight::Part).count();
    let words = Words {
        title: "Tiles that the mask hides are not visited".into(),
        caption: format!(
            "Queries stay, keys pass, and what lies above the diagonal is skipped. \
             {} tiles of 4 queries by 4 keys, causal: {} are computed in this order, \
             {skipped} are skipped, and only the {masked} on the diagonal have a mask to \
             apply.",
            plot.visits.len(),
            plot.visits.len() - skipped,
        ),
        alt: format!(
            "A square of four by four tiles. Row by row, the tiles up to the diagonal are \
             numbered 1 to {}; those on the diagonal are filled as stairs; the {skipped} \
             above it say skipped.",
            plot.visits.len() - skipped,
        ),
    };
    Ok(Figure::draw("walk", words, &plot)?)
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
            "What moves falls with the size of the fast memory, and the matrix is moved \
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
    let last = shares.len() - 1;
    let line = |share: &dyn Fn(usize) -> f64| -> Vec<(f64, f64)> {
        (0..shares.len()).map(|tile| (tile as f64, share(tile))).collect()
    };
    let words = Words {
        title: "After a few tiles, the maximum seldom rises".into(),
        caption: format!(
            "Most tiles leave the measure as it is. The share of queries whose largest \
             score rises in a tile of {RISE_TILE} keys, over the twelve heads of layer 3 of \
             MiniLM on a passage of {tokens} tokens: all of them in the first, \
             {:.0} % in the second, {:.0} % in the last. Scores in random order would \
             rise in tile t, counted from 0, with probability 1/(t + 1).",
            100.0 * shares[1],
            100.0 * shares[last],
        ),
        alt: format!(
            "Two falling lines over tiles 0 to {last}, both from 1. MiniLM is at {:.2} in \
             tile 1 and {:.2} in the last, random order at 0.50 and {:.2}.",
            shares[1],
            shares[last],
            1.0 / (last + 1) as f64,
        ),
    };
    let plot = Chart::new(
        Axis::linear("tile"),
        Axis::linear("share of queries that rise").range(0.0, 1.0),
    )
    .line("random order", Hue::Muted, line(&|tile| 1.0 / (tile + 1) as f64))
    .line("MiniLM", Hue::Flash, line(&|tile| shares[tile]));
    Ok(Figure::draw("rises", words, &plot)?)
}

/// The time of each version.
///
/// # Errors
/// When the recording cannot be read.
pub fn versions() -> Result<Figure> {
    let recorded = experiments::recorded()?;
    let ms = |name: &str| recorded.milliseconds(&format!("{name}_full"), TIMED);
    let times = VERSIONS.iter().map(|v| ms(v.name)).collect::<Result<Vec<_>>>()?;
    let pytorch = experiments::beside_pytorch()?.milliseconds("pytorch_full", TIMED)?;
    let names = VERSIONS.iter().map(|v| v.words).chain(["PyTorch, both"]);
    let all: Vec<f64> = times.iter().copied().chain([pytorch]).collect();
    let most = all.iter().copied().fold(0.0, f64::max);
    let words = Words {
        title: "Tiles save memory; packing and vectors save time".into(),
        caption: format!(
            "Each step from the whole matrix to the finished pass, and PyTorch’s. Eight \
             heads of 64 over 2,048 tokens, no mask, recorded by the chapter’s benchmark: \
             {:.0} ms with the matrix and {:.0} ms in plain tiles on one core, {:.0} ms \
             with packed tiles, vectors and both cores. PyTorch takes {pytorch:.0} ms.",
            times[0], times[1], times[6],
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
        .series("", Hue::Flash, all);
    Ok(Figure::draw("versions", words, &bars)?)
}

/// The time against the number of keys in a tile.
///
/// # Errors
/// When the recording cannot be read.
pub fn tiles() -> Result<Figure> {
    let recorded = experiments::recorded()?;
    let ms = |&keys: &usize| Ok((keys as f64, recorded.milliseconds("tile", keys)?));
    let points = TILES.iter().map(ms).collect::<Result<Vec<_>>>()?;
    let (first, last) = (points[0].1, points[points.len() - 1].1);
    let best = points.iter().fold((0.0, f64::MAX), |best: (f64, f64), point| {
        if point.1 < best.1 { *point } else { best }
    });
    let high = points.iter().map(|point| point.1).fold(0.0, f64::max);
    let words = Words {
        title: "The keys of a tile may be few or many".into(),
        caption: format!(
            "The time hardly depends on how many keys a tile has. The finished pass with \
             other numbers of keys in a tile, \
             2,048 tokens: {first:.0} ms with 16, {:.0} ms with {:.0}, {last:.0} ms with \
             all 2,048.",
            best.1, best.0,
        ),
        alt: format!(
            "A line over 16 to 2,048 keys in a tile, from {first:.0} ms over {:.0} ms at \
             {:.0} to {last:.0} ms.",
            best.1, best.0,
        ),
    };
    let plot = Chart::new(
        Axis::log2("keys in a tile"),
        Axis::linear("time, ms").range(0.0, 1.2 * high),
    )
    .line("", Hue::Flash, points);
    Ok(Figure::draw("tiles", words, &plot)?)
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
    let listed = |line: &[(f64, f64)]| {
        line.iter()
            .map(|(_, ratio)| format!("{ratio:.2}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let words = Words {
        title: "As fast as PyTorch’s kernel, or faster".into(),
        caption: format!(
            "Below 1, this chapter’s pass takes less time than PyTorch’s. Eight heads of \
             64 on the same two cores, taking turns, at 512, 1,024, 2,048 and 4,096 \
             tokens: {} without a mask, {} with the causal one.",
            listed(&full),
            listed(&causal),
        ),
        alt: format!(
            "Two lines below 1 over 512 to 4,096 tokens. Full: {}. Causal: {}.",
            listed(&full),
            listed(&causal),
        ),
    };
    let plot = Chart::new(
        Axis::log2("tokens").ticks(&[512.0, 1024.0, 2048.0, 4096.0]),
        Axis::linear("our time / PyTorch’s").range(0.0, 1.2),
    )
    .line("full", Hue::Attention, full)
    .line("causal", Hue::Flash, causal)
    .horizontal(1.0, "PyTorch");
    Ok(Figure::draw("beside", words, &plot)?)
}

/// One token over a long cache, beside PyTorch.
///
/// # Errors
/// When the recording cannot be read.
pub fn decoding() -> Result<Figure> {
    let recorded = experiments::beside_pytorch()?;
    let side = |case| {
        let ms = |&kv_heads: &usize| recorded.milliseconds(case, kv_heads);
        DECODE.iter().map(ms).collect::<Result<Vec<_>>>()
    };
    let (ours, theirs) = (side("ours_decode")?, side("pytorch_decode")?);
    let most = theirs.iter().chain(&ours).copied().fold(0.0, f64::max);
    let words = Words {
        title: "A shared key is read once for all who share it".into(),
        caption: format!(
            "Decoding gains most where heads share. One token of 32 query heads of 128 \
             over 8,192 cached tokens, with 32, 8 and 1 kv heads: {:.1}, {:.1} and {:.1} \
             ms here, {:.1}, {:.1} and {:.1} ms in PyTorch.",
            ours[0], ours[1], ours[2], theirs[0], theirs[1], theirs[2],
        ),
        alt: format!(
            "Pairs of bars. 32 kv heads: {:.1} ms and {:.1} ms; 8: {:.1} and {:.1}; 1: \
             {:.1} and {:.1}.",
            ours[0], theirs[0], ours[1], theirs[1], ours[2], theirs[2],
        ),
    };
    let bars = Bars::new(
        Axis::linear("time a token, ms").range(0.0, 1.15 * most),
        DECODE.map(|kv_heads| kv_heads.to_string()),
    )
    .categories_label("kv heads")
    .series("ours", Hue::Flash, ours)
    .series("PyTorch", Hue::Muted, theirs);
    Ok(Figure::draw("decoding", words, &bars)?)
}
