//! The chapter through its binary, as a reader runs it.

use chapter_cli::Tensors;
use chapter_cli::testing::{Contract, Dtype, File, Program, references};
use insta::assert_snapshot;

const GROUPED_QUERY: Program = Program::new(env!("CARGO_BIN_EXE_grouped-query"));
const FORWARD: &str = "forward --input layer --output out --heads 8 --kv-heads 4";
const CONVERT: &str = "convert --input layer --output out --heads 8 --kv-heads 4";

/// Eight heads of 2 on 16 features, four key/value heads, with biases, and three tokens.
fn layer() -> File {
    layer_with(8)
}

fn layer_with(kv_width: usize) -> File {
    File::new()
        .linear("q_proj", [16, 6])
        .linear("k_proj", [kv_width, 6])
        .linear("v_proj", [kv_width, 6])
        .linear("o_proj", [6, 16])
        .f32s("x", &[3, 6])
}

#[test]
fn what_every_chapter_promises_is_kept() {
    Contract::new(GROUPED_QUERY, FORWARD, layer()).is_kept();
    let crossed = layer().f32s("context", &[4, 6]).with("mask", Dtype::BOOL, &[3, 4]);
    Contract::new(GROUPED_QUERY, FORWARD, crossed).is_kept();
}

#[test]
fn convert_keeps_what_is_promised_of_files_flags_and_tensors() {
    let pooled = ["k_proj.weight", "k_proj.bias", "v_proj.weight", "v_proj.bias"];
    let convert =
        Contract::new(GROUPED_QUERY, CONVERT, layer_with(16)).reading(&pooled);
    convert.help_names_what_it_reads();
    convert.tells_of_what_is_not_a_number();
    convert.refuses_bad_files();
    convert.refuses_bad_paths();
    convert.refuses_wrong_values_of_flags();
    convert.refuses_other_flags();
    convert.refuses_other_ranks();
    convert.refuses_other_dtypes();
    convert.refuses_biases_of_other_lengths();
    convert.answers_or_refuses_other_sizes();
}

#[test]
fn without_a_word_it_shows_the_example_and_the_errors() {
    let printed = GROUPED_QUERY.example();
    assert!(printed.starts_with("W_Q: four heads of width 1\n"), "{printed}");
    assert!(printed.contains("0.79    1.15"), "{printed}");
}

#[test]
fn forward_reproduces_every_reference_file() {
    let all = references(env!("CARGO_MANIFEST_DIR"));
    assert_eq!(all.len(), 18);
    for reference in all {
        GROUPED_QUERY.reproduces(&reference, reference.note("flags"), 2e-5);
    }
}

#[test]
fn layers_that_do_not_fit_get_one_clear_line() {
    for (proj, rows, columns) in
        [("q_proj", 16, 6), ("k_proj", 8, 6), ("v_proj", 8, 6), ("o_proj", 6, 16)]
    {
        let taller = layer().f32s(&format!("{proj}.weight"), &[rows + 1, columns]);
        GROUPED_QUERY.refuses(taller, FORWARD, proj);
    }
    for (proj, shape, says) in [
        ("q_proj", [16, 7], "x: expected (3, 7), found (3, 6)"),
        ("k_proj", [8, 7], "v_proj.weight: shape [8, 6], wanted [8, 7]"),
        ("v_proj", [8, 7], "v_proj.weight: shape [8, 7], wanted [8, 6]"),
        ("o_proj", [6, 17], "o_proj.weight: shape [6, 17], wanted [6, 16]"),
    ] {
        let file = layer().f32s(&format!("{proj}.weight"), &shape);
        GROUPED_QUERY.refuses(file, FORWARD, says);
    }
    let says = "k_proj.weight: shape [16, 6], wanted [8, 6], because a key/value";
    GROUPED_QUERY.refuses(layer_with(16), FORWARD, says);
}

#[test]
fn sequences_that_do_not_fit_together_get_one_clear_line() {
    let masked = |shape: &[usize]| layer().with("mask", Dtype::BOOL, shape);
    for (file, says) in [
        (layer().f32s("x", &[3, 0]), "a token has at least one feature"),
        (layer().f32s("context", &[4, 5]), "context: expected (4, 6)"),
        (layer().f32s("context", &[2, 4, 6]), "x is one sequence"),
        (masked(&[3, 4]), "wanted [3, 3]"),
        (masked(&[2, 3, 3]), "x is one sequence"),
    ] {
        GROUPED_QUERY.refuses(file, FORWARD, says);
    }
    let says = "--causal and a mask in the file: give one";
    GROUPED_QUERY.refuses(masked(&[3, 3]), &format!("{FORWARD} --causal"), says);
}

