//! `permute`: a checkpoint whose heads pair their features one way in, one that pairs them
//! the other way out. Only rows of query and key projections move, whole and to the bit.

use crate::{Pairing, permutation};
use anyhow::{Context, Result, ensure};
use chapter_cli::{Destination, RawTensor, Tensors};
use grouped_query::Groups;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;

/// Move a checkpoint from one pairing of features to the other
///
/// Puts the rows of query and key projections into another order: every tensor behind the
/// prefix whose name ends in q_proj.weight, q_proj.bias, k_proj.weight or k_proj.bias, or
/// in Meta's names wq.weight and wk.weight. Without a prefix that is every layer of a whole
/// checkpoint. All other tensors and the metadata are kept as they are, and no number of
/// any dtype is changed. The output is written whole or not at all.
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
    #[arg(long, value_name = "H")]
    heads: usize,

    /// How many key/value heads they have; divides H
    #[arg(long, value_name = "G")]
    kv_heads: usize,

    /// The pairing that the output is for; the input is taken to be for the other
    #[arg(long, value_enum)]
    to: Layout,

    /// What the names of the layers begin with, such as model.layers.0.self_attn.
    #[arg(long, default_value = "", hide_default_value = true)]
    prefix: String,
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

/// The projections whose heads are paired, and whether theirs are the query heads.
const PROJECTIONS: [(&str, bool); 4] =
    [("q_proj", true), ("k_proj", false), ("wq", true), ("wk", false)];

/// Permutes a file.
///
/// # Errors
/// When a file, a tensor or a flag is not as it should be; then nothing was written.
pub fn permute(
    arguments: &Arguments,
    stdout: &mut dyn Write,
    stderr: &mut dyn Write,
) -> Result<()> {
    let Arguments { heads, kv_heads, to, ref prefix, .. } = *arguments;
    let groups = Groups::new(heads, kv_heads)
        .with_context(|| format!("--heads {heads} --kv-heads {kv_heads}"))?;
    let (from, to) = match to {
        Layout::HalfSplit => (Pairing::Neighbors, Pairing::Halves),
        Layout::Interleaved => (Pairing::Halves, Pairing::Neighbors),
    };
    let destination = Destination::check(&arguments.output)?;
    let file = Tensors::open(&arguments.input)?;
    let permuted = permute_layers(&file, prefix, groups, |width| {
        Ok(permutation(width, from, to)?)
    })?;

    let mut tensors = BTreeMap::new();
    for name in file.names() {
        tensors.insert(name.clone(), file.raw(&name)?);
    }
    let odd = left_behind(&tensors, &permuted);
    let (count, kept) = (permuted.len(), tensors.len() - permuted.len());
    tensors.extend(permuted);
    destination.write_tensors(&tensors, file.metadata())?;

    for warning in odd {
        let _ = writeln!(stderr, "warning: {}", printable(&warning));
    }
    let to = printable(&arguments.output.to_string_lossy());
    writeln!(stdout, "wrote {to}\n{count} tensors permuted, {kept} kept")?;
    Ok(())
}

/// The new tensors of every projection behind `prefix`, by their names in the file.
fn permute_layers<'a>(
    file: &'a Tensors,
    prefix: &str,
    groups: Groups,
    order: impl Fn(usize) -> Result<Vec<usize>>,
) -> Result<BTreeMap<String, RawTensor<'a>>> {
    let mut permuted = BTreeMap::new();
    let mut widths = BTreeMap::new();
    for name in file.with_prefix(prefix).names() {
        let Some((layer, is_query)) = paired(&name) else { continue };
        let full = format!("{prefix}{name}");
        let tensor = file.raw(&full)?;
        let heads = if is_query { groups.heads() } else { groups.kv_heads() };
        let width = width_of_a_head(file, &full, &tensor, heads)?;
        let layer = format!("{prefix}{layer}");
        let (first, expected) =
            widths.entry(layer).or_insert_with(|| (full.clone(), width));
        ensure!(
            *expected == width,
            "{full}: heads of {width}, but those of {first} have {expected}; are --heads \
             and --kv-heads those of the file?",
        );
        let order = order(width).with_context(|| full.clone())?;
        permuted.insert(full, with_rows_in_order(tensor, &order));
    }
    if permuted.is_empty() {
        // For its error, which names what there is.
        file.with_prefix(prefix).linear("q_proj")?;
    }
    Ok(permuted)
}

/// What stands before `q_proj.weight` and the like in a name that ends in them, and
/// whether it is about queries.
fn paired(name: &str) -> Option<(&str, bool)> {
    let of = |(projection, is_query): (&str, bool)| {
        let whose = name.strip_suffix(".weight").or(name.strip_suffix(".bias"))?;
        let layer = whose.strip_suffix(projection)?;
        (layer.is_empty() || layer.ends_with('.')).then_some((layer, is_query))
    };
    PROJECTIONS.into_iter().find_map(of)
}

/// Rows of one head in a weight or bias.
fn width_of_a_head(
    file: &Tensors,
    name: &str,
    tensor: &RawTensor,
    heads: usize,
) -> Result<usize> {
    let is_weight = name.rsplit('.').next() == Some("weight");
    let (rank, wanted) = if is_weight { (2, "[out, in]") } else { (1, "[out]") };
    let shape = &tensor.shape;
    ensure!(shape.len() == rank, "{name}: shape {shape:?}, wanted {wanted}");
    let rows = shape[0];
    let mut even = shape.clone();
    even[0] = rows.next_multiple_of(2 * heads).max(2 * heads);
    let why = "heads have one width, and their features pair up";
    ensure!(even[0] == rows, file.mismatch(name, &even, why));
    let whole = tensor.bytes.len().is_multiple_of(rows);
    ensure!(whole, "{name}: rows of {} do not end at a byte", tensor.dtype);
    Ok(rows / heads)
}

/// The tensor with the rows of each head of `order.len()` in this order.
fn with_rows_in_order<'a>(tensor: RawTensor, order: &[usize]) -> RawTensor<'a> {
    let row = (tensor.bytes.len() / tensor.shape[0]).max(1);
    let heads = tensor.bytes.chunks(row * order.len());
    let bytes: Vec<u8> = heads
        .flat_map(|head| order.iter().map(move |&from| &head[from * row..][..row]))
        .flatten()
        .copied()
        .collect();
    RawTensor { dtype: tensor.dtype, shape: tensor.shape, bytes: bytes.into() }
}

/// A sentence for each tensor that follows the features of a permuted projection and is
/// neither its weight nor its bias.
fn left_behind(
    all: &BTreeMap<String, RawTensor>,
    permuted: &BTreeMap<String, RawTensor>,
) -> Vec<String> {
    let projections: BTreeSet<&str> =
        permuted.keys().filter_map(|name| name.rsplit_once('.')).map(|x| x.0).collect();
    let belongs = |name: &str| {
        let scales = |projection: &&str| {
            let norm = projection.replace("_proj", "_norm");
            [*projection, &norm].iter().any(|owner| {
                let rest = name.strip_prefix(owner);
                rest.is_some_and(|rest| rest.starts_with('.'))
            })
        };
        projections.iter().any(scales)
    };
    let odd = all.keys().filter(|name| belongs(name) && !permuted.contains_key(*name));
    odd.map(|name| format!("{name} is kept, though its projection was permuted"))
        .collect()
}

/// Without what could break a line or color a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
