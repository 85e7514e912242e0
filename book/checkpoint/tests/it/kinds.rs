//! Every kind beside the models that Transformers builds of it, with every key left out
//! once, and set to null once. `tests/reference/make.py` wrote the file.

use checkpoint::{
    Attention, Config, ConfigError, FeedForward, Heads, NormSpan, Pairing, Rope,
    Scaling, Sight, Sizes,
};
use serde_json::Value;
use std::f64::consts::TAU;
use std::sync::LazyLock;

static MODELS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let text = include_str!("../reference/kinds.json");
    let mut all: Value = serde_json::from_str(text).unwrap();
    serde_json::from_value(all["models"].take()).unwrap()
});

/// Tokens of which `cached` was counted.
const TOKENS: u64 = 5;

/// Frequencies are those of f32 arithmetic, written with 8 digits.
const FREQUENCY: f64 = 2e-6;
/// Scales and amplitudes are computed in f64 on both sides.
const SCALE: f64 = 1e-12;

#[test]
fn parameters_are_those_of_transformers() {
    let mut compared = 0;
    for model in built().filter(|model| model["config"]["model_type"] != "bert") {
        let config = read(model);
        let sizes = match config.sizes() {
            Ok(sizes) => sizes,
            Err(error) => {
                assert!(refused_rightly(model, &error), "{error}: {model}");
                continue;
            }
        };
        let heads = config.heads().unwrap();
        let parameters = model["parameters"].as_u64().unwrap();
        assert_eq!(parameters_of(&sizes, heads), parameters, "{}", model["config"]);
        compared += 1;
    }
    assert!(compared > 400, "{compared}");
}

#[test]
fn caches_are_those_of_transformers() {
    for model in built().filter(|model| model.get("cached").is_some()) {
        let config = read(model);
        if let Err(error) = config.attention(0) {
            assert!(refused_rightly(model, &error), "{error}: {model}");
            continue;
        }
        let kept = match config.heads().unwrap() {
            Heads::Shared { kv_heads, head_dim, .. } => 2 * kv_heads * head_dim,
            Heads::Latent { lora_rank, rope_dim, .. } => lora_rank + rope_dim,
        };
        if model["config"]["new_decoder_architecture"] == true {
            // Transformers keeps a copy of keys and values for each query head that
            // shares them.
            continue;
        }
        let layers = config.layers().unwrap();
        let cached: Vec<u64> = serde_json::from_value(model["cached"].clone()).unwrap();
        assert_eq!(vec![kept * TOKENS; layers], cached, "{}", model["config"]);
    }
}

#[test]
fn layers_do_what_those_of_transformers_do() {
    for model in built() {
        let config = read(model);
        let layers = model["layers"].as_array().unwrap();
        assert_eq!(config.layers().unwrap(), layers.len(), "{}", model["config"]);
        for (layer, which) in layers.iter().enumerate() {
            let facts = &model["distinct"][which.as_u64().unwrap() as usize];
            match config.attention(layer) {
                Ok(attention) => same(&attention, facts, &model["config"]),
                Err(error) => {
                    assert!(refused_rightly(model, &error), "{error}: {model}");
                }
            }
        }
    }
}

#[test]
fn what_transformers_refuses_gets_one_line_or_an_answer_that_is_meant() {
    let mut answered = Vec::new();
    for model in MODELS.iter().filter(|model| model.get("refused").is_some()) {
        let answer = Config::parse(&model["config"].to_string()).and_then(|config| {
            for layer in 0..config.layers()? {
                config.attention(layer)?;
            }
            config.sizes()
        });
        match answer {
            Ok(_) => answered.push(model["config"].as_object().unwrap()),
            Err(error) => assert_eq!(error.to_string().lines().count(), 1),
        }
    }
    // Neither a size nor the attention of a layer depends on these, as they are used
    // here.
    let unread = [
        "layer_norm_eps",
        "layer_norm_epsilon",
        "logit_scale",
        "norm_epsilon",
        "max_position_embeddings",
        "original_max_position_embeddings",
        "rms_norm_eps",
    ];
    answered.retain(|config| {
        let null = config.iter().find(|(_, value)| value.is_null());
        !null.is_some_and(|(key, _)| unread.contains(&key.as_str()))
    });
    // Of a Ministral without `head_dim`, an equal share of the width is meant.
    answered.retain(|config| config["model_type"] != "ministral");
    // And of an EXAONE 4 without a window, layers that look back over all of the text.
    answered.retain(|config| config["model_type"] != "exaone4");
    assert!(answered.is_empty(), "{answered:?}");
}

