//! What the chapter prints: each function is one block of output in the book, and
//! `cargo run -p decoder-layer` shows the first.

use crate::experiments::{
    self, CAP, HEAD, ROWS, Real, SINK, Switched, fades, norm_and_turn,
};
use crate::{Centering, HeadNorm, soft_cap, softmax_with_sink};
use anyhow::Result;
use attention::example::table;
use attention::{Mask, softmax};
use nalgebra::{DMatrix, DVector, dmatrix};
use std::fmt::Write;

const KEYS: [&str; 3] = ["aside", "long", "short"];

/// The worked example: a row of scores, and each part alone.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn told() -> Result<String> {
    let steps = experiments::steps()?;
    let row = |title: &str, row: &DMatrix<f32>| {
        let name = [""];
        table(title, &name, &KEYS, row, 2)
    };
    let one = |title: &str, found: &DMatrix<f32>| table(title, &[""], &[], found, 2);
    let blocks = [
        row("q · k / √2", &steps.plain[0]),
        row("its weights", &steps.plain[1]),
        row(&format!("under a cap of {CAP}"), &steps.capped[0]),
        row("its weights", &steps.capped[1]),
        row("normed first", &steps.normed[0]),
        row("its weights", &steps.normed[1]),
        row(&format!("weights beside a sink of {SINK}"), &steps.with_sink),
        one("output", &steps.found[0]),
        one("output through a gate of 0", &steps.found[1]),
    ];
    Ok(blocks.join("\n"))
}

/// What each part does to the real row: the weights of a few words, what the sink takes, and
/// the largest of the others.
///
/// # Errors
/// When the slice cannot be read.
pub fn row() -> Result<String> {
    let real = Real::load()?;
    let [animal, street] = [real.place_of("animal")?, real.place_of("street")?];
    let mut text = String::from("                animal  street   first    sink\n");
    for (name, switched) in ROWS {
        let (row, sunk) = real.row(switched)?;
        let [first, animal, street] = [row[0], row[animal], row[street]];
        // + 0.0 and the rounding turn a -0.0 into 0.0.
        let sunk = (sunk * 1e3).round() / 1e3 + 0.0;
        writeln!(text, "{name:<14}{animal:>8.2}{street:>8.2}{first:>8.2}{sunk:>8.2}")?;
    }
    Ok(text)
}

/// What the layers of real kinds have beside those of Llama.
///
/// # Errors
/// When a kind is not known.
pub fn models() -> Result<String> {
    const KINDS: [&str; 22] = [
        "llama",
        "mistral",
        "ministral3",
        "qwen2",
        "qwen3",
        "gemma2",
        "gemma3_text",
        "phi",
        "phi3",
        "gpt_oss",
        "olmo2",
        "olmo3",
        "cohere",
        "cohere2",
        "glm4",
        "stablelm",
        "smollm3",
        "granite",
        "exaone4",
        "gpt_neox",
        "falcon",
        "gpt2",
    ];
    // What a phone shows side by side.
    const ROOM: usize = 46;
    let mut text = String::new();
    for kind in KINDS {
        let mut line = format!("{kind:<12}");
        let mut parts = experiments::parts_of(kind)?;
        if parts.is_empty() {
            parts.push("nothing".to_owned());
        }
        for (i, part) in parts.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            if line.chars().count() + part.len() + 2 > ROOM {
                writeln!(text, "{line}{comma}")?;
                line = format!("{:<12} {part}", "");
            } else {
                line += &format!("{comma} {part}");
            }
        }
        writeln!(text, "{line}")?;
    }
    Ok(text)
}

/// A query and two keys, one of which is ten times as long: with a norm over each head, and
/// over two heads together.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn spans() -> Result<String> {
    // Two heads of two features; in the second row the first head is ten times as long.
    let x = dmatrix![1.0, 1.0, 1.0, -1.0; 10.0, 10.0, 1.0, -1.0];
    let normed = |span: usize| -> Result<DMatrix<f32>> {
        let gain = DVector::repeat(span, 1.0);
        let mut x = x.clone();
        HeadNorm::new(gain, span, Centering::None, 0.0).apply(&mut x)?;
        Ok(x)
    };
    let (rows, columns) = (["a", "b"], ["h0", "h0", "h1", "h1"]);
    Ok([
        table("keys of two heads", &rows, &columns, &x, 2),
        table("normed over each head", &rows, &columns, &normed(2)?, 2),
        table("normed over all heads", &rows, &columns, &normed(4)?, 2),
    ]
    .join("\n"))
}

