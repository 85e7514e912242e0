//! The chapter through its binary, as a reader runs it.

use chapter_cli::testing::{
    Contract, Dtype, File, Program, assert_close, references, references_in,
};
use chapter_cli::{RawTensor, Tensors};
use insta::assert_snapshot;

const ROTARY: Program = Program::new(env!("CARGO_BIN_EXE_rotary"));
const FORWARD: &str = "forward --input layer --output out --heads 8 --kv-heads 4";
const PERMUTE: &str =
    "permute --input layer --output out --heads 8 --kv-heads 4 --to interleaved";

/// Eight heads of 4 on four, values of 2, on six features, with biases, and three tokens.
fn layer() -> File {
    File::new()
        .linear("q_proj", [32, 6])
        .linear("k_proj", [16, 6])
        .linear("v_proj", [8, 6])
        .linear("o_proj", [6, 16])
        .f32s("x", &[3, 6])
}

#[test]
fn what_every_chapter_promises_is_kept() {
    Contract::new(ROTARY, FORWARD, layer()).is_kept();
    let masked = layer().with("mask", Dtype::BOOL, &[3, 3]);
    Contract::new(ROTARY, FORWARD, masked).is_kept();
}

#[test]
fn permute_keeps_what_is_promised_of_files_flags_and_tensors() {
    let turned = ["q_proj.weight", "q_proj.bias", "k_proj.weight", "k_proj.bias"];
    // Either projection alone is a checkpoint, too, and any dtype may move.
    let permute = Contract::new(ROTARY, PERMUTE, layer()).reading(&turned);
    permute.help_names_what_it_reads();
    permute.refuses_bad_files();
    permute.refuses_bad_paths();
    permute.refuses_wrong_values_of_flags();
    permute.refuses_other_flags();
    permute.refuses_other_ranks();
    permute.answers_or_refuses_other_sizes();
}

#[test]
fn without_a_word_it_shows_the_example_and_the_shift() {
    let printed = ROTARY.example();
    assert!(printed.starts_with("x = q = k, before they turn\n"), "{printed}");
    assert!(printed.contains("scores, the first token at 1000\n"), "{printed}");
}

#[test]
fn forward_reproduces_every_reference_file() {
    let all = references(env!("CARGO_MANIFEST_DIR"));
    assert_eq!(all.len(), 20);
    // The tokens of `far` begin at another position than 0.
    for reference in all.iter().filter(|reference| reference.name != "far") {
        ROTARY.reproduces(reference, reference.note("flags"), 2e-4);
    }
}

#[test]
fn the_flags_say_how_it_turns() {
    let y = |flags: &str| {
        let ran = ROTARY.run(layer(), &format!("{FORWARD} {flags}"));
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
        ran.holds("out").unwrap()
    };
    let plain = y("");
    assert_eq!(y("--rope-theta 10000"), plain);
    assert_eq!(y("--rope-theta 1e4"), plain);
    assert_ne!(y("--rope-theta 500000"), plain);
    assert_ne!(y("--interleaved"), plain);
    assert_ne!(y("--causal"), plain);
    assert_ne!(y("--rope-scaling 8,1,4,16"), plain);
    assert_eq!(y("--rope-scaling=8,1,4,16"), y("--rope-scaling 8.0,1e0,4,16"));
}