fn built() -> impl Iterator<Item = &'static Value> {
    MODELS.iter().filter(|model| model.get("refused").is_none())
}

fn read(model: &Value) -> Config {
    Config::parse(&model["config"].to_string()).unwrap()
}

/// What Transformers builds, and we refuse: what it cannot run, a DeepSeek-V2 that does
/// not say how many experts a token uses, and an odd number of features that turn.
fn refused_rightly(model: &Value, error: &ConfigError) -> bool {
    let error = error.to_string();
    model.get("runs_not").is_some()
        || error.contains("no `num_experts_per_tok`")
        || error.contains("an even number of them")
        || error.contains("heads do not divide")
}

fn parameters_of(sizes: &Sizes, heads: Heads) -> u64 {
    let d = sizes.model_dim;
    let attention = match heads {
        Heads::Shared { heads, kv_heads, head_dim } => {
            2 * d * heads * head_dim + 2 * d * kv_heads * head_dim
        }
        Heads::Latent {
            heads,
            nope_dim,
            rope_dim,
            v_dim,
            lora_rank,
            q_lora_rank,
            ..
        } => {
            let queries = heads * (nope_dim + rope_dim);
            let q = q_lora_rank.map_or(d * queries, |rank| rank * (d + queries));
            let kv =
                d * (lora_rank + rope_dim) + lora_rank * heads * (nope_dim + v_dim);
            q + kv + heads * v_dim * d
        }
    };
    let network = |dim: u64| sizes.matrices * d * dim;
    let of_layer = |layer: &FeedForward| match *layer {
        FeedForward::Dense { dim } => network(dim),
        FeedForward::Experts { experts, dim, shared_dim, .. } => {
            experts * network(dim) + network(shared_dim) + experts * d
        }
    };
    let networks: u64 = sizes.feed_forward.iter().map(of_layer).sum();
    let tables = sizes.vocab * d * if sizes.tied { 1 } else { 2 } + sizes.positions * d;
    sizes.feed_forward.len() as u64 * attention + networks + tables + sizes.small
}

fn same(attention: &Attention, facts: &Value, config: &Value) {
    let bool_of = |key: &str| facts[key].as_bool().unwrap();
    let close = |a: f64, b: f64, within: f64| (a - b).abs() <= within * b.abs();
    let scale = facts["scale"].as_f64().unwrap();
    assert!(close(attention.scale, scale, SCALE), "scale of {config}");
    assert_eq!(attention.window, facts["window"].as_u64(), "window of {config}");
    assert_eq!(attention.sight == Sight::Causal, bool_of("causal"), "{config}");
    assert_eq!(attention.biases.inputs, bool_of("input_bias"), "{config}");
    assert_eq!(attention.biases.output, bool_of("output_bias"), "{config}");
    assert_eq!(attention.sinks, bool_of("sinks"), "{config}");
    assert_eq!(attention.soft_cap, facts["soft_cap"].as_f64(), "{config}");
    if let Heads::Latent { norm_eps, .. } = attention.heads {
        assert_eq!(Some(norm_eps), facts["latent_eps"].as_f64(), "{config}");
    }
    assert_eq!(attention.clip_qkv, facts["clip"].as_f64(), "clip of {config}");
    let temperature = attention.temperature.map(|t| vec![t.beta, t.trained]);
    let theirs: Option<Vec<f64>> =
        serde_json::from_value(facts["temperature"].clone()).unwrap();
    assert_eq!(temperature, theirs, "temperature of {config}");
    let norm = attention.norm.map(|norm| {
        let Heads::Shared { heads, head_dim, .. } = attention.heads else { panic!() };
        assert_eq!(norm.bias, facts["norm"]["bias"] == true, "{config}");
        let width = if norm.span == NormSpan::AllHeads { heads } else { 1 } * head_dim;
        (Some(width), Some(norm.eps), Some(norm.span == NormSpan::EachHead))
    });
    let theirs = facts["norm"].as_object().map(|norm| {
        (norm["width"].as_u64(), norm["eps"].as_f64(), norm["each"].as_bool())
    });
    assert_eq!(norm, theirs, "norm of {config}");
    let Some(rope) = &attention.rope else {
        return assert!(facts["rope"].is_null(), "no rotation in {config}");
    };
    let amplitude = facts["rope"]["amplitude"].as_f64().unwrap();
    assert!(close(rope.amplitude, amplitude, SCALE), "amplitude of {config}");
    let theirs: Vec<f64> =
        serde_json::from_value(facts["rope"]["frequencies"].clone()).unwrap();
    let ours = frequencies(rope);
    assert_eq!(ours.len(), theirs.len(), "pairs of {config}");
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert!(close(*ours, *theirs, FREQUENCY), "{ours} {theirs} of {config}");
    }
}

