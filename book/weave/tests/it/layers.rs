//! The reading order is the dependency graph: what may not stand on what.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// A crate of the workspace: where it lies and which crates it names in its manifest.
struct Crate {
    folder: PathBuf,
    needs: Vec<String>,
}

fn crates() -> BTreeMap<String, Crate> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folders = ["book", "chapters"].into_iter().flat_map(|folder| {
        let entries = fs::read_dir(root.join(folder)).unwrap();
        entries.map(move |entry| Path::new(folder).join(entry.unwrap().file_name()))
    });
    let mut crates = BTreeMap::new();
    for folder in folders {
        let Ok(text) = fs::read_to_string(root.join(&folder).join("Cargo.toml")) else {
            continue;
        };
        let manifest: toml::Table = text.parse().unwrap();
        let name = manifest["package"]["name"].as_str().unwrap().to_owned();
        let tables = ["dependencies", "dev-dependencies", "build-dependencies"];
        let named =
            tables.into_iter().filter_map(|table| manifest.get(table)?.as_table());
        let needs = named.flat_map(|table| table.keys().cloned()).collect();
        crates.insert(name, Crate { folder, needs });
    }
    crates
}

/// `03` of `chapters/03-decoding`; nothing for what is no chapter.
fn number(folder: &Path) -> Option<u32> {
    let name = folder.strip_prefix("chapters").ok()?.to_str()?;
    name.split_once('-')?.0.parse().ok()
}

#[test]
fn no_chapter_needs_a_later_one() {
    let crates = crates();
    let mut chapters = 0;
    for (name, Crate { folder, needs }) in &crates {
        let Some(own) = number(folder) else { continue };
        chapters += 1;
        for need in needs {
            let Some(other) = crates.get(need).and_then(|c| number(&c.folder)) else {
                continue;
            };
            assert!(
                other < own,
                "`{name}` is chapter {own} and needs `{need}`, chapter {other}"
            );
        }
    }
    assert!(chapters > 0, "no chapters were found");
}

#[test]
fn what_all_chapters_share_knows_no_chapter() {
    let crates = crates();
    let shared = |name: &String| {
        let chapters = crates.values().filter(|c| number(&c.folder).is_some());
        name == "weave" || chapters.flat_map(|c| &c.needs).any(|need| need == name)
    };
    for (name, Crate { folder, needs }) in &crates {
        if number(folder).is_some() || !shared(name) {
            continue;
        }
        for need in needs {
            let chapter = crates.get(need).and_then(|c| number(&c.folder));
            assert!(chapter.is_none(), "`{name}` needs the chapter `{need}`");
        }
    }
}

#[test]
fn nothing_needs_the_weaver() {
    for (name, Crate { needs, .. }) in crates() {
        assert!(!needs.iter().any(|need| need == "weave"), "`{name}` needs the weaver");
    }
}
