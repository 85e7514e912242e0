//! The chapter through its binary, as a reader runs it: what it prints, what it makes of
//! the reference files, and what it says to inputs that it cannot use.

use chapter_cli::testing::{Contract, Dtype, File, Program, references, references_in};
use std::fs;
use std::path::Path;

const LATENT: Program = Program::new(env!("CARGO_BIN_EXE_latent"));
const FORWARD: &str =
    "forward --input layer --output out --heads 3 --nope-dim 4 --rope-dim 2 --v-dim 5";

const ABSORBED: &str = "forward --input layer --output out --heads 3 --nope-dim 4 \
                        --rope-dim 2 --v-dim 5 --absorb";

/// Three heads of 4 + 2 with values of 5, latents of 7 and 3, tokens of 6.
fn low_rank_layer() -> File {
    File::new()
        .linear("q_a_proj", [3, 6])
        .f32s("q_a_layernorm.weight", &[3])
        .linear("q_b_proj", [18, 3])
        .linear("kv_a_proj_with_mqa", [9, 6])
        .f32s("kv_a_layernorm.weight", &[7])
        .linear("kv_b_proj", [27, 7])
        .linear("o_proj", [6, 15])
        .f32s("x", &[4, 6])
}

fn full_layer() -> File {
    let names = ["q_a_proj.weight", "q_a_proj.bias", "q_a_layernorm.weight"];
    let names = names.iter().chain(&["q_b_proj.weight", "q_b_proj.bias"]);
    let rest = names.fold(low_rank_layer(), |file, name| file.without(name));
    rest.f32s("q_proj.weight", &[18, 6])
}

fn masked(file: File, shape: &[usize]) -> File {
    file.with("mask", Dtype::BOOL, shape)
}

#[test]
fn what_every_chapter_promises_is_kept_in_both_forms() {
    for command in [FORWARD, ABSORBED] {
        // Without it, a file should have the queries in one piece.
        let low_rank = Contract::new(LATENT, command, low_rank_layer());
        low_rank.may_lack("q_a_proj.weight").is_kept();
    }
}

#[test]
fn it_is_kept_with_queries_in_one_piece_and_a_mask() {
    for command in [FORWARD, ABSORBED] {
        Contract::new(LATENT, command, masked(full_layer(), &[4, 4])).is_kept();
    }
}

#[test]
fn without_a_word_it_shows_the_example_and_the_caches() {
    let printed = LATENT.example();
    assert!(printed.starts_with("W_Q: two heads of [2 | 2]\n"), "{printed}");
    let last = "latent                     576     34,560\n";
    assert!(printed.ends_with(last), "{printed}");
}

#[test]
fn forward_reproduces_every_reference_file_in_both_forms() {
    let all = references(env!("CARGO_MANIFEST_DIR"));
    assert_eq!(all.len(), 13);
    for reference in all {
        let flags = reference.note("flags");
        LATENT.reproduces(&reference, flags, 3e-5);
        LATENT.reproduces(&reference, &format!("{flags} --absorb"), 3e-5);
    }
}

#[test]
fn theta_is_10000_unless_said_otherwise() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = fs::read(path.join("tests/reference/long.safetensors")).unwrap();
    let sizes = "--heads 4 --nope-dim 4 --rope-dim 8 --v-dim 4 --causal";
    let y = |flags: &str| {
        let forward = format!("forward --input layer --output out {sizes} {flags}");
        LATENT.writes(&file[..], &forward).matrix("y").unwrap()
    };
    assert_eq!(y(""), y("--rope-theta 10000"));
    assert_ne!(y(""), y("--rope-theta 500000"));
}

#[test]
fn layers_that_do_not_fit_get_one_clear_line_in_both_forms() {
    let refuses = |file: File, says: &str| {
        for command in [FORWARD, ABSORBED] {
            LATENT.refuses(file.clone(), command, says);
        }
    };
    for (name, shape, says) in [
        ("q_a_proj", [4, 6], "q_a_layernorm.weight: shape [3], wanted [4]"),
        ("q_b_proj", [12, 3], "q_b_proj.weight: shape [12, 3], wanted [18, 3]"),
        ("q_b_proj", [18, 4], "q_b_proj.weight: shape [18, 4], wanted [18, 3]"),
        ("kv_a_proj_with_mqa", [7, 6], "wanted [9, 6], because the latent"),
        ("kv_a_proj_with_mqa", [9, 5], "shape [9, 5], wanted [9, 6]"),
        ("kv_b_proj", [24, 7], "kv_b_proj.weight: shape [24, 7], wanted [27, 7]"),
        ("kv_b_proj", [27, 6], "shape [9, 6], wanted [8, 6]"),
        ("o_proj", [6, 12], "o_proj.weight: shape [6, 12], wanted [6, 15]"),
    ] {
        let bare = low_rank_layer().without(&format!("{name}.bias"));
        refuses(bare.f32s(&format!("{name}.weight"), &shape), says);
    }
    for (norm, rank) in [("q_a_layernorm", 3), ("kv_a_layernorm", 7)] {
        let weight = format!("{norm}.weight");
        let says = format!("{weight}: shape [{}], wanted [{rank}], because", rank + 1);
        refuses(low_rank_layer().f32s(&weight, &[rank + 1]), &says);
        refuses(low_rank_layer().f32s(&weight, &[1, rank]), "wanted [length]");
    }
    let whole = "no tensor `q_proj.weight`";
    refuses(low_rank_layer().without("q_a_proj.weight"), whole);
    refuses(full_layer().f32s("q_proj.weight", &[12, 6]), "wanted [18, 6]");
    let both = low_rank_layer().f32s("q_proj.weight", &[18, 6]);
    refuses(both, "a layer has one of them");
}

