//! What the attention of one layer computes.

use crate::config::Config;
use crate::error::ConfigError;
use crate::foreign;
use crate::keys::{MOST_HEADS, WIDEST, WIDEST_HEAD, wrong};
use crate::kinds::{BiasRule, HeadRule, NormRule, Projections, ScaleRule, find};
use crate::rope::{Rope, Temperature};
use serde_json::Value;

/// Heads of a layer, and what they look at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Heads {
    /// Query heads that share keys and values: multi-head if there are as many of both.
    /// Query head `h` uses key/value head `h / (heads / kv_heads)`.
    Shared {
        /// Heads that ask.
        heads: u64,
        /// Heads that are asked.
        kv_heads: u64,
        /// Width of each, of queries, keys and values.
        head_dim: u64,
    },
    /// All heads look at one latent, from which keys and values are made.
    Latent {
        /// Heads that ask.
        heads: u64,
        /// Features of a query that are not rotated.
        nope_dim: u64,
        /// Features of a query that are rotated, behind the others.
        rope_dim: u64,
        /// Features of a value.
        v_dim: u64,
        /// Width of the latent.
        lora_rank: u64,
        /// Width of the latent that queries are made from, if they are.
        q_lora_rank: Option<u64>,
        /// What is added to the mean square of a latent before the root.
        norm_eps: f64,
    },
}

/// Which projections add a bias. Of a latent: `inputs` stands for `q_a_proj` and
/// `kv_a_proj_with_mqa`, and no other has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Biases {
    /// Of queries, keys and values.
    pub inputs: bool,
    /// Of the output.
    pub output: bool,
}

/// Over which features a norm of queries and keys goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormSpan {
    /// Over each head, with one gain (`head_dim`) for all of them.
    Head,
    /// Over each head, with a gain of its own.
    EachHead,
    /// Over all heads together, with a gain as wide.
    AllHeads,
}

/// Under which names the gains of a norm of queries and keys stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormNames {
    /// `q_norm.weight` and `k_norm.weight`; with a gain for each head, (heads,
    /// `head_dim`).
    Norm,
    /// `q_layernorm.weight` and `k_layernorm.weight`.
    LayerNorm,
    /// `q_layernorm.norms.H.weight` and `k_layernorm.norms.H.weight`, one for each head.
    List,
}

/// A norm of queries and keys, before they are rotated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QkNorm {
    /// Over which features.
    pub span: NormSpan,
    /// Whether the mean is taken off first (`LayerNorm`), or not (`RMSNorm`).
    pub centered: bool,
    /// Whether the gain is one plus the stored weight.
    pub gain_plus_one: bool,
    /// Whether a bias is added after the gain, under the gain's name with `bias`.
    pub bias: bool,
    /// Under which names the gains stand.
    pub names: NormNames,
    /// What is added to the mean square before the root.
    pub eps: f64,
}

/// Whom a token sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// Itself and those before it: a decoder.
    Causal,
    /// All: an encoder.
    All,
}

/// Everything that decides what the attention of a layer computes from its weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Attention {
    /// `model_type` of the text.
    pub kind: &'static str,
    /// Which layer, from 0.
    pub layer: usize,
    /// Width of a token.
    pub model_dim: u64,
    /// Its heads.
    pub heads: Heads,
    /// Names and order of its weights.
    pub projections: Projections,
    /// Which of them add a bias.
    pub biases: Biases,
    /// Queries, keys and values are clipped to this and its negative, after the biases and
    /// before all else.
    pub clip_qkv: Option<f64>,
    /// A norm of queries and keys.
    pub norm: Option<QkNorm>,
    /// The rotation of queries and keys. None in layers that do not rotate, and where
    /// positions are added at the model's entry.
    pub rope: Option<Rope>,
    /// A factor of rotated queries that grows with their position.
    pub temperature: Option<Temperature>,
    /// Whom a token sees.
    pub sight: Sight,
    /// How many tokens a query sees at most, itself included.
    pub window: Option<u64>,
    /// What scores are multiplied by.
    pub scale: f64,
    /// Scores become `cap · tanh(score / cap)`, after scaling and before the mask.
    pub soft_cap: Option<f64>,
    /// Whether each head has a learned score, `sinks`, that takes its share of weight
    /// and gives no value.
    pub sinks: bool,
}

impl Attention {
    /// Width of a query and of a key: what a score is a sum over.
    #[must_use]
    pub fn query_width(&self) -> u64 {
        match self.heads {
            Heads::Shared { head_dim, .. } => head_dim,
            Heads::Latent { nope_dim, rope_dim, .. } => nope_dim + rope_dim,
        }
    }

