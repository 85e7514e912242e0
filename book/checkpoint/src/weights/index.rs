//! `model.safetensors.index.json`: which file of a model holds which tensor.

use crate::words::brief;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

/// The name that Hugging Face's folders give the index.
pub(crate) const INDEX: &str = "model.safetensors.index.json";

/// The file of each tensor.
#[derive(Debug)]
pub(crate) struct Index {
    pub(crate) files: BTreeMap<String, String>,
}

#[derive(serde::Deserialize)]
#[serde(expecting = "an object")]
struct Json {
    weight_map: BTreeMap<String, String>,
}

impl Index {
    /// Reads the text of an index, or says what is wrong with it.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, String> {
        let Json { weight_map: files } = serde_json::from_slice(text)
            .map_err(|e| brief(&e.to_string()))
            .map_err(|e| format!("the index is not the JSON it should be ({e})"))?;
        if let Some(name) = files.values().find(|name| !is_beside(name)) {
            let name = brief(name);
            return Err(format!(
                "it names the file `{name}`, and the files of a model lie beside the \
                 index: do not trust this folder"
            ));
        }
        Ok(Index { files })
    }

    /// The names of all files.
    pub(crate) fn names(&self) -> BTreeSet<&str> {
        self.files.values().map(String::as_str).collect()
    }
}

/// Whether a name leads to no other folder.
fn is_beside(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    let plain = matches!(parts.next(), Some(Component::Normal(_)));
    plain && parts.next().is_none() && !name.contains(['/', '\\', '\0'])
}

#[cfg(test)]
mod tests {
    use super::Index;

    #[test]
    fn an_index_leads_to_no_other_folder() {
        for name in ["../b", "/etc/passwd", "a/b", "..", "", ".", "C:\\\\a", "a\\u0000"]
        {
            let text = format!(r#"{{"weight_map": {{"x": "{name}"}}}}"#);
            let error = Index::parse(text.as_bytes()).unwrap_err();
            assert!(error.contains("do not trust"), "{name}: {error}");
        }
        let good = br#"{"metadata": {"total_size": 8}, "weight_map": {"x": "a.b"}}"#;
        assert_eq!(Index::parse(good).unwrap().names(), ["a.b"].into());
    }
}
