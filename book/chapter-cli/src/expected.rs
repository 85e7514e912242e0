//! Whether a file holds a layer as its configuration describes it.

use crate::described::Described;
use crate::masks::sees_the_future;
use crate::tensors::Tensors;
use anyhow::{Result, bail};
use checkpoint::{Attention, Heads, Sight};
use nalgebra::DMatrix;

/// What a file has to hold.
pub(crate) struct Expected<'a> {
    path: &'a str,
    described: &'a Described,
}

/// A projection, as a checkpoint has it.
struct Projection {
    name: &'static str,
    /// `[out, in]`; none where the configuration does not say.
    shape: [Option<u64>; 2],
    biased: bool,
}

impl<'a> Expected<'a> {
    pub(crate) fn new(path: &'a str, described: &'a Described) -> Self {
        Expected { path, described }
    }

    /// # Errors
    /// When a projection of the file is not as large as the configuration says, or has a
    /// bias where there is none, or none where there is one.
    pub(crate) fn expect_tensors(&self, tensors: &Tensors) -> Result<()> {
        for projection in projections(self.described.layer()) {
            let weight = format!("{}.weight", projection.name);
            let Some(found) = tensors.part_shape(&weight) else { continue };
            self.expect_shape(tensors, &weight, &found, &projection.shape)?;
            self.expect_bias(tensors, &projection)?;
        }
        for (name, [heads, width]) in projected(self.described.layer().heads) {
            if let Ok(&[h, n, d]) = tensors.shape(name) {
                let shape = [Some(heads), None, Some(width)];
                self.expect_shape(tensors, name, &[h, n, d], &shape)?;
            }
        }
        Ok(())
    }

    fn expect_shape(
        &self,
        tensors: &Tensors,
        name: &str,
        found: &[usize],
        wanted: &[Option<u64>],
    ) -> Result<()> {
        let is = |(found, wanted): (&usize, &Option<u64>)| {
            wanted.is_none_or(|wanted| *found as u64 == wanted)
        };
        // Of another rank, it is told as what it is when it is read.
        if found.len() != wanted.len() || found.iter().zip(wanted).all(is) {
            return Ok(());
        }
        let or_found = found.iter().zip(wanted);
        let wanted: Vec<usize> = or_found
            .map(|(found, wanted)| wanted.map_or(*found, |wanted| wanted as usize))
            .collect();
        let because = format!("{} says so", self.path);
        Err(tensors.mismatch(name, &wanted, &because).into())
    }

    fn expect_bias(&self, tensors: &Tensors, projection: &Projection) -> Result<()> {
        let name = format!("{}.bias", projection.name);
        let (path, full) = (self.path, tensors.full_name(&name));
        match (projection.biased, tensors.part_shape(&name).is_some()) {
            (true, false) => {
                bail!("no tensor `{full}`, which the layer has as {path} says")
            }
            (false, true) => bail!(
                "{full}: as {path} says, the layer has no such bias; --ignore {name} goes \
                 on without it"
            ),
            _ => Ok(()),
        }
    }

    /// # Errors
    /// When the layer hides the future, and a mask of the file does not.
    pub(crate) fn expect_masks<'m>(
        &self,
        mut masks: impl Iterator<Item = &'m DMatrix<bool>>,
    ) -> Result<()> {
        let hides = self.described.layer().sight == Sight::Causal;
        if hides && masks.any(sees_the_future) {
            bail!(
                "the mask in the file lets tokens see later ones, and {} says that they do \
                 not: --ignore the mask, or give the flags in place of --config",
                self.path
            );
        }
        Ok(())
    }

    /// # Errors
    /// When some of so many `tokens` are treated in a way that no chapter has.
    pub(crate) fn expect_tokens(&self, tokens: usize) -> Result<()> {
        let (path, layer) = (self.path, self.described.layer().layer);
        for limit in self.described.limits() {
            if tokens as u64 > limit.tokens {
                bail!(
                    "{path}, layer {layer}: {}; it makes a difference from {} tokens on, \
                     and there are {tokens}",
                    limit.why,
                    limit.tokens.saturating_add(1),
                );
            }
        }
        Ok(())
    }
}

/// The projections of a layer.
fn projections(layer: &Attention) -> Vec<Projection> {
    let d = Some(layer.model_dim);
    let (inputs, output) = (layer.biases.inputs, layer.biases.output);
    let one = |name, rows: u64, columns: Option<u64>, biased| Projection {
        name,
        shape: [Some(rows), columns],
        biased,
    };
    match layer.heads {
        Heads::Shared { heads, kv_heads, head_dim } => vec![
            one("q_proj", heads * head_dim, d, inputs),
            one("k_proj", kv_heads * head_dim, d, inputs),
            one("v_proj", kv_heads * head_dim, d, inputs),
            one("o_proj", layer.model_dim, Some(heads * head_dim), output),
        ],
        Heads::Latent {
            heads,
            nope_dim,
            rope_dim,
            v_dim,
            lora_rank,
            q_lora_rank,
            ..
        } => {
            let (rank, queries) = (Some(lora_rank), heads * (nope_dim + rope_dim));
            let mut all = vec![
                one("kv_a_proj_with_mqa", lora_rank + rope_dim, d, inputs),
                one("kv_b_proj", heads * (nope_dim + v_dim), rank, false),
                one("o_proj", layer.model_dim, Some(heads * v_dim), output),
            ];
            match q_lora_rank {
                None => all.push(one("q_proj", queries, d, false)),
                Some(rank) => all.extend([
                    one("q_a_proj", rank, d, inputs),
                    one("q_b_proj", queries, Some(rank), false),
                ]),
            }
            all
        }
    }
}

/// Heads and width of queries, keys and values that are projected already.
fn projected(heads: Heads) -> [(&'static str, [u64; 2]); 3] {
    match heads {
        Heads::Shared { heads, kv_heads, head_dim } => [
            ("q", [heads, head_dim]),
            ("k", [kv_heads, head_dim]),
            ("v", [kv_heads, head_dim]),
        ],
        Heads::Latent { heads, nope_dim, rope_dim, v_dim, .. } => [
            ("q", [heads, nope_dim + rope_dim]),
            ("k", [heads, nope_dim + rope_dim]),
            ("v", [heads, v_dim]),
        ],
    }
}
