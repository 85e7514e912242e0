//! The stylesheet agrees with the crates whose markup it dresses.

use std::{fs, path::Path};

#[test]
fn drawings_have_the_colors_of_the_crate_that_draws() {
    let [light, dark] = [":root", ".coal, .navy, .ayu"];
    let without_scripts =
        rule(&figures::theme_css("-", "html:not(.js)"), "html:not(.js)");
    let on_paper = rule(&figures::theme_css("html[class]", "-"), "html[class]");
    for wanted in [
        figures::theme_css(light, dark),
        format!("@media (prefers-color-scheme: dark) {{ {without_scripts} }}"),
        format!("@media print {{ {on_paper} }}"),
    ] {
        let has = words(&stylesheet()).contains(&words(&wanted));
        assert!(has, "book/theme/weave.css should hold:\n{wanted}");
    }
}

#[test]
fn what_the_weaver_emits_is_dressed() {
    for class in [
        "listing", "diff", "doc", "output", "rest", "figure", "formula", "together",
        "value", "exercise", "kind", "course",
    ] {
        assert!(stylesheet().contains(&format!(".{class}")), ".{class}");
    }
}

fn stylesheet() -> String {
    let book = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    fs::read_to_string(book.join("theme/weave.css")).unwrap()
}

/// The one rule of a stylesheet that has this selector.
fn rule(css: &str, selector: &str) -> String {
    let from = css.find(selector).unwrap();
    let to = from + css[from..].find('}').unwrap() + 1;
    css[from..to].to_owned()
}

fn words(css: &str) -> String {
    css.split_whitespace().collect::<Vec<_>>().join(" ")
}
