//! `convert`: a multi-head checkpoint in, a grouped-query checkpoint out. Every
//! `k_proj` and `v_proj` behind the prefix is pooled; all else stays as it is.

use crate::{Groups, Pool, Pooling};
use anyhow::{Context, Result, ensure};
use chapter_cli::{Destination, LinearTensors, RawTensor, Tensors};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;

/// Turn a multi-head checkpoint into a grouped-query one
///
/// Pools the keys and values of neighboring heads: every tensor whose name ends in
/// k_proj.weight, k_proj.bias, v_proj.weight or v_proj.bias and begins with the prefix.
/// Without a prefix that is every layer of a whole checkpoint. All other tensors and the
/// metadata are kept as they are, and so are the dtypes. The output is written whole or
/// not at all.
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

    /// What a group starts from: the mean of its heads, the first of them, or new random
    /// numbers of their size
    #[arg(long, value_enum, default_value_t = Method::Mean)]
    method: Method,

    /// For --method random
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// What the names of the layers begin with, such as model.layers.0.self_attn.
    #[arg(long, default_value = "", hide_default_value = true)]
    prefix: String,
}

/// [`Pooling`] by name.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Method {
    Mean,
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
    let Arguments { heads, kv_heads, method, seed, ref prefix, .. } = *arguments;
    let groups = Groups::new(heads, kv_heads)
        .with_context(|| format!("--heads {heads} --kv-heads {kv_heads}"))?;
    let pooling = match method {
        Method::Mean => Pooling::Mean,
        Method::First => Pooling::First,
        Method::Random => Pooling::Random { seed },
    };
    let destination = Destination::check(&arguments.output)?;
    let file = Tensors::open(&arguments.input)?;
    let converted = pool_layers(&file, prefix, &mut Pool::new(groups, pooling))?;

    let mut tensors = BTreeMap::new();
    for name in file.names() {
        tensors.insert(name.clone(), file.raw(&name)?);
    }
    let odd = left_behind(&tensors, &converted);
    let (count, kept) = (converted.len(), tensors.len() - converted.len());
    tensors.extend(converted);
    destination.write_tensors(&tensors, file.metadata())?;

    for warning in file.warnings().into_iter().chain(odd) {
        let _ = writeln!(stderr, "warning: {}", printable(&warning));
    }
    let to = printable(&arguments.output.to_string_lossy());
    writeln!(stdout, "wrote {to}\n{count} tensors pooled, {kept} kept")?;
    writeln!(stdout, "in config.json, set num_key_value_heads to {kv_heads}")?;
    Ok(())
}

/// The new tensors of every layer behind `prefix`, by their names in the file.
fn pool_layers(
    file: &Tensors,
    prefix: &str,
    pool: &mut Pool,
) -> Result<BTreeMap<String, RawTensor<'static>>> {
    let names = file.with_prefix(prefix).names();
    let layers: BTreeSet<&str> =
        names.iter().filter_map(|name| layer_of(name)).collect();
    let mut pooled = BTreeMap::new();
    for layer in &layers {
        let view = file.with_prefix(&format!("{prefix}{layer}"));
        for name in ["k_proj", "v_proj"] {
            for (part, tensor) in pool_projection(&view, name, pool)? {
                pooled.insert(format!("{prefix}{layer}{name}.{part}"), tensor);
            }
        }
    }
    if layers.is_empty() {
        // For its error, which names what there is.
        file.with_prefix(prefix).linear("k_proj")?;
    }
    Ok(pooled)
}

/// What stands before `k_proj.weight` and the like in a name that ends in them.
fn layer_of(name: &str) -> Option<&str> {
    let tensors = ["k_proj.weight", "k_proj.bias", "v_proj.weight", "v_proj.bias"];
    let before = tensors.iter().find_map(|tensor| name.strip_suffix(tensor))?;
    (before.is_empty() || before.ends_with('.')).then_some(before)
}

/// The weight and, if there is one, the bias of one projection.
fn pool_projection(
    layer: &Tensors,
    name: &str,
    pool: &mut Pool,
) -> Result<Vec<(&'static str, RawTensor<'static>)>> {
    let (heads, kv_heads) = (pool.groups.heads(), pool.groups.kv_heads());
    let LinearTensors { weight, bias } = layer.linear(name)?;
    let full = format!("{name}.weight");
    let (d_in, d_out) = weight.shape();
    ensure!(
        d_out.is_multiple_of(heads),
        layer.mismatch(
            &full,
            &[d_out.next_multiple_of(heads), d_in],
            "heads have one width"
        ),
    );
    if name == "k_proj" && layer.contains("q_proj.weight") {
        let queries = layer.linear("q_proj")?.weight.ncols();
        let why = "a multi-head layer has as wide keys as queries";
        ensure!(d_out == queries, layer.mismatch(&full, &[queries, d_in], why));
    }
    let width = d_out / heads * kv_heads;
    let mut parts = Vec::new();
    let mut add = |part, shape: Vec<usize>, numbers: &[f32]| -> Result<()> {
        let dtype = layer.raw(&format!("{name}.{part}"))?.dtype;
        parts.push((part, RawTensor::of(dtype, shape, &pool.blocks(numbers))?));
        Ok(())
    };
    add("weight", vec![width, d_in], weight.as_slice())?;
    if let Some(bias) = bias {
        add("bias", vec![width], bias.as_slice())?;
    }
    Ok(parts)
}

/// A sentence for each tensor that belongs to a pooled projection and is neither its
/// weight nor its bias.
fn left_behind(
    all: &BTreeMap<String, RawTensor>,
    pooled: &BTreeMap<String, RawTensor>,
) -> Vec<String> {
    let projections: BTreeSet<&str> =
        pooled.keys().filter_map(|name| name.strip_suffix(".weight")).collect();
    let belongs = |name: &str| {
        let rest = projections.iter().find_map(|p| name.strip_prefix(p));
        rest.is_some_and(|rest| rest.starts_with('.'))
    };
    let odd = all.keys().filter(|name| belongs(name) && !pooled.contains_key(*name));
    odd.map(|name| format!("{name} is kept, though its projection was pooled"))
        .collect()
}

/// Without what could break a line or color a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
