//! What README.md says of the chapters is what lies in their folders.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// The kinds of tests that the table tells of.
const KINDS: [&str; 9] = [
    "command",
    "course",
    "edges",
    "figures",
    "hostile",
    "laws",
    "outputs",
    "reference",
    "whole",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The folders of the chapters that have a page, by their number: `09-flash` by 9.
fn chapters() -> BTreeMap<u32, String> {
    let entries = fs::read_dir(root().join("chapters")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let numbered = |folder: String| {
        let (number, name) = folder.split_once('-')?;
        let page = root().join(format!("book/src/{name}.md"));
        Some((number.parse().ok()?, page.is_file().then_some(folder)?))
    };
    names.filter_map(numbered).collect()
}

/// The cells of each row whose first is a number, for the table with this heading.
fn rows(heading: &str) -> BTreeMap<u32, Vec<String>> {
    let text = fs::read_to_string(root().join("README.md")).unwrap();
    let (_, table) = text.split_once(heading).expect("README.md has the table");
    let lines = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let cells = |line: &str| {
        let cells = line.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().to_owned()).collect::<Vec<String>>()
    };
    lines.map(cells).map(|row| (row[0].parse().unwrap(), row)).collect()
}

#[test]
fn the_first_table_has_every_chapter() {
    let expected = chapters().into_iter().map(|(number, folder)| {
        let name = folder.split_once('-').unwrap().1.to_owned();
        (number, format!("[`{name}`](chapters/{folder})"))
    });
    let told = rows("| | crate | asks |").into_iter();
    let told = told.map(|(number, row)| (number, row[1].clone()));
    assert_eq!(told.collect::<BTreeMap<_, _>>(), expected.collect());
}

#[test]
fn the_second_table_says_what_there_is_of_each_chapter() {
    let told = rows("| | code | tests | page | read by a stranger |");
    let numbers: Vec<u32> = chapters().into_keys().collect();
    assert_eq!(told.keys().copied().collect::<Vec<_>>(), numbers);
    for (number, folder) in chapters() {
        let name = folder.split_once('-').unwrap().1;
        let [_, code, tests, page, read] = told[&number].as_slice() else {
            panic!("chapter {number} has another number of cells")
        };
        let source = format!("chapters/{folder}/src/lib.rs");
        let prose = format!("book/src/{name}.md");
        assert!(root().join(&source).is_file());
        assert_eq!(*code, format!("[written]({source})"));
        assert_eq!(*page, format!("[written]({prose})"));
        let tests_of = root().join("chapters").join(&folder).join("tests/it");
        let there = |kind: &&str| tests_of.join(format!("{kind}.rs")).is_file();
        let kinds: Vec<&str> = KINDS.into_iter().filter(there).collect();
        assert_eq!(*tests, kinds.join(", "), "chapter {number}");
        assert!(!read.is_empty());
    }
}
