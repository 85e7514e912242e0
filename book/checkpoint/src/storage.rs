//! How many bytes the weights of a model take, quantized or not.

use crate::config::Config;
use crate::dtype::Dtype;
use crate::error::ConfigError;
use crate::json::shown;
use crate::keys::{number, wrong};
use crate::modules::Part;
use crate::patterns::{Pattern, patterns};
use serde_json::{Map, Value};

/// Bytes of one weight, by the part of the model that it belongs to: a mean, where a
/// part is quantized in some layers only. Scales of groups are counted; one for each
/// row or matrix is not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bytes {
    /// Projections of attention.
    pub attention: f64,
    /// Networks that every token passes.
    pub network: f64,
    /// Networks that few tokens pass.
    pub experts: f64,
    /// The matrix that tokens leave by.
    pub head: f64,
    /// The table that tokens enter by.
    pub table: f64,
    /// The rest: routers, biases, gains, positions.
    pub rest: f64,
}

impl Bytes {
    /// As many for each weight.
    #[must_use]
    pub fn all(bytes: f64) -> Self {
        let b = bytes;
        Bytes { attention: b, network: b, experts: b, head: b, table: b, rest: b }
    }
}

/// How the weights of a checkpoint are stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Storage {
    /// `quant_method`, if the weights are quantized.
    pub method: Option<String>,
    /// Bytes of a weight.
    pub bytes: Bytes,
    /// Bytes of a number in the cache: of the type that the layers compute in, unless
    /// the checkpoint says how its cache is quantized.
    pub cache_bytes: f64,
}

/// What is quantized, and to how many bits.
struct Scheme {
    groups: Vec<Group>,
    /// What is left as it was.
    left: Vec<Pattern>,
    /// Whether the table that tokens enter by is quantized, too.
    table: bool,
    /// Whether nothing but experts is.
    experts_only: bool,
}

/// Matrices that are quantized alike.
struct Group {
    /// Which; none: all.
    targets: Option<Vec<Pattern>>,
    /// Bits of a weight, with those of its group's scales.
    bits: f64,
}

impl Config {
    /// How the weights are stored: as `quantization_config` says, or else in `dtype`,
    /// or else in `unsaid` bytes each.
    ///
    /// # Errors
    /// When the quantization is of a kind that is not known, or does not say how many
    /// bits a weight has.
    pub fn storage(&self, unsaid: f64) -> Result<Storage, ConfigError> {
        let plain = self.dtype()?.map_or(unsaid, Dtype::bytes);
        let cache_bytes = if plain < 2.0 { 2.0 } else { plain };
        let Some(keys) = self.quantization()? else {
            return Ok(Storage { method: None, bytes: Bytes::all(plain), cache_bytes });
        };
        // What is not quantized cannot be smaller than what is computed in.
        let plain = plain.max(2.0);
        let method = method(keys)?;
        let scheme = scheme(&method, keys)?;
        let bytes = self.bytes(&scheme, plain)?;
        let cache_bytes = cache(keys)?.unwrap_or(cache_bytes);
        Ok(Storage { method: Some(method), bytes, cache_bytes })
    }

    fn quantization(&self) -> Result<Option<&Map<String, Value>>, ConfigError> {
        let names = ["quantization_config", "compression_config", "quantization"];
        let places = [&self.outer, &self.keys.given];
        let found =
            places.into_iter().flat_map(|keys| names.map(|name| keys.get(name)));
        match found.flatten().find(|value| !value.is_null()) {
            None => Ok(None),
            Some(Value::Object(keys)) => Ok(Some(keys)),
            Some(value) => Err(wrong(names[0], value, "an object".to_owned())),
        }
    }

    /// Bytes of a weight in each part, over all of its matrices.
    fn bytes(&self, scheme: &Scheme, plain: f64) -> Result<Bytes, ConfigError> {
        let modules = self.modules()?;
        let nested = !self.outer.contains_key("num_hidden_layers");
        let mean = |part: Part| {
            let (mut weights, mut bytes) = (0.0, 0.0);
            for module in modules.iter().filter(|module| module.part == part) {
                let bits = scheme.bits(part, &module.name, nested);
                weights += module.weights as f64;
                bytes += module.weights as f64 * bits.map_or(plain, |bits| bits / 8.0);
            }
            if weights > 0.0 { bytes / weights } else { plain }
        };
        let table = mean(Part::Table);
        Ok(Bytes {
            attention: mean(Part::Attention),
            network: mean(Part::Network),
            experts: mean(Part::Experts),
            // Of tied tables there is one, and it is left as it is unless it is said.
            head: if self.tied { table } else { mean(Part::Head) },
            table,
            rest: plain,
        })
    }
}

