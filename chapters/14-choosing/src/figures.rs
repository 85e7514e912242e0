//! The chapter's figures, one function each.

use crate::calculator::{self, Divided, Question, bytes};
use crate::capstone::{HEADS, TOKENS, VARIANTS, Variant, WHOLE};
use crate::experiments::{self, MODELS, Timed};
use crate::machines;
use crate::{FeedForward, Mechanism, Model, Setting};
use anyhow::{Context, Result};
use attention::example::grouped as thousands;
use checkpoint::Bytes;
use figures::{Axis, Bars, Chart, Figure, Hue, Spread, Words};

/// All of them, in the order in which the chapter shows them.
///
/// # Errors
/// When a model or the recording cannot be read.
pub fn all() -> Result<Vec<Figure>> {
    Ok(vec![ceiling()?, decode()?, prompt()?, capstone()?, models()?])
}

/// The most tokens per second against the batch, for the chapter's question.
///
/// # Errors
/// None that can happen: the names are in the lists.
pub fn ceiling() -> Result<Figure> {
    ceiling_of(&experiments::question(1)?)
}

/// [`ceiling`] for a decoder of Llama's kind with another shape, on a machine by name.
///
/// # Errors
/// When the groups would differ in size, there is no such machine, or nothing fits it.
pub fn ceiling_with(
    heads: u64,
    kv_heads: u64,
    layers: u64,
    context: u64,
    machine: &str,
) -> Result<Figure> {
    if !heads.is_multiple_of(kv_heads) {
        anyhow::bail!("{heads} query heads cannot share {kv_heads} key/value heads");
    }
    let (head_dim, llama) = (128, [32, 8, 32]);
    let model_dim = heads * head_dim;
    let name = if [heads, kv_heads, layers] == llama {
        "Llama-3-8B".to_owned()
    } else {
        format!("{layers} layers of {heads} heads on {kv_heads} kv heads")
    };
    let model = Model {
        name,
        model_dim,
        layers,
        window: None,
        mechanism: Mechanism::Shared {
            heads,
            kv_heads,
            qk_dim: head_dim,
            v_dim: head_dim,
        },
        // Three and a half times as wide as a token, as in Llama-3-8B.
        feed_forward: FeedForward::dense(layers, model_dim * 7 / 2),
        vocab: 128_256,
        tied: false,
        small: (2 * layers + 1) * model_dim,
    };
    let machine =
        machines::find(machine).with_context(|| format!("no machine `{machine}`"))?;
    let weight_bytes = Bytes::all(2.0);
    let setting = Setting { context, batch: 1, weight_bytes, cache_bytes: 2.0 };
    let question = Question { model, machine, setting, devices: 1, stored: None };
    ceiling_of(&question)
}

/// [`ceiling`] for any question. Lines end where memory is full.
///
/// # Errors
/// When not a single sequence fits with any mechanism.
pub fn ceiling_of(question: &Question) -> Result<Figure> {
    let Question { model, machine, setting, .. } = question;
    let mut chart = Chart::new(
        Axis::log2("sequences at once"),
        Axis::log("tokens per second, at most"),
    );
    let (mut said, mut told) = (Vec::new(), Vec::new());
    for Divided { mechanism: name, own, share, .. } in question.divided() {
        let setting = |batch| Setting { batch, ..*setting };
        let most = machine.sequences(&share, &setting(1)).unwrap_or(0).min(1 << 14);
        if most == 0 {
            continue;
        }
        let speed = |batch| machine.ceiling(&share, &setting(batch));
        let batches = (0..).map(|i| 1 << i).take_while(|batch| *batch < most);
        let points = batches.chain([most]).map(|b| (b as f64, speed(b)));
        let points: Vec<(f64, f64)> = points.collect();
        let mark = if own { "*" } else { "" };
        chart = chart.line(&format!("{name}{mark}"), hue(&name), points);
        let (most_said, fastest) =
            (thousands(most), thousands(speed(most).round() as u64));
        said.push(format!("{name}: {most_said} ({fastest} tokens/s)"));
        told.push(format!(
            "{name} ends at {most_said} sequences and {fastest} tokens per second"
        ));
    }
    if said.is_empty() {
        anyhow::bail!(
            "{} with {} tokens of context does not fit into {}",
            model.name,
            thousands(setting.context),
            question.machines()
        );
    }
    let words = Words {
        title: "The cache sets how many fit, and how fast".into(),
        caption: format!(
            "The smaller the cache, the more sequences fit: a line ends where memory is full. \
             {} on {}, {} tokens each. This many fit: {}. A star marks what the model has.",
            model.name,
            question.machines(),
            thousands(setting.context),
            said.join(", "),
        ),
        alt: format!(
            "Rising lines on log scales, close together at one sequence. {}.",
            told.join("; ")
        ),
    };
    Ok(Figure::draw("ceiling", words, &chart)?)
}

