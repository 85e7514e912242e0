//! `train`, as a reader runs it.

use assert_cmd::Command;
use learning::training::{Run, Settings, Shape, Task, kept, restored};
use std::fs;
use tempfile::TempDir;

/// Exit code, standard output, standard error.
fn train(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::cargo_bin("learning").unwrap();
    let output = command.arg("train").args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// The arguments of the run that [`small`] is.
const SMALL: [&str; 15] = [
    "recall", "--steps", "8", "--every", "2", "--size", "3", "--batch", "4", "--width",
    "16", "--rate", "0.01", "--seed", "5",
];

fn small() -> Run {
    let settings = Settings {
        task: Some(Task::Recall),
        size: 3,
        seed: 5,
        steps: 8,
        batch: 4,
        rate: 0.01,
        decay: 0.01,
        clip: 1.0,
    };
    Run::new(settings, Shape::multi_head(12, 16, 2, 4)).unwrap()
}

#[test]
fn help_tells_tasks_mechanisms_and_how_to_go_on() {
    let (code, stdout, _) = train(&["--help"]);
    assert_eq!(code, 0);
    for word in [
        "recall",
        "induction",
        "multi-query",
        "no-positions",
        "latent",
        "linformer",
        "--rank",
        "--rows",
        "--resume",
    ] {
        assert!(stdout.contains(word), "{word}: {stdout}");
    }
}

#[test]
fn a_run_that_was_cut_is_gone_on_with_to_the_last_line() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (whole, rest) = (path("whole.csv"), path("rest.csv"));
    let out = path("whole.safetensors");
    let (code, stdout, _) =
        train(&[&SMALL[..], &["--log", &whole, "--out", &out]].concat());
    assert_eq!(code, 0);
    assert_eq!(stdout.lines().count(), 6, "{stdout}");

    let mut cut = small();
    for _ in 0..4 {
        cut.step().unwrap();
    }
    let half = path("half.safetensors");
    fs::write(&half, kept(&mut cut).unwrap()).unwrap();
    let again = path("again.safetensors");
    let flags = ["--resume", &half, "--every", "2", "--log", &rest, "--out", &again];
    assert_eq!(train(&flags).0, 0);

    let lines = |path: &str| -> Vec<String> {
        let text = fs::read_to_string(path).unwrap();
        text.lines().map(str::to_owned).collect()
    };
    let (whole, rest) = (lines(&whole), lines(&rest));
    assert_eq!((whole.len(), &whole[3..], &whole[0]), (5, &rest[1..], &rest[0]));
    assert_eq!(fs::read(out).unwrap(), fs::read(&again).unwrap());

    let (code, _, stderr) = train(&["--resume", &again]);
    assert_eq!(code, 1);
    assert!(stderr.contains("at its end, step 8 of 8"), "{stderr}");
}

#[test]
fn a_latent_and_condensed_keys_are_trained_and_gone_on_with() {
    let folder = TempDir::new().unwrap();
    for mechanism in ["latent", "linformer"] {
        let out = folder.path().join(mechanism);
        let out = out.to_str().unwrap();
        let sizes = ["--rank", "6", "--rope-dim", "2", "--rows", "3"];
        let flags = ["--mechanism", mechanism, "--out", out];
        let (code, stdout, stderr) = train(&[&SMALL[..], &sizes, &flags].concat());
        assert_eq!((code, stdout.lines().count()), (0, 6), "{stderr}");
        let run = restored(&fs::read(out).unwrap()).unwrap();
        assert_eq!(run.taken(), 8);
        let said = format!("{:?}", run.model.shape().mechanism);
        assert!(said.to_lowercase().starts_with(mechanism), "{said}");
    }
}

#[test]
fn a_refusal_is_one_line_that_says_what_to_do() {
    for (arguments, said) in [
        (&[][..], "TASK"),
        (&["recall", "--width", "30"], "a width of 30 cannot be split among 4 heads"),
        (
            &["copy", "--mechanism", "grouped-query", "--kv-heads", "3"],
            "4 query heads cannot form 3 equal groups",
        ),
        (&["copy", "--mechanism", "latent", "--rope-dim", "3"], "3"),
        (&["copy", "--rate=-1"], "wanted a number above 0"),
        (&["copy", "--steps", "0"], "1..=10000000"),
        (&["copy", "--resume", "x.safetensors"], "cannot be used with"),
        (&["--resume", "missing.safetensors"], "cannot read missing.safetensors"),
        (
            &["copy", "--out", "no/such/folder.safetensors"],
            "there is no folder no/such",
        ),
    ] {
        let (code, stdout, stderr) = train(arguments);
        assert_ne!(code, 0, "{arguments:?}");
        assert_eq!((stdout.as_str(), stderr.lines().count()), ("", 1), "{stderr}");
        assert!(stderr.contains(said), "{arguments:?}: {stderr}");
    }
}
