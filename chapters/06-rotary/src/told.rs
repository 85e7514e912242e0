//! What a `config.json` tells `permute` of a model's heads.

use crate::Pairing;
use anyhow::{Context, Result, bail, ensure};
use checkpoint::{Config, Heads};
use std::collections::BTreeSet;
use std::path::Path;

/// The heads of all layers that rotate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Told {
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    /// So wide is a head, or what rotates of it where there is a latent.
    pub(crate) width: usize,
    /// So many features of it rotate.
    pub(crate) rotary_dim: usize,
    /// Features `2i` and `2i + 1` turn together.
    interleaved: bool,
}

impl Told {
    /// # Errors
    /// When the file cannot be read or understood, its layers differ, or their heads are
    /// paired `to` the way that the output should be.
    pub(crate) fn by(path: &Path, to: Pairing) -> Result<Self> {
        let name = path.display();
        let text = std::fs::read_to_string(path);
        let text = text.with_context(|| format!("cannot read {name}"))?;
        let config = Config::parse(&text).with_context(|| name.to_string())?;
        let told = heads_of(&config).with_context(|| name.to_string())?;
        ensure!(
            told.interleaved != (to == Pairing::Neighbors),
            "{name}: a {} model pairs its features as --to says already",
            config.kind()
        );
        Ok(told)
    }

    /// What the config.json beside a file of weights says, as every model of Hugging Face
    /// has one; nothing, if there is none.
    ///
    /// # Errors
    /// When it cannot be understood, and has a key that says how much of a head rotates.
    pub(crate) fn beside(weights: &Path) -> Result<Option<Self>> {
        const PARTIAL: [&str; 5] = [
            "partial_rotary_factor",
            "rotary_pct",
            "rotary_dim",
            "rotary_percentage",
            "rotary_emb_fraction",
        ];
        let path = weights.with_file_name("config.json");
        let Ok(text) = std::fs::read_to_string(path) else { return Ok(None) };
        if let Some(told) = Config::parse(&text).ok().and_then(|c| heads_of(&c).ok()) {
            return Ok(Some(told));
        }
        match PARTIAL.iter().find(|key| text.contains(&format!("\"{key}\""))) {
            Some(key) => bail!(
                "the config.json beside the input has {key}: say with --rotary-dim how \
                 many features of a head rotate"
            ),
            None => Ok(None),
        }
    }
}

fn heads_of(config: &Config) -> Result<Told> {
    let mut all = BTreeSet::new();
    for layer in 0..config.layers()? {
        let attention = config.attention(layer)?;
        let Some(rope) = attention.rope else { continue };
        let (heads, kv_heads, width) = match attention.heads {
            Heads::Shared { heads, kv_heads, head_dim } => (heads, kv_heads, head_dim),
            Heads::Latent { heads, rope_dim, .. } => (heads, heads, rope_dim),
        };
        let sizes = [heads, kv_heads, width].map(usize::try_from);
        let [Ok(heads), Ok(kv_heads), Ok(width)] = sizes else {
            bail!("more heads than can be counted");
        };
        let interleaved = rope.pairing == checkpoint::Pairing::Neighbors;
        let rotary_dim = rope.features;
        all.insert(Told { heads, kv_heads, width, rotary_dim, interleaved });
    }
    match all.len() {
        1 => Ok(all.pop_first().context("no layer")?),
        0 => bail!("none of its layers rotates queries and keys"),
        _ => bail!(
            "its layers differ in heads or rotation: give --heads, --kv-heads and \
             --rotary-dim, and one kind of layers at a time, with --prefix"
        ),
    }
}
