//! Which layers look back a fixed number of tokens.

use crate::config::Config;
use crate::error::ConfigError;
use crate::json::shown;
use crate::keys::{MOST_LAYERS, MOST_TOKENS, wrong};
use crate::kinds::{RopeRule, WindowRule};
use serde_json::Value;

impl Config {
    /// For each layer, how many tokens a query sees at most, itself included, if there
    /// is a limit.
    ///
    /// # Errors
    /// When the keys that say so do not go together.
    pub fn windows(&self) -> Result<Vec<Option<u64>>, ConfigError> {
        let layers = self.layers()?;
        self.no_windows_expected()?;
        let slides = match self.listed(layers)? {
            Some(slides) => slides,
            None => self.sliding(layers)?,
        };
        if !slides.contains(&true) {
            return Ok(vec![None; layers]);
        }
        let tokens = self.keys.count("sliding_window", MOST_TOKENS)?;
        Ok(slides.into_iter().map(|slides| slides.then_some(tokens)).collect())
    }

    /// Refuses `layer_types` with windows where the kind has none.
    fn no_windows_expected(&self) -> Result<(), ConfigError> {
        let never = match self.kind.windows {
            WindowRule::None | WindowRule::All | WindowRule::AllIfUsed => true,
            WindowRule::FromMaxWindowLayers
            | WindowRule::EvenBelowMaxWindowLayers
            | WindowRule::WithoutRope => {
                !self.keys.flag_or_not("use_sliding_window")?
            }
            WindowRule::ListedOrAll
            | WindowRule::Even
            | WindowRule::Pattern(_)
            | WindowRule::PatternIfSet
            | WindowRule::AllBut(_) => false,
        };
        let slides =
            self.listed(self.layers()?)?.is_some_and(|all| all.contains(&true));
        if never && slides {
            let why = format!(
                "a model of type {} has no layers with a window among others, unless \
                 `use_sliding_window` says so where it has that key",
                self.kind.name
            );
            let (key, found) =
                ("layer_types".to_owned(), "sliding_attention".to_owned());
            return Err(ConfigError::NotUnderstood { key, found, why });
        }
        Ok(())
    }

    /// What `layer_types` says of each layer.
    fn listed(&self, layers: usize) -> Result<Option<Vec<bool>>, ConfigError> {
        const KEY: &str = "layer_types";
        let Some(listed) = self.keys.some_list(KEY)? else {
            return Ok(None);
        };
        if listed.len() != layers {
            return Err(ConfigError::Layers { key: KEY, listed: listed.len(), layers });
        }
        let slides: Result<Vec<bool>, _> = listed.iter().map(slides).collect();
        slides.map(Some)
    }

    /// What the kind says of each layer.
    fn sliding(&self, layers: usize) -> Result<Vec<bool>, ConfigError> {
        let keys = &self.keys;
        let given = |key| keys.get(key).is_some_and(|value| !value.is_null());
        let set = given("sliding_window");
        let used = || keys.flag_or_not("use_sliding_window");
        let each = |slides: &dyn Fn(usize) -> bool| (0..layers).map(slides).collect();
        Ok(match self.kind.windows {
            WindowRule::None => each(&|_| false),
            WindowRule::All | WindowRule::ListedOrAll => each(&|_| set),
            WindowRule::AllIfUsed => {
                let all = used()? && set;
                each(&|_| all)
            }
            WindowRule::FromMaxWindowLayers => {
                let first = self.first_window()?;
                let used = used()? && set;
                each(&|layer| used && layer >= first)
            }
            WindowRule::EvenBelowMaxWindowLayers => {
                let first = self.first_window()?;
                let used = used()?;
                each(&|layer| used && layer.is_multiple_of(2) && layer < first)
            }
            WindowRule::Even => each(&|layer| layer.is_multiple_of(2)),
            WindowRule::Pattern(every) => {
                let every = self.pattern(every)?;
                each(&|layer| !(layer + 1).is_multiple_of(every))
            }
            WindowRule::PatternIfSet => {
                let every = if set { self.pattern(4)? } else { 1 };
                each(&|layer| !(layer + 1).is_multiple_of(every))
            }
            WindowRule::AllBut(every) => {
                each(&|layer| !(layer + 1).is_multiple_of(every))
            }
            WindowRule::WithoutRope => {
                let used = used()? && set;
                let rotates = self.rotates(layers)?;
                each(&|layer| used && !rotates[layer])
            }
        })
    }

    fn first_window(&self) -> Result<usize, ConfigError> {
        Ok(self.keys.count_or_zero("max_window_layers", MOST_LAYERS)? as usize)
    }

    /// Every so many layers one has no window: so many of them where no key says it, for
    /// which some classes have no field.
    fn pattern(&self, default: usize) -> Result<usize, ConfigError> {
        let key = "sliding_window_pattern";
        let given = self.keys.given.contains_key(key);
        Ok(if given { self.keys.count(key, MOST_LAYERS)? as usize } else { default })
    }

    /// For each layer, whether it rotates queries and keys, if any layer of the kind
    /// does.
    pub(crate) fn rotates(&self, layers: usize) -> Result<Vec<bool>, ConfigError> {
        const KEY: &str = "no_rope_layers";
        match self.kind.rope {
            RopeRule::SomeLayers => {}
            RopeRule::NeighborsInWindows | RopeRule::HalvesInWindows => {
                return self.rotates_in_windows();
            }
            _ => return Ok(vec![true; layers]),
        }
        let Some(listed) = self.keys.some_list(KEY)? else {
            let every =
                self.keys.count("no_rope_layer_interval", MOST_LAYERS)? as usize;
            return Ok((1..=layers)
                .map(|layer| !layer.is_multiple_of(every))
                .collect());
        };
        if listed.len() != layers {
            return Err(ConfigError::Layers { key: KEY, listed: listed.len(), layers });
        }
        let rotates = |value: &Value| match value.as_u64() {
            Some(0) => Ok(false),
            Some(1) => Ok(true),
            _ => Err(wrong(KEY, value, "a list of 1 (it rotates) and 0".to_owned())),
        };
        listed.iter().map(rotates).collect()
    }

    /// For each layer, whether it rotates, where layers with a window do.
    fn rotates_in_windows(&self) -> Result<Vec<bool>, ConfigError> {
        let window = self.keys.get("sliding_window").filter(|value| !value.is_null());
        // Without any window, all layers of an EXAONE 4 rotate, and none of a Cohere 2.
        let without = self.kind.rope == RopeRule::HalvesInWindows && window.is_none();
        let windows = self.windows()?.into_iter();
        Ok(windows.map(|window| without || window.is_some()).collect())
    }
}

/// Whether a layer of this type looks back a fixed number of tokens.
fn slides(value: &Value) -> Result<bool, ConfigError> {
    match value.as_str() {
        Some("sliding_attention") => Ok(true),
        Some("full_attention") => Ok(false),
        _ => Err(ConfigError::NotUnderstood {
            key: "layer_types".to_owned(),
            found: shown(value),
            why: "only full_attention and sliding_attention are known".to_owned(),
        }),
    }
}
