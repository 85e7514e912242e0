//! The manifests of the reader's workspace, made from the book's own: the same versions
//! and profiles, and paths to what the book has.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use syllabus::Chapter;
use toml::{Table, Value};

use crate::{course::Course, files};

/// What the course writes stands under this.
pub(crate) const MADE: &str = "# Made by `cargo course start`.\n";

/// How the reader's crates are compiled: quickly, since a check computes little.
const OPTIMIZATION: i64 = 1;

/// A file, and what should be in it.
pub(crate) type Made = (PathBuf, String);

/// The reader's crate of a chapter.
pub(crate) fn my_name(course: &Course, chapter: &Chapter) -> String {
    format!("{}-{}", course.label, chapter.name)
}

/// The program that checks the reader's functions.
pub(crate) fn check_name(course: &Course, chapter: &Chapter) -> String {
    format!("check-{}", my_name(course, chapter))
}

/// The program that knows the answers.
pub(crate) fn oracle_name(chapter: &Chapter) -> String {
    format!("oracle-{}", chapter.name)
}

fn ident(name: &str) -> String {
    name.replace('-', "_")
}

/// Everything that the workspace needs beside the chapters themselves.
///
/// # Errors
/// When the book's manifests cannot be read.
pub(crate) fn workspace(course: &Course, begun: &[&Chapter]) -> Result<Vec<Made>> {
    let mut made = vec![
        (PathBuf::from("Cargo.toml"), root(course, begun)?),
        (PathBuf::from(".cargo/config.toml"), config(course)?),
        (
            PathBuf::from(".gitignore"),
            "/.course/making*\n/.course/build\n/.course/alone\n".to_owned(),
        ),
        (PathBuf::from("AGENTS.md"), include_str!("agents.md").to_owned()),
    ];
    for chapter in begun {
        made.extend(programs(course, chapter)?);
    }
    Ok(made)
}

/// The book's folder, seen from a folder `depth` below the reader's.
fn book(course: &Course, depth: usize) -> PathBuf {
    match course.my.parent() {
        Some(parent) if parent == course.root => {
            (0..=depth).map(|_| "..").collect::<PathBuf>()
        }
        _ => course.root.clone(),
    }
}

fn config(course: &Course) -> Result<String> {
    // One folder for both workspaces, so that nothing is built twice.
    let target = book(course, 0).join("target");
    let mut build = Table::new();
    build.insert("target-dir".to_owned(), text(&target));
    let mut config = Table::new();
    config.insert("build".to_owned(), Value::Table(build));
    // Here, too, `cargo course` is the book's. An alias is cut at spaces, and an array
    // would not go with the string of the folder above.
    let manifest = course.root.join("Cargo.toml").to_string_lossy().into_owned();
    if !manifest.contains(char::is_whitespace) {
        let run = format!("run --quiet --manifest-path {manifest} --package course --");
        let mut alias = Table::new();
        alias.insert("course".to_owned(), Value::String(run));
        config.insert("alias".to_owned(), Value::Table(alias));
    }
    Ok(MADE.to_owned() + &toml::to_string(&config)?)
}

fn text(path: &Path) -> Value {
    Value::String(path.to_string_lossy().into_owned())
}

fn read(path: &Path) -> Result<Table> {
    files::read(path)?
        .parse()
        .with_context(|| format!("cannot read {}", path.display()))
}

fn table<'a>(of: &'a Table, keys: &[&str]) -> Option<&'a Table> {
    keys.iter().try_fold(of, |table, key| table.get(*key)?.as_table())
}

