//! What the chapter prints: each function is one block of output in the book, and
//! `cargo run -p choosing` shows the first of them.

use crate::calculator::{Question, bytes, variants};
use crate::capstone::{self, VARIANTS, Variant};
use crate::experiments::{self, MODELS, Timed};
use crate::{Mechanism, Model, Setting, touched};
use anyhow::{Context, Result};
use attention::example::grouped as thousands;
use std::fmt::Write;

/// The worked example: Llama-3-8B on one machine, eight sequences, with every mechanism.
///
/// # Errors
/// None that can happen: the names are in the lists.
pub fn worked() -> Result<String> {
    Ok(experiments::question(8)?.table())
}

/// The same for a single sequence.
///
/// # Errors
/// None that can happen: the names are in the lists.
pub fn one_sequence() -> Result<String> {
    Ok(experiments::question(1)?.table())
}

/// One layer of Llama-3-8B with each mechanism.
///
/// # Errors
/// None that can happen: the name is in the list.
pub fn layers() -> Result<String> {
    let model = experiments::model("Llama-3-8B")?;
    let mut text = String::from("            numbers  multiply-adds   weights\n");
    text += "               kept       per pair  millions\n";
    for (name, Model { mechanism, model_dim, .. }) in variants(&model) {
        let weights = mechanism.weights(model_dim) as f64 / 1e6;
        let (kept, pair) = (thousands(mechanism.kept()), thousands(mechanism.pair()));
        writeln!(text, "{name:<11}{kept:>8}{pair:>15}{weights:>10.1}")?;
    }
    Ok(text)
}

/// Numbers that a token leaves in the cache of one layer of Llama-3-8B on each of some
/// devices, with each mechanism.
///
/// # Errors
/// None that can happen: all of these devices divide all heads.
pub fn devices() -> Result<String> {
    let model = experiments::model("Llama-3-8B")?;
    let mut text = String::from("devices         1      2      4      8\n");
    for (name, Model { mechanism, .. }) in variants(&model) {
        write!(text, "{name:<11}")?;
        for devices in [1, 2, 4, 8] {
            write!(text, "{:>6} ", thousands(mechanism.share(devices)?.kept()))?;
        }
        text = text.trim_end().to_owned();
        text.push('\n');
    }
    Ok(text)
}

/// A large model whose layers eight devices divide.
///
/// # Errors
/// None that can happen: the names are in the lists.
pub fn divided() -> Result<String> {
    Ok(experiments::divided_question()?.table())
}

/// How many experts of a layer are read, by batch: `DeepSeek-V3` and `Mixtral-8x7B`.
///
/// # Errors
/// None that can happen: the names are in the list.
pub fn experts() -> Result<String> {
    let mut text = String::from("experts       Mixtral-8x7B  DeepSeek-V3\n");
    let models =
        [experiments::model("Mixtral-8x7B")?, experiments::model("DeepSeek-V3")?];
    let [few, many] = models.map(|model| model.feed_forward);
    writeln!(text, "of a layer    {:>12}{:>13}", few.experts, many.experts)?;
    for batch in [1, 4, 16, 64, 256] {
        let [few, many] = [few, many].map(|f| touched(f.experts, f.chosen, batch));
        writeln!(text, "read for {batch:>3}  {few:>12.1}{many:>13.1}")?;
    }
    Ok(text)
}

/// The small fixed model through every variant.
///
/// # Errors
/// When the model's slices cannot be read.
pub fn capstone() -> Result<String> {
    let mut text = String::from("            numbers      multiply-  step\n");
    text += "            learned kept adds, 10⁶   KiB error\n";
    for variant in VARIANTS {
        let run = variant.run()?;
        let kept = run.kept.map_or("–".into(), |kept| thousands(kept as u64));
        let kib = |bytes: usize| thousands((bytes as f64 / 1024.0).round() as u64);
        let step = run.step_bytes.map_or("–".into(), kib);
        let error =
            if run.error < 1e-5 { "0.00".into() } else { format!("{:.2}", run.error) };
        writeln!(
            text,
            "{:<11}{:>8}{kept:>5}{:>10.0}{step:>6}{error:>6}",
            variant.name(),
            thousands(run.parameters as u64),
            run.multiply_adds as f64 / 1e6,
        )?;
    }
    Ok(text)
}

