//! What there is to do in each chapter: the exercises that `chapters/NN-name/course.toml`
//! names, and the plain types in which a check tells what it found.
//!
//! This crate computes nothing, so the command line, the weaver and the checks can all
//! stand on it.

mod exercise;
mod heading;
pub mod verdict;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

pub use exercise::{Blank, Entries, Exercise, HINTS, Kind, Mistake};
pub use heading::Heading;

/// The file in a chapter's folder that makes it a part of the course.
pub const FILE: &str = "course.toml";

/// What stands in a sheet where nothing was filled in: a number as TOML writes it, so that
/// one that takes its place is written in the same way.
pub const BLANK: &str = "nan";

/// Whether a cell of a sheet was left blank. Sheets from before had question marks.
#[must_use]
pub fn is_blank(cell: &toml::Value) -> bool {
    match cell {
        toml::Value::Float(number) => number.is_nan(),
        toml::Value::String(text) => text.trim() == "?" || text.trim().is_empty(),
        _ => false,
    }
}

/// A chapter that has exercises.
#[derive(Debug, Clone)]
pub struct Chapter {
    /// The crate, as its manifest writes it: `multi-head`.
    pub name: String,
    /// `02-multi-head`: the folder's name.
    pub folder: String,
    /// Where it lies.
    pub path: PathBuf,
    /// In the order in which they are meant to be done.
    pub exercises: Vec<Exercise>,
}

impl Chapter {
    /// Reads the chapter in the folder `path`; nothing if it has no exercises.
    ///
    /// # Errors
    /// When a manifest cannot be read, or asks for something that makes no sense.
    pub fn open(path: &Path) -> Result<Option<Chapter>> {
        let file = path.join(FILE);
        if !file.is_file() {
            return Ok(None);
        }
        let chapter = read(path, &file).with_context(|| file.display().to_string())?;
        Ok(Some(chapter))
    }

    /// The exercise of that name.
    #[must_use]
    pub fn exercise(&self, name: &str) -> Option<&Exercise> {
        self.exercises.iter().find(|exercise| exercise.name == name)
    }

    /// `attention/softmax`: how an exercise is called on the command line and the page.
    #[must_use]
    pub fn id(&self, exercise: &Exercise) -> String {
        format!("{}/{}", self.name, exercise.name)
    }

    /// The page that tells of the chapter: `multi-head.html`. It carries no number, so that
    /// a chapter that moves keeps its address.
    #[must_use]
    pub fn page(&self) -> String {
        format!("{}.html", self.stem())
    }

    /// The prose of that page, below the root of the book: `book/src/multi-head.md`.
    #[must_use]
    pub fn prose(&self) -> PathBuf {
        Path::new("book/src").join(format!("{}.md", self.stem()))
    }

    fn stem(&self) -> &str {
        self.folder.split_once('-').map_or(&self.folder, |(_, stem)| stem)
    }
}

/// The chapters of the book at `root` that have exercises, in reading order.
///
/// # Errors
/// When a manifest cannot be read, or asks for something that makes no sense.
pub fn chapters(root: &Path) -> Result<Vec<Chapter>> {
    let folder = root.join("chapters");
    let entries = fs::read_dir(&folder)
        .with_context(|| format!("cannot read {}", folder.display()))?;
    let mut paths =
        entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    let chapters = paths.iter().map(|path| Chapter::open(path));
    chapters.filter_map(Result::transpose).collect()
}

#[derive(Deserialize)]
struct Manifest {
    package: Package,
}

#[derive(Deserialize)]
struct Package {
    name: String,
}

fn read(path: &Path, file: &Path) -> Result<Chapter> {
    let manifest: Manifest =
        toml::from_str(&fs::read_to_string(path.join("Cargo.toml"))?)?;
    let entries: Entries = toml::from_str(&fs::read_to_string(file)?)?;
    let exercises = entries.exercise;
    for (at, exercise) in exercises.iter().enumerate() {
        let name = &exercise.name;
        exercise.check().with_context(|| format!("exercise `{name}`"))?;
        if exercises[..at].iter().any(|other| other.name == *name) {
            bail!("two exercises are called `{name}`");
        }
    }
    let folder = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    ensure!(!folder.is_empty(), "a chapter's folder has a name");
    Ok(Chapter {
        name: manifest.package.name,
        folder: folder.to_owned(),
        path: path.to_owned(),
        exercises,
    })
}
