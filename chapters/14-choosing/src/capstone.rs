//! One small fixed model, run through every variant: the six attention layers of MiniLM,
//! each on the first 512 tokens of *Alice's Adventures in Wonderland* as the model has
//! them there.

use anyhow::{Context, Result, anyhow};
use attention::Mask;
use grouped_query::experiments::{aligned_error, grouped, relative_error};
use grouped_query::{Groups, Pooling, attend_groups, attend_stacked};
use latent::experiments::LowRank;
use linformer::{SequenceProjection, attend_condensed};
use minilm::Layer;
use multi_head::Projected;
use multi_query::alignment::Freedom;
use multi_query::attend_shared;
use nalgebra::DMatrix;
use rotary::{Pairing, Rotary};
use std::sync::OnceLock;

/// Layers of MiniLM.
pub const LAYERS: usize = 6;
/// Tokens of the text.
pub const TOKENS: usize = 512;
/// Features of a token.
pub const MODEL_DIM: usize = 384;
/// Heads of each layer.
pub const HEADS: usize = 12;
/// Features of a head.
const HEAD_DIM: usize = 32;

/// What the layers are converted to. Nothing is trained: what would have to be learned is
/// pooled, cut off, or made up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// As it was trained.
    MultiHead,
    /// The causal pass token by token. What it is compared with is causal too.
    Decoding,
    /// In tiles.
    Flash,
    /// Groups of heads share the mean of their keys and values.
    GroupedQuery {
        /// Key/value heads.
        kv_heads: usize,
    },
    /// The same, after the heads of a group were turned toward one another (chapter 5),
    /// which changes no output by itself.
    Aligned {
        /// Key/value heads.
        kv_heads: usize,
    },
    /// All heads share the mean of their keys and values.
    MultiQuery,
    /// Keys and values come from the latent that keeps most of the weights.
    Latent {
        /// Its width.
        rank: usize,
    },
    /// Keys and values are averaged over stretches of the text.
    Linformer {
        /// Stretches.
        k: usize,
    },
    /// Queries and keys are turned, on top of the positions that the model has learned.
    Rotary,
}

/// All that the chapter shows, in its order.
pub const VARIANTS: [Variant; 14] = [
    Variant::MultiHead,
    Variant::Decoding,
    Variant::Flash,
    Variant::Rotary,
    Variant::GroupedQuery { kv_heads: 6 },
    Variant::Aligned { kv_heads: 6 },
    Variant::GroupedQuery { kv_heads: 3 },
    Variant::Aligned { kv_heads: 3 },
    Variant::MultiQuery,
    Variant::Aligned { kv_heads: 1 },
    Variant::Latent { rank: 256 },
    Variant::Latent { rank: 128 },
    Variant::Linformer { k: 256 },
    Variant::Linformer { k: 128 },
];

/// Where nothing is shared, cut off, or averaged: the ends of the lines in the figure.
pub const WHOLE: [Variant; 3] = [
    Variant::GroupedQuery { kv_heads: HEADS },
    Variant::Latent { rank: MODEL_DIM },
    Variant::Linformer { k: TOKENS },
];

/// What a variant costs and loses, for one layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Run {
    /// Numbers that were learned, or would be.
    pub parameters: usize,
    /// Numbers that a token leaves in the cache; none where no token can be left out.
    pub kept: Option<usize>,
    /// Multiply-adds for the text at once: the projections, scores, and averages.
    pub multiply_adds: usize,
    /// Bytes that a step of decoding reads at the end of the text, weights and cache.
    pub step_bytes: Option<usize>,
    /// Relative error of the heads' output, a mean over the layers.
    pub error: f32,
}

