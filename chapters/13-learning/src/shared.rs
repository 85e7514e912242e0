//! The way back through layers whose heads share keys and values, and look at any
//! sequence.

use crate::{
    HeadsGradients, LinearGradients, heads_backward, linear_gradients, linear_input,
    rotation_backward,
};
use attention::{Linear, Mask};
use decoder_layer::Parts;
use multi_head::{Heads, LayerError};
use nalgebra::DMatrix;

/// A layer of chapters 1 to 6 or 10: projections, the attention of heads that share keys
/// and values in groups, and a projection of what they found.
#[derive(Debug, Clone, Copy)]
pub struct SharedHeads<'a> {
    /// The projections of queries, keys and values.
    pub qkv: [&'a Linear; 3],
    /// The projection of the output; chapter 1 has none.
    pub o_proj: Option<&'a Linear>,
    /// Groups, and the rotation if there is one. Other parts are not looked at.
    pub parts: &'a Parts,
}

/// Gradients of such a layer.
#[derive(Debug, Clone, PartialEq)]
pub struct SharedGradients {
    /// (tokens, `model_dim`): of what asks.
    pub x: DMatrix<f32>,
    /// (context tokens, `context_dim`): of what is looked at. In self-attention, the
    /// gradient of the tokens is the sum of the two.
    pub context: DMatrix<f32>,
    /// Of the projections of queries, keys and values.
    pub qkv: [LinearGradients; 3],
    /// Of the projection of the output, if there is one.
    pub o_proj: Option<LinearGradients>,
}

impl SharedHeads<'_> {
    /// The way back from `dy` (tokens, `d_out`): the tokens `x` (tokens, `model_dim`) look
    /// at `context` (context tokens, `context_dim`), which is `x` itself in
    /// self-attention.
    ///
    /// # Errors
    /// When the shapes do not fit together.
    pub fn backward(
        &self,
        [x, context]: [&DMatrix<f32>; 2],
        mask: &Mask,
        dy: &DMatrix<f32>,
    ) -> Result<SharedGradients, LayerError> {
        let (parts, [q_proj, k_proj, v_proj]) = (self.parts, self.qkv);
        let of_context =
            |map: &Linear| map.forward(context).map_err(|e| e.of("context"));
        let (mut q, mut k) = (q_proj.forward(x)?, of_context(k_proj)?);
        let v = of_context(v_proj)?;
        let turning = parts.rotary.as_ref().map(|rotary| rotary.angles(0..x.nrows()));
        if let Some(angles) = &turning {
            angles.rotate(&mut q)?;
            angles.rotate(&mut k)?;
        }
        let (keys, values) = (k.as_view(), v.as_view());
        let Heads { found, weights } = parts.attend(&q, keys, values, mask)?;

        let d_found = match self.o_proj {
            Some(o_proj) => linear_input(o_proj, dy)?,
            None => dy.clone(),
        };
        let HeadsGradients { q: mut d_q, k: mut d_k, v: d_v, .. } =
            heads_backward(parts, &q, keys, values, &weights, &d_found)?;
        if let Some(angles) = turning {
            rotation_backward(&angles, &mut d_q)?;
            rotation_backward(&angles, &mut d_k)?;
        }
        let o_proj = self.o_proj.map(|map| linear_gradients(map, &found, dy));
        Ok(SharedGradients {
            x: linear_input(q_proj, &d_q)?,
            context: linear_input(k_proj, &d_k)? + linear_input(v_proj, &d_v)?,
            qkv: [
                linear_gradients(q_proj, x, &d_q)?,
                linear_gradients(k_proj, context, &d_k)?,
                linear_gradients(v_proj, context, &d_v)?,
            ],
            o_proj: o_proj.transpose()?,
        })
    }
}
