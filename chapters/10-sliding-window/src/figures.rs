//! The chapter's figures, one function each.

use crate::example::MODELS;
use crate::experiments::{
    self, HEADS, Looks, PASS_WINDOW, STEP_WINDOW, shares, thin_edge, window_and_first,
};
use crate::{Pattern, cached};
use anyhow::{Context, Result, ensure};
use attention::Mask;
use attention::example::grouped as thousands;
use figures::{Axis, Bars, Chart, Figure, Heatmap, Hue, Words};

/// All of them, in the order in which the chapter shows them.
///
/// # Errors
/// When the scores or the recording cannot be read.
pub fn all() -> Result<Vec<Figure>> {
    Ok(vec![band()?, field()?, sight()?, sinks()?, memory()?, pass()?, step()?])
}

/// Which keys a query sees.
///
/// # Errors
/// When it cannot be drawn.
pub fn band() -> Result<Figure> {
    const TOKENS: usize = 12;
    let labels = || (0..TOKENS).map(|token| token.to_string());
    let map = |title: &str, mask: Mask| {
        let seen = move |query, key| {
            if mask.sees(query, key) { 1.0 } else { 0.0 }
        };
        Heatmap::new(labels(), labels(), seen)
            .range(0.0, 1.0)
            .title(title)
            .row_axis("query")
            .column_axis("key")
            .keyless()
    };
    let causal = map("causal", Mask::Causal { offset: 0 });
    let window = map("a window of 4", Mask::Window { offset: 0, window: 4 });
    let first = map("and the first token", window_and_first(TOKENS, 4, 1));
    let words = Words {
        title: "A window is a band along the diagonal".into(),
        caption: "Without a window, row i has i + 1 keys; with a window of 4 it has four at \
                  most, its own among them. Filled: the query sees the key. In the third \
                  grid every query also sees the first token."
            .into(),
        alt: "Three grids of 12 queries by 12 keys. Causal: all cells on and below the \
              diagonal are filled. A window of 4: the diagonal and three cells to its left. The \
              third adds the whole first column."
            .into(),
    };
    Ok(Figure::panels("band", words, 1, &[&causal, &window, &first])?)
}

/// How far the end of a stack of layers reaches, and with what share.
///
/// # Errors
/// When it cannot be drawn.
pub fn field() -> Result<Figure> {
    const REACH: usize = 4;
    let line = |layers| -> Vec<(f64, f64)> {
        let shares = thin_edge(REACH, layers);
        shares.iter().enumerate().map(|(back, share)| (back as f64, *share)).collect()
    };
    let last = |layers| thin_edge(REACH, layers).last().copied().unwrap_or_default();
    let words = Words {
        title: "Layers widen the view, and its edge is thin".into(),
        caption: format!(
            "With a window of 4, one layer reaches 3 tokens back, two reach 6, four reach 12 and \
             eight 24, but little arrives from the far end. The lines are the share of each \
             token in the output of the last layer, if every token takes equal shares of what \
             it sees: {:.4} for the farthest one after four layers.",
            last(4),
        ),
        alt: format!(
            "Four lines over 0 to 24 tokens back. One layer: level at 0.25 up to 3. Two: a hill \
             that ends at 6. Four: a flatter hill with its top at 6, {:.2}, that ends at 12. \
             Eight: flatter, ends at 24.",
            thin_edge(REACH, 4)[6],
        ),
    };
    let plot = Chart::new(
        Axis::linear("tokens back"),
        Axis::linear("share in the output").range(0.0, 0.26),
    )
    .line("1 layer", Hue::Muted, line(1))
    .line("2", Hue::Decoding, line(2))
    .line("4", Hue::Accent, line(4))
    .line("8", Hue::Rotary, line(8));
    Ok(Figure::draw("field", words, &plot)?)
}

/// Where head 8 looks through a window.
///
/// # Errors
/// When the scores cannot be read.
pub fn sight() -> Result<Figure> {
    sight_of(8, 7, 0)
}

