//! The chapter's figures, one function each.

use crate::experiments::{self, Real, Rebuilt, Spectrum, ZERO};
use anyhow::Result;
use figures::{Axis, Bars, Chart, Diagram, Figure, Heatmap, Hue, Plot, Slot, Words};

/// All of them, in the order in which the chapter shows them.
///
/// # Errors
/// When the model's slices or the recording cannot be read.
pub fn all() -> Result<Vec<Figure>> {
    Ok(vec![
        one_average()?,
        split_and_join()?,
        three_heads()?,
        twelve_heads()?,
        drop_one()?,
        parked_and_moved()?,
        terms()?,
        rank()?,
        cost()?,
    ])
}

/// What one average leaves unexplained of two numbers, however it shares its weight.
///
/// # Errors
/// When the chart cannot be drawn.
pub fn one_average() -> Result<Figure> {
    let shares = || (0..=20).map(|step| f64::from(step) / 20.0);
    let both: Vec<_> = shares().map(|w| (w, experiments::one_average(w))).collect();
    let line = |error: fn([f64; 2]) -> f64| {
        both.iter().map(|(w, errors)| (*w, error(*errors))).collect::<Vec<_>>()
    };
    let mean: fn([f64; 2]) -> f64 = |[first, second]| f64::midpoint(first, second);
    let means = line(mean);
    let worst = means.iter().map(|(_, e)| (e - 0.5).abs()).fold(0.0, f64::max);
    let words = Words {
        title: "One head pays for one number with the other".into(),
        caption: format!(
            "However one average shares its weight, it loses half. Each token wants one \
             number from the token before it and another from the token after. Across: \
             the weight on the token before; the token after has the rest. Up: the share of \
             the numbers' variance that the best linear guess from the average leaves, on 4,096 random tokens. The mean of the two stays within {worst:.4} \
             of one half. Two heads lose nothing.",
        ),
        alt: format!(
            "Lines over the weight on the token before, from 0 to 1. What is lost of the \
             number from before falls from {:.2} to {:.2}, what is lost of the number from \
             after rises from {:.2} to {:.2}, and their mean is level at one half.",
            both[0].1[0], both[20].1[0], both[0].1[1], both[20].1[1],
        ),
    };
    let plot = Chart::new(
        Axis::linear("weight on the token before").range(0.0, 1.0),
        Axis::linear("share of variance lost").range(0.0, 1.05),
    )
    .line("from before", Hue::Attention, line(|[first, _]| first))
    .line("mean", Hue::Accent, means)
    .line("from after", Hue::Muted, line(|[_, second]| second));
    Ok(Figure::draw("one_average", words, &plot)?)
}

/// The idea: split, attend, join, mix.
///
/// # Errors
/// When the diagram cannot be drawn.
pub fn split_and_join() -> Result<Figure> {
    let words = Words {
        title: "Split, attend, join, mix".into(),
        caption: "Each head is a whole attention on a slice of the columns. Three \
                  projections serve all heads; a head takes its columns of queries, keys \
                  and values, and attends; what the heads found stands side by side again, \
                  and a fourth projection mixes it."
            .into(),
        alt: "Boxes and arrows: x leads to queries, keys and values of full width; these \
              lead to three heads, each with its own columns; the heads lead to one matrix, \
              where their outputs stand side by side; it leads through W_O to the \
              output."
            .into(),
    };
    let at = |column, row| Slot { column, row };
    let plot = Diagram::new()
        .node("x", at(1, 0), &["x", "tokens"], Hue::Muted)
        .node("qkv", at(1, 1), &["q, k, v", "all heads"], Hue::MultiHead)
        .node("h0", at(0, 2), &["head 0", "first columns"], Hue::Attention)
        .node("h1", at(1, 2), &["head 1", "next columns"], Hue::Attention)
        .node("h2", at(2, 2), &["head 2", "last columns"], Hue::Attention)
        .node("found", at(1, 3), &["found", "side by side"], Hue::MultiHead)
        .node("output", at(1, 4), &["output", "mixed"], Hue::Muted)
        .arrow("x", "qkv", "project")
        .elbow("qkv", "h0", "")
        .arrow("qkv", "h1", "")
        .elbow("qkv", "h2", "")
        .elbow("h0", "found", "")
        .arrow("h1", "found", "")
        .elbow("h2", "found", "")
        .arrow("found", "output", "W_O");
    Ok(Figure::draw("split_and_join", words, &plot)?)
}

