//! What does not fit is refused, and nothing is left half done.

use crate::models::{decoder, folder};
use crate::rewritten::{Tensors, rewritten};
use attention::{Mask, ShapeError};
use checkpoint::{Config, Weights};
use nalgebra::DMatrix;
use serde_json::{Value, json};
use std::fs;
use std::ops::ControlFlow;
use transformer::encoder::pooled;
use transformer::kept::Precision;
use transformer::loading::{self, LoadError};
use transformer::loss::{Sight, surprises};
use transformer::norms::{LayerNorm, RmsNorm};
use transformer::projection::Projection;
use transformer::sampling::{Sampler, SamplingError};
use transformer::{ModelError, generate};

#[test]
fn nothing_to_read_is_no_token() {
    let model = decoder("tied");
    assert_eq!(model.next(&[], &mut model.caches(3)), Err(ModelError::NoToken));
    assert_eq!(model.forward(&[], &mut model.caches(0)).unwrap().shape(), (0, 24));
    let nobody = |_| ControlFlow::Continue(());
    let none = generate(&model, &[], 5, &mut Sampler::greedy(), nobody);
    assert_eq!(none, Err(ModelError::NoToken));
    assert_eq!(
        surprises(&model, &[], Sight::All, |_| ControlFlow::Continue(())),
        Ok(vec![])
    );
    assert_eq!(
        surprises(&model, &[4], Sight::All, |_| ControlFlow::Continue(())),
        Ok(vec![])
    );
    assert_eq!(pooled(&DMatrix::zeros(3, 2)).norm(), 0.0);
}

#[test]
fn an_unknown_token_is_named() {
    let model = decoder("tied");
    let error = model.next(&[3, 61], &mut model.caches(3)).unwrap_err();
    assert_eq!(error.to_string(), "token 61: the vocabulary has 61 tokens, from 0 on");
}

#[test]
fn a_full_cache_takes_nothing() {
    let model = decoder("tied");
    let mut caches = model.caches(4);
    model.forward(&[1, 2, 3], &mut caches).unwrap();
    let before = caches.clone();
    let error = model.forward(&[4, 5], &mut caches).unwrap_err();
    assert!(error.to_string().contains("3 of 4 tokens"), "{error}");
    assert_eq!(caches, before);
    // Caches of unequal length, and too few of them.
    caches[0].clear();
    let odd = model.forward(&[4], &mut caches).unwrap_err();
    assert!(matches!(odd, ModelError::Caches { found: 2, blocks: 2 }), "{odd}");
    let few = model.forward(&[4], &mut caches[..1]).unwrap_err();
    assert!(matches!(few, ModelError::Caches { found: 1, blocks: 2 }), "{few}");
}

#[test]
fn shapes_that_do_not_fit_are_named() {
    let is = |error: ShapeError, said: &str| {
        assert!(error.to_string().contains(said), "{error}");
    };
    let x = DMatrix::zeros(2, 3);
    is(
        RmsNorm::new(vec![1.0; 4], 0.0).forward(&x).unwrap_err(),
        "one gain per feature",
    );
    is(
        LayerNorm::new(vec![1.0; 4], vec![0.0; 3], 0.0).unwrap_err(),
        "one bias for each gain",
    );
    let norm = LayerNorm::new(vec![1.0; 4], vec![0.0; 4], 0.0).unwrap();
    is(norm.forward(&x).unwrap_err(), "one gain per feature");
    let map = Projection::of(DMatrix::zeros(4, 2));
    is(map.forward(&x).unwrap_err(), "x: expected (2, 4), found (2, 3)");
    is(
        map.with_bias(vec![0.0; 3]).unwrap_err(),
        "one entry for each feature that leaves",
    );
    let model = decoder("tied");
    let mask = Mask::Allowed(DMatrix::from_element(2, 5, true));
    let error = model.forward_masked(&[1, 2], &mask, &mut model.caches(2)).unwrap_err();
    assert!(error.to_string().contains("mask"), "{error}");
}

#[test]
fn a_norm_of_zeros_is_zeros() {
    let norm = RmsNorm::new(vec![2.0; 3], 1e-5);
    assert_eq!(norm.forward(&DMatrix::zeros(2, 3)).unwrap(), DMatrix::zeros(2, 3));
}

