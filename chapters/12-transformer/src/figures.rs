//! The chapter's figures, one function each.

use crate::experiments::{self, HEAD, Recording};
use crate::gated::silu;
use crate::gated::{gelu, gelu_tanh};
use anyhow::Result;
use attention::example::grouped;
use figures::{Axis, Chart, Diagram, Figure, Heatmap, Hue, Slot, Words};
use minilm::smollm2::Sentence;
use nalgebra::DMatrix;

/// All of them, in the order in which the book shows them.
///
/// # Errors
/// When the slice or a recording cannot be read.
pub fn all() -> Result<Vec<Figure>> {
    Ok(vec![model()?, activations()?, animal()?, off()?, lens()?, window()?])
}

/// What attention sits in.
///
/// # Errors
/// When the diagram cannot be drawn.
pub fn model() -> Result<Figure> {
    let at = |column, row| Slot { column, row };
    let diagram = Diagram::new()
        .node("text", at(0, 0), &["text", "the cat sat"], Hue::Muted)
        .node("tokens", at(0, 1), &["tokens", "whole numbers"], Hue::Muted)
        .node("x", at(0, 2), &["x", "a row per token"], Hue::Rotary)
        .node(
            "attention",
            at(1, 2),
            &["norm, attention", "looks at earlier rows"],
            Hue::Attention,
        )
        .node("after", at(0, 3), &["+", "x and what was found"], Hue::Rotary)
        .node(
            "ffn",
            at(1, 3),
            &["norm, feed-forward", "each row by itself"],
            Hue::Linformer,
        )
        .node("leaves", at(0, 4), &["+", "after N such blocks: norm"], Hue::Rotary)
        .node(
            "logits",
            at(0, 5),
            &["logits", "a number per possible token"],
            Hue::Muted,
        )
        .node("next", at(0, 6), &["next token", "\" on\""], Hue::Accent)
        .arrow("text", "tokens", "")
        .arrow("tokens", "x", "")
        .arrow("x", "after", "")
        .arrow("x", "attention", "")
        .arrow("attention", "after", "")
        .arrow("after", "leaves", "")
        .arrow("after", "ffn", "")
        .arrow("ffn", "leaves", "")
        .arrow("leaves", "logits", "")
        .arrow("logits", "next", "");
    let words = Words {
        title: "A stream with two kinds of side branch".into(),
        caption: "Each token is a row that runs from top to bottom, and everything else is \
                  added to it. The two branches on the right are one block, and a model has \
                  dozens of blocks with weights of their own. The next token is appended to \
                  the text, and the run begins again."
            .into(),
        alt: "A column of boxes from text by tokens, rows x, a sum, another sum and logits \
              to the next token. From x a branch goes through a norm and attention into the \
              first sum; from there one through a norm and a feed-forward network into the \
              second."
            .into(),
    };
    Ok(Figure::draw("model", words, &diagram)?)
}

/// silu, gelu and relu.
///
/// # Errors
/// When the chart cannot be drawn.
pub fn activations() -> Result<Figure> {
    let points = |of: fn(f32) -> f32| -> Vec<(f64, f64)> {
        let at = |step: i32| f64::from(step) / 10.0;
        (-50..=30).map(|step| (at(step), f64::from(of(at(step) as f32)))).collect()
    };
    let silu = |x: f32| {
        let mut one = [x];
        silu(&mut one);
        one[0]
    };
    let apart = (-600..=600).map(|step| step as f32 / 100.0);
    let apart = apart.map(|x| (gelu(x) - gelu_tanh(x)).abs()).fold(0.0, f32::max);
    let words = Words {
        title: "Both let small negative numbers through, and bend smoothly".into(),
        caption: format!(
            "For large inputs silu and gelu approach relu. silu dips lowest, to −0.28 at \
             −1.28. The form of gelu with tanh differs from the exact one by at most \
             {apart:.4}, too little to be seen here."
        ),
        alt: "Three lines from −5 to 3. relu is 0 up to 0 and then rises. gelu dips to −0.17 \
              near −0.75, silu to −0.28 near −1.28; at 3 all lie between 2.86 and 3."
            .into(),
    };
    let chart =
        Chart::new(Axis::linear("what goes in"), Axis::linear("what comes out"))
            .line("silu", Hue::Accent, points(silu))
            .line("gelu", Hue::Latent, points(gelu))
            .line("relu", Hue::Muted, points(|x| x.max(0.0)));
    Ok(Figure::draw("activations", words, &chart)?)
}

/// A token as a label: without the space before it, and with a sign for what cannot be
/// seen.
#[must_use]
pub fn label(token: &str) -> String {
    let seen = token.trim_matches(' ').replace('\n', "⏎").replace('\t', "⇥");
    let seen: String = seen.chars().filter(|c| !c.is_control()).take(16).collect();
    if seen.is_empty() { "␣".to_owned() } else { seen }
}

/// Where each token looks: `weights` (tokens, tokens).
#[must_use]
pub fn map_of(tokens: &[String], weights: &DMatrix<f32>) -> Heatmap {
    let weight = |query: usize, key: usize| f64::from(weights[(query, key)]);
    Heatmap::new(tokens, tokens, weight)
        .row_axis("query")
        .column_axis("key")
        .value_axis("weight")
        .range(0.0, 1.0)
}