#[test]
fn rotations_that_are_none_get_one_clear_line() {
    for theta in
        ["0", "-0", "-1", "-1e4", "nan", "-nan", "inf", "-inf", "1e999", "1e-300"]
    {
        for flag in ["--rope-theta ", "--rope-theta="] {
            let flags = format!("{FORWARD} {flag}{theta}");
            ROTARY.refuses(layer(), &flags, "--rope-theta: rope theta is");
        }
    }
    for scaling in [
        "0,1,4,16",
        "-8,1,4,16",
        "nan,1,4,16",
        "inf,1,4,16",
        "8,0,4,16",
        "8,-1,4,16",
        "8,4,4,16",
        "8,4,1,16",
        "8,1,nan,16",
        "8,1,inf,16",
        "8,1,4,0",
        "8,1,4,-16",
        "8,1,4,inf",
        "1e-300,1,4,16",
    ] {
        let flags = format!("{FORWARD} --rope-scaling {scaling}");
        ROTARY.refuses(layer(), &flags, "--rope-scaling: rope scaling: factor");
    }
    for flags in [
        "--rope-theta",
        "--rope-theta ten",
        "--rope-theta 10,000",
        "--rope-theta --causal",
        "--rope-theta 1 --rope-theta 2",
        "--rope-scaling",
        "--rope-scaling 8",
        "--rope-scaling 8,1,4",
        "--rope-scaling 8,1,4,16,2",
        "--rope-scaling 8,1,four,16",
        "--rope-scaling 8,,4,16",
        "--rope-scaling yarn,4,32",
        "--rope-scaling ntk,4",
        "--rope-scaling llama3",
        "--rope-scaling --causal",
        "--interleaved yes",
        "--theta 10000",
    ] {
        ROTARY.refuses_flags(&format!("{FORWARD} {flags}"), "--");
    }
    let odd = File::new()
        .f32s("q_proj.weight", &[24, 6])
        .f32s("k_proj.weight", &[12, 6])
        .f32s("v_proj.weight", &[8, 6])
        .f32s("o_proj.weight", &[6, 16])
        .f32s("x", &[3, 6]);
    let says = "--heads 8: a head of width 3 cannot be split into pairs";
    ROTARY.refuses(odd, FORWARD, says);
}

#[test]
fn layers_and_sequences_that_do_not_fit_get_one_clear_line() {
    for (proj, rows, columns) in
        [("q_proj", 32, 6), ("k_proj", 16, 6), ("v_proj", 8, 6), ("o_proj", 6, 16)]
    {
        let taller = layer().f32s(&format!("{proj}.weight"), &[rows + 1, columns]);
        ROTARY.refuses(taller, FORWARD, proj);
    }
    let wide = layer().without("k_proj.bias").f32s("k_proj.weight", &[32, 6]);
    let says = "k_proj.weight: shape [32, 6], wanted [16, 6], because a key/value";
    ROTARY.refuses(wide, FORWARD, says);
    let masked = |shape: &[usize]| layer().with("mask", Dtype::BOOL, shape);
    for (file, says) in [
        (layer().f32s("x", &[3, 0]), "a token has at least one feature"),
        (layer().f32s("context", &[4, 6]), "the file holds a context"),
        (masked(&[3, 4]), "wanted [3, 3]"),
        (masked(&[2, 3, 3]), "x is one sequence"),
    ] {
        ROTARY.refuses(file, FORWARD, says);
    }
    let says = "--causal and a mask in the file: give one";
    ROTARY.refuses(masked(&[3, 3]), &format!("{FORWARD} --causal"), says);
}

#[test]
fn heads_that_form_no_groups_get_one_clear_line() {
    for (heads, kv_heads) in [(0, 0), (0, 4), (8, 0), (8, 3), (4, 8), (7, 2), (1, 2)] {
        let flags = format!("--heads {heads} --kv-heads {kv_heads}");
        let says =
            format!("{flags}: {heads} query heads cannot form {kv_heads} equal groups");
        for command in [FORWARD, PERMUTE] {
            let command = command.replace("--heads 8 --kv-heads 4", &flags);
            ROTARY.refuses(layer(), &command, &says);
        }
    }
    let five = FORWARD.replace("--heads 8 --kv-heads 4", "--heads 5 --kv-heads 5");
    ROTARY.refuses(layer(), &five, "q_proj: width 32");
    ROTARY.refuses_flags(&PERMUTE.replace("interleaved", "meta"), "meta");
}

