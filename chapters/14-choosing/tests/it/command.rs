//! The calculator through its binary, as a reader runs it.

use assert_cmd::Command;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

fn choosing() -> Command {
    Command::cargo_bin("choosing").unwrap()
}

/// Exit code, standard output, standard error.
fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = choosing().args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// The answer of `--json` for a `config.json` with this text.
fn answer(config: &str) -> Result<Value, String> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("config.json");
    fs::write(&path, config).unwrap();
    let (code, stdout, stderr) =
        run(&["--config", path.to_str().unwrap(), "--json", "--batch", "3"]);
    if code == 0 {
        assert_eq!(stderr, "");
        return Ok(serde_json::from_str(&stdout).unwrap());
    }
    assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.starts_with("error: ") && stderr.len() < 600, "{stderr}");
    Err(stderr)
}

fn llama() -> Value {
    json!({
        "model_type": "llama", "hidden_size": 64, "intermediate_size": 100,
        "num_hidden_layers": 3, "num_attention_heads": 8, "num_key_value_heads": 2,
        "vocab_size": 50,
    })
}

/// `llama` with a quantization.
fn quantized(config: Value) -> String {
    with("quantization_config", config)
}

/// `llama` with one key changed.
fn with(key: &str, value: Value) -> String {
    let mut config = llama();
    config[key] = value;
    config.to_string()
}

#[test]
fn without_flags_it_prints_the_worked_example() {
    let (code, stdout, stderr) = run(&[]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_eq!(stdout.trim_end(), choosing::example::worked().unwrap().trim_end());
}

#[test]
fn a_shape_of_ones_own_is_the_model_by_name_if_they_are_the_same() {
    let by_name = run(&["--model", "llama-3-8b", "--batch", "4"]);
    let by_shape =
        run(&["--heads", "32", "--kv-heads", "8", "--layers", "32", "--batch", "4"]);
    assert_eq!(by_name, by_shape);
    let (_, other, _) = run(&["--heads", "32", "--batch", "4"]);
    assert!(other.contains("*multi-head"), "{other}");
    let (_, latent, _) = run(&["--lora-rank", "512", "--rope-dim", "64"]);
    assert!(latent.contains("*latent 512   36 KiB"), "{latent}");
}

#[test]
fn json_has_the_numbers_of_the_table() {
    let (_, stdout, _) =
        run(&["--model", "DeepSeek-V3", "--machine", "h200", "--batch", "2", "--json"]);
    let all: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(all["model"], "DeepSeek-V3");
    let rows = all["mechanisms"].as_array().unwrap();
    let own: Vec<_> = rows.iter().filter(|row| row["own"] == true).collect();
    assert_eq!(own.len(), 1);
    assert_eq!(own[0]["cache_bytes_per_token"], 70_272.0);
    assert_eq!(own[0]["parameters"], 671_026_404_352.0);
    assert_eq!(own[0]["fits"], false);
    assert_eq!(own[0]["sequences_that_fit"], 0);
}

#[test]
fn devices_divide_a_model_or_refuse_to() {
    let (code, stdout, stderr) =
        run(&["--model", "Llama-3.1-70B", "--devices", "8", "--batch", "64"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_eq!(stdout.trim_end(), choosing::example::divided().unwrap().trim_end());

    // One device is as good as none given.
    assert_eq!(run(&["--batch", "2", "--devices", "1"]), run(&["--batch", "2"]));

    // Half of 24 query heads, but no half of 3 kv heads, which 2 devices cannot have once
    // each either.
    let shape = ["--heads", "24", "--kv-heads", "3", "--devices", "2"];
    let (code, stdout, stderr) = run(&shape);
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains("--devices 2: 3 key/value heads"), "{stderr}");

    // A third of each, but for the feed-forward network; and 8 kv heads are left out.
    let shape = ["--heads", "24", "--kv-heads", "3", "--devices", "3"];
    let (code, stdout, _) = run(&shape);
    assert_eq!(code, 1, "14,336 features cannot be divided by 3: {stdout}");
    let (code, stdout, stderr) = run(&[&shape[..], &["--ffn-dim", "9216"]].concat());
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.contains("your shape on 3 × H100"), "{stdout}");
    assert!(stdout.contains("3 devices cannot divide: 8 kv heads"), "{stdout}");
}

#[test]
fn json_says_what_each_device_keeps() {
    let (_, stdout, _) = run(&["--devices", "8", "--json"]);
    let all: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(all["devices"], 8);
    let kept = |name: &str| {
        let rows = all["mechanisms"].as_array().unwrap();
        let row = rows.iter().find(|row| row["mechanism"] == name).unwrap();
        assert!(row["parameters"].as_f64().unwrap() > 7e9);
        row["cache_bytes_per_token"].as_f64().unwrap() / (2.0 * 32.0)
    };
    let all = ["multi-head", "8 kv heads", "multi-query", "latent 512"].map(kept);
    assert_eq!(all, [1024.0, 256.0, 256.0, 576.0]);
}

#[test]
fn a_plot_is_written_whole_or_not_at_all() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("ceiling.svg");
    let (code, stdout, _) = run(&["--batch", "2", "--plot", path.to_str().unwrap()]);
    assert_eq!(code, 0);
    assert!(stdout.contains("*8 kv heads"));
    assert!(fs::read_to_string(&path).unwrap().ends_with("</svg>\n"));

    let missing = folder.path().join("nowhere/ceiling.svg");
    let (code, stdout, stderr) = run(&["--plot", missing.to_str().unwrap()]);
    assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
    assert!(stderr.contains("there is no folder"), "{stderr}");

    let none = folder.path().join("none.svg");
    let (code, _, stderr) =
        run(&["--model", "DeepSeek-V3", "--plot", none.to_str().unwrap()]);
    assert_eq!(code, 1);
    assert!(stderr.contains("does not fit into H100"), "{stderr}");
    assert!(!none.exists());
}

