//! Against Transformers: the tiny models in `tests/reference`, made by the script there.

use crate::models::{DECODERS, decoder, decoder_as, expected, folder, open, tokens};
use attention::Mask;
use nalgebra::DMatrix;
use std::fs;
use std::ops::ControlFlow;
use transformer::encoder::pooled;
use transformer::kept::Precision;
use transformer::sampling::Sampler;
use transformer::watching::{Maps, watched};
use transformer::{Decoder, generate, loading};

/// Of the largest logit: both sides add in f32, in another order.
const TOLERANCE: f32 = 2e-5;

/// The largest difference, as a share of the largest number.
fn apart(ours: &DMatrix<f32>, theirs: &DMatrix<f32>) -> f32 {
    assert_eq!(ours.shape(), theirs.shape());
    let worst = (ours - theirs).iter().fold(0.0, |worst: f32, d| {
        if d.is_nan() { f32::INFINITY } else { worst.max(d.abs()) }
    });
    worst / theirs.amax()
}

/// Logits of all tokens, the first `prompt` at once and the others one by one.
fn logits(model: &Decoder, tokens: &[u32], prompt: usize) -> DMatrix<f32> {
    let mut caches = model.caches(tokens.len());
    let mut all = DMatrix::zeros(tokens.len(), model.vocab());
    let mut at = 0;
    let (first, rest) = tokens.split_at(prompt);
    for some in std::iter::once(first).chain(rest.chunks(1)) {
        let logits = model.logits(&model.forward(some, &mut caches).unwrap()).unwrap();
        all.rows_mut(at, some.len()).copy_from(&logits);
        at += some.len();
    }
    all
}

#[test]
fn logits_are_those_of_transformers_however_the_text_is_cut() {
    for name in DECODERS {
        let (model, expected) = (decoder(name), expected(name));
        let tokens = tokens(&expected, "tokens");
        let theirs = expected.matrix("logits").unwrap();
        for prompt in [1, tokens.len() / 2, tokens.len()] {
            let ours = logits(&model, &tokens, prompt.max(1));
            let apart = apart(&ours, &theirs);
            assert!(apart < TOLERANCE, "{name}, {prompt} at once: {apart}");
        }
    }
}

#[test]
fn greedy_text_is_that_of_transformers() {
    for name in DECODERS {
        let (model, expected) = (decoder(name), expected(name));
        let prompt = tokens(&expected, "tokens");
        let theirs = tokens(&expected, "greedy");
        let mut ours = Vec::new();
        generate(&model, &prompt, theirs.len(), &mut Sampler::greedy(), |token| {
            ours.push(token);
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(ours, theirs, "{name}");
    }
}

#[test]
fn a_watched_pass_gives_the_same_numbers() {
    for name in ["tied", "scaled", "wide-heads"] {
        let (model, expected) = (decoder(name), expected(name));
        let mut maps = Maps::default();
        let tokens = tokens(&expected, "tokens");
        let hidden =
            watched(&model, &tokens, &Mask::Causal { offset: 0 }, &mut maps).unwrap();
        let ours = model.logits(&hidden).unwrap();
        let apart = apart(&ours, &expected.matrix("logits").unwrap());
        assert!(apart < TOLERANCE, "{name}: {apart}");
        assert_eq!(maps.0.len(), model.blocks.len());
    }
}

/// Blocks of 24 random numbers have no outliers to spare, but few numbers over which
/// rounding could even out.
#[test]
fn fewer_bits_move_logits_a_little() {
    for (precision, most) in [(Precision::Bf16, 0.05), (Precision::Q8, 0.2)] {
        for name in DECODERS {
            let expected = expected(name);
            let tokens = tokens(&expected, "tokens");
            let theirs = expected.matrix("logits").unwrap();
            let model = decoder_as(name, precision);
            let ours = logits(&model, &tokens, tokens.len());
            let apart = apart(&ours, &theirs);
            assert!(apart < most, "{name} as {precision:?}: {apart}");
            assert!(apart > 1e-5, "{name} as {precision:?}: nothing was rounded");
        }
    }
}

#[test]
fn sentence_vectors_are_those_of_transformers() {
    let (model, expected) = (open("bert"), expected("bert"));
    let encoder = loading::encoder(model.config(), model.weights()).unwrap();
    let hidden = encoder.forward(&tokens(&expected, "tokens")).unwrap();
    let worst = apart(&hidden, &expected.matrix("hidden").unwrap());
    assert!(worst < TOLERANCE, "{worst}");
    let theirs = expected.vector("pooled").unwrap();
    assert!((pooled(&hidden) - theirs).amax() < TOLERANCE);
}

/// One model of each kind, with its windows, norms, experts and factors.
#[test]
fn logits_of_every_kind_are_those_of_transformers() {
    let kinds = fs::read_dir(folder("kinds")).unwrap();
    let kinds: Vec<String> = kinds
        .map(|kind| format!("kinds/{}", kind.unwrap().file_name().to_string_lossy()))
        .collect();
    assert!(kinds.len() > 20, "{kinds:?}");
    for name in &kinds {
        let (model, expected) = (decoder(name), expected(name));
        let tokens = tokens(&expected, "tokens");
        let theirs = expected.matrix("logits").unwrap();
        for prompt in [1, 6, tokens.len()] {
            let ours = logits(&model, &tokens, prompt);
            let apart = apart(&ours, &theirs);
            assert!(apart < 1e-4, "{name}, {prompt} at once: {apart}");
        }
    }
}
