//! The chapter's figures, one function each.

use crate::experiments::{self, KV_HEADS, LAYERS, METHODS};
use crate::{Groups, Pooling};
use anyhow::Result;
use figures::{Axis, Bars, Chart, Diagram, Figure, Heatmap, Hue, Slot, Words};
use multi_query::alignment::Freedom;
use nalgebra::DMatrix;

/// All of them, in the order in which the chapter shows them.
///
/// # Errors
/// When the model's slice or the recording cannot be read.
pub fn all() -> Result<Vec<Figure>> {
    Ok(vec![
        groups()?,
        it_animal()?,
        pooling()?,
        bases()?,
        layers()?,
        parted()?,
        decode()?,
        interleaved()?,
    ])
}

/// Query heads and the kv heads that they ask, as `partner` says. The arrow of head
/// 2 is labeled, which also keeps the two columns apart.
fn assignment(
    groups: Groups,
    label: &str,
    partner: fn(Groups, usize) -> usize,
) -> Diagram {
    let label = |h: usize| if h == 2 { label } else { "" };
    let kv = |g: usize| format!("kv {g}");
    // A kv head stands beside the middle of the block that it belongs to.
    let place =
        |g: usize| Slot { column: 1, row: g * groups.size() + groups.size() / 2 };
    let mut diagram = Diagram::new();
    for g in 0..groups.kv_heads() {
        diagram = diagram.node(&kv(g), place(g), &[&kv(g)], Hue::GroupedQuery);
    }
    for h in 0..groups.heads() {
        let name = format!("query {h}");
        let hue = if partner(groups, h) == groups.kv_head(h) {
            Hue::Muted
        } else {
            Hue::Accent
        };
        diagram = diagram.node(&name, Slot { column: 0, row: h }, &[&name], hue).arrow(
            &name,
            &kv(partner(groups, h)),
            label(h),
        );
    }
    diagram
}

/// Eight query heads on two kv heads, in blocks.
///
/// # Errors
/// When the diagrams cannot be drawn.
pub fn groups() -> Result<Figure> {
    groups_of(8, 2)
}

/// Any number of query heads on any number of kv heads that divides it, and what
/// that leaves of the cache.
///
/// # Errors
/// When it does not divide it.
pub fn groups_of(heads: usize, kv_heads: usize) -> Result<Figure> {
    let groups = Groups::new(heads, kv_heads)?;
    let size = groups.size();
    let (title, message) = match (kv_heads, size) {
        (1, _) => ("All share", "All query heads ask one kv head.".to_owned()),
        (_, 1) => {
            ("Nobody shares", "Each query head has a kv head of its own.".to_owned())
        }
        _ => (
            "Neighbors share",
            format!("Each block of {size} neighbors asks one kv head."),
        ),
    };
    let between = match (kv_heads, size) {
        (1, _) => "This is multi-query attention.".to_owned(),
        (_, 1) => "This is multi-head attention.".to_owned(),
        _ => format!(
            "With {heads} kv heads every query head would have its own, and this \
             would be multi-head attention; with one, multi-query."
        ),
    };
    let kept = if kv_heads == 1 { "key and value" } else { "keys and values" };
    let percent = (100.0 * kv_heads as f64 / heads as f64).round();
    let arrows = (0..kv_heads).map(|g| match (g * size, g * size + size - 1) {
        (only, last) if only == last => format!("from head {only} to kv {g}"),
        (first, last) => format!("from heads {first} to {last} to kv {g}"),
    });
    let words = Words {
        title: title.into(),
        caption: format!(
            "{message} Of {heads} query heads, each with queries of its own, head h asks \
             kv head ⌊h / {size}⌋. The cache keeps {kv_heads} {kept} per token where \
             multi-head attention keeps {heads}: {percent} %. {between}",
        ),
        alt: format!(
            "Boxes for query heads 0 to {} on the left, for kv heads 0 to {} on the \
             right. Arrows lead {}.",
            heads - 1,
            kv_heads - 1,
            arrows.collect::<Vec<_>>().join(", "),
        ),
    };
    let label = format!("⌊2 / {size}⌋ = {}", groups.kv_head(2));
    let blocks = assignment(groups, &label, Groups::kv_head);
    Ok(Figure::draw("groups", words, &blocks)?)
}

