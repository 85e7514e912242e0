//! The colors of drawings without what reading devices do not know: variables become the
//! colors of a light page, and mixtures are mixed.

use color::{ColorSpaceTag, HueDirection, Rgba8, Srgb, parse_color};

/// `var(--fig-ink, #1a1a1a)` or `color-mix(in oklab, A 25%, B)` as `#rrggbb`; anything else
/// stays.
pub(crate) fn plain(color: &str) -> String {
    mixed(color).or_else(|| named(color)).unwrap_or_else(|| color.to_owned())
}

fn named(color: &str) -> Option<String> {
    let inside = color.strip_prefix("var(")?.strip_suffix(')')?;
    Some(inside.split_once(',')?.1.trim().to_owned())
}

fn mixed(color: &str) -> Option<String> {
    let inside = color.strip_prefix("color-mix(in oklab, ")?.strip_suffix(')')?;
    let (first, second) = inside.split_once("%, ")?;
    let (first, percent) = first.rsplit_once(' ')?;
    let share = percent.parse::<f32>().ok()? / 100.0;
    let [first, second] = [first, second].map(|color| parse_color(&plain(color)));
    let (space, hue) = (ColorSpaceTag::Oklab, HueDirection::Shorter);
    let mixture = second.ok()?.interpolate(first.ok()?, space, hue).eval(share);
    let Rgba8 { r, g, b, .. } = mixture.to_alpha_color::<Srgb>().to_rgba8();
    Some(format!("#{r:02x}{g:02x}{b:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_have_the_colors_of_a_light_page() {
        assert_eq!(plain("var(--fig-ink, #1a1a1a)"), "#1a1a1a");
        assert_eq!(plain("none"), "none");
    }

    #[test]
    fn mixtures_are_those_of_a_browser() {
        // What Chromium paints for the same words.
        for (share, color) in MIXED {
            let words = format!(
                "color-mix(in oklab, var(--a, #2b7bba) {share}%, var(--b, #f3f6fa))"
            );
            assert_eq!(plain(&words), color);
        }
    }

    const MIXED: [(&str, &str); 4] =
        [("0", "#f3f6fa"), ("6.25", "#e7eef6"), ("50", "#93b8dc"), ("100", "#2b7bba")];
}