fn root(course: &Course, begun: &[&Chapter]) -> Result<String> {
    let book_manifest = read(&course.root.join("Cargo.toml"))?;
    let mut workspace =
        table(&book_manifest, &["workspace"]).cloned().unwrap_or_default();
    let own = begun.iter().flat_map(|chapter| {
        let programs = format!(".course/build/{}", chapter.name);
        [
            chapter.folder.clone(),
            format!("{programs}/check"),
            format!("{programs}/oracle"),
        ]
    });
    let members = own.map(Value::String).collect();
    workspace.retain(|key, _| ["resolver", "package", "dependencies"].contains(&key));
    workspace.insert("members".to_owned(), Value::Array(members));
    let dependencies = workspace.get_mut("dependencies").and_then(Value::as_table_mut);
    for (_, dependency) in dependencies.into_iter().flatten() {
        if let Some(path) = dependency.get_mut("path")
            && let Some(inside) = path.as_str()
        {
            *path = text(&book(course, 0).join(inside));
        }
    }
    let mut manifest = Table::new();
    manifest.insert("workspace".to_owned(), Value::Table(workspace));
    manifest.insert("profile".to_owned(), profiles(course, &book_manifest, begun)?);
    let about =
        "# Your own workspace: the book's versions and profiles, and your crates.\n";
    Ok([MADE, about, "\n", &toml::to_string(&manifest)?].concat())
}

/// The book's profiles, for what is compiled here. Cargo warns of settings for packages
/// that are not in the graph.
fn profiles(course: &Course, manifest: &Table, begun: &[&Chapter]) -> Result<Value> {
    let mut profile = table(manifest, &["profile"]).cloned().unwrap_or_default();
    let used = used_packages(course, begun)?;
    for name in ["dev", "test"] {
        let packages = profile
            .get_mut(name)
            .and_then(|profile| profile.get_mut("package"))
            .and_then(Value::as_table_mut);
        let Some(packages) = packages else { continue };
        packages.retain(|name, _| used.contains(name));
        for chapter in begun {
            let mut level = Table::new();
            level.insert("opt-level".to_owned(), Value::Integer(OPTIMIZATION));
            packages.insert(my_name(course, chapter), Value::Table(level));
        }
    }
    Ok(Value::Table(profile))
}

/// What the chapters stand on, by the book's lock file.
fn used_packages(course: &Course, begun: &[&Chapter]) -> Result<BTreeSet<String>> {
    let lock = read(&course.root.join("Cargo.lock"))?;
    let packages = lock.get("package").and_then(Value::as_array);
    let mut needs: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in packages.into_iter().flatten() {
        let Some(name) = package.get("name").and_then(Value::as_str) else { continue };
        let found = package.get("dependencies").and_then(Value::as_array);
        let found = found.into_iter().flatten().filter_map(Value::as_str);
        // `similar 3.2.1` where there are two of them.
        let names = found.filter_map(|need| need.split_whitespace().next());
        needs.entry(name).or_default().extend(names);
    }
    let mut open: Vec<&str> =
        begun.iter().map(|chapter| chapter.name.as_str()).collect();
    let mut used = BTreeSet::new();
    while let Some(name) = open.pop() {
        if used.insert(name.to_owned()) {
            open.extend(needs.get(name).into_iter().flatten());
        }
    }
    Ok(used)
}

/// The manifest of the reader's crate: the chapter's, without what the reader has not.
///
/// # Errors
/// When the chapter's cannot be read.
pub(crate) fn mine(
    course: &Course,
    chapter: &Chapter,
    tests: &[String],
) -> Result<String> {
    let mut manifest = read(&chapter.path.join("Cargo.toml"))?;
    let package = manifest.get_mut("package").and_then(Value::as_table_mut);
    let package = package.context("a chapter's manifest has a package")?;
    package.insert("name".to_owned(), Value::String(my_name(course, chapter)));
    package.insert("autobenches".to_owned(), Value::Boolean(false));
    manifest.remove("bench");
    manifest.insert("lints".to_owned(), Value::Table(lints()));
    let library = manifest.entry("lib").or_insert_with(|| Value::Table(Table::new()));
    if let Some(library) = library.as_table_mut() {
        library.insert("name".to_owned(), Value::String(ident(&chapter.name)));
        // The chapter has none in its library; a reader may write some.
        library.remove("test");
    }
    if let Some(needed) =
        manifest.get_mut("dev-dependencies").and_then(Value::as_table_mut)
    {
        needed.retain(|name, _| tests.iter().any(|test| test.contains(&ident(name))));
    }
    let about = format!("# Chapter {}, yours to write.\n\n", chapter.folder);
    Ok([MADE, &about, &toml::to_string(&manifest)?].concat())
}

