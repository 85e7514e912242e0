//! What a GGUF says of its model, in the words of a `config.json`.

use crate::gguf::header::Header;
use crate::gguf::names::ARCHITECTURES;
use crate::gguf::value::{List, Value};
use crate::weights::format::Format;
use crate::words::{brief, shape};
use serde_json::{Map, Value as Json, json};

/// A key that is not what it has to be.
#[derive(Debug)]
pub(crate) struct Odd {
    pub(crate) key: String,
    pub(crate) found: String,
    pub(crate) wanted: String,
}

/// Keys behind the architecture's name, and those of a `config.json` that say the same.
const SAME: [(&str, &str); 9] = [
    ("block_count", "num_hidden_layers"),
    ("context_length", "max_position_embeddings"),
    ("embedding_length", "hidden_size"),
    ("feed_forward_length", "intermediate_size"),
    ("attention.head_count", "num_attention_heads"),
    ("attention.head_count_kv", "num_key_value_heads"),
    ("attention.layer_norm_rms_epsilon", "rms_norm_eps"),
    ("attention.sliding_window", "sliding_window"),
    ("rope.freq_base", "rope_theta"),
];

/// Keys that say nothing else, or are read one by one below.
const READ: [&str; 15] = [
    "attention.key_length",
    "attention.value_length",
    "expert_count",
    "expert_used_count",
    "rope.dimension_count",
    "rope.scale_linear",
    "rope.scaling.attn_factor",
    "rope.scaling.factor",
    "rope.scaling.finetuned",
    "rope.scaling.original_context_length",
    "rope.scaling.type",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    "tensor_data_layout",
    "vocab_size",
];

/// A header, with the bytes that its texts lie in.
#[derive(Clone, Copy)]
pub(crate) struct Described<'a> {
    pub(crate) header: &'a Header,
    pub(crate) file: &'a [u8],
}

