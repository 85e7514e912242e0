//! The chapter's figures, one function each.

use crate::experiments::{HEAD, ROWS, Real, Switched};
use anyhow::{Context, Result, ensure};
use figures::{Axis, Bars, Chart, Figure, Heatmap, Hue, Words};

/// All of them, in the order in which the chapter shows them.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn all() -> Result<Vec<Figure>> {
    Ok(vec![cap()?, row()?, parts()?])
}

/// What each part does to one row of weights of a real head.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn row() -> Result<Figure> {
    let real = Real::load()?;
    let query = real.place_of("it")?;
    let animal = real.place_of("animal")?;
    let mut weights = Vec::new();
    for (_, switched) in ROWS {
        let (row, sunk) = real.row(switched)?;
        let seen = row.as_slice()[..=query].iter().copied();
        weights.push(seen.chain([sunk]).map(f64::from).collect::<Vec<f64>>());
    }
    let names = ROWS.map(|(name, _)| name.to_owned()).to_vec();
    let tokens = real.tokens[..=query].iter().cloned();
    let keys: Vec<String> = tokens.chain(["(sink)".to_owned()]).collect();
    let of_animal = |row: usize| weights[row][animal];
    let sunk = weights[4][query + 1];
    let words = Words {
        title: "Each part moves weight in its own way".into(),
        caption: format!(
            "One row of weights, and what each part alone makes of it: `it` in layer 13, \
             head {HEAD} of SmolLM2, which puts {:.2} on `animal`. A cap and half the scale \
             flatten the row; a norm, which takes lengths out of the scores, puts \
             {:.2} on the first token; the sink takes {sunk:.2} from all in proportion; the \
             window cuts the row. The model was trained for the first row: the figure shows \
             what parts do to numbers, and not how good a model with them would be.",
            of_animal(0),
            weights[1][0]
        ),
        alt: format!(
            "A heat-map of seven rows and {} columns, the tokens up to `it` and a sink. \
             Weight on `animal`: as it is {:.2}, with a norm {:.2}, a cap of 2 {:.2}, half \
             the scale {:.2}, a sink {:.2}, a window of 5 tokens {:.2}, without rotation \
             {:.2}. The sink takes {sunk:.2}.",
            query + 2,
            of_animal(0),
            of_animal(1),
            of_animal(2),
            of_animal(3),
            of_animal(4),
            of_animal(5),
            of_animal(6),
        ),
    };
    let map = Heatmap::new(&names, &keys, |row, key| weights[row][key])
        .range(0.0, 1.0)
        .row_axis("part")
        .column_axis("key")
        .value_axis("weight");
    Ok(Figure::draw("row", words, &map)?)
}

/// Two parts at once on the same row.
///
/// # Errors
/// When the queries and keys cannot be read.
pub fn parts() -> Result<Figure> {
    parts_of(Switched { norm: true, sink: Some(4.0), ..Switched::NONE })
}

/// [`parts`] with others.
///
/// # Errors
/// When a cap is not above 0, or a window is 0.
pub fn parts_of(switched: Switched) -> Result<Figure> {
    let Switched { norm, rotation, cap, sink, window, sharper } = switched;
    ensure!(cap.is_none_or(|cap| cap > 0.0), "cap: a bound is above 0");
    ensure!(window != Some(0), "window: a token sees itself, so it is 1 at least");
    let real = Real::kept()?;
    let query = real.place_of("it")?;
    let row = |switched| -> Result<Vec<f64>> {
        let (weights, sunk) = real.row(switched)?;
        let seen = weights.as_slice()[..=query].iter().copied();
        let shown = |weight| (1e3 * f64::from(weight)).round() / 1e3;
        Ok(seen.chain([sunk]).map(shown).collect())
    };
    let (plain, changed) = (row(Switched::NONE)?, row(switched)?);
    let keys: Vec<String> =
        real.tokens[..=query].iter().cloned().chain(["(sink)".to_owned()]).collect();
    let most = |row: &[f64]| (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b]));
    let place = most(&changed).context("no key")?;
    let weight = changed[place];
    let first = if place > query {
        "the sink".to_owned()
    } else {
        format!("“{}”", keys[place])
    };
    let animal = real.place_of("animal")?;

    let said = [
        norm.then(|| "QK-norm".to_owned()),
        (!rotation).then(|| "no rotation".to_owned()),
        cap.map(|cap| format!("a cap of {cap}")),
        (sharper != 1.0).then(|| format!("{sharper} times the scale")),
        sink.map(|sink| format!("a sink of {sink}")),
        window.map(|window| format!("a window of {window}")),
    ];
    let said: Vec<String> = said.into_iter().flatten().collect();
    let with =
        if said.is_empty() { "nothing changed".to_owned() } else { said.join(" and ") };
    let words = Words {
        title: format!("With {with}, most goes to {first}"),
        caption: format!(
            "The row of `it` in layer 13, head {HEAD} of SmolLM2, as it is and with {with}. \
             Then {weight:.2} of the weight goes to {first}, and {:.2} to `animal`, which \
             had {:.2}. The model was trained for the row as it is.",
            changed[animal], plain[animal]
        ),
        alt: format!(
            "Two bars for each of {} keys. As it is: {}. With {with}: {}.",
            keys.len(),
            listed(&keys, &plain),
            listed(&keys, &changed),
        ),
    };
    let bars = Bars::new(Axis::linear("weight").range(0.0, 1.0), keys)
        .categories_label("key")
        .series("as it is", Hue::Muted, plain)
        .series("with the parts", Hue::Accent, changed);
    Ok(Figure::draw("parts", words, &bars)?)
}

fn listed(keys: &[String], weights: &[f64]) -> String {
    let each =
        keys.iter().zip(weights).map(|(key, weight)| format!("{key} {weight:.2}"));
    each.collect::<Vec<_>>().join(", ")
}

/// What a cap makes of scores.
///
/// # Errors
/// When the chart cannot be drawn.
pub fn cap() -> Result<Figure> {
    let capped = |cap: f64| {
        (0..=60).map(move |step| {
            let score = 5.0 * f64::from(step) - 150.0;
            (score, cap * (score / cap).tanh())
        })
    };
    let words = Words {
        title: "A cap leaves small scores alone".into(),
        caption: "A soft cap leaves a score near zero as it is, and bounds a large one. \
                  With Gemma 2's cap of 50, a score of 10 becomes 9.9 and one of 150 becomes \
                  49.8; with a cap of 20, 10 is already 9.2."
            .into(),
        alt: "Two S-shaped lines through the origin against scores from -150 to 150. One \
              flattens out at 50 and -50, the other at 20 and -20; near zero both follow \
              the diagonal."
            .into(),
    };
    let chart = Chart::new(Axis::linear("score"), Axis::linear("score under the cap"))
        .line("cap 50", Hue::Accent, capped(50.0))
        .line("cap 20", Hue::Muted, capped(20.0));
    Ok(Figure::draw("cap", words, &chart)?)
}
