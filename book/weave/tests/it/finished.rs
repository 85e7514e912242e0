//! What outsiders see of the finished book: search engines, other sites, reading devices.

use crate::common::Fixture;

const SITE: &str = "https://example.org/small/";

/// The fixture, at home on [`SITE`].
fn at_home() -> Fixture {
    let book = Fixture::new();
    let config = std::fs::read_to_string(book.root().join("book.toml")).unwrap();
    let table = if config.contains("[preprocessor.weave]") {
        config.replace(
            "[preprocessor.weave]",
            &format!("[preprocessor.weave]\nsite = \"{SITE}\""),
        )
    } else {
        format!("{config}\n[preprocessor.weave]\nsite = \"{SITE}\"\n")
    };
    book.write("book.toml", table);
    book
}

#[test]
fn pages_name_their_home_and_are_listed() {
    let book = at_home();
    book.weave_well();
    let page = book.page("01-softmax.html");
    let home = format!("{SITE}01-softmax.html");
    assert!(page.contains(&format!("<link rel=\"canonical\" href=\"{home}\">")));
    assert!(page.contains("<meta property=\"og:title\""));
    assert!(!page.contains("og:image"), "a card that is not there");
    assert!(book.page("sitemap.xml").contains(&format!("<loc>{home}</loc>")));
    assert!(book.page("index.html").contains(&format!("href=\"{SITE}\"")));
    assert!(book.page("404.html").contains("<base href=\"/small/\">"));
}

#[test]
fn a_card_is_named_by_its_page() {
    let book = at_home();
    book.write("images/cards/01-softmax.png", "a picture");
    book.weave_well();
    let card = format!("content=\"{SITE}cards/01-softmax.png\"");
    assert!(book.page("01-softmax.html").contains(&card));
    assert_eq!(book.page("cards/01-softmax.png"), "a picture");
}

#[test]
fn every_page_has_a_policy_and_one_style_sheet() {
    let book = Fixture::new();
    book.weave_well();
    for (file, bytes) in book.finished() {
        if file.extension().is_none_or(|extension| extension != "html") {
            continue;
        }
        let page = String::from_utf8(bytes).unwrap();
        assert_eq!(page.matches("Content-Security-Policy").count(), 1, "{file:?}");
        assert!(!page.contains("unsafe-inline"), "{file:?}");
    }
}

#[test]
fn two_builds_give_the_same_bytes() {
    let build = || {
        let book = at_home();
        assert!(book.command().arg("epub").status().unwrap().success());
        let epub = std::fs::read(book.root().join("target/book.epub")).unwrap();
        (book.finished(), epub)
    };
    let (one, other) = (build(), build());
    for (file, bytes) in &one.0 {
        assert!(other.0.get(file) == Some(bytes), "{} differs", file.display());
    }
    assert!(one == other);
}
