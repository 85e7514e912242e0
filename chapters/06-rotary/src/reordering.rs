//! What `permute` does to one layer of a checkpoint.

use crate::{Pairing, permutation};
use anyhow::{Context, Result, bail, ensure};
use chapter_cli::{AttentionLayer, Dtype, RawTensor, Tensors};
use grouped_query::Groups;
use std::collections::{BTreeMap, BTreeSet};

/// What the flags say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules<'a> {
    pub(crate) groups: Groups,
    pub(crate) from: Pairing,
    pub(crate) to: Pairing,
    /// So many features of a head rotate.
    pub(crate) rotary_dim: Option<usize>,
    /// So wide is a head, where its projections are in another file.
    pub(crate) head_dim: Option<usize>,
    /// Tensors that the reader vouches for.
    pub(crate) keep: &'a [String],
    /// Frequencies of rotary positions that stand outside of the layers.
    pub(crate) tables: &'a [String],
}

/// What became of some layers.
#[derive(Debug, Default)]
pub(crate) struct Reordered {
    /// The new tensors, by their names in the file.
    pub(crate) tensors: BTreeMap<String, RawTensor<'static>>,
    /// Which features moved.
    pub(crate) notes: BTreeSet<String>,
}

impl Reordered {
    pub(crate) fn add(&mut self, other: Reordered) {
        self.tensors.extend(other.tensors);
        self.notes.extend(other.notes);
    }
}

/// The projections whose heads are paired, and whether theirs are the query heads.
const PROJECTIONS: [(&str, bool); 4] =
    [("q_proj", true), ("k_proj", false), ("wq", true), ("wk", false)];

/// Norms on queries and keys. Whether they stand before the rotation or behind it, a gain
/// goes where its feature goes.
const NORMS: [(&str, bool); 12] = [
    ("q_norm", true),
    ("k_norm", false),
    ("q_layernorm", true),
    ("k_layernorm", false),
    ("query_norm", true),
    ("key_norm", false),
    ("query_layernorm", true),
    ("key_layernorm", false),
    ("q_ln", true),
    ("k_ln", false),
    ("norm_q", true),
    ("norm_k", false),
];

/// Parts of a layer that do not know in which order the features of a key stand.
const ASIDE: [&str; 12] = [
    "v_proj",
    "wv",
    "o_proj",
    "out_proj",
    "dense",
    "c_proj",
    "wo",
    "v_norm",
    "norm_v",
    "attn_sub_norm",
    "inner_attn_ln",
    "kv_b_proj",
];

/// What is one number for each head, or one for all.
const NUMBERS: [&str; 7] = [
    "sinks",
    "sink",
    "attention_sinks",
    "attn_sinks",
    "attention_sink_bias",
    "k_scale",
    "v_scale",
];

/// What belongs to a projection and moves with its rows: biases, and scales of rows.
const ROWS: [&str; 4] = ["weight", "bias", "weight_scale", "weight_scale_inv"];

/// Projections of a layer with a latent of which a part is rotated.
const LATENT: [&str; 3] = ["q_proj", "q_b_proj", "kv_a_proj_with_mqa"];

/// Parts of a layer with a latent that are not rotated.
const LATENT_ASIDE: [&str; 5] =
    ["q_a_proj", "q_a_layernorm", "kv_a_layernorm", "kv_b_proj", "o_proj"];

/// The modules whose tensors move, or tell which do.
pub(crate) fn parts() -> Vec<&'static str> {
    let heads = PROJECTIONS.iter().chain(&NORMS).map(|part| part.0);
    heads.chain(LATENT).collect()
}

/// The new tensors of one layer. `file_width` is the width of the other layers' heads.
pub(crate) fn reorder_layer(
    file: &Tensors,
    layer: &AttentionLayer,
    rules: Rules,
    file_width: Option<usize>,
) -> Result<Reordered> {
    let view = &file.with_prefix(&layer.path);
    let mut one = Layer { file, view, layer, rules, found: Reordered::default() };
    let is_latent = ["kv_a_proj_with_mqa", "kv_b_proj", "kv_a_layernorm", "q_b_proj"]
        .iter()
        .any(|part| layer.part(part).next().is_some());
    if is_latent {
        one.reorder_latent()?;
    } else {
        one.reorder_heads(file_width)?;
    }
    Ok(one.found)
}

