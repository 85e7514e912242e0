//! `convert`: a multi-head checkpoint in, a grouped-query checkpoint out. Every `k_proj` and
//! `v_proj` behind the prefix is pooled, and a norm that belongs to their heads with them;
//! all else stays as it is. What cannot be converted rightly is refused.

use crate::aligning::{Aligned, Rotary, Rotates, align_layer};
use crate::pooling::{Pooled, Turned, Widths, parts, pool_layer};
use crate::{Groups, Pool, Pooling};
use anyhow::{Context, Result, ensure};
use chapter_cli::{AttentionLayers, Destination, Tensors, attention_layers};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

/// Turn a multi-head checkpoint into a grouped-query one
///
/// Pools the keys and values of neighboring heads: every tensor whose name ends in
/// k_proj.weight, k_proj.bias, v_proj.weight or v_proj.bias and begins with the prefix.
/// Without a prefix that is every layer of a whole checkpoint. A norm on the keys that has
/// a gain for each head is pooled as they are; a norm with one gain for all heads stays.
/// All other tensors and the metadata are kept as they are, and so are the dtypes. The
/// output is written whole or not at all. A checkpoint in several files is converted file by
/// file.
///
/// With --method aligned the heads of each group are first turned toward one another, which
/// changes no output: queries and keys together, values together with the output
/// projection. So q_proj and o_proj change, too, and have to be in the same file. Values
/// turn freely. Keys turn freely only if nothing rotates them; --rotary says how they
/// rotate, and then they turn within each pair of features. A norm on queries or keys
/// holds the keys as they are.
///
/// Refused are quantized layers, fused projections (qkv_proj, query_key_value, c_attn, …),
/// and layers with a tensor that the command does not know. Vision and audio towers are left
/// alone, unless the prefix names one.
///
/// The result is a starting point: on a trained model it gives wrong answers until it
/// has been trained a little further.
// clap shows this text as it stands, and would show backticks, too.
#[expect(clippy::doc_markdown)]
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The safetensors file with multi-head layers
    #[arg(long, value_name = "FILE")]
    input: PathBuf,

    /// The safetensors file to write
    #[arg(long, value_name = "FILE")]
    output: PathBuf,

    /// How many heads the layers have
    #[arg(long, value_name = "H")]
    heads: usize,

    /// How many key/value heads to leave; divides H
    #[arg(long, value_name = "G")]
    kv_heads: usize,

    /// What a group starts from: the mean of its heads, their mean after they were turned
    /// toward one another, the first of them, or new random numbers of their size
    #[arg(long, value_enum, default_value_t = Method::Mean)]
    method: Method,

    /// For --method random
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// For --method aligned: how queries and keys rotate with their position
    #[arg(long, value_enum, required_if_eq("method", "aligned"))]
    rotary: Option<Rotary>,

    /// For --rotary: how many features of a head rotate, if not all: the first R. In
    /// config.json that is partial_rotary_factor (or rotary_pct) times the width of a head
    #[arg(long, value_name = "R", requires = "rotary")]
    rotary_dim: Option<usize>,

    /// What the names of the layers begin with, such as model.layers.0.self_attn
    #[arg(long, default_value = "", hide_default_value = true)]
    prefix: String,

    /// How wide a head is, where the file holds no q_proj.weight that tells it
    #[arg(long, value_name = "D")]
    head_dim: Option<usize>,

    /// Keep a tensor of the layers as it is that the command does not know, by its name
    /// behind the layer's, such as gate.weight; may be given several times
    #[arg(long, value_name = "NAME")]
    keep: Vec<String>,
}

/// [`Pooling`] by name.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Method {
    Mean,
    Aligned,
    First,
    Random,
}

