//! Whatever happens, what a reader wrote is where it was, or in a backup.

use std::{fs, path::Path};

use crate::common::{Reader, book};

const LIB: &str = "01-attention/src/lib.rs";
const SHEET: &str = "01-attention/answers/by-hand.toml";

/// A reader who has written something everywhere.
fn at_work() -> Reader {
    let reader = Reader::of_attention();
    reader.replace(LIB, "todo!(\"write `scores`\")", "Ok(q * k.transpose()) // mine");
    reader.write(SHEET, "scores = [0, 2, 2]\nweights = [1, 2, 3]\noutput = [1, 2]\n");
    reader.write("01-attention/src/notes.rs", "// my notes\n");
    reader
}

#[test]
fn a_starter_is_the_chapter_without_the_bodies_of_its_exercises() {
    let reader = Reader::of_attention();
    let original =
        fs::read_to_string(book().join("chapters/01-attention/src/lib.rs")).unwrap();
    let starter = reader.read(LIB);
    for name in ["scores", "softmax_by_rows", "Mask::hide", "attend"] {
        assert!(starter.contains(&format!("todo!(\"write `{name}`\")")), "{name}");
    }
    assert_eq!(starter.matches("todo!").count(), 4);
    // Docs and signatures stay, and so does what is no exercise.
    for kept in [
        "/// How well each query fits each key: `Q Kᵀ / √d_k`, (queries, keys).",
        "pub fn softmax_by_rows(mut scores: DMatrix<f32>) -> DMatrix<f32> {",
        "    pub fn hide(&self, scores: &mut DMatrix<f32>) -> Result<(), ShapeError> {",
    ] {
        assert!(original.contains(kept) && starter.contains(kept), "{kept}");
    }
    let of = |text: &str, from: &str| text.split_once(from).unwrap().1.to_owned();
    let after_hide = "/// Turns each row of scores into weights, all rows at a time";
    assert_eq!(of(&starter, after_hide), of(&original, after_hide));
    assert!(reader.my().join("01-attention/tests/it/laws.rs").is_file());
    assert!(!reader.my().join("01-attention/tests/it/course.rs").exists());
}

#[test]
fn starting_again_without_saying_so_changes_nothing() {
    let reader = at_work();
    let before = reader.files("");
    let said = reader.says(&["start"]);
    assert!(said.contains("is there and stays as it is"), "{said}");
    for (path, bytes) in reader.files("01-attention") {
        assert_eq!(bytes, before[&Path::new("01-attention").join(path)]);
    }
}

#[test]
fn a_dry_run_says_what_it_would_do_and_does_nothing() {
    let reader = Reader::new();
    let said = reader.says(&["start", "attention", "--dry-run"]);
    assert!(said.contains("4 functions to write, 2 sheets to fill in"), "{said}");
    assert!(said.ends_with("nothing was done\n"), "{said}");
    assert!(!reader.my().exists());
}

#[test]
fn beginning_again_keeps_every_file() {
    let reader = at_work();
    let before = reader.files("01-attention");
    let said = reader.says(&["start", "--again", "attention"]);
    assert!(said.contains("backups/001-attention"), "{said}");
    assert_eq!(reader.files(".course/backups/001-attention/01-attention"), before);
    assert!(reader.read(LIB).contains("todo!(\"write `scores`\")"));
    reader.says(&["start", "--again", "attention"]);
    assert_eq!(reader.files(".course/backups/001-attention/01-attention"), before);
    assert!(reader.my().join(".course/backups/002-attention").is_dir());
}

#[test]
fn a_reset_takes_one_function_back_and_keeps_the_file() {
    let reader = at_work();
    reader.replace(LIB, "todo!(\"write `attend`\")", "unimplemented!() // mine too");
    let before = reader.read(LIB);
    let said = reader.says(&["reset", "scores"]);
    assert!(said.contains("what you had is in"), "{said}");
    let after = reader.read(LIB);
    assert!(
        after.contains("todo!(\"write `scores`\")") && !after.contains("// mine\n")
    );
    assert!(after.contains("unimplemented!() // mine too"), "others stay");
    assert_eq!(reader.read(".course/backups/001-scores/lib.rs"), before);
}

