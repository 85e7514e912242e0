//! What the chapter prints: each function is one block of output in the book, and
//! `cargo run -p linformer` shows the first of them and the spectrum of MiniLM's maps.

use crate::experiments::theorem_r;
use crate::experiments::{self, BENCH_HEAD_DIM, BENCH_K, Causal, LAYERS, LEAK, TOKENS};
use crate::measured::{Measured, Measurements, RANKS, share, squares_of_noise};
use crate::{LinformerError, SequenceProjection, Sharing, attend_condensed};
use anyhow::{Context, Result};
use attention::example::{grouped, table};
use attention::{Linear, Mask, attend, scores};
use nalgebra::{DMatrix, dmatrix};
use std::fmt::Write;

const TOY: [&str; 4] = ["sun", "moon", "both", "sun"];
const ROWS: [&str; 2] = ["r 0", "r 1"];

/// Queries, keys and values of one head.
struct Toy {
    x: DMatrix<f32>,
    q: DMatrix<f32>,
    k: DMatrix<f32>,
    v: DMatrix<f32>,
}

/// Four tokens, and the queries, keys and values that chapter 1 makes of them.
fn toy() -> Result<Toy> {
    let x = dmatrix![1.0, 0.0; 0.0, 1.0; 1.0, 1.0; 1.0, 0.0];
    let q = dmatrix![1.0, 0.0, 1.0, 0.0; 0.0, 2.0, 0.0, 2.0];
    let k = dmatrix![2.0, 0.0, 2.0, 0.0; 2.0, 1.0, 0.0, 1.0];
    let v = dmatrix![10.0, 0.0; 0.0, 10.0];
    let [q, k, v] = [q, k, v].map(|weight| Linear::new(weight, None)?.forward(&x));
    Ok(Toy { q: q?, k: k?, v: v?, x })
}

/// The worked example: every intermediate of one head on four tokens, two rows left.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn four_tokens() -> Result<String> {
    let Toy { x, q, k, v } = toy()?;
    let e = SequenceProjection::mean_pooling(2, 4)?;
    let (keys, values) = (e.forward(k.as_view())?, e.forward(v.as_view())?);
    let found = attend_condensed(q.as_view(), k.as_view(), v.as_view(), &e, &e)?;
    let scores = scores(q.as_view(), keys.as_view())?;
    Ok([
        table("x", &TOY, &[], &x, 0),
        table("q", &TOY, &[], &q, 0),
        table("k", &TOY, &[], &k, 0),
        table("v", &TOY, &[], &v, 0),
        table("E = F: a row is the mean of two", &ROWS, &TOY, &e.weight, 1),
        table("E k: four keys become two", &ROWS, &[], &keys, 1),
        table("F v", &ROWS, &[], &values, 0),
        table("scores = q (E k)ᵀ / √4", &TOY, &ROWS, &scores, 1),
        table("weights: 4 × 2, not 4 × 4", &TOY, &ROWS, &found.weights, 3),
        table("output = weights (F v)", &TOY, &[], &found.output, 2),
    ]
    .join("\n"))
}

/// The first three tokens with the same projection, cut; and one token too many.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn shorter() -> Result<String> {
    let Toy { q, k, v, .. } = toy()?;
    let e = SequenceProjection::mean_pooling(2, 4)?;
    let three = |all: &DMatrix<f32>| all.rows(0, 3).into_owned();
    let (q, k, v) = (three(&q), three(&k), three(&v));
    let cut = e.weight.columns(0, 3).into_owned();
    let found = attend_condensed(q.as_view(), k.as_view(), v.as_view(), &e, &e)?;
    let five = e.forward(DMatrix::zeros(5, 4).as_view());
    let said = five.err().map(|error: LinformerError| error.to_string());
    let said = said.context("five tokens were read")?;
    Ok([
        table("E without its last column", &ROWS, &TOY[..3], &cut, 1),
        table("E k", &ROWS, &[], &e.forward(k.as_view())?, 1),
        table("weights", &TOY[..3], &ROWS, &found.weights, 3),
        format!("five tokens\n  {}\n", said.replace(" the layer", "\n  the layer")),
    ]
    .join("\n"))
}

const MODES: [(&str, Sharing); 4] = [
    ("none", Sharing::None),
    ("headwise", Sharing::Headwise),
    ("key-value", Sharing::KeyValue),
    ("layerwise", Sharing::Layerwise),
];