/// Three heads whose maps can be named.
///
/// # Errors
/// When the model's slices cannot be read.
pub fn three_heads() -> Result<Figure> {
    let reals = [experiments::real(0)?, experiments::real(1)?, experiments::real(3)?];
    let [first, second, third] = &reals;
    let (it, animal) = (third.layer.position("it")?, third.layer.position("animal")?);
    let (previous, next) = (first.on_previous(2), second.on_next(8));
    let weight = third.weight(1, "it", "animal")?;
    let words = Words {
        title: "Three heads, three jobs".into(),
        caption: format!(
            "Heads of one model learn to look in different ways. In layer 0, head 2 every \
             token puts {previous:.2} of its weight on the token before it, on average over \
             those that have one. In layer 1, head 8 it is {next:.2} on the token after. \
             In layer 3, head 1 `it` puts {weight:.2} on `animal`.",
        ),
        alt: format!(
            "Three heat-maps of 14 by 14 weights. The first is heavy along the diagonal just \
             below the main one, mean {previous:.2}; the second mostly along the diagonal \
             just above it, mean {next:.2}; the third is heavy in the first column, and in \
             the row of “it” under “animal”, {weight:.2}.",
        ),
    };
    let maps = [
        map(first, 2).title("layer 0, head 2: the token before").keyless(),
        map(second, 8).title("layer 1, head 8: the token after").keyless(),
        map(third, 1).title("layer 3, head 1: “it” → “animal”").mark(it, animal),
    ];
    Ok(Figure::panels("three_heads", words, 1, &plots(&maps))?)
}

/// All heads of one layer, side by side.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn twelve_heads() -> Result<Figure> {
    let real = experiments::real(3)?;
    let heads = real.layer.heads;
    let parked: Vec<f32> = (0..heads).map(|h| real.parked(h)).collect();
    let above = parked.iter().filter(|weight| **weight > 1.0 / 3.0).count();
    let least = (0..heads).fold(0, |a, b| if parked[b] < parked[a] { b } else { a });
    let (it, animal) = (real.layer.position("it")?, real.layer.position("animal")?);
    let to_animal = |h: usize| f64::from(real.found.weights[h][(it, animal)]);
    let others = (0..heads).filter(|h| *h != 1).map(to_animal).fold(0.0, f64::max);
    let words = Words {
        title: "Twelve looks at one sentence".into(),
        caption: format!(
            "No two heads of a layer look alike, but most share a habit. All heads of layer \
             3 on the sentence of chapter 1; rows are queries, columns keys, both in the \
             order of the sentence, `[CLS]` first; the cell of `it` and `animal` is \
             outlined. {above} of the {heads} put more than a third of their weight, \
             averaged over the rows, on `[CLS]`: the stripe in the first column. Head \
             {least} puts {:.2} there.",
            parked[least],
        ),
        alt: format!(
            "Twelve small heat-maps of 14 by 14 weights. In {above} of them the first column \
             is the heaviest part. The outlined cell, from “it” to “animal”, holds {:.2} in head \
             1 and at most {others:.2} in the others.",
            to_animal(1),
        ),
    };
    let maps: Vec<_> = (0..heads)
        .map(|h| {
            let panel = map(&real, h).title(&format!("head {h}")).mark(it, animal);
            if h + 4 < heads { panel.keyless() } else { panel }
        })
        .collect();
    Ok(Figure::panels("twelve_heads", words, 4, &plots(&maps))?)
}

fn map(real: &Real, head: usize) -> Heatmap {
    let weights = &real.found.weights[head];
    let weight = |query, key| f64::from(weights[(query, key)]);
    Heatmap::new(&real.layer.tokens, &real.layer.tokens, weight).range(0.0, 1.0)
}

fn plots(maps: &[Heatmap]) -> Vec<&dyn Plot> {
    maps.iter().map(|map| map as &dyn Plot).collect()
}

