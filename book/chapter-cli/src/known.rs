//! Tensors that are found beside those that a layer reads: what they are, and which
//! chapter has them.

/// What a tensor is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Known {
    /// In a few words, `a norm on the queries`.
    pub(crate) what: &'static str,
    /// The name of the chapter whose `forward` reads it, if one does.
    pub(crate) chapter: Option<&'static str>,
    /// What to do to have it counted, where that can be said.
    pub(crate) instead: Option<&'static str>,
}

/// The chapters that a tensor may belong to, by their names and numbers. The tests hold
/// this to the folders.
pub(crate) const CHAPTERS: [(&str, u32); 8] = [
    ("multi-head", 2),
    ("grouped-query", 5),
    ("rotary", 6),
    ("latent", 7),
    ("linformer", 8),
    ("flash", 9),
    ("sliding-window", 10),
    ("decoder-layer", 11),
];

/// `chapter 6 (rotary)`.
pub(crate) fn numbered(name: &str) -> String {
    match CHAPTERS.iter().find(|row| row.0 == name) {
        Some((_, number)) => format!("chapter {number} ({name})"),
        None => format!("the chapter {name}"),
    }
}

/// The parts of names, between two dots, and what a tensor with such a part is.
type Row = (&'static [&'static str], Known);

const fn nowhere(what: &'static str) -> Known {
    Known { what, chapter: None, instead: None }
}

const fn elsewhere(what: &'static str, chapter: &'static str) -> Known {
    Known { what, chapter: Some(chapter), instead: None }
}

const fn changed(what: &'static str, instead: &'static str) -> Known {
    Known { what, chapter: None, instead: Some(instead) }
}

const SCALES: Known =
    changed("a part of quantized weights", "dequantize the layer and save its weights");
const LORA: Known = changed(
    "an update of low rank (LoRA)",
    "merge it into its projection, as merge_and_unload does in PEFT",
);
const FUSED: Known = changed(
    "queries, keys and values in one projection",
    "cut it into q_proj, k_proj and v_proj, as its model's code does; \
     decoder-layer takes it as it is with --config",
);
const RENAMED: Known =
    changed("a projection under another name", "save it as q_proj, k_proj or v_proj");
const PROJECTED: Known =
    elsewhere("queries, keys or values that are already projected", "flash");
const RENAMED_OUTPUT: Known =
    changed("an output projection under another name", "save it as o_proj");
const POSITIONS: Known =
    nowhere("a part of the scores that depends on where tokens stand");

