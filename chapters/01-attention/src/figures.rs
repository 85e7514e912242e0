//! The chapter's figures, one function each.

use crate::experiments::{self, OPENING, Place, Real, Sharpness, VERSIONS};
use crate::{Mask, attend, example, scores, softmax};
use anyhow::{Context, Result};
use figures::{
    Axis, Chart, Diagram, Figure, Format, Heatmap, Hue, Slot, Spread, Words,
};
use nalgebra::DMatrix;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};

/// All of them, in the order in which the chapter shows them.
///
/// # Errors
/// When the model's slice or the recording cannot be read.
pub fn all() -> Result<Vec<Figure>> {
    Ok(vec![
        it_looks_at_animal()?,
        soft_lookup()?,
        scaling()?,
        temperature()?,
        causal_map()?,
        keys_not_queries()?,
        cost()?,
        softmax_versions()?,
        exp_terms()?,
    ])
}

/// The map of layer 3, head 1 of MiniLM.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn it_looks_at_animal() -> Result<Figure> {
    let real = experiments::real()?;
    who_looks_at_whom(&real, real.position("it")?)
}

/// The map of a head, with the key to which the token at `query` gives most.
///
/// # Errors
/// When the sentence has no such token.
pub fn who_looks_at_whom(real: &Real, query: usize) -> Result<Figure> {
    let Real { place: Place { layer, head }, tokens, .. } = real;
    let weights = &real.attended.weights;
    let looking = tokens.get(query).context("no such token")?;
    let key = strongest(weights, query);
    let (found, weight) = (&tokens[key], weights[(query, key)]);
    let message = match (real.place, &**looking) {
        (OPENING, "it") => "A word finds the word that it stands for.".to_owned(),
        _ => format!("`{looking}` looks at `{found}` more than at any other token."),
    };
    let to_cls = (0..tokens.len()).filter(|&row| strongest(weights, row) == 0).count();
    let sink = if to_cls > tokens.len() / 2 {
        "The column of [CLS] is heavy in most rows.".to_owned()
    } else {
        format!("The column of [CLS] is the heaviest in {to_cls} rows.")
    };
    let words = Words {
        title: format!("“{looking}” looks at “{found}”"),
        caption: format!(
            "{message} Each row is a token that looks, each column a token that is looked \
             at, and a row sums to one: `{looking}` puts {weight:.2} of its weight on \
             `{found}`. The model is all-MiniLM-L6-v2, which has six layers of twelve such \
             maps, called heads; this is head {head} of layer {layer}, both counted from 0. \
             `[CLS]` and `[SEP]` mark where a text begins and ends.",
        ),
        alt: format!(
            "Heat-map of {n} by {n} attention weights. The outlined cell in the row of \
             “{looking}” and the column of “{found}” holds {weight:.2}. {sink}",
            n = tokens.len(),
        ),
    };
    let map = map_of(tokens, weights).mark(query, key);
    Ok(Figure::draw("it_looks_at_animal", words, &map)?)
}

/// The key that gets the most weight from a query.
fn strongest(weights: &DMatrix<f32>, query: usize) -> usize {
    weights.row(query).transpose().argmax().0
}

fn map_of(tokens: &[String], weights: &DMatrix<f32>) -> Heatmap {
    let weight = |query, key| f64::from(weights[(query, key)]);
    Heatmap::new(tokens, tokens, weight)
        .row_axis("query")
        .column_axis("key")
        .value_axis("weight")
        .range(0.0, 1.0)
}

