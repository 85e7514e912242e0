//! Choosing among them all: what a mechanism costs in a whole model, on a given machine.
//!
//! ```text
//! a step reads     weights + batch · cache                       (bytes)
//! a step computes  batch · (weights in use + pairs of tokens)    (multiply-adds)
//! tokens per second ≤ batch / max(read / bandwidth, computed / arithmetic)
//! ```
//!
//! Source: the two roofs are those of Williams, Waterman and Patterson 2009, *Roofline*;
//! applied to decoding, Pope et al. 2022, *Efficiently Scaling Transformer Inference*.
//!
//! ```
//! use choosing::Mechanism;
//!
//! let shared = Mechanism::Shared { heads: 32, kv_heads: 8, qk_dim: 128, v_dim: 128 };
//! assert_eq!(shared.kept(), 2 * 8 * 128);
//! ```

pub mod calculator;
pub mod capstone;
pub mod config;
pub mod devices;
pub mod example;
pub mod experiments;
pub mod figures;
pub mod machines;

use checkpoint::Bytes;
use minilm::models::Window;

/// How a layer looks at other tokens, as far as its costs go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// `heads` query heads share `kv_heads` keys and values: multi-head attention if there
    /// are as many, multi-query if there is one, grouped-query in between.
    Shared {
        /// Query heads.
        heads: u64,
        /// Key/value heads.
        kv_heads: u64,
        /// Features of a query or key.
        qk_dim: u64,
        /// Features of a value.
        v_dim: u64,
    },
    /// All heads look at one latent, absorbed.
    Latent {
        /// Query heads.
        heads: u64,
        /// Features of a query that are not turned by position.
        nope_dim: u64,
        /// Features of a query that are turned by position.
        rope_dim: u64,
        /// Features of a value.
        v_dim: u64,
        /// Width of the latent.
        lora_rank: u64,
        /// Width of the latent that queries are made from, if there is one.
        q_lora_rank: Option<u64>,
    },
}

impl Mechanism {
    /// Numbers that a token leaves in the cache of one layer.
    #[must_use]
    pub fn kept(self) -> u64 {
        match self {
            Mechanism::Shared { kv_heads, qk_dim, v_dim, .. } => {
                kv_heads * (qk_dim + v_dim)
            }
            Mechanism::Latent { rope_dim, lora_rank, .. } => lora_rank + rope_dim,
        }
    }

    /// Multiply-adds with which all heads of one layer look from one token at another: a
    /// score, and a share of the average. The latent is key and value at once.
    #[must_use]
    pub fn pair(self) -> u64 {
        match self {
            Mechanism::Shared { heads, qk_dim, v_dim, .. } => heads * (qk_dim + v_dim),
            Mechanism::Latent { heads, rope_dim, lora_rank, .. } => {
                heads * (2 * lora_rank + rope_dim)
            }
        }
    }

    /// Weights of the projections of one layer, for tokens of `model_dim` features. Each
    /// takes one multiply-add per token, in the absorbed form as well.
    #[must_use]
    pub fn weights(self, model_dim: u64) -> u64 {
        match self {
            Mechanism::Shared { heads, v_dim, qk_dim, .. } => {
                model_dim * (heads * (qk_dim + v_dim) + self.kept())
            }
            Mechanism::Latent {
                heads,
                nope_dim,
                rope_dim,
                v_dim,
                lora_rank,
                q_lora_rank,
            } => {
                let queries = heads * (nope_dim + rope_dim);
                let query = match q_lora_rank {
                    Some(rank) => model_dim * rank + rank * queries,
                    None => model_dim * queries,
                };
                let up = lora_rank * heads * (nope_dim + v_dim);
                query + model_dim * self.kept() + up + heads * v_dim * model_dim
            }
        }
    }
}

/// The part of a layer that follows attention: a feed-forward network, of three matrices if
/// it is gated and else of two; or many networks, the experts, of which each token uses a
/// few.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedForward {
    /// Layers with one network.
    pub dense_layers: u64,
    /// Its hidden width.
    pub dense_dim: u64,
    /// Layers with experts.
    pub expert_layers: u64,
    /// Hidden width of an expert.
    pub expert_dim: u64,
    /// Experts of such a layer.
    pub experts: u64,
    /// Experts that a token uses.
    pub chosen: u64,
    /// Hidden width of what every token uses beside them.
    pub shared_dim: u64,
    /// Matrices of each network.
    pub matrices: u64,
}

