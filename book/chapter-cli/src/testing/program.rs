//! A chapter's program, run as a reader runs it.

use super::assert_close;
use crate::Tensors;
use nalgebra::DMatrix;
use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// The program of a chapter. It is run in a folder of its own, so that the files on its
/// command line need no path.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    path: &'static str,
    config: Option<&'static str>,
}

/// What a run left behind.
#[derive(Debug)]
pub struct Ran {
    /// The exit code.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it said about it.
    pub stderr: String,
    folder: TempDir,
}

impl Ran {
    /// What the file `name` holds now, if there is one.
    #[must_use]
    pub fn holds(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.folder.path().join(name)).ok()
    }

    /// The tensors of the file `name`.
    ///
    /// # Panics
    /// When it is no safetensors file.
    #[must_use]
    #[track_caller]
    pub fn tensors(&self, name: &str) -> Tensors {
        let file = Tensors::open(&self.folder.path().join(name));
        file.unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Ran {
    /// One line on standard error that `says` so, and no output.
    #[track_caller]
    pub(super) fn is_refusal(&self, code: i32, arguments: &str, says: &str) {
        let Ran { stdout, stderr, .. } = self;
        assert_eq!(self.code, code, "{arguments}, which should say {says:?}: {self:?}");
        assert_eq!(stdout, "", "{arguments}");
        assert_one_line(stderr);
        assert!(stderr.contains(says), "{stderr:?} should say {says:?}");
        assert_eq!(self.holds("out"), None, "{arguments}: a file was written");
    }
}

impl Program {
    /// The program at `path`, which a test gets from
    /// `env!("CARGO_BIN_EXE_attention")`.
    #[must_use]
    pub const fn new(path: &'static str) -> Self {
        Program { path, config: None }
    }

    /// The same, with this text in the file `config.json` of the folder.
    #[must_use]
    pub const fn beside_config(self, config: &'static str) -> Self {
        Program { path: self.path, config: Some(config) }
    }

    /// Runs it in a folder with the file `layer`. The arguments are those between blanks;
    /// `''` is an empty one.
    ///
    /// # Panics
    /// When there is no such program, or it is killed.
    #[must_use]
    pub fn run(&self, input: impl Into<Vec<u8>>, arguments: &str) -> Ran {
        self.run_on("layer", input, arguments)
    }

    /// [`Program::run`] where the one file is called `name`.
    ///
    /// # Panics
    /// As for `run`.
    #[must_use]
    pub fn run_on(
        &self,
        name: &str,
        input: impl Into<Vec<u8>>,
        arguments: &str,
    ) -> Ran {
        self.run_beside(&[(name, &input.into())], arguments)
    }

    /// [`Program::run`] where there are several files, by their names.
    ///
    /// # Panics
    /// As for `run`.
    #[must_use]
    pub fn run_beside(&self, files: &[(&str, &[u8])], arguments: &str) -> Ran {
        let config = self.config.map(|text| ("config.json", text.as_bytes()));
        let is_given = files.iter().any(|(name, _)| *name == "config.json");
        let more = config.filter(|_| !is_given);
        let files: Vec<_> = files.iter().copied().chain(more).collect();
        ran(Command::new(self.path), &files, arguments)
    }

    /// [`Program::run`] with so many kilobytes of addresses to live in.
    ///
    /// # Panics
    /// As for `run`.
    #[cfg(unix)]
    #[must_use]
    pub fn run_within(
        &self,
        kilobytes: usize,
        input: impl Into<Vec<u8>>,
        arguments: &str,
    ) -> Ran {
        let mut shell = Command::new("sh");
        let limited = format!("ulimit -v {kilobytes} && exec \"$@\"");
        shell.args(["-c", &limited, "sh", self.path]);
        // Each thread takes some for its stack, however many processors there are.
        shell.env("RAYON_NUM_THREADS", "2");
        ran(shell, &[("layer", &input.into())], arguments)
    }

    /// What it prints without a command.
    ///
    /// # Panics
    /// When it fails, or has something to say about it.
    #[must_use]
    #[track_caller]
    pub fn example(&self) -> String {
        let ran = self.run([], "");
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
        ran.stdout
    }

    /// What it writes to `out`, without a warning.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    #[track_caller]
    pub fn writes(&self, input: impl Into<Vec<u8>>, arguments: &str) -> Tensors {
        let ran = self.run(input, arguments);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{arguments}");
        ran.tensors("out")
    }

    /// An input that is no good: `says` in one line, the exit code 1, and no output.
    ///
    /// # Panics
    /// When that is not what it makes of it.
    #[track_caller]
    pub fn refuses(&self, input: impl Into<Vec<u8>>, arguments: &str, says: &str) {
        self.fails(input, arguments, 1, says);
    }

    /// [`Program::refuses`] for a command line that asks for nothing it knows: the exit
    /// code is 2.
    ///
    /// # Panics
    /// When that is not what it makes of it.
    #[track_caller]
    pub fn refuses_flags(&self, arguments: &str, says: &str) {
        self.fails([], arguments, 2, says);
    }

    #[track_caller]
    fn fails(&self, input: impl Into<Vec<u8>>, arguments: &str, code: i32, says: &str) {
        self.run(input, arguments).is_refusal(code, arguments, says);
    }

    /// Runs `forward` with `flags` on a reference file, and compares what it writes with
    /// what is there.
    ///
    /// # Panics
    /// When a tensor has another shape, or is further off than [`assert_close`] lets it.
    #[track_caller]
    pub fn reproduces(&self, reference: &Reference, flags: &str, tolerance: f32) {
        let Reference { name, bytes, file } = reference;
        let arguments = format!("forward --input layer --output out {flags}");
        let written = self.writes(&bytes[..], &arguments);
        for tensor in written.names() {
            // Not every reference has the weights; all have y.
            if tensor == "y" || file.names().contains(&tensor) {
                let label = format!("{name}, {tensor}");
                let [found, expected] =
                    [&written, file].map(|file| table(file, &tensor));
                assert_eq!(found.0, expected.0, "{label}");
                assert_close(&label, &found.1, &expected.1, tolerance);
            }
        }
        assert!(written.names().contains(&"y".to_owned()), "{name}");
    }
}

/// What `command` leaves behind with these arguments, in a folder with these files.
fn ran(mut command: Command, files: &[(&str, &[u8])], arguments: &str) -> Ran {
    let folder = TempDir::new().unwrap();
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    let arguments = arguments.split_whitespace();
    let ran = command
        .args(arguments.map(|argument| if argument == "''" { "" } else { argument }))
        .current_dir(&folder)
        .output()
        .unwrap();
    let code = ran.status.code().unwrap_or_else(|| panic!("{ran:?}"));
    let [stdout, stderr] =
        [ran.stdout, ran.stderr].map(|text| String::from_utf8(text).unwrap());
    Ran { code, stdout, stderr, folder }
}

/// `error: …`, in one line of a length that can be read.
#[track_caller]
pub(super) fn assert_one_line(stderr: &str) {
    let line = stderr.strip_suffix('\n').expect("a line ends");
    assert!(line.starts_with("error: "), "{line}");
    assert!(!line.chars().any(char::is_control), "{line:?}");
    assert!(line.chars().count() < 500, "{line}");
}

/// The shape of an F32 tensor of any rank, and its numbers with all that share the last
/// index in a column.
pub(super) fn table(file: &Tensors, name: &str) -> (Vec<usize>, DMatrix<f32>) {
    let tensor = file.raw(name).unwrap();
    let numbers: Vec<f32> =
        tensor.bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
    assert_eq!(numbers.len(), tensor.shape.iter().product::<usize>(), "{name}");
    let columns = tensor.shape.last().copied().unwrap_or(1);
    let rows = numbers.len().checked_div(columns).unwrap_or(0);
    (tensor.shape, DMatrix::from_row_slice(rows, columns, &numbers))
}

/// A layer with its input and output, as another implementation has them.
#[derive(Debug)]
pub struct Reference {
    /// The name of the file, without its ending.
    pub name: String,
    /// The file as it is.
    pub bytes: Vec<u8>,
    /// What it holds.
    pub file: Tensors,
}

impl Reference {
    /// What the script that made the file has noted under `key`.
    ///
    /// # Panics
    /// When it has noted nothing.
    #[must_use]
    #[track_caller]
    pub fn note(&self, key: &str) -> &str {
        let note = self.file.metadata().and_then(|notes| notes.get(key));
        note.unwrap_or_else(|| panic!("{} does not note {key}", self.name))
    }
}

/// The files of `tests/reference` in the folder of a chapter, which a test gets from
/// `env!("CARGO_MANIFEST_DIR")`.
///
/// # Panics
/// When there are none, or one cannot be read.
#[must_use]
pub fn references(chapter: &str) -> Vec<Reference> {
    references_in(chapter, "tests/reference")
}

/// [`references`], for those in another `folder` of the chapter.
///
/// # Panics
/// As for `references`.
#[must_use]
pub fn references_in(chapter: &str, folder: &str) -> Vec<Reference> {
    let folder = Path::new(chapter).join(folder);
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_file = |path: &Path| path.extension().is_some_and(|e| e == "safetensors");
    let mut paths: Vec<_> = entries.filter(|path| is_file(path)).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{chapter} has no references");
    let read = |path: &Path| Reference {
        name: path.file_stem().unwrap().to_str().unwrap().to_owned(),
        bytes: fs::read(path).unwrap(),
        file: Tensors::open(path).unwrap(),
    };
    paths.iter().map(|path| read(path)).collect()
}
