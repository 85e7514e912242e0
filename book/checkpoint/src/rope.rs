//! How queries and keys of a layer are rotated.

use crate::config::Config;
use crate::error::ConfigError;
use crate::json::shown;
use crate::keys::{WIDEST_HEAD, number, wrong};
use crate::kinds::RopeRule;
use serde_json::{Map, Value};

/// Which two features of a head turn together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairing {
    /// Feature `i` and feature `i + features / 2`, "half-split".
    Halves,
    /// Features `2i` and `2i + 1`, "interleaved".
    Neighbors,
}

/// How the frequencies differ from `base^(−2i / features)`, which are those of training
/// on texts of a certain length.
#[derive(Debug, Clone, PartialEq)]
pub enum Scaling {
    /// Not at all.
    None,
    /// All are divided by `factor` (Chen et al. 2023, *Position Interpolation*).
    Linear {
        /// By this.
        factor: f64,
    },
    /// Of texts longer than `trained` tokens, the base grows with the length
    /// ("NTK-aware", dynamic): `base · (factor · n / trained − (factor − 1))^(d / (d −
    /// 2))`.
    Dynamic {
        /// How fast.
        factor: f64,
        /// `max_position_embeddings`.
        trained: f64,
    },
    /// Low frequencies are divided by `factor`, high ones are kept (Llama 3.1).
    Llama3 {
        /// By this.
        factor: f64,
        /// Wavelengths above `trained / low` are stretched.
        low: f64,
        /// Wavelengths below `trained / high` are kept.
        high: f64,
        /// `original_max_position_embeddings`.
        trained: f64,
    },
    /// The same by rotations within the trained length (Peng et al. 2023, *`YaRN`*).
    Yarn {
        /// By this.
        factor: f64,
        /// Pairs that turn more often than this are kept.
        fast: f64,
        /// Pairs that turn less often than this are stretched.
        slow: f64,
        /// `original_max_position_embeddings`.
        trained: f64,
        /// Whether the ends of the ramp are rounded to whole pairs.
        whole: bool,
    },
    /// Each frequency is divided by its own number (`LongRoPE`): one list for texts of
    /// at most `trained` tokens, another for longer ones.
    Long {
        /// One for each pair.
        short: Vec<f64>,
        /// One for each pair.
        long: Vec<f64>,
        /// `original_max_position_embeddings`.
        trained: f64,
    },
    /// The first `pairs` turn, at the frequencies that they have among all pairs of a
    /// head, divided by `factor`; the others stand still (Gemma 4).
    Proportional {
        /// By this.
        factor: f64,
        /// So many turn.
        pairs: usize,
    },
}

/// The rotation of a layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// `rope_theta`.
    pub base: f64,
    /// So many features of a head turn, the first ones; the others are left as they
    /// are.
    pub features: usize,
    /// Which of them turn together.
    pub pairing: Pairing,
    /// How the frequencies differ.
    pub scaling: Scaling,
    /// Cosines and sines are multiplied by this, and so queries and keys. 1 in most.
    pub amplitude: f64,
}

/// What rotated queries are multiplied by, so that softmax stays as sharp in long texts:
/// at position `p`, `1 + beta · ln(1 + ⌊p / trained⌋)` (Ministral 3).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Temperature {
    /// `llama_4_scaling_beta`.
    pub beta: f64,
    /// `original_max_position_embeddings`.
    pub trained: f64,
}

impl Temperature {
    /// What the query at a position is multiplied by.
    #[must_use]
    pub fn at(self, position: usize) -> f64 {
        1.0 + self.beta * (position as f64 / self.trained).floor().ln_1p()
    }
}

/// The parameters of a rotation, as they stand in a file.
pub(crate) struct Parameters<'a> {
    found: Map<String, Value>,
    config: &'a Config,
    kind: String,
}

impl Config {
    /// The rotation of `width` features of each head, in a layer with a window or
    /// without.
    pub(crate) fn rope(
        &self,
        width: u64,
        sliding: bool,
    ) -> Result<Option<Rope>, ConfigError> {
        if self.kind.rope == RopeRule::Learned {
            return Ok(None);
        }
        let parameters = self.parameters(sliding)?;
        let features = self.rotated(&parameters, width)?;
        let pairing = match self.kind.rope {
            RopeRule::Neighbors
            | RopeRule::NeighborsInWindows
            | RopeRule::PartialNeighbors(_) => Pairing::Neighbors,
            RopeRule::NeighborsUnless | RopeRule::Mistral4 if self.interleaved()? => {
                Pairing::Neighbors
            }
            _ => Pairing::Halves,
        };
        let (scaling, amplitude) = parameters.scaling(features / 2)?;
        let base = parameters.number("rope_theta")?;
        if base <= 0.0 {
            let why = "a base above 0".to_owned();
            return Err(wrong("rope_theta", &Value::from(base), why));
        }
        Ok(Some(Rope { base, features, pairing, scaling, amplitude }))
    }

