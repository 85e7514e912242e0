//! The attention layers of a checkpoint, for commands that rewrite them: which tensors stand
//! beside the projections, and which parts of the model are not meant.

use crate::inputs::OUTPUTS;
use crate::known::{AROUND, known};
use crate::masks;
use crate::message::brief;
use crate::prefix::behind;
use crate::tensors::Tensors;
use anyhow::{Result, bail, ensure};
use std::collections::BTreeSet;

/// The tensors of one attention: all that stand in the module of its projections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttentionLayer {
    /// What their names begin with: `model.layers.0.self_attn.`, or nothing.
    pub path: String,
    /// What follows, in alphabetical order: `k_proj.weight`.
    pub names: Vec<String>,
}

/// What [`attention_layers`] finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttentionLayers {
    /// The layers that are meant, in the order of their names.
    pub layers: Vec<AttentionLayer>,
    /// Where the layers of another part of the model stand, one that sees or hears, such as
    /// `vision_tower.`: nobody asked for them.
    pub towers: Vec<String>,
    /// The other tensors of the part that is meant, such as `model.embed_tokens.weight`.
    pub around: Vec<String>,
}

/// Words in the name of a module that sees, hears, or stands between that and the text.
const TOWERS: [&str; 24] = [
    "vision",
    "visual",
    "image",
    "img",
    "video",
    "vit",
    "siglip",
    "clip",
    "sam",
    "audio",
    "speech",
    "sound",
    "codec",
    "code2wav",
    "token2wav",
    "vqmodel",
    "vpm",
    "apm",
    "qformer",
    "resampler",
    "perceiver",
    "projector",
    "connector",
    "aligner",
];

/// Queries, keys and values in one tensor, under the names of many models.
const FUSED: [&str; 19] = [
    "qkv_proj",
    "query_key_value",
    "c_attn",
    "q_attn",
    "Wqkv",
    "wqkv",
    "qkv",
    "to_qkv",
    "W_pack",
    "att_proj",
    "kv_proj",
    "in_proj",
    "in_proj_weight",
    "in_proj_bias",
    "q_proj_weight",
    "k_proj_weight",
    "v_proj_weight",
    "key_value",
    "c_kv",
];

/// What stands beside an `in_proj` that belongs to a convolution or a state-space layer.
const STATE_SPACE: [&str; 7] =
    ["conv1d", "conv", "A_log", "D", "dt_proj", "x_proj", "dt_bias"];

/// The attention layers behind `prefix`: the modules that hold one of `parts`, such as
/// `k_proj`.
///
/// # Errors
/// When queries, keys and values are fused somewhere behind the prefix, when layers of
/// several parts of a model stand there, or when there are none.
pub fn attention_layers(
    file: &Tensors,
    prefix: &str,
    parts: &[&str],
) -> Result<AttentionLayers> {
    let all = file.with_prefix("").names();
    let meant = all.iter().filter(|name| behind(prefix, name).is_some());
    let (towers, names): (Vec<&String>, Vec<&String>) =
        meant.partition(|name| tower(prefix, name).is_some());
    let towers: BTreeSet<&str> = towers
        .iter()
        .filter(|name| path(name, parts).is_some() || is_fused(name, &[]))
        .filter_map(|name| tower(prefix, name))
        .collect();
    expect_nothing_fused(&names)?;

    let mut paths: BTreeSet<&str> =
        names.iter().filter_map(|name| path(name, parts)).collect();
    // What stands inside of an attention, such as an indexer, is a part of it.
    let all = paths.clone();
    let is_inside = |path: &str, o: &str| path.len() > o.len() && path.starts_with(o);
    paths.retain(|path| !all.iter().any(|other| is_inside(path, other)));
    expect_one_stack(&paths)?;
    if paths.is_empty() {
        return Err(nothing(file, prefix, parts[0], &towers));
    }
    let layers = paths.iter().map(|&path| {
        let own = names.iter().filter(|name| name.starts_with(path));
        let names = own.map(|name| name[path.len()..].to_owned()).collect();
        AttentionLayer { path: path.to_owned(), names }
    });
    let around = names.iter().filter(|n| !paths.iter().any(|p| n.starts_with(*p)));
    Ok(AttentionLayers {
        layers: layers.collect(),
        towers: towers.into_iter().map(str::to_owned).collect(),
        around: around.map(|&name| name.clone()).collect(),
    })
}

