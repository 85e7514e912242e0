//! Configurations that were good once give an answer or an error, and no panic.

use checkpoint::Config;
use proptest::prelude::*;
use serde_json::Value;
use std::sync::LazyLock;

/// One configuration of each kind that Transformers was asked about.
static GOOD: LazyLock<Vec<String>> = LazyLock::new(|| {
    let all: Value =
        serde_json::from_str(include_str!("../reference/kinds.json")).unwrap();
    let models = all["models"].as_array().unwrap();
    let mut kinds = std::collections::BTreeMap::new();
    for model in models {
        let kind = model["config"]["model_type"].to_string();
        kinds.entry(kind).or_insert_with(|| model["config"].to_string());
    }
    kinds.into_values().collect()
});

/// Asks for everything that a configuration can say.
fn read(text: &str) -> Result<(), checkpoint::ConfigError> {
    let config = Config::parse(text)?;
    let layers = config.layers()?;
    for layer in [0, 1, layers.saturating_sub(1), layers] {
        let _ = config.attention(layer);
    }
    let _ = (config.heads(), config.windows(), config.dtype());
    let _ = (config.sizes(), config.storage(2.0));
    Ok(())
}

#[test]
fn the_good_ones_are_read() {
    assert!(GOOD.len() >= 20, "{} kinds", GOOD.len());
    for text in GOOD.iter() {
        read(text).unwrap();
    }
}

#[test]
fn damaged_configurations_get_an_answer_or_one_line() {
    let good: Vec<&[u8]> = GOOD.iter().map(String::as_bytes).collect();
    proptest!(hostile::cases(), |(bytes in hostile::damaged(&good))| {
        if let Err(error) = read(&String::from_utf8_lossy(&bytes)) {
            let line = error.to_string();
            prop_assert!(!line.contains('\n') && line.len() < 600, "{line}");
        }
    });
}
