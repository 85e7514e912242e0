//! What the chapter prints: each function is one block of output in the book, and
//! `cargo run -p rotary` shows the first two.

use crate::experiments::{
    self, OCTAVES, REAL_HEAD_DIM, Stored, THETA, THETA_LLAMA_3, TrainedToTurn, Turn,
    Work, on_previous, turn, turn_back, turn_without_minus,
};
use crate::{Pairing, Rotary, permutation};
use anyhow::{Context, Result};
use attention::Mask;
use attention::example::{grouped as thousands, table};
use minilm::models;
use multi_head::Projected;
use nalgebra::DMatrix;
use std::f64::consts::TAU;
use std::fmt::Write;

const TOY: [&str; 3] = ["sun", "moon", "sun"];

/// The worked example: every intermediate of one small forward pass.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn three_tokens() -> Result<String> {
    let (x, layer) = experiments::toy()?;
    let Projected { q, k, .. } = layer.project(&x, 0)?;
    let scores = &q * k.transpose() / 2.0_f32.sqrt();
    let attended = layer.forward(&x, &Mask::None)?;
    let blind = layer.layer().forward(&x, &Mask::None)?;
    let angles = DMatrix::from_fn(3, 2, |position, sine| {
        let angle = position as f32;
        if sine == 0 { angle.cos() } else { angle.sin() }
    });
    let blocks = [
        table("x = q = k, before they turn", &TOY, &[], &x, 0),
        table("positions", &["0", "1", "2"], &["cos", "sin"], &angles, 3),
        table("q = k, turned", &TOY, &[], &q, 3),
        table("scores = q kᵀ / √2", &TOY, &TOY, &scores, 3),
        table("weights", &TOY, &TOY, &attended.weights[0], 3),
        table("output", &TOY, &[], &attended.output, 2),
        table("output without rotation", &TOY, &[], &blind.output, 2),
    ];
    Ok(blocks.join("\n"))
}

/// The scores of the worked example, and of the same tokens a thousand positions on.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn shifted() -> Result<String> {
    let (x, layer) = experiments::toy()?;
    let from = |start| {
        let scores = experiments::scores_from(layer.rotary(), &x, &x, start)?;
        let title = format!("scores, the first token at {start}");
        let scores = scores / 2.0_f32.sqrt();
        Ok::<_, anyhow::Error>(table(&title, &TOY, &TOY, &scores, 3))
    };
    Ok(from(0)? + "\n" + &from(1000)?)
}

/// The matrix that turns a head of four features at position 1, both ways to pair them.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn matrices() -> Result<String> {
    let matrix = |title: &str, pairing| {
        let rotary = Rotary::new(4, THETA, pairing)?;
        let matrix = experiments::turning_matrix(&rotary, 1)?;
        let mut text = format!("{title}\n");
        for row in matrix.row_iter() {
            // + 0.0 turns a -0.0 into 0.0.
            let cells = row.iter().map(|cell| format!("{:>7.2}", cell + 0.0));
            writeln!(text, "{}", cells.collect::<String>())?;
        }
        Ok::<_, anyhow::Error>(text)
    };
    let halves = matrix("half-split: pairs (0, 2) and (1, 3)", Pairing::Halves)?;
    let neighbors = matrix("interleaved: pairs (0, 1) and (2, 3)", Pairing::Neighbors)?;
    Ok(halves + "\n" + &neighbors)
}

/// In how many tokens some pairs of a Llama's head go around once.
///
/// # Errors
/// None that can happen: the numbers are fixed.
pub fn wavelengths() -> Result<String> {
    let all = [
        experiments::llama(THETA)?,
        experiments::llama(THETA_LLAMA_3)?,
        experiments::llama_3_1()?,
    ];
    let all = all.map(|rotary| experiments::wavelengths(&rotary));
    let mut text = String::from(
        "         θ =       θ =      Llama\npair  10,000   500,000        3.1\n",
    );
    for pair in [0, 8, 16, 24, 32, 40, 48, 56, 63] {
        let [paper, llama, scaled] = [0, 1, 2].map(|which| tokens(all[which][pair]));
        writeln!(text, "{pair:>4} {paper:>7} {llama:>9} {scaled:>10}")?;
    }
    Ok(text)
}