/// What the projections along the sequence add to a model of 12 layers and 12 heads.
///
/// # Errors
/// When a `String` cannot be written to.
pub fn sharing() -> Result<String> {
    let mut text = String::from("            count  millions of numbers\n");
    text += "                   512      65,536\n";
    for (name, mode) in MODES {
        let matrices = mode.matrices(12, 12);
        let millions = |n: usize| (matrices * BENCH_K * n) as f64 / 1e6;
        let long = grouped(millions(65_536).round() as u64);
        let short = millions(512);
        writeln!(text, "{name:<10} {matrices:>6} {short:>8.1} {long:>8}")?;
    }
    Ok(text)
}

/// How much of the sum of its singular values a map keeps, mean over the heads of a layer.
///
/// # Errors
/// When the recording does not hold it.
pub fn spectrum() -> Result<String> {
    let measured = Measurements::read()?;
    let mut text = String::from(
        "share of the r largest singular values\nlayer    r = 1     32    128    256\n",
    );
    for layer in 0..LAYERS {
        write!(text, "{layer:>5}  ")?;
        for r in [1, 32, 128, 256] {
            write!(text, " {:>6.2}", measured.mean(Some(layer), r, |m| m.share))?;
        }
        text.push('\n');
    }
    write!(text, "noise  ")?;
    let noise = squares_of_noise(1.0);
    for r in [1, 32, 128, 256] {
        write!(text, " {:>6.2}", share(&noise, r))?;
    }
    Ok(text + "\n")
}

fn by_rank(ranks: &[usize], values: [fn(&Measured) -> f64; 3]) -> Result<String> {
    let measured = Measurements::read()?;
    let mut text = String::from("  r     best   means  random\n");
    for &r in ranks {
        let [best, pooled, random] = values.map(|value| measured.mean(None, r, value));
        writeln!(text, "{r:>3} {best:>8.2} {pooled:>7.2} {random:>7.2}")?;
    }
    Ok(text)
}

/// The error of the maps themselves, squeezed to r columns and back, mean over all heads.
///
/// # Errors
/// When the recording does not hold it.
pub fn map_errors() -> Result<String> {
    by_rank(&RANKS[3..], [|m| m.best_map, |m| m.pooled_map, |m| m.random_map])
}

/// The error of the heads' outputs, mean over all heads.
///
/// # Errors
/// When the recording does not hold it.
pub fn output_errors() -> Result<String> {
    by_rank(&RANKS[3..], [|m| m.best, |m| m.pooled, |m| m.random])
}

/// The error of the heads' outputs with 128 rows left, by layer.
///
/// # Errors
/// When the recording does not hold it.
pub fn layers() -> Result<String> {
    let measured = Measurements::read()?;
    let mut text = String::from("layer    best   means  random\n");
    for layer in 0..LAYERS {
        let mean = |value| measured.mean(Some(layer), 128, value);
        let [best, pooled, random] =
            [mean(|m| m.best), mean(|m| m.pooled), mean(|m| m.random)];
        writeln!(text, "{layer:>5} {best:>7.2} {pooled:>7.2} {random:>7.2}")?;
    }
    Ok(text)
}

/// The rows that theorem 1 asks for.
///
/// # Errors
/// When a `String` cannot be written to.
pub fn theorem() -> Result<String> {
    let mut text = String::from("   ε =     0.5    0.3     0.1\n     n\n");
    for n in [128, 512, 4096, 65_536] {
        write!(text, "{:>6}", grouped(n as u64))?;
        for epsilon in [0.5, 0.3, 0.1] {
            let r = theorem_r(n, epsilon).round();
            let star = if r >= n as f64 { '*' } else { ' ' };
            write!(text, " {:>6}{star}", grouped(r as u64))?;
        }
        text.push('\n');
    }
    Ok(text + "* no fewer rows than tokens\n")
}

/// Arithmetic and memory of one head of width 64, with 256 rows left.
///
/// # Errors
/// When a `String` cannot be written to.
pub fn cost() -> Result<String> {
    let (d, r) = (BENCH_HEAD_DIM as u64, BENCH_K as u64);
    let mut text = String::from("       multiply-adds,  weights,\n");
    text += "             millions       MiB\n";
    text += "     n   n × n  n × r  n × n  n × r\n";
    for n in [256, 512, 2048, 8192, 65_536_u64] {
        let million = |count: u64| grouped((count as f64 / 1e6).round() as u64);
        let mib = |columns: u64| (n * columns * 4) as f64 / f64::from(1 << 20);
        let attention = million(experiments::attention_multiply_adds(n, d));
        let linformer = million(experiments::linformer_multiply_adds(n, r, d));
        let (square, narrow) = (mib(n), mib(r));
        let square =
            if square < 10.0 { format!("{square:.2}") } else { grouped(square as u64) };
        let n = grouped(n);
        writeln!(
            text,
            "{n:>6} {attention:>7} {linformer:>6} {square:>6} {narrow:>6.2}"
        )?;
    }
    Ok(text)
}