/// The same heads, in turns: the mistake.
///
/// # Errors
/// When the diagrams cannot be drawn.
pub fn interleaved() -> Result<Figure> {
    let groups = Groups::new(8, 2)?;
    let wrong = experiments::wrong_partners(groups);
    let words = Words {
        title: "In turns, half of the heads ask a stranger".into(),
        caption: format!(
            "Taking turns leaves every shape right and gives {wrong} of 8 heads the wrong \
             partner. Query head h asks h mod 2 here; the boxes in red are the heads \
             whose keys and values were made for others.",
        ),
        alt: format!(
            "The same boxes. Even query heads lead to kv 0 and odd ones to kv 1. The {wrong} \
             heads 1, 3, 4 and 6 are marked.",
        ),
    };
    let turns = assignment(groups, "2 mod 2 = 0", |groups, h| {
        experiments::interleaved(h, groups)
    });
    Ok(Figure::draw("interleaved", words, &turns)?)
}

/// What sharing does to the head that the book opens with.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn it_animal() -> Result<Figure> {
    let weights = KV_HEADS.map(experiments::it_animal);
    let weights: Vec<f64> =
        weights.into_iter().map(|w| Ok(f64::from(w?))).collect::<Result<_>>()?;
    let tokens = minilm::Layer::load(3)?.tokens.len();
    let words = Words {
        title: "Shared keys blur where “it” looks".into(),
        caption: format!(
            "A head that shares its keys finds its word with less weight. The weight of `it → animal` \
             in layer 3, head 1 of MiniLM, when the keys of neighboring heads are replaced \
             by their mean: {:.2} with all 12, {:.2} with 6, {:.2} with 1. An equal share \
             among the {tokens} tokens would be {:.2}.",
            weights[0],
            weights[1],
            weights[5],
            1.0 / tokens as f64,
        ),
        alt: format!(
            "Bars for 12, 6, 4, 3, 2 and 1 kv heads: {}.",
            weights.iter().map(|w| format!("{w:.2}")).collect::<Vec<_>>().join(", "),
        ),
    };
    let bars = Bars::new(
        Axis::linear("weight of it → animal").range(0.0, 0.7),
        KV_HEADS.map(|g| g.to_string()),
    )
    .categories_label("kv heads")
    .series("", Hue::GroupedQuery, weights);
    Ok(Figure::draw("it_animal", words, &bars)?)
}

/// The error of converting layer 5, by method.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn pooling() -> Result<Figure> {
    let line = |error: &dyn Fn(usize) -> Result<f32>| -> Result<Vec<(f64, f64)>> {
        let point = |&g: &usize| Ok((g as f64, f64::from(error(g)?)));
        KV_HEADS[1..].iter().rev().map(point).collect()
    };
    let [mean, first, random] = METHODS
        .map(|(_, pooling)| line(&|g| experiments::conversion_error(5, g, pooling)));
    let (mean, first, random) = (mean?, first?, random?);
    let layer = minilm::Layer::load(5)?;
    let aligned = line(&|g| experiments::aligned_error(&layer, g, Freedom::Any))?;
    let words = Words {
        title: "Heads that are turned toward one another first lose less".into(),
        caption: format!(
            "The mean loses less than the first head or random numbers, and the mean of \
             aligned heads loses less still. Relative error of the heads’ output in \
             layer 5 of MiniLM: {:.2} with 6 kv heads and {:.2} with 1 for aligned \
             heads, {:.2} and {:.2} for the mean of the heads as they are. An output of \
             zeros would be off by 1.",
            aligned[4].1, aligned[0].1, mean[4].1, mean[0].1,
        ),
        alt: format!(
            "Four lines over 1 to 6 kv heads. Aligned falls from {:.2} at 1 to {:.2} \
             at 6, mean from {:.2} to {:.2}, first from {:.2} to {:.2}; random goes from \
             {:.2} to {:.2}. A level line marks 1, the error of zeros.",
            aligned[0].1,
            aligned[4].1,
            mean[0].1,
            mean[4].1,
            first[0].1,
            first[4].1,
            random[0].1,
            random[4].1,
        ),
    };
    let plot = Chart::new(
        Axis::linear("kv heads").range(0.5, 6.5).ticks(&[1.0, 2.0, 3.0, 4.0, 6.0]),
        Axis::linear("relative error").range(0.0, 2.0),
    )
    .line("aligned mean", Hue::GroupedQuery, aligned)
    .line("mean", Hue::MultiQuery, mean)
    .line("first", Hue::Accent, first)
    .line("random", Hue::Muted, random)
    .horizontal(1.0, "all zeros");
    Ok(Figure::draw("pooling", words, &plot)?)
}

