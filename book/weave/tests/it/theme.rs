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
        "value", "exercise", "kind", "course", "kept",
    ] {
        assert!(stylesheet().contains(&format!(".{class}")), ".{class}");
    }
}

#[test]
fn the_page_template_is_mdbooks_but_for_what_readers_need() {
    let own = fs::read_to_string(theme("index.hbs")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = mdbook_core::config::HtmlConfig::default();
    mdbook_html::theme::Theme::copy_theme(&config, folder.path()).unwrap();
    let stock = fs::read_to_string(folder.path().join("theme/index.hbs")).unwrap();
    let diff = similar::TextDiff::from_lines(&stock, &own);
    insta::assert_snapshot!(diff.unified_diff().context_radius(0).to_string());
}

#[test]
fn the_maths_face_has_every_letter_of_the_formulas() {
    let face = fs::read_to_string(theme("fonts.py")).unwrap();
    assert!(theme("fonts/maths.woff2").is_file());
    let listed = |letter: char| {
        letter.is_ascii()
            || letter.is_whitespace()
            || ('\u{391}'..='\u{3c9}').contains(&letter)
            || ('\u{1d400}'..='\u{1d7ff}').contains(&letter)
            || face.contains(letter)
    };
    let prose = theme("../src");
    let mut formulas = 0;
    for page in fs::read_dir(prose).unwrap() {
        let text = fs::read_to_string(page.unwrap().path()).unwrap();
        let options = pulldown_cmark::Options::all();
        for event in pulldown_cmark::Parser::new_ext(&text, options) {
            use math_core::{LatexToMathML, MathCoreConfig, MathDisplay};
            use pulldown_cmark::Event;
            let (Event::InlineMath(latex) | Event::DisplayMath(latex)) = event else {
                continue;
            };
            let latex = latex.replace("{{#", "").replace("}}", "");
            let converter = LatexToMathML::new(MathCoreConfig::default()).unwrap();
            let Ok(html) =
                converter.convert_with_local_state(&latex, MathDisplay::Inline)
            else {
                continue; // the build refuses it
            };
            formulas += 1;
            let lacks: String =
                html.mathml.chars().filter(|letter| !listed(*letter)).collect();
            assert_eq!(lacks, "", "add them to book/theme/fonts.py: {latex}");
        }
    }
    assert!(formulas > 100);
}

fn theme(file: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../theme").join(file)
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
