//! What the chapter counts and measures: the data behind its figures and numbers.

use crate::calculator::Question;
use crate::machines::{self, MACHINES};
use crate::{Machine, Mechanism, Model, Setting, Step, config};
use anyhow::{Context, Result};
use chapter_cli::{Recorded, Roof};
use checkpoint::Bytes;
use figures::Spread;

/// Models by name, each with its `config.json`: the keys that say what it costs, with the
/// values that its authors published.
pub const MODELS: [(&str, &str); 13] = [
    ("Llama-2-7B", include_str!("configs/Llama-2-7B.json")),
    ("Llama-3-8B", include_str!("configs/Llama-3-8B.json")),
    ("Llama-3.1-70B", include_str!("configs/Llama-3.1-70B.json")),
    ("Mistral-7B", include_str!("configs/Mistral-7B.json")),
    ("Mixtral-8x7B", include_str!("configs/Mixtral-8x7B.json")),
    ("Gemma-2B", include_str!("configs/Gemma-2B.json")),
    ("Gemma-2-9B", include_str!("configs/Gemma-2-9B.json")),
    ("Gemma-3-27B", include_str!("configs/Gemma-3-27B.json")),
    ("Qwen2.5-7B", include_str!("configs/Qwen2.5-7B.json")),
    ("Qwen3-8B", include_str!("configs/Qwen3-8B.json")),
    ("Qwen3-30B-A3B", include_str!("configs/Qwen3-30B-A3B.json")),
    ("DeepSeek-V2-Lite", include_str!("configs/DeepSeek-V2-Lite.json")),
    ("DeepSeek-V3", include_str!("configs/DeepSeek-V3.json")),
];

/// The model of that name, whatever the case of its letters.
///
/// # Errors
/// When there is none.
pub fn model(name: &str) -> Result<Model> {
    let found = MODELS.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    let known = || MODELS.map(|(name, _)| name).join(", ");
    let (name, json) =
        found.with_context(|| format!("--model: `{name}` is none of {}", known()))?;
    Ok(config::read(name, json)?)
}

/// The chapter's question: Llama-3-8B on one H100, half precision, 8,192 tokens, and as
/// many sequences as are asked for.
///
/// # Errors
/// None that can happen: the names are in the lists.
pub fn question(batch: u64) -> Result<Question> {
    let weight_bytes = Bytes::all(2.0);
    let setting = Setting { context: 8192, batch, weight_bytes, cache_bytes: 2.0 };
    let machine = machines::find("H100").unwrap_or(MACHINES[0]);
    let model = model("Llama-3-8B")?;
    Ok(Question { model, machine, setting, devices: 1, stored: None })
}

/// Devices among which the chapter divides a model.
pub const DEVICES: u64 = 8;

/// Llama-3.1-70B on [`DEVICES`] H100, for 64 sequences at once.
///
/// # Errors
/// None that can happen: the names are in the lists.
pub fn divided_question() -> Result<Question> {
    let model = model("Llama-3.1-70B")?;
    Ok(Question { model, devices: DEVICES, ..question(64)? })
}

/// Heads that the benchmark runs, each 128 wide.
pub const HEADS: usize = 16;
/// Width of each.
pub const HEAD_DIM: usize = 128;
/// Cached tokens over which it decodes one more.
pub const CACHED: usize = 8192;
/// Tokens of the prompt that it runs.
pub const PROMPT: usize = 2048;
/// Rows that Linformer keeps of it.
pub const ROWS: usize = 256;
/// Key/value heads that it tries.
pub const KV_HEADS: [usize; 4] = [16, 8, 4, 1];

/// A case of the benchmark with what it has to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Timed {
    /// Its name in the recording.
    pub case: String,
    /// Its name in the book.
    pub name: String,
    /// What it reads at least, and computes.
    pub work: Step,
    /// Milliseconds that it took.
    pub time: Spread,
}

/// The mechanism of the benchmark with so many key/value heads.
#[must_use]
pub fn shared(kv_heads: usize) -> Mechanism {
    Mechanism::Shared {
        heads: HEADS as u64,
        kv_heads: kv_heads as u64,
        qk_dim: HEAD_DIM as u64,
        v_dim: HEAD_DIM as u64,
    }
}