#[test]
fn a_good_config_is_read() {
    let all = answer(&llama().to_string()).unwrap();
    let rows = all["mechanisms"].as_array().unwrap();
    let own = rows.iter().find(|row| row["own"] == true).unwrap();
    // Two heads of 8, a key and a value, three layers, two bytes.
    assert_eq!(own["cache_bytes_per_token"], 2.0 * 2.0 * 8.0 * 3.0 * 2.0);
}

#[test]
fn a_bad_config_gets_one_clear_line() {
    for (config, said) in [
        (String::new(), "not JSON"),
        ("{".into(), "not JSON"),
        ("[1, 2]".into(), "the JSON is no object"),
        ("{}".into(), "no `model_type`"),
        ("[".repeat(100_000), "not JSON"),
        (with("model_type", json!("mamba")), "model_type `mamba` is not known here"),
        (with("model_type", json!("x\n\u{1b}[31m".repeat(9999))), "is not known here"),
        (with("hidden_size", json!(null)), "`hidden_size` is null"),
        (with("hidden_size", json!("64")), "`hidden_size` is \"64\""),
        (with("hidden_size", json!(64.5)), "`hidden_size` is 64.5"),
        (with("num_hidden_layers", json!(-3)), "`num_hidden_layers` is -3"),
        (with("num_hidden_layers", json!(0)), "`num_hidden_layers` is 0"),
        (with("num_hidden_layers", json!(u64::MAX)), "from 1 to 10000"),
        (with("num_attention_heads", json!(0)), "`num_attention_heads` is 0"),
        (with("num_attention_heads", json!(7)), "does not divide 7 heads"),
        (with("num_key_value_heads", json!(3)), "`num_key_value_heads` is 3"),
        (with("vocab_size", json!(1e300)), "`vocab_size` is 1e+300"),
        (with("layer_types", json!(["full_attention"])), "lists 1 layers"),
        (
            with("layer_types", json!(["full_attention", "linear_attention", "x"])),
            "\"linear_attention\": only full_attention",
        ),
        (with("hidden_size", json!(65)), "do not divide a `hidden_size` of 65"),
        (
            with("text_config", json!([])),
            "`text_config` is [], and has to be an object",
        ),
        (with("model_type", json!("deepseek_v2")), "no `num_experts_per_tok`"),
        (with("model_type", json!("bert")), "an encoder, which writes no tokens"),
        (with("torch_dtype", json!("int3")), "`dtype` is \"int3\""),
        (with("quantization_config", json!({})), "nothing says how the weights"),
        (quantized(json!({ "quant_method": "aqlm" })), "`--weight-bytes` says them"),
        (r#"{"weight_map": {}}"#.into(), "this is the index of a model's weights"),
        (r#"{"n_layers": 32}"#.into(), "this looks like params.json"),
    ] {
        let error = answer(&config).unwrap_err();
        assert!(error.contains(said), "{said}: {error}");
    }
}

#[test]
fn the_largest_config_that_is_believed_overflows_nothing() {
    let mut config = llama();
    for (key, most) in [
        ("hidden_size", 1_u64 << 20),
        ("intermediate_size", 1 << 20),
        ("num_hidden_layers", 10_000),
        ("num_attention_heads", 1 << 16),
        ("num_key_value_heads", 1 << 16),
        ("head_dim", 1 << 14),
        ("vocab_size", 1 << 28),
    ] {
        config[key] = json!(most);
    }
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("config.json");
    for kind in ["llama", "deepseek_v2", "qwen2_moe"] {
        config["model_type"] = json!(kind);
        for key in ["qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"] {
            config[key] = json!(1 << 14);
        }
        for key in ["kv_lora_rank", "q_lora_rank", "moe_intermediate_size"] {
            config[key] = json!(1 << 20);
        }
        config["shared_expert_intermediate_size"] = json!(1 << 20);
        for key in ["num_experts", "n_shared_experts", "num_experts_per_tok"] {
            config[key] = json!(1 << 16);
        }
        fs::write(&path, config.to_string()).unwrap();
        let path = path.to_str().unwrap();
        for batch in ["1", "16777216"] {
            let (code, stdout, stderr) =
                run(&["--config", path, "--context", "4294967296", "--batch", batch]);
            assert_eq!((code, stderr.as_str()), (0, ""), "{kind}");
            assert!(stdout.contains("EiB"), "{stdout}");
        }
    }
}

#[test]
fn what_is_no_file_of_text_gets_one_clear_line() {
    let folder = TempDir::new().unwrap();
    let long = folder.path().join("long.json");
    fs::File::create(&long).unwrap().set_len(checkpoint::LONGEST + 1).unwrap();
    let binary = folder.path().join("binary.json");
    fs::write(&binary, [0xff, 0xfe, 0]).unwrap();
    for path in [folder.path(), Path::new("/dev/zero"), &long, &binary] {
        let (code, stdout, stderr) = run(&["--config", path.to_str().unwrap()]);
        assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
    let (code, _, stderr) = run(&["--config", "/no/such/config.json"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("/no/such/config.json: "), "{stderr}");
}

#[test]
fn a_wrong_flag_gets_one_line_and_exit_code_2() {
    for arguments in [
        &["--heads", "0"][..],
        &["--heads", "many"],
        &["--batch", "-1"],
        &["--devices", "0"],
        &["--memory", "NaN"],
        &["--memory", "0"],
        &["--bandwidth", "1e999"],
        &["--model", "Llama-3-8B", "--config", "config.json"],
        &["--lora-rank", "8", "--kv-heads", "2"],
        &["--rope-dim", "8"],
        &["--hedas", "8"],
        &["--ffn-matrices", "4"],
        &["--tied", "--untied"],
        &["plots", "--heads", "8"],
    ] {
        let (code, stdout, stderr) = run(arguments);
        assert_eq!((code, stdout.as_str()), (2, ""), "{arguments:?}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
    for (arguments, said) in [
        (&["--heads", "8", "--kv-heads", "3"][..], "the groups would differ"),
        (&["--devices", "3"], "--devices 3: 32 query heads cannot be divided evenly"),
        (&["--model", "gpt-5"], "`gpt-5` is none of Llama-2-7B"),
        (&["--machine", "abacus"], "`abacus` is none of H100"),
        (&["--model", "DeepSeek-V3", "--layers", "3"], "give --dense-layers too"),
        (&["--model", "Gemma-2-9B", "--layers", "3"], "give --window-layers too"),
        (&["--window", "8", "--window-layers", "33"], "there are 32 layers"),
        (&["--window-layers", "3"], "give --window too"),
        (&["--chosen", "2"], "say how many there are"),
        (&["--experts", "4", "--chosen", "5"], "there are 4 experts"),
        (&["--experts", "4", "--dense-layers", "33"], "there are 32 layers"),
        (&["--model", "Mixtral-8x7B", "--dense-layers", "2"], "give --ffn-dim too"),
    ] {
        let (code, stdout, stderr) = run(arguments);
        assert_eq!((code, stdout.as_str()), (1, ""), "{arguments:?}: {stderr}");
        assert!(stderr.contains(said), "{stderr}");
    }
}

#[test]
fn help_names_every_flag() {
    let (code, stdout, _) = run(&["--help"]);
    assert_eq!(code, 0);
    for flag in
        ["--config", "--kv-heads", "--lora-rank", "--devices", "--json", "--plot"]
    {
        assert!(stdout.contains(flag), "{flag}");
    }
    for assumed in ["14,336 wide", "128,256 tokens", "no window", "three matrices"] {
        assert!(stdout.replace('\n', " ").contains(assumed), "{assumed}: {stdout}");
    }
}

#[test]
fn a_gguf_gives_what_its_config_json_gives_and_the_bytes_that_its_weights_take() {
    let tests =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../book/checkpoint/tests");
    let ask = |file: &str| -> Value {
        let file = tests.join("reference").join(file);
        let (code, stdout, stderr) =
            run(&["--json", "--config", file.to_str().unwrap()]);
        assert_eq!(code, 0, "{stderr}");
        serde_json::from_str(&stdout).unwrap()
    };
    let (gguf, folder) = (ask("tiny.gguf"), ask("tiny"));
    let own = |answer: &Value| {
        answer["mechanisms"]
            .as_array()
            .unwrap()
            .iter()
            .find(|row| row["own"] == true)
            .unwrap()
            .clone()
    };
    let (one, other) = (own(&gguf), own(&folder));
    for key in ["parameters", "cache_bytes_per_token", "step_multiply_adds"] {
        assert_eq!(one[key], other[key], "{key}");
    }
    let stored = gguf["stored"].as_str().unwrap();
    assert!(stored.starts_with("GGUF, "), "{stored}");
    assert_ne!(one["weight_bytes"], other["weight_bytes"]);
}
