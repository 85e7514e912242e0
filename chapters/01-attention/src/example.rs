//! What the chapter prints: each function is one block of output in the book, and
//! `cargo run -p attention` shows the first of them.

use crate::experiments::{self, Cost, Real};
use crate::{Attended, Attention, Linear, Mask, ShapeError};
use crate::{attend, scores, softmax, softmax_by_rows};
use anyhow::Result;
use nalgebra::{DMatrix, RowDVector, dmatrix};
use std::fmt::Write;

const TOY: [&str; 3] = ["sun", "moon", "both"];

/// Three tokens of two features, and a layer with integer weights: small enough for
/// pen and paper.
fn toy() -> Result<(DMatrix<f32>, Attention), ShapeError> {
    let x = dmatrix![1.0, 0.0; 0.0, 1.0; 1.0, 1.0];
    let plain = |weight| Linear::new(weight, None);
    let q_proj = plain(dmatrix![1.0, 0.0, 1.0, 0.0; 0.0, 2.0, 0.0, 2.0])?;
    let k_proj = plain(dmatrix![2.0, 0.0, 2.0, 0.0; 2.0, 1.0, 0.0, 1.0])?;
    let v_proj = plain(dmatrix![10.0, 0.0; 0.0, 10.0])?;
    Ok((x, Attention::new(q_proj, k_proj, v_proj)?))
}

/// Queries, keys and values of the three tokens, as the worked example has them.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn toy_roles() -> Result<[DMatrix<f32>; 3], ShapeError> {
    let (x, layer) = toy()?;
    let [q, k, v] = [&layer.q_proj, &layer.k_proj, &layer.v_proj];
    Ok([q.forward(&x)?, k.forward(&x)?, v.forward(&x)?])
}

/// The worked example: every intermediate of one small forward pass.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn three_tokens() -> Result<String> {
    let (x, layer) = toy()?;
    let [q, k, v] = toy_roles()?;
    let Attended { output, weights } = layer.forward(&x, &Mask::None)?;
    let steps = [
        ("x: three tokens, two features", &x, 0),
        ("q = x W_Q", &q, 0),
        ("k = x W_K", &k, 0),
        ("v = x W_V", &v, 0),
        ("q kᵀ", &(&q * k.transpose()), 0),
        ("scores = q kᵀ / √4", &scores(q.as_view(), k.as_view())?, 0),
        ("weights = softmax of each row", &weights, 3),
        ("output = weights v", &output, 2),
    ];
    let learned = [
        ("W_Q", &layer.q_proj.weight),
        ("W_K", &layer.k_proj.weight),
        ("W_V", &layer.v_proj.weight),
    ];
    let learned = learned.map(|(title, w)| table(title, &["", ""], &[], w, 0));
    let steps = steps.map(|(title, m, digits)| table(title, &TOY, &[], m, digits));
    Ok([&learned[..], &steps[..]].concat().join("\n"))
}

/// The same three tokens when none may look ahead.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn causal() -> Result<String> {
    let (x, layer) = toy()?;
    let attended = layer.forward(&x, &Mask::Causal { offset: 0 })?;
    let weights = table("weights", &TOY, &TOY, &attended.weights, 3);
    Ok(weights + "\n" + &table("output", &TOY, &[], &attended.output, 2))
}

/// The middle query with every key hidden.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn no_keys() -> Result<String> {
    let (x, layer) = toy()?;
    let allowed = DMatrix::from_fn(3, 3, |query, _| query != 1);
    let attended = layer.forward(&x, &Mask::Allowed(allowed))?;
    let weights = table("weights", &TOY, &TOY, &attended.weights, 3);
    Ok(weights + "\n" + &table("output", &TOY, &[], &attended.output, 2))
}

/// A lookup with a query that is nearly a key, asked ever more sharply.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn lookup() -> Result<String> {
    let keys = dmatrix![1.0, 0.0; 0.6, 0.8; 0.0, 1.0];
    let values = dmatrix![10.0; 20.0; 30.0];
    let query = dmatrix![0.1, 0.995];
    let mut text = String::from("dial  east between north  answer\n");
    for dial in [0.0_f32, 1.0, 4.0, 16.0, 64.0] {
        let Attended { output, weights } = attend(
            (&query * dial).as_view(),
            keys.as_view(),
            values.as_view(),
            &Mask::None,
        )?;
        let [a, b, c] = [weights[0], weights[1], weights[2]];
        writeln!(text, "{dial:>4} {a:>5.2} {b:>7.2} {c:>5.2} {:>7.2}", output[0])?;
    }
    Ok(text)
}