/// A cap before the mask, and after it.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn cap_after_mask() -> Result<String> {
    let scores = dmatrix![1.0, 2.0, 30.0];
    let causal = Mask::Causal { offset: 1 };
    let (mut right, mut wrong) = (scores.clone(), scores);
    soft_cap(&mut right, 1.0);
    causal.hide(&mut right)?;
    causal.hide(&mut wrong)?;
    soft_cap(&mut wrong, 1.0);
    let keys = ["seen", "seen", "hidden"];
    Ok([
        table("weights, capped and then masked", &[""], &keys, &softmax(right), 3),
        table("weights, masked and then capped", &[""], &keys, &softmax(wrong), 3),
    ]
    .join("\n"))
}

/// A sink that is added to the scores' softmax, and one that is also divided by √d.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn sink_scaled() -> Result<String> {
    let scores = dmatrix![0.5, 1.0, 0.0];
    let (mut text, d) =
        (String::from("  sink   left for keys   divided by √64\n"), 64_f32);
    for sink in [0.0, 2.0, 4.0, 8.0] {
        let [left, wrong] = [sink, sink / d.sqrt()]
            .map(|sink| softmax_with_sink(scores.clone(), sink).sum());
        writeln!(text, "{sink:>6.1} {left:>15.3} {wrong:>15.3}")?;
    }
    Ok(text)
}

/// The numbers that the prose quotes.
///
/// # Errors
/// When the slice cannot be read.
pub fn facts() -> Result<String> {
    let real = Real::load()?;
    let animal = real.place_of("animal")?;
    let at = |switched| Ok::<_, anyhow::Error>(real.row(switched)?.0[animal]);
    let scores = real.scores()?;
    let largest = scores.iter().copied().fold(f32::MIN, f32::max);
    let smallest = scores.iter().copied().fold(f32::MAX, f32::min);
    let lse = scores.iter().map(|score| score.exp()).sum::<f32>().ln();
    let sink = Switched { sink: Some(4.0), ..Switched::NONE };
    let (row, sunk) = real.row(sink)?;
    let [without, with] = norm_and_turn()?;
    let [near, far] = [8_000, 128_000].map(fades);
    let mut capped = dmatrix![10.0, 50.0, 500.0];
    soft_cap(&mut capped, 50.0);
    let lines = [
        ("head", HEAD.to_string()),
        ("animal", format!("{:.2}", at(Switched::NONE)?)),
        ("first", format!("{:.2}", real.row(Switched::NONE)?.0[0])),
        ("first_normed", format!("{:.2}", real.row(ROWS[1].1)?.0[0])),
        ("animal_normed", format!("{:.2}", at(ROWS[1].1)?)),
        ("animal_capped", format!("{:.2}", at(ROWS[2].1)?)),
        ("animal_half", format!("{:.2}", at(ROWS[3].1)?)),
        ("animal_sunk", format!("{:.2}", row[animal])),
        ("animal_window", format!("{:.2}", at(ROWS[5].1)?)),
        ("animal_no_rotation", format!("{:.2}", at(ROWS[6].1)?)),
        ("sunk", format!("{sunk:.2}")),
        ("largest", format!("{largest:.1}")),
        ("lse", format!("{lse:.1}")),
        ("smallest", format!("{smallest:.1}")),
        ("norm_turn_no_gain", format!("{:.3}", without + 0.0)),
        ("norm_turn_gain", format!("{with:.2}")),
        ("fade_near", format!("{:.1} %", 100.0 * near[0])),
        ("fade_far", format!("{:.3} %", 100.0 * far[0])),
        ("fade_near_tempered", format!("{:.1} %", 100.0 * near[1])),
        ("fade_far_tempered", format!("{:.3} %", 100.0 * far[1])),
        ("temper_far", format!("{:.2}", (far[1].ln() - far[0].ln()) / 3.0 + 1.0)),
        ("capped_10", format!("{:.1}", capped[0])),
        ("capped_50", format!("{:.1}", capped[1])),
        ("capped_500", format!("{:.1}", capped[2])),
    ];
    let lines = lines.map(|(name, value)| format!("{name}: {value}\n"));
    Ok(lines.concat())
}
