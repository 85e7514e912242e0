//! A whole attention layer, there and back.

use crate::{
    Attending, FlashGradients, HeadsGradients, LinearGradients, NormGradients,
    flash_backward, heads_backward, linear_gradients, linear_input, norm_backward,
    rotation_backward,
};
use ::flash::{Saved, attend_saving};
use attention::{Linear, Mask, ShapeError, expect_shape};
use decoder_layer::{DecoderLayer, HeadNorm, Parts, Place, open_gate};
use multi_head::{LayerError, Projected};
use nalgebra::{DMatrix, DVector};

/// What a layer gave, and what it saves for the way back.
#[derive(Debug, Clone, PartialEq)]
pub struct Forward {
    /// (tokens, `d_out`).
    pub output: DMatrix<f32>,
    /// One (tokens, tokens) for each query head; none, if they were never formed.
    pub weights: Vec<DMatrix<f32>>,
    /// As they left the projections, if they are clipped or normed after that.
    raw: Option<Projected>,
    /// As they met.
    ready: Projected,
    place: Place,
    /// (tokens, heads · `v_dim`): what the heads found, and in tiles, the log-sum-exp of
    /// their scores.
    saved: Saved,
    mask: Mask,
    /// (tokens, heads · `v_dim`): how far the gates are open, before σ.
    gate: Option<DMatrix<f32>>,
}

/// Chapter 11's [`DecoderLayer::forward`], which saves what the way back needs.
///
/// # Errors
/// As for [`DecoderLayer::forward`].
pub fn forward(
    layer: &DecoderLayer,
    x: &DMatrix<f32>,
    mask: &Mask,
) -> Result<Forward, LayerError> {
    let projected = Prepared::of(layer, x)?;
    let Projected { q, k, v } = &projected.ready;
    let heads = layer.parts().attend(q, k.as_view(), v.as_view(), mask)?;
    let saved = Saved { output: heads.found, log_sum_exp: DMatrix::zeros(0, 0) };
    projected.mix(layer, x, mask, saved, heads.weights)
}

/// [`forward`] in tiles, for long sequences: the weights are never formed, and one number
/// per query and head is saved in their place. A layer with a cap on its scores goes
/// through [`forward`] all the same.
///
/// # Errors
/// As for [`DecoderLayer::forward`].
pub fn forward_in_tiles(
    layer: &DecoderLayer,
    x: &DMatrix<f32>,
    mask: &Mask,
) -> Result<Forward, LayerError> {
    let parts = layer.parts();
    if parts.cap.is_some() {
        return forward(layer, x, mask);
    }
    let mut projected = Prepared::of(layer, x)?;
    projected.ready.q *= to_flash(parts);
    let Projected { q, k, v } = &projected.ready;
    let (k, v, sinks) = (k.as_view(), v.as_view(), sinks_of(parts));
    let saved = attend_saving(q, k, v, parts.groups, mask, &sinks)?;
    projected.mix(layer, x, mask, saved, Vec::new())
}

/// Flash divides by √d itself, so queries are multiplied by it, and by the layer's scale.
fn to_flash(parts: &Parts) -> f32 {
    parts.scale * (parts.head_dim as f32).sqrt()
}

/// One for each query head; −∞ is none.
fn sinks_of(parts: &Parts) -> Vec<f32> {
    match &parts.sinks {
        Some(sinks) => sinks.as_slice().to_vec(),
        None => vec![f32::NEG_INFINITY; parts.groups.heads()],
    }
}

/// Queries, keys and values on their way.
struct Prepared {
    raw: Option<Projected>,
    ready: Projected,
    place: Place,
}

impl Prepared {
    fn of(layer: &DecoderLayer, x: &DMatrix<f32>) -> Result<Self, ShapeError> {
        let (parts, [q_proj, k_proj, v_proj, _]) = (layer.parts(), layer.projections());
        let place = parts.place(0..x.nrows(), x.nrows());
        let mut ready = Projected {
            q: q_proj.forward(x)?,
            k: k_proj.forward(x)?,
            v: v_proj.forward(x)?,
        };
        let changes = parts.clip.is_some() || parts.norms.is_some();
        let raw = changes.then(|| ready.clone());
        parts.prepare(&mut ready, &place)?;
        Ok(Prepared { raw, ready, place })
    }