/// One token over a long cache: what was timed beside what no program can beat.
///
/// # Errors
/// When it was not recorded.
pub fn decode() -> Result<String> {
    let machine = experiments::recorded_machine()?;
    let mut text = String::from("             read,     roof, ms       took\n");
    text += "              MiB  memory   sums    ms   x\n";
    for Timed { name, work, time, .. } in experiments::decoding()? {
        let milliseconds = time.median;
        let reading = work.bytes / machine.bandwidth * 1e3;
        let computing = 2.0 * work.multiply_adds / machine.flops * 1e3;
        let times = milliseconds / (machine.seconds(work) * 1e3);
        writeln!(
            text,
            "{name:<11}{:>6.1}{reading:>8.2}{computing:>7.2}{milliseconds:>6.2}{times:>4.1}",
            work.bytes / 1024.0 / 1024.0
        )?;
    }
    Ok(text)
}

/// A prompt at once, beside what no program can beat.
///
/// # Errors
/// When it was not recorded.
pub fn prompt() -> Result<String> {
    let machine = experiments::recorded_machine()?;
    let mut text = String::from("                 multiply-  roof   took\n");
    text += "                 adds, 10⁹    ms     ms    x\n";
    for Timed { name, work, time, .. } in experiments::prompts()? {
        let milliseconds = time.median;
        let roof = machine.seconds(work) * 1e3;
        let billions = work.multiply_adds / 1e9;
        let (times, took) =
            (milliseconds / roof, thousands(milliseconds.round() as u64));
        writeln!(text, "{name:<17}{billions:>9.1}{roof:>6.0}{took:>7}{times:>5.1}")?;
    }
    Ok(text)
}

/// What current models chose.
///
/// # Errors
/// When one of them cannot be read.
pub fn models() -> Result<String> {
    let mut text = String::from("                         cache per   32,768\n");
    text += "                kv heads     token   tokens\n";
    for (name, _) in MODELS {
        let model = experiments::model(name)?;
        let heads = match model.mechanism {
            Mechanism::Shared { kv_heads, .. } => kv_heads.to_string(),
            Mechanism::Latent { .. } => "latent".to_owned(),
        };
        let token = bytes(2.0 * (model.layers * model.mechanism.kept()) as f64);
        let text_of = bytes(2.0 * model.cache(32_768));
        writeln!(text, "{name:<16}{heads:>7}{token:>10}{text_of:>10}")?;
    }
    Ok(text)
}

/// A cache that is computed from the wrong key of `config.json`: query heads in place of
/// key/value heads, and what `DeepSeek`'s files call key/value heads.
///
/// # Errors
/// When one of them cannot be read.
pub fn misread() -> Result<String> {
    let mut text = String::from("cache per token correct    wrong  times\n");
    for name in ["Llama-2-7B", "Llama-3-8B", "Gemma-2B", "DeepSeek-V3"] {
        let model = experiments::model(name)?;
        let bytes_of =
            |mechanism: Mechanism| 2.0 * (model.layers * mechanism.kept()) as f64;
        let (right, wrong) = (bytes_of(model.mechanism), bytes_of(misread_as(&model)));
        writeln!(
            text,
            "{name:<13}{:>10} {:>8} {:>6.1}",
            bytes(right),
            bytes(wrong),
            wrong / right
        )?;
    }
    Ok(text)
}

/// The mechanism as if every query head had a key and a value of its own.
fn misread_as(model: &Model) -> Mechanism {
    let all = variants(model);
    all.iter()
        .map(|(_, model)| model.mechanism)
        .max_by_key(|m| m.kept())
        .unwrap_or(model.mechanism)
}

/// The numbers that the prose quotes.
///
/// # Errors
/// When a model or a recording cannot be read.
pub fn facts() -> Result<String> {
    let mut text = String::new();
    let mut fact = |key: &str, value: String| writeln!(text, "{key}: {value}");
    let one = experiments::question(1)?;
    count_facts(&one, &mut fact)?;
    speed_facts(&mut fact)?;
    saving_facts(&one, &mut fact)?;
    balance_facts(&one, &mut fact)?;
    full_facts(&one, &mut fact)?;
    device_facts(&one.model, &mut fact)?;
    capstone_facts(&mut fact)?;
    timed_facts(&mut fact)?;
    Ok(text)
}

