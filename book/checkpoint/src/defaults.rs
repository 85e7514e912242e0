//! What Transformers fills in where a file says nothing.

use serde_json::{Map, Value};
use std::sync::LazyLock;

/// Written by `tests/reference/defaults.py`.
static ALL: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("defaults.json")).unwrap_or_default()
});

static NOTHING: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);

/// What the configuration class of a kind says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Class {
    /// Each key with its value where the file has none.
    pub(crate) fields: &'static Map<String, Value>,
    /// Other names of keys: the attribute of the left name is that of the right.
    pub(crate) also_named: &'static Map<String, Value>,
    /// The base of the rotation, or one for each kind of layer.
    pub(crate) rope_theta: &'static Value,
}

/// The class of a kind that is known.
pub(crate) fn class(kind: &str) -> Class {
    let class = &ALL["kinds"][kind];
    Class {
        fields: object(&class["fields"]),
        also_named: object(&class["also_named"]),
        rope_theta: &class["rope_theta"],
    }
}

/// A model of text and more: where its text is described.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wrapper {
    /// The kind of the text, unless `text_config` names another.
    pub(crate) text: &'static str,
    /// Whether it is of that kind whatever `text_config` says.
    pub(crate) always: bool,
    /// Whether both tables are one where the file says nothing.
    pub(crate) tied: bool,
    /// Whether the keys of the text stand beside the others where there is no
    /// `text_config`.
    pub(crate) flat: bool,
    /// What the text is where the file says nothing about it.
    pub(crate) without: &'static Map<String, Value>,
}

/// The wrapper of that kind, if it is one.
pub(crate) fn wrapper(kind: &str) -> Option<Wrapper> {
    let wrapper = ALL["wrappers"].get(kind)?;
    let flag = |key: &str| wrapper[key].as_bool().unwrap_or(false);
    Some(Wrapper {
        text: wrapper["text"].as_str()?,
        always: flag("always"),
        tied: flag("tie_word_embeddings"),
        flat: flag("flat"),
        without: object(&wrapper["without"]),
    })
}

fn object(value: &'static Value) -> &'static Map<String, Value> {
    value.as_object().unwrap_or(&NOTHING)
}