#[test]
fn bad_checkpoints_are_not_permuted() {
    for (proj, rows) in [("q_proj", 32), ("k_proj", 16)] {
        let (weight, bias) = (format!("{proj}.weight"), format!("{proj}.bias"));
        let shape = format!("{weight}: shape");
        let heads = "are --heads and --kv-heads those of the file?";
        for (file, says) in [
            (layer().f32s(&bias, &[rows, 1]), "wanted [out]"),
            (layer().f32s(&weight, &[rows + 1, 6]), &shape),
            (layer().f32s(&weight, &[0, 6]), &format!("{shape} [0, 6]")),
            (layer().f32s(&weight, &[rows / 2, 6]), heads),
        ] {
            ROTARY.refuses(file, PERMUTE, says);
        }
    }
    for name in ["x", "my_q_proj.weight"] {
        let file = File::new().f32s(name, &[32, 6]);
        ROTARY.refuses(file, PERMUTE, "no tensor `q_proj.weight`");
    }
    let elsewhere = format!("{PERMUTE} --prefix model.layers.7.");
    ROTARY.refuses(layer(), &elsewhere, "q_proj.weight`");
}

/// A checkpoint of two layers of eight heads of 4 on four, in BF16, with much else.
fn checkpoint() -> File {
    let mut file = File::new()
        .with("model.embed_tokens.weight", Dtype::BF16, &[5, 4])
        .with("model.position_ids", Dtype::I64, &[1, 3])
        .with("model.flags", Dtype::BOOL, &[3])
        .noting("format", "pt")
        .noting("note", "kept");
    for layer in 0..2 {
        for (proj, rows) in
            [("q_proj", 32), ("k_proj", 16), ("v_proj", 16), ("o_proj", 4)]
        {
            let name = format!("model.layers.{layer}.self_attn.{proj}");
            file = file
                .with(&format!("{name}.weight"), Dtype::BF16, &[rows, 4])
                .f32s(&format!("{name}.bias"), &[rows]);
        }
    }
    file
}

/// Runs permute on the checkpoint and gives what it printed, and both files.
fn permuted(flags: &str) -> (String, Tensors, Tensors) {
    let files = "--input halves.safetensors --output meta.safetensors";
    let permute = format!("permute {files} {flags}");
    let ran = ROTARY.run_on("halves.safetensors", checkpoint(), &permute);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let [before, after] =
        ["halves.safetensors", "meta.safetensors"].map(|name| ran.tensors(name));
    (ran.stdout, before, after)
}

const TO_META: &str = "--heads 8 --kv-heads 4 --to interleaved";

fn is_paired(name: &str) -> bool {
    name.contains(".q_proj.") || name.contains(".k_proj.")
}

#[test]
fn permute_moves_rows_of_a_whole_checkpoint_and_keeps_the_rest_to_the_bit() {
    let (stdout, before, after) = permuted(TO_META);
    assert_snapshot!("permuted", stdout);
    assert_eq!(before.names(), after.names());
    assert_eq!(before.metadata(), after.metadata());
    for name in before.names() {
        let (old, new) = (before.raw(&name).unwrap(), after.raw(&name).unwrap());
        assert_eq!((old.dtype, &old.shape), (new.dtype, &new.shape), "{name}");
        if !is_paired(&name) {
            assert_eq!(old.bytes, new.bytes, "{name}");
            continue;
        }
        // Rows 0, 1, 2, 3 of a head become 0, 2, 1, 3.
        let row = old.bytes.len() / old.shape[0];
        let rows =
            |bytes: &[u8]| bytes.chunks(row).map(<[u8]>::to_vec).collect::<Vec<_>>();
        let (old, new) = (rows(&old.bytes), rows(&new.bytes));
        for head in 0..old.len() / 4 {
            let moved = [0, 2, 1, 3].map(|from| old[head * 4 + from].clone());
            assert_eq!(new[head * 4..][..4], moved, "{name}, head {head}");
        }
    }
}

#[test]
fn permute_behind_a_prefix_leaves_the_other_layers() {
    let (_, before, after) = permuted(&format!("{TO_META} --prefix model.layers.1."));
    for name in before.names() {
        let same = before.raw(&name).unwrap() == after.raw(&name).unwrap();
        let moved = name.starts_with("model.layers.1.") && is_paired(&name);
        assert_eq!(same, !moved, "{name}");
    }
}