    fn interleaved(&self) -> Result<bool, ConfigError> {
        let null = self.keys.get("rope_interleave") == Some(&Value::Null);
        Ok(!null && self.keys.flag("rope_interleave")?)
    }

    /// The width that turns.
    fn rotated(
        &self,
        parameters: &Parameters,
        width: u64,
    ) -> Result<usize, ConfigError> {
        if parameters.kind == "proportional" {
            // The share is of pairs that turn: `Scaling::Proportional`.
            return Ok(width as usize);
        }
        let share = parameters.number(SHARE)?;
        if self.kind.rope == RopeRule::Mistral4 {
            if parameters.kind == "default" {
                let why = "a model of type mistral4 runs with a scaled rotation alone";
                return Err(not_understood("rope_type", &"default".into(), why));
            }
            return self.rotated_of_query(share, width);
        }
        let partial = matches!(
            self.kind.rope,
            RopeRule::PartialHalves(_) | RopeRule::PartialNeighbors(_) | RopeRule::NeoX
        );
        if !partial && share != 1.0 {
            let why = format!("a model of type {} rotates whole heads", self.kind.name);
            return Err(not_understood(SHARE, &Value::from(share), &why));
        }
        let features = (width as f64 * share) as u64;
        if features == 0 || features > width || !features.is_multiple_of(2) {
            let wanted =
                format!("a share of {width} features that is an even number of them");
            return Err(wrong(SHARE, &Value::from(share), wanted));
        }
        Ok(features as usize)
    }

    /// The same where the share is one of a whole query: it has to say what
    /// `qk_rope_head_dim` says.
    fn rotated_of_query(&self, share: f64, width: u64) -> Result<usize, ConfigError> {
        let whole = self.keys.count("qk_nope_head_dim", WIDEST_HEAD)? + width;
        // A share that was not given is 1 here, and the class computes it.
        let given = share != 1.0 || self.share_is_given();
        if given && (whole as f64 * share) as u64 != width {
            let wanted = format!("{width} of the {whole} features of a query");
            return Err(wrong(SHARE, &Value::from(share), wanted));
        }
        if !width.is_multiple_of(2) {
            let wanted = "an even number of features".to_owned();
            return Err(wrong("qk_rope_head_dim", &Value::from(width), wanted));
        }
        Ok(width as usize)
    }

    fn share_is_given(&self) -> bool {
        let inside = ["rope_scaling", "rope_parameters"].map(|key| {
            self.keys.get(key).is_some_and(|found| found.get(SHARE).is_some())
        });
        self.keys.given(SHARE).is_some() || inside.contains(&true)
    }

    /// What rotated queries are multiplied by as the text goes on, in kinds that have it.
    pub(crate) fn temperature(&self) -> Result<Option<Temperature>, ConfigError> {
        if !matches!(self.kind.rope, RopeRule::Ministral3 | RopeRule::Mistral4) {
            return Ok(None);
        }
        let parameters = self.parameters(false)?;
        let beta = parameters.number("llama_4_scaling_beta")?;
        let trained = parameters.number(TRAINED)?;
        if trained < 1.0 {
            return Err(wrong(TRAINED, &Value::from(trained), "1 or more".to_owned()));
        }
        Ok(Some(Temperature { beta, trained }))
    }

    /// What scores of a latent are multiplied by besides: the square of `YaRN`'s
    /// temperature, if the file gives it for all features.
    pub(crate) fn mscale(&self) -> Result<f64, ConfigError> {
        let parameters = self.parameters(false)?;
        let all = parameters.some("mscale_all_dim")?.unwrap_or(0.0);
        if parameters.kind == "default" || all == 0.0 {
            return Ok(1.0);
        }
        Ok(temperature(parameters.number("factor")?, all).powi(2))
    }

