//! The chapter's figures, one function each.

use crate::Sharing;
use crate::experiments::{self, Causal, HEADS, LAYERS, LEAK, TOKENS, leak, theorem_r};
use crate::measured::{Measured, Measurements, RANKS, share, squares_of_noise};
use anyhow::{Context, Result, bail};
use attention::example::grouped;
use figures::{Axis, Chart, Diagram, Figure, Heatmap, Hue, Slot, Words};

/// All of them, in the order in which the chapter shows them.
///
/// # Errors
/// When the model's slices or a recording cannot be read.
pub fn all() -> Result<Vec<Figure>> {
    Ok(vec![
        spectrum()?,
        by_head()?,
        condensed()?,
        modes()?,
        errors()?,
        theorem()?,
        time()?,
        future()?,
    ])
}

/// The evidence: how few singular values hold most of a map.
///
/// # Errors
/// When the recording does not hold it.
pub fn spectrum() -> Result<Figure> {
    let measured = Measurements::read()?;
    let layer = |layer: usize| {
        let mean = |&r: &usize| (r as f64, measured.mean(Some(layer), r, |m| m.share));
        RANKS[..9].iter().map(mean).collect::<Vec<_>>()
    };
    let squares = squares_of_noise(1.0);
    let noise = RANKS[..9].iter().map(|&r| (r as f64, share(&squares, r)));
    let at_128 = |l| measured.mean(Some(l), 128, |m| m.share);
    let of_noise = share(&squares, 128);
    let words = Words {
        title: "Low rank: a quarter of the directions holds most of the weights".into(),
        caption: format!(
            "The 128 largest of 512 singular values hold most of the sum of all. Mean \
             over the 12 heads of a layer of MiniLM on 512 tokens: {:.2} in layer 1, \
             where it is least, and {:.2} in layer 5. The softmax of random scores has \
             {of_noise:.2}: the singular values of noise are not equal either.",
            at_128(1),
            at_128(5),
        ),
        alt: format!(
            "Four rising lines over 1 to 256 singular values of 512. At 128: layer 5 {:.2}, \
             layer 3 {:.2}, layer 1 {:.2}, noise {of_noise:.2}.",
            at_128(5),
            at_128(3),
            at_128(1),
        ),
    };
    let plot = Chart::new(
        Axis::log2("r largest singular values"),
        Axis::linear("share of the sum of all").range(0.0, 1.0),
    )
    .line("layer 5", Hue::Attention, layer(5))
    .line("layer 3", Hue::Decoding, layer(3))
    .line("layer 1", Hue::Accent, layer(1))
    .line("noise", Hue::Muted, noise)
    .vertical(128.0, "128");
    Ok(Figure::draw("spectrum", words, &plot)?)
}

/// The share at 128, head by head.
///
/// # Errors
/// When the recording does not hold it.
pub fn by_head() -> Result<Figure> {
    let measured = Measurements::read()?;
    let mut shares = Vec::new();
    for layer in 0..LAYERS {
        for head in 0..HEADS {
            shares.push(measured.at(layer, head, 128)?.share);
        }
    }
    let (low, high) = measured.ends(128, |m| m.share);
    let place = shares.iter().position(|share| *share == low).unwrap_or(0);
    let words = Words {
        title: "Not every head is that low in rank".into(),
        caption: format!(
            "The heads of one layer differ more than the layers do. Share of the 128 \
             largest singular values of 512 in each head of MiniLM, from {low:.2} (layer \
             {}, head {}) to {high:.2}. If all singular values were equal it would be \
             {:.2}.",
            place / HEADS,
            place % HEADS,
            128.0 / TOKENS as f64,
        ),
        alt: format!(
            "A heat-map of six layers by twelve heads. Values from {low:.2} to {high:.2}; \
             layers 0 to 2 have low cells, layer 5 is high throughout."
        ),
    };
    let plot = Heatmap::new(
        (0..LAYERS).map(|l| format!("layer {l}")),
        (0..HEADS).map(|h| h.to_string()),
        |layer, head| shares[layer * HEADS + head],
    )
    .column_axis("head")
    .value_axis("share")
    .range(0.25, 1.0)
    .values(2);
    Ok(Figure::draw("by_head", words, &plot)?)
}

