//! What the chapter prints: each function is one block of output in the book, and
//! `cargo run -p flash` shows the first of them.

use crate::experiments::{
    self, BESIDE, CACHED, DECODE, LENGTHS, Mistake, Order, TILES, TIMED, VERSIONS,
};
use crate::kernel::Tuning;
use crate::{Partial, Sight, steps};
use anyhow::Result;
use attention::Mask;
use attention::example::grouped as thousands;
use nalgebra::dmatrix;
use std::fmt::Write;

/// The worked example: softmax over four scores, in two tiles of two.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn online() -> Result<String> {
    let (scores, values) =
        (dmatrix![1.0, 3.0, 2.0, 5.0], dmatrix![10.0; 20.0; 30.0; 40.0]);
    let part = |first: usize, keys: usize| {
        let values = values.rows(first, keys).into_owned();
        Partial::of(scores.columns(first, keys).into_owned(), values.as_view())
    };
    let (one, two) = (part(0, 2)?, part(2, 2)?);
    let mut text = String::from("scores         1      3      2      5\n");
    text += "values        10     20     30     40\n";
    for (title, part) in [
        ("keys 0 and 1", &one),
        ("keys 2 and 3", &two),
        ("merged", &one.merge(&two)?),
        ("all four at once", &part(0, 4)?),
    ] {
        let (max, sum, weighted) = (part.max[0], part.sum[0], part.weighted[0]);
        writeln!(text, "\n{title}\n  max       {max:>6.0}\n  sum       {sum:>10.3}")?;
        writeln!(text, "  weighted  {weighted:>10.3}")?;
        writeln!(text, "  output    {:>10.3}", part.output()[0])?;
    }
    Ok(text)
}

/// The two causal masks of two queries and four keys.
///
/// # Errors
/// When a `String` cannot be written to.
pub fn alignments() -> Result<String> {
    let mut text = String::from("Align::Last       Align::First\n");
    let dots = |query: usize, offset: usize| {
        let sees = |key| Mask::Causal { offset }.sees(query, key);
        (0..4).map(|key| if sees(key) { "● " } else { "· " }).collect::<String>()
    };
    for query in 0..2 {
        writeln!(text, "{}          {}", dots(query, 2), dots(query, 0).trim_end())?;
    }
    Ok(text)
}

/// How many numbers move for one head, by size of the fast memory.
///
/// # Errors
/// When a `String` cannot be written to.
pub fn traffic() -> Result<String> {
    let (n, d) = (TIMED, 64);
    let mut text = String::from("   fast    tile      keys  queries   whole\n");
    text += " memory  stays      stay     stay  matrix\n";
    for memory in [1 << 12, 1 << 14, 1 << 16, 1 << 18] {
        let stays = experiments::tile_for(memory, d, Order::QueriesStay).queries;
        let millions = |numbers: u64| format!("{:.2}", numbers as f64 / 1e6);
        let moved = |order| millions(experiments::moved(n, d, memory, order));
        let (keys, queries) = (moved(Order::KeysStay), moved(Order::QueriesStay));
        let whole = millions(experiments::moved_with_matrix(n, d));
        let memory = thousands(memory as u64);
        let stays = thousands(stays as u64);
        writeln!(text, "{memory:>7} {stays:>6} {keys:>9} {queries:>8} {whole:>7}")?;
    }
    Ok(text)
}

/// What each version takes, and how many times faster it is than the one before.
///
/// # Errors
/// When the recording does not hold it.
pub fn versions() -> Result<String> {
    let recorded = experiments::recorded()?;
    let mut text = String::from("                       full        causal\n");
    text += "                     ms step      ms step\n";
    let mut before = [None, None];
    for version in VERSIONS {
        write!(text, "{:<18}", version.words)?;
        for (suffix, before) in ["full", "causal"].iter().zip(&mut before) {
            let ms =
                recorded.milliseconds(&format!("{}_{suffix}", version.name), TIMED)?;
            let step = before.map_or(String::new(), |b: f64| format!("{:.1}", b / ms));
            write!(text, " {ms:>6.0} {step:>4}")?;
            *before = Some(ms);
        }
        text.push('\n');
    }
    let beside = experiments::beside_pytorch()?;
    let full = beside.milliseconds("pytorch_full", TIMED)?;
    let causal = beside.milliseconds("pytorch_causal", TIMED)?;
    writeln!(text, "{:<18} {full:>6.0}      {causal:>6.0}", "PyTorch, both")?;
    Ok(text)
}