#[test]
fn a_permuted_layer_runs_interleaved_and_gives_the_same() {
    let pairs = ROTARY.run(layer(), PERMUTE).holds("out").unwrap();
    let causal = format!("{FORWARD} --causal");
    let y = |file: Tensors| file.matrix("y").unwrap();
    let expected = y(ROTARY.writes(layer(), &causal));
    let found = y(ROTARY.writes(pairs.clone(), &format!("{causal} --interleaved")));
    assert_close("y", &found, &expected, 1e-4);

    let back = ROTARY.run(pairs, &PERMUTE.replace("interleaved", "half-split"));
    let (before, after) =
        (Tensors::parse("layer", layer().bytes()), back.tensors("out"));
    let before = before.unwrap();
    for name in before.names() {
        assert_eq!(before.raw(&name).unwrap(), after.raw(&name).unwrap(), "{name}");
    }
}

#[test]
fn metas_names_are_known_and_any_dtype_may_move() {
    let eights = |rows: u8| {
        let bytes: Vec<u8> = (0..rows).collect();
        let (dtype, shape) = (Dtype::F8_E4M3, vec![rows.into(), 1]);
        RawTensor { dtype, shape, bytes: bytes.into() }
    };
    let meta = File::new()
        .with_raw("layers.0.attention.wq.weight", eights(32))
        .with_raw("layers.0.attention.wk.weight", eights(16))
        .with_raw("layers.0.attention.wv.weight", eights(16));
    let to_halves = "permute --input layer --output out --to half-split";
    let after = ROTARY.writes(meta, &format!("{to_halves} --heads 4 --kv-heads 2"));
    let bytes = |name: &str| {
        after.raw(&format!("layers.0.attention.{name}.weight")).unwrap().bytes.to_vec()
    };
    assert_eq!(bytes("wq")[..8], [0, 2, 4, 6, 1, 3, 5, 7]);
    assert_eq!(bytes("wk")[8..], [8, 10, 12, 14, 9, 11, 13, 15]);
    assert_eq!(bytes("wv"), (0..16).collect::<Vec<u8>>());
}

#[test]
fn an_input_may_be_permuted_in_place() {
    let ran = ROTARY.run(layer(), &PERMUTE.replace("--output out", "--output layer"));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert_eq!(ran.tensors("layer").shape("k_proj.weight").unwrap(), [16, 6]);
}

#[test]
fn a_decoders_attention_mask_means_what_it_means_in_transformers() {
    let all = references_in(env!("CARGO_MANIFEST_DIR"), "tests/masks");
    assert_eq!(all.len(), 3);
    for reference in all {
        ROTARY.reproduces(&reference, reference.note("flags"), 2e-5);
    }
}

#[test]
fn frequencies_in_the_file_are_those_of_the_flags_or_refused() {
    let numbers = |numbers: &[f32], dtype| {
        let tensor = RawTensor::of(dtype, vec![numbers.len()], numbers).unwrap();
        layer().with_raw("rotary_emb.inv_freq", tensor)
    };
    let plain = ROTARY.writes(layer(), FORWARD);
    for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
        let same = ROTARY.writes(numbers(&[1.0, 0.01], dtype), FORWARD);
        assert_eq!(same.raw("y").unwrap(), plain.raw("y").unwrap(), "{dtype}");
    }
    let slower = numbers(&[1.0, 500_000_f32.powf(-0.5)], Dtype::F32);
    let says = "rotary_emb.inv_freq: pair 1 turns by 0.0014142136 radians per token, and \
                by 0.01 as the flags have it";
    ROTARY.refuses(&slower, FORWARD, says);
    let _ = ROTARY.writes(&slower, &format!("{FORWARD} --rope-theta 500000"));
    let says = "rotary_emb.inv_freq: shape [4], wanted [2]";
    ROTARY.refuses(numbers(&[1.0; 4], Dtype::F32), FORWARD, says);
}

#[test]
fn positions_may_be_said_if_they_are_those_from_zero() {
    let at = |positions: [i64; 3]| {
        let bytes: Vec<u8> = positions.iter().flat_map(|p| p.to_le_bytes()).collect();
        let (dtype, shape) = (Dtype::I64, vec![1, 3]);
        let ids = RawTensor { dtype, shape, bytes: bytes.into() };
        layer().with_raw("position_ids", ids)
    };
    let same = ROTARY.writes(at([0, 1, 2]), FORWARD);
    let plain = ROTARY.writes(layer(), FORWARD);
    assert_eq!(same.raw("y").unwrap(), plain.raw("y").unwrap());
    let says = "position_ids: the tokens of x stand at 0, 1, 2, … here";
    ROTARY.refuses(at([1, 2, 3]), FORWARD, says);
}