/// Head 8 of layer 13.
///
/// # Errors
/// When the slice cannot be read.
pub fn animal() -> Result<Figure> {
    let (tokens, weights) = experiments::heads_of(Sentence::Tired)?;
    let weights = &weights[HEAD];
    let it = crate::example::place(&tokens, "it")?;
    let animal = crate::example::place(&tokens, "animal")?;
    let weight = weights[(it, animal)];
    let words = Words {
        title: "A decoder’s “it” looks at “animal”".into(),
        caption: format!(
            "`it` puts {weight:.2} of its weight on `animal`. Layer 13, head 8 of SmolLM2. \
             Nothing lies above the diagonal: no token has seen what follows it. `did`, \
             `not` and `cross` look at `animal` as well; `the` and `street` look most at the \
             first token."
        ),
        alt: format!(
            "A triangular heat-map of {} tokens. The row of it is heavy at animal, with \
             {weight:.2}; so are the rows of did, not and cross.",
            tokens.len()
        ),
    };
    let map = map_of(&tokens, weights).mark(it, animal);
    Ok(Figure::draw("animal", words, &map)?)
}

/// Every head switched off.
///
/// # Errors
/// When the recording cannot be read.
pub fn off() -> Result<Figure> {
    let recording = Recording::read()?;
    let price = |layer: usize, head: usize| {
        recording
            .at("head off", &format!("layer {layer} head {head}"))
            .unwrap_or(f64::NAN)
    };
    let dearest = crate::example::dearest(&recording);
    let cheap = dearest.iter().filter(|(_, price)| price.abs() < 0.01).count();
    let (name, most) = dearest.first().copied().unwrap_or_default();
    let words = Words {
        title: "Half of the heads are hardly missed, a few are".into(),
        caption: format!(
            "Of {} heads, {cheap} can be switched off and move the loss by less than 0.01 \
             nats per token. The costliest is {name}: {most:.2}. One head at a time, on the \
             first {} tokens of *Alice's Adventures in Wonderland*; colors end at 0.1.",
            dearest.len(),
            recording.at("tokens", "part")?,
        ),
        alt: format!(
            "A heat-map of 30 layers by 9 heads. Most cells are near zero; the largest is {name}."
        ),
    };
    let layers = (0..30).map(|layer| layer.to_string());
    let map = Heatmap::new(layers, (0..9).map(|head| head.to_string()), price)
        .row_axis("layer")
        .column_axis("head")
        .value_axis("nats per token lost")
        .range(0.0, 0.1);
    Ok(Figure::draw("off", words, &map)?)
}

/// What each layer would say.
///
/// # Errors
/// When the recording cannot be read.
pub fn lens() -> Result<Figure> {
    let recording = Recording::read()?;
    let points: Vec<(f64, f64)> = recording
        .all("lens")
        .filter_map(|(layer, share)| Some((layer.parse().ok()?, share)))
        .collect();
    let last = points.last().map_or(0.0, |(_, share)| *share);
    let before = points.iter().rev().nth(1).map_or(0.0, |(_, share)| *share);
    let words = Words {
        title: "The word appears in the last layers".into(),
        caption: format!(
            "After `The capital of France is`, the last layer gives ` Paris` a share of \
             {last:.2}, the one before it {before:.2}. Every layer's row of the \
             last token, normed and compared with the vocabulary as if it were the last."
        ),
        alt: format!(
            "A line over 30 layers that stays near 0, reaches {before:.2} in the last but one \
             and ends at {last:.2}."
        ),
    };
    let chart = Chart::new(
        Axis::linear("after layer"),
        Axis::linear("share of the word that is said").range(0.0, 1.0),
    )
    .line("", Hue::Accent, points);
    Ok(Figure::draw("lens", words, &chart)?)
}

/// What a window costs.
///
/// # Errors
/// When the recording cannot be read.
pub fn window() -> Result<Figure> {
    let recording = Recording::read()?;
    let whole = recording.at("loss", "whole")?;
    let line = |case: &str| -> Vec<(f64, f64)> {
        let points = recording.all(case);
        points.filter_map(|(window, nats)| Some((window.parse().ok()?, nats))).collect()
    };
    let (alone, kept) = (line("window"), line("window and first four"));
    let at = |line: &[(f64, f64)]| line.first().map_or(0.0, |point| point.1);
    let words = Words {
        title: "Four tokens that say little hold the window up".into(),
        caption: format!(
            "With a window of 32 tokens the loss is {:.2} nats per token, and {:.2} if \
             every token also sees the first four; with the whole text it is {whole:.2}. \
             SmolLM2, which was trained without a window, on {} tokens of *Alice*.",
            at(&alone),
            at(&kept),
            grouped(recording.at("tokens", "whole")? as u64),
        ),
        alt: format!(
            "Two lines over windows of 32 to 256 tokens, and a level line at \
             {whole:.2}. The window alone starts at {:.2}, the one with the first four \
             tokens at {:.2}.",
            at(&alone),
            at(&kept),
        ),
    };
    let chart = Chart::new(
        Axis::log2("tokens that each token sees"),
        Axis::linear("nats per token"),
    )
    .line("window alone", Hue::Accent, alone)
    .line("and the first four", Hue::Decoding, kept)
    .horizontal(whole, "no window");
    Ok(Figure::draw("window", words, &chart)?)
}
