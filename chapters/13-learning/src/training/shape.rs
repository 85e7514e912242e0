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
        }
    }
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
        let lost = 2 * self.heads.saturating_sub(kv_heads) * self.head_dim();
        // A gate has three vectors: its own, the one that passes, and the way back.
        Shape { kv_heads, hidden: self.hidden + lost / 3, ..self }
    }

    /// The same model with another mechanism. `kv_heads` and `window` are read by those
    /// that have them.
    #[must_use]
    pub fn with(self, variant: Variant, kv_heads: usize, window: usize) -> Shape {
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
        }
    }

    /// Features of a head.
    #[must_use]
    pub fn head_dim(&self) -> usize {
        self.width / self.heads.max(1)
    }
}