#[test]
fn a_configuration_sets_the_flags() {
    let mut names = ROTARY.follows_configurations(env!("CARGO_MANIFEST_DIR"), 2e-5);
    names.sort();
    assert_eq!(
        names,
        [
            "cohere",
            "dynamic",
            "dynamic-long",
            "gemma",
            "glm",
            "glm4",
            "glm4-partial",
            "granite",
            "linear",
            "llama",
            "llama31",
            "longrope",
            "longrope-long",
            "mistral",
            "phi3",
            "proportional",
            "qwen2",
            "smollm3",
            "stablelm",
            "starcoder2",
            "yarn",
            "yarn-mscale",
        ]
    );
}

/// Configurations, a layer of each, and what is said of it.
const LACKS: [(&str, usize, &str); 13] = [
    (
        r#"{"model_type": "qwen3"}"#,
        0,
        "`model_type` is qwen3: its queries and keys are normed before they meet; \
             chapter 11 (decoder-layer) has such layers",
    ),
    (
        r#"{"model_type": "olmo2"}"#,
        0,
        "`model_type` is olmo2: its queries and keys are normed",
    ),
    (
        r#"{"model_type": "stablelm", "qk_layernorm": true, "partial_rotary_factor": 1.0}"#,
        0,
        "`qk_layernorm` is true: its queries and keys are normed",
    ),
    (
        r#"{"model_type": "gemma2"}"#,
        1,
        "`attn_logit_softcapping` is 50: its scores are bounded by a tanh",
    ),
    (
        r#"{"model_type": "gemma2", "query_pre_attn_scalar": 144}"#,
        1,
        "its scores are q · k · 0.083333, as query_pre_attn_scalar in the file or its default says, and here q · k / √256",
    ),
    (
        r#"{"model_type": "gemma3_text"}"#,
        5,
        "its queries and keys are normed before they meet",
    ),
    (
        r#"{"model_type": "granite"}"#,
        0,
        "its scores are q · k · 1.000000, as attention_multiplier in the file",
    ),
    (
        r#"{"model_type": "gpt_oss", "rope_scaling": {"rope_type": "default"}}"#,
        0,
        "`model_type` is gpt_oss: its heads have learned sinks; chapter 11 (decoder-layer) has such layers",
    ),
    (
        r#"{"model_type": "smollm3"}"#,
        3,
        "`model_type` is smollm3: its layer 3 does not rotate; chapter 5 \
             (grouped-query) has such layers",
    ),
    (
        r#"{"model_type": "bert"}"#,
        0,
        "`model_type` is bert: its layer 0 does not rotate; chapter 2 \
             (multi-head) has such layers",
    ),
    (
        r#"{"model_type": "deepseek_v2"}"#,
        0,
        "`kv_lora_rank` is 512: heads share a latent; chapter 7 (latent) has such \
             layers",
    ),
    (
        r#"{"model_type": "olmo", "clip_qkv": 8.0}"#,
        0,
        "`clip_qkv` is 8: its queries, keys and values are clipped; chapter 11 \
             (decoder-layer) has such layers",
    ),
    (
        r#"{"model_type": "llama", "clip_qkv": 8.0}"#,
        0,
        "`clip_qkv` is 8.0: Transformers reads no such key",
    ),
];

#[test]
fn layers_that_the_chapter_lacks_are_refused_by_key_and_value() {
    for (config, layer, says) in LACKS {
        ROTARY.refuses_layer(config, layer, says);
    }
}

