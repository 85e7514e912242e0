//! What every command refuses, in one clear line.

use super::file::{is_bias, is_weight};
use super::{Contract, File};
use safetensors::Dtype;

impl Contract {
    /// What is no safetensors file, or no whole one, is said to be none.
    ///
    /// # Panics
    /// When it is not.
    pub fn refuses_bad_files(&self) {
        let whole = self.file.bytes();
        let cut = [0, 1, 7, 8, 9, 100, whole.len() / 2, whole.len() - 1];
        let mut bad: Vec<Vec<u8>> = cut.map(|length| whole[..length].to_vec()).into();
        let header = |length: u64, json: &str| {
            [&length.to_le_bytes()[..], json.as_bytes()].concat()
        };
        let tensor = |shape: &str, end: usize| {
            let json = format!(
                r#"{{"x":{{"dtype":"F32","shape":{shape},"data_offsets":[0,{end}]}}}}"#
            );
            header(json.len() as u64, &json)
        };
        bad.extend([
            [&whole[..], &[0]].concat(),
            vec![0xff; 64],
            b"q_proj.weight, 1, 2, 3\n".to_vec(),
            b"{\"not\": \"safetensors\"}".to_vec(),
            header(200, "{}"),
            header(u64::MAX, ""),
            header(4, "null"),
            tensor("[4]", 16),
            tensor("[-1]", 0),
            tensor("[4611686018427387904,4]", 0),
            tensor("[18446744073709551615]", 18),
        ]);
        for bytes in bad {
            let says = "cannot read layer as safetensors: ";
            self.program.refuses(bytes, self.command, says);
        }
        self.program.refuses(File::new(), self.command, "it holds no tensors");
    }

    /// A file is read where there is one, and written where there can be one.
    ///
    /// # Panics
    /// When there is none, and something else is said.
    pub fn refuses_bad_paths(&self) {
        for (from, to, says) in [
            ("--input layer", "--input nowhere", "cannot read nowhere: "),
            ("--input layer", "--input .", "cannot read .: it is a directory"),
            ("--input layer", "--input layer/side", "cannot read layer/side: "),
            ("--output out", "--output .", "cannot write .: it is a directory"),
            ("--output out", "--output no/out", "there is no folder no"),
            ("--output out", "--output layer/side", "cannot write layer/side: "),
        ] {
            self.program.refuses(&self.file, &self.with(from, to), says);
        }
        if cfg!(unix) {
            let endless = self.with("--input layer", "--input /dev/zero");
            self.program.refuses(&self.file, &endless, "it is not a regular file");
            let device = self.with("--output out", "--output /dev/null");
            self.program.refuses(&self.file, &device, "cannot write /dev/null");
        }
    }

    /// Flags that are missing, said twice, or given no value, or a wrong one.
    ///
    /// # Panics
    /// When one is taken for something else.
    pub fn refuses_wrong_values_of_flags(&self) {
        for (flag, value) in self.flags() {
            let given = format!("{flag} {value}");
            let refuses = |instead: &str, says: &str| {
                self.program.refuses_flags(&self.with(&given, instead), says);
            };
            refuses("", &format!("missing {flag}"));
            refuses(&format!("{given} {given}"), "cannot be used multiple times");
            let valueless = format!("{} {flag}", self.with(&given, ""));
            let says = format!("a value is required for '{flag} ");
            self.program.refuses_flags(&valueless, &says);
            if value.parse::<usize>().is_ok() {
                for other in ["two", "1.5", "''", "99999999999999999999"] {
                    refuses(&format!("{flag} {other}"), &format!("for '{flag} "));
                }
                refuses(&format!("{flag} -2"), "-2");
                refuses(&format!("{flag}=-2"), flag);
                for other in [0, usize::MAX] {
                    let wrong = self.with(&given, &format!("{flag} {other}"));
                    self.program.refuses(&self.file, &wrong, "");
                }
            }
        }
    }

    /// What no chapter knows, and what only `forward` does.
    ///
    /// # Panics
    /// When it is taken for something else.
    pub fn refuses_other_flags(&self) {
        let more = |more: &str| format!("{} {more}", self.command);
        let refuses = |flags: &str, says: &str| {
            self.program.refuses_flags(&more(flags), says);
        };
        refuses("extra", "'extra'");
        refuses("--nonsense 1", "'--nonsense'");
        refuses("--inptu layer", "did you mean '--input'?");
        let name = self.name();
        self.program.refuses_flags(&self.with(name, &format!("{name}s")), name);
        if name == "forward" {
            for repeat in ["0", "-3", "x", "1.5"] {
                refuses(&format!("--repeat {repeat}"), "'--repeat <N>'");
            }
            if self.file.shape("x").is_some() {
                let nowhere = more("--x nowhere");
                self.program.refuses(&self.file, &nowhere, "cannot read nowhere: ");
            }
        }
    }