/// The width of a head, if all layers that tell it agree.
pub(crate) fn width_of_all(
    file: &Tensors,
    layers: &[AttentionLayer],
    groups: Groups,
) -> Option<usize> {
    let widths: BTreeSet<usize> = layers
        .iter()
        .flat_map(|layer| PROJECTIONS.map(|projection| (layer, projection)))
        .filter_map(|(layer, (name, is_query))| {
            let heads = if is_query { groups.heads() } else { groups.kv_heads() };
            let shape = file.shape(&format!("{}{name}.weight", layer.path)).ok()?;
            Some(shape.first()? / heads)
        })
        .collect();
    (widths.len() == 1).then(|| widths.first().copied())?
}

/// A layer on its way.
struct Layer<'a> {
    file: &'a Tensors,
    /// The file, seen through the layer's path.
    view: &'a Tensors,
    layer: &'a AttentionLayer,
    rules: Rules<'a>,
    found: Reordered,
}

impl Layer<'_> {
    fn heads(&self, is_query: bool) -> usize {
        let groups = self.rules.groups;
        if is_query { groups.heads() } else { groups.kv_heads() }
    }

    /// Queries and keys whose heads rotate from their first feature on.
    fn reorder_heads(&mut self, file_width: Option<usize>) -> Result<()> {
        let is_one = |name: &str| self.numbers(name) <= Some(self.heads(true));
        let is_known = |name: &str| {
            let (part, rest) = name.split_once('.').unwrap_or((name, ""));
            let norm = rest.strip_prefix("norms.").and_then(|r| r.split_once('.'));
            let rest_of_norm = norm.map_or(rest, |(_, rest)| rest);
            PROJECTIONS.iter().any(|p| p.0 == part) && self.belongs(name, rest)
                || NORMS.iter().any(|p| p.0 == part)
                    && ["weight", "bias"].contains(&rest_of_norm)
                || ASIDE.contains(&part)
                || NUMBERS.contains(&name) && is_one(name)
        };
        self.layer.expect_known(is_known, self.rules.keep, "permuted")?;
        let own = self.own_width()?;
        let Some(width) = own.or(self.rules.head_dim).or(file_width) else {
            bail!(
                "{}{}: nothing in this file tells how wide a head is; --head-dim says it",
                self.layer.path,
                self.layer.names[0]
            );
        };
        let rotary_dim = self.rules.rotary_dim.unwrap_or(width);
        let order = self.order(width, 0, rotary_dim)?;
        self.expect_tables(width, rotary_dim)?;
        for (name, _) in PROJECTIONS {
            self.move_rows(name, &order)?;
        }
        for (name, is_query) in NORMS {
            self.move_gains(name, &order, self.heads(is_query))?;
        }
        self.found.notes.insert(if rotary_dim == width {
            format!("heads of {width} features, all of which rotate")
        } else {
            format!("heads of {width} features, of which the first {rotary_dim} rotate")
        });
        Ok(())
    }

    /// The last features of each query, and of what the tokens leave behind.
    fn reorder_latent(&mut self) -> Result<()> {
        let heads = self.heads(true);
        let is_known = |name: &str| {
            let (part, rest) = name.split_once('.').unwrap_or((name, ""));
            LATENT.contains(&part) && self.belongs(name, rest)
                || LATENT_ASIDE.contains(&part)
        };
        self.layer.expect_known(is_known, self.rules.keep, "permuted")?;
        let rotary_dim = self.rotary_part()?;
        for name in LATENT {
            let Some(rows) = self.rows(name) else { continue };
            let heads = if name == "kv_a_proj_with_mqa" { 1 } else { heads };
            let full = format!("{}{name}", self.layer.path);
            let width = rows / heads;
            ensure!(
                rows > 0 && width.saturating_mul(heads) == rows && width >= rotary_dim,
                "{full}: {rows} rows, for --heads {heads} of which {rotary_dim} features \
                 each rotate"
            );
            let order = self.order(width, width - rotary_dim, rotary_dim)?;
            self.move_rows(name, &order)?;
        }
        self.expect_tables(rotary_dim, rotary_dim)?;
        let note = format!("the last {rotary_dim} features rotate, beside the latent");
        self.found.notes.insert(note);
        Ok(())
    }

    /// How many features rotate beside a latent: what is left of `kv_a_proj_with_mqa` when
    /// the latent is taken off, which the norm has the width of.
    fn rotary_part(&self) -> Result<usize> {
        let latent = self
            .view
            .shape("kv_a_layernorm.weight")
            .ok()
            .and_then(|shape| shape.first().copied())
            .or_else(|| Some(*self.view.shape("kv_b_proj.weight").ok()?.get(1)?));
        let told = self.rows("kv_a_proj_with_mqa").zip(latent);
        let told = told.and_then(|(both, latent)| both.checked_sub(latent));
        match (told, self.rules.rotary_dim) {
            (Some(told), Some(flag)) if told != flag => bail!(
                "--rotary-dim {flag}: {told} rows of {}kv_a_proj_with_mqa stand behind the \
                 latent",
                self.layer.path
            ),
            (told, flag) => told.or(flag).with_context(|| {
                let path = &self.layer.path;
                format!("{path}: --rotary-dim has to say how many features rotate")
            }),
        }
    }

    /// Where the features of a head come from: `count` of them, from `first` on, are
    /// paired anew.
    fn order(&self, width: usize, first: usize, count: usize) -> Result<Vec<usize>> {
        let name = || format!("{}{}", self.layer.path, self.layer.names[0]);
        ensure!(
            first.saturating_add(count) <= width,
            "--rotary-dim {count}: {} belongs to heads of {width} features",
            name()
        );
        let turned = permutation(count, self.rules.from, self.rules.to);
        let turned = turned.with_context(name)?;
        let mut order: Vec<usize> = (0..width).collect();
        for (i, from) in turned.into_iter().enumerate() {
            order[first + i] = first + from;
        }
        Ok(order)
    }

    /// Frequencies in the file say how many features rotate.
    fn expect_tables(&self, width: usize, rotary_dim: usize) -> Result<()> {
        let own = self.layer.names.iter().map(|n| format!("{}{n}", self.layer.path));
        for name in own.chain(self.rules.tables.iter().cloned()) {
            if !is_table(&name) {
                continue;
            }
            let told = 2 * self.file.shape(&name)?.iter().product::<usize>();
            ensure!(
                told == rotary_dim,
                "{name}: {} frequencies, so that {told} of {width} features of a head \
                 rotate; say --rotary-dim {told}",
                told / 2
            );
        }
        Ok(())
    }

    /// The width that the layer's projections have, which is one.
    fn own_width(&self) -> Result<Option<usize>> {
        let mut own: Option<(String, usize)> = None;
        for (name, is_query) in PROJECTIONS {
            for part in ["weight", "bias"] {
                let full = format!("{name}.{part}");
                if !self.layer.holds(&full) {
                    continue;
                }
                let width = self.width_of_a_head(&full, self.heads(is_query))?;
                let (first, expected) = own.get_or_insert((full.clone(), width));
                ensure!(
                    *expected == width,
                    "{path}{full}: heads of {width}, but those of {path}{first} have \
                     {expected}; are --heads and --kv-heads those of the file?",
                    path = self.layer.path
                );
            }
        }
        if let (Some((name, width)), Some(flag)) = (&own, self.rules.head_dim) {
            let path = &self.layer.path;
            ensure!(*width == flag, "--head-dim {flag}: {path}{name} has {width}");
        }
        Ok(own.map(|(_, width)| width))
    }

    /// Rows of one head in a weight or bias.
    fn width_of_a_head(&self, name: &str, heads: usize) -> Result<usize> {
        let is_weight = name.ends_with(".weight");
        let (rank, wanted) = if is_weight { (2, "[out, in]") } else { (1, "[out]") };
        let shape = self.view.shape(name)?;
        let path = &self.layer.path;
        ensure!(shape.len() == rank, "{path}{name}: shape {shape:?}, wanted {wanted}");
        let mut even = shape.to_vec();
        let two = heads.saturating_mul(2);
        even[0] = shape[0].checked_next_multiple_of(two).unwrap_or(two).max(two);
        let why = "heads have one width, and their features pair up";
        ensure!(even == shape, self.view.mismatch(name, &even, why));
        Ok(shape[0] / heads)
    }

    /// Whether a tensor of a projection moves with its rows, or is one number for all.
    fn belongs(&self, name: &str, rest: &str) -> bool {
        let projection = name.split('.').next().unwrap_or(name);
        let rows = self.view.shape(name).ok().and_then(|shape| shape.first().copied());
        let of_rows = || match (self.rows(projection), self.numbers(name)) {
            (Some(all), numbers) => numbers == Some(all) && rows == Some(all),
            (None, _) => false,
        };
        match rest {
            "weight" | "bias" => true,
            "weight_scale" | "weight_scale_inv" => {
                self.numbers(name) == Some(1) || of_rows()
            }
            "input_scale" | "output_scale" => self.numbers(name) == Some(1),
            _ => false,
        }
    }

    /// Rows of a projection.
    fn rows(&self, projection: &str) -> Option<usize> {
        let of = |part| {
            let shape = self.view.shape(&format!("{projection}.{part}")).ok()?;
            shape.first().copied()
        };
        of("weight").or_else(|| of("bias"))
    }

    /// How many numbers a tensor holds.
    fn numbers(&self, name: &str) -> Option<usize> {
        self.view.shape(name).ok().map(|shape| shape.iter().product())
    }

    /// Moves the rows of what belongs to a projection.
    fn move_rows(&mut self, projection: &str, order: &[usize]) -> Result<()> {
        for part in ROWS {
            let name = format!("{projection}.{part}");
            let is_scale = part.starts_with("weight_");
            if !self.layer.holds(&name) || is_scale && self.numbers(&name) == Some(1) {
                continue;
            }
            let rows = self.view.shape(&name)?.first().copied().unwrap_or(0);
            self.put(&name, rows, order)?;
        }
        Ok(())
    }

    /// Moves the gains of a norm: those of one head, or of each.
    fn move_gains(&mut self, norm: &str, order: &[usize], heads: usize) -> Result<()> {
        let parts: Vec<String> = self.layer.part(norm).map(str::to_owned).collect();
        for part in parts {
            let name = format!("{norm}.{part}");
            let shape = self.view.shape(&name)?.to_vec();
            let width = order.len();
            let fits = shape == [width]
                || shape == [heads.saturating_mul(width)]
                || shape == [heads, width];
            let why = "a norm has one gain for each feature, of one head or of all";
            ensure!(fits, self.view.mismatch(&name, &[width], why));
            self.put(&name, shape.iter().product(), order)?;
        }
        Ok(())
    }

    /// The tensor, cut into `units`, with those of each head in this order.
    fn put(&mut self, name: &str, units: usize, order: &[usize]) -> Result<()> {
        let full = format!("{}{name}", self.layer.path);
        let RawTensor { dtype, shape, bytes } = self.view.raw(name)?;
        ensure!(
            is_number(dtype),
            "{full}: dtype {dtype}, packed or whole numbers, which are not the rows of \
             heads; dequantize the layer and save its weights"
        );
        let whole = units > 0 && bytes.len().is_multiple_of(units);
        ensure!(whole, "{full}: rows of {dtype} do not end at a byte");
        let unit = (bytes.len() / units).max(1);
        let heads = bytes.chunks(unit * order.len());
        let moved: Vec<u8> = heads
            .flat_map(|head| {
                order.iter().map(move |&from| &head[from * unit..][..unit])
            })
            .flatten()
            .copied()
            .collect();
        let new = RawTensor { dtype, shape, bytes: moved.into() };
        self.found.tensors.insert(full, new);
        Ok(())
    }
}

/// Whether an entry of the dtype is one number of a weight.
fn is_number(dtype: Dtype) -> bool {
    use Dtype::{BF16, F8_E4M3, F8_E5M2, F16, F32, F64};
    [F64, F32, F16, BF16, F8_E4M3, F8_E5M2].contains(&dtype)
}

/// Whether a tensor holds the frequencies of rotary positions.
pub(crate) fn is_table(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    last == "inv_freq" || name == "rope.freqs" || name.ends_with(".rope.freqs")
}