/// Softmax of large scores, as they are and with their maximum subtracted first.
///
/// # Errors
/// When a `String` cannot be written to.
pub fn overflow() -> Result<String> {
    let mut text = String::from("    scores       plain  minus max\n");
    for (low, high) in [(0.0_f32, 1.0_f32), (87.0, 88.0), (88.0, 89.0), (9999.0, 1e4)] {
        let exps = [low.exp(), high.exp()];
        let [a, b] = exps.map(|e| e / exps.iter().sum::<f32>());
        let safe = softmax(dmatrix![low, high]);
        let (c, d) = (safe[0], safe[1]);
        writeln!(text, "{low:>4} {high:>5} {a:>6.2} {b:>4.2}  {c:>4.2} {d:>4.2}")?;
    }
    Ok(text)
}

/// The map that the book opens with, for a terminal: darker is more.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn map() -> Result<String> {
    let real = experiments::real()?;
    let shade = |weight: f32| match weight {
        w if w < 0.05 => " ·",
        w if w < 0.15 => "░░",
        w if w < 0.35 => "▒▒",
        w if w < 0.60 => "▓▓",
        _ => "██",
    };
    let mut text =
        String::from("layer 3, head 1 of all-MiniLM-L6-v2: who looks at whom\n");
    let heads = real.tokens.iter().map(|token| token.trim_matches(['[', ']']));
    let heads: String = heads.map(|token| format!(" {token:<2.2}")).collect();
    writeln!(text, "          {}", heads.trim_end())?;
    for (token, row) in real.tokens.iter().zip(real.attended.weights.row_iter()) {
        let cells: String =
            row.iter().map(|weight| format!(" {}", shade(*weight))).collect();
        writeln!(text, "  {token:<8}{}", cells.trim_end())?;
    }
    Ok(text)
}

/// Where `it` looks in layer 3, head 1 of MiniLM: what the book opens with.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn it() -> Result<String> {
    let real = experiments::real()?;
    let row = real.attended.weights.row(real.position("it")?);
    let title = "where `it` looks\n";
    let mut text = String::from(title);
    for (token, weight) in real.tokens.iter().zip(row.iter()) {
        let bar = "█".repeat((weight * 40.0).round() as usize);
        writeln!(text, "{}", format!("  {token:<8} {weight:.2}  {bar}").trim_end())?;
    }
    let (_, best) = row.transpose().argmax();
    let token = &real.tokens[real.position("animal")?];
    writeln!(text, "it → {token} {best:.2}")?;
    Ok(text)
}

/// Where `it` looks when the sentence ends in *too wide*, beside *too tired*.
///
/// # Errors
/// When the model's slices cannot be read.
pub fn wide() -> Result<String> {
    let [tired, wide] = [experiments::real()?, experiments::wide()?];
    let mut text = String::from("`it` looks at   … too tired   … too wide\n");
    for token in ["[CLS]", "animal", "cross", "street"] {
        let [tired, wide] = [weight(&tired, "it", token)?, weight(&wide, "it", token)?];
        writeln!(text, "  {token:<8} {tired:>15.2} {wide:>12.2}")?;
    }
    Ok(text)
}

/// The weight that one token puts on another.
fn weight(real: &Real, from: &str, to: &str) -> Result<f32> {
    Ok(real.attended.weights[(real.position(from)?, real.position(to)?)])
}

/// A sentence shuffled before it enters, and the weights shuffled back afterwards.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn shuffled() -> Result<String> {
    let real = experiments::real()?;
    let n = real.tokens.len();
    let order: Vec<usize> = (0..n).map(|i| (i * 5 + 3) % n).collect();
    let mixed = real.x.select_rows(&order);
    let shuffled = real.head.forward(&mixed, &Mask::None)?;
    let expected = real.attended.output.select_rows(&order);
    let words: Vec<&str> = order.iter().map(|&i| &*real.tokens[i]).collect();
    let place = |token: &str| words.iter().position(|w| *w == token).unwrap_or(0);
    let weight = shuffled.weights[(place("it"), place("animal"))];
    let moved = (&shuffled.output - expected).amax();
    let (first, second) = words.split_at(n / 2);
    Ok(format!(
        "{}\n{}\n\nit → animal in this order: {weight:.2}\n\
         largest change of any output,\nfollowed to its new place: {moved:.5}\n",
        first.join(" "),
        second.join(" "),
    ))
}

/// What attention costs at width 64, from its formulas.
///
/// # Errors
/// When a `String` cannot be written to.
pub fn cost() -> Result<String> {
    let mut text = String::from("tokens    multiply-adds    weights, KiB\n");
    for n in [14, 128, 1024, 8192, 65536] {
        let Cost { multiply_adds, weight_bytes } = experiments::cost(n, n, 64, 64);
        let kib = (weight_bytes as f64 / 1024.0).round() as u64;
        writeln!(text, "{n:>6} {:>16} {:>15}", grouped(multiply_adds), grouped(kib))?;
    }
    Ok(text)
}

