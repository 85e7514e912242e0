//! What the chapter prints: each function is one block of output in the book, and
//! `cargo run -p decoding` shows the first of them.

use crate::experiments::{self, Chunk, Decode, Read, Roofline, SHARED, TIMED, Work};
use crate::{KvCache, decode};
use anyhow::{Context, Result};
use attention::example::grouped;
use minilm::smollm2::Sentence;
use multi_head::Projected;
use nalgebra::DMatrix;
use std::fmt::Write;

const TOY: [&str; 3] = ["sun", "moon", "both"];

/// The worked example: three tokens, one after the other, and the cache after each.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn three_tokens() -> Result<String> {
    let (x, layer) = experiments::toy()?;
    let mut cache = KvCache::new(3, 4, 2);
    let mut text = String::new();
    for (i, name) in TOY.iter().enumerate() {
        let token = experiments::token(&x, i);
        let Projected { q, .. } = layer.project(&token, &token)?;
        let found = decode(&layer, &token, &mut cache)?;
        let gap = if i == 0 { "" } else { "\n" };
        writeln!(text, "{gap}{name} arrives: x = {}", numbers(&token, 0).trim())?;
        writeln!(text, "  its query  {}", numbers(&q, 0))?;
        writeln!(text, "  cache           keys  values")?;
        for (row, name) in TOY.iter().enumerate().take(cache.len()) {
            let keys = numbers(&cache.keys().rows(row, 1).into_owned(), 0);
            let values = numbers(&cache.values().rows(row, 1).into_owned(), 0);
            writeln!(text, "    {name:<4} {keys:>11}  {values:>6}")?;
        }
        writeln!(text, "  weights    {}", numbers(&found.weights[0], 3))?;
        writeln!(text, "  output     {}", numbers(&found.output, 2))?;
    }
    Ok(text)
}

/// One row.
fn numbers(row: &DMatrix<f32>, digits: usize) -> String {
    let cells: Vec<_> = row.iter().map(|cell| format!("{cell:.digits$}")).collect();
    cells.join(" ")
}

/// MiniLM's layer 3 through a cache, in four ways, against one causal pass.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn splits() -> Result<String> {
    let tokens = experiments::real_layer()?.0.tokens.len();
    let mut text = String::from("at once  one by one   difference\n");
    for prompt in [0, 1, tokens / 2, tokens] {
        let off = experiments::distance_from_causal(prompt)?;
        writeln!(text, "{prompt:>7} {:>11} {off:>12.4}", tokens - prompt)?;
    }
    Ok(text)
}

/// A head of a decoder on two sentences that differ in one word: where each token looks
/// most, and how far the cached rows of the two are apart.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn twins() -> Result<String> {
    let [tired, wide] = [Sentence::Tired, Sentence::Wide].map(experiments::read);
    let (tired, wide) = (tired?, wide?);
    let apart = experiments::apart(&tired, &wide);
    let mut text = String::from("           too tired:     too wide:\n");
    text += "token      looks at       looks at       apart\n";
    for (token, apart) in apart.iter().enumerate() {
        let [one, other] = [&tired, &wide].map(|read| read.tokens[token].as_str());
        let name = if one == other { one.into() } else { format!("{one}/{other}") };
        let [one, other] = [&tired, &wide].map(|read| looks_at(read, token));
        writeln!(text, "{name:<10} {one}  {other} {apart:>6.2}")?;
    }
    Ok(text)
}

/// Where a token looks most.
fn looks_at(read: &Read, token: usize) -> String {
    let weights = &read.weights[token];
    let most = weights.iamax_full().1;
    format!("{:<8} {:.2}", read.tokens[most], weights[most])
}

/// What the m-th token costs with and without a cache: counted, and as recorded.
///
/// # Errors
/// When the recording does not hold it.
pub fn per_token() -> Result<String> {
    let recorded = experiments::recorded()?;
    let (d, _) = TIMED;
    let mut text = String::from("          multiply-adds    time, ms\n");
    text += "   m     all m  the last  all  last\n";
    for m in [64, 512, 2048] {
        let (all, one) = (Work::of(m, m, d as u64), Work::of(1, m, d as u64));
        let ms = |case| recorded.milliseconds(case, m as usize);
        let (slow, fast) = (ms("whole")?, ms("alone")?);
        let million = |work: Work| work.total() as f64 / 1e6;
        writeln!(
            text,
            "{m:>4} {:>7.0} M {:>7.1} M {slow:>4.0} {fast:>5.2}",
            million(all),
            million(one)
        )?;
    }
    Ok(text)
}

/// Chunks of a layer against what the machine can do.
///
/// # Errors
/// When the recording does not hold them.
pub fn roofline() -> Result<String> {
    let roofline = Roofline::recorded()?;
    let mut text = String::from("tokens  per byte  reached  possible\n");
    for Chunk { tokens, operations_per_byte: per_byte, rate } in &roofline.chunks {
        let (rate, roof) = (rate.median / 1e9, roofline.roof(*per_byte) / 1e9);
        writeln!(text, "{tokens:>6} {per_byte:>9.1} {rate:>8.1} {roof:>9.1}")?;
    }
    Ok(text)
}

