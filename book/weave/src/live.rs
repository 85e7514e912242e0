//! Live figures: what `book/live` redraws in the page. The weaver has it compiled to
//! WebAssembly, and puts labeled controls under the figures that it lists.

mod slices;

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::{html, reading::directive::CratePath};

/// What a reader's page loads on every visit: it waits there for a hand on a control.
pub(crate) const SCRIPT: &str = "book/live/live.js";

const LIST: &str = "book/live/figures.toml";
const TARGET: &str = "wasm32-unknown-unknown";
/// What a machine lacks that cannot compile for a page.
pub(crate) const MISSING: &str = "the compiler lacks the target wasm32-unknown-unknown; \
    install it with: rustup target add wasm32-unknown-unknown";
/// The modules that a page can load, and by which name it has a figure drawn there. Each is
/// linked from the same code, and holds what its own figures need.
const MODULES: [(&str, &str); 2] = [("live", "live_draw"), ("model", "model_draw")];

/// The module of a figure that names none.
const LIVE: &str = "live";

/// The figures that a reader can change.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Live {
    figure: Vec<LiveFigure>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LiveFigure {
    /// As the prose writes it.
    name: String,
    /// The module that draws it.
    #[serde(default = "live")]
    module: String,
    /// The file that it needs; `{layer}` stands for the value of the control `layer`.
    weights: Option<String>,
    /// What a reader should know.
    note: Option<String>,
    control: Vec<Control>,
}

#[derive(Deserialize)]
struct Control {
    name: String,
    label: String,
    #[serde(flatten)]
    kind: Kind,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Kind {
    Choices {
        choices: Vec<[String; 2]>,
        start: String,
    },
    /// Whatever a reader types, of so many letters.
    Text {
        text: String,
        longest: usize,
    },
    Range(Range),
}

#[derive(Deserialize)]
struct Range {
    min: f64,
    max: f64,
    #[serde(default = "one")]
    step: f64,
    start: f64,
    /// Where the range runs over exponents: of which number.
    powers_of: Option<f64>,
}

fn live() -> String {
    LIVE.to_owned()
}

fn one() -> f64 {
    1.0
}

impl Live {
    /// Reads the list of the book below `root`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn open(root: &Path) -> Result<Live> {
        let text = fs::read_to_string(root.join(LIST));
        let text = text.with_context(|| format!("cannot read {LIST}"))?;
        toml::from_str(&text).context(LIST)
    }