/// In this order: the first row that knows a name has it.
const ROWS: &[Row] = &[
    (
        &["q_norm", "q_layernorm", "query_norm", "query_layernorm", "q_ln", "norm_q"],
        elsewhere("a norm on the queries", "decoder-layer"),
    ),
    (
        &["k_norm", "k_layernorm", "key_norm", "key_layernorm", "k_ln", "norm_k"],
        elsewhere("a norm on the keys", "decoder-layer"),
    ),
    (&["v_norm", "norm_v"], nowhere("a norm on the values")),
    (
        &["qk_norm", "qk_layernorm"],
        elsewhere("a norm on queries and keys", "decoder-layer"),
    ),
    (
        &["attn_sub_norm", "inner_attn_ln", "sub_norm", "subln", "o_norm", "g_norm"],
        nowhere("a norm on what the heads found"),
    ),
    (
        &[
            "sinks",
            "sink",
            "attention_sink",
            "attention_sinks",
            "attn_sinks",
            "attn_sink",
        ],
        elsewhere(
            "learned sinks, one more score in each head's softmax",
            "decoder-layer",
        ),
    ),
    (
        &["g_proj", "gate", "attn_gate", "o_gate", "head_gate", "q_gate"],
        nowhere("a gate on what the heads found"),
    ),
    (
        &[
            "lora_A",
            "lora_B",
            "lora_embedding_A",
            "lora_embedding_B",
            "lora_a",
            "lora_b",
            "lora_magnitude_vector",
            "base_layer",
        ],
        LORA,
    ),
    (
        &[
            "weight_scale",
            "weight_scale_inv",
            "weight_scale_2",
            "input_scale",
            "qweight",
            "scales",
            "qzeros",
            "g_idx",
            "absmax",
            "quant_map",
            "nested_absmax",
            "nested_quant_map",
            "quant_state",
            "SCB",
            "weight_format",
            "weight_packed",
            "weight_shape",
            "weight_zero_point",
            "weight_g_idx",
            "zero_point",
            "scale_inv",
            "k_scale",
            "v_scale",
            "kv_scale",
            "q_scale",
            "prob_scale",
        ],
        SCALES,
    ),
    (
        &["weight_g", "weight_v", "parametrizations"],
        changed(
            "a weight in two factors (weight norm)",
            "multiply them and save the weight",
        ),
    ),
    (
        &[
            "qkv_proj",
            "query_key_value",
            "c_attn",
            "Wqkv",
            "wqkv",
            "qkv",
            "in_proj",
            "att_proj",
            "kv_proj",
            "q_attn",
            "c_q",
            "c_kv",
        ],
        FUSED,
    ),
    (
        &[
            "in_proj_weight",
            "in_proj_bias",
            "q_proj_weight",
            "k_proj_weight",
            "v_proj_weight",
        ],
        elsewhere("a projection as torch.nn.MultiheadAttention names it", "multi-head"),
    ),
    (
        &[
            "kv_a_proj_with_mqa",
            "kv_a_proj",
            "kv_a_layernorm",
            "kv_b_proj",
            "q_a_proj",
            "q_a_layernorm",
            "q_b_proj",
        ],
        elsewhere("a part of latent attention", "latent"),
    ),
    (
        &["indexer", "compressor", "wq_b", "weights_proj"],
        nowhere("a part of sparse attention, which picks the keys to look at"),
    ),
    (
        &["rotary_emb", "rotary_pos_emb", "rope", "inv_freq"],
        elsewhere("the frequencies of rotary positions", "rotary"),
    ),
    (
        &[
            "relative_attention_bias",
            "relative_position_bias_table",
            "rel_pos_bias",
            "rel_pos_h",
            "rel_pos_w",
            "distance_embedding",
            "r_w_bias",
            "r_r_bias",
            "r_proj",
            "pos_proj",
            "pos_key_proj",
            "pos_query_proj",
            "pos_bias_u",
            "pos_bias_v",
            "gru_rel_pos_linear",
            "gru_rel_pos_const",
            "linear_pos",
            "rel_attn_embed",
        ],
        POSITIONS,
    ),
    (
        &["bias_k", "bias_v"],
        nowhere(
            "one more learned key and value (add_bias_kv in torch.nn.MultiheadAttention)",
        ),
    ),
    (&["masked_bias", "causal_mask"], changed("a causal mask", "--causal says it")),
    (
        &["lambda_q1", "lambda_q2", "lambda_k1", "lambda_k2", "lambda_init"],
        nowhere("a part of differential attention"),
    ),
    (
        &[
            "logit_scale",
            "temperature",
            "tau",
            "q_scale_param",
            "softmax_scale",
            "per_dim_scale",
            "attn_temperature",
            "head_scale",
            "scaling",
            "scale",
        ],
        nowhere("a factor on the scores"),
    ),
    (
        &["ls1", "layer_scale", "gamma_1", "lambda_1", "layer_scale1"],
        nowhere("a factor on the output"),
    ),
    (
        &[
            "q_conv",
            "k_conv",
            "v_conv",
            "conv1d",
            "q_conv1d",
            "k_conv1d",
            "v_conv1d",
            "A_log",
            "dt_bias",
            "dt_proj",
            "x_proj",
            "beta_proj",
            "b_proj",
            "a_proj",
            "f_proj",
        ],
        nowhere("a part of linear attention or a state-space layer"),
    ),
    (
        &["to_q", "to_k", "to_v", "to_out", "proj_k", "proj_v"],
        elsewhere("a map of Linformer", "linformer"),
    ),
    (&["o_proj", "out_proj"], elsewhere("the output projection", "multi-head")),
    (&["c_proj", "dense", "wo", "proj", "attention_output", "out_lin"], RENAMED_OUTPUT),
    (&["q_proj", "k_proj", "v_proj"], elsewhere("a projection", "multi-head")),
    (&["query", "key", "value", "wq", "wk", "wv", "q_lin", "k_lin", "v_lin"], RENAMED),
    (
        &[
            "input_layernorm",
            "post_attention_layernorm",
            "pre_feedforward_layernorm",
            "post_feedforward_layernorm",
            "self_attn_layer_norm",
            "final_layer_norm",
            "layer_norm1",
            "layer_norm2",
            "LayerNorm",
            "layernorm",
            "layer_norm",
            "ln_1",
            "ln_2",
            "ln_f",
            "norm",
            "norm1",
            "norm2",
            "attention_norm",
            "ffn_norm",
        ],
        changed("a norm outside of the attention", AROUND),
    ),
    (
        &[
            "mlp",
            "feed_forward",
            "ffn",
            "gate_proj",
            "up_proj",
            "down_proj",
            "fc1",
            "fc2",
            "c_fc",
            "intermediate",
            "experts",
            "block_sparse_moe",
            "router",
        ],
        changed("a part of the feed-forward layer", AROUND),
    ),
    (
        &[
            "embed_tokens",
            "embeddings",
            "word_embeddings",
            "position_embeddings",
            "wte",
            "wpe",
            "lm_head",
            "embed_positions",
            "embed_in",
            "embed_out",
        ],
        changed("an embedding or the output layer", AROUND),
    ),
];

