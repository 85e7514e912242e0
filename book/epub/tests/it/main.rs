//! Small editions, packed by the library and by its program.

use std::{
    fs::{self, File},
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use epub::{Edition, Page};

/// A folder with one finished page.
fn edition() -> (tempfile::TempDir, Edition) {
    let root = tempfile::tempdir().unwrap();
    let folder = PathBuf::from("target/book");
    fs::create_dir_all(root.path().join(&folder)).unwrap();
    let page = "<!DOCTYPE html><html><body><nav>menu</nav><main><h1>One</h1>\
                <h2 id=\"why\">Why <code>&lt;</code>?</h2><p>Because.<br></p></main></body></html>";
    fs::write(root.path().join(&folder).join("one.html"), page).unwrap();
    let edition = Edition {
        root: root.path().to_owned(),
        folder,
        title: "A & B".to_owned(),
        language: "en".to_owned(),
        pages: vec![Page { file: "one.html".into(), name: "1 One".to_owned() }],
        ..Edition::default()
    };
    (root, edition)
}

fn entries(file: &Path) -> Vec<(String, String)> {
    let mut zip = zip::ZipArchive::new(File::open(file).unwrap()).unwrap();
    (0..zip.len())
        .map(|i| {
            let mut entry = zip.by_index(i).unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            (entry.name().unwrap().into_owned(), text)
        })
        .collect()
}

#[test]
fn pages_contents_and_package_are_well_formed() {
    let (_root, edition) = edition();
    let entries = entries(&edition.root.join(epub::write(&edition).unwrap()));
    assert_eq!(entries[0], ("mimetype".to_owned(), "application/epub+zip".to_owned()));
    for (name, text) in &entries {
        let is_xml = [".xhtml", ".opf", ".xml"].iter().any(|end| name.ends_with(end));
        let options =
            roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
        assert!(
            !is_xml || roxmltree::Document::parse_with_options(text, options).is_ok(),
            "{name}: {text}"
        );
    }
    let of = |wanted: &str| &entries.iter().find(|(name, _)| name == wanted).unwrap().1;
    assert!(of("book/one.xhtml").contains("<p>Because.<br/></p>"));
    assert!(!of("book/one.xhtml").contains("menu"));
    assert!(of("book/nav.xhtml").contains("<a href=\"one.xhtml#why\">Why &lt;?</a>"));
    assert!(of("book/package.opf").contains("<dc:title>A &amp; B</dc:title>"));
}

#[test]
fn the_same_pages_give_the_same_bytes() {
    let (_root, edition) = edition();
    let bytes = || fs::read(edition.root.join(epub::write(&edition).unwrap())).unwrap();
    assert_eq!(bytes(), bytes());
}

#[test]
fn a_page_that_is_not_there_leaves_the_last_epub() {
    let (_root, mut edition) = edition();
    let file = edition.root.join(epub::write(&edition).unwrap());
    let before = fs::read(&file).unwrap();
    edition.pages.push(Page { file: "two.html".into(), name: "2 Two".to_owned() });
    let error = format!("{:#}", epub::write(&edition).unwrap_err());
    assert!(error.contains("cannot read") && error.contains("two.html"), "{error}");
    assert_eq!(fs::read(&file).unwrap(), before);
    assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 2);
}

fn program(input: &str) -> Output {
    program_at("", input)
}

/// The program, told when the book was changed.
fn program_at(changed: &str, input: &str) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_epub"))
        .env("SOURCE_DATE_EPOCH", changed)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    program.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    program.wait_with_output().unwrap()
}

#[test]
fn the_program_says_what_it_wrote() {
    let (_root, edition) = edition();
    let output = program(&serde_json::to_string(&edition).unwrap());
    assert!(output.status.success());
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(edition.root.join(said.trim_end()).is_file(), "{said}");
}

#[test]
fn an_epub_says_when_it_was_changed_if_it_is_told() {
    let (_root, edition) = edition();
    let input = serde_json::to_string(&edition).unwrap();
    // date -u -d @1767225599 +%FT%TZ
    for (told, date) in
        [("1767225599", "2025-12-31T23:59:59Z"), ("", "1970-01-01T00:00:00Z")]
    {
        let said = String::from_utf8(program_at(told, &input).stdout).unwrap();
        let package = entries(&edition.root.join(said.trim_end()));
        let package = package.into_iter().find(|(name, _)| name == "book/package.opf");
        assert!(package.unwrap().1.contains(date));
    }
}

#[test]
fn what_is_no_edition_gets_one_line() {
    for input in ["", "[]", "{\"title\": 1}", "not JSON"] {
        let output = program(input);
        assert_eq!(output.status.code(), Some(1), "{input}");
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.starts_with("expected an edition of the book as JSON"), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}
