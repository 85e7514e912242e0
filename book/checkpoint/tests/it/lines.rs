//! Keys that change what a layer computes and are not understood: each gets one line.

use checkpoint::Config;
use serde_json::{Value, json};

fn line(kind: &str, key: &str, value: Value) -> String {
    let mut config = json!({ "model_type": kind });
    config[key] = value;
    let config = Config::parse(&config.to_string()).unwrap();
    let error = config.attention(0).unwrap_err().to_string();
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

#[test]
fn keys_of_other_kinds_are_refused() {
    for (kind, key, value) in [
        ("llama", "sliding_window", json!(4096)),
        ("llama", "attn_logit_softcapping", json!(50.0)),
        ("llama", "query_pre_attn_scalar", json!(256)),
        ("llama", "attention_multiplier", json!(0.1)),
        ("llama", "no_rope_layers", json!([1, 0])),
        ("llama", "qk_norm", json!(true)),
        ("llama", "alibi", json!(true)),
        ("llama", "partial_rotary_factor", json!(0.5)),
        ("llama", "per_layer_config", json!({ "0": { "head_dim": 1 } })),
        ("mistral", "attention_bias", json!(true)),
        ("gemma3_text", "attn_logit_softcapping", json!(50.0)),
        ("gemma2", "use_bidirectional_attention", json!(true)),
        ("qwen2", "dual_chunk_attention_config", json!({ "chunk_size": 8 })),
        ("deepseek_v2", "rope_interleave", json!(true)),
        ("bert", "position_embedding_type", json!("relative_key")),
    ] {
        let line = line(kind, key, value.clone());
        assert!(line.starts_with(&format!("`{key}` is ")), "{kind} {key}: {line}");
    }
}

#[test]
fn keys_that_change_nothing_are_passed_over() {
    for (key, value) in [
        ("sliding_window", Value::Null),
        ("attention_bias", json!(false)),
        ("attn_logit_softcapping", Value::Null),
        ("partial_rotary_factor", json!(1.0)),
        ("position_embedding_type", json!("absolute")),
        ("use_bidirectional_attention", json!(false)),
        ("pretraining_tp", json!(1)),
        ("attention_dropout", json!(0.1)),
        ("layer_types", json!(vec!["full_attention"; 32])),
    ] {
        let mut config = json!({ "model_type": "llama" });
        config[key] = value;
        let config = Config::parse(&config.to_string()).unwrap();
        config.attention(31).unwrap();
    }
    let unused =
        r#"{"model_type": "llama", "sliding_window": 9, "use_sliding_window": false}"#;
    Config::parse(unused).unwrap().attention(0).unwrap();
}

#[test]
fn rotations_that_are_not_known_are_refused() {
    for (scaling, said) in [
        (json!({ "rope_type": "axial" }), "`rope_type` is \"axial\""),
        (json!({ "type": 3 }), "`rope_type` is 3"),
        (json!({ "rope_type": "linear" }), "no `factor`"),
        (json!({ "rope_type": "linear", "factor": "2" }), "`factor` is \"2\""),
        (json!({ "rope_type": "llama3", "factor": 8.0 }), "no `low_freq_factor`"),
        (
            json!({ "rope_type": "yarn", "factor": 4.0, "llama_4_scaling_beta": 0.1 }),
            "`rope_parameters.llama_4_scaling_beta` is 0.1",
        ),
        (json!({ "type": "longrope", "short_factor": [1.0] }), "`short_factor`"),
        (json!([1]), "`rope_scaling` is [1], and has to be an object"),
    ] {
        let line = line("llama", "rope_scaling", scaling.clone());
        assert!(line.contains(said), "{scaling}: {line}");
    }
    assert!(line("llama", "rope_theta", json!(0)).contains("`rope_theta` is 0"));
    assert!(line("llama", "rope_theta", Value::Null).contains("`rope_theta` is null"));
}

#[test]
fn layers_that_are_not_there_are_refused() {
    let config = Config::parse(r#"{"model_type": "gemma2"}"#).unwrap();
    let error = config.attention(26).unwrap_err().to_string();
    assert_eq!(error, "there is no layer 26: the first is 0, the last 25");
    let line = line("gemma2", "sliding_window", Value::Null);
    assert!(line.starts_with("`sliding_window` is null"), "{line}");
}

#[test]
fn a_key_that_nobody_has_heard_of_is_refused_by_name() {
    for (kind, key, value) in [
        ("llama", "rotary_emb_fraction", json!(0.5)),
        ("llama", "attention_window_pattern", json!("LLG")),
        ("qwen2", "sliding_window_pattern", json!(4)),
        ("gpt_neox", "head_dim", json!(8)),
        ("olmo3", "sliding_window_pattern", json!(2)),
        ("kimi_k2", "index_n_heads", json!(4)),
        ("falcon", "n_embed", json!(64)),
    ] {
        let text = json!({ "model_type": kind, key: value }).to_string();
        let error = Config::parse(&text).unwrap().attention(0).unwrap_err().to_string();
        assert!(error.starts_with(&format!("`{key}` is ")), "{error}");
        assert!(error.contains(kind) && error.lines().count() == 1, "{error}");
    }
}

#[test]
fn keys_that_published_models_carry_beside_their_own_are_passed_over() {
    for keys in [
        // Qwen3-30B-A3B and Qwen3-Coder-480B-A35B.
        json!({
            "model_type": "qwen3_moe", "max_window_layers": 48, "sliding_window": null,
            "use_sliding_window": false, "use_qk_norm": true,
        }),
        // Gemma 2.
        json!({
            "model_type": "gemma2", "hidden_act": "gelu_pytorch_tanh",
            "hidden_activation": "gelu_pytorch_tanh", "sliding_window": 4096,
            "sliding_window_size": 4096,
        }),
        // Kimi K2.5's text.
        json!({ "model_type": "kimi_k2", "diversity_penalty": 0.0 }),
        // Falcon, with its older names beside the new ones.
        json!({
            "model_type": "falcon", "n_head": 128, "num_attention_heads": 128,
            "hidden_size": 8192, "n_layer": 60, "num_hidden_layers": 60,
        }),
    ] {
        Config::parse(&keys.to_string()).unwrap().attention(0).unwrap();
    }
}

#[test]
fn keys_that_say_something_else_than_is_so_are_refused() {
    for (kind, key, value) in [
        ("qwen3_moe", "max_window_layers", json!(4)),
        ("llama", "use_qk_norm", json!(true)),
        ("gemma2", "sliding_window_size", json!(8)),
        ("falcon", "n_head", json!(8)),
    ] {
        let line = line(kind, key, value);
        assert!(line.starts_with(&format!("`{key}` is ")), "{kind} {key}: {line}");
    }
}