#[test]
fn a_window_matters_where_it_is_shorter_than_the_sequence() {
    let [eight, two] = [8, 2].map(|window| {
        format!(
            r#"{{"model_type": "mistral", "hidden_size": 6, "num_attention_heads": 8,
                "num_key_value_heads": 4, "head_dim": 4, "sliding_window": {window}}}"#
        )
    });
    let line = "forward --input layer --output out --config config.json";
    let file = described_layer();
    let files = |config: &str| {
        ROTARY.run_beside(
            &[("layer", &file.bytes()), ("config.json", config.as_bytes())],
            line,
        )
    };
    assert_eq!(files(&eight).code, 0);
    let says = "config.json, layer 0: `sliding_window` is 2, and chapter 11 (decoder-layer) \
                has layers with windows; it makes a difference from 3 tokens on, and there are 3";
    ROTARY.refuses_config(&file, &two, line, says);
}

/// [`layer`] with values as wide as keys, and without biases.
fn described_layer() -> File {
    let shapes = [("q_proj", [32, 6]), ("k_proj", [16, 6]), ("v_proj", [16, 6])];
    let shapes = shapes.into_iter().chain([("o_proj", [6, 32])]);
    let file = File::new().f32s("x", &[3, 6]);
    shapes
        .fold(file, |file, (name, shape)| file.f32s(&format!("{name}.weight"), &shape))
}