/// How alike the features of two heads are, before and after they are turned.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn bases() -> Result<Figure> {
    let [before, after] = experiments::cosines()?;
    let [[before_own, before_all], [after_own, _]] =
        [&before, &after].map(experiments::likeness);
    let features: Vec<String> = (0..before.nrows()).map(|f| f.to_string()).collect();
    let map = |title: &str, cosines: &DMatrix<f32>| {
        Heatmap::new(&features, &features, |i, j| f64::from(cosines[(i, j)].abs()))
            .title(title)
            .row_axis("feature of head 0")
            .column_axis("feature of head 1")
            .value_axis("cosine, without its sign")
            .range(0.0, 1.0)
    };
    let words = Words {
        title: "Feature 7 of one head is not feature 7 of the next".into(),
        caption: format!(
            "Features of equal number have nothing in common until the heads are turned. \
             How alike the columns of $W_V$ of heads 0 and 1 in layer 5 of MiniLM are: on \
             the diagonal {before_own:.2} on average as they are, like everywhere else \
             ({before_all:.2}), and {after_own:.2} after turning, which leaves the layer’s \
             output unchanged.",
        ),
        alt: format!(
            "Two heat-maps of 32 by 32 features. Above, pale cells without order, \
             {before_all:.2} on average, {before_own:.2} on the diagonal. Below, a strong \
             diagonal, {after_own:.2} on average.",
        ),
    };
    let (above, below) = (map("as they are", &before), map("turned", &after));
    Ok(Figure::panels("bases", words, 1, &[&above, &below])?)
}

/// The errors of every layer.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn layers() -> Result<Figure> {
    let map = |title: &str, pooling| -> Result<(Heatmap, f64, f64)> {
        let mut errors = vec![];
        for layer in 0..LAYERS {
            for &kv_heads in &KV_HEADS[1..] {
                let error = experiments::conversion_error(layer, kv_heads, pooling)?;
                errors.push(f64::from(error));
            }
        }
        let ends = (
            errors.iter().copied().fold(f64::MAX, f64::min),
            errors.iter().copied().fold(0.0, f64::max),
        );
        let rows = (0..LAYERS).map(|layer| format!("layer {layer}"));
        let columns = KV_HEADS[1..].iter().map(ToString::to_string);
        let (rows, columns): (Vec<_>, Vec<_>) = (rows.collect(), columns.collect());
        let error = |row: usize, column: usize| errors[row * columns.len() + column];
        let map = Heatmap::new(&rows, &columns, error)
            .title(title)
            .row_axis("layer")
            .column_axis("kv heads")
            .value_axis("relative error")
            .range(0.0, 2.1)
            .values(2);
        Ok((map, ends.0, ends.1))
    };
    let (mean, mean_low, mean_high) = map("mean of each group", Pooling::Mean)?;
    let (first, first_low, first_high) = map("first of each group", Pooling::First)?;
    let words = Words {
        title: "No layer can be grouped without a loss".into(),
        caption: format!(
            "Every layer of MiniLM loses most of its heads’ output when they are pooled. \
             Relative error by layer and number of kv heads: {mean_low:.2} to \
             {mean_high:.2} with the mean, {first_low:.2} to {first_high:.2} with the first \
             head. Above 1, zeros would be nearer.",
        ),
        alt: format!(
            "Two heat-maps of six layers by five numbers of kv heads. With the mean \
             the errors lie between {mean_low:.2} and {mean_high:.2}, with the first head \
             between {first_low:.2} and {first_high:.2}.",
        ),
    };
    Ok(Figure::panels("layers", words, 1, &[&mean, &first])?)
}