/// The color through the book of a mechanism that the calculator names so.
fn hue(name: &str) -> Hue {
    match name {
        "multi-head" => Hue::MultiHead,
        "multi-query" => Hue::MultiQuery,
        latent if latent.starts_with("latent") => Hue::Latent,
        _ => Hue::GroupedQuery,
    }
}

/// One token over a long cache, beside the roofs.
///
/// # Errors
/// When it was not recorded.
pub fn decode() -> Result<Figure> {
    let (list, bars) = beside_roofs(&experiments::decoding()?, 2)?;
    let words = Words {
        title: "Less cache, less time, until arithmetic decides".into(),
        caption: format!(
            "The smaller the cache of keys and values, the less time; but the latent, with a \
             fifth of multi-head’s bytes, takes longer than 8 kv heads. One token of {} heads \
             over {} cached ones, without the append of its own key and value; the roof is \
             the longer of reading and computing, at the rates of a plain sum and a large \
             product on the same two cores. Milliseconds taken, and needed at least: \
             {list}.",
            experiments::HEADS,
            thousands(experiments::CACHED as u64),
        ),
        alt: format!("Pairs of bars, milliseconds taken and roof: {list}."),
    };
    let measured = experiments::recorded()?.measured();
    Ok(Figure::measured("decode", words, &measured, 1, &[&bars])?)
}

/// A prompt at once, beside the roofs.
///
/// # Errors
/// When it was not recorded.
pub fn prompt() -> Result<Figure> {
    let all = experiments::prompts()?;
    let recorded = experiments::recorded()?;
    let ms = |case| recorded.milliseconds(case, experiments::PROMPT);
    let longer = ms("prompt_absorbed")? / ms("prompt_latent")?;
    // What nobody would do would squeeze the others; the table has it.
    let all: Vec<_> = all.into_iter().filter(|t| t.case != "prompt_absorbed").collect();
    let (list, bars) = beside_roofs(&all, 0)?;
    let words = Words {
        title: "In tiles, a prompt costs what its arithmetic costs".into(),
        caption: format!(
            "For the same arithmetic the matrix takes {:.1} times as long as tiles, which come \
             near to the time of a large product. {} tokens of {} heads at once, causal except \
             for Linformer with {} rows. The absorbed form, {longer:.0} times as long as the \
             latent’s naive one, is left to the table. Milliseconds taken, and needed at \
             least: {list}.",
            ms("prompt_matrix")? / ms("prompt_flash_16")?,
            thousands(experiments::PROMPT as u64),
            experiments::HEADS,
            experiments::ROWS,
        ),
        alt: format!("Pairs of bars, milliseconds taken and roof: {list}."),
    };
    Ok(Figure::measured("prompt", words, &recorded.measured(), 1, &[&bars])?)
}

/// What was taken and what is needed, in words and as bars, to so many decimal places.
fn beside_roofs(all: &[Timed], digits: u8) -> Result<(String, Bars)> {
    let machine = experiments::recorded_machine()?;
    let scale = 10_f64.powi(i32::from(digits));
    let rounded = |milliseconds: f64| (milliseconds * scale).round() / scale;
    let took: Vec<Spread> = all.iter().map(|t| t.time.map(rounded)).collect();
    let seconds = all.iter().map(|t| machine.seconds(t.work));
    let roofs: Vec<f64> = seconds.map(|s| rounded(s * 1e3)).collect();
    let said = all.iter().zip(took.iter().zip(&roofs));
    let said = said.map(|(timed, (took, roof))| {
        let digits = usize::from(digits);
        format!("{} {:.digits$} and {roof:.digits$}", timed.name, took.median)
    });
    let list = said.collect::<Vec<_>>().join("; ");
    let names = all.iter().map(|t| t.name.clone());
    let bars = Bars::new(Axis::linear("milliseconds"), names)
        .measured("took", Hue::Accent, took)
        .series("roof", Hue::Muted, roofs);
    Ok((list, bars))
}