#[test]
fn a_reset_brings_a_name_a_signature_or_a_file_back() {
    let reader = at_work();
    reader.replace(
        LIB,
        "pub fn attend(\n    q: DMatrixView<f32>,",
        "pub fn attend(\n    q: f32,",
    );
    let said = reader.says(&["reset", "attend"]);
    assert!(
        said.contains("`attend` is back to its starter, signature and all"),
        "{said}"
    );
    assert!(reader.read(LIB).contains("pub fn attend(\n    q: DMatrixView<f32>,"));
    assert!(reader.read(LIB).contains("// mine"), "others stay");

    fs::remove_file(reader.my().join(LIB)).unwrap();
    let said = reader.refuses(&["check", "scores"]);
    assert!(
        said.contains("lib.rs is gone: cargo course reset attention/scores"),
        "{said}"
    );
    let said = reader.says(&["reset", "scores"]);
    assert!(said.contains("was gone; all of it is as it began"), "{said}");
    assert!(reader.read(LIB).contains("todo!(\"write `scores`\")"));

    fs::write(reader.my().join(LIB), b"// caf\xe9\n").unwrap();
    let said = reader.refuses(&["check", "scores"]);
    assert!(
        said.contains("is not text in UTF-8 (line 1): cargo course start --again"),
        "{said}"
    );
}

#[test]
fn a_reset_takes_one_sheet_back_and_keeps_it() {
    let reader = at_work();
    let before = reader.read(SHEET);
    reader.says(&["reset", "attention/by-hand"]);
    assert!(reader.read(SHEET).contains("scores = [nan, nan, nan]"));
    assert_eq!(reader.read(".course/backups/001-by-hand/by-hand.toml"), before);
}

#[test]
fn a_file_that_is_no_rust_is_left_alone() {
    let reader = at_work();
    reader.write(LIB, "pub fn scores( {");
    let said = reader.refuses(&["reset", "scores"]);
    assert!(said.contains("cargo course start --again attention"), "{said}");
    assert_eq!(reader.read(LIB), "pub fn scores( {");
}

#[test]
fn where_nothing_can_be_written_nothing_is_lost() {
    // A file where a folder should be refuses everybody, the root user too.
    let reader = Reader::new();
    fs::write(reader.my(), "not a folder").unwrap();
    let said = reader.refuses(&["start", "attention"]);
    assert!(said.contains("cannot write to"), "{said}");
    assert_eq!(fs::read_to_string(reader.my()).unwrap(), "not a folder");

    let reader = at_work();
    reader.write(".course/backups", "not a folder");
    let before = reader.files("01-attention");
    for arguments in
        [["start", "--again", "attention"].as_slice(), &["reset", "scores"]]
    {
        let said = reader.refuses(arguments);
        assert!(said.contains("cannot write to"), "{said}");
        assert_eq!(reader.files("01-attention"), before, "{arguments:?}");
    }
}

#[test]
fn an_interrupted_run_leaves_nothing_that_a_second_does_not_mend() {
    // Stopped while the chapter was being put together.
    let reader = at_work();
    reader.write(".course/making-1a2b/01-attention/src/lib.rs", "half a file");
    let before = reader.files("01-attention");
    reader.says(&["start", "attention"]);
    assert_eq!(reader.files("01-attention"), before);
    assert!(reader.files(".course/making-1a2b").is_empty());

    // Stopped after the backup and before the new chapter.
    let backup = reader.my().join(".course/backups/001-attention");
    fs::create_dir_all(&backup).unwrap();
    fs::rename(reader.my().join("01-attention"), backup.join("01-attention")).unwrap();
    reader.says(&["start", "attention"]);
    assert!(reader.read(LIB).contains("todo!(\"write `scores`\")"));
    assert_eq!(reader.files(".course/backups/001-attention/01-attention"), before);
}

#[test]
fn a_manifest_that_the_reader_changed_is_kept() {
    let reader = at_work();
    let changed = reader.read("Cargo.toml") + "# mine\n";
    reader.write("Cargo.toml", &changed);
    reader.says(&["start", "--again", "attention"]);
    assert_eq!(reader.read(".course/backups/001-workspace/Cargo.toml"), changed);
}

#[test]
fn a_progress_file_that_is_damaged_is_not_thrown_away() {
    let reader = at_work();
    reader.write(".course/progress.toml", "done = [");
    let said = reader.refuses(&["hint", "attention/scores"]);
    assert!(said.contains("progress.toml is damaged"), "{said}");
    assert_eq!(reader.read(".course/progress.toml"), "done = [");
}