/// The error of mean-pooling against how far the heads of a group are apart.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn parted() -> Result<Figure> {
    let line = |kv_heads| -> Result<Vec<(f64, f64)>> {
        let error = |step: u8| {
            let share = f32::from(step) / 10.0;
            Ok((f64::from(share), f64::from(experiments::parted(kv_heads, share)?)))
        };
        (0..=10).map(error).collect()
    };
    let (six, three, one) = (line(6)?, line(3)?, line(1)?);
    let words = Words {
        title: "The error grows as the heads part".into(),
        caption: format!(
            "Heads that agree can be pooled for nothing, and each step apart costs. The \
             heads of layer 5 were moved to the mean of their group (0), left in their \
             places (1), or put in between, and then pooled. With 6 groups the error is \
             {:.2} at 0.1, {:.2} at 0.5 and {:.2} at 1.",
            six[1].1, six[5].1, six[10].1,
        ),
        alt: format!(
            "Three rising lines over a share from 0 to 1, all starting at 0. 6 kv \
             heads end at {:.2}, 3 at {:.2}, 1 at {:.2}.",
            six[10].1, three[10].1, one[10].1,
        ),
    };
    let plot = Chart::new(
        Axis::linear("share of the heads’ own part").range(0.0, 1.0),
        Axis::linear("relative error").range(0.0, 1.0),
    )
    .line("1 kv head", Hue::MultiQuery, one)
    .line("3", Hue::Muted, three)
    .line("6", Hue::GroupedQuery, six);
    Ok(Figure::draw("parted", words, &plot)?)
}

/// The time of one token over a long cache, as recorded.
///
/// # Errors
/// When the recording cannot be read.
pub fn decode() -> Result<Figure> {
    let recorded = experiments::recorded()?;
    let mut points: Vec<_> = recorded.line("stacked").collect();
    points.reverse();
    let ms = |kv_heads| recorded.milliseconds("stacked", kv_heads);
    let (most, eight, two, one) = (ms(32)?, ms(8)?, ms(2)?, ms(1)?);
    let mut read: Vec<_> = recorded.line("read").collect();
    read.reverse();
    let cache = points.iter().map(|&(g, _)| (g, most * g / 32.0)).collect::<Vec<_>>();
    let words = Words {
        title: "Sharing saves time, and more cache than time".into(),
        caption: format!(
            "A token takes less time when heads share, but the time falls by less than the \
             cache shrinks. One token of 32 query heads of 128 over 8,192 cached tokens, its \
             own already appended, on all cores: {most:.1} ms with 32 kv heads, \
             {eight:.1} ms with 8, {two:.1} ms with 2, and {one:.1} ms with 1, when there is \
             no second group for the second core. The dotted line falls as the cache does, \
             from the time at 32; the third line is a plain sum of the same cache.",
        ),
        alt: format!(
            "A line on log scales from {most:.1} ms at 32 kv heads over {eight:.1} ms \
             at 8 and {two:.1} ms at 2 to {one:.1} ms at 1. A line proportional to the cache \
             ends at {:.2} ms.",
            most / 32.0,
        ),
    };
    let plot = Chart::new(Axis::log2("kv heads"), Axis::log("time per token, ms"))
        .line("as the cache", Hue::Muted, cache)
        .measured("attention", Hue::GroupedQuery, points)
        .measured("a sum", Hue::Accent, read);
    Ok(Figure::measured("decode", words, &recorded.measured(), 1, &[&plot])?)
}