/// What stands before one of `parts` in a name.
fn path<'a>(name: &'a str, parts: &[&str]) -> Option<&'a str> {
    let mut start = 0;
    for part in name.split('.') {
        if parts.contains(&part) && start + part.len() < name.len() {
            return Some(&name[..start]);
        }
        start += part.len() + 1;
    }
    None
}

/// The part of a name up to the module that sees or hears, unless the prefix names one.
fn tower<'a>(prefix: &str, name: &'a str) -> Option<&'a str> {
    let is_tower = |part: &str| {
        let part = part.to_lowercase();
        let mut words = part.split(|c: char| !c.is_alphanumeric());
        words.any(|word| TOWERS.contains(&word)) || part == "q_former"
    };
    if prefix.split('.').any(is_tower) {
        return None;
    }
    let rest = behind(prefix, name)?;
    let mut end = name.len() - rest.len();
    for part in rest.split('.') {
        end += part.len() + 1;
        if is_tower(part) && end <= name.len() {
            return Some(&name[..end]);
        }
    }
    None
}

/// Whether a tensor holds queries, keys and values; `names` are those around it.
fn is_fused(name: &str, names: &[&String]) -> bool {
    let Some(part) = name.split('.').find(|part| FUSED.contains(part)) else {
        return false;
    };
    let Some((module, _)) = name.split_once("in_proj.").filter(|_| part == "in_proj")
    else {
        return true;
    };
    let beside = |other: &&&String| {
        let rest = other.strip_prefix(module);
        rest.is_some_and(|r| STATE_SPACE.contains(&r.split('.').next().unwrap_or(r)))
    };
    !names.iter().any(|name| beside(&name))
}

fn expect_nothing_fused(names: &[&String]) -> Result<()> {
    let Some(name) = names.iter().find(|name| is_fused(name, names)) else {
        return Ok(());
    };
    bail!(
        "{}: queries, keys and values in one tensor; cut it into q_proj, k_proj and \
         v_proj, as its model's code does, or pick other layers with --prefix",
        brief(name)
    )
}

/// Encoder and decoder, or two models in one file, may have other heads.
fn expect_one_stack(paths: &BTreeSet<&str>) -> Result<()> {
    let root = |path: &&str| {
        let is_number = |part: &&str| part.parse::<u32>().is_ok();
        let parts: Vec<&str> = path.split('.').collect();
        let end = parts.iter().position(is_number);
        end.map_or_else(|| (*path).to_owned(), |end| parts[..end].join(".") + ".")
    };
    let roots: BTreeSet<String> = paths.iter().map(root).collect();
    let roots: Vec<String> = roots.iter().take(4).map(|root| brief(root)).collect();
    ensure!(
        roots.len() < 2,
        "layers of several parts of a model: {}; pick one with --prefix",
        roots.join(" and ")
    );
    Ok(())
}

/// Why there is no layer.
fn nothing(
    file: &Tensors,
    prefix: &str,
    part: &str,
    towers: &BTreeSet<&str>,
) -> anyhow::Error {
    if let Some(tower) = towers.first() {
        let tower = brief(tower);
        return anyhow::anyhow!(
            "no `{part}.weight` but under {tower}, which is another part of the model; \
             --prefix {tower} asks for it"
        );
    }
    let missing = file.with_prefix(prefix).vector(&format!("{part}.weight"));
    missing.err().map_or_else(|| anyhow::anyhow!("no `{part}.weight`"), Into::into)
}

impl AttentionLayer {
    /// Whether it holds a tensor of that name.
    #[must_use]
    pub fn holds(&self, name: &str) -> bool {
        self.names.iter().any(|own| own == name)
    }

    /// The tensors of its part `part`, such as `k_proj`, without that and its dot:
    /// `weight`.
    pub fn part<'a>(&'a self, part: &'a str) -> impl Iterator<Item = &'a str> {
        let suffix = move |name: &'a String| name.strip_prefix(part)?.strip_prefix('.');
        self.names.iter().filter_map(suffix)
    }

    /// Asks whether every tensor is understood: by the command, which `is_known` says; by
    /// the reader, who names it in `keep`; or because it has nothing to do with heads.
    ///
    /// # Errors
    /// When one is not. `done` is what the command does to a layer: `pooled`.
    pub fn expect_known(
        &self,
        is_known: impl Fn(&str) -> bool,
        keep: &[String],
        done: &str,
    ) -> Result<()> {
        let is_kept = |name: &str| {
            keep.iter()
                .any(|kept| kept == name || kept.strip_prefix(&self.path) == Some(name))
        };
        let odd = |name: &&String| {
            !is_known(name) && !is_kept(name) && !self.is_harmless(name)
        };
        let Some(name) = self.names.iter().find(odd) else { return Ok(()) };
        let what = match known(name) {
            Some(known) => match known.instead {
                Some(instead) => format!("{}: {instead}", known.what),
                None => known.what.to_owned(),
            },
            None => "a tensor that is not known here".to_owned(),
        };
        let (full, name) = (brief(&format!("{}{name}", self.path)), brief(name));
        bail!(
            "{full}: {what}; its layer cannot be {done} without knowing that it stays \
             right; --keep {name} keeps it as it is"
        )
    }

