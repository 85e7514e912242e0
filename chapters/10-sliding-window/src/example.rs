//! What the chapter prints: each function is one block of output in the book, and
//! `cargo run -p sliding-window` shows the first two.

use crate::experiments::{
    self, HEADS, LENGTHS, Looks, PASS_WINDOW, SLIPS, STEP, STEP_WINDOW, WINDOW, pairs,
    shares, thin_edge,
};
use crate::{Pattern, RingCache, cached, receptive_field};
use anyhow::Result;
use attention::Mask;
use attention::example::{grouped as thousands, table};
use attention::softmax;
use nalgebra::DMatrix;
use std::fmt::Write;

const TOY: [&str; 5] = ["sun", "moon", "both", "sun", "moon"];

/// The worked example: five tokens that see three.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn five_tokens() -> Result<String> {
    let (x, layer) = experiments::toy()?;
    let mut scores = experiments::toy_scores(&x, &layer)?;
    Mask::Window { offset: 0, window: WINDOW }.hide(&mut scores)?;
    let attended = layer.forward(&x)?;
    let causal = Mask::Causal { offset: 0 };
    let all = layer.layer().forward(&x, &causal)?;
    let blocks = [
        table("scores, of the last three tokens", &TOY, &TOY, &scores, 3),
        table("weights", &TOY, &TOY, &attended.weights[0], 3),
        table("output", &TOY, &[], &attended.output, 2),
        table("output without a window", &TOY, &[], &all.output, 2),
    ];
    Ok(blocks.join("\n"))
}

/// Which token lies in which slot of a ring of three, as tokens go by.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn ring() -> Result<String> {
    let mut ring = RingCache::new(WINDOW, 1, 1);
    let mut text = String::from("token  written to   slot 0  slot 1  slot 2\n");
    for token in 0..7 {
        let one = DMatrix::repeat(1, 1, token as f32);
        let slot = ring.slot(token);
        ring.keep(&one, &one)?;
        let held = ring.positions();
        let cell = |slot: usize| held.get(slot).map_or("-".into(), ToString::to_string);
        let cells: String = (0..WINDOW).map(|s| format!("{:>8}", cell(s))).collect();
        writeln!(text, "{token:>5}{:>12} {cells}", format!("slot {slot}"))?;
    }
    Ok(text)
}

/// Models with windows, and the layers that have them.
pub const MODELS: [(&str, usize, Pattern); 4] = [
    ("Mistral-7B v0.1", 32, Pattern { window: 4096, every: 0 }),
    ("Gemma 3 27B", 62, Pattern { window: 1024, every: 6 }),
    ("gpt-oss-20b", 24, Pattern { window: 128, every: 2 }),
    ("OLMo 3 7B", 32, Pattern { window: 4096, every: 4 }),
];

/// Tokens of the text for which caches are compared.
const LONG: usize = 131_072;

/// Which layers have a window, and what is left of the cache.
///
/// # Errors
/// None that can happen.
pub fn patterns() -> Result<String> {
    let mut text = String::from("model           window layers   field   cache\n");
    for (name, layers, pattern) in MODELS {
        let windows = pattern.windows(layers);
        let all = windows.iter().flatten().count();
        let field = receptive_field(&windows)
            .map_or("all".to_owned(), |field| thousands(field as u64));
        let share = cached(&windows, LONG) as f64 / (layers * LONG) as f64;
        writeln!(
            text,
            "{name:<15}{:>7} {:>6} {field:>7} {:>5.1} %",
            thousands(pattern.window as u64),
            format!("{all}/{layers}"),
            100.0 * share
        )?;
    }
    Ok(text)
}

/// Where the weight of `SmolLM2`'s heads lies.
///
/// # Errors
/// When the scores cannot be read.
pub fn heads() -> Result<String> {
    let mut text = String::from("head   first   last 4   between\n");
    for head in 0..HEADS {
        let [first, near, between] = shares(head, 4)?;
        writeln!(text, "{head:>4} {first:>7.2} {near:>8.2} {between:>9.2}")?;
    }
    Ok(text)
}

/// Where `it` looks in one head, through some windows.
///
/// # Errors
/// When the scores cannot be read.
pub fn narrower() -> Result<String> {
    let columns = ["The", "animal", "because", "it"];
    let mut text = String::from("head 8        ");
    text += &columns.map(|word| format!("{word:>8}")).concat();
    text.push('\n');
    for (name, window, first) in [
        ("all before it", 13, 0),
        ("the last 8", 8, 0),
        ("the last 7", 7, 0),
        ("the last 4", 4, 0),
        ("and the first", 4, 1),
    ] {
        let looks = Looks::of(8)?;
        let (weights, it) = (looks.weights(window, first)?, looks.position("it")?);
        write!(text, "{name:<14}")?;
        for word in columns {
            write!(text, "{:>8.2}", weights[(it, looks.position(word)?)])?;
        }
        text.push('\n');
    }
    Ok(text)
}

/// What each slip costs each token.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn slips() -> Result<String> {
    let mut text = String::from("token   of");
    for (name, _) in SLIPS {
        write!(text, "{name:>9}")?;
    }
    text.push('\n');
    let errors: Result<Vec<_>> =
        SLIPS.iter().map(|(_, slip)| experiments::errors(slip)).collect();
    let errors = errors?;
    for token in 0..12 {
        let chunk = if token < 8 { 4 } else { 1 };
        write!(text, "{token:>5}{chunk:>5}")?;
        for errors in &errors {
            write!(text, "{:>9.2}", errors[token])?;
        }
        text.push('\n');
    }
    Ok(text)
}

