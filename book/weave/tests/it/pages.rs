//! What each of the weaver's words looks like on a finished page.

use std::{fs, io::Write, process::Stdio};

use crate::common::{Fixture, files};
use insta::assert_snapshot;
use mdbook_core::config::Config;
use mdbook_driver::MDBook;

#[test]
fn listings_are_verbatim_and_linked() {
    let book = woven();
    assert_snapshot!(book.section("softmax.html", "listings"));
}

#[test]
fn blocks_keep_their_place_in_lists_and_quotes() {
    let book = woven();
    assert_snapshot!(book.section("softmax.html", "places"));
}

#[test]
fn formulas_become_mathml_and_prices_stay() {
    let book = woven();
    assert_snapshot!(book.section("softmax.html", "formulas"));
}

#[test]
fn values_fit_into_sentences_tables_formulas_and_headings() {
    let book = woven();
    assert_snapshot!(book.section("softmax.html", "values"));
}

#[test]
fn a_value_in_a_formula_counts_as_used() {
    let book = Fixture::new();
    book.write(
        "chapters/01-softmax/tests/it/snapshots/it__outputs__only.snap",
        "---\n---\nn: 3\n",
    );
    book.replace(
        "book/src/softmax.md",
        "A function:",
        "$n = {{#value softmax::only.n}}$",
    );
    book.weave_well();
    let section = book.section("softmax.html", "listings");
    assert!(section.contains("<mi>n</mi><mo>=</mo><mn>3</mn>"));
}

#[test]
fn code_escapes_and_comments_are_left_alone() {
    let book = woven();
    assert_snapshot!(book.section("softmax.html", "words-that-are-left-alone"));
}

#[test]
fn outputs_say_what_keeps_them() {
    let book = woven();
    assert_snapshot!(book.section("softmax.html", "outputs"));
}

#[test]
fn figures_bring_caption_words_and_data() {
    let book = woven();
    assert_snapshot!(book.section("softmax.html", "figures"));
}

#[test]
fn the_rest_is_what_the_page_has_not_shown() {
    let book = woven();
    assert_snapshot!(book.section("softmax.html", "the-rest"));
}

#[test]
fn a_diff_keeps_what_stays() {
    let book = woven();
    assert_snapshot!(book.section("scaled-softmax.html", "the-difference"));
}

#[test]
fn a_page_needs_no_script_and_no_other_site() {
    let book = woven();
    let page = book.page("softmax.html");
    let main = &page[page.find("<main>").unwrap()..page.find("</main>").unwrap()];
    assert!(!main.contains("<script"));
    assert!(!main.contains("src=\"http"));
}