/// The idea: compare, share out, mix.
///
/// # Errors
/// When the diagram cannot be drawn.
pub fn soft_lookup() -> Result<Figure> {
    let words = Words {
        title: "A lookup that takes a little of everything".into(),
        caption: "Attention is a dictionary that answers with a mixture. The query is \
                  compared with every key; softmax turns the scores into shares of one; \
                  the answer is the values mixed in these shares."
            .into(),
        alt: "Boxes and arrows: query and keys lead to scores, scores through softmax to \
              weights, weights and values to the output."
            .into(),
    };
    let at = |column, row| Slot { column, row };
    let plot = Diagram::new()
        .node("query", at(0, 0), &["query", "what I look for"], Hue::Attention)
        .node("keys", at(1, 0), &["keys", "what each offers"], Hue::Muted)
        .node("scores", at(0, 1), &["scores", "q · k / √d_k"], Hue::Attention)
        .node("weights", at(0, 2), &["weights", "sum to one"], Hue::Attention)
        .node("values", at(1, 2), &["values", "what each hands over"], Hue::Muted)
        .node("output", at(0, 3), &["output", "Σ weight · value"], Hue::Attention)
        .arrow("query", "scores", "")
        .elbow("keys", "scores", "compare")
        .arrow("scores", "weights", "softmax")
        .arrow("weights", "output", "")
        .elbow("values", "output", "mix");
    Ok(Figure::draw("soft_lookup", words, &plot)?)
}

/// Entropy and largest weight against `d_k`, with and without the scale.
///
/// # Errors
/// When the charts cannot be drawn.
pub fn scaling() -> Result<Figure> {
    scaling_among(experiments::KEYS, WIDEST)
}

/// The widest keys of [`scaling`].
const WIDEST: usize = 1 << 10;

/// [`scaling`] with another number of keys, read off at another `d_k`.
///
/// # Errors
/// When `d_k` is not a power of two up to 1,024, or there are no keys.
pub fn scaling_among(keys: usize, d_k: usize) -> Result<Figure> {
    let widths = || (0..=10).map(|power| 1_usize << power);
    let measured: Vec<_> =
        widths().map(|d_k| (d_k, experiments::sharpness_among(keys, d_k))).collect();
    let line = |value: fn(&Sharpness) -> f32| {
        let point = move |(d_k, s): &(usize, Sharpness)| (*d_k as f64, value(s).into());
        measured.iter().map(point).collect::<Vec<_>>()
    };
    let chosen = measured.iter().find(|(width, _)| *width == d_k);
    let (_, chosen) = chosen.context("d_k: expected a power of two up to 1,024")?;
    let written = example::grouped(d_k as u64);
    let words = Words {
        title: "Without the scale, one key takes it all".into(),
        caption: format!(
            "Dividing by √d_k keeps the weights as spread at any width. Random queries \
             choose among {keys} random keys, all entries standard normal. Without the scale \
             the largest weight climbs to {:.2} at d_k = {written} and the entropy falls to \
             {:.2} nats; with it, both stay put.",
            chosen.raw.largest, chosen.raw.entropy,
        ),
        alt: format!(
            "Two line charts over d_k from 1 to 1,024. Largest weight: unscaled rises to \
             {:.2}{at}, scaled stays near {:.2}. Entropy: unscaled falls to {:.2} nats, \
             scaled stays near {:.1}.",
            chosen.raw.largest,
            chosen.scaled.largest,
            chosen.raw.entropy,
            chosen.scaled.entropy,
            at = if d_k == WIDEST { String::new() } else { format!(" at {written}") },
        ),
    };
    let chart = |y: Axis, raw: fn(&Sharpness) -> f32, scaled: fn(&Sharpness) -> f32| {
        let chart = Chart::new(Axis::log2("d_k"), y)
            .line("unscaled", Hue::Accent, line(raw))
            .line("scaled", Hue::Attention, line(scaled));
        // The widest are where the lines end.
        if d_k == WIDEST { chart } else { chart.vertical(d_k as f64, "") }
    };
    let largest = chart(
        Axis::linear("largest weight").range(0.0, 1.0),
        |s| s.raw.largest,
        |s| s.scaled.largest,
    );
    let alike = (keys as f64).ln();
    let entropy = chart(
        Axis::linear("entropy, nats").range(0.0, alike.max(4.2) + 0.3),
        |s| s.raw.entropy,
        |s| s.scaled.entropy,
    )
    .horizontal(alike, "all keys alike");
    Ok(Figure::panels("scaling", words, 1, &[&largest, &entropy])?)
}

