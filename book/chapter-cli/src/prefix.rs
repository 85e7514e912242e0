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

fn ends_in_the_middle(prefix: &str) -> bool {
    prefix.ends_with(char::is_alphanumeric)
}
