//! What the chapter prints: each function is one block of output in the book, and
//! `cargo run -p multi-query` shows the first of them.

use crate::experiments::{self, LANGUAGE_MODEL, Loss, TRANSLATION, Work, paper};
use crate::experiments::{multi_head_parameters, multi_query_parameters};
use crate::{MultiQueryAttention, decode, one_row_a_head, prefill};
use anyhow::Result;
use attention::example::{grouped, table};
use attention::{Linear, Mask, scores, softmax};
use decoding::KvCache;
use minilm::Layer;
use minilm::models::{self, Model};
use multi_head::{Heads, MultiHeadAttended, Projected};
use nalgebra::{DMatrix, dmatrix};
use std::fmt::Write;

const TOY: [&str; 3] = ["sun", "moon", "both"];
const HEADS: usize = 2;

/// The three tokens of chapter 1, and two heads over its keys and values. Head 0 has
/// chapter 1's queries. The output is what head 0 found, less what head 1 found.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn toy() -> Result<(DMatrix<f32>, MultiQueryAttention)> {
    let x = dmatrix![1.0, 0.0; 0.0, 1.0; 1.0, 1.0];
    let plain = |weight| Linear::new(weight, None);
    let q_proj = plain(dmatrix![
        1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 2.0;
        0.0, 2.0, 0.0, 2.0, 2.0, 0.0, 2.0, 0.0
    ])?;
    let k_proj = plain(dmatrix![2.0, 0.0, 2.0, 0.0; 2.0, 1.0, 0.0, 1.0])?;
    let v_proj = plain(dmatrix![10.0, 0.0; 0.0, 10.0])?;
    let o_proj = plain(dmatrix![1.0, 0.0; 0.0, 1.0; -1.0, 0.0; 0.0, -1.0])?;
    Ok((x, MultiQueryAttention::new(q_proj, k_proj, v_proj, o_proj, HEADS)?))
}

/// The weight of a projection, read off what it makes of the identity.
fn weight(projection: &Linear) -> Result<DMatrix<f32>> {
    let d_in = projection.shape().0;
    Ok(projection.forward(&DMatrix::identity(d_in, d_in))?)
}

fn part(all: &DMatrix<f32>, h: usize) -> DMatrix<f32> {
    let width = all.ncols() / HEADS;
    all.columns(h * width, width).into_owned()
}

/// The worked example: the intermediates of one small forward pass, but for the row that is
/// an exercise.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn three_tokens() -> Result<String> {
    let (x, layer) = toy()?;
    let Projected { q, k, v } = layer.project(&x, &x)?;
    let Heads { found, weights } =
        crate::attend_shared(&q, k.as_view(), v.as_view(), HEADS, &Mask::None)?;
    let output = layer.o_proj.forward(&found)?;
    let w_q = weight(&layer.q_proj)?;
    let plain = ["", "", "", ""];
    let mut parts = vec![
        table("W_Q, head 0", &plain, &[], &part(&w_q, 0), 0),
        table("W_Q, head 1", &plain, &[], &part(&w_q, 1), 0),
        table("W_K, for both heads", &plain, &[], &weight(&layer.k_proj)?, 0),
        table("W_V, for both heads", &plain, &[], &weight(&layer.v_proj)?, 0),
        table("W_O, head 0 above head 1", &plain, &[], &weight(&layer.o_proj)?, 0),
        table("x", &TOY, &[], &x, 0),
        table("k = x W_K", &TOY, &[], &k, 0),
        table("v = x W_V", &TOY, &[], &v, 0),
    ];
    for (h, weights) in weights.iter().enumerate() {
        let q = part(&q, h);
        let s = scores(q.as_view(), k.as_view())?;
        // What head 1 makes of `moon` is an exercise.
        let shown: &[usize] = if h == 1 { &[0, 2] } else { &[0, 1, 2] };
        let names: Vec<&str> = shown.iter().map(|&row| TOY[row]).collect();
        let rows = |all: &DMatrix<f32>| all.select_rows(shown);
        let found = rows(&part(&found, h));
        parts.extend([
            table(&format!("q of head {h}"), &TOY, &[], &q, 0),
            table(&format!("scores of head {h}"), &names, &TOY, &rows(&s), 0),
            table(&format!("weights of head {h}"), &names, &TOY, &rows(weights), 3),
            table(&format!("head {h}"), &names, &[], &found, 2),
        ]);
    }
    let (names, output) = ([TOY[0], TOY[2]], output.select_rows(&[0, 2]));
    parts.push(table("output = [head 0 | head 1] W_O", &names, &[], &output, 2));
    Ok(parts.join("\n"))
}

