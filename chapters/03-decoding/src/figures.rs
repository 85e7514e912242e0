//! The chapter's figures, one function each.

use crate::experiments::{self, Chunk, Roofline, TIMED, Work};
use anyhow::Result;
use attention::example::grouped;
use figures::{Axis, Bars, Chart, Diagram, Figure, Format, Heatmap, Hue, Slot, Words};

/// All of them, in the order in which the chapter shows them.
///
/// # Errors
/// When the model's slice, the models or the recording cannot be read.
pub fn all() -> Result<Vec<Figure>> {
    Ok(vec![
        again_or_once()?,
        prefill_and_decode()?,
        staircase()?,
        the_past_stays()?,
        roofline()?,
        cache_sizes()?,
    ])
}

/// What the m-th token costs, with and without a cache.
///
/// # Errors
/// When the recording cannot be read.
pub fn again_or_once() -> Result<Figure> {
    let recorded = experiments::recorded()?;
    let (d, heads) = TIMED;
    let times = |case| recorded.line(case).collect::<Vec<_>>();
    let (again, once) = (times("whole"), times("alone"));
    let last = again.len() - 1;
    let ((first_m, first), (m, slow)) = (again[0], again[last]);
    let [first, slow, fast] = [first, slow, once[last].1].map(|time| time.median);
    let most = grouped(m as u64);
    let work = |tokens: fn(u64) -> u64| {
        let count = move |m: u64| Work::of(tokens(m), m, d as u64).total() as f64;
        again.iter().map(move |(m, _)| (*m, count(*m as u64)))
    };
    let words = Words {
        title: "The m-th token, again or once".into(),
        caption: format!(
            "Without a cache, each new token costs a pass over all of them. A layer of \
             width {d} with {heads} heads; above, the time until the m-th token has left \
             it, below, the multiply-adds. At m = {most} running everything again takes \
             {slow:.0} ms, running the last token through a cache {fast:.2} ms.",
        ),
        alt: format!(
            "Two charts with log scales over m from {first_m:.0} to {most}. Time without a \
             cache rises from {first:.2} to {slow:.0} ms; with a cache it ends at \
             {fast:.2} ms. Multiply-adds without a cache rise as steeply; with a cache \
             they hardly rise.",
        ),
    };
    let time = Axis::log("time, ms").range(0.05, 500.0);
    let time = Chart::new(Axis::log2("tokens m"), time)
        .title("measured")
        .measured("all again", Hue::MultiHead, again.clone())
        .measured("cache", Hue::Decoding, once);
    let count = Axis::log("multiply-adds").format(Format::Short).range(3e5, 2e10);
    let work = Chart::new(Axis::log2("tokens m"), count)
        .title("counted")
        .line("all again", Hue::MultiHead, work(|m| m))
        .line("cache", Hue::Decoding, work(|_| 1));
    let measured = recorded.measured();
    Ok(Figure::measured("again_or_once", words, &measured, 1, &[&time, &work])?)
}

/// What happens to one token.
///
/// # Errors
/// When the diagram cannot be drawn.
pub fn prefill_and_decode() -> Result<Figure> {
    let words = Words {
        title: "A token leaves its key and value behind".into(),
        caption: "Only the new token is projected; everything older is read from the \
                  cache. Its key and value join the cache first, then its query looks at \
                  all that is kept, itself included."
            .into(),
        alt: "Boxes and arrows: the new token is projected to a query and to a key and \
              value. Key and value are appended to the cache of all earlier tokens. The \
              query and the whole cache meet in attention, which gives the output."
            .into(),
    };
    let at = |column, row| Slot { column, row };
    let plot = Diagram::new()
        .node("token", at(0, 0), &["new token", "one row of x"], Hue::Muted)
        .node("query", at(0, 1), &["query", "used once"], Hue::Decoding)
        .node("kv", at(1, 1), &["key, value", "kept"], Hue::Decoding)
        .node("cache", at(1, 2), &["cache", "all keys, all values"], Hue::Decoding)
        .node("attend", at(0, 3), &["attention", "one row of weights"], Hue::Attention)
        .arrow("token", "query", "")
        .elbow("token", "kv", "project")
        .arrow("kv", "cache", "append")
        .arrow("query", "attend", "")
        .elbow("cache", "attend", "read all");
    Ok(Figure::draw("prefill_and_decode", words, &plot)?)
}

/// The second chunk of MiniLM's sentence with the right offset and with 0.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn staircase() -> Result<Figure> {
    let (layer, _) = experiments::real_layer()?;
    let n = layer.tokens.len();
    let start = n - 5;
    let map = |title: &str, offset: usize| -> Result<Heatmap> {
        let weights = experiments::second_chunk(start, offset)?;
        let weight = |query: usize, key: usize| {
            let visible = key <= query + offset;
            if visible { f64::from(weights[(query, key)]) } else { f64::NAN }
        };
        Ok(Heatmap::new(&layer.tokens[start..], &layer.tokens, weight)
            .title(title)
            .row_axis("query")
            .column_axis("key")
            .value_axis("weight")
            .absent("hidden by the mask")
            .range(0.0, 1.0))
    };
    let (right, wrong) =
        (map(&format!("correct: offset {start}"), start)?, map("wrong: offset 0", 0)?);
    let it = &layer.tokens[start];
    let words = Words {
        title: "The offset moves the staircase".into(),
        caption: format!(
            "The queries of a chunk are the last of the keys. The last five tokens of the \
             sentence in layer 3, head 1 of MiniLM, when the other {start} are in the \
             cache. With the offset {start}, `{it}` sees the {start} tokens before it and \
             itself; with the offset 0 it sees the first token alone.",
        ),
        alt: format!(
            "Two heat-maps with five rows and {n} columns. Above, only a small triangle at \
             the right end is hidden. Below, all but a small triangle at the left end is \
             hidden.",
        ),
    };
    Ok(Figure::panels("staircase", words, 1, &[&right, &wrong])?)
}

