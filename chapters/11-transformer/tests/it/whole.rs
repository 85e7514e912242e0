//! The whole of `SmolLM2`, where there is one: `TRANSFORMER_MODEL` names a folder or a GGUF file.
//!
//! ```text
//! TRANSFORMER_MODEL=MODEL cargo test --release -p transformer -- --ignored whole
//! ```

use attention::Mask;
use checkpoint::Model;
use std::ops::ControlFlow;
use transformer::example::place;
use transformer::experiments::HEAD;
use transformer::projection::Precision;
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
