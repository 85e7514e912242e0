//! What `convert --method aligned` does to one layer before its heads are pooled.

use crate::Groups;
use crate::alignment::align;
use crate::pooling::{KEY_NORMS, OUTPUTS, Turned, VALUE_NORMS};
use anyhow::{Context, Result, bail, ensure};
use attention::files;
use chapter_cli::{AttentionLayer, Tensors};
use checkpoint::{Config, Pairing};
use multi_query::alignment::Freedom;
use std::path::Path;

/// Norms on queries. Their gains hold one feature apart from the other, as those on keys do.
const QUERY_NORMS: [&str; 6] =
    ["q_norm", "q_layernorm", "query_norm", "query_layernorm", "q_ln", "norm_q"];

/// Norms on what the heads found.
const INNER_NORMS: [&str; 2] = ["attn_sub_norm", "inner_attn_ln"];

/// What positions do to queries and keys after their projections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Rotary {
    /// Nothing: no rotary positions
    No,
    /// Features i and i + R/2 rotate together: Llama in Hugging Face's Transformers
    HalfSplit,
    /// Features 2i and 2i + 1 rotate together: Meta's own files, GPT-J
    Interleaved,
}

/// [`Rotary`], and how many features of a head rotate, if not all.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rotates {
    pub(crate) how: Rotary,
    pub(crate) features: Option<usize>,
}

impl Rotates {
    /// How keys of this width may turn.
    fn freedom(self, width: usize) -> Result<Freedom> {
        let rotary_dim = self.features.unwrap_or(width);
        ensure!(
            rotary_dim.is_multiple_of(2) && rotary_dim <= width,
            "{rotary_dim} of {width} features of a head cannot rotate in pairs: \
             --rotary-dim is an even number, and at most {width}"
        );
        Ok(match self.how {
            Rotary::No => Freedom::Any,
            Rotary::HalfSplit => Freedom::HalfSplit { rotary_dim },
            Rotary::Interleaved => Freedom::Interleaved { rotary_dim },
        })
    }

    /// Weights do not say how a head rotates; tables of frequencies and the config.json
    /// that lies beside the file do.
    ///
    /// # Errors
    /// When one of them says something else, or that projections are clipped.
    pub(crate) fn expect_as_told(self, file: &Tensors, input: &Path) -> Result<()> {
        let is_table =
            |name: &String| name.contains("rotary") && name.contains("inv_freq");
        if let Some(table) =
            file.with_prefix("").names().iter().find(|name| is_table(name))
        {
            ensure!(
                self.how != Rotary::No,
                "{table}: queries and keys rotate in this model, so --rotary no would turn \
                 keys out of their pairs: say --rotary half-split or interleaved"
            );
        }
        let path = input.with_file_name("config.json");
        let Ok(text) = std::fs::read_to_string(path) else { return Ok(()) };
        ensure!(
            !clips(&text),
            "the config.json beside the input has clip_qkv, which clips features one by \
             one: --method aligned cannot turn them; --method mean can pool them"
        );
        let Ok(config) = Config::parse(&text) else { return Ok(()) };
        for layer in 0..config.layers().unwrap_or(0) {
            let rope =
                config.attention(layer).ok().and_then(|attention| attention.rope);
            let Some(rope) = rope else { continue };
            let (how, name) = match rope.pairing {
                Pairing::Neighbors => (Rotary::Interleaved, "interleaved"),
                Pairing::Halves => (Rotary::HalfSplit, "half-split"),
            };
            let features = rope.features;
            ensure!(
                self.how == how && self.features.is_none_or(|told| told == features),
                "{features} features of a head rotate in layer {layer}, as the config.json \
                 beside the input says: --rotary {name} --rotary-dim {features}"
            );
        }
        Ok(())
    }
}

/// Whether a config.json clips queries, keys and values, as some models do.
fn clips(config: &str) -> bool {
    let value = config.split_once("\"clip_qkv\"").map(|(_, rest)| rest.trim_start());
    let value = value.and_then(|rest| rest.strip_prefix(':')).map(str::trim_start);
    value.is_some_and(|value| !value.starts_with("null"))
}

/// One layer with its heads turned: its projections, by their names behind its path; and
/// whether its keys stayed as they were.
pub(crate) struct Aligned {
    pub(crate) turned: Turned,
    pub(crate) keys_are_fixed: bool,
}

/// Turns the heads of a layer toward the mean of their group.
pub(crate) fn align_layer(
    file: &Tensors,
    layer: &AttentionLayer,
    groups: Groups,
    rotates: Rotates,
) -> Result<Aligned> {
    let path = &layer.path;
    let output = OUTPUTS.iter().find(|o| layer.holds(&format!("{o}.weight")));
    let names = ["q_proj", "k_proj", "v_proj", output.unwrap_or(&"o_proj")];
    for name in names {
        ensure!(
            layer.holds(&format!("{name}.weight")),
            "{path}{name}.weight is not in this file, and --method aligned turns queries, \
             keys, values and output together: merge the files of the checkpoint, or take \
             --method mean"
        );
        for part in layer.part(name) {
            ensure!(
                ["weight", "bias"].contains(&part),
                "{path}{name}.{part}: --method aligned turns {name}, and would leave this \
                 as it is; --method mean does not turn it"
            );
        }
    }
    for norm in VALUE_NORMS.iter().chain(&INNER_NORMS) {
        if let Some(part) = layer.part(norm).next() {
            bail!(
                "{path}{norm}.{part}: a norm on what the heads find, which fixes their \
                 features, so --method aligned cannot turn them; --method mean can pool them"
            );
        }
    }
    let norms = KEY_NORMS.iter().chain(&QUERY_NORMS);
    let keys_are_fixed = norms.clone().any(|norm| layer.part(norm).next().is_some());

    let view = file.with_prefix(path);
    let [q, k, v, o] = names.map(|name| files::linear(&view, name));
    let projections = [q?, k?, v?, o?];
    let width = projections[1].shape().1 / groups.heads();
    let keys = if keys_are_fixed { Freedom::Fixed } else { rotates.freedom(width)? };
    let aligned = align(projections, groups, keys)
        .with_context(|| path.trim_end_matches('.').to_owned())?;
    let mut turned = Turned::new();
    for (name, projection) in names.iter().zip(&aligned) {
        let weight = projection.weight().as_slice();
        turned.insert(format!("{name}.weight"), weight.to_vec());
        if let Some(bias) = projection.bias() {
            turned.insert(format!("{name}.bias"), bias.as_slice().to_vec());
        }
    }
    Ok(Aligned { turned, keys_are_fixed })
}
