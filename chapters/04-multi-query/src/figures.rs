//! The chapter's figures, one function each.

use crate::experiments::{self, BENCH_HEAD_DIM, BENCH_HEADS, Loss, Setting};
use crate::experiments::{multi_head_ratio, multi_query_ratio, paper};
use anyhow::{Context, Result};
use figures::{Axis, Bars, Chart, Diagram, Figure, Format, Heatmap, Hue, Slot, Words};
use nalgebra::DMatrix;

/// All of them, in the order in which the chapter shows them.
///
/// # Errors
/// When the model's slices or the recording cannot be read.
pub fn all() -> Result<Vec<Figure>> {
    Ok(vec![
        one_key()?,
        it_before_and_after()?,
        twelve_heads()?,
        sharing_error()?,
        ratios()?,
        decode_time()?,
    ])
}

/// The idea: many queries, one key and one value.
///
/// # Errors
/// When the diagram cannot be drawn.
pub fn one_key() -> Result<Figure> {
    let words = Words {
        title: "Many queries, one set of keys and values".into(),
        caption: "Every head asks with its own query and looks at the same keys and \
                  values. A token is projected to one query per head, and to one key and one \
                  value, which are all that the cache keeps of it. What the heads find is \
                  put side by side and mixed by the output projection, as in chapter 2."
            .into(),
        alt: "Boxes and arrows: a token leads to the queries of two heads and to a cache \
              with one key and one value per token. Each head takes its query and looks at \
              that cache. Both heads lead through the output projection to the output."
            .into(),
    };
    let at = |column, row| Slot { column, row };
    let plot = Diagram::new()
        .node("x", at(1, 0), &["token", "x"], Hue::Muted)
        .node("q0", at(0, 1), &["query", "of head 0"], Hue::MultiQuery)
        .node("q1", at(1, 1), &["query", "of head 1"], Hue::MultiQuery)
        .node(
            "kv",
            at(2, 1),
            &["cache", "one key, one", "value per token"],
            Hue::Decoding,
        )
        .node("h0", at(0, 2), &["head 0", "looks"], Hue::MultiQuery)
        .node("h1", at(1, 2), &["head 1", "looks"], Hue::MultiQuery)
        .node("o", at(0, 3), &["output", "[h0 | h1] W_O"], Hue::MultiQuery)
        .elbow("x", "q0", "")
        .arrow("x", "q1", "")
        .elbow("x", "kv", "")
        .arrow("q0", "h0", "")
        .arrow("q1", "h1", "")
        .elbow("kv", "h0", "")
        .elbow("kv", "h1", "")
        .arrow("h0", "o", "")
        .elbow("h1", "o", "");
    Ok(Figure::draw("one_key", words, &plot)?)
}

/// The row of `it` in layer 3, head 1, with its own key and with the shared one.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn it_before_and_after() -> Result<Figure> {
    let it = experiments::it_rows()?;
    let place = |word: &str| -> Result<usize> {
        let place = it.tokens.iter().position(|token| token == word);
        place.with_context(|| format!("`{word}` is not in the sentence"))
    };
    let row = |rows: &DMatrix<f32>| {
        rows.row(1).iter().map(|w| f64::from(*w)).collect::<Vec<_>>()
    };
    let (own, shared) = (row(&it.own), row(&it.shared));
    let animal = place("animal")?;
    let most = shared.iter().copied().fold(0.0, f64::max);
    let least = shared.iter().copied().fold(1.0, f64::min);
    let even = 1.0 / it.tokens.len() as f64;
    let words = Words {
        title: "With a mean key, “animal” hardly stands out".into(),
        caption: format!(
            "The head that found its word can hardly tell it from others with the mean key. The \
             row of `it` in layer 3, head 1 of MiniLM: with its own keys `animal` has \
             {:.2}; with the mean of all twelve heads' keys it has {:.2}, and the {} \
             tokens lie between {least:.2} and {most:.2}. An even share would be \
             {even:.2}.",
            own[animal],
            shared[animal],
            it.tokens.len(),
        ),
        alt: format!(
            "Two bars for each of 14 tokens. With the head's own keys “animal” stands out \
             with {:.2}. With the shared key it has {:.2}, and all bars are between \
             {least:.2} and {most:.2}.",
            own[animal], shared[animal],
        ),
    };
    let plot = Bars::new(Axis::linear("weight").range(0.0, 0.7), labels(&it.tokens))
        .categories_label("key")
        .series("own keys", Hue::MultiHead, round(&own))
        .series("one mean key", Hue::MultiQuery, round(&shared));
    Ok(Figure::draw("it_before_and_after", words, &plot)?)
}