#[test]
fn no_temperature_is_refused() {
    assert!(matches!(Sampler::new(-0.1, 1.0, 0), Err(SamplingError::Temperature(_))));
    assert!(matches!(
        Sampler::new(f32::NAN, 1.0, 0),
        Err(SamplingError::Temperature(_))
    ));
    for top_p in [0.0, -1.0, 1.1, f32::NAN] {
        assert!(matches!(Sampler::new(1.0, top_p, 0), Err(SamplingError::TopP(_))));
    }
    assert_eq!(Sampler::new(1.0, 1.0, 0).unwrap().pick(&[]), 0);
}

/// The decoder `tied` with other keys and tensors.
fn changed(
    config: impl FnOnce(&mut Value),
    tensors: impl FnOnce(&mut Tensors),
) -> Result<(), String> {
    let folder = folder("tied");
    let text = fs::read_to_string(folder.join("config.json")).unwrap();
    let mut keys: Value = serde_json::from_str(&text).unwrap();
    config(&mut keys);
    let bytes = rewritten(&folder.join("model.safetensors"), tensors);
    let config = Config::parse(&keys.to_string()).map_err(|error| error.to_string())?;
    let weights = Weights::parse("model", bytes).map_err(|error| error.to_string())?;
    let go_on = |_| ControlFlow::Continue(());
    let loaded = loading::decoder(&config, &weights, Precision::F32, go_on);
    loaded.map(|_| ()).map_err(|error| error.to_string())
}

#[test]
fn a_model_that_is_not_what_it_says_gets_one_line() {
    assert_eq!(changed(|_| {}, |_| {}), Ok(()));
    let refused = |config: fn(&mut Value), tensors: fn(&mut Tensors), said: &str| {
        let error = changed(config, tensors).unwrap_err();
        assert!(error.contains(said), "{said}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    };
    let same = |_: &mut Tensors| {};
    refused(|c| c["hidden_size"] = json!(32), same, "model.embed_tokens.weight");
    refused(|c| c["vocab_size"] = json!(62), same, "model.embed_tokens.weight");
    refused(|c| c["intermediate_size"] = json!(41), same, "gate_proj");
    refused(|c| c["num_hidden_layers"] = json!(3), same, "model.layers.2.");
    refused(|c| c["num_hidden_layers"] = json!(1), same, "would not read it");
    refused(
        |c| c["num_hidden_layers"] = json!(10_u64.pow(18)),
        same,
        "num_hidden_layers",
    );
    refused(|c| c["num_key_value_heads"] = json!(4), same, "k_proj.weight");
    refused(|c| c["attention_bias"] = json!(true), same, "q_proj.bias");
    refused(|c| c["tie_word_embeddings"] = json!(false), same, "lm_head.weight");
    refused(|c| c["model_type"] = json!("gemma2"), same, "post_feedforward_layernorm");
    refused(|c| c["model_type"] = json!("bert"), same, "`embed` runs it");
    refused(
        |c| {
            c["rope_parameters"] =
                json!({"rope_type": "strange", "factor": 2.0, "rope_theta": 1e4});
        },
        same,
        "rope_type",
    );
    refused(
        |_| {},
        |t| {
            t.insert(
                "model.layers.0.self_attn.q_norm.weight".into(),
                (vec![6], vec![1.0; 6]),
            );
        },
        "model.layers.0.self_attn.q_norm.weight: this model would not read it",
    );
    refused(
        |_| {},
        |t| t.get_mut("model.norm.weight").unwrap().1[3] = f32::NAN,
        "model.norm.weight: row 0 holds NaN",
    );
    refused(
        |_| {},
        |t| {
            t.remove("model.layers.1.mlp.up_proj.weight");
        },
        "model.layers.1.mlp.up_proj.weight",
    );
}

#[test]
fn reading_can_be_broken_off() {
    let model = crate::models::open("tied");
    let stop = |_| ControlFlow::Break(());
    let stopped =
        loading::decoder(model.config(), model.weights(), Precision::F32, stop);
    assert!(matches!(stopped, Err(LoadError::Stopped)));
}
