//! The recordings that are committed: every chapter draws and quotes them.

use chapter_cli::Recorded;
use std::fs;
use std::path::{Path, PathBuf};

/// What `bench::Bench` writes, by name: other files of numbers have other readers.
const WRITTEN: [&str; 2] = ["recorded.csv", "pytorch.csv"];

fn committed() -> Vec<PathBuf> {
    let chapters = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../chapters");
    let chapters = fs::read_dir(chapters).unwrap().map(|entry| entry.unwrap().path());
    let files = chapters
        .flat_map(|chapter| WRITTEN.map(|file| chapter.join("benches").join(file)));
    files.filter(|file| file.exists()).collect()
}

#[test]
fn every_recording_reads_and_says_where_it_was_made() {
    let files = committed();
    assert!(files.len() >= 13, "{files:?}");
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let recorded = Recorded::parse(&text)
            .unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        for key in ["recorded", "processor", "cores", "instructions", "rustc", "crates"]
        {
            assert!(
                !recorded.condition(key).is_empty(),
                "{}: no {key}",
                file.display()
            );
        }
    }
}

#[test]
fn every_number_of_a_recording_is_a_positive_time_or_amount() {
    for file in committed() {
        let text = fs::read_to_string(&file).unwrap();
        let rows = text.lines().filter(|line| !line.starts_with('#')).skip(1);
        for row in rows {
            let fields: Vec<_> = row.split(',').collect();
            let [low, median, high] =
                [3, 2, 4].map(|at| fields[at].parse::<f64>().unwrap());
            let inside = 0.0 < low && low <= median && median <= high;
            assert!(inside, "{}: {row}", file.display());
        }
    }
}
