//! Against Transformers: one random layer of every kind and with every rotation, made by the
//! script in `tests/reference`, through the chapter's program as a reader runs it.

use chapter_cli::Tensors;
use chapter_cli::testing::{Program, Reference, assert_close, references};
use decoder_layer::experiments::Real;

const LAYER: Program = Program::new(env!("CARGO_BIN_EXE_decoder-layer"));

/// Both sides compute in f32 and add in another order; outputs are at most about 15, and
/// theirs take angles in f32, too.
const TOLERANCE: f32 = 1e-4;

fn all() -> Vec<Reference> {
    let all = references(env!("CARGO_MANIFEST_DIR"));
    assert!(all.len() >= 41, "{} files: run make.py", all.len());
    all
}

fn run(reference: &Reference, more: &str) -> Tensors {
    let line = format!(
        "forward --input layer --output out --config config.json --layer {} {more}",
        reference.note("layer")
    );
    let config = reference.note("config").as_bytes();
    let files = [("layer", &reference.bytes[..]), ("config.json", config)];
    let ran = LAYER.run_beside(&files, &line);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{}", reference.name);
    ran.tensors("out")
}

#[track_caller]
fn agrees(reference: &Reference, more: &str) {
    let [found, wanted] =
        [&run(reference, more), &reference.file].map(|file| file.matrix("y").unwrap());
    assert_close(&format!("{} {more}", reference.name), &found, &wanted, TOLERANCE);
}

#[test]
fn layers_of_every_kind_agree_with_transformers() {
    for reference in all() {
        agrees(&reference, "");
    }
}

#[test]
fn they_agree_without_weights_too() {
    for reference in all() {
        agrees(&reference, "--no-weights");
    }
}

#[test]
fn through_the_cache_the_output_is_the_same_for_any_split() {
    for (i, reference) in all().iter().enumerate() {
        let is_encoder = reference.name == "bert";
        for prompt in [(5 * i) % 13, (7 * i + 3) % 13] {
            if !is_encoder {
                agrees(reference, &format!("--cache {prompt}"));
            }
        }
    }
}

/// Every kind that is known and has heads that share keys is among the files.
#[test]
fn no_kind_is_left_out() {
    let latent = ["deepseek_v2", "deepseek_v3", "kimi_k2", "minicpm3", "mistral4"];
    // What a model of text and images says of its text: Qwen2's layers.
    let text = ["qwen2_vl_text", "qwen2_5_vl_text"];
    let all = all();
    let has = |kind: &str| {
        let named = format!("\"model_type\": \"{kind}\"");
        all.iter().any(|reference| reference.note("config").contains(&named))
    };
    for kind in checkpoint::known() {
        let excused = latent.contains(&kind) || text.contains(&kind);
        assert!(excused || has(kind), "no layer of kind {kind}: add it to make.py");
    }
}

/// The head that a page draws from is the one that the slice gives; three decimals of each
/// number are kept.
#[test]
fn the_kept_head_is_that_of_the_slice() {
    let (kept, slice) = (Real::kept().unwrap(), Real::load().unwrap());
    assert_eq!(kept.tokens, slice.tokens);
    for (kept, slice) in kept.queries_and_keys().iter().zip(slice.queries_and_keys()) {
        assert_close("head.csv", kept, &slice, 6e-4);
    }
}