/// The row of `it` when its scores are multiplied before softmax.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn temperature() -> Result<Figure> {
    let real = experiments::real()?;
    temperature_of(&real, real.position("it")?, 1.0)
}

/// [`temperature`] for the token at `query`, read off at a temperature, too.
///
/// # Errors
/// When the sentence has no such token, or the temperature is no positive number.
pub fn temperature_of(real: &Real, query: usize, temperature: f32) -> Result<Figure> {
    let looking = real.tokens.get(query).context("no such token")?;
    let (q, k) = real.queries_and_keys()?;
    let row = scores(q.as_view(), k.as_view())?.rows(query, 1).into_owned();
    let weight =
        |place: usize, factor: f64| f64::from(softmax(&row * factor as f32)[place]);
    let mut others: Vec<usize> = (0..row.len()).filter(|&key| key != query).collect();
    others.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
    let [first, second, third] = [others[0], others[1], others[2]];
    let line = |place: usize| {
        let at = |step: i32| {
            let factor = f64::from(step).div_euclid(4.0).exp2()
                * (f64::from(step).rem_euclid(4.0) / 4.0).exp2();
            (factor, weight(place, factor))
        };
        (-16..=16).map(at).collect::<Vec<_>>()
    };
    let [most, more, some] = [first, second, third].map(line);
    let highest =
        |line: &[(f64, f64)]| line.iter().map(|point| point.1).fold(0.0, f64::max);
    let [found, next, last] = [first, second, third].map(|key| &*real.tokens[key]);
    let factor = f64::from(1.0 / temperature);
    let chosen = if factor == 1.0 {
        String::new()
    } else {
        let here = weight(first, factor);
        format!(" At temperature {temperature:.2} it has {here:.2}.")
    };
    let words = Words {
        title: "From a plain average to a choice".into(),
        caption: format!(
            "Multiplying the scores moves a row between a plain average and a choice. The \
             row of `{looking}` from the map above, its scores multiplied by a factor: at \
             1/16 `{found}` has {:.2} and every token nearly the same; at 1, the model as it is, \
             {:.2}; at 16 `{found}` has {:.2}. The inverse of the factor is called \
             temperature.{chosen}",
            most[0].1, most[16].1, most[32].1,
        ),
        alt: format!(
            "Lines over a factor from 1/16 to 16. {} goes from {:.2} to {:.2} at factor 1 \
             and {:.2} at 16. {} starts at {:.2}, rises to {:.2} and falls to {:.2}; {} \
             starts at {:.2}, rises to {:.2} and falls to {:.2}.",
            quoted(found),
            most[0].1,
            most[16].1,
            most[32].1,
            quoted(next),
            more[0].1,
            highest(&more),
            more[32].1,
            quoted(last),
            some[0].1,
            highest(&some),
            some[32].1,
        ),
    };
    let plot = Chart::new(
        Axis::log2("scores multiplied by"),
        Axis::linear("weight").range(0.0, 1.0),
    )
    .line(found, Hue::Attention, most)
    .line(next, Hue::Muted, more)
    .line(last, Hue::Accent, some)
    .vertical(1.0, if factor == 1.0 { "the model" } else { "" });
    let plot = match factor {
        1.0 => plot,
        factor => plot.vertical(factor, &format!("temperature {temperature:.2}")),
    };
    Ok(Figure::draw("temperature", words, &plot)?)
}

/// A word in quotes; marks such as `[CLS]` are no words.
fn quoted(token: &str) -> String {
    if token.starts_with('[') { token.to_owned() } else { format!("“{token}”") }
}

/// The real map under a causal mask.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn causal_map() -> Result<Figure> {
    masked_map(&experiments::real()?, Hidden::Later)
}