/// The time of one head, as the benchmark recorded it.
///
/// # Errors
/// When the recording does not hold it.
pub fn time() -> Result<String> {
    let recorded = experiments::recorded()?;
    let mut text = String::from("     n attention Linformer  times\n");
    text += "              ms        ms faster\n";
    for (n, linformer) in recorded.points("linformer") {
        let (attention, faster) = match recorded.milliseconds("attention", n) {
            Ok(ms) => (format!("{ms:.2}"), format!("{:.2}", ms / linformer)),
            Err(_) => ("–".into(), "–".into()),
        };
        let n = grouped(n as u64);
        writeln!(text, "{n:>6} {attention:>9} {linformer:>9.2} {faster:>6}")?;
    }
    Ok(text)
}

/// Three mistakes on layer 0, where they show and where they hide.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn mistakes() -> Result<String> {
    let dense = experiments::random(4, 16, 1)?;
    let means = SequenceProjection::mean_pooling(4, 14)?;
    let with = |e, biased| experiments::mistakes(0, e, biased);
    let (shown, plain, full) =
        (with(&dense, true)?, with(&dense, false)?, with(&means, true)?);
    let rows = [
        ("padding not cut, [SEP]", shown.padded),
        ("  the same, zeros", shown.padded_with_zeros),
        ("  the same, without biases", plain.padded_with_zeros),
        ("condensed before projected", shown.swapped),
        ("  the same, without biases", plain.swapped),
        ("  the same, E takes means", full.swapped),
        ("keys instead of values", shown.keys_for_values),
    ];
    let line = |(name, error): (&str, f64)| format!("{name:<27} {error:>5.2}\n");
    Ok(rows.map(line).concat())
}

/// The tokens of the example projected along their features, beside the right way.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn wrong_side() -> Result<String> {
    let Toy { q, k, v, .. } = toy()?;
    let e = SequenceProjection::mean_pooling(2, 4)?;
    let narrow = |m: &DMatrix<f32>| m * e.weight.transpose();
    let (short_q, short_k) = (narrow(&q), narrow(&k));
    let wrong = attend(short_q.as_view(), short_k.as_view(), v.as_view(), &Mask::None)?;
    Ok(table("k Eᵀ: four keys stay four", &TOY, &[], &short_k, 1)
        + "\n"
        + &table("weights: 4 × 4 again", &TOY, &TOY, &wrong.weights, 3))
}

