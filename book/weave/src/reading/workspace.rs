//! The folders of the book: crates by name, their sources, snapshots and drawings.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use anyhow::{Context, Result};
use syllabus::Chapter;

use super::source::Source;
use crate::report::{Fault, Problem, did_you_mean};

/// The workspace around the book. Every path it gives is relative to its root.
pub(crate) struct Workspace {
    root: PathBuf,
    /// Where its files can be read online, as book.toml says.
    pub repository: Option<String>,
    crates: BTreeMap<String, Crate>,
    sources: Mutex<HashMap<PathBuf, Arc<Parsed>>>,
}

/// A file that is parsed when it is first asked for.
type Parsed = OnceLock<Result<Arc<Source>, Problem>>;

/// What the manifest of a crate says.
#[derive(Default)]
pub(crate) struct Crate {
    /// As paths in the prose write it, but with hyphens.
    pub name: String,
    /// Relative to the root.
    pub folder: PathBuf,
    /// The crates of the workspace that it needs, other than for its tests.
    pub needs: Vec<String>,
    /// Its exercises, once somebody has asked for them.
    pub syllabus: OnceLock<Result<Option<Chapter>, Problem>>,
}

/// The number and the page of a chapter, as the name of its folder says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place<'a> {
    /// `9` of `chapters/09-flash`.
    pub number: u32,
    /// `flash`: the page without its ending.
    pub page: &'a str,
}

impl Place<'_> {
    fn of(folder: &Path) -> Option<Place<'_>> {
        let name = folder.strip_prefix("chapters").ok()?.to_str()?;
        let (number, page) = name.split_once('-')?;
        Some(Place { number: number.parse().ok()?, page })
    }
}

impl Workspace {
    /// Finds the crates in `chapters/` and `book/`.
    ///
    /// # Errors
    /// When a manifest cannot be read.
    pub(crate) fn open(root: &Path, repository: Option<String>) -> Result<Workspace> {
        let mut crates = BTreeMap::new();
        for group in ["book", "chapters"] {
            for folder in entries(&root.join(group)) {
                let manifest = folder.join("Cargo.toml");
                if manifest.is_file() {
                    let folder = folder.strip_prefix(root)?.to_owned();
                    let found = read_manifest(&manifest, folder)?;
                    crates.insert(found.name.clone(), found);
                }
            }
        }
        let names: Vec<String> = crates.keys().cloned().collect();
        for one in crates.values_mut() {
            one.needs.retain(|name| names.contains(name));
        }
        let repository = repository.map(|url| url.trim_end_matches('/').to_owned());
        let (root, sources) = (root.to_owned(), Mutex::default());
        Ok(Workspace { root, repository, crates, sources })
    }

    /// Every crate, by name.
    pub(crate) fn crates(&self) -> impl Iterator<Item = &Crate> {
        self.crates.values()
    }

