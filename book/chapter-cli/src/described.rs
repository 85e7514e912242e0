//! A layer as its `config.json` describes it, and what a chapter computes of that.

use crate::known::numbered;
use checkpoint::{Attention, Heads, NormNames, Pairing, Rope, Scaling, Sight};
use std::fmt::Display;

/// What a chapter does not compute, in one line: the key, its value, and which chapter has
/// such layers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Lack(String);

/// A flag of a chapter's `forward`, as a configuration sets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// `--heads`.
    pub(crate) name: &'static str,
    pub(crate) said: Said,
}

/// What is said of a flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// It must not be given.
    Without,
    /// It has no value.
    Given,
    Value(String),
}

impl Flag {
    /// A flag with a value: `--heads 9`.
    pub fn value(name: &'static str, value: &dyn Display) -> Self {
        Flag { name, said: Said::Value(value.to_string()) }
    }

    /// A flag without a value, that is given or not: `--causal`.
    #[must_use]
    pub fn switch(name: &'static str, given: bool) -> Self {
        Flag { name, said: if given { Said::Given } else { Said::Without } }
    }

    /// A flag with numbers and commas between them, which may be left out.
    #[must_use]
    pub fn numbers(name: &'static str, numbers: Option<&[f64]>) -> Self {
        let text = |numbers: &[f64]| {
            let numbers: Vec<String> = numbers.iter().map(f64::to_string).collect();
            Said::Value(numbers.join(","))
        };
        Flag { name, said: numbers.map_or(Said::Without, text) }
    }
}

/// Query heads, and the key/value heads that they share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedHeads {
    /// Heads that ask.
    pub heads: u64,
    /// Heads that are asked; divides `heads`.
    pub kv_heads: u64,
}

/// Heads that look at one latent, and the widths of their parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatentHeads {
    /// Heads that ask.
    pub heads: u64,
    /// Features of a query that are not turned.
    pub nope_dim: u64,
    /// Features of a query that are turned.
    pub rope_dim: u64,
    /// Features of a value.
    pub v_dim: u64,
}

/// How queries and keys turn, over their whole width.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Turning {
    /// The base of the frequencies, `rope_theta`.
    pub base: f64,
    /// Whether features 2i and 2i + 1 turn together, and not those of two halves.
    pub interleaved: bool,
    /// `factor`, `low_freq_factor`, `high_freq_factor` and
    /// `original_max_position_embeddings` of Llama 3.1, if frequencies are scaled so.
    pub llama3: Option<[f64; 4]>,
}

/// So many tokens a sequence may have at most, since the layer treats further ones
/// in a way that no chapter has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) tokens: u64,
    of: Part,
    /// `` `sliding_window` is 4096 ``, and what it does.
    pub(crate) why: String,
}

/// What a `config.json` says of one layer. A chapter takes out of it what it computes;
/// whatever is left and changes the numbers of a layer is then refused, so that nothing is
/// passed over that a chapter did not think of.
#[derive(Debug, Clone)]
pub struct Described {
    layer: Attention,
    /// The first chapter that computes all of it, if one does.
    home: Option<&'static str>,
    left: Vec<Part>,
    limits: Vec<Limit>,
}

/// What a chapter may take out of a description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Heads,
    Rope,
    Norm,
    Sight,
    Window,
    Scores,
}

/// f64 arithmetic in another order differs by less, and no real difference is as small.
const SAME: f64 = 1e-6;

impl Described {
    pub(crate) fn new(layer: Attention) -> Self {
        let home = home(&layer);
        let window = layer.window.map(|tokens| Limit {
            tokens,
            of: Part::Window,
            why: format!(
                "`sliding_window` is {tokens}, and {} has layers with windows",
                numbered("decoder-layer")
            ),
        });
        Described {
            layer,
            home,
            left: vec![Part::Heads, Part::Rope, Part::Norm, Part::Sight, Part::Scores],
            limits: window.into_iter().collect(),
        }
    }