/// Every single number that the prose quotes.
///
/// # Errors
/// When the model's slices or a recording cannot be read.
pub fn facts() -> Result<String> {
    let mut text = String::new();
    let mut fact = |key: &str, value: String| writeln!(text, "{key}: {value}");
    let measured = Measurements::read()?;

    let layer = |l: usize, r| measured.mean(Some(l), r, |m| m.share);
    let shares: Vec<f64> = (0..LAYERS).map(|l| layer(l, 128)).collect();
    let ends = |values: &[f64]| {
        (
            values.iter().copied().fold(f64::MAX, f64::min),
            values.iter().copied().fold(f64::MIN, f64::max),
        )
    };
    let (least, most) = ends(&shares);
    fact("share_least", format!("{least:.2}"))?;
    fact("share_most", format!("{most:.2}"))?;
    let (least, most) = measured.ends(128, |m| m.share);
    fact("share_least_head", format!("{least:.2}"))?;
    fact("share_most_head", format!("{most:.2}"))?;
    fact("share_noise", format!("{:.2}", share(&squares_of_noise(1.0), 128)))?;
    for (name, deviation) in [("small", 0.01), ("large", 10.0)] {
        let squares = squares_of_noise(deviation);
        fact(&format!("noise_{name}"), format!("{:.2}", share(&squares, 128)))?;
        fact(&format!("noise_{name}_first"), format!("{:.2}", share(&squares, 1)))?;
    }
    let [own, random] = experiments::largest_weights(128)?;
    fact("largest_weight", format!("{own:.2}"))?;
    fact("largest_weight_random", format!("{random:.2}"))?;
    fact("share_even", format!("{:.2}", 128.0 / TOKENS as f64))?;
    for l in [0, 1, 5] {
        fact(&format!("share_1_layer_{l}"), format!("{:.2}", layer(l, 1)))?;
        let best = measured.mean(Some(l), 128, |m| m.best_map);
        fact(&format!("best_map_layer_{l}"), format!("{best:.2}"))?;
    }
    for r in [32, 128, 256] {
        let mean = |value| format!("{:.2}", measured.mean(None, r, value));
        fact(&format!("best_map_{r}"), mean(|m| m.best_map))?;
        fact(&format!("pooled_map_{r}"), mean(|m| m.pooled_map))?;
        fact(&format!("random_map_{r}"), mean(|m| m.random_map))?;
        fact(&format!("best_{r}"), mean(|m| m.best))?;
        fact(&format!("pooled_{r}"), mean(|m| m.pooled))?;
        fact(&format!("random_{r}"), mean(|m| m.random))?;
    }
    fact("random_512", format!("{:.2}", measured.mean(None, 512, |m| m.random)))?;
    let expected = ((TOKENS + 1) as f64 / 128.0).sqrt();
    fact("random_map_expected", format!("{expected:.2}"))?;

    for (name, epsilon) in [("half", 0.5), ("tenth", 0.1)] {
        let r = theorem_r(TOKENS, epsilon).round() as u64;
        fact(&format!("theorem_{name}"), grouped(r))?;
        let from = experiments::theorem_says_something_from(epsilon)?;
        fact(&format!("theorem_from_{name}"), grouped(from as u64))?;
    }
    let mut errors = Vec::new();
    for l in 0..LAYERS {
        errors.extend(experiments::theorem_errors(l, 250)?);
    }
    errors.sort_by(f64::total_cmp);
    let kept = errors.iter().filter(|error| **error <= 0.5).count();
    fact("theorem_columns", grouped(errors.len() as u64))?;
    fact(
        "theorem_kept",
        format!("{:.0} %", 100.0 * kept as f64 / errors.len() as f64),
    )?;
    fact("theorem_median", format!("{:.1}", errors[errors.len() / 2]))?;

    let long: u64 = 65_536;
    fact("pairs_long", grouped(long * long))?;
    fact("gib_long", ((long * long * 4) >> 30).to_string())?;
    let headwise = Sharing::Headwise.matrices(12, 12) * BENCH_K;
    fact("headwise_long", format!("{:.0}", (headwise * 65_536) as f64 / 1e6))?;
    fact("unshared", Sharing::None.matrices(12, 12).to_string())?;

    let future = |causal| -> Result<usize> {
        let moved = experiments::leak(causal)?;
        let pairs = (0..LEAK.0).flat_map(|i| (i + 1..LEAK.0).map(move |j| (i, j)));
        Ok(pairs.filter(|&(i, j)| moved[(i, j)] > 0.0).count())
    };
    fact("future_pairs", (LEAK.0 * (LEAK.0 - 1) / 2).to_string())?;
    fact("leaks_attention", future(Causal::Attention)?.to_string())?;
    fact("leaks_dense", future(Causal::Dense)?.to_string())?;
    fact("leaks_own_stretch", future(Causal::OwnStretch)?.to_string())?;
    fact("leaks_past_stretches", future(Causal::PastStretches)?.to_string())?;

    timed_facts(&mut fact)?;
    Ok(text)
}

/// The numbers that come from the recording.
fn timed_facts(fact: &mut impl FnMut(&str, String) -> std::fmt::Result) -> Result<()> {
    let recorded = experiments::recorded()?;
    let attention = recorded.milliseconds("attention", 8192)?;
    let linformer = recorded.milliseconds("linformer", 8192)?;
    fact("attention_8192", format!("{attention:.0}"))?;
    fact("linformer_8192", format!("{linformer:.0}"))?;
    fact("faster_8192", format!("{:.0}", attention / linformer))?;
    let shorter = recorded.milliseconds("attention", 2048)?;
    fact("grown_8192", format!("{:.0}", attention / shorter))?;
    let (d, r) = (BENCH_HEAD_DIM as u64, BENCH_K as u64);
    let fewer = experiments::attention_multiply_adds(8192, d)
        / experiments::linformer_multiply_adds(8192, r, d);
    fact("fewer_8192", fewer.to_string())?;
    let crossing = experiments::crossing(&recorded)?;
    fact("crossing", format!("{:.0}", (crossing / 10.0).round() * 10.0))?;
    let per_token = |n: usize| -> Result<String> {
        Ok(format!("{:.1}", 1e3 * recorded.milliseconds("linformer", n)? / n as f64))
    };
    fact("per_token_1024", per_token(1024)?)?;
    fact("per_token_8192", per_token(8192)?)?;
    fact("per_token_32768", per_token(32_768)?)?;
    for n in [1024, 32_768] {
        let share = 1e3 * recorded.milliseconds("condense", n)? / n as f64;
        fact(&format!("condense_per_token_{n}"), format!("{share:.1}"))?;
    }
    Ok(())
}