impl Scheme {
    /// Bits of a weight of a matrix, if it is quantized.
    fn bits(&self, part: Part, name: &str, nested: bool) -> Option<f64> {
        let of_a_kind = match part {
            Part::Table => self.table,
            Part::Experts => true,
            _ => !self.experts_only,
        };
        let matches = |all: &[Pattern]| all.iter().any(|one| one.matches(name, nested));
        if !of_a_kind || matches(&self.left) {
            return None;
        }
        let group = self.groups.iter().find(|group| {
            group.targets.as_ref().is_none_or(|targets| matches(targets))
        });
        group.map(|group| group.bits)
    }
}

/// `quant_method`, or what the other keys show.
fn method(keys: &Map<String, Value>) -> Result<String, ConfigError> {
    match keys.get("quant_method") {
        Some(Value::String(method)) => Ok(method.to_lowercase()),
        None if flag(keys, "load_in_8bit") || flag(keys, "load_in_4bit") => {
            Ok("bitsandbytes".to_owned())
        }
        // MLX names no method.
        None if keys.contains_key("bits") && keys.contains_key("group_size") => {
            Ok("mlx".to_owned())
        }
        None => Err(refused(
            "quantization_config.quant_method",
            &Value::Null,
            "nothing says how the weights are quantized; `--weight-bytes` says it",
        )),
        Some(value) => {
            Err(wrong("quantization_config.quant_method", value, "a name".to_owned()))
        }
    }
}

/// What a method does.
fn scheme(method: &str, keys: &Map<String, Value>) -> Result<Scheme, ConfigError> {
    match method {
        "fp8" => fp8(keys),
        "fbgemm_fp8" | "eetq" => {
            Ok(all(8.0, left(keys, "modules_to_not_convert", true)?))
        }
        "bitsandbytes" => bitsandbytes(keys),
        "gptq" | "auto-round" | "intel/auto-round" => gptq(keys),
        "awq" => awq(keys),
        "mlx" => mlx(keys),
        "mxfp4" => {
            let mut scheme = all(4.25, left(keys, "modules_to_not_convert", true)?);
            scheme.experts_only = true;
            Ok(scheme)
        }
        "compressed-tensors" | "compressed_tensors" => compressed(keys),
        "modelopt" | "modelopt_fp4" => modelopt(keys),
        _ => Err(refused(
            "quantization_config.quant_method",
            &method.into(),
            "bits per weight are not known of this method; `--weight-bytes` says them",
        )),
    }
}

fn all(bits: f64, left: Vec<Pattern>) -> Scheme {
    let groups = vec![Group { targets: None, bits }];
    Scheme { groups, left, table: false, experts_only: false }
}

/// 8 bits, and a scale of 32 for each block.
fn fp8(keys: &Map<String, Value>) -> Result<Scheme, ConfigError> {
    if let Some(value) = keys.get("expert_dtype").filter(|value| **value != "fp8") {
        let why = "experts of another type than fp8 are not known here";
        return Err(refused("quantization_config.expert_dtype", value, why));
    }
    let key = "weight_block_size";
    let scale = match keys.get(key) {
        None | Some(Value::Null) => 0.0,
        Some(value) => {
            let sides: Vec<f64> = value
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_f64)
                .collect();
            let sound = sides.len() == 2 && sides.iter().all(|side| *side >= 1.0);
            if !sound {
                return Err(wrong(key, value, "two sides of a block".to_owned()));
            }
            32.0 / (sides[0] * sides[1])
        }
    };
    let name = ["modules_to_not_convert", "ignored_layers"];
    let name =
        name.into_iter().find(|name| keys.get(*name).is_some_and(Value::is_array));
    Ok(all(8.0 + scale, left(keys, name.unwrap_or("modules_to_not_convert"), true)?))
}

/// 4 bits and a scale of 32 for 64 of them, itself of 8 bits if it is quantized, too;
/// or 8 bits (Dettmers et al. 2023, *`QLoRA`*, §3).
fn bitsandbytes(keys: &Map<String, Value>) -> Result<Scheme, ConfigError> {
    let said = |key: &str| flag(keys, key) || flag(keys, &format!("_{key}"));
    let twice = flag(keys, "bnb_4bit_use_double_quant");
    let bits = match (said("load_in_4bit"), said("load_in_8bit")) {
        (true, false) if twice => 4.0 + 8.0 / 64.0 + 32.0 / (64.0 * 256.0),
        (true, false) => 4.0 + 32.0 / 64.0,
        (false, true) => 8.0,
        _ => {
            let why = "either `load_in_4bit` or `load_in_8bit` has to be true";
            let key = "quantization_config.load_in_4bit";
            return Err(refused(key, &said("load_in_4bit").into(), why));
        }
    };
    Ok(all(bits, left(keys, "llm_int8_skip_modules", true)?))
}