/// Four versions of one softmax over 1,024 × 1,024 scores, as the benchmark recorded them.
///
/// # Errors
/// When the recording does not hold them.
pub fn softmax_versions() -> Result<String> {
    let recorded = experiments::recorded()?;
    let plain = recorded.milliseconds("softmax_by_rows", 1024)?;
    let mut text = String::from("version                        ms   speedup\n");
    for (case, words) in experiments::VERSIONS {
        let ms = recorded.milliseconds(case, 1024)?;
        writeln!(text, "{words:<26} {ms:>6.2} {:>8.1}x", plain / ms)?;
    }
    Ok(text)
}

/// The toy's weights with softmax along the wrong axis.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn wrong_axis() -> Result<String> {
    let (x, layer) = toy()?;
    let (q, k) = (layer.q_proj.forward(&x)?, layer.k_proj.forward(&x)?);
    let scores = scores(q.as_view(), k.as_view())?;
    let wrong = softmax_by_rows(scores.transpose()).transpose();
    let same = softmax_by_rows(DMatrix::zeros(3, 3)).transpose();
    Ok(with_sums("softmax down the columns", &wrong)
        + "\n"
        + &with_sums("hidden: equal scores, 3 queries and 3 keys", &same))
}

/// The toy's causal weights when the mask comes after softmax, or hides with a 0.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn late_mask() -> Result<String> {
    let (x, layer) = toy()?;
    let (q, k) = (layer.q_proj.forward(&x)?, layer.k_proj.forward(&x)?);
    let scores = scores(q.as_view(), k.as_view())?;
    let past = DMatrix::from_fn(3, 3, |query, key| f32::from(u8::from(key <= query)));
    let late = softmax(scores.clone()).component_mul(&past);
    let zero = softmax(scores.component_mul(&past));
    Ok(with_sums("weights erased after softmax", &late)
        + "\n"
        + &with_sums("scores set to 0 before softmax", &zero))
}

/// The weight of `it → animal` under four ideas of the scale.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn scales() -> Result<String> {
    let real = experiments::real()?;
    let row = real.position("it")?;
    let animal = real.position("animal")?;
    let (q, k) = real.queries_and_keys()?;
    let raw = &q * k.transpose();
    let d_k = q.ncols() as f32;
    let width = real.x.ncols() as f32;
    let scales = [
        ("none", 1.0),
        ("√d_k = √32", d_k.sqrt()),
        ("√model_dim = √384", width.sqrt()),
        ("d_k = 32", d_k),
    ];
    let mut text = String::from("divided by        it → animal     max / mean\n");
    for (words, divisor) in scales {
        let weights = softmax(&raw / divisor);
        let ratio = weights.row(row).max() * weights.ncols() as f32;
        let weight = weights[(row, animal)];
        writeln!(text, "{words:<17} {weight:>11.2} {ratio:>14.1}")?;
    }
    Ok(text)
}

