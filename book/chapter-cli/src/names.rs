//! Help for whoever asks for a tensor that is not there.

use crate::known::in_the_place_of;
use crate::message::brief;
use crate::prefix::behind;
use std::cmp::Reverse;

/// What may have been meant by `wanted`, which was looked for behind `prefix`, and
/// which `names` there are, nearest first.
pub(crate) fn hint(wanted: &str, prefix: &str, mut names: Vec<String>) -> String {
    const SHOWN: usize = 10;
    if names.is_empty() {
        return "it holds no tensors".to_owned();
    }
    names.sort();
    // Stable, so that equally near names stay in alphabetical order.
    names.sort_by_cached_key(|name| Reverse(nearness(wanted, prefix, name)));

    let other = names.iter().find_map(|name| {
        let known = in_the_place_of(wanted, behind(prefix, name)?)?;
        Some((name, format!("`{}` is {}; ", brief(name), known.told(""))))
    });
    // What is something else was not misspelt.
    let guess = match &other {
        Some((name, _)) if **name == names[0] => None,
        _ => guess(wanted, prefix, &names[0]),
    };
    let guess = guess.map_or(String::new(), |guess| format!("did you mean {guess}? "));
    let other = other.map(|(_, told)| told).unwrap_or_default();
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| brief(name)).collect();
    let rest = match names.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{guess}{other}it holds {}{rest}", shown.join(", "))
}

/// From 0 to 1000; 1000 if it is the same name behind another prefix.
fn nearness(wanted: &str, prefix: &str, name: &str) -> u32 {
    if other_prefix(wanted, name).is_some() {
        return 1000;
    }
    let name = name.strip_prefix(prefix).unwrap_or(name);
    // Shortened, because a name may be a megabyte long.
    (999.0 * strsim::jaro_winkler(&brief(wanted), &brief(name))) as u32
}

fn guess(wanted: &str, prefix: &str, nearest: &str) -> Option<String> {
    match other_prefix(wanted, nearest) {
        Some("") => Some(format!("`{}` without --prefix", brief(nearest))),
        Some(other) => Some(format!("--prefix {}", brief(other))),
        None => {
            let name = nearest.strip_prefix(prefix).unwrap_or(nearest);
            // k_proj is not a misspelt q_proj: a slip rarely hits the first letter.
            let same_start = name.chars().next() == wanted.chars().next();
            let is_near = nearness(wanted, prefix, nearest) > 850;
            (same_start && is_near).then(|| format!("`{}`", brief(nearest)))
        }
    }
}

/// What stands before `wanted` in `name`, if that is all that differs.
fn other_prefix<'a>(wanted: &str, name: &'a str) -> Option<&'a str> {
    let before = name.strip_suffix(wanted)?;
    (before.is_empty() || before.ends_with('.')).then_some(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_slip_of_the_pen_is_recognized() {
        let hint =
            hint("q_proj.weight", "", names(&["k_proj.weight", "q_porj.weight"]));
        assert_eq!(
            hint,
            "did you mean `q_porj.weight`? it holds q_porj.weight, k_proj.weight"
        );
    }

    #[test]
    fn another_projection_is_no_slip_of_the_pen() {
        let hint =
            hint("q_proj.weight", "", names(&["v_proj.weight", "k_proj.weight"]));
        assert_eq!(hint, "it holds k_proj.weight, v_proj.weight");
    }

    #[test]
    fn a_name_behind_a_prefix_tells_the_prefix() {
        let all = names(&["model.layers.0.self_attn.q_proj.weight", "x"]);
        let hint = hint("q_proj.weight", "", all);
        assert!(
            hint.starts_with("did you mean --prefix model.layers.0.self_attn.? it")
        );
    }

    #[test]
    fn a_prefix_that_is_too_much_is_told() {
        let hint = hint("q_proj.weight", "layer.", names(&["q_proj.weight", "x"]));
        assert!(hint.starts_with("did you mean `q_proj.weight` without --prefix? it"));
    }

    #[test]
    fn a_fused_projection_is_explained() {
        let hint = hint("q_proj.weight", "", names(&["qkv_proj.weight", "x"]));
        let says =
            "`qkv_proj.weight` is queries, keys and values in one projection: cut";
        assert!(hint.contains(says), "{hint}");
    }

    #[test]
    fn another_mechanism_is_explained() {
        let all = names(&["h.kv_b_proj.weight", "h.q_proj.weight"]);
        let told = hint("k_proj.weight", "h.", all);
        let says =
            "`h.kv_b_proj.weight` is a part of latent attention, which chapter 7";
        assert!(told.contains(says), "{told}");
    }

    #[test]
    fn ten_names_are_shown_and_the_rest_counted() {
        let all = (0..33).map(|i| format!("layer.{i}.weight")).collect();
        let hint = hint("x", "", all);
        assert!(hint.ends_with(" and 23 more"));
        assert_eq!(hint.matches("layer.").count(), 10);
    }
}
