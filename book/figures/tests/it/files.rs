//! Figures on disk: written whole, and checked to be what the code draws.

use figures::{Axis, Chart, Figure, Hue, Stale, Words, check_current, save};
use std::fs;
use std::path::Path;

fn figure(name: &str, title: &str, end: f64) -> Figure {
    let words = Words { title: title.into(), caption: "c".into(), alt: "a".into() };
    let (x, y) = (Axis::linear("x").range(0.0, 1.0), Axis::linear("y").range(0.0, 1.0));
    let chart = Chart::new(x, y).line("", Hue::Flash, [(0.0, 0.0), (1.0, end)]);
    Figure::draw(name, words, &chart).unwrap()
}

fn complaints(dir: &Path, figures: &[Figure]) -> Vec<String> {
    let complaint = |stale: Stale| {
        let stale = stale.to_string();
        stale.replace(&format!("{}/", dir.display()), "")
    };
    check_current(dir, figures).unwrap_err().into_iter().map(complaint).collect()
}

#[test]
fn saved_figures_are_current() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("05-grouped-query");
    let figures = [figure("one", "One", 1.0), figure("two", "Two", 0.5)];
    save(&dir, &figures).unwrap();
    assert_eq!(check_current(&dir, &figures), Ok(()));
    let mut files: Vec<_> =
        fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["one.svg", "two.svg"]);
}

#[test]
fn saving_removes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    save(dir.path(), &[figure("one", "One", 1.0)]).unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("notes.txt")).unwrap(), "mine");
}

#[test]
fn a_failed_save_names_the_path() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = save(&file, &[figure("one", "One", 1.0)]).unwrap_err();
    assert!(error.to_string().starts_with(&file.display().to_string()), "{error}");
}

#[test]
fn half_a_pixel_is_no_difference() {
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), &[figure("one", "One", 0.5)]).unwrap();
    // The plot is about 210 pixels high: 0.0008 of it is a sixth of a pixel.
    assert_eq!(check_current(dir.path(), &[figure("one", "One", 0.5008)]), Ok(()));
    assert!(check_current(dir.path(), &[figure("one", "One", 0.51)]).is_err());
}

#[test]
fn every_stale_file_is_named_with_its_first_difference() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("05-grouped-query");
    save(&dir, &[figure("title", "Old", 1.0), figure("stray", "Stray", 1.0)]).unwrap();
    fs::write(dir.join("broken.svg"), "<svg").unwrap();
    let figures = [
        figure("title", "New", 1.0),
        figure("missing", "Missing", 1.0),
        figure("broken", "Broken", 1.0),
    ];
    // Each system has words of its own for it.
    let missing = std::fs::read_to_string(dir.join("missing.svg")).unwrap_err();
    let complaints = complaints(&dir, &figures).join("\n");
    insta::assert_snapshot!(complaints.replace(&missing.to_string(), "NO SUCH FILE"));
}

#[test]
fn a_moved_line_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("01-attention");
    save(&dir, &[figure("one", "One", 1.0)]).unwrap();
    insta::assert_snapshot!(complaints(&dir, &[figure("one", "One", 0.25)]).join("\n"));
}
