//! `permute`: a checkpoint whose heads pair their features one way in, one that pairs them
//! the other way out. Only rows of query and key projections move, whole and to the bit, and
//! the gains of norms that stand behind them. What cannot be moved rightly is refused.

use crate::reordering::{
    Reordered, Rules, is_table, parts, reorder_layer, width_of_all,
};
use crate::told::Told;
use crate::{Pairing, permutation};
use anyhow::{Context, Result, ensure};
use chapter_cli::{AttentionLayers, Destination, Tensors, attention_layers};
use grouped_query::Groups;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

/// Move a checkpoint from one pairing of features to the other
///
/// Puts the rows of query and key projections into another order: every tensor behind the
/// prefix whose name ends in q_proj.weight, q_proj.bias, k_proj.weight or k_proj.bias, or
/// in Meta's names wq.weight and wk.weight; and with them the gains of a norm on queries or
/// keys. Without a prefix that is every layer of a whole checkpoint. Of DeepSeek's layers
/// with a latent only the rows that are rotated move. All other tensors and the metadata are
/// kept as they are, and no number of any dtype is changed. The output is written whole or
/// not at all. A checkpoint in several files is permuted file by file.
///
/// Refused are packed and blockwise quantized layers, fused projections (qkv_proj,
/// query_key_value, c_attn, …), and layers with a tensor that the command does not know.
/// Vision and audio towers are left alone, unless the prefix names one.
///
/// Run with the rotation of the new pairing, the model gives the scores that it gave before
/// with that of the old. Names are kept: a file from Meta still has Meta's names.
// clap shows this text as it stands, and would show backticks, too.
#[expect(clippy::doc_markdown)]
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The safetensors file to read
    #[arg(long, value_name = "FILE")]
    input: PathBuf,

    /// The safetensors file to write
    #[arg(long, value_name = "FILE")]
    output: PathBuf,

    /// How many query heads the layers have
    #[arg(long, value_name = "H", required_unless_present = "config")]
    heads: Option<usize>,

    /// How many key/value heads they have; divides H
    #[arg(long, value_name = "G", required_unless_present = "config")]
    kv_heads: Option<usize>,

    /// The model's config.json, which says what --heads, --kv-heads and --rotary-dim say
    #[arg(long, value_name = "FILE",
        conflicts_with_all = ["heads", "kv_heads", "rotary_dim"])]
    config: Option<PathBuf>,

    /// The pairing that the output is for; the input is taken to be for the other
    #[arg(long, value_enum)]
    to: Layout,

    /// How many features of a head rotate, if not all: the first R. In config.json that is
    /// partial_rotary_factor (or rotary_pct) times the width of a head, or rotary_dim. A
    /// config.json beside the input that says otherwise is an error
    #[arg(long, value_name = "R")]
    rotary_dim: Option<usize>,

    /// What the names of the layers begin with, such as model.layers.0.self_attn
    #[arg(long, default_value = "", hide_default_value = true)]
    prefix: String,

    /// How wide a head is, where the file holds no query or key projection that tells it
    #[arg(long, value_name = "D")]
    head_dim: Option<usize>,

    /// Keep a tensor of the layers as it is that the command does not know, by its name
    /// behind the layer's, such as gate.weight; may be given several times
    #[arg(long, value_name = "NAME")]
    keep: Vec<String>,
}

/// [`Pairing`] by the name that it has elsewhere.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Layout {
    /// Features i and i + head_dim/2: Llama in Hugging Face's Transformers
    // As above.
    #[expect(clippy::doc_markdown)]
    HalfSplit,
    /// Features 2i and 2i + 1: Meta's own files
    Interleaved,
}