    /// The exercises of a crate, which are read once; nothing if it has none.
    ///
    /// # Errors
    /// When its `course.toml` asks for something that makes no sense.
    pub(crate) fn syllabus<'a>(
        &self,
        krate: &'a Crate,
    ) -> Result<Option<&'a Chapter>, Fault> {
        let read = || {
            Chapter::open(&self.root.join(&krate.folder)).map_err(|e| {
                let file = krate.folder.join(syllabus::FILE);
                // The file's path is in the error, and is told anyway.
                let message = e.chain().skip(1).map(ToString::to_string);
                let message = message.collect::<Vec<_>>().join(": ");
                Problem { file, line: 1, message }
            })
        };
        let known = krate.syllabus.get_or_init(read).as_ref();
        known.map(Option::as_ref).map_err(|problem| Fault::There(problem.clone()))
    }

    /// The folder of a crate.
    ///
    /// # Errors
    /// The nearest crate, when there is none of that name.
    pub(crate) fn folder(&self, krate: &str) -> Result<&Path, Fault> {
        let names = self.crates.keys().map(String::as_str);
        self.crates.get(krate).map(|found| found.folder.as_path()).ok_or_else(|| {
            let hint = did_you_mean(krate, names);
            Fault::Here(format!("no crate `{krate}` in chapters/ or book/{hint}"))
        })
    }

    /// The crate whose chapter stands on the page `name.md`: that in `chapters/NN-name`.
    pub(crate) fn told_on(&self, page: &Path) -> Option<&Crate> {
        let name = page.file_stem()?.to_str()?;
        self.chapters().find(|(_, place)| place.page == name).map(|(krate, _)| krate)
    }

    /// The crates that are chapters, each with its place in the book.
    pub(crate) fn chapters(&self) -> impl Iterator<Item = (&Crate, Place<'_>)> {
        self.crates.values().filter_map(|one| Some((one, Place::of(&one.folder)?)))
    }

    /// Where the chapter of a crate stands.
    ///
    /// # Errors
    /// The nearest chapter, when there is none of that name.
    pub(crate) fn place(&self, krate: &str) -> Result<Place<'_>, Fault> {
        let found = self.chapters().find(|(one, _)| one.name == krate);
        found.map(|(_, place)| place).ok_or_else(|| {
            let names = self.chapters().map(|(one, _)| one.name.as_str());
            let hint = did_you_mean(krate, names);
            Fault::Here(format!("no chapter `{krate}` in chapters/{hint}"))
        })
    }

    /// The drawings of a crate: `images/01-attention` for a chapter in that folder.
    ///
    /// # Errors
    /// When there is no such crate.
    pub(crate) fn images(&self, krate: &str) -> Result<PathBuf, Fault> {
        let folder = self.folder(krate)?;
        Ok(Path::new("images").join(folder.file_name().unwrap_or_default()))
    }

    /// `src/lib.rs`, or `src/main.rs` where there is no library.
    ///
    /// # Errors
    /// When there is no such crate, or its file cannot be parsed.
    pub(crate) fn root_source(&self, krate: &str) -> Result<Arc<Source>, Fault> {
        let src = self.folder(krate)?.join("src");
        let library = src.join("lib.rs");
        let is_library = self.root.join(&library).is_file();
        self.source(&if is_library { library } else { src.join("main.rs") })
    }

    /// The file that holds the item `name` of a crate, and the item's name in that file.
    ///
    /// # Errors
    /// When the crate does not exist, or a file on the way cannot be parsed.
    pub(crate) fn locate<'a>(
        &self,
        krate: &str,
        name: &'a str,
    ) -> Result<(Arc<Source>, &'a str), Fault> {
        let folder = self.folder(krate)?;
        if let Some((group, inside)) = name.split_once("::")
            && let Some(group) = outside_of_src(group)
            && let Some((file, item)) = inside.split_once("::")
            && let Some(file) = self.module_file(&folder.join(group).join(file))
        {
            return Ok((self.source(&file)?, item));
        }
        let mut source = self.root_source(krate)?;
        let mut module = folder.join("src");
        let mut item = name;
        while let Some((first, rest)) = item.split_once("::") {
            module.push(first);
            let Some(file) = self.module_file(&module) else { break };
            source = self.source(&file)?;
            item = rest;
        }
        Ok((source, item))
    }

    fn module_file(&self, module: &Path) -> Option<PathBuf> {
        let files = [module.with_extension("rs"), module.join("mod.rs")];
        files.into_iter().find(|file| self.root.join(file).is_file())
    }

    /// The parsed file at `path`; each is read once.
    fn source(&self, path: &Path) -> Result<Arc<Source>, Fault> {
        // Pages are woven side by side: while one file is parsed, others can be asked for.
        let place = {
            let mut all = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry(path.to_owned()).or_default())
        };
        let read = || match fs::read_to_string(self.root.join(path)) {
            Ok(text) => Source::parse(path, text).map(Arc::new),
            Err(e) => {
                let message = format!("cannot be read: {e}");
                Err(Problem { file: path.to_owned(), line: 1, message })
            }
        };
        place.get_or_init(read).clone().map_err(Fault::There)
    }

    /// The text of a file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn read(&self, path: &Path) -> Result<String, Fault> {
        fs::read_to_string(self.root.join(path))
            .map_err(|e| Fault::Here(format!("cannot read {}: {e}", path.display())))
    }

    /// Whether there is such a file.
    pub(crate) fn has(&self, path: &Path) -> bool {
        self.root.join(path).is_file()
    }

    /// The files of a folder that end in `extension`, sorted; none if there is no folder.
    pub(crate) fn files(&self, folder: &Path, extension: &str) -> Vec<PathBuf> {
        entries(&self.root.join(folder))
            .into_iter()
            .filter(|file| file.extension().is_some_and(|found| found == extension))
            .map(|file| folder.join(file.file_name().unwrap_or_default()))
            .collect()
    }
}

/// The folder of the modules that are in no library, by the name of their group.
fn outside_of_src(group: &str) -> Option<&'static str> {
    match group {
        "tests" => Some("tests/it"),
        "benches" => Some("benches"),
        _ => None,
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    found.sort();
    found
}

fn read_manifest(manifest: &Path, folder: PathBuf) -> Result<Crate> {
    let about = || format!("cannot read {}", manifest.display());
    let text = fs::read_to_string(manifest).with_context(about)?;
    let table: toml::Table = text.parse().with_context(about)?;
    let name = table
        .get("package")
        .and_then(|package| package.get("name"))
        .and_then(toml::Value::as_str)
        .with_context(|| format!("{} names no package", manifest.display()))?
        .replace('_', "-");
    let dependencies = table.get("dependencies").and_then(toml::Value::as_table);
    let needs = dependencies.into_iter().flat_map(toml::Table::keys);
    let needs = needs.map(|name| name.replace('_', "-")).collect();
    Ok(Crate { name, folder, needs, ..Crate::default() })
}