/// The third token decoded, after the first two were read at once.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn decoded() -> Result<String> {
    let (x, layer) = toy()?;
    let (key, value) = layer.kv_widths();
    let mut cache = KvCache::new(3, key, value);
    prefill(&layer, &x.rows(0, 2).into_owned(), &mut cache)?;
    let both = x.rows(2, 1).into_owned();
    let Projected { q, .. } = layer.project(&both, &both)?;
    let stacked = one_row_a_head(&q, HEADS, key);
    let MultiHeadAttended { output, weights } = decode(&layer, &both, &mut cache)?;
    let weights = DMatrix::from_fn(HEADS, 3, |h, token| weights[h][token]);
    let heads = ["h 0", "h 1"];
    Ok([
        table("keys in the cache", &TOY, &[], &cache.keys().into_owned(), 0),
        table("q of `both`, one row per head", &heads, &[], &stacked, 0),
        table("weights, one call for all", &heads, &TOY, &weights, 3),
        table("output", &["both"], &[], &output, 2),
    ]
    .join("\n"))
}

/// Shazeer's two ratios for 128 tokens at d = 1,024 and h = 8.
///
/// # Errors
/// When a `String` cannot be written to.
pub fn ratios() -> Result<String> {
    let mut text = String::from("batch  one key  one for   times\n");
    text += "        a head  all     fewer\n";
    for batch in [1, 8, 32, 128, 1024] {
        let s = paper(128, batch);
        let (many, one) =
            (experiments::multi_head_ratio(s), experiments::multi_query_ratio(s));
        writeln!(text, "{batch:>5} {many:>8.4} {one:>8.4} {:>6.1}", many / one)?;
    }
    Ok(text)
}

/// Numbers that one token moves in one layer, counted in full, in thousands.
///
/// # Errors
/// When a `String` cannot be written to.
pub fn counted() -> Result<String> {
    let mut text = String::from("batch  one key  one for   times\n");
    text += "        a head  all     fewer\n";
    for batch in [1, 8, 32, 128, 1024] {
        let s = paper(128, batch);
        let thousands =
            |work: Work| work.numbers as f64 / (s.tokens * s.batch) as f64 / 1e3;
        let many = thousands(experiments::multi_head_work(s));
        let one = thousands(experiments::multi_query_work(s));
        writeln!(text, "{batch:>5} {many:>8.0} {one:>8.0} {:>6.1}", many / one)?;
    }
    Ok(text)
}

/// The hidden widths that give back what the attention layers save.
///
/// # Errors
/// When no whole width does it.
pub fn hidden_widths() -> Result<String> {
    let mut text = String::from("model        heads  keys   d_ff\n");
    for (name, model) in [("translation", TRANSLATION), ("language", LANGUAGE_MODEL)] {
        let (d, h, width) = (model.model_dim, model.heads, model.head_dim);
        let rows = [
            (h, h, multi_head_parameters(d, h, width)),
            (h, 1, multi_query_parameters(d, h, width)),
            (1, 1, multi_head_parameters(d, 1, width)),
        ];
        for (heads, keys, attention) in rows {
            let d_ff = experiments::matching_d_ff(&model, attention)?;
            writeln!(text, "{name:<12} {heads:>5} {keys:>5} {d_ff:>6}")?;
        }
    }
    Ok(text)
}

/// How far MiniLM's heads move when they share, by layer.
///
/// # Errors
/// When the model's slices cannot be read.
pub fn losses() -> Result<String> {
    let mut text = String::from("layer  one key  one value   both  aligned\n");
    for (layer, loss) in experiments::losses()?.iter().enumerate() {
        let Loss { keys, values, both, aligned } = loss;
        writeln!(
            text,
            "{layer:>5} {keys:>8.2} {values:>10.2} {both:>6.2} {aligned:>8.2}"
        )?;
    }
    Ok(text)
}

/// What one token adds to the caches of real models, in KiB at two bytes per number: with a
/// key and value for each of their heads, and with one for all. A star marks how they
/// were built.
///
/// # Errors
/// When a model is not in `models.toml`.
pub fn cache() -> Result<String> {
    let mut text = String::from("model       heads  a key a   one\n");
    text += "                     head    key\n";
    for name in ["Llama-2-7B", "GPT-3 175B", "Gemma-7B", "Gemma-2B"] {
        let built = models::find(name)?;
        let kib = |kv_heads| {
            let star = if kv_heads == built.kv_heads { '*' } else { ' ' };
            let model = Model { kv_heads, ..built.clone() };
            format!("{}{star}", grouped(model.cache_bytes_per_token(2) / 1024))
        };
        let (many, one) = (kib(built.heads), kib(1));
        writeln!(text, "{name:<11} {:>5} {many:>8} {one:>6}", built.heads)?;
    }
    Ok(text)
}

