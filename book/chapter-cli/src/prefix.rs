//! What stands before the names of a layer's tensors in a checkpoint.

/// What follows `prefix` in `name`, if `name` lies behind it. A prefix that ends in a
/// letter or digit ends at a dot: `model.layers.1` has `model.layers.1.k_proj.weight`
/// behind it, and not `model.layers.10.k_proj.weight`.
///
/// ```
/// use chapter_cli::behind;
///
/// assert_eq!(behind("layers.1.", "layers.1.x"), Some("x"));
/// assert_eq!(behind("layers.1", "layers.1.x"), Some("x"));
/// assert_eq!(behind("layers.1", "layers.10.x"), None);
/// assert_eq!(behind("layer1_", "layer1_x"), Some("x"));
/// assert_eq!(behind("", "x"), Some("x"));
/// ```
#[must_use]
pub fn behind<'a>(prefix: &str, name: &'a str) -> Option<&'a str> {
    let rest = name.strip_prefix(prefix)?;
    if ends_in_the_middle(prefix) { rest.strip_prefix('.') } else { Some(rest) }
}

/// `prefix` with the dot that [`behind`] asks for.
pub(crate) fn whole(prefix: &str) -> String {
    let dot = if ends_in_the_middle(prefix) { "." } else { "" };
    format!("{prefix}{dot}")
}

/// The number of the layer that a prefix picks, `model.layers.3.self_attn.`: the last one
/// behind the word for it.
pub(crate) fn layer_of(prefix: &str) -> Option<usize> {
    const WORDS: [&str; 5] = ["layers", "layer", "h", "blocks", "block"];
    let parts: Vec<&str> = prefix.split('.').collect();
    let numbers = parts.windows(2).filter(|two| WORDS.contains(&two[0]));
    numbers.filter_map(|two| two[1].parse().ok()).next_back()
}

/// What stands before the attention of a layer among the `names` of a file, if that is one
/// thing: all that picks this layer and is followed by a projection of keys.
pub(crate) fn prefix_of(layer: usize, names: &[String]) -> Option<&str> {
    const KEYS: [&str; 6] = [
        "k_proj.weight",
        "kv_a_proj_with_mqa.weight",
        "qkv_proj.weight",
        "query_key_value.weight",
        "c_attn.weight",
        "self.key.weight",
    ];
    let prefix = |name: &&String| {
        let name = name.as_str();
        let before = KEYS.iter().find_map(|key| name.strip_suffix(key))?;
        (layer_of(before) == Some(layer)).then_some(before.len())
    };
    let mut found = names.iter().filter_map(|name| Some(&name[..prefix(&name)?]));
    found.next().filter(|_| found.next().is_none())
}

fn ends_in_the_middle(prefix: &str) -> bool {
    prefix.ends_with(char::is_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::{layer_of, prefix_of};

    #[test]
    fn a_prefix_tells_its_layer() {
        assert_eq!(layer_of("model.layers.12.self_attn."), Some(12));
        assert_eq!(layer_of("transformer.h.3.attn"), Some(3));
        assert_eq!(layer_of("vision.layers.1.text.layers.2."), Some(2));
        assert_eq!(layer_of("layers.x.3."), None);
        assert_eq!(layer_of(""), None);
    }

    #[test]
    fn a_layer_tells_its_prefix_if_there_is_one() {
        let names = |all: &[&str]| all.iter().map(ToString::to_string).collect();
        let one: Vec<String> = names(&[
            "model.layers.1.self_attn.k_proj.weight",
            "model.layers.1.self_attn.q_proj.weight",
            "model.layers.11.self_attn.k_proj.weight",
            "x",
        ]);
        assert_eq!(prefix_of(1, &one), Some("model.layers.1.self_attn."));
        assert_eq!(prefix_of(2, &one), None);
        let two =
            names(&["vision.layers.1.k_proj.weight", "text.layers.1.k_proj.weight"]);
        assert_eq!(prefix_of(1, &two), None);
        assert_eq!(prefix_of(1, &names(&["k_proj.weight"])), None);
    }
}
