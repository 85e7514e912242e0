//! Configurations as Transformers writes them, and what its models are made of them:
//! parameters counted from its modules, and the cache that it returns.
//! `tests/reference/make.py` wrote the file.

use choosing::config;
use choosing::experiments;
use serde_json::Value;

/// Tokens that each model was given.
const TOKENS: u64 = 24;

#[test]
fn parameters_and_caches_are_those_of_transformers() {
    let all: Vec<Value> =
        serde_json::from_str(include_str!("../reference/transformers.json")).unwrap();
    // 13 models by name, and 4 at random of each of 12 kinds.
    assert_eq!(all.len(), 61);
    for one in all {
        let model = match one["file"].as_str() {
            Some(file) => experiments::model(file.trim_end_matches(".json")).unwrap(),
            None => config::read("random", &one["config"].to_string()).unwrap(),
        };
        let parameters = one["parameters"].as_f64().unwrap();
        assert_eq!(model.parameters(), parameters, "parameters of {one}");
        let windowed = model.window.map_or(0, |window| window.layers);
        let full = one["full_layers"].as_u64().unwrap();
        assert_eq!(model.layers - windowed, full, "layers without a window of {one}");
        let cached = one["cached_in_full_layers"].as_u64().unwrap();
        assert_eq!(full * TOKENS * model.mechanism.kept(), cached, "cache of {one}");
    }
}

#[test]
fn a_model_of_text_and_images_is_read_as_far_as_its_text_goes() {
    let gemma = experiments::model("Gemma-3-27B").unwrap();
    let window = gemma.window.unwrap();
    assert_eq!((window.tokens, window.layers, gemma.layers), (1024, 52, 62));
}
