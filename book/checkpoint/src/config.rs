//! A configuration: its kind, and where its keys are.

use crate::defaults::{class, wrapper};
use crate::error::ConfigError;
use crate::json::{parse, shorten};
use crate::keys::{Keys, MOST_LAYERS, wrong};
use crate::kinds::{Kind, find};
use serde_json::{Map, Value};

/// What a `config.json` says, of a model of a known kind.
#[derive(Debug, Clone)]
pub struct Config {
    pub(crate) kind: &'static Kind,
    pub(crate) keys: Keys,
    /// The keys around those of the text, or the same.
    pub(crate) outer: Map<String, Value>,
    /// Whether the table that tokens enter by is also the matrix that they leave by.
    pub(crate) tied: bool,
}

impl Config {
    /// Reads the text of a `config.json`. A model of text and images is read as far as
    /// its `text_config` goes.
    ///
    /// # Errors
    /// When it is not JSON as Python reads it, or of no known kind. What its keys say
    /// is looked at when it is asked for.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let Value::Object(outer) = parse(text)? else {
            return Err(ConfigError::NoObject);
        };
        let named = match outer.get("model_type") {
            None | Some(Value::Null) => None,
            Some(Value::String(name)) => Some(name.as_str()),
            Some(value) => return Err(wrong("model_type", value, "a name".to_owned())),
        };
        let text = match outer.get("text_config") {
            None | Some(Value::Null) => None,
            Some(Value::Object(text)) => Some(text),
            Some(value) => {
                return Err(wrong("text_config", value, "an object".to_owned()));
            }
        };
        let (kind, given) = inner(named, text, &outer)?;
        let kind = find_or_refuse(&kind, &given)?;
        let keys = Keys { kind: kind.name, given, class: class(kind.name) };
        let tied = tied(named, &keys, &outer)?;
        Ok(Config { kind, keys, outer, tied })
    }

    /// The `model_type` of the text.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.kind.name
    }

    /// How many layers the model has.
    ///
    /// # Errors
    /// When `num_hidden_layers` is no count.
    pub fn layers(&self) -> Result<usize, ConfigError> {
        Ok(self.keys.count("num_hidden_layers", MOST_LAYERS)? as usize)
    }
}

/// The kind of the text, and the keys that describe it.
fn inner(
    named: Option<&str>,
    text: Option<&Map<String, Value>>,
    outer: &Map<String, Value>,
) -> Result<(String, Map<String, Value>), ConfigError> {
    let said = text.and_then(|text| text.get("model_type")).and_then(Value::as_str);
    let around = named.and_then(wrapper);
    let (kind, given) = match (around, text) {
        (Some(around), Some(text)) if around.always => (Some(around.text), text),
        (Some(around), Some(text)) => (said.or(Some(around.text)), text),
        (Some(around), None) if around.flat => (Some(around.text), outer),
        (Some(around), None) => (Some(around.text), around.without),
        (None, Some(text)) => (said.or(named), text),
        (None, None) => (named, outer),
    };
    let hint = || ConfigError::NoKind { hint: looks_like(outer) };
    Ok((kind.ok_or_else(hint)?.to_owned(), given.clone()))
}

/// What a file without `model_type` looks like.
fn looks_like(keys: &Map<String, Value>) -> &'static str {
    let has = |key| keys.contains_key(key);
    if has("weight_map") {
        "; this is the index of a model's weights: config.json lies beside it"
    } else if has("n_layers") || has("norm_eps") {
        "; this looks like params.json: the model for Transformers has a config.json"
    } else if has("peft_type") || has("base_model_name_or_path") {
        "; this is the configuration of an adapter: take the one of its base model"
    } else if has("added_tokens") || has("tokenizer_class") {
        "; this describes a tokenizer: config.json lies beside it"
    } else if has("max_new_tokens") || has("do_sample") || has("eos_token_id") {
        "; this looks like generation_config.json: config.json lies beside it"
    } else {
        ""
    }
}

/// The kind of that name. Transformers takes a Mistral with `layer_types` for a
/// Ministral.
fn find_or_refuse(
    name: &str,
    given: &Map<String, Value>,
) -> Result<&'static Kind, ConfigError> {
    let ministral = name == "mistral" && given.contains_key("layer_types");
    let kind = find(if ministral { "ministral" } else { name });
    kind.ok_or_else(|| ConfigError::Kind { kind: shorten(name) })
}

/// Whether both tables are one: the outermost configuration says so.
fn tied(
    named: Option<&str>,
    keys: &Keys,
    outer: &Map<String, Value>,
) -> Result<bool, ConfigError> {
    const KEY: &str = "tie_word_embeddings";
    let flag = |value: &Value| {
        value.as_bool().ok_or_else(|| wrong(KEY, value, "true or false".to_owned()))
    };
    let said = outer.get(KEY).map(flag).transpose()?;
    let inner = keys.given.get(KEY).map(flag).transpose()?;
    let default = keys.class.fields.get(KEY).and_then(Value::as_bool).unwrap_or(false);
    Ok(match named.and_then(wrapper) {
        Some(around) if around.flat => said == Some(true) || inner == Some(true),
        Some(around) => said.unwrap_or(around.tied),
        None => said.or(inner).unwrap_or(default),
    })
}
