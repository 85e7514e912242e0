//! Two figures of what training shows: what is kept of a token, and a head that comes to be.

use crate::experiments::thousands;
use crate::training::born::{self, BORN, Head};
use crate::training::experiments::{EVERY, Experiment, STEPS, made, recorded};
use crate::training::{Task, Variant};
use anyhow::{Context, Result};
use chapter_cli::Recorded;
use figures::{Axis, Chart, Figure, Format, Heatmap, Hue, Spread, Words};

/// Recall in twice [`STEPS`], by keys per token: each with its experiments, from
/// few numbers kept to many.
fn kept() -> [(&'static str, Hue, [Experiment; 2]); 4] {
    let of = |variant| Experiment::new(Task::Recall, variant, 2 * STEPS);
    let (one, two) = (of(Variant::MultiQuery), of(Variant::GroupedQuery));
    let (four, latent) = (of(Variant::MultiHead), of(Variant::Latent));
    [
        ("latent", Hue::Latent, [latent.keeping(8), latent]),
        ("1 key", Hue::MultiQuery, [one.keeping(8), one]),
        ("2 keys", Hue::GroupedQuery, [two.keeping(16), two]),
        ("4 keys", Hue::MultiHead, [four.keeping(16), four]),
    ]
}

/// How well models recall, by the numbers that a layer keeps of a token.
///
/// # Errors
/// When the recording cannot be read.
pub fn cache() -> Result<Figure> {
    let recorded = recorded()?;
    let numbers =
        |of: Experiment| of.shape().cached().context("every one of them has a cache");
    let at = |of: Experiment| recorded.spread(&of.case("accuracy"), of.steps);
    let axis = Axis::linear("right").range(0.0, 1.0).format(Format::Percent);
    let x = Axis::log2("numbers kept per token, in each layer");
    let mut chart =
        Chart::new(x.ticks(&[8.0, 16.0, 32.0, 64.0]).range(6.0, 80.0), axis);
    let mut alt = "Accuracy in recall over the numbers that are kept of a token, the \
                   median of three seeds with the lowest and the highest:"
        .to_owned();
    for (label, hue, experiments) in kept() {
        let mut points = Vec::new();
        for of in experiments {
            let (numbers, spread) = (numbers(of)?, at(of)?);
            alt += &format!(" {label}, {numbers} numbers: {};", percent_of(spread));
            points.push((numbers as f64, spread));
        }
        chart = chart.measured(label, hue, points);
    }
    alt.pop();
    alt.push('.');
    let [latent, one, two, four] = kept();
    let said = |of: Experiment| Ok::<_, anyhow::Error>(percent_of(at(of)?));
    let words = Words {
        title: "At an equal cache, one wide key recalls more than four narrow ones"
            .into(),
        caption: format!(
            "Recall of eight pairs after {} steps, in models of equal size; along a line, \
             keys become wider. With 16 numbers kept per token, a latent has {} right, one \
             key of 8 features {}, two keys of 4 features {}, four keys of 2 features {}. \
             In brackets the lowest and the highest seed.",
            thousands(2 * STEPS),
            said(latent.2[1])?,
            said(one.2[1])?,
            said(two.2[0])?,
            said(four.2[0])?
        ),
        alt,
    };
    let made = format!("Each point is the mean of {EVERY} steps. {}", made(&recorded));
    Ok(Figure::measured("cache", words, &made, 1, &[&chart])?)
}

/// How an induction head comes to be.
///
/// # Errors
/// When the recording cannot be read.
pub fn born() -> Result<Figure> {
    let recorded = recorded()?;
    let [before, after] = born::maps()?;
    let line = |what: &str| -> Vec<(f64, f64)> {
        let points = recorded.points(what);
        points.map(|(step, x)| (step as f64, x)).collect()
    };
    let (previous, followed) = ("layer 0: token before", "layer 1: what followed");
    let loss = Chart::new(Axis::linear("steps"), Axis::linear("loss, nats"))
        .title("the loss falls")
        .line("", Hue::MultiHead, line("born loss"));
    let share = Axis::linear("weight").range(0.0, 1.0).format(Format::Percent);
    let weights = Chart::new(Axis::linear("steps"), share)
        .title("two heads find their work")
        .line(previous, Hue::Attention, line("born previous"))
        .line(followed, Hue::Accent, line("born followed"));
    let [first, second] = [&before, &after].map(map);
    let words = born_words(&recorded, &before, &after)?;
    let plots = [first?, second?];
    Ok(Figure::panels("born", words, 2, &[&loss, &weights, &plots[0], &plots[1]])?)
}

fn born_words(recorded: &Recorded, before: &Head, after: &Head) -> Result<Words> {
    let at = |what: &str, head: &Head| -> Result<f64> {
        Ok(recorded.spread(&format!("born {what}"), head.step)?.median)
    };
    let share = |what: &str, head: &Head| -> Result<String> {
        Ok(format!("{:.0} %", 100.0 * at(what, head)?))
    };
    let (from, to) = (before.step, after.step);
    Ok(Words {
        title: format!("Between step {from} and {to}, an induction head is born"),
        caption: format!(
            "One run of multi-head on induction, seed {}. The loss falls from {:.2} to \
             {:.2} nats; in layer 1, the head that is best in the end puts {} and then {} \
             of its weight on what followed the token the last time. The maps are this \
             head’s in one sequence, for the queries of its second circle; outlined is \
             where they should look.",
            BORN.1,
            at("loss", before)?,
            at("loss", after)?,
            share("followed", before)?,
            share("followed", after)?
        ),
        alt: format!(
            "A line of the loss, which falls from {:.2} at step {from} to {:.2} at step \
             {to}. Two lines of weights that rise in the same steps: on the token before, \
             in layer 0, from {} to {}; on what followed the last time, in layer 1, from \
             {} to {}. Two heat-maps of 16 queries by 32 keys: first the \
             weight is spread, then it lies on a diagonal in the first circle.",
            at("loss", before)?,
            at("loss", after)?,
            share("previous", before)?,
            share("previous", after)?,
            share("followed", before)?,
            share("followed", after)?
        ),
    })
}

/// The second circle's queries.
fn map(head: &Head) -> Result<Heatmap> {
    let Head { step, weights, .. } = head;
    let (half, all) = (weights.nrows() / 2, weights.ncols());
    let places = |from: usize, to: usize| (from..to).map(|at| at.to_string());
    let map = Heatmap::new(places(half, all), places(0, all), |row, key| {
        let query = half + row;
        if key > query { f64::NAN } else { f64::from(weights[(query, key)]) }
    });
    let map = map
        .title(&format!("after {} steps", thousands(*step)))
        .range(0.0, 1.0)
        .row_axis("query")
        .column_axis("key")
        .value_axis("weight")
        .absent("hidden by the mask");
    let marked =
        |map: Heatmap, (query, key): (usize, usize)| map.mark(query - half, key);
    Ok(born::should()?.into_iter().fold(map, marked))
}

/// `97 % (94 to 99)`.
pub(crate) fn percent_of(share: Spread) -> String {
    let Spread { low, median, high } = share.map(|share| 100.0 * share);
    format!("{median:.0} % ({low:.0} to {high:.0})")
}
