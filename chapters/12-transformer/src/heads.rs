//! How the tokens of a model look at one another: with the layers of the chapters before.

use crate::caches::Cache;
use crate::error::ModelError;
use crate::places::Places;
use crate::projection::Projection;
use attention::{Mask, ShapeError};
use decoder_layer::{Parts, Place};
use decoding::KvCache;
use grouped_query::attend_stacked;
use latent::{Form, LatentAttention, LatentCache};
use multi_head::{Heads, Projected};
use nalgebra::DMatrix;

/// Attention as a model of today has it: grouped heads, and what stands around their
/// softmax, over a cache.
#[derive(Debug, Clone, PartialEq)]
pub struct SelfAttention {
    /// (`model_dim`, heads · `head_dim`)
    pub q_proj: Projection,
    /// (`model_dim`, `kv_heads` · `head_dim`)
    pub k_proj: Projection,
    /// (`model_dim`, `kv_heads` · `head_dim`)
    pub v_proj: Projection,
    /// (heads · `head_dim`, `model_dim`)
    pub o_proj: Projection,
    /// All but the matrices: groups, rotation, norms, windows.
    pub parts: Parts,
}

impl SelfAttention {
    /// Queries, keys and values of `x` (tokens, `model_dim`), ready to meet: in most
    /// models turned by their place.
    ///
    /// # Errors
    /// When `x` is not as wide as the projections expect, or has not one row per position.
    pub fn project(
        &self,
        x: &DMatrix<f32>,
        place: &Place,
    ) -> Result<Projected, ShapeError> {
        let [q, k, v] =
            Projection::together([&self.q_proj, &self.k_proj, &self.v_proj], x)?;
        let mut projected = Projected { q, k, v };
        self.parts.prepare(&mut projected, place)?;
        Ok(projected)
    }

    /// What the heads find where there is no cache, side by side, with their weights: the
    /// tokens `x` (tokens, `model_dim`) look at one another under `mask`.
    ///
    /// # Errors
    /// When `x` or the mask do not fit the layer.
    pub fn look(
        &self,
        x: &DMatrix<f32>,
        place: &Place,
        mask: &Mask,
    ) -> Result<Heads, ModelError> {
        let Projected { q, k, v } = self.project(x, place)?;
        let mask = self.narrowed(mask, x.nrows());
        Ok(self.parts.attend(&q, k.as_view(), v.as_view(), &mask)?)
    }

    /// Runs `x` (tokens, `model_dim`), which follows the tokens in `cache`, through the
    /// layer, under `mask` (tokens, tokens in the cache and those of `x`).
    ///
    /// # Errors
    /// When `x`, the mask or the cache do not fit the layer, or the cache has no room.
    pub fn forward(
        &self,
        x: &DMatrix<f32>,
        place: &Place,
        mask: &Mask,
        cache: &mut KvCache,
    ) -> Result<DMatrix<f32>, ModelError> {
        let Projected { q, k, v } = self.project(x, place)?;
        cache.append(&k, &v)?;
        let (keys, values) = (cache.keys(), cache.values());
        let found = match self.narrowed(mask, cache.len()) {
            Mask::Causal { .. } if x.nrows() == 1 && self.has_plain_scores() => {
                attend_stacked(&q, keys, values, self.parts.groups)?.found
            }
            mask => self.parts.find(&q, keys, values, &mask)?,
        };
        Ok(self.o_proj.forward(&found)?)
    }

    /// Whether its weights are softmax(q · k / √d), as in the chapters that decode.
    fn has_plain_scores(&self) -> bool {
        let Parts { cap, sinks, scale, head_dim, .. } = &self.parts;
        let plain = (scale * (*head_dim as f32).sqrt() - 1.0).abs() < 1e-6;
        plain && cap.is_none() && sinks.is_none()
    }

    /// What `mask` and the layer's own window both let through, of so many keys.
    fn narrowed(&self, mask: &Mask, keys: usize) -> Mask {
        match mask {
            Mask::Causal { offset } => self.parts.mask(*offset),
            Mask::Allowed(allowed) if self.parts.window.is_some() => {
                let own = self.parts.mask(keys.saturating_sub(allowed.nrows()));
                Mask::Allowed(DMatrix::from_fn(
                    allowed.nrows(),
                    allowed.ncols(),
                    |query, key| allowed[(query, key)] && own.sees(query, key),
                ))
            }
            other => other.clone(),
        }
    }
}

