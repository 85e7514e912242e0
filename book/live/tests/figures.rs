//! Each live figure starts as the committed one, and answers to every value of every
//! control.

use figures::{Figure, check_one};
use live::{Request, draw, draw_model};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

// The weaver cuts what a page loads; here, what it cuts is drawn from.
#[path = "../../weave/src/live/slices.rs"]
mod slices;

#[derive(Deserialize)]
struct List {
    figure: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    name: String,
    module: Option<String>,
    weights: Option<String>,
    control: Vec<Control>,
}

#[derive(Deserialize)]
struct Control {
    name: String,
    #[serde(default)]
    choices: Vec<[String; 2]>,
    min: Option<f64>,
    max: Option<f64>,
    step: Option<f64>,
    text: Option<String>,
    #[serde(default = "nothing")]
    start: toml::Value,
    powers_of: Option<f64>,
}

fn nothing() -> toml::Value {
    toml::Value::String(String::new())
}

impl Control {
    /// What it stands at before a reader touches it, as the page sends it.
    fn start(&self) -> String {
        if let Some(text) = &self.text {
            return text.clone();
        }
        match &self.start {
            toml::Value::String(choice) => choice.clone(),
            number => self.written(number.to_string().parse().unwrap()),
        }
    }

    fn values(&self) -> Vec<String> {
        if let Some(text) = &self.text {
            let others = ["The old woman said", "king ' king\"", "?!", ""];
            return [text.clone()]
                .into_iter()
                .chain(others.map(str::to_owned))
                .collect();
        }
        if let (Some(min), Some(max)) = (self.min, self.max) {
            let step = self.step.unwrap_or(1.0);
            let places = (0..).map(|i| min + f64::from(i) * step);
            return places
                .take_while(|&at| at <= max)
                .map(|at| self.written(at))
                .collect();
        }
        self.choices.iter().map(|[value, _]| value.clone()).collect()
    }

    fn written(&self, place: f64) -> String {
        self.powers_of.map_or(place, |base| base.powf(place)).to_string()
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn list() -> Vec<Listed> {
    toml::from_str::<List>(include_str!("../figures.toml")).unwrap().figure
}

impl Listed {
    fn started(&self) -> BTreeMap<String, String> {
        self.control.iter().map(|c| (c.name.clone(), c.start())).collect()
    }

    fn draw(&self, inputs: &BTreeMap<String, String>) -> anyhow::Result<Figure> {
        let request = Request { figure: self.name.clone(), inputs: inputs.clone() };
        match self.module.as_deref() {
            Some("model") => draw_model(&request),
            _ => draw(&request, &self.weights(inputs)),
        }
    }

    /// The file that a page would load.
    fn weights(&self, inputs: &BTreeMap<String, String>) -> Vec<u8> {
        let Some(mut name) = self.weights.clone() else { return Vec::new() };
        for (input, value) in inputs {
            name = name.replace(&format!("{{{input}}}"), value);
        }
        let (layer, head) = name.split_once("-head-").unwrap();
        let layer = fs::read(minilm::path(&format!("{layer}.safetensors"))).unwrap();
        slices::head(&layer, head.parse().unwrap()).unwrap()
    }

    /// The folder of the committed figures.
    fn images(&self) -> PathBuf {
        let krate = self.name.split("::").next().unwrap().replace('_', "-");
        let mut folders = fs::read_dir(root().join("images")).unwrap();
        let ours = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.split_once('-').is_some_and(|(_, name)| name == krate)
        };
        folders.find_map(|entry| Some(entry.unwrap().path()).filter(ours)).unwrap()
    }
}

#[test]
fn every_figure_starts_as_the_committed_one() {
    for listed in list() {
        let figure = listed.draw(&listed.started()).unwrap();
        assert_eq!(listed.name.split("::").last(), Some(figure.name()));
        if let Err(stale) = check_one(&listed.images(), &figure) {
            panic!("{}: {stale}", listed.name);
        }
    }
}

#[test]
fn every_value_of_every_control_changes_the_figure_or_is_refused_in_words() {
    for listed in list() {
        let start = listed.draw(&listed.started()).unwrap();
        for control in &listed.control {
            let values = control.values();
            assert!(
                values.contains(&control.start()),
                "{} starts in range",
                control.name
            );
            for value in values {
                let mut inputs = listed.started();
                inputs.insert(control.name.clone(), value.clone());
                let label = format!("{}, {} {value}", listed.name, control.name);
                match listed.draw(&inputs) {
                    Ok(figure) if value == control.start() => assert_eq!(figure, start),
                    Ok(figure) => {
                        assert_ne!(figure, start, "{label}");
                        fits_the_page(&label, figure.svg());
                    }
                    Err(error) => {
                        let said = match &*listed.name {
                            "grouped_query::groups" => &["heads"][..],
                            "learning::inside" => &["nothing to read"],
                            "choosing::ceiling" => &["heads", "does not fit"],
                            _ => &[],
                        };
                        let error = error.to_string();
                        let refused = said.iter().any(|said| error.contains(said));
                        assert!(refused, "{label}: {error}");
                    }
                }
            }
        }
    }
}

/// The script in the page renames no references and knows no Markdown but code.
#[track_caller]
fn fits_the_page(label: &str, svg: &str) {
    assert!(!svg.contains("href") && !svg.contains("url(#"), "{label}");
    let metadata = svg.split("<metadata>").nth(1).unwrap().split("</metadata>").next();
    let metadata: serde_json::Value = serde_json::from_str(metadata.unwrap()).unwrap();
    let caption = metadata["caption"].as_str().unwrap();
    let plain: String = caption.split('`').step_by(2).collect();
    assert!(!plain.contains(['*', '[', '$', '<', '&', '\\']), "{label}: {caption}");
    assert_eq!(caption.matches('`').count() % 2, 0, "{label}: {caption}");
}

#[test]
fn what_a_page_loads_is_small() {
    let layer = fs::read(minilm::path("layer-3.safetensors")).unwrap();
    let head = slices::head(&layer, 1).unwrap();
    assert!(head.len() < 100_000, "{} bytes", head.len());
    assert_eq!(slices::head(&layer, 12), None);
    assert_eq!(slices::head(&layer[..1000], 1), None);
}

#[test]
fn what_does_not_fit_is_refused_in_words() {
    let request = |figure: &str, inputs: &[(&str, &str)]| Request {
        figure: figure.to_owned(),
        inputs: inputs.iter().map(|&(a, b)| (a.to_owned(), b.to_owned())).collect(),
    };
    for (asked, weights, said) in [
        (request("attention::nothing", &[]), &b""[..], "no live figure"),
        (request("attention::scaling", &[]), b"", "no keys"),
        (request("attention::scaling", &[("keys", "many")]), b"", "`many`"),
        (request("attention::scaling", &[("keys", "0"), ("d_k", "3")]), b"", "d_k"),
        (
            request("attention::causal_map", &[("hidden", "later")]),
            b"{}",
            "safetensors",
        ),
        (
            request("grouped_query::groups", &[("heads", "8"), ("kv_heads", "3")]),
            b"",
            "3",
        ),
    ] {
        let error = format!("{:#}", draw(&asked, weights).unwrap_err());
        assert!(error.contains(said), "{error}");
    }
}