/// Converts a file.
///
/// # Errors
/// When a file, a tensor or a flag is not as it should be; then nothing was written.
pub fn convert(
    arguments: &Arguments,
    stdout: &mut dyn Write,
    stderr: &mut dyn Write,
) -> Result<()> {
    let Arguments { heads, kv_heads, method, seed, .. } = *arguments;
    let groups = Groups::new(heads, kv_heads)
        .with_context(|| format!("--heads {heads} --kv-heads {kv_heads}"))?;
    let pooling = match method {
        Method::Mean | Method::Aligned => Pooling::Mean,
        Method::First => Pooling::First,
        Method::Random => Pooling::Random { seed },
    };
    let destination = Destination::check(&arguments.output)?;
    let file = Tensors::open(&arguments.input)?;
    let found = attention_layers(&file, &arguments.prefix, &parts())?;
    let rotates = rotates(arguments, &file)?;
    let mut pool = Pool::new(groups, pooling);
    let converted = pool_layers(&file, &found, &mut pool, rotates, arguments)?;

    let mut tensors = BTreeMap::new();
    let gone = match converted.dropped.len() {
        0 => String::new(),
        dropped => format!(", {dropped} left out"),
    };
    for name in file.names() {
        if !converted.dropped.contains(&name) {
            tensors.insert(name.clone(), file.raw(&name)?);
        }
    }
    let count = converted.tensors.len();
    tensors.extend(converted.tensors);
    let turned = converted.turned.len();
    tensors.extend(converted.turned);
    let kept = tensors.len() - count - turned;
    let turned = if turned == 0 { String::new() } else { format!("{turned} turned, ") };
    destination.write_tensors(&tensors, file.metadata())?;

    let towers = found.towers.iter().map(|tower| left_alone(tower));
    let warnings = file.warnings().into_iter().chain(converted.warnings).chain(towers);
    for warning in warnings {
        let _ = writeln!(stderr, "warning: {}", printable(&warning));
    }
    let to = printable(&arguments.output.to_string_lossy());
    let s = if count == 1 { "" } else { "s" };
    writeln!(
        stdout,
        "wrote {to}\n{count} tensor{s} pooled, {turned}{kept} kept{gone}"
    )?;
    writeln!(stdout, "in config.json, set num_key_value_heads to {kv_heads}")?;
    Ok(())
}

/// How keys rotate, if the heads are to be aligned.
fn rotates(arguments: &Arguments, file: &Tensors) -> Result<Option<Rotates>> {
    let is_aligned = matches!(arguments.method, Method::Aligned);
    let Some(how) = arguments.rotary.filter(|_| is_aligned) else { return Ok(None) };
    ensure!(
        arguments.keep.is_empty(),
        "--keep with --method aligned: what the command does not know may act on single \
         features, which turning mixes; --method mean leaves them in their places"
    );
    let rotates = Rotates { how, features: arguments.rotary_dim };
    rotates.expect_as_told(file, &arguments.input)?;
    Ok(Some(rotates))
}

/// The new tensors of every layer, by their names in the file.
fn pool_layers(
    file: &Tensors,
    found: &AttentionLayers,
    pool: &mut Pool,
    rotates: Option<Rotates>,
    arguments: &Arguments,
) -> Result<Pooled> {
    let widths = Widths::of(file, &found.layers, pool, arguments.head_dim)?;
    let mut all = Pooled::default();
    for layer in &found.layers {
        let plain = Turned::new();
        let mut pooled =
            pool_layer(file, layer, pool, widths, &arguments.keep, &plain)?;
        // Only what can be pooled as it is gets so far.
        if let Some(rotates) = rotates {
            let aligned = align_layer(file, layer, pool.groups, rotates)?;
            let Aligned { turned, keys_are_fixed } = aligned;
            pooled = pool_layer(file, layer, pool, widths, &[], &turned)?;
            pooled.keep_turned(file, layer, turned)?;
            if keys_are_fixed {
                pooled.warn_of_fixed_keys();
            }
        }
        all.add(pooled);
    }
    Ok(all)
}

fn left_alone(tower: &str) -> String {
    format!(
        "what stands under {tower} is another part of the model, and kept; \
         --prefix {tower} converts it"
    )
}

/// Without what could break a line or color a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