    pub(crate) fn layer(&self) -> &Attention {
        &self.layer
    }

    pub(crate) fn limits(&self) -> &[Limit] {
        &self.limits
    }

    /// Query heads in groups that share keys and values: one each, one for all, or any
    /// number between.
    ///
    /// # Errors
    /// When the layer has a latent.
    pub fn groups(&mut self) -> Result<SharedHeads, Lack> {
        self.take(Part::Heads);
        match self.layer.heads {
            Heads::Shared { heads, kv_heads, .. } => {
                Ok(SharedHeads { heads, kv_heads })
            }
            Heads::Latent { lora_rank, .. } => {
                Err(self.lack("kv_lora_rank", &lora_rank, "heads share a latent"))
            }
        }
    }

    /// The number of heads, each with a key and value of its own.
    ///
    /// # Errors
    /// When they share them.
    pub fn heads_alone(&mut self) -> Result<u64, Lack> {
        let SharedHeads { heads, kv_heads } = self.groups()?;
        if kv_heads == heads {
            return Ok(heads);
        }
        let what = format!("{heads} heads share keys and values");
        Err(self.lack("num_key_value_heads", &kv_heads, &what))
    }

    /// The number of heads that look at one key and value.
    ///
    /// # Errors
    /// When there are more keys.
    pub fn heads_on_one(&mut self) -> Result<u64, Lack> {
        let SharedHeads { heads, kv_heads } = self.groups()?;
        if kv_heads == 1 {
            return Ok(heads);
        }
        let what = "there is more than one key per token";
        Err(self.lack("num_key_value_heads", &kv_heads, what))
    }

    /// Asks for a single head.
    ///
    /// # Errors
    /// When there are more.
    pub fn one_head(&mut self) -> Result<(), Lack> {
        match self.groups()?.heads {
            1 => Ok(()),
            heads => {
                let what = "there is more than one head";
                Err(self.lack("num_attention_heads", &heads, what))
            }
        }
    }

    /// Heads that look at one latent.
    ///
    /// # Errors
    /// When there is none, or its norms add something else than `norm_eps`.
    pub fn latent(&mut self, norm_eps: f64) -> Result<LatentHeads, Lack> {
        self.take(Part::Heads);
        let Heads::Latent { heads, nope_dim, rope_dim, v_dim, norm_eps: eps, .. } =
            self.layer.heads
        else {
            return Err(self.lack(
                "model_type",
                &self.layer.kind,
                "its layers have no latent",
            ));
        };
        if !same(eps, norm_eps) {
            let what = format!("its norms add {eps}, and here they add {norm_eps}");
            return Err(self.lack("model_type", &self.layer.kind, &what));
        }
        Ok(LatentHeads { heads, nope_dim, rope_dim, v_dim })
    }

    /// How queries and keys turn.
    ///
    /// # Errors
    /// When they do not, or not all of their features do, or at frequencies that no
    /// chapter has.
    pub fn turning(&mut self) -> Result<Turning, Lack> {
        self.take(Part::Rope);
        let Some(rope) = self.layer.rope.clone() else {
            let what = format!("its layer {} does not rotate", self.layer.layer);
            return Err(self.lack("model_type", &self.layer.kind, &what));
        };
        let width = rotary_width(self.layer.heads);
        if rope.features as u64 != width {
            let share = rope.features as f64 / width as f64;
            let what = format!("{} of {width} features rotate", rope.features);
            return Err(self.lack("partial_rotary_factor", &share, &what));
        }
        if let Some((kind, what)) = unknown_scaling(&rope) {
            return Err(self.lack("rope_type", &kind, what));
        }
        if let Scaling::Dynamic { trained, .. } = rope.scaling {
            self.limits.push(Limit {
                tokens: trained as u64,
                of: Part::Rope,
                why: format!(
                    "`rope_type` is dynamic: beyond `max_position_embeddings`, {trained}, \
                     the base grows with the length, which {} computes",
                    numbered("decoder-layer")
                ),
            });
        }
        let llama3 = match rope.scaling {
            Scaling::Llama3 { factor, low, high, trained } => {
                Some([factor, low, high, trained])
            }
            _ => None,
        };
        let interleaved = rope.pairing == Pairing::Neighbors;
        Ok(Turning { base: rope.base, interleaved, llama3 })
    }