impl<'a> Described<'a> {
    /// `general.architecture`, if its tensors and keys are understood.
    pub(crate) fn architecture(self) -> Result<&'a str, Odd> {
        const KEY: &str = "general.architecture";
        let name = self.header.text(self.file, KEY);
        let known = name.filter(|name| ARCHITECTURES.contains(name));
        known.ok_or_else(|| {
            let known = ARCHITECTURES.join(", ");
            let wanted = format!(
                "{known} are read here: give the folder of that model with config.json \
                 and model.safetensors"
            );
            odd(KEY, name.map_or("not there".to_owned(), brief), &wanted)
        })
    }

    /// Rows of a head of queries and keys.
    pub(crate) fn head_dim(self) -> Result<usize, Odd> {
        let named = |key: &str| format!("{}.{key}", self.architecture().unwrap_or(""));
        let count = |key: &str| -> Result<Option<usize>, Odd> {
            let key = named(key);
            let Some(value) = self.header.metadata.get(&key) else { return Ok(None) };
            let number = match value {
                Value::Whole(number) => usize::try_from(*number).ok(),
                _ => None,
            };
            let sound = number.filter(|number| (1..=1 << 20).contains(number));
            let wanted = "has to be a whole number from 1 to 1048576";
            sound.map(Some).ok_or_else(|| odd(&key, self.shown(value), wanted))
        };
        if let Some(width) = count("attention.key_length")? {
            return Ok(width);
        }
        let heads = count("attention.head_count")?.unwrap_or(1);
        let width = count("embedding_length")?.unwrap_or(0);
        let whole = width.is_multiple_of(heads).then_some(width / heads);
        let key = named("attention.head_count");
        let wanted = format!("has to divide a width of {width}");
        whole.ok_or_else(|| odd(&key, heads.to_string(), &wanted))
    }

    /// The `config.json` that says the same.
    pub(crate) fn config(self) -> Result<Map<String, Json>, Odd> {
        let architecture = self.architecture()?;
        self.refuse_others(architecture)?;
        let get = |key: &str| self.get(&format!("{architecture}.{key}"));
        let mut config = Map::new();
        let windows = get("attention.sliding_window").is_some();
        // Llama and Mistral are one architecture there, and differ in this.
        let kind =
            if architecture == "llama" && windows { "mistral" } else { architecture };
        config.insert("model_type".to_owned(), json!(kind));
        for (theirs, ours) in SAME {
            if let Some(value) = get(theirs) {
                config
                    .insert(ours.to_owned(), self.plain(architecture, theirs, value)?);
            }
        }
        config.insert("head_dim".to_owned(), json!(self.head_dim()?));
        self.add_tensors(&mut config);
        self.add_scaling(architecture, &mut config)?;
        self.add_ends(&mut config);
        Ok(config)
    }

    /// What the tensors say that no key does.
    fn add_tensors(self, config: &mut Map<String, Json>) {
        let has = |name: &str| self.header.tensors.contains_key(name);
        config.insert("tie_word_embeddings".to_owned(), json!(!has("output.weight")));
        if let Some(table) = self.header.tensors.get("token_embd.weight") {
            config.insert("vocab_size".to_owned(), json!(table.shape[0]));
        }
        if config["model_type"] == "llama" {
            let biases =
                ["attn_q", "attn_output"].map(|of| has(&format!("blk.0.{of}.bias")));
            config.insert("attention_bias".to_owned(), json!(biases.contains(&true)));
            config.insert("mlp_bias".to_owned(), json!(has("blk.0.ffn_gate.bias")));
        }
    }

    /// How rotation is stretched for long texts.
    fn add_scaling(
        self,
        architecture: &str,
        config: &mut Map<String, Json>,
    ) -> Result<(), Odd> {
        let key = |key: &str| format!("{architecture}.rope.{key}");
        let number = |name: &str| match self.get(&key(name)) {
            Some(Value::Float(number)) => Some(*number),
            Some(Value::Whole(number)) => Some(*number as f64),
            _ => None,
        };
        let kind = self.header.text(self.file, &key("scaling.type"));
        let factor = number("scaling.factor").or(number("scale_linear")).unwrap_or(1.0);
        let scaling = match kind {
            Some("yarn") => json!({
                "rope_type": "yarn",
                "factor": factor,
                "original_max_position_embeddings":
                    number("scaling.original_context_length"),
                "attention_factor": number("scaling.attn_factor"),
                "beta_fast": number("scaling.yarn_beta_fast").unwrap_or(32.0),
                "beta_slow": number("scaling.yarn_beta_slow").unwrap_or(1.0),
            }),
            Some("linear") | None if factor != 1.0 => {
                json!({"rope_type": "linear", "factor": factor})
            }
            Some("none" | "linear") | None => self.stretched(config)?,
            Some(other) => {
                let wanted = "none, linear and yarn are read here: give the folder of \
                              that model with config.json and model.safetensors";
                return Err(odd(&key("scaling.type"), brief(other), wanted));
            }
        };
        if !scaling.is_null() {
            config.insert("rope_scaling".to_owned(), scaling);
        }
        self.expect_whole_rotation(&key("dimension_count"), config)
    }

    /// Llama 3.1's stretching, of which a GGUF has only the factor of each frequency. It
    /// is recognized if the factors are those of a model of that family.
    fn stretched(self, config: &Map<String, Json>) -> Result<Json, Odd> {
        const NAME: &str = "rope_freqs.weight";
        let Some(tensor) = self.header.tensors.get(NAME) else { return Ok(Json::Null) };
        let pairs: usize = tensor.shape.iter().product();
        let mut found = vec![0.0; pairs];
        let read = tensor.format == Format::F32
            && tensor.format.widen(&self.file[tensor.at.clone()], &mut found);
        let most = found.iter().copied().fold(1.0, f32::max);
        let base = config.get("rope_theta").and_then(Json::as_f64).unwrap_or(10_000.0);
        let (low, high, trained) = (1.0, 4.0, 8192.0);
        let expected = |pair: usize| {
            let turns = base.powf(2.0 * pair as f64 / (2 * pairs) as f64);
            let in_text = trained / (std::f64::consts::TAU * turns);
            let kept = ((in_text - low) / (high - low)).clamp(0.0, 1.0);
            1.0 / ((1.0 - kept) / f64::from(most) + kept)
        };
        let near = |(pair, found): (usize, &f32)| {
            (f64::from(*found) / expected(pair) - 1.0).abs() < 1e-3
        };
        if !read || !found.iter().enumerate().all(near) {
            let wanted = "has to stretch frequencies as Llama 3.1 does (8,192 tokens, from \
                          1 to 4 turns): give the folder of that model with config.json \
                          and model.safetensors";
            return Err(odd(
                NAME,
                format!("a tensor of shape {}", shape(&tensor.shape)),
                wanted,
            ));
        }
        Ok(json!({
            "rope_type": "llama3",
            "factor": most,
            "low_freq_factor": low,
            "high_freq_factor": high,
            "original_max_position_embeddings": trained as u64,
        }))
    }

    fn expect_whole_rotation(
        self,
        key: &str,
        config: &Map<String, Json>,
    ) -> Result<(), Odd> {
        match self.get(key) {
            None => Ok(()),
            Some(Value::Whole(turned))
                if config["head_dim"] == json!(*turned as u64) =>
            {
                Ok(())
            }
            Some(other) => {
                let wanted = format!(
                    "has to be the width of a head, {}: rotating a part of it is not \
                     read from a GGUF",
                    config["head_dim"]
                );
                Err(odd(key, self.shown(other), &wanted))
            }
        }
    }

    fn add_ends(self, config: &mut Map<String, Json>) {
        for (theirs, ours) in [("bos", "bos_token_id"), ("eos", "eos_token_id")] {
            let key = format!("tokenizer.ggml.{theirs}_token_id");
            if let Some(Value::Whole(id)) = self.get(&key) {
                config.insert(ours.to_owned(), json!(*id as u64));
            }
        }
    }

    /// Refuses keys of the architecture that are not understood: they may change what a
    /// layer computes.
    fn refuse_others(self, architecture: &str) -> Result<(), Odd> {
        let known =
            |key: &str| READ.contains(&key) || SAME.iter().any(|same| same.0 == key);
        let prefix = format!("{architecture}.");
        let behind =
            |key: &'a String| key.strip_prefix(&prefix).map(|rest| (key, rest));
        for (key, rest) in self.header.metadata.keys().filter_map(behind) {
            let value = &self.header.metadata[key];
            let experts = rest == "expert_count" && *value != Value::Whole(0);
            if experts || !known(rest) {
                let wanted = "that is not understood here: give the folder of that model \
                              with config.json and model.safetensors";
                return Err(odd(key, self.shown(value), wanted));
            }
        }
        Ok(())
    }

    fn get(self, key: &str) -> Option<&'a Value> {
        self.header.metadata.get(key)
    }

    /// A number as JSON has it.
    fn plain(self, architecture: &str, key: &str, value: &Value) -> Result<Json, Odd> {
        match value {
            Value::Whole(number) => {
                Ok(u64::try_from(*number).map_or(json!(-1), |n| json!(n)))
            }
            Value::Float(number) => Ok(json!(number)),
            Value::Bool(_) | Value::Text(_) | Value::List(_) => {
                let key = format!("{architecture}.{key}");
                Err(odd(
                    &key,
                    self.shown(value),
                    "one number for all layers is read here",
                ))
            }
        }
    }

    /// A value in a message.
    pub(crate) fn shown(self, value: &Value) -> String {
        match value {
            Value::Whole(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Bool(yes) => yes.to_string(),
            Value::Text(at) => brief(&String::from_utf8_lossy(&self.file[at.clone()])),
            Value::List(List { length, .. }) => format!("a list of {length}"),
        }
    }
}

fn odd(key: &str, found: String, wanted: &str) -> Odd {
    Odd { key: key.to_owned(), found, wanted: wanted.to_owned() }
}