    /// Whether a tensor has nothing to do with how keys and values are shared or ordered:
    /// masks, tables of positions, what stands around an attention; and inputs, if the file
    /// is a single layer.
    fn is_harmless(&self, name: &str) -> bool {
        let buffers = ["bias", "masked_bias", "causal_mask"];
        let around = known(name).is_some_and(|known| known.instead == Some(AROUND));
        let inputs = ["x", "context", "mask", "position_ids", "cache_position"];
        let alone = self.path.is_empty()
            && [&inputs[..], &masks::NAMES, &OUTPUTS].concat().contains(&name);
        buffers.contains(&name) || is_table(name) || around || alone
    }
}

/// Whether a tensor holds frequencies, or cosines and sines, of rotary positions.
fn is_table(name: &str) -> bool {
    let parts: Vec<&str> = name.split('.').collect();
    let tables = ["rotary_emb", "rotary_pos_emb", "rope", "inv_freq"];
    parts.iter().any(|part| tables.contains(part))
}

#[cfg(test)]
mod tests {
    use super::{attention_layers, is_fused, path, tower};
    use crate::tensors::Tensors;
    use crate::testing::File;

    fn file(names: &[&str]) -> Tensors {
        let add = |file: File, name: &&str| file.f32s(name, &[2, 2]);
        let file = names.iter().fold(File::new(), add);
        Tensors::parse("file", file.bytes()).unwrap()
    }

    #[test]
    fn a_layer_is_the_module_of_its_projections() {
        let all = file(&[
            "model.norm.weight",
            "model.layers.0.mlp.up_proj.weight",
            "model.layers.0.self_attn.k_proj.weight",
            "model.layers.0.self_attn.rotary_emb.inv_freq",
            "model.layers.0.self_attn.indexer.k_proj.weight",
        ]);
        let found = attention_layers(&all, "", &["k_proj"]).unwrap();
        let [layer] = &found.layers[..] else { panic!("{found:?}") };
        assert_eq!(layer.path, "model.layers.0.self_attn.");
        let own = ["indexer.k_proj.weight", "k_proj.weight", "rotary_emb.inv_freq"];
        assert_eq!(layer.names, own);
        assert_eq!(found.around.len(), 2);
        assert!(layer.holds("k_proj.weight") && !layer.holds("k_proj"));
        assert_eq!(layer.part("k_proj").collect::<Vec<_>>(), ["weight"]);
        let refused = layer.expect_known(|name| name == "k_proj.weight", &[], "pooled");
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("self_attn.indexer.k_proj.weight: "), "{refused}");
    }

    #[test]
    fn a_projection_is_a_whole_part_of_a_name() {
        assert_eq!(path("k_proj.weight", &["k_proj"]), Some(""));
        assert_eq!(path("a.k_proj.lora_A.weight", &["k_proj"]), Some("a."));
        assert_eq!(path("a.my_k_proj.weight", &["k_proj"]), None);
        assert_eq!(path("a.k_proj", &["k_proj"]), None);
    }

    #[test]
    fn a_tower_is_one_unless_the_prefix_asks_for_it() {
        let name = "model.vision_tower.layers.0.k_proj.weight";
        assert_eq!(tower("", name), Some("model.vision_tower."));
        assert_eq!(tower("model", name), Some("model.vision_tower."));
        assert_eq!(tower("model.vision_tower.layers.0", name), None);
        assert_eq!(tower("", "model.layers.0.revision.k_proj.weight"), None);
        assert_eq!(tower("", "thinker.audio_tower.x"), Some("thinker.audio_tower."));
    }

    #[test]
    fn an_in_proj_beside_a_state_is_no_attention() {
        let names = ["m.in_proj.weight", "m.A_log"].map(str::to_owned);
        let both: Vec<&String> = names.iter().collect();
        assert!(is_fused(&names[0], &both[..1]));
        assert!(!is_fused(&names[0], &both));
    }
}