/// [`sight`] of another head, with another window, and with the first tokens kept.
///
/// # Errors
/// When there is no such head, or the window is 0.
pub fn sight_of(head: usize, window: usize, first: usize) -> Result<Figure> {
    ensure!(window > 0, "window: a token sees itself, so it is 1 at least");
    let looks = Looks::of(head)?;
    let weights = looks.weights(window, first)?;
    let it = looks.position("it")?;
    let row = weights.row(it);
    let most = (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b]));
    let place = most.context("no key")?;
    let (most, weight) = (&looks.tokens[place], row[place]);
    let kept = match first {
        0 => String::new(),
        1 => " and the first of the sentence".to_owned(),
        _ => format!(" and the first {first} of the sentence"),
    };
    let words = Words {
        title: format!("Through a window of {window}, “it” looks most at “{most}”"),
        caption: format!(
            "Layer 13, head {head} of SmolLM2, where each token sees the last {window}, itself \
             included{kept}. The row of `it` has {weight:.2} on `{most}`. The scores are \
             those of the model, which was trained without a window; softmax shares out anew \
             what is left of a row."
        ),
        alt: format!(
            "A heat-map of 13 by 13 weights, a band of {window} along the diagonal. In the row \
             of “it”, “{most}” has the most, {weight:.2}."
        ),
    };
    let seen = window_and_first(looks.tokens.len(), window, first);
    let value = |query, key| {
        if seen.sees(query, key) { f64::from(weights[(query, key)]) } else { f64::NAN }
    };
    let map = Heatmap::new(&looks.tokens, &looks.tokens, value)
        .range(0.0, 1.0)
        .row_axis("query")
        .column_axis("key")
        .value_axis("weight")
        .absent("out of sight")
        .mark(it, place);
    Ok(Figure::draw("sight", words, &map)?)
}

/// Where the heads' weight lies.
///
/// # Errors
/// When the scores cannot be read.
pub fn sinks() -> Result<Figure> {
    let all = (0..HEADS).map(|head| shares(head, 4)).collect::<Result<Vec<_>>>()?;
    let of = |part: usize| all.iter().map(move |shares| f64::from(shares[part]));
    let mut firsts: Vec<f64> = of(0).collect();
    firsts.sort_by(f64::total_cmp);
    let (second, most) = (firsts[1], firsts[HEADS - 1]);
    let words = Words {
        title:
            "Eight of nine heads keep a good part of their weight on the first token"
                .into(),
        caption: format!(
            "Eight of the nine heads of SmolLM2's layer 13 put {second:.2} to {most:.2} of \
             their weight on the first token, which is the word “The”. The other bars are \
             the last four tokens, which a window of 4 would leave, and those between. Means over \
             the tokens of the sentence that have tokens between."
        ),
        alt: format!(
            "Three bars for each of nine heads. First token: {}. Last four: {}.",
            of(0).map(|share| format!("{share:.2}")).collect::<Vec<_>>().join(", "),
            of(1).map(|share| format!("{share:.2}")).collect::<Vec<_>>().join(", "),
        ),
    };
    let bars = Bars::new(
        Axis::linear("share of the weight").range(0.0, 1.0),
        (0..HEADS).map(|head| head.to_string()),
    )
    .categories_label("head")
    .series("first token", Hue::Accent, of(0))
    .series("last four", Hue::Decoding, of(1))
    .series("between", Hue::Muted, of(2));
    Ok(Figure::draw("sinks", words, &bars)?)
}