/// How far earlier outputs move when a token arrives.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn the_past_stays() -> Result<Figure> {
    let tokens = experiments::real_layer()?.0.tokens.len();
    let mut moves = Vec::new();
    for n in 2..=tokens {
        moves.push((n as f64, experiments::moved(n)?));
    }
    let open: Vec<_> = moves.iter().map(|(n, m)| (*n, f64::from(m.open))).collect();
    let causal: Vec<_> = moves.iter().map(|(n, m)| (*n, f64::from(m.causal))).collect();
    let (least, most) = open
        .iter()
        .fold((f64::MAX, 0.0), |(low, high), (_, m)| (m.min(low), m.max(high)));
    let worst = causal.iter().map(|(_, m)| *m).fold(0.0, f64::max);
    let words = Words {
        title: "Under a causal mask the past stays put".into(),
        caption: format!(
            "What a token has computed can be kept only if no later token changes it. \
             Layer 3 of MiniLM reads its sentence token by token; the figure shows how far \
             the outputs of earlier tokens move when the next one arrives. Under a causal \
             mask it is {worst:.2}; where every token sees all, it lies between {least:.2} \
             and {most:.2}.",
        ),
        alt: format!(
            "Two lines over the number of tokens from 2 to {tokens}. Causal stays at \
             {worst:.2}. All see all varies between {least:.2} and {most:.2}.",
        ),
    };
    let plot = Chart::new(
        Axis::linear("tokens so far").range(1.5, tokens as f64 + 0.5),
        Axis::linear("largest change of an earlier output"),
    )
    .line("all see all", Hue::Accent, open)
    .line("causal", Hue::Decoding, causal);
    Ok(Figure::draw("the_past_stays", words, &plot)?)
}

/// Chunks of a layer under the roof of the machine.
///
/// # Errors
/// When the recording cannot be read.
pub fn roofline() -> Result<Figure> {
    let roofline = Roofline::recorded()?;
    let giga = |rate: f64| rate / 1e9;
    let (low, high) = (0.25, 512.0);
    let roof = [low, roofline.ridge(), high].map(|x| (x, giga(roofline.roof(x))));
    let point = |chunk: &Chunk| (chunk.operations_per_byte, chunk.rate.map(giga));
    let (decode, prefill): (Vec<_>, Vec<_>) =
        roofline.chunks.iter().partition(|chunk| chunk.tokens == 1);
    let [decode, prefill] = [decode, prefill]
        .map(|chunks| chunks.into_iter().map(point).collect::<Vec<_>>());
    let (bandwidth, peak) = (giga(roofline.bandwidth), giga(roofline.peak));
    let (one, most) = (decode[0].1.median, prefill[prefill.len() - 1].1.median);
    let ridge = roofline.ridge();
    let words = Words {
        title: "Decoding waits for memory".into(),
        caption: format!(
            "One token does half an operation for each byte that it reads, and this machine \
             can do {ridge:.0} in the time that a byte takes. The line is the most that it \
             can do: on the left it reads {bandwidth:.0} GB/s, on the right it computes \
             {peak:.0} billion operations per second. Decoding reaches {one:.0}; a chunk of \
             512 tokens, which reads the same weights once for all, {most:.0}.",
        ),
        alt: format!(
            "A chart with two log scales. A line rises with operations per byte up to \
             {ridge:.0} and is level from there on at {peak:.0} billion operations per \
             second. Decode lies far on the left at {one:.0}; chunks from 8 to 512 tokens \
             climb to {most:.0} on the right.",
        ),
    };
    let plot = Chart::new(
        Axis::log("operations per byte").range(low, high),
        Axis::log("billion operations per second").range(1.0, 1000.0),
    )
    .line("possible", Hue::Muted, roof)
    .measured_points("decode, 1 token", Hue::Decoding, decode)
    .measured_points("prefill, 8 to 512 tokens", Hue::MultiHead, prefill);
    let measured = experiments::recorded()?.measured();
    Ok(Figure::measured("roofline", words, &measured, 1, &[&plot])?)
}

/// How much of a cache one token takes.
///
/// # Errors
/// When the models cannot be read.
pub fn cache_sizes() -> Result<Figure> {
    let models = experiments::multi_head_models()?;
    let kib =
        |model: &minilm::models::Model| model.cache_bytes_per_token(2) as f64 / 1024.0;
    let sizes: Vec<f64> = models.iter().map(kib).collect();
    let names = models.iter().map(|model| model.name.as_str());
    let (least, most) =
        sizes.iter().fold((f64::MAX, 0.0_f64), |(l, h), s| (s.min(l), s.max(h)));
    let most = grouped(most as u64);
    let words = Words {
        title: "What one token leaves behind".into(),
        caption: format!(
            "A single token takes {least:.0} KiB to {most} KiB of cache. Models in which \
             every head has its own keys and values, at two bytes per number: 2 · heads · \
             head width · layers · 2 bytes.",
        ),
        alt: format!(
            "Bars of cache per token in KiB: {}.",
            models
                .iter()
                .zip(&sizes)
                .map(|(model, size)| format!("{} {size:.0}", model.name))
                .collect::<Vec<_>>()
                .join(", "),
        ),
    };
    let plot = Bars::new(Axis::linear("KiB of cache per token"), names)
        .categories_label("model")
        .series("", Hue::MultiHead, sizes.iter().copied());
    Ok(Figure::draw("cache_sizes", words, &plot)?)
}
