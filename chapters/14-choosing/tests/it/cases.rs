//! Configurations that people brought, each with its right answer; and what flags say.

use assert_cmd::Command;
use serde_json::{Value, json};
use std::fs;
use tempfile::TempDir;

fn run(arguments: &[&str]) -> (i32, String, String) {
    let output =
        Command::cargo_bin("choosing").unwrap().args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// The row of the model's own mechanism, with the answer around it.
fn own(arguments: &[&str]) -> (Value, Value) {
    let (code, stdout, stderr) = run(&[arguments, &["--json"]].concat());
    assert_eq!((code, stderr.as_str()), (0, ""), "{arguments:?}");
    let answer: Value = serde_json::from_str(&stdout).unwrap();
    let rows = answer["mechanisms"].as_array().unwrap();
    let own = rows.iter().find(|row| row["own"] == true).unwrap().clone();
    (own, answer)
}

fn case(name: &str) -> String {
    format!("{}/tests/it/cases/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn eight_bits_halve_what_the_weights_take() {
    let (own, answer) =
        own(&["--config", &case("llama70b-fp8.json"), "--machine", "H200"]);
    assert_eq!(answer["stored"], "compressed-tensors");
    let bytes = own["weight_bytes"].as_f64().unwrap();
    assert!((bytes / 70.55e9 - 1.0).abs() < 1e-3, "{bytes}");
    assert_eq!(own["sequences_that_fit"], 26);
    assert_eq!(own["tokens_per_second"].as_f64().unwrap().round(), 66.0);
}

#[test]
fn absent_keys_mean_what_transformers_takes_them_to_mean() {
    for (name, parameters, numbers_per_token) in [
        ("mistral-kv-absent.json", 7_241_732_096.0, 65_536.0),
        ("deepseek-sparse.json", 6_145_856.0, 8.0 * 40.0),
        ("llava-mistral-sparse.json", 7_242_256_384.0, 65_536.0),
    ] {
        let (own, _) = own(&["--config", &case(name)]);
        assert_eq!(own["parameters"], parameters, "{name}");
        assert_eq!(own["cache_bytes_per_token"], 2.0 * numbers_per_token, "{name}");
    }
}

#[test]
fn numbers_that_json_lacks_are_read_as_python_does() {
    let (own, answer) = own(&["--config", &case("nan.json")]);
    assert_eq!(own["parameters"], 70_553_706_496.0);
    assert_eq!(
        (&answer["stored"], &answer["weight_bytes"]),
        (&Value::Null, &json!(2.0))
    );
}

#[test]
fn what_is_no_configuration_is_named() {
    for (name, said) in [
        ("s1-lfs.safetensors", "this is a Git LFS pointer"),
        ("s6-html.safetensors", "this is an HTML page"),
        ("p3-partial.safetensors", "this is a safetensors file"),
    ] {
        let (code, stdout, stderr) = run(&["--config", &case(name)]);
        assert_eq!((code, stdout.as_str()), (1, ""));
        assert!(stderr.contains(said) && stderr.lines().count() == 1, "{stderr}");
    }
}

/// The answer for a configuration that is written for it.
fn answer(config: &Value, arguments: &[&str]) -> (Value, Value) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("config.json");
    fs::write(&path, config.to_string()).unwrap();
    own(&[&["--config", path.to_str().unwrap()], arguments].concat())
}

#[test]
fn windows_of_a_qwen2_moe_fall_on_even_layers_below_a_number() {
    let mut config = json!({
        "model_type": "qwen2_moe", "num_hidden_layers": 8, "use_sliding_window": true,
        "sliding_window": 100, "max_window_layers": 5,
    });
    let cached = |config: &Value| {
        let (own, _) = answer(config, &["--context", "1000"]);
        own["cache_bytes_per_sequence"].as_f64().unwrap() / (2.0 * 2.0 * 2048.0)
    };
    // 0, 2 and 4 of 8.
    assert_eq!(cached(&config), 5.0 * 1000.0 + 3.0 * 100.0);
    config["use_sliding_window"] = json!(false);
    assert_eq!(cached(&config), 8.0 * 1000.0);
}

#[test]
fn the_type_of_weights_decides_unless_a_flag_does() {
    let full = json!({ "model_type": "llama", "torch_dtype": "float32" });
    let llama = 6_738_415_616.0;
    let (own, all) = answer(&full, &[]);
    assert_eq!(own["weight_bytes"], 4.0 * llama);
    assert_eq!((&all["cache_bytes"], &all["stored"]), (&json!(4.0), &json!("float32")));
    let (own, all) = answer(&full, &["--weight-bytes", "2"]);
    assert_eq!(own["weight_bytes"], 2.0 * llama);
    assert_eq!((&all["cache_bytes"], &all["stored"]), (&json!(2.0), &Value::Null));
    // What cannot be read from the file need not be.
    let odd = json!({ "model_type": "llama", "quantization_config": { "quant_method": "x" } });
    let (own, _) = answer(&odd, &["--weight-bytes", "0.25"]);
    assert_eq!(own["weight_bytes"], 0.25 * llama);
}

#[test]
fn a_step_reads_each_part_as_it_is_stored() {
    let config = json!({
        "model_type": "llama", "torch_dtype": "bfloat16", "num_hidden_layers": 1,
        "quantization_config": { "quant_method": "gptq", "bits": 4, "group_size": -1 },
    });
    let (own, answer) = answer(&config, &["--context", "1"]);
    let matrices = 4096.0 * (4.0 * 4096.0 + 3.0 * 11_008.0);
    let (table, norms) = (32_000.0 * 4096.0, 3.0 * 4096.0);
    assert_eq!(own["weight_bytes"], matrices / 2.0 + 2.0 * (2.0 * table + norms));
    let cache = 2.0 * 2.0 * 4096.0;
    assert_eq!(own["step_bytes"], matrices / 2.0 + 2.0 * (table + norms) + cache);
    assert_eq!(answer["weight_bytes_by_part"]["network"], 0.5);
    assert_eq!(answer["weight_bytes_by_part"]["head"], 2.0);
}

#[test]
fn two_matrices_and_a_tied_table_can_be_said() {
    let shape = [
        "--layers",
        "12",
        "--heads",
        "12",
        "--head-dim",
        "64",
        "--ffn-dim",
        "3072",
        "--vocab",
        "50257",
    ];
    let parameters = |more: &[&str]| {
        own(&[&shape[..], more].concat()).0["parameters"].as_f64().unwrap()
    };
    let (network, table) = (12.0 * 768.0 * 3072.0, 50_257.0 * 768.0);
    let all = parameters(&[]);
    assert_eq!(parameters(&["--ffn-matrices", "2"]), all - network);
    assert_eq!(parameters(&["--tied"]), all - table);
    assert_eq!(parameters(&["--untied"]), all);
    // GPT-2 has biases and positions besides: 124,439,808 in all.
    let gpt2 = parameters(&["--ffn-matrices", "2", "--tied"]);
    assert!((gpt2 / 124_439_808.0 - 1.0).abs() < 0.01, "{gpt2}");
}

#[test]
fn alternating_windows_can_be_said() {
    let sequence = |arguments: &[&str]| {
        let (own, _) = own(&[&["--context", "8192"], arguments].concat());
        own["cache_bytes_per_sequence"].as_f64().unwrap() / (2.0 * 2.0 * 1024.0)
    };
    assert_eq!(sequence(&["--window", "4096"]), 32.0 * 4096.0);
    let half = sequence(&["--window", "4096", "--window-layers", "16"]);
    assert_eq!(half, 16.0 * 4096.0 + 16.0 * 8192.0);
    assert_eq!(sequence(&["--window", "4096", "--window-layers", "0"]), 32.0 * 8192.0);
    let gemma = |arguments: &[&str]| {
        let all = [&["--model", "Gemma-2-9B", "--context", "8192"], arguments].concat();
        own(&all).0["cache_bytes_per_sequence"].as_f64().unwrap()
    };
    // 21 of 42 layers have one of 4,096 tokens.
    assert_eq!(gemma(&["--window-layers", "42"]), gemma(&[]) / 1.5);
}

#[test]
fn experts_can_be_said() {
    let parameters = |arguments: &[&str]| own(arguments).0["parameters"].clone();
    // Mixtral's shape, on Mistral's.
    let mixtral = [
        "--model",
        "Mistral-7B",
        "--experts",
        "8",
        "--chosen",
        "2",
        "--expert-dim",
        "14336",
    ];
    assert_eq!(parameters(&mixtral), 46_702_792_704.0);
    let read = |arguments: &[&str]| own(arguments).0["step_multiply_adds"].clone();
    let by_name = ["--model", "Mixtral-8x7B", "--context", "100"];
    assert_eq!(read(&[&mixtral[..], &["--context", "100"]].concat()), read(&by_name));
    // DeepSeek-V3 with one layer less, which is one with experts.
    let fewer = ["--model", "DeepSeek-V3", "--layers", "60", "--dense-layers", "3"];
    let expert = 3.0 * 7168.0 * 2048.0;
    let gone = parameters(&["--model", "DeepSeek-V3"]).as_f64().unwrap()
        - parameters(&fewer).as_f64().unwrap();
    assert!(gone > 257.0 * expert && gone < 257.0 * expert + 2e8, "{gone}");
    let beside = parameters(&[&mixtral[..], &["--shared-dim", "10"]].concat());
    assert_eq!(beside, 46_702_792_704.0 + 32.0 * 3.0 * 4096.0 * 10.0);
    let half = [&mixtral[..], &["--dense-layers", "16"]].concat();
    assert!(parameters(&half).as_f64().unwrap() < 28e9);
}