/// A number of tokens: with one decimal if there are few, to three digits if there are many.
fn tokens(length: f64) -> String {
    if length < 100.0 {
        return format!("{length:.1}");
    }
    let unit = 10_f64.powf(length.log10().floor() - 2.0);
    thousands(((length / unit).round() * unit).round() as u64)
}

/// Where the features of a head of eight come from when the pairing changes.
///
/// # Errors
/// None that can happen: the width is even.
pub fn order() -> Result<String> {
    let (halves, neighbors) = (Pairing::Halves, Pairing::Neighbors);
    let row = |from, to| -> Result<String> {
        let order = permutation(8, from, to)?;
        Ok(order.iter().map(|feature| format!(" {feature}")).collect())
    };
    let mut text = String::from("new feature      0 1 2 3 4 5 6 7\n");
    writeln!(text, "to interleaved  {}", row(halves, neighbors)?)?;
    writeln!(text, "to half-split   {}", row(neighbors, halves)?)?;
    Ok(text)
}

/// A head that was trained with rotation, with its own and with others.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn own_rotation() -> Result<String> {
    let head = TrainedToTurn::load()?;
    let (own, halves) = (head.theta(), Pairing::Halves);
    let mut text = String::from("                       on animal  most on\n");
    for (name, turning, start) in [
        ("its own, from 0 on", Some((own, halves)), 0),
        ("its own, from 1,000 on", Some((own, halves)), 1000),
        ("interleaved pairs", Some((own, Pairing::Neighbors)), 0),
        ("base 10,000", Some((THETA, halves)), 0),
        ("none", None, 0),
    ] {
        let row = head.it(turning, start)?;
        let (most, weight) =
            row.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1)).context("no key")?;
        let animal = row.iter().find(|(token, _)| *token == "animal");
        let (_, animal) = animal.context("no animal")?;
        writeln!(text, "{name:<22} {animal:>9.2}  {most} {weight:.2}")?;
    }
    Ok(text)
}

/// What is left of positions that are stored in fewer bits.
///
/// # Errors
/// None that can happen: the ranges are fixed.
pub fn rounded() -> Result<String> {
    let mut text = String::from("            distinct      previous\n");
    text += "positions  bf16  f16  bf16  f16  f32\n";
    for range in OCTAVES {
        let name = format!("{}–{}", range.start, range.end - 1);
        let count = |stored: Stored| stored.distinct(range.clone());
        let weight = |stored| experiments::rounded_previous(stored, range.clone());
        let (bf16, f16) = (count(Stored::Bf16), count(Stored::F16));
        let weights = [Stored::Bf16, Stored::F16, Stored::F32].map(weight);
        let [b, h, f] = weights;
        let (b, h, f) = (b?, h?, f?);
        writeln!(text, "{name:<10}{bf16:>5} {f16:>4}  {b:>4.2} {h:>4.2} {f:>4.2}")?;
    }
    Ok(text)
}

/// How the product of a query and a key projection moves with the distance between tokens.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn product() -> Result<String> {
    let mut text = String::from("tokens apart   moved\n");
    for distance in [0, 1, 2, 5, 10, 100] {
        let moved = experiments::product_moved(distance)?;
        writeln!(text, "{distance:>12} {moved:>7.2}")?;
    }
    Ok(text)
}

