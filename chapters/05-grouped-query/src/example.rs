//! What the chapter prints: each function is one block of output in the book, and
//! `cargo run -p grouped-query` shows the first of them and the errors of conversion.

use crate::experiments::{self, Aligned, HEADS, KV_HEADS, LAYERS, Llama, METHODS};
use crate::{GroupedQueryAttention, Groups, Pool, Pooling};
use anyhow::{Context, Result};
use attention::example::grouped as thousands;
use attention::{Linear, Mask, attend};
use minilm::models;
use multi_head::Projected;
use multi_query::alignment::{Freedom, turn_heads, turns};
use nalgebra::{DMatrix, dmatrix};
use std::fmt::Write;

const TOY: [&str; 3] = ["sun", "moon", "both"];

/// Three tokens of two features, four query heads of width 1 and two key/value heads, in
/// integers: small enough for pen and paper.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn toy() -> Result<(DMatrix<f32>, GroupedQueryAttention)> {
    let x = dmatrix![1.0, 0.0; 0.0, 1.0; 1.0, 1.0];
    let plain = |weight| Linear::new(weight, None);
    let q_proj = plain(dmatrix![1.0, 0.0, 2.0, 0.0; 0.0, 1.0, 0.0, 2.0])?;
    let k_proj = plain(dmatrix![1.0, 0.0; 2.0, 1.0])?;
    let v_proj = plain(dmatrix![10.0, 20.0; 30.0, 40.0])?;
    let o_proj = plain(dmatrix![1.0, 0.0; 1.0, 0.0; 0.0, 1.0; 0.0, 1.0])?;
    Ok((x, GroupedQueryAttention::new(q_proj, k_proj, v_proj, o_proj, 4, 2)?))
}

/// The worked example: the intermediates of one small forward pass.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn three_tokens() -> Result<String> {
    let (x, layer) = toy()?;
    let Projected { q, k, v } = layer.project(&x, &x)?;
    let context = experiments::heads_of(&layer, &x)?.found;
    let attended = layer.forward(&x, &Mask::None)?;
    let learned = [
        ("W_Q: four heads of width 1", &layer.q_proj),
        ("W_K: two heads", &layer.k_proj),
        ("W_V: two heads", &layer.v_proj),
        ("W_O", &layer.o_proj),
    ];
    let learned = learned.map(|(title, map)| table(title, &[""; 4], map.weight(), 0));
    let steps = [
        ("x: three tokens, two features", &x, 0),
        ("q = x W_Q: one column per head", &q, 0),
        ("k = x W_K: one column per group", &k, 0),
        ("v = x W_V: one column per group", &v, 0),
    ];
    let steps = steps.map(|(title, m, digits)| table(title, &TOY, m, digits));
    let mut text = [&learned[..], &steps[..]].concat().join("\n");
    text += "\nwhere `sun` looks, by head\n            sun    moon    both\n";
    for (h, weights) in attended.weights.iter().enumerate() {
        let g = layer.groups.kv_head(h);
        let row = weights.row(0);
        writeln!(text, "  {h} → {g} {:>7.3} {:>7.3} {:>7.3}", row[0], row[1], row[2])?;
    }
    text += "\n";
    text += &table("heads side by side", &TOY, &context, 2);
    text += "\n";
    text += &table("output = heads W_O", &TOY, &attended.output, 2);
    Ok(text)
}

/// One row of weights of four heads, pooled into two groups.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn pooled() -> Result<String> {
    let heads = dmatrix![1.0, 3.0, 5.0, 9.0; 2.0, 2.0, 0.0, 4.0];
    let linear = Linear::new(heads.clone(), None)?;
    let mut text = table("k_proj: four heads of width 1", &["", ""], &heads, 0);
    for (name, pooling) in [("mean", Pooling::Mean), ("first", Pooling::First)] {
        let pooled =
            Pool::new(Groups::new(4, 2)?, pooling).linear("k_proj", &linear)?;
        text += "\n";
        text += &table(&format!("{name}: two heads"), &["", ""], pooled.weight(), 0);
    }
    Ok(text)
}

/// Which key/value head eight query heads ask, right and wrong.
///
/// # Errors
/// When a `String` cannot be written to.
pub fn partners() -> Result<String> {
    let groups = Groups::new(8, 2)?;
    let mut text = String::from("query head   h / 4   h % 2\n");
    for h in 0..groups.heads() {
        let (right, wrong) = (groups.kv_head(h), experiments::interleaved(h, groups));
        let mark = if right == wrong { "" } else { "  wrong" };
        writeln!(text, "{h:>10} {right:>7} {wrong:>7}{mark}")?;
    }
    Ok(text)
}