/// One decoding step's attention, as the benchmark recorded it.
///
/// # Errors
/// When the recording does not hold it.
pub fn decode_time() -> Result<String> {
    let recorded = experiments::recorded()?;
    let mut text = String::from("tokens   32 keys    1 key   times\n");
    text += "              ms       ms  faster\n";
    let sizes: Vec<_> = recorded.points("multi_query").collect();
    for (tokens, one) in sizes {
        let many = recorded.milliseconds("multi_head", tokens)?;
        let tokens = grouped(tokens as u64);
        writeln!(text, "{tokens:<6} {many:>9.2} {one:>8.3} {:>7.1}", many / one)?;
    }
    Ok(text)
}

/// What repeating the one key for each head does to the bytes and the time.
///
/// # Errors
/// When the recording does not hold it.
pub fn repeated_keys() -> Result<String> {
    let recorded = experiments::recorded()?;
    let heads = experiments::BENCH_HEADS as u64;
    let width = experiments::BENCH_HEAD_DIM as u64;
    let one = (8192 * experiments::cache_bytes(1, 1, width, 4)) >> 20;
    let mut text = String::from("8,192 tokens        MiB        ms\n");
    let rows = [
        ("32 keys", one * heads, "multi_head"),
        ("1 key, shared", one, "multi_query"),
        ("1 key, repeated", one * heads, "repeated"),
    ];
    for (words, mib, case) in rows {
        let ms = recorded.milliseconds(case, 8192)?;
        writeln!(text, "{words:<16} {mib:>6} {ms:>9.2}")?;
    }
    Ok(text)
}

/// The row of `both` in head 0 of the toy under two ideas of the scale.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn wrong_scale() -> Result<String> {
    let (x, layer) = toy()?;
    let Projected { q, k, .. } = layer.project(&x, &x)?;
    let products = part(&q, 0) * k.transpose();
    let rows = [("√4", 4.0_f32), ("√8", 8.0)];
    let row_of = |products: &DMatrix<f32>, d: f32| softmax(products / d.sqrt());
    let mut shown = DMatrix::zeros(2, 3);
    let mut hidden = DMatrix::zeros(2, 3);
    for (i, (_, d)) in rows.iter().enumerate() {
        shown.set_row(i, &row_of(&products, *d).row(2));
        hidden.set_row(i, &row_of(&DMatrix::repeat(3, 3, 6.0), *d).row(2));
    }
    let names = rows.map(|row| row.0);
    Ok(table("weights of `both`, head 0", &names, &TOY, &shown, 3)
        + "\n"
        + &table("hidden: three equal products", &names, &TOY, &hidden, 3))
}

/// What a cache says that was made for one key per head.
///
/// # Errors
/// None that can happen: the shapes are fixed.
pub fn wide_cache() -> Result<String> {
    let (x, layer) = toy()?;
    let (key, value) = layer.kv_widths();
    let mut text = String::new();
    for heads in [HEADS, 1] {
        let mut cache = KvCache::new(3, heads * key, heads * value);
        let said = match prefill(&layer, &x, &mut cache) {
            Ok(_) => format!("{} tokens kept", cache.len()),
            Err(error) => error.to_string().replace(": ", ":\n    "),
        };
        writeln!(text, "room for {heads} × {key} and {heads} × {value}:\n  {said}")?;
    }
    Ok(text)
}

/// The least and the most of the layers' errors.
fn loss_facts() -> Result<Vec<(String, String)>> {
    let losses = experiments::losses()?;
    let ends = |name: &str, of: fn(&Loss) -> f32| {
        let all: Vec<f32> = losses.iter().map(of).collect();
        let least = all.iter().copied().fold(f32::MAX, f32::min);
        let most = all.iter().copied().fold(0.0, f32::max);
        [("least", least), ("most", most)]
            .map(|(end, error)| (format!("{end}_{name}"), format!("{error:.2}")))
    };
    let all = [ends("error", |l| l.both), ends("aligned", |l| l.aligned)];
    Ok(all.concat())
}

