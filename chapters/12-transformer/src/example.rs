//! What the chapter prints: each function is one block of output in the book, and
//! `cargo run -p transformer` shows the first two.

use crate::Decoder;
use crate::experiments::{self, HEAD, Recording, SMOLLM2, WORDS};
use crate::gated::silu;
use crate::kept::Precision;
use crate::places::Places;
use anyhow::{Context, Result};
use attention::example::{grouped, table};
use attention::{Mask, softmax};
use chapter_cli::Recorded;
use minilm::smollm2::Sentence;
use nalgebra::{DMatrix, RowDVector};
use std::fmt::Write;

/// What `cargo run -p transformer` prints.
///
/// # Errors
/// When the slice cannot be read.
pub fn worked() -> Result<String> {
    Ok([two_tokens()?, it()?].join("\n"))
}

/// The worked example: every intermediate from two words to the next one.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn two_tokens() -> Result<String> {
    let model = experiments::toy()?;
    let steps = steps(&model, &[0, 1])?;
    let tokens = ["sun", "moon"];
    let show = |(title, matrix, digits, columns): &Step| {
        table(title, &tokens, columns, matrix, *digits)
    };
    Ok(steps.iter().map(show).collect::<Vec<_>>().join("\n"))
}

/// Its title, the matrix, decimal places, and the names of columns.
type Step = (&'static str, DMatrix<f32>, usize, &'static [&'static str]);

/// Everything that happens to `tokens` in a model of one block.
///
/// # Errors
/// When a token is not in the vocabulary.
pub fn steps(model: &Decoder, tokens: &[u32]) -> Result<Vec<Step>> {
    let block = &model.blocks[0];
    let (attention, network) = (&block.attention, &block.feed_forward);
    let network = network.gated().context("a network with a gate")?;
    let mut places = Places::new(0, tokens.len());

    let x = model.embed(tokens, 0)?;
    let normed = block.attention_norm.forward(&x)?;
    let heads = attention.look(&normed, &mut places, &Mask::Causal { offset: 0 })?;
    let found = attention.mix(&heads.found)?;
    let after = &x + &found;
    let ready = block.ffn_norm.forward(&after)?;
    let gate = network.gate_proj.forward(&ready)?;
    let mut open = gate.clone();
    silu(open.as_mut_slice());
    let hidden = open.component_mul(&network.up_proj.forward(&ready)?);
    let thought = network.down_proj.forward(&hidden)?;
    let leaves = &after + &thought;
    let last = model.norm.forward(&leaves)?;
    let logits = model.logits(&last)?;
    let shares = softmax(logits.clone());
    Ok(vec![
        ("x: rows of the embedding table", x, 0, &[]),
        ("normed", normed, 2, &[]),
        ("weights of the head", heads.weights[0].clone(), 1, &["sun", "moon"]),
        ("attention adds", found, 2, &[]),
        ("x + attention", after, 2, &[]),
        ("normed", ready, 3, &[]),
        ("gate", gate, 3, &[]),
        ("silu(gate)", open, 3, &[]),
        ("hidden = silu(gate) · up", hidden, 3, &[]),
        ("feed-forward adds", thought, 2, &[]),
        ("x + attention + feed-forward", leaves, 2, &[]),
        ("normed", last, 3, &[]),
        ("logits", logits, 2, &WORDS),
        ("shares", shares, 3, &WORDS),
    ])
}

/// The same numbers one by one, as the prose says them; those of the exercise; and how large
/// `SmolLM2` is.
///
/// # Errors
/// When the slice cannot be read.
pub fn numbers() -> Result<String> {
    let model = experiments::toy()?;
    let mut text = on_paper("moon", &steps(&model, &[0, 1])?)?;
    text += &on_paper("star", &steps(&model, &[0, 2])?)?;
    let mut fact = |key: &str, value: String| writeln!(text, "{key}: {value}");
    for (key, size) in [
        ("model_dim", SMOLLM2.model_dim),
        ("hidden_dim", SMOLLM2.hidden_dim),
        ("vocab", SMOLLM2.vocab),
        ("blocks", SMOLLM2.blocks),
        ("attention", SMOLLM2.attention()),
        ("network", SMOLLM2.network()),
    ] {
        fact(key, grouped(size as u64))?;
    }
    fact("millions", format!("{:.0}", SMOLLM2.weights() as f64 / 1e6))?;
    fact("guess", format!("{:.1}", (SMOLLM2.vocab as f64).ln()))?;
    for (key, sentence) in [("tired", Sentence::Tired), ("wide", Sentence::Wide)] {
        let (tokens, weights) = experiments::heads_under(&Mask::None, sentence)?;
        let it = place(&tokens, "it")?;
        let row = weights[HEAD].row(it).into_owned();
        let animal = row[place(&tokens, "animal")?];
        fact(&format!("unmasked_{key}"), format!("{animal:.3}"))?;
        let later = row.columns_range(it + 1..).sum();
        fact(&format!("unmasked_{key}_later"), format!("{later:.3}"))?;
    }
    Ok(text)
}

/// What happens to the last of two tokens, as somebody with a pencil writes it.
fn on_paper(name: &str, steps: &[Step]) -> Result<String> {
    let row = |step: usize| steps[step].1.row(1).into_owned();
    let pair = |row: &RowDVector<f32>, digits: usize| {
        format!("({}, {})", said(row[0], digits), said(row[1], digits))
    };
    let size = |row: &RowDVector<f32>| (row.norm_squared() / 2.0).sqrt();
    let sees = steps[2].1.row(1) * &steps[1].1;
    let (gate, bent, last) = (row(6), row(7), row(11));
    let mut text = String::new();
    for (key, value) in [
        ("row", pair(&row(0), 0)),
        ("square", said(row(0).norm_squared() / 2.0, 2)),
        ("before", pair(&steps[1].1.row(0).into_owned(), 2)),
        ("normed", pair(&row(1), 2)),
        ("sees", pair(&sees, 2)),
        ("sum", said(sees.sum(), 2)),
        ("finds", pair(&row(3), 2)),
        ("stream", pair(&row(4), 2)),
        ("size", said(size(&row(4)), 2)),
        ("ready", pair(&row(5), 3)),
        ("gate", said(gate.amax(), 3)),
        ("open", said(bent.max(), 3)),
        ("shut", said(bent.min(), 3)),
        ("hidden", pair(&row(8), 3)),
        ("network", pair(&row(9), 2)),
        ("leaves", pair(&row(10), 2)),
        ("last_size", said(size(&row(10)), 2)),
        ("last", pair(&last, 3)),
        ("first", said(last[0], 3)),
        ("second", said(last[1], 3)),
        ("to_sun", said(row(12)[0], 2)),
        ("to_moon", said(row(12)[1], 2)),
        ("to_star", said(row(12)[2], 2)),
    ] {
        writeln!(text, "{name}_{key}: {value}")?;
    }
    Ok(text)
}

/// Rounded, without zeros at the end, and with a true minus.
fn said(number: f32, digits: usize) -> String {
    let text = format!("{number:.digits$}");
    let text = if digits > 0 { text.trim_end_matches('0') } else { &text };
    match text.trim_end_matches('.') {
        "-0" => "0".to_owned(),
        text => text.replace('-', "−"),
    }
}

/// A head of `SmolLM2` on the sentence, and on its twin.
///
/// # Errors
/// When the slice cannot be read.
pub fn it() -> Result<String> {
    let mut text = String::from("SmolLM2, layer 13, head 8: where `it` looks\n");
    for (sentence, last) in [(Sentence::Tired, "tired"), (Sentence::Wide, "wide")] {
        let (tokens, weights) = experiments::heads_of(sentence)?;
        let it = place(&tokens, "it")?;
        writeln!(text, "\n… because it was too {last}.")?;
        for (token, weight) in
            tokens.iter().zip(weights[HEAD].row(it).iter()).take(it + 1)
        {
            let bar = "#".repeat((weight * 28.0).round() as usize);
            writeln!(text, "{token:>10} {weight:.3} {bar}")?;
        }
    }
    Ok(text)
}

/// Where a token stands for the first time.
///
/// # Errors
/// When it does not.
pub fn place(tokens: &[String], token: &str) -> Result<usize> {
    let place = tokens.iter().position(|found| found == token);
    place.with_context(|| format!("no `{token}` in the sentence"))
}

/// Losses of `SmolLM2` when something is changed, in nats per token.
///
/// # Errors
/// When the recording does not hold them.
pub fn nats() -> Result<String> {
    let changes = [changed(MERGED)?, changed(LATENTS)?, changed(ROUNDED)?];
    Ok(format!("{}\n{}", unchanged()?, changes.join("\n")))
}

/// Losses of `SmolLM2` when its kv heads are merged, for the chapters that merge heads.
///
/// # Errors
/// When the recording does not hold them.
pub fn merged() -> Result<String> {
    Ok(unchanged()? + &changed(MERGED)?)
}

/// Losses of `SmolLM2` when its keys and values come from a latent, for the chapter that
/// builds one.
///
/// # Errors
/// When the recording does not hold them.
pub fn latents() -> Result<String> {
    Ok(unchanged()? + &changed(LATENTS)?)
}

/// What is changed, and what the recording calls it.
type Change = (&'static str, &'static str);
const MERGED: Change = ("kv heads merged from 3 to 1", "groups");
const LATENTS: Change = ("keys and values from a latent", "latent");
const ROUNDED: Change = ("weights kept in", "precision");

fn unchanged() -> Result<String> {
    let whole = Recording::read()?.at("loss", "whole")?;
    Ok(format!("{:<30}{whole:>8.2}\n", "the model as it is"))
}

fn changed((title, case): Change) -> Result<String> {
    let recording = Recording::read()?;
    let whole = recording.at("loss", "whole")?;
    let mut text = format!("{title:<30}{:>8}{:>8}\n", "nats", "more");
    for (setting, nats) in recording.all(case) {
        let more = hundredths(nats - whole);
        writeln!(text, "  {setting:<28}{nats:>8.2}{more:>+8.2}")?;
    }
    Ok(text)
}

/// Rounded, and no -0.
fn hundredths(number: f64) -> f64 {
    (number * 100.0).round() / 100.0 + 0.0
}

/// How long the whole model took, as the benchmark recorded it: one token after 128 others,
/// and a prompt of 512, with weights in three forms.
///
/// # Errors
/// When the recording does not hold it.
pub fn speed() -> Result<String> {
    let recorded = experiments::recorded()?;
    let mut text = String::from("              one token          prompt\n");
    text += "weights   MB     ms   GB/s           ms\n";
    for (name, precision) in FORMS {
        let (megabytes, ms) =
            (experiments::megabytes(precision), decoding(&recorded, name)?);
        let prompt = recorded.milliseconds(&format!("prompt {name}"), 512)?;
        let rate = megabytes / ms;
        writeln!(text, "{name:<6}{megabytes:>6.0}{ms:>7.1}{rate:>7.1}{prompt:>13.0}")?;
    }
    let (mebibytes, ms) = reading(&recorded)?;
    let (megabytes, rate) = (mebibytes * MEGABYTES, mebibytes * MEGABYTES / ms);
    writeln!(text, "a sum {megabytes:>6.0}{ms:>7.1}{rate:>7.1}\n")?;
    let [processor, cores, vectors, day] =
        ["processor", "cores", "instructions", "recorded"]
            .map(|key| recorded.condition(key));
    let processor = processor.replacen(" (", "\n(", 1);
    writeln!(text, "{processor}\n{cores} cores, {vectors}, {day}")?;
    Ok(text)
}

/// What the recording calls the forms of weights.
const FORMS: [(&str, Precision); 3] =
    [("f32", Precision::F32), ("bf16", Precision::Bf16), ("q8", Precision::Q8)];
/// In a MiB.
const MEGABYTES: f64 = 1.048_576;

/// Milliseconds that a token takes with weights in a form.
fn decoding(recorded: &Recorded, name: &str) -> Result<f64> {
    let point = recorded.points(&format!("decode {name}")).next();
    Ok(point.with_context(|| format!("no decoding in {name}"))?.1)
}

/// MiB of an array, and the milliseconds that its sum takes.
fn reading(recorded: &Recorded) -> Result<(f64, f64)> {
    let (mebibytes, ms) = recorded.points("read").next().context("no reading")?;
    Ok((mebibytes as f64, ms))
}

/// What a window costs, with and without the first tokens.
///
/// # Errors
/// When the recording does not hold it.
pub fn windows() -> Result<String> {
    let recording = Recording::read()?;
    let whole = recording.at("loss", "whole")?;
    let mut text =
        format!("{:<16}{:>8}{:>22}\n", "each token sees", "nats", "and the first four");
    for (setting, alone) in recording.all("window") {
        let kept = recording.at("window and first four", setting)?;
        writeln!(
            text,
            "{:<16}{alone:>8.2}{kept:>22.2}",
            format!("the last {setting}")
        )?;
    }
    writeln!(text, "{:<16}{whole:>8.2}", "all before it")?;
    Ok(text)
}

/// Which heads do what, and what the loss loses without them.
///
/// # Errors
/// When the recording does not hold them.
pub fn heads() -> Result<String> {
    let recording = Recording::read()?;
    let mut text = String::new();
    for (title, case) in [
        ("weight on the previous token", "previous"),
        ("weight on what followed last time", "induction"),
    ] {
        writeln!(text, "{title}")?;
        for (head, weight) in recording.all(case).take(5) {
            let off = recording.at("head off", head)?;
            writeln!(text, "  {head:<17} {weight:>5.2}  off {off:>+7.3} nats")?;
        }
        text.push('\n');
    }
    writeln!(text, "most costly to switch off")?;
    for (head, off) in dearest(&recording).into_iter().take(5) {
        writeln!(text, "  {head:<23}  off {off:>+7.3} nats")?;
    }
    Ok(text)
}

/// Heads by what it costs to switch them off, the dearest first.
#[must_use]
pub fn dearest(recording: &Recording) -> Vec<(&str, f64)> {
    let mut all: Vec<_> = recording.all("head off").collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    all
}

/// Shares of the words that may follow `sun moon`, by temperature, and which of them
/// top-p keeps.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn sampled() -> Result<String> {
    let model = experiments::toy()?;
    let logits = experiments::last_logits(&model, &[0, 1], None)?;
    let mut text = String::from("temp.    sun   moon   star  kept by top-p 0.9\n");
    for temperature in [0.5, 1.0, 2.0, 5.0] {
        let shares = softmax(&logits / temperature);
        let mut order: Vec<usize> = (0..shares.len()).collect();
        order.sort_by(|&a, &b| shares[b].total_cmp(&shares[a]));
        let mut sum = 0.0;
        let mut kept = Vec::new();
        for word in order {
            kept.push(WORDS[word]);
            sum += shares[word];
            if sum >= 0.9 {
                break;
            }
        }
        let cells: String =
            shares.iter().map(|share| format!("{share:>7.3}")).collect();
        writeln!(text, "{temperature:>5.1}{cells}  {}", kept.join(", "))?;
    }
    Ok(text)
}

/// Logits after two texts when something was done wrong.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn mistakes() -> Result<String> {
    use crate::experiments::Slip;
    let model = experiments::toy()?;
    let mut text = String::new();
    for (words, tokens) in [("sun moon", [0, 1]), ("star star", [2, 2])] {
        writeln!(text, "after {words:<16}     sun    moon    star")?;
        for (title, slip) in [
            ("as it should be", None),
            ("no residual", Some(Slip::NoResidual)),
            ("LayerNorm", Some(Slip::LayerNorm)),
            ("norm of the sum", Some(Slip::NormAfter)),
            ("silu on up", Some(Slip::GateAndUpSwapped)),
            ("no last norm", Some(Slip::NoLastNorm)),
        ] {
            let logits = experiments::last_logits(&model, &tokens, slip)?;
            let cells: String =
                logits.iter().map(|x| format!("{:>8.2}", x + 0.0)).collect();
            writeln!(text, "  {title:<20}{cells}")?;
        }
        text.push('\n');
    }
    Ok(text)
}

