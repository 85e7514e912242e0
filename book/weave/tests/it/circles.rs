//! No two files of a crate import each other, nor do more of them in a ring: whatever a
//! file needs can be read before it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A path from the root of a crate: `[]` is the root, `["reading", "source"]` a module.
type Names = Vec<String>;

#[test]
fn no_two_files_import_each_other() {
    let mut circles = Vec::new();
    let mut files = 0;
    for folder in crates() {
        let krate = Crate::read(&folder.join("src"));
        files += krate.names.len();
        circles
            .extend(krate.circle().map(|circle| format!("{} {circle}", name(&folder))));
    }
    assert!(files > 100, "only {files} files were found");
    assert!(circles.is_empty(), "these files import each other: {circles:?}");
}

#[test]
fn a_circle_is_found_through_braces_modules_and_names_passed_on() {
    let krate = |files: &[(&[&str], &str)]| {
        let names = files.iter().map(|(at, _)| (owned(at), BTreeSet::new())).collect();
        let mut krate = Crate { names, ..Crate::default() };
        for (at, text) in files {
            krate.add(&owned(at), text);
        }
        krate
    };
    let root = "mod a; mod b; pub use b::Passed;";
    for (a, b) in [
        ("use crate::b;", "//! What it is.\nuse super::a::f;"),
        ("use crate::b;", "pub(crate) use super::a::f; fn g() { f() }"),
        ("fn f() { crate::b::g() }", "use crate::{x, a::{self, f}};"),
        ("use crate::Passed;", "fn g() { vec![super::a::f()] }"),
    ] {
        let found = krate(&[(&[], root), (&["a"], a), (&["b"], b)]).circle();
        assert_eq!(found.as_deref(), Some("a, b"), "{a} {b}");
    }
    for (a, b) in [
        ("use crate::b;", "#[cfg(test)] mod tests { use crate::a; }"),
        ("use crate::b;", "/// [`crate::a`]\nfn g() { \"crate::a\"; }"),
    ] {
        assert_eq!(krate(&[(&[], root), (&["a"], a), (&["b"], b)]).circle(), None);
    }
    let ring = krate(&[
        (&[], "mod a; mod b; mod c;"),
        (&["a"], "use crate::b;"),
        (&["b"], "use crate::c;"),
        (&["c"], "use crate::a;"),
    ]);
    assert_eq!(ring.circle().as_deref(), Some("a, b, c"));
    let up = krate(&[(&[], "mod a; fn f() { a::g() }"), (&["a"], "use crate::f;")]);
    assert_eq!(up.circle().as_deref(), Some("the root, a"));
}

fn owned(names: &[&str]) -> Names {
    names.iter().map(ToString::to_string).collect()
}

fn crates() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let groups =
        ["book", "chapters"].map(|group| fs::read_dir(root.join(group)).unwrap());
    let mut found: Vec<PathBuf> = groups
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .filter(|folder| folder.join("src").is_dir())
        .filter(|folder| folder.join("Cargo.toml").is_file())
        .collect();
    found.sort();
    found
}

fn name(folder: &Path) -> &str {
    folder.file_name().unwrap().to_str().unwrap()
}

/// The files of a crate and what each of them names.
#[derive(Default)]
struct Crate {
    /// What each module that has a file names, as paths from the crate's root.
    names: BTreeMap<Names, BTreeSet<Names>>,
    /// `pub use`: what a module passes on, and from where.
    passed_on: BTreeMap<Names, Names>,
    /// Whether the root tells a story that other files continue, as a chapter's does.
    tells: bool,
}

impl Crate {
    fn read(src: &Path) -> Crate {
        let mut files = BTreeMap::new();
        modules(src, &[], &mut files);
        let group = src.parent().and_then(Path::parent);
        let mut krate = Crate {
            names: files.keys().map(|at| (at.clone(), BTreeSet::new())).collect(),
            tells: group.is_some_and(|group| name(group) == "chapters"),
            ..Crate::default()
        };
        for (at, file) in files {
            krate.add(&at, &fs::read_to_string(file).unwrap());
        }
        krate
    }

    /// Takes in the text of the file of module `at`.
    fn add(&mut self, at: &[String], text: &str) {
        let mut words = Vec::new();
        flatten(text.parse().unwrap(), &mut words);
        let mut next = 0;
        while next < words.len() {
            let before =
                |back: usize| next.checked_sub(back).map(|i| words[i].as_str());
            let begins = words.get(next + 1).is_some_and(|word| word == "::")
                && before(1) != Some("::");
            let Some(from) = self.start(at, &words[next]).filter(|_| begins) else {
                next += 1;
                continue;
            };
            let is_passed_on = before(1) == Some("use")
                && before(2).is_some_and(|word| ["pub", ")"].contains(&word));
            let mut tree = Tree { words: &words, next, found: Vec::new() };
            tree.read(from);
            next = tree.next.max(next + 1);
            for (path, known_as) in tree.found {
                // What a module passes on of its own children is no need of its own.
                if !(is_passed_on && path.starts_with(at)) {
                    self.names.entry(at.to_vec()).or_default().insert(path.clone());
                }
                if is_passed_on {
                    self.passed_on.insert([at, &[known_as]].concat(), path);
                }
            }
        }
    }