/// Every single number that the prose quotes.
///
/// # Errors
/// When the model's slices or the recording cannot be read.
pub fn facts() -> Result<String> {
    let mut text = String::new();
    let mut fact = |key: &str, value: String| writeln!(text, "{key}: {value}");

    let llama = models::find("Llama-2-7B")?;
    let one_key = Model { kv_heads: 1, ..llama.clone() };
    let mib = |model: &Model| {
        format!("{} MiB", grouped(model.cache_bytes(model.context, 2) >> 20))
    };
    fact("llama_context", grouped(llama.context))?;
    fact("llama_many", mib(&llama))?;
    fact("llama_one", mib(&one_key))?;
    let gemma = models::find("Gemma-2B")?;
    let every_head = Model { kv_heads: gemma.heads, ..gemma.clone() };
    let kib = |model: &Model| format!("{} KiB", model.cache_bytes_per_token(2) / 1024);
    fact("gemma_many", kib(&every_head))?;
    fact("gemma_one", kib(&gemma))?;

    let ratio = |tokens, batch| {
        let s = paper(tokens, batch);
        experiments::multi_head_ratio(s) / experiments::multi_query_ratio(s)
    };
    fact("fewer_1", format!("{:.1}", ratio(128, 1)))?;
    fact("fewer_128", format!("{:.1}", ratio(128, 128)))?;
    fact("fewer_many", format!("{:.1}", ratio(128, 1024)))?;
    let counted = |batch| {
        let s = paper(128, batch);
        let many = experiments::multi_head_work(s).numbers as f64;
        many / experiments::multi_query_work(s).numbers as f64
    };
    fact("counted_fewer_1", format!("{:.1}", counted(1)))?;
    fact("counted_fewer_128", format!("{:.1}", counted(128)))?;

    let (d, h, width) = (1024, 8, 128);
    let (before, after) =
        (multi_head_parameters(d, h, width), multi_query_parameters(d, h, width));
    fact("parameters_multi_head", grouped(before))?;
    fact("parameters_multi_query", grouped(after))?;
    fact("parameters_freed", grouped(before - after))?;
    fact("given_back", grouped(18 * (before - after) / (12 * 2 * d)))?;

    for (key, value) in loss_facts()? {
        fact(&key, value)?;
    }
    let layer = Layer::load(3)?;
    for (name, projection) in [("key", &layer.k_proj), ("value", &layer.v_proj)] {
        let size = experiments::size_of_the_mean(&projection.weight, layer.heads)?;
        fact(&format!("mean_{name}_size"), format!("{size:.2}"))?;
    }
    fact("unrelated_size", format!("{:.2}", 1.0 / (layer.heads as f32).sqrt()))?;

    let it = experiments::it_rows()?;
    let place = |word: &str| it.tokens.iter().position(|t| t == word).unwrap_or(0);
    for (name, rows) in [("own", &it.own), ("shared", &it.shared)] {
        fact(
            &format!("it_animal_{name}"),
            format!("{:.2}", rows[(1, place("animal"))]),
        )?;
        fact(
            &format!("disagreement_{name}"),
            format!("{:.2}", experiments::disagreement(rows)),
        )?;
    }

    fact("even_share", format!("{:.2}", 1.0 / it.tokens.len() as f32))?;
    let stretched =
        experiments::shared_and_stretched(&layer, (layer.heads as f32).sqrt())?;
    let own = experiments::own_keys(&layer)?;
    let error = experiments::relative_error(&stretched.found, &own.found);
    let rows = experiments::rows_of(&stretched, layer.position("it")?);
    fact("stretched_error", format!("{error:.2}"))?;
    let disagreement = experiments::disagreement(&rows);
    fact("stretched_disagreement", format!("{disagreement:.2}"))?;
    fact("stretched_animal", format!("{:.2}", rows[(1, place("animal"))]))?;

    let narrow = multi_query_parameters(1024, 16, 64);
    fact(
        "d_ff_16_heads",
        experiments::matching_d_ff(&TRANSLATION, narrow)?.to_string(),
    )?;

    let (heads, width) = (experiments::BENCH_HEADS, experiments::BENCH_HEAD_DIM);
    fact("multiply_adds_8192", grouped((2 * 8192 * heads * width) as u64))?;
    let recorded = experiments::recorded()?;
    let ms = |case: &str, tokens| recorded.milliseconds(case, tokens);
    let faster = |tokens| -> Result<String> {
        Ok(format!("{:.1}", ms("multi_head", tokens)? / ms("multi_query", tokens)?))
    };
    fact("faster_8192", faster(8192)?)?;
    fact("multi_head_8192", format!("{:.1}", ms("multi_head", 8192)?))?;
    fact("multi_query_8192", format!("{:.1}", ms("multi_query", 8192)?))?;
    let gb = |case: &str, mib: f64| -> Result<String> {
        let bytes = mib * f64::from(1 << 20);
        Ok(format!("{:.0}", bytes / 1e6 / ms(case, 8192)?))
    };
    fact("multi_head_rate", gb("multi_head", 256.0)?)?;
    fact("multi_query_rate", gb("multi_query", 8.0)?)?;
    fact("one_at_a_time_8192", format!("{:.1}", ms("one_at_a_time", 8192)?))?;
    fact("read_rate", gb("read", 256.0)?)?;
    fact("read_alone_rate", gb("read_alone", 256.0)?)?;
    fact("repeated_8192", format!("{:.1}", ms("repeated", 8192)?))?;
    for heads in [32, 1] {
        let append = ms(&format!("append_{heads}"), 8192)?;
        fact(&format!("append_{heads}"), format!("{append:.2}"))?;
    }
    Ok(text)
}
