//! The calculator: one model, one machine, one setting, and every mechanism in turn.

use crate::{Machine, Mechanism, Model, Setting};
use anyhow::Result;
use attention::example::grouped as thousands;
use checkpoint::Bytes;
use serde::Serialize;
use std::fmt::Write;

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// The model, with the mechanism that it has.
    pub model: Model,
    /// The machine that it runs on.
    pub machine: Machine,
    /// How long, how many, how many bytes per number.
    pub setting: Setting,
    /// How many such machines divide every layer among themselves.
    pub devices: u64,
    /// How a file says that its weights are stored, if not in half precision: the
    /// method of quantization, or the type.
    pub stored: Option<String>,
}

/// The answer for one mechanism. Where several devices divide the model, bytes and
/// multiply-adds are those of each of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// In the book's words.
    pub mechanism: String,
    /// Whether it is what the model has.
    pub own: bool,
    /// Numbers that were learned, in the model as a whole.
    pub parameters: f64,
    /// Bytes of all of them.
    pub weight_bytes: f64,
    /// Bytes that a token leaves in the cache of all layers, while no window is full.
    pub cache_bytes_per_token: f64,
    /// Bytes of one sequence's cache.
    pub cache_bytes_per_sequence: f64,
    /// Bytes of weights and of all caches.
    pub memory_bytes: f64,
    /// Sequences that fit beside the weights.
    pub sequences_that_fit: Option<u64>,
    /// Whether the batch does.
    pub fits: bool,
    /// Bytes that a step reads.
    pub step_bytes: f64,
    /// Multiply-adds of a step.
    pub step_multiply_adds: f64,
    /// Multiply-adds of one sequence's prompt.
    pub prefill_multiply_adds: f64,
    /// Shortest possible time for one sequence's prompt, by arithmetic alone.
    pub prefill_seconds: f64,
    /// No program that makes one token per step makes more of them per second, over the
    /// whole batch.
    pub tokens_per_second: f64,
    /// What the machine waits for: `memory` or `arithmetic`.
    pub limited_by: &'static str,
}

impl Question {
    /// A row for each mechanism that the devices can divide, the largest cache first.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        self.divided().iter().map(|divided| self.row(divided)).collect()
    }

    /// The model with each mechanism that the devices can divide, the largest cache first.
    #[must_use]
    pub fn divided(&self) -> Vec<Divided> {
        let all = variants(&self.model).into_iter();
        let divided = all.filter_map(|(mechanism, model)| {
            let own = model.mechanism == self.model.mechanism;
            let share = model.share(self.devices).ok()?;
            Some(Divided { mechanism, own, parameters: model.parameters(), share })
        });
        divided.collect()
    }

    /// `H100`, or `8 × H100`.
    #[must_use]
    pub fn machines(&self) -> String {
        match self.devices {
            1 => self.machine.name.to_owned(),
            devices => format!("{} × {}", thousands(devices), self.machine.name),
        }
    }

    fn row(&self, divided: &Divided) -> Row {
        let Question { machine, setting, .. } = self;
        let Divided { mechanism, own, parameters, share: model } = divided;
        let weight_bytes = model.weights().bytes(setting.weight_bytes);
        let sequence = model.cache(setting.context) * setting.cache_bytes;
        let memory_bytes = weight_bytes + sequence * setting.batch as f64;
        let step = model.step(setting);
        let reading = step.bytes / machine.bandwidth;
        let prefill = model.prefill(setting.context);
        let kept = (model.layers * model.mechanism.kept()) as f64;
        Row {
            mechanism: mechanism.clone(),
            own: *own,
            parameters: *parameters,
            weight_bytes,
            cache_bytes_per_token: kept * setting.cache_bytes,
            cache_bytes_per_sequence: sequence,
            memory_bytes,
            sequences_that_fit: machine.sequences(model, setting),
            fits: memory_bytes <= machine.memory,
            step_bytes: step.bytes,
            step_multiply_adds: step.multiply_adds,
            prefill_multiply_adds: prefill,
            prefill_seconds: 2.0 * prefill / machine.flops,
            tokens_per_second: machine.ceiling(model, setting),
            limited_by: if machine.seconds(step) > reading {
                "arithmetic"
            } else {
                "memory"
            },
        }
    }

    /// The rows as a table for the terminal. A mechanism that the model has is marked.
    #[must_use]
    pub fn table(&self) -> String {
        let Setting { context, batch, .. } = self.setting;
        let mut text = format!(
            "{} on {}\n{} tokens each, batch of {}\n",
            self.model.name,
            self.machines(),
            thousands(context),
            thousands(batch),
        );
        if let Some(stored) = &self.stored {
            let size = bytes(self.model.weights().bytes(self.setting.weight_bytes));
            let _ = writeln!(text, "weights in {stored}: {size}");
        }
        text += "\n";
        text += match self.devices {
            1 => "               cache per      they   most\n",
            _ => "     cache per device and     they   most\n",
        };
        text += "              token  sequence  fit  tok/s\n";
        for row in self.rows() {
            let mark = if row.own { "*" } else { " " };
            let speed = if row.fits {
                thousands(row.tokens_per_second.round() as u64)
            } else {
                "–".to_owned()
            };
            let fit = row.sequences_that_fit.map_or("any".to_owned(), short);
            let _ = writeln!(
                text,
                "{mark}{:<11}{:>8} {:>8} {fit:>5}{speed:>8}",
                row.mechanism,
                bytes(row.cache_bytes_per_token),
                bytes(row.cache_bytes_per_sequence),
            );
        }
        let left_out = self.undivided();
        if !left_out.is_empty() {
            let (devices, left_out) = (thousands(self.devices), left_out.join(", "));
            let _ = writeln!(text, "\n{devices} devices cannot divide: {left_out}");
        }
        text
    }

    /// The mechanisms that the devices cannot divide, by name.
    fn undivided(&self) -> Vec<String> {
        let divided = self.divided();
        let is_divided =
            |name: &String| divided.iter().any(|divided| divided.mechanism == *name);
        let names = variants(&self.model).into_iter().map(|(name, _)| name);
        names.filter(|name| !is_divided(name)).collect()
    }

    /// The question and the rows as JSON.
    ///
    /// # Errors
    /// None that can happen: all numbers are finite.
    pub fn json(&self) -> Result<String> {
        #[derive(Serialize)]
        struct Answer<'a> {
            model: &'a str,
            machine: &'a str,
            devices: u64,
            context: u64,
            batch: u64,
            stored: Option<&'a str>,
            weight_bytes: f64,
            weight_bytes_by_part: Parts,
            cache_bytes: f64,
            mechanisms: Vec<Row>,
        }
        #[derive(Serialize)]
        struct Parts {
            attention: f64,
            network: f64,
            experts: f64,
            head: f64,
            table: f64,
            rest: f64,
        }
        let Setting { context, batch, weight_bytes: each, cache_bytes } = self.setting;
        let Bytes { attention, network, experts, head, table, rest } = each;
        let weights = self.model.weights();
        let answer = Answer {
            model: &self.model.name,
            machine: self.machine.name,
            devices: self.devices,
            context,
            batch,
            stored: self.stored.as_deref(),
            weight_bytes: weights.bytes(each) / weights.count(),
            weight_bytes_by_part: Parts {
                attention,
                network,
                experts,
                head,
                table,
                rest,
            },
            cache_bytes,
            mechanisms: self.rows(),
        };
        Ok(serde_json::to_string_pretty(&answer)?)
    }
}

