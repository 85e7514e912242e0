//! The chapter's figures: a real head's gradients, and what training shows.

use crate::charts::percent_of;
pub use crate::charts::{born, cache};
use crate::experiments::{HEAD, Real, thousands};
pub use crate::maps::{inside, inside_of, tales};
use crate::training::experiments::{
    EVERY, Experiment, MERGINGS, STEPS, made, recorded,
};
use crate::training::{Task, Variant};
use anyhow::Result;
use chapter_cli::Recorded;
use figures::{Axis, Chart, Figure, Format, Heatmap, Hue, Spread, Words};

/// All of them, in the order in which the chapter shows them.
///
/// # Errors
/// When the recording or the model's slice cannot be read.
pub fn all() -> Result<Vec<Figure>> {
    Ok(vec![
        asked()?,
        recall()?,
        cache()?,
        induction()?,
        born()?,
        uptraining()?,
        tales()?,
        inside()?,
    ])
}

/// The weights of a real head whose keys were pooled, and what gradients ask of its scores.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn asked() -> Result<Figure> {
    let real = Real::load()?;
    let (it, animal) = (real.place_of("it")?, real.place_of("animal")?);
    let (before, after) = (real.trained[(it, animal)], real.pooled[(it, animal)]);
    let largest = f64::from(1e3 * real.d_scores.amax());
    let d = format!("{:.1}", 1e3 * real.d_scores[(it, animal)]).replace('-', "−");
    let words = Words {
        title: "Gradients ask only where there is weight".into(),
        caption: format!(
            "Layer 13, head {HEAD} of SmolLM2 with one pooled key/value head: its weights, \
             and a thousand times the gradients of its scores, split by their sign, when \
             the layer is to give what it gave before pooling. `it` had {before:.2} on \
             `animal` and has {after:.2}; the gradient there is {d}, and a negative one \
             asks for a larger score."
        ),
        alt: format!(
            "Three heat-maps of {n} by {n}, empty above the diagonal. The first holds weights; \
             the row of “it” has {after:.2} under “animal”. The others hold the negative and \
             the positive gradients, up to {largest:.1} in size; in each row they sum to zero. \
             Under “animal”, the row of “it” has {d}.",
            n = real.tokens.len(),
        ),
    };
    let map = |title: &str, most: f64, of: &dyn Fn(usize, usize) -> f32| {
        Heatmap::new(&real.tokens, &real.tokens, |query, key| {
            if key > query { f64::NAN } else { f64::from(of(query, key)).max(0.0) }
        })
        .title(title)
        .range(0.0, most)
        .row_axis("query")
        .column_axis("key")
        .absent("hidden by the mask")
        .mark(it, animal)
    };
    let (weights, d) = (&real.pooled, &real.d_scores);
    let weights = map("weights, A", 1.0, &|query, key| weights[(query, key)]);
    let more =
        map("should rise: −1,000 dS", largest, &|query, key| -1e3 * d[(query, key)]);
    let less =
        map("should fall: 1,000 dS", largest, &|query, key| 1e3 * d[(query, key)]);
    let panels = [
        weights.value_axis("weight"),
        more.value_axis("−1,000 dS"),
        less.value_axis("1,000 dS"),
    ];
    let [weights, more, less] = &panels;
    Ok(Figure::panels("asked", words, 1, &[weights, more, less])?)
}

/// Points that are drawn: every second one that was recorded.
const DRAWN: usize = 2 * EVERY;

/// Something that is taken away.
const WITHOUT: [Variant; 5] = [
    Variant::MultiHead,
    Variant::Window,
    Variant::WindowAndFirst,
    Variant::Unscaled,
    Variant::NoPositions,
];

/// Keys that are shared, on recall; multi-query with the steps that it needs.
const RECALL: [(Variant, usize); 3] = [
    (Variant::MultiHead, STEPS),
    (Variant::GroupedQuery, STEPS),
    (Variant::MultiQuery, 2 * STEPS),
];

/// Keys that are shared, on induction.
const INDUCTION: [(Variant, usize); 3] = [
    (Variant::MultiHead, 2 * STEPS),
    (Variant::GroupedQuery, 2 * STEPS),
    (Variant::MultiQuery, 2 * STEPS),
];