    /// The controls of a figure, hidden until a script shows them; nothing for a figure
    /// that is not listed.
    pub(crate) fn form(&self, path: &CratePath) -> String {
        let name = format!("{}::{}", path.krate.replace('-', "_"), path.name);
        let Some(figure) = self.figure.iter().find(|figure| figure.name == name) else {
            return String::new();
        };
        let controls = figure.control.iter().map(|control| control.html(&path.name));
        let paragraph = |note: &String| format!("<p>{}</p>", html::text(note));
        let weights = figure.weights.as_ref();
        let weights = weights
            .map(|file| format!(r#" data-weights="{}""#, html::attribute(file)))
            .unwrap_or_default();
        let module = match &*figure.module {
            LIVE => String::new(),
            other => format!(r#" data-module="{}""#, html::attribute(other)),
        };
        format!(
            r#"<form class="live" data-figure="{}"{module}{weights} hidden>{}<button type="reset">as in the book</button>{}<p role="status"></p></form>"#,
            html::attribute(&name),
            controls.collect::<String>(),
            figure.note.as_ref().map(paragraph).unwrap_or_default(),
        )
    }

    /// Puts into `folder` what the controls need: the modules, and the weights.
    ///
    /// # Errors
    /// When a file cannot be read or written, or a layer is not what it should be.
    pub(crate) fn put_into(
        &self,
        folder: &Path,
        root: &Path,
        modules: &[Module],
    ) -> Result<()> {
        let put = |name: &str, bytes: &[u8]| {
            let file = folder.join(name);
            fs::write(&file, bytes)
                .with_context(|| format!("cannot write {}", file.display()))
        };
        fs::create_dir_all(folder)?;
        for Module { name, code } in modules {
            put(&format!("{name}.wasm"), code)?;
        }
        if self.figure.iter().all(|figure| figure.weights.is_none()) {
            return Ok(());
        }
        for layer in 0.. {
            let file = root.join(format!("chapters/data/layer-{layer}.safetensors"));
            if !file.is_file() {
                break;
            }
            let bytes = fs::read(&file)?;
            for head in 0.. {
                let Some(slice) = slices::head(&bytes, head) else {
                    ensure!(head > 0, "{}: no layer of heads", file.display());
                    break;
                };
                put(&format!("layer-{layer}-head-{head}.safetensors"), &slice)?;
            }
        }
        Ok(())
    }
}

impl Control {
    fn html(&self, figure: &str) -> String {
        let Control { name, label, kind } = self;
        let (name, label) = (html::attribute(name), html::text(label));
        match kind {
            Kind::Choices { choices, start } => {
                let option = |[value, words]: &[String; 2]| {
                    let selected = if value == start { " selected" } else { "" };
                    let (value, words) = (html::attribute(value), html::text(words));
                    format!(r#"<option value="{value}"{selected}>{words}</option>"#)
                };
                format!(
                    r#"<label>{label} <select name="{name}" autocomplete="off">{}</select></label>"#,
                    choices.iter().map(option).collect::<String>(),
                )
            }
            Kind::Text { text, longest } => {
                let text = html::attribute(text);
                format!(
                    r#"<label>{label} <input type="text" name="{name}" value="{text}" maxlength="{longest}" autocomplete="off" spellcheck="false"></label>"#,
                )
            }
            Kind::Range(Range { min, max, step, start, powers_of }) => {
                let id = format!("live-{figure}-{name}");
                let power = powers_of
                    .map(|base| format!(r#" data-powers-of="{base}""#))
                    .unwrap_or_default();
                let shown = powers_of.map_or(*start, |base| base.powf(*start));
                format!(
                    r#"<label for="{id}">{label} <output>{shown}</output></label><input id="{id}" type="range" name="{name}" min="{min}" max="{max}" step="{step}" value="{start}"{power} autocomplete="off">"#,
                )
            }
        }
    }
}

/// What a page loads when a control is touched.
pub(crate) struct Module {
    /// Without `.wasm`.
    pub name: &'static str,
    /// The bytes of its file.
    pub code: Vec<u8>,
}

/// Compiles `book/live` of the book below `root` for a page; nothing on a machine that
/// lacks what it takes.
///
/// # Errors
/// When it does not compile.
pub(crate) fn compile(root: &Path) -> Result<Option<Vec<Module>>> {
    if !target_is_there()? {
        return Ok(None);
    }
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let folder = root.join("target/live");
    let mut build = Command::new(cargo);
    build.current_dir(root).arg("rustc").args([
        "--package",
        "live",
        "--lib",
        "--quiet",
    ]);
    build.args(["--profile", "live", "--target", TARGET, "--crate-type", "staticlib"]);
    build.arg("--target-dir").arg(&folder);
    build.env("CARGO_ENCODED_RUSTFLAGS", flags(root));
    run(&mut build)?;

    let library = folder.join(TARGET).join("live/liblive.a");
    let link = |(name, draw)| link(&library, &folder, name, draw);
    MODULES.into_iter().map(link).collect::<Result<_>>().map(Some)
}

/// Crates on the way here export functions that no page calls. Linked by hand, nothing stays
/// but `draw` and what it needs.
fn link(
    library: &Path,
    folder: &Path,
    name: &'static str,
    draw: &str,
) -> Result<Module> {
    let module = folder.join(name).with_extension("wasm");
    let mut link = Command::new(linker()?);
    link.args(["-flavor", "wasm", "--no-entry", "--gc-sections", "--strip-all"]);
    link.arg("--allow-undefined").arg("-o").arg(&module);
    link.args(
        ["live_room", draw, "live_answer"].map(|name| format!("--export={name}")),
    );
    link.arg(library);
    run(&mut link)?;
    let module =
        fs::read(&module).context("cannot read the module for live figures")?;
    let code = without_notes(&module).context("the linker wrote no module")?;
    Ok(Module { name, code })
}

/// What the compiler is told, one flag after the other, as cargo wants them.
fn flags(root: &Path) -> OsString {
    // Four numbers at a time, as every browser of the last years can.
    let mut flags = OsString::from("-Ctarget-feature=+simd128");
    // Whoever builds the book: the module names no folder of theirs, and is as long as
    // everybody's.
    let cargo = env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo = cargo.or_else(|| Some(env::home_dir()?.join(".cargo")));
    for folder in [cargo.as_deref(), Some(root)].into_iter().flatten() {
        flags.push("\x1f--remap-path-prefix=");
        flags.push(folder);
        flags.push("=");
    }
    flags
}

/// The module without its custom sections, in which crates leave notes for tools that are
/// not used here, more than there is code.
fn without_notes(module: &[u8]) -> Option<Vec<u8>> {
    let (magic, mut rest) = module.split_at_checked(8)?;
    let mut kept = magic.to_vec();
    while let Some((&id, after)) = rest.split_first() {
        let digits = after.iter().position(|byte| byte & 0x80 == 0)? + 1;
        // A length in LEB128: seven bits a byte, the lowest first.
        let length =
            after[..digits].iter().rev().try_fold(0_usize, |length, byte| {
                Some(length.checked_mul(0x80)? | usize::from(byte & 0x7f))
            })?;
        let (section, others) = rest.split_at_checked(1 + digits + length)?;
        if id != 0 {
            kept.extend_from_slice(section);
        }
        rest = others;
    }
    Some(kept)
}

/// Whether the standard library for the target is installed, or is to be built along.
fn target_is_there() -> Result<bool> {
    let folder = rustc(&["--print", "target-libdir", "--target", TARGET])?;
    Ok(folder.is_dir() || env::var_os("CARGO_UNSTABLE_BUILD_STD").is_some())
}

/// The linker that comes with the compiler, unless cargo is told of another.
fn linker() -> Result<PathBuf> {
    if let Some(linker) = env::var_os("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER") {
        return Ok(linker.into());
    }
    let libraries = rustc(&["--print", "target-libdir"])?;
    Ok(libraries.with_file_name("bin").join("rust-lld"))
}

/// A path that the compiler prints.
fn rustc(arguments: &[&str]) -> Result<PathBuf> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).args(arguments).output().context("no rustc")?;
    let printed = String::from_utf8(output.stdout).context("rustc prints no text")?;
    Ok(PathBuf::from(printed.trim()))
}

fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().display().to_string();
    let status = command.status().with_context(|| format!("cannot run {program}"))?;
    if !status.success() {
        bail!("the live figures do not build: {program} failed ({status})");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live() -> Live {
        let list = r#"
            [[figure]]
            name = "grouped_query::groups"
            weights = "layer-{layer}"
            note = "a < b"
            control = [
                { name = "kind", label = "kind", start = "b", choices = [["a", "A"], ["b", "B"]] },
                { name = "width", label = "width", min = 0, max = 10, start = 3, powers_of = 2 },
            ]
        "#;
        toml::from_str(list).unwrap()
    }

    fn path(name: &str) -> CratePath {
        CratePath { krate: "grouped-query".into(), name: name.into() }
    }

    #[test]
    fn a_listed_figure_has_a_hidden_form_in_which_every_control_has_its_label() {
        let form = live().form(&path("groups"));
        for part in [
            r#"<form class="live" data-figure="grouped_query::groups" data-weights="layer-{layer}" hidden>"#,
            r#"<label>kind <select name="kind" autocomplete="off"><option value="a">A</option><option value="b" selected>B</option></select></label>"#,
            r#"<label for="live-groups-width">width <output>8</output></label><input id="live-groups-width" type="range" name="width" min="0" max="10" step="1" value="3" data-powers-of="2" autocomplete="off">"#,
            "<p>a &lt; b</p>",
            r#"<p role="status"></p>"#,
        ] {
            assert!(form.contains(part), "{part} in {form}");
        }
    }

    #[test]
    fn a_figure_that_is_not_listed_has_none() {
        assert_eq!(live().form(&path("decode")), "");
    }

    #[test]
    fn notes_are_left_out_and_the_rest_stays() {
        let magic = *b"\0asm\x01\0\0\0";
        let note = [&[0, 0x81, 0x01, 1, b'n'][..], &[7; 127]].concat();
        let code = [10, 2, 1, 0];
        let module = [&magic[..], &note, &code, &note].concat();
        assert_eq!(without_notes(&module), Some([&magic[..], &code].concat()));
        assert_eq!(without_notes(&module[..20]), None);
        assert_eq!(without_notes(b"\0asm"), None);
    }
}