/// Chapter 7's latent layer with as many heads.
pub const LATENT: Mechanism = Mechanism::Latent {
    heads: HEADS as u64,
    nope_dim: 128,
    rope_dim: 64,
    v_dim: 128,
    lora_rank: 512,
    q_lora_rank: None,
};

/// Weights that bring queries to latents and what is found back.
pub const ABSORBING: f64 = (512 * HEADS * 256) as f64;

/// One token over the cache, by mechanism, the largest cache first.
///
/// # Errors
/// When it was not recorded.
pub fn decoding() -> Result<Vec<Timed>> {
    let recorded = recorded()?;
    let mut all = Vec::new();
    let step = |mechanism: Mechanism, weights: f64| Step {
        bytes: 4.0 * (weights + (CACHED as u64 * mechanism.kept()) as f64),
        multiply_adds: weights + (CACHED as u64 * mechanism.pair()) as f64,
    };
    for kv_heads in KV_HEADS {
        let mechanism = shared(kv_heads);
        all.push(Timed {
            case: format!("decode_{kv_heads}"),
            name: crate::calculator::name(mechanism),
            work: step(mechanism, 0.0),
            time: recorded.spread(&format!("decode_{kv_heads}"), CACHED)?,
        });
    }
    all.push(Timed {
        case: "decode_latent".into(),
        name: "latent".into(),
        work: step(LATENT, ABSORBING),
        time: recorded.spread("decode_latent", CACHED)?,
    });
    all.sort_by(|a, b| b.work.bytes.total_cmp(&a.work.bytes));
    Ok(all)
}

/// The prompt at once, by mechanism, as the benchmark runs it: causal, but for Linformer,
/// which cannot be.
///
/// # Errors
/// When it was not recorded.
pub fn prompts() -> Result<Vec<Timed>> {
    let recorded = recorded()?;
    let (n, heads, width) = (PROMPT as f64, HEADS as f64, HEAD_DIM as f64);
    let seen = n * (n + 1.0) / 2.0;
    let expanding = n * ABSORBING;
    let condensing = 2.0 * n * ROWS as f64 * heads * width;
    let cases = [
        ("prompt_matrix", "matrix", seen * heads * 2.0 * width),
        ("prompt_flash_16", "flash", seen * heads * 2.0 * width),
        ("prompt_flash_1", "flash, 1 kv head", seen * heads * 2.0 * width),
        ("prompt_latent", "latent", expanding + seen * heads * (192.0 + 128.0)),
        ("prompt_absorbed", "absorbed", expanding + seen * LATENT.pair() as f64),
        (
            "prompt_linformer",
            "Linformer",
            condensing + n * ROWS as f64 * heads * 2.0 * width,
        ),
    ];
    cases
        .into_iter()
        .map(|(case, name, multiply_adds)| {
            Ok(Timed {
                case: case.into(),
                name: name.into(),
                work: Step { bytes: 0.0, multiply_adds },
                time: recorded.spread(case, PROMPT)?,
            })
        })
        .collect()
}

/// The machine that the benchmark ran on: what a plain sum reads, and what a large
/// product computes. Its memory is not asked for.
///
/// # Errors
/// When it was not recorded.
pub fn recorded_machine() -> Result<Machine> {
    let recorded = recorded()?;
    let reading = recorded.milliseconds("read_cache", READ_MIB)? / 1e3;
    let Roof { multiply_adds_per_second, .. } = recorded.roofs()?;
    Ok(Machine {
        name: "the benchmark’s",
        memory: 0.0,
        bandwidth: (READ_MIB << 20) as f64 / reading,
        flops: 2.0 * multiply_adds_per_second,
    })
}

/// Size in MiB of what is read to see how fast it reads: the cache of all heads.
pub const READ_MIB: usize = (2 * CACHED * HEADS * HEAD_DIM * size_of::<f32>()) >> 20;

/// What `cargo bench -p choosing -- --record` wrote down last.
///
/// # Errors
/// When the recording cannot be read.
pub fn recorded() -> Result<Recorded> {
    Recorded::parse(include_str!("../benches/recorded.csv"))
        .context("chapters/14-choosing/benches/recorded.csv")
}