/// Single numbers that the prose takes.
///
/// # Errors
/// When a slice or a recording cannot be read.
pub fn facts() -> Result<String> {
    let mut text = String::new();
    let mut fact = |key: &str, value: String| writeln!(text, "{key}: {value}");
    for (key, sentence, from, to) in [
        ("it_animal", Sentence::Tired, "it", "animal"),
        ("it_animal_wide", Sentence::Wide, "it", "animal"),
        ("it_trophy", Sentence::Trophy, "it", "trophy"),
    ] {
        let (tokens, weights) = experiments::heads_of(sentence)?;
        let weight = weights[HEAD][(place(&tokens, from)?, place(&tokens, to)?)];
        fact(key, format!("{weight:.2}"))?;
    }

    let recording = Recording::read()?;
    let at = |case: &str, setting: &str| recording.at(case, setting);
    let whole = at("loss", "whole")?;
    fact("loss", format!("{whole:.2}"))?;
    fact("perplexity", format!("{:.0}", whole.exp()))?;
    for (key, setting) in [("text", "whole"), ("part", "part")] {
        fact(key, grouped(at("tokens", setting)? as u64))?;
    }
    for window in ["64", "256"] {
        fact(&format!("window_{window}"), format!("{:.2}", at("window", window)?))?;
        let kept = at("window and first four", window)?;
        fact(&format!("window_{window}_kept"), format!("{kept:.2}"))?;
        fact(&format!("window_{window}_more"), format!("{:.2}", kept - whole))?;
    }
    for (key, setting) in [
        ("merged_mean", "their mean"),
        ("merged_first", "the first alone"),
        ("merged_aligned", "their mean once aligned"),
    ] {
        fact(key, format!("{:.2}", at("groups", setting)? - whole))?;
    }
    for rank in [320, 256, 192, 128] {
        let more = at("latent", &format!("{rank} numbers of 384"))? - whole;
        fact(&format!("latent_{rank}"), format!("{more:.2}"))?;
    }
    fact("bf16", format!("{:.3}", (at("precision", "bf16")? - whole).abs()))?;
    fact("q8", format!("{:.3}", (at("precision", "8 bits")? - whole).abs()))?;
    for layer in ["0", "11", "13", "24"] {
        fact(&format!("sink_{layer}"), format!("{:.2}", at("first token", layer)?))?;
    }
    for (key, setting) in [
        ("random_first", "first time"),
        ("random_second", "second time"),
        ("random_without_4", "second time without 4 induction heads"),
        ("random_without_16", "second time without 16 induction heads"),
        ("random_without_random", "second time without 16 random heads"),
    ] {
        fact(key, format!("{:.2}", at("repeated", setting)?))?;
    }
    heads_in_facts(&recording, &mut fact)?;
    for layer in ["0", "15", "20", "25", "29"] {
        fact(&format!("lens_{layer}"), format!("{:.3}", at("lens", layer)?))?;
    }
    for (key, precision) in
        [("f32", Precision::F32), ("bf16", Precision::Bf16), ("q8", Precision::Q8)]
    {
        let megabytes = experiments::megabytes(precision);
        fact(&format!("megabytes_{key}"), format!("{megabytes:.0}"))?;
    }
    Ok(text)
}