    /// How queries and keys turn, at frequencies that are not scaled.
    ///
    /// # Errors
    /// When they are, or as for [`Described::turning`].
    pub fn turning_unscaled(&mut self) -> Result<Turning, Lack> {
        let turning = self.turning()?;
        if turning.llama3.is_some() {
            let what = "its low frequencies are slowed down";
            return Err(self.lack("rope_type", &"llama3", what));
        }
        Ok(turning)
    }

    /// All that there is to a layer whose heads share keys and values, for a chapter that
    /// computes it from the description itself ([`crate::Chapter::load_described`]).
    ///
    /// # Errors
    /// When the layer has a latent.
    pub fn everything(&mut self) -> Result<(), Lack> {
        self.groups()?;
        self.left.clear();
        self.limits.clear();
        Ok(())
    }

    /// Queries and keys come as they are when they meet: projected, normed and turned. What
    /// is left for the layer are their heads.
    pub fn projected(&mut self) {
        self.take(Part::Heads);
        self.take(Part::Rope);
        self.take(Part::Norm);
    }

    /// Whether a token sees itself and those before it alone.
    pub fn is_causal(&mut self) -> bool {
        self.take(Part::Sight);
        self.layer.sight == Sight::Causal
    }

    /// How many tokens a token sees at most, itself included, if there is a limit.
    pub fn window(&mut self) -> Option<u64> {
        self.limits.retain(|limit| limit.of != Part::Window);
        self.layer.window
    }

    /// Asks for a decoder.
    ///
    /// # Errors
    /// When tokens see those that follow.
    pub fn causal(&mut self) -> Result<(), Lack> {
        if self.is_causal() {
            return Ok(());
        }
        let what = "its tokens see those that follow, too";
        Err(self.lack("model_type", &self.layer.kind, what))
    }

    /// Asks for what no layer of a known kind has.
    ///
    /// # Errors
    /// Always, with the `reason`.
    pub fn never<T>(&self, reason: &str) -> Result<T, Lack> {
        Err(self.lack("model_type", &self.layer.kind, reason))
    }

    fn take(&mut self, part: Part) {
        self.left.retain(|left| *left != part);
    }

    fn has(&self, part: Part) -> bool {
        self.left.contains(&part)
    }

    /// Refuses what changes the numbers of a layer and was not taken.
    pub(crate) fn expect_nothing_left(&self) -> Result<(), Lack> {
        let kind = self.layer.kind;
        if self.has(Part::Scores) {
            self.expect_plain_scores()?;
        }
        if let Some(norm) = self.layer.norm.filter(|_| self.has(Part::Norm)) {
            let (key, value) = match norm.names {
                NormNames::List | NormNames::LayerNorm => ("qk_layernorm", "true"),
                NormNames::Norm => ("model_type", kind),
            };
            let what = "its queries and keys are normed before they meet";
            return Err(self.lack(key, &value, what));
        }
        if let Some(rope) = self.layer.rope.as_ref().filter(|_| self.has(Part::Rope)) {
            let what = "its queries and keys rotate";
            return Err(self.lack("rope_theta", &rope.base, what));
        }
        if self.has(Part::Heads) {
            return self.never("its heads are not those of this chapter");
        }
        if self.has(Part::Sight) && self.layer.sight == Sight::Causal {
            return self.never("its tokens do not see those that follow");
        }
        Ok(())
    }