/// Prefill beside PyTorch.
///
/// # Errors
/// When the recording does not hold it.
pub fn beside() -> Result<String> {
    let recorded = experiments::beside_pytorch()?;
    let mut text = String::from("tokens  mask      ours  PyTorch  ratio\n");
    for n in BESIDE {
        for case in ["full", "causal"] {
            let ms = |side: &str| recorded.milliseconds(&format!("{side}_{case}"), n);
            let (ours, theirs) = (ms("ours")?, ms("pytorch")?);
            let ratio = experiments::ratio(case, n)?.median;
            let n = thousands(n as u64);
            writeln!(text, "{n:>6}  {case:<6} {ours:>7.1} {theirs:>8.1} {ratio:>6.2}")?;
        }
    }
    Ok(text)
}

/// Decoding beside chapter 5 and PyTorch, and its way through memory.
///
/// # Errors
/// When the recording does not hold it.
pub fn decoding() -> Result<String> {
    let (recorded, beside) = (experiments::recorded()?, experiments::beside_pytorch()?);
    let mut text = String::from("one token, ms\n");
    text += "kv heads     ours  PyTorch  ratio\n";
    for kv_heads in DECODE {
        let ms = |side| beside.milliseconds(side, kv_heads);
        let (ours, theirs) = (ms("ours_decode")?, ms("pytorch_decode")?);
        writeln!(
            text,
            "{kv_heads:>8} {ours:>8.2} {theirs:>8.2} {:>6.2}",
            ours / theirs
        )?;
    }
    text += "\nanother run\n";
    text += "kv heads     ours    stacked    sum  share\n";
    for kv_heads in DECODE {
        let ms = |case| recorded.milliseconds(case, kv_heads);
        let (ours, stacked) = (ms("decode")?, ms("stacked")?);
        let sum = ms("read_cache")?;
        let share = 100.0 * sum / ours;
        writeln!(
            text,
            "{kv_heads:>8} {ours:>8.2} {stacked:>10.2} {sum:>6.2} {share:>4.0} %"
        )?;
    }
    Ok(text)
}

/// 1077.6 as 1,078, and 16.5 as 16, as `{:.0}` rounds.
pub(crate) fn rounded(number: f64) -> String {
    thousands(number.round_ties_even() as u64)
}

/// The memory that a pass asks for.
///
/// # Errors
/// When the recording does not hold it.
pub fn memory() -> Result<String> {
    let recorded = experiments::memory()?;
    let mut text = String::from("tokens   tiles, MiB   one matrix, MiB\n");
    for n in LENGTHS {
        let (flash, matrix) =
            (recorded.mebibytes("flash", n)?, recorded.mebibytes("matrix", n)?);
        let [flash, matrix] = [flash, matrix].map(rounded);
        writeln!(text, "{:>6} {flash:>12} {matrix:>17}", thousands(n as u64))?;
    }
    Ok(text)
}

/// The share of queries of a real layer whose maximum rises, by tile.
///
/// # Errors
/// When the model's slice cannot be read.
pub fn rises() -> Result<String> {
    let tokens = experiments::passage_tokens()?;
    let shares = experiments::rises(RISE_TILE)?;
    let random = experiments::rises_at_random(tokens, RISE_TILE);
    let tiles = steps(0..tokens, RISE_TILE);
    let mut text = String::from("tile  keys   MiniLM   random order\n");
    for (((t, tile), share), random) in tiles.enumerate().zip(shares).zip(random) {
        let keys = tile.len();
        writeln!(text, "{t:>4} {keys:>5} {share:>8.2} {random:>14.2}")?;
    }
    Ok(text)
}

/// Keys in a tile of [`rises`].
pub const RISE_TILE: usize = 16;

/// A mistake beside the correct answer, on an input that exposes it and one that hides it.
fn mistake(mistake: Mistake, exposes: &[f32], hides: &[f32]) -> Result<String> {
    let mut text = format!("{:26} correct   wrong\n", "scores");
    for scores in [exposes, hides] {
        let values = &[10.0, 20.0, 30.0, 40.0][..scores.len()];
        let online = |mistake| experiments::online(scores, values, 2, mistake);
        let (right, wrong) = (online(Mistake::None), online(mistake));
        let listed: String = scores.iter().map(|s| format!(" {s}")).collect();
        writeln!(text, "{:26} {right:>7.2} {wrong:>7.2}", listed.trim_start())?;
    }
    Ok(text)
}

/// The sum is not measured anew.
///
/// # Errors
/// When a `String` cannot be written to.
pub fn sum_not_rescaled() -> Result<String> {
    mistake(Mistake::SumNotRescaled, &[1.0, 3.0, 2.0, 5.0], &[5.0, 1.0, 3.0, 2.0])
}

