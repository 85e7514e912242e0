//! A small book in a folder of its own, to be changed and woven by the real binary.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

pub(crate) struct Fixture {
    folder: tempfile::TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Fixture {
        let fixture = Fixture { folder: tempfile::tempdir().unwrap() };
        let original =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/book");
        for (path, bytes) in files(&original) {
            fixture.write(&path, bytes);
        }
        fixture
    }

    pub(crate) fn root(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn write(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    #[allow(dead_code, reason = "not every test file changes the book")]
    /// Replaces the one place in a file that reads `old`.
    #[track_caller]
    pub(crate) fn replace(&self, path: &str, old: &str, new: &str) {
        let text = fs::read_to_string(self.root().join(path)).unwrap();
        assert_eq!(text.matches(old).count(), 1, "{path} should have {old:?} once");
        self.write(path, text.replace(old, new));
    }

    #[allow(dead_code, reason = "not every test file speaks of terms")]
    /// A glossary of two terms, which the pages do not introduce yet.
    pub(crate) fn with_glossary(&self) {
        let softmax =
            "name = \"soft max\"\nalso = [\"soft maxes\"]\nchapter = \"softmax\"";
        let part =
            "name = \"part\"\nalso = [\"share\", \"shares\"]\nchapter = \"softmax\"";
        let list = format!(
            "[[term]]\n{softmax}\nsays = \"Shares, by `exp`.\"\n\n\
             [[term]]\n{part}\nsays = \"One of many.\"\n"
        );
        self.write("book/glossary.toml", list);
        self.write("book/src/glossary.md", "# Glossary\n\nTerms.\n\n{{#glossary}}\n");
        let last = "- [Scaled](scaled-softmax.md)";
        let summary = format!("{last}\n\n---\n\n[Glossary](glossary.md)");
        self.replace("book/src/SUMMARY.md", last, &summary);
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weave"));
        command.arg("--root").arg(self.root());
        command
    }

    pub(crate) fn weave(&self) -> Output {
        self.command().output().unwrap()
    }

    #[track_caller]
    pub(crate) fn weave_well(&self) {
        let output = self.weave();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// The finished book: each file by its path.
    #[allow(dead_code, reason = "not every test file looks at the whole book")]
    pub(crate) fn finished(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        files(&self.root().join("target/book"))
    }

    pub(crate) fn page(&self, name: &str) -> String {
        fs::read_to_string(self.root().join("target/book").join(name)).unwrap()
    }

    /// A finished page from the second-level heading `id` to the next.
    #[allow(dead_code, reason = "not every test file looks into pages")]
    pub(crate) fn section(&self, page: &str, id: &str) -> String {
        let page = self.page(page);
        let from = page.find(&format!("<h2 id=\"{id}\">")).expect("no such section");
        let to = page.find("</main>").expect("no end");
        let section = &page[from..to];
        let next = section[1..].find("<h2 ").map_or(section.len(), |next| next + 1);
        section[..next].trim_end().to_owned()
    }
}

/// Every file below `folder`, by its path from there.
pub(crate) fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = PathBuf::from(path.file_name().unwrap());
        if path.is_dir() {
            let below = files(&path).into_iter();
            found.extend(below.map(|(inner, bytes)| (name.join(inner), bytes)));
        } else {
            found.insert(name, fs::read(&path).unwrap());
        }
    }
    found
}