    /// Refuses scores that are anything but q · k / √d under a softmax.
    fn expect_plain_scores(&self) -> Result<(), Lack> {
        let width = self.layer.query_width();
        let (scale, root) = (self.layer.scale, 1.0 / (width as f64).sqrt());
        if !same(scale, root) {
            let keys = self.layer.scale_keys().join(" and ");
            return Err(self.told(&format!(
                "its scores are q · k · {scale:.6}, as {keys} in the file or its default \
                 says, and here q · k / √{width}, which is q · k · {root:.6}"
            )));
        }
        if let Some(cap) = self.layer.soft_cap {
            let what = "its scores are bounded by a tanh";
            return Err(self.lack("attn_logit_softcapping", &cap, what));
        }
        if let Some(clip) = self.layer.clip_qkv {
            let what = "its queries, keys and values are clipped";
            return Err(self.lack("clip_qkv", &clip, what));
        }
        if let Some(grows) = self.layer.temperature {
            let what = "its queries grow with their position";
            return Err(self.lack("llama_4_scaling_beta", &grows.beta, what));
        }
        if self.layer.sinks {
            return self.never("its heads have learned sinks");
        }
        Ok(())
    }

    fn lack(&self, key: &str, value: &dyn Display, what: &str) -> Lack {
        self.told(&format!("`{key}` is {value}: {what}"))
    }

    fn told(&self, what: &str) -> Lack {
        Lack(match self.home {
            Some(home) => format!("{what}; {} has such layers", numbered(home)),
            None => format!("{what}; no chapter of this book has such layers yet"),
        })
    }
}

/// The first chapter that computes all of a layer, if one does.
fn home(layer: &Attention) -> Option<&'static str> {
    let home = match (layer.heads, &layer.rope) {
        (Heads::Latent { .. }, Some(_)) => "latent",
        (Heads::Shared { .. }, Some(_)) => "rotary",
        (Heads::Shared { heads, kv_heads, .. }, None) if heads == kv_heads => {
            "multi-head"
        }
        (Heads::Shared { .. }, None) => "grouped-query",
        (Heads::Latent { .. }, None) => return None,
    };
    let mut all = Described {
        layer: layer.clone(),
        home: None,
        left: vec![Part::Norm, Part::Scores],
        limits: Vec::new(),
    };
    let turns = match home {
        "latent" => all.turning_unscaled().is_ok(),
        "rotary" => all.turning().is_ok(),
        _ => true,
    };
    match (turns && all.expect_nothing_left().is_ok(), layer.heads) {
        (true, _) => Some(home),
        (false, Heads::Shared { .. }) => Some("decoder-layer"),
        (false, Heads::Latent { .. }) => None,
    }
}

/// Features of a head that a rotation over its whole width turns.
fn rotary_width(heads: Heads) -> u64 {
    match heads {
        Heads::Shared { head_dim, .. } => head_dim,
        Heads::Latent { rope_dim, .. } => rope_dim,
    }
}

/// The name of a scaling that no chapter has, and what it does.
fn unknown_scaling(rope: &Rope) -> Option<(&'static str, &'static str)> {
    match rope.scaling {
        Scaling::Linear { .. } => Some(("linear", "all frequencies are slowed down")),
        Scaling::Yarn { .. } => {
            Some(("yarn", "frequencies are slowed down by parts, and scores grow"))
        }
        Scaling::Long { .. } => {
            Some(("longrope", "each frequency is slowed down by its own factor"))
        }
        Scaling::Proportional { .. } => {
            Some(("proportional", "the slower pairs of features stand still"))
        }
        _ if rope.amplitude != 1.0 => {
            Some(("attention_factor", "rotated queries and keys grow"))
        }
        Scaling::None | Scaling::Dynamic { .. } | Scaling::Llama3 { .. } => None,
    }
}

fn same(a: f64, b: f64) -> bool {
    (a - b).abs() <= SAME * b.abs()
}