/// Caches of real models whose heads share nothing.
///
/// # Errors
/// When the models cannot be read.
pub fn models() -> Result<String> {
    let mut text = String::from("model        KiB/token tokens   GiB\n");
    for model in experiments::multi_head_models()? {
        let token = model.cache_bytes_per_token(2) as f64 / 1024.0;
        let full = model.cache_bytes(model.context, 2) as f64 / f64::from(1 << 30);
        let (name, context) = (&model.name, grouped(model.context));
        writeln!(text, "{name:<12} {token:>9.0} {context:>6} {full:>5.2}")?;
    }
    Ok(text)
}

/// One query over a cache: by `attend`, by products of nalgebra that copy nothing, and by
/// `attend_few`, with how much faster it is than the second.
///
/// # Errors
/// When the recording does not hold them.
pub fn versions() -> Result<String> {
    let recorded = experiments::recorded()?;
    let mut text = String::from("               milliseconds\n");
    text += "cached  attend  K qᵀ, Vᵀ a  attend_few  faster\n";
    for n in [1024, 8192] {
        let ms = |case| recorded.milliseconds(case, n);
        let (plain, columns, few) =
            (ms("attend")?, ms("by_columns")?, ms("attend_few")?);
        let (name, times) = (grouped(n as u64), columns / few);
        writeln!(
            text,
            "{name:>6} {plain:>7.2} {columns:>11.3} {few:>11.3} {times:>6.1}x"
        )?;
    }
    Ok(text)
}

/// One token of 32 query heads over 8,192 cached tokens, when heads share their keys.
///
/// # Errors
/// When the recording does not hold them.
pub fn shared() -> Result<String> {
    let recorded = experiments::recorded()?;
    let most = recorded.milliseconds("kv_heads", SHARED[0])?;
    let mut text = String::from("heads with keys    MiB    ms  share\n");
    for kv_heads in SHARED {
        let mib = 2 * 8192 * kv_heads * 128 * 4 / (1 << 20);
        let ms = recorded.milliseconds("kv_heads", kv_heads)?;
        writeln!(text, "{kv_heads:>15} {mib:>6} {ms:>5.1} {:>6.2}", ms / most)?;
    }
    Ok(text)
}

/// The mistake of an offset that stays 0, where it shows and where it hides.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn top_left() -> Result<String> {
    let wrong = experiments::offset_forgotten;
    Ok(beside("shows: 1 token, then 2", &[1, 2], wrong)?
        + "\n"
        + &beside("shows: one by one", &[1, 1, 1], wrong)?
        + "\n"
        + &beside("hides: all 3 at once", &[3], wrong)?)
}

/// The mistake of a key that comes too late, where it shows and where it hides.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn late_append() -> Result<String> {
    let wrong = experiments::appended_late;
    let (x, layer) = experiments::toy()?;
    let same = DMatrix::from_fn(3, 2, |_, column| x[(2, column)]);
    let found = experiments::in_chunks(&layer, &same, &[1, 1, 1], wrong)?;
    let expected =
        experiments::in_chunks(&layer, &same, &[1, 1, 1], experiments::right)?;
    let hidden = rows("hides after the first: 3 times `both`", &expected, &found);
    Ok(beside("shows: one by one", &[1, 1, 1], wrong)? + "\n" + &hidden)
}

/// The mistake of no mask once there is a cache, where it shows and where it hides.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn no_mask() -> Result<String> {
    let wrong = experiments::mask_left_out;
    Ok(beside("shows: 1 token, then 2", &[1, 2], wrong)?
        + "\n"
        + &beside("hides: one by one", &[1, 1, 1], wrong)?)
}

/// The toy in chunks, as it should be beside a mistake.
fn beside(title: &str, chunks: &[usize], wrong: Decode) -> Result<String> {
    let (x, layer) = experiments::toy()?;
    let right = experiments::in_chunks(&layer, &x, chunks, experiments::right)?;
    let wrong = experiments::in_chunks(&layer, &x, chunks, wrong)?;
    Ok(rows(title, &right, &wrong))
}

fn rows(title: &str, right: &DMatrix<f32>, wrong: &DMatrix<f32>) -> String {
    let mut text = format!("{title}\n            correct      mistake\n");
    for (i, (right, wrong)) in right.row_iter().zip(wrong.row_iter()).enumerate() {
        let mark = if (right - wrong).amax() < 0.005 { "" } else { "  <" };
        text += &format!(
            "  token {i} {:>5.2} {:>5.2}  {:>5.2} {:>5.2}{mark}\n",
            right[0], right[1], wrong[0], wrong[1]
        );
    }
    text
}