/// The second `the` gets a mark, so that every row of the data has a name of its own.
fn labels(tokens: &[String]) -> Vec<String> {
    let seen = |i: usize| tokens[..i].contains(&tokens[i]);
    let label = |i: usize| {
        let token = &tokens[i];
        if seen(i) { format!("{token} (2nd)") } else { token.clone() }
    };
    (0..tokens.len()).map(label).collect()
}

fn round(values: &[f64]) -> Vec<f64> {
    values.iter().map(|value| (value * 100.0).round() / 100.0).collect()
}

/// Where `it` looks in all twelve heads of layer 3, before and after.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn twelve_heads() -> Result<Figure> {
    let it = experiments::it_rows()?;
    let heads: Vec<String> = (0..it.own.nrows()).map(|h| h.to_string()).collect();
    let map = |title: &str, rows: &DMatrix<f32>| {
        Heatmap::new(&heads, labels(&it.tokens), |h, t| f64::from(rows[(h, t)]))
            .title(title)
            .row_axis("head")
            .column_axis("key")
            .value_axis("weight of “it”")
            .range(0.0, 1.0)
    };
    let [own, shared] = [&it.own, &it.shared].map(experiments::disagreement);
    let [most_own, most_shared] = [&it.own, &it.shared].map(DMatrix::max);
    let words = Words {
        title: "Twelve heads that differed become alike".into(),
        caption: format!(
            "Sharing takes away most of what made the heads differ. Each row is one head \
             of layer 3 and shows where `it` looks: above with twelve keys of their own, \
             below with their mean. Two heads differ in {own:.2} of their weight on \
             average above, and in {shared:.2} below (0 for the same row, 1 for rows that \
             have no token in common).",
        ),
        alt: format!(
            "Two heat-maps of 12 heads by 14 tokens. Above, rows have different heavy \
             cells, most under [CLS], the heaviest {most_own:.2}. Below, the heaviest is \
             {most_shared:.2}, and the others are pale. The mean difference between two \
             heads falls from {own:.2} to {shared:.2}.",
        ),
    };
    let above = map("a key for each head", &it.own);
    let below = map("one mean key for all", &it.shared);
    Ok(Figure::panels("twelve_heads", words, 1, &[&above, &below])?)
}

/// Relative error of the heads' output by layer and by what is shared.
///
/// # Errors
/// When the model's slices cannot be read.
pub fn sharing_error() -> Result<Figure> {
    let losses = experiments::losses()?;
    let line = |value: fn(&Loss) -> f32| {
        let point =
            |(layer, loss): (usize, &Loss)| (layer as f64, f64::from(value(loss)));
        losses.iter().enumerate().map(point).collect::<Vec<_>>()
    };
    let [keys, values, both] = [line(|l| l.keys), line(|l| l.values), line(|l| l.both)];
    let aligned = line(|l| l.aligned);
    let ends = |line: &[(f64, f64)]| {
        let low = line.iter().map(|p| p.1).fold(f64::MAX, f64::min);
        (low, line.iter().map(|p| p.1).fold(0.0, f64::max))
    };
    let (k, v, b) = (ends(&keys), ends(&values), ends(&both));
    let a = ends(&aligned);
    let words = Words {
        title: "One mean head loses nearly everything; aligned heads lose less".into(),
        caption: format!(
            "The mean of twelve heads says next to nothing, and turning the heads toward \
             one another first recovers a part. Relative error of the heads' \
             outputs for each layer of MiniLM, on the book's sentence: {:.2} to {:.2} with \
             one mean key and value, {:.2} to {:.2} with aligned ones. Answering zeros has \
             an error of 1.",
            b.0, b.1, a.0, a.1,
        ),
        alt: format!(
            "Lines over the six layers. One key and one value: {:.2} to {:.2}. The same, \
             aligned: {:.2} to {:.2}. One value: {:.2} to {:.2}. One key: {:.2} to {:.2}, \
             highest in layer 4. A level line marks 1, the error of zeros.",
            b.0, b.1, a.0, a.1, v.0, v.1, k.0, k.1,
        ),
    };
    let plot = Chart::new(
        Axis::linear("layer").range(-0.2, 5.2).ticks(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]),
        Axis::linear("relative error").range(0.0, 1.5),
    )
    .line("one key", Hue::Muted, keys)
    .line("one value", Hue::Accent, values)
    .line("both", Hue::MultiQuery, both)
    .line("both, aligned", Hue::GroupedQuery, aligned)
    .horizontal(1.0, "zeros");
    Ok(Figure::draw("sharing_error", words, &plot)?)
}