/// The idea: keys and values shrink along the sequence before anybody looks.
///
/// # Errors
/// When the diagram cannot be drawn.
pub fn condensed() -> Result<Figure> {
    let words = Words {
        title: "n tokens ask, r rows answer".into(),
        caption: "Keys and values are mixed down to r rows each before a query meets them. \
                  The queries stay as they are, one per token, so every token still gets an \
                  answer of its own; the weights between them are n × r, where they were n × n."
            .into(),
        alt: "Boxes and arrows: x, n tokens, leads to q, k and v with n rows each. E turns \
              the keys and F the values into r rows. The queries and the r keys lead to \
              the weights, n by r, and with the r values to the output, n rows."
            .into(),
    };
    let at = |column, row| Slot { column, row };
    let plot = Diagram::new()
        .node("x", at(1, 0), &["x", "n tokens"], Hue::Muted)
        .node("q", at(0, 1), &["q", "n rows"], Hue::Attention)
        .node("k", at(1, 1), &["k", "n rows"], Hue::Attention)
        .node("v", at(2, 1), &["v", "n rows"], Hue::Attention)
        .node("ek", at(1, 2), &["E k", "r rows"], Hue::Linformer)
        .node("fv", at(2, 2), &["F v", "r rows"], Hue::Linformer)
        .node("w", at(1, 3), &["weights", "n × r"], Hue::Linformer)
        .node("y", at(2, 4), &["output", "n rows"], Hue::Attention)
        .elbow("x", "q", "")
        .arrow("x", "k", "")
        .elbow("x", "v", "")
        .arrow("k", "ek", "E")
        .arrow("v", "fv", "F")
        .elbow("q", "w", "")
        .arrow("ek", "w", "")
        .elbow("w", "y", "")
        .arrow("fv", "y", "");
    Ok(Figure::draw("condensed", words, &plot)?)
}

/// Which matrix serves whom, in the four modes.
///
/// # Errors
/// When the heat-maps cannot be drawn.
pub fn modes() -> Result<Figure> {
    let (layers, heads) = (3, 2);
    let columns = ["E₀", "F₀", "E₁", "F₁"];
    let map = |title: &str, sharing| -> Result<Heatmap> {
        let table = experiments::who_uses_which(sharing, layers, heads)?;
        let rows = (0..layers).map(|l| format!("layer {l}"));
        Ok(Heatmap::new(rows, columns, |l, c| table[(l, c)])
            .title(title)
            .range(0.0, 14.0)
            .values(0)
            .keyless())
    };
    let count = |sharing: Sharing| sharing.matrices(layers, heads);
    let [none, headwise, key_value, layerwise] =
        [Sharing::None, Sharing::Headwise, Sharing::KeyValue, Sharing::Layerwise];
    let words = Words {
        title: "Four ways to share a projection".into(),
        caption: format!(
            "From {} matrices down to one. Three layers of two heads; each cell is an E or \
             an F of one head, and cells with the same number are the same matrix. \
             Headwise, the heads of a layer share: {}. Key-value, E and F are one as well: \
             {}. Layerwise, the layers share too: {}.",
            count(none),
            count(headwise),
            count(key_value),
            count(layerwise),
        ),
        alt: format!(
            "Four grids of three layers by four cells, E and F of heads 0 and 1. None: \
             numbers 0 to {}, all different. Headwise: two numbers per layer. Key-value: one \
             number per layer. Layerwise: 0 everywhere.",
            count(none) - 1,
        ),
    };
    let maps = [
        map("none", none)?,
        map("headwise", headwise)?,
        map("key-value", key_value)?,
        map("layerwise", layerwise)?,
    ];
    let [a, b, c, d] = &maps;
    Ok(Figure::panels("modes", words, 2, &[a, b, c, d])?)
}

/// Errors against r, of the maps and of what the heads find.
///
/// # Errors
/// When the recording does not hold it.
pub fn errors() -> Result<Figure> {
    errors_of(None, QUARTER)
}

/// Where [`errors`] reads its numbers off.
const QUARTER: usize = TOKENS / 4;

