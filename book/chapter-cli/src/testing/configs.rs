//! What every `forward` makes of a model's `config.json`.

use super::program::table;
use super::{Contract, File, Program, Ran, Reference, assert_close, references_in};

const FORWARD: &str = "forward --input layer --output out --config config.json";

/// A configuration of a kind that is known, of which nothing else is looked at.
const SOME_LAYERS: &str = r#"{"model_type": "llama", "num_hidden_layers": 3}"#;

impl Program {
    /// Runs every file of the `chapter`'s `tests/configs` as its own configuration says,
    /// and compares `y`; then with its flags by hand, and with others. Gives the names of
    /// the files.
    ///
    /// # Panics
    /// When one is further off than [`assert_close`] lets it, or a flag that says something
    /// else is passed over.
    #[must_use]
    #[track_caller]
    pub fn follows_configurations(&self, chapter: &str, tolerance: f32) -> Vec<String> {
        let all = references_in(chapter, "tests/configs");
        for reference in &all {
            let line = format!("{FORWARD} --layer {}", reference.note("layer"));
            let ran = self.with_its_config(reference, &line);
            assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{}", reference.name);
            let [found, expected] =
                [&ran.tensors("out"), &reference.file].map(|file| table(file, "y"));
            assert_eq!(found.0, expected.0, "{}", reference.name);
            assert_close(&reference.name, &found.1, &expected.1, tolerance);
            self.holds_flags_to_it(reference, &line, &ran);
        }
        all.into_iter().map(|reference| reference.name).collect()
    }

    /// The flags that `ran` tells may be given by hand, and nothing else in their place.
    fn holds_flags_to_it(&self, reference: &Reference, line: &str, ran: &Ran) {
        let told = ran.stdout.lines().next().unwrap_or_default();
        let (of_layer, flags) = told.split_once(": ").unwrap();
        assert_eq!(
            of_layer,
            format!("layer {} of config.json", reference.note("layer"))
        );
        let flags = if flags == "no flags" { "" } else { flags };
        let by_hand = self.with_its_config(reference, &format!("{line} {flags}"));
        assert_eq!(by_hand.holds("out"), ran.holds("out"), "{by_hand:?}");
        let words: Vec<&str> = flags.split(' ').collect();
        for flag in words.windows(2).filter(|flag| flag[1].parse::<u32>().is_ok()) {
            let [name, value] = [flag[0], flag[1]];
            let other = format!("{line} {name} 1{value}");
            let refused = self.with_its_config(reference, &other);
            let says = format!(
                "{name} 1{value}, and config.json says {name} {value} of layer {}",
                reference.note("layer")
            );
            assert_eq!(refused.code, 1, "{refused:?}");
            assert!(refused.stderr.contains(&says), "{refused:?} should say {says}");
        }
    }

    fn with_its_config(&self, reference: &Reference, line: &str) -> Ran {
        let config = reference.note("config").as_bytes();
        self.run_beside(&[("layer", &reference.bytes), ("config.json", config)], line)
    }

    /// What it says of a layer that the text `config` describes is `says`, in one line.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn refuses_layer(&self, config: &str, layer: usize, says: &str) {
        let line = format!("{FORWARD} --layer {layer}");
        self.refuses_config(&File::new(), config, &line, says);
    }

    /// [`Program::refuses`] for a `file` with a `config` beside it.
    ///
    /// # Panics
    /// When it is not refused, or not with `says`.
    #[track_caller]
    pub fn refuses_config(&self, file: &File, config: &str, line: &str, says: &str) {
        let files = [("layer", &file.bytes()[..]), ("config.json", config.as_bytes())];
        self.run_beside(&files, line).is_refusal(1, line, says);
    }
}

impl Contract {
    /// What is no configuration, or one of another model, is told as that. In the line,
    /// `--config` takes the place of the layer's own flags.
    ///
    /// # Panics
    /// When it is read, or passed over.
    pub fn refuses_bad_configurations(&self) {
        let refuses = |config: &str, more: &str, says: &str| {
            let line = format!("{FORWARD} {more}");
            self.program.refuses_config(&self.file, config, &line, says);
        };
        refuses("", "", "config.json: not JSON: ");
        refuses("[1]", "", "config.json: not a configuration");
        refuses("{}", "", "no `model_type`");
        let unknown = r#"{"model_type": "nonsense"}"#;
        refuses(unknown, "", "model_type `nonsense` is not known here; known are ");
        let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:ab\n";
        refuses(pointer, "", "this is a Git LFS pointer");
        refuses(
            SOME_LAYERS,
            "--layer 3",
            "there is no layer 3: the first is 0, the last 2",
        );
        let prefix = "--layer 1 --prefix layers.2.self_attn";
        refuses(SOME_LAYERS, prefix, "is it layer 1 or 2?");
        let nowhere = self.command.to_owned() + " --config nowhere.json";
        self.program.refuses(&self.file, &nowhere, "--config: nowhere.json: ");
        let flags = |flags: &str, says: &str| {
            self.program.refuses_flags(&format!("{} {flags}", self.command), says);
        };
        flags("--layer 1", "missing --config <FILE>");
        flags("--config layer --layer two", "for '--layer <N>'");
        flags("--config", "a value is required for '--config <FILE>'");
    }
}
