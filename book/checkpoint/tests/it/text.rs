//! Texts that are no configuration, or hold one inside another.

use checkpoint::{Config, Heads};
use proptest::prelude::*;
use proptest::property_test;
use serde_json::{Value, json};

fn layers_and_vocab(config: &Value) -> (usize, u64, bool) {
    let config = Config::parse(&config.to_string()).unwrap();
    let sizes = config.sizes().unwrap();
    (config.layers().unwrap(), sizes.vocab, sizes.tied)
}

#[test]
fn the_text_of_a_model_of_text_and_images_is_read() {
    for (config, found) in [
        // A text of the kind that it names, or of the wrapper's own.
        (json!({ "model_type": "llava", "text_config": {} }), (32, 32_000, false)),
        (
            json!({ "model_type": "llava", "text_config": { "model_type": "qwen2" } }),
            (32, 151_936, false),
        ),
        (json!({ "model_type": "gemma3", "text_config": {} }), (26, 262_208, true)),
        // Whatever the text says: Transformers asks the whole.
        (
            json!({
                "model_type": "llava", "text_config": { "tie_word_embeddings": true },
            }),
            (32, 32_000, false),
        ),
        (
            json!({ "model_type": "gemma3", "tie_word_embeddings": false }),
            (26, 262_208, false),
        ),
        // Nothing is said of the text.
        (json!({ "model_type": "mistral3" }), (40, 131_072, true)),
        // Old files have the keys of the text beside the others.
        (
            json!({
                "model_type": "qwen2_vl", "num_hidden_layers": 28, "vocab_size": 9,
                "tie_word_embeddings": true,
            }),
            (28, 9, true),
        ),
        // A wrapper that is not known, of a text that is.
        (
            json!({ "model_type": "mine", "text_config": { "model_type": "llama" } }),
            (32, 32_000, false),
        ),
    ] {
        assert_eq!(layers_and_vocab(&config), found, "{config}");
    }
}

#[test]
fn numbers_that_json_lacks_matter_where_they_are_read() {
    let text =
        r#"{"model_type": "llama", "rope_theta": Infinity, "initializer_range": NaN}"#;
    let config = Config::parse(text).unwrap();
    assert_eq!(config.sizes().unwrap().model_dim, 4096);
    let error = config.attention(0).unwrap_err().to_string();
    assert_eq!(error, "`rope_theta` is Infinity, and has to be a number");
}

#[test]
fn a_kind_that_is_not_known_is_named() {
    for kind in ["mamba", "mllama", "x\n\u{1b}[31m", "llama_", "", "gpt-oss"] {
        let config = json!({ "model_type": kind }).to_string();
        let error = Config::parse(&config).unwrap_err().to_string();
        assert!(error.contains("is not known here"), "{error}");
        assert!(!error.contains(char::is_control), "{error:?}");
    }
    let error = Config::parse(r#"{"model_type": 3}"#).unwrap_err().to_string();
    assert_eq!(error, "`model_type` is 3, and has to be a name");
}

#[test]
fn a_mistral_with_kinds_of_layers_is_a_ministral() {
    let types = ["sliding_attention", "full_attention"];
    let config = json!({
        "model_type": "mistral", "num_hidden_layers": 2, "layer_types": types,
    });
    let config = Config::parse(&config.to_string()).unwrap();
    assert_eq!(config.kind(), "ministral");
    assert_eq!(config.windows().unwrap(), [Some(4096), None]);
}

#[test]
fn an_alias_of_a_key_is_read() {
    let text = r#"{"model_type": "gpt2", "num_hidden_layers": 3, "n_head": 4}"#;
    let config = Config::parse(text).unwrap();
    assert_eq!(config.layers().unwrap(), 3);
    let Heads::Shared { heads, kv_heads, head_dim } = config.heads().unwrap() else {
        panic!()
    };
    assert_eq!((heads, kv_heads, head_dim), (4, 4, 192));
}

#[property_test]
fn no_text_makes_it_panic(#[strategy = ".{0,200}"] text: String) {
    let _ = Config::parse(&text);
}

/// A configuration with any values under keys that are read.
fn odd() -> impl Strategy<Value = Value> {
    let value = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0..20_u64).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        Just(json!({ "__float__": "NaN" })),
        Just(json!([1, 0, "full_attention", "sliding_attention", null])),
        Just(json!({ "rope_type": "yarn", "factor": -1.0 })),
        Just(json!({ "type": "longrope", "short_factor": [], "factor": 0 })),
        Just(json!("sliding_attention")),
    ];
    let keys = [
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "head_dim",
        "num_key_value_heads",
        "intermediate_size",
        "vocab_size",
        "sliding_window",
        "use_sliding_window",
        "max_window_layers",
        "layer_types",
        "rope_scaling",
        "rope_parameters",
        "rope_theta",
        "partial_rotary_factor",
        "num_experts",
        "num_local_experts",
        "n_routed_experts",
        "num_experts_per_tok",
        "first_k_dense_replace",
        "kv_lora_rank",
        "q_lora_rank",
        "v_head_dim",
        "qk_rope_head_dim",
        "qk_nope_head_dim",
        "n_shared_experts",
        "no_rope_layers",
        "sliding_window_pattern",
        "decoder_sparse_step",
        "mlp_only_layers",
        "dtype",
        "quantization_config",
        "max_position_embeddings",
        "tie_word_embeddings",
        "text_config",
        "n_inner",
        "query_pre_attn_scalar",
        "attention_multiplier",
    ];
    let changes = proptest::collection::vec(
        (proptest::sample::select(keys.to_vec()), value),
        0..4,
    );
    let kind = proptest::sample::select(checkpoint::known().to_vec());
    (kind, changes).prop_map(|(kind, changes)| {
        let mut config = json!({ "model_type": kind });
        for (key, value) in changes {
            config[key] = value;
        }
        config
    })
}

#[property_test]
fn no_values_make_it_panic(#[strategy = odd()] config: Value) {
    let Ok(config) = Config::parse(&config.to_string()) else {
        return Ok(());
    };
    let _ = (config.sizes(), config.storage(2.0), config.windows());
    for layer in [0, 1, 9_999, usize::MAX] {
        if let Ok(attention) = config.attention(layer) {
            prop_assert!(attention.scale.is_finite(), "{attention:?}");
        }
    }
}