/// Models and the machine by themselves.
fn count_facts(
    one: &Question,
    fact: &mut impl FnMut(&str, String) -> std::fmt::Result,
) -> Result<()> {
    let Question { model, machine, .. } = one;
    fact("llama_parameters", format!("{:.2} billion", model.parameters() / 1e9))?;
    fact("llama_gb", format!("{:.1} GB", 2.0 * model.parameters() / 1e9))?;
    fact("llama_exact", thousands(model.parameters() as u64))?;
    let deepseek = experiments::model("DeepSeek-V3")?;
    fact("deepseek_exact", thousands(deepseek.parameters() as u64))?;
    let gemma = experiments::model("Gemma-3-27B")?;
    let without = Model { window: None, ..gemma.clone() };
    let share = gemma.cache(32_768) / without.cache(32_768);
    fact("gemma_share", format!("{:.0} %", 100.0 * share))?;
    fact("gemma_without", bytes(2.0 * without.cache(32_768)))?;
    let bandwidth = thousands((machine.bandwidth / 1e9).round() as u64);
    fact("h100_bandwidth", format!("{bandwidth} GB/s"))?;
    fact("h100_flops", format!("{:.0} · 10¹²", machine.flops / 1e12))?;
    fact("gib", format!("{:.1} GiB", machine.memory / 1024.0_f64.powi(3)))?;
    fact("ridge", format!("{:.0}", machine.flops / 2.0 / machine.bandwidth))?;
    Ok(())
}

/// What the tables for one and for eight readers say.
fn speed_facts(fact: &mut impl FnMut(&str, String) -> std::fmt::Result) -> Result<()> {
    for batch in [1, 8] {
        let rows = experiments::question(batch)?.rows();
        for row in &rows {
            let name = key(&row.mechanism);
            let speed = thousands(row.tokens_per_second.round() as u64);
            fact(&format!("{name}_speed_{batch}"), speed)?;
            if batch == 1 {
                fact(&format!("{name}_token"), bytes(row.cache_bytes_per_token))?;
                fact(&format!("{name}_sequence"), bytes(row.cache_bytes_per_sequence))?;
                let fit =
                    row.sequences_that_fit.map_or("any".into(), |n| n.to_string());
                fact(&format!("{name}_fit"), fit)?;
            }
        }
        let gain = |from: &str| -> Result<String> {
            let of = |name: &str| rows.iter().find(|row| row.mechanism == name);
            let (from, to) = of(from).zip(of("multi-query")).context("no such row")?;
            Ok(format!("{:.1}", to.tokens_per_second / from.tokens_per_second))
        };
        fact(&format!("gain_{batch}"), gain("multi-head")?)?;
        if batch == 1 {
            fact("gain_own", gain("8 kv heads")?)?;
        }
    }
    Ok(())
}

/// What a step for one reader reads less with other mechanisms: of the cache, and of
/// projections.
fn saving_facts(
    one: &Question,
    fact: &mut impl FnMut(&str, String) -> std::fmt::Result,
) -> Result<()> {
    let Question { model, setting, .. } = one;
    let mut saved = |name: &str, cache: &str, weights: &str| -> Result<()> {
        let other = variants(model).into_iter().find(|(known, _)| known == name);
        let (_, other) = other.with_context(|| format!("no variant {name}"))?;
        let caches = model.cache(setting.context) - other.cache(setting.context);
        fact(cache, format!("{:.2} GB", 2.0 * caches / 1e9))?;
        let fewer = (model.parameters() - other.parameters()).abs();
        fact(weights, format!("{:.2} GB", 2.0 * fewer / 1e9))?;
        Ok(())
    };
    saved("multi-query", "multi_query_less_cache", "multi_query_less_weights")?;
    saved("latent 512", "latent_less_cache", "latent_more_weights")
}

/// Where weights and caches weigh the same in a step.
fn balance_facts(
    one: &Question,
    fact: &mut impl FnMut(&str, String) -> std::fmt::Result,
) -> Result<()> {
    let Question { model, setting, .. } = one;
    let cache = 2.0 * model.cache(setting.context);
    let step = model.step(setting);
    let weights = step.bytes - cache;
    fact("weights_read", format!("{:.1} GB", weights / 1e9))?;
    let even = weights / cache;
    fact("even_batch", format!("{even:.0}"))?;
    let tokens = (even * setting.context as f64 / 1000.0).round() as u64 * 1000;
    fact("even_tokens", thousands(tokens))?;
    fact("cache_share_1", format!("{:.0} %", 100.0 * cache / step.bytes))?;
    Ok(())
}

/// What memory full of sequences makes, and what a prompt takes.
fn full_facts(
    one: &Question,
    fact: &mut impl FnMut(&str, String) -> std::fmt::Result,
) -> Result<()> {
    let Question { model, machine, setting, .. } = one;
    let full = machine.sequences(model, setting).unwrap_or(1);
    fact("full_batch", full.to_string())?;
    let rows = experiments::question(full)?.rows();
    let own = rows.into_iter().find(|row| row.own).context("no row of its own")?;
    fact("full_speed", thousands(own.tokens_per_second.round() as u64))?;
    fact("full_limit", own.limited_by.to_owned())?;
    let eight_bits = Setting { cache_bytes: 1.0, ..*setting };
    let fit = machine.sequences(model, &eight_bits).unwrap_or(0);
    fact("fit_in_8_bits", fit.to_string())?;
    fact("prefill_seconds", {
        let ms = 2.0 * model.prefill(setting.context) / machine.flops * 1e3;
        format!("{ms:.0} ms")
    })?;
    Ok(())
}