/// What a mask takes from the map of [`masked_map`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hidden {
    /// No mask.
    Nothing,
    /// The keys that come later.
    Later,
    /// `[CLS]` and `[SEP]`, as keys.
    Ends,
    /// Every key but that of the token itself and the one before it.
    Far,
}

impl Hidden {
    fn mask(self, tokens: usize) -> Mask {
        let allowed = |visible: fn(usize, usize, usize) -> bool| {
            let visible = |query, key| visible(query, key, tokens - 1);
            Mask::Allowed(DMatrix::from_fn(tokens, tokens, visible))
        };
        match self {
            Hidden::Nothing => Mask::None,
            Hidden::Later => Mask::Causal { offset: 0 },
            Hidden::Ends => allowed(|_, key, last| key > 0 && key < last),
            Hidden::Far => allowed(|query, key, _| key <= query && query - key < 2),
        }
    }

    /// The title, and the message of the caption.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Hidden::Nothing => (
                "Everybody looks everywhere",
                "Without a mask every key gets a share, however small, and the shares sum to \
                 one.",
            ),
            Hidden::Later => (
                "Nobody looks ahead",
                "A causal mask hides the keys that come later, and what is left still sums \
                 to one.",
            ),
            Hidden::Ends => (
                "Nobody looks at the ends",
                "With `[CLS]` and `[SEP]` hidden as keys the words share the weight that was \
                 parked there, and what is left still sums to one.",
            ),
            Hidden::Far => (
                "Nobody looks far",
                "A window of two hides every key but the token itself and the one before it, \
                 and what is left still sums to one.",
            ),
        }
    }
}

/// The map of a head with some of it hidden.
///
/// # Errors
/// When the sentence lacks `it` and `animal`.
pub fn masked_map(real: &Real, hidden: Hidden) -> Result<Figure> {
    let (it, animal) = (real.position("it")?, real.position("animal")?);
    let mask = hidden.mask(real.tokens.len());
    let mut weights = real.head.forward(&real.x, &mask)?.weights;
    let (before, after) = (real.attended.weights[(it, animal)], weights[(it, animal)]);
    let mut visible = DMatrix::zeros(weights.nrows(), weights.ncols());
    mask.hide(&mut visible)?;
    weights.zip_apply(&visible, |weight, visible: f32| {
        if visible == f32::NEG_INFINITY {
            *weight = f32::NAN;
        }
    });
    let (title, message) = hidden.words();
    let change = match hidden {
        Hidden::Nothing => format!("`it` puts {before:.2} of its weight on `animal`."),
        Hidden::Later => format!(
            "`it` loses the tokens behind it, and `animal` goes from {before:.2} to \
             {after:.2}."
        ),
        _ => format!("for `it`, `animal` goes from {before:.2} to {after:.2}."),
    };
    let trained = match hidden {
        Hidden::Nothing => "MiniLM was trained so.",
        _ => {
            "MiniLM itself was trained without such a mask, so this shows what the mask does, \
             and not what a causal model would find."
        }
    };
    let shape = match hidden {
        Hidden::Nothing => "no cell empty",
        Hidden::Later => "the upper right triangle empty",
        Hidden::Ends => "the first and the last column empty",
        Hidden::Far => "all but the diagonal and the cells left of it empty",
    };
    let words = Words {
        title: title.into(),
        caption: format!(
            "{message} The head of the first figure again: {change} {trained}"
        ),
        alt: format!(
            "Heat-map of the same head with {shape}. The row of “it” holds {after:.2} under \
             “animal”.",
        ),
    };
    let map = map_of(&real.tokens, &weights).absent("hidden by the mask");
    Ok(Figure::draw("causal_map", words, &map.mark(it, animal))?)
}