    /// The keys of the file that decide what scores are multiplied by, in a kind where
    /// the width of a query does not decide it alone.
    #[must_use]
    pub fn scale_keys(&self) -> &'static [&'static str] {
        match find(self.kind).map(|kind| kind.scale) {
            None | Some(ScaleRule::Width) => &[],
            Some(ScaleRule::Scalar) => &["query_pre_attn_scalar"],
            Some(ScaleRule::Multiplier) => &["attention_multiplier"],
            Some(ScaleRule::Mscale) => &["mscale_all_dim"],
            Some(ScaleRule::Gpt2) => {
                &["scale_attn_weights", "scale_attn_by_inverse_layer_idx"]
            }
        }
    }
}

impl Config {
    /// What the attention of a layer computes.
    ///
    /// # Errors
    /// When there is no such layer, when a key is not what it has to be, or when one
    /// changes what a layer computes and is not understood.
    pub fn attention(&self, layer: usize) -> Result<Attention, ConfigError> {
        let layers = self.layers()?;
        if layer >= layers {
            return Err(ConfigError::Layer { layer, layers });
        }
        foreign::refuse(self)?;
        foreign::refuse_alibi(self)?;
        let heads = self.heads()?;
        let rotated = match heads {
            Heads::Shared { head_dim, .. } => head_dim,
            Heads::Latent { rope_dim, .. } => rope_dim,
        };
        let window = self.windows()?[layer];
        let rope = if self.rotates(layers)?[layer] {
            self.rope(rotated, window.is_some())?
        } else {
            None
        };
        Ok(Attention {
            kind: self.kind.name,
            layer,
            model_dim: self.model_dim()?,
            heads,
            projections: self.kind.projections,
            biases: self.biases()?,
            clip_qkv: self.clip_qkv()?,
            norm: self.norm()?,
            rope,
            temperature: self.temperature()?,
            sight: self.sight()?,
            window,
            scale: self.scale(heads, layer)?,
            soft_cap: self.soft_cap()?,
            sinks: self.kind.sinks,
        })
    }

    /// Width of a token.
    ///
    /// # Errors
    /// When `hidden_size` is no count.
    pub fn model_dim(&self) -> Result<u64, ConfigError> {
        self.keys.count("hidden_size", WIDEST)
    }

    /// The heads of a layer, the same in all.
    ///
    /// # Errors
    /// When the keys that say so are missing, or do not go together.
    pub fn heads(&self) -> Result<Heads, ConfigError> {
        let keys = &self.keys;
        let heads = keys.count("num_attention_heads", MOST_HEADS)?;
        if self.kind.heads == HeadRule::Latent {
            return self.latent(heads);
        }
        let kv_heads = match keys.get("num_key_value_heads") {
            _ if self.kind.heads == HeadRule::Multi => heads,
            _ if self.kind.heads == HeadRule::Falcon => self.falcon_kv_heads(heads)?,
            // Where the class says `null`, it means as many as there are query heads.
            Some(Value::Null) if self.may_be_null("num_key_value_heads") => heads,
            _ => keys.count("num_key_value_heads", MOST_HEADS)?,
        };
        if !heads.is_multiple_of(kv_heads) {
            return Err(ConfigError::Groups { heads, kv_heads });
        }
        let head_dim = match keys.get("head_dim") {
            Some(value) if self.kind.heads == HeadRule::Grouped => {
                let absent = value.is_null() && self.may_be_null("head_dim");
                let given = || keys.count("head_dim", WIDEST_HEAD).map(Some);
                if absent { None } else { given()? }
            }
            _ => None,
        };
        let head_dim = match head_dim {
            Some(head_dim) => head_dim,
            None => self.share(heads)?,
        };
        Ok(Heads::Shared { heads, kv_heads, head_dim })
    }

    fn falcon_kv_heads(&self, heads: u64) -> Result<u64, ConfigError> {
        let given = self.keys.some_count("num_kv_heads", MOST_HEADS)?.unwrap_or(heads);
        if self.keys.flag_or_null("new_decoder_architecture")? {
            return Ok(given);
        }
        if self.keys.flag_or_null("multi_query")? {
            return Ok(1);
        }
        if given == heads {
            return Ok(heads);
        }
        let wanted = format!("{heads}, as many as there are heads, or null");
        Err(wrong("num_kv_heads", &Value::from(given), wanted))
    }

    fn latent(&self, heads: u64) -> Result<Heads, ConfigError> {
        let keys = &self.keys;
        let v_dim = match keys.get("v_head_dim") {
            Some(Value::Null) if self.may_be_null("v_head_dim") => self.share(heads)?,
            _ => keys.count("v_head_dim", WIDEST_HEAD)?,
        };
        Ok(Heads::Latent {
            heads,
            nope_dim: keys.count("qk_nope_head_dim", WIDEST_HEAD)?,
            rope_dim: keys.count("qk_rope_head_dim", WIDEST_HEAD)?,
            v_dim,
            lora_rank: keys.count("kv_lora_rank", WIDEST)?,
            q_lora_rank: keys.some_count("q_lora_rank", WIDEST)?,
            // Not the configuration's: the norm's own default.
            norm_eps: 1e-6,
        })
    }