/// Averages of tiles are averaged.
///
/// # Errors
/// When a `String` cannot be written to.
pub fn divided_in_each_tile() -> Result<String> {
    mistake(Mistake::DividedInEachTile, &[1.0, 3.0, 2.0, 5.0], &[1.0, 3.0, 3.0, 1.0])
}

/// The maximum begins too high.
///
/// # Errors
/// When a `String` cannot be written to.
pub fn finite_start() -> Result<String> {
    let low = [-20001.0, -20003.0, -20002.0, -20005.0];
    mistake(Mistake::FiniteStart, &low, &[1.0, 3.0, 2.0, 5.0])
}

/// The last tile is filled up.
///
/// # Errors
/// When a `String` cannot be written to.
pub fn padded_with_zeros() -> Result<String> {
    mistake(Mistake::PaddedWithZeros, &[-1.0, -3.0, -2.0], &[-1.0, -3.0, -2.0, -5.0])
}

/// Every single number that the prose quotes.
///
/// # Errors
/// When the model's slice or a recording cannot be read.
pub fn facts() -> Result<String> {
    let mut text = String::new();
    let mut fact = |key: &str, value: String| writeln!(text, "{key}: {value}");
    fact("cached", thousands(CACHED as u64))?;
    let tile = Tuning::default().tile;
    fact("tile_queries", tile.queries.to_string())?;
    fact("tile_keys", tile.keys.to_string())?;
    let causal = Mask::Causal { offset: 0 };
    let visits = experiments::walk(TIMED, TIMED, &causal, tile);
    let of = |sight| visits.iter().filter(|visit| visit.sight == sight).count();
    fact("tiles", visits.len().to_string())?;
    fact("tiles_skipped", of(Sight::Nothing).to_string())?;
    fact("tiles_part", of(Sight::Part).to_string())?;

    let memory = 1 << 16;
    let [keys, queries] = [Order::KeysStay, Order::QueriesStay]
        .map(|o| experiments::moved(TIMED, 64, memory, o));
    let whole = experiments::moved_with_matrix(TIMED, 64);
    fact("moved_whole_over_queries", format!("{:.0}", whole as f64 / queries as f64))?;
    fact("moved_keys_over_queries", format!("{:.1}", keys as f64 / queries as f64))?;
    fact("fast_memory", thousands(memory as u64))?;
    fact("fast_memory_kib", (memory * 4 / 1024).to_string())?;

    let tokens = experiments::passage_tokens()?;
    fact("passage", tokens.to_string())?;
    let rises = experiments::rises(RISE_TILE)?;
    fact("rise_tile", RISE_TILE.to_string())?;
    fact("rises_1", format!("{:.0} %", 100.0 * rises[1]))?;
    fact("rises_last", format!("{:.0} %", 100.0 * rises[rises.len() - 1]))?;
    let per_query: f64 = rises.iter().sum();
    fact("rises_per_query", format!("{per_query:.1}"))?;
    fact("rise_tiles", rises.len().to_string())?;
    let random: f64 = experiments::rises_at_random(tokens, RISE_TILE).iter().sum();
    fact("rises_per_query_at_random", format!("{random:.1}"))?;
    fact("rise_last_keys", (tokens % RISE_TILE).to_string())?;
    let first = experiments::highest_at_first_key()?;
    fact("highest_at_first_key", format!("{:.0} %", 100.0 * first))?;

    facts_of_versions(&mut fact)?;
    facts_of_comparisons(&mut fact)?;
    let memory = experiments::memory()?;
    for n in [8192, 16384] {
        for case in ["flash", "matrix"] {
            let mib = memory.mebibytes(case, n)?;
            fact(&format!("memory_{case}_{n}"), rounded(mib))?;
        }
    }
    fact("score_matrix_mib", thousands((16384_u64.pow(2) * 4) >> 20))?;
    fact("score_matrix_over_answer", (16384 / 64).to_string())?;
    Ok(text)
}