/// Padding hidden as keys, and, by mistake, as queries.
///
/// # Errors
/// When the heat-maps cannot be drawn.
pub fn keys_not_queries() -> Result<Figure> {
    let tokens = ["we", "met", "here", "[PAD]", "[PAD]"];
    let real = [true, true, true, false, false];
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut normal = || DMatrix::from_fn(5, 8, |_, _| StandardNormal.sample(&mut rng));
    let (q, k): (DMatrix<f32>, DMatrix<f32>) = (normal(), normal());
    let map = |title: &str, allowed: fn(bool, bool) -> bool| -> Result<Heatmap> {
        let allowed = DMatrix::from_fn(5, 5, |q, k| allowed(real[q], real[k]));
        let weights = attend(
            q.as_view(),
            k.as_view(),
            k.as_view(),
            &Mask::Allowed(allowed.clone()),
        )?
        .weights;
        let weight = |query, key| {
            let visible = allowed[(query, key)];
            if visible { f64::from(weights[(query, key)]) } else { f64::NAN }
        };
        Ok(Heatmap::new(tokens, tokens, weight)
            .title(title)
            .row_axis("query")
            .column_axis("key")
            .value_axis("weight")
            .absent("hidden by the mask")
            .range(0.0, 1.0)
            .values(2))
    };
    let words = Words {
        title: "Hide keys, not queries".into(),
        caption: "To ignore padding, hide its columns. Above, the keys of `[PAD]` are \
                  hidden: the three words share their weight among themselves, and what \
                  the padding rows answer is thrown away later. Below, the query rows of \
                  `[PAD]` are hidden instead: every word still spends weight on padding, \
                  and the hidden rows have nothing to sum to one."
            .into(),
        alt: "Two heat-maps of five tokens, the last two padding. With keys hidden the two \
              right columns are empty and the words’ rows sum to one over three columns. \
              With queries hidden the two bottom rows are empty and the words still put \
              weight on the padding columns."
            .into(),
    };
    let keys = map("correct: keys hidden", |_, key| key)?;
    let queries = map("wrong: queries hidden", |query, _| query)?;
    Ok(Figure::panels("keys_not_queries", words, 1, &[&keys, &queries])?)
}

/// Time and memory against n, as recorded and as computed.
///
/// # Errors
/// When the recording cannot be read.
pub fn cost() -> Result<Figure> {
    let recorded = experiments::recorded()?;
    let is_drawn = |(n, _): &(f64, Spread)| (*n as usize).is_power_of_two();
    let times: Vec<_> = recorded.line("attend").filter(is_drawn).collect();
    let bytes = times.iter().map(|(n, _)| {
        let cost = experiments::cost(*n as u64, *n as u64, 64, 64);
        (*n, cost.weight_bytes as f64)
    });
    let (most, slowest) = (times[times.len() - 1].0, times[times.len() - 1].1.median);
    let ms_512 = recorded.milliseconds("attend", 512)?;
    let square = |n: f64| ms_512 * (n / 512.0).powi(2);
    let over = slowest / square(most);
    let words = Words {
        title: "Twice the tokens, four times the work".into(),
        caption: format!(
            "Work and memory grow with the square of the length, and from some hundreds of \
             tokens on time does, or faster. Above, one `attend` with a head of 64, recorded by the chapter's benchmark on \
             two cores; the dotted line is n² through the time at 512. At {} tokens \
             it takes {slowest:.0} ms, {over:.1} times what the line says. Below, the size \
             of its weights, four bytes for each query and key.",
            example::grouped(most as u64),
        ),
        alt: format!(
            "Two charts with log scales over n from 64 to 4,096. Time rises to {slowest:.0} \
             ms, {over:.1} times a line that grows with n squared from 512 on. Memory rises \
             from {} KiB to {} MiB.",
            times[0].0.powi(2) * 4.0 / 1024.0,
            most.powi(2) * 4.0 / 1024.0 / 1024.0,
        ),
    };
    let square = times.iter().map(|(n, _)| (*n, square(*n)));
    let time = Chart::new(Axis::log2("tokens"), Axis::log("time, ms"))
        .line("n²", Hue::Muted, square.collect::<Vec<_>>())
        .measured("attend", Hue::Attention, times.clone());
    let memory =
        Chart::new(Axis::log2("tokens"), Axis::log2("weights").format(Format::Bytes))
            .line("weights", Hue::Attention, bytes);
    Ok(Figure::measured("cost", words, &recorded.measured(), 1, &[&time, &memory])?)
}

