//! The chapter's figures, one function each.

use crate::experiments::{self, Recorded, Sharpness, VERSIONS};
use crate::{Mask, attend, scores, softmax};
use anyhow::Result;
use figures::{Axis, Chart, Diagram, Figure, Format, Heatmap, Hue, Slot, Words};
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
    let (it, animal) = (real.layer.position("it")?, real.layer.position("animal")?);
    let weights = &real.attended.weights;
    let weight = weights[(it, animal)];
    let words = Words {
        title: "“it” looks at “animal”".into(),
        caption: format!(
            "A word finds the word that it stands for. Each row is a token that looks, each \
             column a token that is looked at, and a row sums to one: `it` puts {weight:.2} \
             of its weight on `animal`. The model is all-MiniLM-L6-v2, which has six layers \
             of twelve such maps, called heads; this is head 1 of layer 3, both counted \
             from 0. `[CLS]` and `[SEP]` mark where a text begins and ends.",
        ),
        alt: format!(
            "Heat-map of 14 by 14 attention weights. The outlined cell in the row of “it” \
             and the column of “animal” holds {weight:.2}. The column of [CLS] is dark in \
             most rows.",
        ),
    };
    let map = map_of(&real.layer.tokens, weights).mark(it, animal);
    Ok(Figure::draw("it_looks_at_animal", words, &map)?)
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
    let widths = || (0..=10).map(|power| 1_usize << power);
    let measured: Vec<_> =
        widths().map(|d_k| (d_k, experiments::sharpness(d_k))).collect();
    let line = |value: fn(&Sharpness) -> f32| {
        let point = move |(d_k, s): &(usize, Sharpness)| (*d_k as f64, value(s).into());
        measured.iter().map(point).collect::<Vec<_>>()
    };
    let (_, widest) = &measured[10];
    let words = Words {
        title: "Without the scale, one key takes it all".into(),
        caption: format!(
            "Dividing by √d_k keeps the weights as spread at any width. Random queries \
             choose among {} random keys, all entries standard normal. Without the scale \
             the largest weight climbs to {:.2} at d_k = 1,024 and the entropy falls to \
             {:.2} nats; with it, both stay put.",
            experiments::KEYS,
            widest.raw.largest,
            widest.raw.entropy,
        ),
        alt: format!(
            "Two line charts over d_k from 1 to 1,024. Largest weight: unscaled rises to \
             {:.2}, scaled stays near {:.2}. Entropy: unscaled falls to {:.2} nats, scaled \
             stays near {:.1}.",
            widest.raw.largest,
            widest.scaled.largest,
            widest.raw.entropy,
            widest.scaled.entropy,
        ),
    };
    let chart =
        |y: Axis, raw: fn(&Sharpness) -> f32, scaled: fn(&Sharpness) -> f32| {
            Chart::new(Axis::log2("d_k"), y)
                .line("unscaled", Hue::Accent, line(raw))
                .line("scaled", Hue::Attention, line(scaled))
        };
    let largest = chart(
        Axis::linear("largest weight").range(0.0, 1.0),
        |s| s.raw.largest,
        |s| s.scaled.largest,
    );
    let entropy = chart(
        Axis::linear("entropy, nats").range(0.0, 4.5),
        |s| s.raw.entropy,
        |s| s.scaled.entropy,
    )
    .horizontal((experiments::KEYS as f64).ln(), "all keys alike");
    Ok(Figure::panels("scaling", words, 1, &[&largest, &entropy])?)
}

/// The row of `it` when its scores are multiplied before softmax.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn temperature() -> Result<Figure> {
    let real = experiments::real()?;
    let (q, k) = real.queries_and_keys()?;
    let row = scores(q.as_view(), k.as_view())?
        .rows(real.layer.position("it")?, 1)
        .into_owned();
    let weight = |token: &str| -> Result<Vec<(f64, f64)>> {
        let place = real.layer.position(token)?;
        let at = |step: i32| {
            let factor = f64::from(step).div_euclid(4.0).exp2()
                * (f64::from(step).rem_euclid(4.0) / 4.0).exp2();
            (factor, f64::from(softmax(&row * factor as f32)[place]))
        };
        Ok((-16..=16).map(at).collect())
    };
    let [animal, cls, street] =
        [weight("animal")?, weight("[CLS]")?, weight("street")?];
    let most =
        |line: &[(f64, f64)]| line.iter().map(|point| point.1).fold(0.0, f64::max);
    let words = Words {
        title: "From a plain average to a choice".into(),
        caption: format!(
            "Multiplying the scores moves a row between a plain average and a choice. The \
             row of `it` from the map above, its scores multiplied by a factor: at 1/16 \
             `animal` has {:.2} and every token nearly the same; at 1 stands the model with \
             {:.2}; at 16 `animal` has {:.2}. The inverse of the factor is called \
             temperature.",
            animal[0].1, animal[16].1, animal[32].1,
        ),
        alt: format!(
            "Lines over a factor from 1/16 to 16. “animal” rises from {:.2} to {:.2} at \
             factor 1 and {:.2} at 16. [CLS] starts at {:.2}, rises to {:.2} and falls to \
             {:.2}; “street” starts at {:.2}, rises to {:.2} and falls to {:.2}.",
            animal[0].1,
            animal[16].1,
            animal[32].1,
            cls[0].1,
            most(&cls),
            cls[32].1,
            street[0].1,
            most(&street),
            street[32].1,
        ),
    };
    let plot = Chart::new(
        Axis::log2("scores multiplied by"),
        Axis::linear("weight").range(0.0, 1.0),
    )
    .line("animal", Hue::Attention, animal)
    .line("[CLS]", Hue::Muted, cls)
    .line("street", Hue::Accent, street)
    .vertical(1.0, "the model");
    Ok(Figure::draw("temperature", words, &plot)?)
}

