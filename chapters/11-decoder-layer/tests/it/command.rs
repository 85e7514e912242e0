//! The chapter through its binary, as a reader runs it.

use chapter_cli::testing::{Contract, File, Program};

/// Eight heads of 4 on four, normed per head, with biases.
const CONFIG: &str = r#"{"model_type": "qwen3", "num_hidden_layers": 4, "hidden_size": 6,
    "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 4,
    "attention_bias": true}"#;

const LAYER: Program =
    Program::new(env!("CARGO_BIN_EXE_decoder-layer")).beside_config(CONFIG);
const FORWARD: &str = "forward --input layer --output out --config config.json";

fn layer() -> File {
    File::new()
        .linear("q_proj", [32, 6])
        .linear("k_proj", [16, 6])
        .linear("v_proj", [16, 6])
        .linear("o_proj", [6, 32])
        .f32s("q_norm.weight", &[4])
        .f32s("k_norm.weight", &[4])
        .f32s("x", &[3, 6])
}

#[test]
fn what_every_chapter_promises_is_kept() {
    let contract = Contract::new(LAYER, FORWARD, layer());
    contract.help_names_what_it_reads();
    contract.writes_the_same_however_the_file_is_written();
    contract.runs_a_batch_as_a_loop();
    contract.runs_on_nothing();
    contract.tells_its_times();
    contract.tells_of_what_is_not_a_number();
    contract.leaves_the_weights_out();
    contract.names_files_of_other_kinds();
    contract.refuses_bad_files();
    contract.refuses_bad_paths();
    contract.refuses_other_flags();
    contract.refuses_missing_tensors();
    contract.refuses_misspelt_tensors();
    contract.refuses_other_ranks();
    contract.refuses_other_dtypes();
    contract.refuses_biases_of_other_lengths();
    contract.refuses_other_tokens();
    contract.refuses_what_belongs_to_other_sequences();
    contract.answers_or_refuses_other_sizes();
}

/// A layer of Llama, which has no norms.
const LLAMA: &str = r#"{"model_type": "llama", "num_hidden_layers": 12, "hidden_size": 6,
    "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 4,
    "attention_bias": true}"#;

#[test]
fn what_a_layer_does_not_have_is_refused_and_other_layers_are_left_alone() {
    let program = Program::new(env!("CARGO_BIN_EXE_decoder-layer"));
    let file = layer().without("q_norm.weight").without("k_norm.weight");
    let contract = Contract::new(program.beside_config(LLAMA), FORWARD, file);
    contract.looks_at_one_layer();
    contract.refuses_what_it_does_not_read();
}

#[test]
fn configurations_that_are_none_are_refused_and_so_is_a_run_without_one() {
    let program = Program::new(env!("CARGO_BIN_EXE_decoder-layer"));
    let without = "forward --input layer --output out";
    Contract::new(program, without, layer()).refuses_bad_configurations();
    program.refuses(
        layer(),
        without,
        "--config is missing: the config.json of the model",
    );
}

/// What `forward` writes agrees with the layer. Under a configuration with another base, the
/// base is named.
#[test]
fn compare_reads_the_configuration_as_forward_does() {
    let input: Vec<u8> = layer().into();
    let compared = |config: &str, more: &str| {
        let files = [("layer", &input[..]), ("config.json", config.as_bytes())];
        let ran = LAYER.run_beside(&files, &format!("{FORWARD} --layer 0"));
        let yours = ran.holds("out").unwrap();
        let files = [
            ("layer", &input[..]),
            ("config.json", CONFIG.as_bytes()),
            ("yours", &yours),
        ];
        let line = FORWARD.replace("forward", "compare").replace("--output out", "");
        let ran =
            LAYER.run_beside(&files, &format!("{line} --yours yours --json {more}"));
        (ran.code, ran.stdout)
    };
    for more in ["", "--layer 3", "--cache 1"] {
        let (code, printed) = compared(CONFIG, more);
        assert!(code == 0 && printed.contains("\"agrees\":true"), "{printed}");
    }
    let other = CONFIG
        .replace("\"attention_bias\"", "\"rope_theta\": 500000, \"attention_bias\"");
    let (code, printed) = compared(&other, "");
    assert!(code == 3 && printed.contains("base-half-a-million"), "{printed}");
}