/// Every single number that the prose quotes.
///
/// # Errors
/// When the model's slice, the models or the recording cannot be read.
pub fn facts() -> Result<String> {
    let mut text = String::new();
    let mut fact = |key: &str, value: String| writeln!(text, "{key}: {value}");
    let recorded = experiments::recorded()?;
    let (width, heads) = TIMED;
    fact("model_dim", width.to_string())?;
    fact("heads", heads.to_string())?;
    let pass = |n| recorded.milliseconds("whole", n);
    let alone = |n| recorded.milliseconds("alone", n);
    fact("whole_1024", format!("{:.0}", pass(1024)?))?;
    fact("alone_1024", format!("{:.2}", alone(1024)?))?;
    fact("speedup_1024", format!("{:.0}", pass(1024)? / alone(1024)?))?;
    let all: u64 = (1..=1024).map(|n| Work::of(n, n, 512).total()).sum();
    let each: u64 = (1..=1024).map(|n| Work::of(1, n, 512).total()).sum();
    fact("written_all", format!("{:.0}", all as f64 / 1e9))?;
    fact("written_each", format!("{:.1}", each as f64 / 1e9))?;
    fact("written_ratio", format!("{:.0}", all as f64 / each as f64))?;

    let (layer, _) = experiments::real_layer()?;
    let cache = experiments::real_cache()?;
    fact("tokens", layer.tokens.len().to_string())?;
    fact("real_width", layer.x.ncols().to_string())?;
    fact("real_bytes", grouped(cache.bytes() as u64))?;
    let head = experiments::read(Sentence::Tired)?;
    let place = |name| head.tokens.iter().position(|token| token == name);
    let (it, animal) =
        (place("it").context("no it")?, place("animal").context("none")?);
    fact("it_animal", format!("{:.2}", head.weights[it][animal]))?;
    let last = experiments::moved(layer.tokens.len())?;
    fact("moved_causal", format!("{:.0}", last.causal))?;
    fact("moved_open", format!("{:.2}", last.open))?;
    let (refused, len) = experiments::refused()?;
    fact("refused", refused.map_or(String::new(), |error| error.to_string()))?;
    fact("refused_len", len.to_string())?;
    let (same, farthest) = experiments::windowed(layer.tokens.len() / 2)?;
    fact("window_same", same.to_string())?;
    fact("window_farthest", format!("{farthest:.2}"))?;

    let roofline = Roofline::recorded()?;
    fact("bandwidth", format!("{:.0}", roofline.bandwidth / 1e9))?;
    fact("peak", format!("{:.0}", roofline.peak / 1e9))?;
    fact("ridge", format!("{:.0}", roofline.ridge()))?;
    fact("ridge_tokens", format!("{:.0}", 2.0 * roofline.ridge()))?;
    let rate = |tokens| {
        let found = roofline.chunks.iter().find(|chunk| chunk.tokens == tokens);
        found.map_or(f64::NAN, |chunk| chunk.rate.median)
    };
    fact("decode_rate", format!("{:.0}", rate(1) / 1e9))?;
    fact("prefill_rate", format!("{:.0}", rate(512) / 1e9))?;
    let share = rate(1) / roofline.roof(0.5) * 100.0;
    fact("decode_share", format!("{share:.0}"))?;
    fact("decode_of_peak", format!("{:.0}", roofline.peak / rate(1)))?;
    let one = recorded.milliseconds("chunk", 1)?;
    let eight = recorded.milliseconds("chunk", 8)?;
    fact("one_ms", format!("{one:.1}"))?;
    fact("eight_ms", format!("{eight:.0}"))?;

    for part in ["projections", "copies", "heads"] {
        let ms = recorded.milliseconds(&format!("chunk_{part}"), 8)?;
        fact(&format!("eight_{part}_ms"), format!("{ms:.1}"))?;
    }

    let [few, columns, plain, copy] =
        ["attend_few", "by_columns", "attend", "transpose"]
            .map(|case| recorded.milliseconds(case, 8192));
    let (few, columns, plain, copy) = (few?, columns?, plain?, copy?);
    fact("few_faster", format!("{:.1}", columns / few))?;
    fact("few_faster_than_attend", format!("{:.0}", plain / few))?;
    fact("attend_8192", format!("{plain:.1}"))?;
    fact("transpose_8192", format!("{copy:.2}"))?;

    let llama = minilm::models::find("Llama-2-7B")?;
    let token = llama.cache_bytes_per_token(2);
    let full = llama.cache_bytes(llama.context, 2);
    fact("llama_layers", llama.layers.to_string())?;
    fact("llama_heads", llama.heads.to_string())?;
    fact("llama_head_dim", llama.head_dim.to_string())?;
    fact("llama_context", grouped(llama.context))?;
    fact("llama_token", format!("{} KiB", token / 1024))?;
    fact("llama_full", format!("{} GiB", full >> 30))?;
    fact("llama_full_gb", format!("{:.1}", full as f64 / 1e9))?;
    fact("llama_32", format!("{} GiB", (32 * full) >> 30))?;
    Ok(text)
}