/// [`errors`] of one layer, or of all, read off at another r.
///
/// # Errors
/// When r is not a power of two from 8 to 256, or there is no such layer.
pub fn errors_of(layer: Option<usize>, r: usize) -> Result<Figure> {
    let ranks = &RANKS[3..9];
    ranks.contains(&r).then_some(()).context("r: expected a power of two, 8 to 256")?;
    let heads = match layer {
        None => format!("the {} heads", LAYERS * HEADS),
        Some(layer) if layer < LAYERS => format!("the {HEADS} heads of layer {layer}"),
        Some(layer) => bail!("layer: expected 0 to {}, found {layer}", LAYERS - 1),
    };
    let measured = Measurements::read()?;
    let line = |value: fn(&Measured) -> f64| {
        let mean = |&r: &usize| (r as f64, measured.mean(layer, r, value));
        ranks.iter().map(mean).collect::<Vec<_>>()
    };
    let chart = |title: &str, values: [fn(&Measured) -> f64; 3]| {
        let [best, pooled, random] = values.map(line);
        let chart = Chart::new(
            Axis::log2("r, rows that are left"),
            Axis::log("relative error").range(0.02, 30.0),
        )
        .title(title)
        .line("random", Hue::Accent, random)
        .line("means", Hue::Linformer, pooled)
        .line("best of rank r", Hue::Muted, best)
        .horizontal(1.0, "zeros");
        if r == QUARTER { chart } else { chart.vertical(r as f64, "") }
    };
    let worse =
        [line(|m| m.random_map), line(|m| m.random)].concat().iter().all(|p| p.1 > 1.0);
    let nearer =
        [line(|m| m.pooled_map), line(|m| m.pooled)].concat().iter().all(|p| p.1 < 1.0);
    let (title, message) = match (worse, nearer) {
        (true, true) => (
            "Random projections are worse than zeros here",
            "At every r up to half of the tokens, a random projection is further off than \
             an answer of zeros, and means are nearer.",
        ),
        (true, false) => (
            "Random projections are worse than zeros here",
            "At every r up to half of the tokens, a random projection is further off than \
             an answer of zeros, and means are not nearer at each.",
        ),
        (false, _) => (
            "Random projections reach zeros at some r",
            "At some r up to half of the tokens, a random projection is nearer than an \
             answer of zeros.",
        ),
    };
    let at = |value| measured.mean(layer, r, value);
    let (best_map, pooled_map, random_map) =
        (at(|m| m.best_map), at(|m| m.pooled_map), at(|m| m.random_map));
    let (best, pooled, random) = (at(|m| m.best), at(|m| m.pooled), at(|m| m.random));
    let each = TOKENS / r;
    let words = Words {
        title: title.into(),
        caption: format!(
            "{message} Mean over {heads} of MiniLM on {TOKENS} tokens, nothing trained. \
             Above, the weights themselves: at r = {r} they are off by {best_map:.2} at the least, by \
             {pooled_map:.2} with means of {each} tokens, by {random_map:.2} after a random \
             projection and back. Below, what the heads find, with keys and values \
             condensed: {pooled:.2} with means, {random:.2} at random; the nearest weights of \
             rank {r} would give {best:.2}.",
        ),
        alt: format!(
            "Two charts over r from 8 to 256, log scales, three falling lines each, and a \
             level line at 1. At {r}, weights: random {random_map:.2}, means {pooled_map:.2}, \
             best {best_map:.2}. Outputs: random {random:.2}, means {pooled:.2}, best \
             {best:.2}."
        ),
    };
    let maps =
        chart("the weights", [|m| m.best_map, |m| m.pooled_map, |m| m.random_map]);
    let outputs =
        chart("the output of the heads", [|m| m.best, |m| m.pooled, |m| m.random]);
    Ok(Figure::panels("errors", words, 1, &[&maps, &outputs])?)
}

/// The rows that theorem 1 asks for, against the tokens.
///
/// # Errors
/// When the chart cannot be drawn.
pub fn theorem() -> Result<Figure> {
    let line = |epsilon: f64| {
        (6..=17).map(move |power| {
            let n = 1_usize << power;
            (n as f64, theorem_r(n, epsilon))
        })
    };
    let from = experiments::theorem_says_something_from(0.1)?;
    let words = Words {
        title: "The bound speaks of long sequences only".into(),
        caption: format!(
            "For short sequences the theorem asks for more rows than there are tokens. Its \
             r = 5 ln n / (ε² − ε³) for three errors ε, beside r = n. At n = 512 it is \
             {:.0} for ε = 0.5 and {} for ε = 0.1, where the line stays above the diagonal \
             until n = {}.",
            theorem_r(512, 0.5),
            grouped(theorem_r(512, 0.1).round() as u64),
            grouped(from as u64),
        ),
        alt: format!(
            "Three nearly level lines over n from 64 to 131,072, log scales, and the \
             diagonal r = n. For ε = 0.5 the line is at {:.0} for n = 512, for ε = 0.1 at \
             {:.0}. The diagonal crosses the second at {from}.",
            theorem_r(512, 0.5),
            theorem_r(512, 0.1),
        ),
    };
    let plot = Chart::new(Axis::log2("tokens n"), Axis::log("rows r"))
        .line("r = n", Hue::Muted, line(0.5).map(|(n, _)| (n, n)))
        .line("ε = 0.1", Hue::Accent, line(0.1))
        .line("ε = 0.3", Hue::Decoding, line(0.3))
        .line("ε = 0.5", Hue::Linformer, line(0.5));
    Ok(Figure::draw("theorem", words, &plot)?)
}