    /// The parameters of a layer, with what Transformers fills in.
    fn parameters(&self, sliding: bool) -> Result<Parameters<'_>, ConfigError> {
        let mut found = if self.kind.rope == RopeRule::ByLayerType {
            self.parameters_by_layer(sliding)?
        } else {
            self.parameters_of_all()?
        };
        if self.kind.rope == RopeRule::NeoX {
            self.neox(&mut found)?;
        }
        found.entry(SHARE).or_insert(self.share_that_turns());
        let kind = found.get("rope_type").or(found.get("type"));
        let kind = match kind.map(|kind| kind.as_str().ok_or(kind)) {
            None => "default",
            Some(Ok("mrope")) if self.kind.name.ends_with("_vl_text") => "default",
            Some(Ok("su" | "yarn")) if self.kind.name == "phi3" => "longrope",
            Some(Ok(kind)) => kind,
            Some(Err(value)) => {
                return Err(wrong("rope_type", value, "a name".to_owned()));
            }
        };
        let kind = kind.to_owned();
        Ok(Parameters { found, config: self, kind })
    }

    /// The share of a head that turns, where the parameters do not say it. A `null` is
    /// passed over, and then whole heads turn; kinds that multiply by it cannot.
    fn share_that_turns(&self) -> Value {
        let (share, null) = match self.kind.rope {
            RopeRule::PartialHalves(share) if self.kind.name == "glm4_moe" => {
                (share, 1.0.into())
            }
            RopeRule::PartialHalves(share) => (share, Value::Null),
            RopeRule::PartialNeighbors(share) => (share, 1.0.into()),
            _ => (1.0, 1.0.into()),
        };
        match self.keys.given(SHARE) {
            None => share.into(),
            Some(Value::Null) => null,
            Some(value) => value.clone(),
        }
    }

    /// GPT-NeoX's own names of two keys, beside which it does not read the usual ones.
    fn neox(&self, found: &mut Map<String, Value>) -> Result<(), ConfigError> {
        for (usual, own, default) in
            [("rope_theta", "rotary_emb_base", 10_000.0), (SHARE, "rotary_pct", 0.25)]
        {
            let inside = ["rope_scaling", "rope_parameters"].map(|key| {
                self.keys.get(key).is_some_and(|found| found.get(usual).is_some())
            });
            if inside.contains(&true) {
                continue;
            }
            let value = self.keys.given(own).cloned().unwrap_or(default.into());
            if let Some(given) = self.keys.given(usual).filter(|given| **given != value)
            {
                let why = format!("a model of type gpt_neox has `{own}` in its place");
                return Err(not_understood(usual, given, &why));
            }
            found.insert(usual.to_owned(), value);
        }
        Ok(())
    }

    /// One set of parameters for all layers.
    fn parameters_of_all(&self) -> Result<Map<String, Value>, ConfigError> {
        let scaling = object("rope_scaling", self.keys.given("rope_scaling"))?;
        let parameters = object("rope_parameters", self.keys.get("rope_parameters"))?;
        let scaling = scaling.filter(|scaling| !scaling.is_empty());
        let mut found = match scaling.or(parameters) {
            Some(found) => found.clone(),
            None if self.kind.name == "gpt_oss" => gpt_oss(),
            None if self.kind.rope == RopeRule::Ministral3 => mistral(1e6, 16.0, 16384),
            None if self.kind.rope == RopeRule::Mistral4 => mistral(1e4, 128.0, 8192),
            None => Map::new(),
        };
        let theta = self.keys.given("rope_theta").unwrap_or(self.keys.class.rope_theta);
        found.entry("rope_theta").or_insert_with(|| theta.clone());
        Ok(found)
    }

    /// One set for layers with a window, which have another base, and one for the
    /// others.
    fn parameters_by_layer(
        &self,
        sliding: bool,
    ) -> Result<Map<String, Value>, ConfigError> {
        let (layer, theta) = if sliding {
            ("sliding_attention", "rope_local_base_freq")
        } else {
            ("full_attention", "rope_theta")
        };
        let parameters = object("rope_parameters", self.keys.get("rope_parameters"))?;
        if let Some(key) = parameters
            .and_then(|all| all.keys().find(|key| !key.ends_with("_attention")))
        {
            let why =
                "a model of this type has a set of parameters for each kind of layer";
            return Err(not_understood(
                &format!("rope_parameters.{key}"),
                &Value::Null,
                why,
            ));
        }
        let own = parameters.and_then(|all| all.get(layer));
        let mut found = object(layer, own)?.cloned().unwrap_or_default();
        let scaling = object("rope_scaling", self.keys.given("rope_scaling"))?;
        if let Some(scaling) = scaling.filter(|_| !sliding) {
            found.extend(scaling.clone());
        }
        let default = &self.keys.class.rope_theta;
        let default = if default.is_object() { &default[layer] } else { default };
        let theta = self.keys.given(theta).unwrap_or(default);
        found.entry("rope_theta").or_insert_with(|| theta.clone());
        Ok(found)
    }
}

