//! What the commands of all chapters promise: which promises there are, and what they are
//! made about. What is answered and what is refused have files of their own.

use super::file::is_bias;
use super::{File, Program};
use safetensors::Dtype;

/// A command that reads a file, `layer`, and writes another, `out`, and a good file for it.
///
/// Biases, a `context` and a `mask` are what a file may go without; everything else in
/// the good file is needed, if nothing else is said.
///
/// Each promise is a method that panics when it is broken; all of them together are
/// [`Contract::is_kept`].
#[derive(Debug, Clone)]
pub struct Contract {
    pub(super) program: Program,
    pub(super) command: &'static str,
    pub(super) file: File,
    read: Vec<String>,
    optional: Vec<&'static str>,
}

impl Contract {
    /// `command` is a line such as `forward --input layer --output out --heads 8`. Flags
    /// with a value are those that cannot be left out.
    #[must_use]
    pub fn new(program: Program, command: &'static str, file: File) -> Self {
        let read = file.names().into_iter().map(str::to_owned).collect();
        Contract { program, command, file, read, optional: Vec::new() }
    }

    /// Of the tensors of the file, the command reads these; the others may be anything.
    ///
    /// # Panics
    /// When the file does not hold them.
    #[must_use]
    pub fn reading(mut self, names: &[&str]) -> Self {
        for name in names {
            assert!(self.file.shape(name).is_some(), "no {name} in the good file");
        }
        self.read = names.iter().map(|&name| name.to_owned()).collect();
        self
    }

    /// Without `name`, the file is one of another kind.
    #[must_use]
    pub fn may_lack(mut self, name: &'static str) -> Self {
        self.optional.push(name);
        self
    }

    /// All that `forward` promises in every chapter.
    ///
    /// # Panics
    /// When a promise is broken.
    pub fn is_kept(&self) {
        self.help_names_what_it_reads();
        self.writes_the_same_however_the_file_is_written();
        self.runs_a_batch_as_a_loop();
        self.runs_on_nothing();
        self.tells_its_times();
        self.tells_of_what_is_not_a_number();
        self.leaves_the_weights_out();
        self.understands_masks_of_others();
        self.looks_at_one_layer();
        self.refuses_what_it_does_not_read();
        self.names_files_of_other_kinds();
        self.refuses_bad_files();
        self.refuses_bad_paths();
        self.refuses_wrong_values_of_flags();
        self.refuses_other_flags();
        self.refuses_bad_configurations();
        self.refuses_missing_tensors();
        self.refuses_misspelt_tensors();
        self.refuses_other_ranks();
        self.refuses_other_dtypes();
        self.refuses_biases_of_other_lengths();
        self.refuses_other_tokens();
        self.refuses_what_belongs_to_other_sequences();
        self.answers_or_refuses_other_sizes();
    }

    /// The command's own name.
    pub(super) fn name(&self) -> &'static str {
        self.command.split(' ').next().unwrap_or_default()
    }

    /// The command line with `to` in the place of `from`.
    #[track_caller]
    pub(super) fn with(&self, from: &str, to: &str) -> String {
        let line = format!(" {} ", self.command);
        let changed = line.replace(&format!(" {from} "), &format!(" {to} "));
        assert_ne!(line, changed, "{from} is not in {line}");
        changed
    }

    /// The flags that have a value, with the value.
    pub(super) fn flags(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let words = self.command.split_whitespace();
        let is_flag = |word: &str| word.starts_with("--");
        let pairs = words.clone().zip(words.skip(1));
        pairs.filter(move |(flag, value)| is_flag(flag) && !is_flag(value))
    }

    /// The tensors that are read.
    pub(super) fn tensors(&self) -> impl Iterator<Item = (&str, &[usize], Dtype)> {
        self.read.iter().filter_map(|name| {
            let (shape, dtype) = self.file.shape(name)?;
            Some((name.as_str(), shape, dtype))
        })
    }

    /// Those of them that hold F32.
    pub(super) fn floats(&self) -> impl Iterator<Item = (&str, &[usize])> {
        let floats = self.tensors().filter(|(_, _, dtype)| *dtype == Dtype::F32);
        floats.map(|(name, shape, _)| (name, shape))
    }

    /// Those of them that no file may go without.
    pub(super) fn needed(&self) -> impl Iterator<Item = &str> {
        self.tensors().map(|(name, ..)| name).filter(|name| {
            let convention = ["context", "mask"].contains(name) || is_bias(name);
            !convention && !self.optional.contains(name)
        })
    }
}
