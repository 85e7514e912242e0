//! Bytes of quantized checkpoints: of real ones as their indexes count them, and of what
//! lists of modules leave out.

use checkpoint::{Bytes, Config, FeedForward, Heads, Sizes};
use serde_json::{Value, json};

/// The bytes of all weights, and those of a number in the cache.
fn stored(config: &Value) -> (f64, f64) {
    let config = Config::parse(&config.to_string()).unwrap();
    let (sizes, heads) = (config.sizes().unwrap(), config.heads().unwrap());
    let storage = config.storage(2.0).unwrap();
    (total(&sizes, heads, storage.bytes), storage.cache_bytes)
}

fn total(sizes: &Sizes, heads: Heads, each: Bytes) -> f64 {
    let d = sizes.model_dim as f64;
    let Heads::Shared { heads, kv_heads, head_dim } = heads else { panic!() };
    let attention = 2.0 * d * ((heads + kv_heads) * head_dim) as f64;
    let network = |dim: u64| 3.0 * d * dim as f64;
    let of_layer = |layer: &FeedForward| match *layer {
        FeedForward::Dense { dim } => network(dim) * each.network,
        FeedForward::Experts { experts, dim, shared_dim, .. } => {
            experts as f64 * (network(dim) * each.experts + d * each.rest)
                + network(shared_dim) * each.network
        }
    };
    let networks: f64 = sizes.feed_forward.iter().map(of_layer).sum();
    let table = sizes.vocab as f64 * d;
    sizes.feed_forward.len() as f64 * attention * each.attention
        + networks
        + table * each.head
        + if sizes.tied { 0.0 } else { table * each.table }
        + sizes.small as f64 * each.rest
}

fn llama_70b() -> Value {
    json!({
        "model_type": "llama", "hidden_size": 8192, "intermediate_size": 28672,
        "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8,
        "vocab_size": 128_256, "torch_dtype": "bfloat16",
    })
}

fn with(mut config: Value, quantization: Value) -> Value {
    config["quantization_config"] = quantization;
    config
}

/// Parameters of Llama-3-70B, and of each of its two tables.
const LLAMA: f64 = 70_553_706_496.0;
const TABLE: f64 = 128_256.0 * 8192.0;
/// Of its norms.
const NORMS: f64 = 161.0 * 8192.0;

fn is(config: &Value, bytes: f64) {
    let (found, _) = stored(config);
    assert!((found - bytes).abs() < 1.0, "{found} and not {bytes}: {config}");
}

#[test]
fn a_type_alone_decides_for_all_weights() {
    for (dtype, bytes) in [("float32", 4.0), ("float16", 2.0), ("torch.bfloat16", 2.0)]
    {
        for key in ["torch_dtype", "dtype"] {
            let mut config = llama_70b();
            config.as_object_mut().unwrap().remove("torch_dtype");
            config[key] = json!(dtype);
            assert_eq!(stored(&config), (bytes * LLAMA, bytes));
        }
    }
}

#[test]
fn gpt_oss_takes_the_bytes_that_its_index_counts() {
    let config = json!({
        "model_type": "gpt_oss", "num_hidden_layers": 24, "num_local_experts": 32,
        "quantization_config": {
            "modules_to_not_convert": [
                "model.layers.*.self_attn", "model.layers.*.mlp.router",
                "model.embed_tokens", "lm_head",
            ],
            "quant_method": "mxfp4",
        },
    });
    // `total_size` of openai/gpt-oss-20b.
    is(&config, 13_761_264_768.0);
}

#[test]
fn what_a_file_does_not_tell_apart_is_quantized() {
    let format =
        json!({ "quant_method": "compressed-tensors", "format": "float-quantized" });
    // Norms are no matrices.
    is(&with(llama_70b(), format), LLAMA + NORMS);
}

#[test]
fn eight_bits_leave_tables_and_norms() {
    let group = json!({ "targets": ["Linear"], "weights": {
        "num_bits": 8, "type": "float", "strategy": "channel", "group_size": null,
    }});
    let compressed = |ignore: Value| {
        json!({
            "quant_method": "compressed-tensors", "format": "float-quantized",
            "config_groups": { "group_0": group }, "ignore": ignore,
        })
    };
    let head = LLAMA + TABLE + NORMS;
    let both = head + TABLE;
    let bitsandbytes = json!({ "quant_method": "bitsandbytes", "load_in_8bit": true });
    for (quantization, bytes) in [
        (compressed(json!(["lm_head"])), both),
        (compressed(json!(["re:.*lm_head"])), both),
        (compressed(json!([])), head),
        (json!({ "quant_method": "fp8", "weight_block_size": null }), both),
        (json!({ "quant_method": "fp8", "modules_to_not_convert": ["lm_head"] }), both),
        (
            json!({ "quant_method": "fbgemm_fp8", "modules_to_not_convert": ["lm_head"] }),
            both,
        ),
        (bitsandbytes, both),
        (json!({ "load_in_8bit": true }), both),
        (
            json!({ "quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head"] }),
            both,
        ),
    ] {
        is(&with(llama_70b(), quantization), bytes);
    }
}

