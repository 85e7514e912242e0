//! The example chapter as a program of its own, with real pipes.

use crate::common::{Folder, layer_and, zeros};
use assert_cmd::Command;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Stdio;

/// Cargo puts examples beside the folder of the tests, and builds both.
fn scale() -> std::path::PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.ancestors().nth(2).unwrap().join("examples");
    folder.join(format!("scale{}", std::env::consts::EXE_SUFFIX))
}

#[test]
fn no_command_prints_the_worked_example() {
    Command::new(scale()).assert().success().stdout("2 · 21 = 42\n").stderr("");
}

#[test]
fn the_version_is_printed() {
    let version = format!("scale {}\n", env!("CARGO_PKG_VERSION"));
    Command::new(scale())
        .arg("--version")
        .assert()
        .success()
        .stdout(version)
        .stderr("");
}

#[test]
fn help_teaches() {
    let help = |arguments: &[&str]| {
        let help = Command::new(scale()).args(arguments).assert().success().stderr("");
        let text = String::from_utf8(help.get_output().stdout.clone()).unwrap();
        // How wide a line may be depends on the terminal.
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let all = help(&["--help"]);
    for words in [
        "A linear map, told as if it were attention.",
        "Without a command, prints the chapter's worked example.",
        "Usage: cargo run -p scale -- [COMMAND]",
        "cargo run -p scale -- plots draw images/00-scale/",
        "forward --input layer.safetensors --output out.safetensors",
    ] {
        assert!(all.contains(words), "{words} is not in {all}");
    }
    let forward = help(&["forward", "--help"]);
    for words in [
        "Usage: cargo run -p scale -- forward [OPTIONS] --input <FILE> --output <FILE>",
        "The file holds scale.weight [d_out, d_in]",
        "--heads <HEADS> How many heads look",
        "x is [n, d], one row per token, or [b, n, d] for a batch",
        "--prefix model.layers.0.self_attn",
        "--ignore <NAME> Go on without a tensor of the file",
        "--no-weights Leave the attention weights out of the output",
        "It is written whole or not at all.",
    ] {
        assert!(forward.contains(words), "{words} is not in {forward}");
    }
}

#[test]
fn exit_codes_tell_bad_input_from_a_wrong_flag() {
    let folder = Folder::new().with("in", layer_and([zeros("x", &[1, 3])]));
    let forward = |input: &str| {
        let mut command = Command::new(scale());
        command.arg("forward").arg("--input").arg(folder.path(input));
        command.arg("--output").arg(folder.path("out"));
        command
    };
    forward("in").assert().code(0).stderr("");
    forward("nowhere").assert().code(1).stdout("");
    forward("in").arg("--hedas").assert().code(2).stdout("");
}

#[test]
fn a_reader_who_leaves_early_is_no_error() {
    for arguments in [&[][..], &["--help"], &["forward", "--help"]] {
        let mut child = std::process::Command::new(scale())
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!((child.wait().unwrap().code(), stderr.as_str()), (Some(0), ""));
    }
}

#[test]
fn plots_are_drawn_where_they_are_wanted() {
    let folder = Folder::new();
    let ran = folder.run("plots --out DIR/new");
    let wanted = (0, "", "wrote DIR/new/line.svg\n");
    assert_eq!((ran.code, ran.stderr.as_str(), ran.stdout.as_str()), wanted);
    let drawn = std::fs::read_to_string(folder.path("new/line.svg")).unwrap();
    assert!(drawn.starts_with("<svg"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ran = std::process::Command::new(scale()).stdout(full).output().unwrap();
    assert_eq!(ran.status.code(), Some(1));
    let stderr = String::from_utf8(ran.stderr).unwrap();
    assert!(stderr.starts_with("error: No space left"), "{stderr}");
}

/// As in the folder that the course makes: `my/Cargo.toml` is a workspace.
#[test]
fn a_chapter_of_ones_own_draws_beside_itself() {
    let folder = Folder::new();
    let my = folder.path("my");
    fs::create_dir_all(my.join("00-scale")).unwrap();
    fs::write(my.join("Cargo.toml"), "[workspace]\n").unwrap();
    let ran = Command::new(scale())
        .arg("plots")
        .env("CARGO_MANIFEST_DIR", my.join("00-scale"))
        .assert()
        .success();
    let said = String::from_utf8(ran.get_output().stdout.clone()).unwrap();
    for line in said.lines() {
        let file = line.strip_prefix("wrote ").unwrap();
        assert!(
            Path::new(file).starts_with(&my) && Path::new(file).is_file(),
            "{line}"
        );
    }
    assert!(my.join("images/00-scale").is_dir(), "{said}");
}