#[test]
fn a_configuration_of_another_model_is_told_by_the_shapes() {
    let config = |more: &str| {
        format!(
            r#"{{"model_type": "llama", "hidden_size": 6, "num_attention_heads": 8,
                "num_key_value_heads": 4, "num_hidden_layers": 2 {more}}}"#
        )
    };
    let line = "forward --input layer --output out --config config.json";
    let refuses = |file: &File, more: &str, says: &str| {
        ROTARY.refuses_config(file, &config(more), line, says);
    };
    let file = described_layer();
    let says =
        "q_proj.weight: shape [32, 6], wanted [16, 6], because config.json says so";
    refuses(&file, r#", "head_dim": 2"#, says);
    let says = "`head_dim`, and 8 heads do not divide a `hidden_size` of 6";
    refuses(&file, "", says);
    let biased = file.clone().f32s("q_proj.bias", &[32]);
    let says = "q_proj.bias: as config.json says, the layer has no such bias; --ignore";
    refuses(&biased, r#", "head_dim": 4"#, says);
    let says = "no tensor `q_proj.bias`, which the layer has as config.json says";
    refuses(&file, r#", "head_dim": 4, "attention_bias": true"#, says);
    let flag = |flag: &str, says: &str| {
        let line = format!("{line} {flag}");
        ROTARY.refuses_config(&file, &config(r#", "head_dim": 4"#), &line, says);
    };
    flag(
        "--interleaved",
        "--interleaved, and config.json says no --interleaved of layer 0",
    );
    flag(
        "--rope-theta 5e5",
        "--rope-theta 5e5, and config.json says --rope-theta 10000",
    );
    flag("--rope-scaling 8,1,4,16", "and config.json says no --rope-scaling");
}

#[test]
fn a_layer_of_a_checkpoint_is_found_by_its_number() {
    let config = r#"{"model_type": "llama", "hidden_size": 6, "num_attention_heads": 8,
        "num_key_value_heads": 4, "head_dim": 4, "num_hidden_layers": 12}"#;
    let file = described_layer().behind("model.layers.1.self_attn.");
    let other = described_layer().behind("model.layers.11.self_attn.");
    let both = file.and(other.f32s("model.layers.11.self_attn.nonsense", &[1]));
    let line = "forward --input layer --output out --config config.json";
    let run = |more: &str| {
        let files = [("layer", &both.bytes()[..]), ("config.json", config.as_bytes())];
        ROTARY.run_beside(&files, &format!("{line} {more}"))
    };
    let found = run("--layer 1");
    assert_eq!((found.code, found.stderr.as_str()), (0, ""));
    let prefixed = run("--prefix model.layers.1.self_attn");
    assert!(
        prefixed.stdout.starts_with("layer 1 of config.json: --heads 8"),
        "{prefixed:?}"
    );
    assert_eq!(found.holds("out"), prefixed.holds("out"));
    assert!(run("--layer 11").stderr.contains("nonsense"));
    let says = "no tensor `q_proj.weight`";
    ROTARY.refuses_config(&both, config, &format!("{line} --layer 2"), says);
}

#[test]
fn a_mask_that_hides_the_future_goes_with_a_decoder() {
    let config = r#"{"model_type": "llama", "hidden_size": 6, "num_attention_heads": 8,
        "num_key_value_heads": 4, "head_dim": 4}"#;
    let line = "forward --input layer --output out --config config.json";
    let masked = |allowed: [u8; 9]| {
        let (dtype, shape) = (Dtype::BOOL, vec![3, 3]);
        let mask = RawTensor { dtype, shape, bytes: allowed.to_vec().into() };
        described_layer().with_raw("mask", mask)
    };
    let y = |file: &File| {
        let files = [("layer", &file.bytes()[..]), ("config.json", config.as_bytes())];
        let ran = ROTARY.run_beside(&files, line);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
        ran.tensors("out").matrix("y").unwrap()
    };
    let causal = y(&described_layer());
    assert_eq!(y(&masked([1, 0, 0, 1, 1, 0, 1, 1, 1])), causal);
    assert_ne!(y(&masked([1, 0, 0, 0, 1, 0, 1, 1, 1])), causal);
    let says = "the mask in the file lets tokens see later ones, and config.json says";
    ROTARY.refuses_config(&masked([1, 1, 0, 1, 1, 0, 1, 1, 1]), config, line, says);
}

#[test]
fn layers_that_differ_have_to_be_told_apart() {
    let config = r#"{"model_type": "smollm3"}"#;
    let line = "forward --input layer --output out --config config.json";
    let says =
        "config.json: its layers are not alike, layers 0 and 3 for example: say which";
    ROTARY.refuses_config(&File::new(), config, line, says);
}

/// A layer that PyTorch computed, rightly or with the slips that the file is named after
/// (tests/slips/make.py).
fn compared(file: &str) -> (i32, String) {
    let read = |name: &str| {
        let path = format!("{}/tests/slips/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(path).unwrap()
    };
    let (layer, yours) = (read("layer.safetensors"), read(file));
    let command =
        "compare --input layer --yours yours --heads 4 --kv-heads 2 --causal --json";
    let ran = ROTARY.run_beside(&[("layer", &layer), ("yours", &yours)], command);
    (ran.code, ran.stdout)
}

#[test]
fn slips_made_in_pytorch_are_named_from_the_output_alone() {
    for slip in [
        "other-pairing",
        "keys-left",
        "kv-heads-in-turns",
        "unscaled",
        "mask-after-softmax",
        "hidden-with-zero",
        "down-the-columns",
        "merged-without-transpose",
    ] {
        let (code, printed) = compared(&format!("{slip}.safetensors"));
        assert_eq!(code, 3, "{printed}");
        assert!(printed.contains(&format!("\"slips\":[\"{slip}\"]")), "{printed}");
    }
    for [one, two] in
        [["unscaled", "kv-heads-in-turns"], ["keys-left", "hidden-with-zero"]]
    {
        let (code, printed) = compared(&format!("{one}+{two}.safetensors"));
        assert_eq!(code, 3, "{printed}");
        let named = [one, two].map(|name| printed.contains(&format!("\"{name}\"")));
        assert_eq!(named, [true, true], "{printed}");
    }
}

#[test]
fn rounding_is_told_from_error() {
    let (code, printed) = compared("right.safetensors");
    assert_eq!(code, 0, "{printed}");
    assert!(printed.contains("\"precision\":null"), "{printed}");
    for (file, precision) in [("bf16", "bf16"), ("f16", "f16 or TF32")] {
        let (code, printed) = compared(&format!("{file}.safetensors"));
        assert_eq!(code, 0, "{printed}");
        let says = format!("\"precision\":\"{precision}\"");
        assert!(printed.contains(&says), "{printed}");
        let (code, printed) = compared(&format!("unscaled.{file}.safetensors"));
        assert_eq!(code, 3, "{printed}");
        assert!(printed.contains("\"slips\":[\"unscaled\"]"), "{printed}");
    }
}

#[test]
fn what_no_slip_explains_is_said_to_be_so() {
    let (code, printed) = compared("squashed.safetensors");
    assert_eq!(code, 3, "{printed}");
    let says = "\"slips\":[],\"ways\":[]";
    assert!(printed.contains(says) && printed.contains("\"first\":\"y\""), "{printed}");
}
