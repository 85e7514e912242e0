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
    contract.writes_the_same_however_the_file_is_written();
    contract.runs_a_batch_as_a_loop();
    contract.runs_on_nothing();
    contract.tells_of_what_is_not_a_number();
    contract.leaves_the_weights_out();
    contract.names_files_of_other_kinds();
    contract.refuses_bad_files();
    contract.refuses_bad_paths();
    contract.refuses_missing_tensors();
    contract.refuses_misspelt_tensors();
    contract.refuses_other_ranks();
    contract.refuses_other_dtypes();
    contract.refuses_other_tokens();
    contract.refuses_what_belongs_to_other_sequences();
    contract.answers_or_refuses_other_sizes();
}