/// The toy with the interleaved assignment, and what hides it.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn interleaved() -> Result<String> {
    let (x, layer) = toy()?;
    let Projected { q, k, v } = layer.project(&x, &x)?;
    let right = experiments::heads_of(&layer, &x)?.found;
    let mut wrong = right.clone();
    for h in 0..4 {
        let g = experiments::interleaved(h, layer.groups);
        let found =
            attend(q.columns(h, 1), k.columns(g, 1), v.columns(g, 1), &Mask::None)?;
        wrong.columns_mut(h, 1).copy_from(&found.output);
    }
    let mut text = table("heads side by side, correct", &TOY, &right, 2);
    text += "\n";
    text += &table("heads side by side, h % 2", &TOY, &wrong, 2);
    Ok(text)
}

/// What the interleaved assignment costs on layer 5 of MiniLM, for each number of groups.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn interleaved_errors() -> Result<String> {
    let mut text = String::from("kv heads  wrong partners   error\n");
    for kv_heads in KV_HEADS {
        let wrong = experiments::wrong_partners(Groups::new(HEADS, kv_heads)?);
        let error = experiments::interleaved_error(kv_heads)?;
        writeln!(text, "{kv_heads:>8} {:>12} {error:>10.2}", format!("{wrong} of 12"))?;
    }
    Ok(text)
}

/// The error of converting layer 5 of MiniLM, by method and number of groups.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn errors() -> Result<String> {
    let mut text = String::from("kv heads     mean   first  random\n");
    for kv_heads in &KV_HEADS[1..] {
        write!(text, "{kv_heads:>8}  ")?;
        for (_, pooling) in METHODS {
            let error = experiments::conversion_error(5, *kv_heads, pooling)?;
            write!(text, " {error:>7.2}")?;
        }
        text.push('\n');
    }
    Ok(text)
}

/// One head in two bases: its mean with itself, before and after the second is turned back.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn two_bases() -> Result<String> {
    let heads = dmatrix![3.0, 1.0, 1.0, -3.0; 0.0, 2.0, 2.0, 0.0; 1.0, 0.0, 0.0, -1.0];
    let mean = |heads| -> Result<DMatrix<f32>> {
        let linear = Linear::new(heads, None)?;
        let mut pool = Pool::new(Groups::new(2, 1)?, Pooling::Mean);
        Ok(pool.linear("k_proj", &linear)?.weight().clone())
    };
    let turns = turns(&heads, 2, Freedom::Any)?;
    // Only how the heads lie to each other counts, so head 0 may stay where it is.
    let back = (&turns[1] * turns[0].transpose()).map(|x| x.round() + 0.0);
    let turns = [DMatrix::identity(2, 2), back];
    let turned = turn_heads(&heads, &turns)?;
    Ok([
        table("W_K: head 0 | head 1", &[""; 3], &heads, 0),
        table("mean as they are", &[""; 3], &mean(heads.clone())?, 1),
        table("R: what head 1 is multiplied with", &[""; 2], &turns[1], 0),
        table("head 0 | head 1 R", &[""; 3], &turned, 0),
        table("mean after turning", &[""; 3], &mean(turned)?, 0),
    ]
    .join("\n"))
}

/// What conversion costs when the heads are turned first, on average over all layers.
///
/// # Errors
/// When the model's slices cannot be read.
pub fn aligned() -> Result<String> {
    let mut text = String::from("          as they  values  and keys  and keys\n");
    text += "kv heads      are  turned  in pairs    freely\n";
    for row in experiments::aligned()? {
        let Aligned { kv_heads, mean, values, pairs, all } = row;
        writeln!(
            text,
            "{kv_heads:>8} {mean:>8.2} {values:>7.2} {pairs:>9.2} {all:>9.2}"
        )?;
    }
    Ok(text)
}

/// Numbers per token and layer on each device, when the cache of a layer of 32 heads is
/// divided.
///
/// # Errors
/// When a `String` cannot be written to.
pub fn devices() -> Result<String> {
    let devices = [1, 2, 4, 8];
    let mut text = String::from("          on each of so many devices\nkv heads");
    for count in devices {
        write!(text, " {count:>6}")?;
    }
    text.push('\n');
    for kv_heads in [32, 8, 4, 1] {
        write!(text, "{kv_heads:>8}")?;
        for count in devices {
            let numbers = experiments::per_device(kv_heads, Llama::HEAD_DIM, count);
            write!(text, " {:>6}", thousands(numbers as u64))?;
        }
        text.push('\n');
    }
    Ok(text)
}

/// The error when only keys or only values are pooled.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn keys_or_values() -> Result<String> {
    let mut text = String::from("kv heads    keys  values    both\n");
    for &kv_heads in &KV_HEADS[1..] {
        let [keys, values] = experiments::keys_or_values(kv_heads)?;
        let both = experiments::conversion_error(5, kv_heads, Pooling::Mean)?;
        writeln!(text, "{kv_heads:>8} {keys:>7.2} {values:>7.2} {both:>7.2}")?;
    }
    Ok(text)
}