/// Measured time against n, beside attention and alone.
///
/// # Errors
/// When the recording cannot be read.
pub fn time() -> Result<Figure> {
    let recorded = experiments::recorded()?;
    let line = |case: &str| recorded.line(case).collect::<Vec<_>>();
    let (attention, linformer) = (line("attention"), line("linformer"));
    let last = linformer.last().context("recorded.csv is empty")?;
    let [slow, fast] =
        ["attention", "linformer"].map(|c| recorded.milliseconds(c, 8192));
    let (slow, fast) = (slow?, fast?);
    let per_token = |n: usize| -> Result<f64> {
        Ok(1e3 * recorded.milliseconds("linformer", n)? / n as f64)
    };
    let crossing = (experiments::crossing(&recorded)? / 10.0).round() * 10.0;
    let words = Words {
        title: format!("{:.0} times faster at 8,192 tokens", slow / fast),
        caption: format!(
            "With 256 rows left, the time grows with n and not with its square. One head \
             of width 64, E K and F V included, beside attention that keeps its weights, as \
             in the first chapter. Above, log scales: the lines cross near {crossing:.0} tokens, and at \
             8,192 they are at {slow:.0} and {fast:.0} ms; attention was timed no further. \
             Below, Linformer on plain scales: \
             {:.2} µs per token at 1,024 tokens, {:.2} at 8,192, {:.2} at 16,384. At 32,768, \
             above only, it is {:.2}.",
            per_token(1024)?,
            per_token(8192)?,
            per_token(16_384)?,
            per_token(32_768)?,
        ),
        alt: format!(
            "Two charts. Above, attention rises from {:.2} ms at 256 tokens to {slow:.0} ms \
             at 8,192; Linformer from {:.2} to {fast:.0} ms, and to {:.0} ms at {}. Below, \
             Linformer alone up to 16,384: a straight line.",
            attention[0].1.median,
            linformer[0].1.median,
            last.1.median,
            grouped(last.0 as u64),
        ),
    };
    let both = Chart::new(Axis::log2("tokens n"), Axis::log("time, ms"))
        .title("beside attention")
        .measured("attention", Hue::Attention, attention)
        .measured("Linformer", Hue::Linformer, linformer.clone())
        .vertical(crossing, &format!("{crossing:.0}"));
    let alone = Chart::new(
        Axis::linear("tokens n").range(0.0, 17_000.0),
        Axis::linear("time, ms")
            .range(0.0, 1.2 * recorded.spread("linformer", 16_384)?.high),
    )
    .title("Linformer alone, plain scales")
    .measured("", Hue::Linformer, linformer);
    let measured = recorded.measured();
    Ok(Figure::measured("time", words, &measured, 1, &[&both, &alone])?)
}

/// Who is moved by whom, in four tries to keep the future out.
///
/// # Errors
/// When the heat-maps cannot be drawn.
pub fn future() -> Result<Figure> {
    let (n, r) = LEAK;
    let map = |title: &str, causal| -> Result<(Heatmap, usize)> {
        let moved = leak(causal)?;
        let cell = |i: usize, j: usize| match moved[(i, j)] {
            0.0 => f64::NAN,
            _ if j > i => 1.0,
            _ => 0.25,
        };
        let names = || (0..n).map(|i| i.to_string());
        let mut map = Heatmap::new(names(), names(), cell)
            .title(title)
            .row_axis("output")
            .column_axis("token")
            .absent("moves nothing")
            .range(0.0, 1.0)
            .keyless();
        let leaks = (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j)));
        let leaks: Vec<_> = leaks.filter(|&at| moved[at] != 0.0).collect();
        for &(i, j) in &leaks {
            map = map.mark(i, j);
        }
        Ok((map, leaks.len()))
    };
    let (attention, _) = map("attention, causal mask", Causal::Attention)?;
    let (dense, all) = map("Linformer, dense E", Causal::Dense)?;
    let (own, some) = map("means, own stretch too", Causal::OwnStretch)?;
    let (past, none) = map("means, past stretches", Causal::PastStretches)?;
    let words = Words {
        title: "A mask on r rows does not hide the future".into(),
        caption: format!(
            "Where a row mixes tokens, hiding rows hides too little or too much. {n} tokens \
             condensed to {r} rows, with an n × r mask. A filled cell is a token (column) \
             that moves an output (row), outlined if the token comes later; a hatched one \
             moves nothing. A causal mask in attention leaks nothing. With a dense E, {all} \
             of {} pairs leak. With means of {} tokens, {some} leak if a token may see its \
             own stretch, and {none} if it may not. Then its own key and value are hidden as \
             well. Its query still counts, on the diagonal, once it has two rows to choose from.",
            n * (n - 1) / 2,
            n / r,
        ),
        alt: format!(
            "Four grids of {n} outputs by {n} tokens. Attention: the lower triangle is \
             filled. Dense E: every cell is filled, {all} of them above the diagonal. \
             Means with the own stretch: squares of 4 on the diagonal, {some} cells above \
             it. Past stretches: steps below the diagonal, {none} above."
        ),
    };
    Ok(Figure::panels("future", words, 2, &[&attention, &dense, &own, &past])?)
}
