//! What else goes into an attention layer elsewhere, beside its weights.

/// Names of inputs, with what they are and what to do about them. They are looked for with
/// and without the prefix.
const INPUTS: &[(&[&str], &str)] = &[
    (
        &[
            "decoder_attention_mask",
            "tgt_mask",
            "src_mask",
            "memory_mask",
            "src_key_padding_mask",
            "tgt_key_padding_mask",
            "memory_key_padding_mask",
            "causal_attention_mask",
            "local_attention_mask",
            "global_attention_mask",
            "block_mask",
            "sliding_window_mask",
            "full_attention",
            "sliding_attention",
        ],
        "a mask: save it as mask, BOOL, with true = may attend",
    ),
    (
        &["head_mask", "cross_attn_head_mask", "decoder_head_mask", "layer_head_mask"],
        "a factor on each head's weights, which no chapter has",
    ),
    (
        &[
            "past_key_values",
            "past_key_value",
            "past_key",
            "past_value",
            "past_keys",
            "past_values",
            "layer_past",
            "k_cache",
            "v_cache",
            "key_cache",
            "value_cache",
            "cache_k",
            "cache_v",
        ],
        "keys and values of earlier tokens: give all tokens as x",
    ),
    (
        &["token_type_ids", "input_ids", "inputs_embeds", "labels"],
        "an input of the whole model: give what enters the layer as x",
    ),
    (
        &["hidden_states", "src", "tgt", "inputs"],
        "what the layer runs on: save it as x",
    ),
    (
        &["encoder_hidden_states", "key_value_states", "memory", "encoder_outputs"],
        "what the layer looks at: save it as context",
    ),
    (
        &["position_embeddings", "cos", "sin", "freqs_cis", "rotary_pos_emb_q"],
        "angles of rotary positions; chapter 6 (rotary) computes them from its flags",
    ),
    (
        &[
            "position_bias",
            "attn_bias",
            "alibi",
            "alibi_slopes",
            "slopes",
            "score_mod",
            "attention_bias",
            "rel_pos",
            "s_aux",
        ],
        "numbers that are added to the scores, which no chapter has",
    ),
    (
        &[
            "is_causal",
            "dropout_p",
            "dropout",
            "need_weights",
            "enable_gqa",
            "add_zero_attn",
            "use_cache",
            "softmax_scale",
            "scale",
            "sliding_window",
            "window_size",
            "softcap",
        ],
        "a setting of PyTorch's functions: what there is of it here is a flag (--help)",
    ),
    (&["x", "context", "mask"], "an input that this layer does not have"),
];

/// Names of what a layer gives, which a file may hold beside what it reads.
pub(crate) const OUTPUTS: [&str; 2] = ["y", "attention_weights"];

/// What the input `name` is, if it is one.
pub(crate) fn input(name: &str) -> Option<&'static str> {
    INPUTS.iter().find(|(names, _)| names.contains(&name)).map(|(_, what)| *what)
}

/// The names of all inputs that are known, and not understood.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    INPUTS.iter().flat_map(|(names, _)| *names).copied()
}
