//! What `convert` does to one layer of a checkpoint.

use crate::{Pool, Pooling};
use anyhow::{Result, bail, ensure};
use chapter_cli::{AttentionLayer, RawTensor, Tensors};
use std::collections::{BTreeMap, BTreeSet};

/// What became of some layers.
#[derive(Debug, Default)]
pub(crate) struct Pooled {
    /// The new tensors, by their names in the file.
    pub(crate) tensors: BTreeMap<String, RawTensor<'static>>,
    /// Tensors that were turned and not pooled: queries and output.
    pub(crate) turned: BTreeMap<String, RawTensor<'static>>,
    /// Tensors of heads that are no more.
    pub(crate) dropped: BTreeSet<String>,
    /// What the reader has to know.
    pub(crate) warnings: BTreeSet<String>,
}

impl Pooled {
    pub(crate) fn add(&mut self, other: Pooled) {
        self.tensors.extend(other.tensors);
        self.turned.extend(other.turned);
        self.dropped.extend(other.dropped);
        self.warnings.extend(other.warnings);
    }

    /// Keeps what was turned in `layer` and is not pooled, in its shape and dtype.
    pub(crate) fn keep_turned(
        &mut self,
        file: &Tensors,
        layer: &AttentionLayer,
        turned: Turned,
    ) -> Result<()> {
        for (name, numbers) in turned {
            let full = format!("{}{name}", layer.path);
            if !self.tensors.contains_key(&full) {
                let old = file.raw(&full)?;
                let new = RawTensor::of(old.dtype, old.shape.clone(), &numbers)?;
                self.turned.insert(full, new);
            }
        }
        Ok(())
    }

    pub(crate) fn warn_of_fixed_keys(&mut self) {
        self.warnings.insert(
            "a norm on queries or keys fixes their features, so only the values were \
             turned before pooling"
                .to_owned(),
        );
    }
}

/// The numbers of the tensors of one layer, by their names behind its path, after its heads
/// were turned. Where there are none, the file's are meant.
pub(crate) type Turned = BTreeMap<String, Vec<f32>>;

/// Norms on keys, by the names that models give them.
pub(crate) const KEY_NORMS: [&str; 6] =
    ["k_norm", "k_layernorm", "key_norm", "key_layernorm", "k_ln", "norm_k"];

/// Norms on values.
pub(crate) const VALUE_NORMS: [&str; 2] = ["v_norm", "norm_v"];

/// Parts of a layer that keys and values have no share in: queries and what is done to
/// them, and what is done to what the heads found.
const ASIDE: [&str; 14] = [
    "q_proj",
    "o_proj",
    "out_proj",
    "dense",
    "c_proj",
    "wo",
    "q_norm",
    "q_layernorm",
    "query_norm",
    "query_layernorm",
    "q_ln",
    "norm_q",
    "attn_sub_norm",
    "inner_attn_ln",
];

/// Learned scores, one for each query head.
const SINKS: [&str; 5] =
    ["sinks", "sink", "attention_sinks", "attn_sinks", "attention_sink_bias"];

/// Output projections, by the names that models give them.
pub(crate) const OUTPUTS: [&str; 4] = ["o_proj", "out_proj", "dense", "wo"];

/// The modules whose tensors are pooled, or decide how.
pub(crate) fn parts() -> Vec<&'static str> {
    ["k_proj", "v_proj"].into_iter().chain(KEY_NORMS).chain(VALUE_NORMS).collect()
}

/// How wide one key and one value are, where the file or a flag tells.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Widths {
    key: Option<usize>,
    value: Option<usize>,
}

impl Widths {
    /// What queries and output projections tell of the layers, which have to agree.
    pub(crate) fn of(
        file: &Tensors,
        layers: &[AttentionLayer],
        pool: &Pool,
        head_dim: Option<usize>,
    ) -> Result<Self> {
        let heads = pool.groups.heads();
        let mut widths = Widths { key: head_dim, value: None };
        for layer in layers {
            if layer.holds("q_proj.weight") {
                let name = format!("{}q_proj.weight", layer.path);
                agree(&mut widths.key, part(file, &name, 0, heads)?, &name)?;
            }
            for output in OUTPUTS {
                let name = format!("{}{output}.weight", layer.path);
                if layer.holds(&name[layer.path.len()..]) {
                    agree(&mut widths.value, part(file, &name, 1, heads)?, &name)?;
                }
            }
        }
        // No model is known whose keys and values differ in width, but for those with
        // latents; where both are told, both hold.
        Ok(Widths { value: widths.value.or(widths.key), ..widths })
    }
}

/// One of `heads` equal parts of a weight along `axis`.
fn part(file: &Tensors, name: &str, axis: usize, heads: usize) -> Result<usize> {
    let shape = file.shape(name)?;
    let &[rows, columns] = shape else {
        bail!("{name}: shape {shape:?}, wanted [out, in]");
    };
    let mut even = [rows, columns];
    even[axis] = even[axis].checked_next_multiple_of(heads).unwrap_or(usize::MAX);
    ensure!(
        even == [rows, columns],
        file.mismatch(name, &even, "heads have one width")
    );
    Ok(even[axis] / heads)
}

