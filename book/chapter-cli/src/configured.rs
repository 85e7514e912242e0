//! `--config`: the flags of a layer, out of the `config.json` of its model.

use crate::Chapter;
use crate::described::{Described, Flag, Said};
use crate::expected::Expected;
use crate::message::brief_path;
use crate::prefix::layer_of;
use anyhow::{Context, Result, bail};
use checkpoint::{Attention, Config};
use clap::ArgMatches;
use clap::parser::ValueSource;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

/// A layer as a configuration describes it, and the flags that say so.
pub(crate) struct Configured {
    path: String,
    described: Described,
    flags: Vec<Flag>,
}

impl Configured {
    /// Reads what `--config` names, and picks the layer that `--layer` or `--prefix` names.
    ///
    /// # Errors
    /// When it is no configuration of a known kind, has no such layer, or describes
    /// something that the chapter does not compute.
    pub(crate) fn read<C: Chapter>(given: &ArgMatches) -> Result<Self> {
        let path: &PathBuf = given.get_one("config").context("no --config")?;
        let config = Config::read(path).context("--config")?;
        let asked = given.get_one("layer").copied();
        let prefix: &String = given.get_one("prefix").context("no --prefix")?;
        let path = brief_path(path);
        let layer = layer(&config, asked, prefix).with_context(|| path.clone())?;
        let attention = config.attention(layer).with_context(|| path.clone())?;
        let mut described = Described::new(attention);
        let flags = C::flags_of(&mut described).and_then(|flags| {
            described.expect_nothing_left()?;
            Ok(flags)
        });
        let flags = flags.with_context(|| format!("{path}, layer {layer}"))?;
        Ok(Configured { path, described, flags })
    }

    /// The words for the command line that are not `given`. `forward` knows its flags.
    ///
    /// # Errors
    /// When one is given and says something else.
    pub(crate) fn missing(
        &self,
        given: &ArgMatches,
        forward: &clap::Command,
    ) -> Result<Vec<OsString>> {
        let mut words = Vec::new();
        for flag in &self.flags {
            let name = flag.name.trim_start_matches('-');
            let is_it = |arg: &&clap::Arg| arg.get_long() == Some(name);
            let arg = forward.get_arguments().find(is_it);
            let id = arg.with_context(|| format!("no flag {}", flag.name))?.get_id();
            let is_given =
                given.value_source(id.as_str()) == Some(ValueSource::CommandLine);
            if is_given {
                self.expect_same(flag, given.get_raw(id.as_str()))?;
            } else if let Some(word) = flag.word() {
                words.push(word.into());
            }
        }
        Ok(words)
    }

    /// # Errors
    /// When a flag that is given with the values `raw` is not what it is here.
    fn expect_same(
        &self,
        flag: &Flag,
        raw: Option<clap::parser::RawValues>,
    ) -> Result<()> {
        let raw = raw.and_then(|mut raw| raw.next()).map(|raw| raw.to_string_lossy());
        let name = flag.name;
        let same = match (&flag.said, &raw) {
            (Said::Given, _) => true,
            (Said::Value(value), Some(raw)) => says_the_same(value, raw),
            (Said::Value(_), None) | (Said::Without, _) => false,
        };
        if same {
            return Ok(());
        }
        let (path, layer) = (&self.path, self.described.layer().layer);
        let given = match (&flag.said, &raw) {
            (Said::Value(_), Some(raw)) => format!("{name} {raw}"),
            _ => name.to_owned(),
        };
        let wanted = flag.word().map(|word| word.replacen('=', " ", 1));
        let wanted = wanted.unwrap_or_else(|| format!("no {name}"));
        bail!(
            "{given}, and {path} says {wanted} of layer {layer}: leave one of them out"
        )
    }

    /// The layer that is described.
    pub(crate) fn layer(&self) -> &Attention {
        self.described.layer()
    }

    /// What a file of the layer has to be.
    pub(crate) fn expected(&self) -> Expected<'_> {
        Expected::new(&self.path, &self.described)
    }
}

/// `layer 3 of config.json: --heads 9 --kv-heads 3 --causal`.
impl fmt::Display for Configured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "layer {} of {}:", self.described.layer().layer, self.path)?;
        let words: Vec<String> = self.flags.iter().filter_map(Flag::word).collect();
        if words.is_empty() {
            return write!(f, " no flags");
        }
        words.iter().try_for_each(|word| write!(f, " {}", word.replacen('=', " ", 1)))
    }
}

impl Flag {
    /// `--heads=9`, if it is to be given.
    fn word(&self) -> Option<String> {
        match &self.said {
            Said::Without => None,
            Said::Given => Some(self.name.to_owned()),
            Said::Value(value) => Some(format!("{}={value}", self.name)),
        }
    }
}

/// Whether two values are one: word by word between commas, as numbers if they are.
fn says_the_same(one: &str, other: &str) -> bool {
    let same = |one: &str, other: &str| {
        let number = |text: &str| text.trim().parse::<f64>().ok();
        match (number(one), number(other)) {
            (Some(one), Some(other)) => one == other,
            _ => one.trim() == other.trim(),
        }
    };
    let [one, other] = [one, other].map(|text| text.split(','));
    one.clone().count() == other.clone().count()
        && one.zip(other).all(|(one, other)| same(one, other))
}

/// The layer that is meant: the one that is asked for, or that the prefix names, or any,
/// where all are alike.
fn layer(config: &Config, asked: Option<usize>, prefix: &str) -> Result<usize> {
    match (asked, layer_of(prefix)) {
        (Some(asked), Some(named)) if asked != named => bail!(
            "--layer {asked} and --prefix {prefix}: is it layer {asked} or {named}?"
        ),
        (Some(layer), _) | (None, Some(layer)) => Ok(layer),
        (None, None) => match other_than_first(config)? {
            None => Ok(0),
            Some(other) => bail!(
                "its layers are not alike, layers 0 and {other} for example: say which \
                 one it is with --layer"
            ),
        },
    }
}

/// A layer that does something else than the first one.
fn other_than_first(config: &Config) -> Result<Option<usize>> {
    let first = config.attention(0)?;
    for layer in 1..config.layers()? {
        let mut other = config.attention(layer)?;
        other.layer = 0;
        if other != first {
            return Ok(Some(layer));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::says_the_same;

    #[test]
    fn values_are_compared_as_numbers() {
        assert!(says_the_same("10000", "1e4"));
        assert!(says_the_same("8,1,4,8192", "8.0, 1,4,8192"));
        assert!(!says_the_same("8", "9"));
        assert!(!says_the_same("8,1,4", "8,1,4,8192"));
        assert!(says_the_same("yarn,4,32", "yarn, 4.0,32"));
        assert!(!says_the_same("yarn,4,32", "linear,4,32"));
    }
}
