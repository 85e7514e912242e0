//! What some models do at their two ends: where tokens enter, and where logits leave.

use crate::error::ModelError;
use crate::projection::Projection;
use nalgebra::DMatrix;

/// What is done besides looking up a row, and besides comparing with all of them. Llama does
/// nothing: [`Ends::default`].
#[derive(Debug, Clone, PartialEq)]
pub struct Ends {
    /// Tokens enter as their rows times this: √`model_dim` in Gemma.
    pub entry: f32,
    /// (`model_dim`, positions): column t is added to the token at position t, as in GPT-2.
    pub positions: Option<Projection>,
    /// Logits are multiplied by this, as in Cohere's models.
    pub exit: f32,
    /// And then bounded: `cap · tanh(logit / cap)`, as in Gemma 2.
    pub cap: Option<f32>,
}

impl Default for Ends {
    fn default() -> Self {
        Ends { entry: 1.0, positions: None, exit: 1.0, cap: None }
    }
}

impl Ends {
    /// `columns` (`model_dim`, tokens), the first of which stands at position `start`.
    ///
    /// # Errors
    /// When a token stands where no position was learned.
    pub(crate) fn enter(
        &self,
        columns: &mut DMatrix<f32>,
        start: usize,
    ) -> Result<(), ModelError> {
        if self.entry != 1.0 {
            *columns *= self.entry;
        }
        let Some(positions) = &self.positions else { return Ok(()) };
        let (tokens, context) = (start + columns.ncols(), positions.shape().1);
        if tokens > context {
            return Err(ModelError::Long { tokens, context });
        }
        let mut at = vec![0.0; columns.nrows()];
        for (position, mut column) in columns.column_iter_mut().enumerate() {
            positions.weights_of(start + position, &mut at);
            column.iter_mut().zip(&at).for_each(|(x, at)| *x += at);
        }
        Ok(())
    }

    /// `logits` (tokens, vocabulary), in place.
    pub(crate) fn leave(&self, logits: &mut DMatrix<f32>) {
        if self.exit != 1.0 {
            *logits *= self.exit;
        }
        if let Some(cap) = self.cap {
            decoder_layer::soft_cap(logits, cap);
        }
    }
}
