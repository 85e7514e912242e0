//! What every command makes of good files, and of files that it can still compute with.

use super::program::{assert_one_line, table};
use super::{Contract, assert_close};
use crate::RawTensor;
use safetensors::Dtype;

/// What stands before the names of the tensors of a layer in a whole checkpoint.
const PREFIX: &str = "layers.3.";

/// Half precision keeps the small whole numbers of a [`super::File`], so its outputs are those
/// of single precision.
const SAME: f32 = 1e-6;

/// More than any real tensor has in a direction, and no bytes.
const ENDLESS: usize = 1 << 40;

impl Contract {
    /// The help of the command has the names of the tensors and of the flags.
    ///
    /// # Panics
    /// When it has not.
    pub fn help_names_what_it_reads(&self) {
        let ran = self.program.run([], &format!("{} --help", self.name()));
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
        let flags = self.flags().map(|(flag, _)| flag);
        for word in self.needed().chain(flags) {
            assert!(ran.stdout.contains(word), "{word} is not in {}", ran.stdout);
        }
    }

    /// In F16, in BF16, and behind a prefix, the tensors are the same layer.
    ///
    /// # Panics
    /// When it gives another output.
    pub fn writes_the_same_however_the_file_is_written(&self) {
        let expected = self.program.writes(&self.file, self.command);
        for dtype in [Dtype::F16, Dtype::BF16] {
            let floats =
                self.floats().fold(self.file.clone(), |file, (name, shape)| {
                    file.with(name, dtype, shape)
                });
            let found = self.program.writes(floats, self.command);
            let [found, expected] = [&found, &expected].map(|file| table(file, "y").1);
            assert_close(&dtype.to_string(), &found, &expected, SAME);
        }
        let behind = self.file.clone().behind(PREFIX);
        let command = format!("{} --prefix {PREFIX}", self.command);
        let found = self.program.writes(&behind, &command);
        assert_eq!(found.raw("y").unwrap(), expected.raw("y").unwrap(), "{command}");
        let says = format!("did you mean --prefix {PREFIX}?");
        self.program.refuses(&behind, self.command, &says);
        self.program.refuses(&self.file, &command, PREFIX);
    }

    /// Sequences in one file come out as they do one by one. So it is where the layer
    /// reads x.
    ///
    /// # Panics
    /// When they do not.
    pub fn runs_a_batch_as_a_loop(&self) {
        let Some((&[n, d], Dtype::F32)) = self.file.shape("x") else { return };
        // Another number than that of tokens, or a mask could be one for each sequence.
        let batch = self.file.clone().f32s("x", &[n + 1, n, d]);
        let written = self.program.writes(&batch, self.command);
        for (i, found) in
            written.stack("y", "[b, n, d]").unwrap().matrices.iter().enumerate()
        {
            let from = i * n * d;
            let x: Vec<f32> =
                (from..from + n * d).map(|i| (i % 7) as f32 - 3.0).collect();
            let x = RawTensor::of(Dtype::F32, vec![n, d], &x).unwrap();
            let alone = self.file.clone().with_raw("x", x);
            let expected = self.program.writes(&alone, self.command);
            let label = format!("sequence {i}");
            assert_close(&label, found, &expected.matrix("y").unwrap(), SAME);
        }
    }

    /// No tokens, or no sequences, give none.
    ///
    /// # Panics
    /// When they do not.
    pub fn runs_on_nothing(&self) {
        let Some((&[n, d], _)) = self.file.shape("x") else { return };
        let mut file = self.file.clone();
        if file.shape("mask").is_some() {
            file = file.without("mask");
        }
        let width = self.program.writes(&file, self.command).shape("y").unwrap()[1];
        for shape in [&[0][..], &[0, n], &[2, 0]] {
            let with = |width| [shape, &[width]].concat();
            let empty = file.clone().f32s("x", &with(d));
            let written = self.program.writes(empty, self.command);
            assert_eq!(written.shape("y").unwrap(), with(width));
        }
    }

    /// A run that is repeated is timed.
    ///
    /// # Panics
    /// When it does not say how long it took.
    pub fn tells_its_times(&self) {
        let ran = self.program.run(&self.file, &format!("{} --repeat 3", self.command));
        let (times, rest) = ran.stdout.split_once('\n').unwrap_or_default();
        assert!(times.starts_with("forward: min ") && times.ends_with(" (3 runs)"));
        // Between the two stands what a configuration says.
        let wrote = rest.lines().last().unwrap_or_default();
        assert!(
            wrote.starts_with("wrote y [") && wrote.ends_with(" to out"),
            "{ran:?}"
        );
    }

    /// NaN and infinity are computed with, and told of once.
    ///
    /// # Panics
    /// When they are not.
    pub fn tells_of_what_is_not_a_number(&self) {
        let not_a_number = [
            (f32::NAN, "1 NaN; every output that uses them is NaN"),
            (f32::INFINITY, "1 infinity; outputs that use them may be infinite or NaN"),
        ];
        for (name, _) in self.floats() {
            for (number, says) in not_a_number {
                let file = self.file.clone().with_first(name, number);
                let ran = self.program.run(file, self.command);
                assert_eq!(ran.stderr, format!("warning: {name} holds {says}\n"));
                assert!(ran.code == 0 && ran.holds("out").is_some(), "{ran:?}");
            }
        }
    }

    /// Whatever is longer or shorter than in the good file, or empty, is answered, or
    /// refused in one line; what is endless is refused.
    ///
    /// # Panics
    /// When it is neither, or there is an output and an error, too.
    pub fn answers_or_refuses_other_sizes(&self) {
        for (name, shape, dtype) in self.tensors() {
            for axis in 0..shape.len() {
                for length in [0, shape[axis] - 1, shape[axis] + 1, 2 * shape[axis]] {
                    let mut other = shape.to_vec();
                    other[axis] = length;
                    self.answers_or_refuses(name, dtype, &other);
                }
                if shape.len() > 1 {
                    let mut endless = vec![1; shape.len()];
                    endless[axis] = 0;
                    endless[(axis + 1) % shape.len()] = ENDLESS;
                    let file = self.file.clone().with(name, dtype, &endless);
                    let says = format!("{name}: shape {endless:?}");
                    self.program.refuses(file, self.command, &says);
                }
            }
        }
    }

    fn answers_or_refuses(&self, name: &str, dtype: Dtype, shape: &[usize]) {
        let file = self.file.clone().with(name, dtype, shape);
        let ran = self.program.run(file, self.command);
        let label = format!("{name} {shape:?}: {ran:?}");
        assert!(ran.code == 0 || ran.code == 1, "{label}");
        assert_eq!(ran.holds("out").is_some(), ran.code == 0, "{label}");
        if ran.code == 1 {
            assert_one_line(&ran.stderr);
        }
    }
}
