//! What the kinds of models do that no key of their configuration says.
//!
//! Source of each: `models/KIND/modeling_KIND.py` of Transformers 5.24.

/// How a layer's projections are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Projections {
    /// `q_proj`, `k_proj`, `v_proj`, `o_proj`, each (out, in).
    Separate,
    /// `self.query`, `self.key`, `self.value`, `output.dense`, each (out, in).
    Bert,
    /// `q_proj`, `k_proj`, `v_proj` and `dense`, each (out, in).
    SeparateDense,
    /// `query_key_value` and `dense`, each (out, in): for each key/value head in turn, the
    /// rows of the query heads that share it, then those of its key and of its value.
    FusedByGroup,
    /// `qkv_proj`, the rows of queries, keys and values one after another, and
    /// `o_proj`.
    Fused,
    /// `c_attn`, with columns of queries, keys and values, and `c_proj`, each (in,
    /// out).
    FusedTransposed,
    /// `kv_a_proj_with_mqa`, `kv_b_proj`, `o_proj`, and `q_proj` or `q_a_proj` and
    /// `q_b_proj`.
    Latent,
}

/// Where the number of heads and their width come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeadRule {
    /// `num_key_value_heads`, `head_dim`, and without it an equal share of the width.
    Grouped,
    /// `num_key_value_heads`, and an equal share of the width whatever `head_dim` says.
    GroupedShare,
    /// A key and a value for each head, and an equal share of the width.
    Multi,
    /// `num_kv_heads` if `new_decoder_architecture` is true; one if `multi_query` is, or
    /// else one for each head; and an equal share of the width.
    Falcon,
    /// `kv_lora_rank` and the widths beside it.
    Latent,
}

/// Which projections add a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BiasRule {
    None,
    /// Queries, keys and values.
    Inputs,
    /// Queries, keys and values, if this key is true.
    InputsIf(&'static str),
    All,
    /// All, if this key is true. Of a latent: those that read or write the model's
    /// width.
    AllIf(&'static str),
}

/// Which layers look back a fixed number of tokens, where `sliding_window` gives one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WindowRule {
    /// None, whatever the file says.
    None,
    /// All.
    All,
    /// All, if `use_sliding_window` is true.
    AllIfUsed,
    /// Those of `layer_types`; without it, all.
    ListedOrAll,
    /// Those of `layer_types`; without it, those from `max_window_layers` on. Both only
    /// if `use_sliding_window` is true.
    FromMaxWindowLayers,
    /// Those of `layer_types`; without it, the even ones below `max_window_layers`.
    /// Both only if `use_sliding_window` is true.
    EvenBelowMaxWindowLayers,
    /// Those of `layer_types`; without it, the even ones.
    Even,
    /// Those of `layer_types`; without it, all but every `sliding_window_pattern`-th, and
    /// where no such key is given, all but every so many.
    Pattern(usize),
    /// Those of `layer_types`; without it, all but every so many.
    AllBut(usize),
    /// The same as `Pattern(4)`; none where `sliding_window` is `null`.
    PatternIfSet,
    /// Those of `layer_types`; without it, those that do not rotate. Both only if
    /// `use_sliding_window` is true.
    WithoutRope,
}

/// What is done to queries and keys before they are rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NormRule {
    None,
    /// The root mean square of each head, with one gain for all heads.
    Head,
    /// The same, with a gain of one plus the weight.
    HeadPlusOne,
    /// The root mean square over all heads.
    Whole,
    /// As `Head`, if this key is true.
    HeadIf(&'static str),
    /// Mean and variance of each head, with a gain for each, if `qk_layernorm` is true.
    LayerNormIf,
    /// The same, with the gains in one matrix, if `use_qk_norm` is true.
    LayerNormMatrixIf,
    /// Mean and variance of each head, with one gain and bias, if `qk_layernorm` is true.
    LayerNormSharedIf,
}

/// What scores are multiplied by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScaleRule {
    /// One over the root of a query's width.
    Width,
    /// One over the root of `query_pre_attn_scalar`.
    Scalar,
    /// `attention_multiplier`.
    Multiplier,
    /// As `Width`, times the square of `YaRN`'s `mscale_all_dim` where there is one.
    Mscale,
    /// As `Width` if `scale_attn_weights` is true, and divided by the layer's number,
    /// from one, if `scale_attn_by_inverse_layer_idx` is.
    Gpt2,
}

/// How queries and keys are told where they stand.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum RopeRule {
    /// A table of positions at the model's entry; no rotation.
    Learned,
    /// Rotation in halves.
    Halves,
    /// Rotation in halves of the first `partial_rotary_factor` of each head, by default
    /// this share.
    PartialHalves(f64),
    /// The same, of neighboring features.
    PartialNeighbors(f64),
    /// Rotation of neighboring features.
    Neighbors,
    /// Rotation of neighboring features, unless `rope_interleave` is false.
    NeighborsUnless,
    /// Rotation in halves, with other frequencies in layers with a window.
    ByLayerType,
    /// Rotation in halves, but for the layers of `no_rope_layers`.
    SomeLayers,
    /// Rotation in halves, but for layers without a window where others have one.
    HalvesInWindows,
    /// Rotation of neighboring features, in layers with a window alone.
    NeighborsInWindows,
    /// Rotation in halves of the first `rotary_pct` of each head, with `rotary_emb_base`.
    NeoX,
    /// As `NeighborsUnless`, of a share of the whole query.
    Mistral4,
    /// Rotation in halves, by `YaRN` where the file says nothing.
    Ministral3,
}