#[test]
fn heads_that_form_no_groups_get_one_clear_line() {
    for (heads, kv_heads) in [(0, 0), (0, 4), (8, 0), (8, 3), (4, 8), (7, 2), (1, 2)] {
        let flags = format!("--heads {heads} --kv-heads {kv_heads}");
        let says =
            format!("{flags}: {heads} query heads cannot form {kv_heads} equal groups");
        for command in [FORWARD, CONVERT] {
            let command = command.replace("--heads 8 --kv-heads 4", &flags);
            GROUPED_QUERY.refuses(layer(), &command, &says);
        }
    }
    for (flags, says) in [
        ("--heads 5 --kv-heads 5", "q_proj: width 16"),
        ("--heads 16 --kv-heads 4", "k_proj.weight: shape"),
    ] {
        let forward = FORWARD.replace("--heads 8 --kv-heads 4", flags);
        GROUPED_QUERY.refuses(layer(), &forward, says);
    }
}

#[test]
fn flags_of_one_command_are_not_those_of_the_other() {
    for (command, flags, says) in [
        (CONVERT, "--method median", "median"),
        (CONVERT, "--seed x", "seed"),
        (CONVERT, "--causal", "--causal"),
        (FORWARD, "--method mean", "--method"),
    ] {
        GROUPED_QUERY.refuses_flags(&format!("{command} {flags}"), says);
    }
}

#[test]
fn checkpoints_that_are_not_multi_head_are_not_converted() {
    for proj in ["k_proj", "v_proj"] {
        let (weight, bias) = (format!("{proj}.weight"), format!("{proj}.bias"));
        let odd = layer_with(16).without(&bias).f32s(&weight, &[18, 6]);
        let says = format!("{weight}: shape [18, 6], wanted [24, 6]");
        GROUPED_QUERY.refuses(odd, CONVERT, &says);
    }
    let why = "because a multi-head layer has as wide keys as queries";
    let says = format!("k_proj.weight: shape [8, 6], wanted [16, 6], {why}");
    GROUPED_QUERY.refuses(layer_with(8), CONVERT, &says);
    let nothing_else = File::new().f32s("x", &[3, 6]);
    GROUPED_QUERY.refuses(nothing_else, CONVERT, "no tensor `k_proj.weight`");
    let elsewhere = format!("{CONVERT} --prefix model.layers.7.");
    GROUPED_QUERY.refuses(layer_with(16), &elsewhere, "_proj.weight`");
}

/// A checkpoint of two multi-head layers of four heads, in BF16, with much else.
fn checkpoint() -> File {
    let mut file = File::new()
        .with("model.embed_tokens.weight", Dtype::BF16, &[5, 4])
        .with("model.position_ids", Dtype::I64, &[1, 3])
        .with("model.flags", Dtype::BOOL, &[3])
        .f32s("model.norm.weight", &[4])
        .f32s("model.layers.0.k_proj_norm.weight", &[4])
        .noting("format", "pt")
        .noting("note", "kept");
    for layer in 0..2 {
        for proj in ["q_proj", "k_proj", "v_proj", "o_proj"] {
            let name = format!("model.layers.{layer}.self_attn.{proj}");
            file = file
                .with(&format!("{name}.weight"), Dtype::BF16, &[4, 4])
                .f32s(&format!("{name}.bias"), &[4]);
        }
    }
    file
}

/// Runs convert on the checkpoint and gives what it printed, and both files.
fn converted(flags: &str) -> (String, Tensors, Tensors) {
    let files = "--input mha.safetensors --output gqa.safetensors";
    let convert = format!("convert {files} {flags}");
    let ran = GROUPED_QUERY.run_on("mha.safetensors", checkpoint(), &convert);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let [before, after] =
        ["mha.safetensors", "gqa.safetensors"].map(|name| ran.tensors(name));
    (ran.stdout, before, after)
}

fn is_pooled(name: &str) -> bool {
    name.contains(".k_proj.") || name.contains(".v_proj.")
}

#[test]
fn convert_pools_a_whole_checkpoint_and_keeps_the_rest_to_the_bit() {
    let (stdout, before, after) = converted("--heads 4 --kv-heads 2");
    assert_snapshot!("converted", stdout);
    assert_eq!(before.names(), after.names());
    assert_eq!(before.metadata(), after.metadata());
    for name in before.names() {
        let (old, new) = (before.raw(&name).unwrap(), after.raw(&name).unwrap());
        assert_eq!(old.dtype, new.dtype, "{name}");
        if is_pooled(&name) {
            assert_eq!(new.shape[0] * 2, old.shape[0], "{name}");
            assert_eq!(new.shape[1..], old.shape[1..], "{name}");
        } else {
            assert_eq!(old, new, "{name}");
        }
    }
    // Of -3 in row 0 and 1 in row 1.
    let weight = after.matrix("model.layers.0.self_attn.k_proj.weight").unwrap();
    assert_eq!(weight[(0, 0)], -1.0);
    // -3, -2, -1, 0 to their means in pairs.
    let bias = after.vector("model.layers.1.self_attn.v_proj.bias").unwrap();
    assert_eq!(bias.as_slice(), [-2.5, -0.5]);
}

