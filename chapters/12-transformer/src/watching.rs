//! A pass through a decoder under observation: every head's weights, what a layer would
//! say, and what becomes of it all when something is taken out.

use crate::places::Places;
use crate::{Decoder, ModelError};
use attention::Mask;
use multi_head::Heads;
use nalgebra::DMatrix;
use std::ops::Range;

/// Somebody who is shown what happens in each block, and may change it.
pub trait Watch {
    /// What the heads of block `layer` have found, before it is mixed.
    fn heads(&mut self, layer: usize, heads: &mut Heads) {
        let _ = (layer, heads);
    }

    /// The rows that leave block `layer`, (tokens, `model_dim`).
    fn stream(&mut self, layer: usize, x: &DMatrix<f32>) {
        let _ = (layer, x);
    }
}

/// The weights of every head, by layer.
#[derive(Debug, Default)]
pub struct Maps(pub Vec<Vec<DMatrix<f32>>>);

impl Watch for Maps {
    fn heads(&mut self, _: usize, heads: &mut Heads) {
        self.0.push(heads.weights.clone());
    }
}

/// The rows that leave every block.
#[derive(Debug, Default)]
pub struct Stream(pub Vec<DMatrix<f32>>);

impl Watch for Stream {
    fn stream(&mut self, _: usize, x: &DMatrix<f32>) {
        self.0.push(x.clone());
    }
}

/// Heads that are switched off, by layer and number: what they found is 0.
#[derive(Debug, Clone)]
pub struct Off(pub Vec<(usize, usize)>);

impl Watch for Off {
    fn heads(&mut self, layer: usize, heads: &mut Heads) {
        let width = heads.found.ncols() / heads.weights.len().max(1);
        for &(_, head) in self.0.iter().filter(|(at, _)| *at == layer) {
            if head < heads.weights.len() {
                heads.found.columns_mut(head * width, width).fill(0.0);
            }
        }
    }
}

/// What leaves the last norm, (tokens, `model_dim`), when `tokens` pass at once without a
/// cache, under `mask`.
///
/// # Errors
/// When a token is not in the vocabulary, or the mask does not fit.
pub fn watched(
    model: &Decoder,
    tokens: &[u32],
    mask: &Mask,
    watch: &mut impl Watch,
) -> Result<DMatrix<f32>, ModelError> {
    let x = watched_through(
        model,
        0..model.blocks.len(),
        model.embed(tokens, 0)?,
        mask,
        watch,
    )?;
    Ok(model.norm.forward(&x)?)
}

/// The rows `x` (tokens, `model_dim`) through some of the blocks.
///
/// # Errors
/// When `x` or the mask do not fit.
pub fn watched_through(
    model: &Decoder,
    layers: Range<usize>,
    mut x: DMatrix<f32>,
    mask: &Mask,
    watch: &mut impl Watch,
) -> Result<DMatrix<f32>, ModelError> {
    let mut places = Places::new(0, x.nrows());
    let some = model.blocks.iter().enumerate().take(layers.end).skip(layers.start);
    for (layer, block) in some {
        x = block.pass(x, |attention, normed| {
            let mut heads = attention.look(normed, &mut places, mask)?;
            watch.heads(layer, &mut heads);
            Ok(attention.mix(&heads.found)?)
        })?;
        watch.stream(layer, &x);
    }
    Ok(x)
}
