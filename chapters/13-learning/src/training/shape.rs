//! How large a model is, and how its tokens look at one another.

use attention::Mask;
use nalgebra::DMatrix;

/// Whom a token sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Sight {
    /// All tokens, those that follow it too.
    All,
    /// Itself and what came before.
    Causal,
    /// The last `window` of these, and the first `first` of all.
    Window {
        /// Its own position among them.
        window: usize,
        /// 0 in a plain window; Xiao et al. 2023 keep 4.
        first: usize,
    },
}

impl Sight {
    /// The mask of a sequence of `tokens` tokens.
    #[must_use]
    pub fn mask(self, tokens: usize) -> Mask {
        match self {
            Sight::All => Mask::None,
            Sight::Causal => Mask::Causal { offset: 0 },
            Sight::Window { window, first: 0 } => Mask::Window { offset: 0, window },
            Sight::Window { window, first } => {
                let sees =
                    |query, key| key <= query && (query - key < window || key < first);
                Mask::Allowed(DMatrix::from_fn(tokens, tokens, sees))
            }
        }
    }
}

/// The mechanisms that are trained against each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Variant {
    /// Every head has keys and values of its own
    MultiHead,
    /// Half as many key/value heads as heads, or --kv-heads
    GroupedQuery,
    /// One key/value head for all
    MultiQuery,
    /// A token sees the last --window
    Window,
    /// The same, and the first token
    WindowAndFirst,
    /// Scores are not divided by the root of a width
    Unscaled,
    /// A token sees those that follow
    Unmasked,
    /// Queries and keys are not rotated
    NoPositions,
    /// Keys and values are made from a latent of --rank, beside a rotated key of --rope-dim
    Latent,
    /// Keys and values are condensed to --rows, and a token sees those that follow
    Linformer,
}

impl Variant {
    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Variant::MultiHead => "multi-head",
            Variant::GroupedQuery => "grouped-query",
            Variant::MultiQuery => "multi-query",
            Variant::Window => "window",
            Variant::WindowAndFirst => "window-and-first",
            Variant::Unscaled => "unscaled",
            Variant::Unmasked => "unmasked",
            Variant::NoPositions => "no-positions",
            Variant::Latent => "latent",
            Variant::Linformer => "linformer",
        }
    }
}

/// Where the keys and values of a layer come from.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize,
)]
pub enum Mechanism {
    /// From the tokens, for each key/value head.
    #[default]
    Heads,
    /// From one latent per token (chapter 7), beside a rotated key that all heads share.
    Latent {
        /// Features of the latent.
        rank: usize,
        /// Features of the rotated key.
        rope_dim: usize,
    },
    /// From the tokens, condensed along the sequence (chapter 8) by one E and one F.
    Linformer {
        /// What is left of a sequence.
        rows: usize,
        /// The longest sequence.
        tokens: usize,
    },
}

/// Sizes that a mechanism may need. Each [`Variant`] reads its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Key/value heads of grouped-query.
    pub kv_heads: usize,
    /// Tokens that a window sees.
    pub window: usize,
    /// Features of a latent.
    pub rank: usize,
    /// Features of the rotated key beside it.
    pub rope_dim: usize,
    /// Rows that Linformer leaves of a sequence.
    pub rows: usize,
    /// The longest sequence that Linformer reads.
    pub tokens: usize,
}

/// All that a model is before it has learned anything.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Shape {
    /// Different tokens.
    pub vocabulary: usize,
    /// Features of a token.
    pub width: usize,
    /// Blocks of attention and network.
    pub layers: usize,
    /// Query heads; they divide the width.
    pub heads: usize,
    /// Key/value heads; they divide the heads.
    pub kv_heads: usize,
    /// Gates of a network.
    pub hidden: usize,
    /// Whom a token sees.
    pub sight: Sight,
    /// What scores are multiplied by.
    pub scale: f32,
    /// The base of the rotation, if queries and keys are rotated.
    pub theta: Option<f64>,
    /// Whether the embedding's table also makes the logits.
    pub tied: bool,
    /// Features of a head, if they are not the width divided by the heads.
    #[serde(default)]
    pub narrow: Option<usize>,
    /// Where keys and values come from.
    #[serde(default)]
    pub mechanism: Mechanism,
}

impl Shape {
    /// A causal model of multi-head attention with rotation, whose networks have twice as
    /// many gates as it has features.
    #[must_use]
    pub fn multi_head(
        vocabulary: usize,
        width: usize,
        layers: usize,
        heads: usize,
    ) -> Shape {
        let head_dim = width / heads.max(1);
        Shape {
            vocabulary,
            width,
            layers,
            heads,
            kv_heads: heads,
            hidden: 2 * width,
            sight: Sight::Causal,
            scale: 1.0 / (head_dim as f32).sqrt(),
            theta: Some(10_000.0),
            tied: false,
            narrow: None,
            mechanism: Mechanism::Heads,
        }
    }