/// What Transformers fills in for a gpt-oss without any parameters.
fn gpt_oss() -> Map<String, Value> {
    let yarn: [(&str, Value); 6] = [
        ("rope_type", "yarn".into()),
        ("factor", 32.0.into()),
        ("beta_fast", 32.0.into()),
        ("beta_slow", 1.0.into()),
        ("truncate", false.into()),
        ("original_max_position_embeddings", 4096.into()),
    ];
    yarn.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// What Transformers fills in for a Ministral 3 or Mistral 4 without any parameters.
fn mistral(theta: f64, factor: f64, trained: u64) -> Map<String, Value> {
    let yarn: [(&str, Value); 9] = [
        ("rope_type", "yarn".into()),
        ("rope_theta", theta.into()),
        ("factor", factor.into()),
        ("beta_fast", 32.0.into()),
        ("beta_slow", 1.0.into()),
        ("mscale", 1.0.into()),
        ("mscale_all_dim", 1.0.into()),
        ("llama_4_scaling_beta", 0.1.into()),
        (TRAINED, trained.into()),
    ];
    yarn.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

impl Parameters<'_> {
    /// How frequencies of so many pairs differ, and what cosines and sines are
    /// multiplied by.
    fn scaling(&self, pairs: usize) -> Result<(Scaling, f64), ConfigError> {
        let known = ["rope_type", "type", "rope_theta", SHARE];
        let own: &[&str] = match self.kind.as_str() {
            // The axes of text are all alike.
            "default" => &["mrope_section"],
            "linear" | "dynamic" | "proportional" => &["factor"],
            "llama3" => &["factor", "low_freq_factor", "high_freq_factor", TRAINED],
            "yarn" => &YARN,
            "longrope" => {
                &["factor", "attention_factor", "short_factor", "long_factor", TRAINED]
            }
            _ => {
                let why = "default, linear, dynamic, llama3, yarn, longrope and proportional \
                     are known";
                return Err(not_understood(
                    "rope_type",
                    &self.kind.as_str().into(),
                    why,
                ));
            }
        };
        // Read by the layer, whatever its rotation is.
        let besides: &[&str] = match self.config.kind.rope {
            RopeRule::Ministral3 | RopeRule::Mistral4 => {
                &["llama_4_scaling_beta", "max_position_embeddings", TRAINED]
            }
            _ => &[],
        };
        let strange = |key: &&String| {
            ![&known, own, besides].iter().any(|list| list.contains(&key.as_str()))
        };
        if let Some(key) =
            self.found.keys().find(strange).filter(|key| !self.found[*key].is_null())
        {
            let why = format!("no rotation of type {} has it", self.kind);
            return Err(not_understood(
                &format!("rope_parameters.{key}"),
                &self.found[key],
                &why,
            ));
        }
        Ok(match self.kind.as_str() {
            "linear" => (Scaling::Linear { factor: self.number("factor")? }, 1.0),
            "dynamic" => {
                let trained = self.config.keys.number("max_position_embeddings")?;
                (Scaling::Dynamic { factor: self.number("factor")?, trained }, 1.0)
            }
            "llama3" => (self.llama3()?, 1.0),
            "yarn" => self.yarn()?,
            "longrope" => self.long(pairs)?,
            "proportional" => (self.proportional(pairs)?, 1.0),
            _ => (Scaling::None, 1.0),
        })
    }

    fn llama3(&self) -> Result<Scaling, ConfigError> {
        Ok(Scaling::Llama3 {
            factor: self.number("factor")?,
            low: self.number("low_freq_factor")?,
            high: self.number("high_freq_factor")?,
            trained: self.trained()?,
        })
    }

    fn yarn(&self) -> Result<(Scaling, f64), ConfigError> {
        let trained = self.trained()?;
        let factor = self.factor(trained)?;
        let or = |key, default| {
            let number = self.some(key)?.filter(|number| *number != 0.0);
            Ok::<_, ConfigError>(number.unwrap_or(default))
        };
        let whole = match self.found.get("truncate") {
            None => true,
            Some(Value::Bool(whole)) => *whole,
            Some(value) => {
                return Err(wrong("truncate", value, "true or false".to_owned()));
            }
        };
        let scaling = Scaling::Yarn {
            factor,
            fast: or("beta_fast", 32.0)?,
            slow: or("beta_slow", 1.0)?,
            trained,
            whole,
        };
        let (one, all) = (or("mscale", 0.0)?, or("mscale_all_dim", 0.0)?);
        let amplitude = match self.some("attention_factor")? {
            Some(amplitude) => amplitude,
            None if one != 0.0 && all != 0.0 => {
                temperature(factor, one) / temperature(factor, all)
            }
            None => temperature(factor, 1.0),
        };
        Ok((scaling, amplitude))
    }

    fn long(&self, pairs: usize) -> Result<(Scaling, f64), ConfigError> {
        let trained = self.trained()?;
        let factor = self.factor(trained)?;
        let scaling = Scaling::Long {
            short: self.list("short_factor", pairs)?,
            long: self.list("long_factor", pairs)?,
            trained,
        };
        let amplitude = match self.some("attention_factor")? {
            Some(amplitude) => amplitude,
            None if factor <= 1.0 => 1.0,
            None => (1.0 + factor.ln() / trained.ln()).sqrt(),
        };
        Ok((scaling, amplitude))
    }

    fn proportional(&self, pairs: usize) -> Result<Scaling, ConfigError> {
        let share = self.number(SHARE)?;
        if !(0.0..=1.0).contains(&share) {
            let wanted = "a share of the pairs, from 0 to 1".to_owned();
            return Err(wrong(SHARE, &Value::from(share), wanted));
        }
        // Transformers divides the features and not the pairs.
        let turning = (share * (2 * pairs) as f64 / 2.0) as usize;
        let factor = self.some("factor")?.unwrap_or(1.0);
        Ok(Scaling::Proportional { factor, pairs: turning })
    }

    /// How many times as long texts may be as those of training.
    fn factor(&self, trained: f64) -> Result<f64, ConfigError> {
        match self.some("factor")? {
            Some(factor) => Ok(factor),
            None => Ok(self.config.keys.number("max_position_embeddings")? / trained),
        }
    }

    /// Tokens of the texts of training. Beside the other parameters or outside; in
    /// Phi-3 the outer one holds in any case.
    fn trained(&self) -> Result<f64, ConfigError> {
        let keys = &self.config.keys;
        let trained = match keys.get(TRAINED) {
            Some(value) => number(TRAINED, value)?,
            None if self.found.contains_key(TRAINED) => self.number(TRAINED)?,
            None => keys.number("max_position_embeddings")?,
        };
        if trained < 2.0 {
            return Err(wrong(TRAINED, &Value::from(trained), "at least 2".to_owned()));
        }
        Ok(trained)
    }

    fn list(&self, key: &'static str, pairs: usize) -> Result<Vec<f64>, ConfigError> {
        let value = self.found.get(key).unwrap_or(&Value::Null);
        let list = value.as_array().filter(|list| list.len() == pairs);
        let wanted = || format!("a list of {pairs} numbers, one for each pair");
        let list = list.ok_or_else(|| wrong(key, value, wanted()))?;
        list.iter().map(|value| number(key, value)).collect()
    }

    fn some(&self, key: &'static str) -> Result<Option<f64>, ConfigError> {
        let value = self.found.get(key).filter(|value| !value.is_null());
        value.map(|value| number(key, value)).transpose()
    }

    fn number(&self, key: &'static str) -> Result<f64, ConfigError> {
        let kind = self.config.kind.name;
        let missing = ConfigError::Missing { key, kind };
        self.found.get(key).map_or(Err(missing), |value| number(key, value))
    }
}

const SHARE: &str = "partial_rotary_factor";
const TRAINED: &str = "original_max_position_embeddings";

const YARN: [&str; 9] = [
    "factor",
    "attention_factor",
    "beta_fast",
    "beta_slow",
    "mscale",
    "mscale_all_dim",
    "truncate",
    TRAINED,
    // Written by old files, and read by nobody.
    "finetuned",
];

/// `YaRN`'s temperature: how much larger scores of longer texts have to be (Peng et al.
/// 2023, §3.4), as a factor of queries and of keys.
fn temperature(factor: f64, mscale: f64) -> f64 {
    if factor <= 1.0 { 1.0 } else { 0.1 * mscale * factor.ln() + 1.0 }
}

fn object<'a>(
    key: &str,
    value: Option<&'a Value>,
) -> Result<Option<&'a Map<String, Value>>, ConfigError> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(found)) => Ok(Some(found)),
        Some(value) => Err(wrong(key, value, "an object".to_owned())),
    }
}

fn not_understood(key: &str, value: &Value, why: &str) -> ConfigError {
    let (key, found, why) = (key.to_owned(), shown(value), why.to_owned());
    ConfigError::NotUnderstood { key, found, why }
}