#[test]
fn sequences_that_do_not_fit_get_one_clear_line() {
    let layer = low_rank_layer;
    for (file, says) in [
        (layer().f32s("x", &[3, 0]), "a token has at least one feature"),
        (layer().f32s("context", &[4, 6]), "the file holds a context"),
        (layer().f32s("mask", &[4, 4]), "wanted BOOL"),
        (masked(layer(), &[4, 3]), "wanted [4, 4]"),
        (masked(layer(), &[2, 4, 4]), "x is one sequence"),
    ] {
        LATENT.refuses(file, FORWARD, says);
    }
    let says = "--causal and a mask in the file: give one";
    let causal = format!("{FORWARD} --causal");
    LATENT.refuses(masked(layer(), &[4, 4]), &causal, says);
}

#[test]
fn sizes_and_rotations_that_are_none_get_one_clear_line() {
    for given in ["--heads 3", "--nope-dim 4", "--rope-dim 2", "--v-dim 5"] {
        let (flag, _) = given.split_once(' ').unwrap();
        for (other, says) in [
            ("0".to_owned(), "each has to be at least 1"),
            ("7".to_owned(), "wanted"),
            (usize::MAX.to_string(), "wanted"),
        ] {
            let flags = FORWARD.replace(given, &format!("{flag} {other}"));
            LATENT.refuses(low_rank_layer(), &flags, says);
        }
    }
    let odd = low_rank_layer()
        .without("kv_a_proj_with_mqa.bias")
        .f32s("kv_a_proj_with_mqa.weight", &[10, 6])
        .f32s("o_proj.weight", &[6, 18]);
    let (files, _) = FORWARD.split_once(" --heads").unwrap();
    let sizes = "--heads 3 --nope-dim 3 --rope-dim 3 --v-dim 6";
    LATENT.refuses(odd, &format!("{files} {sizes}"), "--rope-dim 3");
    for theta in ["0", "-3", "NaN", "inf"] {
        let flags = format!("{FORWARD} --rope-theta={theta}");
        LATENT.refuses(low_rank_layer(), &flags, "--rope-theta");
    }
    for (flags, says) in
        [("--rope-theta far", "--rope-theta"), ("--kv-heads 2", "--kv-heads")]
    {
        LATENT.refuses_flags(&format!("{FORWARD} {flags}"), says);
    }
}

#[test]
fn halves_turn_together_where_the_flag_says_so() {
    let all = references_in(env!("CARGO_MANIFEST_DIR"), "tests/cases");
    assert_eq!(all.len(), 1);
    for reference in all {
        LATENT.reproduces(&reference, reference.note("flags"), 2e-5);
        let absorbed = format!("{} --absorb", reference.note("flags"));
        LATENT.reproduces(&reference, &absorbed, 2e-5);
    }
}

#[test]
fn a_configuration_sets_the_flags() {
    let mut names = LATENT.follows_configurations(env!("CARGO_MANIFEST_DIR"), 2e-5);
    names.sort();
    assert_eq!(
        names,
        [
            "deepseek_v2",
            "deepseek_v2-yarn",
            "deepseek_v3",
            "deepseek_v3-llama3",
            "deepseek_v3-yarn",
            "kimi_k2",
            "minicpm3",
            "minicpm3-longrope",
            "mistral4",
            "mistral4-halves",
        ]
    );
}

#[test]
fn layers_that_the_chapter_lacks_are_refused_by_key_and_value() {
    for (config, layer, says) in [
        (
            r#"{"model_type": "deepseek_v3", "rope_scaling": {"rope_type": "yarn", "factor": 40, "attn_factor": 1.0}}"#,
            0,
            "`rope_parameters.attn_factor` is 1.0: no rotation of type yarn has it",
        ),
        (
            r#"{"model_type": "mistral4", "rope_parameters": {"rope_type": "default", "llama_4_scaling_beta": 0.1, "original_max_position_embeddings": 8192}}"#,
            0,
            "a model of type mistral4 runs with a scaled rotation alone",
        ),
        (
            r#"{"model_type": "llama"}"#,
            0,
            "`model_type` is llama: its layers have no latent; chapter 6 (rotary) has \
             such layers",
        ),
    ] {
        LATENT.refuses_layer(config, layer, says);
    }
}