/// Every single number that the prose quotes.
///
/// # Errors
/// When the model's slice or the recording cannot be read.
pub fn facts() -> Result<String> {
    let real = experiments::real()?;
    let n = real.tokens.len();
    let to_cls = real.attended.weights.column(0);
    let mut text = String::new();
    let mut fact = |key: &str, value: String| writeln!(text, "{key}: {value}");

    fact("tokens", n.to_string())?;
    fact("model_dim", real.x.ncols().to_string())?;
    fact("head_dim", real.head.q_proj.shape().1.to_string())?;
    fact("it_animal", format!("{:.2}", weight(&real, "it", "animal")?))?;
    let wide = experiments::wide()?;
    fact("wide_animal", format!("{:.2}", weight(&wide, "it", "animal")?))?;
    fact("wide_street", format!("{:.2}", weight(&wide, "it", "street")?))?;
    fact("it_street", format!("{:.2}", weight(&real, "it", "street")?))?;
    fact("it_cls", format!("{:.2}", weight(&real, "it", "[CLS]")?))?;
    fact("cross_street", format!("{:.2}", weight(&real, "cross", "street")?))?;
    fact("cls_mean", format!("{:.2}", to_cls.mean()))?;
    let most =
        real.attended.weights.row_iter().filter(|row| row.transpose().argmax().0 == 0);
    fact("cls_most", most.count().to_string())?;
    let heads = experiments::sinks()?;
    fact(
        "cls_least_head",
        format!("{:.2}", heads.iter().copied().fold(1.0, f32::min)),
    )?;
    fact("cls_most_head", format!("{:.2}", heads.iter().copied().fold(0.0, f32::max)))?;
    let parked = heads.iter().filter(|&&weight| weight > 1.0 / 3.0).count();
    fact("cls_heads_above_a_third", parked.to_string())?;
    fact("parameters", grouped(real.head.parameters() as u64))?;

    for d_k in [64, 1024] {
        let sharpness = experiments::sharpness(d_k);
        fact(&format!("variance_{d_k}"), format!("{:.0}", sharpness.variance))?;
        fact(&format!("raw_largest_{d_k}"), format!("{:.2}", sharpness.raw.largest))?;
        fact(&format!("raw_entropy_{d_k}"), format!("{:.2}", sharpness.raw.entropy))?;
        fact(
            &format!("scaled_largest_{d_k}"),
            format!("{:.2}", sharpness.scaled.largest),
        )?;
        fact(
            &format!("scaled_entropy_{d_k}"),
            format!("{:.1}", sharpness.scaled.entropy),
        )?;
    }
    fact("uniform_entropy", format!("{:.2}", (experiments::KEYS as f32).ln()))?;

    let (q, k) = real.queries_and_keys()?;
    let scores = scores(q.as_view(), k.as_view())?;
    let row = scores.rows(real.position("it")?, 1).into_owned();
    let animal = real.position("animal")?;
    fact("it_animal_score", format!("{:.2}", row[animal]))?;
    fact("it_cls_score", format!("{:.2}", row[0]))?;
    let crossing = experiments::factor_for(&row, animal, 0.9);
    fact("factor_for_nine_tenths", format!("{crossing:.2}"))?;

    fact("exp_error", format!("{:.1e}", experiments::worst_exp_error()))?;
    let recorded = experiments::recorded()?;
    let ms = |case: &str, n| recorded.milliseconds(case, n);
    let ratio = |slow: (&str, usize), fast: (&str, usize)| -> Result<String> {
        Ok(format!("{:.1}", ms(slow.0, slow.1)? / ms(fast.0, fast.1)?))
    };
    let [(rows, _), (columns, _), (series, _), (wide, _)] = experiments::VERSIONS;
    fact("columns_speedup_64", ratio((rows, 64), (columns, 64))?)?;
    fact("columns_speedup", ratio((rows, 1024), (columns, 1024))?)?;
    fact("by_rows_1000", format!("{:.0}", ms(rows, 1000)?))?;
    fact("by_rows_1024", format!("{:.0}", ms(rows, 1024)?))?;
    fact("series_speedup", ratio((columns, 1024), (series, 1024))?)?;
    fact("wide_speedup", ratio((series, 1024), (wide, 1024))?)?;
    let share = ms("softmax", 1024)? / ms("attend", 1024)?;
    fact("softmax_share", format!("{:.0} %", 100.0 * share))?;
    fact("doubling_256", ratio(("attend", 512), ("attend", 256))?)?;
    fact("doubling_2048", ratio(("attend", 4096), ("attend", 2048))?)?;
    fact("doubling_softmax", ratio(("softmax", 4096), ("softmax", 2048))?)?;
    Ok(text)
}

/// A titled matrix, one row per line.
#[must_use]
pub fn table(
    title: &str,
    rows: &[&str],
    columns: &[&str],
    matrix: &DMatrix<f32>,
    digits: usize,
) -> String {
    let mut text = format!("{title}\n");
    if !columns.is_empty() {
        let heads: String = columns.iter().map(|c| format!("{c:>8}")).collect();
        text += &format!("      {heads}\n");
    }
    for (label, row) in rows.iter().zip(matrix.row_iter()) {
        // + 0.0 turns a -0.0 into 0.0.
        let cells = row.iter().map(|cell| format!("{:>8.digits$}", cell + 0.0));
        text += &format!("  {label:<4}{}\n", cells.collect::<String>());
    }
    text
}

fn with_sums(title: &str, weights: &DMatrix<f32>) -> String {
    let rows = weights.column_sum();
    let columns: RowDVector<f32> = weights.row_sum();
    let with_rows = weights.clone().insert_column(3, 0.0);
    let mut all = with_rows.insert_row(3, 0.0);
    all.view_mut((0, 3), (3, 1)).copy_from(&rows);
    all.view_mut((3, 0), (1, 3)).copy_from(&columns);
    all[(3, 3)] = weights.sum();
    table(
        title,
        &["sun", "moon", "both", "sum"],
        &["sun", "moon", "both", "sum"],
        &all,
        2,
    )
}

/// 1234567 as 1,234,567.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
