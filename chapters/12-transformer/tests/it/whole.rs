//! The whole of `SmolLM2`, where there is one: `TRANSFORMER_MODEL` names a folder or a GGUF file.
//!
//! ```text
//! TRANSFORMER_MODEL=MODEL cargo test --release -p transformer -- --ignored whole
//! ```

use assert_cmd::Command;
use attention::Mask;
use checkpoint::Model;
use nalgebra::DMatrix;
use serde_json::Value;
use std::ops::ControlFlow;
use transformer::example::place;
use transformer::experiments::HEAD;
use transformer::kept::Precision;
use transformer::sampling::Sampler;
use transformer::watching::{Maps, watched};
use transformer::{Decoder, generate, loading};

fn model() -> (Model, Decoder) {
    let path =
        std::env::var_os("TRANSFORMER_MODEL").expect("TRANSFORMER_MODEL names a model");
    let model = Model::open(path.as_ref()).unwrap();
    let go_on = |_| ControlFlow::Continue(());
    let decoder =
        loading::decoder(model.config(), model.weights(), Precision::F32, go_on)
            .unwrap();
    (model, decoder)
}

#[test]
#[ignore = "needs the whole model"]
fn whole_model_has_the_parameters_that_its_authors_count() {
    let (_, decoder) = model();
    let norms = (2 * decoder.blocks.len() + 1) * decoder.embedding.shape().0;
    assert_eq!(decoder.parameters() + norms, 134_515_008);
}

#[test]
#[ignore = "needs the whole model"]
fn whole_model_goes_on_with_paris() {
    let (model, decoder) = model();
    let tokenizer = model.tokenizer().unwrap();
    let prompt = tokenizer.encode("The capital of France is").unwrap();
    let mut text = String::new();
    let mut stream = tokenizer.stream();
    generate(&decoder, &prompt, 3, &mut Sampler::greedy(), |token| {
        text += &stream.push(token).unwrap();
        ControlFlow::Continue(())
    })
    .unwrap();
    assert!(text.starts_with(" Paris."), "{text}");
}

#[test]
#[ignore = "needs the whole model"]
fn whole_model_looks_at_the_animal() {
    let (model, decoder) = model();
    let tokenizer = model.tokenizer().unwrap();
    let mut found = Vec::new();
    for end in ["tired", "wide"] {
        let text =
            format!("The animal did not cross the street because it was too {end}.");
        let tokens = tokenizer.encode(&text).unwrap();
        let pieces: Vec<String> = tokens
            .iter()
            .map(|&token| tokenizer.decode(&[token]).unwrap().trim().to_owned())
            .collect();
        let mut maps = Maps::default();
        watched(&decoder, &tokens, &Mask::Causal { offset: 0 }, &mut maps).unwrap();
        let (it, animal) =
            (place(&pieces, "it").unwrap(), place(&pieces, "animal").unwrap());
        found.push(maps.0[13][HEAD][(it, animal)]);
    }
    assert!((found[0] - 0.70).abs() < 0.005, "{found:?}");
    assert_eq!(found[0], found[1]);
}

/// What Transformers made of it: `tests/reference/whole.py`.
fn expected() -> Value {
    serde_json::from_str(include_str!("../reference/whole.json")).unwrap()
}

fn numbers(list: &Value) -> Vec<f32> {
    let numbers = list.as_array().unwrap().iter();
    numbers.map(|number| number.as_f64().unwrap() as f32).collect()
}

/// The rows of logits of all tokens, the first `prompt` of which pass at once.
fn logits(model: &Decoder, tokens: &[u32], prompt: usize) -> DMatrix<f32> {
    let mut caches = model.caches(tokens.len());
    let (first, rest) = tokens.split_at(prompt.min(tokens.len()));
    let mut hidden = DMatrix::zeros(tokens.len(), model.embedding.shape().0);
    let mut at = 0;
    for some in std::iter::once(first).chain(rest.chunks(1)) {
        let part = model.forward(some, &mut caches).unwrap();
        hidden.rows_mut(at, some.len()).copy_from(&part);
        at += some.len();
    }
    hidden
}

#[test]
#[ignore = "needs the whole model"]
fn whole_model_has_the_logits_of_transformers() {
    let (model, decoder) = model();
    let text = std::fs::read_to_string(minilm::path("alice.txt")).unwrap();
    let tokens = model.tokenizer().unwrap().encode(&text).unwrap();
    let expected = expected();
    let step = expected["step"].as_u64().unwrap() as usize;
    for case in expected["logits"].as_array().unwrap() {
        let length = case["tokens"].as_u64().unwrap() as usize;
        let most = 2e-4 * case["largest"].as_f64().unwrap() as f32;
        for prompt in [length, length.saturating_sub(20).max(1)] {
            let hidden = logits(&decoder, &tokens[..length], prompt);
            for (row, theirs) in case["rows"].as_object().unwrap() {
                let row = hidden.rows(row.parse().unwrap(), 1).into_owned();
                let ours = decoder.logits(&row).unwrap();
                for (ours, theirs) in ours.iter().step_by(step).zip(numbers(theirs)) {
                    assert!((ours - theirs).abs() < most, "{length}: {ours}, {theirs}");
                }
            }
        }
    }
}

#[test]
#[ignore = "needs the whole model"]
fn whole_model_writes_what_transformers_writes() {
    let (model, decoder) = model();
    let tokenizer = model.tokenizer().unwrap();
    for case in expected()["written"].as_array().unwrap() {
        let text = case["prompt"].as_str().unwrap();
        let theirs = numbers(&case["greedy"]);
        let mut ours = Vec::new();
        let prompt = tokenizer.encode(text).unwrap();
        generate(&decoder, &prompt, theirs.len(), &mut Sampler::greedy(), |token| {
            ours.push(token as f32);
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(ours, theirs, "{text}");
    }
}

/// Each form of weights, and the memory that the program takes at most: 1.3 times that of
/// the weights.
#[cfg(target_os = "linux")]
#[test]
#[ignore = "needs the whole model"]
fn whole_model_is_in_memory_once() {
    let path = std::env::var("TRANSFORMER_MODEL").unwrap();
    let kinds =
        [("f32", Precision::F32), ("bf16", Precision::Bf16), ("q8", Precision::Q8)];
    for (name, precision) in kinds {
        let program = assert_cmd::cargo::cargo_bin("transformer");
        // VmHWM is the most that a process has had in memory so far.
        let script = "\"$@\" > /dev/null & while grep VmHWM /proc/$!/status; do \
                      sleep 0.01; done; wait $!";
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(program);
        command.args(["generate", "--model", &path, "--weights", name]);
        let output = command.args(["--prompt", "a b c", "--tokens", "40"]).unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let kilobytes = said.split_whitespace().filter_map(|word| word.parse().ok());
        let most: u64 = kilobytes.max().unwrap();
        let share = 1024.0 * most as f64 / precision.bytes_of(134_515_008) as f64;
        println!("{name}: {share:.2}");
        assert!(share < 1.3, "{name}: {share}");
    }
}