    /// A model for a text: networks with three times as many gates as features, and one
    /// table that reads pieces and scores them.
    #[must_use]
    pub fn of_text(
        vocabulary: usize,
        width: usize,
        layers: usize,
        heads: usize,
    ) -> Shape {
        let shape = Shape::multi_head(vocabulary, width, layers, heads);
        Shape { hidden: 3 * width, tied: true, ..shape }
    }

    /// The same model with shared keys and values. What the projections of keys and values
    /// lose, the networks gain, to a few numbers: the models stay equally large, as those
    /// of Shazeer 2019, *Fast Transformer Decoding*, §4.1.
    #[must_use]
    pub fn sharing(self, kv_heads: usize) -> Shape {
        Shape { kv_heads, ..self.clone() }.balanced(&self)
    }

    /// The same model with heads of `head_dim` features, and as large.
    #[must_use]
    pub fn narrow(self, head_dim: usize) -> Shape {
        let scale = 1.0 / (head_dim as f32).sqrt();
        let narrow = Some(head_dim);
        Shape { scale, narrow, ..self.clone() }.balanced(&self)
    }

    /// The same model with keys and values from a latent, or condensed, and as large.
    #[must_use]
    pub fn made_by(self, mechanism: Mechanism) -> Shape {
        Shape { mechanism, ..self.clone() }.balanced(&self)
    }

    /// The same model, whose networks have gained what attention has lost against
    /// `other`, or the reverse.
    fn balanced(self, other: &Shape) -> Shape {
        // A gate has three vectors: its own, the one that passes, and the way back.
        let gate = (3 * self.width).max(1);
        let (had, has) = (other.attention_numbers(), self.attention_numbers());
        let hidden = (self.hidden * gate + had).saturating_sub(has) / gate;
        Shape { hidden: hidden.max(1), ..self }
    }

    /// Numbers that a layer of attention learns.
    fn attention_numbers(&self) -> usize {
        let (width, heads, head_dim) = (self.width, self.heads, self.head_dim());
        let query_and_output = 2 * width * heads * head_dim;
        let keys_and_values = 2 * width * self.kv_heads * head_dim;
        match self.mechanism {
            Mechanism::Heads => query_and_output + keys_and_values,
            Mechanism::Latent { rank, rope_dim } => {
                let rotated = width * (heads + 1) * rope_dim;
                let latents = (width + 1) * rank + rank * heads * 2 * head_dim;
                query_and_output + rotated + latents
            }
            Mechanism::Linformer { rows, tokens } => {
                query_and_output + keys_and_values + 2 * rows * tokens
            }
        }
    }

    /// Numbers that a layer keeps of each token when the model writes. Nothing for keys
    /// that are condensed: a model that writes has no whole sequence to condense.
    #[must_use]
    pub fn cached(&self) -> Option<usize> {
        match self.mechanism {
            Mechanism::Heads => Some(2 * self.kv_heads * self.head_dim()),
            Mechanism::Latent { rank, rope_dim } => Some(rank + rope_dim),
            Mechanism::Linformer { .. } => None,
        }
    }

    /// The same model with another mechanism, whose sizes are among `sizes`.
    #[must_use]
    pub fn with(self, variant: Variant, sizes: &Sizes) -> Shape {
        let &Sizes { kv_heads, window, rank, rope_dim, rows, tokens } = sizes;
        match variant {
            Variant::MultiHead => self,
            Variant::GroupedQuery => self.sharing(kv_heads),
            Variant::MultiQuery => self.sharing(1),
            Variant::Window => {
                Shape { sight: Sight::Window { window, first: 0 }, ..self }
            }
            Variant::WindowAndFirst => {
                Shape { sight: Sight::Window { window, first: 1 }, ..self }
            }
            Variant::Unscaled => Shape { scale: 1.0, ..self },
            Variant::Unmasked => Shape { sight: Sight::All, ..self },
            Variant::NoPositions => Shape { theta: None, ..self },
            Variant::Latent => self.made_by(Mechanism::Latent { rank, rope_dim }),
            Variant::Linformer => {
                // E and F tell places apart, so nothing is rotated.
                let shape = Shape { sight: Sight::All, theta: None, ..self };
                shape.made_by(Mechanism::Linformer { rows, tokens })
            }
        }
    }

    /// Features of a head.
    #[must_use]
    pub fn head_dim(&self) -> usize {
        self.narrow.unwrap_or(self.width / self.heads.max(1))
    }
}