/// What the caches of a model take.
///
/// # Errors
/// When it cannot be drawn.
pub fn memory() -> Result<Figure> {
    let (_, layers, pattern) = MODELS[1];
    let line = |windows: &[Option<usize>]| -> Vec<(f64, f64)> {
        let point = |power: u32| {
            let tokens = 1_usize << power;
            (tokens as f64, cached(windows, tokens) as f64 / layers as f64)
        };
        (8..=17).map(point).collect()
    };
    let none = line(&vec![None; layers]);
    let sixth = line(&pattern.windows(layers));
    let all = line(&Pattern { every: 0, ..pattern }.windows(layers));
    let at = |line: &[(f64, f64)]| {
        thousands(line.last().map_or(0.0, |point| point.1).round() as u64)
    };
    let words = Words {
        title: "The layers that see everything decide the memory".into(),
        caption: format!(
            "At 131,072 tokens a layer of Gemma 3 27B keeps {} of them on average: those with a window \
             of 1,024 keep 1,024, and every sixth layer keeps all. If all had the window it \
             would be {}, and {} without windows.",
            at(&sixth),
            at(&all),
            at(&none),
        ),
        alt: format!(
            "Three lines over 256 to 131,072 tokens, which are one up to 1,024. Without windows \
             a straight rise to {}; every sixth layer without one: {}; windows in all: \
             level from 1,024 on.",
            at(&none),
            at(&sixth),
        ),
    };
    let plot = Chart::new(
        Axis::log2("tokens of the text"),
        Axis::log("tokens kept per layer, on average"),
    )
    .line("no windows", Hue::Muted, none)
    .line("every 6th sees all", Hue::Decoding, sixth)
    .line("all windows", Hue::Accent, all);
    Ok(Figure::draw("memory", words, &plot)?)
}

/// How long a pass takes.
///
/// # Errors
/// When the recording cannot be read.
pub fn pass() -> Result<Figure> {
    let recorded = experiments::recorded()?;
    let ms = |case, n| recorded.milliseconds(case, n);
    let (causal, window) = (ms("causal", 4096)?, ms("window", 4096)?);
    let masked = ms("masked", 4096)?;
    let words = Words {
        title: "A window saves time where the tiles out of sight are skipped".into(),
        caption: format!(
            "In tiles, a window of {PASS_WINDOW} lets the time grow more slowly with the text: \
             {window:.0} ms at 4,096 tokens, where the causal pass takes {causal:.0} ms. As a \
             mask on the whole matrix of weights, the same window takes {masked:.0} ms. Eight \
             heads of 64."
        ),
        alt: format!(
            "Three lines on log scales over 512 to 8,192 tokens. The mask on the whole matrix \
             is highest and rises steeply, {masked:.0} ms at 4,096; causal in tiles {causal:.0} ms \
             there; the window in tiles rises least, {window:.0} ms."
        ),
    };
    let plot = Chart::new(Axis::log2("tokens"), Axis::log("time, ms"))
        .measured("window as a mask", Hue::Attention, recorded.line("masked"))
        .measured("causal, tiles", Hue::Flash, recorded.line("causal"))
        .measured("window, tiles", Hue::Accent, recorded.line("window"));
    Ok(Figure::measured("pass", words, &recorded.measured(), 1, &[&plot])?)
}

/// How long a step takes.
///
/// # Errors
/// When the recording cannot be read.
pub fn step() -> Result<Figure> {
    let recorded = experiments::recorded()?;
    let ms = |case, n| recorded.milliseconds(case, n);
    let (ring, early) = (ms("ring", 32_768)?, ms("ring", STEP_WINDOW)?);
    let cache = ms("cache", 32_768)?;
    let words = Words {
        title: "A step through the ring stops growing".into(),
        caption: format!(
            "Once the ring is full, a step does not grow with the text: {early:.2} ms after \
             4,096 tokens and {ring:.2} ms after 32,768. The cache that keeps everything is \
             faster until then and takes {cache:.2} ms in the end. One token \
             of 32 query heads of 128 on 8 key/value heads, a window of 4,096, with the write \
             to the cache."
        ),
        alt: format!(
            "Two lines over 1,024 to 32,768 tokens. The cache rises to {cache:.2} ms. The \
             ring is above it while the text is short, stops rising at 4,096 tokens, and \
             is at {ring:.2} ms in the end."
        ),
    };
    let plot = Chart::new(Axis::log2("tokens before it"), Axis::log("time, ms"))
        .measured("cache", Hue::Decoding, recorded.line("cache"))
        .measured("ring", Hue::Accent, recorded.line("ring"));
    Ok(Figure::measured("step", words, &recorded.measured(), 1, &[&plot])?)
}