/// Three heads of a model that was trained with groups, over the keys that they share.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn shared_keys() -> Result<String> {
    let (tokens, heads) = experiments::trained_in_groups()?;
    let it = tokens.iter().position(|token| token == "it").context("no `it`")?;
    let mut text = String::from("`it` looks at    head 6  head 7  head 8\n");
    for (key, token) in tokens.iter().enumerate().take(it + 1) {
        let [six, seven, eight] = [6, 7, 8].map(|head| heads.weights[head][(it, key)]);
        writeln!(text, "  {token:<14} {six:>6.2} {seven:>7.2} {eight:>7.2}")?;
    }
    Ok(text)
}

/// The errors of two mistaken conversions of layer 5 beside the correct one.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn mispooled() -> Result<String> {
    let mut text = String::from("kv heads correct   q too   turns\n");
    for kv_heads in KV_HEADS {
        let right = experiments::conversion_error(5, kv_heads, Pooling::Mean)?;
        let [queries, turns] = experiments::mispooled(kv_heads)?;
        writeln!(text, "{kv_heads:>8} {right:>7.2} {queries:>7.2} {turns:>7.2}")?;
    }
    Ok(text)
}

/// Parameters and cache of a layer of 32 heads, for each number of groups.
///
/// # Errors
/// When a `String` cannot be written to.
pub fn cost() -> Result<String> {
    let mut text = String::from("kv heads  parameters  cache, bytes\n");
    for kv_heads in [32, 16, 8, 4, 2, 1] {
        let parameters = thousands(Llama::parameters(kv_heads) as u64);
        let bytes = thousands(Llama::cache_bytes(kv_heads) as u64);
        writeln!(text, "{kv_heads:>8} {parameters:>11} {bytes:>13}")?;
    }
    Ok(text)
}

/// The caches of real models whose heads share, at two bytes per number.
///
/// # Errors
/// When the list of models cannot be read.
pub fn models() -> Result<String> {
    let mut text = String::from("               heads/   KiB   full\n");
    text += "model             kv  token    GiB\n";
    let shared = models::all()?.into_iter().filter(|model| !model.is_multi_head());
    for model in shared {
        let heads = format!("{}/{}", model.heads, model.kv_heads);
        let kib = model.cache_bytes_per_token(2) as f64 / 1024.0;
        let gib = model.cache_bytes(model.context, 2) as f64 / 1024_f64.powi(3);
        writeln!(text, "{:<14} {heads:>6} {kib:>5} {gib:>6.2}", model.name)?;
    }
    Ok(text)
}

/// The time of one token over 8,192 cached ones, as the benchmark recorded it.
///
/// # Errors
/// When the recording does not hold it.
pub fn decode() -> Result<String> {
    let recorded = experiments::recorded()?;
    let most = recorded.milliseconds("stacked", 32)?;
    let mut text = String::from("kv heads       ms   to 32   cache   a sum, ms\n");
    for (kv_heads, ms) in recorded.points("stacked") {
        let (ratio, cache) = (ms / most, kv_heads as f64 / 32.0);
        let sum = recorded.milliseconds("read", kv_heads)?;
        writeln!(
            text,
            "{kv_heads:>8} {ms:>8.2} {ratio:>7.2} {cache:>7.2} {sum:>11.2}"
        )?;
    }
    Ok(text)
}

