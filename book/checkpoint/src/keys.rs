//! The keys of a configuration, each of the type that it has to have.

use crate::defaults::Class;
use crate::error::ConfigError;
use crate::json::shown;
use serde_json::{Map, Value};

/// Limits far above any model, under which no count overflows.
pub(crate) const MOST_LAYERS: u64 = 10_000;
pub(crate) const MOST_HEADS: u64 = 1 << 16;
pub(crate) const WIDEST_HEAD: u64 = 1 << 14;
pub(crate) const WIDEST: u64 = 1 << 20;
pub(crate) const MOST_TOKENS: u64 = 1 << 32;
pub(crate) const MOST_WORDS: u64 = 1 << 28;

/// The keys of a file, and below them what the class of its kind fills in. A key that
/// is absent has the value of its class; one that is `null` is `null`.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    pub(crate) kind: &'static str,
    pub(crate) given: Map<String, Value>,
    pub(crate) class: Class,
}

impl Keys {
    /// What holds for `key`: what the file says, or else its class.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        let default = |name: &&str| self.class.fields.get(*name);
        self.given(key).or_else(|| self.names(key).iter().find_map(default))
    }

    /// What the file says of `key`, under any of its names. Where it says two things,
    /// the name that is not the class's own wins, since Transformers sets it last.
    pub(crate) fn given(&self, key: &str) -> Option<&Value> {
        let mut names = self.names(key);
        names.sort_by_key(|name| self.class.fields.contains_key(*name));
        names.into_iter().find_map(|name| self.given.get(name))
    }

    /// All names of the attribute that `key` names.
    fn names<'a>(&'a self, key: &'a str) -> Vec<&'a str> {
        let other = self.class.also_named;
        let real = |name| other.get(name).and_then(Value::as_str).unwrap_or(name);
        let mut names = vec![key, real(key)];
        names.extend(other.keys().map(String::as_str));
        names.retain(|name| real(name) == real(key));
        names
    }

    /// A count from 1 to `most`.
    pub(crate) fn count(
        &self,
        key: &'static str,
        most: u64,
    ) -> Result<u64, ConfigError> {
        self.within(key, 1, most)
    }

    /// A count from 0 to `most`.
    pub(crate) fn count_or_zero(
        &self,
        key: &'static str,
        most: u64,
    ) -> Result<u64, ConfigError> {
        self.within(key, 0, most)
    }

    /// A count from 1 to `most`, or none where the key is absent or `null`.
    pub(crate) fn some_count(
        &self,
        key: &'static str,
        most: u64,
    ) -> Result<Option<u64>, ConfigError> {
        match self.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(_) => self.count(key, most).map(Some),
        }
    }

    fn within(
        &self,
        key: &'static str,
        least: u64,
        most: u64,
    ) -> Result<u64, ConfigError> {
        let value = self.needed(key)?;
        let count = value.as_u64().filter(|count| (least..=most).contains(count));
        let wanted = || format!("a whole number from {least} to {most}");
        count.ok_or_else(|| wrong(key, value, wanted()))
    }

    /// A number that has an end.
    pub(crate) fn number(&self, key: &'static str) -> Result<f64, ConfigError> {
        number(key, self.needed(key)?)
    }

    /// A number, or none where the key is absent or `null`.
    pub(crate) fn some_number(
        &self,
        key: &'static str,
    ) -> Result<Option<f64>, ConfigError> {
        match self.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => number(key, value).map(Some),
        }
    }

    /// `true` or `false`.
    pub(crate) fn flag(&self, key: &'static str) -> Result<bool, ConfigError> {
        let value = self.needed(key)?;
        value.as_bool().ok_or_else(|| wrong(key, value, "true or false".to_owned()))
    }

    /// `true` or `false`; Python takes `null` for `false`.
    pub(crate) fn flag_or_null(&self, key: &'static str) -> Result<bool, ConfigError> {
        match self.get(key) {
            Some(Value::Null) => Ok(false),
            _ => self.flag(key),
        }
    }

    /// `true` or `false`; `false` where neither the file nor the class has the key.
    pub(crate) fn flag_or_not(&self, key: &'static str) -> Result<bool, ConfigError> {
        match self.get(key) {
            None => Ok(false),
            Some(_) => self.flag(key),
        }
    }

    /// A list, or none where the key is absent or `null`.
    pub(crate) fn some_list(
        &self,
        key: &'static str,
    ) -> Result<Option<&[Value]>, ConfigError> {
        match self.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Array(list)) => Ok(Some(list)),
            Some(value) => Err(wrong(key, value, "a list".to_owned())),
        }
    }

    fn needed(&self, key: &'static str) -> Result<&Value, ConfigError> {
        let given = self.given(key).is_some();
        let found = self.get(key).filter(|value| given || !value.is_null());
        found.ok_or(ConfigError::Missing { key, kind: self.kind })
    }
}

/// A number that has an end, from the value of `key`.
pub(crate) fn number(key: &str, value: &Value) -> Result<f64, ConfigError> {
    let finite = value.as_f64().filter(|number| number.is_finite());
    finite.ok_or_else(|| wrong(key, value, "a number".to_owned()))
}

/// A value of another type, or out of range.
pub(crate) fn wrong(key: &str, value: &Value, wanted: String) -> ConfigError {
    ConfigError::Wrong { key: key.to_owned(), found: shown(value), wanted }
}