/// Bits, and a scale of 16 and a zero point for each group.
fn gptq(keys: &Map<String, Value>) -> Result<Scheme, ConfigError> {
    let mut scheme = all(grouped(keys)?, exceptions(keys)?);
    if !flag(keys, "lm_head") {
        scheme.left.push(Pattern::new("lm_head")?);
    }
    let only =
        keys.get("modules_in_block_to_quantize").filter(|value| !is_empty(value));
    if let Some(Value::Array(only)) = only {
        // A list of names, or a list of lists of them.
        let names = only.iter().flat_map(|one| match one {
            Value::Array(names) => names.clone(),
            name => vec![name.clone()],
        });
        let names = Value::Array(names.collect());
        scheme.groups[0].targets =
            Some(patterns("modules_in_block_to_quantize", &names)?);
    }
    Ok(scheme)
}

/// The modules that `dynamic` leaves out: those behind `-:`.
fn exceptions(keys: &Map<String, Value>) -> Result<Vec<Pattern>, ConfigError> {
    let empty = Map::new();
    let rules = keys.get("dynamic").and_then(Value::as_object).unwrap_or(&empty);
    let pattern = |rule: &String| match rule.strip_prefix("-:") {
        Some(expression) => Pattern::new(&format!("re:{expression}")),
        None => Err(refused(
            "quantization_config.dynamic",
            &rule.as_str().into(),
            "bits that differ between modules are not counted; say `--weight-bytes`",
        )),
    };
    rules.keys().map(pattern).collect()
}

fn awq(keys: &Map<String, Value>) -> Result<Scheme, ConfigError> {
    let mut left = left(keys, "modules_to_not_convert", true)?;
    // Added to what is listed.
    left.push(Pattern::new("lm_head")?);
    Ok(all(grouped(keys)?, left))
}

/// All matrices and the tables, with a scale and a bias of 16 bits for each group.
fn mlx(keys: &Map<String, Value>) -> Result<Scheme, ConfigError> {
    let own = keys.iter().find(|(_, value)| value.is_object() || value.is_boolean());
    if let Some((key, value)) = own {
        let why =
            "bits that differ between modules are not counted; say `--weight-bytes`";
        return Err(refused(&format!("quantization.{key}"), value, why));
    }
    let bits = bits(keys, &["bits"])?.unwrap_or(4.0);
    let group = size("group_size", keys.get("group_size").unwrap_or(&Value::Null))?;
    Ok(Scheme { table: true, ..all(bits + 32.0 / group, Vec::new()) })
}

/// Bits of a weight with a scale of 16 bits and a zero point for each of its groups.
fn grouped(keys: &Map<String, Value>) -> Result<f64, ConfigError> {
    let bits = bits(keys, &["bits", "w_bit", "num_bits"])?.unwrap_or(4.0);
    let group = ["group_size", "q_group_size"].iter().find_map(|key| keys.get(*key));
    match group {
        None => Ok(bits + (16.0 + bits) / 128.0),
        // One for each row.
        Some(value) if value.as_i64() == Some(-1) => Ok(bits),
        Some(value) => Ok(bits + (16.0 + bits) / size("group_size", value)?),
    }
}

/// Groups of modules, each with its own bits; or, where there are none, a format alone.
fn compressed(keys: &Map<String, Value>) -> Result<Scheme, ConfigError> {
    let sparse =
        keys.get("sparsity_config").and_then(|sparsity| sparsity.get("format"));
    if let Some(value) = sparse.filter(|format| **format != "dense") {
        let why = "sparse weights are not counted here; `--weight-bytes` says them";
        return Err(refused("quantization_config.sparsity_config.format", value, why));
    }
    let format = keys.get("format").unwrap_or(&Value::Null);
    let left = left(keys, "ignore", false)?;
    match keys.get("config_groups") {
        Some(Value::Object(groups)) if !groups.is_empty() => {
            let groups: Result<Vec<Group>, _> =
                groups.values().map(|group| compressed_group(group, format)).collect();
            Ok(Scheme { groups: groups?, left, table: false, experts_only: false })
        }
        // The file does not say of which modules, so of all.
        _ => match format.as_str() {
            Some("float-quantized" | "int-quantized") => {
                Ok(Scheme { table: true, ..all(8.0, left) })
            }
            _ => Err(refused(
                "quantization_config.format",
                format,
                "without `config_groups` it does not say how many bits a weight has; \
                 `--weight-bytes` does",
            )),
        },
    }
}

