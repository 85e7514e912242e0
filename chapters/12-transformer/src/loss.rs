//! How surprised a model is by a text.

use crate::caches::Cache;
use crate::{Decoder, ModelError};
use attention::{Mask, exp_nonpositive};
use nalgebra::DMatrix;
use pulp::Arch;
use std::ops::ControlFlow;

/// Tokens that pass at a time.
const CHUNK: usize = 256;
/// Rows of logits that are in memory at a time.
const ROWS: usize = 64;

/// Which tokens before itself a token sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// All of them.
    All,
    /// The last `window`, itself among them, and the first `first` of the text.
    Window {
        /// Tokens that it looks back, itself included.
        window: usize,
        /// Tokens at the start that everybody sees.
        first: usize,
    },
}

impl Sight {
    /// Whether the token at `query` sees the one at `key`.
    #[must_use]
    pub fn sees(self, query: usize, key: usize) -> bool {
        match self {
            Sight::All => key <= query,
            Sight::Window { window, first } => {
                key <= query && (key < first || query - key < window)
            }
        }
    }

    /// The mask of `tokens` that follow `before` others.
    #[must_use]
    pub fn mask(self, before: usize, tokens: usize) -> Mask {
        match self {
            Sight::All => Mask::Causal { offset: before },
            Sight::Window { window, first: 0 } => {
                Mask::Window { offset: before, window }
            }
            Sight::Window { .. } => {
                Mask::Allowed(DMatrix::from_fn(tokens, before + tokens, |row, key| {
                    self.sees(before + row, key)
                }))
            }
        }
    }
}

/// How surprised the model is by each token of a text but the first, in nats: −ln of the
/// share that it gave the token. `go_on` is told how many are done, and may break off;
/// then what is done is what there is.
///
/// # Errors
/// When a token is not in the vocabulary.
pub fn surprises(
    model: &Decoder,
    tokens: &[u32],
    sight: Sight,
    mut go_on: impl FnMut(usize) -> ControlFlow<()>,
) -> Result<Vec<f64>, ModelError> {
    let mut caches = model.caches(tokens.len());
    let mut all = Vec::with_capacity(tokens.len());
    for chunk in tokens.chunks(CHUNK) {
        let start = caches.first().map_or(0, Cache::len);
        let mask = sight.mask(start, chunk.len());
        let hidden = model.forward_masked(chunk, &mask, &mut caches)?;
        for first in (0..chunk.len()).step_by(ROWS) {
            let rows = ROWS.min(chunk.len() - first);
            let logits = model.logits(&hidden.rows(first, rows).into_owned())?;
            let next = tokens.get(start + first + 1..).unwrap_or_default();
            all.extend(surprises_of(&logits, next));
        }
        if go_on(all.len()).is_break() {
            break;
        }
    }
    Ok(all)
}

/// −ln softmax of the logits (tokens, vocabulary), at the token `next` of each row: the
/// logarithm of the sum of exponentials, less the token's own logit. As many as there are
/// of both.
#[must_use]
pub fn surprises_of(logits: &DMatrix<f32>, next: &[u32]) -> Vec<f64> {
    let sums = Arch::new().dispatch(
        #[inline(always)]
        || log_sums(logits),
    );
    let own = next.iter().zip(sums).enumerate();
    own.map(|(row, (&token, sum))| sum - f64::from(logits[(row, token as usize)]))
        .collect()
}

/// ln Σ eˣ of each row.
#[inline(always)]
fn log_sums(logits: &DMatrix<f32>) -> Vec<f64> {
    let rows = logits.nrows();
    let mut max = vec![f32::MIN; rows];
    for column in logits.as_slice().chunks_exact(rows.max(1)) {
        for (max, x) in max.iter_mut().zip(column) {
            *max = if *x > *max { *x } else { *max };
        }
    }
    let mut sum = vec![0.0_f32; rows];
    for column in logits.as_slice().chunks_exact(rows.max(1)) {
        for ((sum, x), max) in sum.iter_mut().zip(column).zip(&max) {
            *sum += exp_nonpositive(*x - *max);
        }
    }
    max.iter()
        .zip(&sum)
        .map(|(&max, &sum)| f64::from(max) + f64::from(sum).ln())
        .collect()
}
