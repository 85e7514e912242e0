//! Keys that change what a layer computes in some models, and not in those of this
//! kind.

use crate::config::Config;
use crate::error::ConfigError;
use crate::json::shown;
use serde_json::{Value, json};

/// Keys of other kinds, and of other programs than Transformers, that change the
/// numbers of a layer. A kind whose class has the key reads it elsewhere.
const FOREIGN: [&str; 49] = [
    "add_cross_attention",
    "alibi",
    "attention_bias",
    "attention_chunk_size",
    "attention_multiplier",
    "attention_sink_size",
    "attn_logit_softcapping",
    "attn_output_gate",
    "attn_temperature_tuning",
    "clip_qkv",
    "cla_share_factor",
    "dual_chunk_attention_config",
    "full_attention_interval",
    "global_attn_every_n_layers",
    "index_topk",
    "interleaved_sliding_window",
    "kv_lora_rank",
    "linear_attn_config",
    "logn_attn",
    "multi_query",
    "no_rope_layer_interval",
    "no_rope_layers",
    "nope_layer_interval",
    "num_kv_shared_layers",
    "partial_rotary_factor",
    "per_layer_config",
    "position_embedding_type",
    "qk_layernorm",
    "qk_nope_head_dim",
    "qk_norm",
    "qkv_bias",
    "query_pre_attn_scalar",
    "rope_interleave",
    "rope_local_base_freq",
    "rope_theta_by_layer",
    "rotary_dim",
    "rotary_emb_base",
    "rotary_pct",
    "rotary_percentage",
    "scale_attn_by_inverse_layer_idx",
    "scale_attn_weights",
    "sliding_window",
    "sparse_attention_config",
    "use_alibi",
    "use_bidirectional_attention",
    "use_dynamic_ntk",
    "use_logn_attn",
    "use_qk_norm",
    "use_qkv_bias",
];

/// Refuses a key that changes what a layer computes and is not understood.
pub(crate) fn refuse(config: &Config) -> Result<(), ConfigError> {
    for key in FOREIGN {
        let Some(value) = config.keys.given(key) else {
            continue;
        };
        let foreign = !reads(config, key) && !changes_nothing(config, key, value);
        if foreign {
            let (key, found) = (key.to_owned(), shown(value));
            let why = format!(
                "Transformers reads no such key in a model of type {}; remove it if its \
                 layers do without",
                config.kind.name
            );
            return Err(ConfigError::NotUnderstood { key, found, why });
        }
    }
    Ok(())
}

/// Refuses scores that get biases by distance in place of a rotation (Press et al. 2021).
pub(crate) fn refuse_alibi(config: &Config) -> Result<(), ConfigError> {
    const KEY: &str = "alibi";
    let has = config.keys.class.fields.contains_key(KEY);
    if !has || !config.keys.flag_or_null(KEY)? {
        return Ok(());
    }
    let why = "scores fall with distance in place of a rotation, which is not \
               understood here";
    let (key, found, why) = (KEY.to_owned(), "true".to_owned(), why.to_owned());
    Err(ConfigError::NotUnderstood { key, found, why })
}

/// Whether the kind knows the key.
fn reads(config: &Config, key: &str) -> bool {
    match key {
        // Fields of classes, of which the layers make something that is not known here.
        "use_bidirectional_attention" | "add_cross_attention" | "per_layer_config" => {
            false
        }
        // It has the field, and its scores are not bounded.
        "attn_logit_softcapping" => config.kind.capped,
        // No fields, but read.
        "partial_rotary_factor" => true,
        "rotary_pct" | "rotary_emb_base" => config.kind.name == "gpt_neox",
        "rope_local_base_freq" => config.kind.name == "gemma3_text",
        _ => config.keys.class.fields.contains_key(key),
    }
}

/// Whether a value says what is so without it.
fn changes_nothing(config: &Config, key: &str, value: &Value) -> bool {
    let unused = config.keys.given("use_sliding_window") == Some(&Value::Bool(false));
    let plain = match key {
        "position_embedding_type" => json!(["absolute", "rope", "rotary"]),
        "scale_attn_weights" => json!([true]),
        "rotary_pct" | "rotary_percentage" | "cla_share_factor" => json!([1, 1.0]),
        _ => json!([]),
    };
    let plain = plain.as_array().is_some_and(|plain| plain.contains(value));
    let nothing = [Value::Null, Value::Bool(false), json!([]), json!({}), json!(0)];
    plain || nothing.contains(value) || key == "sliding_window" && unused
}
