//! Keys that change what a layer computes in some models, and not in those of this
//! kind, and keys that nobody here has heard of.

use crate::config::Config;
use crate::error::ConfigError;
use crate::json::shown;
use crate::kinds::{HeadRule, RopeRule, WindowRule};
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

/// Refuses a key that changes what a layer computes and is not understood, and one that
/// might.
pub(crate) fn refuse(config: &Config) -> Result<(), ConfigError> {
    for (key, value) in &config.keys.given {
        if reads(config, key) || changes_nothing(config, key, value) {
            continue;
        }
        let kind = config.kind.name;
        let why = if FOREIGN.contains(&key.as_str()) {
            format!(
                "Transformers reads no such key in a model of type {kind}; remove it if \
                 its layers do without"
            )
        } else if is_harmless(key) {
            continue;
        } else {
            format!(
                "no such key is known here in a model of type {kind}; remove it if it \
                 changes nothing that its layers compute"
            )
        };
        let (key, found) = (key.clone(), shown(value));
        return Err(ConfigError::NotUnderstood { key, found, why });
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
        "rotary_pct" | "rotary_emb_base" => config.kind.name == "gpt_neox",
        "rope_local_base_freq" => config.kind.name == "gemma3_text",
        "rope_theta" => !matches!(config.kind.rope, RopeRule::Learned),
        "layer_types"
        | "original_max_position_embeddings"
        | "partial_rotary_factor"
        | "rope_scaling" => true,
        // An attribute that layers look for where their class has no such field.
        "head_dim" => config.kind.heads == HeadRule::Grouped,
        "sliding_window_pattern" => matches!(
            config.kind.windows,
            WindowRule::Pattern(_) | WindowRule::PatternIfSet
        ),
        _ => is_field(config, key),
    }
}

/// Whether it is a field of the kind's class, or another name of one.
fn is_field(config: &Config, key: &str) -> bool {
    let class = config.keys.class;
    class.fields.contains_key(key) || class.also_named.contains_key(key)
}

/// What a head's width may be called in a kind that does not read it: an equal share of
/// the model's width, or, of a latent, that of a query or of its rotated part.
fn widths(config: &Config) -> Vec<u64> {
    let count = |key| config.keys.get(key).and_then(Value::as_u64);
    let (nope, rope) = (count("qk_nope_head_dim"), count("qk_rope_head_dim"));
    let whole = nope.zip(rope).and_then(|(nope, rope)| nope.checked_add(rope));
    let heads = count("num_attention_heads").filter(|heads| *heads > 0);
    let share = count("hidden_size").zip(heads).map(|(all, heads)| all / heads);
    [whole, rope, share].into_iter().flatten().collect()
}

/// Whether a value says what is so without it.
fn changes_nothing(config: &Config, key: &str, value: &Value) -> bool {
    let unused = config.keys.given("use_sliding_window") == Some(&Value::Bool(false));
    let count = |key| config.keys.get(key).and_then(Value::as_u64);
    let plain = match key {
        // Written by programs that write all that they have worked out.
        "num_key_value_heads" | "n_head" => json!([count("num_attention_heads")]),
        "head_dim" | "qk_head_dim" => json!(widths(config)),
        "position_embedding_type" => json!(["absolute", "rope", "rotary"]),
        "scale_attn_weights" => json!([true]),
        "n_layer" => json!([count("num_hidden_layers")]),
        "sliding_window_size" => json!([count("sliding_window")]),
        // Their heads have norms whatever a file says.
        "use_qk_norm" if matches!(config.kind.name, "qwen3" | "qwen3_moe") => {
            json!([true])
        }
        "rotary_pct" | "rotary_percentage" | "cla_share_factor" => json!([1, 1.0]),
        _ => json!([]),
    };
    let plain = plain.as_array().is_some_and(|plain| plain.contains(value));
    let nothing = [Value::Null, Value::Bool(false), json!([]), json!({}), json!(0)];
    let windows = ["sliding_window", "max_window_layers"];
    plain || nothing.contains(value) || windows.contains(&key) && unused
}

/// Whether a key is known to change nothing that a layer computes.
fn is_harmless(key: &str) -> bool {
    let begins = ["summary_", "_", "vision_", "image_", "video_", "audio_"];
    HARMLESS.contains(&key) || begins.iter().any(|start| key.starts_with(start))
}

/// Keys of training, of generation, of the whole model and of other programs.
const HARMLESS: &[&str] = &[
    // What file it is, and who wrote it.
    "architectures",
    "auto_map",
    "dtype",
    "is_llama_config",
    "language",
    "model_type",
    "quantization_config",
    "task_specific_params",
    "text_config",
    "tokenizer_class",
    "tokenizer_name",
    "torch_dtype",
    "transformers.js_config",
    "transformers_version",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    // How it was trained.
    "attention_dropout",
    "attention_probs_dropout_prob",
    "attn_pdrop",
    "aux_loss_alpha",
    "classifier_dropout",
    "embd_pdrop",
    "embedding_dropout",
    "ep_size",
    "gradient_checkpointing",
    "hidden_dropout",
    "hidden_dropout_prob",
    "initializer_factor",
    "initializer_range",
    "output_router_logits",
    "pretraining_tp",
    "resid_pdrop",
    "residual_dropout",
    "router_aux_loss_coef",
    "router_jitter_noise",
    "router_z_loss_coef",
    "seq_aux",
    // How it is run.
    "attn_implementation",
    "cache_implementation",
    "chunk_size_feed_forward",
    "flash_attn",
    "reorder_and_upcast_attn",
    "torchscript",
    "use_cache",
    "use_flash_attention",
    "use_flash_attention_2",
    "use_flash_attn",
    "use_sdpa",
    // What it returns, and how it writes.
    "begin_suppress_tokens",
    "bos_token_id",
    "cls_token_id",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "eos_token_id",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "generation_config",
    "id2label",
    "is_encoder_decoder",
    "label2id",
    "length_penalty",
    "mask_token_id",
    "max_length",
    "max_new_tokens",
    "min_length",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_labels",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "pad_token_id",
    "predict_special_tokens",
    "prefix",
    "problem_type",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "suppress_tokens",
    "temperature",
    "tie_encoder_decoder",
    "tie_word_embeddings",
    "top_k",
    "top_p",
    "typical_p",
    "unk_token_id",
    // How long a text may be, which decides nothing here.
    "initial_context_length",
    "max_seq_len",
    "max_sequence_length",
    "model_max_length",
    "n_ctx",
    "seq_length",
    // Parts of a model beside its attention, which are read where they count.
    "experts_per_token",
    "hidden_act",
    "hidden_activation",
    "mlp_bias",
    "moe_layer_freq",
    "norm_topk_prob",
    "num_local_experts",
    "num_mtp_layers",
    "num_nextn_predict_layers",
    "scoring_func",
    "topk_method",
];