#[test]
fn links_to_the_preface_find_it() {
    let book = woven();
    assert!(
        book.page("scaled-softmax.html").contains(r#"<a href="index.html">preface"#)
    );
}

#[test]
fn the_repository_is_one_setting() {
    let book = Fixture::new();
    let variable = "MDBOOK_OUTPUT__HTML__GIT_REPOSITORY_URL";
    let elsewhere = "https://example.com/fork";
    assert!(book.command().env(variable, elsewhere).status().unwrap().success());
    let page = book.page("softmax.html");
    let link = "https://example.com/fork/blob/main/chapters/01-softmax/src/lib.rs#L";
    assert!(page.contains(link));
    assert!(!page.contains("example.org"));
}

#[test]
fn without_a_repository_places_are_plain_text() {
    let book = Fixture::new();
    let setting = "git-repository-url = \"https://example.org/small-book/\"";
    book.replace("book.toml", setting, "");
    book.weave_well();
    assert!(book.page("softmax.html").contains(
        "<code>softmax::softmax</code> chapters/01-softmax/src/lib.rs, lines 15–26"
    ));
}

#[test]
fn two_builds_are_the_same_to_the_byte() {
    let book = woven();
    let first = book.finished();
    book.weave_well();
    assert!(first == book.finished());
}

#[test]
fn success_says_what_was_woven_and_where_it_is() {
    let book = Fixture::new();
    let output = book.weave();
    assert_snapshot!(String::from_utf8(output.stdout).unwrap(), @"
    wove 3 pages: 13 listings, 1 output, 4 values, 1 figure, 0 exercises, 9 formulas
    target/book/index.html
    read it with: cargo run -- serve --open
    ");
    let left: Vec<_> = fs::read_dir(book.root().join("target"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["book"], "the workbench is cleared away");
}

#[cfg(unix)]
#[test]
fn whoever_has_read_enough_may_close_the_pipe() {
    let book = Fixture::new();
    let mut running = book.command().stdout(Stdio::piped()).spawn().unwrap();
    drop(running.stdout.take());
    assert!(running.wait().unwrap().success());
}

#[test]
fn a_plain_mdbook_build_gives_the_same_pages() {
    let book = woven();
    let mut config = Config::from_disk(book.root().join("book.toml")).unwrap();
    let command = format!("{} preprocess", env!("CARGO_BIN_EXE_weave"));
    config.set("preprocessor.weave.command", command).unwrap();
    config.set("build.build-dir", "plain").unwrap();
    MDBook::load_with_config(book.root(), config).unwrap().build().unwrap();
    // What a reader reads is the same; only what outsiders are told is completed later.
    let text = |bytes: &[u8]| {
        let page = String::from_utf8_lossy(bytes).into_owned();
        let from = page.find("<main").expect("a text");
        let to = page.find("</main>").expect("its end");
        page[from..to].to_owned()
    };
    let plain = files(&book.root().join("plain"));
    let mut pages = 0;
    for (file, bytes) in book.finished() {
        if file.extension().is_some_and(|found| found == "html")
            && file != std::path::Path::new("toc.html")
        {
            pages += 1;
            assert_eq!(text(&bytes), text(&plain[&file]), "{}", file.display());
        }
    }
    assert!(pages > 3);
}

#[test]
fn another_mdbook_is_told_which_is_needed() {
    // What mdBook 0.4.52 sends for a book of one page.
    let old = r##"[{"root":"/b","config":{"book":{"authors":[],"language":"en","multilingual":false,
        "src":"src","title":"B"},"preprocessor":{"weave":{}}},"renderer":"html",
        "mdbook_version":"0.4.52"},{"sections":[{"Chapter":{"name":"A","content":"# A\n",
        "number":[1],"sub_items":[],"path":"a.md","source_path":"a.md","parent_names":[]}}],
        "__non_exhaustive":null}]"##;
    assert_eq!(
        preprocess(old),
        "mdBook 0.5 is needed, and this is mdBook 0.4.52: install it with `cargo install \
         mdbook --version ^0.5`, or build the book with `cargo run`\n"
    );
    let newer = old.replace("0.4.52", "0.6.0");
    assert!(
        preprocess(&newer)
            .starts_with("mdBook 0.5 is needed, and this is mdBook 0.6.0")
    );
    for nothing in ["", "{}", "[]"] {
        let told = preprocess(nothing);
        assert!(told.starts_with("expected a context and a book as JSON"), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}

/// What `weave preprocess` says to an input that it refuses.
fn preprocess(sent: &str) -> String {
    let mut weave = Fixture::new().command();
    weave.arg("preprocess").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut running = weave.stderr(Stdio::piped()).spawn().unwrap();
    running.stdin.take().unwrap().write_all(sent.as_bytes()).unwrap();
    let output = running.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn only_html_is_supported() {
    let supports = |renderer: &str| {
        let mut command = Fixture::new().command();
        command.args(["preprocess", "supports", renderer]).status().unwrap().code()
    };
    assert_eq!(supports("html"), Some(0));
    assert_eq!(supports("epub"), Some(1));
}

fn woven() -> Fixture {
    let book = Fixture::new();
    book.weave_well();
    book
}

#[cfg(unix)]
#[test]
fn without_the_target_the_book_is_built_as_before_and_says_what_is_missing() {
    use std::os::unix::fs::PermissionsExt;

    let fixture = Fixture::new();
    fixture.write("rustc", "#!/bin/sh\necho /no/such/target\n");
    let rustc = fixture.root().join("rustc");
    fs::set_permissions(&rustc, PermissionsExt::from_mode(0o755)).unwrap();
    fixture.weave_well();
    let plain = fixture.finished();
    let output = fixture
        .command()
        .args(["build", "--live"])
        .env("RUSTC", rustc)
        .env_remove("CARGO_UNSTABLE_BUILD_STD")
        .output()
        .unwrap();
    assert!(output.status.success());
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("no live figures"), "{said}");
    assert!(said.contains("rustup target add wasm32-unknown-unknown"), "{said}");
    assert_eq!(fixture.finished(), plain);
}

#[test]
fn exercises_have_a_head_on_their_page_and_a_line_in_the_list() {
    let book = Fixture::new();
    book.write(
        "chapters/01-softmax/course.toml",
        "[[exercise]]\nname = \"shares\"\nkind = \"implement\"\ntitle = \"A < B\"\n\
         section = \"listings\"\nbody = \"softmax\"\nhints = [\"a\", \"b\", \"c\"]\n",
    );
    let page = "book/src/softmax.md";
    book.replace(page, "A function:", "{{#exercise softmax::shares}}\n\n{{#course}}");
    book.write(
        "chapters/02-scaled-softmax/course.toml",
        "[[exercise]]\nname = \"scaled\"\nkind = \"implement\"\ntitle = \"B\"\n\
         section = \"the-whole\"\nbody = \"softmax\"\nhints = [\"a\", \"b\", \"c\"]\n",
    );
    let second = "book/src/scaled-softmax.md";
    book.replace(
        second,
        "## The whole",
        "## The whole\n\n{{#exercise scaled_softmax::scaled}}",
    );
    book.weave_well();
    let html = std::fs::read_to_string(book.root().join("target/book/softmax.html"));
    let html = html.unwrap();
    for wanted in [
        r#"<div class="exercise" id="exercise-shares" data-exercise="softmax/shares">"#,
        "<strong>A &lt; B</strong>",
        "<code>cargo course check softmax/shares</code>",
        r##"<a href="#listings">read for it</a>"##,
        r#"<li data-chapter="softmax">"#,
        r#"<a href="softmax.html#exercise-shares">A &lt; B</a>"#,
    ] {
        assert!(html.contains(wanted), "{wanted}");
    }
    // In the order of chapters, and not of the crates' names.
    let at = |krate: &str| html.find(&format!(r#"<li data-chapter="{krate}">"#));
    assert!(at("softmax") < at("scaled-softmax"), "{html}");
    // Boxes to tick are the script's: a page without it has no broken ones.
    assert!(!html.contains(r#"<input type="checkbox" data"#));
}

#[test]
fn a_chapter_is_named_by_its_number_and_linked() {
    let book = Fixture::new();
    let prose = "In {{#chapter softmax}} or {{#chapter softmax#values}}. {{#Chapter softmax}} \
                 and chapters {{#number softmax}} and {{#number scaled-softmax}}.\n\n\
                 ### After {{#chapter scaled_softmax}} {#after}";
    let page = "book/src/scaled-softmax.md";
    book.replace(page, "## The difference", &format!("{prose}\n\n## The difference"));
    book.weave_well();
    let html = book.page("scaled-softmax.html");
    for wanted in [
        r#"In <a href="softmax.html">chapter 1</a> or "#,
        r#"or <a href="softmax.html#values">chapter 1</a>."#,
        r#"<a href="softmax.html">Chapter 1</a> and chapters <a href="softmax.html">1</a> "#,
        r#"and <a href="scaled-softmax.html">2</a>."#,
        r##"<h3 id="after"><a class="header" href="#after">After chapter 2</a></h3>"##,
    ] {
        assert!(html.contains(wanted), "{wanted}");
    }
}

#[test]
fn a_chapter_that_moves_keeps_its_address_and_changes_its_number() {
    let book = Fixture::new();
    book.replace("book/src/README.md", "Read", "Begin with {{#chapter softmax}}. Read");
    let folder = |name: &str| book.root().join("chapters").join(name);
    fs::rename(folder("01-softmax"), folder("03-softmax")).unwrap();
    let images = |name: &str| book.root().join("images").join(name);
    fs::rename(images("01-softmax"), images("03-softmax")).unwrap();
    let summary = "- [Softmax](softmax.md)\n- [Scaled](scaled-softmax.md)";
    let moved = "- [Scaled](scaled-softmax.md)\n- [Softmax](softmax.md)";
    book.replace("book/src/SUMMARY.md", summary, moved);
    fs::rename(folder("02-scaled-softmax"), folder("01-scaled-softmax")).unwrap();
    fs::rename(folder("03-softmax"), folder("02-softmax")).unwrap();
    fs::rename(images("03-softmax"), images("02-softmax")).unwrap();
    book.weave_well();
    let preface = book.page("index.html");
    assert!(preface.contains(r#"<a href="softmax.html">chapter 2</a>"#), "{preface}");
    assert!(book.page("softmax.html").contains("Figure 2.1: "));
}

#[test]
fn terms_are_bold_where_introduced_and_linked_where_another_page_first_uses_them() {
    let book = Fixture::new();
    book.with_glossary();
    let page = "book/src/softmax.md";
    book.replace(page, "A function:", "What a **soft\nmax** is, a **part**, a share.");
    let page = "book/src/scaled-softmax.md";
    let prose = "[A soft max](softmax.md), `soft max`, $s$oft and softmaxing. A Soft\nmax, the \
                 shares. The soft maxes.\n\n### Soft max";
    book.replace(page, "## The difference", &format!("{prose}\n\n## The difference"));
    book.weave_well();
    let home = book.page("softmax.html");
    let wanted = "<strong id=\"term-soft-max\"><a class=\"term\" \
                  href=\"glossary.html#soft-max\" title=\"Shares, by exp.\">soft max</a></strong> is, \
                  a <strong id=\"term-part\">";
    assert!(home.contains(wanted), "{home}");
    let other = book.page("scaled-softmax.html");
    let wanted = "and softmaxing. A <a class=\"term\" href=\"glossary.html#soft-max\" \
                  title=\"Shares, by exp.\">Soft max</a>, the \
                  <a class=\"term\" href=\"glossary.html#part\" title=\"One of many.\">shares</a>. \
                  The soft maxes.";
    assert!(other.contains(wanted), "{other}");
    assert_eq!(other.matches("class=\"term\"").count(), 2);
    let list = book.page("glossary.html");
    for wanted in [
        r#"<dt id="part">part</dt>"#,
        r#"<dd>One of many. <span class="introduced"><a href="softmax.html#term-part">Chapter 1"#,
        r"<dd>Shares, by <code>exp</code>. <span",
    ] {
        assert!(list.contains(wanted), "{wanted}");
    }
}