fn compressed_group(group: &Value, format: &Value) -> Result<Group, ConfigError> {
    let nothing = Map::new();
    let weights = group.get("weights").and_then(Value::as_object).unwrap_or(&nothing);
    let format = group.get("format").filter(|own| !own.is_null()).unwrap_or(format);
    let stored = format.as_str().unwrap_or("");
    if matches!(stored, "marlin-24" | "dense") || stored.starts_with("sparse") {
        let why = "weights in this format are not counted; `--weight-bytes` says them";
        return Err(refused("quantization_config.format", format, why));
    }
    let Some(bits) = bits(weights, &["num_bits"])? else {
        // Inputs are quantized, and weights are not.
        return Ok(Group { targets: Some(Vec::new()), bits: 16.0 });
    };
    let scale = match weights.get("group_size").filter(|size| !size.is_null()) {
        None => 0.0,
        Some(value) if value.as_i64() == Some(-1) => 0.0,
        Some(value) => {
            let scale = match stored {
                "nvfp4-pack-quantized" | "mxfp4-pack-quantized" => 8.0,
                _ if weights.get("symmetric") == Some(&Value::Bool(false)) => {
                    16.0 + bits
                }
                _ => 16.0,
            };
            scale / size("group_size", value)?
        }
    };
    let targets = group.get("targets").unwrap_or(&Value::Null);
    let linear =
        targets.as_array().is_none_or(|all| all.iter().any(|one| one == "Linear"));
    let targets = if linear { None } else { Some(patterns("targets", targets)?) };
    Ok(Group { targets, bits: bits + scale })
}

fn modelopt(keys: &Map<String, Value>) -> Result<Scheme, ConfigError> {
    let inner = keys.get("quantization").and_then(Value::as_object).unwrap_or(keys);
    let algorithm = inner.get("quant_algo").unwrap_or(&Value::Null);
    let bits = match algorithm.as_str() {
        Some("FP8") => 8.0,
        // 4 bits, and a scale of 8 for 16 of them.
        Some("NVFP4") => 4.5,
        _ => {
            let why = "only FP8 and NVFP4 are known; `--weight-bytes` says the others";
            return Err(refused("quantization_config.quant_algo", algorithm, why));
        }
    };
    let name = ["ignore", "exclude_modules"];
    let name =
        name.into_iter().find(|name| inner.get(*name).is_some_and(Value::is_array));
    Ok(all(bits, left(inner, name.unwrap_or("ignore"), true)?))
}

/// The modules that a list leaves out. Where there is none, most methods leave the
/// matrix that tokens leave by.
fn left(
    keys: &Map<String, Value>,
    key: &str,
    head: bool,
) -> Result<Vec<Pattern>, ConfigError> {
    match keys.get(key).filter(|value| !value.is_null()) {
        Some(value) => patterns(key, value),
        None if head => Ok(vec![Pattern::new("lm_head")?]),
        None => Ok(Vec::new()),
    }
}

/// Bytes of a number in the cache, if the checkpoint says how it is quantized.
fn cache(keys: &Map<String, Value>) -> Result<Option<f64>, ConfigError> {
    if keys.get("kv_cache_quant_algo").is_some_and(|name| name == "FP8") {
        return Ok(Some(1.0));
    }
    let scheme = keys.get("kv_cache_scheme").and_then(Value::as_object);
    let bits = scheme.map(|scheme| bits(scheme, &["num_bits"])).transpose()?;
    Ok(bits.flatten().map(|bits| bits / 8.0))
}

fn bits(keys: &Map<String, Value>, names: &[&str]) -> Result<Option<f64>, ConfigError> {
    let found = names.iter().find_map(|name| Some((*name, keys.get(*name)?)));
    let Some((name, value)) = found.filter(|(_, value)| !value.is_null()) else {
        return Ok(None);
    };
    let bits = number(name, value)?;
    let sound = (1.0..=16.0).contains(&bits);
    let wanted = || "from 1 to 16 bits".to_owned();
    sound.then_some(Some(bits)).ok_or_else(|| wrong(name, value, wanted()))
}

fn size(key: &str, value: &Value) -> Result<f64, ConfigError> {
    let size = value.as_u64().filter(|size| (1..=1 << 20).contains(size));
    let size = size.ok_or_else(|| wrong(key, value, "a size of groups".to_owned()))?;
    Ok(size as f64)
}

fn flag(keys: &Map<String, Value>, key: &str) -> bool {
    keys.get(key) == Some(&Value::Bool(true))
}

fn is_empty(value: &Value) -> bool {
    value.is_null()
        || value.as_array().is_some_and(Vec::is_empty)
        || value.as_object().is_some_and(Map::is_empty)
}

fn refused(key: &str, value: &Value, why: &str) -> ConfigError {
    let (key, found, why) = (key.to_owned(), shown(value), why.to_owned());
    ConfigError::NotUnderstood { key, found, why }
}