/// Scores of weights that are half-split under both rotations, and permuted.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn mixed() -> Result<String> {
    let mut text = String::from("q at  k at correct  mixed permuted\n");
    for (query, key) in [(0, 0), (7, 7), (1, 0), (8, 7), (3, 0), (10, 7)] {
        let scores = experiments::mixed_up(query, key)?;
        let experiments::MixedUp { right, mixed, permuted } = scores;
        writeln!(
            text,
            "{query:>4} {key:>5} {right:>7.3} {mixed:>6.3} {permuted:>8.3}"
        )?;
    }
    Ok(text)
}

/// What a forgotten offset costs each token of a second chunk.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn offset() -> Result<String> {
    let [right, forgotten] = experiments::offset_forgotten(8, 4)?;
    let mut text = String::from("token chunk  at correct  forgotten\n");
    for (token, (right, wrong)) in right.iter().zip(forgotten).enumerate() {
        let (chunk, position) = (token / 4, token % 4);
        writeln!(
            text,
            "{token:>5} {chunk:>5} {position:>3} {right:>7.2} {wrong:>10.2}"
        )?;
    }
    Ok(text)
}

/// Scores of one pair with one token between query and key, turned right and wrong.
///
/// # Errors
/// When a `String` cannot be written to.
pub fn signs() -> Result<String> {
    let mut text = String::new();
    for pair in [(1.0, 2.0), (1.0, 0.0)] {
        writeln!(text, "q = k = ({}, {})", pair.0, pair.1)?;
        text += "q at k at correct no minus key back\n";
        for (query, key) in [(0, 0), (1, 0), (2, 1), (3, 2), (4, 3)] {
            let score = |of_query: Turn, of_key: Turn| {
                experiments::score_of_pair(pair, (of_query, query), (of_key, key))
            };
            let right = score(turn, turn);
            let minus = score(turn_without_minus, turn_without_minus);
            let back = score(turn, turn_back);
            writeln!(
                text,
                "{query:>4} {key:>4} {right:>7.2} {minus:>8.2} {back:>8.2}"
            )?;
        }
        text.push('\n');
    }
    Ok(text.trim_end().to_owned() + "\n")
}

/// Multiply-adds of one token in a layer of Llama-3-8B.
///
/// # Errors
/// When the list of models cannot be read.
pub fn cost() -> Result<String> {
    let seen = models::find("Llama-3-8B")?.context;
    let work = llama_3_8b()?;
    let mut text = String::from("one token              multiply-adds\n");
    let mut line =
        |what: &str, count| writeln!(text, "{what:<22} {:>13}", thousands(count));
    line("four projections", work.projections)?;
    line(&format!("attention over {}", thousands(seen)), work.attention)?;
    line("turn its q and k", work.rotation)?;
    line(&format!("turn all {} keys", thousands(seen)), work.all_keys)?;
    Ok(text)
}

fn llama_3_8b() -> Result<Work> {
    let model = models::find("Llama-3-8B")?;
    Ok(experiments::work(&model, model.context))
}