/// How the mechanisms learn to look up the value of a key.
///
/// # Errors
/// When the recording cannot be read.
pub fn recall() -> Result<Figure> {
    let recorded = recorded()?;
    let right = |variant, steps| right(&recorded, Task::Recall, variant, steps);
    let [multi, grouped, early, late] = [
        right(Variant::MultiHead, STEPS)?,
        right(Variant::GroupedQuery, STEPS)?,
        right(Variant::MultiQuery, STEPS)?,
        right(Variant::MultiQuery, 2 * STEPS)?,
    ];
    let words = Words {
        title: "One shared key learns to recall, but later".into(),
        caption: format!(
            "Eight pairs of a key and a value, then the keys again: after {} steps \
             multi-head has {multi} right, two key/value heads {grouped}, one {early}. For \
             one, runs of twice the steps are drawn, and they end at {late}. In brackets \
             the lowest and the highest seed.",
            thousands(STEPS)
        ),
        alt: alt(&recorded, Task::Recall, "recall", &RECALL)?,
    };
    trained("recall", &recorded, Task::Recall, &RECALL, words)
}

/// How the mechanisms learn to find what followed a token.
///
/// # Errors
/// When the recording cannot be read.
pub fn induction() -> Result<Figure> {
    let recorded = recorded()?;
    let right = |variant| right(&recorded, Task::Induction, variant, 2 * STEPS);
    let [multi, grouped, one] = [
        right(Variant::MultiHead)?,
        right(Variant::GroupedQuery)?,
        right(Variant::MultiQuery)?,
    ];
    let words = Words {
        title: format!(
            "With shared keys, the seed decides whether induction is learned in {} steps",
            thousands(2 * STEPS)
        ),
        caption: format!(
            "Sixteen tokens, then the same in a circle: after {} steps multi-head has \
             {multi} right, two key/value heads {grouped}, one {one}. In brackets the \
             lowest and the highest of three seeds; on the right, runs have half the steps.",
            thousands(2 * STEPS)
        ),
        alt: alt(&recorded, Task::Induction, "induction", &INDUCTION)?,
    };
    trained("induction", &recorded, Task::Induction, &INDUCTION, words)
}

/// What pooled heads recover.
///
/// # Errors
/// When the recording cannot be read.
pub fn uptraining() -> Result<Figure> {
    let recorded = recorded()?;
    let at = |name: &str, kv_heads, percent| -> Result<String> {
        let case = format!("uptraining {name} {kv_heads}");
        Ok(percent_of(recorded.spread(&case, percent)?))
    };
    let words = Words {
        title: "Pooled by their aligned mean, heads recover in a few tens of steps"
            .into(),
        caption: format!(
            "Multi-head models that recall, trained again after their four key/value \
             heads were pooled to two or one. After 1 % of the steps two pooled by their \
             aligned mean have {}, by their mean {}, by the first of each pair {}, and two \
             drawn at random {}. Pooled to one, the aligned mean has {} and the mean {}.",
            at("aligned", 2, 1)?,
            at("mean", 2, 1)?,
            at("first", 2, 1)?,
            at("random", 2, 1)?,
            at("aligned", 1, 1)?,
            at("mean", 1, 1)?
        ),
        alt: format!(
            "Two charts of accuracy over 0, 1, 5 and 10 percent of the steps. To two heads, \
             before training: aligned mean {}, mean {}, first {}, random {}. To one, after \
             10 percent: aligned mean {}, mean {}, first {}, random {}.",
            at("aligned", 2, 0)?,
            at("mean", 2, 0)?,
            at("first", 2, 0)?,
            at("random", 2, 0)?,
            at("aligned", 1, 10)?,
            at("mean", 1, 10)?,
            at("first", 1, 10)?,
            at("random", 1, 10)?
        ),
    };
    let chart = |title: &str, kv_heads| {
        let axis = Axis::linear("right").range(0.0, 1.0).format(Format::Percent);
        let chart = Chart::new(Axis::linear("percent of the steps"), axis).title(title);
        let hues = [Hue::Accent, Hue::GroupedQuery, Hue::MultiHead, Hue::Muted];
        MERGINGS.iter().zip(hues).fold(chart, |chart, ((name, _), hue)| {
            let case = format!("uptraining {name} {kv_heads}");
            chart.measured(name, hue, recorded.line(&case))
        })
    };
    let [two, one] = [chart("to two", 2), chart("to one", 1)];
    Ok(Figure::measured("uptraining", words, &made(&recorded), 2, &[&two, &one])?)
}