/// What the variants of the small model lose, by how much they keep.
///
/// # Errors
/// When the model's slices cannot be read.
pub fn capstone() -> Result<Figure> {
    let families = [
        ("shared heads", Hue::MultiQuery),
        ("shared heads, aligned", Hue::GroupedQuery),
        ("latent", Hue::Latent),
        ("Linformer’s rows, over all tokens", Hue::Linformer),
    ];
    let mut points: [Vec<(f64, f64)>; 4] = Default::default();
    let mut list = Vec::new();
    for variant in VARIANTS.into_iter().rev().chain(WHOLE) {
        let family = match variant {
            Variant::GroupedQuery { .. } | Variant::MultiQuery => 0,
            Variant::Aligned { .. } => 1,
            Variant::Latent { .. } => 2,
            Variant::Linformer { .. } => 3,
            _ => continue,
        };
        // Linformer keeps its rows for all tokens together.
        let kept = match variant {
            Variant::Linformer { k } => 2 * HEADS * 32 * k / TOKENS,
            other => other.kept().unwrap_or(0),
        };
        let error = f64::from(variant.run()?.error);
        points[family].push((kept as f64, error));
        list.push(format!("{}: {error:.2} at {kept}", variant.name()));
    }
    // Heads that share with nobody have nobody to be aligned with.
    let unshared = points[0].last().copied();
    points[1].extend(unshared);
    let words = Words {
        title: "What is kept says little about what is lost".into(),
        caption: format!(
            "At the same width a latent loses least, averages over stretches of text more, \
             and shared heads most, even if they are turned toward one another first. MiniLM’s \
             six layers on {TOKENS} tokens, nothing trained again; relative error of the heads’ \
             output, by numbers kept per token (for Linformer, those of its rows divided by \
             the tokens)."
        ),
        alt: format!(
            "Four lines that fall to 0 as more is kept, at 384 numbers for the latent and \
             768 for the others. {}.",
            list.join("; ")
        ),
    };
    let mut chart = Chart::new(
        Axis::linear("numbers kept per token").range(0.0, 800.0),
        Axis::linear("relative error").range(0.0, 1.0),
    );
    for ((name, hue), points) in families.into_iter().zip(points) {
        chart = chart.line(name, hue, points);
    }
    Ok(Figure::draw("capstone", words, &chart)?)
}

/// What models keep of a token, by how large they are.
///
/// # Errors
/// When one of them cannot be read.
pub fn models() -> Result<Figure> {
    let mut kinds = [
        ("multi-head", Hue::MultiHead, Vec::new()),
        ("grouped-query", Hue::GroupedQuery, Vec::new()),
        ("multi-query", Hue::MultiQuery, Vec::new()),
        ("latent", Hue::Latent, Vec::new()),
    ];
    let (mut list, mut named) = (Vec::new(), Vec::new());
    for (name, _) in MODELS {
        let model = experiments::model(name)?;
        let kept = 2.0 * (model.layers * model.mechanism.kept()) as f64;
        let place = match calculator::name(model.mechanism).as_str() {
            "multi-head" => 0,
            "multi-query" => 2,
            latent if latent.starts_with("latent") => 3,
            _ => 1,
        };
        kinds[place].2.push((model.parameters() / 1e9, kept / 1024.0));
        list.push(format!("{name} {}", bytes(kept)));
        if ["Llama-2-7B", "DeepSeek-V3"].contains(&name) {
            named.push((name, kept / 1024.0));
        }
    }
    let words = Words {
        title: "100 times as large, a seventh of the cache".into(),
        caption: String::from(
            "DeepSeek-V3 has 100 times the parameters of Llama-2-7B and keeps a seventh as \
             much per token: the mechanism decides more than the size. Cache of one token in \
             all layers, in half precision, while no window is full.",
        ),
        alt: format!(
            "Points on log scales over 2 to 700 billion parameters. {}.",
            list.join("; ")
        ),
    };
    let mut chart = Chart::new(
        Axis::log("parameters, billions").range(1.0, 1000.0),
        Axis::log2("cache per token, KiB").range(8.0, 1024.0),
    );
    for (name, hue, points) in kinds {
        chart = chart.scatter(name, hue, points);
    }
    for (name, kept) in named {
        chart = chart.horizontal(kept, name);
    }
    Ok(Figure::draw("models", words, &chart)?)
}