/// Every single number that the prose quotes.
///
/// # Errors
/// When the model's slices or the recording cannot be read.
pub fn facts() -> Result<String> {
    let mut text = String::new();
    let mut fact = |key: &str, value: String| writeln!(text, "{key}: {value}");

    let of_theta = [
        ("paper", experiments::llama(THETA)?),
        ("llama_3", experiments::llama(THETA_LLAMA_3)?),
        ("llama_3_1", experiments::llama_3_1()?),
    ];
    for (name, rotary) in &of_theta {
        let longest = experiments::wavelengths(rotary)[63];
        fact(&format!("longest_{name}"), tokens(longest))?;
        for context in [8192, 131_072] {
            let turning = experiments::turning_within(rotary, f64::from(context));
            fact(&format!("turning_{name}_{context}"), turning.to_string())?;
        }
        for distance in [16, 256, 1024, 8192] {
            let score = experiments::mean_score(rotary, f64::from(distance))?;
            fact(&format!("score_{name}_{distance}"), format!("{score:.2}"))?;
        }
    }
    fact("shortest", format!("{TAU:.1}"))?;
    let ntk = experiments::ntk_aware(THETA, 8.0, experiments::HEAD_DIM);
    let stretched = experiments::llama(ntk)?;
    fact("exercise_theta", thousands(ntk.round() as u64))?;
    for (key, rotary, tokens) in
        [("before", &of_theta[0].1, 4096.0), ("stretched", &stretched, 32_768.0)]
    {
        let turning = experiments::turning_within(rotary, tokens);
        fact(&format!("exercise_{key}"), turning.to_string())?;
    }
    let moved = experiments::moved_by_f32_angles(THETA_LLAMA_3, 131_072)?;
    fact("moved_by_f32_angles", format!("{moved:.5}"))?;
    let [kept, between, slowed] = experiments::scaled_pairs()?;
    fact("pairs_kept", kept.to_string())?;
    fact("pairs_between", between.to_string())?;
    fact("pairs_slowed", slowed.to_string())?;

    let previous = experiments::previous()?;
    fact("previous", format!("{:.2}", on_previous(&previous.learned)))?;
    fact("blind", format!("{:.2}", on_previous(&previous.blind)))?;
    fact("constructed", format!("{:.3}", on_previous(&previous.constructed)))?;
    fact("equal_share", format!("{:.2}", 1.0 / previous.tokens.len() as f64))?;
    fact("reversed_blind", format!("{:.4}", experiments::moved_by_reversing(None)?))?;
    let rotary = Rotary::new(REAL_HEAD_DIM, THETA, Pairing::Halves)?;
    let moved = experiments::moved_by_reversing(Some(&rotary))?;
    fact("reversed_turned", format!("{moved:.2}"))?;
    let [trained, turned] = experiments::it_animal()?;
    fact("it_trained", format!("{trained:.2}"))?;
    fact("it_turned", format!("{turned:.2}"))?;

    fact("distinct_bf16", Stored::Bf16.distinct(0..4096).to_string())?;
    fact("distinct_f16", thousands(Stored::F16.distinct(0..4096) as u64))?;
    let context = 131_072;
    fact("distinct_bf16_long", thousands(Stored::Bf16.distinct(0..context) as u64))?;
    fact("context_long", thousands(context as u64))?;
    fact("moved_1", format!("{:.2}", experiments::product_moved(1)?))?;
    fact("moved_10", format!("{:.2}", experiments::product_moved(10)?))?;

    let work = llama_3_8b()?;
    fact("rotation", thousands(work.rotation))?;
    fact("projections_a_rotation", thousands(work.projections / work.rotation))?;
    let share = work.all_keys as f64 / work.attention as f64;
    fact("all_keys_share", format!("{:.0} %", 100.0 * share))?;
    let recorded = experiments::recorded()?;
    for n in [128, 512, 2048] {
        let ms = |case| recorded.milliseconds(case, n);
        let turning = ms("table")? + ms("rotate")?;
        fact(&format!("table_{n}"), format!("{:.2}", ms("table")?))?;
        fact(&format!("rotate_{n}"), format!("{:.2}", ms("rotate")?))?;
        fact(&format!("project_{n}"), format!("{:.1}", ms("project")?))?;
        fact(&format!("scale_{n}"), format!("{:.2}", ms("scale")?))?;
        fact(&format!("sines_{n}"), format!("{:.2}", ms("sines")?))?;
        let share = 100.0 * turning / ms("whole")?;
        fact(&format!("share_{n}"), format!("{share:.1} %"))?;
    }
    let [one, keys] =
        ["attend_one", "rotate_keys"].map(|case| recorded.milliseconds(case, 8192));
    let (one, keys) = (one?, keys?);
    fact("attend_one", format!("{one:.2}"))?;
    fact("rotate_keys", format!("{keys:.2}"))?;
    fact("rotate_keys_share", format!("{:.0} %", 100.0 * keys / one))?;
    Ok(text)
}