/// Of all heads that were switched off.
fn heads_in_facts(
    recording: &Recording,
    fact: &mut impl FnMut(&str, String) -> std::fmt::Result,
) -> Result<()> {
    let dearest = dearest(recording);
    let (name, price) = dearest.first().context("no head was switched off")?;
    fact("dearest", (*name).to_owned())?;
    fact("dearest_price", format!("{price:.2}"))?;
    fact("heads", dearest.len().to_string())?;
    let recorded = experiments::recorded()?;
    let (mebibytes, ms) = reading(&recorded)?;
    let most = mebibytes * MEGABYTES / ms;
    let (full, slowest) =
        (experiments::megabytes(Precision::F32), decoding(&recorded, "f32")?);
    fact("read_share", format!("{:.0}", 100.0 * full / slowest / most))?;
    for (name, precision) in &FORMS[1..] {
        let faster = slowest / decoding(&recorded, name)?;
        fact(&format!("{name}_faster"), format!("{faster:.1}"))?;
        let fewer = full / experiments::megabytes(*precision);
        fact(&format!("{name}_fewer"), format!("{fewer:.1}"))?;
    }
    let cheap = dearest.iter().filter(|(_, price)| price.abs() < 0.01).count();
    fact("cheap", cheap.to_string())?;
    let better = dearest.iter().filter(|(_, price)| *price < 0.0).count();
    fact("better", better.to_string())?;
    for (key, case) in [("previous", "previous"), ("induction", "induction")] {
        let (name, weight) = recording.all(case).next().context("no such head")?;
        fact(key, name.to_owned())?;
        fact(&format!("{key}_weight"), format!("{weight:.2}"))?;
    }
    Ok(())
}
