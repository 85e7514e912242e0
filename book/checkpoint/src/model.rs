//! A model that was opened: its configuration, its weights, its tokenizer.

use crate::attention::Heads;
use crate::config::Config;
use crate::gguf::value::Value;
use crate::kinds::Projections;
use crate::open_error::OpenError;
use crate::weights::opened::Weights;
use crate::words::count;
use serde_json::Value as Json;
use std::path::{Path, PathBuf};

/// A model that was opened: its configuration, and its weights by the names that they
/// have in Hugging Face's files.
#[derive(Debug, Clone)]
pub struct Model {
    /// The `.gguf` file, or the folder.
    pub(crate) path: PathBuf,
    config: Config,
    weights: Weights,
    stops: Vec<u32>,
}

impl Model {
    /// Opens a folder with `config.json` and `model.safetensors`, or the index of
    /// several such files; or a `.gguf` file. The path of the weights or of
    /// `config.json` stands for the folder that they are in.
    ///
    /// Only headers are read: a tensor is read when it is asked for.
    ///
    /// # Errors
    /// When there is no model, or a part of it is missing, of another kind, or damaged;
    /// when the configuration is not understood, or contradicts the tensors.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        if path.is_dir() {
            return Model::folder(path);
        }
        let name = path.file_name().unwrap_or_default();
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        if name == "config.json" && path.is_file() {
            return Model::folder(folder);
        }
        let weights = Weights::open(path)?;
        match weights.described() {
            Some(_) => Model::gguf(path, weights),
            None => Model::with_weights(folder, weights),
        }
    }

    /// Opens what is at a path. A name of a model on the hub is no path: without the
    /// feature `hub` it is refused.
    ///
    /// # Errors
    /// As for [`Model::open`], and when there is no such path.
    #[cfg(not(feature = "hub"))]
    pub fn find(path_or_name: &str) -> Result<Self, OpenError> {
        let path = Path::new(path_or_name);
        if path.exists() {
            return Model::open(path);
        }
        let why = "this program fetches nothing".to_owned();
        Err(OpenError::Hub { name: path_or_name.to_owned(), why })
    }

    fn folder(folder: &Path) -> Result<Self, OpenError> {
        let weights = Weights::open(folder)?;
        if !folder.join("config.json").is_file() {
            let what = "no config.json: download it too, from the place of the weights";
            let (path, what) = (folder.to_path_buf(), what.to_owned());
            return Err(OpenError::NoModel { path, what });
        }
        Model::with_weights(folder, weights)
    }

    fn with_weights(folder: &Path, weights: Weights) -> Result<Self, OpenError> {
        let config = Config::read(folder)?;
        let stops = folder_stops(folder, &config);
        let model = Model { path: folder.to_path_buf(), config, weights, stops };
        model.agrees()?;
        Ok(model)
    }

    fn gguf(path: &Path, weights: Weights) -> Result<Self, OpenError> {
        let path = path.to_path_buf();
        let Some(described) = weights.described() else {
            let what = "it is no GGUF".to_owned();
            return Err(OpenError::Damaged { path, what });
        };
        let config = described.config().map_err(|odd| odd.told(&path))?;
        let config = Config::parse(&Json::Object(config).to_string())
            .map_err(|why| OpenError::Config { path: path.clone(), why })?;
        let ids = ["eos", "eot"].map(|end| format!("tokenizer.ggml.{end}_token_id"));
        let id = |key: &String| match described.header.metadata.get(key) {
            Some(Value::Whole(id)) => u32::try_from(*id).ok(),
            _ => None,
        };
        let mut stops: Vec<u32> = ids.iter().filter_map(id).collect();
        stops.dedup();
        let model = Model { path, config, weights, stops };
        model.agrees()?;
        Ok(model)
    }

    /// What the model is.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Its weights.
    #[must_use]
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The tokens after which it has nothing more to say: `eos_token_id` of
    /// `generation_config.json` or `config.json`, or that of a GGUF and its
    /// `eot_token_id`.
    #[must_use]
    pub fn stops(&self) -> &[u32] {
        &self.stops
    }

    /// The file or folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Refuses a configuration that contradicts the tensors: as many layers, tokens and
    /// heads as it says have to be there, as wide as it says.
    fn agrees(&self) -> Result<(), OpenError> {
        let config = |why| OpenError::Config { path: self.path.clone(), why };
        let layers = self.config.layers().map_err(config)?;
        let model_dim = self.config.model_dim().map_err(config)?;
        let vocab = self.config.vocab().map_err(config)?;
        let heads = self.config.heads().map_err(config)?;
        self.has_layers(layers)?;
        for name in self.ending_in(&["embed_tokens.weight", "word_embeddings.weight"]) {
            let because = "`vocab_size` and `hidden_size` of the configuration say so; \
                           take configuration and weights from one model";
            let shape = [vocab as usize, model_dim as usize];
            self.weights.shaped(name, &shape, because)?;
        }
        let Heads::Shared { heads, kv_heads, head_dim } = heads else { return Ok(()) };
        if self.config.kind.projections != Projections::Separate {
            return Ok(());
        }
        let (queries, keys) = (heads * head_dim, kv_heads * head_dim);
        let kinds = [
            ("self_attn.q_proj.weight", [queries, model_dim]),
            ("self_attn.k_proj.weight", [keys, model_dim]),
            ("self_attn.v_proj.weight", [keys, model_dim]),
            ("self_attn.o_proj.weight", [model_dim, queries]),
        ];
        for (kind, shape) in kinds {
            let because = "the heads, `head_dim` and `hidden_size` of the configuration \
                           say so; take configuration and weights from one model";
            for name in self.ending_in(&[kind]) {
                self.weights.shaped(name, &shape.map(|n| n as usize), because)?;
            }
        }
        Ok(())
    }

    fn ending_in(&self, ends: &[&str]) -> Vec<&str> {
        let ours = |name: &&str| {
            let before = ends.iter().find_map(|end| name.strip_suffix(end));
            // Other towers of a model of text and images have widths of their own.
            before.is_some_and(|before| !before.contains("vision") && is_text(before))
        };
        self.weights.names().filter(ours).collect()
    }

    /// Refuses weights of more layers than the configuration says, or of fewer.
    fn has_layers(&self, told: usize) -> Result<(), OpenError> {
        let layers = self.weights.names().filter_map(layer_of);
        let Some(last) = layers.max() else { return Ok(()) };
        // Some models carry a layer more, by which they guess further tokens.
        let extra = self.config.get("num_nextn_predict_layers").and_then(Json::as_u64);
        let most = told.saturating_add(extra.unwrap_or(0) as usize);
        if (told..=most).contains(&(last.saturating_add(1))) {
            return Ok(());
        }
        let path = self.path.clone();
        let (key, found) = ("num_hidden_layers".to_owned(), told.to_string());
        let wanted = format!(
            "the weights have {}: take configuration and weights from one model",
            count(last as u64 + 1, "layer")
        );
        Err(OpenError::Metadata { path, key, found, wanted })
    }
}

/// The layer that a tensor of the text belongs to.
fn layer_of(name: &str) -> Option<usize> {
    let parts: Vec<&str> = name.split('.').collect();
    let at = parts.iter().position(|part| ["layers", "layer", "h"].contains(part))?;
    let before = parts[..at].join(".");
    if before.contains("vision") || !is_text(&before) {
        return None;
    }
    parts.get(at + 1)?.parse().ok()
}

/// Whether what stands before a tensor's name belongs to the text.
fn is_text(before: &str) -> bool {
    !["visual", "audio", "image"].iter().any(|other| before.contains(other))
}

/// The tokens after which a model in a folder stops.
fn folder_stops(folder: &Path, config: &Config) -> Vec<u32> {
    let text = std::fs::read_to_string(folder.join("generation_config.json"));
    let generation: Option<Json> =
        text.ok().and_then(|text| serde_json::from_str(&text).ok());
    let told = generation.as_ref().and_then(|told| told.get("eos_token_id"));
    let id = |value: &Json| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match told.or_else(|| config.get("eos_token_id")) {
        Some(Json::Array(several)) => several.iter().filter_map(id).collect(),
        Some(one) => id(one).into_iter().collect(),
        None => Vec::new(),
    }
}