/// A body that is taken out leaves parameters, imports and helpers unused. To warn of them
/// would send a reader after what the body needs, and `cargo fix` would remove it.
fn lints() -> Table {
    let allowed = ["unused_variables", "unused_imports", "unused_mut", "dead_code"];
    let level = |name: &str| (name.to_owned(), Value::String("allow".to_owned()));
    let rust = allowed.into_iter().map(level).collect();
    Table::from_iter([("rust".to_owned(), Value::Table(rust))])
}

/// The two programs of a chapter. Both compile its `tests/it/course.rs`: one with the
/// chapter's crate, the other with the reader's.
fn programs(course: &Course, chapter: &Chapter) -> Result<Vec<Made>> {
    let source = chapter.path.join("tests/it/course.rs");
    let text_of_source = files::read(&source)?;
    let manifest = read(&chapter.path.join("Cargo.toml"))?;
    let mut needs = table(&manifest, &["dependencies"]).cloned().unwrap_or_default();
    for (name, need) in table(&manifest, &["dev-dependencies"]).into_iter().flatten() {
        if text_of_source.contains(&ident(name)) {
            needs.insert(name.clone(), need.clone());
        }
    }
    let book = book(course, 4);
    let source = book.join("chapters").join(&chapter.folder).join("tests/it/course.rs");
    let crate_at = |path: &Path, package: &str| {
        let path = ("path".to_owned(), text(path));
        let package = ("package".to_owned(), Value::String(package.to_owned()));
        Value::Table(Table::from_iter([path, package]))
    };
    let chapters_own = book.join("chapters").join(&chapter.folder);
    let my_own = Path::new("../../../..").join(&chapter.folder);
    let (check, oracle) = (check_name(course, chapter), oracle_name(chapter));

    let mut oracle_needs = needs.clone();
    oracle_needs.insert(chapter.name.clone(), crate_at(&chapters_own, &chapter.name));
    let mut check_needs = needs;
    check_needs
        .insert(chapter.name.clone(), crate_at(&my_own, &my_name(course, chapter)));
    check_needs.insert("oracle".to_owned(), crate_at(Path::new("../oracle"), &oracle));

    let folder = Path::new(".course/build").join(&chapter.name);
    let (mine, theirs) = (ident(&check), ident(&oracle));
    let judge = format!("exercises::check(&{mine}::exercises(), &oracle::exercises())");
    let know = format!("exercises::oracle(&{theirs}::exercises())");
    let mut made = Vec::new();
    for (part, name, needs, call) in
        [("check", check, check_needs, judge), ("oracle", oracle, oracle_needs, know)]
    {
        let folder = folder.join(part);
        let manifest = program(&name, &source, needs);
        made.push((
            folder.join("Cargo.toml"),
            MADE.to_owned() + &toml::to_string(&manifest)?,
        ));
        let main = format!("fn main() -> std::process::ExitCode {{\n    {call}\n}}\n");
        made.push((folder.join("src/main.rs"), main));
    }
    Ok(made)
}

fn program(name: &str, source: &Path, needs: Table) -> Table {
    let table = |pairs: Vec<(&str, Value)>| {
        let pairs = pairs.into_iter().map(|(key, value)| (key.to_owned(), value));
        Value::Table(pairs.collect())
    };
    let package = vec![
        ("name", Value::String(name.to_owned())),
        ("edition", table(vec![("workspace", Value::Boolean(true))])),
        ("publish", Value::Boolean(false)),
    ];
    let library = vec![
        ("name", Value::String(ident(name))),
        ("path", text(source)),
        ("test", Value::Boolean(false)),
        ("doctest", Value::Boolean(false)),
    ];
    let mut manifest = Table::new();
    manifest.insert("package".to_owned(), table(package));
    manifest.insert("lib".to_owned(), table(library));
    manifest.insert("dependencies".to_owned(), Value::Table(needs));
    manifest
}