/// What each of several devices keeps: numbers of one layer of Llama-3-8B, and of Llama-3.1-70B
/// as a whole.
fn device_facts(
    model: &Model,
    fact: &mut impl FnMut(&str, String) -> std::fmt::Result,
) -> Result<()> {
    for (name, Model { mechanism, .. }) in variants(model) {
        let kept = mechanism.share(experiments::DEVICES)?.kept();
        fact(&format!("device_{}", key(&name)), thousands(kept))?;
    }
    for row in experiments::divided_question()?.rows() {
        let name = key(&row.mechanism);
        let fit = row.sequences_that_fit.unwrap_or(0);
        fact(&format!("divided_{name}_fit"), thousands(fit))?;
        fact(&format!("divided_{name}_token"), bytes(row.cache_bytes_per_token))?;
    }
    Ok(())
}

/// A mechanism's name as part of a fact's: `8 kv heads` is `kv_heads`.
fn key(name: &str) -> String {
    let name = name.replace([' ', '-'], "_");
    name.trim_start_matches(char::is_numeric).trim_matches('_').to_owned()
}

fn capstone_facts(
    fact: &mut impl FnMut(&str, String) -> std::fmt::Result,
) -> Result<()> {
    let error = |variant: Variant| variant.run().map(|run| format!("{:.2}", run.error));
    fact("error_6", error(Variant::GroupedQuery { kv_heads: 6 })?)?;
    fact("error_3", error(Variant::GroupedQuery { kv_heads: 3 })?)?;
    fact("error_1", error(Variant::MultiQuery)?)?;
    for kv_heads in [6, 3, 1] {
        let aligned = error(Variant::Aligned { kv_heads })?;
        fact(&format!("error_{kv_heads}_aligned"), aligned)?;
    }
    fact("error_latent_256", error(Variant::Latent { rank: 256 })?)?;
    fact("error_latent_128", error(Variant::Latent { rank: 128 })?)?;
    fact("error_k_256", error(Variant::Linformer { k: 256 })?)?;
    fact("error_k_128", error(Variant::Linformer { k: 128 })?)?;
    fact("error_rotary", error(Variant::Rotary)?)?;
    let own = Variant::MultiHead.parameters();
    let linformer = Variant::Linformer { k: 256 }.parameters();
    fact(
        "linformer_more",
        format!("{:.0} %", 100.0 * (linformer as f64 / own as f64 - 1.0)),
    )?;
    let kept = |k: usize| 2 * capstone::HEADS * 32 * k / capstone::TOKENS;
    fact("k_256_a_token", kept(256).to_string())?;
    let whole = Variant::Latent { rank: capstone::MODEL_DIM };
    fact("error_latent_384", format!("{:.2}", whole.run()?.error))?;
    Ok(())
}

fn timed_facts(fact: &mut impl FnMut(&str, String) -> std::fmt::Result) -> Result<()> {
    let machine = experiments::recorded_machine()?;
    fact("bandwidth", format!("{:.0} GB/s", machine.bandwidth / 1e9))?;
    fact("gflops", format!("{:.0}", machine.flops / 1e9))?;
    fact("machine_ridge", format!("{:.1}", machine.flops / 2.0 / machine.bandwidth))?;
    let over = |t: &Timed| t.time.median / (machine.seconds(t.work) * 1e3);
    let decoding = experiments::decoding()?;
    let prompts = experiments::prompts()?;
    for timed in decoding.iter().chain(&prompts) {
        let key = timed.case.replace("decode_", "d_").replace("prompt_", "p_");
        fact(&format!("{key}_over"), format!("{:.1}", over(timed)))?;
    }
    if let Some(latent) = decoding.iter().find(|timed| timed.name == "latent") {
        fact(
            "latent_weights_mib",
            format!("{:.0} MiB", experiments::ABSORBING * 4.0 / 1024.0 / 1024.0),
        )?;
        let reading = latent.work.bytes / machine.bandwidth;
        let over = machine.seconds(latent.work) / reading;
        fact("latent_sums_over_reading", format!("{over:.1}"))?;
    }
    Ok(())
}