/// Permutes a file.
///
/// # Errors
/// When a file, a tensor or a flag is not as it should be; then nothing was written.
pub fn permute(
    arguments: &Arguments,
    stdout: &mut dyn Write,
    stderr: &mut dyn Write,
) -> Result<()> {
    let (from, to) = match arguments.to {
        Layout::HalfSplit => (Pairing::Neighbors, Pairing::Halves),
        Layout::Interleaved => (Pairing::Halves, Pairing::Neighbors),
    };
    let (groups, rotary_dim) = heads_of(arguments, to)?;
    if let Some(rotary_dim) = rotary_dim {
        permutation(rotary_dim, from, to)
            .with_context(|| format!("--rotary-dim {rotary_dim}"))?;
    }
    let destination = Destination::check(&arguments.output)?;
    let file = Tensors::open(&arguments.input)?;
    expect_as_beside(arguments)?;
    let found = attention_layers(&file, &arguments.prefix, &parts())?;
    let mut tables = found.around.clone();
    tables.retain(|name| is_table(name));
    let rules = Rules {
        groups,
        from,
        to,
        rotary_dim,
        head_dim: arguments.head_dim,
        keep: &arguments.keep,
        tables: &tables,
    };
    let Reordered { tensors: permuted, notes } = reorder_layers(&file, &found, rules)?;

    let mut tensors = BTreeMap::new();
    for name in file.names() {
        tensors.insert(name.clone(), file.raw(&name)?);
    }
    let (count, kept) = (permuted.len(), tensors.len() - permuted.len());
    tensors.extend(permuted);
    destination.write_tensors(&tensors, file.metadata())?;

    for tower in found.towers {
        let note = format!(
            "what stands under {tower} is another part of the model, and kept; \
             --prefix {tower} permutes it"
        );
        let _ = writeln!(stderr, "warning: {}", printable(&note));
    }
    let to = printable(&arguments.output.to_string_lossy());
    let s = if count == 1 { "" } else { "s" };
    writeln!(stdout, "wrote {to}\n{count} tensor{s} permuted, {kept} kept")?;
    for note in notes {
        writeln!(stdout, "{note}")?;
    }
    Ok(())
}

/// The heads of the layers and how many of their features rotate, if not all, as the flags
/// or config.json say.
fn heads_of(arguments: &Arguments, to: Pairing) -> Result<(Groups, Option<usize>)> {
    if let Some(config) = &arguments.config {
        let Told { heads, kv_heads, rotary_dim, .. } = Told::by(config, to)?;
        return Ok((Groups::new(heads, kv_heads)?, Some(rotary_dim)));
    }
    let (heads, kv_heads) =
        (arguments.heads.unwrap_or(0), arguments.kv_heads.unwrap_or(0));
    let groups = Groups::new(heads, kv_heads)
        .with_context(|| format!("--heads {heads} --kv-heads {kv_heads}"))?;
    Ok((groups, arguments.rotary_dim))
}

/// Weights do not say how much of a head rotates; the config.json that lies beside them
/// does.
fn expect_as_beside(arguments: &Arguments) -> Result<()> {
    if arguments.config.is_some() {
        return Ok(());
    }
    let told = match Told::beside(&arguments.input) {
        Err(_) if arguments.rotary_dim.is_some() => None,
        told => told?,
    };
    let Some(Told { width, rotary_dim, .. }) = told else { return Ok(()) };
    let meant = arguments.rotary_dim.unwrap_or(width);
    ensure!(
        meant == rotary_dim,
        "{rotary_dim} of {width} features of a head rotate, as the config.json beside the \
         input says: --rotary-dim {rotary_dim}, or --config"
    );
    Ok(())
}

/// The new tensors of every layer, by their names in the file.
fn reorder_layers(
    file: &Tensors,
    found: &AttentionLayers,
    rules: Rules,
) -> Result<Reordered> {
    let width = width_of_all(file, &found.layers, rules.groups);
    let mut all = Reordered::default();
    for layer in &found.layers {
        all.add(reorder_layer(file, layer, rules, width)?);
    }
    Ok(all)
}

/// Without what could break a line or color a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