/// How far the output of layer 3 moves without each of its heads.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn drop_one() -> Result<Figure> {
    let real = experiments::real(3)?;
    let heads = 0..real.layer.heads;
    let moved =
        heads.clone().map(|h| real.moved_without(h)).collect::<Result<Vec<_>>>()?;
    let name = |best: fn(f32, f32) -> bool| {
        heads.clone().fold(0, |a, b| if best(moved[b], moved[a]) { b } else { a })
    };
    let (least, most) = (name(|a, b| a < b), name(|a, b| a > b));
    let words = Words {
        title: "Every head moves the output, some more than others".into(),
        caption: format!(
            "Without one head the layer's output moves by {:.0} to {:.0} percent of its \
             length. Layer 3 on the sentence, with what one head found replaced by zeros: \
             the length of the change over that of the output. Head {least} moves it least, \
             head {most} most. This is arithmetic on one layer; what the later layers would make \
             of the change is not measured here.",
            moved[least] * 100.0,
            moved[most] * 100.0,
        ),
        alt: format!(
            "Twelve bars. The shortest is head {least} with {:.2}, the longest head {most} \
             with {:.2}; head 1, which finds “animal”, has {:.2}.",
            moved[least], moved[most], moved[1],
        ),
    };
    let bars = moved.iter().map(|&share| (f64::from(share) * 100.0).round() / 100.0);
    let plot = Bars::new(
        Axis::linear("change of the output, relative"),
        heads.map(|h| h.to_string()),
    )
    .categories_label("head")
    .series("", Hue::MultiHead, bars);
    Ok(Figure::draw("drop_one", words, &plot)?)
}

/// Weight on `[CLS]` against what a head moves, for all layers.
///
/// # Errors
/// When a slice of the model cannot be read.
pub fn parked_and_moved() -> Result<Figure> {
    let heads = experiments::parked_and_moved()?;
    let r = experiments::correlation(&heads);
    let above = |low: f64| heads.iter().filter(move |(parked, _)| *parked > low);
    let (parkers, furthest) =
        (above(0.75).count(), above(0.75).map(|h| h.1).fold(0.0, f64::max));
    let widest = heads.iter().map(|h| h.1).fold(0.0, f64::max);
    let words = Words {
        title: "A head that parks its weight moves little".into(),
        caption: format!(
            "The more weight a head leaves on `[CLS]`, the less its layer's output tends to \
             move without it. One point for each of the {} heads of the six layers, on one \
             sentence; the correlation is {}. Of the {parkers} heads with more than \
             0.75 on `[CLS]`, none moves the output by more than {furthest:.2}; of the \
             others, one by {widest:.2}.",
            heads.len(),
            format!("{r:.2}").replace('-', "−"),
        ),
        alt: format!(
            "A scatter of {} points that falls to the right, correlation {r:.2}. Right of \
             0.75 on the axis all {parkers} points lie at or below {furthest:.2}.",
            heads.len(),
        ),
    };
    let plot = Chart::new(
        Axis::linear("mean weight on [CLS]").range(0.0, 1.0),
        Axis::linear("change of the output, relative").range(0.0, 0.65),
    )
    .scatter("", Hue::MultiHead, heads);
    Ok(Figure::draw("parked_and_moved", words, &plot)?)
}

/// The map of a head from the largest columns times rows of which it is the sum.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn terms() -> Result<Figure> {
    let [one, two, three, all] = [1, 2, 3, 14].map(experiments::rebuilt);
    let [one, two, three, all] = [one?, two?, three?, all?];
    let missing = |rebuilt: &Rebuilt| format!("{:.0} %", 100.0 * rebuilt.missing);
    let words = Words {
        title: "A map is a sum of columns times rows".into(),
        caption: format!(
            "Three terms of fourteen make most of the map of the first figure of chapter 1. The \
             first is the stripe at `[CLS]`; the second brings the cell of `it` and `animal` to \
             {:.2}, the third that of `cross` and `street` to {:.2}. {} of the map's length is \
             missing after one term, {} after two, {} after three.",
            two.weight("it", "animal")?,
            three.weight("cross", "street")?,
            missing(&one),
            missing(&two),
            missing(&three),
        ),
        alt: format!(
            "Four heat-maps of 14 by 14. With one term, a heavy first column. With two, the \
             outlined cell from “it” to “animal” is heavy as well, {:.2}. With three, the cell \
             from “cross” to “street” too, {:.2}. The last is the whole map.",
            two.weight("it", "animal")?,
            three.weight("cross", "street")?,
        ),
    };
    let panel = |rebuilt: &Rebuilt, title: &str| {
        let tokens = &rebuilt.tokens;
        let place = |token: &str| tokens.iter().position(|t| t == token).unwrap_or(0);
        Heatmap::new(tokens, tokens, |query, key| rebuilt.sum[(query, key)])
            .title(title)
            .range(0.0, 1.0)
            .mark(place("it"), place("animal"))
            .mark(place("cross"), place("street"))
    };
    let maps = [
        panel(&one, "one term").keyless(),
        panel(&two, "two terms").keyless(),
        panel(&three, "three terms"),
        panel(&all, "all fourteen"),
    ];
    Ok(Figure::panels("terms", words, 2, &plots(&maps))?)
}

