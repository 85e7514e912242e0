//! A reader with a folder of their own, and the real binary on the real book.
#![allow(dead_code, reason = "not every test file does everything that a reader does")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use assert_cmd::Command;

pub(crate) struct Reader {
    folder: tempfile::TempDir,
}

impl Reader {
    pub(crate) fn new() -> Reader {
        Reader { folder: tempfile::tempdir().unwrap() }
    }

    /// Who has begun the first chapter.
    pub(crate) fn of_attention() -> Reader {
        let reader = Reader::new();
        reader.says(&["start", "attention"]);
        reader
    }

    pub(crate) fn my(&self) -> PathBuf {
        self.folder.path().join("my")
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_course"));
        command.arg("--my").arg(self.my());
        command
    }

    /// What a command prints that has to succeed.
    #[track_caller]
    pub(crate) fn says(&self, arguments: &[&str]) -> String {
        let output =
            self.command().args(arguments).assert().success().get_output().clone();
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a command prints, on both streams, that has to fail.
    #[track_caller]
    pub(crate) fn refuses(&self, arguments: &[&str]) -> String {
        let output =
            self.command().args(arguments).assert().code(1).get_output().clone();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.my().join(path)).unwrap()
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.my().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Puts something in the one place of a file that reads `old`.
    #[track_caller]
    pub(crate) fn replace(&self, path: &str, old: &str, new: &str) {
        let text = self.read(path);
        assert_eq!(text.matches(old).count(), 1, "{path} should have {old:?} once");
        self.write(path, &text.replace(old, new));
    }

    /// Every file below a folder of the reader's.
    pub(crate) fn files(&self, folder: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        let top = self.my().join(folder);
        let mut found = BTreeMap::new();
        let mut open = vec![top.clone()];
        while let Some(next) = open.pop() {
            let Ok(entries) = fs::read_dir(next) else { continue };
            for entry in entries {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else {
                    let name = path.strip_prefix(&top).unwrap().to_owned();
                    found.insert(name, fs::read(path).unwrap());
                }
            }
        }
        found
    }
}

pub(crate) fn book() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