pub(crate) const AROUND: &str = "pick the attention alone with --prefix";

/// What the tensor `name` is, prefix not included.
pub(crate) fn known(name: &str) -> Option<Known> {
    if name == "bias" {
        // A buffer of GPT-2 and of those that were made from it.
        return Some(changed("a causal mask", "--causal says it"));
    }
    match name {
        "q" | "k" | "v" => return Some(PROJECTED),
        "q.weight" | "k.weight" | "v.weight" => return Some(RENAMED),
        "o.weight" => return Some(RENAMED_OUTPUT),
        _ => {}
    }
    let parts: Vec<&str> = name.split('.').collect();
    let has = |row: &&Row| row.0.iter().any(|part| parts.contains(part));
    ROWS.iter().find(has).map(|row| row.1)
}

impl Known {
    /// `a norm on the queries, which no chapter has`, told in the chapter `here`.
    pub(crate) fn told(self, here: &str) -> String {
        let Known { what, chapter, instead } = self;
        match (chapter, instead) {
            (Some(name), _) if name == here => {
                format!("{what}, which this layer does not use")
            }
            (Some(name), _) => format!("{what}, which {} has", numbered(name)),
            (None, Some(instead)) => format!("{what}: {instead}"),
            (None, None) => format!("{what}, which no chapter has"),
        }
    }
}

/// What stands in the file in the place of `wanted`, if that can be told: `qkv_proj.weight`
/// is queries, keys and values in one projection.
pub(crate) fn in_the_place_of(wanted: &str, name: &str) -> Option<Known> {
    const OTHERS: [&str; 3] = ["latent", "linformer", "flash"];
    let found = known(name)?;
    let takes_its_place = found == FUSED
        || found == SCALES
        || found == RENAMED_OUTPUT && wanted.starts_with("o_proj")
        || found == RENAMED
        || found.chapter.is_some_and(|chapter| OTHERS.contains(&chapter));
    (takes_its_place && known(wanted) != Some(found)).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::{CHAPTERS, ROWS, known};
    use std::path::Path;

    #[test]
    fn a_tensor_is_told_with_the_chapter_that_has_it() {
        let told = |name: &str| known(name).unwrap().told("grouped-query");
        assert_eq!(
            told("q_norm.weight"),
            "a norm on the queries, which chapter 11 (decoder-layer) has"
        );
        assert_eq!(
            told("kv_b_proj.weight"),
            "a part of latent attention, which chapter 7 (latent) has"
        );
        assert!(told("q_proj.lora_A.default.weight").contains("merge_and_unload"));
        assert!(told("q_proj.weight_scale").contains("dequantize"));
        assert_eq!(known("nonsense.weight"), None);
        assert_eq!(known("q"), Some(super::PROJECTED));
        assert_eq!(known("q.weight"), Some(super::RENAMED));
    }

    #[test]
    fn in_its_own_chapter_a_tensor_is_one_that_this_layer_does_not_use() {
        let told = known("q_a_proj.weight").unwrap().told("latent");
        assert_eq!(told, "a part of latent attention, which this layer does not use");
    }

    #[test]
    fn chapters_are_where_the_table_says() {
        let chapters = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../chapters");
        for (name, number) in CHAPTERS {
            let folder = chapters.join(format!("{number:02}-{name}"));
            assert!(folder.is_dir(), "chapter {name} is not number {number}");
        }
        let told = ROWS.iter().filter_map(|row| row.1.chapter);
        for name in told {
            assert!(CHAPTERS.iter().any(|row| row.0 == name), "{name} has no number");
        }
    }

    #[test]
    fn no_part_of_a_name_stands_in_two_rows() {
        let mut parts: Vec<&str> = ROWS.iter().flat_map(|row| row.0).copied().collect();
        parts.sort_unstable();
        assert!(parts.windows(2).all(|two| two[0] != two[1]), "{parts:?}");
    }
}
