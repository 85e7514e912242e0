//! Cross-entropy, where every gradient begins.

use attention::{ShapeError, expect_shape, softmax};
use nalgebra::{DMatrix, RowDVector};

/// A loss, and how fast it grows with each logit.
#[derive(Debug, Clone, PartialEq)]
pub struct CrossEntropy {
    /// Nats per judged row: the mean of −ln of the share that the target got.
    pub loss: f32,
    /// (tokens, vocabulary): `(softmax(logits) − target) / judged`.
    pub d_logits: DMatrix<f32>,
}

/// The surprise of `logits` (tokens, vocabulary) at `targets`, one for each row: the token
/// that came, or `None` where the row is not judged. Without a judged row the loss is 0.
///
/// # Errors
/// When there is not one target per row, or a target is not in the vocabulary.
pub fn cross_entropy(
    logits: &DMatrix<f32>,
    targets: &[Option<usize>],
) -> Result<CrossEntropy, LossError> {
    let wanted = (targets.len(), logits.ncols());
    expect_shape("logits", logits.shape(), wanted, "one row for each target")?;
    let judged = targets.iter().flatten().count().max(1) as f32;
    let mut d_logits = softmax(logits.clone());
    let mut loss = 0.0;
    for (row, target) in targets.iter().enumerate() {
        let Some(target) = *target else {
            d_logits.row_mut(row).fill(0.0);
            continue;
        };
        let vocabulary = logits.ncols();
        if target >= vocabulary {
            return Err(LossError::Unknown { row, target, vocabulary });
        }
        let share = d_logits[(row, target)];
        loss += match share {
            0.0 => surprise(&logits.row(row).into_owned(), target),
            share => -share.ln(),
        };
        d_logits[(row, target)] = share - 1.0;
    }
    Ok(CrossEntropy { loss: loss / judged, d_logits: d_logits / judged })
}

/// −ln of a share that is too small for an `f32`.
fn surprise(logits: &RowDVector<f32>, target: usize) -> f32 {
    let max = logits.max();
    let sum: f32 = logits.iter().map(|logit| (logit - max).exp()).sum();
    max + sum.ln() - logits[target]
}

/// Why there is no loss.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LossError {
    /// Logits and targets do not belong together.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// A target without a logit.
    #[error("row {row}: token {target} came, and the vocabulary has {vocabulary}")]
    Unknown {
        /// Where it stands.
        row: usize,
        /// The token.
        target: usize,
        /// How many there are.
        vocabulary: usize,
    },
}