fn agree(known: &mut Option<usize>, found: usize, name: &str) -> Result<()> {
    let width = *known.get_or_insert(found);
    ensure!(
        width == found,
        "{name}: heads of {found}, but those of other layers, or --head-dim, have {width}; \
         convert layers of one width at a time, with --prefix"
    );
    Ok(())
}

/// The new tensors of one layer.
pub(crate) fn pool_layer(
    file: &Tensors,
    layer: &AttentionLayer,
    pool: &mut Pool,
    widths: Widths,
    keep: &[String],
    turned: &Turned,
) -> Result<Pooled> {
    let heads = pool.groups.heads();
    let view = file.with_prefix(&layer.path);
    let is_sinks = |name: &str| {
        let numbers = view.shape(name).map(|shape| shape.iter().product::<usize>());
        SINKS.contains(&name) && numbers.is_ok_and(|numbers| numbers == heads)
    };
    let is_known = |name: &str| {
        let (part, rest) = name.split_once('.').unwrap_or((name, ""));
        let linear = ["weight", "bias"].contains(&rest);
        let pooled = ["k_proj", "v_proj"].contains(&part) && linear;
        let norm = KEY_NORMS.contains(&part) || VALUE_NORMS.contains(&part);
        pooled
            || norm && (linear || number_of_norm(rest).is_some())
            || ASIDE.contains(&part)
            || is_sinks(name)
    };
    layer.expect_known(is_known, keep, "pooled")?;

    let mut pooled = Pooled::default();
    if layer.part("out_proj").next().is_some() {
        pooled.warnings.insert(
            "out_proj: OPT, BART, Whisper, CLIP, GPT-J and others that call their output \
             projection so have no num_key_value_heads in Transformers; see whether yours \
             has"
            .to_owned(),
        );
    }
    for (name, norms, width) in [
        ("k_proj", &KEY_NORMS[..], widths.key),
        ("v_proj", &VALUE_NORMS[..], widths.value),
    ] {
        let mut one =
            Part { view: &view, layer, pool, width, turned, pooled: &mut pooled };
        one.pool_projection(name)?;
        for norm in norms {
            one.pool_norm(norm)?;
        }
    }
    Ok(pooled)
}

/// The keys, or the values, of one layer on their way.
struct Part<'a> {
    /// The file, seen through the layer's path.
    view: &'a Tensors,
    layer: &'a AttentionLayer,
    pool: &'a mut Pool,
    /// Of one head.
    width: Option<usize>,
    turned: &'a Turned,
    pooled: &'a mut Pooled,
}