/// Scored pairs and cached tokens, with a window and without.
///
/// # Errors
/// None that can happen.
pub fn cost() -> Result<String> {
    let mut text = String::from(
        "           pairs, millions    cached tokens\n tokens  without    with  \
         without    with\n",
    );
    for tokens in [4096, 8192, 32_768, 131_072] {
        let millions = |window| pairs(tokens, window) as f64 / 1e6;
        let kept = cached(&[Some(4096)], tokens as usize);
        writeln!(
            text,
            "{:>7} {:>8.1} {:>7.1} {:>8} {:>7}",
            thousands(tokens),
            millions(tokens),
            millions(4096),
            thousands(tokens),
            thousands(kept as u64)
        )?;
    }
    Ok(text)
}

/// A last row of scores with a sink: what the keys get, and what the sink.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn sink() -> Result<String> {
    let mut text = String::from("scores   sink   weights      of the sink\n");
    for (scores, sink) in [
        ([2.0, 1.0], f32::NEG_INFINITY),
        ([2.0, 1.0], 0.0),
        ([2.0, 1.0], 2.0),
        ([-2.0, -3.0], 2.0),
    ] {
        let [a, b] = scores;
        let all = softmax(DMatrix::from_row_slice(1, 3, &[a, b, sink]));
        let name = if sink.is_finite() { format!("{sink}") } else { "-".into() };
        writeln!(
            text,
            "{:<8}{name:>5}{:>7.2}{:>7.2}{:>12.2}",
            format!("{a}, {b}"),
            all[0],
            all[1],
            all[2]
        )?;
    }
    Ok(text)
}

/// Every single number that the prose quotes.
///
/// # Errors
/// When the scores or the recording cannot be read.
pub fn facts() -> Result<String> {
    let mut text = String::new();
    let mut fact = |key: &str, value: String| writeln!(text, "{key}: {value}");

    let looks = Looks::of(8)?;
    let (it, animal) = (looks.position("it")?, looks.position("animal")?);
    for (key, window) in [("it_all", 13), ("it_8", 8), ("it_7", 7)] {
        let weight = looks.weights(window, 0)?[(it, animal)];
        fact(key, format!("{weight:.2}"))?;
    }
    fact("it_apart", (it - animal).to_string())?;
    let looks = Looks::of(2)?;
    let because = looks.position("because")?;
    for (key, window, first) in
        [("because_all", 13, 0), ("because_4", 4, 0), ("because_4_first", 4, 1)]
    {
        let weight = looks.weights(window, first)?[(it, because)];
        fact(key, format!("{weight:.2}"))?;
    }
    fact("the_of_it", format!("{:.2}", looks.weights(13, 0)?[(it, 0)]))?;
    let looks = Looks::of(5)?;
    for (key, window, first) in
        [("exercise_all", 13, 0), ("exercise_window", 3, 0), ("exercise_first", 3, 1)]
    {
        let weight = looks.weights(window, first)?[(it, because)];
        fact(key, format!("{weight:.2}"))?;
    }
    fact("exercise_the", format!("{:.2}", looks.weights(13, 0)?[(it, 0)]))?;
    let firsts: Result<Vec<f32>> =
        (0..HEADS).map(|head| Ok(shares(head, 4)?[0])).collect();
    let mut firsts = firsts?;
    firsts.sort_by(f32::total_cmp);
    fact("first_least", format!("{:.2}", firsts[0]))?;
    fact("first_second_least", format!("{:.2}", firsts[1]))?;
    fact("first_most", format!("{:.2}", firsts[HEADS - 1]))?;

    let field = receptive_field(&[Some(4096); 32]).map_or(0, |field| field as u64);
    fact("mistral_field", thousands(field))?;
    let thin = thin_edge(4, 4);
    fact("edge_middle", format!("{:.2}", thin[6]))?;
    fact("edge_last", format!("{:.4}", thin[12]))?;
    let share = pairs(4096, 512) as f64 / pairs(4096, 4096) as f64;
    fact("pairs_share", format!("{share:.2}"))?;

    let bytes = |tokens: usize| 4 * 2 * STEP.1 * STEP.2 * tokens;
    let mib = |tokens| (bytes(tokens) >> 20).to_string();
    let ring = RingCache::new(STEP_WINDOW, STEP.1 * STEP.2, STEP.1 * STEP.2);
    fact("ring_mib", (ring.bytes() >> 20).to_string())?;
    fact("cache_mib", mib(LENGTHS[LENGTHS.len() - 1]))?;

    let recorded = experiments::recorded()?;
    let ms = |case, n| recorded.milliseconds(case, n);
    for n in [4096, 8192] {
        fact(&format!("causal_{n}"), format!("{:.0}", ms("causal", n)?))?;
        fact(&format!("window_{n}"), format!("{:.0}", ms("window", n)?))?;
    }
    fact("masked_4096", format!("{:.0}", ms("masked", 4096)?))?;
    let ratio = ms("window", 4096)? / ms("causal", 4096)?;
    fact("window_of_causal", format!("{ratio:.2}"))?;
    fact("pass_window", PASS_WINDOW.to_string())?;
    for n in [4096, 32_768] {
        fact(&format!("ring_{n}"), format!("{:.2}", ms("ring", n)?))?;
        fact(&format!("cache_{n}"), format!("{:.2}", ms("cache", n)?))?;
    }
    Ok(text)
}