    /// Where a path that begins with `word` in module `at` starts from.
    fn start(&self, at: &[String], word: &str) -> Option<Names> {
        let child = [at, &[word.to_owned()]].concat();
        match word {
            "crate" => Some(Names::new()),
            "self" | "super" => Some(at.to_vec()),
            _ => self.names.contains_key(&child).then(|| at.to_vec()),
        }
    }

    /// The file in which a path ends, names that are passed on followed to where they
    /// come from.
    fn file_of(&self, path: &[String]) -> Option<Names> {
        let mut path = path.to_vec();
        for _ in 0..self.passed_on.len() {
            let longest = (1..=path.len()).rev().find(|&to| {
                !self.names.contains_key(&path[..to])
                    && self.passed_on.contains_key(&path[..to])
            });
            let Some(to) = longest else { break };
            path = [&self.passed_on[&path[..to]], &path[to..]].concat();
        }
        (0..=path.len())
            .rev()
            .map(|to| path[..to].to_vec())
            .find(|at| self.names.contains_key(at))
    }

    /// Files that need each other, if there are such.
    fn circle(&self) -> Option<String> {
        let mut needs: BTreeMap<Names, BTreeSet<Names>> = self
            .names
            .iter()
            .map(|(at, names)| {
                let files = names.iter().filter_map(|path| self.file_of(path));
                (at.clone(), files.filter(|file| file != at).collect())
            })
            .collect();
        if self.tells {
            needs.remove(&Names::new());
        }
        // Files that need none of the others go, and then those that nobody needs.
        loop {
            let all: BTreeSet<Names> = needs.keys().cloned().collect();
            let needed: BTreeSet<Names> = needs.values().flatten().cloned().collect();
            needs.retain(|at, needs| {
                needed.contains(at) && needs.iter().any(|need| all.contains(need))
            });
            if needs.len() == all.len() {
                break;
            }
        }
        let told = needs.keys().map(|at| match at.join("/").as_str() {
            "" => "the root".to_owned(),
            at => at.to_owned(),
        });
        let told: Vec<String> = told.collect();
        (!told.is_empty()).then(|| told.join(", "))
    }
}

/// What follows the beginning of a path: `a::{b, c::d as e}`.
struct Tree<'a> {
    words: &'a [String],
    next: usize,
    /// Each path, and the name that it is known by here.
    found: Vec<(Names, String)>,
}

impl Tree<'_> {
    fn read(&mut self, from: Names) {
        let Some(word) = self.words.get(self.next) else { return };
        self.next += 1;
        let below = match word.as_str() {
            "{" => {
                while self.words.get(self.next).is_some_and(|word| word != "}") {
                    self.read(from.clone());
                }
                self.next += 1;
                return;
            }
            "," => return,
            "crate" | "self" | "*" => from,
            "super" => from[..from.len().saturating_sub(1)].to_vec(),
            word => [from, vec![word.to_owned()]].concat(),
        };
        let continues = |word: &String| word == "{" || word == "*" || is_word(word);
        match self.words.get(self.next).map(String::as_str) {
            Some("::") if self.words.get(self.next + 1).is_some_and(continues) => {
                self.next += 1;
                self.read(below);
            }
            Some("as") => {
                let known_as = self.words.get(self.next + 1).cloned();
                self.next += 2;
                self.found.push((below, known_as.unwrap_or_default()));
            }
            _ => {
                let known_as = below.last().cloned().unwrap_or_default();
                self.found.push((below, known_as));
            }
        }
    }
}

/// Every file below `folder` by its module; a program beside a library is none of its files.
fn modules(folder: &Path, at: &[String], files: &mut BTreeMap<Names, PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            modules(&path, &[at, &[stem]].concat(), files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let is_root = ["lib", "mod"].contains(&stem.as_str())
                || (stem == "main" && !folder.join("lib.rs").is_file());
            let module = if is_root { at.to_vec() } else { [at, &[stem]].concat() };
            files.insert(module, path);
        }
    }
}

/// The words of some code in a row, `::` as one; tests left out.
fn flatten(code: TokenStream, words: &mut Vec<String>) {
    for token in code {
        match token {
            TokenTree::Group(group) => {
                if words.ends_with(&["mod".to_owned(), "tests".to_owned()]) {
                    continue;
                }
                let (open, close) = match group.delimiter() {
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    _ => ("(", ")"),
                };
                words.push(open.to_owned());
                flatten(group.stream(), words);
                words.push(close.to_owned());
            }
            TokenTree::Punct(sign)
                if sign.as_char() == ':'
                    && words.last().is_some_and(|last| last == ":") =>
            {
                words.pop();
                words.push("::".to_owned());
            }
            TokenTree::Literal(_) => words.push("literal".to_owned()),
            other => words.push(other.to_string()),
        }
    }
}

fn is_word(word: &str) -> bool {
    word.chars().all(|letter| letter.is_alphanumeric() || letter == '_')
}