/// What follows attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    /// Three matrices, with biases if this key is there and true.
    Gated(Option<&'static str>),
    /// Two matrices with biases.
    Plain,
    /// Two matrices, with biases if this key is true.
    PlainIf(&'static str),
    /// Experts in all layers, as wide as `intermediate_size`.
    Mixtral,
    /// The same, with biases, in the router too.
    GptOss,
    /// Experts in the layers that `decoder_sparse_step` and `mlp_only_layers` say; with
    /// one that all tokens use and the gate before it, if so.
    Qwen { shared: bool },
    /// Experts from layer `first_k_dense_replace` on.
    DeepSeek,
}

/// What models of one kind do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) heads: HeadRule,
    pub(crate) projections: Projections,
    pub(crate) biases: BiasRule,
    pub(crate) windows: WindowRule,
    pub(crate) norm: NormRule,
    /// The key of what is added to a squared width before its root.
    pub(crate) eps: &'static str,
    pub(crate) scale: ScaleRule,
    /// Whether `attn_logit_softcapping` bounds scores.
    pub(crate) capped: bool,
    /// Whether each head has a learned score that takes weight and gives nothing.
    pub(crate) sinks: bool,
    pub(crate) rope: RopeRule,
    pub(crate) network: Network,
    /// Whether it is an encoder, unless `is_decoder` is true.
    pub(crate) encoder: bool,
}

const LLAMA: Kind = Kind {
    name: "llama",
    heads: HeadRule::Grouped,
    projections: Projections::Separate,
    biases: BiasRule::AllIf("attention_bias"),
    windows: WindowRule::None,
    norm: NormRule::None,
    eps: "rms_norm_eps",
    scale: ScaleRule::Width,
    capped: false,
    sinks: false,
    rope: RopeRule::Halves,
    network: Network::Gated(Some("mlp_bias")),
    encoder: false,
};

const MISTRAL: Kind = Kind {
    name: "mistral",
    biases: BiasRule::None,
    windows: WindowRule::All,
    network: Network::Gated(None),
    ..LLAMA
};

const QWEN2: Kind = Kind {
    name: "qwen2",
    biases: BiasRule::Inputs,
    windows: WindowRule::FromMaxWindowLayers,
    network: Network::Gated(None),
    ..LLAMA
};

const GEMMA: Kind = Kind { name: "gemma", network: Network::Gated(None), ..LLAMA };

const GEMMA2: Kind = Kind {
    name: "gemma2",
    windows: WindowRule::Even,
    scale: ScaleRule::Scalar,
    capped: true,
    ..GEMMA
};

const OLMO2: Kind = Kind {
    name: "olmo2",
    norm: NormRule::Whole,
    network: Network::Gated(None),
    ..LLAMA
};

const COHERE: Kind = Kind {
    name: "cohere",
    norm: NormRule::LayerNormMatrixIf,
    eps: "layer_norm_eps",
    rope: RopeRule::Neighbors,
    network: Network::Gated(None),
    ..LLAMA
};

const GLM: Kind = Kind {
    name: "glm",
    biases: BiasRule::InputsIf("attention_bias"),
    rope: RopeRule::PartialNeighbors(0.5),
    network: Network::Gated(None),
    ..LLAMA
};

const DEEPSEEK_V3: Kind = Kind {
    name: "deepseek_v3",
    heads: HeadRule::Latent,
    projections: Projections::Latent,
    scale: ScaleRule::Mscale,
    rope: RopeRule::NeighborsUnless,
    network: Network::DeepSeek,
    ..LLAMA
};