#[test]
fn convert_behind_a_prefix_leaves_the_other_layers() {
    let flags = "--heads 4 --kv-heads 1 --method first --prefix model.layers.1.";
    let (_, before, after) = converted(flags);
    for name in before.names() {
        let same = before.raw(&name).unwrap() == after.raw(&name).unwrap();
        assert_eq!(
            same,
            !(name.starts_with("model.layers.1.") && is_pooled(&name)),
            "{name}"
        );
    }
    let bytes = |file: &Tensors| {
        file.raw("model.layers.1.self_attn.k_proj.weight").unwrap().bytes.to_vec()
    };
    assert_eq!(bytes(&after), bytes(&before)[..8]);
}

#[test]
fn convert_at_random_follows_the_seed() {
    let weight = |seed: u8| {
        let flags = format!("--heads 4 --kv-heads 2 --method random --seed {seed}");
        let (_, _, after) = converted(&flags);
        let of = |proj| {
            let name = format!("model.layers.0.self_attn.{proj}.weight");
            after.raw(&name).unwrap().bytes.to_vec()
        };
        (of("k_proj"), of("v_proj"))
    };
    let (first, second) = (weight(1), weight(2));
    assert_eq!(first, weight(1));
    assert_ne!(first, second);
    assert_ne!(first.0, first.1, "keys and values get numbers of their own");
}

#[test]
fn as_many_groups_as_heads_change_nothing() {
    for method in ["mean", "first"] {
        let flags = format!("--heads 4 --kv-heads 4 --method {method}");
        let (_, before, after) = converted(&flags);
        for name in before.names() {
            assert_eq!(before.raw(&name).unwrap(), after.raw(&name).unwrap(), "{name}");
        }
    }
}

#[test]
fn what_convert_writes_runs_as_a_grouped_layer() {
    let convert = CONVERT.replace("--kv-heads 4", "--kv-heads 2");
    let grouped = GROUPED_QUERY.run(layer_with(16), &convert).holds("out").unwrap();
    let forward = FORWARD.replace("--kv-heads 4", "--kv-heads 2");
    let y = GROUPED_QUERY.writes(grouped, &forward).matrix("y").unwrap();
    assert_eq!(y.shape(), (3, 6));
}

#[test]
fn an_input_may_be_converted_in_place() {
    let in_place = CONVERT.replace("--output out", "--output layer");
    let ran = GROUPED_QUERY.run(layer_with(16), &in_place);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert_eq!(ran.tensors("layer").shape("k_proj.weight").unwrap(), [8, 6]);
}

#[test]
fn a_layer_with_norms_and_sinks_is_not_computed_without_them() {
    let bytes = include_bytes!("../cases/m4-unknown.safetensors");
    let forward = "forward --input layer --output out --heads 4 --kv-heads 2";
    let says = "error: k_norm.weight: a norm on the keys, which chapter 11 (decoder-layer) \
                has; --ignore k_norm.weight goes on without it; not read either: q_norm.weight, sinks\n";
    GROUPED_QUERY.refuses(bytes, forward, says);
    let ignored =
        format!("{forward} --ignore k_norm.* --ignore q_norm.* --ignore sinks");
    let written = GROUPED_QUERY.writes(bytes, &ignored);
    assert_eq!(written.shape("y").unwrap(), [5, 16]);
}

#[test]
fn a_configuration_sets_the_flags() {
    let names = GROUPED_QUERY.follows_configurations(env!("CARGO_MANIFEST_DIR"), 2e-5);
    assert_eq!(names, ["smollm3"]);
}

#[test]
fn layers_that_the_chapter_lacks_are_refused_by_key_and_value() {
    for (config, layer, says) in [
        (
            r#"{"model_type": "llama", "num_attention_heads": 4, "num_key_value_heads": 2}"#,
            0,
            "`rope_theta` is 10000: its queries and keys rotate; chapter 6 (rotary) \
             has such layers",
        ),
        (
            r#"{"model_type": "olmo2"}"#,
            0,
            "its queries and keys are normed before they meet; chapter 11 (decoder-layer) has such layers",
        ),
        (
            r#"{"model_type": "deepseek_v3"}"#,
            0,
            "`kv_lora_rank` is 512: heads share a latent",
        ),
    ] {
        GROUPED_QUERY.refuses_layer(config, layer, says);
    }
}