/// Singular values of scores and weights.
///
/// # Errors
/// When the model's slices cannot be read.
pub fn rank() -> Result<Figure> {
    let Spectrum { tokens, scores, weights, wide } = experiments::spectrum()?;
    let points = |values: &[f64]| {
        let counted = values.iter().enumerate().map(|(i, v)| ((i + 1) as f64, *v));
        counted.filter(|(_, v)| *v > ZERO).collect::<Vec<_>>()
    };
    let rank = points(&scores).len();
    // The next value is zero, which no log scale has: the line falls off the chart.
    let falls = [((rank + 1) as f64, ZERO)];
    let words = Words {
        title: "A head of 32 cannot score in more than 32 directions".into(),
        caption: format!(
            "The scores of a head have as many singular values as the head has columns, and \
             then none. Layer 3, head 1 on a passage of {tokens} tokens, each value over the \
             largest of its matrix: those of the scores fall to zero after number {rank}. With \
             the queries and keys of all twelve heads used as one head of 384, they go on \
             to number {}, and after softmax, which is not linear, those of the same head to \
             number {}.",
            points(&wide).len(),
            points(&weights).len(),
        ),
        alt: format!(
            "Three falling lines on a log scale over the number of the singular value, 1 to \
             {tokens}. The scores of one head drop from {:.0e} of the first to zero after \
             number {rank}. Its weights and the scores of one wide head fall slowly to the \
             end.",
            scores[rank - 1],
        ),
    };
    let plot = Chart::new(
        Axis::linear("number of the singular value"),
        Axis::log("relative to the first").range(1e-6, 1.0),
    )
    .line("scores, 32 wide", Hue::MultiHead, [points(&scores), falls.to_vec()].concat())
    .line("weights", Hue::Accent, points(&weights))
    .line("scores, 384 wide", Hue::Attention, points(&wide));
    Ok(Figure::draw("rank", words, &plot)?)
}

/// Time against the number of heads and against n, as recorded.
///
/// # Errors
/// When the recording cannot be read.
pub fn cost() -> Result<Figure> {
    let recorded = experiments::recorded()?;
    let points = |case: &str| recorded.line(case).collect::<Vec<_>>();
    let ms = |case: &str, n| recorded.milliseconds(case, n);
    let words = Words {
        title: "Many heads take longer for the same sums".into(),
        caption: format!(
            "At 512 tokens, many heads take more time than few, for the same parameters and \
             multiply-adds. Width 512, recorded by the chapter's benchmark on two cores. \
             Above, 512 tokens: the layer takes {:.0} ms with one head, {:.0} ms with 8 and {:.0} ms with 64. Softmax \
             grows with the number of heads; the two products of each head grow too, \
             although their multiply-adds do not. Below, 64 to 2,048 \
             tokens; by the formulas the projections grow with n, what the heads do with n².",
            ms("layer", 1)?,
            ms("layer", 8)?,
            ms("layer", 64)?,
        ),
        alt: format!(
            "Two charts with log scales. Over the number of heads from 1 to 64 the layer \
             goes from {:.1} to {:.1} ms, the heads' products from {:.1} to {:.1} ms and \
             softmax from {:.1} to {:.1} ms. Over n from 64 \
             to 2,048 a layer of eight heads goes from {:.1} to {:.0} ms, one of one head \
             from {:.1} to {:.0} ms, and the projections alone from {:.1} to {:.0} ms.",
            ms("layer", 1)?,
            ms("layer", 64)?,
            ms("products", 1)?,
            ms("products", 64)?,
            ms("softmax", 1)?,
            ms("softmax", 64)?,
            ms("eight_heads", 64)?,
            ms("eight_heads", 2048)?,
            ms("one_head", 64)?,
            ms("one_head", 2048)?,
            ms("projections", 64)?,
            ms("projections", 2048)?,
        ),
    };
    let heads = Chart::new(Axis::log2("heads"), Axis::log("time, ms"))
        .title("512 tokens")
        .measured("layer", Hue::MultiHead, points("layer"))
        .measured("products", Hue::Attention, points("products"))
        .measured("softmax", Hue::Accent, points("softmax"));
    let tokens = Chart::new(Axis::log2("tokens"), Axis::log("time, ms"))
        .title("8 heads and 1")
        .measured("8 heads", Hue::MultiHead, points("eight_heads"))
        .measured("1 head", Hue::Attention, points("one_head"))
        .measured("projections", Hue::Muted, points("projections"));
    let measured = recorded.measured();
    Ok(Figure::measured("cost", words, &measured, 1, &[&heads, &tokens])?)
}