    /// An equal share of the width for each head.
    fn share(&self, heads: u64) -> Result<u64, ConfigError> {
        let model_dim = self.model_dim()?;
        let whole = model_dim.is_multiple_of(heads);
        whole.then(|| model_dim / heads).ok_or(ConfigError::Split { model_dim, heads })
    }

    /// Whether the kind knows what `null` means for a key: where its class says `null`
    /// itself, or where it is a number that may also be absent.
    fn may_be_null(&self, key: &str) -> bool {
        let default = self.keys.class.fields.get(key);
        // These have a default, and take `null` for as many as there are query heads.
        let besides = ["qwen2", "qwen2_vl_text", "qwen2_5_vl_text", "qwen3", "smollm3"];
        default.is_some_and(Value::is_null)
            || key == "num_key_value_heads" && besides.contains(&self.kind.name)
    }

    pub(crate) fn biases(&self) -> Result<Biases, ConfigError> {
        let (inputs, output) = match self.kind.biases {
            BiasRule::None => (false, false),
            BiasRule::Inputs => (true, false),
            BiasRule::InputsIf(key) => (self.keys.flag(key)?, false),
            BiasRule::All => (true, true),
            // Falcon's own key, which may be null.
            BiasRule::AllIf(key @ "bias") => {
                let all = self.keys.flag_or_null(key)?;
                (all, all)
            }
            BiasRule::AllIf(key) => (self.keys.flag(key)?, self.keys.flag(key)?),
        };
        Ok(Biases { inputs, output })
    }

    pub(crate) fn norm(&self) -> Result<Option<QkNorm>, ConfigError> {
        use {NormNames as Names, NormSpan as Span};
        let keys = &self.keys;
        let used = match self.kind.norm {
            NormRule::None => false,
            NormRule::Head | NormRule::HeadPlusOne | NormRule::Whole => true,
            NormRule::HeadIf(key) => keys.flag(key)?,
            NormRule::LayerNormMatrixIf => keys.flag_or_null("use_qk_norm")?,
            NormRule::LayerNormIf | NormRule::LayerNormSharedIf => {
                keys.flag("qk_layernorm")?
            }
        };
        if !used {
            return Ok(None);
        }
        let (span, centered, names) = match self.kind.norm {
            NormRule::LayerNormIf => (Span::EachHead, true, Names::List),
            NormRule::LayerNormMatrixIf => (Span::EachHead, true, Names::Norm),
            NormRule::LayerNormSharedIf => (Span::Head, true, Names::LayerNorm),
            NormRule::Whole => (Span::AllHeads, false, Names::Norm),
            _ => (Span::Head, false, Names::Norm),
        };
        let gain_plus_one = self.kind.norm == NormRule::HeadPlusOne;
        let bias = self.kind.norm == NormRule::LayerNormSharedIf;
        let eps = keys.number(self.kind.eps)?;
        Ok(Some(QkNorm { span, centered, gain_plus_one, bias, names, eps }))
    }

    fn clip_qkv(&self) -> Result<Option<f64>, ConfigError> {
        const KEY: &str = "clip_qkv";
        if !self.keys.class.fields.contains_key(KEY) {
            return Ok(None);
        }
        let clip = self.keys.some_number(KEY)?;
        match clip.filter(|clip| *clip < 0.0) {
            Some(clip) => Err(wrong(KEY, &Value::from(clip), "0 or more".to_owned())),
            None => Ok(clip),
        }
    }

    pub(crate) fn sight(&self) -> Result<Sight, ConfigError> {
        let decodes = !self.kind.encoder || self.keys.flag_or_not("is_decoder")?;
        Ok(if decodes { Sight::Causal } else { Sight::All })
    }

    fn scale(&self, heads: Heads, layer: usize) -> Result<f64, ConfigError> {
        let width = match heads {
            Heads::Shared { head_dim, .. } => head_dim,
            Heads::Latent { nope_dim, rope_dim, .. } => nope_dim + rope_dim,
        };
        let root = 1.0 / (width as f64).sqrt();
        Ok(match self.kind.scale {
            ScaleRule::Width => root,
            ScaleRule::Scalar => {
                1.0 / (self.keys.count("query_pre_attn_scalar", WIDEST)? as f64).sqrt()
            }
            ScaleRule::Multiplier => self.keys.number("attention_multiplier")?,
            ScaleRule::Mscale => root * self.mscale()?,
            ScaleRule::Gpt2 => {
                let scaled = self.keys.flag("scale_attn_weights")?;
                let by_layer = self.keys.flag("scale_attn_by_inverse_layer_idx")?;
                let scale = if scaled { root } else { 1.0 };
                if by_layer { scale / (layer + 1) as f64 } else { scale }
            }
        })
    }

    fn soft_cap(&self) -> Result<Option<f64>, ConfigError> {
        if !self.kind.capped {
            return Ok(None);
        }
        self.keys.some_number("attn_logit_softcapping")
    }
}
