//! What outsiders see of the finished book: search engines, other sites, reading devices.

use std::{path::Path, process::Command};

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
    let page = book.page("softmax.html");
    let home = format!("{SITE}softmax.html");
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
    book.write("images/cards/softmax.png", "a picture");
    book.weave_well();
    let card = format!("content=\"{SITE}cards/softmax.png\"");
    assert!(book.page("softmax.html").contains(&card));
    assert_eq!(book.page("cards/softmax.png"), "a picture");
}

#[test]
fn a_page_that_has_moved_is_led_on_with_a_policy_and_no_place_in_the_lists() {
    let book = at_home();
    let config = std::fs::read_to_string(book.root().join("book.toml")).unwrap();
    let moved = "[output.html.redirect]\n\"/01-softmax.html\" = \"softmax.html\"\n";
    book.write("book.toml", format!("{config}\n{moved}"));
    book.write("images/cards/softmax.png", "a picture");
    let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("../theme/redirect.hbs");
    book.write("theme/redirect.hbs", std::fs::read(template).unwrap());
    book.weave_well();
    let page = book.page("01-softmax.html");
    for wanted in [
        r#"<meta http-equiv="Content-Security-Policy""#,
        r#"<meta http-equiv="refresh" content="0; URL=softmax.html">"#,
        &format!(r#"<link rel="canonical" href="{SITE}softmax.html">"#),
        r#"<a href="softmax.html">"#,
    ] {
        assert!(page.contains(wanted), "{wanted} in {page}");
    }
    assert_eq!(book.page("cards/01-softmax.png"), "a picture");
    for (file, bytes) in book.finished() {
        let is_list = ["xml", "js", "txt"]
            .into_iter()
            .any(|e| file.extension().is_some_and(|f| f == e));
        let text = String::from_utf8_lossy(&bytes);
        assert!(!is_list || !text.contains("01-softmax.html"), "{}", file.display());
    }
}

/// What git remembers of the prose: every page that there ever was.
#[test]
fn every_page_of_the_history_is_on_the_list_of_addresses() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let list = std::fs::read_to_string(root.join("book/addresses.txt")).unwrap();
    let listed: Vec<&str> = list.lines().collect();
    let mut history = Command::new("git");
    history.current_dir(&root);
    history.args([
        "log",
        "--diff-filter=A",
        "--no-renames",
        "--name-only",
        "--format=",
    ]);
    history.args(["--", "book/src"]);
    let known = history.output().map(|output| output.stdout).unwrap_or_default();
    let here = std::fs::read_dir(root.join("book/src")).unwrap();
    let here = here.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let once = String::from_utf8(known).unwrap();
    let once = once.lines().filter_map(|path| path.strip_prefix("book/src/"));
    let mut pages = 0;
    for page in here.chain(once.map(str::to_owned)) {
        let Some(name) = page.strip_suffix(".md").filter(|name| *name != "SUMMARY")
        else {
            continue;
        };
        let name = if name == "README" { "index" } else { name };
        assert!(listed.contains(&format!("{name}.html").as_str()), "{name}.html");
        pages += 1;
    }
    assert!(pages > 10);
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
        book.weave_well();
        book.finished()
    };
    let (one, other) = (build(), build());
    for (file, bytes) in &one {
        assert!(other.get(file) == Some(bytes), "{} differs", file.display());
    }
    assert!(one == other);
}

#[test]
fn readers_pages_never_call_home() {
    let book = Fixture::new();
    assert!(book.command().args(["build", "--author"]).status().unwrap().success());
    book.weave_well();
    let author =
        std::fs::read_to_string(book.root().join("target/book.served/index.html"));
    assert!(author.unwrap().contains("WebSocket"));
    assert!(!book.page("index.html").contains("WebSocket"));
}