/// The frequencies of texts that are no longer than those of training, from the papers'
/// formulas.
fn frequencies(rope: &Rope) -> Vec<f64> {
    let width = rope.features as f64;
    let plain = |pair: usize| rope.base.powf(-2.0 * pair as f64 / width);
    let stretched = |pair: usize| match &rope.scaling {
        Scaling::None | Scaling::Dynamic { .. } => plain(pair),
        Scaling::Llama3 { factor, low, high, trained } => {
            let turns = trained * plain(pair) / TAU;
            let keep = ((turns - low) / (high - low)).clamp(0.0, 1.0);
            plain(pair) * (keep + (1.0 - keep) / factor)
        }
        Scaling::Yarn { factor, fast, slow, trained, whole } => {
            let at = |turns: f64| {
                width * (trained / (turns * TAU)).ln() / (2.0 * rope.base.ln())
            };
            let (first, last) = (at(*fast), at(*slow));
            let ends =
                if *whole { (first.floor(), last.ceil()) } else { (first, last) };
            let (first, last) = (ends.0.max(0.0), ends.1.min(width - 1.0));
            let last = if first == last { last + 0.001 } else { last };
            let stretch = ((pair as f64 - first) / (last - first)).clamp(0.0, 1.0);
            plain(pair) * (1.0 - stretch + stretch / factor)
        }
        Scaling::Long { short, .. } => plain(pair) / short[pair],
        Scaling::Proportional { pairs, .. } if pair >= *pairs => 0.0,
        Scaling::Linear { factor } | Scaling::Proportional { factor, .. } => {
            plain(pair) / factor
        }
    };
    (0..rope.features / 2).map(stretched).collect()
}

#[test]
fn pairings_are_those_of_the_code() {
    let pairing = |kind: &str| {
        // By default, the heads of a GLM-4-MoE do not divide its width.
        let heads = if kind == "glm4_moe" { r#", "head_dim": 128"# } else { "" };
        let text = format!(r#"{{"model_type": "{kind}"{heads}}}"#);
        let rope = Config::parse(&text).unwrap().attention(0).unwrap().rope;
        rope.map(|rope| rope.pairing)
    };
    for kind in checkpoint::known() {
        let expected = match kind {
            "glm" | "glm4" | "cohere" | "cohere2" | "deepseek_v2" | "deepseek_v3"
            | "kimi_k2" | "mistral4" => Some(Pairing::Neighbors),
            "bert" | "gpt2" => None,
            _ => Some(Pairing::Halves),
        };
        assert_eq!(pairing(kind), expected, "{kind}");
    }
}

#[test]
fn every_kind_is_compared() {
    for kind in checkpoint::known() {
        let of_kind = |model: &&Value| model["config"]["model_type"] == kind;
        let compared = built().filter(of_kind).count();
        assert!(compared >= 8, "{kind}: {compared}");
    }
}