impl Variant {
    /// In the table's words.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Variant::MultiHead => "multi-head".into(),
            Variant::Decoding => "decoding".into(),
            Variant::Flash => "flash".into(),
            Variant::GroupedQuery { kv_heads } => format!("{kv_heads} kv heads"),
            Variant::Aligned { kv_heads } => format!("{kv_heads} aligned"),
            Variant::MultiQuery => "multi-query".into(),
            Variant::Latent { rank } => format!("latent {rank}"),
            Variant::Linformer { k } => format!("{k} rows"),
            Variant::Rotary => "rotary".into(),
        }
    }

    /// What it costs, and what it loses on all layers. Those of [`VARIANTS`] and [`WHOLE`]
    /// are run once.
    ///
    /// # Errors
    /// When the model's slices cannot be read, or it is none of these.
    pub fn run(self) -> Result<Run> {
        static RUNS: OnceLock<Result<Vec<(Variant, Run)>, String>> = OnceLock::new();
        let runs = RUNS.get_or_init(|| {
            let all = VARIANTS.into_iter().chain(WHOLE);
            let runs: Result<_> = all.map(|one| Ok((one, one.run_anew()?))).collect();
            runs.map_err(|error| format!("{error:#}"))
        });
        let runs = runs.as_ref().map_err(|error| anyhow!("{error}"))?;
        let found = runs.iter().find(|(variant, _)| *variant == self);
        found
            .map(|(_, run)| *run)
            .with_context(|| format!("{} is not run", self.name()))
    }

    fn run_anew(self) -> Result<Run> {
        let errors = (0..LAYERS).map(|layer| self.error(layer));
        let errors: Vec<f32> = errors.collect::<Result<_>>()?;
        let parameters = self.parameters();
        let kept = self.kept();
        // Four bytes per number, and a cache that holds the whole text.
        let step_bytes = kept.map(|kept| 4 * (parameters + TOKENS * kept));
        Ok(Run {
            parameters,
            kept,
            multiply_adds: self.multiply_adds(),
            step_bytes,
            error: errors.iter().sum::<f32>() / LAYERS as f32,
        })
    }

    /// How far the heads' output in one layer is from that in the model.
    ///
    /// # Errors
    /// When the model's slice cannot be read.
    pub fn error(self, layer: usize) -> Result<f32> {
        let layer = Layer::with_long_text(layer)?;
        let whole = grouped(&layer, HEADS, Pooling::Mean)?;
        let mask = match self {
            Variant::Decoding => Mask::Causal { offset: 0 },
            _ => Mask::None,
        };
        let Projected { q, k, v } = whole.project(&layer.x, &layer.x)?;
        let (keys, values, groups) = (k.as_view(), v.as_view(), whole.groups());
        let expected = attend_groups(&q, keys, values, groups, &mask)?.found;
        let found = match self {
            Variant::MultiHead => return Ok(0.0),
            Variant::Decoding => token_by_token(&q, &k, &v, groups)?,
            Variant::Flash => flash::attend(&q, keys, values, groups, &mask)?,
            Variant::GroupedQuery { kv_heads } => {
                let pooled = grouped(&layer, kv_heads, Pooling::Mean)?;
                let Projected { k, v, .. } = pooled.project(&layer.x, &layer.x)?;
                let (k, v) = (k.as_view(), v.as_view());
                attend_groups(&q, k, v, pooled.groups(), &mask)?.found
            }
            Variant::Aligned { kv_heads } => {
                return aligned_error(&layer, kv_heads, Freedom::Any);
            }
            Variant::MultiQuery => {
                let pooled = grouped(&layer, 1, Pooling::Mean)?;
                let Projected { k, v, .. } = pooled.project(&layer.x, &layer.x)?;
                attend_shared(&q, k.as_view(), v.as_view(), HEADS, &mask)?.found
            }
            Variant::Latent { rank } => {
                let [k, v] = LowRank::new(layer).keys_and_values(rank)?;
                attend_groups(&q, k.as_view(), v.as_view(), groups, &mask)?.found
            }
            Variant::Linformer { k: rows } => condensed(&q, &k, &v, rows)?,
            Variant::Rotary => {
                let (mut q, mut k) = (q, k);
                let rotary = Rotary::new(HEAD_DIM, 10_000.0, Pairing::Halves)?;
                let angles = rotary.angles(0..TOKENS);
                angles.rotate(&mut q)?;
                angles.rotate(&mut k)?;
                attend_groups(&q, k.as_view(), v.as_view(), groups, &mask)?.found
            }
        };
        Ok(relative_error(&found, &expected))
    }

    /// Weights and biases of one layer. Every projection of MiniLM has biases.
    #[must_use]
    pub fn parameters(self) -> usize {
        let linear = |d_in: usize, d_out: usize| d_in * d_out + d_out;
        let query_and_output = 2 * linear(MODEL_DIM, MODEL_DIM);
        let kv_width = |heads: usize| 2 * heads * HEAD_DIM;
        query_and_output
            + match self {
                Variant::GroupedQuery { kv_heads } | Variant::Aligned { kv_heads } => {
                    linear(MODEL_DIM, kv_width(kv_heads))
                }
                Variant::MultiQuery => linear(MODEL_DIM, kv_width(1)),
                Variant::Latent { rank } => {
                    MODEL_DIM * rank + linear(rank, kv_width(HEADS))
                }
                Variant::Linformer { k } => {
                    linear(MODEL_DIM, kv_width(HEADS)) + 2 * k * TOKENS
                }
                _ => linear(MODEL_DIM, kv_width(HEADS)),
            }
    }

    /// Numbers that a token leaves in the cache of one layer.
    #[must_use]
    pub fn kept(self) -> Option<usize> {
        match self {
            Variant::GroupedQuery { kv_heads } | Variant::Aligned { kv_heads } => {
                Some(2 * kv_heads * HEAD_DIM)
            }
            Variant::MultiQuery => Some(2 * HEAD_DIM),
            Variant::Latent { rank } => Some(rank),
            // Every token is in every row of what is looked at.
            Variant::Linformer { .. } => None,
            _ => Some(2 * HEADS * HEAD_DIM),
        }
    }

    /// Multiply-adds of one layer for the whole text.
    #[must_use]
    pub fn multiply_adds(self) -> usize {
        let biases = match self {
            Variant::GroupedQuery { kv_heads } | Variant::Aligned { kv_heads } => {
                2 * kv_heads * HEAD_DIM
            }
            Variant::MultiQuery => 2 * HEAD_DIM,
            _ => 2 * MODEL_DIM,
        };
        let along =
            if let Variant::Linformer { k } = self { 2 * k * TOKENS } else { 0 };
        let weights = self.parameters() - along - 2 * MODEL_DIM - biases;
        let looked_at = match self {
            Variant::Linformer { k } => TOKENS * k,
            Variant::Decoding => TOKENS * (TOKENS + 1) / 2,
            _ => TOKENS * TOKENS,
        };
        TOKENS * weights + along * MODEL_DIM + looked_at * 2 * MODEL_DIM
    }
}