impl Part<'_> {
    /// The weight and the bias of a projection, as far as they are in this file.
    fn pool_projection(&mut self, name: &str) -> Result<()> {
        for part in ["weight", "bias"] {
            let full = format!("{name}.{part}");
            if !self.layer.holds(&full) {
                continue;
            }
            let shape = self.view.shape(&full)?.to_vec();
            let (rank, wanted) =
                if part == "weight" { (2, "[out, in]") } else { (1, "[out]") };
            ensure!(
                shape.len() == rank,
                "{}{full}: shape {shape:?}, wanted {wanted}",
                self.layer.path
            );
            let numbers = match self.turned.get(&full) {
                Some(numbers) => numbers.clone(),
                None => self.numbers(&full, &shape)?,
            };
            let width = self.width_of(&full, &shape)?;
            let mut new = shape;
            new[0] = width * self.pool.groups.kv_heads();
            let numbers = self.pool.blocks(&numbers);
            self.put(&full, new, &numbers)?;
        }
        Ok(())
    }

    /// Width of one head of a projection, whose first length is that of all of them.
    fn width_of(&self, name: &str, shape: &[usize]) -> Result<usize> {
        let heads = self.pool.groups.heads();
        let wanted = |rows: usize, why: &str| {
            let mut wanted = shape.to_vec();
            wanted[0] = rows;
            self.view.mismatch(name, &wanted, why)
        };
        let weight = name.replace(".bias", ".weight");
        if weight != name && self.layer.holds(&weight) {
            let rows = self.view.shape(&weight)?[0];
            ensure!(
                rows == shape[0],
                wanted(rows, &format!("{weight} has {rows} rows"))
            );
        }
        let even = shape[0].checked_next_multiple_of(heads).unwrap_or(usize::MAX);
        ensure!(even == shape[0], wanted(even, "heads have one width"));
        let is_key = name.starts_with('k');
        let Some(width) = self.width else {
            bail!(
                "{}{name}: no q_proj.weight in this file tells how wide a head is; \
                 --head-dim says it",
                self.layer.path
            );
        };
        let why = if is_key {
            "a multi-head layer has as wide keys as queries"
        } else {
            "the output projection of a multi-head layer reads all values"
        };
        let all = width.saturating_mul(heads);
        ensure!(all == shape[0], wanted(all, why));
        Ok(width)
    }

    /// Pools the gains of a norm, if each head has its own.
    fn pool_norm(&mut self, norm: &str) -> Result<()> {
        let parts: Vec<&str> = self.layer.part(norm).collect();
        if parts.iter().any(|part| number_of_norm(part).is_some()) {
            return self.pool_norms(norm, &parts);
        }
        for part in parts {
            let full = format!("{norm}.{part}");
            let shape = self.view.shape(&full)?.to_vec();
            let (width, heads) = (self.known_width(&full)?, self.pool.groups.heads());
            let all = heads.saturating_mul(width);
            let numbers = self.numbers(&full, &shape)?;
            let pooled = if shape == [width] {
                self.warn(norm, "stays as it is, and now works on pooled heads");
                continue;
            } else if shape == [all] {
                vec![self.pool.groups.kv_heads() * width]
            } else if shape == [heads, width] {
                vec![self.pool.groups.kv_heads(), width]
            } else {
                let why = "a norm has one gain for each feature, of one head or of all";
                bail!(self.view.mismatch(&full, &[all], why));
            };
            let numbers = self.gains().blocks(&numbers);
            self.put(&full, pooled, &numbers)?;
            self.warn(norm, "is pooled as its heads are");
        }
        Ok(())
    }

    /// Pools the norms of a list, `norms.0.weight`, `norms.1.weight` and so on: one for
    /// each head.
    fn pool_norms(&mut self, norm: &str, parts: &[&str]) -> Result<()> {
        let (heads, kv_heads) = (self.pool.groups.heads(), self.pool.groups.kv_heads());
        for end in ["weight", "bias"] {
            let count = parts.iter().filter(|part| part.ends_with(end)).count();
            if count == 0 {
                continue;
            }
            let mut all = Vec::new();
            let mut width = 0;
            for head in 0..heads {
                let full = format!("{norm}.norms.{head}.{end}");
                width = self.known_width(&full)?;
                let shape = self.view.shape(&full)?.to_vec();
                let why = "each head has a norm of its own";
                ensure!(shape == [width], self.view.mismatch(&full, &[width], why));
                all.extend(self.numbers(&full, &shape)?);
                if head >= kv_heads {
                    self.pooled.dropped.insert(format!("{}{full}", self.layer.path));
                }
            }
            ensure!(
                count == heads,
                "{}{norm}: {count} norms, and {heads} heads",
                self.layer.path
            );
            let all = self.gains().blocks(&all);
            for (head, numbers) in all.chunks_exact(width.max(1)).enumerate() {
                let full = format!("{norm}.norms.{head}.{end}");
                self.put(&full, vec![width], numbers)?;
            }
        }
        self.warn(norm, "is pooled as its heads are");
        Ok(())
    }

    /// Random numbers are no gains: of those the mean is taken.
    fn gains(&self) -> Pool {
        let pooling = match self.pool.pooling {
            Pooling::Random { .. } => Pooling::Mean,
            other => other,
        };
        Pool::new(self.pool.groups, pooling)
    }

    fn known_width(&self, name: &str) -> Result<usize> {
        self.width.ok_or_else(|| {
            let path = &self.layer.path;
            anyhow::anyhow!(
                "{path}{name}: no q_proj.weight in this file tells how wide a head is; \
                 --head-dim says it"
            )
        })
    }

    /// The numbers of a tensor of one or two dimensions, row after row.
    fn numbers(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        if shape.len() == 1 {
            Ok(self.view.vector(name)?.as_slice().to_vec())
        } else {
            Ok(self.view.matrix(name)?.transpose().as_slice().to_vec())
        }
    }

    /// Keeps a new tensor, in the dtype of the old.
    fn put(&mut self, name: &str, shape: Vec<usize>, numbers: &[f32]) -> Result<()> {
        let dtype = self.view.raw(name)?.dtype;
        let new = RawTensor::of(dtype, shape, numbers)?;
        self.pooled.tensors.insert(format!("{}{name}", self.layer.path), new);
        Ok(())
    }

    fn warn(&mut self, norm: &str, what: &str) {
        let groups = self.pool.groups;
        if groups.heads() > groups.kv_heads() {
            self.pooled.warnings.insert(format!(
                "{norm} {what}; it comes after the pooling, and the norm of a mean is not \
                 the mean of norms, so expect more to change than without a norm"
            ));
        }
    }
}

/// H of `norms.H.weight`.
fn number_of_norm(name: &str) -> Option<usize> {
    let (number, rest) = name.strip_prefix("norms.")?.split_once('.')?;
    ["weight", "bias"].contains(&rest).then_some(())?;
    number.parse().ok()
}