/// All that are known.
pub(crate) const KINDS: [Kind; 39] = [
    LLAMA,
    MISTRAL,
    Kind { name: "ministral", windows: WindowRule::ListedOrAll, ..MISTRAL },
    Kind { name: "ministral3", rope: RopeRule::Ministral3, ..MISTRAL },
    Kind { name: "mixtral", network: Network::Mixtral, ..MISTRAL },
    QWEN2,
    Kind {
        name: "qwen2_moe",
        biases: BiasRule::InputsIf("qkv_bias"),
        windows: WindowRule::EvenBelowMaxWindowLayers,
        network: Network::Qwen { shared: true },
        ..LLAMA
    },
    Kind { name: "qwen2_vl_text", ..QWEN2 },
    Kind { name: "qwen2_5_vl_text", ..QWEN2 },
    Kind {
        name: "qwen3",
        windows: WindowRule::FromMaxWindowLayers,
        norm: NormRule::Head,
        network: Network::Gated(None),
        ..LLAMA
    },
    Kind {
        name: "qwen3_moe",
        windows: WindowRule::AllIfUsed,
        norm: NormRule::Head,
        network: Network::Qwen { shared: false },
        ..LLAMA
    },
    GEMMA,
    GEMMA2,
    Kind {
        name: "gemma3_text",
        windows: WindowRule::Pattern(6),
        norm: NormRule::HeadPlusOne,
        // It has the key, and does not pass it on to the scores.
        capped: false,
        rope: RopeRule::ByLayerType,
        ..GEMMA2
    },
    Kind {
        name: "phi3",
        projections: Projections::Fused,
        rope: RopeRule::PartialHalves(1.0),
        ..MISTRAL
    },
    Kind {
        name: "gpt_oss",
        windows: WindowRule::Even,
        sinks: true,
        network: Network::GptOss,
        ..LLAMA
    },
    OLMO2,
    Kind {
        name: "olmo3",
        windows: WindowRule::AllBut(4),
        rope: RopeRule::ByLayerType,
        ..OLMO2
    },
    Kind { name: "olmo", network: Network::Gated(None), ..LLAMA },
    GLM,
    Kind { name: "glm4", ..GLM },
    Kind {
        name: "glm4_moe",
        norm: NormRule::HeadIf("use_qk_norm"),
        rope: RopeRule::PartialHalves(0.5),
        network: Network::DeepSeek,
        ..GLM
    },
    COHERE,
    Kind {
        name: "cohere2",
        windows: WindowRule::Pattern(4),
        norm: NormRule::None,
        rope: RopeRule::NeighborsInWindows,
        ..COHERE
    },
    Kind {
        name: "exaone4",
        biases: BiasRule::None,
        windows: WindowRule::PatternIfSet,
        norm: NormRule::Head,
        rope: RopeRule::HalvesInWindows,
        network: Network::Gated(None),
        ..LLAMA
    },
    Kind {
        name: "starcoder2",
        biases: BiasRule::AllIf("use_bias"),
        windows: WindowRule::All,
        eps: "norm_epsilon",
        network: Network::PlainIf("use_bias"),
        ..LLAMA
    },
    Kind {
        name: "phi",
        projections: Projections::SeparateDense,
        biases: BiasRule::All,
        norm: NormRule::LayerNormSharedIf,
        eps: "layer_norm_eps",
        rope: RopeRule::PartialHalves(0.5),
        network: Network::Plain,
        ..LLAMA
    },
    Kind {
        name: "gpt_neox",
        heads: HeadRule::Multi,
        projections: Projections::FusedByGroup,
        eps: "layer_norm_eps",
        rope: RopeRule::NeoX,
        network: Network::Plain,
        ..LLAMA
    },
    Kind {
        name: "falcon",
        heads: HeadRule::Falcon,
        projections: Projections::FusedByGroup,
        biases: BiasRule::AllIf("bias"),
        eps: "layer_norm_epsilon",
        network: Network::PlainIf("bias"),
        ..LLAMA
    },
    Kind {
        name: "stablelm",
        heads: HeadRule::GroupedShare,
        biases: BiasRule::InputsIf("use_qkv_bias"),
        norm: NormRule::LayerNormIf,
        eps: "layer_norm_eps",
        rope: RopeRule::PartialHalves(0.25),
        network: Network::Gated(None),
        ..LLAMA
    },
    Kind {
        name: "smollm3",
        windows: WindowRule::WithoutRope,
        rope: RopeRule::SomeLayers,
        ..LLAMA
    },
    Kind { name: "granite", scale: ScaleRule::Multiplier, ..LLAMA },
    Kind { name: "deepseek_v2", rope: RopeRule::Neighbors, ..DEEPSEEK_V3 },
    DEEPSEEK_V3,
    Kind { name: "kimi_k2", ..DEEPSEEK_V3 },
    Kind { name: "mistral4", rope: RopeRule::Mistral4, ..DEEPSEEK_V3 },
    Kind {
        name: "minicpm3",
        rope: RopeRule::Halves,
        network: Network::Gated(Some("mlp_bias")),
        ..DEEPSEEK_V3
    },
    Kind {
        name: "bert",
        heads: HeadRule::Multi,
        projections: Projections::Bert,
        biases: BiasRule::All,
        eps: "layer_norm_eps",
        rope: RopeRule::Learned,
        network: Network::Plain,
        encoder: true,
        ..LLAMA
    },
    Kind {
        name: "gpt2",
        heads: HeadRule::Multi,
        projections: Projections::FusedTransposed,
        biases: BiasRule::All,
        eps: "layer_norm_epsilon",
        scale: ScaleRule::Gpt2,
        rope: RopeRule::Learned,
        network: Network::Plain,
        ..LLAMA
    },
];

/// The `model_type`s that are read here, those of text alone.
#[must_use]
pub fn known() -> [&'static str; 39] {
    KINDS.map(|kind| kind.name)
}

/// The kind of that name.
pub(crate) fn find(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}
