//! Models by their names on Hugging Face's hub.

use crate::model::Model;
use crate::open_error::OpenError;
use crate::weights::index::{INDEX, Index};
use crate::words::brief;
use hf_hub::api::sync::{ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, CacheRepo};
use std::path::{Path, PathBuf};
use ureq::Error;

const NO_MODEL: &str =
    "the hub has no such model, or one for which HF_TOKEN has to be set";
const SINGLE: &str = "model.safetensors";

/// What a model may do without, and may have.
const BESIDE: [&str; 4] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
    "chat_template.jinja",
];

impl Model {
    /// Opens what is at a path, or else the model of that name on the hub:
    /// `HuggingFaceTB/SmolLM2-135M-Instruct`. It is fetched into the cache that all of
    /// Hugging Face's programs share (`HF_HOME`), with its progress on stderr, and found
    /// there afterwards. `HF_ENDPOINT` names another hub, `HF_TOKEN` who is asking, and
    /// `HF_HUB_OFFLINE=1` fetches nothing.
    ///
    /// # Errors
    /// As for [`Model::open`], and when there is neither such a path nor such a model.
    pub fn find(path_or_name: &str) -> Result<Self, OpenError> {
        let path = Path::new(path_or_name);
        if path.exists() {
            return Model::open(path);
        }
        let refused = |why| OpenError::Hub { name: path_or_name.to_owned(), why };
        if !is_name(path_or_name) {
            let why = "no name of a model on the hub (`owner/name`) either".to_owned();
            return Err(refused(why));
        }
        let cache = Cache::from_env().model(path_or_name.to_owned());
        if let Some(folder) = Place::Cache(&cache).folder().map_err(refused)? {
            return Model::open(&folder);
        }
        if std::env::var("HF_HUB_OFFLINE").is_ok_and(|set| !["", "0"].contains(&&*set))
        {
            let why =
                "the model is not in the cache, and HF_HUB_OFFLINE is set".to_owned();
            return Err(refused(why));
        }
        let api = ApiBuilder::from_env().with_progress(true).build();
        let api = api.map_err(|error| refused(told(&error)))?;
        let repository = api.model(path_or_name.to_owned());
        match Place::Hub(&repository).folder().map_err(refused)? {
            Some(folder) => Model::open(&folder),
            None => Err(refused(format!("the hub's model has no {SINGLE}"))),
        }
    }
}

/// Where files of a model come from.
enum Place<'a> {
    Cache(&'a CacheRepo),
    Hub(&'a ApiRepo),
}

impl Place<'_> {
    /// The file of that name, if the model has it.
    fn get(&self, name: &str) -> Result<Option<PathBuf>, String> {
        match self {
            Place::Cache(cache) => Ok(cache.get(name)),
            Place::Hub(hub) => match hub.get(name) {
                Ok(path) => Ok(Some(path)),
                Err(error) if is_missing(&error) => Ok(None),
                Err(error) => Err(told(&error)),
            },
        }
    }

    /// The folder of the model, once it has all of its files.
    fn folder(&self) -> Result<Option<PathBuf>, String> {
        let Some(config) = self.get("config.json")? else {
            return match self {
                Place::Cache(_) => Ok(None),
                Place::Hub(_) => Err(NO_MODEL.to_owned()),
            };
        };
        for name in BESIDE {
            self.get(name)?;
        }
        let complete = match self.get(INDEX)? {
            Some(index) => self.has_all(&index)?,
            None => self.get(SINGLE)?.is_some(),
        };
        Ok(complete.then(|| config.parent().map(Path::to_path_buf)).flatten())
    }

    /// Whether all files of an index are there.
    fn has_all(&self, index: &Path) -> Result<bool, String> {
        let text = std::fs::read(index).map_err(|why| why.to_string())?;
        let index = Index::parse(&text)?;
        for name in index.names() {
            if self.get(name)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Whether something may be a model's name: an owner and a name of plain letters.
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let part = |part: &str| {
        !part.is_empty()
            && part.len() <= 96
            && !part.starts_with('.')
            && part.chars().all(plain)
    };
    matches!(name.split_once('/'), Some((owner, name)) if part(owner) && part(name))
}

fn is_missing(error: &ApiError) -> bool {
    matches!(error, ApiError::RequestError(why) if matches!(**why, Error::StatusCode(404)))
}

/// What went wrong, for somebody who may be offline.
fn told(error: &ApiError) -> String {
    match error {
        // What is not there has this status for who may not look.
        ApiError::RequestError(why)
            if matches!(**why, Error::StatusCode(401 | 403)) =>
        {
            NO_MODEL.to_owned()
        }
        _ => format!("the hub does not answer ({})", brief(&error.to_string())),
    }
}
