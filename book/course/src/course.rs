//! Where the book is, and where the reader's folder is.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use syllabus::{Chapter, Exercise};

use crate::{files, progress::Progress};

/// The book and the reader's folder.
pub(crate) struct Course {
    /// The book.
    pub root: PathBuf,
    /// The reader's.
    pub my: PathBuf,
    /// Those with exercises, in reading order.
    pub chapters: Vec<Chapter>,
    /// What the crates in the folder are called after. Cargo takes two crates for one that
    /// have the same name and the same place in their workspaces, and all workspaces build
    /// into the book's `target`.
    pub label: &'static str,
}

/// The label of the reader's own crates.
const OWN: &str = "my";

/// An exercise, with its chapter.
#[derive(Clone, Copy)]
pub(crate) struct Chosen<'a> {
    /// Where it belongs.
    pub chapter: &'a Chapter,
    /// What it is.
    pub exercise: &'a Exercise,
}

impl Chosen<'_> {
    /// `attention/softmax`.
    pub(crate) fn id(&self) -> String {
        self.chapter.id(self.exercise)
    }
}

impl Course {
    /// The book at `root`, with the reader's folder inside it if `my` is none.
    ///
    /// # Errors
    /// When the book cannot be read.
    pub(crate) fn open(root: &Path, my: Option<&Path>) -> Result<Course> {
        let root = root
            .canonicalize()
            .with_context(|| format!("no book at {}", root.display()))?;
        let my = match my {
            Some(my) => std::path::absolute(my)?,
            None => root.join("my"),
        };
        let chapters = syllabus::chapters(&root)?;
        Ok(Course { root, my, chapters, label: OWN })
    }

    /// The reader's chapter.
    pub(crate) fn mine(&self, chapter: &Chapter) -> PathBuf {
        self.my.join(&chapter.folder)
    }

    /// What is the course's own in the reader's folder: progress, backups, the checks.
    pub(crate) fn own(&self) -> PathBuf {
        self.my.join(".course")
    }

    /// What the reader has done.
    ///
    /// # Errors
    /// When it is on file and cannot be read.
    pub(crate) fn progress(&self) -> Result<Progress> {
        Progress::read(&self.own())
    }

    /// The text of a file of the reader's, in a chapter's folder.
    ///
    /// # Errors
    /// When it cannot be read; then with the way back.
    pub(crate) fn text(&self, chosen: Chosen, file: &Path) -> Result<String> {
        let path = self.mine(chosen.chapter).join(file);
        files::read_text(&path).map_err(|why| {
            let way_back = if path.exists() {
                format!("cargo course start --again {}", chosen.chapter.name)
            } else {
                format!("cargo course reset {}", chosen.id())
            };
            anyhow::anyhow!(
                "{} {why}: {way_back} makes it anew and keeps what is there as a backup",
                self.told(&path)
            )
        })
    }

    /// The text of a source file of the reader's chapter, under the name that the compiler
    /// has for it; nothing where the file is another's.
    pub(crate) fn source_of(&self, chapter: &Chapter, file: &str) -> Option<String> {
        let path = self.my.join(file);
        path.starts_with(self.mine(chapter)).then(|| files::read(&path).ok()).flatten()
    }

    /// A path as the reader would type it.
    pub(crate) fn told(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }

    /// Whether the reader has begun the chapter.
    pub(crate) fn has_begun(&self, chapter: &Chapter) -> bool {
        self.mine(chapter).is_dir()
    }

    /// A chapter by name, folder or number.
    ///
    /// # Errors
    /// When there is none; the nearest name follows.
    pub(crate) fn chapter(&self, name: &str) -> Result<&Chapter> {
        let number = |chapter: &Chapter| {
            let (number, _) = chapter.folder.split_once('-')?;
            Some(number.trim_start_matches('0').to_owned())
        };
        let wanted = name.replace('_', "-");
        let found = self.chapters.iter().find(|chapter| {
            chapter.name == wanted
                || chapter.folder == wanted
                || number(chapter).is_some_and(|n| n == wanted.trim_start_matches('0'))
        });
        found.with_context(|| {
            let names = self.chapters.iter().map(|chapter| chapter.name.as_str());
            format!("no chapter `{name}` has exercises{}", did_you_mean(name, names))
        })
    }

    /// Every exercise, in reading order.
    pub(crate) fn all(&self) -> impl Iterator<Item = Chosen<'_>> {
        self.chapters.iter().flat_map(|chapter| {
            chapter.exercises.iter().map(move |exercise| Chosen { chapter, exercise })
        })
    }

    /// Refuses a chapter that the reader has not begun.
    ///
    /// # Errors
    /// When its folder is not there.
    pub(crate) fn needs(&self, chapter: &Chapter) -> Result<()> {
        if self.has_begun(chapter) {
            return Ok(());
        }
        let folder = self.told(&self.mine(chapter));
        bail!("{folder} is not there yet: cargo course start {}", chapter.name)
    }

    /// The sheet of an exercise that is filled in.
    pub(crate) fn sheet(&self, chosen: Chosen) -> PathBuf {
        let name = format!("{}.toml", chosen.exercise.name);
        self.mine(chosen.chapter).join("answers").join(name)
    }

    /// A folder in which a backup goes, new each time.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn backup(&self, of: &str) -> Result<PathBuf> {
        files::numbered(&self.own().join("backups"), of)
    }
}

/// `; did you mean …?` when a candidate is close, else nothing.
pub(crate) fn did_you_mean<'a>(
    name: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> String {
    candidates
        .map(|other| (strsim::normalized_damerau_levenshtein(name, other), other))
        .filter(|(likeness, _)| *likeness > 0.5)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map_or(String::new(), |(_, nearest)| format!("; did you mean `{nearest}`?"))
}