    /// Each tensor that it needs is missed by its name.
    ///
    /// # Panics
    /// When it is not.
    pub fn refuses_missing_tensors(&self) {
        for name in self.needed() {
            let file = self.file.clone().without(name);
            self.program.refuses(file, self.command, &format!("no tensor `{name}`"));
        }
    }

    /// A tensor under nearly the right name is not the right one.
    ///
    /// # Panics
    /// When it is taken for it.
    pub fn refuses_misspelt_tensors(&self) {
        for name in self.needed() {
            let names =
                [format!("{name}s"), format!("attn.{name}"), name.to_uppercase()];
            for other in names {
                let file = self.file.clone().renamed(name, &other);
                let says = format!("no tensor `{name}`");
                self.program.refuses(file, self.command, &says);
            }
        }
    }

    /// No tensor may have fewer dimensions, or more, but for the one more of a batch.
    ///
    /// # Panics
    /// When that is not said in the tensor's name.
    pub fn refuses_other_ranks(&self) {
        for (name, shape, dtype) in self.tensors() {
            let length: usize = shape.iter().product();
            let mut others = vec![vec![], [&[1, 1][..], shape].concat()];
            others.push(if shape.len() == 1 { vec![length, 1] } else { vec![length] });
            if !["x", "context", "mask"].contains(&name) {
                others.push([&[1][..], shape].concat());
            }
            let wanted = match name {
                "x" => "[n, d] or [b, n, d]",
                _ if is_weight(name) && shape.len() == 2 => "[out, in]",
                _ => "[",
            };
            for other in others {
                let file = self.file.clone().with(name, dtype, &other);
                let says = format!("{name}: shape {other:?}, wanted {wanted}");
                self.program.refuses(file, self.command, &says);
            }
        }
    }

    /// Whole numbers and double precision are not read, nor numbers for a mask.
    ///
    /// # Panics
    /// When that is not said in the tensor's name.
    pub fn refuses_other_dtypes(&self) {
        let whole = [Dtype::I64, Dtype::I32, Dtype::U8];
        for (name, shape, dtype) in self.tensors() {
            let (others, wanted) = match dtype {
                Dtype::BOOL => ([Dtype::F32, Dtype::F16], "BOOL"),
                _ => ([Dtype::F64, Dtype::BOOL], "F32, F16 or BF16"),
            };
            for other in others.into_iter().chain(whole) {
                let file = self.file.clone().with(name, other, shape);
                let says = format!("{name}: dtype {other}, wanted {wanted}\n");
                self.program.refuses(file, self.command, &says);
            }
        }
    }

    /// A bias is as long as its weight has rows.
    ///
    /// # Panics
    /// When another one is taken, or not told with both shapes.
    pub fn refuses_biases_of_other_lengths(&self) {
        for (name, shape) in self.floats().filter(|(name, _)| is_bias(name)) {
            let &[length] = shape else { panic!("{name}: {shape:?}") };
            for other in [0, length - 1, length + 1, 2 * length] {
                let file = self.file.clone().f32s(name, &[other]);
                let says = format!("{name}: shape [{other}], wanted [{length}]");
                self.program.refuses(file, self.command, &says);
            }
        }
    }

    /// Tokens have features, as many as the layer reads.
    ///
    /// # Panics
    /// When others are taken.
    pub fn refuses_other_tokens(&self) {
        for name in ["x", "context"] {
            let Some((&[rows, columns], _)) = self.file.shape(name) else { continue };
            let refuses = |found: usize, says: &str| {
                let file = self.file.clone().f32s(name, &[rows, found]);
                self.program.refuses(file, self.command, &format!("{name}: {says}"));
            };
            for found in [columns - 1, columns + 1] {
                let shapes =
                    format!("expected ({rows}, {columns}), found ({rows}, {found})");
                refuses(found, &shapes);
            }
            refuses(0, &format!("shape [{rows}, 0], wanted ["));
        }
    }

    /// A context and a mask are those of the sequence that they come with.
    ///
    /// # Panics
    /// When those of others are taken.
    pub fn refuses_what_belongs_to_other_sequences(&self) {
        for name in ["context", "mask"] {
            let Some((&[rows, columns], dtype)) = self.file.shape(name) else {
                continue;
            };
            let mut others = vec![vec![2, rows, columns]];
            if name == "mask" {
                let [taller, wider] =
                    [vec![rows + 1, columns], vec![rows, columns + 1]];
                others.extend([taller, wider, vec![rows, columns - 1], vec![rows, 0]]);
            }
            for other in others {
                let file = self.file.clone().with(name, dtype, &other);
                let says = format!("{name}: shape {other:?}, wanted [{rows}, ");
                self.program.refuses(file, self.command, &says);
            }
        }
    }
}