    /// What the heads found goes through the gate and the output projection.
    fn mix(
        self,
        layer: &DecoderLayer,
        x: &DMatrix<f32>,
        mask: &Mask,
        saved: Saved,
        weights: Vec<DMatrix<f32>>,
    ) -> Result<Forward, LayerError> {
        let [.., o_proj] = layer.projections();
        let gate = layer.gate_proj().map(|gate| gate.forward(x)).transpose()?;
        let output = match &gate {
            Some(gate) => o_proj.forward(&gated(&saved.output, gate)?)?,
            None => o_proj.forward(&saved.output)?,
        };
        let Prepared { raw, ready, place } = self;
        let mask = mask.clone();
        Ok(Forward { output, weights, raw, ready, place, saved, mask, gate })
    }
}

fn gated(
    found: &DMatrix<f32>,
    gate: &DMatrix<f32>,
) -> Result<DMatrix<f32>, ShapeError> {
    let mut found = found.clone();
    open_gate(&mut found, gate)?;
    Ok(found)
}

/// Gradients of everything that a layer has learned, and of what it was given.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerGradients {
    /// (tokens, `model_dim`).
    pub x: DMatrix<f32>,
    /// Of `q_proj`.
    pub q_proj: LinearGradients,
    /// Of `k_proj`.
    pub k_proj: LinearGradients,
    /// Of `v_proj`.
    pub v_proj: LinearGradients,
    /// Of `o_proj`.
    pub o_proj: LinearGradients,
    /// Of `gate_proj`, if there is one.
    pub gate_proj: Option<LinearGradients>,
    /// Of the norm of queries; its `x` are the queries.
    pub q_norm: Option<NormGradients>,
    /// Of the norm of keys; its `x` are the keys.
    pub k_norm: Option<NormGradients>,
    /// One for each query head, if there are sinks.
    pub sinks: Option<DVector<f32>>,
}

/// The way back through [`forward`], which was given `x` and gave `passed`. `dy` is
/// (tokens, `d_out`).
///
/// # Errors
/// When `x`, `passed` and `dy` are not of one pass of this layer.
pub fn backward(
    layer: &DecoderLayer,
    x: &DMatrix<f32>,
    passed: &Forward,
    dy: &DMatrix<f32>,
) -> Result<LayerGradients, LayerError> {
    let (parts, [q_proj, k_proj, v_proj, o_proj]) =
        (layer.parts(), layer.projections());
    let Mixed { found: d_found, gate: d_gate, o_proj } =
        mix_backward(o_proj, passed, dy)?;
    let HeadsGradients { q, k, v, sinks } = attend_backward(parts, passed, &d_found)?;
    let mut d = Projected { q, k, v };
    let [q_norm, k_norm] = prepare_backward(parts, passed, &mut d)?;

    let mut d_x = linear_input(q_proj, &d.q)?;
    d_x += linear_input(k_proj, &d.k)?;
    d_x += linear_input(v_proj, &d.v)?;
    let gate_proj = match (layer.gate_proj(), d_gate) {
        (Some(gate_proj), Some(d_gate)) => {
            d_x += linear_input(gate_proj, &d_gate)?;
            Some(linear_gradients(gate_proj, x, &d_gate)?)
        }
        _ => None,
    };
    Ok(LayerGradients {
        x: d_x,
        q_proj: linear_gradients(q_proj, x, &d.q)?,
        k_proj: linear_gradients(k_proj, x, &d.k)?,
        v_proj: linear_gradients(v_proj, x, &d.v)?,
        o_proj,
        gate_proj,
        q_norm,
        k_norm,
        sinks,
    })
}