impl FeedForward {
    /// One gated network of hidden width `dim` in each of `layers`.
    #[must_use]
    pub fn dense(layers: u64, dim: u64) -> Self {
        FeedForward {
            dense_layers: layers,
            dense_dim: dim,
            expert_layers: 0,
            expert_dim: 0,
            experts: 0,
            chosen: 0,
            shared_dim: 0,
            matrices: 3,
        }
    }
}

/// How many of `experts` are used by at least one of `tokens` on average, if each token uses
/// `chosen` of them and all are equally likely: what a layer with experts has to read.
#[must_use]
pub fn touched(experts: u64, chosen: u64, tokens: u64) -> f64 {
    if experts == 0 {
        return 0.0;
    }
    let missed = 1.0 - chosen as f64 / experts as f64;
    experts as f64 * (1.0 - missed.powf(tokens as f64))
}

/// A decoder as far as its costs go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// As its authors call it, or what it was read from.
    pub name: String,
    /// Width of a token.
    pub model_dim: u64,
    /// Layers, each with attention and a feed-forward part.
    pub layers: u64,
    /// Layers that look back a limited number of tokens, if there are any.
    pub window: Option<Window>,
    /// The same in every layer.
    pub mechanism: Mechanism,
    /// What follows it.
    pub feed_forward: FeedForward,
    /// Different tokens, the vocabulary.
    pub vocab: u64,
    /// Whether one matrix is both the embedding and the one that makes logits.
    pub tied: bool,
    /// Biases, the weights of norms, and the table of positions where there is one.
    pub small: u64,
}

/// Weights, counted by the part of the model that they belong to, since some parts may
/// be stored in fewer bits than others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weights {
    /// Projections of attention.
    pub attention: f64,
    /// Networks that every token passes through.
    pub network: f64,
    /// Networks of which a token passes through a few.
    pub experts: f64,
    /// The matrix that makes logits.
    pub head: f64,
    /// The embedding, if it is another matrix.
    pub table: f64,
    /// Routers, biases, the weights of norms, positions.
    pub rest: f64,
}

impl Weights {
    /// How many weights there are.
    #[must_use]
    pub fn count(self) -> f64 {
        self.bytes(Bytes::all(1.0))
    }

    /// The bytes that they take, if each part is stored as `each` says.
    #[must_use]
    pub fn bytes(self, each: Bytes) -> f64 {
        let layers = self.attention * each.attention
            + self.network * each.network
            + self.experts * each.experts;
        layers + self.head * each.head + self.table * each.table + self.rest * each.rest
    }
}

impl Model {
    /// Numbers that were learned.
    #[must_use]
    pub fn parameters(&self) -> f64 {
        self.weights().count()
    }

    /// The same, by parts.
    #[must_use]
    pub fn weights(&self) -> Weights {
        let table = if self.tied { 0.0 } else { self.table() };
        Weights { table, ..self.read(self.feed_forward.experts as f64) }
    }

    /// Weights of the embedding, and of the matrix that makes logits.
    fn table(&self) -> f64 {
        (self.vocab * self.model_dim) as f64
    }

    /// Weights that a step reads if `used` experts of each layer are used: all but the
    /// embedding, of which it reads one row per token.
    fn read(&self, used: f64) -> Weights {
        let FeedForward { dense_layers, dense_dim, expert_layers, .. } =
            self.feed_forward;
        let FeedForward { expert_dim, experts, shared_dim, matrices, .. } =
            self.feed_forward;
        let network = |dim: u64| (matrices * self.model_dim * dim) as f64;
        let (dense, sparse) = (dense_layers as f64, expert_layers as f64);
        let routers = sparse * (self.model_dim * experts) as f64;
        Weights {
            attention: self.layers as f64
                * self.mechanism.weights(self.model_dim) as f64,
            network: dense * network(dense_dim) + sparse * network(shared_dim),
            experts: sparse * used * network(expert_dim),
            head: self.table(),
            table: 0.0,
            rest: routers + self.small as f64,
        }
    }