/// Each token in turn, with the keys and values up to its own.
fn token_by_token(
    q: &DMatrix<f32>,
    k: &DMatrix<f32>,
    v: &DMatrix<f32>,
    groups: Groups,
) -> Result<DMatrix<f32>> {
    let mut found = DMatrix::zeros(q.nrows(), q.ncols());
    for token in 0..q.nrows() {
        let q = q.rows(token, 1).into_owned();
        let (k, v) = (k.rows(0, token + 1), v.rows(0, token + 1));
        found.rows_mut(token, 1).copy_from(&attend_stacked(&q, k, v, groups)?.found);
    }
    Ok(found)
}

/// Each head with the means of `rows` stretches of its keys and values.
fn condensed(
    q: &DMatrix<f32>,
    k: &DMatrix<f32>,
    v: &DMatrix<f32>,
    rows: usize,
) -> Result<DMatrix<f32>> {
    let means = SequenceProjection::mean_pooling(rows, TOKENS)?;
    let mut found = DMatrix::zeros(q.nrows(), q.ncols());
    for head in 0..HEADS {
        let own = |all| DMatrix::columns(all, head * HEAD_DIM, HEAD_DIM);
        let attended = attend_condensed(own(q), own(k), own(v), &means, &means)?;
        found.columns_mut(head * HEAD_DIM, HEAD_DIM).copy_from(&attended.output);
    }
    Ok(found)
}