/// Accuracy and loss of a task, with shared keys and with something taken away.
fn trained(
    name: &str,
    recorded: &Recorded,
    task: Task,
    shared: &[(Variant, usize)],
    words: Words,
) -> Result<Figure> {
    let without = WITHOUT.map(|variant| (variant, STEPS));
    let accuracy = || Axis::linear("right").range(0.0, 1.0).format(Format::Percent);
    let loss = || Axis::linear("loss, nats");
    let chart = |title: &str, axis: Axis, what, runs: &[(Variant, usize)]| {
        let chart = Chart::new(Axis::linear("steps"), axis).title(title);
        runs.iter().fold(chart, |chart, &(variant, steps)| {
            let case = Experiment::new(task, variant, steps).case(what);
            let drawn = |(step, _): &(usize, Spread)| step.is_multiple_of(DRAWN);
            let line = recorded.spreads(&case).filter(drawn);
            let line = line.map(|(step, spread)| (step as f64, spread));
            chart.measured(label(variant), hue(variant), line)
        })
    };
    let panels = [
        chart("shared keys", accuracy(), "accuracy", shared),
        chart("something taken away", accuracy(), "accuracy", &without),
        chart("shared keys", loss(), "loss", shared),
        chart("something taken away", loss(), "loss", &without),
    ];
    let [a, b, c, d] = &panels;
    let made = format!("Each point is the mean of {EVERY} steps. {}", made(recorded));
    Ok(Figure::measured(name, words, &made, 2, &[a, b, c, d])?)
}

/// What all lines of a task reach.
fn alt(
    recorded: &Recorded,
    task: Task,
    name: &str,
    shared: &[(Variant, usize)],
) -> Result<String> {
    let mut alt = format!(
        "Four charts of {name}: accuracy and loss with shared keys, and with something \
         taken away. Accuracy in the end, the median of the seeds, with the lowest and the \
         highest:"
    );
    let without = WITHOUT[1..].iter().map(|&variant| (variant, STEPS));
    for (variant, steps) in shared.iter().copied().chain(without) {
        let right = right(recorded, task, variant, steps)?;
        alt +=
            &format!(" {} {right} after {} steps;", label(variant), thousands(steps));
    }
    alt.pop();
    alt.push('.');
    Ok(alt)
}

/// The share of right answers in the last steps of runs.
fn right(
    recorded: &Recorded,
    task: Task,
    variant: Variant,
    steps: usize,
) -> Result<String> {
    let case = Experiment::new(task, variant, steps).case("accuracy");
    Ok(percent_of(recorded.spread(&case, steps)?))
}

fn label(variant: Variant) -> &'static str {
    match variant {
        Variant::MultiHead => "multi-head",
        Variant::GroupedQuery => "2 kv heads",
        Variant::MultiQuery => "1 kv head",
        Variant::Window => "window of 8",
        Variant::WindowAndFirst => "window and first",
        Variant::Unscaled => "without √d",
        Variant::Unmasked => "without a mask",
        Variant::NoPositions => "without rotation",
        Variant::Latent => "latent",
        Variant::Linformer => "Linformer",
    }
}

fn hue(variant: Variant) -> Hue {
    match variant {
        Variant::MultiHead => Hue::MultiHead,
        Variant::GroupedQuery => Hue::GroupedQuery,
        Variant::MultiQuery => Hue::MultiQuery,
        Variant::Window => Hue::Accent,
        Variant::WindowAndFirst => Hue::Decoding,
        Variant::Unscaled => Hue::Attention,
        Variant::Unmasked => Hue::Muted,
        Variant::NoPositions => Hue::Rotary,
        Variant::Latent => Hue::Latent,
        Variant::Linformer => Hue::Linformer,
    }
}