#[test]
fn four_bits_count_the_scales_of_their_groups() {
    let matrices = LLAMA - 2.0 * TABLE - NORMS;
    let rest = 2.0 * (2.0 * TABLE + NORMS);
    let packed = json!({
        "quant_method": "compressed-tensors", "format": "pack-quantized",
        "ignore": ["lm_head"],
        "config_groups": { "group_0": { "targets": ["Linear"], "weights": {
            "num_bits": 4, "type": "int", "group_size": 128, "symmetric": true,
        }}},
    });
    let gptq =
        |group: i64| json!({ "quant_method": "gptq", "bits": 4, "group_size": group });
    let four = |double: bool| {
        json!({
            "quant_method": "bitsandbytes", "load_in_4bit": true,
            "bnb_4bit_use_double_quant": double,
        })
    };
    for (quantization, bits) in [
        (gptq(128), 4.0 + 20.0 / 128.0),
        (gptq(-1), 4.0),
        (
            json!({ "quant_method": "awq", "bits": 4, "group_size": 64 }),
            4.0 + 20.0 / 64.0,
        ),
        (packed, 4.0 + 16.0 / 128.0),
        (four(false), 4.5),
        (four(true), 4.0 + 8.0 / 64.0 + 32.0 / 16384.0),
        (json!({ "quant_method": "modelopt", "quant_algo": "NVFP4" }), 4.5),
    ] {
        is(&with(llama_70b(), quantization), matrices * bits / 8.0 + rest);
    }
}

#[test]
fn modules_that_are_named_are_left_as_they_were() {
    let fp8 = |left: Value| {
        let mut config = llama_70b();
        config["num_hidden_layers"] = json!(4);
        config["quantization_config"] =
            json!({ "quant_method": "fp8", "modules_to_not_convert": left });
        stored(&config).0
    };
    let all = fp8(json!(["lm_head"]));
    let value = 8192.0 * 8.0 * 128.0;
    let query = 8192.0 * 8192.0;
    let network = 3.0 * 8192.0 * 28672.0;
    for (left, more) in [
        (json!(["lm_head", "v_proj"]), 4.0 * value),
        (json!(["lm_head", "model.layers.1.self_attn.q_proj"]), query),
        (json!(["lm_head", "model.layers.0.mlp", "layers.3.mlp"]), 2.0 * network),
        (json!(["lm_head", "re:.*layers\\.[01]\\..*mlp.*"]), 2.0 * network),
        (json!(["lm_head", "model.layers.1*"]), network + 2.0 * query + 2.0 * value),
        (json!(["lm_head", "vision_tower", "proj"]), 0.0),
    ] {
        assert_eq!(fp8(left.clone()) - all, more, "{left}");
    }
}

#[test]
fn names_of_a_model_of_text_and_images_may_be_nested() {
    let config = |left: &str| {
        json!({
            "model_type": "llava", "text_config": { "num_hidden_layers": 2 },
            "torch_dtype": "float16", "quantization_config": {
                "quant_method": "compressed-tensors", "ignore": ["lm_head", left],
                "config_groups": { "group_0": {
                    "targets": ["Linear"], "weights": { "num_bits": 8 },
                }},
            },
        })
    };
    let plain = stored(&config("vision_tower")).0;
    let query = 4096.0 * 4096.0;
    for left in [
        "model.layers.1.self_attn.q_proj",
        "language_model.model.layers.1.self_attn.q_proj",
        "model.language_model.layers.1.self_attn.q_proj",
        "re:.*language_model.*layers.1.self_attn.q_proj",
    ] {
        assert_eq!(stored(&config(left)).0 - plain, query, "{left}");
    }
}

#[test]
fn a_quantized_cache_is_counted_so() {
    let fp8 = json!({ "quant_method": "fp8", "kv_cache_scheme": { "num_bits": 8 } });
    assert_eq!(stored(&with(llama_70b(), fp8)).1, 1.0);
    let plain = json!({ "quant_method": "fp8", "kv_cache_scheme": null });
    assert_eq!(stored(&with(llama_70b(), plain)).1, 2.0);
}

#[test]
fn tied_tables_are_one_and_left_as_they_were() {
    let mut config = with(
        llama_70b(),
        json!({ "quant_method": "gptq", "bits": 8, "group_size": -1 }),
    );
    config["tie_word_embeddings"] = json!(true);
    is(&config, LLAMA - TABLE + TABLE + NORMS);
}

#[test]
fn what_is_not_known_is_refused_by_name() {
    for (quantization, said) in [
        (json!({}), "nothing says how the weights are quantized"),
        (json!([]), "`quantization_config` is [], and has to be an object"),
        (json!({ "quant_method": 8 }), "quant_method` is 8"),
        (
            json!({ "quant_method": "aqlm" }),
            "is \"aqlm\": bits per weight are not known",
        ),
        (json!({ "quant_method": "gptq", "bits": "4" }), "`bits` is \"4\""),
        (
            json!({ "quant_method": "gptq", "bits": 4, "group_size": 0 }),
            "`group_size` is 0",
        ),
        (
            json!({ "quant_method": "gptq", "bits": 4, "dynamic": { "+:.*": {} } }),
            "dynamic",
        ),
        (json!({ "quant_method": "fp8", "weight_block_size": 128 }), "two sides"),
        (
            json!({ "quant_method": "fp8", "modules_to_not_convert": "lm_head" }),
            "a list",
        ),
        (json!({ "quant_method": "fp8", "modules_to_not_convert": ["re:("] }), "re:("),
        (json!({ "quant_method": "bitsandbytes" }), "either `load_in_4bit`"),
        (json!({ "quant_method": "compressed-tensors" }), "format"),
        (json!({ "quant_method": "modelopt", "quant_algo": "W4A8" }), "W4A8"),
    ] {
        let config = with(llama_70b(), quantization.clone()).to_string();
        let error =
            Config::parse(&config).unwrap().storage(2.0).unwrap_err().to_string();
        assert!(error.contains(said), "{quantization}: {error}");
        assert_eq!(error.lines().count(), 1);
    }
}