    /// Tokens whose keys and values, or latents, are kept after `context` tokens, summed
    /// over the layers.
    #[must_use]
    pub fn cached_tokens(&self, context: u64) -> u64 {
        let window = self.window.unwrap_or(Window { tokens: 0, layers: 0 });
        (self.layers - window.layers) * context
            + window.layers * context.min(window.tokens)
    }

    /// The numbers that one sequence of `context` tokens keeps.
    #[must_use]
    pub fn cache(&self, context: u64) -> f64 {
        self.cached_tokens(context) as f64 * self.mechanism.kept() as f64
    }

    /// What one step of decoding takes: a new token for each sequence of the batch.
    #[must_use]
    pub fn step(&self, setting: &Setting) -> Step {
        let Setting { context, batch, weight_bytes, cache_bytes } = *setting;
        let FeedForward { experts, chosen, .. } = self.feed_forward;
        let weights = self.read(touched(experts, chosen, batch));
        let pairs = self.cached_tokens(context) as f64 * self.mechanism.pair() as f64;
        let batch = batch as f64;
        Step {
            bytes: weights.bytes(weight_bytes)
                + batch * self.cache(context) * cache_bytes,
            multiply_adds: batch * (self.read(chosen as f64).count() + pairs),
        }
    }

    /// Multiply-adds for the prompt of one sequence: each of `context` tokens passes the
    /// layers, and looks at itself and at those before it. Only the last one needs logits,
    /// which say what comes next. Keys and values are expanded from latents, which is
    /// cheaper than absorbing for many tokens.
    #[must_use]
    pub fn prefill(&self, context: u64) -> f64 {
        let window = self.window.unwrap_or(Window { tokens: 0, layers: 0 });
        let seen = |most: u64| {
            let (n, m) = (context as f64, context.min(most) as f64);
            // 1 + 2 + … up to the window, then the window each time.
            m * (m + 1.0) / 2.0 + (n - m) * m
        };
        let pairs = (self.layers - window.layers) as f64 * seen(context)
            + window.layers as f64 * seen(window.tokens);
        let expanded = match self.mechanism {
            Mechanism::Shared { .. } => self.mechanism.pair(),
            Mechanism::Latent { heads, nope_dim, rope_dim, v_dim, .. } => {
                heads * (nope_dim + rope_dim + v_dim)
            }
        };
        let passed = self.read(self.feed_forward.chosen as f64);
        let layers = passed.count() - passed.head;
        let leaving = context.min(1) as f64 * self.table();
        context as f64 * layers + pairs * expanded as f64 + leaving
    }
}

/// What a model is asked to do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Setting {
    /// Tokens that each sequence has when the next one is made.
    pub context: u64,
    /// Sequences that get a token in the same step.
    pub batch: u64,
    /// Bytes per weight: 2 in half precision, 0.5 in 4 bits.
    pub weight_bytes: Bytes,
    /// Bytes per number in the cache.
    pub cache_bytes: f64,
}

/// What one step takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Bytes that are read from memory.
    pub bytes: f64,
    /// Multiplications, each with its addition.
    pub multiply_adds: f64,
}

/// What a machine can do at best.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Machine {
    /// As its maker calls it.
    pub name: &'static str,
    /// Bytes that it holds.
    pub memory: f64,
    /// Bytes that it reads per second.
    pub bandwidth: f64,
    /// Additions and multiplications per second.
    pub flops: f64,
}

impl Machine {
    /// Seconds that `step` takes if memory is read while the rest is computed, and both
    /// go as fast as they can: no program does such a step faster on this machine.
    #[must_use]
    pub fn seconds(&self, step: Step) -> f64 {
        let reading = step.bytes / self.bandwidth;
        reading.max(2.0 * step.multiply_adds / self.flops)
    }

    /// The most tokens per second, over all sequences of the batch.
    #[must_use]
    pub fn ceiling(&self, model: &Model, setting: &Setting) -> f64 {
        setting.batch as f64 / self.seconds(model.step(setting))
    }

    /// How many sequences fit into memory beside the weights. `None` is any number, since
    /// nothing is kept.
    #[must_use]
    pub fn sequences(&self, model: &Model, setting: &Setting) -> Option<u64> {
        let weights = model.weights().bytes(setting.weight_bytes);
        let sequence = model.cache(setting.context) * setting.cache_bytes;
        let room = (self.memory - weights).max(0.0);
        (sequence > 0.0).then(|| (room / sequence) as u64)
    }
}