/// A mechanism in place of the model's own.
#[derive(Debug, Clone, PartialEq)]
pub struct Divided {
    /// Its name in the book's words.
    pub mechanism: String,
    /// Whether it is the model's own.
    pub own: bool,
    /// Numbers that were learned, in the model as a whole.
    pub parameters: f64,
    /// What each device holds: the whole model, if there is one device.
    pub share: Model,
}

/// The model with each mechanism in place of its own, the largest cache first: a key and a
/// value for each head, for 8 heads, and one for all; and a latent as `DeepSeek` sizes it,
/// 4 heads wide, with half a head turned (DeepSeek-AI 2024, *DeepSeek-V2*, §2.1.4).
#[must_use]
pub fn variants(model: &Model) -> Vec<(String, Model)> {
    let (heads, own_kv_heads, qk_dim, v_dim) = match model.mechanism {
        Mechanism::Shared { heads, kv_heads, qk_dim, v_dim } => {
            (heads, kv_heads, qk_dim, v_dim)
        }
        Mechanism::Latent { heads, nope_dim, rope_dim, v_dim, .. } => {
            (heads, heads, nope_dim + rope_dim, v_dim)
        }
    };
    let mut shared = vec![heads, own_kv_heads, 1];
    if heads.is_multiple_of(8) {
        shared.push(8);
    }
    let latent = match model.mechanism {
        own @ Mechanism::Latent { .. } => own,
        Mechanism::Shared { .. } => Mechanism::Latent {
            heads,
            nope_dim: qk_dim,
            rope_dim: qk_dim.div_ceil(2),
            v_dim,
            lora_rank: 4 * v_dim,
            q_lora_rank: None,
        },
    };
    let shared = shared.into_iter().map(|kv_heads| Mechanism::Shared {
        heads,
        kv_heads,
        qk_dim,
        v_dim,
    });
    let mut mechanisms: Vec<Mechanism> = shared.chain([latent]).collect();
    mechanisms.sort_by_key(|mechanism| std::cmp::Reverse(mechanism.kept()));
    mechanisms.dedup();
    let named = mechanisms
        .into_iter()
        .map(|m| (name(m), Model { mechanism: m, ..model.clone() }));
    named.collect()
}

/// In the book's words, short enough for a table.
#[must_use]
pub fn name(mechanism: Mechanism) -> String {
    match mechanism {
        Mechanism::Shared { heads, kv_heads, .. } if heads == kv_heads => {
            "multi-head".to_owned()
        }
        Mechanism::Shared { kv_heads: 1, .. } => "multi-query".to_owned(),
        Mechanism::Shared { kv_heads, .. } => format!("{kv_heads} kv heads"),
        Mechanism::Latent { lora_rank, .. } => format!("latent {lora_rank}"),
    }
}

/// `512 KiB`: three digits, in powers of 1,024.
#[must_use]
pub fn bytes(bytes: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut size = bytes;
    let mut unit = 0;
    while size >= 999.5 && unit + 1 < units.len() {
        size /= 1024.0;
        unit += 1;
    }
    let digits = if unit == 0 || size >= 99.95 {
        0
    } else if size >= 9.995 {
        1
    } else {
        2
    };
    let number = format!("{size:.digits$}");
    let number = if number.contains('.') {
        number.trim_end_matches('0').trim_end_matches('.')
    } else {
        &number
    };
    format!("{number} {}", units[unit])
}

/// A count in at most five characters.
fn short(count: u64) -> String {
    match count {
        0..=9_999 => thousands(count),
        10_000..=999_999 => format!("{}k", count / 1000),
        _ => "many".to_owned(),
    }
}