/// How a block's tokens look at one another.
#[derive(Debug, Clone, PartialEq)]
pub enum Attention {
    /// By heads that keep their keys and values.
    Heads(SelfAttention),
    /// By heads whose keys and values are made from a latent. Its matrices are kept in
    /// full precision.
    Latents(LatentAttention),
}

impl Attention {
    /// The heads that keep keys, if they do.
    #[must_use]
    pub fn heads(&self) -> Option<&SelfAttention> {
        match self {
            Attention::Heads(heads) => Some(heads),
            Attention::Latents(_) => None,
        }
    }

    /// The same, to be changed.
    pub fn heads_mut(&mut self) -> Option<&mut SelfAttention> {
        match self {
            Attention::Heads(heads) => Some(heads),
            Attention::Latents(_) => None,
        }
    }

    /// Numbers that were learned for latents, if it keeps them.
    #[must_use]
    pub fn latents(&self) -> usize {
        match self {
            Attention::Heads(_) => 0,
            Attention::Latents(latents) => latents.parameters(),
        }
    }

    /// What `x` (tokens, `model_dim`), which follows the tokens in `cache`, takes from
    /// them and from itself, under `mask`.
    ///
    /// # Errors
    /// When `x`, the mask or the cache do not fit, or the cache has no room.
    pub fn forward<'a>(
        &'a self,
        x: &DMatrix<f32>,
        places: &mut Places<'a>,
        mask: &Mask,
        cache: &mut Cache,
    ) -> Result<DMatrix<f32>, ModelError> {
        match (self, cache) {
            (Attention::Heads(heads), Cache::Heads(cache)) => {
                heads.forward(x, places.of(&heads.parts), mask, cache)
            }
            (Attention::Latents(latents), Cache::Latents(cache)) => {
                let (start, form) = (cache.len(), form(x.nrows()));
                let q = latents.queries(x, start)?;
                cache.append(&latents.compress(x, start)?)?;
                let found = latents.attend(&q, cache.kept(), mask, form)?.found;
                Ok(latents.output(&found)?)
            }
            _ => Err(ModelError::OtherCache),
        }
    }

    /// What the heads find where there is no cache, side by side, with their weights.
    ///
    /// # Errors
    /// When `x` (tokens, `model_dim`) or the mask do not fit the layer.
    pub fn look<'a>(
        &'a self,
        x: &DMatrix<f32>,
        places: &mut Places<'a>,
        mask: &Mask,
    ) -> Result<Heads, ModelError> {
        match self {
            Attention::Heads(heads) => heads.look(x, places.of(&heads.parts), mask),
            Attention::Latents(latents) => {
                let (q, kept) = (latents.queries(x, 0)?, latents.compress(x, 0)?);
                Ok(latents.attend(&q, kept.as_view(), mask, form(x.nrows()))?)
            }
        }
    }

    /// What the heads found (tokens, heads · `v_dim`), mixed.
    ///
    /// # Errors
    /// When it has another width.
    pub fn mix(&self, found: &DMatrix<f32>) -> Result<DMatrix<f32>, ShapeError> {
        match self {
            Attention::Heads(heads) => heads.o_proj.forward(found),
            Attention::Latents(latents) => latents.output(found),
        }
    }

    /// An empty cache with room for `capacity` tokens.
    #[must_use]
    pub fn cache(&self, capacity: usize) -> Cache {
        match self {
            Attention::Heads(heads) => {
                let (keys, values) = (heads.k_proj.shape().1, heads.v_proj.shape().1);
                Cache::Heads(KvCache::new(capacity, keys, values))
            }
            Attention::Latents(latents) => {
                Cache::Latents(LatentCache::new(capacity, latents.kept_width()))
            }
        }
    }
}
/// One token looks at latents as they are; many make keys and values of them first.
fn form(tokens: usize) -> Form {
    if tokens == 1 { Form::Absorbed } else { Form::Naive }
}