/// Four versions of softmax against n, as recorded.
///
/// # Errors
/// When the recording cannot be read.
pub fn softmax_versions() -> Result<Figure> {
    let recorded = experiments::recorded()?;
    let points = |case: &str| {
        let per_score = |(n, time): (usize, Spread)| {
            (n as f64, time.map(|ms| ms * 1e6 / (n * n) as f64))
        };
        let drawn = |(n, _): &(usize, Spread)| n.is_power_of_two() && *n <= 1024;
        recorded.spreads(case).filter(drawn).map(per_score).collect::<Vec<_>>()
    };
    let ns = |version: usize| points(VERSIONS[version].0)[4].1.median;
    let words = Words {
        title: "The same softmax, four speeds".into(),
        caption: format!(
            "Down the columns a score costs about the same at any size; row by row it costs more \
             and more. Time for one score of an n × n softmax, on one core. At n = 1,024: \
             row by row {:.0} ns, down the columns {:.1} ns, with `exp_nonpositive` {:.1} \
             ns, with this processor's widest vectors {:.2} ns.",
            ns(0),
            ns(1),
            ns(2),
            ns(3),
        ),
        alt: format!(
            "Four lines over n from 64 to 1,024 on a log scale. Row by row rises from {:.1} \
             to {:.0} ns per score. The versions that go down the columns end at {:.1}, {:.1} \
             and {:.2} ns.",
            points(VERSIONS[0].0)[0].1.median,
            ns(0),
            ns(1),
            ns(2),
            ns(3),
        ),
    };
    let plot = Chart::new(Axis::log2("n"), Axis::log("time per score, ns"))
        .measured("row by row", Hue::Accent, points(VERSIONS[0].0))
        .measured("columns", Hue::Muted, points(VERSIONS[1].0))
        .measured("own exp", Hue::Decoding, points(VERSIONS[2].0))
        .measured("vectors", Hue::Attention, points(VERSIONS[3].0));
    let measured = recorded.measured();
    Ok(Figure::measured("softmax_versions", words, &measured, 1, &[&plot])?)
}

/// Error of the series against its number of terms.
///
/// # Errors
/// When the chart cannot be drawn.
pub fn exp_terms() -> Result<Figure> {
    let terms = 2..=10_u32;
    let errors: Vec<_> =
        terms.map(|t| (f64::from(t), experiments::worst_error_of_terms(t))).collect();
    let (first, seventh, eighth) = (errors[0].1, errors[5].1, errors[6].1);
    let rounding = f64::from(f32::EPSILON) / 2.0;
    let words = Words {
        title: "Eight terms reach the limit".into(),
        caption: format!(
            "Each term makes the series about ten times better, until rounding takes over. \
             Worst relative error from −87 to 0 against the number of terms: {first:.0e} \
             with two, {seventh:.1e} with seven, {eighth:.1e} with eight, and no better with ten. The level line is half \
             a unit in the last place, the best that an `f32` can do.",
        ),
        alt: format!(
            "A line on a log scale falls from {first:.0e} at two terms to {eighth:.1e} at \
             eight and stays there up to ten, a little above the rounding of f32 at \
             {rounding:.0e}.",
        ),
    };
    let plot = Chart::new(
        Axis::linear("terms").range(1.5, 10.5).ticks(&[2.0, 4.0, 6.0, 8.0, 10.0]),
        Axis::log("worst relative error").range(1e-8, 1.0),
    )
    .line("", Hue::Attention, errors)
    .horizontal(rounding, "rounding of f32");
    Ok(Figure::draw("exp_terms", words, &plot)?)
}