/// The way back through the heads, by the weights that were saved or by their log-sum-exp.
fn attend_backward(
    parts: &Parts,
    passed: &Forward,
    d_found: &DMatrix<f32>,
) -> Result<HeadsGradients, LayerError> {
    let Forward { ready: Projected { q, k, v }, weights, saved, mask, .. } = passed;
    if saved.log_sum_exp.ncols() == 0 {
        return heads_backward(parts, q, k.as_view(), v.as_view(), weights, d_found);
    }
    let (groups, sinks) = (parts.groups, sinks_of(parts));
    let given = Attending { q, k, v, groups, mask, sinks: &sinks };
    let FlashGradients { mut q, k, v, sinks } = flash_backward(given, saved, d_found)?;
    q *= to_flash(parts);
    Ok(HeadsGradients { q, k, v, sinks: parts.sinks.is_some().then_some(sinks) })
}

/// Gradients of what the heads found, of the gates, and of the map that mixes.
struct Mixed {
    found: DMatrix<f32>,
    gate: Option<DMatrix<f32>>,
    o_proj: LinearGradients,
}

/// The way back through the output projection and the gate in front of it.
fn mix_backward(
    o_proj: &Linear,
    passed: &Forward,
    dy: &DMatrix<f32>,
) -> Result<Mixed, ShapeError> {
    let mut d_found = linear_input(o_proj, dy)?;
    let Some(gate) = &passed.gate else {
        let o_proj = linear_gradients(o_proj, &passed.saved.output, dy)?;
        return Ok(Mixed { found: d_found, gate: None, o_proj });
    };
    let let_through = gated(&passed.saved.output, gate)?;
    expect_shape("dy", d_found.shape(), let_through.shape(), "they are of one pass")?;
    // σ' = σ (1 − σ), and found · σ is what was let through.
    let mut d_gate = let_through.component_mul(&d_found);
    d_gate.zip_apply(gate, |d, gate| *d /= 1.0 + gate.exp());
    open_gate(&mut d_found, gate)?;
    let o_proj = linear_gradients(o_proj, &let_through, dy)?;
    Ok(Mixed { found: d_found, gate: Some(d_gate), o_proj })
}

/// The way back through [`Parts::prepare`], its steps in the opposite order: `d` are
/// gradients of queries, keys and values as they met, and become those of what the
/// projections gave.
fn prepare_backward(
    parts: &Parts,
    passed: &Forward,
    d: &mut Projected,
) -> Result<[Option<NormGradients>; 2], ShapeError> {
    if let Some(temperature) = parts.temperature {
        for (mut d, position) in d.q.row_iter_mut().zip(passed.place.positions()) {
            d *= temperature.at(position);
        }
    }
    if let Some(angles) = passed.place.angles() {
        rotation_backward(angles, &mut d.q)?;
        rotation_backward(angles, &mut d.k)?;
    }
    let Some(raw) = &passed.raw else { return Ok([None, None]) };
    let mut of_norms = [None, None];
    if let Some(norms) = &parts.norms {
        of_norms = [
            Some(norm_of_clipped(&norms.q, parts.clip, &raw.q, &mut d.q)?),
            Some(norm_of_clipped(&norms.k, parts.clip, &raw.k, &mut d.k)?),
        ];
    }
    if let Some(most) = parts.clip {
        for (d, raw) in [(&mut d.q, &raw.q), (&mut d.k, &raw.k), (&mut d.v, &raw.v)] {
            d.zip_apply(raw, |d, x| *d = if x.abs() > most { 0.0 } else { *d });
        }
    }
    Ok(of_norms)
}

/// The way back through a norm of what was clipped. `d` becomes the gradient of that.
fn norm_of_clipped(
    norm: &HeadNorm,
    clip: Option<f32>,
    raw: &DMatrix<f32>,
    d: &mut DMatrix<f32>,
) -> Result<NormGradients, ShapeError> {
    let most = clip.unwrap_or(f32::INFINITY);
    let gradients = norm_backward(norm, &raw.map(|x| x.clamp(-most, most)), d)?;
    d.copy_from(&gradients.x);
    Ok(gradients)
}
