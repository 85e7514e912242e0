//! The chapter's own model at work on a text: where its heads look, what it expects next,
//! and how that moves when a part of it is changed.

use crate::tales::{model, pieces};
use crate::training::{Model, Sight};
use anyhow::{Context, Result, ensure};
use grouped_query::Pooling;
use nalgebra::DMatrix;

/// The most pieces that are looked at.
pub const MOST: usize = 64;

/// What the model reads in the book.
pub const OPENING: &str = "Once upon a time there was a king who had three daughters, and \
                           the youngest was so beautiful that the";

/// The layer and the head whose map is drawn large in the book.
pub const SHOWN: (usize, usize) = (1, 2);

/// What is asked of the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// What it reads.
    pub text: String,
    /// What logits are divided by.
    pub temperature: f32,
    /// The layer and head that are switched off.
    pub off: Option<(usize, usize)>,
    /// The key/value heads that remain, each the mean of those that it stands for.
    pub kv_heads: usize,
    /// Whom a token sees.
    pub sight: Sight,
}

impl Asked {
    /// A text, and nothing changed.
    #[must_use]
    pub fn of(text: &str) -> Asked {
        let (text, temperature) = (text.to_owned(), 1.0);
        let (kv_heads, sight) = (model().shape().kv_heads, model().shape().sight);
        Asked { text, temperature, off: None, kv_heads, sight }
    }

    /// Whether nothing is changed of the model as it was trained.
    #[must_use]
    pub fn as_trained(&self) -> bool {
        let shape = model().shape();
        self.off.is_none()
            && self.kv_heads == shape.kv_heads
            && self.sight == shape.sight
    }

    /// The model with its changes.
    fn model(&self) -> Result<Model> {
        let mut changed = model().clone();
        if self.kv_heads != changed.shape().kv_heads {
            changed = changed.pooled(self.kv_heads, Pooling::Mean)?;
        }
        if let Some((layer, head)) = self.off {
            changed.switch_off(layer, head)?;
        }
        changed.look(self.sight);
        Ok(changed)
    }
}

/// What the model does with a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Inside {
    /// The pieces of the text.
    pub pieces: Vec<usize>,
    /// (pieces, pieces) for each head of each layer.
    pub weights: Vec<Vec<DMatrix<f32>>>,
    /// The probability of each piece of being next.
    pub next: Vec<f32>,
    /// The same, of the model as it was trained.
    pub as_trained: Vec<f32>,
}

/// Lets the model read a text.
///
/// # Errors
/// When the text has no pieces, too many, or a character that the tales do not have; when
/// a change does not fit the model, or the temperature is not above 0.
pub fn inside(asked: &Asked) -> Result<Inside> {
    let text = plain(&asked.text);
    let read = pieces().encode(&text)?;
    let count = read.len();
    ensure!(count > 0, "there is nothing to read");
    ensure!(
        count <= MOST,
        "the text has {count} pieces; {MOST} are looked at, at most"
    );
    let temperature = asked.temperature;
    let fits = temperature.is_finite() && temperature > 0.0;
    ensure!(fits, "a temperature of {temperature}: wanted a number above 0");
    let changed = asked.model()?;
    let pass = changed.forward(&read)?;
    let layers = 0..changed.shape().layers;
    let weights = layers.map(|layer| pass.weights(layer).to_vec()).collect();
    let next = shares(&last(&pass.logits)?, temperature);
    let as_trained = if asked.as_trained() {
        next.clone()
    } else {
        shares(&last(&model().forward(&read)?.logits)?, temperature)
    };
    Ok(Inside { pieces: read, weights, next, as_trained })
}

/// What a text goes on with: as many pieces as `wanted`, one after the other, each drawn by
/// its probability. `draw` gives a number from 0 to 1.
///
/// # Errors
/// As for [`Pieces::encode`](crate::Pieces::encode), or when there is nothing to go on from.
pub fn goes_on(
    model: &Model,
    text: &str,
    wanted: usize,
    temperature: f32,
    mut draw: impl FnMut() -> f32,
) -> Result<String> {
    let mut read = pieces().encode(&plain(text))?;
    ensure!(!read.is_empty(), "there is nothing to go on from");
    let given = read.len();
    for _ in 0..wanted {
        // The model has been trained on sequences of twice as many.
        let seen = &read[read.len().saturating_sub(2 * MOST)..];
        let next = shares(&last(&model.forward(seen)?.logits)?, temperature);
        read.push(drawn(&next, draw()));
    }
    Ok(pieces().decode(&read[given..]))
}

/// Marks that are typed in many ways, as the tales have them.
fn plain(text: &str) -> String {
    let text = text.replace(['\u{2018}', '\u{2019}'], "'");
    let text = text.replace(['\u{201c}', '\u{201d}'], "\"");
    text.replace(['\u{2013}', '\u{2014}'], "--").replace("\r\n", "\n")
}

fn last(logits: &DMatrix<f32>) -> Result<Vec<f32>> {
    let last = logits.nrows().checked_sub(1).context("no logits")?;
    Ok(logits.row(last).iter().copied().collect())
}

/// Softmax of logits at a temperature.
fn shares(logits: &[f32], temperature: f32) -> Vec<f32> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let raised: Vec<f32> =
        logits.iter().map(|logit| ((logit - most) / temperature).exp()).collect();
    let sum: f32 = raised.iter().sum();
    raised.into_iter().map(|share| share / sum).collect()
}

/// The piece at which the sum of shares passes `at`.
fn drawn(shares: &[f32], at: f32) -> usize {
    let mut sum = 0.0;
    let passes = |share: &f32| {
        sum += share;
        sum > at
    };
    shares.iter().position(passes).unwrap_or(shares.len() - 1)
}
