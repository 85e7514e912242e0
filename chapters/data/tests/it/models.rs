//! The sizes of caches that the literature and the models' users quote.

use minilm::models::{all, find};

/// 16-bit numbers.
const HALF: u64 = 2;
const KIB: u64 = 1024;

#[test]
fn bytes_a_token_are_those_that_are_quoted() {
    for (name, bytes) in [
        ("GPT-3 175B", 4608 * KIB),
        ("Llama-2-7B", 512 * KIB),
        ("Llama-2-13B", 800 * KIB),
        ("Llama-2-70B", 320 * KIB),
        ("Llama-3-8B", 128 * KIB),
        ("Llama-3-70B", 320 * KIB),
        ("Llama-3.1-405B", 516_096),
        ("Mistral-7B", 128 * KIB),
        ("Gemma-2B", 18 * KIB),
        ("Gemma-7B", 448 * KIB),
    ] {
        let model = find(name).unwrap();
        assert_eq!(model.cache_bytes_per_token(HALF), bytes, "{name}");
    }
    assert_eq!(find("DeepSeek-67B").unwrap().cache_bytes_per_token(1), 194_560);
}

#[test]
fn a_window_caps_the_cache() {
    let mistral = find("Mistral-7B").unwrap();
    for tokens in [4096, 4097, 1 << 20] {
        assert_eq!(mistral.cache_bytes(tokens, HALF), 512 * KIB * KIB, "{tokens}");
    }
    assert_eq!(mistral.cache_bytes(4095, HALF), 4095 * 128 * KIB);
    let gemma = find("Gemma-2-9B").unwrap();
    let per_layer = gemma.cache_bytes_per_token(HALF) / gemma.layers;
    assert_eq!(gemma.cache_bytes(8192, HALF), per_layer * 21 * (8192 + 4096));
}

#[test]
fn without_a_window_the_cache_grows_by_the_same_for_each_token() {
    for model in all().unwrap().iter().filter(|model| model.window.is_none()) {
        let full = model.context * model.cache_bytes_per_token(HALF);
        assert_eq!(model.cache_bytes(model.context, HALF), full, "{}", model.name);
    }
}

#[test]
fn names_are_told_apart_and_every_model_says_where_it_comes_from() {
    let models = all().unwrap();
    for (i, model) in models.iter().enumerate() {
        assert!(models[..i].iter().all(|other| other.name != model.name));
        assert!(model.source.len() > 10, "{}", model.name);
    }
    assert!(find("No such model").is_err());
}