/// Every single number that the prose quotes.
///
/// # Errors
/// When the model's slice or the recording cannot be read.
pub fn facts() -> Result<String> {
    let mut text = String::new();
    let mut fact = |key: &str, value: String| writeln!(text, "{key}: {value}");
    let error = |layer, kv_heads, pooling| {
        experiments::conversion_error(layer, kv_heads, pooling)
    };
    for (name, pooling) in METHODS {
        for kv_heads in &KV_HEADS[1..] {
            let value = error(5, *kv_heads, pooling)?;
            fact(&format!("{name}_{kv_heads}"), format!("{value:.2}"))?;
        }
    }
    for (name, pooling) in METHODS {
        let merged = experiments::groups_merged(pooling)?;
        fact(&format!("smollm2_{name}"), format!("{merged:.2}"))?;
    }
    let mut above = 0;
    let (mut best, mut worst) = (f32::MAX, 0.0_f32);
    for layer in 0..LAYERS {
        for kv_heads in &KV_HEADS[1..] {
            let value = error(layer, *kv_heads, Pooling::Mean)?;
            above += usize::from(value > 1.0);
            (best, worst) = (best.min(value), worst.max(value));
        }
    }
    fact("cells", (LAYERS * (KV_HEADS.len() - 1)).to_string())?;
    fact("mean_above_one", above.to_string())?;
    fact("mean_best", format!("{best:.2}"))?;
    fact("mean_worst", format!("{worst:.2}"))?;
    for share in [0.1, 0.2, 0.5] {
        let value = experiments::parted(6, share)?;
        fact(&format!("parted_{:.0}", share * 100.0), format!("{value:.2}"))?;
    }
    for kv_heads in KV_HEADS {
        let weight = experiments::it_animal(kv_heads)?;
        fact(&format!("it_animal_{kv_heads}"), format!("{weight:.2}"))?;
    }
    let layer = minilm::Layer::load(5)?;
    for &kv_heads in &KV_HEADS[1..] {
        let value = experiments::aligned_error(&layer, kv_heads, Freedom::Any)?;
        fact(&format!("aligned_{kv_heads}"), format!("{value:.2}"))?;
    }
    for row in experiments::aligned()? {
        let Aligned { kv_heads, mean, values, pairs, all } = *row;
        for (name, value) in
            [("mean", mean), ("values", values), ("pairs", pairs), ("all", all)]
        {
            fact(&format!("long_{name}_{kv_heads}"), format!("{value:.2}"))?;
        }
    }
    let [before, after] = experiments::cosines()?;
    for (name, cosines) in [("before", before), ("after", after)] {
        let [diagonal, all] = experiments::likeness(&cosines);
        fact(&format!("diagonal_{name}"), format!("{diagonal:.2}"))?;
        fact(&format!("cosine_{name}"), format!("{all:.2}"))?;
    }
    for (name, kv_heads) in [("multi_head", 32), ("8", 8), ("1", 1)] {
        let numbers = experiments::per_device(kv_heads, Llama::HEAD_DIM, 8);
        fact(&format!("device_{name}"), thousands(numbers as u64))?;
    }
    let [keys, values] = experiments::keys_or_values(6)?;
    fact("keys_6", format!("{keys:.2}"))?;
    fact("values_6", format!("{values:.2}"))?;
    fact("interleaved_6", format!("{:.2}", experiments::interleaved_error(6)?))?;
    fact("wrong_6", experiments::wrong_partners(Groups::new(12, 6)?).to_string())?;
    let saved = Llama::parameters(32) - Llama::parameters(8);
    fact("saved_8", thousands(saved as u64))?;
    let share = saved as f64 / Llama::parameters(32) as f64;
    fact("saved_share_8", format!("{:.1} %", 100.0 * share))?;
    let llama = models::find("Llama-3-70B")?;
    fact("llama_heads", llama.heads.to_string())?;
    fact("llama_kv_heads", llama.kv_heads.to_string())?;
    fact("llama_kib", (llama.cache_bytes_per_token(2) / 1024).to_string())?;
    let whole = models::Model { kv_heads: llama.heads, ..llama.clone() };
    let gib = |model: &models::Model| {
        let bytes = model.cache_bytes(model.context, 2) as f64;
        format!("{:.1}", bytes / 1024_f64.powi(3))
    };
    fact("llama_context", thousands(llama.context))?;
    for (family, twin, key) in [
        ("Llama-2-70B", "DeepSeek-67B", "context_llama_2"),
        ("Llama-3-8B", "Gemma-2-9B", "context_llama_3"),
        ("Llama-3.1-405B", "Qwen2.5-7B", "context_llama_31"),
    ] {
        let [one, other] =
            [models::find(family)?, models::find(twin)?].map(|m| m.context);
        anyhow::ensure!(one == other, "{family} and {twin} no longer share a length");
        fact(key, thousands(one))?;
    }
    fact("llama_gib", gib(&llama))?;
    fact("llama_gib_multi_head", gib(&whole))?;

    let recorded = experiments::recorded()?;
    let most = recorded.milliseconds("stacked", 32)?;
    for kv_heads in [32, 8, 2, 1] {
        let ms = recorded.milliseconds("stacked", kv_heads)?;
        fact(&format!("decode_{kv_heads}"), format!("{ms:.1}"))?;
        fact(&format!("ratio_{kv_heads}"), format!("{:.2}", ms / most))?;
        let append = recorded.milliseconds("append", kv_heads)?;
        fact(&format!("append_{kv_heads}"), format!("{append:.2}"))?;
    }
    Ok(text)
}

/// A titled matrix, one row per line: four columns fit a phone.
fn table(title: &str, rows: &[&str], matrix: &DMatrix<f32>, digits: usize) -> String {
    let mut text = format!("{title}\n");
    for (label, row) in rows.iter().zip(matrix.row_iter()) {
        let cells = row.iter().map(|cell| format!("{cell:>7.digits$}"));
        text += &format!("  {label:<4}{}\n", cells.collect::<String>());
    }
    text
}