/// Memory access over arithmetic against the tokens written, at two batch sizes.
///
/// # Errors
/// When the charts cannot be drawn.
pub fn ratios() -> Result<Figure> {
    let line = |batch: u64, ratio: fn(Setting) -> f64| {
        let point = move |power: u32| {
            let tokens = 1 << power;
            (tokens as f64, ratio(paper(tokens, batch)))
        };
        (4..=10).map(point).collect::<Vec<_>>()
    };
    let fewer = |tokens: u64, batch: u64| {
        let s = paper(tokens, batch);
        multi_head_ratio(s) / multi_query_ratio(s)
    };
    let words = Words {
        title: "One key helps where the cache is what is read".into(),
        caption: format!(
            "With one sequence the weights dominate and sharing keys changes little; with \
             many sequences the cache dominates, and sharing divides it by the heads. \
             Shazeer's ratios, n/d + 1/b and 1/d + n/(d H) + 1/b, constants left out, for \
             d = 1,024 and H = 8. At 128 tokens one key is {:.1} times better with one \
             sequence and {:.1} times with 128; at 1,024 tokens {:.1} and {:.1} times.",
            fewer(128, 1),
            fewer(128, 128),
            fewer(1024, 1),
            fewer(1024, 128),
        ),
        alt: format!(
            "Two charts over 16 to 1,024 tokens, log scales. Batch 1: both lines near 1, \
             multi-head rises to {:.1}, multi-query to {:.1}. Batch 128: multi-head rises \
             from {:.3} to {:.2}, multi-query from {:.3} to {:.2}.",
            multi_head_ratio(paper(1024, 1)),
            multi_query_ratio(paper(1024, 1)),
            multi_head_ratio(paper(16, 128)),
            multi_head_ratio(paper(1024, 128)),
            multi_query_ratio(paper(16, 128)),
            multi_query_ratio(paper(1024, 128)),
        ),
    };
    let chart = |title: &str, batch: u64| {
        Chart::new(
            Axis::log2("tokens written"),
            Axis::log("numbers moved / multiply-add").range(0.005, 3.0),
        )
        .title(title)
        .line("multi-head", Hue::MultiHead, line(batch, multi_head_ratio))
        .line("multi-query", Hue::MultiQuery, line(batch, multi_query_ratio))
    };
    let (alone, many) = (chart("one sequence", 1), chart("128 sequences", 128));
    Ok(Figure::panels("ratios", words, 1, &[&alone, &many])?)
}

/// Bytes and time of one decoding step's attention against the tokens in the cache.
///
/// # Errors
/// When the recording cannot be read.
pub fn decode_time() -> Result<Figure> {
    let recorded = experiments::recorded()?;
    let time = |case: &str| recorded.line(case).collect::<Vec<_>>();
    let (many, one) = (time("multi_head"), time("multi_query"));
    let bytes = |kv_heads: usize| {
        let (kv_heads, width) = (kv_heads as u64, BENCH_HEAD_DIM as u64);
        let a_token = experiments::cache_bytes(1, kv_heads, width, 4) as f64;
        many.iter().map(|(tokens, _)| (*tokens, tokens * a_token)).collect::<Vec<_>>()
    };
    let last = many.len().checked_sub(1).context("recorded.csv is empty")?;
    let (tokens, slow, fast) = (many[last].0, many[last].1.median, one[last].1.median);
    let written = attention::example::grouped(tokens as u64);
    let words = Words {
        title: format!(
            "{BENCH_HEADS} times fewer bytes, {:.1} times faster",
            slow / fast
        ),
        caption: format!(
            "One shared key cuts the bytes by the number of heads, and the time by less. \
             Above, what the cache of one layer holds, with {BENCH_HEADS} heads of \
             {BENCH_HEAD_DIM} at four bytes per number. Below, the attention of one decoding \
             step over it, the new token already appended, one call after the other: at \
             {written} tokens {slow:.1} ms in {BENCH_HEADS} calls with a key for each head, \
             and {fast:.1} ms in one call with a key for all.",
        ),
        alt: format!(
            "Two charts with log scales over {} to {written} tokens. Bytes: two parallel \
             lines, {BENCH_HEADS} times apart. Time: multi-head rises from {:.2} to \
             {slow:.1} ms, multi-query from {:.2} to {fast:.1} ms.",
            many[0].0, many[0].1.median, one[0].1.median,
        ),
    };
    let size = Chart::new(
        Axis::log2("tokens in the cache"),
        Axis::log2("cache").format(Format::Bytes),
    )
    .title("what the cache holds")
    .line("multi-head", Hue::MultiHead, bytes(BENCH_HEADS))
    .line("multi-query", Hue::MultiQuery, bytes(1));
    let time = Chart::new(Axis::log2("tokens in the cache"), Axis::log("time, ms"))
        .title("time of one step")
        .measured("multi-head", Hue::MultiHead, many)
        .measured("multi-query", Hue::MultiQuery, one);
    let measured = recorded.measured();
    Ok(Figure::measured("decode_time", words, &measured, 1, &[&size, &time])?)
}