/// The real map under a causal mask.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn causal_map() -> Result<Figure> {
    let real = experiments::real()?;
    let (it, animal) = (real.layer.position("it")?, real.layer.position("animal")?);
    let causal = Mask::Causal { offset: 0 };
    let mut weights = real.head.forward(&real.layer.x, &causal)?.weights;
    let (before, after) = (real.attended.weights[(it, animal)], weights[(it, animal)]);
    for (key, mut column) in weights.column_iter_mut().enumerate() {
        column.rows_mut(0, key).fill(f32::NAN);
    }
    let words = Words {
        title: "Nobody looks ahead".into(),
        caption: format!(
            "A causal mask hides the keys that come later, and what is left still sums to \
             one. The head of the first figure again: `it` loses the tokens behind it, and \
             `animal` goes from {before:.2} to {after:.2}. MiniLM itself was trained \
             without such a mask; this is its arithmetic, and no claim about its sense.",
        ),
        alt: format!(
            "Heat-map of the same head with the upper right triangle empty. The row of \
             “it” holds {after:.2} under “animal”.",
        ),
    };
    let map = map_of(&real.layer.tokens, &weights).absent("hidden by the mask");
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
    let keys = map("right: keys hidden", |_, key| key)?;
    let queries = map("wrong: queries hidden", |query, _| query)?;
    Ok(Figure::panels("keys_not_queries", words, 1, &[&keys, &queries])?)
}

/// Time and memory against n, as recorded and as computed.
///
/// # Errors
/// When the recording cannot be read.
pub fn cost() -> Result<Figure> {
    let recorded = Recorded::read()?;
    let times: Vec<_> = recorded
        .points("attend")
        .filter(|(n, _)| n.is_power_of_two())
        .map(|(n, ms)| (n as f64, ms))
        .collect();
    let bytes = times.iter().map(|(n, _)| {
        let cost = experiments::cost(*n as u64, *n as u64, 64, 64);
        (*n, cost.weight_bytes as f64)
    });
    let (most, slowest) = times[times.len() - 1];
    let (n_512, ms_512) = times[3];
    let square = |n: f64| ms_512 * (n / n_512).powi(2);
    let over = slowest / square(most);
    let words = Words {
        title: "Twice the tokens, four times the work".into(),
        caption: format!(
            "Work and memory grow with the square of the length, and time at least so. \
             Above, one `attend` with a head of 64, recorded by the chapter's benchmark on \
             two cores; the dotted line is n² through the time at 512. At {} tokens \
             it takes {slowest:.0} ms, {over:.1} times what the line says. Below, the size \
             of its weights, four bytes for each query and key.",
            crate::example::grouped(most as u64),
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
        .line("attend", Hue::Attention, times.clone());
    let memory =
        Chart::new(Axis::log2("tokens"), Axis::log2("weights").format(Format::Bytes))
            .line("weights", Hue::Attention, bytes);
    Ok(Figure::panels("cost", words, 1, &[&time, &memory])?)
}

/// Four versions of softmax against n, as recorded.
///
/// # Errors
/// When the recording cannot be read.
pub fn softmax_versions() -> Result<Figure> {
    let recorded = Recorded::read()?;
    let points = |case: &str| {
        let per_score = |(n, ms): (usize, f64)| (n as f64, ms * 1e6 / (n * n) as f64);
        let drawn = |(n, _): &(usize, f64)| n.is_power_of_two() && *n <= 1024;
        recorded.points(case).filter(drawn).map(per_score).collect::<Vec<_>>()
    };
    let ns = |version: usize| points(VERSIONS[version].0)[4].1;
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
             to {:.0} ns a score. The versions that go down the columns end at {:.1}, {:.1} \
             and {:.2} ns.",
            points(VERSIONS[0].0)[0].1,
            ns(0),
            ns(1),
            ns(2),
            ns(3),
        ),
    };
    let plot = Chart::new(Axis::log2("n"), Axis::log("time a score, ns"))
        .line("row by row", Hue::Accent, points(VERSIONS[0].0))
        .line("columns", Hue::Muted, points(VERSIONS[1].0))
        .line("own exp", Hue::Decoding, points(VERSIONS[2].0))
        .line("vectors", Hue::Attention, points(VERSIONS[3].0));
    Ok(Figure::draw("softmax_versions", words, &plot)?)
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