/// What the recording holds of the versions and of tiles.
fn facts_of_versions(
    fact: &mut impl FnMut(&str, String) -> std::fmt::Result,
) -> Result<()> {
    let recorded = experiments::recorded()?;
    let ms = |case: &str| recorded.milliseconds(case, TIMED);
    fact("timed", thousands(TIMED as u64))?;
    for (from, to) in [
        ("matrix", "tiled"),
        ("tiled", "packed"),
        ("packed", "eight"),
        ("tiled", "eight"),
        ("eight", "series"),
        ("series", "widest"),
        ("widest", "both"),
        ("matrix", "both"),
        ("tiled", "both"),
    ] {
        let ratio = ms(&format!("{from}_full"))? / ms(&format!("{to}_full"))?;
        fact(&format!("{from}_to_{to}"), format!("{ratio:.1}"))?;
    }
    let tiled = ms("tiled_full")? / ms("matrix_full")?;
    fact("tiled_over_matrix", format!("{tiled:.1}"))?;
    fact("causal_share", format!("{:.2}", ms("both_causal")? / ms("both_full")?))?;
    let rate = experiments::operations(TIMED) / ms("both_full")? / 1e6;
    fact("rate", format!("{rate:.0}"))?;
    let one = experiments::operations(TIMED) / ms("widest_full")? / 1e6;
    fact("rate_one", format!("{one:.0}"))?;
    let tile = |keys| recorded.milliseconds("tile", keys);
    let best = TILES.iter().map(|&keys| tile(keys)).collect::<Result<Vec<_>, _>>()?;
    let best = best.into_iter().fold(f64::MAX, f64::min);
    fact("tile_16_over_best", format!("{:.2}", tile(16)? / best))?;
    fact("tile_2048_over_best", format!("{:.2}", tile(2048)? / best))?;
    Ok(())
}

/// What it holds of decoding, of Linformer, and beside PyTorch.
fn facts_of_comparisons(
    fact: &mut impl FnMut(&str, String) -> std::fmt::Result,
) -> Result<()> {
    let recorded = experiments::recorded()?;
    for n in BESIDE {
        for case in ["full", "causal"] {
            let ratio = experiments::ratio(case, n)?.median;
            fact(&format!("ratio_{case}_{n}"), format!("{ratio:.2}"))?;
        }
    }
    for kv_heads in DECODE {
        let ratio = experiments::ratio("decode", kv_heads)?.median;
        fact(&format!("ratio_decode_{kv_heads}"), format!("{ratio:.2}"))?;
        let [rate, read] = experiments::bandwidth(kv_heads)?;
        fact(&format!("bandwidth_{kv_heads}"), format!("{rate:.0}"))?;
        fact(
            &format!("bandwidth_share_{kv_heads}"),
            format!("{:.0} %", 100.0 * rate / read),
        )?;
        let mib = experiments::cache_bytes(kv_heads) >> 20;
        fact(&format!("cache_mib_{kv_heads}"), mib.to_string())?;
    }

    let operations = 4.0 * 32.0 * (CACHED * 128) as f64;
    let rate = operations / recorded.milliseconds("decode", 1)? / 1e6;
    fact("decode_rate_1", format!("{rate:.0}"))?;
    for kv_heads in DECODE {
        let ms = |case| recorded.milliseconds(case, kv_heads);
        let ratio = ms("stacked")? / ms("decode")?;
        fact(&format!("stacked_over_decode_{kv_heads}"), format!("{ratio:.1}"))?;
    }

    for kv_heads in DECODE {
        let append = recorded.milliseconds("append", kv_heads)?;
        fact(&format!("append_{kv_heads}"), format!("{append:.2}"))?;
    }
    let roofs = recorded.roofs()?;
    let per_byte = roofs.multiply_adds_per_second / roofs.bytes_per_second;
    // What is packed is written, and read once more.
    let packing = per_byte * 2.0 * size_of::<f32>() as f64;
    fact("packing_in_queries", format!("{packing:.0}"))?;
    let product = 2.0 * roofs.multiply_adds_per_second / 1e9;
    fact("product_rate", format!("{product:.0}"))?;

    let one = |case| recorded.milliseconds(case, 8192);
    let (tiles, linformer) = (one("one_head")?, one("linformer")?);
    fact("one_head_8192", format!("{tiles:.0}"))?;
    fact("linformer_8192", format!("{linformer:.0}"))?;
    fact("linformer_faster_8192", format!("{:.1}", tiles / linformer))?;
    let longer = one("one_head")? / recorded.milliseconds("one_head", 4096)?;
    fact("one_head_doubled", format!("{longer:.1}"))?;
    let crossing = (experiments::linformer_crossing()? / 10.0).round() * 10.0;
    fact("linformer_crossing", thousands(crossing as u64))?;
    let beside = experiments::beside_pytorch()?;
    fact("pytorch", beside.condition("PyTorch").to_owned())?;
    for kv_heads in [8, 1] {
        for side in ["decode", "decode_repeated", "decode_grouped"] {
            let ms = beside.milliseconds(&format!("pytorch_{side}"), kv_heads)?;
            fact(&format!("pytorch_{side}_{kv_heads}"), format!("{ms:.1}"))?;
        }
    }
    Ok(())
}
